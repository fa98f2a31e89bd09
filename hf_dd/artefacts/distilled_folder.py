"""A distilled set, run → folder → Hub: the folder is written whole first, and a push that fails loses nothing."""

import contextlib
import dataclasses
import os
import shlex
import shutil
import statistics
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from hf_dd import hub
from hf_dd.artefacts import crop_label_files, provenance, teacher_folder
from hf_dd.artefacts.records import links_to, read_record, retried, write_record
from hf_dd.artefacts.rows import decoded_rows, read_rows, require_whole, write_images
from hf_dd.artefacts.set_records import DistilledRecord, ImportedRecord, SetRecord
from hf_dd.config import ImportConfig, as_dict
from hf_dd.config.arguments import typed
from hf_dd.core import files, json_records
from hf_dd.core.alone import undisturbed
from hf_dd.core.layout import (
    CHECKPOINTS,
    EVAL_RESULTS,
    LOCK,
    LOGS,
    PLOT,
    RECORD,
    RESULTS,
    SET_FILES,
    SET_FOLDERS,
)
from hf_dd.data.image_data import ImageData
from hf_dd.distillation.distiller import Distillation
from hf_dd.distillation.run_folder import ARTEFACT_ENTRIES, RUN_ENTRIES
from hf_dd.errors import ConfigError, DataError, HubError, RunError
from hf_dd.evaluation import tables, verdict
from hf_dd.importing.import_set import ImportedSet
from hf_dd.synthetic.distilled_set import DistilledSet, to_dataset, to_rows
from hf_dd.synthetic.preview import preview
from hf_dd.teachers.pool import TeacherPool

if TYPE_CHECKING:
    import datasets

OF_SETS = {"tag": "--hub_tag", "branch": "--hub_revision", "create_pr": "--create_pr", "new_version": "--new_version"}
RECORDS = {record.kind: record for record in (DistilledRecord, ImportedRecord)}
DISTILLED_FILES = (*SET_FILES, *(f"{folder}/*" for folder in SET_FOLDERS))


