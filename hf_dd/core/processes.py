"""The processes of this launch, as accelerate knows them."""

import atexit
import contextlib
import functools
import importlib
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState, is_initialized
from accelerate.utils import (
    GradientAccumulationPlugin,
    InitProcessGroupKwargs,
    TorchDynamoPlugin,
    broadcast,
    broadcast_object_list,
    parse_flag_from_env,
)

from hf_dd.core import files
from hf_dd.core.allocator import keep_freed_memory
from hf_dd.core.precision import worthwhile
from hf_dd.errors import ConfigError, RunError, one_line

# Flags of the environment under which a run would compute something else than its options say.
REFUSED = {
    "ACCELERATE_USE_DEEPSPEED": "--use_deepspeed",
    "ACCELERATE_USE_FSDP": "--use_fsdp",
    "ACCELERATE_USE_MEGATRON_LM": "--use_megatron_lm",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "--use_parallelism_config",
    "ACCELERATE_USE_SAGEMAKER": "SageMaker",
    "ACCELERATE_DOWNCAST_BF16": "--downcast_bf16",
    "NVIDIA_TF32_OVERRIDE": None,
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": None,
    "ONEDNN_DEFAULT_FPMATH_MODE": None,
    "DNNL_DEFAULT_FPMATH_MODE": None,
}
PATIENCE = timedelta(days=7)  # of processes that wait for what one does alone; torch's own is 10 minutes on GPUs
OFF = ("", "0", "false", "no", "off", "n", "f", "strict")


def new_accelerator(mixed_precision: str, **options: Any) -> Accelerator:
    """Processes and device as `accelerate` was told, in this precision; its own says which that is, see `worthwhile`.

    Nothing else is taken from the environment. accelerate keeps the precision of a process's first Accelerator; a
    notebook may go through several. Raises ConfigError where the environment asks for what can't be kept out.
    """
    require_plain_environment()
    keep_freed_memory()
    leave_group_at_exit()
    if is_initialized() and AcceleratorState().mixed_precision != mixed_precision:
        AcceleratorState._reset_state()  # there is no public name for it; a test notices where it goes
    uncompiled = {"mode": "default", "fullgraph": False, "dynamic": False, "use_regional_compilation": False}
    with set_up():
        accelerator = Accelerator(
            mixed_precision=mixed_precision,
            gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
            dynamo_plugin=TorchDynamoPlugin(backend="no", **uncompiled),
            cpu=several_on_cpus(),
            kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
            **options,
        )
    supported = worthwhile(mixed_precision, accelerator.device)
    return accelerator if supported == mixed_precision else new_accelerator(supported, **options)


def processes() -> PartialState:
    """The processes, where no accelerator is at hand."""
    leave_group_at_exit()
    with set_up():
        told = parse_flag_from_env("ACCELERATE_USE_CPU")  # which only an Accelerator reads by itself
        return PartialState(cpu=told or several_on_cpus(), timeout=PATIENCE)


def several_on_cpus() -> bool:
    """Whether several processes were launched where there are only CPUs, or a Mac's GPU, which is for one process.

    Unless it is told so, accelerate takes each of them for the only one there: two runs that write the same folder.
    """
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return os.environ.get("WORLD_SIZE", "1") != "1" and (accelerator is None or accelerator.type == "mps")


def require_plain_environment() -> None:
    """Raise ConfigError for the first variable of the environment that would change what a run computes."""
    for name, option in REFUSED.items():
        if os.environ.get(name, "").strip().lower() not in OFF:
            asked = f" (`accelerate launch {option}`, or its config file)" if option else ""
            raise ConfigError(
                f"The environment has {name}={os.environ[name]}{asked}, which would change what is computed: unset "
                "it. What hf-dd takes from `accelerate launch` are its processes and devices."
            )


@contextlib.contextmanager
def set_up() -> Iterator[None]:
    """Let what accelerate or torch can't make of the environment be a ConfigError."""
    gpus, own = torch.cuda.device_count(), os.environ.get("LOCAL_RANK", "")
    shared = "TORCHELASTIC_RUN_ID" in os.environ and own.isdecimal()  # else each process may see a GPU of its own
    if gpus and shared and int(own) >= gpus and not parse_flag_from_env("ACCELERATE_USE_CPU"):
        raise ConfigError(
            f"{os.environ.get('LOCAL_WORLD_SIZE')} processes were launched on this machine for GPUs, of which it has "
            f"{gpus}: launch one for each."
        )
    try:
        yield
    except (ImportError, NotImplementedError, RuntimeError, ValueError) as error:
        names = [name for name in os.environ if name.startswith("ACCELERATE_")]
        about = [
            f"{name}={os.environ[name]}" for name in (*names, "RANK", "LOCAL_RANK", "WORLD_SIZE") if name in os.environ
        ]
        raise ConfigError(
            f"accelerate can't set up its processes and device: {one_line(error)} Look at what the "
            f"environment says of them: {', '.join(about) or 'it says nothing'}."
        ) from error


def by_main_process(act: Callable[[], object]) -> None:
    """Do something on the main process, while the others wait."""
    state = processes()
    if state.is_main_process:
        act()
    state.wait_for_everyone()


def from_main_process(compute: Callable[[], Any]) -> Any:
    """What the main process computes, on every process."""
    return broadcast_object_list([compute() if processes().is_main_process else None])[0]


@torch.no_grad()
def take_from_main_process(tensor: torch.Tensor) -> None:
    """Give a tensor, wherever it lies, the main process's values on every process, 100 rows at a time."""
    state = processes()
    for rows in tensor.split(100) if state.num_processes > 1 else ():  # all needn't fit into a device's memory
        rows.copy_(broadcast(rows.to(state.device, copy=True)))


def shown_by_main_process(act: Callable[[], object]) -> None:
    """Do something on the main process, while the others wait; a RunError of it is raised on every process."""

    def problem() -> str | None:
        try:
            act()
        except RunError as error:
            return str(error)

    if wrong := from_main_process(problem):
        raise RunError(wrong)


@contextlib.contextmanager
def holding(folder: Path, *parts: str) -> Iterator[None]:
    """Let the main process hold a folder, as `files.claimed` says; raises RunError on every process."""
    with contextlib.ExitStack() as held:
        shown_by_main_process(lambda: held.enter_context(files.claimed(folder, *parts)))
        yield


def require_writable(folder: Path) -> None:
    """Raise RunError on every process where a run couldn't write into its folder, before it does anything else."""
    shown_by_main_process(lambda: files.require_writable(folder))


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
