import dataclasses
import gzip
import importlib.metadata
import io
import os
import re
import struct
import subprocess
import sys
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import datasets
import numpy as np
import pyarrow
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms

from hf_dd import hub
from hf_dd.artefacts.provenance import data_record
from hf_dd.config import DataConfig
from hf_dd.core import cache
from hf_dd.core.seeding import generator
from hf_dd.data import decoding, fixed_forms, stored_images
from hf_dd.data.batches import CHUNK_PIXELS_ON_CPU, StoredImages, in_blocks, in_chunks
from hf_dd.data.fixed_forms import digits_rows
from hf_dd.data.held_out import held_out
from hf_dd.data.image_data import channel_statistics, load_data
from hf_dd.data.sources import read_dataset
from hf_dd.data.splits import by_class
from hf_dd.errors import ConfigError, DataError, HubError
from tests.factories import make_data


@pytest.fixture(autouse=True)
def datasets_cache(tmp_path, monkeypatch):
    folder = tmp_path / "datasets_cache"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder)
    return folder


@pytest.fixture(scope="module")
def digits():
    return load_data(DataConfig())


def load(folder, **options):
    return load_data(DataConfig(dataset=str(folder), **options))


def encode(pixels, format="PNG", **options):
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.asarray(pixels, np.uint8))
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def grey(value, height=4, width=4):
    return np.full((height, width), value, np.uint8)


def colour(value, height=4, width=4):
    return np.broadcast_to(np.uint8(value), (height, width, 3))


NAMES = ["cat", "dog"]


def table(contents, labels, label=None, column="image", **columns):
    label = label or datasets.ClassLabel(names=NAMES)
    features = datasets.Features({column: datasets.Image(), "label": label})
    rows = [content if content is None else {"bytes": content, "path": None} for content in contents]
    made = datasets.Dataset.from_dict({column: rows, "label": labels}, features=features)
    for name, values in columns.items():
        made = made.add_column(name, values)
    return made


def write_parquet(folder, **splits):
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for name, split in splits.items():
        split.to_parquet(folder / "data" / f"{name}-00000-of-00001.parquet")
    return folder


def write_idx(path, array, magic=None):
    header = magic or bytes((0, 0, 8, array.ndim))
    content = header + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_mnist(folder, ending="-ubyte.gz", prefixes=("train", "t10k")):
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    for prefix in prefixes:
        write_idx(folder / f"{prefix}-images-idx3{ending}", random.integers(0, 256, (12, 5, 6)))
        write_idx(folder / f"{prefix}-labels-idx1{ending}", np.arange(12) % 3 + 1)
    return folder


# --- digits


def test_digits_are_these_numbers(digits):
    assert digits.name == digits.reference == "digits"
    assert (digits.repo_id, digits.revision, digits.sha, digits.license) == (None, None, None, "cc-by-4.0")
    assert digits.class_names == list("0123456789")
    assert digits.train.images.shape == (1438, 1, 8, 8) and digits.test.images.shape == (359, 1, 8, 8)
    assert digits.train.images.dtype == torch.uint8 and digits.train.labels.dtype == torch.int64
    assert digits.train.images.is_contiguous()
    assert (digits.channels, digits.image_size, digits.num_classes) == (1, (8, 8), 10)
    assert torch.bincount(digits.train.labels).tolist() == [142, 146, 142, 146, 145, 146, 145, 143, 139, 144]
    assert torch.bincount(digits.test.labels).tolist() == [36, 36, 35, 37, 36, 36, 36, 36, 35, 36]
    assert digits.train.images.flatten(1).sum(1, dtype=torch.int64)[:4].tolist() == [4687, 4989, 4256, 4114]
    assert digits.train.images.max() == 255
    assert digits.fingerprint == "17d41300d1b19efd3a0eb339b546cd69"


def test_digits_splits_are_a_partition_of_scikit_learns(digits):
    from sklearn.datasets import load_digits

    everything = torch.cat([digits.train.images, digits.test.images]).flatten(1)
    original = np.rint(load_digits().data * 255 / 16)
    assert sorted(map(tuple, everything.tolist())) == sorted(map(tuple, original.astype(int).tolist()))


@pytest.mark.parametrize("there", [True, False])
def test_digits_are_read_from_the_file_or_by_scikit_learn_alike(monkeypatch, tmp_path, there):
    from sklearn.datasets import load_digits

    if not there:  # as in an installation of another layout
        monkeypatch.setattr(importlib.metadata.Distribution, "locate_file", lambda self, path: tmp_path / path)
        monkeypatch.setattr(importlib.metadata.PathDistribution, "locate_file", lambda self, path: tmp_path / path)
    else:
        monkeypatch.setattr("sklearn.datasets.load_digits", None)
    pixels, labels = digits_rows()[:, :-1], digits_rows()[:, -1]
    monkeypatch.undo()
    assert pixels.tolist() == load_digits().data.tolist() and labels.tolist() == load_digits().target.tolist()


def test_statistics_agree_with_numpy_in_float64(digits):
    pixels = digits.train.images.numpy().astype(np.float64) / 255
    assert digits.mean == pytest.approx([pixels.mean()], rel=1e-13)
    assert digits.std == pytest.approx([pixels.std()], rel=1e-13)
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (7, 3, 5, 4), dtype=np.uint8))
    mean, std = channel_statistics(images)
    assert mean == pytest.approx((images.numpy() / 255).mean((0, 2, 3)), rel=1e-13)
    assert std == pytest.approx((images.numpy() / 255).std((0, 2, 3)), rel=1e-13)


def test_a_constant_channel_has_the_std_of_one_grey_level():
    assert channel_statistics(torch.full((3, 1, 2, 2), 51, dtype=torch.uint8)) == ((0.2,), (1 / 255,))


def test_normalise_standardises_and_can_be_undone(digits):
    normalised = digits.normalise(digits.train.images)
    assert normalised.dtype == torch.float32
    assert normalised.mean().item() == pytest.approx(0, abs=1e-5)
    assert normalised.std(correction=0).item() == pytest.approx(1, abs=1e-5)
    undone = normalised * digits.std[0] + digits.mean[0]
    torch.testing.assert_close(undone, digits.train.images / 255, atol=1e-6, rtol=0)
    floats = (digits.train.images[:3].double() / 255).requires_grad_()
    assert digits.normalise(floats).dtype == torch.float64
    digits.normalise(floats).sum().backward()
    torch.testing.assert_close(floats.grad, torch.full_like(floats, 1 / digits.std[0]))


def test_class_index_is_ascending_and_complete(digits):
    for label, members in enumerate(digits.class_index):
        assert (digits.train.labels[members] == label).all() and (members.diff() > 0).all()
    assert torch.cat(digits.class_index).sort().values.tolist() == list(range(1438))


@given(label=st.integers(0, 9), count=st.integers(0, 500), seed=st.integers(0, 2**32))
def test_sample_class(digits, label, count, seed):
    members = digits.class_index[label].tolist()
    sample = digits.sample_class(label, count, generator(seed, "sample", label)).tolist()
    assert sample == digits.sample_class(label, count, generator(seed, "sample", label)).tolist()
    assert len(sample) == count and set(sample) <= set(members)
    times = [sample.count(member) for member in members]
    assert max(times) - min(times) <= 1  # without replacement, then whole rounds
    assert all(sample[place] == sample[place % len(members)] for place in range(count))


def test_sample_class_draws_every_image_equally_often(digits):
    counts = torch.zeros(1438)
    for step in range(2000):
        counts[digits.sample_class(3, 10, generator(0, step))] += 1
    drawn = counts[digits.class_index[3]]
    assert counts.sum() == drawn.sum() == 20_000
    expected = 20_000 / 146
    assert ((drawn - expected).abs() < 5 * expected**0.5).all()


