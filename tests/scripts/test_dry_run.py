"""The dry run of ImageNet-1k's recipes: it runs, and its estimate is arithmetic that a hand can do."""

import json

import pytest
from torch import nn

from hf_dd.core.resources import resource
from tests.scripts import loading

SCRIPT = resource("scripts", "dry_run.py")
CONV, LINEAR = 2 * 3 * 9 * 5 * 64, 2 * 320 * 7  # operations for an image of 8×8: two for each weight and place


@pytest.fixture(scope="module")
def script():
    """The script as a module."""
    return loading.script("dry_run")


def network():
    return nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.Flatten(), nn.Linear(320, 7))


@pytest.mark.parametrize(
    ("gradient", "layer", "operations", "kept"),
    [
        ("", None, CONV + LINEAR, 0),
        ("images", None, 2 * CONV + 2 * LINEAR, 3 * 64),  # a convolution keeps its input for frozen weights, too
        ("images", "0", 2 * CONV + LINEAR, 3 * 64),
        ("weights", None, 2 * CONV + 3 * LINEAR, 3 * 64 + 320),  # the first layer's images need no gradient
    ],
)
def test_operations_and_what_is_kept_are_those_of_the_layers(script, gradient, layer, operations, kept):
    found = script.counted(network(), 2, 8, gradient, layer)
    assert found["flops"] == 2 * operations
    assert found["kept"] == 2 * kept * 4


def test_hours_are_operations_over_speed(script):
    row = script.phase("a", images=1_000_000, batch=100, flops=100 * 3.6e9, tflops=20)
    assert (row["flops_per_image"], row["flops"]) == (3.6e9, 3.6e15) and row["hours"] == pytest.approx(0.05)


def test_an_estimate_counts_the_images_of_the_recipe(script):
    forward = 3_628_146_688  # of a ResNet-18 at 224 pixels, twice its multiplications
    rded = script.estimated("imagenet-1k-rded", 20)
    scores, students, tests = rded["phases"]
    assert (scores["images"], students["images"], tests["images"]) == (1_500_000, 3 * 300 * 10_000, 3 * 50_000)
    assert scores["flops_per_image"] == tests["flops_per_image"] == forward
    stem = 2 * 3 * 49 * 64 * 112**2  # whose images need no gradient
    assert students["flops_per_image"] == 2 * forward + 3 * forward - stem  # teacher, the slip's pass, and learning
    assert (scores["batch"], students["batch"]) == (41, 100)
    assert rded["memory"]["distillation"]["images"] == 10_000 * 3 * 224**2 * 4
    sre2l = script.estimated("imagenet-1k-sre2l", 40)
    steps = sre2l["phases"][0]
    assert (steps["images"], steps["batch"], steps["flops_per_image"]) == (4_000 * 50_000, 100, 2 * forward)
    assert steps["hours"] == pytest.approx(4_000 * 50_000 * 2 * forward / 40e12 / 3600)
    held = sre2l["memory"]["distillation"]  # one image of each class at a time, of 50
    assert held["1,000 images, their gradient, Adam's two moments"] == 4 * 1_000 * 3 * 224**2 * 4
    assert sum(held.values()) < 13e9 and sre2l["host_bytes"] == 50_000 * 3 * 224**2 * 4
    cim = script.estimated("imagenet-1k-cim", 20)
    assert cim["memory"]["distillation"]["decoded tiles, and their gradients twice"] == 3 * 4_000 * 3 * 224**2 * 4
    scores, steps = cim["phases"][:2]
    assert (scores["images"], steps["images"]) == (2 * 300_000, 200 * 40_000)
    assert 2 * forward < steps["flops_per_image"] < 3 * forward


@pytest.mark.slow
def test_a_recipe_runs_dry_and_is_not_run_again(forks, tmp_path):
    tiny = ["--network", "test_resnet", "--classes", 10, "--side", 32, "--recipes", "imagenet-1k-sre2l"]
    places = ["--work_dir", tmp_path / "work", "--output_dir", tmp_path]
    done = forks.run(SCRIPT, *tiny, *places)
    assert done.returncode == 0, done.stderr[-2000:]
    written = json.loads((tmp_path / "results.json").read_text())
    (row,) = written["rows"]
    assert (row["recipe"], row["steps"], row["student_images"]) == ("imagenet-1k-sre2l", 1, 10)
    assert row["step_s"] > 0 and row["student_s"] > 0
    assert all(used["peak_bytes"] > 3e8 and used["cpu_seconds"] > 0 for used in row["used"].values())
    said = (tmp_path / "results.md").read_text()
    assert "| imagenet-1k-sre2l | 10 | 32 | timm/test_resnet |" in said and "nothing of it measured" in said
    assert str(tmp_path) not in json.dumps(written) and str(tmp_path) not in said

    done = forks.run(SCRIPT, *tiny, *places, "--tflops", 40)
    assert done.returncode == 0 and "$ hf-dd" not in done.stdout
    again = json.loads((tmp_path / "results.json").read_text())
    assert again["rows"] == [row]
    for first, second in zip(written["estimates"], again["estimates"], strict=True):
        for one, other in zip(first["phases"], second["phases"], strict=True):
            assert other["hours"] == pytest.approx(one["hours"] / 2)
