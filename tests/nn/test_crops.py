"""Random resized crops: torchvision's for given boxes, and boxes as torchvision draws them."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms import functional as reference

from hf_dd.core.seeding import generator
from hf_dd.nn.crops import draw_boxes, resized_crop

pytestmark = pytest.mark.usefixtures("one_thread")


def random_images(count, channels, size, seed=0, dtype=torch.float64):
    return torch.rand(count, channels, *size, generator=generator(seed, "images"), dtype=dtype)


@settings(max_examples=60)
@given(
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    size=st.tuples(st.integers(2, 24), st.integers(2, 24)),  # torch 2.14 resizes a single row or column wrongly
    channels=st.sampled_from([1, 3]),
    seed=st.integers(0, 10_000),
)
def test_each_image_is_cropped_as_torchvision_does_it(height, width, size, channels, seed):
    images = random_images(5, channels, (height, width), seed)
    boxes = draw_boxes(5, (height, width), generator(seed, "boxes"), scale=(0.01, 1.0), ratio=(0.3, 3.0))
    ours = resized_crop(images, boxes, size)
    assert ours.shape == (5, channels, *size) and ours.dtype == torch.float64
    for image, box, mine in zip(images, boxes.tolist(), ours, strict=True):
        top, left, box_height, box_width = box
        if 1 in (box_height, box_width):
            inside = image[:, top : top + box_height, left : left + box_width]
            image = inside.repeat(1, 2 if box_height == 1 else 1, 2 if box_width == 1 else 1)
            box = [0, 0, *image.shape[1:]]
        theirs = reference.resized_crop(image, *box, list(size), antialias=True)
        assert (mine - theirs).abs().max() < 1e-10


def test_the_gradient_is_that_of_torchvisions():
    images = random_images(4, 3, (9, 11)).requires_grad_()
    boxes = draw_boxes(4, (9, 11), generator(0, "boxes"))
    weights = random_images(4, 3, (6, 14), seed=1)
    (ours,) = torch.autograd.grad((resized_crop(images, boxes, (6, 14)) * weights).sum(), images)
    crops = [
        reference.resized_crop(image[None], *box, [6, 14], antialias=True)[0]
        for image, box in zip(images, boxes.tolist(), strict=True)
    ]
    (theirs,) = torch.autograd.grad((torch.stack(crops) * weights).sum(), images)
    assert (ours - theirs).abs().max() < 1e-10 and theirs.abs().max() > 0.1
    assert torch.autograd.gradcheck(
        lambda x: resized_crop(x, boxes[:2, :], (3, 4)), images[:2].detach().requires_grad_()
    )


def test_one_box_is_for_all_images():
    images = random_images(6, 2, (8, 8))
    boxes = draw_boxes(1, (8, 8), generator(3, "boxes"))
    assert torch.equal(resized_crop(images, boxes, (8, 8)), resized_crop(images, boxes.expand(6, 4), (8, 8)))


def test_the_whole_image_at_its_own_size_is_the_image_and_nothing_outside_of_a_box_is_read():
    images = random_images(2, 1, (7, 5))
    whole = torch.tensor([[0, 0, 7, 5]])
    assert torch.equal(resized_crop(images, whole, (7, 5)), images)
    changed = images.clone()
    changed[:, :, :2] = 100.0
    changed[:, :, :, 4:] = -100.0
    inside = torch.tensor([[2, 0, 5, 4]])
    for size in [(3, 2), (7, 9)]:
        assert torch.equal(resized_crop(images, inside, size), resized_crop(changed, inside, size))
        assert 0 <= resized_crop(images, inside, size).min() <= resized_crop(images, inside, size).max() <= 1


def test_cropping_and_normalising_may_change_places():
    images = random_images(3, 3, (16, 16))
    boxes = draw_boxes(3, (16, 16), generator(5, "boxes"))
    after = (resized_crop(images, boxes, (12, 12)) - 0.4) / 0.3
    assert (resized_crop((images - 0.4) / 0.3, boxes, (12, 12)) - after).abs().max() < 1e-12


@pytest.mark.parametrize(("dtype", "within"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
def test_lower_precisions_under_autocast_too(dtype, within):
    images = random_images(4, 3, (32, 32))
    boxes = draw_boxes(4, (32, 32), generator(0, "boxes"))
    exact = resized_crop(images, boxes, (32, 32))
    with torch.autocast("cpu", torch.bfloat16):
        found = resized_crop(images.to(dtype), boxes, (32, 32))
    assert found.dtype == dtype
    assert (found.double() - exact).abs().max() < within


@pytest.mark.parametrize("size", [(32, 32), (28, 40), (3, 30), (1, 1)])
@pytest.mark.parametrize("ratio", [(3 / 4, 4 / 3), (1.0, 1.0)])
def test_boxes_are_distributed_as_torchvisions(size, ratio):
    count = 3000
    boxes = draw_boxes(count, size, generator(1, "boxes"), ratio=ratio)
    assert boxes.dtype == torch.int64 and boxes.shape == (count, 4)
    tops, lefts, heights, widths = boxes.unbind(1)
    assert (tops >= 0).all() and (lefts >= 0).all() and (heights >= 1).all() and (widths >= 1).all()
    assert (tops + heights <= size[0]).all() and (lefts + widths <= size[1]).all()
    torch.manual_seed(0)
    image = torch.zeros(1, *size)
    theirs = torch.tensor([RandomResizedCrop.get_params(image, [0.08, 1.0], list(ratio)) for _ in range(count)])
    for mine, other in zip(boxes.double().unbind(1), theirs.double().unbind(1), strict=True):
        spread = max(float(other.std()), 1e-9)
        assert abs(mine.mean() - other.mean()) < 5 * spread * math.sqrt(2 / count) + 1e-9
        assert mine.std() == pytest.approx(spread, rel=0.1, abs=0.03)


def test_a_draw_depends_on_its_generator_alone():
    state = torch.get_rng_state()
    first = draw_boxes(8, (32, 32), generator(2, "boxes"))
    torch.rand(3)
    torch.set_rng_state(state)
    assert torch.equal(first, draw_boxes(8, (32, 32), generator(2, "boxes")))
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(first, draw_boxes(8, (32, 32), generator(3, "boxes")))
