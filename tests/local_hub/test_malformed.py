"""Requests that no client sends: a 4xx in JSON each, nothing left behind, and settled before the body is read."""

import base64
import contextlib
import hashlib
import json
import os
import resource
import select
import socket
import threading
from urllib.parse import urlsplit

import pytest

from hf_dd.local_hub import calls
from hf_dd.local_hub.calls import ROUTES
from tests.local_hub.conftest import raw_request

COMMIT = '{"key": "header", "value": {"summary": "s"}}\n'
OID = hashlib.sha256(b"never sent").hexdigest()
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{OID}\nsize 5\n".encode()
DEEP = "[" * 100_000


@pytest.fixture(autouse=True)
def nothing_is_logged(caplog):
    yield
    assert not caplog.records, caplog.text


@pytest.fixture(scope="module")
def repo(new_repo, api):
    repo = new_repo()
    api.upload_file(path_or_fileobj=b"0123456789", path_in_repo="a.txt", repo_id=repo)
    return repo


@pytest.fixture(scope="module")
def slug(api):
    return api.create_collection("Malformed", namespace="alice").slug


def refused(answer, *statuses):
    assert answer.status in (statuses or range(400, 500)), answer.body
    assert "error" in answer.json() or "errors" in answer.json()
    return answer


def converse(hub, sent):
    """Send bytes, and give all that comes back until the server hangs up; after a second of silence, we do."""
    address = urlsplit(hub.endpoint)
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(sent)
        if not select.select([connection], [], [], 1)[0]:
            connection.shutdown(socket.SHUT_WR)
        got = b""
        with contextlib.suppress(ConnectionError):
            while piece := connection.recv(2**16):
                got += piece
                if not select.select([connection], [], [], 1)[0]:
                    connection.shutdown(socket.SHUT_WR)
        return got


# ---- bodies


FIELDS = {  # what is wrong with a body, by address
    "POST /api/repos/create": [
        '{"name": 5}',
        '{"name": null}',
        '{"name": "x", "private": "yes"}',
        '{"name": "x\\u0000"}',
    ]
    + ['{"name": "x", "organization": []}', '{"name": "x", "visibility": "hidden"}', '{"name": "x", "type": {}}']
    + [
        '{"name": "\\ud800"}',
        '{"name": "a/b"}',
        '{"name": "é"}',
        '{"name": "a--b"}',
        '{"name": "a..b"}',
        '{"name": ""}',
    ],
    "DELETE /api/repos/delete": ["{}", '{"name": 5}', '{"name": "none"}', '{"name": "x", "type": 5}'],
    "POST /api/repos/move": ["{}", '{"fromRepo": 5, "toRepo": "alice/x"}', '{"fromRepo": "REPO", "toRepo": 5}']
    + ['{"fromRepo": "REPO", "toRepo": "alice"}', '{"fromRepo": "REPO", "toRepo": "alice/a/b"}'],
    "PUT /api/models/REPO/settings": [
        '{"gated": 5}',
        '{"gated": 0}',
        '{"gated": [1]}',
        '{"visibility": 1}',
        "[]",
        '{"private": 1}',
    ],
    "POST /api/models/REPO/branch/new": [
        "[]",
        "5",
        '{"startingPoint": 5}',
        '{"startingPoint": "none"}',
        '{"startingPoint": "a\\u0000"}',
    ],
    "POST /api/models/REPO/tag/main": [
        "{}",
        '{"tag": 5}',
        '{"tag": ""}',
        '{"tag": null}',
        '{"tag": "a b"}',
        '{"tag": "-x"}',
    ]
    + [
        f'{{"tag": "{"f" * 40}"}}',
        f'{{"tag": "{"F" * 40}"}}',
        '{"tag": "refs/tags/x"}',
        f'{{"tag": "{"x" * 300}"}}',
        '{"tag": "HEAD"}',
    ],
    "POST /api/models/REPO/super-squash/main": ['{"message": 5}', "null"],
    "POST /api/models/REPO/preupload/main": ["{}", '{"files": 5}', '{"files": [5]}', '{"files": [{"path": "a"}]}']
    + [
        '{"files": [{"path": "a", "size": "1"}]}',
        '{"files": [{"path": 5, "size": 1}]}',
        '{"files": [{"path": "../a", "size": 1}]}',
    ]
    + ['{"files": [], "gitIgnore": 5}', '{"files": [{"path": "a", "size": true}]}'],
    "POST /REPO.git/info/lfs/objects/batch": [
        "{}",
        '{"operation": 5, "objects": []}',
        '{"operation": "upload", "objects": 5}',
    ]
    + ['{"operation": "upload", "objects": [5]}', '{"operation": "upload", "objects": [{"oid": "x", "size": 1}]}']
    + [
        f'{{"operation": "upload", "objects": [{{"oid": "{OID}", "size": {size}}}]}}'
        for size in ('"1"', "-1", "1.5", "9" * 30)
    ]
    + ['{"operation": "download", "objects": []}', f'{{"operation": "upload", "objects": [{{"oid": "{OID}"}}]}}'],
    "POST /api/validate-yaml": [
        "{}",
        '{"content": 5}',
        '{"content": "---\\na: [\\n---\\n"}',
        '{"content": "---\\na: &x 1\\n---\\n"}',
    ],
    "POST /api/collections": [
        "{}",
        '{"title": 5, "namespace": "alice"}',
        '{"title": "x", "namespace": 5}',
        '{"title": "x"}',
    ]
    + ['{"title": "x", "namespace": "alice", "private": 1}', '{"title": "x", "namespace": "alice", "description": []}']
    + [f'{{"title": "x", "namespace": "alice", "description": "{"x" * 151}"}}', '{"title": "x", "namespace": "bob"}'],
    "PATCH /api/collections/SLUG": [
        '{"title": 5}',
        '{"private": "no"}',
        '{"position": "1"}',
        '{"theme": {}}',
        '{"description": 5}',
    ],
    "POST /api/collections/SLUG/items": ["{}", '{"item": 5}', '{"item": {}}', '{"item": {"type": 5, "id": "REPO"}}']
    + ['{"item": {"type": "paper", "id": "1"}}', '{"item": {"type": "model", "id": "REPO"}, "note": 5}']
    + [f'{{"item": {{"type": "model", "id": "REPO"}}, "note": "{"x" * 501}"}}'],
    "PATCH /api/collections/SLUG/items/abc": ['{"note": 5}', '{"position": "x"}', "{}"],
}


