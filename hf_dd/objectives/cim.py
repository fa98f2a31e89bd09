"""CIM (Shang et al., ECCV 2026): small images that a teacher sees as it sees the large ones they were made from."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from hf_dd.config import DistillConfig
from hf_dd.config.base import option
from hf_dd.core.registry import OBJECTIVES
from hf_dd.core.strategies import parse_strategy
from hf_dd.data.batches import chunks_of, read_ahead
from hf_dd.data.image_data import ImageData
from hf_dd.nn import augment
from hf_dd.objectives.base import Losses, Objective, Step, zero_with_gradient
from hf_dd.objectives.published import Published
from hf_dd.synthetic.start import surest_rows
from hf_dd.teachers.activations import FEATURES, activations
from hf_dd.teachers.pool import TeacherPool
from hf_dd.teachers.teacher import Teacher


@dataclass(frozen=True)
class InformationOptions:
    """What CIM has of its own."""

    layer: str = option(
        FEATURES,
        "whose activations are compared: a module of the teachers by its name, such as body.3 or layer2, or "
        "'features'.",
    )


@OBJECTIVES.register(
    "cim",
    title="mosaics with minimal information loss (CIM)",
    paper="Shang et al., ECCV 2026",
    work="Condensing large-scale datasets directly with minimal information loss",
    authors="Shang, Xinyi and Sun, Peng and Shi, Bei and Wang, Zixuan and Lin, Tao",
    needs="teachers of the data set's classes",
    teachers="All teachers chose the real images; one was drawn per step, whose activations are kept",
)
class MinimalInformationLoss(Objective):
    """Each training image is matched to a real image of its own, by one teacher of the pool:

        loss = Σ_i mean_d |h_d(A_c(r_i)) − h_d(A_c(s_i))|

    where s_i are the training images, which are tiles of a quarter of the size with `--factor 2`, r_i the images of
    `--init surest`, h a layer's activations and A_c one composite augmentation per class and step. r_i have the lowest
    cross-entropy of 300 images of the class that are drawn, of 500 from 100 images per class on, of 1,000 from 200.
    s_i begins as r_i; with another `--init` it begins as that says, and is matched to r_i all the same.

    The loss is that of the authors' code. Its AdamW pulls the mosaic's change back by 1e-4 a step, which is left out;
    all classes step together, which is the same, as Adam's steps don't depend on the gradient's size. Their ResNet-18
    at 224 pixels has the layer `layer2`, all else the last one. The rate is that of pixels in [0, 1].
    """

    published = Published(
        iterations=200,
        image_learning_rate=0.01,
        image_optimizer="adam",
        image_schedule="constant",
        init="surest",
        strategy="composite_crop_cutout_flip",
        unit_pixels=True,
    )
    Options = InformationOptions
    whitens = False  # its pixels are of [0, 1]
    uses_teachers = reads_logits = by_parts = True

    def __init__(self, config: DistillConfig, data: ImageData, pool: TeacherPool | None = None):
        super().__init__(config, data, pool)
        self.strategy = parse_strategy(self.settings["augment"])
        self.pool = pool.to(data.device, getattr(torch, config.dtype))
        self.layer = self.options.layer
        blank = torch.full((1, data.channels, *data.image_size), 0.5, dtype=getattr(torch, config.dtype))
        for teacher in self.pool:  # one that lacks the layer shows now
            teacher.logit_order(data.class_names)
            with torch.no_grad():
                activations(teacher, blank.to(data.device), self.layer)
        self.sources: Tensor | None = None  # rows of the real images, in the order of the whole set's training images

    def losses(self, step: Step) -> Iterator[Losses]:
        """Yield one loss: the terms of this rank's images."""
        if self.sources is None:
            _, ipc = step.synthetic.place
            asked = (ipc, step.synthetic.factor, step.seed, step.synthetic.pixels.dtype, step.autocast)
            self.sources = surest_rows(step.data, self.pool, *asked).cpu()
        teacher = self.pool[self.pool.draw(step.seed, step.index)]
        yield {"cim": self.matching_loss(step, teacher)}

    def matching_loss(self, step: Step, teacher: Teacher) -> Tensor:
        """The loss; its gradient is computed here, chunk by chunk."""
        rows = step.own_rows()
        if not len(rows):
            return step.zero()
        images, places = step.synthetic.images(rows), step.synthetic.image_rows(step.synthetic.whole_rows(rows)).cpu()
        labels = step.synthetic.image_labels(rows).cpu()
        draws = augment.draw(step.data.num_classes, self.strategy, step.generator("augment"))
        parts = torch.arange(len(images)).tensor_split(chunks_of(len(images), images, teacher.image_size))
        total, slopes = step.zero().detach(), []
        for part, real in zip(
            parts, read_ahead(step.data.train.images, [self.sources[places[part]] for part in parts]), strict=True
        ):
            own = images[part.to(images.device)].detach().requires_grad_()
            with torch.no_grad():
                wanted = self.seen(step, teacher, step.as_input(real), draws.expand(labels[part]))
            found = self.seen(step, teacher, own, draws.expand(labels[part]))
            loss = (wanted - found).abs().mean(1).sum()
            slopes += torch.autograd.grad(loss, own)
            total = total + loss.detach()
        return total + zero_with_gradient(images, torch.cat(slopes))

    def seen(self, step: Step, teacher: Teacher, images: Tensor, draws: augment.Draws) -> Tensor:
        """A teacher's activations, (N, numbers), of normalised images, each by its class's draw."""
        images = step.synthetic.own_space(augment.apply(images, draws))
        with step.autocast():
            return activations(teacher, images, self.layer).to(images.dtype)
