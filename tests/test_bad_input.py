"""Wrong inputs, over real HTTP to the embedded Hub: one clear line that names the input and the way out, before any
training, and nothing lost."""

import contextlib
import errno
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import datasets
import numpy as np
import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from PIL import Image
from safetensors.torch import load_file, save_file

import hf_dd
import hf_dd.hub
from hf_dd import cli
from hf_dd.artefacts import distilled_folder, teacher_folder
from hf_dd.artefacts.distilled_folder import Artefact
from hf_dd.config import DistillConfig
from hf_dd.errors import ConfigError, DataError, HubError, RunError, TeacherError, nearest_first
from hf_dd.evaluation.protocols import PROTOCOLS
from tests.factories import message_of, says

SMALL = "--ipc 1 --iterations 2 --real_batch_size 4 --architecture_options width=8 depth=1 --eval_students 0".split()
BY_A_GUIDE = ["--clom", "ce", "--teachers"]


def traces(folder):
    """What a run that trained, or wrote a result, leaves."""
    return [path for path in Path(folder).rglob("*") if path.is_file()] if Path(folder).exists() else []


@pytest.fixture
def refused(tmp_path):
    """`hf-dd distill` with small settings ends in a message with these words, and has neither trained nor written."""

    def refuse(*arguments, words):
        folder = tmp_path / "run"
        says(message_of("distill", *SMALL, "--output_dir", folder, *arguments), *words)
        assert traces(folder) == []

    return refuse


@pytest.fixture(scope="module")
def api():
    return HfApi()


@pytest.fixture(scope="module")
def bob(hub):
    return HfApi(token=hub.tokens["bob"])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished distillation's folder; copy it before changing it."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    hf_dd.distill(
        ipc=1,
        iterations=2,
        real_batch_size=4,
        architecture_options=["width=8", "depth=1"],
        eval_students=0,
        output_dir=str(folder),
    )
    return folder


@pytest.fixture
def folder(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "set"))


@pytest.fixture
def changed_teacher(tiny_teachers, tmp_path, api, unique):
    """Push a changed copy of a teacher's last epoch; returns its repository."""

    def push(change):
        copy = Path(shutil.copytree(tiny_teachers.folders[0] / "epoch-2", tmp_path / "teacher"))
        change(copy)
        repo = unique()
        api.create_repo(repo)
        api.upload_folder(repo_id=repo, folder_path=copy)
        return repo

    return push


def png(value, size=8):
    stream = io.BytesIO()
    Image.fromarray(np.full((size, size), value, np.uint8)).save(stream, "PNG")
    return {"bytes": stream.getvalue(), "path": None}


@pytest.fixture
def push_data(tmp_path, api, unique):
    """Push columns as the training split of a new data set; returns its repository."""

    def push(columns, **features):
        path = tmp_path / "train.parquet"
        datasets.Dataset.from_dict(columns, features=datasets.Features(features)).to_parquet(path)
        repo = unique()
        api.create_repo(repo, repo_type="dataset")
        api.upload_file(
            repo_id=repo, repo_type="dataset", path_or_fileobj=path, path_in_repo="data/train-00000-of-00001.parquet"
        )
        return repo

    return push


PETS = datasets.ClassLabel(names=["cat", "dog"])


@pytest.fixture
def pets(push_data):
    images = [png(value) for value in (10, 90, 150, 240)]
    return push_data({"image": images, "label": [0, 0, 0, 1]}, image=datasets.Image(), label=PETS)


# ----------------------------------------------------------------------------- not there, not readable


def test_a_teacher_that_does_not_exist(refused, hub):
    words = ["model local/nothing@final", "doesn't exist at", hub.endpoint]
    refused(*BY_A_GUIDE, "local/nothing@final", words=words)


def test_a_dataset_that_does_not_exist(refused):
    refused("--dataset", "local/nothing", words=["dataset local/nothing", "doesn't exist", "no folder of this name"])


def test_a_tag_that_does_not_exist(refused, tiny_teachers, pets):
    repo = tiny_teachers.references[0].split("@")[0]
    there = ["no such branch, tag or commit", "There are", "main"]
    refused(*BY_A_GUIDE, f"{repo}@epoch-99", words=[f"{repo}@epoch-99", "epoch-1", *there])
    refused("--dataset", f"{pets}@v99", words=[f"{pets}@v99", *there])


@pytest.mark.parametrize("reference", ["nothing", "a/b/c@final", "a/@final", "local/x@"])
def test_what_is_no_reference(refused, reference):
    refused(*BY_A_GUIDE, reference, words=[reference, "owner/name@revision"])


