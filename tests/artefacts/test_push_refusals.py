"""Pushes that can't be, that others come before, or that are cut: nothing is told that isn't so."""

import json
import re
import shutil
import threading
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import CommitInfo, HfApi, constants
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

import hf_dd
from hf_dd import hub
from hf_dd.artefacts import teacher_folder
from hf_dd.artefacts.distilled_folder import Artefact
from hf_dd.errors import ConfigError, DataError, HfDdError, HubError, RunError
from tests.artefacts.test_push import BEFORE, TEACHER, content, push_study
from tests.campaigns.proxy import Proxy
from tests.factories import message_of, says


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(BEFORE / "distilled", tmp_path / "distilled"))


@pytest.fixture
def imported(tmp_path):
    return Path(shutil.copytree(BEFORE / "imported", tmp_path / "imported"))


@pytest.fixture
def teacher(tmp_path):
    return Path(shutil.copytree(BEFORE / TEACHER, tmp_path / "teacher"))


@pytest.fixture
def study(tmp_path):
    return Path(shutil.copytree(BEFORE / "study", tmp_path / "study"))


def told(folder):
    """What record and card of a set tell of its push."""
    return Artefact.open(folder).record.pushed, (folder / "README.md").read_text()


# --- before any training


NAMES = ["a b", "a..b", "x/", "/x", "a//b", "@", "a@{b", "-x", ".x", "a/.x", "x.", "x.lock", "a.lock/b", "HEAD"]
NAMES += [
    "0" * 40,
    "refs/heads/x",
    "x~1",
    "x^",
    "x:y",
    "x?",
    "x*",
    "x[1]",
    "x\\y",
    "a\nb",
    "a\x7f",
    "x" * 300,
    "\udcff",
]


@pytest.mark.parametrize("name", NAMES)
def test_what_git_takes_for_no_name_is_refused(folder, name, unique):
    before, repo_id = content(folder), unique()
    for option in ("tag", "branch"):
        with pytest.raises(ConfigError, match="is no name of a (tag|branch)"):
            hf_dd.push(folder, repo_id, **{option: name})
    with pytest.raises(ConfigError, match="is no name of a tag"):
        hf_dd.distill(push_to_hub=True, hub_dataset_id=repo_id, hub_tag=name, output_dir=str(folder / "new"))
    assert content(folder) == before and not HfApi().repo_exists(repo_id, repo_type="dataset")


@pytest.mark.parametrize("name", ["a/b/c", "x y", "local/x..y", "local/.x", "local/" + "x" * 100, "local/x.git"])
def test_what_is_no_repository_id_is_refused_before_any_training(folder, name):
    with pytest.raises(ConfigError, match="isn't a repository id"):
        hf_dd.push(folder, name)
    with pytest.raises(ConfigError, match="isn't a repository id"):
        hf_dd.distill(push_to_hub=True, hub_dataset_id=name, output_dir=str(folder / "new"))


@pytest.mark.parametrize("name", ["v1", "best-1.10", "v1/final", "änderung", "1.10", "a" * 39])
def test_what_git_takes_for_a_name_is_taken(folder, name, unique):
    repo_id = unique()
    assert hub.tags(repo_id, "dataset") == {}
    pin = hf_dd.push(folder, repo_id, tag=name).pin
    assert hub.tags(repo_id, "dataset") == {name: pin.sha}


def test_a_tag_is_no_branch_and_a_branch_no_tag(folder, unique):
    repo_id = unique()
    with pytest.raises(ConfigError, match="--hub_tag main: .* has a branch of that name"):
        hf_dd.push(folder, repo_id, tag="main")
    hf_dd.push(folder, repo_id, branch="next")
    with pytest.raises(ConfigError, match="--hub_tag next: .* has a branch of that name"):
        hf_dd.push(folder, repo_id, tag="next")
    with pytest.raises(ConfigError, match="--hub_revision v1: .* has a tag of that name"):
        hf_dd.push(folder, repo_id, branch="v1")


