"""Accuracy against the minutes that it took: the cells of one method that differ in how long they distil."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hf_dd.core import text
from hf_dd.evaluation import intervals
from hf_dd.studies.outcomes import Outcome

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANELS = {"distillation alone": False, "teachers' training included": True}


@dataclass(frozen=True)
class Point:
    """What a cell reached, and how long it took.

    Attributes:
        cell: its name.
        accuracy: in percent, over its distillations, or the students of a single one.
        distilling: mean minutes of its distillations.
        teaching: minutes of its teachers' training, 0 without teachers; None where their records don't say.
    """

    cell: str
    accuracy: intervals.Interval
    distilling: float
    teaching: float | None

    @classmethod
    def of(cls, cell: str, outcome: Outcome) -> "Point":
        """Of a cell of a study."""
        seconds = statistics.fmean(record["run"]["seconds"] for record in outcome.records)
        taught = outcome.teaching_seconds
        return cls(cell, outcome.accuracy, seconds / 60, None if taught is None else taught / 60)

    def minutes(self, taught: bool) -> float | None:
        """All minutes, with those of the teachers' training, or without."""
        if not taught:
            return self.distilling
        return None if self.teaching is None else self.distilling + self.teaching


Curves = Mapping[str, Sequence[Point]]


def curves(outcomes: Mapping[str, Outcome], names: Mapping[str, Sequence[str]]) -> dict[str, list[Point]]:
    """The points of each curve, by their minutes of distillation."""
    return {
        name: sorted((Point.of(cell, outcomes[cell]) for cell in cells), key=lambda point: point.distilling)
        for name, cells in names.items()
    }


def table(found: Curves) -> str:
    """The curves in markdown."""
    rows = [
        [name, point.cell, point.accuracy, *map(told, (point.distilling, point.teaching, point.minutes(True)))]
        for name, points in found.items()
        for point in points
    ]
    head = ["curve", "cell", "accuracy (%), 95 % interval", "distilled in", "teachers took", "together"]
    return text.table(head, rows)


def told(minutes: float | None) -> str | None:
    """Minutes in words; None for 0, and where they aren't known."""
    return text.duration(60 * minutes) if minutes else None


def picture(found: Curves, real: Mapping[str, float], hardware: str) -> "Figure":
    """Accuracy against minutes, a line for each curve: by the distillation alone, and with the teachers' training.

    Args:
        found: the curves.
        real: accuracies of real images in percent, by their name; each a dashed line.
        hardware: that the minutes are of.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    axes = figure.subplots(1, len(PANELS), sharey=True)
    for axis, (title, taught) in zip(axes, PANELS.items(), strict=True):
        for name, points in found.items():
            drawn = [(x, each.accuracy) for each in points if (x := each.minutes(taught)) is not None]
            if drawn:
                xs, own = zip(*drawn, strict=True)
                errors = [each.half_width or 0 for each in own]
                axis.errorbar(xs, [each.mean for each in own], errors, marker="o", markersize=4, capsize=3, label=name)
        for name, accuracy in real.items():
            axis.axhline(accuracy, color="0.5", linestyle="--", linewidth=1)
            axis.annotate(
                name, (0.99, accuracy), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8
            )
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_locator(NullLocator())
        axis.set_xlabel("minutes", fontsize=9)
        axis.set_title(title, fontsize=9)
        axis.tick_params(labelsize=8, which="both")
        axis.grid(alpha=0.3)
    axes[0].set_ylim(max(0, axes[0].get_ylim()[0]), min(100, axes[0].get_ylim()[1]))  # intervals of few go beyond
    axes[0].set_ylabel("test accuracy (%)", fontsize=9)
    axes[0].legend(fontsize=8, loc="upper left")
    figure.supxlabel(f"minutes of {hardware}; 95 % intervals of means", fontsize=8)
    return figure


def as_json(found: Curves) -> dict[str, list[dict[str, Any]]]:
    """The curves as `report.json` has them."""
    return {
        name: [
            {
                "cell": point.cell,
                **point.accuracy.as_dict(),
                "minutes": {"distilling": point.distilling, "teaching": point.teaching},
            }
            for point in points
        ]
        for name, points in found.items()
    }
