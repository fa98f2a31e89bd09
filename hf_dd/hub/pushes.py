"""Pushes: the files of a folder as one commit with a tag, on top of what others push meanwhile."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete
from huggingface_hub.utils import DEFAULT_IGNORE_PATTERNS, filter_repo_objects

from hf_dd.core.layout import CARD
from hf_dd.core.progress import Phase, say
from hf_dd.errors import HubError
from hf_dd.hub import client
from hf_dd.hub.client import Outrun, clear_errors, endpoint
from hf_dd.hub.permission import require_pushable, taken
from hf_dd.hub.places import Pin, RepoType, digits, pull, require_commit, tags

ATTEMPTS = 5  # of a push that others come before


@dataclass(frozen=True)
class Publication:
    """What a push made: the pin of the commit, its page, and the pull request's page if it was one."""

    pin: Pin
    url: str
    pull_request: str | None = None


def create_repo(repo_id: str, repo_type: RepoType, private: bool = False) -> None:
    """Create the repository if it isn't there; raises HubError where the token may not."""
    with clear_errors(f"{repo_type} {repo_id}", push=True):
        client.api().create_repo(repo_id, repo_type=repo_type, private=private or None, exist_ok=True)


def publish(
    folder: Path,
    repo_id: str,
    repo_type: RepoType,
    *,
    files: Sequence[str],
    message: str,
    tag: str | None,
    private: bool = False,
    branch: str | None = None,
    create_pr: bool = False,
    prepare: Callable[[str | None], object] = lambda tag: None,
) -> Publication:
    """Push the files (glob patterns) of a folder as one commit, then put `tag` on that commit.

    The repository is created if it isn't there. Files of an earlier push that match `files` and aren't in the
    folder any more are removed. Where somebody else pushes meanwhile, it is done again on top of that. What an
    earlier try has brought there, up to the tag, isn't pushed again.

    Args:
        folder: that holds the files, among them README.md.
        repo_id: of the repository.
        repo_type: of the repository.
        files: what to push.
        message: of the commit.
        tag: the next free of v1, v2, … if None. A pull request gets none: its commit isn't the repository's yet.
        private: whether a new repository is private.
        branch: to push to; main if None.
        create_pr: push as a pull request.
        prepare: writes into the folder what tells of the tag, before each try.

    Raises errors as `require_pushable`, Taken where an explicit tag is on another commit, and HubError for what the
    Hub refuses.
    """
    for attempt in range(ATTEMPTS):
        present = require_pushable(repo_id, repo_type, tag=tag, branch=branch, private=private, create_pr=create_pr)
        name = None if create_pr else tag or next_tag(present)
        prepare(name)
        if name in present:
            pin = Pin(repo_id, name, present[name])
            if not holds(pin, repo_type, folder):
                raise taken(name, present, repo_id)
            kind = "" if repo_type == "model" else f"{repo_type}s/"
            return Publication(pin, f"{endpoint()}/{kind}{repo_id}/commit/{pin.sha}")
        if not present:  # one with tags is there
            create_repo(repo_id, repo_type, private)
        try:
            commit = push_files(folder, repo_id, repo_type, files, message, branch, create_pr)
            pin = Pin(repo_id, name or commit.pr_revision, commit.oid)
            if not holds(pin, repo_type, folder):  # the client gives the newest one where nothing was to be changed
                raise Outrun(f"{repo_type} {repo_id}: somebody else pushed meanwhile; run the push again.")
            if create_pr:
                return Publication(pin, commit.commit_url, commit.pr_url)
            create_tag(repo_id, repo_type, name, commit.oid)
            return Publication(pin, commit.commit_url)
        except Outrun:
            if attempt == ATTEMPTS - 1:
                raise


def next_tag(present: Mapping[str, str]) -> str:
    """The next free of v1, v2, …"""
    return next(name for number in range(1, len(present) + 2) if (name := f"v{number}") not in present)


def holds(pin: Pin, repo_type: RepoType, folder: Path) -> bool:
    """Whether the commit has just the card of a folder, which names its rows by their sha256."""
    card = pull(pin, repo_type, [CARD]) / CARD
    return card.is_file() and card.read_bytes() == (folder / CARD).read_bytes()


def push_files(
    folder: Path,
    repo_id: str,
    repo_type: RepoType,
    files: Sequence[str],
    message: str,
    branch: str | None,
    create_pr: bool,
) -> CommitInfo:
    """The commit of the files of a folder, on top of what is there now; raises Outrun where that moves meanwhile."""
    say("pushing to %s", repo_id)
    with clear_errors(f"{repo_type} {repo_id}", push=True), Phase(f"pushing to {repo_id}", drawn=False):
        if branch is not None and not create_pr:
            client.api().create_branch(repo_id, branch=branch, repo_type=repo_type, exist_ok=True)
        onto = client.api().repo_info(repo_id, repo_type=repo_type, revision=None if create_pr else branch).sha
        there = client.api().list_repo_files(repo_id, repo_type=repo_type, revision=onto)
        here = sorted(path.relative_to(folder).as_posix() for path in folder.glob("**/*") if path.is_file())
        here = list(filter_repo_objects(here, allow_patterns=[*files], ignore_patterns=DEFAULT_IGNORE_PATTERNS))
        gone = {*filter_repo_objects(there, allow_patterns=[*files])} - {*here, ".gitattributes"}
        commit = client.api().create_commit(  # the client's upload_folder makes several, and drafts of pull requests
            repo_id,
            [CommitOperationDelete(name, is_folder=False) for name in sorted(gone)]
            + [CommitOperationAdd(name, folder / name) for name in here],
            repo_type=repo_type,
            commit_message=message,
            revision=branch,
            create_pr=create_pr,
            parent_commit=onto,
        )
        require_commit(commit.oid)
    return commit


def create_tag(repo_id: str, repo_type: RepoType, tag: str, sha: str) -> None:
    """Put a git tag on a commit, where it may be already; raises Outrun where it is on another one.

    Whatever was answered: it may be there nevertheless, be somebody else's, or not be there.
    """
    missing = HubError(f"The Hub says that the tag {tag} of {repo_type} {repo_id} was made, but it has none.")
    try:
        with clear_errors(f"tag {tag} of {repo_type} {repo_id}", push=True):
            client.api().create_tag(repo_id, tag=tag, repo_type=repo_type, revision=sha)
    except HubError as error:
        missing = error
    present = tags(repo_id, repo_type).get(tag)
    if present is None:
        raise missing
    if present != sha:
        raise Outrun(f"Somebody else has put the tag {tag} of {repo_id} on the commit {digits(present)}.")


def publish_space(folder: Path, repo_id: str, message: str, private: bool = False) -> str:
    """Push a folder as a static Space, in one commit that removes what the folder lacks; returns the Space's page.

    The Space is created if it isn't there. Raises errors as `require_pushable`, and HubError for what the Hub refuses.
    """
    require_pushable(repo_id, "space", private=private)
    with clear_errors(f"space {repo_id}", push=True):
        client.api().create_repo(
            repo_id, repo_type="space", space_sdk="static", private=private or None, exist_ok=True
        )
    push_files(folder, repo_id, "space", ["*"], message, None, False)
    return f"{endpoint()}/spaces/{repo_id}"
