"""From encoded images of any mode and size to uint8 images per split; decoded once, then read from a cache.

The training split decides for both. It is grey (1 channel) if all of its images are, else everything is RGB. The
target is `image_size` squared if given, else the size of at least half of the training images.
An image of another size is scaled with PIL's antialiased bilinear filter until it covers the target, and its centre
is cut out; of one of another split a smaller part may be, see `test_resize`. EXIF orientation is applied, as
`datasets` does. What is transparent is laid on white. Grey levels of 16 bits are scaled by the bits that the training
split uses (8, 10, 12, 14 or 16): 4095 is white where none is brighter. Of several frames the first counts. What was
done is said in sentences, for the card.
"""

import functools
import io
import logging
import math
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import PIL
import torch
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

from hf_dd.core import cache
from hf_dd.core.progress import over
from hf_dd.data import stored_images
from hf_dd.data.batches import Images
from hf_dd.errors import DataError, RunError, some

if TYPE_CHECKING:
    import datasets

logger = logging.getLogger(__name__)

VERSION = 3  # of what the pixels become: raise it with any change of that
GREY_MODES = {"1", "L", "LA", "La", "I;16", "I;16L", "I;16B", "I;16N"}
MOST_PIXELS = 2**26  # of an image: 8192 squared, where a file of a megabyte may declare any number
TAKES = f"an image takes 1 to {MOST_PIXELS:,} of them"
DEPTHS = (8, 10, 12, 14, 16)  # bits that cameras and scanners put into 16
LARGE = 224  # pixels of a side, as networks for photographs take; larger images are for who asks for them
RUN_AS_CODE = {"EPS", "WMF"}  # by Ghostscript, and by Windows
ROWS_PER_TASK, TASKS_AHEAD = 256, 8
BYTES_PER_TASK = 2**26  # of decoded images, which wait in memory


class Look(NamedTuple):
    """What an image is before its pixels are read.

    Attributes:
        grey: whether it has no colours.
        size: (width, height), upright.
        transparent: whether it may be, somewhere.
        deep: whether its levels have 16 bits.
        frames: whether it has several.
    """

    grey: bool
    size: tuple[int, int]
    transparent: bool
    deep: bool
    frames: bool


def decode_splits(
    splits: "dict[str, datasets.Dataset]",
    column: str,
    image_size: int | None,
    memory_limit: float,
    name: str,
    test_resize: int | None = None,
) -> tuple[dict[str, Images], list[str]]:
    """The images of each split as uint8 N×C×H×W, and what was done to them; the first split is the training split.

    With `test_resize` those of the others are the `centre` of an image at that shorter side. Kept under the cache
    folder of `datasets`, keyed by the splits' fingerprints, the column, the sizes, and PIL's and this code's versions.
    A missing or damaged cache file is built anew, by one process at a time. A split that takes more than
    `memory_limit` bytes stays there. `name` is what a listing calls the data set. Raises DataError naming the split
    and row of an image that can't be decoded, where no size and no brightness fits most, and where such a split finds
    no room.
    """
    # A split's fingerprint has no public name; tests notice where it goes, or stops telling splits apart.
    identity = [[split._fingerprint for split in splits.values()], column, image_size]
    identity += [] if test_resize is None else [test_resize]
    identity += [found for split in splits.values() if (found := stored_images.files_of(split, column))]
    path = cache.place_of("images", VERSION, identity, library=PIL.__version__)
    kept = stored_images.read(path, splits, memory_limit)
    if kept is not None:
        return kept
    with cache.one_at_a_time(path, f"decoding {name}") as later:
        kept = stored_images.read(path, splits, memory_limit) if later else None
        return kept or _decoded(splits, column, image_size, memory_limit, name, test_resize, path)


