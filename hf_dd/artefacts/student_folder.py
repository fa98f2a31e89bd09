"""Students in a folder and as repositories of models: those of one row are one repository, a commit and a tag each."""

import dataclasses
import json
import logging
import statistics
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from hf_dd import hub
from hf_dd.artefacts.records import links_to, read_record, write_record
from hf_dd.artefacts.student_record import StudentRecord
from hf_dd.artefacts.teacher_folder import FILES, same_weights
from hf_dd.core import files, json_records
from hf_dd.core.layout import CARD, RECORD, student_name
from hf_dd.errors import HubError, RunError
from hf_dd.evaluation.results import Row
from hf_dd.nn import networks

logger = logging.getLogger(__name__)


def folder_of(row: Path, seed: int) -> Path:
    """Where the student of a seed lies among those of its row."""
    return row / student_name(seed)


def write_student(folder: Path, network: nn.Module, record: StudentRecord) -> None:
    """Write a trained student, whole or not at all; one that was there before stays until then."""
    data = record.data
    network = network.cpu().eval()
    with files.folder(folder) as unfinished:
        if record.of_timm:
            save_as_timm(unfinished, network, record)
        else:
            networks.save(network, unfinished, {key: data[key] for key in ("class_names", "mean", "std")})
        write_record(unfinished, record)


def save_as_timm(folder: Path, network: nn.Module, record: StudentRecord) -> None:
    """Write config.json and weights as timm has them on the Hub, with how its images are made.

    What timm's own configuration says of weights that it would have pulled is said of these. The number of classes
    stands beside the model's arguments and not among them, where transformers' wrapper of timm would stumble over it.
    """
    import timm

    data = record.data
    prepared = {
        "input_size": (data["channels"], *data["image_size"]),
        "mean": tuple(data["mean"]),
        "std": tuple(data["std"]),
        "crop_pct": 1.0,
        "crop_mode": "squash",
        "interpolation": "bilinear",
    }
    about = {"tag": "", "license": record.learned_from["license"], "origin_url": record.learned_from["repo_id"] or ""}
    timm.models.save_for_hf(
        network,
        folder,
        model_config={"label_names": data["class_names"], "pretrained_cfg": about},
        safe_serialization=True,
        data_config=prepared,
    )
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["model_args"] = {key: own for key, own in config["model_args"].items() if key != "num_classes"}
    files.write_json(folder / "config.json", config)


def read_student(folder: Path) -> StudentRecord | None:
    """The record of the student in a folder, None where there is nothing; raises RunError for anything else there."""
    if not folder.exists():
        return None
    content = read_record(folder)
    if content.get("kind") != "student":
        raise RunError(f"{folder} holds a {content.get('kind')!s:.80}, not a student: give another --save_students.")
    return json_records.as_record(content, StudentRecord, str(folder / RECORD))


def complete_row(folder: Path, row: Row, seeds: Sequence[int]) -> None:
    """Tell every student of a row of all of its students."""
    for seed in seeds:
        place = folder_of(folder, seed)
        record = dataclasses.replace(read_student(place), scores=list(row.scores))
        write_record(place, record)


def push_row(folder: Path, repo_id: str, seeds: Sequence[int]) -> hub.Pin:
    """Push the students of a row, a commit and the tag `seed-N` each; returns the pin of the last commit.

    The last one is the student of the median accuracy, so that `main` is no choice of the best. What an earlier try
    has pushed stays. Raises HubError where a tag has other weights.
    """
    records = {seed: read_student(folder_of(folder, seed)) for seed in seeds}
    median = statistics.median_low(record.accuracy for record in records.values())
    order = sorted(seeds, key=lambda seed: records[seed].accuracy == median)
    present = hub.require_pushable(repo_id, "model")
    tags = {seed: student_name(seed) for seed in order}
    there = {seed: hub.Pin(repo_id, tag, present[tag]) for seed, tag in tags.items() if tag in present}
    for seed, pin in there.items():
        if not same_weights(pin, folder_of(folder, seed)):
            raise HubError(
                f"{pin} holds another run's weights: delete that repository, or name another --push_students."
            )
    for seed in order:
        place = folder_of(folder, seed)
        record = records[seed]
        if seed in there:
            pin = there[seed]
            continue
        with links_to(place, FILES) as links:
            files.write_text(links / CARD, record.card(hub.endpoint(), repo_id))
            message = f"{record.name}, seed {seed}: {100 * record.accuracy:.2f} %"
            pin = hub.publish(links, repo_id, "model", files=FILES, message=message, tag=tags[seed]).pin
    logger.info("The students of %s are at %s/%s, each by its tag.", folder.name, hub.endpoint(), repo_id)
    return pin


def published_run(repo_id: str, seeds: Sequence[int], present: dict[str, str]) -> StudentRecord | None:
    """The record of one of these students that a repository holds already; None where it holds none.

    `present` are its tags. Raises HubError where one of them is on something else than a student.
    """
    for seed in seeds:
        if (tag := student_name(seed)) in present:
            folder = hub.pull(hub.Pin(repo_id, tag, present[tag]), files=[RECORD])
            try:
                return read_student(folder)
            except RunError as error:
                raise HubError(
                    f"model {repo_id} has a tag {tag} on something else than a student: name another --push_students."
                ) from error
    return None