@pytest.mark.parametrize(("option", "name"), [("hub_tag", "v5"), ("hub_revision", "next")])
def test_a_pull_request_has_neither_tag_nor_branch(folder, unique, tmp_path, option, name):
    repo_id, before = unique(), content(folder)
    for words in (
        ["push", folder, "--hub_dataset_id", repo_id],
        ["distill", "--push_to_hub", "--hub_dataset_id", repo_id, "--output_dir", tmp_path / "new"],
    ):
        says(message_of(*words, "--create_pr", f"--{option}", name), f"--create_pr and --{option} {name} contradict")
    assert content(folder) == before and not (tmp_path / "new").exists()
    assert not HfApi().repo_exists(repo_id, repo_type="dataset")


@pytest.mark.parametrize(
    "words",
    [
        ["distill", "--hub_dataset_id", "bob/set"],
        ["pretrain", "--hub_namespace", "bob", "--epochs", "1"],
        ["study", "STUDY", "--hub_dataset_id", "bob/study"],
    ],
    ids=lambda words: words[0],
)
def test_missing_write_access_shows_before_any_training(words, tmp_path):
    (tmp_path / "study.yaml").write_text("cells: {dm: {}}\nbase: {dataset: digits, iterations: 2}\n")
    words = [str(tmp_path / "study.yaml") if word == "STUDY" else word for word in words]
    output = tmp_path / "output"
    says(message_of(*words, "--push_to_hub", "--output_dir", output), "may not push to bob", "write access", "local")
    assert not list(output.rglob("*"))


def test_nothing_private_is_pushed_where_all_can_read(folder, teacher, study, unique, tmp_path):
    sets, models = unique(), f"local/digits-mlp-seed{unique().rpartition('-')[2]}"
    HfApi().create_repo(sets, repo_type="dataset")
    HfApi().create_repo(models)
    seed = ["--teacher_seeds", models.rpartition("seed")[2], "--architectures", "MLP"]
    (tmp_path / "study.yaml").write_text("cells: {dm: {}}\nbase: {dataset: digits, iterations: 2}\n")
    for words in (
        ["push", folder, "--hub_dataset_id", sets],
        ["push", teacher, "--hub_dataset_id", models],
        ["distill", "--push_to_hub", "--hub_dataset_id", sets, "--output_dir", tmp_path / "new"],
        [
            "study",
            tmp_path / "study.yaml",
            "--push_to_hub",
            "--hub_dataset_id",
            sets,
            "--output_dir",
            tmp_path / "new",
        ],
        ["pretrain", "--push_to_hub", *seed, "--output_dir", tmp_path / "new"],
    ):
        says(message_of(*words, "--hub_private_repo"), "is there already, and public", "leave out --hub_private_repo")
    for own, place in ((folder, sets), (teacher, models), (folder, "bob/set"), (teacher, "bob/net")):
        with pytest.raises(hub.Refused, match=f"Nothing is lost: {own} holds the (set|teacher)\\.$"):
            hf_dd.push(own, place, private=True)  # and the same command would fail again
    with pytest.raises(hub.Refused, match=f"Nothing is lost: {study} holds the study\\.$"):
        push_study(study, "bob/study")
    assert hub.tags(sets, "dataset") == {} and not list((tmp_path / "new").rglob("*"))
    HfApi().update_repo_settings(sets, repo_type="dataset", private=True)
    assert hf_dd.push(folder, sets, private=True).pin.revision == "v1"
    new = unique()
    hf_dd.push(folder, new, private=True)
    assert HfApi().repo_info(new, repo_type="dataset").private


# --- a folder is looked at first


def test_a_set_that_is_not_whole_is_not_pushed(folder, unique):
    repo_id = unique()

    def refused(match):
        with pytest.raises((DataError, RunError), match=match):
            hf_dd.push(folder, repo_id)
        assert not HfApi().repo_exists(repo_id, repo_type="dataset")

    for name in ("data/train-00000-of-00001.parquet", "decoded/train-00000-of-00001.parquet"):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[:-1] + b"x")
        refused(rf"{name}\) aren't those that its hf_dd.json is of: they were changed")
        (folder / name).unlink()
        refused(f"lacks {name}")
        (folder / name).write_bytes(whole)
    (folder / "preview.png").unlink()
    refused("it lacks preview.png")
    (folder / "preview.png").symlink_to("/etc/hostname")
    refused("is a link to /etc/hostname, outside of")
    (folder / "preview.png").unlink()
    (folder / "preview.png").symlink_to(folder / "README.md")
    (folder / "data/more").symlink_to(folder.parent)
    refused("data/more is a link to")
    (folder / "data/more").unlink()
    assert hf_dd.push(folder, repo_id).pin.revision == "v1"


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "hf_dd.json", "README.md"])
def test_a_teacher_without_a_file_in_an_epoch_is_not_pushed(teacher, name, unique):
    repo_id = unique()
    (teacher / "epoch-1" / name).unlink()
    with pytest.raises(RunError, match=f"its epoch-1 lacks {name}"):
        hf_dd.push(teacher, repo_id)
    assert not HfApi().repo_exists(repo_id)


