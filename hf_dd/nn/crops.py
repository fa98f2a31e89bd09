"""Random resized crops (Szegedy et al., CVPR 2015), as pure functions of images and boxes.

`draw_boxes` makes boxes from an explicit generator, by the rule of torchvision's `RandomResizedCrop`; `resized_crop`
carries them out, differentiably, each image with its own box. Resampling is bilinear with antialiasing, as torchvision
and PIL do it. It is linear and its weights sum to 1, so normalising before or after a crop is the same.
"""

import math

import torch
from torch import Tensor

ATTEMPTS = 10  # draws of a shape, of which the first that fits into the image counts


def draw_boxes(
    count: int,
    image_size: tuple[int, int],
    generator: torch.Generator,
    *,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Tensor:
    """`count` independent boxes inside of images of `image_size` (height, width), in whole pixels.

    A box's area is a share of the image's, uniform in `scale`; its width over its height is log-uniform in `ratio`.
    Where none of ten draws fits, it is the largest centred box of an allowed ratio.

    Returns (top, left, height, width) of each, int64, (count, 4), on the CPU.
    """
    height, width = image_size
    draws = torch.rand(count, ATTEMPTS, 2, generator=generator, dtype=torch.float64)
    areas = height * width * (scale[0] + draws[..., 0] * (scale[1] - scale[0]))
    lowest, highest = (math.log(value) for value in ratio)
    ratios = (lowest + draws[..., 1] * (highest - lowest)).exp()
    heights, widths = (areas / ratios).sqrt().round().long(), (areas * ratios).sqrt().round().long()
    fits = (heights > 0) & (heights <= height) & (widths > 0) & (widths <= width)
    first = fits.int().argmax(1, keepdim=True)
    found = fits.any(1)
    largest_width = max(1, min(width, round(height * ratio[1])))
    largest_height = max(1, min(height, round(width / ratio[0])))
    heights = torch.where(found, heights.gather(1, first)[:, 0], largest_height)
    widths = torch.where(found, widths.gather(1, first)[:, 0], largest_width)
    sizes = torch.stack([heights, widths], dim=1)
    room = torch.tensor([height, width]) - sizes
    places = (torch.rand(count, 2, generator=generator, dtype=torch.float64) * (room + 1)).long()
    return torch.cat([torch.where(found[:, None], places, room // 2), sizes], dim=1)


def resized_crop(images: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """What each image shows inside of its box, brought to `size` (height, width); differentiable, not in place.

    Args:
        images: floating, (N, channels, height, width), of any range, on any device; half precisions are computed in
            float32.
        boxes: int64, (N, 4) or, one for all, (1, 4): top, left, height and width of each, inside of the image.
        size: of the result.

    Returns (N, channels, *size), of the images' dtype, on their device.
    """
    precise = images.float() if images.dtype in (torch.bfloat16, torch.float16) else images
    boxes = boxes.to(images.device)
    with torch.autocast(images.device.type, enabled=False):  # matrix products, but of pixels, not of a network
        rows = _weights(boxes[:, 0], boxes[:, 2], images.shape[2], size[0], precise.dtype)
        columns = _weights(boxes[:, 1], boxes[:, 3], images.shape[3], size[1], precise.dtype)
        return (rows[:, None] @ precise @ columns.mT[:, None]).to(images.dtype)


def _weights(starts: Tensor, lengths: Tensor, side: int, size: int, dtype: torch.dtype) -> Tensor:
    """How much each of `size` new pixels takes of each of the `side` old ones, (N, size, side).

    A triangle around its place, as wide as a new pixel or, where that is wider, an old one; nothing from outside of
    the box.
    """
    positions = torch.arange(side, device=starts.device, dtype=dtype) - starts[:, None].to(dtype)  # inside of the box
    steps = lengths.to(dtype)[:, None] / size
    centres = steps * (torch.arange(size, device=starts.device, dtype=dtype) + 0.5)
    distances = (positions[:, None, :] + 0.5 - centres[:, :, None]).abs() / steps.clamp(min=1)[:, :, None]
    inside = (positions >= 0) & (positions < lengths[:, None])
    weights = (1 - distances).clamp(min=0) * inside[:, None, :]
    return weights / weights.sum(2, keepdim=True)
