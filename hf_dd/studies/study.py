"""A study: distillations that differ in their options, cell by cell, resumable, and one report on all of them."""

import contextlib
import dataclasses
import functools
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from hf_dd import hub
from hf_dd.artefacts import teacher_folder
from hf_dd.artefacts.distilled_folder import Artefact
from hf_dd.artefacts.provenance import command_line
from hf_dd.artefacts.rows import require_whole
from hf_dd.artefacts.set_records import DistilledRecord
from hf_dd.config import DistillConfig, EvaluationConfig, PretrainConfig, StudyConfig
from hf_dd.config.base import less_memory, named, part
from hf_dd.core import files, json_records, progress
from hf_dd.core.alone import alone
from hf_dd.core.layout import CARD, CHECKPOINTS, RECORD
from hf_dd.core.processes import by_main_process, from_main_process, require_writable
from hf_dd.core.progress import say
from hf_dd.core.registry import OBJECTIVES
from hf_dd.core.text import apart
from hf_dd.data.image_data import ImageData, load_data
from hf_dd.distillation.distiller import DECIDING
from hf_dd.errors import RunError, UnusableError
from hf_dd.runs.distill import distill
from hf_dd.runs.evaluate import evaluate
from hf_dd.runs.pretrain import pretrain, trained_apart
from hf_dd.runs.recorded import settings_of
from hf_dd.studies import pool_search, publish
from hf_dd.studies import report as study_report
from hf_dd.studies.outcomes import Outcome, rows_of
from hf_dd.studies.recipe import REFERENCES, TEACHERS, Cell, Pool, Study, check_named, parts_of
from hf_dd.teachers import pins
from hf_dd.training import pretraining

logger = logging.getLogger(__name__)

BY_HAND = ("tested", "regimes", "protocols")  # keys of results, or of their options, that no cell asks for


@alone(less_memory(StudyConfig))
def study(config: StudyConfig | None = None, **options: Any) -> Path:
    """Run what isn't there yet of a study, and write its report; returns the folder.

    The folder holds `teachers/`, `pools/`, `cells/NAME-seedN/` (a distilled set each), `report.md`, `report.json`,
    where matplotlib is installed the plots, and a card and rows, with which it is a data set that can be pushed.
    A cell that is finished is kept, one that was interrupted goes on from its last checkpoint, one whose evaluation
    alone was changed is only evaluated again, and one that evaluates another one's set waits for that. A study that is
    started several times at once, on machines that share the folder too, is shared out: each takes what no other has
    begun.
    """
    config = StudyConfig.over(config, options)
    plan = Study.read(config)  # what is wrong with it shows before any data are read
    folder = Path(config.output_dir)
    require_writable(folder)
    if config.push_to_hub:  # a missing token or a taken tag shows now, not after the study
        place = hub.full_repo_id(config.hub_dataset_id or folder.name)
        finished = (folder / CARD).is_file()  # and its tag may be that of a push whose answer was lost
        check = hub.require_pushable if finished else hub.require_free
        check(place, "dataset", tag=config.hub_tag, private=config.hub_private_repo)
    teachers, names = teacher_jobs(plan.teachers)
    check_named(plan, names)
    plan = Study.read(config, names)
    pools = pool_jobs(plan.pools, teachers)
    share_out([*teachers.values(), *pools.values(), *(cell_job(cell, teachers, pools) for cell in plan.cells)])
    with taken(folder / "locks/report.lock", wait=True):
        by_main_process(lambda: report(plan, config))
    return folder