def test_images_are_sorted_by_class_at_once():
    labels = torch.tensor([2, 0, 2, 3, 0])
    assert [own.tolist() for own in by_class(labels, 5)] == [[1, 4], [], [0, 2], [3], []]


def test_of_many_classes_that_differ_a_few_are_told(digits):
    data = dataclasses.replace(digits, class_names=[f"class {number}" for number in range(2000)])
    data.require_classes(data.class_names, "a-set")
    with pytest.raises(DataError, match=r"\(2000 in all\), but digits has .*, and class 1999 is the first") as refused:
        data.require_classes([*data.class_names[:-1], "other"], "a-set")
    assert len(str(refused.value)) < 600


def test_a_class_of_one_image_cannot_be_held_out():
    with pytest.raises(DataError, match="Class .* of random has 1 training image, and it would be held out"):
        held_out(make_data((1, 9)), 0)


def test_a_part_may_be_held_out_and_trained_on():
    data = make_data((100, 300))
    whole, few = held_out(data, 0), held_out(data, 0, most=120, most_tested=20)
    assert whole.train.labels.bincount().tolist() == [90, 270] and whole.test.labels.bincount().tolist() == [10, 30]
    assert few.train.labels.bincount().tolist() == [90, 120] and few.test.labels.bincount().tolist() == [5, 15]
    for part, other in ((few.train, whole.train), (few.test, whole.test)):
        there = [other.images.flatten(1).eq(image).all(1).nonzero() for image in part.images.flatten(1)]
        assert all(map(len, there)) and [rows.min() for rows in there] == sorted(rows.min() for rows in there)
    assert few.fingerprint != whole.fingerprint and held_out(data, 0, 1000, 1000).fingerprint == whole.fingerprint
    assert held_out(data, 0, most_tested=1).test.labels.bincount().tolist() == [1, 1]
    assert not held_out(data, 1, 120, 20).test.images.equal(few.test.images)


def test_require_ipc_names_the_smallest_class(digits):
    digits.require_ipc(139)
    with pytest.raises(DataError, match=r"Class '8' of digits has 139 .* ipc is 140: the largest ipc possible is 139"):
        digits.require_ipc(140)


def test_to_moves_everything(digits):
    moved = digits.to("meta")
    tensors = [moved.train.images, moved.train.labels, moved.test.images, moved.test.labels, *moved.class_index]
    assert {tensor.device.type for tensor in tensors} == {moved.device.type} == {"meta"}
    assert digits.device.type == "cpu" and moved.fingerprint == digits.fingerprint


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_gpu_gives_the_same_samples_and_pixels(digits):
    moved = digits.to("cuda")
    sample = moved.sample_class(3, 200, generator(0, "x"))
    assert sample.device.type == "cuda"
    assert sample.cpu().equal(digits.sample_class(3, 200, generator(0, "x")))
    torch.testing.assert_close(moved.normalise(moved.train.images).cpu(), digits.normalise(digits.train.images))


def test_digits_resized():
    data = load_data(DataConfig(image_size=16))
    assert data.image_size == (16, 16) and data.test.images.shape == (359, 1, 16, 16)
    first = Image.fromarray(load_data(DataConfig()).train.images[0, 0].numpy())
    small = load_data(DataConfig(image_size=4)).train.images[0, 0]
    assert small.tolist() == np.asarray(first.resize((4, 4), Image.Resampling.BILINEAR)).tolist()


@pytest.mark.parametrize(
    "option", [{"train_split": "all"}, {"test_split": "val"}, {"image_column": "x"}, {"dataset_config": "y"}]
)
def test_options_without_meaning_for_digits_are_refused(option):
    with pytest.raises(ConfigError, match=f"--{next(iter(option))} has no meaning for digits"):
        load_data(DataConfig(**option))


def test_importing_the_module_is_light():
    code = (
        "import sys, hf_dd.data.image_data; print([m for m in ('datasets', 'sklearn', 'pandas') if m in sys.modules])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- names that mean nothing


@pytest.mark.parametrize("name", ["digitz", "Digits", "digit"])
def test_a_near_miss_is_pointed_to_digits(name):
    with pytest.raises(DataError, match="Did you mean 'digits'?"):
        load_data(DataConfig(dataset=name))


@pytest.mark.parametrize("name", ["mnist", "./nowhere", "/no/such/folder", "a/b/c"])
def test_an_unknown_name_lists_the_forms(name):
    with pytest.raises(DataError, match="a folder of IDX files, or 'digits'") as raised:
        load_data(DataConfig(dataset=name))
    assert "mean" not in str(raised.value)


def test_a_missing_repository_mentions_that_there_is_no_folder(monkeypatch):
    def resolve(reference, repo_type="model"):
        raise HubError(f"{repo_type} {reference} doesn't exist.")

    monkeypatch.setattr(hub.places, "resolve", resolve)
    with pytest.raises(HubError, match=r"dataset owner/name@v1 doesn't exist. \(There is no folder"):
        load_data(DataConfig(dataset="owner/name@v1"))


# --- IDX


@pytest.mark.parametrize("ending", ["-ubyte", "-ubyte.gz"])
def test_idx_folder(tmp_path, ending):
    data = load(write_mnist(tmp_path / "mine", ending))
    expected = np.random.default_rng(0).integers(0, 256, (12, 5, 6))
    assert data.train.images[:, 0].tolist() == expected.tolist()
    assert data.class_names == ["1", "2", "3"] and data.train.labels[:4].tolist() == [0, 1, 2, 0]
    assert (data.name, data.license, data.image_size, len(data.test)) == ("mine", "unknown", (5, 6), 12)
    assert load(tmp_path / "mine", image_size=3).image_size == (3, 3)


def test_idx_without_a_test_pair(tmp_path):
    folder = write_mnist(tmp_path / "mine", prefixes=("train",))
    assert load(folder).test is None
    held = load(folder, test_share=0.25, image_size=3)
    assert (len(held.train), sorted(held.test.labels.tolist()), held.test.images.shape[2:]) == (9, [0, 1, 2], (3, 3))
    with pytest.raises(ConfigError, match="--test_split has no meaning for .*mine"):
        load(folder, test_split="test")


@pytest.mark.parametrize("prefix", ["train", "t10k"])
def test_idx_with_a_missing_file(tmp_path, prefix):
    folder = write_mnist(tmp_path / "mine")
    (folder / f"{prefix}-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match=f"lacks {prefix}-labels-idx1-ubyte"):
        load(folder)


def idx_bytes(shape, size, magic=b"\0\0\x08"):
    return magic + bytes((len(shape),)) + struct.pack(f">{len(shape)}I", *shape) + bytes(size)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "isn't an IDX file"),
        (idx_bytes((2, 3, 4), 24, b"\0\0\x0d"), "begins with '00000d03', not '00000803'"),
        (idx_bytes((24,), 24), "begins with '00000801', not '00000803'"),
        (idx_bytes((2, 3, 4), 24)[:9], "ends in its header"),
        (idx_bytes((2, 3, 4), 23), r"declares \(2, 3, 4\), but 23 bytes"),
        (idx_bytes((2, 3, 4), 25), r"declares \(2, 3, 4\), but 25 bytes"),
        (idx_bytes((0, 3, 4), 0), r"declares \(0, 3, 4\)"),
        (idx_bytes((11, 5, 6), 330), "has 11 images in train-images, but 12 labels"),
    ],
)
def test_damaged_idx(tmp_path, content, message):
    folder = write_mnist(tmp_path / "mine", "-ubyte")
    (folder / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(DataError, match=message) as raised:
        load(folder)
    assert str(folder) in str(raised.value)


def test_cut_gzip(tmp_path):
    folder = write_mnist(tmp_path / "mine")
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="train-images-idx3-ubyte.gz can't be read"):
        load(folder)


