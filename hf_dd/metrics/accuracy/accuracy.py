"""Accuracy, as a script for `evaluate.load`."""

import datasets
import evaluate
import numpy

from hf_dd.metrics import scores


class Accuracy(scores.Metric):
    """Share of predictions that equal their references, in [0, 1]."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Share of predictions that equal their references.",
            citation="",
            inputs_description="predictions, references: class indices, equally many.",
            features=datasets.Features(
                {"predictions": datasets.Value("int64"), "references": datasets.Value("int64")}
            ),
        )

    def _compute(self, predictions, references) -> dict[str, float]:
        return {"accuracy": float(numpy.mean(numpy.asarray(predictions) == numpy.asarray(references)))}
