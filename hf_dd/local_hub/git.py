"""Git: what is in one repository, and how a commit gets there whole."""

import contextlib
import errno
import os
import re
import shutil
import stat
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from dulwich.errors import NotTreeError
from dulwich.index import commit_tree
from dulwich.object_store import iter_tree_contents, tree_lookup_path
from dulwich.objects import Blob, Commit
from dulwich.refs import check_ref_format
from dulwich.repo import Repo

from hf_dd.local_hub.errors import HubHttpError, revision_not_found
from hf_dd.local_hub.store import sync_folder

REGULAR_FILE = 0o100644
COMMIT_ID = re.compile("[0-9a-f]{40}")
SPARE_BYTES = 2**20  # of the disk that stay free
MAX_REF_BYTES = 240  # a file of that name, and its .lock, have to be possible


class Entry(NamedTuple):
    """A file or folder of a commit."""

    path: str
    oid: bytes
    is_folder: bool


class NewObjects:
    """The git objects of a commit in the making: they are on the disk, none in memory, before any ref names them."""

    def __init__(self, repo: Repo, folder: Path):
        self._store = repo.object_store
        self._folder = folder / "objects"
        self._prefixes = set()

    def add_object(self, item):
        """Write one object (the method that dulwich's `commit_tree` calls)."""
        require_space(self._folder, item.raw_length())
        self._store.add_object(item)
        self._prefixes.add(item.id[:2].decode())

    def add_blob(self, content: bytes) -> bytes:
        """Write a file's content; returns its git id."""
        blob = Blob.from_string(content)
        self.add_object(blob)
        return blob.id

    def sync(self):
        """Make all of them survive a power cut."""
        for folder in [*(self._folder / prefix for prefix in self._prefixes), self._folder]:
            sync_folder(folder)


def require_space(folder: Path, size: int):
    """Raise `OSError` where a file of so many bytes may not fit: git's library stumbles over a disk that fills up."""
    if shutil.disk_usage(folder).free < size + SPARE_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def is_ref(name: str) -> bool:
    """Whether git takes the full name of a ref, and a file system its parts."""
    return len(name.encode()) <= MAX_REF_BYTES and check_ref_format(name.encode())


