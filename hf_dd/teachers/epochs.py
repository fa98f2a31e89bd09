"""Earlier epochs of a teacher's own training run: the tags of its repository, or the folders beside its own."""

from collections.abc import Sequence
from pathlib import Path

from hf_dd import hub
from hf_dd.errors import TeacherError
from hf_dd.teachers.experts import Expert, ranges
from hf_dd.teachers.locating import locate
from hf_dd.teachers.teacher import TeacherSpec

NEEDED = "--networks between takes parameters between two epochs of one run"


def earlier(teacher: TeacherSpec, references: Sequence[str] = ()) -> hub.Pin:
    """The pin of the epoch that a teacher's run has among these references, or of the earliest that it has.

    Raises TeacherError where there is none before the teacher's own.
    """
    if teacher.library != "hf_dd" or teacher.in_memory or teacher.epoch is None:
        raise TeacherError(f"Teacher {teacher}: {NEEDED} of `hf-dd pretrain`, and it is of none.")
    if references:
        pins = [locate(reference)[0] for reference in references]
        own = [pin for pin in pins if Path(home_of(pin)).absolute() == Path(home_of(teacher)).absolute()]
        if len(own) != 1:
            what = "more than one" if own else "no"
            raise TeacherError(
                f"Teacher {teacher}: --networks_from has {what} epoch of its run; it takes one of each."
            )
        return own[0]
    try:
        run = Expert(home_of(teacher))
    except TeacherError as error:
        raise TeacherError(f"Teacher {teacher}: {NEEDED}, and only this one is there ({error})") from error
    if not teacher.epoch:
        raise TeacherError(f"Teacher {teacher}: {NEEDED}, and there is none before epoch 0. Take a later epoch of it.")
    before = [epoch for epoch in run.revisions if epoch < teacher.epoch]
    if not before:
        raise TeacherError(
            f"Teacher {teacher}: {NEEDED}, and its own has none before epoch {teacher.epoch}; it has "
            f"{ranges(run.revisions)}. Take one that kept an earlier epoch (`hf-dd pretrain --keep_epochs 0 …`)."
        )
    return run.pin(min(before))


def home_of(pin: hub.Pin) -> str:
    """Where a teacher's epochs are: the repository, or the folder that its own is in, whatever that is called."""
    return str(Path(pin.repo_id).parent) if pin.local else pin.repo_id


def require_earlier(end: TeacherSpec, start: TeacherSpec) -> None:
    """Raise TeacherError unless one is an earlier epoch of the other's run."""
    if start.architecture != end.architecture or start.seed != end.seed or not (start.epoch or 0) < end.epoch:
        raise TeacherError(
            f"Teacher {end}: {NEEDED}, but {start} is {start.architecture} seed {start.seed} epoch {start.epoch}, no "
            f"earlier epoch of {end.architecture} seed {end.seed} epoch {end.epoch}."
        )
