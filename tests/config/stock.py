"""What ways out of messages are tried on: words that commands share, and sets, teachers and data by their names."""

import json
import re
import shlex
import string
from pathlib import Path

import datasets
import numpy as np
import timm
import torch

import hf_dd
from hf_dd import cli
from hf_dd.cli import COMMANDS
from hf_dd.config.parsing import parse_config
from hf_dd.data.fixed_forms import digits_rows
from hf_dd.synthetic.distilled_set import to_pil

PINNED = {"teachers", "teacher_tags", "teacher_pool", "experts", "networks_from"}  # a record has their commits
WORDS = {
    "digits": "--dataset digits --ipc 1 --eval_students 0 --output_dir out",
    "small": "--iterations 1 --architecture_options width=8 depth=1 --real_batch_size 4 --augment none",
    "one_block": "--architecture_options width=8 depth=1",
    "two_blocks": "--architecture_options width=16 depth=2",
    "trained": "--dataset digits --epochs 1 --batch_size 512 --output_dir teachers",
    "students": "--eval_students 1 --eval_epochs 1 --eval_architectures MLP --eval_copies float "
    "--eval_augment none --baselines none",
}
WORDS["random"] = f"distill {WORDS['digits']} --objective random"
WORDS["dm"] = f"distill {WORDS['digits']} {WORDS['small']}"
WORDS["evaluated"] = f"{WORDS['students']} --output_dir out"


def typed(words):
    """Words of a command line: the positional ones, and those of each option."""
    loose, given = [], {}
    own = loose
    for word in words:
        if re.match(r"!?--[a-z]", word):
            own = given[word] = []
        else:
            own.append(word)
    return loose, given


def changed(command, words):
    """A command line with other options, in the place of those of their names."""
    loose, given = typed(command)
    more, new = typed(words)
    for name, values in new.items():
        given.pop(name.removeprefix("!"), None)
        if not name.startswith("!"):
            given[name] = values
    return [*loose, *more, *(word for name, values in given.items() for word in (name, *values))]


def run(words):
    """A command that has to end well, and leaves what such a command makes."""
    try:
        cli.main(words)
    except SystemExit as end:
        assert not end.code, f"{shlex.join(words)}: {end.code}"
    options = dict(zip(words, words[1:], strict=False))
    out = Path(options.get("--output_dir", "nothing"))
    if words[0] in ("distill", "import") and out.exists():
        made = hf_dd.Artefact.open(out)
        assert made.load().num_rows > 0
        config = parse_config(COMMANDS[words[0]].options, words[1:], command="hf-dd")
        given = {name.removeprefix("--") for name in typed(words)[1]}
        for name in given & made.record.settings.keys() - PINNED - {"minutes"}:  # which a plan spends
            assert made.record.settings[name] == getattr(config, name), name
    if words[0] in ("evaluate", "compare") and out.exists():
        assert json.loads((out / "results.json").read_text())
    if words[0] == "pretrain":
        assert list(out.glob("*/hf_dd.json"))


MAKERS = {}  # by the name in braces


def made(make):
    """Declare what makes a thing in a folder: `make_three` makes `{three}`."""
    name = make.__name__.removeprefix("make_")
    assert name not in MAKERS
    MAKERS[name] = make
    return make


class Stock(dict):
    """What rows name in braces: words that several have, and things that are made when the first row names them."""

    def __init__(self, folder, teachers):
        super().__init__(WORDS)
        self.folder, self.teachers = folder, teachers

    def __missing__(self, name):
        made = MAKERS[name](self, self.folder / name)
        self[name] = shlex.quote(str(made))
        return self[name]

    def words(self, text, *found):
        """The words of a text, with what was found in a message and what is named in braces."""
        return shlex.split(string.Formatter().vformat(text, found, self))

    def type(self, text, command=(), *found):
        """Run the commands between the semicolons of a text, or the command with the options there."""
        for part in text.split(";"):
            words = self.words(part, *found)
            if words[:1] == ["hf-dd"]:
                run(changed([], words[1:]))
            else:
                command = changed(command, words)
                run(command)

    def run(self, text, folder):
        run(changed([], [*self.words(text), "--output_dir", str(folder)]))
        return folder


@made
def make_convnet(stock, folder):
    return stock.teachers.references[0]


@made
def make_other(stock, folder):
    return stock.teachers.references[1]


@made
def make_mlp(stock, folder):
    return stock.teachers.references[2]


@made
def make_local(stock, folder):
    return stock.teachers.folders[0]


@made
def make_earlier(stock, folder):
    return stock["convnet"].replace("@final", "@epoch-1")


