"""Real images under the same protocol as the distilled sets, and the memory of what either scored.

A baseline costs as much as the set that it is compared with, and is the same for every set of a data set; an
evaluation of many students takes hours and may be interrupted. So scores are kept under the cache of `datasets`,
keyed by what was trained on, the data's fingerprint, the protocol, the student, the precision, and the version KEPT
of the code that they depend on.
"""

import dataclasses
import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from hf_dd.core import cache
from hf_dd.core.digests import new_digest
from hf_dd.core.precision import Autocast
from hf_dd.core.seeding import generator
from hf_dd.core.tensors import FLOAT_BYTES
from hf_dd.core.text import ipc_in_words
from hf_dd.data.batches import Images
from hf_dd.data.image_data import ImageData, of_each_class
from hf_dd.errors import DataError
from hf_dd.synthetic import coresets
from hf_dd.synthetic.distilled_set import DistilledSet, images_per_class, png_bytes
from hf_dd.teachers.crop_labels import CropLabels

KEPT = 3  # the version of what is kept of students: raise it with any change that changes an accuracy


@dataclass(frozen=True, eq=False)
class Candidate:
    """Images to train students on, what to call them, and the bytes that they take; equal to itself alone.

    Attributes:
        images: (N, channels, height, width): floats in [0, 1] space, or uint8.
        labels: int64, (N,).
        set_bytes: of a distilled set's copy as it is stored; None for real images.
        soft_labels: probabilities (N, classes), or (N, teachers, classes), or None.
        baseline: what kind of real images these are ('random', …), or None for a distilled set.
        learning_rate: of SGD, learned with the images, or None.
        factor: tiles per side of a stored image, of which these images were decoded.
        temperature, taught_by: of the soft labels, see `DistilledSet`.
        draw: gives draw k of the images of student i, where each has its own, so that the spread is that of draws and
            students.
        drawn: which of a student's draws these are of.
        selection_epochs: of the network by whose features a coreset was chosen; None for what is none.
        tiled: the stored images of tiles, where these were decoded.
        epoch_images: images that make an epoch of a student's training, where it isn't all of them.
        crop_labels: those that are stored with a distilled set, or None.
    """

    name: str
    copy: str
    images: Images
    labels: Tensor
    set_bytes: int | None = None
    soft_labels: Tensor | None = None
    baseline: str | None = None
    learning_rate: float | None = None
    factor: int = 1
    temperature: float = 1.0
    taught_by: tuple[str, ...] = ()
    draw: Callable[[int, int], "Candidate"] | None = None
    drawn: int = 0
    selection_epochs: int | None = None
    tiled: "Candidate | None" = None
    epoch_images: int | None = None
    crop_labels: CropLabels | None = None

    def of_student(self, student: int) -> "Candidate":
        """What this student trains on: the same for all, but for baselines that are drawn."""
        return self.draw(student, self.drawn) if self.draw else self

    @property
    def shown_ipc(self) -> float:
        """Images per class that students see in an epoch, tiles one by one; of classes that differ, their mean."""
        return (self.epoch_images or len(self.images)) / len(self.labels.unique())

    @functools.cached_property
    def identity(self) -> list:
        """What students are trained on, JSON-able: how real images were chosen, or a digest of a distilled set."""
        if self.baseline:
            return [self.baseline, self.ipc, self.selection_epochs, *([self.drawn] if self.drawn else [])]
        digest = new_digest()
        for values in (self.images, self.labels, self.soft_labels):
            if values is not None:
                digest.update(json.dumps([str(values.dtype), list(values.shape)]).encode())
                digest.update(values.contiguous().cpu().numpy())
        return ["set", digest.hexdigest(), self.factor, self.temperature]

    @functools.cached_property
    def bytes(self) -> int:
        """What this copy's images take as they are stored, and real ones as a distilled set's 8-bit copy would."""
        return png_bytes(self.images) if self.set_bytes is None else self.set_bytes

    @property
    def ipc(self) -> int | tuple[int, ...]:
        """Stored images per class, see `images_per_class`."""
        return images_per_class(self.labels, self.factor)

    @property
    def soft_label_bytes(self) -> int:
        """What the soft labels take beside the images: in float32, and those of crops in their files."""
        of_crops = 0 if self.crop_labels is None else self.crop_labels.stored_bytes
        return of_crops + (0 if self.soft_labels is None else self.soft_labels.numel() * FLOAT_BYTES)


