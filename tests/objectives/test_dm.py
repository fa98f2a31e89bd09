"""Distribution matching against the paper's loops, its gradient, and its shares on any number of ranks."""

import pytest
import torch

from hf_dd.core.strategies import parse_strategy
from hf_dd.nn import augment, networks
from hf_dd.objectives import build_objective
from hf_dd.synthetic.synthetic_set import SyntheticSet
from tests.factories import (
    ONE_AT_A_TIME,
    assert_close,
    make_config,
    make_data,
    make_set,
    make_step,
    on_ranks,
    only_losses,
    value_and_gradient,
    with_pixels,
)
from tests.oracles import augment as augment_oracle
from tests.oracles import dm as dm_oracle

pytestmark = pytest.mark.usefixtures("one_thread")


def oracle_batches(step, config, transform):
    """The batches of every class, drawn as the reproducibility contract names the draws."""
    count = step.data.num_classes
    draws = augment.draw(count, parse_strategy(config.augment), step.generator("augment"))
    real, synthetic = [], []
    for label in range(count):
        chosen = step.data.sample_class(label, config.real_batch_size, step.generator("real", label))
        mean, std = (torch.tensor(x, dtype=torch.float64).view(-1, 1, 1) for x in (step.data.mean, step.data.std))
        images = (step.data.train.images[chosen].double() / 255 - mean) / std
        start = label * step.synthetic.ipc
        real.append(transform(images, draws, label))
        synthetic.append(transform(step.synthetic.pixels[start : start + step.synthetic.ipc], draws, label))
    return real, synthetic


def transform_in_loops(images, draws, label):
    operation = augment.STRATEGY[int(draws.operation[label])]
    return torch.stack([augment_oracle.transform(x.detach(), operation, draws.magnitudes[label]) for x in images])


def transform_differentiably(images, draws, label):
    return augment.apply(images, draws.expand([label] * len(images)))


def oracle_embedding(config, step):
    network = networks.build(
        config.architecture,
        in_channels=step.data.channels,
        num_classes=step.data.num_classes,
        image_size=list(step.data.image_size),
        width=4,
        depth=1,
    )
    network.double().train().reinitialise(step.seed, "student", step.index)
    return network.features


@pytest.mark.parametrize("architecture", ["ConvNet", "ConvNetBN"])
@pytest.mark.parametrize("channels", [1, 3])
def test_dm_agrees_with_the_papers_loops(architecture, channels):
    data = make_data(channels=channels)
    config = make_config(architecture=architecture)
    objective = build_objective(config, data, None)
    match = dm_oracle.matching if architecture == "ConvNet" else dm_oracle.matching_together
    for index in range(6):
        step = make_step(make_set(data), data, index, seed=3)
        ours = value_and_gradient(only_losses(objective, step)["dm"], step.synthetic.pixels)
        embed = oracle_embedding(config, step)
        theirs = value_and_gradient(
            match(*oracle_batches(step, config, transform_differentiably), embed), step.synthetic.pixels
        )
        assert_close(ours, theirs, 1e-10)
        literal = match(*oracle_batches(step, config, transform_in_loops), embed).detach()
        assert_close(ours[:1], [literal], 1e-4)


def test_dm_draws_one_augmentation_per_class_and_another_one_per_iteration():
    data = make_data()
    config = make_config(augment="crop")
    objective = build_objective(config, data, None)
    steps = [make_step(make_set(data), data, index) for index in range(20)]
    draws = [augment.draw(3, ("crop",), step.generator("augment")).magnitudes for step in steps]
    assert len({tuple(row.tolist()) for draw in draws for row in draw}) == 60
    values = [float(only_losses(objective, step)["dm"].detach()) for step in steps]
    assert len(set(values)) == 20


def test_dm_gradient_is_that_of_finite_differences():
    data = make_data((4, 3), size=4)
    for strategy in ("none", "color", "crop", "scale"):
        config = make_config(
            augment=strategy, architecture_options=["width=2", "depth=1", "activation=swish"], real_batch_size=3
        )
        synthetic = make_set(data, ipc=1)

        def loss(pixels, config=config, synthetic=synthetic):
            objective = build_objective(config, data, None)  # one redraws its network in place at each call
            return only_losses(objective, make_step(with_pixels(synthetic, pixels), data))["dm"]

        assert torch.autograd.gradcheck(loss, (synthetic.pixels.detach().requires_grad_(),))


@pytest.mark.parametrize("architecture", ["ConvNet", "ConvNetBN"])
@pytest.mark.parametrize("ranks", [2, 3, 5, 9, 13])
@pytest.mark.parametrize("ipc", [1, 2])
def test_dm_shares_of_the_ranks_add_up_to_the_single_ranks_loss(architecture, ranks, ipc):
    data = make_data((4, 5, 6, 7))
    start = make_set(data, ipc).pixels.detach()

    def work(rank, sum_over_ranks, ranks=ranks):
        with ONE_AT_A_TIME:  # threads share torch's global generator, which draws the network; ranks don't
            objective = build_objective(make_config(architecture=architecture), data, None)
            objective.network.reinitialise(0, "student", 0)
        objective.network.reinitialise = lambda *names: None
        synthetic = SyntheticSet(start.clone(), data.class_names, data.mean, data.std)
        step = make_step(synthetic, data, rank=rank, ranks=ranks, sum_over_ranks=sum_over_ranks)
        return value_and_gradient(only_losses(objective, step)["dm"], synthetic.pixels)

    single = work(0, lambda tensor: tensor, ranks=1)
    shares = zip(*on_ranks(ranks, work), strict=True)
    assert_close([sum(parts) for parts in shares], single, 1e-10)
