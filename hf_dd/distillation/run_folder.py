"""The folder of a distillation: what a run writes into it, and whether it may."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from hf_dd.config import DistillConfig
from hf_dd.core import files, json_records
from hf_dd.core.layout import CHECKPOINTS, EVAL_RESULTS, LOGS, PLOT, RECORD, RESULTS, SET_FILES, SET_FOLDERS, SET_KINDS
from hf_dd.core.processes import from_main_process, holding, require_writable, shown_by_main_process
from hf_dd.errors import RunError

# Everything that a run writes into its folder: its working state, then the artefact.
PLAN, PLANNING, TEACHERS = "plan.json", "planning", "teachers"  # of a run that has a budget
STATE_ENTRIES = (CHECKPOINTS, LOGS, "profile", PLAN, PLANNING, TEACHERS)
ARTEFACT_ENTRIES = (*SET_FILES, *SET_FOLDERS, Path(EVAL_RESULTS).parts[0])
RUN_ENTRIES = STATE_ENTRIES + ARTEFACT_ENTRIES
LEFT = {RESULTS, PLOT}  # of a run that somebody removed while it wrote them


@contextlib.contextmanager
def prepared(config: DistillConfig, folder: Path) -> Iterator[None]:
    """Make the run's folder and hold it; raises RunError (on every rank) if it holds another run's files.

    Of a run that is to be overwritten, the artefact stays until the new one is whole.
    """
    with holding(folder, *RUN_ENTRIES):
        shown_by_main_process(lambda: prepare(config, folder))
        yield


def holds_set(folder: Path) -> bool:
    """Whether a folder's record says that it is a finished set, and not, say, a teacher."""
    try:
        return json_records.read_json(folder / RECORD).get("kind") in SET_KINDS
    except RunError:
        return False


def require_place(config: DistillConfig, folder: Path) -> None:
    """Raise RunError on every process where the run couldn't write into its folder, or that holds another's files."""
    require_writable(folder)
    if from_main_process(folder.exists):
        with holding(folder, *RUN_ENTRIES):  # a run that goes on there is told of first
            shown_by_main_process(lambda: there_already(config, folder))


def there_already(config: DistillConfig, folder: Path) -> bool:
    """Whether a folder holds a run that is to be gone on with or replaced; RunError where it holds anything else."""
    names = {path.name for path in folder.iterdir()}
    ours = not names.isdisjoint((CHECKPOINTS, PLAN)) or holds_set(folder)
    ours |= config.overwrite_output_dir and names <= LEFT
    if not ours and (RECORD in names if config.resumes else names):
        raise files.strange(folder, "run of hf-dd")
    if ours and not config.resumes and not config.overwrite_output_dir:
        raise RunError(
            f"{folder} holds another run. Go on with it by --resume_from_checkpoint latest, replace it by "
            "--overwrite_output_dir, or give another --output_dir."
        )
    return ours


def prepare(config: DistillConfig, folder: Path) -> None:
    """Make room for a new run, unless one is to be gone on with; raises RunError as `there_already`."""
    if there_already(config, folder) and not config.resumes:
        for name in STATE_ENTRIES if (folder / RECORD).is_file() else RUN_ENTRIES:
            files.remove(folder / name)
