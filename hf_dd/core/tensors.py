"""Tensors in files of others: what a safetensors file holds before it is read, and networks that are no larger.

A network's configuration is a few words that may ask for any amount of memory. So it is built first where it takes
none, on the meta device, and has to have just the tensors that the weights' file declares.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

from hf_dd.errors import RunError

FLOAT_BYTES = 4  # of a number in float32
LARGEST_HEADER = 2**24  # bytes of a safetensors file's header
PARTS_PER_TENSOR, MORE_PARTS = 100, 10_000  # layers and parameters that a network may be made of


class Form(NamedTuple):
    """A tensor's shape, and whether it holds floating numbers."""

    shape: tuple[int, ...]
    floating: bool

    def __str__(self) -> str:
        return f"{'floating' if self.floating else 'whole'} {list(self.shape)}"


def form_of(tensor: Tensor) -> Form:
    """Of a tensor on any device."""
    return Form(tuple(tensor.shape), tensor.is_floating_point())


def declared(path: Path) -> dict[str, Form]:
    """The tensors that a safetensors file declares, by name; raises RunError where it isn't one, or isn't whole."""
    try:
        if path.exists() and not path.is_file():
            raise ValueError("it is no file")  # a pipe would be waited for
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
        if length > LARGEST_HEADER:
            raise ValueError(f"its header takes {length:,} bytes")
        with safe_open(path, "pt") as file:
            parts = {name: file.get_slice(name) for name in file.keys()}
            return {name: Form(tuple(part.get_shape()), "F" in part.get_dtype()) for name, part in parts.items()}
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise RunError(f"{path} isn't a whole safetensors file ({error}).") from error


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, on the CPU; raises RunError where it is none, or holds NaN or infinity."""
    declared(path)
    try:
        tensors = load_file(path)
    except (OSError, ValueError, KeyError, AttributeError, SafetensorError) as error:
        raise RunError(f"{path} can't be read ({type(error).__name__}: {error}).") from error
    require_finite(tensors, str(path))
    return tensors


def require_finite(tensors: Mapping[str, Tensor], name: str) -> None:
    """Raise RunError, naming the first of them, where tensors hold numbers that aren't finite."""
    for key, tensor in tensors.items():
        if not (tensor.is_floating_point() or tensor.is_complex()):
            continue
        values = tensor.float() if tensor.element_size() == 1 else tensor  # of 8 bits torch can't say
        if not values.sum().isfinite() and not values.isfinite().all():  # the sum takes no memory
            raise RunError(f"{name} holds numbers that aren't finite, in {key}: did its training diverge?")


def outlined(build: Callable[[], nn.Module], weights: Mapping[str, Form]) -> nn.Module:
    """What `build` makes, on the meta device: its shapes, without their memory.

    Raises RunError where it is of many more parts than the weights have tensors, as soon as it is.
    """
    left = PARTS_PER_TENSOR * len(weights) + MORE_PARTS

    def count(*_: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise RunError(f"it describes a network of far more layers than its {len(weights)} tensors of weights.")

    hooks = [register_module_parameter_registration_hook(count), register_module_module_registration_hook(count)]
    try:
        with torch.device("meta"):
            return build()
    finally:
        for hook in hooks:
            hook.remove()


def numbers_in(forms: Mapping[str, Form]) -> int:
    """How many floating numbers tensors hold together."""
    return sum(math.prod(form.shape) for form in forms.values() if form.floating)


def differences(expected: Mapping[str, Form], found: Mapping[str, Form]) -> list[str]:
    """What keeps tensors of a file from being exactly those of a network, by name; precision is free."""
    pairs = {name: (expected.get(name, "absent"), found.get(name, "absent")) for name in expected | found}
    return [f"{name} should be {wanted}, is {given}" for name, (wanted, given) in pairs.items() if wanted != given]


def unlike(expected: Mapping[str, Form], found: Mapping[str, Form]) -> list[str]:
    """Tensors of whole numbers that are called, in their last part, as a network's floating ones are.

    A library cuts what it loads off to whole ones then, under whatever longer name.
    """
    kinds = {
        floating: {last_part(name) for name, form in expected.items() if form.floating == floating}
        for floating in (True, False)
    }
    whole = {name: form for name, form in found.items() if not form.floating}
    odd = kinds[True] - kinds[False]
    return [f"{name} should be floating, is {form}" for name, form in whole.items() if last_part(name) in odd]


def last_part(name: str) -> str:
    """Of `encoder.norm.weight`, `weight`."""
    return name.rpartition(" ")[2].rpartition(".")[2]
