"""What an option says of itself is what is judged, listed by `--help`, and asked by role."""

import dataclasses
import os
import re
import typing
from pathlib import Path

import numpy as np
import pytest

import hf_dd
from hf_dd import cli
from hf_dd.cli import every_command
from hf_dd.config import (
    DataConfig,
    DistillConfig,
    EvaluateConfig,
    EvaluationConfig,
    ImportConfig,
    PretrainConfig,
    SelectConfig,
    StudyConfig,
    TeacherConfig,
)
from hf_dd.config.base import GROUPS, ROLES, Kind, as_dict, defaults, kinds, named, part, values
from hf_dd.config.commands import HubRunOptions, HubServeOptions, PoolCreateOptions, PoolVerifyOptions
from hf_dd.config.gallery import GalleryBuildOptions
from hf_dd.config.parsing import parse_config
from hf_dd.core.json_records import require
from hf_dd.core.registry import NETWORKS, OBJECTIVES, PROTOCOLS, STARTS
from hf_dd.errors import ConfigError
from tests.factories import message_of

PLACES = [  # what else has to be given, and the option
    (DistillConfig, "output_dir"),
    (DistillConfig, "resume_from_checkpoint"),
    (PretrainConfig, "output_dir"),
    (StudyConfig, "study output_dir"),
    (ImportConfig, "foreign_set dataset output_dir"),
    (EvaluateConfig, "sets save_students"),
    (EvaluateConfig, "sets dd_ranking"),
    (PoolCreateOptions, "title output"),
    (GalleryBuildOptions, "output"),
    (HubServeOptions, "root"),
]
CONFIGS = [DistillConfig, EvaluateConfig, ImportConfig, PretrainConfig, SelectConfig, StudyConfig]


def parse(*arguments, config=DistillConfig):
    return parse_config(config, arguments, command="hf-dd test")


@pytest.mark.parametrize(
    "options, named",
    [
        ({}, []),
        ({"clom_alpha": 5.0, "clom_pool": "mean-loss"}, ["clom_alpha", "clom_pool"]),
        ({"clom_alpha": "auto", "clom_balance": 3.0}, ["clom_alpha", "clom_balance"]),
        ({"clom": "ce", "teachers": ["a/b"], "clom_balance": 3.0}, ["clom_balance"]),
        ({"clom": "ce", "teachers": ["a/b"], "clom_alpha": "auto", "clom_balance": 3.0, "teachers_in_memory": 1}, []),
        ({"teachers_in_memory": 1, "teacher_revision": "abc"}, ["teachers_in_memory", "teacher_revision"]),
        ({"teacher_tags": ["x"], "teacher_revision": "abc"}, []),
        ({"soft_label_temperature": 1.5}, ["soft_label_temperature"]),
        ({"soft_label_temperature": 1.5, "soft_labels": "mean", "teachers": ["a/b"]}, []),
        ({"hub_private_repo": True}, ["hub_private_repo"]),
        ({"hub_private_repo": True, "push_to_hub": True}, []),
        ({"minutes": 1.0, "clom_alpha": 5.0, "teachers_in_memory": 1}, []),  # of the guide that a plan may choose
    ],
)
def test_options_that_nothing_asks_for_are_known(options, named):
    assert sorted(DistillConfig(**options).without_effect()) == sorted(named)


# ------------------------------------------------------------------------------------------------ values from Python


