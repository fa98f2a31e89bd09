"""What teachers say of crops of a distilled set's images, a few numbers a crop, as rows that replay by themselves.

SRe2L (Yin, Xing & Shen, NeurIPS 2023) and its followers train students on stored labels of every epoch's views, as
"A Fast Knowledge Distillation Framework" (Shen & Xing, ECCV 2022) has it: files of whole batches of logits, tens of
times the images' bytes. Here a row is one view: its box, its mirror, what is mixed into it, and of the teachers'
probabilities the k largest and what the other classes have together. These are logarithms at temperature 1, from which
the probabilities of every temperature T follow:

    q_T ∝ q_1^(1/T),   where each of the other C - k classes has rest / (C - k)

which loses no more than the k largest at T itself would, and survives half precision, as probabilities don't. Of
several teachers it is the mean of their probabilities at temperature 1.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor

from hf_dd.core.digests import new_digest
from hf_dd.core.progress import over
from hf_dd.core.seeding import derive_seed
from hf_dd.data.batches import chunks_of, in_unit_range
from hf_dd.errors import ConfigError, DataError, TeacherError
from hf_dd.nn.views import ViewDraws, Views, blended, draw, pasted, shown
from hf_dd.teachers.pool import TeacherPool
from hf_dd.teachers.soft_labels import logit_orders

PURPOSE = "crop-labels"  # names the draws
SMALLEST = -65504.0  # of half precision: what lies below has a probability of nothing
TOPK = 10  # classes a row, where nothing else is asked for


@dataclass(frozen=True, eq=False)
class CropLabels:
    """Rows, each one view of an image and what teachers say of it; tensors on the CPU, (R, …).

    Attributes:
        num_classes: C.
        size: (height, width) of the views.
        image: int64: which training image of the set it is a view of.
        epoch: int32, from 0.
        box: int32, (R, 4): top, left, height and width of the crop, in whole pixels of the image.
        flip: bool: whether the crop is mirrored.
        seed: int64: of the draws of its epoch.
        log_probabilities: float16, (R, k), natural, at temperature 1: of `classes`, descending; or of all classes in
            their order.
        classes: int32, (R, k); None where k is C.
        log_rest: float16: of the other C - k classes together; None where k is C.
        partner: int64: which image's view is mixed into this one; None, as all that follows, where none are.
        partner_box: int32, (R, 4), as `box`.
        partner_flip: bool, as `flip`.
        paste: int32, (R, 4): what CutMix takes of the partner's view, in pixels of the views; None for MixUp.
        weight: float32: MixUp's λ, the share of the image itself; None for CutMix.
        taught_by: the commits (or digests) of the teachers, of labels that were read.
        stored_bytes: of their files.
    """

    num_classes: int
    size: tuple[int, int]
    image: Tensor
    epoch: Tensor
    box: Tensor
    flip: Tensor
    seed: Tensor
    log_probabilities: Tensor
    classes: Tensor | None = None
    log_rest: Tensor | None = None
    partner: Tensor | None = None
    partner_box: Tensor | None = None
    partner_flip: Tensor | None = None
    paste: Tensor | None = None
    weight: Tensor | None = None
    taught_by: tuple[str, ...] = ()
    stored_bytes: int = 0

    def __len__(self) -> int:
        return len(self.image)

    @property
    def columns(self) -> dict[str, Tensor]:
        """The tensors by name, those that are there."""
        own = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: value for name, value in own.items() if torch.is_tensor(value)}

    @functools.cached_property
    def digest(self) -> str:
        """Of all of it."""
        digest = new_digest()
        for name, values in self.columns.items():
            digest.update(f"{name} {list(values.shape)}".encode())
            digest.update(values.contiguous().numpy())
        return digest.hexdigest()

    def taken(self, rows: Tensor) -> Self:
        """These rows, int64 indices."""
        return replace(self, **{name: column[rows] for name, column in self.columns.items()})

    def by_epoch(self) -> list[Self]:
        """The rows of each epoch that there is, in the order of the epochs."""
        return [self.taken((self.epoch == epoch).nonzero().flatten()) for epoch in self.epoch.unique().tolist()]

    def views(self, images: Tensor) -> Tensor:
        """The rows' views, (R, channels, *size), of images (N, channels, height, width): floats, or uint8 in [0, 1].

        Differentiable; on the images' device, of their dtype, floats of uint8.
        """
        own = self._shown(images, self.image, self.box, self.flip)
        if self.partner is None:
            return own
        others = self._shown(images, self.partner, self.partner_box, self.partner_flip)
        return pasted(own, others, self.paste) if self.weight is None else blended(own, others, self.weight)

    def _shown(self, images: Tensor, chosen: Tensor, boxes: Tensor, flipped: Tensor) -> Tensor:
        chosen = in_unit_range(images[chosen.to(images.device)])
        return shown(chosen, ViewDraws(boxes=boxes.long(), flipped=flipped), self.size)

    def probabilities(self, temperature: float) -> Tensor:
        """What the rows say at a temperature: (R, C), float32, each row sums to 1."""
        logs = self.log_probabilities.float()
        if self.classes is not None:
            rest = self.log_rest.float() - math.log(self.num_classes - logs.shape[1])
            logs = rest[:, None].repeat(1, self.num_classes).scatter(1, self.classes.long(), logs)
        return (logs / temperature).softmax(1)

    def require_sound(self, name: str, images: int, image_size: Sequence[int]) -> None:
        """Raise DataError, naming the set, where rows aren't views of so many images of this size, or no labels."""
        logs, height, width = self.log_probabilities.float(), *image_size
        faults = {
            "no row": not len(self),
            f"an image beyond its {images}": _beyond(self.image, images) or _beyond(self.partner, images),
            f"a crop outside of its {height}×{width} images": _outside(self.box, image_size)
            or _outside(self.partner_box, image_size),
            f"a pasted part outside of its {self.size[0]}×{self.size[1]} views": _outside(self.paste, self.size, 0),
            "a MixUp weight outside of [0, 1]": self.weight is not None and not _within(self.weight, 0, 1),
            "log-probabilities that are no finite numbers up to 0": not _within(logs, SMALLEST, 0)
            or (self.log_rest is not None and not _within(self.log_rest.float(), SMALLEST, 0)),
        }
        if self.classes is not None:
            ordered = self.classes.sort(1).values
            faults[f"a class beyond its {self.num_classes}"] = _beyond(self.classes, self.num_classes)
            faults["a class twice in a row"] = bool((ordered[:, 1:] == ordered[:, :-1]).any())
        total = logs.exp().sum(1) + (0 if self.log_rest is None else self.log_rest.float().exp())
        faults["probabilities whose sum isn't 1"] = not _within(total, 0.95, 1.05)
        for fault, found in faults.items():
            if found:
                raise DataError(
                    f"The labels of crops of {name} hold {fault}: take the set anew from where it is from."
                )


