"""FADRM (Cui et al., NeurIPS 2025): SRe2L's recovery from real patches, which come back between its stages."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hf_dd.config.base import option
from hf_dd.core.registry import OBJECTIVES
from hf_dd.objectives.published import Published
from hf_dd.objectives.sre2l import Recovery, RecoveryOptions
from hf_dd.synthetic.synthetic_set import SyntheticSet


@dataclass(frozen=True)
class ResidualOptions(RecoveryOptions):
    """What FADRM has beside SRe2L's options, with its own defaults of those."""

    scale: float = option(
        0.08, "the least share of an image's area that a random crop takes; 1 for no crop.", at_least=0.001, at_most=1
    )
    flip: float = option(0.5, "probability that a batch is mirrored.", at_least=0, at_most=1)
    stages: int = option(4, "parts of equal length that the run has.", at_least=1)
    residual: float = option(
        0.5, "α, the share of an image that is kept between two of them; the rest is its patch.", at_least=0, at_most=1
    )


class ResidualSet(SyntheticSet):
    """A set whose images are mixed with what they began as, at the iterations `at`: x ← α x + (1 − α) patch."""

    def __init__(self, initial: SyntheticSet, at: set[int], share: float):
        pixels = initial.pixels.detach()
        super().__init__(pixels.clone(), initial.class_names, initial.mean, initial.std, initial.factor)
        self.at, self.share = at, share
        self.register_buffer("patches", pixels.clone())

    def turn_to(self, pixels: Tensor, first: int, ipc: int) -> None:
        """Become another part of a set, whose images are its patches."""
        super().turn_to(pixels, first, ipc)
        self.patches.copy_(pixels)

    @torch.no_grad()
    def begin(self, index: int) -> bool:
        """Mix, if it is time for that; Adam begins anew then."""
        if index in self.at:
            self.pixels.mul_(self.share).add_(self.patches, alpha=1 - self.share)
        return index in self.at


@OBJECTIVES.register(
    "fadrm",
    title="recovery with residuals of real patches (FADRM)",
    paper="Cui et al., NeurIPS 2025",
    work="FADRM: fast and accurate data residual matching for dataset distillation",
    authors="Cui, Jiacheng and Bi, Xinyue and Luo, Yaxin and Zhao, Xiaohan and Liu, Jiacheng and Shen, Zhiqiang",
    arxiv="2506.24125",
    needs="BatchNorm teachers",
    teachers="One teacher was drawn per step",
)
class ResidualRecovery(Recovery):
    """SRe2L's loss from real patches, in stages, between which each image is mixed with its patch: x ← ½ x + ½ patch.

    The patches are the start, RDED's if none is given. One cosine runs over all stages, Adam begins anew in each, as
    in the authors' code. Sizes stay as they are: theirs alternate between 200 and 224 pixels on images of 224, and
    don't on those of 32 and 64. They take several teachers in turn, which are drawn here. Their batches hold one image
    of a class: so do these from a hundred classes on, and of fewer with a smaller batch (`batch=10` for ten classes,
    as theirs).
    """

    published = Published(
        iterations=2_000,
        image_learning_rate=0.25,
        image_optimizer="adam",
        image_schedule="cosine",
        init="rded",
        betas=(0.5, 0.9),
        augments=False,
    )
    Options = ResidualOptions

    def parameterise(self, initial: SyntheticSet) -> SyntheticSet:
        """The set that remembers its patches."""
        stages, iterations = self.options.stages, self.settings["iterations"]
        at = {round(iterations * stage / stages) for stage in range(1, stages)} - {0}
        return ResidualSet(initial, at, self.options.residual)
