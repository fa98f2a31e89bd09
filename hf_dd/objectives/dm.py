"""Distribution matching: DM (Zhao & Bilen, WACV 2023)."""

import dataclasses
import functools
from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from hf_dd.config import DistillConfig
from hf_dd.core.compile import compiled
from hf_dd.core.registry import OBJECTIVES
from hf_dd.core.strategies import parse_strategy
from hf_dd.data.batches import by_chunks, in_chunks
from hf_dd.data.image_data import ImageData
from hf_dd.nn import augment
from hf_dd.objectives import cells
from hf_dd.objectives.base import Losses, Objective, Ownership, Step, student
from hf_dd.objectives.drawn import DrawnNetwork
from hf_dd.objectives.published import SGD, Published
from hf_dd.teachers.pool import TeacherPool


@OBJECTIVES.register(
    "dm",
    title="distribution matching (DM)",
    paper="Zhao & Bilen, WACV 2023",
    work="Dataset condensation with distribution matching",
    authors="Zhao, Bo and Bilen, Hakan",
    arxiv="2110.04181",
    draws=True,
)
class DistributionMatching(Objective):
    """Match the class means of a drawn network's features.

    Per iteration, with ψ the flattened features of a random network (or of another one, see `DrawnNetwork`) and A one
    Siamese augmentation per class: loss = Σ_c ‖ mean ψ(A(T_c)) − mean ψ(A(S_c)) ‖² (the paper's eq. 5 and 6).

    A BatchNorm network has to see all classes together, as its statistics are the batch's: every rank then embeds
    everything, and takes its equal share of the loss.
    """

    name: ClassVar[str] = "dm"
    published = Published(
        iterations=20_000,
        real_batch_size=256,
        image_learning_rate=1.0,
        **SGD,
        networks="random",
        # Chosen on held-out training images: digits at ipc 1 and 10 (200 iterations), Fashion-MNIST at ipc 10 (300).
        short_rate=3.0,
        cells=cells.DM,
    )

    def __init__(self, config: DistillConfig, data: ImageData, pool: TeacherPool | None = None):
        super().__init__(config, data, pool)
        self.batch_size = self.settings["real_batch_size"]
        self.strategy = parse_strategy(self.settings["augment"])
        self.network = student(config, data).requires_grad_(False).train()
        self.drawn = DrawnNetwork(self.network, config, data, pool, self.published)
        self.replicated = self.network.has_batch_norm
        self.embed = self.network.features
        if config.compile:
            self.embed = compiled(self.embed, self.settings["iterations"])

    def losses(self, step: Step) -> Iterator[Losses]:
        """Yield one loss: the terms of this rank's classes, or its share of them."""
        self.drawn.draw(step)
        yield {self.name: self.matching_loss(step)}

    def matching_loss(self, step: Step) -> Tensor:
        """The terms of this rank's classes, or its share of them."""
        draws = augment.draw(step.data.num_classes, self.strategy, step.generator("augment"))
        if self.replicated:
            step = dataclasses.replace(step, own=Ownership.of(0, 1, step.data.num_classes))
        with step.autocast():
            real = self.means(step, self.real_features(step, draws), self.batch_size)
            synthetic = self.means(step, self.synthetic_features(step, draws), step.synthetic.per_class)
        loss = self.distance(real, synthetic)
        return loss / step.all_ranks if self.replicated else step.share(loss)

    def distance(self, real: Tensor, synthetic: Tensor) -> Tensor:
        """The loss of the class means of `sums` of real and of synthetic images."""
        return (real - synthetic).square().sum()

    @torch.no_grad()
    def real_features(self, step: Step, draws: augment.Draws) -> list[Tensor]:
        """Features of real images, normalised and augmented: `batch_size` of each own class, class after class.

        A tensor (n, features) for each chunk of images.
        """
        batches = [step.data.sample_class(c, self.batch_size, step.generator("real", c)) for c in step.own.classes]
        batches = [step.own.of_batch(batch) for batch in batches]
        parameters = draws.expand(torch.tensor(step.own.classes).repeat_interleave(len(batches[0])))
        features = []
        for places, images in in_chunks(step.data.train.images, torch.cat(batches), whole=self.replicated):
            features.append(self.embed(augment.apply(step.as_input(images), parameters.expand(places))))
        return features

    def synthetic_features(self, step: Step, draws: augment.Draws) -> list[Tensor]:
        """The same of all synthetic images of these classes, with the augmentation of their class's real ones."""
        rows = step.own_rows()
        images = step.synthetic.images(rows)
        per_class = len(images) // len(step.own.classes)
        parameters = draws.expand(torch.tensor(step.own.classes).repeat_interleave(per_class))
        embed = self.embed if self.replicated else functools.partial(by_chunks, self.embed)
        return [embed(augment.apply(images, parameters))] if len(rows) else []

    def means(self, step: Step, features: list[Tensor], per_class: int) -> Tensor:
        """Class means of features that come class after class, as many of each."""
        classes = len(step.own.classes)
        if not features:  # this rank's part of a small class
            rows = step.synthetic.pixels.new_zeros(classes, 0, self.network.feature_size)
        else:
            rows = torch.cat(features).unflatten(0, (classes, -1))
        return step.whole_classes(self.sums(rows.float() if rows.dtype is torch.bfloat16 else rows)) / per_class

    def sums(self, features: Tensor) -> Tensor:
        """What is compared of features (classes, n, features), summed over the images: (classes, numbers)."""
        return features.sum(1)
