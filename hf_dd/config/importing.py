"""Options of imports of sets that other tools released."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass

from hf_dd.config.base import option, slug
from hf_dd.config.data import DataConfig, budget, place

foreign = functools.partial(option, role="source")


@dataclass
class ImportConfig(DataConfig):
    """Make a folder like our own of a distilled set that another tool released, checked against its source."""

    foreign_set: str = foreign(
        "",
        "The set: a .pt file, a folder of .pt files or of images, or a data set that load_dataset reads.",
        group="data",
        positional=True,
        needed="Name the set to import: hf-dd import PATH_OR_HUB_ID --dataset SOURCE.",
    )
    dataset: str = foreign(
        "", "Data set that it was distilled from: what it is checked against and evaluated on.", group="data"
    )
    format: str = option(
        "auto",
        "How it is stored: dc (DC, DSA, DM: a dict with `data`), mtt (MTT, TESLA, DATM: a file of images, one of "
        "labels), idc, images (a folder for each class) or dataset; found if not given.",
        choices=("auto", "dc", "mtt", "idc", "images", "dataset"),
    )
    experiment: int = option(0, "Which of the experiments in a file of DC, DSA or DM, counted from 0.", at_least=0)
    labels_file: str | None = foreign(None, "Labels of a file of images; labels_X.pt beside images_X.pt if not given.")
    learning_rate_file: str | None = foreign(None, "Learned learning rate; lr_X.pt beside images_X.pt if not given.")
    learned_learning_rate: float | None = option(
        None, "Learned learning rate, where it is known but in no file.", at_least=0
    )
    soft_labels: str = option(
        "auto",
        "What soft labels are; probabilities if they sum to 1, else logits, if not given.",
        choices=("auto", "logits", "probabilities"),
    )
    factor: int = option(
        1, "Tiles per side that each image holds (IDC's factor); they become images of their own.", at_least=1
    )
    normalisation: str = option(
        "auto",
        "How the pixels are normalised: none ([0, 1]), by the source's own mean and std, zca (whitened like MTT's), "
        "by the constants that the field uses for cifar10 or imagenet; told from the statistics if not given.",
        choices=("auto", "none", "source", "zca", "cifar10", "imagenet"),
    )
    mean: list[float] = option([], "Mean per channel that the pixels were normalised by, instead of --normalisation.")
    std: list[float] = option([], "Standard deviation per channel, with --mean.", above=0)
    class_map: list[str] = option(
        [],
        "The source's class of each label of the set, where their orders differ: by name, or by index where no class "
        "is called so.",
    )
    set_config: str | None = option(None, "Configuration of a set that load_dataset reads, where it has several.")
    set_image_column: str | None = option(None, "Column with the images of a set that load_dataset reads.")
    set_label_column: str | None = option(None, "Column with the labels of a set that load_dataset reads.")
    set_split: str = option("train", "Split of a set that load_dataset reads.")
    method: str | None = option(None, "Method that made the set, for its card.")
    paper: str | None = option(None, "Paper or page that the set is from, for its card.")
    license: str = option("unknown", "Licence that the set was released under, as the Hub writes it.")
    output_dir: str | None = place(None, "Folder for the result; named after the set if not given.", path=True)
    overwrite_output_dir: bool = place(False, "Replace an earlier set there once the new one is whole.", role="once")
    seed: int = budget(0, "Seed of the classifier that checks the order of the classes.")

    def contradictions(self) -> Iterator[str]:
        """As of all options."""
        yield from super().contradictions()
        if not self.dataset:
            yield f"Name the data set that {self.foreign_set} was distilled from by --dataset."
        if len(self.mean) != len(self.std):
            yield f"--mean has {len(self.mean)} values, --std {len(self.std)}; give one per channel."
        if self.mean and self.normalisation != "auto":
            yield f"--mean and --normalisation {self.normalisation} contradict each other."

    @property
    def run_name(self) -> str:
        """What the set is called: its file's or folder's name, with the folder's where the file's says little."""
        parts = self.foreign_set.split("@")[0].rstrip("/").removesuffix(".pt").split("/")
        return slug("-".join(parts[-2:] if parts[-1].startswith("images_") else parts[-1:]))
