"""Multi-formation: several training images out of one stored image (IDC, Kim et al., ICML 2022, section 4.2).

With the factor f an image is cut into f×f tiles, each resized to the whole: f² training images from the same storage.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from hf_dd.errors import ConfigError

GREY = 0.5  # in [0, 1] space: what an image is filled up with whose side the factor doesn't divide


def decode_tiles(images: Tensor, factor: int, fill: float | Tensor = GREY) -> Tensor:
    """factor² images out of each, its tiles resized bilinearly; differentiable.

    Args:
        images: floating, (N, channels, height, width).
        factor: tiles per side.
        fill: what a side that it doesn't divide is filled up with: a number, or a tensor (channels, 1, 1).

    Returns (N * factor², channels, height, width): the tiles of the first image row by row, then those of the next.
    Raises ConfigError where a tile would be smaller than a pixel.
    """
    if factor == 1:
        return images
    height, width = images.shape[2:]
    rows, columns = tile_size((height, width), factor)
    edges = (0, columns * factor - width, 0, rows * factor - height)
    filled = F.pad(images, edges) + F.pad(torch.zeros_like(images[:1]), edges, value=1.0) * fill
    tiles = filled.unfold(2, rows, rows).unfold(3, columns, columns).permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
    return F.interpolate(tiles, (height, width), mode="bilinear", align_corners=False)


def encode_tiles(images: Tensor, factor: int) -> Tensor:
    """One image out of each factor², laid out as `decode_tiles` reads them; what doesn't fit is cut off.

    Args:
        images: floating, (N * factor², channels, height, width); each is shrunk bilinearly, with antialiasing.
        factor: tiles per side.

    Returns (N, channels, height, width).
    """
    if factor == 1:
        return images
    size = tile_size(images.shape[2:], factor)
    tiles = F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)
    return lay_out(tiles, factor, images.shape[2:])


def tile_size(image_size: Sequence[int], factor: int) -> tuple[int, int]:
    """(height, width) of the tiles of an image, rounded up; raises ConfigError where that is less than a pixel."""
    height, width = image_size
    if factor > min(height, width):
        raise ConfigError(f"--factor {factor} leaves tiles of less than a pixel of {height}×{width} images.")
    return math.ceil(height / factor), math.ceil(width / factor)


def lay_out(tiles: Tensor, factor: int, image_size: Sequence[int]) -> Tensor:
    """One image out of each factor² tiles of `tile_size`, row by row; what doesn't fit is cut off.

    Takes (N * factor², channels, rows, columns), gives (N, channels, *image_size).
    """
    grid = tiles.unflatten(0, (-1, factor, factor)).permute(0, 3, 1, 4, 2, 5)  # N, channels, row, y, column, x
    return grid.flatten(4, 5).flatten(2, 3)[:, :, : image_size[0], : image_size[1]]
