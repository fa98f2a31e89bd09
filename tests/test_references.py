"""The one door for references: where each form leads, with nothing asked of the Hub."""

from pathlib import Path

import pytest

from hf_dd import hub
from hf_dd.data.image_data import load_data
from hf_dd.errors import DataError, HubError


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder `run` in the working directory, and a home with a folder `sets`; the Hub isn't to be asked."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(hub.client, "api", None)
    for name in ("run", "home/sets", "owner/name", "with@sign"):
        (tmp_path / name).mkdir(parents=True)


@pytest.mark.parametrize(
    ("reference", "path", "revision"),
    [
        ("run", "run", None),
        ("run/", "run", None),
        ("owner/name", "owner/name", None),  # a folder comes before a repository
        ("with@sign", "with@sign", None),
        ("run@epoch-1", "run", "epoch-1"),
        ("run@", "run", None),
        ("with@sign@epoch-1", "with@sign", "epoch-1"),
    ],
)
def test_a_folder_is_local_and_holds_its_files(reference, path, revision):
    place = hub.find(reference)
    assert (place.path, place.revision, place.local, place.pin) == (path, revision, True, None)
    assert place.folder(["*.json"]) == Path(path) and place.name == Path(path).name


@pytest.mark.parametrize("reference", ["d/a.npz", "d/set", "d/nothing.pt", "f/IMAGES.ZIP"])
def test_a_file_is_no_repository_whether_it_is_there_or_not(reference, tmp_path):
    (tmp_path / "d").mkdir()
    for name in ("a.npz", "set"):
        (tmp_path / "d" / name).write_bytes(b"x")
    assert hub.find(reference, "dataset") is None and hub.find(reference) is None
    there = (tmp_path / reference).exists()
    with pytest.raises(
        DataError, match=f"{reference} is a file. --dataset takes" if there else "There is no data set"
    ):
        load_data(reference)


def test_a_repository_that_ends_as_a_file_is_named_with_its_revision():
    assert hub.find("owner/net.pt@main").path == "owner/net.pt"


def test_a_home_is_found():
    assert hub.find("~/sets", "dataset").path == str(Path.home() / "sets")


@pytest.mark.parametrize(
    ("reference", "repo_id", "revision", "name"),
    [
        ("lab/some-set", "lab/some-set", None, "lab/some-set@main"),
        ("lab/some-set@v1", "lab/some-set", "v1", "lab/some-set@v1"),
        ("lab/some-set@refs/pr/1", "lab/some-set", "refs/pr/1", "lab/some-set@refs/pr/1"),
    ],
)
def test_a_repository_is_named_with_its_revision(reference, repo_id, revision, name):
    place = hub.find(reference, "dataset")
    assert (place.path, place.revision, place.local, place.name) == (repo_id, revision, False, name)


@pytest.mark.parametrize(
    "reference",
    ["", "@v1", "nothing", "a/b/c", "a/@v1", "lab/set@", "./lab/set", "~/nothing", "~nobody-at-all/x", "-a/b"],
)
def test_what_is_neither_leads_nowhere(reference):
    assert hub.find(reference) is None and hub.find(reference, "dataset") is None


def test_the_folder_of_a_data_set_has_no_revisions():
    assert hub.find("run@v1", "dataset") is None
    assert not hub.find("owner/name@v1", "dataset").local


@pytest.mark.parametrize("reference", [5, None, ["run"], b"run", {}])
def test_what_is_no_text_is_refused_by_its_type(reference):
    with pytest.raises(HubError, match=f"A reference is text or a path, not {type(reference).__name__}."):
        hub.find(reference)


def test_a_path_is_as_good_as_text():
    assert hub.find(Path("run")) == hub.find("run")
