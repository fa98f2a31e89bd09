"""What an adapter makes of a model's files, and the check that its images are prepared as its library does."""

import copy
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from huggingface_hub import ModelCard
from PIL import Image
from torch import Tensor, nn

from hf_dd.core.layout import CARD
from hf_dd.core.registry import ADAPTERS
from hf_dd.core.seeding import derive_seed
from hf_dd.core.tensors import require_finite
from hf_dd.errors import RunError, TeacherError, one_line
from hf_dd.nn.input_transform import InputTransform
from hf_dd.nn.whitening import Whitening

NOT_EXPRESSED = "its images can't be prepared differentiably as its library does"
LARGEST_CARD = 2**20  # bytes
LARGEST_SIDE = 2048  # pixels of a model's images
LARGEST_PART = 2**20  # of anything that a configuration counts
PART = re.compile("layer|depth|block|stage|size|dim|width|channel|chans|head|class|label|patch|window|groups", re.I)
ANY_SIZE = (64, 64)  # of the image that a model is tried with that says no size
PROBES = ((33, 33), (40, 27), (300, 420))  # (height, width): enlarged and reduced, not all of them squares


@dataclass(frozen=True)
class Adapted:
    """A model and what its files say of it.

    Attributes:
        network: images as it takes them → logits, (N, classes); `features` gives the flattened activations before the
            classifier, (N, features). One without a head gives its features as logits.
        transform: from images in [0, 1] space to what it takes.
        class_names: in the order of its logits; None for a model without a head, or whose classes have no names.
        about: fields of a `TeacherSpec`.
        whitening: what it sees images through instead of the transform's statistics, or None.
    """

    network: nn.Module
    transform: InputTransform
    class_names: list[str] | None
    about: dict[str, Any]
    whitening: Whitening | None = None


@dataclass(frozen=True)
class Adapter:
    """What knows the models of one library, by three functions; registered under the library's name.

    Attributes:
        matches: (folder, content of its config.json) → whether the model in it is of this library.
        adapt: (folder, that content, whether pickles may be read and the repository's own code may run) → the model,
            on the CPU; raises TeacherError. Unless trusted, a folder without safetensors doesn't get here.
        about: (folder, that content) → what its files but the weights say of it: `described` makes that.
    """

    matches: Callable[[Path, dict[str, Any]], bool]
    adapt: Callable[[Path, dict[str, Any], bool], Adapted]
    about: Callable[[Path, dict[str, Any]], dict[str, Any]]


@ADAPTERS.requires
def why_no_adapter(definition: Any) -> str | None:
    """What a definition has to be, where it is no adapter."""
    return None if isinstance(definition, Adapter) else "has to be a hf_dd.teachers.adapters.Adapter"


def trained_on(folder: Path) -> str | None:
    """The data set that a model's card names, the first of several; None where it names none, or can't be read."""
    try:
        if (folder / CARD).stat().st_size > LARGEST_CARD:
            return None
        named = ModelCard.load(folder / CARD).data.to_dict().get("datasets")
    except (OSError, ValueError, TypeError, AttributeError, RecursionError, yaml.YAMLError):
        return None
    named = named[0] if isinstance(named, list) and named else named
    return named if isinstance(named, str) and named else None


def described(architecture: str, dataset: str | None) -> dict[str, Any]:
    """What a model of another library says of itself, as fields of a `TeacherSpec`."""
    return {"architecture": architecture, "dataset": dataset, "seed": None, "epoch": None, "accuracy": None}


def per_channel(values: float | Sequence[float], channels: int) -> tuple[float, ...]:
    """A statistic for every channel: its own, or the first for all."""
    values = [values] if isinstance(values, (int, float)) else list(values)
    return tuple(map(float, values if len(values) == channels else values[:1] * channels))


def require_modest(config: Any, name: str = "config.json") -> None:
    """Raise TeacherError where a configuration counts more of anything than a network could have."""
    if isinstance(config, Mapping):
        for key, value in config.items():
            if isinstance(value, Mapping) or PART.search(key):
                require_modest(value, f"{name}: {key}")
    elif isinstance(config, list):
        for value in config:
            require_modest(value, name)
    elif isinstance(config, int | float) and not -LARGEST_PART <= config <= LARGEST_PART:
        raise TeacherError(f"{name} is {config!r:.40}, which no network has.")


