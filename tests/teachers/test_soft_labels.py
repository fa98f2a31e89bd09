"""Soft labels: what teachers say, stored with a set or asked for online, and what students learn from it."""

import dataclasses
import json
import math
import shutil

import datasets
import pytest
import torch
from huggingface_hub import DatasetCard
from torch import nn

import hf_dd
from hf_dd.artefacts.distilled_folder import load_distilled
from hf_dd.config import DataConfig, DistillConfig
from hf_dd.core.machine import cpu
from hf_dd.core.processes import new_accelerator
from hf_dd.core.seeding import generator
from hf_dd.data.image_data import load_data
from hf_dd.distillation.checks import preflight
from hf_dd.errors import ConfigError, DataError, RunError, TeacherError
from hf_dd.evaluation.candidates import Candidate, random_real
from hf_dd.evaluation.evaluation import Evaluation
from hf_dd.evaluation.learners import Learners
from hf_dd.evaluation.online_teachers import teachers_of
from hf_dd.evaluation.protocols import PROTOCOLS, alternatives
from hf_dd.nn import augment, networks
from hf_dd.synthetic.distilled_set import from_dataset, to_dataset
from hf_dd.synthetic.synthetic_set import SyntheticSet
from hf_dd.teachers.pool import TeacherPool
from hf_dd.teachers.soft_labels import probabilities, relabel
from hf_dd.teachers.teacher import Teacher
from hf_dd.training.loop import TrainingRecipe, fit
from hf_dd.training.side_by_side import fit_side_by_side
from hf_dd.training.targets import StoredTargets, TaughtTargets, distillation_loss
from tests.factories import make_data, make_teacher
from tests.oracles import distillation as oracle

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
OPTIONS = {"dataset": "digits", "iterations": 3, "real_batch_size": 4, "architecture_options": ["width=8", "depth=1"]}
STUDENTS = {"eval_architectures": ["MLP"], "eval_epochs": [2], "eval_students": 2}


@pytest.fixture(autouse=True)
def datasets_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def digits():
    return load_data(DataConfig())


def sharp(teacher, scale=20.0):
    """The same with logits that are far from uniform."""
    with torch.no_grad():
        teacher.network.classifier.weight.mul_(scale)
    return teacher


def make_pool(data, count=2, **options):
    return TeacherPool([sharp(make_teacher(data, seed=seed, **options)) for seed in range(count)])


def some_images(data, count=5):
    return torch.rand(count, data.channels, *data.image_size, generator=generator(0, "images"))


def distil(folder, **options):
    return hf_dd.distill(**OPTIONS | {"ipc": 2, "eval_students": 0} | options, output_dir=str(folder))


# --- what teachers say


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_soft_labels_are_the_softened_logits_of_each_teacher_or_their_mean(temperature):
    data = make_data()
    pool, images = make_pool(data, 3), some_images(data)
    logits = [[teacher(images[i : i + 1])[0].tolist() for teacher in pool] for i in range(len(images))]
    each = relabel(pool, data.class_names, images, "each", temperature, CPU)
    assert each.shape == (5, 3, 3) and each.dtype == torch.float32
    expected = [[oracle.softened(own, temperature) for own in of_image] for of_image in logits]
    torch.testing.assert_close(each, torch.tensor(expected), rtol=1e-4, atol=1e-6)
    mean = relabel(pool, data.class_names, images, "mean", temperature, CPU)
    expected = [oracle.mean_of_teachers(of_image, temperature) for of_image in logits]
    torch.testing.assert_close(mean, torch.tensor(expected), rtol=1e-4, atol=1e-6)
    assert each.std(1).max() > 0.01  # the teachers don't agree


def test_classes_are_found_by_their_names():
    data = make_data()
    pool = TeacherPool([sharp(make_teacher(data))])
    images = some_images(data)
    usual = relabel(pool, data.class_names, images, "mean", 1.0, CPU)
    names = [data.class_names[place] for place in (2, 0, 1)]
    other = relabel(pool, names, images, "mean", 1.0, CPU)
    torch.testing.assert_close(other, usual[:, [2, 0, 1]])
    assert (other - usual).abs().max() > 0.1


