import dataclasses

import pytest
import torch
from torch import nn

from hf_dd.core.seeding import generator
from hf_dd.core.strategies import parse_strategy
from hf_dd.data import batches as images
from hf_dd.distillation.checks import preflight
from hf_dd.errors import ConfigError
from hf_dd.nn import augment, networks
from hf_dd.objectives import OBJECTIVES, build_objective
from hf_dd.objectives import gradient as gradient_matching
from hf_dd.objectives.gradient import DISTANCES, loops_of
from hf_dd.synthetic.synthetic_set import SyntheticSet
from tests.factories import (
    ONE_AT_A_TIME,
    arguments,
    assert_close,
    checkpoint_pixels,
    distil,
    make_config,
    make_data,
    make_pool,
    make_set,
    make_step,
    on_ranks,
    only_losses,
    optimise,
    parquet,
    require_two_processes,
    value_and_gradient,
    with_pixels,
)
from tests.oracles import gradient as oracle

pytestmark = pytest.mark.usefixtures("one_thread")

ORACLES = {"layerwise": oracle.layerwise, "mse": oracle.mse, "cosine": oracle.cosine}
LOOPS = ["outer=3", "inner=2", "network_learning_rate=0.5", "network_batch_size=4"]


def make_matching(name="dc", loops=LOOPS, distance="layerwise", **options):
    return make_config(objective=name, objective_options=[*loops, f"distance={distance}"], **options)


def make_single(name="dc", **options):
    """One step on the images, no training of the network."""
    return make_matching(name, ["outer=1"], **options)


def iterate(objective, step, sum_over_ranks=lambda gradient: gradient):
    """The losses of an iteration, each with its gradient, an optimiser step after each."""
    optimizer = torch.optim.SGD([step.synthetic.pixels], 0.1, momentum=0.5)
    for losses in objective.losses(step):
        value, gradient = value_and_gradient(sum(losses.values()), step.synthetic.pixels)
        yield value, gradient
        step.synthetic.pixels.grad = sum_over_ranks(gradient)
        optimizer.step()


# --- the papers' loops


def normalised(data, chosen):
    mean, std = (torch.tensor(values, dtype=torch.float64).view(-1, 1, 1) for values in (data.mean, data.std))
    return (data.train.images[chosen].double() / 255 - mean) / std


def strategy_of(config):
    return parse_strategy(config.augment) if config.objective == "dsa" else ()


def oracle_batches(step, config, outer):
    """The batches of every class, drawn as the reproducibility contract names the draws."""
    draws = augment.draw(step.data.num_classes, strategy_of(config), step.generator("augment", outer))
    real, synthetic = [], []
    for label, own in enumerate(step.synthetic.images().split(step.synthetic.per_class)):
        chosen = step.data.sample_class(label, config.real_batch_size, step.generator("real", outer, label))
        for batches, batch in ((real, normalised(step.data, chosen)), (synthetic, own)):
            batches.append(augment.apply(batch, draws.expand([label] * len(batch))))
    return real, synthetic


def oracle_statistics(step, outer):
    labels = range(step.data.num_classes)
    chosen = [step.data.sample_class(label, 16, step.generator("statistics", outer, label)) for label in labels]
    return normalised(step.data, torch.cat(chosen))


