"""The training loop: its schedule, step by step."""

import pytest
import torch

from hf_dd.training.loop import Epoch, TrainingRecipe, accuracy, fit, predict


def recipe(**changes):
    options = {"epochs": 6, "learning_rate": 0.5, "momentum": 0.0, "weight_decay": 0.0, "batch_size": 4}
    return TrainingRecipe(**options | {"drops": (2, 4), "strategy": ()} | changes)


def test_the_learning_rate_falls_to_a_tenth_after_each_drop():
    optimizer, schedule = recipe().optimise([torch.nn.Parameter(torch.zeros(1))])
    rates = []
    for _ in range(6):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([0.5, 0.5, 0.05, 0.05, 0.005, 0.005], rel=1e-12)


def test_a_drop_shows_in_what_a_network_learns():
    """With one image and a gradient that is known, an epoch after a drop moves the weights by its rate alone."""
    images, labels = torch.ones(1, 1, 1, 1), torch.tensor([0])
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1, 2, bias=False)).double()
    torch.nn.init.zeros_(network[1].weight)
    weight, rates = torch.zeros(2, dtype=torch.float64), [0.5, 0.5, 0.05, 0.05, 0.005, 0.005]
    for epoch, rate in zip(fit(network, images.double(), labels, recipe(), seed=0, purpose="x"), rates, strict=True):
        probabilities = weight.softmax(0)
        assert epoch.loss == pytest.approx(-float(probabilities[0].log()), rel=1e-6)  # it is summed in float32
        weight = weight - rate * (probabilities - torch.tensor([1.0, 0.0], dtype=torch.float64))
        torch.testing.assert_close(network[1].weight[:, 0].detach(), weight, rtol=1e-12, atol=0)


def test_momentum_and_weight_decay_are_those_of_the_recipe():
    parameter = torch.nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
    optimizer, _ = recipe(momentum=0.9, weight_decay=0.1).optimise([parameter])
    expected, velocity = 2.0, 0.0
    for gradient in (1.0, -3.0, 2.0):
        parameter.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
        velocity = 0.9 * velocity + gradient + 0.1 * expected
        expected -= 0.5 * velocity
        assert float(parameter.detach()) == pytest.approx(expected, rel=1e-12)


def test_an_epochs_loss_weighs_each_image_alike_though_batches_differ_in_size():
    images, labels = torch.arange(5.0).view(5, 1, 1, 1).double(), torch.tensor([0, 1, 0, 1, 1])
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1, 2)).double()
    expected = torch.nn.functional.cross_entropy(network(images), labels).item()
    (epoch,) = fit(network, images, labels, recipe(epochs=1, learning_rate=0.0), seed=0, purpose="x")
    assert (epoch.number, epoch.images) == (1, 5)
    assert epoch.loss == pytest.approx(expected, rel=1e-6)
    assert Epoch(1, torch.tensor(6.0), 4).loss == 1.5


def test_predictions_are_made_in_eval_mode_and_counted():
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.9), torch.nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        network[2].weight.copy_(torch.eye(2))
    images = torch.tensor([[1.0, 2.0], [2.0, 1.0], [0.0, 3.0]]).view(3, 2, 1, 1)
    predictions = predict(network, images)
    assert not network.training and predictions.tolist() == [1, 0, 1]
    assert accuracy(predictions, torch.tensor([1, 0, 0])) == 2 / 3


@pytest.mark.parametrize("done", [1, 2, 3])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("cosine", [False, True])
def test_a_training_that_goes_on_ends_as_one_that_was_never_interrupted(done, optimizer, cosine):
    images, labels = torch.randn(12, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3
    how = {"seed": 0, "purpose": "x"}
    own = recipe(
        epochs=4, learning_rate=0.1, momentum=0.9, drops=(2,), batch_size=4, optimizer=optimizer, cosine=cosine
    )

    def network():
        torch.manual_seed(0)
        layers = torch.nn.BatchNorm1d(16), torch.nn.Dropout(0.5), torch.nn.Linear(16, 3)
        return torch.nn.Sequential(torch.nn.Flatten(), *layers)

    whole, begun, ended = network(), network(), network()
    for _ in fit(whole, images, labels, own, **how):
        pass
    for epoch in fit(begun, images, labels, own, **how):
        if epoch.number == done:
            standing = epoch.standing()
            break
    assert [epoch.number for epoch in fit(ended, images, labels, own, start=standing, **how)] == [*range(done + 1, 5)]
    assert all(
        torch.equal(a, b) for a, b in zip(whole.state_dict().values(), ended.state_dict().values(), strict=True)
    )


def test_a_training_whose_parameters_are_averaged_has_no_standing_to_go_on_from():
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
    images, labels = torch.zeros(6, 1, 4, 4), torch.arange(6) % 3
    for average, has in ((None, True), (0.9, False)):
        (epoch,) = fit(network, images, labels, recipe(epochs=1, average=average), seed=0, purpose="x")
        assert (epoch.standing is not None) == has
