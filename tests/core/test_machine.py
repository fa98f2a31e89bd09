"""What a record says of the machine: the CPU by its name, its instructions, processes, threads, precision."""

import subprocess

import pytest
import torch

from hf_dd.core import machine
from hf_dd.core.processes import new_accelerator


@pytest.fixture
def on(monkeypatch, tmp_path):
    """Let the machine be a Linux whose /proc/cpuinfo says this, or (None) a system without one."""

    def on(text, system="Linux", **how):
        if text is not None:
            (tmp_path / "cpuinfo").write_text(text)
        monkeypatch.setattr(machine, "CPUS", tmp_path / "cpuinfo")
        monkeypatch.setattr(machine.platform, "system", lambda: system)
        monkeypatch.setattr(machine.platform, "machine", lambda: "aarch64")
        monkeypatch.setattr(machine.platform, "processor", lambda: how.get("processor", ""))
        done = subprocess.CompletedProcess([], 0, stdout=how.get("stdout", ""))
        monkeypatch.setattr(machine.subprocess, "run", lambda *_, **__: done)
        machine.model.cache_clear()

    yield on
    machine.model.cache_clear()


X86 = "processor\t: 0\nmodel\t\t: 1\nmodel name\t: Some  CPU, v3 @ 2.00GHz\n\nprocessor\t: 1\nmodel name\t: Other\n"


@pytest.mark.parametrize(
    ("text", "how", "name"),
    [
        (X86, {}, "Some CPU v3 @ 2.00GHz"),
        ("processor\t: 0\nBogoMIPS\t: 50.00\n", {}, "aarch64"),  # an ARM that doesn't tell it
        (None, {"system": "Darwin", "stdout": "Apple M4\n"}, "Apple M4"),
        (None, {"system": "Windows", "processor": "AMD64 Family 25"}, "AMD64 Family 25"),
        (None, {"system": "Windows"}, "aarch64"),
    ],
)
def test_a_cpu_is_told_by_its_name(on, text, how, name, monkeypatch):
    on(text, **how)
    for instructions, told in (("AVX2", f"CPU ({name}, AVX2)"), ("DEFAULT", f"CPU ({name})")):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda found=instructions: found)
        assert machine.cpu() == told
        assert machine.hardware(new_accelerator("no")) == f"{told}, 1 process of 1 thread"


@pytest.mark.parametrize(
    ("hardware", "precision"),
    [
        ("CPU, 1 process of 2 threads, bf16", "bf16"),  # as records of 0.1.0 have it
        ("NVIDIA bf16 9000, 2 processes", "no"),
        ("CPU (Some CPU, AVX512), 1 process of 2 threads, bf16, with MKL_CBWR=AVX2, TORCH_COMPILE_DISABLE=1", "bf16"),
        ("CPU (Some CPU, AVX2), 1 process of 2 threads", "no"),
    ],
)
def test_the_precision_is_read_off_a_record(hardware, precision):
    assert machine.precision_on(hardware) == precision