@pytest.mark.parametrize("address", FIELDS)
def test_a_field_of_a_wrong_type_is_a_400(request_hub, repo, slug, address):
    method, path = address.replace("REPO", repo).replace("SLUG", slug).split()
    for body in [*FIELDS[address], "{", "nonsense", DEEP, '{"a":' * 50_000, "\ud800".encode(errors="surrogatepass")]:
        body = body.replace("REPO", repo) if isinstance(body, str) else body
        refused(request_hub(method, path, token="hf_alice", body=body))


OPERATIONS = [
    {"key": "file", "value": {"path": "x", "content": 5}},
    {"key": "file", "value": {"path": "x", "content": "YQ"}},
    {"key": "file", "value": {"path": "x", "content": "é"}},
    {"key": "file", "value": {"path": "x", "content": "YQ==", "encoding": "utf-7"}},
    {"key": "file", "value": {"path": 5, "content": "YQ=="}},
    {"key": "file", "value": {"path": "\ud800", "content": "YQ=="}},
    {"key": "file", "value": {"path": "a" * 256, "content": "YQ=="}},
    {"key": "file", "value": {"path": "a/" * 600 + "a", "content": "YQ=="}},
    {"key": "file", "value": {"path": "x/.GIT/config", "content": "YQ=="}},
    {"key": "file", "value": {"path": "x\0", "content": "YQ=="}},
    {"key": "file", "value": {"path": "x", "content": base64.b64encode(POINTER).decode()}},
    {"key": "file", "value": 5},
    {"key": "file", "value": None},
    {"key": "file"},
    {"key": 5, "value": {"path": "x"}},
    {"key": "rename", "value": {"path": "x"}},
    {"key": "lfsFile", "value": {"path": "x", "oid": OID}},
    {"key": "lfsFile", "value": {"path": "x", "oid": 5}},
    {"key": "lfsFile", "value": {"path": "x", "oid": "../../../hub.sqlite"}},
    {"key": "deletedFile", "value": {"path": "none"}},
    {"key": "deletedFile", "value": {}},
    {"key": "deletedFolder", "value": {"path": ""}},
    {"key": "deletedFolder", "value": {"path": ["a"]}},
    [],
    "text",
    None,
]


