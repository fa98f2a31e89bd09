"""What an objective is: a generator of losses over one iteration's view of the run.

Each set of losses that it yields is one optimiser step on the synthetic images. Ranks own classes, or parts of one
where there are more ranks than classes: an objective works on what its rank owns, and the sum of all ranks' losses is
the loss. It sees no accelerate, no Hub and no disk.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hf_dd.config import DistillConfig, parse_key_values
from hf_dd.config.base import named, raise_together, range_of, within
from hf_dd.core.precision import Autocast
from hf_dd.core.registry import OBJECTIVES, STARTS
from hf_dd.core.seeding import generator
from hf_dd.core.strategies import STRATEGY, parse_strategy
from hf_dd.data.image_data import ImageData
from hf_dd.errors import ConfigError, nearest_first
from hf_dd.nn import networks
from hf_dd.objectives.cells import Cell
from hf_dd.synthetic.synthetic_set import SyntheticSet
from hf_dd.teachers.pool import TeacherPool
from hf_dd.teachers.teacher import Teacher

Losses = dict[str, Tensor]

AUGMENTATION = "_".join(STRATEGY)  # Siamese augmentation's operations, all that the papers use
NOT_GIVEN = (None, AUGMENTATION, "_".join(each for each in STRATEGY if each != "flip"))  # what the data decide
EMBEDDING_EPOCHS = 10  # of the network by whose features the papers' herding chooses

# How the papers of matching methods optimise images.
SGD = {"image_optimizer": "sgd", "image_momentum": 0.5, "image_schedule": "constant"}


@dataclass(frozen=True)
class Published:
    """The settings of a method's paper, used where an option isn't given.

    None means that the method has no such setting: the option is refused. The fields are called as the options are,
    but for `betas`, which Adam takes where `image_optimizer` is 'adam', and for `augments`, which says whether the
    method augments at all. `strategy` is its augmentation, where it isn't Siamese augmentation's; `networks` are those
    that it draws, see `drawn`. `rate_per_ipc` says that the rate is that at one image per class, and grows with their
    number; `unit_pixels`, that it is the rate of pixels in [0, 1], given or not, as the paper's own pixels are. A
    method of no iterations is its start: neither can be given. `cells` are what the paper takes for single data sets,
    sizes and networks instead; of several that fit a run the later ones go first.
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
    unit_pixels: bool = False
    cells: tuple[Cell, ...] = ()

    def of_cells(self, config: DistillConfig) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the paper takes for this very run: options, and those of the objective's own; only with --published."""
        options: dict[str, Any] = {}
        own: dict[str, Any] = {}
        for cell in self.cells if config.published else ():
            if cell.fits(config):
                options, own = options | cell.options, own | cell.own
        return options, own

    def filled_in(self, config: DistillConfig) -> dict[str, Any]:
        """All options of a run, with the published value where one isn't given.

        Two are better than published, unless `--published` asks for those: the start is by herding where the paper's
        is random, and `augment` stays None where it isn't given, for the data to decide. Raises ConfigError for
        options that are given although the method has no such setting.
        """
        raise_together(self.without_meaning(config))
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
        return options if self.augments else options | {"augment": "none"}

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
        if not self.augments and config.augment not in ("none", *NOT_GIVEN):
            yield f"--augment has no meaning for --objective {config.objective}, which has none: leave it out."


