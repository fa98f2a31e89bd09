"""Choices by what a training said of the images, beside the papers' formulas written image by image."""

import dataclasses
import functools
import json
from contextlib import nullcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_dd import cli
from hf_dd.config import DataConfig, DistillConfig
from hf_dd.config.evaluation import BASELINES
from hf_dd.core.registry import OBJECTIVES, STARTS
from hf_dd.data.held_out import validation_of
from hf_dd.data.image_data import load_data
from hf_dd.distillation.checks import preflight
from hf_dd.errors import ConfigError, DataError
from hf_dd.synthetic import coresets, pruning
from hf_dd.synthetic.pruning import METHODS, Dynamics
from tests.oracles import pruning as oracle

pytestmark = pytest.mark.usefixtures("one_thread")

SCORES = ["el2n", "grand", "forgetting", "aum", "margin", "least_confidence", "entropy", "moderate"]
LABELS = torch.tensor([0, 1, 2] * 8)


class Said:
    """A network that gives the logits that it is told for the images, which are their own numbers."""

    def __init__(self, logits, features):
        self.logits, self.outputs, self.feature_size = logits, features, features.shape[1]

    def eval(self):
        self.current = iter(self.outputs.split(7))

    def features(self, images):
        self.number = images.flatten(1)[:, 0].long()
        return self.outputs[self.number]

    def classifier(self, features):
        return self.logits[self.number]


class Data:
    """Images that are their own numbers."""

    device = torch.device("cpu")

    class train:  # noqa: N801
        images = torch.arange(24.0).reshape(24, 1, 1, 1).expand(24, 1, 2, 2)
        labels = LABELS

    @staticmethod
    def normalise(images):
        return images


@pytest.fixture(scope="module")
def watched():
    """Four epochs of three classes, and what a literal reading makes of them."""
    draws = torch.Generator().manual_seed(3)
    logits = 2 * torch.randn(4, 24, 3, generator=draws)
    logits[:, 5] = torch.tensor([9.0, 0.0, 9.5])  # of class 2, always right
    logits[:, 6] = torch.tensor([0.0, 5.0, 0.0])  # of class 0, never
    features = torch.randn(24, 5, generator=draws)
    seen = Dynamics.of(Data, [Said(own, features) for own in logits])
    probabilities = logits.double().softmax(2).tolist()
    return seen, (probabilities, LABELS.tolist(), features.double().tolist())


