"""The only module that talks to the Hub: references and pins, pull, publish, search, collections, and their errors.

The endpoint, token and cache are those of huggingface_hub (HF_ENDPOINT, HF_TOKEN, HF_HOME); nothing of it is parsed
here.
"""

import contextlib
import functools
import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx2
from huggingface_hub import CommitInfo, DatasetCard, HfApi, constants, get_token
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    RevisionResolutionError,
)
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import validate_repo_id

from hf_dd.core.progress import Phase, passing_bars, say
from hf_dd.errors import ConfigError, HfDdError, HubError, some
from hf_dd.version import __version__

RepoType = Literal["model", "dataset", "space"]
REFERENCE = re.compile(r"(?P<repo_id>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>.+))?")
DIGEST = "sha256:"  # before the digest of weights, which stands where a commit would, for what is no repository
TITLE_LIMIT, DESCRIPTION_LIMIT, NOTE_LIMIT = 60, 150, 500  # characters of a collection's, and of an item's note
NO_REF = re.compile(  # what `git check-ref-format` refuses, and what would be taken for a commit or an option
    r"|[0-9a-fA-F]{40}|HEAD|@|refs/.*|-.*|/.*|.*/|.*\.|(.*/)?\..*|.*\.lock(/.*)?|.*(//|\.\.|@\{|[\s~^:?*\[\\]).*|.{201,}",
    re.DOTALL,
)
COMMIT = re.compile(r"[0-9a-f]{40}")
ATTEMPTS = 5  # of a push that others come before

# That a repository has none of the files that it may have is nothing to warn of.
logging.getLogger("huggingface_hub._snapshot_download").addFilter(lambda said: "No files matched" not in str(said.msg))


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


def find(reference: str | os.PathLike[str], repo_type: RepoType = "model") -> Place | None:
    """Where a reference leads, to a folder before a repository; None where it is of neither form.

    The folder of a model may have its revisions as folders, and is named with one of them: `folder@revision`.
    """
    if not isinstance(reference, (str, os.PathLike)):
        raise HubError(f"A reference is text or a path, not {type(reference).__name__}.")
    folder = reference = os.fspath(reference)
    revision = None
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


class Outrun(HubError):
    """Somebody else's push came first: the same push can be tried again, on top of it."""


class Taken(HubError):
    """A tag is on another commit: the push needs another tag, or none."""


@contextlib.contextmanager
def clear_errors(what: str) -> Iterator[None]:
    """Turn every error of the clients into one HubError that names `what` and the way out.

    Only calls of clients belong in it: they raise nearly anything where an answer isn't what they expect.
    """
    try:
        yield
    except HfDdError:
        raise
    except Exception as error:
        kind = Outrun if status_of(error) == 412 else HubError
        raise kind(f"{what}{reason(error)}") from error


def status_of(error: BaseException) -> int | None:
    """The status of the Hub's answer that an error is about, or None."""
    return getattr(getattr(error, "response", None), "status_code", None)


