"""Options of labels of crops: how many views of each image, of what kind, and how much of each label is kept."""

import dataclasses
import functools
from collections.abc import Iterator
from dataclasses import dataclass

from hf_dd.config.base import Options, is_default, option
from hf_dd.core.strategies import MIXES

labels = functools.partial(option, group="teachers and guide", role="labels")


@dataclass
class CropLabelConfig(Options):
    """What is stored where soft labels are those of crops; the defaults are SRe2L's views."""

    soft_label_views: int = labels(
        30,
        "With --soft_labels crops: views of each training image that are labelled.",
        at_least=1,
        at_most=65_536,
        memory=True,
    )
    soft_label_topk: int | None = labels(
        None,
        "With --soft_labels crops: likeliest classes of each view that are kept, with what the others have together; "
        "10, or all if there are fewer, if not given.",
        at_least=1,
    )
    soft_label_crop: float = labels(
        0.08,
        "With --soft_labels crops: smallest share of an image's area that a view shows; 1 for no crop.",
        above=0,
        at_most=1,
    )
    soft_label_mix: str = labels(
        "cutmix", "With --soft_labels crops: how another image's view is mixed into each view.", choices=MIXES
    )

    def contradictions(self) -> Iterator[str]:
        """As of all options."""
        yield from super().contradictions()
        if getattr(self, "soft_labels", "none") != "crops":
            for each in dataclasses.fields(CropLabelConfig):
                if not is_default(each, getattr(self, each.name)):
                    yield f"--{each.name} goes with --soft_labels crops: add that, or leave it out."
