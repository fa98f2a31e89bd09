"""Data sets that `datasets` has no part in: scikit-learn's digits, and IDX files, the format of MNIST."""

import functools
import gzip
import importlib.metadata
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hf_dd.core import seeding
from hf_dd.data.splits import Source, Split, fingerprint, index_classes
from hf_dd.data.unpacking import MOST_UNPACKED, MOST_UNPACKED_ALWAYS
from hf_dd.errors import DataError

FASHION_MNIST = "514d52e504140973c60ce7ce8a69e801"  # fingerprint of the original files, classes unnamed
FASHION_MNIST_CLASSES = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot".split(",")


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


def find_idx(folder: Path, stem: str, dimensions: int) -> Path | None:
    """The file of this stem, written with '-' or '.' before idx; unpacked rather than gzipped."""
    found = sorted(folder.glob(f"{stem}[-.]idx{dimensions}-ubyte*"))
    return next((path for ending in ("-ubyte", ".gz") for path in found if path.name.endswith(ending)), None)


def _read_idx_pair(folder: Path, prefix: str) -> tuple[Tensor, list[int]]:
    arrays = []
    for kind, dimensions in (("images", 3), ("labels", 1)):
        path = find_idx(folder, f"{prefix}-{kind}", dimensions)
        if path is None:
            raise DataError(f"{folder} lacks {prefix}-{kind}-idx{dimensions}-ubyte(.gz).")
        arrays.append(read_idx(path, dimensions))
    images, labels = arrays
    if len(images) != len(labels):
        raise DataError(f"{folder} has {len(images)} images in {prefix}-images, but {len(labels)} labels.")
    return torch.from_numpy(images).unsqueeze(1), labels.tolist()