def test_one_teacher_alone_is_its_own_mean():
    data = make_data()
    pool, images = make_pool(data, 1), some_images(data)
    each = relabel(pool, data.class_names, images, "each", 2.0, CPU)
    assert torch.equal(each[:, 0], relabel(pool, data.class_names, images, "mean", 2.0, CPU))


def test_labels_are_computed_in_float32_whatever_the_run_was_in():
    data = make_data()
    expected = relabel(make_pool(data), data.class_names, some_images(data), "each", 4.0, CPU)
    pool = make_pool(data).to(CPU, torch.float64)
    assert torch.equal(relabel(pool, data.class_names, some_images(data).double(), "each", 4.0, CPU), expected)


def test_more_images_than_a_chunk_get_the_same_labels(monkeypatch):
    data = make_data()
    pool, images = make_pool(data), some_images(data, 11)
    whole = relabel(pool, data.class_names, images, "each", 4.0, CPU)
    sizes = []
    monkeypatch.setattr("hf_dd.data.batches.CHUNK_PIXELS_ON_CPU", 3 * 36)
    forward = Teacher.forward
    monkeypatch.setattr(Teacher, "forward", lambda self, x: sizes.append(len(x)) or forward(self, x))
    torch.testing.assert_close(relabel(pool, data.class_names, images, "each", 4.0, CPU), whole)
    assert max(sizes) == 3 and sum(sizes) == 22
    large = make_teacher(make_data(size=12))
    sizes.clear()
    probabilities(large, [0, 1, 2], images, 4.0)  # it sees four times as many pixels
    assert sizes == [1] * 11


def test_a_teacher_of_other_classes_and_one_without_finite_numbers_are_named():
    data = make_data()
    stranger = TeacherPool([make_teacher(data, class_names=["ant", "bee", "cat"])])
    with pytest.raises(TeacherError, match="The classes of somebody/ConvNet-0.* reads logits.* the data set's own"):
        relabel(stranger, data.class_names, some_images(data), "mean", 4.0, CPU)
    broken = TeacherPool([make_teacher(data), sharp(make_teacher(data, seed=1), float("nan"))])
    with pytest.raises(TeacherError, match="ConvNet-1.* not finite numbers at a temperature of 4"):
        relabel(broken, data.class_names, some_images(data), "mean", 4.0, CPU)


# --- the loss


@pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0])
def test_the_loss_is_the_kl_divergence_but_for_the_labels_own_entropy(temperature):
    draws = generator(0, "logits")
    logits = 5 * torch.randn(6, 4, generator=draws, dtype=torch.float64, requires_grad=True)
    labels = torch.rand(6, 4, generator=draws, dtype=torch.float64)
    labels[0] = torch.tensor([0.0, 1.0, 0.0, 0.0])
    labels = labels / labels.sum(1, keepdim=True)
    loss = distillation_loss(logits, labels, temperature)
    kl = oracle.kl_loss(logits.tolist(), labels.tolist(), temperature)
    assert loss.item() == pytest.approx(kl + oracle.entropy_term(labels.tolist(), temperature), rel=1e-10)
    (gradient,) = torch.autograd.grad(loss, logits)
    for row, column in ((0, 1), (3, 0), (5, 2)):
        moved = [logits.detach().clone() for _ in range(2)]
        moved[0][row, column] += 1e-5
        moved[1][row, column] -= 1e-5
        up, down = (oracle.kl_loss(own.tolist(), labels.tolist(), temperature) for own in moved)
        assert gradient[row, column].item() == pytest.approx((up - down) / 2e-5, rel=1e-5, abs=1e-9)


def test_hard_labels_have_the_plain_cross_entropy():
    logits, labels = torch.randn(6, 4, generator=generator(0, "logits")), torch.tensor([0, 1, 2, 3, 0, 1])
    assert torch.equal(distillation_loss(logits, labels, 1.0), nn.functional.cross_entropy(logits, labels))


# --- stored soft labels in training

RECIPE = TrainingRecipe(3, 0.05, 0.9, 5e-4, 4, (2,), ("crop", "color", "flip"))
SHAPE = {"in_channels": 1, "num_classes": 3, "image_size": 8}


