"""What is known of a teacher and of a distilled set, captured while it is made, and the cards rendered from it.

A record is what `hf_dd.json` holds; the card (README.md) is a function of the record alone.
"""

import dataclasses
import importlib.metadata
import platform
import shlex
from dataclasses import dataclass, field
from typing import Any

from huggingface_hub import DatasetCard, DatasetCardData, EvalResult, ModelCard, ModelCardData

from hf_dd.config import slug
from hf_dd.data import ImageData
from hf_dd.resources import resource

LIBRARIES = ("hf-dd", "torch", "accelerate", "datasets", "huggingface_hub", "transformers", "timm", "evaluate")
SIZE_CATEGORIES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
NOT_PART_OF_A_RECIPE = frozenset({"overwrite_output_dir", "resume_from_checkpoint"})
OBJECTIVE_NAMES = {"dm": "distribution matching (DM)", "clom": "the guide alone"}


def data_record(data: ImageData) -> dict[str, Any]:
    """What a card says of the source data set."""
    return {
        "name": data.name,
        "reference": data.reference if data.sha is None else f"{data.repo_id}@{data.sha}",
        "repo_id": data.repo_id,
        "revision": data.revision,
        "sha": data.sha,
        "license": data.license,
        "class_names": list(data.class_names),
        "channels": data.channels,
        "image_size": list(data.image_size),
        "mean": list(data.mean),
        "std": list(data.std),
        "train_images": len(data.train),
        "fingerprint": data.fingerprint,
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that a result depends on."""
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in LIBRARIES}}


def command_line(command: str, config: Any, processes: int = 1) -> str:
    """The command that repeats a run: every option that isn't its default, whatever recipe or code it came from."""
    words = ["hf-dd", command]
    if processes > 1:
        words = ["accelerate", "launch", "--multi_gpu", "--num_processes", str(processes), "-m", "hf_dd", command]
    for option in dataclasses.fields(config):
        value = getattr(config, option.name)
        default = option.default_factory() if option.default is dataclasses.MISSING else option.default
        if value != default and option.name not in NOT_PART_OF_A_RECIPE:
            words += [f"--{option.name}", *map(str, value if isinstance(value, list) else [value])]
    return shlex.join(words)


@dataclass
class TeacherRecord:
    """`hf_dd.json` of a teacher at one epoch.

    Attributes:
        dataset: name of the data set that it was trained on, with its commit if it has one.
        accuracy: on the test split, in [0, 1].
        data: see `data_record`.
        training: the options that it was trained with.
        seconds: of training up to this epoch.
    """

    name: str
    architecture: str
    seed: int
    epoch: int
    dataset: str
    accuracy: float
    loss: float
    seconds: float
    data: dict[str, Any]
    training: dict[str, Any]
    command: str
    hardware: str
    versions: dict[str, str]
    kind: str = "teacher"
    format: int = 1

    def card(self) -> str:
        """The model card as text, valid front matter included."""
        source = self.data["repo_id"] or slug(self.data["name"])
        result = EvalResult(
            task_type="image-classification",
            dataset_type=source,
            dataset_name=self.data["name"],
            dataset_revision=self.data["sha"],
            dataset_split="test",
            metric_type="accuracy",
            metric_value=round(self.accuracy, 6),
            metric_name="Accuracy",
        )
        front = ModelCardData(
            model_name=self.name,
            library_name="hf-dd",
            license=self.data["license"],
            pipeline_tag="image-classification",
            datasets=[source],
            tags=["hf-dd-teacher", f"arch:{self.architecture}", f"seed:{self.seed}", "dataset-distillation"],
            eval_results=[result],
            metrics=["accuracy"],
        )
        return render(ModelCard, front, "teacher_card.md.jinja", record=self, source=source)


@dataclass
class DistilledRecord:
    """`hf_dd.json` of a distilled set: everything that made it.

    Attributes:
        data: see `data_record`.
        settings: every option, with the objective's published values filled in.
        teachers: one `TeacherSpec` each, as mappings.
        pool: what the pool was named by, if not by references.
        run: iterations, seconds, losses, processes, hardware.
        dataset_info: features and splits, as in the card's front matter.
        results: an evaluation's `Results.as_dict()`, or None.
        pushed: repo_id and tag (None for a pull request) of the last push, or None.
    """

    name: str
    data: dict[str, Any]
    settings: dict[str, Any]
    teachers: list[dict[str, Any]]
    pool: str | None
    run: dict[str, Any]
    dataset_info: dict[str, Any]
    command: str
    versions: dict[str, str]
    results: dict[str, Any] | None = None
    pushed: dict[str, str | None] | None = None
    kind: str = field(default="distilled-set")
    format: int = 1

    def distillation(self) -> dict[str, Any]:
        """The `distillation:` block of the front matter: the options of the paper, for machines to read."""
        guided = self.settings["clom"] != "none"
        return {
            "objective": self.settings["objective"],
            "ipc": self.settings["ipc"],
            "iterations": self.settings["iterations"],
            "architecture": self.settings["architecture"],
            "seed": self.settings["seed"],
            "clom": {"distance": self.settings["clom"], "alpha": self.settings["clom_alpha"]} if guided else None,
            "teachers": self.teachers,
        }

    def card(self, endpoint: str) -> str:
        """The data set card as text; `endpoint` is the Hub that the links to the teachers' commits lead to."""
        count = self.settings["ipc"] * len(self.data["class_names"])
        objective, guide = self.settings["objective"], self.settings["clom"]
        per_class = f"{self.settings['ipc']} image{'s' * (self.settings['ipc'] > 1)} per class"
        front = DatasetCardData(
            license=self.data["license"],
            task_categories=["image-classification"],
            size_categories=[next((name for limit, name in SIZE_CATEGORIES if count < limit), "1M<n<10M")],
            source_datasets=[self.data["repo_id"] or slug(self.data["name"])],
            pretty_name=f"{self.data['name']} distilled, {per_class}",
            tags=["dataset-distillation", "hf-dd", f"objective:{objective}", *([f"clom:{guide}"] * (guide != "none"))],
            configs=[{"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*"}]}],
            dataset_info=self.dataset_info,
            distillation=self.distillation(),
        )
        return render(
            DatasetCard,
            front,
            "dataset_card.md.jinja",
            record=self,
            count=count,
            endpoint=endpoint,
            objective=OBJECTIVE_NAMES.get(objective, objective),
        )


def render(card: type, front: Any, template: str, **values: Any) -> str:
    """Fill a template of cards/ with front matter and values."""
    return str(card.from_template(front, template_path=str(resource("cards", template)), **values)).rstrip() + "\n"


def as_json(record: TeacherRecord | DistilledRecord) -> dict[str, Any]:
    """A record as the JSON-able mapping that `hf_dd.json` holds."""
    return dataclasses.asdict(record)