def require_statistics(mean: Sequence[float], std: Sequence[float], channels: int) -> None:
    """Raise TeacherError unless mean and std are a finite number for each of 1 or 3 channels, and a std is above 0."""
    if channels not in (1, 3):
        raise TeacherError(f"its images have {channels!r} channels; a teacher takes 1 or 3.")
    right = all(map(math.isfinite, [*mean, *std])) and all(0 < value < math.inf for value in std)
    if len(mean) != channels or len(std) != channels or not right:
        raise TeacherError(
            f"mean {list(mean)} and std {list(std)} of its images have to be a finite number for each of {channels} "
            "channels, and a std is above 0."
        )


def require_sizes(transform: InputTransform) -> None:
    """Raise TeacherError for images that no model takes: their sides count in memory before any network does."""
    for size in filter(None, (transform.resize, transform.crop)):
        if not all(isinstance(side, int) and 1 <= side <= LARGEST_SIDE for side in size):
            raise TeacherError(f"its images are of {list(size)} pixels; a side has 1 to {LARGEST_SIDE}.")


@torch.no_grad()
def require_working(adapted: Adapted) -> None:
    """Run one grey image; raise TeacherError where what comes out aren't logits of the classes and features."""
    transform, network = adapted.transform, adapted.network
    require_statistics(transform.mean, transform.std, transform.channels)
    require_sizes(transform)
    kept = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    try:
        require_finite(kept, "what was loaded")
    except RunError as error:
        raise TeacherError(str(error)) from error
    floating = [value for value in network.parameters() if value.is_floating_point()]
    if not floating:
        raise TeacherError("it has no weights.")
    if {value.dtype for value in floating} - {torch.float32, torch.float64}:
        network = copy.deepcopy(network).float()  # of the others a CPU knows not all functions
    own = getattr(network, "image_size", None)
    size = transform.image_size or ((own, own) if isinstance(own, int) else ANY_SIZE)
    image = transform(torch.full((1, transform.channels, *size), 0.5))
    image = image.to(next(value for value in network.parameters() if value.is_floating_point()))
    try:
        logits, features = network(image), network.features(image)
        shapes = [tuple(value.shape) for value in (logits, features)]
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, AssertionError, KeyError) as error:
        raise TeacherError(
            f"it can't take an image of {list(image.shape)}, as what makes its images says: "
            f"{type(error).__name__}: {one_line(error)}"
        ) from error
    classes = shapes[0][-1] if adapted.class_names is None else len(adapted.class_names)
    if shapes[0] != (1, classes) or len(shapes[1]) != 2:
        raise TeacherError(
            f"of one image it makes logits of {list(shapes[0])} and features of {list(shapes[1])}, not [1, {classes}] "
            "(a logit for each of its classes) and [1, N]."
        )
    if not (logits.isfinite().all() and features.isfinite().all()):
        raise TeacherError("of one grey image it makes numbers that aren't finite: are mean and std those of [0, 1]?")


def require_same_preparation(
    transform: InputTransform, prepare: Callable[[Image.Image], Tensor], suspects: Sequence[str]
) -> None:
    """Raise TeacherError where a library prepares 8-bit images otherwise, by more than a step of 1/255.

    Args:
        transform: ours.
        prepare: the library's own: a PIL image → (channels, height, width).
        suspects: its steps that this may be due to, for the message.
    """
    require_sizes(transform)
    for height, width in PROBES:
        image = Image.fromarray(probe(height, width, transform.channels))
        pixels = torch.from_numpy(np.array(image)).view(1, height, width, -1).movedim(3, 1).double() / 255
        ours, theirs = transform(pixels)[0], prepare(image).double()
        if ours.shape == theirs.shape:
            steps = 255 * ((ours - theirs).abs().amax((1, 2)) * ours.new_tensor(transform.std)).max()
            if steps <= 1.5:  # rounding to 8 bits between the two directions of a resize takes up to another half
                continue
            what = f"an image of {height}×{width} differs by {steps:.0f} of 255"
        else:
            what = f"one of {height}×{width} becomes {list(theirs.shape)}, not {list(ours.shape)}"
        raise TeacherError(f"{NOT_EXPRESSED}: {what}. What isn't expressed is one of {', '.join(suspects)}.")


def probe(height: int, width: int, channels: int) -> np.ndarray:
    """A smooth 8-bit image of random waves, (height, width) or (height, width, 3): the same in every run."""
    draws = np.random.default_rng(derive_seed(0, "probe", height))
    rows, columns = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    waves = [np.sin(2 * np.pi * (a * rows + b * columns + c)) for a, b, c in draws.uniform(-3, 3, (channels, 3))]
    image = np.rint(127.5 + 127.5 * np.stack(waves, -1)).astype(np.uint8)
    return image[..., 0] if channels == 1 else image
