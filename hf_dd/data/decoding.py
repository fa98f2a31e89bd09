"""From encoded images of any mode and size to uint8 images per split; decoded once, then read from a cache.

The training split decides for both. It is grey (1 channel) if all of its images are, else everything is RGB and
transparency is dropped. The target is `image_size` squared if given, else the training split's most common size.
An image of another size is scaled with PIL's antialiased bilinear filter until it covers the target, and its centre
is cut out. EXIF orientation is applied, as `datasets` does.
"""

import io
import logging
import math
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL
import torch
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

from hf_dd.core import cache
from hf_dd.data import stored_images
from hf_dd.data.batches import Images
from hf_dd.errors import DataError, RunError

if TYPE_CHECKING:
    import datasets

logger = logging.getLogger(__name__)

VERSION = 2  # of what the pixels become: raise it with any change of that
GREY_MODES = {"1", "L", "I;16", "I;16L", "I;16B", "I;16N"}
ROWS_PER_TASK, TASKS_AHEAD = 256, 8


def decode_splits(
    splits: "dict[str, datasets.Dataset]", column: str, image_size: int | None, memory_limit: float, name: str
) -> dict[str, Images]:
    """The images of each split as uint8 N×C×H×W; the first split is the training split.

    Kept under the cache folder of `datasets`, keyed by the splits' fingerprints, the column, the size, and PIL's and
    this code's versions. A missing or damaged cache file is built anew. A split that takes more than `memory_limit`
    bytes stays there. `name` is what a listing calls the data set. Raises DataError naming the split and row of an
    image that can't be decoded, and where such a split finds no room.
    """
    # A split's fingerprint has no public name; tests notice where it goes, or stops telling splits apart.
    identity = [[split._fingerprint for split in splits.values()], column, image_size]
    path = cache.place_of("images", VERSION, identity, library=PIL.__version__)
    kept = stored_images.read(path, splits, memory_limit)
    if kept is not None:
        return kept
    decoded, images = _decode(splits, column, image_size), {}
    if all(math.prod(shape) <= memory_limit for shape, _ in decoded.values()):
        images = {split: _in_memory(*found) for split, found in decoded.items()}
        decoded = {split: (found.shape, found.numpy()) for split, found in images.items()}
    try:
        stored_images.write(path, decoded, {"data": name})
    except RunError as error:
        if images:
            logger.warning("The decoded images can't be cached: %s", error.__cause__)
            return images
        size = sum(math.prod(shape) for shape, _ in decoded.values()) / 2**30
        raise DataError(
            f"The decoded images take {size:.1f} GiB, and {path.parent} has no room for them ({error}): point "
            "HF_DATASETS_CACHE to a larger disk, or give a smaller --image_size or a larger --image_memory_gb."
        ) from error
    return images or stored_images.read(path, splits, memory_limit)


def _in_memory(shape: tuple[int, ...], images: Iterator[np.ndarray]) -> Tensor:
    tensor = torch.empty(shape, dtype=torch.uint8)
    for place, image in zip(tensor.numpy(), images, strict=True):
        place[:] = image
    return tensor


def resize(images: Tensor, image_size: int) -> Tensor:
    """Grey uint8 images N×1×h×w at image_size×image_size, by the same rule as encoded ones."""
    target = (image_size, image_size)
    fitted = [np.asarray(_fit(Image.fromarray(image), target)) for image in images.squeeze(1).numpy()]
    return torch.from_numpy(np.stack(fitted)).unsqueeze(1)


def _decode(
    splits: "dict[str, datasets.Dataset]", column: str, image_size: int | None
) -> dict[str, tuple[tuple[int, ...], Iterator[np.ndarray]]]:
    """Per split, its shape N×C×H×W and its images in order, decoded as they are asked for."""
    import datasets

    encoded = {
        name: split.select_columns([column]).cast_column(column, datasets.Image(decode=False))
        for name, split in splits.items()
    }
    train = next(iter(encoded))
    looks = Counter(_each_row(encoded, train, column, lambda image: (image.mode in GREY_MODES, image.size)))
    mode = "L" if all(grey for grey, _ in looks) else "RGB"
    sizes: Counter[tuple[int, int]] = Counter()
    for (_, size), count in looks.items():
        sizes[size] += count
    target = sizes.most_common(1)[0][0] if image_size is None else (image_size, image_size)
    logger.info("Decoding to %s at %d x %d; the training split's sizes: %s", mode, *target, sizes.most_common(3))

    def pixels(image: Image.Image) -> np.ndarray:
        return np.asarray(_fit(_in_mode(image, mode), target)).reshape(*target[::-1], -1).transpose(2, 0, 1)

    return {
        name: ((len(split), len(mode), *target[::-1]), _each_row(encoded, name, column, pixels))
        for name, split in encoded.items()
    }


def _each_row(
    encoded: "dict[str, datasets.Dataset]", name: str, column: str, function: Callable[[Image.Image], Any]
) -> Iterator[Any]:
    """`function` of every image of a split, in order, on a few threads (PIL decodes outside Python's lock)."""
    split = encoded[name]

    def results(start: int) -> list[Any]:
        found = []
        for row, record in enumerate(split[start : start + ROWS_PER_TASK][column], start):
            try:
                found.append(function(_open(record)))
            except Exception as error:  # PIL's decoders raise nearly everything on damaged bytes
                raise DataError(f"Split {name!r}, row {row}: the image can't be decoded ({error}).") from error
        return found

    with ThreadPoolExecutor() as pool:
        running: deque[Future] = deque()
        for start in range(0, len(split), ROWS_PER_TASK):
            running.append(pool.submit(results, start))
            if len(running) > TASKS_AHEAD:  # what is decoded waits in memory
                yield from running.popleft().result()
        while running:
            yield from running.popleft().result()


def _open(record: dict[str, Any] | None) -> Image.Image:
    """An image, upright; the pixels of most are read only when they are asked for."""
    if record is None:
        raise ValueError("there is none")
    content = record["bytes"] if record["bytes"] is not None else Path(record["path"]).read_bytes()
    image = Image.open(io.BytesIO(content))
    upright = image.getexif().get(ExifTags.Base.Orientation, 1) == 1
    return image if upright else ImageOps.exif_transpose(image)


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    """The image as L or RGB; 16 bits are scaled to 8, where PIL would clip them."""
    if image.mode in ("I", "F"):
        raise ValueError(f"its mode {image.mode} doesn't say which value is white")
    if image.mode.startswith("I;16"):
        image = Image.fromarray(((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8))
    return image if image.mode == mode else image.convert(mode)


def _fit(image: Image.Image, target: tuple[int, int]) -> Image.Image:
    """The image at `target` (width, height): covering it, then its centre."""
    return image if image.size == target else ImageOps.fit(image, target, Image.Resampling.BILINEAR)
