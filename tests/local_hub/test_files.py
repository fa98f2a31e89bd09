"""Commits, large files, refs and downloads."""

import hashlib
import io
import json
import os
import shutil
import subprocess

import pytest
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    HfFileSystem,
    get_hf_file_metadata,
    hf_hub_url,
)
from huggingface_hub.errors import BadRequestError, EntryNotFoundError, HfHubHTTPError


def add(path, content):
    return CommitOperationAdd(path, content)


def content_of(api, repo, path, revision=None):
    with open(api.hf_hub_download(repo, path, revision=revision), "rb") as file:
        return file.read()


def git_blob_id(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


# ---- commits


def test_one_commit_adds_deletes_and_copies(api, new_repo):
    repo = new_repo()
    first = api.create_commit(
        repo, [add("a.txt", b"a"), add("dir/b.txt", b"b"), add("dir/c.txt", b"c")], commit_message="first"
    )
    second = api.create_commit(
        repo,
        [add("é new.txt", b"new"), CommitOperationDelete("a.txt"), CommitOperationCopy("dir/b.txt", "copy/b.txt")],
        commit_message="second",
        commit_description="why",
    )
    assert sorted(api.list_repo_files(repo)) == [".gitattributes", "copy/b.txt", "dir/b.txt", "dir/c.txt", "é new.txt"]
    assert content_of(api, repo, "copy/b.txt") == b"b" and content_of(api, repo, "é new.txt") == b"new"
    assert content_of(api, repo, "a.txt", revision=first.oid) == b"a"
    history = api.list_repo_commits(repo)
    assert [commit.commit_id for commit in history[:2]] == [second.oid, first.oid]
    assert (history[0].title, history[0].message, history[0].authors) == ("second", "why", ["alice"])
    api.delete_folder("dir", repo)
    assert sorted(api.list_repo_files(repo)) == [".gitattributes", "copy/b.txt", "é new.txt"]


def test_deleting_what_isnt_there_is_an_error_and_makes_no_commit(api, new_repo):
    repo = new_repo()
    before = api.model_info(repo).sha
    for call in (lambda: api.delete_file("none.txt", repo), lambda: api.delete_folder("none", repo)):
        with pytest.raises(EntryNotFoundError):
            call()
    assert api.model_info(repo).sha == before


@pytest.mark.parametrize("path", ["../out.txt", "/etc/x", "a//b", ".git/config", "a/../b", ""])
def test_paths_that_leave_the_repository_are_refused(request_hub, new_repo, path):
    lines = [{"key": "header", "value": {"summary": "x"}}, {"key": "file", "value": {"path": path, "content": ""}}]
    body = "\n".join(map(json.dumps, lines))
    assert request_hub("POST", f"/api/models/{new_repo()}/commit/main", token="hf_alice", body=body).status == 400


def test_a_name_cant_be_both_file_and_folder(api, new_repo):
    repo = new_repo()
    api.create_commit(repo, [add("name", b"1")], commit_message="file")
    with pytest.raises(BadRequestError, match="Both a file and a folder"):
        api.create_commit(repo, [add("name/inside", b"2")], commit_message="folder")


def test_a_stale_parent_is_a_412_and_loses_nothing(api, new_repo):
    repo = new_repo()
    head = api.model_info(repo).sha
    first = api.create_commit(repo, [add("x", b"1")], commit_message="first", parent_commit=head)
    with pytest.raises(HfHubHTTPError) as error:
        api.create_commit(repo, [add("x", b"2")], commit_message="stale", parent_commit=head)
    assert error.value.response.status_code == 412
    assert api.model_info(repo).sha == first.oid and content_of(api, repo, "x") == b"1"


def test_upload_folder_skips_what_is_unchanged_or_ignored(api, new_repo, tmp_path):
    repo = new_repo()
    for name in ("0.txt", "1.txt", "weights.bin", "scratch.tmp"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / ".gitignore").write_text("*.tmp\n")
    api.upload_folder(folder_path=tmp_path, repo_id=repo)
    stored = {".gitattributes", ".gitignore", "0.txt", "1.txt", "weights.bin"}
    assert set(api.list_repo_files(repo)) == stored
    (tmp_path / "scratch.tmp").unlink()
    head = api.model_info(repo).sha
    api.upload_folder(folder_path=tmp_path, repo_id=repo)
    assert api.model_info(repo).sha == head
    (tmp_path / "0.txt").unlink()
    api.upload_folder(folder_path=tmp_path, repo_id=repo, delete_patterns="*.txt")
    assert set(api.list_repo_files(repo)) == stored - {"0.txt"}


def test_pull_requests_stand_beside_main(api, other_api, new_repo, tmp_path):
    repo = new_repo()
    offered = other_api.create_commit(repo, [add("offer.txt", b"pr")], commit_message="Offer", create_pr=True)
    assert offered.pr_revision == "refs/pr/1" and offered.pr_num == 1
    assert content_of(other_api, repo, "offer.txt", revision="refs/pr/1") == b"pr"
    assert "offer.txt" not in api.list_repo_files(repo)
    more = api.create_commit(repo, [add("more.txt", b"more")], commit_message="More", revision="refs/pr/1")
    assert "offer.txt" in api.list_repo_files(repo, revision=more.oid)
    (tmp_path / "a.bin").write_bytes(b"large by name")
    second = other_api.upload_folder(folder_path=tmp_path, repo_id=repo, create_pr=True)
    assert second.pr_revision == "refs/pr/2"
    refs = {ref.ref: ref.target_commit for ref in api.list_repo_refs(repo, include_pull_requests=True).pull_requests}
    assert refs == {"refs/pr/1": more.oid, "refs/pr/2": second.oid}


# ---- large files


def test_large_files_are_pointers_in_git_and_bytes_on_disk(hub, api, new_repo, tmp_path):
    repo = new_repo()
    content = os.urandom(11 * 1024 * 1024)
    (tmp_path / "blob").write_bytes(content)
    api.upload_file(path_or_fileobj=tmp_path / "blob", path_in_repo="plain-name", repo_id=repo)
    api.upload_file(path_or_fileobj=io.BytesIO(b"small"), path_in_repo="w/model.safetensors", repo_id=repo)
    assert content_of(api, repo, "plain-name") == content
    by_size, by_name = api.get_paths_info(repo, ["plain-name", "w/model.safetensors", "none"])
    assert by_size.size == by_size.lfs.size == len(content)
    assert by_size.lfs.sha256 == hashlib.sha256(content).hexdigest()
    assert by_name.lfs.sha256 == hashlib.sha256(b"small").hexdigest() and by_name.size == 5
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{by_name.lfs.sha256}\nsize 5\n".encode()
    assert by_name.blob_id == git_blob_id(pointer) and by_name.lfs.pointer_size == len(pointer)
    metadata = get_hf_file_metadata(hf_hub_url(repo, "plain-name", endpoint=hub.endpoint), token="hf_alice")
    assert (metadata.etag, metadata.size) == (by_size.lfs.sha256, len(content))
    assert metadata.commit_hash == api.model_info(repo).sha
    api.create_commit(repo, [CommitOperationCopy("w/model.safetensors", "w/copy.bin")], commit_message="copy")
    assert content_of(api, repo, "w/copy.bin") == b"small"
    siblings = {each.rfilename: each for each in api.model_info(repo, files_metadata=True).siblings}
    assert siblings["plain-name"].size == len(content) and siblings["w/copy.bin"].lfs.sha256 == by_name.lfs.sha256
    assert siblings[".gitattributes"].lfs is None


def offer(request_hub, repo, oid, size, **options):
    body = json.dumps({"operation": "upload", "objects": [{"oid": oid, "size": size}]})
    return request_hub("POST", f"/{repo}.git/info/lfs/objects/batch", body=body, **options)


def test_an_upload_whose_content_isnt_its_hash_leaves_nothing(hub, request_hub, new_repo):
    repo = new_repo()
    oid = hashlib.sha256(b"right").hexdigest()
    assert offer(request_hub, repo, oid, 5).status == 401
    (answer,) = offer(request_hub, repo, oid, 5, token="hf_alice").json()["objects"]
    href = answer["actions"]["upload"]["href"].removeprefix(hub.endpoint)
    assert request_hub("PUT", href, body=b"wrong").status == 400
    assert request_hub("PUT", href.split("?")[0], body=b"right").status == 403
    assert request_hub("PUT", href[:-1] + "x", body=b"right").status == 403
    assert not list((hub.root / "repositories").glob(f"*/lfs/{oid}"))
    assert not list((hub.root / "repositories").glob("*/lfs/*.part"))
    lines = [{"key": "header", "value": {"summary": "x"}}, {"key": "lfsFile", "value": {"path": "a.bin", "oid": oid}}]
    commit = {"token": "hf_alice", "body": "\n".join(map(json.dumps, lines))}
    assert request_hub("POST", f"/api/models/{repo}/commit/main", **commit).status == 400
    assert request_hub("PUT", href, body=b"right").status == 200
    assert request_hub("POST", f"/api/models/{repo}/commit/main", **commit).status == 200
    assert "actions" not in offer(request_hub, repo, oid, 5, token="hf_alice").json()["objects"][0]
    assert "actions" in offer(request_hub, new_repo(), oid, 5, token="hf_alice").json()["objects"][0]


# ---- downloads


@pytest.mark.parametrize("name", ["data.txt", "data.bin"])
def test_ranges_of_ordinary_and_large_files(api, request_hub, new_repo, name):
    repo, content = new_repo(), bytes(range(200))
    commit = api.upload_file(path_or_fileobj=content, path_in_repo=name, repo_id=repo).oid
    path = f"/{repo}/resolve/main/{name}"
    etag = git_blob_id(content) if name == "data.txt" else hashlib.sha256(content).hexdigest()
    for wanted, expected in {
        "10-19": content[10:20],
        "190-": content[190:],
        "-5": content[-5:],
        "0-999": content,
    }.items():
        answer = request_hub("GET", path, headers={"Range": f"bytes={wanted}"})
        assert (answer.status, answer.body) == (206, expected)
        first = content.index(expected)
        assert answer.headers["Content-Range"] == f"bytes {first}-{first + len(expected) - 1}/200"
    assert request_hub("GET", path, headers={"Range": "bytes=200-"}).status == 416
    for method, body in (("GET", content), ("HEAD", b"")):
        answer = request_hub(method, path)
        assert (answer.status, answer.body, answer.headers["Content-Length"]) == (200, body, "200")
        assert answer.headers["X-Repo-Commit"] == commit and answer.headers["ETag"] == f'"{etag}"'
        assert answer.headers["Accept-Ranges"] == "bytes"


def test_snapshot_download_of_a_tag(api, new_repo, tmp_path):
    repo = new_repo()
    commit = api.create_commit(repo, [add("a.json", b"1"), add("b/c.bin", b"2")], commit_message="both").oid
    api.create_tag(repo, tag="v1", revision=commit)
    api.upload_file(path_or_fileobj=b"later", path_in_repo="later.txt", repo_id=repo)
    folder = api.snapshot_download(repo, revision="v1", cache_dir=tmp_path)
    assert os.path.basename(folder) == commit
    assert sorted(os.listdir(folder)) == [".gitattributes", "a.json", "b"]
    with open(f"{folder}/b/c.bin", "rb") as file:
        assert file.read() == b"2"
    partial = api.snapshot_download(repo, allow_patterns=["*.json"], local_dir=tmp_path / "partial")
    assert [name for name in os.listdir(partial) if name != ".cache"] == ["a.json"]
    assert api.resolve_revision(repo, revision="v1").resolved == commit


def test_file_system_reads_and_writes(hub, api, new_repo):
    repo, content = new_repo(), os.urandom(300_000)
    api.create_commit(repo, [add("a/b.txt", b"text"), add("a/c.bin", content)], commit_message="files")
    files = HfFileSystem(endpoint=hub.endpoint, token="hf_alice")
    assert files.read_text(f"{repo}@main/a/b.txt") == "text"
    assert files.glob(f"{repo}/**/*.bin") == [f"{repo}/a/c.bin"]
    with files.open(f"{repo}/a/c.bin", "rb", block_size=2**16) as file:
        file.seek(200_000)
        assert file.read(1000) == content[200_000:201_000]
    with files.open(f"{repo}/new.txt", "w") as file:
        file.write("via fs")
    assert content_of(api, repo, "new.txt") == b"via fs"


def test_tree_lists_a_folder_in_pages_with_last_commits(api, request_hub, new_repo):
    repo = new_repo()
    first = api.create_commit(repo, [add("f/a.txt", b"a"), add("f/g/b.txt", b"b")], commit_message="one").oid
    second = api.create_commit(repo, [add("f/g/b.txt", b"changed")], commit_message="two").oid
    entries = list(api.list_repo_tree(repo, "f", recursive=True, expand=True))
    assert [(entry.path, entry.last_commit.oid) for entry in entries] == [
        ("f/a.txt", first),
        ("f/g", second),
        ("f/g/b.txt", second),
    ]
    assert [entry.path for entry in api.list_repo_tree(repo, "f")] == ["f/a.txt", "f/g"]
    page = request_hub("GET", f"/api/models/{repo}/tree/main?recursive=true&limit=3")
    assert [entry["path"] for entry in page.json()] == [".gitattributes", "f", "f/a.txt"]
    link = page.headers["Link"].split(">")[0].removeprefix("<")
    rest = request_hub("GET", link[link.index("/api") :])
    assert [entry["path"] for entry in rest.json()] == ["f/g", "f/g/b.txt"] and "Link" not in rest.headers
    for missing in ("none", "f/a.txt", "f/a.txt/deeper"):
        answer = request_hub("GET", f"/api/models/{repo}/tree/main/{missing}")
        assert answer.status == 404 and answer.headers["X-Error-Code"] == "EntryNotFound"


def test_a_long_history_is_listed_whole(api, request_hub, new_repo):
    repo = new_repo()
    oids = []
    for number in range(52):
        body = json.dumps({"key": "header", "value": {"summary": f"commit {number}"}})
        answer = request_hub("POST", f"/api/models/{repo}/commit/main", token="hf_alice", body=body)
        oids.append(answer.json()["commitOid"])
    history = api.list_repo_commits(repo, formatted=True)
    assert [commit.commit_id for commit in history[:-1]] == oids[::-1] and len(history) == 53
    assert history[0].formatted_title == "commit 51"


# ---- refs


def test_tags(api, new_repo):
    repo = new_repo()
    commit = api.upload_file(path_or_fileobj=b"1", path_in_repo="a", repo_id=repo).oid
    api.upload_file(path_or_fileobj=b"2", path_in_repo="a", repo_id=repo)
    api.create_tag(repo, tag="v1.0", revision=commit)
    api.create_tag(repo, tag="v2.0", tag_message="with a message")
    with pytest.raises(HfHubHTTPError) as error:
        api.create_tag(repo, tag="v1.0")
    assert error.value.response.status_code == 409
    api.create_tag(repo, tag="v1.0", exist_ok=True)
    with pytest.raises(BadRequestError):
        api.create_tag(repo, tag="bad..name")
    api.create_tag(repo, tag="gone")
    api.delete_tag(repo, tag="gone")
    tags = {ref.name: ref.target_commit for ref in api.list_repo_refs(repo).tags}
    assert tags == {"v1.0": commit, "v2.0": api.model_info(repo).sha}
    assert content_of(api, repo, "a", revision="v1.0") == b"1"


def test_branches(api, new_repo):
    repo = new_repo()
    start = api.model_info(repo).sha
    api.upload_file(path_or_fileobj=b"main", path_in_repo="a", repo_id=repo)
    api.create_branch(repo, branch="exp/one", revision=start)
    for taken in ("exp/one", "exp", "exp/one/deeper"):
        with pytest.raises(HfHubHTTPError) as error:
            api.create_branch(repo, branch=taken)
        assert error.value.response.status_code == 409
    api.create_branch(repo, branch="exp/one", exist_ok=True)
    on_branch = api.upload_file(path_or_fileobj=b"branch", path_in_repo="b", repo_id=repo, revision="exp/one")
    assert sorted(api.list_repo_files(repo, revision="exp/one")) == [".gitattributes", "b"]
    assert {ref.name: ref.target_commit for ref in api.list_repo_refs(repo).branches}["exp/one"] == on_branch.oid
    with pytest.raises(HfHubHTTPError) as error:
        api.delete_branch(repo, branch="main")
    assert error.value.response.status_code == 403
    api.super_squash_history(repo, branch="exp/one", commit_message="squashed")
    assert [commit.title for commit in api.list_repo_commits(repo, revision="exp/one")] == ["squashed"]
    assert content_of(api, repo, "b", revision="exp/one") == b"branch"
    api.delete_branch(repo, branch="exp/one")
    assert [ref.name for ref in api.list_repo_refs(repo).branches] == ["main"]


def test_a_revision_is_what_git_takes_it_for(api, request_hub, new_repo):
    """Full commit ids before tags, tags before branches; and no ref is named like a commit."""
    repo = new_repo()
    first = api.create_commit(repo, [add("a", b"tag")], commit_message="first").oid
    api.create_tag(repo, tag="same", revision=first)
    api.create_branch(repo, branch="same", revision=first)
    second = api.create_commit(repo, [add("a", b"branch")], commit_message="second", revision="same").oid
    assert content_of(api, repo, "a", revision="same") == b"tag" and api.model_info(repo, revision="same").sha == first
    assert api.model_info(repo, revision="refs/heads/same").sha == second
    body = json.dumps({"files": [{"path": "a", "size": 6}]})
    plan = request_hub("POST", f"/api/models/{repo}/preupload/same", token="hf_alice", body=body).json()
    assert (plan["commitOid"], plan["files"][0]["oid"]) == (
        second,
        git_blob_id(b"branch"),
    )  # a commit goes on a branch
    for name in (
        first,
        second,
        "f" * 40,
        "F" * 40,
        "0" * 40,
        "HEAD",
        "-x",
        "refs/heads/x",
        "x" * 300,
        "a b",
        "a..b",
        "a.lock",
        "@{",
    ):
        for method, path in (("POST", "tag/main"), ("POST", f"branch/{name.replace('/', '%2F').replace(' ', '%20')}")):
            answer = request_hub(
                method, f"/api/models/{repo}/{path}", token="hf_alice", body=json.dumps({"tag": name})
            )
            assert answer.status == 400 and "Invalid reference name" in answer.json()["error"], (name, path)
    assert {ref.name for ref in api.list_repo_refs(repo).tags} == {"same"}


def test_a_ref_named_like_a_commit_in_an_older_folder_shadows_nothing(hub, api, new_repo):
    repo = new_repo()
    first, second = (api.create_commit(repo, [add("a", text)], commit_message="x").oid for text in (b"1", b"2"))
    (record,) = [each for each in hub._app.hub.repositories.all("model") if each.repo_id == repo]
    folder = hub.root / "repositories" / record.uid / "git/refs"
    for kind, name in (("tags", first), ("heads", first), ("tags", "f" * 40)):
        (folder / kind / name).write_text(f"{second}\n")
    assert api.model_info(repo, revision=first).sha == first and content_of(api, repo, "a", revision=first) == b"1"
    with pytest.raises(HfHubHTTPError, match="Invalid rev id"):
        api.model_info(repo, revision="f" * 40)


@pytest.mark.skipif(not shutil.which("git"), reason="needs git")
def test_a_repository_that_git_has_packed_reads_as_before(hub, api, new_repo, tmp_path):
    repo = new_repo()
    files = [
        add("a.txt", b"x" * 5000),
        add("b.bin", b"large by name"),
        add("README.md", b"---\ntags: [packed]\n---\n"),
    ]
    api.create_commit(repo, files, commit_message="files")
    before = [
        (each.rfilename, each.size, each.blob_id, each.lfs)
        for each in api.model_info(repo, files_metadata=True).siblings
    ]
    (record,) = [each for each in hub._app.hub.repositories.all("model") if each.repo_id == repo]
    subprocess.run(["git", "gc", "-q", "--prune=now"], cwd=hub.root / "repositories" / record.uid / "git", check=True)
    after = [
        (each.rfilename, each.size, each.blob_id, each.lfs)
        for each in api.model_info(repo, files_metadata=True).siblings
    ]
    assert after == before and content_of(api, repo, "a.txt") == b"x" * 5000
    second = api.create_commit(repo, [add("c.txt", b"new")], commit_message="after").oid
    assert api.list_repo_commits(repo)[0].commit_id == second and len(api.list_repo_files(repo)) == 5
