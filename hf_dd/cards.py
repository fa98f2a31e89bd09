"""What is known of a teacher and of a distilled set, captured while it is made, and the cards rendered from it.

An imported set was made elsewhere: its card says what the import found out, and what stays unknown.

A record is what `hf_dd.json` holds; the card (README.md) is a function of the record alone.
"""

import dataclasses
import importlib.metadata
import platform
import shlex
from dataclasses import dataclass, field
from typing import Any

import jinja2
import yaml
from huggingface_hub import (
    DatasetCard,
    DatasetCardData,
    EvalResult,
    EvalResultEntry,
    ModelCard,
    ModelCardData,
    eval_result_entries_to_yaml,
)

from hf_dd.config import slug
from hf_dd.data import ImageData
from hf_dd.diversity import in_words
from hf_dd.resources import resource

LIBRARIES = ("hf-dd", "torch", "accelerate", "datasets", "huggingface_hub", "transformers", "timm", "evaluate")
SIZE_CATEGORIES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
NOT_PART_OF_A_RECIPE = frozenset({"overwrite_output_dir", "resume_from_checkpoint"})
OBJECTIVE_NAMES = {
    "dm": "distribution matching (DM)",
    "dc": "gradient matching (DC)",
    "dsa": "gradient matching with Siamese augmentation (DSA)",
    "clom": "the guide alone",
    "mtt": "trajectory matching (MTT)",
    "tesla": "trajectory matching in constant memory (TESLA)",
    "sre2l": "recovery from BatchNorm statistics (SRe2L)",
    "rded": "the choice of realistic patches (RDED)",
    "lgm": "linear gradient matching (LGM)",
    "teacher-score": "a choice of real images by the scores of teachers",
    "random": "a random choice of real images",
    "herding": "a choice of real images (herding)",
    "kcenter": "a choice of real images (k-center)",
}
PARTS_OF_TEACHERS = {  # by objective or start, where it isn't that they guided
    "sre2l": "One teacher was drawn per step",
    "rded": "All teachers scored the crops of real images",
    "teacher-score": "All teachers scored the real images",
    "lgm": "The images were made for a linear probe of their features; one teacher was drawn per step",
}


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
        loss: mean over the epoch's images; None at epoch 0, the network as it was drawn.
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
    loss: float | None
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
        experts: one mapping each, see `ExpertPool.lock`.
        learning_rate: the one learned with the images, or None.
        run: iterations, seconds, losses, processes, hardware.
        dataset_info: features and splits, as in the card's front matter.
        results: an evaluation's `Results.as_dict()`, or None.
        pushed: repo_id and tag (None for a pull request) of the last push, or None.
        parquet_sha256: of the rows' file.
        storage: bytes of the images as `float` and `8bit`, and of the `soft_labels` beside them.
        decoded: `factor`, `images` and `parquet_sha256` of the configuration `decoded`; None where the rows aren't
            compact.
        soft_labels: their `kind`, `temperature`, and the shas of the `teachers`; None where there are none.
        diversity: of several teachers, see `diversity.measure`; None else.
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
    parquet_sha256: str = ""
    experts: list[dict[str, Any]] = field(default_factory=list)
    learning_rate: float | None = None
    storage: dict[str, int] = field(default_factory=dict)
    decoded: dict[str, Any] | None = None
    soft_labels: dict[str, Any] | None = None
    diversity: dict[str, Any] | None = None
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
            "clom": self.guide() if guided else None,
            "teachers": self.teachers,
            **({"experts": [expert["repo_id"] for expert in self.experts]} if self.experts else {}),
            **({"learning_rate": self.learning_rate} if self.learning_rate else {}),
            **({"factor": self.decoded["factor"]} if self.decoded else {}),
            **({"soft_labels": self.soft_labels} if self.soft_labels else {}),
        }

    def guide(self) -> dict[str, Any]:
        """CLoM's options, but for those at their defaults: distance, alpha, pool strategy, …"""
        defaults = {"clom_alphas": [], "clom_alpha_per": "set", "clom_balance": 1.0, "clom_pool": "random"}
        defaults |= {"clom_real_batch": None}
        changed = {
            key.removeprefix("clom_"): self.settings[key]
            for key, default in defaults.items()
            if self.settings.get(key, default) != default
        }
        return {"distance": self.settings["clom"], "alpha": self.settings["clom_alpha"], **changed}

    @property
    def alpha(self) -> str:
        """CLoM's weight in words."""
        words = [f"{name} {value}" for name, value in self.guide().items() if name not in ("distance", "alpha")]
        alpha = self.settings["clom_alpha"]
        return ", ".join([alpha if isinstance(alpha, str) else f"{alpha:g}", *words])

    @property
    def part_of_teachers(self) -> str:
        """What they did, as a sentence without its end."""
        if self.settings["clom"] != "none" and self.settings.get("clom_pool", "random") != "random":
            return "All teachers guided every step"
        start = PARTS_OF_TEACHERS.get(
            self.settings.get("init"), "They took no part in the distillation, but label its images for the students"
        )
        guided = self.settings["clom"] != "none"
        return PARTS_OF_TEACHERS.get(self.settings["objective"], "One teacher was drawn per step" if guided else start)

    @property
    def summary(self) -> str:
        """What made the set, in a few words."""
        guided = f" + CLoM {self.settings['clom']} of" if self.settings["clom"] != "none" else " with"
        guide = f"{guided} {plural(len(self.teachers), 'teacher')}" if self.teachers else ""
        experts = f" of {plural(len(self.experts), 'expert')}" if self.experts else ""
        return f"{self.settings['objective']}{experts}{guide}, ipc {self.settings['ipc']}"

    def card(self, endpoint: str) -> str:
        """The data set card as text; `endpoint` is the Hub that the links to the teachers' commits lead to."""
        count = self.settings["ipc"] * len(self.data["class_names"])
        objective, guide = self.settings["objective"], self.settings["clom"]
        front = front_matter(
            self,
            count,
            license=self.data["license"],
            pretty_name=f"{self.data['name']} distilled, {plural(self.settings['ipc'], 'image')} per class",
            tags=[f"objective:{objective}", *([f"clom:{guide}"] * (guide != "none"))],
            distillation=self.distillation(),
            decoded_sha256=self.decoded and self.decoded["parquet_sha256"],
        )
        return render(
            DatasetCard,
            front,
            "dataset_card.md.jinja",
            record=self,
            count=count,
            endpoint=endpoint,
            objective=OBJECTIVE_NAMES.get(objective, objective),
            diversity=in_words(self.diversity) if self.diversity else None,
        )


