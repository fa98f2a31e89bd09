"""Copies among images are found, as they are and changed a little, and images that are none aren't taken for them."""

import pytest
import torch

from hf_dd.core.seeding import generator
from hf_dd.data.batches import in_blocks
from hf_dd.data.image_data import load_data
from hf_dd.errors import DataError
from hf_dd.uses import copies

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def digits():
    """The training images, and what test images say of nearness by chance."""
    data = load_data("digits")
    return data.train.images, data.test.images, copies.nearest(data.test.images, data.train.images)


def changed(images, how):
    """Images as someone may have changed them, in [0, 1]."""
    values = images.float() / 255
    return {
        "as it is": lambda: values,
        "8 bits": lambda: images,
        "brighter": lambda: values + 0.3,
        "fainter": lambda: 0.2 + 0.5 * values,
        "a pixel down": lambda: values.roll(1, 2),
        "a pixel left and up, and fainter": lambda: 0.1 + 0.6 * values.roll((-1, -1), (2, 3)),
        "noisy": lambda: values + 0.03 * torch.randn(values.shape, generator=generator(0, "noise")),
    }[how]()


@pytest.mark.parametrize("how", ["as it is", "8 bits", "brighter", "fainter", "noisy"])
def test_a_planted_copy_is_found(digits, how):
    real, _, fresh = digits
    planted = torch.tensor([5, 400, 1200])
    found = copies.nearest(changed(real[planted], how), real)
    assert found.index.tolist() == planted.tolist()
    assert copies.suspects(found, fresh).all()
    if how != "noisy":
        assert (found.nearness < 0.01).all() and (found.likeness > 0.9999).all()


@pytest.mark.parametrize("how", ["a pixel down", "a pixel left and up, and fainter"])
def test_a_shifted_copy_is_found(how):
    """Noise, which no shift of another resembles: of a shifted image all but its border is there."""
    real = torch.randint(0, 256, (60, 3, 16, 16), generator=generator(0, "real"), dtype=torch.uint8)
    fresh = torch.randint(0, 256, (40, 3, 16, 16), generator=generator(0, "fresh"), dtype=torch.uint8)
    found = copies.nearest(changed(real[20:23], how), real)
    assert found.index.tolist() == [20, 21, 22] and (found.likeness > 0.9999).all()
    assert copies.suspects(found, copies.nearest(fresh, real)).all()


def test_of_fresh_images_a_hundredth_is_taken_for_copies(digits):
    _, _, fresh = digits
    assert 0 < copies.suspects(fresh, fresh).sum() <= 4  # of 360
    assert (fresh.nearness > 0.05).all() and (fresh.nearness <= 1).all()


def test_means_of_a_class_are_no_copies(digits):
    """They are like many training images, and near to none of them in particular."""
    real, _, fresh = digits
    means = torch.stack([part.float().mean(0) / 255 for part in real.split(300)])
    found = copies.nearest(means, real)
    assert not copies.suspects(found, fresh).any() and (found.nearness > 0.6).all()


@pytest.mark.parametrize("most", [copies.MOST_VALUES, 360])
def test_distances_are_those_of_a_loop_and_real_images_are_read_once(most, monkeypatch):
    """Every shift of every pair, one by one."""
    read = []

    def watched(images, size):
        for block in in_blocks(images, size):
            read.append(len(block))
            yield block

    monkeypatch.setattr(copies, "MOST_VALUES", most)
    monkeypatch.setattr(copies, "in_blocks", watched)
    images = torch.rand(3, 2, 6, 5, generator=generator(0, "a"))
    real = torch.randint(0, 256, (7, 2, 6, 5), generator=generator(0, "b"), dtype=torch.uint8)
    found = copies.nearest(images, real)
    assert read == ([7] if most > 360 else [6, 1])
    for place, image in enumerate(images):
        likeness = []
        for other in real:
            inner = other[:, 1:5, 1:4].double().flatten()
            shifts = [
                torch.corrcoef(torch.stack([image[:, y : y + 4, x : x + 3].double().flatten(), inner]))[0, 1]
                for y in range(3)
                for x in range(3)
            ]
            likeness.append(float(max(shifts)))
        distances = sorted((2 * (1 - value)) ** 0.5 for value in likeness)
        assert found.likeness[place].item() == pytest.approx(max(likeness), abs=1e-5)
        assert found.index[place] == likeness.index(max(likeness))
        assert found.nearness[place].item() == pytest.approx(distances[0] / (sum(distances) / 7), abs=1e-4)


def test_flat_images_are_like_nothing():
    real = torch.randint(0, 256, (8, 1, 6, 6), generator=generator(0, "b"), dtype=torch.uint8)
    found = copies.nearest(torch.full((1, 1, 6, 6), 0.5), real)
    assert found.likeness.item() == 0 and found.nearness.item() == pytest.approx(1)


@pytest.mark.parametrize("shape", [(1, 1, 5, 6), (1, 3, 6, 6), (1, 1, 3, 3)])
def test_images_that_cannot_be_compared_are_refused(shape):
    real = torch.zeros((4, 1, 6, 6) if shape[-1] > 3 else (4, 1, 3, 3), dtype=torch.uint8)
    with pytest.raises(DataError, match="can't be compared"):
        copies.nearest(torch.rand(shape), real)


def test_the_picture_shows_the_nearest_first(digits):
    real, test, _ = digits
    images = torch.cat([test[:3], real[700:701]]).float() / 255
    picture = copies.pairs(images, real, copies.nearest(images, real))
    above, below = picture.crop((4, 4, 68, 68)), picture.crop((4, 72, 68, 136))
    assert picture.size == (4 * 68 + 4, 140) and above.tobytes() == below.tobytes()


def test_a_share_has_its_exact_interval():
    found = copies.share(torch.tensor([True] * 3 + [False] * 97))
    assert (found["flagged"], found["of"], found["percent"]) == (3, 100, 3.0)
    assert (found["low"], found["high"]) == (pytest.approx(0.62, abs=0.01), pytest.approx(8.52, abs=0.01))
    assert copies.share(torch.zeros(10, dtype=torch.bool))["low"] == 0
