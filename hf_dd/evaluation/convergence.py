"""Whether students had learned their images by their last epoch, told from the losses that they were trained by.

The losses are those of the training itself: nothing is passed through a network again.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

STRETCHES = ((0, 0), (3 / 16, 4 / 16), (6 / 16, 8 / 16), (15 / 16, 1))  # of the epochs; at least one each
STILL_FALLING = 0.25  # the share of a loss's fall from which on it hadn't ended
LEARNED = 0.05  # of the first epoch's loss: at this nothing of hard labels is left to learn; by this learning begins
FEWEST_EPOCHS = 8  # whose losses say anything
FURTHEST = 10  # times as many epochs: nobody can tell how a loss goes on from there


def stretches(losses: "Tensor") -> list[float]:
    """A student's mean losses in its first epoch, and in those up to a quarter, to half and to the end of its epochs.

    Takes the loss of each epoch, (epochs,); gives nothing where one is no number, as of a student that diverged.
    """
    values = losses.tolist()
    if not all(map(math.isfinite, values)):
        return []
    parts = [values[int(a * len(values)) :][: max(1, round((b - a) * len(values)))] for a, b in STRETCHES]
    return [math.fsum(part) / len(part) for part in parts]


def epochs_needed(losses: Sequence[float], epochs: int, hard: bool = True) -> float | None:
    """How many epochs students would have needed to converge; None where they had, or where the losses don't say.

    Students have converged where their loss fell by less than a quarter of its whole fall between a quarter and half
    of their epochs: from a time to twice that time, at the full learning rate. What the lower rate of the second half
    does is left out, and as only differences count, the floor of soft labels is no matter. On hard labels they have as
    well where the loss ended at a twentieth of what it was in the first epoch.

    A loss that falls like an exponential, by a share q there, needs ln 3 / ln((1 - q) / q) times as many epochs. Where
    it doesn't slow down at all, that is more than FURTHEST times as many, or a loss on hard labels had fallen by less
    than a twentieth by half of them, the answer is infinite: several times as many.

    Args:
        losses: see `stretches`, of a student or the mean of several.
        epochs: that they were trained for.
        hard: whether on hard labels.
    """
    if len(losses) != len(STRETCHES) or epochs < FEWEST_EPOCHS:
        return None
    first, quarter, half, last = losses
    begun = first - half > (max(0, LEARNED * first) if hard else 0)
    share = (quarter - half) / (first - half) if begun else 1.0
    if share < STILL_FALLING or (hard and last <= LEARNED * first):
        return None
    wanted, slowing = 1 / STILL_FALLING - 1, 1 / share - 1  # by how much an exponential slows down from t to 2 t
    return epochs * math.log(wanted) / math.log(slowing) if slowing > wanted ** (1 / FURTHEST) else math.inf
