"""`hf-dd import`: every format as its authors' code writes it, on digits; what is refused; what runs on the result."""

import dataclasses
import json
import os
import pickle
import re
import shlex
import zipfile
from pathlib import Path
from types import SimpleNamespace

import datasets
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import hf_dd
from hf_dd import cli
from hf_dd.artefacts.distilled_folder import Artefact, load_distilled, push
from hf_dd.config import DataConfig, ImportConfig
from hf_dd.data.fixed_forms import digits_rows
from hf_dd.data.image_data import Split, facts_of, load_data
from hf_dd.errors import ConfigError, DataError, RunError
from hf_dd.importing import class_order, import_set
from hf_dd.importing.class_order import check_classes, classifiers_of, judge, known_order, order_in_words
from hf_dd.importing.formats import load_tensors
from hf_dd.importing.normalisation import FIELD_STATISTICS, to_own_space, unwhitening
from hf_dd.nn import networks
from hf_dd.nn.tiles import decode_tiles
from hf_dd.synthetic.distilled_set import to_dataset, to_eight_bits, to_pil
from hf_dd.synthetic.synthetic_set import SyntheticSet
from tests.factories import assert_clean, make_data

IPC = 10


def write_dc(path, *experiments, accuracies=None):
    """As main.py and main_DM.py of DatasetCondensation do: accuracies are numpy's numbers."""
    data = [[pixels.clone(), labels.clone()] for pixels, labels in experiments]
    torch.save({"data": data, "accs_all_exps": accuracies or {"ConvNet": [np.float64(0.5), np.float64(0.75)]}}, path)
    return path


def write_mtt(folder, pixels, labels, stamp="best", rate=None):
    """As distill.py of MTT does; with `rate` as DATM does."""
    folder.mkdir(exist_ok=True)
    torch.save(pixels.clone(), folder / f"images_{stamp}.pt")
    torch.save(labels.clone() if not labels.requires_grad else labels, folder / f"labels_{stamp}.pt")
    if rate is not None:
        torch.save(torch.tensor(rate), folder / f"lr_{stamp}.pt")
    return folder


def write_images(folder, own, labels, names):
    for place, (image, label) in enumerate(zip(to_eight_bits(own), labels.tolist(), strict=True)):
        target = folder / names[label] / f"{place:05}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        to_pil(image).save(target)
    return folder


def assert_same(artefact, own, labels):
    name, distilled, record = load_distilled(str(artefact.folder))
    assert torch.equal(distilled.pixel_values, own.float())
    assert torch.equal(distilled.labels, labels)
    assert torch.equal(distilled.images, to_eight_bits(own))
    assert record["kind"] == "imported-set" and record == json.loads((artefact.folder / "hf_dd.json").read_text())
    return distilled


# ------------------------------------------------------------------------------------------------ the formats


def test_dc_comes_back_to_the_bit(native, import_it, tmp_path):
    path = write_dc(tmp_path / "res_DC_digits_ConvNet_10ipc.pt", (native.pixels, native.labels))
    artefact = import_it(path, method="DC", paper="arXiv 2006.05929")
    distilled = assert_same(artefact, native.own_space(), native.labels)
    assert distilled.class_names == [str(digit) for digit in range(10)] and distilled.soft_labels is None
    record = artefact.record
    assert (record.normalisation["name"], record.normalisation["stated"]) == ("source", False)
    assert record.normalisation["certainty"].startswith("detected, very sure (")
    assert record.classes["verdict"] == "confirmed" and record.classes["order"] == "by position"
    assert record.classes["accuracy"] > 0.85 and record.classes["moved"] == ""
    assert record.accuracies == {"ConvNet": {"mean": 0.625, "std": 0.125, "n": 2}}
    assert record.origin["format"] == "dc" and record.origin["images"] == record.images == 100
    assert len(record.origin["files"][path.name]) == 64
    assert record.name == "res-dc-digits-convnet-10ipc"


@pytest.mark.parametrize("stored", [[50.0, 75.0, float("nan")], [0.5, 0.75, -1.0]])
def test_accuracies_of_dc_are_shares_or_percent(native, import_it, tmp_path, stored):
    artefact = import_it(write_dc(tmp_path / "res.pt", (native.pixels, native.labels), accuracies={"ConvNet": stored}))
    assert artefact.record.accuracies == {"ConvNet": {"mean": 0.625, "std": 0.125, "n": 2}}
    assert "62.50 ± 12.50" in (artefact.folder / "README.md").read_text()


def test_an_experiment_of_dc_is_chosen(native, import_it, tmp_path):
    other = native.pixels.flip(0).clone()
    path = write_dc(tmp_path / "res.pt", (native.pixels, native.labels), (other, native.labels.flip(0)))
    assert_same(import_it(path, experiment=1), native.own_space(other), native.labels.flip(0))
    with pytest.raises(ConfigError, match="--experiment is 2, and .* holds 2, counted from 0"):
        import_it(path, experiment=2)


def test_float64_pixels_are_scaled_in_float64(native, import_it, tmp_path):
    pixels = native.pixels.double()
    artefact = import_it(write_dc(tmp_path / "res.pt", (pixels, native.labels)))
    wide = SyntheticSet(pixels, native.class_names, artefact.record.data["mean"], artefact.record.data["std"])
    assert_same(artefact, wide.own_space().detach(), native.labels)


def test_mtt_takes_the_best_or_the_one_that_is_named(native, import_it, tmp_path):
    folder = tmp_path / "run"
    for stamp, shift in (("100", 0.1), ("5000", 0.2), ("900", 0.3)):
        write_mtt(folder, native.pixels + shift, native.labels, stamp)
    torch.save(native.own_space(), folder / "images_zca_5000.pt")
    with pytest.raises(DataError, match="3 files of images .images_100.pt, images_5000.pt, images_900.pt.: name the"):
        import_it(folder)  # iterations, or parts of one set: nobody says
    artefact = import_it(folder / "images_5000.pt", learned_learning_rate=0.02)
    assert_same(artefact, native.own_space(native.pixels + 0.2), native.labels)
    assert artefact.record.origin["files"].keys() == {"images_5000.pt", "labels_5000.pt"}
    assert artefact.record.learning_rate == 0.02
    assert_same(import_it(folder / "images_zca_5000.pt"), native.own_space(), native.labels)
    write_mtt(folder, native.pixels, native.labels, "best", rate=0.0125)
    artefact = import_it(folder)
    assert_same(artefact, native.own_space(), native.labels)
    assert artefact.record.learning_rate == pytest.approx(0.0125) and artefact.record.origin["format"] == "mtt"


