"""What a run does with the minutes that it has: measured costs, teachers of its own, and a race for what isn't given.

Everything is chosen on a tenth of the training images, and what is decided are plain options: a run that is given
those makes the same set without a plan. The clock decides how long things are; the rest follows from the seed.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from accelerate import Accelerator
from torch import Tensor

from hf_dd.config import DistillConfig, PretrainConfig
from hf_dd.config.base import part
from hf_dd.config.data import RunConfig
from hf_dd.core import files
from hf_dd.core.processes import from_main_process
from hf_dd.core.progress import Phase, say
from hf_dd.core.text import plural
from hf_dd.data.image_data import HOW_TO_TEST, ImageData
from hf_dd.distillation.run_folder import PLAN, PLANNING, TEACHERS
from hf_dd.errors import ConfigError, DataError, HfDdError
from hf_dd.evaluation.students import names_network
from hf_dd.planning import budget
from hf_dd.planning.candidate_race import CandidateRace
from hf_dd.planning.field import JUDGE, Field
from hf_dd.planning.measurements import Measurements
from hf_dd.synthetic import coresets
from hf_dd.teachers.experts import ExpertPool
from hf_dd.teachers.pool import TeacherPool
from hf_dd.training.loop import accuracy, predict

SHARE_OF_LOOKS = 0.25  # of the minutes, which images of the size that is advised would take to be looked at
SOON = 10  # seconds that are never what a plan fails by
OWN_TEACHERS = {"learning_rate": 0.05, "weight_decay": 5e-4, "lr_drops": [0.75]}  # for few epochs, as in the recipes

Teach = Callable[[PretrainConfig], Sequence[str]]  # trains teachers and gives their references


class Planner:
    """The plan of a run, decided in turn.

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
        self.config, self.known = config, Measurements(config, data, accelerator, folder, started)
        self.field = Field(self.known, pool, experts)
        self.race = CandidateRace(self.field)

    def students(self, factor: int, rest: float | None = None, alone: bool = False) -> tuple[dict[str, Any], float]:
        """The options of the run's evaluation, and its seconds: a share of the run's, or of the `rest` that is left.

        All of the rest where there is nothing else to do (`alone`).

        Several students that have learned tell more than one wide one that has begun to: where there isn't time for
        both, they are narrow, unless their architecture was given.
        """
        config = self.config
        given = config.eval_architectures
        if not (config.evaluates and self.known.size.tested):
            return {"eval_students": 0}, 0.0
        share = budget.STUDENTS * self.known.seconds
        if rest is not None:  # a plan that took longer than it should isn't paid for by the distillation alone
            share = min(share, rest * budget.STUDENTS / (budget.STUDENTS + budget.DISTILLING))
        if alone:
            share = budget.SAFETY * rest
        for name in budget.WIDTHS if given == [budget.WIDTHS[0]] else [given[0]]:
            own = {} if name == given[0] else {"eval_architectures": [name]}
            asked = dataclasses.replace(config, **own)
            own |= budget.students_that_fit(asked, self.known.size, factor, self.costs_of_student, share)
            long = config.eval_epochs or own["eval_epochs"][0] >= budget.LONG
            if long and (config.eval_students or own["eval_students"] > 1):
                break
        chosen = dataclasses.replace(config, **own)
        return own, budget.seconds_of_students(chosen, self.known.size, factor, self.costs_of_student)

    def costs_of_student(self, architecture: str) -> budget.StudentCosts:
        """Of a student of the evaluation; a pre-trained backbone is taken for a narrow network."""
        return self.known.costs(architecture if names_network(architecture) else JUDGE)

    def own_teachers(self) -> PretrainConfig | None:
        """How the run's own teachers are trained; None where it is given some, wants none, or has no time."""
        config, known = self.config, self.known
        if self.field.given or config.clom == "none" or not known.published.iterations:
            return None
        if not known.size.tested:
            if config.clom is None:
                return None
            raise DataError(
                f"{known.data.name} has no test split, on which teachers are tested: {HOW_TO_TEST}, or give "
                f"--teachers for --clom {config.clom}."
            )
        limit = budget.TEACHING * known.seconds
        batch = 64 if known.size.training < 20_000 else 128
        likeliest = next(filter(self.field.affordable, self.field.factors))
        network = self.field.of_factor(likeliest).get("architecture", config.architecture)
        widths = budget.WIDTHS[budget.WIDTHS.index(network) :] if network in budget.WIDTHS else budget.WIDTHS
        found = budget.teachers_that_fit(known.size, batch, lambda name: known.costs(name).image, limit, widths)
        if found is None and config.clom is None:
            return None
        shortest = max(1, budget.TEACHER_STEPS * batch // known.size.training)
        architecture, epochs, count = found or (budget.WIDTHS[-1], shortest, 1)
        return PretrainConfig(
            **part(config, RunConfig)
            | OWN_TEACHERS
            | {"architectures": [architecture], "teacher_seeds": list(range(count))}
            | {"epochs": epochs, "keep_epochs": [epochs]}
            | {"batch_size": batch, "augment": known.augment}
            | {"output_dir": str(known.folder / TEACHERS), "overwrite_output_dir": False, "push_to_hub": False}
        )

    def seconds_of_teachers(self, own: PretrainConfig) -> float:
        """Of training them."""
        (architecture,) = own.architectures
        return len(own.teacher_seeds) * own.epochs * self.known.size.training * self.known.costs(architecture).image

    def planned(self, teach: Teach) -> DistillConfig:
        """The run's options with all that was chosen, and no minutes any more."""
        self.known.keep()  # so that a folder whose run ends early is known to hold a plan
        try:
            with Phase("planning"):
                decided = self.known.once("decided", lambda: self.decide(teach))
        except HfDdError:
            # There is nothing to go on with, which would be in the way of the next try. The others may be elsewhere.
            for name in (PLAN, PLANNING) if self.known.accelerator.is_main_process and not self.known.earlier else ():
                files.remove(self.known.folder / name)
            raise
        told = {
            name: " ".join(map(str, value)) if isinstance(value, list) else value for name, value in decided.items()
        }
        words = " ".join(f"--{name} {value}" for name, value in told.items())
        say("Planned in %.0f s: %s", self.known.kept["spent"], words)
        return self.field.with_options(decided)

    def decide(self, teach: Teach) -> dict[str, Any]:
        """All that isn't given: what is raced, then as many iterations and students as there is time for."""
        if not self.known.published.iterations:
            return self.students(self.config.factor or 1)[0]
        self.require_time_to_look()
        self.require_enough()
        taught = {} if self.field.given else None
        if own := self.own_teachers():
            taught = {"teachers": self.known.once("teachers", lambda: self.able(teach(own)))}
            if self.config.clom_augment is None:
                taught["clom_augment"] = self.known.augment
            self.field.pool = TeacherPool.from_references(taught["teachers"])
        found = list(map(self.field.completed, self.field.candidates(taught)))
        steps = list(map(self.field.step, found))
        place = self.race.raced(found, steps, self.iterations)
        if place is not None:
            options = found[place].options
            students, _ = self.students(options["factor"], self.known.left)
            # Hundreds of iterations tell more than the two that were measured.
            iterations = self.iterations(options, self.known.kept.get("pace", steps[place]))
            judged = self.known.kept.get("scores", {}).get(found[place].name, {})
            if not judged or 2 * iterations >= min(map(int, judged)) or not self.field.may_only_choose():
                return {"iterations": iterations, **options, **students}
            few = f"There is time for {iterations} iterations, far fewer than were judged: herding chooses the images"
            self.known.kept["won"] += f". {few}"  # as the card says it
            say("%s.", few)
        rest = self.known.left - self.seconds_of_start
        return {"objective": "herding", **self.students(self.config.factor or 1, rest, alone=True)[0]}

    def iterations(self, options: dict[str, Any], step: float) -> int:
        """How many of so many seconds there is time for after the students, unless they are given."""
        _, seconds = self.students(options["factor"], self.known.left)
        seconds += self.seconds_of_start
        fitting = int(budget.SAFETY * (self.known.left - seconds) / step)
        return self.config.iterations or min(self.field.most_iterations, max(budget.FEWEST, fitting))

    @property
    def seconds_of_start(self) -> float:
        """Of choosing images by herding."""
        return self.known.size.training * self.known.costs(coresets.EMBEDDING).tested

    def able(self, references: Sequence[str]) -> list[str]:
        """Those teachers that have learned: on the held-out training images, half as much as the best of them."""
        images, labels = self.known.held.test.images, self.known.held.test.labels
        pool = TeacherPool.from_references(references).to(self.known.data.device, torch.float32)
        right = [accuracy(predict(teacher, images, prepare=as_floats), labels) for teacher in pool]
        return [name for name, share in zip(references, right, strict=True) if share >= max(right) / 2]

    def require_time_to_look(self) -> None:
        """Raise ConfigError where a look at the training images, by which herding chooses, takes all of the time.

        It is estimated from a few of them: large photographs take seconds each.
        """
        known = self.known
        if not known.earlier:
            looks = 2  # at all of them, and at those that aren't held out
            each = from_main_process(lambda: coresets.seconds_of_features(known.data, known.accelerator.autocast))
            if (needed := looks * known.size.training * each) > max(SOON, known.seconds):
                height, width = known.data.image_size
                side = int(max(height, width) * (SHARE_OF_LOOKS * known.seconds / needed) ** 0.5)
                such = f", such as {side // 8 * 8}" if side >= 8 else ""
                raise ConfigError(
                    f"--minutes {self.config.minutes:g} is too short for images of {width}×{height} pixels: features "
                    f"of {known.size.training:,}, by which herding chooses, take about {needed / 60:.1f} minutes on "
                    f"this machine. Give more, or a smaller --image_size{such}."
                )

    def too_short(self, what: str, seconds: float) -> NoReturn:
        """Raise ConfigError with what takes so long."""
        least = math.ceil(seconds / 6 + 0.01) / 10
        height, width = self.known.data.image_size
        raise ConfigError(
            f"--minutes {self.config.minutes:g} is too short: {what} take about {least:.1f} minutes on this machine. "
            "Give more, or fewer --iterations, --eval_students or --eval_epochs, or a smaller --image_size (images "
            f"have {width}×{height} pixels)."
        )

    def require_enough(self) -> None:
        """Raise ConfigError where a few unguided iterations and the students take longer than the minutes.

        Iterations and teachers that were asked for count as they were asked for.
        """
        options, step = self.field.shortest()
        _, seconds = self.students(options["factor"])
        iterations = self.config.iterations or budget.FEWEST
        needed = seconds + iterations * step / budget.SAFETY
        parts = [f"{iterations:,} iterations", "the students"]
        own = self.own_teachers() if self.config.clom is not None else None
        if own:
            needed += self.seconds_of_teachers(own)
            parts.insert(0, f"{plural(len(own.teacher_seeds), 'teacher')} of {plural(own.epochs, 'epoch')}")
        if needed > self.known.left and not self.known.earlier:
            what = f"{', '.join(parts[:-1])} and {parts[-1]}"
            self.too_short(what, needed + self.known.seconds - self.known.left)  # with what was spent on measuring


def as_floats(images: Tensor) -> Tensor:
    """uint8 images in [0, 1] space, as teachers take them."""
    return images.float() / 255
