"""What a gallery shows: sets in folders and on the Hub as plain data, whatever their records lack.

Neither torch nor datasets is needed for it. Records are those of others: what is too large is cut, and what isn't a
number for JSON is left out; the pages take nothing in them for granted.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_dd import hub
from hf_dd.core import files, json_records, progress
from hf_dd.core.layout import PARQUET, RECORD, SET_KINDS
from hf_dd.errors import HfDdError, HubError, RunError
from hf_dd.gallery import told

DEPTH = 3  # of folders below a source in which sets are looked for: a folder of studies has theirs there
LONGEST_TEXT, LONGEST_LIST, LONGEST_TITLE = 4000, 2000, 200  # characters and entries of a record's parts
OVERVIEW = (  # what pages of many sets need of a record
    *("kind", "name", "data", "settings", "teachers", "experts", "pool", "run", "diversity", "decoded", "pushed"),
)
UNSEEN = {"losses", "taught_by", "pairs", "shas", "bytes_exchanged", "head"}  # of its parts
LISTED = ("objective", "ipc", "iterations", "architecture", "clom", "clom_alpha", "method", "paper")  # of its options


@dataclass(frozen=True)
class Entry:
    """A set of a gallery.

    Attributes:
        key: what no other set of the gallery is called: `owner/name`, or a folder's name.
        record: the content of its `hf_dd.json`, tidied.
        rows: its parquet file, if it is there.
        ref: the repository that it was read from, None for a folder.
        sha: the commit.
        changed: whether the rows aren't those that the record is of.
    """

    key: str
    record: dict[str, Any]
    rows: Path | None
    ref: str | None = None
    sha: str | None = None
    changed: bool = False

    @property
    def title(self) -> str:
        """What it is called: its repository, else as its record says."""
        return self.ref or str(self.record.get("name") or self.key)[:LONGEST_TITLE]

    def facts(self, labels: Sequence[int] = ()) -> dict[str, Any]:
        """What pages of many sets are told of it; `labels` are those of its rows, where they could be read."""
        url = f"{hub.endpoint()}/datasets/{self.ref}" if self.ref else None
        return {
            **{"key": self.key, "name": self.title, "ref": self.ref, "sha": self.sha, "hub": url},
            "record": overview(self.record),
            "told": told.of(self.record, labels, self.changed),
            **({"changed": True} if self.changed else {}),
        }

    def whole(self, facts: dict[str, Any]) -> dict[str, Any]:
        """What its own page is told of it: more than these `facts` that pages of many sets are told."""
        more = told.of_one(self.record, self.ref, self.sha, self.changed)
        record = {name: value for name, value in self.record.items() if name != "results"}  # they are told
        return facts | {"record": record, "told": facts["told"] | more}


def collect(sources: Sequence[str], tag: str, owner: str | None = None, public: bool = False) -> list[Entry]:
    """The sets of folders and repositories, or those on the Hub with a tag (of an owner) where no source is named.

    What turns out to be no set of hf-dd is left out, which is said; if `public`, so is what not everybody may read.
    Raises RunError or HubError, naming the source, for one that isn't there or holds no set, and where nothing is
    found at all.
    """
    if not sources:
        pins = hub.find_datasets([tag], owner, public)
        entries = pulled(pins)
        if not entries:
            what = f"{'public ' * public}distilled set{f' of {owner}' if owner else ''}"
            raise HubError(
                f"{hub.endpoint()} has no {what} with the tag {tag}: push one (`hf-dd push FOLDER`), or name folders "
                "or repositories (`hf-dd gallery build outputs owner/name`)."
            )
        return entries
    entries, pins = [], []
    for source in dict.fromkeys(sources):
        place = hub.find(source, "dataset")
        if place is None:
            raise HubError(
                f"There is no folder {source!r}, and it names no repository: give a folder that holds distilled sets, "
                "or owner/name or owner/name@revision of the Hub."
            )
        if place.local:
            entries += in_folder(Path(place.path))
        else:
            pins.append(place.pin)
    entries += pulled(pins, required=True)
    return with_own_keys(entries)


def in_folder(folder: Path) -> list[Entry]:
    """The sets in a folder, or below it; raises RunError where there is none."""
    candidates = (path for depth in range(DEPTH + 1) for path in sorted(folder.glob("*/" * depth + RECORD)))
    entries = []
    for place in dict.fromkeys(path.parent for path in candidates):
        if not any(part.startswith(".") for part in place.relative_to(folder).parts):
            with left_out(str(place)) if place != folder else contextlib.nullcontext():
                entries += entry_of(place, place.resolve().name)
    if not entries:
        raise RunError(
            f"{folder} holds no distilled set: none of its folders has a {RECORD} of one, which `hf-dd distill` and "
            "`hf-dd import` write."
        )
    return entries


def pulled(pins: Sequence[hub.Pin], required: bool = False) -> list[Entry]:
    """The sets at commits of the Hub; where they are `required`, raises HubError or RunError for one that is none."""
    entries = []
    for pin in progress.over(pins, "reading sets", len(pins), "set"):
        with contextlib.nullcontext() if required else left_out(pin.repo_id):
            found = list(entry_of(hub.pull(pin, "dataset", [RECORD, PARQUET]), pin.repo_id, pin))
            if required and not found:
                raise RunError(f"{pin.repo_id} holds no distilled set: its {RECORD} is of something else.")
            entries += found
    return entries


@contextlib.contextmanager
def left_out(what: str) -> Iterator[None]:
    """Let a set that can't be read be left out, and say so."""
    try:
        yield
    except HfDdError as error:
        progress.say("left out %s: %s", what, error)


