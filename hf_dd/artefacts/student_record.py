"""What is known of a student that learned from a distilled set, and the model card that says it."""

import statistics
from dataclasses import dataclass, field
from typing import Any, TypedDict

from huggingface_hub import ModelCard, ModelCardData

from hf_dd import hub
from hf_dd.artefacts import licences
from hf_dd.artefacts.facts import ProtocolFacts
from hf_dd.artefacts.record import Record
from hf_dd.core.layout import student_name
from hf_dd.core.text import Markdown, code, markdown
from hf_dd.nn.timm_networks import PREFIX


class LearnedFacts(TypedDict):
    """The distilled set that a student learned from, as it was when the student did.

    `repo_id` and `sha` are None for a set that is only a folder; `digest` is of its images and labels, `license` what
    the set is under.
    """

    name: str
    repo_id: str | None
    sha: str | None
    copy: str
    images: int
    ipc: int | str
    license: str
    digest: str


@dataclass(kw_only=True)
class StudentRecord(Record):
    """`hf_dd.json` of a student: what it learned from, how, and how well it does on the real test split.

    Attributes:
        architecture: a network of hf_dd, or one of timm as `timm/NAME`.
        seed: that it was drawn and trained on.
        epoch: that it was trained for.
        dataset: what it learned from, as a reference with the commit if there is one.
        accuracy: on the test split of `data`, in [0, 1], after the last epoch.
        learned_from: the distilled set.
        protocol: that it was trained by.
        how: the same in words, with the version and what was changed.
        key: a digest of all that its accuracy follows from.
        scores: of all students of its row, in percent, in the order of their seeds; empty until they are there.
        teachers: whose labels it learned from, if they were asked for them, as mappings.
    """

    architecture: str
    seed: int
    epoch: int
    dataset: str
    accuracy: float
    learned_from: LearnedFacts
    protocol: ProtocolFacts
    how: str
    key: str
    hardware: str
    scores: list[float] = field(default_factory=list)
    teachers: list[dict[str, Any]] = field(default_factory=list)
    plugins: dict[str, dict[str, str]] = field(default_factory=dict)
    seconds: float | None = None
    kind: str = "student"

    @property
    def of_timm(self) -> bool:
        """Whether its files are in timm's form."""
        return self.architecture.startswith(PREFIX)

    @property
    def mean(self) -> float:
        """Of the scores, in percent."""
        return statistics.fmean(self.scores)

    @property
    def std(self) -> float:
        """Of the scores, the sample's."""
        return statistics.stdev(self.scores)

    def run(self) -> dict[str, Any]:
        """What students of one repository share: all but the seed, and what was chosen for each row."""
        same = ("copy", "digest", "repo_id", "sha")
        return {
            "set": " ".join(str(self.learned_from[name]) for name in same if self.learned_from[name]),
            "architecture": self.architecture,
            "protocol": self.how,
            "data set": self.data["fingerprint"],
        }

    def card(self, endpoint: str, repo_id: str | None = None) -> str:
        """The model card, see `Record.card`."""
        own = self.learned_from
        front = ModelCardData(
            model_name=self.name,
            library_name="timm" if self.of_timm else "hf-dd",
            **licences.front(own["license"], self.data),
            pipeline_tag="image-classification",
            datasets=[*([own["repo_id"]] if own["repo_id"] else []), *self.source] or None,
            tags=["hf-dd-student", f"arch:{self.architecture}", f"seed:{self.seed}", "dataset-distillation"],
            eval_results=self.results_of(self.accuracy),
            metrics=["accuracy"],
        )
        page = own["repo_id"] and hub.page(endpoint, own["repo_id"], own["sha"], "dataset")
        about = {
            "reference": repo_id and f"{repo_id}@{student_name(self.seed)}",
            "set": Markdown(f"[{markdown(own['repo_id'])}]({page})" if page else code(own["name"])),
            "papers": {},
        }
        return self.rendered(ModelCard, front, "student_card.md.jinja", **about)