def problem(seed=0):
    draws = generator(seed, "problem")
    images = torch.randn(10, 1, 8, 8, generator=draws, dtype=torch.float64)
    return images, torch.rand(10, 2, 3, generator=draws).softmax(2)


def trained(labels, seed=3):
    network = networks.build("MLP", **SHAPE, seed=1).double()
    epochs = list(fit(network, problem()[0], labels, RECIPE, seed=seed, purpose="student"))
    return torch.cat([value.flatten() for value in network.state_dict().values()]), epochs


def test_teachers_that_agree_are_as_good_as_their_mean_to_the_last_bit():
    _, each = problem()
    same = each[:, :1].expand(-1, 5, -1)
    assert torch.equal(trained(same)[0], trained(same[:, 0])[0])  # drawing a teacher changes no other draw
    assert not torch.equal(trained(each)[0], trained(each.mean(1))[0])


def test_a_teacher_is_drawn_for_each_batch_by_a_named_generator():
    _, each = problem()
    drawn = []
    for batch in range(12):
        draws = generator(7, "student", "targets", batch)
        labels = StoredTargets(each).of_batch(torch.tensor([4, 2]), torch.zeros(2), draws)
        place = int(torch.randint(2, (), generator=generator(7, "student", "targets", batch)))
        assert torch.equal(labels, each[[4, 2], place])
        drawn.append(place)
    assert set(drawn) == {0, 1}
    assert torch.equal(trained(each)[0], trained(each)[0]) and not torch.equal(trained(each)[0], trained(each, 4)[0])


def test_the_temperature_of_stored_labels_is_the_students_too():
    images, each = problem()
    network = networks.build("MLP", **SHAPE, seed=1).double()
    plain = dataclasses.replace(RECIPE, epochs=1, batch_size=10, strategy=())
    order = torch.randperm(10, generator=generator(3, "student", "epoch", 1))
    with torch.no_grad():
        logits = network(images[order])
    labels = each.mean(1)
    expected = oracle.kl_loss(logits.tolist(), labels[order].tolist(), 4.0)
    expected += oracle.entropy_term(labels[order].tolist(), 4.0)
    (epoch,) = fit(network, images, StoredTargets(labels, 4.0), plain, seed=3, purpose="student")
    assert epoch.loss == pytest.approx(expected, rel=1e-5)


# --- online teaching


def taught(data, pool, temperature=4.0):
    return TaughtTargets(pool, data.class_names, data.own_space, temperature)


def test_teachers_see_the_batch_in_its_own_space_and_their_mean_is_the_target():
    data = make_data(size=8)
    pool = make_pool(data)
    images = some_images(data, 4)
    batch = data.normalise(images)
    found = taught(data, pool).of_batch(torch.arange(4), batch, generator(0, "unused"))
    logits = [[teacher(images[i : i + 1])[0].tolist() for teacher in pool] for i in range(4)]
    expected = [oracle.mean_of_teachers(of_image, 4.0) for of_image in logits]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-4, atol=1e-5)
    assert not found.requires_grad


def test_online_students_learn_from_the_images_as_they_are_augmented():
    data = make_data(size=8)
    pool, images = make_pool(data), data.train.images
    plain = dataclasses.replace(RECIPE, epochs=1, batch_size=len(images))
    network = networks.build("MLP", **SHAPE, seed=1)
    draws = generator(3, "student", "epoch", 1)
    order = torch.randperm(len(images), generator=draws)
    batch = augment.apply(data.normalise(images[order]), augment.draw(len(order), plain.strategy, draws))
    with torch.no_grad():
        logits = network(batch).tolist()
    own = data.own_space(batch)
    said = [[teacher(own[i : i + 1])[0].tolist() for teacher in pool] for i in range(len(own))]
    labels = [oracle.mean_of_teachers(of_image, 4.0) for of_image in said]
    expected = oracle.kl_loss(logits, labels, 4.0) + oracle.entropy_term(labels, 4.0)
    (epoch,) = fit(network, images, taught(data, pool), plain, seed=3, purpose="student", prepare=data.normalise)
    assert epoch.loss == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("kind", ["each", "online"])
