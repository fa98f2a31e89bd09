"""Images where they are: a tensor on a device, or a file that is read by position, never held in memory whole."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from hf_dd.core.digests import digest_over
from hf_dd.errors import DataError

# Pixels per channel that a network sees at once: 128 images of 32×32 on a CPU, where more is no faster.
CHUNK_PIXELS, CHUNK_PIXELS_ON_CPU = 1 << 21, 1 << 17
# So many chunks' activations are kept there: some gigabyte by a ConvNet of width 128, for a forward pass less.
KEPT_CHUNKS_ON_CPU = 3


@dataclass(frozen=True, eq=False)
class StoredImages:
    """uint8 images N×C×H×W in a `.npy`, read through numpy's memory map: indexing reads just those, onto `device`.

    Stands in for a tensor where that is indexed along its first dimension, moved, or asked for its shape. `places`,
    int64 (N,) on the CPU, says which images of the file these are, where they aren't all.
    """

    path: Path
    shape: torch.Size
    device: torch.device = torch.device("cpu")
    places: Tensor | None = None

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        """The images of an int64 index (n,) or a slice, as uint8 (n, C, H, W); raises DataError for a changed file."""
        index = torch.arange(len(self))[index] if isinstance(index, slice) else index.cpu()
        index = index if self.places is None else self.places[index]
        try:  # mapped anew each time: a file that was cut is noticed, and what was read takes no memory afterwards
            images = np.load(self.path, mmap_mode="r")[index.numpy()]
        except (OSError, EOFError, ValueError, IndexError) as error:
            raise DataError(f"The decoded images in {self.path} changed while they were in use: {error}.") from error
        return torch.from_numpy(images).to(self.device)

    def to(self, device: torch.device | str) -> "StoredImages":
        """The same images, to be read onto `device`."""
        return dataclasses.replace(self, device=torch.device(device))

    @property
    def chosen(self) -> str:
        """Which images of the file these are, as 32 hex digits; "" where they are all."""
        return "" if self.places is None else digest_over([self.places.numpy().astype("<i8")])

    def taken(self, index: Tensor) -> "StoredImages":
        """The images of an int64 index (n,) as images that stay where they are."""
        places = index.cpu() if self.places is None else self.places[index.cpu()]
        return dataclasses.replace(self, shape=torch.Size((len(places), *self.shape[1:])), places=places)


Images = Tensor | StoredImages


def in_unit_range(images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Images in [0, 1] space: whole numbers, 0 … 255, as floats of `dtype`; floats as they are."""
    return images if images.is_floating_point() else images.to(dtype) / 255


def read_ahead(images: Images, parts: Sequence[Tensor]) -> Iterator[Tensor]:
    """`images[part]` of each part (int64 indices, on any device), in order.

    Where the images are on disk, a thread reads the next part while the caller works on this one.
    """
    if not isinstance(images, StoredImages):
        yield from (images[part.to(images.device)] for part in parts)
        return
    with ThreadPoolExecutor(max_workers=1) as reader:
        reading = [reader.submit(images.__getitem__, part) for part in parts[:1]]
        for following in [*parts[1:], None]:
            ready = reading.pop().result()
            if following is not None:
                reading.append(reader.submit(images.__getitem__, following))
            yield ready


def in_chunks(
    images: Images, chosen: Tensor | None = None, *, whole: bool = False, seen: Sequence[int] = ()
) -> Iterator[tuple[Tensor, Tensor]]:
    """The chosen images (all if None) in order, as many at a time as a network should see, in chunks of equal length.

    Yields the places of a chunk's images in `chosen`, int64 on the CPU, and the images on their device.

    Args:
        images: N×C×H×W.
        chosen: int64 index (n,), on any device.
        whole: give them all at once, as a network wants whose output for an image depends on the batch.
        seen: the size that the network brings them to, if any.
    """
    chosen = torch.arange(len(images)) if chosen is None else chosen
    if len(chosen):
        chunks = 1 if whole else chunks_of(len(chosen), images, seen)
        places, parts = torch.arange(len(chosen)).tensor_split(chunks), chosen.tensor_split(chunks)
        yield from zip(places, read_ahead(images, parts), strict=True)


def chunks_of(count: int, images: Images, seen: Sequence[int] = ()) -> int:
    """How many chunks a network should see `count` such images in, which it may bring to another size, `seen`."""
    pixels = CHUNK_PIXELS_ON_CPU if images.device.type == "cpu" else CHUNK_PIXELS
    return math.ceil(count / max(1, pixels // max(math.prod(images.shape[2:]), math.prod(seen))))


def by_chunks(function: Callable[[Tensor], Tensor], images: Tensor, seen: Sequence[int] = ()) -> Tensor:
    """`function` of images that need a gradient, whose value for one doesn't depend on the others.

    More images than a chunk go through chunk by chunk. Of more than KEPT_CHUNKS_ON_CPU, one elsewhere, the backward
    pass computes the activations of a chunk again instead of keeping those of all: memory doesn't grow with the
    synthetic set, for one more forward pass of it. `seen` is the size that it brings them to, if any.
    """
    chunks = chunks_of(len(images), images, seen)
    if chunks <= 1:
        return function(images)
    if chunks > (KEPT_CHUNKS_ON_CPU if images.device.type == "cpu" else 1):
        function = functools.partial(checkpoint, function, use_reentrant=False, preserve_rng_state=False)
    return torch.cat([function(part) for part in images.tensor_split(chunks)])


def in_blocks(images: Images, size: int = 256) -> Iterator[Tensor]:
    """All images in order, `size` at a time, not copied where they are in memory."""
    if isinstance(images, Tensor):
        return iter(images.split(size))
    return read_ahead(images, torch.arange(len(images)).split(size))
