"""The ways out of messages on teachers and experts, typed as they are printed."""

import shutil
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from hf_dd.errors import ConfigError
from hf_dd.teachers.pool import TeacherPool
from tests.config.stock import made
from tests.config.ways import cases, row, take
from tests.factories import distil
from tests.teachers.test_own_modules import teacher_of

STEPS = "--objective_options expert_epochs=1 max_start_epoch=1 student_steps=1"
KEPT = "{one_block} --epochs 2 --keep_epochs 0 1 2"
MTT = "distill {digits} --objective mtt --iterations 1 {one_block} " + STEPS + " --experts {experts}"
BETWEEN = "{dm} --networks between {two_blocks}"


@made
def make_experts(stock, folder):
    """The run of a ConvNet with epochs 0, 1 and 2."""
    stock.run("pretrain {trained} --batch_size 64 --learning_rate 0.1 " + KEPT, folder)
    return folder / "digits-convnet-seed0"


@made
def make_dim_experts(stock, folder):
    stock.run(f"pretrain {{trained}} --dataset {{dim}} {KEPT}", folder)
    return folder / "dim-convnet-seed0"


@made
def make_later(stock, folder):
    """The same with epochs 1 and 2 alone."""
    stock.run(f"pretrain {{trained}} {KEPT} --keep_epochs 1 2", folder)
    return folder / "digits-convnet-seed0"


@made
def make_whitened_experts(stock, folder):
    stock.run(f"pretrain {{trained}} {KEPT} --zca", folder)
    return folder / "digits-convnet-seed0"


@made
def make_last(stock, folder):
    """The run of a ConvNet that kept its last epoch alone."""
    stock.run("pretrain {trained} {two_blocks} --keep_epochs 1", folder)
    return folder / "digits-convnet-seed0"


@made
def make_bare(stock, folder):
    """A repository without tags."""
    HfApi().create_repo("local/ways-bare", exist_ok=True)
    return "local/ways-bare"


@made
def make_nameless(stock, folder):
    """A folder of config.json alone, which says nothing."""
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


@made
def make_recordless(stock, folder):
    """An epoch of a teacher without its record's origin."""
    shutil.copytree(Path(stock["local"]) / "epoch-2", folder)
    (folder / "hf_dd.json").write_text('{"kind": "teacher"}')
    return folder


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
    row("Give --zca.", MTT + " --experts {whitened_experts}", r"Give (--zca)\."),
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
        "The teachers are …, and --networks … draws networks of one",
        "{dm} --networks teachers --teachers {convnet} {mlp}",
        "name only those of ConvNet -> --teachers {convnet} {two_blocks}",
        "another by (--architecture) -> {0} MLP --teachers {mlp} !--architecture_options",
    ),
    row(
        "… was trained on other classes than those of …, and the head that --fit_head",
        "distill --dataset {tagged} --ipc 1 --eval_students 0 --iterations 1 --real_batch_size 4 --augment none "
        "--output_dir out --architecture MLP --networks teachers --clom ce --fit_head --teachers {mlp}",
        "Take teachers that were trained on this data set -> --teachers {of_tagged} !--fit_head",
    ),
    row(
        "… has one class, and sfm matches",
        "distill --dataset {single} --ipc 1 --eval_students 0 --iterations 1 --objective sfm --teachers {mlp} "
        "--output_dir out",
        "another (--objective) -> {0} dm --real_batch_size 2 !--teachers {one_block}",
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
        "--trusted_teachers … would be without effect",
        "{random} --soft_labels mean --teachers {mlp} --trusted_teachers local/somebody",
        "(--trusted_teachers) local -> !{0}",
        r"There are (\S+)\. -> --trusted_teachers {0}",
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
        "name it by --test_split, hold out",
        "pretrain --dataset {untested} --epochs 1 --architectures MLP --output_dir teachers",
        "by (--test_split) -> {0} more",
        "by (--test_share 0.2), or -> {0}",
    ),
    row(
        "… seed … diverged in epoch",
        "pretrain {trained} --architectures MLP --learning_rate 1e30 --epochs 2",
        "a smaller (--learning_rate), with --overwrite_output_dir -> {0} 0.01 --overwrite_output_dir",
    ),
]


@pytest.mark.usefixtures("one_thread", "one_classifier")
@pytest.mark.parametrize(**cases(EXPERTS + TEACHERS))
def test_the_way_is_open(row, way, stock, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    take(row, way, stock)


def test_teachers_in_memory_are_named_for_students(stock, tmp_path):
    """The advice is of Python, as only that has teachers in memory."""
    options = {"objective": "random", "soft_labels": "mean", "pool": TeacherPool([teacher_of()]), "iterations": None}
    options |= {"real_batch_size": None, "architecture_options": [], "eval_students": 1, "eval_epochs": [1]}
    options |= {"eval_architectures": ["MLP"], "eval_protocol": "soft-label-online"}
    with pytest.raises(ConfigError, match="another protocol, or name others as eval_teachers"):
        distil(tmp_path / "out", **options)
    for way in ({"eval_protocol": "dc"}, {"eval_teachers": [stock["mlp"]], "overwrite_output_dir": True}):
        assert distil(tmp_path / "out", **options | way).record.results
