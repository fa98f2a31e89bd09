"""Sets of other tools in an evaluation, without a folder of ours: read, checked and put in order as an import does."""

import os
from pathlib import Path

import torch

from hf_dd import hub
from hf_dd.artefacts.records import read_record
from hf_dd.config import EvaluateConfig, ImportConfig
from hf_dd.config.base import part
from hf_dd.config.data import DataConfig
from hf_dd.core.files import named_plainly
from hf_dd.core.layout import CHECKPOINTS, PARQUET, RECORD
from hf_dd.core.text import plural
from hf_dd.data.image_data import ImageData
from hf_dd.data.loading import SAVED
from hf_dd.distillation.checkpoints import STATE
from hf_dd.distillation.run_folder import holds_set
from hf_dd.errors import ConfigError, DataError, some
from hf_dd.importing.formats import read_foreign
from hf_dd.importing.import_set import import_foreign
from hf_dd.synthetic.distilled_set import DistilledSet, from_dataset, to_rows


def is_foreign(reference: str) -> bool:
    """Whether what lies there has neither a record nor rows of ours.

    Raises HubError where nothing can be read, RunError for the folder of a run that isn't finished, DataError for one
    that only holds folders of sets.
    """
    place = hub.find(reference, "dataset")
    if place is None or (place.folder([RECORD]) / RECORD).is_file():
        return False
    if place.local:
        require_no_sets_below(Path(place.path))
        if any((Path(place.path) / name).is_file() for name in SAVED):
            return False
        tables = sorted(Path(place.path).rglob("*.parquet"))
        started = any(Path(place.path).glob(f"{CHECKPOINTS}/step-*/{STATE}"))  # by us: others have such folders, too
        if started and not tables:
            read_record(Path(place.path))  # which raises
    else:
        names = sorted(name for name in hub.list_files(place.pin, "dataset") if name.endswith(".parquet"))
        first = [PARQUET] if PARQUET in names else names[:1]
        tables = [hub.pull(place.pin, "dataset", first) / name for name in first]
    return not any("pixel_values" in columns_of(table) for table in tables[:1])


def require_foreign(reference: str) -> None:
    """Raise DataError where a folder is a set of hf-dd already, or holds such sets: neither is imported."""
    folder = Path(os.path.expanduser(reference))
    if holds_set(folder):
        raise DataError(f"{reference} is a set of hf-dd already, and is evaluated and pushed as it is.")
    require_no_sets_below(folder)


def require_no_sets_below(folder: Path) -> None:
    """Raise DataError where a folder holds folders of sets: their rows would be taken for those of one set."""
    if below := sorted(str(path.parent) for path in folder.rglob(RECORD) if holds_set(path.parent)):
        raise DataError(f"{folder} isn't a set, but holds {plural(len(below), 'set')}. Name one: {some(below)}.")


def columns_of(table: Path) -> list[str]:
    """The columns of a parquet file; none where it can't be read, of which its reader will tell."""
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.read_schema(named_plainly(table)).names
    except (OSError, pyarrow.ArrowException):
        return []


def brought_in(
    reference: str, config: EvaluateConfig, data: ImageData, device: torch.device
) -> tuple[str, DistilledSet, dict]:
    """A set of another tool: its name, what students train on, as an import would have it, and what it says of itself.

    Raises DataError, ConfigError or HubError as an import does, with the command of one where only that has a way out.
    """
    options = part(config, DataConfig) | {"dataset": config.dataset, "train_split": config.train_split or "train"}
    place = hub.find(reference, "dataset")
    asked = ImportConfig(foreign_set=reference, seed=config.seed, **options)
    try:
        foreign = read_foreign(asked)
        imported = import_foreign(foreign, data, asked, device)
    except (DataError, ConfigError) as error:
        own = [name for name in ("--class_map", "--set_", "--normalisation") if name in str(error)]
        way = f" These are options of `hf-dd import {reference} --dataset {config.dataset}`; evaluate what that makes."
        named = "" if place.name in str(error) else f"{reference}: "
        raise type(error)(f"{named}{error}{way if own else ''}") from error
    rows = to_rows(imported.pixel_values, imported.labels, data.class_names, imported.soft_labels)
    about = {"learning_rate": foreign.learning_rate} if foreign.learning_rate is not None else {}
    return place.name, from_dataset(rows, place.name), about
