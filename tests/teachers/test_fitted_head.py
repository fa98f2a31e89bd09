"""Fitted heads: what they are, that they are fitted once, and what a teacher of other classes can do with one."""

import dataclasses
import json
import shutil
from pathlib import Path

import datasets
import pytest
import torch
import transformers
from huggingface_hub import DatasetCard
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

import hf_dd
from hf_dd import cli
from hf_dd.artefacts.distilled_folder import load_distilled
from hf_dd.config import DataConfig, DistillConfig
from hf_dd.core import cache
from hf_dd.core.processes import new_accelerator
from hf_dd.core.seeding import generator
from hf_dd.data.held_out import validation_rows
from hf_dd.data.image_data import load_data
from hf_dd.distillation.checks import preflight
from hf_dd.errors import ConfigError, DataError, TeacherError
from hf_dd.synthetic.distilled_set import to_pil
from hf_dd.teachers import fitted_head
from hf_dd.teachers.feature_cache import FeatureMemory
from hf_dd.teachers.pool import TeacherPool
from hf_dd.teachers.teacher import Teacher
from tests.factories import CLIP_VISION, local_teacher, save_transformers, vit_processor

pytestmark = pytest.mark.usefixtures("one_thread", "nothing_remembered")

OPTIONS = {"ipc": 1, "iterations": 3, "real_batch_size": 4, "architecture_options": ["width=8"], "eval_students": 0}
STUDENTS = {"eval_architectures": ["MLP"], "eval_epochs": [2], "eval_students": 1, "eval_copies": ["float"]}


@pytest.fixture(scope="module")
def digits():
    return load_data(DataConfig())


@pytest.fixture(scope="module")
def others(tmp_path_factory, digits, tiny_teachers):
    """Teachers that don't know the ten digits by their names: renamed ones, one of five of them, an untrained one."""
    root = tmp_path_factory.mktemp("others")
    shutil.copytree(tiny_teachers.folders[0] / "epoch-2", root / "renamed")
    config = json.loads((root / "renamed/config.json").read_text())
    (root / "renamed/config.json").write_text(json.dumps(config | {"class_names": [f"no {i}" for i in range(10)]}))
    local_teacher(root / "untrained", digits, width=64, class_names=["a"] * 10)
    few = (digits.train.labels < 5).nonzero().flatten()
    rows = {"image": [to_pil(digits.train.images[i]) for i in few], "label": digits.train.labels[few].tolist()}
    names = datasets.ClassLabel(names=[f"{i}" for i in range(5)])
    features = datasets.Features({"image": datasets.Image(), "label": names})
    splits = datasets.Dataset.from_dict(rows, features=features).train_test_split(0.1, seed=0)
    splits.save_to_disk(root / "five-digits")
    (made,) = hf_dd.pretrain(
        dataset=str(root / "five-digits"),
        architectures=["ConvNet"],
        architecture_options=["width=16", "depth=2"],
        epochs=2,
        batch_size=64,
        learning_rate=0.05,
        output_dir=str(root / "teachers"),
    )
    return {"renamed": str(root / "renamed"), "untrained": str(root / "untrained"), "fewer": str(made)}


def distil(folder, **options):
    return hf_dd.distill(**OPTIONS | {"fit_head": True, "output_dir": str(folder)} | options)


def fit(reference, data, seed=0):
    pool = TeacherPool.from_references([reference])
    fitted_head.fit_heads(pool, FeatureMemory(data, "float32", new_accelerator("no")), seed)
    return pool[0]


# --- the fit


