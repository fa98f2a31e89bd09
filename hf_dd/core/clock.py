"""Seconds that something took, which are told and decide nothing."""

import time


def since(started: float) -> float:
    """Seconds since `time.perf_counter()` gave this; none by a clock that goes backwards."""
    return max(0.0, time.perf_counter() - started)


_typed: list[float] = []  # when the command began whose run hasn't asked yet


def command_begins() -> None:
    """Keep the time: what a command imports belongs to the minutes that its run has."""
    _typed[:] = [time.perf_counter()]


def begun() -> float:
    """When a run began: with its command, where it is the first of one, else now."""
    return _typed.pop() if _typed else time.perf_counter()