def test_a_teacher_whose_weights_do_not_load_is_not_pushed(teacher, unique):
    repo_id, weights = unique(), teacher / "epoch-2/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(HfDdError, match="epoch-2"):
        hf_dd.push(teacher, repo_id)
    weights.unlink()
    shutil.copy(teacher / "epoch-1/model.safetensors", teacher.parent / "elsewhere")
    weights.symlink_to(teacher.parent / "elsewhere")
    with pytest.raises(RunError, match="outside of"):
        hf_dd.push(teacher, unique())
    assert not HfApi().repo_exists(repo_id)


def test_an_epoch_is_pushed_with_its_run(teacher, unique):
    teacher_folder.write_run(teacher, [0, 1, 2])
    words = f"epoch-1 is one epoch of a teacher, and all of a run is pushed: `hf-dd push {teacher}`"
    says(message_of("push", teacher / "epoch-1"), words)
    says(message_of("push", teacher, "--hub_tag", "v1", "--create_pr"), "leave out --hub_tag, --create_pr.")


def test_a_study_with_a_link_out_of_it_is_not_pushed(study, unique):
    repo_id = unique()
    (study / "report.md").rename(study.parent / "report.md")
    (study / "report.md").symlink_to(study.parent / "report.md")
    with pytest.raises(RunError, match="report.md is a link to .* outside of"):
        push_study(study, repo_id)
    assert not HfApi().repo_exists(repo_id, repo_type="dataset")


# --- others push meanwhile


@pytest.fixture
def meanwhile(monkeypatch):
    """Does something right before the next call of a method of the client."""

    def meanwhile(moment, act):
        method, once = getattr(HfApi, moment), [act]

        def later(self, *given, **named):
            if once:
                once.pop()()
            return method(self, *given, **named)

        monkeypatch.setattr(HfApi, moment, later)

    return meanwhile


@pytest.mark.parametrize("moment", ["create_commit", "create_tag"])
def test_who_comes_second_gets_the_next_tag(folder, imported, unique, meanwhile, moment):
    repo_id, first = unique(), []
    meanwhile(moment, lambda: first.append(hf_dd.push(imported, repo_id).pin))
    second = hf_dd.push(folder, repo_id).pin
    assert hub.tags(repo_id, "dataset") == {"v1": first[0].sha, "v2": second.sha}
    for pin, source in ((first[0], imported), (second, folder)):
        assert told(source)[0] == {"repo_id": repo_id, "tag": pin.revision}
        pulled = hub.pull(pin, "dataset")
        for name in ("README.md", "hf_dd.json", "preview.png", "data/train-00000-of-00001.parquet"):
            assert (pulled / name).read_bytes() == (source / name).read_bytes()
    assert not (hub.pull(first[0], "dataset") / "decoded").exists()


@pytest.mark.parametrize("moment", ["create_commit", "create_tag"])
def test_an_explicit_tag_that_is_somebody_elses_is_refused(folder, imported, unique, meanwhile, moment):
    repo_id, before, first = unique(), content(folder), []
    meanwhile(moment, lambda: first.append(hf_dd.push(imported, repo_id, tag="best").pin))
    with pytest.raises(HubError, match=f"has a tag best already .*Retry: hf-dd push \\S+ --hub_dataset_id {repo_id}$"):
        hf_dd.push(folder, repo_id, tag="best")
    assert hub.tags(repo_id, "dataset") == {"best": first[0].sha} and content(folder) == before
    assert hf_dd.push(folder, repo_id, tag="better").pin.revision == "better"


