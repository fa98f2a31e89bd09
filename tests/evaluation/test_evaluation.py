"""Evaluation: protocols, students side by side, choices without the test split, baselines, intervals, reports."""

import dataclasses
import itertools
import json
import shutil
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from accelerate import Accelerator
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import hf_dd
from hf_dd.artefacts.rows import write_rows
from hf_dd.config import DataConfig, EvaluationConfig
from hf_dd.core import files, processes, progress
from hf_dd.core.seeding import generator, isolated_rng
from hf_dd.data import held_out
from hf_dd.data.batches import StoredImages
from hf_dd.data.image_data import Split, load_data
from hf_dd.errors import ConfigError, DataError, RunError
from hf_dd.evaluation import candidates, intervals, learners, report, tables
from hf_dd.evaluation.candidates import Candidate, baseline
from hf_dd.evaluation.evaluation import Evaluation
from hf_dd.evaluation.learners import Job, Learners
from hf_dd.evaluation.protocols import PROTOCOLS, Protocol
from hf_dd.evaluation.students import new_student
from hf_dd.nn import networks
from hf_dd.synthetic.distilled_set import png_bytes
from hf_dd.training.loop import TrainingRecipe, fit
from hf_dd.training.side_by_side import fit_side_by_side

DIGITS = {"in_channels": 1, "num_classes": 10, "image_size": 8}


pytestmark = pytest.mark.usefixtures("one_thread", "nothing_remembered")


@pytest.fixture(scope="module")
def data():
    return load_data(DataConfig())


@pytest.fixture(scope="module")
def distilled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "set"
    options = {"ipc": 2, "iterations": 3, "real_batch_size": 4, "architecture_options": ["width=8"]}
    return hf_dd.distill(output_dir=str(folder), eval_students=0, **options).folder


def short(**changes):
    return PROTOCOLS["dc"].with_changes(**{"epochs": 2} | changes)


def evaluation_of(data, protocol=None, **choices):
    return Evaluation(data, protocol or short(), seed=0, accelerator=processes.new_accelerator("no"), **choices)


def real(data, ipc=2, **changes):
    return dataclasses.replace(candidates.random_real(data, ipc, 0, 0), name="set", baseline=None, **changes)


# --- protocols


def test_the_published_protocols():
    dc, dsa, soft = (PROTOCOLS[name] for name in ("dc", "dsa", "soft-label"))
    assert (dc.epochs, dc.augment, dc.learning_rate, dc.momentum, dc.weight_decay) == (300, "none", 0.01, 0.9, 5e-4)
    assert (dsa.epochs, dsa.augment) == (1000, "color_crop_cutout_flip_scale_rotate")
    assert (dc.recipe().drops, dsa.recipe().drops) == ((151,), (501,))
    assert (soft.labels, soft.optimizer, soft.recipe().cosine) == ("soft", "adamw", True)
    assert all(protocol.version >= 1 and not protocol.changed for protocol in PROTOCOLS.values())


def test_what_is_changed_of_a_protocol_is_named():
    config = EvaluationConfig(eval_protocol="dsa", eval_epochs=300, eval_learning_rates=[0.01])
    protocol = Protocol.from_config(config)
    assert (protocol.epochs, protocol.changed, str(protocol)) == (300, ("epochs",), "dsa v1, changed: epochs 300")
    assert str(Protocol.from_config(EvaluationConfig(eval_protocol="dc"))) == "dc v1"


def test_an_unknown_protocol_names_the_known_ones():
    with pytest.raises(ConfigError, match="--eval_protocol dca isn't known; known are: dc, .*soft-label"):
        Protocol.from_config(EvaluationConfig(eval_protocol="dca"))


def test_a_cosine_falls_to_nothing_and_adamw_is_adamw():
    recipe = TrainingRecipe(4, 0.1, 0.9, 0.01, 8, (), (), optimizer="adamw", cosine=True)
    optimizer, schedule = recipe.optimise([torch.nn.Parameter(torch.zeros(1))])
    rates = []
    for _ in range(4):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert isinstance(optimizer, torch.optim.AdamW) and optimizer.param_groups[0]["weight_decay"] == 0.01
    assert rates == pytest.approx([0.1, 0.0853553, 0.05, 0.0146447], rel=1e-5)


# --- students


