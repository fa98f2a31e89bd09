"""How long things take on this machine, and how much of them fits into the minutes of a run."""

import dataclasses
import itertools
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hf_dd.config import DistillConfig
from hf_dd.core.clock import since
from hf_dd.evaluation.candidates import Candidate
from hf_dd.evaluation.evaluation import Evaluation
from hf_dd.objectives.published import EMBEDDING_EPOCHS
from hf_dd.synthetic import coresets
from hf_dd.training.loop import fit, predict

# Shares of a run's seconds; the distillation gets what the others leave, about so much.
TEACHING, RACING, STUDENTS, DISTILLING = 0.15, 0.2, 0.25, 0.4
MEASURING = 0.05  # after which share of them an iteration has been measured long enough
OVERRUN = 1.5  # times its share that a race may take where the machine is slower than it was measured
SAFETY = 0.9  # of what is left for the distillation: a machine isn't always as fast as when it was measured

LONG = 200  # epochs after which students have learned enough to be compared
# Epochs, and students: of two an interval says next to nothing.
COUNTS = ((1000, 3), (600, 3), (300, 3), (200, 3), (150, 3), (100, 3), (100, 2), (100, 1), (50, 1))
WIDTHS = ("ConvNet", "ConvNetW64", "ConvNetW32")  # of teachers, networks and students: the widest that fits
MANY = 1_000  # iterations that a run should have before its network is wide
TEACHERS_EACH = 2  # of one architecture
TEACHER_EPOCHS = 8  # of teachers that could be narrower: in the same time, more epochs of fewer channels teach more
TEACHER_STEPS, MOST_TEACHER_STEPS = 200, 3_000  # fewer teach little, more take the distillation's time

REDUCTION, MOST_RUNGS = 2, 3
JUDGING = 0.5  # of the seconds of a race, at most
LONGEST = 0.25  # of them for each distillation that comes to the end: the first minute says little of the tenth
LONGEST_ANEW = 0.2  # where it is one of its own, besides what came before
SOME = 20  # iterations that tiles should have to be tried
FEWEST = 5  # iterations before a candidate is judged, and of a distillation that is worth its name

MEASURED_IMAGES = 512  # images of an epoch and of a test pass that are measured


@dataclass(frozen=True)
class StudentCosts:
    """Seconds of a student of one architecture.

    Attributes:
        image: of one image in one epoch.
        tested: of one image of a test pass.
    """

    image: float
    tested: float

    @classmethod
    def measured(cls, evaluation: Evaluation, candidate: Candidate, architecture: str) -> "StudentCosts":
        """On the faster of two epochs of some images after the first, and a part of the evaluation's test split."""
        kind, data = evaluation.students(architecture), evaluation.data
        network, images = kind.new(0).to(data.device), kind.inputs(candidate.images)
        how = {"seed": 0, "purpose": "student", "prepare": kind.prepare, "autocast": evaluation.accelerator.autocast}
        targets = evaluation.targets(candidate, evaluation.protocol)
        seen = min(len(images), MEASURED_IMAGES)
        recipe = dataclasses.replace(evaluation.protocol.recipe(), epochs=3, epoch_images=seen)
        moments = []
        for epoch in fit(network, images, targets, recipe, **how):
            epoch.total_loss.cpu()  # which waits for the device
            moments.append(time.perf_counter())
        per_image = min(after - before for before, after in itertools.pairwise(moments)) / seen
        tested = kind.tested(data.test.images[:MEASURED_IMAGES])
        started = time.perf_counter()
        predict(network, tested, prepare=kind.prepare, autocast=evaluation.accelerator.autocast).cpu()
        return cls(per_image, since(started) / len(tested))

    def of(self, images: int, epochs: int, tested: int) -> float:
        """Seconds of one student of so many epochs on so many images, tested on so many others."""
        return epochs * images * self.image + tested * self.tested


@dataclass(frozen=True)
class Size:
    """What the costs of a run depend on.

    Attributes:
        images: of the synthetic set as it is stored.
        training: of the training split.
        tested: of the test split; 0 where there is none.
    """

    images: int
    training: int
    tested: int


def seconds_of_students(config: DistillConfig, size: Size, factor: int, costs: Callable[[str], StudentCosts]) -> float:
    """Of the evaluation that these options ask for: the set's copies, each with its tiles, and the baselines.

    Of several rates each is tried first; random images are drawn as often as asked, and selections that look at a
    training have theirs.
    """
    epochs, copies = sum(config.eval_epochs), len(config.eval_copies)
    rates = len(config.eval_learning_rates)
    epochs *= rates + 1 if rates > 1 else 1
    total = 0.0
    for each in map(costs, config.eval_architectures):
        total += copies * each.of(size.images * factor**2, epochs, size.tested)
        for kind in config.baselines:
            draws = config.random_draws if kind == "random" else 1
            total += draws * each.of(size.training if kind == "full" else size.images, epochs, size.tested)
    total *= config.eval_students
    trained = config.selection_epochs or (EMBEDDING_EPOCHS if config.published else None)
    for kind in config.baselines:
        if kind not in ("random", "full") and (passes := coresets.epochs_of(kind, trained)):
            total += costs(coresets.EMBEDDING).of(size.training, passes, 0)
    return total