def _beyond(values: Tensor | None, count: int) -> bool:
    return values is not None and not _within(values, 0, count - 1)


def _outside(boxes: Tensor | None, size: Sequence[int], least: int = 1) -> bool:
    """Whether a box isn't inside of what is so large (height, width), or has sides of less than `least`."""
    if boxes is None:
        return False
    start, length = boxes.long().split(2, 1)
    return bool((start < 0).any() or (length < least).any() or (start + length > torch.tensor(size)).any())


def _within(values: Tensor, lowest: float, highest: float) -> bool:
    return bool(((values >= lowest) & (values <= highest)).all())  # NaN is not


def classes_kept(topk: int | None, num_classes: int) -> int:
    """How many classes a row keeps; raises ConfigError for more than there are."""
    if topk is not None and topk > num_classes:
        raise ConfigError(
            f"--soft_label_topk {topk}: the data set has {num_classes} classes; give at most as many, or leave it out."
        )
    return min(topk or TOPK, num_classes)


def drawn(views: Views, images: int, image_size: tuple[int, int], epoch: int, seed: int) -> dict[str, Tensor]:
    """The views of an epoch, one of each image in order, as columns of `CropLabels`.

    The draws of (seed, PURPOSE, epoch) alone: all rows at once, from `torch.Generator().manual_seed` of the `seed`
    that the rows have. What is mixed into a view is another's view of the same epoch.
    """
    own = derive_seed(seed, PURPOSE, epoch)
    drawn = draw(replace(views, each=True), images, image_size, torch.Generator().manual_seed(own))
    boxes = torch.tensor([[0, 0, *image_size]]).repeat(images, 1) if drawn.boxes is None else drawn.boxes
    flipped = torch.zeros(images, dtype=torch.bool) if drawn.flipped is None else drawn.flipped
    found = {
        "image": torch.arange(images),
        "epoch": torch.full((images,), epoch, dtype=torch.int32),
        "box": boxes.int(),
        "flip": flipped,
        "seed": torch.full((images,), own),
    }
    if drawn.partners is not None:
        found |= {
            "partner": drawn.partners,
            "partner_box": boxes[drawn.partners].int(),
            "partner_flip": flipped[drawn.partners],
        }
        found |= {"weight": drawn.weights} if drawn.pastes is None else {"paste": drawn.pastes.int()}
    return found


