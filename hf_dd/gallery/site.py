"""The pages of a gallery: each one file that holds its style, script, data and images, and opens from a disk."""

import base64
import functools
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from hf_dd import hub
from hf_dd.config import slug
from hf_dd.config.gallery import GalleryBuildOptions
from hf_dd.core import files
from hf_dd.core.progress import Phase
from hf_dd.core.registry import OBJECTIVES
from hf_dd.errors import RunError
from hf_dd.evaluation import verdict
from hf_dd.gallery import collect, images, told
from hf_dd.gallery.collect import Entry
from hf_dd.version import __version__

HERE = Path(__file__).parent
TITLE = "Distilled sets"
STYLES = ("vendor/pico.classless.min.css", "page/gallery.css")
SCRIPTS = tuple(
    f"page/{name}.js"
    for name in ("data", "dom", "sets", "overview", "set", "pool", "compare", "leaderboard", "live", "main")
)
READER = "vendor/hyparquet.min.js"  # of rows, in pages that read the Hub
MARK = '<meta name="generator" content="hf-dd '
LONGEST_NAME = 80  # characters of a page's file


def build(options: GalleryBuildOptions) -> str:
    """`hf-dd gallery build`: a folder of pages, whole or not at all; an earlier gallery there is replaced.

    Raises RunError, before anything is read, for a folder that holds something else, and errors as `collect`.
    """
    output = Path(options.output)
    files.require_writable(output)
    require_own(output)
    entries = collect.collect(options.sources, options.tag, options.owner)
    with files.folder(output) as place:
        write(place, entries)
    return f"{output / 'index.html'}: {len(entries)} set{'' if len(entries) == 1 else 's'}"


def require_own(output: Path) -> None:
    """Raise RunError where a folder holds something other than a gallery."""
    page = output / "index.html"
    if output.is_dir() and not any(output.iterdir()):
        return
    if output.exists() and not (page.is_file() and MARK in page.read_text(encoding="utf-8", errors="replace")[:2000]):
        raise RunError(f"{output} holds something that isn't a gallery: give another --output, or remove it.")


def write(folder: Path, entries: Sequence[Entry], live: dict[str, Any] | None = None) -> None:
    """Write all pages of a gallery into a folder; `live` lets those of all sets read the Hub too, see `page`."""
    addresses, pools = set_pages(entries), pool_pages(entries)
    titles, facts = Counter(entry.title for entry in entries), []
    sources = {"hub": hub.endpoint(), "live": None}
    with Phase("writing pages", len(entries), "page") as phase:
        for entry in entries:
            found, labels = images.pictures(entry.rows) if entry.rows else ([], [])
            strip = images.strip(found)
            own = {
                "name": entry.title if titles[entry.title] == 1 else entry.key,
                "page": addresses[entry.key],
                "pool": pools.get(teachers_of(entry)),
                **({"strip": strip} if strip else {}),
            }
            facts.append(entry.facts(labels) | own)
            shown = {"images": [[picture.label, picture.source] for picture in found], "all": len(labels)}
            start = {"view": "set", "key": entry.key}
            content = page([entry.whole(facts[-1]) | shown], start, title=own["name"], root="../", **sources)
            files.write_text(folder / addresses[entry.key], content)
            phase.update()
    for address in pools.values():
        own = of_pool(address, entries, facts)
        files.write_text(folder / address, page(own, {"view": "pool", "key": own[0]["key"]}, root="../", **sources))
    listed = [collect.listed(fact) for fact in facts]
    bare = [{name: value for name, value in fact.items() if name != "strip"} for fact in listed]
    sources["live"] = live
    views = {"compare": ("compare", facts), "leaderboard": ("leaderboard", bare), "index": ("sets", listed)}
    for name, (view, own) in views.items():
        files.write_text(folder / f"{name}.html", page(own, {"view": view}, **sources))


