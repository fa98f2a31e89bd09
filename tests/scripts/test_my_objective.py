"""The example of an objective that people copy."""

import json
import sys

import pytest
import torch

from hf_dd.core.registry import OBJECTIVES
from hf_dd.data.image_data import load_data
from hf_dd.errors import ConfigError
from tests.conftest import REPOSITORY_ROOT
from tests.factories import make_config, make_data, make_set, make_step, optimise


@pytest.fixture
def MyObjective(monkeypatch):  # noqa: N802
    monkeypatch.setattr(sys, "path", [*sys.path, str(REPOSITORY_ROOT / "scripts")])
    monkeypatch.setattr(OBJECTIVES, "_definitions", dict(OBJECTIVES._definitions))
    monkeypatch.setattr(OBJECTIVES, "_words", dict(OBJECTIVES._words))
    yield OBJECTIVES.find("my_objective:MyObjective")
    del sys.modules["my_objective"]


def test_it_runs_from_its_folder(forks, tmp_path):
    options = ["--ipc", "1", "--iterations", "4", "--architecture_options", "width=8", "--eval_students", "0"]
    options += ["--objective_options", "spread=0.5", "--output_dir", tmp_path / "set"]
    command = ["-P", "-m", "hf_dd", "distill", "--objective", "my_objective:MyObjective", *options]
    done = forks.run(*command, cwd=REPOSITORY_ROOT / "scripts", OMP_NUM_THREADS=1)
    assert done.returncode == 0, done.stderr[-3000:]
    record = json.loads((tmp_path / "set/hf_dd.json").read_text())
    assert record["name"] == "digits-my-objective-myobjective-ipc1"
    assert record["plugins"]["objective my_objective:MyObjective"]["module"] == "my_objective"
    card = (tmp_path / "set/README.md").read_text()
    assert "made by\nmatching of the means and variances of features." in card
    assert " --objective my_objective:MyObjective " in card
    assert "Plug-ins: objective `my_objective:MyObjective` of the module my_objective (sha256 `" in card


def test_it_brings_the_images_nearer_to_their_classes(MyObjective):  # noqa: N803
    data = load_data("digits")
    objective = MyObjective(make_config(objective="my_objective:MyObjective"), data)
    initial = make_set(data, 1)

    def distance(synthetic):
        return sum(next(objective.losses(make_step(synthetic, data, 1000))).values()).item()

    before = distance(initial)
    optimise(objective, initial, data, steps=20)
    assert distance(initial) < before / 2


@pytest.mark.parametrize("ranks", [2, 5])
def test_processes_share_its_loss(MyObjective, ranks):  # noqa: N803
    data = make_data()
    objective = MyObjective(make_config(objective="my_objective:MyObjective"), data)
    synthetic = make_set(data)

    def loss_and_gradient(rank, ranks):
        (losses,) = objective.losses(make_step(synthetic, data, 3, rank, ranks))
        return losses["moments"].detach(), torch.autograd.grad(losses["moments"], synthetic.pixels)[0]

    whole = loss_and_gradient(0, 1)
    parts = [loss_and_gradient(rank, ranks) for rank in range(ranks)]
    for alone, shared in zip(whole, zip(*parts, strict=True), strict=True):
        torch.testing.assert_close(sum(shared), alone)


def test_its_options_are_checked(MyObjective):  # noqa: N803
    config = make_config(objective="my_objective:MyObjective", objective_options=["spread=wide"])
    with pytest.raises(ConfigError, match="--objective_options spread is 'wide'; it has to be a number"):
        MyObjective(config, make_data())
