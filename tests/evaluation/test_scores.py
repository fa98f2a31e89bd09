"""Scores beside accuracies: what students they train, what they choose where, and their values by hand."""

import dataclasses
import json
import math

import pytest
import torch

import hf_dd
from hf_dd import cli, config
from hf_dd.artefacts.distilled_folder import Artefact
from hf_dd.config import DataConfig, EvaluateConfig
from hf_dd.core import processes
from hf_dd.core.strategies import SIAMESE
from hf_dd.data.image_data import load_data
from hf_dd.errors import ConfigError
from hf_dd.evaluation import candidates, report
from hf_dd.evaluation import scores as scoring
from hf_dd.evaluation.candidates import baseline
from hf_dd.evaluation.evaluation import Evaluation
from hf_dd.evaluation.learners import Learners
from hf_dd.evaluation.protocols import PROTOCOLS, Protocol, alternatives

pytestmark = pytest.mark.usefixtures("one_thread", "nothing_remembered")


@pytest.fixture(scope="module")
def data():
    return load_data(DataConfig())


@pytest.fixture
def trained(monkeypatch):
    """Students are not trained, but have an accuracy made up of what they would be trained on and how."""
    calls, made_up = [], {}

    def train(self, job, students, data):
        calls.append((job, tuple(students), data is self.data))
        key = (job.candidate.baseline, job.protocol.name, job.protocol.augment, job.protocol.labels)
        value = made_up.get((*key, data is self.data), made_up.get(key, 0.5))
        return {student: (value + 0.01 * student, 1.0, []) for student in students}

    monkeypatch.setattr(Learners, "train", train)
    return calls, made_up


def evaluation_of(data, protocol=None, **choices):
    protocol = protocol or PROTOCOLS["dc"].with_changes(epochs=2)
    return Evaluation(data, protocol, seed=0, accelerator=processes.new_accelerator("no"), **choices)


def real(data, ipc=2, **changes):
    return dataclasses.replace(candidates.random_real(data, ipc, 0, 0), name="set", baseline=None, **changes)


def score(data, names, own=None, students=2, **options):
    evaluated, known = evaluation_of(data, **options), {}

    def real_images(kind, ipc):
        return known.setdefault((kind, ipc), baseline(kind, evaluated.data, ipc, 0, None))

    return scoring.score_sets(evaluated, names, [own or real(data)], real_images, ["MLP"], students)


def ranked(a):
    return (math.exp(a) - math.exp(-1)) / (math.e - math.exp(-1))


def test_relative_accuracy(data, trained):
    calls, made_up = trained
    made_up |= {("full", "dc", "none", "hard"): 0.9, (None, "dc", "none", "hard"): 0.6}
    (found,) = score(data, ["relative_accuracy"])
    assert (found.name, found.set, found.copy, found.architecture) == ("relative_accuracy", "set", "8bit", "MLP")
    assert found.value == pytest.approx(0.605 / 0.905) and found.parts == {}
    assert found.inputs["full"].scores == pytest.approx((90, 91)) and found.inputs["full"].baseline == "full"
    assert found.inputs["distilled"].scores == pytest.approx((60, 61)) and found.inputs["distilled"].n == 2
    assert str(found).startswith("set [8bit] MLP: relative_accuracy 0.6685, of distilled 60.50 (dc v1, changed: epoc")


@pytest.mark.parametrize("name, augment", [("dsa", SIAMESE), ("dsa", "flip"), ("dc", SIAMESE)])
def test_augmentation_robust_score(data, trained, name, augment):
    calls, made_up = trained
    protocol = PROTOCOLS[name].with_changes(epochs=2, **({"augment": augment} if name == "dsa" else {}))
    for kind, with_augmentation, plain in ((None, 0.75, 0.5), ("random", 0.55, 0.6)):
        made_up |= {(kind, name, augment, "hard"): with_augmentation, (kind, name, "none", "hard"): plain}
    (found,) = score(data, ["augmentation_robust_score"], protocol=protocol)
    assert found.value == pytest.approx(ranked(0.5 * 0.2 + 0.5 * -0.1))
    assert found.parts == {
        "improvement_with_augmentation": pytest.approx(0.2),
        "improvement_without_augmentation": pytest.approx(-0.1),
    }
    means = {key: row.mean for key, row in found.inputs.items()}
    assert means == {
        "distilled_augmented": pytest.approx(75.5),
        "random_augmented": pytest.approx(55.5),
        "distilled_plain": pytest.approx(50.5),
        "random_plain": pytest.approx(60.5),
    }
    assert all(on_test for *_, on_test in calls)  # there is nothing to choose