@pytest.mark.parametrize(
    "config, options, message",
    [
        (DistillConfig, {"ipc": "10"}, "--ipc is '10'; it has to be a whole number."),
        (DistillConfig, {"ipc": 1.5}, "--ipc is 1.5; it has to be a whole number."),
        (DistillConfig, {"ipc": True}, "--ipc is True; it has to be a whole number."),
        (DistillConfig, {"ipc": None}, "--ipc is None; it has to be a whole number."),
        (DistillConfig, {"ipc": [10]}, "--ipc is [10]; it has to be a whole number."),
        (DistillConfig, {"dataset": None}, "--dataset is None; it has to be text."),
        (DistillConfig, {"push_to_hub": "yes"}, "--push_to_hub is 'yes'; it has to be true or false."),
        (DistillConfig, {"image_learning_rate": "1"}, "--image_learning_rate is '1'; it has to be a number."),
        (DistillConfig, {"clom_alpha": "much"}, "--clom_alpha is 'much'; it has to be a number or 'auto'."),
        (DistillConfig, {"teachers": [1]}, "--teachers is [1]; it has to be a list of texts."),
        (DistillConfig, {"eval_epochs": [1, 2.5]}, "--eval_epochs is [1, 2.5]; it has to be a list of whole numbers."),
        (DistillConfig, {"clom": "sin"}, "--clom doesn't know 'sin'; it takes none, ce, cos."),
        (DistillConfig, {"objective": "dn"}, "--objective dn isn't known; known are: dance, dm, "),
        (DistillConfig, {"architecture": "Convnet"}, "--architecture Convnet isn't known; known are: ConvNet, "),
        (DistillConfig, {"init": "reel"}, "--init reel isn't known; known are: real, "),
        (DistillConfig, {"eval_protocol": "dsb"}, "--eval_protocol dsb isn't known; known are: dsa, "),
        (PretrainConfig, {"architectures": ["MLB"]}, "--architectures MLB isn't known; known are: MLP, "),
        (PretrainConfig, {"augment": "flip_rotat"}, "--augment: unknown augmentation 'rotat'; known, nearest first: "),
        (PretrainConfig, {"lr_drops": [0.5, 1.0]}, "--lr_drops holds [1.0]; each has to be above 0 and below 1 and "),
        (DistillConfig, {"architecture_options": ["width"]}, "--architecture_options: 'width' isn't of the form"),
        (
            ImportConfig,
            {"foreign_set": "a", "dataset": "b", "std": [0.0]},
            "--std holds [0.0]; each has to be above 0 and finite.",
        ),
        (EvaluateConfig, {"sets": "a", "baselines": ["none", "full"]}, "--baselines none full: give 'none' alone"),
        (DistillConfig, {"resume_from_checkpoint": ""}, "--resume_from_checkpoint has an empty value: give another"),
        (
            DistillConfig,
            {"teachers": ["a/b", ""]},
            "--teachers has an empty value: give another one, or leave it out.",
        ),
        (DistillConfig, {"train_split": ""}, "--train_split has an empty value"),
        (DistillConfig, {"output_dir": Path("x"), "augment": ""}, "--augment has an empty value"),
        (PoolVerifyOptions, {"pool": ""}, "Name the pool: "),
        (DistillConfig, {"clom_alpha": 1e39}, "--clom_alpha is 1e+39; it has to be at least 0 and within ±3.403e+38."),
        (DistillConfig, {"seed": 2**63}, "--seed is 9223372036854775808; it has to be within ±9.223e+18."),
        (
            DistillConfig,
            {"architecture_options": ["width=8", "depth=1", "width=16"]},
            "--architecture_options: width is",
        ),
    ],
)
def test_a_wrong_value_is_one_error_that_names_the_option(config, options, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}") as error:
        config(**options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "place",
    ["file://x", "http://x/y", "s3://b/x", "HF://a", "bad\udcff", "with\0nul"],
    ids=["f", "h", "s", "H", "b", "n"],
)
@pytest.mark.parametrize("config, options", PLACES)
def test_a_place_is_one_of_this_machine(config, options, place):
    *more, name = options.split()
    given = dict.fromkeys(more, "x")
    assert getattr(config(**given | {name: "~/a b/x"}), name) == os.path.expanduser("~/a b/x")
    for plain in ("a::b", "file:x", "memory:x", "~nobody-at-all/x", "c:/x", "ä"):
        assert getattr(config(**given | {name: plain}), name) == plain
    with pytest.raises(ConfigError, match=f"^--{name} is .*; it has to be a (file or folder|name)"):
        config(**given | {name: place})


def test_every_place_is_judged():
    options = [each for _, command in every_command() for each in dataclasses.fields(command.options)]
    named = {
        each.name
        for each in options
        if re.match("(New )?(Folder|File) for|A checkpoint folder", each.metadata["help"])
    }
    assert {each.name for each in options if each.metadata["path"]} == named | {"root", "output"}


def test_what_options_take_records_hold():
    config = DistillConfig(clom_alpha=1e19, eval_learning_rates=[1e38], seed=2**63 - 1)
    hints = typing.get_type_hints(DistillConfig)
    require(as_dict(config), dict, {each.name: hints[each.name] for each in dataclasses.fields(config)}, "it")


