"""`hf-dd use search`: which networks are trained, how orders are compared, what is written."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from hf_dd.config.base import default_of
from hf_dd.config.uses import SearchConfig
from hf_dd.data.image_data import load_data
from hf_dd.nn import architectures
from hf_dd.uses import search
from tests.factories import message_of, says

pytestmark = pytest.mark.usefixtures("one_thread", "nothing_remembered")
FULL = [10.0, 20.0, 30.0, 40.0, 50.0, 60.0]


def test_all_layers_of_a_convnet_may_be_tried():
    known = {"norms": "NORMS", "activations": "ACTIVATIONS", "poolings": "POOLINGS"}
    for each in dataclasses.fields(SearchConfig):
        if each.name in known:
            assert {*default_of(each)} <= {*each.metadata["choices"]} == {*getattr(architectures, known[each.name])}


def test_rank_correlations_are_those_of_the_ranks():
    """By hand: rho is 1 - 6 Σd² / n(n² - 1), tau the share of pairs in order less that of the others."""
    proxy = [1.0, 3.0, 2.0, 4.0, 6.0, 5.0]
    assert search.rank_correlation("spearman", proxy, FULL) == pytest.approx(1 - 6 * 4 / (6 * 35))
    assert search.rank_correlation("kendall", proxy, FULL) == pytest.approx((13 - 2) / 15)
    assert search.rank_correlation("spearman", FULL[::-1], FULL) == pytest.approx(-1)
    assert np.isnan(search.rank_correlation("spearman", [1.0] * 6, FULL))


def test_ties_are_counted_as_scipy_counts_them():
    draws = np.random.default_rng(0)
    first, second = draws.integers(5, size=(2, 30)).astype(float)
    ranks = [stats.rankdata(values) for values in (first, second)]
    assert search.rank_correlation("spearman", first, second) == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert search.rank_correlation("kendall", first, second) == pytest.approx(stats.kendalltau(first, second)[0])


def test_the_interval_is_that_of_resampled_networks():
    """A perfect order stays one in every resample; of noise the interval holds zero, and the value is in it."""
    draws = np.random.default_rng(1)

    def rho(first, second):
        return search.rank_correlation("spearman", first, second)

    perfect = search.resampled(rho, [FULL, FULL], 0)
    assert perfect == {"value": pytest.approx(1), "low": pytest.approx(1), "high": pytest.approx(1)}
    noise = search.resampled(rho, draws.normal(size=(2, 40)), 0)
    assert noise["low"] < 0 < noise["high"] and noise["low"] < noise["value"] < noise["high"]
    again = search.resampled(rho, draws.normal(size=(2, 40)), 0)
    assert search.resampled(rho, [FULL, [3.0] * 6], 0) == {"value": None, "low": None, "high": None}
    assert again["high"] - again["low"] == pytest.approx(4 / 40**0.5, rel=0.35)  # ± 2 / √n


def test_a_proxy_may_agree_better_than_two_halves_of_the_students():
    """Of two students that err in opposite ways; the proxy's order is that of their means."""
    errors = [6.0, -6.0, 6.0, -6.0, 6.0, -6.0]
    scores = [(mean + error, mean - error) for mean, error in zip(FULL, errors, strict=True)]
    reached = [SimpleNamespace(n=2, scores=own, mean=sum(own) / 2) for own in scores]
    halves = search.agreement(reached, 0)["spearman"]["value"]
    assert halves == pytest.approx(stats.spearmanr(*zip(*scores, strict=True))[0]) and halves < 0.8
    assert search.rank_correlation("spearman", FULL, [row.mean for row in reached]) == pytest.approx(1)
    assert search.agreement([SimpleNamespace(n=1, scores=(1.0,))] * 6, 0) == {}


def test_networks_are_drawn_from_the_grid_each_once():
    config = SearchConfig(set="x", networks=24)
    names = search.drawn(config)
    assert len(set(names)) == 24 and names == search.drawn(config)
    assert names != search.drawn(SearchConfig(set="x", networks=24, seed=1))
    assert SearchConfig(set="x").grid_size == 720  # of Zhao, Mopuri & Bilen
    assert set(search.drawn(SearchConfig(set="x", networks=720))) >= set(names)


def test_a_network_has_the_options_of_its_name():
    data = load_data("digits")
    network = search.Variant("depth=2 width=8 norm=batch activation=sigmoid pooling=none", data).new(3)
    config = network.config
    assert [config[name] for name in ("depth", "width", "norm", "activation", "pooling")] == [
        *(2, 8, "batch", "sigmoid", "none")
    ]
    assert network.feature_size == 8 * 8 * 8


def test_what_is_written_follows_from_the_accuracies(real_set, tmp_path):
    options = {"widths": [4, 8], "depths": [1, 2], "eval_epochs": 4, "full_epochs": 1, "eval_protocol": "dc"}
    options |= {"norms": ["instance", "none"], "baselines": ["herding"]}
    folder = search.search(set=real_set, networks=6, eval_students=2, output_dir=str(tmp_path / "found"), **options)
    found = json.loads((folder / "results.json").read_text())
    networks = found["networks"]
    full = [sum(each["full"]) / 2 for each in networks]
    assert len(networks) == 6 and set(found["proxies"]) == {"set", "herding", "early stopping"}
    for kind, proxy in found["proxies"].items():
        means = [sum(each[kind]) / 2 for each in networks]
        if proxy["spearman"]["value"] is not None:
            assert proxy["spearman"]["value"] == pytest.approx(stats.spearmanr(means, full)[0])
            assert proxy["kendall"]["value"] == pytest.approx(stats.kendalltau(means, full)[0])
        chosen = networks[[each["network"] for each in networks].index(proxy["chosen"])]
        assert proxy["chosen_accuracy"] == pytest.approx(sum(chosen["full"]) / 2)
        assert proxy["below_best"] == pytest.approx(max(full) - proxy["chosen_accuracy"]) and proxy["below_best"] >= 0
    assert found["proxies"]["early stopping"]["epochs"] == 1  # 20 images in 4 epochs are less than one of digits
    says((folder / "results.md").read_text(), "6 ConvNets of a grid of 72", "early stopping", found["command"])
    says(
        (folder / "results.md").read_text(),
        "Early stopping trains on nine tenths of the full set",
        "half of its students",
    )


def test_more_networks_than_the_grid_has_are_refused():
    says(message_of("use", "search", "x", "--networks", 40, "--depths", 1, "--norms", "batch"), "--networks 40", "36")