@pytest.mark.parametrize(
    ("architecture", "soft"),
    [*itertools.product(["ConvNet", "ConvNetBN", "MLP", "LeNet"], [False, True]), ("ResNet18", False)],
)
def test_students_side_by_side_learn_as_they_would_alone(architecture, soft):
    options = {"width": 4} if "ConvNet" in architecture else {}
    recipe = TrainingRecipe(2, 0.05, 0.9, 5e-4, 8, (1,), ("crop", "color", "flip"))
    seeds, count = ([3, 4], 8) if architecture == "ResNet18" else ([3, 4, 5], 12)  # which takes its time in float64
    images = [torch.randn(count, 1, 8, 8, generator=generator(seed, "x"), dtype=torch.float64) for seed in seeds]
    labels = [torch.randint(10, (count,), generator=generator(seed, "y")) for seed in seeds]
    if soft:
        labels = [torch.nn.functional.one_hot(own, 10) * 0.7 + 0.03 for own in labels]

    def fresh():
        return [networks.build(architecture, **DIGITS, seed=seed, **options).double() for seed in seeds]

    alone, together = fresh(), fresh()
    losses = [
        [epoch.loss for epoch in fit(network, own, targets, recipe, seed=seed, purpose="student")]
        for network, own, targets, seed in zip(alone, images, labels, seeds, strict=True)
    ]
    found = fit_side_by_side(together, images, labels, recipe, seeds=seeds, purpose="student")
    torch.testing.assert_close(found, torch.tensor(losses), rtol=1e-4, atol=1e-5)
    for one, other, start in zip(alone, together, fresh(), strict=True):
        for name, value in one.state_dict().items():
            torch.testing.assert_close(other.state_dict()[name], value, rtol=1e-5, atol=1e-6)
        moved = one.classifier.weight - start.classifier.weight
        assert moved.abs().max() > 1e-3


def test_students_that_draw_themselves_are_trained_one_after_another():
    """What `vmap` can't batch are draws like those of dropout."""

    def fresh(seed):
        with isolated_rng(seed, "x"):
            return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.5), torch.nn.Linear(4, 2))

    images, labels, recipe = torch.rand(6, 1, 2, 2), torch.tensor([0, 1] * 3), TrainingRecipe(2, 0.1)
    candidate = SimpleNamespace(images=images, of_student=lambda student: candidate)
    kind = SimpleNamespace(new=fresh, inputs=lambda images, keep: images, prepare=lambda images: images, backbone=None)
    teaching = SimpleNamespace(targets=lambda candidate, protocol: labels)
    job = Job(candidate, "x", SimpleNamespace(recipe=lambda: recipe))
    shares = []  # of an epoch of both
    every = Learners(None, lambda name: kind, teaching, Accelerator(), seed=3)
    learners, losses = every.fitted(job, [0, 1], shares.append)
    assert sum(shares) == pytest.approx(2)
    for student, (learner, found) in enumerate(zip(learners, losses, strict=True)):
        alone = fresh(3 + student)
        epochs = fit(alone, images, labels, recipe, seed=3 + student, purpose="student")
        assert [epoch.loss for epoch in epochs] == pytest.approx(found.tolist(), rel=1e-6)
        assert torch.equal(learner[2].weight, alone[2].weight)


def refuse(*_, **__):
    raise AssertionError


def test_timm_students_by_name(data):
    network = new_student("timm/resnet10t", data, 0)
    assert network(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    again = new_student("timm/resnet10t", data, 0)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))
    transformer = new_student("timm/vit_tiny_patch16_224", load_data(DataConfig(image_size=32)), 0)
    assert transformer(torch.zeros(2, 1, 32, 32)).shape == (2, 10)
    with pytest.raises(ConfigError, match="timm has no model 'resnet18x'; near are: timm/resnet18"):
        new_student("timm/resnet18x", data, 0)
    with pytest.raises(ConfigError, match="timm/vit_tiny_patch16_224 takes no images of 8×8"):
        new_student("timm/vit_tiny_patch16_224", data, 0)


def test_a_timm_network_that_refuses_images_without_a_word(data, monkeypatch):
    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(ConfigError, match="timm/resnet10t takes no images of 8×8: AssertionError$"):
        new_student("timm/resnet10t", data, 0)


