"""From stored pixels back to the images' own [0, 1] space: by what was stated, or by what the statistics say.

The field stores normalised tensors without their statistics. Distilled images keep about the mean and the spread of
the real ones, so the inverse that brings a set nearest to its source's mean and std is likely the right one.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from hf_dd.config.known_data import IMAGENET, STATISTICS
from hf_dd.data.image_data import ImageData
from hf_dd.data.whitening import moments
from hf_dd.errors import ConfigError, DataError
from hf_dd.nn.whitening import EPSILON

ZCA_LIMIT = 4096  # values per image: the covariance of 36×36 RGB images has 16 million entries
# Distance at which a set is as likely normalised in a way that isn't known here. Optimised images have more contrast
# than real ones: sets of DM on digits are 0.9 away from real ones if they started there, 1.4 from noise.
NOTHING_FITS = 2.0
ZCA_FROM = 0.5  # distance of the best of the others from which whitening is tried: it takes a minute at CIFAR's size
SHARPNESS = 0.25  # difference of distances that makes one normalisation e times likelier than another
FIELD_PRIOR = 3.0  # how much likelier the field's constants are than the exact ones, where both are known
SURE, LIKELY, LEAST = 0.95, 0.8, 0.5  # confidences

# What the field's code divides by, where that isn't the train split's own std: the sources they are meant for have a
# mean within the tolerance.
FIELD_STATISTICS = {"cifar10": (*STATISTICS["cifar10"][:2], 0.01), "imagenet": (*IMAGENET[:2], 0.02)}


@dataclass(frozen=True)
class Normalisation:
    """How a set's pixels were normalised, and how that is known.

    Attributes:
        name: 'none', 'source', 'zca', one of FIELD_STATISTICS, or 'mean and std'.
        stated: whether the user said so.
        confidence: in [0, 1]; 1 for what was stated.
        distance: of the images in own space from the source's statistics, see `distance`.
        others: the distances of the other normalisations that were tried.
        mean, std: what the pixels are multiplied by and added to, per channel; None for 'none' and 'zca'.
    """

    name: str
    stated: bool
    confidence: float
    distance: float
    others: dict[str, float] = field(default_factory=dict)
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    @property
    def certainty(self) -> str:
        """The confidence in words."""
        if self.stated:
            return "stated by whoever imported it"
        words = "very sure" if self.confidence >= SURE else "fairly sure" if self.confidence >= LIKELY else "a guess"
        return f"detected, {words} ({self.confidence:.2f})"

    def as_dict(self) -> dict[str, Any]:
        """JSON-able values, `certainty` among them."""
        lists = {"mean": self.mean and list(self.mean), "std": self.std and list(self.std)}
        return asdict(self) | lists | {"certainty": self.certainty}


def unwhitening(data: ImageData) -> Callable[[Tensor], Tensor]:
    """What undoes the ZCA whitening that MTT's code fits to training images in [0, 1] space through kornia.

    It multiplies by U diag(sqrt(eigenvalue + 0.1)) Uᵀ and adds the mean, in float64; the dtype stays. Raises DataError
    where an image has more than ZCA_LIMIT values, as the matrix has their square.
    """
    size = data.channels * math.prod(data.image_size)
    if size > ZCA_LIMIT:
        raise DataError(
            f"The ZCA whitening of {data.name} takes a matrix of {size} by {size}; up to {ZCA_LIMIT} values per "
            "image are possible. Import the un-whitened copy (images_zca_N.pt of MTT) by --normalisation none."
        )
    mean, covariance = moments(data.train.images)
    eigenvalues, vectors = torch.linalg.eigh(covariance)
    inverse = (vectors * (eigenvalues.clamp(min=0) + EPSILON).sqrt()) @ vectors.T

    def undo(pixels: Tensor) -> Tensor:
        own = pixels.flatten(1).double() @ inverse + mean
        return own.view_as(pixels).to(pixels.dtype)

    return undo


def to_own_space(
    pixels: Tensor, data: ImageData, stated: str, mean: list[float], std: list[float]
) -> tuple[Tensor, Normalisation]:
    """The images in their own [0, 1] space, unclipped, and the normalisation that was undone.

    Args:
        pixels: (N, channels, height, width), of the source's shape; uint8 are images already.
        data: the source.
        stated: 'auto', 'none', 'source', 'zca', or one of FIELD_STATISTICS.
        mean: stated, per channel, or empty.
        std: stated with it.

    Raises ConfigError for statistics that don't fit the channels, and DataError where nothing known fits the pixels.
    """
    if not pixels.is_floating_point():
        if stated not in ("auto", "none") or mean:
            raise ConfigError("Image files and whole numbers are not normalised: leave --normalisation out.")
        if pixels.min() < 0 or pixels.max() > 255:
            raise DataError(f"Pixels are whole numbers up to {int(pixels.max())}; only 0 … 255 are images.")
        own = pixels.float() / 255
        return own, Normalisation("none", stated == "none", 1.0, distance(own, data))
    if mean:
        if len(mean) != data.channels:
            raise ConfigError(f"--mean and --std have {len(mean)} values; {data.name} has {data.channels} channels.")
        statistics = tuple(mean), tuple(std)
        own = _scaled(pixels, *statistics)
        return own, Normalisation("mean and std", True, 1.0, distance(own, data), {}, *statistics)
    if stated != "auto":
        own = _inverse(stated, data)(pixels)
        return own, Normalisation(stated, True, 1.0, distance(own, data), {}, *_statistics(stated, data))
    return _detect(pixels, data)


def distance(own: Tensor, data: ImageData) -> float:
    """How far images in [0, 1] space are from the source's: 0 for its own images.

    Per channel |Δ mean| / std + |log of the ratio of the stds|, averaged, and the share of the values outside of
    [-0.25, 1.25], which hardly any image has.
    """
    mean, std = (torch.tensor(values, dtype=torch.float64) for values in (data.mean, data.std))
    values = own.double().transpose(0, 1).flatten(1)
    spread = values.std(1, correction=0).clamp(min=1e-6)
    apart = (values.mean(1) - mean).abs() / std + (spread / std).log().abs()
    outside = ((values < -0.25) | (values > 1.25)).double().mean()
    return (apart.mean() + outside).item()


def _detect(pixels: Tensor, data: ImageData) -> tuple[Tensor, Normalisation]:
    """The normalisation whose inverse fits best; its confidence is its share among all, with one for none of them."""
    own = {name: _inverse(name, data)(pixels) for name in _candidates(data)}
    distances = {name: distance(images, data) for name, images in own.items()}
    if min(distances.values()) > ZCA_FROM and data.channels * math.prod(data.image_size) <= ZCA_LIMIT:
        own["zca"] = _inverse("zca", data)(pixels)
        distances["zca"] = distance(own["zca"], data)
    weights = {
        name: (FIELD_PRIOR if name in FIELD_STATISTICS else 1.0) * math.exp(-apart / SHARPNESS)
        for name, apart in distances.items()
    }
    best = max(weights, key=weights.__getitem__)
    confidence = weights[best] / (sum(weights.values()) + math.exp(-NOTHING_FITS / SHARPNESS))
    if confidence < LEAST:
        listed = ", ".join(f"{name} {apart:.2f}" for name, apart in sorted(distances.items(), key=lambda x: x[1]))
        raise DataError(
            f"The normalisation can't be told from the pixels: distances from the statistics of {data.name} are "
            f"{listed}. State it by --normalisation, or by --mean and --std."
        )
    others = {name: apart for name, apart in distances.items() if name != best}
    return own[best], Normalisation(best, False, confidence, distances[best], others, *_statistics(best, data))


def _candidates(data: ImageData) -> list[str]:
    """The normalisations that are cheap to try; at most one of the field's statistics."""
    names = ["none", "source"]
    for name, (mean, _, tolerance) in FIELD_STATISTICS.items():
        if data.channels == len(mean) and all(
            abs(known - own) <= tolerance for known, own in zip(mean, data.mean, strict=True)
        ):
            return [*names, name]
    return names


def _inverse(name: str, data: ImageData) -> Callable[[Tensor], Tensor]:
    """What takes pixels of this normalisation to their own space; raises ConfigError or DataError if it can't."""
    if name == "none":
        return lambda pixels: pixels
    if name == "zca":
        return unwhitening(data)
    mean, std = _statistics(name, data)
    if len(mean) != data.channels:
        raise ConfigError(f"--normalisation {name} is of {len(mean)} channels; {data.name} has {data.channels}.")
    return partial(_scaled, mean=mean, std=std)


def _statistics(name: str, data: ImageData) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    if name == "source":
        return data.mean, data.std
    return FIELD_STATISTICS[name][:2] if name in FIELD_STATISTICS else (None, None)


def _scaled(pixels: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Each channel times std plus mean, in the pixels' dtype as `SyntheticSet.own_space` does it."""
    scale, shift = (torch.tensor(values, dtype=pixels.dtype).view(-1, 1, 1) for values in (std, mean))
    return pixels * scale + shift
