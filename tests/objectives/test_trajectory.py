"""Trajectory matching: the losses against the papers' formulas, and the experts that they follow."""

import json
import logging
import shutil
import weakref
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.func import functional_call

import hf_dd
from hf_dd import hub
from hf_dd.config import DistillConfig, PretrainConfig
from hf_dd.data.image_data import load_data
from hf_dd.distillation.checks import preflight
from hf_dd.errors import ConfigError, HubError, RunError, TeacherError
from hf_dd.nn import augment, networks
from hf_dd.objectives import build_objective
from hf_dd.objectives.trajectory import SMALLEST_RATE
from hf_dd.synthetic.synthetic_set import SyntheticSet
from hf_dd.teachers import experts
from hf_dd.teachers.experts import Expert, ExpertPool, ranges
from hf_dd.teachers.pool import TeacherPool
from hf_dd.training.pretraining import new_teacher
from tests.factories import (
    ONE_AT_A_TIME,
    assert_close,
    make_config,
    make_data,
    make_set,
    make_step,
    make_teacher,
    on_ranks,
    parquet,
    with_pixels,
)
from tests.oracles import trajectory as oracle

pytestmark = pytest.mark.usefixtures("one_thread")

METHODS = ("mtt", "tesla")
STEPS = {"student_steps": 3, "expert_epochs": 2, "max_start_epoch": 3, "student_learning_rate": 0.3}


class DrawnExperts:
    """Experts in memory: freshly drawn networks, another one at each epoch."""

    def __init__(self, count=2, first=0):
        self.count, self.first = count, first

    def __len__(self):
        return self.count

    def first_epoch(self):
        return self.first

    def prepare(self, network, data, epochs):
        self.config, self.epochs, self.dtype = network.config, set(epochs), network.classifier.weight.dtype

    def parameters(self, index, epoch):
        assert epoch in self.epochs
        network = networks.build(**self.config, seed=100 * index + epoch).to(self.dtype)
        return {name: value.detach() for name, value in network.named_parameters()}


def make_options(objective="mtt", changed=None, **options):
    words = [f"{name}={value}" for name, value in (STEPS | (changed or {})).items()]
    return make_config(
        **{"objective": objective, "experts": ["in memory"], "real_batch_size": None, "objective_options": words}
        | options
    )


def make_objective(data, objective="mtt", changed=None, pool=None, experts=None, **options):
    return build_objective(make_options(objective, changed, **options), data, pool, experts or DrawnExperts())


def losses_of(objective, step):
    """The only losses of an iteration, as they are before the optimiser's step."""
    return next(objective.losses(step))


def rate_of(objective):
    (learnable,) = objective.learnables().values()
    return learnable.parameter


def value_and_gradients(objective, step):
    """The value, and the gradients for the pixels and for the step size."""
    loss = sum(losses_of(objective, step).values())
    found = torch.autograd.grad(loss, [step.synthetic.pixels, rate_of(objective)])
    return [loss.detach(), *found]


# --- the formulas


def flat(parameters):
    return torch.cat([value.flatten() for value in parameters.values()])


def oracle_inputs(objective, step, size):
    """What the papers' formulas take, drawn as the reproducibility contract names the draws."""
    draws = step.generator("expert")
    expert = int(torch.randint(2, (), generator=draws))
    epoch = int(torch.randint(3, (), generator=draws))
    pair = [objective.experts.parameters(expert, epoch + after) for after in (0, 2)]
    shapes = {name: value.shape for name, value in pair[0].items()}
    network = networks.build(**objective.experts.config).double().train()

    def logits(parameters, images):
        parts = parameters.split([shape.numel() for shape in shapes.values()])
        named = {name: part.view(shape) for part, (name, shape) in zip(parts, shapes.items(), strict=True)}
        return functional_call(network, named, (images,))

    images, labels = step.synthetic.images(), step.synthetic.image_labels()
    batches, classes, left = [], [], []
    for number in range(3):
        if not left:
            order = torch.randperm(len(images), generator=step.generator("student-batch", number))
            left = order.split(size) if size else [torch.arange(len(images))]
        rows, *left = left
        drawn = augment.draw(len(rows), objective.strategy, step.generator("augment", number))
        batches.append(augment.apply(images[rows], drawn))
        classes.append(labels[rows])
    return logits, *map(flat, pair), batches, classes


