"""Calls: which handler answers a request, and what the request asks, as whom, and may do."""

import itertools
import re
import secrets
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlencode

import anyio
import anyio.from_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hf_dd.errors import HubError
from hf_dd.local_hub.accounts import Accounts
from hf_dd.local_hub.collections import Collections
from hf_dd.local_hub.errors import HubHttpError, login_required, repo_not_found
from hf_dd.local_hub.git import GitRepository
from hf_dd.local_hub.repositories import Record, Repositories
from hf_dd.local_hub.store import DocumentStore
from hf_dd.local_hub.untrusted import NOTHING, fields, parse_json

MAX_BODY_BYTES = 4 * 2**20  # of what isn't a file's content; clients announce 256 files of 512 bytes at once
THREADS = 40  # as many requests are answered at once
SILENCE_SECONDS = 30  # between two parts of a body

_REPO = r"(?P<repo>[\w.-]+(?:/[\w.-]+)?)"
_PLACEHOLDERS = {
    "kind": r"(?P<kind>model|dataset|space)s",
    "page_repo": r"(?:(?P<kind>dataset|space)s/)?"
    r"(?!(?:api|datasets|models|spaces|collections)/)(?P<repo>[\w.-]+/[\w.-]+)",
    "number": r"(?P<number>[0-9]{1,9})",
    "size": r"(?P<size>[0-9]{1,18})",
    "repo": _REPO,
    "web_repo": rf"(?:(?P<kind>dataset|space)s/)?{_REPO}",
    "revision": r"(?P<revision>(?:refs/pr/)?[^/]+)",
    "path": r"(?P<path>.+)",
    "name": r"(?P<name>[^/]+)",
    "slug": r"(?P<slug>[^/]+/[^/]+)",
    "item": r"(?P<item>[0-9a-f]+)",
    "uid": r"(?P<uid>[0-9a-f]{24})",
    "oid": r"(?P<oid>[0-9a-f]{64})",
}
ROUTES: list[tuple[set[str], re.Pattern, Callable]] = []


def route(methods: str, path: str):
    """Register a handler for `methods` ("GET", which answers HEAD as well) on a path with the placeholders above.

    Paths are matched before they are unquoted: a branch "a/b" arrives as one piece, "a%2Fb". A handler runs in a
    thread, takes the `Call` and returns a `Response` or JSON. The request's body stays unread until the handler asks
    for it, which it does once it is settled who is calling and what they may do.
    """
    pattern = re.compile(re.sub(r"\{(\w+)\}", lambda match: _PLACEHOLDERS[match[1]], path) + "/?")
    answered = set(methods.split())

    def register(handler):
        ROUTES.append((answered | ({"HEAD"} if "GET" in answered else set()), pattern, handler))
        return handler

    return register


class Hub:
    """Everything the server knows: who may call, and what is in the folder `root`.

    `home` is the page at `/`, None for the list of repositories. Raises `HubError` if the folder can't be one, or is
    in use.
    """

    def __init__(self, root: Path | str, accounts: Accounts, home: str | None = None):
        self.root = Path(root).resolve()
        self.accounts, self.home = accounts, home
        self.threads = anyio.CapacityLimiter(THREADS)
        self.upload_key = secrets.token_bytes(32)
        self.committing = threading.BoundedSemaphore(4)  # each has a file of some 10 MB in memory, several times
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self._documents = DocumentStore(self.root / "hub.sqlite")
            self.repositories = Repositories(self.root / "repositories", self._documents)
        except OSError as error:
            raise HubError(f"The local Hub can't use {self.root} as its folder: {error}") from error
        self.collections = Collections(self._documents)

    def close(self):
        """Release the folder for another server."""
        self._documents.close()