def test_a_commit_with_one_bad_line_is_refused_whole(api, request_hub, repo):
    head, path = api.model_info(repo).sha, f"/api/models/{repo}/commit/main"
    good = json.dumps({"key": "file", "value": {"path": "good", "content": "YQ=="}})
    bodies = [f"{COMMIT}{good}\n{json.dumps(operation)}" for operation in OPERATIONS]
    bodies += [f"{COMMIT}{good}\n{good}", f"{good}\n{COMMIT}", good, "", "{", COMMIT + DEEP, f"{COMMIT}{good[:-5]}"]
    for value in (
        "5",
        "{}",
        '{"summary": 5}',
        '{"summary": null}',
        '{"summary": "a\\u0000"}',
        '{"summary": "s", "description": []}',
    ):
        bodies.append(f'{{"key": "header", "value": {value}}}\n{good}')
    for parent in ("5", "[]", '"x"', f'"{"0" * 40}"', '"../main"', '"\\u0000"'):
        bodies.append(f'{{"key": "header", "value": {{"summary": "s", "parentCommit": {parent}}}}}\n{good}')
    bodies.append(COMMIT.replace('"s"', json.dumps("s" * 100_000)) + good)
    for body in bodies:
        refused(request_hub("POST", path, token="hf_alice", body=body))
        refused(request_hub("POST", f"{path}?create_pr=1", token="hf_bob", body=body))
    assert api.model_info(repo).sha == head
    assert not api.list_repo_refs(repo, include_pull_requests=True).pull_requests


def test_a_commit_goes_onto_a_branch_and_nothing_else(api, request_hub, repo):
    head = api.create_tag(repo, tag="v1") or api.model_info(repo).sha
    for revision in ("v1", head, "refs%2Fpr%2F9", "refs%2Fheads%2Fmain", "refs%2Ftags%2Fv1", "a..b", "%00", "x" * 300):
        path = f"/api/models/{repo}/commit/{revision}"
        refused(request_hub("POST", path, token="hf_alice", body=COMMIT), 404)
    assert api.model_info(repo).sha == head


def test_bodies_end_where_they_are_too_large(api, request_hub, repo, monkeypatch):
    for path in ("/api/repos/create", f"/api/models/{repo}/paths-info/main", "/api/validate-yaml"):
        refused(request_hub("POST", path, token="hf_alice", body=b" " * (calls.MAX_BODY_BYTES + 1)), 413)
    many = b'{"content": "", "a": [' + b"{}," * 300_000 + b"0]}"
    refused(request_hub("POST", "/api/validate-yaml", body=many), 400)
    refused(request_hub("POST", f"/api/models/{repo}/commit/main", token="hf_alice", body=COMMIT.encode() + many), 400)
    fields = b"paths=a&" * 20_000
    refused(request_hub("POST", f"/api/models/{repo}/paths-info/main", body=fields), 400)
    line = COMMIT + '{"key": "file", "value": {"path": "x", "content": "' + "A" * (17 * 2**20) + '"}}'
    refused(request_hub("POST", f"/api/models/{repo}/commit/main", token="hf_alice", body=line), 413)
    monkeypatch.setattr("hf_dd.local_hub.upload_routes.MAX_COMMIT_BYTES", 1000)
    refused(request_hub("POST", f"/api/models/{repo}/commit/main", token="hf_alice", body=COMMIT * 100), 413)
    chunks = (b"x" * 100 for _ in range(100))
    refused(request_hub("POST", f"/api/models/{repo}/commit/main", token="hf_alice", body=chunks), 413)


