"""How progress is told, and the only place that knows it.

On a terminal, and in a notebook, a phase is a bar with the time that is left; a phase within another has its bar below
that one, for as long as it lasts. Without a terminal it is a line of the log at its end, with its seconds, and while
it lasts a line that says how far it is: after 10 seconds, after a minute, and then after twice the time, but at least
every half hour. A phase within another says nothing there but in the lines of that one. What takes less than a second
isn't told, and of several processes the first one tells.

The bars are huggingface_hub's: HF_HUB_DISABLE_PROGRESS_BARS=1, TQDM_DISABLE=1 or
`huggingface_hub.utils.disable_progress_bars("hf_dd")` switch them off, and lines stand in their place. The lines are
messages of the logger `hf_dd` at the level INFO, which Python shows where it is told to, and `hf-dd` always.
"""

import contextlib
import logging
import os
import sys
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self, TypeVar

from hf_dd.core.clock import since
from hf_dd.core.text import duration, plural

logger = logging.getLogger(__name__)

UNTOLD = 1.0  # seconds of a phase that aren't worth a word
REFRESH = 0.2  # seconds between two looks of the bars
FIRST_LINE, SECOND_LINE, RAREST_LINE = 10.0, 60.0, 1800.0  # seconds after which a log hears of a phase
WORTH_ADVICE = 1800.0  # seconds that are left
DEAR = 100_000  # images that networks learn, all epochs together: a minute or more on a CPU
CLIENTS = ("HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS")

Item = TypeVar("Item")
_phases: list[weakref.ref["Phase"]] = []  # that are open, the outermost first; one that an error tore off is dead
_looked = [0.0]  # when it was last judged whether there is something to tell


class Phase:
    """A part of a run that takes its time, from its making until it is closed; a `with` does that.

    Args:
        what: it is, in a word or a few.
        total: how much there is to do, or None where nobody knows.
        unit: of that, in the singular.
        done: what was done of it before.
        share: how much of the phase around it this one is, by that one's total: added there as it goes on.
        count: how many there are where `total` weighs them; a phase within it counts for one, or for its own `parts`.
        parts: as how many it counts in the phase around it.
        advice: what to do about a long time, told once, with the first estimate of it.
        drawn: whether it has a bar; the Hub's clients draw their own.
    """

    def __init__(
        self,
        what: str,
        total: float | None = None,
        unit: str = "",
        *,
        done: float = 0,
        share: float = 0,
        count: int | None = None,
        parts: int = 1,
        advice: str | None = None,
        drawn: bool = True,
    ):
        self.what, self.total, self.unit, self.advice = what, total, unit, advice
        self.share, self.count, self.parts, self.drawn = share, count, parts, drawn
        self.before = self.done = done
        self.counted = 0
        self.note = ""  # what else is to be said of it just now
        self.started = time.perf_counter()
        self.measured: tuple[float, float] | None = None  # when the first step was done, and what was done by then
        self.next_line = self.started + FIRST_LINE
        self.bar: Any = None
        self.around, self.within = open_phase(), None
        if is_first_process():
            _phases.append(weakref.ref(self))
            if self.around:
                self.around.within = weakref.ref(self)

    def update(self, amount: float = 1, parts: int = 0) -> None:
        """Count what was done since."""
        self.done += amount
        self.counted += parts
        tell()

    def skip(self, amount: float, parts: int = 1) -> None:
        """Leave out what needn't be done after all."""
        self.total = None if self.total is None else self.total - amount
        self.count = None if self.count is None else self.count - parts

    @property
    def reached(self) -> float:
        """How much is done, what is done of the phase within it as well."""
        inner = self.within and self.within()
        return self.done + (inner.share * inner.fraction if inner else 0)

    @property
    def fraction(self) -> float:
        """How much is done of the total, in [0, 1]."""
        return min(1.0, self.reached / self.total) if self.total else 0.0

    @property
    def left(self) -> float | None:
        """Seconds that it will still take, by its pace since its first step; None where that can't be told yet."""
        if not self.total or self.measured is None:
            return None
        at, reached = self.measured
        return (self.total - self.reached) * since(at) / (self.reached - reached) if self.reached > reached else None

    def amount(self) -> str:
        """What is done, in words: `12 of 30 students`."""
        done, total = (self.done, self.total) if self.count is None else (self.counted, self.count)
        return counted(done, self.unit) if total is None else f"{whole(done)} of {counted(total, self.unit)}"

    def times(self) -> str:
        """How long it has taken, and how long it will, in words."""
        ahead = f", about {duration(self.left)} left" if round(self.left or 0, 1) else ""
        return duration(since(self.started)) + ahead

    def result(self) -> str:
        """What it was, in words: `decoding: 60,000 images in 12 s`."""
        done = self.done - self.before if self.count is None else self.counted
        amount = f"{counted(done, self.unit)} in " if self.unit else ""
        return f"{self.what}: {amount}{duration(since(self.started))}{f' ({self.note})' if self.note else ''}"

    def show(self) -> None:
        """Draw its bar as it stands, or make one."""
        noted = filter(None, [self.amount(), self.note])
        text = f"{self.times()} | {self.what}: {', '.join(noted)}"  # the end of which a narrow terminal cuts
        if self.bar is None:
            self.bar = new_bar(text, self.total is not None)
        self.bar.n = 100 * self.fraction
        self.bar.set_description_str(text)

    def close(self, failed: bool = False) -> None:
        """End it: the bar of an outermost phase stays, or its line is told, unless it failed."""
        if mine := [place for place, other in enumerate(_phases) if other() is self]:
            del _phases[mine[0] :]
        else:  # of another process, or the phase around it has ended before
            failed = True
        if self.around:
            self.around.within = None
            if self.share and not failed:
                self.around.update(self.share, self.parts)
        told = not (failed or self.around) and since(self.started) >= UNTOLD
        if self.bar is not None:
            self.bar.leave, self.bar.n = told, 100
            self.bar.set_description_str(self.result(), refresh=told)
            self.bar.close()
        elif told:
            say(self.result())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.close(failed=kind is not None)


