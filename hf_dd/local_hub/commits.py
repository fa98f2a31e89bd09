"""Commits: what an uploaded change does to the files of a repository."""

import base64
import json
from pathlib import PurePosixPath

from dulwich.attrs import GitAttributes, Pattern, parse_git_attributes
from dulwich.ignore import IgnoreFilter

from hf_dd.local_hub.errors import HubHttpError, entry_not_found
from hf_dd.local_hub.git import GitRepository, NewObjects
from hf_dd.local_hub.lfs import LFS_THRESHOLD_BYTES, LfsStorage, Pointer

STALE_PARENT = "A commit has happened since. Please refresh and try again."


def plan_upload(git: GitRepository, commit: bytes, announced: list[dict], ignore_rules: str) -> list[dict]:
    """For each announced file: ordinary or large, ignored or not, and the id of what is now at its path."""
    rules = (git.read(commit, ".gitattributes") or b"").splitlines(keepends=True)
    attributes = GitAttributes([(Pattern(glob), settings) for glob, settings in parse_git_attributes(rules)])
    ignored = IgnoreFilter(line.encode() for line in ignore_rules.splitlines() if line and not line.startswith("#"))
    plan = []
    for file in announced:
        path = file["path"]
        is_large = file["size"] >= LFS_THRESHOLD_BYTES or attributes.match_path(path.encode()).get(b"filter") == b"lfs"
        mode = "lfs" if is_large else "regular"
        answer = {"path": path, "uploadMode": mode, "shouldIgnore": bool(ignored.is_ignored(path))}
        present = git.find(commit, path)
        if present and not present.is_folder:
            pointer = Pointer.parse(git.blob(present.oid))
            answer["oid"] = pointer.oid if pointer else present.oid.decode()
        plan.append(answer)
    return plan


def parse_commit(body: bytes) -> tuple[dict, list[tuple[str, dict]]]:
    """The header and the (kind, value) operations of a commit request: one JSON object per line."""
    try:
        lines = [json.loads(line) for line in body.splitlines() if line.strip()]
        operations = [(line["key"], line["value"]) for line in lines]
        header = next(value for kind, value in operations if kind == "header")
        header = {"summary": header["summary"], "description": "", "parentCommit": None} | header
        return header, [(kind, value) for kind, value in operations if kind != "header"]
    except (ValueError, KeyError, TypeError, StopIteration) as error:
        raise HubHttpError(400, f"Not a commit: {error!r}") from error


def commit_operations(
    git: GitRepository,
    lfs: LfsStorage,
    ref: str,
    header: dict,
    operations: list,
    user: str,
    new_ref: str | None = None,
) -> bytes:
    """Make one commit on `ref`, or on top of it as `new_ref`; returns its id. Hold `git.lock`.

    The ref moves last and only if it is still where it was: whoever reads it sees the whole commit or nothing of it.
    """
    head = git.resolve(ref)
    expected = header["parentCommit"]
    if expected and expected != head.decode() and not new_ref:
        raise HubHttpError(412, STALE_PARENT)
    parent = git.resolve(expected) if expected else head
    objects = NewObjects()
    try:
        files = _apply(operations, git.files(parent), objects, lfs, parent)
    except (KeyError, ValueError) as error:
        raise HubHttpError(400, f"Not an operation of a commit: {error!r}") from error
    message = "\n\n".join(filter(None, [header["summary"], header["description"]]))
    commit = git.add_commit(objects, files, [parent], user, message)
    if new_ref:
        git.create_ref(new_ref, commit)
    elif not git.move_ref(ref, head, commit):
        raise HubHttpError(412, STALE_PARENT)
    return commit


def _apply(operations, files, objects, lfs, parent):
    files = dict(files)
    for kind, value in operations:
        path = value["path"]
        if kind == "file":
            files[_checked(path)] = objects.add_blob(base64.b64decode(value["content"], validate=True))
        elif kind == "lfsFile":
            size = lfs.size(value["oid"])
            if size is None:
                raise HubHttpError(400, f"LFS pointer pointed to a file that does not exist: {path}")
            files[_checked(path)] = objects.add_blob(Pointer(value["oid"], size).encode())
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
            raise HubHttpError(400, f"Unknown operation: {kind}")
    folders = {str(folder) for path in files for folder in PurePosixPath(path).parents}
    if both := folders & files.keys():
        raise HubHttpError(400, f"Both a file and a folder: {sorted(both)}")
    return files


def _checked(path):
    """A path that stays inside the repository, or a 400."""
    if not path or "\0" in path or any(part in ("", ".", "..", ".git") for part in path.split("/")):
        raise HubHttpError(400, f"Invalid path: {path!r}")
    return path
