"""ZCA whitening against its definition, and wherever it has to travel: sets, teachers, evaluations, other machines."""

import dataclasses
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import hf_dd
from hf_dd.artefacts.distilled_folder import Artefact, load_distilled
from hf_dd.config import DataConfig, DistillConfig
from hf_dd.core import cache
from hf_dd.core.layout import WHITENING
from hf_dd.data.image_data import load_data
from hf_dd.data.whitening import fit, fitted, moments
from hf_dd.errors import ConfigError, DataError, RunError, TeacherError
from hf_dd.nn.whitening import Whitening
from hf_dd.runs.evaluate import evaluate_sets
from hf_dd.synthetic.synthetic_set import SyntheticSet
from hf_dd.teachers.locating import load_teacher, locate
from tests.factories import make_data
from tests.oracles import whitening as oracle

SMALL = {"architecture_options": ["width=8", "depth=1"]}
TRAINED = {"epochs": 2, "batch_size": 256, "learning_rate": 0.05, "keep_epochs": [0, 1, 2], **SMALL}


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


@pytest.fixture(scope="module")
def whitened():
    return load_data(DataConfig(zca=True))


@pytest.fixture(scope="module")
def experts(tmp_path_factory):
    """The folder of a whitened trajectory of digits, and of a plain one."""
    root = tmp_path_factory.mktemp("experts")
    return [
        hf_dd.pretrain(dataset="digits", output_dir=str(root / str(zca)), zca=zca, **TRAINED)[0]
        for zca in (True, None)
    ]


@pytest.fixture(scope="module")
def distilled(tmp_path_factory, experts):
    """A set of digits that trajectory matching made of whitened images, evaluated."""
    return hf_dd.distill(
        dataset="digits",
        zca=True,
        objective="mtt",
        experts=[str(experts[0])],
        objective_options=["student_steps=2", "expert_epochs=1", "max_start_epoch=2"],
        image_learning_rate=1.0,
        iterations=2,
        ipc=1,
        eval_students=1,
        eval_epochs=[2],
        eval_copies=["float"],
        baselines=["random"],
        eval_augment="none",
        output_dir=str(tmp_path_factory.mktemp("distilled") / "set"),
        **SMALL,
    )


