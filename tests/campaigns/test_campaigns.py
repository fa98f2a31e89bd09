"""A small fixed sample of every campaign: none of its tries ends badly."""

import socket
import subprocess
import sys

import pytest

from tests.forks import Forks

SAMPLES = {
    "environment": 3,
    "fuzz": 10,
    "hostile": 6,
    "hub_faults": 3,
    "kill": 3,
}  # campaign: how many of its tries


def command(name: str, tries: int) -> list[str]:
    return ["-m", f"tests.campaigns.{name}", "--tries", str(tries), "--minutes", "10"]


@pytest.fixture(scope="module")
def imported():
    """Forks for campaigns, whose commands look for a Hub at a port that none has yet."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    forks = Forks(HF_DD_CAMPAIGN_PORT=port, HF_ENDPOINT=f"http://127.0.0.1:{port}")
    yield forks
    forks.stop()


@pytest.mark.parametrize("name", SAMPLES)
def test_sample(name: str, imported: Forks) -> None:
    ended = imported.run(*command(name, SAMPLES[name]), timeout=300)
    assert ended.returncode == 0, ended.stdout + ended.stderr[-3000:]
    assert f"| all | {SAMPLES[name]} | {SAMPLES[name]} |" in ended.stdout


def test_sample_of_the_embedded_hub() -> None:
    done = subprocess.run([sys.executable, *command("embedded_hub", 22)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert "| all | 22 | 22 |" in done.stdout
