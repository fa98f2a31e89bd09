"""What the field's protocols make of each training batch: crops, mirrored, of other colours, mixed with each other.

`Views` says what is drawn, `draw` makes parameters from an explicit generator, `apply` carries them out and
`mixed_targets` mixes the labels alike. The order is that of the sources: RandAugment (EDC, Shao et al., NeurIPS 2024),
tiles shuffled (RDED, Sun et al., CVPR 2024), a crop of the padded image, a resized crop, a mirror, colours and
lighting (IDC, Kim et al., ICML 2022), and at last CutMix (Yun et al., ICCV 2019) or MixUp (Zhang et al., ICLR 2018)
within the batch. All draws are on the CPU.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hf_dd.core.strategies import MIXES
from hf_dd.errors import ConfigError, require_known
from hf_dd.nn import rand_augment
from hf_dd.nn.augment import Draws
from hf_dd.nn.crops import draw_boxes, resized_crop
from hf_dd.nn.input_transform import LUMA

# Principal components of ImageNet's colours (Krizhevsky et al., NeurIPS 2012), as IDC has them, a row per channel.
COLOUR_STDS = (0.2175, 0.0188, 0.0045)
COLOUR_AXES = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))


@dataclass(frozen=True)
class Views:
    """What is drawn for each training batch; nothing by default. Raises ConfigError for values that make no sense.

    Attributes:
        scale: least and largest share of the image's area that a resized crop takes, uniform; None for no such crop.
        ratio: of its width to its height, log-uniform.
        size: (height, width) of the views; the images' own if None.
        flip: left and right exchanged, with probability 0.5.
        shuffle: strips per side, the columns of which are permuted, then the rows; 1 for none.
        padding: pixels of zeros at each side, of which a window of the image's size is cut; 0 for none.
        jitter: brightness, contrast and saturation, in a random order, are each moved towards black or grey by a share
            uniform in ±jitter; not clipped.
        lighting: std of noise along the principal components of colour; only of images of three channels.
        mix: 'cutmix' pastes a box of a partner's view, 'mixup' takes a weighted mean with it; or 'none'.
        alpha: λ, the share of the image itself, is drawn from Beta(alpha, alpha).
        probability: that a batch, or with `each` a row, is mixed at all.
        each: draw λ, box and partner for each row, instead of one λ, one box and one permutation per batch.
        rand_augment: how many of RandAugment's operations each image goes through, and their magnitude, 0 to 30; None
            for none. They see 256 levels, and no gradient goes through them; see `rand_augment.apply`, of grey images
            too.
    """

    scale: tuple[float, float] | None = None
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    size: tuple[int, int] | None = None
    flip: bool = False
    shuffle: int = 1
    padding: int = 0
    jitter: float = 0.0
    lighting: float = 0.0
    mix: str = "none"
    alpha: float = 1.0
    probability: float = 1.0
    each: bool = False
    rand_augment: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        require_known("mix", self.mix, MIXES)
        sound = {
            "scale": self.scale is None or 0 < self.scale[0] <= self.scale[1] <= 1,
            "ratio": 0 < self.ratio[0] <= self.ratio[1],
            "size": self.size is None or min(self.size) >= 1,
            "shuffle": self.shuffle >= 1,
            "padding": self.padding >= 0,
            "jitter": 0 <= self.jitter <= 1,
            "lighting": self.lighting >= 0,
            "alpha": self.alpha > 0,
            "probability": 0 <= self.probability <= 1,
            "rand_augment": self.rand_augment is None
            or (self.rand_augment[0] >= 1 and 0 <= self.rand_augment[1] < rand_augment.BINS),
        }
        for name, holds in sound.items():
            if not holds:
                raise ConfigError(f"Views with {name} {getattr(self, name)} make no sense.")


@dataclass(frozen=True)
class ViewDraws(Draws):
    """Draws for the images of a batch, one a row of each tensor; None where nothing of the kind is drawn.

    Attributes:
        operations: int64, (count, times), and `strengths`, float64, of RandAugment: see `rand_augment.draw`.
        columns, rows: int64, (count, strips): which strip goes to each place.
        windows: int64, (count, 2): how far down and right of the image its window lies, in ±padding.
        boxes: int64, (count, 4), see `crops.draw_boxes`.
        flipped: bool, (count,).
        shares: float64, (count, 3), of brightness, contrast and saturation, by which an image is moved.
        order: int64, (count, 3), in which this is done.
        lighting: float64, (count, 3), along the principal components of colour.
        partners: int64, (count,): the row whose view is mixed into this one; its own where nothing is.
        pastes: int64, (count, 4): top, left, height and width, in the view's pixels, of what CutMix takes of the
            partner, maybe nothing; None for MixUp.
        weights: float32, (count,): of the row's own label: the share of the area that is kept, or MixUp's λ.
    """

    operations: Tensor | None = None
    strengths: Tensor | None = None
    columns: Tensor | None = None
    rows: Tensor | None = None
    windows: Tensor | None = None
    boxes: Tensor | None = None
    flipped: Tensor | None = None
    shares: Tensor | None = None
    order: Tensor | None = None
    lighting: Tensor | None = None
    partners: Tensor | None = None
    pastes: Tensor | None = None
    weights: Tensor | None = None

    def __len__(self) -> int:
        return next((len(tensor) for tensor in vars(self).values() if tensor is not None), 0)


def draw(views: Views, count: int, image_size: tuple[int, int], generator: torch.Generator) -> ViewDraws:
    """The draws of a batch of `count` images of `image_size` (height, width); `generator` lives on the CPU."""
    found: dict[str, Tensor] = {}
    if views.rand_augment:
        found["operations"], found["strengths"] = rand_augment.draw(count, *views.rand_augment, image_size, generator)
    if views.shuffle > 1:
        strips = torch.rand(2, count, views.shuffle, generator=generator, dtype=torch.float64)
        found["columns"], found["rows"] = strips.argsort(2)
    if views.padding:
        found["windows"] = torch.randint(2 * views.padding + 1, (count, 2), generator=generator) - views.padding
    if views.scale:
        found["boxes"] = draw_boxes(count, image_size, generator, scale=views.scale, ratio=views.ratio)
    if views.flip:
        found["flipped"] = torch.rand(count, generator=generator, dtype=torch.float64) < 0.5
    if views.jitter:
        shares = torch.rand(count, 3, generator=generator, dtype=torch.float64)
        found["shares"] = (2 * shares - 1) * views.jitter
        found["order"] = torch.rand(count, 3, generator=generator, dtype=torch.float64).argsort(1)
    if views.lighting:
        noise = torch.randn(count, 3, generator=generator, dtype=torch.float64)
        found["lighting"] = noise * views.lighting
    if views.mix != "none" and count:
        found |= _mixing(views, count, views.size or image_size, generator)
    return ViewDraws(**found)


def _mixing(views: Views, count: int, size: tuple[int, int], generator: torch.Generator) -> dict[str, Tensor]:
    """Partners, weights and, for CutMix, boxes: of one draw for the batch, or of one for each row."""
    draws = count if views.each else 1
    mixed = torch.rand(draws, generator=generator, dtype=torch.float64) < views.probability
    share = torch.where(mixed, beta(views.alpha, draws, generator), 1.0).expand(count)
    if views.each:
        partners = torch.randint(count, (count,), generator=generator)
    else:
        partners = torch.randperm(count, generator=generator)
    found = {"partners": torch.where(mixed, partners, torch.arange(count))}
    if views.mix == "mixup":
        return found | {"weights": share.float()}
    extent = torch.tensor(size)
    half = (extent * (1 - share[:draws, None]).sqrt()).long() // 2  # of the box, cut off to whole pixels as theirs
    centre = (torch.rand(draws, 2, generator=generator, dtype=torch.float64) * extent).long()
    start, end = (centre - half).clamp(min=0), torch.minimum(centre + half, extent)
    pastes = torch.cat([start, end - start], dim=1).expand(count, 4)
    area = pastes[:, 2] * pastes[:, 3] / (size[0] * size[1])
    return found | {"pastes": pastes, "weights": (1 - area).float()}


def beta(alpha: float, count: int, generator: torch.Generator) -> Tensor:
    """`count` independent draws of Beta(alpha, alpha), float64."""
    if alpha == 1:
        return torch.rand(count, generator=generator, dtype=torch.float64)
    import numpy  # torch's own takes no generator

    draws = numpy.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
    return torch.from_numpy(draws.beta(alpha, alpha, count))


def apply(images: Tensor, draws: ViewDraws, size: Sequence[int] | None = None) -> Tensor:
    """The views of a batch, mixed with each other as the draws say; not in place.

    Differentiable and not clipped, but for RandAugment.

    Args:
        images: floating, (N, channels, height, width), on any device, in [0, 1] space: RandAugment, colours and
            lighting are meant there, and padding is black. All else is the same of normalised images.
        draws: as many, see `draw`.
        size: (height, width) of the views, `Views.size`; the images' own if None.

    Returns (N, channels, *size), of the images' dtype. Raises ValueError where the draws are not as many.
    """
    return mixed(shown(images, draws, size), draws)


def shown(images: Tensor, draws: ViewDraws, size: Sequence[int] | None = None) -> Tensor:
    """The views before they are mixed, each by its own row alone; see `apply`."""
    size = tuple(size or images.shape[2:])
    if len(draws) not in (len(images), 0):
        raise ValueError(f"{len(draws)} draws need as many images, not {len(images)}")
    if draws.operations is not None:
        images = rand_augment.apply(images, draws.operations, draws.strengths)
    if draws.columns is not None:
        images = shuffled(images, draws.columns, draws.rows)
    if draws.windows is not None:
        extent, by = torch.tensor(images.shape[2:]).expand(len(images), 2), int(draws.windows.abs().max())
        windows = torch.cat([draws.windows + by, extent], dim=1)
        images = resized_crop(F.pad(images, [by] * 4), windows, images.shape[2:])
    if draws.boxes is not None:
        images = resized_crop(images, draws.boxes, size)
    elif size != tuple(images.shape[2:]):
        images = resized_crop(images, torch.tensor([[0, 0, *images.shape[2:]]]), size)
    if draws.flipped is not None:
        images = torch.where(_of_rows(draws.flipped, images.device), images.flip(3), images)
    if draws.shares is not None:
        images = jittered(images, draws.shares, draws.order)
    if draws.lighting is not None and images.shape[1] == 3:
        colours = (draws.lighting * torch.tensor(COLOUR_STDS)) @ torch.tensor(COLOUR_AXES, dtype=torch.float64).T
        images = images + colours.to(images)[:, :, None, None]
    return images


def shuffled(images: Tensor, columns: Tensor, rows: Tensor) -> Tensor:
    """Strips of columns, then strips of rows in another order: strip `columns[i, j]` of image i goes to place j.

    Strips are side // strips wide; the last one, which takes what is left over, may be wider.
    """
    for dimension, order in ((3, columns), (2, rows)):
        side, strips = images.shape[dimension], order.shape[1]
        strip = (torch.arange(side) // max(1, side // strips)).clamp(max=strips - 1)
        sources = order.argsort(1)[:, strip].argsort(dim=1, stable=True).to(images.device)
        sources = sources[:, None, None, :] if dimension == 3 else sources[:, None, :, None]
        images = images.gather(dimension, sources.expand(images.shape))
    return images


def jittered(images: Tensor, shares: Tensor, order: Tensor) -> Tensor:
    """Brightness (0), contrast (1), saturation (2), in each image's order: moved to black, its mean grey, or grey."""
    luminance = images.new_tensor(LUMA)[:, None, None]
    shares = shares.to(images)
    for kinds in order.unbind(1):
        grey = (images * luminance).sum(1, keepdim=True) if images.shape[1] == 3 else images
        kind = _of_rows(kinds, images.device)
        towards = torch.where(kind == 0, 0.0, torch.where(kind == 1, grey.mean((2, 3), keepdim=True), grey))
        share = _of_rows(shares.gather(1, kinds.to(images.device)[:, None])[:, 0], images.device)
        images = images + share * (towards - images)
    return images


