"""Handlers for accounts, repositories, refs, listings and downloads."""

import re
from pathlib import PurePosixPath
from urllib.parse import parse_qs, quote

from starlette.responses import FileResponse, Response

from hf_dd.local_hub.calls import Call, route
from hf_dd.local_hub.errors import HubHttpError, entry_not_found
from hf_dd.local_hub.git import NewObjects
from hf_dd.local_hub.lfs import Pointer
from hf_dd.local_hub.listing import describe_commit, describe_entry, describe_repository, search, trim

REPOSITORIES_PER_PAGE = 1000
ENTRIES_PER_PAGE = 1000
COMMITS_PER_PAGE = 50


@route("GET", "/api/whoami-v2")
def whoami(call: Call):
    """The caller's account."""
    return call.hub.accounts.profile(call.logged_in())


# ---- repositories


@route("POST", "/api/repos/create")
def create_repository(call: Call):
    """A new repository; the address is in the answer even if it exists (409)."""
    body = call.json("name")
    kind, namespace = body.get("type") or "model", body.get("organization") or call.logged_in()
    user, repo_id = call.owner_of(namespace), f"{namespace}/{body['name']}"
    private = body.get("visibility") == "private" or bool(body.get("private"))
    record = call.hub.repositories.create(kind, repo_id, private, user)
    url = call.endpoint + (record or call.readable(kind, repo_id)).web_path
    if record is None:
        message = f"You already created this {kind} repo: {repo_id}"
        raise HubHttpError(409, message, body={"url": url, "error": message})
    return {"url": url, "name": repo_id, "id": record.uid}


@route("DELETE", "/api/repos/delete")
def delete_repository(call: Call):
    """Remove a repository and all its files."""
    body = call.json("name")
    namespace = body.get("organization") or call.logged_in()
    call.hub.repositories.delete(call.writable(body.get("type") or "model", f"{namespace}/{body['name']}"))
    return {}


@route("POST", "/api/repos/move")
def move_repository(call: Call):
    """Rename a repository or give it to another namespace."""
    body = call.json("fromRepo", "toRepo")
    record = call.writable(body.get("type") or "model", body["fromRepo"])
    call.owner_of(body["toRepo"].split("/")[0])
    if call.hub.repositories.update(record, repo_id=body["toRepo"]) is None:
        raise HubHttpError(409, f"{body['toRepo']} exists")
    return {}


@route("PUT", "/api/{kind}/{repo}/settings")
def change_settings(call: Call):
    """Visibility and gating."""
    record, body = call.writable(), call.json()
    changes = {"gated": body["gated"]} if "gated" in body else {}
    if "visibility" in body:
        changes["private"] = body["visibility"] == "private"
    call.hub.repositories.update(record, **changes)
    return {}


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
    visible = [each for each in call.hub.repositories.all(kind) if call.may_see(each.namespace, each.private)]
    infos = []
    for record in visible:
        git = call.git(record)
        infos.append(describe_repository(record, git, git.resolve("main")))
    found = search(infos, call.query)
    return call.page(found, REPOSITORIES_PER_PAGE, lambda info: trim(info, kind, call.query, listed=True))


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
    with git.lock:
        if call.request.method == "POST":
            git.create_ref(f"refs/heads/{name}", git.resolve(call.json().get("startingPoint") or "main"))
        elif name == "main":
            raise HubHttpError(403, "The default branch can't be deleted")
        else:
            git.delete_ref(f"refs/heads/{name}")
    return {}


@route("POST", "/api/{kind}/{repo}/tag/{revision}")
def create_tag(call: Call):
    """A lightweight tag on a revision; the message of an annotated one isn't kept."""
    git, tag = call.git(call.writable()), call.json("tag")["tag"]
    with git.lock:
        git.create_ref(f"refs/tags/{tag}", git.resolve(call.parts["revision"]))
    return {}


@route("DELETE", "/api/{kind}/{repo}/tag/{name}")
def delete_tag(call: Call):
    """Remove a tag."""
    git = call.git(call.writable())
    with git.lock:
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
    with git.lock:
        head = git.resolve(f"refs/heads/{name}")
        message = call.json().get("message") or f"Super-squash branch '{name}'"
        git.move_ref(f"refs/heads/{name}", head, git.add_commit(NewObjects(), git.files(head), [], call.user, message))
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

    headers = {"X-Repo-Commit": commit.decode()}
    return call.page(git.walk(folder, call.flag("recursive")), ENTRIES_PER_PAGE, described, headers)


@route("POST", "/api/{kind}/{repo}/paths-info/{revision}")
def paths_info(call: Call):
    """The entries at the given paths, without those that don't exist; the body is a form."""
    git, form = call.git(call.readable()), parse_qs(call.body.decode())
    commit, expand = git.resolve(call.parts["revision"]), form.get("expand", [""])[0].lower() == "true"
    found = [git.find(commit, path.strip("/")) for path in form.get("paths", [])]
    return [describe_entry(git, commit, entry, expand) for entry in found if entry and entry.path]


@route("GET HEAD", "/{web_repo}/resolve/{revision}/{path}")
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
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(PurePosixPath(path).name)}",
    }
    if pointer := Pointer.parse(content):
        headers |= {
            "ETag": f'"{pointer.oid}"',
            "X-Linked-Etag": f'"{pointer.oid}"',
            "X-Linked-Size": str(pointer.size),
        }
        stored = call.hub.repositories.lfs(record.uid).path(pointer.oid)
        if not stored.exists():
            raise HubHttpError(500, f"The content of {path} is lost: {stored} is missing")
        return FileResponse(stored, headers=headers, media_type="application/octet-stream")
    return _partial(content, call.request.headers.get("range", ""), headers)


def _partial(content, wanted, headers):
    """The bytes that a Range header asks for (206), all of them without one, 416 if they lie past the end."""
    size, match = len(content), re.fullmatch(r"bytes=(\d*)-(\d*)", wanted)
    if not match or not (match[1] or match[2]):
        return Response(content, headers=headers, media_type="application/octet-stream")
    first = int(match[1]) if match[1] else max(0, size - int(match[2]))
    last = min(int(match[2]), size - 1) if match[1] and match[2] else size - 1
    if first >= size or last < first:
        return Response(b"", 416, headers | {"Content-Range": f"bytes */{size}"})
    headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    return Response(content[first : last + 1], 206, headers, "application/octet-stream")