def test_students_side_by_side_are_taught_as_they_would_be_alone(kind):
    data = make_data(size=8)
    pool = make_pool(data)
    seeds, images = [3, 4, 5], [data.train.images[seed : seed + 12] for seed in (0, 3, 6)]
    each = [StoredTargets(relabel(pool, data.class_names, own.float() / 255, "each", 4.0, CPU), 4.0) for own in images]
    labels = each if kind == "each" else [taught(data, pool)] * 3

    def fresh():
        return [networks.build("ConvNet", **SHAPE, seed=seed, width=4, depth=2) for seed in seeds]

    alone, together = fresh(), fresh()
    shared = {"purpose": "student", "prepare": data.normalise}
    for network, own, targets, seed in zip(alone, images, labels, seeds, strict=True):
        list(fit(network, own, targets, RECIPE, seed=seed, **shared))
    fit_side_by_side(together, images, labels, RECIPE, seeds=seeds, **shared)
    for one, other, start in zip(alone, together, fresh(), strict=True):
        for name, value in one.state_dict().items():
            torch.testing.assert_close(other.state_dict()[name], value, rtol=1e-4, atol=1e-4)
        assert (one.classifier.weight - start.classifier.weight).abs().max() > 1e-3


# --- in the artefact


@pytest.fixture(scope="module")
def labelled(tmp_path_factory, tiny_teachers):
    """Artefacts of digits by two teachers' labels: their mean, each one's, and the mean of decoded images."""
    root = tmp_path_factory.mktemp("labelled")
    teachers = {"teachers": tiny_teachers.references[:2]}
    options = {
        "mean": {"soft_labels": "mean", "soft_label_temperature": 2.0},
        "each": {"soft_labels": "each"},
        "decoded": {"soft_labels": "mean", "factor": 2, "ipc": 1},
    }
    return {name: distil(root / name, **teachers, **own) for name, own in options.items()}


@pytest.mark.parametrize("name", ["mean", "each", "decoded"])
def test_labels_are_stored_beside_the_images_that_students_train_on(labelled, tiny_teachers, name):
    artefact = labelled[name]
    rows = artefact.load("decoded" if name == "decoded" else None)
    feature = datasets.List(datasets.Value("float32"))
    assert rows.features["soft_label"] == (datasets.List(feature) if name == "each" else feature)
    if name == "decoded":
        assert "soft_label" not in artefact.load().column_names
    pool = TeacherPool.from_references(tiny_teachers.references[:2])
    images = torch.tensor(rows.with_format("numpy")["pixel_values"][:])
    temperature = 2.0 if name == "mean" else 4.0
    kind = "each" if name == "each" else "mean"
    expected = relabel(pool, artefact.record.data["class_names"], images, kind, temperature, CPU)
    stored = torch.tensor(rows["soft_label"][:])
    assert stored.shape == {"mean": (20, 10), "each": (20, 2, 10), "decoded": (40, 10)}[name]
    torch.testing.assert_close(stored, expected, rtol=1e-5, atol=1e-7)
    assert stored.sum(-1).allclose(torch.ones(1), atol=1e-5)
    _, distilled, record = load_distilled(str(artefact.folder))
    assert torch.equal(distilled.soft_labels, stored) and distilled.temperature == temperature
    shas = [spec.sha for spec in pool.specs]
    assert record["soft_labels"] == {"kind": kind, "temperature": temperature, "teachers": shas}
    assert distilled.taught_by == tuple(shas)


def test_the_labels_bytes_are_stated_apart_from_the_images(labelled):
    for name, size in (("mean", 20 * 10 * 4), ("each", 20 * 2 * 10 * 4), ("decoded", 40 * 10 * 4)):
        _, distilled, record = load_distilled(str(labelled[name].folder))
        images = (10 if name == "decoded" else 20) * 64 * 4
        assert (distilled.bytes("float"), distilled.soft_label_bytes) == (images, size)
        assert record["storage"]["float"] == images and record["storage"]["soft_labels"] == size
        card = (labelled[name].folder / "README.md").read_text()
        assert f"{images:,} as float32; soft labels {size:,} bytes beside them" in card


