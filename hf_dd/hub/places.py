"""From a reference to its files: where it leads, the commit that it means, what is pulled of that."""

import contextlib
import functools
import hashlib
import json
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from huggingface_hub import DatasetCard, constants, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import repo_folder_name

from hf_dd.core.layout import CARD
from hf_dd.core.progress import Phase, passing_bars
from hf_dd.errors import HubError, some
from hf_dd.hub import client
from hf_dd.hub.client import clear_errors, reason

RepoType = Literal["model", "dataset", "space"]
REFERENCE = re.compile(r"(?P<repo_id>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>.+))?")
DIGEST = "sha256:"  # before the digest of weights, which stands where a commit would, for what is no repository
COMMIT = re.compile(r"[0-9a-f]{40}")
FILES = (".pt", ".pth", ".npz", ".npy", ".parquet", ".csv", ".json", ".jsonl", ".yaml", ".yml", ".safetensors")
FILES += (".zip", ".tar", ".gz", ".tgz", ".png", ".jpg", ".jpeg")  # how files end, and hardly a repository
GLOB = re.compile(r"[*?\[]")  # of a pattern, which no name of a file has

# That a repository has none of the files that it may have is nothing to warn of.
logging.getLogger("huggingface_hub._snapshot_download").addFilter(lambda said: "No files matched" not in str(said.msg))


def digits(sha: str) -> str:
    """The first 8 hex digits of a commit, or of the digest of weights."""
    return sha.removeprefix(DIGEST)[:8]


def short(sha: str) -> str:
    """The first 8 hex digits of a commit, or `sha256:` and the first 12 of a digest of weights."""
    return sha[: len(DIGEST) + 12] if sha.startswith(DIGEST) else sha[:8]


