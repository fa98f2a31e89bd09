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
    found = of_test_images("test", 0.5, 0.51, 400)
    assert found.half_width == pytest.approx(4.9) and found.within
    assert of_test_images("test", 0.5, 0.56, 400).within is False
    assert of_test_images("test", 0.5, 0.51, 100).within is None  # ± 9.8 points


def test_an_interval_that_takes_in_anything_judges_nothing():
    two = Accuracy("a", 33.7, 74.33, 33.98, n=2)
    assert two.within is None and str(two).endswith("33.98 here: not judged (fewer than 3 students)")
    assert Accuracy("a", 33.7, 4.0, 33.98, n=2).within is None
    wide = Accuracy("a", 33.7, 5.1, 33.98, n=3)
    assert wide.within is None and "not judged (an interval of more than ± 5 points)" in str(wide)
    assert Accuracy("a", 33.7, 5.0, 33.98, n=3).within is True
    assert Accuracy("a", 99.0, 0.1, 33.98, n=2).within is False  # which is beyond any doubt
    assert Accuracy("a", 33.7, 5.1, 20.0, n=3).within is False


def test_one_test_image_more_or_less_is_no_difference():
    assert Accuracy("a", 50.0, 0.0, 50.0 + 100 / 360, step=100 / 360).within is True
    assert Accuracy("a", 50.0, 0.0, 50.0 + 200 / 360, step=100 / 360).within is False
    (found,) = rows_apart(
        [ROW | {"mean": 50.0, "half_width": 0.0}], [ROW | {"mean": 50.2}], tested={"test_images": 400}
    )
    assert found.step == 0.25 and found.within is True


def several(*scores, half_width):
    mean = sum(scores) / len(scores)
    return ROW | {"n": len(scores), "scores": scores, "mean": mean, "half_width": half_width}


def test_students_of_the_same_seeds_are_compared_one_by_one():
    there = several(20.0, 40.0, 60.0, half_width=49.7)
    (found,) = rows_apart([there], [several(21.0, 40.0, 60.5, half_width=49.0)])
    # mean 0.5, standard deviation 0.5, t(0.975, 2 degrees of freedom) = 4.3027
    assert found.apart == pytest.approx(0.5 + 4.3027 * 0.5 / 3**0.5, abs=1e-4) and found.within is True
    (found,) = rows_apart([there], [several(26.0, 40.0, 55.5, half_width=49.0)])
    assert found.apart > 5 and found.within is None
    (found,) = rows_apart([there], [there], [several(26.0, 40.0, 55.5, half_width=49.0)])
    assert found.within is None  # the published images give something else here
    two = several(20.0, 40.0, half_width=127.0)
    (found,) = rows_apart([two], [two])
    assert found.apart is None and found.within is None  # two may agree by chance


def test_students_that_guess_say_nothing_of_their_images():
    there = several(10.0, 10.1, 10.2, half_width=0.25) | {"std": 0.1}
    (found,) = rows_apart([there], [there], tested={"majority": 10.0})
    assert found.within is None and "not judged (no better than guessing)" in str(found)
    (found,) = rows_apart([there], [there], tested={"majority": 9.0})
    assert found.within is True
    (found,) = rows_apart([there], [several(20.0, 20.1, 20.2, half_width=0.25)], tested={"majority": 10.0})
    assert found.within is False  # what is claimed isn't so


def verdict(values, *accuracies, **more):
    return Verdict(**{"set": "x", "at": None, "kind": "distilled-set", "ran": True} | more,
                   values=values, accuracies=accuracies)  # fmt: skip


GOOD, BAD, OPEN = Accuracy("a", 50, 2, 51), Accuracy("a", 50, 2, 53), Accuracy("a", 50, None, 53)
EQUAL, NEAR = Values("pixels", True, 0.0, 0.0), Values("pixels", False, GREY_LEVEL, 0.0)
UNSURE = Accuracy("a", 33.7, 74.33, 33.98, n=2)
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
        (verdict(FAR, dataclasses.replace(GOOD, of_set=False)), False),  # of real images, which says nothing of these
        (verdict(FAR, dataclasses.replace(GOOD, of_set=False), OPEN), False),
        (verdict(NEAR, UNSURE), True),
        (verdict(FAR, UNSURE), False),
        (verdict(FAR, UNSURE, GOOD), True),
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
    outcome = "holds" if holds else "DOESN'T HOLD" if found.judged else "CAN'T BE JUDGED"
    assert found.lines()[-1].endswith(f": {outcome}: {found.says}") and content["judged"] is found.judged


@pytest.mark.parametrize(
    ("found", "judged", "says"),
    [
        (verdict(FAR), False, "none was evaluated"),
        (verdict(FAR, OPEN), False, "no interval"),
        (verdict(FAR, UNSURE, OPEN), False, "fewer than 3 students and no interval"),
        (verdict(FAR, UNSURE, BAD), True, "0 of 1 accuracies lie within their intervals"),
        (verdict(FAR, GOOD), True, "1 of 1 accuracies lie within their intervals"),
        (verdict(EQUAL, UNSURE), True, "every byte is equal"),
        (verdict(dataclasses.replace(FAR, alike=False), UNSURE), True, "labels or shapes differ"),
        (verdict(None, ran=False, checks=(Check("a", "gone"),)), True, "1 of 1 inputs"),
        (verdict(None, parts=(verdict(EQUAL), verdict(FAR))), False, "1 of 2 cells hold, 1 can't be judged"),
        (verdict(None, parts=(verdict(FAR, BAD), verdict(FAR))), True, "0 of 2 cells hold, 1 can't be judged"),
    ],
)
def test_what_cannot_be_judged_says_why(found, judged, says):
    assert found.judged is judged and says in found.says
    assert ("no accuracy of it can be judged" in found.says) is (not judged and not found.parts)


def test_versions_that_differ():
    (found,) = versions_apart({"torch": "1", "python": "3", "timm": "1"}, {"torch": "2", "python": "3", "timm": "1"})
    assert str(found) == "torch: 1 there, 2 here"
