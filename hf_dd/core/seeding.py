"""Every random draw of a run comes from here: a generator or a seed named by (seed, purpose, step, class).

Draws named this way depend neither on the number of processes, nor on what was drawn before, nor on the clock, so
a resumed run needs no generator state and a log line more changes no result.
"""

import contextlib
import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derive_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the draw called `names` (purpose, step, class, …) in the run of `seed`."""
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, *names: str | int) -> "torch.Generator":
    """A CPU generator for the draw called `names`; equal names give equal draws, on any rank and any device."""
    import torch

    return torch.Generator().manual_seed(derive_seed(seed, *names))


@contextlib.contextmanager
def isolated_rng(seed: int, *names: str | int) -> Iterator[None]:
    """Run code that uses torch's global CPU generator (module initialisers) on a named seed; restores it after."""
    import torch

    number = derive_seed(seed, *names)
    with torch.random.fork_rng(devices=[]):
        if torch.accelerator.is_available():
            torch.manual_seed(number)
        else:  # the above writes the stack of calls down for a GPU that there isn't, which takes a millisecond
            torch.default_generator.manual_seed(number)
        yield