def oracle_training(step, config, outer, epochs=2, batch_size=4):
    """The batches of the training after the step `outer` on the images."""
    training_images, labels = step.synthetic.images().detach(), step.synthetic.image_labels()
    for epoch in range(1, epochs + 1):
        draws = generator(step.seed, "inner", step.index, outer, "epoch", epoch)
        for chosen in torch.randperm(len(labels), generator=draws).split(batch_size):
            batch = training_images[chosen]
            if config.objective == "dsa":
                batch = augment.apply(batch, augment.draw(len(chosen), strategy_of(config), draws))
            yield batch, labels[chosen]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("dc", {}),
        ("dsa", {}),
        ("dc", {"architecture": "ConvNetBN"}),
        ("dsa", {"architecture": "ConvNetBN"}),
        ("dsa", {"architecture": "MLP", "architecture_options": ["width=5"]}),
        ("dsa", {"architecture_options": ["width=4", "depth=1", "norm=layer"]}),
        ("dc", {"distance": "mse"}),
        ("dc", {"distance": "cosine"}),
        ("dsa", {"factor": 2}),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_whole_iteration_agrees_with_the_papers_loops(name, options, channels):
    data = make_data(channels=channels)
    config = make_matching(name, **options)
    objective = build_objective(config, data, None)
    synthetic = SyntheticSet.initial(data, 2, "noise", 5, torch.float64, config.factor)
    step = make_step(synthetic, data, 4, seed=3)
    network = networks.Network(**objective.network.config).double()
    network.reinitialise(3, "student", 4)
    values = []
    for outer, (value, gradient) in enumerate(iterate(objective, step)):
        if outer:
            oracle.train(network, oracle_training(step, config, outer - 1), 0.5)
        if config.architecture == "ConvNetBN":
            oracle.freeze_statistics(network, oracle_statistics(step, outer))
        theirs = oracle.matching(network, *oracle_batches(step, config, outer), ORACLES[objective.options.distance])
        assert_close((value, gradient), value_and_gradient(theirs, synthetic.pixels), 1e-9)
        values.append(float(value))
    assert len(set(values)) == 3


def test_distances_of_known_gradients():
    real = [torch.tensor([[3.0, 4.0], [0.0, 2.0]]), torch.tensor([1.0, 2.0])]
    synthetic = [torch.tensor([[4.0, -3.0], [0.0, 5.0]]), torch.tensor([-1.0, 2.0])]
    assert float(DISTANCES["layerwise"](synthetic[:1], real[:1])) == pytest.approx(1.0, abs=1e-6)  # 1 − 0, 1 − 1
    assert float(DISTANCES["mse"](synthetic, real)) == pytest.approx(1 + 49 + 9 + 4)
    cosine = (10 + 3) / ((34 * 55) ** 0.5 + 1e-6)
    assert float(DISTANCES["cosine"](synthetic, real)) == pytest.approx(1 - cosine)
    nothing = [torch.zeros(2, 2, requires_grad=True)]
    distance = DISTANCES["layerwise"](nothing, real[:1])
    assert float(distance.detach()) == 2
    assert torch.isfinite(torch.autograd.grad(distance, nothing)[0]).all()  # a dead unit's row


@pytest.mark.parametrize(
    ("distance", "strategy"),
    [("layerwise", "none"), ("layerwise", "crop"), ("layerwise", "scale"), ("mse", "color"), ("cosine", "color")],
)
def test_the_gradient_is_that_of_finite_differences(distance, strategy):
    data = make_data((4, 3), size=4)
    config = make_single(
        "dc" if strategy == "none" else "dsa",
        distance=distance,
        augment=strategy,
        architecture_options=["width=2", "depth=1", "activation=swish"],
        real_batch_size=3,
    )
    synthetic = make_set(data, ipc=1)

    def loss(pixels):
        objective = build_objective(config, data, None)  # one redraws its network in place at each call
        return only_losses(objective, make_step(with_pixels(synthetic, pixels), data))[config.objective]

    assert torch.autograd.gradcheck(loss, (synthetic.pixels.detach().requires_grad_(),))


@pytest.mark.parametrize("options", [{}, {"architecture": "ConvNetBN"}, {"factor": 2}])
def test_chunks_change_neither_loss_nor_gradient(options, monkeypatch):
    data = make_data((40, 40, 40))
    config = make_single("dsa", real_batch_size=13, **options)
    found = []
    for pixels in (1 << 17, 6 * 6 * 2):  # a batch at once, or two images at a time
        monkeypatch.setattr(images, "CHUNK_PIXELS_ON_CPU", pixels)
        synthetic = SyntheticSet.initial(data, 5, "noise", 5, torch.float64, config.factor)
        losses = only_losses(build_objective(config, data, None), make_step(synthetic, data))
        found.append(value_and_gradient(losses["dsa"], synthetic.pixels))
    assert_close(*found, 1e-11)
    assert images.chunks_of(5, synthetic.pixels) == 3


