"""Commands on disks that are full, unwritable or gone, under signals, odd clocks and odd variables, two on one folder.

Each ends with the right result or one clear line that names the place, leaves nothing half-written, and succeeds with
the same bytes once the disturbance is over.
"""

import ctypes
import errno
import functools
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.campaigns import campaign
from tests.campaigns.campaign import Ended, Outcome, Try, Watch, hub, main, preload, run
from tests.campaigns.commands import DISTILLED, Kind, again, fingerprint, kinds, leftovers, problems
from tests.campaigns.kill import Reference, files_of

# What must not change a result: each is without effect, or refused.
VARIABLES = [
    {"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4"},
    {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"},
    {"ACCELERATE_DYNAMO_BACKEND": "inductor"},
    {"ACCELERATE_MIXED_PRECISION": "bf16"},
    {"ACCELERATE_USE_DEEPSPEED": "true"},
    {"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "many"},
    {"ACCELERATE_USE_MEGATRON_LM": "True"},
    {"ACCELERATE_DYNAMO_BACKEND": "nonsense", "ACCELERATE_DYNAMO_USE_FULLGRAPH": "perhaps"},
    {"ACCELERATE_USE_PARALLELISM_CONFIG": "true", "PARALLELISM_CONFIG_TP_SIZE": "2"},
    {"ACCELERATE_MIXED_PRECISION": "fp8"},
    {"ACCELERATE_DOWNCAST_BF16": "true"},
    {"ACCELERATE_TORCH_DEVICE": "nonsense"},
    {"ACCELERATE_USE_CPU": "perhaps"},
    {"NVIDIA_TF32_OVERRIDE": "1"},
    {"TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1"},
    {"ONEDNN_DEFAULT_FPMATH_MODE": "BF16"},
    {"LOCAL_RANK": "first"},
    {"WORLD_SIZE": "two", "RANK": "0"},
    {"WORLD_SIZE": "2"},
    {"ACCELERATE_USE_SAGEMAKER": "true"},
    {"HOME": "/proc/none"},
    {"TMPDIR": "/proc/none"},
    {"COLUMNS": "wide", "PYTHONWARNINGS": "error"},
    {"ACCELERATE_DEBUG_MODE": "1"},
]
LAUNCHES = [
    ("--gradient_accumulation_steps", "4", "--dynamo_backend", "inductor", "--mixed_precision", "bf16"),
    ("--use_fsdp", "--fsdp_version", "2"),
    ("--use_parallelism_config", "--parallelism_config_tp_size", "2"),
]


class Disk(Watch):
    """Refuses, from a change on or that one alone, or does something else before it.

    Args:
        act: what is called before the change; an OSError that it raises is what the command gets.
        lasting: whether it is called before all later ones too.
        only: the events that count; all if empty.
    """

    def __init__(
        self, folder: Path, at: int, act: Callable[[], object], lasting: bool = True, only: tuple[str, ...] = ()
    ):
        super().__init__(folder, None, None)
        self.at, self.act, self.lasting, self.only, self.busy = at, act, lasting, only, False

    def __call__(self, event: str, arguments: tuple) -> None:
        before = self.count
        if self.busy or (self.only and event not in self.only):
            return
        super().__call__(event, arguments)
        if self.count > before and (self.count == self.at or (self.lasting and self.count > self.at)):
            self.busy = True
            try:
                self.act()
            finally:
                self.busy = False


class Case:
    """One try's place: `disk/out` is what a command writes, `cache` where it keeps what it computed."""

    def __init__(self, kind: Kind, reference: Reference, place: Path, rng: random.Random):
        self.kind, self.reference, self.place, self.rng = kind, reference, place, rng
        self.disk, self.cache = place / "disk" / place.name, place / "cache"
        self.folder = self.disk / "out"
        self.disk.mkdir(parents=True)
        kind.prepare(self.folder)

    def change(self) -> int:
        """The number of one of the changes that the command makes."""
        return self.rng.randint(1, len(self.reference.changes))

    def run(self, folder: Path | None = None, **options: Any) -> Ended:
        """The command, disturbed."""
        return run(self.kind.arguments(folder or self.folder), self.disk, **{"cache": self.cache} | options)

    def hooked(self, act: Callable[[], object], **options: Any) -> Callable[[], object]:
        """What installs a `Disk` in the fork."""
        return lambda: sys.addaudithook(Disk(self.disk, self.change_at, act, **options))

    def judge(
        self, what: str, case: str, ended: Ended, *, named: Path | None = None, repeat: bool = True, kept: bool = True
    ) -> Try:
        """How a disturbed command ended, what it left, and what the same command then makes.

        Args:
            what: the disturbance.
            case: more of it.
            ended: how the command did.
            named: a place that its message has to name.
            repeat: whether the command is typed again.
            kept: whether a set that was there before can still be there.
        """
        outcome, seen = self.judged(ended, named, repeat, kept)
        if outcome is Outcome.RIGHT:
            shutil.rmtree(self.place)
        return Try(what, f"{self.kind.name}: {case}", outcome, seen)

    def judged(self, ended: Ended, named: Path | None, repeat: bool, kept: bool) -> tuple[Outcome, str]:
        if found := problems(self.place):
            return Outcome.LOST, f"{'; '.join(found)} after {ended.code} {ended.last}"
        # What a failing disk doesn't let go of may lie beside the whole result, until the next command removes it.
        if ended.code == 0 and (differing := self.differing(unfinished=False)):
            return Outcome.WRONG, f"differ: {differing}"
        if ended.code != 0 and not ended.clear:
            return Outcome.TRACEBACK, f"{ended.code} {ended.last}"
        if ended.code != 0 and named and str(named) not in ended.output:
            return Outcome.TRACEBACK, f"the line doesn't name {named}: {ended.last}"
        if not repeat:
            return Outcome.RIGHT, ""
        if self.kind.name.endswith("over") and ended.code != 0 and kept:
            there = self.kind.result(self.folder)
            if not any(files_of(what).items() <= there.items() for what in self.wholes()):
                return Outcome.LOST, "neither the old nor the new one is there"
        done = again(self.kind, self.folder, self.cache)
        if done.code != 0 and not (ended.code == 0 and done.clear) and "holds another set" not in done.output:
            return (Outcome.LOST if done.clear else Outcome.TRACEBACK), f"going on: {done.code} {done.last}"
        if differing := self.differing():
            return Outcome.WRONG, f"differ after going on: {differing}"
        if found := [*problems(self.place), *leftovers(self.place)]:
            return Outcome.LOST, f"left: {'; '.join(found)}"
        return Outcome.RIGHT, ""

    def wholes(self) -> list[dict[str, str]]:
        return [self.reference.before or {}, self.reference.result]

    def differing(self, unfinished: bool = True) -> str:
        """The names of what isn't as in the command that wasn't disturbed."""
        found, right = self.kind.result(self.folder), self.reference.result
        names = [name for name in {**found, **right} if unfinished or not name.startswith(".unfinished-")]
        return ", ".join(sorted(name for name in names if found.get(name) != right.get(name)))


def refusing(number: int) -> Callable[[], None]:
    """What raises an error of the system."""

    def act() -> None:
        raise OSError(number, os.strerror(number))

    return act


def full(case: Case) -> Try:
    """A disk that is full from some change on: whatever opens a file for writing, or makes a folder."""
    case.change_at = max(1, case.change() // 2)
    act = case.hooked(refusing(errno.ENOSPC), only=("open", "os.mkdir"))
    return case.judge("disk full", f"from change {case.change_at} on", case.run(before=act), named=case.disk)


def failing(case: Case) -> Try:
    """A disk that fails once, or from then on."""
    case.change_at, lasting = case.change(), case.rng.random() < 0.5
    number = case.rng.choice([errno.EIO, errno.EACCES, errno.EROFS, errno.EDQUOT, errno.ENAMETOOLONG])
    act = case.hooked(refusing(number), lasting=lasting)
    told = f"{errno.errorcode[number]} {'from' if lasting else 'at'} change {case.change_at}"
    return case.judge("disk failing", told, case.run(before=act), named=case.disk)


def limited(case: Case) -> Try:
    """A limit of the size of files, which writers that aren't Python's meet too."""
    size = case.rng.choice([9_000, 12_000, 20_000, 40_000, 80_000, 160_000, 320_000])

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return case.judge("file size limit", f"{size} bytes", case.run(before=limit), named=case.place)


def read_only(case: Case) -> Try:
    """A place that may not be written, for a user who isn't root."""
    inner = case.rng.random() < 0.5 and case.folder.exists()
    closed = case.folder if inner else case.disk
    modes = {path: path.stat().st_mode for path in [closed, *closed.rglob("*")]}
    for path, mode in modes.items():
        path.chmod(mode & ~0o222)

    ended = case.run(before=as_anyone)
    for path, mode in modes.items():
        if path.exists():
            path.chmod(mode)
    return case.judge("read-only", "the folder" if inner else "the one above", ended, named=case.disk)


def as_anyone() -> None:
    """Let modes of files count for root too: without the capabilities to pass them over (of Linux)."""
    libc = ctypes.CDLL(None)
    header, held = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    libc.capget(header, held)
    for place in (0, 1, 2):  # effective, permitted, inheritable; DAC_OVERRIDE, DAC_READ_SEARCH and FOWNER are 1 to 3
        held[place] &= ~0b1110
    libc.capset(header, held)


def in_the_way(case: Case) -> Try:
    """Output folders that can't be one."""
    shutil.rmtree(case.folder, ignore_errors=True)
    ways = ["a file", "below a file", "/proc", "a link to nowhere", "a link to itself", "a long name", "other files"]
    way, folder = case.rng.choice(ways), case.folder
    if way in ("a file", "below a file"):
        folder.write_text("mine")
        folder = folder if way == "a file" else folder / "a/b"
    elif way == "/proc":
        folder = Path("/proc/none/out")
    elif way == "a link to nowhere":
        folder.symlink_to(case.place / "nowhere/at/all")
    elif way == "a link to itself":
        folder.symlink_to(folder)
    elif way == "a long name":
        folder = case.disk / ("x" * 300)
    else:
        folder.mkdir()
        (folder / "notes.txt").write_text("mine")
    ended = case.run(folder)
    if ended.code == 0 and way == "other files":  # kept beside what is made, as of a study
        outcome = Outcome.RIGHT if (folder / "notes.txt").is_file() else Outcome.LOST
        return Try("in the way", f"{case.kind.name}: {way}", outcome)
    mine = folder if way == "a file" else folder.parents[1] if way == "below a file" else folder / "notes.txt"
    if way in ("a file", "below a file", "other files") and not mine.is_file():
        return Try("in the way", f"{case.kind.name}: {way}", Outcome.LOST, "what lay in the way is gone")
    if ended.code == 0:
        return Try("in the way", f"{case.kind.name}: {way}", Outcome.WRONG, "it succeeded")
    if any(worked in ended.output for worked in ("student 0", "iterations in")):
        return Try("in the way", f"{case.kind.name}: {way}", Outcome.LOST, "it trained before it was refused")
    return case.judge("in the way", way, ended, named=folder, repeat=False)


def another(case: Case, inputs: Path) -> Try:
    """An output folder that holds another kind of artefact, which stays as it is."""
    shutil.rmtree(case.folder, ignore_errors=True)
    names = ["old", "imported", "teachers/digits-mlp-seed0", "teachers/digits-mlp-seed0/epoch-1"]
    name = case.rng.choice(names[2:] if case.kind.name.startswith(("distill", "import")) else names)
    shutil.copytree(inputs / name, case.folder)
    before = fingerprint(case.folder)
    ended = case.run()
    outcome, seen = ended.refused(heavy=True), f"{ended.code} {ended.last}"
    if case.kind.name in ("study", "pool select", "pretrain", "pretrain over") and ended.code == 0:  # beside it
        outcome = Outcome.RIGHT
    if not before.items() <= fingerprint(case.folder).items():
        outcome, seen = Outcome.LOST, "it isn't there any more"
    return Try("another artefact", f"{case.kind.name}: {name}", outcome, seen)


def vanishing(case: Case) -> Try:
    """An output folder that somebody removes while it is written."""
    case.change_at = case.change()
    act = case.hooked(functools.partial(shutil.rmtree, case.folder, ignore_errors=True), lasting=False)
    ended = case.run(before=act)
    gone = case.kind.old and not case.folder.exists()
    if gone:
        case.kind.prepare(case.folder)
    whole = not case.kind.old or case.kind.name.endswith("over")
    told = f"before change {case.change_at}"
    return case.judge("vanishing", told, ended, named=case.disk, repeat=whole, kept=gone)


def without_cache(case: Case) -> Try:
    """A cache that can't be made, is a file, or is full: what can be done without it is."""
    way = case.rng.choice(["/proc", "a file", "full", "read-only"])
    before = None
    if way == "/proc":
        case.cache = Path("/proc/none/cache")
    elif way == "a file":
        case.cache.write_text("mine")
    elif way == "full":
        case.cache.mkdir()
        case.change_at, watched = 1, case.cache
        before = lambda: sys.addaudithook(Disk(watched, 1, refusing(errno.ENOSPC)))  # noqa: E731
    else:
        case.cache.mkdir(mode=0o555)
        before = as_anyone
    ended = case.run(before=before)
    lost, case.cache = case.cache, case.place / "other-cache"  # a set that `datasets` reads needs one, and names it
    return case.judge("cache", way, ended, named=lost)


def signalled(case: Case) -> Try:
    """A signal that ends a process, before some change."""
    number = case.rng.choice([signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
    case.change_at = case.change()
    ended = case.run(before=case.hooked(lambda: os.kill(os.getpid(), number), lasting=False))
    told = f"{number.name} before change {case.change_at}"
    if ended.code not in (0, 128 + number) or "Traceback" in ended.output:
        return Try("signal", f"{case.kind.name}: {told}", Outcome.TRACEBACK, f"{ended.code} {ended.output[-300:]}")
    clear = Ended(1, "hf-dd: error: ", 0, 0) if ended.code else ended
    return case.judge("signal", told, clear)


def backwards(case: Case) -> Try:
    """Clocks that go backwards."""
    name = case.rng.choice(["time", "perf_counter", "monotonic"])

    def turn() -> None:
        real, hours = getattr(time, name), [0]

        def back() -> float:
            hours[0] += 1
            return real() - 3600 * hours[0]

        setattr(time, name, back)

    return case.judge("clock", name, case.run(before=turn))


def variables(case: Case, own: dict[str, str]) -> Try:
    """Variables that must not change a result."""
    return case.judge("variables", " ".join(f"{key}={value}" for key, value in own.items()), case.run(environment=own))


def launched(case: Case, flags: tuple[str, ...]) -> Try:
    """`accelerate launch` with flags that must not change a result, in a process of its own."""
    command = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "1", *flags]
    command += ["-m", "hf_dd", *map(str, case.kind.arguments(case.folder))]
    own = {"HF_DATASETS_CACHE": str(case.cache), "PYTHONPATH": os.getcwd(), "ACCELERATE_USE_CPU": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | own, cwd=case.disk)
    said = "\n".join(line for line in done.stderr.splitlines() if line.startswith("hf-dd: error: "))
    if done.returncode and not said:
        return Try("launch", " ".join(flags), Outcome.TRACEBACK, done.stderr[-500:])
    return case.judge("launch", " ".join(flags), Ended(min(done.returncode, 1), said, 0, 0))


def two_at_once(case: Case) -> Try:
    """The same command on the same folder, run before some change of the first one."""
    case.change_at = case.change()
    told = case.place / "second"

    def second() -> None:
        pid = os.fork()
        if pid == 0:
            from hf_dd.core import files

            files._claims.clear()  # it is another process's
            with told.open("wb") as file:
                os.dup2(file.fileno(), 1), os.dup2(file.fileno(), 2)
            os._exit(campaign._command(case.kind.arguments(case.folder), case.disk, {}, case.cache, *[None] * 4))
        _, status = os.waitpid(pid, 0)
        told.with_suffix(".code").write_text(str(os.waitstatus_to_exitcode(status)))

    ended = case.run(before=case.hooked(second, lasting=False))
    if told.with_suffix(".code").is_file():
        other = Ended(int(told.with_suffix(".code").read_text()), told.read_text(), 0, 0)
        if other.code != 0 and not other.clear:
            return Try(
                "two at once",
                f"{case.kind.name}, the second one",
                Outcome.TRACEBACK,
                f"{other.code} {other.output[-400:]}",
            )
        if ended.code != 0 and other.code == 0:
            ended = other if ended.clear else ended
        elif ended.code != 0:
            return Try("two at once", f"{case.kind.name}: neither", Outcome.LOST, f"{ended.last} and {other.last}")
    return case.judge("two at once", f"before change {case.change_at}", ended)


def tries(rng: random.Random, work: Path) -> Iterator[Try]:
    """Way after way of disturbing, each on the next kind of command."""
    ways = [full, failing, limited, read_only, in_the_way, another, vanishing, without_cache, signalled, backwards]
    ways += [variables, two_at_once]
    with hub(work / "hub") as environment:
        os.environ.update(environment)
        preload()
        known, references = [kind for kind in kinds(work / "inputs") if kind.name != "push"], {}
        number, odd, flags = 0, iter(VARIABLES), iter(LAUNCHES)
        while True:
            for way in ways:
                kind = known[(number + number // len(ways)) % len(known)]
                if number % (kind.cost + 1):
                    kind = known[0]
                if way in (in_the_way, another) and kind.name == "evaluate":
                    kind = known[0]
                if way is variables:
                    kind = known[0]
                if kind.name not in references:
                    references[kind.name] = Reference(kind, work / f"reference-{kind.name.replace(' ', '-')}")
                case = Case(kind, references[kind.name], work / f"case-{number}", rng)
                if way is another:
                    yield another(case, work / "inputs")
                elif way is variables:
                    yield variables(case, next(odd, None) or rng.choice(VARIABLES))
                else:
                    yield way(case)
                shutil.rmtree(case.place, ignore_errors=True)
                number += 1
            if number % (5 * len(ways)) == 0 and (own := next(flags, None)):
                kind = Kind("distill", lambda folder: [*DISTILLED, "--output_dir", folder], fingerprint)
                reference = Reference(kind, work / f"reference-launch-{number}")
                yield launched(Case(kind, reference, work / f"launch-{number}", rng), own)


if __name__ == "__main__":
    main("environment", tries)
