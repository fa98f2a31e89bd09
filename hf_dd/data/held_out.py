"""A tenth of the training images, held out for whatever is to be chosen: the test split never is."""

import dataclasses

import torch
from torch import Tensor

from hf_dd.core.seeding import generator
from hf_dd.data.image_data import ImageData, facts_of
from hf_dd.data.splits import Split
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


def held_out(data: ImageData, seed: int) -> ImageData:
    """A data set to distil and to choose on: a tenth of the training images as its test split, the rest to train on.

    Statistics and fingerprint are those of the rest, so nothing that is remembered of the whole set is taken for it.
    Raises DataError for a class of a single image.
    """
    for name, members in zip(data.class_names, data.class_index, strict=True):
        if held_out_of(len(members)) == len(members):
            raise DataError(
                f"Class {name!r} of {data.name} has 1 training image, and it would be held out to choose by: give "
                "it another, or leave the class out."
            )
    train = rest_of(data, seed)
    facts = facts_of(train, data.class_names)
    if data.statistics:
        facts |= {"mean": data.mean, "std": data.std}
    return dataclasses.replace(validation_of(data, seed), train=train, **facts)
