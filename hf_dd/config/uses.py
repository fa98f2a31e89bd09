"""Options of the uses of a distilled set: what it is tried on, and how students are trained."""

from collections.abc import Iterator
from dataclasses import dataclass

from hf_dd.config.base import option
from hf_dd.config.data import DataConfig, budget, data, place, precision_of
from hf_dd.config.evaluation import BASELINES, augmentation, evaluation
from hf_dd.core.registry import NETWORKS

REAL = BASELINES[:-1]  # all but the full set


@dataclass
class UseConfig(DataConfig):
    """What every use has: a distilled set, the data that it was made of, a protocol, real images beside it."""

    set: str = option(
        "",
        "Distilled set: a Hub id (owner/name, owner/name@revision) or a folder.",
        group="data",
        role="source",
        positional=True,
        needed="Name a distilled set: a folder, or a Hub id.",
    )
    dataset: str = option(
        "",
        "Data set that the set was made from, with its test split; the one that its record names if not given.",
        group="data",
        role="source",
    )
    train_split: str | None = data(
        None, "Split of real images; the one that the set was made from, or 'train', if not given."
    )
    eval_copy: str = evaluation(
        "8bit",
        "Which copy of the set: the 8-bit one, as real images are, or the exact float.",
        choices=("8bit", "float"),
    )
    eval_protocol: str = evaluation("dsa", "Protocol of the students.", choices=("dc", "dsa", "soft-label"))
    eval_epochs: int | None = evaluation(None, "Epochs of the students; the protocol's if not given.", at_least=1)
    eval_augment: str | None = augmentation()
    baselines: list[str] = evaluation(
        ["random", "herding"], "Real images beside the set, as many of each class.", choices=REAL
    )
    output_dir: str | None = place(
        None, "Folder for results.json and results.md; named after the use if not given.", path=True
    )
    seed: int = budget(0, "Seed of the students, of the random images and of all else that is drawn.")
    mixed_precision: str | None = precision_of("students")


@dataclass
class ContinualConfig(UseConfig):
    """Learn classes step by step from memories: those of a distilled set, and real images of the same bytes."""

    eval_protocol: str = evaluation("dsa", "Protocol of the students, on hard labels.", choices=("dc", "dsa"))
    eval_architecture: str = evaluation("ConvNet", "Architecture of the students.", choices=NETWORKS)
    steps: int = evaluation(5, "Steps that the classes come in.", at_least=2)
    orders: int = evaluation(5, "Orders of the classes, each with its own student and random memory.", at_least=1)


@dataclass
class SearchConfig(UseConfig):
    """Order networks by what they reach on a distilled set, and by what they reach on the full one."""

    networks: int = evaluation(24, "Networks, drawn from all that the next five options make.", at_least=5)
    depths: list[int] = evaluation([1, 2, 3, 4], "Blocks of the ConvNets.", at_least=1, needed="--depths is empty.")
    widths: list[int] = evaluation(
        [32, 64, 128, 256], "Channels of the ConvNets.", at_least=1, needed="--widths is empty.", memory=True
    )
    norms: list[str] = evaluation(
        ["none", "batch", "layer", "instance", "group"],
        "Normalisations of the ConvNets.",
        choices=("none", "batch", "layer", "instance", "group"),
        needed="--norms is empty.",
    )
    activations: list[str] = evaluation(
        ["sigmoid", "relu", "leakyrelu"],
        "Activations of the ConvNets.",
        choices=("sigmoid", "relu", "leakyrelu", "swish"),
        needed="--activations is empty.",
    )
    poolings: list[str] = evaluation(
        ["none", "max", "avg"],
        "Poolings of the ConvNets.",
        choices=("none", "max", "avg"),
        needed="--poolings is empty.",
    )
    eval_students: int = evaluation(3, "Students of each network, each with its own seed.", at_least=1)
    full_epochs: int = evaluation(100, "Epochs on the full set.", at_least=1)

    def contradictions(self) -> Iterator[str]:
        """As of all options."""
        yield from super().contradictions()
        if self.networks > self.grid_size:
            yield (
                f"--networks {self.networks}, but the depths, widths, norms, activations and poolings make "
                f"{self.grid_size}: name more of them, or ask for fewer networks."
            )

    @property
    def grid(self) -> dict[str, list]:
        """By an option of the ConvNet its values, each once."""
        named = {"depth": self.depths, "width": self.widths, "norm": self.norms}
        named |= {"activation": self.activations, "pooling": self.poolings}
        return {name: list(dict.fromkeys(values)) for name, values in named.items()}

    @property
    def grid_size(self) -> int:
        """How many networks the values make."""
        size = 1
        for values in self.grid.values():
            size *= len(values)
        return size


@dataclass
class PrivacyConfig(UseConfig):
    """Guess which images a set was made from: by the losses of its students, and by its images' neighbours."""

    eval_architecture: str = evaluation("ConvNet", "Architecture of the students.", choices=NETWORKS)
    eval_students: int = evaluation(5, "Students per set, each with its own seed.", at_least=1)
    baselines: list[str] = evaluation(
        ["random", "herding"],
        "Real images beside the set: as many of each class, or the full set, which is costly.",
        choices=BASELINES,
    )
