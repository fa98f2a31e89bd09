"""`hf_dd.json`: what a folder of ours says of itself, and files that are written whole or not at all.

The record is written last: its presence says that the rest of the folder is there.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hf_dd import cards
from hf_dd.cards import DistilledRecord, ImportedRecord, TeacherRecord
from hf_dd.errors import RunError

RECORD = "hf_dd.json"


def read_record(folder: Path) -> dict[str, Any]:
    """The content of a folder's `hf_dd.json`; raises RunError where it is missing or broken."""
    path = folder / RECORD
    if not path.is_file():
        raise RunError(f"{folder} holds no finished run: it has no {RECORD}.")
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise RunError(f"{path} isn't valid JSON ({error}).") from error
    if not isinstance(content, dict):
        raise RunError(f"{path} isn't a record of hf-dd: it holds {type(content).__name__}, not a mapping.")
    return content


def write_record(folder: Path, record: DistilledRecord | ImportedRecord | TeacherRecord, card: str) -> None:
    """Write the card, then the record that says that all is there."""
    write(folder / "README.md", lambda path: path.write_text(card))
    write(folder / RECORD, lambda path: path.write_text(json.dumps(cards.as_json(record), indent=2)))


def write(path: Path, save: Callable[[Path], Any]) -> None:
    """Let `save` write a file beside its place, then move it there: a reader sees all of it or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".unfinished-{path.name}")
    save(unfinished)
    os.replace(unfinished, path)
