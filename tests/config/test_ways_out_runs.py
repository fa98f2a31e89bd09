"""The ways out of messages on teachers, experts, folders of runs, studies and uses, typed as they are printed."""

import fcntl
import os
import re
import shutil
from pathlib import Path

import datasets
import pytest
import timm
import torch
import yaml
from huggingface_hub import HfApi

from hf_dd.errors import ConfigError
from hf_dd.teachers.pool import TeacherPool
from tests.config.ways import Stock, cases, row, run, take
from tests.factories import distil, message_of
from tests.teachers.test_own_modules import teacher_of

KEPT = "{one_block} --epochs 2 --keep_epochs 0 1 2"
MTT = "distill {digits} --objective mtt --iterations 1 {one_block} {steps} --experts {experts}"
BETWEEN = "{dm} --networks between {two_blocks}"
SELECT = "pool select {select} --teachers {mlp}"
CONTINUAL = (
    "use continual {set} --orders 1 --eval_epochs 1 --eval_architecture MLP --baselines random --output_dir out"
)
SEARCH = (
    "use search {set} --networks 5 --depths 1 --widths 8 --norms none batch layer instance group --activations relu "
    "--poolings avg --full_epochs 1 --eval_epochs 1 --eval_students 1 --baselines random --output_dir out"
)
STUDY = {
    "base": {"dataset": "digits", "objective": "random", "ipc": 1, "eval_students": 1, "eval_epochs": 1}
    | {"eval_architectures": ["MLP"]},
    "cells": {"plain": {}, "other": {"objective": "herding"}},
    "comparisons": {"gain": [["other", "plain"]]},
}
HELD = []  # descriptors of folders that another process would hold