@dataclass
class ImportedRecord:
    """`hf_dd.json` of a distilled set that another tool made: what was stated, what was found out.

    Attributes:
        data: of the source, see `data_record`.
        settings: every option of the import.
        origin: `name`, `format`, `files` (name → sha256), `pin` and number of `images` of what was read.
        images: how many images the set has now.
        normalisation: what was undone, see `Normalisation.as_dict`.
        classes: the check of their order, see `ClassCheck.as_dict`, with `order` (how it is known), `class_map` and
            `moved` (the classes that look like others, in words).
        soft_labels: whether it has them.
        learning_rate: the one learned with the images, or None.
        accuracies: per architecture, `mean`, `std` and `n` of those that its authors stored, in [0, 1].
        dataset_info, command, versions, results, pushed, parquet_sha256, storage: as of a `DistilledRecord`.
    """

    name: str
    data: dict[str, Any]
    settings: dict[str, Any]
    origin: dict[str, Any]
    images: int
    normalisation: dict[str, Any]
    classes: dict[str, Any]
    soft_labels: bool
    learning_rate: float | None
    accuracies: dict[str, dict[str, float]]
    dataset_info: dict[str, Any]
    command: str
    versions: dict[str, str]
    results: dict[str, Any] | None = None
    pushed: dict[str, str | None] | None = None
    parquet_sha256: str = ""
    storage: dict[str, int] = field(default_factory=dict)
    kind: str = field(default="imported-set")
    format: int = 1

    @property
    def summary(self) -> str:
        """What made the set, in a few words."""
        return f"{self.settings['method'] or 'unknown method'}, {self.images} images, imported"

    def card(self, endpoint: str) -> str:
        """The data set card as text; it links to nothing on the Hub at `endpoint`."""
        method = self.settings["method"]
        front = front_matter(
            self,
            self.images,
            license=self.settings["license"],
            pretty_name=f"{self.data['name']} distilled{f' by {method}' if method else ''}, {self.images} images",
            tags=["imported", *([f"method:{slug(method)}"] if method else [])],
            distillation={
                "method": method,
                "paper": self.settings["paper"],
                "format": self.origin["format"],
                "normalisation": self.normalisation["name"],
                "learning_rate": self.learning_rate,
            },
        )
        return render(DatasetCard, front, "imported_card.md.jinja", record=self, count=self.images)