def reason(error: BaseException) -> str:
    """What an error of the clients says of the thing that was asked for, with the way out."""
    login = "" if get_token() else " No token is set: log in with `hf auth login`, or set HF_TOKEN."
    cause, status = error.__cause__, status_of(error)
    if isinstance(error, GatedRepoError):  # before its parent, RepositoryNotFoundError
        return f" is gated: ask for access on its page.{login}"
    if isinstance(error, RepositoryNotFoundError):
        return f" doesn't exist at {endpoint()}, or is private and your token can't read it.{login}"
    if isinstance(error, RevisionNotFoundError):
        return ": the repository is there, but it has no such branch, tag or commit."
    if isinstance(error, (LocalEntryNotFoundError, RevisionResolutionError, RuntimeError)) and status_of(cause):
        return reason(cause)
    if isinstance(
        error, (LocalEntryNotFoundError, OfflineModeIsEnabled, RevisionResolutionError, httpx2.TransportError)
    ):
        return (
            f" can't be reached: no answer from {endpoint()}, and it isn't in the local cache. Check the network, "
            "HF_ENDPOINT and HF_HUB_OFFLINE."
        )
    if isinstance(error, EntryNotFoundError):
        return f": the repository is there, but it lacks a file: {first_line(error)}"
    if isinstance(error, HFValidationError):
        return f" isn't a repository id: {first_line(error)}"
    if status is not None:
        known = {
            401: f"the token isn't accepted.{login}",
            404: f"it doesn't exist at {endpoint()}, or is private.",
            403: "your token may not do that there; it needs write access to this namespace.",
            412: "somebody else pushed meanwhile; run the push again.",
        }
        return f": {known.get(status, f'{endpoint()} answered {status}: {first_line(error)}')}"
    if isinstance(error, RuntimeError) and cause is not None:
        return reason(cause)
    if isinstance(error, OSError) and error.strerror:  # of this machine's own disk
        return f": {error.strerror}{f': {error.filename}' if error.filename else ''}."
    return (
        f": what {endpoint()} answered can't be used ({type(error).__name__}: {first_line(error)}). Try again; check "
        "HF_ENDPOINT if it goes on."
    )


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
        try:
            resolved = str(api().resolve_revision(repo_id, repo_type=repo_type, revision=revision).resolved)
        except RevisionNotFoundError as error:
            there = some([name for kind in refs(repo_id, repo_type) for name in kind])
            raise HubError(f"{repo_type} {reference}{reason(error)} There are {there or 'none'}.") from error
        require_commit(resolved)
    return Pin(repo_id, revision or "main", resolved)


def require_commit(sha: str) -> None:
    """Raise ValueError for what is no full commit."""
    if not COMMIT.fullmatch(sha):
        raise ValueError(f"the commit {sha!r}")


def pull(
    pin: Pin, repo_type: RepoType = "model", files: Sequence[str] | None = None, without: Sequence[str] = ()
) -> Path:
    """Download the files (glob patterns; all if None) of a pinned commit into the cache; returns its folder.

    What arrives is compared with the digest that the Hub names; what differs is removed, so that the next try gets it
    anew. Raises HubError for that, and where the Hub is out of reach and a file isn't in the cache.
    """
    with clear_errors(f"{repo_type} {pin}"), Phase(f"downloading {pin}", drawn=False):
        cache = Path(constants.HF_HUB_CACHE).expanduser() / repo_folder_name(repo_id=pin.repo_id, repo_type=repo_type)
        folder, listing = cache / "snapshots" / pin.sha, cache / "trees" / f"{pin.sha}.json"
        present = set(folder.rglob("*"))
        with passing_bars() as bars:
            api().snapshot_download(
                pin.repo_id,
                repo_type=repo_type,
                revision=pin.sha,
                allow_patterns=None if files is None else list(files),
                ignore_patterns=list(without) or None,
                tqdm_class=bars,
            )
        for path in set(folder.rglob("*")) - present:
            require_intact(path)
        if not folder.is_dir() and listing.is_file() and not json.loads(listing.read_text())["files"]:
            listing.unlink()  # or it would be believed for ever
            raise ValueError("a commit without files")
    return folder


def require_intact(path: Path) -> None:
    """Raise ValueError, and remove a file of the cache, where its content isn't what its digest says."""
    blob = path.resolve()  # called by its sha256, or by what git calls it
    if not blob.is_file() or not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", blob.name):
        return
    digest = hashlib.sha256() if len(blob.name) == 64 else hashlib.sha1(b"blob %d\0" % blob.stat().st_size)
    with blob.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    if digest.hexdigest() != blob.name:
        path.unlink()
        blob.unlink()
        raise ValueError(f"{path.name} doesn't have the digest that it should have")


def list_files(pin: Pin, repo_type: RepoType = "model") -> list[str]:
    """The names of all files at a pinned commit."""
    with clear_errors(f"{repo_type} {pin}"):
        return api().list_repo_files(pin.repo_id, repo_type=repo_type, revision=pin.sha)


def user() -> str:
    """The name of the token's user; raises HubError without a working token."""
    return account()[0][0]


