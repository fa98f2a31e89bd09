"""Differentiable Siamese augmentation (Zhao & Bilen, ICML 2021, section 3.2), as pure functions of images and draws.

`draw` makes parameters from an explicit generator and `apply` carries them out, one draw for each image. Siamese
training expands one draw per class to every image of the class, in the real and in the synthetic batch alike; an
evaluation draws for each image. One operation is taken for an image, or, of a composite augmentation (IDC, Kim et al.,
ICML 2022, and its successors), several in turn: the flip, then the colours, then one of crop, scale and rotate, then
the cutout, as far as they are named. The strengths are the published ones. All arithmetic on the draws themselves is
done on the CPU in float64, so one draw means one transform on every device and in every precision, and the choice of
the operations waits for no device.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional

from hf_dd.core.strategies import COMPOSITE, STRATEGY

STAGES = (("flip",), ("color",), ("crop", "scale", "rotate"), ("cutout",))  # of a composite augmentation

CROP_SHIFT = 0.125  # of the side, in either direction
CUTOUT_SIDE = 0.5  # of the side
SCALE = 1.2
ROTATION = 15.0  # degrees, in either direction

_MAGNITUDES = 3  # the most that one operation needs: color's brightness, saturation and contrast
_NO_OPERATION = -1


@dataclass(frozen=True)
class Draws:
    """Independent draws, one a row of each tensor, all on the CPU; a tensor may be None."""

    def __len__(self) -> int:
        return next(len(tensor) for tensor in vars(self).values() if tensor is not None)

    def expand(self, index: Tensor | Sequence[int]) -> Self:
        """Draws whose row i is this object's row index[i]; `index` (N,) holds whole numbers, such as labels."""
        index = torch.as_tensor(index, dtype=torch.int64, device="cpu")
        return type(self)(*(None if tensor is None else tensor[index] for tensor in vars(self).values()))


@dataclass(frozen=True)
class AugmentParameters(Draws):
    """Independent draws, each of one operation and of its magnitudes.

    `operation` (count,) int64 indexes STRATEGY, or is -1 for no operation. `magnitudes` (count, 3) float32 holds
    uniform numbers in [0, 1), of which an operation reads as many as it needs.
    """

    operation: Tensor
    magnitudes: Tensor


@dataclass(frozen=True)
class CompositeParameters(Draws):
    """Independent draws, each of as many operations as there are stages, with their magnitudes.

    `operations` (count, stages) int64 and `magnitudes` (count, stages, 3) float32, as in `AugmentParameters`.
    """

    operations: Tensor
    magnitudes: Tensor

    def stages(self) -> list[AugmentParameters]:
        """What is done in turn."""
        pairs = zip(self.operations.unbind(1), self.magnitudes.unbind(1), strict=True)
        return [AugmentParameters(*pair) for pair in pairs]


def draw(count: int, strategy: Sequence[str], generator: torch.Generator) -> AugmentParameters | CompositeParameters:
    """`count` independent draws: an operation chosen uniformly from `strategy` (none if empty), and its magnitudes.

    Of a composite strategy an operation of each stage. `strategy` comes from `parse_strategy`; `generator` lives on
    the CPU. Nothing else is read or changed.
    """
    if COMPOSITE in strategy:
        listed = [[each for each in stage if each in strategy] for stage in STAGES]
        drawn = [draw(count, stage, generator) for stage in listed if stage]
        parts = [[getattr(stage, name) for stage in drawn] for name in ("operation", "magnitudes")]
        return CompositeParameters(*(torch.stack(part, 1) for part in parts))
    choices = torch.tensor([STRATEGY.index(operation) for operation in strategy] or [_NO_OPERATION])
    chosen = torch.randint(len(choices), (count,), generator=generator)
    magnitudes = torch.rand(count, _MAGNITUDES, generator=generator, dtype=torch.float32)
    return AugmentParameters(choices[chosen], magnitudes)


def by_one_operation(parameters: AugmentParameters | CompositeParameters) -> AugmentParameters | CompositeParameters:
    """The draws of a batch with the first one's operations for all, as the papers' code, and their own magnitudes."""
    operations, magnitudes = vars(parameters).values()
    return type(parameters)(operations[:1].expand_as(operations), magnitudes)


def apply(images: Tensor, parameters: AugmentParameters | CompositeParameters) -> Tensor:
    """Each image transformed by its own row of the parameters, differentiably and not in place.

    Takes images (N, C, H, W) of a floating dtype and any range, on any device; gives the same shape, dtype and device.
    Half precisions are computed in float32. What one image becomes doesn't depend on the rest of the batch. Raises
    ValueError where the images are no floating batch of this form, or are not as many as the parameters.
    """
    if images.ndim != 4 or not images.is_floating_point() or len(images) != len(parameters):
        given = f"{images.dtype} {tuple(images.shape)}"
        raise ValueError(f"{len(parameters)} draws need as many floating images (N, C, H, W), not {given}")
    if isinstance(parameters, CompositeParameters):
        for stage in parameters.stages():
            images = apply(images, stage)
        return images
    precise = images.float() if images.dtype in (torch.bfloat16, torch.float16) else images
    operations = parameters.operation.unique().tolist()
    if len(operations) == 1:
        return _transform(precise, operations[0], parameters.magnitudes).to(images.dtype)
    groups = [(parameters.operation == operation).nonzero().flatten() for operation in operations]
    transformed = [
        _transform(precise.index_select(0, rows.to(images.device)), operation, parameters.magnitudes[rows])
        for operation, rows in zip(operations, groups, strict=True)
    ]
    original_order = torch.cat(groups).argsort().to(images.device)
    return torch.cat(transformed).index_select(0, original_order).to(images.dtype)


