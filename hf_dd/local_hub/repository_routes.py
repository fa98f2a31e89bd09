"""Handlers for accounts, repositories, refs, listings and downloads."""

import io
import os
import re
from pathlib import PurePosixPath
from urllib.parse import quote

from starlette.responses import StreamingResponse

from hf_dd.local_hub.calls import Call, route
from hf_dd.local_hub.errors import HubHttpError, entry_not_found, repo_not_found
from hf_dd.local_hub.git import Entry
from hf_dd.local_hub.lfs import Pointer
from hf_dd.local_hub.listing import (
    Found,
    describe_commit,
    describe_entry,
    describe_repository,
    is_short,
    search,
    snapshot,
    trim,
)

REPOSITORIES_PER_PAGE = 1000
FULL_REPOSITORIES_PER_PAGE = 100
ENTRIES_PER_PAGE = 1000
EXPANDED_ENTRIES_PER_PAGE = 50
PIECE_BYTES = 2**20
COMMITS_PER_PAGE = 50


@route("GET", "/api/whoami-v2")
def whoami(call: Call):
    """The caller's account."""
    return call.hub.accounts.profile(call.logged_in())


# ---- repositories


@route("POST", "/api/repos/create")
def create_repository(call: Call):
    """A new repository; the address is in the answer even if it exists (409)."""
    user = call.logged_in()
    body = call.json({"name": str}, type=str, organization=str, visibility=str, private=bool)
    kind, namespace = body["type"] or "model", body["organization"] or user
    call.owner_of(namespace)
    repo_id = f"{namespace}/{body['name']}"
    private = _is_private(body["visibility"]) or bool(body["private"])
    record = call.hub.repositories.create(kind, repo_id, private, user)
    url = call.endpoint + (record or call.readable(kind, repo_id)).web_path
    if record is None:
        message = f"You already created this {kind} repo: {repo_id}"
        raise HubHttpError(409, message, body={"url": url, "error": message})
    return {"url": url, "name": repo_id, "id": record.uid}


@route("DELETE", "/api/repos/delete")
def delete_repository(call: Call):
    """Remove a repository and all its files."""
    user, body = call.logged_in(), call.json({"name": str}, type=str, organization=str)
    repo_id = f"{body['organization'] or user}/{body['name']}"
    call.hub.repositories.delete(call.writable(body["type"] or "model", repo_id))
    return {}


@route("POST", "/api/repos/move")
def move_repository(call: Call):
    """Rename a repository or give it to another namespace."""
    call.logged_in()
    body = call.json({"fromRepo": str, "toRepo": str}, type=str)
    record = call.writable(body["type"] or "model", body["fromRepo"])
    call.owner_of(body["toRepo"].split("/")[0])
    if call.hub.repositories.update(record, repo_id=body["toRepo"]) is None:
        raise HubHttpError(409, f"{body['toRepo']} exists")
    return {}


@route("PUT", "/api/{kind}/{repo}/settings")
def change_settings(call: Call):
    """Visibility and gating."""
    record, body = call.writable(), call.json(visibility=str, private=bool, gated=object)
    changes = {"private": body["private"], "gated": body["gated"]}
    if changes["gated"] not in (None, "auto", "manual") and changes["gated"] is not False:
        raise HubHttpError(400, "'gated' must be false, auto or manual")
    if body["visibility"] is not None:
        changes["private"] = _is_private(body["visibility"])
    changes = {name: value for name, value in changes.items() if value is not None}
    if call.hub.repositories.update(record, **changes) is None:
        raise repo_not_found(call.user)
    return {}


def _is_private(visibility):
    if visibility not in (None, "public", "private"):
        raise HubHttpError(400, "'visibility' must be public or private")
    return visibility == "private"


@route("GET", "/api/{kind}/{repo}/auth-check(?P<write>/write)?")
def check_access(call: Call):
    """Whether the caller may download, or write."""
    if "write" in call.parts:
        call.writable()
    call.downloadable()
    return {}


