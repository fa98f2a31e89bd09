"""Pools at their commits: as a collection and as pool.json, made, shown, compared and verified, over HTTP."""

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Image
from huggingface_hub import HfApi

import hf_dd
from hf_dd import cli
from hf_dd.config import DataConfig
from hf_dd.config.commands import PoolShowOptions
from hf_dd.core.text import duration
from hf_dd.data.image_data import load_data
from hf_dd.errors import HubError, TeacherError
from hf_dd.runs import pools
from hf_dd.teachers import diversity
from hf_dd.teachers import pins as locks
from hf_dd.teachers.pool import TeacherPool
from hf_dd.teachers.query import TeacherQuery
from tests.factories import DOMAIN, message_of, says

pytestmark = pytest.mark.usefixtures("one_thread")


SMALL = {"ipc": 1, "iterations": 2, "real_batch_size": 4, "architecture_options": ["width=8"], "eval_students": 0}


def move(repo_id, tag, sha):
    """Put a tag on another commit."""
    HfApi().delete_tag(repo_id, tag=tag)
    HfApi().create_tag(repo_id, tag=tag, revision=sha)


def printed(capsys, *arguments):
    capsys.readouterr()
    cli.main(["pool", *map(str, arguments)])
    return capsys.readouterr().out


def test_create_by_a_query_pins_it_in_a_collection_and_in_a_file(grid, tmp_path, capsys):
    place = tmp_path / "locks" / "pool.json"
    options = ["--architectures", "ConvNet", "MLP", "--seeds", 0, "--epochs", 1, "final", "--domain", DOMAIN]
    out = printed(capsys, "create", "By query", *options, "--output", place).splitlines()
    slug = out[0].removeprefix("By query: ")
    pins = TeacherQuery(["ConvNet", "MLP"], [0], [1, "final"], DOMAIN).find()
    assert out[2:] == [f"  {pin.repo_id}@{pin.revision} = {pin.sha}" for pin in pins] and len(pins) == 4
    content = json.loads(place.read_text())
    assert content["source"] == slug
    by_collection, by_file = TeacherPool.from_collection(slug), TeacherPool.from_lock(str(place))
    assert content["teachers"] == by_collection.lock()["teachers"] == by_file.lock()["teachers"]
    assert by_collection.lock() == content and by_file.source == str(place)
    assert locks.read(slug).specs() == by_file.specs == locks.read(str(place)).specs()


def test_create_by_hub_tags_and_by_references_after_options(grid, capsys):
    tags = ["--teacher_tags", "hf-dd-teacher", f"dataset:{DOMAIN}", "arch:ConvNet", "--teacher_revision", "epoch-1"]
    out = printed(capsys, "create", "By tags", *tags)
    assert [line.split()[0] for line in out.splitlines()[2:]] == [
        f"lab/pool-convnet-{seed}@epoch-1" for seed in (0, 1)
    ]
    out = printed(capsys, "create", "By name", "--private", "lab/pool-mlp-0@final", "lab/pool-mlp-0@epoch-1")
    sha = grid["lab/pool-mlp-0"]
    assert out.splitlines()[2:] == [f"  lab/pool-mlp-0@{tag} = {sha[tag]}" for tag in ("final", "epoch-1")]


def test_create_makes_nothing_where_something_is_wrong(api, grid, tmp_path, unique):
    made = {collection.title for collection in api.list_collections(owner="local")}
    two = ["lab/pool-mlp-0@final", "--seeds", "0"]
    says(message_of("pool", "create", "Wrong", *two), "in one way", "teachers and --architectures, --seeds")
    says(message_of("pool", "create", "Wrong"), "at least one teacher", "--teacher_tags", "--domain")
    says(message_of("pool", "create", "Wrong", "--domain", DOMAIN, "--epochs", "3"), "has no epoch-3")
    says(message_of("pool", "create", "Wrong", "--epochs", "x"), "--epochs holds 'x'")
    reference = "lab/pool-mlp-0@final"
    says(message_of("pool", "create", "Wrong", reference, "--output", tmp_path), str(tmp_path), "is a folder")
    repo_id = unique()
    api.create_repo(repo_id)
    output = ["--output", tmp_path / "pool.json"]
    says(message_of("pool", "create", "Wrong", f"{repo_id}@main", *output), repo_id, "doesn't say what it is")
    with pytest.raises(SystemExit) as end:
        cli.main(["pool", "create", "Wrong", reference, "--no_such_option"])
    assert (
        end.value.code.startswith("hf-dd: error: unknown option 'no_such_option'") and list(tmp_path.iterdir()) == []
    )
    assert {collection.title for collection in api.list_collections(owner="local")} == made


