"""From encoded images of any mode and size to one uint8 tensor per split; decoded once, then read from a cache.

The training split decides for both. It is grey (1 channel) if all of its images are, else everything is RGB and
transparency is dropped. The target is `image_size` squared if given, else the training split's most common size.
An image of another size is scaled with PIL's antialiased bilinear filter until it covers the target, and its centre
is cut out. EXIF orientation is applied, as `datasets` does.
"""

import contextlib
import hashlib
import io
import json
import logging
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

from hf_dd.errors import DataError

if TYPE_CHECKING:
    import datasets

logger = logging.getLogger(__name__)

CACHE_VERSION = 1  # raise it with every change of what the pixels become
GREY_MODES = {"1", "L", "I;16", "I;16L", "I;16B", "I;16N"}
ROWS_PER_TASK = 256


def decode_splits(splits: "dict[str, datasets.Dataset]", column: str, image_size: int | None) -> dict[str, Tensor]:
    """The images of each split as uint8 N×C×H×W, contiguous; the first split is the training split.

    Kept under the cache folder of `datasets`, keyed by the splits' fingerprints, the column and the size. A missing or
    damaged cache file is built anew. Raises DataError naming the split and row of an image that can't be decoded.
    """
    from datasets import config

    identity = [CACHE_VERSION, [split._fingerprint for split in splits.values()], column, image_size]
    key = hashlib.blake2b(json.dumps(identity).encode(), digest_size=16).hexdigest()
    path = Path(config.HF_DATASETS_CACHE) / "hf_dd" / f"{key}.safetensors"
    images = _read_cache(path, splits)
    if images is None:
        images = _decode(splits, column, image_size)
        _write_cache(path, images)
    return images


def resize(images: Tensor, image_size: int) -> Tensor:
    """Grey uint8 images N×1×h×w at image_size×image_size, by the same rule as encoded ones."""
    target = (image_size, image_size)
    fitted = [np.asarray(_fit(Image.fromarray(image), target)) for image in images.squeeze(1).numpy()]
    return torch.from_numpy(np.stack(fitted)).unsqueeze(1)


def _decode(splits: "dict[str, datasets.Dataset]", column: str, image_size: int | None) -> dict[str, Tensor]:
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

    decoded = {}
    for name, split in encoded.items():
        images = torch.empty(len(split), len(mode), *target[::-1], dtype=torch.uint8)
        for place, array in zip(images.numpy(), _each_row(encoded, name, column, pixels), strict=True):
            place[:] = array
        decoded[name] = images
    return decoded


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
        for chunk in pool.map(results, range(0, len(split), ROWS_PER_TASK)):
            yield from chunk


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


def _digest(images: dict[str, Tensor]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(images):
        digest.update(images[name].numpy())
    return digest.hexdigest()


def _read_cache(path: Path, names: "dict[str, datasets.Dataset]") -> dict[str, Tensor] | None:
    """The images in a cache file, or None where it is missing or isn't what was written."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            images = {name: file.get_tensor(name) for name in names}
            if (file.metadata() or {}).get("digest") == _digest(images):
                return images
        problem: object = "other bytes than were written"
    except FileNotFoundError:
        return None
    except (OSError, safetensors.SafetensorError) as error:
        problem = error
    logger.warning("The cache file %s can't be used (%s): decoding again.", path, problem)
    return None


def _write_cache(path: Path, images: dict[str, Tensor]) -> None:
    """Write beside, then move: a reader or a second writer never sees half a file. A failure costs only the cache."""
    temporary = path.with_suffix(f".{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        safetensors.torch.save_file(images, temporary, metadata={"digest": _digest(images)})
        temporary.replace(path)
    except (OSError, safetensors.SafetensorError) as error:
        logger.warning("The decoded images can't be cached in %s: %s", path.parent, error)
    finally:
        with contextlib.suppress(OSError):  # moved, or never made
            temporary.unlink()
