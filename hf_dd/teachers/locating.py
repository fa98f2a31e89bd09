"""Where a teacher lies: a reference or a pin is brought to a folder and a commit, and the teacher loaded from there.

A teacher's folder is a commit of its repository, or a local copy of one: what `hf-dd pretrain` writes, or a model of
timm or transformers (`adapters`).
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from hf_dd import hub
from hf_dd.config import IN_MEMORY
from hf_dd.core import files
from hf_dd.core.alone import undisturbed
from hf_dd.core.json_records import read_json, require
from hf_dd.core.layout import RECORD, epoch_of
from hf_dd.errors import RunError, TeacherError, some
from hf_dd.teachers import adapters
from hf_dd.teachers.teacher import Teacher, TeacherSpec, naming


def locate(teacher: str | os.PathLike[str] | hub.Pin, trusted: Sequence[str] = ()) -> tuple[hub.Pin, Path]:
    """Find a teacher's files, by a reference or at a pin: a local folder, or a commit of the Hub, pulled.

    Of the repositories in `trusted` pickled weights and code are pulled as well. Raises HubError, or TeacherError
    where there is none, a local one isn't what it was when it was pinned, or one of the Hub has only pickled weights.
    """
    if isinstance(teacher, hub.Pin):
        if teacher.local:
            return teacher, locate_again(teacher)
        pin = teacher
    else:
        teacher = os.fspath(teacher)
        if teacher.startswith(IN_MEMORY):
            raise TeacherError(
                f"Teacher {teacher} was a module in memory, which no reference names: give it as `pool`."
            )
        place = hub.find(teacher)
        if place is None:
            wrong = "it is a file" if os.path.isfile(teacher) else "there is no such folder"
            raise TeacherError(f"Teacher {teacher}: {wrong}, and it isn't of the form owner/name@revision.")
        if place.local:
            return locate_locally(Path(place.path), place.revision)
        pin = place.pin
    opted_in = is_trusted(pin, trusted)
    wanted = adapters.FILES + adapters.UNSAFE_FILES * opted_in
    folder = hub.pull(pin, files=wanted, without=adapters.BELOW, dispensable=adapters.DISPENSABLE)
    if not opted_in and not any(folder.glob(adapters.WEIGHTS[0])):
        with naming(f"Teacher {pin}"):
            adapters.require_safetensors(hub.list_files(pin))
    return pin, folder


def locate_again(pin: hub.Pin) -> Path:
    """The folder of a local teacher; raises TeacherError where it isn't what it was when it was pinned."""
    if pin.repo_id.startswith(IN_MEMORY):
        raise TeacherError(f"Teacher {pin} was a module in memory: nothing else names it.")
    if not Path(pin.repo_id).is_dir():
        raise TeacherError(f"Teacher {pin} was a local folder, which isn't there.")
    now, folder = locate_locally(Path(pin.repo_id))
    if now.sha != pin.sha:
        raise TeacherError(
            f"Teacher {pin.repo_id} isn't what it was when it was locked: its weights were {hub.short(pin.sha)} and "
            f"are {hub.short(now.sha)}."
        )
    known = pin.configuration if isinstance(pin, TeacherSpec) else None
    if known and known != adapters.configuration_of(folder):
        raise TeacherError(
            f"Teacher {pin.repo_id} isn't what it was when it was locked: its weights are the same, but its "
            "config.json, or what else says how it sees images and what its classes are, was changed."
        )
    return folder


def locate_locally(folder: Path, revision: str | None = None) -> tuple[hub.Pin, Path]:
    """A snapshot's own folder, or the revision (its last epoch by default) of a teacher's run folder.

    Raises TeacherError where the folder is neither, and for a revision of what has none.
    """
    if (folder / "config.json").is_file():
        if revision not in (None, folder.resolve().name):
            raise TeacherError(
                f"Teacher {folder} is itself one epoch or model, of which there is no {revision!r}: leave out "
                f"@{revision}, or name the folder of its run."
            )
    else:
        try:
            run = read_run(folder)
        except TeacherError as error:
            raise TeacherError(
                f"Teacher {folder}: {error}. A teacher's folder is a run or an epoch of `hf-dd pretrain`, or a model "
                "of timm or transformers."
            ) from error
        folder = folder / (run["final"] if revision in (None, "final") else revision)
        if not folder.is_dir():
            raise TeacherError(f"Teacher {folder.parent} has no {revision!r}; it has {', '.join(run['revisions'])}.")
    weights = sorted(folder.glob(adapters.WEIGHTS[0])) or sorted(
        path for kind in adapters.UNSAFE_FILES[:-1] for path in folder.glob(kind)
    )
    with naming(f"Teacher {folder}"):
        adapters.require_files(folder)
    try:
        digest = files.digest_of(*weights)
    except OSError as error:
        raise TeacherError(f"Teacher {folder}: {error.filename} can't be read: {error.strerror}.") from error
    return hub.Pin(str(folder), revision or folder.name, f"{hub.DIGEST}{digest}"), folder


