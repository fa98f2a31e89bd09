"""What an evaluation trains: the linear probe of the protocol of that name, against the loop written plainly."""

import dataclasses
import json

import pytest
import torch
import torch.nn.functional as F
from huggingface_hub import HfApi

import hf_dd
from hf_dd import cli
from hf_dd.config import DataConfig, EvaluationConfig
from hf_dd.core import processes
from hf_dd.core.seeding import generator
from hf_dd.data.image_data import load_data
from hf_dd.errors import ConfigError, HubError, TeacherError
from hf_dd.evaluation import candidates
from hf_dd.evaluation.candidates import baseline
from hf_dd.evaluation.evaluation import Evaluation
from hf_dd.evaluation.learners import Learners
from hf_dd.evaluation.protocols import PROTOCOLS, Protocol
from hf_dd.evaluation.students import FromScratch, LinearProbe, students_of
from hf_dd.teachers.teacher import Teacher
from hf_dd.training.loop import epoch_batches, fit
from hf_dd.training.side_by_side import fit_side_by_side
from tests.oracles import protocols as oracles

PROBE = PROTOCOLS["linear-probe"]

pytestmark = pytest.mark.usefixtures("one_thread", "nothing_remembered")


@pytest.fixture(scope="module")
def data():
    return load_data(DataConfig())


@pytest.fixture(scope="module")
def distilled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "set"
    options = {"ipc": 2, "iterations": 3, "real_batch_size": 4, "architecture_options": ["width=8"]}
    return hf_dd.distill(output_dir=str(folder), eval_students=0, **options).folder


@pytest.fixture
def seen(monkeypatch):
    """How many images a backbone was shown, call by call."""
    counts, features = [], Teacher.features

    def count(self, images):
        counts.append(len(images))
        return features(self, images)

    monkeypatch.setattr(Teacher, "features", count)
    return counts


def probe(**changes):
    return PROBE.with_changes(**{"epochs": 20} | changes)


def evaluation_of(data, protocol=None, **choices):
    return Evaluation(data, protocol or probe(), seed=0, accelerator=processes.new_accelerator("no"), **choices)


def real(data, ipc=2, **changes):
    return dataclasses.replace(candidates.random_real(data, ipc, 0, 0), name="set", baseline=None, **changes)


def test_the_protocol():
    recipe = PROBE.recipe()
    assert (PROBE.version, PROBE.trains, PROBE.normalisation, PROBE.labels) == (1, "head", "backbone", "hard")
    assert (recipe.epochs, recipe.learning_rate, recipe.weight_decay, recipe.batch_size) == (1000, 0.001, 0.0, 256)
    assert (recipe.optimizer, recipe.cosine, recipe.strategy) == ("adamw", True, ())


def test_a_probe_is_the_literal_loop_on_the_backbones_features(data, tiny_teachers):
    candidate = real(data, ipc=5)
    protocol = probe(epochs=300)
    row = evaluation_of(data, protocol).run([candidate], [tiny_teachers.references[0]], 1).rows[0]
    students = students_of(tiny_teachers.references[0], protocol, data)
    teacher, head = students.teacher, students.new(0)

    @torch.no_grad()
    def features(images):
        return teacher.network.features((images.double() / 255 - teacher.mean) / teacher.std)

    teacher.double()
    weight, bias = (value.detach().double().requires_grad_() for value in (head.weight, head.bias))
    assert weight.shape == (10, 16 * 2 * 2)
    optimizer = torch.optim.Adam([weight, bias], 0.001)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 300)
    known = features(candidate.images)
    for _ in range(300):  # 50 images: one batch, whose order makes no difference
        optimizer.zero_grad()
        F.cross_entropy(known @ weight.T + bias, candidate.labels).backward()
        optimizer.step()
        schedule.step()
    teacher.float()
    for _ in fit(head, students.inputs(candidate.images), candidate.labels, protocol.recipe(), seed=0, purpose="x"):
        pass
    torch.testing.assert_close(head.weight.double(), weight, rtol=1e-4, atol=1e-5)
    teacher.double()
    right = (features(data.test.images) @ weight.T + bias).argmax(1) == data.test.labels
    assert row.mean == pytest.approx(100 * right.double().mean().item(), abs=100 * 1.1 / len(data.test))
    assert row.mean > 50  # five images of each class