def test_a_tag_that_the_hub_only_says_to_have_made_is_not_told_of(folder, unique, monkeypatch):
    repo_id, before = unique(), content(folder)
    with monkeypatch.context() as patch:
        patch.setattr(HfApi, "create_tag", lambda *given, **named: None)
        with pytest.raises(
            HubError, match=f"says that the tag best of dataset {repo_id} was made, but .* Retry: hf-dd"
        ):
            hf_dd.push(folder, repo_id, tag="best")
    assert content(folder) == before and hub.tags(repo_id, "dataset") == {}
    assert hf_dd.push(folder, repo_id, tag="best").pin.sha == hub.tags(repo_id, "dataset")["best"]


def test_files_that_were_there_and_go_meanwhile_are_not_taken_for_ones_own(folder, imported, unique):
    """The client makes no commit of what is there already, and gives the newest one instead."""
    repo_id = unique()
    first, create_commit = [], HfApi.create_commit

    def later(self, *given, **named):
        done = create_commit(self, *given, **named)
        if first:
            return done
        first.append(None)
        first[0] = hf_dd.push(imported, repo_id).pin
        newest = self.repo_info(repo_id, repo_type="dataset").sha
        return CommitInfo(commit_url=done.commit_url, commit_message="", commit_description="", oid=newest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HfApi, "create_commit", later)
        pin = hf_dd.push(folder, repo_id).pin
    assert first[0].sha != pin.sha and hub.tags(repo_id, "dataset")[pin.revision] == pin.sha
    assert (hub.pull(pin, "dataset") / "README.md").read_bytes() == (folder / "README.md").read_bytes()


def test_pushes_at_once_are_each_told_their_own(folder, imported, teacher, unique):
    repo_id, done = unique(), {}
    pushes = [
        threading.Thread(target=lambda f=f: done.update({f: hf_dd.push(f, repo_id).pin})) for f in (folder, imported)
    ]
    for push in pushes:
        push.start()
    for push in pushes:
        push.join()
    assert hub.tags(repo_id, "dataset") == {pin.revision: pin.sha for pin in done.values()} and len(done) == 2
    for source, pin in done.items():
        assert (hub.pull(pin, "dataset") / "hf_dd.json").read_bytes() == (source / "hf_dd.json").read_bytes()


def test_an_answer_that_is_lost_changes_nothing(folder, unique, monkeypatch):
    repo_id, create_tag = unique(), HfApi.create_tag

    def lost(self, *given, **named):
        create_tag(self, *given, **named)
        raise httpx2.ReadError("cut")

    monkeypatch.setattr(HfApi, "create_tag", lost)
    pin = hf_dd.push(folder, repo_id, tag="best").pin
    assert hub.tags(repo_id, "dataset") == {"best": pin.sha}
    shutil.copyfile(BEFORE / "distilled/hf_dd.json", folder / "hf_dd.json")  # as if it had been killed then
    assert hf_dd.push(folder, repo_id, tag="best").pin == pin
    assert told(folder)[0] == {"repo_id": repo_id, "tag": "best"} and '"best"' in told(folder)[1]


# --- what the clients raise, and what arrives


def answer(status, **about):
    return HfHubHTTPError("no", response=httpx2.Response(status, request=httpx2.Request("GET", "http://x")), **about)


def caused(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (caused(RuntimeError("Error while uploading 'x'"), answer(403)), "needs write access"),
        (caused(RuntimeError("Error while uploading 'x'"), answer(500)), "answered 500"),
        (caused(RuntimeError("Error while uploading 'x'"), httpx2.ReadError("cut")), "can't be reached"),
        (caused(LocalEntryNotFoundError("x"), answer(503)), "answered 503"),
        (OSError("Consistency check failed: file should be of size 5\nbut has size 4"), "Consistency check failed"),
        (json.JSONDecodeError("Expecting value", "", 0), "Expecting value"),
        (ValueError("LFS batch API returned errors"), "LFS batch"),
        (KeyError("oid"), "oid"),
        (TypeError("'NoneType' object isn't subscriptable"), "NoneType"),
        (AssertionError(), "AssertionError"),
        (httpx2.TooManyRedirects("many"), "many"),
        (httpx2.DecodingError("gzip"), "gzip"),
        (httpx2.RemoteProtocolError("cut"), "can't be reached"),
        (FileNotFoundError(2, "No such file or directory", "/cache"), "No such file or directory: /cache"),
        (PermissionError(13, "Permission denied", "/cache"), "Permission denied: /cache"),
    ],
    ids=repr,
)
def test_every_error_of_the_clients_is_one_line(error, words):
    with pytest.raises(HubError) as raised, hub.clear_errors("dataset local/x", push=True):
        raise error
    assert str(raised.value).startswith("dataset local/x") and "\n" not in str(raised.value)
    says(str(raised.value), words)


