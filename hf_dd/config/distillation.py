"""Options of distillations: one, or a study of many."""

from collections.abc import Iterator
from dataclasses import dataclass

from hf_dd.config.base import TRUTH, Options, option, parse_key_values, slug
from hf_dd.config.data import RunConfig, branch, budget, once, place, private, pull_request, tag
from hf_dd.config.evaluation import EvaluationConfig
from hf_dd.config.labels import CropLabelConfig, labels
from hf_dd.config.teachers import NEEDS_TEACHERS, TeacherConfig
from hf_dd.core.registry import NETWORKS, OBJECTIVES, STARTS
from hf_dd.core.strategies import parse_strategy
from hf_dd.errors import ConfigError, require_known

TRACKIO = ("space_id", "bucket_id", "server_url", "private", "group")


def parse_trackio(pairs: list[str]) -> dict[str, str | bool]:
    """`["space_id=me/runs", "private=true"]` as what `trackio.init` takes; raises ConfigError for anything else."""
    values: dict[str, str | bool] = {}
    for name, value in parse_key_values(pairs).items():
        require_known("option of Trackio", name, TRACKIO)
        if name == "private" and str(value).lower() not in TRUTH:
            raise ConfigError(f"private is {value}; it has to be true or false.")
        values[name] = TRUTH[str(value).lower()] if name == "private" else str(value)
    return values


