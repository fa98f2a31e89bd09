"""A distilled set as rows and read back: both copies, labels, soft labels."""

import dataclasses

import datasets
import numpy as np
import pytest
import torch

from hf_dd.config import DataConfig
from hf_dd.data.image_data import load_data
from hf_dd.errors import DataError
from hf_dd.synthetic import distilled_set
from hf_dd.synthetic.distilled_set import (
    DistilledSet,
    from_dataset,
    png_bytes,
    to_dataset,
    to_eight_bits,
    to_pil,
    to_rows,
)
from hf_dd.synthetic.synthetic_set import SyntheticSet


@pytest.fixture(autouse=True)
def datasets_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets_cache")


@pytest.fixture(scope="module")
def digits():
    return load_data(DataConfig())


@pytest.fixture(scope="module")
def colours(digits):
    """Digits with three channels of unequal statistics, and names that sort otherwise than their labels."""
    images = torch.cat([digits.train.images, digits.train.images // 2, 255 - digits.train.images], dim=1)
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    return dataclasses.replace(
        digits,
        train=dataclasses.replace(digits.train, images=images),
        mean=(0.3, 0.15, 0.7),
        std=(0.4, 0.2, 0.35),
        class_names=names,
    )


def make_set(data, init="noise", ipc=3, seed=0, dtype=torch.float32):
    return SyntheticSet.initial(data, ipc, init, seed, dtype)


def through_parquet(rows, folder):
    (folder / "data").mkdir(parents=True)
    rows.to_parquet(folder / "data" / "train-00000-of-00001.parquet")
    return datasets.load_dataset(str(folder), split="train")


@pytest.mark.parametrize("source", ["digits", "colours"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_float_copy_is_exact_through_parquet(source, dtype, tmp_path, request):
    data = request.getfixturevalue(source)
    synthetic = make_set(data, dtype=dtype)
    expected = synthetic.own_space().detach().float()
    assert (expected < 0).any() and (expected > 1).any()  # nothing is clipped in it
    rows = through_parquet(to_dataset(synthetic), tmp_path)
    assert rows.column_names == ["image", "label", "pixel_values"]
    read = np.array(rows.with_format("numpy")["pixel_values"])
    assert read.dtype == np.float32
    assert read.tobytes() == expected.numpy().tobytes()
    distilled = from_dataset(rows, "it")
    assert torch.equal(distilled.pixel_values, expected)
    assert torch.equal(distilled.copy("float"), expected)
    assert distilled.labels.tolist() == synthetic.labels.tolist()
    assert (distilled.ipc, distilled.class_names) == (3, data.class_names)


def test_every_float32_survives(tmp_path):
    special = torch.tensor([0.0, -0.0, 1e-45, 3.4028235e38, -3.4028235e38, 1 / 3, 1 + 2**-23, 2**-126])
    synthetic = SyntheticSet(special.view(2, 1, 2, 2), ["a", "b"], (0.0,), (1.0,))
    distilled = from_dataset(through_parquet(to_dataset(synthetic), tmp_path), "it")
    expected = synthetic.own_space().detach().numpy()
    assert distilled.pixel_values.numpy().tobytes() == expected.tobytes()
    assert expected.flatten()[3] == np.float32(3.4028235e38)


@pytest.mark.parametrize("source", ["digits", "colours"])
def test_the_8_bit_copy_is_clipped_and_rounded(source, tmp_path, request):
    synthetic = make_set(request.getfixturevalue(source))
    rows = through_parquet(to_dataset(synthetic), tmp_path)
    own = synthetic.own_space().detach().double().numpy()
    expected = np.rint(np.minimum(np.maximum(own, 0), 1) * 255)
    distilled = from_dataset(rows, "it")
    assert distilled.images.dtype == torch.uint8 and distilled.images.shape == own.shape
    assert np.array_equal(distilled.images.numpy(), expected)
    assert np.array_equal(distilled.copy("8bit").numpy(), np.float32(expected) / np.float32(255))
    assert rows[0]["image"].format == "PNG"
    assert rows[0]["image"].mode == ("L" if source == "digits" else "RGB")


@pytest.mark.parametrize("longest", [2**31 - 1, 300, 100])
@pytest.mark.parametrize(("shape", "soft"), [((5, 1, 8, 8), ()), ((40, 3, 4, 6), (2,)), ((5, 1, 8, 8), (3, 2))])
def test_rows_are_as_datasets_makes_them_of_lists(shape, soft, longest, tmp_path, monkeypatch):
    """The very bytes, whatever pieces they are made of."""
    monkeypatch.setattr(distilled_set, "LONGEST", longest)
    pixels, labels = torch.rand(shape), torch.arange(shape[0]) % 2
    soft_labels = torch.rand(shape[0], *soft) if soft else None
    rows = to_rows(pixels, labels, ["a", "b"], soft_labels)
    plain = datasets.Dataset.from_dict(
        {
            "image": [to_pil(image) for image in to_eight_bits(pixels)],
            "label": labels.tolist(),
            "pixel_values": list(pixels.numpy()),
            **({"soft_label": soft_labels.tolist()} if soft else {}),
        },
        features=rows.features,
    )
    for name, made in (("ours", rows), ("plain", plain)):
        made.to_parquet(tmp_path / name)
    read = datasets.load_dataset("parquet", data_files=str(tmp_path / "ours"), split="train").with_format("torch")
    assert torch.equal(read[:]["pixel_values"], pixels)
    assert rows.data.nbytes == plain.data.nbytes or longest < 1_000
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "plain").read_bytes() or longest < 1_000


def test_eight_bits_by_hand():
    values = torch.tensor([-5.0, 0.0, 0.4 / 255, 0.6 / 255, 127.4 / 255, 1.0, 1.2, float("inf")])
    assert to_eight_bits(values).tolist() == [0, 0, 0, 1, 127, 255, 255, 255]


def test_labels_are_class_labels_with_the_names_in_order(colours, tmp_path):
    rows = through_parquet(to_dataset(make_set(colours)), tmp_path)
    assert rows.features["label"] == datasets.ClassLabel(names=colours.class_names)
    assert rows.features["label"].int2str(rows[29]["label"]) == "nine"
    assert rows.features["pixel_values"] == datasets.Array3D(shape=(3, 8, 8), dtype="float32")
    assert list(rows["label"]) == [label for label in range(10) for _ in range(3)]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_pixels_that_are_no_numbers_are_refused(digits, bad):
    synthetic = make_set(digits)
    rows = to_dataset(synthetic)
    assert from_dataset(rows, "the set").ipc == 3
    with torch.no_grad():
        synthetic.pixels[17, 0, 3, 3] = bad
    with pytest.raises(DataError, match="the set holds pixels that are not finite numbers"):
        from_dataset(to_dataset(synthetic), "the set")


@pytest.mark.parametrize("column", ["image", "label", "pixel_values"])
def test_a_missing_column_is_named(digits, column):
    rows = to_dataset(make_set(digits)).remove_columns(column)
    with pytest.raises(DataError, match=f"the set isn't a distilled set of hf_dd: it has no column {column}"):
        from_dataset(rows, "the set")


@pytest.mark.parametrize("column", ["image", "pixel_values"])
def test_rows_without_images_are_counted_before_they_are_read(digits, column):
    rows = to_dataset(make_set(digits)).select([0, 1, 2])
    empty = datasets.Dataset.from_list([dict(rows[0]) | {column: None}, rows[1], rows[2]], features=rows.features)
    with pytest.raises(DataError, match=f"^1 of the 3 rows of the set have no {column}"):
        from_dataset(empty, "the set")


def test_a_distilled_set_says_what_it_is_in_a_line():
    pixels = torch.zeros(8, 1, 6, 4)
    few = DistilledSet(pixels, pixels.to(torch.uint8), torch.arange(2).repeat_interleave(4), ["cat", "dog"], 100)
    assert repr(few) == "DistilledSet of 8 images of 2 classes: 1×6×4 (channels × height × width)"
    tiled = dataclasses.replace(few, factor=2, soft_labels=torch.full((8, 2), 0.5))
    assert repr(tiled) == (
        "DistilledSet of 8 images of 2 classes, decoded from 2 stored ones: 1×6×4 (channels × height × width), "
        "with soft labels"
    )


# --- a compact set and its decoded images


@pytest.mark.parametrize("change", ["order", "names", "number"])
def test_decoded_images_that_are_not_a_compact_sets_are_refused(digits, change):
    compact = from_dataset(to_dataset(make_set(digits, ipc=1)), "the set")
    images = from_dataset(to_dataset(make_set(digits, ipc=4)), "the set")
    assert (compact.decoded(images, "the set").factor, compact.decoded(images, "the set").ipc) == (2, 1)
    wrong = {
        "order": {"labels": images.labels.flip(0)},
        "names": {"class_names": images.class_names[::-1]},
        "number": {"labels": images.labels[:-1]},
    }[change]
    with pytest.raises(DataError, match="decoded images of the set aren't a square number of each of its 10 stored"):
        compact.decoded(dataclasses.replace(images, **wrong), "the set")


@pytest.mark.parametrize(("count", "alike"), [(3, True), (1_000, False), (2_500, True)])
def test_real_images_take_what_a_set_of_them_would(count, alike):
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(256, (1 if alike else count, 3, 5, 4), dtype=torch.uint8, generator=draws)
    images = images.expand(count, -1, -1, -1)
    rows = to_rows(images[:1_000].float() / 255, torch.zeros(min(count, 1_000), dtype=torch.int64), ["a"])
    stored = sum(len(image["bytes"]) for image in rows.cast_column("image", datasets.Image(decode=False))["image"])
    assert png_bytes(images) == png_bytes(images.double() / 255) == stored * max(1.0, count / 1_000)
