"""How a command ends: in order when a signal ends it, and quietly when nobody reads what it prints."""

import contextlib
import select
import signal
import sys
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def ended_in_order() -> Iterator[None]:
    """Let signals that end a process end it as Ctrl-C does, unless someone has taken care of them or ignores them."""

    def end(number: int, _: object) -> None:
        sys.exit(128 + number)

    taken = []
    if threading.current_thread() is threading.main_thread():
        asking = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
        taken = [number for number in asking if signal.getsignal(number) == signal.SIG_DFL]
    for number in taken:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def reader_is_gone() -> bool:
    """Whether nobody reads what is printed any more, as after `hf-dd … | head`."""
    try:
        poll = select.poll()
        poll.register(sys.stdout, 0)  # POLLERR is always looked for
        return any(event & select.POLLERR for _, event in poll.poll(0))
    except (AttributeError, OSError, ValueError):  # no poll on Windows; no descriptor where output is captured
        return False
