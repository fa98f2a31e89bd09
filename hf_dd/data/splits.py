"""What a data set is once it was read: splits of uint8 images with class indices, and digests of them."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hf_dd import hub
from hf_dd.core.digests import digest_over, new_digest
from hf_dd.core.progress import over
from hf_dd.core.text import plural
from hf_dd.data.batches import Images, in_blocks
from hf_dd.errors import DataError, some


@dataclass(frozen=True, eq=False)
class Split:
    """One split: `images` uint8 N×C×H×W, contiguous in memory or in a file, C = 1 or 3; `labels` int64 N."""

    images: Images
    labels: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def taken(self, rows: Tensor) -> "Split":
        """The images of these rows (int64 indices) as a split; what lies in a file stays there."""
        images = self.images[rows] if isinstance(self.images, Tensor) else self.images.taken(rows)
        return Split(images, self.labels[rows])


@dataclass(frozen=True, eq=False)
class Source:
    """A data set as it was read: what it is called, where it is pinned, what its classes are, and its splits."""

    name: str
    license: str
    class_names: list[str]
    train: Split
    test: Split | None
    pin: hub.Pin | None = None
    notes: tuple[str, ...] = ()  # what was done to its images
    test_split: str = "test"  # what the second split is called
    train_split: str = "train"  # and the first


def fingerprint(split: Split, class_names: Sequence[str]) -> str:
    """32 hex digits over shape, pixels, labels and class names; equal data give equal digits on every machine."""
    digest = new_digest(json.dumps([list(split.images.shape), list(class_names)]).encode())
    for block in over(in_blocks(split.images), "fingerprint", len(split), "image", len):
        digest.update(block.cpu().contiguous().numpy())
    digest.update(split.labels.cpu().numpy().astype("<i8"))
    return digest.hexdigest()


def by_class(labels: Tensor, num_classes: int) -> list[Tensor]:
    """Per class the int64 indices of its images, ascending; one sort, however many classes there are."""
    counts = torch.bincount(labels, minlength=num_classes).tolist()
    return list(labels.argsort(stable=True).split(counts))[:num_classes]


def labelling(labels: Tensor, class_names: Sequence[str]) -> str:
    """32 hex digits over the labels and class names alone."""
    return digest_over([json.dumps(list(class_names)).encode(), labels.cpu().numpy().astype("<i8")])


def index_classes(
    values: dict[str, Sequence[Any]], names: Sequence[str] | None = None
) -> tuple[list[str], list[Tensor]]:
    """Labels as they are stored (numbers or texts), per split, as class names and int64 class indices.

    The first split is the training split. With `names`, the stored label i is the class names[i]; without, the sorted
    labels of the training split are the classes. A blank name becomes `class` and its number. Raises DataError for an
    empty split, for labels that are missing (None or -1) or unknown, and for a class without a training image.
    """
    train = next(iter(values.values()))
    known = range(len(names)) if names is not None else sorted({value for value in train if value is not None})
    class_names = [str(name) if str(name).strip() else f"class {i}" for i, name in enumerate(names or known)]
    index = {value: i for i, value in enumerate(known)}
    labels = [_index_labels(split, index, name) for name, split in values.items()]
    counts = torch.bincount(labels[0], minlength=len(class_names)).tolist()
    if empty := [name for name, count in zip(class_names, counts, strict=True) if count == 0]:
        for split, own in zip([*values][1:], labels[1:], strict=True):
            if shown := [name for name in empty if class_names.index(name) in own.unique().tolist()]:
                raise DataError(
                    f"Split {split!r} has images of {plural(len(shown), 'class')} of which the training split has "
                    f"none: {some(shown)}. Add training images of them, or remove them there."
                )
        raise DataError(
            f"{len(empty)} of the {len(class_names)} classes have no training image: {some(empty)}. Give them some, "
            "or leave them out: remove empty folders, or save labels as texts, which are classes where they occur."
        )
    return class_names, labels


def _index_labels(values: Sequence[Any], index: dict[Any, int], split: str) -> Tensor:
    if not values:
        raise DataError(f"Split {split!r} holds no image.")
    if missing := sum(value is None or value == -1 for value in values):
        others = " Where -1 is a class as others are, save labels as texts." if {-1} < {*values} else ""
        raise DataError(
            f"{missing} of the {len(values)} images of split {split!r} have no label (None or -1). Remove them, or "
            f"choose a labelled split with --train_split or --test_split.{others}"
        )
    if unknown := Counter(value for value in values if value not in index):
        raise DataError(
            f"{unknown.total()} labels of split {split!r} ({some(sorted(unknown))}) are none of the {len(index)} "
            "classes of the training split."
        )
    return torch.tensor([index[value] for value in values], dtype=torch.int64)
