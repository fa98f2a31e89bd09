"""Train a grid of teachers, spread over the processes."""

import dataclasses
import logging
from pathlib import Path
from typing import Any

from hf_dd import hub
from hf_dd.artefacts import teacher_folder
from hf_dd.artefacts.provenance import command_line
from hf_dd.config import PretrainConfig
from hf_dd.config.base import values
from hf_dd.core.processes import new_accelerator
from hf_dd.core.registry import NETWORKS
from hf_dd.data.image_data import load_data
from hf_dd.errors import RunError
from hf_dd.evaluation.evaluation import hardware
from hf_dd.training.pretraining import grid, new_teacher, train_teacher

logger = logging.getLogger(__name__)


def pretrain(config: PretrainConfig | None = None, **options: Any) -> list[Path | hub.Pin]:
    """Train a grid of teachers, spread over the processes; returns this process's folders, or pins if pushed.

    Each teacher's folder is `output_dir/NAME`, with `epoch-N` for every kept epoch: the files that a push commits.
    """
    config = PretrainConfig.over(config, options)
    for architecture in config.architectures:  # an unknown name shows before anything is read
        NETWORKS.find(architecture)
    accelerator = new_accelerator(config.mixed_precision)
    config = dataclasses.replace(config, mixed_precision=accelerator.mixed_precision)
    if config.push_to_hub:
        hub.user()  # a missing token shows now, not after the training
    data = load_data(config)
    root = Path(config.output_dir or "outputs/teachers")
    folders = {job: root / teacher_folder.teacher_name(data, *job) for job in grid(config)}
    if config.push_to_hub:
        names = [folder.name for folder in folders.values()]
        teacher_folder.require_pushable(names, config.hub_namespace, config.hub_private_repo)
    for (architecture, seed), folder in folders.items():
        new_teacher(config, architecture, seed, data)  # an unknown option shows now
        if folder.exists() and not config.overwrite_output_dir:
            raise RunError(f"{folder} holds another run: give --overwrite_output_dir, or another --output_dir.")
    accelerator.wait_for_everyone()
    done: list[Path | hub.Pin] = []
    for architecture, seed in grid(config)[accelerator.process_index :: accelerator.num_processes]:
        folder = folders[architecture, seed]
        training = values(config, "result") | {"seed": seed}
        epochs = []
        for snapshot in train_teacher(config, architecture, seed, data, accelerator):
            if not epochs:
                teacher_folder.remove_teacher(folder)
            teacher_folder.write_snapshot(
                folder,
                snapshot,
                data,
                training,
                command=command_line("pretrain", config, accelerator.num_processes),
                hardware=hardware(accelerator),
            )
            epochs.append(snapshot.epoch)
            logger.info(
                "%s epoch %d: loss %s, accuracy %.2f %%, %.0f s",
                *(folder.name, snapshot.epoch, "–" if snapshot.loss is None else f"{snapshot.loss:.4f}"),
                *(100 * snapshot.accuracy, snapshot.seconds),
            )
        teacher_folder.write_run(folder, epochs)
        done.append(
            teacher_folder.push_teacher(folder, config.hub_namespace, config.hub_private_repo)
            if config.push_to_hub
            else folder
        )
    accelerator.wait_for_everyone()
    return done