def _decoded(
    splits: "dict[str, datasets.Dataset]",
    column: str,
    image_size: int | None,
    memory_limit: float,
    name: str,
    test_resize: int | None,
    path: Path,
) -> tuple[dict[str, Images], list[str]]:
    """What `decode_splits` gives, decoded and written to `path`."""
    decoded, notes = _decode(splits, column, image_size, test_resize)
    images: dict[str, Images] = {}
    if all(math.prod(shape) <= memory_limit for shape, _ in decoded.values()):
        images = {split: _in_memory(*found) for split, found in decoded.items()}
        decoded = {split: (found.shape, found.numpy()) for split, found in images.items()}
    try:
        stored_images.write(path, decoded, {"data": name, "notes": notes})
    except RunError as error:
        if images:
            logger.warning("The decoded images can't be cached: %s", error.__cause__)
            return images, notes
        size = sum(math.prod(shape) for shape, _ in decoded.values()) / 2**30
        raise DataError(
            f"The decoded images take {size:.1f} GiB, and {path.parent} has no room for them ({error}): point "
            "HF_DATASETS_CACHE to a larger disk, or give a smaller --image_size or a larger --image_memory_gb."
        ) from error
    return (images, notes) if images else stored_images.read(path, splits, memory_limit)


def _in_memory(shape: tuple[int, ...], images: Iterator[np.ndarray]) -> Tensor:
    tensor = torch.empty(shape, dtype=torch.uint8)
    for place, image in zip(tensor.numpy(), images, strict=True):
        place[:] = image
    return tensor


def resize(images: Tensor, target: tuple[int, int], test_resize: int | None = None) -> Tensor:
    """Grey uint8 images N×1×h×w at `target` (width, height), by the same rules as encoded ones."""
    fitted = []
    for image in over(images.squeeze(1).numpy(), "scaling", len(images), "image"):
        found = Image.fromarray(image)
        fitted.append(np.asarray(_fit(found, target, test_resize)))
    return torch.from_numpy(np.stack(fitted)).unsqueeze(1)