@pytest.fixture(scope="module")
def distilled(grid, tmp_path_factory):
    """A set that was distilled with two teachers, and pushed."""
    options = {"clom": "cos", "teachers": ["lab/pool-convnet-0@epoch-1", "lab/pool-mlp-0@final"]}
    folder = tmp_path_factory.mktemp("locked") / "set"
    hub = {"push_to_hub": True, "hub_dataset_id": "local/locked", "hub_tag": "v1"}
    hf_dd.distill(**SMALL, **options, **hub, output_dir=str(folder))
    return folder


@pytest.mark.parametrize("how", ["folder", "file", "hub", "hub@tag", "collection"])
def test_a_distillation_takes_a_lock_from_wherever_it_is(distilled, grid, how, tmp_path):
    made = hf_dd.create_pool("The same", ["lab/pool-convnet-0@epoch-1", "lab/pool-mlp-0@final"])
    place = {
        "folder": str(distilled),
        "file": str(distilled / "pool.json"),
        "hub": "local/locked",
        "hub@tag": "local/locked@v1",
        "collection": made.slug,
    }[how]
    again = hf_dd.distill(**SMALL, clom="cos", teacher_pool=place, output_dir=str(tmp_path / "again"))
    first = hf_dd.Artefact.open(distilled)
    assert again.record.teachers == first.record.teachers
    assert again.load()["pixel_values"] == first.load()["pixel_values"]
    sha = HfApi().dataset_info("local/locked", revision="v1").sha
    assert again.record.pool == (f"local/locked@{sha}" if how.startswith("hub") else place)
    assert f"from the pool `{again.record.pool}`" in (tmp_path / "again/README.md").read_text()


def test_a_local_teacher_is_locked_by_its_weights(tiny_teachers, tmp_path):
    folder = Path(shutil.copytree(tiny_teachers.folders[2] / "epoch-1", tmp_path / "teacher"))
    lock = TeacherPool.from_references([str(folder)]).lock()
    (tmp_path / "pool.json").write_text(json.dumps(lock))
    assert TeacherPool.from_lock(str(tmp_path / "pool.json")).lock()["teachers"] == lock["teachers"]
    assert [error for _, error in locks.verify(locks.read(str(tmp_path / "pool.json")))] == [None]
    shutil.copy(tiny_teachers.folders[2] / "epoch-2/model.safetensors", folder)
    with pytest.raises(TeacherError, match=r"teacher isn't what it was when it was locked: its weights were sha256:"):
        TeacherPool.from_lock(str(tmp_path / "pool.json"))
    shutil.rmtree(folder)
    with pytest.raises(TeacherError, match="was a local folder, which isn't there"):
        TeacherPool.from_lock(str(tmp_path / "pool.json"))


@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json", "modeling.py"])
def test_a_local_teacher_is_locked_by_its_configuration_too(tiny_teachers, tmp_path, file):
    folder = Path(shutil.copytree(tiny_teachers.folders[2] / "epoch-1", tmp_path / "teacher"))
    lock = TeacherPool.from_references([str(folder)]).lock()
    (tmp_path / "pool.json").write_text(json.dumps(lock))
    config = json.loads((folder / "config.json").read_text())
    (folder / file).write_text(json.dumps(config | {"std": [0.01], "class_names": config["class_names"][::-1]}))
    ((_, error),) = locks.verify(locks.read(str(tmp_path / "pool.json")))
    assert "its weights are the same, but its config.json" in str(error)
    with pytest.raises(TeacherError, match="isn't what it was when it was locked"):
        TeacherPool.from_lock(str(tmp_path / "pool.json"))
    del lock["teachers"][0]["configuration"]  # as an older version wrote it
    (tmp_path / "pool.json").write_text(json.dumps(lock))
    assert [error for _, error in locks.verify(locks.read(str(tmp_path / "pool.json")))] == [None]


