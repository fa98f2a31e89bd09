"""Objects of `datasets` where a reference is taken."""

import json

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

import hf_dd
from hf_dd.config import DataConfig, DistillConfig
from hf_dd.errors import ConfigError, DataError
from tests.factories import SMALL, assert_clean


def rows(count, seed=0, classes=("cat", "dog")):
    draws = np.random.default_rng(seed).integers(0, 256, (count, 6, 6), dtype=np.uint8)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(classes))})
    labels = [index % len(classes) for index in range(count)]
    columns = {"image": [Image.fromarray(image) for image in draws], "label": labels}
    return datasets.Dataset.from_dict(columns, features=features), torch.from_numpy(draws).unsqueeze(1)


def test_a_dataset_is_a_training_split():
    given, pixels = rows(12)
    data = hf_dd.load_data(given)
    assert torch.equal(data.train.images, pixels) and data.test is None
    assert (data.name, data.reference, data.class_names) == ("dataset", "memory:dataset", ["cat", "dog"])
    chosen = hf_dd.load_data(given.with_format("torch").select([7, 2, 5, 0]))
    assert torch.equal(chosen.train.images, pixels[[7, 2, 5, 0]])
    assert chosen.train.labels.tolist() == [1, 0, 1, 0] and chosen.fingerprint != data.fingerprint


def test_a_dataset_dict_has_its_splits_and_options_apply():
    given = datasets.DatasetDict({"all": rows(12)[0], "test": rows(4, 1)[0]})
    data = hf_dd.load_data(DataConfig(dataset=given, train_split="all", image_size=4))
    assert len(data.train) == 12 and len(data.test) == 4 and data.image_size == (4, 4)
    with pytest.raises(DataError, match="There is no split 'train'; there are: all, test"):
        hf_dd.load_data(given)


def test_a_transform_of_its_user_is_left_out():
    given, pixels = rows(6)
    for other in (given.with_transform(lambda batch: {"seen": batch["image"]}), given.with_format("numpy")):
        assert torch.equal(hf_dd.load_data(other).train.images, pixels)


def test_files_that_were_written_anew_are_read_anew(tmp_path):
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    paths = [str(tmp_path / f"{number}.png") for number in range(4)]
    seen = []
    for seed in (1, 2):
        pixels = rows(4, seed)[1]
        for path, image in zip(paths, pixels, strict=True):
            Image.fromarray(image[0].numpy()).save(path)
        given = datasets.Dataset.from_dict({"image": paths, "label": [0, 1, 0, 1]}, features=features)
        seen.append(hf_dd.load_data(given))
        assert torch.equal(seen[-1].train.images, pixels)
    assert seen[0].fingerprint != seen[1].fingerprint


def test_the_training_split_tests_nobody():
    given = datasets.DatasetDict({"train": rows(12)[0], "test": rows(4, 1)[0]})
    with pytest.raises(ConfigError, match="--test_split train is the training split: name another one"):
        hf_dd.load_data(DataConfig(dataset=given, test_split="train"))


def test_a_path_is_a_reference(tmp_path):
    rows(6)[0].save_to_disk(tmp_path / "pets")
    assert hf_dd.load_data(tmp_path / "pets").reference == str(tmp_path / "pets")


@pytest.mark.parametrize("given", [3, ["digits"], {}, rows(2)[0].to_iterable_dataset()])
def test_what_is_none_is_one_error(given):
    with pytest.raises(ConfigError, match="it takes a reference, a datasets.Dataset or a DatasetDict"):
        DistillConfig(dataset=given)


def test_a_distillation_of_one_its_evaluation_and_its_card(tmp_path):
    given = datasets.DatasetDict({"train": rows(12)[0], "test": rows(4, 1)[0]})
    options = SMALL | {"iterations": 1, "real_batch_size": 2, "eval_protocol": "dc", "eval_epochs": 1}
    options |= {"eval_architectures": "MLP", "baselines": "none", "eval_students": 1}
    folder = tmp_path / "set"
    made = hf_dd.distill(dataset=given, output_dir=str(folder), **options)
    record = json.loads((folder / "hf_dd.json").read_text())
    assert record["data"]["reference"] == record["settings"]["dataset"] == "memory:dataset"
    assert record["data"]["fingerprint"] == hf_dd.load_data(given).fingerprint and record["command"] == ""
    assert made.record.results["rows"][0]["n"] == 1
    card = (folder / "README.md").read_text()
    assert_clean(card)
    digits = record["data"]["fingerprint"]
    assert f"No command repeats this: the data set `dataset` (fingerprint `{digits}`) was an object in memory" in card
    assert "hf-dd distill" not in card
    again = {"sets": str(folder), "eval_epochs": 1, "eval_students": 1, "eval_architectures": "MLP"}
    with pytest.raises(DataError, match="memory:dataset was an object of a program"):
        hf_dd.evaluate(**again)
    results = hf_dd.evaluate(dataset=given, eval_protocol="dc", baselines="none", **again)
    assert results.rows[0].scores == tuple(made.record.results["rows"][0]["scores"])


def test_teachers_of_one(tmp_path):
    given = datasets.DatasetDict({"train": rows(12)[0], "test": rows(4, 1)[0]})
    (folder,) = hf_dd.pretrain(dataset=given, architectures="MLP", epochs=1, output_dir=str(tmp_path))
    card = (folder / "epoch-1/README.md").read_text()
    assert_clean(card)
    assert "No command repeats this: the data set `dataset` (fingerprint `" in card
    pool = hf_dd.TeacherPool.from_references(str(folder))
    made = hf_dd.distill(dataset=given, pool=pool, clom="ce", output_dir=str(tmp_path / "set"), **SMALL, iterations=1)
    assert made.record.teachers[0]["dataset"] == "dataset"
