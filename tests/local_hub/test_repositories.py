"""Accounts, repositories, permissions and the errors that clients turn into exceptions."""

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)


def status_of(error):
    return error.value.response.status_code


def test_whoami_names_the_user_and_its_organizations(api, other_api):
    account = api.whoami()
    assert account["name"] == "alice" and [org["name"] for org in account["orgs"]] == ["acme"]
    assert other_api.whoami()["orgs"] == []


def test_an_unknown_token_is_a_401_and_not_a_missing_repository(hub, new_repo):
    intruder = HfApi(endpoint=hub.endpoint, token="hf_wrong")
    for call in (intruder.whoami, lambda: intruder.model_info(new_repo())):
        with pytest.raises(HfHubHTTPError) as error:
            call()
        assert status_of(error) == 401 and not isinstance(error.value, RepositoryNotFoundError)


def test_create_repo_makes_a_first_commit_and_refuses_a_taken_name(hub, api):
    url = api.create_repo("alice/created", repo_type="dataset")
    assert url == f"{hub.endpoint}/datasets/alice/created" and url.repo_type == "dataset"
    assert [commit.title for commit in api.list_repo_commits(url.repo_id, repo_type="dataset")] == ["initial commit"]
    assert api.list_repo_files(url.repo_id, repo_type="dataset") == [".gitattributes"]
    with pytest.raises(HfHubHTTPError) as error:
        api.create_repo("alice/created", repo_type="dataset")
    assert status_of(error) == 409
    assert api.create_repo("alice/created", repo_type="dataset", exist_ok=True).repo_id == "alice/created"
    assert not api.repo_exists("alice/created", repo_type="model")


def test_repositories_of_an_organization_are_its_members(api, other_api):
    assert api.create_repo("acme/shared").repo_id == "acme/shared"
    api.upload_file(path_or_fileobj=b"1", path_in_repo="a.txt", repo_id="acme/shared")
    with pytest.raises(HfHubHTTPError) as error:
        other_api.upload_file(path_or_fileobj=b"2", path_in_repo="a.txt", repo_id="acme/shared")
    assert status_of(error) == 403


@pytest.mark.parametrize("name", ["alice/..", "alice/x.git", "datasets/x", "alice/.hidden"])
def test_names_that_would_confuse_paths_are_refused(request_hub, name):
    namespace, short = name.split("/")
    body = f'{{"name": "{short}", "organization": "{namespace}"}}'
    assert request_hub("POST", "/api/repos/create", token="hf_alice", body=body).status in (400, 403)


def test_a_private_repository_doesnt_exist_for_others(api, other_api, anonymous_api, new_repo):
    repo = new_repo(private=True)
    assert api.model_info(repo).private
    for stranger, status in ((other_api, 404), (anonymous_api, 401)):
        with pytest.raises(RepositoryNotFoundError) as error:
            stranger.model_info(repo)
        assert status_of(error) == status
        with pytest.raises(RepositoryNotFoundError):
            stranger.hf_hub_download(repo, ".gitattributes")
    api.update_repo_settings(repo, private=False)
    assert not other_api.model_info(repo).private
    api.update_repo_settings(repo, private=True)
    assert repo not in [info.id for info in other_api.list_models(author="alice")]
    assert repo in [info.id for info in api.list_models(author="alice")]


def test_missing_repository_revision_and_file(api, anonymous_api, new_repo):
    repo = new_repo()
    with pytest.raises(RepositoryNotFoundError) as error:
        api.model_info("alice/none")
    assert status_of(error) == 404
    with pytest.raises(RepositoryNotFoundError) as error:
        anonymous_api.model_info("alice/none")
    assert status_of(error) == 401
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("no-namespace")
    with pytest.raises(RepositoryNotFoundError):
        api.upload_file(path_or_fileobj=b"x", path_in_repo="a", repo_id="alice/none")
    for call in (
        lambda: api.model_info(repo, revision="none"),
        lambda: api.model_info(repo, revision="0" * 40),
        lambda: api.model_info(repo, revision="refs/pr/9"),
        lambda: api.hf_hub_download(repo, ".gitattributes", revision="no..ne"),
        lambda: api.snapshot_download(repo, revision="none"),
        lambda: api.upload_file(path_or_fileobj=b"x", path_in_repo="a", repo_id=repo, revision="none"),
    ):
        with pytest.raises(RevisionNotFoundError):
            call()
    with pytest.raises(EntryNotFoundError) as error:
        api.hf_hub_download(repo, "no/such.txt")
    assert error.value.response.headers["X-Repo-Commit"] == api.model_info(repo).sha


