"""A foreign set made ours: checked against its source, in [0, 1] space, decoded, in the source's order of classes."""

import logging
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from hf_dd.config import ImportConfig
from hf_dd.core.text import plural
from hf_dd.data.image_data import ImageData
from hf_dd.errors import DataError, some
from hf_dd.importing.class_order import ClassCheck, check_classes, known_order, numbers_of, order_in_words, too_few
from hf_dd.importing.foreign_set import ForeignSet
from hf_dd.importing.normalisation import NOTHING_FITS, Normalisation, to_own_space
from hf_dd.nn.tiles import decode_tiles

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ImportedSet:
    """A foreign set as rows of ours, and what was found out on the way.

    Attributes:
        pixel_values: floating, (N, channels, height, width), in [0, 1] space, unclipped.
        labels: int64, (N,), classes of the source.
        soft_labels: float32, (N, num_classes), in the source's order, or None.
        foreign: the set as it was stored.
        normalisation: what was undone.
        classes: the `ClassCheck` as a mapping, with `order` (how it is known: 'stated', 'by name' or 'by position'),
            `class_map` (the source's class of each of the set's own labels) and `moved` (those that look like others).
    """

    pixel_values: Tensor
    labels: Tensor
    soft_labels: Tensor | None
    foreign: ForeignSet
    normalisation: Normalisation
    classes: dict[str, Any]


def import_foreign(foreign: ForeignSet, data: ImageData, config: ImportConfig, device: torch.device) -> ImportedSet:
    """Check a foreign set against its source and bring it into our form.

    Raises DataError where shape, labels or classes aren't the source's, where the normalisation can't be told, and
    where the images clearly show other classes than their labels say and no order was stated; ConfigError for options
    that don't fit the set.
    """
    _require_shape(foreign, data)
    class_map, order = known_order(foreign.class_names, data, config.class_map)
    labels, soft_labels = _in_order(foreign, data, class_map)
    own, normalisation = to_own_space(foreign.pixels, data, config.normalisation, config.mean, config.std)
    if normalisation.stated and normalisation.distance > NOTHING_FITS:
        logger.warning(
            "The normalisation '%s' was stated, but leaves the images %.2f away from the statistics of %s.",
            *(normalisation.name, normalisation.distance, data.name),
        )
    if config.factor > 1:
        own = decode_tiles(own, config.factor)
        labels = labels.repeat_interleave(config.factor**2)
        soft_labels = None if soft_labels is None else soft_labels.repeat_interleave(config.factor**2, 0)
    classes = check_classes(own, labels, data, seed=config.seed, device=device)
    _judge_order(classes, len(labels), foreign, data, class_map, order)
    about_order = {"order": order, "class_map": class_map, "moved": classes.moved(data.class_names)}
    return ImportedSet(own, labels, soft_labels, foreign, normalisation, asdict(classes) | about_order)


def _require_shape(foreign: ForeignSet, data: ImageData) -> None:
    channels, *size = foreign.pixels.shape[1:]
    if channels != data.channels:
        last = " Channels come last in it, it seems: save it as (N, C, H, W)." if size[-1] == data.channels else ""
        raise DataError(
            f"{foreign.name} has images of {channels} channels, but {data.name} of {data.channels}.{last} "
            "Name the data set that it was distilled from by --dataset."
        )
    if tuple(size) != data.image_size:
        of_files = foreign.format in ("images", "dataset")
        asked = f" or bring {'both' if of_files else 'it'} to that size by --image_size {min(size)}"
        raise DataError(
            f"{foreign.name} has images of {size[0]}×{size[1]} pixels, but {data.name} of {data.image_size[0]}×"
            f"{data.image_size[1]}. Name the data set that it was distilled from by --dataset"
            f"{asked if of_files or size[0] == size[1] else ''}."
        )


def _in_order(foreign: ForeignSet, data: ImageData, class_map: list[int]) -> tuple[Tensor, Tensor | None]:
    """Labels and soft labels in the source's numbers; raises DataError where they aren't labels of all its classes."""
    count, labels, soft = data.num_classes, foreign.labels, foreign.soft_labels
    if soft is not None and soft.shape[1] != count:
        raise DataError(
            f"{foreign.name} has soft labels of {soft.shape[1]} classes, but {data.name} has {count}: name the data "
            "set that it was distilled from by --dataset."
        )
    if labels.min() < 0 or labels.max() >= count:
        raise DataError(
            f"{foreign.name} has labels from {int(labels.min())} to {int(labels.max())}, but {data.name} has the "
            f"classes 0 to {count - 1}: name the data set that it was distilled from by --dataset."
        )
    order = torch.tensor(class_map)
    labels = order[labels]
    data.require_all_classes(labels, foreign.name)
    return labels, None if soft is None else soft[:, order.argsort()]


def _judge_order(
    classes: ClassCheck, count: int, foreign: ForeignSet, data: ImageData, class_map: list[int], order: str
) -> None:
    """Refuse a clear mismatch that nobody stated; warn of what is weak, or stated against the evidence.

    `count` is that of the images that were looked at.
    """
    seen = (
        f"a classifier of {100 * classes.accuracy:.0f} % on real images takes {100 * classes.agreement:.0f} % of the "
        f"images of {foreign.name} for their label"
    )
    if classes.verdict == "mismatch":
        found = (
            f"The classes of {foreign.name} aren't in the order of {data.name}: {seen}, but "
            f"{100 * classes.best_agreement:.0f} % in another order: {classes.moved(data.class_names)}."
        )
        if order != "stated":
            looked = [classes.mapping[label] for label in class_map]
            raise DataError(
                f"{found} If that is right, import it with --class_map {order_in_words(looked, data)}; to keep the "
                f"order as it is, state that: --class_map {order_in_words(class_map, data)}"
            )
        logger.warning("%s The order was stated, so it stays.", found)
    elif (
        classes.verdict == "weak"
        and order == "by position"
        and (numbers := numbers_of(data.class_names))
        and (numbers != sorted(numbers))
    ):
        by_number = sorted(class_map, key=numbers.__getitem__)
        raise DataError(
            f"The labels of {foreign.name} may be numbers or places of the classes of {data.name} "
            f"({some(data.class_names)}), and its images don't tell which. State it: --class_map "
            f"{order_in_words(by_number, data)}, or --class_map {order_in_words(class_map, data)}"
        )
    elif classes.verdict == "weak":
        doubt = f" (by guess, {moved})" if (moved := classes.moved(data.class_names)) else ""
        few = f"; {plural(count, 'image')} are too few to be sure" if too_few(count, data.num_classes) else ""
        logger.warning("The order of the classes is not confirmed: %s%s%s.", seen, doubt, few)
