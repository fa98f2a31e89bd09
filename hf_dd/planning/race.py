"""Short distillations side by side, of which those that lag behind are given up.

Every entrant distils nine tenths of the training images; students of its images at a rung are tested on the other
tenth, and the better half (or third, …) goes on to the next: successive halving (Jamieson & Talwalkar, AISTATS 2016).
Where not all of them start, each one that does differs from the best so far in as little as it can: on waves of 24×40
pixels a guide gained 4 points with images in tiles, whole images gained 14, and guided whole images hadn't been tried.
Where the rate on the images falls along a cosine, it falls to the rung, and the next one is a distillation anew:
images that still take long steps say little of what they come to (coloured textures, one student: 46 % after 48
iterations with the rate as it began, 53 % after 51 where it had fallen).
The test split has no part in it.
"""

import dataclasses
import itertools
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hf_dd.config import DistillConfig
from hf_dd.core import files
from hf_dd.core.layout import CHECKPOINTS
from hf_dd.core.processes import by_main_process, from_main_process
from hf_dd.core.progress import say
from hf_dd.core.registry import OBJECTIVES
from hf_dd.core.tensors import FLOAT_BYTES
from hf_dd.distillation import checkpoints
from hf_dd.distillation.distiller import Distiller
from hf_dd.errors import RunError
from hf_dd.evaluation.candidates import Candidate
from hf_dd.evaluation.evaluation import Evaluation
from hf_dd.evaluation.learners import Job
from hf_dd.planning.budget import StudentCosts
from hf_dd.synthetic.synthetic_set import SyntheticSet
from hf_dd.teachers.experts import ExpertPool
from hf_dd.teachers.pool import TeacherPool

MEASURED_STEPS = 2  # iterations, after the first one


@dataclass(eq=False)
class Entrant:
    """A distillation in a race.

    Attributes:
        name: in words.
        config: its options.
        pool: gives its teachers, or None, whenever they are needed: of many entrants they aren't all held at once.
        rungs: the iterations after which it is judged, ascending; as many as of every other.
        choices: what it takes of each thing that is to be chosen: places, the likeliest is 0.
        scores: mean accuracies (%) on the validation split, by iterations.
        seconds: of its distillation and its students so far.
        step: seconds of an iteration of its last leg, or None before the first.
    """

    name: str
    config: DistillConfig
    pool: Callable[[], TeacherPool | None] = lambda: None
    rungs: tuple[int, ...] = ()
    choices: tuple[int, ...] = ()
    scores: dict[int, float] = field(default_factory=dict)
    seconds: float = 0.0
    step: float | None = None

    @property
    def reached(self) -> int:
        """Rungs that it was judged at."""
        return sum(rung in self.scores for rung in self.rungs)

    @property
    def last_score(self) -> float:
        """At the last rung that it was judged at."""
        return self.scores[self.rungs[self.reached - 1]]

    @property
    def anew(self) -> bool:
        """Whether each rung is a distillation of its own: one whose rate falls is judged at its end."""
        published = OBJECTIVES.find(self.config.objective).published
        return published.filled_in(self.config)["image_schedule"] == "cosine"

    def to_next(self, step: float, student: float) -> float:
        """Seconds to its next rung, with seconds of a step and of a judgement."""
        done = self.rungs[self.reached - 1] if self.reached and not self.anew else 0
        return (self.rungs[self.reached] - done) * step + student


