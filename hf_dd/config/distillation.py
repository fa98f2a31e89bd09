"""Options of distillations: one, or a study of many."""

from dataclasses import dataclass
from typing import Literal

from hf_dd.config.base import lists, option, require_at_least, slug
from hf_dd.config.data import RunConfig
from hf_dd.config.evaluation import EvaluationConfig
from hf_dd.config.teachers import TeacherConfig
from hf_dd.errors import ConfigError


@dataclass
class DistillConfig(RunConfig, TeacherConfig, EvaluationConfig):
    """One distillation: data set, objective, teachers, budget, evaluation; None is the objective's published value."""

    objective: str = option(
        "dm",
        "The method: dm, dc, dsa, mtt, tesla, sre2l, lgm, rded; random, herding, kcenter, teacher-score (these choose "
        "real images); clom (the guide alone).",
    )
    ipc: int = option(10, "Synthetic images per class.")
    iterations: int | None = option(None, "Iterations of the objective; its paper's number if not given.")
    architecture: str = option("ConvNet", "Architecture of the networks that the objective draws.")
    architecture_options: list[str] = option([], "Options of the architecture as key=value, e.g. width=64 depth=2.")
    experts: list[str] = option(
        [],
        "Expert trajectories for trajectory matching: teachers' repositories (owner/name, with tags epoch-0, epoch-1, "
        "…) or local run folders.",
    )
    objective_options: list[str] = option([], "Options of the objective's own as key=value, e.g. distance=mse.")
    soft_labels: Literal["none", "mean", "each"] = option(
        "none",
        "Soft labels of the training images by the teachers: 'mean' of their probabilities, or those of 'each'.",
    )
    soft_label_temperature: float = option(
        4.0,
        "Temperature of the soft labels, and of the students that learn from them; 4 as is usual in knowledge "
        "distillation (SRe2L and RDED take 20).",
    )
    real_batch_size: int | None = option(None, "Real images per class and step.")
    image_learning_rate: float | None = option(None, "Learning rate on the normalised synthetic images.")
    image_momentum: float | None = option(None, "Momentum of SGD on the synthetic images.")
    image_optimizer: Literal["sgd", "adam"] | None = option(None, "Optimiser of the synthetic images.")
    image_schedule: Literal["constant", "cosine"] | None = option(
        None, "The learning rate on the synthetic images: constant, or falling to zero along a cosine."
    )
    init: str | None = option(
        None,
        "What the synthetic images start from: real images (drawn, selected by their features, or chosen by teachers: "
        "rded's crops, teacher-score's whole images) or noise.",
    )
    selection_epochs: int | None = option(
        None,
        "Epochs of training of the network by whose features herding and k-centers choose; 10 if not given, and 0 "
        "leaves it random, which takes seconds.",
    )
    factor: int = option(
        1, "Tiles per side of a stored image, each a training image of its own (multi-formation, IDC)."
    )
    augment: str = option("color_crop_cutout_flip_scale_rotate", "Siamese augmentation strategy; 'none' for none.")
    dtype: Literal["float32", "float64"] = option("float32", "Type of the synthetic images and of all networks.")
    compile: bool = option(False, "torch.compile the networks, in runs of 1,000 iterations and more.")
    profile: bool = option(
        False, "Write a torch profiler trace of three steps into the run's folder, and print the costliest operations."
    )
    report_to: list[str] = option([], "Trackers: tensorboard, trackio.")
    logging_steps: int = option(10, "Iterations between two log lines.")
    save_steps: int = option(500, "Iterations between two checkpoints.")
    save_total_limit: int = option(2, "Checkpoints to keep.")
    resume_from_checkpoint: str | None = option(
        None, "A checkpoint folder, or 'latest' for the newest of --output_dir."
    )
    hub_dataset_id: str | None = option(None, "Hub id of the distilled set; named after the run if not given.")
    hub_revision: str | None = option(None, "Branch to push to; main if not given.")
    hub_tag: str | None = option(None, "Tag of the pushed commit; the next free of v1, v2, … if not given.")
    create_pr: bool = option(False, "Push as a pull request.")

    def __post_init__(self) -> None:
        RunConfig.__post_init__(self)
        TeacherConfig.__post_init__(self)
        EvaluationConfig.__post_init__(self)
        require_at_least(
            self,
            1,
            "ipc",
            "factor",
            "iterations",
            "real_batch_size",
            "logging_steps",
            "save_steps",
            "save_total_limit",
        )
        require_at_least(self, 0, "image_learning_rate", "image_momentum", "selection_epochs")
        if not 0 < self.soft_label_temperature < float("inf"):
            raise ConfigError(
                f"--soft_label_temperature is {self.soft_label_temperature}; it has to be a finite number above 0."
            )
        if self.soft_labels != "none" and not self.named_teachers:
            raise ConfigError(
                f"--soft_labels {self.soft_labels} needs teachers: give --teachers, --teacher_tags or --teacher_pool."
            )
        if self.dtype == "float64" and self.mixed_precision != "no":
            raise ConfigError(f"--dtype float64 and --mixed_precision {self.mixed_precision} contradict each other.")
        if unknown := [name for name in self.report_to if name not in ("tensorboard", "trackio")]:
            raise ConfigError(f"--report_to doesn't know {unknown}; it takes tensorboard and trackio.")

    @property
    def run_name(self) -> str:
        """What the run is called where no name was given: data set, objective, guide and ipc."""
        guide = "" if self.clom == "none" else f"-clom-{self.clom}"
        return f"{slug(self.dataset)}-{slug(self.objective)}{guide}-ipc{self.ipc}"


@dataclass
class StudyConfig:
    """Run a study: distillations that differ in their options, cell by cell, and a report on them."""

    study: str = option("", "The study: a YAML file, or the name of a recipe of hf_dd.")
    dataset: str | None = option(
        None,
        "Data set of all cells, and of teachers without one of their own, instead of the recipe's, e.g. a folder.",
    )
    cells: list[str] = option(
        [], "Only these cells, with the teachers that they name and the comparisons between them; all if not given."
    )
    seeds: list[int] = option([], "Seeds of the distillations, one of each cell per seed; the recipe's if not given.")
    output_dir: str | None = option(None, "Folder of the study; named after it if not given.")
    push_to_hub: bool = option(False, "Push the report, and what made it, to the Hub as a data set.")
    hub_dataset_id: str | None = option(None, "Hub id of the report; named after the folder if not given.")
    hub_tag: str | None = option(None, "Tag of the commit; the next free of v1, v2, … if not given.")
    hub_private_repo: bool = option(False, "Create the repository as a private one.")

    def __post_init__(self) -> None:
        lists(self)
        if not self.study:
            raise ConfigError("Name the study: hf-dd study RECIPE.")
        self.output_dir = self.output_dir or f"outputs/{slug(self.study.removesuffix('.yaml'))}"
