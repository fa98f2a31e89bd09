"""Options of what every run needs: a data set, a seed, a place for the output."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hf_dd.config.base import Options, option
from hf_dd.config.in_memory import reference_of

data = functools.partial(option, group="data", role="data")
budget = functools.partial(option, group="budget")
place = functools.partial(option, group="output and Hub", role="place")
once = functools.partial(option, group="output and Hub", role="once")

# Options of several commands, in the same words.
private = functools.partial(once, False, "Create the repository as a private one.")
branch = functools.partial(once, None, "Branch to push to; main if not given.")
tag = functools.partial(once, None, "Tag of the pushed commit; the next free of v1, v2, … if not given.")
pull_request = functools.partial(once, False, "Push as a pull request.")


def precision_of(networks: str) -> Any:
    """The option `mixed_precision`, of these networks."""
    return budget(None, f"Autocast of the {networks}' forward passes.", choices=("no", "bf16"), stands_for="no")


@dataclass
class DataConfig(Options):
    """Which data set, and how its columns and splits are called."""

    dataset: str = data(
        "digits",
        "Data set: a Hub id (owner/name, owner/name@revision), a folder that load_dataset reads, a folder of IDX "
        "files, or 'digits' (scikit-learn's, built in).",
        role="source",
    )
    dataset_config: str | None = data(None, "Configuration of the data set, where it has several.")
    image_column: str | None = data(None, "Column with the images; found from the features if not given.")
    label_column: str | None = data(None, "Column with the labels; found from the features if not given.")
    train_split: str = data("train", "Split to distill from.")
    test_split: str | None = data(None, "Split to evaluate on; 'test', else 'validation', if not given.")
    test_share: float | None = data(
        None,
        "Share of each class's training images that is held out to evaluate on, the same in every run, in the place "
        "of a test split.",
        above=0,
        below=1,
    )
    image_size: int | None = data(
        None,
        "Side in pixels that every image is brought to (cover, then centre crop); as they are if not given.",
        at_least=1,
        at_most=8192,
        memory=True,
    )
    test_resize: int | None = data(
        None,
        "Pixels that the shorter side of a test image is scaled to before its centre, of the size of the training "
        "images, is cut out: 256 for 224 in ImageNet's protocols. As the training images if not given.",
        at_least=1,
        at_most=8192,
    )
    statistics: str | None = data(
        None,
        "What images are normalised by: the channel mean and std of the training images, or the constants 'published' "
        "with the code of the literature for this data set, which differ from those; own if not given.",
        choices=("own", "published"),
    )
    zca: bool | None = data(
        None,
        "Whiten images (ZCA, epsilon 0.1, as MTT, TESLA and DATM do) instead of normalising them by channel; "
        "the matrix travels with the set.",
    )
    image_memory_gb: float = data(
        8.0,
        "A split whose decoded images take more GiB than this stays in a file and is read as it is needed.",
        role="effort",
        at_least=0,
    )

    def __post_init__(self) -> None:
        self.dataset = reference_of(self.dataset)
        super().__post_init__()

    def contradictions(self) -> Iterator[str]:
        """As of all options."""
        yield from super().contradictions()
        if self.test_share is not None and self.test_split is not None:
            yield (
                f"--test_share {self.test_share:g} makes a test split of training images, and --test_split "
                f"{self.test_split} names one: leave one out."
            )
        if self.test_share is not None and self.test_resize is not None:
            yield (
                f"--test_resize {self.test_resize} is of the images of a test split, and those of --test_share are "
                "read as the training images that they are: leave one out."
            )


@dataclass
class RunConfig(DataConfig):
    """What every run that trains has: a seed, a precision, a place for its output, a way to the Hub."""

    output_dir: str | None = place(
        None, "Folder for everything the run writes; named after the run if not given.", path=True
    )
    overwrite_output_dir: bool = place(False, "Replace an earlier run there once the new one is whole.", role="once")
    seed: int = budget(0, "Seed of every random draw.")
    mixed_precision: str | None = precision_of("networks")
    push_to_hub: bool = once(False, "Push the result to the Hub when it is done.")
    hub_private_repo: bool = private()


@dataclass
class TrustConfig(Options):
    """Whose pickles and code are run: nobody's, unless the user names them. No record of a set is believed in this."""

    trusted_teachers: list[str] = option(
        [],
        "Hub ids (or folders) of teachers whose pickled weights may be read and whose own code may run; safetensors "
        "alone and no code if not given.",
        group="teachers and guide",
        role="trust",
    )
