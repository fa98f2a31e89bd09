"""The networks that objectives draw: random ones, teachers, and what lies between two epochs of one."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

import hf_dd
from hf_dd import cli
from hf_dd.data.image_data import load_data
from hf_dd.distillation.checks import preflight
from hf_dd.errors import ConfigError, RunError, TeacherError
from hf_dd.nn import networks
from hf_dd.objectives import build_objective
from hf_dd.teachers.pool import TeacherPool
from hf_dd.teachers.teacher import FittedHead
from tests.factories import (
    checkpoint_pixels,
    distil,
    make_config,
    make_data,
    make_pool,
    make_set,
    make_step,
    make_teacher,
    only_losses,
)
from tests.oracles import dm as oracle

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = {"architecture_options": ["width=4", "depth=1"]}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs on digits that kept their epochs 0, 1 and 2, and one that kept its last alone."""
    folder = tmp_path_factory.mktemp("runs")
    options = {"epochs": 2, "architectures": ["ConvNet"], "dataset": "digits"} | SMALL
    paths = hf_dd.pretrain(keep_epochs=[0, 1, 2], teacher_seeds=[0, 1], output_dir=str(folder / "all"), **options)
    paths += hf_dd.pretrain(keep_epochs=[2], teacher_seeds=[2], output_dir=str(folder / "last"), **options)
    return [str(path) for path in paths]


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


def parameters_at(run, epoch):
    return {name: value.double() for name, value in load_file(f"{run}/epoch-{epoch}/model.safetensors").items()}


def options_of(runs, kind, objective="dm", **options):
    given = {"objective": objective, "networks": kind, "augment": "none", "teachers": runs} | SMALL | options
    return make_config(**given)


def network_of(objective):
    """The parameters that it has now, copied."""
    return {name: value.clone() for name, value in objective.network.named_parameters()}


def drawn_by_hand(step, runs, kind, start=0, end=2):
    """The parameters of an iteration, from the runs' files."""
    index = TeacherPool.from_references(runs).draw(step.seed, "network", step.index)
    own = parameters_at(runs[index], end)
    if kind == "teachers":
        return own
    share = torch.rand((), generator=step.generator("between"), dtype=torch.float64).item()
    return {name: share * value + (1 - share) * own[name] for name, value in parameters_at(runs[index], start).items()}


@pytest.mark.parametrize("kind", ["teachers", "between"])
def test_dm_matches_the_features_of_the_drawn_parameters(runs, digits, kind):
    config = options_of(runs[:2], kind, real_batch_size=3)
    objective = build_objective(config, digits, TeacherPool.from_references(runs[:2]))
    seen = set()
    for index in range(4):
        step = make_step(make_set(digits, 1), digits, index)
        loss = only_losses(objective, step)["dm"].detach()
        parameters = drawn_by_hand(step, runs[:2], kind)
        network = networks.build("ConvNet", **digits.network_shape, width=4, depth=1).double()
        network.load_state_dict(parameters)
        real = [
            step.as_input(digits.train.images[digits.sample_class(c, 3, step.generator("real", c))]) for c in range(10)
        ]
        expected = oracle.matching(real, step.synthetic.pixels.split(1), network.features)
        assert float(loss) == pytest.approx(float(expected.detach()), rel=1e-10)
        seen.add(float(next(iter(parameters.values())).sum()))
    assert len(seen) == (4 if kind == "between" else 2)


@pytest.mark.parametrize("objective", ["dc", "dsa"])
def test_gradient_matching_starts_from_the_drawn_parameters(runs, digits, objective):
    augmentation = {} if objective == "dc" else {"augment": "color"}
    config = options_of(runs[:2], "between", objective, objective_options=["outer=2", "inner=1"], **augmentation)
    objective = build_objective(config, digits, TeacherPool.from_references(runs[:2]))
    step = make_step(make_set(digits, 1), digits, 5)
    losses = objective.losses(step)
    next(losses)
    start, expected = network_of(objective), drawn_by_hand(step, runs[:2], "between")
    assert all(torch.allclose(start[name], expected[name], rtol=0, atol=1e-12) for name in expected)
    next(losses)
    assert not torch.equal(network_of(objective)["classifier.weight"], start["classifier.weight"])