@pytest.mark.parametrize("classes", [2, 7])
def test_a_head_is_scikit_learns_logistic_regression(classes):
    draws = generator(0, "features", classes)
    labels = torch.randint(classes, (300,), generator=draws)
    features = torch.randn(300, 12, generator=draws, dtype=torch.float64) * torch.logspace(-3, 3, 12) + 5
    features[:, :3] += torch.nn.functional.one_hot(labels % 3, 3) * features.std(0)[:3]
    features[:, 11] = 4.0  # a feature that never changes
    weight, bias = fitted_head.logistic_regression(features, labels, classes)
    scaler = StandardScaler().fit(features)
    strength = 2.0 if classes == 2 else 1.0  # its binary form has one row: the difference of two of half the length
    theirs = LogisticRegression(C=strength, tol=1e-8, max_iter=2_000).fit(scaler.transform(features), labels)
    expected = torch.tensor(theirs.predict_log_proba(scaler.transform(features)))
    ours = (features @ weight.T + bias).log_softmax(1)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-3)
    assert weight.shape == (classes, 12) and bias.shape == (classes,) and not weight.requires_grad


@pytest.mark.parametrize("kind, floor", [("renamed", 0.85), ("fewer", 0.85), ("untrained", 0.75)])
def test_a_teacher_of_other_classes_comes_to_know_the_data_sets_own(others, digits, kind, floor):
    with pytest.raises(TeacherError, match="aren't the data set's.*--fit_head"):
        TeacherPool.from_references([others[kind]])[0].logit_order(digits.class_names)
    teacher = fit(others[kind], digits)
    assert teacher.logit_order(digits.class_names) == list(range(10))
    about, held_out = teacher.spec.head, validation_rows(digits, 0)
    assert about["accuracy"] >= floor
    with torch.no_grad():
        found = teacher(digits.train.images[held_out].float() / 255).argmax(1)
    assert about["accuracy"] == pytest.approx((found == digits.train.labels[held_out]).double().mean().item())
    assert (about["held_out"], about["images"]) == (len(held_out), len(digits.train) - len(held_out))
    assert (about["data"], about["fingerprint"], about["seed"]) == ("digits", digits.fingerprint, 0)
    with torch.no_grad():  # nobody has looked at these
        unseen = (teacher(digits.test.images.float() / 255).argmax(1) == digits.test.labels).double().mean()
    assert unseen > floor - 0.05


def test_test_images_have_no_part_in_a_head(others, digits):
    first = fit(others["renamed"], dataclasses.replace(digits, test=None))
    shutil.rmtree(cache.folder() / "heads")
    second = fit(others["renamed"], digits)
    assert torch.equal(first.head.weight, second.head.weight) and first.spec == second.spec


def test_a_head_is_fitted_once_for_each_seed_and_its_features_once_for_all(others, digits, seen, monkeypatch):
    first = fit(others["renamed"], digits)
    assert seen[0] == len(digits.train) + 1
    other = fit(others["renamed"], digits, seed=1)
    assert seen[0] == len(digits.train) + 1  # another tenth of the same features is held out
    assert (first.head.weight - other.head.weight).abs().max() > 1e-3
    monkeypatch.setattr(fitted_head, "logistic_regression", None)
    again = fit(others["renamed"], digits)
    assert torch.equal(again.head.weight, first.head.weight) and torch.equal(again.head.bias, first.head.bias)
    assert again.spec == first.spec


def test_a_head_is_of_the_networks_precision_and_draws_nothing(others, digits):
    pool, before = TeacherPool.from_references([others["untrained"]]), torch.get_rng_state()
    fitted_head.fit_heads(pool, FeatureMemory(digits, "float64", new_accelerator("no")), 0)
    teacher = pool[0]
    assert teacher.head.weight.dtype == torch.float64 and torch.equal(torch.get_rng_state(), before)
    image = digits.train.images[:2].double() / 255
    image.requires_grad_()
    (gradient,) = torch.autograd.grad(teacher(image).square().sum(), image)
    assert gradient.abs().sum() > 0 and not any(p.requires_grad for p in teacher.parameters())
    own = sum(value.numel() * value.element_size() for value in teacher.network.state_dict().values())
    assert teacher.bytes == own + 8 * 10 * (64 + 1)


