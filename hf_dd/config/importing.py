"""Options of imports of sets that other tools released."""

from dataclasses import dataclass
from typing import Literal

from hf_dd.config.base import option, require_at_least, slug
from hf_dd.config.data import DataConfig
from hf_dd.errors import ConfigError


@dataclass
class ImportConfig(DataConfig):
    """Make a folder like our own of a distilled set that another tool released, checked against its source."""

    foreign_set: str = option(
        "", "The set: a .pt file, a folder of .pt files or of images, or a data set that load_dataset reads."
    )
    dataset: str = option("", "Data set that it was distilled from: what it is checked against and evaluated on.")
    format: Literal["auto", "dc", "mtt", "idc", "images", "dataset"] = option(
        "auto",
        "How it is stored: dc (DC, DSA, DM: a dict with `data`), mtt (MTT, TESLA, DATM: a file of images, one of "
        "labels), idc, images (a folder for each class) or dataset; found if not given.",
    )
    experiment: int = option(0, "Which of the experiments in a file of DC, DSA or DM, counted from 0.")
    labels_file: str | None = option(None, "Labels of a file of images; labels_X.pt beside images_X.pt if not given.")
    learning_rate_file: str | None = option(None, "Learned learning rate; lr_X.pt beside images_X.pt if not given.")
    learned_learning_rate: float | None = option(None, "Learned learning rate, where it is known but in no file.")
    soft_labels: Literal["auto", "logits", "probabilities"] = option(
        "auto", "What soft labels are; probabilities if they sum to 1, else logits, if not given."
    )
    factor: int = option(1, "Tiles per side that each image holds (IDC's factor); they become images of their own.")
    normalisation: Literal["auto", "none", "source", "zca", "cifar10", "imagenet"] = option(
        "auto",
        "How the pixels are normalised: none ([0, 1]), by the source's own mean and std, zca (whitened like MTT's), "
        "by the constants that the field uses for cifar10 or imagenet; told from the statistics if not given.",
    )
    mean: list[float] = option([], "Mean per channel that the pixels were normalised by, instead of --normalisation.")
    std: list[float] = option([], "Standard deviation per channel, with --mean.")
    class_map: list[str] = option(
        [], "The source's class, by name or index, of each label of the set, where their orders differ."
    )
    set_image_column: str | None = option(None, "Column with the images of a set that load_dataset reads.")
    set_label_column: str | None = option(None, "Column with the labels of a set that load_dataset reads.")
    set_split: str = option("train", "Split of a set that load_dataset reads.")
    method: str | None = option(None, "Method that made the set, for its card.")
    paper: str | None = option(None, "Paper or page that the set is from, for its card.")
    license: str = option("unknown", "Licence that the set was released under, as the Hub writes it.")
    output_dir: str | None = option(None, "Folder for the result; named after the set if not given.")
    overwrite_output_dir: bool = option(False, "Remove what an earlier run left in --output_dir.")
    seed: int = option(0, "Seed of the classifier that checks the order of the classes.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.foreign_set:
            raise ConfigError("Name the set to import: hf-dd import PATH_OR_HUB_ID --dataset SOURCE.")
        if not self.dataset:
            raise ConfigError(f"Name the data set that {self.foreign_set} was distilled from by --dataset.")
        require_at_least(self, 1, "factor")
        require_at_least(self, 0, "experiment", "learned_learning_rate")
        if len(self.mean) != len(self.std):
            raise ConfigError(f"--mean has {len(self.mean)} values, --std {len(self.std)}; give one per channel.")
        if self.mean and self.normalisation != "auto":
            raise ConfigError(f"--mean and --normalisation {self.normalisation} contradict each other.")
        if bad := [value for value in self.mean if not abs(value) < float("inf")]:
            raise ConfigError(f"--mean holds {bad}; it has to be finite.")
        if bad := [value for value in self.std if not 0 < value < float("inf")]:
            raise ConfigError(f"--std holds {bad}; it has to be finite and above 0.")

    @property
    def run_name(self) -> str:
        """What the set is called: its file's or folder's name, with the folder's where the file's says little."""
        parts = self.foreign_set.split("@")[0].rstrip("/").removesuffix(".pt").split("/")
        return slug("-".join(parts[-2:] if parts[-1].startswith("images_") else parts[-1:]))