def test_the_card_says_whose_labels_they_are_and_at_which_temperature(labelled):
    card = (labelled["each"].folder / "README.md").read_text()
    assert "those of each teacher, the softmax of logits divided by a temperature of 4" in card
    assert "multiply the cross-entropy by 16" in card and "but label its images for the students." in card
    assert DatasetCard(card).data.to_dict()["distillation"]["soft_labels"]["kind"] == "each"
    assert "a temperature of 2. " in (labelled["mean"].folder / "README.md").read_text()


def test_the_pixels_are_those_of_a_run_without_labels(labelled, tmp_path):
    plain = distil(tmp_path / "plain")
    one, other = (artefact.load().with_format("numpy")["pixel_values"][:] for artefact in (plain, labelled["mean"]))
    assert one.tobytes() == other.tobytes()


def labelled_rows(labels):
    rows = to_dataset(SyntheticSet(torch.zeros(2, 1, 2, 2), ["a", "b"], (0.0,), (1.0,)))
    return rows.add_column("soft_label", labels)


@pytest.mark.parametrize(
    "labels",
    [
        [[0.5, 0.5], None],
        [[0.5, 0.5], [1.0]],
        [[0.2, 0.3, 0.5]] * 2,
        [[[0.5, 0.5], [0.5, 0.5]], [[0.5, 0.5]]],
        [[[1.0], [1.0]]] * 2,
        [[], []],
    ],
)
def test_labels_that_are_not_one_probability_for_each_class_are_refused(labels):
    with pytest.raises(DataError, match="the set has soft labels that aren't one probability for each of its 2 cl"):
        from_dataset(labelled_rows(labels), "the set")


def test_labels_that_are_no_numbers_are_refused():
    with pytest.raises(DataError, match="the set holds soft labels that are not finite numbers"):
        from_dataset(labelled_rows([[0.5, 0.5], [0.5, float("nan")]]), "the set")


@pytest.mark.parametrize("temperature", [0, -1, "warm", None, float("inf")])
def test_a_record_with_another_temperature_is_refused(labelled, tmp_path, temperature):
    folder = tmp_path / "set"
    shutil.copytree(labelled["mean"].folder, folder)
    record = json.loads((folder / "hf_dd.json").read_text())
    record["soft_labels"]["temperature"] = temperature
    (folder / "hf_dd.json").write_text(json.dumps(record))
    of_numbers = "The record of set gives its soft labels a temperature of .*; it has to be a"
    with pytest.raises((DataError, RunError), match=f"{of_numbers}|soft_labels.temperature is "):
        load_distilled(str(folder))


# --- students of the protocols


def test_the_published_protocol_of_online_teaching():
    online, stored = PROTOCOLS["soft-label-online"], PROTOCOLS["soft-label"]
    assert (online.labels, online.temperature, online.version) == ("online", 4.0, 1)
    same = ("epochs", "learning_rate", "augment", "optimizer", "weight_decay", "batch_size", "schedule")
    assert [getattr(online, name) for name in same] == [getattr(stored, name) for name in same]
    assert [other.name for other in alternatives(PROTOCOLS["dsa"], True, True)] == [
        *("dsa", "dc", "soft-label", "soft-label-online")
    ]
    assert [other.name for other in alternatives(PROTOCOLS["dsa"], False)] == ["dsa", "dc"]


@pytest.mark.parametrize("name", ["mean", "each", "decoded"])
def test_students_of_stored_labels(labelled, name, tmp_path):
    results = hf_dd.evaluate(
        sets=[str(labelled[name].folder)], eval_protocol="soft-label", output_dir=str(tmp_path), **STUDENTS
    )
    own, real = results.rows[0], results.rows[2]
    assert (own.set, own.temperature) == (name, 2.0 if name == "mean" else 4.0)
    assert own.soft_label_bytes == labelled[name].record.storage["soft_labels"]
    assert list(own.taught_by) == labelled[name].record.soft_labels["teachers"]
    assert (real.temperature, real.taught_by, real.soft_label_bytes) == (None, (), 0)
    assert f"+ {own.soft_label_bytes:,} of soft labels bytes, soft labels at temperature" in str(own)