@pytest.mark.parametrize(
    "command",
    [
        *("pool verify X", "pool diff X X", "push X", "reproduce X", "evaluate X", "use privacy X", "study X"),
        *("import X --dataset digits", "distill --config X", "distill --dataset X", "pretrain --dataset X"),
        *("distill --clom ce --teacher_pool X", "distill --clom ce --teachers X", "distill --init X/y"),
    ],
)
def test_a_name_that_no_file_can_have(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = message_of(*command.replace("X", "x" * 300).split())
    says(message, "xxx")
    assert len(message) < 1_000 and traces(tmp_path) == []


def test_a_place_that_may_not_be_looked_at(tmp_path, monkeypatch):
    """As for a user who isn't root, in a folder that is closed."""

    def closed(path, **options):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", closed)
    with pytest.raises(SystemExit) as ended:
        cli.main(["pool", "verify", "closed/pool.json"])
    way_out = "Name a file, a folder or a repository."
    assert str(ended.value) == f"hf-dd: error: 'closed/pool.json' can't be looked at: Permission denied. {way_out}"


def test_tags_that_no_model_has(refused):
    refused("--clom", "ce", "--teacher_tags", "no-such-tag", words=["No model at", "no-such-tag"])


def test_sets_to_evaluate_that_are_not_there(unique, api, tmp_path):
    says(message_of("evaluate", "local/nothing"), "dataset local/nothing", "doesn't exist")
    says(message_of("evaluate", tmp_path / "nothing"), str(tmp_path / "nothing"))
    repo = unique()
    api.create_repo(repo, repo_type="dataset")
    says(message_of("evaluate", repo, "--dataset", "digits"), repo)  # it holds no data


def test_a_set_that_is_not_distilled(pets):
    says(message_of("evaluate", pets, "--dataset", "digits"), pets, "has 2 classes (cat, dog)", "digits has 10")
    says(message_of("evaluate", pets), pets, "doesn't say what it was made from", "--dataset")


def test_a_private_repository_of_somebody_else(refused, bob, unique):
    model, data = unique("bob"), unique("bob")
    bob.create_repo(model, private=True)
    bob.create_repo(data, repo_type="dataset", private=True)
    refused(*BY_A_GUIDE, f"{model}@main", words=[model, "is private and your token can't read it"])
    refused("--dataset", data, words=[data, "is private and your token can't read it"])


def gate(api, repo, kind):
    api.update_repo_settings(repo, repo_type=kind, gated="auto")


@pytest.fixture(scope="module")
def gated_by_bob(bob, unique, tiny_teachers):
    """A gated teacher and a gated data set of bob."""
    model, data = unique("bob"), unique("bob")
    bob.create_repo(model)
    bob.upload_folder(repo_id=model, folder_path=tiny_teachers.folders[0] / "epoch-2")
    bob.create_repo(data, repo_type="dataset")
    content = datasets.Dataset.from_dict({"image": [png(1)], "label": [0]})
    stream = io.BytesIO()
    content.to_parquet(stream)
    operation = CommitOperationAdd("data/train-00000-of-00001.parquet", stream.getvalue())
    bob.create_commit(data, [operation], commit_message="data", repo_type="dataset")
    gate(bob, model, "model")
    gate(bob, data, "dataset")
    return model, data


def test_a_gated_repository(refused, gated_by_bob):
    model, data = gated_by_bob
    refused(*BY_A_GUIDE, f"{model}@main", words=[f"model {model}@main", "is gated", "ask for access"])
    refused("--dataset", data, words=[data, "gated"])


MANY = """
import json, sys
from hf_dd import cli
messages = []
for arguments in json.loads(sys.argv[1]):
    try:
        cli.main(arguments)
        messages.append("no error")
    except SystemExit as end:
        messages.append(str(end.code))
print(json.dumps(messages))
"""


@pytest.fixture
def messages_elsewhere(run_python, tmp_path):
    """The messages of several command lines in one process with another environment; nothing may be trained."""

    def run(*command_lines, **variables):
        root = tmp_path / "elsewhere"
        root.mkdir()
        home = {"HF_HOME": tmp_path / "home", "HF_HUB_CACHE": None, "HF_DATASETS_CACHE": None}
        lines = [[*map(str, line), *(SMALL if line[0] == "distill" else [])] for line in command_lines]
        done = run_python("-c", MANY, json.dumps(lines), cwd=root, **home | variables)
        assert done.returncode == 0, done.stderr
        assert traces(root) == []
        messages = json.loads(done.stdout.splitlines()[-1])
        assert len(messages) == len(command_lines)
        for message in messages:
            assert message.startswith("hf-dd: error: ") and "\n" not in message
        return messages

    return run


def test_without_a_token(messages_elsewhere, gated_by_bob, folder, bob, unique):
    model, data = gated_by_bob
    private = unique("bob")
    bob.create_repo(private, private=True)
    login = ("No token is set", "hf auth login", "HF_TOKEN")
    found = messages_elsewhere(
        ["distill", "--output_dir", "gated-teacher", *BY_A_GUIDE, f"{model}@main"],
        ["distill", "--output_dir", "gated-data", "--dataset", data],
        ["distill", "--output_dir", "private", *BY_A_GUIDE, f"{private}@main"],
        ["distill", "--output_dir", "push", "--push_to_hub"],
        ["pretrain", "--output_dir", "teachers", "--epochs", "1", "--push_to_hub"],
        ["push", folder],
        ["push", folder, "--hub_dataset_id", "local/no-token"],
        ["pool", "create", "Nobody's", "--namespace", "local", f"{model}@main"],
        HF_TOKEN=None,
    )
    says(found[0], model, "is gated", *login)
    says(found[1], data, "gated")
    says(found[2], private, "is private", *login)
    for message in found[3:5]:
        says(message, "Pushing needs a token", "hf auth login", "HF_TOKEN")
    says(found[5], "needs a token", f"{folder} holds the set", f"hf-dd push {folder}")
    says(found[6], "local/no-token", *login, "Retry: hf-dd push")
    says(found[7], *login)
    assert Artefact.open(folder).load().num_rows == 10


def test_a_token_that_nobody_has(messages_elsewhere, folder):
    found = messages_elsewhere(
        ["distill", "--output_dir", "push", "--push_to_hub"],
        ["push", folder, "--hub_dataset_id", "local/wrong-token"],
        HF_TOKEN="hf_wrong",
    )
    says(found[0], "the token isn't accepted")
    says(found[1], "local/wrong-token", "token", "Retry: hf-dd push")


UNREACHABLE = [
    ["distill", "--output_dir", "teacher", *BY_A_GUIDE, "local/some@final"],
    ["distill", "--output_dir", "data", "--dataset", "local/some"],
    ["distill", "--output_dir", "pool", "--clom", "ce", "--teacher_pool", "local/some-1234"],
    ["distill", "--output_dir", "push", "--push_to_hub"],
    ["evaluate", "local/some"],
    ["pool", "show", "local/some-1234"],
]


@pytest.mark.parametrize(
    "variables", [{"HF_ENDPOINT": "http://127.0.0.1:9"}, {"HF_HUB_OFFLINE": "1"}], ids=["no answer", "offline"]
)
def test_without_a_network(messages_elsewhere, variables, folder):
    started = time.monotonic()
    found = messages_elsewhere(*UNREACHABLE, ["push", folder], **variables)
    assert time.monotonic() - started < 60  # it isn't tried again and again
    for message in found:
        says(message, "can't be reached", "HF_ENDPOINT and HF_HUB_OFFLINE")
    says(found[0], "model local/some@final")
    says(found[1], "dataset local/some")
    says(found[2], "local/some-1234")
    says(found[-1], f"Retry: hf-dd push {folder}")


# ------------------------------------------------------------------------------------ sets to evaluate


@pytest.fixture
def set_of(tmp_path):
    """Write rows as a set to evaluate, whatever they hold; returns its folder."""

    def write(pixels=None, labels=None, names=None, **features):
        labels = list(range(10)) if labels is None else labels
        names = DIGITS if names is None else names
        pixels = np.zeros((len(labels), 1, 8, 8), np.float32) if pixels is None else pixels
        grey = np.zeros((len(labels), *pixels.shape[2:], pixels.shape[1]), np.uint8)
        images = [Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image) for image in grey]
        columns = {"image": images, "label": labels, "pixel_values": list(pixels)}
        kinds = {"image": datasets.Image(), "label": datasets.ClassLabel(names=names)}
        kinds["pixel_values"] = datasets.Array3D(shape=pixels.shape[1:], dtype="float32")
        rows = datasets.Dataset.from_dict(columns, features=datasets.Features(kinds | features))
        folder = tmp_path / "a-set"
        (folder / "data").mkdir(parents=True)
        rows.to_parquet(folder / "data/train-00000-of-00001.parquet")
        return folder

    return write