def of_pool(address: str, entries: Sequence[Entry], facts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a pool's page is told: of the sets that it guided, then of those like them that no teacher took part in."""
    guided, plain = [], []
    for entry, fact in zip(entries, facts, strict=True):
        if fact["pool"] == address:  # with what its teachers' pairs differ in
            guided.append(fact | {"record": fact["record"] | {"diversity": entry.record.get("diversity")}})
        elif fact["pool"] is None:
            plain.append(fact)
    kinds = {kind_of(fact) for fact in guided}
    return guided + [fact for fact in plain if kind_of(fact) in kinds]


def teachers_of(entry: Entry) -> tuple[str, ...]:
    """The commits of a set's teachers, or their references where no commit is known: what makes two pools one."""
    teachers = entry.record.get("teachers")
    specs = [each for each in teachers if isinstance(each, dict)] if isinstance(teachers, list) else []
    return tuple(sorted(str(each.get("sha") or f"{each.get('repo_id')}@{each.get('revision')}") for each in specs))


def kind_of(fact: dict[str, Any]) -> str:
    """Data, size and method of a set, as a text."""
    data, settings = fact["record"].get("data"), fact["record"].get("settings")
    parts = [(data, "repo_id"), (data, "name"), (settings, "ipc"), (settings, "objective")]
    return repr([each.get(name) if isinstance(each, dict) else None for each, name in parts])


def set_pages(entries: Sequence[Entry]) -> dict[str, str]:
    """The page of each set by its key, each a name of its own."""
    return {entry.key: name for entry, name in zip(entries, page_names("sets", [e.key for e in entries]), strict=True)}


def pool_pages(entries: Sequence[Entry]) -> dict[tuple[str, ...], str]:
    """The page of each pool by its teachers."""
    pools = {}
    for entry in entries:
        if teachers := teachers_of(entry):
            pools.setdefault(teachers, str(entry.record.get("pool") or f"pool-of-{entry.key}"))
    return dict(zip(pools, page_names("pools", list(pools.values())), strict=True))


def page_names(folder: str, texts: Sequence[str]) -> list[str]:
    """A file in a folder for each text: letters of it that every disk and address takes, and a number if need be."""
    found: dict[str, None] = {}
    for text in texts:
        name = "-".join(slug(part) for part in text.split("/")).encode("ascii", "ignore").decode()[:LONGEST_NAME]
        name = name.strip("-") or "set"
        number = next(n for n in range(1, len(texts) + 2) if f"{name}{f'-{n}' * (n > 1)}" not in found)
        found[f"{name}{f'-{number}' * (number > 1)}"] = None
    return [f"{folder}/{name}.html" for name in found]


def page(
    entries: Sequence[dict[str, Any]],
    start: dict[str, str],
    *,
    hub: str,
    live: dict[str, Any] | None = None,
    title: str = TITLE,
    root: str = "",
    **more: Any,
) -> str:
    """A page, whole.

    Args:
        entries: what it is told of sets, see `Entry.facts`.
        start: the `view` that it begins with, and the `key` of its set.
        hub: that links lead to, "" for the one that serves the page.
        live: the `hub` that the page reads when it is opened ("" as above), the `tag` of its sets and their `owner`.
        title: of the page, until its script gives it one.
        root: leads from it to the gallery's folder.
        more: `single` where it is the gallery's only page, the page of `repositories` beside it.
    """
    facts = {"title": title, "site": TITLE, "root": root, "hub": hub, "live": live, "start": start, "entries": entries}
    facts |= {
        "methods": methods(),
        "single": False,
        "usual": verdict.regime_in_words("hard"),
        "tables": None if live is None else told.tables(),
    } | more
    data = json.dumps(facts, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for mark in "<>&\u2028\u2029":  # what could end the script's element, or a line of it
        data = data.replace(mark, f"\\u{ord(mark):04x}")
    style, script = text_of(*STYLES), script_of(live is not None)
    return template().render(
        version=__version__, title=title, style=style, script=script, data=data, policy=policy(style, script, live)
    )


def policy(style: str, script: str, live: dict[str, Any] | None) -> str:
    """What a page may do: run this script alone, show images that it holds, and read the Hub if it is to."""
    allowed = "'none'"
    if live is not None:  # the real Hub sends readers of files on to other hosts
        allowed = "https:" if live["hub"].startswith("https:") else live["hub"] or "'self'"
    return (
        f"default-src 'none'; script-src '{digest(script)}'; style-src '{digest(style)}'; img-src data: blob:; "
        f"connect-src {allowed}; base-uri 'none'; form-action 'none'"
    )


def digest(text: str) -> str:
    """As a policy names the content of an element."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@functools.cache
def text_of(*names: str) -> str:
    """Files beside this one, one after another."""
    return "\n".join((HERE / name).read_text(encoding="utf-8") for name in names)


@functools.cache
def script_of(reads: bool) -> str:
    """The script of a page; with what reads rows, if it reads the Hub."""
    own = text_of(*SCRIPTS)
    return f"{text_of(READER)}\n{own}" if reads else own


@functools.cache
def template() -> jinja2.Template:
    """What stands around style, data and script."""
    environment = jinja2.Environment(autoescape=True)
    return environment.from_string(text_of("page/page.html.jinja"))


@functools.cache
def methods() -> dict[str, dict[str, str]]:
    """Title and arXiv number of each method of this package, by its name."""
    known = {name: OBJECTIVES.words(name) for name in OBJECTIVES.declared}
    return {name: {key: words[key] for key in ("title", "arxiv") if key in words} for name, words in known.items()}
