"""What a student's logits are compared with: labels, stored soft labels, or teachers' words on its own batch.

The loss is, if nothing else is asked for, the cross-entropy of the student's probabilities at the targets' temperature
T, times T² (Hinton, Vinyals & Dean, 2015: so that its gradient doesn't shrink as T grows). It differs from the KL
divergence by the targets' own entropy, which no student can change. Labels of classes have T = 1: the plain
cross-entropy. `Loss` has the others of the field.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hf_dd.core.precision import Autocast
from hf_dd.data.batches import Images, by_chunks
from hf_dd.nn import networks
from hf_dd.teachers.crop_labels import CropLabels
from hf_dd.teachers.pool import TeacherPool
from hf_dd.teachers.soft_labels import logit_orders, probabilities
from hf_dd.teachers.teacher import Teacher


class Targets:
    """What the logits of a batch should be.

    Attributes:
        temperature: of the probabilities, the student's as well.
        of_views: whether they are of the very images that the student gets, so that mixed images need no mixed labels.
    """

    temperature = 1.0
    of_views = False

    def of_batch(self, chosen: Tensor, batch: Tensor, draws: torch.Generator) -> Tensor:
        """Classes, int64 (n,), or probabilities, (n, classes), on the batch's device.

        Args:
            chosen: int64 (n,), on the CPU: which images of the set these are.
            batch: (n, channels, height, width), as the student gets them: augmented and normalised.
            draws: for whatever is drawn.
        """
        raise NotImplementedError

    def classes(self, chosen: Tensor) -> Tensor | None:
        """The chosen images' own classes, int64 (n,), for a loss that takes them too; None where they aren't known."""
        return None

    def of_epoch(self, number: int, images: Images) -> tuple[Images, "Targets"]:
        """What a student sees in its epoch `number`, from 1, and what that should be: the images, and all the same."""
        return images, self


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
    """The mean of what teachers say of the very images that the student gets.

    Args:
        pool: the teachers, on the batches' device.
        class_names: the classes, in the order of the labels.
        own_space: takes a batch as the student gets it to [0, 1] space.
        temperature: of the probabilities.
        autocast: context of the teachers' forward passes.
        mean: of the teachers' 'probabilities'; of their 'logits', of which the probabilities are then taken; or
            'raw', the mean of their logits itself, for a loss on logits.
        batch_statistics: whether the teachers' batch normalisation goes by the batch, as in training; its running
            statistics stay as they are.
        labels: int64 (N,), the images' own classes, for a loss that takes them too.

    Raises TeacherError for a teacher of another label space.
    """

    of_views = True

    def __init__(
        self,
        pool: TeacherPool,
        class_names: list[str],
        own_space: Callable[[Tensor], Tensor],
        temperature: float,
        autocast: Autocast = nullcontext,
        *,
        mean: str = "probabilities",
        batch_statistics: bool = False,
        labels: Tensor | None = None,
    ):
        self.pool = pool
        self.orders = logit_orders(pool, class_names)
        self.own_space = own_space
        self.temperature = temperature
        self.autocast = autocast
        self.mean = mean
        self.batch_statistics = batch_statistics
        self.labels = labels

    def of_batch(self, chosen: Tensor, batch: Tensor, draws: torch.Generator) -> Tensor:
        """The teachers' mean for this batch: probabilities, or logits where the mean is 'raw'."""
        images, teachers = self.own_space(batch), zip(self.pool, self.orders, strict=True)
        if self.mean == "probabilities" and not self.batch_statistics:
            shared = (images, self.temperature, self.autocast)
            return sum(probabilities(teacher, order, *shared) for teacher, order in teachers) / len(self.pool)
        said = [self.logits(teacher, order, images) for teacher, order in teachers]
        if self.mean == "probabilities":
            said = [(each / self.temperature).softmax(1) for each in said]
        mean = sum(said) / len(said)
        return (mean / self.temperature).softmax(1) if self.mean == "logits" else mean

    @torch.no_grad()
    def logits(self, teacher: Teacher, order: list[int], images: Tensor) -> Tensor:
        """What one teacher says of images, (n, classes), float32; all at once where they are its statistics."""

        def said_of(chunk: Tensor) -> Tensor:
            with self.autocast():
                return teacher(chunk)[:, order].float()

        if self.batch_statistics:
            with by_batch_statistics(teacher):
                return said_of(images)
        return by_chunks(said_of, images, teacher.image_size)

    def classes(self, chosen: Tensor) -> Tensor | None:
        """The chosen images' own classes."""
        return None if self.labels is None else self.labels[chosen.to(self.labels.device)]


class CropTargets(Targets):
    """Stored labels of crops: in each epoch a student sees the views of a stored one, in their order, over and over.

    Args:
        labels: of the very images that are trained on.
        temperature: of the probabilities.
    """

    of_views = True

    def __init__(self, labels: CropLabels, temperature: float):
        self.epochs = labels.by_epoch()
        self.temperature = temperature

    def of_epoch(self, number: int, images: Images) -> tuple[Images, Targets]:
        """The views of a stored epoch, and their labels."""
        rows = self.epochs[(number - 1) % len(self.epochs)]
        return CropViews(images, rows), StoredTargets(rows.probabilities(self.temperature), self.temperature)


class CropViews:
    """Views of images that labels of crops tell of: stands in for a tensor where that is indexed, as `Images` do."""

    def __init__(self, images: Images, labels: CropLabels):
        self.images, self.labels = images, labels
        self.device = images.device
        self.shape = torch.Size((len(labels), images.shape[1], *labels.size))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Tensor) -> Tensor:
        """The views of these rows, int64 (n,): floats, normalised where the images are, in [0, 1] space of uint8."""
        return self.labels.taken(index.cpu()).views(self.images)


@contextmanager
def by_batch_statistics(network: nn.Module) -> Iterator[None]:
    """Have a network's batch normalisation go by the batch, without a change of its running statistics."""
    layers = networks.batch_norms(network)
    before = [(layer.training, layer.track_running_stats) for layer in layers]
    try:
        for layer in layers:
            layer.training, layer.track_running_stats = True, False
        yield
    finally:
        for layer, (training, tracks) in zip(layers, before, strict=True):
            layer.training, layer.track_running_stats = training, tracks


@dataclass(frozen=True)
class Loss:
    """How logits are compared with what they should be; targets that are classes have the plain cross-entropy.

    Attributes:
        kind: 'ce', the cross-entropy at the targets' temperature T; 'kl', the KL divergence from the targets at T, a
            mean over the batch; or 'mse', the mean squared difference from logits, over all their entries.
        squared: whether the first two are times T², so that their gradient doesn't shrink as T grows.
        hard: weight of the cross-entropy with the images' own classes that 'mse' has beside it.
    """

    kind: str = "ce"
    squared: bool = True
    hard: float = 0.0

    def __call__(
        self, logits: Tensor, wanted: Tensor, temperature: float = 1.0, classes: Tensor | None = None
    ) -> Tensor:
        """The mean over a batch: of logits (n, classes), targets as `Targets.of_batch` gives, and classes (n,)."""
        if not wanted.is_floating_point():
            return F.cross_entropy(logits, wanted)
        if self.kind == "mse":
            loss = F.mse_loss(logits, wanted)
            return loss + self.hard * F.cross_entropy(logits, classes) if self.hard else loss
        if self.kind == "ce":
            loss = distillation_loss(logits, wanted, temperature)
            return loss if self.squared else loss / temperature**2
        loss = F.kl_div((logits / temperature).log_softmax(1), wanted, reduction="batchmean")
        return temperature**2 * loss if self.squared else loss


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
