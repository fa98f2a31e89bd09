"""The networks of the dataset distillation literature for small images, and their form on disk.

`build("ConvNet", in_channels=3, num_classes=10, image_size=32, seed=0)` gives a freshly drawn `Network`; `save` and
`load` keep one as a folder of config.json and model.safetensors. The architectures are those of Zhao et al.,
"Dataset Condensation with Gradient Matching" (ICLR 2021, appendix), with three rules that let them take any image:

- a single-channel 28×28 image (the MNIST family) is seen as 32×32: the first convolution pads 2 pixels more. That of
  the authors' ResNet18 doesn't, which is its version 2 here, ResNet18v2;
- a pooling stage, or a stride, is left out where it would leave a map smaller than 2×2, or smaller than 1×1 after the
  last layer: instance normalisation of a 1×1 map is a constant. The published sizes never meet this rule;
- LeNet pads both convolutions on images smaller than 16×16, where its 5×5 kernels wouldn't fit.
"""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import ModelCard, PyTorchModelHubMixin
from huggingface_hub.constants import CONFIG_NAME, SAFETENSORS_SINGLE_FILE
from torch import Tensor, nn

from hf_dd.core import tensors
from hf_dd.core.json_records import read_json
from hf_dd.core.registry import NETWORKS
from hf_dd.core.seeding import isolated_rng
from hf_dd.errors import ConfigError, RunError, TeacherError, require_known, some

WIDEST_PRODUCT = 64  # pixels up to which average pooling is a matrix product on a CPU; its cost grows with the width
ImageSize = int | Iterable[int]  # a side in pixels, or (height, width)
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
def no_architecture(definition: Any) -> str | None:
    """What a definition has to be, where it is no architecture."""
    try:
        trunk, *options = () if isinstance(definition, type) else inspect.signature(definition).parameters.values()
        if all(option.default is not option.empty for option in options):
            return None
    except (TypeError, ValueError):  # nothing that is called, or with no parameter
        pass
    return (
        "has to be a function that adds layers to a hf_dd.nn.networks.Trunk, with its options as keyword defaults: "
        "def mine(trunk, width=64)"
    )


@NETWORKS.register("ConvNet", title="three blocks of 128 channels")
def _convnet(trunk: Trunk, depth=3, width=128, norm="instance", activation="relu", pooling="avg"):
    """[3×3 convolution → norm → activation → pooling] × depth (Gidaris & Komodakis, CVPR 2018)."""
    _require_positive(depth=depth, width=width)
    for block in range(depth):
        trunk.convolve(width, 3, norm, activation)
        trunk.pool(pooling, last=block == depth - 1)


@NETWORKS.register("MLP", title="two hidden layers", smallest_side=1)
def _mlp(trunk: Trunk, width=128):
    """Two hidden layers."""
    _require_positive(width=width)
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


class _UnwrittenCard(ModelCard):
    def save(self, *args, **kwargs) -> None:
        """Write nothing: hf_dd's cards are made from the facts of a run, not by the mixin."""


class Network(nn.Module, PyTorchModelHubMixin, library_name="hf-dd"):
    """A body that maps images to a last activation, and a linear classifier on that activation, flattened.

    Takes images (N, in_channels, height, width) of its own dtype and gives logits (N, num_classes). `image_size` is a
    side in pixels or (height, width). `architecture` is a name in NETWORKS, each with its own options. `config` holds
    all these arguments, as JSON can. Raises ConfigError for an unknown architecture or option, and for a value that it
    can't take.
    """

    def __init__(self, architecture: str, in_channels: int, num_classes: int, image_size: ImageSize, **options: Any):
        super().__init__()
        add_layers = NETWORKS.installed(architecture)
        defaults = _default_options(architecture)
        for option in options:
            require_known(f"option of {architecture}", option, defaults)
        _require_positive(in_channels=in_channels, num_classes=num_classes)
        size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
        smallest = NETWORKS.words(architecture).get("smallest_side", 2)
        if len(size) != 2 or not all(isinstance(side, int) for side in size) or min(size) < smallest:
            raise ConfigError(f"{architecture} takes images from {smallest}×{smallest} pixels, not {image_size}")
        options = {**defaults, **options}
        common = {"in_channels": in_channels, "num_classes": num_classes, "image_size": list(size)}
        self.config = {"architecture": architecture, **common, **options}
        self._hub_mixin_config = self.config  # the mixin would write only the arguments that were passed
        trunk = Trunk(in_channels, size)
        add_layers(trunk, **options)
        self.body = nn.Sequential(*trunk.layers)
        self.classifier = nn.Linear(trunk.feature_size, num_classes)

    def features(self, images: Tensor) -> Tensor:
        """The flattened last activation before the classifier, (N, feature_size)."""
        return self.body(images).flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, (N, num_classes)."""
        return self.classifier(self.features(images))

    @property
    def feature_size(self) -> int:
        """How many numbers `features` gives for an image."""
        return self.classifier.in_features

    @property
    def has_batch_norm(self) -> bool:
        """Whether, in training mode, the output for an image depends on the rest of its batch."""
        return any(isinstance(module, nn.BatchNorm2d) for module in self.modules())

    def reinitialise(self, seed: int, *names: str | int) -> None:
        """Redraw all parameters and reset all buffers, in place, as a fresh construction on that seed would.

        The draw called (seed, *names) is made on the CPU and copied, so it is the same on every device. A compiled
        form of this module stays valid. `build(..., seed=seed)` equals `reinitialise(seed, "init")`.
        """
        with isolated_rng(seed, *names):
            fresh = Network(**self.config)
        self.load_state_dict(fresh.state_dict())

    def generate_model_card(self, *args, **kwargs) -> ModelCard:
        """The mixin's hook for README.md: a card that isn't written."""
        return _UnwrittenCard("---\n{}\n---\n")

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **_) -> "Network":
        """The mixin's hook for `from_pretrained(folder)`; its own is not strict, prints, and can end in a pickle."""
        return load(model_id)


