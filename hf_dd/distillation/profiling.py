"""A torch profiler trace of some steps of a run."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch.profiler import profile, schedule

from hf_dd.core import files

logger = logging.getLogger(__name__)

WARM_UP, TRACED = 2, 3  # steps


def profiled(steps: Sequence[int], path: Path | None) -> Iterator[int]:
    """The steps of a loop, of which three are traced, after two others.

    Writes the trace to `path` (as chrome://tracing and Perfetto read it) and logs the ten operations that took longest
    themselves. Does nothing where `path` is None.
    """
    if path is None or not steps:
        yield from steps
        return
    warm_up = min(WARM_UP, len(steps) - 1)
    traced = min(TRACED, len(steps) - warm_up)

    def finish(done: profile) -> None:
        files.write(path, lambda temporary: done.export_chrome_trace(str(temporary)))
        device = "cuda" if torch.cuda.is_available() else "cpu"
        table = done.key_averages().table(sort_by=f"self_{device}_time_total", row_limit=10)
        logger.info("%s\nThe trace of %d steps is in %s.", table, traced, path)

    plan = schedule(wait=0, warmup=warm_up, active=traced, repeat=1) if warm_up else None
    with profile(schedule=plan, on_trace_ready=finish) as running:
        for step in steps:
            yield step
            running.step()
