"""What recipes claim to have as published, against the facts of `tests/facts.py`, which name their sources."""

import re

import pytest

from hf_dd.config import DistillConfig, PretrainConfig
from hf_dd.config.known_data import STATISTICS
from hf_dd.config.parsing import parse_config
from hf_dd.core.registry import OBJECTIVES
from hf_dd.core.resources import resource
from hf_dd.evaluation.protocols import Protocol
from hf_dd.objectives.base import options_of, seen_as_published
from hf_dd.objectives.gradient import OF_THE_PAPER, loops_of
from tests import facts

NEEDED = {"clom": ["--teachers", "a/b"]} | dict.fromkeys(("mtt", "tesla", "datm"), ["--experts", "a/b"])


def recipe(name):
    """A recipe's options, those of the run that it comes to, and those of its objective's own."""
    needed = next((words for end, words in NEEDED.items() if name.endswith(f"-{end}")), [])
    config = seen_as_published(parse_config(DistillConfig, ["--config", name, *needed], command="hf-dd distill"))
    method = OBJECTIVES[config.objective]
    return config, method.published.filled_in(config), options_of(method, config)


@pytest.mark.parametrize("name", facts.TEACHERS)
def test_teachers_and_experts_are_trained_as_published(name):
    source, wanted = facts.TEACHERS[name]
    config = parse_config(PretrainConfig, ["--config", name], command="hf-dd pretrain")
    drops = [round(fraction * config.epochs) for fraction in config.lr_drops]
    found = vars(config) | {"lr_drops": drops, "count": len(config.teacher_seeds)}
    assert {key: found[key] for key in wanted} == wanted, source
    if "experts" in name:
        assert config.kept_epochs == list(range(config.epochs + 1))
        assert bool(config.zca) is name.endswith(("-zca", "-datm"))


@pytest.mark.parametrize("name", facts.SETS)
def test_sets_are_distilled_as_published(name):
    source, run, own, protocol = facts.SETS[name]
    config, settings, options = recipe(name)
    settings["augment"] = settings["augment"] or "decided by the data"
    assert {key: settings[key] for key in run} == run, source
    found = vars(options)
    if found.get("outer") == OF_THE_PAPER:
        found = found | dict(zip(("outer", "inner"), loops_of(config.ipc), strict=True))
    assert {key: found[key] for key in own} == own, source
    evaluation = vars(Protocol.from_config(config))
    assert {key: evaluation[key] for key in protocol} == protocol, source
    assert config.published and config.statistics == "published"


@pytest.mark.parametrize("name", facts.TRAJECTORY_RECIPES)
def test_trajectories_are_matched_by_the_authors_command(name):
    objective, line = facts.TRAJECTORY_RECIPES[name]
    asked = facts.command_options(line)
    config, settings, own = recipe(name)
    assert (config.objective, config.ipc) == (objective, int(asked["ipc"]))
    assert config.dataset == facts.HUB[asked["dataset"]] and bool(config.zca) is ("zca" in asked)
    assert (own.student_steps, own.expert_epochs, own.max_start_epoch, own.student_batch_size) == tuple(
        int(asked.get(key, 0)) for key in ("syn_steps", "expert_epochs", "max_start_epoch", "batch_syn")
    )
    rates = (settings["image_learning_rate"], own.lr_lr, own.student_learning_rate)
    assert rates == tuple(float(asked[key]) for key in ("lr_img", "lr_lr", "lr_teacher"))


@pytest.mark.parametrize("name", facts.ALPHAS)
def test_the_weight_of_the_guide_is_the_one_that_is_said_to_be_the_papers(name):
    assert recipe(name)[0].clom_alpha == facts.ALPHAS[name]


def test_every_recipe_of_a_papers_cell_is_compared_with_its_source():
    """Those that aren't say in their comments that they are no paper's, or are starts and baselines."""
    known = {*facts.TEACHERS, *facts.SETS, *facts.TRAJECTORY_RECIPES, *facts.ALPHAS}
    text = resource("scripts", "recipes", "cifar10.yaml").read_text()
    named = {f"cifar10-{method}" for method in re.findall(r"^  ([\w-]+):", text.partition("methods:")[2], re.M)}
    assert named - known == {
        *("cifar10-random", "cifar10-herding", "cifar10-kcenter", "cifar10-teacher-score"),
        *("cifar10-multi-formation", "cifar10-sre2l"),  # the latter is CIFAR-100's
        *("cifar10-datm", "cifar10-datm-tesla"),  # tests/objectives/test_datm.py does
    }


def test_the_constants_are_those_of_the_papers_code():
    """DC's `get_dataset`, which MTT's and DATM's code starts from."""
    assert STATISTICS["cifar10"][:2] == ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
    assert STATISTICS["cifar100"][:2] == ((0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762))
    assert STATISTICS["svhn"][:2] == ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970))
    assert STATISTICS["mnist"][:2] == ((0.1307,), (0.3081,))
    assert STATISTICS["fashion-mnist"][:2] == ((0.2861,), (0.3530,))
    assert STATISTICS["tiny-imagenet"][:2] == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
