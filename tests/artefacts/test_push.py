"""Pushes: what was interrupted tells of no push, and the snippets of what was pushed run as they stand."""

import re
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import DatasetCard, HfApi

import hf_dd
from hf_dd import hub
from hf_dd.artefacts import teacher_folder
from hf_dd.artefacts.distilled_folder import Artefact
from hf_dd.errors import ConfigError, HubError, RunError
from hf_dd.studies import publish
from hf_dd.studies.outcomes import Outcome

BEFORE = Path(__file__).parents[1] / "fixtures" / "before"
TEACHER = "teachers/digits-convnet-seed0"


def push_study(folder, repo_id):
    outcomes = {name: Outcome.of([folder / f"cells/{name}-seed0"]) for name in ("dm", "dm-clom")}
    return publish.push_study(folder, outcomes, repo_id)


PUSHES = {"distilled": hf_dd.push, "imported": hf_dd.push, TEACHER: hf_dd.push, "study": push_study}


@pytest.fixture
def folder(request, tmp_path):
    """A copy of what an earlier version wrote."""
    return Path(shutil.copytree(BEFORE / request.param, tmp_path / Path(request.param).name))


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def snippets(text):
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def run_snippets(text, path="nowhere"):
    """What the snippets of a card define, run one after another; the placeholder stands for `path`."""
    names = {}
    for snippet in snippets(text):
        exec(snippet.replace("PATH_OF_THIS_FOLDER", str(path)), names)
    return names


everything = pytest.mark.parametrize(("folder", "kind"), [(kind, kind) for kind in PUSHES], indirect=["folder"])


@everything
@pytest.mark.parametrize(
    ("moment", "error", "told"),
    [("create_commit", KeyboardInterrupt(), KeyboardInterrupt), ("create_tag", OSError("disk"), HubError)],
    ids=["create_commit", "create_tag"],
)
def test_an_interrupted_push_leaves_the_folder_as_it_was(folder, kind, moment, error, told, unique, monkeypatch):
    before, repo_id = content(folder), unique()

    def interrupted(self, *given, **named):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(HfApi, moment, interrupted)
        with pytest.raises(told):
            PUSHES[kind](folder, repo_id)
    assert content(folder) == before
    PUSHES[kind](folder, repo_id)  # and it goes on where it stopped


@pytest.mark.parametrize("folder", ["distilled"], indirect=True)
def test_a_push_that_is_killed_leaves_the_folder_as_it_was(folder, unique, forks):
    before = content(folder)
    code = """
import os, sys
from huggingface_hub import DatasetCard, HfApi
import hf_dd
HfApi.create_commit = lambda *given, **named: os._exit(9)
hf_dd.push(sys.argv[1], sys.argv[2])
"""
    assert forks.run("-c", code, folder, unique()).returncode == 9
    assert content(folder) == before


@everything
def test_a_push_that_the_hub_refuses_leaves_the_folder_as_it_was(folder, kind, unique):
    before = content(folder)
    with pytest.raises(HubError, match="write access.*Nothing is lost"):
        PUSHES[kind](folder, unique("bob"))
    assert content(folder) == before


@pytest.mark.parametrize("folder", ["distilled", "imported"], indirect=True)
def test_a_pushed_sets_snippet_runs_and_so_does_that_of_a_folder(folder, unique):
    repo_id = unique()
    local = run_snippets((folder / "README.md").read_text(), folder)
    pin = hf_dd.push(folder, repo_id).pin
    card = (hub.pull(pin, "dataset") / "README.md").read_text()
    assert f'"{repo_id}"' in card and 'revision="v1"' in card and "PATH_OF_THIS_FOLDER" not in card
    names = run_snippets(card)
    assert torch.equal(names["images"], local["images"]) and torch.equal(names["labels"], local["labels"])
    assert content(folder)[Path("README.md")].decode() == card
    assert Artefact.open(folder).record.pushed == {"repo_id": repo_id, "tag": "v1"}


@pytest.mark.parametrize("folder", ["distilled"], indirect=True)
def test_a_pull_request_has_no_tag_in_record_and_card(folder, unique):
    repo_id = unique()
    request = hf_dd.push(folder, repo_id, create_pr=True)
    card = (hub.pull(hub.resolve(f"{repo_id}@refs/pr/1", "dataset"), "dataset") / "README.md").read_text()
    assert request.pin.revision == "refs/pr/1" and hub.tags(repo_id, "dataset") == {}
    assert f'load_dataset("{repo_id}", "decoded", split="train")' in card
    assert Artefact.open(folder).record.pushed == {"repo_id": repo_id, "tag": None}