def test_mtt_files_may_lie_apart(native, import_it, tmp_path):
    write_mtt(tmp_path / "a", native.pixels, native.labels)
    labels = (tmp_path / "a" / "labels_best.pt").rename(tmp_path / "y.pt")
    torch.save(torch.tensor(0.5), tmp_path / "rate.pt")
    with pytest.raises(DataError, match="there is no .*labels_best.pt: name its labels by --labels_file"):
        import_it(tmp_path / "a")
    (two := tmp_path / "two.pt").touch()
    torch.save(torch.tensor([0.5, 0.1]), two)
    with pytest.raises(DataError, match=r"two.pt holds a Tensor, where .* a single number: give .*--learned_learning"):
        import_it(tmp_path / "a", labels_file=str(labels), learning_rate_file=str(two))
    artefact = import_it(tmp_path / "a", labels_file=str(labels), learning_rate_file=str(tmp_path / "rate.pt"))
    assert_same(artefact, native.own_space(), native.labels)
    assert artefact.record.learning_rate == 0.5


def test_datm_has_soft_labels_of_logits(native, import_it, tmp_path):
    logits = 5 * F.one_hot(native.labels, 10).float() + torch.rand(100, 10, generator=torch.Generator().manual_seed(0))
    folder = write_mtt(tmp_path / "Normal", native.pixels, logits.requires_grad_(), rate=0.01)
    artefact = import_it(folder)
    distilled = assert_same(artefact, native.own_space(), native.labels)
    assert torch.equal(distilled.soft_labels, logits.detach().double().softmax(1).float())
    assert artefact.record.soft_labels
    rows = artefact.load()
    assert rows.column_names == ["image", "label", "pixel_values", "soft_label"]
    probabilities = logits.detach().softmax(1)
    write_mtt(folder, native.pixels, probabilities)
    artefact = import_it(folder, output_dir=str(tmp_path / "second"))
    assert torch.equal(load_distilled(str(artefact.folder))[1].soft_labels, probabilities)
    artefact = import_it(folder, output_dir=str(tmp_path / "third"), soft_labels="logits")
    torch.testing.assert_close(load_distilled(str(artefact.folder))[1].soft_labels, probabilities.softmax(1))


def test_zca_is_found_and_undone(digits, native, import_it, tmp_path):
    images = digits.train.images.double().flatten(1) / 255
    mean = images.mean(0)
    eigenvalues, vectors = torch.linalg.eigh(torch.cov(images.T))
    whiten = vectors @ torch.diag((eigenvalues + 0.1).rsqrt()) @ vectors.T
    whitened = ((native.own_space().double().flatten(1) - mean) @ whiten).float().view_as(native.pixels)
    artefact = import_it(write_mtt(tmp_path / "run", whitened, native.labels))
    assert artefact.record.normalisation["name"] == "zca" and artefact.record.normalisation["confidence"] > 0.8
    _, distilled, _ = load_distilled(str(artefact.folder))
    torch.testing.assert_close(distilled.pixel_values, native.own_space(), rtol=0, atol=2e-6)
    assert "approximate" in (artefact.folder / "README.md").read_text()


