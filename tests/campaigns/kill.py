"""Commands that are killed before a change of a file, or at some moment; the same command goes on to the same bytes.

Right after the kill, too, whatever claims to be finished is whole, and what was there before is there, or the new is.
"""

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.campaigns.campaign import Outcome, Try, hub, main, preload, run
from tests.campaigns.commands import Kind, again, kinds, leftovers, problems


class Reference:
    """A command that isn't disturbed: its result, its seconds, and the changes of files that it makes."""

    def __init__(self, kind: Kind, place: Path):
        place.mkdir(parents=True)
        folder = place / "out"
        kind.prepare(folder)
        self.before = kind.result(folder) if kind.old and kind.name != "push" else None
        ended = run(
            kind.arguments(folder), place, cache=place / "cache", watch=place, changes=place.with_suffix(".changes")
        )
        if ended.code != 0:
            raise RuntimeError(ended.output)
        self.result, self.seconds = kind.result(folder), ended.seconds
        self.changes = place.with_suffix(".changes").read_text().splitlines()
        shutil.rmtree(place)


def tries(rng: random.Random, work: Path) -> Iterator[Try]:
    """Kind after kind, two of three killed before a change, the third after a time."""
    with hub(work / "hub") as environment:
        os.environ.update(environment)
        preload()
        known, references, number = kinds(work / "inputs"), {}, 0
        while True:
            for kind in known:
                if number % (kind.cost + 1) == 0 or kind.name not in references:
                    if kind.name not in references:
                        references[kind.name] = Reference(kind, work / f"reference-{kind.name.replace(' ', '-')}")
                    yield tried(kind, references[kind.name], rng, work / f"case-{number}")
                number += 1


def tried(kind: Kind, reference: Reference, rng: random.Random, place: Path) -> Try:
    """Kill a command, look at what is left, and run it again."""
    place.mkdir()
    folder, cache = place / "out", place / "cache"
    kind.prepare(folder)
    if rng.random() < 2 / 3:
        at = rng.randrange(len(reference.changes))
        case, how = f"before {reference.changes[at]} ({at + 1})", {"kill_at": at + 1, "watch": place}
    else:
        after = rng.uniform(0, 1) * reference.seconds
        case, how = f"after {after:.2f} of {reference.seconds:.2f} s", {"signal_after": after}
    killed = run(kind.arguments(folder), place, cache=cache, **how)
    outcome, seen = judged(kind, reference, folder, cache, killed.code == 0)
    if outcome is Outcome.RIGHT:
        shutil.rmtree(place)
    return Try(kind.name, case, outcome, seen)


def judged(kind: Kind, reference: Reference, folder: Path, cache: Path, ended: bool) -> tuple[Outcome, str]:
    """What is left, and what the same command makes of it."""
    if found := problems(folder):
        return Outcome.LOST, "after the kill: " + "; ".join(found)
    if kind.old and kind.name.endswith("over"):
        there = kind.result(folder)  # the new one may not have been evaluated yet
        if not any(files_of(what).items() <= there.items() for what in (reference.before, reference.result)):
            return Outcome.LOST, f"neither the old nor the new one is there: {sorted(there)}"
    done = again(kind, folder, cache)
    finished = ended and done.clear  # it came too late: the folder holds the finished set, and the command says so
    if done.code != 0 and not finished and not (done.clear and "holds another set" in done.output and not found):
        return (Outcome.LOST if done.clear else Outcome.TRACEBACK), f"going on: {done.code} {done.last}"
    result = kind.result(folder)
    if differing := [
        name for name in {**result, **reference.result} if result.get(name) != reference.result.get(name)
    ]:
        return Outcome.WRONG, f"differ: {', '.join(sorted(differing))}"
    if found := [*problems(folder), *leftovers(folder.parent)]:
        return Outcome.LOST, "left: " + "; ".join(found)
    return Outcome.RIGHT, ""


def files_of(result: dict[str, str]) -> dict[str, str]:
    """The rows, previews and weights of a result."""
    return {
        name: value for name, value in result.items() if name.endswith((".parquet", "preview.png", ".safetensors"))
    }


if __name__ == "__main__":
    main("kill", tries)
