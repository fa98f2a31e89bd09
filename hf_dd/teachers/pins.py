"""A pool as commits: the notes of a collection, or `pool.json`, which is also written beside a distilled set.

A revision may mean another commit by now: what was locked is what counts, and what is used.
"""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_dd import hub
from hf_dd.core import json_records
from hf_dd.core.layout import LOCK
from hf_dd.errors import HfDdError, HubError, RunError, TeacherError
from hf_dd.teachers import adapters
from hf_dd.teachers.locating import is_trusted, load_teacher, locate, spec_of
from hf_dd.teachers.teacher import TeacherSpec, naming

TRACE = "trace.json"  # beside a lock: how it was chosen, if it was
PIN_IN_NOTE = re.compile(r"(?P<revision>[^\s=]+)=(?P<sha>[0-9a-f]{40})")
SLUG = re.compile(r"[^/@]+/[^/@]*-[0-9a-f]{24}")  # of a collection, whose title may have no letter that it keeps
SHA = re.compile(r"[0-9a-f]{40}|sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Lock:
    """What a pool is made of, read from wherever it was kept.

    Attributes:
        source: a collection's slug, a file or folder, or the `owner/name@sha` of a distilled set.
        pins: at least one; of a `pool.json` as `TeacherSpec`, which the notes of a collection don't give.
    """

    source: str
    pins: Sequence[hub.Pin]

    def specs(self) -> list[TeacherSpec]:
        """What is known of each teacher: as it was written, else as its files say; raises TeacherError or HubError."""
        return [pin if isinstance(pin, TeacherSpec) else described(pin) for pin in self.pins]


def read(place: str) -> Lock:
    """A pool by a collection's slug, a `pool.json`, or a distilled set that holds one (its folder or Hub reference).

    Raises TeacherError or HubError, naming the place, where there is none.
    """
    if Path(place).is_file():
        return of_file(Path(place), place)
    found = hub.find(place, "dataset")
    if SLUG.fullmatch(place) and not (found and found.local):
        return of_collection(place)
    if found is None:
        raise HubError(
            f"Pool {place}: there is no such file or folder, and it is neither a collection's slug (owner/title-<24 "
            "hex digits>) nor a distilled set on the Hub (owner/name or owner/name@revision)."
        )
    if found.local:
        return of_file(found.folder([LOCK]) / LOCK, place)
    try:
        return of_file(found.folder([LOCK]) / LOCK, found.pin.reference)
    except HubError as error:
        raise HubError(
            f"Pool {place} isn't a collection's slug (owner/title-<24 hex digits>). As a distilled set: {error}"
        ) from error


def of_file(path: Path, source: str) -> Lock:
    """The lock in a `pool.json`; raises TeacherError, naming the source, where it is none."""
    if not path.exists():
        raise TeacherError(f"{source} holds no {LOCK}: it was made without teachers, or isn't a distilled set.")
    try:
        specs = specs_of(json_records.read_json(path, teachers=list)["teachers"])
    except RunError as error:
        raise TeacherError(
            f"{source} isn't a pool's lock: {error} `hf-dd pool create --output {LOCK}` writes one, and so does "
            "`hf-dd distill`."
        ) from error
    if not specs:
        raise TeacherError(f"{source} names no teacher: a pool holds at least one.")
    return Lock(source, specs)


def specs_of(entries: Iterable[dict[str, Any]]) -> list[TeacherSpec]:
    """Teachers as a lock or a record lists them; raises RunError for what isn't a pinned teacher."""
    specs = [
        json_records.as_record(entry, TeacherSpec, f"teacher {number}") for number, entry in enumerate(entries, 1)
    ]
    for spec in specs:
        if not (spec.repo_id and spec.revision and SHA.fullmatch(spec.sha)):
            raise RunError(f"{spec.repo_id!r} at {spec.revision!r} and {spec.sha!r} is no commit of a teacher.")
    return specs


def content(source: str | None, specs: Sequence[TeacherSpec]) -> dict[str, Any]:
    """What `pool.json` holds, JSON-able."""
    return {"source": source, "teachers": [dataclasses.asdict(spec) for spec in specs]}


def of_collection(slug: str) -> Lock:
    """The commits that the notes of a collection pin; raises TeacherError where an item isn't a pinned model."""
    pins = list(pins_of(hub.read_collection(slug)))
    if not pins:
        raise TeacherError(f"Collection {slug} is empty: a pool holds at least one teacher.")
    return Lock(slug, pins)


def notes_of(pins: Iterable[hub.Pin]) -> list[hub.CollectionItem]:
    """One item per repository, its note pinning each of its revisions: what `pins_of` reads back."""
    notes: dict[str, list[str]] = {}
    for pin in pins:
        words = notes.setdefault(pin.repo_id, [])
        word = f"{pin.revision}={pin.sha}"
        if word in words:
            raise TeacherError(f"{pin.repo_id}@{pin.revision} is named twice: leave one out.")
        words.append(word)
    return [hub.CollectionItem(repo_id, "model", " ".join(words)) for repo_id, words in notes.items()]


def pins_of(collection: hub.Collection) -> Iterator[hub.Pin]:
    """The commits that a collection's notes pin: `epoch-10=<sha> …` for each of its models."""
    for item in collection.items:
        if item.kind != "model":
            raise TeacherError(
                f"Collection {collection.slug} holds the {item.kind} {item.repo_id}; a pool holds models."
            )
        if not is_pinned(item):
            raise TeacherError(
                f"The note of {item.repo_id} in {collection.slug} pins no commits: it reads {item.note!r}, not "
                "'epoch-10=<40 hex digits> …'. Make one of another title with `hf-dd pool create`."
            )
        yield from (hub.Pin(item.repo_id, *word.split("=")) for word in item.note.split())


def is_pinned(item: hub.CollectionItem) -> bool:
    """Whether an item of a collection is a model whose note pins commits, and nothing else."""
    words = item.note.split()
    return item.kind == "model" and bool(words) and all(map(PIN_IN_NOTE.fullmatch, words))


def require_weights(pin: hub.Pin, trusted: Sequence[str] = ()) -> None:
    """Raise TeacherError where a teacher of the Hub has no weights that may be read: of those in `trusted` any."""
    if not is_trusted(pin, trusted):
        with naming(f"Teacher {pin}"):
            adapters.require_safetensors(hub.list_files(pin))


def described(pin: hub.Pin) -> TeacherSpec:
    """What the files of a teacher say of it, its weights aside; raises TeacherError or HubError."""
    folder = (
        locate(pin)[1] if pin.local else hub.pull(pin, files=adapters.DESCRIPTION, dispensable=adapters.DISPENSABLE)
    )
    with naming(f"Teacher {pin}"):
        return spec_of(pin, folder, adapters.about(folder))


def moved(pin: hub.Pin) -> str | None:
    """What there is to warn of where a revision doesn't mean its locked commit any more; None where it does."""
    if pin.local:
        return None
    try:
        now = hub.resolve(f"{pin.repo_id}@{pin.revision}")
    except HubError as error:
        return f"{error} The locked commit {pin.sha} is what counts."
    if now.sha == pin.sha:
        return None
    return (
        f"{pin.repo_id}@{pin.revision} moved since the pool was locked: it was {pin.sha} and is {now.sha}. The locked "
        "commit is what counts."
    )


def difference(first: Lock, second: Lock) -> tuple[list[hub.Pin], list[hub.Pin], list[tuple[hub.Pin, hub.Pin]]]:
    """What is in the first pool alone, in the second alone, and what moved: a revision at two commits."""
    before, after = ({(pin.repo_id, pin.revision): pin for pin in lock.pins} for lock in (first, second))
    return (
        [pin for place, pin in before.items() if place not in after],
        [pin for place, pin in after.items() if place not in before],
        [(pin, after[place]) for place, pin in before.items() if place in after and after[place].sha != pin.sha],
    )


def verify(lock: Lock, trusted: Sequence[str] = ()) -> Iterator[tuple[hub.Pin, HfDdError | None]]:
    """Whether each teacher is still there at its commit and loads, strictly and frozen: its pin, and what is wrong.

    The Hub is asked even for what lies in the cache: where it can't be, what is wrong is hub.Unreached, unless the
    cache's own doesn't load. `trusted` names repositories whose pickles may be read.
    """
    for pin in lock.pins:
        wrong: HfDdError | None = None
        try:
            if not pin.local:
                try:
                    hub.list_files(pin)
                except hub.Unreached as error:
                    wrong = error
            load_teacher(*locate(pin, trusted), trusted)
        except HfDdError as error:
            wrong = error
        yield pin, wrong
