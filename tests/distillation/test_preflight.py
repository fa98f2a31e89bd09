"""What doesn't fit together in a distillation's options is said at once, before anything is read."""

import dataclasses
import re

import pytest

import hf_dd
from hf_dd.config import DistillConfig
from hf_dd.core.registry import OBJECTIVES
from hf_dd.distillation.checks import preflight
from hf_dd.errors import ConfigError


def lines_of(**options):
    with pytest.raises(ConfigError) as error:
        preflight(DistillConfig(**options))
    return str(error.value).splitlines()


def test_all_that_does_not_fit_is_said_at_once():
    found = lines_of(
        objective="mtt",
        real_batch_size=3,
        init="real",
        selection_epochs=2,
        objective_options=["steps=2"],
        teachers=["a/b"],
    )
    assert [line.split(":")[0] for line in found] == [
        "--real_batch_size has no meaning for --objective mtt",
        "--objective_options",
        "--selection_epochs has no meaning for --init real",
        "--objective mtt needs expert trajectories",
        "--teachers has no effect without a guide",
    ]


def test_all_settings_that_a_method_does_not_have_are_named():
    found = lines_of(objective="random", iterations=3, image_optimizer="adam", init="noise", experts=["a/b"])
    assert len(found) == 4 and all("has no meaning for --objective random: leave it out." in line for line in found)


@pytest.mark.parametrize("options", [{"objective": "clom"}, {"objective": "clom", "teachers": ["a/b"]}])
def test_one_mistake_is_one_line(options):
    (line,) = lines_of(**options)
    assert line == "--objective clom is CLoM alone: add --clom ce or --clom cos, and teachers."


def test_a_published_start_that_needs_teachers_is_named(monkeypatch):
    published = dataclasses.replace(OBJECTIVES["dm"].published, init="teacher-score")
    monkeypatch.setattr(OBJECTIVES["dm"], "published", published)
    (line,) = lines_of(objective="dm")
    assert line.startswith("--init teacher-score needs teachers: give --teachers")


def test_the_start_that_a_paper_takes_for_a_data_set_is_the_one_that_is_judged():
    config = DistillConfig(dataset="cifar100", objective="datm", ipc=50, published=True, experts=["a/b"])
    assert OBJECTIVES["datm"].published.start(config) == "real"
    preflight(dataclasses.replace(config, ipc=10, init="herding", selection_epochs=1))
    with pytest.raises(ConfigError, match="--selection_epochs has no meaning for --init real"):
        preflight(dataclasses.replace(config, selection_epochs=1))


def test_the_methods_that_read_logits_are_those_that_a_fitted_head_is_for():
    head = {"teachers": ["a/b"], "fit_head": True}
    (line,) = lines_of(clom="cos", **head)
    readers = re.search("--objective with one of (.*).$", line)[1].split(", ")
    assert {"cim", "dance", "fadrm", "ncfm", "rded", "sre2l", "teacher-score", "teacher-score-hard"} <= {*readers}
    for name in readers:
        preflight(DistillConfig(objective=name, **head))


def test_it_is_said_before_anything_is_read(tmp_path):
    with pytest.raises(ConfigError, match="--experts has no meaning for --objective dm"):
        hf_dd.distill(dataset=str(tmp_path / "nothing"), experts=["a/b"], output_dir=str(tmp_path / "run"))
    assert list(tmp_path.iterdir()) == []
