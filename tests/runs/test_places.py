"""A place that can't be written is refused before anything is read, and nothing is left there."""

import fcntl
import os

import pytest

from hf_dd import cli
from hf_dd.core import files

COMMANDS = {  # with inputs that aren't there, of which they would complain next
    "distill": ["--dataset", "NOWHERE", "--ipc", "1"],
    "distill --minutes 5": ["--dataset", "NOWHERE", "--ipc", "1"],
    "pretrain": ["--dataset", "NOWHERE"],
    "evaluate": ["NOWHERE"],
    "compare": ["NOWHERE"],
    "use continual": ["NOWHERE"],
    "use search": ["NOWHERE"],
    "use privacy": ["NOWHERE"],
    "import": ["NOWHERE", "--dataset", "NOWHERE"],
    "pool select": ["--dataset", "NOWHERE", "--ipc", "1", "--teachers", "me/a@v1", "me/b@v1"],
    "gallery build": ["NOWHERE"],
    "quickstart": [],
}


def refused(capsys, command, *arguments):
    """The one line that a command ends with."""
    with pytest.raises(SystemExit) as ended:
        cli.main([*command.split(), *map(str, arguments)])
    assert isinstance(ended.value.code, str), capsys.readouterr()
    return ended.value.code


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("file", "Not a directory"),
        ("file/below", "Not a directory"),
        ("/proc/none/out", "No such file or directory"),
        ("x" * 300, "File name too long"),
    ],
)
def test_a_place_that_cant_be_written_is_refused_before_anything_is_read(tmp_path, capsys, command, place, reason):
    (tmp_path / "file").write_text("mine")
    place = tmp_path / place
    option = "--output" if command == "gallery build" else "--output_dir"
    said = refused(capsys, command, *COMMANDS[command], option, place)
    assert said.startswith(f"hf-dd: error: {place} can't be written: {reason}. ")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


def test_a_single_sets_own_folder_is_where_its_results_have_to_go(tmp_path, capsys, monkeypatch):
    (tmp_path / "hf_dd.json").write_text("{}")
    tried = []
    monkeypatch.setattr(files, "require_writable", tried.append)
    refused(capsys, "evaluate", tmp_path)
    assert tried == [tmp_path]


def test_a_folder_of_somebody_elses_is_refused_before_the_data_are_read(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    said = refused(capsys, "distill", "--dataset", "NOWHERE", "--ipc", "1", "--output_dir", tmp_path)
    assert said.startswith(f"hf-dd: error: {tmp_path} isn't empty, and what it holds is no run of hf-dd: ")
    (tmp_path / "notes.txt").rename(tmp_path / ".unfinished-notes.txt")  # which a killed run left
    assert "NOWHERE" in refused(capsys, "distill", "--dataset", "NOWHERE", "--ipc", "1", "--output_dir", tmp_path)


def test_a_run_that_goes_on_in_a_folder_is_told_of_before_the_data_are_read(tmp_path, capsys):
    (tmp_path / "checkpoints").mkdir()
    asked = ("distill", "--dataset", "NOWHERE", "--ipc", "1", "--output_dir", tmp_path)
    assert "holds another run. Go on with it by" in refused(capsys, *asked)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # as another process holds it
        assert f"Another run is writing into {tmp_path}" in refused(capsys, *asked)
    finally:
        os.close(descriptor)


def test_an_unfinished_run_is_no_set_to_evaluate(tmp_path, capsys):
    step = tmp_path / "checkpoints/step-000002"
    step.mkdir(parents=True)
    assert "name its data set by --dataset" in refused(capsys, "evaluate", tmp_path)  # another tool's
    (step / "state.json").write_text("{}")
    assert f"{tmp_path} holds no finished run" in refused(capsys, "evaluate", tmp_path)
