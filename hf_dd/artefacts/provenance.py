"""Where a result comes from: its data, the command that repeats it, the versions that it was made with."""

import dataclasses
import importlib.metadata
import platform
import shlex
from typing import Any

from hf_dd.config.base import default_of
from hf_dd.data.image_data import ImageData

LIBRARIES = ("hf-dd", "torch", "accelerate", "datasets", "huggingface_hub", "transformers", "timm", "evaluate")


def data_record(data: ImageData) -> dict[str, Any]:
    """What a card says of the source data set."""
    return {
        "name": data.name,
        "reference": data.reference if data.sha is None else f"{data.repo_id}@{data.sha}",
        "repo_id": data.repo_id,
        "revision": data.revision,
        "sha": data.sha,
        "license": data.license,
        "class_names": list(data.class_names),
        "channels": data.channels,
        "image_size": list(data.image_size),
        "mean": list(data.mean),
        "std": list(data.std),
        "train_images": len(data.train),
        "fingerprint": data.fingerprint,
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that a result depends on."""
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in LIBRARIES}}


def command_line(command: str, config: Any, processes: int = 1) -> str:
    """The command that repeats a run: every option that isn't its default, whatever recipe or code it came from."""
    words = ["hf-dd", command]
    if processes > 1:
        words = ["accelerate", "launch", "--multi_gpu", "--num_processes", str(processes), "-m", "hf_dd", command]
    for option in dataclasses.fields(config):
        value = getattr(config, option.name)
        if value != default_of(option) and option.metadata["role"] != "once":
            words += [f"--{option.name}", *map(str, value if isinstance(value, list) else [value])]
    return shlex.join(words)