def test_bf16_gives_nearly_the_same_gradient():
    data = make_data((40, 40, 40), size=12)
    config = make_single("dsa", dtype="float32", real_batch_size=32, architecture_options=["width=16", "depth=2"])
    found = []
    for enabled in (False, True):
        synthetic = make_set(data, ipc=4, dtype=torch.float32)
        step = make_step(synthetic, data)
        step = dataclasses.replace(step, autocast=lambda on=enabled: torch.autocast("cpu", torch.bfloat16, enabled=on))
        value, gradient = value_and_gradient(
            only_losses(build_objective(config, data, None), step)["dsa"], step.synthetic.pixels
        )
        assert gradient.dtype == value.dtype == torch.float32
        found.append((float(value), gradient.flatten()))
    (exact, slope), (rough, rough_slope) = found
    assert rough == pytest.approx(exact, rel=0.02) and rough != exact
    assert torch.cosine_similarity(slope, rough_slope, dim=0) > 0.99


# --- the loops


def test_outer_and_inner_are_the_papers_and_interpolated_between():
    papers = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}
    assert {ipc: loops_of(ipc) for ipc in papers} == papers
    assert [loops_of(ipc) for ipc in (2, 5, 15, 35, 51, 1000)] == [
        (2, 6),
        (5, 23),
        (15, 38),
        (35, 18),
        (50, 10),
        (50, 10),
    ]


@pytest.mark.parametrize("name", ["dc", "dsa"])
def test_the_published_settings(name):
    published = {
        "iterations": 1_000,
        "real_batch_size": 256,
        "image_learning_rate": 0.1,
        "image_momentum": 0.5,
        "image_optimizer": "sgd",
        "image_schedule": "constant",
        "init": {"dc": "noise", "dsa": "real"}[name],
        "augment": {"dc": "none", "dsa": "color_crop_cutout_flip_scale_rotate"}[name],
    }
    config = make_config(objective=name, real_batch_size=None, published=True)
    settings = OBJECTIVES[name].published.filled_in(config)
    assert {key: settings[key] for key in published} == published
    inner = build_objective(config, make_data(), None).inner
    assert (inner.epochs, inner.learning_rate, inner.batch_size, inner.optimizer) == (50, 0.01, 256, "sgd")
    assert (inner.momentum, inner.weight_decay, inner.drops, inner.cosine) == (0.0, 0.0, (), False)
    assert inner.strategy == (() if name == "dc" else augment.STRATEGY)


@pytest.mark.parametrize(("ipc", "options", "expected"), [(1, [], (1, 1)), (2, [], (2, 6)), (2, LOOPS, (3, 2))])
def test_the_network_is_trained_between_the_steps_only(ipc, options, expected, monkeypatch):
    epochs = []

    def counted(*arguments, **named):
        for epoch in real_fit(*arguments, **named):
            epochs.append((named["purpose"], epoch.number))
            yield epoch

    real_fit = gradient_matching.fit
    monkeypatch.setattr(gradient_matching, "fit", counted)
    data = make_data()
    objective = build_objective(make_matching(loops=options, ipc=ipc), data, None)
    outer, inner = expected
    assert len(list(iterate(objective, make_step(make_set(data, ipc), data, index=7)))) == outer
    assert epochs == [(f"inner/7/{i}", epoch) for i in range(outer - 1) for epoch in range(1, inner + 1)]


@pytest.mark.parametrize("name", ["dc", "dsa"])
def test_one_augmentation_for_both_batches_of_a_class_and_one_per_image_in_the_training(name, monkeypatch):
    calls = []

    def spy(batch, drawn):
        calls.append((len(batch), drawn))
        return real_apply(batch, drawn)

    real_apply = augment.apply
    monkeypatch.setattr(augment, "apply", spy)
    data = make_data()
    objective = build_objective(make_matching(name, ["outer=2", "inner=1"], real_batch_size=5), data, None)
    list(iterate(objective, make_step(make_set(data, ipc=2), data)))
    rows = [{(int(o), *m.tolist()) for o, m in zip(d.operation, d.magnitudes, strict=True)} for _, d in calls]
    matching = [5, 2] * 3  # real and synthetic of three classes
    if name == "dc":
        assert [size for size, _ in calls] == matching * 2
        assert {operation for found in rows for operation, *_ in found} == {-1}
        return
    assert [size for size, _ in calls] == [*matching, 6, *matching]
    pairs = [*zip(rows[:6:2], rows[1:6:2], strict=True), *zip(rows[7::2], rows[8::2], strict=True)]
    assert all(real == synthetic and len(real) == 1 for real, synthetic in pairs)
    assert len(set().union(*(real for real, _ in pairs))) == 6  # another one for each class and step
    assert len(rows[6]) == 6


