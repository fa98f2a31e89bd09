"""The ways out of messages on searches, studies, reproductions and uses, typed as they are printed."""

import shutil

import pytest
import yaml

from tests.config.stock import filled, made, write
from tests.config.ways import cases, row, take

SELECT_AMONG = (
    "pool select --dataset digits --ipc 1 {small} --iterations 2 --first_rung 1 --clom_alpha 10 --eval_augment none "
    "--eval_architectures MLP --eval_students 1 --eval_epochs 1 --output_dir out"
)
SELECT = SELECT_AMONG + " --teachers {mlp}"
CONTINUAL = "use continual {set} --orders 1 --eval_epochs 1 --eval_architecture MLP --eval_augment none "
CONTINUAL += "--baselines random --output_dir out"
SEARCH = (
    "use search {set} --networks 5 --depths 1 --widths 8 --norms none batch layer instance group --activations relu "
    "--poolings avg --full_epochs 1 --eval_epochs 1 --eval_students 1 --eval_augment none "
    "--baselines random --output_dir out"
)
STUDY = {
    "base": {
        "dataset": "digits",
        "objective": "random",
        "ipc": 1,
        "eval_students": 1,
        "eval_epochs": 1,
        "eval_augment": "none",
    }
    | {"eval_architectures": ["MLP"]},
    "cells": {"plain": {}, "other": {"objective": "herding"}},
    "comparisons": {"gain": [["other", "plain"]]},
}


@made
def make_study(stock, folder):
    return recipe(folder, STUDY)


@made
def make_seeded(stock, folder):
    """A recipe that gives its cells a seed."""
    return recipe(folder, STUDY | {"cells": {"plain": {"seed": 1}}, "comparisons": {}})


@made
def make_split(stock, folder):
    """A recipe whose cells share no student."""
    other = STUDY["cells"]["other"] | {"eval_architectures": ["ConvNetD1"]}
    return recipe(folder, STUDY | {"cells": {"plain": {}, "other": other}})


@made
def make_uneven(stock, folder):
    """A recipe whose cells have different numbers of students."""
    other = STUDY["cells"]["other"] | {"eval_students": 2}
    return recipe(folder, STUDY | {"cells": {"plain": {}, "other": other}})


def recipe(folder, content):
    folder.mkdir()
    (folder / "own.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return folder / "own.yaml"


ROWS = [
    row(
        "Name the candidates by",
        SELECT_AMONG,
        "(--teachers), -> {0} {mlp}",
        "(--teacher_tags) or -> {0} hf-dd-teacher dataset:tagged --dataset {tagged}",
        "(--teacher_pool) -> {0} {pool}",
        first=lambda stock: stock["of_tagged"],
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
        "--eval_epochs takes one value",
        SELECT + " --eval_learning_rates 0.1 0.2",
        "(--eval_learning_rates) at most one -> {0} 0.1",
    ),
    row(
        "--eval_protocol …: students on hard labels choose",
        SELECT + " --eval_protocol soft-label",
        "give (dsa) or -> --eval_protocol {0}",
        r"or (dc)\. -> --eval_protocol {0}",
    ),
    row(
        "--soft_labels …: students on hard labels choose",
        SELECT + " --soft_labels mean",
        "(--soft_labels) mean.*leave it out here -> !{0}",
    ),
    row(
        "--objective … optimises nothing, so that no pool",
        SELECT + " --objective herding",
        "such as (dm) -> --objective {0}",
    ),
    row(
        "… holds another search",
        SELECT + " --seed 1",
        "another (--output_dir) -> {0} another",
        first="hf-dd " + SELECT,
    ),
    row(
        "--minutes … is too short for … pools",
        SELECT + " --minutes 1 --eval_students 1000 --eval_epochs 10000",
        "give about \\d+ -> --minutes 100 --eval_epochs 1 --eval_students 1",
        "(--trials), --eval_students, -> {0} 1 --eval_students 1 --eval_epochs 10",
        "(--eval_architectures) or (?:--eval_epochs) -> {0} MLP --eval_students 1 --eval_epochs 1",
    ),
    row(
        "… isn't a trace of this search",
        SELECT,
        "another (--output_dir) -> {0} another",
        first=lambda stock: write("out/trace.json", '{"search": {}, "tried": [{"pool": "x"}]}'),
    ),
    row("Name the study", "study", "(hf-dd study) RECIPE -> {0} {study} --output_dir out"),
    row("--seeds holds …", "study {study} --output_dir out --seeds 0 0", "(--seeds) holds -> {0} 0"),
    row(
        "…, …: leave out …, which the study itself gives",
        "study {seeded} --output_dir out",
        "the folder by (--output_dir) -> hf-dd study {study} {0} out --seeds 1",
    ),
    row(
        "… is of cells that share no architecture",
        "study {split} --output_dir out",
        r"the same (--eval_architectures)\. -> hf-dd study {study} --output_dir out",
    ),
    row(
        "… pairs students, of which its cells have",
        "study {uneven} --output_dir out",
        r"the same (--eval_students), -> hf-dd study {study} --output_dir out",
        r"several (--seeds), -> {0} 0 1",
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
        "… isn't empty, and what it holds is no …: give",
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


@pytest.mark.usefixtures("one_thread", "one_classifier")
@pytest.mark.parametrize(**cases(ROWS))
def test_the_way_is_open(row, way, stock, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    take(row, way, stock)