def _decode(
    splits: "dict[str, datasets.Dataset]", column: str, image_size: int | None, test_resize: int | None
) -> tuple[dict[str, tuple[tuple[int, ...], Iterator[np.ndarray]]], list[str]]:
    """Per split, its shape N×C×H×W and its images in order, decoded when they are asked for; what is done to them."""
    encoded = {name: _encoded(split.select_columns([column]), column) for name, split in splits.items()}
    train = next(iter(encoded))
    every = {name: Counter(_each_row(encoded, name, column, _look, "looking at", to_the_end=True)) for name in encoded}
    looks = every[train]  # the others are looked at for what can't be opened, before anything is decoded
    mode = "L" if all(look.grey for look in looks) else "RGB"
    target = _common_size(looks) if image_size is None else (image_size, image_size)
    require_room(test_resize, target)
    bits = None
    if any(look.deep for look in looks):
        peaks = [each for each in _each_row(encoded, train, column, _peak, "reading levels of") if each]
        brightest = max((level for grey, level in peaks if grey), default=0)
        bits = next(bits for bits in DEPTHS if brightest < 2**bits)
        if (upper := max((level for grey, level in peaks if not grey), default=255)) < 128:
            raise DataError(
                "The training images have colours of 16 bits, of which the upper 8 are read, and their brightest is "
                f"{upper} of 255: save them with 8 bits for each colour."
            )

    def pixels(cover: int | None, image: Image.Image) -> np.ndarray:
        fitted = _fit(_in_mode(_upright(image), mode, bits), target, cover)
        return np.asarray(fitted).reshape(*target[::-1], -1).transpose(2, 0, 1)

    decoded = {}
    for name, split in encoded.items():
        seen = functools.partial(pixels, None if name == train else test_resize)
        shape = len(mode), *target[::-1]
        rows = min(ROWS_PER_TASK, max(1, BYTES_PER_TASK // math.prod(shape)))
        decoded[name] = (len(split), *shape), _each_row(encoded, name, column, seen, "decoding", rows=rows)
    further = [note_of(test_resize)] if test_resize and len(splits) > 1 else []
    return decoded, _notes(looks, target, bits) + further


def _encoded(split: "datasets.Dataset", column: str) -> "datasets.Dataset":
    """A split whose column gives encoded images, or arrays of pixels as numpy's."""
    import datasets

    if isinstance(split.features[column], (datasets.Array2D, datasets.Array3D)):
        return split.with_format("numpy", dtype=np.uint8)
    return split.cast_column(column, datasets.Image(decode=False))


def _common_size(looks: Counter[Look]) -> tuple[int, int]:
    """The size of at least half of the images; raises DataError, with a size to give, where there is none."""
    sizes: Counter[tuple[int, int]] = Counter()
    for look, count in looks.items():
        sizes[look.size] += count
    size, most = sizes.most_common(1)[0]
    if 2 * most >= sizes.total():
        return size
    (least, *_, largest), shorter = sorted(sizes), sorted(min(each) for each in sizes.elements())
    raise DataError(
        f"The {sizes.total()} training images have {len(sizes)} sizes, from {least[0]}×{least[1]} to {largest[0]}×"
        f"{largest[1]} (width × height), none of them that of half: give the side that all are brought to, such as "
        f"--image_size {min(shorter[len(shorter) // 2], LARGE)}."
    )


def _notes(looks: Counter[Look], target: tuple[int, int], bits: int | None) -> list[str]:
    """What is done to the training images, a sentence each."""

    def those(chosen: Callable[[Look], bool]) -> int:
        return sum(count for look, count in looks.items() if chosen(look))

    width, height = target
    done = {
        f"were scaled until they cover {width}×{height} pixels (width × height), and cut at the centre": those(
            lambda look: look.size != target
        ),
        "have a channel or a colour of transparency and were laid on white": those(lambda look: look.transparent),
        f"have grey levels of 16 bits and were scaled to 8, with {2 ** (bits or 16) - 1} as white": those(
            lambda look: look.deep and look.grey
        ),
        "have colours of 16 bits, of which the upper 8 were read": those(lambda look: look.deep and not look.grey),
        "have several frames, of which the first was taken": those(lambda look: look.frames),
    }
    return [f"{count} of {looks.total()} training images {what}." for what, count in done.items() if count]


def _each_row(
    encoded: "dict[str, datasets.Dataset]",
    name: str,
    column: str,
    function: Callable[[Image.Image], Any],
    doing: str,
    to_the_end: bool = False,
    rows: int = ROWS_PER_TASK,
) -> Iterator[Any]:
    """`function` of every image of a split, in order, on a few threads (PIL decodes outside Python's lock).

    A thread takes so many `rows` at a time.
    Raises DataError for images that can't be decoded: at the first one, or `to_the_end` of the split, for all of them.
    """
    split = encoded[name]

    def results(start: int) -> tuple[list[Any], list[tuple[str, Exception]]]:
        found, wrong = [], []
        for row, record in enumerate(split[start : start + rows][column], start):
            try:
                found.append(function(_open(record)))
            except Exception as error:  # PIL's decoders raise nearly everything on damaged bytes
                path = record.get("path") if isinstance(record, dict) else None
                wrong.append((f"row {row}{f' ({path})' if path else ''}", error))
        return found, wrong

    def finished() -> Iterator[tuple[list[Any], list[tuple[str, Exception]]]]:
        with ThreadPoolExecutor() as pool:
            running: deque[Future] = deque()
            for start in range(0, len(split), rows):
                running.append(pool.submit(results, start))
                if len(running) > TASKS_AHEAD:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()

    damaged: list[tuple[str, Exception]] = []
    for found, wrong in over(finished(), f"{doing} {name}", len(split), "image", lambda each: sum(map(len, each))):
        damaged += wrong
        if not damaged:
            yield from found
        elif not to_the_end:
            break
    if damaged:
        (row, error), *others = damaged
        reason = str(error).split(" <_io")[0]
        more = f"; {len(others)} more can't be, either: {some([place for place, _ in others])}" if others else ""
        raise DataError(
            f"Split {name!r}, {row}: the image can't be decoded ({reason}){more}. Mend such images, or leave them out."
        ) from error


def _open(record: Any) -> Image.Image:
    """An image, whose pixels are read only when they are asked for; raises ValueError for what shouldn't be."""
    if record is None:
        raise ValueError("there is none")
    if isinstance(record, np.ndarray):
        return Image.fromarray(_channels_last(record))
    content = record["bytes"]
    if content is None:
        path = Path(record["path"])
        if not path.is_file():  # a pipe or a device never ends
            raise ValueError("its file isn't there")
        content = path.read_bytes()
    try:
        image = Image.open(io.BytesIO(content))
    except Image.DecompressionBombError as error:
        raise ValueError(f"it has over {2 * Image.MAX_IMAGE_PIXELS:,} pixels; {TAKES}") from error
    width, height = image.size
    if not 0 < width * height <= MOST_PIXELS:
        raise ValueError(f"it has {width}×{height} pixels; {TAKES}")
    if image.format in RUN_AS_CODE:
        raise ValueError(f"{image.format} is drawn by running its code")
    return image


def _channels_last(pixels: np.ndarray) -> np.ndarray:
    """A uint8 array of an image, H×W, H×W×C or C×H×W, as PIL takes it."""
    if pixels.ndim == 3 and pixels.shape[-1] not in (1, 3):
        pixels = pixels.transpose(1, 2, 0)
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (1,), (3,)):
        raise ValueError(f"an array of {pixels.dtype} of the shape {pixels.shape} isn't uint8 of 1 or 3 channels")
    return pixels.squeeze(-1) if pixels.shape[2:] == (1,) else pixels


def _upright(image: Image.Image) -> Image.Image:
    turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
    return ImageOps.exif_transpose(image) if turned else image


def _is_deep(image: Image.Image) -> bool:
    """Whether its levels have 16 bits; has to be asked before its pixels are read."""
    return image.mode.startswith("I;16") or any(";16" in str(tile[3]) for tile in getattr(image, "tile", []))


def _look(image: Image.Image) -> Look:
    deep, transparent, frames = _is_deep(image), image.has_transparency_data, getattr(image, "is_animated", False)
    turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
    return Look(image.mode in GREY_MODES, image.size[::-1] if turned else image.size, transparent, deep, frames)


def _peak(image: Image.Image) -> tuple[bool, int] | None:
    """Of an image of 16 bits whether it is grey, and its brightest level: of colours that of the upper 8 bits."""
    if not _is_deep(image):
        return None
    grey = image.mode.startswith("I;16")
    return grey, int(np.asarray(image if grey else image.convert("RGB")).max())


def _in_mode(image: Image.Image, mode: str, bits: int | None) -> Image.Image:
    """The image as L or RGB, on white; grey levels of so many bits are scaled to 8, where PIL would clip them.

    `bits` is None where no training image says which of 16 are used.
    """
    if image.mode in ("I", "F"):
        raise ValueError(f"its mode {image.mode} doesn't say which value is white: save it with 8 bits")
    if image.mode.startswith("I;16"):
        if bits is None:
            raise ValueError("it has grey levels of 16 bits, and no training image has: save it with 8 bits")
        values, white = np.array(image).astype(np.uint32), 2**bits - 1
        values[values == image.info.get("transparency", -1)] = white
        if values.max() > white:
            raise ValueError(
                f"it has a level of {values.max()}, where the training images' white is {white}: save all with 8 bits"
            )
        image = Image.fromarray(((values * 255 + white // 2) // white).astype(np.uint8))
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def require_room(test_resize: int | None, target: tuple[int, int]) -> None:
    """Raise DataError where `target` (width, height) can't be cut out of test images of that shorter side."""
    if test_resize is not None and test_resize < max(target):
        raise DataError(
            f"--test_resize is {test_resize}, and images of {target[0]}×{target[1]} pixels (width × height) are to be "
            f"cut out: give at least {max(target)}, or leave it out."
        )


def note_of(test_resize: int) -> str:
    """What is done to the test images, in a sentence."""
    return f"Test images were scaled to {test_resize} pixels at their shorter side before their centre was cut out."


def centre(image: Image.Image, shorter: int, target: tuple[int, int]) -> Image.Image:
    """The centre, `target` (width, height), of the image at a shorter side of so many pixels.

    As torchvision's Resize and CenterCrop, which the literature tests on.
    """
    least = min(image.size)
    width, height = (shorter if side == least else int(shorter * side / least) for side in image.size)
    if width * height > MOST_PIXELS:
        raise DataError(f"at --test_resize {shorter} it would have {width}×{height} pixels, more than {MOST_PIXELS}")
    scaled = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - target[0]) / 2), round((height - target[1]) / 2)
    return scaled.crop((left, top, left + target[0], top + target[1]))


def _fit(image: Image.Image, target: tuple[int, int], test_resize: int | None = None) -> Image.Image:
    """The image at `target` (width, height): covering it, then its centre; with `test_resize` as `centre` has it."""
    if test_resize:
        return centre(image, test_resize, target)
    return image if image.size == target else ImageOps.fit(image, target, Image.Resampling.BILINEAR)
