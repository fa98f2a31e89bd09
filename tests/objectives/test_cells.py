"""What `--published` takes for a data set, a size or a network, against the commands that the authors give."""

import pytest

from hf_dd.config import DistillConfig, parse_key_values
from hf_dd.config.known_data import known_name
from hf_dd.config.parsing import method_help
from hf_dd.core.registry import OBJECTIVES
from hf_dd.objectives.base import options_of, seen_as_published
from hf_dd.objectives.gradient import loops_of
from tests.facts import DC_LOOPS, DC_MLP_RATE, DM_RATES, HUB, IDC, MTT, TESLA, command_options

TRAJECTORIES = [("mtt", line) for line in MTT] + [("tesla", line) for line in TESLA]


def published(objective, **options):
    """A run's options and those of the objective's own, with --published."""
    needed = {"experts": ["a/b"]} if OBJECTIVES[objective].uses_experts else {}
    config = seen_as_published(DistillConfig(objective=objective, published=True, **needed, **options))
    method = OBJECTIVES[objective]
    return method.published.filled_in(config), options_of(method, config)


@pytest.mark.parametrize(("objective", "line"), TRAJECTORIES)
def test_trajectories_take_what_the_authors_command_gives(objective, line):
    asked = command_options(line)
    run, own = published(objective, dataset=HUB[asked["dataset"]], ipc=int(asked["ipc"]))
    assert own.student_steps == int(asked["syn_steps"]) and own.expert_epochs == int(asked["expert_epochs"])
    assert own.max_start_epoch == int(asked["max_start_epoch"])
    assert own.student_batch_size == int(asked.get("batch_syn", 0))
    assert own.student_learning_rate == float(asked["lr_teacher"]) and own.lr_lr == float(asked["lr_lr"])
    assert run["image_learning_rate"] == float(asked["lr_img"]) and run["zca"] is ("zca" in asked)
    assert own.augment_by == "batch"  # `DiffAugment` draws one operation in each call
    assert run["iterations"] == {"mtt": 5_000, "tesla": 10_000}[objective]
    assert run["image_momentum"] == 0.5 and run["init"] == "real"
    if objective == "tesla":
        assert own.pixel_gradient == "code" and own.labels == ("expert" if "teacher_label" in asked else "hard")


@pytest.mark.parametrize(("dataset", "ipc", "rate"), DM_RATES)
def test_dm_takes_larger_steps_where_its_readme_says_so(dataset, ipc, rate):
    assert published("dm", dataset=HUB[dataset], ipc=ipc)[0]["image_learning_rate"] == rate


@pytest.mark.parametrize("objective", ["dc", "dsa"])
def test_gradient_matching_moves_images_less_for_an_mlp(objective):
    assert published(objective, architecture="MLP")[0]["image_learning_rate"] == DC_MLP_RATE
    assert published(objective)[0]["image_learning_rate"] == 0.1


@pytest.mark.parametrize("ipc", [1, 10, 50])
@pytest.mark.parametrize(("dataset", "row"), IDC.items())
def test_idcs_rate_and_distance_go_by_the_data(dataset, row, ipc):
    distance, rate, images, scale = row
    run, own = published("idc", dataset=HUB.get(dataset, dataset.lower()), ipc=ipc)
    assert (own.distance, own.network_images) == (distance, images)
    # One step on the sum over classes at twice the rate without momentum, for theirs of a class with momentum 0.5.
    assert run["image_learning_rate"] == pytest.approx(2 * rate * ipc / 10 * scale, rel=2e-3)


def test_gradient_matchings_loops_are_those_of_the_code():
    assert {ipc: loops_of(ipc) for ipc in DC_LOOPS} == DC_LOOPS


def test_what_is_given_goes_before_what_is_published():
    cell = {"dataset": "uoft-cs/cifar10", "ipc": 10}
    given = {"image_learning_rate": 7.0, "zca": False, "objective_options": ["student_steps=4"]}
    run, own = published("mtt", **cell, **given)
    assert run["image_learning_rate"] == 7.0 and run["zca"] is False
    assert own.student_steps == 4 and own.max_start_epoch == 20
    assert parse_key_values(run["objective_options"]) == {
        **{"student_steps": 4, "expert_epochs": 2, "max_start_epoch": 20, "student_batch_size": 0},
        **{"student_learning_rate": 0.001, "lr_lr": 1e-5, "augment_by": "batch"},
    }


@pytest.mark.parametrize("options", [{"dataset": "digits"}, {"ipc": 11}, {"published": False}])
def test_elsewhere_the_methods_general_values_hold(options):
    config = DistillConfig(
        **{"objective": "mtt", "dataset": "uoft-cs/cifar10", "ipc": 10, "experts": ["a/b"], "published": True}
        | options
    )
    run = OBJECTIVES["mtt"].published.filled_in(config)
    assert run["image_learning_rate"] == 1_000.0 and run["zca"] is None and run["objective_options"] == []
    assert options_of(OBJECTIVES["mtt"], config).max_start_epoch == 25


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("uoft-cs/cifar10@main", "cifar10"),
        ("/data/CIFAR-100/", "cifar100"),
        ("zh-plus/tiny-imagenet", "tiny-imagenet"),
        ("./tiny-imagenet-200", "tiny-imagenet"),
        ("ILSVRC/imagenet-1k", "imagenet-1k"),
        ("zalando-datasets/fashion_mnist", "fashion-mnist"),
        ("digits", None),
        ("somebody/cifar10-dc", None),
    ],
)
def test_data_sets_are_known_by_their_references(reference, name):
    assert known_name(reference) == name


def test_help_tells_of_the_cells():
    text = method_help("mtt")
    assert "cifar10, ipc 10: --image_learning_rate 100.0 --zca True student_steps=30" in " ".join(text.split())
    assert "DC-BENCH" in text
