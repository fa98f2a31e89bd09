"""SRe2L against its formula: its statistics, augmentation and clipping, in runs and on any number of ranks."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import hf_dd
from hf_dd.config import DataConfig
from hf_dd.data.image_data import load_data
from hf_dd.distillation.checks import preflight
from hf_dd.errors import ConfigError, TeacherError
from hf_dd.nn.crops import draw_boxes
from hf_dd.objectives import build_objective
from hf_dd.synthetic.synthetic_set import SyntheticSet
from hf_dd.teachers.pool import TeacherPool
from tests.factories import (
    NAMES,
    arguments,
    assert_close,
    batch_norm_teacher,
    checkpoint_pixels,
    distil,
    make_config,
    make_data,
    make_set,
    make_step,
    optimise,
    parquet,
    value_and_gradient,
    with_pixels,
)
from tests.oracles import sre2l as sre2l_oracle

pytestmark = pytest.mark.usefixtures("one_thread")


EVERY_AUGMENTATION = ["scale=0.3", "flip=0.5", "jitter=2"]


def make_recovery(data, pool, options=(), **config):
    settings = {"objective": "sre2l", "real_batch_size": None, "teachers": ["passed as a pool"]}
    settings |= {"objective_options": list(options)}
    return build_objective(make_config(**settings | config), data, pool)


def first_losses(objective, step):
    """What it yields, before the step is taken and the pixels are clipped."""
    return next(objective.losses(step))


def oracle_batches(data, ipc, batch):
    """Rows of each batch: the first image of every class, then the second one of every class, …"""
    rows = [[label * ipc + k for label in range(data.num_classes)] for k in range(ipc)]
    if batch < data.num_classes:
        return [row[start : start + batch] for row in rows for start in range(0, len(row), batch)]
    together = batch // data.num_classes
    return [sum(rows[start : start + together], []) for start in range(0, ipc, together)]


def oracle_terms(step, batches, teacher, number, pixels, options=()):
    """The terms of one batch of normalised pixels, with the draws as the reproducibility contract names them."""
    given = {"scale": 1.0, "flip": 0.0, "jitter": 4}
    given |= {name: float(value) for name, value in (option.split("=") for option in options)}
    draws, size = step.generator("augment", number), step.data.image_size
    (box,) = draw_boxes(1, size, draws, scale=(given["scale"], 1.0)).tolist()
    mirrored = float(torch.rand((), generator=draws)) < given["flip"]
    jitter = int(given["jitter"])
    shifts = torch.randint(-jitter, jitter + 1, (2,), generator=draws).tolist()
    own = pixels * step.synthetic.std + step.synthetic.mean
    own = sre2l_oracle.augmented(own, box if given["scale"] < 1 else None, mirrored, shifts)
    return sre2l_oracle.loss(
        list(teacher.network.body),
        teacher.network.classifier,
        (own - 0.4) / 0.3,
        step.synthetic.labels[batches[number]],
        teacher.logit_order(step.data.class_names),
    )


@pytest.mark.parametrize("options", [[], EVERY_AUGMENTATION, ["batch=3"], ["batch=2", "jitter=0"], ["batch=7"]])
@pytest.mark.parametrize("depth", [1, 2])
def test_sre2l_agrees_with_the_papers_formula(options, depth):
    data = make_data(channels=3)
    teacher = batch_norm_teacher(data, class_names=[NAMES[i] for i in (2, 0, 1)], width=4, depth=depth)
    objective = make_recovery(data, TeacherPool([teacher]), options)
    batches = oracle_batches(data, 4, objective.options.batch)
    assert sorted(sum(batches, [])) == list(range(12))
    seen = set()
    for index in range(4):
        step = make_step(make_set(data, ipc=4), data, index, seed=2)
        losses = first_losses(objective, step)
        terms = [
            oracle_terms(step, batches, teacher, number, step.synthetic.pixels[rows], options)
            for number, rows in enumerate(batches)
        ]
        for name, place in (("ce", 0), ("bn", 1)):
            expected = float(sum(term[place] for term in terms).detach())
            assert float(losses[name].detach()) == pytest.approx(expected, rel=1e-9)
        ours = value_and_gradient(sum(losses.values()), step.synthetic.pixels)
        theirs = value_and_gradient(sum(sum(term) for term in terms), step.synthetic.pixels)
        assert_close(ours, theirs, 1e-8)
        seen.add(float(ours[0]))
    assert len(seen) == (1 if "jitter=0" in options else 4)


def test_sre2l_gradient_is_that_of_finite_differences():
    data = make_data((4, 3), size=4)
    teacher = batch_norm_teacher(data, width=2, depth=1, activation="swish")
    synthetic = make_set(data, ipc=2)
    objective = make_recovery(data, TeacherPool([teacher]), ["scale=0.3", "flip=0.5", "jitter=1", "batch=2"])

    def loss(pixels):
        return sum(first_losses(objective, make_step(with_pixels(synthetic, pixels), data)).values())

    assert torch.autograd.gradcheck(loss, (synthetic.pixels.detach().requires_grad_(),))


def test_sre2l_sees_the_decoded_images():
    data = make_data()
    objective = make_recovery(data, TeacherPool([batch_norm_teacher(data)]), EVERY_AUGMENTATION)
    compact = SyntheticSet.initial(data, 1, "real", 3, torch.float64, factor=2)
    ours = sum(first_losses(objective, make_step(compact, data)).values())
    (found,) = torch.autograd.grad(ours, compact.pixels)
    decoded = compact.images()
    other = SyntheticSet(decoded.detach(), data.class_names, data.mean, data.std)
    terms = objective.terms(make_step(other, data), 0, 0, other.own_space(), other.labels)
    assert float(ours.detach()) == pytest.approx(float(sum(terms.values()).detach()), rel=1e-10)
    (gradient,) = torch.autograd.grad(sum(terms.values()), other.pixels)
    (expected,) = torch.autograd.grad(decoded, compact.pixels, gradient)
    assert torch.allclose(found, expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("ranks", [2, 3, 5, 11])
@pytest.mark.parametrize("batch", [2, 4, 100])
def test_sre2l_batches_of_the_ranks_add_up_to_the_single_ranks_loss(ranks, batch):
    data = make_data((4, 9, 6, 7))
    pool = TeacherPool([batch_norm_teacher(data), batch_norm_teacher(data, seed=1)])
    start = make_set(data, ipc=3).pixels.detach()

    def share(rank, ranks):
        objective = make_recovery(data, pool, [*EVERY_AUGMENTATION, f"batch={batch}"])
        synthetic = SyntheticSet(start.clone(), data.class_names, data.mean, data.std)
        step = make_step(synthetic, data, 5, rank=rank, ranks=ranks, sum_over_ranks=None)
        return value_and_gradient(sum(first_losses(objective, step).values()), synthetic.pixels)

    shares = zip(*[share(rank, ranks) for rank in range(ranks)], strict=True)  # none of them waits for another
    assert_close([sum(parts) for parts in shares], share(0, 1), 1e-10)


def test_sre2l_draws_one_teacher_per_step_and_leaves_no_hook_behind():
    data = make_data()
    pool = TeacherPool([batch_norm_teacher(data, seed=seed) for seed in range(3)])
    objective = make_recovery(data, pool)
    alone = [make_recovery(data, TeacherPool([teacher])) for teacher in pool]
    drawn = set()
    for index in range(12):
        step = make_step(make_set(data), data, index, seed=1)
        value = float(sum(first_losses(objective, step).values()).detach())
        values = [float(sum(first_losses(one, step).values()).detach()) for one in alone]
        assert value == values[pool.draw(1, index)] and len(set(values)) == 3
        drawn.add(pool.draw(1, index))
    assert drawn == {0, 1, 2}
    assert not any(module._forward_pre_hooks for teacher in pool for module in teacher.modules())


def test_sre2l_teachers_stay_as_they_are():
    data = make_data()
    teacher = batch_norm_teacher(data)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    optimise(make_recovery(data, TeacherPool([teacher])), make_set(data), data)
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert not any(module.training for module in teacher.modules())


def test_sre2l_neither_reads_nor_changes_the_global_generator_and_no_iteration_depends_on_others():
    data = make_data()
    objective = make_recovery(data, TeacherPool([batch_norm_teacher(data)]), EVERY_AUGMENTATION)
    synthetic, state = make_set(data), torch.get_rng_state()

    def value(objective, index):
        return float(sum(first_losses(objective, make_step(synthetic, data, index)).values()).detach())

    first = [value(objective, index) for index in range(4)]
    assert torch.equal(torch.get_rng_state(), state)
    assert len(set(first)) == 4
    torch.manual_seed(5)
    fresh = make_recovery(data, TeacherPool([batch_norm_teacher(data)]), EVERY_AUGMENTATION)
    assert [value(fresh, index) for index in (3, 0)] == [first[3], first[0]]


def test_sre2l_clips_to_the_valid_range_after_the_step_and_not_before():
    data = make_data(channels=3)
    objective = make_recovery(data, TeacherPool([batch_norm_teacher(data)]))
    synthetic = make_set(data)
    before = synthetic.pixels.detach().clone()
    steps = objective.losses(make_step(synthetic, data))
    next(steps)
    assert torch.equal(synthetic.pixels.detach(), before)
    assert synthetic.own_space().min() < 0 and synthetic.own_space().max() > 1
    assert next(steps, None) is None
    expected = (before * synthetic.std + synthetic.mean).clamp(0, 1)
    assert (synthetic.own_space() - expected).abs().max() < 1e-12


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
    """Folders of two BatchNorm teachers and of one without, of digits."""
    options = {"epochs": 4, "learning_rate": 0.05, "batch_size": 64, "weight_decay": 5e-4}
    options["output_dir"] = str(tmp_path_factory.mktemp("teachers"))
    small = {"architecture_options": ["width=8", "depth=2"]}
    done = hf_dd.pretrain(architectures=["ConvNetBN"], teacher_seeds=[0, 1], **small, **options)
    return [str(path) for path in done + hf_dd.pretrain(architectures=["MLP"], **options)]


RECOVERY = {"objective": "sre2l", "real_batch_size": None, "ipc": 2}


def test_a_whole_run_of_sre2l_is_adams_loop(tmp_path, teachers):
    options = RECOVERY | {"teachers": teachers[:1], "iterations": 6, "dtype": "float64", "save_steps": 1}
    options |= {"objective_options": ["batch=10", *EVERY_AUGMENTATION], "save_total_limit": 100}
    done = distil(tmp_path / "run", **options)
    assert done.record.settings["image_learning_rate"] == 0.25
    assert done.record.settings["init"] == "noise" and done.record.settings["image_optimizer"] == "adam"
    start, end = checkpoint_pixels(tmp_path / "run", 0), checkpoint_pixels(tmp_path / "run", 6)

    data = load_data(DataConfig())
    teacher = TeacherPool.from_references(teachers[:1])[0].double()
    synthetic = SyntheticSet(start.clone(), data.class_names, data.mean, data.std)
    assert torch.equal(start, SyntheticSet.initial(data, 2, "noise", 0, torch.float64).pixels.detach())
    batches = oracle_batches(data, 2, 10)

    def batch_loss(index, number, pixels):
        step = make_step(synthetic, data, index)
        draws = step.generator("augment", number)
        (box,) = draw_boxes(1, data.image_size, draws, scale=(0.3, 1.0)).tolist()
        mirrored = float(torch.rand((), generator=draws)) < 0.5
        shifts = torch.randint(-2, 3, (2,), generator=draws).tolist()
        own = sre2l_oracle.augmented(pixels * synthetic.std + synthetic.mean, box, mirrored, shifts)
        normalised = (own - teacher.mean) / teacher.std
        labels, order = synthetic.labels[batches[number]], list(range(10))
        return sum(
            sre2l_oracle.loss(list(teacher.network.body), teacher.network.classifier, normalised, labels, order)
        )

    low, high = -synthetic.mean / synthetic.std, (1 - synthetic.mean) / synthetic.std
    expected = sre2l_oracle.recover(start, batches, batch_loss, 6, low, high)
    assert (end - expected).abs().max() < 1e-7
    assert (end - start.clamp(low, high)).abs().max() > 0.5


@pytest.mark.parametrize("options", [{}, {"dtype": "float64", "clom": "ce", "clom_alpha": 3.0}])
def test_sre2l_resumed_is_sre2l_uninterrupted(tmp_path, teachers, options):
    options = RECOVERY | options | {"teachers": teachers[:2], "iterations": 6, "save_steps": 1}
    options |= {"save_total_limit": 100, "objective_options": EVERY_AUGMENTATION}
    distil(tmp_path / "whole", **options)
    for step in (0, 1, 4):
        path = tmp_path / f"whole/checkpoints/step-{step:06d}"
        distil(tmp_path / f"from-{step}", **options, resume_from_checkpoint=str(path))
        assert parquet(tmp_path / f"from-{step}") == parquet(tmp_path / "whole")


def test_sre2l_in_bf16_is_the_same_but_for_its_precision(tmp_path, teachers, bf16):
    options = RECOVERY | {"teachers": teachers[:1], "iterations": 1}
    losses = [
        distil(tmp_path / precision, **options, mixed_precision=precision).record.run["losses"]
        for precision in ("no", "bf16")
    ]
    assert losses[0] != losses[1]
    for name in ("ce", "bn"):
        assert losses[1][name] == pytest.approx(losses[0][name], rel=0.03)


def test_sre2l_brings_its_loss_down(tmp_path, teachers):
    options = RECOVERY | {"teachers": teachers[:1], "iterations": 80, "objective_options": ["jitter=1"]}
    done = distil(tmp_path, **options)
    tensors = load_file(tmp_path / "checkpoints/step-000080/tensors.safetensors")
    assert {"pixels", "optimizer.pixels.exp_avg", "optimizer.pixels.step"} <= tensors.keys()
    assert done.record.run["losses"]["ce"] < 0.5  # chance is 2.3


def test_sre2l_refuses_a_teacher_without_batch_norm_by_name_before_any_training(tmp_path, teachers):
    with pytest.raises(TeacherError, match=r"--objective sre2l .*digits-mlp-seed0.* \(MLP\) has none: .*ConvNetBN"):
        distil(tmp_path / "run", **RECOVERY, teachers=teachers[1:])
    assert not (tmp_path / "run").exists()


def test_sre2l_refuses_another_label_space():
    data = make_data()
    teacher = batch_norm_teacher(data, class_names=["cat", "dog", "horse"])
    with pytest.raises(TeacherError, match=r"ConvNetBN-0@final.*lacks bird and has horse besides"):
        make_recovery(data, TeacherPool([teacher]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"teachers": []}, "--objective sre2l needs teachers: give --teachers, --teacher_tags or --teacher_pool"),
        ({"real_batch_size": 4}, "--real_batch_size has no meaning for --objective sre2l"),
        ({"image_momentum": 0.5}, "--image_momentum has no meaning for --objective sre2l"),
        ({"objective_options": ["batch=0"]}, "--objective_options batch is 0; it has to be at least 1"),
        ({"objective_options": ["flip=2"]}, "--objective_options flip is 2.0; it has to be at least 0 and at most 1"),
        (
            {"objective_options": ["scale=0"]},
            "--objective_options scale is 0.0; it has to be at least 0.001 and at most 1",
        ),
        ({"objective_options": ["jitter=x"]}, "--objective_options jitter is 'x'; it has to be a whole number"),
        ({"objective_options": ["crops=5"]}, "--objective_options: sre2l has no 'crops'"),
        ({"objective": "rded", "objective_options": ["tiles=0"]}, "--objective_options tiles is 0; .* at least 1"),
        ({"objective": "rded", "objective_options": ["scale=1.5"]}, "--objective_options scale is 1.5; .* at most 1"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    given = {"objective": "sre2l", "real_batch_size": None, "teachers": ["some/teacher"]}
    with pytest.raises(ConfigError, match=message):
        preflight(make_config(**given | options))


@pytest.mark.multi_process
def test_two_processes_give_what_one_does(tmp_path, teachers, ranks_of):
    double = {"dtype": "float64", "real_batch_size": None, "save_steps": 100}
    options = {
        "sre2l": double | {"objective": "sre2l", "teachers": teachers[:2], "ipc": 2, "iterations": 10},
        "rded": double | {"objective": "rded", "teachers": teachers, "ipc": 3, "iterations": None},
    }
    options["sre2l"] |= {"objective_options": ["batch=10", *EVERY_AUGMENTATION]}
    entries = []
    for name, chosen in options.items():
        distil(tmp_path / "one" / name, **chosen)
        words = {key: value for key, value in chosen.items() if value is not None}
        two = list(map(str, arguments(tmp_path / "two" / name, **words)))
        for left_out in [key for key, value in chosen.items() if value is None]:
            if f"--{left_out}" in two:
                place = two.index(f"--{left_out}")
                del two[place : place + 2]
        entries.append({"arguments": two})
    (tmp_path / "runs.json").write_text(json.dumps(entries))
    ranks_of(Path(__file__).parents[1] / "distill_each.py", tmp_path / "runs.json")
    for name, step in (("sre2l", 10), ("rded", 0)):
        one, two = (checkpoint_pixels(tmp_path / ranks / name, step) for ranks in ("one", "two"))
        assert (one - two).abs().max() < 1e-9 and one.std() > 0.1
        record = json.loads((tmp_path / "two" / name / "hf_dd.json").read_text())
        assert record["run"]["hardware"].endswith(", 2 processes of 1 thread")
