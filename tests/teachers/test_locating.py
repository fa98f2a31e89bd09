"""Where a teacher lies, by whatever name it is typed, and who is trusted by it."""

import os
from pathlib import Path

import pytest

import hf_dd
from hf_dd.config.commands import PoolVerifyOptions
from hf_dd.errors import TeacherError
from hf_dd.runs import pools
from hf_dd.teachers.pool import TeacherPool
from tests.factories import distil, message_of, pickled, says


def loaded(reference, trusted=()):
    return TeacherPool.from_references([reference], trusted=trusted).specs[0]


@pytest.mark.parametrize("revision", ["epoch-1", "main", "v17-nowhere", "final"])
def test_an_epoch_has_no_revisions_but_itself(tiny_teachers, revision):
    epoch = tiny_teachers.folders[0] / "epoch-2"
    with pytest.raises(TeacherError, match=f"{epoch} is itself one epoch or model, of which there is no '{revision}'"):
        loaded(f"{epoch}@{revision}")
    assert loaded(f"{epoch}@epoch-2") == loaded(str(epoch)) == loaded(f"{epoch}@")
    assert loaded(f"{epoch.parent}@epoch-1").epoch == 1


@pytest.mark.parametrize("name", ["pick", "./pick", "pick/", "{}/pick", "{}/pick/", "pick@pick"])
@pytest.mark.parametrize("trusted", ["pick", "./pick", "pick/", "{}/pick", "{}/pick/"])
def test_a_folder_is_trusted_however_it_is_typed(tmp_path, monkeypatch, name, trusted):
    monkeypatch.chdir(tmp_path)
    if not os.path.exists("pick"):
        pickled(Path("pick"))
    assert loaded(name.format(tmp_path), [trusted.format(tmp_path)]).trusted


def test_a_repository_is_trusted_with_its_revision(tiny_teachers):
    reference = tiny_teachers.references[0]
    for name in (reference, reference.split("@")[0], reference.replace("@final", "@main")):
        assert loaded(reference, [name]).trusted
    assert not loaded(reference, ["local/other", str(tiny_teachers.folders[0])]).trusted


def test_a_name_that_no_teacher_has_is_refused(tiny_teachers, tmp_path):
    first, _, mlp = tiny_teachers.references
    options = {"objective": "random", "soft_labels": "mean", "iterations": None, "real_batch_size": None}
    options |= {"architecture_options": [], "teachers": [mlp]}
    with pytest.raises(TeacherError, match="--trusted_teachers local/somebody would be without effect.* local/digits"):
        distil(tmp_path / "set", **options, trusted_teachers=[mlp, "local/somebody"])
    assert not (tmp_path / "set").exists()
    distil(tmp_path / "set", **options, trusted_teachers=[mlp, first], eval_teachers=[first])
    hf_dd.create_pool("Trusted", [first], output=tmp_path / "pool.json")
    for use in ("verify", "show"):
        words = ["pool", use, tmp_path / "pool.json", "--trusted_teachers", "local/somebody"]
        says(message_of(*words, *["--dataset", "digits"] * (use == "show")), "local/somebody would be without effect")
    with pytest.raises(TeacherError, match="would be without effect"):
        hf_dd.create_pool("Trusted", [first], trusted=["local/somebody"])
    folders = [str(tiny_teachers.folders[0]), f"{tiny_teachers.folders[0]}@epoch-1"]
    distil(tmp_path / "other", **options | {"teachers": folders}, trusted_teachers=folders[:1])
    assert list(pools.verify(PoolVerifyOptions(pool=str(tmp_path / "other"), trusted_teachers=folders)))