def mixed(views: Tensor, draws: ViewDraws) -> Tensor:
    """Views (N, channels, height, width), mixed with each other as the draws say."""
    if draws.partners is None:
        return views
    partners = views.index_select(0, draws.partners.to(views.device))
    return blended(views, partners, draws.weights) if draws.pastes is None else pasted(views, partners, draws.pastes)


def blended(views: Tensor, others: Tensor, weights: Tensor) -> Tensor:
    """The means of views and others; `weights` (N,) are those of the views."""
    weights = _of_rows(weights, views.device).to(views.dtype)
    return weights * views + (1 - weights) * others


def pasted(views: Tensor, others: Tensor, pastes: Tensor) -> Tensor:
    """Views with a box, (top, left, height, width) of each row, of others in its place."""
    tops, lefts, heights, widths = pastes.to(views.device)[:, :, None].unbind(1)
    rows = torch.arange(views.shape[2], device=views.device) - tops
    columns = torch.arange(views.shape[3], device=views.device) - lefts
    inside = ((rows >= 0) & (rows < heights))[:, None, :, None] & ((columns >= 0) & (columns < widths))[:, None, None]
    return torch.where(inside, others, views)


def mixed_targets(targets: Tensor, draws: ViewDraws, num_classes: int) -> Tensor:
    """Labels mixed as the views are: weight · one's own + (1 - weight) · the partner's.

    Takes classes, int64 (N,), or probabilities, (N, classes); gives probabilities, or the targets where nothing was
    mixed.
    """
    if draws.partners is None:
        return targets
    probabilities = targets if targets.is_floating_point() else F.one_hot(targets, num_classes).float()
    weights = draws.weights.to(probabilities)[:, None]
    return weights * probabilities + (1 - weights) * probabilities[draws.partners.to(targets.device)]


def _of_rows(values: Tensor, device: torch.device) -> Tensor:
    """A value for each image, as it goes with images."""
    return values.to(device)[:, None, None, None]
