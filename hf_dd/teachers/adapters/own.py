"""Networks of hf_dd, as `hf-dd pretrain` writes them."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from hf_dd.core.json_records import read_json, require
from hf_dd.core.layout import RECORD, WHITENING
from hf_dd.core.registry import ADAPTERS
from hf_dd.errors import RunError, TeacherError
from hf_dd.nn import networks
from hf_dd.nn.input_transform import InputTransform
from hf_dd.nn.whitening import Whitening
from hf_dd.teachers.adapters.base import Adapted, Adapter

STATED = {"class_names": list[str], "mean": list[float], "std": list[float]}  # by config.json
RECORDED = {"architecture": str, "seed": int, "epoch": int, "dataset": str, "accuracy": float | None}
RECORDED |= {"seconds": float | None}
WHITENED_BY = {"epsilon": float, "source": str}  # where it was trained on whitened images
WHITENED = {"epsilon": 0.0, "source": ""}


def matches(folder: Path, config: dict) -> bool:
    """Whether it has a record of ours, and isn't a student in timm's form, which timm has to build."""
    return (folder / RECORD).is_file() and "pretrained_cfg" not in config


def adapt(folder: Path, config: dict, trusted: bool) -> Adapted:
    """A network of ours; raises TeacherError. Nothing of it is ever pickled, so `trusted` changes nothing."""
    network = networks.load(folder)
    facts, recorded = stated(folder)
    adapted = of_network(network, facts | network.config, recorded)
    return dataclasses.replace(adapted, whitening=whitening_in(folder)) if facts.get("whitening") else adapted


def whitening_in(folder: Path) -> Whitening:
    """That of a network that was trained on whitened images; raises TeacherError."""
    try:
        return Whitening.load(folder / WHITENING)
    except RunError as error:
        raise TeacherError(f"it was trained on whitened images (--zca), and {error}") from error


def about(folder: Path, config: dict) -> dict[str, Any]:
    """What its record says of it; raises TeacherError."""
    return stated(folder)[1]


def stated(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `config.json` says of a network, its classes and statistics, and `hf_dd.json` of its origin, as `about`.

    Raises TeacherError where either doesn't.
    """
    try:
        config = read_json(folder / "config.json", **STATED)
        record = {"seconds": None} | read_json(folder / RECORD)
        require(record, dict, RECORDED, str(folder / RECORD))
        require(config.get("whitening") or WHITENED, dict, WHITENED_BY, f"whitening of {folder / 'config.json'}")
    except RunError as error:
        raise TeacherError(
            "it doesn't say what it is: config.json and hf_dd.json have to give its classes, statistics and origin. "
            f"{error} `hf-dd pretrain` writes both."
        ) from error
    if not all(0 <= value <= 1 for value in config["mean"]):
        raise TeacherError(
            f"mean of its config.json is {config['mean']}, which lies outside of [0, 1], as no image's."
        )
    if min(record["seed"], record["epoch"], record["seconds"] or 0) < 0 or not 0 <= (record["accuracy"] or 0) <= 1:
        raise TeacherError("hf_dd.json gives a seed, an epoch or seconds below 0, or an accuracy outside of [0, 1].")
    return config, {key: record[key] for key in RECORDED}


def of_network(network: nn.Module, facts: Mapping[str, Any], about: Mapping[str, Any] | None = None) -> Adapted:
    """A network with what its images and classes are: in_channels, image_size, mean, std, class_names."""
    mean, std = (tuple(map(float, facts[key])) for key in ("mean", "std"))
    transform = InputTransform(facts["in_channels"], mean, std, resize=tuple(facts["image_size"]))
    return Adapted(network, transform, list(facts["class_names"]), dict(about or {}))


ADAPTERS.register("hf_dd", title="networks of hf-dd")(Adapter(matches, adapt, about))
