"""Multi-formation: what is stored, what it decodes to, and what an objective sees of it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_dd.errors import ConfigError
from hf_dd.nn.tiles import decode_tiles, encode_tiles
from hf_dd.objectives import build_objective
from hf_dd.synthetic.synthetic_set import SyntheticSet
from tests.factories import make_config, make_data, make_pool, make_step, only_losses

pytestmark = pytest.mark.usefixtures("one_thread")


def smooth(count, channels, size, seed=0):
    """Images that shrinking and enlarging hardly change."""
    coarse = torch.rand(count, channels, 2, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.interpolate(coarse, (size, size), mode="bilinear", align_corners=True)


@settings(max_examples=25)
@given(factor=st.integers(1, 3), stored=st.integers(1, 3), channels=st.sampled_from([1, 3]), size=st.integers(8, 25))
def test_what_is_encoded_decodes_to_nearly_the_same_images(factor, stored, channels, size):
    images = smooth(stored * factor**2, channels, size)
    compact = encode_tiles(images, factor)
    assert compact.shape == (stored, channels, size, size)
    decoded = decode_tiles(compact, factor)
    assert decoded.shape == images.shape
    inside = (..., slice(0, size - factor), slice(0, size - factor))  # a border that didn't fit was cut off
    assert (decoded - images)[inside].abs().mean() < 0.05
    others = decoded.roll(1, 0)
    if len(images) > 1:
        assert (decoded - images)[inside].abs().mean() < (others - images)[inside].abs().mean()


def test_a_set_decodes_in_normalised_space_as_its_rows_do_in_their_own():
    pixels = torch.randn(4, 3, 7, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    synthetic = SyntheticSet(pixels, ["a", "b"], (0.4, 0.5, 0.6), (0.2, 0.3, 0.4), factor=2)
    own = decode_tiles(synthetic.own_space().detach(), 2)  # 7 isn't divided by 2: the border is grey in both
    assert torch.allclose(synthetic.own_space(synthetic.images()).detach(), own, atol=1e-12)
    assert synthetic.image_labels().tolist() == [0] * 8 + [1] * 8
    rows = synthetic.rows([1])
    assert torch.equal(synthetic.images(rows), synthetic.images()[8:])
    assert (synthetic.ipc, synthetic.per_class) == (2, 8)


def test_an_objective_sees_the_decoded_images_as_if_they_were_stored():
    data = make_data()
    compact = SyntheticSet.initial(data, 1, "real", 3, torch.float64, factor=2)
    stored = SyntheticSet(compact.images().detach(), data.class_names, data.mean, data.std)
    for clom, pool in (("none", None), ("ce", make_pool(data)), ("cos", make_pool(data))):
        objective = build_objective(make_config(clom, augment="flip"), data, pool)
        ours = sum(only_losses(objective, make_step(compact, data)).values())
        (found,) = torch.autograd.grad(ours, compact.pixels)
        theirs = sum(only_losses(objective, make_step(stored, data)).values())
        (gradient,) = torch.autograd.grad(theirs, stored.pixels)
        assert float(ours.detach()) == pytest.approx(float(theirs.detach()), rel=1e-12)
        (expected,) = torch.autograd.grad(compact.images(), compact.pixels, gradient)
        assert torch.allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_real_images_start_in_the_tiles():
    data = make_data()
    synthetic = SyntheticSet.initial(data, 1, "real", 0, torch.float64, factor=2)
    singles = SyntheticSet.initial(data, 4, "real", 0, torch.float64)
    expected = data.normalise(encode_tiles(singles.own_space().detach(), 2))
    assert torch.allclose(synthetic.pixels.detach(), expected, atol=1e-12)


def test_tiles_of_less_than_a_pixel_are_refused():
    with pytest.raises(ConfigError, match="--factor 9 leaves tiles of less than a pixel of 8×8 images"):
        encode_tiles(torch.zeros(81, 1, 8, 8), 9)
