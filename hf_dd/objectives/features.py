"""What teachers see of the images of a step, and the sums of it that every rank has a part in."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from hf_dd.core.progress import Phase
from hf_dd.data.batches import by_chunks, in_chunks, in_unit_range
from hf_dd.objectives.base import Step
from hf_dd.teachers.teacher import Teacher


def features_of(teacher: Teacher, images: Tensor, step: Step) -> Tensor:
    """Features of images in [0, 1] space, (N, features), in the set's dtype, as many at a time as the size allows."""

    def features(images: Tensor) -> Tensor:
        with step.autocast():
            return teacher.features(images).to(step.synthetic.mean.dtype)

    return by_chunks(features, images, teacher.image_size)


@torch.no_grad()
def feature_size(teacher: Teacher, step: Step) -> int:
    """How many features a teacher has: seen by one blank image, as a rank may own no image at all."""
    blank = torch.zeros_like(step.synthetic.own_space()[:1])
    with step.autocast():
        return teacher.features(blank).shape[1]


@torch.no_grad()
def class_sums(
    step: Step, teacher: Teacher, chosen: Sequence[Tensor], summed: Callable[[Tensor, int], Tensor]
) -> Tensor:
    """Sums over real images of each class, (classes, features): each rank sums what it owns, then all are added.

    Args:
        step: as the rank sees it.
        teacher: whose features are summed.
        chosen: which images of each class, int64 (n,) each.
        summed: makes of features (n, features) of a class's images, and the class, what is added up: (features,).
    """
    like = step.synthetic.mean
    sums = like.new_zeros(step.data.num_classes, feature_size(teacher, step))
    own = {label: step.own.of_batch(chosen[label]) for label in step.own.classes}
    with Phase("class sums", sum(map(len, own.values())), "image") as phase:
        for label, rows in own.items():
            for places, images in in_chunks(step.data.train.images, rows, seen=teacher.image_size):
                sums[label] += summed(features_of(teacher, in_unit_range(images, like.dtype), step), label)
                phase.update(len(places))
    return step.sum_over_ranks(sums)
