"""Options of teachers: how they are trained, which ones are taken, how they guide."""

import dataclasses
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from hf_dd.config.base import is_default, named, option, parse_key_values, require_weights
from hf_dd.config.data import RunConfig, TrustConfig, budget, once, place
from hf_dd.core.registry import NETWORKS
from hf_dd.core.strategies import parse_mix, parse_strategy

naming = functools.partial(option, group="teachers and guide", role="teachers")
guide = functools.partial(option, group="teachers and guide", role="guide")

NEEDS_TEACHERS = "needs teachers: give --teachers, --teacher_tags or --teacher_pool."


@dataclass
class PretrainConfig(RunConfig):
    """Train a grid (architectures x seeds) of teachers; defaults are the paper's (arXiv 2310.03295)."""

    architectures: list[str] = naming(
        ["ConvNet"],
        "Architectures of the teachers.",
        choices=NETWORKS,
        needed="--architectures and --teacher_seeds need at least one value each.",
    )
    architecture_options: list[str] = option(
        [],
        "Options of the architectures as key=value, e.g. width=64 depth=2.",
        group="teachers and guide",
        grammar=parse_key_values,
        memory=True,
    )
    teacher_seeds: list[int] = naming(
        [0],
        "One teacher of each architecture per seed.",
        at_least=0,
        needed="--architectures and --teacher_seeds need at least one value each.",
    )
    epochs: int = budget(150, "Epochs of training.", at_least=1)
    keep_epochs: list[int] = place(
        [],
        "Epochs to keep (one commit and one tag each), 0 for the network as it was drawn; every epoch from 1 on if "
        "not given.",
    )
    learning_rate: float = budget(0.01, "Learning rate of SGD.", at_least=0)
    momentum: float = budget(0.9, "Momentum of SGD.", at_least=0)
    weight_decay: float = budget(5e-3, "Weight decay of SGD.", at_least=0)
    batch_size: int = budget(256, "Images per step.", at_least=1, memory=True)
    lr_drops: list[float] = budget(
        [1 / 3, 2 / 3],
        "Fractions of the epochs after which the learning rate is multiplied by 0.1.",
        above=0,
        below=1,
    )
    augment: str = budget(
        "none",
        "Augmentation strategy, operations joined by '_'; the paper's teachers use none.",
        grammar=parse_strategy,
    )
    augment_by: str = budget(
        "image",
        "Whether each image is augmented by an operation of its own, or all of a batch by the same, as MTT's experts.",
        choices=("image", "batch"),
    )
    mix: str = budget(
        "none",
        "Whether batches are mixed, and labels with them: cutmix, mixup, or with a probability as in cutmix=0.5, as "
        "teachers of DANCE and NCFM are.",
        grammar=parse_mix,
    )
    compile: bool = budget(False, "torch.compile the network, in trainings of 1,000 steps and more.", role="effort")
    hub_namespace: str | None = once(None, "User or organisation that owns the teacher repos; the token's user else.")

    def contradictions(self) -> Iterator[str]:
        """As of all options."""
        yield from super().contradictions()
        if bad := [epoch for epoch in self.keep_epochs if not 0 <= epoch <= self.epochs]:
            yield f"--keep_epochs holds {bad}; epochs run from 0, as drawn, to {self.epochs} (--epochs)."

    @property
    def kept_epochs(self) -> list[int]:
        """The epochs that are kept, in order; the last always is."""
        return sorted({*(self.keep_epochs or range(1, self.epochs + 1)), self.epochs})