def test_soft_labels_teach_the_teachers_function(digits):
    """Students on random real images with another teacher's labels come to say what that one says."""
    real = random_real(digits, 5, 0, 0)
    shifted = torch.nn.functional.one_hot((real.labels + 1) % 10, 10).float()
    both = torch.stack([shifted, shifted], 1)
    candidate = Candidate("set", "float", real.images, real.labels, 0, both, temperature=4.0, factor=1)
    protocol = PROTOCOLS["soft-label"].with_changes(epochs=60, augment="none")
    evaluation = Evaluation(digits, protocol, seed=0, accelerator=new_accelerator("no"))
    row = evaluation.run([candidate], ["MLP"], 1).rows[0]
    assert row.mean < 10 and row.temperature == 4.0


def evaluate(sets, tmp_path, **options):
    options = STUDENTS | {"eval_protocol": "soft-label-online", "eval_copies": ["float"], "baselines": []} | options
    return hf_dd.evaluate(sets=list(map(str, sets)), output_dir=str(tmp_path / "results"), **options)


def test_online_students_are_taught_by_the_teachers_of_the_record(labelled, tmp_path, tiny_teachers):
    results = evaluate([labelled["decoded"].folder], tmp_path, baselines=["random"], eval_copies=["float", "8bit"])
    shas = tuple(spec["sha"] for spec in labelled["decoded"].record.teachers)
    assert [row.taught_by for row in results.rows] == [shas] * 3  # those of real images too
    assert [row.temperature for row in results.rows] == [4.0] * 3
    assert [teacher["sha"] for teacher in results.teachers] == list(shas)
    weights = TeacherPool.from_references(tiny_teachers.references[:1])[0].network.state_dict()
    assert results.teachers[0]["bytes"] == sum(value.numel() * 4 for value in weights.values())
    named = evaluate([labelled["decoded"].folder], tmp_path, eval_teachers=tiny_teachers.references[:2])
    assert named.rows[0].scores == results.rows[0].scores
    other = evaluate([labelled["decoded"].folder], tmp_path, eval_teachers=tiny_teachers.references[1:2])
    assert other.rows[0].scores != results.rows[0].scores and len(other.rows[0].taught_by) == 1


def test_remembered_baselines_are_those_of_the_same_teachers(digits, tiny_teachers, monkeypatch):
    protocol = PROTOCOLS["soft-label-online"].with_changes(epochs=2)

    def scores(*references):
        evaluation = Evaluation(
            digits,
            protocol,
            seed=0,
            accelerator=new_accelerator("no"),
            teachers=TeacherPool.from_references(references),
        )
        candidate = hf_dd.evaluation.candidates.baseline("random", evaluation.data, 2, 0, None)
        return evaluation.run([candidate], ["MLP"], 2).rows[0].scores

    first = scores(tiny_teachers.references[0])
    monkeypatch.setattr(Learners, "train", None)
    assert scores(tiny_teachers.references[0]) == first
    with pytest.raises(TypeError):
        scores(tiny_teachers.references[2])


def test_results_and_card_state_temperature_teachers_and_bytes(labelled, tmp_path):
    folder = tmp_path / "set"
    shutil.copytree(labelled["mean"].folder, folder)
    hf_dd.evaluate(sets=[str(folder)], eval_protocol="soft-label-online", **STUDENTS)
    results = json.loads((folder / "results.json").read_text())
    assert results["protocol"]["temperature"] == 4.0 and results["rows"][0]["soft_label_bytes"] == 800
    card = (folder / "README.md").read_text()
    for teacher in results["teachers"]:
        assert f"`{teacher['sha'][:8]}`" in card and f"{teacher['bytes']:,} bytes" in card
    assert "of each augmented image, at temperature 4:" in card and "| 5,120 + 800 of soft labels |" in card
    assert hf_dd.Artefact.open(folder).record.results["teachers"] == results["teachers"]