def build(
    architecture: str, *, in_channels: int, num_classes: int, image_size: ImageSize, seed: int | None = None, **options
) -> Network:
    """A new network on the CPU, in training mode; the arguments and errors are those of `Network`.

    It is for what the user named: `architecture` may be a `package.module:Name` too, which is imported.

    With a seed its parameters are the draw called (seed, "init"), and the global generator is left alone.
    """
    NETWORKS.find(architecture)
    with contextlib.nullcontext() if seed is None else isolated_rng(seed, "init"):
        return Network(architecture, in_channels, num_classes, image_size, **options)


def save(network: Network, folder: str | Path, extra_config: dict[str, Any] | None = None) -> None:
    """Write model.safetensors, and config.json with `network.config` and the JSON-able entries of `extra_config`.

    Raises ConfigError where an extra entry would hide one of the network's own.
    """
    extra_config = extra_config or {}
    if hidden := sorted(network.config.keys() & extra_config.keys()):
        raise ConfigError(f"extra config entries would hide the network's own: {', '.join(hidden)}")
    network.save_pretrained(folder, config={**network.config, **extra_config})


def load(folder: str | Path) -> Network:
    """The network that `save` wrote into a local folder: on the CPU, in evaluation mode, in the saved precision.

    Entries of config.json that are no arguments of the architecture are passed over. Reads nothing but config.json
    and model.safetensors, which must hold exactly the network's tensors, all finite: that is known before the network
    takes any memory. Raises TeacherError.
    """
    config_path, weights_path = Path(folder) / CONFIG_NAME, Path(folder) / SAFETENSORS_SINGLE_FILE
    try:
        weights = tensors.declared(weights_path)
        outline = tensors.outlined(lambda: _network_from(config_path), weights)
        expected = {name: tensors.form_of(value) for name, value in outline.state_dict().items()}
        if differing := tensors.differences(expected, weights):
            raise TeacherError(f"{weights_path} doesn't fit {config_path}: {some(differing)}")
        values = tensors.read(weights_path)
    except RunError as error:
        raise TeacherError(f"{str(error).rstrip('.')}; only safetensors are read, never pickles") from error
    network = _network_from(config_path)
    network.to(values["classifier.weight"].dtype)
    network.load_state_dict(values)
    return network.eval()


def completed(config: dict[str, Any]) -> dict[str, Any]:
    """A network's config with the defaults of those options that there weren't when it was written."""
    architecture = config.get("architecture")
    return (_default_options(architecture) if architecture in NETWORKS else {}) | config


def _network_from(config_path: Path) -> Network:
    try:
        config = read_json(config_path)
        architecture = config.get("architecture")
        known = ("in_channels", "num_classes", "image_size", *_default_options(architecture))
        return Network(architecture, **{name: config[name] for name in known if name in config})
    except (RunError, ConfigError, TypeError, ValueError, RuntimeError) as error:  # the last of sizes that can't be
        raise TeacherError(f"{config_path} describes no network of hf_dd: {error}") from error


def _default_options(architecture: str) -> dict[str, Any]:
    trunk, *options = inspect.signature(NETWORKS.installed(architecture)).parameters.values()
    return {option.name: option.default for option in options}


def _normalisation(norm: str, channels: int, size: tuple[int, int]) -> list[nn.Module]:
    """One normalisation layer with learnt scale and shift, or none."""
    layer = _choice("norm", norm, NORMS)
    if norm == "group" and channels % 4:
        raise ConfigError(f"norm 'group' makes 4 groups: the number of channels can't be {channels}")
    return [layer(channels, size)] if layer else []


def _require_positive(**numbers: int) -> None:
    for name, number in numbers.items():
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise ConfigError(f"{name} must be a whole number of at least 1, not {number!r}")


def _choice(kind: str, name: str, known: dict[str, Any]) -> Any:
    """`known[name]`; raises ConfigError for a name that isn't known."""
    require_known(kind, name, known)
    return known[name]