@dataclass
class TeacherConfig(TrustConfig):
    """Which teachers: by reference, by Hub tags, or from a collection; and how they guide (CLoM)."""

    teachers: list[str] = naming([], "Teachers as owner/name@revision or as local folders.", teachers=True)
    teacher_tags: list[str] = naming(
        [], "Take every Hub model with all of these tags, e.g. hf-dd-teacher dataset:digits."
    )
    teacher_revision: str = naming("final", "Revision of the teachers found by --teacher_tags.", role="source")
    teacher_pool: str | None = naming(
        None, "Locked pool: slug of a collection, a pool.json, or a distilled set (folder, owner/name@revision)."
    )
    teachers_in_memory: int | None = naming(
        None,
        "Teachers held in memory at once, the last used ones; the others are loaded when drawn. All if not given.",
        role="effort",
        at_least=1,
    )
    fit_head: bool = naming(
        False,
        "Give teachers of another label space, or of none, a linear head for the data set's classes, fitted on their "
        "features of the training images; others keep their own.",
        role="result",
    )
    clom: str | None = guide(
        None,
        "CLoM guide: 'ce' (teachers of the same label space), 'cos' (any teacher), or 'none'.",
        stands_for="none",
        choices=("none", "ce", "cos"),
    )
    clom_alpha: float | Literal["auto"] | None = guide(
        None,
        "Weight of the CLoM term, on the paper's scale; 'auto' balances its gradient with the objective's.",
        at_least=0,
        stands_for=100.0,
    )
    clom_alphas: list[str] = guide(
        [], "Weights of single architectures of teachers, e.g. VGG11=10 ResNet18=50.", grammar=require_weights
    )
    clom_alpha_per: str = guide(
        "set",
        "Whether the weight is that of the whole set, as in the paper, or of each training image.",
        choices=("set", "image"),
    )
    clom_balance: float | None = guide(
        None,
        "With --clom_alpha auto: how many times as large as the objective's largest gradient CLoM's is to be.",
        at_least=0,
        stands_for=1.0,
    )
    clom_schedule: str = guide(
        "constant",
        "How α goes on from there: constant, or fading to zero at the last iteration, in a line or along a cosine.",
        choices=("constant", "linear", "cosine"),
    )
    clom_pool: str = guide(
        "random",
        "How a pool guides: one teacher drawn per step, the mean of all losses, or the loss of mean logits.",
        choices=("random", "mean-loss", "mean-logits"),
    )
    clom_augment: str | None = guide(
        None,
        "Augmentation of the distilled images before the teachers see them, each by its own draw, named as for "
        "--augment; the paper has none.",
        grammar=parse_strategy,
        stands_for="none",
    )
    clom_batch: int | None = guide(
        None,
        "Stored images of each class that the teachers see per step, drawn anew; all of them, as in the paper, if not "
        "given.",
        at_least=1,
        memory=True,
    )
    clom_real_batch: int | None = guide(
        None,
        "With --clom cos: real images drawn per step, as in the paper's code (8196), instead of all at once.",
        at_least=1,
        memory=True,
    )

    def contradictions(self) -> Iterator[str]:
        """As of all options."""
        yield from super().contradictions()
        if self.clom_alphas and (self.clom_alpha == "auto" or self.clom_pool == "mean-logits"):
            other = "--clom_alpha auto" if self.clom_alpha == "auto" else "--clom_pool mean-logits"
            yield f"--clom_alphas and {other} contradict each other: leave one out."
        if self.clom_pool == "mean-logits" and self.clom == "cos":
            yield "--clom_pool mean-logits goes with --clom ce: features of teachers have no mean."
        if self.clom_real_batch and self.clom != "cos":
            yield "--clom_real_batch goes with --clom cos, which alone looks at real images."
        if not self.guided:
            seen = "what guiding teachers see"
            of = {"clom_schedule": "the weight of guiding teachers", "clom_augment": seen, "clom_batch": seen}
            options = {each.name: each for each in dataclasses.fields(self)}
            for name, what in of.items():
                if not is_default(options[name], getattr(self, name)):
                    yield f"--{name} is of {what}: add --clom ce or --clom cos."
        named = self.named_teachers
        if len(named) > 1:
            yield f"Name the teachers in one way; given are {' and '.join(f'--{name}' for name in named)}."
        asking = ["--fit_head"] * self.fit_head + [f"--clom {self.clom}"] * self.guided
        if not named and not self.may_train:
            for option in asking:
                yield f"{option} {NEEDS_TEACHERS}"

    def without_effect(self) -> dict[str, str]:
        """Options of teachers that are given though nothing asks for them, by name, with why.

        They are no error: recipes and older records may hold them.
        """
        why = {}
        if self.clom == "none":
            why |= dict.fromkeys(named(TeacherConfig, "guide"), "no teachers guide")
        elif self.clom is not None and self.clom_alpha not in (None, "auto"):
            why["clom_balance"] = "the weight of the guide isn't auto"
        if not self.named_teachers and not self.may_train:
            why["teachers_in_memory"] = "no teachers are named"
        if not self.teacher_tags:
            why["teacher_revision"] = "no teachers are looked for by tags"
        options = {each.name: each for each in dataclasses.fields(self)}
        return {name: said for name, said in why.items() if not is_default(options[name], getattr(self, name))}

    @property
    def guided(self) -> bool:
        """Whether a guide is asked for; without a word of it (None) a plan may choose one."""
        return self.clom not in (None, "none")

    @property
    def may_train(self) -> bool:
        """Whether teachers that aren't named may be trained by the run itself."""
        return False

    @property
    def named_teachers(self) -> list[str]:
        """The options that name teachers."""
        return [name for name in named(TeacherConfig, "teachers") if getattr(self, name)]
