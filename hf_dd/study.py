"""A study: distillations that differ in their options, cell by cell, resumable, and one report on all of them.

Its recipe is a YAML file:

    teachers:                      # optional: grids that are pre-trained first, by options of `hf-dd pretrain`; one
                                   # that names a dataset of its own keeps it, whatever --dataset says
      plain: {config: fashion-mnist-teachers}
    base: {config: fashion-mnist-dm}    # options of `hf-dd distill` that all cells share
    cells:                         # what is a cell's own; teachers/GRID/NAME@REVISION are those above, on the Hub
                                   # where their grid has push_to_hub
      dm: {}
      dm-clom: {clom: ce, teachers: [teachers/plain/fashion-mnist-convnet-seed0@final]}
    seeds: [0, 1]                  # of the distillations, one of each cell per seed
    comparisons:                   # mean differences of pairs of cells, paired by seed or by student, over the
                                   # architectures that all of them were evaluated with
      CLoM's gain: [[dm-clom, dm]]
"""

import contextlib
import dataclasses
import functools
import json
import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from filelock import FileLock, Timeout

from hf_dd import hub, pretraining, publishing, records, runs, study_publishing, study_report, teacher_repos
from hf_dd.config import DistillConfig, EvaluationConfig, PretrainConfig, StudyConfig
from hf_dd.data import load_data
from hf_dd.distiller import OPERATIONAL
from hf_dd.errors import ConfigError, RunError, nearest_first
from hf_dd.objectives import check_options, find_objective
from hf_dd.parsing import as_arguments, parse_config, read_recipe
from hf_dd.publishing import Artefact
from hf_dd.resources import recipe
from hf_dd.study_report import Outcome

logger = logging.getLogger(__name__)

KEYS = ("teachers", "base", "cells", "seeds", "comparisons")
TEACHERS = "teachers/"  # how a cell names a teacher of the study's own
NAMING_TEACHERS = ("teachers", "experts", "eval_teachers")
DECIDING_TEACHERS = ("teachers", "teacher_tags", "teacher_pool", "experts")


@dataclass(frozen=True)
class Cell:
    """One distillation of a study."""

    name: str
    seed: int
    config: DistillConfig

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return Path(self.config.output_dir)


@dataclass(frozen=True)
class Study:
    """A recipe, read and checked.

    Attributes:
        recipe: the file.
        teachers: what is trained first, by the grid's name.
        named: the study's own teachers that cells name, as teachers/GRID/NAME@REVISION, and one such cell.
        cells: in the order of the recipe, seed by seed.
        comparisons: by their name, pairs of names of cells.
    """

    recipe: Path
    teachers: dict[str, PretrainConfig]
    named: dict[str, str]
    cells: list[Cell]
    comparisons: dict[str, list[tuple[str, str]]]

    @classmethod
    def read(cls, config: StudyConfig) -> "Study":
        """Read a recipe; raises ConfigError for whatever is wrong in it, before anything is trained."""
        path, folder = recipe(config.study, "studies"), Path(config.output_dir)
        try:
            content = yaml.safe_load(path.read_text())
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} isn't YAML: {' '.join(str(error).split())}") from error
        if not isinstance(content, dict) or not isinstance(content.get("cells"), dict) or not content["cells"]:
            raise ConfigError(f"{path} is no study: it has to be a mapping with `cells`, a mapping of their options.")
        if unknown := [key for key in content if key not in KEYS]:
            raise ConfigError(
                f"{path}: unknown key {unknown[0]!r}; the nearest is {nearest_first(unknown[0], KEYS)[0]!r}."
            )
        base, given = content.get("base") or {}, {"dataset": config.dataset} if config.dataset else {}
        grids = {
            name: parsed(
                PretrainConfig, path, f"teachers: {name}", given | own | {"output_dir": str(folder / TEACHERS / name)}
            )
            for name, own in (content.get("teachers") or {}).items()
        }
        cells = [
            Cell(name, seed, cell_config(path, name, base | (own or {}) | given | {"seed": seed}, folder, grids))
            for name, own in content["cells"].items()
            for seed in config.seeds or content.get("seeds") or [0]
        ]
        comparisons = {name: list(map(tuple, pairs)) for name, pairs in (content.get("comparisons") or {}).items()}
        named = {f"the comparison {name!r}": sum(pairs, ()) for name, pairs in comparisons.items()}
        for place, names in ({"--cells": config.cells} | named).items():
            if unknown := [name for name in names if name not in content["cells"]]:
                known = ", ".join(nearest_first(unknown[0], content["cells"]))
                raise ConfigError(f"{path}: {place} names the cell {unknown[0]!r}; known are {known}.")
        chosen = config.cells or list(content["cells"])
        named = {own: name for name in chosen for own in own_teachers(base | (content["cells"][name] or {}))}
        if config.cells:
            used = {parts_of(reference)[0] for reference in named}
            grids = {name: grid for name, grid in grids.items() if name in used}
            cells = [cell for cell in cells if cell.name in config.cells]
            comparisons = {name: pairs for name, pairs in comparisons.items() if {*sum(pairs, ())} <= {*config.cells}}
        return cls(path, grids, named, cells, comparisons)