def test_errors_of_ours_and_interrupts_pass():
    for error in (RunError("ours"), KeyboardInterrupt()):
        with pytest.raises(type(error)), hub.clear_errors("x"):
            raise error


@pytest.fixture
def faulty(monkeypatch):
    """The session's Hub behind a proxy; lets a fault hit the first request that matches."""
    proxy = Proxy(hub.endpoint())
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    monkeypatch.setattr(hub.client, "api", lambda: HfApi(endpoint=f"http://127.0.0.1:{proxy.server_address[1]}"))
    fault = proxy.fault

    def arm(pattern, kind):
        hit = []

        def first(request):
            fault(request)
            if not hit and re.search(pattern, request):
                hit.append(request)
                return kind
            return None

        proxy.fault = first

    yield arm
    proxy.shutdown()
    proxy.server_close()


@pytest.mark.parametrize(
    ("pattern", "kind"),
    [
        ("GET .*/resolve/.*parquet", "flip"),
        ("GET .*/resolve/.*README", "flip"),
        ("HEAD .*/resolve/.*parquet", "etag"),
        ("GET .*/tree/", "body:[]"),
        ("GET .*/tree/", "body:{}"),
        ("GET .*/tree/", "truncated"),
        ("GET .*/revision/", "body:{}"),
    ],
)
def test_what_arrives_damaged_is_got_anew(folder, faulty, unique, pattern, kind, tmp_path, monkeypatch):
    repo_id = unique()
    hf_dd.push(folder, repo_id)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub._tree_cache._IN_MEMORY_TREE_CACHE", {})
    faulty(pattern, kind)
    with pytest.raises(HubError, match=repo_id):
        hub.pull(hub.resolve(f"{repo_id}@v1", "dataset"), "dataset")
    monkeypatch.setattr("huggingface_hub._tree_cache._IN_MEMORY_TREE_CACHE", {})  # as in another process
    pulled = hub.pull(hub.resolve(f"{repo_id}@v1", "dataset"), "dataset")
    for name in ("README.md", "data/train-00000-of-00001.parquet"):
        assert (pulled / name).read_bytes() == (folder / name).read_bytes()


# --- pools


def test_a_pool_is_refused_before_its_collection_is_made(tiny_teachers, tmp_path, unique):
    reference, title = tiny_teachers.references[0], unique()
    (tmp_path / "file").write_text("in the way")
    for words, said in (
        (["--output", "/proc/none/pool.json"], "/proc/none/pool.json can't be written"),
        (["--output", tmp_path / "file/pool.json"], "can't be written"),
        (["--output", tmp_path], "is a folder"),
        (["--description", "x" * 151], "The description has 151 characters"),
        (["--namespace", "bob"], "may not push to bob"),
    ):
        says(message_of("pool", "create", title, reference, *words), said)
    says(message_of("pool", "create", "x" * 61, reference), "The title has 61 characters", "takes 60")
    assert title not in [found.title for found in HfApi().list_collections(owner="local")]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    made = hf_dd.create_pool(title, [reference], output=tmp_path / "new/pool.json")
    assert json.loads((tmp_path / "new/pool.json").read_text())["source"] == made.slug
    says(message_of("pool", "create", title, reference, "--private"), "is there already, and public")
    assert not HfApi().get_collection(made.slug).private


def test_what_is_no_teacher_is_no_member_of_a_pool(unique):
    repo_id = unique()
    HfApi().create_repo(repo_id)
    says(message_of("pool", "create", unique(), f"{repo_id}@main"), repo_id)
