"""A module of the user's own as a teacher: what is stated, what is checked, what a card says of it."""

import json

import pytest
import torch
from torch import nn

import hf_dd
from hf_dd.errors import ConfigError, TeacherError
from hf_dd.teachers import pins
from hf_dd.teachers.feature_cache import FeatureMemory
from hf_dd.teachers.pool import TeacherPool
from tests.factories import assert_clean, distil

FORM = {
    "image_size": 8,
    "channels": 1,
    "mean": [0.3],
    "std": [0.25],
    "class_names": [str(digit) for digit in range(10)],
}


def network(seed=0, classes=10):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, classes))


class WithFeatures(nn.Module):
    """Whose classifier is no linear layer."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Conv2d(1, 3, 8), nn.Conv2d(3, 10, 1)

    def features(self, images):
        return self.body(images)

    def forward(self, images):
        return self.head(self.features(images)).flatten(1)


def teacher_of(module=None, name="mine", **form):
    return hf_dd.Teacher.from_module(network() if module is None else module, name=name, **FORM | form)


def test_its_images_are_normalised_and_its_features_are_what_the_last_linear_layer_gets():
    module = network().eval()
    teacher = teacher_of(module)
    images = torch.rand(5, 1, 8, 8)
    torch.testing.assert_close(teacher(images), module((images - 0.3) / 0.25))
    torch.testing.assert_close(teacher.features(images), module[:4]((images - 0.3) / 0.25))
    assert teacher(torch.rand(2, 3, 20, 16)).shape == (2, 10)  # other images are brought to its form
    images.requires_grad_()
    (gradient,) = torch.autograd.grad(teacher.features(images).sum(), images)
    assert gradient.abs().sum() > 0
    assert not module[1]._forward_pre_hooks and not teacher.network.module[4]._forward_pre_hooks


def test_its_own_method_gives_its_features():
    module = WithFeatures()
    images = torch.rand(4, 1, 8, 8)
    torch.testing.assert_close(teacher_of(module).features(images), module.body((images - 0.3) / 0.25).flatten(1))


def test_it_is_a_frozen_copy():
    module = network()
    teacher = teacher_of(module)
    before = teacher(torch.ones(1, 1, 8, 8))
    sha = teacher.spec.sha
    assert module.training and all(parameter.requires_grad for parameter in module.parameters())
    assert not any(parameter.requires_grad for parameter in teacher.parameters()) and not teacher.network.training
    with torch.no_grad():
        module[4].bias.add_(1)  # training goes on
    assert torch.equal(teacher(torch.ones(1, 1, 8, 8)), before)
    assert teacher_of(network()).spec.sha == sha != teacher_of(module).spec.sha
    assert len(sha) == len("sha256:") + 64 and teacher.spec.repo_id == "memory:mine"
    assert teacher_of(network().bfloat16()).spec.sha != sha


def test_it_says_what_it_is():
    text = repr(teacher_of())
    assert text.startswith("Teacher memory:mine@in-memory (") and "\n" not in text
    assert text.endswith("Sequential of torch, 10 classes, images of 8×8 pixels, 1 channel")


@pytest.mark.parametrize(
    ("module", "form", "words"),
    [
        (
            None,
            {"image_size": 9},
            "can't take an image of \\[1, 1, 9, 9\\], as what makes its images says: RuntimeErr",
        ),
        (None, {"channels": 3}, "mean \\(0.3,\\) and std \\(0.25,\\) have to be a number for each of 3 channels"),
        (None, {"channels": 2}, "1 or 3 channels"),
        (None, {"std": [0.0]}, "A std is above 0"),
        (None, {"mean": [76.5], "std": [63.75]}, "those of images in \\[0, 1\\] space: divide them by 255"),
        (None, {"std": [1e-45]}, "aren't finite"),
        (None, {"class_names": ["cat", "dog"]}, "logits of \\[1, 10\\] .* not \\[1, 2\\]"),
        (nn.Conv2d(1, 10, 8), {}, "logits of|neither a method `features` nor a linear layer"),
        (nn.Sequential(nn.Conv2d(1, 10, 8), nn.Flatten()), {}, "neither a method `features` nor a linear layer"),
        (None, {"mean": None}, "mean has to be a number for each channel of its images, not None"),
        (None, {"std": "0.5"}, "std has to be a number for each channel of its images, not '0.5'"),
        (None, {"mean": ["a"]}, "mean has to be a number for each channel of its images, not \\['a'\\]"),
        (None, {"image_size": 8.0}, "1 or 3 channels and a size in pixels, not 1 and 8.0"),
        (None, {"image_size": (8, "8")}, "1 or 3 channels and a size in pixels"),
        (None, {"image_size": "88"}, "1 or 3 channels and a size in pixels"),
        (nn.Flatten(), {}, "it has no weights"),
        (None, {"class_names": "0123456789"}, "class_names has to be a list of names, not '0123456789'"),
        (None, {"class_names": 10}, "class_names has to be a list of names, not 10"),
        (len, {}, "it is no nn.Module, but builtin_function_or_method"),
    ],
)
def test_what_does_not_fit_is_one_error_at_the_call(module, form, words):
    with pytest.raises(TeacherError, match=f"Teacher mine: .*({words})"):
        teacher_of(module, **form)


def test_a_distillation_with_one_and_its_card(tmp_path):
    pool = hf_dd.TeacherPool([teacher_of(), teacher_of(network(1), name="other")])
    folder = tmp_path / "set"
    made = distil(folder, pool=pool, clom="ce", iterations=2)
    record = json.loads((folder / "hf_dd.json").read_text())
    assert record["command"] == "" and record["settings"]["teachers"] == ["memory:mine", "memory:other"]
    assert [teacher["sha"] for teacher in record["teachers"]] == [spec.sha for spec in pool.specs]
    card = (folder / "README.md").read_text()
    assert_clean(card)
    assert "No command repeats this: the teacher `mine` (weights `sha256:" in card
    assert (
        ") and the teacher `other` (weights `sha256:" in card and "were objects in memory, which no reference" in card
    )
    assert f"| memory:mine | in-memory | in memory, weights `{pool.specs[0].sha[:19]}` | Sequential (torch) |" in card
    assert "hf-dd distill" not in card
    assert made.record.plugins == {}


class WithoutGradient(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = network()

    @torch.no_grad()
    def forward(self, images):
        return self.body(images)


@pytest.mark.parametrize(
    "guided", [{"clom": "ce"}, {"clom": "cos"}, {"objective": "lgm"}, {"objective": "cim", "ipc": 4}], ids=str
)
def test_one_without_a_gradient_guides_nothing_and_gives_labels(guided, tmp_path):
    pool = hf_dd.TeacherPool([teacher_of(WithoutGradient())])
    options = {"iterations": 1, "real_batch_size": None, "architecture_options": []} if "objective" in guided else {}
    with pytest.raises(TeacherError, match="memory:mine.* lets no gradient through to the images"):
        distil(tmp_path / "set", pool=pool, **guided | options)
    labelled = {"objective": "random", "soft_labels": "mean", "iterations": None, "real_batch_size": None}
    distil(tmp_path / "labelled", pool=pool, **labelled | {"architecture_options": []})


def test_nobody_else_can_load_it(tmp_path):
    folder = tmp_path / "set"
    distil(folder, pool=hf_dd.TeacherPool([teacher_of()]), soft_labels="mean", iterations=1)
    with pytest.raises(TeacherError, match="memory:mine.* was a module in memory: nothing else names it"):
        TeacherPool.from_lock(str(folder))
    with pytest.raises(TeacherError, match="memory:mine was a module in memory, which no reference names"):
        TeacherPool.from_references("memory:mine")
    (pin,) = pins.read(str(folder)).pins
    assert pin.repo_id == "memory:mine"
    options = {"eval_protocol": "soft-label-online", "eval_students": 1, "clom": "ce", "overwrite_output_dir": True}
    with pytest.raises(ConfigError, match="soft-label-online loads the teachers from where they lie"):
        distil(folder, pool=hf_dd.TeacherPool([teacher_of()]), **options)


def test_what_it_makes_of_the_images_is_kept_on_no_disk(nothing_remembered, seen):
    from hf_dd.core.processes import new_accelerator
    from hf_dd.data.image_data import load_data

    data = load_data("digits")
    for _ in range(2):  # its code may be another by then, with the same weights
        FeatureMemory(data, "float32", new_accelerator("no")).features(teacher_of())
    assert seen[0] >= 2 * len(data.train)
