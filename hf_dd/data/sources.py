"""Where a data set comes from: scikit-learn's digits, IDX files, and whatever `datasets.load_dataset` reads."""

import dataclasses
import difflib
import gzip
import hashlib
import importlib.metadata
import json
import math
import os
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import yaml
from torch import Tensor

from hf_dd import hub
from hf_dd.config import IN_MEMORY, DataConfig, InMemory
from hf_dd.core import seeding
from hf_dd.data.batches import Images, in_blocks
from hf_dd.data.decoding import decode_splits, resize
from hf_dd.errors import ConfigError, DataError, HfDdError, some

if TYPE_CHECKING:
    import datasets

ABOUT = ("README.md", ".huggingface.yaml", "dataset_infos.json")  # what says which files a repository's splits are
ELSEWHERE = re.compile(r"(^|/)\.|^/|:")  # in a pattern of files that isn't one of names below a folder alone
SAVED = ("dataset_dict.json", "state.json")  # of `save_to_disk`, in a folder
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif"}
LABEL_NAMES = ("label", "labels", "target", "targets", "class", "category", "fine_label")
TEST_SPLITS = ("test", "validation", "valid", "val")
# Bytes of images that a byte of a gzipped file may become, beyond so many: real ones come to 10.
MOST_UNPACKED, MOST_UNPACKED_ALWAYS = 100, 2**28
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


