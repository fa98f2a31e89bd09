"""What an objective is: a generator of losses over one iteration's view of the run.

Each set of losses that it yields is one optimiser step on the synthetic images. Ranks own classes, or parts of one
where there are more ranks than classes: an objective works on what its rank owns, and the sum of all ranks' losses is
the loss. It sees no accelerate, no Hub and no disk.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from hf_dd import networks
from hf_dd.config import DistillConfig, parse_key_values
from hf_dd.data import ImageData
from hf_dd.seeding import generator
from hf_dd.synthetic import SyntheticSet

Losses = dict[str, Tensor]


@dataclass(frozen=True)
class Published:
    """The settings of a method's paper, used where an option isn't given."""

    iterations: int
    real_batch_size: int
    image_learning_rate: float
    image_momentum: float


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
    """

    index: int
    seed: int
    own: Ownership
    all_ranks: int
    synthetic: SyntheticSet
    data: ImageData
    sum_over_ranks: Callable[[Tensor], Tensor] = lambda tensor: tensor
    autocast: Callable[[], AbstractContextManager] = nullcontext

    def generator(self, purpose: str, *names: str | int) -> torch.Generator:
        """The generator of this iteration's draw `purpose` (of a class, …)."""
        return generator(self.seed, purpose, self.index, *names)

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


class Objective(Protocol):
    """A distillation method."""

    published: Published

    def __init__(self, config: DistillConfig, data: ImageData): ...

    def losses(self, step: Step) -> Iterator[Losses]:
        """Yield, for each optimiser step of this iteration, this rank's share of each named loss term (scalars)."""
        ...


def student(config: DistillConfig, data: ImageData) -> networks.Network:
    """The network of `--architecture`, for this data set's images, on its device and in the run's dtype."""
    network = networks.build(
        config.architecture, **data.network_shape, **parse_key_values(config.architecture_options)
    )
    return network.to(data.train.images.device, getattr(torch, config.dtype))
