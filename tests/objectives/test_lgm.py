"""Linear gradient matching, its pyramid and its views."""

import json
import logging

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

import hf_dd
from hf_dd.config import DistillConfig
from hf_dd.config.parsing import parse_config
from hf_dd.core.layout import PARQUET
from hf_dd.core.registry import STARTS
from hf_dd.core.seeding import generator
from hf_dd.data import batches
from hf_dd.data.image_data import load_data
from hf_dd.distillation.checks import preflight
from hf_dd.distillation.optimisers import Learned
from hf_dd.errors import ConfigError
from hf_dd.nn import augment, random_views
from hf_dd.objectives import OBJECTIVES, build_objective
from hf_dd.objectives.lgm import head_gradient
from hf_dd.synthetic.distilled_set import from_dataset, to_dataset
from hf_dd.synthetic.preview import preview
from hf_dd.synthetic.pyramid import PyramidSet, colour_axes, level_sizes
from hf_dd.synthetic.start import Request
from hf_dd.synthetic.synthetic_set import SyntheticSet
from hf_dd.teachers.pool import TeacherPool
from tests.factories import (
    NAMES,
    assert_close,
    make_config,
    make_data,
    make_set,
    make_step,
    make_teacher,
    on_ranks,
    only_losses,
    value_and_gradient,
    with_pixels,
)
from tests.oracles import lgm as oracle

pytestmark = pytest.mark.usefixtures("one_thread")

GREY = torch.ones(1, 1, dtype=torch.float64)


def config_of(*options, **others):
    return make_config(
        objective="lgm", teachers=["passed as a pool"], objective_options=["copies=3", *options], **others
    )


def pool_of(data, *architectures, **options):
    teachers = [make_teacher(data, name, seed, **options) for seed, name in enumerate(architectures or ("ConvNet",))]
    return TeacherPool([teacher.double() for teacher in teachers])


def objective_of(data, pool, *options, **others):
    return build_objective(config_of(*options, **others), data, pool)


# --- the head's gradient


@pytest.mark.parametrize(("classes", "images_", "size"), [(2, 1, 1), (3, 7, 5), (10, 4, 20)])
def test_the_closed_form_of_the_heads_gradient_is_autograds(classes, images_, size):
    draws = generator(classes, "head")
    features, weight = (torch.randn(n, size, generator=draws, dtype=torch.float64) for n in (images_, classes))
    labels = torch.randint(classes, (images_,), generator=draws)
    head = torch.nn.Linear(size, classes).double()
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.zero_()
    F.cross_entropy(head(features), labels, reduction="sum").backward()
    expected = torch.cat([head.weight.grad, head.bias.grad[:, None]], dim=1)
    torch.testing.assert_close(head_gradient(features, labels, weight), expected, rtol=1e-12, atol=1e-12)


# --- the loss


def augmented_by_rows(batch, draws, kind, step):
    """The views of one image after the other, in [0, 1] space."""
    rows = []
    for place, image in enumerate(batch):
        own = draws.expand(torch.tensor([place]))
        if kind == "views":
            rows.append(random_views.apply(step.synthetic.own_space(image[None]), own))
        else:
            rows.append(step.synthetic.own_space(augment.apply(image[None], own)))
    return torch.cat(rows)


def oracle_loss(step, teacher, kind, strategy, batch_size, copies, head_std=0.01):
    """By the paper, with the draws named as the reproducibility contract names them."""
    data, synthetic = step.data, step.synthetic
    mean, std = (torch.tensor(x, dtype=torch.float64).view(-1, 1, 1) for x in (data.mean, data.std))

    def draw(count, purpose):
        if kind == "views":
            return random_views.draw(count, strategy, data.image_size, step.generator(purpose))
        return augment.draw(count, strategy, step.generator(purpose))

    chosen = [data.sample_class(c, batch_size, step.generator("real", c)) for c in range(data.num_classes)]
    real = (data.train.images[torch.cat(chosen)].double() / 255 - mean) / std
    real = augmented_by_rows(real, draw(len(real), "real-views"), kind, step)
    each = [(image, label) for image, label in zip(synthetic.images(), synthetic.image_labels(), strict=True)]
    repeated = [pair for pair in each for _ in range(copies)]
    batch = torch.stack([image for image, _ in repeated])
    batch = augmented_by_rows(batch, draw(len(batch), "views"), kind, step)
    size = teacher.network.feature_size
    weight = torch.randn(data.num_classes, size, generator=step.generator("head"), dtype=torch.float64) * head_std
    return oracle.matching(
        lambda x: teacher.network.features((teacher_channels(x, teacher) - 0.4) / 0.3),
        real,
        torch.arange(data.num_classes).repeat_interleave(batch_size),
        batch,
        [label for _, label in repeated],
        weight,
    )


