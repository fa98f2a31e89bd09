"""A push is one commit, also where the client would rather send a folder in several."""

from huggingface_hub import HfApi

from hf_dd import hub


def test_a_push_is_one_commit_and_its_pull_request_is_open(unique, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.hf_api.is_xet_available", lambda: True)
    monkeypatch.setattr("huggingface_hub._upload_pipeline.REGULAR_CONTENT_BYTES_BUDGET", 1, raising=False)
    repo_id, api = unique(), HfApi()
    hub.create_repo(repo_id, "dataset")
    for name in ("README.md", "a.html", "b.html", "notes.txt"):
        (tmp_path / name).write_text(name)
    first = hub.push_files(tmp_path, repo_id, "dataset", ["*"], "first", None, False)
    kept = [".gitattributes", "README.md"]
    assert sorted(api.list_repo_files(repo_id, repo_type="dataset")) == [*kept, "a.html", "b.html", "notes.txt"]
    assert len(api.list_repo_commits(repo_id, repo_type="dataset")) == 2  # with that of the repository itself
    for name in ("a.html", "notes.txt"):
        (tmp_path / name).unlink()
    request = hub.push_files(tmp_path, repo_id, "dataset", ["*.html", "README.md"], "second", None, True)
    commits = api.list_repo_commits(repo_id, repo_type="dataset", revision=request.pr_revision)
    assert [each.title for each in commits][:2] == ["second", "first"] and commits[1].commit_id == first.oid
    assert request.pr_url.endswith("/discussions/1")
    files = api.list_repo_files(repo_id, repo_type="dataset", revision=request.pr_revision)
    assert sorted(files) == [*kept, "b.html", "notes.txt"]
