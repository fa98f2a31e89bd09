"""Ways out that messages print: how each message is provoked, and what is typed then, as printed.

A row's command fails with the message that it names. Each of its ways is `PATTERN -> WORDS`: what the pattern finds in
the message (its group, if it has one) is `{0}` of the words. Words that begin with an option take its place in the
command, or are added to it; `!--option` leaves one out; `hf-dd …` is a command to run before. Of the words between two
`;` each is one of these, and the changed command runs again at the place of the words that change it. A pattern alone
is typed as it is found.
"""

import json
import re
import shlex
import string
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import datasets
import numpy as np
import torch

import hf_dd
from hf_dd import cli
from hf_dd.data.sources import digits_rows
from hf_dd.synthetic.distilled_set import to_pil
from tests.factories import message_of

WORDS = {
    "digits": "--dataset digits --ipc 1 --eval_students 0 --output_dir out",
    "small": "--iterations 1 --architecture_options width=8 depth=1 --real_batch_size 4",
    "one_block": "--architecture_options width=8 depth=1",
    "two_blocks": "--architecture_options width=16 depth=2",
    "trained": "--dataset digits --epochs 1 --batch_size 512 --output_dir teachers",
    "students": "--eval_students 1 --eval_epochs 1 --eval_architectures MLP --eval_copies float --baselines none",
}
WORDS["random"] = f"distill {WORDS['digits']} --objective random"
WORDS["dm"] = f"distill {WORDS['digits']} {WORDS['small']}"
WORDS["evaluated"] = f"{WORDS['students']} --output_dir out"


class Row(NamedTuple):
    """A message and its ways out.

    Attributes:
        says: the message's text in hf_dd, or enough of it, with … where a value stands; several, if it is made of
            several.
        command: the words that it is provoked by, without hf-dd.
        ways: each `PATTERN -> WORDS`, see above.
        first: commands that prepare it, or a function that does.
        then: called after each way: fails where what was promised isn't there.
    """

    says: str | tuple[str, ...]
    command: str
    ways: tuple[str, ...]
    first: str | Callable[["Stock"], object] = ""
    then: Callable[[], object] = lambda: None

    @property
    def fragments(self):
        return (self.says,) if isinstance(self.says, str) else self.says


def row(says, command, *ways, **more):
    return Row(says, command, ways, **more)


def cases(rows):
    """Each way of each row, for parametrize."""
    found = [(own, way) for own in rows for way in own.ways]
    return {
        "argnames": ("row", "way"),
        "argvalues": found,
        "ids": [f"{own.fragments[0][:50]} ({way.split(' -> ')[0][:40]})" for own, way in found],
    }


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
        assert hf_dd.Artefact.open(out).load().num_rows > 0
    if words[0] in ("evaluate", "compare") and out.exists():
        assert json.loads((out / "results.json").read_text())
    if words[0] == "pretrain":
        assert list(out.glob("*/hf_dd.json"))


def take(row, way, stock, said=message_of):
    """Provoke a message, and take a way out of it as it is printed; `said` gives what a command says."""

    if callable(row.first):
        row.first(stock)
    elif row.first:
        stock.type(row.first)
    command = changed([], stock.words(row.command))
    message = said(*command)
    for text in row.fragments:
        parts = re.split("…|%[ds]", text.replace("%%", "%"))
        assert re.search(".*".join(map(re.escape, parts)), message), message
    pattern, _, words = way.partition(" -> ")
    found = re.search(pattern, message)
    assert found, message
    text = (found[1] if found.re.groups else found[0]).replace(", ", " ")  # a list's values
    stock.type(words or "{0}", command, text)
    row.then()


class Stock(dict):
    """What rows name in braces: words that several have, and things that are made when the first row names them."""

    def __init__(self, folder, teachers):
        super().__init__(WORDS)
        self.folder, self.teachers = folder, teachers

    def __missing__(self, name):
        made = getattr(self, f"make_{name}")(self.folder / name)
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

    def make_convnet(self, folder):
        return self.teachers.references[0]

    def make_other(self, folder):
        return self.teachers.references[1]

    def make_mlp(self, folder):
        return self.teachers.references[2]

    def make_local(self, folder):
        return self.teachers.folders[0]

    def make_earlier(self, folder):
        return self["convnet"].replace("@final", "@epoch-1")

    def make_norm(self, folder):
        """A teacher with BatchNorm layers."""
        run = "pretrain {trained} --architectures ConvNetBN --architecture_options width=8 depth=1"
        return f"{self.run(run, folder)}/digits-convnetbn-seed0@final"

    def make_root(self, folder):
        """An empty folder."""
        folder.mkdir()
        return folder

    def make_named(self, folder):
        """Images by class, ten of each digit, as somebody else released them."""
        return by_class(folder, [str(digit) for digit in range(10)])

    def make_dim(self, folder):
        """Ten classes of images as dark as MNIST's, as the literature normalises those."""
        images, labels = pictures(20, 10)
        scale = 0.1307 * 255 / images.mean()
        columns = {"image": list((images * scale).round().astype(np.uint8)), "label": labels}
        names = datasets.ClassLabel(names=[str(digit) for digit in range(10)])
        features = datasets.Features({"image": datasets.Image(), "label": names})
        splits = datasets.DatasetDict(dict.fromkeys(("train", "test"), datasets.Dataset.from_dict(columns, features)))
        splits.save_to_disk(str(folder))
        return folder

    def make_tagged(self, folder):
        """Data of this name, by which the tags of its teacher find that alone."""
        return saved(folder)

    def make_abc(self, folder):
        """Images by class, of three classes."""
        return by_class(folder, "abc")

    def make_of_tagged(self, folder):
        self.run("pretrain --dataset {tagged} --epochs 1 --architectures MLP --push_to_hub", folder)
        return "local/tagged-mlp-seed0@final"

    def make_set(self, folder):
        """A set of digits, one real image of each class."""
        return self.run("distill --dataset digits --ipc 1 --eval_students 0 --objective random", folder)

    def make_pool(self, folder):
        """A pool's lock."""
        folder.mkdir()
        run(["pool", "create", "Ways out", self["convnet"], self["mlp"], "--output", str(folder / "pool.json")])
        return folder / "pool.json"

    def make_three(self, folder):
        """A folder that load_dataset reads, with two splits: nine digits of the classes a, b and c, and nine more."""
        return saved(folder)

    def make_untested(self, folder):
        """The images of `three` without a split to test on: train and more."""
        rows = datasets.load_dataset(self["three"], cache_dir=str(self.folder / "cache"))
        rows["more"] = rows.pop("test")
        rows.save_to_disk(str(folder))
        return folder


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
