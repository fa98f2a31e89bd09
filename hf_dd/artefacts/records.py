"""`hf_dd.json` read and written, and what every push does with the folder around it.

The record is written last: its presence says that the rest of the folder is there.
"""

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hf_dd import hub
from hf_dd.artefacts.record import Record
from hf_dd.core import files, json_records
from hf_dd.core.layout import CARD, RECORD
from hf_dd.errors import HubError, RunError


def read_record(folder: Path) -> dict[str, Any]:
    """The content of a folder's `hf_dd.json`; raises RunError where it is missing or broken."""
    path = folder / RECORD
    if not path.is_file():
        raise RunError(f"{folder} holds no finished run: it has no {RECORD}.")
    return json_records.read_json(path)


@contextlib.contextmanager
def links_to(folder: Path, patterns: Sequence[str]) -> Iterator[Path]:
    """A temporary folder of links to these files of a folder (glob patterns).

    A push rewrites there what tells of it: however it ends, the folder itself tells of no push that wasn't made.
    Raises RunError for a link that leads out of the folder, which would be pushed as what lies there.
    """
    with contextlib.ExitStack() as made:
        with files.writing(Path(os.environ.get("TMPDIR", "the folder of temporary files (TMPDIR)"))):
            name = made.enter_context(tempfile.TemporaryDirectory())
        found = {path for pattern in patterns for path in folder.glob(pattern)}
        for path in (path for path in found if not path.name.startswith(files.UNFINISHED)):
            if not path.resolve().is_relative_to(folder.resolve()):
                raise RunError(
                    f"{path} is a link to {path.resolve()}, outside of {folder}, and a push takes no file from "
                    "elsewhere: put the file itself there (`cp -rL` copies a folder so)."
                )
            link = Path(name) / path.relative_to(folder)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path.resolve())
        yield Path(name)


def retried(error: HubError, holds: str, again: str) -> HubError:
    """The error of a push that failed, with what is there still, and how to try again where that may help.

    Where a push like it isn't to be had, nothing can.
    """
    if isinstance(error, hub.Refused):
        return hub.Refused(f"{error} Nothing is lost: {holds}.")
    return HubError(f"{error} Nothing is lost: {holds}. {again}")


def write_record(folder: Path, record: Record, card: str | None = None) -> None:
    """Write the card, a record's own where none is given, then the record that says that all is there."""
    files.write_text(folder / CARD, record.card(hub.endpoint()) if card is None else card)
    files.write_json(folder / RECORD, dataclasses.asdict(record))