def own_teachers(options: Mapping[str, Any]) -> list[str]:
    """The teachers of the study's own that a cell names."""
    references = [reference for key in NAMING_TEACHERS for reference in options.get(key) or []]
    return [reference for reference in references if reference.startswith(TEACHERS)]


def parts_of(reference: str) -> tuple[str, str, str]:
    """Grid, name and revision of a teacher of the study's own."""
    grid, _, place = reference.removeprefix(TEACHERS).partition("/")
    name, _, revision = place.partition("@")
    return grid, name, revision


def cell_config(
    path: Path, name: str, options: Mapping[str, Any], folder: Path, grids: Mapping[str, PretrainConfig]
) -> DistillConfig:
    """The options of a cell; teachers of the study's own are looked for in its folder, pushed ones on the Hub."""

    def place_of(reference: str) -> str:
        grid, _, name = reference.removeprefix(TEACHERS).partition("/")
        if not reference.startswith(TEACHERS):
            return reference
        pushed = grid in grids and grids[grid].push_to_hub
        return hub.full_repo_id(name, grids[grid].hub_namespace) if pushed else str(folder / reference)

    own = {key: list(map(place_of, options[key])) for key in NAMING_TEACHERS if options.get(key)}
    place = {"output_dir": str(folder / "cells" / f"{name}-seed{options['seed']}")}
    config = parsed(DistillConfig, path, f"cells: {name}", {**options, **own, **place})
    check_options(config)
    if not config.eval_students or not config.eval_copies:
        raise ConfigError(
            f"{path}, cells: {name}: a study compares students, and this cell has none. Give eval_students of 1 or "
            "more, and eval_copies that name a copy."
        )
    return config


def parsed(kind: type, path: Path, place: str, options: Mapping[str, Any]) -> Any:
    """Options, over those of the recipe that `config` names, as a config; None takes one of these back.

    Raises ConfigError, naming the place, for what is wrong with them.
    """
    known = [field.name for field in dataclasses.fields(kind)]
    try:
        if options.get("config"):
            options = read_recipe(options["config"], known) | options
        own = {key: value for key, value in options.items() if key != "config"}
        return parse_config(kind, as_arguments(own), command="hf-dd study")
    except ConfigError as error:
        raise ConfigError(f"{path}, {place}: {error}") from error


def study(config: StudyConfig | None = None, **options: Any) -> Path:
    """Run what isn't there yet of a study, and write its report; returns the folder.

    The folder holds `teachers/`, `cells/NAME-seedN/` (a distilled set each), `report.md`, `report.json`, where
    matplotlib is installed `report.png`, and a card and rows, with which it is a data set that can be pushed. A cell
    that is finished is kept, one that was interrupted goes on from its last checkpoint, one whose evaluation alone was
    changed is only evaluated again. A study that is started several times at once, on machines that share the folder
    too, is shared out: each takes what no other has begun.
    """
    config = dataclasses.replace(config, **options) if config else StudyConfig(**options)
    plan = Study.read(config)
    folder = Path(config.output_dir)
    if config.push_to_hub:  # a missing token or a taken tag shows now, not after the study
        publishing.free_tag(hub.full_repo_id(config.hub_dataset_id or folder.name), config.hub_tag)
    jobs = teacher_jobs(plan.teachers)
    check_named(plan, jobs)
    share_out(folder / "locks", jobs)
    share_out(folder / "locks", {f"cell-{cell.folder.name}": functools.partial(run_cell, cell) for cell in plan.cells})
    with taken(folder / "locks/report.lock", wait=True):
        if PartialState().is_main_process:
            report(plan, config)
    PartialState().wait_for_everyone()
    return folder


def report(plan: Study, config: StudyConfig) -> None:
    """Write the report of a finished study, and push it if asked, unless another run of it has just done so."""
    folder, places = Path(config.output_dir), {}
    for cell in plan.cells:
        places.setdefault(cell.name, []).append(cell.folder)
    outcomes = {name: Outcome.of(folders) for name, folders in places.items()}
    study_report.write_report(folder, outcomes, plan.comparisons)
    study_publishing.write_study(folder, plan.recipe, outcomes)
    if config.push_to_hub:
        how = {"tag": config.hub_tag, "private": config.hub_private_repo}
        pushed = study_publishing.push_study(folder, outcomes, config.hub_dataset_id or folder.name, **how)
        logger.info("Pushed %s: %s", pushed.pin, pushed.url)