@pytest.fixture
def not_evaluated(tmp_path, monkeypatch):
    """`hf-dd evaluate` ends in just this message, and has neither trained nor written."""
    for module in ("evaluation.learners", "synthetic.coresets"):  # herding trains a network, too
        monkeypatch.setattr(f"hf_dd.{module}.fit", None)

    def refuse(folder, message, *arguments, whole=True):
        arguments = arguments if "--dataset" in arguments else ("--dataset", "digits", *arguments)
        given = ["--baselines", "herding", "full", "--output_dir", tmp_path / "results"]
        found = message_of("evaluate", folder, *given, *arguments).removeprefix("hf-dd: error: ")
        assert (found if whole else found[: len(message)]) == message
        assert not (tmp_path / "results").exists()

    return refuse


DIGITS = [str(digit) for digit in range(10)]
ORDER = (
    "an evaluation needs the same classes in the same order, and class 0 is the first that differs. Name the right "
    "data set by --dataset."
)


@pytest.mark.parametrize("names", [["cat", "dog"], DIGITS[::-1]], ids=["others", "another order"])
def test_a_set_of_other_classes(set_of, not_evaluated, names):
    not_evaluated(
        set_of(labels=list(range(len(names))), names=names),
        f"a-set has the classes {', '.join(names)}, but digits has {', '.join(DIGITS)}: {ORDER}",
    )


def test_a_set_whose_labels_have_no_names(set_of, not_evaluated):
    not_evaluated(
        set_of(label=datasets.Value("int64")),
        "a-set isn't a distilled set of hf_dd: its labels are Value('int64'), not classes with names (ClassLabel).",
    )


@pytest.mark.parametrize("missing", [None, -1])
def test_a_set_in_which_labels_are_missing(set_of, not_evaluated, missing):
    folder = set_of(labels=[*range(10), missing, missing])
    not_evaluated(folder, "2 of the 12 images of a-set have no label.")


@pytest.mark.parametrize("shape", [(1, 12, 8), (3, 8, 8)], ids=["size", "channels"])
def test_a_set_of_images_of_another_form(set_of, not_evaluated, shape):
    not_evaluated(
        set_of(pixels=np.zeros((10, *shape), np.float32)),
        f"a-set has images of {shape} (channels, height, width), but digits of (1, 8, 8). Name the right data set by "
        "--dataset, or its --image_size.",
    )