def report(plan: Study, config: StudyConfig) -> None:
    """Write the report of a finished study, and push it if asked, unless another run of it has just done so."""
    folder, places = Path(config.output_dir), {}
    files.clear(folder)
    files.clear(folder / "data")
    for cell in plan.cells:
        places.setdefault(cell.name, []).append(cell.folder)
    outcomes = {name: Outcome.of(folders) for name, folders in places.items()}
    traces = {name: Path(pool.config.output_dir) / pins.TRACE for name, pool in plan.pools.items()}
    source = next(iter(outcomes.values())).records[0]["data"]
    commits = {"dataset": source["reference"]} if config.dataset and source["sha"] else {}
    how = {"title": plan.recipe.stem, "command": command_line("study", config, pins=commits)}
    study_report.write_report(folder, outcomes, plan.comparisons, plan.curves, traces, **how)
    publish.write_study(folder, plan.recipe, outcomes)
    if config.push_to_hub:
        place = {"tag": config.hub_tag, "private": config.hub_private_repo}
        pushed = publish.push_study(folder, outcomes, config.hub_dataset_id or folder.name, **place)
        logger.info("Pushed %s: %s", pushed.pin, pushed.url)


@dataclass(frozen=True)
class Job:
    """A part of a study; where it is done already, it does nothing.

    Attributes:
        lock: the file whose lock whoever does it holds.
        made: the folder that it makes.
        run: what does it.
        needs: what has to be done before.
    """

    lock: Path
    made: Path
    run: Callable[[], None]
    needs: tuple["Job", ...] = ()

    def attempt(self, wait: bool) -> bool:
        """Do it, unless another run is at it or at what it needs; whether it is done. With `wait`, it will be.

        Raises RunError, with the folder that may be removed, where what is there of it can't be gone on with.
        """
        with taken(self.lock, wait) as own:
            if not own or not all(need.attempt(wait) for need in self.needs):
                return False
            try:
                self.run()
            except UnusableError as error:
                if error.path is None or not error.path.is_relative_to(self.made):
                    raise
                raise RunError(f"{error} Where {self.made} is removed, this study makes it anew.") from error
            return True


def share_out(jobs: Sequence[Job]) -> None:
    """Do all jobs: those first that no other run of the study is at; wait only where nothing else is left to do."""
    left = dict(enumerate(jobs, 1))
    while left:
        waiting = list(left)
        for number in waiting:
            if left[number].attempt(wait=False):
                say("%d of %d: %s is there.", number, len(jobs), left.pop(number).lock.stem)
        if len(left) == len(waiting):
            left.pop(waiting[0]).attempt(wait=True)


@contextlib.contextmanager
def taken(path: Path, wait: bool) -> Iterator[bool]:
    """Hold a lock, of this launch against others; gives whether it was to be had, after waiting for it if asked."""
    lock, told = FileLock(path), False

    def acquire() -> bool:
        with files.writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(Timeout):
                lock.acquire(blocking=False)
        return lock.is_locked

    while not (own := from_main_process(acquire)) and wait:
        if not told:
            say("Waiting for another run of this study to finish %s.", path.stem)
            told = True
        time.sleep(1)
    try:
        yield own
    finally:
        lock.release()


def teacher_jobs(
    grids: Mapping[str, PretrainConfig],
) -> tuple[dict[tuple[str, str], Job], dict[tuple[str, str], str]]:
    """The job of each teacher, by its grid and name; and each one's whole name, by its grid and short name."""
    jobs, names = {}, {}
    for grid, config in grids.items():
        data, folder = load_data(config), Path(config.output_dir)
        if config.push_to_hub:
            pushed = [teacher_folder.teacher_name(data, *job) for job in pretraining.grid(config)]
            teacher_folder.require_all_pushable(pushed, config.hub_namespace, config.hub_private_repo)
        for architecture, seed in pretraining.grid(config):
            name = teacher_folder.teacher_name(data, architecture, seed)
            only = {"architectures": [architecture], "teacher_seeds": [seed], "overwrite_output_dir": True}
            train = functools.partial(pretrain_missing, dataclasses.replace(config, **only), folder / name, data)
            jobs[grid, name] = Job(folder.parents[1] / f"locks/{grid}-{name}.lock", folder / name, train)
            names[grid, teacher_folder.short_name(architecture, seed)] = name
    return jobs, names


