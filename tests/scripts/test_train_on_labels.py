"""The example that trains on labels of crops with datasets and torch alone: it sees and learns what hf_dd does."""

import re

import datasets
import pytest
import torch

import hf_dd
from hf_dd.artefacts.distilled_folder import load_distilled
from hf_dd.config import DataConfig
from hf_dd.core.resources import resource
from tests.scripts import loading

pytestmark = pytest.mark.usefixtures("one_thread")
SCRIPT = resource("scripts", "train_on_labels.py")


@pytest.fixture(scope="module")
def example():
    """The script as a module."""
    return loading.script("train_on_labels")


def distil(folder, tiny_teachers, **options):
    shared = {"dataset": "digits", "objective": "random", "eval_students": 0, "soft_labels": "crops"}
    return hf_dd.distill(**shared | options, teachers=tiny_teachers.references[:1], output_dir=str(folder))


@pytest.mark.parametrize(("mix", "topk"), [("cutmix", 3), ("mixup", 10), ("none", 1)])
def test_its_views_and_labels_are_those_of_hf_dd(tmp_path, tiny_teachers, example, mix, topk):
    options = {"ipc": 2, "soft_label_views": 4, "soft_label_mix": mix, "soft_label_topk": topk}
    artefact = distil(tmp_path / "set", tiny_teachers, **options, published=True)  # mirrored, too
    own = load_distilled(str(artefact.folder), crops=True)[1]
    images = artefact.load().with_format("torch")[:]["pixel_values"]
    rows = artefact.load("labels").with_format("torch")
    views = torch.stack([example.replay(images, row) for row in rows])
    assert (views - own.crop_labels.views(own.pixel_values)).abs().max() < 1e-5
    assert 0 < own.crop_labels.flip.sum() < 80
    for temperature in (1.0, 20.0):
        said = example.said(rows[:], 10, temperature)
        assert (said - own.crop_labels.probabilities(temperature)).abs().max() < 1e-6


def test_it_reaches_what_students_of_hf_dd_reach(tmp_path, tiny_teachers, forks):
    artefact = distil(tmp_path / "set", tiny_teachers, ipc=10, soft_label_views=4, soft_label_crop=0.5)
    digits = hf_dd.load_data(DataConfig())
    columns = {"image": [image[0].numpy() for image in digits.test.images], "label": digits.test.labels.tolist()}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=digits.class_names)})
    datasets.Dataset.from_dict(columns, features=features).to_parquet(f"{tmp_path}/test/test.parquet")
    training = {"eval_epochs": [40], "eval_students": 1, "eval_copies": ["float"], "baselines": []}
    (row,) = hf_dd.evaluate(sets=[str(artefact.folder)], eval_protocol="soft-label-crops", **training).rows
    words = [artefact.folder, "--test_set", tmp_path / "test", "--epochs", 40, "--students", 1]
    words += ["--mean", *digits.mean, "--std", *digits.std]
    done = forks.run(SCRIPT, *words, cwd=tmp_path, PYTHONPATH=None, OMP_NUM_THREADS=1)
    assert done.returncode == 0, done.stderr
    accuracy = float(re.search(r"^([\d.]+) % \(n=1\)$", done.stdout, re.MULTILINE)[1])
    assert accuracy == pytest.approx(row.mean, abs=8) and accuracy > 25  # by chance 10
