"""A small fixed sample of every campaign: none of its tries ends badly."""

import subprocess
import sys

import pytest

SAMPLES = {
    "embedded_hub": 22,
    "environment": 3,
    "fuzz": 10,
    "hostile": 6,
    "hub_faults": 3,
    "kill": 3,
}  # campaign: how many of its tries


@pytest.mark.parametrize("name", SAMPLES)
def test_sample(name: str) -> None:
    command = [sys.executable, "-m", f"tests.campaigns.{name}", "--tries", str(SAMPLES[name]), "--minutes", "10"]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr[-3000:]
    assert f"| all | {SAMPLES[name]} | {SAMPLES[name]} |" in ended.stdout
