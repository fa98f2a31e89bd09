"""What a run ran on, in the words of records, cards and reports."""

import functools
import os
import platform
import re
import subprocess
from pathlib import Path

import torch
from accelerate import Accelerator

from hf_dd.core.text import plural

CPUS = Path("/proc/cpuinfo")  # of Linux
MAC = ("sysctl", "-n", "machdep.cpu.brand_string")
# Variables that choose among ways to compute the same, which differ in the last bits: a record tells them.
TOLD = (
    *("ATEN_CPU_CAPABILITY", "CUBLAS_WORKSPACE_CONFIG", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA"),
    *("DNNL_MAX_CPU_ISA", "TORCHDYNAMO_DISABLE", "TORCHINDUCTOR_EMULATE_PRECISION_CASTS", "TORCHINDUCTOR_FREEZING"),
    *(
        "TORCHINDUCTOR_MAX_AUTOTUNE",
        "TORCH_BLAS_PREFER_CUBLASLT",
        "TORCH_COMPILE_DISABLE",
        "PYTORCH_TUNABLEOP_ENABLED",
    ),
    *("TORCH_CUDNN_V8_API_DISABLED", "TORCH_LINALG_PREFER_CUSOLVER", "TORCH_MKLDNN_MATMUL_MIN_DIM"),
)


def hardware(accelerator: Accelerator) -> str:
    """The device by its name, how many processes, their threads on a CPU, bf16 if it was that.

    Also the variables of the environment that choose among ways to compute the same.
    """
    processes = plural(accelerator.num_processes, "process")
    precision = "" if accelerator.mixed_precision == "no" else f", {accelerator.mixed_precision}"
    precision += told_by_environment()
    if accelerator.device.type == "cuda":
        return f"{torch.cuda.get_device_name(accelerator.device)}, {processes}{precision}"
    device = cpu() if accelerator.device.type == "cpu" else accelerator.device.type.upper()
    return f"{device}, {processes} of {plural(torch.get_num_threads(), 'thread')}{precision}"


def precision_on(told: str) -> str:
    """The precision of a run on this `hardware`."""
    return "bf16" if "bf16" in told.split(", ") else "no"


def cpu() -> str:
    """The CPU: its model where the system tells it, and the widest vector instructions that torch uses of it.

    Two CPUs of as many cores may differ tenfold in speed, and those of other instructions in the last bits.
    """
    instructions = torch.backends.cpu.get_cpu_capability()
    return f"CPU ({', '.join(filter(None, [model(), instructions if instructions != 'DEFAULT' else '']))})"


@functools.cache
def model() -> str:
    """The name that the CPU's maker gave it, or the kind of machine; no commas, which part what a record tells."""
    if CPUS.is_file():
        found = re.search(
            r"^model name\s*:(.*)", CPUS.read_text(encoding="utf-8", errors="replace"), re.MULTILINE
        )  # not every ARM tells it
        named = found[1] if found else ""
    elif platform.system() == "Darwin":
        named = subprocess.run(MAC, capture_output=True, text=True, check=False).stdout
    else:
        named = platform.processor()
    return " ".join(named.replace(",", " ").split()) or platform.machine()


def told_by_environment() -> str:
    """The variables that choose among ways to compute the same, as words of a record; "" for none."""
    found = [f"{name}={os.environ[name]}" for name in TOLD if os.environ.get(name)]
    return f", with {', '.join(found)}" if found else ""