@made
def make_norm(stock, folder):
    """A teacher with BatchNorm layers."""
    run = "pretrain {trained} --architectures ConvNetBN --architecture_options width=8 depth=1"
    return f"{stock.run(run, folder)}/digits-convnetbn-seed0@final"


@made
def make_root(stock, folder):
    """An empty folder."""
    folder.mkdir()
    return folder


@made
def make_dim(stock, folder):
    """Ten classes of images as dark as MNIST's, as the literature normalises those."""
    images, labels = pictures(20, 10)
    scale = 0.1307 * 255 / images.mean()
    columns = {"image": list((images * scale).round().astype(np.uint8)), "label": labels}
    names = datasets.ClassLabel(names=[str(digit) for digit in range(10)])
    features = datasets.Features({"image": datasets.Image(), "label": names})
    splits = datasets.DatasetDict(dict.fromkeys(("train", "test"), datasets.Dataset.from_dict(columns, features)))
    splits.save_to_disk(str(folder))
    return folder


@made
def make_tagged(stock, folder):
    """Data of this name, by which the tags of its teacher find that alone."""
    return saved(folder, count=20)


@made
def make_abc(stock, folder):
    """Images by class, of three classes."""
    return by_class(folder, "abc")


@made
def make_of_tagged(stock, folder):
    stock.run("pretrain --dataset {tagged} --epochs 1 --architectures MLP --push_to_hub", folder)
    return "local/tagged-mlp-seed0@final"


@made
def make_set(stock, folder):
    """A set of digits, one real image of each class."""
    return stock.run("distill --dataset digits --ipc 1 --eval_students 0 --objective random", folder)


@made
def make_pool(stock, folder):
    """A pool's lock."""
    folder.mkdir()
    run(["pool", "create", "Ways out", stock["convnet"], stock["mlp"], "--output", str(folder / "pool.json")])
    return folder / "pool.json"


@made
def make_three(stock, folder):
    """A folder that load_dataset reads, with two splits: nine digits of the classes a, b and c, and nine more."""
    return saved(folder)


@made
def make_single(stock, folder):
    """The same of a single class."""
    return saved(folder, names=("a",))


@made
def make_untested(stock, folder):
    """The images of `three` without a split to test on: train and more."""
    rows = datasets.load_dataset(stock["three"], cache_dir=str(stock.folder / "cache"))
    rows["more"] = rows.pop("test")
    rows.save_to_disk(str(folder))
    return folder


@made
def make_of_timm(stock, folder):
    """A model of timm that knows its classes."""
    return of_library(folder, True)


@made
def make_pickled(stock, folder):
    return of_library(folder, False)


def pictures(count=3, classes=3, first=0):
    """Digits of the first classes, uint8 (count * classes, 8, 8), and their labels."""
    rows = digits_rows()
    chosen = np.concatenate([rows[rows[:, -1] == label][first : first + count] for label in range(classes)])
    return (chosen[:, :-1] * 15).astype(np.uint8).reshape(-1, 8, 8), chosen[:, -1].astype(int).tolist()


def by_class(folder, names, count=10):
    """A folder of images for each class."""
    for image, label in zip(*pictures(count, len(names)), strict=True):
        target = folder / names[label] / f"{len(list(folder.glob('*/*')))}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        to_pil(torch.tensor(image)[None]).save(target)
    return folder


def saved(folder, splits=("train", "test"), names=("a", "b", "c"), count=3):
    """A folder of parquet files, one a split, of digits under other names."""
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(names))})
    folder.mkdir()
    for number, split in enumerate(splits):
        images, labels = pictures(count, len(names), count * number)
        columns = {"image": list(images), "label": labels}
        datasets.Dataset.from_dict(columns, features=features).to_parquet(str(folder / f"{split}.parquet"))
    return folder


def of_library(folder, safe):
    model = timm.create_model("test_byobnet", num_classes=10)
    names = {"label_names": [str(digit) for digit in range(10)]}
    timm.models.save_for_hf(model, folder, model_config=names, safe_serialization=safe)
    if not safe:
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    return folder


def filled(folder):
    """A folder that holds something else."""
    write(f"{folder}/other/notes.txt", "mine")


def write(path, text):
    Path(path).parent.mkdir(parents=True)
    Path(path).write_text(text)


def table(folder, columns, label, **more):
    features = datasets.Features({"image": datasets.Image(), "label": label, **more})
    folder.mkdir()
    datasets.Dataset.from_dict(columns, features=features).to_parquet(str(folder / "train.parquet"))
    return folder
