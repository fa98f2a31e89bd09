"""Where results are kept that a later run needs again: files below the cache of `datasets`, one for each result.

A file's name is a digest of all that its content follows from: the inputs, the library's version, and the version
number that stands beside the code that computes the result. Whoever changes a result raises that number; a test pins a
value of each kind.
"""

import contextlib
import functools
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import safetensors
import torch
from filelock import FileLock, Timeout
from safetensors.torch import load_file, save_file
from torch import Tensor

from hf_dd.core import files, json_records
from hf_dd.core.digests import digest_over
from hf_dd.core.progress import is_first_process, say
from hf_dd.errors import RunError

LOCK = ".lock"
HEAD_START = 1.0  # seconds of a launch's first process, which alone tells how far it is

logger = logging.getLogger(__name__)


def folder() -> Path:
    """The folder of all that is kept; HF_HOME or HF_DATASETS_CACHE moves it."""
    from datasets import config

    return Path(config.HF_DATASETS_CACHE) / "hf_dd"


def place_of(
    kind: str, version: int, identity: list[Any], suffix: str = ".json", library: str = torch.__version__
) -> Path:
    """The file of a result.

    Args:
        kind: what it is; its folder.
        version: of the code that computes it.
        identity: all that it follows from, JSON-able, but for code.
        suffix: of its form.
        library: the version of what computes it, torch if not told.
    """
    text = json.dumps([identity, version, library])
    return folder() / kind / f"{hashlib.blake2b(text.encode()).hexdigest()[:32]}{suffix}"


def recall(path: Path) -> Any:
    """What `keep` wrote; None for nothing, and for what isn't what was written."""
    if not path.is_file():
        return None
    try:
        written = json_records.read_json(path, result=object, digest=str)
        if digest_of_value(written["result"]) != written["digest"]:
            raise RunError("other bytes than were written")
    except RunError as error:
        tell_unusable(path, error)
        return None
    mark_used(path)
    return written["result"]


def tell_unusable(path: Path, error: Exception) -> None:
    """Say that a file isn't what was written."""
    logger.warning("The cache file %s can't be used (%s): it is made anew.", path, error)


def keep(path: Path, result: Any) -> None:
    """Keep a result, JSON-able, with a digest of it. A failure costs only the cache."""
    with spared():
        files.write_json(path, {"result": result, "digest": digest_of_value(result)})


def digest_of_value(result: Any) -> str:
    """32 hex digits over a JSON-able value."""
    return digest_over([json.dumps(result).encode()])


def remembered(path: Path, compute: Callable[[], Any]) -> Any:
    """What `compute` gives (JSON-able), or gave when it was last asked for `path`."""
    result = recall(path)
    if result is None:
        result = compute()
        keep(path, result)
    return result


@contextlib.contextmanager
def one_at_a_time(path: Path, what: str) -> Iterator[bool]:
    """Let one process at a time make a file that takes long, where files can be locked.

    Gives whether another may have made it meanwhile. Whoever waits says `what` the other is doing.
    """
    lock, later = FileLock(path.with_suffix(LOCK)), not is_first_process()
    if later:
        time.sleep(HEAD_START)
    with contextlib.suppress(OSError, NotImplementedError):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            later = True
            say("Waiting for another process that is %s.", what)
            lock.acquire()
            if not path.is_file():
                lock.release()  # it couldn't be kept: all go on at once
    try:
        yield later
    finally:
        lock.release()
        with contextlib.suppress(OSError):
            path.with_suffix(LOCK).unlink()  # who waits still has it, and who comes finds what was made


@contextlib.contextmanager
def spared() -> Iterator[None]:
    """Go on without the cache where a file of it can't be written, and say so once."""
    try:
        yield
    except RunError as error:
        _say_once(folder(), getattr(error.__cause__, "strerror", None) or str(error))


@functools.cache
def _say_once(place: Path, reason: str) -> None:
    logger.warning("Results of this run can't be cached in %s: %s", place, reason)


def mark_used(path: Path) -> None:
    """Let a file's time say when it was last of use, where the file may be changed."""
    with contextlib.suppress(OSError):
        os.utime(path)


def recall_tensors(path: Path, names: Sequence[str]) -> dict[str, Tensor] | None:
    """The tensors of these names that were kept in a file, or None where it is missing or isn't what was written."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            digest = (file.metadata() or {})["digest"]
        tensors = load_file(path)
        if digest_of_tensors(tensors) != digest:
            raise ValueError("other bytes than were written")
        found = {name: tensors[name] for name in names}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, safetensors.SafetensorError) as error:
        tell_unusable(path, error)
        return None
    mark_used(path)
    return found


def keep_tensors(path: Path, tensors: dict[str, Tensor], about: dict[str, str]) -> None:
    """Keep contiguous tensors on the CPU, and what a listing says of them. A failure costs only the cache."""
    with spared(), files.unfinished(path) as temporary:
        save_file(tensors, temporary, metadata=about | {"digest": digest_of_tensors(tensors)})


def digest_of_tensors(tensors: dict[str, Tensor]) -> str:
    """32 hex digits over all bytes, tensor after tensor in the order of their names."""
    return digest_over(tensors[name].numpy() for name in sorted(tensors))
