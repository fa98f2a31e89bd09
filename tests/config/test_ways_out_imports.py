"""The ways out of messages on sets of other tools, typed as they are printed."""

import functools
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch

from tests.config.stock import MAKERS, by_class, made, pictures, saved, table
from tests.config.ways import cases, row, take

TO = "--dataset digits --output_dir out"
TEN = " ".join(map(str, range(10)))
NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
IN_ORDER = " ".join(str(NAMES.index(name)) for name in sorted(NAMES))


def tensors(classes=10, count=10):
    """Digits as float (N, 1, 8, 8) in [0, 1], and their labels."""
    images, labels = pictures(count, classes)
    return torch.tensor(images / 255, dtype=torch.float32).unsqueeze(1), torch.tensor(labels)


def relabelled(order, classes):
    """With the labels of other classes."""
    images, labels = tensors(classes)
    return images, torch.tensor(order)[labels]


def enlarged(images, labels):
    """Coloured images of 37 pixels a side."""
    return torch.nn.functional.interpolate(images, (37, 37)).expand(-1, 3, -1, -1).contiguous(), labels


FILES = {  # images and labels, as IDC stores them
    "idc": tensors,
    "few": lambda: tensors(2),
    "three_of": lambda: tensors(3),
    "whole": lambda: ((tensors()[0] * 255).round().byte(), tensors()[1]),
    "odd": lambda: (37 * tensors()[0] + 5, tensors()[1]),  # no known normalisation gives these pixels
    "moved": lambda: relabelled([1, 2, 0, *range(3, 10)], 10),
    "turned": lambda: relabelled([1, 2, 0], 3),
    "noise": lambda: (0.75 * torch.rand(30, 1, 8, 8, generator=torch.Generator().manual_seed(0)), tensors(3)[1]),
    "soft": lambda: (tensors(3)[0], torch.nn.functional.one_hot(tensors(3)[1], 3).float()),
    "coloured": lambda: (tensors(3)[0].expand(-1, 3, -1, -1).contiguous(), tensors(3)[1]),
    "wide": lambda: enlarged(*tensors(3)),
}


def make_file(content, stock, folder):
    folder.mkdir()
    torch.save([*content()], folder / "set.pt")
    return folder / "set.pt"


MAKERS |= {name: functools.partial(make_file, content) for name, content in FILES.items()}


@made
def make_dc(stock, folder):
    folder.mkdir()
    torch.save({"data": [list(tensors())]}, folder / "res.pt")
    return folder / "res.pt"


@made
def make_mtt(stock, folder):
    folder.mkdir()
    for kind, content in zip(("images", "labels", "lr"), (*tensors(), torch.tensor(-1.0)), strict=True):
        torch.save(content, folder / f"{kind}_best.pt")
    return folder


@made
def make_alone(stock, folder):
    folder.mkdir()
    torch.save(tensors()[0], folder / "images_best.pt")
    return folder


@made
def make_labels(stock, folder):
    folder.mkdir()
    torch.save(tensors()[1], folder / "own.pt")
    return folder / "own.pt"


@made
def make_numbered(stock, folder):
    return by_class(folder, [str(number) for number in range(20, 30)])


@made
def make_several(stock, folder):
    by_class(folder / "first", [str(number) for number in range(10)])
    by_class(folder / "second", [str(number) for number in range(10)])
    return folder


@made
def make_two(stock, folder):
    return saved(folder, names=("a", "b"))


@made
def make_reversed(stock, folder):
    """Three digits whose names are those of others."""
    return saved(folder, names=("2", "1", "0"), count=20)


@made
def make_mixed(stock, folder):
    """Three classes, two of them called like indices of others."""
    return saved(folder, names=("1", "0", "c"))


@made
def make_big(stock, folder):
    images, labels = pictures()
    columns = {"image": [np.kron(image, np.ones((2, 2), np.uint8)) for image in images], "label": labels}
    return table(folder, columns, datasets.ClassLabel(names=["a", "b", "c"]))


