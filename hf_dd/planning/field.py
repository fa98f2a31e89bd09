"""What may be chosen by a plan, as options and as entrants of a race, and how long its iterations take."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

from hf_dd.config import DistillConfig, TeacherConfig
from hf_dd.config.base import defaults
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


class Field:
    """The candidates of a run.

    Args:
        known: what is known of the data and the machine; its options stand, the rest is chosen.
        pool: the teachers that were named, or None.
        experts: the trajectories that the objective follows, or None.
    """

    def __init__(self, known: Measurements, pool: TeacherPool | None, experts: ExpertPool | None = None):
        self.known, self.config, self.experts = known, known.config, experts
        self.given, self.pool = pool, pool  # the pool becomes the run's own, once they are trained
        self.needs = Needs.of(self.config)
        self.cheapest = {"clom": "none"}  # which the shortest run is measured with
        if self.needs.guide:  # nothing without a guide, whose teachers come later
            self.cheapest |= {"objective": DistillConfig.objective}

    @property
    def factors(self) -> Sequence[int]:
        """Tiles per side that may be."""
        known, (height, width) = self.known, self.known.data.image_size
        decoded = 4 * known.data.num_classes * known.data.channels * height * width
        return candidates.factors(self.config, known.published, min(height, width), known.smallest_class, decoded)

    def affordable(self, factor: int) -> bool:
        """Whether there is time for some iterations with so many tiles, by what they take with the fewest."""
        if factor == min(self.factors):
            return True
        options, step = self.shortest()
        real = options.get("real_batch_size", self.config.real_batch_size) or 0
        more = (real + self.config.ipc * factor**2) / (real + self.config.ipc * options["factor"] ** 2)
        return budget.SOME * more * step <= budget.DISTILLING * self.known.seconds

    def shortest(self) -> tuple[dict[str, Any], float]:
        """The options of the candidate whose iterations take least, and the seconds of one."""
        factor = min(self.factors)
        options = self.of_factor(factor) | {"factor": factor, **self.cheapest}
        return options, self.step(Option("the shortest run", options))

    def candidates(self, taught: dict[str, Any] | None) -> list[Option]:
        """What may be chosen, with teachers where `taught` names them."""
        config = self.config
        known = self.pool is None or config.fit_head
        known = known or all(teacher.knows(self.known.data.class_names) for teacher in self.pool)
        return candidates.combined(
            list(filter(self.affordable, self.factors)),
            candidates.guides(config, taught, "ce" if known else "cos", self.needs.without_clom),
        )

    def completed(self, option: Option) -> Option:
        """With what is the same for all options of its factor."""
        return dataclasses.replace(option, options=self.of_factor(option.options["factor"]) | option.options)

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
        shared = functools.partial(candidates.shared, config, self.known.published, self.known.smallest_class)
        asked = config.architecture != budget.WIDTHS[0] or config.architecture_options or config.published
        if asked or self.needs.networks or self.experts:
            return {"augment": self.known.augment} | shared(config.architecture)
        widths, fewest = budget.WIDTHS, min(self.factors)
        if factor > fewest:  # what takes too long with fewer tiles needs no measuring
            widths = widths[widths.index(self.of_factor(fewest)["architecture"]) :]
        for architecture in widths:
            own = {"augment": self.known.augment, "architecture": architecture} | shared(architecture)
            step = self.step(Option(architecture, own | {"factor": factor, **self.cheapest}))
            if step * budget.MANY <= self.known.seconds * budget.DISTILLING:
                break
        return own

    def entrant(self, option: Option, rungs: tuple[int, ...] = ()) -> Entrant:
        """A candidate in a race."""
        used = option.options["clom"] != "none" or self.needs.without_clom
        config = self.with_options(option.options)
        config = dataclasses.replace(config, resume_from_checkpoint=None)  # which is the run's
        return Entrant(option.name, config, lambda: self.pool if used else None, rungs, option.choices)

    def race(self, entrants: Sequence[Entrant], epochs: int, starting: int | None = None) -> Race:
        """A race of these, of which so many start, judged by a student of so many epochs."""
        places = {str(place): entrant for place, entrant in enumerate(entrants)}
        return Race(
            self.known.folder / PLANNING,
            places,
            self.known.judging(epochs),
            [JUDGE],
            1,
            reduction=budget.REDUCTION,
            expected=True,
            keep=self.known.keep,
            experts=self.experts,
            starting=starting,
        )

    def step(self, option: Option) -> float:
        """Seconds of an iteration of a candidate, measured."""
        options = option.options
        guide = " ".join(str(options[each]) for each in ("clom", "clom_alpha", "clom_batch") if each in options)
        kind = f"{options.get('architecture')}, factor {options['factor']}, CLoM {guide}"
        race = self.race([self.entrant(option)], 1)
        return self.known.once(
            f"step of {kind}", lambda: race.seconds_of_step(race.entrants[0], budget.MEASURING * self.known.seconds)
        )

    @property
    def most_iterations(self) -> int:
        """Of the run, however much time there is."""
        return self.config.iterations or self.known.published.iterations

    def may_only_choose(self) -> bool:
        """Whether herding alone is an answer: not where a method, a guide or what only a method has was asked for."""
        if self.config.guided or self.config.objective != DistillConfig.objective:
            return False
        try:
            preflight(self.with_options({"objective": "herding"}))
        except ConfigError:
            return False
        return True