@route("GET", "/api/{kind}")
def list_repositories(call: Call):
    """The repositories the caller may see that match the query."""
    kind = call.parts["kind"]

    def described(each):
        return trim(describe_repository(each.record, each.git, each.commit), kind, call.query, listed=True)

    size = REPOSITORIES_PER_PAGE if is_short(call.query) else FULL_REPOSITORIES_PER_PAGE
    return call.page(search(visible(call, kind), call.query), size, described)


def visible(call: Call, kind: str) -> list[Found]:
    """The repositories of a kind that the caller may see, at the head of main."""
    found = []
    for record in call.hub.repositories.all(kind):
        if not call.may_see(record.namespace, record.private):
            continue
        try:
            git = call.git(record)
            commit = git.resolve("main")
            found.append(Found(record, git, commit, snapshot(git, commit, kind)))
        except Exception:
            if not call.hub.repositories.is_gone(record.uid):  # deleted while it was read
                raise
    return found


@route("GET", "/api/{kind}/{repo}(?:/revision/{revision})?")
def repository_info(call: Call):
    """One repository at a revision."""
    record = call.readable()
    git = call.git(record)
    commit = git.resolve(call.parts.get("revision", "main"))
    return trim(describe_repository(record, git, commit, call.flag("blobs")), record.kind, call.query, listed=False)


# ---- refs and history


@route("GET", "/api/{kind}/{repo}/refs")
def list_refs(call: Call):
    """Branches, tags and (if asked for) pull requests."""
    git = call.git(call.readable())

    def described(prefix, name_prefix=""):
        refs = git.refs(prefix).items()
        return [{"name": name_prefix + name, "ref": f"{prefix}/{name}", "targetCommit": oid} for name, oid in refs]

    answer = {"branches": described("refs/heads"), "tags": described("refs/tags"), "converts": []}
    return answer | ({"pullRequests": described("refs/pr", "refs/pr/")} if call.flag("include_prs") else {})


@route("POST DELETE", "/api/{kind}/{repo}/branch/{name}")
def change_branch(call: Call):
    """Create a branch at `startingPoint`, or delete one; `main` stays."""
    git, name = call.git(call.writable()), call.parts["name"]
    start = call.json(startingPoint=str)["startingPoint"] or "main" if call.request.method == "POST" else None
    with git.writing():
        if call.request.method == "POST":
            git.create_ref(f"refs/heads/{name}", git.resolve(start))
        elif name == "main":
            raise HubHttpError(403, "The default branch can't be deleted")
        else:
            git.delete_ref(f"refs/heads/{name}")
    return {}


@route("POST", "/api/{kind}/{repo}/tag/{revision}")
def create_tag(call: Call):
    """A lightweight tag on a revision; the message of an annotated one isn't kept."""
    git, tag = call.git(call.writable()), call.json({"tag": str})["tag"]
    with git.writing():
        git.create_ref(f"refs/tags/{tag}", git.resolve(call.parts["revision"]))
    return {}


@route("DELETE", "/api/{kind}/{repo}/tag/{name}")
def delete_tag(call: Call):
    """Remove a tag."""
    git = call.git(call.writable())
    with git.writing():
        git.delete_ref(f"refs/tags/{call.parts['name']}")
    return {}


@route("GET", "/api/{kind}/{repo}/commits/{revision}")
def list_commits(call: Call):
    """The history of a revision, newest first."""
    git = call.git(call.readable())

    def described(commit):
        entry = describe_commit(commit)
        if "expand[]" in call.query or "expand" in call.query:
            entry["formatted"] = {"title": entry["title"], "message": entry["message"]}
        return entry

    return call.page(git.history(git.resolve(call.parts["revision"])), COMMITS_PER_PAGE, described)


