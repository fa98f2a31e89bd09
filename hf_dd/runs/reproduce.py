"""`hf-dd reproduce`: what a record says is made again, from the inputs at the commits that it names, and compared."""

import contextlib
import dataclasses
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from hf_dd import hub
from hf_dd.artefacts import provenance, rows, teacher_folder
from hf_dd.artefacts.comparison import (
    Accuracy,
    Values,
    Verdict,
    of_test_images,
    row_in_words,
    rows_apart,
    sets_apart,
    weights_apart,
)
from hf_dd.artefacts.distilled_folder import Artefact
from hf_dd.artefacts.record import Record
from hf_dd.artefacts.set_records import SetRecord
from hf_dd.config import DataConfig, DistillConfig, ImportConfig, PretrainConfig, slug
from hf_dd.config.base import Options, part
from hf_dd.config.reproduction import ReproduceConfig
from hf_dd.core import files, json_records
from hf_dd.core.files import digest_of
from hf_dd.core.layout import CHECKPOINTS, RECORD, WEIGHTS, epoch_name
from hf_dd.core.machine import hardware, precision_on
from hf_dd.core.processes import (
    by_main_process,
    from_main_process,
    holding,
    new_accelerator,
    shown_by_main_process,
)
from hf_dd.core.progress import say
from hf_dd.core.registry import PROTOCOLS
from hf_dd.data.image_data import load_data
from hf_dd.errors import RunError
from hf_dd.runs.crop_labels import labelled_again
from hf_dd.runs.distill import distill
from hf_dd.runs.evaluate import evaluate
from hf_dd.runs.import_set import import_set
from hf_dd.runs.inputs import checked, differences, moved
from hf_dd.runs.pretrain import pretrain
from hf_dd.runs.recorded import Source, grid_folder, repetition_of
from hf_dd.synthetic import pruning
from hf_dd.teachers import pins
from hf_dd.teachers.experts import ExpertPool

VERDICT = "reproduction.json"


@contextlib.contextmanager
def reproducing(options: ReproduceConfig, place: hub.Place) -> Iterator[Path]:
    """The folder of a reproduction, new or that of one of the same that was checked or interrupted; it is held.

    Raises RunError where it holds anything else.
    """
    root = Path(options.output_dir or f"outputs/reproduce-{slug(place.path)}")
    begun = {"kind": "reproduction", "set": options.set, "at": place.pin and place.pin.sha, "ran": False}

    def begin() -> None:
        former = {}
        with contextlib.suppress(RunError):
            former = json_records.read_json(root / VERDICT)
        if not files.is_free(root) and {key: former.get(key) for key in begun} != begun:
            raise files.strange(root, "reproduction of this to go on with")
        files.write_json(root / VERDICT, begun)

    with holding(root):
        shown_by_main_process(begin)
        yield root


def kept(verdict: Verdict, root: Path) -> Verdict:
    """Write a verdict into the folder of its reproduction; returns it."""
    by_main_process(lambda: files.write_json(root / VERDICT, verdict.as_dict()))
    say("The verdict is %s.", root / VERDICT)
    return verdict


def reproduced(source: Source, options: ReproduceConfig, root: Path, name: str = "repeated") -> Verdict:
    """Check what a record names, make it again as `root/name` unless that is all, and compare; on every process.

    Raises RunError or ConfigError for a record that nothing can be made from.
    """
    run = repetition_of(source, options, root, root / name)
    say("reproduce: checking the inputs of %s", source.record.name)
    checks = from_main_process(lambda: tuple(checked(source, run)))
    accelerator = new_accelerator(getattr(run, "mixed_precision", "no"))
    found = Verdict(
        set=source.reference,
        at=source.at,
        kind=source.record.kind,
        ran=False,
        hardware=hardware(accelerator),
        versions=provenance.versions(),
        checks=checks,
        differences=tuple(differences(source.record, hardware(accelerator))),
        notes=from_main_process(lambda: tuple(moved(source))),
    )
    if options.check or any(check.wrong for check in checks):
        return found
    found = dataclasses.replace(found, ran=True)
    if isinstance(run, PretrainConfig):
        values, accuracies = teacher_again(source, run)
    else:
        folder, notes = set_again(source, run, root)
        values, accuracies = compared(source, run, folder, options.trusted_teachers)
        notes += left_out(source.record, accuracies)
        found = dataclasses.replace(found, notes=(*found.notes, *notes))
    return dataclasses.replace(found, values=values, accuracies=tuple(accuracies))


