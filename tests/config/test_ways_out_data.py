"""The ways out of messages on data sets and on sets of other tools, typed as they are printed."""

import re
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch

from tests.config.ways import Stock, by_class, cases, pictures, row, run, saved, take
from tests.factories import message_of
from tests.importing.conftest import one_classifier  # noqa: F401  one training for all imports of digits

TO = "--dataset digits --output_dir out"
TEN = " ".join(map(str, range(10)))
NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
IN_ORDER = " ".join(str(NAMES.index(name)) for name in sorted(NAMES))


def tensors(classes=10, count=10):
    """Digits as float (N, 1, 8, 8) in [0, 1], and their labels."""
    images, labels = pictures(count, classes)
    return torch.tensor(images / 255, dtype=torch.float32).unsqueeze(1), torch.tensor(labels)


class Foreign(Stock):
    """Sets of other tools, and data that they are of."""

    def make_idc(self, folder):
        """Images and labels, as IDC stores them."""
        return self.file(folder, *tensors())

    def make_dc(self, folder):
        """The same, as the one experiment of DC's file."""
        folder.mkdir()
        torch.save({"data": [list(tensors())]}, folder / "res.pt")
        return folder / "res.pt"

    def make_few(self, folder):
        """Images of two of three classes."""
        return self.file(folder, *tensors(2))

    def make_whole(self, folder):
        """Whole numbers."""
        images, labels = pictures(10, 10)
        return self.file(folder, torch.tensor(images).unsqueeze(1), torch.tensor(labels))

    def make_odd(self, folder):
        """Pixels that no known normalisation gives."""
        images, labels = tensors()
        return self.file(folder, 37 * images + 5, labels)

    def make_moved(self, folder):
        """The labels of three classes are each other's."""
        images, labels = tensors()
        return self.file(folder, images, torch.tensor([1, 2, 0, *range(3, 10)])[labels])

    def make_noise(self, folder):
        """Images that show nothing."""
        noise = torch.rand(100, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        return self.file(folder, (noise * 0.75).clamp(0, 1), tensors()[1])

    def make_soft(self, folder):
        """Soft labels of three classes."""
        images, labels = tensors(3)
        return self.file(folder, images, torch.nn.functional.one_hot(labels, 3).float())

    def make_three_of(self, folder):
        return self.file(folder, *tensors(3))

    def make_coloured(self, folder):
        images, labels = tensors(3)
        return self.file(folder, images.expand(-1, 3, -1, -1).contiguous(), labels)

    def make_wide(self, folder):
        """Images of 65 pixels a side, of three classes."""
        images, labels = tensors(3)
        return self.file(folder, torch.nn.functional.interpolate(images, (65, 65)), labels)

    def file(self, folder, images, labels):
        folder.mkdir()
        torch.save([images, labels], folder / "set.pt")
        return folder / "set.pt"

    def make_mtt(self, folder):
        """A file of images, one of labels, and a learning rate that is none."""
        folder.mkdir()
        for kind, content in zip(("images", "labels", "lr"), (*tensors(), torch.tensor(-1.0)), strict=True):
            torch.save(content, folder / f"{kind}_best.pt")
        return folder

    def make_alone(self, folder):
        """A file of images without one of labels."""
        folder.mkdir()
        torch.save(tensors()[0], folder / "images_best.pt")
        return folder

    def make_labels(self, folder):
        folder.mkdir()
        torch.save(tensors()[1], folder / "own.pt")
        return folder / "own.pt"

    def make_named(self, folder):
        return by_class(folder, NAMES)

    def make_numbered(self, folder):
        return by_class(folder, [str(number) for number in range(20, 30)])

    def make_several(self, folder):
        """Two folders of images by class."""
        by_class(folder / "first", [str(number) for number in range(10)])
        by_class(folder / "second", [str(number) for number in range(10)])
        return folder

    def make_two(self, folder):
        return saved(folder, names=("a", "b"))

    def make_reversed(self, folder):
        """Ten digits whose names are those of others."""
        return saved(folder, names=[str(9 - digit) for digit in range(10)], count=40)

    def make_mixed(self, folder):
        """Three classes, two of them called like indices of others."""
        return saved(folder, names=("1", "0", "c"))

    def make_big(self, folder):
        """Digits of 16 pixels a side."""
        images, labels = pictures(20, 10)
        names = [str(digit) for digit in range(10)]
        columns = {"image": [np.kron(image, np.ones((2, 2), np.uint8)) for image in images], "label": labels}
        return self.table(folder, columns, datasets.ClassLabel(names=names))

    def make_rgb(self, folder):
        images, labels = pictures()
        columns = {"image": [np.stack([image, image // 2, image // 3], 2) for image in images], "label": labels}
        return self.table(folder, columns, datasets.ClassLabel(names=["a", "b", "c"]))

    def make_unlabelled(self, folder):
        """Splits `part`, without labels, and `train` and `more` with them."""
        saved(folder, ("train", "more"))
        rows = datasets.Dataset.from_parquet(str(folder / "train.parquet"), cache_dir=str(self.folder / "cache"))
        empty = rows.map(lambda each: {"label": None}, features=rows.features)
        datasets.DatasetDict({"train": rows, "part": empty, "more": rows}).save_to_disk(
            str(folder.with_name("splits"))
        )
        return folder.with_name("splits")

    def make_unlabelled_test(self, folder):
        """A set of three digits whose split `test` has no labels, as on the Hub."""
        rows = datasets.load_from_disk(self["unlabelled"])
        datasets.DatasetDict({"train": rows["train"], "test": rows["part"]}).save_to_disk(str(folder))
        return folder

    def make_fractions(self, folder):
        images, labels = pictures()
        columns = {"image": list(images), "label": [label + 0.5 for label in labels], "kind": labels}
        return self.table(folder, columns, datasets.Value("float64"), kind=datasets.Value("int64"))

    def make_configured(self, folder):
        """Data of two configurations."""
        folder.mkdir()
        for name in ("one", "two"):
            saved(folder / name)
        parts = [f"- config_name: {name}\n  data_files: {name}/*.parquet\n" for name in ("one", "two")]
        (folder / "README.md").write_text("---\nconfigs:\n" + "".join(parts) + "---\n")
        return folder

    def table(self, folder, columns, label, **more):
        features = datasets.Features({"image": datasets.Image(), "label": label, **more})
        folder.mkdir()
        datasets.Dataset.from_dict(columns, features=features).to_parquet(str(folder / "train.parquet"))
        return folder


DATA = [
    row(
        "There is no data set",
        "{random} --dataset digist",
        "Did you mean '(digits)' -> --dataset {0}",
        "takes a Hub id.* (a folder) that load_dataset reads -> --dataset {three}",
    ),
    row(
        "… of the … images of split … have no label",
        "{random} --dataset {unlabelled} --train_split part",
        "with (--train_split) or -> {0} more",
    ),
    row(
        "… of the … images of split … have no label",
        "{random} --dataset {unlabelled} --test_split part",
        "or (--test_split) -> {0} more",
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
    row(
        "A set of some of the classes needs a source of just those",
        "import {few} --dataset {three} --output_dir out",
        "name it by (--dataset) -> {0} {two}",
    ),
]
IMPORTS = [
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
        f"import {{named}} {TO}",
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
        "import {dc} --dataset {big} --output_dir out",
        "by (--dataset) or -> {0} digits",
        r"bring it to that size by (--image_size \d+)",
    ),
    row(
        ("… has images of …×… pixels", " or bring … to that size by --image_size …"),
        "import {several}/first --dataset {big} --output_dir out",
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
        "import {moved} --dataset {reversed} --output_dir out",
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
        "import {wide} --dataset {three} --image_size 65 --output_dir out --normalisation zca",
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
        "… isn't empty, and what it holds is no set of hf-dd",
        f"import {{dc}} {TO}",
        "another (--output_dir) -> {0} another",
        first=lambda stock: Path("out/other").mkdir(parents=True),
    ),
    row(
        "… holds another set: give --overwrite_output_dir",
        f"import {{dc}} {TO}",
        "--overwrite_output_dir",
        "or another (--output_dir) -> {0} another",
        first="hf-dd import {idc} " + TO,
    ),
    row(
        " These are options of `hf-dd import … --dataset …`; evaluate what that makes.",
        "evaluate {named} --dataset digits {evaluated}",
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


@pytest.fixture(scope="module")
def foreign(tmp_path_factory, tiny_teachers):
    return Foreign(tmp_path_factory.mktemp("foreign"), tiny_teachers)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(**cases(DATA + IMPORTS + SETS_OWN))
def test_the_way_is_open(row, way, foreign, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    take(row, way, foreign)


def test_a_configuration_is_saved_by_the_line_that_is_printed(foreign, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    configured = foreign["configured"]
    words = ["import", "--dataset", foreign["three"], "--output_dir", "out"]
    code = re.search(r"as by (load_dataset\(…, NAME\)\.save_to_disk\('set'\))", message_of(*words, configured))[1]
    eval(
        code.replace("…, NAME", "configured, 'one'"), {"load_dataset": datasets.load_dataset, "configured": configured}
    )
    run([*words, "set"])
