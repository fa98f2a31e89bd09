"""`hf-dd use continual`: memories of the same bytes, how much is known after each step, what is written."""

import json
import re
import shutil

import pytest
import torch

import hf_dd
from hf_dd.config.uses import REAL, ContinualConfig
from hf_dd.core import progress
from hf_dd.synthetic import pruning
from hf_dd.uses import continual
from hf_dd.uses.subject import Subject
from tests.factories import message_of, says

pytestmark = pytest.mark.usefixtures("one_thread", "nothing_remembered")
SHORT = {"orders": 2, "steps": 2, "eval_epochs": 2, "eval_protocol": "dc", "baselines": ["random"]}
SHORT |= {"eval_architecture": "ConvNetD1"}


@pytest.mark.parametrize("name", ["Nope", "no_such_module:Net"])
def test_an_unknown_architecture_is_told_by_its_option(name):
    for use in ("continual", "privacy"):
        says(message_of("use", use, "x/y", "--eval_architecture", name), f"error: --eval_architecture {name}")


def test_accuracy_and_forgetting_of_a_toy():
    """Two classes of ten test images a step; of the first step's, 10, then 6, then 7 are right."""
    right, totals = [[10], [6, 8], [7, 4, 9]], [10, 10, 10]
    assert continual.seen(right, totals) == [100.0, 70.0, pytest.approx(100 * 20 / 30)]
    assert continual.forgetting(right, totals) == pytest.approx(100 * ((1.0 - 0.7) + (0.8 - 0.4)) / 2)


def test_what_is_learned_later_counts_as_less_forgotten():
    """Chaudhry et al. let it be below zero: the best before is compared with the end."""
    assert continual.forgetting([[5], [9, 10]], [10, 10]) == pytest.approx(-40.0)
    assert continual.seen([[5], [9, 10]], [10, 30]) == [50.0, pytest.approx(100 * 19 / 40)]


def test_steps_share_the_classes_and_each_order_is_its_own():
    orders = [continual.class_order(0, number, 10, 4) for number in range(3)]
    for order in orders:
        assert [len(step) for step in order] == [3, 3, 2, 2]
        assert sorted(label for step in order for label in step) == list(range(10))
    assert len({str(order) for order in orders}) == 3
    assert orders[1] == continual.class_order(0, 1, 10, 4)


UNTRAINED = [name for name in REAL if name not in pruning.METHODS]


@pytest.mark.parametrize(("copy", "baselines"), [("8bit", UNTRAINED), ("float", ["random", "herding"])])
def test_memories_have_the_same_bytes(real_set, copy, baselines):
    options = ContinualConfig(set=real_set, eval_protocol="dc", eval_copy=copy, baselines=baselines)
    own, *others = continual.memories_of(Subject.load("continual", options))
    values = {"8bit": 1, "float": 4}[copy]
    assert continual.memory_bytes(own) == 2 * 10 * 64 * values  # ipc, classes, pixels
    for other in others:
        drawn = other.of_student(1)
        assert drawn.images.dtype == torch.uint8 and drawn.images.numel() == continual.memory_bytes(own)
        assert continual.memory_bytes(drawn) == continual.memory_bytes(own)
        assert torch.bincount(drawn.labels).tolist() == [2 * values] * 10


def test_floats_that_real_images_of_their_bytes_are_too_few_for_are_told(tmp_path):
    options = {"dataset": "digits", "objective": "random", "eval_students": 0, "output_dir": str(tmp_path / "set")}
    folder = hf_dd.distill(ipc=40, **options).folder
    words = ["use", "continual", folder, "--eval_copy", "float", "--output_dir", tmp_path / "found"]
    told = ["40 float images of the class '0' would be beside 160 real ones", "digits has 142"]
    says(message_of(*words, "--eval_protocol", "dc"), *told, "--eval_copy 8bit", "--baselines without a value")


