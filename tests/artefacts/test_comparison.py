"""What was published beside what was made again: how far apart, and whether it holds."""

import dataclasses
import json

import pytest
import torch

from hf_dd.artefacts.comparison import (
    GREY_LEVEL,
    Accuracy,
    Check,
    Values,
    Verdict,
    of_test_images,
    rows_apart,
    sets_apart,
    versions_apart,
    weights_apart,
)
from hf_dd.synthetic.distilled_set import DistilledSet, to_eight_bits

ROW = {"architecture": "ConvNet", "copy": "float", "n": 3, "epochs": 2, "learning_rate": 0.01}


def a_set(shift=0.0, labels=(0, 1), soft=None):
    pixels = torch.linspace(0, 1, 32).view(2, 1, 4, 4) + shift
    return DistilledSet(pixels, to_eight_bits(pixels), torch.tensor(labels), ["a", "b"], 10, soft_labels=soft)


def test_pixels_of_two_sets():
    same = sets_apart(a_set(), a_set(), True)
    assert (same.equal, same.largest, same.mean) == (True, 0.0, 0.0) and same.close and "every byte" in str(same)
    near = sets_apart(a_set(), a_set(0.001), False)
    assert near.largest == pytest.approx(0.001, abs=1e-6) and near.mean == pytest.approx(0.001, abs=1e-6)
    assert near.close and "largest difference 0.001" in str(near)
    far = sets_apart(a_set(), a_set(0.02), False)
    assert not far.close and far.largest == pytest.approx(0.02, abs=1e-6)
    other = sets_apart(a_set(), a_set(labels=(1, 0)), False)
    assert not other.alike and not other.close and other.largest is None and "labels" in str(other)
    repacked = sets_apart(a_set(), a_set(), False)
    assert repacked.close and "equal in every value" in str(repacked)


def test_an_8_bit_copy_that_shows_something_else_is_seen():
    there = a_set()
    here = dataclasses.replace(there, images=there.images.flip(0))
    assert sets_apart(there, here, False).largest > 0.4
    rounded = dataclasses.replace(there, images=(there.images.int() + 1).clamp(max=255).to(torch.uint8))
    assert sets_apart(there, rounded, False).largest == 0.0


def test_soft_labels_count():
    soft = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    assert sets_apart(a_set(soft=soft), a_set(soft=soft), False).soft_labels == 0.0
    moved = sets_apart(a_set(soft=soft), a_set(soft=soft.flip(1)), False)
    assert moved.soft_labels == pytest.approx(0.8) and not moved.close
    assert sets_apart(a_set(soft=soft), a_set(), False).soft_labels == 1.0


def test_weights_of_two_networks():
    weights = {"a": torch.zeros(2, 2), "b": torch.zeros(4)}
    assert weights_apart(weights, weights, True).close
    other = weights | {"b": torch.full((4,), 0.5)}
    found = weights_apart(weights, other, False)
    assert (found.largest, found.mean) == (0.5, 0.25) and not found.close
    assert not weights_apart(weights, {"a": torch.zeros(2, 2)}, False).alike


def test_rows_are_matched_by_what_they_are_of_not_by_the_sets_name():
    there = [ROW | {"set": "local/x@v1", "mean": 50.0, "half_width": 2.0}]
    there += [ROW | {"set": "random", "baseline": "random", "copy": "8bit", "mean": 40.0, "half_width": None}]
    here = [ROW | {"set": "random real", "baseline": "random", "copy": "8bit", "mean": 41.0}]
    here += [ROW | {"set": "repeated", "mean": 51.5}, ROW | {"set": "repeated", "n": 4, "mean": 0.0}]
    first, second = rows_apart(there, here)
    assert (first.there, first.here, first.within) == (50.0, 51.5, True)
    assert (second.here, second.within) == (41.0, None)
    (claimed, _) = rows_apart(there, here, [ROW | {"mean": 10.0}])
    assert claimed.published == 10.0 and claimed.within is False


def test_the_accuracy_of_one_network_has_the_interval_of_its_test_images():
    found = of_test_images("test", 0.5, 0.51, 100)
    assert found.half_width == pytest.approx(9.8) and found.within
    assert not of_test_images("test", 0.5, 0.61, 100).within


def verdict(values, *accuracies, **more):
    return Verdict(**{"set": "x", "at": None, "kind": "distilled-set", "ran": True} | more,
                   values=values, accuracies=accuracies)  # fmt: skip


GOOD, BAD, OPEN = Accuracy("a", 50, 2, 51), Accuracy("a", 50, 2, 53), Accuracy("a", 50, None, 53)
EQUAL, NEAR = Values("pixels", True, 0.0, 0.0), Values("pixels", False, GREY_LEVEL, 0.0)
FAR, GONE = Values("pixels", False, 0.5, 0.1), Values("pixels", False, None, None)


@pytest.mark.parametrize(
    ("found", "holds"),
    [
        (verdict(EQUAL), True),
        (verdict(EQUAL, GOOD, OPEN), True),
        (verdict(EQUAL, BAD), False),  # what is claimed of the very same images isn't so
        (verdict(NEAR, OPEN), True),
        (verdict(FAR), False),
        (verdict(FAR, OPEN), False),
        (verdict(FAR, GOOD), True),
        (verdict(FAR, GOOD, BAD), False),
        (verdict(GONE, GOOD), True),
        (verdict(GONE), False),
        (verdict(dataclasses.replace(FAR, alike=False), GOOD), False),
        (verdict(None, ran=False, checks=(Check("a"),)), True),
        (verdict(None, ran=False, checks=(Check("a"), Check("b", "gone"))), False),
        (verdict(None, parts=(verdict(EQUAL), verdict(FAR))), False),
        (verdict(None, parts=(verdict(EQUAL),)), True),
    ],
)
def test_what_holds(found, holds):
    assert found.holds is holds
    content = json.loads(json.dumps(found.as_dict()))
    assert content["holds"] is holds and content["says"] == found.says and content["of"] == "distilled-set"
    assert f"{'holds' if holds else 'HOLD'}: {found.says}" in found.lines()[-1]


def test_versions_that_differ():
    (found,) = versions_apart({"torch": "1", "python": "3", "timm": "1"}, {"torch": "2", "python": "3", "timm": "1"})
    assert str(found) == "torch: 1 there, 2 here"
