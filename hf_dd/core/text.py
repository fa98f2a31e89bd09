"""Text of others in Markdown: what a class or a teacher is called is shown as it is, and does nothing else."""

import re
from typing import Any

from hf_dd.errors import plain

LIVE = re.compile(r"([\\`*<>|]|\](?=\())")  # what starts code, emphasis, HTML or a cell; ]( makes a link


class Markdown(str):
    """Text that is Markdown already."""


def markdown(value: Any) -> str:
    """A value in a line or a table's cell of Markdown: on one line, and without a meaning of its own there."""
    return value if isinstance(value, Markdown) else LIVE.sub(r"\\\1", plain(str(value)))


def code(value: Any) -> Markdown:
    """A value as code in a line or a table's cell; there is no way to spell a backtick in it."""
    return Markdown(f"`{plain(str(value)).replace('`', chr(39)).replace('|', chr(92) + '|')}`")


def verbatim(value: Any) -> Markdown:
    """A value as a line of a block of code."""
    return Markdown(plain(str(value)).replace("```", "'''"))