def test_a_word_of_another_command_may_be_empty_and_so_may_what_is_by_default():
    assert HubRunOptions(root="x", command=["sh", "-c", ""]).command[-1] == ""
    assert EvaluateConfig(sets="a", dataset="").dataset == ""


def test_values_are_taken_as_what_they_mean():
    config = DistillConfig(
        ipc=np.int64(3), image_learning_rate=1, teachers="a/b", clom="ce", output_dir=Path("x/y"), eval_epochs=(3, 4)
    )
    assert (config.ipc, type(config.ipc)) == (3, int)
    assert (config.image_learning_rate, type(config.image_learning_rate)) == (1.0, float)
    assert (config.teachers, config.output_dir, config.eval_epochs) == (["a/b"], "x/y", [3, 4])
    assert DistillConfig(clom_alpha="auto").clom_alpha == "auto" and DistillConfig(clom_alpha=2).clom_alpha == 2.0
    assert DistillConfig(objective="package.module:Mine").objective == "package.module:Mine"  # looked for when used


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(ConfigError) as error:
        DistillConfig(ipc=0, dtype="float16", seed=None)
    assert str(error.value).splitlines() == [
        "--seed is None; it has to be a whole number.",
        "--ipc is 0; it has to be at least 1.",
        "--dtype doesn't know 'float16'; it takes float32, float64.",
    ]
    with pytest.raises(ConfigError) as error:
        DistillConfig(clom="ce", fit_head=True, dtype="float64", mixed_precision="bf16", clom_real_batch=2)
    assert len(str(error.value).splitlines()) == 4


@pytest.mark.parametrize(
    "hint, kind",
    [
        (int, Kind(int, (), False, False)),
        (int | None, Kind(int, (), False, True)),
        (list[str], Kind(str, (), True, False)),
        (TeacherConfig.__annotations__["clom_alpha"], Kind(float, ("auto",), False, True)),
    ],
)
def test_the_kinds_of_values(hint, kind):
    assert Kind.read(hint) == kind


# ------------------------------------------------------------------------------------------------------------- roles


@pytest.mark.parametrize("config", CONFIGS)
def test_every_option_has_a_group_a_role_and_a_default_that_is_taken(config):
    for option in dataclasses.fields(config):
        assert option.metadata["group"] in GROUPS and option.metadata["role"] in ROLES
    assert kinds(config).keys() == {option.name for option in dataclasses.fields(config)}


def test_options_are_asked_for_by_role():
    once = "overwrite_output_dir push_to_hub hub_private_repo profile report_to resume_from_checkpoint"
    once += " hub_dataset_id hub_revision hub_tag create_pr minutes plan trackio_options"
    assert sorted(named(DistillConfig, "once")) == sorted(once.split())
    assert named(DistillConfig, "teachers") == ["teachers", "teacher_tags", "teacher_pool", "experts", "networks_from"]
    chooses = {"selection_epochs"}  # among real images, which a distillation begins with
    assert set(named(DistillConfig, "evaluation", "trust")) == {*part(EvaluationConfig(), EvaluationConfig)} - chooses
    assert {name for name in named(DistillConfig, "guide") if not name.startswith("clom")} == {"networks"}
    assert defaults(TeacherConfig, "guide")["clom"] == "none" and len(defaults(TeacherConfig, "guide")) == 10
    assert values(DataConfig(image_size=3), "data")["image_size"] == 3
    training = "epochs learning_rate momentum weight_decay batch_size lr_drops augment augment_by mix".split()
    assert {*named(PretrainConfig, "result")} == {*training, "architecture_options", "mixed_precision", "seed"}


# ---------------------------------------------------------------------------------------------------- command line


@pytest.mark.parametrize(
    "words, expected",
    [
        (["--push_to_hub"], True),
        (["--push_to_hub", "false"], False),
        (["--push_to_hub", "True"], True),
        (["--push_to_hub=no"], False),
        (["--push-to-hub", "1"], True),
        ([], False),
    ],
)
def test_switches(words, expected):
    assert parse(*words).push_to_hub is expected


def test_hyphens_are_read_as_the_underscores_that_are_listed():
    assert parse("--image-learning-rate=2", "--eval-epochs", "3").image_learning_rate == 2.0


