"""What is left when the server is killed, and when several clients write at once."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError

from hf_dd.errors import HubError
from hf_dd.local_hub import LocalHub
from hf_dd.local_hub.accounts import Accounts
from hf_dd.local_hub.calls import Hub
from hf_dd.local_hub.store import DocumentStore
from tests.local_hub.conftest import REPOSITORY_ROOT, raw_request, run_python

FILES_PER_COMMIT = 20

SERVER = """
import sys
from hf_dd.local_hub import serve
serve(sys.argv[1], port=0, on_ready=lambda hub: print(hub.endpoint, flush=True))
"""

# Each child dies by its own hand just before the n-th fsync or rename of one commit, for n = 1, 2, ... until a commit
# gets through. The folder must then hold the old commit or the new one, whole, and take the next commit.
# How many there are depends on the objects' ids, two of which may share a folder: a fixed clock makes the ids, and so
# the sweep, the same in every run.
CRASH_SWEEP = """
import os, signal, sys, time
time.time = lambda: 1_800_000_000.0
from hf_dd.local_hub.accounts import Accounts
from hf_dd.local_hub.calls import Hub
from hf_dd.local_hub.commits import commit_operations

CONTENT = ["", "YWFh", "YmJi", "Y2Nj"]

def commit(hub, number):
    record = hub.repositories.find("model", "local/repo")
    git = hub.repositories.git(record)
    values = [{"path": f"d{i}/f{i}", "content": CONTENT[i] * (number + 1)} for i in range(4)]
    operations = [("file", value) for value in values]
    header = {"summary": f"commit {number}", "description": "", "parentCommit": None}
    lfs = hub.repositories.lfs(record.uid)
    return commit_operations(git, lfs, "refs/heads/main", header, operations, "local")

def check(hub):
    git = hub.repositories.git(hub.repositories.find("model", "local/repo"))
    for step in git.history(git.resolve("main")):
        for oid in git.files(step.id).values():
            git.blob(oid)
    return git.resolve("main")

def die_at(step):
    left = step
    def counted(function):
        def wrapper(*arguments):
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments)
        return wrapper
    os.fsync, os.replace = counted(os.fsync), counted(os.replace)

def open_hub():
    return Hub(sys.argv[1], Accounts({"local": "hf_local"}))

hub = open_hub()
hub.repositories.create("model", "local/repo", False, "local")
head = check(hub)
hub.close()
for step in range(1, 1000):
    child = os.fork()
    if child == 0:
        hub = open_hub()
        die_at(step)
        commit(hub, step)
        os._exit(0)
    killed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    hub = open_hub()
    found = check(hub)
    moved = "old" if found == head else "new"
    assert killed or moved == "new"
    commit(hub, step)
    head = check(hub)
    hub.close()
    print(step, "killed" if killed else "done", moved)
    if not killed:
        break
