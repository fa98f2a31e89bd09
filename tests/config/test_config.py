"""Options: defaults, YAML, the command line, and what an error about them says."""

import dataclasses
import json
import shlex
from itertools import pairwise

import pytest

import hf_dd
from hf_dd import cli
from hf_dd.artefacts import provenance
from hf_dd.config import (
    DistillConfig,
    EvaluateConfig,
    ImportConfig,
    PretrainConfig,
    StudyConfig,
    parse_key_values,
    slug,
)
from hf_dd.config.parsing import parse_config
from hf_dd.errors import ConfigError, nearest_first
from hf_dd.objectives import OBJECTIVES


def parse(arguments, config=DistillConfig, **options):
    words = shlex.split(arguments) if isinstance(arguments, str) else arguments
    return parse_config(config, words, command="hf-dd test", **options)


BOMB = "a: &a [x]\n" + "".join(f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in pairwise("abcdefg"))


@pytest.fixture
def yaml_file(tmp_path):
    def write(text):
        path = tmp_path / "options.yaml"
        path.write_text(text)
        return path

    return write


# ----------------------------------------------------------------------------------------- YAML and command line


def test_yaml_replaces_defaults_and_the_command_line_wins(yaml_file):
    path = yaml_file("ipc: 7\nseed: 3\ninit: noise\narchitecture_options: [width=8, depth=1]\npush_to_hub: true\n")
    config = parse(f"--config {path} --seed 4")
    expected = DistillConfig(
        ipc=7, seed=4, init="noise", architecture_options=["width=8", "depth=1"], push_to_hub=True
    )
    assert config == expected


def test_the_command_line_wins_wherever_config_stands(yaml_file):
    path = yaml_file("ipc: 7\narchitecture_options: [width=8, depth=1]\n")
    config = parse(f"--ipc 2 --architecture_options norm=none --config {path}")
    assert config.ipc == 2 and config.architecture_options == ["norm=none"]


def test_null_in_yaml_leaves_the_default(yaml_file):
    assert parse(f"--config {yaml_file('iterations: null')}").iterations is None


def test_an_empty_list_in_yaml_is_an_empty_list(yaml_file):
    path = yaml_file("lr_drops: []\nkeep_epochs: []\n")
    assert parse(f"--config {path}", PretrainConfig).lr_drops == []
    assert PretrainConfig().lr_drops == [1 / 3, 2 / 3]


@pytest.mark.parametrize(
    "text, words",
    [
        ("clom_alfa: 3", ["'clom_alfa'", "'clom_alpha'"]),
        ("iteration: 3", ["'iteration'", "'iterations'"]),
        ("ipc: many", ["--ipc is 'many'; it has to be a whole number."]),
        ("ipc: {a: 1}", ["--ipc is {'a': '1'}; it has to be a whole number."]),
        ("ipc: [1, 2]", ["--ipc is ['1', '2']; it has to be a whole number."]),
        ("ipc: []", ["--ipc is []; it has to be a whole number."]),
        ("ipc: true", ["--ipc is 'true'; it has to be a whole number."]),
        ("ipc: 1.0", ["--ipc is '1.0'; it has to be a whole number."]),
        ("ipc: ''", ["--ipc is ''; it has to be a whole number."]),
        (f"seed: {'9' * 5000}", ["--seed is '99999", "it has to be a whole number."]),
        ("clom_alpha: high", ["--clom_alpha is 'high'; it has to be a number or 'auto'."]),
        ("push_to_hub: maybe", ["--push_to_hub is 'maybe'; it has to be true or false."]),
        ("push_to_hub: [true]", ["--push_to_hub is ['true']; it has to be true or false."]),
        ("teachers: [null]", ["--teachers is [None]; it has to be a list of texts."]),
        ("teachers: {a: b}", ["--teachers is [{'a': 'b'}]; it has to be a list of texts."]),
        ("eval_epochs: [[1]]", ["--eval_epochs is [['1']]; it has to be a list of whole numbers."]),
        ("ipc: many\nfactor: x", ["--ipc is 'many'", "--factor is 'x'"]),
        ("5: x", ["unknown key '5'"]),
        ("null: x", ["unknown key 'None'"]),
        ("? [a]\n: x", ["isn't YAML"]),
        ("ipc: 1\nseed: 1\nipc: 2", ["line 3", "'ipc' is in line 1 already"]),
        ("config: 5", ["5: no such file or recipe"]),
        ("config: [a]", ["config is ['a']; it has to be the name of a recipe"]),
        (f"teachers: {'[' * 40}{']' * 40}", ["line 1", "more than 32 levels"]),
        (f"teachers: {'[' * 3000}", ["line 1", "nesting depth"]),
        ("teachers: &a [*a]", ["line 1", "holds the alias itself"]),
        ("a: !!python/object/apply:os.system [id]", ["isn't YAML", "python/object"]),
        ("seed: !!timestamp 2020-13-45", ["isn't YAML", "month"]),
        (BOMB, ["aliases stand for more than 100,000 values"]),
        ("# " + "x" * 2**20, ["more than 1,048,576 bytes"]),
        ("ipc: &a\n<<: 5", ["isn't YAML"]),
        ("clom: sin", ["--clom", "'sin'", "none", "ce", "cos"]),
        ("ipc: 0", ["--ipc is 0", "at least 1"]),
        ("ipc: [1", ["options.yaml", "isn't YAML", "line 1"]),
        ("\x00", ["options.yaml", "isn't YAML"]),
        ("- ipc\n- 3", ["options.yaml", "has to be a mapping"]),
        ("", ["options.yaml", "has to be a mapping"]),
    ],
)
def test_a_wrong_yaml_file(yaml_file, text, words):
    with pytest.raises(ConfigError) as error:
        parse(["--config", str(yaml_file(text))])
    for word in words:
        assert word in str(error.value)


