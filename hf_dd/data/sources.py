"""Where a data set comes from: scikit-learn's digits, IDX files, and whatever `datasets.load_dataset` reads."""

import dataclasses
import difflib
import functools
import gzip
import importlib.metadata
import json
import math
import os
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from hf_dd import hub
from hf_dd.config import IN_MEMORY, DataConfig, InMemory
from hf_dd.core import seeding
from hf_dd.core.digests import digest_over, new_digest
from hf_dd.core.progress import over, say
from hf_dd.core.text import plural
from hf_dd.data.batches import Images, in_blocks
from hf_dd.data.columns import find_columns
from hf_dd.data.decoding import decode_splits, note_of, require_room, resize
from hf_dd.data.loading import load_splits
from hf_dd.data.unpacking import MOST_UNPACKED, MOST_UNPACKED_ALWAYS
from hf_dd.errors import ConfigError, DataError, some

if TYPE_CHECKING:
    import datasets

TEST_SPLITS = ("test", "validation", "valid", "val")
FASHION_MNIST = "514d52e504140973c60ce7ce8a69e801"  # fingerprint of the original files, classes unnamed
FASHION_MNIST_CLASSES = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot".split(",")


@dataclass(frozen=True, eq=False)
class Split:
    """One split: `images` uint8 N×C×H×W, contiguous in memory or in a file, C = 1 or 3; `labels` int64 N."""

    images: Images
    labels: Tensor

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, eq=False)
class Source:
    """A data set as it was read: what it is called, where it is pinned, what its classes are, and its splits."""

    name: str
    license: str
    class_names: list[str]
    train: Split
    test: Split | None
    pin: hub.Pin | None = None
    notes: tuple[str, ...] = ()  # what was done to its images
    test_split: str = "test"  # what the second split is called


def read_source(config: DataConfig) -> Source:
    """Read the data set that `config` names; raises DataError, HubError or ConfigError, each with the way out."""
    if config.dataset.startswith(IN_MEMORY):
        return read_given(config)
    if config.dataset == "digits":
        if Path("digits").is_dir():
            say("digits is scikit-learn's data set; the folder digits is named by ./digits")
        return _at_size(read_digits(), config)
    place = hub.find(config.dataset, "dataset")
    if place is None:
        hint = " Did you mean 'digits'?" if difflib.get_close_matches(config.dataset.lower(), ["digits"]) else ""
        is_there = os.path.isfile(os.path.expanduser(config.dataset))
        what = f"{config.dataset} is a file." if is_there else f"There is no data set {config.dataset!r}.{hint}"
        raise DataError(
            f"{what} --dataset takes a Hub id (owner/name, "
            "owner/name@revision), a folder that load_dataset reads, a folder of IDX files, or 'digits'."
        )
    if not place.local:
        source = read_dataset(load_splits(place, config), config, place.path)
        return dataclasses.replace(source, pin=place.pin, license=hub.dataset_license(place.pin) or "unknown")
    if _find_idx(Path(place.path), "train-images", 3):
        return _at_size(read_idx_folder(Path(place.path)), config)
    return read_dataset(load_splits(place, config), config, place.name, Path(place.path))


def read_given(config: DataConfig) -> Source:
    """A data set that was given as an object: a `Dataset` is the training split, a `DatasetDict` is all of them."""
    if not isinstance(config.dataset, InMemory):
        raise DataError(
            f"{config.dataset} was an object of a program, and isn't named by a reference: give it again, as "
            "`dataset` in Python, or name a data set that can be read."
        )
    given, name = config.dataset.given, config.dataset.removeprefix(IN_MEMORY)
    return read_dataset(given if isinstance(given, dict) else {config.train_split: given}, config, name)


def fingerprint(split: Split, class_names: Sequence[str]) -> str:
    """32 hex digits over shape, pixels, labels and class names; equal data give equal digits on every machine."""
    digest = new_digest(json.dumps([list(split.images.shape), list(class_names)]).encode())
    for block in over(in_blocks(split.images), "fingerprint", len(split), "image", len):
        digest.update(block.cpu().contiguous().numpy())
    digest.update(split.labels.cpu().numpy().astype("<i8"))
    return digest.hexdigest()


def labelling(labels: Tensor, class_names: Sequence[str]) -> str:
    """32 hex digits over the labels and class names alone."""
    return digest_over([json.dumps(list(class_names)).encode(), labels.cpu().numpy().astype("<i8")])


