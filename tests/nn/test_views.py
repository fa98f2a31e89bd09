"""The views of the field's protocols, beside torchvision and literal transcriptions of the sources' code."""

import math

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import functional as reference

from hf_dd.core.seeding import generator
from hf_dd.errors import ConfigError
from hf_dd.nn import views
from hf_dd.nn.views import ViewDraws, Views, apply, draw, mixed_targets

pytestmark = pytest.mark.usefixtures("one_thread")

EVERYTHING = Views(
    scale=(0.2, 1.0), flip=True, shuffle=2, padding=2, jitter=0.4, lighting=0.1, mix="cutmix", probability=0.5
)


def images_of(count=6, channels=3, size=(8, 8), seed=0):
    return torch.rand(count, channels, *size, generator=generator(seed, "images"), dtype=torch.float64)


def drawn(spec, count=6, size=(8, 8), seed=0):
    return draw(spec, count, size, generator(seed, "views"))


# --- transcriptions of the sources


def rand_bbox(size, lam, cx, cy):
    """CutMix's box as its authors, and all after them, compute it: `size` (N, C, rows, columns), a centre given."""
    cut_rat = numpy.sqrt(1.0 - lam)
    cut_w, cut_h = int(size[2] * cut_rat), int(size[3] * cut_rat)
    edges = (
        numpy.clip([cx - cut_w // 2, cx + cut_w // 2], 0, size[2]),
        numpy.clip([cy - cut_h // 2, cy + cut_h // 2], 0, size[3]),
    )
    return [int(edge[side]) for side in (0, 1) for edge in edges]  # x1, y1, x2, y2


def shuffle_weight(img, factor, order):
    """RDED's strips of columns of one image (C, H, W), in a given order; the last one takes what is left over."""
    tw = img.shape[2] // factor
    patches = [img[..., i * tw : (i + 1) * tw] if i < factor - 1 else img[..., i * tw :] for i in range(factor)]
    return torch.cat([patches[place] for place in order], -1)


def idc_jitter(img, shares, order):
    """IDC's ColorJitter on one image, the shares and the order given."""
    for kind in order:
        gs = (0.299 * img[0] + 0.587 * img[1] + 0.114 * img[2]).expand_as(img)
        towards = [torch.zeros_like(img), torch.full_like(img, gs.mean().item()), gs][kind]
        img = img.lerp(towards, shares[kind])
    return img


# --- what is carried out


@pytest.mark.parametrize("size", [(8, 8), (7, 11)])
@pytest.mark.parametrize("factor", [2, 3])
def test_tiles_are_shuffled_as_rded_does_it(size, factor):
    images, draws = images_of(size=size), drawn(Views(shuffle=factor), size=size)
    for image, columns, rows, ours in zip(images, draws.columns, draws.rows, apply(images, draws), strict=True):
        theirs = shuffle_weight(image, factor, columns.tolist()).permute(0, 2, 1)
        assert torch.equal(ours, shuffle_weight(theirs, factor, rows.tolist()).permute(0, 2, 1))
    orders = {tuple(order) for order in drawn(Views(shuffle=factor), count=200).columns.tolist()}
    assert len(orders) == math.factorial(factor)


def test_crops_and_mirrors_are_torchvisions():
    images, draws = images_of(size=(9, 7)), drawn(Views(scale=(0.3, 1.0), flip=True), size=(9, 7))
    assert 0 < draws.flipped.sum() < 6
    for image, box, flipped, ours in zip(
        images, draws.boxes, draws.flipped, apply(images, draws, (6, 5)), strict=True
    ):
        theirs = reference.resized_crop(image, *box.tolist(), [6, 5], antialias=True)
        theirs = reference.hflip(theirs) if flipped else theirs
        assert (ours - theirs).abs().max() < 1e-10


def test_a_padded_crop_is_torchvisions():
    images, draws = images_of(count=40), drawn(Views(padding=3), count=40)
    assert draws.windows.min() == -3 and draws.windows.max() == 3
    for image, (down, right), ours in zip(images, draws.windows.tolist(), apply(images, draws), strict=True):
        theirs = reference.crop(reference.pad(image, [3] * 4), 3 + down, 3 + right, 8, 8)
        assert torch.equal(ours, theirs)


def test_colours_and_lighting_are_idcs():
    images, draws = images_of(), drawn(Views(jitter=0.4))
    assert draws.shares.abs().max() < 0.4 and len({tuple(order) for order in draws.order.tolist()}) > 1
    for image, shares, order, ours in zip(images, draws.shares, draws.order, apply(images, draws), strict=True):
        assert (ours - idc_jitter(image, shares.tolist(), order.tolist())).abs().max() < 1e-12
    draws = drawn(Views(lighting=0.1), count=2000)
    assert draws.lighting.std() == pytest.approx(0.1, rel=0.05)
    added = apply(images[:1].expand(2000, -1, -1, -1), draws) - images[:1]
    alpha = draws.lighting[7]
    for channel in range(3):
        rgb = sum(views.COLOUR_AXES[channel][j] * alpha[j] * views.COLOUR_STDS[j] for j in range(3))
        assert (added[7, channel] - rgb).abs().max() < 1e-8
    grey = images_of(channels=1)
    assert torch.equal(apply(grey, drawn(Views(lighting=0.1))), grey)


def test_a_cutmix_box_is_that_of_its_authors(monkeypatch):
    size = (9, 12)
    for seed in range(40):
        share = torch.rand((), generator=generator(seed, "share"), dtype=torch.float64)
        monkeypatch.setattr(views, "beta", lambda alpha, count, draws, share=share: share.expand(count))
        draws = drawn(Views(mix="cutmix"), count=5, size=size, seed=seed)
        place = generator(seed, "views")
        torch.rand(1, generator=place, dtype=torch.float64)  # whether to mix
        torch.randperm(5, generator=place)
        centre = torch.rand(1, 2, generator=place, dtype=torch.float64)[0] * torch.tensor(size)
        x1, y1, x2, y2 = rand_bbox((5, 3, *size), share.item(), *centre.long().tolist())
        assert draws.pastes[0].tolist() == [x1, y1, x2 - x1, y2 - y1] and len(draws.pastes.unique(dim=0)) == 1
        kept = 1 - (x2 - x1) * (y2 - y1) / (9 * 12)
        assert draws.weights.tolist() == pytest.approx([kept] * 5)
        images = images_of(5, size=size)
        theirs = images.clone()
        theirs[:, :, x1:x2, y1:y2] = images[draws.partners, :, x1:x2, y1:y2]
        assert torch.equal(apply(images, draws), theirs)


@pytest.mark.parametrize("each", [False, True])
def test_mixup_is_a_weighted_mean_and_labels_are_mixed_alike(each):
    images, draws = images_of(), drawn(Views(mix="mixup", alpha=0.8, each=each))
    assert len(draws.weights.unique()) == (6 if each else 1)
    assert each or sorted(draws.partners.tolist()) == list(range(6))
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    targets = mixed_targets(labels, draws, 4)
    mean = apply(images, draws)
    for row, (weight, partner) in enumerate(zip(draws.weights.double(), draws.partners.tolist(), strict=True)):
        assert (mean[row] - weight * images[row] - (1 - weight) * images[partner]).abs().max() < 1e-12
        wanted = torch.zeros(4)
        wanted[labels[row]] += weight
        wanted[labels[partner]] += 1 - weight
        assert torch.allclose(targets[row], wanted)
    assert torch.allclose(mixed_targets(torch.eye(4)[labels], draws, 4), targets)
    assert torch.equal(mixed_targets(labels, ViewDraws(), 4), labels)


def test_the_mixed_loss_is_the_mean_of_both_losses():
    draws, labels = drawn(Views(mix="cutmix", each=True)), torch.tensor([0, 1, 2, 0, 1, 2])
    logits = torch.randn(6, 3, generator=generator(1, "logits"))
    losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    others = torch.nn.functional.cross_entropy(logits, labels[draws.partners], reduction="none")
    ours = torch.nn.functional.cross_entropy(logits, mixed_targets(labels, draws, 3), reduction="none")
    assert torch.allclose(ours, draws.weights * losses + (1 - draws.weights) * others)


# --- what is drawn


@pytest.mark.parametrize("alpha", [0.2, 0.8, 1.0, 4.0])
def test_the_share_is_drawn_from_beta(alpha):
    shares = views.beta(alpha, 20_000, generator(0, "beta"))
    assert torch.equal(shares, views.beta(alpha, 20_000, generator(0, "beta")))
    assert shares.mean() == pytest.approx(0.5, abs=0.015)
    assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.05)  # of Beta(α, α)
    mixup = drawn(Views(mix="mixup", alpha=alpha, each=True), count=20_000)
    assert mixup.weights.double().var() == pytest.approx(shares.var().item(), rel=0.05)


def test_batches_and_rows_are_mixed_with_their_probability():
    once = [bool((drawn(Views(mix="cutmix", probability=0.3), seed=seed).weights < 1).any()) for seed in range(300)]
    assert 0.15 < sum(once) / 300 < 0.4
    rows = drawn(Views(mix="mixup", probability=0.3, each=True), count=3000)
    assert (rows.weights < 1).float().mean() == pytest.approx(0.3, abs=0.03)
    unmixed = rows.weights == 1
    assert torch.equal(rows.partners[unmixed], torch.arange(3000)[unmixed])
    never = drawn(Views(mix="cutmix", probability=0.0))
    assert torch.equal(apply(images_of(), never), images_of())


@settings(max_examples=40)
@given(
    size=st.tuples(st.integers(2, 12), st.integers(2, 12)),
    view=st.tuples(st.integers(2, 12), st.integers(2, 12)),
    each=st.booleans(),
    mix=st.sampled_from(["cutmix", "mixup"]),
    seed=st.integers(0, 1000),
)
def test_draws_are_valid_and_replay(size, view, each, mix, seed):
    spec = Views(scale=(0.08, 1.0), size=view, flip=True, mix=mix, each=each, alpha=0.8)
    draws, again = drawn(spec, 5, size, seed), drawn(spec, 5, size, seed)
    images = images_of(5, size=size)
    found = apply(images, draws, spec.size)
    assert found.shape == (5, 3, *view) and torch.equal(found, apply(images, again, spec.size))
    assert ((draws.weights >= 0) & (draws.weights <= 1)).all()
    assert ((draws.partners >= 0) & (draws.partners < 5)).all()
    if mix == "cutmix":
        assert (draws.pastes >= 0).all() and (draws.pastes[:, :2] + draws.pastes[:, 2:] <= torch.tensor(view)).all()
        area = draws.pastes[:, 2] * draws.pastes[:, 3] / (view[0] * view[1])
        assert torch.allclose(draws.weights, 1 - area.float())


def test_all_of_it_is_differentiable_and_changes_nothing_in_place():
    images = images_of(3, size=(4, 4)).requires_grad_()
    draws, before = drawn(EVERYTHING, 3, (4, 4)), images.detach().clone()
    assert torch.autograd.gradcheck(lambda x: apply(x, draws, (5, 6)), images)
    assert torch.equal(images.detach(), before)
    single = apply(before.float(), draws, (5, 6))
    assert single.dtype == torch.float32 and torch.allclose(single.double(), apply(before, draws, (5, 6)), atol=1e-5)


def test_what_isnt_of_colour_may_be_normalised_before_or_after():
    spec = Views(scale=(0.3, 1.0), flip=True, shuffle=2, mix="cutmix")
    images, draws = images_of(), drawn(spec)
    after = (apply(images, draws) - 0.4) / 0.3
    assert (apply((images - 0.4) / 0.3, draws) - after).abs().max() < 1e-12


def test_a_row_depends_on_its_own_draw_alone_and_can_be_taken_out():
    spec = Views(scale=(0.3, 1.0), flip=True, shuffle=2, jitter=0.4)
    images, draws = images_of(), drawn(spec)
    assert len(draws) == 6 and len(ViewDraws()) == 0
    picked = [4, 1]
    assert torch.allclose(apply(images[picked], draws.expand(picked)), apply(images, draws)[picked])
    assert torch.equal(apply(images, drawn(Views())), images)
    with pytest.raises(ValueError, match="6 draws need as many images, not 2"):
        apply(images[:2], draws)


@pytest.mark.parametrize(
    "options",
    [
        {"mix": "cutout"},
        {"scale": (0.0, 1.0)},
        {"scale": (0.5, 1.5)},
        {"ratio": (2.0, 1.0)},
        {"shuffle": 0},
        {"alpha": 0.0},
        {"probability": 1.5},
        {"jitter": float("nan")},
        {"size": (0, 8)},
    ],
)
def test_views_that_make_no_sense_are_refused(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        Views(**options)
