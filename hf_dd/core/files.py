"""Files and folders that are written whole or not at all, and JSON records that are read or refused.

What is written lies beside its place until it is complete, is brought to the disk, and then moved there.
"""

import contextlib
import json
import os
import shutil
import types
import typing
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from hf_dd.errors import RunError

Record = TypeVar("Record")


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


@contextlib.contextmanager
def folder(path: Path) -> Iterator[Path]:
    """A new folder beside `path` to write into, which becomes `path` if all goes well and is removed if not.

    A folder that was there before is replaced. One process at a time may write it: the name is always the same, so
    that what a killed one left is removed by the next.
    """
    temporary = path.with_name(f".unfinished-{path.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        for part in temporary.rglob("*"):
            if part.is_file():
                flush(part)
        if path.exists():
            remove_folder(path)
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # moved, if all went well


def remove_folder(path: Path) -> None:
    """Take a folder out of sight, then remove it: a kill in between leaves no half of one in its place."""
    removed = path.with_name(".unfinished-removal")
    shutil.rmtree(removed, ignore_errors=True)
    path.rename(removed)
    shutil.rmtree(removed)


def flush(path: Path) -> None:
    """Bring a file's content to the disk: a move may else reach it first, and a power cut leave an empty file."""
    with path.open("rb+" if os.access(path, os.W_OK) else "rb") as file:
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


def read_json(path: Path, kind: type = dict, /, **fields: Any) -> Any:
    """The content of a JSON file: a `kind`; of a mapping, `fields` says which it has to give, each by its type.

    Raises RunError, naming the file and the fields, where it isn't there or doesn't hold that.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunError(f"{path} can't be read: {error.strerror}.") from error
    except ValueError as error:
        raise RunError(f"{path} isn't valid JSON ({error}).") from error
    require(content, kind, fields, str(path))
    return content


def as_record(content: Any, form: type[Record], name: str) -> Record:
    """A mapping as a dataclass, all of whose fields it has to give, each by its type, but for those with a default.

    Raises RunError, naming `name` and the fields, where it doesn't, and where it gives others.
    """
    require(content, dict, {}, name)
    try:
        record = form(**content)
    except TypeError as error:
        raise RunError(f"{name} isn't a record of this version of hf-dd: {error}.") from error
    require(vars(record), dict, typing.get_type_hints(form), name)
    return record


def require(content: Any, kind: type, fields: Mapping[str, Any], name: str) -> None:
    """Raise RunError unless content of JSON is of this type, with these fields: what lies within isn't looked at."""
    if not isinstance(content, kind):
        raise RunError(f"{name} isn't a record of hf-dd: it holds {type(content).__name__}, not {kind.__name__}.")
    wrong = [
        f"{key} is {content[key]!r:.80}" if key in content else f"it lacks {key}"
        for key, hint in fields.items()
        if key not in content or not fits(content[key], hint)
    ]
    if wrong:
        raise RunError(f"{name} isn't a record of this version of hf-dd: {', '.join(wrong)}.")


def fits(value: Any, hint: Any) -> bool:
    """Whether a value of JSON is of an annotated type: those of its parts aren't looked at."""
    if isinstance(hint, types.UnionType):
        return any(fits(value, each) for each in typing.get_args(hint))
    kind = typing.get_origin(hint) or hint
    if kind in (int, float):
        return isinstance(value, (int, kind)) and not isinstance(value, bool)
    return isinstance(value, kind)
