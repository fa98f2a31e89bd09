"""Options of evaluations: how students are trained and tested, on which sets."""

from dataclasses import dataclass
from typing import Literal

from hf_dd.config.base import lists, option, require_at_least
from hf_dd.config.data import DataConfig, TrustConfig
from hf_dd.errors import ConfigError

BASELINES = ("random", "herding", "k-centers", "full")
SCORES = ("relative_accuracy", "augmentation_robust_score", "label_robust_score")


@dataclass
class EvaluationConfig(TrustConfig):
    """The protocol that students are trained and tested by, and what is changed of it."""

    eval_protocol: str = option(
        "dsa", "Protocol of the students: dc, dsa, soft-label, soft-label-online or linear-probe."
    )
    eval_architectures: list[str] = option(
        ["ConvNet"],
        "Architectures of the students: hf_dd's, or timm models as timm/NAME; for linear-probe pre-trained backbones: "
        "teachers as owner/name@revision or as local folders.",
    )
    eval_students: int = option(3, "Students per set, each with its own seed; 0 leaves the evaluation out.")
    eval_epochs: list[int] = option(
        [],
        "Epochs of the students, the protocol's if not given; of several, the best on a validation split of the "
        "training images.",
    )
    eval_learning_rates: list[float] = option(
        [],
        "Learning rate of the students, the set's own or the protocol's if not given; of several, the best on a "
        "validation split of the training images.",
    )
    eval_augment: str | None = option(None, "A student's augmentation, 'none' for none; the protocol's if not given.")
    eval_teachers: list[str] = option(
        [],
        "Teachers of the students under soft-label-online, as owner/name@revision or as local folders; those that the "
        "set was made with if not given.",
    )
    eval_copies: list[str] = option(
        ["float", "8bit"], "Which copies of a set to evaluate: the exact float, the 8-bit PNG; none if empty."
    )
    baselines: list[str] = option(
        ["random"],
        "Real images to evaluate too: random, herding, k-centers at the same ipc; full, the whole set; or none.",
    )

    def __post_init__(self) -> None:
        lists(self)
        require_at_least(self, 0, "eval_students")
        if unknown := [copy for copy in self.eval_copies if copy not in ("float", "8bit")]:
            raise ConfigError(f"--eval_copies doesn't know {unknown}; it takes float and 8bit.")
        if self.baselines == ["none"]:
            self.baselines = []
        if unknown := [name for name in self.baselines if name not in BASELINES]:
            raise ConfigError(f"--baselines doesn't know {unknown}; it takes {', '.join(BASELINES)}.")
        if bad := [epochs for epochs in self.eval_epochs if not 1 <= epochs < float("inf")]:
            raise ConfigError(f"--eval_epochs holds {bad}; give whole numbers, 1 or more.")
        if bad := [rate for rate in self.eval_learning_rates if not 0 < rate < float("inf")]:
            raise ConfigError(f"--eval_learning_rates holds {bad}; give finite numbers above 0.")
        if not self.eval_architectures:
            raise ConfigError("--eval_architectures needs at least one value.")


@dataclass
class EvaluateConfig(DataConfig, EvaluationConfig):
    """Evaluate distilled sets, beside random real images of the same ipc, under one protocol."""

    sets: list[str] = option([], "Distilled sets: Hub ids (owner/name, owner/name@revision) or folders.")
    dataset: str = option("", "Data set to test on; the one that the first distilled set was made from if not given.")
    scores: list[str] = option(
        [],
        "Scores of the sets beside their accuracies: relative_accuracy, augmentation_robust_score, "
        "label_robust_score. Each trains the students that it needs besides, on the full set too.",
    )
    output_dir: str | None = option(None, "Folder for results.json; a single local set's own folder if not given.")
    seed: int = option(0, "Seed of the students and of the random images.")
    mixed_precision: Literal["no", "bf16"] = option("no", "Autocast of the students' forward passes.")
    compile: bool = option(False, "torch.compile the students, where they train for 1,000 steps and more.")

    def __post_init__(self) -> None:
        DataConfig.__post_init__(self)
        EvaluationConfig.__post_init__(self)
        if not self.sets:
            raise ConfigError("Name at least one distilled set: hf-dd evaluate FOLDER_OR_HUB_ID.")
        if self.eval_students < 1:
            raise ConfigError(f"--eval_students is {self.eval_students}; an evaluation needs at least 1.")
        if unknown := [name for name in self.scores if name not in SCORES]:
            raise ConfigError(f"--scores doesn't know {unknown}; it takes {', '.join(SCORES)}.")
