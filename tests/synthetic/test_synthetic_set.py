"""The images that are optimised: where they start, and their two spaces."""

import dataclasses

import numpy as np
import pytest
import torch

from hf_dd.config import DataConfig
from hf_dd.core.seeding import generator
from hf_dd.data.image_data import load_data
from hf_dd.errors import DataError
from hf_dd.synthetic.synthetic_set import SyntheticSet


@pytest.fixture(scope="module")
def digits():
    return load_data(DataConfig())


@pytest.fixture(scope="module")
def colours(digits):
    """Digits with three channels of unequal statistics, and names that sort otherwise than their labels."""
    images = torch.cat([digits.train.images, digits.train.images // 2, 255 - digits.train.images], dim=1)
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    return dataclasses.replace(
        digits,
        train=dataclasses.replace(digits.train, images=images),
        mean=(0.3, 0.15, 0.7),
        std=(0.4, 0.2, 0.35),
        class_names=names,
    )


def make_set(data, init="noise", ipc=3, seed=0, dtype=torch.float32):
    return SyntheticSet.initial(data, ipc, init, seed, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_real_init_is_real_images_of_each_class_normalised(colours, dtype):
    synthetic = make_set(colours, "real", ipc=4, dtype=dtype)
    assert synthetic.pixels.shape == (40, 3, 8, 8) and synthetic.pixels.dtype == dtype
    assert synthetic.labels.tolist() == [label for label in range(10) for _ in range(4)]
    mean, std = (np.reshape(statistic, (3, 1, 1)) for statistic in (colours.mean, colours.std))
    for pixels, label in zip(synthetic.pixels.detach(), synthetic.labels, strict=True):
        members = colours.train.images[colours.train.labels == label].numpy()
        normalised = (members / 255 - mean) / std
        distances = np.abs(normalised - pixels.double().numpy()).max((1, 2, 3))
        assert distances.min() < (1e-6 if dtype == torch.float32 else 1e-14)
    per_class = synthetic.pixels.detach().view(10, 4, -1)
    assert all(len({tuple(row.tolist()) for row in images}) == 4 for images in per_class)


def test_noise_init_is_standard_normal(digits):
    pixels = make_set(digits, ipc=50).pixels.detach()
    assert pixels.shape == (500, 1, 8, 8)
    assert abs(pixels.mean()) < 4 / 32000**0.5
    assert abs(pixels.std() - 1) < 4 / 64000**0.5
    assert len({tuple(row.tolist()) for row in pixels.flatten(1)}) == 500


@pytest.mark.parametrize("init", ["real", "noise"])
def test_a_start_depends_on_the_seed_alone(digits, init):
    first = make_set(digits, init)
    torch.manual_seed(7)
    state = torch.get_rng_state()
    assert torch.equal(make_set(digits, init).pixels, first.pixels)
    assert torch.equal(torch.get_rng_state(), state)
    for seed in (1, 2):
        other = make_set(digits, init, seed=seed).pixels.view(10, 3, -1)
        assert all(not torch.equal(*pair) for pair in zip(other, first.pixels.view(10, 3, -1), strict=True))


@pytest.mark.parametrize("init", ["real", "noise"])
def test_a_start_is_the_same_in_either_precision(digits, init):
    single, double = make_set(digits, init).pixels, make_set(digits, init, dtype=torch.float64).pixels
    torch.testing.assert_close(single.double(), double, rtol=1e-6, atol=1e-6)


def test_real_init_needs_as_many_real_images_and_noise_doesnt(digits):
    with pytest.raises(DataError, match="Class '8' of digits has 139 training images, and ipc is 140"):
        make_set(digits, "real", ipc=140)
    assert make_set(digits, "noise", ipc=140).ipc == 140


def test_images_that_cant_be_shared_out_are_refused():
    with pytest.raises(DataError, match="7 synthetic images can't be shared out evenly to 2 classes"):
        SyntheticSet(torch.zeros(7, 1, 2, 2), ["a", "b"], (0.5,), (0.5,))


# --- its two spaces and its rows


def test_own_space_undoes_the_normalisation(colours):
    synthetic = make_set(colours, "real", dtype=torch.float64)
    chosen = torch.cat([colours.sample_class(c, 3, generator(0, "init", c)) for c in range(10)])
    own = synthetic.own_space()
    torch.testing.assert_close(own, colours.train.images[chosen].double() / 255, rtol=0, atol=1e-14)
    (gradient,) = torch.autograd.grad(own.sum(), synthetic.pixels)
    assert torch.allclose(gradient[5, :, 0, 0], torch.tensor([0.4, 0.2, 0.35], dtype=torch.float64))
    pixels = torch.full((1, 3, 1, 1), 10.0, dtype=torch.float64)
    assert synthetic.own_space(pixels).flatten().tolist() == pytest.approx([4.3, 2.15, 4.2])  # not clipped


def test_rows_of_classes(digits):
    synthetic = make_set(digits)
    assert synthetic.rows([2, 0]).tolist() == [6, 7, 8, 0, 1, 2]
    assert synthetic.rows([]).tolist() == []
    assert synthetic.labels[synthetic.rows([9, 4])].tolist() == [9, 9, 9, 4, 4, 4]
