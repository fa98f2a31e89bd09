"""The images that are optimised, normalised by the source's channel mean and std, or whitened.

Whatever leaves the run is in the images' own [0, 1] space (unclipped: an optimised pixel may lie outside), so no
reader has to know the statistics.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hf_dd.core.seeding import generator
from hf_dd.data.batches import in_unit_range
from hf_dd.data.image_data import ImageData
from hf_dd.errors import DataError
from hf_dd.nn.tiles import GREY, decode_tiles, encode_tiles
from hf_dd.nn.whitening import Whitening


class SyntheticSet(nn.Module):
    """`ipc` stored images for each class, class after class, and the training images that they decode to.

    Attributes:
        pixels: parameter, (num_classes * ipc, channels, height, width), normalised as the source's images are.
        labels: int64, (num_classes * ipc,), of the stored images.
        factor: tiles per side of a stored image (`nn.tiles`): factor² training images come out of each.
        whitening: that of the source, or None.
        place: of its first image of each class among those of the whole set, and how many that has; (0, ipc), unless
            it is a part of one, see `parts`.
    """

    def __init__(
        self,
        pixels: Tensor,
        class_names: list[str],
        mean: Sequence[float] | Tensor,
        std: Sequence[float] | Tensor,
        factor: int = 1,
        whitening: Whitening | None = None,
    ):
        super().__init__()
        if len(pixels) % len(class_names):
            raise DataError(
                f"{len(pixels)} synthetic images can't be shared out evenly to {len(class_names)} classes."
            )
        self.class_names = class_names
        self.ipc = len(pixels) // len(class_names)
        self.factor = factor
        self.whitening = whitening
        self.place = 0, self.ipc
        self.hold(pixels)
        self.register_buffer("labels", torch.arange(len(class_names)).repeat_interleave(self.ipc))
        for name, values in (("mean", mean), ("std", std)):  # as numbers, or as another set has them
            self.register_buffer(name, torch.as_tensor(values, dtype=pixels.dtype).view(-1, 1, 1))

    @classmethod
    def initial(
        cls, data: ImageData, ipc: int, init: str, seed: int, dtype: torch.dtype, factor: int = 1
    ) -> "SyntheticSet":
        """Start from real images, factor² in each stored one ('real'), or from standard normal noise ('noise').

        Raises DataError where a class has too few real images to start from.
        """
        if init == "noise":
            pixels = torch.empty(data.num_classes, ipc, data.channels, *data.image_size, dtype=dtype)
            for label, own in enumerate(pixels):  # drawn so that they are alike in any dtype
                own.copy_(torch.randn(own.shape, generator=generator(seed, "init", label), dtype=torch.float64))
            pixels = pixels.flatten(0, 1)
            return cls(pixels, data.class_names, data.mean, data.std, factor, data.whitening)
        data.require_ipc(ipc, factor)
        count = ipc * factor**2
        chosen = torch.cat([data.sample_class(c, count, generator(seed, "init", c)) for c in range(data.num_classes)])
        return cls.of_images(data.train.images[chosen.to(data.train.images.device)], data, dtype, factor)

    @classmethod
    def of_images(cls, images: Tensor, data: ImageData, dtype: torch.dtype, factor: int = 1) -> "SyntheticSet":
        """The set that stores these images, uint8 or floating in [0, 1] space, (classes * ipc * factor², …)."""
        own = encode_tiles(in_unit_range(images.cpu(), dtype).to(dtype), factor)
        return cls(data.normalise(own).to(dtype), data.class_names, data.mean, data.std, factor, data.whitening)

    def hold(self, pixels: Tensor) -> None:
        """Make the parameters that the stored images come from; here those are the images themselves."""
        self.pixels = nn.Parameter(pixels)

    def begin(self, index: int) -> bool:
        """What has to happen before an iteration; whether the parameters have become others by it."""
        return False

    def turn_to(self, pixels: Tensor, first: int, ipc: int) -> None:
        """Become the part of a set of `ipc` images of each class that begins at `first`, in place."""
        self.pixels.copy_(pixels)
        self.place = first, ipc

    def stored(self, rows: Tensor | None = None) -> Tensor:
        """These stored images (or all), normalised, (len(rows), channels, height, width)."""
        return self.pixels if rows is None else self.pixels[rows]

    @property
    def per_class(self) -> int:
        """Training images of a class."""
        return self.ipc * self.factor**2

    def rows(self, classes: list[int]) -> Tensor:
        """Indices of the stored images of these classes, int64, (len(classes) * ipc,), on the set's device."""
        starts = torch.tensor(classes, dtype=torch.int64).view(-1, 1) * self.ipc
        return (starts + torch.arange(self.ipc)).flatten().to(self.labels.device)

    def whole_rows(self, rows: Tensor) -> Tensor:
        """Indices, among the stored images of the whole set that this is a part of, of these of its own."""
        first, ipc = self.place
        return self.labels[rows] * ipc + first + rows % self.ipc

    def images(self, rows: Tensor | None = None) -> Tensor:
        """The training images, normalised, (len(rows) * factor², …), that these stored ones (or all) decode to."""
        return decode_tiles(self.stored(rows), self.factor, (GREY - self.mean) / self.std)

    def image_rows(self, rows: Tensor) -> Tensor:
        """Places of their training images among those of the whole set, int64, (len(rows) * factor²,)."""
        count = self.factor**2
        return (rows[:, None] * count + torch.arange(count, device=rows.device)).flatten()

    def image_labels(self, rows: Tensor | None = None) -> Tensor:
        """Their labels, int64, (len(rows) * factor²,)."""
        labels = self.labels if rows is None else self.labels[rows]
        return labels.repeat_interleave(self.factor**2)

    @torch.no_grad()
    def clip(self) -> None:
        """Bring the stored images back into what [0, 1] is in the pixels' space, in place."""
        self.pixels.clamp_(-self.mean / self.std, (1 - self.mean) / self.std)

    def own_space(self, pixels: Tensor | None = None) -> Tensor:
        """The stored images, or the given normalised ones, in their own [0, 1] space; differentiable, not clipped."""
        pixels = self.pixels if pixels is None else pixels
        return self.whitening.colour(pixels) if self.whitening else pixels * self.std + self.mean