@pytest.mark.parametrize("architecture", ["ConvNet", "ConvNetBN"])
@pytest.mark.parametrize("size", [0, 4])
@pytest.mark.parametrize("factor", [1, 2])
def test_mtt_agrees_with_the_papers_loop(architecture, size, factor):
    data = make_data()
    for index in range(3):
        objective = make_objective(data, changed={"student_batch_size": size}, architecture=architecture)
        synthetic = SyntheticSet.initial(data, 2, "noise", 5, torch.float64, factor)
        step = make_step(synthetic, data, index, seed=3)
        ours = value_and_gradients(objective, step)
        rate = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
        loss = oracle.matching(*oracle_inputs(objective, step, size), rate)
        theirs = [loss.detach(), *torch.autograd.grad(loss, [synthetic.pixels, rate])]
        assert_close(ours, theirs, 1e-9)


@pytest.mark.parametrize("architecture", ["ConvNet", "ConvNetBN"])
@pytest.mark.parametrize("size", [0, 4])
@pytest.mark.parametrize("factor", [1, 2])
def test_tesla_agrees_with_the_papers_formula(architecture, size, factor):
    data = make_data()
    for index in range(3):
        objective = make_objective(data, "tesla", {"student_batch_size": size}, architecture=architecture)
        synthetic = SyntheticSet.initial(data, 2, "noise", 5, torch.float64, factor)
        step = make_step(synthetic, data, index, seed=3)
        ours = value_and_gradients(objective, step)
        inputs = oracle_inputs(objective, step, size)
        value, of_batches, of_rate = oracle.constant_memory(*inputs, torch.tensor(0.3, dtype=torch.float64))
        (of_pixels,) = torch.autograd.grad(inputs[3], synthetic.pixels, of_batches)
        assert_close(ours, [value, of_pixels, of_rate], 1e-9)


def test_teslas_code_takes_half_of_the_pixels_gradient():
    data = make_data()
    step = make_step(make_set(data), data)
    formula, code = (
        value_and_gradients(make_objective(data, "tesla", {"pixel_gradient": name}), step)
        for name in ("formula", "code")
    )
    assert_close([code[0], 2 * code[1], code[2]], formula, 1e-12)


def test_teslas_expert_says_the_labels():
    data = make_data()
    with pytest.raises(ConfigError, match="--architecture ConvNetBN: this run asks experts"):
        make_objective(data, "tesla", {"labels": "expert"}, architecture="ConvNetBN")
    objective = make_objective(data, "tesla", {"labels": "expert", "student_batch_size": 4})
    synthetic = make_set(data)
    step = make_step(synthetic, data, 2, seed=3)
    ours = value_and_gradients(objective, step)
    logits, start, target, batches, classes = oracle_inputs(objective, step, 4)
    draws = step.generator("expert")
    expert, epoch = int(torch.randint(2, (), generator=draws)), int(torch.randint(3, (), generator=draws))
    network = networks.build(**objective.experts.config).double().eval()
    parameters = objective.experts.parameters(expert, epoch + 2)
    said = functional_call(network, parameters, (synthetic.images().detach(),)).softmax(1).detach()
    order = torch.randperm(6, generator=step.generator("student-batch", 0)).split(4)
    third = torch.randperm(6, generator=step.generator("student-batch", 2)).split(4)[0]
    words = [said[rows] for rows in (*order, third)]
    assert [len(own) for own in classes] == [4, 2, 4]
    value, of_batches, of_rate = oracle.constant_memory(
        logits, start, target, batches, words, torch.tensor(0.3, dtype=torch.float64)
    )
    (of_pixels,) = torch.autograd.grad(batches, synthetic.pixels, of_batches)
    assert_close(ours, [value, of_pixels, of_rate], 1e-9)


def test_the_set_keeps_what_the_last_iterations_expert_says():
    data = make_data()
    objective = make_objective(data, "tesla", {"labels": "expert"}, iterations=7)
    synthetic = make_set(data)
    _, target = objective.segment(make_step(synthetic, data, 6, seed=objective.seed))
    network = networks.build(**objective.experts.config).double().eval()
    said = functional_call(network, target, (synthetic.images(),)).softmax(1)
    torch.testing.assert_close(objective.soft_labels(synthetic), said.detach())
    assert make_objective(data, "tesla").soft_labels(synthetic) is None
    with pytest.raises(ConfigError, match="--soft_labels mean would replace the labels that --objective tesla makes"):
        preflight(make_options("tesla", {"labels": "expert"}, soft_labels="mean", teachers=["a/b"]))


def test_the_oracles_take_the_batches_that_are_drawn():
    data = make_data()
    step = make_step(make_set(data, ipc=3), data)
    objective = make_objective(data, changed={"student_batch_size": 4, "student_steps": 5})
    batches = [rows.tolist() for rows in objective.batches(step, 9)]
    assert [len(rows) for rows in batches] == [4, 4, 1, 4, 4]
    assert sorted(sum(batches[:3], [])) == list(range(9))  # each image once before any comes again
    assert len(set(sum(batches[3:], []))) == 8
    whole = make_objective(data, changed={"student_batch_size": 9})
    assert [rows.tolist() for rows in whole.batches(step, 9)] == [list(range(9))] * 3


