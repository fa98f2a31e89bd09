"""What every campaign needs: the count of its tries, and commands in forks that can be killed and measured."""

import argparse
import contextlib
import json
import mmap
import os
import platform
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

FULL_MEMORY, FULL_SECONDS = 2**30, 10  # what a refused input may cost at most, beyond what a command needs anyway


class Outcome(StrEnum):
    """How a try ended; only the first is good, whether by the right result or by one clear line."""

    RIGHT = "same or clear"
    TRACEBACK = "traceback"  # or an answer of 500, an unclear or second error line, a command that hangs
    WRONG = "wrong"  # exit 0, and another result
    LOST = "lost"  # an artefact that is half there, gone, or can't be gone on with
    BOMB = "bomb"  # more than FULL_MEMORY or FULL_SECONDS for what was refused


@dataclass(frozen=True)
class Try:
    """One try: which way of failing (`kind`), which case of it, how it ended, and what was seen."""

    kind: str
    case: str
    outcome: Outcome
    seen: str = ""


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: its exit status, minus the signal that killed it, or None where it was stopped as it took too long.
        output: standard output and error together.
        seconds: by the clock.
        memory: bytes that it had in memory at most, beyond the process that it was forked from.
    """

    code: int | None
    output: str
    seconds: float
    memory: int

    @property
    def last(self) -> str:
        """Its error line, or the last line that it wrote."""
        errors = re.findall(r"hf-dd: error: .*", self.output)
        return (errors or self.output.strip().splitlines() or [""])[-1][:300]

    @property
    def clear(self) -> bool:
        """Whether it was refused by one clear line."""
        return (
            self.code == 1 and self.output.count("hf-dd: error: ") == 1 and "Traceback (most recent" not in self.output
        )

    def refused(self, *, heavy: bool = False) -> Outcome:
        """The outcome of a command that had to be refused; `heavy`: whether it may take its time, as to learn does."""
        if self.code == 0:
            return Outcome.WRONG
        if self.memory > FULL_MEMORY or (self.seconds > FULL_SECONDS and not heavy):
            return Outcome.BOMB
        return Outcome.RIGHT if self.clear else Outcome.TRACEBACK

    def right(self, problems: Sequence[str] = ()) -> Outcome:
        """The outcome of a command that may succeed, with these problems of its result, or be refused."""
        if self.code == 0:
            return Outcome.WRONG if problems else Outcome.RIGHT
        return Outcome.RIGHT if self.clear else Outcome.TRACEBACK


def preload() -> None:
    """Import what commands need, once, before any fork; nothing of it may be told by a Hub's environment yet."""
    import accelerate  # noqa: F401
    import datasets.io  # noqa: F401
    import PIL.Image
    import pyarrow.parquet  # noqa: F401
    import safetensors.torch  # noqa: F401
    import torch
    import torch._dynamo  # noqa: F401  # which an optimiser imports
    from datasets.packaged_modules.parquet import parquet  # noqa: F401

    import hf_dd.artefacts.distilled_folder
    import hf_dd.cli
    import hf_dd.runs.distill
    import hf_dd.runs.evaluate
    import hf_dd.runs.import_set
    import hf_dd.runs.pools
    import hf_dd.runs.pretrain
    import hf_dd.studies.pool_search
    import hf_dd.studies.study  # noqa: F401

    PIL.Image.init()
    torch.set_num_threads(1)


