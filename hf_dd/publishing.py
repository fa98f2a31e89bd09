"""A distilled set, run → folder → Hub: the folder is written whole first, and a push that fails loses nothing."""

import dataclasses
import hashlib
import json
import shlex
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_dd import cards, hub, teacher_repos
from hf_dd.cards import DistilledRecord, ImportedRecord
from hf_dd.config import DataConfig, ImportConfig, as_dict
from hf_dd.data import ImageData
from hf_dd.data_sources import load_splits
from hf_dd.distiller import Distillation
from hf_dd.errors import ConfigError, DataError, HubError, RunError
from hf_dd.importing import ImportedSet
from hf_dd.records import RECORD, read_record, write, write_record
from hf_dd.synthetic import DistilledSet, from_dataset, preview, to_dataset, to_rows
from hf_dd.teachers import TeacherPool

if TYPE_CHECKING:
    import datasets

PARQUET = "data/train-00000-of-00001.parquet"
EVAL_RESULTS = ".eval_results/hf-dd.yaml"
RECORDS = {"distilled-set": DistilledRecord, "imported-set": ImportedRecord}
DISTILLED_FILES = ("README.md", RECORD, "preview.png", "pool.json", "results.json", EVAL_RESULTS, "data/*")


@dataclass(frozen=True)
class Artefact:
    """A distilled set in its folder.

    Attributes:
        folder: what `load_dataset` reads, and what a push uploads.
        record: the content of its `hf_dd.json`.
    """

    folder: Path
    record: DistilledRecord | ImportedRecord

    @classmethod
    def open(cls, folder: str | Path) -> "Artefact":
        """The artefact in a folder; raises RunError where there is none, or only a part of one."""
        content = read_record(Path(folder))
        if content.get("kind") not in RECORDS:
            raise RunError(f"{folder} holds a {content.get('kind')}, not a distilled set.")
        try:
            return cls(Path(folder), RECORDS[content["kind"]](**content))
        except TypeError as error:
            raise RunError(f"{Path(folder) / RECORD} isn't a record of this version of hf-dd: {error}.") from error

    def __repr__(self) -> str:
        lines = [f"{self.record.data['name']}: {self.record.summary}, in {self.folder}"]
        for row in (self.record.results or {}).get("rows", []):
            lines.append(f"  {row['set']} [{row['copy']}]: {row['mean']:.2f} ± {row['std']:.2f} (n={row['n']})")
        return "\n".join(lines)

    def load(self) -> "datasets.Dataset":
        """The rows, as any user of `datasets` gets them."""
        import datasets

        return datasets.load_dataset(str(self.folder), split="train")

    def with_results(self, results: dict[str, Any]) -> "Artefact":
        """The same set with an evaluation's results in the record, the card, `results.json` and the Hub's format."""
        record = Artefact.open(self.folder).record
        write(self.folder / "results.json", lambda path: path.write_text(json.dumps(results, indent=2)))
        entries = cards.eval_results(record.data, results)
        write(self.folder / EVAL_RESULTS, lambda path: path.write_text(entries, encoding="utf-8"))
        return self._rewritten(dataclasses.replace(record, results=results))

    def push(
        self,
        repo_id: str | None = None,
        *,
        tag: str | None = None,
        private: bool = False,
        branch: str | None = None,
        create_pr: bool = False,
    ) -> hub.Publication:
        """Push the folder as one commit and tag it; raises HubError, with the command that tries again.

        Args:
            repo_id: of the data set repository; named after the run if None, under the token's user if without owner.
            tag: of the commit; the next free of v1, v2, … if None. One that another commit has is refused.
            private: whether a new repository is private.
            branch: to push to; main if None.
            create_pr: push as a pull request, without a tag.
        """
        record = Artefact.open(self.folder).record  # an evaluation may have completed it since
        repo_id = repo_id or (record.pushed or {}).get("repo_id") or record.name
        retry = ["hf-dd", "push", str(self.folder), "--hub_dataset_id", repo_id]
        retry += ["--hub_tag", tag] if tag else []
        retry += ["--hub_private_repo"] if private else []
        retry += ["--hub_revision", branch] if branch else []
        retry += ["--create_pr"] if create_pr else []
        try:
            repo_id = hub.full_repo_id(repo_id)
            tag = free_tag(repo_id, tag)
            place = {"repo_id": repo_id, "tag": None if create_pr else tag}
            self._rewritten(dataclasses.replace(record, pushed=place))
            return hub.publish(
                self.folder,
                repo_id,
                "dataset",
                files=DISTILLED_FILES,
                message=f"{record.name}: {record.summary}",
                tag=tag,
                private=private,
                branch=branch,
                create_pr=create_pr,
            )
        except HubError as error:
            self._rewritten(record)  # its card doesn't tell of a push that failed
            raise HubError(
                f"{error} Nothing is lost: {self.folder} holds the set. Retry: {shlex.join(retry)}"
            ) from error

    def _rewritten(self, record: DistilledRecord | ImportedRecord) -> "Artefact":
        write_record(self.folder, record, record.card(hub.endpoint()))
        return Artefact(self.folder, record)


def free_tag(repo_id: str, asked: str | None) -> str:
    """The tag that a push puts: the one asked for, or the next free of v1, v2, …; raises HubError if it is taken."""
    taken = hub.tags(repo_id, "dataset")
    if asked in taken:
        raise HubError(f"{repo_id} has a tag {asked} already (commit {taken[asked][:8]}): choose another --hub_tag.")
    return asked or next(name for number in range(1, len(taken) + 2) if (name := f"v{number}") not in taken)