def test_soft_labels_are_trained_on_and_asked_for(data):
    candidate = real(data)
    soft = torch.nn.functional.one_hot(candidate.labels.roll(2), 10).float()  # every label is another class's
    protocol = PROTOCOLS["soft-label"].with_changes(epochs=60, augment="none")
    found = evaluation_of(data, protocol).run([dataclasses.replace(candidate, soft_labels=soft)], ["MLP"], 1)
    hard = evaluation_of(data, protocol.with_changes(labels="hard")).run([candidate], ["MLP"], 1)
    assert hard.rows[0].mean > 40 and found.rows[0].mean < 20
    with pytest.raises(DataError, match="set has no soft labels, which the protocol 'soft-label' trains on"):
        evaluation_of(data, protocol).run([candidate], ["MLP"], 1)


# --- choices


class Untouchable:
    """A test split that must not be looked at."""

    def __getattr__(self, name):
        raise AssertionError(f"the test split was asked for its {name}")


@pytest.mark.parametrize("baseline_too", [False, True])
def test_test_labels_cannot_influence_a_choice(data, baseline_too):
    options, chosen, candidate = {"learning_rates": [1e-6, 0.01, 1e-5], "epochs": [1, 40]}, [], real(data, ipc=5)
    if baseline_too:
        candidate = dataclasses.replace(candidate, baseline="random")
    shuffled = data.test.labels[torch.randperm(len(data.test), generator=generator(0, "shuffled"))]
    for test in (data.test, Split(data.test.images, shuffled), Split(255 - data.test.images, 9 - data.test.labels)):
        result = evaluation_of(dataclasses.replace(data, test=test), **options).run([candidate], ["MLP"], 1)
        chosen.append((result.rows[0].learning_rate, result.rows[0].epochs))
    assert chosen == [(0.01, 40)] * 3
    evaluated = evaluation_of(data, **options)
    evaluated.data = dataclasses.replace(evaluated.data, test=Untouchable())
    options = evaluated.options(candidate, evaluated.protocol)
    (job,) = evaluated.choose([[learners.Job(candidate, "MLP", option) for option in options]])
    assert (job.protocol.learning_rate, job.protocol.epochs) == (0.01, 40)
    assert str(job.protocol) == "dc v1, changed: epochs 40"  # the rate is the protocol's own


def test_ties_go_to_the_pair_named_first(data, monkeypatch):
    monkeypatch.setattr(Learners, "accuracies", lambda self, job, students, data: {0: (0.5, 1.0, [])})
    evaluated = evaluation_of(data, learning_rates=[0.3, 0.1], epochs=[7, 3])
    row = evaluated.run([real(data)], ["MLP"], 1).rows[0]
    assert (row.epochs, row.learning_rate, row.protocol) == (7, 0.3, "dc v1, changed: epochs 7, learning_rate 0.3")


def test_the_best_pair_need_not_have_the_best_of_each(data, monkeypatch):
    good = {(3, 0.1): 0.6, (7, 0.3): 0.7, (3, 0.3): 0.4, (7, 0.1): 0.5}
    seen = []

    def accuracies(self, job, students, data):
        seen.append(data is self.data)
        return {student: (good[job.protocol.epochs, job.protocol.learning_rate], 1.0, []) for student in students}

    monkeypatch.setattr(Learners, "accuracies", accuracies)
    row = evaluation_of(data, learning_rates=[0.1, 0.3], epochs=[3, 7]).run([real(data)], ["MLP"], 2).rows[0]
    assert (row.epochs, row.learning_rate, row.mean, row.n) == (7, 0.3, 70.0, 2)
    assert seen == [False] * 4 + [True]


def test_the_full_set_is_not_chosen_for_on_images_that_it_is_trained_on(data, monkeypatch):
    trained_on = []

    def train(self, job, students, data):
        trained_on.append((job.candidate.images, data.test.images))
        return {student: (0.5, 1.0, []) for student in students}

    monkeypatch.setattr(Learners, "train", train)
    full = baseline("full", data, None, 0, None)
    evaluation_of(data, epochs=[1, 2]).run([full], ["MLP"], 1)
    assert [len(images) for images, _ in trained_on] == [len(data.train) - 143] * 2 + [len(data.train)]

    def counted(images):
        return Counter(image.numpy().tobytes() for image in images)

    for images, chosen_on in trained_on[:2]:
        assert len(chosen_on) == 143
        assert counted(data.train.images) - counted(images) == counted(chosen_on)


