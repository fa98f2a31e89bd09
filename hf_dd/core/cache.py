"""Where results are kept that a later run needs again: files below the cache of `datasets`, one for each result.

A file's name is a digest of all that its content follows from: the inputs, torch's version, and the version number
that stands beside the code that computes the result. Whoever changes a result raises that number.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from hf_dd.core import files


def folder() -> Path:
    """The folder of all that is kept; HF_HOME or HF_DATASETS_CACHE moves it."""
    from datasets import config

    return Path(config.HF_DATASETS_CACHE) / "hf_dd"


def place_of(kind: str, version: int, identity: list[Any], suffix: str = ".json") -> Path:
    """The file of a result.

    Args:
        kind: what it is; its folder.
        version: of the code that computes it.
        identity: all that it follows from, JSON-able, but for code.
        suffix: of its form.
    """
    text = json.dumps([identity, version, torch.__version__])
    return folder() / kind / f"{hashlib.blake2b(text.encode()).hexdigest()[:32]}{suffix}"


def recall(path: Path) -> Any:
    """What was kept in a JSON file; None for nothing."""
    try:
        result = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    mark_used(path)
    return result


def remembered(path: Path, compute: Callable[[], Any]) -> Any:
    """What `compute` gives (JSON-able), or gave when it was last asked for `path`."""
    result = recall(path)
    if result is None:
        result = compute()
        files.write_json(path, result)
    return result


def mark_used(path: Path) -> None:
    """Let a file's time say when it was last of use, where the file may be changed."""
    with contextlib.suppress(OSError):
        os.utime(path)
