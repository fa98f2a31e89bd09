"""Which files of a folder are which split, where their names alone would have `load_dataset` read something else.

It takes every file for a split's whose path has a word such as train or test somewhere, in lower case alone: of
`Train` and `Test` it makes one split, and a class called `train` is one. Here the folders that hold the images decide.
"""

import glob
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath

from hf_dd import hub
from hf_dd.core.progress import say
from hf_dd.core.text import plural
from hf_dd.data.columns import IMAGE_SUFFIXES
from hf_dd.errors import DataError, some

OTHER_IMAGES = {".heic", ".heif", ".avif", ".jxl", ".jp2", ".dng", ".cr2", ".nef", ".svg"}  # which nothing here reads
TABLES = {".parquet", ".csv", ".json", ".jsonl", ".arrow"}
METADATA = {"metadata.csv", "metadata.jsonl", "metadata.parquet"}  # of a folder of images
ABOUT = ("README.md", ".huggingface.yaml", "dataset_infos.json")  # what says which files a repository's splits are
WORDS = {"train": "train|training", "validation": "validation|valid|dev|val", "test": "test|testing|eval|evaluation"}
SPLITS = {
    split: re.compile(rf"(^|[-._ 0-9])({words})[-_ ]?(set|data|images)?([-._ 0-9]|$)")
    for split, words in WORDS.items()
}


def split_of(name: str) -> str | None:
    """The split that the name of a folder or of a file, without its ending, says that it is; None for none."""
    return next((split for split, words in SPLITS.items() if words.search(name.casefold())), None)


def files_of_splits(folder: Path) -> dict[str, list[str]] | None:
    """The files of each split of a folder as patterns below it; None where it is left to `load_dataset`.

    What is left out, or made one, is told. Raises DataError for what would be passed over.
    """
    if hub.front_matter(folder).get("configs") or any((folder / name).is_file() for name in ABOUT[1:]):
        return None
    images, tables, others = [], [], Counter()
    for path in files_below(folder):
        suffix = path.suffix.lower()
        if suffix in IMAGE_SUFFIXES:
            images.append(path)
        elif suffix in OTHER_IMAGES:
            others[suffix] += 1
        elif suffix in TABLES and path.name not in METADATA:
            tables.append(path)
    if others and images:
        told = ", ".join(sorted(others))
        say("%s: %s (%s) can't be read and are left out: convert them.", folder, plural(others.total(), "image"), told)
    if not images or any((folder / name).is_file() for name in METADATA):
        return splits_of_tables(tables)
    return splits_of_images(folder, images)


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


def splits_of_tables(tables: Sequence[PurePath]) -> dict[str, list[str]] | None:
    """Of tables side by side whose names say which split they are, but not in lower case."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in tables:
        split = split_of(path.stem)
        if split is None or path.parent != tables[0].parent:
            return None
        found[split].append(glob.escape(path.as_posix()))
    return dict(found) if any(path.stem != path.stem.lower() for path in tables) else None


def splits_of_images(folder: Path, images: Sequence[PurePath]) -> dict[str, list[str]] | None:
    """Of images in folders: those of the splits, else of the classes, all of which are of the training split."""
    depth = shared_folders(images)
    by_first: dict[str, list[PurePath]] = defaultdict(list)
    for path in images:
        by_first[path.parts[depth] if len(path.parts) > depth + 1 else ""].append(path)
    named = {name: split_of(name) for name in by_first if name}
    others = [name for name in by_first if not named.get(name)]
    training = {path.parent for name, split in named.items() if split == "train" for path in by_first[name]}
    if training and (not others or any(has_classes(folder, place, depth) for place in training)):
        if others:
            left = f"{some([name or 'files beside them' for name in others])} in {folder}"
            say("%s: beside folders that are splits: left out.", left)
        kept = {name: split for name, split in named.items() if split}
        return patterns_of(
            {split: [by_first[name] for name in kept if kept[name] == split] for split in kept.values()}
        )
    if (named and not others) or all(split_of(path.stem) for path in images):
        return None  # no training split, or names of files that say what they are
    tell_merged(folder, images, depth)
    return patterns_of({"train": [images]})


def shared_folders(images: Sequence[PurePath]) -> int:
    """How many folders all images lie in, from the outermost on, that are no splits; the last one isn't counted."""
    depth = 0
    while True:
        names = {path.parts[depth] if len(path.parts) > depth + 2 else None for path in images}
        (name,) = names if len(names) == 1 else (None,)
        if name is None or split_of(name):
            return depth
        depth += 1


def has_classes(folder: Path, place: PurePath, depth: int) -> bool:
    """Whether images of a split's folder at this depth have labels: by folders of classes, or from a table beside."""
    return len(place.parts) > depth + 1 or any((folder / place / name).is_file() for name in METADATA)


def patterns_of(splits: Mapping[str, Sequence[Sequence[PurePath]]]) -> dict[str, list[str]]:
    """Patterns for the images of each split, and for what tables say of them: of each group's folder and endings."""
    found = {}
    for split, groups in splits.items():
        patterns = []
        for group in groups:
            place = PurePath(os.path.commonpath([path.parent for path in group]))
            endings = sorted({path.suffix for path in group})
            below = "" if place == PurePath() else f"{glob.escape(place.as_posix())}/"
            patterns += [f"{below}**/*{ending}" for ending in endings] + [f"{below}**/{name}" for name in METADATA]
        found[split] = patterns
    return found


def tell_merged(folder: Path, images: Sequence[PurePath], depth: int) -> None:
    """Say which classes are made of folders of the same name that lie in different ones."""
    places: dict[str, set[PurePath]] = defaultdict(set)
    for path in images:
        if len(path.parts) > depth + 2:
            places[path.parent.name].add(path.parent.parent)
    if merged := sorted(name for name, own in places.items() if len(own) > 1):
        where = some(sorted({str(place) for name in merged for place in places[name]}))
        told = f"{plural(len(merged), 'class')} ({some(merged)})"
        say("%s: the images of %s are taken together from several folders: %s.", folder, told, where)