def test_a_network_that_takes_no_images_of_this_size(set_of, not_evaluated):
    not_evaluated(
        set_of(),
        "timm/vit_tiny_patch16_224 takes no images of 8×8: ",
        *("--eval_architectures", "MLP", "timm/vit_tiny_patch16_224"),
        whole=False,  # then what torch says of it
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_set_with_pixels_that_are_no_numbers(set_of, not_evaluated, value):
    pixels = np.zeros((10, 1, 8, 8), np.float32)
    pixels[7, 0, 3, 3] = value
    not_evaluated(set_of(pixels=pixels), "a-set holds pixels that are not finite numbers.")


def test_a_set_in_which_classes_are_missing(set_of, not_evaluated):
    not_evaluated(
        set_of(labels=[0, 1, 2, 4, 5, 6, 7, 8, 8]),
        "a-set has no image of 2 of the 10 classes of digits: 3, 9. A set of some of the classes needs a source of "
        "just those: name it by --dataset.",
    )


@pytest.mark.parametrize("missing", [None, -1])
def test_a_test_split_without_labels(set_of, not_evaluated, tmp_path, missing):
    (tmp_path / "unlabelled").mkdir()
    features = datasets.Features({"image": datasets.Image(), "label": PETS})
    for split, labels in (("train", [0, 1]), ("test", [missing, missing, missing])):
        rows = datasets.Dataset.from_dict({"image": [png(1)] * len(labels), "label": labels}, features=features)
        rows.to_parquet(tmp_path / f"unlabelled/{split}.parquet")
    not_evaluated(
        set_of(labels=[0, 1], names=["cat", "dog"]),
        "3 of the 3 images of split 'test' have no label (None or -1). Remove them, or choose a labelled split with "
        "--train_split or --test_split.",
        *("--dataset", tmp_path / "unlabelled"),
    )


def test_no_test_split_at_all(set_of, not_evaluated, pets):
    not_evaluated(
        set_of(labels=[0, 1], names=["cat", "dog"]),
        f"{pets} has no test split to evaluate on; name it by --test_split, hold out images of each class by "
        "--test_share 0.2, or put some of each below a folder test, the others below train.",
        *("--dataset", pets),
    )


def test_a_protocol_that_does_not_exist(set_of, not_evaluated):
    known = ", ".join(nearest_first("linear", PROTOCOLS))
    assert known.startswith("linear-probe, ") and {"dc", "dsa", "soft-label"} <= set(known.split(", "))
    message = f"--eval_protocol linear isn't known; known are: {known}."
    not_evaluated(set_of(), message, *("--eval_protocol", "linear"))


def test_a_set_without_the_soft_labels_of_the_protocol(set_of, not_evaluated):
    not_evaluated(
        set_of(),
        "a-set has no soft labels, which the protocol 'soft-label' trains on: choose another --eval_protocol.",
        *("--eval_protocol", "soft-label"),
    )


# -------------------------------------------------------------------------------------------- teachers


def test_a_teacher_with_only_a_pickle(refused, changed_teacher):
    repo = changed_teacher(lambda copy: (copy / "model.safetensors").rename(copy / "pytorch_model.bin"))
    refused(*BY_A_GUIDE, f"{repo}@main", words=[f"Teacher {repo}@main", "model.safetensors", "never pickles"])


@pytest.mark.parametrize("file, words", [("config.json", ["config.json"]), ("hf_dd.json", ["hf_dd.json", "pretrain"])])
def test_a_teacher_that_lacks_a_file(refused, changed_teacher, file, words):
    repo = changed_teacher(lambda copy: (copy / file).unlink())
    refused(*BY_A_GUIDE, f"{repo}@main", words=[f"Teacher {repo}@main", *words])


def test_a_teacher_with_other_tensors(refused, changed_teacher, tmp_path):
    def drop(copy):
        tensors = load_file(copy / "model.safetensors")
        del tensors["classifier.bias"]
        save_file(tensors, copy / "model.safetensors")

    words = ["classifier.bias should be floating [10], is absent"]
    refused(*BY_A_GUIDE, f"{changed_teacher(drop)}@main", words=words)
    shutil.rmtree(tmp_path / "teacher")

    def add(copy):
        tensors = load_file(copy / "model.safetensors")
        save_file(tensors | {"extra.weight": tensors["classifier.bias"].clone()}, copy / "model.safetensors")

    words = ["extra.weight should be absent, is floating [10]"]
    refused(*BY_A_GUIDE, f"{changed_teacher(add)}@main", words=words)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"architecture": "Transformer"}'])
def test_a_teacher_whose_config_is_nonsense(refused, changed_teacher, content):
    repo = changed_teacher(lambda copy: (copy / "config.json").write_text(content))
    refused(*BY_A_GUIDE, f"{repo}@main", words=[f"Teacher {repo}@main", "config.json"])


def test_a_teacher_whose_record_is_nonsense(refused, changed_teacher):
    repo = changed_teacher(lambda copy: (copy / "hf_dd.json").write_text("[]"))
    refused(*BY_A_GUIDE, f"{repo}@main", words=[f"Teacher {repo}@main", "hf_dd.json"])


def test_ce_with_another_label_space(refused, tiny_teachers, pets):
    reference = tiny_teachers.references[0]
    words = [reference, "cat, dog", "reads logits", "--fit_head", "--clom cos, which takes any teacher"]
    refused("--dataset", pets, *BY_A_GUIDE, reference, words=words)


def test_cos_takes_the_same_teacher(tiny_teachers, pets, tmp_path):
    options = ["--dataset", pets, "--clom", "cos", "--teachers", tiny_teachers.references[0]]
    cli.main(["distill", *SMALL, *options, "--output_dir", str(tmp_path / "run")])
    assert Artefact.open(tmp_path / "run").record.teachers[0]["repo_id"] in tiny_teachers.references[0]


def test_a_local_teacher_without_that_revision(refused, tiny_teachers):
    folder = tiny_teachers.folders[0]
    refused(*BY_A_GUIDE, f"{folder}@epoch-9", words=[str(folder), "has no 'epoch-9'", "epoch-1, epoch-2"])


# ------------------------------------------------------------------------------------------------ data


def test_no_image_column(refused, push_data):
    repo = push_data({"text": ["a", "b"], "label": [0, 1]}, text=datasets.Value("string"), label=PETS)
    refused("--dataset", repo, words=["No columns look like images", "text (string)", "--image_column"])


def test_no_label_column(refused, push_data):
    repo = push_data(
        {"image": [png(1), png(2)], "weight": [0.1, 0.2]}, image=datasets.Image(), weight=datasets.Value("float32")
    )
    refused("--dataset", repo, words=["No columns look like labels", "weight (float32)", "--label_column"])