def test_tesla_has_the_value_of_mtt_and_for_a_single_step_its_gradients():
    data = make_data()
    for index in range(4):
        synthetic = make_set(data)
        step = make_step(synthetic, data, index)
        for count in (1, 4):
            mtt, tesla = (
                value_and_gradients(make_objective(data, method, {"student_steps": count}), step) for method in METHODS
            )
            assert_close(tesla[:1], mtt[:1], 1e-12)
            if count == 1:
                assert_close(tesla, mtt, 1e-10)
            else:  # what a step does to the gradients of those after it is left out
                assert (tesla[1] - mtt[1]).abs().max() > 1e-3 * mtt[1].abs().max()


def test_without_a_step_size_the_student_stays_where_it_started():
    data = make_data()
    for method in METHODS:
        objective = make_objective(data, method, {"student_learning_rate": SMALLEST_RATE})
        assert float(value_and_gradients(objective, make_step(make_set(data), data))[0]) == pytest.approx(1, abs=1e-4)


def test_mtt_gradient_is_that_of_finite_differences():
    data = make_data((4, 3), size=4)
    for strategy in ("none", "color", "scale"):
        network = {"architecture_options": ["width=2", "depth=1", "activation=swish"], "augment": strategy}
        objective = make_objective(data, **network)
        synthetic = make_set(data, ipc=1)

        def loss(pixels, rate, objective=objective, synthetic=synthetic):
            objective.rate = rate
            return losses_of(objective, make_step(with_pixels(synthetic, pixels), data))["mtt"]

        objective.__dict__.pop("rate")
        inputs = (synthetic.pixels.detach().requires_grad_(), torch.tensor(0.3, dtype=torch.float64).requires_grad_())
        assert torch.autograd.gradcheck(loss, inputs)


def test_tesla_gradient_of_a_single_step_is_that_of_finite_differences():
    data = make_data((4, 3), size=4)
    network = {"architecture_options": ["width=2", "depth=1", "activation=swish"], "augment": "none"}
    objective = make_objective(data, "tesla", {"student_steps": 1}, **network)
    synthetic = make_set(data, ipc=1)

    def loss(pixels):
        return losses_of(objective, make_step(with_pixels(synthetic, pixels), data))["tesla"]

    assert torch.autograd.gradcheck(loss, (synthetic.pixels.detach().requires_grad_(),))


# --- memory


def peak_of_saved_tensors(method, count):
    """Bytes that the graphs of a loss hold at once, at most."""
    data = make_data()
    objective = make_objective(data, method, {"student_steps": count}, augment="none")  # each draw saves another lot
    step = make_step(make_set(data), data)
    held, peak = 0, 0

    class Saved:
        def __init__(self, tensor):
            self.tensor = tensor

    def free(size):
        nonlocal held
        held -= size

    def pack(tensor):
        nonlocal held, peak
        saved, size = Saved(tensor), tensor.numel() * tensor.element_size()
        weakref.finalize(saved, free, size)
        held += size
        peak = max(peak, held)
        return saved

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved.tensor):
        loss = losses_of(objective, step)[method]
        torch.autograd.grad(loss, step.synthetic.pixels)
    return peak


def test_the_memory_of_tesla_does_not_grow_with_the_number_of_steps():
    two, four, eight = (peak_of_saved_tensors("tesla", count) for count in (2, 4, 8))
    assert two == four == eight > 0
    unrolled = [peak_of_saved_tensors("mtt", count) for count in (2, 8)]
    assert unrolled[0] > 1.5 * two and unrolled[1] > 3.5 * unrolled[0]


