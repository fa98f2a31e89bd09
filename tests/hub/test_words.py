"""What the Hub says is passed on, and who couldn't be asked isn't told of as one who says no."""

import httpx2
import pytest
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


def test_a_page_is_no_word():
    assert "<" not in str(said_of(403, text="<html>portal</html>"))


@pytest.mark.parametrize("cached", [False, True])
def test_only_what_may_lie_in_the_cache_is_said_to_be_missing_there(cached):
    with pytest.raises(hub.Unreached) as raised, hub.clear_errors("It", cached=cached):
        raise httpx2.ConnectError("no")
    assert ("local cache" in str(raised.value)) == cached
