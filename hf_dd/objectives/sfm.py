"""Statistical flow matching (SFM, Xia et al., 2026): linear gradient matching at a head of zeros, by cached means."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hf_dd.config import DistillConfig
from hf_dd.config.base import option
from hf_dd.core.registry import OBJECTIVES
from hf_dd.data.image_data import ImageData
from hf_dd.errors import DataError
from hf_dd.objectives.base import Losses, Step, equal_share
from hf_dd.objectives.features import class_sums, features_of
from hf_dd.objectives.lgm import LinearGradientMatching, PyramidOptions
from hf_dd.objectives.published import Published
from hf_dd.teachers.pool import TeacherPool
from hf_dd.teachers.teacher import Teacher


@dataclass(frozen=True)
class FlowOptions(PyramidOptions):
    """What statistical flow matching has of its own."""

    copies: int = option(1, "of each synthetic image in a step, each with its own augmentation.", at_least=1)


@OBJECTIVES.register(
    "sfm",
    title="statistical flow matching (SFM)",
    paper="Xia et al., 2026",
    work="Efficient dataset distillation for pre-trained self-supervised models via statistical flow matching",
    authors="Xia, Qianxin and Du, Jiawei and Zhang, Xin and Zhang, Yuhan and Wang, Jielei and Lu, Guoming",
    arxiv="2602.05391",
    needs="any teachers",
    teachers="The images were made for a linear probe of their features; one teacher was drawn per step",
)
class StatisticalFlowMatching(LinearGradientMatching):
    """Match how class means of a frozen backbone's features lie to each other, with one teacher φ per iteration:

        flow_c(μ) = (Σ_{k≠c} μ_k) / (C − 1) − μ_c,   loss = 1 − cos(flow(μ), flow(m))

    with μ_c the mean of φ over all real images of class c, un-augmented and computed once, m_c that over the copies of
    the class's synthetic images. As flow_c is −C / (C − 1) times the centred mean, that is linear gradient matching at
    a head of zeros, but for the real side, which has no batches. The formula is that of the authors' code. The image
    set is a pyramid, see `PyramidSet`.
    """

    published = Published(
        iterations=5_000,
        image_learning_rate=2e-3,
        image_optimizer="adam",
        image_schedule="constant",
        init="noise",
    )
    Options = FlowOptions

    def __init__(self, config: DistillConfig, data: ImageData, pool: TeacherPool | None = None):
        if data.num_classes < 2:
            raise DataError(
                f"{data.name} has one class, and sfm matches how several lie to each other: take another --objective."
            )
        super().__init__(config, data, pool)
        self.means: dict[int, Tensor] = {}  # of the real images, by the teacher's place in the pool

    def losses(self, step: Step) -> Iterator[Losses]:
        """Yield one loss."""
        index = self.pool.draw(step.seed, step.index)
        teacher = self.pool[index]
        if index not in self.means:
            compute = functools.partial(class_means, step, teacher)
            self.means[index] = step.remembered("class-means", teacher, compute)
        real = self.means[index]
        own = self.synthetic_means(step, teacher, real)
        loss = 1 - F.cosine_similarity(flow(real).flatten(), flow(step.whole(own)).flatten(), dim=0)
        yield {"sfm": equal_share(loss, step.all_ranks)}

    def synthetic_means(self, step: Step, teacher: Teacher, like: Tensor) -> Tensor:
        """This rank's part of m, (classes, features)."""
        rows = step.own_rows()
        if not len(rows):
            return step.zero() + torch.zeros_like(like)
        images, labels = self.copies_of(step, rows)
        features = features_of(teacher, images, step)
        members = F.one_hot(labels, len(like)).to(features)
        return members.T @ features / (step.synthetic.per_class * self.augmentation.copies)


def class_means(step: Step, teacher: Teacher) -> Tensor:
    """μ, (classes, features)."""
    members = step.data.class_index
    return class_sums(step, teacher, members, lambda features, label: features.sum(0) / len(members[label]))


def flow(means: Tensor) -> Tensor:
    """For each class the mean of the other classes' means, less its own: (classes, features) both."""
    return (means.sum(0) - means) / (len(means) - 1) - means
