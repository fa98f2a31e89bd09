"""What the environment may say of a run: its processes and devices, and nothing that changes what is computed."""

import pytest
import torch

from hf_dd.core.machine import TOLD, hardware
from hf_dd.core.processes import REFUSED, new_accelerator, processes, several_on_cpus
from hf_dd.errors import ConfigError


@pytest.mark.parametrize(
    "variables",
    [
        {"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4"},
        {"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "many"},
        {"ACCELERATE_DYNAMO_BACKEND": "INDUCTOR", "ACCELERATE_DYNAMO_USE_DYNAMIC": "perhaps"},
        {"ACCELERATE_MIXED_PRECISION": "fp8"},
    ],
)
def test_the_options_alone_make_the_accelerator(variables, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    accelerator = new_accelerator("no")
    parameter = torch.nn.Parameter(torch.ones(2))
    accelerator.backward((3 * parameter).sum())
    assert parameter.grad.tolist() == [3, 3]
    assert accelerator.mixed_precision == "no" and accelerator.state.dynamo_plugin.backend.value == "NO"


@pytest.mark.parametrize("name", REFUSED)
def test_what_cant_be_kept_out_is_refused_by_name(name, monkeypatch):
    monkeypatch.setenv(name, "False")
    new_accelerator("no")
    monkeypatch.setenv(name, "True")
    with pytest.raises(ConfigError, match=f"The environment has {name}=True.* unset it"):
        new_accelerator("no")


def test_what_chooses_among_ways_to_compute_the_same_is_told(monkeypatch):
    for name in TOLD:
        monkeypatch.delenv(name, raising=False)
    plain = hardware(new_accelerator("no"))
    assert ", with" not in plain
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    monkeypatch.setenv("TORCHDYNAMO_DISABLE", "1")
    assert hardware(new_accelerator("no")) == f"{plain}, with ATEN_CPU_CAPABILITY=avx2, TORCHDYNAMO_DISABLE=1"


@pytest.mark.parametrize(
    ("name", "value"),
    [("ACCELERATE_TORCH_DEVICE", "nonsense"), ("ACCELERATE_USE_CPU", "perhaps"), ("LOCAL_RANK", "x")],
)
def test_what_accelerate_cant_make_sense_of_is_one_error(name, value, forks):
    done = forks.run("-m", "hf_dd", "distill", "--ipc", "1", "--output_dir", "/proc/none", **{name: value})
    assert done.returncode == 1 and "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("hf-dd: error: ")]
    assert f"{name}={value}" in line


@pytest.mark.parametrize("begin", [processes, lambda: new_accelerator("no")])
def test_more_processes_than_gpus_are_one_error(begin, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name, value in {"TORCHELASTIC_RUN_ID": "none", "LOCAL_RANK": "2", "LOCAL_WORLD_SIZE": "3"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="^3 processes were launched .* GPUs, of which it has 2"):
        begin()


def test_several_processes_of_a_mac_are_one_run_on_its_cpu(monkeypatch):
    """accelerate takes each for the only one there, as it has no processes for its GPU."""
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: torch.device("mps"))
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert not several_on_cpus()
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert several_on_cpus()
