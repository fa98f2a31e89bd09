"""What the records of teachers and of sets have in common, and so do their cards."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from huggingface_hub import DatasetCard, DatasetCardData, EvalResult

from hf_dd import hub
from hf_dd.artefacts import licences, papers, reading
from hf_dd.artefacts.facts import CropLabelFacts, DataFacts, ReproductionFacts, ResultFacts
from hf_dd.artefacts.hub_metadata import configuration, render
from hf_dd.config import IN_MEMORY, slug
from hf_dd.core.layout import LABELS
from hf_dd.core.registry import origins_in_words
from hf_dd.core.text import Markdown, code, markdown, verbatim
from hf_dd.evaluation import intervals, tables, verdict
from hf_dd.evaluation.protocols import in_words

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
    def source(self) -> list[str]:
        """The source data set as front matter names it, which is by its repository; nothing where it has none."""
        return [self.data["repo_id"]] if self.data["repo_id"] else []

    @property
    def source_tags(self) -> list[str]:
        """The tag that `--teacher_tags dataset:NAME` finds; the Hub makes that of a source that is a repository."""
        return [] if self.source else [f"dataset:{slug(self.data['name'])}"]

    def results_of(self, accuracy: float) -> list[EvalResult] | None:
        """An accuracy in [0, 1] on the test split, as front matter has it; None where that names no source."""
        found = [
            EvalResult(
                task_type="image-classification",
                dataset_type=repo_id,
                dataset_name=self.data["name"],
                dataset_revision=self.data["sha"],
                dataset_split=self.data.get("test_split", "test"),
                metric_type="accuracy",
                metric_value=round(accuracy, 6),
                metric_name="Accuracy",
            )
            for repo_id in self.source
        ]
        return found or None

    def source_page(self, endpoint: str) -> str | None:
        """Where the source's own card is, at its commit; None where it isn't on the Hub."""
        data = self.data
        return f"{endpoint}/datasets/{quote(data['repo_id'])}/blob/{data['sha']}/README.md" if data["sha"] else None

    def card(self, endpoint: str, repo_id: str | None = None) -> str:
        """The card as text, valid front matter included.

        `endpoint` is the Hub that links lead to; `repo_id` is where a teacher or a student lies on it, if it does: a
        set's record says that by itself.
        """
        raise NotImplementedError

    def rendered(self, card: type, front: Any, template: str, **values: Any) -> str:
        """A card, which says whose the plug-ins are, and what was given in memory instead of a reference."""
        given = []
        if self.data["reference"].startswith(IN_MEMORY):
            given.append(f"the data set {code(self.data['name'])} (fingerprint {code(self.data['fingerprint'])})")
        for teacher in getattr(self, "teachers", []):
            if teacher["repo_id"].startswith(IN_MEMORY):
                name = teacher["repo_id"].removeprefix(IN_MEMORY)
                given.append(f"the teacher {code(name)} (weights {code(hub.short(teacher['sha']))})")
        objects = "was an object" if len(given) == 1 else "were objects"
        in_memory = Markdown(f"{' and '.join(given)} {objects} in memory")
        values |= {"sentences": verdict.sentences, "tables": tables, "spread": intervals.spread}
        values |= {"regimes": verdict.REGIMES, "in_words": in_words, "reproducing": reading.reproducing}
        results = getattr(self, "results", None) or {}
        plugins = origins_in_words(getattr(self, "plugins", {}) | results.get("plugins", {}))
        return render(card, front, template, record=self, in_memory=in_memory, plugins=plugins, **values)


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
