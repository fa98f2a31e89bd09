"""Labels of crops: drawn by seed, epoch and image, replayed bit for bit, what teachers say to half precision."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_dd.core.seeding import generator
from hf_dd.errors import ConfigError, DataError, TeacherError
from hf_dd.nn import networks
from hf_dd.nn.views import Views, draw
from hf_dd.nn.views import apply as carried_out
from hf_dd.teachers.crop_labels import PURPOSE, CropLabels, compressed, derive_seed, drawn, label_crops
from hf_dd.teachers.pool import TeacherPool
from hf_dd.teachers.soft_labels import logit_orders
from hf_dd.training.loop import TrainingRecipe, fit
from hf_dd.training.targets import CropTargets, StoredTargets
from tests.factories import make_data, make_teacher

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
CROPS = Views(scale=(0.08, 1.0), flip=True)
MIXES = {"none": CROPS} | {mix: dataclasses.replace(CROPS, mix=mix) for mix in ("cutmix", "mixup")}


def sharp(teacher, scale=20.0):
    """The same with logits that are far from uniform."""
    with torch.no_grad():
        teacher.network.classifier.weight.mul_(scale)
    return teacher


@pytest.fixture(scope="module")
def data():
    """Five classes."""
    return make_data((4, 4, 4, 4, 4))


@pytest.fixture(scope="module")
def pool(data):
    return TeacherPool([sharp(make_teacher(data, seed=seed)) for seed in range(2)])


def images_of(data, count=6):
    return torch.rand(count, data.channels, *data.image_size, generator=generator(0, "images"))


def labels_of(data, pool, views=CROPS, epochs=3, topk=2, seed=0):
    return label_crops(pool, data.class_names, images_of(data), views, epochs, topk, seed, CPU)


def said_by(teacher, data, views):
    """A teacher's log-probabilities, at temperature 1."""
    (order,) = logit_orders(TeacherPool([teacher]), data.class_names)
    with torch.no_grad():
        return teacher(views)[:, order].log_softmax(1)


# --- the rows


@pytest.mark.parametrize("mix", MIXES)
def test_the_rows_are_the_draws_of_seed_epoch_and_image(data, pool, mix):
    views, images = MIXES[mix], images_of(data)
    labels = labels_of(data, pool, views, epochs=3, seed=7)
    assert len(labels) == 18 and labels.epoch.tolist() == [epoch for epoch in range(3) for _ in range(6)]
    assert labels.image.tolist() == list(range(6)) * 3
    for epoch, rows in enumerate(labels.by_epoch()):
        seed = derive_seed(7, PURPOSE, epoch)
        draws = draw(dataclasses.replace(views, each=True), 6, (6, 6), torch.Generator().manual_seed(seed))
        assert set(rows.seed.tolist()) == {seed} and 0 <= seed < 2**63
        assert torch.equal(rows.box.long(), draws.boxes) and torch.equal(rows.flip, draws.flipped)
        assert torch.equal(rows.views(images), carried_out(images, draws))
    fewer = labels_of(data, pool, views, epochs=2, seed=7)
    for name, column in fewer.columns.items():
        assert torch.equal(column, labels.columns[name][:12]), name
    assert not torch.equal(labels_of(data, pool, views, seed=8).box, labels.box)


@pytest.mark.parametrize("mix", MIXES)
def test_a_row_replays_by_itself_and_the_teacher_says_what_it_holds(data, pool, mix):
    teacher, images = pool[0], images_of(data)
    labels = labels_of(data, TeacherPool([teacher]), MIXES[mix], topk=3)
    for row in torch.randperm(len(labels), generator=generator(1, "rows"))[:8].tolist():
        one = labels.taken(torch.tensor([row]))
        (logs,) = said_by(teacher, data, one.views(images))
        found = one.log_probabilities[0].float()
        assert (found - logs[one.classes[0].long()]).abs().max() < 0.002 * max(1, found.abs().max())
        assert found.tolist() == sorted(found.tolist(), reverse=True) == logs.topk(3).values.half().tolist()
        rest = logs.sort().values[:-3].logsumexp(0).item()  # by subtraction nothing would be left of it
        assert one.log_rest.item() == pytest.approx(rest, rel=0.002, abs=0.002)
        assert torch.equal(one.views(images), labels.views(images)[row : row + 1])


