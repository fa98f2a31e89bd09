"""The only module that talks to the Hub: references and pins, pull, publish, search, collections, and their errors.

The endpoint, token and cache are those of huggingface_hub (HF_ENDPOINT, HF_TOKEN, HF_HOME); nothing of it is parsed
here.
"""

import contextlib
import functools
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx2
from huggingface_hub import DatasetCard, HfApi, constants, get_token
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    RevisionResolutionError,
)

from hf_dd.errors import HubError
from hf_dd.version import __version__

RepoType = Literal["model", "dataset"]
REFERENCE = re.compile(r"(?P<repo_id>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>.+))?")
DIGEST = "sha256:"  # before the digest of weights, which stands where a commit would, for what is no repository
DESCRIPTION_LIMIT, NOTE_LIMIT = 150, 500  # characters of a collection's description and of an item's note


@dataclass(frozen=True)
class Pin:
    """A repository at one commit: what was asked (`revision`) and what it meant (`sha`, 40 hex digits).

    A teacher from a folder has the folder as its `repo_id`, and as its `sha` `sha256:` and the digest of its weights.
    """

    repo_id: str
    revision: str
    sha: str

    @property
    def local(self) -> bool:
        """Whether it is no repository, but lies on this machine."""
        return self.sha.startswith(DIGEST)

    @property
    def reference(self) -> str:
        """What names exactly this again: the repository at its commit, or the local folder."""
        return self.repo_id if self.local else f"{self.repo_id}@{self.sha}"

    def __str__(self) -> str:
        return f"{self.repo_id}@{self.revision} ({self.sha.removeprefix(DIGEST)[:8]})"


@dataclass(frozen=True)
class Place:
    """Where a reference leads: to a folder of this machine, or to a repository of the Hub.

    Attributes:
        path: of the folder, or the repository's id.
        revision: what stood behind the `@`, or None.
        local: whether it is a folder.
        repo_type: of the repository.
    """

    path: str
    revision: str | None
    local: bool
    repo_type: RepoType

    @functools.cached_property
    def pin(self) -> Pin | None:
        """The commit that it means now, asked for once; None for a folder. Raises HubError."""
        if self.local:
            return None
        try:
            return resolve(f"{self.path}@{self.revision}" if self.revision else self.path, repo_type=self.repo_type)
        except HubError as error:
            raise HubError(f"{error} (There is no folder of this name either.)") from error

    @property
    def name(self) -> str:
        """What to call what lies there: `owner/name@revision`, or the folder by its own name."""
        return f"{self.path}@{self.revision or 'main'}" if not self.local else Path(self.path).resolve().name

    def folder(self, files: Sequence[str]) -> Path:
        """A folder that holds those of these files (glob patterns) that there are; raises HubError."""
        return Path(self.path) if self.local else pull(self.pin, repo_type=self.repo_type, files=files)


def find(reference: str, repo_type: RepoType = "model") -> Place | None:
    """Where a reference leads, to a folder before a repository; None where it is of neither form.

    The folder of a model may have its revisions as folders, and is named with one of them: `folder@revision`.
    """
    folder, revision = reference, None
    if repo_type == "model" and "@" in reference and not Path(reference).is_dir():
        folder, _, revision = reference.rpartition("@")
    path = Path(os.path.expanduser(folder))  # where pathlib's raises for a user that there isn't
    if folder and path.is_dir():
        return Place(str(path), revision or None, True, repo_type)
    named = REFERENCE.fullmatch(reference)
    return named and Place(named["repo_id"], named["revision"], False, repo_type)


@dataclass(frozen=True)
class Publication:
    """What a push made: the pin of the commit, its page, and the pull request's page if it was one."""

    pin: Pin
    url: str
    pull_request: str | None = None


@dataclass(frozen=True)
class CollectionItem:
    """One item of a collection: a repository and its note."""

    repo_id: str
    kind: str
    note: str


@dataclass(frozen=True)
class Collection:
    """A Hub collection: its slug, title and items."""

    slug: str
    title: str
    items: tuple[CollectionItem, ...]

    @property
    def url(self) -> str:
        """The collection's page."""
        return f"{endpoint()}/collections/{self.slug}"


