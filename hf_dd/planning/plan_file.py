"""The file that a plan is kept in: what it may hold, and whether a run can go on with it."""

import math
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hf_dd.config import DistillConfig
from hf_dd.config.base import is_default
from hf_dd.core import json_records
from hf_dd.errors import RunError, some
from hf_dd.planning.budget import RaceSize

FACTS = {  # of a plan's file beside its request, as far as they were found out by then
    "folder": str,
    "spent": float,
    "teachers": list[str],
    "race": RaceSize | None,
    "scores": dict[str, dict[str, float]] | list,  # a list in those of 0.1, which say nothing any more
    "race until": float,
    "pace": float,
    "herding": float,
    "look": int,
    "iterations": int,
    "won": str,
    "decided": dict,
}
MEASURED = {"costs of ": list[float], "step of ": float}  # by how their names begin
MAY_BE_BELOW_0 = "race until"
# Options of which earlier versions' plans hold the default where they weren't given.
ALWAYS_SAID = ("eval_students", "clom_alpha", "clom_balance", "clom_augment")


def read_plan(path: Path, request: dict[str, Any] | None = None) -> dict[str, Any]:
    """What a plan's file holds; raises RunError where that is no plan, or one for another request than is given."""
    try:
        kept = json_records.read_json(path, request=dict)
        if wrong := list(faults(kept)):
            raise RunError(f"{path} isn't a plan of this version of hf-dd: {some(wrong)}.")
        there = kept["request"]
        if differing := [name for name, value in (request or {}).items() if not is_same(name, there.get(name), value)]:
            raise RunError(f"{path} is a plan for other options ({', '.join(differing)} differ).")
    except RunError as error:
        raise RunError(
            f"{error} Plan anew by --overwrite_output_dir in the place of --resume_from_checkpoint, or give another "
            "--output_dir."
        ) from error
    return kept


def is_same(name: str, there: Any, here: Any) -> bool:
    """Whether a plan and a run ask for the same, there as the plan's version wrote it."""
    not_given = here is None and name in ALWAYS_SAID
    return there == here or (not_given and is_default(DistillConfig.__dataclass_fields__[name], there))


def faults(kept: dict[str, Any]) -> Iterator[str]:
    """What keeps the content of a plan's file from being gone on with."""
    known = FACTS | {name: hint for name in kept for start, hint in MEASURED.items() if name.startswith(start)}
    wrong = json_records.faults_within(kept, {name: hint for name, hint in known.items() if name in kept}, "")
    yield from wrong
    if wrong:
        return
    options = typing.get_type_hints(DistillConfig)
    decided, asked, scores = kept.get("decided", {}), kept["request"], kept.get("scores")
    yield from (f"decided.{name} is no option" for name in decided if name not in options)
    for where, given in (("decided.", decided), ("request.", asked)):
        yield from json_records.faults_within(given, {name: options[name] for name in given if name in options}, where)
    for name, of_one in scores.items() if isinstance(scores, dict) else ():
        yield from (f"scores.{name}.{rung} is of no iteration" for rung in of_one if not rung.isdecimal())
    for name in known.keys() & kept.keys():
        if name != MAY_BE_BELOW_0 and least_of(kept[name]) < 0:
            yield f"{name} is below 0"
        if name.startswith("costs of ") and len(kept[name]) != 2:
            yield f"{name} holds {len(kept[name])} numbers"
    if (race := kept.get("race")) and not (race["entrants"] > 0 < race["epochs"] and race["seconds"]):
        yield "race has nothing to run"


def least_of(fact: Any) -> float:
    """The smallest number in a fact; infinity where it holds none."""
    if isinstance(fact, dict | list):
        return min(map(least_of, fact.values() if isinstance(fact, dict) else fact), default=math.inf)
    return fact if isinstance(fact, int | float) else math.inf


def moved(kept: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A plan that names the run's own teachers where they lie now: its folder may be another than when it was made."""
    before = f"{kept.get('folder', folder)}/"
    for place in (kept, kept.get("decided", {})):
        if "teachers" in place:
            named = place["teachers"]
            place["teachers"] = [
                f"{folder}/{each.removeprefix(before)}" if each.startswith(before) else each for each in named
            ]
    return kept | {"folder": str(folder)}