def pretrain_missing(config: PretrainConfig, folder: Path, data: ImageData) -> None:
    """Train a teacher whose folder isn't finished; push it where an earlier push failed, or was interrupted.

    Raises RunError for one that was trained with other options.
    """
    if not (folder / RECORD).is_file():
        pretrain(config)
        return
    made = teacher_folder.made_with(folder) or {}
    if made.get("mixed_precision") == "no":  # where bf16 was asked for, that machine had none
        config = dataclasses.replace(config, mixed_precision="no")
    ((architecture, seed),) = pretraining.grid(config)
    if made and (pairs := trained_apart(folder, made, config, architecture, seed, data)):
        raise made_otherwise(folder, pairs)
    if config.push_to_hub and not teacher_folder.is_pushed(folder, config.hub_namespace):
        teacher_folder.push_teacher(folder, config.hub_namespace, config.hub_private_repo)


def made_otherwise(folder: Path, pairs: Sequence[str]) -> RunError:
    """The error for a part of a study that is there with other options, which `pairs` name in words."""
    return RunError(
        f"{folder} was made with other options ({'; '.join(pairs)}). Remove it, or give another --output_dir."
    )


def pool_jobs(pools: Mapping[str, Pool], teachers: Mapping[tuple[str, str], Job]) -> dict[str, Job]:
    """The job of each pool, by its name: to choose it among its candidates."""
    jobs = {}
    for name, pool in pools.items():
        needs = tuple(teachers[parts_of(reference)[:2]] for reference in pool.teachers)
        folder = Path(pool.config.output_dir)
        lock = folder.parents[1] / f"locks/pool-{name}.lock"
        once = functools.cache(functools.partial(choose, name, pool))  # asked by its cells too, and never for nothing
        jobs[name] = Job(lock, folder, once, needs)
    return jobs


def choose(name: str, pool: Pool) -> None:
    """Search for a pool, or go on; raises RunError where none guides better than none, or that isn't known."""
    found = pool_search.select(pool.config)
    say("pools: %s: %s", name, found)
    if found.pool is None and not found.learned:
        raise RunError(
            f"pools: {name}: its students learned nothing, by which no pool can be told from none: give it more "
            "eval_epochs, or run the cells of others."
        )
    if found.pool is None:
        raise RunError(
            f"pools: {name}: no pool guides better than none ({found.folder / pins.TRACE} has the scores), so "
            "there is nothing for its cells to be guided by: run the others by --cells, or give other candidates."
        )


