"""`hf-dd reproduce STUDY`: its cells are made again, those of an earlier version too; on digits."""

import json
import shutil

import pytest
import yaml

import hf_dd
from hf_dd.artefacts.distilled_folder import Artefact
from hf_dd.distillation.distiller import Distiller
from hf_dd.studies import study
from tests.factories import message_of, says
from tests.test_old_artefacts import BEFORE

pytestmark = pytest.mark.usefixtures("one_thread", "nothing_remembered")

RECIPE = {
    "teachers": {"few": {"dataset": "digits", "architectures": ["MLP"], "teacher_seeds": [0, 1], "epochs": 1}},
    "base": {"dataset": "digits", "ipc": 1, "iterations": 2, "real_batch_size": 4, "eval_students": 2}
    | {"eval_epochs": 1, "architecture_options": ["width=8", "depth=1"], "eval_copies": ["float"]}
    | {"eval_architectures": ["MLP"], "baselines": ["random"]},
    "cells": {
        "plain": {},
        "guided": {"clom": "ce", "teachers": ["teachers/few/digits-mlp-seed1@final"]},
        "longer": {"set_of": "guided", "eval_epochs": 2},
    },
    "seeds": [0],
}


def test_a_study_is_made_again_with_its_own_teachers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(RECIPE))
    study.study(study="mine.yaml", output_dir="mine", push_to_hub=True, hub_dataset_id="a-study")
    with monkeypatch.context() as patch:
        patch.setattr(Distiller, "step", None)
        checked = hf_dd.reproduce(set="mine", check=True)
    assert checked.holds and not checked.ran and [part.holds for part in checked.parts] == [True] * 3
    steps, step = [], Distiller.step
    monkeypatch.setattr(Distiller, "step", lambda self, index, tell: steps.append(index) or step(self, index))
    verdict = hf_dd.reproduce(set="mine", cells=["guided", "longer"])
    assert verdict.holds and verdict.says == "2 of 2 cells hold" and steps == [0, 1]  # one set, evaluated twice
    assert [part.values.equal for part in verdict.parts] == [True, True]
    assert verdict.parts[0].notes == ("1 of its 1 own teachers came out to the byte",)
    root = tmp_path / "outputs/reproduce-mine"
    assert [path.name for path in (root / "teachers/few").iterdir()] == ["digits-mlp-seed1"]  # the only one named
    content = json.loads((root / "reproduction.json").read_text())
    assert content["of"] == "study" and [part["holds"] for part in content["parts"]] == [True, True]
    says(message_of("reproduce", "mine", "--cells", "guide"), "--cells names 'guide'", "guided")
    says(message_of("reproduce", "mine", "--verify_badge"), "--verify_badge is for a set or a teacher")
    assert "`hf-dd reproduce local/a-study@v1` makes its cells again" in (tmp_path / "mine/README.md").read_text()
    shutil.rmtree("mine")
    on_hub = hf_dd.reproduce(set="local/a-study@v1", cells=["guided"])
    assert on_hub.holds and on_hub.parts[0].values.equal and on_hub.at


def test_a_studys_own_experts_are_trained_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shape = ["width=8", "depth=1"]
    grid = {"dataset": "digits", "architectures": ["ConvNet"], "architecture_options": shape, "epochs": 2}
    own = ["student_steps=1", "expert_epochs=1", "max_start_epoch=1"]
    cell = {"objective": "mtt", "experts": ["teachers/few/convnet-seed0"], "objective_options": own}
    base = {name: value for name, value in RECIPE["base"].items() if name != "real_batch_size"}
    recipe = {
        "teachers": {"few": grid | {"keep_epochs": [0, 1, 2]}},
        "base": base,
        "cells": {"mtt": cell},
        "seeds": [0],
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(recipe))
    study.study(study="mine.yaml", output_dir="mine")
    shutil.move("mine", "elsewhere")  # where the experts of the record aren't
    assert hf_dd.reproduce(set="elsewhere", check=True, output_dir="checked").holds
    verdict = hf_dd.reproduce(set="elsewhere", output_dir="again")
    assert verdict.holds and verdict.parts[0].values.equal
    assert verdict.parts[0].notes[0] == "2 of its 2 own teachers came out to the byte"  # epochs 0 and 1


def test_cells_of_0_1_0_are_made_again_with_what_was_the_default_then(tmp_path, monkeypatch):
    shutil.copytree(BEFORE, tmp_path / "before")
    monkeypatch.chdir(tmp_path / "before")
    verdict = hf_dd.reproduce(set="study", output_dir="again")
    for part in verdict.parts:
        # The guided one's teacher had a single epoch, which took a tenth of its rate then: its weights are others now.
        near = 0.1 if "clom" in part.set else 1e-3
        assert part.ran and part.values.alike and part.values.largest < near, part
        again = Artefact.open(tmp_path / "before/again/cells" / part.set.rpartition(": ")[2]).record
        assert again.settings["init"] == "real" and again.settings["augment"] == "color_crop_cutout_flip_scale_rotate"
        assert {each.what: each.here for each in part.accuracies} == pytest.approx(
            {each.what: each.there for each in part.accuracies}, abs=1.5
        )


@pytest.mark.parametrize("name", ["distilled", "mtt"])
def test_sets_of_0_1_0_are_made_again(tmp_path, monkeypatch, name):
    shutil.copytree(BEFORE, tmp_path / "before")
    monkeypatch.chdir(tmp_path / "before")
    verdict = hf_dd.reproduce(set=name, output_dir="again")
    assert verdict.ran and verdict.values.alike and verdict.values.largest < 1e-3, verdict
