"""Folders as their users name them: which images are which split and class, and what is said of the others."""

import io
import json
import shutil

import datasets
import numpy as np
import pytest
from PIL import Image

from hf_dd.config import DataConfig
from hf_dd.data.columns import IMAGE_SUFFIXES
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
    assert "beside the folders that are splits, and left out: single_prediction." in caplog.text


@pytest.mark.parametrize(
    ("tree", "train", "test"),
    [
        ({"data/train/a": 3, "data/train/b": 3, "data/test/a": 2, "data/test/b": 2, "docs/img/figs": 1}, 6, 4),
        ({f"{year}/{part}/{each}": 2 for year in (2019, 2020) for part in ("train", "test") for each in "ab"}, 8, 8),
        (two("data/train", "data/test") | {"": 1}, 6, 4),
        (two("train_test_split/train", "train_test_split/test"), 6, 4),
        (two("Training Data/Train", "Training Data/Test"), 6, 4),
        (two("test set/train", "test set/test"), 6, 4),
        (two("Train", "Holdout"), 6, None),
        (two("train", "test") | {"val/a": 1, "val/b": 1, "train_2/a": 1}, 7, 4),
    ],
)
def test_splits_are_found_wherever_they_lie(tmp_path, tree, train, test):
    counts, tested = read(tmp_path, tree)
    assert (sum(counts.values()), tested, list(counts)) == (train, test, ["a", "b"])


@pytest.mark.parametrize(
    "tree",
    [
        {f"{each}/{part}": 3 for each in ("cat", "dog") for part in ("train", "test")},
        {"train": 3, "test": 3, "sample": 1, "train.csv": "id,label"},
        {"Train": 3, "Val": 3},
    ],
)
def test_splits_without_classes_are_no_classes(tmp_path, tree):
    with pytest.raises(
        DataError, match="lie in no folders of classes: put them into [tT]rain/CLASS and .*metadata.csv"
    ):
        read(tmp_path, tree)


def test_names_of_files_that_say_a_split_in_capitals_are_named(tmp_path):
    root = fill(tmp_path, {"a": 0, "b": 0})
    for place in ("a/Train_1", "a/Test_1", "b/Train_2", "b/Test_2"):
        (tmp_path / f"{place}.png").write_bytes(png(len(place)))
    with pytest.raises(DataError, match="in lower case alone: rename Test_1.png, Train_1.png, Test_2.png"):
        load_data(root)


@pytest.mark.parametrize("ending", ["jfif", "JPG", "ppm", "jp2", "tga"])
def test_images_of_other_endings_are_read_like_all(tmp_path, ending):
    fill(tmp_path, two("Train", "Test"))
    for place in ("Train/a", "Test/b"):
        image = Image.open(io.BytesIO(png(len(place)))).convert("RGB")
        kind = {"jfif": "jpeg", "JPG": "jpeg", "jp2": "jpeg2000"}.get(ending, ending)
        image.resize((40, 40)).save(tmp_path / f"{place}/other.{ending}", kind)
    data = load_data(DataConfig(dataset=str(tmp_path), image_size=4))
    assert (len(data.train), len(data.test)) == (7, 5)


def test_the_endings_are_those_that_load_dataset_reads():
    from datasets.packaged_modules.imagefolder.imagefolder import ImageFolder

    Image.init()
    assert set(ImageFolder.EXTENSIONS) & set(Image.registered_extensions()) >= IMAGE_SUFFIXES


def test_folders_of_the_same_class_are_taken_together_and_told(tmp_path, caplog):
    assert read(tmp_path, {"2019/a": 2, "2019/b": 2, "2020/a": 1}) == ({"a": 3, "b": 2}, None)
    assert "the images of 1 class (a) are taken together from several folders: 2019, 2020" in caplog.text


def test_a_lone_folder_of_training_images_and_a_lone_one_of_test_images(tmp_path):
    assert read(tmp_path / "one", {"Train/a": 2, "Train/b": 2}) == ({"a": 2, "b": 2}, None)
    for test in ("test", "Test"):
        with pytest.raises(DataError, match="There is no split 'train'; there are: test"):
            read(tmp_path / test / "other", {f"{test}/a": 2, f"{test}/b": 2})
    with pytest.raises(DataError, match="There is no split 'train'; there are: test, validation"):
        read(tmp_path / "both", two("Test", "Val"))


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


