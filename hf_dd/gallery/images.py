"""The images of a set's rows as they are stored, for pages: read by pyarrow, checked, never decoded to be shown."""

import base64
import contextlib
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from hf_dd.core.files import named_plainly
from hf_dd.data.unpacking import require_modest_file
from hf_dd.errors import DataError

MOST_IMAGES, MOST_BYTES = 2000, 2**24  # of one page
LARGEST_SIDE = 2048
LARGEST_COLUMN = 2**28  # bytes, decompressed
BATCH = 64  # rows that are read at once
IN_STRIP, STRIP_SIDE = 10, 32  # images, and their height at most
LOSSLESS = 4000  # pixels of a strip at most
STARTS = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"RIFF": "webp"}


class Picture(NamedTuple):
    """An image file as a row holds it, and its label."""

    label: int
    content: bytes

    @property
    def source(self) -> str:
        """As a `data:` address."""
        kind = next(kind for start, kind in STARTS.items() if self.content.startswith(start))
        return address(self.content, kind)


def address(content: bytes, kind: str) -> str:
    """An image file as a `data:` address."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def pictures(path: Path) -> tuple[list[Picture], list[int]]:
    """The images of a parquet file of rows, as many of each class as a page takes, and the labels of all rows.

    Nothing where it can't be read, or would take far more memory than a set of images.
    """
    import pyarrow
    import pyarrow.parquet

    found: list[Picture] = []
    quiet = (OSError, ValueError, TypeError, LookupError, AttributeError, pyarrow.ArrowException, DataError)
    with contextlib.suppress(*quiet):
        with pyarrow.parquet.ParquetFile(named_plainly(path)) as file:
            groups = [file.metadata.row_group(index) for index in range(file.metadata.num_row_groups)]
            columns = [group.column(index) for group in groups for index in range(group.num_columns)]
            wanted = [each for each in columns if each.path_in_schema.split(".")[0] in ("image", "label")]
            if sum(each.total_uncompressed_size for each in wanted) > LARGEST_COLUMN:
                return [], []
            require_modest_file(path)  # by its pages, as its metadata may lie
            labels = file.read(["label"]).column("label").to_pylist()
            keep, size = chosen(labels), 0
            for place, (label, content) in enumerate(stored(file)):
                if place in keep and (size := size + len(content)) <= MOST_BYTES and is_image(content):
                    found.append(Picture(label, content))
            return found, labels if found else []
    return [], []


def stored(file) -> Iterator[tuple[int, bytes]]:
    """Label and image file of each row."""
    for batch in file.iter_batches(BATCH, columns=["image", "label"]):
        for row in batch.to_pylist():
            yield row["label"], row["image"]["bytes"] or b""


def chosen(labels: Sequence[int]) -> set[int]:
    """The places of as many images of each class as a page takes, the first ones."""
    if not all(isinstance(label, int) and not isinstance(label, bool) for label in labels):
        return set()
    each = max(1, MOST_IMAGES // max(1, len(set(labels))))
    seen: Counter[int] = Counter()
    places = set()
    for place, label in enumerate(labels):
        seen[label] += 1
        if seen[label] <= each and len(places) < MOST_IMAGES:
            places.add(place)
    return places


def is_image(content: bytes) -> bool:
    """Whether bytes are an image file of a kind and a size that a page shows."""
    if not content.startswith(tuple(STARTS)):
        return False
    with contextlib.suppress(OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG", "WEBP")) as image:  # reads the header alone
            return max(image.size) <= LARGEST_SIDE
    return False


def strip(found: Sequence[Picture]) -> str | None:
    """One image of each of the first classes side by side, as a small `data:` address; None without images."""
    first = {}
    for picture in found:
        first.setdefault(picture.label, picture.content)
    tiles = []
    for label in sorted(first)[:IN_STRIP]:
        with contextlib.suppress(OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            tile = Image.open(io.BytesIO(first[label])).convert("RGB")
            if tile.height > STRIP_SIDE:
                width = max(1, round(tile.width * STRIP_SIDE / tile.height))
                tile = tile.resize((min(width, 4 * STRIP_SIDE), STRIP_SIDE), Image.Resampling.BOX)
            tiles.append(tile)
    if not tiles:
        return None
    whole, left = Image.new("RGB", (sum(tile.width for tile in tiles), max(tile.height for tile in tiles))), 0
    for tile in tiles:
        whole.paste(tile, (left, 0))
        left += tile.width
    written = io.BytesIO()
    whole.save(written, "WEBP", lossless=whole.width * whole.height <= LOSSLESS, quality=82)
    return address(written.getvalue(), "webp")
