"""Text of others in Markdown: what a class or a teacher is called is shown as it is, and does nothing else."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hf_dd.errors import plain

# What starts code, emphasis, a deletion, HTML or a cell; ]( makes a link, &lt; a letter. Within a word _ is a letter.
LIVE = re.compile(r"([\\`*~<>|]|\](?=\()|&(?=#?\w+;)|(?<![^\W_])_|_(?![^\W_]))")


class Markdown(str):
    """Text that is Markdown already."""


def markdown(value: Any) -> str:
    """A value in a line or a table's cell of Markdown: on one line, and without a meaning of its own there."""
    return value if isinstance(value, Markdown) else LIVE.sub(r"\\\1", plain(str(value)))


def number(value: Any) -> str:
    """A number, or a list of numbers, with as many digits as are worth reading: four, or all before the point."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(number, value))}]"
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if 10_000 <= abs(value) < math.inf else f"{value:.4g}"


def duration(seconds: float) -> str:
    """How long something takes: `0.3 s`, `147 s`, `12 min`, `5.2 h`."""
    if seconds < 10:
        return f"{seconds:.1f} s" if seconds >= 0.05 else "less than 0.1 s"
    if seconds < 600:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def plural(count: int | str, noun: str) -> str:
    """`1 image`, `2 images`, `2 processes`; a count that is text stays as it is, as `60,000`."""
    return f"{count} {noun}{'' if str(count) == '1' else 'es' if noun.endswith('s') else 's'}"


def ipc_in_words(ipc: int | Sequence[int]) -> str:
    """`3` images per class, or `3–5` where classes differ."""
    least, most = (ipc, ipc) if isinstance(ipc, int) else (min(ipc), max(ipc))
    return str(least) if least == most else f"{least}–{most}"


def apart(there: Mapping[str, Any], here: Mapping[str, Any], keys: Iterable[str]) -> list[str]:
    """What two sides have of each of these keys, in words: `ipc: 10 there, 1 here`."""
    return [f"{key}: {there.get(key)!r:.200} there, {here.get(key)!r:.200} here" for key in keys]


def code(value: Any) -> Markdown:
    """A value as code in a line or a table's cell; there is no way to spell a backtick in it."""
    return Markdown(f"`{plain(str(value)).replace('`', chr(39)).replace('|', chr(92) + '|')}`")


def verbatim(value: Any) -> Markdown:
    """A value as a line of a block of code."""
    return Markdown(plain(str(value)).replace("```", "'''"))


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> Markdown:
    """A table in markdown; a cell that is None is a dash."""
    texts = [["–" if cell is None else markdown(cell) for cell in row] for row in [head, *rows]]
    lines = ["| " + " | ".join(cells) + " |" for cells in texts]
    return Markdown("\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]]))
