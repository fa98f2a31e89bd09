"""What is known of a distilled set, captured while it is made or imported, and the card that says it.

An imported set was made elsewhere: its card says what the import found out, and what stays unknown.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from huggingface_hub import DatasetCard, DatasetCardData

from hf_dd import hub
from hf_dd.artefacts import licences, papers, reading
from hf_dd.artefacts.facts import (
    CropLabelFacts,
    DecodedFacts,
    DistillationFacts,
    DiversityFacts,
    ExpertFacts,
    ImportFacts,
    LabelFacts,
    OriginFacts,
    ResultFacts,
    RunFacts,
)
from hf_dd.artefacts.hub_metadata import configuration
from hf_dd.artefacts.record import Record
from hf_dd.config import TeacherConfig, spelt
from hf_dd.config.base import defaults
from hf_dd.core.layout import DISTILLED_SET, IMPORTED_SET, LABELS, training_run
from hf_dd.core.registry import OBJECTIVES, STARTS
from hf_dd.core.text import Markdown, markdown, number, plural, verbatim
from hf_dd.teachers import diversity
from hf_dd.teachers.teacher import TeacherSpec

SIZE_CATEGORIES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
LABELLERS = "They took no part in the distillation, but label its images for the students"


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
        new_version: the repository of a better set that takes this one's place, or None.
        crop_labels: what teachers say of crops of the training images; None where that isn't stored.
    """

    settings: dict[str, Any]
    dataset_info: dict[str, Any] | list[dict[str, Any]]
    learning_rate: float | None = None
    results: ResultFacts | None = None
    pushed: dict[str, str | None] | None = None
    parquet_sha256: str = ""
    storage: dict[str, int] = field(default_factory=dict)
    new_version: str | None = None
    crop_labels: CropLabelFacts | None = None

    def set_card(
        self,
        template: str,
        front: dict[str, Any],
        *,
        endpoint: str,
        license: str,
        count: int,
        decoded: str | None,
        cited: Mapping[str, papers.Words],
        **values: Any,
    ) -> str:
        """The data set card.

        Args:
            template: of cards/.
            front: what only this kind of set says in front matter.
            endpoint: the Hub that links lead to.
            license: of the set.
            count: of its images.
            decoded: sha256 of those rows, or None.
            cited: see `papers.cited`.
            values: for the template.
        """
        page, name = self.source_page(endpoint), self.data["name"]
        source = Markdown(f"[{markdown(name)}]({page})" if page else markdown(name))
        configs = [configuration("default", "data/train-*", self.parquet_sha256)]
        configs += [configuration("decoded", "decoded/train-*", decoded)] if decoded else []
        if self.crop_labels:
            digests = " and ".join(self.crop_labels["files"].values())
            configs.append(configuration(LABELS, f"{LABELS}/train-*", digests))
        matter = DatasetCardData(
            task_categories=["image-classification"],
            size_categories=[next((name for limit, name in SIZE_CATEGORIES if count < limit), "1M<n<10M")],
            source_datasets=self.source or None,
            tags=["dataset-distillation", "hf-dd", *["synthetic"] * self.synthetic, *front.pop("tags")],
            new_version=self.new_version,
            configs=configs,
            dataset_info=self.dataset_info,
            **licences.front(license, self.data, page),
            **front,
        )
        pushed = (self.pushed or {}).get("repo_id"), (self.pushed or {}).get("tag")
        values |= {"endpoint": endpoint, "count": count, "source": source, "papers": cited}
        lines = reading.load_lines(*pushed, reading.configuration(vars(self)))
        values |= {"load_lines": Markdown("\n".join(map(verbatim, lines)))}
        values |= {"load_labels": verbatim(reading.loading(*pushed, LABELS))}
        values |= {"reference": reading.reference_of(*pushed)}
        return self.rendered(DatasetCard, matter, template, **values)

    @property
    def synthetic(self) -> bool:
        """Whether it is known that the images were optimised, and aren't chosen real ones."""
        return reading.origin(self.kind, self.settings) == reading.SYNTHETIC


