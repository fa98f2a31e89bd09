"""What a run tells the trackers of `--report_to`, under its own name: losses, previews, its images and its results."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from accelerate.tracking import TensorBoardTracker, TrackioTracker, on_main_process

from hf_dd.config import DistillConfig
from hf_dd.config.distillation import parse_trackio
from hf_dd.core import files
from hf_dd.core.layout import LOGS
from hf_dd.core.text import table
from hf_dd.errors import ConfigError
from hf_dd.synthetic.preview import preview
from hf_dd.synthetic.synthetic_set import SyntheticSet

PROJECT = "hf-dd"
CLASSES = 100  # of which images are logged
COLUMNS = ("set", "copy", "architecture", "mean", "std", "half_width", "n", "epochs", "learning_rate", "bytes")


class TensorBoard(TensorBoardTracker):
    """A run in `logs/NAME`. accelerate's own makes another run of its options, which has the time as its name."""

    @on_main_process
    def store_init_configuration(self, values: dict[str, Any]) -> None:
        """Log the options of the run."""
        from torch.utils.tensorboard.summary import hparams

        for part in hparams(values, {}):
            self.writer.file_writer.add_summary(part)

    @on_main_process
    def log_images(self, values: Mapping[str, Any], step: int | None = None, **kwargs: Any) -> None:
        """Log PIL images by name."""
        for name, image in values.items():
            self.writer.add_image(name, np.asarray(image.convert("RGB")), step, dataformats="HWC")

    @on_main_process
    def log_table(self, name: str, columns: Sequence[str], data: Sequence[Sequence[Any]], step: int) -> None:
        """Log a table, which is text in Markdown here."""
        self.writer.add_text(name, table(columns, data), step)


class Trackio(TrackioTracker):
    """A run of the project `hf-dd`, on this machine or where Trackio's options and variables say."""

    main_process_only = True  # accelerate's own starts a run in every process

    @on_main_process
    def log_images(self, values: Mapping[str, Any], step: int | None = None, **kwargs: Any) -> None:
        """Log PIL images by name."""
        import trackio

        self.log({name: trackio.Image(image.convert("RGB")) for name, image in values.items()}, step=step)

    @on_main_process
    def log_table(self, name: str, columns: Sequence[str], data: Sequence[Sequence[Any]], step: int) -> None:
        """Log a table."""
        import trackio

        self.log({name: trackio.Table(columns=list(columns), data=[list(row) for row in data])}, step=step)


@contextlib.contextmanager
def tracked(accelerator: Accelerator, config: DistillConfig, folder: Path, data: str) -> Iterator[None]:
    """Start the trackers of a run in `folder`, named like it, and finish them; Trackio groups runs by their `data`.

    Raises ConfigError where Trackio can't be started as its options and variables say, RunError where nothing can be
    written.
    """
    name, resume = folder.resolve().name, "allow" if config.resumes else "never"
    started = {"name": name, "group": data, "resume": resume, "embed": False, **parse_trackio(config.trackio_options)}
    make = {
        "tensorboard": lambda: TensorBoard(name, folder / LOGS),
        "trackio": lambda: Trackio(PROJECT, **started),
    }
    accelerator.log_with = [make[tracker]() for tracker in config.report_to]
    plain = {key: value if isinstance(value, (int, float)) else str(value) for key, value in vars(config).items()}
    with files.writing(folder / LOGS):
        try:
            accelerator.init_trackers(PROJECT, config=plain)
        except (OSError, RuntimeError, ValueError) as error:
            if getattr(error, "errno", None) is not None:  # of a disk
                raise
            raise ConfigError(f"--report_to {' '.join(config.report_to)} can't start: {error}") from error
    try:
        yield
    finally:
        with files.writing(folder / LOGS):
            for tracker in accelerator.trackers:  # end_training() would close the process group too
                tracker.finish()


def log_preview(accelerator: Accelerator, path: Path, step: int) -> None:
    """Log the preview of a checkpoint."""
    if accelerator.trackers and accelerator.is_main_process:
        from PIL import Image

        with Image.open(path) as image:
            log_images(accelerator, path.parents[2], {"preview": image}, step)


def log_set(accelerator: Accelerator, folder: Path, synthetic: SyntheticSet, names: Sequence[str], step: int) -> None:
    """Log a finished set's images, those of a class as one picture, of the first classes."""
    if not (accelerator.trackers and accelerator.is_main_process):
        return
    pixels, labels = synthetic.own_space(), synthetic.labels
    pictures = {}
    for label in labels.unique().tolist()[:CLASSES]:
        pictures[f"distilled/{names[label]}"] = preview(pixels[labels == label], labels[labels == label])
    log_images(accelerator, folder, pictures, step)


def log_results(accelerator: Accelerator, folder: Path, results: Mapping[str, Any] | None, step: int) -> None:
    """Log an evaluation's results as a table."""
    rows = [[row.get(name) for name in COLUMNS] for row in results["rows"]] if results else []
    with files.writing(folder / LOGS):
        for tracker in accelerator.trackers if rows else []:
            tracker.log_table("results", COLUMNS, rows, step)


def log_images(accelerator: Accelerator, folder: Path, pictures: Mapping[str, Any], step: int) -> None:
    """Log PIL images by name with every tracker; `folder` is the run's."""
    with files.writing(folder / LOGS):
        for tracker in accelerator.trackers:
            tracker.log_images(pictures, step)
