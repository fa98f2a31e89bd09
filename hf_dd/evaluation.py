"""Students on a synthetic set: trained from scratch over several seeds, tested on the real test split."""

import dataclasses
import logging
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn

from hf_dd import intervals, networks
from hf_dd.baselines import Candidate, recall, remember
from hf_dd.data import ImageData, Split
from hf_dd.data_sources import labelling
from hf_dd.errors import DataError
from hf_dd.protocols import Protocol
from hf_dd.seeding import generator
from hf_dd.side_by_side import fit_side_by_side
from hf_dd.synthetic import DistilledSet
from hf_dd.timm_networks import PREFIX, build_timm
from hf_dd.training import accuracy, fit, predict

logger = logging.getLogger(__name__)


VALIDATION_SHARE = 0.1  # of each class's real training images: what a learning rate is chosen on


@dataclass(frozen=True)
class Row:
    """The result of one copy of one set with one architecture: accuracies in percent.

    Attributes:
        set, copy, architecture: what was trained on, and what was trained.
        n: students.
        mean, std: over the students; the sample standard deviation.
        half_width: of the mean's 95 % confidence interval; None for a single student.
        scores: of the students, in the order of their seeds.
        learning_rate: of the students.
        bytes: of the set as this copy of it is stored.
        baseline: what kind of real images these are ('random', …), or None for a distilled set.
    """

    set: str
    architecture: str
    copy: str
    n: int
    mean: float
    std: float
    half_width: float | None
    scores: tuple[float, ...]
    learning_rate: float
    seconds: float
    ipc: int
    bytes: int
    baseline: str | None = None

    def __str__(self) -> str:
        return (
            f"{self.set} [{self.copy}] {self.architecture}: {self.mean:.2f} ± {self.std:.2f} (n={self.n}), "
            f"{self.bytes:,} bytes"
        )


@dataclass(frozen=True)
class Results:
    """An evaluation: its protocol, its rows, and where it ran."""

    protocol: Protocol
    rows: tuple[Row, ...]
    hardware: str

    def as_dict(self) -> dict:
        """JSON-able values: `protocol`, `rows`, `hardware`."""
        return {
            "protocol": asdict(self.protocol),
            "rows": [asdict(row) for row in self.rows],
            "hardware": self.hardware,
        }

    def difference(self, first: int, second: int) -> intervals.Interval:
        """Of the means of two rows, paired by the student's seed; raises ValueError where the students differ."""
        return intervals.of_difference(self.rows[first].scores, self.rows[second].scores)

    def __repr__(self) -> str:
        head = f"Results under {self.protocol}, {self.protocol.epochs} epochs, on {self.hardware}"
        return "\n".join([head, *(f"  {row}" for row in self.rows)])


def candidates_of(name: str, distilled: DistilledSet, data: ImageData, copies: Sequence[str]) -> list[Candidate]:
    """The copies of a distilled set; raises DataError where it doesn't fit the data set that it is tested on."""
    if distilled.class_names != data.class_names:
        raise DataError(
            f"{name} has the classes {distilled.class_names}, but {data.name} has {data.class_names}: an evaluation "
            "needs the same classes in the same order. Name the right data set by --dataset."
        )
    shape = tuple(distilled.pixel_values.shape[1:])
    if shape != (data.channels, *data.image_size):
        raise DataError(
            f"{name} has images of {shape} (channels, height, width), but {data.name} of "
            f"{(data.channels, *data.image_size)}. Name the right data set by --dataset, or its --image_size."
        )
    return [
        Candidate(name, copy, distilled.copy(copy), distilled.labels, distilled.bytes(copy), distilled.soft_labels)
        for copy in copies
    ]


