"""Who may push is asked of the Hub once, and known before anything is trained."""

import pytest

from hf_dd import hub
from hf_dd.hub import permission
from hf_dd.local_hub.accounts import Accounts


@pytest.fixture
def profile(monkeypatch):
    """Changes what `whoami` tells of the token and of the user's organization `lab`; returns who asked."""
    asked, told, real = [], {"token": {}, "lab": {}}, Accounts.profile

    def profile(self, user):
        asked.append(user)
        found = real(self, user)
        found["auth"]["accessToken"] |= told["token"]
        return found | {"orgs": [{"type": "org", "name": "lab", "roleInOrg": "write"} | told["lab"]]}

    monkeypatch.setattr(Accounts, "profile", profile)
    permission.namespaces_of.cache_clear()
    yield asked, told
    permission.namespaces_of.cache_clear()


def scoped(name, *permissions):
    """A token of finer grain with these permissions for one user, organization or repository."""
    scope = {"entity": {"type": "user", "name": name}, "permissions": [*permissions]}
    return {"role": "fineGrained", "fineGrained": {"global": ["discussion.write"], "scoped": [scope]}}


def test_the_hub_is_asked_once_who_a_token_is(profile, monkeypatch):
    asked, _ = profile
    for _ in range(3):
        permission.require_writable("local", "x")
        permission.require_writable("lab", "x")
    assert permission.user() == "local" and asked == ["local"]
    monkeypatch.setenv("HF_TOKEN", "hf_bob_token")
    assert permission.user() == "bob" and asked == ["local", "bob"]


@pytest.mark.parametrize(
    ("namespace", "token", "lab", "refused"),
    [
        ("local", {"role": "read"}, {}, "only reads"),
        ("local", scoped("local", "repo.content.read"), {}, "isn't granted to write there"),
        ("local", scoped("lab", "repo.write"), {}, "isn't granted to write there"),
        ("local", scoped("local", "repo.write"), {}, None),
        ("local", scoped("local/set", "repo.write"), {}, None),
        ("local", {"role": "fineGrained"}, {}, None),
        ("lab", scoped("lab", "repo.write"), {}, None),
        ("lab", {}, {"roleInOrg": "read"}, "is that of a member who only reads there"),
        ("lab", {}, {"roleInOrg": "read", "resourceGroups": [{"role": "write"}]}, None),
        ("lab", {}, {"roleInOrg": "contributor"}, None),
        ("bob", {}, {}, "is that of local, lab"),
    ],
)
def test_what_the_hub_tells_of_a_token_is_known_before_a_push(profile, namespace, token, lab, refused):
    told = profile[1]
    told |= {"token": token, "lab": lab}
    if refused is None:
        return permission.require_writable(namespace, "x")
    with pytest.raises(hub.Refused, match=f"may not push to {namespace}: .* and yours {refused}"):
        permission.require_writable(namespace, "x")
    if namespace != "bob":
        told |= {"token": {}, "lab": {}}  # the token's owner changes it at the Hub
        permission.require_writable(namespace, "x")