def entry_of(folder: Path, key: str, pin: hub.Pin | None = None) -> Iterator[Entry]:
    """The set in a folder; none where its record is of something else. Raises RunError where it can't be read."""
    path, rows = folder / RECORD, folder / PARQUET
    if not path.is_file():
        raise RunError(f"{key} has no {RECORD}, which says what a set is made of.")
    record = json_records.read_json(path)
    if record.get("kind") in SET_KINDS:
        rows = rows if rows.is_file() else None
        digest = record.get("parquet_sha256")
        changed = bool(rows and digest) and files.digest_of(rows) != digest
        about = {"ref": pin.repo_id, "sha": pin.sha} if pin else {}
        yield Entry(key, tidied(with_count(record)), rows, changed=changed, **about)


def with_own_keys(entries: Sequence[Entry]) -> list[Entry]:
    """The same sets with a number behind a key that others have too; what was named twice is there once."""
    found: dict[str, Entry] = {}
    for entry in entries:
        if entry in found.values():
            continue
        names = (entry.key if number == 1 else f"{entry.key}-{number}" for number in range(1, len(entries) + 1))
        key = next(name for name in names if name not in found)
        found[key] = Entry(**(vars(entry) | {"key": key}))
    return list(found.values())


def with_count(record: dict[str, Any]) -> dict[str, Any]:
    """A record that says how many classes its data have, as `classes`: their names may be cut."""
    data = record.get("data")
    if not isinstance(data, dict) or not isinstance(data.get("class_names"), list):
        return record
    return record | {"data": data | {"classes": len(data["class_names"])}}


def tidied(value: Any) -> Any:
    """Content of JSON as a page can hold it: texts and lists cut, no numbers that JSON has no word for."""
    if isinstance(value, str):
        return value if len(value) <= LONGEST_TEXT else value[:LONGEST_TEXT] + "…"
    if isinstance(value, list):
        return [tidied(part) for part in value[:LONGEST_LIST]]
    if isinstance(value, dict):
        return {tidied(key): tidied(part) for key, part in list(value.items())[:LONGEST_LIST]}
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value if json_records.holds(value) else None  # so is NaN
    return value


def overview(record: dict[str, Any]) -> dict[str, Any]:
    """Of a record, what pages of many sets show."""
    record = record if "classes" in told.mapping(record.get("data")) else with_count(record)
    kept = {name: without_unseen(record[name]) for name in OVERVIEW if record.get(name) is not None}
    if isinstance(kept.get("settings"), dict):
        kept["settings"] = {name: value for name, value in kept["settings"].items() if value not in (None, "", [])}
    data = kept.get("data")
    if isinstance(data, dict) and isinstance(data.get("class_names"), list):
        kept["data"] = data | {"class_names": data["class_names"][:10]}
    return kept


def listed(facts: dict[str, Any]) -> dict[str, Any]:
    """Of what pages of many sets are told of one, what the list of all shows."""
    record = facts["record"]
    settings = record.get("settings")
    if isinstance(settings, dict):
        record = record | {"settings": {name: settings[name] for name in LISTED if name in settings}}
    return facts | {"record": record}


def without_unseen(value: Any) -> Any:
    """Content of JSON without the parts that only a set's own page shows."""
    if isinstance(value, dict):
        return {key: without_unseen(part) for key, part in value.items() if key not in UNSEEN}
    return [without_unseen(part) for part in value] if isinstance(value, list) else value