class Call:
    """One request: its route's parts, its query and body, and what its user may do."""

    def __init__(self, hub: Hub, request: Request, path: str, parts: dict[str, str | None]):
        self.hub = hub
        self.request = request
        self.path = path
        self.parts = {name: unquote(value) for name, value in parts.items() if value is not None}
        self.query = parse_qs(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)
        address = "{}:{}".format(*request.scope.get("server") or ("127.0.0.1", 80))
        self.endpoint = f"{request.scope['scheme']}://{request.headers.get('host') or address}"
        self.uid: str | None = None  # of the repository that it is about, once that is known
        self.user = hub.accounts.authenticate(request.headers.get("authorization"))

    def content(self, most: int = MAX_BODY_BYTES) -> Iterator[bytes]:
        """The body piece by piece; 413 for more than `most` bytes, 408 where the next piece doesn't come."""
        too_large = HubHttpError(413, f"The body has more than {most} bytes")
        if int(self.request.headers.get("content-length", 0)) > most:
            raise too_large
        stream, threads = self.request.stream(), self.hub.threads

        async def next_piece():
            threads.total_tokens += 1  # one that waits for a client keeps nobody else out
            try:
                with anyio.fail_after(SILENCE_SECONDS):
                    return await anext(stream, b"")
            finally:
                threads.total_tokens -= 1

        read = 0
        while True:
            try:
                piece = anyio.from_thread.run(next_piece)
            except TimeoutError as error:
                raise HubHttpError(408, f"Nothing of the body came for {SILENCE_SECONDS} seconds") from error
            read += len(piece)
            if read > most:
                raise too_large
            if not piece:
                return
            yield piece

    def form(self) -> dict[str, list[str]]:
        """The body as the fields of a form; 400 for more than anybody means."""
        try:
            return parse_qs(b"".join(self.content()).decode(errors="replace"), max_num_fields=10_000)
        except ValueError as error:
            raise HubHttpError(400, f"The body isn't a form: {error}") from error

    def json(self, required: Mapping[str, type] = NOTHING, **optional: type) -> dict:
        """The body as a JSON object with these fields, as `fields` reads them; else a 400."""
        try:
            data = parse_json(b"".join(self.content()) or b"{}")
        except ValueError as error:
            raise HubHttpError(400, f"The body isn't JSON: {error}") from error
        return fields(data, required, **optional)

    def flag(self, name: str) -> bool:
        """True if the query sets `name` to 1 or true."""
        return self.query.get(name, [""])[0].lower() in ("1", "true")

    def page(self, items: Iterable, size: int, describe: Callable = lambda item: item, headers=None) -> Response:
        """The part of a list that `cursor` and `limit` ask for, with a link to the next part."""
        try:
            start = int(self.query.get("cursor", ["0"])[0])
            limit = max(1, min(size, int(self.query.get("limit", [str(size)])[0])))
            if not 0 <= start < sys.maxsize - limit:
                raise ValueError(f"cursor={start}")
        except ValueError as error:
            raise HubHttpError(400, f"Not a cursor or limit: {error}") from error
        window = list(itertools.islice(items, start, start + limit + 1))
        headers = dict(headers or {})
        if len(window) > limit:
            query = urlencode(self.query | {"cursor": [str(start + limit)]}, doseq=True)
            headers["Link"] = f'<{self.endpoint}{self.path}?{query}>; rel="next"'
        return JSONResponse([describe(item) for item in window[:limit]], headers=headers)

    def logged_in(self) -> str:
        """The user; 401 for an anonymous caller."""
        if self.user is None:
            raise login_required()
        return self.user

    def owner_of(self, namespace: str) -> str:
        """The user, who may write in the namespace; else a 401 or 403."""
        if not self.hub.accounts.may_write(self.logged_in(), namespace):
            raise HubHttpError(403, f'Forbidden: you have no write access to "{namespace}"')
        return self.user

    def may_see(self, namespace: str, private: bool) -> bool:
        """Public, or the caller's own."""
        return not private or self.hub.accounts.may_write(self.user, namespace)

    def readable(self, kind: str | None = None, repo_id: str | None = None) -> Record:
        """The repository of the route (or the named one); a private one of others doesn't exist for the caller."""
        kind, repo_id = kind or self.parts.get("kind", "model"), repo_id or self.parts["repo"]
        record = self.hub.repositories.find(kind, repo_id)
        if record is None or not self.may_see(record.namespace, record.private):
            raise repo_not_found(self.user)
        self.uid = record.uid
        return record

    def downloadable(self) -> Record:
        """The repository of the route, if its files may be read: a gated one only by its owners."""
        record = self.readable()
        if record.gated and not self.hub.accounts.may_write(self.user, record.namespace):
            message = f"Access to {record.kind} {record.repo_id} is restricted and you are not in the authorized list."
            raise HubHttpError(403 if self.user else 401, message, "GatedRepo")
        return record

    def writable(self, kind: str | None = None, repo_id: str | None = None) -> Record:
        """The repository of the route (or the named one), if the caller may change it."""
        record = self.readable(kind, repo_id)
        self.owner_of(record.namespace)
        return record

    def changeable(self) -> Record:
        """As `writable`, but anyone who can read may open a pull request (`create_pr` in the query)."""
        if not self.flag("create_pr"):
            return self.writable()
        self.logged_in()
        return self.readable()

    def git(self, record: Record) -> GitRepository:
        """The repository's git side."""
        return self.hub.repositories.git(record)
