"""What is known of a teacher, captured while it is trained, and the model card that says it."""

from dataclasses import dataclass, field
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from hf_dd.artefacts import licences, papers
from hf_dd.artefacts.record import Record
from hf_dd.core.layout import epoch_name
from hf_dd.core.text import Markdown, markdown
from hf_dd.teachers.query import TEACHER


@dataclass(kw_only=True)
class TeacherRecord(Record):
    """`hf_dd.json` of a teacher at one epoch.

    Attributes:
        dataset: name of the data set that it was trained on, with its commit if it has one.
        accuracy: on the test split, in [0, 1].
        loss: mean over the epoch's images; None at epoch 0, the network as it was drawn.
        training: the options that it was trained with.
        seconds: of training up to this epoch.
        plugins: the package or file of each part that isn't hf_dd's own, see `core.registry.origins`.
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

    def card(self, endpoint: str, repo_id: str | None = None) -> str:
        """The model card, see `Record.card`."""
        front = ModelCardData(
            model_name=self.name,
            library_name="hf-dd",
            **licences.front(self.data["license"], self.data),
            pipeline_tag="image-classification",
            datasets=self.source or None,
            tags=[
                TEACHER,
                f"arch:{self.architecture}",
                f"seed:{self.seed}",
                "dataset-distillation",
                *self.source_tags,
            ],
            eval_results=self.results_of(self.accuracy),
            metrics=["accuracy"],
        )
        about: dict[str, Any] = {"source": Markdown(markdown(self.data["name"])), "derived": "which it was trained on"}
        about |= {"guide": papers.link_of("clom"), "papers": {}}
        about["reference"] = repo_id and f"{repo_id}@{epoch_name(self.epoch)}"
        return self.rendered(ModelCard, front, "teacher_card.md.jinja", **about)
