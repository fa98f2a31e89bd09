"""CLoM: both distances against the paper's loops, how a pool guides, its options and balance, on any ranks."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_dd.config import DistillConfig
from hf_dd.core.seeding import generator
from hf_dd.data import batches as images
from hf_dd.errors import ConfigError, TeacherError
from hf_dd.nn import augment
from hf_dd.objectives import OBJECTIVES, build_objective
from hf_dd.objectives.base import Objective
from hf_dd.objectives.clom import ClassificationDistance, CosineDistance, Guided, ratio_share
from hf_dd.objectives.published import Published
from hf_dd.synthetic.synthetic_set import SyntheticSet
from hf_dd.teachers.pool import TeacherPool
from hf_dd.teachers.teacher import Teacher
from tests.factories import (
    NAMES,
    assert_close,
    make_config,
    make_data,
    make_pool,
    make_set,
    make_step,
    make_teacher,
    on_ranks,
    only_losses,
    optimise,
    own_space,
    teacher_logits,
    value_and_gradient,
    with_pixels,
)
from tests.oracles import clom as clom_oracle
from tests.oracles import clom as oracle

pytestmark = pytest.mark.usefixtures("one_thread")


# --- CLoM, ce


@pytest.mark.parametrize("architecture", ["ConvNet", "ConvNetBN", "MLP"])
@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1]])
def test_ce_agrees_with_the_papers_loops(architecture, order):
    data = make_data()
    teacher = make_teacher(data, architecture, class_names=[NAMES[i] for i in order]).double()
    step = make_step(make_set(data, ipc=3), data)
    distance = ClassificationDistance(TeacherPool([teacher]), data)
    ours = value_and_gradient(distance(step, 0, {0: teacher}), step.synthetic.pixels)
    label_names = [data.class_names[label] for label in step.synthetic.labels]
    logits = teacher_logits(teacher, own_space(step.synthetic, data))
    theirs = clom_oracle.cross_entropy(logits, label_names, teacher.class_names)
    assert_close(ours, value_and_gradient(theirs, step.synthetic.pixels), 1e-10)


@pytest.mark.parametrize("kind", ["ce", "cos"])
@pytest.mark.parametrize("factor", [1, 2])
def test_teachers_may_see_a_few_images_of_each_class_drawn_for_the_step(kind, factor):
    data, ipc, batch = make_data(), 4, 3
    teacher = make_teacher(data).double()
    distance = {"ce": ClassificationDistance, "cos": CosineDistance}[kind](TeacherPool([teacher]), data, batch=batch)
    synthetic, seen = make_set(data, ipc=ipc, factor=factor), []
    for index, inner in ((0, 0), (0, 0), (0, 1), (1, 0), (2, 0), (3, 0)):
        ours = value_and_gradient(distance(make_step(synthetic, data, index), inner, {0: teacher}), synthetic.pixels)
        rows = ours[1].flatten(1).abs().sum(1).nonzero().flatten()
        assert torch.bincount(synthetic.labels[rows]).tolist() == [batch] * data.num_classes
        if kind == "ce":
            names = [data.class_names[label] for label in synthetic.image_labels(rows)]
            logits = teacher(synthetic.own_space(synthetic.images(rows)))
            theirs = clom_oracle.cross_entropy(logits, names, teacher.class_names)
        else:
            features, labels = (
                teacher.features(synthetic.own_space(synthetic.images(rows))),
                synthetic.image_labels(rows),
            )
            real = teacher.features(data.train.images.double() / 255)
            theirs = clom_oracle.cosine(real, data.train.labels, features, labels)
        assert_close(ours, value_and_gradient(theirs, synthetic.pixels), 1e-10)
        seen.append(rows.tolist())
    assert seen[0] == seen[1] and len({*map(tuple, seen[1:])}) == 5  # for each iteration, and each of its steps
    whole = {"ce": ClassificationDistance, "cos": CosineDistance}[kind](TeacherPool([teacher]), data, batch=ipc)
    value = whole(make_step(synthetic, data), 0, {0: teacher})
    unbatched = {"ce": ClassificationDistance, "cos": CosineDistance}[kind](TeacherPool([teacher]), data)
    assert value == unbatched(make_step(synthetic, data), 0, {0: teacher})


def test_the_order_of_the_teachers_logits_matters():
    data = make_data()
    step = make_step(make_set(data), data)
    values = []
    for names in (NAMES[:3], NAMES[2::-1]):
        teacher = make_teacher(data, class_names=names).double()
        values.append(float(ClassificationDistance(TeacherPool([teacher]), data)(step, 0, {0: teacher}).detach()))
    assert abs(values[0] - values[1]) > 1e-3


def test_ce_weighs_one_image_by_alpha_over_the_size_of_the_set():
    data = make_data()
    teacher = make_teacher(data)
    objective = build_objective(make_config("ce", clom_alpha=500.0), data, TeacherPool([teacher]))
    synthetic = make_set(data, ipc=4)
    ours = value_and_gradient(only_losses(objective, make_step(synthetic, data))["clom"], synthetic.pixels)
    for i in (0, 5, 11):
        images = own_space(synthetic, data)
        one = torch.nn.functional.cross_entropy(
            teacher_logits(teacher, images[i : i + 1]), synthetic.labels[i : i + 1]
        )
        _, gradient = value_and_gradient(one, synthetic.pixels)
        assert_close([ours[1][i]], [gradient[i] * 500 / 12], 1e-10)


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (["cat", "dog", "horse"], r"lacks bird and has horse besides"),
        (["Cat", "dog", "bird"], r"lacks cat and has Cat besides"),
        (["x", "y", "z"], r"lacks bird, cat, dog and has x, y, z besides"),
    ],
)
def test_ce_refuses_another_label_space_and_names_the_difference(names, complaint):
    data = make_data()
    pool = TeacherPool([make_teacher(data), make_teacher(data, "MLP", class_names=names)])
    with pytest.raises(TeacherError, match=f"somebody/MLP-0@final.*{complaint}.*--clom cos"):
        build_objective(make_config("ce"), data, pool)
    build_objective(make_config("cos"), data, pool)


def test_ce_refuses_a_teacher_of_more_classes():
    data, larger = make_data(), make_data((5, 5, 5, 5))
    with pytest.raises(TeacherError, match=r"lacks none and has fish besides"):
        build_objective(make_config("ce"), data, TeacherPool([make_teacher(larger)]))


# --- CLoM, cos


class LinearTeacher(Teacher):
    """A teacher whose features are a random linear map of the images, and may point anywhere."""

    spec = None
    image_size = (0, 0)

    def __init__(self, pixels, size, seed):
        self.weight = torch.randn(pixels, size, generator=generator(seed, "weight"), dtype=torch.float64)

    def features(self, images):
        return (images.flatten(1) - 0.5) @ self.weight


def oracle_cosine(step, teacher):
    real = step.data.train
    return clom_oracle.cosine(
        teacher.features(real.images.double() / 255),
        real.labels,
        teacher.features(own_space(step.synthetic, step.data)),
        step.synthetic.labels,
    )


@settings(max_examples=25)
@given(
    counts=st.lists(st.integers(0, 6), min_size=1, max_size=5).filter(any),
    ipc=st.integers(1, 3),
    size=st.integers(2, 9),
    seed=st.integers(0, 10_000),
)
def test_cos_collapsed_over_the_real_side_is_the_matrix_form(counts, ipc, size, seed):
    data = make_data(counts, size=2, seed=seed)
    teacher = LinearTeacher(4, size, seed)
    step = make_step(make_set(data, ipc), data)
    ours = CosineDistance(TeacherPool([teacher]), data)(step, 0, {0: teacher})
    theirs = oracle_cosine(step, teacher)
    assert float(ours.detach()) == pytest.approx(float(theirs.detach()), rel=1e-8)
    _, gradient = value_and_gradient(ours, step.synthetic.pixels)
    _, expected = value_and_gradient(theirs, step.synthetic.pixels)
    assert (gradient - expected).abs().max() <= 1e-8 * expected.abs().max() + 1e-12


@pytest.mark.parametrize("architecture", ["ConvNet", "ConvNetBN", "MLP"])
def test_cos_of_a_network_agrees_with_the_matrix_form(architecture, monkeypatch):
    monkeypatch.setattr(images, "CHUNK_PIXELS_ON_CPU", 6 * 6 * 8)  # more than one chunk of features
    data = make_data((19, 3, 30))
    teacher = make_teacher(data, architecture).double()
    step = make_step(make_set(data), data)
    ours = value_and_gradient(
        CosineDistance(TeacherPool([teacher]), data)(step, 0, {0: teacher}), step.synthetic.pixels
    )
    theirs = value_and_gradient(oracle_cosine(step, teacher), step.synthetic.pixels)
    assert_close(ours, theirs, 1e-8)


@pytest.mark.parametrize("classes", [2, 5])
def test_cos_of_features_that_know_no_class_is_at_the_chance_level(classes):
    data = make_data((60,) * classes, size=6)
    teacher = LinearTeacher(36, 64, 1)
    step = make_step(make_set(data, ipc=20), data)
    value = float(CosineDistance(TeacherPool([teacher]), data)(step, 0, {0: teacher}).detach())
    assert value == pytest.approx(1 / classes, rel=0.02)


def test_cos_reads_the_real_side_of_each_teacher_once():
    data = make_data()

    class Counting(LinearTeacher):
        seen = 0

        def features(self, images):
            self.seen += len(images)
            return super().features(images)

    teachers = [Counting(36, 5, 0), Counting(36, 5, 1)]
    distance = CosineDistance(TeacherPool(teachers), data)
    step = make_step(make_set(data), data)
    first = [float(distance(step, 0, {i: teachers[i]}).detach()) for i in (0, 1)]
    after_first = [teacher.seen for teacher in teachers]
    second = [float(distance(step, 0, {i: teachers[i]}).detach()) for i in (0, 1)]
    assert first == second
    assert first[0] != first[1]
    assert all(count >= len(data.train.labels) for count in after_first)
    assert [teacher.seen for teacher in teachers] == [count + len(step.synthetic.labels) for count in after_first]


@pytest.mark.parametrize("strategy", [(), ("color", "crop", "flip")])
@pytest.mark.parametrize("distance", [ClassificationDistance, CosineDistance])
@pytest.mark.parametrize("ranks", [2, 3, 5, 13])
@pytest.mark.parametrize(("factor", "batch"), [(1, None), (2, None), (1, 1), (2, 1)])
def test_clom_shares_of_the_ranks_add_up_to_the_single_ranks_loss(distance, ranks, factor, batch, strategy):
    data = make_data((4, 9, 6, 7))
    pool = TeacherPool([make_teacher(data).double(), make_teacher(data, "MLP").double()])
    start = make_set(data).pixels.detach()

    def work(rank, sum_over_ranks, ranks=ranks):
        synthetic = SyntheticSet(start.clone(), data.class_names, data.mean, data.std, factor)
        step = make_step(synthetic, data, rank=rank, ranks=ranks, sum_over_ranks=sum_over_ranks)
        term = distance(pool, data, strategy, batch)
        return [value_and_gradient(term(step, 0, {i: pool[i]}), synthetic.pixels) for i in (0, 1, 0)]

    single = work(0, lambda tensor: tensor, ranks=1)
    together = on_ranks(ranks, work)
    for call, alone in enumerate(single):
        shares = zip(*(results[call] for results in together), strict=True)
        assert_close([sum(parts) for parts in shares], alone, 1e-10)


numbers = st.floats(0.1, 10)


@settings(max_examples=60)
@given(rows=st.lists(st.tuples(numbers, numbers, numbers, numbers), min_size=1, max_size=5))
def test_shares_of_a_ratio_add_up_in_value_and_gradient(rows):
    x = torch.tensor([1.3, 0.7], dtype=torch.float64, requires_grad=True)

    def parts(row):
        return row[0] * x[0].sin() + row[1] * x[1], row[2] * x[0] ** 2 + row[3] * x[1].exp()

    totals = torch.stack([torch.stack(parts(row)).detach() for row in rows]).sum(0)
    data = make_data((1,))
    step = make_step(make_set(data), data, sum_over_ranks=lambda tensor: totals)
    shares = [value_and_gradient(ratio_share(*parts(row), step), x) for row in rows]
    whole = sum(parts(row)[0] for row in rows) / sum(parts(row)[1] for row in rows)
    value, gradient = value_and_gradient(whole, x)
    torch.testing.assert_close(sum(share[0] for share in shares), value, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(sum(share[1] for share in shares), gradient, rtol=1e-10, atol=1e-12)


# --- the guide


@pytest.mark.parametrize("kind", ["ce", "cos"])
def test_clom_gradient_is_that_of_finite_differences(kind):
    data = make_data((4, 3), size=4)
    teacher = make_teacher(data, width=2, depth=1, activation="swish").double()
    term = {"ce": ClassificationDistance, "cos": CosineDistance}[kind](TeacherPool([teacher]), data)
    synthetic = make_set(data, ipc=1)

    def loss(pixels):
        return term(make_step(with_pixels(synthetic, pixels), data), 0, {0: teacher})

    assert torch.autograd.gradcheck(loss, (synthetic.pixels.detach().requires_grad_(),))


@pytest.mark.parametrize("kind", ["ce", "cos"])
def test_teachers_stay_frozen_and_in_eval_mode(kind):
    data = make_data()
    pool = make_pool(data)
    before = [{name: value.double() for name, value in teacher.state_dict().items()} for teacher in pool]
    assert any("running_mean" in name for name in before[0])
    objective = build_objective(make_config(kind), data, pool)
    for teacher in pool:
        teacher.train()
        torch.nn.ModuleList([teacher]).train()
    optimise(objective, make_set(data), data)
    for teacher, values in zip(pool, before, strict=True):
        assert not any(module.training for module in teacher.modules())
        assert not any(parameter.requires_grad for parameter in teacher.parameters())
        assert all(parameter.grad is None for parameter in teacher.parameters())
        after = teacher.state_dict()
        assert after.keys() == values.keys()
        assert all(torch.equal(after[name].double(), value) for name, value in values.items())


@pytest.mark.parametrize("kind", ["ce", "cos"])
def test_the_teacher_sees_the_full_set_without_augmentation(kind):
    seen = []

    class Spy(Teacher):
        def adapt(self, images):
            if images.requires_grad:
                seen.append(images.detach().clone())
            return super().adapt(images)

    data = make_data()
    pool = TeacherPool([make_teacher(data, kind=Spy)])
    objective = build_objective(make_config(kind, augment="crop"), data, pool)
    synthetic = make_set(data, ipc=2)
    for index in range(3):
        only_losses(objective, make_step(synthetic, data, index))
    full = own_space(synthetic, data).detach()
    assert len(seen) == 3
    assert all(torch.allclose(images, full, rtol=0, atol=1e-12) for images in seen)


class ThreeLosses:
    """An objective that yields three times per iteration, and a different loss each time."""

    published = OBJECTIVES["dm"].published
    settings = published.filled_in(make_config())

    def losses(self, step):
        for inner in range(3):
            yield {"first": step.synthetic.pixels.sum() * inner, "second": step.zero() + step.index}


@pytest.mark.parametrize("kind", ["ce", "cos"])
def test_the_guide_adds_its_term_to_every_loss_yielded(kind):
    data = make_data()
    pool = make_pool(data)
    config = make_config(kind, clom_alpha=7.0)
    guided = Guided(ThreeLosses(), config, pool, data)
    assert guided.published == ThreeLosses.published
    term = {"ce": ClassificationDistance, "cos": CosineDistance}[kind](pool, data)
    drawn = []
    for index in range(30):
        step = make_step(make_set(data), data, index, seed=2)
        yielded = list(guided.losses(step))
        assert [sorted(losses) for losses in yielded] == [["clom", "first", "second"]] * 3
        assert [float(losses["second"].detach()) for losses in yielded] == [index] * 3
        for inner, losses in enumerate(yielded):
            assert float(losses["first"].detach()) == pytest.approx(
                inner * float(step.synthetic.pixels.detach().sum())
            )
            teacher = pool.draw(2, index * 1_000, inner) if inner else pool.draw(2, index * 1_000)
            drawn.append(teacher)
            expected = 7 * float(term(step, inner, {teacher: pool[teacher]}).detach())
            assert float(losses["clom"].detach()) == pytest.approx(expected, rel=1e-12)
    assert set(drawn) == {0, 1, 2}
    assert len({tuple(drawn[i : i + 3]) for i in range(0, 90, 3)}) > 5  # a draw for each loss, not for the iteration


def mixed_pool(data):
    """One ConvNet and two MLPs."""
    kinds = [("ConvNet", 0), ("MLP", 0), ("MLP", 1)]
    return TeacherPool([make_teacher(data, kind, seed).double() for kind, seed in kinds])


def guide_alone(data, pool, kind="ce", **options):
    config = make_config(kind, objective="clom", real_batch_size=None, **options)
    return build_objective(config, data, pool)


def alone(data, pool, step, kind, index):
    """CLoM of one teacher of the pool."""
    distance = {"ce": ClassificationDistance, "cos": CosineDistance}[kind](pool, data)
    return distance(step, 0, {index: pool[index]})


@pytest.mark.parametrize("kind", ["ce", "cos"])
def test_mean_loss_weighs_architectures_alike_and_then_their_members(kind):
    data = make_data()
    pool, step = mixed_pool(data), make_step(make_set(data), data)
    assert pool.shares() == {0: 0.5, 1: 0.25, 2: 0.25}
    term = only_losses(guide_alone(data, pool, kind, clom_pool="mean-loss", clom_alpha=3.0), step)["clom"]
    values = [alone(data, pool, step, kind, index) for index in range(3)]
    expected = 3 * (values[0] / 2 + values[1] / 4 + values[2] / 4)
    torch.testing.assert_close(term, expected, rtol=1e-12, atol=0)


def test_mean_loss_is_what_the_random_draw_is_on_average():
    data = make_data()
    pool = mixed_pool(data)
    drawn = [pool.draw(0, step) for step in range(4_000)]
    for index, share in pool.shares().items():
        assert drawn.count(index) / 4_000 == pytest.approx(share, abs=0.03)


def test_mean_logits_is_the_loss_of_the_ensemble():
    data = make_data()
    order = [2, 0, 1]
    names = [data.class_names[i] for i in order]
    teachers = [make_teacher(data).double(), make_teacher(data, "MLP", class_names=names).double()]
    pool, step = TeacherPool(teachers), make_step(make_set(data), data)
    term = only_losses(guide_alone(data, pool, clom_pool="mean-logits", clom_alpha=2.0), step)["clom"]
    images = step.synthetic.own_space()
    second = teachers[1](images)[:, [names.index(name) for name in data.class_names]]
    logits = (teachers[0](images) + second) / 2
    labels = [data.class_names[label] for label in step.synthetic.labels]
    theirs = 2 * oracle.cross_entropy(logits, labels, data.class_names)
    torch.testing.assert_close(term, theirs, rtol=1e-12, atol=0)
    ours, expected = (value_and_gradient(loss, step.synthetic.pixels) for loss in (term, theirs))
    torch.testing.assert_close(ours[1], expected[1], rtol=1e-9, atol=1e-12)


def test_an_architecture_may_have_its_own_weight():
    data = make_data()
    pool = TeacherPool([make_teacher(data, "MLP").double()])
    step = make_step(make_set(data), data)
    plain = only_losses(guide_alone(data, pool, clom_alpha=1.0), step)["clom"].detach()
    own = only_losses(guide_alone(data, pool, clom_alpha=1.0, clom_alphas=["MLP=7.5"]), step)["clom"].detach()
    assert float(own) == pytest.approx(7.5 * float(plain), rel=1e-12)
    with pytest.raises(ConfigError, match="--clom_alphas names VGG11, but the pool's teachers are MLP."):
        guide_alone(data, pool, clom_alphas=["VGG11=2"])


def test_a_weight_per_image_grows_with_the_training_images():
    data = make_data()
    pool = TeacherPool([make_teacher(data).double()])
    for ipc, factor in ((1, 1), (2, 1), (1, 2)):
        synthetic = SyntheticSet.initial(data, ipc, "real", 0, torch.float64, factor)
        step = make_step(synthetic, data)
        per_set = only_losses(guide_alone(data, pool, clom_alpha=2.0), step)["clom"].detach()
        per_image = only_losses(guide_alone(data, pool, clom_alpha=2.0, clom_alpha_per="image"), step)["clom"].detach()
        assert float(per_image) == pytest.approx(3 * ipc * factor**2 * float(per_set), rel=1e-12)
        total = F.cross_entropy(pool[0](synthetic.own_space(synthetic.images())), synthetic.image_labels())
        assert float(per_set) == pytest.approx(2 * float(total.detach()), rel=1e-12)


# --- augmentation


def augmented(step, strategy):
    """All images of S in own space, each transformed by its own draw of this step."""
    images = step.synthetic.images()
    draws = augment.draw(len(images), strategy, step.generator("clom-augment", 0))
    assert len({tuple(row.tolist()) for row in draws.magnitudes}) == len(images)
    return step.synthetic.own_space(augment.apply(images, draws))


@pytest.mark.parametrize("kind", ["ce", "cos"])
@pytest.mark.parametrize("factor", [1, 2])
def test_teachers_may_see_each_image_by_a_draw_of_its_own(kind, factor):
    """A set that was augmented beforehand, seen as it is, has the same CLoM; another step has other draws."""
    data = make_data()
    pool = TeacherPool([make_teacher(data).double()])
    guide = guide_alone(data, pool, kind, clom_alpha=1.0, clom_augment="color_crop_scale", augment="none")
    terms = []
    for index in (0, 1):
        step = make_step(make_set(data, factor=factor), data, index)
        value, gradient = value_and_gradient(only_losses(guide, step)["clom"], step.synthetic.pixels)
        images = augmented(step, ("color", "crop", "scale"))
        before = make_set(data, 2 * factor**2)
        with torch.no_grad():
            before.pixels.copy_(data.normalise(images))
        expected = alone(data, pool, make_step(before, data, index), kind, 0)
        assert float(value) == pytest.approx(float(expected.detach()), rel=1e-10)
        assert float(gradient.norm()) > 0
        terms.append(float(value))
    plain = guide_alone(data, pool, kind, clom_alpha=1.0)
    unaugmented = only_losses(plain, make_step(make_set(data, factor=factor), data))["clom"]
    assert len({*terms, float(unaugmented.detach())}) == 3


# --- the schedule


def test_alpha_fades_over_the_iterations():
    data = make_data()
    pool = mixed_pool(data)
    shares = {"constant": [1.0, 1.0, 1.0], "linear": [1.0, 0.75, 0.25], "cosine": [1.0, 0.853553, 0.146447]}
    for alpha in (3.0, "auto"):
        terms = {}
        for schedule, expected in shares.items():
            config = make_config("ce", clom_alpha=alpha, clom_schedule=schedule, iterations=8, augment="none")
            objective = build_objective(config, data, pool)
            steps = [make_step(make_set(data), data, index) for index in (0, 2, 6)]
            terms[schedule] = [float(only_losses(objective, step)["clom"].detach()) for step in steps]
            wanted = [share * term for share, term in zip(expected, terms["constant"], strict=True)]
            assert terms[schedule] == pytest.approx(wanted, rel=1e-5)
            assert alpha != "auto" or objective.outcome()["clom_alpha"] == pytest.approx(
                found := found_alpha(objective)
            )
        assert alpha == 3.0 or found > 0


def found_alpha(objective):
    return float(objective.largest[0] / objective.largest[1])


# --- auto


@pytest.mark.parametrize("kind", ["ce", "cos"])
@pytest.mark.parametrize("balance", [1.0, 0.3])
def test_auto_gives_cloms_largest_gradient_the_norm_of_the_objectives_largest_times_the_balance(kind, balance):
    data = make_data()
    pool = mixed_pool(data)
    plain = build_objective(make_config(augment="flip"), data, None)
    auto = build_objective(make_config(kind, augment="flip", clom_alpha="auto", clom_balance=balance), data, pool)
    largest = [0.0, 0.0]
    assert auto.outcome() == plain.outcome() == {}
    for index, scale in enumerate((1.0, 0.2, 3.0, 0.5)):
        synthetic = make_set(data)
        with torch.no_grad():
            synthetic.pixels.mul_(scale)
        step = make_step(synthetic, data, index)
        base, objective_gradient = value_and_gradient(only_losses(plain, step)["dm"], step.synthetic.pixels)
        term = alone(data, pool, step, kind, pool.draw(0, index * 1_000))  # as every version has named it
        value, clom_gradient = value_and_gradient(term, step.synthetic.pixels)
        norms = [float(gradient.norm()) for gradient in (objective_gradient, clom_gradient)]
        largest = [max(pair) for pair in zip(largest, norms, strict=True)]
        alpha = balance * largest[0] / largest[1]
        losses = only_losses(auto, step)
        assert float(losses["dm"]) == pytest.approx(float(base), rel=1e-12)
        assert float(losses["clom"].detach()) == pytest.approx(float(alpha * value), rel=1e-10)
        (found,) = torch.autograd.grad(sum(losses.values()), step.synthetic.pixels)
        torch.testing.assert_close(found, objective_gradient + alpha * clom_gradient, rtol=1e-9, atol=1e-12)
    assert norms[0] / norms[1] != pytest.approx(largest[0] / largest[1])  # the last step's own balance is another one
    assert auto.outcome() == {"clom_alpha": pytest.approx(float(alpha))}


@pytest.mark.parametrize("options", [{}, {"clom_augment": "color_crop"}])
@pytest.mark.parametrize("factor", [1, 2])
@pytest.mark.parametrize("ranks", [2, 3, 5])
def test_auto_is_the_same_on_any_number_of_ranks(ranks, factor, options):
    data = make_data((4, 9, 6, 7))
    pool = TeacherPool([make_teacher(data).double()])
    start = make_set(data).pixels.detach()

    class Squares(Objective):
        """A sum over the images that a rank owns."""

        published = Published(iterations=1, image_learning_rate=1.0, image_momentum=0.5)

        def losses(self, step):
            yield {"squares": step.synthetic.pixels[step.own_rows()].square().sum() + step.zero()}

    def work(rank, sum_over_ranks, ranks=ranks):
        synthetic = SyntheticSet(start.clone(), data.class_names, data.mean, data.std, factor)
        step = make_step(synthetic, data, rank=rank, ranks=ranks, sum_over_ranks=sum_over_ranks)
        config = make_config("ce", clom_alpha="auto", **options)
        losses = only_losses(Guided(Squares(config, data), config, pool, data), step)
        (gradient,) = torch.autograd.grad(sum(losses.values()), synthetic.pixels)
        return losses["clom"].detach(), gradient

    single = work(0, lambda tensor: tensor, ranks=1)
    shares = zip(*on_ranks(ranks, work), strict=True)
    for together, own in zip(shares, single, strict=True):
        torch.testing.assert_close(sum(together), own, rtol=1e-10, atol=1e-12)


def test_auto_balances_what_an_objective_learns_beside_the_images_too():
    data = make_data()
    pool = TeacherPool([make_teacher(data).double()])
    parameter = torch.nn.Parameter(torch.tensor(2.0, dtype=torch.float64))

    class WithStepSize(Objective):
        published = Published(iterations=1, image_learning_rate=1.0, image_momentum=0.5)

        def learnables(self):
            from hf_dd.objectives import Learnable

            return {"step_size": Learnable(parameter, 0.1)}

        def losses(self, step):
            yield {"own": parameter * step.synthetic.pixels.square().sum()}

    config = make_config("ce", clom_alpha="auto")
    step = make_step(make_set(data), data)
    losses = only_losses(Guided(WithStepSize(config, data), config, pool, data), step)
    sum(losses.values()).backward()
    assert float(parameter.grad) == pytest.approx(float(step.synthetic.pixels.detach().square().sum()), rel=1e-12)


class Skipping(Objective):
    """A sum of squares, whose step is taken where that isn't above 1,000; with a parameter that it doesn't use."""

    published = Published(iterations=1, image_learning_rate=1.0, image_momentum=0.5)
    unused = torch.nn.Parameter(torch.tensor(2.0, dtype=torch.float64))

    def learnables(self):
        from hf_dd.objectives import Learnable

        return {"unused": Learnable(self.unused, 0.1, 0.5)}

    def losses(self, step):
        loss = step.synthetic.pixels.square().sum()
        self.small = bool(loss <= 1_000)
        yield {"squares": loss}

    def takes_step(self):
        return self.small


def test_auto_forgets_a_step_that_is_not_taken():
    data = make_data()
    pool = TeacherPool([make_teacher(data).double()])
    config = make_config("ce", clom_alpha="auto")
    guided, alphas = Guided(Skipping(config, data), config, pool, data), []
    for scale in (1.0, 1e3, float("nan"), 1.0):
        synthetic = make_set(data)
        with torch.no_grad():
            synthetic.pixels.mul_(scale)
        only_losses(guided, make_step(synthetic, data))
        alphas.append(guided.outcome()["clom_alpha"])
    assert alphas == [pytest.approx(alphas[0], rel=1e-12)] * 4 and alphas[0] > 0


def test_auto_gives_no_gradient_to_what_neither_term_depends_on():
    data = make_data()
    config = make_config("ce", clom_alpha="auto")
    guided = Guided(Skipping(config, data), config, TeacherPool([make_teacher(data).double()]), data)
    step = make_step(make_set(data), data)
    sum(only_losses(guided, step).values()).backward()
    assert Skipping.unused.grad is None and step.synthetic.pixels.grad is not None  # momentum alone would move it


# --- the hooks of the guided objective


def test_every_hook_of_the_guided_objective_is_its_own_even_one_that_a_guide_knows_nothing_of(monkeypatch):
    data = make_data()
    config = make_config("ce")

    class Everything(Objective):
        """Says for each hook that it was called, with what."""

        published = Published(iterations=1)
        uses_experts = True

    hooks = [name for name, value in vars(Objective).items() if callable(value) and not name.startswith("_")]
    assert {"losses", "learnables", "buffers", "parameterise", "outcome"} <= set(hooks)
    monkeypatch.setattr(Objective, "hook_to_come", lambda self, *given, **named: (given, named), raising=False)
    for name in [*hooks, "hook_of_its_author"]:
        if name not in ("losses", "buffers", "Options"):
            setattr(Everything, name, lambda self, *given, name=name: (name, *given))
    own = Everything(config, data)
    guided = Guided(own, config, TeacherPool([make_teacher(data)]), data)
    assert guided.hook_to_come(1, two=2) == ((1,), {"two": 2})
    assert guided.hook_of_its_author(3) == ("hook_of_its_author", 3)
    assert guided.learnables() == ("learnables",) and guided.outcome() == ("outcome",)
    assert guided.parameterise("initial") == ("parameterise", "initial")
    for name in {name for name in dir(Objective) if not name.startswith("_")} - {"losses", "buffers", "outcome"}:
        assert getattr(guided, name) == getattr(own, name), name
    assert guided.options is own.options
    with pytest.raises(AttributeError, match="no_such_hook"):
        guided.no_such_hook()


def test_what_the_guide_keeps_in_checkpoints_stands_beside_what_the_objective_does():
    data = make_data()

    class Keeping(Objective):
        published = Published(iterations=1)

        def buffers(self):
            return {"own": torch.ones(3)}

    for alpha, expected in ((2.0, {"own"}), ("auto", {"own", "clom_largest_norms"})):
        config = make_config("ce", clom_alpha=alpha)
        guided = Guided(Keeping(config, data), config, TeacherPool([make_teacher(data)]), data)
        assert guided.buffers().keys() == expected


def test_no_two_losses_of_a_run_draw_their_teacher_under_one_name(monkeypatch):
    """Loss 1000 of iteration 0 and loss 0 of iteration 1, e.g.; the first loss of each keeps its name of old."""
    data = make_data()

    class Many(Objective):
        published = Published(iterations=1)

        def losses(self, step):
            for _ in range(2_001 if step.index == 0 else 2):
                yield {}

    pool, names = mixed_pool(data), []
    draw = TeacherPool.draw
    monkeypatch.setattr(TeacherPool, "draw", lambda self, *given: names.append(given) or draw(self, *given))
    config = make_config("ce")
    guided = Guided(Many(config, data), config, pool, data)
    guided.distance = lambda step, inner, members: step.zero()
    for index in range(3):
        assert all(set(losses) == {"clom"} for losses in guided.losses(make_step(make_set(data), data, index)))
    assert len(set(names)) == len(names) == 2_001 + 2 + 2
    assert {(0, 0), (0, 1_000), (0, 2_000)} <= set(names)  # (seed, iteration · 1000), as runs before were drawn


# --- the sampled real batch of the paper's code


def test_a_real_batch_is_drawn_anew_for_every_step_and_equals_the_matrix_form_on_it():
    data = make_data((20, 15, 18))
    pool = TeacherPool([make_teacher(data).double()])
    values = []
    for index in range(3):
        step = make_step(make_set(data), data, index)
        ours = only_losses(guide_alone(data, pool, "cos", clom_alpha=1.0, clom_real_batch=12), step)["clom"]
        chosen = torch.randperm(53, generator=step.generator("clom-real", 0))[:12]
        real = pool[0].features(data.train.images[chosen].double() / 255)
        synthetic = pool[0].features(step.synthetic.own_space())
        theirs = oracle.cosine(real, data.train.labels[chosen], synthetic, step.synthetic.labels)
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=0)
        values.append(float(ours.detach()))
    assert len(set(values)) == 3


def test_a_real_batch_as_large_as_the_set_is_the_whole_set():
    data = make_data()
    pool = TeacherPool([make_teacher(data).double()])
    step = make_step(make_set(data), data)
    whole = only_losses(guide_alone(data, pool, "cos"), step)["clom"].detach()
    sampled = only_losses(guide_alone(data, pool, "cos", clom_real_batch=10_000), step)["clom"].detach()
    torch.testing.assert_close(whole, sampled, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"clom_alpha": "much"}, "--clom_alpha is 'much'; it has to be a number or 'auto'"),
        ({"clom_alphas": ["MLP=-1"]}, "--clom_alphas: MLP is -1"),
        ({"clom_alphas": ["MLP"]}, "'MLP' isn't of the form key=value"),
        ({"clom_alphas": ["MLP=1"], "clom_alpha": "auto"}, "--clom_alphas and --clom_alpha auto contradict"),
        ({"clom_alphas": ["MLP=1"], "clom_pool": "mean-logits"}, "--clom_alphas and --clom_pool mean-logits"),
        ({"clom": "cos", "clom_pool": "mean-logits"}, "--clom_pool mean-logits goes with --clom ce"),
        ({"clom_real_batch": 10}, "--clom_real_batch goes with --clom cos"),
        ({"clom_batch": 0}, "--clom_batch is 0"),
        ({"clom": "none", "teachers": [], "clom_batch": 2}, "--clom_batch is of what guiding teachers see"),
        ({"clom": "cos", "clom_real_batch": 0}, "--clom_real_batch is 0"),
        ({"clom_balance": -1.0}, "--clom_balance is -1.0"),
        ({"clom": "none", "teachers": [], "clom_augment": "crop"}, "--clom_augment is of what guiding teachers see"),
    ],
)
def test_options_of_the_guide_that_make_no_sense(options, message):
    with pytest.raises(ConfigError, match=message):
        DistillConfig(**{"clom": "ce", "teachers": ["a/b"]} | options)