def deciding(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those options that decide what a cell is; its study's own teachers by name, as its folder may move."""
    return {
        key: [reference.rpartition(TEACHERS)[2] for reference in value] if key in REFERENCES else value
        for key, value in options.items()
        if key in named(DistillConfig, *DECIDING, "teachers", "labels")
    }


def cell_job(cell: Cell, teachers: Mapping[tuple[str, str], Job], pools: Mapping[str, Job]) -> Job:
    """The job of a cell, after those of its teachers, its pool and the cell whose set it evaluates."""
    needs = [teachers[parts_of(reference)[:2]] for reference in cell.teachers]
    needs += [pools[cell.pool]] if cell.pool else []
    needs += [cell_job(cell.source, teachers, pools)] if cell.source else []
    lock = cell.folder.parents[1] / f"locks/cell-{cell.folder.name}.lock"
    return Job(lock, cell.folder, functools.partial(run_cell, cell), tuple(needs))


def run_cell(cell: Cell) -> None:
    """Distil and evaluate what isn't there yet of a cell; raises RunError where it was made with other options."""
    if cell.source and not (cell.folder / RECORD).is_file():
        by_main_process(lambda: Artefact.open(cell.source.folder).copied(cell.folder))
    if not (cell.folder / RECORD).is_file():
        started = (cell.folder / CHECKPOINTS).is_dir()
        progress.say("%s: distilling%s", cell.folder.name, ", where it was interrupted" if started else "")
        distill(cell.config, resume_from_checkpoint="latest" if started else None)
        return
    record = Artefact.open(cell.folder).record
    require_whole(cell.folder, record)
    if differing := made_apart(cell, record):
        raise made_otherwise(cell.folder, differing)
    evaluation = evaluation_of(cell, record)
    if not is_evaluated(cell, record, evaluation):
        progress.say("%s: evaluating", cell.folder.name)
        seed, precision = first_student(cell, evaluation), cell.config.mixed_precision
        evaluate(sets=[str(cell.folder)], seed=seed, mixed_precision=precision, **evaluation)


def first_student(cell: Cell, evaluation: Mapping[str, Any]) -> int:
    """Seed of the first student of a cell's evaluation; how many each seed has, a plan may have decided."""
    decided = {"minutes": None, "eval_students": evaluation["eval_students"]} if cell.config.planned else {}
    return dataclasses.replace(cell.config, **decided).first_student


def made_apart(cell: Cell, record: DistilledRecord) -> list[str]:
    """In what a set that is there was made otherwise than its cell asks, in words."""
    config = cell.config
    published, made = OBJECTIVES.find(config.objective).published, deciding(settings_of(record, config.objective))
    asked = deciding(published.filled_in(config))
    if config.init is None and made.get("init") == published.init:  # as a version before made it
        asked.pop("init")
    if cell.pool:  # chosen anew, it may hold others
        made["teacher_pool"] = [spec["sha"] for spec in record.teachers]
        asked["teacher_pool"] = [pin.sha for pin in pins.read(config.teacher_pool).pins]
    asked = {key: value for key, value in asked.items() if key in made and value is not None}
    if made.get("mixed_precision") == "no":
        asked.pop("mixed_precision", None)  # where bf16 was asked for, that machine had none
    dataset = record.settings["dataset"]
    if config.dataset != dataset and load_data(config).fingerprint != record.data["fingerprint"]:
        asked["dataset"], made["dataset"] = config.dataset, dataset
    return apart(made, asked, [key for key in asked if asked[key] != made[key]])


def evaluation_of(cell: Cell, record: DistilledRecord) -> dict[str, Any]:
    """The options by which a cell is evaluated: where they aren't given, those that its results are by.

    That is for what a plan decided, and for results of versions that had other defaults.
    """
    of_cell = EvaluationConfig(**part(cell.config, EvaluationConfig))
    asked, default = (part(config, EvaluationConfig) for config in (of_cell, EvaluationConfig()))
    done = evaluated_by(cell, record)
    if "published" in done and not cell.config.planned:
        return asked
    return {key: done.get(key, value) if value == default[key] else value for key, value in asked.items()}


def is_evaluated(cell: Cell, record: DistilledRecord, evaluation: Mapping[str, Any]) -> bool:
    """Whether a cell's results are those of this evaluation."""
    results = record.results
    if results is None or results.get("seed", 0) not in (first_student(cell, evaluation), 0):  # 0 in older versions
        return False
    if any(map((results | results.get("options", {})).get, BY_HAND)):
        return False
    done = part(EvaluationConfig(), EvaluationConfig) | evaluated_by(cell, record)  # which may be older than an option
    return all(done[key] == evaluation[key] for key in named(EvaluationConfig, "evaluation"))


def evaluated_by(cell: Cell, record: DistilledRecord) -> dict[str, Any]:
    """The options that made a cell's results, or as much as is known of them where an older version wrote these."""
    if record.results and "options" in record.results:
        return record.results["options"]
    kept = cell.folder.with_name(f"{cell.folder.name}.evaluation.json")  # of a later one than the run's own
    try:
        done = json_records.read_json(kept) if kept.is_file() else record.settings
    except UnusableError:
        done = {}
    if record.results is None:
        return done
    return done | {"eval_students": next((row["n"] for row in rows_of(vars(record))), 0)}
