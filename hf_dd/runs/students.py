"""The students of an evaluation as models: kept in folders, judged before any is trained, and pushed after all."""

import dataclasses
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch import nn

from hf_dd import hub
from hf_dd.artefacts import provenance, student_folder
from hf_dd.artefacts.records import retried
from hf_dd.artefacts.student_record import StudentRecord
from hf_dd.config import EvaluateConfig, slug
from hf_dd.core import json_records
from hf_dd.core.layout import IMPORTED_SET, RECORD, student_name
from hf_dd.core.machine import hardware
from hf_dd.core.processes import by_main_process, require_writable
from hf_dd.core.registry import NETWORKS, PROTOCOLS, origins
from hf_dd.core.text import apart, ipc_in_words
from hf_dd.errors import ConfigError, HfDdError, HubError
from hf_dd.evaluation.candidates import Candidate
from hf_dd.evaluation.evaluation import Evaluation
from hf_dd.evaluation.learners import Job
from hf_dd.evaluation.results import Results


@dataclass(frozen=True)
class LearnedFrom:
    """A distilled set that is evaluated.

    Attributes:
        name: as the evaluation calls it.
        reference: that names it again, with its commit if it is on the Hub.
        pin: of the commit that holds its rows; None where it is a folder alone.
        license: that it is under.
    """

    name: str
    reference: str
    pin: hub.Pin | None
    license: str


