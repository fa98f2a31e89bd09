"""A distilled set as another tool stored it, before anything is made of it."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hf_dd.errors import DataError


@dataclass(frozen=True)
class ForeignSet:
    """A distilled set as another tool stored it.

    Attributes:
        name: the file, folder or repository that it was read from.
        format: see `formats`.
        pixels: (N, channels, height, width), as stored: whole numbers 0 … 255 of image files, or floats.
        labels: int64, (N,), the set's own numbers.
        soft_labels: float32, (N, classes): probabilities, or None.
        class_names: the set's own names of its labels, or None where it has only numbers.
        learning_rate: the one that was learned with the images, or None.
        accuracies: per architecture, those that its authors stored with it, in [0, 1].
        files: name and sha256 of every tensor file that was read.
        pin: `owner/name@sha` of a set from the Hub, or None.
        notes: what was done to images that were decoded, in sentences.
    """

    name: str
    format: str
    pixels: Tensor
    labels: Tensor
    soft_labels: Tensor | None = None
    class_names: list[str] | None = None
    learning_rate: float | None = None
    accuracies: dict[str, list[float]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    pin: str | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.pixels.ndim != 4 or 0 in self.pixels.shape:
            raise DataError(
                f"{self.name} holds images of the shape {tuple(self.pixels.shape)}; an import needs (images, "
                "channels, height, width), none of them 0."
            )
        if len(self.labels) != len(self.pixels):
            raise DataError(f"{self.name} holds {len(self.pixels)} images, but {len(self.labels)} labels.")
        if self.pixels.is_complex() or self.pixels.dtype == torch.bool or self.pixels.max() == self.pixels.min():
            raise DataError(
                f"{self.name} holds pixels of {self.pixels.dtype}, all {self.pixels.flatten()[0].item()} or of no "
                "images' type: save floats, or whole numbers 0 … 255."
            )
        if self.learning_rate is not None and not 0 < self.learning_rate < math.inf:
            raise DataError(
                f"{self.name} has a learning rate of {self.learning_rate}; it has to be a finite number above 0: "
                "state it by --learned_learning_rate."
            )
        if not torch.isfinite(self.pixels).all():
            bad = int((~torch.isfinite(self.pixels)).flatten(1).any(1).sum())
            raise DataError(f"{self.name} holds NaN or infinite pixels, in {bad} of its {len(self.pixels)} images.")
