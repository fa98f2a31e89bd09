"""Distribution matching: DM (Zhao & Bilen, WACV 2023)."""

from collections.abc import Iterator

import torch
from torch import Tensor

from hf_dd import augment
from hf_dd.config import DistillConfig
from hf_dd.data import ImageData
from hf_dd.networks import features_in_chunks
from hf_dd.objectives.base import Losses, Published, Step, student


class DistributionMatching:
    """Match the class means of a freshly drawn network's features.

    Per iteration, with ψ the flattened features of a random network and A one Siamese augmentation per class:
    loss = Σ_c ‖ mean ψ(A(T_c)) − mean ψ(A(S_c)) ‖² (the paper's eq. 5 and 6).

    A BatchNorm network has to see all classes together, as its statistics are the batch's: every rank then embeds
    everything, and takes its equal share of the loss.
    """

    published = Published(iterations=20_000, real_batch_size=256, image_learning_rate=1.0, image_momentum=0.5)

    def __init__(self, config: DistillConfig, data: ImageData):
        self.batch_size = config.real_batch_size or self.published.real_batch_size
        self.strategy = augment.parse_strategy(config.augment)
        self.network = student(config, data).requires_grad_(False).train()
        self.replicated = self.network.has_batch_norm
        self.embed = torch.compile(self.network.features) if config.compile else None

    def losses(self, step: Step) -> Iterator[Losses]:
        """Yield one loss: this rank's classes' terms."""
        self.network.reinitialise(step.seed, "student", step.index)
        classes = list(range(step.data.num_classes)) if self.replicated else step.classes
        share = 1 / step.all_ranks if self.replicated else 1.0
        if not classes:
            yield {"dm": step.zero()}
            return
        draws = augment.draw(step.data.num_classes, self.strategy, step.generator("augment"))
        with step.autocast():
            with torch.no_grad():
                real = self.features(self.real_batch(step, classes, draws))
            synthetic = self.features(self.synthetic_batch(step, classes, draws))
        real_means = class_means(real, len(classes))
        synthetic_means = class_means(synthetic, len(classes))
        yield {"dm": (real_means - synthetic_means).square().sum() * share}

    def features(self, images: Tensor) -> Tensor:
        """Features of a batch, computed at once where the network or the compiler wants it whole."""
        if self.embed is not None:
            return self.embed(images)
        return features_in_chunks(self.network, images, len(images) if self.replicated else None)

    def real_batch(self, step: Step, classes: list[int], draws: augment.AugmentParameters) -> Tensor:
        """`batch_size` normalised and augmented real images of each class, class after class."""
        chosen = torch.cat([step.data.sample_class(c, self.batch_size, step.generator("real", c)) for c in classes])
        images = step.data.train.images[chosen.to(step.data.train.images.device)]
        images = step.data.normalise(images.to(step.synthetic.pixels.dtype) / 255)
        return augment.apply(images, draws.expand(torch.tensor(classes).repeat_interleave(self.batch_size)))

    def synthetic_batch(self, step: Step, classes: list[int], draws: augment.AugmentParameters) -> Tensor:
        """The synthetic images of each class, with the augmentation of its real ones."""
        images = step.synthetic.pixels[step.synthetic.rows(classes)]
        return augment.apply(images, draws.expand(torch.tensor(classes).repeat_interleave(step.synthetic.ipc)))


def class_means(features: Tensor, classes: int) -> Tensor:
    """Mean features per class, (classes, features), of a batch that holds equally many images of each, in order."""
    if features.dtype is torch.bfloat16:
        features = features.float()
    return features.view(classes, -1, features.shape[-1]).mean(1)
