"""The papers that a set rests on: links on its card, and entries to cite.

By a link to arXiv in a card's text the Hub lists a repository beside its paper; no front matter does. What a paper is
called stands where its method is registered: `paper` ("Zhao & Bilen, WACV 2023"), `work` (its title), `authors`, and
`arxiv` or `doi`. What another package doesn't say is left out.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from hf_dd.config import spelt
from hf_dd.core.registry import CITATION, OBJECTIVES, STARTS
from hf_dd.core.text import Markdown, markdown
from hf_dd.errors import plain

Words = Mapping[str, Any]
ARXIV = re.compile(r"(?<![\d.])\d{4}\.\d{4,5}(?![\d.])")
ADDRESS, SAFE = re.compile(r"https?://[^\s/]+\S*"), ":/?#&=%~+,;@"


def address(words: Words) -> str | None:
    """Where a paper is read."""
    if arxiv := words.get("arxiv"):
        return f"https://arxiv.org/abs/{quote(str(arxiv))}"
    return f"https://doi.org/{quote(str(words['doi']))}" if words.get("doi") else None


def link(words: Words) -> Markdown:
    """A paper as a card and the docs name it, with a link where one is known; "" where there is no paper."""
    name, place = words.get("paper") or words.get("work") or "", address(words)
    return Markdown(f"[{markdown(name)}]({place})" if name and place else markdown(name))


def stated(text: str) -> Markdown:
    """A paper that somebody names in words, with a link where they hold a number of arXiv or are an address."""
    if number := ARXIV.search(text):
        return Markdown(f"[{markdown(text)}](https://arxiv.org/abs/{number[0]})")
    return Markdown(f"[{markdown(text)}]({quote(text, safe=SAFE)})" if ADDRESS.fullmatch(text) else markdown(text))


def link_of(name: str) -> Markdown:
    """A method's paper, see `link`."""
    return link(said_of(name))


def said_of(name: str) -> dict[str, Any]:
    """What the author of a method says of it and its paper; {} where that isn't known here."""
    keys = ("title", *CITATION)
    return {key: said for key in keys if (said := OBJECTIVES.said(name, key))}


def behind(settings: Mapping[str, Any]) -> Iterator[tuple[str, Words]]:
    """What a distillation with these options rests on, each with the name of its entry, as `cited` takes them.

    It is its method, guide, augmentation and start, and several images in each stored one.
    """
    yield settings["objective"], said_of(settings["objective"])
    if settings["clom"] != "none":
        yield "clom", said_of("clom") | {"title": "the guide CLoM"}
    if OBJECTIVES.said(settings["objective"], "draws") and settings.get("augment") not in (None, "none"):
        yield "dsa", said_of("dsa") | {"title": "Siamese augmentation"}
    if init := settings.get("init"):
        start = STARTS.said(init, "method") or init
        yield start, said_of(start) | {"title": f"a start from {STARTS.title(init)}"}
    if (settings.get("factor") or 1) > 1:
        yield "idc", said_of("idc") | {"title": "multi-formation (IDC)"}


def cited(found: Iterable[tuple[str, Words]]) -> dict[str, Words]:
    """Those of them that have a paper, each paper once, by the name of its entry."""
    papers: dict[str, Words] = {}
    for name, words in found:
        known = [address(other) or other.get("paper") for other in papers.values()]
        if link(words) and (address(words) or words.get("paper")) not in known:
            papers[spelt(name)] = words
    return papers


def entry(name: str, words: Words) -> Markdown:
    """A paper as an entry of BibTeX."""
    authors, _, last = words.get("paper", "").rpartition(", ")
    venue, _, year = last.rpartition(" ")
    fields = {
        "title": words.get("work") or words.get("title"),
        "author": words.get("authors") or authors.replace(" & ", " and "),
        "booktitle": venue,
        "year": year if year.isdigit() else "",
        **({"eprint": words["arxiv"], "archivePrefix": "arXiv"} if words.get("arxiv") else {}),
        **({"doi": words["doi"]} if words.get("doi") else {}),
    }
    lines = [f"  {key} = {{{without_braces(value)}}}" for key, value in fields.items() if value]
    return Markdown("\n".join([f"@{'inproceedings' if venue else 'misc'}{{{name},", ",\n".join(lines), "}"]))


def without_braces(value: Any) -> str:
    """A text in braces of BibTeX, in a block of code: nothing in it ends either."""
    return plain(str(value)).translate({ord("{"): None, ord("}"): None, ord("`"): None})
