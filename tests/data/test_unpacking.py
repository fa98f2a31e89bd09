"""Parquet files of a few kilobytes that would unpack to gigabytes."""

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hf_dd.config import DataConfig
from hf_dd.data.image_data import load_data
from hf_dd.data.parquet_pages import pages
from hf_dd.data.unpacking import MOST_UNPACKED_ALWAYS, require_modest, unpacked_size
from hf_dd.errors import DataError
from hf_dd.gallery.images import pictures


def written(path, column, groups=1, **options):
    """A table of texts and labels as row groups; gives how many bytes they are in memory, shared ones counted each."""
    images = pyarrow.StructArray.from_arrays([column, pyarrow.nulls(len(column), pyarrow.string())], ["bytes", "path"])
    table = pyarrow.table([images, pyarrow.array(np.arange(len(column)) % 3)], names=["image", "label"])
    with pyarrow.parquet.ParquetWriter(path, table.schema, compression="zstd", **options) as writer:
        for _ in range(groups):
            writer.write_table(table)
    return groups * sum(len(text or b"") for text in column.to_pylist())


MEGABYTE = pyarrow.array([bytes(2**20)])
BOMBS = {
    "pages of zeros": lambda path: written(path, MEGABYTE.take(pyarrow.array([0] * 32)), 16, use_dictionary=False),
    "one text for many rows": lambda path: written(path, MEGABYTE.take(pyarrow.array([0] * 32)), 16),
    "rows of nothing": lambda path: written(path, pyarrow.nulls(2**21, pyarrow.binary()), 8),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_what_unpacks_to_more_than_there_may_be_is_refused(tmp_path, bomb):
    BOMBS[bomb](tmp_path / "train.parquet")
    assert (tmp_path / "train.parquet").stat().st_size < MOST_UNPACKED_ALWAYS // 100
    with pytest.raises(DataError, match=f"{tmp_path / 'train.parquet'} has .* and would unpack to .* Remove it"):
        load_data(DataConfig(dataset=str(tmp_path)))


def test_texts_are_counted_as_often_as_they_come_and_files_that_cannot_be_read_pass(tmp_path):
    rng = np.random.default_rng(0)
    texts = pyarrow.array([rng.bytes(1000) for _ in range(300)])
    for name, column in (("own", texts), ("shared", texts.take(pyarrow.array(rng.integers(0, 9, 3000))))):
        bytes_of_texts = written(tmp_path / f"{name}.parquet", column, 2)
        found = unpacked_size(tmp_path / f"{name}.parquet", 10**7)
        assert bytes_of_texts <= found <= 1.05 * bytes_of_texts
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and nothing else PAR1")
    require_modest(tmp_path)


def lied_about(path):
    """Let the metadata of a file say that its large columns unpack to one byte."""
    content = path.read_bytes()
    length = int.from_bytes(content[-8:-4], "little")
    pages, footer = content[: -8 - length], content[-8 - length :]
    about = pyarrow.parquet.read_metadata(path)
    for group in range(about.num_row_groups):
        for column in range(about.num_columns):
            size = about.row_group(group).column(column).total_uncompressed_size
            if len(true := varint(2 * size)) > 3:
                footer = footer.replace(true, bytes([0x82, *[0x80] * (len(true) - 2), 0]))
    path.write_bytes(pages + footer)


def varint(number):
    """A number as Thrift writes it: seven bits a byte, the lowest first."""
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def test_a_page_is_as_large_as_its_header_says_whatever_the_metadata_say(tmp_path):
    path = tmp_path / "train.parquet"
    sizes = MEGABYTE.take(pyarrow.array([0] * 300))
    options = {"use_dictionary": False, "data_page_size": 2**30, "data_page_version": "2.0"}
    written(path, sizes, **options)
    lied_about(path)
    group = pyarrow.parquet.read_metadata(path).row_group(0)
    assert all(group.column(number).total_uncompressed_size < 10_000 for number in range(group.num_columns))
    assert unpacked_size(path, 2**40) >= 300 * 2**20
    with pytest.raises(DataError, match="would unpack to"):
        require_modest(tmp_path)


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=st.lists(st.integers(0, 400), min_size=1, max_size=60),
    options=st.fixed_dictionaries(
        {
            "data_page_version": st.sampled_from(["1.0", "2.0"]),
            "use_dictionary": st.booleans(),
            "data_page_size": st.sampled_from([64, 2**20]),
            "write_statistics": st.booleans(),
        }
    ),
)
def test_pages_unpack_to_what_an_honest_file_says(tmp_path, lengths, options):
    path = tmp_path / "honest.parquet"
    written(path, pyarrow.array([bytes([length % 256]) * length for length in lengths]), 2, **options)
    about = pyarrow.parquet.read_metadata(path)
    for column in (about.row_group(group).column(number) for group in (0, 1) for number in range(about.num_columns)):
        start = column.dictionary_page_offset or column.data_page_offset
        found = list(pages(path, start, column.total_compressed_size))
        values = sum(page.values for page in found if not page.is_dictionary)
        headers = column.total_uncompressed_size - sum(page.unpacked for page in found)
        assert values == column.num_values == len(lengths)
        assert 0 < headers < (200 + 2 * max(lengths)) * len(found)  # with the statistics in headers


@pytest.mark.parametrize("damage", [b"", b"\xff" * 40, b"\x1c" * 40, b"\x15\x80" + b"\x80" * 12])
def test_headers_that_are_none_say_so(tmp_path, damage):
    (tmp_path / "pages").write_bytes(damage)
    with pytest.raises(ValueError, match=r"page header|64 bits"):
        list(pages(tmp_path / "pages", 0, 100))


def test_files_without_rows_are_small(tmp_path):
    written(tmp_path / "none.parquet", pyarrow.array([], pyarrow.binary()))
    assert unpacked_size(tmp_path / "none.parquet", 100) < 100


def test_pages_of_sets_show_no_file_that_lies(tmp_path):
    path = tmp_path / "train.parquet"
    written(path, MEGABYTE.take(pyarrow.array([0] * 300)), use_dictionary=False, data_page_size=2**30)
    lied_about(path)
    assert pictures(path) == ([], [])