def test_teachers_stay_as_they_are(runs, digits):
    pool = TeacherPool.from_references(runs[:2])
    objective = build_objective(options_of(runs[:2], "between", "dc"), digits, pool)
    before = [value.clone() for teacher in [*pool, *pool.starts] for value in teacher.parameters()]
    for _ in objective.losses(make_step(make_set(digits, 1), digits)):
        pass
    after = [value for teacher in [*pool, *pool.starts] for value in teacher.parameters()]
    assert all(map(torch.equal, before, after))


def test_the_start_may_be_another_epoch(runs, digits):
    config = options_of(runs[:2], "between", networks_from=[f"{runs[1]}/epoch-1", f"{runs[0]}/epoch-1"])
    pool = TeacherPool.from_references(runs[:2])
    objective = build_objective(config, digits, pool)
    assert [(spec.seed, spec.epoch) for spec in pool.start_specs] == [(0, 1), (1, 1)]
    step = make_step(make_set(digits, 1), digits, 2)
    only_losses(objective, step)
    expected = drawn_by_hand(step, runs[:2], "between", start=1)
    assert all(torch.allclose(value, expected[name], atol=1e-12) for name, value in network_of(objective).items())


def test_the_start_is_that_of_the_run_alone_not_of_the_pool_for_ever(runs, tmp_path):
    pool = TeacherPool.from_references(runs[:1])
    between = distil(tmp_path / "between", networks="between", pool=pool, iterations=2, **SMALL)
    guided = distil(tmp_path / "guided", clom="ce", pool=pool, iterations=2, **SMALL)
    assert len(between.record.starts) == 1 and not guided.record.starts
    assert "--networks_from" in between.record.command and "--networks_from" not in guided.record.command


# --- what doesn't fit


@pytest.mark.parametrize(
    "options, message",
    [
        ({"networks": "between"}, "--networks between needs teachers: give --teachers"),
        ({"networks": "teachers"}, "--networks teachers needs teachers: give --teachers"),
        (
            {"objective": "mtt", "experts": ["a/b"], "networks": "random"},
            "--networks has no meaning for --objective mtt",
        ),
        ({"teachers": ["a/b"], "clom": "ce", "networks_from": ["a/b@epoch-0"]}, "add --networks between, or leave it"),
    ],
)
def test_options_that_do_not_fit_are_one_line(options, message):
    with pytest.raises(ConfigError) as error:
        preflight(hf_dd.DistillConfig(**options))
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "chosen, options, message",
    [
        ([2], {}, "between two epochs of one run, and its own has none before epoch 2; it has 2. Take one that kept"),
        ([0], {"architecture": "MLP", "architecture_options": []}, "is another network: it has architecture ConvNet"),
        (
            [0],
            {"architecture_options": ["width=8", "depth=1"]},
            "it has width 4, this run width 8. Choose --architect",
        ),
        ([0, 1], {"networks_from": ["{0}/epoch-0"]}, "--networks_from has no epoch of its run"),
        (
            [0],
            {"networks_from": ["{0}/epoch-2"]},
            "is ConvNet seed 0 epoch 2, no earlier epoch of ConvNet seed 0 epoch",
        ),
    ],
)
def test_teachers_that_do_not_fit_are_said_before_training(runs, digits, chosen, options, message):
    if "networks_from" in options:
        options = options | {"networks_from": [name.format(*runs) for name in options["networks_from"]]}
    references = [runs[index] for index in chosen]
    with pytest.raises(TeacherError, match=r"Teacher .*epoch-2") as error:
        build_objective(options_of(references, "between", **options), digits, TeacherPool.from_references(references))
    assert message in str(error.value)


