"""DANCE and NCFM: their losses against loops, the calibration step, and their shares on any number of ranks."""

import math

import pytest
import torch

from hf_dd.core.seeding import generator
from hf_dd.core.strategies import parse_strategy
from hf_dd.data import batches
from hf_dd.errors import ConfigError
from hf_dd.nn import augment, networks
from hf_dd.objectives import OBJECTIVES, build_objective
from hf_dd.objectives.base import options_of
from hf_dd.objectives.ncfm import CharacteristicMatching, Reversed, sampling_network
from hf_dd.synthetic.synthetic_set import SyntheticSet
from tests.factories import (
    ONE_AT_A_TIME,
    assert_close,
    make_config,
    make_data,
    make_pool,
    make_set,
    make_step,
    on_ranks,
    own_space,
    teacher_logits,
    value_and_gradient,
    with_pixels,
)
from tests.oracles import clom as clom_oracle
from tests.oracles import dm as dm_oracle
from tests.oracles import ncfm as oracle

pytestmark = pytest.mark.usefixtures("one_thread")

COMPOSITE = "composite_color_crop_cutout"


def options_for(name, *own, **options):
    own = [*own] if name == "dance" else ["frequencies=7", *own]
    given = {"objective": name, "networks": "random", "augment": COMPOSITE, "teachers": ["passed as a pool"]}
    return make_config(**given | {"objective_options": own} | options)


def clipped_set(data, ipc=2, factor=1):
    """A set whose pixels are within [0, 1], as an iteration makes it."""
    synthetic = SyntheticSet.initial(data, ipc, "noise", 5, torch.float64, factor)
    synthetic.clip()
    return synthetic


def by_class(step, config, images):
    draws = augment.draw(step.data.num_classes, parse_strategy(config.augment), step.generator("augment"))
    return [augment.apply(own, draws.expand([label] * len(own))) for label, own in enumerate(images)]


def batches_of(step, config):
    """Augmented real and synthetic images of each class."""
    real = [
        step.as_input(
            step.data.train.images[step.data.sample_class(c, config.real_batch_size, step.generator("real", c))]
        )
        for c in range(step.data.num_classes)
    ]
    synthetic = step.synthetic.images().split(step.synthetic.per_class)
    return by_class(step, config, real), by_class(step, config, synthetic)


def features_for(step, config):
    network = networks.build(config.architecture, **step.data.network_shape, width=4, depth=1)
    network.double().train().reinitialise(step.seed, "student", step.index)
    return network.features


# --- dance


@pytest.mark.parametrize("factor", [1, 2])
@pytest.mark.parametrize("weight", [1.0, 0.25])
def test_dance_is_dms_loop_and_then_a_teachers_cross_entropy_of_augmented_images(factor, weight):
    data = make_data()
    config, pool = options_for("dance", f"calibration={weight}", factor=factor), make_pool(data)
    objective = build_objective(config, data, pool)
    for index in range(3):
        step = make_step(SyntheticSet.initial(data, 2, "noise", 5, torch.float64, factor), data, index, seed=3)
        losses = objective.losses(step)
        matching = value_and_gradient(next(losses)["dance"], step.synthetic.pixels)
        theirs = dm_oracle.matching(*batches_of(step, config), features_for(step, config))
        assert_close(matching, value_and_gradient(theirs, step.synthetic.pixels), 1e-9)
        calibration = value_and_gradient(next(losses)["calibration"], step.synthetic.pixels)
        teacher = pool[pool.draw(3, "network", index)]
        images, strategy = step.synthetic.images(), parse_strategy(COMPOSITE)
        seen = augment.apply(images, augment.draw(len(images), strategy, step.generator("clom-augment", -1)))
        logits = teacher_logits(teacher, step.synthetic.own_space(seen))
        names = [data.class_names[label] for label in step.synthetic.image_labels()]
        theirs = weight * 3 * clom_oracle.cross_entropy(logits, names, teacher.class_names)
        assert_close(calibration, value_and_gradient(theirs, step.synthetic.pixels), 1e-9)
        assert list(losses) == []
        stored = own_space(step.synthetic, data)
        assert stored.min() >= -1e-12 and stored.max() <= 1 + 1e-12


