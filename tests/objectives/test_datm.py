"""DATM: its losses against the formulas, its ranges, labels and skipped steps, and whole runs of it."""

import json
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.func import functional_call

import hf_dd
from hf_dd.config import DistillConfig
from hf_dd.core.registry import OBJECTIVES
from hf_dd.core.seeding import generator
from hf_dd.distillation.checks import preflight
from hf_dd.distillation.optimisers import Learned
from hf_dd.errors import ConfigError, DataError
from hf_dd.nn import augment, networks
from hf_dd.objectives import Learnable, build_objective, datm
from hf_dd.objectives.base import options_of
from hf_dd.synthetic.start import Request, expert_correct
from hf_dd.synthetic.synthetic_set import SyntheticSet
from tests import facts
from tests.factories import ONE_AT_A_TIME, assert_close, make_data, make_set, make_step, on_ranks, with_pixels
from tests.objectives.test_trajectory import DrawnExperts, losses_of, make_options
from tests.oracles import trajectory as oracle

pytestmark = pytest.mark.usefixtures("one_thread")

METHODS = ("datm", "datm-tesla")
STEPS = {"student_steps": 3, "expert_epochs": 2, "max_start_epoch": 3, "student_learning_rate": 0.3}
STEPS |= {"first_max_start_epoch": 1, "growth": 2, "student_batch_size": 4, "threshold": 100.0}


class Experts(DrawnExperts):
    """Freshly drawn networks that say what they think of images; the last epoch is 9."""

    def last_epoch(self):
        return 9

    def parameters(self, index, epoch):
        with ONE_AT_A_TIME:  # threads share torch's global generator, which draws the networks; ranks don't
            return super().parameters(index, epoch)

    def logits(self, index, epoch, images):
        with ONE_AT_A_TIME:
            network = networks.build(**self.config, seed=100 * index + epoch).to(self.dtype).eval()
        with torch.no_grad():
            return network(images)


def make_objective(data, objective="datm", synthetic=None, changed=None, **options):
    """The objective with its labels, which begin with the set."""
    experts = Experts()
    made = build_objective(make_options(objective, STEPS | (changed or {}), **options), data, None, experts)
    made.parameterise(synthetic if synthetic is not None else make_set(data))
    return made


def learned(objective):
    return [each.parameter for each in objective.learnables().values()]


def value_and_gradients(objective, step):
    """The value, and the gradients for the pixels, the step size and the labels' logits."""
    loss = sum(losses_of(objective, step).values())
    return [loss.detach(), *torch.autograd.grad(loss, [step.synthetic.pixels, *learned(objective)])]


