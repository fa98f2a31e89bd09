"""What a run does with the minutes that it has: measured costs, teachers of its own, and a race for what isn't given.

Everything is chosen on a tenth of the training images, and what is decided are plain options: a run that is given
those makes the same set without a plan. The clock decides how long things are; the rest follows from the seed.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from hf_dd.config import DistillConfig, PretrainConfig, TeacherConfig
from hf_dd.config.base import defaults, part
from hf_dd.config.data import RunConfig
from hf_dd.core import files
from hf_dd.core.processes import by_main_process
from hf_dd.core.progress import Phase, say
from hf_dd.core.registry import PROTOCOLS
from hf_dd.data.image_data import ImageData
from hf_dd.distillation.checks import preflight
from hf_dd.distillation.run_folder import PLAN, PLANNING, TEACHERS
from hf_dd.errors import ConfigError, DataError
from hf_dd.evaluation.students import names_network
from hf_dd.planning import budget, candidates
from hf_dd.planning.candidates import Option
from hf_dd.planning.measurements import Measurements
from hf_dd.planning.race import Entrant, Race
from hf_dd.synthetic import coresets
from hf_dd.teachers.experts import ExpertPool
from hf_dd.teachers.pool import TeacherPool
from hf_dd.training.loop import accuracy, predict

JUDGE = "ConvNetW32"  # of candidates: narrow, as it is trained for each of them
JUDGE_EPOCHS = (300, 200, 100, 60)
OWN_TEACHERS = {"learning_rate": 0.05, "weight_decay": 5e-4, "lr_drops": [0.75]}  # for few epochs, as in the recipes

Teach = Callable[[PretrainConfig], Sequence[str]]  # trains teachers and gives their references


class Planner(Measurements):
    """The plan of a run.

    Args:
        config: the options, with `minutes`; what they say stands, the rest is chosen.
        data: the real set.
        pool: the teachers that were named, or None.
        accelerator: processes, device, precision.
        folder: of the run, which this process holds.
        started: when the run began, by `time.perf_counter()`.
        experts: the trajectories that the objective follows, or None.

    Raises DataError for a data set that is too small to hold images out.
    """

    def __init__(
        self,
        config: DistillConfig,
        data: ImageData,
        pool: TeacherPool | None,
        accelerator: Accelerator,
        folder: Path,
        started: float,
        experts: ExpertPool | None = None,
    ):
        super().__init__(config, data, accelerator, folder, started)
        self.experts = experts
        self.given, self.pool = pool, pool  # the pool becomes the run's own, once they are trained
        online = PROTOCOLS.find(config.eval_protocol).labels == "online"
        drawn = self.published.drawn(config) not in (None, "random")
        self.needs_teachers = self.uses_teachers or drawn or config.soft_labels != "none" or online  # guided or not

    # What is decided, in turn.

    def students(self, factor: int, rest: float | None = None) -> tuple[dict[str, Any], float]:
        """The options of the run's evaluation, and its seconds: a share of the run's, or of the `rest` that is left.

        Several students that have learned tell more than one wide one that has begun to: where there isn't time for
        both, they are narrow, unless their architecture was given.
        """
        config = self.config
        given = config.eval_architectures
        if not config.eval_students or not self.size.tested:
            return {"eval_students": 0}, 0.0
        share = budget.STUDENTS * self.seconds
        if rest is not None:  # a plan that took longer than it should isn't paid for by the distillation alone
            share = min(share, rest * budget.STUDENTS / (budget.STUDENTS + budget.DISTILLING))
        for name in budget.WIDTHS if given == [budget.WIDTHS[0]] else [given[0]]:
            costs = self.costs(name if names_network(name) else JUDGE)
            own = {} if name == given[0] else {"eval_architectures": [name]}
            asked = dataclasses.replace(config, **own)
            own |= budget.students_that_fit(asked, self.size, factor, costs, share)
            long = config.eval_epochs or own["eval_epochs"][0] >= budget.LONG
            if long and own["eval_students"] >= min(2, config.eval_students):
                break
        seconds = budget.seconds_of_students(dataclasses.replace(config, **own), self.size, factor, costs)
        return own, seconds

    def own_teachers(self) -> PretrainConfig | None:
        """How the run's own teachers are trained; None where it is given some, wants none, or has no time."""
        config = self.config
        if self.given or config.clom == "none" or not self.published.iterations:
            return None
        if not self.size.tested:
            if config.clom is None:
                return None
            raise DataError(
                f"{self.data.name} has no test split, on which teachers are tested: name it by --test_split, or give "
                f"--teachers for --clom {config.clom}."
            )
        limit = budget.TEACHING * self.seconds
        batch = 64 if self.size.training < 20_000 else 128
        likeliest = next(filter(self.affordable, self.factors))
        network = self.of_factor(likeliest).get("architecture", config.architecture)
        widths = budget.WIDTHS[budget.WIDTHS.index(network) :] if network in budget.WIDTHS else budget.WIDTHS
        found = budget.teachers_that_fit(self.size, batch, lambda name: self.costs(name).image, limit, widths)
        if found is None and config.clom is None:
            return None
        shortest = max(1, budget.TEACHER_STEPS * batch // self.size.training)
        architecture, epochs, count = found or (budget.WIDTHS[-1], shortest, 1)
        return PretrainConfig(
            **part(config, RunConfig)
            | OWN_TEACHERS
            | {"architectures": [architecture], "teacher_seeds": list(range(count))}
            | {"epochs": epochs, "keep_epochs": [epochs]}
            | {"batch_size": batch, "augment": self.augment}
            | {"output_dir": str(self.folder / TEACHERS), "overwrite_output_dir": False}
        )

    @property
    def factors(self) -> Sequence[int]:
        """Tiles per side that may be."""
        height, width = self.data.image_size
        decoded = 4 * self.data.num_classes * self.data.channels * height * width
        return candidates.factors(self.config, self.published, min(height, width), self.smallest_class, decoded)

    def affordable(self, factor: int) -> bool:
        """Whether there is time for some iterations with so many tiles, by what they take with the fewest."""
        if factor == min(self.factors):
            return True
        options, step = self.shortest()
        real = options.get("real_batch_size", self.config.real_batch_size) or 0
        more = (real + self.config.ipc * factor**2) / (real + self.config.ipc * options["factor"] ** 2)
        return budget.SOME * more * step <= budget.DISTILLING * self.seconds

    def shortest(self) -> tuple[dict[str, Any], float]:
        """The options of the candidate whose iterations take least, and the seconds of one."""
        factor = min(self.factors)
        options = self.of_factor(factor) | {"factor": factor, "clom": "none"}
        return options, self.step("the shortest run", options)

    def candidates(self, taught: dict[str, Any] | None) -> list[Option]:
        """What may be chosen, with teachers where `taught` names them."""
        config = self.config
        known = self.pool is None or config.fit_head
        known = known or all(teacher.knows(self.data.class_names) for teacher in self.pool)
        return candidates.combined(
            list(filter(self.affordable, self.factors)),
            candidates.guides(config, taught, "ce" if known else "cos"),
        )

    def planned(self, teach: Teach) -> DistillConfig:
        """The run's options with all that was chosen, and no minutes any more."""
        with Phase("planning"):
            decided = self.once("decided", lambda: self.decide(teach))
        told = {
            name: " ".join(map(str, value)) if isinstance(value, list) else value for name, value in decided.items()
        }
        words = " ".join(f"--{name} {value}" for name, value in told.items())
        say("Planned in %.0f s: %s", self.kept["spent"], words)
        return self.with_options(decided)

    def with_options(self, options: dict[str, Any]) -> DistillConfig:
        """The run's options with these, and no budget; teachers that wouldn't be used are left out."""
        plain = {"minutes": None, "plan": False, **options}
        if plain.get("clom", self.config.clom) in (None, "none") and not self.needs_teachers:
            plain |= defaults(TeacherConfig, "teachers") | {"fit_head": False}
        return dataclasses.replace(self.config, **plain)

    def decide(self, teach: Teach) -> dict[str, Any]:
        """All that isn't given: what is raced, then as many iterations and students as there is time for."""
        if not self.published.iterations:
            return self.students(self.config.factor or 1)[0]
        self.require_enough()
        taught = {} if self.given else None
        if own := self.own_teachers():
            taught = {"teachers": self.once("teachers", lambda: self.able(teach(own))), "clom_augment": self.augment}
            self.pool = TeacherPool.from_references(taught["teachers"])
        found = self.candidates(taught)
        options = [self.of_factor(option.options["factor"]) | option.options for option in found]
        names = [option.name for option in found]
        steps = [self.step(name, each) for name, each in zip(names, options, strict=True)]
        place = self.raced(names, options, steps)
        if place is None:
            return {"objective": "herding", **self.students(self.config.factor or 1, self.left)[0]}
        students, _ = self.students(options[place]["factor"], self.left)
        # Hundreds of iterations tell more than the two that were measured.
        iterations = self.iterations(options[place], self.kept.get("pace", steps[place]))
        return {"iterations": iterations, **options[place], **students}

    def iterations(self, options: dict[str, Any], step: float) -> int:
        """How many of so many seconds there is time for after the students, unless they are given."""
        _, seconds = self.students(options["factor"], self.left)
        seconds += self.size.training * self.costs(coresets.EMBEDDING).tested  # of the start
        fitting = int(budget.SAFETY * (self.left - seconds) / step)
        return self.config.iterations or min(self.published.iterations, max(budget.FEWEST, fitting))

    def able(self, references: Sequence[str]) -> list[str]:
        """Those teachers that have learned: on the held-out training images, half as much as the best of them."""
        images, labels = self.held.test.images[:], self.held.test.labels
        pool = TeacherPool.from_references(references).to(self.data.device, torch.float32)
        right = [accuracy(predict(teacher, images, prepare=as_floats), labels) for teacher in pool]
        return [name for name, share in zip(references, right, strict=True) if share >= max(right) / 2]

    def require_enough(self) -> None:
        """Raise ConfigError where a few iterations without a guide, and the students, take longer than there is."""
        options, step = self.shortest()
        _, seconds = self.students(options["factor"])
        needed = seconds + budget.FEWEST * step / budget.SAFETY
        if needed > self.left:
            if not self.earlier:  # nothing to go on with, which would be in the way of the next try
                by_main_process(lambda: [files.remove(self.folder / name) for name in (PLAN, PLANNING)])
            least = (needed + self.seconds - self.left) / 60
            raise ConfigError(
                f"--minutes {self.config.minutes:g} is too short: {budget.FEWEST} iterations and the students take "
                f"about {least:.1f} minutes on this machine. Give more, or fewer --eval_students or --eval_epochs."
            )

    def of_factor(self, factor: int) -> dict[str, Any]:
        """The options of every candidate of so many tiles per side.

        The method's networks are as wide as leaves time for many iterations.
        """
        shared = functools.partial(candidates.shared, self.config, self.published, self.smallest_class)
        if self.config.architecture != budget.WIDTHS[0] or self.config.architecture_options:
            return {"augment": self.augment} | shared(self.config.architecture)
        for architecture in budget.WIDTHS:
            own = {"augment": self.augment, "architecture": architecture} | shared(architecture)
            step = self.step(architecture, own | {"factor": factor, "clom": "none"})
            if step * budget.MANY <= self.seconds * budget.DISTILLING:
                break
        return own

    def entrant(self, name: str, options: dict[str, Any], rungs: tuple[int, ...] = ()) -> Entrant:
        """A candidate in a race."""
        used = options["clom"] != "none" or self.needs_teachers
        return Entrant(name, self.with_options(options), lambda: self.pool if used else None, rungs)

    def race(self, entrants: Sequence[Entrant], epochs: int) -> Race:
        """A race of these, judged by a student of so many epochs."""
        places = {str(place): entrant for place, entrant in enumerate(entrants)}
        return Race(
            self.folder / PLANNING,
            places,
            self.judging(epochs),
            [JUDGE],
            1,
            reduction=budget.REDUCTION,
            expected=True,
            keep=self.keep,
            experts=self.experts,
        )

    def step(self, name: str, options: dict[str, Any]) -> float:
        """Seconds of an iteration of a candidate, measured."""
        guide = " ".join(str(options[each]) for each in ("clom", "clom_alpha", "clom_batch") if each in options)
        kind = f"{options.get('architecture')}, factor {options['factor']}, CLoM {guide}"
        race = self.race([self.entrant(name, options)], 1)
        return self.once(
            f"step of {kind}", lambda: race.seconds_of_step(race.entrants[0], budget.MEASURING * self.seconds)
        )

    def raced(self, names: Sequence[str], options: Sequence[dict[str, Any]], steps: Sequence[float]) -> int | None:
        """Which candidate is best; None where herding alone is better than any of them."""
        costs, held = self.costs(JUDGE), len(self.held.test)
        judgements = {
            epochs: [costs.of(self.size.images * each["factor"] ** 2, epochs, held) for each in options]
            for epochs in JUDGE_EPOCHS
        }
        anew = self.entrant(names[0], options[0]).anew
        size = self.once("race", lambda: self.sized(steps, judgements, anew))
        if size is None:
            return 0
        entrants = []
        for name, own, step in zip(names[: size["entrants"]], options, steps, strict=False):
            rungs = [max(place, int(seconds / step)) for place, seconds in enumerate(size["seconds"], 1)]
            entrants.append(self.entrant(name, own, tuple(rungs)))
        race = self.race(entrants, size["epochs"])
        known = self.kept.get("scores", {})  # by name: another version may try others, or in another order
        for entrant in entrants if isinstance(known, dict) else ():
            entrant.scores = {int(rung): score for rung, score in known.get(entrant.name, {}).items()}
        self.kept["scores"] = {entrant.name: entrant.scores for entrant in entrants}
        until = self.once("race until", lambda: self.left - budget.OVERRUN * budget.RACING * self.seconds)

        def in_time(entrant: Entrant) -> bool:
            """Whether a leg as long as the longest yet leaves the distillation its time; the first one in any case."""
            return race.best() is None or self.left - max(each.seconds for each in entrants) >= until

        race.run(in_time)
        best, judged = race.best(), sum(each.reached > 0 for each in entrants)
        place = entrants.index(best)
        pace = self.once("pace", lambda: best.step or steps[place])
        selected = self.once("herding", lambda: race.judge(self.selected)[0]) if self.may_only_choose() else 0.0
        told, expected = f"{best.last_score:.1f} %", best.last_score
        if expected < selected:  # which it starts from, or from tiles of it: what it gains has to be seen
            iterations = self.once("iterations", lambda: self.iterations(options[place], pace))
            expected = self.foreseen(race, best, iterations)
            told += f", and {expected:.1f} % to be expected of {iterations:,} iterations"
        told += f"; herding alone {selected:.1f} %" if selected else ""
        self.kept["won"] = f"{best.name}: the best of {judged} tried, on {held} held-out training images ({told})"
        say("%s.", self.kept["won"])
        return None if expected < selected else place

    def foreseen(self, race: Race, entrant: Entrant, iterations: int) -> float:
        """The score to be expected after so many iterations, by what the entrant gains while it goes twice as far."""
        before, rung = entrant.last_score, 2 * entrant.rungs[entrant.reached - 1]
        entrant.rungs = (*entrant.rungs[: entrant.reached], rung)
        if entrant.reached < len(entrant.rungs):  # else before an interruption
            race.advance(entrant)
            self.keep()
            say("%s: %.2f %% after %d iterations", entrant.name, entrant.last_score, rung)
        gained = (entrant.last_score - before) * max(0.0, math.log2(iterations / rung))
        return min(100.0, entrant.last_score + gained)

    def may_only_choose(self) -> bool:
        """Whether herding alone is an answer: not where a method, a guide or what only a method has was asked for."""
        if self.config.clom not in (None, "none") or self.config.objective != DistillConfig.objective:
            return False
        try:
            preflight(self.with_options({"objective": "herding"}))
        except ConfigError:
            return False
        return True

    def sized(self, steps: Sequence[float], judgements: dict[int, list[float]], anew: bool) -> dict[str, Any] | None:
        """The race that there is time for, JSON-able."""
        size = budget.race_that_fits(steps, judgements, budget.RACING * self.seconds, anew)
        return size and dataclasses.asdict(size)


def as_floats(images: Tensor) -> Tensor:
    """uint8 images in [0, 1] space, as teachers take them."""
    return images.float() / 255