def test_a_large_commit_is_never_in_memory(api, new_repo, request_hub):
    content = base64.b64encode(bytes(7 * 2**20)).decode()

    def body():
        yield COMMIT.encode()
        for number in range(8):
            value = f'{{"path": "{number}.txt", "content": "{number:04d}{content}"}}'
            yield f'{{"key": "file", "value": {value}}}\n'.encode()

    repo, before = new_repo(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer = request_hub("POST", f"/api/models/{repo}/commit/main", token="hf_alice", body=body())
    assert answer.status == 200
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60 * 1024, "75 MB were sent"
    assert len(api.list_repo_files(repo)) == 9


# ---- what is settled before a body is read


def placed(pattern, repo, slug):
    """An address that a route's pattern answers."""
    address = "/x/y/z"
    for text in (
        *("/api/repos/create", "/api/repos/delete", "/api/repos/move", "/api/validate-yaml", "/api/collections"),
        *(
            f"/api/models/{repo}{rest}"
            for rest in ("/settings", "/branch/x", "/tag/x", "/super-squash/x", "/preupload/main")
        ),
        *(f"/api/models/{repo}{rest}" for rest in ("/paths-info/main", "/commit/main")),
        *(f"/{repo}.git/info/lfs/objects/batch", f"/lfs-upload/{'0' * 24}/{OID}/5", f"/api/collections/{slug}"),
        *(f"/api/collections/{slug}/items", f"/api/collections/{slug}/items/abc"),
    ):
        if pattern.fullmatch(text):
            address = text
    return address


def test_strangers_are_refused_before_anything_of_their_body_is_read(hub, api, new_repo, repo):
    slug = api.create_collection("Hidden", namespace="alice", private=True).slug
    private, asked = new_repo(private=True), 0
    for methods, pattern, _ in ROUTES:
        for method in methods - {"GET", "HEAD"}:
            path = placed(pattern, private, slug)
            if path == "/api/validate-yaml":  # which everybody may ask
                continue
            for token in ("", "Authorization: Bearer hf_bob\r\n", "Authorization: Bearer hf_wrong\r\n"):
                if "bob" in token and (path.startswith("/api/repos") or path == "/api/collections"):
                    continue  # it depends on the body what bob may do there
                head = f"{method} {path} HTTP/1.1\r\nHost: x\r\n{token}Content-Length: 1000000\r\n\r\n"
                address = urlsplit(hub.endpoint)
                with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
                    connection.sendall(head.encode())  # and nothing of the body
                    answer = connection.recv(2**16)
                assert answer[:12] in (b"HTTP/1.1 401", b"HTTP/1.1 403", b"HTTP/1.1 404"), (head, answer)
                asked += 1
    assert asked > 40


def test_clients_that_wait_keep_nobody_out_and_are_sent_away(hub, request_hub, monkeypatch):
    address = urlsplit(hub.endpoint)
    head = b"POST /api/validate-yaml HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nConnection: close\r\n\r\n{"
    monkeypatch.setattr(calls, "SILENCE_SECONDS", 1.5)
    waiting = [
        socket.create_connection((address.hostname, address.port), timeout=10) for _ in range(2 * calls.THREADS)
    ]
    for connection in waiting:
        connection.sendall(head)
    assert request_hub("GET", "/api/models?limit=1").status == 200
    for connection in waiting:
        assert connection.recv(100).startswith(b"HTTP/1.1 408")
        connection.close()


# ---- large files


def offered(hub, request_hub, repo, content, size=None):
    wanted = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content) if size is None else size}
    body = json.dumps({"operation": "upload", "objects": [wanted]})
    answer = request_hub("POST", f"/{repo}.git/info/lfs/objects/batch", token="hf_alice", body=body).json()
    return answer["objects"][0]["actions"]["upload"]["href"].removeprefix(hub.endpoint)


