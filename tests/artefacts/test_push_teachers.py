"""Pushes of teachers' runs: all of one or nothing, whatever the repository holds already."""

import json
import shutil
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from safetensors.torch import load_file, save_file

import hf_dd
from hf_dd import hub
from hf_dd.artefacts import student_folder, teacher_folder
from hf_dd.config import PretrainConfig
from hf_dd.data.image_data import load_data
from hf_dd.errors import HubError
from hf_dd.studies import study
from hf_dd.teachers.pool import TeacherPool
from tests.artefacts.test_push import BEFORE, TEACHER

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def teacher(tmp_path):
    """A run with epochs 0, 1 and 2."""
    return Path(shutil.copytree(BEFORE / TEACHER, tmp_path / "teacher"))


def keeping(teacher, *epochs):
    """A copy of a run that kept these epochs alone, the last as its final."""
    folder = shutil.copytree(teacher, teacher.with_name("of-" + "-".join(map(str, epochs))))
    for place in folder.glob("epoch-*"):
        if int(place.name.removeprefix("epoch-")) not in epochs:
            shutil.rmtree(place)
    teacher_folder.write_run(folder, epochs)
    return folder


def with_other_weights(teacher, epoch):
    """A copy of a run one of whose epochs has other weights."""
    folder = shutil.copytree(teacher, teacher.with_name(f"other-{epoch}"))
    weights = folder / f"epoch-{epoch}/model.safetensors"
    save_file({name: value + 1 for name, value in load_file(weights).items()}, weights)
    return folder


def state(repo_id):
    refs = hub.refs(repo_id, "model")
    return {**refs[0], **refs[1]}


def epoch_at(reference):
    return TeacherPool.from_references([reference])[0].spec.epoch


@pytest.mark.parametrize("kept", [(1, 2), (0, 1, 2)])
def test_another_runs_repository_is_left_as_it_is(teacher, unique, kept):
    repo_id = unique()
    teacher_folder.push_teacher(keeping(teacher, 2) if kept == (1, 2) else keeping(teacher, 0, 2), repo_id=repo_id)
    before, folder = state(repo_id), with_other_weights(keeping(teacher, *kept), 2)
    with pytest.raises(HubError, match=f"{repo_id} holds the weights of another run than {folder}") as raised:
        hf_dd.push(folder, repo_id)
    assert state(repo_id) == before and "Retry" not in str(raised.value)


def test_a_longer_run_does_not_go_into_the_repository_of_a_shorter_one(teacher, unique):
    repo_id = unique()
    hf_dd.push(keeping(teacher, 0, 1), repo_id)
    before = state(repo_id)
    with pytest.raises(HubError, match="another run .* push that to another repository by `hf-dd push "):
        hf_dd.push(teacher, repo_id)
    assert state(repo_id) == before


def test_a_grid_is_trained_though_a_push_is_refused(teacher, tmp_path):
    for name in ("digits-mlp-seed31", "digits-mlp-seed33"):
        hf_dd.push(teacher, f"lab/{name}")
    options = {"dataset": "digits", "architectures": ["MLP"], "batch_size": 512, "epochs": 1, "hub_namespace": "lab"}
    with pytest.raises(HubError, match="seed31 holds .*seed33 holds ") as raised:
        hf_dd.pretrain(teacher_seeds=[31, 32, 33], output_dir=str(tmp_path / "out"), push_to_hub=True, **options)
    for seed in (31, 32, 33):
        assert epoch_at(str(tmp_path / f"out/digits-mlp-seed{seed}")) == 1
    assert {"epoch-1", "final"} == hub.tags("lab/digits-mlp-seed32", "model").keys()
    assert "hf-dd push" in str(raised.value)


def test_an_earlier_epoch_that_comes_later_leaves_main_at_the_final_one(teacher, unique):
    repo_id = unique()
    hf_dd.push(keeping(teacher, 0, 2), repo_id)
    final = hub.tags(repo_id, "model")["final"]
    assert hf_dd.push(teacher, repo_id).sha == final
    assert [epoch_at(f"{repo_id}{at}") for at in ("", "@final", "@epoch-1", "@epoch-2")] == [2, 2, 1, 2]
    before = state(repo_id)
    hf_dd.push(teacher, repo_id)
    assert state(repo_id) == before
    teacher_folder.write_run(teacher, (0, 1, 2), repo_id.partition("/")[2])
    assert before["main"] != final and teacher_folder.is_pushed(teacher, None)


@pytest.mark.parametrize("gone", [("epoch-2", "final"), ("final",), ("epoch-1",)])
def test_a_study_completes_a_push_that_was_interrupted(tmp_path, gone):
    options = {"dataset": "digits", "architectures": ["MLP"], "batch_size": 512, "epochs": 2, "keep_epochs": [1, 2]}
    options |= {"teacher_seeds": [34 + len("".join(gone))], "output_dir": str(tmp_path), "push_to_hub": True}
    (pin,) = hf_dd.pretrain(**options)
    before = hub.tags(pin.repo_id, "model")
    for tag in gone:
        HfApi().delete_tag(pin.repo_id, tag=tag)
    config = PretrainConfig(**options)
    study.pretrain_missing(config, tmp_path / pin.repo_id.partition("/")[2], load_data(config))
    assert hub.tags(pin.repo_id, "model").keys() == before.keys()
    assert epoch_at(pin.repo_id) == 2


def test_students_are_compared_before_any_is_pushed(unique, tmp_path):
    repo_id, folder = unique(), tmp_path / "students"
    pin = hf_dd.push(shutil.copytree(BEFORE / "distilled", tmp_path / "set"), unique()).pin
    hf_dd.evaluate(
        sets=[f"{pin.repo_id}@{pin.revision}"],
        eval_students=2,
        eval_epochs=[1],
        eval_architectures=["MLP"],
        eval_copies=["float"],
        baselines=[],
        push_students=repo_id,
        save_students=str(folder),
        output_dir=str(tmp_path / "out"),
    )
    (row,) = {path.parent.parent for path in folder.rglob("hf_dd.json")}
    tags = hub.tags(repo_id, "model")
    assert len(tags) == 2
    records = {seed: json.loads((row / f"seed-{seed}/hf_dd.json").read_text())["accuracy"] for seed in (0, 1)}
    last = max((0, 1), key=lambda seed: (records[seed] == min(records.values()), seed))
    HfApi().delete_tag(repo_id, tag=f"seed-{1 - last}")
    weights = row / f"seed-{last}/model.safetensors"
    save_file({name: value + 1 for name, value in load_file(weights).items()}, weights)
    with pytest.raises(HubError, match="holds another run's weights"):
        student_folder.push_row(row, repo_id, [0, 1])
    assert hub.tags(repo_id, "model").keys() == {f"seed-{last}"}
