"""The ways out of messages on folders of runs, budgets and what runs warn of, typed as they are printed."""

import fcntl
import os
import re
import shutil
from pathlib import Path

import datasets
import pytest

from tests.config.stock import filled, made, run, write
from tests.config.ways import cases, row, take
from tests.factories import message_of

HELD = []  # descriptors of folders that another process would hold


@made
def make_many(stock, folder):
    """Data without a split to test on, enough of it to plan."""
    rows = datasets.load_from_disk(stock["dim"])
    datasets.DatasetDict({"train": rows["train"], "more": rows["test"]}).save_to_disk(str(folder))
    return folder


@made
def make_many_taught(stock, folder):
    run = "pretrain --dataset {many} --test_split more --epochs 1 --architectures MLP"
    return f"{stock.run(run, folder)}/many-mlp-seed0"


def hold(stock):
    """As another process would hold the folder."""
    Path("out").mkdir()
    HELD.append(os.open("out", os.O_RDONLY))
    fcntl.flock(HELD[-1], fcntl.LOCK_EX)


FOLDERS = [
    row("Another run is writing into", "{dm}", "another (--output_dir) -> {0} another", first=hold),
    row(
        "… is a checkpoint of another configuration",
        "{dm} --save_steps 1 --seed 1 --resume_from_checkpoint latest",
        "Resume with the options it was made with -> --seed 0",
        "give another (--output_dir) -> {0} another",
        first="hf-dd {dm} --save_steps 1",
    ),
    row(
        " It is the folder of a run: give",
        "{dm} --save_steps 1 --resume_from_checkpoint ran",
        "(--output_dir ran) and (?:--resume_from_checkpoint latest) -> {0} --resume_from_checkpoint latest",
        "its checkpoints, (\\S+)/step-N -> --resume_from_checkpoint {0}/step-000001",
        first="hf-dd {dm} --save_steps 1 --output_dir ran",
    ),
    row(
        "… isn't empty, and what it holds is no …: give",
        "{dm}",
        "another (--output_dir) -> {0} another",
        first=lambda stock: filled("out"),
    ),
    row(
        "The loss is no finite number any more",
        "{dm} --iterations 4 --image_learning_rate 1e38",
        "a smaller (--image_learning_rate) or .*, with (?:--overwrite_output_dir) -> {0} 0.1 --overwrite_output_dir",
    ),
    row(
        "The loss is no finite number any more",
        "{dm} --iterations 4 --clom ce --teachers {mlp} --clom_alpha 1e38",
        "or (--clom_alpha), with --overwrite_output_dir -> {0} 0.1 --overwrite_output_dir",
    ),
    row(
        " What was begun is replaced by --overwrite",
        "{dm} --real_batch_size 999999999999999999",
        "by smaller values of .*(--real_batch_size).*by (?:--overwrite_output_dir) -> {0} 2 --overwrite_output_dir",
    ),
    row(
        "… isn't empty, and what it holds is no …: give",
        "pretrain {trained} --architectures MLP",
        "another (--output_dir) -> {0} another",
        first=lambda stock: filled("teachers/digits-mlp-seed0"),
    ),
    row(
        "… holds another …: give --overwrite_output_dir",
        "pretrain {trained} --architectures MLP --learning_rate 0.02",
        "--overwrite_output_dir",
        "or another (--output_dir) -> {0} another",
        first="hf-dd pretrain {trained} --architectures MLP",
    ),
    row(
        "… Plan anew by --overwrite_output_dir in",
        "{dm} --clom none --minutes 1 --resume_from_checkpoint latest",
        "anew by (--overwrite_output_dir) in the place of --resume_from -> {0} !--resume_from_checkpoint",
        "another (--output_dir) -> {0} another",
        first=lambda stock: write("out/plan.json", '{"request": {}}'),
    ),
    row(
        "Class … of … has … training images, too few to plan on",
        "{dm} --dataset {three} --real_batch_size 2 --ipc 3 --minutes 1 --plan",
        "Give a smaller ipc, or -> --ipc 1",
        "without (--minutes) -> !{0} !--plan",
    ),
    row(
        ("Class … of … has … training images, too few to plan on", "a smaller --factor"),
        "{dm} --dataset {tagged} --ipc 5 --factor 2 --minutes 1 --plan",
        "Give a smaller ipc, a smaller (--factor), or -> {0} 1",
        "without (--minutes) -> !{0} !--plan",
    ),
    row(
        "… has no test split, on which teachers are tested",
        "{dm} --dataset {many} --real_batch_size 2 --clom ce --minutes 1 --plan",
        "by (--test_split), -> {0} more",
        "give (--teachers) for -> {0} {many_taught}",
    ),
    row(
        "--minutes … is too short: …",
        "{dm} --clom none --minutes 0.001",
        "Give more -> --minutes 1",
    ),
    row(
        "--minutes … is too short: …",
        "{dm} --clom none --minutes 1 {students} --eval_epochs 1000000000",
        ", (--eval_students) or -> {0} 0",
        "or (--eval_epochs), -> {0} 1",
        "smaller (--image_size) -> {0} 7 --eval_epochs 1",
    ),
    row(
        "--minutes … is too short for images of …",
        "distill --dataset {many} --clom none --minutes 0.002 --image_size 512 --iterations 5 --eval_students 0 "
        "--output_dir out",
        "Give more -> --minutes 1 --image_size 8",
        "smaller (--image_size) -> {0} 8 --minutes 1",
    ),
    row(
        "--minutes … is too short: …",
        "{dm} --clom none --minutes 1 --iterations 1000000000",
        "fewer (--iterations), -> {0} 1",
    ),
]
WARNED = [
    row(
        "; --baselines random herding tells",
        "evaluate {set} {evaluated}",
        "(--baselines random herding) tells",
    ),
    row(
        "%d of %d images have run far",
        "{dm} --image_learning_rate 1e6",
        "Try a smaller (--image_learning_rate) -> {0} 1 --overwrite_output_dir",
    ),
    row(
        ("%d of %d images have run far", "--clom_alpha auto or smaller"),
        "{dm} --clom ce --teachers {mlp} --clom_alpha 1e9",
        "Try (--clom_alpha auto) or -> {0} --overwrite_output_dir",
    ),
    row(
        ("%d of %d images have run far", "a smaller --clom_balance"),
        "{dm} --clom ce --teachers {mlp} --clom_alpha auto --clom_balance 1e9",
        "Try a smaller (--clom_balance) -> {0} 1 --overwrite_output_dir",
    ),
    row(
        "The students learned nothing",
        "pool select --dataset digits --ipc 1 {small} --iterations 2 --first_rung 1 --clom_alpha 10 --eval_students 1 "
        "--eval_epochs 1 --eval_architectures MLP --eval_augment none --teachers {mlp} --output_dir out",
        "with more (--eval_epochs), and into another --output_dir -> {0} 40 --output_dir other",
    ),
    row(
        "The pyramid has %d levels",
        "distill {digits} --objective lgm --iterations 1 --teachers {mlp}",
        "a smaller (pyramid_steps) by (?:--objective_options) -> --objective_options {0}=1 --iterations 4 "
        "--overwrite_output_dir",
    ),
    row(
        "The paper's views crop down",
        "distill {digits} --objective lgm --iterations 1 --teachers {mlp} --objective_options pyramid_steps=1",
        "(--objective_options views=by_size), which -> {0} --overwrite_output_dir",
    ),
]


