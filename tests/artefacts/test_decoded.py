"""Multi-formation in the artefact: compact images as the default rows, decoded ones beside them, students on these."""

import io
import json

import datasets
import numpy as np
import pytest
import torch
from huggingface_hub import DatasetCard, HfApi
from PIL import Image

import hf_dd
from hf_dd.artefacts.distilled_folder import load_distilled
from hf_dd.config import DataConfig
from hf_dd.core.files import digest_of
from hf_dd.core.layout import DECODED
from hf_dd.core.resources import resource
from hf_dd.errors import DataError
from hf_dd.synthetic.preview import preview
from tests.oracles import distillation as oracle

pytestmark = pytest.mark.usefixtures("one_thread")

OPTIONS = {"dataset": "digits", "iterations": 3, "real_batch_size": 4, "architecture_options": ["width=8", "depth=1"]}
EVALUATION = {"eval_architectures": ["MLP"], "eval_epochs": 2, "eval_students": 1}


@pytest.fixture(autouse=True)
def datasets_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def distil(folder, **options):
    return hf_dd.distill(**OPTIONS | {"ipc": 2, "factor": 2, "eval_students": 0} | options, output_dir=str(folder))


@pytest.fixture(scope="module")
def artefact(tmp_path_factory):
    """Two stored images per class, each of 2×2 tiles, as optimised pixels: some lie outside of [0, 1]."""
    return distil(tmp_path_factory.mktemp("decoded") / "set", image_learning_rate=20.0, iterations=10)


def arrays(rows):
    values = rows.with_format("numpy")["pixel_values"]
    return np.stack([np.asarray(value) for value in values])


def eight_bits(rows):
    return np.stack([np.asarray(image) for image in rows["image"]])[:, None]


def decoded_by_hand(images, factor):
    return np.array([[tile] for image in images for tile in oracle.tiles(image[0].tolist(), factor)])


def test_the_default_rows_are_compact_and_the_decoded_ones_are_their_tiles_resized(artefact):
    compact = datasets.load_dataset(str(artefact.folder), split="train")
    decoded = datasets.load_dataset(str(artefact.folder), "decoded", split="train")
    assert (len(compact), len(decoded)) == (20, 80)
    assert decoded.features == compact.features == artefact.load().features
    assert list(compact["label"]) == [label for label in range(10) for _ in range(2)]
    assert list(decoded["label"]) == [label for label in range(10) for _ in range(8)]
    pixels = arrays(compact)
    assert pixels.min() < 0 or pixels.max() > 1
    assert np.abs(arrays(decoded) - decoded_by_hand(pixels, 2)).max() < 1e-5  # of values up to 10


def test_the_8_bit_copy_of_the_decoded_images_holds_no_more_than_that_of_the_compact_ones(artefact):
    compact, decoded = eight_bits(artefact.load()), eight_bits(artefact.load("decoded"))
    by_hand = decoded_by_hand(compact / 255, 2)
    assert np.abs(decoded - 255 * by_hand).max() <= 0.5 + 1e-3
    from_floats = np.clip(arrays(artefact.load("decoded")), 0, 1) * 255
    assert (np.abs(decoded - from_floats) > 1).any()  # clipping before is something else than clipping after


def test_the_evaluation_trains_on_decoded_images_and_counts_the_stored_ones(artefact):
    name, distilled, record = load_distilled(str(artefact.folder))
    assert record["decoded"]["factor"] == 2 and record["decoded"]["images"] == 80
    assert torch.equal(distilled.copy("float"), torch.from_numpy(arrays(artefact.load("decoded"))))
    assert torch.equal(distilled.images, torch.from_numpy(eight_bits(artefact.load("decoded"))))
    assert (name, distilled.ipc, distilled.factor, len(distilled.labels)) == ("set", 2, 2, 80)
    compact = artefact.load().cast_column("image", datasets.Image(decode=False))
    pngs = [record["bytes"] for record in compact["image"]]
    assert (distilled.bytes("float"), distilled.bytes("8bit")) == (20 * 64 * 4, sum(map(len, pngs)))
    assert np.asarray(Image.open(io.BytesIO(pngs[0]))).shape == (8, 8)
    assert distilled.soft_label_bytes == 0
    assert record["storage"] == {"float": 20 * 64 * 4, "8bit": sum(map(len, pngs)), "soft_labels": 0}


def test_the_baselines_have_as_many_images_as_are_stored(artefact, tmp_path, monkeypatch):
    seen, stored = {}, {}
    train = hf_dd.evaluation.learners.Learners.train

    def spied(self, job, students, data):
        seen[job.candidate.name, job.candidate.copy] = len(job.candidate.images)
        stored[job.candidate.name] = job.candidate.bytes
        return train(self, job, students, data)

    monkeypatch.setattr(hf_dd.evaluation.learners.Learners, "train", spied)
    results = hf_dd.evaluate(sets=[str(artefact.folder)], output_dir=str(tmp_path), **EVALUATION)
    real = {(f"{kind}, ipc 2", "8bit"): 20 for kind in ("random real", "herding")}
    assert seen == {("set", "float"): 80, ("set", "8bit"): 80} | real
    assert [row.ipc for row in results.rows] == [2, 2, 2, 2]
    assert results.rows[0].bytes == 20 * 64 * 4 and results.rows[2].bytes == stored["random real, ipc 2"]


def test_the_preview_shows_the_stored_images(artefact):
    compact = artefact.load()
    expected = preview(
        torch.from_numpy(arrays(compact)), torch.tensor(compact["label"]), compact.features["label"].names
    )
    assert np.array_equal(np.asarray(Image.open(artefact.folder / "preview.png")), np.asarray(expected))