def test_lgms_probe_goes_by_the_batch():
    protocol = PROTOCOLS["lgm"]
    recipe = protocol.recipe()
    assert (recipe.epochs, recipe.batch_size, recipe.weight_decay, recipe.cosine) == (1000, 100, 0.0, True)
    assert (recipe.views.scale, recipe.views.ratio, recipe.views.flip) == ((0.08, 1.0), (0.75, 4 / 3), True)
    few, many, named = (
        protocol.resolve(1, 10, 8, "x"),
        protocol.resolve(50, 10, 8, "x"),
        protocol.with_changes(learning_rate=0.01).resolve(1, 10, 8, "x"),
    )
    assert (few.learning_rate, many.learning_rate) == (0.001 * 10 / 256, 0.001 * 100 / 256)
    assert named.learning_rate == 0.01 and named.changed == ("learning_rate",)
    assert few.resolved == ("learning_rate",) and few.with_changes(learning_rate=few.learning_rate).changed == ()
    assert few.resolve(1, 10, 8, "x").learning_rate == few.learning_rate
    assert str(few) == "lgm v1, here: learning_rate 3.90625e-05"


def test_lgms_probe_is_the_authors_loop(data, tiny_teachers):
    candidate = real(data, ipc=11)
    protocol = PROTOCOLS["lgm"].with_changes(epochs=5).resolve(11, 10, 8, "x")
    students = students_of(tiny_teachers.references[0], protocol, data)
    head, theirs = students.new(0), students.new(0)
    assert head.weight.std().item() == pytest.approx(0.01, rel=0.1) and not head.bias.any()
    images = students.inputs(candidate.images)
    assert images.shape == (110, 1, 8, 8) and students.tested(candidate.images).shape == (110, 64)

    def batches(epoch):
        plain = epoch_batches(images, protocol.recipe(), 0, "student", epoch, lambda batch: batch)
        return [(views, candidate.labels[chosen]) for chosen, views, _ in plain]

    first, again = batches(1), batches(2)
    assert [len(views) for views, _ in first] == [100, 10] and not torch.equal(first[1][0], again[1][0])
    teacher = students.teacher

    def features(views):
        return teacher.network.features(((views - teacher.mean) / teacher.std).float())

    oracles.lgm(theirs, features, batches, 5, batch_size=100)
    how = {"seed": 0, "purpose": "student", "prepare": students.prepare}
    for _ in fit(head, images, candidate.labels, protocol.recipe(), **how):
        pass
    torch.testing.assert_close(head.weight, theirs.weight, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(head.bias, theirs.bias, rtol=1e-4, atol=1e-6)


def test_heads_on_views_are_tested_on_the_images_as_they_are(data, tiny_teachers, seen):
    protocol = PROTOCOLS["lgm"].with_changes(epochs=3, learning_rate=0.01)
    results = evaluation_of(data, protocol).run([real(data)], [tiny_teachers.references[0]], 2)
    assert sorted(seen) == sorted([1, *[20] * 6, len(data.test)])
    (row,) = results.rows
    assert row.protocol == "lgm v1, changed: epochs 3, learning_rate 0.01" and len(set(row.scores)) == 2


def test_features_are_computed_once_for_each_backbone_and_set(data, tiny_teachers, seen):
    first, second = real(data), real(data, ipc=3)
    backbones = [tiny_teachers.references[0], tiny_teachers.references[2]]
    results = evaluation_of(data).run([first, second], backbones, 3)
    assert sorted(seen) == sorted([1, 20, 30, len(data.test)] * 2)  # 1: a blank image, for the features' size
    assert len({row.scores for row in results.rows}) == 4 and all(row.n == 3 for row in results.rows)
    seen.clear()
    validation, rates = 143, [0.1, 0.001]
    evaluation_of(data, epochs=[1, 2], learning_rates=rates).run([first], backbones[:1], 3)
    assert sorted(seen) == sorted([1, 20, validation, len(data.test)])
    seen.clear()
    evaluation_of(data).run([baseline("random", data, 2, 0, None)], backbones[:1], 3)
    assert sorted(seen) == sorted([1, 20, 20, 20, len(data.test)])  # each student has its own draw


def test_the_backbone_stays_as_it_is(data, tiny_teachers):
    evaluated = evaluation_of(data)
    network = evaluated.students(tiny_teachers.references[0]).teacher.network
    before = {name: value.clone() for name, value in network.state_dict().items()}
    evaluated.run([real(data)], [tiny_teachers.references[0]], 1)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_a_row_says_the_backbones_commit(data, tiny_teachers):
    repo = tiny_teachers.references[0].split("@")[0]
    folder = str(tiny_teachers.folders[0])
    names = [tiny_teachers.references[0], f"{repo}@epoch-2", folder, f"{folder}@epoch-1"]
    rows = evaluation_of(data).run([real(data)], names, 2).rows
    sha = HfApi().model_info(repo, revision="final").sha
    assert [row.architecture for row in rows] == names and [row.backbone for row in rows][:2] == [sha, sha]
    assert all(row.backbone.startswith("sha256:") for row in rows[2:]) and rows[2].backbone != rows[3].backbone
    assert rows[0].scores == rows[1].scores == rows[2].scores != rows[3].scores
    from_scratch = evaluation_of(data, PROTOCOLS["dc"].with_changes(epochs=1)).run([real(data)], ["MLP"], 1)
    assert from_scratch.rows[0].backbone is None


def test_baselines_are_remembered_by_the_commit_not_by_its_name(data, tiny_teachers, monkeypatch):
    repo = tiny_teachers.references[0].split("@")[0]
    first = evaluation_of(data).run([baseline("random", data, 2, 0, None)], [f"{repo}@final"], 2)
    monkeypatch.setattr(Learners, "train", None)
    again = evaluation_of(data).run([baseline("random", data, 2, 0, None)], [f"{repo}@epoch-2"], 2)
    assert again.rows[0].scores == first.rows[0].scores
    with pytest.raises(TypeError):
        evaluation_of(data).run([baseline("random", data, 2, 0, None)], [f"{repo}@epoch-1"], 2)


def test_a_backbone_takes_images_of_another_size_and_colour(tiny_teachers):
    larger = load_data(DataConfig(image_size=12))
    students = students_of(tiny_teachers.references[0], PROBE, larger)
    images = torch.rand(5, 1, 12, 12)
    expected = students.teacher.network.features(students.teacher.adapt(images))
    torch.testing.assert_close(students.inputs(images), expected)
    torch.testing.assert_close(students.inputs((255 * images).byte()), students.inputs((255 * images).byte() / 255))
    colours = dataclasses.replace(larger, train=dataclasses.replace(larger.train, images=torch.zeros(2, 3, 12, 12)))
    assert students_of(tiny_teachers.references[0], PROBE, colours).size == expected.shape[1]


def test_heads_side_by_side_learn_as_they_would_alone(data, tiny_teachers):
    students = students_of(tiny_teachers.references[0], PROBE, data)
    seeds, features = [0, 1, 2], [students.inputs(real(data, 3).images)] * 3
    labels = [torch.randint(10, (30,), generator=generator(seed, "labels")) for seed in seeds]
    alone, together = ([students.new(seed) for seed in seeds] for _ in range(2))
    recipe = probe(epochs=5, batch_size=8).recipe()
    for head, own, targets, seed in zip(alone, features, labels, seeds, strict=True):
        list(fit(head, own, targets, recipe, seed=seed, purpose="student"))
    fit_side_by_side(together, features, labels, recipe, seeds=seeds, purpose="student")
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(other.weight, one.weight, rtol=1e-5, atol=1e-6)


# --- on the command line, and what is refused


def test_the_command_line(distilled, tiny_teachers, tmp_path, capsys):
    arguments = [
        "evaluate",
        str(distilled),
        "--eval_protocol",
        "linear-probe",
        "--eval_epochs",
        "5",
        "--eval_students",
    ]
    backbones = ["--eval_architectures", *tiny_teachers.references[::2]]
    cli.main([*arguments, "2", *backbones, "--output_dir", str(tmp_path)])
    written = json.loads((tmp_path / "results.json").read_text())
    assert written["protocol"]["name"] == "linear-probe" and written["protocol"]["changed"] == ["epochs"]
    rows = [(row["set"], row["copy"], row["architecture"], len(row["backbone"])) for row in written["rows"]]
    sets = [("set", "float"), ("set", "8bit"), ("random real, ipc 2", "8bit"), ("herding, ipc 2", "8bit")]
    assert rows == [(*one, reference, 40) for reference in tiny_teachers.references[::2] for one in sets]
    assert "Results under linear-probe v1, changed: epochs 5" in capsys.readouterr().out


NEEDS = "--eval_architectures {0}: the protocol linear-probe needs a pre-trained backbone. Name a teacher as "


@pytest.mark.parametrize("name", ["ConvNet", "timm/resnet10t", "ConvNt"])
def test_a_network_by_its_plain_name_is_no_backbone(data, name):
    with pytest.raises(ConfigError, match=f"^{NEEDS.format(name)}owner/name@revision or by its local folder.$"):
        students_of(name, PROBE, data)


def test_a_teacher_is_no_network_from_scratch(data, tiny_teachers, distilled, monkeypatch):
    monkeypatch.setattr(Learners, "train", None)
    for name in (tiny_teachers.references[0], str(tiny_teachers.folders[0]), f"{tiny_teachers.folders[0]}@epoch-1"):
        message = (
            f"^--eval_architectures {name} names a pre-trained teacher, but the protocol dsa trains networks from"
        )
        with pytest.raises(ConfigError, match=message):
            hf_dd.evaluate(sets=[str(distilled)], eval_architectures=["MLP", name], baselines=["herding"])
    assert isinstance(students_of("MLP", PROTOCOLS["dsa"], data), FromScratch)
    assert isinstance(students_of(tiny_teachers.references[0], PROBE, data), LinearProbe)


def test_a_folder_does_not_hide_a_network(data, tmp_path, monkeypatch):
    (tmp_path / "MLP").mkdir()
    monkeypatch.chdir(tmp_path)
    assert isinstance(students_of("MLP", PROTOCOLS["dc"], data), FromScratch)


def test_backbones_that_are_not_there(data, tmp_path):
    with pytest.raises(HubError, match="model local/nothing@final doesn't exist"):
        students_of("local/nothing@final", PROBE, data)
    with pytest.raises(TeacherError, match="Teacher no/such/folder: there is no such folder"):
        students_of("no/such/folder", PROBE, data)
    with pytest.raises(TeacherError, match=str(tmp_path)):
        students_of(str(tmp_path), PROBE, data)


def test_features_are_not_augmented():
    with pytest.raises(ConfigError, match="--eval_augment flip has no place in the protocol linear-probe"):
        Protocol.from_config(EvaluationConfig(eval_protocol="linear-probe", eval_augment="flip"))
    assert Protocol.from_config(EvaluationConfig(eval_protocol="linear-probe", eval_augment="none")) == PROBE


def test_a_wrong_backbone_shows_before_a_distillation(tmp_path):
    with pytest.raises(ConfigError, match="needs a pre-trained backbone"):
        hf_dd.distill(eval_protocol="linear-probe", ipc=1, iterations=1, output_dir=str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
