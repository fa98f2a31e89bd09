"""What a plan knows of its data and of this machine, kept in `plan.json`, so that an interrupted plan goes on."""

import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from hf_dd.config import DistillConfig
from hf_dd.config.base import values
from hf_dd.core import files
from hf_dd.core.clock import since
from hf_dd.core.processes import by_main_process, from_main_process
from hf_dd.core.registry import OBJECTIVES, PROTOCOLS
from hf_dd.core.strategies import SIAMESE, parse_strategy
from hf_dd.data.held_out import held_out, held_out_of
from hf_dd.data.image_data import ImageData
from hf_dd.distillation.distiller import DECIDING
from hf_dd.distillation.run_folder import PLAN
from hf_dd.errors import DataError
from hf_dd.evaluation.candidates import Candidate, baseline
from hf_dd.evaluation.evaluation import Evaluation
from hf_dd.evaluation.protocols import Protocol
from hf_dd.planning.budget import Size, StudentCosts
from hf_dd.planning.candidates import MOST_TILES
from hf_dd.planning.plan_file import moved, read_plan
from hf_dd.training import flips

TRAINED, TESTED = 10_000, 5_000  # images that candidates are distilled from, and judged on


class Measurements:
    """What was found out, for a run of these options.

    Args:
        config: the options, with `minutes`.
        data: the real set.
        accelerator: processes, device, precision.
        folder: of the run, which this process holds.
        started: when the run began, by `time.perf_counter()`.

    Raises DataError for a data set that is too small to hold images out.
    """

    def __init__(self, config: DistillConfig, data: ImageData, accelerator: Accelerator, folder: Path, started: float):
        self.config, self.accelerator, self.folder = config, accelerator, folder
        self.started, self.seconds = started, 60 * config.minutes
        objective = OBJECTIVES.find(config.objective)
        self.published = objective.published
        self.data = data.to(accelerator.device)
        self.smallest_class = require_validation(self.data, config.ipc, config.factor)
        self.kept: dict[str, Any] = from_main_process(self.read)
        self.earlier = float(self.kept.get("spent", 0.0))
        tested = 0 if data.test is None else len(data.test)
        self.size = Size(config.ipc * data.num_classes, len(data.train), tested)

    def read(self) -> dict[str, Any]:
        """What an interrupted plan of these options found out; raises RunError for the plan of others."""
        request = values(self.config, *DECIDING, "teachers", "evaluation", "labels")
        request = json.loads(json.dumps(request | {"minutes": self.config.minutes, "data": self.data.fingerprint}))
        path = self.folder / PLAN
        if not path.is_file():
            return {"request": request, "folder": str(self.folder)}
        return moved(read_plan(path, request), self.folder)

    def once(self, name: str, find: Callable[[], Any]) -> Any:
        """What `find` gives, JSON-able, or gave before an interruption; every process has to call it."""
        if name not in self.kept:
            found = find()
            self.kept[name] = from_main_process(lambda: found)
            self.keep()
        return self.kept[name]

    def keep(self) -> None:
        """Write down what is known."""
        self.kept["spent"] = self.earlier + since(self.started)
        if not self.config.plan:
            by_main_process(lambda: files.write_json(self.folder / PLAN, self.kept))

    @property
    def left(self) -> float:
        """Seconds that there still are, the same on every process."""
        return from_main_process(lambda: self.seconds - self.earlier - since(self.started))

    @cached_property
    def held(self) -> ImageData:
        """Nine tenths of the training images, with the other tenth as the test split; of large sets a part of both.

        What short runs are chosen by doesn't need all of these, and looking at them would take the minutes.
        """
        tiles = max(MOST_TILES, self.config.factor or 1) ** 2
        most = max(TRAINED // self.data.num_classes, 2 * self.config.ipc * tiles)  # there have to be some to choose of
        return held_out(self.data, self.config.seed, most, TESTED)

    @cached_property
    def augment(self) -> str:
        """Of the distillation, as it is given or as the data decide."""
        if self.config.augment is not None or not self.published.augmenting:
            return self.config.augment or "none"
        if self.config.published:
            return self.published.strategy or SIAMESE
        return flips.augmentation(self.data, parse_strategy(self.published.strategy), self.accelerator.autocast)

    def judging(self, epochs: int) -> Evaluation:
        """Students on the validation split: of the run's protocol where that is on hard labels, else of `dsa`."""
        protocol = Protocol.from_config(self.config)
        if not protocol.is_plain:
            protocol = PROTOCOLS.find("dsa")
        protocol = protocol.suited(self.config, self.data, self.accelerator.autocast).with_changes(epochs=epochs)
        return Evaluation(self.held, protocol, seed=self.config.seed, accelerator=self.accelerator)

    @cached_property
    def selected(self) -> Candidate:
        """What herding chooses, which costs next to nothing."""
        return baseline("herding", self.held, self.config.ipc, self.config.seed, self.accelerator.autocast)

    def costs(self, architecture: str) -> StudentCosts:
        """Of a student, measured."""

        def measure() -> list[float]:
            found = StudentCosts.measured(self.judging(1), self.selected, architecture)
            return [found.image, found.tested]

        return StudentCosts(*self.once(f"costs of {architecture}", measure))


def require_validation(data: ImageData, ipc: int, factor: int | None = None) -> int:
    """The size of the smallest class without its held-out images; raises DataError where that is too small.

    With a factor, that is too few for ipc · factor² images.
    """
    data.require_ipc(ipc, factor or 1)
    name, size = min(zip(data.class_names, map(len, data.class_index), strict=True), key=lambda each: each[1])
    left = size - held_out_of(size)
    needed = ipc * (factor or 1) ** 2
    if left < needed:
        what = f"ipc is {ipc}" + (f" of {factor**2} tiles each" if (factor or 1) > 1 else "")
        smaller = ["a smaller ipc"] * (ipc > 1) + ["a smaller --factor"] * ((factor or 1) > 1)
        ways = ", ".join([*smaller, ""]) + "or " * bool(smaller) if left else ""
        raise DataError(
            f"Class {name!r} of {data.name} has {size} training images, too few to plan on: a tenth of them, at "
            f"least one, is held out, and {what}. Give {ways}the options themselves without --minutes."
        )
    return left