def test_calibration_may_come_less_often_or_not_at_all():
    data = make_data()
    for own, expected in ((["calibration=0"], [1] * 5), (["calibration_every=2"], [2, 1, 2, 1, 2])):
        objective = build_objective(options_for("dance", *own), data, make_pool(data))
        assert [len(list(objective.losses(make_step(make_set(data), data, i)))) for i in range(5)] == expected


def test_one_teacher_of_all_is_drawn_per_iteration():
    data, seen = make_data(), set()
    pool = make_pool(data)
    objective = build_objective(options_for("dance"), data, pool)
    objective.cross_entropy = lambda step, inner, members: seen.update(members) or step.zero()
    for index in range(20):
        list(objective.losses(make_step(make_set(data), data, index)))
    assert seen == {0, 1, 2}


def test_a_guide_adds_its_term_to_both_steps():
    data = make_data()
    config = options_for("dance", clom="ce", clom_augment="color")
    names = [sorted(losses) for losses in build_objective(config, data, make_pool(data)).losses(step_of(data))]
    assert names == [["clom", "dance"], ["calibration", "clom"]]
    config = options_for("ncfm", clom="cos", clom_alpha="auto")
    names = [sorted(losses) for losses in build_objective(config, data, make_pool(data)).losses(step_of(data))]
    assert names == [["clom", "ncfm"], ["calibration", "clom"]]


def step_of(data, index=0):
    return make_step(clipped_set(data), data, index)


# --- ncfm


@pytest.mark.parametrize("weights", [(0.5, 0.5), (0.2, 0.7), (1.0, 0.1)])
@pytest.mark.parametrize("factor", [1, 2])
def test_ncfm_agrees_with_the_papers_loops(weights, factor):
    data = make_data()
    config = options_for("ncfm", f"amplitude={weights[0]}", f"phase={weights[1]}", factor=factor)
    objective = build_objective(config, data, make_pool(data))
    for index in range(2):
        step = make_step(clipped_set(data, factor=factor), data, index, seed=3)
        ours = value_and_gradient(next(objective.losses(step))["ncfm"], step.synthetic.pixels)
        features = features_for(step, config)
        real, synthetic = ([features(images) for images in of_class] for of_class in batches_of(step, config))
        t = torch.randn(7, objective.network.feature_size, generator=step.generator("frequencies")).double()
        theirs = oracle.matching(real, synthetic, t, *weights)
        assert_close(ours, value_and_gradient(theirs, step.synthetic.pixels), 1e-6)


def two_batches(count=(9, 4), size=5):
    draws = generator(0, "features")
    return [torch.randn(rows, size, generator=draws, dtype=torch.float64) for rows in count]


def characteristic_sums(features, t):
    angles = torch.nn.functional.normalize(features, dim=1) @ t.T
    return torch.cat([angles.cos().mean(0), angles.sin().mean(0)])[None]


def test_at_equal_weights_the_loss_is_the_distance_of_the_functions_and_its_square_the_mmd():
    data = make_data()
    objective = build_objective(options_for("ncfm"), data, make_pool(data))
    real, synthetic = two_batches()
    t = torch.randn(40_000, 5, generator=generator(0, "t"), dtype=torch.float64)
    u, v = (characteristic_sums(rows, t) for rows in (real, synthetic))
    difference = torch.complex(*(u - v).chunk(2, dim=1)).abs()
    assert float(objective.distance(u, v)) == pytest.approx(300 * math.sqrt(0.5) * float(difference.mean()), rel=1e-9)
    squared = difference.square()
    error = 4 * float(squared.std()) / math.sqrt(squared.numel())
    assert float(squared.mean()) == pytest.approx(oracle.squared_mmd(real, synthetic), abs=error)
    assert error < 0.05 * float(squared.mean())