def test_features_that_are_no_numbers_are_refused(others, digits, monkeypatch):
    monkeypatch.setattr(Teacher, "features", lambda self, images: images.flatten(1) * float("nan"))
    with pytest.raises(TeacherError, match="features that are no finite numbers"):
        fit(others["renamed"], digits)


# --- in a distillation


def test_only_teachers_of_other_classes_get_a_head_and_record_and_card_say_so(others, tiny_teachers, tmp_path):
    references = [others["renamed"], tiny_teachers.references[1], others["untrained"]]
    made = distil(tmp_path / "set", clom="ce", teachers=references, seed=3)
    first, own, last = (teacher["head"] for teacher in made.record.teachers)
    assert own is None and first["accuracy"] > 0.85 and last["seed"] == 3
    assert first["method"] == fitted_head.METHOD and first["images"] + first["held_out"] == 1438
    card = DatasetCard.load(tmp_path / "set/README.md")
    assert [teacher.get("head") for teacher in card.data["distillation"]["teachers"]] == [first, None, last]
    assert json.loads((tmp_path / "set/pool.json").read_text())["teachers"] == made.record.teachers
    lines = [line for line in card.text.splitlines() if line.startswith("The head of ")]
    assert len(lines) == 2 and lines[0].startswith(f"The head of {others['renamed']}@renamed is not its own")
    accuracy = f"is right on {100 * first['accuracy']:.2f} % of 143 others"
    for words in (accuracy, "1295 training images of digits", fitted_head.METHOD, "(seed 3)"):
        assert words in lines[0]
    assert "--fit_head True" in card.text
    plain = distil(tmp_path / "plain", clom="ce", teachers=tiny_teachers.references[1:2], fit_head=False)
    assert "The head of" not in (tmp_path / "plain/README.md").read_text()
    known = distil(tmp_path / "known", clom="ce", teachers=tiny_teachers.references[1:2])
    assert known.load()["pixel_values"] == plain.load()["pixel_values"]


@pytest.mark.parametrize("again", [{}, {"teachers_in_memory": 1}])
def test_the_same_pixels_each_time_whatever_is_in_memory(others, tmp_path, again):
    options = {"clom": "ce", "teachers": [others["renamed"], others["untrained"]], "clom_pool": "mean-loss"}
    first = distil(tmp_path / "first", **options)
    second = distil(tmp_path / "second", **options | again)
    assert first.load()["pixel_values"] == second.load()["pixel_values"]
    assert first.record.teachers == second.record.teachers


def test_a_tower_without_a_head_guides_by_classes(tmp_path):
    torch.manual_seed(0)
    tower = transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**CLIP_VISION))
    save_transformers(tmp_path / "tower", tower, vit_processor())
    options = {"clom": "ce", "teachers": [str(tmp_path / "tower")]}
    with pytest.raises(TeacherError, match="no logits of named classes.*--fit_head"):
        distil(tmp_path / "refused", fit_head=False, **options)
    made = distil(tmp_path / "set", **options)
    assert made.record.teachers[0]["head"]["accuracy"] > 0.5  # 16 features of a network that was never trained
    assert made.record.run["losses"]["clom"] > 0


@pytest.mark.parametrize("objective", ["rded", "teacher-score", "sre2l"])
def test_what_reads_logits_takes_a_fitted_head(others, digits, tmp_path, objective):
    teacher = others["renamed"]
    if objective == "sre2l":
        options = {"architectures": ["ConvNetBN"], "architecture_options": ["width=8", "depth=1"], "epochs": 1}
        (folder,) = hf_dd.pretrain(output_dir=str(tmp_path / "teachers"), **options)
        config = json.loads((folder / "epoch-1/config.json").read_text())
        teacher = str(folder / "epoch-1")
        Path(teacher, "config.json").write_text(json.dumps(config | {"class_names": list("abcdefghij")}))
    options = {"objective": objective, "teachers": [teacher], "real_batch_size": None}
    options["iterations"] = 2 if objective == "sre2l" else None
    with pytest.raises(TeacherError, match="--fit_head"):
        distil(tmp_path / "refused", fit_head=False, **options)
    assert distil(tmp_path / "set", **options).record.teachers[0]["head"]["accuracy"] > 0.6


