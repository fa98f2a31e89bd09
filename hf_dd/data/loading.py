"""The splits of a folder, or of a repository at its commit, as `datasets` reads them."""

import os
import posixpath
import re
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import yaml

from hf_dd import hub
from hf_dd.config import DataConfig
from hf_dd.core.progress import Phase, say
from hf_dd.core.text import plural
from hf_dd.data.columns import IMAGE_SUFFIXES
from hf_dd.data.folders import ABOUT, Files, Folders, files_of_splits, lies_below
from hf_dd.data.unpacking import require_modest
from hf_dd.errors import DataError, HfDdError

if TYPE_CHECKING:
    import datasets

ELSEWHERE = re.compile(r"(^|/)\.|^/|:")  # in a pattern of files that isn't one of names below a folder alone
SAVED = ("dataset_dict.json", "state.json")  # of `save_to_disk`, in a folder


def load_splits(place: hub.Place, config: DataConfig) -> "datasets.DatasetDict":
    """All splits of a folder or of a repository; every error of `datasets` becomes one clear line.

    Of a repository the files of its pinned commit are pulled and read as a folder: given its name, `datasets` would
    take whatever commit lies in its cache where the Hub is out of reach.
    """
    import datasets

    path, pin = place.path, place.pin
    what = f"Data set {pin or path}"
    if place.local:  # a name like 'text' alone would be that of a reader
        path = str(Path(path).resolve())
        require_readable(path)
        require_modest(path)
    try:
        if pin:
            return load_pinned(pin, config.dataset_config)
        if any((Path(path) / name).is_file() for name in SAVED):
            saved = datasets.load_from_disk(path)
            return saved if isinstance(saved, dict) else datasets.DatasetDict({str(saved.split or "train"): saved})
        files = files_of_splits(Path(path)) if config.dataset_config is None else Files()
        with Phase(f"preparing {path}", drawn=False):
            found = datasets.load_dataset(path, config.dataset_config, data_files=files.patterns)
        return by_folders(found["train"], Path(path), files.folders) if files.folders else found
    except HfDdError:
        raise
    except Exception as error:  # its readers raise nearly anything
        cause = error.__cause__ if isinstance(error, datasets.exceptions.DatasetGenerationError) else None
        text = " ".join(str(cause or error).split())[:400] or type(error).__name__
        hint = " Name one with --dataset_config." if "config" in text.lower() else ""
        if isinstance(error, yaml.YAMLError) or "metadata block" in text:
            hint = " Mend the YAML between three dashes at the top of its README.md, or remove that file."
        raise DataError(f"{what} can't be read: {text}{hint}") from error


def by_folders(rows: "datasets.Dataset", folder: Path, folders: Folders) -> "datasets.DatasetDict":
    """The rows of each split, by the folders that their images lie in; others are left out, and told."""
    import datasets
    import pyarrow.compute

    column = next(name for name, feature in rows.features.items() if isinstance(feature, datasets.Image))
    places = [(split, place) for split, own in folders.items() for place in own]
    found: dict[str, list[int]] = {split: [] for split in folders}
    outside = []
    for row, path in enumerate(pyarrow.compute.struct_field(rows.data.column(column), "path").to_pylist()):
        below = PurePath(os.path.normpath(path)).relative_to(folder)
        split = next((split for split, place in places if lies_below(below, place)), None)
        (outside if split is None else found[split]).append(row)
    if outside:
        count = plural(len(outside), "image")
        say("%s: left out, as they lie in no folder that is a split: %s of its table.", folder, count)
    return datasets.DatasetDict({split: rows.select(own) for split, own in found.items() if own})


def load_pinned(pin: hub.Pin, configuration: str | None) -> "datasets.DatasetDict":
    """All splits of a repository at a commit, as `load_dataset(id, configuration, revision=sha)` gives them.

    Raises HubError, DataError for files that the commit doesn't hold, and what `datasets` raises.
    """
    import datasets

    script = f"{pin.repo_id.partition('/')[2]}.py"
    folder = hub.pull(pin, "dataset", [*ABOUT, script])
    if (folder / script).is_file():
        raise DataError(
            f"Data set {pin} is read by a script of its own, {script}, and none is run. The Hub makes parquet of many "
            f"such: try {pin.repo_id}@refs/convert/parquet. Else give a folder of its images."
        )
    hub.pull(pin, "dataset", files_of(folder, configuration), without=SAVED)
    require_modest(folder)
    builder = datasets.load_dataset_builder(str(folder), configuration)
    for files in (builder.config.data_files or {}).values():
        for file in files:
            if not Path(os.path.normpath(file.split("::")[-1])).is_relative_to(folder):
                raise DataError(
                    f"Data set {pin} reads {file}, which isn't in its repository, so that its commit doesn't pin it. "
                    "Name the repository that holds the files."
                )
    with Phase(f"preparing {pin}", drawn=False):
        builder.download_and_prepare()
    return builder.as_dataset()


def files_of(folder: Path, configuration: str | None) -> list[str] | None:
    """Glob patterns of what a configuration needs of a repository whose card lies in a folder; None for all files.

    Those of the first configuration are among them, as `datasets` tells the form of all by it.
    """
    listed = hub.front_matter(folder).get("configs")
    if not listed or any((folder / name).is_file() for name in ABOUT[1:]):
        return None
    named = {each["config_name"]: each for each in listed}
    default = next((name for name, each in named.items() if each.get("default") or name == "default"), None)
    needed = [each for name, each in named.items() if name in (next(iter(named)), configuration or default)]
    patterns = [
        # `datasets` takes **/ for any folders or none: where files are pulled, * alone is for these, too
        posixpath.join(place, pattern).replace("**/", "*")
        for each in needed
        for pattern in texts_of(each.get("data_files"))
        for place in ("", each.get("data_dir") or "")  # it finds the form of all outside of a configuration's folder
    ]
    simple = all(each.get("data_files") for each in needed) and not any(map(ELSEWHERE.search, patterns))
    return [*ABOUT, *patterns] if simple else None


def texts_of(value: Any) -> list[str]:
    """The patterns in a card's `data_files`: a text, a list of such, or splits with the path of each."""
    if isinstance(value, dict):
        return texts_of(value["path"] if "path" in value else list(value.values()))
    return [value] if isinstance(value, str) else [text for each in value or () for text in texts_of(each)]


def require_readable(path: str) -> None:
    """Raise DataError where `datasets` would read other files than those of a folder, or pass over some."""
    if found := [sign for sign in ("[", "]", "*", "?", "::", "://") if sign in path]:
        raise DataError(
            f"{path} can't be read: load_dataset takes {' '.join(found)} in a path for a pattern. Move it to a path "
            "without."
        )
    for place, _, names in os.walk(path):
        below = os.path.relpath(place, path)
        passed_over = "\n" in below or any(part.startswith("__") for part in below.split(os.sep))
        if os.path.expandvars(below) != below:
            raise DataError(
                f"{path} holds {below!r}, of which load_dataset reads a variable of the environment: give it another "
                "name."
            )
        for name in names:
            if (passed_over or "\n" in name) and name[0] != "." and Path(name).suffix.lower() in IMAGE_SUFFIXES:
                raise DataError(
                    f"{path} holds {os.path.join(below, name)!r}, which load_dataset passes over: names with line "
                    "breaks, and of folders with two underscores before them. Give it another name, or remove it."
                )
