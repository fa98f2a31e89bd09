"""Candidates of a plan: how long their iterations take, and which of them a race prefers.

All of it is on a tenth of the training images that is held out.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from hf_dd.config import DistillConfig, TeacherConfig
from hf_dd.config.base import defaults
from hf_dd.core.processes import from_main_process
from hf_dd.core.progress import say
from hf_dd.data.image_data import ImageData
from hf_dd.distillation.checks import preflight
from hf_dd.distillation.needs import Needs
from hf_dd.distillation.run_folder import PLANNING
from hf_dd.errors import ConfigError
from hf_dd.planning import budget, candidates
from hf_dd.planning.candidates import Option
from hf_dd.planning.measurements import Measurements
from hf_dd.planning.race import Entrant, Race
from hf_dd.teachers.experts import ExpertPool
from hf_dd.teachers.pool import TeacherPool

JUDGE = "ConvNetW32"  # of candidates: narrow, as it is trained for each of them
JUDGE_EPOCHS = (300, 200, 100, 60)


class Racing(Measurements):
    """What is known of a run's candidates.

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
        self.needs = Needs.of(config)
        self.cheapest = {"clom": "none"}  # which the shortest run is measured with
        if self.needs.guide:  # nothing without a guide, whose teachers come later
            self.cheapest |= {"objective": DistillConfig.objective}

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
        options = self.of_factor(factor) | {"factor": factor, **self.cheapest}
        return options, self.step("the shortest run", options)

    def candidates(self, taught: dict[str, Any] | None) -> list[Option]:
        """What may be chosen, with teachers where `taught` names them."""
        config = self.config
        known = self.pool is None or config.fit_head
        known = known or all(teacher.knows(self.data.class_names) for teacher in self.pool)
        return candidates.combined(
            list(filter(self.affordable, self.factors)),
            candidates.guides(config, taught, "ce" if known else "cos", self.needs.without_clom),
        )

    def with_options(self, options: dict[str, Any]) -> DistillConfig:
        """The run's options with these, and no budget; teachers that wouldn't be used are left out."""
        plain = {"minutes": None, "plan": False, **options}
        if plain.get("clom", self.config.clom) in (None, "none"):
            of_guides = {name: value for name, value in defaults(TeacherConfig, "guide").items() if name != "clom"}
            plain |= of_guides
            if not self.needs.without_clom:
                plain |= defaults(TeacherConfig, "teachers") | {"fit_head": False}
        return dataclasses.replace(self.config, **plain)

    def of_factor(self, factor: int) -> dict[str, Any]:
        """The options of every candidate of so many tiles per side.

        The method's networks are as wide as leaves time for many iterations, unless they have to be as those of
        teachers or experts are.
        """
        config = self.config
        shared = functools.partial(candidates.shared, config, self.published, self.smallest_class)
        asked = config.architecture != budget.WIDTHS[0] or config.architecture_options or config.published
        if asked or self.needs.networks or self.experts:
            return {"augment": self.augment} | shared(config.architecture)
        widths, fewest = budget.WIDTHS, min(self.factors)
        if factor > fewest:  # what takes too long with fewer tiles needs no measuring
            widths = widths[widths.index(self.of_factor(fewest)["architecture"]) :]
        for architecture in widths:
            own = {"augment": self.augment, "architecture": architecture} | shared(architecture)
            step = self.step(architecture, own | {"factor": factor, **self.cheapest})
            if step * budget.MANY <= self.seconds * budget.DISTILLING:
                break
        return own

    def entrant(self, name: str, options: dict[str, Any], rungs: tuple[int, ...] = ()) -> Entrant:
        """A candidate in a race."""
        used = options["clom"] != "none" or self.needs.without_clom
        config = dataclasses.replace(self.with_options(options), resume_from_checkpoint=None)  # which is the run's
        return Entrant(name, config, lambda: self.pool if used else None, rungs)

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

    def raced(
        self,
        names: Sequence[str],
        options: Sequence[dict[str, Any]],
        steps: Sequence[float],
        iterations: Callable[[dict[str, Any], float], int],
    ) -> int | None:
        """Which candidate is best; None where herding alone is better than any of them.

        Args:
            names: of the candidates.
            options: that make each.
            steps: seconds of an iteration of each.
            iterations: how many there is time for after the race, of a candidate's options and the seconds of one.
        """
        costs, held = self.costs(JUDGE), len(self.held.test)
        judgements = {
            epochs: [costs.of(self.size.images * each["factor"] ** 2, epochs, held) for each in options]
            for epochs in JUDGE_EPOCHS
        }
        anew = self.entrant(names[0], options[0]).anew
        size = self.once("race", lambda: self.sized(steps, judgements, anew))
        if size is None:
            return 0
        entrants = [
            self.entrant(name, own, self.rungs(size["seconds"], step))
            for name, own, step in zip(names[: size["entrants"]], options, steps, strict=False)
        ]
        race = self.race(entrants, size["epochs"])
        known = self.kept.get("scores", {})  # by name: another version may try others, or in another order
        for entrant in entrants if isinstance(known, dict) else ():
            entrant.scores = {int(rung): score for rung, score in known.get(entrant.name, {}).items()}
        self.kept["scores"] = {entrant.name: entrant.scores for entrant in entrants}
        until = self.once("race until", lambda: self.left - budget.OVERRUN * budget.RACING * self.seconds)

        def in_time(entrant: Entrant) -> bool:
            """Whether a leg as long as the longest yet leaves the distillation its time; the first one in any case."""
            longest = from_main_process(lambda: max(each.seconds for each in entrants))
            return self.left - longest >= until or race.best() is None

        race.run(in_time)
        best, judged = race.best(), sum(each.reached > 0 for each in entrants)
        place = entrants.index(best)
        pace = self.once("pace", lambda: best.step or steps[place])
        selected = self.once("herding", lambda: race.judge(self.selected)[0]) if self.may_only_choose() else 0.0
        told, expected = f"{best.last_score:.1f} %", best.last_score
        if expected < selected:  # which it starts from, or from tiles of it: what it gains has to be seen
            ahead = self.once("iterations", lambda: iterations(options[place], pace))
            expected = self.foreseen(race, best, ahead)
            told += f", and {expected:.1f} % to be expected of {ahead:,} iterations"
        told += f"; herding alone {selected:.1f} %" if selected else ""
        self.kept["won"] = f"{best.name}: the best of {judged} tried, on {held} held-out training images ({told})"
        say("%s.", self.kept["won"])
        return None if expected < selected else place

    @property
    def most_iterations(self) -> int:
        """Of the run, however much time there is."""
        return self.config.iterations or self.published.iterations

    def rungs(self, seconds: Sequence[float], step: float) -> tuple[int, ...]:
        """The iterations of an entrant that there is time for before each rung, none beyond the run's."""
        return tuple(
            min(self.most_iterations, max(place, int(each / step))) for place, each in enumerate(seconds, start=1)
        )

    def foreseen(self, race: Race, entrant: Entrant, iterations: int) -> float:
        """The score to be expected after so many iterations, by what the entrant gains from half of some to all.

        It goes twice as far for that, or where that would leave the winner too little time, and each rung is a
        distillation anew, half as far.
        """
        reached = entrant.rungs[entrant.reached - 1]
        twice, half = min(self.most_iterations, 2 * reached), max(1, reached // 2)
        if twice == reached:  # it goes no farther
            return entrant.scores[reached]
        look = self.once("look", lambda: twice if self.leaves_enough(race, entrant, twice) else half)
        if look == reached or (look < reached and not entrant.anew):  # nothing more can be known
            return entrant.scores[reached]
        if look not in entrant.scores:  # else before an interruption
            race.look(entrant, look)
            self.keep()
            say("%s: %.2f %% after %d iterations", entrant.name, entrant.scores[look], look)
        first, last = sorted((reached, look))
        gained = (entrant.scores[last] - entrant.scores[first]) / math.log2(last / first)
        return min(100.0, entrant.scores[last] + gained * max(0.0, math.log2(iterations / last)))

    def leaves_enough(self, race: Race, entrant: Entrant, iterations: int) -> bool:
        """Whether so many iterations leave the students their share of the time, and the winner half of its own."""
        done = 0 if entrant.anew else entrant.rungs[entrant.reached - 1]
        images = self.size.images * entrant.config.factor**2
        judging = self.costs(JUDGE).of(images, race.evaluation.protocol.epochs, len(self.held.test))
        spent = (iterations - done) * self.kept["pace"] + judging
        return self.left - spent >= (budget.STUDENTS + budget.DISTILLING / 2) * self.seconds

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
        """The race that there is time for, JSON-able; of a single candidate where herding alone may be better."""
        limit, fewest = budget.RACING * self.seconds, 1 if self.may_only_choose() else 2
        size = budget.race_that_fits(steps, judgements, limit, anew, fewest)
        return size and dataclasses.asdict(size)
