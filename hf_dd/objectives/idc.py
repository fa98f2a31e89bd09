"""IDC's own objective (Kim et al., ICML 2022): gradient matching along the training of a network on real images."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hf_dd.config import DistillConfig
from hf_dd.config.base import option
from hf_dd.core.registry import OBJECTIVES
from hf_dd.data.batches import read_ahead
from hf_dd.data.image_data import ImageData
from hf_dd.errors import ConfigError
from hf_dd.nn import augment, views
from hf_dd.nn.views import Views
from hf_dd.objectives import cells
from hf_dd.objectives.base import Losses, Step
from hf_dd.objectives.gradient import DISTANCES, GradientMatching
from hf_dd.objectives.published import Published
from hf_dd.teachers.pool import TeacherPool
from hf_dd.training.loop import TrainingRecipe

MOST_OF_A_CLASS = 128  # training images in a step
CONVOLUTION = 3  # dimensions that a parameter has at least for its gradient to be matched


@dataclass(frozen=True)
class CondensationOptions:
    """What IDC has of its own; the defaults are those for CIFAR."""

    outer: int = option(100, "steps on the images for each network.", at_least=1)
    distance: str = option("mse", "of gradients, a name in DISTANCES.", choices=tuple(DISTANCES))
    network_images: int = option(2000, "real images that train the network between two of them.", at_least=0)
    early: int = option(0, "epochs of training on the real images that the network has before the first.", at_least=0)
    network_learning_rate: float = option(0.01, "of that training, SGD.", at_least=0)
    network_momentum: float = option(0.9, "its momentum.", at_least=0)
    network_weight_decay: float = option(5e-4, "its weight decay.", at_least=0)
    network_batch_size: int = option(64, "real images in a step of it.", at_least=1)
    cutmix: float = option(0.5, "probability that a batch of it is mixed by CutMix.", at_least=0, at_most=1)


@OBJECTIVES.register(
    "idc",
    title="gradient matching along training on real images (IDC)",
    paper="Kim et al., ICML 2022",
    work="Dataset condensation via efficient synthetic-data parameterization",
    authors="Kim, Jang-Hyun and Kim, Jinuk and Oh, Seong Joon and Yun, Sangdoo and Song, Hwanjun and Jeong, Joonhyun "
    "and Ha, Jung-Woo and Song, Hyun Oh",
    arxiv="2205.14959",
    draws=True,
)
class Condensation(GradientMatching):
    """Gradient matching as in DSA, but for three things, as the authors' code has them.

    The network is trained on real images between the steps on the synthetic ones, so that gradients don't vanish; the
    distance keeps their size; and only convolution kernels count:

        loss = Σ_c Σ_l dist(∇_{θ_l} CE(A_c(T_c)), ∇_{θ_l} CE(A_c(S_c))),   dist: Σ (a − b)² (mse) or Σ |a − b| (l1)

    with A_c a composite augmentation. The network's training has momentum, weight decay, CutMix and the augmentation
    without its cutout, a draw for each image; its optimiser lives as long as the network. A network may begin as
    it is drawn, after `early` epochs, or as a teacher at an early epoch (`--networks teachers`), as the authors' for
    ImageNet-100. Of a class at most 128 training images take part in a step.

    The authors take a step for each class, by SGD with momentum 0.5. From ten classes on that is one step on the sum
    over classes at twice the rate without momentum, which is what the published values say, for CIFAR; the rate is
    that of pixels in [0, 1]. For MNIST and Fashion-MNIST they take distance=l1 network_images=500 and a fiftieth of
    that rate: so does `--published`. Pixels are clipped to the valid range before each iteration.
    """

    name: ClassVar[str] = "idc"
    published = Published(
        iterations=2_000,
        real_batch_size=64,
        image_learning_rate=1e-3,
        image_momentum=0.0,
        image_optimizer="sgd",
        image_schedule="constant",
        strategy="composite_color_crop_cutout",
        networks="random",
        rate_per_ipc=True,
        unit_pixels=True,
        cells=cells.IDC,
    )
    Options = CondensationOptions
    whitens = False  # its pixels are of [0, 1]

    def __init__(self, config: DistillConfig, data: ImageData, pool: TeacherPool | None = None):
        super().__init__(config, data, pool)
        self.optimizer: torch.optim.Optimizer | None = None

    @property
    def mix(self) -> Views:
        """What the network's batches are mixed by."""
        return Views(mix="cutmix", probability=self.options.cutmix)

    def loops(self, ipc: int) -> tuple[int, TrainingRecipe]:
        """As of gradient matching."""
        cut = [each for each in self.strategy if each != "cutout" or not self.options.cutmix]
        return self.options.outer, TrainingRecipe(
            epochs=1,
            learning_rate=self.options.network_learning_rate,
            momentum=self.options.network_momentum,
            weight_decay=self.options.network_weight_decay,
            batch_size=self.options.network_batch_size,
            strategy=() if cut == ["composite"] else tuple(cut),
        )

    def matched_parameters(self) -> list[nn.Parameter]:
        """The convolution kernels; raises ConfigError where there are none."""
        found = [weight for weight in self.network.parameters() if weight.ndim >= CONVOLUTION]
        if not found:
            architecture = self.network.config["architecture"]
            raise ConfigError(
                f"--objective idc matches the gradients of convolution kernels, and {architecture} has none: choose "
                "another --architecture."
            )
        return found

    def losses(self, step: Step) -> Iterator[Losses]:
        """Yield `outer` times: the terms of this rank's classes, or its share of them."""
        step.synthetic.clip()
        yield from super().losses(step)

    def begin(self, step: Step) -> None:
        """Draw the network, and train it for `early` epochs."""
        super().begin(step)
        self.optimizer, _ = self.inner.optimise(self.network.parameters())
        for epoch in range(self.options.early):
            self.train_on_real(step, len(step.data.train), "early", epoch)

    def seen_of(self, step: Step, outer: int, label: int) -> Tensor:
        """All of a class's training images, or a draw of MOST_OF_A_CLASS, int64."""
        rows = super().seen_of(step, outer, label)
        if len(rows) <= MOST_OF_A_CLASS:
            return rows
        order = torch.randperm(len(rows), generator=step.generator("seen", outer, label))
        return order[:MOST_OF_A_CLASS].to(rows.device)

    def train_network(self, step: Step, outer: int) -> None:
        """Between two steps: so many real images, the last batch whole."""
        self.train_on_real(step, self.options.network_images, "inner", outer)

    def train_on_real(self, step: Step, images: int, purpose: str, number: int) -> None:
        """Steps of the network until it has seen so many real images, each at most once; the same on every rank."""
        if not images:
            return
        draws = step.generator(purpose, number)
        size = self.inner.batch_size
        order = torch.randperm(len(step.data.train), generator=draws)
        batches = order[: size * math.ceil(images / size)].split(size)
        self.network.train()
        for chosen, batch in zip(batches, read_ahead(step.data.train.images, batches), strict=True):
            labels = step.data.train.labels[chosen.to(step.data.device)]
            batch = augment.apply(step.as_input(batch), augment.draw(len(chosen), self.inner.strategy, draws))
            mix = views.draw(self.mix, len(chosen), tuple(batch.shape[2:]), draws)
            with step.autocast():
                logits = self.network(views.mixed(batch, mix))
            wanted = F.one_hot(labels, step.data.num_classes).to(batch.dtype)
            wanted = views.mixed_targets(wanted, mix, step.data.num_classes)
            loss = F.cross_entropy(logits.to(batch.dtype), wanted)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
