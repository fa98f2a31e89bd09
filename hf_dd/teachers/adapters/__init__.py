"""Pre-trained models of any library as one thing: a network with logits and features, and how its images are made.

Which library a folder of weights is of is told from its files, by the library's adapter (`core.registry.ADAPTERS`).
"""

import dataclasses
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from hf_dd.core.digests import digest_over
from hf_dd.core.json_records import read_json
from hf_dd.core.layout import CARD, RECORD
from hf_dd.core.registry import ADAPTERS
from hf_dd.errors import RunError, TeacherError
from hf_dd.teachers.adapters.base import Adapted, Adapter, require_modest, require_working

ASKED_FIRST = ("hf_dd", "transformers", "timm")  # in this order, then the plug-ins in that of their names

WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
DESCRIPTION = ("config.json", RECORD, CARD)
PREPARATION = ("preprocessor_config.json", "processor_config.json")
DISPENSABLE = (RECORD, CARD, *PREPARATION)  # not cached by all libraries; who needs a missing one is refused
FILES = (*DESCRIPTION, *PREPARATION, *WEIGHTS)
CONFIGURATION = ("config.json", *PREPARATION, "*.py")
UNSAFE_FILES = ("*.bin", "*.pth", "*.pt", "*.py")  # pickles and code: read where the user trusts the repository
BELOW = tuple(f"*/{kind}" for kind in (*WEIGHTS, *UNSAFE_FILES[:-1]))  # of other moments and forms: nobody's teacher


def adapt(folder: Path, trusted: bool = False) -> Adapted:
    """The model in a folder, built by its own library; raises TeacherError.

    Args:
        folder: its files.
        trusted: whether pickled weights may be read and the repository's own code may run.
    """
    library, adapter, config = adapter_of(folder)
    if not trusted:
        require_safetensors([path.name for path in folder.iterdir()])
    adapted = adapter.adapt(folder, config, trusted)
    adapted.network.eval()
    require_working(adapted)
    return dataclasses.replace(adapted, about=adapted.about | {"library": library})


def about(folder: Path) -> dict[str, Any]:
    """What the `DESCRIPTION` of a model says of it, as fields of a `TeacherSpec`; raises TeacherError."""
    library, adapter, config = adapter_of(folder)
    return adapter.about(folder, config) | {"library": library}


def configuration_of(folder: Path) -> str:
    """A digest of what a model's answers follow from but its weights: how it and its images are made, and its code."""
    files = sorted(path for kind in CONFIGURATION for path in folder.glob(kind))
    return digest_over(path.read_bytes() for path in files)


def require_files(folder: Path) -> None:
    """Raise TeacherError where something lies among a model's files that is none: a device, a pipe, a broken link."""
    for path in folder.iterdir() if folder.is_dir() else ():  # a commit without files has none
        if not (path.is_file() or path.is_dir()) and any(fnmatch(path.name, kind) for kind in FILES + UNSAFE_FILES):
            raise TeacherError(f"{path.name} isn't a file, nor a link to one.")


def require_safetensors(files: Iterable[str]) -> None:
    """Raise TeacherError where none of a repository's files holds weights that are read without running code.

    Those in its folders don't count.
    """
    files = [name for name in files if "/" not in name]
    if any(fnmatch(name, WEIGHTS[0]) for name in files):
        return
    pickled = sorted(name for name in files if any(fnmatch(name, kind) for kind in UNSAFE_FILES[:-1]))
    there = f"its weights are pickled ({', '.join(pickled)})" if pickled else "it holds no weights as safetensors"
    raise TeacherError(
        f"{there}. Only safetensors (model.safetensors) are read, never pickles, which can run code: convert them "
        "(`save_pretrained` of transformers and `push_to_hf_hub` of timm do), or name the repository by "
        "--trusted_teachers."
    )


def adapter_of(folder: Path) -> tuple[str, Adapter, dict[str, Any]]:
    """The library of a folder's model, what knows it, and the content of config.json; raises TeacherError."""
    require_files(folder)
    try:
        config = read_json(folder / "config.json")
    except RunError as error:
        raise TeacherError(f"it doesn't say what it is: {error}") from error
    require_modest(config)
    for name in (*ASKED_FIRST, *sorted(ADAPTERS.keys() - ASKED_FIRST)):
        if (adapter := ADAPTERS.installed(name)).matches(folder, config):
            return name, adapter, config
    raise TeacherError(
        "it doesn't say what it is: hf_dd.json (as `hf-dd pretrain` writes it) is missing, and config.json names "
        "neither an `architecture` of timm nor a `model_type` of transformers."
    )