def test_words_in_yaml_are_the_words_of_a_command_line(yaml_file):
    path = yaml_file(
        "mixed_precision: no\nclom: off\nhub_tag: 1.10\ndataset: 2020-01-01\nhub_revision: 010\ntest_split: yes\n"
        "teachers: [0x10, 1e3, -x, '--seed', null_, 'null']\narchitecture_options: [width=8]\nclom_alpha: 1e2\n"
        "hub_private_repo: Yes\nteacher_revision: ~\nhub_dataset_id: on\n".replace("clom: off\n", "")
    )
    config = parse(f"--config {path}")
    assert (config.mixed_precision, config.hub_tag, config.hub_revision) == ("no", "1.10", "010")
    assert (config.dataset, config.test_split, config.hub_dataset_id) == ("2020-01-01", "yes", "on")
    assert config.teachers == ["0x10", "1e3", "-x", "--seed", "null_", "null"]
    assert (config.clom_alpha, config.hub_private_repo, config.teacher_revision) == (100.0, True, "final")


def test_a_value_of_yaml_gives_no_other_option(yaml_file):
    with pytest.raises(ConfigError, match="--seed is '0 --iterations 1'"):
        parse(f"--config {yaml_file('seed: 0 --iterations 1')}")
    path = yaml_file("objective_options: ['--seed', '3']")
    with pytest.raises(ConfigError, match="--objective_options: '--seed' isn't of the form key=value"):
        parse(f"--config {path}")


def test_negative_numbers_are_values(yaml_file):
    config = parse("x.pt --dataset digits --mean -1e-2 -.5 -3 --std 1e-1 2 3", ImportConfig)
    assert (config.foreign_set, config.mean, config.std) == ("x.pt", [-0.01, -0.5, -3.0], [0.1, 2.0, 3.0])
    with pytest.raises(ConfigError, match="--clom_alpha is -inf; it has to be at least 0 and finite"):
        parse("--clom_alpha -inf")


@pytest.mark.parametrize(
    "arguments, words",
    [
        ("--clom_alfa 3", ["option 'clom_alfa'", "'clom_alpha'"]),
        ("--clom-alfa=3", ["option 'clom-alfa'", "'clom_alpha'"]),
        ("--ip 3", ["option 'ip'", "'ipc'"]),  # no abbreviations
        ("--ipc 1.5", ["--ipc is '1.5'; it has to be a whole number."]),
        ("--ipc", ["--ipc needs a value (`hf-dd test --help` lists the options)."]),
        ("--ipc --seed 1", ["--ipc needs a value"]),
        ("--config", ["--config needs a value"]),
        ("--ipc 1 2", ["'2' belongs to no option"]),
        ("-x", ["option 'x'"]),
        ("--push_to_hub perhaps", ["--push_to_hub", "perhaps"]),
        ("--dtype float16", ["--dtype", "float16", "float32"]),
        ("digits", ["'digits'", "--NAME VALUE"]),
        (
            "--config digits-dn",
            ["digits-dn", "no such file or recipe", "nearest first: digits-dm, "],
        ),
        ("--report_to wandb", ["--report_to", "wandb", "tensorboard", "trackio"]),
    ],
)
def test_a_wrong_command_line(arguments, words):
    with pytest.raises(ConfigError) as error:
        parse(arguments)
    assert_says(error, words)