def share_out(locks: Path, jobs: Mapping[str, Callable[[], None]]) -> None:
    """Do all jobs, first those that nobody else does; then wait for the others, and do what they left undone.

    A job that is done already has to do nothing.
    """
    for wait in (False, True):
        for number, (name, job) in enumerate(jobs.items(), 1):
            with taken(locks / f"{name}.lock", wait) as own:
                if own:
                    logger.info("%d of %d: %s.", number, len(jobs), name)
                    job()


@contextlib.contextmanager
def taken(path: Path, wait: bool) -> Iterator[bool]:
    """Hold a lock, of this launch against others; gives whether it was to be had, after waiting for it if asked."""
    state, lock = PartialState(), FileLock(path)
    own, told = [False], False
    while not own[0]:
        if state.is_main_process:
            path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(Timeout):
                own = [bool(lock.acquire(blocking=False))]
        broadcast_object_list(own)
        if own[0] or not wait:
            break
        if not told:
            logger.info("Waiting for another run of this study to finish %s.", path.stem)
            told = True
        time.sleep(1)
    try:
        yield own[0]
    finally:
        lock.release()


def teacher_jobs(grids: Mapping[str, PretrainConfig]) -> dict[str, Callable[[], None]]:
    """By GRID-NAME, what trains a teacher if it isn't there yet."""
    jobs = {}
    for grid, config in grids.items():
        data = load_data(config)
        for architecture, seed in pretraining.grid(config):
            name = teacher_repos.teacher_name(data, architecture, seed)
            only = {"architectures": [architecture], "teacher_seeds": [seed], "overwrite_output_dir": True}
            one = dataclasses.replace(config, **only)
            jobs[f"{grid}-{name}"] = functools.partial(pretrain_missing, one, Path(config.output_dir) / name)
    return jobs


def check_named(plan: Study, jobs: Collection[str]) -> None:
    """Raise ConfigError for a teacher that a cell names as the study's own and that the study doesn't make."""
    for reference, cell in plan.named.items():
        grid, name, revision = parts_of(reference)
        place = f"{plan.recipe}, cells: {cell}: {reference}"
        if f"{grid}-{name}" not in jobs:
            known = nearest_first(reference, [f"{TEACHERS}{job.replace('-', '/', 1)}" for job in jobs])
            raise ConfigError(
                f"{place} is no teacher that this study makes: {', '.join(known)}. A teacher's name begins with its "
                "data set's, which for a folder is the folder's."
            )
        tags = ["final", *(f"epoch-{epoch}" for epoch in plan.teachers[grid].kept_epochs)]
        if revision and revision not in tags:
            raise ConfigError(f"{place}: of that teacher, the study keeps {', '.join(tags)}.")


def pretrain_missing(config: PretrainConfig, folder: Path) -> None:
    """Train a teacher whose folder isn't finished; push it where an earlier push failed."""
    if not (folder / records.RECORD).is_file():
        runs.pretrain(config)
    elif config.push_to_hub and not hub.tags(hub.full_repo_id(folder.name, config.hub_namespace), "model"):
        teacher_repos.push_teacher(folder, config.hub_namespace, config.hub_private_repo)


def deciding(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those options that decide what a cell is; its study's own teachers by name, as its folder may move."""
    return {
        key: [reference.rpartition(TEACHERS)[2] for reference in value] if key in NAMING_TEACHERS else value
        for key, value in options.items()
        if key not in OPERATIONAL or key in DECIDING_TEACHERS
    }


def run_cell(cell: Cell) -> None:
    """Distil and evaluate what isn't there yet of a cell; raises RunError where it was made with other options."""
    if (cell.folder / records.RECORD).is_file():
        artefact = Artefact.open(cell.folder)
        made = deciding(artefact.record.settings)
        asked = deciding(find_objective(cell.config.objective).published.filled_in(cell.config))
        asked = {key: value for key, value in asked.items() if key in made and value is not None}
        if differing := [key for key in asked if asked[key] != made[key]]:
            pairs = "; ".join(f"{key}: {made[key]!r} there, {asked[key]!r} here" for key in differing)
            raise RunError(
                f"{cell.folder} was made with other options ({pairs}). Remove it, or give another --output_dir."
            )
        evaluation = {key: getattr(cell.config, key) for key in runs.field_names(EvaluationConfig)}
        kept = cell.folder.with_name(f"{cell.folder.name}.evaluation.json")  # of a later evaluation than the run's own
        done = json.loads(kept.read_text()) if kept.is_file() else artefact.record.settings
        if artefact.record.results is None or any(done.get(key) != value for key, value in evaluation.items()):
            runs.evaluate(sets=[str(cell.folder)], mixed_precision=cell.config.mixed_precision, **evaluation)
            if PartialState().is_main_process:
                records.write(kept, lambda path: path.write_text(json.dumps(evaluation)))
            PartialState().wait_for_everyone()
        return
    started = (cell.folder / "checkpoints").is_dir()
    runs.distill(cell.config, resume_from_checkpoint="latest" if started else None)
