"""Where a result comes from: its data, the command that repeats it, the versions that it was made with."""

import dataclasses
import functools
import importlib.metadata
import os
import platform
import shlex
import subprocess
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from hf_dd import hub
from hf_dd.config import IN_MEMORY, TeacherConfig
from hf_dd.config.base import is_default
from hf_dd.core.registry import ADAPTERS, NETWORKS, OBJECTIVES, STARTS, origins
from hf_dd.core.resources import PACKAGE
from hf_dd.data.image_data import ImageData
from hf_dd.evaluation.students import names_network
from hf_dd.teachers.pool import TeacherPool

LIBRARIES = ("hf-dd", "torch", "accelerate", "datasets", "huggingface_hub", "transformers", "timm", "evaluate")


def data_record(data: ImageData) -> dict[str, Any]:
    """What a card says of the source data set."""
    return {
        "name": data.name,
        "reference": data.pinned or data.reference,
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
        "decoding": list(data.notes),
        **({"test_split": data.test_split} if data.test and data.test_split != "test" else {}),
        **({"statistics": data.statistics} if data.statistics else {}),
        **({"whitening": data.whitening.facts()} if data.whitening else {}),
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that a result depends on; hf-dd's with the commit of a checkout."""
    found = {"python": platform.python_version(), **{name: version_of(name) for name in LIBRARIES}}
    return found | ({"hf-dd": f"{found['hf-dd']} at {commit()}"} if commit() else {})


@functools.cache  # the file that says it is long
def version_of(library: str) -> str:
    """The version of an installed library."""
    return importlib.metadata.version(library)


@functools.cache
def commit() -> str | None:
    """The commit of the checkout that this code runs from, with `-dirty` where files were changed; None elsewhere."""
    if not (PACKAGE.parent / ".git").exists():
        return None
    command = ["git", "-C", str(PACKAGE.parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(
            command, env=os.environ | {"GIT_OPTIONAL_LOCKS": "0"}, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):  # no git, or a checkout of someone else
        return None
    return done.stdout.strip()


def plugins(settings: Mapping[str, Any], teachers: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """The package or file behind each part of a distillation (settings, teachers, experts) that isn't hf_dd's own."""
    named = [(OBJECTIVES, settings["objective"]), (NETWORKS, settings["architecture"]), (STARTS, settings["init"])]
    for teacher in teachers:
        library = teacher.get("library", "hf_dd")
        named.append((NETWORKS, teacher["architecture"]) if library == "hf_dd" else (ADAPTERS, library))
    return origins(named)


def pinned(config: Any, data: ImageData, pool: TeacherPool | None = None) -> dict[str, Any]:
    """The options of a run that name what may move, with names that can't: the data set and teachers at their commits.

    Teachers that were found by tags or in a pool are named themselves. Local folders stay as they were given, but for
    that of the output, which is nobody else's. An expert has no name but its repository's, whose tags are its epochs.
    """
    pins: dict[str, Any] = {"output_dir": None} | ({"dataset": data.pinned} if data.pinned else {})
    given = getattr(config, "teachers", [])
    if pool and not given:
        pins |= {"teacher_tags": [], "teacher_pool": None, "teacher_revision": TeacherConfig.teacher_revision}
    if pool:
        same = zip(given or pool.specs, pool.specs, strict=True)
        pins["teachers"] = [name if given and spec.local else spec.reference for name, spec in same]
    if pool and pool.starts:
        pins["networks_from"] = [spec.reference for spec in pool.start_specs]
    for option in ("eval_teachers", "eval_architectures"):
        pins[option] = [name if names_network(name) else at_commit(name) for name in getattr(config, option, [])]
    return pins


def at_commit(reference: str) -> str:
    """A teacher's reference at its commit; a local folder as it is."""
    place = hub.find(reference)
    return reference if place is None or place.local else place.pin.reference


def command_line(command: str, config: Any, processes: int = 1, pins: Mapping[str, Any] = MappingProxyType({})) -> str:
    """The command that repeats a run: every option that isn't its default, whatever recipe or code it came from.

    It pushes, logs and overwrites nothing. `pins` are values of options to be given instead, see `pinned`. "" where
    there is none, as what was given in memory has no name that a command could give.
    """
    if any(name.startswith(IN_MEMORY) for name in [config.dataset or "", *getattr(config, "teachers", [])]):
        return ""
    words = ["hf-dd", *command.split()]
    if processes > 1:
        words = ["accelerate", "launch", "--multi_gpu", "--num_processes", str(processes), "-m", "hf_dd", *words[1:]]
    for option in dataclasses.fields(config):
        value = pins.get(option.name, getattr(config, option.name))
        if not is_default(option, value) and option.metadata["role"] != "once":
            words += [f"--{option.name}", *map(str, value if isinstance(value, list) else [value])]
    return shlex.join(words)
