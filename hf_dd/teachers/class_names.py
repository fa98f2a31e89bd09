"""What the same classes are called elsewhere: WordNet's synsets, and its words for them."""

import contextlib
import re
from collections import Counter
from collections.abc import Iterator

SYNSET = re.compile(r"n\d{8}")  # WordNet's name of what a noun means


def namings(names: list[str]) -> Iterator[list[str]]:
    """What classes of these names may be called: so, or by WordNet's words where they are its synsets, as ImageNet's.

    Words that two classes share are told apart as on the Hub, where ImageNet has a `crane` and a `crane2`.
    """
    yield names
    yield told_apart(names)
    if names and all(map(SYNSET.fullmatch, names)):
        import timm

        with contextlib.suppress(KeyError):  # another synset
            yield told_apart(list(map(timm.data.ImageNetInfo().label_name_to_description, names)))


def told_apart(names: list[str]) -> list[str]:
    """Names of which one that was there before gets the number of times that it now was."""
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        seen[name] += 1
        found.append(f"{name}{seen[name]}" if seen[name] > 1 else name)
    return found