def test_it_is_what_the_definition_says():
    data = make_data((30, 25, 20), channels=3, size=5)
    mean, matrix = fit(data.train.images, 0.1)
    images = data.train.images.double() / 255
    expected = oracle.zca(images)
    torch.testing.assert_close(mean, expected[0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(matrix, expected[1], rtol=1e-9, atol=1e-9)
    white = fitted(data.train.images, "random", "0" * 32)
    torch.testing.assert_close(
        white.whiten(images).flatten(1), (images.flatten(1) - expected[0]) @ expected[1], rtol=1e-5, atol=1e-5
    )
    torch.testing.assert_close(
        white.colour(images).flatten(1), images.flatten(1) @ expected[2] + expected[0], rtol=1e-5, atol=1e-5
    )
    torch.testing.assert_close(white.colour(white.whiten(images)), images, rtol=1e-9, atol=1e-9)


def test_whitened_pixels_hardly_vary_together(digits, whitened):
    rows = whitened.normalise(whitened.train.images).flatten(1).double()
    covariance = torch.cov(rows.T)
    plain = torch.cov((digits.train.images.flatten(1).double() / 255).T)
    share = torch.linalg.eigvalsh(plain)
    torch.testing.assert_close(torch.linalg.eigvalsh(covariance), share / (share + 0.1), rtol=1e-4, atol=1e-5)
    assert rows.mean(0).abs().max() < 1e-6


def test_the_covariance_is_the_same_in_any_order():
    images = make_data((300, 200), size=4).train.images
    shuffled = images[torch.randperm(len(images))]
    for ours, theirs in zip(moments(images), moments(shuffled), strict=True):
        assert torch.equal(ours, theirs)


def test_it_is_differentiable_and_autocast_leaves_it_alone(whitened):
    images = torch.rand(2, 1, 8, 8, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        seen = whitened.normalise(images)
    assert seen.dtype == torch.float32 and torch.equal(seen, whitened.normalise(images))
    (gradient,) = torch.autograd.grad(seen.sum(), images)
    expected = whitened.whitening.matrix.sum(1).view(1, 1, 8, 8).expand(2, -1, -1, -1)
    torch.testing.assert_close(gradient, expected)


def test_a_fitted_one_is_remembered_and_pinned(digits, whitened, monkeypatch):
    monkeypatch.setattr(cache, "keep_tensors", lambda *_: pytest.fail("it was fitted again"))
    again = load_data(DataConfig(zca=True))
    assert (
        again.whitening.digest == whitened.whitening.digest and again.seen_as != digits.seen_as == digits.fingerprint
    )
    assert whitened.whitening.matrix[27, 27].item() == pytest.approx(2.2751, abs=1e-3)


def test_the_file_holds_what_was_fitted(whitened, tmp_path):
    path = tmp_path / WHITENING
    whitened.whitening.save(path)
    assert Whitening.load(path).digest == whitened.whitening.digest
    assert path.stat().st_size == pytest.approx(whitened.whitening.bytes, abs=600)
    for broken in ({"mean": torch.zeros(1, 2, 2)}, {"mean": torch.zeros(1, 2, 2), "matrix": torch.zeros(4, 5)}):
        save_file(broken, path)
        with pytest.raises(RunError, match="is no whitening of images"):
            Whitening.load(path)
    save_file({"mean": torch.zeros(1, 2, 2), "matrix": torch.zeros(4, 4)}, path)
    with pytest.raises(RunError, match="doesn't say its epsilon"):
        Whitening.load(path)
    path.write_bytes(b"no")
    with pytest.raises(RunError, match="isn't a whole safetensors file"):
        Whitening.load(path)


def test_what_no_memory_holds_is_refused_in_one_line():
    images = torch.zeros(2, 3, 1, 1, dtype=torch.uint8).expand(-1, -1, 2048, 2048)
    with pytest.raises(
        DataError, match=r"--zca: the whitening of photographs is a matrix of 12,582,912×12,582,912"
    ) as e:
        fitted(images, "photographs", "f")
    assert "\n" not in str(e.value) and "--image_size" in str(e.value)


def test_what_can_not_be_undone_is_refused(whitened):
    broken = dataclasses.replace(whitened.whitening, matrix=torch.zeros(64, 64))
    with pytest.raises(DataError, match="matrix is singular"):
        broken.colour(torch.zeros(1, 1, 8, 8))


def test_images_of_another_size_are_refused(whitened):
    with pytest.raises(DataError, match="of images of 1×8×8 values, not of 1×9×9"):
        whitened.normalise(torch.zeros(1, 1, 9, 9))


def test_a_set_is_optimised_whitened_and_left_in_pixel_space(digits, whitened):
    chosen = SyntheticSet.initial(whitened, 1, "real", 0, torch.float64)
    plain = SyntheticSet.initial(digits, 1, "real", 0, torch.float64)
    torch.testing.assert_close(chosen.own_space(), plain.own_space(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(chosen.pixels.detach(), whitened.normalise(plain.own_space()).detach())


def test_the_whitening_travels_with_the_set(distilled, whitened):
    folder, record = distilled.folder, distilled.record
    stored = load_file(folder / WHITENING)
    assert torch.equal(stored["matrix"], whitened.whitening.matrix)
    assert record.data["whitening"] == whitened.whitening.facts() and record.settings["zca"] is True
    assert record.storage["whitening"] == 4 * (64 + 64 * 64) and "--zca True" in record.command
    _, loaded, _ = load_distilled(str(folder))
    assert loaded.whitening.digest == whitened.whitening.digest
    card = (folder / "README.md").read_text()
    assert "Students learn from whitened images (ZCA)" in card and "an epsilon of 0.1" in card
    assert "whitening:\n    kind: zca\n    epsilon: 0.1\n" in card  # of the front matter
    assert "16,640 bytes beside them" in card and "transforms.Normalize" not in card


def test_the_cards_code_whitens_as_students_see_it(distilled, whitened):
    card = (distilled.folder / "README.md").read_text()
    code = "\n".join(block.split("```")[0] for block in card.split("```python\n")[1:3])
    names = {}
    exec(code.replace("PATH_OF_THIS_FOLDER", str(distilled.folder)), names)  # what a reader would run
    torch.testing.assert_close(names["whitened"], whitened.normalise(names["images"]), rtol=1e-5, atol=1e-5)


def test_another_machine_takes_the_sets_own(distilled, tmp_path, monkeypatch):
    """Where nothing is remembered, and eigenvectors come out otherwise: what travels is what is used."""
    copy = tmp_path / "copy"
    shutil.copytree(distilled.folder, copy)
    monkeypatch.setattr("hf_dd.data.image_data.fitted", lambda *_: pytest.fail("it was fitted anew"))
    (results,), _ = evaluate_sets(hf_dd.config.EvaluateConfig(sets=[str(copy)], **again(distilled)))
    assert results.rows[0].scores == tuple(distilled.record.results["rows"][0]["scores"])
    named = hf_dd.config.EvaluateConfig(sets=[str(copy)], dataset="digits", **again(distilled))
    (elsewhere,), _ = evaluate_sets(named)
    assert elsewhere.rows[0].scores == results.rows[0].scores
    (plain,), _ = evaluate_sets(hf_dd.config.EvaluateConfig(sets=[str(copy)], zca=False, **again(distilled)))
    assert plain.rows[0].losses != results.rows[0].losses


def again(artefact):
    """The options of the evaluation of a distillation."""
    names = ("eval_students", "eval_epochs", "eval_copies", "eval_augment", "baselines", "eval_protocol")
    return {name: artefact.record.settings[name] for name in names}


def test_a_set_without_its_whitening_or_with_another_one_is_refused(distilled, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(distilled.folder, copy)
    other = Whitening.load(copy / WHITENING)
    dataclasses.replace(other, matrix=other.matrix * 1.001).save(copy / WHITENING)
    with pytest.raises(DataError, match="isn't the one that its hf_dd.json is of"):
        load_distilled(str(copy))
    (copy / WHITENING).unlink()
    with pytest.raises(DataError, match=r"lacks whitening\.safetensors"):
        load_distilled(str(copy))
    with pytest.raises(DataError, match=r"lacks whitening\.safetensors"):
        Artefact.open(copy).push("local/never")


def test_sets_that_differ_in_it_are_compared_by_one_that_is_named(distilled, tmp_path):
    plain = hf_dd.distill(objective="random", ipc=1, eval_students=0, output_dir=str(tmp_path / "plain"))
    both = [str(plain.folder), str(distilled.folder)]
    with pytest.raises(DataError, match=r"say how by --zca true or --zca false"):
        evaluate_sets(hf_dd.config.EvaluateConfig(sets=both, **again(distilled)))
    (results,), _ = evaluate_sets(hf_dd.config.EvaluateConfig(sets=both, zca=True, **again(distilled)))
    assert len(results.rows) == 3


def test_a_pushed_set_takes_it_along(distilled, unique):
    pushed = distilled.push(unique())
    name, loaded, _ = load_distilled(f"{pushed.pin.repo_id}@{pushed.pin.sha}")
    assert loaded.whitening.digest == distilled.record.data["whitening"]["digest"]


def test_a_whitened_teacher_sees_images_as_it_was_trained(experts, whitened):
    teacher = load_teacher(*locate(str(experts[0])))
    images = whitened.test.images[:5].float() / 255
    torch.testing.assert_close(teacher(images), teacher.network(whitened.normalise(images)))
    epochs = [experts[0] / f"epoch-{epoch}" / WHITENING for epoch in (0, 1, 2)]
    assert len({path.stat().st_ino for path in epochs}) == 1  # once on disk, whatever epochs there are
    card = (experts[0] / "epoch-2" / "README.md").read_text()
    assert "whitened (ZCA, epsilon 0.1: `whitening.safetensors`)" in card
    facts = json.loads((experts[0] / "epoch-2" / "config.json").read_text())["whitening"]
    assert facts == whitened.whitening.facts()
    (experts[0] / "epoch-1" / WHITENING).rename(experts[0] / "epoch-1" / "elsewhere")
    with pytest.raises(TeacherError, match=r"trained on whitened images \(--zca\), and .*safetensors file"):
        load_teacher(*locate(f"{experts[0]}@epoch-1"))
    (experts[0] / "epoch-1" / "elsewhere").rename(experts[0] / "epoch-1" / WHITENING)


def test_a_foreign_whitened_set_is_imported_and_evaluated_so(digits, whitened, tmp_path):
    """As MTT saves one: whitened images, and the labels beside them."""
    rows = torch.cat([digits.class_index[label][:2] for label in range(10)])
    images = digits.train.images[rows].float() / 255
    torch.save(whitened.normalise(images), tmp_path / "images_best.pt")
    torch.save(digits.train.labels[rows], tmp_path / "labels_best.pt")
    artefact = hf_dd.import_set(
        foreign_set=str(tmp_path / "images_best.pt"),
        dataset="digits",
        normalisation="zca",
        zca=True,
        output_dir=str(tmp_path / "imported"),
    )
    _, loaded, record = load_distilled(str(artefact.folder))
    torch.testing.assert_close(loaded.pixel_values, images, rtol=1e-4, atol=1e-4)
    assert loaded.whitening.digest == whitened.whitening.digest and record["settings"]["zca"] is True


def test_experts_have_to_be_of_the_same_images(experts, tmp_path):
    options = {"dataset": "digits", "objective": "mtt", "iterations": 1, "eval_students": 0, **SMALL}
    options |= {"objective_options": ["student_steps=1", "expert_epochs=1", "max_start_epoch=1"]}
    for folder, zca, message in zip(experts, (None, True), ("Give --zca", "train experts with"), strict=True):
        with pytest.raises(TeacherError, match=message):
            hf_dd.distill(experts=[str(folder)], zca=zca, output_dir=str(tmp_path / "set"), **options)


def test_teachers_of_whitened_and_of_plain_images_are_others(experts):
    with pytest.raises(RunError, match="holds another run"):
        hf_dd.pretrain(dataset="digits", output_dir=str(experts[0].parent), **TRAINED)
    assert hf_dd.pretrain(dataset="digits", output_dir=str(experts[0].parent), zca=True, **TRAINED) == [experts[0]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"factor": 2}, "--zca whitens whole images, and --factor 2"),
        ({"objective": "lgm", "teachers": ["a/b"]}, "--zca has no meaning for --objective lgm"),
        ({"objective": "sre2l", "teachers": ["a/b"]}, "--zca has no meaning for --objective sre2l"),
        ({"objective": "ncfm", "teachers": ["a/b"]}, "--zca has no meaning for --objective ncfm"),
        ({"objective": "idc"}, "--zca has no meaning for --objective idc"),
    ],
)
def test_what_it_has_no_meaning_for_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        hf_dd.distillation.checks.preflight(DistillConfig(zca=True, **options))