def candidates_of(
    name: str, distilled: DistilledSet, data: ImageData, copies: Sequence[str], learning_rate: float | None = None
) -> list[Candidate]:
    """The copies of a distilled set; raises DataError where it doesn't fit the data set that it is tested on."""
    data.require_classes(distilled.class_names, name)
    images = {copy: distilled.copy(copy) for copy in copies}
    for own in images.values():
        if tuple(own.shape[1:]) != (data.channels, *data.image_size):
            raise DataError(
                f"{name} has images of {tuple(own.shape[1:])} (channels, height, width), but {data.name} of "
                f"{(data.channels, *data.image_size)}. Name the right data set by --dataset, or its --image_size."
            )
    data.require_all_classes(distilled.labels, name)
    tiled: dict[str, Candidate] = {}
    if distilled.tiled is not None:
        stored = candidates_of(name, distilled.tiled, data, copies, learning_rate)
        tiled = {own.copy: own for own in stored}
    return [
        Candidate(
            name,
            copy,
            own,
            distilled.labels,
            distilled.bytes(copy),
            distilled.soft_labels,
            learning_rate=learning_rate,
            factor=distilled.factor,
            temperature=distilled.temperature,
            taught_by=distilled.taught_by,
            crop_labels=distilled.crop_labels,
            tiled=tiled.get(copy),
        )
        for copy, own in images.items()
    ]


def baseline(
    kind: str, data: ImageData, ipc: coresets.Ipc | None, seed: int, autocast: Autocast, epochs: int = 0
) -> Candidate:
    """`ipc` real images of each class, chosen as `kind` says, or all of them for 'full'; on the data's device.

    `ipc` may be a number for each class: as many as the distilled set has of it; `epochs` are those of the network by
    whose features herding and k-centers choose, or of the training that the others look at. Raises DataError where a
    class has fewer, and ConfigError for an unknown kind.
    """
    if kind == "full":
        return Candidate("full set", "8bit", data.train.images, data.train.labels, baseline=kind)
    data.require_ipc(ipc)
    if kind == "random":
        draw = functools.partial(random_real, data, ipc, seed)
        return dataclasses.replace(draw(0, 0), draw=draw)
    epochs = coresets.epochs_of(kind, epochs)
    chosen = coresets.select(data, kind, ipc, seed, epochs=epochs, autocast=autocast)
    trained = f" by a network of {epochs} epochs" if epochs else ""
    return dataclasses.replace(
        real_images(data, chosen, kind, f"{kind}{trained}, ipc {ipc_in_words(ipc)}"), selection_epochs=epochs
    )


def random_real(data: ImageData, ipc: coresets.Ipc, seed: int, student: int, draw: int = 0) -> Candidate:
    """`ipc` real images of each class, drawn without replacement: draw `draw` for a student."""
    counts = enumerate(of_each_class(ipc, data.num_classes))
    again = [draw] if draw else []
    draws = [data.sample_class(c, count, generator(seed, "random-real", student, c, *again)) for c, count in counts]
    return real_images(data, torch.cat(draws), "random", f"random real, ipc {ipc_in_words(ipc)}")


def real_images(data: ImageData, chosen: Tensor, kind: str, name: str) -> Candidate:
    """The real training images of these indices."""
    chosen = chosen.to(data.device)
    images = data.train.images[chosen]
    return Candidate(name, "8bit", images, data.train.labels[chosen], baseline=kind)


def score_file(identity: list) -> Path:
    """Where the score of a student is kept that follows from all of this."""
    return cache.place_of("scores", KEPT, identity)
