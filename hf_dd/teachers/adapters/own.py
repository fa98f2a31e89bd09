"""Networks of hf_dd, as `hf-dd pretrain` writes them."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from hf_dd.core.registry import ADAPTERS
from hf_dd.errors import TeacherError
from hf_dd.nn import networks
from hf_dd.nn.input_transform import InputTransform
from hf_dd.teachers.adapters.base import Adapted, Adapter

RECORDED = ("architecture", "seed", "epoch", "dataset", "accuracy")


def matches(folder: Path, config: dict) -> bool:
    """Whether it has a record of ours."""
    return (folder / "hf_dd.json").is_file()


def adapt(folder: Path, config: dict, trusted: bool) -> Adapted:
    """A network of ours; raises TeacherError. Nothing of it is ever pickled, so `trusted` changes nothing."""
    network = networks.load(folder)
    with saying_what_it_is():
        return of_network(network, config, about(folder, config))


def about(folder: Path, config: dict) -> dict[str, Any]:
    """What its record says of it; raises TeacherError."""
    with saying_what_it_is():
        record = json.loads((folder / "hf_dd.json").read_text(encoding="utf-8"))
        return {key: record[key] for key in RECORDED} | {"seconds": record.get("seconds")}


@contextlib.contextmanager
def saying_what_it_is() -> Iterator[None]:
    """Turn what files lack into a TeacherError."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TeacherError(
            "it doesn't say what it is: config.json and hf_dd.json have to give its classes, statistics and origin "
            f"({type(error).__name__}: {error}). `hf-dd pretrain` writes both."
        ) from error


def of_network(network: nn.Module, facts: Mapping[str, Any], about: Mapping[str, Any] | None = None) -> Adapted:
    """A network with what its images and classes are: in_channels, image_size, mean, std, class_names."""
    mean, std = (tuple(map(float, facts[key])) for key in ("mean", "std"))
    transform = InputTransform(facts["in_channels"], mean, std, resize=tuple(facts["image_size"]))
    return Adapted(network, transform, list(facts["class_names"]), dict(about or {}))


ADAPTERS.register("hf_dd", title="networks of hf-dd")(Adapter(matches, adapt, about))
