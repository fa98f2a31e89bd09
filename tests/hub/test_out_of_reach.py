"""What is out of reach isn't taken for what isn't there."""

import shutil
from pathlib import Path

import pytest
from huggingface_hub import HfApi, constants, hf_hub_download

import hf_dd
from hf_dd import hub
from hf_dd.errors import HubError
from hf_dd.runs.foreign import is_foreign
from hf_dd.teachers import pins
from tests.artefacts.test_push import BEFORE

RECORD, CARD, LOCK = "hf_dd.json", "README.md", "pool.json"


@pytest.fixture
def cut(monkeypatch):
    """Puts the Hub out of reach."""
    return lambda: monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.fixture
def pushed(unique, tmp_path, monkeypatch):
    """A set of which another library has put the card and the rows into a new cache."""
    pin = hf_dd.push(shutil.copytree(BEFORE / "distilled", tmp_path / "set"), unique()).pin
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub._tree_cache._IN_MEMORY_TREE_CACHE", {})
    for name in (CARD, "data/train-00000-of-00001.parquet"):
        about = {"repo_type": "dataset", "revision": pin.revision, "cache_dir": tmp_path / "cache"}
        hf_hub_download(pin.repo_id, name, **about)
    return pin


def test_a_set_whose_record_is_not_in_the_cache_is_not_one_without(pushed, cut):
    cut()
    reference = f"{pushed.repo_id}@{pushed.revision}"
    for use in (hf_dd.load_distilled, pins.read, is_foreign):
        with pytest.raises(HubError, match="can't be reached: no answer .*isn't in the local cache"):
            use(reference)
    assert (hub.pull(pushed, "dataset", [CARD]) / CARD).is_file()


def test_a_refusal_is_told_as_one(pushed, monkeypatch):
    HfApi().update_repo_settings(pushed.repo_id, private=True, repo_type="dataset")
    monkeypatch.setattr(hub.client, "api", lambda: HfApi(token="hf_bob_token"))
    with pytest.raises(HubError, match="private and your token can't read it"):
        hub.pull(pushed, "dataset", [RECORD])
    assert (hub.pull(pushed, "dataset", [CARD]) / CARD).is_file()


def test_what_the_commit_lacks_is_no_error(pushed, cut):
    assert not (hub.pull(pushed, "dataset", ["nothing.json"]) / "nothing.json").exists()
    cut()
    assert not (hub.pull(pushed, "dataset", ["nothing.json", CARD]) / "nothing.json").exists()  # as was listed


def test_what_another_library_found_lacking_is_no_error(pushed, cut, tmp_path):
    with pytest.raises(Exception, match="nothing.json"):
        hf_hub_download(
            pushed.repo_id, "nothing.json", repo_type="dataset", revision=pushed.sha, cache_dir=tmp_path / "cache"
        )
    cut()
    folder = hub.pull(pushed, "dataset", ["nothing.json", CARD])
    assert isinstance(folder, Path) and not (folder / "nothing.json").exists()
    with pytest.raises(HubError, match="can't be reached"):
        hub.pull(pushed, "dataset", [LOCK])
