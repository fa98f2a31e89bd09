"""DD-Ranking's augmentation-robust score (Li et al., 2025), as a script for `evaluate.load`."""

from statistics import fmean

import evaluate

from hf_dd.metrics import scores

INPUTS = ("distilled_augmented", "random_augmented", "distilled_plain", "random_plain")
DESCRIPTION = """\
DD-Ranking's augmentation-robust score (ARS): what a distilled set is worth with and without augmentation. With
a = gamma · (distilled_augmented − random_augmented) + (1 − gamma) · (distilled_plain − random_plain) it is
(e^a − e⁻¹) / (e − e⁻¹), in [0, 1], the higher the better. The accuracies are fractions; the authors' package feeds
percentages into the exponential.
"""
OPTIONS = "gamma: of the improvement with augmentation, in [0, 1]; 0.5 is the authors'."


class AugmentationRobustScore(scores.AccuracyScore):
    """ARS of mean accuracies, in [0, 1], and the two improvements over random that it comes from, in [−1, 1]."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation=scores.DD_RANKING,
            inputs_description=scores.inputs_description(*INPUTS, options=OPTIONS),
            features=scores.features(*INPUTS),
        )

    def _compute(
        self, distilled_augmented, random_augmented, distilled_plain, random_plain, gamma: float = 0.5
    ) -> dict[str, float]:
        augmented = fmean(distilled_augmented) - fmean(random_augmented)
        plain = fmean(distilled_plain) - fmean(random_plain)
        return {
            "augmentation_robust_score": scores.ranking_score(gamma, augmented, plain),
            "improvement_with_augmentation": augmented,
            "improvement_without_augmentation": plain,
        }
