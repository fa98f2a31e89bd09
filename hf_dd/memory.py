"""Where results are kept that a later run needs again: files below the cache of `datasets`, one for each result.

A file's name is a digest of all that its content follows from, code included: nothing in it ever goes out of date. It
is written beside its place and moved there (`pixel_cache.unfinished`), so that no process reads half of one.
"""

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch


def folder() -> Path:
    """The folder of all that is kept; HF_HOME or HF_DATASETS_CACHE moves it."""
    from datasets import config

    return Path(config.HF_DATASETS_CACHE) / "hf_dd"


def place_of(kind: str, identity: list[Any], modules: Sequence[str], suffix: str) -> Path:
    """The file of a result.

    Args:
        kind: what it is; its folder.
        identity: all that it follows from, JSON-able, but for code.
        modules: of the package, that it depends on: `data`, `objectives/clom`; a folder stands for all in it.
        suffix: of its form.
    """
    text = json.dumps([identity, code_version(tuple(modules)), torch.__version__])
    return folder() / kind / f"{hashlib.blake2b(text.encode()).hexdigest()[:32]}{suffix}"


@functools.cache
def code_version(modules: tuple[str, ...]) -> str:
    """A digest of the package's files of these modules."""
    digest = hashlib.blake2b(digest_size=16)
    for name in modules:
        place = Path(__file__).parent / name
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]:
            digest.update(path.read_bytes())
    return digest.hexdigest()


def mark_used(path: Path) -> None:
    """Let a file's time say when it was last of use, where the file may be changed."""
    with contextlib.suppress(OSError):
        os.utime(path)
