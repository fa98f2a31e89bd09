"""DD-Ranking's file: scores of each student first, then their mean; names as its authors' tool has them."""

import json
import math
import statistics

import pytest

import hf_dd
from hf_dd import cli
from hf_dd.artefacts import dd_ranking
from hf_dd.evaluation.learners import Learners
from hf_dd.evaluation.protocols import PROTOCOLS
from hf_dd.evaluation.results import Results, Row

MADE_UP = {"full": 0.95, "random": 0.5, None: 0.6}  # accuracy of the first student by what it was trained on


def mapped(a):
    return (math.exp(a) - math.exp(-1)) / (math.e - math.exp(-1))


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """Students are not trained: those on the set get better by 20 points each, others stay as they are."""

    def train(self, job, students, data):
        base, step = MADE_UP[job.candidate.baseline], 0.2 if job.candidate.baseline is None else 0.0
        return {student: (base + step * student, 1.0, []) for student in students}

    monkeypatch.setattr(Learners, "train", train)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def test_the_file_of_a_comparison(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hf_dd.distill(objective="random", ipc=2, eval_students=0, output_dir="one")
    words = ["--eval_students", "3", "--eval_architectures", "MLP", "--baselines", "none", "--eval_copies", "float"]
    cli.main(["evaluate", "one", *words, "--dd_ranking", "ranking.json"])
    written = json.loads((tmp_path / "ranking.json").read_text())
    (entry,) = written["entries"]
    assert [entry[key] for key in ("dataset", "ipc", "model_name", "num_eval")] == ["digits", 2, "MLP", 3]
    assert entry["name"] == "a random choice of real images" and entry["code"] is None and entry["set"] == "one"
    recovery, improvement = [0.35, 0.15, -0.05], [0.1, 0.3, 0.5]  # of distilled 60, 80 and 100 %
    assert entry["hard_label_recovery"] == pytest.approx(recovery)
    assert entry["improvement_over_random"] == pytest.approx(improvement)
    each = [mapped(0.5 * gain - 0.5 * lack) for gain, lack in zip(improvement, recovery, strict=True)]
    assert entry["lrs"] == pytest.approx(each)
    assert entry["label_robust_score_mean"] == pytest.approx(statistics.fmean(each))
    assert entry["label_robust_score_std"] == pytest.approx(statistics.pstdev(each))
    score_of_means = mapped(0.5 * 0.3 - 0.5 * 0.15)
    assert entry["label_robust_score_mean"] > score_of_means + 0.005  # the exponential is convex
    results = json.loads((tmp_path / "one" / "results.json").read_text())
    by_name = {score["name"]: score for score in results["scores"]}
    assert by_name["label_robust_score"]["value"] == pytest.approx(score_of_means)
    assert entry["ars_list"] == pytest.approx(list(map(mapped, improvement)))
    assert entry["accuracies"]["distilled_plain"]["scores"] == pytest.approx([60, 80, 100])


def test_every_field_has_a_source():
    row = Row("a", "MLP", "float", 2, 50, 1, 3, (49.0, 51.0), "dc v1", 0.01, 2, 1.0, 1, 64)
    names = (
        "full distilled distilled_best random_best distilled_augmented random_augmented distilled_plain random_plain"
    )
    score = dd_ranking.Score("x", "a", "MLP", "float", 0.5, {}, dict.fromkeys(names.split(), row))
    entry = dd_ranking.entry(dict.fromkeys(dd_ranking.OF_DD_RANKING, score), {}, "digits")
    named = {name for names in dd_ranking.SOURCES for name in names.split(", ")}
    assert {key for key in entry if not key.endswith(("_mean", "_std"))} == named - {"…_mean", "…_std"}
    imported = {"settings": {"method": "DM", "paper": "arXiv 2110.04181"}, "data": {"name": "pets"}}
    entry = dd_ranking.entry(dict.fromkeys(dd_ranking.OF_DD_RANKING, score), imported, "digits")
    assert (entry["name"], entry["paper"], entry["dataset"]) == ("DM", "arXiv 2110.04181", "digits")


def test_scores_are_of_the_data_that_were_tested_on():
    row = Row("a", "MLP", "float", 2, 50, 1, 3, (49.0, 51.0), "dc v1", 0.01, 2, 1.0, 1, 64)
    names = "full distilled distilled_best random_best distilled_augmented random_augmented distilled_plain"
    inputs = dict.fromkeys([*names.split(), "random_plain"], row)
    scores = tuple(
        dd_ranking.Score(name, own, "MLP", "float", 0.5, {}, inputs)
        for own in ("here", "elsewhere")
        for name in dd_ranking.OF_DD_RANKING
    )
    tested = {"elsewhere": "--dataset digits"}
    results = Results(PROTOCOLS["dc"], (), "CPU", scores, tested=tested)
    records = dict.fromkeys(("here", "elsewhere"), {"data": {"name": "pets"}})
    entries = dd_ranking.submission(results, records, "digits", {})["entries"]
    assert [entry["dataset"] for entry in entries] == ["pets", "digits"]
