"""Checkpoints of a distillation: safetensors and JSON in a folder that is written whole or not at all.

The tensors are what is learned, the synthetic images for one, and the optimisers' states. There is no generator state
to keep: every draw is named by (seed, purpose, step, class). A kill at any moment leaves the checkpoints before it
whole.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from hf_dd.core import files, json_records, tensors
from hf_dd.core.layout import CHECKPOINTS, PREVIEW
from hf_dd.core.text import apart
from hf_dd.distillation.optimisers import Learned
from hf_dd.errors import RunError, UnusableError, some
from hf_dd.synthetic.preview import preview

STATE, TENSORS = "state.json", "tensors.safetensors"
STEP = re.compile(r"step-(\d+)")  # how their folders are called


@dataclass(frozen=True)
class Progress:
    """Where a run stands.

    Attributes:
        step: finished iterations.
        seconds: spent in them, over all interruptions.
        losses: the terms of the last logged iteration.
    """

    step: int
    seconds: float
    losses: dict[str, float]


def save_checkpoint(folder: Path, learned: Learned, progress: Progress, identity: dict[str, Any], limit: int) -> None:
    """Write `folder/step-N`, with a preview, whole or not at all, and remove all but the newest `limit` checkpoints.

    `identity` is what a run that resumes from here has to share, JSON-able.
    """
    with files.folder(preview_of(folder, progress.step).parent) as unfinished:
        save_file(learned.tensors(), unfinished / TENSORS)
        facts = {"identity": identity, "tensors_sha256": files.digest_of(unfinished / TENSORS)}
        files.write_json(unfinished / STATE, asdict(progress) | facts)
        preview(learned.synthetic.own_space(), learned.synthetic.labels, learned.synthetic.class_names).save(
            unfinished / PREVIEW
        )
    for old in checkpoints(folder)[:-limit]:
        files.remove(old)


def preview_of(folder: Path, step: int) -> Path:
    """The preview of a checkpoint."""
    return folder / f"step-{step:06d}" / PREVIEW


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a folder, by the step that each one's own state names; raises RunError for a broken state."""
    states = [(read_state(path.parent)["step"], path.parent) for path in folder.glob(f"step-*/{STATE}")]
    return [path for _, path in sorted(states)]


def read_state(path: Path) -> dict[str, Any]:
    """The content of a checkpoint's `state.json`; raises RunError where it is missing, broken or incomplete."""
    try:
        state = json_records.read_json(path / STATE, step=int, seconds=float, losses=dict[str, float], identity=dict)
        if min(state["step"], state["seconds"]) < 0:
            raise RunError("it is of a step before the first.")
        if (named := STEP.fullmatch(path.name)) and int(named[1]) != state["step"]:
            raise RunError(f"it says that it is of step {state['step']}.")
    except RunError as error:
        raise unreadable(path, error) from error
    return state


def differences(state: dict[str, Any], identity: dict[str, Any], not_given: Mapping[str, Any]) -> list[str]:
    """In what a checkpoint's run, by its state, isn't the one of this identity; it had options `not_given`."""
    there = {**not_given, **state["identity"]}
    return [key for key in identity if there.get(key) != identity[key]]


def unreadable(path: Path, error: Exception) -> RunError:
    """The error for a broken checkpoint, which names it and the way out."""
    reason = f"{type(error).__name__}: {error}" if not isinstance(error, RunError) else str(error).rstrip(".")
    place, way_out = path.resolve(), ""
    if path.is_dir() and place.parent.name == CHECKPOINTS and STEP.fullmatch(place.name):  # nothing else is a run's
        way_out = " Remove that folder: --resume_from_checkpoint latest goes on from the one before it."
    elif (path / CHECKPOINTS).is_dir():
        way_out = (
            f" It is the folder of a run: give one of its checkpoints, {path / CHECKPOINTS}/step-N, or --output_dir "
            f"{path} and --resume_from_checkpoint latest."
        )
    return UnusableError(f"{path} isn't a readable checkpoint ({reason}).{way_out}", path)


def require_whole(found: Mapping[str, Tensor], learned: Learned) -> None:
    """Raise RunError unless tensors are those that a run like this one keeps, by name and shape, and finite."""
    needed = {name: tensors.form_of(value) for name, value in learned.kept().items()}
    expected = dict(needed)
    for name, optimizer in learned.optimizers.items():
        own = {key: f"optimizer.{name}.{key}" for key in optimizer.kept}
        states = {place: needed[name] if key != "step" else tensors.Form((), True) for key, place in own.items()}
        expected |= states if found.keys() & states.keys() else {}
    forms = {name: tensors.form_of(value) for name, value in found.items()}
    if differing := tensors.differences(expected, forms):
        raise RunError(some(differing))
    tensors.require_finite({name: found[name] for name in found if name not in learned.buffers}, "it")


def load_checkpoint(
    path: Path, learned: Learned, identity: dict[str, Any], not_given: Mapping[str, Any] = MappingProxyType({})
) -> Progress:
    """Restore parameters and optimisers in place; raises RunError for a broken one or one of another configuration.

    `not_given` are the values of options that the version which wrote it may not have known.
    """
    state = read_state(path)
    if differing := differences(state, identity, not_given):
        pairs = "; ".join(apart(state["identity"], identity, differing))
        raise UnusableError(
            f"{path} is a checkpoint of another configuration ({pairs}). Resume with the options it was made with, or "
            "give another --output_dir.",
            path,
        )
    try:
        tensors.declared(path / TENSORS)
        if state.get("tensors_sha256") not in (None, files.digest_of(path / TENSORS)):  # those of 0.1 don't say
            raise RunError(f"{TENSORS} has other bytes than were written")
        found = load_file(path / TENSORS)
        require_whole(found, learned)
    except (OSError, KeyError, ValueError, SafetensorError, RunError) as error:
        raise unreadable(path, error) from error
    learned.load(found)
    return Progress(state["step"], state["seconds"], state["losses"])
