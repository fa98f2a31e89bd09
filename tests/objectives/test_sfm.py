"""Statistical flow matching: against loops, and against linear gradient matching at a head of zeros."""

import pytest
import torch

from hf_dd.errors import DataError
from hf_dd.nn import random_views
from hf_dd.objectives import build_objective
from hf_dd.synthetic.synthetic_set import SyntheticSet
from hf_dd.teachers.pool import TeacherPool
from tests.factories import (
    assert_close,
    make_config,
    make_data,
    make_set,
    make_step,
    make_teacher,
    on_ranks,
    only_losses,
    teacher_logits,
    value_and_gradient,
    with_pixels,
)
from tests.oracles import sfm as oracle

pytestmark = pytest.mark.usefixtures("one_thread")


def pool_of(data, *names):
    return TeacherPool([make_teacher(data, name, seed).double() for seed, name in enumerate(names or ("ConvNet",))])


def objective_of(data, pool, objective="sfm", *own, **options):
    real = {} if objective == "lgm" else {"real_batch_size": None}
    given = {"objective": objective, "teachers": ["passed as a pool"], "objective_options": own} | real | options
    return build_objective(make_config(**given), data, pool)


def features_of(teacher, images):
    """Without the adapter: the teacher's statistics applied by hand."""
    return teacher.network.features((images - 0.4) / 0.3)


@pytest.mark.parametrize("factor", [1, 2])
@pytest.mark.parametrize("copies", [1, 3])
def test_sfm_agrees_with_the_papers_loops(factor, copies):
    data, ipc = make_data((9, 4, 6)), 2
    pool = pool_of(data, "ConvNet", "MLP")
    objective, drawn = objective_of(data, pool, "sfm", f"copies={copies}"), set()
    for index in range(4):
        synthetic = SyntheticSet.initial(data, ipc, "noise", 5, torch.float64, factor)
        step = make_step(synthetic, data, index, seed=1)
        ours = value_and_gradient(only_losses(objective, step)["sfm"], synthetic.pixels)
        place = pool.draw(1, index)
        drawn.add(place)
        real = [data.train.images[data.train.labels == label].double() / 255 for label in range(3)]
        images = synthetic.images().repeat_interleave(copies, 0)
        views = ("flip", "crop", "noise")
        draws = random_views.draw(len(images), views, data.image_size, step.generator("views"), 0.08)
        seen = random_views.apply(synthetic.own_space(images), draws).split(ipc * factor**2 * copies)
        theirs = oracle.matching(*([features_of(pool[place], own) for own in side] for side in (real, seen)))
        assert_close(ours, value_and_gradient(theirs, synthetic.pixels), 1e-9)
    assert drawn == {0, 1} and teacher_logits(pool[0], seen[0]).shape[1] == 3


def test_sfm_is_linear_gradient_matching_at_a_head_of_zeros_and_whole_classes():
    data = make_data((5, 5, 5))
    pool = pool_of(data)
    step = make_step(make_set(data), data, 3)
    ours = only_losses(objective_of(data, pool, augment="none"), step)["sfm"]
    linear = objective_of(data, pool, "lgm", "head_std=0", augment="none", real_batch_size=5)
    pairs = [value_and_gradient(loss, step.synthetic.pixels) for loss in (ours, only_losses(linear, step)["lgm"])]
    assert_close(*pairs, 1e-10)


def test_the_real_side_is_computed_once_for_each_teacher():
    data, computed = make_data(), []

    def remembered(kind, teacher, compute):  # as where nothing can be kept on disk
        computed.append(kind)
        return compute()

    pool = pool_of(data, "ConvNet", "MLP")
    objective = objective_of(data, pool)
    values = {
        float(only_losses(objective, make_step(make_set(data), data, index, remembered=remembered))["sfm"].detach())
        for index in range(8)
    }
    assert len({pool.draw(0, index) for index in range(8)}) == 2
    assert computed == ["class-means"] * 2 and len(values) == 8


def test_flows_need_two_classes():
    data = make_data((9,))
    with pytest.raises(DataError, match="has one class, and sfm matches how several lie .* take another --objective"):
        objective_of(data, pool_of(data))


def test_the_gradient_is_that_of_finite_differences():
    data = make_data((4, 3), size=4)
    pool = TeacherPool([make_teacher(data, "ConvNet", width=2, depth=1, activation="swish").double()])
    objective, synthetic = objective_of(data, pool, "sfm", "views=flip_noise"), make_set(data, ipc=1)

    def loss(pixels):
        return only_losses(objective, make_step(with_pixels(synthetic, pixels), data))["sfm"]

    assert torch.autograd.gradcheck(loss, (synthetic.pixels.detach().requires_grad_(),))


@pytest.mark.parametrize("ranks", [2, 5, 9])
def test_shares_of_the_ranks_add_up_to_the_single_ranks_loss(ranks):
    data = make_data((4, 5, 6, 7))
    start, pool = make_set(data, 1).pixels.detach(), pool_of(data)

    def work(rank, sum_over_ranks, ranks=ranks):
        synthetic = SyntheticSet(start.clone(), data.class_names, data.mean, data.std)
        step = make_step(synthetic, data, rank=rank, ranks=ranks, sum_over_ranks=sum_over_ranks)
        return value_and_gradient(only_losses(objective_of(data, pool), step)["sfm"], synthetic.pixels)

    single = work(0, lambda tensor: tensor, ranks=1)
    shares = zip(*on_ranks(ranks, work), strict=True)
    assert_close([sum(parts) for parts in shares], single, 1e-10)