def page(endpoint: str, repo_id: str, sha: str, repo_type: RepoType = "model") -> str:
    """Where a Hub shows a repository at a commit."""
    return f"{endpoint}/{'' if repo_type == 'model' else f'{repo_type}s/'}{quote(repo_id)}/tree/{quote(sha)}"


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
        return f"{self.repo_id}@{self.revision} ({digits(self.sha)})"


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
    """Where a reference leads, to a folder before a repository; None where it is of neither form, and for a file.

    Without a revision what ends as files do is taken for one, whether it is there or not. The folder of a model may
    have its revisions as folders, and is named with one of them: `folder@revision`.
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
    named = None if is_file(reference) else REFERENCE.fullmatch(reference)
    return named and Place(named["repo_id"], named["revision"], False, repo_type)


def is_file(reference: str) -> bool:
    """Whether a reference is the path of a file, or ends as one."""
    return os.path.isfile(os.path.expanduser(reference)) or reference.lower().endswith(FILES)


def resolve(reference: str, repo_type: RepoType = "model") -> Pin:
    """The commit that `owner/name@revision` means now (`main` without a revision); raises HubError."""
    named = REFERENCE.fullmatch(reference)
    if named is None:
        raise HubError(f"{reference!r} isn't a Hub reference: write owner/name or owner/name@revision.")
    repo_id, revision = named["repo_id"], named["revision"]
    with clear_errors(f"{repo_type} {reference}", cached=True):
        try:
            resolved = str(client.api().resolve_revision(repo_id, repo_type=repo_type, revision=revision).resolved)
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
    pin: Pin,
    repo_type: RepoType = "model",
    files: Sequence[str] | None = None,
    without: Sequence[str] = (),
    dispensable: Sequence[str] = (),
) -> Path:
    """Download the files (glob patterns; all if None) of a pinned commit into the cache; returns its folder.

    What arrives is compared with the digest that the Hub names; what differs is removed, so that the next try gets it
    anew. Raises HubError for that, and where the Hub is out of reach and a file isn't in the cache, or may not be.
    `dispensable` files are done without where nobody can tell whether the commit has them.
    """
    with clear_errors(f"{repo_type} {pin}", cached=True), Phase(f"downloading {pin}", drawn=False):
        cache = Path(constants.HF_HUB_CACHE).expanduser() / repo_folder_name(repo_id=pin.repo_id, repo_type=repo_type)
        folder, listing = cache / "snapshots" / pin.sha, cache / "trees" / f"{pin.sha}.json"
        present = set(folder.rglob("*"))
        with passing_bars() as bars:
            client.api().snapshot_download(
                pin.repo_id,
                repo_type=repo_type,
                revision=pin.sha,
                allow_patterns=None if files is None else list(files),
                ignore_patterns=list(without) or None,
                tqdm_class=bars,
            )
        if not listing.is_file():
            needed = [name for name in files or () if not (name in dispensable or GLOB.search(name))]
            require_known(pin, repo_type, needed)
        for path in set(folder.rglob("*")) - present:
            require_intact(path)
        if not folder.is_dir() and listing.is_file() and not json.loads(listing.read_text(encoding="utf-8"))["files"]:
            listing.unlink()  # or it would be believed for ever
            raise ValueError("a commit without files")
    return folder


def require_known(pin: Pin, repo_type: RepoType, names: Sequence[str]) -> None:
    """Raise an error of the clients unless each of these files is in the cache or is none of the commit's.

    Out of reach the client takes whatever another program left in the cache for all of the commit.
    """
    about = {"repo_type": repo_type, "revision": pin.sha, "cache_dir": Path(constants.HF_HUB_CACHE).expanduser()}
    unknown = {name for name in names if try_to_load_from_cache(pin.repo_id, name, **about) is None}
    if unknown and (
        lacking := unknown & {*client.api().list_repo_files(pin.repo_id, repo_type=repo_type, revision=pin.sha)}
    ):
        raise LocalEntryNotFoundError(f"{some(sorted(lacking))} couldn't be downloaded")


def require_intact(path: Path) -> None:
    """Raise ValueError, and remove a file of the cache, where its content isn't what its digest says.

    What lies outside of its repository's folder is shared with others, and stays.
    """
    if not path.is_symlink():
        return
    blob = path.parent / os.readlink(path)  # called by its sha256, or by what git calls it; a link itself if shared
    if not blob.is_file() or not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", blob.name):
        return
    digest = hashlib.sha256() if len(blob.name) == 64 else hashlib.sha1(b"blob %d\0" % blob.stat().st_size)
    with blob.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    if digest.hexdigest() != blob.name:
        shared = f": remove {blob.resolve()}, which other repositories share" if blob.is_symlink() else ""
        path.unlink()
        blob.unlink()
        raise ValueError(f"{path.name} doesn't have the digest that it should have{shared}")


def list_files(pin: Pin, repo_type: RepoType = "model") -> list[str]:
    """The names of all files at a pinned commit."""
    with clear_errors(f"{repo_type} {pin}"):
        return client.api().list_repo_files(pin.repo_id, repo_type=repo_type, revision=pin.sha)


def tags(repo_id: str, repo_type: RepoType) -> dict[str, str]:
    """The repository's git tags with their commits; empty where the repository doesn't exist yet."""
    return refs(repo_id, repo_type)[0]


def refs(repo_id: str, repo_type: RepoType) -> tuple[dict[str, str], dict[str, str]]:
    """The repository's git tags, then its branches, with their commits; empty where it doesn't exist yet."""
    with clear_errors(f"{repo_type} {repo_id}"):
        try:
            found = client.api().list_repo_refs(repo_id, repo_type=repo_type)
        except GatedRepoError:  # a kind of the next, but it is there
            raise
        except RepositoryNotFoundError:
            return {}, {}
        return tuple({ref.name: ref.target_commit for ref in kind} for kind in (found.tags, found.branches))


def is_private(repo_id: str, repo_type: RepoType) -> bool:
    """Whether a repository isn't for everybody to see."""
    with clear_errors(f"{repo_type} {repo_id}"):
        return bool(client.api().repo_info(repo_id, repo_type=repo_type).private)


def dataset_license(pin: Pin) -> str | None:
    """The license that a data set's card names, several with commas between, or None.

    The card is that of this commit, or of main where it has none, as what the Hub converts.
    """
    folder = pull(pin, "dataset", [CARD])
    if not (folder / CARD).is_file() and pin.revision != "main":
        with contextlib.suppress(HubError), clear_errors(f"dataset {pin.repo_id}"):  # it may have none either
            # The card alone: a list of main's files would have the client miss them where there is no network.
            folder = Path(client.api().hf_hub_download(pin.repo_id, CARD, repo_type="dataset")).parent
    front = front_matter(folder)
    license = front.get("license")
    license = ", ".join(map(str, license)) if isinstance(license, list) else license
    named = front.get("license_name") if license == "other" else None
    return next((each for each in (named, license) if isinstance(each, str) and each), None)


def front_matter(folder: Path) -> dict[str, Any]:
    """What the card of a data set in a folder says for machines; empty without a card."""
    card = folder / CARD
    if not card.is_file() or not card.read_text("utf-8", "replace").lstrip("\ufeff \r\n").startswith("---"):
        return {}  # which the Hub's client would warn of
    return DatasetCard.load(card).data.to_dict()
