"""Large files: how they are kept outside git (LFS)."""

import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import NamedTuple

from hf_dd.local_hub.errors import HubHttpError
from hf_dd.local_hub.store import sync_folder

LFS_THRESHOLD_BYTES = 10 * 1024 * 1024
MAX_LFS_BYTES = 50 * 10**9  # of a file; as on the Hub
PART_SUFFIX = ".part"
POINTER = re.compile(rb"version https://git-lfs.github.com/spec/v1\noid sha256:([0-9a-f]{64})\nsize (\d{1,18})\n")
_ALWAYS_LARGE = (
    "7z arrow bin bz2 ckpt ftz gz h5 joblib mlmodel model msgpack npy npz onnx ot parquet pb pickle pkl pt pth rar "
    "safetensors tar tflite tgz wasm xz zip zst"
)
_LARGE_IN_DATASETS = "bmp flac gif jpeg jpg mp3 mp4 ogg png tiff wav webp"


def git_attributes(kind: str) -> bytes:
    """The .gitattributes of a new repository: which file names are large files whatever their size."""
    endings = _ALWAYS_LARGE if kind == "model" else f"{_ALWAYS_LARGE} {_LARGE_IN_DATASETS}"
    globs = [f"*.{ending}" for ending in endings.split()] + ["*tfevents*"]
    return "".join(f"{glob} filter=lfs diff=lfs merge=lfs -text\n" for glob in globs).encode()


class Pointer(NamedTuple):
    """What git holds in place of a large file: the sha256 of its content (hex) and its size in bytes."""

    oid: str
    size: int

    def encode(self) -> bytes:
        """The pointer as file content."""
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.oid}\nsize {self.size}\n".encode()

    @classmethod
    def parse(cls, content: bytes) -> "Pointer | None":
        """The pointer in a file's content; None if it is an ordinary file."""
        match = POINTER.fullmatch(content)
        return cls(match[1].decode(), int(match[2])) if match else None


class LfsStorage:
    """The large files of one repository, each named by its sha256."""

    def __init__(self, folder: Path):
        self.folder = folder

    def path(self, oid: str) -> Path:
        """Where the object is, or would be."""
        if not re.fullmatch(r"[0-9a-f]{64}", oid):
            raise HubHttpError(400, f"Not a sha256: {oid}")
        return self.folder / oid

    def size(self, oid: str) -> int | None:
        """Bytes of a stored object, None if it isn't there."""
        try:
            return self.path(oid).stat().st_size
        except FileNotFoundError:
            return None

    def upload(self, oid: str, size: int) -> "LfsUpload":
        """A context manager that takes the object's content."""
        return LfsUpload(self.path(oid), size)


class LfsUpload:
    """Takes an object chunk by chunk and puts it in place once its size and hash are proven; else leaves nothing."""

    def __init__(self, target: Path, size: int):
        self._target, self._left = target, size
        self._digest = hashlib.sha256()

    def __enter__(self):
        self._part = tempfile.NamedTemporaryFile(dir=self._target.parent, suffix=PART_SUFFIX, delete=False)
        return self

    def write(self, chunk: bytes):
        """Append to the content."""
        self._left -= len(chunk)
        self._digest.update(chunk)
        self._part.write(chunk)

    def finish(self):
        """Check size and hash (400 if they aren't those announced) and make the object visible, durably."""
        if self._left:
            raise HubHttpError(400, f"The content has {self._left} bytes less than announced")
        if self._digest.hexdigest() != self._target.name:
            raise HubHttpError(400, f"The content's sha256 is {self._digest.hexdigest()}, not {self._target.name}")
        self._part.flush()
        os.fsync(self._part.fileno())
        self._part.close()
        os.replace(self._part.name, self._target)
        sync_folder(self._target.parent)

    def __exit__(self, *exception):
        self._part.close()
        Path(self._part.name).unlink(missing_ok=True)
