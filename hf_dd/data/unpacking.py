"""Parquet files that would unpack to more than there is room for are refused before any of it is read."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from hf_dd.errors import DataError

if TYPE_CHECKING:
    import pyarrow

# Bytes that a byte of a file may become, beyond so many: images don't shrink much, and labels repeat themselves.
MOST_UNPACKED, MOST_UNPACKED_ALWAYS = 100, 2**28
COUNTED = 2**26  # bytes of a file that is counted row by row: a larger one may rightly become gigabytes
ROWS, FEW_ROWS = 1024, 16  # that are looked at together, and where each of them may be long


def require_modest(folder: str | Path) -> None:
    """Raise DataError where a parquet file below a folder would unpack to more than 100 times its size, and 256 MiB.

    First by what its metadata say; a small file's rows are counted too, as these may lie. Rows that share a text count
    with it each. A file that isn't readable passes: its reader says so.
    """
    import pyarrow

    for place, _, names in os.walk(folder):
        for path in (Path(place, name) for name in sorted(names) if name.endswith(".parquet")):
            most = max(MOST_UNPACKED_ALWAYS, path.stat().st_size * MOST_UNPACKED)
            try:
                unpacked = unpacked_size(path, most)
            except (pyarrow.ArrowException, OSError):
                continue
            if unpacked > most:
                raise DataError(
                    f"{path} has {path.stat().st_size:,} bytes and would unpack to {unpacked:,} or more, as no images "
                    "do. Remove it, or save its rows as images."
                )


def unpacked_size(path: Path, most: int) -> int:
    """About how many bytes the rows of a parquet file take in memory; counting ends beyond `most`."""
    import pyarrow.parquet

    about = pyarrow.parquet.read_metadata(path)
    groups = [about.row_group(number) for number in range(about.num_row_groups)]
    columns = [group.column(number) for group in groups for number in range(group.num_columns)]
    unpacked = sum(column.total_uncompressed_size + 8 * column.num_values for column in columns)
    if unpacked > most or path.stat().st_size > COUNTED:
        return unpacked
    texts = sorted({column.path_in_schema for column in columns if column.physical_type == "BYTE_ARRAY"})
    unpacked = 0
    for number in range(len(groups)):
        try:
            counted = sum_to(sizes_of(path, number, ROWS, texts), unpacked, most)
        except pyarrow.ArrowNotImplementedError:  # texts of which a part is shared
            counted = sum_to(sizes_of(path, number, FEW_ROWS, []), unpacked, most)
        unpacked = counted
        if unpacked > most:
            break
    return unpacked


def sizes_of(path: Path, group: int, rows: int, shared: list[str]) -> Iterator[int]:
    """The bytes of a row group, so many rows after the other; a text of the `shared` columns is read once."""
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path, read_dictionary=shared) as file:
        for batch in file.iter_batches(rows, row_groups=[group], use_threads=False):
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
