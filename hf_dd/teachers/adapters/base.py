"""What an adapter makes of a model's files, and the check that its images are prepared as its library does."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import ModelCard
from PIL import Image
from torch import Tensor, nn

from hf_dd.core.registry import ADAPTERS
from hf_dd.core.seeding import derive_seed
from hf_dd.errors import TeacherError
from hf_dd.nn.input_transform import InputTransform

NOT_EXPRESSED = "its images can't be prepared differentiably as its library does"
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
    """

    network: nn.Module
    transform: InputTransform
    class_names: list[str] | None
    about: dict[str, Any]


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
def no_adapter(definition: Any) -> str | None:
    """What a definition has to be, where it is no adapter."""
    return None if isinstance(definition, Adapter) else "has to be a hf_dd.teachers.adapters.Adapter"


def trained_on(folder: Path) -> str | None:
    """The data set that a model's card names, the first of several, or None."""
    try:
        named = ModelCard.load(folder / "README.md").data.to_dict().get("datasets")
    except (OSError, ValueError):
        return None
    return named[0] if isinstance(named, list) and named else named or None


def described(architecture: str, dataset: str | None) -> dict[str, Any]:
    """What a model of another library says of itself, as fields of a `TeacherSpec`."""
    return {"architecture": architecture, "dataset": dataset, "seed": None, "epoch": None, "accuracy": None}


def per_channel(values: float | Sequence[float], channels: int) -> tuple[float, ...]:
    """A statistic for every channel: its own, or the first for all."""
    values = [values] if isinstance(values, (int, float)) else list(values)
    return tuple(map(float, values if len(values) == channels else values[:1] * channels))


def require_same_preparation(
    transform: InputTransform, prepare: Callable[[Image.Image], Tensor], suspects: Sequence[str]
) -> None:
    """Raise TeacherError where a library prepares 8-bit images otherwise, by more than a step of 1/255.

    Args:
        transform: ours.
        prepare: the library's own: a PIL image → (channels, height, width).
        suspects: its steps that this may be due to, for the message.
    """
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
