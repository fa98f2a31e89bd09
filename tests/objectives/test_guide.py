"""CLoM's options: how a pool guides, how its weight is given, and the balance of the two gradients."""

import pytest
import torch
import torch.nn.functional as F

from hf_dd.config import DistillConfig
from hf_dd.errors import ConfigError
from hf_dd.nn import augment
from hf_dd.objectives import build_objective
from hf_dd.objectives.base import Objective, Published
from hf_dd.objectives.clom import ClassificationDistance, CosineDistance, Guided
from hf_dd.synthetic.synthetic_set import SyntheticSet
from hf_dd.teachers.pool import TeacherPool
from tests.factories import (
    make_config,
    make_data,
    make_set,
    make_step,
    make_teacher,
    on_ranks,
    only_losses,
    value_and_gradient,
)
from tests.oracles import clom as oracle

pytestmark = pytest.mark.usefixtures("one_thread")


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
def test_teachers_may_see_each_image_by_a_draw_of_its_own(kind):
    """A set that was augmented beforehand, seen as it is, has the same CLoM; another step has other draws."""
    data = make_data()
    pool = TeacherPool([make_teacher(data).double()])
    guide = guide_alone(data, pool, kind, clom_alpha=1.0, clom_augment="color_crop_scale", augment="none")
    terms = []
    for index in (0, 1):
        step = make_step(make_set(data), data, index)
        value, gradient = value_and_gradient(only_losses(guide, step)["clom"], step.synthetic.pixels)
        images = augmented(step, ("color", "crop", "scale"))
        before = make_set(data)
        with torch.no_grad():
            before.pixels.copy_(data.normalise(images))
        expected = alone(data, pool, make_step(before, data, index), kind, 0)
        assert float(value) == pytest.approx(float(expected.detach()), rel=1e-10)
        assert float(gradient.norm()) > 0
        terms.append(float(value))
    plain = guide_alone(data, pool, kind, clom_alpha=1.0)
    assert len({*terms, float(only_losses(plain, make_step(make_set(data), data))["clom"].detach())}) == 3


# --- auto


@pytest.mark.parametrize("kind", ["ce", "cos"])
@pytest.mark.parametrize("balance", [1.0, 0.3])
def test_auto_gives_cloms_largest_gradient_the_norm_of_the_objectives_largest_times_the_balance(kind, balance):
    data = make_data()
    pool = mixed_pool(data)
    plain = build_objective(make_config(augment="flip"), data, None)
    auto = build_objective(make_config(kind, augment="flip", clom_alpha="auto", clom_balance=balance), data, pool)
    largest = [0.0, 0.0]
    for index, scale in enumerate((1.0, 0.2, 3.0, 0.5)):
        synthetic = make_set(data)
        with torch.no_grad():
            synthetic.pixels.mul_(scale)
        step = make_step(synthetic, data, index)
        base, objective_gradient = value_and_gradient(only_losses(plain, step)["dm"], step.synthetic.pixels)
        term = alone(data, pool, step, kind, pool.draw(0, index * 1_000))
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


@pytest.mark.parametrize("ranks", [2, 3, 5])
def test_auto_is_the_same_on_any_number_of_ranks(ranks):
    data = make_data((4, 9, 6, 7))
    pool = TeacherPool([make_teacher(data).double()])
    start = make_set(data).pixels.detach()

    class Squares(Objective):
        """A sum over the images that a rank owns."""

        published = Published(iterations=1, image_learning_rate=1.0, image_momentum=0.5)

        def losses(self, step):
            yield {"squares": step.synthetic.pixels[step.own_rows()].square().sum() + step.zero()}

    def work(rank, sum_over_ranks, ranks=ranks):
        synthetic = SyntheticSet(start.clone(), data.class_names, data.mean, data.std)
        step = make_step(synthetic, data, rank=rank, ranks=ranks, sum_over_ranks=sum_over_ranks)
        config = make_config("ce", clom_alpha="auto")
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
        ({"clom": "cos", "clom_real_batch": 0}, "--clom_real_batch is 0"),
        ({"clom_balance": -1.0}, "--clom_balance is -1.0"),
        ({"clom": "none", "teachers": [], "clom_augment": "crop"}, "--clom_augment is of what guiding teachers see"),
    ],
)
def test_options_of_the_guide_that_make_no_sense(options, message):
    with pytest.raises(ConfigError, match=message):
        DistillConfig(**{"clom": "ce", "teachers": ["a/b"]} | options)
