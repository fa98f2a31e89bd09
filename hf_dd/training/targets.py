"""What a student's logits are compared with: labels, stored soft labels, or teachers' words on its own batch.

The loss is the cross-entropy of the student's probabilities at the targets' temperature T, times T² (Hinton, Vinyals &
Dean, 2015: so that its gradient doesn't shrink as T grows). It differs from the KL divergence by the targets' own
entropy, which no student can change. Labels of classes have T = 1: the plain cross-entropy.
"""

from collections.abc import Callable
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor

from hf_dd.core.precision import Autocast
from hf_dd.teachers.pool import TeacherPool
from hf_dd.teachers.soft_labels import logit_orders, probabilities


class Targets:
    """What the logits of a batch should be.

    Attributes:
        temperature: of the probabilities, the student's as well.
    """

    temperature = 1.0

    def of_batch(self, chosen: Tensor, batch: Tensor, draws: torch.Generator) -> Tensor:
        """Classes, int64 (n,), or probabilities, (n, classes), on the batch's device.

        Args:
            chosen: int64 (n,), on the CPU: which images of the set these are.
            batch: (n, channels, height, width), as the student gets them: augmented and normalised.
            draws: for whatever is drawn.
        """
        raise NotImplementedError


class StoredTargets(Targets):
    """Labels that come with the images.

    Args:
        labels: int64 (N,), or probabilities (N, classes), or those of several teachers (N, teachers, classes): then
            one teacher is drawn for each batch, uniformly.
        temperature: of the probabilities.
    """

    def __init__(self, labels: Tensor, temperature: float = 1.0):
        self.labels = labels
        self.temperature = temperature

    def of_batch(self, chosen: Tensor, batch: Tensor, draws: torch.Generator) -> Tensor:
        """The labels of the chosen images."""
        labels = self.labels[chosen.to(self.labels.device)].to(batch.device)
        if labels.ndim < 3:
            return labels
        return labels[:, int(torch.randint(labels.shape[1], (), generator=draws))]


class TaughtTargets(Targets):
    """The mean of teachers' probabilities for the very images that the student gets.

    Args:
        pool: the teachers, on the batches' device.
        class_names: the classes, in the order of the labels.
        own_space: takes a batch as the student gets it to [0, 1] space.
        temperature: of the probabilities.
        autocast: context of the teachers' forward passes.

    Raises TeacherError for a teacher of another label space.
    """

    def __init__(
        self,
        pool: TeacherPool,
        class_names: list[str],
        own_space: Callable[[Tensor], Tensor],
        temperature: float,
        autocast: Autocast = nullcontext,
    ):
        self.pool = pool
        self.orders = logit_orders(pool, class_names)
        self.own_space = own_space
        self.temperature = temperature
        self.autocast = autocast

    def of_batch(self, chosen: Tensor, batch: Tensor, draws: torch.Generator) -> Tensor:
        """The teachers' mean for this batch."""
        images = self.own_space(batch)
        total = sum(
            probabilities(teacher, order, images, self.temperature, self.autocast)
            for teacher, order in zip(self.pool, self.orders, strict=True)
        )
        return total / len(self.pool)


def distillation_loss(logits: Tensor, targets: Tensor, temperature: float, reduction: str = "mean") -> Tensor:
    """T² · cross-entropy of softmax(logits / T) against the targets.

    Args:
        logits: (n, classes).
        targets: int64 (n,), or probabilities (n, classes).
        temperature: T.
        reduction: as of `F.cross_entropy`.
    """
    return temperature**2 * F.cross_entropy(logits / temperature, targets, reduction=reduction)


def as_targets(labels: Tensor | Targets) -> Targets:
    """Labels as targets, where they are none yet."""
    return labels if isinstance(labels, Targets) else StoredTargets(labels)
