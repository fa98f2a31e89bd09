"""Data sets of the Hub are what their pinned commit holds: as `load_dataset` reads it, and nothing else."""

import io
import json

import datasets
import numpy as np
import pytest
from huggingface_hub import CommitOperationAdd, HfApi, constants
from PIL import Image

from hf_dd import hub
from hf_dd.config import DataConfig
from hf_dd.data.image_data import load_data
from hf_dd.data.loading import load_splits
from hf_dd.errors import DataError, HubError

TRAIN, TEST = "data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"
NAMES = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})


@pytest.fixture(autouse=True)
def datasets_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets_cache")


def png(value):
    stream = io.BytesIO()
    Image.fromarray(np.full((4, 4), value, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def parquet(*values):
    rows = {"image": [Image.open(io.BytesIO(png(value))) for value in values], "label": [0, 1] * (len(values) // 2)}
    stream = io.BytesIO()
    datasets.Dataset.from_dict(rows, features=NAMES).to_parquet(stream)
    return stream.getvalue()


def card(text):
    return f"---\nlicense: mit\n{text}\n---\n".encode()


CONFIGS = card(
    """configs:
- config_name: small
  data_files:
  - split: train
    path: small/*.parquet
- config_name: big
  default: true
  data_files:
  - split: train
    path: ["big/one.parquet", "big/t*.parquet"]
  - split: test
    path: other/x.parquet
- config_name: unseen
  data_files: unseen/*.parquet"""
)
LAYOUTS = {
    "without a card": (None, {TRAIN: parquet(1, 2), TEST: parquet(3, 4)}),
    "a card without configurations": (None, {"README.md": card("tags: [x]"), TRAIN: parquet(1, 2)}),
    "the default configuration": (None, CONFIGS),
    "a named configuration": ("small", CONFIGS),
    "folders of a class": (
        None,
        {f"{s}/{c}/{n}.png": png(n) for s in ("train", "test") for c in "ab" for n in (5, 6)},
    ),
    "a folder of data": (
        "one",
        {
            "README.md": card("configs:\n- config_name: one\n  data_dir: a\n- config_name: two\n  data_dir: b"),
            "a/train.parquet": parquet(1, 2),
            "b/train.parquet": parquet(3, 4),
        },
    ),
    "patterns across folders": (
        None,
        {
            "README.md": card("configs:\n- config_name: one\n  data_files: data/**/*.parquet"),
            "data/train.parquet": parquet(1, 2),
            "data/sub/more.parquet": parquet(3, 4),
        },
    ),
    "files of a folder of data": (
        "two",
        {
            "README.md": card(
                "configs:\n- config_name: one\n  data_files: b/*.parquet\n"
                "- config_name: two\n  data_dir: a\n  data_files: train*.parquet"
            ),
            "a/train.parquet": parquet(1, 2),
            "b/train.parquet": parquet(3, 4),
        },
    ),
    "older infos": (
        None,
        {
            TRAIN: parquet(1, 2),
            "dataset_infos.json": json.dumps(
                {"default": {"features": NAMES.to_dict(), "splits": {"train": {"name": "train", "num_examples": 2}}}}
            ).encode(),
        },
    ),
    "saved by save_to_disk's names": (None, {TRAIN: parquet(1, 2), "state.json": b"{}", "dataset_dict.json": b"{}"}),
}
PARTS = {
    "README.md": CONFIGS,
    "small/a.parquet": parquet(1, 2),
    "big/one.parquet": parquet(3, 4),
    "big/two.parquet": parquet(5, 6),
    "big/unused.parquet": parquet(9, 9),
    "other/x.parquet": parquet(7, 8),
    "unseen/u.parquet": parquet(0, 0),
}


@pytest.fixture
def push(unique, monkeypatch):
    """Pushes files as one commit, a card without a look at it; returns the repository and the commit."""
    monkeypatch.setattr(HfApi, "_validate_yaml", lambda *given, **named: None)

    def push(files, repo_id=None):
        api, repo_id = HfApi(), repo_id or unique()
        api.create_repo(repo_id, repo_type="dataset", exist_ok=True)
        operations = [CommitOperationAdd(name, content) for name, content in files.items()]
        return repo_id, api.create_commit(repo_id, operations, commit_message="x", repo_type="dataset").oid

    return push


def splits(reference, configuration=None):
    return load_splits(hub.find(reference, "dataset"), DataConfig(reference, dataset_config=configuration))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_commit_is_read_as_load_dataset_reads_it(push, layout):
    configuration, files = LAYOUTS[layout]
    repo_id, sha = push(PARTS if files is CONFIGS else files)
    ours = splits(f"{repo_id}@{sha}", configuration)
    theirs = datasets.load_dataset(repo_id, configuration, revision=sha)
    assert list(ours) == list(theirs)
    for name in theirs:
        assert ours[name].features == theirs[name].features
        assert [(row["label"], np.array(row["image"]).tolist()) for row in ours[name]] == [
            (row["label"], np.array(row["image"]).tolist()) for row in theirs[name]
        ]


def test_only_what_a_configuration_needs_is_pulled(push):
    repo_id, sha = push(PARTS)
    splits(f"{repo_id}@{sha}")
    folder = hub.pull(hub.Pin(repo_id, "main", sha), "dataset", ["README.md"])
    assert {path.name for path in folder.rglob("*.parquet")} == {
        "a.parquet",
        "one.parquet",
        "two.parquet",
        "x.parquet",
    }


def test_a_repository_is_read_at_its_commit(push):
    repo_id, first = push({"README.md": card("tags: [x]"), TRAIN: parquet(1, 2)})
    _, second = push({TRAIN: parquet(3, 4), "README.md": card("tags: [y]").replace(b"mit", b"[]")}, repo_id)
    data = load_data(DataConfig(f"{repo_id}@{first}"))
    assert (data.name, data.reference, data.license) == (repo_id, f"{repo_id}@{first}", "mit")
    assert (data.repo_id, data.revision, data.sha) == (repo_id, first, first)
    assert data.train.images[:, 0, 0, 0].tolist() == [1, 2]
    data = load_data(DataConfig(repo_id))
    assert (data.reference, data.sha, data.license) == (repo_id, second, "unknown")
    assert data.train.images[:, 0, 0, 0].tolist() == [3, 4]


def test_out_of_reach_only_the_pinned_commit_counts(push, monkeypatch):
    repo_id, first = push({TRAIN: parquet(1, 2)})
    HfApi().create_tag(repo_id, tag="v1", repo_type="dataset", revision=first)
    _, second = push({TRAIN: parquet(3, 4)}, repo_id)
    datasets.load_dataset(repo_id, revision=second)  # the newest in the cache of `datasets`
    datasets.load_dataset(repo_id, revision=first)
    load_data(DataConfig(f"{repo_id}@v1"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert load_data(DataConfig(f"{repo_id}@v1")).train.images[:, 0, 0, 0].tolist() == [1, 2]
    assert load_data(DataConfig(f"{repo_id}@{second}")).train.images[:, 0, 0, 0].tolist() == [3, 4]
    with pytest.raises(HubError, match="can't be reached: no answer"):
        load_data(DataConfig(f"{repo_id}@{'0123456789' * 4}"))


def test_a_commit_that_never_was_is_one_clear_line(push):
    repo_id, _ = push({TRAIN: parquet(1, 2)})
    with pytest.raises(HubError, match="has no such branch, tag or commit"):
        load_data(DataConfig(f"{repo_id}@{'0123456789' * 4}"))


@pytest.mark.parametrize("where", ["../*/*.parquet", "PATH/x.parquet", "hf://datasets/OTHER/data/*.parquet"])
def test_files_that_the_commit_does_not_pin_are_refused(push, tmp_path, where):
    (tmp_path / "x.parquet").write_bytes(parquet(7, 8))
    other, _ = push({TRAIN: parquet(5, 6)})
    splits(other)
    where = where.replace("PATH", str(tmp_path)).replace("OTHER", other)
    listed = card(f"configs:\n- config_name: default\n  data_files:\n  - split: train\n    path: {where}")
    repo_id, sha = push({"README.md": listed, TRAIN: parquet(1, 2)})
    if where.startswith(".."):
        repo_id, _ = push({"README.md": card("tags: [x]"), "x.parquet": parquet(3, 4)}, repo_id)
        splits(repo_id)
    with pytest.raises(DataError, match="isn't in its repository|can't be read"):
        splits(f"{repo_id}@{sha}")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"README.md": b"---\nconfigs: [5]\n---\n", TRAIN: parquet(1, 2)}, "can't be read"),
        ({"README.md": b"---\nconfigs: {a: [}\n---\n", TRAIN: parquet(1, 2)}, "can't be read"),
        ({"README.md": card("configs: 7"), TRAIN: parquet(1, 2)}, "can't be read"),
        ({"README.md": card("tags: [x]")}, "can't be read"),
        ({TRAIN: b"PAR1 not really PAR1"}, "can't be read"),
        (PARTS, "Name one with --dataset_config"),
    ],
    ids=["no mapping", "no YAML", "no list", "no files", "no parquet", "no such configuration"],
)
def test_what_cannot_be_read_is_one_clear_line(push, files, message):
    repo_id, sha = push(files)
    with pytest.raises(DataError, match=message) as raised:
        splits(repo_id, "nope" if files is PARTS else None)
    assert "\n" not in str(raised.value) and repo_id in str(raised.value)


def test_a_script_is_not_run(push):
    repo_id, _ = push({TRAIN: parquet(1, 2)})
    push({f"{repo_id.partition('/')[2]}.py": b"raise SystemExit"}, repo_id)
    with pytest.raises(DataError, match="a script of its own, .*none is run"):
        splits(repo_id)
