"""Images in chunks: whether their activations are kept or computed again changes no gradient."""

import pytest
import torch

from hf_dd.data import batches as images
from hf_dd.objectives import build_objective
from tests.factories import (
    assert_close,
    make_config,
    make_data,
    make_pool,
    make_set,
    make_step,
    only_losses,
    value_and_gradient,
)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("kind", ["none", "ce", "cos"])
def test_chunks_whether_kept_or_computed_again_change_no_gradient(kind, monkeypatch):
    data = make_data()
    pool = None if kind == "none" else make_pool(data)
    found = []
    for pixels, chunks in ((1 << 17, 1), (6 * 6 * 2, 3), (6 * 6, 6)):  # three chunks are kept
        monkeypatch.setattr(images, "CHUNK_PIXELS_ON_CPU", pixels)
        synthetic = make_set(data)
        losses = only_losses(build_objective(make_config(kind), data, pool), make_step(synthetic, data))
        found.append(value_and_gradient(sum(losses.values()), synthetic.pixels))
        assert images.chunks_of(6, synthetic.pixels) == chunks
    assert_close(found[0], found[1], 1e-12)
    assert_close(found[0], found[2], 1e-12)


@pytest.mark.parametrize(("chunks", "calls"), [(1, 1), (3, 3), (4, 8)])
def test_the_activations_of_three_chunks_are_kept_and_of_more_computed_again(chunks, calls, monkeypatch):
    monkeypatch.setattr(images, "CHUNK_PIXELS_ON_CPU", 6 * 6 * 2)
    pixels, seen = torch.rand(2 * chunks, 1, 6, 6, requires_grad=True), []

    def square(part):
        seen.append(len(part))
        return part.square()

    images.by_chunks(square, pixels).sum().backward()
    assert len(seen) == calls
    assert torch.equal(pixels.grad, 2 * pixels.detach())