def account() -> tuple[list[str], str | None]:
    """The namespaces of the token's user, its own first, and the token's role, if the Hub tells; raises HubError."""
    if get_token() is None:
        raise HubError("Pushing needs a token. No token is set: log in with `hf auth login`, or set HF_TOKEN.")
    with clear_errors("Your account"):
        found = api().whoami(cache=True)
        role = found.get("auth", {}).get("accessToken", {}).get("role")
        return [found["name"], *(each["name"] for each in found.get("orgs", []))], role


def full_repo_id(name: str, namespace: str | None = None) -> str:
    """`name` itself if it has an owner, else under `namespace`, else under the token's user."""
    return name if "/" in name else f"{namespace or user()}/{name}"


def tags(repo_id: str, repo_type: RepoType) -> dict[str, str]:
    """The repository's git tags with their commits; empty where the repository doesn't exist yet."""
    return refs(repo_id, repo_type)[0]


def refs(repo_id: str, repo_type: RepoType) -> tuple[dict[str, str], dict[str, str]]:
    """The repository's git tags, then its branches, with their commits; empty where it doesn't exist yet."""
    with clear_errors(f"{repo_type} {repo_id}"):
        try:
            found = api().list_repo_refs(repo_id, repo_type=repo_type)
        except RepositoryNotFoundError:
            return {}, {}
        return tuple({ref.name: ref.target_commit for ref in kind} for kind in (found.tags, found.branches))


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

    Raises ConfigError for what is no name of a tag, branch or repository, HubError for a token that may not write
    there, and for a repository that was to be private and is public already. A tag that is taken isn't judged.
    """
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
    if private and branches:
        with clear_errors(f"{repo_type} {repo_id}"):
            is_private = api().repo_info(repo_id, repo_type=repo_type).private
        if not is_private:
            raise HubError(
                f"{repo_type} {repo_id} is there already, and public: make it private in its settings, push to "
                "another repository, or leave out --hub_private_repo."
            )
    return present


def require_writable(namespace: str, what: str) -> None:
    """Raise HubError, naming `what`, where the token's user may not write in a namespace, as far as the Hub tells."""
    known, role = account()
    if namespace not in known or role == "read":
        may = "only reads" if role == "read" else f"is that of {some(known)}"
        raise HubError(
            f"{what}: your token may not push to {namespace}; it needs write access to this namespace, and {may}. Log "
            "in with another by `hf auth login`, or name another owner."
        )


def require_free(repo_id: str, repo_type: RepoType, *, tag: str | None = None, **push: Any) -> None:
    """As `require_pushable`; raises Taken for a tag that the repository has already, too."""
    present = require_pushable(repo_id, repo_type, tag=tag, **push)
    if tag in present:
        raise taken(tag, present, repo_id)


def taken(tag: str, present: Mapping[str, str], repo_id: str) -> Taken:
    """The error for a tag that the repository has already."""
    return Taken(
        f"{repo_id} has a tag {tag} already (commit {present[tag][:8]}): choose another --hub_tag, or another "
        "--hub_dataset_id."
    )


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
    card = pull(pin, repo_type, ["README.md"]) / "README.md"
    return card.is_file() and card.read_bytes() == (folder / "README.md").read_bytes()


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
    with clear_errors(f"{repo_type} {repo_id}"), Phase(f"pushing to {repo_id}", drawn=False):
        if branch is not None and not create_pr:
            api().create_branch(repo_id, branch=branch, repo_type=repo_type, exist_ok=True)
        onto = api().repo_info(repo_id, repo_type=repo_type, revision=None if create_pr else branch).sha
        commit = api().upload_folder(
            repo_id=repo_id,
            repo_type=repo_type,
            folder_path=folder,
            allow_patterns=list(files),
            delete_patterns=list(files),
            commit_message=message,
            revision=branch,
            create_pr=create_pr,
            parent_commit=onto,
        )
        require_commit(commit.oid)
    return commit


