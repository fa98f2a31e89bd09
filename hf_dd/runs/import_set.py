"""Make a folder like our own of a set that another tool released."""

import dataclasses
from pathlib import Path
from typing import Any

from hf_dd.artefacts import distilled_folder
from hf_dd.artefacts.distilled_folder import Artefact
from hf_dd.artefacts.provenance import command_line, pinned
from hf_dd.config import ImportConfig
from hf_dd.config.base import less_memory
from hf_dd.core import files
from hf_dd.core.alone import alone
from hf_dd.core.processes import by_main_process, holding, new_accelerator, require_writable
from hf_dd.data.image_data import as_seen, load_data
from hf_dd.distillation.run_folder import holds_set
from hf_dd.importing.formats import read_foreign
from hf_dd.importing.import_set import import_foreign
from hf_dd.runs.foreign import require_foreign


@alone(less_memory(ImportConfig))
def import_set(config: ImportConfig | None = None, **options: Any) -> Artefact:
    """Make an artefact folder of a distilled set that another tool released, once it has been checked whole.

    Args:
        config: the options, or give them by name.
        options: fields of ImportConfig: `foreign_set` is what was released, `dataset` what it was distilled from.

    Raises ConfigError, DataError, HubError or RunError, and writes nothing then.
    """
    config = ImportConfig.over(config, options)
    folder = Path(config.output_dir or f"outputs/{config.run_name}")
    require_writable(folder)
    require_foreign(config.foreign_set)
    if folder.exists():
        with holding(folder):  # what a killed import left goes
            pass
    require_replaceable(folder, config.overwrite_output_dir)
    foreign = read_foreign(config)
    data = load_data(dataclasses.replace(config, statistics=None, zca=None))  # what it is checked against
    accelerator = new_accelerator("no")
    imported = import_foreign(foreign, data, config, accelerator.device)
    data = as_seen(data, config)
    accelerator.wait_for_everyone()  # all have seen the folder as it was, and the set as it is

    pins = pinned(config, data) | ({"foreign_set": foreign.pin} if foreign.pin else {})

    def write() -> None:
        with files.claimed(folder):
            require_replaceable(folder, config.overwrite_output_dir)  # still
            distilled_folder.write_imported(
                folder, config.run_name, imported, data, config, command=command_line("import", config, pins=pins)
            )

    by_main_process(write)
    return Artefact.open(folder)


def require_replaceable(folder: Path, overwrite: bool) -> None:
    """Raise RunError where a folder holds a finished set that isn't to be overwritten, or anything else."""
    if files.is_free(folder):
        return
    if not holds_set(folder):
        raise files.strange(folder, "set of hf-dd")
    if not overwrite:
        raise files.another(folder, "set")
