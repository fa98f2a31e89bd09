"""Whether a mirrored image is still one of its class."""

import dataclasses
import math

import pytest
import torch
from torch.nn import functional

from hf_dd.data.batches import in_unit_range
from hf_dd.data.image_data import load_data
from hf_dd.training import flips
from hf_dd.training.flips import by_chance, flip_test, judged
from tests.factories import make_data

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_coin_decides_what_is_chance():
    """Losses 3 and gains 1 of four: (C(4, 3) + C(4, 4)) / 2⁴ = 5/16."""
    right, mirrored = torch.tensor([1, 1, 1, 0, 1]).bool(), torch.tensor([0, 0, 0, 1, 1]).bool()
    assert by_chance(right, mirrored) == pytest.approx(5 / 16)
    assert by_chance(mirrored, right) == pytest.approx(15 / 16)
    assert by_chance(right, right) == 1


def outcome(rights, mirroreds, each=100):
    """Of classes of 100 images each, so many are right as they are and mirrored."""
    labels = torch.arange(len(rights)).repeat_interleave(each)
    of = [torch.cat([torch.arange(each) < count for count in counts]) for counts in (rights, mirroreds)]
    return judged(*of, labels, [f"class {c}" for c in range(len(rights))])


@pytest.mark.parametrize(
    "rights, mirroreds, hurts",
    [
        ([90, 90], [90, 89], False),
        ([90, 90], [88, 88], False),  # 2 points of all: less than 3
        ([90, 90], [84, 84], True),  # 6 points: more, and a coin gives as many in 1 of 4,096
        ([90] * 10, [*[90] * 9, 65], True),  # one class alone, 2.5 points of all
        ([90] * 10, [*[90] * 9, 82], False),  # of which 8 images are less than a tenth
        ([9, 12, 10, 11], [9, 12, 10, 11], True),  # it has learned nothing: nothing is known
    ],
)
def test_what_is_lost_decides(rights, mirroreds, hurts):
    found = outcome(rights, mirroreds)
    assert found.hurts is hurts
    assert found.accuracy == pytest.approx(sum(rights) / len(rights) / 100)
    assert found.mirrored == pytest.approx(sum(mirroreds) / len(rights) / 100)
    assert found.lost == pytest.approx(max(a - b for a, b in zip(rights, mirroreds, strict=True)) / 100)


@pytest.mark.parametrize(("each", "mirrored", "hurts"), [(3, 0, True), (3, 3, True), (4, 0, True), (4, 4, False)])
def test_few_images_tell_nothing_however_many_are_lost(each, mirrored, hurts):
    """A coin loses 6 of 6 in one of 64 tries, 8 of 8 in one of 256."""
    found = outcome([each, each], [mirrored, mirrored], each)
    assert (found.hurts, found.enough) == (hurts, each == 4)
    assert ("too few of them to tell" in str(found)) == (each == 3)
    assert ("is right on 100 % of held-out ones" in str(found)) == (each == 4)


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


def test_mirrored_digits_are_other_signs(digits):
    found = flip_test(digits)
    assert found.hurts and found.accuracy > 0.8 and found.mirrored < 0.6
    assert flips.augmentation(digits) == "color_crop_cutout_scale_rotate"
    assert flips.augmentation(digits, ("flip",)) == "none"
    assert flips.augmentation(digits, ("crop", "color")) == "crop_color"


def test_images_that_are_their_own_mirror_may_be_flipped(digits):
    def symmetric(images):
        return torch.cat([images, images.flip(3)], 3)

    train = dataclasses.replace(digits.train, images=symmetric(digits.train.images))
    data = dataclasses.replace(digits, train=train, fingerprint="symmetric")
    found = flip_test(data)
    assert not found.hurts and found.accuracy == found.mirrored > 0.8
    assert flips.augmentation(data) == "color_crop_cutout_flip_scale_rotate"


def test_the_test_split_has_no_part_in_it(digits, nothing_remembered):
    data = dataclasses.replace(digits, test=None)
    assert flips.measured(data) == flips.measured(digits)


@pytest.mark.parametrize(("counts", "hurts"), [((1, 1), True), ((1, 60, 60), False)])
def test_a_class_of_a_single_image_has_none_to_be_seen_by(counts, hurts):
    data = make_data(counts)
    stripes = torch.arange(len(counts))[data.train.labels][:, None, None, None] * 100  # their own mirrors
    data.train.images[:] = stripes.expand_as(data.train.images).to(torch.uint8)
    found = flips.measured(data)
    assert found.hurts is hurts and found.accuracy == found.mirrored
    assert all(map(math.isfinite, (found.accuracy, found.mirrored, found.lost)))


def test_large_images_are_floats_a_few_at_a_time(monkeypatch):
    data, seen = make_data((3, 3), channels=3, size=300), []
    monkeypatch.setattr(flips, "in_unit_range", lambda images: seen.append(len(images)) or in_unit_range(images))
    rows = torch.tensor([4, 0, 2])
    expected = functional.interpolate(in_unit_range(data.train.images[rows]), [32, 32], mode="area")
    assert torch.equal(flips.small(data, rows), expected) and seen == [1, 1, 1]


def test_images_of_a_single_pixel_are_their_own_mirrors(digits):
    train = dataclasses.replace(digits.train, images=digits.train.labels.byte().view(-1, 1, 1, 1) * 28)
    found = flips.measured(dataclasses.replace(digits, train=train))
    assert found.enough and found.accuracy == found.mirrored
