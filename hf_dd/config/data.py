"""Options of what every run needs: a data set, a seed, a place for the output."""

from dataclasses import dataclass
from typing import Literal

from hf_dd.config.base import lists, option, require_at_least
from hf_dd.config.in_memory import reference_of


@dataclass
class DataConfig:
    """Which data set, and how its columns and splits are called."""

    dataset: str = option(
        "digits",
        "Data set: a Hub id (owner/name, owner/name@revision), a folder that load_dataset reads, a folder of IDX "
        "files, or 'digits' (scikit-learn's, built in).",
    )
    dataset_config: str | None = option(None, "Configuration of the data set, where it has several.")
    image_column: str | None = option(None, "Column with the images; found from the features if not given.")
    label_column: str | None = option(None, "Column with the labels; found from the features if not given.")
    train_split: str = option("train", "Split to distill from.")
    test_split: str | None = option(None, "Split to evaluate on; 'test', else 'validation', if not given.")
    image_size: int | None = option(
        None, "Side in pixels that every image is brought to (cover, then centre crop); as they are if not given."
    )
    image_memory_gb: float = option(
        8.0, "A split whose decoded images take more GiB than this stays in a file and is read as it is needed."
    )

    def __post_init__(self) -> None:
        self.dataset = reference_of(self.dataset)
        lists(self)
        require_at_least(self, 1, "image_size")
        require_at_least(self, 0, "image_memory_gb")


@dataclass
class RunConfig(DataConfig):
    """What every run that trains has: a seed, a precision, a place for its output, a way to the Hub."""

    output_dir: str | None = option(None, "Folder for everything the run writes; named after the run if not given.")
    overwrite_output_dir: bool = option(False, "Remove what an earlier run left in --output_dir.")
    seed: int = option(0, "Seed of every random draw.")
    mixed_precision: Literal["no", "bf16"] = option("no", "Autocast of the networks' forward passes.")
    push_to_hub: bool = option(False, "Push the result to the Hub when it is done.")
    hub_private_repo: bool = option(False, "Create the repository as a private one.")


@dataclass
class TrustConfig:
    """Whose pickles and code are run: nobody's, unless the user names them. No record of a set is believed in this."""

    trusted_teachers: list[str] = option(
        [],
        "Hub ids (or folders) of teachers whose pickled weights may be read and whose own code may run; safetensors "
        "alone and no code if not given.",
    )