def test_an_empty_class(refused, push_data):
    names = datasets.ClassLabel(names=["cat", "dog", "unicorn"])
    repo = push_data({"image": [png(1), png(2)], "label": [0, 1]}, image=datasets.Image(), label=names)
    refused("--dataset", repo, words=["1 of the 3 classes", "no training image", "unicorn"])


@pytest.mark.parametrize("init", ["real", "noise"])
def test_fewer_images_than_ipc(refused, pets, init):
    words = ["'dog'", "1 training images", "ipc is 2", "largest ipc possible is 1"]
    refused("--dataset", pets, "--ipc", "2", "--init", init, words=words)


def test_a_corrupt_image(refused, push_data):
    images = [png(1), {"bytes": png(2)["bytes"][:40], "path": None}]
    repo = push_data({"image": images, "label": [0, 1]}, image=datasets.Image(), label=PETS)
    refused("--dataset", repo, words=["Split 'train', row 1", "can't be decoded"])


def test_no_such_split(refused, pets):
    refused("--dataset", pets, "--train_split", "training", words=["'training'", "train", "--train_split"])


def test_teachers_need_a_test_split(pets, tmp_path):
    message = message_of("pretrain", "--dataset", pets, "--epochs", "1", "--output_dir", tmp_path / "teachers")
    says(message, pets, "no test split", "--test_split")
    assert traces(tmp_path) == [tmp_path / "train.parquet"]


# --------------------------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    "arguments, words",
    [
        ("--ipc 0", ["--ipc is 0", "at least 1"]),
        ("--ipc -1", ["--ipc is -1", "at least 1"]),
        ("--ipc 1.5", ["--ipc", "1.5"]),
        ("--iterations 0", ["--iterations is 0"]),
        ("--clom_alpha nan", ["--clom_alpha is nan", "finite"]),
        ("--clom_alpha inf", ["--clom_alpha is inf", "finite"]),
        ("--clom_alpha -1", ["--clom_alpha is -1.0"]),
        ("--image_learning_rate inf", ["--image_learning_rate is inf"]),
        ("--objective dn", ["--objective dn", "known are: dance, dm"]),
        ("--architecture ConvNt", ["ConvNt isn't known", "ConvNet, "]),
        ("--architecture_options wdth=8", ["'wdth'", "width, "]),
        ("--architecture_options width=0", ["width", "at least 1"]),
        ("--architecture_options width", ["'width'", "key=value"]),
        ("--augment color_flap", ["'flap'", "flip, "]),
        ("--clom_augment crop", ["--clom_augment", "add --clom ce or --clom cos"]),
        ("--clom_batch 2", ["--clom_batch", "add --clom ce or --clom cos"]),
        ("--clom ce --teachers a/b --clom_augment flap", ["'flap'", "flip, "]),
        ("--eval_students 1 --eval_architectures ConvNt", ["--eval_architectures ConvNt isn't known", "ConvNet, "]),
        ("--eval_students 1 --eval_augment flap", ["'flap'", "flip, "]),
        ("--dtype float64 --mixed_precision bf16", ["float64", "bf16", "contradict"]),
        ("--resume_from_checkpoint no/such/checkpoint", ["no/such/checkpoint", "isn't a readable checkpoint"]),
        ("--train_split test", ["--train_split", "digits", "leave it out"]),
    ],
)
def test_options_out_of_range(refused, arguments, words):
    refused(*arguments.split(), words=words)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ("--architectures ConvNet MPL", ["--architectures MPL isn't known", "MLP, "]),
        ("--architecture_options wdth=8", ["'wdth'", "width, "]),
        ("--augment flap", ["'flap'", "flip, "]),
        ("--epochs 0", ["--epochs is 0"]),
    ],
)
def test_options_of_teachers(tmp_path, arguments, words):
    says(message_of("pretrain", "--epochs", "1", "--output_dir", tmp_path, *arguments.split()), *words)
    assert traces(tmp_path) == []


# -------------------------------------------------------------------------------- folders, checkpoints


def content(folder):
    return {path: path.read_bytes() for path in traces(folder)}


def test_a_folder_that_holds_another_run(folder):
    before = content(folder)
    message = message_of("distill", *SMALL, "--output_dir", folder)
    says(
        message,
        str(folder),
        "another run",
        "--resume_from_checkpoint latest",
        "--overwrite_output_dir",
        "--output_dir",
    )
    assert content(folder) == before


@pytest.mark.parametrize(
    "wrong", ["--dataset local/nothing", "--architecture ConvNt", "--clom ce --teachers local/no@v"]
)
def test_a_slip_does_not_cost_the_run_that_was_to_be_overwritten(folder, wrong):
    before = content(folder)
    message_of("distill", *SMALL, "--output_dir", folder, "--overwrite_output_dir", *wrong.split())
    assert content(folder) == before


def test_a_folder_that_holds_another_teacher(tiny_teachers, tmp_path):
    root = tmp_path / "teachers"
    copy = Path(shutil.copytree(tiny_teachers.folders[2], root / tiny_teachers.folders[2].name))
    before = content(copy)
    arguments = ["pretrain", "--architectures", "MLP", "--epochs", "1", "--output_dir", root]
    says(message_of(*arguments), str(copy), "another run", "--overwrite_output_dir", "--output_dir")
    message_of(*arguments, "--overwrite_output_dir", "--augment", "flap")
    assert content(copy) == before


