"""SRe2L's recovery: images that a BatchNorm teacher takes for its own training data (Yin, Xing & Shen, NeurIPS 2023).

No real image takes part: noise is optimised until a trained network gives it its label, and until the statistics of
its activations are those that the network's BatchNorm layers have stored.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hf_dd.config import DistillConfig
from hf_dd.config.base import option
from hf_dd.core.registry import OBJECTIVES
from hf_dd.data.image_data import ImageData
from hf_dd.errors import ConfigError, TeacherError
from hf_dd.nn import networks
from hf_dd.nn.crops import draw_boxes, resized_crop
from hf_dd.objectives.base import Losses, Objective, Step, zero_with_gradient
from hf_dd.objectives.published import Published
from hf_dd.teachers.pool import TeacherPool
from hf_dd.teachers.teacher import Teacher


@dataclass(frozen=True)
class RecoveryOptions:
    """SRe2L's settings; the defaults are those of the authors' code for CIFAR, which rolls images and nothing else.

    For ImageNet it crops from a scale of 0.08, flips with 0.5, rolls by 32 pixels, and takes 4,000 iterations.
    """

    batch: int = option(
        100,
        "stored images that are seen together at most; as many of each class, where it isn't less than those.",
        at_least=1,
    )
    bn_weight: float = option(0.01, "of the BatchNorm term.", at_least=0)
    first_bn_weight: float = option(10.0, "of the first BatchNorm layer within it; the others weigh 1.", at_least=0)
    scale: float = option(
        1.0,
        "the least share of an image's area that a random crop takes; 1 leaves the crop out.",
        at_least=0.001,
        at_most=1,
    )
    flip: float = option(0.0, "probability that a batch is mirrored.", at_least=0, at_most=1)
    jitter: int = option(4, "pixels by which a batch is rolled at most, in all four directions.", at_least=0)


@OBJECTIVES.register(
    "sre2l",
    title="recovery from BatchNorm statistics (SRe2L)",
    paper="Yin, Xing & Shen, NeurIPS 2023",
    work="Squeeze, recover and relabel: dataset condensation at ImageNet scale from a new perspective",
    authors="Yin, Zeyuan and Xing, Eric and Shen, Zhiqiang",
    arxiv="2306.13092",
    needs="BatchNorm teachers",
    teachers="One teacher was drawn per step",
)
class Recovery(Objective):
    """Per step, with one teacher f drawn from the pool and A one augmentation of each batch x of labels y:

        loss = CE(f(A(x)), y) + 0.01 Σ_l w_l (‖μ_l(A(x)) − μ̂_l‖₂ + ‖σ²_l(A(x)) − σ̂²_l‖₂),   w_0 = 10, else 1

    with μ_l and σ²_l the mean and (biased) variance per channel of what comes into BatchNorm layer l, and μ̂_l and
    σ̂²_l what the layer has stored. A is a random resized crop, a flip and a roll; pixels are clipped to the valid
    range after each step. All of this is as in the authors' code.

    Batch statistics need a batch: 100 images, as in the paper's code, one of each of as many classes, or as many of
    each of all where there are fewer. The loss is the sum over batches, so that each is optimised as if it were alone.
    Ranks deal out batches, so their number changes no statistics; a rank beyond the number of batches has nothing to
    do. Every batch's gradient is taken as soon as it can be: activations take no more memory with more ipc. Images,
    their gradient and Adam's moments do, unless `--images_at_once` has them optimised part by part.
    """

    published = Published(
        iterations=1000,
        image_learning_rate=0.25,
        image_optimizer="adam",
        image_schedule="cosine",
        init="noise",
        betas=(0.5, 0.9),
        augments=False,
    )
    Options = RecoveryOptions
    uses_teachers = reads_logits = by_parts = True
    whitens = False

    def __init__(self, config: DistillConfig, data: ImageData, pool: TeacherPool | None = None):
        super().__init__(config, data, pool)
        self.classes = data.num_classes
        self.require_whole_batches(config.images_at_once, config.ipc)
        self.pool = pool.to(data.device, getattr(torch, config.dtype))
        self.orders = []
        for teacher in pool:
            self.orders.append(torch.tensor(teacher.logit_order(data.class_names), device=data.device))
            if not batch_norms(teacher):
                raise TeacherError(
                    f"--objective {config.objective} matches the statistics of BatchNorm layers, and {teacher.spec} "
                    f"({teacher.spec.architecture}) has none: take teachers such as those of "
                    "`hf-dd pretrain --architectures ConvNetBN`."
                )

    def require_whole_batches(self, at_once: int | None, ipc: int) -> None:
        """Raise ConfigError where images that are optimised together don't fill their batches."""
        of_each = self.options.batch // self.classes
        if at_once not in (None, ipc) and of_each and at_once % of_each:
            raise ConfigError(
                f"--images_at_once {at_once}: batches of {self.options.batch} hold {of_each} images of each of "
                f"{self.classes} classes, so give a multiple of {of_each}, or leave it out."
            )

    def losses(self, step: Step) -> Iterator[Losses]:
        """Yield this rank's batches' terms once; then clip all pixels."""
        index = self.pool.draw(step.seed, step.index)
        rank = step.own.classes[0] + step.own.part * step.data.num_classes
        total = {"ce": step.zero(), "bn": step.zero()}
        numbered = enumerate(self.batches(step), self.batches_before(step.synthetic.place[0]))
        for number, rows in list(numbered)[rank :: step.all_ranks]:
            images = step.synthetic.own_space(step.synthetic.images(rows))
            leaf = images.detach().requires_grad_()
            terms = self.terms(step, number, index, leaf, step.synthetic.image_labels(rows))
            (gradient,) = torch.autograd.grad(sum(terms.values()), leaf)
            total["ce"] = total["ce"] + zero_with_gradient(images, gradient)  # of both terms
            total = {name: value + terms[name].detach() for name, value in total.items()}
        yield total
        step.synthetic.clip()

    def batches(self, step: Step) -> Iterator[Tensor]:
        """Rows of the synthetic set: the first image of every class, then the second, …, cut into batches."""
        ipc, classes = step.synthetic.ipc, step.data.num_classes
        rows = step.synthetic.rows(list(range(classes))).view(classes, ipc).T
        if self.options.batch < classes:
            for image_of_each in rows:
                yield from image_of_each.split(self.options.batch)
        else:
            yield from (part.flatten() for part in rows.split(self.options.batch // classes))

    def batches_before(self, first: int) -> int:
        """How many batches hold the images of each class before the one at place `first`."""
        batch = self.options.batch
        return first // (batch // self.classes) if batch >= self.classes else first * -(-self.classes // batch)

    def terms(self, step: Step, number: int, index: int, images: Tensor, labels: Tensor) -> Losses:
        """The two terms of batch `number`, images in [0, 1] space, under teacher `index`."""
        teacher = self.pool[index]
        images = self.augmented(images, step.generator("augment", number))
        with captured_inputs(teacher) as inputs, step.autocast():
            logits = teacher(images)
        logits = logits[:, self.orders[index]].to(images.dtype)
        distances = []
        for layer in batch_norms(teacher):
            maps = inputs[layer].to(images.dtype)
            variances, means = torch.var_mean(maps, [0, *range(2, maps.ndim)], correction=0)
            distances.append((means - layer.running_mean).norm() + (variances - layer.running_var).norm())
        distances[0] = distances[0] * self.options.first_bn_weight
        return {"ce": F.cross_entropy(logits, labels), "bn": self.options.bn_weight * sum(distances)}

    def augmented(self, images: Tensor, draws: torch.Generator) -> Tensor:
        """A batch cropped, mirrored and rolled, all its images alike."""
        options, size = self.options, tuple(images.shape[2:])
        boxes = draw_boxes(1, size, draws, scale=(options.scale, 1.0))
        mirrored = bool(torch.rand((), generator=draws) < options.flip)
        shifts = torch.randint(-options.jitter, options.jitter + 1, (2,), generator=draws).tolist()
        if options.scale < 1:
            images = resized_crop(images, boxes, size)
        return (images.flip(3) if mirrored else images).roll(shifts, (2, 3))


def batch_norms(teacher: Teacher) -> list[nn.Module]:
    """A teacher's BatchNorm layers that have stored statistics, in the order in which its network defines them."""
    return [layer for layer in networks.batch_norms(teacher.network) if layer.running_mean is not None]


@contextmanager
def captured_inputs(teacher: Teacher) -> Iterator[dict[nn.Module, Tensor]]:
    """What comes into each BatchNorm layer, (N, channels, …), during a forward pass within this context."""
    inputs: dict[nn.Module, Tensor] = {}

    def capture(layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        inputs[layer] = arguments[0]

    handles = [layer.register_forward_pre_hook(capture) for layer in batch_norms(teacher)]
    try:
        yield inputs
    finally:
        for handle in handles:
            handle.remove()
