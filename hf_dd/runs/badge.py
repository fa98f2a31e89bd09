"""What a reproduction found, on the card of one's own set or teacher: in its folder, or by a commit."""

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

from hf_dd import hub
from hf_dd.artefacts.comparison import Verdict
from hf_dd.artefacts.record import Record
from hf_dd.artefacts.records import write_record
from hf_dd.core import files
from hf_dd.core.layout import CARD, RECORD
from hf_dd.errors import RunError
from hf_dd.runs.recorded import Source, opened

LATER = ("reproduction", "results", "pushed")  # of a record, what is said once the set is made
SENTENCE = ("**Reproduced**", "**Not reproduced**", "**Neither reproduced nor refuted**")


def require_own(source: Source) -> None:
    """Raise an error, before anything is run, where the card couldn't be written."""
    if not source.place.local:
        hub.require_pushable(source.place.path, source.place.repo_type)
        require_main(source)


def write(source: Source, verdict: Verdict) -> str:
    """Write what was found onto the card, whether it holds or not; gives where that is."""
    found = {"holds": verdict.holds, "judged": verdict.judged, "says": verdict.says}
    found |= {"hardware": verdict.hardware, "versions": verdict.versions}
    if source.place.local:
        with files.claimed(source.folder):
            record = dataclasses.replace(
                opened(source.reference, source.place, source.folder).record, reproduction=found
            )
            write_record(source.folder, record)
        return str(source.folder / CARD)
    for attempt in range(hub.ATTEMPTS):
        try:
            return push(source, found)
        except hub.Outrun:
            if attempt == hub.ATTEMPTS - 1:
                raise


def push(source: Source, found: dict[str, Any]) -> str:
    """Write it onto a card of the Hub, by one commit of card and record on top of main; all tags stay."""
    place, main = source.place, require_main(source)
    before = main.record
    record = dataclasses.replace(before, reproduction=found)
    told = (main.folder / CARD).read_text(encoding="utf-8")
    card = record.card(hub.endpoint(), place.path)
    if told != before.card(hub.endpoint(), place.path):  # somebody has written into it: that stays
        sentence = next(line for line in card.splitlines() if line.startswith(SENTENCE))
        lines = [line for line in told.rstrip().splitlines() if not line.startswith(SENTENCE)]
        card = "\n".join([*lines, "", sentence, ""])
    with tempfile.TemporaryDirectory() as folder:
        write_record(Path(folder), record, card)
        done = hub.push_files(
            *(Path(folder), place.path, place.repo_type, (CARD, RECORD)),
            f"hf-dd reproduce: {'holds' if found['holds'] else 'does not hold'}",
            branch=None,
            create_pr=False,
        )
    return done.commit_url


def require_main(source: Source) -> Source:
    """What lies at the head of main; raises RunError where that isn't what is reproduced."""
    main = dataclasses.replace(source.place, revision=None)
    there = opened(source.reference, main, main.folder([CARD, RECORD]))
    if content_of(there.record) != content_of(source.record):
        raise RunError(
            f"--verify_badge writes onto the card of {main.path}, which is that of main, and main holds something "
            f"else than {source.reference} by now: reproduce {main.path} itself, or leave the badge out."
        )
    return there


def content_of(record: Record) -> dict[str, Any]:
    """What a record says of how something was made."""
    return {key: value for key, value in dataclasses.asdict(record).items() if key not in LATER}
