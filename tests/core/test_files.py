"""Files and folders are whole or not there."""

import errno
import os
import resource
import shutil
import subprocess
import sys

import pytest

from hf_dd.core import files
from hf_dd.errors import RunError


class Killed(BaseException):
    pass


def content(folder):
    return {path.name: path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_is_there_when_all_of_it_is(tmp_path, monkeypatch):
    flushed, fsync = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: flushed.append(descriptor) or fsync(descriptor))
    place = tmp_path / "new/place"
    with files.folder(place) as unfinished:
        (unfinished / "inner").mkdir()
        (unfinished / "a").write_text("1")
        (unfinished / "inner/b").write_text("2")
        assert not place.exists()
    assert content(place) == {"a": "1", "b": "2"} and len(flushed) == 5  # two files, two folders, and the one above
    assert [path.name for path in place.parent.iterdir()] == ["place"]


def test_a_folder_that_fails_leaves_what_was_there(tmp_path):
    place = tmp_path / "place"
    for text in ("1", "2"):
        with files.folder(place) as unfinished:
            (unfinished / "a").write_text(text)
        assert content(place) == {"a": text}
    with pytest.raises(Killed), files.folder(place) as unfinished:
        (unfinished / "a").write_text("3")
        raise Killed
    assert content(place) == {"a": "2"} and [path.name for path in tmp_path.iterdir()] == ["place"]


def test_what_a_killed_process_left_of_a_folder_is_removed_by_the_next(tmp_path):
    left = tmp_path / ".unfinished-place"
    left.mkdir()
    (left / "half").write_text("h")
    with files.folder(tmp_path / "place") as unfinished:
        (unfinished / "a").write_text("1")
    assert content(tmp_path) == {"a": "1"}


def test_files_that_may_not_be_changed_are_brought_to_the_disk_too(tmp_path):
    path = tmp_path / "a"
    path.write_text("1")
    path.chmod(0o444)
    files.flush(path)


def test_a_folder_stays_until_the_new_one_is_whole_and_other_entries_stay_too(tmp_path):
    place = tmp_path / "place"
    (place / "data").mkdir(parents=True)
    for name in ("data/old", "record", "notes"):
        (place / name).write_text(name)
    with files.folder(place, ["data", "record"]) as unfinished:
        assert content(place) == {"old": "data/old", "record": "record", "notes": "notes"}
        (unfinished / "record").write_text("new")
    assert content(place) == {"record": "new", "notes": "notes"} and not (place / "data").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["place"]


@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_is_replaced_with_and_without_a_system_that_exchanges(tmp_path, monkeypatch, exchange):
    if not exchange:
        monkeypatch.setattr(files, "_exchanged", lambda new, path: False)
    for text in ("1", "2"):
        with files.folder(tmp_path / "place") as unfinished:
            (unfinished / "a").write_text(text)
    assert content(tmp_path) == {"a": "2"} and [path.name for path in tmp_path.iterdir()] == ["place"]


@pytest.mark.parametrize(
    ("place", "words"),
    [("file/a", "Not a directory|File exists"), ("file/b/c", "Not a directory"), ("folder", "Is a directory")],
)
def test_what_the_disk_refuses_is_one_error_that_names_the_place(tmp_path, place, words):
    (tmp_path / "file").write_text("1")
    (tmp_path / "folder").mkdir()
    with pytest.raises(RunError, match=f"^{tmp_path / place} can't be written: ({words})"):
        files.write_json(tmp_path / place, {})
    assert content(tmp_path) == {"file": "1"}


def test_a_place_that_can_be_written_stays_as_it_is(tmp_path):
    for place in (tmp_path, tmp_path / "new", tmp_path / "new/and/deeper"):
        files.require_writable(place)
        assert list(tmp_path.iterdir()) == []


def test_a_disk_that_takes_no_byte_more_is_an_error_that_names_the_place(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises(RunError, match=f"^{tmp_path / 'new'} can't be written: File too large"):
            files.require_writable(tmp_path / "new")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_held_against_others_and_what_killed_ones_left_is_removed(tmp_path):
    place = tmp_path / "run"
    left = [tmp_path / ".unfinished-run", place / ".unfinished-a", place / "data/.unfinished-b"]
    for path in left:
        path.mkdir(parents=True)
    with files.claimed(place, "data"):
        assert not any(path.exists() for path in left)
        with files.claimed(place):  # by the same process
            pass
        assert held_elsewhere(place)
        with files.folder(place) as unfinished:
            (unfinished / "a").write_text("1")
        assert held_elsewhere(place)  # the new one too
    assert not held_elsewhere(place)
    with files.claimed(tmp_path / "other"):
        pass
    assert not (tmp_path / "other").exists()  # nothing was written


@pytest.mark.parametrize("name", ["record", "data/rows"])
def test_a_held_folder_that_somebody_removes_is_not_made_anew(tmp_path, name):
    place = tmp_path / "run"
    with files.claimed(place):
        files.write_text(place / name, "1")
        shutil.rmtree(place)
        for anew in (False, True):  # by another run
            if anew:
                place.mkdir()
            with pytest.raises(RunError, match=f"^{place / name} can't be written: somebody has removed it"):
                files.write_text(place / name, "2")
            with pytest.raises(RunError, match=f"^{place / 'step'} can't be written"), files.folder(place / "step"):
                pass
    assert content(tmp_path) == {}


def held_elsewhere(place):
    code = f"from pathlib import Path; from hf_dd.core import files\nwith files.claimed(Path({str(place)!r})): pass"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return f"RunError: Another run is writing into {place}" in done.stderr


def test_what_the_disk_does_not_let_go_is_one_error_too(tmp_path, monkeypatch):
    (tmp_path / "old").mkdir()

    def refused(path):
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(shutil, "rmtree", refused)
    with pytest.raises(RunError, match=f"^{tmp_path / 'old'} can't be removed: Disk quota exceeded"):
        files.remove(tmp_path / "old")
