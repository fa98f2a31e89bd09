"""What is known of a teacher and of a distilled set, captured while it is made, and the card that says it.

An imported set was made elsewhere: its card says what the import found out, and what stays unknown.

A record is what `hf_dd.json` holds; the card (README.md) is a function of the record alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any

from huggingface_hub import DatasetCard, DatasetCardData, EvalResult, ModelCard, ModelCardData

from hf_dd.artefacts.facts import (
    DataFacts,
    DecodedFacts,
    DistillationFacts,
    DiversityFacts,
    ExpertFacts,
    ImportFacts,
    LabelFacts,
    OriginFacts,
    ReproductionFacts,
    ResultFacts,
    RunFacts,
)
from hf_dd.artefacts.hub_metadata import configuration, render
from hf_dd.config import IN_MEMORY, TeacherConfig, slug
from hf_dd.config.base import defaults
from hf_dd.core.registry import OBJECTIVES, STARTS, origins_in_words
from hf_dd.core.text import Markdown, code, number
from hf_dd.evaluation import verdict
from hf_dd.teachers.diversity import in_words
from hf_dd.teachers.teacher import TeacherSpec

SIZE_CATEGORIES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


@dataclass(kw_only=True)
class Record:
    """What every `hf_dd.json` says.

    Attributes:
        name: of the folder, and of the repository.
        data: of the source, see `data_record`.
        command: that repeats it, or "".
        versions: of the libraries, see `provenance.versions`.
        kind: of artefact.
        format: of the record.
        reproduction: what `hf-dd reproduce` found since, where its owner has put that onto the card.
    """

    name: str
    data: DataFacts
    command: str
    versions: dict[str, str]
    kind: str
    format: int = 1
    reproduction: ReproductionFacts | None = None

    @property
    def source(self) -> str:
        """The source data set as front matter names it: its repository, or a name like one."""
        return self.data["repo_id"] or slug(self.data["name"])

    def rendered(self, card: type, front: Any, template: str, **values: Any) -> str:
        """A card, which says whose the plug-ins are, and what was given in memory instead of a reference."""
        given = []
        if self.data["reference"].startswith(IN_MEMORY):
            given.append(f"the data set {code(self.data['name'])} (fingerprint {code(self.data['fingerprint'])})")
        for teacher in getattr(self, "teachers", []):
            if teacher["repo_id"].startswith(IN_MEMORY):
                name = teacher["repo_id"].removeprefix(IN_MEMORY)
                given.append(f"the teacher {code(name)} (weights {code(teacher['sha'][:19])})")
        objects = "was an object" if len(given) == 1 else "were objects"
        in_memory = Markdown(f"{' and '.join(given)} {objects} in memory")
        values |= {"sentences": verdict.sentences, "mark": verdict.mark}
        results = getattr(self, "results", None) or {}
        plugins = origins_in_words(getattr(self, "plugins", {}) | results.get("plugins", {}))
        return render(card, front, template, record=self, in_memory=in_memory, plugins=plugins, **values)


@dataclass(kw_only=True)
class TeacherRecord(Record):
    """`hf_dd.json` of a teacher at one epoch.

    Attributes:
        dataset: name of the data set that it was trained on, with its commit if it has one.
        accuracy: on the test split, in [0, 1].
        loss: mean over the epoch's images; None at epoch 0, the network as it was drawn.
        training: the options that it was trained with.
        seconds: of training up to this epoch.
        plugins: whose what isn't hf_dd's own is, see `core.registry.origins`.
    """

    architecture: str
    seed: int
    epoch: int
    dataset: str
    accuracy: float
    loss: float | None
    seconds: float
    training: dict[str, Any]
    hardware: str
    plugins: dict[str, dict[str, str]] = field(default_factory=dict)
    kind: str = "teacher"

    def card(self, reference: str | None = None) -> str:
        """The model card as text, valid front matter included; `reference` is where it lies on the Hub, if it does."""
        result = EvalResult(
            task_type="image-classification",
            dataset_type=self.source,
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
            datasets=[self.source],
            tags=["hf-dd-teacher", f"arch:{self.architecture}", f"seed:{self.seed}", "dataset-distillation"],
            eval_results=[result],
            metrics=["accuracy"],
        )
        return self.rendered(ModelCard, front, "teacher_card.md.jinja", reference=reference)


@dataclass(kw_only=True)
class SetRecord(Record):
    """What the `hf_dd.json` of every distilled set says.

    Attributes:
        settings: every option.
        learning_rate: the one learned with the images, or None.
        dataset_info: features and splits, as in the card's front matter; a list where there are two configurations.
        results: an evaluation's `Results.as_dict()`, or None.
        pushed: repo_id and tag (None for a pull request) of the last push, or None.
        parquet_sha256: of the rows' file.
        storage: bytes of the images as `float` and `8bit`, and of the `soft_labels` beside them.
    """

    settings: dict[str, Any]
    dataset_info: dict[str, Any] | list[dict[str, Any]]
    learning_rate: float | None = None
    results: ResultFacts | None = None
    pushed: dict[str, str | None] | None = None
    parquet_sha256: str = ""
    storage: dict[str, int] = field(default_factory=dict)

    def set_card(self, template: str, front: dict[str, Any], count: int, decoded: str | None, **values: Any) -> str:
        """The data set card: `front` is what only this kind of set says, `decoded` the sha256 of those rows."""
        configs = [configuration("default", "data/train-*", self.parquet_sha256)]
        configs += [configuration("decoded", "decoded/train-*", decoded)] if decoded else []
        matter = DatasetCardData(
            task_categories=["image-classification"],
            size_categories=[next((name for limit, name in SIZE_CATEGORIES if count < limit), "1M<n<10M")],
            source_datasets=[self.source],
            tags=["dataset-distillation", "hf-dd", *front.pop("tags")],
            configs=configs,
            dataset_info=self.dataset_info,
            **front,
        )
        return self.rendered(DatasetCard, matter, template, count=count, **values)


@dataclass(kw_only=True)
class DistilledRecord(SetRecord):
    """`hf_dd.json` of a distilled set: everything that made it; its `settings` have the objective's published values.

    Attributes:
        teachers: one `TeacherSpec` each, as mappings.
        pool: what the pool was named by, if not by references.
        experts: one mapping each, see `ExpertPool.lock`.
        run: iterations, seconds, losses, processes, hardware.
        decoded: `factor`, `images` and `parquet_sha256` of the configuration `decoded`; None where the rows aren't
            compact.
        soft_labels: their `kind`, `temperature`, and the shas of the `teachers`; None where there are none.
        diversity: of several teachers, see `diversity.measure`; None else.
        plugins: whose what isn't hf_dd's own is, see `core.registry.origins`.
        before: commands that have to be run before `command`, such as those that train the run's own teachers.
        decisions: what the data or short races decided, in sentences.
    """

    settings: DistillationFacts
    teachers: list[Annotated[dict[str, Any], TeacherSpec]]
    pool: str | None
    run: RunFacts
    experts: list[ExpertFacts] = field(default_factory=list)
    decoded: DecodedFacts | None = None
    soft_labels: LabelFacts | None = None
    diversity: DiversityFacts | None = None
    plugins: dict[str, dict[str, str]] = field(default_factory=dict)
    before: list[str] = field(default_factory=list)
    decisions: list[str] = field(default_factory=list)
    kind: str = "distilled-set"

    def distillation(self) -> dict[str, Any]:
        """The `distillation:` block of the front matter: the options of the paper, for machines to read."""
        guided = self.settings["clom"] != "none"
        return {
            **{name: self.settings[name] for name in ("objective", "ipc", "iterations", "architecture", "seed")},
            "clom": self.guide() if guided else None,
            "teachers": self.teachers,
            **({"experts": [expert["repo_id"] for expert in self.experts]} if self.experts else {}),
            **({"learning_rate": self.learning_rate} if self.learning_rate else {}),
            **({"factor": self.decoded["factor"]} if self.decoded else {}),
            **({"soft_labels": self.soft_labels} if self.soft_labels else {}),
        }

    def guide(self) -> dict[str, Any]:
        """CLoM's options, but for those at their defaults: distance, alpha, pool strategy, …"""
        changed = {
            key.removeprefix("clom_"): self.settings[key]
            for key, default in defaults(TeacherConfig, "guide").items()
            if key not in ("clom", "clom_alpha") and self.settings.get(key, default) != default
        }
        return {"distance": self.settings["clom"], "alpha": self.settings["clom_alpha"], **changed}

    @property
    def alpha(self) -> str:
        """CLoM's weight in words."""
        words = [f"{name} {value}" for name, value in self.guide().items() if name not in ("distance", "alpha")]
        alpha, came_to = self.settings["clom_alpha"], self.run.get("clom_alpha")
        found = f"{alpha}, which came to {number(came_to)}" if came_to is not None else number(alpha)
        return ", ".join([found, *words])

    @property
    def teaching_seconds(self) -> float | None:
        """What it took to train the teachers, see `teaching_seconds`."""
        return teaching_seconds(self.teachers)

    @property
    def part_of_teachers(self) -> str:
        """What they did, as a sentence without its end."""
        objective, guided = self.settings["objective"], self.settings["clom"] != "none"
        if guided and self.settings.get("clom_pool", "random") != "random":
            return "All teachers guided every step"
        said = OBJECTIVES.said(objective, "teachers")
        if not said and guided:
            return "One teacher was drawn per step"
        said = said or STARTS.said(self.settings.get("init"), "teachers")
        if not said and objective in OBJECTIVES.declared:
            return "They took no part in the distillation, but label its images for the students"
        return said or "The method doesn't say what part they took"

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
        front = {
            "license": self.data["license"],
            "pretty_name": f"{self.data['name']} distilled, {plural(self.settings['ipc'], 'image')} per class",
            "tags": [f"objective:{objective}", *([f"clom:{guide}"] * (guide != "none"))],
            "distillation": self.distillation(),
        }
        return self.set_card(
            "dataset_card.md.jinja",
            front,
            count,
            self.decoded and self.decoded["parquet_sha256"],
            endpoint=endpoint,
            objective=OBJECTIVES.title(objective),
            diversity=in_words(self.diversity) if self.diversity else None,
        )