def test_a_moved_tag_is_a_warning_and_the_locked_commit_is_used(mine, tmp_path, caplog, capsys):
    repo_id, tags = mine
    place = tmp_path / "pool.json"
    made = hf_dd.create_pool(f"Moved {repo_id}", [f"{repo_id}@final"], output=place)
    before = hf_dd.distill(**SMALL, clom="cos", teacher_pool=str(place), output_dir=str(tmp_path / "before"))
    move(repo_id, "final", tags["epoch-1"])
    assert tags["epoch-1"] != tags["final"]
    warning = f"{repo_id}@final moved since the pool was locked: it was {tags['final']} and is {tags['epoch-1']}."
    for how in (str(place), made.slug, str(tmp_path / "before")):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            after = hf_dd.distill(
                **SMALL, clom="cos", teacher_pool=how, output_dir=str(tmp_path / "after"), overwrite_output_dir=True
            )
        assert warning in caplog.text
        assert [teacher["sha"] for teacher in after.record.teachers] == [tags["final"]]
        assert after.load()["pixel_values"] == before.load()["pixel_values"]
        caplog.clear()
        assert printed(capsys, "verify", how) == f"ok {repo_id}@final = {tags['final']}\n"
        assert warning in caplog.text
    HfApi().delete_tag(repo_id, tag="final")
    caplog.clear()
    assert printed(capsys, "verify", place).startswith("ok ")
    assert f"{repo_id}@final" in caplog.text and f"locked commit {tags['final']} is what counts" in caplog.text


def test_the_difference_of_two_pools(grid, mine, tmp_path, capsys):
    repo_id, tags = mine
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    convnet, mlp = grid["lab/pool-convnet-0"], grid["lab/pool-mlp-0"]
    hf_dd.create_pool(
        "First", [f"{repo_id}@final", "lab/pool-convnet-0@epoch-1", "lab/pool-mlp-0@final"], output=first
    )
    move(repo_id, "final", tags["epoch-1"])
    references = [f"{repo_id}@final", "lab/pool-mlp-0@final", "lab/pool-mlp-0@epoch-2"]
    made = hf_dd.create_pool("Second", references, output=second)
    assert printed(capsys, "diff", first, made.slug).splitlines() == [
        f"- lab/pool-convnet-0@epoch-1 = {convnet['epoch-1']}",
        f"+ lab/pool-mlp-0@epoch-2 = {mlp['epoch-2']}",
        f"~ {repo_id}@final: {tags['final']} → {tags['epoch-1']}",
    ]
    assert printed(capsys, "diff", second, made.slug) == "The pools hold the same commits.\n"


def test_show_is_a_table_without_the_weights(grid, distilled, capsys, monkeypatch):
    made = hf_dd.create_pool("Shown", ["lab/pool-convnet-0@epoch-1", "lab/pool-mlp-0@final"])
    monkeypatch.setattr(locks, "load_teacher", None)
    tables = [printed(capsys, "show", place).splitlines() for place in (made.slug, distilled)]
    assert [lines[0] for lines in tables] == [made.slug, str(distilled)]
    assert tables[0][2:] == tables[1][2:]
    specs = TeacherPool.from_collection(made.slug).specs
    expected = [
        f"| {spec.repo_id} | {spec.revision} | {spec.sha} | {spec.architecture} | {spec.seed} | {spec.epoch} | digits "
        f"| {100 * spec.accuracy:.2f} % | {duration(spec.seconds)} |"
        for spec in specs
    ]
    assert tables[0][4:] == expected and [spec.epoch for spec in specs] == [1, 2]