class Runs(Stock):
    """Trajectories, teachers that lack something, studies."""

    def __init__(self, *given):
        super().__init__(*given)
        self["steps"] = "--objective_options expert_epochs=1 max_start_epoch=1 student_steps=1"
        self["select"] = (
            f"--dataset digits --ipc 1 --iterations 2 --first_rung 1 --real_batch_size 4 {self['one_block']} "
            " --clom_alpha 10 --eval_architectures MLP --eval_students 1 --eval_epochs 1 --output_dir out"
        )

    def make_experts(self, folder):
        """The run of a ConvNet with epochs 0, 1 and 2."""
        self.run("pretrain {trained} --batch_size 64 --learning_rate 0.1 " + KEPT, folder)
        return folder / "digits-convnet-seed0"

    def make_dim_experts(self, folder):
        self.run(f"pretrain {{trained}} --dataset {{dim}} {KEPT}", folder)
        return folder / "dim-convnet-seed0"

    def make_later(self, folder):
        """The same with epochs 1 and 2 alone."""
        self.run(f"pretrain {{trained}} {KEPT} --keep_epochs 1 2", folder)
        return folder / "digits-convnet-seed0"

    def make_whitened(self, folder):
        self.run(f"pretrain {{trained}} {KEPT} --zca", folder)
        return folder / "digits-convnet-seed0"

    def make_last(self, folder):
        """The run of a ConvNet that kept its last epoch alone."""
        self.run("pretrain {trained} {two_blocks} --keep_epochs 1", folder)
        return folder / "digits-convnet-seed0"

    def make_bare(self, folder):
        """A repository without tags."""
        HfApi().create_repo("local/ways-bare", exist_ok=True)
        return "local/ways-bare"

    def make_of_timm(self, folder):
        """A model of timm that knows its classes."""
        return self.timm(folder, True)

    def make_pickled(self, folder):
        return self.timm(folder, False)

    def timm(self, folder, safe):
        model = timm.create_model("test_byobnet", num_classes=10)
        names = {"label_names": [str(digit) for digit in range(10)]}
        timm.models.save_for_hf(model, folder, model_config=names, safe_serialization=safe)
        if not safe:
            torch.save(model.state_dict(), folder / "pytorch_model.bin")
        return folder

    def make_nameless(self, folder):
        """A folder of config.json alone, which says nothing."""
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        return folder

    def make_recordless(self, folder):
        """An epoch of a teacher without its record's origin."""
        shutil.copytree(Path(self["local"]) / "epoch-2", folder)
        (folder / "hf_dd.json").write_text('{"kind": "teacher"}')
        return folder

    def make_many(self, folder):
        """Data without a split to test on, enough of it to plan."""
        rows = datasets.load_from_disk(self["dim"])
        datasets.DatasetDict({"train": rows["train"], "more": rows["test"]}).save_to_disk(str(folder))
        return folder

    def make_many_taught(self, folder):
        run = "pretrain --dataset {many} --test_split more --epochs 1 --architectures MLP"
        return f"{self.run(run, folder)}/many-mlp-seed0"

    def make_study(self, folder):
        return self.recipe(folder, STUDY)

    def make_seeded(self, folder):
        """A recipe that gives its cells a seed."""
        return self.recipe(folder, STUDY | {"cells": {"plain": {"seed": 1}}, "comparisons": {}})

    def make_split(self, folder):
        """A recipe whose cells share no student."""
        other = STUDY["cells"]["other"] | {"eval_architectures": ["ConvNetD1"]}
        return self.recipe(folder, STUDY | {"cells": {"plain": {}, "other": other}})

    def recipe(self, folder, content):
        folder.mkdir()
        (folder / "own.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
        return folder / "own.yaml"


def hold(stock):
    """As another process would hold the folder."""
    Path("out").mkdir()
    HELD.append(os.open("out", os.O_RDONLY))
    fcntl.flock(HELD[-1], fcntl.LOCK_EX)


def filled(folder):
    """A folder that holds something else."""
    write(f"{folder}/other/notes.txt", "mine")


def write(path, text):
    Path(path).parent.mkdir(parents=True)
    Path(path).write_text(text)


EXPERTS = [
    row(
        "--soft_labels … would replace the labels",
        MTT + " --objective datm --teachers {mlp} --soft_labels mean",
        "(--soft_labels) mean.*leave it out -> !{0} !--teachers",
    ),
    row("--compile doesn't work with", MTT + " --compile", "(--compile).*Leave it out -> !{0}"),
    row(
        "--objective_options max_start_epoch=…: the earliest",
        MTT + " --experts {later}",
        r"start before (max_start_epoch)\. -> --objective_options {0}=2 expert_epochs=1 student_steps=1",
    ),
    row(
        "--architecture …: this run asks experts about images",
        MTT + " --architecture ConvNetBN --init expert-correct",
        "(--architecture) ConvNetBN.*Choose a network without -> {0} ConvNet",
    ),
    row(
        "The experts classify … training images",
        MTT + " --init expert-correct --ipc 139",
        "give (--init real)",
    ),
    row(
        "Expert … has no … epoch-0, epoch-1",
        MTT + " --experts {bare}",
        "`(hf-dd pretrain --keep_epochs 0 1 2) …` makes one -> {0} {trained} --epochs 2 {one_block}"
        "; --experts teachers/digits-convnet-seed0",
    ),
    row(
        "Expert … lacks epochs",
        MTT + " --objective_options expert_epochs=3 max_start_epoch=1 student_steps=1",
        r"\(`(hf-dd pretrain --keep_epochs 0 1 2) …`\) -> {0} 3 {trained} --epochs 3 {one_block}"
        "; --experts teachers/digits-convnet-seed0",
        "(--objective_options max_start_epoch=)… expert_epochs=… -> {0}1 expert_epochs=1 student_steps=1",
    ),
    row(
        "Expert … is no folder of a finished run",
        MTT + " --experts {root}",
        "run of `(hf-dd pretrain)`, with its epochs -> {0} {trained} --keep_epochs 0 1 {one_block}"
        "; --experts teachers/digits-convnet-seed0",
    ),
    row(
        "Choose --architecture and --architecture_options as the …'s.",
        MTT + " --architecture_options width=4",
        "(--architecture) and --architecture_options -> {0} ConvNet {one_block}",
    ),
    row("Give --zca.", MTT + " --experts {whitened}", r"Give (--zca)\."),
    row(
        "Leave --zca out, or train …s",
        MTT + " --zca",
        "Leave (--zca) out -> !{0}",
        f"`(hf-dd pretrain --zca)` -> {{0}} {{trained}} {KEPT}; --experts teachers/digits-convnet-seed0",
    ),
    row(
        "… was trained on images normalised by a",
        MTT + " --dataset {dim} --experts {dim_experts} --statistics published",
        "by the same (--statistics) -> {0} own",
    ),
]
TEACHERS = [
    row(
        ("Teacher …: … of `hf-dd pretrain`, and it is of none.", "--networks between takes parameters"),
        BETWEEN + " --teachers {of_timm}",
        "`(hf-dd pretrain)`, and it -> {0} {trained} --epochs 2 {two_blocks}; "
        "--teachers teachers/digits-convnet-seed0@epoch-2",
    ),
    row(
        "Teacher …: --networks_from has … epoch",
        BETWEEN + " --teachers {convnet} --networks_from {mlp}",
        "(--networks_from) has no -> {0} {earlier}",
    ),
    row(
        "Teacher …: …, and its own has none before epoch",
        BETWEEN + " --teachers {last}",
        r"\(`(hf-dd pretrain --keep_epochs 0) …`\) -> {0} 2 {trained} --epochs 2 {two_blocks}; "
        "--teachers teachers/digits-convnet-seed0",
    ),
    row(
        "… is a network of …: --networks takes teachers",
        "{dm} --networks teachers --teachers {of_timm}",
        "of (--architecture) -> --teachers {convnet} {0} ConvNet {two_blocks}",
    ),
    row(
        "… gives soft labels that are not finite",
        "{random} --soft_labels mean --teachers {mlp} --soft_label_temperature 1e-39",
        "`hf-dd distill (--soft_label_temperature)` -> {0} 1 --resume_from_checkpoint latest",
    ),
    row(
        "… What reads logits",
        "distill --dataset {three} {small} --real_batch_size 2 --ipc 1 --eval_students 0 --output_dir out --clom ce "
        "--teachers {mlp}",
        "`hf-dd distill (--fit_head)`",
        "there is also (--clom cos), which",
    ),
    row(
        "…. Only safetensors (model.safetensors) are read",
        "{random} --soft_labels mean --teachers {pickled}",
        "(--trusted_teachers) -> {0} {pickled}",
    ),
    row(
        "it doesn't say what it is: hf_dd.json (as",
        "{dm} --clom ce --teachers {nameless}",
        r"\(as `(hf-dd pretrain)` writes -> {0} {trained}; --teachers teachers/digits-convnet-seed0",
    ),
    row(
        "it doesn't say what it is: config.json and",
        "{dm} --clom ce --teachers {recordless}",
        "`(hf-dd pretrain)` writes both -> {0} {trained}; --teachers teachers/digits-convnet-seed0",
    ),
    row(
        "--soft_label_topk …: the data set has",
        "{random} --soft_labels crops --soft_label_views 1 --teachers {mlp} --soft_label_topk 20",
        r"has (\d+) classes; give at most as many -> --soft_label_topk {0}",
        "(--soft_label_topk) 20.*or leave it out -> !{0}",
    ),
    row(
        "… has no test split to state",
        "pretrain --dataset {untested} --epochs 1 --architectures MLP --output_dir teachers",
        "by (--test_split) -> {0} more",
    ),
    row(
        "… seed … diverged in epoch",
        "pretrain {trained} --architectures MLP --learning_rate 1e30 --epochs 2",
        "a smaller (--learning_rate), with --overwrite_output_dir -> {0} 0.01 --overwrite_output_dir",
    ),
]
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
        "… isn't empty, and what it holds is no run of hf-dd",
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
        "… isn't empty, and what it holds is no teacher",
        "pretrain {trained} --architectures MLP",
        "another (--output_dir) -> {0} another",
        first=lambda stock: filled("teachers/digits-mlp-seed0"),
    ),
    row(
        "… holds another run (…): give --overwrite_output_dir",
        "pretrain {trained} --architectures MLP --learning_rate 0.02",
        "--overwrite_output_dir",
        "or another (--output_dir) -> {0} another",
        first="hf-dd pretrain {trained} --architectures MLP",
    ),
    row(
        "… is a plan for other options",
        "{dm} --minutes 0.5 --resume_from_checkpoint latest",
        "anew by (--overwrite_output_dir) in the place of --resume_from -> {0} !--resume_from_checkpoint",
        "another (--output_dir) -> {0} another",
        first=lambda stock: write("out/plan.json", '{"request": {}}'),
    ),
    row(
        "Class … of … has … training images, too few to plan on",
        "{dm} --dataset {three} --real_batch_size 2 --ipc 3 --minutes 1 --plan",
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
        "{dm} --minutes 0.001",
        "Give more -> --minutes 0.5",
    ),
    row(
        "--minutes … is too short: …",
        "{dm} --minutes 0.2 {students} --eval_epochs 1000000000",
        "fewer (--eval_students) or -> {0} 0",
        "or (--eval_epochs) -> {0} 1",
    ),
]
OTHERS = [
    row(
        "Name the candidates by",
        "pool select {select}",
        "(--teachers), -> {0} {mlp}",
        "(--teacher_pool) -> {0} {pool}",
    ),
    row(
        "--plan is of hf-dd distill",
        SELECT + " --plan --minutes 1",
        "of (hf-dd distill): -> {0} {digits} {small} --minutes 1 --plan; !--plan",
    ),
    row(
        "--push_to_hub: a search pushes nothing",
        SELECT + " --push_to_hub",
        "Distil with (--teacher_pool), -> hf-dd {dm} --clom ce {0} {pool} --push_to_hub",
    ),
    row(
        "--first_rung … isn't below",
        SELECT + " --first_rung 2",
        "(--first_rung) 2 -> {0} 1",
        "(--iterations) 2 -> {0} 4",
    ),
    row(
        "--eval_epochs takes one value",
        SELECT + " --eval_epochs 1 2",
        "(--eval_epochs) takes one -> {0} 1",
    ),
    row(
        "--eval_protocol …: students on hard labels choose",
        SELECT + " --eval_protocol soft-label",
        "give (dsa) or -> --eval_protocol {0}",
        r"or (dc)\. -> --eval_protocol {0}",
    ),
    row(
        "… holds another search",
        SELECT + " --seed 1",
        "another (--output_dir) -> {0} another",
        first="hf-dd " + SELECT,
    ),
    row(
        "--minutes … is too short for … pools",
        SELECT + " --minutes 0.2 --eval_students 100 --eval_epochs 1000",
        "Give more -> --minutes 100 --eval_epochs 1 --eval_students 1",
        "(--eval_epochs)\\. -> {0} 1 --eval_students 1",
    ),
    row(
        "… is a search of an older version",
        SELECT,
        "another (--output_dir) -> {0} another",
        first=lambda stock: write("out/optuna.log", ""),
    ),
    row(
        "… isn't a trace of this search",
        SELECT,
        "another (--output_dir) -> {0} another",
        first=lambda stock: write("out/trace.json", '{"search": {}, "tried": [{"pool": "x"}], "running": []}'),
    ),
    row("Name the study", "study", "(hf-dd study) RECIPE -> {0} {study} --output_dir out"),
    row("--seeds holds …", "study {study} --output_dir out --seeds 0 0", "(--seeds) holds -> {0} 0"),
    row(
        "…, …: leave out …, which the study itself gives",
        "study {seeded} --output_dir out",
        "the folder by (--output_dir) -> hf-dd study {study} {0} out --seeds 1",
    ),
    row(
        "The cells of … share no architecture",
        "study {split} --output_dir out",
        r"the same (--eval_architectures)\. -> hf-dd study {study} --output_dir out",
    ),
    row(
        "… was made with other options",
        "study {study} --output_dir out --dataset {three}",
        "another (--output_dir) -> {0} another",
        first="hf-dd study {study} --output_dir out",
    ),
    row(
        "--cells are those of a study",
        "reproduce {set} --cells plain --output_dir again",
        "(--cells) are.*leave it out -> !{0}",
    ),
    row(
        "--verify_badge is for a set or a teacher",
        "reproduce made --verify_badge --output_dir again",
        "(--verify_badge) is -> !{0}",
        first="hf-dd study {study} --output_dir made",
    ),
    row(
        "--cells names …; the cells of",
        "reproduce made --cells nothing --output_dir again",
        r"the cells of made are (\w+) -> --cells {0}",
        first="hf-dd study {study} --output_dir made",
    ),
    row(
        "--verify_badge tells what was made again",
        "reproduce mine --check --verify_badge --output_dir again",
        "(--verify_badge) tells.*leave one out -> !{0}",
        "and (--check) makes.*leave one out -> !{0}",
        first=lambda stock: shutil.copytree(stock["set"], "mine"),
    ),
    row(
        "Name what is to be reproduced",
        "reproduce --output_dir again",
        "(hf-dd reproduce) FOLDER_OR_HUB_ID -> {0} {set} --output_dir again",
    ),
    row(
        "… isn't empty, and holds no reproduction",
        "reproduce {set} --output_dir again",
        "another (--output_dir) -> {0} another",
        first=lambda stock: filled("again"),
    ),
    row(
        "… has no …, so that it can't be made again",
        "reproduce {abc} --output_dir again",
        "`(hf-dd import)` brings -> {0} {abc} --dataset {three} --output_dir made; "
        "hf-dd reproduce made --output_dir again",
    ),
    row("--steps …, but … has … classes", CONTINUAL + " --steps 20", "(--steps) 20 -> {0} 2"),
    *(
        row(f"--{name} is empty.", f"{SEARCH} --{name}", f"(--{name}) is -> {{0}} {value}")
        for name, value in (
            ("depths", "1"),
            ("widths", "8"),
            ("activations", "relu"),
            ("poolings", "avg"),
        )
    ),
    row("--norms is empty.", f"{SEARCH} --widths 4 8 12 16 20 --norms", "(--norms) is -> {0} none"),
    row(
        "--networks …, but the depths",
        SEARCH + " --networks 6",
        "name more of them -> --depths 1 2",
        "ask for fewer networks -> --networks 5",
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


@pytest.fixture(scope="module")
def runs(tmp_path_factory, tiny_teachers):
    yield Runs(tmp_path_factory.mktemp("runs"), tiny_teachers)
    for descriptor in HELD:
        os.close(descriptor)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(**cases(EXPERTS + TEACHERS + FOLDERS + OTHERS))
def test_the_way_is_open(row, way, runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    take(row, way, runs)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(**cases(WARNED))
def test_what_a_warning_advises_is_done(row, way, runs, tmp_path, monkeypatch, capsys, caplog):
    def said(*words):
        run(list(words))
        return " ".join([*caplog.messages, *capsys.readouterr().out.split()])

    monkeypatch.chdir(tmp_path)
    take(row, way, runs, said)


def test_a_checkpoint_that_is_broken_is_removed_as_the_message_says(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs.type("hf-dd {dm} --save_steps 1 --iterations 2")
    (Path("out") / "hf_dd.json").unlink()
    Path("out/checkpoints/step-000002/tensors.safetensors").write_bytes(b"")
    words = runs.words("{dm} --save_steps 1 --iterations 2 --resume_from_checkpoint")
    message = message_of(*words, "out/checkpoints/step-000002")
    shutil.rmtree(re.search(r"(\S+) isn't a readable checkpoint", message)[1])
    run([*words, re.search(r"--resume_from_checkpoint (latest) goes on", message)[1]])


def test_teachers_in_memory_are_named_for_students(runs, tmp_path):
    """The advice is of Python, as only that has teachers in memory."""
    options = {"objective": "random", "soft_labels": "mean", "pool": TeacherPool([teacher_of()]), "iterations": None}
    options |= {"real_batch_size": None, "architecture_options": [], "eval_students": 1, "eval_epochs": [1]}
    options |= {"eval_architectures": ["MLP"], "eval_protocol": "soft-label-online"}
    with pytest.raises(ConfigError, match="another protocol, or name others as eval_teachers"):
        distil(tmp_path / "out", **options)
    for way in ({"eval_protocol": "dc"}, {"eval_teachers": [runs["mlp"]], "overwrite_output_dir": True}):
        assert distil(tmp_path / "out", **options | way).record.results