def read_source(config: DataConfig) -> Source:
    """Read the data set that `config` names; raises DataError, HubError or ConfigError, each with the way out."""
    if config.dataset.startswith(IN_MEMORY):
        return read_given(config)
    if config.dataset == "digits":
        return _at_size(read_digits(), config)
    place = hub.find(config.dataset, "dataset")
    if place is None:
        hint = " Did you mean 'digits'?" if difflib.get_close_matches(config.dataset.lower(), ["digits"]) else ""
        raise DataError(
            f"There is no data set {config.dataset!r}.{hint} --dataset takes a Hub id (owner/name, "
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
    digest = hashlib.blake2b(json.dumps([list(split.images.shape), list(class_names)]).encode(), digest_size=16)
    for block in in_blocks(split.images):
        digest.update(block.contiguous().numpy())
    digest.update(split.labels.numpy().astype("<i8"))
    return digest.hexdigest()


def labelling(labels: Tensor, class_names: Sequence[str]) -> str:
    """32 hex digits over the labels and class names alone."""
    digest = hashlib.blake2b(json.dumps(list(class_names)).encode(), digest_size=16)
    digest.update(labels.numpy().astype("<i8"))
    return digest.hexdigest()


def index_classes(
    values: dict[str, Sequence[Any]], names: Sequence[str] | None = None
) -> tuple[list[str], list[Tensor]]:
    """Labels as they are stored (numbers or texts), per split, as class names and int64 class indices.

    The first split is the training split. With `names`, the stored label i is the class names[i]; without, the sorted
    labels of the training split are the classes. Raises DataError for an empty split, for labels that are missing
    (None or -1) or unknown, and for a class without a training image.
    """
    train = next(iter(values.values()))
    known = range(len(names)) if names is not None else sorted({value for value in train if value is not None})
    class_names = [str(name) for name in names or known]
    index = {value: i for i, value in enumerate(known)}
    labels = [_index_labels(split, index, name) for name, split in values.items()]
    counts = torch.bincount(labels[0], minlength=len(class_names)).tolist()
    if empty := [name for name, count in zip(class_names, counts, strict=True) if count == 0]:
        raise DataError(f"{len(empty)} of the {len(class_names)} classes have no training image: {some(empty)}.")
    return class_names, labels


def _index_labels(values: Sequence[Any], index: dict[Any, int], split: str) -> Tensor:
    if not values:
        raise DataError(f"Split {split!r} holds no image.")
    if missing := sum(value is None or value == -1 for value in values):
        raise DataError(
            f"{missing} of the {len(values)} images of split {split!r} have no label (None or -1). Choose a labelled "
            "split with --train_split or --test_split."
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
    if config.image_size is None:
        return source
    train, test = (
        split and Split(resize(split.images, config.image_size), split.labels) for split in (source.train, source.test)
    )
    return dataclasses.replace(source, train=train, test=test)


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


def digits_rows() -> np.ndarray:
    """Scikit-learn's digits, float64 (1797, 65): 64 pixels of 0 … 16, and the label.

    Read from the file within its distribution: importing `sklearn.datasets` takes a second longer.
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
            raise DataError(f"Split {split!r} has other columns or classes than {config.train_split!r}.")
    class_names, labels = index_classes(  # before the images: they take longer
        {split: _stored_labels(dataset, label_column) for split, dataset in chosen.items()},
        getattr(features[label_column], "names", None),
    )
    images, notes = decode_splits(chosen, image_column, config.image_size, config.image_memory_gb * 2**30, name)
    train, test, *_ = *map(Split, images.values(), labels), None
    return Source(name, "unknown", class_names, train, test, notes=tuple(notes))


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


def find_columns(features: "datasets.Features", config: DataConfig, folder: Path | None = None) -> tuple[str, str]:
    """The image and the label column: those named, else found by type, the label else by name; raises DataError."""
    import datasets

    def is_image(feature: Any) -> bool:  # a parquet file written without datasets has the bare struct
        return isinstance(feature, datasets.Image) or (isinstance(feature, dict) and set(feature) == {"bytes", "path"})

    def is_drawn(feature: Any) -> bool:  # bytes of files, or pixels
        arrays = isinstance(feature, (datasets.Array2D, datasets.Array3D)) and feature.dtype == "uint8"
        return arrays or (isinstance(feature, datasets.Value) and "binary" in feature.dtype)

    def is_discrete(feature: Any) -> bool:
        kind = feature.dtype if isinstance(feature, datasets.Value) else ""
        known = any(each in kind for each in ("int", "string", "float", "bool"))
        return isinstance(feature, datasets.ClassLabel) or known

    drawn = [name for name, feature in features.items() if is_drawn(feature)]
    images = [name for name, feature in features.items() if is_image(feature)] or drawn
    discrete = [name for name, feature in features.items() if is_discrete(feature)]
    labels = [name for name in discrete if isinstance(features[name], datasets.ClassLabel)]
    labels = labels or [name for name in discrete if name in LABEL_NAMES]
    return (
        _one_column("image", config.image_column, images, [*images, *drawn], features),
        _one_column("label", config.label_column, labels, discrete, features, folder),
    )


def _one_column(
    kind: str,
    asked: str | None,
    found: list[str],
    allowed: list[str],
    features: dict[str, Any],
    folder: Path | None = None,
) -> str:
    if asked is None and len(found) == 1:
        return found[0]
    if asked in allowed:
        return asked
    if asked is None:
        problem = f"{len(found) or 'No'} columns look like {kind}s"
    else:
        problem = f"Column {asked!r} doesn't hold {kind}s" if asked in features else f"There is no column {asked!r}"
    columns = ", ".join(f"{name} ({getattr(f, 'dtype', type(f).__name__)})" for name, f in features.items())
    ways = [f"Name one with --{kind}_column."]
    ways += [_way_out(kind, name, features[name]) for name in ([asked] if asked in features else features)]
    if kind == "label" and folder and not allowed:
        ways.append(_class_folders(folder))
    raise DataError(" ".join(filter(None, (f"{problem}; the columns are {columns}.", *ways))))


def _way_out(kind: str, name: str, feature: Any) -> str:
    """What to do with a column that holds images or labels in a form that isn't read; "" if nothing is to be done."""
    import datasets

    many = isinstance(feature, (list, datasets.List, datasets.LargeList))
    if kind == "label" and many:
        return (
            f"{name!r} holds lists, where an image has one label: choose it, as in dataset.map(lambda row: "
            f"{{'label': row[{name!r}][0]}}, remove_columns={name!r}), and save that."
        )
    if kind == "image" and (many or isinstance(feature, (datasets.Array2D, datasets.Array3D))):
        return (
            f"{name!r} holds numbers that don't say which of them is white: save them as images or as "
            "datasets.Array3D((height, width, channels), 'uint8'), 0 … 255."
        )
    if kind == "image" and isinstance(feature, datasets.Value) and "string" in feature.dtype:
        return f"If {name!r} holds paths of image files, save dataset.cast_column({name!r}, datasets.Image()) instead."
    return ""


def _class_folders(folder: Path) -> str:
    """Why the images of a folder have no labels: `datasets` takes them from folders, if all lie equally deep."""
    images = [path.relative_to(folder) for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES]
    depths = Counter(len(path.parts) for path in images)
    if not images:
        return ""
    if len(depths) > 1:
        deepest = max(depths)
        loose = sorted(str(path) for path in images if len(path.parts) < deepest)
        return f"Its images take their labels from folders, but {some(loose)} lie beside these: move them away."
    return "Its images take their labels from folders: it needs one for each class, and two of them at least."


def _choose_splits(splits: "datasets.DatasetDict", config: DataConfig) -> "dict[str, datasets.Dataset]":
    """The training split, then the test split if there is one."""
    test_split = config.test_split
    if test_split is None:
        test_split = next((name for name in TEST_SPLITS if name in splits and name != config.train_split), None)
    chosen = {"train_split": config.train_split, "test_split": test_split}
    for option, name in chosen.items():
        if name is not None and name not in splits:
            raise DataError(f"There is no split {name!r}; there are: {', '.join(splits)}. Name one with --{option}.")
    return {name: splits[name] for name in chosen.values() if name is not None}


def load_splits(place: hub.Place, config: DataConfig) -> "datasets.DatasetDict":
    """All splits of a folder or of a repository; every error of `datasets` becomes one clear line.

    Of a repository the files of its pinned commit are pulled and read as a folder: given its name, `datasets` would
    take whatever commit lies in its cache where the Hub is out of reach.
    """
    import datasets

    path, pin = place.path, place.pin
    what = f"Data set {pin or path}"
    if place.local:  # a name like 'text' alone would be that of a reader
        path = str(Path(path).resolve())
        require_readable(path)
    try:
        if pin:
            return load_pinned(pin, config.dataset_config)
        if any((Path(path) / name).is_file() for name in SAVED):
            saved = datasets.load_from_disk(path)
            return saved if isinstance(saved, dict) else datasets.DatasetDict({str(saved.split or "train"): saved})
        return datasets.load_dataset(path, config.dataset_config)
    except HfDdError:
        raise
    except Exception as error:  # its readers raise nearly anything
        cause = error.__cause__ if isinstance(error, datasets.exceptions.DatasetGenerationError) else None
        text = " ".join(str(cause or error).split())[:400] or type(error).__name__
        hint = " Name one with --dataset_config." if "config" in text.lower() else ""
        if isinstance(error, yaml.YAMLError) or "metadata block" in text:
            hint = " Mend the YAML between three dashes at the top of its README.md, or remove that file."
        raise DataError(f"{what} can't be read: {text}{hint}") from error


def load_pinned(pin: hub.Pin, configuration: str | None) -> "datasets.DatasetDict":
    """All splits of a repository at a commit, as `load_dataset(id, configuration, revision=sha)` gives them.

    Raises HubError, DataError for files that the commit doesn't hold, and what `datasets` raises.
    """
    import datasets

    script = f"{pin.repo_id.partition('/')[2]}.py"
    folder = hub.pull(pin, "dataset", [*ABOUT, script])
    if (folder / script).is_file():
        raise DataError(f"Data set {pin} is read by a script of its own, {script}, and none is run.")
    hub.pull(pin, "dataset", files_of(folder, configuration), without=SAVED)
    builder = datasets.load_dataset_builder(str(folder), configuration)
    for files in (builder.config.data_files or {}).values():
        for file in files:
            if not Path(os.path.normpath(file.split("::")[-1])).is_relative_to(folder):
                raise DataError(
                    f"Data set {pin} reads {file}, which isn't in its repository, so that its commit doesn't pin it. "
                    "Name the repository that holds the files."
                )
    builder.download_and_prepare()
    return builder.as_dataset()


def files_of(folder: Path, configuration: str | None) -> list[str] | None:
    """Glob patterns of what a configuration needs of a repository whose card lies in a folder; None for all files.

    Those of the first configuration are among them, as `datasets` tells the form of all by it.
    """
    listed = hub.front_matter(folder).get("configs")
    if not listed or any((folder / name).is_file() for name in ABOUT[1:]):
        return None
    named = {each["config_name"]: each for each in listed}
    default = next((name for name, each in named.items() if each.get("default") or name == "default"), None)
    needed = [each for name, each in named.items() if name in (next(iter(named)), configuration or default)]
    patterns = [pattern for each in needed for pattern in texts_of(each.get("data_files"))]
    simple = all(each.get("data_files") for each in needed) and not any(map(ELSEWHERE.search, patterns))
    return [*ABOUT, *patterns] if simple else None


def texts_of(value: Any) -> list[str]:
    """The patterns in a card's `data_files`: a text, a list of such, or splits with the path of each."""
    if isinstance(value, dict):
        return texts_of(value["path"] if "path" in value else list(value.values()))
    return [value] if isinstance(value, str) else [text for each in value or () for text in texts_of(each)]


def require_readable(path: str) -> None:
    """Raise DataError where `datasets` would read other files than those of a folder, or pass over some."""
    if found := [sign for sign in ("[", "]", "*", "?", "::", "://") if sign in path]:
        raise DataError(
            f"{path} can't be read: load_dataset takes {' '.join(found)} in a path for a pattern. Move it to a path "
            "without."
        )
    for place, _, names in os.walk(path):
        below = os.path.relpath(place, path)
        passed_over = "\n" in below or any(part.startswith("__") for part in below.split(os.sep))
        for name in names:
            if (passed_over or "\n" in name) and name[0] != "." and Path(name).suffix.lower() in IMAGE_SUFFIXES:
                raise DataError(
                    f"{path} holds {os.path.join(below, name)!r}, which load_dataset passes over: names with line "
                    "breaks, and of folders with two underscores before them. Give it another name, or remove it."
                )
