"""DD-Ranking's augmentation-robust score (Li et al., 2025), as a script for `evaluate.load`."""

from statistics import fmean

from hf_dd.metrics import scores

DESCRIPTION = """\
DD-Ranking's augmentation-robust score (ARS): what a distilled set is worth with and without augmentation. With
a = gamma · (distilled_augmented − random_augmented) + (1 − gamma) · (distilled_plain − random_plain) it is
(e^a − e⁻¹) / (e − e⁻¹), in [0, 1], the higher the better. The accuracies are fractions; the authors' package feeds
percentages into the exponential.
"""


class AugmentationRobustScore(scores.AccuracyScore):
    """ARS of mean accuracies, in [0, 1], and the two improvements over random that it comes from, in [−1, 1]."""

    about, source = DESCRIPTION, scores.DD_RANKING
    options = "gamma: of the improvement with augmentation, in [0, 1]; 0.5 is the authors'."

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
