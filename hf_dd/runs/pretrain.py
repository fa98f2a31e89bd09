"""Train a grid of teachers, spread over the processes."""

import dataclasses
import functools
import logging
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from hf_dd import hub
from hf_dd.artefacts import teacher_folder
from hf_dd.artefacts.provenance import command_line, data_record, pinned
from hf_dd.artefacts.records import read_record
from hf_dd.config import PretrainConfig
from hf_dd.config.base import defaults, less_memory, values
from hf_dd.core import files
from hf_dd.core.alone import alone
from hf_dd.core.layout import RECORD, epoch_name
from hf_dd.core.machine import hardware
from hf_dd.core.processes import new_accelerator, require_writable
from hf_dd.core.progress import Phase
from hf_dd.core.registry import NETWORKS
from hf_dd.core.text import apart
from hf_dd.data.image_data import ImageData, load_data
from hf_dd.errors import HubError, some
from hf_dd.training.pretraining import grid, new_teacher, train_teacher

logger = logging.getLogger(__name__)


@alone(less_memory(PretrainConfig))
def pretrain(config: PretrainConfig | None = None, **options: Any) -> list[Path | hub.Pin]:
    """Train a grid of teachers, spread over the processes.

    Returns this process's teachers: the folder of each, or with `push_to_hub` the pin of its final epoch.

    Each teacher's folder is `output_dir/NAME`, with `epoch-N` for every kept epoch: the files that a push commits. A
    teacher of these options that is finished there stays, and one that was interrupted is gone on with. A push that is
    refused lets the others be trained and pushed, and is raised after them.

    Args:
        config: the options, or give them by name.
        options: fields of PretrainConfig; `dataset` may be a `datasets.Dataset` or `DatasetDict`.

    Raises ConfigError, DataError, TeacherError, HubError or RunError; RunError, too, where a teacher diverges.
    """
    config = PretrainConfig.over(config, options)
    for architecture in config.architectures:  # an unknown name shows before anything is read
        NETWORKS.find(architecture, "--architectures")
    accelerator = new_accelerator(config.mixed_precision)
    config = dataclasses.replace(config, mixed_precision=accelerator.mixed_precision)
    if config.push_to_hub:
        hub.user()  # a missing token shows now, not after the training
    root = Path(config.output_dir or "outputs/teachers")
    require_writable(root)
    data = load_data(config)
    folders = {job: root / teacher_folder.teacher_name(data, *job) for job in grid(config)}
    if config.push_to_hub:
        names = [folder.name for folder in folders.values()]
        teacher_folder.require_all_pushable(names, config.hub_namespace, config.hub_private_repo)
    for (architecture, seed), folder in folders.items():
        new_teacher(config, architecture, seed, data)  # an unknown option shows now
        state_of(folder, config, architecture, seed, data)
    accelerator.wait_for_everyone()
    done: list[Path | hub.Pin] = []
    refused: list[HubError] = []
    own = grid(config)[accelerator.process_index :: accelerator.num_processes]
    with Phase("teachers", len(own), "teacher") as phase:
        for architecture, seed in own:
            folder, before = folders[architecture, seed], phase.done
            with files.claimed(folder):
                train(folder, config, architecture, seed, data, accelerator)
                if phase.done == before:  # it was there
                    phase.skip(1)
                try:
                    done.append(
                        teacher_folder.push_teacher(folder, config.hub_namespace, config.hub_private_repo)
                        if config.push_to_hub
                        else folder
                    )
                except HubError as error:
                    refused.append(error)
    accelerator.wait_for_everyone()
    if refused:
        raise HubError(" ".join(map(str, refused))) from refused[0]
    return done


def training_of(config: PretrainConfig, seed: int) -> dict[str, Any]:
    """The options that a teacher's record gives."""
    return values(config, "result") | {"seed": seed}


def state_of(folder: Path, config: PretrainConfig, architecture: str, seed: int, data: ImageData) -> str:
    """What a teacher's folder holds for a run of these options: 'nothing', 'another' to replace, a 'part', or 'all'.

    Raises RunError where it holds something else that isn't to be overwritten.
    """
    if files.is_free(folder):
        return "nothing"
    finished, made = (folder / RECORD).is_file(), teacher_folder.made_with(folder)
    if made is None:
        if finished and config.overwrite_output_dir:
            return "another"
        raise files.strange(folder, "teacher of hf-dd")
    pairs = trained_apart(folder, made, config, architecture, seed, data)
    if not pairs and not (finished and config.overwrite_output_dir):
        return "all" if finished else "part"
    if not config.overwrite_output_dir:
        raise files.another(folder, f"run ({'; '.join(pairs)})")
    return "another"


def trained_apart(
    folder: Path, made: dict[str, Any], config: PretrainConfig, architecture: str, seed: int, data: ImageData
) -> list[str]:
    """How a folder's teacher, `made` with these options, differs from the one that is asked for; in words."""
    asked = teacher_folder.identity_of(data_record(data), architecture, training_of(config, seed))
    made = {key: value for key, value in defaults(PretrainConfig, "result").items() if key in asked} | made  # if older
    pairs = apart(made, asked, [key for key in made if key in asked and made[key] != asked[key]])
    if pairs or not (folder / RECORD).is_file():
        return pairs
    revisions = read_record(folder).get("revisions", [])
    missing = [epoch for epoch in config.kept_epochs if epoch_name(epoch) not in revisions]
    return [f"keep_epochs: it lacks {some(missing)}"] if missing else []


def train(
    folder: Path, config: PretrainConfig, architecture: str, seed: int, data: ImageData, accelerator: Accelerator
) -> None:
    """Train a teacher into its folder; one that is there stays, one that isn't finished is gone on with.

    A finished one that is to be replaced stays until the new one is.
    """
    state, start = state_of(folder, config, architecture, seed, data), None
    if state == "all":
        teacher_folder.close(folder)  # it may have been killed right before it did
        logger.info("%s is there.", folder.name)
        return
    if state == "part" and (kept := teacher_folder.read_checkpoint(folder)):
        _, standing, seconds = kept
        if all(
            (folder / epoch_name(epoch) / RECORD).is_file() for epoch in config.kept_epochs if epoch <= standing.epoch
        ):
            logger.info("%s goes on after epoch %d.", folder.name, standing.epoch)
            start = standing, seconds
    replaces = state == "another" and (folder / RECORD).is_file()
    if state == "another" and not replaces:
        teacher_folder.remove_teacher(folder)
    training = training_of(config, seed)
    identity = teacher_folder.identity_of(data_record(data), architecture, training)
    with files.folder(folder, teacher_folder.entries_of(folder)) if replaces else nullcontext(folder) as place:
        keep = functools.partial(teacher_folder.write_checkpoint, place, identity=identity)
        for snapshot in train_teacher(config, architecture, seed, data, accelerator, start, keep):
            teacher_folder.write_snapshot(
                place,
                snapshot,
                data,
                training,
                command=command_line("pretrain", config, accelerator.num_processes, pinned(config, data)),
                hardware=hardware(accelerator),
                name=folder.name,
            )
            logger.info(
                "%s epoch %d: loss %s, accuracy %.2f %%, %.0f s",
                *(folder.name, snapshot.epoch, "–" if snapshot.loss is None else f"{snapshot.loss:.4f}"),
                *(100 * snapshot.accuracy, snapshot.seconds),
            )
        teacher_folder.write_run(place, config.kept_epochs, folder.name)