def test_both_parts_of_a_full_set_in_a_file_stay_there(data, tmp_path):
    np.save(tmp_path / "pixels.npy", data.train.images.numpy())
    stored = StoredImages(tmp_path / "pixels.npy", data.train.images.shape)
    in_file = dataclasses.replace(data, train=Split(stored, data.train.labels))
    rest, expected = (held_out.rest_of(one, 0) for one in (in_file, data))
    assert isinstance(rest.images, StoredImages) and rest.images.shape == expected.images.shape
    index = torch.tensor([3, 0, 1294, 3])
    assert torch.equal(rest.images[index], expected.images[index]) and torch.equal(rest.labels, expected.labels)
    assert torch.equal(rest.images.taken(index)[torch.tensor([2])], expected.images[[1294]])
    held, expected_held = (held_out.validation_of(one, 0).test for one in (in_file, data))
    assert isinstance(held.images, StoredImages) and torch.equal(held.images[:5], expected_held.images[:5])
    assert torch.equal(held.images[torch.arange(143)], expected_held.images)
    assert torch.equal(rest.images.to("cpu").taken(index)[torch.arange(4)], expected.images[index])


def test_scores_on_the_validation_split_are_not_remembered_as_those_of_a_test_split_with_its_labels(data):
    own = held_out.validation_of(data, 0).test
    other = dataclasses.replace(data, test=Split(255 - own.images, own.labels))
    evaluated = evaluation_of(other, epochs=[2, 3])
    candidate = baseline("random", evaluated.data, 5, 0, None)
    row = evaluated.run([candidate], ["MLP"], 1).rows[0]
    job = learners.Job(candidate, "MLP", evaluated.protocol.with_changes(epochs=row.epochs))
    assert row.scores[0] == 100 * evaluated.learners.train(job, [0], evaluated.data)[0][0]


def test_a_set_is_trained_at_the_rate_that_it_comes_with(data):
    with_rate, without = real(data, learning_rate=0.02), real(data)
    rows = evaluation_of(data).run([with_rate, without], ["MLP"], 1).rows
    assert [(row.learning_rate, row.own_learning_rate) for row in rows] == [(0.02, True), (0.01, False)]
    assert "2 epochs at 0.02 (the set's own)" in str(rows[0]) and "2 epochs at 0.01, " in str(rows[1])
    assert rows[0].protocol == "dc v1, changed: epochs 2, learning_rate 0.02"
    stated = evaluation_of(data, short(learning_rate=0.02)).run([without], ["MLP"], 1).rows[0]
    assert rows[0].scores == stated.scores != rows[1].scores
    named = evaluation_of(data, short(learning_rate=0.1), learning_rates=[0.1]).run([with_rate], ["MLP"], 1).rows[0]
    assert (named.learning_rate, named.own_learning_rate) == (0.1, False)
    adam = PROTOCOLS["soft-label"].with_changes(epochs=1, labels="hard")  # the rate was learned for SGD
    assert evaluation_of(data, adam).run([with_rate], ["MLP"], 1).rows[0].learning_rate == 0.001


def test_the_rate_of_a_record_is_used_unless_one_is_named(distilled, tmp_path):
    folder = Path(shutil.copytree(distilled, tmp_path / "set"))

    def rows(rate, **options):
        record = json.loads((folder / "hf_dd.json").read_text()) | {"learning_rate": rate}
        (folder / "hf_dd.json").write_text(json.dumps(record))
        shared = {"sets": [str(folder)], "eval_students": 1, "eval_epochs": 1, "eval_architectures": ["MLP"]}
        results = hf_dd.evaluate(**{"baselines": ["random"]} | shared | options, output_dir=str(tmp_path / "out"))
        return [(row.copy, row.learning_rate, row.own_learning_rate) for row in results.rows]

    assert rows(0.05) == [("float", 0.05, True), ("8bit", 0.05, True), ("8bit", 0.01, False)]
    written = json.loads((tmp_path / "out/results.json").read_text())
    assert [row["own_learning_rate"] for row in written["rows"]] == [True, True, False]
    assert rows(0.05, eval_learning_rates=[0.2], baselines=[]) == [("float", 0.2, False), ("8bit", 0.2, False)]
    for wrong in ("fast", -1, float("inf")):
        of_numbers = "The record of set gives a learning rate of .*; it has to be a fin"
        with pytest.raises((DataError, RunError), match=f"{of_numbers}|learning_rate is "):
            rows(wrong)