def front_matter(
    record: DistilledRecord | ImportedRecord,
    count: int,
    *,
    license: str,
    pretty_name: str,
    tags: list[str],
    distillation: dict[str, Any],
    decoded_sha256: str | None = None,
) -> DatasetCardData:
    """The front matter that every distilled set has, with what differs."""
    found = {"default": ("data/train-*", record.parquet_sha256)}
    found |= {"decoded": ("decoded/train-*", decoded_sha256)} if decoded_sha256 else {}
    return DatasetCardData(
        license=license,
        task_categories=["image-classification"],
        size_categories=[next((name for limit, name in SIZE_CATEGORIES if count < limit), "1M<n<10M")],
        source_datasets=[record.data["repo_id"] or slug(record.data["name"])],
        pretty_name=pretty_name,
        tags=["dataset-distillation", "hf-dd", *tags],
        configs=[configuration(name, path, digest) for name, (path, digest) in found.items()],
        dataset_info=record.dataset_info,
        distillation=distillation,
    )


def configuration(name: str, path: str, digest: str) -> dict[str, Any]:
    """A configuration in a card's front matter: the train split in the parquet files `path`, of the sha256 `digest`.

    The digest is a part of it: `load_dataset` would give a folder's former rows from its cache where new ones take
    exactly as many bytes.
    """
    return {
        "config_name": name,
        "description": f"Rows with the sha256 {digest}.",
        "data_files": [{"split": "train", "path": path}],
    }


def eval_results(data: dict[str, Any], results: dict[str, Any]) -> str:
    """Results in the Hub's own format (`.eval_results/*.yaml`), one entry for each row; no entry without a Hub source.

    An entry's task is the protocol and the student: numbers under different ones aren't comparable.
    """
    protocol = results["protocol"]
    entries = [
        EvalResultEntry(
            dataset_id=data["repo_id"],
            task_id=f"{protocol['name']}-v{protocol['version']}-{student_slug(row)}",
            value=round(row["mean"], 4),
            dataset_revision=data["sha"],
            notes=f"{row['set']}, {row['copy']}: ± {row['std']:.2f} over {row['n']} students, {storage_of(row)}",
        )
        for row in results["rows"]
        if data["repo_id"]
    ]
    return yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False, allow_unicode=True)


def storage_of(row: dict[str, Any]) -> str:
    """The bytes of a row, those of soft labels apart, and what labels its students learned from if not hard ones."""
    words = [f"{row['bytes']:,} bytes"]
    if row.get("soft_label_bytes"):
        words.append(f"soft labels {row['soft_label_bytes']:,} bytes")
    if row.get("temperature") is not None:
        by = " ".join(sha.removeprefix("sha256:")[:8] for sha in row["taught_by"])
        words.append(f"taught at temperature {row['temperature']:g}{f' by {by}' if by else ''}")
    return ", ".join(words)


def student_slug(row: dict[str, Any]) -> str:
    """The student of a row for an id: its architecture, with the commit of a backbone."""
    backbone = (row.get("backbone") or "").removeprefix("sha256:")
    return slug(row["architecture"]) + (f"-{backbone[:8]}" if backbone else "")


def plural(count: int, noun: str) -> str:
    """`1 image`, `2 images`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def render(card: type, front: Any, template: str, **values: Any) -> str:
    """Fill a template of cards/ with front matter and values; `section(NAME)` in it is another one, filled alike."""

    def section(name: str) -> str:
        return jinja2.Template(resource("cards", name).read_text()).render(**values)

    path = str(resource("cards", template))
    return str(card.from_template(front, template_path=path, section=section, **values)).rstrip() + "\n"


def as_json(record: TeacherRecord | DistilledRecord | ImportedRecord) -> dict[str, Any]:
    """A record as the JSON-able mapping that `hf_dd.json` holds."""
    return dataclasses.asdict(record)
