"""What the Hub says is passed on, and who couldn't be asked isn't told of as one who says no."""

import httpx2
import pytest
from huggingface_hub import HfApi
from huggingface_hub.utils import hf_raise_for_status

from hf_dd import hub
from hf_dd.errors import HubError


def said_of(status, push=False, cached=False, headers=None, **content):
    """What is raised of an answer of the Hub."""
    request = httpx2.Request("GET", f"{hub.endpoint()}/api/whoami")
    answer = httpx2.Response(status, headers=headers, request=request, **content)
    with pytest.raises(HubError) as raised, hub.clear_errors("It", push=push, cached=cached):
        hf_raise_for_status(answer)
    assert "\n" not in str(raised.value)
    return raised.value


@pytest.mark.parametrize("push", [False, True])
@pytest.mark.parametrize(
    ("status", "headers", "content", "words"),
    [
        (403, {}, {"json": {"error": "Private repository storage limit reached."}}, "storage limit reached."),
        (403, {"X-Error-Message": "You have exceeded the quota"}, {}, "You have exceeded the quota."),
        (403, {"X-Error-Message": "Access to this resource is disabled."}, {}, "this resource is disabled."),
        (400, {}, {"json": {"error": "Collection title is not allowed"}}, "400: Collection title is not allowed"),
        (422, {}, {"json": {"error": "Invalid name"}}, "answered 422: Invalid name"),
        (451, {}, {"json": {"error": "legal"}}, "answered 451: legal"),
        (401, {}, {"json": {"error": "Invalid username or password."}}, "accepted. The Hub says: Invalid username"),
        (404, {}, {"json": {"error": "Collection not found"}}, "or is private. The Hub says: Collection not found."),
        (500, {}, {"json": {"error": "oops"}}, "answered 500: oops"),
    ],
)
def test_the_hubs_own_words_are_passed_on(status, headers, content, words, push):
    message = str(said_of(status, push, headers=headers, **content))
    assert words in message and "write access" not in message


def test_a_refusal_without_words_is_explained_by_what_was_tried():
    assert str(said_of(403, push=True)).endswith("may not do that there; it needs write access to this namespace.")
    assert str(said_of(403)) == "It: your token may not do that there."


def test_a_token_that_is_not_accepted_is_not_only_a_missing_repository():
    refused = said_of(401, headers={"X-Error-Code": "RepoNotFound"}, json={"error": "Invalid username or password."})
    assert "or is private" in str(refused) and "The Hub says: Invalid username or password." in str(refused)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_hub_that_is_busy_was_not_asked(status):
    assert isinstance(said_of(status), hub.Unreached)
    assert not isinstance(said_of(404), hub.Unreached)


def test_a_text_in_place_of_json_is_no_answer():
    with pytest.raises(hub.Unreached, match="can't be used"), hub.clear_errors("It"):
        httpx2.Response(200, text="We had to rate limit you").json()


@pytest.mark.parametrize(
    ("status", "kind"), [(400, HubError), (401, HubError), (402, hub.Refused), (403, hub.Refused)]
)
def test_who_is_refused_is_not_told_to_try_again(status, kind):
    assert type(said_of(status, json={"error": "no"})) is kind


def test_a_gated_repository_tells_how_a_request_for_it_stands():
    words = "Your request to access dataset x is awaiting a review"
    assert words in str(said_of(403, headers={"X-Error-Code": "GatedRepo", "X-Error-Message": words}))


def test_a_gated_repository_is_not_one_that_there_is_not(monkeypatch):
    def gated(*given, **named):
        request = httpx2.Request("GET", f"{hub.endpoint()}/api/models/a/b/refs")
        hf_raise_for_status(httpx2.Response(403, headers={"X-Error-Code": "GatedRepo"}, request=request))

    monkeypatch.setattr(HfApi, "list_repo_refs", gated)
    with pytest.raises(HubError, match="model a/b is gated"):
        hub.refs("a/b", "model")


def test_a_token_that_is_not_accepted_is_said_to_come_before_a_login(monkeypatch):
    assert "HF_TOKEN comes before what `hf auth login` stored" in str(said_of(401))
    monkeypatch.delenv("HF_TOKEN")
    assert "HF_TOKEN comes before" not in str(said_of(401))


def test_what_is_wrong_with_a_card_is_told(unique, tmp_path):
    repo_id = unique()
    hub.create_repo(repo_id, "dataset")
    (tmp_path / "README.md").write_text("---\nlicense: [\n---\n")
    with pytest.raises(HubError, match=r"refuses it: Invalid metadata in README.md. - YAML Metadata Error: .*\w"):
        hub.push_files(tmp_path, repo_id, "dataset", ["*"], "x", None, False)


def test_a_page_is_no_word():
    assert "<" not in str(said_of(403, text="<html>portal</html>"))


@pytest.mark.parametrize("cached", [False, True])
def test_only_what_may_lie_in_the_cache_is_said_to_be_missing_there(cached):
    with pytest.raises(hub.Unreached) as raised, hub.clear_errors("It", cached=cached):
        raise httpx2.ConnectError("no")
    assert ("local cache" in str(raised.value)) == cached