@pytest.mark.parametrize("named", [None, "none", SIAMESE])
@pytest.mark.parametrize("name", ["dc", "ddranking-soft", "dsa"])
def test_no_protocol_of_a_score_mirrors_images_that_may_not_be(data, name, named):
    """Digits mirrored are none: no score may train on them, unless the options name that augmentation."""
    if (name, named) == ("ddranking-soft", SIAMESE):
        return  # which would be of views and of these operations
    asked = EvaluateConfig(sets=["x"], eval_protocol=name, eval_augment=named)

    def suited(protocol):
        return protocol.suited(asked, data)

    evaluated = evaluation_of(data, suited(Protocol.from_config(asked)), suited=suited)
    own = real(data, soft_labels=torch.eye(10)[real(data).labels])
    for score in ("augmentation_robust_score", "label_robust_score"):
        inputs = scoring.inputs_of(score, evaluated, own, lambda kind, ipc: own, "MLP")
        every = [option.augment for _, _, options in inputs.values() for option in options]
        assert any("flip" in augment for augment in every) == (named == SIAMESE), every


def test_label_robust_score_takes_the_best_protocol_on_the_validation_split(data, trained):
    calls, made_up = trained
    soft = torch.nn.functional.one_hot(real(data).labels, 10).float()
    made_up |= {
        ("full", "dc", "none", "hard"): 0.9,
        (None, "dc", "none", "hard", True): 0.7,
        (None, "dc", "none", "hard", False): 0.3,
        (None, "dsa", SIAMESE, "hard", True): 0.95,  # the best on the test split, which has no say
        (None, "dsa", SIAMESE, "hard", False): 0.2,
        (None, "soft-label", SIAMESE, "soft", True): 0.8,
        (None, "soft-label", SIAMESE, "soft", False): 0.4,
        ("random", "soft-label", SIAMESE, "soft"): 0.5,
    }
    (found,) = score(data, ["label_robust_score"], own=real(data, soft_labels=soft), epochs=[2])
    assert found.parts == {
        "hard_label_recovery": pytest.approx(0.2),
        "improvement_over_random": pytest.approx(0.3),
    }
    assert found.value == pytest.approx(ranked(0.5 * 0.3 - 0.5 * 0.2))
    best = "soft-label v1, changed: epochs 2"
    assert [found.inputs[key].protocol for key in ("distilled_best", "random_best")] == [best, best]
    assert found.inputs["distilled"].protocol == found.inputs["full"].protocol == "dc v1, changed: epochs 2"
    chosen = [job for job, _, on_test in calls if not on_test]
    assert {job.protocol.name for job in chosen} == {"dc", "dsa", "soft-label"} and len(chosen) == 3
    assert all(job.candidate.baseline is None for job in chosen)


def test_without_soft_labels_the_best_protocol_is_one_on_hard_labels(data, trained):
    calls, made_up = trained
    made_up |= {(None, "dsa", "flip", "hard", False): 0.9}
    protocol = PROTOCOLS["dc"].with_changes(epochs=2)
    (found,) = score(data, ["label_robust_score"], protocol=protocol)
    assert found.inputs["random_best"].protocol.startswith("dc v1")  # the first of equals
    hard = [other.name for other in alternatives(protocol, soft_labels=False)]
    assert hard == ["dc", "dsa"]
    assert alternatives(PROTOCOLS["linear-probe"], True) == [PROTOCOLS["linear-probe"]]
    flipped = alternatives(PROTOCOLS["dsa"].with_changes(augment="flip"), soft_labels=True)
    assert [(other.name, other.augment) for other in flipped] == [
        ("dsa", "flip"),
        ("dc", "none"),
        ("soft-label", "flip"),
    ]


def test_on_soft_labels_the_hard_ones_are_the_same_protocol_on_hard_labels(data, trained):
    soft = torch.nn.functional.one_hot(real(data).labels, 10).float()
    protocol = PROTOCOLS["soft-label"].with_changes(epochs=1)
    (found,) = score(data, ["label_robust_score"], own=real(data, soft_labels=soft), protocol=protocol)
    for key in ("full", "distilled"):
        assert found.inputs[key].protocol == "soft-label v1, changed: epochs 1, labels hard"


def test_a_rate_of_another_optimiser_is_not_taken_over(data):
    evaluated = evaluation_of(data, learning_rates=[0.5], epochs=[3, 4])
    with_rate = real(data, learning_rate=0.02)
    for name, rate in (("dsa", 0.5), ("soft-label", 0.001)):
        options = evaluated.options(with_rate, PROTOCOLS[name])
        assert [(option.epochs, option.learning_rate) for option in options] == [(3, rate), (4, rate)]


def test_nothing_is_trained_twice_and_baselines_are_remembered(data, trained, monkeypatch):
    calls, _ = trained
    evaluated, known = evaluation_of(data), {}

    def real_images(kind, ipc):
        return known.setdefault((kind, ipc), baseline(kind, evaluated.data, ipc, 0, None))

    own = real(data)
    results = evaluated.run([own, real_images("random", 2)], ["MLP"], 2)
    before = len(calls)
    scores = scoring.score_sets(evaluated, config.SCORES, [own], real_images, ["MLP"], 2)
    assert before == 4 and scores[0].inputs["distilled"] is results.rows[0]  # two students of each
    assert scores[1].inputs["random_plain"] is results.rows[1]
    on_test = [(job, student) for job, (student,), on_test in calls if on_test]
    assert len({(job.candidate, job.protocol, student) for job, student in on_test}) == len(on_test)
    calls.clear()
    score(data, config.SCORES)
    assert not [job for job, *_ in calls if job.candidate.baseline]


