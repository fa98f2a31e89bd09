"""What pages are told of a set: decided here from its record, as cards have it, so that no page decides it again.

Pages that read the Hub do the same for the records that they read themselves (`page/live.js`); a test holds the two
together. Records are those of others: what isn't as ours have it is left out, and nothing raises here.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from hf_dd.artefacts import reading
from hf_dd.core import json_records
from hf_dd.core.layout import IMPORTED_SET, PARQUET, RECORD, SET_KINDS
from hf_dd.core.registry import OBJECTIVES
from hf_dd.core.text import ipc_in_words, number
from hf_dd.evaluation import verdict
from hf_dd.evaluation.row_facts import RowFacts
from hf_dd.gallery import images

Facts = Mapping[str, Any]
ROW = (  # of a row of results
    *("set", "architecture", "copy", "baseline", "mean", "half_width", "n", "ipc", "epochs", "bytes"),
    *("soft_label_bytes", "backbone"),
)
PLACE, COMMIT = "OWNER/NAME", "COMMIT"  # in lines for a set that a page finds by itself


def of(record: Facts, labels: Sequence[int] = (), changed: bool = False) -> dict[str, Any]:
    """What every page is told of a set, JSON-able.

    Args:
        record: the content of its `hf_dd.json`.
        labels: of its rows, where they could be read.
        changed: whether these aren't those of the record: its results are of others, then.
    """
    settings, data = mapping(record.get("settings")), mapping(record.get("data"))
    results = sound({} if changed else record.get("results"))
    rows = [row_of(row, results) for row in results["rows"]]
    own, names = [row for row in rows if row.get("own")], data.get("class_names")
    classes = data.get("classes") if is_count(data.get("classes")) else len(names) if isinstance(names, list) else 0
    count = record.get("images") if is_count(record.get("images")) else None
    if count is None and is_count(settings.get("ipc")) and classes:
        count = settings["ipc"] * classes
    said = (each for each in (*(row.get("ipc") for row in own), settings.get("ipc")) if each is not None)
    ipc = next((str(each) for each in said if isinstance(each, str) or is_count(each)), None)
    return {
        "imported": record.get("kind") == IMPORTED_SET,
        "images": count,
        "ipc": ipc or (ipc_in_words(list(Counter(labels).values())) if labels else None),
        "mean_ipc": count / classes if count and classes else None,
        "origin": origin_of(record, settings),
        "labels": list(dict.fromkeys(row["labels"] for row in own)) or labels_of(record),
        "storage": storage_of(record, own),
        "rows": rows,
        "hardware": results["hardware"],
    }


def of_one(record: Facts, repo_id: str | None, sha: str | None, changed: bool = False) -> dict[str, Any]:
    """What a set's own page is told besides: what its results say, in sentences, and the lines to use it.

    `repo_id` and `sha` are of the repository that it was read from; None for a folder.
    """
    results, pushed = sound({} if changed else record.get("results")), mapping(record.get("pushed"))
    place = (repo_id, sha) if repo_id else (text(pushed.get("repo_id")), text(pushed.get("tag")))
    return {
        "sentences": verdict.sentences(results) if results["rows"] else [],
        "load": reading.load_lines(*place, reading.configuration(record)),
        "reproduce": reading.reproducing(reading.reference_of(*place)) if record.get("command") else None,
    }


def tables() -> dict[str, Any]:
    """What a page has to know to do the same as `of`: names, words, and how much it takes of rows."""
    configurations = (None, reading.configuration({"decoded": True}))
    return {
        "record": RECORD,
        "rows": PARQUET,
        "kinds": SET_KINDS,
        "imported": IMPORTED_SET,
        "regimes": verdict.REGIMES,
        "chosen": [name for name in OBJECTIVES.declared if OBJECTIVES.said(name, "chooses")],
        "most": images.MOST_IMAGES,
        "starts": {kind: list(start) for start, kind in images.STARTS.items()},
        "place": [PLACE, COMMIT],
        "load": [reading.load_lines(PLACE, COMMIT, each) for each in configurations],
        "reproduce": reading.reproducing(reading.reference_of(PLACE, COMMIT)),
    }


def sound(results: Any) -> dict[str, Any]:
    """Of results, what is as ours have it: rows of percentages, and what is said of all of them."""
    found = mapping(results)
    rows, labels = found.get("rows"), mapping(found.get("protocol")).get("labels")
    return {
        "rows": [row for row in rows if is_row(row)] if isinstance(rows, list) else [],
        "protocol": {"labels": text(labels)},
        "protocols": protocols_of(found),
        "hardware": text(found.get("hardware")),
        **{key: found[key] for key in ("majority", "chance", "test_images") if is_number(found.get(key))},
    }


def is_row(row: Any) -> bool:
    """Whether this is a row of results, and its mean a percentage."""
    return not json_records.faults(row, RowFacts, "row") and 0 <= row["mean"] <= 100


def row_of(row: Facts, results: Facts) -> dict[str, Any]:
    """Of a row what pages show, with what its students learned from, under which protocol, and what it gains."""
    first = next((each["set"] for each in results["rows"] if not each.get("baseline")), None)
    regime, over = verdict.regime_of(row, results), None
    if not row.get("baseline"):
        over = verdict.over_random(row, results)
    said = {
        "own": not row.get("baseline") and row["set"] == first,
        "labels": verdict.regime_in_words(regime),
        "protocol": results["protocols"].get(regime) or results["protocols"].get(None),
        "mark": verdict.mark(row, results).strip(),
        "gain": over and over.as_dict(),
    }
    return {name: row[name] for name in ROW if row.get(name) is not None} | {k: v for k, v in said.items() if v}


def protocols_of(results: Facts) -> dict[str | None, str]:
    """By the regime the protocols of results in words; by None the one that has none of its own."""
    tested = [f"tested by {how}" for how in mapping(results.get("tested")).values() if isinstance(how, str)]
    of_regimes = {None: results.get("protocol")} | mapping(results.get("protocols"))
    found = {}
    for regime, protocol in of_regimes.items():
        protocol = mapping(protocol)
        names = protocol.get("changed") if isinstance(protocol.get("changed"), list) else []
        changed = [f"{name} {spelt(protocol.get(name))}".strip() for name in names if isinstance(name, str)]
        if name := text(protocol.get("name")):
            about = ", ".join([*changed, *tested])
            found[regime] = f"{name} v{spelt(protocol.get('version'))}" + (f", changed: {about}" if about else "")
    return found


def origin_of(record: Facts, settings: Facts) -> str | None:
    """See `reading.origin`; None also where the record doesn't say it."""
    if record.get("kind") == IMPORTED_SET:
        says = isinstance(settings.get("method"), str)
    else:
        says = is_number(settings.get("iterations"))
    return reading.origin(record["kind"], settings) if says else None


