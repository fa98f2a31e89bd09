"""What every objective is: its part of the classes, its options, and steps that depend on nothing before them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hf_dd.distillation.checks import preflight
from hf_dd.errors import ConfigError
from hf_dd.objectives import Ownership, build_objective
from tests.factories import (
    make_config,
    make_data,
    make_pool,
    make_set,
    make_step,
    only_losses,
    optimise,
)

pytestmark = pytest.mark.usefixtures("one_thread")


@given(ranks=st.integers(1, 25), num_classes=st.integers(1, 8), size=st.integers(0, 6))
def test_every_image_of_a_class_has_one_owner(ranks, num_classes, size):
    found = {label: [] for label in range(num_classes)}
    for rank in range(ranks):
        own = Ownership.of(rank, ranks, num_classes)
        assert own.split == (ranks > num_classes)
        for label in own.classes:
            found[label] += own.of_batch(torch.arange(size)).tolist()
    assert all(sorted(members) == list(range(size)) for members in found.values())


def test_no_teacher_no_guide_and_an_unknown_objective_is_named():
    data = make_data()
    assert set(only_losses(build_objective(make_config(), data, None), make_step(make_set(data), data))) == {"dm"}
    with pytest.raises(ConfigError, match="--objective dn isn't known; known are: dance, dm"):
        build_objective(make_config(objective="dn"), data, None)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"teachers": ["a/b"]}, "--teachers has no effect without a guide: add --clom ce or --clom cos."),
        (
            {"objective": "clom", "real_batch_size": None},
            "--objective clom is CLoM alone: add --clom ce or --clom cos",
        ),
        ({"objective": "clom", "clom": "ce"}, "--real_batch_size has no meaning for --objective clom: leave it out."),
        ({"objective_options": ["outer=3"]}, "--objective_options: dm has no 'outer'; it has none."),
    ],
)
def test_options_that_dont_fit_the_objective_are_refused_by_name(options, message):
    with pytest.raises(ConfigError, match=message):
        preflight(make_config(**options))


def test_an_objective_knows_what_a_run_of_these_options_takes():
    config = make_config(real_batch_size=None, iterations=7)
    objective = build_objective(config, make_data(), None)
    assert objective.settings == objective.published.filled_in(config)
    names = ("iterations", "real_batch_size", "init", "image_schedule")
    assert [objective.settings[name] for name in names] == [7, 256, "herding", "constant"]


@pytest.mark.parametrize("kind", ["none", "ce", "cos"])
@pytest.mark.parametrize("architecture", ["ConvNet", "ConvNetBN"])
def test_a_step_neither_reads_nor_changes_the_global_generator(kind, architecture):
    data = make_data()

    def run():
        pool = None if kind == "none" else make_pool(data)
        objective = build_objective(make_config(kind, architecture=architecture), data, pool)
        state = torch.get_rng_state()
        pixels = optimise(objective, make_set(data), data)
        assert torch.equal(torch.get_rng_state(), state)
        return pixels

    torch.manual_seed(0)
    first = run()
    torch.rand(17)
    torch.manual_seed(12345)
    assert torch.equal(run(), first)


@pytest.mark.parametrize("kind", ["none", "ce", "cos"])
def test_an_iteration_depends_on_none_before_it(kind):
    data = make_data()
    synthetic = make_set(data)

    def losses(objective, index):
        terms = only_losses(objective, make_step(synthetic, data, index))
        return {name: float(value.detach()) for name, value in terms.items()}

    def objective():
        return build_objective(make_config(kind), data, None if kind == "none" else make_pool(data))

    used = objective()
    after_others = [losses(used, index) for index in (0, 1, 2)]
    assert after_others == [losses(objective(), index) for index in (0, 1, 2)]
