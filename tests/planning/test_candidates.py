"""Which options are raced where they aren't given."""

import dataclasses

import pytest

from hf_dd.config import DistillConfig
from hf_dd.objectives import OBJECTIVES
from hf_dd.planning import candidates
from hf_dd.planning.candidates import Option

DM = OBJECTIVES.find("dm").published
PLANNED = {"minutes": 5}


def shared(config, published, smallest):
    """As of 32 channels, unless another architecture is asked for."""
    architecture = "ConvNetW32" if config.architecture == DistillConfig.architecture else config.architecture
    return candidates.shared(config, published, smallest, architecture)


@pytest.mark.parametrize(
    "options, side, smallest, factors",
    [
        ({}, 28, 100, (2, 1, 3)),
        ({"ipc": 1}, 28, 100, (3, 2, 1)),
        ({"ipc": 1}, 40, 100, (4, 3, 2, 1)),
        ({"ipc": 1}, 224, 100, (5, 4, 3, 2, 1)),
        ({"ipc": 10}, 64, 1000, (2, 1, 3, 4, 5)),
        ({"ipc": 50}, 64, 1000, (1, 2, 3, 4)),
        ({"ipc": 10}, 28, 80, (2, 1)),  # classes of 80 images have none for 90 tiles
        ({}, 17, 100, (1,)),
        ({}, 8, 100, (1,)),
        ({"ipc": 30}, 28, 100, (1,)),
        ({"factor": 3}, 28, 100, (3,)),
    ],
)
def test_tiles_need_pixels_and_images(options, side, smallest, factors):
    assert tuple(candidates.factors(DistillConfig(**PLANNED, **options), DM, side, smallest)) == factors