# --- what a step depends on, and on how many ranks


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("ranks", [2, 4])
def test_shares_of_the_ranks_add_up_to_the_single_ranks_loss(method, ranks):
    data = make_data()
    start = make_set(data).pixels.detach()

    def work(rank, sum_over_ranks, ranks=ranks):
        synthetic = SyntheticSet(start.clone(), data.class_names, data.mean, data.std)
        step = make_step(synthetic, data, rank=rank, ranks=ranks, sum_over_ranks=sum_over_ranks)
        with ONE_AT_A_TIME:  # threads share torch's global generator, which draws the networks; ranks don't
            return value_and_gradients(make_objective(data, method), step)

    single = work(0, lambda tensor: tensor, ranks=1)
    assert_close([sum(parts) for parts in zip(*on_ranks(ranks, work), strict=True)], single, 1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_an_iteration_depends_on_none_before_it_nor_on_the_global_generator(method):
    data = make_data()

    def values(objective, *indices):
        synthetic = make_set(data)
        state = torch.get_rng_state()
        found = [value_and_gradients(objective, make_step(synthetic, data, index)) for index in indices]
        assert torch.equal(torch.get_rng_state(), state)
        return found

    together = values(make_objective(data, method), 0, 1, 2)
    alone = [values(make_objective(data, method), index)[0] for index in (0, 1, 2)]
    for one, other in zip(together, alone, strict=True):
        assert all(map(torch.equal, one, other))
    assert len({float(found[0]) for found in together}) == 3


def test_the_start_is_drawn_among_all_experts_and_epochs():
    data = make_data()
    drawn = set()
    experts = DrawnExperts(3, first=1)
    objective = make_objective(data, experts=experts)
    assert experts.epochs == {1, 2, 3, 4}
    experts.parameters = lambda index, epoch: (index, epoch)
    for index in range(60):
        (expert, start), (same, target) = objective.segment(make_step(make_set(data), data, index))
        assert expert == same and target == start + 2
        drawn.add((expert, start))
    assert drawn == {(expert, start) for expert in range(3) for start in (1, 2)}


def test_each_image_of_a_batch_has_its_own_augmentation_in_every_step():
    data = make_data()
    step = make_step(make_set(data), data)
    draws = [augment.draw(6, ("crop",), step.generator("augment", number)).magnitudes for number in range(3)]
    assert len({tuple(row.tolist()) for draw in draws for row in draw}) == 18


def test_a_batch_may_be_augmented_by_one_operation(monkeypatch):
    data, seen = make_data(), []
    step = make_step(make_set(data, ipc=9), data)
    apply = augment.apply
    monkeypatch.setattr(augment, "apply", lambda images, draws: seen.append(draws) or apply(images, draws))
    for by in ("image", "batch"):
        seen.clear()
        losses_of(make_objective(data, changed={"augment_by": by}), step)
        assert [len(draws.operation.unique()) > 1 for draws in seen] == [by == "image"] * 3
        assert all(len(draws.magnitudes.unique(dim=0)) == 27 for draws in seen)


def test_a_guide_adds_its_term():
    data = make_data()
    pool = TeacherPool([make_teacher(data)])
    step = make_step(make_set(data), data)
    for method in METHODS:
        objective = make_objective(data, method, pool=pool, clom="ce", teachers=["passed as a pool"])
        losses = losses_of(objective, step)
        alone = losses_of(make_objective(data, method), step)
        assert set(losses) == {method, "clom"} and torch.equal(losses[method], alone[method])
        assert set(objective.learnables()) == {"student_learning_rate"}
        assert objective.outcome() == {"learning_rate": 0.3}


@pytest.mark.parametrize("method", METHODS)
def test_bf16_computes_the_same_loss_but_for_its_precision(method):
    data = make_data()
    found = []
    for autocast in (False, True):
        options = {"dtype": "float32", "augment": "none"}
        objective = make_objective(data, method, {"student_learning_rate": 0.1}, **options)
        synthetic = make_set(data, dtype=torch.float32)
        step = make_step(synthetic, data, autocast=lambda on=autocast: torch.autocast("cpu", torch.bfloat16, on))
        found.append(value_and_gradients(objective, step))
        assert [value.dtype for value in found[-1]] == [torch.float32] * 3
    (value, of_pixels, of_rate), (value16, of_pixels16, of_rate16) = found
    assert float(value16) == pytest.approx(float(value), rel=0.02) and float(value16) != float(value)
    assert float(of_rate16) == pytest.approx(float(of_rate), rel=0.1)
    assert torch.cosine_similarity(of_pixels.flatten(), of_pixels16.flatten(), 0) > 0.97


def test_the_step_size_is_learned_and_stays_above_zero():
    data = make_data()
    for method in METHODS:
        objective = make_objective(data, method, {"lr_lr": 0.25})
        (learnable,) = objective.learnables().values()
        assert learnable.learning_rate == 0.25 and float(learnable.parameter.detach()) == 0.3
        losses = objective.losses(make_step(make_set(data), data))
        next(losses)
        with torch.no_grad():
            learnable.parameter.fill_(-1.0)  # as an optimiser's step may leave it
        assert next(losses, None) is None
        assert float(learnable.parameter.detach()) == SMALLEST_RATE == objective.outcome()["learning_rate"]


# --- options


def test_defaults_are_the_published_ones():
    objective = build_objective(
        make_config(objective="mtt", experts=["in memory"], real_batch_size=None), make_data(), None, DrawnExperts()
    )
    published = objective.published
    assert (published.iterations, published.image_learning_rate, published.image_momentum) == (5000, 1000.0, 0.5)
    assert (published.image_optimizer, published.init, published.real_batch_size) == ("sgd", "real", None)
    options = objective.options
    assert (options.student_steps, options.expert_epochs, options.max_start_epoch) == (20, 3, 25)
    assert (options.student_batch_size, options.student_learning_rate, options.lr_lr) == (0, 0.01, 1e-5)
    assert objective.experts.epochs == set(range(28))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"experts": []}, "--objective mtt needs expert trajectories: give --experts"),
        ({"objective": "dm", "objective_options": []}, "--experts has no meaning for --objective dm: leave it out."),
        ({"real_batch_size": 4}, "--real_batch_size has no meaning for --objective mtt: leave it out."),
        ({"changed": {"student_steps": 0}}, "student_steps is 0; it has to be at least 1"),
        ({"changed": {"expert_epochs": 0}}, "expert_epochs is 0; it has to be at least 1"),
        ({"changed": {"max_start_epoch": 0}}, "max_start_epoch is 0; it has to be at least 1"),
        ({"changed": {"student_batch_size": -1}}, "student_batch_size is -1; it has to be at least 0"),
        ({"changed": {"student_learning_rate": 0}}, "student_learning_rate is 0.0; it has to be at least 1e-06"),
        ({"changed": {"lr_lr": float("inf")}}, "lr_lr is inf; it has to be at least 0 and finite"),
        ({"changed": {"student_steps": 2.5}}, "student_steps is 2.5; it has to be a whole number"),
        ({"changed": {"steps": 2}}, "mtt has no 'steps'; it has student_steps"),
    ],
)
def test_options_that_make_no_sense_are_refused_by_name(options, message):
    with pytest.raises(ConfigError, match=message):
        preflight(make_options(**options))


