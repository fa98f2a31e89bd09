"""What the metrics share: the names of their inputs, how those are checked, and DD-Ranking's map onto [0, 1].

`evaluate` takes the first metric class that it finds in a loaded script, so the scripts import this module by its name
and never a class out of it.
"""

import inspect
import math
from collections.abc import Mapping, Sequence

import datasets
import evaluate
import numpy

from hf_dd.errors import ConfigError, DataError

# What the students were trained on, for each accuracy on the real test set that a metric may ask for.
ACCURACIES = {
    "full": "the full real set, on its hard labels",
    "distilled": "the distilled set, on hard labels",
    "distilled_best": "the distilled set, under the protocol that suits it best (soft labels, its own augmentation)",
    "random_best": "as many random real images, under that same protocol",
    "distilled_augmented": "the distilled set, with augmentation",
    "random_augmented": "as many random real images, with that same augmentation",
    "distilled_plain": "the distilled set, without augmentation",
    "random_plain": "as many random real images, without augmentation",
}
OPTIONS = ("weight", "gamma")

DD_RANKING = """\
@article{li2025ddranking,
  title   = {DD-Ranking: Rethinking the Evaluation of Dataset Distillation},
  author  = {Li, Zekai and Zhong, Xinhao and Khaki, Samir and Liang, Zhiyuan and Zhou, Yuhao and others},
  journal = {arXiv preprint arXiv:2505.13300},
  year    = {2025}
}
"""


class Metric(evaluate.Metric):
    """A metric that takes what its `_compute` names and leaves the rest to those that it is combined with."""

    def compute(self, *, predictions=None, references=None, **inputs) -> dict[str, float] | None:
        """As `evaluate.Metric.compute`; raises ConfigError for an input that no metric of hf_dd takes."""
        if unknown := sorted(inputs.keys() - {*ACCURACIES, *OPTIONS}):
            raise ConfigError(f"No metric takes {', '.join(unknown)}; they take {', '.join((*ACCURACIES, *OPTIONS))}.")
        given = {"predictions": predictions, "references": references, **inputs}
        taken = inspect.signature(self._compute).parameters
        return super().compute(**{name: value for name, value in given.items() if name in taken})


class AccuracyScore(Metric):
    """A score of mean accuracies: a column for each that `_compute` has no default for, with a row for each student.

    Attributes:
        about: what it is.
        source: the paper, as BibTeX, if it is from one.
        options: of `_compute`, if it has any.
    """

    about: str
    source = options = ""

    def _info(self) -> evaluate.MetricInfo:
        taken = inspect.signature(self._compute).parameters.values()
        names = [parameter.name for parameter in taken if parameter.default is parameter.empty]
        return evaluate.MetricInfo(
            description=self.about,
            citation=self.source,
            inputs_description=inputs_description(names, self.options),
            features=datasets.Features({name: datasets.Value("float64") for name in names}),
        )

    def add_batch(self, *, predictions=None, references=None, **accuracies) -> None:
        """Add students, as `columns` takes them; predictions and references are passed over."""
        super().add_batch(**columns(accuracies, self._feature_names()))

    def add(self, *, prediction=None, reference=None, **accuracies) -> None:
        """Add one student: a number for each column."""
        self.add_batch(**accuracies)


def inputs_description(names: Sequence[str], options: str) -> str:
    """What a user of the metric has to know of its columns and options."""
    lines = [
        "",
        "Columns: accuracies on the real test set as fractions in [0, 1], a row for each student (and draw), or one",
        "number for all rows; the score is that of their means. Whatever was chosen to reach them (learning rate,",
        "epochs, the best protocol) must have been chosen on a validation split. Students were trained on",
        *(f"    {name}: {ACCURACIES[name]}" for name in names),
    ]
    return "\n".join([*lines, *([options] if options else []), ""])


def columns(accuracies: Mapping[str, object], names: Sequence[str]) -> dict[str, numpy.ndarray]:
    """The accuracies as float64 columns (n,) of one length; a single number stands for all rows.

    Raises DataError where one is missing or isn't asked for, is no fraction in [0, 1], or has another length.
    """
    given = {name: values for name, values in accuracies.items() if values is not None}
    if given.keys() != set(names):
        raise DataError(f"This score needs {', '.join(names)}, not {', '.join(given) or 'none'}.")
    found = {name: _fractions(name, given[name]) for name in names}
    try:
        return dict(zip(found, numpy.broadcast_arrays(*found.values()), strict=True))
    except ValueError:
        lengths = ", ".join(f"{name} {len(column)}" for name, column in found.items())
        raise DataError(f"Give one accuracy for each student, or their mean alone, not {lengths} of them.") from None


def ranking_score(share: float, first: float, second: float) -> float:
    """DD-Ranking's map of a = share · first + (1 − share) · second: (e^a − e⁻¹) / (e − e⁻¹), in [0, 1].

    `first` and `second` are differences of accuracies, in [−1, 1]. Raises ConfigError for a share outside of [0, 1].
    """
    if not 0 <= share <= 1:
        raise ConfigError(f"The weight of a score lies in [0, 1], not at {share}.")
    a = share * first + (1 - share) * second
    return (math.exp(a) - math.exp(-1)) / (math.exp(1) - math.exp(-1))


def _fractions(name: str, values: object) -> numpy.ndarray:
    column = numpy.atleast_1d(numpy.asarray(values, dtype=numpy.float64))
    if column.ndim != 1 or not len(column):
        raise DataError(f"{name} has the shape {column.shape}: give one accuracy for each student.")
    if len(outside := column[~((column >= 0) & (column <= 1))]):
        raise DataError(
            f"{name} holds {outside[0]:g}, but accuracies are fractions in [0, 1] here: divide percentages by 100."
        )
    return column
