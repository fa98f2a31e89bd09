"""Commits: what an uploaded change does to the files of a repository."""

import base64
import re
import time
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from dulwich.attrs import GitAttributes, compile_gitattributes_patterns, parse_git_attributes
from dulwich.ignore import IgnoreFilter

from hf_dd.local_hub.errors import HubHttpError, entry_not_found
from hf_dd.local_hub.git import GitRepository
from hf_dd.local_hub.lfs import LFS_THRESHOLD_BYTES, LfsStorage, Pointer
from hf_dd.local_hub.untrusted import fields, parse_json

MAX_LINE_BYTES = 16 * 2**20  # clients send files of up to 10 MB in a line, as base64
MAX_MESSAGE = 64 * 1024
MAX_PATH_BYTES = 1024
MAX_RULES, MAX_WILDCARDS, MAX_PLAN_SECONDS = 1000, 3, 10
STALE_PARENT = "A commit has happened since. Please refresh and try again."


def plan_upload(git: GitRepository, commit: bytes, announced: list, ignore_rules: str) -> list[dict]:
    """For each announced file: ordinary or large, ignored or not, and the id of what is now at its path."""
    rules = _quick(git.read(commit, ".gitattributes") or b"")
    attributes = GitAttributes(compile_gitattributes_patterns(parse_git_attributes(rules)))
    ignored = IgnoreFilter(_quick(ignore_rules.encode()))
    plan, files, started = [], git.files(commit), time.monotonic()
    for file in announced:
        if time.monotonic() - started > MAX_PLAN_SECONDS:
            raise HubHttpError(413, "So many files and rules take too long: announce fewer at a time")
        path, size = fields(file, {"path": str, "size": int}).values()
        is_large = size >= LFS_THRESHOLD_BYTES or attributes.match_path(path.encode()).get(b"filter") == b"lfs"
        mode = "lfs" if is_large else "regular"
        answer = {"path": _checked(path), "uploadMode": mode, "shouldIgnore": bool(ignored.is_ignored(path))}
        if present := files.get(path):
            pointer = Pointer.parse(git.blob(present))
            answer["oid"] = pointer.oid if pointer else present.decode()
        plan.append(answer)
    return plan


def _quick(rules):
    """Lines of a .gitattributes or .gitignore, without those whose wildcards could take a regular expression ages."""
    lines = rules.splitlines()[:MAX_RULES]
    quick = [line for line in lines if line.strip() and len(re.findall(rb"\*+", line)) <= MAX_WILDCARDS]
    return [line for line in quick if not line.startswith(b"#")]


def parse_commit(body: BinaryIO) -> tuple[dict, Iterator[tuple[str, dict]]]:
    """The header and the (kind, value) operations of a commit request: one JSON object per line, the header first.

    The operations are read as they are asked for: no more than one is in memory. A line that isn't one is a 400.
    """
    lines = _lines(body)
    kind, header = next(lines, ("nothing", {}))
    if kind != "header":
        raise HubHttpError(400, f"Not a commit: its first line is {kind[:50]}, not its header")
    header = fields(header, {"summary": str}, description=str, parentCommit=str)
    if len(header["summary"]) + len(header["description"] or "") > MAX_MESSAGE:
        raise HubHttpError(400, f"Not a commit: its message has more than {MAX_MESSAGE} characters")
    return header, lines


def _lines(body):
    while line := body.readline(MAX_LINE_BYTES + 1):
        if len(line) > MAX_LINE_BYTES:
            raise HubHttpError(
                413, f"A line of the commit has more than {MAX_LINE_BYTES} bytes: send that file by LFS"
            )
        try:
            operation = parse_json(line) if line.strip() else None
        except ValueError as error:
            raise HubHttpError(400, f"Not a commit: {error}") from error
        if line.strip():
            yield tuple(fields(operation, {"key": str, "value": dict}).values())


def commit_operations(
    git: GitRepository,
    lfs: LfsStorage,
    ref: str,
    header: dict,
    operations: Iterable[tuple[str, dict]],
    user: str,
    new_ref: str | None = None,
) -> bytes:
    """Make one commit on `ref`, or on top of it as `new_ref`; returns its id. Call it in `git.writing()`.

    The ref moves last and only if it is still where it was: whoever reads it sees the whole commit or nothing of it.
    """
    head = git.resolve(ref)
    expected = header["parentCommit"]
    if expected and expected != head.decode() and not new_ref:
        raise HubHttpError(412, STALE_PARENT)
    parent = git.resolve(expected) if expected else head
    objects = git.new_objects()
    files = _apply(operations, git.files(parent), objects, lfs, parent)
    message = "\n\n".join(filter(None, [header["summary"], header["description"]]))
    commit = git.add_commit(objects, files, [parent], user, message)
    if new_ref:
        git.create_ref(new_ref, commit)
    elif not git.move_ref(ref, head, commit):
        raise HubHttpError(412, STALE_PARENT)
    return commit


def _apply(operations, files, objects, lfs, parent):
    files, added = dict(files), set()
    for kind, value in operations:
        path = fields(value, {"path": str})["path"]
        if kind in ("file", "lfsFile"):
            if path in added:
                raise HubHttpError(400, f"The commit writes {path!r} twice")
            added.add(_checked(path))
            content = _content(value) if kind == "file" else _pointer(value, lfs)
            _require_stored(path, content, lfs)
            files[path] = objects.add_blob(content)
        elif kind == "deletedFile":
            if files.pop(path, None) is None:
                raise entry_not_found(path, parent)
        elif kind == "deletedFolder":
            inside = [name for name in files if name.startswith(path.rstrip("/") + "/")]
            if not inside:
                raise entry_not_found(path, parent)
            for name in inside:
                del files[name]
        else:
            raise HubHttpError(400, f"Unknown operation: {kind[:50]}")
    folders = {path[:at] for path in files for at, letter in enumerate(path) if letter == "/"}
    if both := folders & files.keys():
        raise HubHttpError(400, f"Both a file and a folder: {sorted(both)}")
    return files


def _content(value):
    given = fields(value, {"content": str}, encoding=str)
    if given["encoding"] not in (None, "base64"):
        raise HubHttpError(400, f"Unknown encoding: {given['encoding'][:50]}")
    try:
        return base64.b64decode(given["content"], validate=True)
    except ValueError as error:
        raise HubHttpError(400, f"The content of {value['path']!r} isn't base64: {error}") from error


def _pointer(value, lfs):
    given = fields(value, {"oid": str}, size=int)
    stored = lfs.size(given["oid"])
    if given["size"] not in (None, stored) and stored is not None:
        raise HubHttpError(400, f"{value['path']!r} has {stored} bytes, not {given['size']}")
    return Pointer(given["oid"], stored or 0).encode()


def _require_stored(path, content, lfs):
    """400 for a file that is a pointer, by whatever operation, to an object that isn't there, or not of that size."""
    pointer = Pointer.parse(content)
    if pointer and lfs.size(pointer.oid) != pointer.size:
        raise HubHttpError(400, f"LFS pointer pointed to a file that does not exist: {path}")


def _checked(path):
    """A path that stays inside the repository and that file systems have, or a 400."""
    parts = path.split("/")
    odd = any(part in ("", ".", "..") or part.lower() == ".git" or len(part.encode()) > 255 for part in parts)
    if odd or "\0" in path or len(path.encode()) > MAX_PATH_BYTES:
        raise HubHttpError(400, f"Invalid path: {path[:300]!r}")
    return path