@pytest.mark.usefixtures("nothing_remembered")
def test_show_measures_the_diversity_on_a_data_set(distilled, capsys):
    found = diversity.measured(TeacherPool.from_lock(str(distilled)), load_data(DataConfig()), "cpu")
    last = printed(capsys, "show", distilled, "--dataset", "digits").splitlines()[-1]
    assert last == f"Diversity on digits. {diversity.in_words(found)}"
    assert hf_dd.Artefact.open(distilled).record.diversity == found
    one = hf_dd.create_pool("One", ["lab/pool-mlp-0@final"])
    with pytest.raises(TeacherError, match="holds one teacher: diversity is that of several"):
        pools.show(PoolShowOptions(pool=one.slug, dataset="digits"))


def test_show_measures_on_a_data_set_whose_columns_and_configurations_are_named(grid, tmp_path, capsys):
    made = hf_dd.create_pool("On columns", ["lab/pool-convnet-0@final", "lab/pool-mlp-0@final"])
    features = Features({"image": Image(), "photo": Image(), "label": ClassLabel(names=["a", "b"])})
    images = list(np.random.default_rng(0).integers(0, 255, (16, 8, 8), dtype=np.uint8))
    rows = Dataset.from_dict({"image": images, "photo": images, "label": [0, 1] * 8}, features=features)
    (tmp_path / "data").mkdir()
    for split in ("train", "test"):
        rows.to_parquet(str(tmp_path / f"data/{split}.parquet"))
    words = ["pool", "show", made.slug, "--dataset", tmp_path / "data"]
    says(message_of(*words), "--image_column")
    assert "Diversity on" in printed(capsys, *words[1:], "--image_column", "photo")
    says(message_of("pool", "show", made.slug, "--image_column", "photo"), "add --dataset")


def test_verify_checks_all_before_it_fails(api, grid, push, unique, tmp_path, capsys):
    broken, gone = unique(), unique()
    push(0, broken, "nothing-that-is-looked-for")
    push(1, gone, "nothing-that-is-looked-for")
    api.upload_file(repo_id=broken, path_or_fileobj=b"no weights", path_in_repo="model.safetensors")
    references = [f"{broken}@main", f"{gone}@final", "lab/pool-mlp-0@final"]
    made = hf_dd.create_pool("Checked", references, output=tmp_path / "pool.json")
    assert TeacherPool.from_references([f"{gone}@final"])[0].spec.seed == 1  # it is in the cache, but will be gone
    api.delete_repo(gone)
    for place in (tmp_path / "pool.json", made.slug):
        message = message_of("pool", "verify", place)
        says(message, f"2 of 3 teachers of {place}")
        lines = capsys.readouterr().out.splitlines()
        assert [line.split(" = ")[0] for line in lines] == [
            f"FAILS {broken}@main",
            f"FAILS {gone}@final",
            f"ok {references[2]}",
        ]
        assert "model.safetensors" in lines[0] and "doesn't exist" in lines[1]
        assert lines[2] == f"ok {references[2]} = {grid['lab/pool-mlp-0']['final']}"


def test_a_pool_of_pickles_is_refused_and_verified_by_trust(api, unique, tmp_path, capsys):
    from tests.factories import pickled

    repo_id = unique()
    pickled(tmp_path / "model")
    api.create_repo(repo_id)
    api.upload_folder(repo_id=repo_id, folder_path=tmp_path / "model")
    made = hf_dd.create_pool(
        f"Pickles {repo_id}", [f"{repo_id}@main"], output=tmp_path / "pool.json", trusted=[repo_id]
    )
    words = [repo_id, "its weights are pickled (pytorch_model.bin)", "--trusted_teachers"]
    for place in (made.slug, tmp_path / "pool.json"):
        says(message_of("distill", "--clom", "cos", "--teacher_pool", place, "--output_dir", tmp_path / "run"), *words)
        assert not (tmp_path / "run").exists()
        message_of("pool", "verify", place)
        says(capsys.readouterr().out, "FAILS", *words)
        assert printed(capsys, "verify", place, "--trusted_teachers", repo_id).startswith("ok ")
    lock = json.loads((tmp_path / "pool.json").read_text())
    lock["teachers"][0]["trusted"] = True  # whoever wrote a lock doesn't decide what this machine trusts
    (tmp_path / "pool.json").write_text(json.dumps(lock))
    with pytest.raises(TeacherError, match="its weights are pickled"):
        TeacherPool.from_lock(str(tmp_path / "pool.json"))