def set_again(source: Source, run: DistillConfig | ImportConfig, root: Path) -> tuple[Path, list[str]]:
    """Make a set again, after its own teachers; gives its folder, and what is to be said of those."""
    folder, notes = Path(run.output_dir), []
    done = (folder / RECORD).is_file()  # and was interrupted while students were trained
    if isinstance(run, ImportConfig):
        if not done:
            import_set(run)
        return folder, notes
    if source.teaching:
        notes = list(teachers_again(source, run, root))
    experts = ExpertPool(run.experts) if run.experts else None
    for expert, known in zip(experts.experts if experts else [], source.record.experts, strict=True):
        shas = [""] * len(known["shas"]) if expert.place.local else known["shas"]  # its tags may have moved
        expert.revisions = dict(zip(known["epochs"], shas, strict=True))  # those alone: it may have others by now
    if not done:
        resume = "latest" if (folder / CHECKPOINTS).is_dir() else None
        distill(run, expert_pool=experts, resume_from_checkpoint=resume)
    return folder, notes


def teachers_again(source: Source, run: DistillConfig, root: Path) -> Iterator[str]:
    """Train a set's own teachers, and say how many of those that it was made with came out to the byte."""
    for config in source.teaching:
        data = {"dataset": run.dataset} if same_data(config, source.record) else {}
        pretrain(dataclasses.replace(config, output_dir=str(grid_folder(root, config)), **data))
    own = [(spec.repo_id, spec.sha) for spec in pins.specs_of(source.record.teachers)]
    for expert in source.record.experts:
        own += [
            (f"{expert['repo_id']}/{epoch_name(epoch)}", sha)
            for epoch, sha in zip(expert["epochs"], expert["shas"], strict=True)
        ]
    found = [(sha, place) for name, sha in own if (place := source.beneath(name, root))]
    equal = sum(sha == f"{hub.DIGEST}{digest_of(Path(place) / WEIGHTS)}" for sha, place in found)
    yield f"{equal} of its {len(found)} own teachers came out to the byte"


def same_data(config: PretrainConfig, record: Record) -> bool:
    """Whether teachers are trained on the data set of a record, whatever that is called here."""
    return config.dataset.partition("@")[0] in (record.data["repo_id"], record.data["reference"].partition("@")[0])


def compared(source: Source, run: Options, folder: Path, trusted: Sequence[str]) -> tuple[Values, list[Accuracy]]:
    """The published set beside the one that was made again, and what students reach on it.

    Where these aren't nearly the same images, on the published ones too: beside the folder.
    """
    record, again = vars(source.record), vars(Artefact.open(folder).record)
    equal = digests_of(record) == digests_of(again)
    if source.folder is None:
        values = Values("pixels", equal, *((0.0, 0.0) if equal else (None, None)))
    else:
        both = ((source.folder, record), (folder, again))
        sets = [rows.read_rows(local(place), facts, crops=True) for place, facts in both]
        values = sets_apart(*sets, equal)
    say("reproduce: %s", values)
    if not record["results"]:
        return values, []
    here, tested = students_again(source.record, run, folder, None, trusted)
    published = []
    if source.folder is not None and not values.close:
        place = folder.with_name(f"{folder.name}-published")
        published, _ = students_again(source.record, run, source.folder, place, trusted)
    return values, rows_apart(rows_to_repeat(record["results"]), here, published, tested)


def left_out(record: SetRecord, accuracies: Sequence[Accuracy]) -> list[str]:
    """What is said of the accuracies on record that weren't looked at."""
    results = record.results or {"rows": []}
    found = Counter(each.what for each in accuracies)  # of those at several rates one may be there, and another not
    names = list((Counter(map(row_in_words, results["rows"])) - found).elements())
    why = "".join(f" (tested by {how})" for how in dict.fromkeys(results.get("tested", {}).values()))
    return [f"not evaluated again{why}: {', '.join(names)}"] if names else []


def digests_of(record: Mapping[str, Any]) -> tuple[Any, ...]:
    """Of the rows, of those that they decode to, and of the labels of crops that were made with them."""
    labelled = record["settings"].get("soft_labels") == "crops" and record["crop_labels"]
    labels = sorted(labelled["files"].values()) if labelled else []
    return record["parquet_sha256"], (record.get("decoded") or {}).get("parquet_sha256"), labels


def local(folder: Path) -> hub.Place:
    """A folder as a place of a set."""
    return hub.Place(str(folder), None, True, "dataset")