def test_lists_may_be_empty_and_numbers_below_zero():
    assert parse("--lr_drops", "--teacher_seeds", "1", "0", config=PretrainConfig).lr_drops == []
    assert parse("digits-clom", "--cells", "--seeds", "-1", "0", config=StudyConfig).seeds == [-1, 0]


def test_words_without_an_option_are_the_positional_ones_wherever_they_stand():
    assert parse("--seed", "1", "a/b", "c", config=EvaluateConfig).sets == ["a/b", "c"]
    assert parse("a/b", "--seed", "1", "c", config=EvaluateConfig).sets == ["a/b", "c"]
    assert parse("--compile", "a/b", config=EvaluateConfig).sets == ["a/b"]  # a switch takes none of them
    assert parse("--compile", "false", "a/b", config=EvaluateConfig).compile is False
    assert parse("digits-clom", "--seeds", "1", config=StudyConfig).study == "digits-clom"
    with pytest.raises(ConfigError, match="'b' belongs to no option"):
        parse("a", "--push_to_hub", "true", "b", config=StudyConfig)


@pytest.mark.parametrize(
    "words, message",
    [
        (["push"], "Name the folder"),
        (["push", "a", "b"], "'b' belongs to no option"),
        (["push", "a", "--hub_tga", "v1"], "unknown option 'hub_tga'; the nearest known one is 'hub_tag'."),
        (["push", "a", "--config", "digits-dm"], "unknown option 'config'"),
        (["pool"], "`hf-dd pool` needs an action; the actions are create, show, diff, select, verify."),
        (["pool", "mix"], "unknown action 'mix'; the actions are create, show"),
        (["pool", "create"], "Name the pool: hf-dd pool create TITLE"),
        (["pool", "diff", "a"], "takes two pools, not 1"),
        (["pool", "create", "A", "--seeds", "x"], "--seeds is ['x']; it has to be a list of whole numbers."),
        (["cache", "rm"], "rm takes either what to remove"),
        (["hub", "run", "x"], "give a command after --"),
        (["hub", "serve"], "Name the folder that holds the Hub"),
        (["quickstart", "x"], "'x' belongs to no option"),
        (["env", "--x"], "unknown option 'x'"),
    ],
)
def test_every_command_ends_in_one_line_and_status_1(words, message):
    assert message in message_of(*words)


