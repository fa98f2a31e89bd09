"""The ways out of messages on the Hub, pools, galleries and kept files, typed as they are printed."""

import shutil
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from safetensors.torch import load_file, save

from hf_dd.errors import ConfigError
from hf_dd.local_hub import LocalHub
from tests.config.stock import made, run
from tests.config.ways import cases, row, take
from tests.factories import message_of


@made
def make_pushed(stock, folder):
    """A set at its first tag."""
    shutil.copytree(stock["set"], folder)
    run(["push", str(folder), "--hub_dataset_id", "local/ways-pushed", "--hub_tag", "v1"])
    return "local/ways-pushed@v1"


@made
def make_better(stock, folder):
    return stock.run("distill {digits} --objective herding", folder)


@made
def make_lab_set(stock, folder):
    return shutil.copytree(stock["set"], folder)


@made
def make_noted(stock, folder):
    """A collection whose note of a model pins nothing."""
    made = HfApi().create_collection("Ways of notes", namespace="local")
    HfApi().add_collection_item(made.slug, stock["mlp"].split("@")[0], "model", note="a good one")
    return made.slug


@made
def make_teachers_run(stock, folder):
    stock.run("pretrain {trained} --architectures MLP --teacher_seeds 5", folder)
    return folder / "digits-mlp-seed5"


@made
def make_others_run(stock, folder):
    stock.run("pretrain {trained} --architectures MLP --teacher_seeds 6", folder)
    return folder / "digits-mlp-seed6"


@made
def make_hidden(stock, folder):
    """A private teacher."""
    stock.run("pretrain {trained} --architectures MLP --teacher_seeds 17 --push_to_hub --hub_private_repo", folder)
    return "local/digits-mlp-seed17@final"


def mine(stock, then=""):
    """A copy of the set, which a push may change."""
    shutil.copytree(stock["set"], "mine")
    if then:
        stock.type(then)


def with_other_seed(stock):
    """A repository whose tag of a student's seed is on a teacher."""
    commit = HfApi().create_repo(stock["repo"]) and HfApi().upload_file(
        path_or_fileobj=b"{}", path_in_repo="hf_dd.json", repo_id=stock["repo"]
    )
    HfApi().create_tag(stock["repo"], tag="seed-0", revision=commit.oid)


def with_other_weights(stock):
    """A repository of the same run's student, with other weights."""
    stock.type("hf-dd evaluate {pushed} {evaluated} --push_students {repo}")
    weights = {name: value + 1 for name, value in load_file(next(Path("outputs").rglob("*.safetensors"))).items()}
    commit = HfApi().upload_file(
        path_or_fileobj=save(weights), path_in_repo="model.safetensors", repo_id=stock["repo"]
    )
    HfApi().delete_tag(stock["repo"], tag="seed-0")
    HfApi().create_tag(stock["repo"], tag="seed-0", revision=commit.oid)


def with_set_among_students(stock):
    """A folder of students in which a set's record lies."""
    stock.type("hf-dd evaluate {set} {evaluated} --save_students kept")
    (record,) = Path("kept").rglob("hf_dd.json")
    shutil.copy(f"{stock['set']}/hf_dd.json", record)


