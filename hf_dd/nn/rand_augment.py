"""RandAugment (Cubuk et al., NeurIPS 2020) as torchvision has it: operations at random, one after another.

`draw` makes parameters from an explicit generator, and `apply` has torchvision carry them out, each image's own. The
operations, their strengths, the nearest pixel where an image is sheared, shifted or turned, and black where nothing of
it is left are those of `torchvision.transforms.RandAugment` on tensors; on PIL's images it may differ by a level.
"""

import math

import torch
from torch import Tensor

BINS = 31  # magnitudes 0 … 30, from nothing to the strongest
STRENGTHS = {  # at the largest magnitude, of what may go either way
    "ShearX": 0.3,
    "ShearY": 0.3,
    "TranslateX": 150 / 331,  # of the width
    "TranslateY": 150 / 331,  # of the height
    "Rotate": 30.0,  # degrees
    "Brightness": 0.9,
    "Color": 0.9,
    "Contrast": 0.9,
    "Sharpness": 0.9,
}
OPERATIONS = ("Identity", *STRENGTHS, "Posterize", "Solarize", "AutoContrast", "Equalize")


def strength(name: str, magnitude: int, image_size: tuple[int, int]) -> float:
    """What an operation takes at a magnitude of 0 to 30, of images of `image_size` (height, width); not negative.

    A tangent of ShearX and ShearY, pixels of TranslateX and TranslateY, degrees of Rotate, a change of a factor of the
    colours' operations, bits that Posterize keeps, a grey level of Solarize; 0 of what has no strength.
    """
    if name == "Posterize":
        return 8.0 - round(magnitude / ((BINS - 1) / 4))
    largest = STRENGTHS.get(name, 0.0)
    if name in ("TranslateX", "TranslateY"):
        largest *= image_size[name == "TranslateX"]
    steps = torch.linspace(255.0, 0.0, BINS) if name == "Solarize" else torch.linspace(0.0, largest, BINS)
    return steps[magnitude].item()


def draw(
    count: int, times: int, magnitude: int, image_size: tuple[int, int], generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """`times` operations for each of `count` images of `image_size` (height, width), all equally probable.

    Returns their places in OPERATIONS, int64, and their strengths, float64, negative with probability 0.5 where there
    are two ways; both (count, times), on the CPU.
    """
    operations = torch.randint(len(OPERATIONS), (count, times), generator=generator)
    negative = torch.rand(count, times, generator=generator, dtype=torch.float64) < 0.5
    strengths = torch.tensor([strength(name, magnitude, image_size) for name in OPERATIONS], dtype=torch.float64)
    signed = torch.tensor([name in STRENGTHS for name in OPERATIONS])
    signs = torch.where(negative & signed[operations], -1.0, 1.0).double()
    return operations, strengths[operations] * signs


@torch.no_grad()
def apply(images: Tensor, operations: Tensor, strengths: Tensor) -> Tensor:
    """Images after their operations, in the order of the columns; not in place, and without a gradient.

    Args:
        images: floating, (N, 1 or 3, height, width), on any device, in [0, 1] space: clipped to it and rounded to the
            256 levels on which the operations are defined.
        operations: (N, times), see `draw`.
        strengths: as many.

    Returns images of the same shape, dtype and device, of those levels. Of grey images Color changes nothing, and all
    else is what it is of one channel. Raises TypeError, by torchvision, for images of other numbers of channels.
    """
    levels = images.float() if images.dtype in (torch.bfloat16, torch.float16) else images
    pixels = (levels.clamp(0, 1) * 255).round().to(torch.uint8)
    for step in zip(operations.unbind(1), strengths.unbind(1), strict=True):
        alike: dict[tuple[int, float], list[int]] = {}  # images are taken together by what is done to them
        for row, which in enumerate(zip(*(values.tolist() for values in step), strict=True)):
            alike.setdefault(which, []).append(row)
        for (operation, value), rows in alike.items():
            places = torch.tensor(rows, device=pixels.device)
            pixels[places] = _done(OPERATIONS[operation], pixels[places], value)
    return (pixels.to(levels.dtype) / 255).to(images.dtype)


def _done(name: str, images: Tensor, value: float) -> Tensor:
    """uint8 images after an operation."""
    from torchvision.transforms import functional  # only some protocols need it, and it takes a while

    plain = {"angle": 0.0, "scale": 1.0, "translate": [0, 0], "shear": [0.0, 0.0]}
    match name:
        case "ShearX" | "ShearY":
            angle = math.degrees(math.atan(value))
            shear = [angle, 0.0] if name == "ShearX" else [0.0, angle]
            return functional.affine(images, **plain | {"shear": shear}, center=[0, 0])
        case "TranslateX":
            return functional.affine(images, **plain | {"translate": [int(value), 0]})
        case "TranslateY":
            return functional.affine(images, **plain | {"translate": [0, int(value)]})
        case "Rotate":
            return functional.rotate(images, value)
        case "Brightness":
            return functional.adjust_brightness(images, 1.0 + value)
        case "Color":
            return functional.adjust_saturation(images, 1.0 + value)
        case "Contrast":
            return functional.adjust_contrast(images, 1.0 + value)
        case "Sharpness":
            return functional.adjust_sharpness(images, 1.0 + value)
        case "Posterize":
            return functional.posterize(images, int(value))
        case "Solarize":
            return functional.solarize(images, value)
        case "AutoContrast":
            return functional.autocontrast(images)
        case "Equalize":
            return functional.equalize(images)
    return images
