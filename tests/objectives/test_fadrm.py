"""FADRM: SRe2L's loss, with residuals of the start between stages, and Adam anew in each."""

import shutil

import pytest
import torch

import hf_dd
from hf_dd.distillation.optimisers import Learned
from hf_dd.objectives import OBJECTIVES, build_objective
from hf_dd.objectives.fadrm import ResidualSet
from hf_dd.teachers.pool import TeacherPool
from tests.factories import (
    assert_close,
    batch_norm_teacher,
    checkpoint_pixels,
    distil,
    make_config,
    make_data,
    make_set,
    make_step,
    value_and_gradient,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def objective_of(name, data, *own, **options):
    given = {"objective": name, "teachers": ["passed as a pool"], "objective_options": own, "real_batch_size": None}
    return build_objective(make_config(**given | options), data, TeacherPool([batch_norm_teacher(data)]))


def test_the_loss_is_sre2ls_with_other_defaults():
    data = make_data()
    recovery = objective_of("sre2l", data, "scale=0.08", "flip=0.5")
    residual, found = objective_of("fadrm", data), []
    for objective in (recovery, residual):
        step = make_step(make_set(data), data, 3)
        found.append(value_and_gradient(sum(next(objective.losses(step)).values()), step.synthetic.pixels))
    assert_close(*found, 1e-12)
    settings = OBJECTIVES["fadrm"].published.filled_in(make_config(objective="fadrm", real_batch_size=None))
    names = ("iterations", "image_learning_rate", "image_optimizer", "image_schedule", "init")
    assert [settings[name] for name in names] == [2000, 0.25, "adam", "cosine", "rded"]
    assert OBJECTIVES["fadrm"].published.betas == (0.5, 0.9)


@pytest.mark.parametrize(
    ("iterations", "own", "at"),
    [(2000, [], {500, 1000, 1500}), (10, [], {2, 5, 8}), (10, ["stages=1"], set()), (2, ["stages=4"], {1, 2} - {2})],
)
def test_images_come_back_to_their_patches_between_stages_and_not_after_the_last(iterations, own, at):
    data = make_data()
    synthetic = objective_of("fadrm", data, *own, iterations=iterations).parameterise(make_set(data))
    assert isinstance(synthetic, ResidualSet) and {each for each in synthetic.at if each < iterations} == at
    patches = make_set(data).pixels.detach()
    with torch.no_grad():
        synthetic.pixels.add_(1.0)
    for index in range(iterations) if iterations < 20 else sorted(at):
        expected = synthetic.pixels.detach().clone()
        expected = 0.5 * expected + 0.5 * patches if index in at else expected
        assert synthetic.begin(index) == (index in at)
        torch.testing.assert_close(synthetic.pixels.detach(), expected, rtol=0, atol=1e-12)


def test_adam_begins_anew_with_each_stage():
    data = make_data()
    synthetic = ResidualSet(make_set(data), {2}, 0.7)
    settings = {"iterations": 4, "image_schedule": "cosine", "image_learning_rate": 0.1, "image_momentum": None}
    learned = Learned(synthetic, {}, settings | {"image_optimizer": "adam"}, (0.5, 0.9), {})
    steps, start = [], make_set(data).pixels.detach()
    for index in range(4):
        before = synthetic.pixels.detach().clone()
        learned.begin(index)
        if index == 2:
            assert torch.allclose(synthetic.pixels, 0.7 * before + 0.3 * start, rtol=0, atol=1e-12)
        synthetic.pixels.grad = torch.ones_like(synthetic.pixels)
        learned.step()
        steps.append(float(learned.optimizers["pixels"].state["step"]))
    assert steps == [1, 2, 1, 2]


@pytest.mark.parametrize("guide", [{}, {"clom": "ce", "clom_alpha": "auto"}])
def test_resumed_across_a_stage_is_uninterrupted(tmp_path, guide):
    shape = {"architecture_options": ["width=8", "depth=1"]}
    (teacher,) = hf_dd.pretrain(architectures=["ConvNetBN"], epochs=1, output_dir=str(tmp_path / "t"), **shape)
    options = {"objective": "fadrm", "teachers": [str(teacher)], "real_batch_size": None, "iterations": 8}
    options |= {"save_steps": 1, "save_total_limit": 10, "architecture_options": []} | guide
    whole = distil(tmp_path / "whole", **options)
    assert ("clom" in whole.record.run["losses"]) == bool(guide)
    for step in (3, 4):
        folder = tmp_path / f"from-{step}"
        shutil.copytree(tmp_path / f"whole/checkpoints/step-{step:06d}", folder / f"checkpoints/step-{step:06d}")
        distil(folder, resume_from_checkpoint="latest", **options)
        assert torch.equal(checkpoint_pixels(folder, 8), checkpoint_pixels(tmp_path / "whole", 8))