class Evaluation:
    """Students under one protocol, on one data set, spread over the processes.

    Student i starts from the same parameters on every candidate, and its accuracy doesn't depend on the processes.

    Args:
        data: the real set, with a test split; DataError is raised without one.
        protocol: how students are trained.
        seed: student i's is seed + i.
        accelerator: processes, device, precision.
        compile: torch.compile the students, where they train for long enough.
    """

    def __init__(
        self, data: ImageData, protocol: Protocol, *, seed: int, accelerator: Accelerator, compile: bool = False
    ):
        if data.test is None:
            raise DataError(f"{data.name} has no test split to evaluate on; name it by --test_split.")
        self.data = data.to(accelerator.device)
        self.protocol = protocol
        self.seed = seed
        self.accelerator = accelerator
        self.compile = compile

    def run(
        self,
        candidates: Sequence[Candidate],
        architectures: Sequence[str],
        students: int,
        learning_rates: Sequence[float] = (),
    ) -> Results:
        """Train `students` of each architecture on each candidate and test them; every process returns all results.

        Where several learning rates are given, each candidate and architecture takes the one that does best on a
        validation split of the real training images, see `choose_learning_rate`.
        """
        places = [(candidate, architecture) for architecture in architectures for candidate in candidates]
        for candidate in candidates:
            labels_of(candidate, self.protocol)
        protocols = self.over_processes(
            range(len(places)), lambda place: self.choose_learning_rate(*places[place], learning_rates)
        )
        jobs = [(place, student) for place in range(len(places)) for student in range(students)]
        own = jobs[self.accelerator.process_index :: self.accelerator.num_processes]
        done = {}
        for place, (candidate, architecture) in enumerate(places):
            mine = [student for of_place, student in own if of_place == place]
            found = self.scores(candidate, architecture, mine, protocols[place], self.data)
            done |= {(place, student): score for student, score in found.items()}
        done = dict(gather_object(list(done.items())))
        rows = [
            row_of(*place, protocols[index], [done[index, student] for student in range(students)])
            for index, place in enumerate(places)
        ]
        return Results(self.protocol, tuple(rows), hardware(self.accelerator))

    def over_processes(self, keys: Sequence[int], compute: Callable[[int], Any]) -> dict[int, Any]:
        """`compute` of every key, each on one process, all known to all."""
        own = keys[self.accelerator.process_index :: self.accelerator.num_processes]
        return dict(gather_object([(key, compute(key)) for key in own]))

    def choose_learning_rate(
        self, candidate: Candidate, architecture: str, learning_rates: Sequence[float]
    ) -> Protocol:
        """The protocol at the rate whose student does best on a validation split of the real training images.

        The test split isn't even looked at: `validation_of` puts the validation images in its place. Ties go to the
        rate that is named first.
        """
        if len(learning_rates) < 2:
            return self.protocol
        held_out = validation_of(self.data, self.seed)
        protocols = [self.protocol.with_changes(learning_rate=rate) for rate in learning_rates]
        scores = [self.scores(candidate, architecture, [0], protocol, held_out)[0][0] for protocol in protocols]
        best = protocols[scores.index(max(scores))]
        logger.info(
            "%s [%s] %s: learning rate %g", *(candidate.name, candidate.copy, architecture, best.learning_rate)
        )
        return best

    def scores(
        self, candidate: Candidate, architecture: str, students: Sequence[int], protocol: Protocol, data: ImageData
    ) -> dict[int, tuple[float, float]]:
        """For each student its accuracy on the test split of `data`, in [0, 1], and its share of the seconds.

        Those of baselines are remembered. On a GPU students train side by side, unless under autocast; on a CPU one
        after another, which is faster there (`scripts/benchmark.py --work side_by_side`).
        """
        identities = {}
        if candidate.baseline:
            what = [
                candidate.baseline,
                candidate.ipc,
                architecture,
                asdict(protocol),
                self.accelerator.mixed_precision,
            ]
            where = [data.fingerprint, labelling(data.test.labels.cpu(), data.class_names), str(data.device.type)]
            identities = {student: [*what, *where, self.seed, student] for student in students}
        known = {student: recall(identity) for student, identity in identities.items()}
        missing = [student for student in students if known.get(student) is None]
        together = self.accelerator.device.type == "cuda" and self.accelerator.mixed_precision == "no"
        for group in [missing] if together and missing else [[student] for student in missing]:
            for student, scored in self.train(candidate, architecture, group, protocol, data).items():
                known[student] = scored
                if student in identities:
                    remember(identities[student], scored)
        return {student: tuple(scored) for student, scored in known.items()}

    def train(
        self, candidate: Candidate, architecture: str, students: Sequence[int], protocol: Protocol, data: ImageData
    ) -> dict[int, tuple[float, float]]:
        """Train students from scratch, side by side where there are several, and test them; see `scores`."""
        started, device = time.perf_counter(), self.accelerator.device
        learners = [new_student(architecture, data, self.seed + student).to(device) for student in students]
        sets = [candidate.of_student(student) for student in students]
        images = [own.images.to(device) for own in sets]
        labels = [labels_of(own, protocol).to(device) for own in sets]
        shared, autocast = {"purpose": "student", "prepare": data.normalise}, self.accelerator.autocast
        recipe, seeds = protocol.recipe(), [self.seed + student for student in students]
        if len(students) > 1:
            fit_side_by_side(learners, images, labels, recipe, seeds=seeds, **shared)
        else:
            own = {"seed": seeds[0], "autocast": autocast, "compile": self.compile}
            for _ in fit(*learners, *images, *labels, recipe, **own, **shared):
                pass
        scores = []
        for network in learners:
            predictions = predict(network, data.test.images, prepare=data.normalise, autocast=autocast)
            scores.append(accuracy(predictions, data.test.labels))
        seconds = (time.perf_counter() - started) / len(students)
        for student, score in zip(students, scores, strict=True):
            logger.info(
                "%s [%s] %s student %d: %.2f %% in %.0f s",
                *(candidate.name, candidate.copy, architecture, student, 100 * score, seconds),
            )
        return {student: (score, seconds) for student, score in zip(students, scores, strict=True)}