def test_the_validation_images_are_a_tenth_of_each_class_of_the_training_split(data):
    chosen = held_out.validation_of(data, 0).test
    counts, real_counts = torch.bincount(chosen.labels), torch.bincount(data.train.labels)
    assert (counts - 0.1 * real_counts).abs().max() <= 0.5
    known = {image.numpy().tobytes() for image in data.train.images}
    assert {image.numpy().tobytes() for image in chosen.images} <= known
    assert held_out.validation_of(data, 0).test.labels.equal(chosen.labels)


def test_a_data_set_to_choose_on_has_nothing_of_the_test_split_and_statistics_of_its_own(data):
    chosen_on = held_out.held_out(data, 0)
    chosen_on_again = held_out.held_out(dataclasses.replace(data, test=None), 0)
    assert torch.equal(chosen_on.test.images, held_out.validation_of(data, 0).test.images)
    assert len(chosen_on.train) + len(chosen_on.test) == len(data.train)
    assert chosen_on.fingerprint == chosen_on_again.fingerprint != data.fingerprint
    assert chosen_on.mean[0] == pytest.approx(chosen_on.train.images.double().mean().item() / 255)
    for label, members in enumerate(chosen_on.class_index):
        assert (chosen_on.train.labels[members] == label).all()
    assert sum(map(len, chosen_on.class_index)) == len(chosen_on.train)


# --- baselines


@pytest.mark.parametrize("kind", ["random", "herding", "k-centers", "full"])
def test_baselines_are_remembered(data, kind, monkeypatch):
    def candidate():
        return baseline(kind, data, 2, 0, processes.new_accelerator("no").autocast)

    first = evaluation_of(data).run([candidate()], ["MLP"], 2)
    monkeypatch.setattr(candidates.coresets, "real_features", None)
    more = evaluation_of(data).run([candidate()], ["MLP"], 3)
    assert more.rows[0].scores[:2] == first.rows[0].scores and more.rows[0].baseline == kind
    monkeypatch.setattr(Learners, "train", None)
    assert evaluation_of(data).run([candidate()], ["MLP"], 3).rows == more.rows
    with pytest.raises(TypeError):
        evaluation_of(data, short(epochs=3)).run([candidate()], ["MLP"], 1)  # another protocol isn't remembered


def test_each_student_of_the_random_baseline_has_its_own_draw(data):
    candidate = baseline("random", data, 3, 0, None)
    first, second, again = (candidate.of_student(student) for student in (0, 1, 0))
    assert first.images.equal(again.images) and not first.images.equal(second.images)
    assert first.labels.tolist() == second.labels.tolist() == [label for label in range(10) for _ in range(3)]
    other = baseline("random", data, 3, 1, None).of_student(0)
    assert not other.images.equal(first.images)


def test_a_sets_own_scores_are_remembered_by_what_it_holds(data, monkeypatch, nothing_remembered):
    first = evaluation_of(data).run([real(data)], ["MLP"], 1)
    monkeypatch.setattr(Learners, "train", None)
    again = evaluation_of(data).run([dataclasses.replace(real(data), name="renamed")], ["MLP"], 1)
    assert again.rows[0].scores == first.rows[0].scores and again.rows[0].set == "renamed"
    images, labels = real(data).images.clone(), real(data).labels
    images[-1, 0, -1, -1] = 255 - images[-1, 0, -1, -1]
    soft = torch.nn.functional.one_hot(labels, 10).float()
    for change in ({"images": images}, {"labels": labels.flip(0)}, {"factor": 2}, {"soft_labels": soft}):
        with pytest.raises(TypeError):  # what differs is trained on
            evaluation_of(data).run([dataclasses.replace(real(data), **change)], ["MLP"], 1)


def test_scores_are_of_the_images_that_were_tested(data, nothing_remembered):
    """As a corrupted test split has other images in the order of the same labels (CIFAR-10-C)."""
    inverted = dataclasses.replace(data, test=dataclasses.replace(data.test, images=255 - data.test.images))
    learned = short(epochs=60, learning_rate=0.1)
    found = [evaluation_of(each, learned).run([real(data)], ["MLP"], 1).rows[0] for each in (data, inverted)]
    assert found[0].mean > 40 > 20 > found[1].mean