def test_a_probe_has_no_augmentation_to_be_robust_to(tiny_teachers, tmp_path, monkeypatch):
    monkeypatch.setattr(Learners, "train", None)
    scoring.require_sense(["relative_accuracy", "label_robust_score"], PROTOCOLS["linear-probe"])
    with pytest.raises(ConfigError, match="^--scores augmentation_robust_score compares students with and without"):
        scoring.require_sense(["augmentation_robust_score"], PROTOCOLS["linear-probe"])


# --- through the command


@pytest.fixture(scope="module")
def distilled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "set"
    options = {"ipc": 2, "iterations": 3, "real_batch_size": 4, "architecture_options": ["width=8"]}
    return hf_dd.distill(output_dir=str(folder), eval_students=0, **options).folder


def test_the_results_the_record_and_the_card_hold_the_scores(distilled, capsys):
    how = "--eval_students 2 --eval_epochs 2 --eval_protocol dc --eval_copies float --baselines none".split()
    arguments = ["--eval_architectures", "MLP", "LeNet", "--scores", *config.SCORES]
    cli.main(["evaluate", str(distilled), *how, *arguments])
    printed = capsys.readouterr().out
    written = json.loads((distilled / "results.json").read_text())
    assert Artefact.open(distilled).record.results == written
    assert [(one["architecture"], one["name"]) for one in written["scores"]] == [
        (architecture, name) for architecture in ("MLP", "LeNet") for name in config.SCORES
    ]
    card = (distilled / "README.md").read_text()
    for one in written["scores"]:
        row = f"| set | float | {one['architecture']} | {one['name']} | {one['value']:.4f} |"
        assert row in card and f"{one['name']} {one['value']:.4f}, of " in printed
        means = {key: row["mean"] / 100 for key, row in one["inputs"].items()}
        if one["name"] == "relative_accuracy":
            assert one["value"] == pytest.approx(means["distilled"] / means["full"])
        elif one["name"] == "augmentation_robust_score":
            gains = (means[f"distilled_{form}"] - means[f"random_{form}"] for form in ("augmented", "plain"))
            assert one["value"] == pytest.approx(ranked(sum(gains) / 2))
        else:
            recovery = means["full"] - means["distilled"]
            improvement = means["distilled_best"] - means["random_best"]
            assert one["value"] == pytest.approx(ranked((improvement - recovery) / 2))
    assert len(written["rows"]) == 2 and all(row["baseline"] is None for row in written["rows"])


def test_a_comparison_shows_them(distilled, tmp_path):
    options = {"eval_students": 1, "eval_epochs": 1, "eval_protocol": "dc", "eval_architectures": ["MLP"]}
    shared = {"eval_copies": ["float"], "baselines": [], "scores": ["relative_accuracy"], "output_dir": str(tmp_path)}
    text = (hf_dd.compare(sets=[str(distilled)], **options, **shared) / "comparison.md").read_text()
    (line,) = (line for line in text.splitlines() if "relative_accuracy" in line)
    assert line.startswith("| set | float | MLP | relative_accuracy | ") and "; full " in line
    assert "| set | copy | student | score | value | of |" in text


def test_several_architectures_are_plotted_and_pushed_with_the_set(distilled, unique, monkeypatch):
    options = {"eval_students": 2, "eval_epochs": 1, "eval_copies": ["float"], "baselines": []}
    both = options | {"eval_architectures": ["MLP", "LeNet"]}
    hf_dd.evaluate(sets=[str(distilled)], **both)
    assert (distilled / "results.png").read_bytes().startswith(b"\x89PNG")
    assert "![Accuracies by architecture](results.png)" in (distilled / "README.md").read_text()
    pin = hf_dd.push(distilled, unique()).pin
    pulled = hf_dd.hub.pull(pin, "dataset")
    assert (pulled / "results.png").read_bytes() == (distilled / "results.png").read_bytes()
    hf_dd.evaluate(sets=[str(distilled)], **options, eval_architectures=["MLP"])  # of one there is no matrix
    assert not (distilled / "results.png").exists() and "results.png" not in (distilled / "README.md").read_text()
    monkeypatch.setattr(report.importlib.util, "find_spec", lambda name: None)
    hf_dd.evaluate(sets=[str(distilled)], **both)  # without matplotlib there is the matrix alone
    assert not (distilled / "results.png").exists()
    card = (distilled / "README.md").read_text()
    assert "| set | copy | MLP | LeNet |" in card and "results.png" not in card