@pytest.mark.parametrize(
    "config, options, words",
    [
        (DistillConfig, {"ipc": 0}, ["--ipc is 0", "at least 1"]),
        (DistillConfig, {"ipc": -2}, ["--ipc is -2", "at least 1"]),
        (DistillConfig, {"iterations": 0}, ["--iterations is 0", "at least 1"]),
        (DistillConfig, {"real_batch_size": 0}, ["--real_batch_size is 0"]),
        (DistillConfig, {"save_steps": 0}, ["--save_steps is 0"]),
        (DistillConfig, {"clom_alpha": float("nan")}, ["--clom_alpha is nan", "finite"]),
        (DistillConfig, {"clom_alpha": float("inf")}, ["--clom_alpha is inf", "finite"]),
        (DistillConfig, {"clom_alpha": -1.0}, ["--clom_alpha is -1.0", "at least 0"]),
        (DistillConfig, {"image_learning_rate": float("nan")}, ["--image_learning_rate is nan"]),
        (DistillConfig, {"image_learning_rate": float("inf")}, ["--image_learning_rate is inf", "finite"]),
        (DistillConfig, {"image_momentum": -0.1}, ["--image_momentum is -0.1", "at least 0"]),
        (DistillConfig, {"eval_epochs": 0}, ["--eval_epochs holds [0]", "at least 1"]),
        (EvaluateConfig, {"sets": ["a/b"], "eval_epochs": [300, -1]}, ["--eval_epochs holds [-1]"]),
        (EvaluateConfig, {"sets": ["a/b"], "scores": ["lrs"]}, ["--scores", "['lrs']", "label_robust_score"]),
        (DistillConfig, {"eval_learning_rates": [0.1, float("inf")]}, ["--eval_learning_rates holds [inf]", "finite"]),
        (EvaluateConfig, {"sets": ["a/b"], "baselines": ["rnd"]}, ["['rnd']", "random, herding, k-centers, el2n"]),
        (DistillConfig, {"image_size": 0}, ["--image_size is 0"]),
        (DistillConfig, {"clom": "ce"}, ["--clom ce needs teachers", "--teacher_pool"]),
        (
            DistillConfig,
            {"clom": "ce", "teachers": ["a/b"], "teacher_pool": "local/x"},
            ["one way", "--teachers", "--teacher_pool"],
        ),
        (PretrainConfig, {"epochs": 0}, ["--epochs is 0"]),
        (PretrainConfig, {"epochs": 5, "keep_epochs": [6]}, ["--keep_epochs", "[6]", "from 0, as drawn, to 5"]),
        (PretrainConfig, {"lr_drops": [1.0]}, ["--lr_drops", "[1.0]"]),
        (PretrainConfig, {"architectures": []}, ["--architectures"]),
        (PretrainConfig, {"learning_rate": float("nan")}, ["--learning_rate is nan"]),
        (EvaluateConfig, {}, ["at least one distilled set", "hf-dd evaluate"]),
        (EvaluateConfig, {"sets": ["a"], "eval_students": 0}, ["--eval_students is 0"]),
        (EvaluateConfig, {"sets": ["a"], "eval_copies": ["4bit"]}, ["--eval_copies", "4bit", "8bit"]),
    ],
)
def test_values_out_of_range(config, options, words):
    with pytest.raises(ConfigError) as error:
        config(**options)
    assert_says(error, words)


def test_the_smallest_values_that_make_sense_are_taken():
    config = DistillConfig(ipc=1, iterations=1, clom_alpha=0.0, eval_students=0, image_momentum=0.0)
    assert (config.ipc, config.iterations, config.clom_alpha) == (1, 1, 0.0)