def read_run(folder: Path) -> dict[str, Any]:
    """The record of a teacher's run in a folder; raises TeacherError, which says what there is instead."""
    path = folder / RECORD
    if not path.exists():
        raise TeacherError("it has neither config.json nor hf_dd.json")
    try:
        run = read_json(path, kind=str)
    except RunError as error:
        raise TeacherError("its hf_dd.json is no record of hf-dd") from error
    if run["kind"] == "teacher-run" and {"revisions", "final"} <= run.keys():
        try:
            require(run, dict, {"name": str, "revisions": list[str], "final": str}, str(path))
        except RunError as error:
            raise TeacherError(str(error).rstrip(".")) from error
        if wrong := [name for name in (*run["revisions"], run["final"]) if epoch_of(name) is None]:
            raise TeacherError(f"its hf_dd.json lists {some(wrong)} among its epochs, which are called epoch-N")
        return run
    instead = f"it holds {'an' if run['kind'][:1] in 'aeiou' else 'a'} {run['kind'].replace('-', ' ')} of hf-dd"
    raise TeacherError(instead + (", but not all of it" if run["kind"].startswith("teacher") else ""))


def is_trusted(pin: hub.Pin, trusted: Sequence[str]) -> bool:
    """Whether one of these names is a teacher's repository or folder, however that is typed, with or without @…."""
    return any(is_named(pin, name) for name in trusted)


def is_named(pin: hub.Pin, name: str) -> bool:
    """Whether a name is that of a teacher's repository or folder; a run's is that of each of its epochs."""
    own, named = str(Path(pin.repo_id).resolve()) if pin.local else pin.repo_id, without_revision(name)
    epoch_of = pin.local and not (Path(named) / "config.json").is_file() and str(Path(own).parent) == named
    return named == own or epoch_of


def without_revision(reference: str) -> str:
    """The repository that a reference is to, or the folder, however it is typed."""
    place = hub.find(reference)
    return reference if place is None else str(Path(place.path).resolve()) if place.local else place.path


def require_all_named(trusted: Sequence[str], pins: Sequence[hub.Pin]) -> None:
    """Raise TeacherError for a name of `--trusted_teachers` that is that of none of these teachers."""
    if unknown := [name for name in trusted if not any(is_named(pin, name) for pin in pins)]:
        raise TeacherError(
            f"--trusted_teachers {some(unknown)} would be without effect, as no teacher is called so. There are "
            f"{some(list(dict.fromkeys(pin.repo_id for pin in pins)))}."
        )


def load_teacher(pin: hub.Pin, folder: Path, trusted: Sequence[str] = ()) -> Teacher:
    """Build a teacher from its files, strictly; raises TeacherError.

    Without pickle or remote code, but for the repositories in `trusted`.
    """
    opted_in = is_trusted(pin, trusted)
    kept = torch.random.fork_rng(devices=[])  # a network is drawn before its weights are put into it
    with naming(f"Teacher {pin}"), undisturbed(), kept:
        adapted = adapters.adapt(folder, opted_in)
    return Teacher(adapted, spec_of(pin, folder, adapted.about, opted_in))


def spec_of(pin: hub.Pin, folder: Path, about: dict[str, Any], trusted: bool = False) -> TeacherSpec:
    """What a card says of the teacher at a pin, given what its files in a folder say."""
    configuration = adapters.configuration_of(folder) if pin.local else None
    return TeacherSpec(pin.repo_id, pin.revision, pin.sha, trusted=trusted, configuration=configuration, **about)
