"""Files that are written whole or not at all: beside their place, brought to the disk, then moved there."""

import contextlib
import json
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def unfinished(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to, which becomes `path` if all goes well and is removed if not.

    The name is nobody else's, so that two processes may write the same file: the later one's stays.
    """
    temporary = path.with_name(f".unfinished-{uuid.uuid4().hex}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        flush(temporary)
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):  # moved, or never made
            temporary.unlink()


def flush(path: Path) -> None:
    """Bring a file's content to the disk: a move may else reach it first, and a power cut leave an empty file."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def write(path: Path, save: Callable[[Path], Any]) -> None:
    """Let `save` write a file, whole or not at all."""
    with unfinished(path) as temporary:
        save(temporary)


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8, whole or not at all."""
    write(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Write JSON, whole or not at all."""
    write_text(path, json.dumps(content, indent=2))
