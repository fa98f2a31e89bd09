"""Tensors in a safetensors file, decoded images above all: read into memory, or left there to be read from.

A file is written beside its place and moved there, so that a reader or a second writer never sees half of one.
"""

import hashlib
import json
import logging
import math
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from hf_dd.core import cache, files
from hf_dd.data.batches import Images, StoredImages

logger = logging.getLogger(__name__)

METADATA, DIGEST = "__metadata__", "digest"


def read(path: Path, names: Iterable[str], memory_limit: float) -> dict[str, Images] | None:
    """The tensors of these names in a cache file, or None where it is missing or isn't what was written.

    Images of more than `memory_limit` bytes stay in the file. The digest of the content is checked where all of it
    is read, the size of the file else.
    """
    try:
        header, start = read_header(path)
        if path.stat().st_size != start + max(header[name]["data_offsets"][1] for name in header if name != METADATA):
            raise ValueError("another size than was written")
        found: dict[str, Images] = {}
        for name in names:
            shape, (first, end) = torch.Size(header[name]["shape"]), header[name]["data_offsets"]
            if end - first > memory_limit:
                found[name] = StoredImages(path, start + first, shape)
            else:
                with safetensors.safe_open(path, "pt") as file:
                    found[name] = file.get_tensor(name)
        in_memory = {name: images for name, images in found.items() if isinstance(images, Tensor)}
        if in_memory.keys() == header.keys() - {METADATA} and digest_of(in_memory) != header[METADATA][DIGEST]:
            raise ValueError("other bytes than were written")
        cache.mark_used(path)
        return found
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        logger.warning("The cache file %s can't be used (%s): it is made anew.", path, error)
        return None


def read_header(path: Path) -> tuple[dict, int]:
    """The header of a safetensors file, and where its data start: 8 bytes of length, then JSON."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > path.stat().st_size:
            raise ValueError("no header")
        return json.loads(file.read(length)), 8 + length


def write(path: Path, tensors: dict[str, Tensor], about: dict[str, str]) -> None:
    """Keep contiguous tensors that are in memory, and what a listing says of them. A failure costs only the cache."""
    try:
        with files.unfinished(path) as temporary:
            safetensors.torch.save_file(tensors, temporary, metadata=about | {DIGEST: digest_of(tensors)})
    except (OSError, safetensors.SafetensorError) as error:
        logger.warning("%s can't be cached: %s", path, error)


def write_stream(
    path: Path, splits: dict[str, tuple[tuple[int, ...], Iterable[np.ndarray]]], about: dict[str, str]
) -> None:
    """Write splits (N×C×H×W, its images in order) image by image; raises OSError where there is no room."""
    header, end = {METADATA: about | {DIGEST: "0" * 32}}, 0
    for name, (shape, _) in splits.items():
        header[name] = {"dtype": "U8", "shape": shape, "data_offsets": [end, end + math.prod(shape)]}
        end += math.prod(shape)
    with files.unfinished(path) as temporary, temporary.open("wb") as file:
        write_header(file, header)
        digest = hashlib.blake2b(digest_size=16)
        for name in sorted(splits):
            file.seek(8 + header_length(header) + header[name]["data_offsets"][0])
            for image in splits[name][1]:
                digest.update(image.tobytes())
                file.write(image.tobytes())
        header[METADATA][DIGEST] = digest.hexdigest()
        file.seek(0)
        write_header(file, header)


def header_length(header: dict) -> int:
    """Bytes of the header as JSON, padded so that the data start at a multiple of 8."""
    return math.ceil(len(json.dumps(header)) / 8) * 8


def write_header(file: BinaryIO, header: dict) -> None:
    """Its length, then itself."""
    length = header_length(header)
    file.write(length.to_bytes(8, "little") + json.dumps(header).ljust(length).encode())


def digest_of(tensors: dict[str, Tensor]) -> str:
    """32 hex digits over all bytes, tensor after tensor in the order of their names."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        digest.update(tensors[name].numpy())
    return digest.hexdigest()
