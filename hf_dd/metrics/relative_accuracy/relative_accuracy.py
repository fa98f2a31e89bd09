"""Accuracy relative to the full set, as a script for `evaluate.load`."""

from statistics import fmean

from hf_dd.errors import DataError
from hf_dd.metrics import scores


class RelativeAccuracy(scores.AccuracyScore):
    """Mean accuracy of the distilled set over that of the full set: 1 where nothing is lost; DataError at full = 0."""

    about = "Mean accuracy of students of a distilled set, divided by that of students of the full set."

    def _compute(self, distilled, full) -> dict[str, float]:
        if not any(full):
            raise DataError(
                "Nothing is relative to an accuracy of 0: give the accuracies of trained students as full."
            )
        return {"relative_accuracy": fmean(distilled) / fmean(full)}
