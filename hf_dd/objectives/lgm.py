"""Linear Gradient Matching (Cazenavette, Torralba & Sitzmann, NeurIPS 2025): images that train a linear probe."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hf_dd.config import DistillConfig
from hf_dd.config.base import option
from hf_dd.core.registry import OBJECTIVES
from hf_dd.core.strategies import parse_strategy
from hf_dd.data.batches import in_chunks
from hf_dd.data.image_data import ImageData
from hf_dd.errors import ConfigError
from hf_dd.nn import augment
from hf_dd.nn import random_views as views
from hf_dd.nn.augment import Draws
from hf_dd.objectives.base import Losses, Objective, Step, equal_share
from hf_dd.objectives.features import feature_size, features_of
from hf_dd.objectives.published import NOT_GIVEN, Published
from hf_dd.synthetic.pyramid import PyramidSet, colour_axes, level_sizes
from hf_dd.synthetic.synthetic_set import SyntheticSet
from hf_dd.teachers.pool import TeacherPool
from hf_dd.teachers.teacher import Teacher

logger = logging.getLogger(__name__)

SIAMESE, BY_SIZE = "siamese", "by_size"
PAPERS_VIEWS, LEAST_SIDE = "flip_crop_noise", 64  # pixels from which on `by_size` takes the paper's views


def require_views(text: str) -> None:
    """Raise ConfigError for a text that names neither views nor SIAMESE or BY_SIZE."""
    try:
        if text not in (SIAMESE, BY_SIZE):
            views.parse_operations(text)
    except ConfigError as error:
        raise ConfigError(f"{error}, or {SIAMESE}, or {BY_SIZE}") from error


@dataclass(frozen=True)
class PyramidOptions:
    """What methods have whose images are a pyramid that a frozen backbone sees."""

    copies: int = option(
        10,
        "of each synthetic image in a step, each with its own augmentation; the paper takes 3 for ImageNet-1k.",
        at_least=1,
    )
    views: str = option(
        PAPERS_VIEWS,
        "operations of the augmentation, joined by '_' (`hf_dd.nn.random_views`), 'siamese' for those of `--augment`, "
        f"or 'by_size' for the paper's on images of {LEAST_SIDE} pixels and more, and none on smaller ones, of which "
        "crops leave too little.",
        grammar=require_views,
    )
    smallest_crop: float = option(0.08, "of a view, as a share of the image's area.", above=0, at_most=1)
    pyramid_steps: int = option(200, "iterations from one level of the pyramid to the next.", at_least=1)


@dataclass(frozen=True)
class LinearOptions(PyramidOptions):
    """What Linear Gradient Matching has of its own."""

    head_std: float = option(0.01, "standard deviation of the head's weights.", at_least=0)


@OBJECTIVES.register(
    "lgm",
    title="linear gradient matching (LGM)",
    paper="Cazenavette, Torralba & Sitzmann, NeurIPS 2025",
    work="Dataset distillation for pre-trained self-supervised vision models",
    authors="Cazenavette, George and Torralba, Antonio and Sitzmann, Vincent",
    arxiv="2511.16674",
    needs="any teachers",
    teachers="The images were made for a linear probe of their features; one teacher was drawn per step",
)
class LinearGradientMatching(Objective):
    """Match the gradient that a random linear head on a frozen backbone gets from real and from synthetic images.

    Per iteration one teacher φ of the pool is drawn, and a head with W ~ N(0, 0.01²) and b = 0. With g the gradient of
    the head's mean cross-entropy by W and b, over augmented images, as one vector (section 3 of the paper):

        loss = 1 − cos(g_real, g_synthetic)

    "N(0, 0.01)" is read as the standard deviation, as the authors' code has it. The head has the data set's classes,
    whatever those of the teacher are. Its gradient has a closed form, see `head_gradient`, so that nothing is
    differentiated twice. Every real image is augmented once, every synthetic one `copies` times, each time by its own
    draw; `--augment none` leaves augmentation out, on both sides. The images are a pyramid, see `PyramidSet`, unless
    `--init` asks for real ones: then all levels are there from the start.

    The paper's real batch has as many images as all copies, drawn from the whole training split: 10 for each class at
    ipc 1, which is what it distils. Here as many are drawn from each class.

    g is a sum over images: each rank sums over those that it owns, the sums are added up, and the gradient flows into
    its own images only. So each has the whole loss, and yields the equal share of its value.
    """

    published = Published(
        iterations=5_000,
        real_batch_size=10,
        image_learning_rate=2e-3,
        image_optimizer="adam",
        image_schedule="constant",
        init="noise",
    )
    Options = LinearOptions
    uses_teachers = True
    whitens = False

    def __init__(self, config: DistillConfig, data: ImageData, pool: TeacherPool | None = None):
        super().__init__(config, data, pool)
        self.augmentation = Augmentation(config, self.options, data)
        self.batch_size = self.settings["real_batch_size"]
        self.pool = pool.to(data.device, getattr(torch, config.dtype))
        self.feature_sizes: dict[int, int] = {}
        self.data, self.seed = data, config.seed
        self.growth_steps = self.options.pyramid_steps if self.settings["init"] == "noise" else None
        levels, iterations = len(level_sizes(*data.image_size)), self.settings["iterations"]
        if self.growth_steps and iterations <= (levels - 1) * self.growth_steps:
            logger.warning(
                "The pyramid has %d levels, and the last joins after %d iterations, but the run ends after %d: its "
                "images will be coarse. Give a smaller pyramid_steps by --objective_options.",
                *(levels, (levels - 1) * self.growth_steps, iterations),
            )

    def parameterise(self, initial: SyntheticSet) -> SyntheticSet:
        """The pyramid."""
        return PyramidSet(initial, colour_axes(self.data.train.images), self.seed, self.growth_steps)

    def losses(self, step: Step) -> Iterator[Losses]:
        """Yield one loss."""
        index = self.pool.draw(step.seed, step.index)
        teacher = self.pool[index]
        if index not in self.feature_sizes:
            self.feature_sizes[index] = feature_size(teacher, step)
        shape = (step.data.num_classes, self.feature_sizes[index])
        weight = torch.randn(shape, generator=step.generator("head"), dtype=torch.float64) * self.options.head_std
        weight = weight.to(step.synthetic.mean)
        with torch.no_grad():
            real = self.real_gradient(step, teacher, weight)
        synthetic = self.synthetic_gradient(step, teacher, weight)
        real, synthetic = step.whole(torch.stack([real, synthetic]))
        loss = 1 - F.cosine_similarity(real.flatten(), synthetic.flatten(), dim=0)
        yield {"lgm": equal_share(loss, step.all_ranks)}

    def real_gradient(self, step: Step, teacher: Teacher, weight: Tensor) -> Tensor:
        """This rank's part of g of `batch_size` real images of each class, (classes, features + 1)."""
        own = torch.tensor(step.own.classes)
        batches = [step.data.sample_class(c, self.batch_size, step.generator("real", c)) for c in step.own.classes]
        batches = torch.cat([step.own.of_batch(batch) for batch in batches])
        part = step.own.of_batch(torch.arange(self.batch_size))
        draws = self.augmentation.draw(step.data.num_classes * self.batch_size, step.generator("real-views"))
        draws = draws.expand((own[:, None] * self.batch_size + part).flatten())
        labels = own.repeat_interleave(len(part)).to(weight.device)
        total = weight.new_zeros(len(weight), weight.shape[1] + 1)
        for places, images in in_chunks(step.data.train.images, batches):
            images = self.augmentation.apply(step.as_input(images), draws.expand(places), step.synthetic)
            total += head_gradient(features_of(teacher, images, step), labels[places], weight)
        return total / (step.data.num_classes * self.batch_size)

    def synthetic_gradient(self, step: Step, teacher: Teacher, weight: Tensor) -> Tensor:
        """The same of all copies of this rank's synthetic images."""
        rows = step.own_rows()
        if not len(rows):
            return step.zero() + weight.new_zeros(len(weight), weight.shape[1] + 1)
        images, labels = self.copies_of(step, rows)
        count = len(step.synthetic.image_labels()) * self.augmentation.copies
        return head_gradient(features_of(teacher, images, step), labels, weight) / count

    def copies_of(self, step: Step, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Augmented copies, in [0, 1] space, of the training images of these stored ones, and their labels."""
        synthetic = step.synthetic
        copies = synthetic.factor**2 * self.augmentation.copies  # of a stored image
        count = len(synthetic.labels) * copies
        draws = self.augmentation.draw(count, step.generator("views"))  # of all images, so that ranks agree
        draws = draws.expand((rows.cpu()[:, None] * copies + torch.arange(copies)).flatten())
        images = synthetic.images(rows).repeat_interleave(self.augmentation.copies, 0)
        labels = synthetic.image_labels(rows).repeat_interleave(self.augmentation.copies)
        return self.augmentation.apply(images, draws, synthetic), labels


class Augmentation:
    """The differentiable augmentation of a run.

    Attributes:
        copies: of each synthetic image.

    Raises ConfigError where `--augment` names operations that wouldn't be used.
    """

    def __init__(self, config: DistillConfig, options: PyramidOptions, data: ImageData):
        self.strategy = parse_strategy(config.augment)
        self.siamese = options.views == SIAMESE or not self.strategy
        if not self.siamese and config.augment not in NOT_GIVEN:
            raise ConfigError(
                f"--augment {config.augment} isn't what {config.objective} augments by: choose its views by "
                f"--objective_options views=…, or take yours by views={SIAMESE}."
            )
        small, by_size = min(data.image_size) < LEAST_SIDE, options.views == BY_SIZE
        if by_size and small:  # none of Siamese augmentation's
            self.siamese, self.strategy = True, ()
        elif small and options.views == PAPERS_VIEWS and self.strategy and not config.published:
            logger.warning(
                "The paper's views crop down to 8 %% of an image, which leaves little of %d×%d pixels: on such images "
                "--objective_options views=by_size, which has none, may teach more.",
                *data.image_size,
            )
        names = PAPERS_VIEWS if by_size else options.views
        self.operations = () if self.siamese else views.parse_operations(names)
        self.image_size, self.smallest_crop = data.image_size, options.smallest_crop
        self.copies = options.copies if self.strategy else 1  # equal copies would be of no use

    def draw(self, count: int, generator: torch.Generator) -> Draws:
        """`count` independent draws."""
        if self.siamese:
            return augment.draw(count, self.strategy, generator)
        return views.draw(count, self.operations, self.image_size, generator, self.smallest_crop)

    def apply(self, images: Tensor, draws: Draws, synthetic: SyntheticSet) -> Tensor:
        """Augmented images in [0, 1] space of normalised ones, each by its own draw."""
        if self.siamese:
            return synthetic.own_space(augment.apply(images, draws))
        return views.apply(synthetic.own_space(images), draws)


def head_gradient(features: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
    """The gradient of a linear head's cross-entropy by [W, b] at b = 0, summed over images, (classes, features + 1).

    In closed form: Σ_i (softmax(W φ_i) − y_i) [φ_i, 1]ᵀ, with y_i the label as a unit vector.

    Args:
        features: (N, features).
        labels: int64, (N,).
        weight: W, (classes, features).
    """
    errors = F.softmax(features @ weight.T, dim=1) - F.one_hot(labels, len(weight))
    return errors.T @ F.pad(features, (0, 1), value=1.0)
