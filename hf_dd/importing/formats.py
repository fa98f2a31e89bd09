"""Distilled sets as other tools release them: every format becomes one set in memory, its pixels as they were stored.

    dc       DC, DSA, DM (Zhao & Bilen): a dict with `data`, one [images, labels] for each experiment
    mtt      MTT, TESLA, DATM: images_X.pt and labels_X.pt (hard or soft), maybe lr_X.pt
    idc      IDC (Kim et al.): [images, labels], or a dict of both
    images   SRe2L, RDED: a folder of image files for each class
    dataset  whatever `load_dataset` reads

A .pt file is a pickle. It is read without ever running what it says: tensors, containers and numbers come out, and a
file that asks for more is refused.
"""

import dataclasses
import hashlib
import math
import pickle
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hf_dd import hub
from hf_dd.config import ImportConfig
from hf_dd.config.base import is_default
from hf_dd.errors import ConfigError, DataError, some
from hf_dd.importing import image_sets
from hf_dd.importing.foreign_set import ForeignSet

MOST_EXPANDED = 2**20  # bytes of a tensor that repeats what it stores
IMAGE_KEYS, LABEL_KEYS = ("data", "images", "image"), ("targets", "target", "labels", "label")


OF_FORMATS = {  # the formats of which an option says something
    "experiment": ("dc",),
    "labels_file": ("mtt",),
    "learning_rate_file": ("mtt",),
    "soft_labels": ("dc", "mtt", "idc"),
    "set_split": ("images", "dataset"),
    "set_config": ("dataset",),
    "set_image_column": ("dataset",),
    "set_label_column": ("dataset",),
}


def read_foreign(config: ImportConfig) -> ForeignSet:
    """The set that `config.foreign_set` names; raises DataError, HubError or ConfigError, each with the way out."""
    foreign = _read(config)
    options = {option.name: option for option in dataclasses.fields(config)}
    for name, forms in OF_FORMATS.items():
        if foreign.format not in forms and not is_default(options[name], getattr(config, name)):
            raise ConfigError(
                f"--{name} says something of sets in the format {' or '.join(forms)}, and {config.foreign_set} was "
                f"read as {foreign.format}: leave it out."
            )
    return foreign


def _read(config: ImportConfig) -> ForeignSet:
    path = Path(config.foreign_set).expanduser()
    form = config.format
    if path.is_file():
        return _read_file(path, config)
    if path.is_dir():
        if form == "mtt" or (form == "auto" and any(path.glob("images_*.pt"))):
            return _read_file(_images_file(path), config)
        images = image_sets.images_by_class(image_sets.class_folders(path, config.set_split))
        if form == "auto" and not images and (files := sorted(map(str, path.rglob("*.pt")))):
            raise DataError(f"{path} holds no set as a folder: name the one file of the set among {some(files)}.")
    place = hub.find(config.foreign_set, "dataset")
    if place is None:
        raise DataError(
            f"There is no distilled set {config.foreign_set!r}: give a .pt file, a folder of .pt files or of images, "
            "or a data set that load_dataset reads."
        )
    if form not in ("auto", "dataset", "images"):
        raise ConfigError(f"--format {form} doesn't go with {config.foreign_set}, which is no file of tensors.")
    found = image_sets.read_images(place, config)
    return dataclasses.replace(found, learning_rate=config.learned_learning_rate)


# --- files of tensors


def _read_file(path: Path, config: ImportConfig) -> ForeignSet:
    if path.suffix in (".npz", ".npy"):
        entries = ["a['images']", "a['labels']"] if path.suffix == ".npz" else ["a", "labels"]
        raise DataError(
            f"{path} is a file of numpy, which isn't read: save its images and labels as tensors, as in "
            f"a = np.load({str(path)!r}); torch.save([torch.tensor(x) for x in ({', '.join(entries)})], 'set.pt')"
        )
    content = load_tensors(path)
    form = _format_of(content, path) if config.format == "auto" else config.format
    if form not in ("dc", "mtt", "idc"):
        raise ConfigError(f"--format {form} doesn't go with {path}, which is a file.")
    try:
        return {"dc": _read_dc, "mtt": _read_mtt, "idc": _read_idc}[form](content, path, config)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise DataError(
            f"{path} isn't laid out like the format '{form}' ({type(error).__name__}: {error}): name another --format."
        ) from error


def _format_of(content: Any, path: Path) -> str:
    if isinstance(content, Tensor):
        return "mtt"
    if isinstance(content, Mapping) and isinstance(content.get("data"), (list, tuple)):
        return "dc"
    if isinstance(content, Mapping) and any(isinstance(content.get(key), Tensor) for key in IMAGE_KEYS):
        return "idc"
    if isinstance(content, (list, tuple)) and len(content) == 2 and all(isinstance(x, Tensor) for x in content):
        return "idc"
    raise DataError(
        f"{path} holds {_shape_of(content)}, which is none of the known formats: a dict with `data` (DC, DSA, DM), a "
        "tensor of images (MTT, TESLA, DATM), or [images, labels] (IDC)."
    )