def index_classes(
    values: dict[str, Sequence[Any]], names: Sequence[str] | None = None
) -> tuple[list[str], list[Tensor]]:
    """Labels as they are stored (numbers or texts), per split, as class names and int64 class indices.

    The first split is the training split. With `names`, the stored label i is the class names[i]; without, the sorted
    labels of the training split are the classes. A blank name becomes `class` and its number. Raises DataError for an
    empty split, for labels that are missing (None or -1) or unknown, and for a class without a training image.
    """
    train = next(iter(values.values()))
    known = range(len(names)) if names is not None else sorted({value for value in train if value is not None})
    class_names = [str(name) if str(name).strip() else f"class {i}" for i, name in enumerate(names or known)]
    index = {value: i for i, value in enumerate(known)}
    labels = [_index_labels(split, index, name) for name, split in values.items()]
    counts = torch.bincount(labels[0], minlength=len(class_names)).tolist()
    if empty := [name for name, count in zip(class_names, counts, strict=True) if count == 0]:
        for split, own in zip([*values][1:], labels[1:], strict=True):
            if shown := [name for name in empty if class_names.index(name) in own.unique().tolist()]:
                raise DataError(
                    f"Split {split!r} has images of {plural(len(shown), 'class')} of which the training split has "
                    f"none: {some(shown)}. Add training images of them, or remove them there."
                )
        raise DataError(
            f"{len(empty)} of the {len(class_names)} classes have no training image: {some(empty)}. Give them some, "
            "or leave them out: remove empty folders, or save labels as texts, which are classes where they occur."
        )
    return class_names, labels


def _index_labels(values: Sequence[Any], index: dict[Any, int], split: str) -> Tensor:
    if not values:
        raise DataError(f"Split {split!r} holds no image.")
    if missing := sum(value is None or value == -1 for value in values):
        raise DataError(
            f"{missing} of the {len(values)} images of split {split!r} have no label (None or -1). Remove them, or "
            "choose a labelled split with --train_split or --test_split."
        )
    if unknown := Counter(value for value in values if value not in index):
        raise DataError(
            f"{unknown.total()} labels of split {split!r} ({some(sorted(unknown))}) are none of the {len(index)} "
            "classes of the training split."
        )
    return torch.tensor([index[value] for value in values], dtype=torch.int64)


def _at_size(source: Source, config: DataConfig) -> Source:
    """A source that has no columns or splits to choose, at the size asked for; such a choice raises ConfigError."""
    fixed = DataConfig(dataset=config.dataset, test_split=config.test_split and "test")
    for name in ("dataset_config", "image_column", "label_column", "train_split", "test_split"):
        if getattr(config, name) != getattr(fixed, name):
            raise ConfigError(f"--{name} has no meaning for {config.dataset}, which has one form only; leave it out.")
    if config.image_size is None and config.test_resize is None:
        return source
    height, width = source.train.images.shape[2:]
    target = (width, height) if config.image_size is None else (config.image_size, config.image_size)
    require_room(config.test_resize, target)
    train = Split(resize(source.train.images, target), source.train.labels)
    test = source.test and Split(resize(source.test.images, target, config.test_resize), source.test.labels)
    notes = (note_of(config.test_resize),) if test and config.test_resize else ()
    return dataclasses.replace(source, train=train, test=test, notes=notes)


# --- scikit-learn's digits


def read_digits() -> Source:
    """The 1,797 handwritten 8×8 digits of scikit-learn, 0…16 scaled to 0…255, each class split 80/20, always alike.

    The permutation is our own, so that the split doesn't depend on the version of scikit-learn.
    """
    rows = digits_rows()
    images = torch.from_numpy(np.rint(rows[:, :-1] * (255 / 16)).astype(np.uint8)).view(-1, 1, 8, 8)
    labels = torch.from_numpy(rows[:, -1].astype(np.int64))
    in_test = torch.zeros(len(labels), dtype=torch.bool)
    for label in range(10):
        members = (labels == label).nonzero().flatten()
        order = torch.randperm(len(members), generator=seeding.generator(0, "digits split", label))
        in_test[members[order[: round(len(members) / 5)]]] = True
    train, test = (Split(images[chosen], labels[chosen]) for chosen in (~in_test, in_test))
    return Source("digits", "cc-by-4.0", [str(label) for label in range(10)], train, test)


@functools.cache
def digits_rows() -> np.ndarray:
    """Scikit-learn's digits, float64 (1797, 65): 64 pixels of 0 … 16, and the label.

    Read once, from the file within its distribution: importing `sklearn.datasets` takes a second longer.
    """
    path = importlib.metadata.distribution("scikit-learn").locate_file("sklearn/datasets/data/digits.csv.gz")
    if Path(path).is_file():
        return np.loadtxt(path, delimiter=",")
    from sklearn.datasets import load_digits

    return np.column_stack(load_digits(return_X_y=True))


# --- IDX files, the format of MNIST


