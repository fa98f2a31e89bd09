"""Herding and k-center: as their papers' loops do it, bounded in memory, and what they are good for on real digits."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_dd.config import DataConfig
from hf_dd.core.seeding import generator
from hf_dd.data.image_data import load_data
from hf_dd.errors import ConfigError, DataError
from hf_dd.nn import networks
from hf_dd.synthetic import coresets, pruning
from tests.oracles import selection as oracle

ORACLES = {"herding": oracle.herding, "k-centers": oracle.k_centers}
methods = pytest.mark.parametrize("method", sorted(coresets.METHODS))


def drawn(seed, num_classes, ipc, size):
    """Features of classes that have between `ipc` and `ipc` + 6 images, in a random order."""
    draws = generator(seed, "selection")
    counts = torch.randint(ipc, ipc + 7, (num_classes,), generator=draws)
    labels = torch.arange(num_classes).repeat_interleave(counts)
    labels = labels[torch.randperm(len(labels), generator=draws)]
    return torch.randn(len(labels), size, generator=draws), labels


@methods
@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), num_classes=st.integers(1, 4), ipc=st.integers(1, 6), size=st.integers(1, 5))
def test_as_the_literal_loop(method, seed, num_classes, ipc, size):
    features, labels = drawn(seed, num_classes, ipc, size)
    chosen = coresets.METHODS[method](features, labels, num_classes, ipc)
    expected = oracle.for_each_class(ORACLES[method], features.tolist(), labels.tolist(), num_classes, ipc)
    assert chosen.dtype == torch.int64 and chosen.tolist() == expected


@methods
@settings(max_examples=60)
@given(rows=st.lists(st.tuples(st.integers(0, 2), st.integers(-1, 1)), min_size=4, max_size=12), ipc=st.integers(1, 4))
def test_each_pick_is_one_of_the_best_where_images_repeat(method, rows, ipc):
    picks = coresets.METHODS[method](torch.tensor(rows).double(), torch.zeros(len(rows)).long(), 1, ipc).tolist()
    assert len(set(picks)) == ipc
    for place, pick in enumerate(picks):
        before = picks[:place]
        free = [index for index in range(len(rows)) if index not in before]
        if method == "herding":
            costs = {index: oracle.herding_distance(rows, [*before, index]) for index in free}
        elif not before:
            costs = {index: oracle.distance(rows[index], oracle.mean(rows)) for index in free}
        else:
            costs = {index: -min(oracle.distance(rows[index], rows[pick]) for pick in before) for index in free}
        assert costs[pick] <= min(costs.values()) + 1e-12


def test_herding_by_hand():
    features = torch.tensor([[0.0], [10.0], [4.0], [2.0], [5.0]])  # mean 4.2
    labels = torch.zeros(5).long()
    # 4 is nearest to it; then (4 + 5) / 2 = 4.5; then (9 + 2) / 3 = 3.67 against (9 + 10) / 3 = 6.33
    assert coresets.herding(features, labels, 1, 3).tolist() == [2, 4, 3]


def test_k_centers_by_hand():
    features = torch.tensor([[0.0], [10.0], [4.0], [2.0], [5.0]])
    # 4 is nearest to the mean; 10 is 6 away; 0 is 4 away; then 2 is 2 away from both 0 and 4
    assert coresets.k_centers(features, torch.zeros(5).long(), 1, 4).tolist() == [2, 1, 0, 3]


@methods
def test_all_images_of_equal_ones_are_different(method):
    chosen = coresets.METHODS[method](torch.ones(12, 3), torch.arange(12) % 2, 2, 6)
    assert chosen[:6].sort().values.tolist() == [0, 2, 4, 6, 8, 10]
    assert chosen[6:].sort().values.tolist() == [1, 3, 5, 7, 9, 11]


@methods
def test_a_shift_of_all_features_changes_nothing(method):
    features, labels = drawn(3, 3, 5, 8)
    features = features.double()
    choose = coresets.METHODS[method]
    assert torch.equal(choose(features, labels, 3, 5), choose(features + 1000, labels, 3, 5))


@methods
def test_what_it_refuses(method):
    choose, labels = coresets.METHODS[method], torch.tensor([0, 0, 0, 1])
    with pytest.raises(DataError, match="Class 1 has 1 images to choose 2 from: ask for a smaller ipc"):
        choose(torch.zeros(4, 2), labels, 2, 2)
    with pytest.raises(DataError, match="Features of class 0 hold infinities or NaN"):
        choose(torch.full((4, 2), torch.nan), labels, 2, 1)
    with pytest.raises(ConfigError, match="ipc must be at least 1, not 0"):
        choose(torch.zeros(4, 2), labels, 2, 0)


@pytest.fixture(scope="module")
def digits():
    return load_data(DataConfig())


def test_features_of_the_whole_split_are_those_of_the_network(digits):
    network = networks.build("ConvNetBN", **digits.network_shape, seed=0)
    found = coresets.real_features(digits, network)
    assert found.shape == (len(digits.train), network.feature_size) and found.dtype == torch.float32
    assert not found.requires_grad and not network.training
    with torch.no_grad():
        expected = network.features(digits.normalise(digits.train.images))
    torch.testing.assert_close(found, expected)


@methods
def test_selected_digits_are_of_each_class_and_depend_on_the_seed_alone(method, digits):
    options = {"architecture": "MLP", "epochs": 2}
    first, again = (coresets.select(digits, method, 3, 5, **options) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, coresets.select(digits, method, 3, 6, **options))
    assert torch.equal(digits.train.labels[first], torch.arange(10).repeat_interleave(3))


def test_herded_means_are_nearer_to_the_classes_than_random_ones(digits):
    network = networks.build("MLP", **digits.network_shape, seed=1)
    features = coresets.real_features(digits, network)

    def gap(chosen):
        means = [features[digits.class_index[label]].mean(0) for label in range(10)]
        return sum((features[chosen[5 * c : 5 * c + 5]].mean(0) - means[c]).norm() for c in range(10))

    random = torch.cat([digits.sample_class(c, 5, generator(0, "random", c)) for c in range(10)])
    assert gap(coresets.herding(features, digits.train.labels, 10, 5)) < 0.7 * gap(random)


def test_k_centers_cover_the_classes_better_than_random_images(digits):
    network = networks.build("MLP", **digits.network_shape, seed=1)
    features = coresets.real_features(digits, network)

    def radius(chosen):
        members = [features[digits.class_index[label]] for label in range(10)]
        centers = [features[chosen[10 * label : 10 * label + 10]] for label in range(10)]
        return sum(torch.cdist(own, near).min(1).values.max() for own, near in zip(members, centers, strict=True))

    random = torch.cat([digits.sample_class(c, 10, generator(0, "random", c)) for c in range(10)])
    assert radius(coresets.k_centers(features, digits.train.labels, 10, 10)) < 0.9 * radius(random)


def test_a_selection_that_cannot_be_made_is_refused_before_any_training(digits, monkeypatch):
    monkeypatch.setattr(coresets, "fit", lambda *args, **kwargs: pytest.fail("it trained"))
    with pytest.raises(ConfigError, match="unknown selection 'k-center'; known, nearest first: k-centers, "):
        coresets.select(digits, "k-center", 1, 0)
    with pytest.raises(DataError, match="ipc is 100000: the largest ipc possible is"):
        coresets.select(digits, "herding", 100_000, 0)


@pytest.mark.parametrize(("ipc", "picks"), [(3, 64), (64, 64), (65, 128), (90, 128)])
def test_no_more_images_are_picked_than_the_next_multiple_and_fewer_are_the_first_of_them(
    digits, monkeypatch, nothing_remembered, ipc, picks
):
    asked, herd = [], coresets._herd
    monkeypatch.setattr(coresets, "_herd", lambda centred, count: asked.append(count) or herd(centred, count))
    found = coresets.select(digits, "herding", ipc, 0, architecture="MLP")
    assert asked == [picks] * 10
    more = coresets.select(digits, "herding", 120, 0, architecture="MLP")
    assert torch.equal(found.view(10, ipc), more.view(10, 120)[:, :ipc])


@pytest.mark.parametrize("method", coresets.METHODS)
def test_a_few_classes_at_a_time_are_chosen_as_all_at_once(method, digits, nothing_remembered, monkeypatch):
    expected, held = coresets.select(digits, method, 3, 0, architecture="MLP"), []

    def real_features(*of):
        held.append(pruning.real_features(*of))
        return held[-1]

    monkeypatch.setattr(coresets, "real_features", real_features)
    monkeypatch.setattr(coresets, "MOST_FEATURES", 300 * 128)
    monkeypatch.setattr(coresets.cache, "remembered", lambda path, compute: compute())
    assert torch.equal(coresets.select(digits, method, 3, 0, architecture="MLP"), expected)
    assert len(held) == 5 and sum(map(len, held)) == len(digits.train)
