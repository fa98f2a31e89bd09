"""Requests that no client of the Hub sends, against an embedded Hub in a process of its own.

    python -m tests.campaigns.embedded_hub --minutes 5

Every answer has to come, below 500, as JSON, HTML or the bytes of a file; after each try the server still answers, has
written nothing into its log and has less than 1 GB. Private names (all of them hold SECRET) stay hidden.
"""

import base64
import contextlib
import hashlib
import html.parser
import http.client
import json
import os
import random
import re
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from tests.campaigns.campaign import FULL_MEMORY, Outcome, Try, main

SECRET = "xyzzy"
ALICE, BOB = "hf_alice_token", "hf_bob_token"
SECONDS = 20  # within which an answer has to come
SERVER = """
import sys
from hf_dd.local_hub import serve
serve(sys.argv[1], port=0, user="alice", token=sys.argv[2], users={"bob": sys.argv[3]}, orgs={"acme": ["alice"]},
      on_ready=lambda hub: print(hub.endpoint, flush=True))
"""
CARD = b"---\nlicense: mit\ntags: [plain-card]\n---\n# A <b>plain</b> card\n"


class Fault(Exception):
    """What the Hub did wrong, as an outcome and words."""

    def __init__(self, outcome: Outcome, seen: object) -> None:
        super().__init__(outcome, seen)
        self.outcome, self.seen = outcome, str(seen)[:600]


@dataclass
class Answer:
    """A status, headers and body."""

    status: int
    headers: http.client.HTTPMessage | dict
    body: bytes

    def json(self) -> Any:
        """The body's JSON."""
        return json.loads(self.body)


@dataclass
class Server:
    """A running embedded Hub: its address, its process, and its log."""

    endpoint: str
    process: subprocess.Popen
    log: Path
    heads: dict[str, str] = field(default_factory=dict)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(self.endpoint)
        return parts.hostname, parts.port

    def ask(self, method: str, path: str, body: Any = None, token: str | None = ALICE, **headers: str) -> Answer:
        """One request; a body that isn't bytes is sent as JSON. Raises Fault where no sound answer comes."""
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if token:
            headers.setdefault("Authorization", f"Bearer {token}")
        connection = http.client.HTTPConnection(*self.address, timeout=SECONDS)
        connection._validate_path = connection._validate_method = lambda _: None  # what we send is meant to be wrong
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            answer = Answer(response.status, response.headers, response.read())
        except (OSError, http.client.HTTPException) as error:
            raise Fault(Outcome.TRACEBACK, f"{method} {path[:100]}: no answer: {error!r}") from error
        finally:
            connection.close()
        return sound(answer, f"{method} {path[:100]}", method)

    def wire(self, sent: bytes) -> list[Answer]:
        """Bytes as they are; the answers until the server hangs up."""
        with socket.create_connection(self.address, timeout=SECONDS) as connection:
            try:
                got = b""
                with contextlib.suppress(OSError):
                    connection.sendall(sent)
                while True:
                    if not select.select([connection], [], [], 0.2)[0]:  # it waits for more: there is none
                        connection.shutdown(socket.SHUT_WR)
                    if not (piece := connection.recv(2**16)):
                        break
                    got += piece
            except TimeoutError as error:
                raise Fault(Outcome.TRACEBACK, f"{sent[:100]}: neither an answer nor hung up") from error
            except OSError:  # a connection that was cut
                pass
        answers = []
        while got.startswith(b"HTTP/1.1 "):
            head, _, rest = got.partition(b"\r\n\r\n")
            if head.startswith(b"HTTP/1.1 100"):
                got = rest
                continue
            headers = dict(line.lower().split(": ", 1) for line in head.decode("latin-1").split("\r\n")[1:])
            length = 0 if sent.startswith(b"HEAD") else int(headers.get("content-length", len(rest)))
            answers.append(
                sound(Answer(int(head[9:12]), headers, rest[:length]), str(sent[:100]), sent[:4].decode("latin-1"))
            )
            got = rest[length:]
        if got:
            raise Fault(Outcome.TRACEBACK, f"{sent[:100]}: answered by {got[:100]}")
        return answers

    def check(self) -> None:
        """Raise Fault unless the server answers, is silent, small, and has lost nothing."""
        for repo, head in self.heads.items():
            if (sha := self.ask("GET", f"/api/models/{repo}", token=None).json()["sha"]) != head:
                raise Fault(Outcome.LOST, f"{repo} is at {sha}, not {head}")
        if written := self.log.read_text(errors="replace"):
            self.log.write_text("")
            raise Fault(Outcome.TRACEBACK, f"in the log: {written[-500:]}")
        peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text())
        if int(peak[1]) * 1024 > FULL_MEMORY:
            raise Fault(Outcome.BOMB, f"{int(peak[1]) // 1024} MB")


def sound(answer: Answer, request: str, method: str = "GET") -> Answer:
    """The answer, if it is one that a client can read; else raises Fault."""
    kind = answer.headers.get("content-type") or ""
    if answer.status >= 500:
        raise Fault(Outcome.TRACEBACK, f"{request}: {answer.status} {answer.body[:300]}")
    if answer.status >= 400 and method != "HEAD":
        if "html" in kind:
            Page().feed(answer.body.decode())
        elif not isinstance(json.loads(answer.body or b"0"), dict):
            raise Fault(Outcome.TRACEBACK, f"{request}: {answer.status} without JSON: {answer.body[:300]}")
    return answer