def test_an_interrupted_evaluation_goes_on_with_the_next_student(data, monkeypatch, nothing_remembered):
    train, trained = Learners.train, []

    def interrupted(self, job, students, on):
        if len(trained) == 2:
            raise KeyboardInterrupt
        trained.extend(students)
        return train(self, job, students, on)

    with monkeypatch.context() as patched:
        patched.setattr(Learners, "train", interrupted)
        with pytest.raises(KeyboardInterrupt):
            evaluation_of(data).run([real(data)], ["MLP"], 3)
    rest = []
    monkeypatch.setattr(Learners, "train", lambda *own: rest.extend(own[2]) or train(*own))
    assert len(evaluation_of(data).run([real(data)], ["MLP"], 3).rows[0].scores) == 3
    assert (trained, rest) == ([0, 1], [2])


def test_the_time_left_is_of_the_students_that_have_to_be_trained(data, monkeypatch, nothing_remembered):
    kinds = ("random", "herding", "k-centers")
    some = [baseline(kind, data, 2, 0, processes.new_accelerator("no").autocast) for kind in kinds]
    evaluation_of(data).run(some[1:2], ["MLP"], 1)
    before = evaluation_of(data).run(some[2:], ["MLP"], 2)
    seen, train = [], Learners.train

    def noting(self, job, students, on):
        around = progress.open_phase()
        seen.append((job.candidate.baseline, *students, around.count, around.total == 3 * job.work))
        return train(self, job, students, on)

    monkeypatch.setattr(Learners, "train", noting)
    found = evaluation_of(data).run(some, ["MLP"], 2)
    assert seen == [("random", 0, 3, True), ("random", 1, 3, True), ("herding", 1, 3, True)]
    assert [row.baseline for row in found.rows] == [*kinds] and found.rows[2:] == before.rows


def test_the_time_left_is_of_the_trials_that_have_to_be_made(data, monkeypatch, nothing_remembered):
    own = {"learning_rates": [0.01, 0.05]}
    evaluation_of(data, **own).run([real(data)], ["MLP"], 1)
    seen, train = [], Learners.train

    def noting(self, job, students, on):
        around = progress.open_phase()
        seen.append((around.what, job.protocol.learning_rate, around.count, around.total == around.count * job.work))
        return train(self, job, students, on)

    monkeypatch.setattr(Learners, "train", noting)
    evaluation_of(data, **own | {"learning_rates": [0.01, 0.1, 0.05]}).run([real(data)], ["MLP"], 1)
    assert seen[0] == ("choosing epochs and rates", 0.1, 1, True)
    assert {what for what, *_ in seen[1:]} <= {"evaluation"}


# --- intervals


def test_an_interval_of_distillations_holds_what_shared_students_vary():
    """Means of 1.5 and 4.5 of the distillations, of 2 and 4 of the students: variances of 2.25 and 1 of both means."""
    values = [[1.0, 2.0], [3.0, 6.0]]
    assert intervals.of_distillations(values) == intervals.of_mean([1.5, 4.5])
    shared = intervals.of_distillations(values, shared=True)
    freedom = 3.25**2 / (2.25**2 + 1**2)
    assert shared.half_width == pytest.approx(stats.t.ppf(0.975, freedom) * 3.25**0.5)
    assert (shared.mean, shared.n) == (3.0, 2)
    assert intervals.of_distillations(values[:1], shared=True) == intervals.of_mean([1.0, 2.0])
    assert intervals.of_distillations([[1.0], [3.0]], shared=True) == intervals.of_mean([1.0, 3.0])
    assert intervals.of_distillations([[2.0, 2.0]] * 3, shared=True).half_width == 0.0


@pytest.mark.parametrize("of_students", [0.0, 1.0, 4.0])
def test_an_interval_of_distillations_holds_the_mean_as_often_as_it_says(of_students):
    draws, held = np.random.default_rng(0), {True: 0, False: 0}
    for _ in range(1000):
        values = draws.normal(size=(3, 1)) + of_students * draws.normal(size=(1, 5)) + draws.normal(size=(3, 5))
        for shared in held:
            found = intervals.of_distillations(values.tolist(), shared)
            held[shared] += abs(found.mean) <= found.half_width
    assert held[True] >= 930  # of 950 that are to be expected
    assert of_students < 4 or held[False] < 700  # which takes the students for those of each distillation alone