def test_tiles_need_memory_for_what_they_decode_to():
    config = DistillConfig(**PLANNED, ipc=10)
    of_imagenet = 4 * 1000 * 3 * 224 * 224
    assert tuple(candidates.factors(config, DM, 224, 1000, of_imagenet)) == (1,)  # 24 GB with four tiles
    assert tuple(candidates.factors(config, DM, 224, 1000, of_imagenet // 30)) == (2, 1, 3, 4)  # 5 GB with 25


def test_a_method_that_matches_no_real_images_has_no_tiles_to_race():
    sre2l = OBJECTIVES.find("sre2l").published
    assert tuple(candidates.factors(DistillConfig(**PLANNED), sre2l, 28, 100)) == (1,)


def test_without_teachers_there_is_no_guide():
    assert [guide.name for guide in candidates.guides(DistillConfig(**PLANNED), None, "ce")] == ["no guide"]


def test_a_guide_balances_by_itself_as_strong_as_the_objective_or_weaker():
    taught = {"teachers": ["a/b@final"]}
    found = candidates.guides(DistillConfig(**PLANNED), taught, "ce")
    assert [guide.options for guide in found] == [
        {"clom": "none"},
        {"clom": "ce", "teachers": ["a/b@final"], "clom_batch": 3, "clom_alpha": "auto", "clom_balance": 0.02},
        {"clom": "ce", "teachers": ["a/b@final"], "clom_batch": 3, "clom_alpha": "auto"},
    ]
    assert [guide.name for guide in found][1:] == ["CLoM ce at α auto, balance 0.02", "CLoM ce at α auto"]
    given = DistillConfig(**PLANNED, clom="ce", clom_alpha="auto", clom_balance=0.5)
    assert [guide.options for guide in candidates.guides(given, taught, "ce")] == [
        {"clom": "ce", "teachers": ["a/b@final"], "clom_batch": 3, "clom_alpha": "auto"}
    ]  # at the balance that is given


def test_of_a_single_image_of_each_class_a_guide_sees_that():
    config = DistillConfig(**PLANNED | {"ipc": 1})
    assert not any("clom_batch" in guide.options for guide in candidates.guides(config, {"teachers": ["a"]}, "ce"))


def test_what_is_given_isn_t_raced():
    taught = {"teachers": ["a/b@final"]}
    config = DistillConfig(**PLANNED, clom="cos", clom_alpha=7, teachers=["a/b@final"])
    assert [guide.options for guide in candidates.guides(config, taught, "ce")] == [
        {"clom": "cos", "teachers": ["a/b@final"], "clom_batch": 3, "clom_alpha": 7.0}
    ]
    config = dataclasses.replace(config, clom_batch=10)
    assert [guide.options for guide in candidates.guides(config, taught, "ce")] == [
        {"clom": "cos", "teachers": ["a/b@final"], "clom_alpha": 7.0}  # and 10 images of each class, as given
    ]
    config = DistillConfig(**PLANNED, clom_alpha=100)  # the default
    assert [guide.options.get("clom_alpha") for guide in candidates.guides(config, taught, "ce")] == [None, 100.0]
    config = DistillConfig(**PLANNED, clom="ce", clom_balance=1)
    assert [guide.name for guide in candidates.guides(config, taught, "ce")] == ["CLoM ce at α auto"]
    config = DistillConfig(**PLANNED, clom="none")
    assert [guide.options for guide in candidates.guides(config, taught, "ce")] == [{"clom": "none"}]
    given = {"real_batch_size": 7, "image_learning_rate": 1.0}
    assert shared(DistillConfig(**PLANNED, **given), DM, 100) == {}


def test_a_class_gives_no_more_real_images_than_it_has():
    assert shared(DistillConfig(**PLANNED), DM, 100)["real_batch_size"] == 64
    assert shared(DistillConfig(**PLANNED), DM, 9)["real_batch_size"] == 9


@pytest.mark.parametrize(("ipc", "rate"), [(1, 3.0), (10, 9.5), (50, 21.2)])
def test_steps_are_long_first_where_time_is_short(ipc, rate):
    found = shared(DistillConfig(**PLANNED | {"ipc": ipc}, real_batch_size=7), DM, 100)
    assert found == {"image_learning_rate": rate, "image_schedule": "cosine"}


@pytest.mark.parametrize(
    ("architecture", "options", "rate"),
    [("ConvNet", [], 2.4), ("ConvNetW64", [], 4.7), ("ConvNetW256", [], 1.2), ("ConvNet", ["width=16"], 19.0)],
)
def test_a_wide_network_takes_a_smaller_rate_as_its_loss_is_a_sum_over_channels(architecture, options, rate):
    config = DistillConfig(**PLANNED | {"ipc": 10}, architecture=architecture, architecture_options=options)
    assert candidates.shared(config, DM, 100, architecture)["image_learning_rate"] == rate


@pytest.mark.parametrize(
    "options",
    [
        *({"image_learning_rate": 2.0}, {"image_schedule": "constant"}, {"published": True}, {"architecture": "MLP"}),
        *({"architecture_options": [f"width={wrong}"]} for wrong in ("0", "-8", "wide")),  # which the network refuses
    ],
)
def test_the_method_s_own_rate_stands_where_something_else_is_asked_for(options):
    assert "image_learning_rate" not in shared(DistillConfig(**PLANNED, **options), DM, 100)


def test_methods_without_a_short_rate_take_their_own():
    dc = dataclasses.replace(DM, short_rate=None)
    assert shared(DistillConfig(**PLANNED), dc, 100) == {"real_batch_size": 64}


def test_the_likeliest_come_first():
    guides = [Option(name, {"clom": name}) for name in ("none", "weak", "strong")]
    found = candidates.combined([2, 1], guides)
    assert [option.name for option in found] == [
        *("factor 2, none", "factor 1, none", "factor 2, weak", "factor 1, weak", "factor 2, strong"),
        "factor 1, strong",
    ]
    assert found[1].options == {"factor": 1, "clom": "none"} and found[1].choices == (1, 0)
    of_three = [option.name for option in candidates.combined([3, 2, 1], guides)]
    assert of_three == [
        *("factor 3, none", "factor 2, none", "factor 3, weak", "factor 1, none", "factor 2, weak"),
        "factor 3, strong",
    ]