def test_an_object_has_the_size_that_was_announced(hub, api, request_hub, new_repo):
    repo, content = new_repo(), os.urandom(1000)
    oid = hashlib.sha256(content).hexdigest()
    href = offered(hub, request_hub, repo, content, size=999)
    refused(request_hub("PUT", href, body=content), 413)
    refused(request_hub("PUT", href, body=(content[n : n + 100] for n in range(0, 1000, 100))), 413)
    href = offered(hub, request_hub, repo, content)
    refused(request_hub("PUT", href, body=content[:-1]), 400)
    refused(request_hub("PUT", href.replace("/1000?", "/2000?"), body=content), 403)
    refused(request_hub("PUT", href + "%ff", body=content), 403)
    assert not list((hub.root / "repositories").glob(f"*/lfs/{oid}*"))
    assert request_hub("PUT", href, body=content).status == 200
    again = json.dumps({"operation": "upload", "objects": [{"oid": oid, "size": 999}]})
    refused(request_hub("POST", f"/{repo}.git/info/lfs/objects/batch", token="hf_alice", body=again), 422)
    for size, status in ((999, 400), (1000, 200)):
        line = json.dumps({"key": "lfsFile", "value": {"path": "a.bin", "oid": oid, "size": size}})
        assert (
            request_hub("POST", f"/api/models/{repo}/commit/main", token="hf_alice", body=COMMIT + line).status
            == status
        )
    api.delete_repo(repo)
    refused(request_hub("PUT", href, body=content), 401)


# ---- addresses, queries, headers


@pytest.mark.parametrize(
    "query", ["cursor=-1", "cursor=x", f"cursor={'9' * 30}", f"limit={'9' * 5000}", "limit=x", "cursor=1e3"]
)
def test_odd_numbers_in_queries(request_hub, repo, slug, query):
    for path in (
        "/api/models",
        f"/api/models/{repo}/tree/main",
        f"/api/models/{repo}/commits/main",
        "/api/collections",
    ):
        refused(request_hub("GET", f"{path}?{query}"), 400)


@pytest.mark.parametrize(
    "query", ["filter=(a*)*%5B", "sort=none", "expand=none", "search=%ff%00", "gated=maybe", "limit=-5", "&&=&"]
)
def test_odd_filters_find_little_or_nothing(request_hub, query):
    assert isinstance(request_hub("GET", f"/api/models?{query}").json(), list)


RANGES = {"bytes=2-4": (206, b"234"), "bytes=-3": (206, b"789"), "bytes=8-": (206, b"89"), "bytes=5-2": (416, None)}
RANGES |= {"bytes=10-": (416, None), "bytes=-0": (416, None), f"bytes=0-{'9' * 18}": (206, b"0123456789")}
RANGES |= dict.fromkeys(
    ["bytes=a-b", "items=0-1", "bytes=--1", "bytes=0-0,2-3", f"bytes=-{'9' * 5000}", "x"], (200, b"0123456789")
)


@pytest.mark.parametrize("wanted", RANGES)
@pytest.mark.parametrize("name", ["r.txt", "r.bin"])
def test_odd_ranges(api, request_hub, repo, name, wanted):
    if name not in api.list_repo_files(repo):
        api.upload_file(path_or_fileobj=b"0123456789", path_in_repo=name, repo_id=repo)
    for method in ("GET", "HEAD"):
        answer = request_hub(method, f"/{repo}/resolve/main/{name}", headers={"Range": wanted})
        status, body = RANGES[wanted]
        assert answer.status == status and (body is None or answer.headers["Content-Length"] == str(len(body)))
        if method == "GET":
            assert body is None or answer.body == body
            assert answer.headers.get("Content-Range") is None or status != 200


@pytest.mark.parametrize(
    "path", ["/%ff", "/api/models/%00/x", "/api/models/alice/%ED%A0%80", "/alice/x/resolve/main/%2e%2e%2fhub.sqlite"]
)
def test_odd_addresses_are_a_404(request_hub, path):
    assert request_hub("GET", path).status in (401, 404)


@pytest.mark.parametrize(
    "rest", ["..%2f..%2fhub.sqlite", "%00", "a%00.txt", "%ff", "a.txt%2f", "x" * 5000, "x/" * 2000 + "x", "%2e%2e"]
)
def test_odd_paths_in_a_repository_are_a_404(request_hub, repo, rest):
    for path in (
        f"/{repo}/resolve/main/{rest}",
        f"/{repo}/resolve/{rest}/a.txt",
        f"/api/models/{repo}/tree/main/{rest}",
    ):
        refused(request_hub("GET", path), 404)


