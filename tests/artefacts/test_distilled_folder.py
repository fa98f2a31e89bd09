"""The order in which a folder is written: a crash never leaves a record beside rows that it isn't of."""

import gc
import os
import shutil
import sys
from pathlib import Path

import pyarrow.parquet
import pytest

from hf_dd.artefacts import distilled_folder, rows
from hf_dd.artefacts.distilled_folder import Artefact, write_images
from hf_dd.core import files
from hf_dd.core.layout import RECORD
from hf_dd.errors import RunError

BEFORE = Path(__file__).parents[1] / "fixtures" / "before" / "distilled"


@pytest.mark.parametrize("crash", ["preview.png", rows.PARQUET, rows.DECODED, None])
def test_an_old_record_is_gone_before_anything_new_is_written(crash, tmp_path, monkeypatch):
    folder = Path(shutil.copytree(BEFORE, tmp_path / "set"))
    old = Artefact.open(folder)
    stored, decoded = old.load("default"), old.load("decoded")
    written, write = [], files.write

    def writing(path, save):
        assert not (folder / RECORD).exists(), f"{path.name} is written beside an old record"
        written.append(path)
        if crash and path == folder / crash:
            raise OSError("the disk is full")
        return write(path, save)

    monkeypatch.setattr(files, "write", writing)
    image = distilled_folder.preview(*pixels_of(stored))
    if crash:
        with pytest.raises(OSError, match="the disk is full"):
            write_images(folder, stored, image, decoded)
    else:
        write_images(folder, stored, image, decoded)
        assert written == [folder / "preview.png", folder / rows.PARQUET, folder / rows.DECODED]
    with pytest.raises(RunError, match="no finished run"):
        Artefact.open(folder)


@pytest.mark.parametrize("name", ["a::b", "file:x", "./~/x", "hf:x", "memory:x"])
def test_rows_are_written_and_read_where_libraries_would_take_a_name_for_an_address(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    stored = rows._rows_of(BEFORE / rows.PARQUET, "before")
    folder = Path(name)
    facts = rows.write_rows(folder, stored)
    assert rows._rows_of(folder / rows.PARQUET, name)[:] == stored[:]
    rows.require_as_large_as_it_looks(folder / rows.PARQUET, name)
    assert os.listdir(tmp_path) == [folder.parts[0]]
    with (tmp_path / "to_parquet").open("wb") as file:
        stored.to_parquet(file)
    assert facts["parquet_sha256"] == files.digest_of(tmp_path / "to_parquet")


@pytest.mark.parametrize("ended", [SystemExit(143), OSError(28, "No space left on device")])
def test_a_write_that_ends_early_ends_in_that_alone(ended, tmp_path, monkeypatch):
    def end(*_):
        raise ended

    told = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    monkeypatch.setattr(pyarrow.parquet.ParquetWriter, "write_table", end)
    with pytest.raises(RunError if isinstance(ended, OSError) else SystemExit):
        rows.write_rows(tmp_path, rows._rows_of(BEFORE / rows.PARQUET, "before"))
    ended.__traceback__ = None  # which holds the writer
    gc.collect()
    assert not told and not list(tmp_path.rglob("*.parquet"))


def pixels_of(dataset):
    columns = dataset.with_format("torch")[:]
    return columns["pixel_values"], columns["label"]


def test_rows_that_are_not_compact_leave_no_decoded_ones_of_an_older_set(tmp_path):
    folder = Path(shutil.copytree(BEFORE, tmp_path / "set"))
    stored = Artefact.open(folder).load("default")
    assert (folder / rows.DECODED).is_file()
    facts = write_images(folder, stored, distilled_folder.preview(*pixels_of(stored)))
    assert not (folder / rows.DECODED).exists() and "decoded" not in facts