@dataclass(eq=False)
class StudentShelf:
    """A `Shelf`: each row's students in a folder of their own, which is a repository of models where they are pushed.

    Attributes:
        root: holds the folders.
        rows: the folder's name of each row, by its candidate and its architecture.
        sets: what each candidate is a copy of.
        owner: of the repositories; None where nothing is pushed.
    """

    root: Path
    config: EvaluateConfig
    evaluation: Evaluation
    accelerator: Accelerator
    rows: dict[tuple[Candidate, str], str]
    sets: dict[Candidate, LearnedFrom]
    owner: str | None

    def __post_init__(self) -> None:
        data, sets = self.evaluation.data, list(dict.fromkeys(self.sets.values()))
        pins = {"sets": [own.reference for own in sets], "save_students": "students"}
        pins |= provenance.pinned(self.config, data)
        self.command = provenance.command_line("evaluate", self.config, self.accelerator.num_processes, pins)
        self.data = provenance.data_record(data)
        self.versions = provenance.versions()

    def row(self, candidate: Candidate, architecture: str) -> Path:
        """The folder of a row."""
        return self.root / self.rows[candidate, architecture]

    def holds(self, job: Job, student: int, key: str) -> bool:
        """Whether that very student is there already."""
        folder = student_folder.folder_of(self.row(job.candidate, job.architecture), self.config.seed + student)
        record = student_folder.read_student(folder)
        return record is not None and record.key == key

    def put(self, job: Job, student: int, key: str, network: nn.Module, accuracy: float) -> None:
        """Write a student into its folder."""
        seed, row = self.config.seed + student, self.row(job.candidate, job.architecture)
        record = self.record(job, seed, accuracy, key)
        student_folder.write_student(student_folder.folder_of(row, seed), network, record)

    def record(self, job: Job, seed: int, accuracy: float, key: str) -> StudentRecord:
        """What is known of a student once it is tested."""
        candidate, architecture, protocol = job
        own, ipc = self.sets[candidate], candidate.ipc
        named = [(NETWORKS, architecture), (PROTOCOLS, self.config.eval_protocol)]
        pool = self.evaluation.teachers
        taught_by = self.evaluation.teaching.teaching(candidate, protocol).get("taught_by", ())
        return StudentRecord(
            name=self.rows[candidate, architecture],
            data=self.data,
            command=self.command,
            versions=self.versions,
            architecture=architecture,
            seed=seed,
            epoch=protocol.epochs,
            dataset=own.pin.reference if own.pin else own.name,
            accuracy=accuracy,
            learned_from={
                "name": own.name,
                "repo_id": own.pin and own.pin.repo_id,
                "sha": own.pin and own.pin.sha,
                "copy": candidate.copy,
                "images": len(candidate.images),
                "ipc": ipc if isinstance(ipc, int) else ipc_in_words(ipc),
                "license": own.license,
                "digest": candidate.identity[1],
            },
            protocol=protocol.as_dict(),
            how=str(protocol),
            key=key,
            hardware=hardware(self.accelerator),
            teachers=[asdict(spec) for spec in pool.specs if spec.sha in taught_by] if pool else [],
            plugins=origins(named),
        )

    def judge(self, candidates: Sequence[Candidate]) -> None:
        """Raise an error, before anything is trained, where a student couldn't be kept or pushed."""
        config, protocol = self.config, self.evaluation.protocol
        option = "--push_students" if self.owner else "--save_students"
        if protocol.trains == "head":
            raise ConfigError(
                f"{option}: the students of the protocol {protocol.name} are linear heads on somebody's backbone, "
                "which no file of one model holds. Choose another --eval_protocol, or leave it out."
            )
        for architecture in config.eval_architectures:
            origin = NETWORKS.origin(architecture) if architecture in NETWORKS else None
            if origin and not origin.keys() & {"package", "sha256"}:
                raise ConfigError(
                    f"{option}: the architecture {architecture} was registered by a program and lies in no file, so "
                    "that nobody could load its students. Put it into a module or a package, or leave it out."
                )
        if len(set(self.rows.values())) < len(self.rows):
            raise ConfigError(
                f"{option}: two rows would both be called {max(self.rows.values(), key=[*self.rows.values()].count)}. "
                "Evaluate sets of the same name one by one."
            )
        seeds = range(config.seed, config.seed + config.eval_students)
        for candidate in candidates:
            for architecture in config.eval_architectures:
                job = Job(candidate, architecture, protocol)
                options = [str(option) for option in self.evaluation.options(candidate, protocol, architecture)]
                asked = self.record(job, config.seed, 0.0, "").run()
                folder = self.row(candidate, architecture)
                there = [student_folder.read_student(student_folder.folder_of(folder, seed)) for seed in seeds]
                require_same_run(next(filter(None, there), None), asked, options, f"{folder}", "--save_students")
                if self.owner:
                    repo_id = f"{self.owner}/{folder.name}"
                    there = student_folder.published_run(repo_id, seeds, hub.require_pushable(repo_id, "model"))
                    require_same_run(there, asked, options, f"model {repo_id}", "--push_students")

    def finish(self, results: Results) -> Results:
        """Complete the cards, and push if that was asked for; the results with where their students are."""
        config = self.config
        seeds = range(config.seed, config.seed + config.eval_students)
        distilled = [row for row in results.rows if row.baseline is None]
        folders = [self.root / name for name in self.rows.values()]  # of these rows, in their order

        def complete() -> None:
            for folder, row in zip(folders, distilled, strict=True):
                student_folder.complete_row(folder, row, seeds)
            for folder in folders if self.owner else ():
                try:
                    student_folder.push_row(folder, f"{self.owner}/{folder.name}", seeds)
                except HubError as error:
                    again = "Run the same command again, which trains none of them anew."
                    raise retried(error, f"{self.root} holds the students", again) from error

        by_main_process(complete)
        if not self.owner:
            return results
        tags = list(map(student_name, seeds))
        found = [
            {"repo_id": f"{self.owner}/{folder.name}", "tags": tags}
            | {"set": row.set, "copy": row.copy, "architecture": row.architecture}
            for folder, row in zip(folders, distilled, strict=True)
        ]
        return dataclasses.replace(results, students=tuple(found))


def require_same_run(
    there: StudentRecord | None, asked: dict[str, Any], options: Sequence[str], where: str, option: str
) -> None:
    """Raise ConfigError where students that are there learned from something else, or otherwise, than is asked for."""
    if there is None:
        return
    made = there.run()
    differing = [key for key, own in made.items() if own not in (options if key == "protocol" else [asked[key]])]
    if differing:
        pairs = "; ".join(apart(made, asked, differing))
        raise ConfigError(f"{where} holds students of another run ({pairs}): give another {option}.")


