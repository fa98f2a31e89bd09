"""Options of teachers: how they are trained, which ones are taken, how they guide."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from hf_dd.config.base import lists, option, parse_key_values, require_at_least, weight
from hf_dd.config.data import RunConfig, TrustConfig
from hf_dd.errors import ConfigError


@dataclass
class PretrainConfig(RunConfig):
    """Train a grid (architectures x seeds) of teachers; defaults are the paper's (arXiv 2310.03295)."""

    architectures: list[str] = option(["ConvNet"], "Architectures of the teachers.")
    architecture_options: list[str] = option([], "Options of the architectures as key=value, e.g. width=64 depth=2.")
    teacher_seeds: list[int] = option([0], "One teacher of each architecture per seed.")
    epochs: int = option(150, "Epochs of training.")
    keep_epochs: list[int] = option(
        [],
        "Epochs to keep (one commit and one tag each), 0 for the network as it was drawn; every epoch from 1 on if "
        "not given.",
    )
    learning_rate: float = option(0.01, "Learning rate of SGD.")
    momentum: float = option(0.9, "Momentum of SGD.")
    weight_decay: float = option(5e-3, "Weight decay of SGD.")
    batch_size: int = option(256, "Images per step.")
    lr_drops: list[float] = option(
        [1 / 3, 2 / 3], "Fractions of the epochs after which the learning rate is multiplied by 0.1."
    )
    augment: str = option("none", "Augmentation strategy, operations joined by '_'; the paper's teachers use none.")
    compile: bool = option(False, "torch.compile the network, in trainings of 1,000 steps and more.")
    hub_namespace: str | None = option(
        None, "User or organisation that owns the teacher repos; the token's user else."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 1, "epochs", "batch_size")
        require_at_least(self, 0, "learning_rate", "momentum", "weight_decay")
        if not self.architectures or not self.teacher_seeds:
            raise ConfigError("--architectures and --teacher_seeds need at least one value each.")
        if bad := [epoch for epoch in self.keep_epochs if not 0 <= epoch <= self.epochs]:
            raise ConfigError(f"--keep_epochs holds {bad}; epochs run from 0, as drawn, to {self.epochs} (--epochs).")
        if bad := [drop for drop in self.lr_drops if not 0 < drop < 1]:
            raise ConfigError(f"--lr_drops holds {bad}; give fractions of the training between 0 and 1.")

    @property
    def kept_epochs(self) -> list[int]:
        """The epochs that are kept, in order; the last always is."""
        return sorted({*(self.keep_epochs or range(1, self.epochs + 1)), self.epochs})


@dataclass
class TeacherConfig(TrustConfig):
    """Which teachers: by reference, by Hub tags, or from a collection; and how they guide (CLoM)."""

    teachers: list[str] = option([], "Teachers as owner/name@revision or as local folders.")
    teacher_tags: list[str] = option(
        [], "Take every Hub model with all of these tags, e.g. hf-dd-teacher dataset:digits."
    )
    teacher_revision: str = option("final", "Revision of the teachers found by --teacher_tags.")
    teacher_pool: str | None = option(
        None, "Locked pool: slug of a collection, a pool.json, or a distilled set (folder, owner/name@revision)."
    )
    teachers_in_memory: int | None = option(
        None,
        "Teachers held in memory at once, the last used ones; the others are loaded when drawn. All if not given.",
    )
    fit_head: bool = option(
        False,
        "Give teachers of another label space, or of none, a linear head for the data set's classes, fitted on their "
        "features of the training images; others keep their own.",
    )
    clom: Literal["none", "ce", "cos"] = option(
        "none", "CLoM guide: 'ce' (teachers of the same label space), 'cos' (any teacher), or 'none'."
    )
    clom_alpha: str = option(  # a number, or 'auto'
        100.0, "Weight of the CLoM term, on the paper's scale; 'auto' balances its gradient with the objective's."
    )
    clom_alphas: list[str] = option([], "Weights of single architectures of teachers, e.g. VGG11=10 ResNet18=50.")
    clom_alpha_per: Literal["set", "image"] = option(
        "set", "Whether the weight is that of the whole set, as in the paper, or of each training image."
    )
    clom_balance: float = option(
        1.0, "With --clom_alpha auto: how many times as large as the objective's largest gradient CLoM's is to be."
    )
    clom_pool: Literal["random", "mean-loss", "mean-logits"] = option(
        "random", "How a pool guides: one teacher drawn per step, the mean of all losses, or the loss of mean logits."
    )
    clom_augment: str = option(
        "none",
        "Augmentation of the distilled images before the teachers see them, each by its own draw, named as for "
        "--augment; the paper has none.",
    )
    clom_real_batch: int | None = option(
        None, "With --clom cos: real images drawn per step, as in the paper's code (8196), instead of all at once."
    )

    def __post_init__(self) -> None:
        lists(self)
        require_at_least(self, 1, "teachers_in_memory")
        require_at_least(self, 1, "clom_real_batch")
        require_at_least(self, 0, "clom_balance")
        if self.clom_alpha != "auto":
            self.clom_alpha = weight("--clom_alpha", self.clom_alpha)
        for name, value in parse_key_values(self.clom_alphas).items():
            weight(f"--clom_alphas {name}", value)
        if self.clom_alphas and (self.clom_alpha == "auto" or self.clom_pool == "mean-logits"):
            other = "--clom_alpha auto" if self.clom_alpha == "auto" else "--clom_pool mean-logits"
            raise ConfigError(f"--clom_alphas and {other} contradict each other: leave one out.")
        if self.clom_pool == "mean-logits" and self.clom == "cos":
            raise ConfigError("--clom_pool mean-logits goes with --clom ce: features of teachers have no mean.")
        if self.clom_real_batch and self.clom != "cos":
            raise ConfigError("--clom_real_batch goes with --clom cos, which alone looks at real images.")
        if self.clom_augment != "none" and self.clom == "none":
            raise ConfigError("--clom_augment is of what guiding teachers see: add --clom ce or --clom cos.")
        named = self.named_teachers
        if len(named) > 1:
            raise ConfigError(f"Name the teachers in one way; given are {' and '.join(f'--{n}' for n in named)}.")
        if self.fit_head and not named:
            raise ConfigError("--fit_head needs teachers: give --teachers, --teacher_tags or --teacher_pool.")
        if self.clom != "none" and not named:
            raise ConfigError(f"--clom {self.clom} needs teachers: give --teachers, --teacher_tags or --teacher_pool.")

    @classmethod
    def unguided(cls) -> dict[str, Any]:
        """CLoM's options at their defaults, which are those of no guide."""
        return {key: value for key, value in dataclasses.asdict(TeacherConfig()).items() if key.startswith("clom")}

    @property
    def named_teachers(self) -> list[str]:
        """The options that name teachers."""
        return [name for name in ("teachers", "teacher_tags", "teacher_pool") if getattr(self, name)]