def students_that_fit(
    config: DistillConfig, size: Size, factor: int, costs: Callable[[str], StudentCosts], seconds: float
) -> dict[str, Any]:
    """The options of an evaluation of about so many seconds, at most the protocol's; those that are given stand.

    The float copy alone, unless copies are asked for: it is what is loaded as `pixel_values`.
    """
    copies = ["float"] if config.eval_copies == DistillConfig().eval_copies else config.eval_copies
    for epochs, count in COUNTS:
        students = count if config.eval_students is None else config.eval_students
        found = {"eval_students": students, "eval_epochs": config.eval_epochs or [epochs], "eval_copies": copies}
        if seconds_of_students(dataclasses.replace(config, **found), size, factor, costs) <= seconds:
            break
    return found


def teachers_that_fit(
    size: Size, batch: int, seconds: Callable[[str], float], limit: float, widths: Sequence[str] = WIDTHS
) -> tuple[str, int, int] | None:
    """The architecture of teachers that can be trained for long enough, their epochs and number; None where none can.

    The widest of which there is time for several; a single one of the narrowest where there isn't. Those that are
    wider than the network that the method matches with would take the time of most iterations.

    Args:
        size: of the data set.
        batch: images of a step.
        seconds: gives those of one image in one epoch, by architecture.
        limit: seconds for all of them.
        widths: architectures that they may have, the widest first.
    """
    steps = math.ceil(size.training / batch)
    for count, architecture in [*((TEACHERS_EACH, name) for name in widths), (1, widths[-1])]:
        epochs = int(limit / count / (size.training * seconds(architecture)))
        least = 1 if architecture == widths[-1] else TEACHER_EPOCHS
        if epochs >= least and epochs * steps >= TEACHER_STEPS:
            return architecture, min(epochs, math.ceil(MOST_TEACHER_STEPS / steps)), count
    return None


def seconds_of_race(
    count: int, rungs: Sequence[int], reduction: int, step: float, student: float, anew: bool = False
) -> float:
    """What a race of so many entrants takes, with seconds of a step and of a judgement; see `Entrant.anew`."""
    total, done = 0.0, 0
    for rung in rungs:
        total += count * ((rung - done) * step + student)
        count, done = max(1, count // reduction), 0 if anew else rung
    return total


@dataclass(frozen=True)
class RaceSize:
    """A race that fits into its time.

    Attributes:
        entrants: how many of the candidates; about as long as the first ones take.
        epochs: of the student that judges.
        seconds: of distillation before each rung, all together.
    """

    entrants: int
    epochs: int
    seconds: tuple[float, ...]


def race_that_fits(
    steps: Sequence[float],
    judgements: Mapping[int, Sequence[float]],
    limit: float,
    anew: bool = False,
    fewest: int = 2,
) -> RaceSize | None:
    """As many candidates as there is time for; None where there isn't for the fewest.

    Judges are students that have learned, where there is time for two candidates with them: on Fashion-MNIST those of
    60 epochs preferred the strongly guided images, those of 200 and more the weakly guided ones. A rung is twice as
    far as the one before it, and half of those that run go on from it, as long as that leaves more than one.

    Args:
        steps: seconds of an iteration of each candidate.
        judgements: by the epochs of the student, those that are liked best first, seconds of judging each candidate.
        limit: seconds for all of it.
        anew: whether each rung is a distillation of its own, see `Entrant.anew`.
        fewest: candidates that make a race. A single one, which runs against what takes no time, has half of it, as
            nothing else is to be found out.
    """
    if len(steps) == 1:
        limit /= 2
    learned = [epochs for epochs in judgements if epochs >= LONG]
    several, alone = range(len(steps), 1, -1), range(1, fewest - 1, -1)
    tried = [itertools.product(counts, judges) for counts in (several, alone) for judges in (learned, judgements)]
    for count, epochs in itertools.chain.from_iterable(tried):
        field = [count]
        while field[-1] // REDUCTION > 1 and len(field) < MOST_RUNGS:
            field.append(field[-1] // REDUCTION)
        judging = sum(field) * statistics.fmean(judgements[epochs][:count])
        legs = [2 ** (rung if anew else max(0, rung - 1)) for rung in range(len(field))]  # in units of the first
        first = (limit - judging) / sum(runners * leg for runners, leg in zip(field, legs, strict=True))
        rungs = tuple(first * 2**rung for rung in range(len(field)))
        fits = judging <= JUDGING * limit and first >= FEWEST * max(steps[:count])
        if fits and rungs[-1] >= (LONGEST_ANEW if anew else LONGEST) * limit:
            return RaceSize(count, epochs, rungs)
    return None