def test_a_checkpoint_of_another_configuration(folder):
    before = content(folder)
    for arguments, words in (
        (["--ipc", "2"], ["ipc: 1 there, 2 here"]),
        (["--seed", "1"], ["seed: 0 there, 1 here"]),
        (["--image_learning_rate", "0.5"], ["image_learning_rate: 1.0 there, 0.5 here"]),
    ):
        resume = ["--output_dir", folder, "--resume_from_checkpoint", "latest"]
        message = message_of("distill", *SMALL, *resume, *arguments)
        says(message, "step-000002", "another configuration", *words, "--output_dir")
        assert content(folder) == before


def test_a_broken_checkpoint(folder):
    tensors = folder / "checkpoints" / "step-000002" / "tensors.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:50])
    message = message_of("distill", *SMALL, "--output_dir", folder, "--resume_from_checkpoint", "latest")
    says(message, "step-000002", "isn't a readable checkpoint")


# ----------------------------------------------------------------------------------------------- pools


def test_a_pool_that_does_not_exist(refused):
    words = ["local/nothing-0123456789abcdef01234567", "doesn't exist", "private"]
    refused("--clom", "ce", "--teacher_pool", words[0], words=words)
    says(message_of("pool", "show", words[0]), *words)


def test_a_pool_with_a_dataset_in_it(refused, api, tiny_teachers, pets):
    made = hf_dd.create_pool("With a data set", tiny_teachers.references[:1])
    api.add_collection_item(made.slug, pets, "dataset")
    words = [made.slug, f"the dataset {pets}", "a pool holds models"]
    refused("--clom", "ce", "--teacher_pool", made.slug, words=words)


@pytest.mark.parametrize("note", ["my favourite", "epoch-1=1234", "", "final=" + "0" * 40 + " and more"])
def test_a_note_edited_by_hand(refused, api, tiny_teachers, unique, note):
    made = hf_dd.create_pool(unique(), tiny_teachers.references[:1])
    item = api.get_collection(made.slug).items[0]
    api.update_collection_item(made.slug, item.item_object_id, note=note)
    words = [made.items[0].repo_id, made.slug, repr(note), "hf-dd pool create"]
    refused("--clom", "ce", "--teacher_pool", made.slug, words=words)


def test_a_note_that_pins_a_commit_that_is_not_there(refused, api, tiny_teachers):
    made = hf_dd.create_pool("Gone", tiny_teachers.references[:1])
    item = api.get_collection(made.slug).items[0]
    api.update_collection_item(made.slug, item.item_object_id, note="final=" + "0" * 40)
    refused("--clom", "ce", "--teacher_pool", made.slug, words=[made.items[0].repo_id, "00000000", "no such"])


def test_a_note_that_the_hub_would_not_take(api, tiny_teachers, unique):
    repo = unique()
    api.create_repo(repo)
    api.upload_folder(repo_id=repo, folder_path=next(tiny_teachers.folders[0].glob("epoch-*")))
    for number in range(11):
        api.create_tag(repo, tag=f"epoch-{number}")
    title = "Too many revisions"
    references = [f"{repo}@epoch-{number}" for number in range(11)]
    message = message_of("pool", "create", title, *references)
    says(message, repo, "characters", "takes 500", "fewer of its revisions")
    assert title not in [collection.title for collection in api.list_collections(owner="local")]
    made = hf_dd.create_pool(title, references[:9])  # "about nine fit"
    assert len(made.items[0].note) <= 500


def test_a_description_that_the_hub_would_not_take(api, tiny_teachers):
    arguments = ["pool", "create", "Long", tiny_teachers.references[0], "--description", "x" * 151]
    says(message_of(*arguments), "151 characters", "takes 150")
    assert "Long" not in [collection.title for collection in api.list_collections(owner="local")]


def test_a_pool_of_what_does_not_exist_or_comes_twice(api, tiny_teachers):
    reference = tiny_teachers.references[0]
    says(message_of("pool", "create", "Nothing", reference, "local/nothing@final"), "local/nothing@final")
    says(message_of("pool", "create", "Nothing", reference, reference), reference, "twice")
    with pytest.raises(ConfigError, match="at least one teacher"):
        hf_dd.create_pool("Nothing", [])
    assert "Nothing" not in [collection.title for collection in api.list_collections(owner="local")]


def test_a_pool_in_a_namespace_of_somebody_else(tiny_teachers):
    message = message_of("pool", "create", "Bob's", tiny_teachers.references[0], "--namespace", "bob")
    says(message, '"Bob\'s" of bob', "write access")


# ---------------------------------------------------------------------------------------------- pushes


def test_a_folder_without_a_finished_run(tmp_path, folder):
    says(message_of("push", tmp_path / "nothing"), str(tmp_path / "nothing"), "no finished run", "hf_dd.json")
    (folder / "hf_dd.json").unlink()
    says(message_of("push", folder), str(folder), "no finished run", "hf_dd.json")
    (folder / "hf_dd.json").write_text("{")
    says(message_of("push", folder), str(folder / "hf_dd.json"), "isn't valid JSON")
    for text, word in (("[]", "list"), ("{}", "not a distilled set"), ('{"kind": "distilled-set"}', "this version")):
        (folder / "hf_dd.json").write_text(text)
        says(message_of("push", folder), str(folder), word)


def test_one_epoch_of_a_teacher_is_no_run(tiny_teachers):
    run = tiny_teachers.folders[0]
    says(message_of("push", run / "epoch-1"), "is one epoch of a teacher", f"`hf-dd push {run}`")


