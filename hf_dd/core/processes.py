"""The processes of this launch, as accelerate knows them."""

import atexit
import functools
import importlib
import logging
import os
from collections.abc import Callable
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState, is_initialized
from accelerate.utils import broadcast_object_list, parse_flag_from_env

from hf_dd.core.allocator import keep_freed_memory
from hf_dd.core.precision import worthwhile


def new_accelerator(mixed_precision: str, **options: Any) -> Accelerator:
    """Processes and device as `accelerate` was told, in this precision; its own says which that is, see `worthwhile`.

    accelerate keeps the precision of a process's first Accelerator; a notebook may go through several.
    """
    keep_freed_memory()
    leave_group_at_exit()
    if is_initialized() and AcceleratorState().mixed_precision != mixed_precision:
        AcceleratorState._reset_state()  # there is no public name for it; a test notices where it goes
    accelerator = Accelerator(mixed_precision=mixed_precision, **options)
    supported = worthwhile(mixed_precision, accelerator.device)
    return accelerator if supported == mixed_precision else new_accelerator(supported, **options)


def processes() -> PartialState:
    """The processes, where no accelerator is at hand."""
    leave_group_at_exit()
    return PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))  # which only an Accelerator reads by itself


def by_main_process(act: Callable[[], object]) -> None:
    """Do something on the main process, while the others wait."""
    state = processes()
    if state.is_main_process:
        act()
    state.wait_for_everyone()


def from_main_process(compute: Callable[[], Any]) -> Any:
    """What the main process computes, on every process."""
    return broadcast_object_list([compute() if processes().is_main_process else None])[0]


def say(logger: logging.Logger, *message: Any) -> None:
    """Log, once for all processes, what all of them have to tell."""
    if processes().is_main_process:
        logger.info(*message)


@functools.cache
def leave_group_at_exit() -> None:
    """Leave the group of processes before Python ends, where it is gloo's, as on CPUs.

    gloo's threads may still hold the tensors of the last exchange, which are Python objects: one that gives them up
    while the interpreter is ending aborts the process, and with it a launch that had succeeded. NCCL has no such
    threads; it might wait for processes that have failed.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:  # what this imports would hold on to a group that is there already
        importlib.import_module("torch._dynamo")
    atexit.register(_leave_group)


def _leave_group() -> None:
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized() and "gloo" in distributed.get_backend():
        distributed.destroy_process_group()
