"""Files and folders that are written whole or not at all.

What is written lies beside its place until it is complete, is brought to the disk, and then moved there.
"""

import contextlib
import ctypes
import errno
import hashlib
import io
import json
import os
import shutil
import tempfile
import threading
import uuid
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from safetensors import SafetensorError

from hf_dd.errors import RunError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

REMOVED = "somebody has removed it while it was written"
UNFINISHED = ".unfinished-"  # how the names of what isn't whole begin


@contextlib.contextmanager
def writing(path: Path, done: str = "written") -> Iterator[None]:
    """Let whatever a disk refuses be one clear error, which names the place: a RunError."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RunError(
            f"{path} can't be {done}: {reason}. What was finished before is still there: see to that place, or give "
            "another one, and run the command again."
        ) from error


def is_free(folder: Path) -> bool:
    """Whether a folder isn't there, or holds only what a killed process left; raises RunError as `writing`."""
    with writing(folder):
        return not folder.exists() or all(path.name.startswith(UNFINISHED) for path in folder.iterdir())


def strange(folder: Path, what: str) -> RunError:
    """The error for a folder that is neither free nor holds `what`."""
    return RunError(f"{folder} isn't empty, and what it holds is no {what}: give another --output_dir.")


def another(folder: Path, what: str) -> RunError:
    """The error for a folder that holds `what`, but another one than is to be written, which may replace it."""
    return RunError(f"{folder} holds another {what}: give --overwrite_output_dir, or another --output_dir.")


