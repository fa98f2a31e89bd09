"""A user's own module as a teacher: what its files would say is stated, and checked on one image."""

import copy
import hashlib
import numbers
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hf_dd.errors import TeacherError
from hf_dd.nn.input_transform import InputTransform
from hf_dd.teachers.adapters.base import Adapted, described, require_working


class OwnModule(nn.Module):
    """A module with features: those of its method of that name, else what its last linear layer gets."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module
        self.has_features = callable(getattr(type(module), "features", None))  # and not a submodule called so

    def forward(self, images: Tensor) -> Tensor:
        """Logits, (N, classes)."""
        return self.module(images)

    def features(self, images: Tensor) -> Tensor:
        """Features, (N, features); raises TeacherError where it has no such method and no linear layer runs."""
        if self.has_features:
            return self.module.features(images).flatten(1)
        last: list[Tensor] = []

        def remember(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            last[:] = inputs

        layers = [layer for layer in self.module.modules() if isinstance(layer, nn.Linear)]
        hooks = [layer.register_forward_pre_hook(remember) for layer in layers]
        try:
            self.module(images)
        finally:
            for hook in hooks:
                hook.remove()
        if not last:
            raise TeacherError("it has neither a method `features` nor a linear layer before its logits: add one.")
        return last[0].flatten(1)


def adapt_module(
    module: nn.Module,
    image_size: int | Sequence[int],
    channels: int,
    mean: Sequence[float],
    std: Sequence[float],
    class_names: Sequence[str] | None,
    dataset: str | None,
) -> Adapted:
    """A copy of a module as a model; arguments of `Teacher.from_module`. Raises TeacherError for what doesn't fit."""
    if not isinstance(module, nn.Module):
        raise TeacherError(f"it is no nn.Module, but {type(module).__name__}.")
    size = sides_of(image_size)
    if channels not in (1, 3) or size is None:
        raise TeacherError(f"its images have 1 or 3 channels and a size in pixels, not {channels} and {image_size}.")
    mean, std = numbers_of("mean", mean), numbers_of("std", std)
    right = all(0 <= value <= 1 for value in mean) and all(0 < value < float("inf") for value in std)
    if len(mean) != channels or len(std) != channels or not right:
        raise TeacherError(
            f"mean {mean} and std {std} have to be a number for each of {channels} channels, those of images in "
            "[0, 1] space: divide them by 255 where pixels were 0 … 255. A std is above 0."
        )
    transform = InputTransform(channels, mean, std, resize=size)
    network = OwnModule(copy.deepcopy(module)).requires_grad_(False).eval()
    names = None if class_names is None else names_of(class_names)
    adapted = Adapted(network, transform, names, described(type(module).__name__, dataset) | {"library": "torch"})
    require_working(adapted)
    return adapted


def sides_of(image_size: Any) -> tuple[int, int] | None:
    """Height and width, of a side or both; None where they are no whole numbers above 0."""
    sides = [image_size] * 2 if isinstance(image_size, numbers.Integral) else image_size
    if not isinstance(sides, Sequence) or len(sides) != 2:
        return None
    return tuple(map(int, sides)) if all(isinstance(side, numbers.Integral) and side > 0 for side in sides) else None


def numbers_of(name: str, values: Any) -> tuple[float, ...]:
    """A number, or one for each channel; raises TeacherError for anything else."""
    try:
        if isinstance(values, str):
            raise TypeError
        return tuple(map(float, [values] if isinstance(values, numbers.Real) else values))
    except (TypeError, ValueError) as error:
        raise TeacherError(f"{name} has to be a number for each channel of its images, not {values!r:.80}.") from error


def names_of(class_names: Any) -> list[str]:
    """Names of classes, one or more; raises TeacherError for anything else."""
    if isinstance(class_names, str) or not isinstance(class_names, Iterable):
        raise TeacherError(f"class_names has to be a list of names, not {class_names!r:.80}.")
    return [str(name) for name in class_names]


def digest_of(module: nn.Module) -> str:
    """64 hex digits over the names, types, shapes and bytes of a module's weights and buffers."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
