"""A network as it is built, kept on disk and loaded: a body of some architecture, and a linear classifier.

`build("ConvNet", in_channels=3, num_classes=10, image_size=32, seed=0)` gives a freshly drawn `Network`; `save` and
`load` keep one as a folder of config.json and model.safetensors.
"""

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, PyTorchModelHubMixin
from huggingface_hub.constants import CONFIG_NAME, SAFETENSORS_SINGLE_FILE
from torch import Tensor, nn

from hf_dd.core import tensors
from hf_dd.core.json_records import read_json
from hf_dd.core.registry import NETWORKS
from hf_dd.core.seeding import isolated_rng
from hf_dd.errors import ConfigError, RunError, TeacherError, require_known, some
from hf_dd.nn.architectures import Trunk, default_options, require_positive

ImageSize = int | Iterable[int]  # a side in pixels, or (height, width)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class _UnwrittenCard(ModelCard):
    def save(self, *args, **kwargs) -> None:
        """Write nothing: hf_dd's cards are made from the facts of a run, not by the mixin."""


def smallest_side(architecture: str) -> int:
    """The pixels of a side that an architecture's images have at least."""
    return NETWORKS.words(architecture).get("smallest_side", 2)


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
        defaults = default_options(architecture)
        for option in options:
            require_known(f"option of {architecture}", option, defaults)
        require_positive(in_channels=in_channels, num_classes=num_classes)
        size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
        smallest = smallest_side(architecture)
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
        return bool(batch_norms(self))

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
    return (default_options(architecture) if architecture in NETWORKS else {}) | config


def _network_from(config_path: Path) -> Network:
    try:
        config = read_json(config_path)
        architecture = config.get("architecture")
        known = ("in_channels", "num_classes", "image_size", *default_options(architecture))
        return Network(architecture, **{name: config[name] for name in known if name in config})
    except (RunError, ConfigError, TypeError, ValueError, RuntimeError) as error:  # the last of sizes that can't be
        raise TeacherError(f"{config_path} describes no network of hf_dd: {error}") from error


def batch_norms(network: nn.Module) -> list[nn.Module]:
    """A network's BatchNorm layers, in the order in which it defines them."""
    return [module for module in network.modules() if isinstance(module, BATCH_NORMS)]
