"""One embedded Hub for the whole session, and the environment that huggingface_hub reads at its first import.

Accounts: `local` (whose token the session has), `bob`, and the organization `lab` (member: local).
"""

import atexit
import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest

from hf_dd.local_hub import LocalHub
from tests.forks import Forks

if "huggingface_hub" in sys.modules:
    raise RuntimeError("huggingface_hub was imported before tests/conftest.py could set HF_ENDPOINT and HF_TOKEN.")

HUB = LocalHub(
    tempfile.mkdtemp(prefix="hf-dd-test-hub-"),
    user="local",
    token="hf_local_token",
    users={"bob": "hf_bob_token"},
    orgs={"lab": ["local"]},
).start()
atexit.register(shutil.rmtree, HUB.root, ignore_errors=True)
os.environ.update(HUB.environment())
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the other worker has the other core
os.environ.update(HF_DATASETS_DISABLE_PROGRESS_BARS="1", HF_HUB_DISABLE_PROGRESS_BARS="1", TQDM_DISABLE="1")

hypothesis.settings.register_profile(  # a machine with other work fails no test
    "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("untimed")

REPOSITORY_ROOT = Path(__file__).resolve().parents[1]
TINY = {"dataset": "digits", "epochs": 2, "batch_size": 128, "learning_rate": 0.05}


def pytest_unconfigure():
    """Stop the Hub at the end of the session, and remove its folder."""
    HUB.stop()
    shutil.rmtree(HUB.root, ignore_errors=True)


@dataclass(frozen=True)
class TinyTeachers:
    """Three teachers of digits with two epochs each: their references, and the folders that were pushed."""

    references: list[str]
    folders: list[Path]


@pytest.fixture(scope="module")
def one_thread():
    """For networks so small that threads only wait for each other, and for the bits of processes of one thread."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def hub():
    """The session's Hub."""
    return HUB


@pytest.fixture(scope="session")
def tiny_teachers(tmp_path_factory):
    """ConvNet (width 16, depth 2) of seeds 0 and 1, and MLP of seed 0, as `local/digits-convnet-seed0@final`, …"""
    import torch

    import hf_dd

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # these networks are so small that threads only wait for each other
    root = tmp_path_factory.mktemp("teachers")
    options = TINY | {"output_dir": str(root), "push_to_hub": True}
    pins = hf_dd.pretrain(
        architectures=["ConvNet"], architecture_options=["width=16", "depth=2"], teacher_seeds=[0, 1], **options
    )
    pins += hf_dd.pretrain(architectures=["MLP"], **options)
    torch.set_num_threads(threads)
    return TinyTeachers(
        [f"{pin.repo_id}@{pin.revision}" for pin in pins], [root / pin.repo_id.split("/")[1] for pin in pins]
    )


@pytest.fixture(scope="session")
def unique():
    """Makes names of repositories that nobody has: `unique()` is `local/repo-1`, `unique("bob")` is `bob/repo-2`."""
    numbers = itertools.count(1)
    return lambda owner="local": f"{owner}/repo-{next(numbers)}"


def kill_session(process):
    """End what a process that leads a session has left behind."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
def bf16(monkeypatch):
    """bf16 where it is asked for, on a CPU without it too, for networks so small that they may be slow."""
    from hf_dd.core import precision

    monkeypatch.setattr(precision, "has_bf16", lambda device: True)


@pytest.fixture(scope="session")
def run_python():
    """Runs `python ARGUMENTS` on this checkout with changed environment variables (None removes one)."""

    def run(*arguments, cwd=REPOSITORY_ROOT, **variables):
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY_ROOT)} | variables
        environment = {name: str(value) for name, value in environment.items() if value is not None}
        command = [sys.executable, *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, env=environment, cwd=cwd, start_new_session=True, **pipes) as process:
            try:
                printed = process.communicate(timeout=240)
            except subprocess.TimeoutExpired:
                process.terminate()  # and not killed at once: a launcher has to end its processes first
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=30)
                kill_session(process)
                pytest.fail(f"{' '.join(command)} took too long:\n{process.communicate()[1][-3000:]}")
            finally:
                kill_session(process)
        return subprocess.CompletedProcess(command, process.returncode, *printed)

    return run


@pytest.fixture(scope="session")
def launch(run_python, tmp_path_factory):
    """Runs `accelerate launch ARGUMENTS` on CPU processes of one thread, two unless told; it has to succeed.

    They remember nothing that this process has computed.
    """

    def run(*arguments, processes=2, **variables):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", processes]
        variables = {"HF_DATASETS_CACHE": tmp_path_factory.mktemp("cache")} | variables
        variables |= {"ACCELERATE_USE_CPU": 1, "OMP_NUM_THREADS": 1}
        done = run_python(*command, "--main_process_port", port, *arguments, **variables)
        assert done.returncode == 0, done.stderr[-3000:]
        return done

    return run


@pytest.fixture(scope="session")
def api():
    """A client of the embedded Hub."""
    from huggingface_hub import HfApi

    return HfApi()


@pytest.fixture(scope="session")
def forks():
    """Runs `python ARGUMENTS` as `run_python` does, in a fork of a process that has imported everything already.

    For what says nothing about imports, entry points or `accelerate launch`: a fork takes no seconds to start.
    """
    forks = Forks()
    yield forks
    forks.stop()


@pytest.fixture(scope="session")
def ranks_of(forks, tmp_path_factory):
    """Runs `python ARGUMENTS` in CPU processes of one thread that share it, two unless told; it has to succeed.

    They remember nothing that this process has computed.
    """

    def run(*arguments, processes=2, **variables):
        variables = {"HF_DATASETS_CACHE": tmp_path_factory.mktemp("cache")} | variables
        done = forks.run(*arguments, processes=processes, **variables, ACCELERATE_USE_CPU=1, OMP_NUM_THREADS=1)
        assert done.returncode == 0, done.stderr[-3000:]
        return done

    return run


@pytest.fixture
def nothing_remembered(tmp_path, monkeypatch):
    """Neither a score nor a pass over the real set is remembered from other tests."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def seen(monkeypatch):
    """Counts in `seen[0]` of how many images teachers make features."""
    from hf_dd.teachers.teacher import Teacher

    count, features = [0], Teacher.features

    def counting(self, images):
        count[0] += len(images)
        return features(self, images)

    monkeypatch.setattr(Teacher, "features", counting)
    return count