@dataclass(frozen=True)
class Ownership:
    """What a rank owns: whole classes, or, where there are more ranks than classes, one of the parts of a class.

    Attributes:
        classes: ascending, at least one.
        part, parts: which of how many equal parts of each of its classes' images; (0, 1) for all.
        split: whether any rank of the run owns a part only.
    """

    classes: list[int]
    part: int = 0
    parts: int = 1
    split: bool = False

    @classmethod
    def of(cls, rank: int, ranks: int, num_classes: int) -> "Ownership":
        """Classes are dealt out in turn; from the first rank that would get none on, it is the ranks that are."""
        if ranks <= num_classes:
            return cls(list(range(rank, num_classes, ranks)))
        label = rank % num_classes
        return cls([label], rank // num_classes, len(range(label, ranks, num_classes)), True)

    def of_batch(self, batch: Tensor) -> Tensor:
        """This rank's part of what belongs to its classes; may be empty."""
        return batch.tensor_split(self.parts)[self.part]


@dataclass(frozen=True)
class Step:
    """One iteration as a rank sees it.

    Attributes:
        index: the iteration, from 0.
        seed: the run's seed.
        own: what this rank owns.
        all_ranks: the number of ranks.
        synthetic: the synthetic set, whole, the same on every rank.
        data: the real set, whole.
        sum_over_ranks: adds a detached tensor up over all ranks; every rank has to call it.
        autocast: context of the networks' forward passes.
        remembered: gives what is computed of a teacher and the whole real set, by its kind, or what was in an earlier
            run; every rank has to call it.
    """

    index: int
    seed: int
    own: Ownership
    all_ranks: int
    synthetic: SyntheticSet
    data: ImageData
    sum_over_ranks: Callable[[Tensor], Tensor] = lambda tensor: tensor
    autocast: Autocast = nullcontext
    remembered: Callable[[str, Teacher, Callable[[], Tensor]], Tensor] = lambda kind, teacher, compute: compute()

    def generator(self, purpose: str, *names: str | int) -> torch.Generator:
        """The generator of this iteration's draw `purpose` (of a class, …)."""
        return generator(self.seed, purpose, self.index, *names)

    def as_input(self, images: Tensor) -> Tensor:
        """uint8 real images, normalised, in the pixels' dtype."""
        return self.data.normalise(images.to(self.synthetic.mean.dtype) / 255)

    def zero(self) -> Tensor:
        """The share of a rank that owns no image: a zero that has a gradient."""
        return self.synthetic.pixels.sum() * 0

    def share(self, loss: Tensor) -> Tensor:
        """This rank's share of a loss of its classes that all who own a part of them know: value split, gradient not.

        For a loss whose gradient flows into this rank's own images only, as `whole_classes` makes it.
        """
        return loss if self.own.parts == 1 else loss - loss.detach() * (1 - 1 / self.own.parts) + self.zero()

    def own_rows(self) -> Tensor:
        """Indices of the synthetic images that this rank owns, int64; may be empty."""
        return self.own.of_batch(self.synthetic.rows(self.own.classes))

    def whole_classes(self, partial: Tensor) -> Tensor:
        """Per own class, this rank's part of a sum, (classes, …), made whole by the other ranks' parts.

        The value is the whole sum, the gradient flows into this rank's part only. A collective where classes are
        split: every rank has to call it.
        """
        if not self.own.split:
            return partial
        every_class = partial.new_zeros(self.data.num_classes, *partial.shape[1:])
        every_class[self.own.classes] = partial.detach()
        others = self.sum_over_ranks(every_class)[self.own.classes] - partial.detach()
        return partial + others


@dataclass(frozen=True)
class Learnable:
    """What an objective learns beside the images, such as a step size; `parameter` takes SGD steps of its own rate.

    `momentum` is that of these steps, the images' where it is None.
    """

    parameter: nn.Parameter
    learning_rate: float
    momentum: float | None = None


@dataclass(frozen=True)
class NoOptions:
    """The options of an objective that has none of its own."""


class Objective:
    """A distillation method.

    Attributes:
        published: its paper's settings.
        Options: frozen dataclass of what is its own (`--objective_options key=value`), with its paper's defaults; its
            fields are made by `hf_dd.config.base.option`, or plain.
        uses_teachers: whether it works with a pool itself, without a guide.
        reads_logits: whether it needs the teachers' logits for that, not their features alone.
        uses_experts: whether it follows expert trajectories; it is then given them, as the argument `experts`.
        guide_only: whether it is nothing without a guide.
        whitens: whether `--zca` has a meaning for it: not where it sees the images through teachers alone, or works in
            [0, 1] space.
        options: those of this run.
    """

    published: ClassVar[Published]
    Options: ClassVar[type] = NoOptions
    uses_teachers: ClassVar[bool] = False
    reads_logits: ClassVar[bool] = False
    uses_experts: ClassVar[bool] = False
    guide_only: ClassVar[bool] = False
    whitens: ClassVar[bool] = True

    def __init__(self, config: DistillConfig, data: ImageData, pool: TeacherPool | None = None):
        self.options = options_of(type(self), config)

    def losses(self, step: Step) -> Iterator[Losses]:
        """Yield, for each optimiser step of this iteration, this rank's share of each named loss term (scalars).

        The code after a `yield` runs when the step has been taken.
        """
        raise NotImplementedError

    def takes_step(self) -> bool:
        """Whether the step of the losses yielded last is taken; one that isn't leaves no trace in any optimiser.

        Asked after each yield; all ranks have to say the same.
        """
        return True

    def learnables(self) -> dict[str, Learnable]:
        """What is learned beside the images, by name; its gradient is added up over the ranks like theirs."""
        return {}

    def buffers(self) -> dict[str, Tensor]:
        """What goes on from step to step and isn't learned, by name: changed in place, and kept in checkpoints."""
        return {}

    def parameterise(self, initial: SyntheticSet) -> SyntheticSet:
        """The set in the form that is optimised; as it is, unless the method has a form of its own."""
        return initial

    @classmethod
    def makes_labels(cls, config: DistillConfig) -> bool:
        """Whether a run of these options gives the set soft labels of its own, see `soft_labels`."""
        return False

    def soft_labels(self, synthetic: SyntheticSet) -> Tensor | None:
        """Probabilities of the finished training images at temperature 1, (N, classes), if the method makes any."""
        return None

    def outcome(self) -> dict[str, Any]:
        """What the run found beside the images, JSON-able, for the record: a `learning_rate`, …"""
        return {}


@OBJECTIVES.requires
def no_objective(definition: Any) -> str | None:
    """What a definition has to be, where it is no objective."""
    if not (isinstance(definition, type) and issubclass(definition, Objective)):
        return "has to be a subclass of hf_dd.objectives.Objective"
    if not isinstance(getattr(definition, "published", None), Published):
        return "has to give its settings as `published = hf_dd.objectives.Published(iterations=…)`"
    return None


def options_of(objective: type[Objective], config: DistillConfig) -> Any:
    """An objective's own options from `--objective_options`.

    Raises ConfigError for one that isn't its own, and for a value of another type than the default's or, where it is
    declared by `option`, out of its range or grammar; the default may stand for something else, and is always taken.
    """
    fields = {field.name: field for field in dataclasses.fields(objective.Options)}
    given = parse_key_values(config.objective_options)
    _, published = objective.published.of_cells(config)
    for name, value in given.items():
        if name not in fields:
            known = ", ".join(nearest_first(name, fields)) or "none"
            raise ConfigError(f"--objective_options: {config.objective} has no {name!r}; it has {known}.")
        own = fields[name]
        kind, told = type(own.default), f"--objective_options {name}={value}: "
        if not isinstance(value, (int, float) if kind is float else kind):
            raise ConfigError(f"{told}it has to be of type {kind.__name__}.")
        if not own.metadata or value == own.default:
            continue
        if kind is not str and not within(value, own.metadata):
            raise ConfigError(f"{told}it has to be {range_of(own, 'finite')}.")
        if grammar := own.metadata["grammar"]:
            try:
                grammar(value)
            except ConfigError as error:
                raise ConfigError(f"{told}{error}.") from error
    return objective.Options(**published | given)


def seen_as_published(config: DistillConfig) -> DistillConfig:
    """The options with what the paper says of how images are seen for this very run, such as `zca`: before reading."""
    of_cell, _ = OBJECTIVES.find(config.objective).published.of_cells(config)
    seen = {name: of_cell[name] for name in named(config, "data") if name in of_cell and getattr(config, name) is None}
    return dataclasses.replace(config, **seen)


def zero_with_gradient(tensor: Tensor, gradient: Tensor) -> Tensor:
    """A scalar that is zero, and whose gradient for `tensor` is `gradient`, which has its shape."""
    product = tensor * gradient
    return (product - product.detach()).sum()


def student(config: DistillConfig, data: ImageData) -> networks.Network:
    """The network of `--architecture`, for this data set's images, on its device and in the run's dtype."""
    network = networks.build(
        config.architecture, **data.network_shape, **parse_key_values(config.architecture_options)
    )
    return network.to(data.train.images.device, getattr(torch, config.dtype))