SPEC = {"repo_id": "a/b", "revision": "final", "sha": "0" * 40, "architecture": "MLP", "seed": 0, "epoch": 1}


SPEC |= {"dataset": "digits", "accuracy": 0.5}


@pytest.mark.parametrize(
    "content, words",
    [
        ("{", ["isn't a pool's lock", "isn't valid JSON"]),
        ("[]", ["isn't a pool's lock", "it holds list, not dict"]),
        ('{"kind": "distilled-set"}', ["isn't a pool's lock", "it lacks teachers"]),
        ('{"teachers": {"a": 1}}', ["isn't a pool's lock", "teachers is {'a': 1}"]),
        ('{"teachers": ["a/b"]}', ["isn't a pool's lock", "teacher 1 isn't a record of hf-dd: it holds str"]),
        ('{"teachers": []}', ["names no teacher"]),
        ({"sha": "epoch-1"}, ["isn't a pool's lock", "'a/b' at 'final' and 'epoch-1' is no commit of a teacher"]),
        ({"sha": None}, ["isn't a pool's lock", "teacher 1", "sha is None"]),
        ({"repo_id": 3}, ["isn't a pool's lock", "teacher 1", "repo_id is 3"]),
        ({"repo_id": ""}, ["isn't a pool's lock", "'' at 'final'"]),
        ({"colour": "red"}, ["isn't a pool's lock", "teacher 1", "colour"]),
        ({}, ["model a/b@final (00000000)", "doesn't exist"]),
        ({"repo_id": "a/b/c"}, ["a/b/c", "isn't a repository id"]),
    ],
)
def test_what_is_no_lock(tmp_path, content, words):
    path = tmp_path / "pool.json"
    path.write_text(content if isinstance(content, str) else json.dumps({"teachers": [SPEC | content]}))
    run = tmp_path / "run"
    says(message_of("distill", "--clom", "cos", "--teacher_pool", path, "--output_dir", run), *words)
    assert not run.exists()


def test_a_binary_file_is_no_lock(tmp_path):
    (tmp_path / "pool.json").write_bytes(bytes(range(256)))
    says(message_of("pool", "show", tmp_path / "pool.json"), "isn't a pool's lock", "isn't valid JSON")


def test_a_sha_that_is_gone(grid, tmp_path):
    path = tmp_path / "pool.json"
    path.write_text(json.dumps({"teachers": [SPEC | {"repo_id": "lab/pool-mlp-0"}]}))
    words = ["lab/pool-mlp-0@final (00000000)", "no such branch, tag or commit"]
    says(message_of("distill", "--clom", "cos", "--teacher_pool", path, "--output_dir", tmp_path / "run"), *words)
    assert not (tmp_path / "run").exists()


def test_places_that_hold_no_pool(tmp_path, api, unique):
    says(message_of("pool", "show", tmp_path), str(tmp_path), "holds no pool.json", "without teachers")
    says(message_of("pool", "show", "pools.json"), "Pool pools.json: there is no such file or folder", "slug")
    says(message_of("pool", "show", "local/nothing"), "Pool local/nothing", "dataset local/nothing doesn't exist")
    repo_id = unique()
    api.create_repo(repo_id, repo_type="dataset")
    says(message_of("pool", "show", repo_id), repo_id, "holds no pool.json")
    made = api.create_collection("Empty")
    says(message_of("pool", "verify", made.slug), made.slug, "is empty")
    with pytest.raises(HubError, match="doesn't exist"):
        TeacherPool.from_lock("local/none-0123456789abcdef01234567")