@pytest.mark.parametrize("words", [["distil"], ["pool"], ["distill", "--nope", "1"]])
def test_a_slip_on_the_command_line_is_told_by_one_process(words, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    assert end.value.code == 1


def help_of(capsys, *words):
    cli.main([*words, "--help"])
    return capsys.readouterr().out


def test_help_is_in_groups_begins_with_what_matters_and_lists_what_there_is(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    printed = help_of(capsys, "distill")
    assert printed.startswith("usage: hf-dd distill [options]\n")
    places = [printed.index(f"\n{group}:\n") for group in GROUPS]
    assert places == sorted(places) and places[0] < printed.index("--dataset ") < places[1]
    for registry in (OBJECTIVES, STARTS, PROTOCOLS):
        for name in registry:
            assert re.search(rf"\n +{re.escape(name)} +{re.escape(registry.title(name))}\n", printed), name
    assert all(name in printed for name in NETWORKS)
    assert "Synthetic images per class. (default: 10; at least 1)" in printed
    options = re.findall(r"^  (--\w[\w-]*)", printed, re.MULTILINE)
    assert options.count("--config") == 1 and options[1:] == list(dict.fromkeys(options[1:]))  # each in one spelling
    assert {name.removeprefix("--") for name in options[1:]} == {
        each.name for each in dataclasses.fields(DistillConfig)
    }


@pytest.mark.parametrize("words", [["--objective", "mtt"], ["--config", "digits-mtt"]])
def test_help_of_a_method_has_its_own_options_and_published_values(words, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    printed = help_of(capsys, "distill", *words)
    assert "--objective mtt:\n  trajectory matching (MTT), Cazenavette et al., CVPR 2022." in printed
    assert "Published values: --iterations 5000, --image_learning_rate 1000.0" in printed
    assert "  student_steps=20: N, steps of the student on S." in printed
    assert "  augment_by=image {image,batch}: whether each 'image' of a batch" in printed
    assert "--objective mtt:" not in help_of(capsys, "distill")


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_option_of_a_method_is_explained(objective):
    assert all(each.metadata["help"].endswith(".") for each in dataclasses.fields(OBJECTIVES[objective].Options))


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: hf_dd.distill(5), "Give options by name, or as a DistillConfig, not 5."),
        (lambda: hf_dd.distill({"ipc": 1}), "or as a DistillConfig, not {'ipc': 1}."),
        (lambda: hf_dd.distill(hf_dd.PretrainConfig()), "or as a DistillConfig, not PretrainConfig("),
        (lambda: hf_dd.distill(ipcs=3), "unknown option 'ipcs'; the nearest known one is 'ipc'."),
        (lambda: hf_dd.distill(hf_dd.DistillConfig(), ipcs=3), "unknown option 'ipcs'"),
        (lambda: hf_dd.distill(pool=5), "pool has to be a TeacherPool"),
        (lambda: hf_dd.distill(expert_pool=5), "expert_pool has to be an ExpertPool"),
        (lambda: hf_dd.create_pool(3, 4), "title is 3; it has to be text."),
        (
            lambda: hf_dd.create_pool("t", 4),
            "teachers is 4; it has to be text or a path or a Pin or a list of",
        ),
        (lambda: hf_dd.create_pool("t", [], trusted="a/b"), "trusted is 'a/b'; it has to be a list of texts."),
        (lambda: hf_dd.TeacherPool([3]), "teachers is [3]; it has to be a list of Teachers."),
        (lambda: hf_dd.TeacherPool.from_references([3]), "references is [3]; it has to be text or a path or a Pin or"),
        (lambda: hf_dd.TeacherPool.from_references(None), "references is None; it has to be text or a path or"),
        (lambda: hf_dd.TeacherPool.from_files([("a", "b")]), "files is [('a', 'b')]; it has to be a list of pairs."),
        (lambda: hf_dd.TeacherPool.from_files([], in_memory=0), "in_memory is 0; it has to be at least 1."),
        (lambda: hf_dd.TeacherPool.from_tags("x"), "filters is 'x'; it has to be a list of texts."),
        (lambda: hf_dd.TeacherPool.from_query("x"), "query is 'x'; it has to be a TeacherQuery."),
        (lambda: hf_dd.TeacherPool.from_lock(3), "place is 3; it has to be text or a path."),
        (lambda: hf_dd.TeacherPool.from_config({}), "config is {}; it has to be a TeacherConfig."),
        (lambda: hf_dd.TeacherQuery(seeds=True), "seeds is True; it has to be a whole number or text or a list of"),
        (lambda: hf_dd.push(3), "folder is 3; it has to be text or a path."),
        (lambda: hf_dd.Artefact.open(None), "folder is None; it has to be text or a path."),
        (lambda: hf_dd.load_distilled([3]), "reference is [3]; it has to be text or a path."),
        (lambda: hf_dd.distill(ipc="10"), "--ipc is '10'; it has to be a whole number."),
        (lambda: hf_dd.distill(seed=10**5000, ipc=0.5), "--ipc is 0.5; it has to be a whole number."),
        (
            lambda: hf_dd.distill(ipc=2**63),
            "--ipc is 9223372036854775808; it has to be at least 1 and within ±9.223e+18.",
        ),
        (lambda: hf_dd.distill(seed=-(2**64)), "--seed is -18446744073709551616; it has to be within ±9.223e+18."),
        (lambda: hf_dd.distill(clom_alpha=10**5000), "--clom_alpha is a int; it has to be a number or 'auto'."),
        (lambda: hf_dd.distill(teachers=[range(10**9)] * 10**6), "--teachers is [range(0, 1000000000), "),
        (lambda: hf_dd.pretrain("x"), "or as a PretrainConfig, not 'x'."),
        (lambda: hf_dd.evaluate(5), "or as a EvaluateConfig, not 5."),
        (lambda: hf_dd.compare(set=["x"]), "unknown option 'set'; the nearest known one is 'sets'."),
        (lambda: hf_dd.import_set("x.pt"), "or as a ImportConfig, not 'x.pt'."),
    ],
)
def test_a_call_with_what_is_no_option_is_one_clear_error(call, words):
    with pytest.raises(ConfigError) as error:
        call()
    assert words in str(error.value) and len(str(error.value)) < 500
