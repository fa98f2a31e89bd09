"""How a learning rate falls, epoch by epoch: the shapes that the field's evaluations take, as shares of the rate.

All are stepped once per epoch. Epoch e of E counts from 0, so that the last one trains at what E - 1 gives. Waves and
lines come to the share `end`; steps take none.
"""

import math
from collections.abc import Callable, Sequence

Shares = tuple[float, ...]
WARM_EPOCHS = 5


def cosine(epochs: int, end: float = 0.0) -> Shares:
    """½ (1 + cos(e/E · arccos(2 end - 1))): from 1 along a cosine, to `end` after the last epoch.

    At end 0 it is a half wave, ½ (1 + cos(πe/E)); at ½ a quarter of one, ½ (1 + cos(πe/2E)).
    """
    angle = math.acos(2 * end - 1)
    return tuple((1 + math.cos(angle * epoch / epochs)) / 2 for epoch in range(epochs))


def linear(epochs: int, end: float = 0.0) -> Shares:
    """1 - (1 - end) · e/E: along a line, to `end` after the last epoch."""
    return tuple(1 - (1 - end) * epoch / epochs for epoch in range(epochs))


def fifths(epochs: int, end: float = 0.0) -> Shares:
    """1, then 0.2 from epoch 2E/3 on, then 0.04 from 5E/6 on, both rounded down, but not to the first."""
    return stepped(epochs, 0.2, (2 * epochs // 3, 5 * epochs // 6))


def halves(epochs: int, end: float = 0.0) -> Shares:
    """1, then ½, ¼ and ⅛ from epochs 4E/5, 9E/10 and 19E/20 on, rounded as above: EDC's steps for CIFAR-10."""
    return stepped(epochs, 0.5, (4 * epochs // 5, 9 * epochs // 10, 19 * epochs // 20))


def stepped(epochs: int, factor: float, drops: Sequence[int]) -> Shares:
    """1, times `factor` from each of these epochs on; the first epoch has the whole rate."""
    return tuple(factor ** sum(epoch >= max(1, drop) for drop in drops) for epoch in range(epochs))


def warm(epochs: int, end: float = 0.0) -> Shares:
    """Five epochs from 0.01 along a line to 1, then the cosine over the others."""
    rising = tuple(0.01 + 0.99 * epoch / WARM_EPOCHS for epoch in range(min(WARM_EPOCHS, epochs)))
    return rising + cosine(max(epochs - WARM_EPOCHS, 0), end)


def cut(epochs: int, end: float = 0.0) -> Shares:
    """The cosine towards `end` until 5E/6, then its value there times 1 - e/E: EDC's second shape."""
    angle, knee = math.acos(2 * end - 1), epochs * 5 / 6

    def share(epoch: int) -> float:
        wave = (1 + math.cos(angle * min(epoch, knee) / epochs)) / 2
        return wave if epoch <= knee else wave * (1 - epoch / epochs)

    return tuple(map(share, range(epochs)))


SCHEDULES: dict[str, Callable[[int, float], Shares]] = {
    "cosine": cosine,
    "linear": linear,
    "fifths": fifths,
    "halves": halves,
    "warm": warm,
    "cut": cut,
}
