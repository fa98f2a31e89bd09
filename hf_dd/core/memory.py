"""What doesn't fit into memory, of the machine or its accelerator, as one error."""

import contextlib
import re
from collections.abc import Iterator

from hf_dd.errors import RunError

# Of a RuntimeError of torch's, which has a type of its own for accelerators alone.
SAID = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "Storage size calculation overflowed",
    "numel: integer multiplication overflow",
    "STATUS_ALLOC_FAILED",
)


def is_lack_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory didn't suffice."""
    said = isinstance(error, RuntimeError) and any(words in str(error) for words in SAID)
    return said or isinstance(error, MemoryError)


@contextlib.contextmanager
def within_memory(way_out: str = "") -> Iterator[None]:
    """Let a lack of memory be a RunError, which ends with what to do about it."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_lack_of_memory(error):
            raise
        asked = re.search(r"tried to allocate [\d.]+ \w+", str(error), re.IGNORECASE)
        reason = asked[0].lower() if asked else str(error) or type(error).__name__
        raise RunError(f"There is too little memory for that ({reason:.300}).{way_out}") from error
