"""Folders as their users name them: which images are which split and class, and what is said of the others."""

import io
import shutil

import datasets
import numpy as np
import pytest
from PIL import Image

from hf_dd.config import DataConfig
from hf_dd.data.folders import split_of
from hf_dd.data.image_data import load_data
from hf_dd.errors import DataError


def png(number):
    """The bytes of a file of 4×4 pixels of noise."""
    stream = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (4, 4), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "png")
    return stream.getvalue()


def fill(root, tree):
    """So many images, each another one, below the folders of a tree; a text is the content of a file."""
    number = 0
    for name, content in tree.items():
        if isinstance(content, str):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(content)
            continue
        (root / name).mkdir(parents=True, exist_ok=True)
        for _ in range(content):
            number += 1
            (root / name / f"{number}.png").write_bytes(png(number))
    return str(root)


def read(root, tree, **options):
    """Images of each class of the training split, and images of the test split."""
    data = load_data(DataConfig(dataset=fill(root / "mine", tree), **options))
    counts = {name: len(members) for name, members in zip(data.class_names, data.class_index, strict=True)}
    return counts, data.test and len(data.test)


@pytest.fixture(autouse=True)
def told(caplog):
    caplog.set_level("INFO", "hf_dd")


def two(train, test, a=3, b=2):
    return {f"{train}/a": a, f"{train}/b": a, f"{test}/a": b, f"{test}/b": b}


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "test"),
        ("Train", "Test"),
        ("TRAIN", "TEST"),
        ("Training", "Testing"),
        ("train", "Test"),
        ("trainset", "testset"),
        ("Training_Set", "Test_Set"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("archive/data/Train", "archive/data/Test"),
        ("train", "Validation"),
        ("images [1]/train", "images [1]/test"),
    ],
)
def test_splits_are_the_outermost_folders_of_several(tmp_path, train, test):
    if "[" in train:
        with pytest.raises(DataError, match="for a pattern"):
            load_data(DataConfig(dataset=fill(tmp_path / "images [1]", two("train", "test"))))
    assert read(tmp_path, two(train, test)) == ({"a": 3, "b": 3}, 4)


@pytest.mark.parametrize("odd", ["train", "test tube", "training ground", "evaluation", "Val"])
def test_a_class_may_be_called_as_a_split_is(tmp_path, odd):
    split = {f"{name}/{each}": count for name, count in (("train", 3), ("test", 2)) for each in ("bus", "car", odd)}
    classes = dict.fromkeys(sorted(("bus", "car", odd)), 3)
    assert read(tmp_path / "split", split) == (classes, 6)
    assert read(tmp_path / "flat", {"bus": 3, "car": 3, odd: 3}) == (classes, None)


def test_names_of_files_alone_make_no_split_unless_all_say_one(tmp_path):
    tree = {"a": 3, "b": 3}
    root = fill(tmp_path / "some", tree)
    (tmp_path / "some/a/training 9.png").write_bytes(png(99))
    (tmp_path / "some/b/test.png").write_bytes(png(98))
    data = load_data(root)
    assert (len(data.train), data.test) == (8, None)
    for name in "ab":
        (tmp_path / "all" / name).mkdir(parents=True)
        for number in range(3):
            (tmp_path / f"all/{name}/train_{number}.png").write_bytes(png(number))
            (tmp_path / f"all/{name}/test_{number}.png").write_bytes(png(number + 7))
    data = load_data(str(tmp_path / "all"))
    assert (len(data.train), len(data.test)) == (6, 6)


def test_what_lies_beside_the_splits_is_left_out_and_told(tmp_path, caplog):
    assert read(tmp_path, two("train", "test") | {"single_prediction": 2}) == ({"a": 3, "b": 3}, 4)
    assert "single_prediction in" in caplog.text and "beside folders that are splits: left out" in caplog.text


def test_folders_of_the_same_class_are_taken_together_and_told(tmp_path, caplog):
    assert read(tmp_path, {"2019/a": 2, "2019/b": 2, "2020/a": 1}) == ({"a": 3, "b": 2}, None)
    assert "the images of 1 class (a) are taken together from several folders: 2019, 2020" in caplog.text


def test_a_lone_folder_of_training_images_and_a_lone_one_of_test_images(tmp_path):
    assert read(tmp_path / "one", {"Train/a": 2, "Train/b": 2}) == ({"a": 2, "b": 2}, None)
    with pytest.raises(DataError, match="There is no split 'train'; there are: test"):
        read(tmp_path / "other", {"test/a": 2, "test/b": 2})


@pytest.mark.parametrize("sidecar", ["x.txt", "x.json", "x.xml", "notes.csv", "Thumbs.db"])
def test_files_beside_the_images_are_left_alone(tmp_path, sidecar):
    tree = two("Train", "Test") | {f"Train/a/{sidecar}": "{}", f"Test/b/{sidecar}": "{}"}
    assert read(tmp_path / "split", tree) == ({"a": 3, "b": 3}, 4)
    assert read(tmp_path / "flat", {"a": 3, "b": 3, f"a/{sidecar}": "{}", sidecar: "{}"}) == ({"a": 3, "b": 3}, None)


def test_a_table_beside_the_images_names_their_classes(tmp_path):
    table = {
        "Train/metadata.csv": "file_name,label\n1.png,x\n2.png,y\n",
        "Test/metadata.csv": "file_name,label\n3.png,x\n",
    }
    assert read(tmp_path, {"Train": 2, "Test": 1} | table) == ({"x": 1, "y": 1}, 1)


def test_tables_are_splits_by_their_names_whatever_their_letters(tmp_path):
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    for name, count in (("Train", 4), ("Test", 2)):
        content = {"image": [png(number) for number in range(count)], "label": [number % 2 for number in range(count)]}
        datasets.Dataset.from_dict(content, features).to_parquet(str(tmp_path / f"{name}.parquet"))
    data = load_data(str(tmp_path))
    assert (len(data.train), len(data.test)) == (4, 2)


def test_a_card_that_names_the_files_of_the_splits_is_believed(tmp_path):
    card = "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: Test/**\n---\n"
    assert read(tmp_path, two("Train", "Test") | {"README.md": card}) == ({"a": 2, "b": 2}, None)


def test_what_would_be_passed_over_is_named(tmp_path, caplog):
    fill(tmp_path / "elsewhere", {"c": 2})
    root = tmp_path / "mine"
    fill(root, {"a": 2, "b": 2})
    shutil.copy(root / "a/1.png", root / "a/photo.HEIC")
    assert len(load_data(str(root)).train) == 4
    assert "1 image (.heic) can't be read and are left out" in caplog.text
    (root / "c").symlink_to(tmp_path / "elsewhere/c")
    with pytest.raises(DataError, match=r"mine/c is a link to a folder of images.*put the folder itself there"):
        load_data(str(root))


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"),
        ("TRAINING", "train"),
        ("train2017", "train"),
        ("seg_test", "test"),
        ("Val", "validation"),
        ("dev-set", "validation"),
        ("test-images", "test"),
        ("constraint", None),
        ("latest", None),
        ("contest", None),
        ("trainer", None),
        ("evaluate", None),
        ("validity", None),
    ],
)
def test_which_names_say_a_split(name, split):
    assert split_of(name) == split