def api() -> HfApi:
    """A client that names this library to the Hub."""
    return HfApi(library_name="hf-dd", library_version=__version__)


def endpoint() -> str:
    """The Hub that this process talks to."""
    return constants.ENDPOINT


@contextlib.contextmanager
def clear_errors(what: str) -> Iterator[None]:
    """Turn every error of the clients into one HubError that names `what` and the way out."""
    login = "" if get_token() else " No token is set: log in with `hf auth login`, or set HF_TOKEN."
    try:
        yield
    except GatedRepoError as error:  # before its parent, RepositoryNotFoundError
        raise HubError(f"{what} is gated: ask for access on its page.{login}") from error
    except RepositoryNotFoundError as error:
        raise HubError(
            f"{what} doesn't exist at {endpoint()}, or is private and your token can't read it.{login}"
        ) from error
    except RevisionNotFoundError as error:
        raise HubError(f"{what}: the repository is there, but it has no such branch, tag or commit.") from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, RevisionResolutionError, httpx2.TransportError) as error:
        raise HubError(
            f"{what} can't be reached: no answer from {endpoint()}, and it isn't in the local cache. Check the "
            "network, HF_ENDPOINT and HF_HUB_OFFLINE."
        ) from error
    except EntryNotFoundError as error:
        raise HubError(f"{what}: the repository is there, but it lacks a file: {first_line(error)}") from error
    except HFValidationError as error:
        raise HubError(f"{what} isn't a repository id: {first_line(error)}") from error
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else None
        reason = {
            401: f"the token isn't accepted.{login}",
            404: f"it doesn't exist at {endpoint()}, or is private.",
            403: "your token may not do that there; it needs write access to this namespace.",
            412: "somebody else pushed meanwhile; run the push again.",
        }.get(status, f"{endpoint()} answered {status}: {first_line(error)}")
        raise HubError(f"{what}: {reason}") from error


def first_line(error: Exception) -> str:
    """The first line of an error's text that says something."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def resolve(reference: str, repo_type: RepoType = "model") -> Pin:
    """The commit that `owner/name@revision` means now (`main` without a revision); raises HubError."""
    named = REFERENCE.fullmatch(reference)
    if named is None:
        raise HubError(f"{reference!r} isn't a Hub reference: write owner/name or owner/name@revision.")
    repo_id, revision = named["repo_id"], named["revision"]
    with clear_errors(f"{repo_type} {reference}"):
        resolved = api().resolve_revision(repo_id, repo_type=repo_type, revision=revision)
    return Pin(repo_id, revision or "main", str(resolved.resolved))


def pull(pin: Pin, repo_type: RepoType = "model", files: Sequence[str] | None = None) -> Path:
    """Download the files (glob patterns; all if None) of a pinned commit into the cache; returns its folder."""
    with clear_errors(f"{repo_type} {pin}"):
        folder = api().snapshot_download(
            pin.repo_id, repo_type=repo_type, revision=pin.sha, allow_patterns=list(files) if files else None
        )
    return Path(folder)


def list_files(pin: Pin, repo_type: RepoType = "model") -> list[str]:
    """The names of all files at a pinned commit."""
    with clear_errors(f"{repo_type} {pin}"):
        return api().list_repo_files(pin.repo_id, repo_type=repo_type, revision=pin.sha)


def user() -> str:
    """The name of the token's user; raises HubError without a working token."""
    with clear_errors("Your account"):
        if get_token() is None:
            raise HubError("Pushing needs a token: log in with `hf auth login`, or set HF_TOKEN.")
        return api().whoami()["name"]


def full_repo_id(name: str, namespace: str | None = None) -> str:
    """`name` itself if it has an owner, else under `namespace`, else under the token's user."""
    return name if "/" in name else f"{namespace or user()}/{name}"


def tags(repo_id: str, repo_type: RepoType) -> dict[str, str]:
    """The repository's git tags with their commits; empty where the repository doesn't exist yet."""
    with clear_errors(f"{repo_type} {repo_id}"):
        try:
            return {ref.name: ref.target_commit for ref in api().list_repo_refs(repo_id, repo_type=repo_type).tags}
        except RepositoryNotFoundError:
            return {}