@pytest.mark.skipif("HF_DD_FASHION_MNIST" not in os.environ, reason="HF_DD_FASHION_MNIST names no folder")
def test_fashion_mnist_is_recognised():
    data = load(os.environ["HF_DD_FASHION_MNIST"])
    assert (data.name, data.license, data.repo_id) == ("Fashion-MNIST", "mit", None)
    assert data.class_names[0] == "T-shirt/top" and data.class_names[9] == "Ankle boot"
    assert data.train.images.shape == (60_000, 1, 28, 28) and data.test.images.shape == (10_000, 1, 28, 28)
    assert [len(members) for members in data.class_index] == [6000] * 10
    assert data.mean == pytest.approx([0.2860405969887955], rel=1e-13)
    assert data.std == pytest.approx([0.3530242445149226], rel=1e-13)
    assert data.fingerprint == "f2a4f9f8267726f6ad45b56244787022"


# --- folders that datasets reads


@pytest.fixture
def pets(tmp_path):
    train = table([encode(grey(v)) for v in (10, 20, 30)], [0, 1, 0])
    test = table([encode(grey(v)) for v in (40, 50)], [1, 0])
    return write_parquet(tmp_path / "pets", train=train, test=test)


def test_parquet_folder(pets):
    data = load(pets)
    assert (data.name, data.license, data.repo_id, data.class_names) == ("pets", "unknown", None, NAMES)
    assert data.train.images.shape == (3, 1, 4, 4) and data.test.images.shape == (2, 1, 4, 4)
    assert data.train.images[:, 0, 0, 0].tolist() == [10, 20, 30] and data.train.labels.tolist() == [0, 1, 0]
    assert data.test.images[:, 0, 0, 0].tolist() == [40, 50] and data.test.labels.tolist() == [1, 0]


def test_imagefolder(tmp_path):
    for split, name, value in (("train", "cat", 1), ("train", "dog", 2), ("validation", "dog", 3)):
        path = tmp_path / "animals" / split / name / "0.png"
        path.parent.mkdir(parents=True)
        path.write_bytes(encode(colour(value)))
    data = load(tmp_path / "animals")
    assert data.class_names == NAMES and data.train.images[:, :, 0, 0].tolist() == [[1, 1, 1], [2, 2, 2]]
    assert data.test.labels.tolist() == [1] and data.test.images.unique().tolist() == [3]


@pytest.mark.parametrize("single", [True, False])
def test_a_saved_dataset(tmp_path, single):
    train = table([encode(grey(v)) for v in (10, 20, 30)], [0, 1, 0]).select([2, 1])  # with an indices mapping
    (train if single else datasets.DatasetDict({"train": train})).save_to_disk(tmp_path / "saved")
    data = load(tmp_path / "saved")
    assert data.train.images[:, 0, 0, 0].tolist() == [30, 20] and data.test is None


def test_the_test_split_is_found_or_named(tmp_path):
    def split(value):
        return table([encode(grey(value)), encode(grey(10 * value))], [0, 1])

    folder = write_parquet(tmp_path / "many", train=split(1), validation=split(2), test=split(3))
    for options, values, name in [
        ({}, [3, 30], "test"),
        ({"test_split": "validation"}, [2, 20], "validation"),
        ({"train_split": "test"}, [2, 20], "validation"),
    ]:
        data = load(folder, **options)
        assert data.test.images.unique().tolist() == values and data.test_split == name
        assert data_record(data).get("test_split", "test") == name
    with pytest.raises(DataError, match="no split 'extra'; there are: train, validation, test. Name one with --train"):
        load(folder, train_split="extra")
    with pytest.raises(DataError, match="no split 'extra'.*--test_split"):
        load(folder, test_split="extra")


def test_one_image_in_colour_makes_all_of_them_rgb(tmp_path):
    palette = Image.fromarray(grey(0)).convert("P")
    palette.putpalette([7, 8, 9] * 256)
    images = [encode(grey(5)), encode(colour((1, 2, 3))), encode(palette)]
    images.append(encode(Image.new("RGBA", (4, 4), (4, 5, 6, 0))))
    data = load(write_parquet(tmp_path / "mixed", train=table(images, [0, 1, 0, 1])))
    assert data.train.images[:, :, 2, 2].tolist() == [[5, 5, 5], [1, 2, 3], [7, 8, 9], [255, 255, 255]]


def test_all_grey_stays_one_channel_and_the_test_split_follows(tmp_path):
    black_and_white = encode(Image.new("1", (4, 4), 1))
    sixteen_bits = encode(Image.fromarray(np.full((4, 4), 257 * 100, np.uint16)))
    train = table([encode(grey(5)), black_and_white, sixteen_bits], [0, 1, 0])
    folder = write_parquet(tmp_path / "grey", train=train, test=table([encode(colour((9, 9, 9)))], [0]))
    data = load(folder)
    assert data.train.images[:, 0, 1, 1].tolist() == [5, 255, 100]  # PIL alone would clip 16 bits to 255
    assert data.test.images.shape == (1, 1, 4, 4) and data.test.images.unique().tolist() == [9]


def test_the_commonest_size_is_the_target_and_others_are_covered_and_cropped(tmp_path):
    stripes = grey(0, 4, 8)
    stripes[:, 2:6] = 200  # the centre square of a 4×8 image
    images = [encode(grey(1)), encode(grey(2)), encode(stripes), encode(grey(3, 8, 8))]
    folder = write_parquet(tmp_path / "sizes", train=table(images, [0, 1, 0, 1]))
    data = load(folder)
    assert data.image_size == (4, 4)
    assert data.train.images[2].unique().tolist() == [200] and data.train.images[3].unique().tolist() == [3]
    halved = Image.fromarray(stripes).resize((4, 2), Image.Resampling.BILINEAR).crop((1, 0, 3, 2))
    assert load(folder, image_size=2).train.images[2, 0].tolist() == np.asarray(halved).tolist()


@pytest.mark.parametrize("size", [(30, 20), (20, 30), (51, 33), (16, 16), (9, 31)])
@pytest.mark.parametrize(("shorter", "side"), [(16, 14), (9, 8), (14, 14)])
def test_test_images_are_seen_as_by_torchvision(tmp_path, size, shorter, side):
    random = np.random.default_rng(0)
    images = [Image.fromarray(random.integers(0, 256, (*size, 3), dtype=np.uint8)) for _ in range(2)]
    both = table([encode(image) for image in images], [0, 1])
    folder = write_parquet(tmp_path / "cut", train=both, test=both)
    data, whole = load(folder, image_size=side, test_resize=shorter), load(folder, image_size=side)
    seen = transforms.Compose([transforms.Resize(shorter), transforms.CenterCrop(side)])
    expected = torch.stack([torch.from_numpy(np.array(seen(image))).permute(2, 0, 1) for image in images])
    assert data.test.images.equal(expected)
    assert data.train.images.equal(whole.train.images) and data.fingerprint == whole.fingerprint
    assert [note for note in data.notes if note not in whole.notes] == [
        f"Test images were scaled to {shorter} pixels at their shorter side before their centre was cut out."
    ]


