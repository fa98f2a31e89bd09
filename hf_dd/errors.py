"""The exceptions of hf_dd: all derive from one base, and each message names the input and the way out."""

import difflib
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar


def plain(text: str, lines: bool = False) -> str:
    """Text that a terminal shows as it is: control characters are spelt out, as names of others may hold any.

    On one line, unless `lines` may break it.
    """
    kept = "\n\t" if lines else ""
    text = text if lines else " ".join(text.splitlines())
    if text.isprintable():
        return text
    spelt = (char if char.isprintable() or char in kept else repr(char)[1:-1] for char in text)
    return "".join(spelt)


class HfDdError(Exception):
    """Base of every error that hf_dd raises on purpose; the CLI shows its message without a traceback."""

    lines: ClassVar[bool] = False  # whether the message may have several

    def __str__(self) -> str:
        return plain(super().__str__(), self.lines)


class ConfigError(HfDdError):
    """Options are unknown, out of range, or contradict each other: a line for each."""

    lines = True


class DataError(HfDdError):
    """A data set can't be read, or doesn't hold what the run asks of it."""


class HubError(HfDdError):
    """A repository, revision or file can't be reached or written."""


class TeacherError(HfDdError):
    """A teacher can't be loaded, or doesn't fit the data set or the guide."""


class RunError(HfDdError):
    """A run can't start in, or go on from, the state it finds on disk, or has diverged."""


class UnusableError(RunError):
    """What a run keeps on disk can't be gone on with: it is damaged, or of other options; `path` is where it lies."""

    def __init__(self, message: str, path: Path | None = None):
        super().__init__(message)
        self.path = path


def one_line(error: BaseException, most: int = 400) -> str:
    """What an error says, on one line and at most so long; what kind it is where it says nothing."""
    return " ".join(str(error).split())[:most] or type(error).__name__


def first_line(error: BaseException) -> str:
    """The first line of an error's text that says something; what kind it is where none does."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def some(items: Sequence[Any]) -> str:
    """The first ten, and how many there are, for a message."""
    return ", ".join(map(str, items[:10])) + (f", … ({len(items)} in all)" if len(items) > 10 else "")


def nearest_first(name: str, known: Iterable[str]) -> list[str]:
    """The known names, the one most like `name` first: what an error for an unknown name lists."""
    return sorted(known, key=lambda candidate: -difflib.SequenceMatcher(None, name.lower(), candidate.lower()).ratio())


def unknown(kind: str, name: str, known: Sequence[str]) -> str:
    """The message for a name that isn't known, with the nearest one that is."""
    return f"unknown {kind} {name!r}; the nearest known one is {nearest_first(name.replace('-', '_'), known)[0]!r}."


def require_known(kind: str, name: str, known: Collection[str]) -> None:
    """Raise ConfigError for a name that isn't known, with those that are."""
    if name not in known:
        names = ", ".join(nearest_first(str(name), known)) or "none"
        raise ConfigError(f"unknown {kind} '{name}'; known, nearest first: {names}")
