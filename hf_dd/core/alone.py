"""A run has torch to itself: as it is when a program begins, whatever its caller did to it, and given back as it was.

A default dtype, the global generators and the precision of products are the whole process's, so that two runs at once
would change what the other computes, and a run what its caller draws next.
"""

import contextlib
import random
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.backends import cudnn, mkldnn
from torch.backends.cuda import matmul

from hf_dd.core.memory import within_memory
from hf_dd.errors import RunError

_running = threading.RLock()  # held by the thread whose run it is; that run may begin others
_inside = False  # whether it is held


@contextlib.contextmanager
def alone(way_out: str = "") -> Iterator[None]:
    """Let a run compute what its own options say, and leave its caller's torch as it was: dtype, draws, all of it.

    Raises RunError where a run of another thread of this process hasn't ended, and for a lack of memory, with what to
    do about it (`way_out`): that of the outermost run, which is the one that was asked for.
    """
    global _inside
    if not _running.acquire(blocking=False):
        raise RunError(
            "Another thread of this process is at a run of hf_dd, and both would draw from the same generator: do one "
            "after the other, or each in a process of its own."
        )
    outermost, _inside = not _inside, True
    try:
        memory = within_memory(way_out) if outermost else contextlib.nullcontext()
        with memory, undisturbed(), _own_settings(), _own_draws():
            yield
    finally:
        _inside = not outermost
        _running.release()


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Keep out what a thread may have told torch: no gradients, inference, autocast, another default device."""
    accelerator = torch.accelerator.current_accelerator()
    kinds = ["cpu"] + ([accelerator.type] if accelerator else [])
    with contextlib.ExitStack() as held:
        if torch.get_default_device() != torch.device("cpu"):  # else a mode that every call of torch goes through
            held.enter_context(torch.device("cpu"))
        if torch.is_inference_mode_enabled():
            held.enter_context(torch.inference_mode(False))
        held.enter_context(torch.enable_grad())
        for kind in filter(torch.is_autocast_enabled, kinds):
            held.enter_context(torch.autocast(kind, enabled=False))
        yield


@contextlib.contextmanager
def _own_settings() -> Iterator[None]:
    """float32 by default, products and convolutions of it in its own precision, cuDNN's by the same kernels each time.

    cuDNN would else take TF32, on GPUs that have it. Not all of torch's own kernels on GPUs give the same twice.
    """
    dtype = torch.get_default_dtype()
    products = (matmul, cudnn.conv, cudnn.rnn, mkldnn.matmul, mkldnn.conv, mkldnn.rnn)
    lowered = [each for each in products if each.fp32_precision not in ("none", "ieee")]
    # The older name of both goes first: torch refuses to read it, for plug-ins as well, where the newer say otherwise.
    own = [(cudnn, "allow_tf32", False)] if cudnn.conv in lowered or cudnn.rnn in lowered else []
    own += [(each, "fp32_precision", "ieee") for each in lowered]
    own += [(cudnn, "deterministic", True), (cudnn, "benchmark", False)]
    before = [_setting(each, name) for each, name, _ in own]
    torch.set_default_dtype(torch.float32)
    for each, name, value in own:
        setattr(each, name, value)
    try:
        yield
    finally:
        for (each, name, _), value in zip(own, before, strict=True):
            setattr(each, name, value)
        torch.set_default_dtype(dtype)


def _setting(module: Any, name: str) -> Any:
    """A setting of torch; of those that it refuses to read, as they contradict others, what it is by default."""
    try:
        return getattr(module, name)
    except RuntimeError:
        return True


@contextlib.contextmanager
def _own_draws() -> Iterator[None]:
    """Give the global generators of torch, numpy and Python back as they were."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        for put, state in zip((torch.set_rng_state, np.random.set_state, random.setstate), states, strict=True):
            put(state)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
        elif torch.cuda.is_available():  # which begins with the same seed as the CPU
            torch.cuda.manual_seed_all(torch.initial_seed())