@dataclass(frozen=True)
class Artefact:
    """A distilled set in its folder.

    Attributes:
        folder: what `load_dataset` reads, and what a push uploads.
        record: the content of its `hf_dd.json`.
    """

    folder: Path
    record: SetRecord

    @classmethod
    def written(cls, folder: Path, record: SetRecord) -> "Artefact":
        """The artefact in a folder once its card and its record are written there, which is done last."""
        write_record(folder, record)
        return cls(folder, record)

    @classmethod
    @typed()
    def open(cls, folder: str | os.PathLike[str]) -> "Artefact":
        """The artefact in a folder; raises RunError where there is none, or only a part of one."""
        return cls(Path(folder), record_of(read_record(Path(folder)), Path(folder) / RECORD))

    def __repr__(self) -> str:
        results, lines = self.record.results, [f"{self.record.data['name']}: {self.record.summary}, in {self.folder}"]
        if results:
            lines += verdict.sentences(results)
        for row in results["rows"] if results else []:
            accuracy = tables.accuracy(row, results)
            lines.append(f"  {row['set']} [{row['copy']}] {row['architecture']}: {accuracy} (n={row['n']})")
        return "\n".join(lines)

    @typed()
    def load(self, configuration: str | None = None) -> "datasets.Dataset":
        """The rows, as any user of `datasets` gets them: as they are stored, or 'decoded' where there are such."""
        import datasets

        return datasets.load_dataset(str(files.named_plainly(self.folder)), configuration, split="train")

    def with_results(self, results: dict[str, Any], plot: Callable[[Path], Any] | None = None) -> "Artefact":
        """The same set with an evaluation's results in the record, the card and `results.json`.

        `plot` draws them into a PNG file; without it a plot of former results is removed.
        """
        record = Artefact.open(self.folder).record
        results = results | {"plot": PLOT if plot else None}
        if plot:
            files.write(self.folder / PLOT, plot)
        else:
            files.remove(self.folder / PLOT)
        files.write_json(self.folder / RESULTS, results)
        files.remove(self.folder / Path(EVAL_RESULTS).parent)
        return Artefact.written(self.folder, dataclasses.replace(record, results=results))

    def with_crop_labels(self, labelling: crop_label_files.CropLabelling) -> "Artefact":
        """The same set with these labels of crops, in the place of any others."""
        record = Artefact.open(self.folder).record
        facts = crop_label_files.written(self.folder, labelling, record.dataset_info)
        return Artefact.written(self.folder, dataclasses.replace(record, **facts))

    def copied(self, folder: Path) -> "Artefact":
        """The same set in a new folder, whole or not at all, and as if it hadn't been evaluated.

        Raises RunError where the folder is there already.
        """
        if folder.exists():
            raise RunError(f"{folder} holds something else, perhaps an unfinished run: remove it.")
        evaluated = shutil.ignore_patterns(CHECKPOINTS, LOGS, RESULTS, PLOT, Path(EVAL_RESULTS).parent.name)
        with files.folder(folder) as unfinished:
            shutil.copytree(self.folder, unfinished, ignore=evaluated, dirs_exist_ok=True)
            copy = Artefact.written(unfinished, dataclasses.replace(self.record, results=None))
        return Artefact(folder, copy.record)

    @typed()
    def push(
        self,
        repo_id: str | None = None,
        *,
        tag: str | None = None,
        private: bool = False,
        branch: str | None = None,
        create_pr: bool = False,
        new_version: str | None = None,
    ) -> hub.Publication:
        """Push the folder as one commit and tag it; raises HubError, with the command that tries again.

        Raises RunError before anything is sent where the folder isn't whole.

        Args:
            repo_id: of the data set repository; named after the run if None, under the token's user if without owner.
            tag: of the commit; the next free of v1, v2, … if None. One that another commit has is refused.
            private: whether the repository is private: a new one is made so, one that is public is refused.
            branch: to push to; main if None.
            create_pr: push as a pull request, without a tag.
            new_version: the repository of a better set, to which the card leads from now on; as before if None.
        """
        record = Artefact.open(self.folder).record  # an evaluation may have completed it since
        if new_version:
            better = hub.resolve(new_version, repo_type="dataset").repo_id
            if better == (repo_id or (record.pushed or {}).get("repo_id")):
                raise ConfigError(f"--new_version {better} is this set itself: name the one that takes its place.")
            record = dataclasses.replace(record, new_version=better)
        require_whole(self.folder, record)
        before = record.pushed
        repo_id = repo_id or (before or {}).get("repo_id") or record.name
        retry = ["hf-dd", "push", str(self.folder), "--hub_dataset_id", repo_id]
        try:
            repo_id = hub.full_repo_id(repo_id)
            with links_to(self.folder, DISTILLED_FILES) as links:

                def tell(tag: str | None) -> None:
                    nonlocal record
                    record = dataclasses.replace(record, pushed={"repo_id": repo_id, "tag": tag})
                    Artefact.written(links, record)

                done = hub.publish(
                    links,
                    repo_id,
                    "dataset",
                    files=(*DISTILLED_FILES, EVAL_RESULTS),  # the latter is removed
                    message=f"{record.name}: {record.summary}",
                    tag=tag,
                    private=private,
                    branch=branch,
                    create_pr=create_pr,
                    prepare=tell,
                )
        except HubError as error:
            retry += ["--hub_tag", tag] if tag and not isinstance(error, hub.Taken) else []
            retry += ["--hub_private_repo"] if private else []
            retry += ["--hub_revision", branch] if branch else []
            retry += ["--create_pr"] if create_pr else []
            retry += ["--new_version", new_version] if new_version else []
            raise retried(error, f"{self.folder} holds the set", f"Retry: {shlex.join(retry)}") from error
        if create_pr and before:  # a proposal isn't where it is to be had
            record = dataclasses.replace(record, pushed=before)
        Artefact.written(self.folder, record)
        return done


