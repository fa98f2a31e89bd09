"""RandAugment beside torchvision's own, operation by operation and as a whole."""

import pytest
import torch
from torchvision.transforms import InterpolationMode, RandAugment
from torchvision.transforms.autoaugment import _apply_op

from hf_dd.core.seeding import generator
from hf_dd.errors import ConfigError
from hf_dd.nn import rand_augment, views
from hf_dd.nn.rand_augment import OPERATIONS, STRENGTHS, apply, draw, strength
from hf_dd.nn.views import Views

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE = (18, 24)  # of so many pixels that Equalize, a matter of 255 steps, does something
ORACLE = RandAugment()


def images_of(count=5, channels=3, size=SIZE, seed=0):
    """uint8 images that have edges, dark and bright places, and not all levels."""
    pixels = torch.rand(count, channels, *size, generator=generator(seed, "images")) ** 2
    pixels[:, :, : size[0] // 2] *= 0.5
    return (200 * pixels + 20).byte()


def theirs(image, name, magnitude, sign):
    """What torchvision's RandAugment makes of one uint8 image by an operation and a sign."""
    magnitudes, _ = ORACLE._augmentation_space(31, tuple(image.shape[1:]))[name]
    value = float(magnitudes[magnitude].item()) if magnitudes.ndim > 0 else 0.0
    return _apply_op(image, name, sign * value, interpolation=InterpolationMode.NEAREST, fill=None)


def test_operations_are_torchvisions_and_so_are_their_strengths():
    assert ORACLE.num_magnitude_bins == rand_augment.BINS
    for size in (SIZE, (32, 32), (224, 224)):
        space = ORACLE._augmentation_space(31, size)
        assert tuple(space) == OPERATIONS and {name for name, (_, signed) in space.items() if signed} == set(STRENGTHS)
        for name, (values, _) in space.items():
            for magnitude in range(31):
                expected = float(values[magnitude]) if values.ndim else 0.0
                assert strength(name, magnitude, size) == expected, (name, magnitude, size)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("magnitude", [1, 9, 30])
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_torchvisions_to_the_level(name, magnitude, channels):
    images = images_of(channels=channels)
    for sign in (1, -1) if name in STRENGTHS else (1,):
        operations = torch.full((5, 1), OPERATIONS.index(name))
        strengths = torch.full((5, 1), sign * strength(name, magnitude, SIZE), dtype=torch.float64)
        found = apply(images.float() / 255, operations, strengths)
        expected = torch.stack([theirs(image, name, magnitude, sign) for image in images])
        assert torch.equal(found, expected.float() / 255)
        unchanged = name == "Identity" or (name == "Color" and channels == 1)
        assert torch.equal(expected, images) <= (unchanged or magnitude == 1), "an operation that does nothing"


def test_a_batch_has_each_images_operations_in_their_order():
    images = images_of(count=300)
    operations, strengths = draw(300, 2, 9, SIZE, generator(0, "views"))
    found = apply(images.double() / 255, operations, strengths)
    for image, places, values, ours in zip(images, operations.tolist(), strengths.tolist(), found, strict=True):
        for place, value in zip(places, values, strict=True):
            image = theirs(image, OPERATIONS[place], 9, -1 if value < 0 else 1)
        assert torch.equal(ours, image.double() / 255)
    assert not torch.equal(found, apply(images.double() / 255, operations.flip(1), strengths.flip(1)))


def test_draws_are_those_of_torchvision_in_distribution():
    operations, strengths = draw(14_000, 2, 9, (32, 32), generator(0, "views"))
    assert operations.shape == strengths.shape == (14_000, 2) and operations.dtype == torch.int64
    assert strengths.dtype == torch.float64
    counts = torch.bincount(operations.flatten(), minlength=14)
    assert counts.min() > 1850 and counts.max() < 2150  # of 2,000, whose deviation is 43
    for place, name in enumerate(OPERATIONS):
        own = strengths[operations == place]
        assert set(own.abs().tolist()) == {strength(name, 9, (32, 32))}
        share = (own < 0).double().mean()
        assert share == pytest.approx(0.5, abs=0.05) if name in STRENGTHS else share == 0
    again = draw(14_000, 2, 9, (32, 32), generator(0, "views"))
    assert torch.equal(operations, again[0]) and torch.equal(strengths, again[1])
    assert [len(each) for each in draw(0, 2, 9, SIZE, generator(0, "views"))] == [0, 0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_images_are_clipped_rounded_and_left_as_they_were(dtype):
    images = torch.tensor([-0.5, 0.0, 0.501, 2.0], dtype=dtype).view(1, 1, 2, 2).requires_grad_()
    before = images.detach().clone()
    operations = torch.tensor([[OPERATIONS.index("Identity")]])
    found = apply(images, operations, torch.zeros(1, 1, dtype=torch.float64))
    assert found.dtype == dtype and not found.requires_grad and torch.equal(images.detach(), before)
    level = round(images[0, 0, 1, 0].item() * 255)
    assert torch.equal(found.flatten(), torch.tensor([0, 0, level / 255, 1], dtype=torch.float64).to(dtype))


def test_views_begin_with_it_and_other_draws_follow():
    spec = Views(scale=(0.3, 1.0), flip=True, rand_augment=(2, 9))
    images = images_of().float() / 255
    draws = views.draw(spec, 5, SIZE, generator(0, "views"))
    draw_of = generator(0, "views")
    operations, strengths = draw(5, 2, 9, SIZE, draw_of)
    assert torch.equal(draws.operations, operations) and torch.equal(draws.strengths, strengths)
    rest = views.draw(Views(scale=(0.3, 1.0), flip=True), 5, SIZE, draw_of)
    assert torch.equal(rest.boxes, draws.boxes) and torch.equal(rest.flipped, draws.flipped)
    changed = apply(images, operations, strengths)
    assert torch.equal(views.apply(images, draws, (6, 5)), views.apply(changed, rest, (6, 5)))
    picked = [4, 1]
    alone = views.apply(images[picked], draws.expand(picked), (6, 5))
    assert torch.allclose(alone, views.apply(images, draws, (6, 5))[picked])


@pytest.mark.parametrize("given", [(0, 9), (2, -1), (2, 31)])
def test_what_makes_no_sense_is_refused(given):
    with pytest.raises(ConfigError, match="rand_augment"):
        Views(rand_augment=given)
