"""What a layer of a teacher gives, by its module's name."""

from torch import Tensor

from hf_dd.errors import TeacherError, some
from hf_dd.teachers.teacher import Teacher

FEATURES = "features"  # what comes before the classifier


def activations(teacher: Teacher, images: Tensor, layer: str = FEATURES) -> Tensor:
    """What a layer of a teacher's network gives of images (N, channels, height, width) in [0, 1] space, flattened.

    Differentiable, (N, numbers). Raises TeacherError where the network has no such layer.
    """
    if layer == FEATURES:
        return teacher.features(images)
    modules = {name: module for name, module in teacher.network.named_modules() if name}
    if layer not in modules:
        known = some([name for name, module in modules.items() if not any(module.children())])
        raise TeacherError(f"Teacher {teacher.spec} has no layer {layer!r}; it has {FEATURES}, {known}.")
    found: list[Tensor] = []  # copied, as what follows may work in place
    with modules[layer].register_forward_hook(lambda module, inputs, output: found.append(output.clone())):
        teacher.seen(teacher.network, images)
    return found[-1].flatten(1)
