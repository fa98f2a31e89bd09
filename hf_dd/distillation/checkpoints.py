"""Checkpoints of a distillation: safetensors and JSON in a folder that is written whole or not at all.

The tensors are what is learned, the synthetic images for one, and the optimisers' states. There is no generator state
to keep: every draw is named by (seed, purpose, step, class). A kill at any moment leaves the checkpoints before it
whole.
"""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from hf_dd.core import files
from hf_dd.distillation.optimisers import Learned
from hf_dd.errors import RunError
from hf_dd.synthetic.distilled_set import preview

STATE, TENSORS = "state.json", "tensors.safetensors"


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
    with files.folder(folder / f"step-{progress.step:06d}") as unfinished:
        save_file(learned.tensors(), unfinished / TENSORS)
        files.write_json(unfinished / STATE, asdict(progress) | {"identity": identity})
        preview(learned.synthetic.own_space(), learned.synthetic.labels).save(unfinished / "preview.png")
    for old in checkpoints(folder)[:-limit]:
        files.remove(old)


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a folder, by the step that each one's own state names; raises RunError for a broken state."""
    states = [(read_state(path.parent)["step"], path.parent) for path in folder.glob(f"step-*/{STATE}")]
    return [path for _, path in sorted(states)]


def read_state(path: Path) -> dict[str, Any]:
    """The content of a checkpoint's `state.json`; raises RunError where it is missing, broken or incomplete."""
    try:
        return files.read_json(path / STATE, step=int, seconds=float, losses=dict, identity=dict)
    except RunError as error:
        raise unreadable(path, error) from error


def differences(state: dict[str, Any], identity: dict[str, Any]) -> list[str]:
    """In what a checkpoint's run, by its state, isn't the one of this identity."""
    return [key for key in identity if state["identity"].get(key) != identity[key]]


def unreadable(path: Path, error: Exception) -> RunError:
    """The error for a broken checkpoint, which names it."""
    return RunError(f"{path} isn't a readable checkpoint ({type(error).__name__}: {error}).")


def load_checkpoint(path: Path, learned: Learned, identity: dict[str, Any]) -> Progress:
    """Restore parameters and optimisers in place; raises RunError for a broken one or one of another configuration."""
    state = read_state(path)
    if differing := differences(state, identity):
        pairs = "; ".join(f"{key}: {state['identity'].get(key)!r} there, {identity[key]!r} here" for key in differing)
        raise RunError(
            f"{path} is a checkpoint of another configuration ({pairs}). Resume with the options it was made with, or "
            "give another --output_dir."
        )
    try:
        tensors = load_file(path / TENSORS)
        for name, own in learned.tensors().items():
            kept = tensors.get(name, own if name.startswith("optimizer.") else None)
            if kept is None or (kept.shape, kept.dtype) != (own.shape, own.dtype) or not kept.isfinite().all():
                raise ValueError(f"{name} isn't {own.dtype} of {tuple(own.shape)}, or not finite")
        numbers = [state["seconds"], *state["losses"].values()]
        if state["step"] < 0 or not all(isinstance(each, (int, float)) and math.isfinite(each) for each in numbers):
            raise ValueError("its step, seconds or losses are no such numbers")
    except (OSError, ValueError, SafetensorError) as error:
        raise unreadable(path, error) from error
    learned.load(tensors)
    return Progress(state["step"], state["seconds"], state["losses"])