def test_test_images_of_fixed_sizes_are_cut_out_as_well():
    data, whole = load_data(DataConfig(image_size=14, test_resize=16)), load_data(DataConfig(image_size=14))
    seen = transforms.Compose([transforms.Resize(16), transforms.CenterCrop(14)])
    first = Image.fromarray(load_data(DataConfig()).test.images[0, 0].numpy())
    assert data.test.images[0, 0].tolist() == np.array(seen(first)).tolist()
    assert data.train.images.equal(whole.train.images) and len(data.notes) == 1 and not whole.notes
    assert load_data(DataConfig(test_resize=8)).test.images.equal(load_data(DataConfig()).test.images)


def test_a_test_resize_has_room_for_the_images(pets, tmp_path):
    for config in (DataConfig(test_resize=7), DataConfig(dataset=str(pets), test_resize=3)):
        with pytest.raises(DataError, match=r"--test_resize is .*: give at least (8|4), or leave it out"):
            load_data(config)
    thin = table([encode(Image.new("RGB", (4_000, 1))), encode(Image.new("RGB", (4, 4)))], [0, 1])
    folder = write_parquet(tmp_path / "thin", train=table([encode(colour(1)), encode(colour(2))], [0, 1]), test=thin)
    with pytest.raises(DataError, match=r"Split 'test', row 0.*at --test_resize 300 it would have 1200000×300 pixels"):
        load(folder, test_resize=300)


def test_an_idx_image_that_would_be_too_large_is_one_clear_error(tmp_path):
    with pytest.raises(DataError, match="at --test_resize 8192 it would have 9830×8192 pixels"):
        load(write_mnist(tmp_path / "mnist"), test_resize=8192)


def test_heights_and_widths_are_not_confused(tmp_path):
    pixels = np.arange(15, dtype=np.uint8).reshape(3, 5)
    data = load(write_parquet(tmp_path / "oblong", train=table([encode(pixels), encode(255 - pixels)], [0, 1])))
    assert data.image_size == (3, 5) and data.train.images[0, 0].tolist() == pixels.tolist()


def test_exif_orientation_is_applied(tmp_path):
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    exif = Image.Exif()
    exif[274] = 6  # to be turned clockwise
    contents = [encode(each, exif=exif) for each in (pixels, 255 - pixels)]
    folder = write_parquet(tmp_path / "turned", train=table(contents, [0, 1]))
    assert load(folder).train.images[0, 0].tolist() == np.rot90(pixels, -1).tolist()


@pytest.mark.parametrize(
    ("split", "content", "reason"),
    [
        ("train", b"no image", "cannot identify"),
        ("test", encode(np.random.default_rng(0).integers(0, 256, (32, 32)))[:400], ""),
        ("train", encode(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), "which value is white"),
        ("train", None, "there is none"),
    ],
)
def test_a_damaged_image_is_named(tmp_path, split, content, reason):
    good = encode(grey(1))
    splits = {"train": table([good] * 3, [0, 1, 0]), "test": table([good] * 3, [0, 1, 0])}
    splits[split] = table([good, good, content], [0, 1, 0])
    with pytest.raises(DataError, match=f"Split '{split}', row 2: the image can't be decoded .*{reason}"):
        load(write_parquet(tmp_path / "damaged", **splits))


def test_all_images_that_are_no_images_are_named_at_once(tmp_path, monkeypatch):
    good = encode(grey(1))
    contents = [good, b"none", *[good] * 600, b"", b"none"]
    message = r"row 1: .* \(cannot .*\); 2 more can't be, either: row 602, row 603\. Mend"
    with pytest.raises(DataError, match=f"Split 'train', {message}"):
        load(write_parquet(tmp_path / "none", train=table(contents, [0, 1] * 302)))
    monkeypatch.setattr("hf_dd.data.decoding._fit", None)  # before any image is decoded
    rows = {"train": table([good] * 2, [0, 1]), "test": table(contents, [0, 1] * 302)}
    with pytest.raises(DataError, match=f"Split 'test', {message}"):
        load(write_parquet(tmp_path / "later", **rows))


@pytest.mark.parametrize(
    ("kind", "labels", "names"),
    [
        ("string", ["b", "a", "b"], ["a", "b"]),
        ("int32", [10, 9, 10], ["9", "10"]),
        ("bool", [True, False, True], None),
    ],
)
def test_plain_labels_are_the_sorted_values(tmp_path, kind, labels, names):
    split = table([encode(grey(value)) for value in (1, 2, 3)], labels, datasets.Value(kind))
    data = load(write_parquet(tmp_path / "plain", train=split, test=split))
    assert data.class_names == (names or ["False", "True"]) and data.test.labels.tolist() == [1, 0, 1]


def test_classes_with_blank_names_are_called_by_their_numbers(tmp_path):
    split = table([encode(grey(value)) for value in (1, 2, 3)], ["x", " ", ""], datasets.Value("string"))
    data = load(write_parquet(tmp_path / "blank", train=split))
    assert data.class_names == ["class 0", "class 1", "x"] and data.train.labels.tolist() == [2, 1, 0]


def test_a_test_label_that_training_lacks(tmp_path):
    train, test = (
        table([encode(grey(1))] * 3, x, datasets.Value("string")) for x in (["a", "b", "a"], ["a", "c", "d"])
    )
    with pytest.raises(DataError, match=r"2 labels of split 'test' \(c, d\) are none of the 2 classes"):
        load(write_parquet(tmp_path / "unknown", train=train, test=test))


@pytest.mark.parametrize("missing", [-1, None])
def test_unlabelled_images_are_counted(tmp_path, missing):
    images = [encode(grey(1))] * 3
    splits = {"train": table(images, [0, 1, 0]), "test": table(images, [0, missing, missing])}
    with pytest.raises(DataError, match="2 of the 3 images of split 'test' have no label"):
        load(write_parquet(tmp_path / "unlabelled", **splits))


def test_a_label_out_of_range(tmp_path):
    numbers = table([encode(grey(1))] * 3, [0, 1, 5], datasets.Value("int64"))
    names = {"label": datasets.ClassLabel(names=NAMES), "image": datasets.Image()}
    folder = write_parquet(tmp_path / "range", train=numbers)
    (folder / "README.md").write_text(
        "---\ndataset_info:\n  features:\n  - name: image\n    dtype: image\n  - name: label\n    dtype:\n"
        "      class_label:\n        names:\n          '0': cat\n          '1': dog\n---\n"
    )
    assert datasets.load_dataset(str(folder))["train"].features == names
    with pytest.raises(DataError, match=r"1 labels of split 'train' \(5\) are none of the 2 classes"):
        load(folder)


def test_a_class_without_images(tmp_path):
    with pytest.raises(DataError, match="1 of the 2 classes have no training image: dog"):
        load(write_parquet(tmp_path / "empty", train=table([encode(grey(1))], [0])))


def test_splits_that_name_their_classes_differently():
    train, test = (
        table([encode(grey(1))] * 2, [0, 1], datasets.ClassLabel(names=names)) for names in (NAMES, NAMES[::-1])
    )
    with pytest.raises(DataError, match="Split 'test' has other columns or classes than 'train'"):
        read_dataset(datasets.DatasetDict(train=train, test=test), DataConfig(), "swapped")


def test_an_empty_split(tmp_path):
    splits = {"train": table([encode(grey(1))] * 2, [0, 1]), "test": table([], [])}
    with pytest.raises(DataError, match="Split 'test' holds no image"):
        read_dataset(datasets.DatasetDict(splits), DataConfig(), "empty")
    with pytest.raises(DataError, match='empty can\'t be read: Instruction "test" corresponds to no data'):
        load(write_parquet(tmp_path / "empty", **splits))
    splits["test"].save_to_disk(tmp_path / "saved")
    with pytest.raises(DataError, match="saved can't be read"):
        load(tmp_path / "saved")


