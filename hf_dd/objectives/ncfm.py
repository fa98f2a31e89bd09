"""NCFM (Wang et al., CVPR 2025): matching of the features' characteristic functions."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hf_dd.config import DistillConfig
from hf_dd.config.base import option
from hf_dd.core.registry import OBJECTIVES
from hf_dd.core.seeding import isolated_rng
from hf_dd.data.image_data import ImageData
from hf_dd.objectives.base import Learnable, Step
from hf_dd.objectives.dance import Dance, DanceOptions
from hf_dd.objectives.published import Published
from hf_dd.teachers.pool import TeacherPool

SCALE = 300.0  # of the authors' loss
SMALLEST = 1e-12  # of the phase's part, as theirs, and of what a square root is taken of
ROWS_OF_NOISE = 4
SAMPLING_RATE, SAMPLING_MOMENTUM = 1e-3, 0.5  # of the sampling network's SGD


@dataclass(frozen=True)
class CharacteristicOptions(DanceOptions):
    """What NCFM has of its own."""

    frequencies: int = option(4096, "F, at how many places t the characteristic functions are compared.", at_least=1)
    sampling: str = option(
        "normal",
        "where t comes from: 'normal', N(0, I), or the sampling 'network', trained to make the loss large, whose four "
        "rows are all the frequencies then.",
        choices=("normal", "network"),
    )
    amplitude: float = option(0.5, "α, weight of the amplitudes' difference.", at_least=0)
    phase: float = option(0.5, "β, weight of the phases' difference.", at_least=0)


@OBJECTIVES.register(
    "ncfm",
    title="matching of characteristic functions (NCFM)",
    paper="Wang et al., CVPR 2025",
    work="Dataset distillation with neural characteristic function: a minmax perspective",
    authors="Wang, Shaobo and Yang, Yicun and Liu, Zhiyuan and Sun, Chenghao and Hu, Xuming and He, Conghui and "
    "Zhang, Linfeng",
    arxiv="2502.20653",
    draws=True,
    needs="teachers of --architecture that kept an earlier epoch",
    teachers="One teacher was drawn per iteration, of whose cross-entropy on the images a step of its own is taken",
)
class CharacteristicMatching(Dance):
    """DANCE with the distance of characteristic functions of the features, each image's of unit length:

        Φ_x(t) = mean_i e^{i t·x_i},   amp = (|Φ_u| − |Φ_v|)²,   pha = 2 (|Φ_u| |Φ_v| − Re Φ_u Re Φ_v − Im Φ_u Im Φ_v)
        loss = 300 · Σ_c mean_t √(α amp + β pha)

    with u the real and v the synthetic images' features. At α = β = ½ that is 300 √½ · mean_t |Φ_u − Φ_v|. t is drawn
    once per iteration for all classes; the authors draw it for each.

    The sampling network makes t of 4 rows of noise: three times a linear layer, BatchNorm and an activation (LeakyReLU
    of 0.2 twice, tanh); its gradient is reversed, so that it climbs while the images descend. The authors repeat its
    rows 16 times, which changes no mean.

    The formulas are those of the authors' code. They step class by class with AdamW (decay 5e-4), and halve the rate
    on plateaus. Here all classes step together, and Adam has neither decay nor plateaus: the rate is that of pixels in
    [0, 1].
    """

    name: ClassVar[str] = "ncfm"
    published = Published(
        iterations=20_000,
        real_batch_size=1024,
        image_learning_rate=1e-3,
        image_optimizer="adam",
        image_schedule="constant",
        strategy="composite_color_crop_cutout",
        networks="between",
        unit_pixels=True,
    )
    Options = CharacteristicOptions

    def __init__(self, config: DistillConfig, data: ImageData, pool: TeacherPool | None = None):
        super().__init__(config, data, pool)
        self.sampler: nn.Module | None = None
        if self.options.sampling == "network":
            with isolated_rng(config.seed, "sampling-network"):
                self.sampler = sampling_network(self.network.feature_size)
            self.sampler.to(data.device, getattr(torch, config.dtype))
        self.places: Tensor | None = None  # t of this iteration, (F, features)

    def learnables(self) -> dict[str, Learnable]:
        """The sampling network's parameters."""
        named = self.sampler.named_parameters() if self.sampler else ()
        return {f"sampling.{name}": Learnable(value, SAMPLING_RATE, SAMPLING_MOMENTUM) for name, value in named}

    def matching_loss(self, step: Step) -> Tensor:
        """As of distribution matching, at this iteration's frequencies."""
        size, like = self.network.feature_size, step.synthetic.mean
        if self.sampler is None:
            drawn = torch.randn(self.options.frequencies, size, generator=step.generator("frequencies"))
            self.places = drawn.to(like)
        else:
            noise = torch.randn(ROWS_OF_NOISE, size, generator=step.generator("frequencies")).to(like)
            self.places = Reversed.apply(self.sampler(noise))
        return super().matching_loss(step)

    def sums(self, features: Tensor) -> Tensor:
        """Of features of unit length cos t·x and sin t·x, summed over the images: (classes, 2 F)."""
        with torch.autocast(features.device.type, enabled=False):
            found = []
            for rows in features:  # class by class: they are many numbers
                angles = F.normalize(rows, dim=1) @ self.places.T
                found.append(torch.cat([angles.cos().sum(0), angles.sin().sum(0)]))
            return torch.stack(found)

    def distance(self, real: Tensor, synthetic: Tensor) -> Tensor:
        """The loss of Φ_u and Φ_v, (classes, 2 F): real parts, then imaginary ones."""
        (real_u, imaginary_u), (real_v, imaginary_v) = real.chunk(2, dim=1), synthetic.chunk(2, dim=1)
        u, v = modulus(real_u, imaginary_u), modulus(real_v, imaginary_v)
        phase = 2 * (u * v - real_u * real_v - imaginary_u * imaginary_v).clamp_min(SMALLEST)
        squares = self.options.amplitude * (u - v).square() + self.options.phase * phase
        return SCALE * squares.clamp_min(SMALLEST**2).sqrt().mean(1).sum()


def modulus(real: Tensor, imaginary: Tensor) -> Tensor:
    """|Φ|, with a gradient of zero at zero."""
    return (real.square() + imaginary.square()).clamp_min(SMALLEST**2).sqrt()


def sampling_network(size: int) -> nn.Module:
    """From noise (rows, size) to frequencies, as many and as long."""
    layers: list[nn.Module] = []
    for activation in (nn.LeakyReLU(0.2), nn.LeakyReLU(0.2), nn.Tanh()):
        layers += [nn.Linear(size, size), nn.BatchNorm1d(size), activation]
    return nn.Sequential(*layers)


class Reversed(torch.autograd.Function):
    """The identity, whose gradient is turned round."""

    @staticmethod
    def forward(context, value: Tensor) -> Tensor:
        """The value."""
        return value.view_as(value)

    @staticmethod
    def backward(context, gradient: Tensor) -> Tensor:
        """Its gradient's opposite."""
        return -gradient