def test_intervals_of_textbook_numbers():
    interval = intervals.of_mean([1.0, 2.0, 3.0])  # t(0.975, 2) = 4.30265
    assert (interval.mean, interval.half_width) == pytest.approx((2.0, 4.30265 / 3**0.5), rel=1e-5)
    paired = intervals.of_difference([80.0, 82.0, 84.0], [79.0, 81.5, 82.5])
    assert (paired.mean, paired.half_width) == pytest.approx((1.0, 4.30265 * 0.5 / 3**0.5), rel=1e-5)
    constant = intervals.of_difference([5, 6], [1, 2])
    assert paired.half_width > paired.mean and (constant.mean, constant.half_width) == (4, 0)
    assert intervals.of_mean([7.0]).half_width is None
    with pytest.raises(ValueError):
        intervals.of_difference([1, 2], [1])


@given(st.lists(st.floats(0, 100), min_size=2, max_size=8), st.floats(-50, 50))
def test_pairing_takes_out_what_the_students_share(values, gap):
    paired = intervals.of_difference([value + gap for value in values], values)
    assert paired.mean == pytest.approx(gap, abs=1e-9) and paired.half_width < 1e-6


# --- results, reports


REAL = ("random real", "herding")


def test_every_row_says_what_it_takes(distilled, data, tmp_path):
    options = {"eval_students": 2, "eval_epochs": 2, "eval_architectures": ["MLP", "LeNet"]}
    results = hf_dd.evaluate(sets=[str(distilled)], output_dir=str(tmp_path), **options)
    assert [(row.set, row.copy, row.architecture) for row in results.rows] == [
        (name, copy, architecture)
        for architecture in ("MLP", "LeNet")
        for name, copy in (*(("set", "float"), ("set", "8bit")), *((f"{each}, ipc 2", "8bit") for each in REAL))
    ]
    rows = hf_dd.Artefact.open(distilled).load().cast_column("image", __import__("datasets").Image(decode=False))
    assert [row.bytes for row in results.rows[:4]] == [
        20 * 8 * 8 * 4,
        sum(len(image["bytes"]) for image in rows["image"]),
        *(png_bytes(baseline(kind, data, 2, 0, nullcontext).of_student(0).images) for kind in ("random", "herding")),
    ]
    for row in results.rows:
        assert len(row.scores) == row.n == 2 and row.mean == pytest.approx(sum(row.scores) / 2)
        assert row.half_width == pytest.approx(12.7062 * row.std / 2**0.5, rel=1e-5)
    written = json.loads((tmp_path / "results.json").read_text())
    assert (written["protocol"]["name"], written["protocol"]["version"]) == ("dsa", 1)
    assert written["protocol"]["changed"] == ["augment", "epochs"]  # mirrored digits are other signs
    assert written["protocol"]["augment"] == "color_crop_cutout_scale_rotate"
    lines = tables.matrix(results.as_dict()).splitlines()
    assert lines[0] == "| set | copy | MLP | LeNet |" and len(lines) == 6


def test_comparing_sets_is_a_table_and_a_plot(distilled, tmp_path):
    options = {"eval_students": 2, "eval_epochs": 2, "eval_architectures": ["MLP"], "eval_copies": ["float"]}
    again = hf_dd.Artefact.open(distilled).copied(tmp_path / "again").folder
    folder = hf_dd.compare(sets=[str(distilled), str(again)], output_dir=str(tmp_path / "c"), **options)
    assert (folder / "comparison.png").read_bytes().startswith(b"\x89PNG")
    text = (folder / "comparison.md").read_text()
    table = [line for line in text.splitlines() if line.startswith("| ")]
    assert table.pop().startswith("| always the commonest class | – | – | 10.")
    assert text.startswith(
        "- set: all students at chance, which says nothing of the set (n = 2, MLP, hard labels).\n- again: all "
    )
    assert len(table) == 5 and table[1].count("–") == 1  # the first is compared with nothing
    assert "0.00 [0.00, 0.00]" in table[2]  # the same images again
    assert [line.split(" | ")[-1] for line in table] == ["teachers |", "0 |", "0 |", "– |", "– |"]
    assert " | 2 | 2 | 0.01 | 2 | " in table[1]  # epochs, steps, rate, ipc
    assert (
        "Protocol dsa v1, changed: augment color_crop_cutout_scale_rotate, epochs 2" in text
        and f"{20 * 8 * 8 * 4:,}" in table[1]
    )