def test_other_methods_are_a_405_that_names_the_right_ones(request_hub, repo):
    for path in (
        "/api/models",
        f"/api/models/{repo}",
        f"/{repo}/resolve/main/a.txt",
        "/api/collections",
        f"/{repo}",
        "/",
    ):
        for method in ("PUT", "OPTIONS", "BREW", "TRACE"):
            assert "GET" in refused(request_hub(method, path, token="hf_alice"), 405).headers["Allow"]
        assert request_hub("HEAD", path).status == request_hub("GET", path).status == 200
        assert request_hub("HEAD", path).body == b""


ODD_HEADERS = [
    {"Authorization": "Basic YTpi"},
    {"Authorization": "é"},
    {"Authorization": "Bearer"},
    {"Authorization": "x" * 9000},
]


@pytest.mark.parametrize("headers", ODD_HEADERS)
def test_odd_credentials_are_a_401(request_hub, headers):
    refused(request_hub("GET", "/api/models", headers=headers), 401)


@pytest.mark.parametrize(
    "headers",
    [{"Host": "["}, {"Host": ""}, {"Upgrade": "websocket", "Connection": "upgrade"}, {"X-Forwarded-Proto": "x"}],
)
def test_odd_headers_are_borne(request_hub, headers):
    assert request_hub("GET", "/api/models?limit=1", headers=headers).status == 200


CREATE = b"POST /api/repos/create HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer hf_alice\r\n"
NO_HTTP = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello TLS",
    b"GET\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nA: \0\r\n\r\n",
    b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 1_000_000 + b"\r\n\r\n",
    CREATE + b"Content-Length: -5\r\n\r\n{}",
    CREATE + b"Content-Length: x\r\n\r\n{}",
    CREATE + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    CREATE + b"Transfer-Encoding: gzip\r\n\r\n{}",
    CREATE + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
]


@pytest.mark.parametrize("sent", NO_HTTP, ids=range(len(NO_HTTP)))
def test_what_is_no_http_is_a_400_in_json(hub, sent):
    head, _, body = converse(hub, sent).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ") and b"application/json" in head and "error" in json.loads(body)


def test_garbage_after_an_answer_ends_the_connection(hub):
    stranger = CREATE.replace(b"Authorization: Bearer hf_alice\r\n", b"")
    for sent in (
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n\0\0garbage\r\n\r\n",
        stranger + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        stranger + b"Content-Length: 1\r\n\r\n{garbage}\r\n\r\n",
        CREATE + b"Content-Length: 50\r\n\r\n{}",
    ):
        converse(hub, sent)
    assert raw_request(hub.endpoint, "GET", "/api/models?limit=1").status == 200


# ---- rules and races


def test_rules_that_would_take_a_regular_expression_ages_are_left_out(api, request_hub, new_repo):
    repo = new_repo()
    rules = "*a*a*a*a*a*a*a*a*a*a*b filter=lfs\n[z-a] filter=lfs\n*.lfs filter=lfs\n"
    api.upload_file(path_or_fileobj=rules.encode(), path_in_repo=".gitattributes", repo_id=repo)
    ignored = "*a*a*a*a*a*a*a*a*a*a*b\n[z-a]\n!\n/\n*.tmp\n"
    files = [{"path": "a" * 250, "size": 1}, {"path": "x.tmp", "size": 1}, {"path": "x.lfs", "size": 1}]
    body = json.dumps({"files": files, "gitIgnore": ignored})
    answer = request_hub("POST", f"/api/models/{repo}/preupload/main", token="hf_alice", body=body)
    plan = [(file["uploadMode"], file["shouldIgnore"]) for file in answer.json()["files"]]
    assert plan == [("regular", False), ("regular", True), ("lfs", False)]


def test_a_repository_that_is_deleted_meanwhile_is_a_404_for_whoever_reads_it(api, request_hub, new_repo):
    for _ in range(5):
        repo = new_repo()
        answers = []

        def read(repo=repo, answers=answers):
            for path in (f"/api/models/{repo}", f"/{repo}/resolve/main/.gitattributes", "/api/models", f"/{repo}") * 5:
                answers.append(request_hub("GET", path).status)

        reader = threading.Thread(target=read)
        reader.start()
        api.delete_repo(repo)
        reader.join()
        assert set(answers) <= {200, 401, 404}
