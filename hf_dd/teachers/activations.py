"""What a layer of a teacher gives, by its module's name."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from hf_dd.errors import TeacherError, some
from hf_dd.teachers.teacher import Teacher

FEATURES = "features"  # what comes before the classifier


def activations(teacher: Teacher, images: Tensor, layer: str = FEATURES) -> Tensor:
    """What a layer of a teacher's network gives of images (N, channels, height, width) in [0, 1] space, flattened.

    Differentiable, (N, numbers); of a layer that gives several tensors the first. Raises TeacherError where the
    network has no such layer, or none that is called and gives a tensor for each image.
    """
    if layer == FEATURES:
        return teacher.features(images)
    modules = {name: module for name, module in teacher.network.named_modules() if name}
    if layer not in modules:
        known = some([name for name, module in modules.items() if not any(module.children())])
        raise TeacherError(f"Teacher {teacher.spec} has no layer {layer!r}; it has {FEATURES}, {known}.")
    found: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        given = output.values() if isinstance(output, Mapping) else output if isinstance(output, tuple) else [output]
        first = next((each for each in given if isinstance(each, Tensor)), None)
        if first is not None and first.ndim and len(first) == len(images):
            found.append(first.clone())  # copied, as what follows may work in place

    with modules[layer].register_forward_hook(keep):
        teacher.seen(teacher.network, images)
    if not found:
        raise TeacherError(
            f"Layer {layer!r} of teacher {teacher.spec} gives nothing for each image when the network is called. Take "
            f"a layer below or above it, or {FEATURES}."
        )
    return found[-1].flatten(1)