def test_several_teachers_say_the_mean_of_their_probabilities(data, pool):
    labels, images = labels_of(data, pool, topk=5), images_of(data)
    assert labels.classes is None and labels.log_rest is None
    mean = sum(said_by(teacher, data, labels.views(images)).exp() for teacher in pool) / 2
    assert (labels.probabilities(1.0) - mean).abs().max() < 0.002


def test_few_classes_are_all_kept_unless_told(data, pool):
    assert labels_of(data, pool, topk=None).log_probabilities.shape[1] == 5
    with pytest.raises(ConfigError, match="--soft_label_topk 6: the data set has 5 classes; give at most as many"):
        labels_of(data, pool, topk=6)


def test_a_teacher_without_numbers_is_named(data):
    teacher = make_teacher(data)
    with torch.no_grad():
        teacher.network.classifier.bias.fill_(math.nan)
    with pytest.raises(TeacherError, match=r"somebody/ConvNet-0@final.*logits that are not finite numbers"):
        labels_of(data, TeacherPool([teacher]))


# --- what is kept of a label


def test_the_rest_is_shared_evenly_and_the_whole_is_made_softer():
    logs = torch.tensor([[4.0, 1.0, 0.0, -1.0, -2.0], [0.0, 3.0, 0.5, 0.2, 0.1]]).log_softmax(1)
    kept = compressed(logs, 2)
    labels = CropLabels(5, (4, 4), *[torch.zeros(2, dtype=torch.int64)] * 5, **kept)
    for temperature in (1.0, 4.0, 20.0):
        for row in range(2):
            largest = logs[row].topk(2)
            each = (1 - largest.values.exp().sum()) / 3
            filled = torch.full((5,), each.item())
            filled[largest.indices] = largest.values.exp()
            wanted = filled ** (1 / temperature) / (filled ** (1 / temperature)).sum()
            torch.testing.assert_close(labels.probabilities(temperature)[row], wanted, rtol=3e-3, atol=1e-5)
    assert torch.allclose(labels.probabilities(20.0).sum(1), torch.ones(2))


def test_a_confident_teacher_survives_half_precision():
    """Probabilities underflow there, and so does what is left of 1."""
    logs = (60 * torch.randn(50, 100, generator=generator(0, "logits"))).log_softmax(1)
    kept = compressed(logs, 10)
    labels = CropLabels(100, (4, 4), *[torch.zeros(50, dtype=torch.int64)] * 5, **kept)
    exact = logs.clone()
    exact.scatter_(1, logs.topk(90, largest=False).indices, math.nan)
    rest = logs.topk(90, largest=False).values.logsumexp(1) - math.log(90)
    exact = torch.where(exact.isnan(), rest[:, None], exact)
    for temperature in (1.0, 4.0, 20.0):
        wanted = (exact / temperature).softmax(1)
        found = labels.probabilities(temperature).clamp(min=1e-30)
        divergence = (wanted * (wanted.clamp(min=1e-30).log() - found.log())).sum(1)
        assert divergence.max() < 1e-4


@settings(max_examples=30)
@given(
    size=st.tuples(st.integers(2, 9), st.integers(2, 9)),
    count=st.integers(1, 7),
    mix=st.sampled_from(sorted(MIXES)),
    kept=st.integers(1, 5),
    seed=st.integers(0, 100),
)
def test_rows_are_sound_whatever_is_drawn(size, count, mix, kept, seed):
    columns = drawn(MIXES[mix], count, size, epoch=seed % 5, seed=seed)
    logs = (9 * torch.randn(count, 5, generator=generator(seed, "logits"))).log_softmax(1)
    labels = CropLabels(5, size, **columns, **compressed(logs, kept))
    labels.require_sound("it", count, size)
    images = torch.rand(count, 1, *size, generator=generator(seed, "images"))
    order = torch.randperm(count, generator=generator(seed, "order"))
    assert torch.equal(labels.taken(order).views(images), labels.views(images)[order])
    assert torch.equal(labels.taken(order).probabilities(4.0), labels.probabilities(4.0)[order])
    assert torch.allclose(labels.probabilities(1.0).sum(1), torch.ones(count))


# --- what students learn from them


def trained(data, images, labels, **changes):
    network = networks.build("MLP", **data.network_shape, seed=0, width=8)
    recipe = TrainingRecipe(**{"epochs": 5, "learning_rate": 0.05, "batch_size": 4} | changes)
    losses = [epoch.loss for epoch in fit(network, images, labels, recipe, seed=0, purpose="student")]
    return network.state_dict(), losses