def literal_tiles(image, factor):
    """Section 6 of the paper on one image (C, H, W), tile by tile."""
    height, width = image.shape[1:]
    rows, columns = -(-height // factor), -(-width // factor)
    canvas = torch.full((len(image), rows * factor, columns * factor), 0.5)
    canvas[:, :height, :width] = image
    for row in range(factor):
        for column in range(factor):
            tile = canvas[:, row * rows : (row + 1) * rows, column * columns : (column + 1) * columns]
            yield F.interpolate(tile[None], (height, width), mode="bilinear")[0]


@pytest.mark.parametrize("shape, factor", [((2, 1, 8, 8), 2), ((3, 3, 8, 8), 3), ((1, 3, 7, 10), 4)])
def test_tiles_are_cut_and_resized(shape, factor):
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    expected = torch.stack([tile for image in images for tile in literal_tiles(image, factor)])
    assert torch.equal(decode_tiles(images, factor), expected)


@pytest.mark.parametrize("as_dict", [True, False])
def test_idc_is_decoded_by_its_factor(native, import_it, tmp_path, as_dict):
    own = native.own_space().clamp(0, 1)
    tiled = torch.cat([torch.cat([own, own.roll(1, 0)], 2), torch.cat([own.roll(2, 0), own.roll(3, 0)], 2)], 3)
    stored = F.interpolate(tiled, (8, 8), mode="area")
    content = {"data": stored, "target": native.labels} if as_dict else [stored, native.labels]
    torch.save(content, tmp_path / "data.pt")
    plain = import_it(tmp_path / "data.pt", class_map=list("0123456789"))
    assert_same(plain, stored, native.labels)
    assert (plain.record.normalisation["name"], plain.record.origin["format"]) == ("none", "idc")
    artefact = import_it(tmp_path / "data.pt", factor=2)
    assert_same(artefact, decode_tiles(stored, 2), native.labels.repeat_interleave(4))
    assert (artefact.record.origin["images"], artefact.record.images) == (100, 400)
    with pytest.raises(ConfigError, match="--factor 9 leaves tiles of less than a pixel"):
        import_it(tmp_path / "data.pt", factor=9)


@pytest.mark.parametrize("named", [True, False])
def test_a_folder_of_images(native, import_it, tmp_path, named):
    names = [str(digit) if named else f"{digit:05}" for digit in range(10)]
    own = native.own_space()
    artefact = import_it(write_images(tmp_path / "syn", own, native.labels, names))
    expected = to_eight_bits(own).float() / 255
    assert_same(artefact, expected, native.labels)
    assert artefact.record.classes["order"] == "by name"
    assert artefact.record.normalisation["certainty"] == "detected, very sure (1.00)"


def test_classes_called_like_splits(digits, native, import_it, tmp_path, monkeypatch):
    names = ["train", "test", *map(str, range(2, 10))]
    monkeypatch.setattr(
        "hf_dd.runs.import_set.load_data", lambda config: dataclasses.replace(digits, class_names=names)
    )
    artefact = import_it(write_images(tmp_path / "syn", native.own_space(), native.labels, names))
    _, distilled, _ = load_distilled(str(artefact.folder))
    assert distilled.class_names == names and artefact.record.classes["order"] == "by name"
    assert torch.equal(distilled.labels.sort().values, native.labels)


def test_a_data_set_in_another_order_of_names(native, import_it, tmp_path, unique):
    order = [3, 1, 4, 0, 5, 9, 2, 6, 8, 7]
    images = [to_pil(image) for image in to_eight_bits(native.own_space())]
    rows = datasets.Dataset.from_dict(
        {"picture": images, "label": [order.index(label) for label in native.labels.tolist()]},
        features=datasets.Features(
            {"picture": datasets.Image(), "label": datasets.ClassLabel(names=[str(digit) for digit in order])}
        ),
    )
    (tmp_path / "set" / "data").mkdir(parents=True)
    rows.to_parquet(tmp_path / "set" / "data" / "train-00000-of-00001.parquet")
    artefact = import_it(tmp_path / "set")
    assert_same(artefact, to_eight_bits(native.own_space()).float() / 255, native.labels)
    assert artefact.record.classes["order"] == "by name" and artefact.record.classes["class_map"] == order
    repo = unique()
    rows.push_to_hub(repo)
    artefact = import_it(repo)
    assert_same(artefact, to_eight_bits(native.own_space()).float() / 255, native.labels)
    assert re.fullmatch(rf"{repo}@[0-9a-f]{{40}}", artefact.record.origin["pin"])
    with pytest.raises(DataError, match="There is no split 'validation'; .* --set_split"):
        import_it(tmp_path / "set", set_split="validation")


# ------------------------------------------------------------------------------------------ the normalisation


@pytest.mark.parametrize("name", ["none", "source"])
def test_real_images_tell_their_normalisation(digits, name):
    own = digits.train.images[::7].float() / 255
    pixels = digits.normalise(own) if name == "source" else own
    back, found = to_own_space(pixels, digits, "auto", [], [])
    assert (found.name, found.stated) == (name, False) and found.confidence > 0.99 and found.distance < 0.05
    torch.testing.assert_close(back, own, rtol=0, atol=1e-6)


def test_the_fields_constants_of_cifar10(digits):
    draws = torch.Generator().manual_seed(0)
    true_std = (0.2470, 0.2435, 0.2616)
    mean, std, _ = FIELD_STATISTICS["cifar10"]
    data = dataclasses.replace(
        digits,
        train=dataclasses.replace(digits.train, images=digits.train.images.expand(-1, 3, -1, -1)),
        mean=mean,
        std=true_std,
    )
    own = torch.randn(200, 3, 8, 8, generator=draws) * torch.tensor(true_std).view(3, 1, 1)
    own += torch.tensor(mean).view(3, 1, 1)
    pixels = (own - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    back, found = to_own_space(pixels, data, "auto", [], [])
    assert found.name == "cifar10" and found.confidence > 0.8 and found.others["source"] > found.distance
    torch.testing.assert_close(back, own, rtol=0, atol=1e-6)
    stated, found = to_own_space(pixels, data, "auto", list(mean), list(std))
    assert torch.equal(stated, back) and (found.name, found.stated) == ("mean and std", True)
    with pytest.raises(ConfigError, match="--normalisation cifar10 is of 3 channels; digits has 1"):
        to_own_space(pixels[:, :1], digits, "cifar10", [], [])
    with pytest.raises(ConfigError, match="--mean and --std have 3 values; digits has 1 channels"):
        to_own_space(pixels[:, :1], digits, "auto", list(mean), list(std))


def test_what_no_normalisation_explains_is_refused(digits, native, import_it, tmp_path, caplog):
    path = write_dc(tmp_path / "res.pt", (native.pixels * 40 + 7, native.labels))
    with pytest.raises(DataError, match="can't be told from the pixels: distances .* State it by --normalisation"):
        import_it(path)
    assert not (tmp_path / "imported").exists()
    artefact = import_it(path, mean=[digits.mean[0] - 7 * digits.std[0] / 40], std=[digits.std[0] / 40])
    _, distilled, _ = load_distilled(str(artefact.folder))
    torch.testing.assert_close(distilled.pixel_values, native.own_space(), rtol=0, atol=1e-5)
    caplog.clear()
    import_it(path, normalisation="none")
    assert "'none' was stated, but leaves the images" in caplog.text


def test_whole_numbers_are_images(digits):
    images = digits.train.images[:50]
    own, found = to_own_space(images.long(), digits, "auto", [], [])
    assert torch.equal(own, images.float() / 255) and (found.name, found.confidence) == ("none", 1.0)
    with pytest.raises(DataError, match="only 0 … 255 are images"):
        to_own_space(images.long() * 2, digits, "auto", [], [])
    with pytest.raises(ConfigError, match="are not normalised"):
        to_own_space(images, digits, "source", [], [])


def test_a_whitening_that_is_too_large(digits):
    images = digits.train.images.repeat(1, 3, 5, 5)[:20]
    with pytest.raises(DataError, match=r"a matrix of 4800 by 4800; up to 4096 .*images_zca_N\.pt"):
        unwhitening(dataclasses.replace(digits, train=dataclasses.replace(digits.train, images=images)))


# ------------------------------------------------------------------------------------- the order of the classes


def test_a_shuffled_order_is_refused_with_the_order_found(native, import_it, tmp_path, caplog):
    order = torch.tensor([1, 2, 3, 4, 5, 6, 7, 8, 9, 0])  # what the label l is an image of
    wrong = order.argsort()[native.labels]
    path = write_dc(tmp_path / "res.pt", (native.pixels, wrong))
    with pytest.raises(DataError, match="aren't in the order of digits: .*0 looks like 1, 1 looks like 2") as refused:
        import_it(path)
    assert not (tmp_path / "imported").exists()
    assert "--class_map 1 2 3 4 5 6 7 8 9 0; to keep" in str(refused.value)
    artefact = import_it(path, class_map=list("1234567890"))
    assert_same(artefact, native.own_space(), native.labels)
    assert artefact.record.classes["order"] == "stated" and artefact.record.classes["verdict"] == "confirmed"
    caplog.clear()
    kept = import_it(path, class_map=list("0123456789"))
    assert_same(kept, native.own_space(), wrong)
    assert "The order was stated, so it stays" in caplog.text
    assert "contradicted by a classifier" in (kept.folder / "README.md").read_text()


def test_two_swapped_classes_are_refused(native, import_it, tmp_path):
    swapped = native.labels.clone()
    swapped[native.labels == 0], swapped[native.labels == 1] = 1, 0
    with pytest.raises(DataError, match="0 looks like 1, 1 looks like 0.* --class_map 1 0 2 3 4 5 6 7 8 9;"):
        import_it(write_dc(tmp_path / "res.pt", (native.pixels, swapped)))


def test_soft_labels_follow_the_order(native, import_it, tmp_path):
    order = [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]
    soft = torch.full((100, 10), 0.01) + 0.9 * F.one_hot(torch.tensor(order).argsort()[native.labels], 10)
    artefact = import_it(write_mtt(tmp_path / "run", native.pixels, soft), class_map=[str(digit) for digit in order])
    distilled = assert_same(artefact, native.own_space(), native.labels)
    assert torch.equal(distilled.soft_labels.argmax(1), native.labels)


def test_noise_is_a_warning_and_a_line_on_the_card(digits, import_it, tmp_path, caplog):
    noise = SyntheticSet.initial(digits, IPC, "noise", 3, torch.float32).requires_grad_(False)
    artefact = import_it(write_dc(tmp_path / "res.pt", (noise.pixels, noise.labels)))
    assert artefact.record.classes["verdict"] == "weak"
    assert "The order of the classes is not confirmed" in caplog.text and "too few" not in caplog.text
    assert "neither confirmed nor contradicted by a classifier" in (artefact.folder / "README.md").read_text()


@pytest.mark.parametrize("num_classes, ipc", [(10, 1), (10, 10), (100, 1), (2, 50), (200, 10)])
def test_guesses_are_weak_evidence(num_classes, ipc):
    labels = torch.arange(num_classes).repeat_interleave(ipc)
    for seed in range(5):
        draws = torch.Generator().manual_seed(seed)
        guesses = torch.randint(num_classes, labels.shape, generator=draws)
        assert judge(labels, guesses, num_classes, 0.5, 0).verdict == "weak"


@pytest.mark.parametrize("num_classes, ipc, share", [(10, 1, 1.0), (10, 10, 0.5), (100, 1, 0.7), (2, 50, 0.9)])
def test_the_verdict_on_a_classifier_that_errs(num_classes, ipc, share):
    labels = torch.arange(num_classes).repeat_interleave(ipc)
    draws = torch.Generator().manual_seed(0)
    guesses = torch.randint(num_classes, labels.shape, generator=draws)
    right = torch.where(torch.rand(labels.shape, generator=draws) < share, labels, guesses)
    assert judge(labels, right, num_classes, 0.9, 0).verdict == "confirmed"
    turned = judge(labels, (right + 1) % num_classes, num_classes, 0.9, 0)
    assert turned.verdict == "mismatch"
    if share == 1:
        assert turned.mapping == tuple((label + 1) % num_classes for label in range(num_classes))


def test_the_order_by_names(digits):
    pets = dataclasses.replace(digits, class_names=["cat", "dog", "0"] + [f"c{i}" for i in range(7)])
    names = pets.class_names[::-1]
    assert known_order(names, pets, []) == (list(range(9, -1, -1)), "by name")
    assert known_order(None, pets, []) == (list(range(10)), "by position")
    stated = ["dog", "cat", "0", *map(str, range(3, 10))]  # '0' is the class of that name, the third
    assert known_order(names, pets, stated) == ([1, 0, *range(2, 10)], "stated")
    with pytest.raises(DataError, match=r"The set has 3 classes \(a, b, c\), but digits has 10"):
        known_order(["a", "b", "c"], pets, [])
    with pytest.raises(DataError, match="1 of the set's classes .bird. aren't classes of digits .*--class_map"):
        known_order(["bird", *pets.class_names[1:]], pets, [])
    with pytest.raises(ConfigError, match="--class_map names bird, which digits doesn't have"):
        known_order(None, pets, ["bird", *pets.class_names[1:]])
    with pytest.raises(ConfigError, match="--class_map has 2 entries of 1 classes; it takes each of the 10 classes"):
        known_order(None, pets, ["cat", "cat"])


# ------------------------------------------------------------------------------------------------- bad input


def with_nan(native):
    pixels = native.pixels.clone()
    pixels[7, 0, 3, 3] = float("nan")
    return pixels, native.labels


BAD = {
    "other labels": (lambda n: (n.pixels, n.labels + 2), "has labels from 2 to 11, but digits has the classes 0 to 9"),
    "other channels": (lambda n: (n.pixels.expand(-1, 3, -1, -1), n.labels), "of 3 channels, but digits of 1"),
    "channels last": (lambda n: (n.pixels.permute(0, 2, 3, 1), n.labels), "Channels come last in it"),
    "other size": (lambda n: (F.pad(n.pixels, (4, 4, 4, 4)), n.labels), r"16×16 pixels.*8×8.*--image_size 16"),
    "nan": (with_nan, "NaN or infinite pixels, in 1 of its 100 images"),
    "missing": (lambda n: (n.pixels[20:], n.labels[20:]), "no image of 2 of the 10 classes of digits: 0, 1"),
    "too few labels": (lambda n: (n.pixels, n.labels[:-1]), "holds 100 images, but 99 labels"),
    "fractions": (lambda n: (n.pixels, n.labels + 0.5), "are fractions, such as 0.5"),
    "other soft labels": (lambda n: (n.pixels, torch.rand(100, 7)), "soft labels of 7 classes, but digits has 10"),
    "nan labels": (lambda n: (n.pixels, torch.full((100, 10), float("nan"))), "labels .* hold NaN"),
    "complex labels": (lambda n: (n.pixels, n.labels.to(torch.complex64)), "are complex numbers"),
    "no images": (lambda n: (n.pixels.flatten(1), n.labels), r"of the shape \(100, 64\)"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_one_clear_error(native, tmp_path, what):
    change, message = BAD[what]
    path = write_dc(tmp_path / "res.pt", tuple(change(native)))
    with pytest.raises(SystemExit) as end:
        cli.main(["import", str(path), "--dataset", "digits", "--output_dir", str(tmp_path / "imported")])
    assert re.match("hf-dd: error: ", end.value.code) and "\n" not in end.value.code
    assert re.search(message, end.value.code), end.value.code
    assert not (tmp_path / "imported").exists()


@pytest.mark.parametrize(
    "content, message",
    [
        ({"weights": torch.zeros(3)}, "holds a dict of 'weights', which is none of the known formats"),
        ([torch.zeros(3)], "holds a list of 1, which is none"),
        ({"data": []}, "--experiment is 0, and .* holds 0"),
        ({"data": [[torch.zeros(1, 1, 8, 8)]]}, "isn't laid out like the format 'dc'"),
        ({"data": torch.zeros(1, 1, 8, 8)}, "an import needs one of targets"),
    ],
)
def test_files_of_something_else(import_it, tmp_path, content, message):
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises((DataError, ConfigError), match=message):
        import_it(tmp_path / "x.pt")


def test_a_file_that_torch_did_not_write_is_said_to_be_none(import_it, tmp_path):
    (tmp_path / "x.pt").write_text("hello")
    with pytest.raises(DataError, match="x.pt can't be read as a .pt file: torch.save didn't write it.*KeyError: 101"):
        import_it(tmp_path / "x.pt")


def test_few_images_confirm_no_order_even_if_all_are_taken_for_their_labels(caplog):
    """Two classes are all met by chance in one of 2 ** 9 = 512 tries of nine images, and in one of 1,024 of ten."""
    data, foreign = make_data((9, 9)), SimpleNamespace(name="x.pt")
    for count, verdict in ((9, "weak"), (10, "confirmed")):
        labels = torch.arange(count) % 2
        check = judge(labels, labels, 2, 1.0, 0)
        assert (check.verdict, check.agreement) == (verdict, 1)
        import_set._judge_order(check, count, foreign, data, [0, 1], "by name")
    assert caplog.text.count("images of x.pt for their label; 9 images are too few to be sure") == 1
    assert caplog.text.count("not confirmed") == 1


@pytest.mark.parametrize(
    ("options", "form"),
    [
        ({"labels_file": "nowhere.pt"}, "dc"),
        ({"learning_rate_file": "nowhere.pt"}, "dc"),
        ({"set_split": "test"}, "dc"),
        ({"set_config": "plain"}, "dc"),
        ({"set_image_column": "image"}, "images"),
        ({"set_label_column": "label"}, "mtt"),
        ({"experiment": 3}, "images"),
        ({"soft_labels": "logits"}, "images"),
    ],
)
def test_an_option_that_says_nothing_of_the_format_is_refused(native, import_it, tmp_path, options, form):
    if form == "images":
        place = write_images(tmp_path / "set", native.own_space(), native.labels, native.class_names)
    elif form == "mtt":
        place = write_mtt(tmp_path / "set", native.pixels, native.labels)
    else:
        place = write_dc(tmp_path / "set.pt", (native.pixels, native.labels))
    (name,) = options
    with pytest.raises(ConfigError, match=f"--{name} says something of sets in .* was read as {form}: leave it out"):
        import_it(place, **options)


def test_a_rate_that_is_in_no_file_is_that_of_images_too(native, import_it, tmp_path):
    place = write_images(tmp_path / "set", native.own_space(), native.labels, native.class_names)
    assert import_it(place, learned_learning_rate=0.02).record.learning_rate == 0.02


def test_what_is_not_there(import_it, tmp_path):
    (tmp_path / "broken.pt").write_bytes(b"no tensors")
    (tmp_path / "empty").mkdir()
    for path, message in (
        (tmp_path / "nothing.pt", "There is no distilled set"),
        (tmp_path / "broken.pt", "broken.pt"),
        (tmp_path / "empty", "empty"),
    ):
        with pytest.raises(DataError, match=message):
            import_it(path)
    for options, message in (
        ({"foreign_set": ""}, "Name the set to import"),
        ({"dataset": ""}, "was distilled from by --dataset"),
        ({"factor": 0}, "--factor is 0"),
        ({"mean": [0.5]}, "--mean has 1 values, --std 0"),
        ({"mean": [0.5], "std": [0.0]}, r"--std holds \[0.0\]"),
        ({"mean": [float("nan")], "std": [1.0]}, r"--mean holds \[nan\]"),
        ({"mean": [0.5], "std": [0.5], "normalisation": "none"}, "contradict each other"),
    ):
        with pytest.raises(ConfigError, match=message):
            ImportConfig(**{"foreign_set": "x.pt", "dataset": "digits"} | options)
    with pytest.raises(ConfigError, match="--format dc doesn't go with .*empty"):
        import_it(tmp_path / "empty", format="dc")


class Evil:
    """Unpickled the ordinary way, it makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("save", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_code_in_a_pickle_never_runs(import_it, native, tmp_path, save):
    content = {"data": [[native.pixels, native.labels]], "accs_all_exps": Evil(tmp_path / "ran")}
    save(content, tmp_path / "evil.pt")
    with pytest.raises(DataError, match="evil.pt"):
        import_it(tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists() and not (tmp_path / "imported").exists()


def test_a_file_that_needs_its_code_is_named_with_what_it_calls(import_it, tmp_path):
    torch.save({"data": ImportConfig("digits", foreign_set="x")}, tmp_path / "object.pt")
    with pytest.raises(DataError, match=r"running pickle code \(it calls hf_dd\.config\.importing\.ImportConfig\)"):
        import_it(tmp_path / "object.pt")


def test_numpys_numbers_are_read_without_numpys_code(tmp_path):
    numbers = {"a": np.float64(0.1), "b": [np.float32(0.5), np.int64(-3), np.uint8(200)], "c": np.float16(2)}
    torch.save(numbers, tmp_path / "numbers.pt")
    assert load_tensors(tmp_path / "numbers.pt") == {"a": 0.1, "b": [0.5, -3, 200], "c": 2.0}
    for other in (np.datetime64("2020-01-01"), np.ones(3), np.str_("x")):
        torch.save([other], tmp_path / "numbers.pt")
        with pytest.raises(DataError, match="numbers.pt"):
            load_tensors(tmp_path / "numbers.pt")


# -------------------------------------------------------------------------------------- what the result is good for


@pytest.fixture(scope="module")
def imported(native, tmp_path_factory):
    folder = tmp_path_factory.mktemp("imported")
    path = write_dc(folder / "res_DM.pt", (native.pixels, native.labels))
    return hf_dd.import_set(foreign_set=str(path), dataset="digits", method="DM", output_dir=str(folder / "set"))


QUICK = {"eval_students": 1, "eval_epochs": 3, "eval_copies": ["float"], "baselines": []}


def test_it_evaluates_like_the_native_set(imported, native, tmp_path):
    (tmp_path / "native" / "data").mkdir(parents=True)
    to_dataset(native).to_parquet(tmp_path / "native" / "data" / "train-00000-of-00001.parquet")
    ours = hf_dd.evaluate(
        sets=[str(tmp_path / "native")], dataset="digits", output_dir=str(tmp_path / "results"), **QUICK
    )
    theirs = hf_dd.evaluate(sets=[str(imported.folder)], **QUICK)
    assert [row.mean for row in theirs.rows] == [row.mean for row in ours.rows]
    record = Artefact.open(imported.folder).record
    assert record.results["rows"][0]["mean"] == theirs.rows[0].mean
    card = (imported.folder / "README.md").read_text()
    assert f"{theirs.rows[0].mean:.2f}" in card
    assert_clean(card)


def test_it_is_pushed_and_loaded_like_ours(imported, native, unique):
    repo = unique()
    done = push(imported.folder, repo, tag="v1")
    assert done.pin.revision == "v1"
    name, distilled, record = load_distilled(f"{repo}@v1")
    assert torch.equal(distilled.pixel_values, native.own_space())
    assert record["kind"] == "imported-set" and record["pushed"] == {"repo_id": repo, "tag": "v1"}
    assert f'load_dataset("{repo}", revision="v1"' in (imported.folder / "README.md").read_text()


def test_the_card_says_what_is_known_and_what_is_not(imported, native, import_it, tmp_path):
    card = (imported.folder / "README.md").read_text()
    assert_clean(card)
    assert (
        "| method | DM (stated); as hf-dd knows it: [Zhao & Bilen, WACV 2023](" in card
        and "`source` (mean [0.30" in card
        and "detected, very sure" in card
    )
    assert "none would give" in card and "confirmed by a classifier of" in card
    assert "| accuracy that its authors stored, ConvNet | 62.50 ± 12.50 % (n = 2) |" in card
    unknown = card.split("## What is not known")[1].split("## Imported by")[0]
    assert "licence" in unknown and "teachers, seeds" in unknown and "paper" in unknown and "method" not in unknown
    assert "hf-dd import --dataset digits --foreign_set" in card
    soft = F.one_hot(native.labels, 10).float()
    folder = write_mtt(tmp_path / "a|b", native.pixels, soft, rate=0.02)
    options = {"normalisation": "source", "paper": "x|y", "license": "mit", "class_map": list("0123456789")}
    artefact = import_it(folder / "images_best.pt", factor=2, **options)
    card = (artefact.folder / "README.md").read_text()
    assert_clean(card)
    assert "license: mit" in card and "| learned learning rate | 0.02 |" in card and "`soft_label`" in card
    assert (
        "each of 2×2 tiles" in card and "stated by whoever imported it" in card and "soft, and the likeliest" in card
    )
    unknown = card.split("## What is not known")[1]
    assert "the method and the objective" in unknown and "licence" not in unknown and "learning" not in unknown


def test_an_import_overwrites_only_when_asked_and_only_with_a_whole_set(imported, native, tmp_path):
    path = write_dc(tmp_path / "res.pt", (native.pixels, native.labels))
    options = {"foreign_set": str(path), "dataset": "digits", "output_dir": str(tmp_path / "set")}
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="isn't empty, and what it holds is no set"):
        hf_dd.import_set(**options)
    (tmp_path / "set" / "notes.txt").unlink()
    hf_dd.import_set(**options)
    before = {file: file.read_bytes() for file in (tmp_path / "set").rglob("*") if file.is_file()}
    left = tmp_path / ".unfinished-set"  # of one that was killed
    left.mkdir()
    with pytest.raises(RunError, match="holds another set: give --overwrite_output_dir"):
        hf_dd.import_set(**options)
    assert not left.exists()
    write_dc(path, with_nan(native))
    with pytest.raises(DataError, match="NaN"):
        hf_dd.import_set(**options, overwrite_output_dir=True)
    assert {file: file.read_bytes() for file in (tmp_path / "set").rglob("*") if file.is_file()} == before
    write_dc(path, (native.pixels.flip(0), native.labels.flip(0)))
    assert_same(
        hf_dd.import_set(**options, overwrite_output_dir=True), native.own_space().flip(0), native.labels.flip(0)
    )


def test_a_folder_with_new_rows_of_the_same_size_is_read_anew(native, tmp_path):
    path, folder = tmp_path / "res.pt", tmp_path / "set"
    options = {"foreign_set": str(path), "dataset": "digits", "output_dir": str(folder), "overwrite_output_dir": True}
    write_dc(path, (native.pixels, native.labels))
    first = hf_dd.import_set(**options)
    before = first.load()["pixel_values"]
    for other in range(1, IPC):  # two images of a class in each other's place: most take as many bytes
        order = torch.arange(len(native.labels))
        order[[0, other]] = order[[other, 0]]
        write_dc(path, (native.pixels[order], native.labels))
        second = hf_dd.import_set(**options)
        if second.record.dataset_info == first.record.dataset_info:
            break
    else:
        pytest.fail("no two sets of the same size")
    after = second.load()["pixel_values"]
    assert after[0] == before[other] and after[other] == before[0] != before[other]


def test_the_command_line(native, tmp_path, capsys):
    path = write_dc(tmp_path / "res.pt", (native.pixels, native.labels))
    folder = tmp_path / "out"
    cli.main(["import", str(path), "--dataset", "digits", "--output_dir", str(folder), "--method", "DSA"])
    assert capsys.readouterr().out == f"digits: DSA, 100 images, imported, in {folder}\n"
    assert Path(folder / "preview.png").is_file()
    assert Artefact.open(folder).load().features["label"].names == [str(digit) for digit in range(10)]


# ------------------------------------------------------------------------------- numbers, parts, and what is advised


def called(data, *names):
    return dataclasses.replace(data, class_names=list(names))


TEXT_ORDER = [str(number) for number in sorted(range(12), key=str)]  # as a folder of 0 … 11 is sorted


def test_a_stated_order_is_of_names_where_all_are_names(digits):
    twelve = called(digits, *TEXT_ORDER)
    by_name = [TEXT_ORDER.index(str(number)) for number in range(12)]
    assert known_order(None, twelve, [str(number) for number in range(12)])[0] == by_name
    for order in (by_name, list(range(12)), by_name[::-1]):  # what is advised is parsed as it is meant
        assert known_order(None, twelve, shlex.split(order_in_words(order, twelve)))[0] == order
    assert order_in_words(by_name, twelve) == "0 1 2 3 4 5 6 7 8 9 10 11"
    spaced = called(digits, "a b", "c'd", "$e")
    assert order_in_words([2, 0, 1], spaced) == "2 0 1"
    numbered = called(digits, "1", "2", "x y")
    assert known_order(None, numbered, ["0", "1", "2"])[0] == [0, 1, 2]  # '0' is no class: they are indices
    assert order_in_words([1, 0, 2], numbered) == "1 0 2"
    assert order_in_words([1, 0, 2], called(digits, "1", "0", "x y")) == "0 1 'x y'"
    assert known_order(None, numbered, ["2", "1", "x y"])[0] == [1, 0, 2]
    with pytest.raises(ConfigError, match="can be read in two ways"):
        known_order(None, called(digits, "1", "0", "x"), ["0", "1", "2"])
    for stated in (["0", "0", "x y"], ["-1", "1", "2"], ["1", "2"], ["1", "2", "x y", "x y"]):
        with pytest.raises(ConfigError, match="--class_map"):
            known_order(None, numbered, stated)


def test_names_that_are_numbers_mean_these_numbers(digits):
    twelve, animals = called(digits, *TEXT_ORDER), called(digits, *(f"animal {letter}" for letter in "abcdefghijkl"))
    padded = [f"{number:05}" for number in range(12)]
    for own in (TEXT_ORDER, padded, [f"new{number:03}" for number in range(12)]):
        order, how = known_order(own, twelve, [])
        assert [int(TEXT_ORDER[place]) for place in order] == [int(name.removeprefix("new")) for name in own]
        assert how == "by name"
        order, how = known_order(own, animals, [])
        assert order == [int(name.removeprefix("new")) for name in own] and how == "by position"
    from_one = [str(number + 1) for number in range(12)]
    assert known_order(sorted(from_one), animals, [])[0] == [int(name) - 1 for name in sorted(from_one)]
    with pytest.raises(DataError, match="aren't numbered 0 to 11.*--class_map"):
        known_order([*padded[:-1], "00099"], animals, [])
    with pytest.raises(DataError, match="are the same number"):
        known_order([*TEXT_ORDER[:-1], "01"], animals, [])
    with pytest.raises(DataError, match="3 of the set's classes .cat 1, dog 2, x. aren't classes"):
        known_order(["cat 1", "dog 2", "x"], called(digits, *"abc"), [])


def test_what_an_import_advises_is_parsed_as_it_is_meant(tmp_path, capsys):
    """Labels are numbers of classes whose folders are sorted as text: the printed words bring each to its class."""
    rows = digits_rows()
    images = np.rint(rows[:, :-1] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8)
    groups = [images[rows[:, -1] == label] for label in range(10)]
    groups += [255 - groups[label] for label in (0, 1)]
    for label, group in enumerate(groups):
        (tmp_path / "src" / "train" / str(label)).mkdir(parents=True)
        for place, image in enumerate(group):
            Image.fromarray(image).save(tmp_path / "src" / "train" / str(label) / f"{place}.png")
    chosen = torch.from_numpy(np.concatenate([group[:6] for group in groups])).float().div(255)[:, None]
    torch.save([chosen, torch.arange(12).repeat_interleave(6)], tmp_path / "set.pt")
    command = ["import", str(tmp_path / "set.pt"), "--dataset", str(tmp_path / "src")]
    command += ["--output_dir", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as end:
        cli.main(command)
    advised = re.search(r"import it with (--class_map .*?);", end.value.code)[1]
    cli.main([*command, *shlex.split(advised)])
    made = datasets.load_dataset(str(tmp_path / "out"), split="train")
    names = made.features["label"].names
    assert [names[label] for label in made["label"]] == [str(label) for label in range(12) for _ in range(6)]


@pytest.mark.parametrize(
    "names", [["0", "1", "2"], ["00", "01"], ["best_0", "best_1"], ["best", "best_1"], ["0", "100"], ["a", "b"]]
)
def test_several_files_of_images_are_refused(native, import_it, tmp_path, names):
    for place, name in enumerate(names):
        write_mtt(tmp_path / "run", native.pixels[place :: len(names)], native.labels[place :: len(names)], name)
    with pytest.raises(DataError, match=f"holds {len(names)} files of images .*name the one"):
        import_it(tmp_path / "run")
    with pytest.raises(DataError, match="name the one file of the set among .*images_"):
        import_it(tmp_path)


def test_files_of_numpy_are_refused_with_a_way_out_that_works(native, import_it, tmp_path, monkeypatch):
    np.savez(tmp_path / "set.npz", images=native.own_space().numpy(), labels=native.labels.numpy())
    with pytest.raises(DataError, match="is a file of numpy") as refused:
        import_it(tmp_path / "set.npz")
    monkeypatch.chdir(tmp_path)
    exec(str(refused.value).split("as in ")[1], {"np": np, "torch": torch})
    assert_same(import_it("set.pt"), native.own_space(), native.labels)
    np.save(tmp_path / "set.npy", np.zeros(3))
    with pytest.raises(DataError, match="torch.tensor"):
        import_it(tmp_path / "set.npy")


def packed(path, content):
    """A file of tensors whose parts are compressed, one of them a bomb."""
    torch.save(content, path)
    with zipfile.ZipFile(path) as parts:
        held = {name: parts.read(name) for name in parts.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as parts:
        for name, each in held.items():
            parts.writestr(name, each + bytes(2**22 if name.endswith("data/0") else 0))


def test_a_file_that_unpacks_to_more_than_it_is_isnt_loaded(native, import_it, tmp_path):
    packed(tmp_path / "bomb.pt", [native.pixels, native.labels])
    with pytest.raises(DataError, match="its parts are .* bytes unpacked"):
        import_it(tmp_path / "bomb.pt")
    torch.save([torch.zeros(1).expand(10**9, 1, 8, 8), native.labels], tmp_path / "view.pt")
    with pytest.raises(DataError, match=r"declares a tensor of the shape \(1000000000, 1, 8, 8\), and stores less"):
        import_it(tmp_path / "view.pt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x > 0, "pixels of torch.bool"),
        (lambda x: x.to(torch.complex64), "pixels of torch.complex64"),
        (lambda x: torch.full_like(x, 0.25), "all 0.25"),
        (lambda x: (x * 1000).abs().to(torch.uint16), "only 0 … 255 are images"),
        (lambda x: x.to_sparse(), "sparse"),
    ],
)
def test_tensors_that_are_no_images(native, import_it, tmp_path, change, message):
    torch.save([change(native.pixels), native.labels], tmp_path / "set.pt")
    with pytest.raises(DataError, match=message):
        import_it(tmp_path / "set.pt")


@pytest.mark.parametrize("rate", [float("nan"), -0.1, 0.0])
def test_a_learning_rate_that_is_none(native, import_it, tmp_path, rate):
    folder = write_mtt(tmp_path / "run", native.pixels, native.labels, rate=rate)
    with pytest.raises(DataError, match="learning rate of .*--learned_learning_rate"):
        import_it(folder)


@pytest.mark.parametrize("order", [[1, 3, 2, 0, 4], [0, 1, 2, 3, 4]])
def test_a_few_hundred_real_images_are_enough_to_see_an_order(order):
    """With 8 epochs of them the classifier was right on 6 of 10, and a set in this order was taken as it was."""
    data = load_data(DataConfig())
    rows = torch.cat([data.class_index[label][:60] for label in range(5)])
    few = Split(data.train.images[rows], data.train.labels[rows])
    source = dataclasses.replace(data, train=few, **facts_of(few, list("abcde")))
    own = torch.cat([few.images[source.class_index[label]][:20] for label in order]).float() / 255
    found = check_classes(own, torch.arange(5).repeat_interleave(20), source, seed=0, device=torch.device("cpu"))
    assert found.verdict == ("confirmed" if order == sorted(order) else "mismatch")
    assert list(found.mapping[:5]) == order and found.accuracy > 0.9


@pytest.mark.parametrize("moved", [True, False])
def test_a_clear_mismatch_is_told_before_the_classifier_is_trained(digits, monkeypatch, moved):
    looks = []

    def counted(*arguments):
        for classifier in classifiers_of(*arguments):  # as imported: the module's own is the one of all tests
            looks.append(classifier[1])
            yield classifier

    monkeypatch.setattr(class_order, "classifiers_of", counted)
    rows = torch.cat([members[:10] for members in digits.class_index])
    labels = (digits.train.labels[rows] + moved) % 10
    own = digits.train.images[rows].float() / 255
    found = check_classes(own, labels, digits, seed=0, device=torch.device("cpu"))
    assert min(looks[:2]) > 0.8  # of readouts of untrained networks
    assert found.verdict == ("mismatch" if moved else "confirmed") and found.accuracy == looks[-1]
    assert len(looks) == (2 if moved else 2 + class_order.EPOCHS)


def test_the_readout_is_ridge_regression_of_the_classes(digits):
    """Against scikit-learn's, which minimises the same sum; its intercept is the classes' shares."""
    from sklearn.linear_model import Ridge

    network = networks.build("ConvNet", in_channels=1, num_classes=10, image_size=[8, 8], seed=0, width=16)
    network.double()
    images, labels = digits.train.images[:300].double() / 255, digits.train.labels[:300]
    predicted = class_order._readout(network, lambda chunk: chunk, images, labels)
    with torch.no_grad():
        rows = network.features(images).flatten(1)
        others = network.features(digits.train.images[300:900].double() / 255).flatten(1)
    known, unseen = (((chunk - rows.mean(0)) / (rows.std(0) + 1e-3)).numpy() for chunk in (rows, others))
    oracle = Ridge(class_order.RIDGE * len(rows), solver="cholesky").fit(known, F.one_hot(labels).numpy())
    expected = torch.from_numpy(oracle.predict(unseen)).argmax(1)
    assert torch.equal(predicted(digits.train.images[300:900].double() / 255), expected)
