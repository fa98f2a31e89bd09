"""Synthetic images as sums over resolutions: the parameterisation of Linear Gradient Matching.

Cazenavette, Torralba & Sitzmann (NeurIPS 2025), after feature visualisation (Olah et al., Distill 2017). An image is

    x = sigmoid(2 · A · Σ_k upsample(level_k))

in [0, 1] space: levels of doubling resolution, from a single pixel up to the image's size, upsampled bilinearly, and A
the axes along which the colours of natural images vary, so that one step changes brightness before hue. A run begins
with the first level; every `growth_steps` iterations the next one joins. It starts as noise, and with number n the
former ones are shrunk by (n − 1) / n and it by 1 / n, so that all together stay as large.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hf_dd.core.seeding import generator
from hf_dd.data.batches import Images, read_ahead
from hf_dd.synthetic.synthetic_set import SyntheticSet

IMAGES_FOR_COLOURS = 10_000  # at most, evenly over the training split
SMALLEST_AXIS = 0.01  # of the largest: no direction of colours is shut off
DARKEST = 0.5 / 255  # half a grey level: where the inverse of the sigmoid is cut off


class PyramidSet(SyntheticSet):
    """A synthetic set whose parameters are the levels; `pixels` and all that is read from it are computed.

    A level that has not joined yet is zero and has `requires_grad` off, so that every optimiser leaves it alone: what
    the images are depends on the levels alone, which are what a checkpoint keeps.

    Args:
        initial: the set to start from: its images, if they are real ones, else its form only.
        axes: A, (channels, channels), see `colour_axes`.
        seed: of the run.
        growth_steps: iterations from one level to the next; None to start from the images of `initial`, with all
            levels at once, of which the finest holds the images.

    Attributes:
        levels: parameters, (num_classes * ipc, channels, height, width) each, the coarsest first.
    """

    def __init__(self, initial: SyntheticSet, axes: Tensor, seed: int, growth_steps: int | None):
        statistics = initial.mean, initial.std
        super().__init__(initial.pixels.detach(), initial.class_names, *statistics, initial.factor)
        self.register_buffer("axes", axes.to(self.mean))
        self.seed = seed
        self.growth_steps = growth_steps
        with torch.no_grad():
            if growth_steps is None:
                logits = initial.own_space().clamp(DARKEST, 1 - DARKEST).logit() / 2
                self.levels[-1].copy_(mixed(logits, torch.linalg.inv(axes).to(logits)))
            else:
                self.levels[0].copy_(self.noise(0))
                self.begin(0)

    def hold(self, pixels: Tensor) -> None:
        """One parameter of zeros for each level."""
        sizes = level_sizes(*pixels.shape[2:])
        self.levels = nn.ParameterList(pixels.new_zeros(*pixels.shape[:2], *size) for size in sizes)

    def begin(self, index: int) -> bool:
        """Let the level join whose turn it is; the others then are others too."""
        if self.growth_steps is None:
            return False
        last = index // self.growth_steps
        for number, level in enumerate(self.levels):
            level.requires_grad_(number <= last)
        if index % self.growth_steps or not 0 < last < len(self.levels):
            return False
        with torch.no_grad():
            for level in self.levels[:last]:
                level.mul_(last / (last + 1))
            self.levels[last].copy_(self.noise(last) / (last + 1))
        return True

    def noise(self, number: int) -> Tensor:
        """What a level starts from: standard normal, float64, on the CPU, drawn for each class."""
        shape = (self.ipc, *self.levels[number].shape[1:])
        generators = [generator(self.seed, "pyramid", number, label) for label in range(len(self.class_names))]
        return torch.cat([torch.randn(shape, generator=draws, dtype=torch.float64) for draws in generators])

    def stored(self, rows: Tensor | None = None) -> Tensor:
        """These stored images (or all), normalised, (len(rows), channels, height, width), computed of the levels."""
        levels = [level if rows is None else level[rows] for level in self.levels]
        size = levels[-1].shape[2:]
        summed = sum(F.interpolate(level, size, mode="bilinear", align_corners=False) for level in levels)
        return (torch.sigmoid(2 * mixed(summed, self.axes)) - self.mean) / self.std

    @property
    def pixels(self) -> Tensor:
        """All stored images, normalised: what they are now, no parameter."""
        return self.stored()


def level_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """Sides of the levels, doubling from 1 up to the image's."""
    count = math.ceil(math.log2(max(height, width))) + 1
    return [(min(height, 2**number), min(width, 2**number)) for number in range(count)]


def mixed(images: Tensor, matrix: Tensor) -> Tensor:
    """Each pixel's channels times a matrix; no matrix product, which autocast would round."""
    return sum(matrix[:, channel, None, None] * images[:, channel, None] for channel in range(images.shape[1]))


def colour_axes(images: Images) -> Tensor:
    """A of the module's formula, float64 (channels, channels) on the CPU; 1 for grey images.

    The principal axes of the colours of all pixels, times the standard deviation along each, the largest set to 1:
    independent numbers mixed by it vary together as the channels do. The sums are exact, so that no order matters.
    Feature visualisation takes constants measured on ImageNet; these are the data set's own.

    Args:
        images: uint8 (N, channels, height, width), on any device.
    """
    channels = images.shape[1]
    total = torch.zeros(channels, dtype=torch.float64)
    products = torch.zeros(channels, channels, dtype=torch.float64)
    chosen = torch.arange(0, len(images), math.ceil(len(images) / IMAGES_FOR_COLOURS))
    for part in read_ahead(images, chosen.split(256)):
        colours = part.cpu().double().transpose(0, 1).flatten(1)
        total += colours.sum(1)
        products += colours @ colours.T
    count = len(chosen) * math.prod(images.shape[2:])
    variances, axes = torch.linalg.eigh(products / count - torch.outer(total, total) / count**2)
    if variances[-1] <= 0:  # a single colour
        return torch.eye(channels, dtype=torch.float64)
    largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))  # of each axis: its sign is made positive
    shares = (variances / variances[-1]).clamp(min=0).sqrt().clamp(min=SMALLEST_AXIS)
    return (axes * largest.sign() * shares).flip(1)