def test_columns_have_to_be_unambiguous(tmp_path):
    split = table([encode(grey(1)), encode(grey(2))], [0, 1], mass=[1.5, 2.5], breed=["x", "y"])
    rows = [{"bytes": encode(grey(v)), "path": None} for v in (8, 9)]
    split = split.add_column("mask", rows, feature=datasets.Image())
    folder = write_parquet(tmp_path / "columns", train=split)
    with pytest.raises(DataError, match=r"2 columns look like images; .*mask .*--image_column"):
        load(folder)
    data = load(folder, image_column="mask", label_column="breed")
    assert data.class_names == ["x", "y"] and data.train.images[:, 0, 0, 0].tolist() == [8, 9]
    with pytest.raises(DataError, match=r"no column 'picture'; the columns are image .*label \(int64\), mass \(float"):
        load(folder, image_column="picture")
    with pytest.raises(DataError, match=r"Column 'label' doesn't hold images"):
        load(folder, image_column="label")
    with pytest.raises(DataError, match=r"Column 'mass' holds fractions, such as 1.5, .*--label_column"):
        load(folder, image_column="image", label_column="mass")


def test_no_label_column_and_no_image_column(tmp_path):
    split = table([encode(grey(1))], [0])
    with pytest.raises(DataError, match="No columns look like labels"):
        load(write_parquet(tmp_path / "a", train=split.remove_columns("label")))
    with pytest.raises(DataError, match="No columns look like images"):
        load(write_parquet(tmp_path / "b", train=split.remove_columns("image")))


def test_parquet_written_without_datasets(tmp_path):
    import pandas

    rows = {"image": [{"bytes": encode(grey(v)), "path": f"{v}.png"} for v in (1, 2)], "target": ["a", "b"]}
    (tmp_path / "bare").mkdir()
    pandas.DataFrame(rows).to_parquet(tmp_path / "bare" / "train.parquet")
    data = load(tmp_path / "bare")
    assert data.class_names == ["a", "b"] and data.train.images[:, 0, 0, 0].tolist() == [1, 2]


def test_folders_that_datasets_cannot_read(tmp_path):
    (tmp_path / "void").mkdir()
    with pytest.raises(DataError, match="void can't be read"):
        load(tmp_path / "void")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "train.parquet").write_bytes(b"PAR1 no parquet")
    with pytest.raises(DataError, match="broken can't be read"):
        load(tmp_path / "broken")
    with pytest.raises(DataError, match="pets can't be read.*--dataset_config"):
        folder = write_parquet(tmp_path / "pets", train=table([encode(grey(1))] * 2, [0, 1]))
        load(folder, dataset_config="large")


# --- the cache of decoded images


@pytest.fixture
def decodings(monkeypatch):
    calls = []
    original = decoding._decode
    monkeypatch.setattr(decoding, "_decode", lambda *args: calls.append(args[1:]) or original(*args))
    return calls


def kept_images(datasets_cache, kind="*"):
    return sorted((datasets_cache / "hf_dd" / "images").glob(kind))


def test_images_are_decoded_once_per_size(pets, decodings, datasets_cache):
    first, again = load(pets), load(pets)
    assert decodings == [("image", None, None)] and again.fingerprint == first.fingerprint
    assert again.train.images.equal(first.train.images) and again.test.images.equal(first.test.images)
    assert again.train.images.is_contiguous()
    assert load(pets, image_size=2).image_size == (2, 2) and load(pets).image_size == (4, 4)
    assert decodings == [("image", None, None), ("image", 2, None)]
    assert sorted(path.suffix for path in kept_images(datasets_cache)) == [".json"] * 2 + [".npy"] * 4


def test_the_same_images_are_decoded_once_whatever_their_splits_are_called(tmp_path, decodings, caplog):
    splits = [table([encode(grey(value + shift)) for value in (10, 20)], [0, 1]) for shift in (0, 5)]
    for name in ("test", "valid"):
        datasets.DatasetDict(dict(zip(("train", name), splits, strict=True))).save_to_disk(str(tmp_path / name))
    for folder in ("test", "valid", "test"):
        data = load(tmp_path / folder)
        found = [split.images[:, 0, 0, 0].tolist() for split in (data.train, data.test)]
        assert found == [[10, 20], [15, 25]] and data.test_split == folder
    assert len(decodings) == 1 and "can't be used" not in caplog.text


def test_of_large_images_fewer_wait_in_memory(tmp_path, monkeypatch):
    waiting = []

    def watched(items, what, *rest):
        for found in items:
            waiting.append((what, len(found[0])))
            yield found

    monkeypatch.setattr(decoding, "over", watched)
    monkeypatch.setattr(decoding, "BYTES_PER_TASK", 2 * 4 * 4)
    split = table([encode(grey(value)) for value in range(5)], [0, 1, 0, 1, 0])
    assert load(write_parquet(tmp_path / "large", train=split)).train.images[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert waiting == [("looking at train", 5), *(("decoding train", count) for count in (2, 2, 1))]


@pytest.mark.parametrize("kind", ["*.train.npy", "*.test.npy", "*.json"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "nonsense"])
def test_a_damaged_cache_file_is_rebuilt(pets, decodings, datasets_cache, kind, damage, caplog):
    first = load(pets)
    (path,) = kept_images(datasets_cache, kind)
    good = path.read_bytes()
    bad = {"cut": good[:-5], "flipped": good[:-1] + b"\xff", "empty": b"", "nonsense": b"x" * 100}[damage]
    path.write_bytes(bad)
    assert load(pets).train.images.equal(first.train.images)
    assert len(decodings) == 2 and "can't be used" in caplog.text
    load(pets)
    assert len(decodings) == 2


def test_changed_files_are_decoded_again(pets, decodings):
    load(pets)
    write_parquet(pets, train=table([encode(grey(v)) for v in (11, 20, 30)], [0, 1, 0]))
    assert load(pets).train.images[0, 0, 0, 0] == 11 and len(decodings) == 2


def until_two_wait(caplog):
    """Give two others the time to say that they wait."""
    for _ in range(1000):
        if caplog.text.count("Waiting for another process that is decoding") == 2:
            return
        time.sleep(0.01)
    raise AssertionError(caplog.text)


def test_what_several_need_at_once_is_decoded_by_one(pets, monkeypatch, caplog):
    monkeypatch.setattr(cache, "HEAD_START", 0)
    decoded, one, decode = [], threading.Event(), decoding._decode

    def slow(*arguments):
        decoded.append(arguments)
        one.wait(10)
        return decode(*arguments)

    monkeypatch.setattr(decoding, "_decode", slow)
    caplog.set_level("INFO")
    with ThreadPoolExecutor(3) as pool:
        found = [pool.submit(load, pets) for _ in range(3)]
        until_two_wait(caplog)
        one.set()
        first, *others = [each.result().train.images for each in found]
    assert len(decoded) == 1 and all(first.equal(other) for other in others)


def test_where_nothing_can_be_kept_nobody_waits_twice(tmp_path, caplog):
    """Two wait for one that keeps nothing: then they go on side by side."""
    path, inside, both = tmp_path / "images" / "x.json", threading.Event(), threading.Barrier(2, timeout=10)

    def first():
        with cache.one_at_a_time(path, "decoding"):
            inside.set()
            until_two_wait(caplog)

    def later():
        with cache.one_at_a_time(path, "decoding") as may_be_there:
            both.wait()
            return may_be_there

    caplog.set_level("INFO")
    with ThreadPoolExecutor(3) as pool:
        found = [pool.submit(first)]
        inside.wait(10)
        found += [pool.submit(later), pool.submit(later)]
        assert [each.result() for each in found] == [None, True, True]


def test_where_files_cannot_be_locked_nobody_waits(pets, monkeypatch, datasets_cache):
    class Refused(cache.FileLock):
        def acquire(self, **options):
            raise NotImplementedError("no locks here")

    monkeypatch.setattr(cache, "FileLock", Refused)
    assert len(load(pets).train) == 3
    assert len(kept_images(datasets_cache)) == 3  # of two splits, and what they are: no lock


def test_writers_at_once_leave_one_good_file(tmp_path):
    path, images = tmp_path / "folder" / "x.json", np.arange(256, dtype=np.uint8).reshape(16, 1, 4, 4)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: stored_images.write(path, {"train": (images.shape, images)}, {}), range(32)))
    assert sorted(path.parent.iterdir()) == [path, path.with_name("x.train.npy")]
    assert stored_images.read(path, ["train"], 1000)[0]["train"].tolist() == images.tolist()