@pytest.fixture(scope="module", autouse=True)
def let_go():
    yield
    while HELD:
        os.close(HELD.pop())


@pytest.mark.usefixtures("one_thread", "one_classifier")
@pytest.mark.parametrize(**cases(FOLDERS))
def test_the_way_is_open(row, way, stock, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    take(row, way, stock)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(**cases(WARNED))
def test_what_a_warning_advises_is_done(row, way, stock, tmp_path, monkeypatch, capsys, caplog):
    def said(*words):
        run(list(words))
        return " ".join([*caplog.messages, *capsys.readouterr().out.split()])

    monkeypatch.chdir(tmp_path)
    take(row, way, stock, said)


def test_a_checkpoint_that_is_broken_is_removed_as_the_message_says(stock, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stock.type("hf-dd {dm} --save_steps 1 --iterations 2")
    (Path("out") / "hf_dd.json").unlink()
    Path("out/checkpoints/step-000002/tensors.safetensors").write_bytes(b"")
    words = stock.words("{dm} --save_steps 1 --iterations 2 --resume_from_checkpoint")
    message = message_of(*words, "out/checkpoints/step-000002")
    shutil.rmtree(re.search(r"(\S+) isn't a readable checkpoint", message)[1])
    run([*words, re.search(r"--resume_from_checkpoint (latest) goes on", message)[1]])