@torch.no_grad()
def label_crops(
    pool: TeacherPool,
    class_names: list[str],
    images: Tensor,
    views: Views,
    epochs: int,
    topk: int | None,
    seed: int,
    device: torch.device,
) -> CropLabels:
    """Draw `epochs` views of each image and ask teachers, in float32; the rows are in the order of epochs and images.

    Args:
        pool: the teachers; moved to `device`.
        class_names: the classes, in the order of the labels.
        images: floating, (N, channels, height, width), in [0, 1] space, as they are stored.
        views: crops, mirrors and mixes; each row is mixed by its own draw.
        epochs: views of each image, 1 to 65,536.
        topk: classes a row, TOPK (or all, if fewer) where it is None.
        seed: of the draws.
        device: where to compute.

    Raises ConfigError for more classes than there are, TeacherError for a teacher of another label space, and for one
    that gives no finite numbers.
    """
    kept, size = classes_kept(topk, len(class_names)), views.size or tuple(images.shape[2:])
    orders = logit_orders(pool.to(device, torch.float32), class_names)
    images, found = images.float().to(device), []
    for epoch in over(range(epochs), "labels of crops, of each image", epochs, "view"):
        columns = drawn(views, len(images), tuple(images.shape[2:]), epoch, seed)
        unlabelled = CropLabels(len(class_names), size, **columns, log_probabilities=torch.zeros(len(images), 0))
        said = None
        for teacher, order in zip(pool, orders, strict=True):
            chunks = torch.arange(len(images)).tensor_split(chunks_of(len(images), images, teacher.image_size))
            logits = torch.cat([teacher(unlabelled.taken(rows).views(images))[:, order].cpu() for rows in chunks])
            if not torch.isfinite(logits).all():
                raise TeacherError(f"{teacher.spec} gives logits that are not finite numbers: leave that teacher out.")
            logs = logits.log_softmax(1)
            said = logs if said is None else torch.logaddexp(said, logs)
        found.append(columns | compressed(said - math.log(len(pool)), kept))
    return CropLabels(len(class_names), size, **{name: torch.cat([each[name] for each in found]) for name in found[0]})


def compressed(logs: Tensor, kept: int) -> dict[str, Tensor]:
    """Log-probabilities (R, C) as the columns of `CropLabels` that keep so many classes."""
    if kept == logs.shape[1]:
        return {"log_probabilities": _half(logs)}
    largest, classes = logs.topk(kept)
    rest = logs.scatter(1, classes, -math.inf).logsumexp(1)
    return {"log_probabilities": _half(largest), "classes": classes.int(), "log_rest": _half(rest)}


def _half(logs: Tensor) -> Tensor:
    return logs.clamp(SMALLEST, 0).half()
