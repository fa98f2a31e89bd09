"""Seconds that something took, which are told and decide nothing."""

import time


def since(started: float) -> float:
    """Seconds since `time.perf_counter()` gave this; none by a clock that goes backwards."""
    return max(0.0, time.perf_counter() - started)
