"""Parquet files of a few kilobytes that would unpack to gigabytes."""

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from hf_dd.config import DataConfig
from hf_dd.data.image_data import load_data
from hf_dd.data.unpacking import MOST_UNPACKED_ALWAYS, require_modest, unpacked_size
from hf_dd.errors import DataError


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
        found = unpacked_size(tmp_path / f"{name}.parquet", 2**40)
        assert bytes_of_texts <= found <= 1.05 * bytes_of_texts
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and nothing else PAR1")
    require_modest(tmp_path)
