"""Students on synthetic sets: trained over several seeds, tested on the real test split."""

import copy
import dataclasses
import functools
import logging
import statistics
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, asdict, dataclass

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from hf_dd.core.machine import hardware
from hf_dd.core.text import ipc_in_words
from hf_dd.data.held_out import rest_of, validation_of
from hf_dd.data.image_data import HOW_TO_TEST, ImageData
from hf_dd.errors import DataError
from hf_dd.evaluation import intervals
from hf_dd.evaluation.candidates import Candidate
from hf_dd.evaluation.learners import Job, Learners, Part, Scored
from hf_dd.evaluation.protocols import Protocol
from hf_dd.evaluation.results import Results, Row
from hf_dd.evaluation.students import Kind, students_of
from hf_dd.evaluation.teaching import Teaching
from hf_dd.teachers.pool import TeacherPool
from hf_dd.training.targets import Targets

logger = logging.getLogger(__name__)


@dataclass(eq=False, repr=False)
class Evaluation:
    """Students under one protocol, on one data set, spread over the processes.

    Student i starts from the same parameters on every candidate, and its accuracy doesn't depend on the processes.

    Args:
        data: the real set, with a test split; DataError is raised without one.
        protocol: how students are trained.
        seed: student i's is seed + i.
        accelerator: processes, device, precision.
        compile: torch.compile the students, where they train for long enough.
        learning_rates, epochs: what to choose from, for each candidate and architecture, on a validation split of the
            real training images; the protocol's own where there is none. A set that comes with a learning rate is
            trained at that if no rate is named and the protocol's optimiser is SGD, which it was learned for.
        teachers: for a protocol that asks some, those of every student, on whatever images it trains.
        draws: of random images, for every student; its score is their mean.
        looks: whether students are tested also after the epochs whose best a protocol's paper quotes.
        suited: makes a protocol what is carried out on these data, see `Protocol.suited`; for those that scores make.

    Attributes:
        teaching: gives what students learn from.
        learners: trains and tests students, and remembers their scores.
    """

    data: ImageData
    protocol: Protocol
    _: KW_ONLY
    seed: int
    accelerator: Accelerator
    compile: bool = False
    learning_rates: Sequence[float] = ()
    epochs: Sequence[int] = ()
    teachers: TeacherPool | None = None
    draws: int = 1
    looks: bool = False
    suited: Callable[[Protocol], Protocol] = copy.copy

    def __post_init__(self) -> None:
        if self.data.test is None:
            raise DataError(f"{self.data.name} has no test split to evaluate on; {HOW_TO_TEST}.")
        self.data = self.data.to(self.accelerator.device)
        self.teachers = self.teachers and self.teachers.to(self.accelerator.device, torch.float32)
        self.teaching = Teaching(self.data, self.teachers, self.accelerator)
        self._students: dict[str, Kind] = {}
        own = {"seed": self.seed, "compile": self.compile, "looks": self.looks}
        self.learners = Learners(self.data, self.students, self.teaching, self.accelerator, **own)
        self._rows: dict[tuple[Job, int], Row] = {}

    def students(self, architecture: str) -> Kind:
        """What is trained by this name; raises ConfigError, TeacherError or HubError, see `students_of`."""
        if architecture not in self._students:
            autocast = self.accelerator.autocast
            self._students[architecture] = students_of(architecture, self.protocol, self.data, autocast)
        return self._students[architecture]

    @functools.cached_property
    def held_out(self) -> ImageData:
        """The data set with validation images where its test split was."""
        return validation_of(self.data, self.seed)

    def run(self, candidates: Sequence[Candidate], architectures: Sequence[str], students: int) -> Results:
        """Train `students` of each architecture on each candidate and test them; every process returns all results.

        Whatever is to be chosen, each candidate and architecture takes what does best on the validation split.
        """
        for architecture in architectures:
            self.students(architecture)
        candidates = list(map(self.seen, candidates))
        for candidate in candidates:
            self.targets(candidate, self.protocol)
        choices = [
            [Job(candidate, architecture, option) for option in self.options(candidate, self.protocol, architecture)]
            for architecture in architectures
            for candidate in candidates
        ]
        rows = self.rows(self.choose(choices), students)
        taught_by = tuple(asdict(teacher.spec) | {"bytes": teacher.bytes} for teacher in self.teachers or ())
        return Results(
            self.resolved(candidates[0], self.protocol, architectures[0]) if candidates else self.protocol,
            tuple(rows),
            hardware(self.accelerator),
            teachers=taught_by,
            majority=self.majority,
            chance=100 / self.data.num_classes,
            test_images=len(self.data.test),
            seed=self.seed,
            data=self.data.name,
        )

    @property
    def majority(self) -> float:
        """Percent of the test split in its commonest class."""
        return 100 * torch.bincount(self.data.test.labels).max().item() / len(self.data.test)

    def targets(self, candidate: Candidate, protocol: Protocol) -> Targets:
        """What students on a candidate learn from; see `Teaching.targets`."""
        return self.teaching.targets(candidate, protocol)

    def seen(self, candidate: Candidate) -> Candidate:
        """What students see of a candidate: where the protocol doesn't decode tiles, its stored images."""
        return candidate if self.resolved(candidate, self.protocol, "").decodes else candidate.tiled or candidate

    def resolved(self, candidate: Candidate, protocol: Protocol, architecture: str) -> Protocol:
        """A protocol as it is for this candidate and student, see `Protocol.resolve`."""
        side = min(self.data.image_size)
        if candidate.epoch_images:
            protocol = protocol.with_changes(epoch_images=candidate.epoch_images)
        return protocol.resolve(candidate.shown_ipc, self.data.num_classes, side, architecture)

    def options(self, candidate: Candidate, protocol: Protocol, architecture: str = "") -> list[Protocol]:
        """A protocol, suited and resolved, with each of the epochs and rates that may be chosen for a candidate.

        The rates that were named are those of the evaluation's optimiser; under another one the protocol's own stands.
        """
        protocol = self.resolved(candidate, self.suited(protocol), architecture)
        rates: Sequence[float] = self.learning_rates if protocol.optimizer == self.protocol.optimizer else ()
        if not rates:
            own = candidate.learning_rate if protocol.optimizer == "sgd" else None
            rates = [protocol.learning_rate if own is None else own]
        return [
            protocol.with_changes(epochs=epochs, learning_rate=rate)
            for epochs in self.epochs or [protocol.epochs]
            for rate in rates
        ]

    def choose(self, choices: Sequence[Sequence[Job]]) -> list[Job]:
        """Of each choice, jobs that differ in the protocol, the one that does best on a validation split.

        That is one of the real training images, and the test split isn't even looked at: `held_out` has the validation
        images in its place. Ties go to the job that comes first. Every process returns all.
        """
        choices = list(map(tuple, choices))
        waiting = list(dict.fromkeys(jobs for jobs in choices if len(jobs) > 1))
        places = range(self.accelerator.process_index, len(waiting), self.accelerator.num_processes)
        trials = [self.trials(waiting[place]) for place in places]
        parts = [part for own in trials for part in own]
        with self.learners.phase("choosing epochs and rates", parts, "trial"):
            mine = [(place, self.best(own)) for place, own in zip(places, trials, strict=True)]
        found = dict(gather_object(mine))
        best = {jobs: found[place] for place, jobs in enumerate(waiting)}
        return [jobs[best.get(jobs, 0)] for jobs in choices]

    def trials(self, jobs: Sequence[Job]) -> list[Part]:
        """Jobs as they are tried: one student each, tested on the validation split."""
        candidate = jobs[0].candidate
        if candidate.baseline == "full":  # it holds the validation images themselves
            rest = rest_of(self.data, self.seed)
            candidate = dataclasses.replace(candidate, images=rest.images, labels=rest.labels)
        return [(job._replace(candidate=candidate), [0], self.held_out) for job in jobs]

    def best(self, trials: Sequence[Part]) -> int:
        """Index of the trial whose student does best."""
        jobs, candidate = [job for job, *_ in trials], trials[0][0].candidate
        scores = [self.learners.accuracies(*trial)[0][0] for trial in trials]
        best = scores.index(max(scores))
        logger.info(
            "%s [%s] %s: %s, the best of %d on the validation split",
            *(candidate.name, candidate.copy, jobs[best].architecture, jobs[best].protocol, len(jobs)),
        )
        return best

    def rows(self, jobs: Sequence[Job], students: int) -> list[Row]:
        """The row of each job, trained once in this evaluation; every process returns all."""
        missing = [job for job in dict.fromkeys(jobs) if (job, students) not in self._rows]
        each = [
            (place, student, draw)
            for place, job in enumerate(missing)
            for student in range(students)
            for draw in range(self.draws_of(job))
        ]
        own = each[self.accelerator.process_index :: self.accelerator.num_processes]
        parts: dict[tuple[int, int], Part] = {}
        for place, job in enumerate(missing):
            for draw in range(self.draws_of(job)):
                mine = [student for of_place, student, of_draw in own if (of_place, of_draw) == (place, draw)]
                of_draw = dataclasses.replace(job.candidate, drawn=draw) if draw else job.candidate
                parts[place, draw] = job._replace(candidate=of_draw), mine, self.data
        done = {}
        with self.learners.phase("evaluation", list(parts.values()), "student"):
            for (place, draw), part in parts.items():
                for student, scored in self.learners.accuracies(*part).items():
                    done[place, student, draw] = scored
        done = dict(gather_object(list(done.items())))
        for place, job in enumerate(missing):
            draws = range(self.draws_of(job))
            scored = [[done[place, student, draw] for draw in draws] for student in range(students)]
            self._rows[job, students] = self.row(job, scored)
        return [self._rows[job, students] for job in jobs]

    def draws_of(self, job: Job) -> int:
        """How many draws of its images each student of a job is trained on."""
        return self.draws if job.candidate.draw else 1

    def row(self, job: Job, scored: Sequence[Sequence[Scored]]) -> Row:
        """The row of a job's students, of which each has been trained on one or several draws."""
        candidate, architecture, protocol = job
        scores = tuple(100 * statistics.fmean(score for score, *_ in of_student) for of_student in scored)
        every = [each for of_student in scored for each in of_student]
        losses = [each[2] for each in every]
        best = [100 * statistics.fmean(each[3] for each in of_student) for of_student in scored if self.looks]
        count = len(candidate.images)
        interval = intervals.of_mean(scores)
        has_own = protocol.optimizer == "sgd" and candidate.learning_rate is not None
        return Row(
            set=candidate.name,
            architecture=architecture,
            copy=candidate.copy,
            n=len(scores),
            mean=interval.mean,
            std=statistics.stdev(100 * each[0] for each in every) if len(every) > 1 else 0.0,
            half_width=interval.half_width,
            scores=scores,
            protocol=str(protocol),
            learning_rate=protocol.learning_rate,
            epochs=protocol.epochs,
            seconds=sum(each[1] for each in every),
            ipc=candidate.ipc if isinstance(candidate.ipc, int) else ipc_in_words(candidate.ipc),
            bytes=candidate.bytes,
            own_learning_rate=has_own and protocol.learning_rate == candidate.learning_rate,
            baseline=candidate.baseline,
            backbone=self.students(architecture).backbone,
            soft_label_bytes=self.teaching.label_bytes(candidate, protocol),
            losses=tuple(map(statistics.fmean, zip(*losses, strict=True))) if all(losses) else (),
            regime=protocol.labels,
            draws=len(every) if candidate.draw else None,
            steps=protocol.steps(count),
            images_seen=protocol.images_seen(count),
            teacher_calls=self.teaching.calls(candidate, protocol, count),
            looks=sum(protocol.looks_at(epoch + 1) for epoch in range(protocol.epochs)) if best else None,
            best_of_looks=statistics.fmean(best) if best else None,
            **self.teaching.teaching(candidate, protocol),
        )