def test_a_table_above_the_images_names_their_classes(tmp_path):
    table = "file_name,label\nimages/1.png,x\nimages/2.png,y\n"
    tree = {"train/images": 2, "test/images": 2, "train/metadata.csv": table}
    tree |= {"test/metadata.csv": table.replace("1.png", "3.png").replace("2.png", "4.png")}
    assert read(tmp_path / "splits", tree) == ({"x": 1, "y": 1}, 2)
    table = "file_name,label\nimages/site1/1.png,x\nimages/site2/2.png,y\n"
    tree = {"data/images/site1": 1, "data/images/site2": 1, "data/metadata.csv": table}
    assert read(tmp_path / "sites", tree) == ({"x": 1, "y": 1}, None)


@pytest.mark.parametrize("inside", ["", "images/"])
@pytest.mark.parametrize("around", ["", "data/"])
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_table_above_the_splits_names_the_classes_of_each(tmp_path, around, inside, kind, caplog):
    labels = {f"Train/{inside}1.png": "x", f"Train/{inside}2.png": "y", f"Test/{inside}3.png": "y", "more/4.png": "x"}
    lines = ["file_name,label", *(f"{name},{label}" for name, label in labels.items())]
    if kind == "jsonl":
        lines = [json.dumps({"file_name": name, "label": label}) for name, label in labels.items()]
    tree = {f"{around}Train/{inside}": 2, f"{around}Test/{inside}": 1, f"{around}more": 1}
    root = fill(tmp_path / "mine", tree | {f"{around}metadata.{kind}": "\n".join(lines)})
    data = load_data(root)
    assert data.class_names == ["x", "y"] and data.train.labels.tolist() == [0, 1] and data.test.labels.tolist() == [1]
    for images, numbers in ((data.train.images, (1, 2)), (data.test.images, (3,))):
        for image, number in zip(images, numbers, strict=True):
            assert np.array_equal(image[0], Image.open(io.BytesIO(png(number))))
    assert "left out, as they lie in no folder that is a split: 1 image of its table." in caplog.text


def test_a_table_above_the_splits_that_names_no_files_is_left_alone(tmp_path):
    assert read(tmp_path, two("Train", "Test") | {"metadata.csv": "id,age\n1,2\n"}) == ({"a": 3, "b": 3}, 4)


def test_a_test_folder_may_have_one_class_alone_if_it_is_one_of_the_training_folders(tmp_path):
    train = {"train/a": 2, "train/b": 2}
    assert read(tmp_path / "known", train | {"test/b": 1}) == ({"a": 2, "b": 2}, 1)
    for name, test in (("one", {"test/c": 1}), ("two", {"test/a": 1, "test/c": 1})):
        with pytest.raises(DataError, match="'test' has images of 1 class of which the training split has none: c"):
            read(tmp_path / name, train | test)


def save_tables(root, counts):
    """A parquet file of so many rows for each of the names."""
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    for name, count in counts.items():
        content = {"image": [png(number) for number in range(count)], "label": [number % 2 for number in range(count)]}
        (root / name).parent.mkdir(exist_ok=True)
        datasets.Dataset.from_dict(content, features).to_parquet(str(root / f"{name}.parquet"))


@pytest.mark.parametrize(
    ("names", "beside"),
    [
        (("train-00000-of-00001", "test-00000-of-00001"), "preview.png"),
        (("Train", "Test"), "classes.json"),
        (("Train/0", "Test/0"), "classes.json"),
    ],
)
def test_tables_are_splits_by_their_names_or_folders_whatever_lies_beside_them(tmp_path, names, beside):
    save_tables(tmp_path, dict(zip(names, (4, 2), strict=True)))
    (tmp_path / beside).write_bytes(png(3) if beside.endswith("png") else b'["a", "b"]')
    data = load_data(str(tmp_path))
    assert (len(data.train), len(data.test)) == (4, 2)


def test_a_folder_called_as_a_built_in_data_set_is_told(tmp_path, monkeypatch, caplog):
    fill(tmp_path / "digits", two("train", "test"))
    monkeypatch.chdir(tmp_path)
    assert load_data("digits").num_classes == 10
    assert "the folder digits is named by ./digits" in caplog.text
    assert load_data("./digits").class_names == ["a", "b"]


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
