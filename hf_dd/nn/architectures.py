"""The networks of the dataset distillation literature for small images, and what others are made with.

The architectures are those of Zhao et al., "Dataset Condensation with Gradient Matching" (ICLR 2021, appendix), with
three rules that let them take any image:

- a single-channel 28×28 image (the MNIST family) is seen as 32×32: the first convolution pads 2 pixels more. That of
  the authors' ResNet18 doesn't, which is its version 2 here, ResNet18v2;
- a pooling stage, or a stride, is left out where it would leave a map smaller than 2×2, or smaller than 1×1 after the
  last layer: instance normalisation of a 1×1 map is a constant. The published sizes never meet this rule;
- LeNet pads both convolutions on images smaller than 16×16, where its 5×5 kernels wouldn't fit.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hf_dd.core.registry import NETWORKS
from hf_dd.errors import ConfigError, require_known

WIDEST_PRODUCT = 64  # pixels up to which average pooling is a matrix product on a CPU; its cost grows with the width
ACTIVATIONS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "leakyrelu": nn.LeakyReLU, "swish": nn.SiLU}


class AveragePool(nn.AvgPool2d):
    """2×2 average pooling of maps of this (height, width); an odd last row or column is left out.

    On a CPU two rows side by side are multiplied by the matrix that adds up their pixels in fours: in bf16 that is ten
    times faster than the library's own kernel, forward and backward, and in fp32 three times.
    """

    def __init__(self, size: tuple[int, int]):
        super().__init__(2)
        width = size[1]
        fours = None
        if width - width % 2 <= WIDEST_PRODUCT:
            fours = torch.zeros(2, width - width % 2, width // 2)
            for column in range(width // 2):
                fours[:, 2 * column : 2 * column + 2, column] = 0.25
            fours = fours.flatten(0, 1)
        self.register_buffer("fours", fours, persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        """(N, channels, height, width) → (N, channels, height // 2, width // 2)."""
        height, width = (side - side % 2 for side in maps.shape[-2:])
        if maps.device.type != "cpu" or width > WIDEST_PRODUCT:
            return super().forward(maps)
        return maps[..., :height, :width].reshape(*maps.shape[:2], height // 2, 2 * width) @ self.fours


# Each makes the layer for maps of this (height, width), which halves both.
POOLINGS: dict[str, Callable[[tuple[int, int]], nn.Module] | None] = {
    "none": None,
    "max": lambda size: nn.MaxPool2d(2),
    "avg": AveragePool,
}
# Each makes the layer for maps of so many channels and of this (height, width).
NORMS: dict[str, Callable[[int, tuple[int, int]], nn.Module] | None] = {
    "none": None,
    "batch": lambda channels, size: nn.BatchNorm2d(channels),
    "layer": lambda channels, size: nn.LayerNorm([channels, *size]),
    "instance": lambda channels, size: nn.GroupNorm(channels, channels),
    "group": lambda channels, size: nn.GroupNorm(4, channels),
}


class Trunk:
    """The layers before the classifier, in the making, and the shape of the map that they have reached.

    An architecture is a function that adds its layers to a trunk, and whose further parameters, each with a default
    that JSON can hold, are its options:

        @NETWORKS.register("Thin", title="two thin convolutions")
        def thin(trunk: Trunk, width=16):
            trunk.convolve(width, kernel_size=3, norm="batch")
            trunk.pool("max")
            trunk.add(nn.Conv2d(width, width, 3), nn.GELU())

    Registered with `smallest_side=N` it takes images from N×N pixels; from 2×2 if it isn't said.

    Attributes:
        channels, size: of the map, its (height, width): at first the image's; (1, 1) once it is flat.
        layers: so far; they become one `nn.Sequential`, which the linear classifier follows.
    """

    def __init__(self, channels: int, size: tuple[int, int]):
        self.channels, self.size = channels, size
        self.layers: list[nn.Module] = []

    def add(self, *layers: nn.Module) -> None:
        """Any layers, from the map (N, channels, height, width) to another, or to (N, features).

        What they make of the map is seen from an empty image, in evaluation mode.
        """
        blank = torch.zeros(1, self.channels, *self.size)
        for layer in layers:
            with torch.no_grad():
                blank = layer.eval()(blank)
            self.layers.append(layer.train())
        self.channels, *size = blank.shape[1:]
        self.size = tuple(size) or (1, 1)

    def convolve(
        self,
        channels: int,
        kernel_size: int,
        norm: str = "none",
        activation: str = "relu",
        padding: int | None = None,
        bias: bool = True,
        widen: bool = True,
    ) -> None:
        """Convolution, norm (of NORMS) and activation (of ACTIVATIONS); keeps the size unless `padding` is given.

        The first one makes a map of 32×32 of a single-channel 28×28 image, unless `widen` is off.
        """
        padding = kernel_size // 2 if padding is None else padding
        if widen and not self.layers and self.channels == 1 and self.size == (28, 28):
            padding += 2
        self.layers.append(nn.Conv2d(self.channels, channels, kernel_size, padding=padding, bias=bias))
        self.channels = channels
        self.size = tuple(side + 2 * padding - kernel_size + 1 for side in self.size)
        self.layers += _normalisation(norm, self.channels, self.size)
        self.layers.append(_choice("activation", activation, ACTIVATIONS)())

    def pool(self, pooling: str = "max", last: bool = False) -> None:
        """Halve the map by one of POOLINGS, unless too little is left for what follows (nothing does, if `last`)."""
        layer = _choice("pooling", pooling, POOLINGS)
        halved = tuple(side // 2 for side in self.size)
        if layer is not None and min(halved) >= (1 if last else 2):
            self.layers.append(layer(self.size))
            self.size = halved

    def residual(self, channels: int, stride: int, norm: str) -> None:
        """A residual block; its stride falls to 1 where too little of the map would be left."""
        strided = tuple((side + stride - 1) // stride for side in self.size)
        if min(strided) < 2:
            stride, strided = 1, self.size
        self.layers.append(_ResidualBlock(self.channels, channels, stride, norm, strided))
        self.channels, self.size = channels, strided

    def connect(self, features: int) -> None:
        """Flatten, linear and ReLU."""
        self.layers += [nn.Flatten(), nn.Linear(self.feature_size, features), nn.ReLU()]
        self.channels, self.size = features, (1, 1)

    @property
    def feature_size(self) -> int:
        """How many numbers the map holds."""
        return self.channels * self.size[0] * self.size[1]


class _ResidualBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut, which is a 1×1 convolution where the shape changes."""

    def __init__(self, in_channels: int, channels: int, stride: int, norm: str, size: tuple[int, int]):
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False),
            *_normalisation(norm, channels, size),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            *_normalisation(norm, channels, size),
        )
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != channels:
            self.shortcut.append(nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False))
            self.shortcut.extend(_normalisation(norm, channels, size))

    def forward(self, maps: Tensor) -> Tensor:
        return nn.functional.relu(self.residual(maps) + self.shortcut(maps))


@NETWORKS.requires
def why_no_architecture(definition: Any) -> str | None:
    """What a definition has to be, where it is no architecture."""
    try:
        trunk, *options = () if isinstance(definition, type) else inspect.signature(definition).parameters.values()
        if all(option.default is not option.empty for option in options):
            return None
    except (TypeError, ValueError):  # nothing that is called, or with no parameter
        pass
    return (
        "has to be a function that adds layers to a hf_dd.nn.architectures.Trunk, with its options as keyword "
        "defaults: def mine(trunk, width=64)"
    )


@NETWORKS.register("ConvNet", title="three blocks of 128 channels")
def _convnet(trunk: Trunk, depth=3, width=128, norm="instance", activation="relu", pooling="avg"):
    """[3×3 convolution → norm → activation → pooling] × depth (Gidaris & Komodakis, CVPR 2018)."""
    require_positive(depth=depth, width=width)
    for block in range(depth):
        trunk.convolve(width, 3, norm, activation)
        trunk.pool(pooling, last=block == depth - 1)


@NETWORKS.register("MLP", title="two hidden layers", smallest_side=1)
def _mlp(trunk: Trunk, width=128):
    """Two hidden layers."""
    require_positive(width=width)
    trunk.connect(width)
    trunk.connect(width)


@NETWORKS.register("LeNet", title="LeNet with ReLU and max pooling", smallest_side=4)
def _lenet(trunk: Trunk):
    """LeCun et al. (1998), with ReLU and max pooling."""
    padding = 2 if min(trunk.size) < 16 else 0
    for channels in (6, 16):
        trunk.convolve(channels, 5, padding=padding)
        trunk.pool(last=channels == 16)
    trunk.connect(120)
    trunk.connect(84)


@NETWORKS.register("AlexNet", title="five convolutions, for CIFAR")
def _alexnet(trunk: Trunk, norm="none"):
    """Krizhevsky et al. (2012) in the form for CIFAR: five convolutions and three poolings."""
    for channels in (128, 192):
        trunk.convolve(channels, 5, norm)
        trunk.pool()
    for channels in (256, 192, 192):
        trunk.convolve(channels, 3, norm)
    trunk.pool(last=True)


@NETWORKS.register("VGG11", title="configuration A without hidden linear layers")
def _vgg11(trunk: Trunk, norm="instance"):
    """Simonyan & Zisserman (ICLR 2015), configuration A without its hidden linear layers."""
    stages = ((64,), (128,), (256, 256), (512, 512), (512, 512))
    for number, stage in enumerate(stages, start=1):
        for channels in stage:
            trunk.convolve(channels, 3, norm)
        trunk.pool(last=number == len(stages))


@NETWORKS.register("ResNet18", title="for CIFAR: a 3×3 stem")
def _resnet18(trunk: Trunk, norm="instance", version=1):
    """He et al. (CVPR 2016) in the form for CIFAR: a 3×3 stem without pooling, a global average at the end.

    Version 1 sees a single-channel 28×28 image as 32×32, version 2, as the code of DC has it, as it is.
    """
    if version not in (1, 2):
        raise ConfigError(f"version of ResNet18 is 1 or 2, not {version!r}")
    trunk.convolve(64, 3, norm, bias=False, widen=version == 1)
    for channels, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        trunk.residual(channels, stride, norm)
        trunk.residual(channels, 1, norm)
    trunk.add(nn.AdaptiveAvgPool2d(1))


NETWORKS.register("ConvNetBN", title="ConvNet with BatchNorm")(functools.partial(_convnet, norm="batch"))
NETWORKS.register("ConvNetD1", title="ConvNet of 1 block")(functools.partial(_convnet, depth=1))
NETWORKS.register("ConvNetD2", title="ConvNet of 2 blocks")(functools.partial(_convnet, depth=2))
NETWORKS.register("ConvNetD3", title="ConvNet of 3 blocks")(functools.partial(_convnet, depth=3))
NETWORKS.register("ConvNetD4", title="ConvNet of 4 blocks")(functools.partial(_convnet, depth=4))
NETWORKS.register("ConvNetD5", title="ConvNet of 5 blocks")(functools.partial(_convnet, depth=5))
NETWORKS.register("ConvNetD6", title="ConvNet of 6 blocks")(functools.partial(_convnet, depth=6))
NETWORKS.register("ConvNetW32", title="ConvNet of 32 channels")(functools.partial(_convnet, width=32))
NETWORKS.register("ConvNetW64", title="ConvNet of 64 channels")(functools.partial(_convnet, width=64))
NETWORKS.register("ConvNetW128", title="ConvNet of 128 channels")(functools.partial(_convnet, width=128))
NETWORKS.register("ConvNetW256", title="ConvNet of 256 channels")(functools.partial(_convnet, width=256))
NETWORKS.register("AlexNetBN", title="AlexNet with BatchNorm")(functools.partial(_alexnet, norm="batch"))
NETWORKS.register("VGG11BN", title="VGG11 with BatchNorm")(functools.partial(_vgg11, norm="batch"))
NETWORKS.register("ResNet18BN", title="ResNet18 with BatchNorm")(functools.partial(_resnet18, norm="batch"))
NETWORKS.register("ResNet18v2", title="ResNet18 that sees 28×28 pixels as they are, as the papers' code has it")(
    functools.partial(_resnet18, version=2)
)
NETWORKS.register("ResNet18v2BN", title="ResNet18v2 with BatchNorm")(
    functools.partial(_resnet18, norm="batch", version=2)
)


def width_of(architecture: str, options: Mapping[str, Any]) -> int | None:
    """The channels of every convolution of an architecture with these options; None where they aren't one number."""
    width = inspect.signature(NETWORKS.find(architecture)).parameters.get("width")
    return options.get("width", width.default) if width else None


def default_options(architecture: str) -> dict[str, Any]:
    """The options of an architecture, by their defaults."""
    trunk, *options = inspect.signature(NETWORKS.installed(architecture)).parameters.values()
    return {option.name: option.default for option in options}


def _normalisation(norm: str, channels: int, size: tuple[int, int]) -> list[nn.Module]:
    """One normalisation layer with learnt scale and shift, or none."""
    layer = _choice("norm", norm, NORMS)
    if norm == "group" and channels % 4:
        raise ConfigError(f"norm 'group' makes 4 groups: the number of channels can't be {channels}")
    return [layer(channels, size)] if layer else []


def require_positive(**numbers: int) -> None:
    """Raise ConfigError for a number that is none of at least 1."""
    for name, number in numbers.items():
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise ConfigError(f"{name} must be a whole number of at least 1, not {number!r}")


def _choice(kind: str, name: str, known: dict[str, Any]) -> Any:
    """`known[name]`; raises ConfigError for a name that isn't known."""
    require_known(kind, name, known)
    return known[name]
