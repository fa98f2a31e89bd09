"""What is done to an image before a pre-trained model sees it, as a differentiable function of images in [0, 1] space.

Libraries of pre-trained models prepare 8-bit images with PIL; this does the same to float tensors: channels, resize,
centre crop, and last the statistics. Filters are torch's antialiased ones, which are PIL's.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as PIL's conversion to grayscale


@dataclass(frozen=True)
class InputTransform:
    """From images in [0, 1] space to what a model takes.

    Attributes:
        channels: 1 or 3.
        mean: per channel, in [0, 1] space.
        std: per channel, in [0, 1] space.
        resize: (height, width), or None to leave the size as it is.
        keep_ratio: whether the image keeps its shape: then it is as large as it has to be to cover `resize`
            ('cover'), or as it may be to lie inside it ('inside').
        filter: 'bilinear' or 'bicubic', antialiased, or 'nearest-exact'.
        crop: (height, width) of the centre crop, None for none; an image that is smaller is padded.
        crop_rounds: where the crop begins if an odd number of pixels is cut off: libraries differ.
        pad: per channel, in [0, 1] space: what it is padded with.
    """

    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: tuple[int, int] | None = None
    keep_ratio: Literal["cover", "inside"] | None = None
    filter: Literal["bilinear", "bicubic", "nearest-exact"] = "bilinear"
    crop: tuple[int, int] | None = None
    crop_rounds: Literal["down", "half-even"] = "down"
    pad: tuple[float, ...] = (0.0, 0.0, 0.0)

    @property
    def image_size(self) -> tuple[int, int] | None:
        """(height, width) that the model sees, where it is the same for all images."""
        return self.crop or (None if self.keep_ratio else self.resize)

    def place(self, images: Tensor) -> Tensor:
        """Images (N, 1 or 3, height, width) with the model's channels and size, still in [0, 1] space.

        Grayscale is repeated to RGB; RGB is reduced by its luma (BT.601).
        """
        images = with_channels(images, self.channels)
        if (size := self.size_of(images)) != tuple(images.shape[-2:]):
            images = resized(images, size, self.filter)
        return images if self.crop is None else self.cropped(images, self.crop)

    def size_of(self, images: Tensor) -> tuple[int, int]:
        """(height, width) that images of this shape are resized to."""
        height, width = images.shape[-2:]
        if self.resize is None:
            return height, width
        if self.keep_ratio is None:
            return self.resize
        scales = self.resize[0] / height, self.resize[1] / width
        if self.keep_ratio == "cover" and self.resize[0] == self.resize[1]:  # of the shorter side, cut off as PIL's
            side = self.resize[0]
            return (side, int(side * width / height)) if height <= width else (int(side * height / width), side)
        scale = max(scales) if self.keep_ratio == "cover" else min(scales)
        return round(height * scale), round(width * scale)

    def cropped(self, images: Tensor, size: tuple[int, int]) -> Tensor:
        """The middle (height, width) of images, surrounded by `pad` where they are smaller."""
        missing = [max(0, wanted - there) for wanted, there in zip(size, images.shape[-2:], strict=True)]
        if any(missing):
            (top, left), (bottom, right) = [n // 2 for n in missing], [math.ceil(n / 2) for n in missing]
            fill = images.new_tensor(self.pad[: images.shape[1]]).view(1, -1, 1, 1)
            images = F.pad(images - fill, (left, right, top, bottom)) + fill
        halves = [(there - wanted) / 2 for wanted, there in zip(size, images.shape[-2:], strict=True)]
        top, left = map(round if self.crop_rounds == "half-even" else math.floor, halves)
        return images[..., top : top + size[0], left : left + size[1]]

    def __call__(self, images: Tensor) -> Tensor:
        """Images (N, 1 or 3, height, width) in [0, 1] space as the model takes them."""
        mean, std = (images.new_tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))
        return (self.place(images) - mean) / std

    def __str__(self) -> str:
        words = ["gray" if self.channels == 1 else "RGB"]
        if self.resize:
            how = {"cover": "to cover ", "inside": "into ", None: "to "}[self.keep_ratio]
            words.append(f"{self.filter} {how}{self.resize[0]}×{self.resize[1]}")
        if self.crop:
            words.append(f"centre crop {self.crop[0]}×{self.crop[1]}")
        statistics = (", ".join(f"{value:.4g}" for value in values) for values in (self.mean, self.std))
        return ", ".join([*words, "mean {}, std {}".format(*statistics)])


def with_channels(images: Tensor, channels: int) -> Tensor:
    """Images (N, 1 or 3, height, width) with 1 or 3 channels: gray repeated, or RGB's luma."""
    if images.shape[1] == channels:
        return images
    if channels == 3:
        return images.expand(-1, 3, -1, -1)
    return (images * images.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)


def resized(images: Tensor, size: tuple[int, int], filter: str) -> Tensor:
    """Images of another size, along their rows first and then their columns, as PIL goes.

    What a cubic filter overshoots in either direction is cut off, as 8 bits do, but not from the gradient. Pixels that
    are outside of [0, 1] stay there.
    """
    if filter == "nearest-exact":
        return F.interpolate(images, size, mode=filter)
    lowest, highest = (bound.detach().view(-1, 1, 1, 1) for bound in images.flatten(1).aminmax(dim=1))
    for step in ((images.shape[2], size[1]), size):
        if step != tuple(images.shape[2:]):
            images = F.interpolate(images, step, mode=filter, antialias=True, align_corners=False)
            inside = images.detach().maximum(lowest.clamp(max=0)).minimum(highest.clamp(min=1))
            images = images + (inside - images.detach()) if filter == "bicubic" else images
    return images
