"""The ways out of messages on data sets, and on what is read like one, typed as they are printed."""

import json
import re
from pathlib import Path

import datasets
import pytest

from tests.config.stock import made, pictures, run, saved, table
from tests.config.ways import cases, row, take
from tests.factories import message_of


@made
def make_unlabelled(stock, folder):
    """Splits `part`, without labels, and `train` and `more` with them."""
    saved(folder, ("train", "more"))
    rows = datasets.Dataset.from_parquet(str(folder / "train.parquet"), cache_dir=str(stock.folder / "cache"))
    empty = rows.map(lambda each: {"label": None}, features=rows.features)
    datasets.DatasetDict({"train": rows, "part": empty, "more": rows}).save_to_disk(str(folder.with_name("splits")))
    return folder.with_name("splits")


@made
def make_unlabelled_test(stock, folder):
    """A set of three digits whose split `test` has no labels, as on the Hub."""
    rows = datasets.load_from_disk(stock["unlabelled"])
    datasets.DatasetDict({"train": rows["train"], "test": rows["part"]}).save_to_disk(str(folder))
    return folder


@made
def make_once_each(stock, folder):
    """One image of each of three classes."""
    return saved(folder, ("train",), count=1)


@made
def make_fractions(stock, folder):
    images, labels = pictures()
    columns = {"image": list(images), "label": [label + 0.5 for label in labels], "kind": labels}
    return table(folder, columns, datasets.Value("float64"), kind=datasets.Value("int64"))


@made
def make_configured(stock, folder):
    """Data of two configurations."""
    folder.mkdir()
    for name in ("one", "two"):
        saved(folder / name)
    parts = [f"- config_name: {name}\n  data_files: {name}/*.parquet\n" for name in ("one", "two")]
    (folder / "README.md").write_text("---\nconfigs:\n" + "".join(parts) + "---\n")
    return folder


ROWS = [
    row(
        "… --dataset takes a Hub id",
        "{random} --dataset digist",
        "Did you mean '(digits)' -> --dataset {0}",
        "takes a Hub id.* (a folder) that load_dataset reads -> --dataset {three}",
    ),
    row(
        "… of the … images of split … have no label",
        "{random} --dataset {unlabelled} --train_split part",
        "split with (--train_split) or -> {0} more",
    ),
    row(
        "… of the … images of split … have no label",
        "{random} --dataset {unlabelled} --test_split part",
        "or (--test_split) -> {0} more",
    ),
    row(
        "--test_split … is the training split",
        "{random} --dataset {unlabelled} --test_split train",
        "(--test_split) train is.*name another one -> {0} more",
        "(--test_split) train is.*leave it out -> !{0} --train_split more",
    ),
    row(
        "--test_share … makes a test split",
        "{random} --dataset {unlabelled} --train_split more --test_share 0.5 --test_split part",
        "(--test_share) 0.5 makes.*leave one out -> !{0} --train_split more !--test_split",
        "(--test_split) part names.*leave one out -> !{0}",
    ),
    row(
        "--test_resize … is of the images of a test split",
        "{random} --dataset {untested} --test_share 0.5 --test_resize 8",
        "(--test_resize) 8 is.*leave one out -> !{0}",
        "(--test_share) are.*leave one out -> !{0} --test_split more",
    ),
    row(
        "… has one image alone. Give each class",
        "{random} --dataset {once_each} --test_share 0.5",
        "leave (--test_share) out -> !{0}",
    ),
    row(
        "the largest --factor possible is …",
        "{dm} --dataset {three} --real_batch_size 2 --factor 9",
        r"largest (--factor) possible is (?:\d+) -> {0} 1",
    ),
    row(
        "--test_resize is …, and images",
        "{random} --test_resize 7",
        r"give at least (\d+) -> --test_resize {0}",
        "(--test_resize).*leave it out -> !{0}",
    ),
    row(
        "Column … holds fractions",
        "{random} --dataset {fractions}",
        "name another one with (--label_column) -> {0} kind",
    ),
    row(
        " Name one with --dataset_config.",
        "{random} --dataset {configured}",
        "(--dataset_config) -> {0} one",
    ),
    row(
        "--statistics published: … isn't",
        "{dm} --statistics published",
        "--statistics own",
    ),
]
SETS_OWN = [  # what is said of a source's options is said of the set's own
    row(
        "… of the … images of split … have no label",
        "import {unlabelled_test} --dataset {three} --output_dir out --set_split test",
        "(--set_split) -> {0} train",
    ),
    row(
        "… of the … images of split … have no label",
        "import {unlabelled} --dataset {three} --output_dir out --set_split part",
        "(--set_split) -> {0} more",
    ),
    row(
        "Column … holds fractions",
        "import {fractions} --dataset {three} --output_dir out",
        "another one with (--set_label_column) -> {0} kind",
    ),
]


@pytest.mark.usefixtures("one_thread", "one_classifier")
@pytest.mark.parametrize(**cases(ROWS + SETS_OWN))
def test_the_way_is_open(row, way, stock, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    take(row, way, stock)


@pytest.mark.usefixtures("one_classifier")
def test_a_configuration_of_a_set_is_named_by_the_option_that_is_printed(stock, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["import", stock["configured"], "--dataset", stock["three"], "--output_dir", "out"]
    run([*words, re.search(r" Name one with (--set_config)\.", message_of(*words))[1], "one"])
    assert json.loads(Path("out/hf_dd.json").read_text())["settings"]["set_config"] == "one"
