"""What a method's paper takes where an option isn't given, and how the options of a run are filled in from it."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hf_dd.config import DistillConfig, parse_key_values
from hf_dd.core.registry import STARTS
from hf_dd.core.strategies import STRATEGY, parse_strategy
from hf_dd.objectives.cells import Cell

AUGMENTATION = "_".join(STRATEGY)  # Siamese augmentation's operations, all that the papers use
NOT_GIVEN = (None, AUGMENTATION, "_".join(each for each in STRATEGY if each != "flip"))  # what the data decide
EMBEDDING_EPOCHS = 10  # of the network by whose features the papers' herding chooses

# How the papers of matching methods optimise images.
SGD = {"image_optimizer": "sgd", "image_momentum": 0.5, "image_schedule": "constant"}

SHORT_WIDTH = 32  # channels of the network that short rates were found with


@dataclass(frozen=True)
class Published:
    """The settings of a method's paper, used where an option isn't given.

    The fields are called as the options are, but for those below. None means that the method has no such setting: the
    option is refused. A method of no iterations is its start: neither can be given.

    Attributes:
        betas: Adam's, where `image_optimizer` is 'adam'.
        augments: whether the method augments at all.
        strategy: its augmentation, where it isn't Siamese augmentation's.
        networks: those that it draws, see `drawn`.
        rate_per_ipc: whether the rate, a cell's too, is that at one image per class, and grows with their number.
        short_rate: of runs of a few hundred iterations, at one image per class with a network of SHORT_WIDTH channels,
            which no paper has: it grows with the root of the images, and falls with the channels and to zero.
        unit_pixels: whether the rate, given or not, is that of pixels in [0, 1], as the paper's own pixels are.
        cells: what the paper takes instead for single data sets, sizes and networks; of several that fit a run the
            later ones go first.
    """

    iterations: int
    real_batch_size: int | None = None
    image_learning_rate: float | None = None
    image_momentum: float | None = None
    image_optimizer: str | None = None
    image_schedule: str | None = None
    init: str = "real"
    betas: tuple[float, float] = (0.9, 0.999)
    augments: bool = True
    strategy: str | None = None
    networks: str | None = None
    rate_per_ipc: bool = False
    short_rate: float | None = None
    unit_pixels: bool = False
    cells: tuple[Cell, ...] = ()

    def rate_of_short_runs(self, ipc: int, width: int) -> float | None:
        """The rate on the images of a short run with a network of so many channels; None where there is none known."""
        return self.short_rate and round(self.short_rate * math.sqrt(ipc) * SHORT_WIDTH / width, 1)

    def of_cells(self, config: DistillConfig) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the paper takes for this very run: options, and those of the objective's own; only with --published."""
        options: dict[str, Any] = {}
        own: dict[str, Any] = {}
        for cell in self.cells if config.published else ():
            if cell.fits(config):
                options, own = options | cell.options, own | cell.own
        if self.rate_per_ipc and "image_learning_rate" in options:
            options["image_learning_rate"] *= config.ipc
        return options, own

    def filled_in(self, config: DistillConfig) -> dict[str, Any]:
        """All options of a run, with the published value where one isn't given.

        Two are better than published, unless `--published` asks for those: the start is by herding where the paper's
        is random, and `augment` stays None where it isn't given, for the data to decide.
        """
        own = {name: value for name, value in dataclasses.asdict(self).items() if hasattr(config, name)}
        of_cell, of_objective = self.of_cells(config)
        decided = config.published or "flip" not in parse_strategy(self.strategy)
        augment = (self.strategy or AUGMENTATION) if decided else None
        own |= {"init": self.start(config.published), "augment": augment}
        own["image_learning_rate"] = self.rate(config.ipc)
        own |= of_cell
        options = dataclasses.asdict(config)
        options |= {name: value for name, value in own.items() if options[name] is None}
        given = parse_key_values(config.objective_options)
        options["objective_options"] += [f"{key}={value}" for key, value in of_objective.items() if key not in given]
        if config.published and STARTS.said(options["init"], "embeds") and options["selection_epochs"] is None:
            options["selection_epochs"] = EMBEDDING_EPOCHS
        return options if self.augmenting else options | {"augment": "none"}

    @property
    def augmenting(self) -> bool:
        """Whether the method augments what it optimises; one that only chooses has nothing to augment."""
        return self.augments and self.iterations > 0

    def rate(self, ipc: int) -> float | None:
        """The learning rate on the images."""
        return self.image_learning_rate * ipc if self.rate_per_ipc else self.image_learning_rate

    def on_normalised(self, settings: Mapping[str, Any], std: Sequence[float]) -> dict[str, Any]:
        """The settings with the rate of normalised pixels: Δx = σ Δx̂ and ∂/∂x̂ = σ ∂/∂x, the mean over channels."""
        if not self.unit_pixels:
            return dict(settings)
        power = 2 if settings["image_optimizer"] == "sgd" else 1  # Adam's steps don't depend on the gradient's size
        rate = settings["image_learning_rate"] * len(std) / sum(each**power for each in std)
        return dict(settings) | {"image_learning_rate": rate}

    def drawn(self, config: DistillConfig) -> str | None:
        """The networks that a run draws, by `--networks` or the paper's; None where the method draws none."""
        return self.networks and (config.networks or self.networks)

    def start(self, published: bool) -> str:
        """What a run starts from, if it isn't told: the paper's start, or a better one than random images."""
        return "herding" if self.init == "real" and self.iterations and not published else self.init

    def without_meaning(self, config: DistillConfig) -> Iterator[str]:
        """The options that are given although the method has no such setting, a line each."""
        fixed = () if self.iterations else ("iterations", "init")
        for name, value in dataclasses.asdict(self).items():
            if getattr(config, name, None) is not None and (value is None or name in fixed):
                yield f"--{name} has no meaning for --objective {config.objective}: leave it out."
        if not self.augmenting and config.augment not in ("none", *NOT_GIVEN):
            yield f"--augment has no meaning for --objective {config.objective}, which has none: leave it out."
