"""Options of evaluations: how students are trained and tested, on which sets."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hf_dd.config.base import option
from hf_dd.config.data import DataConfig, TrustConfig, budget, data, once, place, precision_of
from hf_dd.config.labels import CropLabelConfig, labels
from hf_dd.core.registry import PROTOCOLS, STARTS
from hf_dd.core.strategies import parse_mix, parse_strategy
from hf_dd.errors import ConfigError, require_known

SELECTIONS = tuple(name for name, (_, words) in STARTS.declared.items() if words.get("embeds"))
BASELINES = ("random", *SELECTIONS, "full")
OF_DD_RANKING = ("augmentation_robust_score", "label_robust_score")
SCORES = ("relative_accuracy", *OF_DD_RANKING)
REGIMES = {  # what students learn from, in words
    "hard": "hard labels",
    "soft": "a soft label per image",
    "crops": "stored soft labels of crops",
    "online": "soft labels of every view",
}

evaluation = functools.partial(option, group="evaluation", role="evaluation")
augmentation = functools.partial(
    evaluation,
    None,
    "A student's augmentation, 'none' for none; the protocol's if not given, without the flip where the data say that "
    "a mirrored image isn't one of its class any more.",
    grammar=parse_strategy,
)


def parse_regimes(texts: Sequence[str]) -> dict[str, str | None]:
    """Regimes and the protocol that is named for each, if any, from words such as `hard` and `online=rded`.

    Raises ConfigError for a regime or a protocol that there isn't, and for a regime that comes twice.
    """
    found: dict[str, str | None] = {}
    for text in texts:
        regime, sign, name = text.partition("=")
        require_known("regime", regime, REGIMES)
        if regime in found:
            raise ConfigError(f"the regime {regime} comes twice.")
        if sign and ":" not in name:
            PROTOCOLS.installed(name, "the protocol")
        found[regime] = name or None
    return found


@dataclass
class EvaluationConfig(TrustConfig):
    """The protocol that students are trained and tested by, and what is changed of it."""

    eval_protocol: str = evaluation("dsa", "Protocol of the students.", choices=PROTOCOLS)
    eval_architectures: list[str] = evaluation(
        ["ConvNet"],
        "Architectures of the students: hf_dd's, or timm models as timm/NAME; for linear-probe pre-trained backbones: "
        "teachers as owner/name@revision or as local folders.",
        needed="--eval_architectures needs at least one value.",
        teachers=True,
    )
    eval_students: int | None = evaluation(
        None,
        "Students per set, each with its own seed; 0 leaves the evaluation out.",
        at_least=0,
        stands_for=3,
        memory=True,  # on a GPU they are trained at once
    )
    eval_epochs: list[int] = evaluation(
        [],
        "Epochs of the students, the protocol's if not given; of several, the best on a validation split of the "
        "training images.",
        at_least=1,
    )
    eval_learning_rates: list[float] = evaluation(
        [],
        "Learning rate of the students, the set's own or the protocol's if not given; of several, the best on a "
        "validation split of the training images.",
        above=0,
    )
    eval_augment: str | None = augmentation()
    eval_mix: str | None = evaluation(
        None,
        "Whether a student's batches are mixed, and labels with them: cutmix, mixup, or with a probability as in "
        "cutmix=0.5; 'none' for no mix; the protocol's if not given.",
        grammar=parse_mix,
    )
    eval_teachers: list[str] = evaluation(
        [],
        "Teachers of the students where a protocol asks some, as owner/name@revision or as local folders; those that "
        "the set was made with if not given.",
        teachers=True,
    )
    eval_copies: list[str] = evaluation(
        ["float", "8bit"],
        "Which copies of a set to evaluate: the exact float, the 8-bit PNG; none if empty.",
        choices=("float", "8bit"),
    )
    baselines: list[str] = evaluation(
        ["random", "herding"],
        "Real images to evaluate too, as many: random ones, or chosen ones; full, the whole set; or none.",
        choices=(*BASELINES, "none"),
    )
    random_draws: int = evaluation(
        1,
        "Draws of random real images for each student to be trained on; no two students share a draw.",
        at_least=1,
    )
    selection_epochs: int | None = evaluation(
        None,
        "Epochs of training of the network by whose features herding and k-centers choose; 0 if not given, which "
        "leaves it random and takes seconds; 10 with --published, and where the training itself decides.",
        at_least=0,
    )
    best_of_looks: bool = evaluation(
        False,
        "Print beside the last epoch the best of those after which the protocol's paper looks at the test split.",
    )
    published: bool = evaluation(
        False,
        "Options that aren't given take the papers' values: methods start from random real images, images are flipped "
        "whatever the data say, and herding uses a trained network.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.baselines == ["none"]:
            self.baselines = []
        for name in ("eval_architectures", "eval_copies", "baselines"):  # a row each, which is named once
            setattr(self, name, list(dict.fromkeys(getattr(self, name))))

    def contradictions(self) -> Iterator[str]:
        """As of all options."""
        yield from super().contradictions()
        if "none" in self.baselines and len(self.baselines) > 1:
            yield f"--baselines {' '.join(self.baselines)}: give 'none' alone, or leave it out."
        if self.evaluates and not self.eval_copies and self.baselines in ([], ["none"]):
            yield "Nothing would be evaluated: name copies of the set by --eval_copies, or real images by --baselines."

    @property
    def evaluates(self) -> bool:
        """Whether there are students; a plan may choose how many (None)."""
        return self.eval_students != 0


@dataclass
class EvaluateConfig(DataConfig, EvaluationConfig, CropLabelConfig):
    """Evaluate distilled sets, beside random real images of the same ipc, under one protocol."""

    sets: list[str] = option(
        [],
        "Distilled sets: Hub ids (owner/name, owner/name@revision) or folders.",
        group="data",
        role="source",
        positional=True,
        needed="Name at least one distilled set: hf-dd evaluate FOLDER_OR_HUB_ID.",
    )
    dataset: str = option(
        "",
        "Data set to test on; the one that the first distilled set was made from if not given.",
        group="data",
        role="source",
    )
    train_split: str | None = data(
        None, "Split of real images; the one that the first distilled set was made from, or 'train', if not given."
    )
    eval_students: int = evaluation(3, "Students per set, each with its own seed.", at_least=1, memory=True)
    regimes: list[str] = evaluation(
        [],
        "Evaluate under the protocol of each: hard labels, one soft label per image, soft labels of stored crops or "
        "online; one of your own as online=rded. In the place of --eval_protocol.",
        grammar=parse_regimes,
    )
    scores: list[str] = evaluation(
        [],
        "Scores of the sets beside their accuracies. Each trains further students, on the full set too.",
        choices=SCORES,
    )
    dd_ranking: str | None = once(
        None, "File for both of DD-Ranking's scores, student by student, as its authors ask for them.", path=True
    )
    soft_labels: str = labels(
        "none",
        "'crops': before the evaluation, store with each local set that has none what --eval_teachers, or those that "
        "it was made with, say of many crops of its images.",
        choices=("none", "crops"),
    )
    output_dir: str | None = place(
        None, "Folder for results.json; a single local set's own folder if not given.", path=True
    )
    save_students: str | None = place(
        None, "Folder for the trained students of the sets, as models that load.", path=True
    )
    push_students: str | None = once(
        None,
        "Repository (name, or owner/name) for the students of the first set, architecture and copy, a tag for each "
        "seed; all others go into repositories whose names begin with it.",
    )
    seed: int = budget(0, "Seed of the students and of the random images.")
    mixed_precision: str | None = precision_of("students")
    compile: bool = budget(False, "torch.compile the students, where they train for 1,000 steps and more.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dd_ranking:
            self.scores = list(dict.fromkeys([*self.scores, *OF_DD_RANKING]))

    def contradictions(self) -> Iterator[str]:
        """As of all options."""
        yield from super().contradictions()
        if self.regimes and self.eval_protocol != "dsa":
            yield (
                f"--eval_protocol {self.eval_protocol} is one protocol, and --regimes names those of each: leave "
                f"one out, or say whose it is, by --regimes {PROTOCOLS.find(self.eval_protocol).labels}="
                f"{self.eval_protocol} alone."
            )
        if self.regimes and self.scores:
            yield "--scores are of one protocol: leave --regimes or --scores out."
        if self.regimes and (self.push_students or self.save_students):
            yield "--push_students and --save_students are of one protocol: leave --regimes out."