def _transform(images: Tensor, operation: int, magnitudes: Tensor) -> Tensor:
    if operation == _NO_OPERATION:
        return images
    return _OPERATIONS[STRATEGY[operation]](images, magnitudes.double())


def _color(images: Tensor, magnitudes: Tensor) -> Tensor:
    """Brightness, then saturation about each pixel's mean, then contrast about each image's mean."""
    brightness, saturation, contrast = magnitudes.to(images)[:, :, None, None, None].unbind(1)
    images = images + (brightness - 0.5)
    pixel_mean = images.mean(dim=1, keepdim=True)
    images = (images - pixel_mean) * (2 * saturation) + pixel_mean
    image_mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return (images - image_mean) * (contrast + 0.5) + image_mean


def _crop(images: Tensor, magnitudes: Tensor) -> Tensor:
    """A window of the image's own size, shifted by whole pixels; zero outside the image."""
    height, width = images.shape[2:]
    rows = _shifted_positions(magnitudes[:, 0], height).to(images.device)
    columns = _shifted_positions(magnitudes[:, 1], width).to(images.device)
    border_y, border_x = _pixels(CROP_SHIFT, height), _pixels(CROP_SHIFT, width)
    padded = functional.pad(images, (border_x, border_x, border_y, border_y))
    # One flat gather: several times faster on a CPU, backward included, than indexing rows and columns.
    positions = rows[:, :, None] * padded.shape[3] + columns[:, None, :]
    positions = positions.flatten(1)[:, None].expand(-1, images.shape[1], -1)
    return padded.flatten(2).gather(2, positions).unflatten(2, (height, width))


def _shifted_positions(uniform: Tensor, side: int) -> Tensor:
    """Where a shifted window of `side` pixels reads in the padded image, (N, side)."""
    start = (uniform * (2 * _pixels(CROP_SHIFT, side) + 1)).long()
    return start[:, None] + torch.arange(side)


def _cutout(images: Tensor, magnitudes: Tensor) -> Tensor:
    """A zero square, or rectangle of the image's proportions, about a random centre, clipped at the border."""
    height, width = images.shape[2:]
    rows = _inside_cutout(magnitudes[:, 0], height).to(images.device)
    columns = _inside_cutout(magnitudes[:, 1], width).to(images.device)
    return images.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0)


def _inside_cutout(uniform: Tensor, side: int) -> Tensor:
    """Which positions along a side the cutout covers, (N, side); an even length is centred between two pixels."""
    length = _pixels(CUTOUT_SIDE, side)
    centre = (uniform * (side + 1 - length % 2)).long()
    offset = torch.arange(side) - (centre - length // 2)[:, None]
    return (offset >= 0) & (offset < length)


def _flip(images: Tensor, magnitudes: Tensor) -> Tensor:
    """Left and right exchanged, with probability 0.5."""
    flipped = (magnitudes[:, 0] < 0.5).to(images.device)
    return torch.where(flipped[:, None, None, None], images.flip(3), images)


def _scale(images: Tensor, magnitudes: Tensor) -> Tensor:
    """Each axis shrunk or enlarged on its own: what the output reads at x lies at factor·x of the input."""
    factors = magnitudes[:, :2] * (SCALE - 1 / SCALE) + 1 / SCALE
    return _sample(images, torch.diag_embed(factors))


def _rotate(images: Tensor, magnitudes: Tensor) -> Tensor:
    """A turn about the centre, rigid in pixels whatever the image's proportions."""
    height, width = images.shape[2:]
    angle = (magnitudes[:, 0] - 0.5) * (2 * math.radians(ROTATION))
    cosine, sine = angle.cos(), angle.sin()
    linear = torch.stack([cosine, -sine * height / width, sine * width / height, cosine], dim=1)
    return _sample(images, linear.unflatten(1, (2, 2)))


def _sample(images: Tensor, linear: Tensor) -> Tensor:
    """Bilinear reading at `linear` (N, 2, 2) times each position, zero outside the image.

    Positions run from -1 to 1 between the outer edges of the border pixels: align_corners is False.
    """
    affine = functional.pad(linear, (0, 1)).to(images)  # no translation
    grid = functional.affine_grid(affine, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _pixels(fraction: float, side: int) -> int:
    """A fraction of a side in whole pixels, halves rounded up as the paper's authors do."""
    return int(fraction * side + 0.5)


_OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "color": _color,
    "crop": _crop,
    "cutout": _cutout,
    "flip": _flip,
    "scale": _scale,
    "rotate": _rotate,
}