def test_compiling_is_refused_and_so_are_epochs_that_start_too_late():
    data = make_data()
    with pytest.raises(ConfigError, match="--compile doesn't work with --objective tesla"):
        make_objective(data, "tesla", compile=True)
    with pytest.raises(ConfigError, match="max_start_epoch=3: the earliest epoch .* in common is 3"):
        make_objective(data, experts=DrawnExperts(first=3))


# --- experts, on the Hub and in folders

PRETRAIN = {
    "dataset": "digits",
    "architecture_options": ["width=8", "depth=1"],
    "teacher_seeds": [0, 1],
    "epochs": 4,
    "keep_epochs": [0, 1, 2, 3, 4],
    "batch_size": 256,
    "momentum": 0.0,
    "weight_decay": 0.0,
    "learning_rate": 0.05,
    "lr_drops": [],
}
DISTIL = {
    "ipc": 1,
    "architecture_options": ["width=8", "depth=1"],
    "iterations": 6,
    "objective_options": ["student_steps=2", "expert_epochs=2", "max_start_epoch=2", "lr_lr=0.01"],
    "image_learning_rate": 10.0,
    "eval_students": 0,
}


@pytest.fixture(scope="module")
def trajectories(tmp_path_factory):
    """Two experts with epochs 0 to 4: their folders and their repositories."""
    folder = tmp_path_factory.mktemp("experts")
    pins = hf_dd.pretrain(**PRETRAIN, output_dir=str(folder), push_to_hub=True, hub_namespace="lab")
    names = [pin.repo_id for pin in pins]
    return [str(folder / name.split("/")[1]) for name in names], names


def distil(folder, references, objective="mtt", **options):
    own = {"output_dir": str(folder), "experts": references, "objective": objective}
    return hf_dd.distill(**DISTIL | own | options)


@pytest.fixture
def changed(trajectories, tmp_path):
    """Copies an expert's folder and hands it to a change; returns its path."""

    def copy(change=lambda folder: None):
        folder = tmp_path / "expert"
        shutil.copytree(trajectories[0][0], folder)
        change(folder)
        return str(folder)

    return copy


