"""When a run began."""

import time

from hf_dd.core import clock


def test_a_run_begins_with_its_command_and_a_second_one_now(monkeypatch):
    times = iter([100.0, 107.0, 109.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(times))
    clock.command_begins()
    assert clock.since(clock.begun()) == 7.0
    assert clock.begun() == 109.0
