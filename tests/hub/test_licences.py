"""The licence that is told of a data set is that of its card."""

import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from hf_dd import hub


@pytest.fixture
def push(unique):
    """Pushes a card with this front matter, and takes it away on the branch `parquet`; returns the repository."""

    def push(front):
        api, repo_id = HfApi(), unique()
        api.create_repo(repo_id, repo_type="dataset")
        add = CommitOperationAdd("README.md", f"---\n{front}\n---\n".encode())
        api.create_commit(repo_id, [add], commit_message="x", repo_type="dataset")
        api.create_branch(repo_id, branch="parquet", repo_type="dataset")
        api.delete_file("README.md", repo_id, repo_type="dataset", revision="parquet")
        return repo_id

    return push


@pytest.mark.parametrize(
    ("front", "license"),
    [
        ("license: mit", "mit"),
        ("license: [mit]", "mit"),
        ("license: [mit, cc-by-4.0]", "mit, cc-by-4.0"),
        ("license: other\nlicense_name: imagenet-terms", "imagenet-terms"),
        ("license: other", "other"),
        ("tags: [x]", None),
    ],
)
def test_the_licence_of_a_card(push, front, license):
    assert hub.dataset_license(hub.resolve(push(front), "dataset")) == license


def test_a_commit_without_a_card_has_the_licence_of_main(push):
    assert hub.dataset_license(hub.resolve(f"{push('license: mit')}@parquet", "dataset")) == "mit"