@made
def make_rgb(stock, folder):
    images, labels = pictures()
    columns = {"image": [np.stack([image, image // 2, image // 3], 2) for image in images], "label": labels}
    return table(folder, columns, datasets.ClassLabel(names=["a", "b", "c"]))


@made
def make_spelt(stock, folder):
    """Images by class, under other names than those of the source."""
    return by_class(folder, NAMES)


ROWS = [
    row(
        "A set of some of the classes needs a source of just those",
        "import {few} --dataset {three} --output_dir out",
        "name it by (--dataset) -> {0} {two}",
    ),
    row(
        "Name the set to import",
        "import " + TO,
        "(hf-dd import) PATH_OR_HUB_ID (?:--dataset) SOURCE -> {0} {dc} " + TO,
    ),
    row(
        "Name the data set that … was distilled from by --dataset.",
        "import {dc} --output_dir out",
        "by (--dataset) -> {0} digits",
    ),
    row("--mean has … values", f"import {{dc}} {TO} --mean 0.0", "(--std) 0; give one per channel -> {0} 1.0"),
    row(
        "--mean and --normalisation … contradict",
        f"import {{dc}} {TO} --mean 0.0 --std 1.0 --normalisation none",
        "(--mean) and -> !{0} !--std",
        "and (--normalisation) none -> !{0}",
    ),
    row(
        "… of the set's classes (…) aren't classes of",
        f"import {{spelt}} {TO}",
        "in the set's order, by (--class_map) -> {0} " + IN_ORDER,
    ),
    row(
        "The set has … classes (…), but … has",
        f"import {{abc}} {TO}",
        "by (--dataset) -> {0} {three}",
    ),
    row(
        "The set's classes (…) aren't numbered",
        f"import {{numbered}} {TO}",
        "in this order, by (--class_map) -> {0} " + TEN,
    ),
    row(
        "--class_map names",
        f"import {{dc}} {TO} --class_map a b",
        r"which digits doesn't have: ([\d, ]+)\. -> --class_map {0}",
    ),
    row(
        "--class_map can be read in two ways",
        "import {three_of} --dataset {mixed} --output_dir out --class_map 0 1 2",
        r"them by name \((.*)\) -> --class_map {0}",
    ),
    row(
        "--class_map has … entries",
        f"import {{dc}} {TO} --class_map 0 1",
        "(--class_map) has 2 entries -> {0} " + TEN,
    ),
    row(
        "… has a learning rate of",
        f"import {{mtt}} {TO}",
        "by (--learned_learning_rate) -> {0} 0.1",
    ),
    row(
        "… holds …, where the set's learning rate is a single number",
        f"import {{mtt}} {TO} --learning_rate_file {{mtt}}/labels_best.pt",
        "by (--learned_learning_rate) -> {0} 0.1",
    ),
    row(
        "--format … doesn't go with …, which is no file of tensors",
        f"import {{several}}/first {TO} --format idc",
        "(--format) idc doesn't go -> !{0}",
    ),
    row(
        "--format … doesn't go with …, which is a file",
        f"import {{dc}} {TO} --format images",
        "(--format) images doesn't go -> !{0}",
    ),
    row(
        "--experiment is …",
        f"import {{dc}} {TO} --experiment 1",
        r"(--experiment) is 1.* counted from 0 -> {0} 0",
    ),
    row(
        "… holds images alone",
        f"import {{alone}} {TO}",
        "by (--labels_file) -> {0} {labels}",
    ),
    row(
        "… isn't laid out like the format",
        f"import {{idc}} {TO} --format dc",
        "name another (--format) -> {0} idc",
    ),
    row(
        "… holds several folders of images by class",
        f"import {{several}} {TO}",
        r"by class \((\w+), .*by --set_split -> --set_split {0}",
        "or give its own path -> hf-dd import {several}/second " + TO,
    ),
    row(
        "… has images of … channels",
        "import {coloured} --dataset {three} --output_dir out --normalisation none",
        "by (--dataset) -> {0} {rgb}",
    ),
    row(
        ("… has images of …×… pixels", " or bring … to that size by --image_size …"),
        "import {three_of} --dataset {big} --output_dir out",
        "by (--dataset) or -> {0} {three}",
        r"bring it to that size by (--image_size \d+)",
    ),
    row(
        ("… has images of …×… pixels", " or bring … to that size by --image_size …"),
        "import {abc} --dataset {big} --output_dir out",
        r"bring both to that size by (--image_size \d+)",
    ),
    row(
        "… has soft labels of … classes",
        f"import {{soft}} {TO}",
        "by (--dataset) -> {0} {three}",
    ),
    row(
        "… has labels from … to …",
        "import {three_of} --dataset {two} --output_dir out",
        "by (--dataset) -> {0} {three}",
    ),
    row(
        "… If that is right, import it with --class_map",
        f"import {{moved}} {TO}",
        r"import it with (--class_map [\d ]+);",
        r"state that: (--class_map [\d ]+)$",
    ),
    row(
        "… If that is right, import it with --class_map",
        "import {turned} --dataset {reversed} --output_dir out",
        r"import it with (--class_map [\d ]+);",
        r"state that: (--class_map [\d ]+)$",
    ),
    row(
        "The labels of … may be numbers or places",
        "import {noise} --dataset {reversed} --output_dir out --normalisation none",
        r"State it: (--class_map [\d ]+), or",
        r", or (--class_map [\d ]+)$",
    ),
    row(
        "The ZCA whitening of … takes a matrix",
        "import {wide} --dataset {rgb} --image_size 37 --output_dir out --normalisation zca",
        "by (--normalisation none)",
    ),
    row(
        "The normalisation can't be told",
        f"import {{odd}} {TO}",
        "by (--normalisation), or -> {0} none",
        "or by (--mean) and --std -> {0} -0.13 --std 0.027",
    ),
    row(
        "--normalisation … is of … channels",
        f"import {{dc}} {TO} --normalisation cifar10",
        "(--normalisation) cifar10 is -> !{0}",
    ),
    row(
        "Image files and whole numbers are not normalised",
        f"import {{whole}} {TO} --normalisation source",
        "leave (--normalisation) out -> !{0}",
    ),
    row(
        "--mean and --std have … values",
        f"import {{dc}} {TO} --mean 0.0 0.0 0.0 --std 1.0 1.0 1.0",
        "(--mean) and --std have 3 values; digits has 1 -> {0} 0.0 --std 1.0",
    ),
    row(
        "… isn't empty, and what it holds is no …: give",
        f"import {{dc}} {TO}",
        "another (--output_dir) -> {0} another",
        first=lambda stock: Path("out/other").mkdir(parents=True),
    ),
    row(
        "… holds another …: give --overwrite_output_dir",
        f"import {{dc}} {TO}",
        "--overwrite_output_dir",
        "or another (--output_dir) -> {0} another",
        first="hf-dd import {idc} " + TO,
    ),
    row(
        " These are options of `hf-dd import … --dataset …`; evaluate what that makes.",
        "evaluate {spelt} --dataset digits {evaluated}",
        f"`(hf-dd import .* --dataset digits)`; -> {{0}} --output_dir made --class_map {IN_ORDER}; "
        "hf-dd evaluate made {evaluated}",
    ),
    row(
        "… is a file: `hf-dd import … --dataset SOURCE`",
        "evaluate {dc} {evaluated}",
        "`(hf-dd import .*) --dataset SOURCE` -> {0} --dataset digits --output_dir made; "
        "hf-dd evaluate made {evaluated}",
    ),
]


@pytest.mark.usefixtures("one_thread", "one_classifier")
@pytest.mark.parametrize(**cases(ROWS))
def test_the_way_is_open(row, way, stock, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    take(row, way, stock)
