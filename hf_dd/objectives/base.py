"""What an objective is: a generator of losses over one iteration's view of the run.

Each set of losses that it yields is one optimiser step on the synthetic images. Ranks own classes, or parts of one
where there are more ranks than classes: an objective works on what its rank owns, and the sum of all ranks' losses is
the loss. It sees no accelerate, no Hub and no disk.
"""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hf_dd.config import DistillConfig, parse_key_values
from hf_dd.config.base import Kind, judged, named
from hf_dd.core.precision import Autocast
from hf_dd.core.registry import OBJECTIVES
from hf_dd.core.seeding import generator
from hf_dd.data.batches import in_unit_range
from hf_dd.data.image_data import ImageData
from hf_dd.errors import ConfigError, nearest_first
from hf_dd.nn import networks
from hf_dd.objectives.published import Published
from hf_dd.synthetic.synthetic_set import SyntheticSet
from hf_dd.teachers.pool import TeacherPool
from hf_dd.teachers.teacher import Teacher

Losses = dict[str, Tensor]


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
        remembered: given a kind, a teacher and a function, it returns what the function computes of that teacher and
            the whole real set, or what was computed of both under that kind in an earlier run; every rank has to call
            it.
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
        return self.data.normalise(in_unit_range(images, self.synthetic.mean.dtype))

    def zero(self) -> Tensor:
        """The share of a rank that owns no image: a zero that has a gradient."""
        return self.synthetic.pixels.sum() * 0

    def share(self, loss: Tensor) -> Tensor:
        """This rank's share of a loss that every rank which owns a part of its classes computes.

        The value is divided among them, the gradient isn't: it flows into this rank's own images only, as
        `whole_classes` makes it.
        """
        return loss if self.own.parts == 1 else equal_share(loss, self.own.parts) + self.zero()

    def own_rows(self) -> Tensor:
        """Indices of the synthetic images that this rank owns, int64; may be empty."""
        return self.own.of_batch(self.synthetic.rows(self.own.classes))

    def whole(self, partial: Tensor) -> Tensor:
        """This rank's part of a sum, made whole by the other ranks' parts; every rank has to call it.

        The value is the whole sum, the gradient flows into this rank's part only.
        """
        return partial + (self.sum_over_ranks(partial.detach()) - partial.detach())

    def whole_classes(self, partial: Tensor) -> Tensor:
        """The same of parts for each own class, (classes, …); a collective where classes are split."""
        if not self.own.split:
            return partial
        every_class = partial.new_zeros(self.data.num_classes, *partial.shape[1:])
        every_class[self.own.classes] = partial
        return self.whole(every_class)[self.own.classes]


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
        by_parts: whether it may optimise some images of each class, and then the next ones (`--images_at_once`),
            which come out as if all had been optimised together.
        whitens: whether `--zca` has a meaning for it: not where it sees the images through teachers alone, or works in
            [0, 1] space.
        options: those of this run.
        settings: all options of this run, with the published value where one isn't given, see `Published.filled_in`.
    """

    published: ClassVar[Published]
    Options: ClassVar[type] = NoOptions
    uses_teachers: ClassVar[bool] = False
    reads_logits: ClassVar[bool] = False
    uses_experts: ClassVar[bool] = False
    guide_only: ClassVar[bool] = False
    by_parts: ClassVar[bool] = False
    whitens: ClassVar[bool] = True

    def __init__(self, config: DistillConfig, data: ImageData, pool: TeacherPool | None = None):
        self.options = options_of(type(self), config)
        self.settings = self.published.filled_in(config)

    def losses(self, step: Step) -> Iterator[Losses]:
        """Yield, for each optimiser step of this iteration, this rank's share of each named loss term (scalars).

        The code after a `yield` runs when the step has been taken.
        """
        raise NotImplementedError

    @property
    def updates(self) -> int:
        """How many optimiser steps of one length an iteration has; 1 where it has a single one, or unlike ones."""
        return 1

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
def why_no_objective(definition: Any) -> str | None:
    """What a definition has to be, where it is no objective."""
    if not (isinstance(definition, type) and issubclass(definition, Objective)):
        return "has to be a subclass of hf_dd.objectives.Objective"
    if not isinstance(getattr(definition, "published", None), Published):
        return "has to give its settings as `published = hf_dd.objectives.Published(iterations=…)`"
    return None


def options_of(objective: type[Objective], config: DistillConfig) -> Any:
    """An objective's own options from `--objective_options`.

    Raises ConfigError for one that isn't its own, and for a value of another type than the default's or, where it is
    declared by `option`, one that isn't taken; the default may stand for something else, and always is.
    """
    fields = {field.name: field for field in dataclasses.fields(objective.Options)}
    given = parse_key_values(config.objective_options)
    _, published = objective.published.of_cells(config)
    for name, value in given.items():
        if name not in fields:
            known = ", ".join(nearest_first(name, fields)) or "none"
            raise ConfigError(f"--objective_options: {config.objective} has no {name!r}; it has {known}.")
        kind, default = Kind(type(fields[name].default), (), False, False), fields[name].default
        if value != default:
            given[name] = judged(fields[name], kind, value, f"--objective_options {name}")
    return objective.Options(**published | given)


def seen_as_published(config: DistillConfig) -> DistillConfig:
    """The options; those that say how images are read, such as `zca`, are the paper's where they aren't given."""
    of_cell, _ = OBJECTIVES.find(config.objective).published.of_cells(config)
    seen = {name: of_cell[name] for name in named(config, "data") if name in of_cell and getattr(config, name) is None}
    return dataclasses.replace(config, **seen)


def equal_share(loss: Tensor, ranks: int) -> Tensor:
    """The share of one of so many ranks that all compute a whole loss: its value is divided, its gradient isn't."""
    return loss - loss.detach() * (1 - 1 / ranks)


def zero_with_gradient(tensor: Tensor, gradient: Tensor) -> Tensor:
    """A scalar whose value is zero, and whose gradient for `tensor` is `gradient`, of the same shape."""
    product = tensor * gradient
    return (product - product.detach()).sum()


def student(config: DistillConfig, data: ImageData) -> networks.Network:
    """The network of `--architecture`, for this data set's images, on its device and in the run's dtype."""
    network = networks.build(
        config.architecture, **data.network_shape, **parse_key_values(config.architecture_options)
    )
    return network.to(data.train.images.device, getattr(torch, config.dtype))