def test_a_cache_that_cannot_be_written_is_only_a_warning(pets, datasets_cache, caplog):
    datasets_cache.mkdir()
    (datasets_cache / "hf_dd").write_text("a file where the folder should be")
    assert len(load(pets).train) == 3
    assert "can't be cached" in caplog.text


# --- splits that are too large for memory


def test_a_split_over_the_limit_stays_in_the_file(pets, decodings, datasets_cache, monkeypatch):
    in_memory, stored = load(pets), load(pets, image_memory_gb=0)
    assert decodings == [("image", None, None)]  # one file serves both
    assert isinstance(stored.train.images, StoredImages) and stored.train.images.shape == in_memory.train.images.shape
    for name in ("fingerprint", "mean", "std", "image_size", "channels", "class_names"):
        assert getattr(stored, name) == getattr(in_memory, name)
    index = torch.tensor([2, 0, 2])
    assert stored.train.images[index].equal(in_memory.train.images[index])
    monkeypatch.setattr("hf_dd.data.image_data.channel_statistics", None)  # kept beside the file
    assert load(pets, image_memory_gb=0).std == in_memory.std


def test_a_large_split_is_decoded_into_the_file(pets, datasets_cache):
    stored = load(pets, image_memory_gb=0)
    expected = load(pets)
    for split, other in ((stored.train, expected.train), (stored.test, expected.test)):
        assert torch.cat(list(in_blocks(split.images, 2))).equal(other.images)
    assert np.load(stored.train.images.path).tolist() == expected.train.images.tolist()
    path = stored.train.images.path.with_suffix("").with_suffix(".json")
    assert stored_images.read(path, ["train", "test"], 1e9)[0].keys() == {"train", "test"}
    data = bytearray(stored.test.images.path.read_bytes())
    data[-1] ^= 1
    stored.test.images.path.write_bytes(data)
    assert stored_images.read(path, ["train", "test"], 1e9) is None  # the digest was written too
    stored.test.images.path.write_bytes(data[:-1])
    assert stored_images.read(path, ["train", "test"], 0) is None


def test_a_stored_split_that_goes_away_is_one_clear_error(pets, datasets_cache):
    images = load(pets, image_memory_gb=0).train.images
    path = images.path
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(DataError, match="changed while they were in use"):
        images[torch.tensor([0])]
    path.unlink()
    with pytest.raises(DataError, match=str(path)):
        list(in_chunks(images))


def test_a_large_split_without_room_is_one_clear_error(pets, datasets_cache):
    datasets_cache.mkdir()
    (datasets_cache / "hf_dd").write_text("a file where the folder should be")
    with pytest.raises(DataError, match="no room.*HF_DATASETS_CACHE.*--image_memory_gb"):
        load(pets, image_memory_gb=0)


@given(count=st.integers(0, 40), side=st.sampled_from([1, 300, 400]), whole=st.booleans())
def test_chunks_hold_every_chosen_image_once_and_in_order(count, side, whole):
    images = torch.arange(7, dtype=torch.uint8).view(7, 1, 1, 1).expand(7, 1, side, side)
    chosen = torch.randint(7, (count,))
    chunks = list(in_chunks(images, chosen, whole=whole))
    assert torch.cat([places for places, _ in chunks] or [torch.arange(0)]).tolist() == list(range(count))
    assert [value for _, chunk in chunks for value in chunk[:, 0, 0, 0].tolist()] == chosen.tolist()
    lengths = [len(chunk) for _, chunk in chunks]
    if whole:
        assert len(lengths) <= 1
    elif lengths:
        assert max(lengths) - min(lengths) <= 1 and max(lengths) * side * side <= max(CHUNK_PIXELS_ON_CPU, side * side)


# --- what is read by a rule, and what is said of it


def levels(data, row=0):
    return data.train.images[row].flatten(1).unique(dim=1).tolist()


def varied(*contents):
    """These images and one that differs, so that a set isn't constant."""
    return table([*contents, encode(grey(77))], [0] * len(contents) + [1])


def test_what_is_transparent_is_laid_on_white(tmp_path):
    half = Image.new("RGBA", (4, 4), (0, 100, 200, 128))
    grey_alpha = Image.new("LA", (4, 4), (10, 0))
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([1, 2, 3, 40, 50, 60] + [0] * 762)
    contents = [encode(half), encode(grey_alpha), encode(palette, transparency=1), encode(palette)]
    contents.append(encode(grey(9), transparency=9))
    folder = write_parquet(tmp_path / "glass", train=varied(*contents))
    data = load(folder)
    seen = [image.flatten(1)[:, 0].tolist() for image in data.train.images]
    assert seen[0] == pytest.approx([127, 177, 227], abs=1)
    assert seen[1:] == [[255] * 3, [255] * 3, [40, 50, 60], [255] * 3, [77] * 3]
    assert data.notes == ("4 of 6 training images have a channel or a colour of transparency and were laid on white.",)
    assert load(folder).notes == data.notes  # from the cache, too
    ink = [np.dstack([grey(0)] * 3 + [np.full((4, 4), alpha, np.uint8)]) for alpha in (0, 255)]
    data = load(write_parquet(tmp_path / "ink", train=table([encode(Image.fromarray(each)) for each in ink], [0, 1])))
    assert [levels(data, row) for row in (0, 1)] == [[[255]] * 3, [[0]] * 3]
    clear = [Image.merge("LA", [Image.new("L", (4, 4), value), Image.new("L", (4, 4), 255)]) for value in (3, 4)]
    data = load(write_parquet(tmp_path / "clear", train=table([encode(each) for each in clear], [0, 1])))
    assert data.channels == 1 and data.train.images[:, 0, 0, 0].tolist() == [3, 4]


@pytest.mark.parametrize(("bits", "form"), [(8, "PNG"), (10, "TIFF"), (12, "PNG"), (14, "PNG"), (16, "TIFF")])
def test_levels_of_16_bits_are_scaled_by_the_bits_in_use(tmp_path, bits, form):
    white = 2**bits - 1
    values = np.linspace(0, white, 16).round().astype(np.uint16).reshape(4, 4)
    folder = write_parquet(tmp_path / "deep", train=varied(encode(Image.fromarray(values), form)))
    data = load(folder)
    assert data.train.images[0, 0].flatten().tolist() == [17 * step for step in range(16)]
    assert data.notes[0].endswith(f"have grey levels of 16 bits and were scaled to 8, with {white} as white.")