def over(
    items: Iterable[Item],
    what: str,
    total: float,
    unit: str,
    size: Callable[[Item], float] = lambda _: 1,
    share: float = 0,
) -> Iterator[Item]:
    """The items, as a phase whose total is the sum of their sizes.

    Give it to the loop itself, not to a name: an error that is kept, as notebooks keep the last one, keeps the names
    of where it passed, and a phase that stays open hides those that follow.
    """
    done = 0.0
    with Phase(what, total, unit, share=share) as phase:
        for item in items:
            yield item
            done += size(item)
            phase.update(done - phase.done)  # but for what a phase within it has told already


def say(message: str, *arguments: Any) -> None:
    """Log a line, once for all processes."""
    if is_first_process():
        logger.info(message, *arguments)


def say_if_dear(what: str, images: int, epochs: int, networks: int = 1) -> None:
    """Say, before it starts, that networks will learn so many images for so many epochs, where that takes minutes."""
    if images * epochs * networks >= DEAR:
        say(f"{what}: {networks} to be trained on {images:,} images for {epochs:,} epochs")


def whole(number: float) -> str:
    """A number without what there is of the next one."""
    return f"{int(number + 1e-6):,}"


def counted(number: float, unit: str) -> str:
    """So many of a unit: `1 student`, `60,000 images`; nothing without a unit."""
    return plural(whole(number), unit) if unit else ""


def open_phase() -> Phase | None:
    """The innermost phase that is open."""
    while _phases and _phases[-1]() is None:
        _phases.pop()
    return _phases[-1]() if _phases else None


