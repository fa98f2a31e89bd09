"""What is out of reach isn't taken for what isn't there."""

import json
import shutil
from pathlib import Path

import pytest
from huggingface_hub import HfApi, constants, hf_hub_download

import hf_dd
from hf_dd import hub
from hf_dd.config.commands import PoolVerifyOptions
from hf_dd.errors import HubError, TeacherError
from hf_dd.hub import permission
from hf_dd.runs import pools
from hf_dd.runs.foreign import is_foreign
from hf_dd.teachers import pins
from hf_dd.teachers.locating import load_teacher, locate
from tests.artefacts.test_push import BEFORE
from tests.factories import save_timm

RECORD, CARD, LOCK = "hf_dd.json", "README.md", "pool.json"


@pytest.fixture
def cut(monkeypatch):
    """Puts the Hub out of reach, of which nothing was asked before."""
    permission.namespaces_of.cache_clear()
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


@pytest.mark.parametrize("ask", [hub.user, lambda: hub.find_models(["x"]), lambda: hub.read_collection("a/b")])
def test_what_is_never_cached_is_not_said_to_be_missing_in_the_cache(ask, cut):
    cut()
    with pytest.raises(hub.Unreached, match="can't be reached: no answer") as raised:
        ask()
    assert "cache" not in str(raised.value)


def test_verify_tells_what_could_not_be_asked_from_what_fails(tiny_teachers, tmp_path, cut):
    hf_dd.create_pool("Out of reach", tiny_teachers.references[:2], output=tmp_path / "pool.json")
    place = str(tmp_path / "pool.json")
    options = PoolVerifyOptions(pool=place)
    assert all(line.startswith("ok ") for line in pools.verify(options))
    cut()
    lines = pools.verify(options)
    assert [next(lines).split()[0] for _ in range(2)] == ["UNKNOWN", "UNKNOWN"]
    with pytest.raises(hub.Unreached, match=f"2 of 2 teachers of {place} couldn't be asked for at {hub.endpoint()}"):
        next(lines)
    lock = json.loads((tmp_path / "pool.json").read_text())
    lock["teachers"].append(lock["teachers"][0] | {"repo_id": str(tmp_path / "gone"), "sha": f"sha256:{'0' * 64}"})
    (tmp_path / "pool.json").write_text(json.dumps(lock))
    with pytest.raises(TeacherError, match="1 of 3 .* can't be used any more. 2 of 3 .* couldn't be asked for"):
        list(pools.verify(options))


def test_a_teacher_that_another_library_cached_is_taken_without_files_of_ours(unique, tmp_path, monkeypatch, cut):
    save_timm(tmp_path / "model")
    repo_id = HfApi().create_repo(unique()).repo_id
    sha = HfApi().upload_folder(repo_id=repo_id, folder_path=tmp_path / "model").oid
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub._tree_cache._IN_MEMORY_TREE_CACHE", {})
    for name in ("config.json", "model.safetensors"):
        hf_hub_download(repo_id, name, revision=sha, cache_dir=tmp_path / "cache")
    cut()
    assert load_teacher(*locate(hub.Pin(repo_id, sha, sha))).spec.library == "timm"
