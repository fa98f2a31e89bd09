"""A finished study as a data set of the Hub: a row for each student, the report as its card, and what made it."""

import contextlib
import dataclasses
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCard, DatasetCardData

from hf_dd import hub
from hf_dd.artefacts import hub_metadata, licences, papers, provenance, records
from hf_dd.core import files, json_records
from hf_dd.core.layout import CARD, LOCK, PARQUET, RECORD
from hf_dd.core.text import Markdown
from hf_dd.errors import HubError, RunError
from hf_dd.studies.outcomes import Outcome
from hf_dd.studies.report import JSON, MARKDOWN, PLOT, RECIPE, TIMES
from hf_dd.teachers.pins import TRACE

PUSHED = "pushed.json"
STUDY_FILES = (
    *(CARD, RECIPE, PARQUET, MARKDOWN, JSON, PLOT, TIMES),
    *(f"cells/*/{RECORD}", f"cells/*/{LOCK}", f"pools/*/{TRACE}", f"pools/*/{LOCK}"),
)


def write_study(folder: Path, recipe: Path, outcomes: Mapping[str, Outcome]) -> None:
    """Write the rows, the recipe and the card beside a study's report: what a push uploads, and `load_dataset` reads.

    Columns: cell, seed, architecture, student, accuracy (%), protocol, teachers (commits or digests), command.
    """
    import datasets

    rows = datasets.Dataset.from_list(list(student_rows(outcomes)))
    files.write_open(folder / PARQUET, rows.to_parquet)
    files.write(folder / RECIPE, lambda path: shutil.copyfile(recipe, path))
    files.write_text(folder / CARD, card_of(folder, outcomes))


def student_rows(outcomes: Mapping[str, Outcome]) -> Iterator[dict[str, Any]]:
    """A row for each student of each distillation."""
    for name, outcome in outcomes.items():
        for architecture, seeds in outcome.scores.items():
            for record, scores in zip(outcome.records, seeds, strict=True):
                for student, accuracy in enumerate(scores):
                    yield {
                        "cell": name,
                        "seed": record["settings"]["seed"],
                        "architecture": architecture,
                        "student": student,
                        "accuracy": accuracy,
                        "protocol": record["results"]["protocol"]["name"],
                        "teachers": [spec["sha"] for spec in record["teachers"]],
                        "command": record["command"],
                    }


def card_of(folder: Path, outcomes: Mapping[str, Outcome], pushed: Mapping[str, str | None] | None = None) -> str:
    """The text of README.md; `pushed` is where the study lies on the Hub: `repo_id` and `tag`."""
    made = [record for outcome in outcomes.values() for record in outcome.records]
    data = made[0]["data"]
    front = DatasetCardData(
        **licences.front(data["license"], data),
        pretty_name=f"{folder.name}: a study of dataset distillation",
        source_datasets=[data["repo_id"]] if data["repo_id"] else None,
        tags=["dataset-distillation", "hf-dd", "hf-dd-study"],
        configs=[hub_metadata.configuration("default", PARQUET, files.digest_of(folder / PARQUET))],
    )
    text = (folder / MARKDOWN).read_text(encoding="utf-8")
    return hub_metadata.render(
        DatasetCard,
        front,
        "study_card.md.jinja",
        title=folder.name,
        cells=len(outcomes),
        distillations=len(made),
        students=sum(1 for _ in student_rows(outcomes)),
        report=Markdown(text.partition("\n\n")[2]),  # below the card's own title
        papers=papers.cited(each for record in made for each in papers.behind(record["settings"])),
        record={"pushed": pushed, "versions": provenance.versions()},
    )


def push_study(
    folder: Path, outcomes: Mapping[str, Outcome], repo_id: str, *, tag: str | None = None, private: bool = False
) -> hub.Publication:
    """Push a study's files as one commit and tag it; raises HubError, and the folder stays as it was.

    What was pushed from this folder already, to the same place, is not pushed again: the former publication is given.

    Args:
        folder: of the study, with its report.
        outcomes: of its cells.
        repo_id: of the data set repository, under the token's user if without owner.
        tag: of the commit; the next free of v1, v2, … if None.
        private: whether a new repository is private.
    """
    try:
        repo_id = hub.full_repo_id(repo_id)
        content, former = content_of(folder), {}
        with contextlib.suppress(RunError):  # where nothing was pushed, or nobody knows what
            former = json_records.read_json(folder / PUSHED, pin=dict, tag=str | None, url=str)
        same = former.get("content") == content and former["pin"]["repo_id"] == repo_id
        if same and tag in (None, former["tag"]):
            card = card_of(folder, outcomes, {"repo_id": repo_id, "tag": former["tag"]})
            files.write_text(folder / CARD, card)
            return hub.Publication(hub.Pin(**former["pin"]), former["url"])
        with records.links_to(folder, STUDY_FILES) as links:

            def tell(tag: str | None) -> None:
                files.write_text(links / CARD, card_of(folder, outcomes, {"repo_id": repo_id, "tag": tag}))

            done = hub.publish(
                links,
                repo_id,
                "dataset",
                files=STUDY_FILES,
                message=f"A study of {len(outcomes)} cells: {folder.name}",
                tag=tag,
                private=private,
                prepare=tell,
            )
            card = (links / CARD).read_text(encoding="utf-8")
    except HubError as error:
        raise records.retried(error, f"{folder} holds the study", "Run the same command again.") from error
    files.write_text(folder / CARD, card)
    pushed = {"pin": dataclasses.asdict(done.pin), "tag": done.pin.revision, "url": done.url}
    files.write_json(folder / PUSHED, {"content": content, **pushed})
    return done


def content_of(folder: Path) -> str:
    """The digest of all files of a study that are published but for the card, which tells of these and of the tag."""
    found = {path for pattern in STUDY_FILES for path in folder.glob(pattern)} - {folder / CARD}
    digests = {path.relative_to(folder).as_posix(): files.digest_of(path) for path in found}
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()
