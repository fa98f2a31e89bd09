"""Soft labels: what teachers say of an image, as probabilities of the data set's classes at a temperature.

    q = softmax(logits / T)

(Hinton, Vinyals & Dean, 2015, "Distilling the knowledge in a neural network"). They are stored with a distilled set,
or asked for while students learn (`targets`).
"""

from contextlib import nullcontext

import torch
from torch import Tensor

from hf_dd.core.precision import Autocast
from hf_dd.core.progress import over
from hf_dd.data.batches import by_chunks
from hf_dd.errors import TeacherError
from hf_dd.teachers.pool import TeacherPool
from hf_dd.teachers.teacher import Teacher


def logit_orders(pool: TeacherPool, class_names: list[str]) -> list[list[int]]:
    """For each teacher and each of these classes the index of its logit; raises TeacherError for another label space.

    A pool of more teachers than memory takes loads each of them once.
    """
    return [teacher.logit_order(class_names) for teacher in pool]


@torch.no_grad()
def probabilities(
    teacher: Teacher, order: list[int], images: Tensor, temperature: float, autocast: Autocast = nullcontext
) -> Tensor:
    """What one teacher says of images: (N, classes), float32, in the order that `order` gives.

    Args:
        teacher: on the images' device.
        order: see `logit_orders`.
        images: floating, (N, channels, height, width), in [0, 1] space.
        temperature: above 0; the higher, the more alike the classes.
        autocast: context of the forward passes.
    """

    def said_of(chunk: Tensor) -> Tensor:
        with autocast():
            logits = teacher(chunk)
        return (logits[:, order].float() / temperature).softmax(1)

    return by_chunks(said_of, images, teacher.image_size)


def relabel(
    pool: TeacherPool, class_names: list[str], images: Tensor, kind: str, temperature: float, device: torch.device
) -> Tensor:
    """The soft labels of images, float32 on the CPU: computed in float32, one teacher after the other.

    Args:
        pool: the teachers; moved to `device`, in float32.
        class_names: the classes, in the order of the labels.
        images: as of `probabilities`.
        kind: 'mean' of the teachers' probabilities, (N, classes), or 'each' teacher's, (N, teachers, classes).
        temperature: as of `probabilities`.
        device: where to compute.

    Raises TeacherError for a teacher of another label space, and for one that gives no finite numbers.
    """
    images, found = images.float().to(device), []
    for teacher in over(pool.to(device, torch.float32), "soft labels", len(pool), "teacher"):
        found.append(probabilities(teacher, teacher.logit_order(class_names), images, temperature).cpu())
        if not torch.isfinite(found[-1]).all():
            raise TeacherError(
                f"{teacher.spec} gives soft labels that are not finite numbers at a temperature of {temperature:g}: "
                "leave that teacher out, or take a higher one (`hf-dd distill --soft_label_temperature`)."
            )
    each = torch.stack(found, 1)
    return each.mean(1) if kind == "mean" else each