def test_a_double_precision_run_decodes_what_it_stores(tmp_path):
    artefact = distil(tmp_path / "set", dtype="float64", ipc=1)
    decoded = arrays(artefact.load("decoded"))
    assert np.abs(decoded - decoded_by_hand(arrays(artefact.load()), 2)).max() < 1e-6


def test_a_side_that_the_factor_does_not_divide(tmp_path):
    artefact = distil(tmp_path / "set", factor=3, ipc=1)
    decoded = artefact.load("decoded")
    assert len(decoded) == 90
    assert np.abs(arrays(decoded) - decoded_by_hand(arrays(artefact.load()), 3)).max() < 1e-6
    assert load_distilled(str(artefact.folder))[1].ipc == 1


def test_the_card_says_how_to_load_both(artefact):
    card = (artefact.folder / "README.md").read_text()
    assert 'load_dataset("PATH_OF_THIS_FOLDER", "decoded", split="train")' in card
    assert "each holds\n2×2 tiles" in card and "the 80 training images" in card
    front = DatasetCard(card).data.to_dict()
    assert [config["config_name"] for config in front["configs"]] == ["default", "decoded"]
    assert [config["data_files"][0]["path"] for config in front["configs"]] == ["data/train-*", "decoded/train-*"]
    infos = {info["config_name"]: info for info in front["dataset_info"]}
    assert {name: info["splits"][0]["num_examples"] for name, info in infos.items()} == {"default": 20, "decoded": 80}
    assert front["distillation"]["factor"] == 2


def test_a_set_without_tiles_has_one_configuration(artefact, tmp_path):
    plain = distil(tmp_path / "set", factor=1)
    assert not (plain.folder / "decoded").exists() and plain.record.decoded is None
    assert datasets.get_dataset_config_names(str(plain.folder)) == ["default"]
    assert datasets.get_dataset_config_names(str(artefact.folder)) == ["default", "decoded"]
    assert "decoded" not in (plain.folder / "README.md").read_text()


def test_overwriting_leaves_no_decoded_rows_behind(tmp_path):
    first = distil(tmp_path / "set", ipc=1)
    kept = arrays(first.load("decoded"))
    second = distil(tmp_path / "set", ipc=1, seed=1, overwrite_output_dir=True)  # as many bytes: the card tells
    assert np.abs(arrays(second.load("decoded")) - kept).max() > 0.1
    third = distil(tmp_path / "set", ipc=1, factor=1, overwrite_output_dir=True)
    assert not (third.folder / DECODED).exists() and load_distilled(str(third.folder))[1].factor == 1


def test_a_push_takes_both_and_the_next_one_what_there_is(tmp_path, unique):
    repo_id = unique()
    artefact = distil(tmp_path / "set", ipc=1)
    artefact.push(repo_id, tag="v1")
    assert DECODED in HfApi().list_repo_files(repo_id, repo_type="dataset", revision="v1")
    remote = datasets.load_dataset(repo_id, "decoded", revision="v1", split="train")
    assert np.array_equal(arrays(remote), arrays(artefact.load("decoded"))) and len(remote) == 40
    assert len(datasets.load_dataset(repo_id, revision="v1", split="train")) == 10
    name, distilled, _ = load_distilled(f"{repo_id}@v1")
    assert torch.equal(distilled.pixel_values, torch.from_numpy(arrays(remote)))
    assert (name, distilled.ipc, distilled.bytes("float")) == (f"{repo_id}@v1", 1, 10 * 64 * 4)
    assert f'load_dataset("{repo_id}", "decoded", revision="v1"' in DatasetCard.load(repo_id).text
    distil(tmp_path / "set", ipc=1, factor=1, overwrite_output_dir=True).push(repo_id, tag="v2")
    assert DECODED not in HfApi().list_repo_files(repo_id, repo_type="dataset", revision="v2")
    assert load_distilled(f"{repo_id}@v2")[1].factor == 1


def test_decoded_images_of_another_set_are_refused(tmp_path):
    artefact = distil(tmp_path / "set", ipc=1)
    rows = artefact.load("decoded").select(range(30))
    rows.to_parquet(artefact.folder / DECODED)
    with pytest.raises(DataError, match="aren't those that its hf_dd.json is of"):
        load_distilled(str(artefact.folder))
    record = json.loads((artefact.folder / "hf_dd.json").read_text())
    record["decoded"]["parquet_sha256"] = digest_of(artefact.folder / DECODED)
    (artefact.folder / "hf_dd.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match="The 30 decoded images of set aren't a square number of each of its 10 s"):
        load_distilled(str(artefact.folder))


@pytest.mark.parametrize("name", ["on_distilled", "with_timm", "with_transformers"])
def test_users_without_hf_dd_train_on_the_decoded_images(artefact, forks, tmp_path, name):
    digits = hf_dd.load_data(DataConfig())
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=digits.class_names)})
    columns = {
        "image": [image[0].numpy() for image in digits.test.images[:50]],
        "label": digits.test.labels[:50].tolist(),
    }
    (tmp_path / "real").mkdir()
    datasets.Dataset.from_dict(columns, features=features).to_parquet(f"{tmp_path}/real/test.parquet")
    options = {
        "on_distilled": ["--mean", 0.3, "--std", 0.4, "--students", 1],
        "with_timm": ["--model", "resnet10t"],
        "with_transformers": ["--output_dir", tmp_path / "model"],
    }[name]
    script = resource("scripts", f"train_{name}.py")
    shared = ["--configuration", "decoded", "--test_set", tmp_path / "real", "--epochs", 1]
    done = forks.run(script, artefact.folder, *shared, *options, cwd=tmp_path, PYTHONPATH=None, OMP_NUM_THREADS=1)
    assert done.returncode == 0, done.stderr
