"""Metrics as `evaluate` modules: they work offline, and load, combine and save like any other of the library.

Each folder here holds one script and is what `evaluate.load` takes:

    from pathlib import Path
    import evaluate, hf_dd.metrics

    root = Path(hf_dd.metrics.__file__).parent
    names = ("relative_accuracy", "label_robust_score", "augmentation_robust_score")
    metrics = evaluate.combine([evaluate.load(str(root / name)) for name in names])
    metrics.compute(full=0.92, distilled=[0.81, 0.82], distilled_best=[0.83, 0.84], random_best=[0.77, 0.76], …)

Accuracies have one name in all of them (`scores.ACCURACIES`), so combined metrics share their inputs: each takes what
it needs and passes over what the others take. `accuracy` takes predictions and references, and combines with them too.
"""

from hf_dd.metrics.accuracy.accuracy import Accuracy
from hf_dd.metrics.augmentation_robust_score.augmentation_robust_score import AugmentationRobustScore
from hf_dd.metrics.label_robust_score.label_robust_score import LabelRobustScore
from hf_dd.metrics.relative_accuracy.relative_accuracy import RelativeAccuracy

__all__ = ["Accuracy", "AugmentationRobustScore", "LabelRobustScore", "RelativeAccuracy"]
