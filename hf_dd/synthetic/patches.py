"""Real images that teachers find typical of their class: RDED's patches, and whole images scored in the same way.

The score of an image is the cross-entropy of a teacher's logits against its class, averaged over the pool: the lower,
the more realistic (Sun, Shi, Yu & Lin, CVPR 2024, whose V-information comes down to it). Nothing is optimised. Every
draw is named by (seed, purpose, class), so that no number of processes changes the choice.
"""

from contextlib import nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hf_dd.config.base import option
from hf_dd.core.precision import Autocast
from hf_dd.core.progress import over
from hf_dd.core.seeding import generator
from hf_dd.data.batches import in_chunks, in_unit_range
from hf_dd.data.image_data import ImageData
from hf_dd.errors import TeacherError
from hf_dd.nn.crops import draw_boxes, resized_crop
from hf_dd.nn.tiles import lay_out, tile_size
from hf_dd.teachers.pool import TeacherPool
from hf_dd.teachers.soft_labels import logit_orders
from hf_dd.teachers.teacher import Teacher


@dataclass(frozen=True)
class PatchOptions:
    """RDED's settings; the defaults are the paper's, with its patches per side (`factor` there) for CIFAR."""

    images: int = option(
        300,
        "real images per class that are drawn as candidates (or as many as are needed, or as there are).",
        at_least=1,
    )
    crops: int = option(5, "random crops of each, of which the best one counts.", at_least=1)
    tiles: int = option(1, "patches per side of a made image: 1 at CIFAR's size, 2 for ImageNet.", at_least=1)
    scale: float = option(
        0.08,
        "the least share of an image's area that a crop takes; torchvision's default, as the paper's code has it.",
        above=0,
        at_most=1,
    )
    view: str = option(
        "enlarged",
        "how a teacher sees a crop of the size of a tile: 'enlarged' to a whole image, or as in the paper's code "
        "'padded' to one by its mean colour, which chooses smaller crops; with a single tile that is the same.",
        choices=("enlarged", "padded"),
    )


def realistic_patches(
    data: ImageData,
    pool: TeacherPool,
    ipc: int,
    seed: int,
    options: PatchOptions,
    dtype: torch.dtype = torch.float32,
    autocast: Autocast = nullcontext,
) -> Tensor:
    """RDED's images: of each class `ipc` · tiles² crops, each the best of its image, the best of all, tiled.

    A crop is a square of the image, of a random area and place, brought to the size of a tile, which teachers see as
    `view` says. Crops are dealt out to the images of a class in the order of their scores, so that every image gets
    one of the best.

    Args:
        data: on the device to compute on.
        pool: its teachers have the data set's label space.
        ipc: images per class.
        seed: of the candidates and of their crops.
        options: how many of each.
        dtype: of the result.
        autocast: context of the teachers' forward passes.

    Returns images in [0, 1] space, (num_classes · ipc, channels, height, width), class after class, on the data's
    device. Raises DataError where a class has fewer than ipc · tiles² images, TeacherError where a teacher has other
    classes or gives no finite numbers, ConfigError where a tile would be smaller than a pixel.
    """
    needed = ipc * options.tiles**2
    data.require_ipc(needed)
    size = tile_size(data.image_size, options.tiles)
    candidates, boxes = [], []
    for label in range(data.num_classes):
        count = min(max(options.images, needed), len(data.class_index[label]))
        candidates.append(data.sample_class(label, count, generator(seed, "rded-images", label)))
        draws = generator(seed, "rded-crops", label)
        drawn = draw_boxes(count * options.crops, data.image_size, draws, scale=(options.scale, 1.0), ratio=(1.0, 1.0))
        boxes.append(drawn.unflatten(0, (count, options.crops)))
    padded = options.view == "padded"
    scores = cross_entropies(data, pool, torch.cat(candidates), torch.cat(boxes), size, dtype, autocast, padded)
    made = []
    for chosen, drawn, losses in zip(candidates, boxes, scores.split([len(part) for part in candidates]), strict=True):
        lowest, best_crop = losses.min(1)
        best = lowest.sort(stable=True).indices[:needed]
        best = best.view(options.tiles**2, ipc).T.flatten()
        images = in_unit_range(data.train.images[chosen[best.to(chosen.device)]], dtype)
        patches = resized_crop(images, drawn[best, best_crop[best]], size)
        made.append(lay_out(patches, options.tiles, data.image_size))
    return torch.cat(made)


