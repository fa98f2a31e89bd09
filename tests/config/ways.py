"""Ways out that messages print: how each message is provoked, and what is typed then, as printed.

A row's command fails with the message that it names. Each of its ways is `PATTERN -> WORDS`: what the pattern finds in
the message (its group, if it has one) is `{0}` of the words. Words that begin with an option take its place in the
command, or are added to it; `!--option` leaves one out; `hf-dd …` is a command to run before. Of the words between two
`;` each is one of these, and the changed command runs again at the place of the words that change it. A pattern alone
is typed as it is found.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from tests.config.stock import Stock, changed
from tests.factories import message_of


class Row(NamedTuple):
    """A message and its ways out.

    Attributes:
        says: the message's text in hf_dd, or enough of it, with … where a value stands; several, if it is made of
            several.
        command: the words that it is provoked by, without hf-dd.
        ways: each `PATTERN -> WORDS`, see above.
        first: commands that prepare it, or a function that does.
    """

    says: str | tuple[str, ...]
    command: str
    ways: tuple[str, ...]
    first: str | Callable[[Stock], object] = ""

    @property
    def fragments(self):
        return (self.says,) if isinstance(self.says, str) else self.says


def row(says, command, *ways, **more):
    return Row(says, command, ways, **more)


def cases(rows):
    """Each way of each row, for parametrize."""
    found = [(own, way) for own in rows for way in own.ways]
    return {
        "argnames": ("row", "way"),
        "argvalues": found,
        "ids": [f"{own.fragments[0][:50]} ({way.split(' -> ')[0][:40]})" for own, way in found],
    }


def take(row, way, stock, said=message_of):
    """Provoke a message, and take a way out of it as it is printed; `said` gives what a command says."""

    if callable(row.first):
        row.first(stock)
    elif row.first:
        stock.type(row.first)
    command = changed([], stock.words(row.command))
    message = said(*command)
    for text in row.fragments:
        parts = re.split("…|%[ds]", text.replace("%%", "%"))
        assert re.search(".*".join(map(re.escape, parts)), message), message
    pattern, _, words = way.partition(" -> ")
    found = re.search(pattern, message)
    assert found, message
    text = (found[1] if found.re.groups else found[0]).replace(", ", " ")  # a list's values
    stock.type(words or "{0}", command, text)
