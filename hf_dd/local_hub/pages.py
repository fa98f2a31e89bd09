"""Pages for a browser at the addresses that clients print: repositories, commits, pull requests, collections.

At `/` is the page that the Hub was started with, else the list of repositories; below a Space's, its own pages.
"""

from collections.abc import Iterable
from html import escape
from urllib.parse import quote

from starlette.responses import HTMLResponse, RedirectResponse

from hf_dd.local_hub.calls import Call, route
from hf_dd.local_hub.collection_routes import visible_collection, visible_collections, visible_items
from hf_dd.local_hub.errors import HubHttpError
from hf_dd.local_hub.git import GitRepository
from hf_dd.local_hub.lfs import Pointer
from hf_dd.local_hub.listing import describe_commit, file_facts, search
from hf_dd.local_hub.repositories import Record
from hf_dd.local_hub.repository_routes import visible

MAX_ENTRIES = 1000  # of a list
MAX_CARD = 100_000  # characters

_STYLE = """
body { font-family: system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; line-height: 1.5 }
table { border-collapse: collapse } td, th { padding: .1rem 1rem .1rem 0; text-align: left; vertical-align: top }
pre { background: #f4f4f4; padding: 1rem; overflow-x: auto; white-space: pre-wrap } code { font-size: .9em }
"""
_HEADERS = {  # a page runs nothing and loads nothing, whatever a user has written into it
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
}
_SPACE = (  # a Space's own page runs its script, as a stranger to this Hub: what it reads is what everybody may
    "sandbox allow-scripts allow-forms allow-popups allow-popups-to-escape-sandbox; default-src 'none'; script-src "
    "'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; connect-src {endpoint}"
)


def page(path: str):
    """Register a handler of a page: it returns title and body; what isn't there, or hidden, is a page of 404."""

    def register(handler):
        def answer(call: Call):
            try:
                content, status = handler(call), 200
            except HubHttpError as error:
                content, status = ("Not found", _text("There is no such page.")), 404
                if error.status not in (401, 403, 404):
                    raise
            if not isinstance(content, tuple):
                return content
            title, body = content
            head = f"<meta charset=utf-8><title>{escape(title)}</title><style>{_STYLE}</style>"
            home = '<p><a href="/">local Hub</a></p>'
            html = f"<!doctype html><html lang=en><head>{head}</head><body>{home}<h1>{escape(title)}</h1>{body}</body>"
            return HTMLResponse(f"{html}</html>\n", status, _HEADERS)

        route("GET", path)(answer)
        return handler

    return register


@page("")
def home(call: Call):
    """The page that the Hub was started with, if it was, else its repositories."""
    if call.hub.home is None:
        return repositories(call)
    headers = _HEADERS | {"Content-Security-Policy": "frame-ancestors 'none'"}  # the page has a policy of its own
    return HTMLResponse(call.hub.home, headers=headers)


@page("/repositories")
def repositories(call: Call):
    """The repositories and collections that the caller may see."""
    body = ""
    for kind, heading in (("model", "Models"), ("dataset", "Data sets"), ("space", "Spaces")):
        records = [each for each in call.hub.repositories.all(kind) if call.may_see(each.namespace, each.private)]
        body += _list(heading, (_link(each.web_path, each.repo_id) for each in reversed(records)))
    found = visible_collections(call)
    body += _list("Collections", (_link(f"/collections/{each['slug']}", each["title"]) for each in found))
    return "Local Hub", body


@page("/models")
def models(call: Call):
    """The models that the caller may see; with `?dataset=dataset:ID` those that name this data set."""
    tags = call.query.get("dataset", [])
    found = search(visible(call, "model"), {"filter": tags})
    return f"Models {' '.join(tags)}", _list("", (_link(each.record.web_path, each.record.repo_id) for each in found))


@page("/{page_repo}(?:/tree/{revision}(?:/{path})?)?")
def repository(call: Call):
    """A repository at a revision: its card, files, tags and branches; below tree/, the files of a folder."""
    record = call.readable()
    git, revision = call.git(record), call.parts.get("revision", "main")
    folder, commit = call.parts.get("path", "").strip("/"), git.resolve(revision)
    about = escape(f"{record.kind}{', private' if record.private else ''}, at {revision}: ")
    body = f"<p>{about}{_commit_link(record, commit.decode())}</p>"
    body += _refs(record, "Tags", git.refs("refs/tags")) + _refs(record, "Branches", git.refs("refs/heads"))
    body += _refs(record, "Pull requests", git.refs("refs/pr"), "refs/pr/")
    if record.kind == "space" and not folder and "index.html" in git.files(commit):
        body += f"<p>{_link(f'{record.web_path}/static/index.html', 'Open the Space')}</p>"
    if record.kind == "dataset" and not folder:
        trained = search(visible(call, "model"), {"filter": [f"dataset:{record.repo_id}"]})
        body += _list("Models trained on it", (_link(each.record.web_path, each.record.repo_id) for each in trained))
    card = None if folder else git.read(commit, "README.md")
    if card:
        body += f"<h2>Card</h2><pre>{escape(card.decode(errors='replace')[:MAX_CARD])}</pre>"
    return f"{record.repo_id}{f' / {folder}' if folder else ''}", body + _files(record, git, commit, folder)


