"""What is kept of earlier runs (`core.cache`): decoded images, passes of teachers, scores; listed, removed.

Whatever is removed is computed again when it is needed. A run that is reading decoded images from their file stops.
"""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path

from safetensors import SafetensorError, safe_open

from hf_dd import hub
from hf_dd.config.commands import CacheListOptions, CacheRemoveOptions
from hf_dd.core import cache
from hf_dd.core.files import UNFINISHED
from hf_dd.core.json_records import read_json
from hf_dd.errors import ConfigError, RunError

ABANDONED = 3600  # seconds after which nobody writes on at a file that was begun
COLUMNS = ("kind", "name", "teacher", "data", "bytes", "last used")


@dataclass(frozen=True)
class Entry:
    """Something that is kept.

    Attributes:
        kind: 'images', 'class-sums', 'features', 'heads', 'diversity', 'scores' (each in one entry), 'unfinished'.
        name: what its files' names begin with, or how many files of such a kind there are.
        files: all of it.
        bytes: what they take.
        used: when it was last of use, in seconds since 1970.
        teacher: the repository or folder of the teacher that it is of, if any.
        sha: of that teacher.
        data: name of the data set, where it is known.
    """

    kind: str
    name: str
    files: tuple[Path, ...]
    bytes: int
    used: float
    teacher: str = ""
    sha: str = ""
    data: str = ""

    def matches(self, patterns: Sequence[str]) -> bool:
        """Whether its kind, name, teacher or data set is one of the patterns; without any, all match."""
        words = (self.kind, self.name, self.teacher, self.data)
        return not patterns or any(fnmatchcase(word, pattern) for word in words for pattern in patterns if word)

    def cells(self) -> tuple[str, ...]:
        """What a listing says of it, by COLUMNS."""
        teacher = f"{self.teacher} ({hub.digits(self.sha)})" if self.teacher else "–"
        used = datetime.fromtimestamp(self.used).strftime("%Y-%m-%d %H:%M")
        return self.kind, self.name, teacher, self.data or "–", f"{self.bytes:,}", used


def entries(patterns: Sequence[str] = ()) -> list[Entry]:
    """What is kept and matches, sorted by kind and name; raises ConfigError for patterns that nothing matches."""
    root, groups = cache.folder(), {}
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        kind, name = "images" if path.parent == root else path.parent.name, path.name.split(".")[0][:12]
        if path.name.startswith(UNFINISHED) or path.suffix == ".tmp":  # .tmp is how 0.1 called them
            if time.time() - path.stat().st_mtime < ABANDONED:
                continue
            kind = "unfinished"
        elif path.suffix == ".json" and kind != "images":
            name = ""  # small, and by the hundreds
        groups.setdefault((kind, name), []).append(path)
    found = [entry_of(kind, name, files) for (kind, name), files in sorted(groups.items())]
    chosen = [entry for entry in found if entry.matches(patterns)]
    if patterns and not chosen:
        raise ConfigError(f"Nothing that is kept matches {' or '.join(patterns)}: `hf-dd cache ls` lists all of it.")
    return chosen


def entry_of(kind: str, name: str, files: Sequence[Path]) -> Entry:
    """An entry of these files; what it is of stands beside images, and in the header of tensors."""
    about = {}
    for path in files:
        with contextlib.suppress(OSError, RunError, SafetensorError):  # where it is damaged
            if path.suffix == ".safetensors":
                with safe_open(path, "pt") as file:
                    about |= file.metadata() or {}
            elif path.suffix == ".json" and kind == "images":
                about |= read_json(path)
    about = {key: str(about.get(key, "")) for key in ("teacher", "sha", "data")}
    sizes = [path.stat() for path in files]
    return Entry(
        kind,
        name or f"{len(files)} files",
        tuple(files),
        sum(size.st_size for size in sizes),
        max(size.st_mtime for size in sizes),
        **about,
    )


def listed(options: CacheListOptions) -> str:
    """A table of what is kept and matches, and how much that is."""
    found = entries(options.patterns)
    rows = [COLUMNS, *(entry.cells() for entry in found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows] if found else []
    return "\n".join([*lines, f"{counted(found)} in {cache.folder()}"])


def removed(options: CacheRemoveOptions) -> str:
    """Remove what is kept and matches; says what it was. Raises RunError where a file can't be removed."""
    found = entries(options.patterns)
    for path in (path for entry in found for path in entry.files):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise RunError(f"{path} can't be removed: {error.strerror}.") from error
    return "\n".join([*("removed " + "  ".join(entry.cells()[:5]) for entry in found), f"removed {counted(found)}"])


def counted(found: Sequence[Entry]) -> str:
    """How many entries these are and what they take."""
    return f"{len(found)} {'entry' if len(found) == 1 else 'entries'}, {sum(entry.bytes for entry in found):,} bytes"
