"""torch.compile where a run is long enough to earn the compiler's time back."""

import time
from collections.abc import Callable

import torch
from torch import Tensor

from hf_dd.core.progress import say

PAYS_FROM = 1_000  # calls; compiling takes some ten seconds, and saves some ten milliseconds of a call where it helps


def compiled(function: Callable[[Tensor], Tensor], calls: int) -> Callable[[Tensor], Tensor]:
    """A compiled form of `function`, or itself where it is called less than `PAYS_FROM` times.

    The seconds of the first call, which compiles, are logged.
    """
    if calls < PAYS_FROM:
        say("Not compiled: %d calls are too few to earn the compiler's time back.", calls)
        return function
    fast = torch.compile(function)
    waiting = [True]

    def call(images: Tensor) -> Tensor:
        if not waiting:
            return fast(images)
        waiting.clear()
        started = time.perf_counter()
        result = fast(images)
        say("Compiled in %.0f s.", time.perf_counter() - started)
        return result

    return call