def _shape_of(content: Any) -> str:
    if isinstance(content, Mapping):
        return f"a dict of {', '.join(map(repr, list(content)[:8])) or 'nothing'}"
    if isinstance(content, (list, tuple)):
        return f"a {type(content).__name__} of {len(content)}"
    return f"a {type(content).__name__}"


def _read_dc(content: Any, path: Path, config: ImportConfig) -> ForeignSet:
    """{'data': [[images, labels], …], 'accs_all_exps': {architecture: [accuracy, …]}}, a pair for each experiment."""
    experiments = content["data"]
    if config.experiment >= len(experiments):
        raise ConfigError(f"--experiment is {config.experiment}, and {path} holds {len(experiments)}, counted from 0.")
    images, labels = experiments[config.experiment][:2]
    recorded = content.get("accs_all_exps") or {}
    accuracies = {
        str(key): [float(value) for value in values if math.isfinite(value)]
        for key, values in recorded.items()
        if len(values)
    }
    if any(1 < value <= 100 for values in accuracies.values() for value in values):  # percent
        accuracies = {key: [value / 100 for value in values] for key, values in accuracies.items()}
    accuracies = {key: found for key, values in accuracies.items() if (found := [x for x in values if 0 <= x <= 1])}
    return _tensor_set("dc", {path: images}, labels, config, accuracies=accuracies)


def _read_idc(content: Any, path: Path, config: ImportConfig) -> ForeignSet:
    """[images, labels], or a dict that names them."""

    def entry(keys: Sequence[str]) -> Any:
        if found := [content[key] for key in keys if key in content]:
            return found[0]
        raise DataError(f"{path} holds {_shape_of(content)}; an import needs one of {', '.join(keys)}.")

    images, labels = map(entry, (IMAGE_KEYS, LABEL_KEYS)) if isinstance(content, Mapping) else content
    return _tensor_set("idc", {path: images}, labels, config)


def _read_mtt(images: Any, path: Path, config: ImportConfig) -> ForeignSet:
    """A tensor of images; labels and learning rate lie beside it, under the names that the authors' code gives."""
    number = re.sub(r"^images_(zca_)?", "", path.name)
    beside = {kind: path.with_name(f"{kind}_{number}") for kind in ("labels", "lr")}
    labels_file = Path(config.labels_file).expanduser() if config.labels_file else beside["labels"]
    if not labels_file.is_file():
        raise DataError(f"{path} holds images alone, and there is no {labels_file}: name its labels by --labels_file.")
    rate_file = Path(config.learning_rate_file).expanduser() if config.learning_rate_file else beside["lr"]
    files = {path: images, labels_file: load_tensors(labels_file)}
    rate = config.learned_learning_rate
    if rate is None and (config.learning_rate_file or rate_file.is_file()):
        files[rate_file] = load_tensors(rate_file)
        try:
            rate = float(files[rate_file])
        except (TypeError, ValueError, RuntimeError) as error:
            raise DataError(
                f"{rate_file} holds {_shape_of(files[rate_file])}, where the set's learning rate is a single number: "
                "give the rate by --learned_learning_rate."
            ) from error
    return _tensor_set("mtt", files, files[labels_file], config, learning_rate=rate)


def _images_file(folder: Path) -> Path:
    """The one file of images, images_best.pt before those of iterations: of several nobody says if they are parts."""
    files = sorted(path for path in folder.glob("images_*.pt") if not path.name.startswith("images_zca_"))
    iterations = [path for path in files if re.fullmatch(r"images_\d+\.pt", path.name)]
    if (best := folder / "images_best.pt") in files and len(files) == len(iterations) + 1:
        return best
    if len(files) == 1:
        return files[0]
    raise DataError(
        f"{folder} holds {len(files) or 'no'} files of images ({some([path.name for path in files])}): name the one "
        "of the set by its path. If these are parts of one set, first put them into one file: torch.save(torch.cat("
        "[torch.load(part) for part in parts]), 'images_all.pt'), and their labels likewise."
    )