def write_artefact(
    folder: Path,
    name: str,
    result: Distillation,
    data: ImageData,
    pool: TeacherPool | None,
    *,
    command: str,
    hardware: str,
) -> Artefact:
    """Write a finished distillation as an artefact folder: parquet, preview, teachers' lock, card, record."""
    rows = to_dataset(result.synthetic)
    facts = write_images(folder, rows, preview(result.synthetic.own_space(), result.synthetic.labels))
    lock = pool.lock() if pool else {"source": None, "teachers": []}
    if pool:
        write(folder / "pool.json", lambda path: path.write_text(json.dumps(lock, indent=2)))
    record = DistilledRecord(
        name=name,
        data=cards.data_record(data),
        settings=result.settings,
        teachers=lock["teachers"],
        pool=lock["source"],
        run={
            "iterations": result.progress.step,
            "seconds": round(result.progress.seconds, 2),
            "losses": result.progress.losses,
            "hardware": hardware,
            "bytes_exchanged": result.bytes_exchanged,
        },
        **facts,
        command=command,
        versions=cards.versions(),
    )
    write_record(folder, record, record.card(hub.endpoint()))
    return Artefact(folder, record)


def write_imported(
    folder: Path, name: str, imported: ImportedSet, data: ImageData, config: ImportConfig, *, command: str
) -> Artefact:
    """Write an imported set as an artefact folder like that of a distillation of ours."""
    foreign = imported.foreign
    rows = to_rows(imported.pixel_values, imported.labels, data.class_names, imported.soft_labels)
    facts = write_images(folder, rows, preview(imported.pixel_values, imported.labels))
    record = ImportedRecord(
        name=name,
        data=cards.data_record(data),
        settings=as_dict(config),
        origin={
            "name": Path(foreign.name).name,
            "format": foreign.format,
            "files": foreign.files,
            "pin": foreign.pin,
            "images": len(foreign.pixels),
        },
        images=len(rows),
        normalisation=imported.normalisation.as_dict(),
        classes={
            **imported.classes.as_dict(),
            "order": imported.order,
            "class_map": imported.class_map,
            "moved": imported.classes.moved(data.class_names),
        },
        soft_labels=imported.soft_labels is not None,
        learning_rate=foreign.learning_rate,
        accuracies={
            architecture: {"mean": statistics.fmean(found), "std": statistics.pstdev(found), "n": len(found)}
            for architecture, found in foreign.accuracies.items()
        },
        **facts,
        command=command,
        versions=cards.versions(),
    )
    write_record(folder, record, record.card(hub.endpoint()))
    return Artefact(folder, record)


def write_images(folder: Path, rows: "datasets.Dataset", image: Any) -> dict[str, Any]:
    """Write the rows and the preview of a set whose record is still to come; returns what it says of the rows."""
    (folder / RECORD).unlink(missing_ok=True)
    write(folder / PARQUET, rows.to_parquet)
    write(folder / "preview.png", lambda path: image.save(path, format="PNG"))
    digest = hashlib.sha256((folder / PARQUET).read_bytes()).hexdigest()
    return {"dataset_info": dataset_info(rows, folder / PARQUET), "parquet_sha256": digest}


def dataset_info(rows: "datasets.Dataset", parquet: Path) -> dict[str, Any]:
    """Features, splits and sizes in the form of a card's `dataset_info`."""
    from datasets.info import DatasetInfosDict
    from datasets.splits import SplitDict, SplitInfo
    from huggingface_hub import DatasetCardData

    info = rows.info.copy()
    info.splits = SplitDict()
    info.splits.add(SplitInfo("train", num_bytes=rows.data.nbytes, num_examples=len(rows)))
    info.dataset_size, info.download_size = rows.data.nbytes, parquet.stat().st_size
    front = DatasetCardData()
    DatasetInfosDict({"default": info}).to_dataset_card_data(front)
    return front.to_dict()["dataset_info"]


def load_distilled(reference: str) -> tuple[str, DistilledSet, dict[str, Any]]:
    """A distilled set by folder or Hub reference: its name, its tensors, and its record (empty if it has none)."""
    if Path(reference).is_dir():
        folder, splits = Path(reference), load_splits(reference, DataConfig())
        name = folder.resolve().name
    else:
        pin = hub.resolve(reference, "dataset")
        splits = load_splits(pin.repo_id, DataConfig(), pin)
        folder = hub.pull(pin, "dataset", files=[RECORD])
        name = f"{pin.repo_id}@{pin.revision}"
    if "train" not in splits:
        raise DataError(f"{name} isn't a distilled set of hf_dd: it has no split 'train', but {', '.join(splits)}.")
    record = json.loads((folder / RECORD).read_text()) if (folder / RECORD).is_file() else {}
    return name, from_dataset(splits["train"], name), record


def push(folder: str | Path, repo_id: str | None = None, **options: Any) -> hub.Publication | hub.Pin:
    """Push whatever a folder holds: a distilled set, or a teacher's run. Options as in `Artefact.push`."""
    content = read_record(Path(folder))
    if content.get("kind") == "teacher-run":
        if given := [name for name in ("tag", "branch", "create_pr") if options.get(name)]:
            raise ConfigError(f"A teacher goes to main, with the tags of its epochs: leave out {', '.join(given)}.")
        return teacher_repos.push_teacher(Path(folder), private=bool(options.get("private")), repo_id=repo_id)
    return Artefact.open(folder).push(repo_id, **options)