@dataclass
class DistillConfig(RunConfig, TeacherConfig, CropLabelConfig, EvaluationConfig):
    """One distillation: data set, objective, teachers, budget, evaluation; None is the objective's published value."""

    objective: str = option("dm", "The method.", choices=OBJECTIVES)
    ipc: int = option(10, "Synthetic images per class.", at_least=1, memory=True)
    iterations: int | None = budget(None, "Iterations of the objective; its paper's number if not given.", at_least=1)
    architecture: str = option("ConvNet", "Architecture of the networks that the objective draws.", choices=NETWORKS)
    architecture_options: list[str] = option(
        [], "Options of the architecture as key=value, e.g. width=64 depth=2.", grammar=parse_key_values, memory=True
    )
    experts: list[str] = option(
        [],
        "Expert trajectories for trajectory matching: teachers' repositories (owner/name, with tags epoch-0, epoch-1, "
        "…) or local run folders.",
        group="teachers and guide",
        role="teachers",
        teachers=True,
    )
    networks: str | None = option(
        None,
        "The networks that the objective draws: fresh random ones, the teachers as they are, or parameters between an "
        "earlier epoch of a teacher and its own, l·start + (1 − l)·end with l ~ U(0, 1); the method's if not given.",
        group="teachers and guide",
        role="guide",
        choices=("random", "teachers", "between"),
    )
    networks_from: list[str] = option(
        [],
        "With --networks between: an earlier epoch of each teacher, as owner/name@epoch-N or as a local folder; the "
        "earliest that the teacher's repository or run has if not given.",
        group="teachers and guide",
        role="teachers",
        teachers=True,
    )
    objective_options: list[str] = option(
        [],
        "Options of the objective's own as key=value, e.g. distance=mse; `--objective NAME --help` lists them.",
        grammar=parse_key_values,
    )
    soft_labels: str = labels(
        "none",
        "Soft labels of the training images by the teachers: 'mean' of their probabilities, those of 'each', or the "
        "mean for many 'crops' of each image, as the configuration `labels`.",
        choices=("none", "mean", "each", "crops"),
    )
    soft_label_temperature: float = labels(
        4.0,
        "Temperature of the soft labels, and of the students that learn from them; 4 as is usual in knowledge "
        "distillation (SRe2L and RDED take 20).",
        above=0,
    )
    real_batch_size: int | None = budget(None, "Real images per class and step.", at_least=1, memory=True)
    image_learning_rate: float | None = budget(None, "Learning rate on the normalised synthetic images.", at_least=0)
    image_momentum: float | None = budget(None, "Momentum of SGD on the synthetic images.", at_least=0)
    image_optimizer: str | None = budget(None, "Optimiser of the synthetic images.", choices=("sgd", "adam"))
    image_schedule: str | None = budget(
        None,
        "The learning rate on the synthetic images: constant, or falling to zero along a cosine.",
        choices=("constant", "cosine"),
    )
    init: str | None = option(
        None,
        "What the synthetic images start from; if not given, real images by herding where the paper has random ones, "
        "which --published brings back.",
        choices=STARTS,
    )
    selection_epochs: int | None = option(
        None,
        "Epochs of training of the network by whose features herding and k-centers choose; if not given, they are the "
        "first teacher's, or those of a network as it was drawn (0), which takes seconds; 10 with --published.",
        group="method",
        at_least=0,
    )
    factor: int | None = option(
        None,
        "Tiles per side of a stored image, each a training image of its own (multi-formation, IDC).",
        at_least=1,
        stands_for=1,
        memory=True,
    )
    images_at_once: int | None = option(
        None,
        "Stored images of each class that are optimised together, for all iterations, before the next ones are: a "
        "device holds no more than these, and the set is the same. For methods whose images know no others than those "
        "of their batch; all if not given.",
        group="budget",
        at_least=1,
    )
    augment: str | None = option(
        None,
        "Siamese augmentation: one of these operations, or after 'composite_' all of them in turn (of crop, scale and "
        "rotate one); 'none' for none; if not given, the paper's, without the flip where the data say that a mirrored "
        "image isn't one of its class any more.",
        grammar=parse_strategy,
    )
    dtype: str = budget("float32", "Type of the synthetic images and of all networks.", choices=("float32", "float64"))
    compile: bool = budget(False, "torch.compile the networks, in runs of 1,000 iterations and more.")
    profile: bool = once(
        False, "Write a torch profiler trace of three steps into the run's folder, and print the costliest operations."
    )
    report_to: list[str] = once(
        [], "Trackers of losses, previews, images and results.", choices=("tensorboard", "trackio")
    )
    trackio_options: list[str] = once(
        [],
        "What Trackio is started with: space_id=OWNER/NAME, bucket_id=OWNER/NAME, server_url=URL, private=true, "
        "group=NAME; its own variables, such as TRACKIO_SPACE_ID, count too.",
        grammar=parse_trackio,
    )
    logging_steps: int = place(10, "Iterations between two log lines.", at_least=1)
    save_steps: int = place(500, "Iterations between two checkpoints.", at_least=1)
    save_total_limit: int = place(2, "Checkpoints to keep.", at_least=1)
    minutes: float | None = budget(
        None,
        "Plan the run so that all of it takes so long on this machine: what isn't given (iterations, factor, real "
        "batch, teachers and guide, students) is chosen by short races on a part of the training images.",
        role="once",
        above=0,
        at_most=1_000_000,
    )
    plan: bool = budget(
        False, "With --minutes: print what would be tried and how long it takes, and stop.", role="once"
    )
    resume_from_checkpoint: str | None = place(
        None, "A checkpoint folder, or 'latest' for the newest of --output_dir.", role="once", path=True
    )
    hub_dataset_id: str | None = once(None, "Hub id of the distilled set; named after the run if not given.")
    hub_revision: str | None = branch()
    hub_tag: str | None = tag()
    create_pr: bool = pull_request()

    def contradictions(self) -> Iterator[str]:
        """As of all options."""
        yield from super().contradictions()
        if self.soft_labels != "none" and not self.named_teachers:
            yield f"--soft_labels {self.soft_labels} {NEEDS_TEACHERS}"
        if self.soft_labels == "crops" and self.soft_label_temperature != type(self).soft_label_temperature:
            yield "--soft_label_temperature: labels of crops serve every temperature, a protocol's: leave it out."
        if self.plan and self.minutes is None:
            yield "--plan tells how the minutes of a run would be spent: give --minutes too."
        if self.trackio_options and "trackio" not in self.report_to:
            yield "--trackio_options are Trackio's: give --report_to trackio too."
        if self.images_at_once and self.ipc % self.images_at_once:
            fitting = [str(count) for count in range(1, self.ipc + 1) if self.ipc % count == 0]
            yield (
                f"--images_at_once {self.images_at_once} doesn't divide --ipc {self.ipc}: take one of "
                f"{', '.join(fitting)}, or leave it out."
            )
        if self.images_at_once and self.minutes is not None:
            yield "--images_at_once has no meaning for --minutes, whose plan has all images at once: leave one out."
        if self.zca and (self.factor or 1) > 1:
            yield f"--zca whitens whole images, and --factor {self.factor} makes tiles of them: leave one out."
        if self.dtype == "float64" and self.mixed_precision not in (None, "no"):
            yield f"--dtype float64 and --mixed_precision {self.mixed_precision} contradict each other."

    def without_effect(self) -> dict[str, str]:
        """As of all teachers; besides, options of labels that nobody gives, and of a push that isn't made."""
        why = super().without_effect()
        if self.soft_labels == "none" and self.soft_label_temperature != type(self).soft_label_temperature:
            why["soft_label_temperature"] = "teachers label nothing"
        if self.hub_private_repo and not self.push_to_hub:
            why["hub_private_repo"] = "nothing is pushed"
        return why

    @property
    def first_student(self) -> int:
        """Seed of the first student: runs of several seeds have students, and random images, of their own each."""
        return self.seed * (self.eval_students or 0)

    @property
    def resumes(self) -> bool:
        """Whether it goes on from a checkpoint, if there is one."""
        return self.resume_from_checkpoint is not None

    @property
    def planned(self) -> bool:
        """As of all options: where there are minutes to be planned."""
        return self.minutes is not None

    @property
    def may_train(self) -> bool:
        """As of all teachers: a plan trains its own, but gives no head to them."""
        return self.planned and not self.fit_head

    @property
    def run_name(self) -> str:
        """What the run is called where no name was given: data set, objective, guide and ipc."""
        guide = f"-clom-{self.clom}" if self.guided else ""
        return f"{slug(self.dataset)}-{slug(self.objective)}{guide}-ipc{self.ipc}"