def test_a_comparison_states_temperature_and_teachers(labelled, tmp_path):
    folders = [str(labelled[name].folder) for name in ("mean", "each")]
    options = STUDENTS | {"eval_students": 1, "eval_copies": ["float"], "baselines": []}
    folder = hf_dd.compare(sets=folders, eval_protocol="soft-label", output_dir=str(tmp_path / "stored"), **options)
    text = (folder / "comparison.md").read_text()
    shas = [sha[:8] for sha in labelled["each"].record.soft_labels["teachers"]]
    assert f"Labels: soft labels at temperature 2 by {', '.join(shas)}; soft labels at temperature 4 by" in text
    assert "| 5,120 + 800 of soft labels |" in text and "| 5,120 + 1,600 of soft labels |" in text
    online = {"eval_protocol": "soft-label-online", "output_dir": str(tmp_path / "online")}
    text = (hf_dd.compare(sets=folders, **online, **options) / "comparison.md").read_text()
    assert f"{shas[0]} is local/digits-convnet-seed0@final, " in text


# --- bad input, before any training


@pytest.fixture
def no_training(monkeypatch):
    monkeypatch.setattr("hf_dd.evaluation.learners.Learners.train", None)
    monkeypatch.setattr("hf_dd.distillation.distiller.Distiller.run", None)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"soft_labels": "mean"}, ["--soft_labels mean needs teachers", "--teacher_pool"]),
        ({"soft_label_temperature": 0.0}, ["--soft_label_temperature is 0.0", "above 0 and finite"]),
        ({"soft_label_temperature": math.inf}, ["--soft_label_temperature is inf"]),
        ({"soft_label_temperature": math.nan}, ["--soft_label_temperature is nan"]),
        ({"soft_label_temperature": -4.0}, ["--soft_label_temperature is -4.0"]),
    ],
)
def test_options_that_make_no_labels(options, words):
    with pytest.raises(ConfigError) as error:
        DistillConfig(**options)
    assert all(word in str(error.value) for word in words)


def test_teachers_of_labels_have_an_effect():
    teachers = {"objective": "dm", "teachers": ["somebody/it@final"]}
    preflight(DistillConfig(**teachers, soft_labels="each"))
    preflight(DistillConfig(**teachers, eval_protocol="soft-label-online"))
    with pytest.raises(ConfigError, match="--teachers has no effect without a guide: add --clom ce or --clom cos"):
        preflight(DistillConfig(**teachers))


def test_a_teacher_of_another_label_space_shows_before_the_distillation(tmp_path, no_training, unique, tiny_teachers):
    stranger = tmp_path / "stranger"
    shutil.copytree(tiny_teachers.folders[0] / "epoch-2", stranger)
    config = json.loads((stranger / "config.json").read_text())
    config["class_names"][3] = "three"
    (stranger / "config.json").write_text(json.dumps(config))
    for option in ({"teachers": [str(stranger)], "soft_labels": "mean"}, {"eval_teachers": [str(stranger)]}):
        students = STUDENTS | {"eval_protocol": "soft-label-online" if "eval_teachers" in option else "dsa"}
        with pytest.raises(TeacherError, match=r"stranger.*lacks 3 and has three besides"):
            distil(tmp_path / "run", **students, **option)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eval_protocol": "soft-label"}, "--eval_protocol soft-label trains on soft labels: add --soft_labels mean"),
        (
            {"eval_protocol": "soft-label-online"},
            "--eval_protocol soft-label-online needs teachers: give --eval_",
        ),
        ({"eval_teachers": ["a/b"]}, "--eval_teachers has no effect under the protocol dsa: add --eval_protocol soft"),
    ],
)
def test_a_distillation_whose_students_would_lack_labels_is_refused(tmp_path, no_training, options, message):
    with pytest.raises(ConfigError, match=message):
        distil(tmp_path / "run", **STUDENTS | options)
    assert not (tmp_path / "run").exists()