def test_a_test_image_brighter_than_the_training_images_bits_is_named(tmp_path):
    dark, bright = (encode(Image.fromarray(np.full((4, 4), level, np.uint16))) for level in (4000, 5000))
    folder = write_parquet(tmp_path / "bright", train=varied(dark), test=table([bright], [0]))
    with pytest.raises(
        DataError, match="Split 'test', row 0: .*a level of 5000, where .* white is 4095: save all with 8 bits"
    ):
        load(folder)


def png_chunks(*chunks):
    parts = [struct.pack(">I", len(c)) + kind + c + struct.pack(">I", zlib.crc32(kind + c)) for kind, c in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def deep_colour(level):
    raw = b"".join(b"\0" + np.full((4, 3), level, ">u2").tobytes() for _ in range(4))
    header = struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)
    return png_chunks((b"IHDR", header), (b"IDAT", zlib.compress(raw)), (b"IEND", b""))


def test_test_images_of_16_bits_beside_training_images_of_8_are_named(tmp_path):
    deep = encode(Image.fromarray(np.full((4, 4), 3000, np.uint16)))
    folder = write_parquet(tmp_path / "deep", train=varied(encode(grey(5))), test=table([deep], [0]))
    with pytest.raises(DataError, match="Split 'test', row 0: .*grey levels of 16 bits, and no training image has"):
        load(folder)


def test_colours_of_16_bits_of_which_few_are_in_use_are_refused(tmp_path):
    folder = write_parquet(tmp_path / "few", train=table([deep_colour(4095), deep_colour(100)], [0, 1]))
    with pytest.raises(DataError, match="brightest is 15 of 255: save them with 8 bits for each colour"):
        load(folder)
    data = load(write_parquet(tmp_path / "all", train=table([deep_colour(65535), deep_colour(256)], [0, 1])))
    assert data.train.images[:, 0, 0, 0].tolist() == [255, 1]
    assert data.notes == ("2 of 2 training images have colours of 16 bits, of which the upper 8 were read.",)


def test_the_first_of_several_frames_is_taken(tmp_path):
    frames = [Image.fromarray(colour(value)) for value in (5, 200)]
    content = encode(frames[0], "PNG", save_all=True, append_images=frames[1:])
    data = load(write_parquet(tmp_path / "frames", train=varied(content)))
    assert data.train.images[0].unique().tolist() == [5]
    assert data.notes == ("1 of 2 training images have several frames, of which the first was taken.",)


def test_sizes_of_which_none_is_that_of_half_need_one_and_the_advice_works(tmp_path):
    images = [encode(np.arange(height * 9).reshape(height, 9)) for height in (3, 5, 6, 6, 7)]
    folder = write_parquet(tmp_path / "sizes", train=table(images, [0, 1, 0, 1, 0]))
    with pytest.raises(DataError, match="5 training images have 4 sizes, from 9×3 to 9×7") as refused:
        load(folder)
    size = int(re.search(r"--image_size (\d+)\.", str(refused.value))[1])
    data = load(folder, image_size=size)
    assert size == 6 and data.image_size == (6, 6)
    assert data.notes[0].startswith("5 of 5 training images were scaled until they cover 6×6 pixels")


@pytest.mark.parametrize("value", [0, 200])
def test_images_that_are_all_alike_are_refused(tmp_path, value):
    content = encode(np.dstack([grey(255)] * 3 + [np.tri(4, dtype=np.uint8) * value]))
    with pytest.raises(DataError, match="4 training images of alike are all alike .* each pixel 255 of 255"):
        load(write_parquet(tmp_path / "alike", train=table([content] * 4, [0, 1, 0, 1])))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (png_chunks((b"IHDR", struct.pack(">IIBBBBB", 9000, 9000, 8, 0, 0, 0, 0)), (b"IEND", b"")), "9000×9000"),
        (png_chunks((b"IHDR", struct.pack(">IIBBBBB", 2**31 - 1, 2**20, 8, 0, 0, 0, 0)), (b"IEND", b"")), "pixels"),
        (encode(colour(1), "EPS"), "by running its code"),
        (b"", "cannot identify image file"),
    ],
)
def test_an_image_that_must_not_be_decoded_is_named(tmp_path, content, reason):
    with pytest.raises(DataError, match=f"row 1: the image can't be decoded .*{reason}"):
        load(write_parquet(tmp_path / "bad", train=table([encode(grey(1)), content], [0, 1])))
    for name, own in (("cat", encode(grey(1))), ("dog", content)):
        (tmp_path / "files" / name).mkdir(parents=True)
        (tmp_path / "files" / name / "0.png").write_bytes(own)
    with pytest.raises(DataError, match=r"row 1 \(.*dog/0.png\)"):
        load(tmp_path / "files")


