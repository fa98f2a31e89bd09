"""DATM, difficulty-aligned trajectory matching (Guo et al., ICLR 2024): MTT and TESLA by ranges, with learned labels.

Few images are matched to early epochs of the experts, many to late ones, and the labels are learned with the images:

    t ~ U{T⁻, …, U_it − 1},   U_it = min(T⁺, T₀ + ⌊(T⁺ − T₀) · it / E⌋),   g_i = ∇_θ CE_soft(S_i, softmax(y_i); θ_i)

y_j starts as the mean logits of those experts that classify image j right at their last epoch, and takes SGD steps of
its own rate and momentum. An iteration whose loss is above a threshold is skipped. All of this is as in the authors'
code.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hf_dd.config import DistillConfig
from hf_dd.config.base import option
from hf_dd.core.registry import OBJECTIVES
from hf_dd.objectives import cells
from hf_dd.objectives.base import Learnable, Losses, Step
from hf_dd.objectives.published import SGD, Published
from hf_dd.objectives.trajectory import ConstantMemoryTrajectoryMatching, TrajectoryMatching, TrajectoryOptions
from hf_dd.synthetic.synthetic_set import SyntheticSet
from hf_dd.teachers.experts import Parameters


@dataclass(frozen=True)
class DifficultyOptions(TrajectoryOptions):
    """The options of DATM; the defaults are those of its authors for CIFAR-10 at ipc 10."""

    student_steps: int = option(80, "N, steps of the student on S.", at_least=1)
    expert_epochs: int = option(2, "M, epochs of the expert that they shall replace.", at_least=1)
    max_start_epoch: int = option(20, "T⁺; the student starts from an epoch before it.", at_least=1)
    min_start_epoch: int = option(0, "T⁻, the earliest epoch that the student starts from.", at_least=0)
    first_max_start_epoch: int = option(
        10, "T₀, what T⁺ is in the first iteration; it grows from there, if `growth` isn't 0.", at_least=1
    )
    growth: int = option(1000, "E, iterations until T⁺ is what it is to be; 0 to begin so.", at_least=0)
    label_rate: float = option(2.0, "learning rate of the labels' logits.", at_least=0)
    label_momentum: float = option(0.9, "momentum of the labels' logits.", at_least=0, below=1)
    threshold: float = option(1.0, "a loss above which an iteration is skipped.", above=0)


class DifficultyAligned:
    """What DATM adds to a form of trajectory matching. Every rank computes the whole loss, as there."""

    published = Published(iterations=10_000, image_learning_rate=100.0, **SGD, init="expert-correct", cells=cells.DATM)
    Options = DifficultyOptions

    @property
    def least_start(self) -> int:
        """T⁻."""
        return self.options.min_start_epoch

    def starts_at(self, index: int) -> range:
        """The epochs from T⁻ up to what T⁺ is in this iteration, at least one."""
        first, last, growth = self.options.first_max_start_epoch, self.options.max_start_epoch, self.options.growth
        bound = min(last, first + (last - first) * index // growth) if growth else last
        return range(self.starts.start, max(bound, self.starts.start + 1))

    @property
    def asks_last_epoch(self) -> bool:
        """The first labels are of that."""
        return True

    def parameterise(self, initial: SyntheticSet) -> SyntheticSet:
        """The images as they are; the labels begin here."""
        self.logits = nn.Parameter(self.first_logits(initial))
        return initial

    def first_logits(self, synthetic: SyntheticSet) -> Tensor:
        """The mean logits of the experts that are right, (N, classes), or where none is the first expert's."""
        place = self.rate.device
        images, labels = synthetic.images().detach().to(place), synthetic.image_labels().to(place)
        last = self.experts.last_epoch()
        total, right = 0.0, 0.0
        for index in range(len(self.experts)):
            said = self.experts.logits(index, last, images)
            agrees = (said.argmax(1) == labels).to(said)[:, None]
            total, right = total + said * agrees, right + agrees
        return torch.where(right > 0, total / right.clamp(min=1), self.experts.logits(0, last, images))

    def learnables(self) -> dict[str, Learnable]:
        """The step size a, and the labels' logits."""
        labels = Learnable(self.logits, self.options.label_rate, self.options.label_momentum)
        return super().learnables() | {"labels": labels}

    def labels(self, step: Step, target: Parameters) -> Tensor:
        """The learned labels as probabilities."""
        return F.softmax(self.logits, dim=1)

    @classmethod
    def makes_labels(cls, config: DistillConfig) -> bool:
        """Always."""
        return True

    def soft_labels(self, synthetic: SyntheticSet) -> Tensor:
        """The learned labels."""
        return F.softmax(self.logits, dim=1)

    def losses(self, step: Step) -> Iterator[Losses]:
        """As of trajectory matching; whether the step is taken is known once the loss is."""
        for losses in super().losses(step):
            value = step.sum_over_ranks(sum(losses.values()).detach())
            self.skips = bool(value > self.options.threshold)
            yield losses

    def takes_step(self) -> bool:
        """Not where the loss was above the threshold."""
        return not self.skips


@OBJECTIVES.register(
    "datm",
    title="difficulty-aligned trajectory matching (DATM)",
    paper="Guo et al., ICLR 2024",
    work="Towards lossless dataset distillation via difficulty-aligned trajectory matching",
    authors="Guo, Ziyao and Wang, Kai and Cazenavette, George and Li, Hui and Zhang, Kaipeng and You, Yang",
    arxiv="2310.05773",
    draws=True,
    needs="--experts: teachers' repositories, whose tags epoch-0, epoch-1, … are trajectories",
)
class DifficultyAlignedTrajectoryMatching(DifficultyAligned, TrajectoryMatching):
    """DATM: the loss is differentiated through all steps of the student, as MTT's."""

    name: ClassVar[str] = "datm"


@OBJECTIVES.register(
    "datm-tesla",
    title="difficulty-aligned trajectory matching in constant memory (DATM with TESLA)",
    same_work="datm",
    draws=True,
    needs="--experts: teachers' repositories, whose tags epoch-0, epoch-1, … are trajectories",
)
class DifficultyAlignedConstantMemory(DifficultyAligned, ConstantMemoryTrajectoryMatching):
    """DATM by TESLA's gradients, those of its formula, for the labels as for the images."""

    name: ClassVar[str] = "datm-tesla"
    pixel_weight = 1.0