def rows_to_repeat(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows on record that are evaluated again: all but those of the full data set.

    No row where students were tested otherwise than the record says of the set.
    """
    if results.get("tested"):
        return []
    epochs = {"epochs": results["protocol"]["epochs"]}
    return [epochs | row for row in results["rows"] if row.get("baseline") != "full"]


def students_again(
    record: SetRecord, run: Options, folder: Path, output: Path | None, trusted: Sequence[str]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The rows of students on a set, trained as those on record were, and what their results say beside these.

    They go into `output`, or onto the set's own card. What was chosen for a row on a validation split, epochs and a
    rate, is what its students are trained with. With `output` real images are left out: the set is one that isn't
    written to.
    """
    results, found, about = record.results, [], {}
    taught_by = pins.specs_of(
        {key: spec[key] for key in spec if key != "bytes"} for spec in results.get("teachers", [])
    )
    same = [spec.sha for spec in taught_by] == [spec["sha"] for spec in getattr(record, "teachers", [])]
    for number, (trained, group) in enumerate(evaluations_of(results)):
        students, epochs, rate, _, regime = trained
        protocol = results["protocols"][regime] if regime else results["protocol"]
        asks = PROTOCOLS.installed(protocol["name"]).asks_teachers
        own = [row for row in group if not row.get("baseline")]
        if output and not own:
            continue
        again = {"eval_teachers": [] if same or not asks else [spec.reference for spec in taught_by]}
        again |= labelled_again(record)
        done = evaluate(
            sets=[str(folder)],
            **part(run, DataConfig),
            seed=results.get("seed", 0),
            eval_protocol=protocol["name"],
            eval_architectures=list(dict.fromkeys(map(student_of, group))),
            eval_students=students,
            eval_epochs=[epochs],
            eval_learning_rates=[] if rate is None else [rate],
            eval_augment=protocol["augment"],
            eval_mix=mix_of(protocol),
            random_draws=max((row.get("draws") or students) // students for row in group),
            eval_copies=list(dict.fromkeys(row["copy"] for row in own)),
            baselines=[] if output else list(dict.fromkeys(row["baseline"] for row in group if row.get("baseline"))),
            **again,
            selection_epochs=epochs_of_selection(group),
            published=record.settings.get("published", "objective" in record.settings),  # as all was in 0.1.0
            mixed_precision=precision_on(results["hardware"]),
            trusted_teachers=list(trusted),
            output_dir=f"{output or folder}-{number}" if output or not own else None,
        )
        about = done.as_dict()
        found += about.pop("rows")
    return found, about


def evaluations_of(results: Mapping[str, Any]) -> Iterator[tuple[tuple, list[dict[str, Any]]]]:
    """The rows on record in groups that one evaluation each makes again, and how the students of each were trained.

    That is the number of students, their epochs and rate (None for that of the set), whether real images were chosen
    by pruning, and the regime. An evaluation trains each of its students on the same images, and at one rate: a group
    holds all rows that it makes, and no other.
    """
    rows_of_training: dict[tuple, list[dict[str, Any]]] = {}
    for row in rows_to_repeat(results):
        rate = None if row.get("own_learning_rate") else row["learning_rate"]
        prunes = row.get("baseline") in pruning.METHODS  # by a training of its own epochs, whatever herding's are
        regime = row.get("regime") if results.get("protocols") else None
        rows_of_training.setdefault((row["n"], row["epochs"], rate, prunes, regime), []).append(row)
    for trained, every in rows_of_training.items():
        rows_of_student: dict[str, list[dict[str, Any]]] = {}
        for row in every:
            rows_of_student.setdefault(student_of(row), []).append(row)
        alike: dict[frozenset, list[dict[str, Any]]] = {}
        for own in rows_of_student.values():
            images = frozenset((row.get("baseline"), row["copy"]) for row in own)
            alike.setdefault(images, []).extend(own)
        for group in alike.values():
            yield trained, group


def mix_of(protocol: Mapping[str, Any]) -> str | None:
    """The mix that the options gave a protocol on record; None where it has its own."""
    if "views" not in protocol["changed"]:
        return None
    views = protocol.get("views") or {"mix": "none", "probability": 1.0}
    return views["mix"] if views["probability"] == 1 else f"{views['mix']}={views['probability']:g}"


def epochs_of_selection(group: Sequence[Mapping[str, Any]]) -> int | None:
    """How long the network was trained by whose features real images were chosen; None where no name says it."""
    found = [match[1] for row in group if (match := re.search(r" by a network of (\d+) epochs", row["set"]))]
    return int(found[0]) if found else None


def student_of(row: Mapping[str, Any]) -> str:
    """What a row's students were, with a backbone at its commit."""
    backbone, place = row.get("backbone"), hub.find(row["architecture"])
    return row["architecture"] if not backbone or place is None or place.local else f"{place.path}@{backbone}"


def teacher_again(source: Source, run: PretrainConfig) -> tuple[Values, list[Accuracy]]:
    """Train a teacher to its epoch again: its weights beside the published ones, and its accuracy."""
    record, data = source.record, load_data(run)
    pretrain(run)
    name = teacher_folder.teacher_name(data, record.architecture, record.seed)
    folder = Path(run.output_dir) / name / epoch_name(record.epoch)
    files = [source.folder / WEIGHTS, folder / WEIGHTS]
    values = weights_apart(*map(load_file, files), digest_of(files[0]) == digest_of(files[1]))
    accuracy = teacher_folder.read_teacher(folder).accuracy
    return values, [of_test_images("[test split]", record.accuracy, accuracy, len(data.test))]