@pytest.mark.parametrize("name", SCORES)
def test_scores_are_the_papers(name, watched):
    seen, said = watched
    expected = torch.tensor(getattr(oracle, name)(*said), dtype=torch.float64)
    torch.testing.assert_close(getattr(pruning, name)(seen).double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", SCORES)
def test_the_highest_of_a_class_are_taken_and_of_equals_the_first(name, watched):
    seen, said = watched
    scores = getattr(pruning, name)(seen).tolist()  # equals are equal in their own arithmetic
    members = (LABELS == 1).nonzero().flatten()
    expected = sorted(members.tolist(), key=lambda image: -scores[image])
    for count in (1, 3, 8):
        assert METHODS[name.replace("_", "-")](seen, members, count).tolist() == expected[:count]


def test_images_are_scored_once_for_all_classes(watched):
    scored = []
    choose = pruning.highest(lambda seen: scored.append(seen) or pruning.el2n(seen))
    seen = dataclasses.replace(watched[0])
    for label in range(3):
        members = (LABELS == label).nonzero().flatten()
        assert torch.equal(choose(seen, members, 2), METHODS["el2n"](seen, members, 2))
    assert scored == [seen]


def test_what_was_never_right_is_forgotten_most(watched):
    scores = pruning.forgetting(watched[0])
    assert scores[6] == torch.inf and scores[5] == 0


def test_facility_location_is_greedy(watched):
    seen, (_, _, features) = watched
    members = (LABELS == 2).nonzero().flatten()
    expected = oracle.facility_location(features, members.tolist(), 5)
    assert METHODS["facility-location"](seen, members, 5).tolist() == expected


def test_too_many_pairs_are_refused(watched, monkeypatch):
    monkeypatch.setattr(pruning, "MOST_PAIRS", 7)
    with pytest.raises(DataError, match="one has 8 images: it takes at most 7"):
        METHODS["facility-location"](watched[0], (LABELS == 2).nonzero().flatten(), 1)


def dynamics_of(margins, labels=None):
    count = len(margins)
    none = torch.zeros(count)
    labels = torch.zeros(count).long() if labels is None else labels
    seen = torch.zeros(1, count, dtype=torch.bool)
    return Dynamics(labels, seen, none[None], torch.tensor([margins]), torch.zeros(count, 2), none, none[:, None])


def test_ccs_leaves_the_hardest_out_and_serves_small_strata_first():
    """Ten images: the three of the lowest margins go; of the others six lie in one stratum, one in another."""
    margins = [0.9, 0.901, 0.902, 0.903, 0.904, 0.905, 0.5, -0.9, -0.8, -0.7]
    members = torch.arange(10)
    assert METHODS["ccs"](dynamics_of(margins), members, 1).tolist() == [2]  # rather an easy one: 0 // 2 of the small
    two = METHODS["ccs"](dynamics_of(margins), members, 2).tolist()
    assert 6 in two and len(set(two)) == 2
    assert set(METHODS["ccs"](dynamics_of(margins), members, 7).tolist()) == set(range(7))
    assert set(METHODS["ccs"](dynamics_of(margins), members, 10).tolist()) == set(range(10))


@pytest.mark.parametrize(
    ("begin", "count", "first"), [(0.0, 3, 0), (0.3, 2, 2), (0.9, 1, 7), (0.9, 3, 5), (0.5, 8, 0)]
)
def test_a_window_begins_behind_a_share_of_the_largest_errors(watched, begin, count, first):
    seen, (probabilities, labels, features) = watched
    scores = oracle.el2n(probabilities, labels, features)
    members = (LABELS == 1).nonzero().flatten()
    ordered = sorted(members.tolist(), key=lambda image: -scores[image])
    assert pruning.window(begin)(seen, members, count).tolist() == ordered[first : first + count]


def test_the_window_is_the_one_that_teaches_validation_images_best(digits, nothing_remembered, monkeypatch):
    """Wherever it is best, whatever the test split says: a judge that is right about images of one window only."""
    training = ("MLP", 2, 0, nullcontext)
    seen = coresets.watched(digits, training, ["cpu", False])
    held = set(map(tuple, validation_of(digits, 0).test.images.flatten(1).tolist()))
    taught, tested = [], []

    def learn(network, images, labels, *rest, **more):
        taught.append((images, labels))
        yield from ()

    def predict(network, images, **how):
        tested.append(images)
        return torch.full((len(images),), 3 if len(taught) == 5 else -1, device=images.device)

    monkeypatch.setattr(coresets, "fit", learn)
    monkeypatch.setattr(coresets, "predict", predict)
    assert coresets.best_window(digits, seen, [4] * 10, 0, nullcontext) == 0.4
    assert len(taught) == 10 and all(labels.bincount().tolist() == [4] * 10 for _, labels in taught)
    assert not any(tuple(image) in held for images, _ in taught for image in images.flatten(1).tolist())
    assert all(set(map(tuple, images.flatten(1).tolist())) == held for images in tested)


def test_the_chosen_window_is_cut_from_all_images(digits, nothing_remembered, monkeypatch):
    monkeypatch.setattr(coresets, "best_window", lambda *rest: 0.2)
    chosen = coresets.select(digits, "el2n-window", 3, 0, architecture="MLP", epochs=2)
    ordered = coresets.select(digits, "el2n", 64, 0, architecture="MLP", epochs=2).split(64)
    for own, of_class, members in zip(chosen.split(3), ordered, digits.class_index, strict=True):
        begin = int(0.2 * len(members))
        assert own.tolist() == of_class[begin : begin + 3].tolist()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=40), st.data())
def test_every_choice_gives_that_many_different_members(margins, data):
    count = data.draw(st.integers(1, len(margins)))
    members = torch.arange(len(margins)) + 3
    seen = dynamics_of([0.0] * 3 + margins)
    for name, choose in METHODS.items():
        chosen = choose(seen, members, count).tolist()
        assert len(set(chosen)) == count and set(chosen) <= set(members.tolist()), name


