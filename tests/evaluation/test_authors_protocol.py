"""The protocol `dsa-authors` against the authors' loop: rates, momentum, operations, parameters."""

import copy
import dataclasses

import torch

from hf_dd.core.seeding import generator
from hf_dd.core.strategies import STRATEGY
from hf_dd.evaluation.protocols import PROTOCOLS
from hf_dd.nn import augment, networks
from hf_dd.training.loop import fit
from hf_dd.training.side_by_side import fit_side_by_side
from tests.oracles.evaluation import evaluate_synset

EPOCHS = 5  # of theirs: six are trained


def images_and_labels():
    draws = generator(0, "authors")
    return torch.randn(7, 1, 8, 8, generator=draws, dtype=torch.float64), torch.arange(7) % 3


def network():
    shape = {"in_channels": 1, "num_classes": 3, "image_size": 8}
    return networks.build("ConvNet", **shape, width=4, depth=1, seed=0).double()


def recipe():
    protocol = PROTOCOLS["dsa-authors"].with_changes(epochs=EPOCHS + 1, batch_size=3)
    return protocol.recipe()


def test_the_published_numbers_of_epochs_and_their_drop():
    """1,000 epochs there: ep 0 to 1,000, and the rate falls after ep 501, the 502nd."""
    own = PROTOCOLS["dsa-authors"].recipe()
    assert (own.epochs, own.drops, own.restarts, own.one_operation) == (1001, (502,), True, True)
    plain = PROTOCOLS["dsa"].recipe()
    assert (plain.epochs, plain.drops, plain.restarts, plain.one_operation) == (1000, (501,), False, False)


def test_a_student_learns_what_the_authors_loop_teaches():
    images, labels = images_and_labels()
    start, ours, operations = network(), network(), []

    def draws_of(ep):
        draws = generator(3, "student", "epoch", ep + 1)
        return draws, torch.randperm(7, generator=draws).split(3)

    def batches_of(ep):
        for rows in draws_of(ep)[1]:
            yield images[rows], labels[rows]

    def augmented(ep, number, batch):
        draws, parts = draws_of(ep)
        for own in parts[: number + 1]:
            drawn = augment.draw(len(own), STRATEGY, draws)
        one = STRATEGY[int(drawn.operation[0])]
        operations.append(one)
        choices = torch.full_like(drawn.operation, STRATEGY.index(one))
        return augment.apply(batch, augment.AugmentParameters(choices, drawn.magnitudes))

    rates = evaluate_synset(start, batches_of, EPOCHS, 0.01, augmented)
    assert [round(rate, 6) for rate in rates] == [0.01] * 4 + [0.001] * 2
    assert len(set(operations)) > 3
    for _ in fit(ours, images, labels, recipe(), seed=3, purpose="student"):
        pass
    for name, value in start.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, rtol=1e-10, atol=1e-12)
    together = [network(), network()]
    fit_side_by_side(together, [images] * 2, [labels] * 2, recipe(), seeds=[3, 3], purpose="student")
    for name, value in start.state_dict().items():
        torch.testing.assert_close(together[1].state_dict()[name], value, rtol=1e-8, atol=1e-10)


def test_what_the_slips_change():
    """A new optimiser, an epoch more and shared operations each make another student of it."""
    images, labels = images_and_labels()
    found = []
    exact = recipe()
    changes = ({}, {"restarts": False}, {"one_operation": False}, {"epochs": EPOCHS}, {"drops": (3,)})
    for change in changes:
        student = copy.deepcopy(network())
        for _ in fit(student, images, labels, dataclasses.replace(exact, **change), seed=3, purpose="student"):
            pass
        found.append(torch.cat([value.flatten() for value in student.state_dict().values()]))
    assert all((other - found[0]).abs().max() > 1e-6 for other in found[1:])