def tell() -> None:
    """Let the phases that are open be seen, where it is time: as bars, or as a line about the outermost one."""
    now, phases = time.perf_counter(), [phase for reference in _phases if (phase := reference())]
    for phase in phases:
        if phase.measured is None and phase.reached > phase.before:
            phase.measured = now, phase.reached
    if not phases or now - phases[0].started < UNTOLD or 0 <= now - _looked[0] < REFRESH:
        return
    _looked[0] = now
    if drawn := draws_bars():
        for phase in phases:
            if phase.drawn and now - phase.started >= UNTOLD:
                phase.show()
    outermost, innermost, left = phases[0], phases[-1], phases[0].left
    if now < outermost.next_line or (left is None and outermost.total is not None):
        return
    elapsed = now - outermost.started
    if outermost.advice and left and left > WORTH_ADVICE:
        length = f"{counted(outermost.total, outermost.unit)}, about {duration(elapsed + left)} on this machine"
        say(f"{outermost.what}: {length}; {outermost.advice}")
    elif not drawn and (left is None or left > FIRST_LINE):
        within = f"; {innermost.what}: {innermost.amount()}" if innermost is not outermost else ""
        noted = f" ({outermost.note})" if outermost.note else ""
        say(f"{outermost.what}: {outermost.amount() or 'going on'} in {outermost.times()}{noted}{within}")
    outermost.advice, outermost.next_line = None, now + min(max(elapsed, SECOND_LINE - FIRST_LINE), RAREST_LINE)


def is_first_process() -> bool:
    """Whether this process is the one that tells, as launchers say it: before accelerate has set up anything."""
    return os.environ.get("RANK", "0") == "0"


def is_terminal() -> bool:
    """Whether there is a terminal to tell it on."""
    return getattr(sys.stderr, "isatty", bool)()


def has_size() -> bool:
    """Whether the terminal says how large it is; one that a program has made may not."""
    try:
        return all(os.get_terminal_size(sys.stderr.fileno()))
    except OSError:
        return False


def draws_bars() -> bool:
    """Whether there are bars, and not lines: on a terminal and in a notebook, unless they are switched off."""
    if not (is_terminal() or "ipykernel" in sys.modules) or os.environ.get("TQDM_DISABLE", "0") not in ("", "0"):
        return False
    from huggingface_hub.utils import are_progress_bars_disabled

    return not are_progress_bars_disabled("hf_dd")


def new_bar(text: str, measured: bool) -> Any:
    """A bar of 100 steps, or where the total isn't known a text alone."""
    from huggingface_hub.utils import tqdm

    bar = "{percentage:3.0f}%|{bar:10}| {desc}" if is_terminal() else "{percentage:3.0f}%{bar} {desc}"
    shape = {"total": 100, "bar_format": bar} if measured else {"bar_format": "{desc}"}
    size: dict[str, Any] = {"dynamic_ncols": True}
    if is_terminal() and not has_size():
        size = {"ncols": 100, "nrows": 24}  # tqdm would draw nothing
    return tqdm(desc=text, name="hf_dd", leave=False, disable=False, **shape, **size)


@contextlib.contextmanager
def passing_bars() -> Iterator[type]:
    """A kind of bars for the Hub's client: as its own are, but not of what takes less than a second, and none stays.

    The client closes some of its bars only when Python collects them: until then they are drawn over what follows.
    """
    from huggingface_hub.utils import tqdm

    made = []

    class Passing(tqdm):
        def __init__(self, *arguments: Any, **options: Any):
            self.made_at = time.perf_counter()
            super().__init__(*arguments, **options | {"leave": False})
            made.append(self)

        def display(self, *arguments: Any, **options: Any) -> bool | None:
            return super().display(*arguments, **options) if since(self.made_at) >= UNTOLD else False

    try:
        yield Passing
    finally:
        for bar in reversed(made):  # that of the first line last: it leaves the cursor where lines begin
            bar.close()


def quieten_clients() -> None:
    """Keep the bars of the Hub's clients out of a log, and on a terminal those of all processes but the first.

    They read it in the environment when they are imported; what a user has set there stands.
    """
    if not (is_terminal() and is_first_process()):
        for name in CLIENTS:
            os.environ.setdefault(name, "1")


class AboveBars(logging.StreamHandler):
    """Writes messages to stderr so that no bar tears them, or is torn by them."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a message, and then the bars again."""
        tqdm = sys.modules.get("tqdm")
        with tqdm.tqdm.external_write_mode(self.stream) if tqdm else contextlib.nullcontext():
            super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        """The message; that of another process than the first takes the place of that one's bars, which come again."""
        message, clear = super().format(record), "\033[K"
        return message if is_first_process() or not is_terminal() else f"\r{clear}{message}\n{clear}\033[A"