def assert_says(error, words):
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_sets_of_evaluate_are_positional():
    config = parse("a/b@v1 outputs/c --eval_students 2", EvaluateConfig)
    assert config.sets == ["a/b@v1", "outputs/c"] and config.eval_students == 2
    assert parse("--sets a/b --dataset digits", EvaluateConfig).sets == ["a/b"]


@pytest.mark.parametrize("text, expected", [("width=64", 64), ("width=0.5", 0.5), ("width=x=y", "x=y")])
def test_key_values(text, expected):
    assert parse_key_values([text]) == {"width": expected}


@pytest.mark.parametrize("text", ["width", "=3", "width="])
def test_key_values_of_another_form(text):
    with pytest.raises(ConfigError, match="key=value"):
        parse_key_values([text])


@pytest.mark.parametrize(
    "text, expected",
    [("Fashion-MNIST", "fashion-mnist"), ("owner/My_Set@v1", "my-set"), ("/data/x y/", "x-y"), ("@", "data")],
)
def test_slug(text, expected):
    assert slug(text) == expected


def test_nearest_first():
    assert nearest_first("convnet", ["MLP", "ConvNetBN", "ConvNet"])[0] == "ConvNet"


def test_one_value_from_python_is_a_list_of_it():
    config = DistillConfig(teachers="a/b", clom="ce", baselines="none", eval_epochs=5, report_to=("trackio",))
    assert (config.teachers, config.baselines, config.eval_epochs) == (["a/b"], [], [5])
    assert config.report_to == ["trackio"] and config.named_teachers == ["teachers"]
    pretrain = PretrainConfig(architectures="MLP", teacher_seeds=3, lr_drops=0.5)
    assert (pretrain.architectures, pretrain.teacher_seeds, pretrain.lr_drops) == (["MLP"], [3], [0.5])
    assert EvaluateConfig(sets="a/set", scores="relative_accuracy").scores == ["relative_accuracy"]
    assert StudyConfig(study="x", seeds=1).seeds == [1]
    assert dataclasses.replace(DistillConfig(), report_to="trackio").report_to == ["trackio"]


def test_epochs_of_students_are_one_number_or_several(yaml_file):
    assert parse("--eval_epochs 300").eval_epochs == [300] == DistillConfig(eval_epochs=300).eval_epochs
    assert parse("--eval_epochs 100 300").eval_epochs == [100, 300]
    assert parse(f"--config {yaml_file('eval_epochs: 5')}").eval_epochs == [5]
    assert DistillConfig(eval_epochs=None).eval_epochs == DistillConfig().eval_epochs == []
    assert dataclasses.replace(DistillConfig(), eval_epochs=7).eval_epochs == [7]


def test_no_option_at_all_runs_the_default_recipe():
    assert parse([], default="digits-dm") == parse("--config digits-dm")
    assert parse([], PretrainConfig, default="digits-teachers") == parse("--config digits-teachers", PretrainConfig)
    assert parse("--ipc 3", default="digits-dm") == DistillConfig(ipc=3)


# ------------------------------------------------------------------------------------------------------ defaults


def test_defaults_are_the_published_ones():
    published = OBJECTIVES["dm"].published
    settings = {
        "iterations": 20_000,
        "real_batch_size": 256,
        "image_learning_rate": 1.0,
        "image_momentum": 0.5,
        "image_optimizer": "sgd",
        "image_schedule": "constant",
        "init": "real",
    }
    more = {"betas": (0.9, 0.999), "augments": True, "cells": published.cells, "networks": "random"}
    more |= {"strategy": None, "rate_per_ipc": False, "unit_pixels": False, "short_rate": 3.0}
    assert {each.name: getattr(published, each.name) for each in dataclasses.fields(published)} == settings | more
    distil = DistillConfig()
    for name in settings:
        assert getattr(distil, name) is None  # the objective's own value is used
    assert (distil.clom_alpha, distil.ipc, distil.factor, distil.objective) == (100.0, 10, 1, "dm")
    assert distil.augment is None and not distil.published  # the data decide
    settings |= {"augment": "color_crop_cutout_flip_scale_rotate"}
    filled = published.filled_in(DistillConfig(published=True))
    assert {name: filled[name] for name in settings} == settings
    filled = published.filled_in(distil)
    assert {name: filled[name] for name in settings} == settings | {"init": "herding", "augment": None}
    assert (distil.eval_protocol, distil.eval_epochs, distil.eval_learning_rates) == ("dsa", [], [])
    teacher = PretrainConfig()
    assert (teacher.learning_rate, teacher.momentum, teacher.weight_decay) == (0.01, 0.9, 5e-3)
    assert (teacher.batch_size, teacher.epochs, teacher.augment) == (256, 150, "none")