@dataclass(kw_only=True)
class DistilledRecord(SetRecord):
    """`hf_dd.json` of a distilled set: everything that made it; its `settings` have the objective's published values.

    Attributes:
        teachers: one `TeacherSpec` each, as mappings.
        starts: for each teacher the earlier epoch where the interpolation of networks begins; empty without one.
        pool: what the pool was named by, if not by references.
        experts: one mapping each, see `ExpertPool.lock`.
        run: iterations, seconds, losses, processes, hardware.
        decoded: `factor`, `images` and `parquet_sha256` of the configuration `decoded`; None where the rows aren't
            compact.
        soft_labels: their `kind`, `temperature`, and the shas of the `teachers`; None where there are none.
        diversity: of several teachers, see `diversity.measure`; None else.
        plugins: the package or file of each part that isn't hf_dd's own, see `core.registry.origins`.
        before: commands that have to be run before `command`, such as those that train the run's own teachers.
        decisions: what the data or short races decided, in sentences.
    """

    settings: DistillationFacts
    teachers: list[Annotated[dict[str, Any], TeacherSpec]]
    pool: str | None
    run: RunFacts
    starts: list[Annotated[dict[str, Any], TeacherSpec]] = field(default_factory=list)
    experts: list[ExpertFacts] = field(default_factory=list)
    decoded: DecodedFacts | None = None
    soft_labels: LabelFacts | None = None
    diversity: DiversityFacts | None = None
    plugins: dict[str, dict[str, str]] = field(default_factory=dict)
    before: list[str] = field(default_factory=list)
    decisions: list[str] = field(default_factory=list)
    kind: str = DISTILLED_SET

    def distillation(self) -> dict[str, Any]:
        """The `distillation:` block of the front matter: the options of the paper, for machines to read."""
        guided = self.settings["clom"] != "none"
        return {
            **{name: self.settings[name] for name in ("objective", "ipc", "iterations", "architecture", "seed")},
            **({"clom": self.guide()} if guided else {}),
            "teachers": [compact(teacher) for teacher in self.teachers],
            **({"networks": self.settings["networks"]} if self.networks else {}),
            **({"experts": [expert["repo_id"] for expert in self.experts]} if self.experts else {}),
            **({"learning_rate": self.learning_rate} if self.learning_rate else {}),
            **({"factor": self.decoded["factor"]} if self.decoded else {}),
            **{key: self.data[key] for key in ("statistics", "whitening") if key in self.data},
            **({"soft_labels": self.soft_labels} if self.soft_labels else {}),
            **({"crop_labels": in_short(self.crop_labels)} if self.crop_labels else {}),
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
        """What it took to train the teachers and experts, see `teaching_seconds`."""
        return teaching_seconds([*self.teachers, *self.experts])

    @property
    def part_of_teachers(self) -> str:
        """What they did, as a sentence without its end."""
        objective, guided = self.settings["objective"], self.settings["clom"] != "none"
        if guided and self.settings.get("clom_pool", "random") != "random":
            return f"All teachers guided every step{self.networks}"
        said = OBJECTIVES.said(objective, "teachers")
        if not said and (guided or self.networks):
            return f"One teacher was drawn per step{self.networks}"
        said = said and said + self.networks
        said = said or STARTS.said(self.settings.get("init"), "teachers")
        if not said and objective in OBJECTIVES.declared:
            return LABELLERS
        return said or "The method doesn't say what part they took"

    @property
    def only_label(self) -> bool:
        """Whether the teachers took no part in the distillation."""
        return self.part_of_teachers == LABELLERS

    @property
    def networks(self) -> str:
        """What teachers were to the networks that the objective draws, as the end of a sentence; "" if nothing."""
        kind = self.settings.get("networks")
        between = ", and networks between it and an earlier epoch of its training embed the images"
        return {"teachers": ", and one is the network that the method draws", "between": between}.get(kind, "")

    @property
    def summary(self) -> str:
        """What made the set, in a few words."""
        guided = f" + CLoM {self.settings['clom']} of" if self.settings["clom"] != "none" else " with"
        guided = " labelled by" if self.only_label else guided
        guide = f"{guided} {plural(len(self.teachers), 'teacher')}" if self.teachers else ""
        experts = f" of {plural(len(self.experts), 'expert')}" if self.experts else ""
        return f"{self.settings['objective']}{experts}{guide}, ipc {self.settings['ipc']}"

    def card(self, endpoint: str, repo_id: str | None = None) -> str:
        """The data set card, see `Record.card`."""
        objective, guide = self.settings["objective"], self.settings["clom"]
        front = {
            "pretty_name": f"{self.data['name']} distilled, {plural(self.settings['ipc'], 'image')} per class",
            "tags": [f"objective:{objective}", *([f"clom:{guide}"] * (guide != "none"))],
            "annotations_creators": ["machine-generated"] if self.soft_labels or self.crop_labels else None,
            "distillation": self.distillation(),
        }
        return self.set_card(
            "dataset_card.md.jinja",
            front,
            endpoint=endpoint,
            license=self.data["license"],
            count=self.settings["ipc"] * len(self.data["class_names"]),
            decoded=self.decoded and self.decoded["parquet_sha256"],
            cited=papers.cited(papers.behind(self.settings)),
            objective=OBJECTIVES.title(objective),
            draws=OBJECTIVES.said(objective, "draws"),
            paper=papers.link_of(objective),
            guide_paper=papers.link_of("clom") if objective != "clom" else "",
            derived="of whose training images these were made" if self.synthetic else "whose images these are",
            diversity=diversity.in_words(self.diversity) if self.diversity else None,
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
    kind: str = IMPORTED_SET

    @property
    def summary(self) -> str:
        """What made the set, in a few words."""
        return f"{self.settings['method'] or 'unknown method'}, {self.images} images, imported"

    def card(self, endpoint: str, repo_id: str | None = None) -> str:
        """The data set card, see `Record.card`."""
        method, paper = self.settings["method"], self.settings["paper"]
        front = {
            "pretty_name": f"{self.data['name']} distilled{f' by {method}' if method else ''}, {self.images} images",
            "tags": ["imported", *([f"method:{spelt(method)}"] if method else [])],
            "distillation": compact(
                {
                    "method": method,
                    "paper": paper,
                    "format": self.origin["format"],
                    "normalisation": self.normalisation["name"],
                    "learning_rate": self.learning_rate,
                    "crop_labels": self.crop_labels and in_short(self.crop_labels),
                }
            ),
        }
        return self.set_card(
            "imported_card.md.jinja",
            front,
            endpoint=endpoint,
            license=self.settings["license"],
            count=self.images,
            decoded=None,
            cited=papers.cited([(spelt(method), papers.said_of(spelt(method)))] if method and not paper else []),
            method_paper=papers.link_of(spelt(method)) if method else "",
            paper=papers.stated(paper) if paper else "",
        )


def teaching_seconds(teachers: Iterable[dict[str, Any]]) -> float | None:
    """What it took to train teachers or experts, each run counted once, to its last epoch here; None if unknown."""
    runs: dict[str, list[float | None]] = {}
    for spec in teachers:
        local = spec.get("sha", "").startswith(hub.DIGEST)  # an expert, which has several, is a run already
        runs.setdefault(training_run(spec["repo_id"], local), []).append(spec.get("seconds"))
    return None if any(None in seconds for seconds in runs.values()) else sum(map(max, runs.values()))


def compact(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Facts of a teacher or an import for front matter: without those that are unknown or that nearly all share."""
    usual = {"library": "hf_dd", "trusted": False}
    return {key: value for key, value in facts.items() if value is not None and usual.get(key) != value}


def in_short(labels: Mapping[str, Any]) -> dict[str, Any]:
    """What front matter says of labels of crops."""
    said = {name: labels[name] for name in ("views", "topk", "classes", "crop", "flip", "mix", "seed", "temperature")}
    return said | {"teachers": [teacher["sha"] for teacher in labels["teachers"]]}