def teacher_channels(x, teacher):
    return x.expand(-1, teacher.transform.channels, -1, -1) if x.shape[1] == 1 else x


@pytest.mark.parametrize("architecture", ["ConvNet", "ConvNetBN", "MLP"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("options", "augmentation", "kind", "strategy", "copies"),
    [
        ([], {}, "views", ("flip", "crop", "noise"), 3),
        (["views=crop", "head_std=0.5"], {}, "views", ("crop",), 3),
        (["views=siamese"], {"augment": "crop_color"}, "siamese", ("crop", "color"), 3),
        ([], {"augment": "none"}, "siamese", (), 1),
    ],
)
def test_lgm_agrees_with_the_papers_loops(architecture, channels, options, augmentation, kind, strategy, copies):
    data = make_data(channels=channels)
    pool = pool_of(data, architecture)
    objective = objective_of(data, pool, *options, **augmentation)
    head_std = 0.5 if options[1:] else 0.01
    for index in range(3):
        step = make_step(make_set(data), data, index, seed=3)
        ours = value_and_gradient(only_losses(objective, step)["lgm"], step.synthetic.pixels)
        theirs = oracle_loss(step, pool[0], kind, strategy, 4, copies, head_std)
        assert_close(ours, value_and_gradient(theirs, step.synthetic.pixels), 1e-7)


@pytest.mark.parametrize("factor", [1, 2])
def test_the_gradient_on_the_pyramid_is_that_of_its_pixels(factor):
    data = make_data(channels=3)
    pool = pool_of(data)
    objective = objective_of(data, pool, "pyramid_steps=2")
    step = make_step(SyntheticSet.initial(data, 2, "noise", 5, torch.float64, factor), data, 5)
    pyramid = objective.parameterise(step.synthetic)
    for index in range(6):
        pyramid.begin(index)
    step = make_step(pyramid, data, 5)
    levels = [level for level in pyramid.levels if level.requires_grad]
    assert len(levels) == 3
    loss = oracle_loss(step, pool[0], "views", ("flip", "crop", "noise"), 4, 3)
    expected = torch.autograd.grad(loss, levels)
    ours = only_losses(objective, step)["lgm"]
    assert float(ours.detach()) == pytest.approx(float(loss.detach()), rel=1e-8)
    assert_close(torch.autograd.grad(ours, levels), expected, 1e-7)


def test_lgm_gradient_is_that_of_finite_differences():
    data = make_data((4, 3), size=4)
    pool = pool_of(data, width=2, depth=1, activation="swish")
    for options in ({"augment": "none"}, {}):
        objective = objective_of(data, pool, "head_std=1.0", real_batch_size=3, **options)
        synthetic = make_set(data, ipc=1)

        def loss(pixels, objective=objective, synthetic=synthetic):
            return only_losses(objective, make_step(with_pixels(synthetic, pixels), data))["lgm"]

        assert torch.autograd.gradcheck(loss, (synthetic.pixels.detach().requires_grad_(),))


@pytest.mark.parametrize("ranks", [2, 3, 5, 13])
@pytest.mark.parametrize("factor", [1, 2])
def test_shares_of_the_ranks_add_up_to_the_single_ranks_loss(ranks, factor):
    """More ranks than classes, and ranks without any image, real or synthetic, among them."""
    data = make_data((4, 5, 6, 7), channels=3)
    teachers = list(pool_of(data, "ConvNet", "MLP"))
    start = SyntheticSet.initial(data, 2, "noise", 5, torch.float64, factor)

    def work(rank, sum_over_ranks, ranks=ranks):
        objective = objective_of(data, TeacherPool(teachers), real_batch_size=3)
        pyramid = objective.parameterise(start)
        found = []
        for index in (0, 1, 2):
            step = make_step(pyramid, data, index, rank=rank, ranks=ranks, sum_over_ranks=sum_over_ranks)
            loss = only_losses(objective, step)["lgm"]
            found.append((loss.detach(), *torch.autograd.grad(loss, pyramid.levels[0])))
        return found

    single = work(0, lambda tensor: tensor, ranks=1)
    together = on_ranks(ranks, work)
    for call, alone in enumerate(single):
        shares = zip(*(results[call] for results in together), strict=True)
        assert_close([sum(parts) for parts in shares], alone, 1e-9)


def test_any_teacher_will_do_and_one_is_drawn_for_each_step():
    data = make_data()
    other = make_data((3, 3, 3, 3, 3), channels=3, size=9)
    teachers = [make_teacher(data).double(), make_teacher(other, "MLP", class_names=NAMES).double()]

    def losses(*pool):
        objective = objective_of(data, TeacherPool(pool))
        steps = [make_step(make_set(data), data, index) for index in range(12)]
        return [float(only_losses(objective, step)["lgm"].detach()) for step in steps]

    alone = [losses(teacher) for teacher in teachers]
    drawn = [TeacherPool(teachers).draw(0, index) for index in range(12)]
    assert set(drawn) == {0, 1}
    for index, (value, teacher) in enumerate(zip(losses(*teachers), drawn, strict=True)):
        assert value == pytest.approx(alone[teacher][index], rel=1e-12)
        assert value != pytest.approx(alone[1 - teacher][index], rel=1e-6)


def test_chunks_that_are_computed_again_change_no_gradient(monkeypatch):
    """As many at a time as the teacher's own size allows, which may be larger than the images'."""
    data, larger = make_data(), make_data(size=12)
    seen = []
    teacher = make_teacher(larger).double()
    forward = teacher.features
    monkeypatch.setattr(teacher, "features", lambda x: seen.append(len(x)) or forward(x))
    found = []
    for pixels in (1 << 17, 12 * 12 * 5):
        monkeypatch.setattr(batches, "CHUNK_PIXELS_ON_CPU", pixels)
        seen.clear()
        synthetic = make_set(data)
        loss = only_losses(objective_of(data, TeacherPool([teacher])), make_step(synthetic, data))["lgm"]
        found.append(value_and_gradient(loss, synthetic.pixels))
    assert_close(*found, 1e-9)
    assert sum(seen) == 1 + 12 + 2 * 18 and max(seen) <= 5  # blank, real, and all copies twice


def test_a_step_neither_reads_nor_changes_the_global_generator_nor_depends_on_others():
    data = make_data()
    objective = objective_of(data, pool_of(data, "ConvNet", "MLP"), "pyramid_steps=2")
    pyramid = objective.parameterise(make_set(data))
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = [float(only_losses(objective, make_step(pyramid, data, index))["lgm"].detach()) for index in range(4)]
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    again = objective_of(data, pool_of(data, "ConvNet", "MLP"), "pyramid_steps=2")
    backwards = [
        float(only_losses(again, make_step(again.parameterise(make_set(data)), data, index))["lgm"].detach())
        for index in (3, 2, 1, 0)
    ]
    assert backwards[::-1] == first
    assert len(set(first)) == 4


# --- the pyramid


@pytest.mark.parametrize(
    ("size", "sides"),
    [
        ((1, 1), [(1, 1)]),
        ((8, 8), [(1, 1), (2, 2), (4, 4), (8, 8)]),
        ((28, 28), [(1, 1), (2, 2), (4, 4), (8, 8), (16, 16), (28, 28)]),
        ((3, 9), [(1, 1), (2, 2), (3, 4), (3, 8), (3, 9)]),
    ],
)
def test_levels_double_up_to_the_images_size(size, sides):
    assert level_sizes(*size) == sides


def make_pyramid(channels=3, size=(5, 7), ipc=2, growth_steps=3, dtype=torch.float64, factor=1):
    shape = (2 * ipc, channels, *size)
    pixels = torch.randn(shape, generator=generator(0, "start"), dtype=torch.float64).to(dtype)
    initial = SyntheticSet(pixels, ["a", "b"], (0.4,) * channels, (0.2,) * channels, factor)
    axes = torch.tensor([[0.6, 0.2, 0.05], [0.6, 0.0, -0.1], [0.5, -0.2, 0.1]], dtype=torch.float64)
    return PyramidSet(initial, axes if channels == 3 else GREY, 4, growth_steps)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_images_are_the_papers_sum_of_levels(channels):
    pyramid = make_pyramid(channels)
    draws = generator(1, "levels")
    with torch.no_grad():
        for level in pyramid.levels:
            level.copy_(torch.randn(level.shape, generator=draws, dtype=torch.float64))
    ours = pyramid.own_space().detach()
    for number in range(4):
        literal = oracle.pyramid([level.detach()[number] for level in pyramid.levels], pyramid.axes)
        torch.testing.assert_close(ours[number], literal, rtol=1e-12, atol=1e-12)
    assert 0 < float(ours.min()) and float(ours.max()) < 1
    rows = torch.tensor([3, 0])
    torch.testing.assert_close(pyramid.images(rows), pyramid.pixels[rows], rtol=1e-12, atol=1e-12)
    names = [f"pyramid.levels.{number}" for number in range(len(pyramid.levels))]

    def decode(*levels):
        return torch.func.functional_call(Decoding(pyramid), dict(zip(names, levels, strict=True)), ())

    assert torch.autograd.gradcheck(decode, tuple(level.detach().requires_grad_() for level in pyramid.levels))


class Decoding(torch.nn.Module):
    """A pyramid's images as a module's output."""

    def __init__(self, pyramid):
        super().__init__()
        self.pyramid = pyramid

    def forward(self):
        return self.pyramid.own_space()


def test_a_level_joins_at_its_turn_as_noise_and_all_stay_as_large():
    pyramid = make_pyramid(size=(16, 16), ipc=30, growth_steps=3)
    noise = [pyramid.noise(number) for number in range(5)]
    assert [tuple(level.shape[1:]) for level in noise] == [(3, side, side) for side in (1, 2, 4, 8, 16)]
    assert [float(level.std()) for level in noise[2:]] == pytest.approx([1.0] * 3, abs=0.05)
    joined = [pyramid.begin(index) for index in range(1, 20)]
    assert [index for index, change in enumerate(joined, 1) if change] == [3, 6, 9, 12]
    for level, start in zip(pyramid.levels, noise, strict=True):
        torch.testing.assert_close(level.detach(), start / 5, rtol=1e-12, atol=1e-15)
        assert level.requires_grad


def test_what_is_in_use_depends_on_the_iteration_alone():
    for index in (0, 2, 3, 5, 6, 8, 9, 100):
        pyramid = make_pyramid(size=(8, 8))
        pyramid.begin(index)
        used = [level.requires_grad for level in pyramid.levels]
        assert used == [number <= index // 3 for number in range(4)]


def settings_of(objective, **options):
    return objective.published.filled_in(config_of(**options))


def test_a_level_that_hasnt_joined_isnt_stepped_and_adam_starts_afresh_when_one_does():
    data = make_data(size=4)
    objective = objective_of(data, pool_of(data), "pyramid_steps=2")
    pyramid = objective.parameterise(make_set(data))
    learned = Learned(pyramid, {}, settings_of(objective), objective.published.betas, {})
    for index in range(6):
        learned.begin(index)
        before = [level.detach().clone() for level in pyramid.levels]
        step_numbers = [float(learned.tensors().get(f"optimizer.levels.{i}.step", -1)) for i in range(3)]
        assert step_numbers == [(index % 2 if i <= index // 2 and index % 2 else -1) for i in range(3)]
        learned.zero_grad()
        sum(only_losses(objective, make_step(pyramid, data, index)).values()).backward()
        learned.step()
        for number, (level, former) in enumerate(zip(pyramid.levels, before, strict=True)):
            moved = float((level.detach() - former).abs().max())
            assert (moved == 0) == (number > index // 2)
            if number <= index // 2 and index % 2 == 0:
                assert moved == pytest.approx(2e-3, rel=1e-3)  # Adam's first step is as long as its rate
        assert all(float(level.detach().abs().max()) == 0 for level in pyramid.levels[index // 2 + 1 :])


@pytest.mark.parametrize("factor", [1, 2])
def test_real_images_are_held_by_the_finest_level(factor):
    data = make_data(channels=3, size=8)
    config = config_of(init="real", factor=factor, ipc=1)
    initial = STARTS.find("real")(Request(config, data, torch.no_grad))
    pyramid = build_objective(config, data, pool_of(data)).parameterise(initial)
    own = initial.own_space().detach()
    inside = own.clamp(0.5 / 255, 1 - 0.5 / 255)
    torch.testing.assert_close(pyramid.own_space().detach(), inside, rtol=1e-9, atol=1e-9)
    assert all(level.requires_grad for level in pyramid.levels)
    assert all(float(level.detach().abs().max()) == 0 for level in pyramid.levels[:-1])
    assert not any(pyramid.begin(index) for index in range(500))
    assert pyramid.images().shape == (3 * factor**2, 3, 8, 8) == initial.images().shape


def test_a_pyramid_is_a_synthetic_set():
    pyramid = make_pyramid(size=(8, 8), dtype=torch.float32)
    for index in range(12):
        pyramid.begin(index)
    assert [name for name, _ in pyramid.named_parameters()] == [f"levels.{i}" for i in range(4)]
    assert pyramid.images().dtype == pyramid.axes.dtype == torch.float32
    copy = make_pyramid(size=(8, 8), dtype=torch.float32)
    copy.load_state_dict(pyramid.state_dict())
    assert torch.equal(copy.cpu().pixels, pyramid.pixels)  # without any `begin`
    rows = from_dataset(to_dataset(pyramid), "it")
    assert torch.equal(rows.pixel_values, pyramid.own_space().detach())
    assert rows.labels.tolist() == [0, 0, 1, 1]
    assert preview(pyramid.own_space(), pyramid.labels).height == 64 + 8  # both classes beside each other
    single, double = pyramid.own_space(), make_pyramid(size=(8, 8))
    for index in range(12):
        double.begin(index)
    torch.testing.assert_close(single.double(), double.own_space(), rtol=0, atol=1e-6)


def test_autocast_leaves_the_decoding_alone():
    pyramid = make_pyramid(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        inside = pyramid.images()
    assert torch.equal(inside, pyramid.images()) and inside.dtype == torch.float32


# --- colours


def test_the_axes_of_colours_are_those_of_the_pixels():
    draws = generator(0, "colours")
    base = torch.randn(40, 3, 5, 5, generator=draws, dtype=torch.float64)
    mix = torch.tensor([[30.0, 8, 1], [30, 0, -4], [28, -9, 3]], dtype=torch.float64)
    pixels = (torch.einsum("ij,njhw->nihw", mix, base) + 128).round().clamp(0, 255).to(torch.uint8)
    axes = colour_axes(pixels)
    covariance = torch.cov(pixels.double().transpose(0, 1).flatten(1), correction=0)
    largest = torch.linalg.eigvalsh(covariance)[-1]
    torch.testing.assert_close(axes @ axes.T, covariance / largest, rtol=1e-9, atol=1e-12)
    lengths = axes.square().sum(0).sqrt()
    assert float(lengths[0]) == pytest.approx(1.0) and lengths.tolist() == sorted(lengths.tolist(), reverse=True)
    across = axes.T @ axes
    torch.testing.assert_close(across, across.diag().diag(), rtol=0, atol=1e-9)
    assert all(float(axis[axis.abs().argmax()]) > 0 for axis in axes.T)
    assert torch.equal(colour_axes(pixels.flip(0)), axes)


def test_colours_without_any_difference_are_mixed_as_well():
    assert torch.equal(colour_axes(torch.randint(0, 256, (3, 1, 4, 4), dtype=torch.uint8)), GREY)
    single = torch.full((3, 3, 4, 4), 7, dtype=torch.uint8)
    assert torch.equal(colour_axes(single), torch.eye(3, dtype=torch.float64))
    grey = torch.randint(0, 256, (9, 1, 4, 4), dtype=torch.uint8).expand(-1, 3, -1, -1)
    axes = colour_axes(grey)
    torch.testing.assert_close(axes[:, 0], torch.full((3,), 3**-0.5, dtype=torch.float64))
    assert axes.square().sum(0).sqrt().tolist() == pytest.approx([1.0, 0.01, 0.01])
    assert torch.isfinite(torch.linalg.inv(axes)).all()


# --- views


def test_views_are_drawn_with_the_published_strengths():
    draws = random_views.draw(4000, random_views.OPERATIONS, (20, 20), generator(0, "views"))
    assert float(draws.mirrored.double().mean()) == pytest.approx(0.5, abs=0.03)
    noisy = draws.noise_seeds >= 0
    assert float(noisy.double().mean()) == pytest.approx(0.5, abs=0.03)
    areas = draws.boxes[:, 2:].prod(1).double() / 400
    assert 0.06 < float(areas.min()) and 0.9 < float(areas.max()) <= 1
    blank = torch.zeros(200, 1, 20, 20, dtype=torch.float64)
    added = random_views.noise(draws.noise_seeds[:200], blank)
    assert float(added[~noisy[:200]].abs().max()) == 0
    with_noise = added[noisy[:200]]
    assert float(with_noise.mean()) == pytest.approx(0.5, abs=0.005)
    assert float(with_noise.std()) == pytest.approx(0.2, abs=0.005)


@pytest.mark.parametrize("operations", ["flip", "crop", "noise", "flip_crop_noise"])
def test_a_view_depends_on_its_own_image_and_draw_alone(operations):
    draws = random_views.draw(8, random_views.parse_operations(operations), (6, 5), generator(1, "views"))
    batch = torch.rand(8, 3, 6, 5, generator=generator(0, "images"), dtype=torch.float64)
    together = random_views.apply(batch, draws)
    assert together.shape == batch.shape and not torch.equal(together, batch)
    order = torch.tensor([5, 0, 7])
    torch.testing.assert_close(
        random_views.apply(batch[order], draws.expand(order)), together[order], rtol=1e-12, atol=1e-12
    )
    torch.testing.assert_close(random_views.apply(batch.float(), draws).double(), together, rtol=0, atol=1e-5)
    if operations == "flip":
        assert torch.equal(together[draws.mirrored], batch.flip(3)[draws.mirrored])
        assert torch.equal(together[~draws.mirrored], batch[~draws.mirrored])
    elif operations == "crop":
        assert float(together.min()) >= float(batch.min()) and float(together.max()) <= float(batch.max())
    assert torch.autograd.gradcheck(lambda x: random_views.apply(x, draws), (batch.requires_grad_(),))


def test_leaving_an_operation_out_changes_no_other():
    full = random_views.draw(50, random_views.OPERATIONS, (6, 6), generator(2, "views"))
    crops = random_views.draw(50, ("crop",), (6, 6), generator(2, "views"))
    assert torch.equal(full.boxes, crops.boxes)
    assert not crops.mirrored.any() and bool((crops.noise_seeds == random_views.NO_NOISE).all())
    with pytest.raises(ValueError, match="50 draws need as many images, not 2"):
        random_views.apply(torch.zeros(2, 1, 6, 6), full)


# --- options


def test_defaults_are_the_published_ones():
    published = OBJECTIVES["lgm"].published
    assert (published.iterations, published.real_batch_size) == (5000, 10)
    assert (published.image_optimizer, published.image_learning_rate, published.betas) == ("adam", 2e-3, (0.9, 0.999))
    assert (published.image_schedule, published.image_momentum, published.init) == ("constant", None, "noise")
    options = build_objective(
        make_config(objective="lgm", teachers=["a pool"]), make_data(), pool_of(make_data())
    ).options
    assert (options.copies, options.head_std, options.pyramid_steps) == (10, 0.01, 200)
    assert (options.views, options.smallest_crop) == ("flip_crop_noise", 0.08)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"teachers": []}, "--objective lgm needs teachers: give --teachers, --teacher_tags or --teacher_pool."),
        ({"image_momentum": 0.5}, "--image_momentum has no meaning for --objective lgm: leave it out."),
        ({"objective_options": ["copies=0"]}, "copies is 0; it has to be at least 1"),
        ({"objective_options": ["pyramid_steps=0"]}, "pyramid_steps is 0; it has to be at least 1"),
        ({"objective_options": ["smallest_crop=1.5"]}, "smallest_crop is 1.5; it has to be above 0 and at most 1"),
        ({"objective_options": ["head_std=-1.0"]}, "head_std is -1.0; it has to be at least 0 and finite"),
        (
            {"objective_options": ["views=flip_blur"]},
            "--objective_options views: unknown view 'blur'.*flip.*or siamese",
        ),
        ({"objective_options": ["steps=3"]}, "lgm has no 'steps'; it has .*pyramid_steps"),
    ],
)
def test_bad_options_are_refused_by_name(options, message):
    with pytest.raises(ConfigError, match=message):
        preflight(DistillConfig(**{"objective": "lgm", "teachers": ["a/b"]} | options))


def test_operations_that_wouldnt_be_used_are_refused():
    data = make_data()
    with pytest.raises(ConfigError, match="--augment crop isn't what lgm augments by.*views=siamese"):
        objective_of(data, pool_of(data), augment="crop")
    assert objective_of(data, pool_of(data), augment="none").augmentation.copies == 1
    assert objective_of(data, pool_of(data), "views=siamese", augment="crop").augmentation.strategy == ("crop",)


@pytest.mark.parametrize(("options", "warns"), [({"iterations": 600}, True), ({"iterations": 601}, False)])
def test_a_run_too_short_for_its_pyramid_warns(options, warns, caplog):
    data = make_data(size=8)
    with caplog.at_level(logging.WARNING):
        objective_of(data, pool_of(data), **options)
        objective_of(data, pool_of(data), init="real", **options)
    assert [record.message[:24] for record in caplog.records if "levels" in record.message] == [
        "The pyramid has 4 levels"
    ] * warns


# --- whole runs


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teachers")
    options = {"epochs": 1, "output_dir": str(folder)}
    done = hf_dd.pretrain(architectures=["ConvNet"], architecture_options=["width=8", "depth=2"], **options)
    return [str(path) for path in done + hf_dd.pretrain(architectures=["MLP"], **options)]


RUN = {"objective": "lgm", "ipc": 1, "iterations": 8, "real_batch_size": 3, "eval_students": 0}


def test_views_by_size_are_the_papers_on_large_images_and_none_on_small_ones(caplog):
    """Large is from 64 pixels on: the paper crops 224 down to 8 % of their area, which leaves 63 pixels a side."""
    for size, operations, copies in ((63, (), 1), (64, ("flip", "crop", "noise"), 3)):
        data = make_data((3, 3), size=size)
        found = objective_of(data, pool_of(data), "views=by_size").augmentation
        assert (found.operations, found.copies, found.siamese, found.strategy == ()) == (
            *(operations, copies),
            *((True, True) if size == 63 else (False, False)),
        )
    data = make_data((3, 3), size=63)
    plain = objective_of(data, pool_of(data), "views=by_size").augmentation
    without = objective_of(data, pool_of(data), augment="none").augmentation
    assert vars(plain) == vars(without)
    objective_of(data, pool_of(data))
    assert "views=by_size, which has none, may teach more" in caplog.text


OPTIONS = {"objective_options": ["copies=2", "pyramid_steps=2"]}


def distil(folder, teachers, **options):
    return hf_dd.distill(**RUN | OPTIONS | {"output_dir": str(folder), "teachers": teachers} | options)


def parquet(folder):
    return (folder / PARQUET).read_bytes()


@pytest.mark.parametrize(
    ("name", "channels", "size"), [("digits", 1, 8), ("fashion-mnist", 1, 28), ("cifar10", 3, 32)]
)
def test_two_steps_of_a_recipe_on_images_of_its_shape(name, channels, size):
    config = parse_config(DistillConfig, ["--config", f"{name}-lgm", "--teachers", "a/b"], command="hf-dd distill")
    data = make_data((80, 70), channels, size)
    objective = build_objective(config, data, TeacherPool([make_teacher(data)]))
    settings = objective.published.filled_in(config)
    pyramid = objective.parameterise(STARTS.find(settings["init"])(Request(config, data, torch.no_grad)))
    learned = Learned(pyramid, {}, settings, objective.published.betas, {})
    start = pyramid.pixels.detach()
    for index in range(2):
        learned.begin(index)
        learned.zero_grad()
        sum(only_losses(objective, make_step(pyramid, data, index)).values()).backward()
        learned.step()
    assert pyramid.pixels.shape == (2, channels, size, size)
    assert (pyramid.pixels - start).abs().amax((1, 2, 3)).min() > 0 and bool(learned.all_finite())


@pytest.mark.parametrize("options", [{}, {"dtype": "float64", "clom": "cos"}, {"init": "real", "factor": 2}])
def test_resuming_from_any_step_gives_the_same_bytes(tmp_path, teachers, options):
    options = options | {"save_steps": 1, "save_total_limit": 100}
    distil(tmp_path / "whole", teachers, **options)
    for step in (0, 1, 2, 3, 4, 6, 7, 8):  # a level joins before the steps 2, 4 and 6
        path = tmp_path / f"whole/checkpoints/step-{step:06d}"
        distil(tmp_path / f"from-{step}", teachers, **options, resume_from_checkpoint=str(path))
        assert parquet(tmp_path / f"from-{step}") == parquet(tmp_path / "whole")
    levels = [load_file(tmp_path / f"whole/checkpoints/step-{step:06d}/tensors.safetensors") for step in (0, 8)]
    used = [[bool(tensors[f"levels.{i}"].any()) for i in range(4)] for tensors in levels]
    assert used == ([[False] * 3 + [True]] * 1 if "init" in options else [[True] + [False] * 3]) + [[True] * 4]


@pytest.mark.multi_process
def test_two_processes_give_the_set_of_one(tmp_path, teachers, ranks_of):
    words = ["--teachers", *teachers, "--dtype", "float64"]
    for name, value in (RUN | OPTIONS).items():
        words += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    distil(tmp_path / "one", teachers, dtype="float64")
    ranks_of("-m", "hf_dd", "distill", *words, "--output_dir", tmp_path / "two")
    one, two = (load_file(tmp_path / f"{name}/checkpoints/step-000008/tensors.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-7, atol=1e-9)
    assert json.loads((tmp_path / "two/hf_dd.json").read_text())["settings"]["objective_options"] == [
        "copies=2",
        "pyramid_steps=2",
    ]


def test_bf16_computes_the_same_loss_but_for_its_precision(tmp_path, teachers, bf16):
    losses = [
        distil(tmp_path / precision, teachers, mixed_precision=precision, iterations=1).record.run["losses"]["lgm"]
        for precision in ("no", "bf16")
    ]
    assert losses[1] == pytest.approx(losses[0], rel=0.05) and losses[0] != losses[1]


def test_the_images_come_to_train_a_probe(tmp_path, teachers):
    """The loss falls, on the views of the first step, and the card says what the teachers were for."""
    artefact = distil(
        tmp_path / "run", teachers[:1], iterations=60, image_learning_rate=0.05, objective_options=["pyramid_steps=5"]
    )
    card = (tmp_path / "run/README.md").read_text()
    assert "linear gradient matching (LGM)" in card and "a linear probe of their features" in card
    data = load_data(DistillConfig())
    pool = TeacherPool.from_references(teachers[:1])
    config = DistillConfig(objective="lgm", teachers=teachers[:1])
    trained = SyntheticSet.of_images(from_dataset(artefact.load(), "it").pixel_values, data, torch.float32)
    found = []
    for synthetic in (SyntheticSet.initial(data, 1, "noise", 0, torch.float32), trained):
        losses = [
            only_losses(build_objective(config, data, pool), make_step(synthetic, data, index))["lgm"]
            for index in range(3)
        ]
        found.append(float(sum(losses).detach()) / 3)
    assert found[1] < 0.8 * found[0]
