"""What an objective is: a generator of losses over one iteration's view of the run.

Each set of losses that it yields is one optimiser step on the synthetic images. Ranks own classes: an objective works
on the classes of its rank, and the sum of all ranks' losses is the loss. It sees no accelerate, no Hub and no disk.
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
class Step:
    """One iteration as a rank sees it.

    Attributes:
        index: the iteration, from 0.
        seed: the run's seed.
        classes: the classes that this rank owns, ascending; may be empty.
        all_ranks: the number of ranks.
        synthetic: the synthetic set, whole, the same on every rank.
        data: the real set, whole.
        sum_over_ranks: adds a detached tensor up over all ranks; every rank has to call it.
        autocast: context of the networks' forward passes.
    """

    index: int
    seed: int
    classes: list[int]
    all_ranks: int
    synthetic: SyntheticSet
    data: ImageData
    sum_over_ranks: Callable[[Tensor], Tensor] = lambda tensor: tensor
    autocast: Callable[[], AbstractContextManager] = nullcontext

    def generator(self, purpose: str, *names: str | int) -> torch.Generator:
        """The generator of this iteration's draw `purpose` (of a class, …)."""
        return generator(self.seed, purpose, self.index, *names)

    def zero(self) -> Tensor:
        """The share of a rank that owns no class: a zero that has a gradient."""
        return self.synthetic.pixels.sum() * 0


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