@pytest.fixture(scope="module")
def digits():
    return load_data(DataConfig())


def test_a_choice_is_the_dynamics_of_the_training_that_a_student_would_have(digits, nothing_remembered):
    """The last epoch's network of `selection` is the one whose features herding would take."""
    *_, network = coresets.trained(digits, "MLP", 2, 0, nullcontext)
    probabilities, features = pruning.seen(network, digits)
    seen = coresets.watched(digits, ("MLP", 2, 0, nullcontext), ["cpu", False])
    assert seen.right.shape == (2, len(digits.train))
    torch.testing.assert_close(seen.features, features)
    torch.testing.assert_close(seen.probabilities, probabilities.topk(2).values)
    torch.testing.assert_close(seen.features, coresets.real_features(digits, network))
    in_bf16 = functools.partial(torch.autocast, "cpu", torch.bfloat16)
    _, rounded = pruning.seen(network, digits, in_bf16)
    assert torch.equal(rounded, coresets.real_features(digits, network, in_bf16)) and not torch.equal(
        rounded, features
    )
    chosen = coresets.select(digits, "margin", 3, 0, architecture="MLP", epochs=2)
    assert digits.train.labels[chosen].tolist() == [label for label in range(10) for _ in range(3)]
    gaps = probabilities.topk(2).values @ torch.tensor([1.0, -1.0])
    for label, own in enumerate(chosen.split(3)):
        assert gaps[own].max() <= gaps[digits.class_index[label]].sort().values[2] + 1e-6


@pytest.mark.parametrize("method", METHODS)
def test_fewer_are_the_first_of_more_but_for_ccs_and_windows(method, digits, monkeypatch):
    monkeypatch.setattr(coresets, "WINDOW_EPOCHS", 1)
    monkeypatch.setattr(coresets, "JUDGE", "MLP")
    how = {"architecture": "MLP", "epochs": 2}
    few, many = (coresets.select(digits, method, ipc, 0, **how).reshape(10, ipc) for ipc in (2, 5))
    assert method in pruning.SPREAD or torch.equal(few, many[:, :2])
    assert len(set(many.flatten().tolist())) == 50


def test_all_choices_are_methods_starts_and_baselines():
    starts = [name for name in STARTS if STARTS.words(name).get("embeds")]
    assert starts == [*coresets.METHODS, *METHODS] == list(BASELINES[1:-1])
    assert [name for name in starts if STARTS.words(name)["embeds"] == "training"] == list(METHODS)
    for name in METHODS:
        assert OBJECTIVES[name].published.init == name


def test_from_the_command_line_to_the_comparison(digits, tmp_path, monkeypatch):
    monkeypatch.setitem(coresets.select.__kwdefaults__, "architecture", "MLP")
    small = ["--eval_architectures", "MLP", "--eval_students", "1", "--eval_epochs", "2", "--eval_copies", "float"]
    run = ["--objective", "aum", "--ipc", "1", "--selection_epochs", "2", "--output_dir", str(tmp_path / "aum")]
    cli.main(["distill", "--dataset", "digits", *run, "--eval_students", "0"])
    record = json.loads((tmp_path / "aum/hf_dd.json").read_text())
    assert record["settings"]["objective"] == "aum" and record["settings"]["selection_epochs"] == 2
    baselines = ["--baselines", "el2n", "ccs", "--selection_epochs", "2"]
    cli.main(["evaluate", str(tmp_path / "aum"), *small, *baselines, "--output_dir", str(tmp_path / "out")])
    rows = json.loads((tmp_path / "out/results.json").read_text())["rows"]
    assert [row["set"] for row in rows] == [
        *("aum", "el2n by a network of 2 epochs, ipc 1", "ccs by a network of 2 epochs, ipc 1")
    ]


def test_a_choice_by_a_training_needs_one():
    with pytest.raises(ConfigError, match="--selection_epochs 0: el2n chooses by a training"):
        preflight(DistillConfig(objective="el2n", selection_epochs=0))