"""


def commit_body(number):
    lines = [{"key": "header", "value": {"summary": f"commit {number}"}}]
    content = f"{number:08d}"  # eight digits are base64 too
    for index in range(FILES_PER_COMMIT):
        lines.append({"key": "file", "value": {"path": f"folder-{index % 3}/{index}.txt", "content": content}})
    return "\n".join(map(json.dumps, lines))


def whole_history(root, repo="local/repo"):
    """Read every file of every commit of every ref; returns the commit ids of main, newest first."""
    hub = Hub(root, Accounts({"local": "hf_local"}))
    try:
        git = hub.repositories.git(hub.repositories.find("model", repo))
        for ref in git.refs("refs"):
            for commit in git.history(git.resolve(f"refs/{ref}")):
                contents = [git.blob(oid) for path, oid in git.files(commit.id).items() if path.startswith("folder-")]
                assert len(contents) in (0, FILES_PER_COMMIT) and len(set(contents)) <= 1, "a torn commit"
        return [commit.id.decode() for commit in git.history(git.resolve("main"))]
    finally:
        hub.close()


@pytest.mark.multi_process
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_commit_killed_at_any_step_leaves_the_old_one_or_the_new_one(tmp_path):
    steps = [line.split() for line in run_python(CRASH_SWEEP, tmp_path).splitlines()]
    outcomes = [(fate, head) for _, fate, head in steps]
    assert outcomes[-1] == ("done", "new") and len(outcomes) > 15
    assert set(outcomes[:-1]) == {("killed", "old"), ("killed", "new")}
    # Before the ref moves everything is old, after it everything is new.
    heads = [head for _, head in outcomes]
    assert heads == sorted(heads, reverse=True)


@pytest.mark.multi_process
def test_a_server_killed_while_clients_commit_keeps_every_answered_commit(tmp_path):
    rng = random.Random(20261122)
    with LocalHub(tmp_path) as hub:
        HfApi(endpoint=hub.endpoint, token="hf_local").create_repo("local/repo")
    answered, number = [], 0
    for _ in range(3):
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY_ROOT)}
        command = [sys.executable, "-c", SERVER, str(tmp_path)]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server:
            endpoint = server.stdout.readline().strip()
            killer = threading.Timer(rng.uniform(0, 0.1), server.send_signal, [signal.SIGKILL])
            starts = len(answered) + rng.randrange(4, 9)
            while True:
                if len(answered) == starts:
                    killer.start()
                number += 1
                path = "/api/models/local/repo/commit/main"
                try:
                    answer = raw_request(endpoint, "POST", path, token="hf_local", body=commit_body(number))
                except OSError:
                    break
                except Exception as error:  # an answer cut short
                    assert "IncompleteRead" in repr(error) or "RemoteDisconnected" in repr(error), repr(error)
                    break
                answered.append(answer.json()["commitOid"])
            killer.join()
        history = whole_history(tmp_path)
        assert [oid for oid in reversed(history) if oid in answered] == answered
        assert len(history) - 1 - len(answered) in range(4), "at most one unanswered commit per kill"
    assert len(answered) > 10
    with LocalHub(tmp_path) as hub:
        api = HfApi(endpoint=hub.endpoint, token="hf_local")
        after = api.upload_file(path_or_fileobj=b"after", path_in_repo="after.txt", repo_id="local/repo").oid
    assert whole_history(tmp_path) == [after, *history]


def test_what_a_killed_server_leaves_behind_is_removed_on_opening(tmp_path):
    with LocalHub(tmp_path) as hub:
        HfApi(endpoint=hub.endpoint, token="hf_local").create_repo("local/repo")
    (folder,) = (tmp_path / "repositories").iterdir()
    leftovers = [
        folder / "git/refs/heads/main.lock",
        folder / "lfs/x.part",
        tmp_path / "repositories/x.unfinished/git/HEAD",
    ]
    for leftover in leftovers:
        leftover.parent.mkdir(parents=True, exist_ok=True)
        leftover.touch()
    with LocalHub(tmp_path) as hub:
        api = HfApi(endpoint=hub.endpoint, token="hf_local")
        api.upload_file(path_or_fileobj=b"1", path_in_repo="a", repo_id="local/repo")
        assert len(list((tmp_path / "repositories").iterdir())) == 1
        assert not any(leftover.exists() for leftover in leftovers)


def test_concurrent_commits_are_all_kept(hub, new_repo):
    repo = new_repo()

    def write(client):
        api = HfApi(endpoint=hub.endpoint, token="hf_alice")
        for number in range(5):
            addition = CommitOperationAdd(f"{client}/{number}.txt", f"{client} {number}".encode())
            api.create_commit(repo, [addition], commit_message=f"{client} {number}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    api = HfApi(endpoint=hub.endpoint, token="hf_alice")
    expected = {f"{client}/{number}.txt" for client in range(4) for number in range(5)}
    assert set(api.list_repo_files(repo)) == expected | {".gitattributes"}
    titles = [commit.title for commit in api.list_repo_commits(repo)]
    assert sorted(titles) == sorted([*(f"{c} {n}" for c in range(4) for n in range(5)), "initial commit"])


def test_of_concurrent_commits_on_the_same_parent_one_wins(hub, api, new_repo):
    repo = new_repo()
    head = api.model_info(repo).sha

    def write(client):
        try:
            operations = [CommitOperationAdd("a.txt", str(client).encode())]
            commit = HfApi(endpoint=hub.endpoint, token="hf_alice").create_commit(
                repo, operations, commit_message=str(client), parent_commit=head
            )
            return commit.oid
        except HfHubHTTPError as error:
            return error.response.status_code

    with ThreadPoolExecutor(6) as pool:
        outcomes = list(pool.map(write, range(6)))
    assert outcomes.count(412) == 5
    assert [oid for oid in outcomes if oid != 412] == [api.model_info(repo).sha]


def test_concurrent_creation_of_one_repository_and_pull_requests(hub, new_repo):
    def create(_):
        body = '{"name": "raced", "organization": "alice"}'
        return raw_request(hub.endpoint, "POST", "/api/repos/create", token="hf_alice", body=body).status

    repo = new_repo()

    def offer(client):
        api = HfApi(endpoint=hub.endpoint, token="hf_bob")
        addition = CommitOperationAdd("a.txt", str(client).encode())
        return api.create_commit(repo, [addition], commit_message="offer", create_pr=True).pr_num

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(create, range(6))) == [200] + [409] * 5
        assert sorted(pool.map(offer, range(6))) == [1, 2, 3, 4, 5, 6]


def test_documents_that_many_threads_read_at_once_are_whole(tmp_path):
    """Python 3.12 gave rows without a body where one thread's select met another's, thousands of reads apart."""
    store = DocumentStore(tmp_path / "hub.sqlite")
    for number in range(8):
        store.add("repository", str(number), {"own": number})
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda n: [store.get("repository", str(n)) for _ in range(5_000)], range(8)))
    finally:
        sys.setswitchinterval(before)
        store.close()
    assert all(document == {"own": number} for number, documents in enumerate(found) for document in documents)


def test_a_second_server_on_the_same_folder_is_refused(hub):
    with pytest.raises(HubError, match="another server"):
        LocalHub(hub.root).start()
    assert raw_request(hub.endpoint, "GET", "/api/models").status == 200


@pytest.mark.parametrize("where", ["before", "in the middle"])
def test_a_full_disk_is_told_and_whoever_tries_again_succeeds(hub, api, new_repo, monkeypatch, caplog, where):
    repo = new_repo()
    head = api.model_info(repo).sha
    if where == "before":
        monkeypatch.setattr("hf_dd.local_hub.git.SPARE_BYTES", 2**62)
    else:  # where git's library has its lock file, and leaves it

        def full(file, *_):
            with open(f"{file}.lock", "wb"):
                raise OSError(errno.ENOSPC, "No space left on device")

        for method in ("set_if_equals", "add_if_new"):
            monkeypatch.setattr(
                f"dulwich.refs.DiskRefsContainer.{method}", lambda self, name, *_: full(self.refpath(name).decode())
            )
    body = commit_body(1)
    requests = (("commit/main", body), ("tag/main", '{"tag": "v1"}'), ("branch/b", "{}"))
    for path, body in requests:
        answer = raw_request(hub.endpoint, "POST", f"/api/models/{repo}/{path}", token="hf_alice", body=body)
        assert answer.status == 507 and "No space left" in answer.json()["error"]
    assert api.model_info(repo).sha == head
    assert "Traceback" not in caplog.text and len(caplog.records) == 3
    monkeypatch.undo()
    for path, body in requests:
        answer = raw_request(hub.endpoint, "POST", f"/api/models/{repo}/{path}", token="hf_alice", body=body)
        assert answer.status == 200, answer.body


def test_a_repository_that_finds_no_space_leaves_nothing(hub, api, monkeypatch):
    before = sorted((hub.root / "repositories").iterdir())
    monkeypatch.setattr("hf_dd.local_hub.repositories.sync_folder", lambda _: os.fsync(10**6))  # EBADF, an OSError
    answer = raw_request(hub.endpoint, "POST", "/api/repos/create", token="hf_alice", body='{"name": "no-space"}')
    assert answer.status == 500 and sorted((hub.root / "repositories").iterdir()) == before
    monkeypatch.undo()
    assert api.create_repo("alice/no-space").repo_id == "alice/no-space"
