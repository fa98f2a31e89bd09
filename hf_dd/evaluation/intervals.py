"""Confidence intervals of means over students, and of the difference of two sets under the same students."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean with the half-width of its two-sided 95 % confidence interval (Student's t, n - 1 degrees of freedom).

    `half_width` is None for a single value, which says nothing of the spread.

    Attributes:
        mean: of the values.
        half_width: of its interval.
        n: how many values they are.
        degrees: of freedom, where they aren't n - 1.
    """

    mean: float
    half_width: float | None
    n: int
    degrees: float | None = None

    @property
    def error(self) -> float | None:
        """The standard error of the mean; None for a single value."""
        if self.half_width is None:
            return None
        return self.half_width / quantile(self.n - 1 if self.degrees is None else self.degrees)

    def as_dict(self) -> dict[str, Any]:
        """As records have it."""
        return {"mean": self.mean, "half_width": self.half_width, "n": self.n}

    def __str__(self) -> str:
        return f"{self.mean:.2f} {'(n = 1)' if self.half_width is None else between(self.mean, self.half_width)}"


def quantile(degrees: float) -> float:
    """Of Student's t with so many degrees of freedom: standard errors from a mean to the ends of its interval."""
    from scipy.special import stdtrit  # scipy.stats has the same number, and takes a second to import

    return float(stdtrit(degrees, (1 + CONFIDENCE) / 2))


def of_mean(values: Sequence[float]) -> Interval:
    """The interval of the mean of independent values."""
    if len(values) < 2:
        return Interval(statistics.fmean(values), None, len(values))
    half_width = quantile(len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    return Interval(statistics.fmean(values), half_width, len(values))


def of_distillations(values: Sequence[Sequence[float]], shared: bool = False) -> Interval:
    """The interval of the mean over distillations, of a single one over its students.

    Where all were learned by the `shared` students (of the same seeds, beside the same random images), these vary the
    mean besides: the variances of both means are added.

    Args:
        values: of each distillation its students, as many of each where they are shared.
        shared: whether student i is the same one for all distillations.
    """
    if len(values) == 1:
        return of_mean(values[0])
    means, students = list(map(statistics.fmean, values)), len(values[0])
    if not shared or students < 2:
        return of_mean(means)
    of_students = list(map(statistics.fmean, zip(*values, strict=True)))
    parts = [(statistics.variance(each) / len(each), len(each) - 1) for each in (means, of_students)]
    half_width, degrees = of_parts(*parts)
    return Interval(statistics.fmean(means), half_width, len(means), degrees)


def of_parts(*parts: tuple[float, float]) -> tuple[float, float]:
    """The half-width of an interval whose variance is the sum of some, each with its degrees of freedom; all of these.

    They have together what Satterthwaite (1946) gives them.
    """
    variance, uncertain = sum(part for part, _ in parts), sum(part**2 / degrees for part, degrees in parts)
    degrees = variance**2 / uncertain if uncertain else math.inf
    return quantile(degrees) * variance**0.5, degrees


def between(mean: float, half_width: float | None, digits: int = 2) -> str:
    """The ends of an interval around a mean, with so many digits; a dash where there is none."""
    return "–" if half_width is None else ends(mean - half_width, mean + half_width, digits)


def of_accuracy(mean: float, half_width: float | None) -> str:
    """The ends of an interval of percents, none beyond 0 and 100; a dash where there is no interval."""
    if half_width is None:
        return between(mean, half_width)
    return ends(max(0.0, mean - half_width), min(100.0, mean + half_width))


def ends(low: float, high: float, digits: int = 2) -> str:
    """The ends of an interval, with so many digits."""
    return f"[{low:.{digits}f}, {high:.{digits}f}]"


def spread(mean: float, std: float, n: int) -> str:
    """A mean with the standard deviation of n values, in words; a single value has none."""
    return f"{mean:.2f} ± {std:.2f}" if n > 1 else f"{mean:.2f}"


def of_difference(first: Sequence[float], second: Sequence[float]) -> Interval:
    """The interval of the mean of first - second, value by value: the same student (seed) on two sets.

    Raises ValueError where there are not as many values on both sides.
    """
    return of_mean([a - b for a, b in zip(first, second, strict=True)])