@dataclass
class StudyConfig(Options):
    """Run a study: distillations that differ in their options, cell by cell, and a report on them."""

    study: str = option(
        "",
        "The study: a YAML file, or the name of a recipe of hf_dd.",
        positional=True,
        needed="Name the study: hf-dd study RECIPE.",
    )
    dataset: str | None = option(
        None,
        "Data set of all cells, and of teachers without one of their own, instead of the recipe's, e.g. a folder.",
        group="data",
        role="source",
    )
    cells: list[str] = option(
        [], "Only these cells, with the teachers that they name and the comparisons between them; all if not given."
    )
    seeds: list[int] = option([], "Seeds of the distillations, one of each cell per seed; the recipe's if not given.")
    output_dir: str | None = place(None, "Folder of the study; named after it if not given.", path=True)
    push_to_hub: bool = once(False, "Push the report, and what made it, to the Hub as a data set.")
    hub_dataset_id: str | None = once(None, "Hub id of the report; named after the folder if not given.")
    hub_tag: str | None = tag()
    hub_private_repo: bool = private()

    def contradictions(self) -> Iterator[str]:
        """As of all options."""
        yield from super().contradictions()
        if twice := sorted({seed for seed in self.seeds if self.seeds.count(seed) > 1}):
            yield f"--seeds holds {twice} more than once."

    def __post_init__(self) -> None:
        super().__post_init__()
        self.output_dir = self.output_dir or f"outputs/{slug(self.study.removesuffix('.yaml'))}"