class GitRepository:
    """A bare repository. Ids of objects are 40 hex digits as bytes; refs are moved in `writing()` only."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._lock = threading.RLock()
        self._repo = Repo(str(folder))
        self._repo.object_store.fsync_object_files = True

    @classmethod
    def create(cls, folder: Path) -> "GitRepository":
        """A new empty repository in the (missing) folder."""
        Repo.init_bare(str(folder), mkdir=True, default_branch=b"main").close()
        return cls(folder)

    # ---- reading

    def resolve(self, revision: str) -> bytes:
        """The commit behind a full commit id, `refs/...` name, tag or branch, in git's order; else a 404.

        A ref that looks like a commit id, as a foreign repository may have one, stands for nothing.
        """
        name = revision.encode()
        if COMMIT_ID.fullmatch(revision):
            if name in self._repo.object_store and isinstance(self._repo[name], Commit):
                return name
        else:
            for prefix in [b""] if name.startswith(b"refs/") else [b"refs/tags/", b"refs/heads/"]:
                if is_ref((prefix + name).decode()):
                    with contextlib.suppress(KeyError):
                        return self._repo.refs[prefix + name]
        raise revision_not_found(revision)

    def refs(self, prefix: str) -> dict[str, str]:
        """Short name to commit id of the refs under `prefix`, such as "refs/heads"."""
        found = self._repo.refs.as_dict(prefix.encode())
        return {name.decode(): commit.decode() for name, commit in sorted(found.items())}

    def files(self, commit: bytes) -> dict[str, bytes]:
        """Path to blob id of every file of a commit."""
        entries = iter_tree_contents(self._repo.object_store, self._repo[commit].tree)
        return {entry.path.decode(): entry.sha for entry in entries}

    def find(self, commit: bytes, path: str) -> Entry | None:
        """The entry at `path` ("" is the root folder), or None."""
        root = self._repo[commit].tree
        if not path:
            return Entry("", root, True)
        if "" in path.split("/"):
            return None
        try:
            mode, oid = tree_lookup_path(self._repo.object_store.__getitem__, root, path.encode())
        except (KeyError, ValueError, NotTreeError):
            return None
        return Entry(path, oid, stat.S_ISDIR(mode))

    def walk(self, folder: Entry, recursive: bool) -> Iterator[Entry]:
        """The entries of a folder, each folder followed by its content if `recursive`."""
        for item in self._repo[folder.oid].items():
            name = item.path.decode()
            entry = Entry(f"{folder.path}/{name}" if folder.path else name, item.sha, stat.S_ISDIR(item.mode))
            yield entry
            if recursive and entry.is_folder:
                yield from self.walk(entry, recursive)

    def blob(self, oid: bytes) -> bytes:
        """A file's content as git has it (for a large file: its LFS pointer)."""
        return self._repo[oid].data

    def glance(self, oid: bytes) -> tuple[int, bytes]:
        """Bytes of a file's content, and its first ones (all of an LFS pointer's), without reading the rest."""
        try:
            with (self.folder / "objects" / oid[:2].decode() / oid[2:].decode()).open("rb") as file:
                start = zlib.decompressobj().decompress(file.read(4096), 1024)
        except FileNotFoundError:  # packed, by somebody's `git gc`
            content = self.blob(oid)
            return len(content), content[:1024]
        kind_and_size, _, content = start.partition(b"\0")
        return int(kind_and_size.split()[1]), content

    def read(self, commit: bytes, path: str) -> bytes | None:
        """The git content of the file at `path`, or None."""
        entry = self.find(commit, path)
        return self.blob(entry.oid) if entry and not entry.is_folder else None

    def history(self, commit: bytes, path: str | None = None) -> Iterator[Commit]:
        """The commits that lead to `commit`, newest first; with `path`, only those that changed it."""
        paths = [path.encode()] if path else None
        return (step.commit for step in self._repo.get_walker(include=[commit], paths=paths))

    # ---- writing

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """One thread at a time; a write that fails leaves no lock file of git's, which would refuse all later ones."""
        with self._lock:
            try:
                yield
            except OSError:
                for leftover in self.folder.glob("**/*.lock"):
                    leftover.unlink(missing_ok=True)
                raise

    def new_objects(self) -> NewObjects:
        """Where the files of a commit in the making go."""
        return NewObjects(self._repo, self.folder)

    def add_commit(self, objects: NewObjects, files: dict, parents: list[bytes], author: str, message: str) -> bytes:
        """Write a commit of `files` (path to blob id), which are among `objects`, durably; no ref moves yet."""
        commit = Commit()
        commit.tree = commit_tree(objects, [(path.encode(), oid, REGULAR_FILE) for path, oid in files.items()])
        commit.parents = parents
        commit.author = commit.committer = f"{author} <{author}@example.invalid>".encode()
        commit.author_time = commit.commit_time = int(time.time())
        commit.author_timezone = commit.commit_timezone = 0
        commit.encoding = b"UTF-8"
        commit.message = message.encode()
        objects.add_object(commit)
        objects.sync()
        return commit.id

    def move_ref(self, ref: str, expected: bytes, commit: bytes) -> bool:
        """Compare-and-swap: point `ref` at `commit` if it is still at `expected`; False if not."""
        require_space(self.folder, 0)
        name = ref.encode()
        moved = self._repo.refs.set_if_equals(name, expected, commit)
        sync_folder((self.folder / ref).parent)
        return moved

    def create_ref(self, ref: str, commit: bytes):
        """A new ref: 400 for a name that git or a reader may take for something else, 409 for a taken one."""
        name = ref.split("/", 2)[2]
        shadows = COMMIT_ID.fullmatch(name.lower()) or name == "HEAD" or name.startswith(("-", "refs/"))
        if shadows or not is_ref(ref):
            raise HubHttpError(400, f"Invalid reference name: {ref}")
        require_space(self.folder, 0)
        try:
            created = self._repo.refs.add_if_new(ref.encode(), commit)
        except (NotADirectoryError, IsADirectoryError, FileExistsError):  # "a" and "a/b" can't both exist
            created = False
        if not created:
            raise HubHttpError(409, f"Reference already exists: {ref}")
        sync_folder((self.folder / ref).parent)

    def delete_ref(self, ref: str):
        """Remove a ref; 404 if it doesn't exist."""
        if not is_ref(ref) or ref.encode() not in self._repo.refs:
            raise revision_not_found(ref)
        self._repo.refs.remove_if_equals(ref.encode(), None)

    def next_pull_request(self) -> int:
        """The lowest number above those of all pull requests."""
        return 1 + max((int(number) for number in self.refs("refs/pr")), default=0)
