"""Whether the token's user may push where it wants to, asked before anything is trained or sent."""

import functools
import re
from collections.abc import Mapping
from typing import Any

from huggingface_hub import get_token
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from hf_dd.errors import ConfigError, HubError, first_line, some
from hf_dd.hub import client
from hf_dd.hub.client import Refused, Taken, clear_errors, endpoint
from hf_dd.hub.places import RepoType, digits, is_private, refs

NO_REF = re.compile(  # what `git check-ref-format` refuses, and what would be taken for a commit or an option
    r"|[0-9a-fA-F]{40}|HEAD|@|refs/.*|-.*|/.*|.*/|.*\.|(.*/)?\..*|.*\.lock(/.*)?|.*(//|\.\.|@\{|[\s~^:?*\[\\]).*|.{201,}",
    re.DOTALL,
)
READERS = {"read", "no_access"}  # roles of members of an organization


def user() -> str:
    """The name of the token's user; raises HubError without a working token."""
    return next(iter(namespaces()))


def namespaces() -> dict[str, str | None]:
    """The namespaces of the token's user, its own first, each with why the token may not write there, or None.

    None is also where the Hub doesn't tell. Raises HubError without a working token.
    """
    token = get_token()
    if token is None:
        raise HubError("Pushing needs a token. No token is set: log in with `hf auth login`, or set HF_TOKEN.")
    return namespaces_of(endpoint(), token)


@functools.cache  # the Hub answers few such questions a minute
def namespaces_of(hub: str, token: str) -> dict[str, str | None]:
    """As `namespaces`, of this Hub and token; refusals are asked for again, see `require_writable`."""
    with clear_errors("Your account"):
        found = client.api().whoami()
        about = found.get("auth", {}).get("accessToken", {})
        return {each["name"]: obstacle(each, about) for each in (found, *found.get("orgs", []))}


def obstacle(namespace: Mapping[str, Any], token: Mapping[str, Any]) -> str | None:
    """Why a token may not write in a namespace, both as `whoami` tells of them; None where it may, as far as is told.

    That one may write in a single repository or group is enough here: the Hub knows best.
    """
    if token.get("role") == "read":
        return "only reads"
    if {namespace.get("roleInOrg"), *(each.get("role") for each in namespace.get("resourceGroups") or [])} <= READERS:
        return "is that of a member who only reads there"
    if "fineGrained" in token:
        granted = [*token["fineGrained"].get("global", [])]
        for scope in token["fineGrained"].get("scoped", []):
            if scope["entity"].get("name", namespace["name"]).partition("/")[0] == namespace["name"]:
                granted += scope["permissions"]
        if "repo.write" not in granted:
            return "isn't granted to write there"
    return None


def full_repo_id(name: str, namespace: str | None = None) -> str:
    """`name` itself if it has an owner, else under `namespace`, else under the token's user."""
    return name if "/" in name else f"{namespace or user()}/{name}"


def require_pushable(
    repo_id: str,
    repo_type: RepoType,
    *,
    tag: str | None = None,
    branch: str | None = None,
    private: bool = False,
    create_pr: bool = False,
) -> dict[str, str]:
    """The tags of the repository that a push would go to, with their commits.

    Raises ConfigError for what is no name of a tag, branch or repository and for a pull request with a tag or branch,
    Refused for a token that may not write there, and for a repository that was to be private and is public already.
    A tag that is taken isn't judged.
    """
    if create_pr and tag is not None:
        raise ConfigError(
            f"--create_pr and --hub_tag {tag} contradict each other: the commit of a pull request isn't the "
            "repository's yet, and gets no tag. Leave one out."
        )
    if create_pr and branch is not None:
        raise ConfigError(
            f"--create_pr and --hub_revision {branch} contradict each other: a pull request is one to main. Leave one "
            "out."
        )
    for option, name in (("hub_tag", tag), ("hub_revision", branch)):
        if name is not None and (NO_REF.fullmatch(name) or not name.isprintable()):
            raise ConfigError(
                f"--{option} {name!r} is no name of a {'tag' if option == 'hub_tag' else 'branch'}: git takes none "
                "that is empty, too long or a full commit, that begins with - or a dot, that ends with a dot, a slash "
                "or .lock, or that holds spaces, '..', '//', '@{' or any of ~^:?*[\\. Give one like v1."
            )
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ConfigError(f"{repo_id!r} isn't a repository id: {first_line(error)}") from error
    if not create_pr:
        require_writable(repo_id.partition("/")[0], f"{repo_type} {repo_id}")
    present, branches = refs(repo_id, repo_type)
    for option, name, others, kind in (
        ("hub_tag", tag, {"main"} | branches.keys(), "branch"),
        ("hub_revision", branch, present, "tag"),
    ):
        if name in others:
            raise ConfigError(f"--{option} {name}: {repo_id} has a {kind} of that name; choose another --{option}.")
    if private and branches and not is_private(repo_id, repo_type):
        raise Refused(
            f"{repo_type} {repo_id} is there already, and public: make it private in its settings, push to another "
            "repository, or leave out --hub_private_repo."
        )
    return present


def require_writable(namespace: str, what: str) -> None:
    """Raise Refused, naming `what`, where the token's user may not write in a namespace, as far as the Hub tells."""
    known = namespaces()
    if known.get(namespace, "none"):  # so that what was changed at the Hub meanwhile counts
        namespaces_of.cache_clear()
        known = namespaces()
    if may := known.get(namespace, f"is that of {some([*known])}"):
        raise Refused(
            f"{what}: your token may not push to {namespace}: that takes one with write access there, and yours {may}."
            " Log in with another by `hf auth login`, or name another owner."
        )


def require_free(repo_id: str, repo_type: RepoType, *, tag: str | None = None, **push: Any) -> None:
    """As `require_pushable`; raises Taken for a tag that the repository has already, too."""
    present = require_pushable(repo_id, repo_type, tag=tag, **push)
    if tag in present:
        raise taken(tag, present, repo_id)


def taken(tag: str, present: Mapping[str, str], repo_id: str) -> Taken:
    """The error for a tag that the repository has already."""
    return Taken(
        f"{repo_id} has a tag {tag} already (commit {digits(present[tag])}): choose another --hub_tag, or another "
        "--hub_dataset_id."
    )
