"""IDC's own objective: a whole iteration against loops, CutMix, the joint step, its shares on any number of ranks."""

import math

import pytest
import torch
from torch.nn import functional

from hf_dd.core.strategies import parse_strategy
from hf_dd.errors import ConfigError
from hf_dd.nn import augment, networks, views
from hf_dd.nn.views import Views
from hf_dd.objectives import build_objective, idc
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
    value_and_gradient,
)
from tests.oracles import gradient as oracle

pytestmark = pytest.mark.usefixtures("one_thread")

LOOPS = ["outer=3", "network_images=9", "network_batch_size=4", "network_learning_rate=0.3"]
COMPOSITE = "composite_color_crop_cutout"


def options_for(*own, **options):
    words = list({word.partition("=")[0]: word for word in (*LOOPS, *own)}.values())
    return make_config(**{"objective": "idc", "augment": COMPOSITE, "objective_options": words} | options)


def iterate(objective, step):
    """The losses of an iteration with their gradients, an optimiser step after each."""
    for losses in objective.losses(step):
        value, gradient = value_and_gradient(losses["idc"], step.synthetic.pixels)
        yield value, gradient
        with torch.no_grad():
            step.synthetic.pixels -= 1e-3 * gradient


def kernels(distance):
    """Σ over convolution kernels alone, number by number: |a − b| or (a − b)²."""
    return lambda synthetic, real: sum(
        distance(a - b)
        for ours, theirs in zip(synthetic, real, strict=True)
        if ours.ndim == 4
        for a, b in zip(ours.reshape(-1), theirs.reshape(-1), strict=True)
    )


def matching_batches(step, config, outer):
    draws = augment.draw(step.data.num_classes, parse_strategy(COMPOSITE), step.generator("augment", outer))
    real, synthetic = [], []
    for label, own in enumerate(step.synthetic.images().split(step.synthetic.per_class)):
        chosen = step.data.sample_class(label, config.real_batch_size, step.generator("real", outer, label))
        for found, images in ((real, step.as_input(step.data.train.images[chosen])), (synthetic, own)):
            found.append(augment.apply(images, draws.expand([label] * len(images))))
    return real, synthetic


class Training:
    """The network's training by hand: SGD with momentum and weight decay on mixed labels."""

    def __init__(self, network):
        self.network, self.velocity = network, [torch.zeros_like(value) for value in network.parameters()]

    def on_real(self, step, purpose, number, images, size=4, strategy=("composite", "color", "crop"), probability=0.5):
        draws = step.generator(purpose, number)
        order, seen = torch.randperm(len(step.data.train), generator=draws), 0
        while seen < min(images, len(order)):
            chosen = order[seen : seen + size]
            seen += len(chosen)
            batch = step.as_input(step.data.train.images[chosen])
            batch = augment.apply(batch, augment.draw(len(chosen), strategy, draws))
            mix = views.draw(Views(mix="cutmix", probability=probability), len(batch), tuple(batch.shape[2:]), draws)
            (top, left, height, width), batch, unmixed = mix.pastes[0].tolist(), batch.clone(), batch
            box = (..., slice(top, top + height), slice(left, left + width))
            batch[box] = unmixed[mix.partners][box]
            kept = float(mix.weights[0])
            assert kept == pytest.approx(1 - height * width / math.prod(batch.shape[2:]), abs=1e-6)
            targets = functional.one_hot(step.data.train.labels[chosen], step.data.num_classes).double()
            targets = kept * targets + (1 - kept) * targets[mix.partners]
            loss = -(targets * torch.log_softmax(self.network(batch), 1)).sum() / len(batch)
            gradients = torch.autograd.grad(loss, list(self.network.parameters()))
            with torch.no_grad():
                for place, (value, gradient) in enumerate(zip(self.network.parameters(), gradients, strict=True)):
                    self.velocity[place] = 0.9 * self.velocity[place] + gradient + 5e-4 * value
                    value -= 0.3 * self.velocity[place]


@pytest.mark.parametrize("distance", ["mse", "l1"])
@pytest.mark.parametrize("options", [{}, {"factor": 2}, {"early": 2}])
def test_a_whole_iteration_agrees_with_the_papers_loops(distance, options):
    data = make_data()
    early = options.get("early", 0)
    factor = {"factor": options["factor"]} if "factor" in options else {}
    config = options_for(f"distance={distance}", f"early={early}", **factor)
    objective = build_objective(config, data, None)
    step = make_step(
        SyntheticSet.initial(data, 2, "noise", 5, torch.float64, factor.get("factor", 1)), data, 4, seed=3
    )
    network = networks.Network(**objective.network.config).double()
    network.reinitialise(3, "student", 4)
    training, values = Training(network), []
    for epoch in range(early):
        training.on_real(step, "early", epoch, len(data.train))
    literal = kernels(torch.abs if distance == "l1" else torch.square)
    for outer, ours in enumerate(iterate(objective, step)):
        if outer:
            training.on_real(step, "inner", outer - 1, 9)
        theirs = oracle.matching(network, *matching_batches(step, config, outer), literal)
        assert_close(ours, value_and_gradient(theirs, step.synthetic.pixels), 1e-8)
        values.append(float(ours[0]))
    assert len(set(values)) == 3


