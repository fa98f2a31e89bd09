"""DD-Ranking's label-robust score (Li et al., 2025), as a script for `evaluate.load`."""

from statistics import fmean

from hf_dd.metrics import scores

DESCRIPTION = """\
DD-Ranking's label-robust score (LRS): what a distilled set is worth once the gain of soft labels is taken apart.
With HLR = full − distilled (hard label recovery), IOR = distilled_best − random_best (improvement over random) and
a = weight · IOR − (1 − weight) · HLR it is (e^a − e⁻¹) / (e − e⁻¹), in [0, 1], the higher the better. The accuracies
are fractions; the authors' package feeds percentages into the exponential.
"""


class LabelRobustScore(scores.AccuracyScore):
    """LRS of mean accuracies, in [0, 1], and the differences HLR and IOR that it comes from, in [−1, 1]."""

    about, source = DESCRIPTION, scores.DD_RANKING
    options = "weight: of IOR against HLR, in [0, 1]; 0.5 is the authors'."

    def _compute(self, full, distilled, distilled_best, random_best, weight: float = 0.5) -> dict[str, float]:
        recovery = fmean(full) - fmean(distilled)
        improvement = fmean(distilled_best) - fmean(random_best)
        return {
            "label_robust_score": scores.ranking_score(weight, improvement, -recovery),
            "hard_label_recovery": recovery,
            "improvement_over_random": improvement,
        }
