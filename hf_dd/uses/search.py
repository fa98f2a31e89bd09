"""Architecture search by proxy: whether networks stand in the same order on a small set as on the full one.

The ConvNets of Zhao, Mopuri & Bilen (ICLR 2021): of 720 that differ in depth, width, normalisation,
activation and pooling, some are trained on each proxy and judged on validation images, as a search would, and on the
full set and judged on the test split. Beside the sets stands early stopping: the full set for as many images.
"""

import functools
import itertools
import math
import statistics
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from hf_dd.config import parse_key_values
from hf_dd.config.base import less_memory
from hf_dd.config.uses import SearchConfig
from hf_dd.core.alone import alone
from hf_dd.core.seeding import derive_seed, generator
from hf_dd.core.text import table
from hf_dd.data.held_out import held_out
from hf_dd.data.image_data import ImageData
from hf_dd.evaluation import intervals
from hf_dd.evaluation.evaluation import Evaluation
from hf_dd.evaluation.learners import Job
from hf_dd.evaluation.results import Row
from hf_dd.evaluation.students import FromScratch
from hf_dd.nn import networks
from hf_dd.uses.subject import Subject

ARCHITECTURE = "ConvNet"
RESAMPLES, AT_ONCE = 2000, 10**6  # of the networks; pairs of them that are held at once
STOPPED = "early stopping"
CORRELATIONS = ("spearman", "kendall")
Numbers = Sequence[float] | np.ndarray


class Variant(FromScratch):
    """ConvNets with options, which stand in their name: `depth=2 width=32`; raises ConfigError for what can't be."""

    def __init__(self, name: str, data: ImageData):
        self.architecture, self.data, self.options = name, data, parse_key_values(name.split())
        self.new(0)
        self.identity = f"{ARCHITECTURE} {name}"

    def new(self, seed: int) -> nn.Module:
        """A student on the CPU."""
        return networks.build(ARCHITECTURE, **self.data.network_shape, seed=seed, **self.options)


@dataclass(eq=False, repr=False)
class OfVariants(Evaluation):
    """An evaluation whose architectures are those of `Variant`."""

    def students(self, architecture: str) -> Variant:
        """What is trained by this name."""
        if architecture not in self._students:
            self._students[architecture] = Variant(architecture, self.data)
        return self._students[architecture]


@alone(less_memory(SearchConfig))
def search(config: SearchConfig | None = None, **options: Any) -> Path:
    """Train networks on the set, on real images of its size and on the full set, and write how their orders agree.

    Returns the folder of `results.json` and `results.md`. Raises the errors of `Subject.load`, and ConfigError for
    networks that the images can't be given to.
    """
    config = SearchConfig.over(config, options)
    subject = Subject.load("search", config)
    shared = {"seed": config.seed, "accelerator": subject.evaluation.accelerator}
    protocol, held = subject.evaluation.protocol, held_out(subject.data.to("cpu"), config.seed)
    on_rest, on_all = OfVariants(held, protocol, **shared), OfVariants(subject.data, protocol, **shared)
    names = drawn(config)
    for name in names:
        on_all.students(name)

    proxies = {"set": subject.own}
    proxies |= {kind: subject.real_images(kind, data=on_rest.data) for kind in config.baselines}
    protocols = {kind: on_rest.options(proxy, protocol)[0] for kind, proxy in proxies.items()}
    learned = len(subject.own.images) * protocols["set"].epochs
    proxies[STOPPED] = subject.real_images("full", data=on_rest.data)
    protocols[STOPPED] = protocol.with_changes(epochs=math.ceil(learned / len(held.train)))
    found = {}
    for kind, proxy in proxies.items():
        jobs = [Job(proxy, name, protocols[kind]) for name in names]
        found[kind] = on_rest.rows(jobs, config.eval_students)
    full, long = subject.real_images("full"), protocol.with_changes(epochs=config.full_epochs)
    reached = on_all.rows([Job(full, name, long) for name in names], config.eval_students)

    results = compared(found, reached, config.seed) | {
        "n": len(names),
        "students": config.eval_students,
        "grid": config.grid,
        "full_epochs": config.full_epochs,
    }
    results["headlines"] = headlines(results)
    title = f"Networks on a proxy of {subject.data.name}, and on all of it"
    return subject.write(results, title, text_of(subject, results))


