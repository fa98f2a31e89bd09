"""Students as an evaluation has them: each trained and tested once, and its score remembered."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import NamedTuple
from typing import Protocol as Interface

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from hf_dd.core import cache
from hf_dd.core.clock import since
from hf_dd.core.progress import Phase, say_if_dear
from hf_dd.data.image_data import ImageData
from hf_dd.evaluation import convergence
from hf_dd.evaluation.candidates import Candidate, score_file
from hf_dd.evaluation.protocols import Protocol
from hf_dd.evaluation.students import Kind
from hf_dd.evaluation.teaching import Teaching
from hf_dd.training.loop import accuracy, fit, predict
from hf_dd.training.side_by_side import fit_side_by_side

logger = logging.getLogger(__name__)

# A student's accuracy in [0, 1], its seconds, its losses by `convergence`; the best of its looks, where there are any.
Scored = tuple[float, float, list[float]] | tuple[float, float, list[float], float]


class Job(NamedTuple):
    """What students are trained on, which, and how."""

    candidate: Candidate
    architecture: str
    protocol: Protocol

    @property
    def work(self) -> int:
        """Images that a student of it learns, in all epochs."""
        return self.protocol.images_seen(len(self.candidate.images))


Part = tuple[Job, Sequence[int], ImageData]  # a job, students of it, and the data that they are tested on


class Shelf(Interface):
    """Where the students of distilled sets are kept that are trained.

    `key` is a digest of all that the student's accuracy follows from.
    """

    def holds(self, job: Job, student: int, key: str) -> bool:
        """Whether that very student is there already."""

    def put(self, job: Job, student: int, key: str, network: nn.Module, accuracy: float) -> None:
        """Keep a student; its accuracy is in [0, 1]."""


@dataclass(eq=False, repr=False)
class Learners:
    """The students of any job, as this process trains and tests them.

    Args:
        data: the real set, on the accelerator's device: its test split is what looks and kept students are for.
        kind: gives what is trained by the name of an architecture.
        teaching: gives what students learn from.
        accelerator: device, precision.
        seed: student i's is seed + i.
        compile: torch.compile the students, where they train for long enough.
        looks: whether students are tested also after the epochs whose best a protocol's paper quotes.

    Attributes:
        shelf: where students of distilled sets are kept. One whose score is remembered, but that isn't there, is
            trained again.
    """

    data: ImageData
    kind: Callable[[str], Kind]
    teaching: Teaching
    accelerator: Accelerator
    _: KW_ONLY
    seed: int
    compile: bool = False
    looks: bool = False
    shelf: Shelf | None = None
    _keys: dict[int, str] = field(default_factory=dict)  # of the students that are being trained, those for the shelf

    def accuracies(self, job: Job, students: Sequence[int], data: ImageData) -> dict[int, Scored]:
        """For each student its accuracy on the test split of `data`, its share of the seconds, and its losses.

        With `looks` also the best accuracy after the epochs that the protocol's paper looks at.

        They are remembered as soon as they are there: what was interrupted goes on. On a GPU students train side by
        side, unless under autocast; on a CPU one after another, which is faster there (`scripts/benchmark.py --work
        side_by_side`).
        """
        candidate, _, protocol = job
        kept, known = self.score_files(job, students, data), self.known(job, students, data)
        missing = [student for student in students if student not in known]
        self._keys = {student: kept[student].stem for student in missing} if self.shelves(job, data) else {}
        if again := sum(cache.recall(kept[student]) is not None for student in self._keys):
            logger.info("%s: %d remembered students have no network: trained again.", candidate.name, again)
        say_if_dear(f"{candidate.name}, {job.architecture}", len(candidate.images), protocol.epochs, len(missing))
        together = self.accelerator.device.type == "cuda" and self.accelerator.mixed_precision == "no"
        together = together and protocol.recipe().is_plain and not self.looks and protocol.labels != "crops"
        for group in [missing] if together and missing else [[student] for student in missing]:
            for student, scored in self.train(job, group, data).items():
                known[student] = scored
                cache.keep(kept[student], scored)
        return {student: tuple(scored) for student, scored in known.items()}

    def phase(self, what: str, parts: Sequence[Part], unit: str) -> Phase:
        """A phase of all that `accuracies` is still to train for these parts."""
        missing = [len(part[1]) - len(self.known(*part)) for part in parts]
        work = sum(count * job.work for count, (job, *_) in zip(missing, parts, strict=True))
        return Phase(what, work, unit, count=sum(missing))

    def known(self, job: Job, students: Sequence[int], data: ImageData) -> dict[int, Scored]:
        """Of these students those that needn't be trained: their scores are remembered, they are on their shelf."""
        found = {}
        for student, file in self.score_files(job, students, data).items():
            scored = cache.recall(file)
            if scored is not None and not (self.shelves(job, data) and not self.shelf.holds(job, student, file.stem)):
                found[student] = scored
        return found

    def shelves(self, job: Job, data: ImageData) -> bool:
        """Whether the students of a job are to be on the shelf."""
        return self.shelf is not None and data is self.data and job.candidate.baseline is None

    def score_files(self, job: Job, students: Sequence[int], data: ImageData) -> dict[int, Path]:
        """Where each student's score is remembered."""
        identity = self.identity(job, data)
        return {student: score_file([*identity, self.seed, student]) for student in students}

    def identity(self, job: Job, data: ImageData) -> list:
        """All that the accuracy of a student of a job follows from but its seed, JSON-able."""
        candidate, architecture, protocol = job
        teachers = self.teaching.teachers if protocol.asks_teachers else None
        return [
            candidate.identity,
            self.kind(architecture).identity,
            protocol.as_dict(),
            self.accelerator.mixed_precision,
            self.teaching.teaching(candidate, protocol),
            [teacher.spec.head for teacher in teachers or ()],
            *(teacher.spec.configuration for teacher in teachers or () if teacher.spec.configuration),
            *([candidate.crop_labels.digest] if protocol.labels == "crops" and candidate.crop_labels else []),
            *([["looks"]] if self.looks and data is self.data else []),
            *(data.seen_as, data.tested_on),
            str(data.device.type),
        ]

    def train(self, job: Job, students: Sequence[int], data: ImageData) -> dict[int, Scored]:
        """Train students, side by side where there are several, and test them; see `accuracies`."""
        candidate, architecture, protocol = job
        started, kind, best = time.perf_counter(), self.kind(architecture), []
        who = f"{candidate.name} [{candidate.copy}] {architecture} student {', '.join(map(str, students))}"
        amount = {"share": job.work * len(students), "parts": len(students)}
        tested = kind.tested(data.test.images, keep=True)

        def score_of(network: nn.Module) -> float:
            predictions = predict(network, tested, prepare=kind.prepare, autocast=self.accelerator.autocast)
            return accuracy(predictions, data.test.labels)

        def look(epoch: int, network: nn.Module) -> None:
            if self.looks and data is self.data and protocol.looks_at(epoch):
                best.append(score_of(network))

        with Phase(who, protocol.epochs, "epoch", **amount) as phase:
            learners, losses = self.fitted(job, students, phase.update, look)
            scores = [score_of(network) for network in learners]
        seconds = since(started) / len(students)
        curves = [convergence.stretches(of_student) for of_student in losses]
        for student, score in zip(students, scores, strict=True):
            logger.info(
                "%s [%s] %s student %d: %.2f %% in %.0f s",
                *(candidate.name, candidate.copy, architecture, student, 100 * score, seconds),
            )
        for student, network, score in zip(students, learners, scores, strict=True):
            if student in self._keys:
                self.shelf.put(job, student, self._keys[student], network, score)
        done = zip(students, scores, curves, strict=True)
        more = [max(best)] if best else []
        return {student: (score, seconds, of_student, *more) for student, score, of_student in done}

    def fitted(
        self,
        job: Job,
        students: Sequence[int],
        tell: Callable[[float], object] = lambda share: None,
        look: Callable[[int, nn.Module], object] = lambda epoch, network: None,
    ) -> tuple[list[nn.Module], Tensor]:
        """Train students, side by side where there are several whose networks draw nothing themselves.

        Returns them and their losses, (students, epochs), on the device.

        `tell` is called after every batch with its share of an epoch of all of them, `look` after every epoch of a
        student alone with the epoch's number.
        """
        candidate, architecture, protocol = job
        kind, seeds = self.kind(architecture), [self.seed + student for student in students]
        learners = [kind.new(seed).to(self.accelerator.device) for seed in seeds]
        sets = [candidate.of_student(student) for student in students]
        images = [kind.inputs(own.images, keep=own is candidate) for own in sets]
        labels = [self.teaching.targets(own, protocol) for own in sets]
        shared = {"purpose": "student", "prepare": kind.prepare, "tell": tell}
        if len(students) > 1:
            try:
                return learners, fit_side_by_side(learners, images, labels, protocol.recipe(), seeds=seeds, **shared)
            except RuntimeError as error:  # before the first step, of networks that draw themselves, as for dropout
                if "random operation" not in str(error):
                    raise
        shared |= {"autocast": self.accelerator.autocast, "compile": self.compile and kind.backbone is None}
        shared["tell"] = lambda share: tell(share / len(students))
        of_each = []  # whose reading would wait for the device
        for network, inputs, targets, seed in zip(learners, images, labels, seeds, strict=True):
            losses = []
            for epoch in fit(network, inputs, targets, protocol.recipe(), seed=seed, **shared):
                losses.append(epoch.total_loss / epoch.images)
                look(epoch.number, network)
            of_each.append(torch.stack(losses))
        return learners, torch.stack(of_each)
