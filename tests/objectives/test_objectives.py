import collections

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_dd.core.seeding import generator
from hf_dd.data import batches as images
from hf_dd.distillation.checks import preflight
from hf_dd.errors import ConfigError, TeacherError
from hf_dd.nn import augment, networks
from hf_dd.objectives import Ownership, build_objective
from hf_dd.objectives.clom import ClassificationDistance, CosineDistance, Guided, ratio_share
from hf_dd.synthetic.synthetic_set import SyntheticSet
from hf_dd.teachers.pool import TeacherPool
from hf_dd.teachers.teacher import Teacher
from tests.factories import (
    NAMES,
    ONE_AT_A_TIME,
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
    teacher_logits,
    value_and_gradient,
    with_pixels,
)
from tests.oracles import augment as augment_oracle
from tests.oracles import clom as clom_oracle
from tests.oracles import dm as dm_oracle

pytestmark = pytest.mark.usefixtures("one_thread")


# --- distribution matching


def oracle_batches(step, config, transform):
    """The batches of every class, drawn as the reproducibility contract names the draws."""
    count = step.data.num_classes
    draws = augment.draw(count, augment.parse_strategy(config.augment), step.generator("augment"))
    real, synthetic = [], []
    for label in range(count):
        chosen = step.data.sample_class(label, config.real_batch_size, step.generator("real", label))
        mean, std = (torch.tensor(x, dtype=torch.float64).view(-1, 1, 1) for x in (step.data.mean, step.data.std))
        images = (step.data.train.images[chosen].double() / 255 - mean) / std
        start = label * step.synthetic.ipc
        real.append(transform(images, draws, label))
        synthetic.append(transform(step.synthetic.pixels[start : start + step.synthetic.ipc], draws, label))
    return real, synthetic


def transform_in_loops(images, draws, label):
    operation = augment.STRATEGY[int(draws.operation[label])]
    return torch.stack([augment_oracle.transform(x.detach(), operation, draws.magnitudes[label]) for x in images])


def transform_differentiably(images, draws, label):
    return augment.apply(images, draws.expand([label] * len(images)))


def oracle_embedding(config, step):
    network = networks.build(
        config.architecture,
        in_channels=step.data.channels,
        num_classes=step.data.num_classes,
        image_size=list(step.data.image_size),
        width=4,
        depth=1,
    )
    network.double().train().reinitialise(step.seed, "student", step.index)
    return network.features


@pytest.mark.parametrize("architecture", ["ConvNet", "ConvNetBN"])
@pytest.mark.parametrize("channels", [1, 3])
def test_dm_agrees_with_the_papers_loops(architecture, channels):
    data = make_data(channels=channels)
    config = make_config(architecture=architecture)
    objective = build_objective(config, data, None)
    match = dm_oracle.matching if architecture == "ConvNet" else dm_oracle.matching_together
    for index in range(6):
        step = make_step(make_set(data), data, index, seed=3)
        ours = value_and_gradient(only_losses(objective, step)["dm"], step.synthetic.pixels)
        embed = oracle_embedding(config, step)
        theirs = value_and_gradient(
            match(*oracle_batches(step, config, transform_differentiably), embed), step.synthetic.pixels
        )
        assert_close(ours, theirs, 1e-10)
        literal = match(*oracle_batches(step, config, transform_in_loops), embed).detach()
        assert_close(ours[:1], [literal], 1e-4)


def test_dm_draws_one_augmentation_per_class_and_another_one_per_iteration():
    data = make_data()
    config = make_config(augment="crop")
    objective = build_objective(config, data, None)
    steps = [make_step(make_set(data), data, index) for index in range(20)]
    draws = [augment.draw(3, ("crop",), step.generator("augment")).magnitudes for step in steps]
    assert len({tuple(row.tolist()) for draw in draws for row in draw}) == 60
    values = [float(only_losses(objective, step)["dm"].detach()) for step in steps]
    assert len(set(values)) == 20


def test_dm_gradient_is_that_of_finite_differences():
    data = make_data((4, 3), size=4)
    for strategy in ("none", "color", "crop", "scale"):
        config = make_config(
            augment=strategy, architecture_options=["width=2", "depth=1", "activation=swish"], real_batch_size=3
        )
        synthetic = make_set(data, ipc=1)

        def loss(pixels, config=config, synthetic=synthetic):
            objective = build_objective(config, data, None)  # one redraws its network in place at each call
            return only_losses(objective, make_step(with_pixels(synthetic, pixels), data))["dm"]

        assert torch.autograd.gradcheck(loss, (synthetic.pixels.detach().requires_grad_(),))


