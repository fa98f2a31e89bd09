"""Distilled sets that are image files or rows: a folder of images for each class, or what `load_dataset` reads.

A folder and a repository of the Hub are read alike. Images of several sizes are brought to that of most of them, or to
`--image_size`, by the rule by which real images are: scaled until they cover it, and cut at the centre.
"""

import re
from pathlib import Path

import torch
from torch import Tensor

from hf_dd import hub
from hf_dd.config import DataConfig, ImportConfig
from hf_dd.data.batches import Images
from hf_dd.data.columns import IMAGE_SUFFIXES
from hf_dd.data.sources import read_dataset, read_source
from hf_dd.errors import DataError, some
from hf_dd.importing.foreign_set import ForeignSet

ROWS = (".parquet", ".arrow", ".csv", ".json", ".jsonl", ".tar", ".zip", ".gz", ".tgz")  # what `datasets` has to read


def read_images(place: hub.Place, config: ImportConfig) -> ForeignSet:
    """The set that lies there, as images by class or as rows; raises DataError or HubError, each with the way out."""
    folder = Path(place.path) if place.local else pulled_images(place)
    if folder is not None and config.format in ("auto", "images"):
        classes = class_folders(folder, config.set_split)
        if images_by_class(classes):
            name = str(classes) if place.local else place.name
            return read_image_folder(classes, name, config, place.pin and place.pin.reference)
        if config.format == "images":
            raise DataError(f"{place.name} has no folder of images for each class.")
    return read_rows(config)


def pulled_images(place: hub.Place) -> Path | None:
    """A folder of a repository's images, if it is made of these alone; None where rows, or a script, hold them."""
    names = [Path(name) for name in hub.list_files(place.pin, "dataset")]
    suffixes = {name.suffix.lower() for name in names}
    by_class = any(name.suffix.lower() in IMAGE_SUFFIXES and len(name.parts) > 1 for name in names)
    if not by_class or suffixes & {*ROWS, ".py"}:
        return None
    found = sorted({f"*{name.suffix}" for name in names if name.suffix.lower() in IMAGE_SUFFIXES})
    return hub.pull(place.pin, "dataset", found)


def class_folders(root: Path, split: str) -> Path:
    """The folder that holds a folder for each class: this one, the one of the split below it, or its only one.

    Raises DataError where there are several below it and none is the split's.
    """
    if images_by_class(root):
        return root
    below = [path for path in sorted(root.iterdir()) if path.is_dir() and images_by_class(path)]
    if len(below) > 1 and (named := [path for path in below if path.name == split]):
        below = named
    if len(below) > 1:
        raise DataError(
            f"{root} holds several folders of images by class ({some([path.name for path in below])}): name one by "
            "--set_split, or give its own path."
        )
    return below[0] if below else root


def images_by_class(folder: Path) -> dict[str, list[str]]:
    """The image files of each subfolder that holds some, both sorted by name as torchvision sorts them."""
    found: dict[str, list[str]] = {}
    for path in sorted(folder.glob("*/*"), key=lambda path: (path.parent.name, path.name)):
        if path.suffix.lower() in IMAGE_SUFFIXES:
            found.setdefault(path.parent.name, []).append(str(path))
    return found


def read_image_folder(folder: Path, name: str, config: ImportConfig, pin: str | None = None) -> ForeignSet:
    """The images of each class folder; `load_dataset` would take a class called 'test' or 'train' for a split."""
    import datasets

    classes = images_by_class(folder)
    labels = [label for label, paths in classes.items() for _ in paths]
    rows = datasets.Dataset.from_dict(
        {"image": [path for paths in classes.values() for path in paths], "label": labels},
        features=datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(classes))}),
    )
    try:
        source = read_dataset(datasets.DatasetDict(train=rows), DataConfig(image_size=config.image_size), folder.name)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    about = {"class_names": source.class_names, "notes": source.notes, "pin": pin}
    return ForeignSet(name, "images", in_memory(source.train.images), source.train.labels, **about)


def read_rows(config: ImportConfig) -> ForeignSet:
    """Images and labels of a data set's one split; no other one is looked at."""
    options = {"image_column": config.set_image_column, "label_column": config.set_label_column}
    options |= {"train_split": config.set_split, "test_split": config.set_split, "image_size": config.image_size}
    options |= {"dataset_config": config.set_config}
    try:
        source = read_source(DataConfig(config.foreign_set, **options))
    except DataError as error:  # it speaks of the options of a source
        text = re.sub(r"--(image_column|label_column)", r"--set_\1", str(error))
        text = re.sub("--train_split( or --test_split)?", "--set_split", text)
        raise DataError(text.replace("--dataset_config", "--set_config")) from error
    pin = source.pin and source.pin.reference
    pixels, labels = in_memory(source.train.images), source.train.labels
    about = {"class_names": source.class_names, "pin": pin, "notes": source.notes}
    return ForeignSet(config.foreign_set, "dataset", pixels, labels, **about)


def in_memory(images: Images) -> Tensor:
    """Images as one tensor."""
    return images if isinstance(images, Tensor) else images[torch.arange(len(images))]