def test_a_gated_repository_shows_its_card_but_not_its_files(api, other_api, anonymous_api, new_repo, tmp_path):
    repo = new_repo()
    api.upload_file(path_or_fileobj=b"{}", path_in_repo="config.json", repo_id=repo)
    api.update_repo_settings(repo, gated="auto")
    assert other_api.model_info(repo).gated == "auto"
    for stranger, status in ((other_api, 403), (anonymous_api, 401)):
        with pytest.raises(GatedRepoError) as error:
            stranger.hf_hub_download(repo, "config.json", cache_dir=tmp_path)
        assert status_of(error) == status
    with pytest.raises(GatedRepoError):
        other_api.auth_check(repo)
    api.auth_check(repo, write=True)
    assert api.hf_hub_download(repo, "config.json", cache_dir=tmp_path)


def test_only_owners_write(hub, other_api, anonymous_api, new_repo):
    repo = new_repo()
    for call in (
        lambda: other_api.upload_file(path_or_fileobj=b"x", path_in_repo="a", repo_id=repo),
        lambda: other_api.create_repo("alice/by-bob"),
        lambda: other_api.create_tag(repo, tag="v1"),
        lambda: other_api.create_branch(repo, branch="b"),
        lambda: other_api.update_repo_settings(repo, private=True),
        lambda: other_api.delete_repo(repo),
        lambda: other_api.super_squash_history(repo),
        lambda: other_api.auth_check(repo, write=True),
    ):
        with pytest.raises(HfHubHTTPError) as error:
            call()
        assert status_of(error) == 403
    with pytest.raises(HfHubHTTPError) as error:
        anonymous_api.create_repo("alice/by-nobody")
    assert status_of(error) == 401


def test_delete_and_move(hub, api, new_repo):
    old, taken = new_repo(), new_repo()
    commit = api.upload_file(path_or_fileobj=b"kept", path_in_repo="a.txt", repo_id=old).oid
    with pytest.raises(HfHubHTTPError) as error:
        api.move_repo(old, taken)
    assert status_of(error) == 409
    with pytest.raises(HfHubHTTPError) as error:
        api.move_repo(old, "alice/x.git")
    assert status_of(error) == 400
    api.move_repo(old, old + "-moved")
    assert not api.repo_exists(old) and api.model_info(old + "-moved").sha == commit
    folders = len(list((hub.root / "repositories").iterdir()))
    api.delete_repo(old + "-moved")
    assert not api.repo_exists(old + "-moved")
    assert len(list((hub.root / "repositories").iterdir())) == folders - 1
    api.create_repo(old)
    assert api.list_repo_files(old) == [".gitattributes"]


def test_an_unknown_address_is_told_and_bad_bodies_are_400(request_hub, new_repo):
    answer = request_hub("GET", "/api/nothing")
    assert answer.status == 404 and "/api/nothing" in answer.json()["error"]
    for body in ("{", "[]", "{}"):
        assert request_hub("POST", "/api/repos/create", token="hf_alice", body=body).status == 400
    header = '{"key": "header", "value": {"summary": "x"}}\n'
    bad_operations = ('{"key": "file", "value": {"path": "a", "content": "?"}}', '{"key": "file", "value": {}}')
    for body in ('{"key": "file"}', '{"key": "header", "value": {}}', *(header + bad for bad in bad_operations)):
        path = f"/api/models/{new_repo()}/commit/main"
        assert request_hub("POST", path, token="hf_alice", body=body).status == 400