def rewrite(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_epoch_0_is_the_network_as_it_was_drawn_and_keeping_it_changes_no_other(trajectories, tmp_path):
    folder = trajectories[0][1]
    config = PretrainConfig(**PRETRAIN)
    drawn = new_teacher(config, "ConvNet", 1, load_data(config)).state_dict()
    kept = load_file(f"{folder}/epoch-0/model.safetensors")
    assert kept.keys() == drawn.keys() and all(torch.equal(kept[name], value) for name, value in drawn.items())
    record = json.loads(open(f"{folder}/epoch-0/hf_dd.json").read())
    assert (record["epoch"], record["loss"], record["seconds"]) == (0, None, 0.0)
    card = open(f"{folder}/epoch-0/README.md").read()
    assert "none: the network as it was drawn" in card
    (without,) = hf_dd.pretrain(**PRETRAIN | {"keep_epochs": [], "teacher_seeds": [1]}, output_dir=str(tmp_path))
    assert sorted(path.name for path in without.glob("epoch-*")) == [f"epoch-{epoch}" for epoch in range(1, 5)]
    weights = "epoch-4/model.safetensors"
    assert (without / weights).read_bytes() == open(f"{folder}/{weights}", "rb").read()
    assert set(hub.tags(trajectories[1][1], "model")) == {*(f"epoch-{epoch}" for epoch in range(5)), "final"}
    with pytest.raises(ConfigError, match=r"--keep_epochs holds \[-1\]; epochs run from 0, as drawn, to 4"):
        PretrainConfig(**PRETRAIN | {"keep_epochs": [-1]})


def test_experts_are_resolved_once_and_pulled_when_they_are_drawn(trajectories, monkeypatch):
    pulled = []
    pull = hub.pull
    monkeypatch.setattr(hub, "pull", lambda pin, **options: pulled.append((pin, options)) or pull(pin, **options))
    config = DistillConfig(**DISTIL, objective="mtt", experts=trajectories[1])
    data = load_data(config)
    pool = ExpertPool.from_config(config)
    objective = build_objective(config, data, None, pool)
    assert [options["files"] for _, options in pulled] == [("config.json", "hf_dd.json")] * 4  # first and last epochs
    pulled.clear()
    tags = [hub.tags(name, "model") for name in trajectories[1]]
    monkeypatch.setattr(hub, "tags", lambda *names: pytest.fail("tags were looked up again"))
    start, target = objective.segment(make_step(make_set(data, ipc=1, dtype=torch.float32), data))
    assert len(pulled) == 2 and all("model.safetensors" in options["files"] for _, options in pulled)
    for (pin, _), parameters in zip(pulled, (start, target), strict=True):
        expert = trajectories[1].index(pin.repo_id)
        assert pin.sha == tags[expert][pin.revision]
        weights = load_file(f"{trajectories[0][expert]}/{pin.revision}/model.safetensors")
        assert parameters.keys() == weights.keys()
        assert all(torch.equal(parameters[name], value) for name, value in weights.items())
    assert [entry["epochs"] for entry in pool.lock()] == [[0, 1, 2, 3]] * 2
    assert pool.lock()[1]["shas"] == [tags[1][f"epoch-{epoch}"] for epoch in range(4)]
    assert {key: pool.lock()[1][key] for key in ("repo_id", "architecture", "seed", "dataset")} == {
        "repo_id": trajectories[1][1],
        "architecture": "ConvNet",
        "seed": 1,
        "dataset": "digits",
    }


def test_a_bounded_number_of_parameters_stays_in_memory(trajectories, monkeypatch):
    config = DistillConfig(**DISTIL, objective="mtt", experts=trajectories[0])
    data = load_data(config)
    network = networks.build("ConvNet", **data.network_shape, width=8, depth=1).double()
    size = sum(value.numel() * 8 for value in network.parameters())
    monkeypatch.setattr(experts, "BYTES_IN_MEMORY", 2 * size + 1)
    loads = []
    load = Expert.load
    monkeypatch.setattr(Expert, "load", lambda self, *place: loads.append(place[0]) or load(self, *place))
    pool = ExpertPool(trajectories[0])
    pool.prepare(network, data, [0, 1, 2])
    first = pool.parameters(0, 0)
    assert {value.dtype for value in first.values()} == {torch.float64}
    assert pool.parameters(1, 1) is pool.parameters(1, 1)
    assert pool.parameters(0, 0) is first and loads == [0, 1]
    pool.parameters(0, 2)  # in the place of the one that was not used for longest
    assert pool.parameters(0, 0) is first and loads == [0, 1, 2]
    pool.parameters(1, 1)
    assert loads == [0, 1, 2, 1]


def test_folders_and_repositories_give_the_same_set(trajectories, tmp_path):
    for method in METHODS:
        local = distil(tmp_path / f"{method}-local", trajectories[0], method)
        remote = distil(tmp_path / f"{method}-hub", trajectories[1], method)
        assert parquet(local.folder) == parquet(remote.folder)
        assert local.record.learning_rate == remote.record.learning_rate != 0.01


def test_the_record_and_the_card_name_the_experts_and_the_learned_rate(trajectories, tmp_path):
    local, remote = (distil(tmp_path / str(kind), trajectories[kind]) for kind in (0, 1))
    assert local.record.summary == "mtt of 2 experts, ipc 1"
    for artefact in (local, remote):
        tensors = load_file(artefact.folder / "checkpoints/step-000006/tensors.safetensors")
        assert artefact.record.learning_rate == float(tensors["student_learning_rate"])
        card = (artefact.folder / "README.md").read_text()
        assert f"was learned with the images: **{artefact.record.learning_rate:.4g}**" in card
        assert "None: no pre-trained model took part but the experts." in card
        identity = json.loads((artefact.folder / "checkpoints/step-000006/state.json").read_text())["identity"]
        assert identity["expert_shas"] == [expert["shas"] for expert in artefact.record.experts]
        block = artefact.record.distillation()
        assert block["experts"] == [expert["repo_id"] for expert in artefact.record.experts]
        assert block["learning_rate"] == artefact.record.learning_rate
    name, sha = trajectories[1][0], remote.record.experts[0]["shas"][-1]
    assert f"epoch 3: [`{sha[:8]}`]({hub.endpoint()}/{name}/tree/{sha})" in card
    digest = local.record.experts[1]["shas"][0]
    assert f"epoch 0: local, weights `{digest[:19]}`" in (local.folder / "README.md").read_text()


def test_other_experts_are_another_run(trajectories, tmp_path):
    distil(tmp_path / "run", trajectories[0], iterations=2)
    with pytest.raises(RunError, match="expert_shas"):
        distil(tmp_path / "run", trajectories[0][:1], resume_from_checkpoint="latest")


@pytest.mark.parametrize("method", METHODS)
def test_resuming_from_any_step_gives_the_same_bytes(trajectories, tmp_path, method):
    whole = distil(tmp_path / "whole", trajectories[0], method, save_steps=1, save_total_limit=9)
    for step in (0, 1, 4):
        shutil.copytree(
            tmp_path / f"whole/checkpoints/step-{step:06d}", tmp_path / f"{step}/checkpoints/step-{step:06d}"
        )
        resumed = distil(tmp_path / str(step), trajectories[0], method, resume_from_checkpoint="latest")
        assert parquet(resumed.folder) == parquet(whole.folder)
        assert resumed.record.learning_rate == whole.record.learning_rate != 0.01
        last = "checkpoints/step-000006/tensors.safetensors"
        ours, theirs = (load_file(tmp_path / name / last) for name in (str(step), "whole"))
        assert "optimizer.student_learning_rate.momentum_buffer" in ours
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_students_learn_at_the_learned_rate(trajectories, tmp_path):
    artefact = distil(tmp_path / "run", trajectories[0], eval_students=1, eval_epochs=1, eval_architectures=["MLP"])
    rows = artefact.record.results["rows"]
    rates = {row["set"]: (row["learning_rate"], row["own_learning_rate"]) for row in rows}
    assert rates["run"] == (artefact.record.learning_rate, True)
    assert rates["random real, ipc 1"] == (0.01, False)


@pytest.mark.multi_process
def test_two_processes_give_the_set_of_one(trajectories, tmp_path, ranks_of):
    entries = []
    for method in METHODS:
        options = DISTIL | {"objective": method, "experts": trajectories[1], "dtype": "float64"}
        distil(tmp_path / "one" / method, trajectories[1], method, dtype="float64")
        words = ["--output_dir", str(tmp_path / "two" / method)]
        for name, value in options.items():
            words += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
        entries.append({"arguments": words})
    (tmp_path / "runs.json").write_text(json.dumps(entries))
    ranks_of(Path(__file__).parents[1] / "distill_each.py", tmp_path / "runs.json")
    for method in METHODS:
        one, two = (json.loads((tmp_path / kind / method / "hf_dd.json").read_text()) for kind in ("one", "two"))
        assert two["run"]["hardware"].endswith(", 2 processes of 1 thread")
        assert two["experts"] == one["experts"]
        assert two["learning_rate"] == pytest.approx(one["learning_rate"], rel=1e-12)
        last = "checkpoints/step-000006/tensors.safetensors"
        ours, theirs = (load_file(tmp_path / kind / method / last)["pixels"] for kind in ("two", "one"))
        assert (ours - theirs).abs().max() <= 1e-10 * theirs.abs().max()


# --- experts that can't be followed


def test_without_epoch_0_students_start_from_the_first_epoch_in_common(trajectories, changed, tmp_path, caplog):
    def drop(folder):
        shutil.rmtree(folder / "epoch-0")
        rewrite(folder / "hf_dd.json", revisions=[f"epoch-{epoch}" for epoch in range(1, 5)])

    with caplog.at_level(logging.WARNING):
        artefact = distil(tmp_path / "run", [trajectories[0][1], changed(drop)])
    assert "The experts didn't keep epoch 0: students start from epoch 1 on." in caplog.text
    assert [expert["epochs"] for expert in artefact.record.experts] == [[1, 3]] * 2


def fails(reference, message, error=TeacherError, folder="run", tmp_path=None, **options):
    with pytest.raises(error, match=message):
        distil(tmp_path / folder, [reference], **options)
    assert not (tmp_path / folder).exists()  # it shows before the run's folder is made


def keep(*epochs):
    def change(folder):
        rewrite(folder / "hf_dd.json", revisions=[f"epoch-{epoch}" for epoch in epochs])

    return change


def in_config(**values):
    return lambda folder: rewrite(folder / "epoch-0/config.json", **values)


def no_record(folder):
    (folder / "hf_dd.json").unlink()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (keep(0, 1, 2), r"lacks epochs 3; it has 0 to 2\. Take an expert that kept them all .*--keep_epochs 0 1 2"),
        (keep(0, 2, 3, 4), "lacks epochs 1; it has 0, 2 to 4"),
        (keep(), "has no epochs epoch-0, epoch-1, …: it is no trajectory"),
        (in_config(class_names=list("0123456798")), "another label space than digits: .* 8, 9"),
        (in_config(class_names=list("0123")), "its classes are, in order, 0, 1, 2, 3, and those"),
        (
            in_config(image_size=[28, 28]),
            r"another image shape: it has image_size \[28, 28\], this run image_size \[8, 8\]",
        ),
        (in_config(in_channels=3), "another image shape: it has in_channels 3, this run in_channels 1"),
        (in_config(width=16), "is another network: it has width 16, this run width 8. Choose --architecture"),
        (in_config(architecture="MLP"), "is another network: it has architecture MLP, this run architecture ConvNet"),
        (in_config(mean=[0.5]), r"normalised by a mean of \[0.5\], those of digits have \[0.30"),
        (
            lambda folder: (folder / "epoch-0/config.json").write_text("{"),
            "doesn't say what it is: .*config.json isn't valid JSON",
        ),
        (
            lambda folder: (folder / "epoch-2/model.safetensors").unlink(),
            "lists epoch-2, but there is no .*safetensors",
        ),
        (lambda folder: shutil.rmtree(folder / "epoch-3"), "lists epoch-3, but there is no"),
        (no_record, "is no folder of a finished run of `hf-dd pretrain`"),
    ],
)
def test_an_expert_that_cant_be_followed_is_named_before_training(changed, tmp_path, change, message):
    fails(changed(change), message, tmp_path=tmp_path)