def shelf_of(
    config: EvaluateConfig,
    evaluation: Evaluation,
    records: Sequence[dict[str, Any]],
    candidates: Sequence[Candidate],
    accelerator: Accelerator,
) -> StudentShelf | None:
    """Where the students of sets are to be kept, once that is judged; None where they aren't.

    Args:
        config: names the sets, and what is asked for.
        evaluation: that will train them.
        records: of the sets, in their order; empty where a set has none.
        candidates: the copies of each set, in their order.
        accelerator: of the evaluation.

    Raises an error before anything is trained where that can't be, see `StudentShelf.judge`.
    """
    if not (config.push_students or config.save_students):
        return None
    owner, base = None, slug(config.sets[0])
    if config.push_students:
        owner, _, base = hub.full_repo_id(config.push_students).partition("/")
    sets = [learned_from(name, own, owner is not None) for name, own in zip(config.sets, records, strict=True)]
    of_copy = {own: sets[index // len(config.eval_copies)] for index, own in enumerate(candidates)}
    rows, slugs = {}, list(map(slug, config.sets))
    for place, own in enumerate(slugs[1:], 1):
        slugs[place] = f"{own}-{place + 1}" if own in slugs[1:place] else own
    for architecture in config.eval_architectures:
        for index, candidate in enumerate(candidates):
            place, copy = divmod(index, len(config.eval_copies))
            parts = [slugs[place]] if place else []
            parts += [slug(architecture)] if architecture != config.eval_architectures[0] else []
            parts += [candidate.copy] if copy else []
            rows[candidate, architecture] = "-".join([base, *parts])
    root = Path(config.save_students or f"outputs/students-{slug(base)}")
    shelf = StudentShelf(root, config, evaluation, accelerator, rows, of_copy, owner)
    shelf.judge(candidates)
    require_writable(root)
    return shelf


def learned_from(reference: str, record: dict[str, Any], pushes: bool) -> LearnedFrom:
    """A distilled set as the card of a student names it.

    That of a folder is named by the commit that it was pushed as, if that holds the same rows. Raises HubError where
    its students are to be pushed and no commit holds it.
    """
    place = hub.find(reference, "dataset")
    if not place.local:
        license = license_of(record) or hub.dataset_license(place.pin) or "unknown"
        return LearnedFrom(place.name, place.pin.reference, place.pin, license)
    license, pushed = license_of(record) or "unknown", record.get("pushed") or {}
    pin, wrong = None, "isn't on the Hub"
    if pushed.get("tag"):
        try:
            pin = hub.resolve(f"{pushed['repo_id']}@{pushed['tag']}", "dataset")
            there = json_records.read_json(hub.pull(pin, "dataset", [RECORD]) / RECORD).get("parquet_sha256")
            if there != record.get("parquet_sha256"):
                pin, wrong = None, f"has other rows than {pin}"
        except HfDdError as error:
            wrong = f"was pushed as {pushed['repo_id']}@{pushed['tag']}, but {error}"
    if pin is None and pushes:
        way = f"Push it first, as by `hf-dd push {reference}`"
        if not record:
            way = f"Make a set of it by `hf-dd import {reference} --dataset SOURCE` and push that"
        raise HubError(
            f"--push_students: {reference} {wrong.rstrip('.')}, and the card of a student names its set by a commit. "
            f"{way}, or keep the students in a folder by --save_students."
        )
    return LearnedFrom(place.name, pin.reference if pin else reference, pin, license)


def license_of(record: dict[str, Any]) -> str | None:
    """What a set is under, as its record says; None without one."""
    stated = record.get("settings", {}).get("license") if record.get("kind") == IMPORTED_SET else None
    return stated or record.get("data", {}).get("license")