def test_an_evaluation_of_several_sets_completes_the_card_of_each_local_one(distilled, tmp_path, monkeypatch):
    """Each by its own rows and scores, and by the real images of its own ipc."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(report, "plot", lambda results, path: path.write_bytes(b"plot"))
    one, two = (Path(shutil.copytree(distilled, tmp_path / name / "set")) for name in "ab")
    rows = hf_dd.Artefact.open(two).load().select(range(0, 20, 2))
    digests = {one: {}, two: write_rows(two, rows)}
    for folder, own in digests.items():  # without the results of more training, which would be kept
        path = folder / "hf_dd.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"results": None} | own))
    strange = tmp_path / "strange"
    write_rows(strange, rows)
    options = {"eval_students": 1, "eval_epochs": 1, "eval_architectures": ["MLP", "LeNet"], "dataset": "digits"}
    options |= {"sets": [str(one), str(strange), str(two)], "baselines": ["random", "full"], "eval_copies": ["float"]}
    results = hf_dd.evaluate(**options, scores=["relative_accuracy"])
    (written,) = tmp_path.glob("outputs/evaluate-*/results.json")
    assert len(json.loads(written.read_text())["rows"]) == len(results.rows) == 12
    assert not (strange / "README.md").exists()
    for folder, ipc in ((one, 2), (two, 1)):
        found = hf_dd.Artefact.open(folder).record.results
        names = [f"{folder.parent.name}/set", f"random real, ipc {ipc}", "full set"]
        assert [(row["architecture"], row["set"]) for row in found["rows"]] == [
            (architecture, name) for architecture in ("MLP", "LeNet") for name in names
        ]
        assert [row["ipc"] for row in found["rows"]][:2] == [ipc, ipc]
        assert [(score["architecture"], score["inputs"]["distilled"]["ipc"]) for score in found["scores"]] == [
            ("MLP", ipc),
            ("LeNet", ipc),
        ]
        assert f"random real, ipc {ipc}" in (folder / "README.md").read_text() and (folder / "results.png").is_file()
    assert hf_dd.Artefact.open(one).record.results["rows"][0]["scores"] == list(results.rows[0].scores)
    assert hf_dd.Artefact.open(two).record.results["rows"][0]["scores"] == list(results.rows[2].scores)
    options |= {"sets": [str(two), str(one)], "eval_architectures": ["MLP"], "baselines": []}
    hf_dd.compare(**options, output_dir=str(tmp_path / "c"))
    assert len(hf_dd.Artefact.open(two).record.results["rows"]) == 1  # those of the last evaluation
    claimed = files.claimed
    monkeypatch.setattr(files, "claimed", lambda folder, *names: refused(folder, two, claimed, *names))
    hf_dd.evaluate(**options | {"eval_copies": ["8bit"]})
    copies = [hf_dd.Artefact.open(folder).record.results["rows"][0]["copy"] for folder in (two, one)]
    assert copies == ["float", "8bit"]  # what can't be written loses nothing else


def refused(folder, refusing, claimed, *names):
    if Path(folder) == refusing:
        raise RunError("read-only")
    return claimed(folder, *names)


def test_a_set_that_does_not_fit_is_refused_before_any_student(distilled, data, monkeypatch):
    monkeypatch.setattr(Learners, "train", None)
    for options, message in [
        ({"dataset": "digits", "image_size": 12}, "images of \\(1, 8, 8\\)"),
        ({"eval_architectures": ["timm/nothing_like_it"]}, "timm has no model"),
        ({"eval_protocol": "soft-label"}, "no soft labels"),
        ({"eval_protocol": "linear"}, "known are: "),
    ]:
        with pytest.raises(hf_dd.HfDdError, match=message):
            hf_dd.evaluate(sets=[str(distilled)], baselines=[], **options)
    with pytest.raises(DataError, match="no test split"):
        evaluation_of(dataclasses.replace(data, test=None))


def test_a_candidate_of_uint8_and_of_floats_is_the_same_set(data):
    candidate = real(data)
    floats = dataclasses.replace(candidate, images=candidate.images.float() / 255)
    assert isinstance(candidate, Candidate)
    results = evaluation_of(data).run([candidate, floats], ["MLP"], 1)
    assert results.rows[0].mean == results.rows[1].mean