def test_a_row_that_names_a_pipe_is_not_read_for_ever(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    rows = [{"bytes": encode(grey(1)), "path": None}, {"bytes": None, "path": str(tmp_path / "pipe")}]
    features = datasets.Features({"image": datasets.Image(decode=False), "label": datasets.ClassLabel(names=NAMES)})
    split = datasets.Dataset.from_dict({"image": rows, "label": [0, 1]}, features=features)
    with pytest.raises(DataError, match="row 1 .*its file isn't there"):
        read_dataset(datasets.DatasetDict(train=split), DataConfig(), "pipes")


PIXELS = [np.arange(16, dtype=np.uint8).reshape(4, 4) + start for start in (0, 50)]


@pytest.mark.parametrize(
    ("feature", "values"),
    [
        (datasets.Value("binary"), [encode(each) for each in PIXELS]),
        (datasets.Array2D((4, 4), "uint8"), PIXELS),
        (datasets.Array3D((4, 4, 1), "uint8"), [each[..., None] for each in PIXELS]),
        (datasets.Array3D((1, 4, 4), "uint8"), [each[None] for each in PIXELS]),
    ],
)
def test_bytes_and_arrays_are_images(tmp_path, feature, values):
    features = datasets.Features({"picture": feature, "label": datasets.ClassLabel(names=NAMES)})
    split = datasets.Dataset.from_dict({"picture": values, "label": [0, 1]}, features=features)
    for options in ({}, {"image_column": "picture"}):
        data = load(write_parquet(tmp_path / "drawn", train=split), **options)
        assert data.train.images[:, 0].tolist() == [each.tolist() for each in PIXELS]


def test_whole_numbers_stored_as_floats_are_labels(tmp_path):
    images = [encode(grey(value)) for value in (1, 2, 3)]
    data = load(write_parquet(tmp_path / "whole", train=table(images, [2.0, 10.0, 2.0], datasets.Value("float64"))))
    assert data.class_names == ["2", "10"] and data.train.labels.tolist() == [0, 1, 0]
    for bad in (2.5, float("inf")):
        split = table(images, [2.0, bad, 2.0], datasets.Value("float64"))
        with pytest.raises(DataError, match=f"Column 'label' holds fractions, such as {bad:g}"):
            load(write_parquet(tmp_path / "part", train=split))
    split = table(images, [2.0, float("nan"), 2.0], datasets.Value("float64"))
    with pytest.raises(DataError, match="1 of the 3 images of split 'train' have no label"):
        load(write_parquet(tmp_path / "nan", train=split))


def test_columns_of_lists_and_texts_name_a_way_out_that_works(tmp_path):
    images = [encode(grey(value)) for value in (1, 2)]
    split = table(images, [[1], [0]], datasets.List(datasets.Value("int64"))).rename_column("label", "labels")
    for options in ({}, {"label_column": "labels"}):
        with pytest.raises(DataError, match="'labels' holds lists") as refused:
            load(write_parquet(tmp_path / "lists", train=split), **options)
    advice = re.search(r"as in (dataset\.map\(.*\)) where one of each is 1", str(refused.value))[1]
    other = re.search(r"with (row\S*) where each names its classes", str(refused.value))[1]
    done = eval(advice.replace("row['labels'].index(1)", other), {"dataset": split})
    assert load(write_parquet(tmp_path / "lists", train=done)).train.labels.tolist() == [1, 0]
    hot = table(images, [[0, 1], [1, 0]], datasets.List(datasets.Value("int64"))).rename_column("label", "labels")
    done = eval(advice, {"dataset": hot})
    assert load(write_parquet(tmp_path / "hot", train=done)).train.labels.tolist() == [1, 0]

    for place, content in enumerate(images):
        (tmp_path / f"{place}.png").write_bytes(content)
    paths = [str(tmp_path / f"{place}.png") for place in range(2)]
    split = datasets.Dataset.from_dict({"file": paths, "label": [0, 1]})
    with pytest.raises(DataError, match="If 'file' holds paths") as refused:
        load(write_parquet(tmp_path / "paths", train=split), image_column="file")
    done = eval(
        re.search(r"dataset\.cast_column\(.*\)\)", str(refused.value))[0], {"dataset": split, "datasets": datasets}
    )
    assert load(write_parquet(tmp_path / "paths", train=done)).train.images[:, 0, 0, 0].tolist() == [1, 2]


def test_columns_of_several_images_or_of_bytes_of_one_length_name_a_way_out_that_works():
    def read(split, **options):
        return read_dataset(datasets.DatasetDict(train=split), DataConfig(**options), "odd").train

    def mended(split, message):
        with pytest.raises(DataError, match=message) as refused:
            read(split)
        advice = re.search(r"dataset\.(map|cast_column)\(.*'\)+", str(refused.value))[0]
        return read(eval(advice, {"dataset": split, "datasets": datasets})).images[:, 0, 0, 0].tolist()

    images = [encode(grey(value)) for value in (1, 2)]
    for inner in (datasets.Image(), datasets.Value("binary")):
        features = datasets.Features({"views": datasets.List(inner), "label": datasets.Value("int64")})
        views = datasets.Dataset.from_dict({"views": [[each] for each in images], "label": [0, 1]}, features=features)
        assert mended(views, "'views' holds lists of images") == [1, 2]
    files = pyarrow.array(images, pyarrow.binary(len(images[0])))
    assert mended(datasets.Dataset(pyarrow.table({"file": files, "label": [0, 1]})), "If 'file' holds") == [1, 2]

    bare = pyarrow.table({"file": [{"bytes": each} for each in images], "label": [0, 1]})
    assert read(datasets.Dataset(bare)).images[:, 0, 0, 0].tolist() == [1, 2]


def test_signs_are_labels_once_they_are_texts():
    split = table([encode(grey(value)) for value in (1, 2)], [-1, 1], datasets.Value("int64"))
    with pytest.raises(DataError, match="1 of the 2 .* Where -1 is a class as others are, save labels as texts"):
        read_dataset({"train": split}, DataConfig(), "signs")
    texts = split.cast_column("label", datasets.Value("string"))
    assert read_dataset({"train": texts}, DataConfig(), "signs").class_names == ["-1", "1"]


def test_of_two_columns_of_labels_the_one_that_is_taken_is_told(caplog):
    caplog.set_level("INFO")
    split = table([encode(grey(value)) for value in (1, 2)], [0, 1]).rename_column("label", "kind")
    both = split.add_column("label", ["big", "small"])
    assert read_dataset({"train": both}, DataConfig(), "both").class_names == NAMES
    assert "labels are taken from the column 'kind', whose classes have names, not from 'label'" in caplog.text
    caplog.clear()
    assert read_dataset({"train": both}, DataConfig(label_column="label"), "both").class_names == ["big", "small"]
    assert "labels are taken" not in caplog.text


def test_the_columns_of_a_wide_table_are_not_all_told(tmp_path):
    split = datasets.Dataset.from_dict({f"pixel{number}": [0, 1] for number in range(784)})
    with pytest.raises(DataError, match=r"the columns are pixel0 .*\(784 in all\)") as refused:
        load(write_parquet(tmp_path / "wide", train=split))
    assert len(str(refused.value)) < 600


def image_folder(folder, names=NAMES):
    for place, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for value in (1, 2):
            (folder / name / f"{value}.png").write_bytes(encode(grey(10 * place + value)))
    return folder


def test_a_loose_image_beside_class_folders_is_named_and_moving_it_helps(tmp_path):
    folder = image_folder(tmp_path / "pets")
    (folder / "cover.png").write_bytes(encode(grey(5)))
    with pytest.raises(DataError, match="from folders, but cover.png lie beside these: move them away"):
        load(folder)
    (folder / "cover.png").unlink()
    assert load(folder).class_names == NAMES
    with pytest.raises(DataError, match="one for each class, and two of them at least"):
        load(image_folder(tmp_path / "one", ["cat"]))


@pytest.mark.parametrize("name", ["a[b]", "x*", "what?", "u::v"])
def test_a_folder_whose_path_is_a_pattern_is_refused_and_moving_it_helps(tmp_path, name):
    folder = image_folder(tmp_path / name)
    with pytest.raises(DataError, match="for a pattern. Move it"):
        load(folder)
    assert load(folder.rename(tmp_path / "plain@v1")).class_names == NAMES


@pytest.mark.parametrize("name", ["b\nx", "__b"])
def test_a_class_that_datasets_passes_over_is_refused(tmp_path, name):
    with pytest.raises(DataError, match="which load_dataset passes over.*another name"):
        load(image_folder(tmp_path / "pets", ["a", name, "c"]))
    image_folder(tmp_path / "junk", ["a", "b"])
    (tmp_path / "junk" / "__MACOSX").mkdir()
    (tmp_path / "junk" / "__MACOSX" / "._1.png").write_bytes(b"junk")
    assert load(tmp_path / "junk").class_names == ["a", "b"]


def test_a_class_whose_name_is_a_variable_is_refused_and_a_dollar_alone_is_not(tmp_path, monkeypatch):
    monkeypatch.setenv("PETS", "elsewhere")
    with pytest.raises(DataError, match=r"holds 'b\$PETS', of which load_dataset reads a variable.* another name"):
        load(image_folder(tmp_path / "pets", ["a", "b$PETS"]))
    assert load(image_folder(tmp_path / "money", ["a", "5$"])).class_names == ["5$", "a"]


def test_a_folder_called_like_a_reader_is_read_as_a_folder(tmp_path, monkeypatch):
    image_folder(tmp_path / "text")
    monkeypatch.chdir(tmp_path)
    assert load("text").class_names == NAMES and load("text").name == "text"


@pytest.mark.parametrize("matter", ["license: [", "- a\n- b", "a: b: c"])
def test_a_card_with_broken_yaml_is_named_and_removing_it_helps(tmp_path, matter):
    folder = image_folder(tmp_path / "pets")
    (folder / "README.md").write_text(f"---\n{matter}\n---\n")
    with pytest.raises(DataError, match="pets can't be read: .*README.md, or remove that file"):
        load(folder)
    (folder / "README.md").unlink()
    assert load(folder).class_names == NAMES


def test_a_gzipped_file_that_unpacks_to_more_than_images_do_is_cut_off(tmp_path, monkeypatch):
    folder = write_mnist(tmp_path / "idx")
    header = bytes((0, 0, 8, 3)) + struct.pack(">3I", 10**6, 28, 28)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + bytes(10**7)))
    monkeypatch.setattr(fixed_forms, "MOST_UNPACKED_ALWAYS", 10**6)
    with pytest.raises(DataError, match=r"declares \(1000000, 28, 28\), but 1000001 bytes or more follow its header"):
        load(folder)
