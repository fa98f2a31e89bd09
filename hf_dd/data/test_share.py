"""A test split for data that have none: a share of each class's training images, held out before anything else."""

import dataclasses

import torch

from hf_dd.core.seeding import generator
from hf_dd.data.splits import Source, by_class
from hf_dd.errors import DataError, some


def with_test_share(source: Source, share: float) -> Source:
    """A source without a test split, with this share of each class's training images (at least one) as one.

    The draw is by no run's seed: every run on the data holds out the same images, as teachers, sets and students that
    are to be compared have to. Raises DataError where a class has no image to spare.
    """
    labels = source.train.labels
    members = by_class(labels, len(source.class_names))
    if short := [name for name, own in zip(source.class_names, members, strict=True) if len(own) < 2]:
        raise DataError(
            f"--test_share {share:g} of the training images of {source.name}: {some(short)} has one image alone. Give "
            "each class at least two, or leave --test_share out."
        )
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for label, own in enumerate(members):
        count = min(max(1, round(share * len(own))), len(own) - 1)
        chosen[own[torch.randperm(len(own), generator=generator(0, "test share", label))[:count]]] = True
    train, test = (source.train.taken(rows.nonzero().flatten()) for rows in (~chosen, chosen))
    note = f"{len(test)} of {len(labels)} images, drawn from each class, are held out as its test split."
    called = f"{share:g} of {source.train_split}"
    return dataclasses.replace(source, train=train, test=test, test_split=called, notes=(*source.notes, note))
