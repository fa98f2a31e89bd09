"""Where a data set comes from: the Hub, a folder, a program, or forms of its own; read by `load_dataset` or by us."""

import dataclasses
import difflib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_dd import hub
from hf_dd.config import IN_MEMORY, DataConfig, InMemory
from hf_dd.core.progress import say
from hf_dd.data.columns import find_columns
from hf_dd.data.decoding import decode_splits, note_of, require_room, resize
from hf_dd.data.fixed_forms import find_idx, read_digits, read_idx_folder
from hf_dd.data.loading import load_splits
from hf_dd.data.splits import Source, Split, index_classes
from hf_dd.errors import ConfigError, DataError

if TYPE_CHECKING:
    import datasets

TEST_SPLITS = ("test", "validation", "valid", "val")


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
    if find_idx(Path(place.path), "train-images", 3):
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


def _at_size(source: Source, config: DataConfig) -> Source:
    """A source that has no columns or splits to choose, at the size asked for; such a choice raises ConfigError."""
    either = {"test_split": config.test_split and "test"} if source.test else {"test_share": config.test_share}
    fixed = DataConfig(dataset=config.dataset, **either)
    for name in ("dataset_config", "image_column", "label_column", "train_split", "test_split", "test_share"):
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
    called |= {"train_split": config.train_split}
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
    if test_split is None and config.test_share is None:
        test_split = next((name for name in TEST_SPLITS if name in splits and name != config.train_split), None)
    chosen = {"train_split": config.train_split, "test_split": test_split}
    for option, name in chosen.items():
        if name is not None and name not in splits:
            raise DataError(f"There is no split {name!r}; there are: {', '.join(splits)}. Name one with --{option}.")
    return {name: as_stored(splits[name]) for name in chosen.values() if name is not None}


def as_stored(split: "datasets.Dataset") -> "datasets.Dataset":
    """A split as its rows are stored, without a transform or a format of its user's."""
    return split if split.format["type"] is None else split.with_format(None)
