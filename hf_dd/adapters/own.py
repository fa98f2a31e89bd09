"""Networks of hf_dd, as `hf-dd pretrain` writes them."""

import json
from pathlib import Path

from hf_dd import networks
from hf_dd.adapters.base import Adapted
from hf_dd.errors import TeacherError
from hf_dd.transforms import InputTransform

RECORDED = ("architecture", "seed", "epoch", "dataset", "accuracy")


def adapt(folder: Path, config: dict, trusted: bool) -> Adapted:
    """A network of ours; raises TeacherError. Nothing of it is ever pickled, so `trusted` changes nothing."""
    network = networks.load(folder)
    try:
        record = json.loads((folder / "hf_dd.json").read_text(encoding="utf-8"))
        mean, std = (tuple(map(float, config[key])) for key in ("mean", "std"))
        transform = InputTransform(config["in_channels"], mean, std, resize=tuple(config["image_size"]))
        about = {key: record[key] for key in RECORDED} | {"library": "hf_dd"}
        return Adapted(network, transform, list(config["class_names"]), about)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TeacherError(
            "it doesn't say what it is: config.json and hf_dd.json have to give its classes, statistics and origin "
            f"({type(error).__name__}: {error}). `hf-dd pretrain` writes both."
        ) from error