def _tensor_set(form: str, files: dict[Path, Any], labels: Any, config: ImportConfig, **stored: Any) -> ForeignSet:
    """A set of tensors, with what else is `stored`; the first of the files holds the images."""
    path, images = next(iter(files.items()))
    hard, soft = _labels(torch.as_tensor(labels).detach(), config.soft_labels, path)
    images = images.detach()
    if images.is_floating_point() and images.dtype != torch.float64:
        images = images.float()
    elif not (images.is_floating_point() or images.is_complex() or images.dtype in (torch.bool, torch.uint8)):
        images = images.long()  # whose least and largest can be asked for
    return ForeignSet(
        name=str(path),
        format=form,
        pixels=images,
        labels=hard,
        soft_labels=soft,
        files={file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files},
        **{"learning_rate": config.learned_learning_rate, **stored},
    )


def _labels(labels: Tensor, kind: str, path: Path) -> tuple[Tensor, Tensor | None]:
    """Stored labels as int64 numbers and, where they are soft, as probabilities; the hard label is the likeliest.

    Soft labels whose rows sum to 1 are probabilities already; the softmax of others is taken, as they are logits.
    """
    if labels.is_complex():
        raise DataError(f"The labels of {path} are complex numbers.")
    if not torch.isfinite(labels).all():
        raise DataError(f"The labels of {path} hold NaN or infinite values.")
    if labels.ndim == 2 and labels.shape[1] > 1:
        soft = labels.double()
        if kind == "auto":
            sums_to_one = bool((soft.sum(1) - 1).abs().max() < 1e-3)
            kind = "probabilities" if soft.min() >= 0 and sums_to_one else "logits"
        elif kind == "probabilities" and (soft.min() < 0 or (soft.sum(1) - 1).abs().max() > 0.01):
            raise DataError(f"The soft labels of {path} aren't probabilities, as their rows don't sum to 1.")
        soft = (soft.softmax(1) if kind == "logits" else soft).float()
        return soft.argmax(1), soft
    labels = labels.flatten()
    if labels.is_floating_point() and not torch.equal(labels, labels.round()):
        raise DataError(f"The labels of {path} are fractions, such as {labels[labels != labels.round()][0]:g}.")
    return labels.to(torch.int64), None


# --- pickles, without their code


def load_tensors(path: Path) -> Any:
    """The tensors, containers and numbers of a .pt file; raises DataError where it can't be read without its code."""
    numbers = [(_Dtype, "numpy.dtype")]
    numbers += [(_number, f"numpy.{module}.multiarray.scalar") for module in ("core", "_core")]
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as parts:
                declared = sum(part.file_size for part in parts.infolist())
            if declared > path.stat().st_size:
                raise ValueError(f"its parts are {declared} bytes unpacked, where torch.save packs nothing")
        with torch.serialization.safe_globals(numbers):
            return _small(torch.load(path, map_location="cpu", weights_only=True))
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        what = f"it calls {found[1]}" if found else "it holds more than tensors, containers and numbers"
        raise DataError(
            f"{path} only loads by running pickle code ({what}), which hf-dd never does: save its images and labels "
            "as plain tensors where you trust the file, as in torch.save([images, labels], 'plain.pt')."
        ) from error
    except Exception as error:  # a damaged file raises nearly anything
        said = " ".join(str(error).split()).split(". ")[0].rstrip(".")
        kind = type(error).__name__
        if not isinstance(error, (ValueError, OSError)):
            said = f"torch.save didn't write it, or not all of it ({kind}{': ' if said else ''}{said})"
        raise DataError(f"{path} can't be read as a .pt file: {said or kind}.") from error


def _small(content: Any) -> Any:
    """Content of a file, if its tensors are as large as it; raises ValueError where one value stands for many."""
    if isinstance(content, Tensor):
        if content.layout != torch.strided or content.is_quantized or content.is_meta:
            raise ValueError("it holds a tensor that is sparse, quantized or without values")
        if content.numel() * content.element_size() > max(MOST_EXPANDED, content.untyped_storage().nbytes()):
            raise ValueError(f"it declares a tensor of the shape {tuple(content.shape)}, and stores less")
    elif isinstance(content, (Mapping, list, tuple)):
        for each in content.values() if isinstance(content, Mapping) else content:
            _small(each)
    return content


class _Dtype:
    """Stands in for numpy's dtype in a pickle: a name, of which `_number` takes those of plain numbers."""

    def __init__(self, name: str, *flags: bool):
        self.name, self.order = name, "="

    def __setstate__(self, state: Sequence[Any]) -> None:
        self.order = state[1]


def _number(dtype: _Dtype, content: bytes) -> float:
    """Stands in for numpy's scalar in a pickle, as DC's files hold for their accuracies."""
    if not re.fullmatch(r"[fiu][1248]", dtype.name):
        raise pickle.UnpicklingError(f"numpy's {dtype.name!r} is no plain number")
    order = dtype.order if dtype.order in "<>" else "="
    return np.frombuffer(content, np.dtype(dtype.name).newbyteorder(order))[0].item()