def write_artefact(
    folder: Path,
    name: str,
    result: Distillation,
    data: ImageData,
    pool: TeacherPool | None,
    soft_labels: Tensor | None = None,
    *,
    crop_labels: crop_label_files.CropLabelling | None = None,
    experts: list[dict[str, Any]] | None = None,
    diversity: dict[str, Any] | None = None,
    command: str,
    hardware: str,
    planning_seconds: float | None = None,
    before: Sequence[str] = (),
    decisions: Sequence[str] = (),
) -> Artefact:
    """Write a finished distillation as an artefact folder: parquet, preview, teachers' lock, card, record.

    `soft_labels` are those of the training images, and stored with these: where a factor makes several of each stored
    image, in the configuration `decoded`; `crop_labels` are in the configuration `labels`. An artefact that was there
    before stays until this one is whole.
    """
    synthetic, decodes = result.synthetic, result.synthetic.factor > 1
    rows = to_dataset(synthetic, None if decodes else soft_labels)
    decoded = decoded_rows(synthetic, soft_labels) if decodes else None
    image = preview(synthetic.own_space(), synthetic.labels, data.class_names)
    lock = pool.lock() if pool else {"source": None, "teachers": []}
    with renewed(folder, ARTEFACT_ENTRIES) if (folder / RECORD).is_file() else contextlib.nullcontext(folder) as place:
        facts = write_images(place, rows, image, decoded, data.whitening)
        if soft_labels is not None:
            own, shas = result.soft_labels is not None, [teacher["sha"] for teacher in lock["teachers"]]
            facts["soft_labels"] = {
                "kind": "own" if own else result.settings["soft_labels"],
                "temperature": 1.0 if own else result.settings["soft_label_temperature"],
                "teachers": [] if own else shas,
            }
        if crop_labels:
            facts |= crop_label_files.written(place, crop_labels, facts["dataset_info"])
        if pool:
            files.write_json(place / LOCK, lock)
        record = DistilledRecord(
            name=name,
            data=provenance.data_record(data),
            settings=result.settings,
            teachers=lock["teachers"],
            starts=[dataclasses.asdict(spec) for spec in pool.start_specs] if pool else [],
            pool=lock["source"],
            experts=experts or [],
            learning_rate=result.outcome.get("learning_rate"),
            diversity=diversity,
            plugins=provenance.plugins(result.settings, [*lock["teachers"], *(experts or [])]),
            run={
                "iterations": result.progress.step,
                "seconds": round(result.progress.seconds, 2),
                "losses": result.progress.losses,
                "hardware": hardware,
                "bytes_exchanged": result.bytes_exchanged,
                **({"clom_alpha": result.outcome["clom_alpha"]} if "clom_alpha" in result.outcome else {}),
                **({} if planning_seconds is None else {"planning_seconds": round(planning_seconds, 2)}),
            },
            **facts,
            command=command,
            before=list(before),
            decisions=list(decisions),
            versions=provenance.versions(),
        )
        Artefact.written(place, record)
    return Artefact(folder, record)


@contextlib.contextmanager
def renewed(folder: Path, entries: Collection[str]) -> Iterator[Path]:
    """A folder to write a set into, which takes the place of these entries of `folder` once the set is whole.

    Where nothing can be put in that folder's place, as it is a disk of its own or lies in a folder that may not be
    changed, it is the folder itself, and what was there goes first.
    """
    if os.path.ismount(folder) or not os.access(folder.resolve().parent, os.W_OK):
        for name in entries:
            files.remove(folder / name)
        yield folder
    else:
        with files.folder(folder, entries) as place:
            yield place


