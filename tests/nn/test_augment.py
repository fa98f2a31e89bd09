import collections

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_dd.core.seeding import generator
from hf_dd.core.strategies import parse_strategy
from hf_dd.errors import ConfigError
from hf_dd.nn import augment
from hf_dd.nn.augment import STRATEGY, AugmentParameters
from tests.oracles import augment as oracle


def random_images(count, channels=3, height=8, width=8, dtype=torch.float64):
    return torch.randn(count, channels, height, width, generator=generator(0, "images"), dtype=dtype)


def draw(count, strategy=STRATEGY, seed=0):
    return augment.draw(count, strategy, generator(seed, "augment"))


def apply_oracle(images, parameters):
    transformed = [
        image if operation < 0 else oracle.transform(image, STRATEGY[operation], magnitudes)
        for image, operation, magnitudes in zip(
            images, parameters.operation.tolist(), parameters.magnitudes.tolist(), strict=True
        )
    ]
    return torch.stack(transformed)


@pytest.mark.parametrize("operation", STRATEGY)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 7, 12), (3, 10, 5)])
def test_each_operation_agrees_with_its_literal_form(operation, shape):
    images = random_images(20, *shape)
    parameters = draw(20, (operation,))
    torch.testing.assert_close(
        augment.apply(images, parameters), apply_oracle(images, parameters), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("operation", ["crop", "cutout"])
def test_extreme_magnitudes_agree_with_the_literal_form(operation):
    nearly_one = 1 - 2**-24
    corners = torch.tensor([[0, 0], [0, nearly_one], [nearly_one, 0], [nearly_one, nearly_one]])
    magnitudes = torch.cat([corners, torch.zeros(4, 1)], dim=1)
    parameters = AugmentParameters(torch.full((4,), STRATEGY.index(operation)), magnitudes)
    for side in (1, 2, 9, 28):
        images = random_images(4, 1, side, side)
        assert torch.equal(augment.apply(images, parameters), apply_oracle(images, parameters))


@settings(max_examples=30)
@given(
    count=st.integers(1, 8),
    channels=st.sampled_from([1, 3]),
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    strategy=st.lists(st.sampled_from(STRATEGY), unique=True),
    seed=st.integers(0, 1000),
)
def test_any_size_and_strategy_agrees_with_the_literal_form(count, channels, height, width, strategy, seed):
    images = random_images(count, channels, height, width)
    before = images.clone()
    parameters = draw(count, strategy, seed)
    torch.testing.assert_close(
        augment.apply(images, parameters), apply_oracle(images, parameters), rtol=1e-6, atol=1e-6
    )
    assert torch.equal(images, before)


def test_the_published_strengths_by_hand():
    def one(operation, *magnitudes):
        row = torch.tensor([[*magnitudes, *[0.0] * (3 - len(magnitudes))]])
        return AugmentParameters(torch.tensor([STRATEGY.index(operation)]), row)

    ones = torch.ones(1, 1, 32, 32)
    assert augment.apply(ones, one("cutout", 0.5, 0.5)).sum() == 32 * 32 - 16 * 16
    assert augment.apply(ones, one("cutout", 0.0, 0.0)).sum() == 32 * 32 - 8 * 8
    assert augment.apply(ones, one("crop", 0.0, 0.5)).sum() == 28 * 32
    assert torch.equal(augment.apply(ones, one("crop", 0.5, 0.5)), ones)
    assert torch.allclose(augment.apply(ones, one("color", 0.75, 0.5, 0.5)), ones + 0.25)
    column = torch.zeros(1, 1, 2, 4)
    column[..., 0] = 1
    assert augment.apply(column, one("flip", 0.49))[0, 0, 0].tolist() == [0, 0, 0, 1]
    assert augment.apply(column, one("flip", 0.5))[0, 0, 0].tolist() == [1, 0, 0, 0]
    assert torch.allclose(augment.apply(ones, one("rotate", 0.5)), ones)


def test_siamese_rows_transform_equal_images_equally():
    per_class = draw(10)
    real_labels, synthetic_labels = torch.arange(10).repeat(3), torch.arange(10)
    images = random_images(10)
    real = augment.apply(images.repeat(3, 1, 1, 1), per_class.expand(real_labels))
    synthetic = augment.apply(images, per_class.expand(synthetic_labels))
    assert torch.equal(real, synthetic.repeat(3, 1, 1, 1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_image_is_transformed_alike_alone_and_in_any_batch(dtype):
    images, parameters = random_images(48, dtype=dtype), draw(48)
    together = augment.apply(images, parameters)
    for i in range(48):
        alone = augment.apply(images[i : i + 1], parameters.expand([i]))[0]
        torch.testing.assert_close(alone, together[i], rtol=0, atol=1e-6)


def test_draws_come_from_their_generator_alone():
    images = random_images(16)
    state = torch.get_rng_state()
    first, second = draw(16, seed=3), draw(16, seed=3)
    outputs = augment.apply(images, first), augment.apply(images, second)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(*outputs)
    assert not torch.equal(first.magnitudes, draw(16, seed=4).magnitudes)


def test_operations_are_chosen_uniformly_and_magnitudes_are_uniform():
    parameters = draw(6000)
    counts = collections.Counter(parameters.operation.tolist())
    assert sorted(counts) == list(range(6))
    assert all(abs(count - 1000) < 120 for count in counts.values())  # four standard deviations
    assert parameters.operation.dtype == torch.int64
    assert parameters.magnitudes.shape == (6000, 3)
    assert parameters.magnitudes.dtype == torch.float32
    assert parameters.magnitudes.min() >= 0
    assert parameters.magnitudes.max() < 1
    assert torch.allclose(parameters.magnitudes.mean(0), torch.full((3,), 0.5), atol=0.02)


def test_a_strategy_without_flip_never_flips():
    chosen = draw(600, parse_strategy("color_crop_cutout_scale_rotate")).operation
    assert sorted(set(chosen.tolist())) == [0, 1, 2, 4, 5]


def test_no_strategy_is_the_identity():
    images = random_images(5)
    assert torch.equal(augment.apply(images, draw(5, parse_strategy("none"))), images)


COMPOSITES = ("composite_color_crop_cutout", "composite_color_crop_flip_scale_rotate", "composite_cutout_rotate_flip")


@pytest.mark.parametrize("name", COMPOSITES)
def test_a_composite_agrees_with_its_literal_form(name):
    images, named = random_images(24), name.split("_")[1:]
    parameters = draw(24, parse_strategy(name))
    stages = [stage for stage in (["flip"], ["color"], ["crop", "scale", "rotate"], ["cutout"]) if {*stage} & {*named}]
    assert parameters.operations.shape == (24, len(stages)) and parameters.magnitudes.shape == (24, len(stages), 3)
    expected = []
    for image, operations, magnitudes in zip(images, parameters.operations, parameters.magnitudes, strict=True):
        for stage, operation, own in zip(stages, operations.tolist(), magnitudes.tolist(), strict=True):
            assert STRATEGY[operation] in stage and STRATEGY[operation] in named
            image = oracle.transform(image, STRATEGY[operation], own)
        expected.append(image)
    together = augment.apply(images, parameters)
    torch.testing.assert_close(together, torch.stack(expected), rtol=1e-6, atol=1e-6)
    for i in (0, 7):
        torch.testing.assert_close(augment.apply(images[i : i + 1], parameters.expand([i]))[0], together[i])


def test_a_composite_of_one_operation_is_that_operation():
    for operation in STRATEGY:
        images = random_images(8)
        composite, single = draw(8, ("composite", operation)), draw(8, (operation,))
        assert torch.equal(augment.apply(images, composite), augment.apply(images, single))


def test_a_composite_draws_its_stages_apart_and_one_of_three_operations_evenly():
    parameters = draw(3000, parse_strategy("composite_color_crop_cutout_flip_scale_rotate"))
    counts = collections.Counter(parameters.operations[:, 2].tolist())
    assert sorted(counts) == [STRATEGY.index(name) for name in ("crop", "scale", "rotate")]
    assert all(abs(count - 1000) < 105 for count in counts.values())  # four standard deviations
    assert len(torch.unique(parameters.magnitudes[:, :, 0].flatten())) > 11_990


@pytest.mark.parametrize("operation", STRATEGY)
def test_gradients_are_those_of_finite_differences(operation):
    images = random_images(3, 2, 5, 4).requires_grad_()
    parameters = draw(3, (operation,), seed=2)
    assert torch.autograd.gradcheck(lambda x: augment.apply(x, parameters), (images,))


def test_gradients_flow_through_a_mixed_batch():
    images = random_images(12, 1, 4, 5).requires_grad_()
    parameters = draw(12)
    assert len(parameters.operation.unique()) > 3
    assert torch.autograd.gradcheck(lambda x: augment.apply(x, parameters), (images,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_dtype_and_meaning_are_kept_in_every_precision(dtype):
    images, parameters = random_images(32), draw(32)
    augmented = augment.apply(images.to(dtype), parameters)
    assert augmented.dtype == dtype
    precise = augment.apply(images.to(dtype).double(), parameters)
    torch.testing.assert_close(augmented.double(), precise, rtol=0.01, atol=0.01)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
def test_one_draw_is_one_transform_on_every_device():
    images, parameters = random_images(64), draw(64)
    on_device = augment.apply(images.cuda(), parameters)
    assert on_device.is_cuda
    torch.testing.assert_close(on_device.cpu(), augment.apply(images, parameters))


def test_parse_strategy():
    assert parse_strategy("color_crop_cutout_flip_scale_rotate") == STRATEGY
    assert parse_strategy("flip_color") == ("flip", "color")
    assert parse_strategy("none") == parse_strategy("") == ()
    with pytest.raises(ConfigError, match="unknown augmentation 'rotat'; known, nearest first: rotate"):
        parse_strategy("flip_rotat")
    with pytest.raises(ConfigError, match="twice"):
        parse_strategy("flip_flip")
    assert parse_strategy("composite_flip_crop") == ("composite", "flip", "crop")
    for wrong, message in (("composite", "names no operation"), ("flip_composite", "unknown"), ("composite_x", "'x'")):
        with pytest.raises(ConfigError, match=message):
            parse_strategy(wrong)


def test_expand_and_length():
    parameters = draw(4)
    expanded = parameters.expand(torch.tensor([3, 0, 3]))
    assert (len(parameters), len(expanded)) == (4, 3)
    assert torch.equal(expanded.operation, parameters.operation[[3, 0, 3]])
    assert torch.equal(expanded.magnitudes, parameters.magnitudes[[3, 0, 3]])


@pytest.mark.parametrize(
    "images", [torch.zeros(3, 1, 4, 4), torch.zeros(2, 4, 4), torch.zeros(2, 1, 4, 4, dtype=torch.uint8)]
)
def test_unfit_images_are_refused(images):
    with pytest.raises(ValueError, match="2 draws need as many floating images"):
        augment.apply(images, draw(2))