def test_a_tag_that_exists(folder, unique, api):
    repo = unique()
    first = Artefact.open(folder).push(repo, tag="v1")
    assert Artefact.open(folder).push(repo, tag="v1").pin == first.pin  # the very same is there already
    record = json.loads((folder / "hf_dd.json").read_text()) | {"command": "another"}
    (folder / "hf_dd.json").write_text(json.dumps(record))
    message = message_of("push", folder, "--hub_dataset_id", repo, "--hub_tag", "v1")
    says(message, f"{repo} has a tag v1", first.pin.sha[:8], "another --hub_tag", "Nothing is lost")
    assert len(api.list_repo_commits(repo, repo_type="dataset")) == 2  # the initial one, and the first push's
    assert Artefact.open(folder).push(repo).pin.revision == "v2"  # the next free one


def retry_of(message):
    """The command that an error says to try again."""
    return shlex.split(re.search(r"Retry: (hf-dd push .*)$", message)[1])


def test_a_namespace_one_cannot_write_to(tmp_path, finished, unique, capsys):
    folder = Path(shutil.copytree(finished, tmp_path / "a set's folder"))
    before = content(folder)
    taken, free = unique("bob"), unique()
    message = message_of("push", folder, "--hub_dataset_id", taken, "--hub_tag", "v3", "--hub_private_repo")
    says(message, f"dataset {taken}", "write access", "Nothing is lost", f"{folder} holds the set")
    assert content(folder) == before  # its card doesn't say that it was pushed
    assert "Retry:" not in message  # it would be refused again
    cli.main(["push", str(folder), "--hub_dataset_id", free, "--hub_tag", "v3", "--hub_private_repo"])
    assert capsys.readouterr().out.startswith(f"pushed: {free}@v3 (")
    assert datasets.load_dataset(free, revision="v3", split="train").num_rows == 10
    assert Artefact.open(folder).record.pushed == {"repo_id": free, "tag": "v3"}
    assert HfApi().repo_info(free, repo_type="dataset").private


def test_a_pull_request_promises_no_tag(folder, unique, api):
    repo = unique()
    api.create_repo(repo, repo_type="dataset")
    done = Artefact.open(folder).push(repo, create_pr=True)
    assert done.pull_request and api.list_repo_refs(repo, repo_type="dataset").tags == []
    assert Artefact.open(folder).record.pushed == {"repo_id": repo, "tag": None}
    assert f'load_dataset("{repo}", split="train")' in (folder / "README.md").read_text()


def test_a_push_keeps_what_an_evaluation_has_written_since(folder, unique):
    early = Artefact.open(folder)
    hf_dd.evaluate(sets=[str(folder)], eval_students=1, eval_epochs=1, baselines=[])
    repo = unique()
    early.push(repo)
    message_of("push", folder, "--hub_dataset_id", repo, "--hub_tag", "main")  # a push that fails keeps it, too
    record = Artefact.open(folder).record
    assert record.results["rows"][0]["n"] == 1 and record.pushed == {"repo_id": repo, "tag": "v1"}
    assert "Not evaluated yet" not in (folder / "README.md").read_text()


def test_a_distillation_whose_push_is_cut_keeps_its_result(tmp_path, unique, monkeypatch):
    folder, repo = tmp_path / "run", unique()

    def cut(self, *given, **named):
        raise RuntimeError("Error while uploading")

    push = ["--push_to_hub", "--hub_dataset_id", repo, "--hub_tag", "v1"]
    with monkeypatch.context() as patch:
        patch.setattr(HfApi, "create_commit", cut)
        message = message_of("distill", *SMALL, "--output_dir", folder, *push)
    says(message, repo, "Error while uploading", "Nothing is lost", str(folder))
    assert Artefact.open(folder).load().num_rows == 10 and Artefact.open(folder).record.pushed is None
    cli.main(retry_of(message)[1:])
    assert Artefact.open(folder).record.pushed == {"repo_id": repo, "tag": "v1"}


# ------------------------------------------------------------------------------------ teachers' pushes


@pytest.fixture
def run_folder(tiny_teachers, tmp_path, unique):
    """A copy of a teacher's run under a name that no repository has."""

    def copy(name=None, teacher=0):
        name = name or unique().split("/")[1]
        folder = Path(shutil.copytree(tiny_teachers.folders[teacher], tmp_path / f"{teacher}" / name))
        record = json.loads((folder / "hf_dd.json").read_text())
        (folder / "hf_dd.json").write_text(json.dumps(record | {"name": name}))
        return folder

    return copy


@pytest.mark.parametrize("tagged", [True, False], ids=["after a revision", "between a commit and its tag"])
def test_an_interrupted_push_of_a_teacher_goes_on(run_folder, api, tagged, tmp_path, monkeypatch):
    folder = run_folder()
    repo = f"local/{folder.name}"
    pushed = Path(shutil.copytree(folder / "epoch-1", tmp_path / "pushed"))
    (pushed / "README.md").write_text(teacher_folder.read_teacher(pushed).card(hf_dd.hub.endpoint(), repo))

    def interrupted(self, *given, **named):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        if not tagged:
            patch.setattr(HfApi, "create_tag", interrupted)
        files = ["*.json", "*.safetensors", "*.md"]
        hf_dd.hub.publish(pushed, repo, "model", files=files, message="Epoch 1", tag="epoch-1")
    first = api.list_repo_commits(repo)[0].commit_id
    final = teacher_folder.push_teacher(folder)
    tags = {ref.name: ref.target_commit for ref in api.list_repo_refs(repo).tags}
    assert tags == {"epoch-1": first, "epoch-2": final.sha, "final": final.sha}
    assert len(api.list_repo_commits(repo)) == 3  # the initial one and two epochs: nothing was pushed twice
    for epoch in (1, 2):
        pulled = hf_dd.hub.pull(hf_dd.hub.resolve(f"{repo}@epoch-{epoch}"))
        expected = (folder / f"epoch-{epoch}" / "model.safetensors").read_bytes()
        assert (pulled / "model.safetensors").read_bytes() == expected