@route("POST", "/api/{kind}/{repo}/super-squash/{name}")
def squash_history(call: Call):
    """Replace a branch's history by one commit with the same files."""
    git, name = call.git(call.writable()), call.parts["name"]
    message = call.json(message=str)["message"] or f"Super-squash branch '{name}'"
    with git.writing():
        head = git.resolve(f"refs/heads/{name}")
        git.move_ref(
            f"refs/heads/{name}", head, git.add_commit(git.new_objects(), git.files(head), [], call.user, message)
        )
    return {}


# ---- files


@route("GET", "/api/{kind}/{repo}/tree/{revision}(?:/{path})?")
def list_tree(call: Call):
    """The entries of a folder; 404 if there is none."""
    git = call.git(call.readable())
    commit, path = git.resolve(call.parts["revision"]), call.parts.get("path", "").strip("/")
    folder = git.find(commit, path)
    if folder is None or not folder.is_folder:
        raise entry_not_found(path, commit)

    def described(entry):
        return describe_entry(git, commit, entry, call.flag("expand"))

    size = EXPANDED_ENTRIES_PER_PAGE if call.flag("expand") else ENTRIES_PER_PAGE
    return call.page(git.walk(folder, call.flag("recursive")), size, described, {"X-Repo-Commit": commit.decode()})


@route("POST", "/api/{kind}/{repo}/paths-info/{revision}")
def paths_info(call: Call):
    """The entries at the given paths, without those that don't exist; the body is a form."""
    git, form = call.git(call.readable()), call.form()
    commit, expand = git.resolve(call.parts["revision"]), form.get("expand", [""])[0].lower() == "true"
    files, paths = git.files(commit), [path.strip("/") for path in form.get("paths", [])]
    found = [Entry(path, files[path], False) if path in files else git.find(commit, path) for path in paths]
    return [describe_entry(git, commit, entry, expand) for entry in found if entry and entry.path]


@route("GET", "/{web_repo}/resolve/{revision}/{path}")
def download(call: Call):
    """A file's content, whole or in part; large ones are streamed from the LFS folder."""
    record = call.downloadable()
    git, path = call.git(record), call.parts["path"]
    commit = git.resolve(call.parts["revision"])
    entry = git.find(commit, path)
    if entry is None or entry.is_folder:
        raise entry_not_found(path, commit)
    content = git.blob(entry.oid)
    headers = {
        "X-Repo-Commit": commit.decode(),
        "ETag": f'"{entry.oid.decode()}"',
        "Accept-Ranges": "bytes",
        "X-Content-Type-Options": "nosniff",
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(PurePosixPath(path).name)}",
    }
    file, size = io.BytesIO(content), len(content)
    if pointer := Pointer.parse(content):
        headers["ETag"] = headers["X-Linked-Etag"] = f'"{pointer.oid}"'
        headers["X-Linked-Size"] = str(pointer.size)
        file = call.hub.repositories.lfs(record.uid).path(pointer.oid).open("rb")
        size = os.fstat(file.fileno()).st_size
    wanted = call.request.headers.get("range", "")
    if call.request.headers.get("if-range", headers["ETag"]) != headers["ETag"]:
        wanted = ""
    return _partial(file, size, wanted, call.request.method == "HEAD", headers)


def _partial(file, size, wanted, head, headers):
    """The bytes that a Range header asks for (206), all of them without one, 416 if they lie past the end."""
    match = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", wanted, re.ASCII)
    first, last, status = 0, size - 1, 200
    if match and (match[1] or match[2]):
        first = int(match[1]) if match[1] else max(0, size - int(match[2]))
        last = min(int(match[2]), last) if match[1] and match[2] else last
        status = 206
        if first >= size or last < first:
            file.close()
            raise HubHttpError(416, f"The file has {size} bytes", headers={"Content-Range": f"bytes */{size}"})
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    headers["Content-Length"] = str(last - first + 1)
    pieces = _pieces(file, first, first if head else last + 1)
    return StreamingResponse(pieces, status, headers, "application/octet-stream")


def _pieces(file, start, end):
    with file:
        file.seek(start)
        while start < end and (piece := file.read(min(PIECE_BYTES, end - start))):
            start += len(piece)
            yield piece
