"""Which files of a local folder are which split, where names alone would have `load_dataset` read something else.

It takes every file for a split's whose path has a word such as train or test somewhere, in lower case alone: of
`Train` and `Test` it makes one split, and a class called `train` is one. Here the folders that hold the images decide.
"""

import glob
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import NamedTuple

from hf_dd import hub
from hf_dd.core.layout import CARD
from hf_dd.core.progress import say
from hf_dd.core.text import plural
from hf_dd.data.columns import IMAGE_SUFFIXES
from hf_dd.errors import DataError, some

OTHER_IMAGES = {".heic", ".heif", ".avif", ".jxl", ".dng", ".cr2", ".nef", ".svg", ".psd", ".eps", ".qoi"}  # unread
TABLES = (".parquet", ".arrow", ".csv", ".jsonl", ".json")  # the likeliest to hold images first
PACKED = {".parquet", ".arrow", ".tar", ".zip", ".gz", ".tgz", ".xz", ".bz2", ".7z", ".rar"}  # which may hold images
METADATA = {"metadata.csv", "metadata.jsonl", "metadata.parquet"}  # of a folder of images
ABOUT = (CARD, ".huggingface.yaml", "dataset_infos.json")  # what says which files a repository's splits are
WORDS = {"train": "train|training", "validation": "validation|valid|dev|val", "test": "test|testing|eval|evaluation"}
CALLED = {split: rf"({words})[-_ ]?(set|data|images)?" for split, words in WORDS.items()}

Patterns = dict[str, list[str]]  # of the files of each split, below the folder
Folders = dict[str, list[PurePath]]  # of each split


class Files(NamedTuple):
    """Which files of a folder `load_dataset` is to read.

    Attributes:
        patterns: of the files of each split; None where it is left to `load_dataset`.
        folders: of each split, where one table names images of several: all are read as one split, to be told apart
            by the folders of their images.
    """

    patterns: Patterns | None = None
    folders: Folders | None = None


def split_of(name: str) -> str | None:
    """The split that a word in the name of a folder or of a file, without its ending, says; None for none."""
    found = (
        split for split, words in CALLED.items() if re.search(rf"(^|[-._ 0-9]){words}([-._ 0-9]|$)", name.lower())
    )
    return next(found, None)


def is_called(name: str) -> bool:
    """Whether a name says a split and nothing else: `Test`, `train_set`, but not `test tube`."""
    return any(re.fullmatch(words, name.lower()) for words in CALLED.values())


def files_of_splits(folder: Path) -> Files:
    """The files of each split of a folder, or none where it is left to `load_dataset`.

    What is left out, or made one, is told. Raises DataError for what would be passed over, or taken for another thing.
    """
    if hub.front_matter(folder).get("configs") or any((folder / name).is_file() for name in ABOUT[1:]):
        return Files()
    files = list(files_below(folder))
    images = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    tables = [path for path in files if path.name in METADATA]
    if not images:
        return Files(splits_of_tables([path for path in files if path.name not in METADATA]))
    if any(path.suffix.lower() in PACKED for path in files):
        return Files()
    others = Counter(path.suffix.lower() for path in files if path.suffix.lower() in OTHER_IMAGES)
    if others:
        told = ", ".join(sorted(others))
        say("%s: %s (%s) can't be read and are left out: convert them.", folder, plural(others.total(), "image"), told)
    return Layout(folder, images, tables).files()