def test_sets_without_teachers_or_with_different_ones_need_named_ones(labelled, tmp_path, tiny_teachers, no_training):
    plain = tmp_path / "plain"
    shutil.copytree(labelled["mean"].folder, plain)
    record = json.loads((plain / "hf_dd.json").read_text())
    (plain / "hf_dd.json").write_text(json.dumps(record | {"teachers": []}))
    with pytest.raises(ConfigError, match="plain was made without teachers that students could learn from: name"):
        evaluate([plain], tmp_path)
    (plain / "hf_dd.json").write_text(json.dumps(record | {"teachers": record["teachers"][:1]}))
    with pytest.raises(ConfigError, match="mean and plain were made with different teachers: name those that all"):
        evaluate([labelled["mean"].folder, plain], tmp_path)
    (plain / "hf_dd.json").write_text(json.dumps(record | {"teachers": [{"sha": "0" * 40}]}))
    with pytest.raises(RunError, match=r"it lacks teachers\[0\].repo_id, it lacks teachers\[0\].revision"):
        evaluate([plain], tmp_path)
    (plain / "hf_dd.json").write_text(json.dumps(record | {"teachers": []}))
    with pytest.raises(ConfigError, match="--eval_teachers has no effect under the protocol dsa"):
        evaluate([plain], tmp_path, eval_protocol="dsa", eval_teachers=tiny_teachers.references)


def test_a_local_teacher_that_has_changed_is_not_taken_for_what_it_was(tmp_path, tiny_teachers):
    folder = tmp_path / "teacher"
    shutil.copytree(tiny_teachers.folders[0] / "epoch-2", folder)
    artefact = distil(tmp_path / "run", teachers=[str(folder)], soft_labels="mean", ipc=1)
    assert evaluate([artefact.folder], tmp_path).rows[0].n == 2
    shutil.copyfile(tiny_teachers.folders[1] / "epoch-2" / "model.safetensors", folder / "model.safetensors")
    with pytest.raises(TeacherError, match="isn't what it was when it was locked: its weights were sha256:"):
        evaluate([artefact.folder], tmp_path)


def test_no_record_is_believed_in_whom_to_trust(tiny_teachers):
    (spec,) = TeacherPool.from_references(tiny_teachers.references[:1]).specs
    record = {"teachers": [dataclasses.asdict(spec) | {"trusted": True}]}
    with pytest.raises(TeacherError, match=f"was allowed to read pickles .* by --trusted_teachers {spec.repo_id}, or"):
        teachers_of(PROTOCOLS["soft-label-online"], [], {"set": record})
    (again,) = teachers_of(PROTOCOLS["soft-label-online"], [], {"set": record}, trusted=[spec.repo_id]).specs
    assert (again.sha, again.trusted) == (spec.sha, True)


def test_a_score_of_the_best_protocol_may_be_given_teachers(tiny_teachers):
    named = tiny_teachers.references[:1]
    pool = teachers_of(PROTOCOLS["dsa"], named, {}, ["label_robust_score"])
    assert [spec.sha for spec in pool.specs] == [TeacherPool.from_references(named)[0].spec.sha]
    assert teachers_of(PROTOCOLS["dsa"], [], {"set": {}}, ["label_robust_score"]) is None


# --- two processes


@pytest.mark.multi_process
def test_two_processes_give_the_labels_and_the_students_of_one(tmp_path, tiny_teachers, forks, ranks_of):
    arguments = ["--objective", "random", "--ipc", 2, "--factor", 2, "--soft_labels", "each"]
    arguments += ["--teachers", *tiny_teachers.references[:2], "--eval_protocol", "soft-label-online"]
    arguments += ["--eval_architectures", "MLP", "--eval_epochs", 2, "--eval_students", 3]
    found = {}
    for name, run in (("one", forks.run), ("two", ranks_of)):
        own = ["--output_dir", tmp_path / name]
        done = run("-m", "hf_dd", "distill", *arguments, *own, HF_DATASETS_CACHE=tmp_path / f"cache-{name}")
        assert done.returncode == 0, done.stderr[-3000:]
        record = hf_dd.Artefact.open(tmp_path / name).record
        assert record.results["hardware"].startswith(f"{cpu()}, {1 if name == 'one' else 2} process")
        rows = [(row["copy"], row["scores"], row["taught_by"]) for row in record.results["rows"]]
        found[name] = record.parquet_sha256, record.decoded["parquet_sha256"], rows
    assert found["one"] == found["two"]