@pytest.mark.parametrize("mix", MIXES)
def test_replayed_labels_are_those_that_the_teacher_would_give(data, pool, mix):
    """Of one epoch of views at temperature 4, those stored, and those computed on the very views by hand."""
    teacher, images = pool[0], images_of(data)
    labels = labels_of(data, TeacherPool([teacher]), MIXES[mix], epochs=1, topk=5)
    views = labels.views(images)
    online = (said_by(teacher, data, views) / 4).softmax(1)
    assert (labels.probabilities(4.0) - online).abs().max() < 1e-3
    stored, losses = trained(data, images, CropTargets(labels, 4.0), epochs=3)
    computed, others = trained(data, views, StoredTargets(online, 4.0), epochs=3)
    assert losses == pytest.approx(others, rel=1e-3)
    for name in stored:
        assert torch.allclose(stored[name], computed[name], atol=1e-3), name


def test_epochs_go_around_the_stored_ones(data, pool):
    labels, images = labels_of(data, pool, epochs=2), images_of(data)
    targets = CropTargets(labels, 4.0)
    for number in range(1, 6):
        seen, wanted = targets.of_epoch(number, images)
        rows = labels.by_epoch()[(number - 1) % 2]
        chosen = torch.tensor([4, 0])
        assert len(seen) == 6 and seen.shape == (6, 1, 6, 6)
        assert torch.equal(seen[chosen], rows.taken(chosen).views(images))
        assert torch.equal(wanted.of_batch(chosen, seen[chosen], None), rows.taken(chosen).probabilities(4.0))
    assert trained(data, images, targets)[1] != trained(data, images, CropTargets(labels_of(data, pool), 4.0))[1]


def test_the_order_of_rows_in_their_file_decides_nothing_but_that_of_the_batches(data, pool):
    labels, images = labels_of(data, pool), images_of(data)
    dropped = labels.taken((labels.epoch < 2).nonzero().flatten())
    assert (
        trained(data, images, CropTargets(dropped, 4.0), epochs=2)[1]
        == (trained(data, images, CropTargets(labels, 4.0), epochs=2)[1])
    )


def test_images_of_8_bits_are_seen_in_their_own_space(data, pool):
    labels = labels_of(data, pool, MIXES["cutmix"])
    images = (255 * images_of(data)).round().to(torch.uint8)
    assert torch.equal(labels.views(images), labels.views(images.float() / 255))


# --- rows that aren't sound


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("image", 6, "an image beyond its 6"),
        ("image", -1, "an image beyond its 6"),
        ("partner", 10**9, "an image beyond its 6"),
        ("box", 7, "a crop outside of its 6×6 images"),
        ("box", 0, "a crop outside of its 6×6 images"),
        ("partner_box", 65_535, "a crop outside"),
        ("paste", 7, "a pasted part outside of its 6×6 views"),
        ("classes", 5, "a class beyond its 5"),
        ("classes", 1, "a class twice in a row"),
        ("log_probabilities", math.nan, "log-probabilities that are no finite numbers up to 0"),
        ("log_probabilities", 1.0, "log-probabilities that are no finite"),
        ("log_probabilities", -math.inf, "log-probabilities that are no finite"),
        ("log_rest", math.nan, "log-probabilities that are no finite"),
        ("log_rest", 0.0, "probabilities whose sum isn't 1"),
    ],
)
def test_what_is_wrong_with_rows_is_said(data, pool, column, value, words):
    labels = labels_of(data, pool, MIXES["cutmix"])
    spoilt = labels.columns[column].clone()
    spoilt[4] = value
    with pytest.raises(DataError, match=f"The labels of crops of the set hold {words}"):
        dataclasses.replace(labels, **{column: spoilt}).require_sound("the set", 6, (6, 6))


@pytest.mark.parametrize("weight", [math.nan, -0.1, 1.5])
def test_a_weight_that_is_none_is_refused(data, pool, weight):
    labels = labels_of(data, pool, MIXES["mixup"])
    spoilt = dataclasses.replace(labels, weight=torch.full_like(labels.weight, weight))
    with pytest.raises(DataError, match="a MixUp weight outside"):
        spoilt.require_sound("the set", 6, (6, 6))


def test_no_row_is_refused(data, pool):
    with pytest.raises(DataError, match="hold no row"):
        labels_of(data, pool).taken(torch.tensor([], dtype=torch.int64)).require_sound("the set", 6, (6, 6))