def read_idx_folder(folder: Path) -> Source:
    """MNIST's four files, gzipped or not (both t10k ones may be absent); Fashion-MNIST is recognised by its pixels."""
    prefixes = ["train", "t10k"] if any(folder.glob("t10k-*[-.]idx*")) else ["train"]
    images, values = zip(*(_read_idx_pair(folder, prefix) for prefix in prefixes), strict=True)
    class_names, labels = index_classes(dict(zip(prefixes, values, strict=True)))
    train, test, *_ = *map(Split, images, labels), None
    if fingerprint(train, class_names) == FASHION_MNIST:
        return Source("Fashion-MNIST", "mit", list(FASHION_MNIST_CLASSES), train, test)
    return Source(folder.resolve().name, "unknown", class_names, train, test)


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """The uint8 array in an IDX file of this many dimensions; raises DataError where the file isn't one.

    The header: two zero bytes, the type (8: unsigned byte), the number of dimensions, each length as big-endian
    uint32.
    """
    magic, start = bytes((0, 0, 8, dimensions)), 4 + 4 * dimensions
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            header = file.read(start)
            if header[:4] != magic or len(header) < start:
                raise DataError(
                    f"{path} isn't an IDX file of {dimensions}-dimensional unsigned bytes: it begins with "
                    f"{header[:4].hex()!r}, not {magic.hex()!r}, or ends in its header."
                )
            shape = tuple(np.frombuffer(header, ">u4", dimensions, offset=4).tolist())
            most = max(MOST_UNPACKED_ALWAYS, path.stat().st_size * MOST_UNPACKED)
            content = file.read(min(math.prod(shape), most) + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} can't be read: {error}") from error
    if len(content) != math.prod(shape) or 0 in shape:
        more = " or more" if len(content) > min(math.prod(shape), most) else ""
        raise DataError(f"{path} declares {shape}, but {len(content)} bytes{more} follow its header.")
    return np.frombuffer(bytearray(content), np.uint8).reshape(shape)


def _find_idx(folder: Path, stem: str, dimensions: int) -> Path | None:
    """The file of this stem, written with '-' or '.' before idx; unpacked rather than gzipped."""
    found = sorted(folder.glob(f"{stem}[-.]idx{dimensions}-ubyte*"))
    return next((path for ending in ("-ubyte", ".gz") for path in found if path.name.endswith(ending)), None)


def _read_idx_pair(folder: Path, prefix: str) -> tuple[Tensor, list[int]]:
    arrays = []
    for kind, dimensions in (("images", 3), ("labels", 1)):
        path = _find_idx(folder, f"{prefix}-{kind}", dimensions)
        if path is None:
            raise DataError(f"{folder} lacks {prefix}-{kind}-idx{dimensions}-ubyte(.gz).")
        arrays.append(read_idx(path, dimensions))
    images, labels = arrays
    if len(images) != len(labels):
        raise DataError(f"{folder} has {len(images)} images in {prefix}-images, but {len(labels)} labels.")
    return torch.from_numpy(images).unsqueeze(1), labels.tolist()


# --- whatever `datasets` reads


def read_dataset(splits: "datasets.DatasetDict", config: DataConfig, name: str, folder: Path | None = None) -> Source:
    """The training and test split of a loaded data set as tensors; columns and splits are found where not named.

    `folder` is where it lies, if in one: what the images in it lack is said of its files.
    """
    chosen = _choose_splits(splits, config)
    features = chosen[config.train_split].features
    image_column, label_column = find_columns(features, config, folder)
    for split, dataset in chosen.items():
        if any(dataset.features.get(column) != features[column] for column in (image_column, label_column)):
            raise DataError(
                f"Split {split!r} has other columns or classes than {config.train_split!r}: save both with the same "
                "features, as by split.cast(other.features)."
            )
    class_names, labels = index_classes(  # before the images: they take longer
        {split: _stored_labels(dataset, label_column) for split, dataset in chosen.items()},
        getattr(features[label_column], "names", None),
    )
    images, notes = decode_splits(
        chosen, image_column, config.image_size, config.image_memory_gb * 2**30, name, config.test_resize
    )
    train, test, *_ = *map(Split, images.values(), labels), None
    called = {"test_split": list(chosen)[-1]} if test else {}
    return Source(name, "unknown", class_names, train, test, notes=tuple(notes), **called)


def _stored_labels(dataset: "datasets.Dataset", column: str) -> list[Any]:
    """A column of labels; whole numbers that are stored as floats, as pandas does, are whole numbers."""
    values = dataset.with_format("arrow")[column][:].to_pylist()
    if "float" not in getattr(dataset.features[column], "dtype", ""):
        return values
    if fractions := [value for value in values if not (value is None or value != value or value % 1 == 0)]:
        raise DataError(
            f"Column {column!r} holds fractions, such as {fractions[0]:g}, where labels are names or whole numbers: "
            "name another one with --label_column."
        )
    return [None if value is None or value != value else int(value) for value in values]


def _choose_splits(splits: "datasets.DatasetDict", config: DataConfig) -> "dict[str, datasets.Dataset]":
    """The training split, then the test split if there is one."""
    test_split = config.test_split
    if test_split is None:
        test_split = next((name for name in TEST_SPLITS if name in splits and name != config.train_split), None)
    chosen = {"train_split": config.train_split, "test_split": test_split}
    for option, name in chosen.items():
        if name is not None and name not in splits:
            raise DataError(f"There is no split {name!r}; there are: {', '.join(splits)}. Name one with --{option}.")
    return {name: as_stored(splits[name]) for name in chosen.values() if name is not None}


def as_stored(split: "datasets.Dataset") -> "datasets.Dataset":
    """A split as its rows are stored, without a transform or a format of its user's."""
    return split if split.format["type"] is None else split.with_format(None)