def drawn(config: SearchConfig) -> list[str]:
    """The networks of a search: so many of the grid, each once, drawn by the seed."""
    points = [
        " ".join(f"{name}={value}" for name, value in zip(config.grid, values, strict=True))
        for values in itertools.product(*config.grid.values())
    ]
    order = torch.randperm(len(points), generator=generator(config.seed, "networks"))
    return [points[place] for place in sorted(order[: config.networks].tolist())]


def rank_correlation(kind: str, first: Numbers, second: Numbers) -> np.ndarray:
    """Spearman's rho or Kendall's tau-b of pairs of numbers, (…, n) → (…): NaN where one side is all alike.

    Both are correlations of all differences between two (Daniels, Biometrika 1944): of ranks, or of signs.
    """
    from scipy.stats import rankdata

    between = []
    for values in (first, second):
        ranks = rankdata(values, axis=-1)
        differences = ranks[..., :, None] - ranks[..., None, :]
        between.append(np.sign(differences) if kind == "kendall" else differences)
    products, *squares = (np.sum(a * b, (-2, -1)) for a, b in (between, [between[0]] * 2, [between[1]] * 2))
    with np.errstate(invalid="ignore"):
        return products / np.sqrt(squares[0] * squares[1])


def resampled(statistic: Callable[..., np.ndarray], columns: Sequence[Sequence[float]], seed: int) -> dict[str, Any]:
    """A number made of columns, with its 95 % interval by the bootstrap over their rows (percentiles).

    All are None where the number isn't one. `statistic` takes columns (…, n) and gives (…).
    """
    from scipy import stats

    value = float(statistic(*columns))
    if not math.isfinite(value):
        return {"value": None, "low": None, "high": None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # of resamples in which one side is all alike
        draws = stats.bootstrap(
            list(columns),
            lambda *drawn, axis: statistic(*drawn),
            paired=True,
            n_resamples=RESAMPLES,
            batch=max(1, AT_ONCE // len(columns[0]) ** 2),
            method="percentile",
            rng=np.random.default_rng(derive_seed(seed, "bootstrap")),
        ).bootstrap_distribution
    low, high = np.nanquantile(draws, [(1 - intervals.CONFIDENCE) / 2, (1 + intervals.CONFIDENCE) / 2]).tolist()
    return {"value": value, "low": low, "high": high}


def compared(found: dict[str, list[Row]], reached: list[Row], seed: int) -> dict[str, Any]:
    """How the networks' order on each proxy agrees with that on the full set.

    Args:
        found: by proxy, a row for each network; the first is the distilled set's.
        reached: those on the full set, in the same order.
        seed: of the bootstrap over the networks.
    """
    full = [row.mean for row in reached]
    means = {kind: [row.mean for row in rows] for kind, rows in found.items()}
    own, *others = means
    proxies = {}
    for kind, values in means.items():
        best = values.index(max(values))
        proxies[kind] = {
            "proxy": found[kind][0].set,
            "bytes": found[kind][0].bytes,
            "epochs": found[kind][0].epochs,
            "seconds": sum(row.seconds for row in found[kind]),
            "chosen": found[kind][best].architecture,
            "chosen_accuracy": full[best],
            "below_best": max(full) - full[best],
            **{
                name: resampled(functools.partial(rank_correlation, name), [values, full], seed)
                for name in CORRELATIONS
            },
        }
    return {
        "proxies": proxies,
        "differences": {
            kind: {
                name: resampled(functools.partial(difference, name), [means[own], means[kind], full], seed)
                for name in CORRELATIONS
            }
            for kind in others
        },
        "full": {
            "seconds": sum(row.seconds for row in reached),
            "best": reached[full.index(max(full))].architecture,
            "best_accuracy": max(full),
            "worst_accuracy": min(full),
            **agreement(reached, seed),
        },
        "networks": [
            {
                "network": row.architecture,
                "full": list(row.scores),
                **{kind: list(rows[place].scores) for kind, rows in found.items()},
            }
            for place, row in enumerate(reached)
        ],
    }


def difference(name: str, own: Numbers, other: Numbers, full: Numbers) -> np.ndarray:
    """By how much one proxy's correlation with the full set is above another's."""
    return rank_correlation(name, own, full) - rank_correlation(name, other, full)


def agreement(reached: list[Row], seed: int) -> dict[str, Any]:
    """How the orders of two halves of the full set's students agree, the even ones and the odd ones.

    It says how much an order depends on the students that were drawn, and is no limit of a proxy's agreement, which is
    with the mean of all students. Nothing for a single student.
    """
    if reached[0].n < 2:
        return {}
    halves = [[statistics.fmean(row.scores[start::2]) for row in reached] for start in (0, 1)]
    return {name: resampled(functools.partial(rank_correlation, name), halves, seed) for name in CORRELATIONS}


def between(found: dict[str, Any] | None, signed: bool = False) -> str:
    """A correlation with its interval, in words."""
    if found is None or found["value"] is None:
        return "–"
    return f"{found['value']:{'+' if signed else ''}.2f} {intervals.ends(found['low'], found['high'])}"


def headlines(results: dict[str, Any]) -> list[list[str]]:
    """What was found in its shortest form: pairs of what and how much."""
    n = f"(n = {results['n']} networks)"
    own = results["proxies"]["set"]["spearman"]
    found = [
        ["rank correlation (Spearman) of networks on the distilled set and on the full one", f"{between(own)} {n}"]
    ]
    for kind, differences in results["differences"].items():
        above = between(differences["spearman"], signed=True)
        found.append([f"that correlation of the distilled set, above {kind}'s", f"{above} {n}"])
    return found


def text_of(subject: Subject, results: dict[str, Any]) -> list[str]:
    """The results for people: parts of Markdown."""
    full, n = results["full"], results["n"]
    head = ["proxy", "epochs", "Spearman", "Kendall", "its choice on the full set (%)", "below the best", "seconds"]
    rows = []
    for kind, own in results["proxies"].items():
        agree = [between(own[name]) for name in CORRELATIONS]
        choice = [f"{own['chosen_accuracy']:.2f}", f"{own['below_best']:.2f}", f"{own['seconds']:.0f}"]
        rows.append([kind if kind == STOPPED else own["proxy"], own["epochs"], *agree, *choice])
    itself = [between(full.get(name)) for name in CORRELATIONS]
    rows.append(
        ["the full set, half of its students by the others", results["full_epochs"], *itself]
        + [f"{full['best_accuracy']:.2f}", "0.00", f"{full['seconds']:.0f}"]
    )
    differences = [
        [f"the set, above {kind}", *(between(own[name], signed=True) for name in CORRELATIONS)]
        for kind, own in results["differences"].items()
    ]
    size = math.prod(map(len, results["grid"].values()))
    note = (
        f"{n} ConvNets of a grid of {size}, {results['students']} students of each; protocol "
        f"{subject.evaluation.protocol}. Proxies are judged on a tenth of the training images that real ones among "
        f"them aren't taken from, the full set ({results['full_epochs']} epochs, {full['worst_accuracy']:.2f} to "
        f"{full['best_accuracy']:.2f} %) on the test split. Early stopping trains on nine tenths of the full set for "
        "as many images as students of the distilled set see. The set was made from all training images. Brackets "
        "are 95 % intervals, by the bootstrap over the networks; differences are paired by them."
    )
    return [table(head, rows), table(["correlation", "Spearman", "Kendall"], differences), note]
