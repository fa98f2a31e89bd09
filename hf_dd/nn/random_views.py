"""Random views of images for frozen backbones: a mirror, a resized crop and noise, each image with its own draw.

The differentiable augmentation of Linear Gradient Matching (Cazenavette, Torralba & Sitzmann, NeurIPS 2025), with the
strengths of its authors' code: `draw` makes parameters from an explicit generator, `apply` carries them out. What one
image becomes depends on its own row of the parameters alone. Noise comes from a seed for each image, drawn where the
image is, as numbers for every pixel are too many to draw on the CPU: another kind of device gives other noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hf_dd.errors import require_known
from hf_dd.nn.augment import Draws
from hf_dd.nn.crops import draw_boxes, resized_crop

OPERATIONS = ("flip", "crop", "noise")
NOISE_MEAN, NOISE_STD = 0.5, 0.2  # in [0, 1] space
PROBABILITY = 0.5  # of a mirror, and of noise
NO_NOISE = -1


@dataclass(frozen=True)
class ViewParameters(Draws):
    """Draws for as many images.

    Attributes:
        mirrored: bool, (count,).
        boxes: int64, (count, 4), see `crops.draw_boxes`; None for no crop.
        noise_seeds: int64, (count,), or -1 for no noise.
    """

    mirrored: Tensor
    boxes: Tensor | None
    noise_seeds: Tensor


def parse_operations(text: str) -> tuple[str, ...]:
    """The operations in a name such as "flip_crop"; raises ConfigError for an unknown one."""
    operations = tuple(text.split("_"))
    for operation in operations:
        require_known("view", operation, OPERATIONS)
    return operations


def draw(
    count: int,
    operations: Sequence[str],
    image_size: tuple[int, int],
    generator: torch.Generator,
    smallest_area: float = 0.08,
) -> ViewParameters:
    """`count` independent draws.

    Args:
        count: of images.
        operations: some of OPERATIONS; where one is left out, the draws of the others stay as they are.
        image_size: (height, width) of the images.
        generator: on the CPU; nothing else is read or changed.
        smallest_area: of a crop, as a share of the image; the largest is the whole.
    """
    mirrored = torch.rand(count, generator=generator, dtype=torch.float64) < PROBABILITY
    noisy = torch.rand(count, generator=generator, dtype=torch.float64) < PROBABILITY
    seeds = torch.randint(2**62, (count,), generator=generator)
    boxes = draw_boxes(count, image_size, generator, scale=(smallest_area, 1.0))
    return ViewParameters(
        mirrored if "flip" in operations else torch.zeros_like(mirrored),
        boxes if "crop" in operations else None,
        torch.where(noisy, seeds, NO_NOISE) if "noise" in operations else torch.full_like(seeds, NO_NOISE),
    )


def apply(images: Tensor, parameters: ViewParameters) -> Tensor:
    """Each image in [0, 1] space, (N, channels, height, width), as its own row says; differentiable, not clipped.

    Raises ValueError where the images are not as many as the parameters.
    """
    if len(images) != len(parameters):
        raise ValueError(f"{len(parameters)} draws need as many images, not {len(images)}")
    mirrored = parameters.mirrored.to(images.device)[:, None, None, None]
    images = torch.where(mirrored, images.flip(3), images)
    if parameters.boxes is not None:
        images = resized_crop(images, parameters.boxes, images.shape[2:])
    return images + noise(parameters.noise_seeds, images) if bool((parameters.noise_seeds >= 0).any()) else images


def noise(seeds: Tensor, images: Tensor) -> Tensor:
    """What is added to images: normal noise from each one's seed, nothing where that is -1; alike in any dtype."""
    added = torch.zeros(images.shape, device=images.device)
    drawing = torch.Generator(images.device)
    for place, seed in enumerate(seeds.tolist()):
        if seed != NO_NOISE:
            added[place].normal_(NOISE_MEAN, NOISE_STD, generator=drawing.manual_seed(seed))
    return added.to(images.dtype)
