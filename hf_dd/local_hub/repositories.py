"""Repositories: which exist, and in which folder each is."""

import secrets
import shutil
import threading
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from hf_dd.local_hub.accounts import RESERVED_NAMESPACES, is_name
from hf_dd.local_hub.errors import HubHttpError
from hf_dd.local_hub.git import GitRepository, require_space
from hf_dd.local_hub.lfs import PART_SUFFIX, LfsStorage, git_attributes
from hf_dd.local_hub.store import DocumentStore, sync_folder

UNFINISHED = ".unfinished"


def timestamp(seconds: float | None = None) -> str:
    """A time (default: now) as the Hub writes it."""
    moment = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


@dataclass(frozen=True)
class Record:
    """What is known of a repository apart from its files; `uid` names its folder and never changes."""

    uid: str
    kind: str  # "model", "dataset" or "space"
    repo_id: str  # "namespace/name"
    private: bool
    created_at: str
    gated: str | bool = False

    @property
    def key(self) -> str:
        """Its name among the documents."""
        return f"{self.kind}/{self.repo_id}"

    @property
    def namespace(self) -> str:
        """The user or organization that owns it."""
        return self.repo_id.split("/")[0]

    @property
    def web_path(self) -> str:
        """The path of its web address."""
        return f"/{self.repo_id}" if self.kind == "model" else f"/{self.kind}s/{self.repo_id}"


class Repositories:
    """All repositories: one document and one folder (`<uid>/git`, `<uid>/lfs`) each.

    A repository exists from the moment its document is stored. A folder is built, and removed, under a name that ends
    in `.unfinished`, so that opening can tell the rest of a killed process from data.
    """

    def __init__(self, folder: Path, documents: DocumentStore):
        self._folder = folder.resolve()
        self._documents = documents
        self._open: dict[str, GitRepository] = {}
        self._lock = threading.Lock()
        folder.mkdir(exist_ok=True)
        self._clean_up()

    def _clean_up(self):
        """Remove what a killed process left: half-made folders, half uploads, git's lock files."""
        for folder in list(self._folder.iterdir()):
            if folder.name.endswith(UNFINISHED):
                shutil.rmtree(folder, ignore_errors=True)
            for leftover in [*folder.glob("git/**/*.lock"), *folder.glob(f"lfs/*{PART_SUFFIX}")]:
                leftover.unlink()

    def create(self, kind: str, repo_id: str, private: bool, author: str) -> Record | None:
        """A new repository with a first commit on `main`; None if the name is taken."""
        _check_name(kind, repo_id)
        record = Record(secrets.token_hex(12), kind, repo_id, private, timestamp())
        if self.find(kind, repo_id):
            return None
        require_space(self._folder, 0)
        folder = self._folder / (record.uid + UNFINISHED)
        try:
            (folder / "lfs").mkdir(parents=True)
            git = GitRepository.create(folder / "git")
            objects = git.new_objects()
            files = {".gitattributes": objects.add_blob(git_attributes(kind))}
            git.create_ref("refs/heads/main", git.add_commit(objects, files, [], author, "initial commit"))
            sync_folder(folder / "git")
            sync_folder(folder)
            folder.rename(self._folder / record.uid)
            sync_folder(self._folder)
            if self._documents.add("repository", record.key, asdict(record)):
                return record
            self._remove_folder(record.uid)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return None

    def find(self, kind: str, repo_id: str) -> Record | None:
        """The repository of that name, or None."""
        document = self._documents.get("repository", f"{kind}/{repo_id}")
        return Record(**document) if document else None

    def is_gone(self, uid: str) -> bool:
        """Whether a repository that was there has been deleted since."""
        return not (self._folder / uid).is_dir()

    def all(self, kind: str) -> list[Record]:
        """All repositories of a kind, oldest first."""
        records = (Record(**document) for document in self._documents.all("repository"))
        return [record for record in records if record.kind == kind]

    def update(self, record: Record, **changes) -> Record | None:
        """Change settings or, with `repo_id`, the name; None if the new name is taken."""
        with self._lock:
            now = self.find(record.kind, record.repo_id) or record
            changed = replace(now, **changes)
            _check_name(changed.kind, changed.repo_id)
            return changed if self._documents.replace("repository", now.key, asdict(changed), changed.key) else None

    def delete(self, record: Record):
        """Forget the repository, then remove its folder."""
        with self.git(record).writing(), self._lock:
            if self.find(record.kind, record.repo_id) == record:  # and no other one of that name, made since
                self._documents.delete("repository", record.key)
                self._open.pop(record.uid, None)
                self._remove_folder(record.uid)

    def _remove_folder(self, uid):
        doomed = self._folder / (uid + UNFINISHED)
        (self._folder / uid).rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)

    def git(self, record: Record) -> GitRepository:
        """The repository's git side: always the same object, so that its lock means something."""
        with self._lock:
            if record.uid not in self._open:
                self._open[record.uid] = GitRepository(self._folder / record.uid / "git")
            return self._open[record.uid]

    def lfs(self, uid: str) -> LfsStorage:
        """The repository's large files."""
        return LfsStorage(self._folder / uid / "lfs")


def _check_name(kind, repo_id):
    """A 400 unless the name can be part of an address and of a client's cache folder."""
    namespace, _, name = repo_id.partition("/")
    allowed = is_name(namespace) and is_name(name) and not name.endswith((".git", ".lock"))
    if kind not in ("model", "dataset", "space") or namespace in RESERVED_NAMESPACES or not allowed:
        raise HubHttpError(400, f"There can't be a {kind[:20]} named {repo_id[:200]!r}")