def test_teachers_of_other_data_or_libraries_are_refused(runs, digits, tmp_path):
    data = make_data((4, 4, 4), size=8)
    with pytest.raises(TeacherError, match="has another label space than random"):
        build_objective(options_of(runs[:1], "teachers"), data, TeacherPool.from_references(runs[:1]))
    with pytest.raises(
        TeacherError, match="ConvNetBN, MLP, and --networks teachers draws .* only those of ConvNet, or"
    ):
        build_objective(options_of(runs[:1], "teachers"), data, make_pool(data))
    fitted = TeacherPool.from_references(runs[:1])
    head = FittedHead(torch.zeros(3, 4 * 4 * 4), torch.zeros(3), list(data.class_names), {})
    fitted.give_head(0, head)
    with pytest.raises(TeacherError, match="trained on other classes .* the head that --fit_head gives it is no part"):
        build_objective(options_of(runs[:1], "teachers"), data, fitted)
    pool = TeacherPool([make_teacher(data)])
    pool[0].network = torch.nn.Linear(1, 1)
    with pytest.raises(TeacherError, match="--networks takes teachers of hf-dd, of --architecture"):
        build_objective(options_of(runs[:1], "teachers"), data, pool)
    begun = TeacherPool.from_references([f"{runs[0]}/epoch-0"])
    with pytest.raises(TeacherError, match="there is none before epoch 0. Take a later epoch of it"):
        build_objective(options_of(runs[:1], "between"), digits, begun)
    alone = [str(shutil.copytree(f"{runs[0]}/epoch-2", tmp_path / "alone"))]
    with pytest.raises(TeacherError, match="between two epochs of one run, and only this one is there"):
        build_objective(options_of(alone, "between"), digits, TeacherPool.from_references(alone))


# --- runs


def test_a_run_pins_the_starts_and_says_so(runs, tmp_path, capsys):
    copied = [shutil.copytree(run, tmp_path / f"teacher-{place}") for place, run in enumerate(runs[:2])]
    options = {"networks": "between", "teachers": list(map(str, copied)), "iterations": 6, **SMALL}
    made = distil(tmp_path / "set", **options)
    assert made.record.settings["networks"] == "between"
    assert [(spec["seed"], spec["epoch"]) for spec in made.record.starts] == [(0, 0), (1, 0)]
    card = (tmp_path / "set/README.md").read_text()
    assert "One teacher was drawn per step, and networks between it and an earlier epoch of its training embed" in card
    assert all(start["sha"][:19] in card for start in made.record.starts)
    assert f"--networks between --networks_from {copied[0]}/epoch-0 {copied[1]}/epoch-0" in made.record.command
    again = shutil.move(tmp_path / "set", tmp_path / "other")
    cli.main(["reproduce", str(again), "--output_dir", str(tmp_path / "again")])
    assert json.loads((tmp_path / "again/reproduction.json").read_text())["values"]["equal"]
    weights = copied[0] / "epoch-0/model.safetensors"
    weights.write_bytes((copied[1] / "epoch-0/model.safetensors").read_bytes())
    with pytest.raises(SystemExit):
        cli.main(["reproduce", str(again), "--output_dir", str(tmp_path / "third")])


def test_resumed_is_uninterrupted(runs, tmp_path):
    options = {"networks": "between", "teachers": runs[:2], "save_steps": 3, "iterations": 6} | SMALL
    distil(tmp_path / "whole", **options)
    shutil.copytree(tmp_path / "whole/checkpoints/step-000003", tmp_path / "set/checkpoints/step-000003")
    with pytest.raises(RunError, match="networks: 'between' there, 'random' here"):
        distil(tmp_path / "set", resume_from_checkpoint="latest", **options | {"networks": None, "teachers": []})
    distil(tmp_path / "set", resume_from_checkpoint="latest", **options)
    assert torch.equal(checkpoint_pixels(tmp_path / "set", 6), checkpoint_pixels(tmp_path / "whole", 6))