def labels_of(record: Facts) -> list[str]:
    """What students of a set would learn from, in words: what is stored with it; nothing where it doesn't say that."""
    if "soft_labels" not in record:
        return []
    return [verdict.regime_in_words(each) for each in reading.stored_labels(record)]


def storage_of(record: Facts, own: Sequence[Facts]) -> dict[str, int]:
    """The bytes of the images of each copy, and of the soft labels and labels of crops beside them."""
    stored, crops = mapping(record.get("storage")), mapping(record.get("crop_labels")).get("bytes")
    found = {key: stored.get(key) for key in ("float", "8bit", "soft_labels")} | {"crop_labels": crops}
    found = {key: value for key, value in found.items() if is_count(value) and value > 0}
    return {row["copy"]: row["bytes"] for row in own if row["copy"] in ("float", "8bit")} | found


def mapping(value: Any) -> dict[str, Any]:
    """A mapping, or an empty one for what is none."""
    return value if isinstance(value, dict) else {}


def text(value: Any) -> str | None:
    """A text; None for what is none, or empty."""
    return value if isinstance(value, str) and value else None


def spelt(value: Any) -> str:
    """A text or a number; nothing for other things."""
    return number(value) if isinstance(value, str | int | float) else ""


def is_number(value: Any) -> bool:
    """Whether this is a number of JSON."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_count(value: Any) -> bool:
    """Whether this is a number of things."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