def realistic_images(
    data: ImageData,
    pool: TeacherPool,
    ipc: int,
    dtype: torch.dtype = torch.float32,
    autocast: Autocast = nullcontext,
    drawn: tuple[int, int] | None = None,
    hardest: bool = False,
) -> Tensor:
    """The `ipc` whole training images of each class that the pool finds most typical, as indices into `data.train`.

    Or, if `hardest`, the least typical ones. Of all, or of `drawn`: of how many of a class (or as many as there are),
    drawn by which seed. The other arguments and the errors are those of `realistic_patches`. Returns int64,
    (num_classes · ipc,), on the data's device: class after class, the best, or hardest, first.
    """
    data.require_ipc(ipc)
    candidates = data.class_index
    if drawn:
        counts = [min(max(drawn[0], ipc), len(members)) for members in candidates]
        draws = [generator(drawn[1], "candidates", label) for label in range(data.num_classes)]
        candidates = [data.sample_class(label, counts[label], draws[label]) for label in range(data.num_classes)]
    scores = cross_entropies(data, pool, torch.cat(candidates), None, data.image_size, dtype, autocast)
    sizes = [len(members) for members in candidates]
    return torch.cat(
        [
            members[losses[:, 0].sort(descending=hardest, stable=True).indices[:ipc].to(members.device)]
            for members, losses in zip(candidates, scores.split(sizes), strict=True)
        ]
    )


@torch.no_grad()
def cross_entropies(
    data: ImageData,
    pool: TeacherPool,
    chosen: Tensor,
    boxes: Tensor | None,
    size: tuple[int, int],
    dtype: torch.dtype,
    autocast: Autocast,
    padded: bool = False,
) -> Tensor:
    """The mean over the pool's teachers of the cross-entropy of each crop's logits against its image's class.

    `chosen`, int64 (N,), says which images, `boxes`, int64 (N, crops, 4), which crops of each, brought to `size`
    (height, width); where it is None the whole image is the only crop. With `padded` the teachers see a crop in the
    middle of an image of their mean colour, which they take for zeros. Returns (N, crops), of `dtype`, on the CPU.
    """
    orders = logit_orders(pool, data.class_names)
    pool.to(data.device, dtype)
    crops = 1 if boxes is None else boxes.shape[1]
    total = torch.zeros(len(chosen), crops, dtype=dtype)
    by_order = zip(pool, orders, strict=True)
    for teacher, order in over(by_order, "scores", len(pool), "teacher"):  # outside: not all may be in memory
        chunks = in_chunks(data.train.images, chosen, seen=teacher.image_size)
        what = f"scores by {teacher.spec}"
        for places, images in over(chunks, what, len(chosen), "image", lambda own: len(own[0]), share=1):
            images, labels = in_unit_range(images, dtype), data.train.labels[chosen[places.to(chosen.device)]]
            for crop in range(crops):
                patches = images if boxes is None else resized_crop(images, boxes[places, crop], size)
                if padded:
                    patches = surrounded(patches, data.image_size, mean_colour(teacher, patches))
                with autocast():
                    logits = teacher(patches)[:, order]
                total[places, crop] += F.cross_entropy(logits.to(dtype), labels, reduction="none").cpu()
        if not total.isfinite().all():
            raise TeacherError(f"{teacher.spec} gives logits that are no finite numbers: did its training diverge?")
    return total / len(orders)


def surrounded(patches: Tensor, size: tuple[int, int], fill: Tensor) -> Tensor:
    """Patches (N, channels, …) in the middle of images of `size` (height, width) that are `fill`, (channels, 1, 1)."""
    top, left = ((wanted - there) // 2 for wanted, there in zip(size, patches.shape[2:], strict=True))
    bottom, right = size[0] - patches.shape[2] - top, size[1] - patches.shape[3] - left
    return F.pad(patches - fill, (left, right, top, bottom)) + fill


def mean_colour(teacher: Teacher, patches: Tensor) -> Tensor:
    """What a teacher takes for zeros, of as many channels as the patches have, (channels, 1, 1)."""
    mean = patches.new_tensor(teacher.transform.mean).view(-1, 1, 1)
    return mean if len(mean) == patches.shape[1] else mean.mean().expand(patches.shape[1], 1, 1)