@pytest.mark.parametrize("folder", [TEACHER], indirect=True)
def test_a_pushed_teachers_snippet_names_its_epoch_and_runs(folder, unique):
    before, repo_id = content(folder), unique()
    hf_dd.push(folder, repo_id)
    assert content(folder) == before  # the folder is still a folder, and is named by its path
    for revision, epoch in (("epoch-0", 0), ("epoch-1", 1), ("epoch-2", 2), ("final", 2)):
        card = (hub.pull(hub.resolve(f"{repo_id}@{revision}")) / "README.md").read_text()
        assert f'["{repo_id}@epoch-{epoch}"]' in card and "OWNER" not in card and "PATH_OF" not in card
        names = run_snippets(card)
        assert names["teacher"].spec.epoch == epoch and names["teacher"].spec.repo_id == repo_id
        local = hf_dd.TeacherPool.from_references([f"{folder}@epoch-{epoch}"])[0]
        torch.testing.assert_close(names["logits"], local(names["images"]))


@pytest.mark.parametrize("folder", [TEACHER], indirect=True)
def test_a_teachers_snippet_in_its_folder_names_the_folder(folder, unique):
    record = teacher_folder.read_teacher(folder / "epoch-1")
    names = run_snippets(record.card(hub.endpoint()), folder / "epoch-1")
    assert names["teacher"].spec.epoch == 1 and names["logits"].shape == (len(names["images"]), 10)


@pytest.mark.parametrize("folder", [TEACHER], indirect=True)
def test_a_teacher_whose_record_is_of_another_kind_is_refused_by_name(folder, unique):
    (folder / "epoch-1/hf_dd.json").write_text('{"kind": "teacher"}')
    with pytest.raises(RunError, match=r"epoch-1/hf_dd\.json isn't a record of this version of hf-dd"):
        hf_dd.push(folder, unique())


@pytest.mark.parametrize("folder", ["study"], indirect=True)
def test_a_pushed_studys_snippet_runs(folder, unique):
    repo_id = unique()
    pin = push_study(folder, repo_id).pin
    card = (hub.pull(pin, "dataset") / "README.md").read_text()
    assert "PATH_OF_THIS_FOLDER" not in card
    names = run_snippets(card)
    assert set(names["students"]["cell"]) == {"dm", "dm-clom"}
    assert content(folder)[Path("README.md")].decode() == card
    (folder / "README.md").write_text("as a study writes it before it pushes")
    assert push_study(folder, repo_id).pin == pin and list(hub.tags(repo_id, "dataset")) == ["v1"]
    assert content(folder)[Path("README.md")].decode() == card


@pytest.mark.parametrize("folder", ["distilled"], indirect=True)
def test_a_set_leads_to_the_one_that_takes_its_place(folder, unique, tmp_path):
    old, new = unique(), unique()
    hf_dd.push(folder, old)
    before = content(folder)
    with pytest.raises(HubError, match=f"{new} doesn't exist"):  # not yet
        hf_dd.push(folder, new_version=new)
    with pytest.raises(ConfigError, match=f"--new_version {old} is this set itself"):
        hf_dd.push(folder, new_version=old)
    assert content(folder) == before and set(hub.tags(old, "dataset")) == {"v1"}
    hf_dd.push(shutil.copytree(BEFORE / "imported", tmp_path / "better"), new)
    pin = hf_dd.push(folder, new_version=new).pin
    assert (pin.repo_id, pin.revision) == (old, "v2")
    card = DatasetCard.load(old)
    assert card.data.to_dict()["new_version"] == new
    assert f"**A newer set takes the place of this one: [{new}]({hub.endpoint()}/datasets/{new}).**" in card.text
    hf_dd.push(folder)  # and so it stays
    assert DatasetCard.load(old).data.to_dict()["new_version"] == new


@pytest.mark.parametrize("folder", [TEACHER], indirect=True)
def test_a_teacher_has_no_successor(folder, unique):
    with pytest.raises(ConfigError, match="leave out --new_version"):
        hf_dd.push(folder, unique(), new_version=unique())


@pytest.mark.parametrize("folder", ["distilled"], indirect=True)
def test_results_in_the_format_of_models_are_removed_from_a_set(folder, unique):
    repo_id = unique()
    (folder / ".eval_results").mkdir(exist_ok=True)
    (folder / ".eval_results/hf-dd.yaml").write_text("[]\n")
    hf_dd.push(folder, repo_id)
    assert ".eval_results/hf-dd.yaml" not in HfApi().list_repo_files(repo_id, repo_type="dataset")
    HfApi().upload_folder(  # as 0.1.0 did
        repo_id=repo_id, folder_path=folder, allow_patterns=[".eval_results/*"], repo_type="dataset"
    )
    assert ".eval_results/hf-dd.yaml" in HfApi().list_repo_files(repo_id, repo_type="dataset")
    hf_dd.push(folder, repo_id)
    assert ".eval_results/hf-dd.yaml" not in HfApi().list_repo_files(repo_id, repo_type="dataset")
    done = Artefact.open(folder)
    done.with_results(done.record.results)
    assert not (folder / ".eval_results").exists()
