"""Decoded images on the disk: each split as a `.npy`, and beside them a JSON file that says what was written.

It is written last, so that a reader or a second writer never sees half of a set.
"""

import contextlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from hf_dd.core import cache, files, json_records
from hf_dd.core.digests import digest_over, new_digest
from hf_dd.data.batches import Images, StoredImages
from hf_dd.errors import RunError

if TYPE_CHECKING:
    import datasets


def files_of(split: "datasets.Dataset", column: str) -> str | None:
    """A digest of the size and the time of each file that a split names by its path, which its fingerprint leaves out.

    None where there are none, or where `datasets` found them itself, and has them in its fingerprint.
    """
    stored = split.data.column(column)
    named = pa.types.is_struct(stored.type) and stored.type.get_field_index("path") >= 0
    if split.info.builder_name == "imagefolder" or not named:
        return None
    held, paths = (pc.struct_field(stored, name) for name in ("bytes", "path"))
    if not held.null_count:
        return None
    digest = new_digest()
    for path in paths.filter(pc.is_null(held)).to_pylist():
        with contextlib.suppress(OSError, TypeError, ValueError):  # what isn't there is told when it is decoded
            about = os.stat(path)
            digest.update(f"{path}\0{about.st_size}\0{about.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def read(path: Path, names: Iterable[str], memory_limit: float) -> tuple[dict[str, Images], list[str]] | None:
    """The splits that the JSON file speaks of, by these names, and its notes; None where one isn't what was written.

    They go by their order: the same images may have been written when their splits were called otherwise. A split of
    more than `memory_limit` bytes stays in its file. The digest of one is checked where all of it is read, shape and
    size of the file else.
    """
    if not path.is_file():
        return None
    try:
        content = json_records.read_json(path)
        written, notes = content["splits"].items(), list(map(str, content.get("notes", [])))
        found = {
            name: read_split(split_file(path, called), about, memory_limit)
            for name, (called, about) in zip(names, written, strict=True)
        }
    except (OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, RunError) as error:
        cache.tell_unusable(path, error)
        return None
    cache.mark_used(path)
    return found, notes


def read_split(path: Path, written: dict[str, Any], memory_limit: float) -> Images:
    """One split; raises OSError, EOFError or ValueError where it isn't what was written."""
    images = np.load(path, mmap_mode="r")
    if list(images.shape) != written["shape"] or path.stat().st_size != images.offset + images.nbytes:
        raise ValueError(f"{path.name} has another size than was written")
    if images.nbytes > memory_limit:
        return StoredImages(path, torch.Size(images.shape))
    images = np.load(path)
    if digest_over([images]) != written["digest"]:
        raise ValueError(f"{path.name} has other bytes than were written")
    return torch.from_numpy(images)


def write(path: Path, splits: dict[str, tuple[Sequence[int], Iterable[np.ndarray]]], about: dict[str, Any]) -> None:
    """Write uint8 splits (N×C×H×W, its images in order) image by image, and what a listing says of them.

    Raises RunError where there is no room: a file that is appended to says so, where a memory map would end the
    process.
    """
    written = {}
    for name, (shape, images) in splits.items():
        digest = new_digest()
        with files.unfinished(split_file(path, name)) as temporary, temporary.open("wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": tuple(shape)}
            np.lib.format.write_array_header_1_0(file, header)
            for image in images:
                content = image.tobytes()
                digest.update(content)
                file.write(content)
        written[name] = {"shape": list(shape), "digest": digest.hexdigest()}
    files.write_json(path, about | {"splits": written})


def split_file(path: Path, name: str) -> Path:
    """Where a split lies that the JSON file speaks of."""
    return path.with_suffix(f".{name}.npy")