def test_a_batchnorm_network_keeps_the_statistics_of_16_real_images_of_each_class(monkeypatch):
    data = make_data((30, 30, 30))
    objective = build_objective(make_matching("dsa", architecture="ConvNetBN"), data, None)
    step = make_step(make_set(data), data, seed=3)
    (norm,) = [module for module in objective.network.modules() if isinstance(module, nn.BatchNorm2d)]
    for outer, _ in enumerate(iterate(objective, step)):
        assert not norm.training and norm.momentum == 0.1 and int(norm.num_batches_tracked) == 1
        maps = objective.network.body[0](oracle_statistics(step, outer))
        assert maps.shape[0] == 48
        torch.testing.assert_close(norm.running_mean, maps.mean((0, 2, 3)), rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(norm.running_var, maps.var((0, 2, 3)), rtol=1e-10, atol=1e-12)
    assert outer == 2


def test_only_the_real_side_is_compiled_and_only_in_long_runs(monkeypatch):
    seen = []

    def fake_compile(function):
        return lambda batch: seen.append(len(batch)) or function(batch)

    monkeypatch.setattr(torch, "compile", fake_compile)
    data = make_data()
    found = []
    for iterations in (111, 112):  # of 9 batches of real images
        config = make_matching("dsa", compile=True, iterations=iterations)
        found.append(
            [value for value, _ in iterate(build_objective(config, data, None), make_step(make_set(data), data))]
        )
        assert seen == ([] if iterations == 111 else [4] * 9)
    assert found[0] == found[1]


# --- what an iteration leaves alone, and what it doesn't depend on


@pytest.mark.parametrize("architecture", ["ConvNet", "ConvNetBN"])
@pytest.mark.parametrize("name", ["dc", "dsa"])
def test_an_iteration_depends_on_pixels_and_index_alone(name, architecture):
    data = make_data()
    config = make_matching(name, architecture=architecture)

    def values(objective, index):
        return [float(value) for value, _ in iterate(objective, make_step(make_set(data), data, index))]

    torch.manual_seed(0)
    used = build_objective(config, data, None)
    state = torch.get_rng_state()
    after_others = [values(used, index) for index in (0, 1, 2)]
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(12345)
    assert after_others == [values(build_objective(config, data, None), index) for index in (0, 1, 2)]
    assert len({value for found in after_others for value in found}) == 9


@pytest.mark.parametrize("kind", ["ce", "cos"])
def test_the_guide_adds_its_term_to_every_step_on_the_images(kind):
    data = make_data()
    config = make_matching("dsa", clom=kind)
    guided = build_objective(config, data, make_pool(data))
    plain = build_objective(make_matching("dsa"), data, None)
    found = list(guided.losses(make_step(make_set(data), data)))
    alone = list(plain.losses(make_step(make_set(data), data)))
    assert [sorted(losses) for losses in found] == [["clom", "dsa"]] * 3
    for with_guide, without in zip(found, alone, strict=True):  # no optimiser step was taken in either
        assert float(with_guide["dsa"].detach()) == float(without["dsa"].detach())
    assert not torch.equal(optimise(guided, make_set(data), data), optimise(plain, make_set(data), data))


# --- ranks


@pytest.mark.parametrize("name", ["dc", "dsa"])
@pytest.mark.parametrize("architecture", ["ConvNet", "ConvNetBN"])
@pytest.mark.parametrize("ranks", [2, 3, 9, 13])
def test_ranks_together_take_the_steps_of_a_single_one(name, architecture, ranks):
    data = make_data((4, 5, 6, 7))
    start = make_set(data).pixels.detach()
    config = make_matching(name, architecture=architecture)

    def work(rank, sum_over_ranks, ranks=ranks):
        with ONE_AT_A_TIME:  # threads share torch's global generator, which draws the network; ranks don't
            objective = build_objective(config, data, None)
            objective.network.reinitialise(0, "student", 0)
        objective.network.reinitialise = lambda *names: None
        synthetic = SyntheticSet(start.clone(), data.class_names, data.mean, data.std)
        step = make_step(synthetic, data, rank=rank, ranks=ranks, sum_over_ranks=sum_over_ranks)
        values = torch.stack([value for value, _ in iterate(objective, step, sum_over_ranks)])
        return values, synthetic.pixels.detach() - start

    single = work(0, lambda tensor: tensor, ranks=1)
    values, moves = zip(*on_ranks(ranks, work), strict=True)
    assert_close([sum(values)], single[:1], 1e-10)
    for move in moves:
        assert_close([move], single[1:], 1e-9)


SMALL_LOOPS = {"objective_options": ["outer=2", "inner=2", "network_learning_rate=0.1"], "iterations": 3}


@pytest.mark.multi_process
def test_two_processes_agree_with_one(tmp_path, ranks_of):
    options = SMALL_LOOPS | {"objective": "dsa", "ipc": 2, "dtype": "float64", "architecture": "ConvNetBN"}
    ranks_of("-m", "hf_dd", "distill", *arguments(tmp_path / "two", **options))
    require_two_processes(tmp_path / "two")
    distil(tmp_path / "one", **options)
    one, two = (checkpoint_pixels(tmp_path / name, 3) for name in ("one", "two"))
    assert (one - checkpoint_pixels(tmp_path / "one", 0)).abs().max() > 0.01
    assert (one - two).abs().max() < 1e-9


@pytest.mark.parametrize(("name", "architecture"), [("dc", "ConvNet"), ("dsa", "ConvNetBN")])
def test_resuming_from_any_step_gives_the_same_bytes(tmp_path, name, architecture):
    options = SMALL_LOOPS | {"objective": name, "architecture": architecture, "save_steps": 1, "save_total_limit": 9}
    options |= {"published": True}
    whole = distil(tmp_path / "whole", **options)
    assert whole.record.settings["augment"] == ("none" if name == "dc" else "_".join(augment.STRATEGY))
    for step in (0, 1, 2):
        path = str(tmp_path / f"whole/checkpoints/step-{step:06d}")
        distil(tmp_path / f"from-{step}", **options, resume_from_checkpoint=path)
        assert parquet(tmp_path / f"from-{step}") == parquet(tmp_path / "whole")


# --- options that don't fit


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"augment": "flip"}, "--augment has no meaning for --objective dc, which has none: leave it out."),
        ({"objective_options": ["outer=0"]}, "outer is 0; it has to be at least 1."),
        ({"objective_options": ["inner=-2"]}, "inner is -2; it has to be at least 0."),
        ({"objective_options": ["network_batch_size=0"]}, "network_batch_size is 0; it has to be at least 1"),
        (
            {"objective_options": ["network_learning_rate=nan"]},
            "network_learning_rate is nan; it has to be at least 0",
        ),
        ({"objective_options": ["inner=many"]}, "inner is 'many'; it has to be a whole number"),
        (
            {"objective_options": ["distance=cosin"]},
            "--objective_options distance doesn't know 'cosin'; it takes layerwise, mse, l1, cosine.",
        ),
        ({"objective_options": ["steps=3"]}, "dc has no 'steps'; it has "),
        ({"clom": "none", "teachers": ["a/b"]}, "--teachers has no effect without a guide"),
    ],
)
def test_options_that_dont_fit_are_refused_by_name(options, message):
    with pytest.raises(ConfigError) as error:
        preflight(make_config(objective="dc", **options))
    assert message in str(error.value)


def test_dsa_without_augmentation_is_refused():
    with pytest.raises(ConfigError, match="--objective dsa with --augment none is DC: take --objective dc"):
        build_objective(make_config(objective="dsa", augment="none"), make_data(), None)
    preflight(make_config(objective="dc", augment="none"))
