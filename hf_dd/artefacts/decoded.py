"""The rows of a distilled set that was stored compactly, decoded to training images: what needs no code to load."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hf_dd.nn.tiles import decode_tiles
from hf_dd.synthetic.distilled_set import to_eight_bits, to_rows
from hf_dd.synthetic.synthetic_set import SyntheticSet

if TYPE_CHECKING:
    import datasets


@torch.no_grad()
def training_images(synthetic: SyntheticSet) -> Tensor:
    """What students train on, float32 in [0, 1] space on the CPU: decoded from the stored images as they are written.

    So the decoded copy follows from the compact one to the last bit, whatever the run's dtype was.
    """
    return decode_tiles(synthetic.own_space().detach().float().cpu(), synthetic.factor)


def decoded_rows(synthetic: SyntheticSet, soft_labels: Tensor | None = None) -> "datasets.Dataset":
    """The training images as rows, with their soft labels where there are any.

    The 8-bit copy is decoded from the compact 8-bit copy, then rounded: nothing more than those bytes is in it.
    """
    compact = to_eight_bits(synthetic.own_space().detach().float().cpu())
    images = to_eight_bits(decode_tiles(compact.float() / 255, synthetic.factor))
    labels = synthetic.image_labels()
    return to_rows(training_images(synthetic), labels, synthetic.class_names, soft_labels, images)