def test_features_of_any_length_count_alike_and_equal_ones_have_a_finite_gradient():
    data = make_data()
    objective = build_objective(options_for("ncfm"), data, make_pool(data))
    objective.places = torch.randn(6, 5, generator=generator(0, "t"), dtype=torch.float64)
    rows = two_batches()[0][None].requires_grad_()
    assert torch.allclose(objective.sums(rows), objective.sums(7 * rows))
    (gradient,) = torch.autograd.grad(objective.distance(objective.sums(rows).detach(), objective.sums(rows)), rows)
    assert torch.isfinite(gradient).all()
    nothing = torch.zeros(1, 12, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(objective.distance(nothing.detach(), nothing), nothing)
    assert torch.isfinite(gradient).all()


def test_the_sampling_network_climbs_while_the_images_descend():
    data = make_data()
    config = options_for("ncfm", "sampling=network")
    objective = build_objective(config, data, make_pool(data))
    step = step_of(data)
    loss = next(objective.losses(step))["ncfm"]
    learned = {name: learnable.parameter for name, learnable in objective.learnables().items()}
    assert {(one.learning_rate, one.momentum) for one in objective.learnables().values()} == {(1e-3, 0.5)}
    assert objective.places.shape == (4, objective.network.feature_size)
    gradient, *reversed_ones = torch.autograd.grad(loss, [step.synthetic.pixels, *learned.values()])
    features = features_for(step, config)
    real, synthetic = ([features(images) for images in of_class] for of_class in batches_of(step, config))
    noise = torch.randn(4, objective.network.feature_size, generator=step.generator("frequencies")).double()
    theirs = oracle.matching([each.detach() for each in real], synthetic, objective.sampler(noise))
    expected, *ascents = torch.autograd.grad(theirs, [step.synthetic.pixels, *learned.values()])
    assert_close([gradient], [expected], 1e-6)
    weights = [place for place, name in enumerate(learned) if name.endswith(("0.weight", "6.weight", "7.bias"))]
    assert len(weights) == 3
    for place in weights:
        assert_close([reversed_ones[place]], [-ascents[place]], 1e-5)
    value = torch.ones(2, requires_grad=True)
    assert torch.autograd.grad((3 * Reversed.apply(value)).sum(), value)[0].tolist() == [-3, -3]


def test_the_sampling_network_is_three_layers_that_end_within_one():
    """A linear layer, BatchNorm by the batch and LeakyReLU of 0.2, the same again, then once more with tanh."""
    network = sampling_network(5).double()
    noise = 3 * torch.randn(4, 5, generator=generator(0, "noise"), dtype=torch.float64)
    values = noise
    for place in range(3):
        linear = network[3 * place]
        values = values @ linear.weight.T + linear.bias
        values = (values - values.mean(0)) / (values.var(0, correction=0) + 1e-5).sqrt()
        values = torch.where(values > 0, values, 0.2 * values) if place < 2 else torch.tanh(values)
    assert len(network) == 9 and (network(noise) - values).abs().max() < 1e-12


def test_the_sampling_network_is_drawn_by_the_seed_alone():
    data = make_data()
    drawn = [
        build_objective(options_for("ncfm", "sampling=network", seed=seed), data, make_pool(data)).sampler[0].weight
        for seed in (0, 0, 1)
    ]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


# --- both


@pytest.mark.parametrize("name", ["dance", "ncfm"])
def test_the_gradient_is_that_of_finite_differences(name):
    data = make_data((4, 3), size=4)
    small = {"architecture_options": ["width=2", "depth=1", "activation=swish"], "real_batch_size": 3}
    config = options_for(name, augment="composite_color_scale", **small)
    synthetic = clipped_set(data, ipc=1)

    def loss(pixels):
        objective = build_objective(config, data, make_pool(data))
        return sum(
            sum(losses.values()) for losses in objective.losses(make_step(with_pixels(synthetic, pixels), data))
        )

    pixels = synthetic.pixels.detach().mul(0.9).requires_grad_()
    assert torch.autograd.gradcheck(loss, (pixels,), eps=1e-7, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("own", [("dance",), ("ncfm",), ("ncfm", "sampling=network")])
@pytest.mark.parametrize("architecture", ["ConvNet", "ConvNetBN"])
@pytest.mark.parametrize("ranks", [2, 5, 9])
def test_shares_of_the_ranks_add_up_to_the_single_ranks_losses(own, architecture, ranks):
    data = make_data((4, 5, 6, 7))
    config, start = options_for(*own, architecture=architecture), clipped_set(data, 2).pixels.detach()

    def work(rank, sum_over_ranks, ranks=ranks):
        with ONE_AT_A_TIME:  # threads share torch's global generator, which draws the network; ranks don't
            objective = build_objective(config, data, make_pool(data))
            objective.network.reinitialise(0, "student", 0)
        objective.network.reinitialise = lambda *names: None
        synthetic = SyntheticSet(start.clone(), data.class_names, data.mean, data.std)
        step = make_step(synthetic, data, rank=rank, ranks=ranks, sum_over_ranks=sum_over_ranks)
        learned = [synthetic.pixels, *(each.parameter for each in objective.learnables().values())]
        found = []
        for losses in objective.losses(step):
            loss = sum(losses.values())
            gradients = torch.autograd.grad(loss, learned, allow_unused=True)
            found += [loss.detach(), *(each for each in gradients if each is not None)]
        return found

    single = work(0, lambda tensor: tensor, ranks=1)
    shares = [sum(parts) for parts in zip(*on_ranks(ranks, work), strict=True)]
    largest = max(float(value.abs().max()) for value in single)
    for ours, theirs in zip(shares, single, strict=True):
        assert (ours - theirs).abs().max() <= 1e-9 * max(float(theirs.abs().max()), 1e-6 * largest)


@pytest.mark.parametrize("name", ["dance", "ncfm"])
def test_chunks_change_neither_loss_nor_gradient(name, monkeypatch):
    data, found = make_data((20, 20, 20)), []
    for pixels in (1 << 17, 6 * 6 * 3):
        monkeypatch.setattr(batches, "CHUNK_PIXELS_ON_CPU", pixels)
        step = make_step(clipped_set(data, 4), data)
        objective = build_objective(options_for(name, real_batch_size=11), data, make_pool(data))
        found.append(value_and_gradient(next(objective.losses(step))[name], step.synthetic.pixels))
    assert_close(*found, 1e-10)


@pytest.mark.parametrize("name", ["dance", "ncfm", "idc"])
def test_the_published_settings(name):
    expected = {
        "dance": (10_000, 128, 0.2, 0.0, "sgd", "between"),
        "ncfm": (20_000, 1024, 1e-3, None, "adam", "between"),
        "idc": (2_000, 64, 0.01, 0.0, "sgd", "random"),
    }
    names = ("iterations", "real_batch_size", "image_learning_rate", "image_momentum", "image_optimizer", "networks")
    published = OBJECTIVES[name].published
    settings = published.filled_in(make_config(objective=name, real_batch_size=None, ipc=10))
    assert tuple(settings[key] for key in names) == expected[name]
    assert (settings["augment"], settings["image_schedule"]) == (COMPOSITE, "constant")
    # x = σ x̂ + μ: a step of SGD in [0, 1] is rate · ∂/∂x, and ∂/∂x̂ = σ ∂/∂x; one of Adam is as long as the rate.
    power = 1 if name == "ncfm" else 2
    on_normalised = published.on_normalised(settings, (0.25, 0.25))["image_learning_rate"]
    assert on_normalised == pytest.approx(expected[name][2] / 0.25**power)
    dm = OBJECTIVES["dm"].published
    assert dm.on_normalised({"image_learning_rate": 3.0}, (0.25,)) == {"image_learning_rate": 3.0}


@pytest.mark.parametrize("own", ["sampling=gauss", "frequencies=0", "phase=-1", "calibration_every=0"])
def test_options_of_its_own_are_judged(own):
    with pytest.raises(ConfigError, match=f"--objective_options {own.partition('=')[0]} "):
        options_of(CharacteristicMatching, make_config(objective="ncfm", objective_options=[own]))
