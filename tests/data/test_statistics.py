"""The constants of the literature's code against the data's own mean and std."""

import dataclasses

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Image

import hf_dd
from hf_dd.artefacts.distilled_folder import load_distilled
from hf_dd.config import EvaluateConfig
from hf_dd.config.known_data import STATISTICS
from hf_dd.data.batches import StoredImages
from hf_dd.data.held_out import held_out
from hf_dd.data.image_data import Split, by_published, load_data
from hf_dd.errors import DataError, RunError, TeacherError
from hf_dd.runs.evaluate import evaluate_sets
from tests.factories import make_data

PIXELS = {"architecture_options": ["width=8", "depth=1"]}
# Of the training images of CIFAR-10, computed from them; the constants are DC's, `get_dataset` of its code.
CIFAR10_OWN = ((0.49139968, 0.48215841, 0.44653091), (0.24703223, 0.24348513, 0.26158784))


def as_cifar10(data):
    """Random images that say of themselves what CIFAR-10's would."""
    own = dict(zip(("mean", "std"), CIFAR10_OWN, strict=True))
    return dataclasses.replace(data, class_names=[f"c{i}" for i in range(10)], **own)


@pytest.fixture(scope="module")
def mnist(tmp_path_factory):
    """A folder of small images with the number of classes and the mean of MNIST."""
    folder = tmp_path_factory.mktemp("plain")
    features = Features({"image": Image(), "label": ClassLabel(names=[str(i) for i in range(10)])})
    draws = np.random.default_rng(0)
    for split, count in (("train", 60), ("test", 20)):
        images = draws.binomial(255, 0.1307, (count, 8, 8)).astype(np.uint8)
        rows = {
            "image": [{"bytes": png(each), "path": None} for each in images],
            "label": [i % 10 for i in range(count)],
        }
        Dataset.from_dict(rows, features=features).to_parquet(folder / f"{split}.parquet")
    return str(folder)


def png(pixels):
    """An array as the bytes of a PNG."""
    import io

    from PIL import Image as Pictures

    stream = io.BytesIO()
    Pictures.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def test_they_are_found_by_what_the_images_are():
    data = as_cifar10(make_data((3,) * 3, channels=3))
    seen = by_published(data)
    assert seen.statistics == "cifar10" and (seen.mean, seen.std) == STATISTICS["cifar10"][:2]
    assert seen.seen_as == f"{data.fingerprint}-cifar10" and data.seen_as == data.fingerprint
    images = torch.rand(2, 3, 6, 6)
    torch.testing.assert_close(seen.own_space(seen.normalise(images)), images)
    green = (CIFAR10_OWN[1][0] / STATISTICS["cifar10"].std[0]) ** 2
    assert green == pytest.approx(1.49, abs=0.005)  # a step on the images is so much longer by the data's own std


def test_what_is_held_out_keeps_them():
    data = by_published(as_cifar10(make_data((30,) * 3, channels=3)))
    data = dataclasses.replace(data, class_names=["a", "b", "c"])
    assert held_out(data, 0).std == STATISTICS["cifar10"].std


def test_other_images_are_refused_in_one_line():
    with pytest.raises(DataError, match=r"--statistics published: digits isn't one of .*--statistics own") as error:
        load_data(hf_dd.config.DataConfig(statistics="published"))
    assert "\n" not in str(error.value)


def test_a_set_is_made_and_evaluated_with_them(mnist, tmp_path):
    options = {"dataset": mnist, "statistics": "published", "ipc": 1, "iterations": 1, "real_batch_size": 2}
    students = {"eval_students": 1, "eval_epochs": [2], "eval_copies": ["float"], "baselines": ["none"]}
    students["eval_augment"] = "none"
    artefact = hf_dd.distill(objective="dm", output_dir=str(tmp_path / "set"), **options, **students, **PIXELS)
    record = artefact.record
    assert record.data["statistics"] == "mnist" and record.data["std"] == [0.3081]
    card = (artefact.folder / "README.md").read_text()
    assert "0.3081]  # per channel, the constants of the literature's code for mnist, not the images' own" in card
    assert load_distilled(str(artefact.folder))[1].whitening is None
    (again,), _ = evaluate_sets(EvaluateConfig(sets=[str(artefact.folder)], **students))
    (own,), _ = evaluate_sets(EvaluateConfig(sets=[str(artefact.folder)], statistics="own", **students))
    plain = hf_dd.distill(
        objective="random", dataset=mnist, ipc=1, eval_students=0, output_dir=str(tmp_path / "plain")
    )
    with pytest.raises(DataError, match=r"by the constants of mnist and .*plain by their own .*--statistics own"):
        evaluate_sets(EvaluateConfig(sets=[str(artefact.folder), str(plain.folder)], **students))
    assert again.rows[0].losses == tuple(record.results["rows"][0]["losses"]) != own.rows[0].losses


def test_teachers_and_experts_of_other_constants_are_others(mnist, tmp_path):
    trained = {
        "dataset": mnist,
        "output_dir": str(tmp_path / "teachers"),
        "epochs": 1,
        "keep_epochs": [0, 1],
        **PIXELS,
    }
    (folder,) = hf_dd.pretrain(statistics="published", **trained)
    assert "std [0.3081] in [0, 1] space, the constants of the literature's code for mnist" in (
        folder / "epoch-1" / "README.md"
    ).read_text().replace("0.3081 ", "[0.3081] ")
    with pytest.raises(RunError, match="holds another run"):
        hf_dd.pretrain(**trained)
    options = {
        "dataset": mnist,
        "objective": "mtt",
        "experts": [str(folder)],
        "iterations": 1,
        "eval_students": 0,
        "ipc": 1,
    }
    options |= {"objective_options": ["student_steps=1", "expert_epochs=1", "max_start_epoch=1"], **PIXELS}
    with pytest.raises(TeacherError, match="by the same --statistics"):
        hf_dd.distill(output_dir=str(tmp_path / "set"), **options)
    hf_dd.distill(output_dir=str(tmp_path / "set"), statistics="published", **options)


@pytest.mark.parametrize("in_order", [False, True])
def test_what_is_held_out_of_a_file_has_its_own_facts(tmp_path, in_order):
    """Of classes that follow each other, the labels are the same whichever images are held out."""
    data = make_data((30,) * 3)
    order = data.train.labels.argsort() if in_order else torch.arange(90)
    images, labels = data.train.images[order].contiguous(), data.train.labels[order]
    np.save(tmp_path / "train.npy", images.numpy())
    stored = StoredImages(tmp_path / "train.npy", images.shape)
    for seed in (0, 1):
        members = [(labels == label).nonzero().flatten() for label in range(3)]
        both = [
            held_out(dataclasses.replace(data, train=Split(each, labels), class_index=members), seed)
            for each in (images, stored)
        ]
        in_memory, of_file = both
        assert of_file.fingerprint == in_memory.fingerprint and of_file.mean == in_memory.mean
        assert of_file.tested_on == in_memory.tested_on


def test_what_is_tested_on_is_known_by_its_pixels_and_labels():
    data = make_data((30,) * 3)
    data = dataclasses.replace(data, test=data.train)
    inverted = dataclasses.replace(data, test=Split(255 - data.train.images, data.train.labels))
    turned = dataclasses.replace(data, test=Split(data.train.images, data.train.labels.flip(0)))
    again = dataclasses.replace(data, test=Split(data.train.images.clone(), data.train.labels.clone()))
    assert len({each.tested_on for each in (data, inverted, turned)}) == 3 and again.tested_on == data.tested_on
