"""Scores as DD-Ranking takes them: a file for its list of methods, from an evaluation's own students.

Its authors ask by pull request for the name of a method, links to its code and its paper, and its scores. There is no
schema: names are those of their own tool's files and results, which has one score a run and gives the mean and numpy's
standard deviation of these. A run is a student here. Accuracies are fractions, as the map onto [0, 1] needs; their
tool gives it percentages.
"""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from hf_dd.artefacts import papers
from hf_dd.config import spelt
from hf_dd.config.evaluation import OF_DD_RANKING
from hf_dd.core.registry import OBJECTIVES
from hf_dd.evaluation.results import Results, Row, Score

WEIGHT = 0.5  # of improvement over random, and of the difference with augmentation: both of the leaderboard
TOOL = "of a run, as DD-Ranking's tool saves it (ddranking/metrics, commit b8b09664)"
RETURNED = "over the runs, as `compute_metrics` of DD-Ranking's tool returns it, in fractions"
SOURCES = {  # of each field, where it is from
    "name, code, paper": "what DD-Ranking's CONTRIBUTING.md asks for; links that are null are yours to fill in",
    "dataset, ipc, model_name, num_eval": "arguments of DD-Ranking's evaluators, with the names that hf-dd has",
    "hard_label_recovery, improvement_over_random, lrs": TOOL,
    "with_aug_scores, without_aug_scores, ars_list": TOOL,
    "…_mean, …_std": RETURNED,
    "set, copy, accuracies": "hf-dd's own: of each accuracy its protocol and the students' values in percent",
}


def submission(
    results: Results, records: Mapping[str, Mapping[str, Any]], dataset: str, versions: dict[str, str]
) -> dict[str, Any]:
    """Every set, copy and architecture of an evaluation that has both scores, JSON-able.

    Args:
        results: with both scores of each.
        records: of the sets, by their names; empty where a set has none.
        dataset: that the students were tested on.
        versions: of the libraries.
    """
    found: dict[tuple[str, str, str], dict[str, Score]] = {}
    for score in results.scores:
        if score.name in OF_DD_RANKING:
            found.setdefault((score.set, score.copy, score.architecture), {})[score.name] = score

    def data_of(name: str) -> str:
        """What the data are called: what the set's record calls them, unless others were tested on."""
        own = records.get(name, {}).get("data", {}).get("name")
        return dataset if name in results.tested else own or dataset

    entries = [entry(scores, records.get(name, {}), data_of(name)) for (name, *_), scores in found.items()]
    run = "hf-dd's students, rates chosen on a validation split; not by DD-Ranking's own tool"
    return {"scored_by": run, "versions": versions, "weight": WEIGHT, "sources": SOURCES, "entries": entries}


def entry(scores: Mapping[str, Score], record: Mapping[str, Any], dataset: str) -> dict[str, Any]:
    """One line of the list: who made the set, the data that it was tested on, and what each run scored."""
    augmentation, label = (scores[name] for name in OF_DD_RANKING)
    row = label.inputs["distilled"]
    recovery = gaps(label.inputs, "full", "distilled")
    improvement = gaps(label.inputs, "distilled_best", "random_best")
    augmented = gaps(augmentation.inputs, "distilled_augmented", "random_augmented")
    plain = gaps(augmentation.inputs, "distilled_plain", "random_plain")
    return {
        **method_of(record, row.set),
        "dataset": dataset,
        "ipc": row.ipc,
        "model_name": row.architecture,
        "num_eval": row.n,
        "set": row.set,
        "copy": row.copy,
        "hard_label_recovery": recovery,
        "improvement_over_random": improvement,
        "lrs": (lrs := [mapped(*pair) for pair in zip(improvement, [-gap for gap in recovery], strict=True)]),
        **mean_and_std("hard_label_recovery", recovery),
        **mean_and_std("improvement_over_random", improvement),
        **mean_and_std("label_robust_score", lrs),
        "with_aug_scores": augmented,
        "without_aug_scores": plain,
        "ars_list": (ars := [mapped(*pair) for pair in zip(augmented, plain, strict=True)]),
        **mean_and_std("with_aug_scores", augmented),
        **mean_and_std("without_aug_scores", plain),
        **mean_and_std("augmentation_robust_score", ars),
        "accuracies": {
            name: {"protocol": own.protocol, "scores": list(own.scores)}
            for name, own in (label.inputs | augmentation.inputs).items()
        },
    }


def method_of(record: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Name, code and paper of what made a set, as far as its record and the registry know."""
    settings = record.get("settings", {})
    method = settings.get("objective") or settings.get("method")
    paper = papers.address(papers.said_of(spelt(method))) if method else None
    title = OBJECTIVES.title(method) if method else name
    guided = settings.get("clom", "none") != "none"
    return {"name": f"{title} + CLoM" if guided else title, "code": None, "paper": settings.get("paper") or paper}


def gaps(rows: Mapping[str, Row], first: str, second: str) -> list[float]:
    """Differences of two accuracies, in fractions, student by student."""
    pairs = zip(rows[first].scores, rows[second].scores, strict=True)
    return [(one - other) / 100 for one, other in pairs]


def mapped(first: float, second: float) -> float:
    """DD-Ranking's score of a run."""
    from hf_dd.metrics.scores import ranking_score  # imports `evaluate`, which whoever asked for scores has

    return ranking_score(WEIGHT, first, second)


def mean_and_std(name: str, values: Sequence[float]) -> dict[str, float]:
    """Mean and standard deviation (of the population, as numpy's) of a score over its runs."""
    return {f"{name}_mean": statistics.fmean(values), f"{name}_std": statistics.pstdev(values)}