def test_soft_labels_and_students_that_are_taught_online_by_a_fitted_head(others, tmp_path, seen, monkeypatch):
    teachers = {"teachers": [others["renamed"]], "objective": "random", "real_batch_size": None, "iterations": None}
    made = distil(tmp_path / "set", soft_labels="mean", ipc=3, **teachers)
    said = torch.tensor(made.load()["soft_label"][:])
    labels = torch.tensor(made.load()["label"][:])
    assert (said.argmax(1) == labels).double().mean() > 0.8
    monkeypatch.setattr(fitted_head, "logistic_regression", None)  # what teaches is remembered
    online = {"sets": [str(made.folder)], "eval_protocol": "soft-label-online", "baselines": [], **STUDENTS}
    results = hf_dd.evaluate(output_dir=str(tmp_path / "results"), **online)
    assert results.teachers[0]["head"] == made.record.teachers[0]["head"]
    own = Path(made.folder, "hf_dd.json")
    record = json.loads(own.read_text())
    record["teachers"][0]["head"]["fingerprint"] = "f" * 32
    own.write_text(json.dumps(record))
    with pytest.raises(DataError, match="heads fitted on digits, and the evaluation is on other.*--dataset"):
        hf_dd.evaluate(output_dir=str(tmp_path / "other"), **online)
    assert load_distilled(str(made.folder))[2]["teachers"][0]["head"]["fingerprint"] == "f" * 32


def test_students_of_a_distillation_are_taught_by_its_heads(others, tmp_path):
    online = STUDENTS | {"eval_protocol": "soft-label-online"}
    del online["eval_copies"]
    options = {"objective": "random", "real_batch_size": None, "iterations": None, "teachers": [others["renamed"]]}
    made = distil(tmp_path / "set", **options, **online)
    head = made.record.results["teachers"][0]["head"]
    assert head == made.record.teachers[0]["head"]
    assert f", a fitted head of {100 * head['accuracy']:.2f} %, " in (tmp_path / "set/README.md").read_text()
    other = hf_dd.evaluate(
        sets=[str(made.folder)], eval_teachers=[], output_dir=str(tmp_path / "again"), baselines=[], **online
    )
    assert other.rows[0].scores == tuple(made.record.results["rows"][0]["scores"])


# --- where it makes no sense


def test_without_teachers_it_is_one_clear_error(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["distill", "--fit_head"])
    assert end.value.code == (
        "hf-dd: error: --fit_head needs teachers: give --teachers, --teacher_tags or --teacher_pool."
    )


@pytest.mark.parametrize(
    "options, allowed",
    [
        ({"clom": "cos"}, False),
        ({"objective": "lgm"}, False),
        ({"clom": "cos", "eval_protocol": "soft-label-online", "eval_teachers": ["c/d"]}, False),
        ({"clom": "cos", "eval_protocol": "soft-label-online", "eval_students": 0}, False),
        ({"clom": "cos", "eval_protocol": "soft-label-online"}, True),
        ({"clom": "cos", "soft_labels": "mean"}, True),
        ({"clom": "ce"}, True),
        ({"objective": "rded"}, True),
        ({"objective": "sre2l"}, True),
        ({"init": "teacher-score"}, True),
    ],
)
def test_a_head_that_nobody_reads_is_refused(options, allowed):
    config = DistillConfig(teachers=["a/b"], fit_head=True, **options)
    if allowed:
        preflight(config)
        return
    with pytest.raises(ConfigError, match="--fit_head has no effect, as nothing reads .* logits.*--clom ce"):
        preflight(config)
