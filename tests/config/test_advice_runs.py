"""Messages that give something to type: it is typed as printed, and does what was promised."""

import re
import shlex
import tomllib
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch

import hf_dd
from hf_dd import cli
from hf_dd.config import ImportConfig
from hf_dd.data.fixed_forms import digits_rows
from hf_dd.importing.formats import read_foreign
from tests.config.stock import pictures
from tests.config.test_advice import ROOT, SAID
from tests.factories import message_of

DIGITS = ["--dataset", "digits"]
CHOICE = ["--ipc", "1", "--eval_students", "0", "--output_dir", "out", "--objective", "random"]
METHOD = [*CHOICE[:-2], "--iterations", "1", "--architecture_options", "width=8", "depth=1"]
SMALL = [*METHOD, "--real_batch_size", "4"]
TRAINED = [*DIGITS, "--architecture_options", "width=8", "depth=1", "--epochs", "2", "--output_dir", "teachers"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def printed(message, pattern):
    """The words of a command line that a message gives, without the dots that say that it goes on."""
    found = re.search(pattern, message)
    assert found, message
    return [word for word in shlex.split(found[1]) if word != "…"]


def test_every_extra_that_is_named_is_one():
    extras = tomllib.loads((ROOT.parent / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {}
    for path in ROOT.rglob("*.py"):
        for extra in re.findall(r"hf-dd\[([\w,-]+)\]", path.read_text(encoding="utf-8")):
            named |= dict.fromkeys(extra.split(","), path)
    assert len(named) >= 3 and named.keys() <= extras.keys()


@pytest.mark.parametrize("way", ["--resume_from_checkpoint latest", "--overwrite_output_dir", "--output_dir"])
def test_a_folder_that_holds_another_run(way):
    run = ["distill", *DIGITS, *SMALL]
    cli.main(run)
    message = message_of(*run)
    option = printed(message, f"({way})")
    cli.main([*run, *option, *(["another"] if way == "--output_dir" else [])])
    assert hf_dd.Artefact.open("another" if way == "--output_dir" else "out").load().num_rows == 10


def test_images_of_many_sizes():
    images, labels = pictures()
    sized = [np.kron(image, np.ones((1 + k, 1 + k), np.uint8)) for k, image in enumerate(images)]
    columns = {"image": [np.ascontiguousarray(image) for image in sized], "label": labels}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b", "c"])})
    Path("data").mkdir()
    datasets.Dataset.from_dict(columns, features=features).to_parquet("data/train.parquet")
    run = ["distill", "--dataset", "data", *CHOICE]
    option = printed(message_of(*run), r"such as (--image_size \d+)")
    cli.main([*run, *option])
    assert hf_dd.Artefact.open("out").record.data["image_size"] == [int(option[1])] * 2


@pytest.mark.parametrize(
    ("wrong", "pattern"),
    [
        (["--train_split", "valid"], r"there are: (\w+), \w+\. Name one with --train_split"),
        (["--image_column", "nothing"], r"the columns are (\w+) "),
    ],
    ids=["split", "column"],
)
def test_names_that_are_listed_are_taken(wrong, pattern):
    images, labels = pictures()
    features = datasets.Features({"picture": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b", "c"])})
    rows = datasets.Dataset.from_dict({"picture": list(images), "label": labels}, features=features)
    datasets.DatasetDict({"train": rows, "more": rows}).save_to_disk("data")
    run = ["distill", "--dataset", "data", *CHOICE]
    (name,) = printed(message_of(*run, *wrong), pattern)
    cli.main([*run, wrong[0], name])


def test_lists_of_labels_are_made_single_by_the_line_that_is_printed():
    images, labels = pictures()
    features = datasets.Features({"image": datasets.Image(), "label": datasets.List(datasets.Value("int64"))})
    rows = {"image": list(images), "label": [[label] for label in labels]}
    dataset = datasets.Dataset.from_dict(rows, features=features)
    Path("data").mkdir()
    dataset.to_parquet("data/train.parquet")
    message = message_of("distill", "--dataset", "data", *CHOICE)
    code = re.search(r"as in (dataset\.map\(.*?\)) where", message)[1].replace(".index(1)", "[0]")
    eval(code, {"dataset": dataset}).to_parquet("data/train.parquet")
    cli.main(["distill", "--dataset", "data", *CHOICE])


def test_a_file_of_numpy_is_saved_as_tensors_by_the_line_that_is_printed():
    rows = digits_rows()
    chosen = np.concatenate([rows[rows[:, -1] == label][:10] for label in range(10)])
    images = (chosen[:, :-1] / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    np.savez("set.npz", images=images, labels=chosen[:, -1].astype(int))
    message = message_of("import", "set.npz", *DIGITS)
    code = re.search(r"as in (a = np\.load.*'set\.pt'\))", message)[1]
    exec(code, {"np": np, "torch": torch})
    read = read_foreign(ImportConfig(foreign_set="set.pt", dataset="digits"))
    assert np.array_equal(read.pixels, images) and read.labels.tolist() == chosen[:, -1].tolist()


def test_a_file_that_only_loads_by_running_code_is_saved_as_tensors_by_the_line_that_is_printed():
    rows = digits_rows()
    chosen = np.concatenate([rows[rows[:, -1] == label][:10] for label in range(10)])
    images = torch.tensor(chosen[:, :-1] / 16, dtype=torch.float32).view(-1, 1, 8, 8)
    labels = torch.tensor(chosen[:, -1], dtype=torch.int64)
    torch.save({"images": images, "labels": labels, "made": Path("here")}, "set.pt")
    message = message_of("import", "set.pt", *DIGITS)
    code = re.search(r"as in (torch\.save\(.*?\))\.", message)[1]
    content = torch.load("set.pt", weights_only=False)
    exec(code, {"torch": torch, "images": content["images"], "labels": content["labels"]})
    read = read_foreign(ImportConfig(foreign_set="plain.pt", dataset="digits"))
    assert torch.equal(torch.as_tensor(read.pixels), images) and read.labels.tolist() == labels.tolist()


def test_a_head_is_fitted_by_the_option_that_is_printed(tiny_teachers):
    """On teachers of ten digits, where the data set has three classes of other names."""
    images, labels = pictures()
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b", "c"])})
    Path("data").mkdir()
    columns = {"image": list(images), "label": labels}
    datasets.Dataset.from_dict(columns, features=features).to_parquet("data/train.parquet")
    guided = ["--dataset", "data", *SMALL, "--real_batch_size", "2", "--clom", "ce"]
    run = ["distill", *guided, "--teachers", tiny_teachers.references[0]]
    command, option = printed(message_of(*run), r"`hf-dd (distill --fit_head)`")
    cli.main([command, option, *run[1:]])
    (teacher,) = hf_dd.Artefact.open("out").record.teachers
    assert teacher["head"]["data"] == "data" and hf_dd.Artefact.open("out").load().num_rows == 3


def test_a_teachers_folder_is_made_by_the_command_that_is_printed():
    run = ["distill", *DIGITS, *SMALL, "--clom", "ce", "--teachers"]
    Path("empty").mkdir()
    (command,) = printed(message_of(*run, "./empty"), r"a run or an epoch of `hf-dd (pretrain)`")
    cli.main([command, *TRAINED])
    (folder,) = Path("teachers").iterdir()
    cli.main([*run, f"./{folder}"])
    assert hf_dd.Artefact.open("out").load().num_rows == 10


@pytest.mark.parametrize(
    ("wrong", "more"),
    [
        (["--objective", "mtt"], ["--experts"]),
        (["--objective", "sre2l", "--teachers"], ["--teachers"]),
    ],
    ids=["trajectories", "networks with batch norm"],
)
def test_teachers_that_a_method_needs_are_made_by_the_command_that_is_printed(wrong, more, tiny_teachers):
    run = ["distill", *DIGITS, *METHOD]
    message = message_of(*run, *wrong, *(tiny_teachers.references[2:] if "--teachers" in wrong else []))
    command = printed(message, r"`hf-dd (pretrain [^`]*)`")
    cli.main([*command, *TRAINED])
    (folder,) = Path("teachers").iterdir()
    options = ["expert_epochs=1", "max_start_epoch=1", "student_steps=1"] if "mtt" in wrong else ["batch=10"]
    made = f"{folder}" if "mtt" in wrong else f"{folder}@final"
    cli.main([*run, *wrong[:2], *more, made, "--objective_options", *options])
    assert hf_dd.Artefact.open("out").load().num_rows == 10


def test_a_recipe_that_lies_here_is_read_as_it_is_printed():
    Path("mine.yaml").write_text("dataset: digits\nipc: 2\n")
    message = message_of("distill", "--config", "mine", *SMALL)
    (file,) = printed(message, r"give it as (\S+)\. ")
    cli.main(["distill", "--config", file, *SMALL[2:]])
    assert hf_dd.Artefact.open("out").record.settings["ipc"] == 2


def test_what_is_kept_is_listed_by_the_command_that_is_printed(capsys):
    message = message_of("cache", "rm", "nothing-of-this-name")
    cli.main(printed(message, "`hf-dd (cache ls)`"))
    assert capsys.readouterr().out


def test_a_lock_is_written_by_the_command_that_is_printed(tiny_teachers):
    Path("pool.json").write_text("{}")
    guided = ["distill", *DIGITS, *SMALL, "--clom", "ce", "--teacher_pool", "pool.json"]
    command = printed(message_of(*guided), "`hf-dd (pool create --output pool.json)`")
    cli.main([*command, "A pool of advice", tiny_teachers.references[0]])
    cli.main(guided)
    assert len(hf_dd.Artefact.open("out").record.teachers) == 1


def test_commands_that_take_more_say_what():
    """Where nothing but the command was typed, the message's example is a command, with names for what one adds."""
    needed = [(place, text) for place, text in SAID if re.search(r"Name the .*: `?hf-dd ", text)]
    assert len(needed) >= 6
    for place, text in needed:
        words = re.search(r"hf-dd ([a-z ]+)", text)[1].split()
        message = message_of(*words)
        assert re.sub("[`.]", "", text).split("hf-dd ")[1] in re.sub("[`.]", "", message), place