class Page(html.parser.HTMLParser):
    """The tags, links and text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags, self.links, self.text = set(), [], ""

    def handle_starttag(self, tag: str, attributes: list) -> None:
        """Collect it."""
        self.tags.add(tag)
        self.links += [value for name, value in attributes if name == "href"]

    def handle_data(self, data: str) -> None:
        """Collect it."""
        self.text += data


def lines(*operations: tuple[str, Any], **header: Any) -> bytes:
    """A commit's body."""
    first = {"key": "header", "value": {"summary": "s"} | header}
    return "\n".join(json.dumps(each) for each in [first, *({"key": k, "value": v} for k, v in operations)]).encode()


def file(path: str, content: bytes) -> tuple[str, dict]:
    """An operation that writes a file."""
    return "file", {"path": path, "content": base64.b64encode(content).decode(), "encoding": "base64"}


@contextlib.contextmanager
def running(work: Path) -> Iterator[Server]:
    """A server with what the tries ask about."""
    log = work / "hub.log"
    command = [sys.executable, "-c", SERVER, str(work / "hub"), ALICE, BOB]
    with (
        log.open("w") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        try:
            server = Server(process.stdout.readline().strip(), process, log)
            prepare(server)
            yield server
        finally:
            process.terminate()


def prepare(server: Server) -> None:
    """A public repository that stays as it is, some to be changed, and private ones."""

    def must(*request: Any, **options: Any) -> Any:
        answer = server.ask(*request, **options)
        assert answer.status == 200, (request, answer)
        return answer.json()

    for name in ("plain", "scratch", "cards"):
        must("POST", "/api/repos/create", {"name": name, "organization": "alice"})
    must("POST", "/api/repos/create", {"name": "pixels", "type": "dataset"})
    must("POST", "/api/repos/create", {"name": f"{SECRET}-model", "private": True})
    must("POST", "/api/repos/create", {"name": f"{SECRET}-set", "type": "dataset", "visibility": "private"})
    card = lines(file("README.md", CARD), file("a/b.txt", b"0123456789"), file("config.json", b'{"model_type": "x"}'))
    server.heads["alice/plain"] = must("POST", "/api/models/alice/plain/commit/main", card)["commitOid"]
    must("POST", f"/api/models/alice/{SECRET}-model/commit/main", card)
    must("POST", "/api/models/alice/scratch/commit/main?create_pr=1", lines(file("pr.txt", b"1")), token=BOB)
    must("POST", "/api/models/alice/plain/tag/main", {"tag": "v1"})
    must("POST", "/api/models/alice/plain/branch/dev", {})
    slug = must("POST", "/api/collections", {"title": "pool", "namespace": "alice"})["slug"]
    for item in ("plain", f"{SECRET}-model"):
        wanted = {"item": {"type": "model", "id": f"alice/{item}"}, "note": f"{item} is there"}
        must("POST", f"/api/collections/{slug}/items", wanted)
    hidden = must("POST", "/api/collections", {"title": f"{SECRET} pool", "namespace": "alice", "private": True})[
        "slug"
    ]
    server.slug, server.hidden = slug, hidden


# ---- what is tried

# fmt: off
DEEP = "[" * 50_000
READS = [
    "/api/whoami-v2", "/api/models", "/api/datasets", "/api/models/alice/plain",
    "/api/models/alice/plain/revision/v1", "/api/models/alice/plain/auth-check",
    "/api/models/alice/plain/auth-check/write", "/api/models/alice/plain/refs",
    "/api/models/alice/plain/commits/main", "/api/models/alice/plain/tree/main",
    "/api/models/alice/plain/tree/main/a", "/api/collections", "/api/collections/SLUG",
    "/alice/plain/resolve/main/a/b.txt", "/alice/plain/resolve/v1/README.md", "/", "/alice/plain",
    "/alice/plain/tree/dev", "/alice/plain/tree/main/a", "/alice/plain/commit/HEAD",
    "/alice/plain/blob/main/a/b.txt", "/alice/scratch/discussions/1", "/datasets/alice/pixels", "/collections/SLUG",
]
VALUES = [
    0, -1, 2**70, 1.5, True, False, "", "x", "\0", "a\0b", "\ud800", "é😀", "a" * 100_000, [], {}, [1], {"a": 1},
    [[]], "../x", "/etc", "a/b", "a b", "%2e%2e", "refs/heads/main", "0" * 40, "-x", ".git", "main", "alice", "bob",
]
WORDS = [
    "", ".", "..", "...", ".git", "a" * 300, "%", "%zz", "%00", "%2e%2e", "%2F", "%252F", "%ff", "%ED%A0%80", "@",
    "~", "\\", "'", '"', "<script>", "a b".replace(" ", "%20"), "0" * 40, "f" * 64, "refs%2Fpr%2F1", "refs%2Fpr%2Fx",
    "*", "refs%2Fheads%2Fmain", "refs%2Fpr%2F" + "9" * 60, "a%0Ab", "HEAD", "main%40%7B1%7D", ";x", ":", "$(id)",
    "a" * 5000,
]
NUMBERS = [
    "0", "1", "-1", "1e3", "x", "", "9" * 18, "9" * 30, "9" * 5000, "1.5", "٣", "0x1", " 1", "%00", "nan",
]
RANGES = [
    "bytes=0-3", "bytes=-3", "bytes=3-", "bytes=5-2", "bytes=-0", "bytes=99-", "bytes=a-b", "items=0-1", "bytes=--3",
    "bytes=0-0,2-3", "bytes=" + ",".join(f"{n}-{n}" for n in range(500)), f"bytes=0-{'9' * 30}",
    f"bytes=-{'9' * 9000}", "bytes", "", "bytes= 0-3", "bytes=٣-", "bytes=1-\x0b", f"bytes={'0' * 20}1-3",
]
HOSTILE = [
    "", "- a\n- list", "5", "a: &x [1]\nb: *x", "tags: {a: b}", "tags: 5", "tags: [[a], {b: c}, null, 1, true, ok]",
    "tags: 'word'", "tags: ['<script>alert(1)</script>', '\"']", "license: [a, {b: c}]", "license: {a: b}",
    "datasets: 7", "datasets: [null, {a: 1}]", "language: no", "pipeline_tag: [a]", "pipeline_tag: {}",
    "library_name: {a: [b]}", "library_name: [x, y]", "base_model: {a: b}", "model-index: 5", "model-index: [5]",
    "model-index: [{name: 5, results: {}}]",
    "model-index:\n- name: x\n  results:\n  - task: 5\n    dataset: []\n    metrics: x",
    "model-index: [{name: x, results: [{task: {}, dataset: {}, metrics: [], source: 5}]}]",
    "model-index: [{name: x, results: [{source: {name: x}}]}]",
    "model-index: [{name: x, results: [{task: {type: a}, dataset: {type: b, name: c}, metrics: [{type: d, value: 1}], "
    "source: {name: x, url: null}}]}]",
    "self: 1", "ignore_metadata_errors: no", "eval_results: 5", "kwargs: {a: 1}\ncls: 2",
    "x: .inf\ny: .nan\nz: -.inf\nw: 1e999", f"x: {'9' * 5000}", f"{'9' * 500}: x", f"x: 0x{'f' * 5000}",
    "x: 1:2:3:4:5:6:7:8:9:10:11", "x: 2001-99-99", "x: !!timestamp y", "x: !!bool y", "x: !!int y",
    "x: !!python/object/apply:os.system [id]", "x: !!binary '?'", "? [a]\n: b", "null: x\ntrue: y\n2001-01-01: z",
    "<<: {tags: [merged]}", "a: 1\na: 2", 'x: "\\ud800"', 'x: "\\0"', "x: \0", "x: " + "[" * 2000,
    "x: " + "{a: " * 2000, "\n".join("  " * n + "a:" for n in range(200)), "x: [" + "a," * 100_000 + "]",
    "x: '" + "a" * 1_500_000 + "'", "gated: 5\nprivate: true\nid: alice/plain\nsha: 5\nsiblings: 5", "configs: 5",
    "dataset_info: [5]", "%YAML 9.9", "\n" * 300_000, "a: |\n" + " x\n" * 100_000,
    "cardData: {}\nauthor: 5\ntransformersInfo: 5\nsafetensors: x\nspaces: 5",
]
CONFIGS = [
    "[]", "5", "null", "{", '{"model_type": 5}', '{"model_type": {"a": [1]}}', '{"model_type": null}', DEEP, "NaN",
    '{"a": NaN, "b": Infinity, "c": 1e999, "model_type": "odd"}', '{"a": "\\ud800"}', '{"a": ' + "9" * 5000 + "}",
    '{"a": [' + "{}," * 200_000 + "{}]}", '{"x": "' + "a" * 2_000_000 + '"}', '{"\\u0000": "\\u0000"}', "\ufeff{}",
    '{"a":' * 500,
]
LETTERS = [
    "a", "B", "1", ".", "..", "/", "//", "-", "_", "~", "^", ":", "?", "*", "[", "\\", "@", "@{", " ", "\t", "\n",
    "\0", "é", "😀", "%", "%2F", "#", "&", "'", '"', "<", ".lock", "refs/", "heads/", "HEAD", "main", "0" * 40,
    "f" * 7, "x" * 100,
]
# fmt: on


# ---- the kinds of tries


REQUESTS = [  # that a client sends: method, path, JSON
    ("POST", "/api/repos/create", {"name": "made", "organization": "alice", "type": "dataset", "private": True}),
    ("POST", "/api/repos/create", {"name": "made-2", "visibility": "public"}),
    ("DELETE", "/api/repos/delete", {"name": "made", "organization": "alice", "type": "dataset"}),
    ("POST", "/api/repos/move", {"fromRepo": "alice/made-2", "toRepo": "alice/made-3", "type": "model"}),
    ("PUT", "/api/models/alice/scratch/settings", {"visibility": "public"}),
    ("POST", "/api/models/alice/scratch/branch/b1", {"startingPoint": "main"}),
    ("DELETE", "/api/models/alice/scratch/branch/b1", None),
    ("POST", "/api/models/alice/scratch/tag/main", {"tag": "t1"}),
    ("DELETE", "/api/models/alice/scratch/tag/t1", None),
    ("POST", "/api/models/alice/scratch/super-squash/main", {"message": "squashed"}),
    ("POST", "/api/models/alice/scratch/preupload/main", {"files": [{"path": "a", "size": 1}], "gitIgnore": "*.o"}),
    (
        "POST",
        "/alice/scratch.git/info/lfs/objects/batch",
        {"operation": "upload", "objects": [{"oid": "0" * 64, "size": 1}]},
    ),
    ("POST", "/api/validate-yaml", {"content": "---\na: 1\n---\n"}),
    ("POST", "/api/collections", {"title": "new", "namespace": "alice", "description": "d", "private": False}),
    ("PATCH", "/api/collections/SLUG", {"title": "pool", "description": "d", "position": 1, "theme": "blue"}),
    ("POST", "/api/collections/SLUG/items", {"item": {"type": "dataset", "id": "alice/pixels"}, "note": "n"}),
    ("PATCH", "/api/collections/SLUG/items/abc", {"note": "n", "position": 0}),
    ("DELETE", "/api/collections/SLUG/items/abc", None),
    ("POST", "/api/models/alice/plain/paths-info/main", b"paths=a&paths=README.md&expand=true"),
    ("POST", "/api/models/alice/scratch/commit/main", b""),
]


def fields(rng: random.Random, server: Server) -> str:
    """A field of a request is something else."""
    method, path, body = rng.choice([each for each in REQUESTS if isinstance(each[2], dict) and each[2]])
    body = json.loads(json.dumps(body))
    place, key = body, rng.choice(list(body))
    while isinstance(place[key], dict | list) and place[key] and rng.random() < 0.8:
        place = place[key]
        key = rng.choice(list(place)) if isinstance(place, dict) else rng.randrange(len(place))
    value = rng.choice([*VALUES, None, "gone"])
    before = place[key]
    if value == "gone":
        del place[key]
    else:
        place[key] = value
    answer = server.ask(method, path.replace("SLUG", server.slug), body)
    odd = value is not None and value != "gone" and type(value) is not type(before)
    if odd and answer.status < 400:
        raise Fault(Outcome.WRONG, f"{method} {path} took {str(value)[:50]!r} for {key}: {answer.status}")
    return f"{method} {path}: {key} = {str(value)[:30]!r}: {answer.status}"


def bodies(rng: random.Random, server: Server) -> str:
    """A body is no JSON, no commit, no form."""
    method, path, body = rng.choice(REQUESTS)
    whole = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = rng.choice(
        [
            b"",
            b"{",
            b"null",
            b"5",
            b'"x"',
            b"[]",
            b"NaN",
            b"\xff\xfe\x00",
            rng.randbytes(200),
            whole[: rng.randrange(len(whole) + 1)],
            DEEP.encode(),
            b'{"a":' * 30_000,
            b"9" * 100_000,
            b'{"files": [' + b'{"path": "a", "size": 1},' * 20_000 + b'{"path": "a", "size": 1}]}',
            b"{}," * 500_000,
            b" " * 2_000_000,
            b"paths=a&" * 50_000,
            b"--x\r\nContent-Disposition: form-data; name=paths\r\n\r\na\r\n--x--",
            b"a" * 6_000_000,
            b"\n" * 3_000_000,
            b"\x1f\x8b" + rng.randbytes(50),
        ]
    )
    headers = rng.choice([{}, {"Content_Type": "multipart/form-data; boundary=x"}, {"Content_Encoding": "gzip"}])
    answer = server.ask(method, path.replace("SLUG", server.slug), sent, **headers)
    return f"{method} {path}: {len(sent)} bytes, {sent[:20]!r}: {answer.status}"


def addresses(rng: random.Random, server: Server) -> str:
    """A path with another word in it, another method."""
    path = rng.choice([*READS, *(path for _, path, _ in REQUESTS)]).replace("SLUG", server.slug)
    method = rng.choice(["GET", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW", "get"])
    parts = path.split("/")
    for _ in range(rng.choice([0, 1, 1, 2])):
        parts[rng.randrange(len(parts))] = rng.choice(WORDS)
    path = (
        rng.choice(["/", "/", "/", "", "//"])
        + "/".join(parts).strip("/")
        + rng.choice(["", "", "", "/", "?", "?a=%zz", "#"])
    )
    if "settings" in path or "repos/delete" in path:
        method = "GET"
    path = path or "*"
    body = b"" if method in ("POST", "PUT", "PATCH") else None
    if "/commit/" in path:
        body = None  # an empty body is no commit
    answer = server.ask(method, path, body)
    return f"{method} {path[:80]}: {answer.status}"


def queries(rng: random.Random, server: Server) -> str:
    """Odd numbers, filters and ranges in queries and headers."""
    path = rng.choice([path for path in READS if path.startswith("/api") or "resolve" in path]).replace(
        "SLUG", server.slug
    )
    names = [
        "limit",
        "cursor",
        "filter",
        "search",
        "sort",
        "expand",
        "full",
        "cardData",
        "blobs",
        "recursive",
        "owner",
    ]
    names += ["item", "gated", "author", "pipeline_tag", "expand[]", "include_prs", "direction", "config"]
    words = [
        *NUMBERS,
        "true",
        "(((((a*)*)*)*)*b",
        "[",
        "\\",
        "%ff%fe",
        "a" * 3000,
        "alice",
        "lastModified",
        "'; drop table--",
        "__class__",
    ]
    query = "&".join(
        f"{quote(rng.choice(names))}={quote(rng.choice(words), safe='%')}"
        for _ in range(rng.choice([1, 1, 2, 3, 200]))
    )
    headers = {}
    if rng.random() < 0.5:
        headers["Range"] = rng.choice(RANGES).encode().decode("latin-1")
    if rng.random() < 0.2:
        headers["If_Range"] = rng.choice(['"x"', "*", ""])
    if rng.random() < 0.2:
        odd = [
            "",
            "Bearer",
            "Bearer ",
            "Basic YTpi",
            "Bearer hf_nobody",
            "é" * 50,
            f"Bearer {ALICE}x",
            "Bearer " + "a" * 9000,
        ]
        headers["Authorization"] = rng.choice(odd)
    if rng.random() < 0.2:
        headers["Host"] = rng.choice(["[", "a b", "", "x" * 3000, "evil.example/<script>", "[::1", ":", "a:b:c", "é"])
    headers |= rng.choice([{}, {}, {"Expect": "100-continue"}, {"Upgrade": "websocket", "Connection": "Upgrade"}])
    headers |= rng.choice(
        [{}, {}, {"X_Forwarded_Proto": "gopher", "X_Forwarded_For": "'"}, {"Accept_Encoding": "\x7f"}]
    )
    answer = server.ask(rng.choice(["GET", "GET", "HEAD"]), f"{path}?{query}", **headers)
    if "resolve" in path and answer.status in (200, 206) and answer.body:
        whole = CARD if "README" in path else b"0123456789"
        if answer.body not in whole or (answer.status == 200 and answer.body != whole):
            raise Fault(Outcome.WRONG, f"{headers}: {answer.body}")
    return f"{path}?{query[:60]} {str(headers)[:100]}: {answer.status}"


def wire(rng: random.Random, server: Server) -> str:
    """Bytes that are no HTTP, or not all of it."""
    host, auth = b"Host: x\r\n", f"Authorization: Bearer {ALICE}\r\n".encode()
    create = b"POST /api/repos/create HTTP/1.1\r\n" + host + auth
    get = b"GET /api/models HTTP/1.1\r\n" + host
    sent = rng.choice(
        [
            b"",
            b"\r\n" * 10,
            rng.randbytes(300),
            b"\x16\x03\x01\x02\x00\x01\x00",
            b"GET\r\n\r\n",
            b"GET /\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.0\r\n\r\n",
            b"GET /\xff\xfe HTTP/1.1\r\n" + host + b"\r\n",
            b"GET http://x:y/ HTTP/1.1\r\n" + host + b"\r\n",
            b"CONNECT x:1 HTTP/1.1\r\n" + host + b"\r\n",
            b"OPTIONS * HTTP/1.1\r\n" + host + b"\r\n",
            b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n" + host + b"\r\n",
            b"GET /" + b"a" * 1_000_000,
            get + b"A: " + b"b" * 100_000 + b"\r\n\r\n",
            get + b"".join(b"H%d: x\r\n" % n for n in range(5000)) + b"\r\n",
            get + b"no colon\r\n\r\n",
            get + b"A: \0\r\n\r\n",
            get + host + b"\r\n",
            get + b"\r\n" + get + b"\r\n" + get + b"Connection: close\r\n\r\n",
            get + b"\r\ngarbage garbage\r\n\r\n",
            get,
            create + b"Content-Length: 5\r\n\r\n{}",
            create + b"Content-Length: 1\r\n\r\n{}",
            create + b"Content-Length: -1\r\n\r\n{}",
            create + b"Content-Length: x\r\n\r\n{}",
            create + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
            create + b"Content-Length: " + b"9" * 15 + b"\r\n\r\n{}",
            create + b"Content-Length: " + b"9" * 50 + b"\r\n\r\n{}",
            create + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            create + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
            create + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n{}\r\n",
            create + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}",
            create + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{}",
            create + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            create + b"Transfer-Encoding: gzip\r\n\r\n{}",
            create + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\n{\r\n" * 20_000 + b"0\r\n\r\n",
            create + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
            create + b"Expect: 200-maybe\r\nContent-Length: 2\r\n\r\n{}",
            create.replace(auth, b"") + b"Content-Length: 100000000\r\n\r\n" + b"x" * 200_000,
            create.replace(auth, b"") + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
            get + b"Content-Length: 3\r\n\r\nabc",
            get + b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ]
    )
    if sent and rng.random() < 0.3:  # and another one of the same, damaged
        cut = bytearray(sent)
        for _ in range(rng.randrange(1, 5)):
            cut[rng.randrange(len(cut))] = rng.randrange(256)
        sent = bytes(cut[: rng.randrange(1, len(cut) + 1)])
    answers = server.wire(sent)
    return f"{sent[:60]!r}: {[answer.status for answer in answers]}"


def commits(rng: random.Random, server: Server) -> str:
    """Operations that no commit should have."""
    long, one = "a" * 300, file("one.txt", b"1")
    oid = hashlib.sha256(b"never sent").hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize 5\n".encode()
    value = rng.choice(VALUES)
    bad = [
        *(
            lines(file(path, b"x"))
            for path in ("../x", "/x", "a//b", "a/./b", ".git/x", "a/.GIT/x", "x\0y", "", "a/", long, "a/" * 600)
        ),
        *(lines((kind, {"path": "none"})) for kind in ("deletedFile", "deletedFolder")),
        *(lines((kind, value)) for kind in ("file", "lfsFile", "deletedFile", "header", "move", "")),
        lines(file("a", b"x"), file("a/b", b"y")),
        lines(file("twice", b"x"), file("twice", b"y")),
        lines(("file", {"path": "x", "content": "?"})),
        lines(("file", {"path": "x", "content": "YQ"})),
        lines(("file", {"path": "x", "content": "é"})),
        lines(("file", {"path": "x", "content": "YQ==", "encoding": "rot13"})),
        lines(("file", {"path": "x", "content": value if not isinstance(value, str) else 5})),
        lines(("file", {"path": "x"})),
        lines(("file", {"content": "YQ=="})),
        lines(file("x", pointer)),
        lines(file("x", pointer.replace(b"size 5", b"size " + b"9" * 18))),
        lines(("lfsFile", {"path": "x", "oid": oid})),
        lines(("lfsFile", {"path": "x", "oid": oid.upper()})),
        lines(("lfsFile", {"path": "x", "oid": "../../hub.sqlite"})),
        lines(("lfsFile", {"path": "x", "oid": value if not isinstance(value, str) else 5})),
        lines(one, summary=value if not isinstance(value, str) else None),
        lines(one, description=value if not isinstance(value, str) else 5),
        lines(one, parentCommit=rng.choice(["0" * 40, "x", "../..", "\0", "main", "f" * 4000, 5, []])),
        lines(one, summary="a" * 100_000),
        lines(one, summary="\ud800"),
        lines(one).split(b"\n")[1],
        b"\n".join(reversed(lines(one).split(b"\n"))),
        lines(one) + b"\n{",
        lines(one)[:-2],
        lines(one) + b"\n" + DEEP.encode(),
        lines(one) + b"\n[]",
        lines(one) + b"\nnull",
        lines(one) + b"\n" + b'{"key": "file", "value": {"path": "x", "content": "' + b"A" * 17_000_000 + b'"}}',
        b'{"key": "header", "value": {"summary": ' + b"9" * 10_000 + b"}}",
    ]
    before = server.ask("GET", "/api/models/alice/scratch").json()["sha"]
    number = rng.randrange(len(bad))
    answer = server.ask("POST", "/api/models/alice/scratch/commit/main", bad[number])
    after = server.ask("GET", "/api/models/alice/scratch").json()["sha"]
    if answer.status < 400 or before != after:
        raise Fault(Outcome.WRONG, f"taken: {bad[number][-200:]}: {answer.status}")
    where = rng.choice(
        ["v9", "0" * 40, before, "refs%2Fpr%2F77", "refs%2Fheads%2Fmain", "a..b", "x" * 300, "%00", "v1"]
    )
    other = server.ask("POST", f"/api/models/alice/scratch/commit/{where}", lines(one))
    if other.status < 400:
        raise Fault(Outcome.WRONG, f"a commit on {where}: {other.status}")
    return f"{bad[number][-60:]!r}: {answer.status}; on {where[:50]}: {other.status}"


def uploads(rng: random.Random, server: Server) -> str:
    """Large files of another size, hash or signature than announced."""
    content = rng.randbytes(rng.choice([0, 1, 1000, 300_000]))
    oid, size = hashlib.sha256(content).hexdigest(), len(content)
    body = {"operation": "upload", "objects": [{"oid": oid, "size": size}]}
    offer = server.ask("POST", "/alice/scratch.git/info/lfs/objects/batch", body).json()["objects"][0]
    if "actions" not in offer:
        return f"{size} bytes: there already"
    href = offer["actions"]["upload"]["href"].removeprefix(server.endpoint)
    wrong = {
        "cut": (href, content[:-1]) if content else (href, b"x"),
        "longer": (href, content + b"x"),
        "other bytes": (href, content[:-1] + bytes([content[-1] ^ 1])) if content else (href, b"x"),
        "no signature": (href.split("?")[0], content),
        "odd signature": (
            href.split("?")[0] + "?signature=" + rng.choice(["%ff", "é".encode().hex(), "a" * 9000]),
            content,
        ),
        "other size": (href.replace(f"/{size}?", f"/{size + 1}?"), content + b"x"),
        "other oid": (href.replace(oid, "0" * 64), content),
        "much longer": (href, content + bytes(3_000_000)),
    }
    name = rng.choice(list(wrong))
    answer = server.ask("PUT", *wrong[name], token=None)
    commit = ("POST", "/api/models/alice/scratch/commit/main")
    early = server.ask(*commit, lines(("lfsFile", {"path": "large.bin", "oid": oid, "size": size})))
    if answer.status < 400 or early.status < 400:
        raise Fault(Outcome.WRONG, f"{name}: {answer.status}, {early.status}")
    right = server.ask("PUT", href, content, token=None)
    sized = server.ask(*commit, lines(("lfsFile", {"path": "large.bin", "oid": oid, "size": size + 1})))
    late = server.ask(*commit, lines(("lfsFile", {"path": "large.bin", "oid": oid, "size": size})))
    got = server.ask("GET", "/alice/scratch/resolve/main/large.bin")
    if (right.status, sized.status, late.status) != (200, 400, 200) or got.body != content:
        raise Fault(Outcome.LOST, f"{right}, {sized}, {late}, {len(got.body)} of {size} bytes")
    return f"{name}, {size} bytes: {answer.status}"


def cards(rng: random.Random, server: Server) -> str:
    """A hostile card or config.json; listings, and the clients' classes for them, stand it."""
    kind, repo = rng.choice([("models", "alice/cards"), ("datasets", "alice/pixels")])
    number, config = rng.randrange(len(HOSTILE)), rng.choice(CONFIGS)
    card = b"---\n" + HOSTILE[number].encode(errors="surrogatepass") + b"\n---\ntext"
    if rng.random() < 0.1:
        card = bytes(rng.choice(card) if rng.random() < 0.02 else each for each in card[:5000])
    body = lines(file("README.md", card), file("config.json", config.encode()))
    answer = server.ask("POST", f"/api/{kind}/{repo}/commit/main", body)
    if answer.status != 200:
        raise Fault(Outcome.WRONG, f"not stored: {answer}")
    for path in (
        f"/api/{kind}/{repo}",
        f"/api/{kind}?full=true",
        f"/api/{kind}?cardData=true&config=true",
        f"/api/{kind}?expand=tags",
    ):
        found = server.ask("GET", path, token=None).json()
        for info in found if isinstance(found, list) else [found]:
            understood(kind, info)
    plain = server.ask("GET", "/api/models?filter=plain-card", token=None).json()
    if [each["id"] for each in plain] != ["alice/plain"]:
        raise Fault(Outcome.WRONG, f"found {plain}")
    web = f"/{repo}" if kind == "models" else f"/datasets/{repo}"
    page = Page()
    page.feed(server.ask("GET", web, token=None).body.decode())
    if "script" in page.tags or repo not in page.text:
        raise Fault(Outcome.WRONG, f"{web}: {page.tags}")
    server.ask("POST", "/api/validate-yaml", {"content": card.decode(errors="replace")})
    return f"{repo}: {HOSTILE[number][:40]!r}, {config[:30]!r}"


def understood(kind: str, info: dict) -> None:
    """Raise Fault if huggingface_hub's classes choke on a listing's entry."""
    from huggingface_hub import logging
    from huggingface_hub.hf_api import DatasetInfo, ModelInfo

    logging.set_verbosity_error()  # it tells of a model-index that it can't read
    try:
        made = (ModelInfo if kind == "models" else DatasetInfo)(**info)
        assert all(isinstance(tag, str) for tag in made.tags)
    except Exception as error:
        raise Fault(Outcome.WRONG, f"a client can't read {str(info)[:200]}: {error!r}") from error


def strangers(rng: random.Random, server: Server) -> str:
    """Somebody without rights looks for what is private: it is told of as what isn't there."""
    token, missing = rng.choice([None, BOB]), "m" * len(SECRET)
    hidden, gone = server.hidden, re.sub("[0-9a-f]{24}$", "0" * 24, server.hidden)
    paths = [
        *(
            ("GET", path.replace("alice/plain", f"alice/{SECRET}-model"), None)
            for path in READS
            if "alice/plain" in path
        ),
        *((m, p.replace("alice/scratch", f"alice/{SECRET}-model"), b) for m, p, b in REQUESTS if "alice/scratch" in p),
        ("GET", f"/datasets/alice/{SECRET}-set", None),
        ("GET", f"/api/datasets/alice/{SECRET}-set/tree/main", None),
        ("GET", f"/datasets/alice/{SECRET}-set/resolve/main/.gitattributes", None),
        ("GET", f"/api/models?search={SECRET}", None),
        ("GET", f"/api/models?author=alice&search={SECRET}&full=true", None),
        ("GET", f"/api/collections?item=models/alice/{SECRET}-model", None),
        ("POST", f"/api/collections/{server.slug}/items", {"item": {"type": "model", "id": f"alice/{SECRET}-model"}}),
        ("GET", f"/api/collections/{hidden}", None),
        ("PATCH", f"/api/collections/{hidden}", {"title": "mine"}),
        ("DELETE", f"/api/collections/{hidden}", None),
        ("GET", f"/collections/{hidden}", None),
        ("DELETE", "/api/repos/delete", {"name": f"{SECRET}-model", "organization": "alice"}),
        ("POST", "/api/repos/move", {"fromRepo": f"alice/{SECRET}-model", "toRepo": "bob/mine"}),
        ("POST", "/api/repos/create", {"name": f"{SECRET}-model", "organization": "alice"}),
    ]
    method, path, body = rng.choice(paths)

    def look(hide: Callable[[str], str]) -> tuple:
        there = json.loads(hide(json.dumps(body))) if isinstance(body, dict) else body
        answer = server.ask(method, hide(path).replace("SLUG", server.slug), there, token=token)
        return (
            answer.status,
            answer.body.replace(SECRET.encode(), missing.encode()),
            answer.headers.get("x-error-code"),
        )

    found, nothing = look(lambda text: text), look(lambda text: text.replace(hidden, gone).replace(SECRET, missing))
    if found != nothing:
        raise Fault(Outcome.WRONG, f"{method} {path}: {found[:2]} and {nothing[:2]}")
    for page in (
        "/",
        "/api/models",
        "/api/datasets",
        "/api/collections",
        f"/collections/{server.slug}",
        f"/api/collections/{server.slug}",
    ):
        answer = server.ask("GET", page, token=token)
        if SECRET.encode() in answer.body or answer.status != 200:
            raise Fault(Outcome.WRONG, f"{page}: {answer.status} {answer.body[:300]}")
    return f"{method} {path}: {found[0]}"


def races(rng: random.Random, server: Server) -> str:
    """Many at once: commits on one branch, with or without a parent, beside tags, renames and deletions."""
    name = f"race-{rng.randrange(10**9)}"
    server.ask("POST", "/api/repos/create", {"name": name})
    first = server.ask("GET", f"/api/models/alice/{name}").json()["sha"]
    kinds = [rng.choice(["commit", "commit", "commit", "parent", "pr", "tag", "list", "page"]) for _ in range(8)]
    ending = rng.choice([None, None, "delete", "move"])
    answers: list = []

    def act(number: int, kind: str) -> None:
        base = f"/api/models/alice/{name}"
        body = lines(file(f"{number}.txt", b"%d" % number), **({"parentCommit": first} if kind == "parent" else {}))
        requests = {
            "commit": ("POST", f"{base}/commit/main", body),
            "parent": ("POST", f"{base}/commit/main", body),
            "pr": ("POST", f"{base}/commit/main?create_pr=1", body),
            "tag": ("POST", f"{base}/tag/main", {"tag": "same"}),
            "list": ("GET", "/api/models?full=true", None),
            "page": ("GET", f"/alice/{name}", None),
            "delete": ("DELETE", "/api/repos/delete", {"name": name}),
            "move": ("POST", "/api/repos/move", {"fromRepo": f"alice/{name}", "toRepo": f"alice/{name}-moved"}),
        }
        try:
            answers.append((kind, server.ask(*requests[kind])))
        except BaseException as error:
            answers.append((kind, error))

    threads = [threading.Thread(target=act, args=each) for each in enumerate([*kinds, *([ending] if ending else [])])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for kind, answer in answers:
        if isinstance(answer, BaseException):
            raise answer if isinstance(answer, Fault) else Fault(Outcome.TRACEBACK, f"{kind}: {answer!r}")
    if ending != "delete":
        base = f"/api/models/alice/{name}" + ("-moved" if ending else "")
        history = [each["id"] for each in server.ask("GET", f"{base}/commits/main").json()]
        made = [
            answer.json()["commitOid"]
            for kind, answer in answers
            if kind in ("commit", "parent") and answer.status == 200
        ]
        if sorted(history[:-1]) != sorted(made) or history[-1] != first:
            raise Fault(Outcome.LOST, f"acknowledged {made}, in the history {history}")
        if sum(kind == "parent" and answer.status == 200 for kind, answer in answers) > 1:
            raise Fault(Outcome.WRONG, "two commits on one parent")
        files = {each["path"] for each in server.ask("GET", f"{base}/tree/main").json()}
        if len(files) != len(made) + 1:
            raise Fault(Outcome.LOST, f"{files} of {len(made)} commits")
        server.ask("DELETE", "/api/repos/delete", {"name": base.rsplit("/", 1)[1]})
    return f"{kinds} {ending}: {[answer.status for _, answer in answers]}"


def refs(rng: random.Random, server: Server) -> str:
    """Tags and branches of odd names: refused, or there and found."""
    name = "".join(rng.choice(LETTERS) for _ in range(rng.choice([1, 1, 2, 3, 5])))
    base, encoded = "/api/models/alice/scratch", quote(name, safe="", errors="replace")
    if rng.random() < 0.5:
        kind, answer = "tags", server.ask("POST", f"{base}/tag/main", {"tag": name})
        remove = f"{base}/tag/{encoded}"
    else:
        kind, answer = "branches", server.ask("POST", f"{base}/branch/{encoded}", {})
        remove = f"{base}/branch/{encoded}"
    there = {each["name"]: each["targetCommit"] for each in server.ask("GET", f"{base}/refs").json()[kind]}
    if answer.status == 200:
        head = server.ask("GET", base).json()["sha"]
        at = server.ask("GET", f"{base}/revision/{encoded}")
        if there.get(name) != head or at.status != 200 or at.json()["sha"] != head:
            raise Fault(Outcome.WRONG, f"{kind} {name!r}: {there.get(name)}, {at}")
        if re.fullmatch("[0-9a-f]{40}", name):
            raise Fault(Outcome.WRONG, f"{kind} {name!r} looks like a commit")
        if server.ask("DELETE", remove).status != 200:
            raise Fault(Outcome.WRONG, f"{kind} {name!r} can't be deleted")
    elif name in there and answer.status != 409:
        raise Fault(Outcome.WRONG, f"{kind} {name!r}: {answer.status}, and there")
    return f"{kind} {name[:40]!r}: {answer.status}"


KINDS = [fields, bodies, addresses, queries, wire, commits, uploads, cards, strangers, races, refs]


def tries(rng: random.Random, work: Path) -> Iterator[Try]:
    """One kind after the other, for ever."""
    os.environ.setdefault("HF_HOME", str(work / "home"))
    with running(work) as server:
        while True:
            for kind in KINDS:
                state = rng.getrandbits(64)
                try:
                    case = kind(random.Random(state), server)
                    server.check()
                    yield Try(kind.__name__, case, Outcome.RIGHT)
                except Fault as fault:
                    yield Try(kind.__name__, f"random.Random({state})", fault.outcome, fault.seen)
                except Exception as error:  # an answer that this can't read
                    yield Try(kind.__name__, f"random.Random({state})", Outcome.TRACEBACK, repr(error)[:600])
                if server.process.poll() is not None:
                    yield Try("server", kind.__name__, Outcome.LOST, f"it ended with {server.process.returncode}")
                    return


if __name__ == "__main__":
    main("embedded_hub", tries)