@page("/{page_repo}/static/{path}")
def space(call: Call):
    """A page of a static Space."""
    record, path = call.downloadable(), call.parts["path"]
    git = call.git(record)
    content = git.read(git.resolve("main"), path)
    if record.kind != "space" or content is None or not path.endswith(".html"):
        raise HubHttpError(404, "There is no such page")
    if pointer := Pointer.parse(content):
        content = call.hub.repositories.lfs(record.uid).path(pointer.oid).read_bytes()
    policy = _SPACE.format(endpoint=call.endpoint)
    return HTMLResponse(content, headers=_HEADERS | {"Content-Security-Policy": policy})


@page("/{page_repo}/commit/{revision}")
def commit(call: Call):
    """A commit: its message, and which files it added, changed and removed."""
    record = call.readable()
    git = call.git(record)
    oid = git.resolve(call.parts["revision"])
    return f"{record.repo_id}: commit {oid.decode()[:10]}", _commit(record, git, oid)


@page("/{page_repo}/discussions/{number}")
def pull_request(call: Call):
    """A pull request: its last commit."""
    record, name = call.readable(), f"refs/pr/{call.parts['number']}"
    git = call.git(record)
    return f"{record.repo_id}: pull request {call.parts['number']}", _commit(record, git, git.resolve(name))


@page("/{page_repo}/blob/{revision}/{path}")
def blob(call: Call):
    """A file: its content."""
    record = call.readable()
    return RedirectResponse(_file_url(record, call.parts["revision"], call.parts["path"]))


@page("/collections/{slug}")
def collection(call: Call):
    """A collection: the items that the caller may see, with their notes."""
    found = visible_collection(call)
    items = []
    for item in visible_items(call, found):
        address = f"/{item['id']}" if item["type"] == "model" else f"/{item['type']}s/{item['id']}"
        items.append(_link(address, item["id"]) + _text(item.get("note", {}).get("text", "")))
    about = f"by {found['owner']['name']}{', private' if found['private'] else ''}"
    return found["title"], _text(about) + _text(found["description"] or "") + _list("Items", items)


def _commit(record, git: GitRepository, oid):
    step = next(git.history(oid))
    told, files = describe_commit(step), git.files(oid)
    before = git.files(step.parents[0]) if step.parents else {}
    changed = {path for path in files.keys() & before.keys() if files[path] != before[path]}
    body = _text(f"{told['title']}\n\n{told['message']}".strip()) + _text(
        f"{told['authors'][0]['user']}, {told['date']}"
    )
    body += f"<p>{_link(_tree_url(record, oid.decode()), f'Files at {oid.decode()}')}</p>"
    body += "".join(f"<p>Parent: {_commit_link(record, each.decode())}</p>" for each in step.parents)
    for heading, paths in (("Added", files.keys() - before.keys()), ("Changed", changed)):
        body += _list(heading, (_link(_file_url(record, oid.decode(), path), path) for path in sorted(paths)))
    return body + _list("Removed", (escape(path) for path in sorted(before.keys() - files.keys())))


def _files(record, git, commit, folder):
    """A table: every file of the repository, or of a folder, with its size."""
    prefix, rows = f"{folder}/" if folder else "", []
    files = sorted((path, oid) for path, oid in git.files(commit).items() if path.startswith(prefix))
    if folder and not files:
        raise HubHttpError(404, "There is no such folder")
    for path, oid in files[:MAX_ENTRIES]:
        link = _link(_file_url(record, commit.decode(), path), path)
        rows.append(f"<tr><td>{link}</td><td>{file_facts(git, oid)[0]:,} bytes</td></tr>")
    rest = _text(f"and {len(files) - MAX_ENTRIES:,} more") if len(files) > MAX_ENTRIES else ""
    return f"<h2>Files</h2><table>{''.join(rows)}</table>{rest}"


def _refs(record: Record, heading, refs: dict[str, str], prefix=""):
    rows = []
    for name, oid in list(refs.items())[:MAX_ENTRIES]:
        address = f"{record.web_path}/discussions/{name}" if prefix else _tree_url(record, name)
        rows.append(f"<tr><td>{_link(address, prefix + name)}</td><td>{_commit_link(record, oid)}</td></tr>")
    return f"<h2>{heading}</h2><table>{''.join(rows)}</table>" if rows else ""


def _commit_link(record: Record, oid):
    return _link(f"{record.web_path}/commit/{oid}", oid)


def _tree_url(record: Record, revision):
    return f"{record.web_path}/tree/{quote(revision, safe='')}"


def _file_url(record: Record, revision, path):
    return f"{record.web_path}/resolve/{quote(revision, safe='')}/{quote(path)}"


def _list(heading, items: Iterable[str]):
    shown = [f"<li>{item}</li>" for item, _ in zip(items, range(MAX_ENTRIES), strict=False)]
    return f"<h2>{heading}</h2><ul>{''.join(shown)}</ul>" if shown else ""


def _link(address, text):
    return f'<a href="{escape(address)}">{escape(text) or "(no name)"}</a>'


def _text(text):
    return f"<p>{escape(text)}</p>" if text else ""