def files_below(folder: Path) -> Iterator[PurePath]:
    """The paths of its files, below it; raises DataError for a link to a folder of images, which nothing follows."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name[0] != ".")
        for name in folders:
            link = Path(place, name)
            if link.is_symlink() and any(path.suffix.lower() in IMAGE_SUFFIXES for path in files_below(link)):
                raise DataError(
                    f"{link} is a link to a folder of images, which load_dataset doesn't follow: put the folder "
                    "itself there."
                )
        below = PurePath(place).relative_to(folder)
        yield from (below / name for name in sorted(names) if name[0] != ".")


def lies_below(path: PurePath, place: PurePath) -> bool:
    """Whether a file lies below a folder; faster than what pathlib has, for millions of images."""
    return path.parts[: len(place.parts)] == place.parts


def splits_of_tables(files: Sequence[PurePath]) -> Patterns | None:
    """Of tables whose names, or folders, say which split they are, but not all in lower case."""
    suffix = next((suffix for suffix in TABLES if any(path.suffix.lower() == suffix for path in files)), None)
    found: Patterns = defaultdict(list)
    lower = True
    for path in files:
        if path.suffix.lower() == suffix:
            names = [*path.parent.parts, path.stem]
            name = next(filter(split_of, names), None)
            if name is None:
                return None
            lower &= name == name.lower()
            found[split_of(name)].append(glob.escape(path.as_posix()))
    return dict(found) if found and not lower else None


@dataclass
class Layout:
    """How the images of a folder lie: in folders of splits, or of classes alone.

    Attributes:
        folder: all lie below it.
        images: their paths.
        tables: the paths of tables that may name their classes.
        splits: the folders of each split, once `look` found them.
        known: the tables that were looked at, and whether they name files.
    """

    folder: Path
    images: Sequence[PurePath]
    tables: Sequence[PurePath]
    splits: Folders = field(default_factory=lambda: defaultdict(list))
    known: dict[PurePath, bool] = field(default_factory=dict)

    def files(self) -> Files:
        """As of `files_of_splits`: the outermost folders that are splits decide; else all images are for training."""
        self.look(PurePath(), self.images)
        if not self.splits:
            at_the_top = any(not table.parent.parts for table in self.tables)  # it names the classes of all
            return Files(None if at_the_top else self.patterns_of_classes())
        places = [place for own in self.splits.values() for place in own]
        if outside := [path for path in self.images if not any(lies_below(path, place) for place in places)]:
            names = list(dict.fromkeys(str(path.parent if path.parent.parts else path) for path in outside))
            say("%s: beside the folders that are splits, and left out: %s.", self.folder, some(names))
        # The training split first: of one with images of a single class `load_dataset` takes no labels before.
        splits = {split: self.splits[split] for split in sorted(self.splits, key=lambda split: split != "train")}
        if any(self.has_table_above(place) for place in places):
            return Files({"train": self.below(PurePath())}, splits)
        return Files({split: [each for place in own for each in self.below(place)] for split, own in splits.items()})

    def look(self, place: PurePath, images: Sequence[PurePath]) -> None:
        """Find the splits below a folder, by the folders in it that hold images."""
        inner: dict[str, list[PurePath]] = defaultdict(list)
        for path in images:
            if len(path.parts) > len(place.parts) + 1:
                inner[path.parts[len(place.parts)]].append(path)
        if len(inner) == 1:  # a folder around all, whatever it is called
            ((name, own),) = inner.items()
            self.look(place / name, own)
            if self.splits:
                return
        named = {name: split for name in inner if (split := split_of(name))}
        labelled = {name for name in named if self.has_classes(place / name, inner[name])}
        called = {name for name in named if is_called(name)}
        training = {name for name, split in named.items() if split == "train"}
        pair = len(set(named.values())) > 1
        if pair and training & called and all(self.has_table_above(place / name) for name in named):
            labelled |= {*named}
        without_training = bool(labelled) and not training and called == set(inner)
        if training & labelled and (pair or training & called) or without_training:
            for name, split in named.items():
                self.splits[split].append(place / name)
        elif training & called and called - training:
            first, second = min(training & called), min(called - training)
            raise DataError(
                f"The images in {self.folder / place / first} and in {second} beside it lie in no folders of classes: "
                f"put them into {first}/CLASS and {second}/CLASS, or name their classes in a metadata.csv in each."
            )
        elif len(inner) > 1:
            for name, own in inner.items():
                self.look(place / name, own)

    def has_classes(self, place: PurePath, images: Sequence[PurePath]) -> bool:
        """Whether images of a split's folder have labels: by folders of classes, or by a table."""
        deeper = any(len(path.parts) > len(place.parts) + 1 for path in images)
        return deeper or any(table.is_relative_to(place) for table in self.tables)

    def has_table_above(self, place: PurePath) -> bool:
        """Whether a table above a split's folder names images, with their paths from there, and so their classes."""
        above = (table for table in self.tables if place != table.parent and place.is_relative_to(table.parent))
        return any(self.names_files(table) for table in above)

    def names_files(self, table: PurePath) -> bool:
        """Whether a table has a column of files of images, by its first line: others say something else of them."""
        if table not in self.known:
            with (self.folder / table).open("rb") as file:
                self.known[table] = b"file_name" in file.readline(2**16)
        return self.known[table]

    def patterns_of_classes(self) -> Patterns | None:
        """Of images that are all for training, in folders of classes; raises DataError where names say otherwise."""
        all_say = all(split_of(path.stem) for path in self.images)  # the first one that isn't ends it
        said = {split_of(path.stem) for path in self.images} if all_say else ()
        if "train" in said and len(said) > 1:
            if odd := [path.name for path in self.images if split_of(path.stem.lower()) and path.stem[:1].isupper()]:
                raise DataError(
                    f"The names of the images in {self.folder} say which split they are, which load_dataset reads in "
                    f"lower case alone: rename {some(odd)}, or make folders train and test."
                )
            return None
        places: dict[str, set[PurePath]] = defaultdict(set)
        for path in self.images:
            places[path.parent.name].add(path.parent.parent)
        if merged := sorted(name for name, own in places.items() if len(own) > 1):
            where = some(sorted({str(place) for name in merged for place in places[name]}))
            told = f"{plural(len(merged), 'class')} ({some(merged)})"
            say("%s: the images of %s are taken together from several folders: %s.", self.folder, told, where)
        return {"train": self.below(PurePath())}

    def below(self, place: PurePath) -> list[str]:
        """Patterns for the images below a folder, and for what tables say of them."""
        found = {f"*{glob.escape(end)}" for end in {path.suffix for path in self.images if lies_below(path, place)}}
        found |= {table.name for table in self.tables if table.is_relative_to(place)}
        start = "" if place == PurePath() else f"{glob.escape(place.as_posix())}/"
        return [f"{start}**/{name}" for name in sorted(found)]
