"""Teachers on the Hub for queries and pools."""

import json
import shutil
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from hf_dd.artefacts import teacher_folder
from tests.factories import DOMAIN


@pytest.fixture(scope="session")
def push(tiny_teachers, tmp_path_factory):
    """Pushes a copy of a tiny teacher's run, as one that was trained on DOMAIN; returns its repository's tags."""

    def push_copy(number, repo_id, domain=DOMAIN):
        folder = Path(shutil.copytree(tiny_teachers.folders[number], tmp_path_factory.mktemp("copy") / "run"))
        for path in folder.glob("epoch-*/hf_dd.json"):
            record = json.loads(path.read_text())
            path.write_text(json.dumps(record | {"data": record["data"] | {"repo_id": domain}}))
        teacher_folder.push_teacher(folder, repo_id=repo_id)
        return tags_of(repo_id)

    return push_copy


@pytest.fixture(scope="session")
def grid(push):
    """ConvNet of seeds 0 and 1 and an MLP of seed 0, each with epochs 1, 2 and final: the tags by repository."""
    names = ("lab/pool-convnet-0", "lab/pool-convnet-1", "lab/pool-mlp-0")
    return {name: push(number, name) for number, name in enumerate(names)}


@pytest.fixture
def mine(push, unique):
    """A repository whose tags a test may move: its name and its tags."""
    repo_id = unique()
    return repo_id, push(2, repo_id, "nothing-that-is-looked-for")


def tags_of(repo_id):
    """The commits of a repository's tags."""
    return {ref.name: ref.target_commit for ref in HfApi().list_repo_refs(repo_id).tags}