def write_imported(
    folder: Path, name: str, imported: ImportedSet, data: ImageData, config: ImportConfig, *, command: str
) -> Artefact:
    """Write an imported set as an artefact folder like that of a distillation of ours."""
    foreign = imported.foreign
    rows = to_rows(imported.pixel_values, imported.labels, data.class_names, imported.soft_labels)
    with renewed(folder, RUN_ENTRIES) as place:
        image = preview(imported.pixel_values, imported.labels, data.class_names)
        facts = write_images(place, rows, image, whitening=data.whitening)
        record = ImportedRecord(
            name=name,
            data=provenance.data_record(data),
            settings=as_dict(config),
            origin={
                "name": Path(foreign.name).name,
                "format": foreign.format,
                "files": foreign.files,
                "pin": foreign.pin,
                "images": len(foreign.pixels),
                "decoding": list(foreign.notes),
            },
            images=len(rows),
            normalisation=imported.normalisation.as_dict(),
            classes=imported.classes,
            soft_labels=imported.soft_labels is not None,
            learning_rate=foreign.learning_rate,
            accuracies={
                architecture: {"mean": statistics.fmean(found), "std": statistics.pstdev(found), "n": len(found)}
                for architecture, found in foreign.accuracies.items()
            },
            **facts,
            command=command,
            versions=provenance.versions(),
        )
        Artefact.written(place, record)
    return Artefact(folder, record)


def record_of(content: dict[str, Any], path: Path) -> SetRecord:
    """The record of a distilled set in the content of `hf_dd.json`; raises RunError where it is of something else."""
    kind = content.get("kind")
    if not isinstance(kind, str) or kind not in RECORDS:
        raise RunError(f"{path.parent} holds a {kind!s:.80}, not a distilled set.")
    return json_records.as_record(content, RECORDS[kind], str(path))


@typed()
@undisturbed()
def load_distilled(reference: str | os.PathLike[str], crops: bool = False) -> tuple[str, DistilledSet, dict[str, Any]]:
    """A distilled set by folder or Hub reference: its name, what students train on, and its record (maybe empty).

    With `crops` its labels of crops, too, where it has any. Raises HubError where there is none or it is out of reach,
    DataError for rows that aren't what the record says, RunError for the folder of something else.
    """
    place = hub.find(reference, "dataset")
    if place is None and os.path.isfile(os.path.expanduser(reference)):
        raise DataError(f"{reference} is a file: `hf-dd import {reference} --dataset SOURCE` makes a set of it.")
    if place is None:
        raise HubError(
            f"There is no distilled set {reference!r}: give a folder, or owner/name or owner/name@revision of the Hub."
        )
    path = place.folder([RECORD]) / RECORD
    record = json_records.read_json(path) if path.is_file() else {}
    if record:
        record_of(record, path)
    return place.name, read_rows(place, record, crops), record


@typed()
def push(folder: str | os.PathLike[str], repo_id: str | None = None, **options: Any) -> hub.Publication | hub.Pin:
    """Push whatever a folder holds: a distilled set, or a teacher's run. Options as in `Artefact.push`.

    Returns where a set went, or the pin of a teacher's final epoch. Raises RunError for a folder that holds neither,
    ConfigError for options that a teacher doesn't take, HubError for what the Hub refuses.
    """
    content = read_record(Path(folder))
    with files.claimed(Path(folder)):
        return _push(Path(folder), content, repo_id, options)


def _push(
    folder: Path, content: dict[str, Any], repo_id: str | None, options: dict[str, Any]
) -> hub.Publication | hub.Pin:
    if content.get("kind") == "teacher-run":
        if given := [option for name, option in OF_SETS.items() if options.get(name)]:
            raise ConfigError(f"A teacher goes to main, with the tags of its epochs: leave out {', '.join(given)}.")
        return teacher_folder.push_teacher(folder, private=bool(options.get("private")), repo_id=repo_id)
    if content.get("kind") == "teacher" and (folder.resolve().parent / RECORD).is_file():
        raise ConfigError(
            f"{folder} is one epoch of a teacher, and all of a run is pushed: `hf-dd push "
            f"{shlex.quote(str(folder.resolve().parent))}`."
        )
    return Artefact.open(folder).push(repo_id, **options)
