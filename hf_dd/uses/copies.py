"""Whether images are copies of real ones: the nearest training image of each, and how much nearer it is than others.

Likeness is the correlation of two images' pixels, so that brightness and contrast don't matter, at its best among
shifts by up to a pixel. What is near is told from how near neighbours are otherwise, as Carlini et al. (USENIX
Security 2023) tell what a diffusion model has memorised: an image's distance to its nearest training image, over the
mean of that to the 50 nearest. Test images, which are no copies, say how small that may be by chance.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hf_dd.core.progress import over
from hf_dd.data.batches import Images, in_blocks
from hf_dd.errors import DataError

NEIGHBOURS = 50
SHIFT = 1  # pixels
SHIFTS = (2 * SHIFT + 1) ** 2
CHANCE = 0.01  # the share of test images that are taken for copies
BLOCK, MOST_VALUES = 256, 2**26  # images at a time, and float32 values of them, shifts counted


@dataclass(frozen=True)
class Nearest:
    """The nearest training image of each of N images.

    Attributes:
        index: of it, int64 (N,).
        likeness: the correlation with it, float (N,), 1 for a copy.
        nearness: distance to it over the mean distance to the 50 nearest, float (N,): 0 for a copy, 1 at most.
    """

    index: Tensor
    likeness: Tensor
    nearness: Tensor


def nearest(images: Tensor, real: Images) -> Nearest:
    """The nearest of the `real` images, uint8 (M, C, H, W), of each image (N, C, H, W), uint8 or floats in [0, 1].

    Distances are Euclidean ones of pixels without their mean, at unit length: the root of 2 (1 - correlation). Raises
    DataError for images of another shape, and of less than 4 pixels a side.
    """
    if images.shape[1:] != real.shape[1:] or min(images.shape[2:]) < 4:
        raise DataError(
            f"Images of {tuple(images.shape[1:])} can't be compared with {tuple(real.shape[1:])} (channels, height, "
            "width): both have to be of the same size, of 4 pixels or more a side."
        )
    pixels, count = images[0].numel(), min(NEIGHBOURS, len(real))
    at_once, real_at_once = (max(1, min(BLOCK, MOST_VALUES // each)) for each in (SHIFTS * pixels, pixels))
    best = [torch.full((len(own), 0), -torch.inf, dtype=torch.float64) for own in images.split(at_once)]
    places, first = [torch.zeros(own.shape, dtype=torch.int64) for own in best], 0
    # Real images are read once, as they may lie in a file; the others are in memory.
    for block in over(in_blocks(real, real_at_once), "neighbours", len(real), "image", len):
        inner = unit(block[:, :, SHIFT:-SHIFT, SHIFT:-SHIFT])
        for part, own in enumerate(images.split(at_once)):
            found = likenesses(own, inner)
            both = torch.cat([best[part], found], 1)
            best[part], kept = both.topk(min(count, both.shape[1]), dim=1)
            numbers = torch.arange(first, first + len(block)).expand(len(own), -1)
            places[part] = torch.cat([places[part], numbers], 1).gather(1, kept)
        first += len(block)
    likeness, index = torch.cat(best), torch.cat(places)
    distances = (2 * (1 - likeness)).clamp(min=0).sqrt()
    nearness = distances[:, 0] / distances.mean(1).clamp(min=1e-12)
    return Nearest(index[:, 0], likeness[:, 0].float(), nearness.float())


def likenesses(images: Tensor, inner: Tensor) -> Tensor:
    """The greatest correlation among shifts of each image with each of the rows of `unit`, float64, on the CPU."""
    height, width = (side - 2 * SHIFT for side in images.shape[2:])
    shifted = [
        unit(images[:, :, down : down + height, right : right + width])
        for down in range(2 * SHIFT + 1)
        for right in range(2 * SHIFT + 1)
    ]
    own = torch.stack(shifted, 1).flatten(0, 1)
    found = (own @ inner.to(own.device).T).view(len(images), SHIFTS, -1).amax(1)
    return found.cpu().double()  # in this order: not every device has float64


def unit(images: Tensor) -> Tensor:
    """Images as rows of float32 without their mean, at unit length; zeros for a flat one, which is like nothing."""
    rows = images.flatten(1).float()
    rows = rows - rows.mean(1, keepdim=True)
    lengths = rows.norm(dim=1, keepdim=True)
    return torch.where(lengths > 1e-6, rows / lengths.clamp(min=1e-12), 0)


def suspects(found: Nearest, fresh: Nearest) -> Tensor:
    """Which images are nearer to a training image than all but a hundredth of fresh ones are: bool (N,)."""
    return found.nearness < fresh.nearness.double().quantile(CHANCE)


def share(flags: Tensor) -> dict[str, Any]:
    """How many are flagged, in percent, with the exact 95 % interval of a proportion (Clopper & Pearson, 1934)."""
    from scipy import stats

    count = int(flags.sum())
    ends = stats.binomtest(count, len(flags)).proportion_ci(method="exact")
    return {"flagged": count, "of": len(flags), "percent": 100 * count / len(flags)} | {
        "low": 100 * float(ends.low),
        "high": 100 * float(ends.high),
    }


def pairs(images: Tensor, real: Images, found: Nearest, most: int = 10) -> Any:
    """A picture of the images that are nearest to a training image, most suspicious first, each above that image."""
    from PIL import Image

    from hf_dd.synthetic.distilled_set import to_eight_bits, to_pil
    from hf_dd.synthetic.preview import shown_size

    order = found.nearness.argsort(stable=True)[:most]
    above = to_eight_bits(images[order.to(images.device)].float().cpu())
    below = real[found.index[order].to(real.device)].cpu()
    height, width = shown_size(*above.shape[2:], smallest=64)
    gap = 4
    picture = Image.new("RGB", (len(order) * (width + gap) + gap, 2 * height + 3 * gap), "white")
    for column, pair in enumerate(zip(above, below, strict=True)):
        for row, image in enumerate(pair):
            shown = to_pil(image).convert("RGB").resize((width, height), Image.Resampling.NEAREST)
            picture.paste(shown, (gap + column * (width + gap), gap + row * (height + gap)))
    return picture