def test_pushing_a_teacher_again_changes_nothing(tiny_teachers, api):
    repo = tiny_teachers.references[0].split("@")[0]
    before = [commit.commit_id for commit in api.list_repo_commits(repo)]
    assert distilled_folder.push(tiny_teachers.folders[0]).sha == before[0]
    assert [commit.commit_id for commit in api.list_repo_commits(repo)] == before


def test_a_repository_with_the_weights_of_another_run(run_folder, api):
    first = run_folder(teacher=0)
    other = run_folder(name=first.name, teacher=1)
    distilled_folder.push(first)
    before = api.list_repo_refs(f"local/{first.name}").tags
    message = message_of("push", other)
    says(message, f"local/{first.name} holds the weights of another run than {other}", f"or delete local/{first.name}")
    says(message, f"`hf-dd push {other} --hub_dataset_id OWNER/NAME`")
    assert api.list_repo_refs(f"local/{first.name}").tags == before


def test_a_teacher_under_another_name(run_folder, unique, capsys):
    folder, repo = run_folder(), unique()
    message = message_of("push", folder, "--hub_dataset_id", repo, "--hub_tag", "v1")
    says(message, "tags of its epochs", "leave out --hub_tag")
    cli.main(["push", str(folder), "--hub_dataset_id", repo])
    assert capsys.readouterr().out.startswith(f"pushed: {repo}@final (")
    name = unique().split("/")[1]
    assert distilled_folder.push(folder, name).repo_id == f"local/{name}"


def test_a_teacher_for_a_namespace_one_cannot_write_to(run_folder, api, capsys):
    folder = run_folder()
    with pytest.raises(HubError) as error:
        teacher_folder.push_teacher(folder, "bob", private=True)
    says(str(error.value), f"model bob/{folder.name}", "write access", "Nothing is lost", str(folder))
    assert "Retry:" not in str(error.value)  # it would be refused again
    cli.main(["push", str(folder), "--hub_dataset_id", f"lab/{folder.name}", "--hub_private_repo"])
    assert capsys.readouterr().out.startswith(f"pushed: lab/{folder.name}@final (")
    assert api.model_info(f"lab/{folder.name}", revision="final").private


# ---------------------------------------------------------------------------------------------- Python


def test_options_beside_a_config_replace_its_own(tmp_path, tiny_teachers):
    config = DistillConfig(iterations=1, real_batch_size=4, eval_students=0, output_dir=str(tmp_path / "run"))
    pool = hf_dd.TeacherPool.from_references(tiny_teachers.references[:1])
    with pytest.raises(ConfigError, match="add --clom ce or --clom cos"):
        hf_dd.distill(config, pool=pool)
    settings = hf_dd.distill(config, pool=pool, clom="ce", ipc=2).record.settings
    assert (settings["clom"], settings["ipc"], settings["iterations"]) == ("ce", 2, 1)


def test_the_functions_raise_what_the_command_line_says(tmp_path, tiny_teachers, pets):
    place = {"output_dir": str(tmp_path / "run"), "eval_students": 0, "iterations": 1, "ipc": 1}
    for error, options in (
        (HubError, {"clom": "ce", "teachers": ["local/nothing@final"]}),
        (TeacherError, {"clom": "ce", "teachers": tiny_teachers.references, "dataset": pets}),
        (DataError, {"dataset": pets, "ipc": 2}),
        (ConfigError, {"objective": "dn"}),
    ):
        with pytest.raises(error):
            hf_dd.distill(**place | options)
    with pytest.raises(RunError):
        Artefact.open(tmp_path / "run")
    assert traces(tmp_path / "run") == []


# --- a reader that goes


@pytest.mark.parametrize("arguments, told", [(["--help"], ""), (["env"], "hf-dd env: loading libraries\n")])
def test_a_reader_that_has_gone_is_no_error_to_speak_of(arguments, told):
    command = [sys.executable, "-m", "hf_dd", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    assert (process.stderr.read(), process.wait()) == (told, 1)


@pytest.mark.parametrize("arguments", ["--help", "distill --help"])
@pytest.mark.parametrize(
    "way, status, told",
    [
        (">/dev/full", 1, "hf-dd: error: the standard output can't be written: No space left on device.\n"),
        (">&-", 0, ""),
        ("2>&- >/dev/null", 0, ""),
    ],
)
def test_a_standard_output_that_takes_nothing_is_one_line(arguments, way, status, told):
    done = subprocess.run(
        f"{sys.executable} -m hf_dd {arguments} {way}", shell=True, stderr=subprocess.PIPE, text=True
    )
    assert (done.returncode, done.stderr) == (status, told)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_what_an_encoding_lacks_is_spelt_out(encoding, monkeypatch):
    shown = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(sys, "stdout", shown)
    monkeypatch.setitem(cli.COMMANDS, "env", cli.COMMANDS["env"]._replace(run=lambda options: "12.3 ± 0.4 of α"))
    cli.main(["env"])
    plus = "\\xb1" if encoding == "ascii" else "±"
    assert shown.buffer.getvalue().decode(encoding) == f"12.3 {plus} 0.4 of \\u03b1\n"


def test_the_broken_pipe_of_something_else_is_not_hidden(monkeypatch, tmp_path):
    def broken(arguments):
        raise BrokenPipeError("a socket's")

    monkeypatch.setitem(cli.COMMANDS, "env", cli.COMMANDS["env"]._replace(run=broken))
    with (tmp_path / "read").open("w") as file:
        monkeypatch.setattr(sys, "stdout", file)
        with pytest.raises(BrokenPipeError, match="a socket's"):
            cli.main(["env"])