class Watch:
    """An audit hook that counts changes of files below a folder, and kills its process group right before one.

    Args:
        folder: where changes count.
        kill_at: the number of the change before which to kill, from 1; None only counts.
        log: a file that gets a line for each change.
    """

    CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink")

    def __init__(self, folder: Path, kill_at: int | None, log: Path | None) -> None:
        self.folder, self.kill_at, self.count = f"{folder.resolve()}{os.sep}", kill_at, 0
        self.log = log and os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def __call__(self, event: str, arguments: tuple) -> None:
        if event == "open":
            path, mode, flags = arguments
            if isinstance(mode, str):
                changes = any(letter in mode for letter in "wax+")
            else:
                changes = bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        else:
            path, changes = arguments[0] if arguments else None, event in self.CHANGES
        if not changes or not isinstance(path, str | os.PathLike):
            return
        if not f"{os.path.abspath(os.fspath(path))}{os.sep}".startswith(self.folder):
            return
        self.count += 1
        if self.log:
            shown = arguments[1] if event == "os.rename" else path
            os.write(self.log, f"{event} {os.path.relpath(shown, self.folder)}\n".encode())
        if self.count == self.kill_at:
            os.killpg(0, signal.SIGKILL)


def run(
    arguments: Sequence[object],
    folder: Path,
    *,
    environment: dict[str, str | None] | None = None,
    cache: Path | None = None,
    before: Callable[[], object] | None = None,
    watch: Path | None = None,
    kill_at: int | None = None,
    changes: Path | None = None,
    signal_after: float | None = None,
    signal_number: int = signal.SIGKILL,
    timeout: float = 240,
) -> Ended:
    """Run `hf-dd ARGUMENTS` in a fork of this process, in a working directory.

    Args:
        environment: variables to set, or to unset (None); those that libraries read when they are imported don't
            count any more.
        cache: where hf-dd keeps decoded images and scores (a folder of its own makes a run independent).
        before: called in the fork first.
        watch, kill_at, changes: as `Watch` takes them.
        signal_after: seconds after which the fork and its children get `signal_number`.
        timeout: seconds after which they are killed, which is an outcome of its own.
    """
    with tempfile.TemporaryFile() as output:
        started, alone = time.monotonic(), mmap.mmap(-1, 8)  # shared with the fork, which writes its memory there
        pid = os.fork()
        if pid == 0:
            os.setsid()
            alone[:] = resident().to_bytes(8, "big")
            os.dup2(output.fileno(), 1), os.dup2(output.fileno(), 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
            os._exit(_command(arguments, folder, environment or {}, cache, before, watch, kill_at, changes))
        code, sent = None, False
        while True:
            done, status, usage = os.wait4(pid, os.WNOHANG)
            seconds = time.monotonic() - started
            if done:
                code = os.waitstatus_to_exitcode(status)
                break
            if signal_after is not None and seconds >= signal_after and not sent:
                sent = True
                _kill(pid, signal_number)
            if seconds > timeout:
                _kill(pid, signal.SIGKILL)
                _, _, usage = os.wait4(pid, 0)
                break
            time.sleep(0.005)
        _kill(pid, signal.SIGKILL)  # what it left running
        output.seek(0)
        text = output.read().decode(errors="replace")
    return Ended(code, text, seconds, max(0, usage.ru_maxrss * 1024 - int.from_bytes(alone[:], "big")))


def _command(
    arguments: Sequence[object],
    folder: Path,
    environment: dict[str, str | None],
    cache: Path | None,
    before: Callable[[], object] | None,
    watch: Path | None,
    kill_at: int | None,
    changes: Path | None,
) -> int:
    try:
        os.chdir(folder)
        for name, value in environment.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        if cache:
            import datasets

            datasets.config.HF_DATASETS_CACHE = Path(cache)
        from hf_dd import cli

        if before:
            before()
        if watch:
            sys.addaudithook(Watch(watch, kill_at, changes))
        try:
            cli.main([str(argument) for argument in arguments])
            code = 0
        except SystemExit as end:
            if isinstance(end.code, str):
                print(end.code, file=sys.stderr)
            code = 1 if isinstance(end.code, str) else end.code or 0
        sys.stdout.flush(), sys.stderr.flush()
        return code
    except BaseException:
        import traceback

        with contextlib.suppress(BaseException):
            traceback.print_exc()
            sys.stderr.flush()
        return 1


def _kill(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def resident() -> int:
    """Bytes of this process that are in memory now."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def port() -> int:
    """Where commands look for a Hub: any, or where a process that has imported huggingface_hub already expects it."""
    return int(os.environ.get("HF_DD_CAMPAIGN_PORT", 0))


@contextlib.contextmanager
def hub(root: Path, **options: object) -> Iterator[dict[str, str]]:
    """An embedded Hub in a process of its own, `local_hub.serve` with these options; gives its environment."""
    code = (
        "import json, sys; from hf_dd.local_hub import serve; serve(sys.argv[1], on_ready=lambda hub: "
        "print(json.dumps(hub.environment()), flush=True), **json.loads(sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, str(root), json.dumps({"port": port()} | options)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()


def main(name: str, tries: Callable[[random.Random, Path], Iterator[Try]]) -> None:
    """A campaign's command line: try until the minutes or tries are over, tell the table, exit 1 if one was bad."""
    parser = argparse.ArgumentParser(
        prog=f"python -m tests.campaigns.{name}", description=sys.modules["__main__"].__doc__
    )
    parser.add_argument("--minutes", type=float, default=5, help="how long to try (default 5)")
    parser.add_argument("--tries", type=int, help="how often at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="a folder whose campaigns.json and .md get the counts")
    own = parser.parse_args()
    for variable in ("HF_ENDPOINT", "HF_TOKEN", "HF_HUB_OFFLINE"):
        os.environ.pop(variable, None)
    work = Path(tempfile.mkdtemp(prefix=f"hf-dd-{name}-"))
    quiet = {"TQDM_DISABLE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    os.environ.update(quiet | {"OMP_NUM_THREADS": "1", "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(work / "home")})
    done: list[Try] = []
    started = time.monotonic()
    try:
        for each in tries(random.Random(own.seed), work):
            done.append(each)
            if each.outcome is not Outcome.RIGHT:
                print(f"{each.outcome.upper()} {each.kind}: {each.case}: {each.seen}", flush=True)
            if len(done) == own.tries or time.monotonic() - started > own.minutes * 60:
                break
    finally:
        shutil.rmtree(work, ignore_errors=True)
    from hf_dd.artefacts.provenance import versions  # here, as importing it reads the environment

    counted = {kind: Counter(each.outcome for each in done if kind in ("all", each.kind)) for kind in kinds_of(done)}
    counts = {kind: {outcome: found[outcome] for outcome in Outcome} for kind, found in counted.items()}
    result = {
        "command": f"python -m tests.campaigns.{name} --seed {own.seed} --tries {len(done)}",
        "minutes": round((time.monotonic() - started) / 60, 1),
        "code": versions()["hf-dd"],
        "hardware": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "counts": counts,
    }
    print(table(name, result))
    if own.output:
        write(own.output, name, result)
    sys.exit(any(each.outcome is not Outcome.RIGHT for each in done))


def kinds_of(done: Sequence[Try]) -> list[str]:
    """What is counted: all of the tries, then each kind of them."""
    return ["all", *sorted({each.kind for each in done})]


def table(name: str, result: Mapping[str, Any]) -> str:
    """A campaign's counts by kind, as Markdown, with the command that repeats them."""
    lines = [f"`{result['command']}`: {result['minutes']} minutes on {result['hardware']}, {result['code']}", ""]
    lines += [f"| {name} | tried | {' | '.join(Outcome)} |", f"|---|{'---:|' * (len(Outcome) + 1)}"]
    for kind, counts in result["counts"].items():
        numbers = [sum(counts.values()), *(counts[each] for each in Outcome)]
        lines.append(f"| {kind} | {' | '.join(map(str, numbers))} |")
    return "\n".join(lines)


def write(folder: Path, name: str, result: Mapping[str, Any]) -> None:
    """Put a campaign's counts beside those of the others in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "campaigns.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    found = dict(sorted((found | {name: result}).items()))
    path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    parts = [f"# Campaigns\n\n{sys.modules[__package__].__doc__.splitlines()[0]}"]
    parts += [f"## {each}\n\n{table(each, own)}" for each, own in found.items()]
    (folder / "campaigns.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