def create_tag(repo_id: str, repo_type: RepoType, tag: str, sha: str) -> None:
    """Put a git tag on a commit, where it may be already; raises Outrun where it is on another one."""
    try:
        with clear_errors(f"tag {tag} of {repo_type} {repo_id}"):
            api().create_tag(repo_id, tag=tag, repo_type=repo_type, revision=sha)
    except HubError:  # it may be there nevertheless, or somebody else's
        present = tags(repo_id, repo_type).get(tag)
        if present not in (sha, None):
            raise Outrun(f"Somebody else has put the tag {tag} of {repo_id} on the commit {present[:8]}.") from None
        if present is None:
            raise


def find_models(filters: Sequence[str], owner: str | None = None) -> dict[str, list[str]]:
    """All models (of an owner) that carry all of these Hub tags, sorted by their ids: each with all of its tags."""
    with clear_errors(f"models tagged {' '.join(filters)}"):
        found = {model.id: model.tags or [] for model in api().list_models(filter=list(filters), author=owner)}
    return dict(sorted(found.items()))


def find_datasets(filters: Sequence[str], owner: str | None = None, public: bool = False) -> list[Pin]:
    """All data sets (of an owner) that carry all of these Hub tags, sorted by their ids: each at its commit now.

    If `public`, without those that not everybody may read.
    """
    asked = {"filter": list(filters), "author": owner, "expand": ["sha", "private", "gated"]}
    with clear_errors(f"data sets tagged {' '.join(filters)}"):
        listed = [each for each in api().list_datasets(**asked) if not (public and (each.private or each.gated))]
        found = {each.id: each.sha for each in listed}
        for sha in found.values():
            require_commit(sha or "")
    return [Pin(repo_id, "main", sha) for repo_id, sha in sorted(found.items())]


def publish_space(folder: Path, repo_id: str, message: str, private: bool = False) -> str:
    """Push a folder as a static Space, in one commit that removes what the folder lacks; returns the Space's page.

    The Space is created if it isn't there. Raises errors as `require_pushable`, and HubError for what the Hub refuses.
    """
    require_pushable(repo_id, "space", private=private)
    with clear_errors(f"space {repo_id}"):
        api().create_repo(repo_id, repo_type="space", space_sdk="static", private=private or None, exist_ok=True)
    push_files(folder, repo_id, "space", ["*"], message, None, False)
    return f"{endpoint()}/spaces/{repo_id}"


def dataset_license(pin: Pin) -> str | None:
    """The license that a data set's card names at this commit, or None."""
    license = front_matter(pull(pin, "dataset", ["README.md"])).get("license")
    license = license[0] if isinstance(license, list) and license else license
    return license if isinstance(license, str) else None


def front_matter(folder: Path) -> dict[str, Any]:
    """What the card of a data set in a folder says for machines; empty without a card."""
    card = folder / "README.md"
    return DatasetCard.load(card).data.to_dict() if card.is_file() else {}


def create_collection(
    title: str, items: Sequence[CollectionItem], *, namespace: str | None, description: str, private: bool = False
) -> Collection:
    """Make a collection, or bring the one of this title and owner to these items and notes.

    Raises HubError before anything is written where the title, the description or a note is longer than the Hub takes,
    where the token may not write there, or where it is to be private and is there already, public.
    """
    for item in items:
        if len(item.note) > NOTE_LIMIT:
            raise HubError(
                f"The note that pins {item.repo_id} has {len(item.note)} characters; the Hub takes {NOTE_LIMIT}. Put "
                "fewer of its revisions into one pool (about nine fit)."
            )
    for what, text, limit in (("title", title, TITLE_LIMIT), ("description", description, DESCRIPTION_LIMIT)):
        if len(text) > limit:
            raise HubError(f"The {what} has {len(text)} characters; the Hub takes {limit}: shorten it.")
    owner = namespace or user()
    what = f"collection {title!r} of {owner}"
    require_writable(owner, what)
    with clear_errors(what):
        made = api().create_collection(
            title, namespace=owner, description=description, private=private, exists_ok=True
        )
        if private and not made.private:
            raise HubError(
                f"Collection {made.slug} is there already, and public: make it private on its page, give another "
                "title, or leave out --private."
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