def create_repo(repo_id: str, repo_type: RepoType, private: bool = False) -> None:
    """Create the repository if it isn't there; raises HubError where the token may not."""
    with clear_errors(f"{repo_type} {repo_id}"):
        api().create_repo(repo_id, repo_type=repo_type, private=private or None, exist_ok=True)


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
) -> Publication:
    """Push the files (glob patterns) of a folder as one commit, then put `tag` on that commit.

    The repository is created if it isn't there. Files of an earlier push that match `files` and aren't in the
    folder any more are removed. A pull request gets no tag: its commit isn't the repository's yet.
    """
    what = f"{repo_type} {repo_id}"
    create_repo(repo_id, repo_type, private)
    with clear_errors(what):
        if branch is not None and not create_pr:
            api().create_branch(repo_id, branch=branch, repo_type=repo_type, exist_ok=True)
        commit = api().upload_folder(
            repo_id=repo_id,
            repo_type=repo_type,
            folder_path=folder,
            allow_patterns=list(files),
            delete_patterns=list(files),
            commit_message=message,
            revision=branch,
            create_pr=create_pr,
        )
    if create_pr:
        return Publication(Pin(repo_id, commit.pr_revision, commit.oid), commit.commit_url, commit.pr_url)
    if tag is not None:
        create_tag(repo_id, repo_type, tag, commit.oid)
    return Publication(Pin(repo_id, tag or branch or "main", commit.oid), commit.commit_url)


def create_tag(repo_id: str, repo_type: RepoType, tag: str, sha: str) -> None:
    """Put a git tag on a commit; nothing happens where the tag is there already."""
    with clear_errors(f"tag {tag} of {repo_type} {repo_id}"):
        api().create_tag(repo_id, tag=tag, repo_type=repo_type, revision=sha, exist_ok=True)


def find_models(filters: Sequence[str], owner: str | None = None) -> dict[str, list[str]]:
    """All models (of an owner) that carry all of these Hub tags, sorted by their ids: each with all of its tags."""
    with clear_errors(f"models tagged {' '.join(filters)}"):
        found = {model.id: model.tags or [] for model in api().list_models(filter=list(filters), author=owner)}
    return dict(sorted(found.items()))


def dataset_license(pin: Pin) -> str | None:
    """The license that a data set's card names at this commit, or None."""
    with clear_errors(f"dataset {pin}"):
        try:
            path = api().hf_hub_download(pin.repo_id, "README.md", repo_type="dataset", revision=pin.sha)
        except EntryNotFoundError:
            return None
    license = DatasetCard.load(path).data.to_dict().get("license")
    return license[0] if isinstance(license, list) else license


def create_collection(
    title: str, items: Sequence[CollectionItem], *, namespace: str | None, description: str, private: bool = False
) -> Collection:
    """Make a collection, or bring the one of this title and owner to these items and notes.

    Raises HubError before anything is written where a note or the description is longer than the Hub takes.
    """
    for item in items:
        if len(item.note) > NOTE_LIMIT:
            raise HubError(
                f"The note that pins {item.repo_id} has {len(item.note)} characters; the Hub takes {NOTE_LIMIT}. Put "
                "fewer of its revisions into one pool (about nine fit)."
            )
    if len(description) > DESCRIPTION_LIMIT:
        raise HubError(f"The description has {len(description)} characters; the Hub takes {DESCRIPTION_LIMIT}.")
    owner = namespace or user()
    with clear_errors(f"collection {title!r} of {owner}"):
        made = api().create_collection(
            title, namespace=owner, description=description, private=private, exists_ok=True
        )
        present = {(item.item_type, item.item_id): item for item in made.items}
        for item in items:
            old = present.pop((item.kind, item.repo_id), None)
            if old is None:
                api().add_collection_item(made.slug, item.repo_id, item.kind, note=item.note)
            elif (old.note or "") != item.note:
                api().update_collection_item(made.slug, old.item_object_id, note=item.note)
        for old in present.values():
            api().delete_collection_item(made.slug, old.item_object_id)
    return read_collection(made.slug)


def read_collection(slug: str) -> Collection:
    """A collection with all of its items."""
    with clear_errors(f"collection {slug}"):
        found = api().get_collection(slug)
    items = tuple(CollectionItem(item.item_id, item.item_type, item.note or "") for item in found.items)
    return Collection(found.slug, found.title, items)
