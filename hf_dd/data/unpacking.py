"""Parquet files that would unpack to more than there is room for are refused before any of it is read."""

import contextlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from hf_dd.core.files import named_plainly
from hf_dd.data.parquet_pages import pages
from hf_dd.errors import DataError

if TYPE_CHECKING:
    import pyarrow

# Bytes that a byte of a file may become, beyond so many: images don't shrink much (gzipped ones by 10), labels repeat.
MOST_UNPACKED, MOST_UNPACKED_ALWAYS = 100, 2**28
ROWS, FEW_ROWS = 1024, 16  # that are looked at together, and where each of them may be long


def require_modest(folder: str | Path) -> None:
    """Raise DataError where a parquet file below a folder would unpack to more than 100 times its size, and 256 MiB.

    By the headers of its pages, not by its metadata, which may lie. Rows that share a text count with it each. A file
    that isn't readable passes: its reader says so.
    """
    import pyarrow

    for place, _, names in os.walk(folder):
        for path in (Path(place, name) for name in sorted(names) if name.endswith(".parquet")):
            with contextlib.suppress(pyarrow.ArrowException, OSError, ValueError):
                require_modest_file(path)


def require_modest_file(path: Path, times: int = MOST_UNPACKED, always: int | None = None) -> None:
    """The same of one file, or with other limits; raises what its reader raises where it isn't readable."""
    most = max(MOST_UNPACKED_ALWAYS if always is None else always, path.stat().st_size * times)
    unpacked = unpacked_size(path, most)
    if unpacked > most:
        raise DataError(
            f"{path} has {path.stat().st_size:,} bytes and would unpack to {unpacked:,} or more, as no images "
            "do. Remove it, or save its rows as images."
        )


def unpacked_size(path: Path, most: int) -> int:
    """About how many bytes the rows of a parquet file take in memory; counting ends beyond `most`.

    Rows are looked at only where those that share texts could take more than that: what they could take at most is the
    longest text that there may be for each.
    """
    import pyarrow.parquet

    about = pyarrow.parquet.read_metadata(named_plainly(path))
    groups = [about.row_group(number) for number in range(about.num_row_groups)]
    unpacked, shared = Counter(), Counter()  # by column: what its pages take, what rows that share texts might
    for column in (group.column(number) for group in groups for number in range(group.num_columns)):
        offsets = column.data_page_offset, column.dictionary_page_offset  # 0 or None where there is no such page
        start, longest = min(filter(None, offsets), default=0), 0
        for page in pages(path, start, column.total_compressed_size if start else 0):
            unpacked[column.path_in_schema] += page.unpacked + 8 * page.values
            longest = max(longest, page.unpacked * page.is_dictionary)
            if page.refers and column.physical_type == "BYTE_ARRAY":
                shared[column.path_in_schema] += page.values * longest
            if unpacked.total() > most:
                return unpacked.total()
    if unpacked.total() + shared.total() <= most:
        return unpacked.total()
    counted = sum(size for column, size in unpacked.items() if column not in shared)
    for number in range(len(groups)):
        try:
            counted = sum_to(sizes_of(path, number, ROWS, sorted(shared), True), counted, most)
        except pyarrow.ArrowNotImplementedError:  # texts of which a part is shared
            counted = sum_to(sizes_of(path, number, FEW_ROWS, sorted(shared), False), counted, most)
        if counted > most:
            break
    return counted


def sizes_of(path: Path, group: int, rows: int, columns: list[str], once: bool) -> Iterator[int]:
    """The bytes of some columns of a row group, so many rows after the other; `once` reads a shared text once."""
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(named_plainly(path), read_dictionary=columns if once else []) as file:
        for batch in file.iter_batches(rows, row_groups=[group], columns=columns, use_threads=False):
            yield sum(map(size_of, batch.columns))


def sum_to(sizes: Iterable[int], start: int, most: int) -> int:
    """The sum of some sizes and what it starts from; it ends beyond `most`."""
    for size in sizes:
        start += size
        if start > most:
            break
    return start


def size_of(array: "pyarrow.Array") -> int:
    """The bytes of an array, with every text as often as it comes."""
    import pyarrow
    from pyarrow import compute

    if isinstance(array, pyarrow.DictionaryArray):
        lengths = compute.binary_length(array.dictionary)
        return compute.sum(lengths.take(array.indices).cast(pyarrow.int64())).as_py() or 0
    if isinstance(array, pyarrow.StructArray):
        return sum(map(size_of, array.flatten()))
    return array.nbytes