def test_pixels_are_clipped_before_each_iteration():
    data = make_data()
    synthetic = SyntheticSet.initial(data, 2, "noise", 5, torch.float64)
    before = synthetic.own_space().detach().clone()
    assert before.min() < 0 and before.max() > 1
    next(build_objective(options_for(), data, None).losses(make_step(synthetic, data)))
    assert (synthetic.own_space() - before.clamp(0, 1)).abs().max() < 1e-12


def test_cutmix_is_an_option_and_the_cutout_comes_back_without_it():
    data = make_data()
    assert build_objective(options_for(), data, None).inner.strategy == ("composite", "color", "crop")
    assert build_objective(options_for("cutmix=0"), data, None).inner.strategy == (
        "composite",
        "color",
        "crop",
        "cutout",
    )
    assert build_objective(options_for(augment="composite_cutout"), data, None).inner.strategy == ()


def test_the_joint_step_is_the_per_class_steps_with_momentum():
    """C steps of SGD with momentum m, one class each, against one on the sum at rate / (1 − m) without."""
    data = make_data((4,) * 5)
    objective = build_objective(options_for("outer=1"), data, None)
    step = make_step(make_set(data, 1), data)
    step.synthetic.clip()
    start = step.synthetic.pixels.detach().clone()
    (_, joint), *_ = iterate(objective, step)
    with torch.no_grad():
        step.synthetic.pixels.copy_(start)
    config = options_for("outer=1")
    network = networks.Network(**objective.network.config).double()
    network.reinitialise(0, "student", 0)
    optimizer = torch.optim.SGD([step.synthetic.pixels], 1e-3, momentum=0.5)
    for turn in range(10):  # the last classes coast in the next iteration
        optimizer.zero_grad(set_to_none=False)
        if turn < 5:
            real, synthetic = (batch[turn] for batch in matching_batches(step, config, 0))
            mean = [part.detach() for part in oracle.class_gradient(network, real, turn)]
            loss = kernels(torch.square)(oracle.class_gradient(network, synthetic, turn, create_graph=True), mean)
            step.synthetic.pixels.grad = torch.autograd.grad(loss, step.synthetic.pixels)[0]
        optimizer.step()
    moved = step.synthetic.pixels.detach() - start
    assert (moved + 2e-3 * joint).abs().max() < 2**-5 * moved.abs().max()


@pytest.mark.parametrize("ranks", [2, 5])
def test_shares_of_the_ranks_add_up_to_the_single_ranks_losses(ranks):
    data = make_data((4, 5, 6))
    config, start = options_for(), make_set(data, 2).pixels.detach()

    def work(rank, sum_over_ranks, ranks=ranks):
        with ONE_AT_A_TIME:  # threads share torch's global generator, which draws the network; ranks don't
            objective = build_objective(config, data, None)
            objective.network.reinitialise(0, "student", 0)
        objective.network.reinitialise = lambda *names: None
        step = make_step(
            SyntheticSet(start.clone(), data.class_names, data.mean, data.std),
            data,
            rank=rank,
            ranks=ranks,
            sum_over_ranks=sum_over_ranks,
        )
        return [
            value
            for losses in objective.losses(step)
            for value in value_and_gradient(losses["idc"], step.synthetic.pixels)
        ]

    single = work(0, lambda tensor: tensor, ranks=1)
    shares = zip(*on_ranks(ranks, work), strict=True)
    assert_close([sum(parts) for parts in shares], single, 1e-10)


def test_of_many_images_of_a_class_some_take_part(monkeypatch):
    monkeypatch.setattr(idc, "MOST_OF_A_CLASS", 3)
    data = make_data()
    objective = build_objective(options_for(factor=2), data, None)
    step = make_step(SyntheticSet.initial(data, 1, "noise", 5, torch.float64, 2), data)
    taken = set()
    for losses in objective.losses(step):
        (gradient,) = torch.autograd.grad(losses["idc"], step.synthetic.pixels)
        quarters = gradient.view(3, 2, 3, 2, 3).abs().sum((2, 4)) > 0
        assert quarters.flatten(1).sum(1).tolist() == [3, 3, 3]
        taken.add(tuple(quarters.flatten().tolist()))
    assert len(taken) > 1


def test_a_network_that_no_real_images_train_stays_as_it_was_drawn():
    data = make_data()
    objective = build_objective(options_for("network_images=0"), data, None)
    kept = []
    for losses in objective.losses(make_step(make_set(data), data)):
        kept.append([parameter.detach().clone() for parameter in objective.network.parameters()])
        assert losses["idc"] > 0
    assert len(kept) == 3
    assert all(torch.equal(first, other) for own in kept[1:] for first, other in zip(kept[0], own, strict=True))


def test_a_network_without_convolutions_is_refused():
    with pytest.raises(
        ConfigError, match="--objective idc matches the gradients of convolution kernels, and MLP has no"
    ):
        build_objective(options_for(architecture="MLP", architecture_options=["width=4"]), make_data(), None)


def test_a_guide_adds_its_term_to_every_step():
    data = make_data()
    config = options_for(clom="ce", clom_alpha="auto", clom_schedule="cosine", clom_augment=COMPOSITE)
    steps = build_objective(config, data, make_pool(data)).losses(make_step(make_set(data), data))
    assert [sorted(losses) for losses in steps] == [["clom", "idc"]] * 3