# --- CLoM, ce


def own_space(synthetic, data):
    mean, std = (torch.tensor(x, dtype=torch.float64).view(-1, 1, 1) for x in (data.mean, data.std))
    return synthetic.pixels * std + mean


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
        (["cat", "dog", "horse"], r"lacks \['bird'\] and has \['horse'\]"),
        (["Cat", "dog", "bird"], r"lacks \['cat'\] and has \['Cat'\]"),
        (["x", "y", "z"], r"lacks \['bird', 'cat', 'dog'\] and has \['x', 'y', 'z'\]"),
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
    with pytest.raises(TeacherError, match=r"lacks none and has \['fish'\]"):
        build_objective(make_config("ce"), data, TeacherPool([make_teacher(larger)]))


# --- CLoM, cos


class LinearTeacher:
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


@given(ranks=st.integers(1, 25), num_classes=st.integers(1, 8), size=st.integers(0, 6))
def test_every_image_of_a_class_has_one_owner(ranks, num_classes, size):
    found = {label: [] for label in range(num_classes)}
    for rank in range(ranks):
        own = Ownership.of(rank, ranks, num_classes)
        assert own.split == (ranks > num_classes)
        for label in own.classes:
            found[label] += own.of_batch(torch.arange(size)).tolist()
    assert all(sorted(members) == list(range(size)) for members in found.values())


@pytest.mark.parametrize("architecture", ["ConvNet", "ConvNetBN"])
@pytest.mark.parametrize("ranks", [2, 3, 5, 9, 13])
@pytest.mark.parametrize("ipc", [1, 2])
def test_dm_shares_of_the_ranks_add_up_to_the_single_ranks_loss(architecture, ranks, ipc):
    data = make_data((4, 5, 6, 7))
    start = make_set(data, ipc).pixels.detach()

    def work(rank, sum_over_ranks, ranks=ranks):
        with ONE_AT_A_TIME:  # threads share torch's global generator, which draws the network; ranks don't
            objective = build_objective(make_config(architecture=architecture), data, None)
            objective.network.reinitialise(0, "student", 0)
        objective.network.reinitialise = lambda *names: None
        synthetic = SyntheticSet(start.clone(), data.class_names, data.mean, data.std)
        step = make_step(synthetic, data, rank=rank, ranks=ranks, sum_over_ranks=sum_over_ranks)
        return value_and_gradient(only_losses(objective, step)["dm"], synthetic.pixels)

    single = work(0, lambda tensor: tensor, ranks=1)
    shares = zip(*on_ranks(ranks, work), strict=True)
    assert_close([sum(parts) for parts in shares], single, 1e-10)


@pytest.mark.parametrize("strategy", [(), ("color", "crop", "flip")])
@pytest.mark.parametrize("distance", [ClassificationDistance, CosineDistance])
@pytest.mark.parametrize("ranks", [2, 3, 5, 13])
def test_clom_shares_of_the_ranks_add_up_to_the_single_ranks_loss(distance, ranks, strategy):
    data = make_data((4, 9, 6, 7))
    pool = TeacherPool([make_teacher(data).double(), make_teacher(data, "MLP").double()])
    start = make_set(data).pixels.detach()

    def work(rank, sum_over_ranks, ranks=ranks):
        synthetic = SyntheticSet(start.clone(), data.class_names, data.mean, data.std)
        step = make_step(synthetic, data, rank=rank, ranks=ranks, sum_over_ranks=sum_over_ranks)
        term = distance(pool, data, strategy)
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


def test_a_batchnorm_teacher_judges_an_image_alike_alone_and_in_any_set():
    data = make_data()
    teacher = make_teacher(data, "ConvNetBN").double()
    images = own_space(make_set(data, ipc=3), data).detach()
    alone = torch.cat([teacher(image[None]) for image in images])
    torch.testing.assert_close(teacher(images), alone, rtol=1e-12, atol=1e-12)


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_teacher_takes_images_of_its_networks_precision(dtype):
    """Before and after a run has brought it to the run's own."""
    data = make_data()
    teacher = make_teacher(data)
    images = own_space(make_set(data), data).detach()
    assert teacher(images.float()).dtype == torch.float32
    expected = make_teacher(data).double()(images)
    torch.testing.assert_close(teacher.to(dtype)(images.to(dtype)).double(), expected, rtol=1e-5, atol=1e-5)