def row_of(candidate: Candidate, architecture: str, protocol: Protocol, scored: Sequence[tuple[float, float]]) -> Row:
    """The row of a candidate's students: their accuracies in [0, 1], and seconds."""
    scores = tuple(100 * score for score, _ in scored)
    interval = intervals.of_mean(scores)
    return Row(
        set=candidate.name,
        architecture=architecture,
        copy=candidate.copy,
        n=len(scores),
        mean=interval.mean,
        std=statistics.stdev(scores) if len(scores) > 1 else 0.0,
        half_width=interval.half_width if len(scores) > 1 else None,
        scores=scores,
        learning_rate=protocol.learning_rate,
        seconds=sum(seconds for _, seconds in scored),
        ipc=candidate.ipc,
        bytes=candidate.bytes,
        baseline=candidate.baseline,
    )


def validation_of(data: ImageData, seed: int) -> ImageData:
    """The data set with a tenth of each class's training images (at least one) where its test split was."""
    held = [
        data.sample_class(label, max(1, round(VALIDATION_SHARE * len(members))), generator(seed, "validation", label))
        for label, members in enumerate(data.class_index)
    ]
    chosen = torch.cat(held).to(data.device)
    return dataclasses.replace(data, test=Split(data.train.images[chosen], data.train.labels[chosen]))


def new_student(architecture: str, data: ImageData, seed: int) -> nn.Module:
    """A freshly drawn student for this data set, on the CPU: a network of ours, or timm's as `timm/NAME`.

    Raises ConfigError for an unknown architecture, and for one that can't take the images.
    """
    build = build_timm if architecture.startswith(PREFIX) else networks.build
    return build(architecture, **data.network_shape, seed=seed)


def labels_of(candidate: Candidate, protocol: Protocol) -> Tensor:
    """The labels that the protocol trains on; real images have hard ones only, and are trained on those.

    Raises DataError where the protocol wants soft labels and a distilled set has none.
    """
    if protocol.labels == "hard":
        return candidate.labels
    if candidate.soft_labels is None and candidate.baseline is None:
        raise DataError(
            f"{candidate.name} has no soft labels, which the protocol {protocol.name!r} trains on: choose another "
            "--eval_protocol."
        )
    return candidate.labels if candidate.soft_labels is None else candidate.soft_labels


def hardware(accelerator: Accelerator) -> str:
    """What a run ran on, in words: the devices, how many processes, and their threads on a CPU."""
    processes = f"{accelerator.num_processes} process{'es' if accelerator.num_processes > 1 else ''}"
    if accelerator.device.type == "cuda":
        return f"{torch.cuda.get_device_name(accelerator.device)}, {processes}"
    return f"{accelerator.device.type.upper()}, {processes} of {torch.get_num_threads()} threads"