class Race:
    """A race.

    Args:
        folder: an entrant distils in its subfolder, and goes on there after an interruption.
        entrants: by the names of their subfolders, the likeliest first, which decides between equals.
        evaluation: of a data set as `held_out` makes it, on the processes and device of all this.
        architectures: of the students.
        students: of each architecture.
        reduction: one in so many goes on from a rung.
        expected: whether the first is the likeliest to be best: then those within a standard error of the best one,
            by the number of validation images, are its equals.
        keep: is called, on every process, whenever there is something new to keep.
        experts: the trajectories that the objective follows, or None.
        starting: how many of them start; all, unless it is given.
    """

    def __init__(
        self,
        folder: Path,
        entrants: Mapping[str, Entrant],
        evaluation: Evaluation,
        architectures: Sequence[str],
        students: int,
        *,
        reduction: int,
        expected: bool = False,
        keep: Callable[[], object] = lambda: None,
        experts: ExpertPool | None = None,
        starting: int | None = None,
    ):
        self.experts = experts
        self.folder, self.evaluation, self.keep = folder, evaluation, keep
        self.entrants, self.places = list(entrants.values()), list(entrants)
        self.architectures, self.students, self.reduction = architectures, students, reduction
        self.expected = expected
        self.starting = len(self.entrants) if starting is None else min(starting, len(self.entrants))

    def run(self, enough: Callable[[Entrant], bool] = lambda entrant: True) -> None:
        """Run it to its end, or until there isn't `enough` time for the next leg, which every process has to say."""
        running: list[Entrant] = []
        while len(running) < self.starting:
            running.append(self.next_to(running))
            if not self.judged_at(0, running[-1], f"{len(running)} of {self.starting}", enough):
                return
        for rung in range(1, len(self.entrants[0].rungs)):
            running = self.ranked(running, rung - 1)[: max(1, len(running) // self.reduction)]
            for place, entrant in enumerate(running, 1):
                if not self.judged_at(rung, entrant, f"{place} of {len(running)}", enough):
                    return

    def judged_at(self, rung: int, entrant: Entrant, place: str, enough: Callable[[Entrant], bool]) -> bool:
        """Whether it is judged at a rung: now, unless it was before an interruption, or there isn't `enough` time."""
        if entrant.reached > rung:
            return True
        if not enough(entrant):
            return False
        self.advance(entrant)
        told = f"{entrant.scores[entrant.rungs[rung]]:.2f} % after {entrant.rungs[rung]} iterations"
        say("Rung %d, %s: %s: %s", rung + 1, place, entrant.name, told)
        self.keep()
        return True

    def next_to(self, started: Sequence[Entrant]) -> Entrant:
        """Who starts next: it differs least from the best so far, in what was tried least; the likeliest of such."""
        if not self.entrants[0].choices:
            return self.entrants[len(started)]
        best = self.ranked(started, 0)[0] if started else self.entrants[0]

        def differing(entrant: Entrant) -> set[int]:
            return {place for place, choice in enumerate(entrant.choices) if choice != best.choices[place]}

        def unlikely(entrant: Entrant) -> tuple[int, int, int]:
            changed = differing(entrant)
            return len(changed), sum(bool(changed & differing(each)) for each in started), sum(entrant.choices)

        return min((each for each in self.entrants if each not in started), key=unlikely)

    def ranked(self, entrants: Sequence[Entrant], rung: int) -> list[Entrant]:
        """Entrants by their scores at a rung, the best first; of equals, the likeliest."""
        scores = {id(each): each.scores[each.rungs[rung]] for each in entrants}
        best = max(scores.values(), default=0.0)
        noise = math.sqrt(best * (100 - best) / len(self.evaluation.data.test)) if self.expected else 0.0
        likeliest = sorted(entrants, key=self.entrants.index)
        return sorted(likeliest, key=lambda each: -best if best - scores[id(each)] <= noise else -scores[id(each)])

    def best(self) -> Entrant | None:
        """The best of those that came furthest; None where nobody was judged."""
        furthest = max((entrant.reached for entrant in self.entrants), default=0)
        there = [entrant for entrant in self.entrants if furthest and entrant.reached == furthest]
        return next(iter(self.ranked(there, furthest - 1)), None)

    def distiller(self, entrant: Entrant, folder: Path, **changes: Any) -> Distiller:
        """What distils an entrant in a folder, with changes of its options."""
        place = self.evaluation.accelerator, folder, self.experts
        config = dataclasses.replace(entrant.config, **changes)
        return Distiller(config, self.evaluation.data, entrant.pool(), *place)

    def advance(self, entrant: Entrant) -> None:
        """Bring an entrant to its next rung, and judge it there."""
        self.look(entrant, entrant.rungs[entrant.reached])

    def look(self, entrant: Entrant, rung: int) -> None:
        """Judge an entrant after so many iterations: more than so far, unless each rung is a distillation anew."""
        folder, changes = self.folder / self.places[self.entrants.index(entrant)], {}
        if entrant.anew:
            folder, changes = folder / f"{rung}-iterations", {"iterations": rung}
        distiller = self.distiller(entrant, folder, **changes)
        if from_main_process(lambda: goes_on(folder, distiller)):
            distiller.config = dataclasses.replace(distiller.config, resume_from_checkpoint="latest")
        progress = distiller.begin()
        goes_further = entrant.reached and not entrant.anew
        before = progress.seconds if goes_further else 0.0  # those of its former rungs are counted
        done, leg = progress.step, progress.seconds
        progress = distiller.iterate(progress, until=rung)
        if rung > done:
            entrant.step = from_main_process(lambda: (progress.seconds - leg) / (rung - done))
        score, seconds = self.judge(candidate_of(distiller.synthetic, f"{entrant.name}, {rung}"))
        entrant.seconds += progress.seconds - before + seconds
        entrant.scores[rung] = score

    def judge(self, candidate: Candidate) -> tuple[float, float]:
        """Mean accuracy (%) of students on images, on the validation split; and their seconds."""
        jobs = [Job(candidate, architecture, self.evaluation.protocol) for architecture in self.architectures]
        rows = self.evaluation.rows(jobs, self.students)
        return statistics.fmean(row.mean for row in rows), sum(row.seconds for row in rows)

    def seconds_of_step(self, entrant: Entrant, limit: float) -> float:
        """Of an iteration of an entrant, measured on a few in a folder of their own.

        Of long ones a few optimiser steps are measured. After `limit` seconds it is enough; then the first one,
        which is slower than the others, may be all.
        """
        place = self.folder / "measured"
        by_main_process(lambda: files.remove(place))
        distiller = self.distiller(entrant, place)
        distiller.begin()
        parts, indices = distiller.objective.updates, itertools.count()
        taken = map(distiller.step if parts == 1 else lambda index: next(running), indices)
        running = itertools.chain.from_iterable(map(distiller.updates, itertools.count()))
        moments = [time.perf_counter()]
        while len(moments) < 2 + MEASURED_STEPS:
            distiller.read(next(taken))  # when it has been computed
            moments.append(time.perf_counter())
            if from_main_process(lambda: moments[-1] - moments[0] > limit):
                break
        by_main_process(lambda: files.remove(place))
        first, *others = (after - before for before, after in itertools.pairwise(moments))
        each = min(others, default=first)  # what else the machine does only adds to it
        return from_main_process(lambda: each * parts)

    def seconds_of_judgement(self, entrant: Entrant) -> float:
        """Of all students that judge an entrant."""
        place = self.folder / "measured"
        candidate = candidate_of(self.distiller(entrant, place).synthetic, entrant.name)
        costs = [StudentCosts.measured(self.evaluation, candidate, name) for name in self.architectures]
        epochs, tested = self.evaluation.protocol.epochs, len(self.evaluation.data.test)
        each = sum(cost.of(len(candidate.images), epochs, tested) for cost in costs)
        shares = math.ceil(self.students / self.evaluation.accelerator.num_processes)
        return from_main_process(lambda: each * shares)


def candidate_of(synthetic: SyntheticSet, name: str) -> Candidate:
    """The images of a set that is being distilled, as they are now."""
    images = synthetic.own_space(synthetic.images()).detach().float().cpu()
    labels = synthetic.image_labels().cpu()
    return Candidate(name, "float", images, labels, images.numel() * FLOAT_BYTES, factor=synthetic.factor)


def goes_on(folder: Path, distiller: Distiller) -> bool:
    """Whether a distillation goes on with what lies in its folder; what is another's, as of a slip, is removed."""
    try:
        kept = checkpoints.checkpoints(folder / CHECKPOINTS)
        own = distiller.identity, distiller.not_given
        if kept and not checkpoints.differences(checkpoints.read_state(kept[-1]), *own):
            return True
    except RunError:  # damaged
        pass
    files.remove(folder)
    return False