def test_a_teachers_learning_rate_drops_at_the_published_epochs():
    from hf_dd.training.pretraining import training_recipe

    assert training_recipe(PretrainConfig()).drops == (50, 100)
    assert training_recipe(PretrainConfig(epochs=12)).drops == (4, 8)
    # A drop after epoch 0 would be there before the first step.
    assert training_recipe(PretrainConfig(epochs=1)).drops == (1, 1)
    assert training_recipe(PretrainConfig(epochs=1, lr_drops=[0.5])).drops == (1,)


@pytest.mark.parametrize("config", [DistillConfig, PretrainConfig, EvaluateConfig])
def test_every_option_says_what_it_is(config):
    for field in dataclasses.fields(config):
        assert field.metadata["help"].endswith("."), field.name


def test_lists_of_two_configs_are_not_shared():
    first, second = PretrainConfig(), PretrainConfig()
    first.architectures.append("MLP")
    assert second.architectures == ["ConvNet"]


# -------------------------------------------------------------------------------------- the command that repeats


@pytest.mark.parametrize(
    "config",
    [
        DistillConfig(),
        DistillConfig(
            dataset="owner/some set@v1",
            ipc=3,
            iterations=7,
            seed=-2,
            clom="cos",
            clom_alpha=1e-05,
            teachers=["a/b@final", "models/it's here"],
            image_learning_rate=0.1 + 0.2,
            architecture_options=["width=8", "norm=none"],
            save_steps=7,
            compile=True,
            dtype="float64",
            augment="none",
        ),
        DistillConfig(clom="ce", teacher_tags=["hf-dd-teacher", "arch:MLP"], eval_students=0),
        PretrainConfig(),
        PretrainConfig(architectures=["ConvNet", "MLP"], teacher_seeds=[0, 1, 3], keep_epochs=[1, 150], lr_drops=[]),
        PretrainConfig(lr_drops=[0.1, 2 / 3], mixed_precision="bf16"),
        EvaluateConfig(sets=["a/b", "c d"], baselines=[], eval_copies=["8bit"], dataset="digits"),
    ],
)
def test_the_command_of_a_card_parses_back_to_the_same_options(config):
    words = shlex.split(provenance.command_line("distill", config))
    assert words[:2] == ["hf-dd", "distill"]
    assert parse(words[2:], type(config)) == config


def test_the_command_of_several_processes_launches_them():
    words = shlex.split(provenance.command_line("distill", DistillConfig(ipc=2), processes=2))
    assert words[:8] == ["accelerate", "launch", "--multi_gpu", "--num_processes", "2", "-m", "hf_dd", "distill"]
    assert parse(words[8:]) == DistillConfig(ipc=2)


def test_the_command_repeats_the_recipe_not_the_circumstances():
    config = DistillConfig(ipc=2, overwrite_output_dir=True, resume_from_checkpoint="latest")
    assert provenance.command_line("distill", config) == "hf-dd distill --ipc 2"
    pushed = {"push_to_hub": True, "hub_tag": "v7", "hub_dataset_id": "a", "hub_revision": "dev", "create_pr": True}
    logged = {"profile": True, "report_to": ["tensorboard"], "hub_private_repo": True}
    assert provenance.command_line("distill", DistillConfig(ipc=2, **pushed, **logged)) == "hf-dd distill --ipc 2"
    config = PretrainConfig(hub_namespace="lab", push_to_hub=True, keep_epochs=[1])
    assert provenance.command_line("pretrain", config) == "hf-dd pretrain --keep_epochs 1"


# ---------------------------------------------------------------------------------------------- the command line


HELP = [[command] for command in cli.COMMANDS] + [
    ["pool", "create"],
    ["pool", "show"],
    ["pool", "diff"],
    ["pool", "select"],
    ["pool", "verify"],
    ["cache", "ls"],
    ["cache", "rm"],
    ["hub", "serve"],
    ["hub", "run"],
]