def test_a_student_is_told_while_it_learns(real_set, caplog, monkeypatch):
    subject = Subject.load("continual", ContinualConfig(set=real_set, eval_protocol="dc", eval_epochs=3))
    for name in ("UNTOLD", "REFRESH", "FIRST_LINE"):
        monkeypatch.setattr(progress, name, 0)
    caplog.set_level("INFO")
    subject.spread("steps", [0], lambda student: subject.trained(subject.own, "MLP", student))
    assert [text for text in caplog.messages if re.match("steps: 0 of 1 student in .* student 0: . of 3 epochs", text)]


def test_a_part_of_a_memory_is_of_its_classes_alone(real_set):
    own, _, herding = continual.memories_of(
        Subject.load("continual", ContinualConfig(set=real_set, eval_protocol="dc"))
    )
    for memory in (own, herding):
        part = continual.of_classes(memory, [7, 3])
        assert sorted(part.labels.tolist()) == [3, 3, 7, 7]
        kept = [place for place, label in enumerate(memory.labels.tolist()) if label in (3, 7)]
        assert torch.equal(part.images, memory.images[kept])


def test_what_is_written_follows_from_what_was_right(real_set, tmp_path, unique):
    pushed = hf_dd.push(real_set, unique(), tag="v1").pin
    options = SHORT | {"set": f"{pushed.repo_id}@v1", "output_dir": str(tmp_path / "found")}
    folder = continual.continual(**options)
    found = json.loads((folder / "results.json").read_text())
    assert found["command"].startswith(f"hf-dd use continual --set {pushed.repo_id}@{pushed.sha} --eval_")
    assert str(tmp_path) not in found["command"] and "--dataset" not in found["command"]
    assert found["n"] == 2 and found["code"].startswith("hf-dd ") and found["versions"]["torch"]
    assert [row["bytes"] for row in found["rows"]] == [1280, 1280]
    own, random = found["rows"]
    for row in (own, random):
        curves = [continual.seen(*of) for of in zip(row["right"], found["tested"], strict=True)]
        assert row["scores"]["final"] == [curve[-1] for curve in curves]
        assert row["after_each_step"][0]["mean"] == pytest.approx((curves[0][0] + curves[1][0]) / 2)
        for of_order, totals in zip(row["right"], found["tested"], strict=True):
            assert all(0 <= right <= total for right, total in zip(of_order[-1], totals, strict=True))
    gain = [a - b for a, b in zip(own["scores"]["final"], random["scores"]["final"], strict=True)]
    assert found["differences"]["random"]["final"]["mean"] == pytest.approx(sum(gain) / 2)
    text = (folder / "results.md").read_text()
    says(text, "1,280", "forgetting", "against random", "n = 2 orders", found["command"])


def test_two_processes_find_what_one_finds(real_set, ranks_of, tmp_path):
    words = ["--orders", 2, "--steps", 2, "--eval_epochs", 2, "--eval_protocol", "dc", "--baselines", "random"]
    words += ["--eval_architecture", "ConvNetD1", "--output_dir", tmp_path / "two"]
    ranks_of("-m", "hf_dd", "use", "continual", real_set, *words)
    alone = continual.continual(set=real_set, **SHORT | {"output_dir": str(tmp_path / "one")})
    found = [json.loads((folder / "results.json").read_text()) for folder in (tmp_path / "two", alone)]
    assert found[0]["rows"] == found[1]["rows"]
    assert found[0]["command"].startswith("accelerate launch --multi_gpu --num_processes 2 -m hf_dd use continual ")


def test_a_set_without_a_record_needs_its_data(real_set, tmp_path):
    shutil.copytree(real_set, tmp_path / "bare")
    (tmp_path / "bare" / "hf_dd.json").unlink()
    says(message_of("use", "continual", tmp_path / "bare"), "bare", "--dataset")
    says(message_of("use", "continual"), "Name a distilled set")
    says(message_of("use", "continual", tmp_path / "none"), "There is no distilled set", "none")


def test_more_steps_than_classes_are_refused(real_set):
    message = message_of("use", "continual", real_set, "--eval_protocol", "dc", "--steps", 11)
    says(message, "--steps 11", "digits has 10 classes")
