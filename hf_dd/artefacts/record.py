"""What the records of teachers, students and sets have in common, and so do their cards.

A record is what `hf_dd.json` holds; the card (README.md) follows from it, and from where it lies on which Hub.
"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from huggingface_hub import EvalResult

from hf_dd import hub
from hf_dd.artefacts import reading
from hf_dd.artefacts.facts import DataFacts, ReproductionFacts
from hf_dd.artefacts.hub_metadata import render
from hf_dd.config import IN_MEMORY, slug
from hf_dd.core.registry import origins_in_words
from hf_dd.core.text import Markdown, code
from hf_dd.evaluation import intervals, tables, verdict
from hf_dd.evaluation.protocols import in_words


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
        """Where the source's own card is, at its commit or, as of what the Hub converts, on main; None off the Hub."""
        data = self.data
        at = "main" if str(data.get("revision")).startswith("refs/convert/") else data["sha"]
        return f"{endpoint}/datasets/{quote(data['repo_id'])}/blob/{at}/README.md" if data["sha"] else None

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