def oracle_inputs(objective, step):
    """What the formulas take, drawn as the reproducibility contract names the draws; the labels as probabilities."""
    draws = step.generator("expert")
    expert, last = int(torch.randint(2, (), generator=draws)), min(3, 1 + 2 * step.index // 2)
    epoch = int(torch.randint(last, (), generator=draws))
    pair = [objective.experts.parameters(expert, epoch + after) for after in (0, 2)]
    shapes = {name: value.shape for name, value in pair[0].items()}
    network = networks.build(**objective.experts.config).double().train()

    def logits(parameters, images):
        parts = parameters.split([shape.numel() for shape in shapes.values()])
        named = {name: part.view(shape) for part, (name, shape) in zip(parts, shapes.items(), strict=True)}
        return functional_call(network, named, (images,))

    labels = learned(objective)[1]
    words = labels.exp() / labels.exp().sum(1, keepdim=True)
    images, batches, wanted, left = step.synthetic.images(), [], [], []
    for number in range(3):
        if not left:
            left = list(torch.randperm(6, generator=step.generator("student-batch", number)).split(4))
        rows = left.pop(0)
        drawn = augment.draw(len(rows), objective.strategy, step.generator("augment", number))
        batches.append(augment.apply(images[rows], drawn))
        wanted.append(words[rows])
    flat = [torch.cat([value.flatten() for value in parameters.values()]) for parameters in pair]
    return logits, *flat, batches, wanted


def test_datm_agrees_with_the_papers_loop():
    data = make_data()
    for index in range(4):
        synthetic = make_set(data)
        objective, step = make_objective(data, synthetic=synthetic), make_step(synthetic, data, index, seed=3)
        ours = value_and_gradients(objective, step)
        rate = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
        loss = oracle.matching(*oracle_inputs(objective, step), rate)
        of = [synthetic.pixels, rate, learned(objective)[1]]
        assert_close(ours, [loss.detach(), *torch.autograd.grad(loss, of)], 1e-9)


def test_its_form_in_constant_memory_agrees_with_teslas_formula():
    data = make_data()
    for index in range(4):
        synthetic = make_set(data)
        objective = make_objective(data, "datm-tesla", synthetic)
        step = make_step(synthetic, data, index, seed=3)
        ours = value_and_gradients(objective, step)
        inputs, rate = oracle_inputs(objective, step), torch.tensor(0.3, dtype=torch.float64)
        value, of_batches, of_rate = oracle.constant_memory(*inputs, rate)
        of_words = oracle.constant_memory_of_labels(*inputs, rate)
        (of_pixels,) = torch.autograd.grad(inputs[3], synthetic.pixels, of_batches)
        (of_labels,) = torch.autograd.grad(inputs[4], learned(objective)[1], of_words)
        assert_close(ours, [value, of_pixels, of_rate, of_labels], 1e-9)


def test_the_gradients_are_those_of_finite_differences():
    data = make_data((4, 3), size=4)
    network = {"architecture_options": ["width=2", "depth=1", "activation=swish"], "augment": "none"}
    synthetic = make_set(data, ipc=1)
    for method, steps in (("datm", 3), ("datm-tesla", 1)):  # of several, TESLA's leave something out
        changed = {"student_batch_size": 0, "student_steps": steps}
        objective = make_objective(data, method, synthetic, changed, **network)

        def loss(pixels, logits, objective=objective, method=method):
            objective.logits = logits
            return losses_of(objective, make_step(with_pixels(synthetic, pixels), data))[method]

        logits = objective.__dict__.pop("logits").detach()
        inputs = (synthetic.pixels.detach().requires_grad_(), logits.requires_grad_())
        assert torch.autograd.gradcheck(loss, inputs)


@pytest.mark.parametrize("method", METHODS)
def test_shares_of_two_ranks_add_up_to_the_single_ranks_loss(method):
    data = make_data()
    start = make_set(data).pixels.detach()

    def work(rank, sum_over_ranks, ranks=2):
        synthetic = SyntheticSet(start.clone(), data.class_names, data.mean, data.std)
        step = make_step(synthetic, data, rank=rank, ranks=ranks, sum_over_ranks=sum_over_ranks)
        with ONE_AT_A_TIME:
            made = make_options(method, STEPS)
            objective = build_objective(made, data, None, Experts())
        objective.parameterise(synthetic)
        return value_and_gradients(objective, step)

    single = work(0, lambda tensor: tensor, ranks=1)
    assert_close([sum(parts) for parts in zip(*on_ranks(2, work), strict=True)], single, 1e-12)


# --- ranges, labels, steps that are skipped


def test_the_upper_bound_of_the_start_grows_as_the_papers_does():
    data = make_data()
    ranges = {"min_start_epoch": 2, "first_max_start_epoch": 10, "max_start_epoch": 20, "growth": 1000}
    objective = make_objective(data, changed=ranges)
    for iteration in (0, 99, 100, 500, 999, 1000, 5000):
        bound = min(10 + int((20 - 10) * iteration / 1000), 20)  # as DATM's code has it
        assert objective.starts_at(iteration) == range(2, bound)
    assert objective.experts.epochs == {*range(2, 22), 9}
    fixed = make_objective(data, changed=ranges | {"growth": 0})
    assert fixed.starts_at(0) == range(2, 20)
    drawn = set()
    objective.experts.parameters = lambda index, epoch: epoch
    for iteration in range(300):
        drawn.add(objective.segment(make_step(make_set(data), data, iteration))[0])
    assert drawn == set(range(2, 12))


def test_labels_begin_as_the_mean_of_the_experts_that_are_right():
    data = make_data()
    synthetic = make_set(data)
    objective = make_objective(data, synthetic=synthetic)
    images, labels = synthetic.images().detach(), synthetic.image_labels().tolist()
    said = [objective.experts.logits(index, 9, images) for index in (0, 1)]
    right = 0
    for place, label in enumerate(labels):
        agreeing = [own[place] for own in said if int(own[place].argmax()) == label]
        right += bool(agreeing)
        expected = sum(agreeing) / len(agreeing) if agreeing else said[0][place]
        torch.testing.assert_close(learned(objective)[1][place].detach(), expected)
    assert 0 < right < len(labels)
    torch.testing.assert_close(objective.soft_labels(synthetic), learned(objective)[1].softmax(1))


def test_images_start_as_the_first_ones_that_experts_get_right():
    data = make_data((30, 30, 30))
    objective = make_objective(data, architecture="MLP", architecture_options=["width=8"])
    config = DistillConfig(ipc=8, dtype="float64", seed=4)
    made = expert_correct(Request(config, data, nullcontext, experts=objective.experts))
    chosen = []
    for label in range(3):
        order = data.sample_class(label, 30, generator(4, "init", label)).tolist()
        found = []
        for expert in (0, 1):
            images = data.normalise(data.train.images.double() / 255)
            right = (objective.experts.logits(expert, 9, images).argmax(1) == label).tolist()
            found += [row for row in order if right[row] and row not in found]
        chosen += found[:8]
    expected = data.train.images[torch.tensor(chosen)].double() / 255
    torch.testing.assert_close(made.own_space().detach(), expected)
    with pytest.raises(DataError, match=r"The experts classify \d+ training images of class '.*' right, and 30 are"):
        expert_correct(Request(DistillConfig(ipc=30, dtype="float64"), data, nullcontext, experts=objective.experts))


def test_a_learnable_has_a_momentum_of_its_own():
    synthetic = make_set(make_data())
    settings = {"iterations": 2, "image_learning_rate": 1.0, "image_momentum": 0.5}
    settings |= {"image_schedule": "constant", "image_optimizer": "sgd"}
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    learnables = {"a": Learnable(parameters[0], 0.1, 0.9), "b": Learnable(parameters[1], 0.1)}
    optimisers = Learned(synthetic, learnables, settings, (0.9, 0.999), {})
    for _ in range(2):
        for parameter in parameters:
            parameter.grad = torch.ones(1)
        optimisers.step()
    assert [round(parameter.item(), 6) for parameter in parameters] == [-0.29, -0.25]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"soft_labels": "mean", "teachers": ["a/b"]}, "--soft_labels mean would replace the labels"),
        ({"objective_options": ["label_momentum=1"]}, "label_momentum is 1.0; .*below 1"),
        ({"experts": []}, "--objective datm needs expert trajectories"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        preflight(DistillConfig(**{"objective": "datm", "experts": ["a/b"]} | options))


def test_other_methods_cannot_start_from_what_experts_get_right():
    with pytest.raises(ConfigError, match="--init expert-correct asks experts, which --objective dm hasn't got"):
        preflight(DistillConfig(objective="dm", init="expert-correct"))


def test_batch_norm_is_refused():
    with pytest.raises(ConfigError, match="--architecture ConvNetBN: this run asks experts about images"):
        make_objective(make_data(), architecture="ConvNetBN")


@pytest.mark.parametrize("row", facts.DATM, ids=lambda row: " ".join(row.split()[:2]))
def test_its_cells_are_those_of_the_authors_configurations(row):
    asked = dict(zip(facts.DATM_COLUMNS.split(), row.split(), strict=True))
    place = {"dataset": facts.HUB[asked["dataset"]], "ipc": int(asked["ipc"])}
    config = DistillConfig(objective="datm", published=True, experts=["a/b"], **place)
    run, own = OBJECTIVES["datm"].published.filled_in(config), options_of(OBJECTIVES["datm"], config)
    assert (own.student_steps, own.expert_epochs) == (int(asked["syn_steps"]), int(asked["expert_epochs"]))
    assert own.student_batch_size == int(asked["batch_syn"]) and own.label_rate == float(asked["lr_y"])
    assert own.label_momentum == 0.9 and own.threshold == float(asked["threshold"])
    assert own.lr_lr == float(asked["lr_lr"]) and own.student_learning_rate == 0.01
    assert run["image_learning_rate"] == float(asked["lr_img"]) and run["zca"] is True
    assert run["iterations"] == 10_000
    assert run["init"] == {"samples_predicted_correctly": "expert-correct", "real": "real"}[asked["pix_init"]]
    assert own.min_start_epoch == int(asked["min_start_epoch"])
    assert own.max_start_epoch == int(asked["max_start_epoch"])
    if asked["expansion_end_epoch"] == "fixed":
        assert own.growth == 0
    else:
        assert own.first_max_start_epoch == int(asked["current_max_start_epoch"])
        assert own.growth == int(asked["expansion_end_epoch"])


# --- whole runs


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Distils digits by DATM, of an expert of two epochs."""
    root = tmp_path_factory.mktemp("datm")
    small = {"architecture_options": ["width=8", "depth=1"]}
    trained = {"epochs": 3, "keep_epochs": [0, 1, 2, 3], "learning_rate": 0.1, "batch_size": 64}
    (expert,) = hf_dd.pretrain(dataset="digits", output_dir=str(root / "experts"), **trained, **small)

    def run(folder, *own, **options):
        words = ["student_steps=2", "expert_epochs=1", "max_start_epoch=2", "first_max_start_epoch=1", "growth=2"]
        words = list({word.partition("=")[0]: word for word in (*words, "threshold=9", *own)}.values())
        return hf_dd.distill(
            **{"dataset": "digits", "objective": "datm", "experts": [str(expert)], "iterations": 4, "ipc": 1}
            | {"image_learning_rate": 1.0, "objective_options": words, "save_steps": 2}
            | {"eval_students": 0, "output_dir": str(root / folder)}
            | small
            | options
        )

    run.teachers = [str(expert)]
    return run


@pytest.fixture(scope="module")
def whole(run):
    return run("whole", eval_students=1, eval_epochs=[2], eval_protocol="datm", eval_augment="none")


def learned_in(artefact, step=4):
    return load_file(artefact.folder / f"checkpoints/step-{step:06d}/tensors.safetensors")


def test_the_set_carries_its_labels_and_students_learn_from_them(whole):
    record, rows = whole.record, whole.load().with_format("torch")[:]
    assert record.soft_labels == {"kind": "own", "temperature": 1.0, "teachers": []}
    torch.testing.assert_close(rows["soft_label"], learned_in(whole)["labels"].softmax(1))
    assert record.settings["init"] == "expert-correct" and 3 in record.experts[0]["epochs"]
    row = record.results["rows"][0]
    assert row["temperature"] == 1.0 and row["soft_label_bytes"] == 400
    assert row["own_learning_rate"] and row["learning_rate"] == record.learning_rate
    card = (whole.folder / "README.md").read_text()
    expert = Path(record.experts[0]["repo_id"]) / f"epoch-{max(record.experts[0]['epochs'])}/hf_dd.json"
    taken = json.loads(expert.read_text())["seconds"]
    assert record.experts[0]["seconds"] == taken == record.teaching_seconds > 0  # as a curve counts them, too
    assert "The experts had taken" in card
    assert "The soft labels are those that the method made with the images" in card
    assert "difficulty-aligned trajectory matching (DATM)" in card


def test_that_students_do_not_learn_from_its_labels_is_told(run, caplog):
    caplog.set_level("INFO", "hf_dd")
    quick = {"iterations": 1, "eval_students": 1, "eval_epochs": [1], "eval_copies": ["float"], "baselines": ["none"]}
    run("hard", **quick)
    told = "hard labels (--eval_protocol dsa), not from those that datm learns: --eval_protocol datm takes these"
    assert told in caplog.text
    caplog.clear()
    run("soft", eval_protocol="datm", **quick)
    assert "takes these" not in caplog.text


def test_resumed_is_uninterrupted(run, whole):
    stopped = run("stopped", iterations=4, save_total_limit=4)
    for step in (4,):
        folder = stopped.folder / f"checkpoints/step-{step:06d}"
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    again = run("stopped", iterations=4, resume_from_checkpoint="latest")
    for name, value in learned_in(whole).items():
        assert torch.equal(learned_in(again)[name], value), name
    assert json.loads((again.folder / "hf_dd.json").read_text())["learning_rate"] == whole.record.learning_rate


def test_a_loss_above_the_threshold_leaves_everything_as_it_was(run):
    skipped = run("skipped", "threshold=1e-9", iterations=2)
    first, last = learned_in(skipped, 0), learned_in(skipped, 2)
    assert not [name for name in last if name.startswith("optimizer.")]
    assert {*first} == {*last} and all(torch.equal(first[name], last[name]) for name in first)


def test_a_loss_that_overflows_is_skipped_like_any_other_above_the_threshold(run, monkeypatch):
    matching = datm.TrajectoryMatching.losses

    def overflowing(self, step):
        for losses in matching(self, step):
            yield {name: loss * (1.0 if step.index else 1e39) for name, loss in losses.items()}

    monkeypatch.setattr(datm.TrajectoryMatching, "losses", overflowing)
    made = run("overflowing", "threshold=100", iterations=3, logging_steps=1, save_steps=1, save_total_limit=9)
    states = [learned_in(made, step)["pixels"] for step in range(4)]
    assert torch.equal(states[0], states[1]) and not torch.equal(states[1], states[2])
    assert made.record.run["losses"]["total"] < 100


@pytest.mark.parametrize("threshold", ["threshold=100", "threshold=1e-9"])
def test_a_guide_joins_the_steps_that_are_taken(run, threshold):
    guide = {"clom": "ce", "clom_alpha": "auto", "teachers": run.teachers, "save_steps": 1, "save_total_limit": 9}
    name = f"guided-{threshold}"
    whole = run(name, threshold, iterations=3, **guide)
    step = whole.folder / "checkpoints/step-000001"
    again = run(f"{name}-again", threshold, iterations=3, resume_from_checkpoint=str(step), **guide)
    for tensor, value in learned_in(whole, 3).items():
        assert torch.equal(learned_in(again, 3)[tensor], value), tensor
    taken = threshold == "threshold=100"
    assert torch.equal(learned_in(whole, 3)["pixels"], learned_in(whole, 0)["pixels"]) is not taken
    assert ("clom_alpha" in whole.record.run) == taken  # what is skipped leaves no trace in the balance


def test_its_form_in_constant_memory_runs(run):
    artefact = run("constant", objective="datm-tesla", iterations=2)
    assert artefact.record.run["losses"]["datm-tesla"] > 0
