"""CLoM: the loss by which pre-trained teachers guide any objective (arXiv 2310.03295).

    total = objective(S, T) + α · CLoM(S)

once per optimiser step on the images, on the full and un-augmented synthetic set S, with one teacher drawn per step.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from hf_dd.config import DistillConfig
from hf_dd.data import ImageData
from hf_dd.errors import ConfigError
from hf_dd.images import by_chunks, in_chunks
from hf_dd.objectives.base import Losses, Objective, Published, Step
from hf_dd.teachers import Teacher, TeacherPool


class ClassificationDistance:
    """CLoM's `ce`: mean cross-entropy of the teacher's logits on S against S's labels.

    The mean runs over the whole of S, so one image weighs α / |S|. Raises TeacherError where a teacher's label space
    isn't the data set's.
    """

    def __init__(self, pool: TeacherPool, data: ImageData):
        self.orders = [torch.tensor(teacher.logit_order(data.class_names)) for teacher in pool]

    def __call__(self, step: Step, index: int, teacher: Teacher) -> Tensor:
        """This rank's share: the sum over its images, divided by |S|."""
        rows = step.own_rows()
        if not len(rows):
            return step.zero()
        with step.autocast():
            logits = by_chunks(teacher, step.synthetic.own_space(step.synthetic.pixels[rows]))
        logits = logits[:, self.orders[index].to(logits.device)].to(step.synthetic.pixels.dtype)
        return F.cross_entropy(logits, step.synthetic.labels[rows], reduction="sum") / len(step.synthetic.labels)


class CosineDistance:
    """CLoM's `cos`: Σ M∘D / Σ D with M[i,j] = [y_i = y_j], D[i,j] = 1 − r_i·s_j, over real i and synthetic j.

    r and s are L2-normalised teacher features. D is linear in r, so the real side collapses to the class sums
    R_c = Σ_{y_i=c} r_i and counts n_c, with R = Σ_c R_c and n = Σ_c n_c:

        Σ M∘D = Σ_j (n_{y_j} − s_j·R_{y_j}),   Σ D = Σ_j (n − s_j·R)

    exactly. The class sums cost one pass over the real set for each teacher, at its first use; a step then costs one
    forward and backward pass of S. Chance level is about 1 / C.
    """

    def __init__(self, pool: TeacherPool, data: ImageData):
        self.class_sums: dict[int, Tensor] = {}

    def __call__(self, step: Step, index: int, teacher: Teacher) -> Tensor:
        """This rank's share of the ratio, see `ratio_share`."""
        sums = self.class_sums.get(index)
        if sums is None:
            sums = self.class_sums[index] = real_class_sums(step, teacher)
        rows = step.own_rows()
        if not len(rows):
            return ratio_share(step.zero(), step.zero(), step)
        labels = step.synthetic.labels[rows]
        with step.autocast():
            features = by_chunks(teacher.features, step.synthetic.own_space(step.synthetic.pixels[rows]))
        features = F.normalize(features.to(step.synthetic.pixels.dtype), dim=1)
        counts = torch.tensor([len(members) for members in step.data.class_index]).to(sums)
        same_class = (counts[labels] - (features * sums[labels]).sum(1)).sum()
        every_class = (counts.sum() - features @ sums.sum(0)).sum()
        return ratio_share(same_class, every_class, step)


def ratio_share(numerator: Tensor, denominator: Tensor, step: Step) -> Tensor:
    """A rank's share of N / D, where N = Σ_r n_r and D = Σ_r d_r run over ranks: its value and its gradient.

    The shares' values add up to N / D, and their gradients to the quotient rule's (∇N·D − N·∇D) / D².
    """
    totals = step.sum_over_ranks(torch.stack([numerator.detach(), denominator.detach()]))
    value_share = numerator.detach() / totals[1]
    slope = numerator / totals[1] - totals[0] / totals[1] ** 2 * denominator
    return value_share + slope - slope.detach()


@torch.no_grad()
def real_class_sums(step: Step, teacher: Teacher) -> Tensor:
    """R_c of every class, (classes, features): each rank sums what it owns, then all are put together."""
    pixels = step.synthetic.pixels
    size = teacher.features(step.synthetic.own_space()[:1]).shape[1]
    sums = pixels.new_zeros(step.data.num_classes, size)
    for label in step.own.classes:
        for _, images in in_chunks(step.data.train.images, step.own.of_batch(step.data.class_index[label])):
            with step.autocast():
                features = teacher.features(images.to(pixels.dtype) / 255)
            sums[label] += F.normalize(features.to(pixels.dtype), dim=1).sum(0)
    return step.sum_over_ranks(sums)


DISTANCES = {"ce": ClassificationDistance, "cos": CosineDistance}


class GuideAlone:
    """No objective of its own: what remains is CLoM alone (the limit of a large α)."""

    published = Published(iterations=20_000, real_batch_size=256, image_learning_rate=1.0, image_momentum=0.5)

    def __init__(self, config: DistillConfig, data: ImageData):
        if config.clom == "none":
            raise ConfigError("--objective clom is CLoM alone: add --clom ce or --clom cos, and teachers.")

    def losses(self, step: Step) -> Iterator[Losses]:
        """Yield once, for the guide to add its term."""
        yield {}


class Guided:
    """An objective with CLoM's term added to every loss that it yields."""

    def __init__(self, objective: Objective, config: DistillConfig, pool: TeacherPool, data: ImageData):
        dtype = getattr(torch, config.dtype)
        self.objective = objective
        self.published = objective.published
        self.alpha = config.clom_alpha
        self.pool = pool.to(data.device, dtype)
        self.distance = DISTANCES[config.clom](pool, data)

    def losses(self, step: Step) -> Iterator[Losses]:
        """The objective's losses, each with α · CLoM of one teacher, drawn for this optimiser step."""
        for inner, losses in enumerate(self.objective.losses(step)):
            index = self.pool.draw(step.seed, step.index * 1_000 + inner)
            yield losses | {"clom": self.alpha * self.distance(step, index, self.pool[index])}