class ThreeLosses:
    """An objective that yields three times per iteration, and a different loss each time."""

    published = build_objective(make_config(), make_data(), None).published

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
            teacher = pool.draw(2, index * 1_000 + inner)
            drawn.append(teacher)
            expected = 7 * float(term(step, inner, {teacher: pool[teacher]}).detach())
            assert float(losses["clom"].detach()) == pytest.approx(expected, rel=1e-12)
    assert set(drawn) == {0, 1, 2}
    assert len({tuple(drawn[i : i + 3]) for i in range(0, 90, 3)}) > 5  # a draw for each loss, not for the iteration


def test_no_teacher_no_guide_and_an_unknown_objective_is_named():
    data = make_data()
    assert set(only_losses(build_objective(make_config(), data, None), make_step(make_set(data), data))) == {"dm"}
    with pytest.raises(ConfigError, match="--objective dn isn't known; known are: dm"):
        build_objective(make_config(objective="dn"), data, None)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"teachers": ["a/b"]}, "--teachers has no effect without a guide: add --clom ce or --clom cos."),
        (
            {"objective": "clom", "real_batch_size": None},
            "--objective clom is CLoM alone: add --clom ce or --clom cos",
        ),
        ({"objective": "clom", "clom": "ce"}, "--real_batch_size has no meaning for --objective clom: leave it out."),
        ({"objective_options": ["outer=3"]}, "--objective_options: dm has no 'outer'; it has none."),
    ],
)
def test_options_that_dont_fit_the_objective_are_refused_by_name(options, message):
    with pytest.raises(ConfigError, match=message):
        preflight(make_config(**options))


# --- the draw of a teacher


def test_a_teacher_is_drawn_by_architecture_first_then_among_its_members():
    data = make_data()
    pool = TeacherPool(
        [
            make_teacher(data, "MLP", 0),
            make_teacher(data, "ConvNet", 0),
            make_teacher(data, "MLP", 1),
            make_teacher(data, "MLP", 2),
        ]
    )
    draws = 3000
    for seed in (0, 1):
        counts = collections.Counter(pool.draw(seed, step) for step in range(draws))
        expected = {0: draws / 6, 1: draws / 2, 2: draws / 6, 3: draws / 6}
        assert sorted(counts) == [0, 1, 2, 3]
        chi_square = sum((counts[i] - expected[i]) ** 2 / expected[i] for i in expected)
        assert chi_square < 16.3  # three degrees of freedom, p = 0.001


def test_a_draw_depends_on_seed_and_step_alone():
    data = make_data()
    pool = make_pool(data)
    first = [pool.draw(4, step) for step in range(200)]
    torch.rand(10)
    assert [make_pool(data).draw(4, step) for step in reversed(range(200))] == first[::-1]
    assert [pool.draw(5, step) for step in range(200)] != first


# --- what a step leaves alone, and what it doesn't depend on


@pytest.mark.parametrize("kind", ["none", "ce", "cos"])
@pytest.mark.parametrize("architecture", ["ConvNet", "ConvNetBN"])
def test_a_step_neither_reads_nor_changes_the_global_generator(kind, architecture):
    data = make_data()

    def run():
        pool = None if kind == "none" else make_pool(data)
        objective = build_objective(make_config(kind, architecture=architecture), data, pool)
        state = torch.get_rng_state()
        pixels = optimise(objective, make_set(data), data)
        assert torch.equal(torch.get_rng_state(), state)
        return pixels

    torch.manual_seed(0)
    first = run()
    torch.rand(17)
    torch.manual_seed(12345)
    assert torch.equal(run(), first)


@pytest.mark.parametrize("kind", ["none", "ce", "cos"])
def test_an_iteration_depends_on_none_before_it(kind):
    data = make_data()
    synthetic = make_set(data)

    def losses(objective, index):
        terms = only_losses(objective, make_step(synthetic, data, index))
        return {name: float(value.detach()) for name, value in terms.items()}

    def objective():
        return build_objective(make_config(kind), data, None if kind == "none" else make_pool(data))

    used = objective()
    after_others = [losses(used, index) for index in (0, 1, 2)]
    assert after_others == [losses(objective(), index) for index in (0, 1, 2)]


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