def test_a_reference_that_is_no_expert_is_named(trajectories, tiny_teachers, tmp_path, unique):
    fails("nothing", "there is no such folder, and it isn't of the form owner/name", tmp_path=tmp_path)
    fails(f"{trajectories[1][0]}@epoch-1", "named without a revision", tmp_path=tmp_path)
    fails(unique(), "doesn't exist", HubError, tmp_path=tmp_path)
    fails(trajectories[0][0] + "/epoch-1", "is no folder of a finished run", tmp_path=tmp_path)
    untagged = unique()
    hub.create_repo(untagged, "model")
    fails(untagged, "has no tags epoch-0, epoch-1, …: it is no trajectory", tmp_path=tmp_path)
    kept = tiny_teachers.references[0].split("@")[0]  # epochs 1 and 2
    fails(kept, "lacks epochs 3; it has 1 to 2", tmp_path=tmp_path)
    with pytest.raises(TeacherError, match="have no epoch in common: .* has 0 to 4; .* has 7"):
        shutil.copytree(trajectories[0][0], tmp_path / "late")
        rewrite(tmp_path / "late/hf_dd.json", revisions=["epoch-7"])
        distil(tmp_path / "run", [trajectories[0][0], str(tmp_path / "late")])


def test_weights_that_dont_fit_or_have_changed_are_named_when_they_are_drawn(changed):
    folder = changed()
    config = DistillConfig(**DISTIL, objective="mtt", experts=[folder])
    data = load_data(config)
    pool = ExpertPool.from_config(config)
    build_objective(config, data, None, pool)
    weights = load_file(f"{folder}/epoch-1/model.safetensors")
    save_file({name: value + 1 for name, value in weights.items()}, f"{folder}/epoch-1/model.safetensors")
    with pytest.raises(TeacherError, match="epoch-1.* changed while it was in use"):
        pool.parameters(0, 1)
    wider = networks.build("ConvNet", **data.network_shape, width=9, depth=1)
    networks.save(wider, f"{folder}/epoch-1")
    pool = ExpertPool.from_config(config)
    build_objective(config, data, None, pool)
    with pytest.raises(TeacherError, match="epoch-1.* is another network than at its first epoch"):
        pool.parameters(0, 1)


def test_ranges():
    assert ranges([]) == "" and ranges([4]) == "4"
    assert ranges([5, 0, 1, 2, 3]) == "0 to 3, 5"