@dataclass(kw_only=True)
class ImportedRecord(SetRecord):
    """`hf_dd.json` of a distilled set that another tool made: what was stated, what was found out.

    Attributes:
        origin: `name`, `format`, `files` (name → sha256), `pin` and number of `images` of what was read.
        images: how many images the set has now.
        normalisation: what was undone, see `Normalisation.as_dict`.
        classes: the check of their order, see `ImportedSet`.
        soft_labels: whether it has them.
        accuracies: per architecture, `mean`, `std` and `n` of those that its authors stored, in [0, 1].
    """

    settings: ImportFacts
    origin: OriginFacts
    images: int
    normalisation: dict[str, Any]
    classes: dict[str, Any]
    soft_labels: bool
    accuracies: dict[str, dict[str, float]]
    kind: str = "imported-set"

    @property
    def summary(self) -> str:
        """What made the set, in a few words."""
        return f"{self.settings['method'] or 'unknown method'}, {self.images} images, imported"

    def card(self, endpoint: str) -> str:
        """The data set card as text; it links to nothing on the Hub at `endpoint`."""
        method = self.settings["method"]
        front = {
            "license": self.settings["license"],
            "pretty_name": f"{self.data['name']} distilled{f' by {method}' if method else ''}, {self.images} images",
            "tags": ["imported", *([f"method:{slug(method)}"] if method else [])],
            "distillation": {
                "method": method,
                "paper": self.settings["paper"],
                "format": self.origin["format"],
                "normalisation": self.normalisation["name"],
                "learning_rate": self.learning_rate,
            },
        }
        return self.set_card("imported_card.md.jinja", front, self.images, None)


def teaching_seconds(teachers: Iterable[dict[str, Any]]) -> float | None:
    """What it took to train teachers, each training run counted once, to its last epoch here; None if unknown."""
    runs: dict[str, list[float | None]] = {}
    for spec in teachers:
        runs.setdefault(spec["repo_id"].partition("/epoch-")[0], []).append(spec.get("seconds"))
    return None if any(None in seconds for seconds in runs.values()) else sum(map(max, runs.values()))


def plural(count: int, noun: str) -> str:
    """`1 image`, `2 images`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