ROWS = [
    row("Name the folder: hf-dd push", "push", "(hf-dd push) FOLDER -> {0} mine --hub_dataset_id {repo}", first=mine),
    row(
        "--new_version … is this set itself",
        "push mine --hub_dataset_id {repo} --new_version {repo}",
        "(--new_version) .* name the one -> {0} {pushed}",
        first=lambda stock: mine(stock, "hf-dd push mine --hub_dataset_id {repo}"),
    ),
    row(
        "… has a tag … already",
        "push {better} --hub_dataset_id {repo} --hub_tag v1",
        "another (--hub_tag), -> {0} v2",
        "or another (--hub_dataset_id) -> {0} {other}",
        first=lambda stock: mine(stock, "hf-dd push mine --hub_dataset_id {repo} --hub_tag v1"),
    ),
    row(
        "… … is there already, and public",
        "push mine --hub_dataset_id {repo} --hub_private_repo",
        "or leave out (--hub_private_repo) -> !{0}",
        "push to another repository -> --hub_dataset_id {other}",
        first=lambda stock: mine(stock, "hf-dd push mine --hub_dataset_id {repo}"),
    ),
    row(
        "… holds the weights of another run than",
        "push {teachers_run} --hub_dataset_id {repo}",
        "by `(hf-dd push .* --hub_dataset_id) OWNER/NAME` -> {0} {other}",
        first="hf-dd push {others_run} --hub_dataset_id {repo}",
    ),
    row(
        ("--push_students: … …, and the card", "Push it first, as by `hf-dd push …`"),
        "evaluate mine {evaluated} --push_students {repo}",
        r"as by `(hf-dd push mine)` -> {0}; --push_students {repo}",
        r"in a folder by (--save_students)\. -> {0} kept !--push_students",
        first=mine,
    ),
    row(
        ("--push_students: … …, and the card", "Make a set of it by `hf-dd import … --dataset SOURCE`"),
        "evaluate {abc} {evaluated} --dataset {three} --push_students {repo}",
        r"by `(hf-dd import .*) --dataset SOURCE` and -> {0} --dataset {three} --output_dir made; hf-dd push made; "
        "hf-dd evaluate made {evaluated} --push_students {repo}",
    ),
    row(
        "… holds a …, not a student",
        "evaluate {set} {evaluated} --save_students kept",
        "another (--save_students) -> {0} others",
        first=with_set_among_students,
    ),
    row(
        "model … has a tag … on something else than a student",
        "evaluate {pushed} {evaluated} --push_students {repo}",
        "another (--push_students) -> {0} {other}",
        first=with_other_seed,
    ),
    row(
        "… holds another run's weights: delete",
        "evaluate {pushed} {evaluated} --push_students {repo} --save_students others",
        "another (--push_students) -> {0} {other}",
        first=with_other_weights,
    ),
    row(
        "--create_pr and --hub_tag … contradict",
        "push mine --hub_dataset_id {repo} --create_pr --hub_tag v1",
        "(--create_pr) and -> !{0}",
        "and (--hub_tag) -> !{0}",
        first=mine,
    ),
    row(
        "--create_pr and --hub_revision … contradict",
        "push mine --hub_dataset_id {repo} --create_pr --hub_revision next",
        "(--create_pr) and -> !{0}",
        "and (--hub_revision) -> !{0}",
        first=mine,
    ),
    row(
        "… is one epoch of a teacher, and all of a run is pushed",
        "push {teachers_run}/epoch-1 --hub_dataset_id {repo}",
        "`(hf-dd push [^`]*)` -> {0} --hub_dataset_id {repo}",
    ),
    row("Name the pool: hf-dd pool create", "pool create", "(hf-dd pool create) TITLE -> {0} 'Ways made' {mlp}"),
    row("Name the pool: hf-dd pool verify", "pool verify", "(hf-dd pool verify) POOL -> {0} {pool}"),
    row("Name the pool: hf-dd pool show", "pool show", "(hf-dd pool show) POOL -> {0} {pool}"),
    row(
        "--… is of the data set that a pool's diversity",
        "pool show {pool} --image_size 8",
        r"add (--dataset)\. -> {0} digits",
    ),
    row(
        "hf-dd pool diff takes two pools",
        "pool diff {pool}",
        "(hf-dd pool diff) takes two -> {0} {pool} {pool}",
    ),
    row(
        "--architectures, --seeds, --epochs, --domain, --owner",
        "pool create Ways {of_tagged} --domain tagged --architectures MLP --seeds 0 --epochs final --owner local",
        "given are (teachers) and -> hf-dd pool create Ways --domain tagged",
        "(--architectures), .* --owner -> !{0} !--seeds !--epochs !--domain !--owner",
    ),
    row(
        "--teacher_revision … is of models that",
        "pool create Ways {of_tagged} --teacher_revision epoch-1",
        r"leave it out -> !--teacher_revision",
        "that (--teacher_tags) find -> hf-dd pool create Ways {0} dataset:tagged --teacher_revision epoch-1",
        first=lambda stock: stock["of_tagged"],
    ),
    row(
        "A pool needs at least one teacher",
        "pool create Ways",
        "as owner/name@revision -> {of_tagged}",
        "by (--teacher_tags), -> {0} hf-dd-teacher dataset:tagged",
        "by (--architectures), -> {0} MLP --domain tagged",
        "(--seeds), -> {0} 0 --domain tagged",
        "(--epochs), -> {0} final --domain tagged",
        r"(--domain)\. -> {0} tagged",
        first=lambda stock: stock["of_tagged"],
    ),
    row(
        "--output … is a folder",
        "pool create Ways {of_tagged} --output {root}",
        r"e\.g\. (\S+)\.$ -> --output {0}",
        "(--output) .* give the file to write -> {0} own.json",
    ),
    row(
        "… holds one teacher",
        "pool show one.json --dataset digits",
        "Leave out (--dataset) -> !{0}",
        first="hf-dd pool create Ways {mlp} --output one.json",
    ),
    row(
        "--epochs holds …; an epoch is",
        "pool create Ways --domain tagged --epochs last",
        r"or (final)\. -> --epochs {0}",
        "an epoch is a whole number -> --epochs 1",
        first=lambda stock: stock["of_tagged"],
    ),
    row(
        "The note of … in … pins no commits",
        "pool show {noted}",
        "another title with `(hf-dd pool create)` -> {0} 'Ways of pins' {of_tagged}",
    ),
    row(
        "…: private, so that a public pool would be",
        "pool create {repo} {hidden}",
        "(--private)",
    ),
    row(
        "Teacher … is a folder of this machine, and a pool",
        "pool create {repo} {others_run}",
        r"`(hf-dd push \S+)` -> {0} --hub_dataset_id {repo}; hf-dd pool create {repo} {repo}",
        "a run of `(hf-dd pretrain)` -> {0} {trained} --architectures MLP --teacher_seeds 8; hf-dd push "
        "teachers/digits-mlp-seed8 --hub_dataset_id {repo}; hf-dd pool create {repo} {repo}",
    ),
    row(
        "Collection … is there already, and public",
        "pool create {repo} {of_tagged} --private",
        "or leave out (--private) -> !{0}",
        "give another title -> hf-dd pool create {other} {of_tagged} --private",
        first="hf-dd pool create {repo} {of_tagged}",
    ),
    row(
        "A gallery is of the sets that are named",
        "gallery build {set} --owner local --tag own --output pages",
        "(--owner) and --tag find: leave out one -> !{0} !--tag",
        "of the sets that are named -> hf-dd gallery build {pushed} --output pages",
    ),
    row(
        "… has no … with the tag",
        "gallery build --tag ways-of-nobody --output pages",
        r"`(hf-dd push) FOLDER` -> {0} mine --hub_dataset_id {repo}; hf-dd gallery build {repo} --output pages",
        r"`(hf-dd gallery build) outputs owner/name` -> {0} mine {pushed} --output pages",
        first=mine,
    ),
    row(
        "… holds no distilled set: none of its folders",
        "gallery build made --output pages",
        "which `(hf-dd distill)` and -> {0} {digits} --objective random --output_dir made/own; --output pages",
        "and `(hf-dd import)` write -> {0} {abc} --dataset {three} --output_dir made/own; --output pages",
        first=lambda stock: Path("made").mkdir(),
    ),
    row(
        "… holds something that isn't a gallery",
        "gallery build {set} --output pages",
        "another (--output), -> {0} others",
        first=lambda stock: Path("pages/other").mkdir(parents=True),
    ),
    row(
        "--verify_badge writes onto the card of",
        "reproduce {repo}@v1 --verify_badge --output_dir again",
        "reproduce (\\S+) itself -> hf-dd reproduce {0} --verify_badge --output_dir others",
        "leave the badge out -> !--verify_badge",
        first=lambda stock: mine(
            stock,
            "hf-dd push mine --hub_dataset_id {repo} --hub_tag v1; hf-dd distill {digits} --objective herding "
            "--output_dir better; hf-dd push better --hub_dataset_id {repo} --hub_tag v2",
        ),
    ),
]


@pytest.mark.usefixtures("one_thread", "one_classifier")
@pytest.mark.parametrize(**cases(ROWS))
def test_the_way_is_open(row, way, stock, unique, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stock["repo"], stock["other"] = unique(), unique()
    take(row, way, stock)


@pytest.mark.parametrize("way", ["hf-dd cache ls", "--all"])
def test_what_is_kept_is_removed_as_the_message_says(way, nothing_remembered):
    assert way in message_of("cache", "rm")
    run(way.split()[1:] if way.startswith("hf-dd") else ["cache", "rm", way])


def test_a_hub_listens_where_others_reach_it_by_the_option_that_is_printed(tmp_path):
    with pytest.raises(ConfigError, match=r"on purpose \(--allow_remote\)"):
        LocalHub(tmp_path / "hub", host="0.0.0.0").start()
    with LocalHub(tmp_path / "hub", host="0.0.0.0", allow_remote=True) as running:
        assert running.environment()