@pytest.mark.parametrize("command", HELP, ids=" ".join)
def test_help(command, capsys):
    cli.main([*command, "--help"])
    assert capsys.readouterr().out.startswith(f"usage: hf-dd {command[0]}")


def test_the_help_of_distill_lists_every_option(capsys):
    cli.main(["distill", "--help"])
    printed = capsys.readouterr().out
    for field in dataclasses.fields(DistillConfig):
        assert f"--{field.name}" in printed


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_the_summary_names_every_command(arguments, capsys):
    cli.main(arguments)
    printed = capsys.readouterr().out
    assert {line.split()[0] for line in printed.splitlines() if line.startswith("  ")} >= cli.COMMANDS.keys()


def test_version(capsys):
    cli.main(["--version"])
    assert capsys.readouterr().out == f"{hf_dd.__version__}\n"


def test_an_unknown_command_lists_the_commands():
    with pytest.raises(SystemExit) as end:
        cli.main(["distil"])
    assert str(end.value).startswith("hf-dd: error: unknown command 'distil'") and "distill" in str(end.value)


def test_an_error_is_one_line_and_a_status(run_python, tmp_path):
    done = run_python("-m", "hf_dd", "distill", "--ipc", "0", cwd=tmp_path)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == "hf-dd: error: --ipc is 0; it has to be at least 1.\n"
    assert list(tmp_path.iterdir()) == []


HEAVY = ("torch", "transformers", "datasets", "accelerate", "timm", "sklearn", "huggingface_hub")
NOT_OF_A_DISTILLATION = "evaluate transformers torchvision torch._dynamo datasets scipy sklearn pandas timm".split()


@pytest.mark.parametrize(
    "code, allowed",
    [
        ("from hf_dd import cli; cli.main(['--help'])", []),
        ("import hf_dd", []),
        ("import hf_dd; hf_dd.DistillConfig(ipc=1); hf_dd.HfDdError", []),
        ("import hf_dd.hub", ["huggingface_hub"]),
        ("import hf_dd.config.parsing", []),
    ],
)
def test_what_is_light_stays_light(run_python, code, allowed):
    script = f"import sys, json; {code}; print(json.dumps([m for m in {HEAVY} if m in sys.modules]))"
    done = run_python("-c", script)
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout.splitlines()[-1])) <= set(allowed)


def test_what_a_distillation_imports_before_it_begins(run_python):
    modules = "hf_dd.config.parsing, hf_dd.runs.distill, hf_dd.runs.evaluate, hf_dd.runs.pretrain"
    done = run_python("-c", f"import sys, {modules}; print(*({{*{NOT_OF_A_DISTILLATION}}} & sys.modules.keys()))")
    assert (done.returncode, done.stdout) == (0, "\n"), done.stderr


def test_every_public_name_is_there():
    assert len(dir(hf_dd)) == len(set(dir(hf_dd))) >= 13
    for name in dir(hf_dd):
        value = getattr(hf_dd, name)
        assert name == "__version__" or value.__doc__, name
    with pytest.raises(AttributeError, match="'nothing'"):
        _ = hf_dd.nothing


def test_what_has_a_row_each_is_named_once():
    config = DistillConfig(
        eval_copies=["float", "8bit", "float"], eval_architectures=["MLP", "MLP"], baselines=["random", "random"]
    )
    assert (config.eval_copies, config.eval_architectures) == (["float", "8bit"], ["MLP"])
    assert config.baselines == ["random"]


def test_a_config_that_is_planned_at_the_call_gives_no_more_than_was_given():
    given = DistillConfig(dataset="digits", ipc=1, factor=2, clom_alpha=5.0)
    assert (given.eval_students, given.mixed_precision) == (3, "no")
    planned = DistillConfig.over(given, {"minutes": 1})
    assert planned == DistillConfig(dataset="digits", ipc=1, factor=2, clom_alpha=5.0, minutes=1)
    assert (planned.eval_students, planned.mixed_precision, planned.clom_alpha) == (None, None, 5.0)
    given.eval_students = 4
    assert DistillConfig.over(given, {"minutes": 1}).eval_students == 4
    assert DistillConfig.over(given, {"seed": 1}).mixed_precision == "no"
