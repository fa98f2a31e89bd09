"""A set that is optimised part by part: some images of each class for all iterations, then the next ones.

Only one part and what its optimiser remembers are on the device: 50,000 images of 224 pixels are 30 GB, and with
their gradient and Adam's moments four times as much.
"""

import torch
from torch import Tensor

from hf_dd.synthetic.synthetic_set import SyntheticSet


class Whole:
    """A set whose images are all optimised at once: there is one part.

    Args:
        whole: the set as it starts.
    """

    count = 1

    def __init__(self, whole: SyntheticSet):
        self.whole = whole

    def first(self) -> SyntheticSet:
        """A set of the images of the first part."""
        return self.whole

    def buffers(self) -> dict[str, Tensor]:
        """What a checkpoint has to hold beside the part."""
        return {}

    def enter(self, synthetic: SyntheticSet, part: int) -> None:
        """Let the set that is optimised be another part, as it starts."""

    def reenter(self, synthetic: SyntheticSet, part: int) -> None:
        """Let the set, whose pixels are read from a checkpoint already, be the part that they are of."""

    def leave(self, synthetic: SyntheticSet, part: int) -> None:
        """Put what has become of a part into the whole set."""

    def finished(self, synthetic: SyntheticSet) -> SyntheticSet:
        """The whole set, when its last part is finished."""
        return synthetic


class Parts(Whole):
    """The whole set, and which part of it is optimised.

    Args:
        whole: the set as it starts; changed in place, part by part.
        at_once: images of each class in a part, a divisor of its ipc.
    """

    def __init__(self, whole: SyntheticSet, at_once: int):
        super().__init__(whole)
        self.at_once = at_once
        self.count = whole.ipc // at_once

    def pixels(self, part: int) -> Tensor:
        """A view of the whole set's images of a part, (classes, at_once, channels, height, width)."""
        whole = self.whole.pixels.detach()
        return whole.view(-1, self.whole.ipc, *whole.shape[1:])[:, part * self.at_once : (part + 1) * self.at_once]

    def first(self) -> SyntheticSet:
        """As of `Whole`."""
        whole, pixels = self.whole, self.pixels(0).flatten(0, 1).clone()
        return SyntheticSet(pixels, whole.class_names, whole.mean, whole.std, whole.factor, whole.whitening)

    def buffers(self) -> dict[str, Tensor]:
        """The whole set."""
        return {"whole": self.whole.pixels.detach()}

    @torch.no_grad()
    def enter(self, synthetic: SyntheticSet, part: int) -> None:
        """As of `Whole`."""
        synthetic.turn_to(self.pixels(part).flatten(0, 1), part * self.at_once, self.whole.ipc)

    @torch.no_grad()
    def reenter(self, synthetic: SyntheticSet, part: int) -> None:
        """As of `Whole`."""
        own = synthetic.pixels.clone()
        self.enter(synthetic, part)
        synthetic.pixels.copy_(own)

    @torch.no_grad()
    def leave(self, synthetic: SyntheticSet, part: int) -> None:
        """As of `Whole`."""
        own = self.pixels(part)
        own.copy_(synthetic.pixels.view(own.shape))

    def finished(self, synthetic: SyntheticSet) -> SyntheticSet:
        """As of `Whole`."""
        self.leave(synthetic, self.count - 1)
        return self.whole


def parts_of(whole: SyntheticSet, at_once: int | None) -> Whole:
    """A set as it is optimised: so many images of each class at once, all of them for None."""
    return Whole(whole) if at_once in (None, whole.ipc) else Parts(whole, at_once)