@contextlib.contextmanager
def unfinished(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to, which becomes `path` if all goes well and is removed if not.

    The name is nobody else's, so that two processes may write the same file: the later one's stays. Raises RunError,
    naming `path`, where the disk doesn't take it.
    """
    temporary = path.with_name(f"{UNFINISHED}{uuid.uuid4().hex}-{path.name}")
    try:
        with writing(path):
            _require_held(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            flush(temporary)
            os.replace(temporary, path)
            flush(path.parent)
    finally:
        with contextlib.suppress(OSError):  # moved, or never made
            temporary.unlink()


@contextlib.contextmanager
def folder(path: Path, replaced: Collection[str] | None = None) -> Iterator[Path]:
    """A new folder beside `path` to write into, which becomes `path` if all goes well and is removed if not.

    A folder that was there before stays until then. If `replaced` is given, only its entries of these names go with
    it; all others are in the new folder too. One process at a time may write it: the name is always the same, so that
    what a killed one left is removed by the next. Raises RunError, naming `path`, where the disk doesn't take it.
    """
    path = path.resolve() if path.is_symlink() else path
    temporary, lock = path.with_name(f"{UNFINISHED}{path.name}"), None
    try:
        with writing(path):
            _require_held(path)
            _remove(temporary)
            temporary.mkdir(parents=True)
            lock = _lock(temporary)
            yield temporary
            if not _is(temporary, lock):
                raise FileNotFoundError(errno.ENOENT, REMOVED)
            if replaced is not None and path.is_dir():
                own = {name for name in replaced if (path / name).exists()}
                shutil.copytree(
                    *(path, temporary),
                    ignore=lambda place, _: own if Path(place) == path else (),
                    copy_function=link_or_copy,
                    dirs_exist_ok=True,
                    symlinks=True,
                )
            for part in (*temporary.rglob("*"), temporary):
                if not part.is_symlink():
                    flush(part)
            exchange(temporary, path)
            if path.resolve() in _claims:
                _claims[path.resolve()].locks.append(lock)
                lock = None
            flush(path.parent)
    finally:
        if lock is not None:
            os.close(lock)
        with contextlib.suppress(OSError):
            _remove(temporary)  # what it was before, if all went well


def exchange(new: Path, path: Path) -> None:
    """Let the folder `new` be `path`, and what was there be `new`: in one step, where the system has one for that."""
    if not path.exists():
        new.rename(path)
    elif not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "a file is in its place")
    elif not _exchanged(new, path):
        former = path.with_name(f"{UNFINISHED}former-{path.name}")
        path.rename(former)
        new.rename(path)
        former.rename(new)


def _exchanged(new: Path, path: Path) -> bool:
    try:
        rename = ctypes.CDLL(None).renameat2  # of Linux
    except (AttributeError, TypeError):
        return False
    here, swap = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return rename(here, os.fsencode(new.absolute()), here, os.fsencode(path.absolute()), swap) == 0


def link_or_copy(source: str, target: str) -> None:
    """A second name of a file, or a copy of it where the disk has no such names."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


class Claim(NamedTuple):
    """Which thread holds a folder, and descriptors with its locks."""

    thread: int
    locks: list[int | None]


_claims: dict[Path, Claim] = {}  # by folders that this process holds
_claiming = threading.Lock()


@contextlib.contextmanager
def claimed(path: Path, *parts: str) -> Iterator[None]:
    """Hold a folder against other processes and threads, making it if need be.

    What killed ones left unfinished beside it, in it and in its `parts` is removed. A process that is killed holds
    nothing any more; where the disk has no locks, nothing is held against other processes. Raises RunError where
    another process or thread holds it, and where it can't be made. A folder that was made here and stays empty is
    removed.
    """
    with writing(path):
        made = not path.exists()
        path.mkdir(parents=True, exist_ok=True)
        place = path.resolve()
        with _claiming:
            further_out = place in _claims and _claims[place].thread == threading.get_ident()
            if place in _claims and not further_out:
                raise held_by_another(path)
            if not further_out:
                _claims[place] = Claim(threading.get_ident(), [_lock(path)])
    if further_out:
        yield
        return
    try:
        with writing(path):
            former = place.with_name(f"{UNFINISHED}former-{place.name}")
            if former.is_dir() and not any(place.iterdir()):  # killed where the system has no exchange
                former.rename(place)
            for left in (place.with_name(f"{UNFINISHED}{place.name}"), former):
                _remove(left)
            for part in (place, *(place / part for part in parts)):
                clear(part)
        yield
    finally:
        for descriptor in _claims.pop(place).locks:
            if descriptor is not None:
                os.close(descriptor)
        if made:
            with contextlib.suppress(OSError):
                path.rmdir()


def _lock(path: Path) -> int | None:
    """Lock a folder until the descriptor is closed, where there are locks; raises RunError for a locked one."""
    if fcntl is None:
        return None
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise held_by_another(path) from error
    except OSError:  # a disk without locks
        pass
    return descriptor


def held_by_another(path: Path) -> RunError:
    """The error for a folder that another run holds."""
    return RunError(f"Another run is writing into {path}: wait until it has ended, or give another --output_dir.")


def _is(path: Path, descriptor: int | None) -> bool:
    """Whether a folder is still the one that was locked."""
    try:
        return descriptor is None or os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _require_held(path: Path) -> None:
    """Raise FileNotFoundError where a folder that this process holds isn't there any more: it isn't made anew."""
    for held, claim in list(_claims.items()):  # other threads add to them
        if held in path.absolute().parents and not any(_is(held, lock) for lock in claim.locks):
            raise FileNotFoundError(errno.ENOENT, REMOVED)


def clear(path: Path) -> None:
    """Remove what killed processes left unfinished in a folder; a folder that a process still writes to stays."""
    for left in list(path.glob(f"{UNFINISHED}*")):
        lock = None
        with contextlib.suppress(RunError):
            lock = _lock(left) if left.is_dir() else None
            _remove(left)
        if lock is not None:
            os.close(lock)


def remove(path: Path) -> None:
    """Remove a file or folder, if it is there. A folder is taken out of sight first: a kill leaves no half of one.

    Raises RunError, naming `path`, where the disk doesn't let it go.
    """
    with writing(path, "removed"):
        _remove(path)


def _remove(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    if not path.name.startswith(UNFINISHED):
        removed = path.with_name(f"{UNFINISHED}removed-{path.name}")
        _remove(removed)
        path = path.rename(removed)
    shutil.rmtree(path)


def flush(path: Path) -> None:
    """Bring a file's content, or a folder's entries, to the disk.

    A move may else reach it before what is moved, and a power cut leave an empty file.
    """
    if path.is_dir():
        descriptor = os.open(path, os.O_RDONLY) if os.name == "posix" else None
    else:
        descriptor = os.open(path, os.O_RDWR if os.access(path, os.W_OK) else os.O_RDONLY)
    if descriptor is not None:
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EBADF):  # a disk that has no such thing
                raise
        finally:
            os.close(descriptor)


def require_writable(path: Path) -> None:
    """Raise RunError, naming `path`, where nothing can be written into a folder there. Nothing is made."""
    with writing(path):
        there = path
        while True:
            try:
                there.lstat()
                break
            except FileNotFoundError:
                there = there.parent
        with tempfile.TemporaryFile(dir=there) as probe:  # which has no name that a kill could leave
            probe.write(b"0")  # or a full disk would pass


def write(path: Path, save: Callable[[Path], Any]) -> None:
    """Let `save` write a file, whole or not at all."""
    with unfinished(path) as temporary:
        save(temporary)


class _Lasting(io.BufferedWriter):
    """A file that takes, and drops, what comes after its end.

    pyarrow's writers end their file when they go: after an interruption or an error that is when it is closed already.
    """

    def write(self, data: Any) -> int:
        return memoryview(data).nbytes if self.closed else super().write(data)


def write_open(path: Path, save: Callable[[BinaryIO], Any]) -> None:
    """Let `save` write into an open file, whole or not at all: where a library would read more into a path."""

    def opened(temporary: Path) -> None:
        with _Lasting(io.FileIO(temporary, "w")) as file:
            save(file)

    write(path, opened)


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8, whole or not at all."""
    write(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Write JSON, whole or not at all."""
    write_text(path, json.dumps(content, indent=2))


def named_plainly(path: Path) -> Path:
    """The absolute path, which libraries take for nothing else: `file:x` and `~/x` may be addresses to them."""
    return path.absolute()


def digest_of(*paths: Path) -> str:
    """The sha256 of files, one after another."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    return digest.hexdigest()
