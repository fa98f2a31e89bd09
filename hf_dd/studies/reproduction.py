"""`hf-dd reproduce` of anything: a study is made again cell by cell, everything else as one (`runs.reproduce`)."""

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hf_dd import hub
from hf_dd.artefacts.comparison import Verdict
from hf_dd.artefacts.distilled_folder import Artefact, record_of
from hf_dd.artefacts.records import read_record
from hf_dd.artefacts.set_records import DistilledRecord
from hf_dd.config import PretrainConfig
from hf_dd.config.base import less_memory
from hf_dd.config.reproduction import ReproduceConfig, read_command
from hf_dd.core import json_records
from hf_dd.core.alone import alone
from hf_dd.core.layout import PARQUET, RECORD, training_run
from hf_dd.core.processes import by_main_process, from_main_process
from hf_dd.core.progress import say
from hf_dd.errors import ConfigError, RunError, nearest_first, some
from hf_dd.runs import badge
from hf_dd.runs.recorded import Source, located, made_by, opened, require_installed
from hf_dd.runs.reproduce import kept, reproduced, reproducing
from hf_dd.studies.publish import STUDY_FILES
from hf_dd.studies.recipe import TEACHERS, content_of, parsed
from hf_dd.studies.report import JSON, RECIPE
from hf_dd.teachers import pins


@alone(less_memory(ReproduceConfig))
def reproduce(config: ReproduceConfig | None = None, **options: Any) -> Verdict:
    """Make a distilled set, a teacher or a study again from its record alone, into a new folder, and compare.

    Every input is pulled at the commit on record. With `check` nothing is made: every input is looked at. The verdict
    is written as `reproduction.json` into `output_dir` too, and with `verify_badge` onto the card of one's own set.

    Args:
        config: the options, or give them by name.
        options: fields of ReproduceConfig: `set` names what is to be reproduced, by a folder or on the Hub.

    Raises HubError or RunError where there is no such thing, or nothing that a record tells of it.
    """
    config = ReproduceConfig.over(config, options)
    place, folder = located(config.set, STUDY_FILES)
    if (folder / RECIPE).is_file() and not (folder / RECORD).is_file():
        if config.verify_badge:
            raise ConfigError("--verify_badge is for a set or a teacher; the card of a study is its report.")
        return reproduce_study(config, place, folder)
    if config.cells:
        raise ConfigError(f"--cells are those of a study, and {config.set} is none: leave it out.")
    source = opened(config.set, place, folder)
    if config.verify_badge:
        badge.require_own(source)
    with reproducing(config, place) as root:
        verdict = kept(reproduced(source, config, root), root)
    if config.verify_badge:
        if not verdict.ran:
            raise RunError(
                f"{config.set}: nothing was made again, so that there is nothing for its card: {verdict.says}."
            )
        by_main_process(lambda: say("written: %s", badge.write(source, verdict)))
    return verdict


def reproduce_study(config: ReproduceConfig, place: hub.Place, folder: Path) -> Verdict:
    """Make the cells of a study again, each as the set that its record is of; a set that several evaluate, once.

    The study's own teachers are trained again where they aren't on the Hub, pools are those that were chosen.
    """
    cells = {path.parent.name: path.parent for path in sorted(folder.glob(f"cells/*/{RECORD}"))}
    names = list(dict.fromkeys(map(name_of, cells)))
    if strange := [name for name in config.cells if name not in names]:
        known = some(nearest_first(strange[0], names)) or "none, as it isn't finished"
        raise ConfigError(f"--cells names {strange[0]!r}; the cells of {config.set} are {known}.")
    chosen = {name: own for name, own in cells.items() if not config.cells or name_of(name) in config.cells}
    if not chosen:
        raise RunError(f"{config.set} holds no finished cell: there is nothing to be made again.")
    with reproducing(config, place) as root:
        parts, made = [], {}
        for name, own in chosen.items():
            record = record_of(read_record(own), own / RECORD)
            images = own if (own / PARQUET).is_file() else None  # a study on the Hub keeps its records alone
            teaching = tuple(grids_of(folder, record))
            source = Source(f"{config.set}: {name}", place, images, record, teaching)
            again = root / "cells" / name
            if record.command in made and not from_main_process(again.exists):
                copied = functools.partial(Artefact.open(made[record.command]).copied, again)
                by_main_process(copied)
            parts.append(reproduced(source, config, root, f"cells/{name}"))
            if parts[-1].ran:
                made.setdefault(record.command, again)
        first = parts[0]
        verdict = Verdict(config.set, first.at, "study", not config.check, parts=tuple(parts),
                          hardware=first.hardware, versions=first.versions)  # fmt: skip
        return kept(verdict, root)


def name_of(folder: str) -> str:
    """The name of a cell, of whose folder the seed is a part."""
    return folder.rpartition("-seed")[0]


def grids_of(folder: Path, record: DistilledRecord) -> Iterator[PretrainConfig]:
    """How the study's own teachers that a cell was made with are trained, a grid of one teacher for each of them.

    Their folder is the one on record. Raises ConfigError for a recipe that needs files which aren't beside it.
    """
    place = Path(record.settings["output_dir"]).parents[1]
    prefix = f"{place / TEACHERS}/"
    runs = [*record.experts]
    for spec in pins.specs_of(record.teachers):
        runs.append(vars(spec) | {"repo_id": training_run(spec.repo_id, spec.local)})
    own = [run for run in runs if run["repo_id"].startswith(prefix)]
    if not own:
        return
    command = json_records.read_json(folder / JSON).get("command")  # which 0.1.0 didn't write
    dataset = read_command(command, made_by(record)).dataset if command else None
    grids = content_of(folder / RECIPE)["teachers"]
    for run in {run["repo_id"]: run for run in own}.values():  # each once, whatever its epoch
        grid = run["repo_id"].removeprefix(prefix).partition("/")[0]
        if grid not in grids:
            raise RunError(f"{folder / RECIPE} doesn't say how the teachers of {prefix}{grid} are trained.")
        given = {"dataset": dataset} if dataset else {}
        config = parsed(PretrainConfig, folder, given | grids[grid] | {"output_dir": f"{prefix}{grid}"})
        require_installed(config, record)
        only = {"architectures": [run["architecture"]], "teacher_seeds": [run["seed"]], "overwrite_output_dir": False}
        if run["dataset"] and run["dataset"].partition("@")[0] == config.dataset.partition("@")[0]:
            only["dataset"] = run["dataset"]  # at its commit
        yield dataclasses.replace(config, push_to_hub=False, hub_namespace=None, **only)
