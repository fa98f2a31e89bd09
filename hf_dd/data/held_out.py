"""A tenth of the training images, held out for whatever is to be chosen: the test split never is."""

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from hf_dd.core.seeding import generator
from hf_dd.data.image_data import ImageData, facts_of
from hf_dd.data.splits import Split, by_class
from hf_dd.errors import DataError

VALIDATION_SHARE = 0.1


def held_out_of(images: int) -> int:
    """How many of a class's training images are held out."""
    return max(1, round(VALIDATION_SHARE * images))


def validation_rows(data: ImageData, seed: int) -> Tensor:
    """Indices of a tenth of each class's training images (at least one), int64, on the data's device."""
    held = [
        data.sample_class(label, held_out_of(len(members)), generator(seed, "validation", label))
        for label, members in enumerate(data.class_index)
    ]
    return torch.cat(held).to(data.device)


def validation_of(data: ImageData, seed: int) -> ImageData:
    """The data set with a tenth of each class's training images (at least one) where its test split was."""
    return dataclasses.replace(data, test=data.train.taken(validation_rows(data, seed)))


def rest_rows(data: ImageData, seed: int) -> Tensor:
    """Indices of the training images that `validation_of` leaves, int64, on the data's device."""
    kept = torch.ones(len(data.train), dtype=torch.bool, device=data.device)
    kept[validation_rows(data, seed)] = False
    return kept.nonzero().flatten()


def rest_of(data: ImageData, seed: int) -> Split:
    """The training images that `validation_of` leaves."""
    return data.train.taken(rest_rows(data, seed))


def held_out(data: ImageData, seed: int, most: int | None = None, most_tested: int | None = None) -> ImageData:
    """A data set to distil and to choose on: a tenth of the training images as its test split, the rest to train on.

    Statistics and fingerprint are those of the rest, so nothing that is remembered of the whole set is taken for it.
    Raises DataError for a class of a single image.

    Args:
        data: the real set.
        seed: of what is held out.
        most: images of each class to train on, where more are left.
        most_tested: images of the test split, where it would be larger; classes keep their shares, and one image.
    """
    for name, members in zip(data.class_names, data.class_index, strict=True):
        if held_out_of(len(members)) == len(members):
            raise DataError(
                f"Class {name!r} of {data.name} has 1 training image, and it would be held out to choose by: give "
                "it another, or leave the class out."
            )
    rest, tested = rest_rows(data, seed), validation_rows(data, seed)
    share = 1.0 if most_tested is None else min(1.0, most_tested / len(tested))
    train = data.train.taken(part(data, rest, seed, lambda size: size if most is None else min(size, most)))
    test = data.train.taken(part(data, tested, seed, lambda size: max(1, round(share * size))))
    facts = facts_of(train, data.class_names)
    if data.statistics:
        facts |= {"mean": data.mean, "std": data.std}
    return dataclasses.replace(data, train=train, test=test, **facts)


def part(data: ImageData, rows: Tensor, seed: int, size: Callable[[int], int]) -> Tensor:
    """Of these rows of the training split, in their order, as many of each class as `size` takes of so many."""
    drawn = []
    for label, own in enumerate(by_class(data.train.labels[rows], data.num_classes)):
        order = torch.randperm(len(own), generator=generator(seed, "part", label))[: size(len(own))]
        drawn.append(own[order.to(own.device)])
    return rows[torch.cat(drawn).sort().values]
