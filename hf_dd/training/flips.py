"""Whether a mirrored image is still one of its class: letters say no, most photographs say yes.

A small network is trained on images as they are and tested on held-out ones, as they are and mirrored. Where mirroring
costs accuracy, augmentation by flips would teach images that the test split doesn't have.
"""

import dataclasses
import functools
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from hf_dd.core import cache
from hf_dd.core.precision import Autocast
from hf_dd.core.processes import from_main_process
from hf_dd.core.progress import say
from hf_dd.core.seeding import generator
from hf_dd.core.strategies import COMPOSITE, STRATEGY
from hf_dd.data.batches import in_chunks, in_unit_range
from hf_dd.data.image_data import ImageData
from hf_dd.nn import networks
from hf_dd.training.loop import TrainingRecipe, fit, predict

FLIPS = 2  # the version of the test: raise it with any change of what it finds
CLASSES, TRAINED, TESTED = 50, 150, 75  # at most: classes, and images of each
SIDE = 32  # pixels, to which larger images are brought
RECIPE = TrainingRecipe(12, learning_rate=0.02, drops=(9,), batch_size=64)
NETWORK = {"width": 32, "depth": 3}

LOST_BY_ALL, LOST_BY_ONE = 0.03, 0.1  # shares of the images that were right, which are too much
CHANCE = 0.01  # of as many losses by a coin


@dataclass(frozen=True)
class FlipTest:
    """What mirroring did to held-out images of a small network that was trained without.

    Attributes:
        accuracy: on the images as they are, in [0, 1].
        mirrored: on the same images mirrored.
        worst: name of the class that lost most.
        lost: by that class, in accuracy.
        hurts: whether flips are left out of augmentation.
        enough: whether so many images were held out that it could be told; flips are left out where it couldn't.
    """

    accuracy: float
    mirrored: float
    worst: str
    lost: float
    hurts: bool
    enough: bool = True

    def __str__(self) -> str:
        if not self.enough:
            return "augmentation: images aren't mirrored, as there are too few of them to tell whether that would hurt"
        verdict = "images aren't mirrored" if self.hurts else "images are mirrored, too"
        rates = f"{100 * self.accuracy:.0f} % of held-out ones, and on {100 * self.mirrored:.0f} % of them mirrored"
        return (
            f"augmentation: {verdict}, as a small network that was trained on images as they are is right on {rates}"
        )


def augmentation(data: ImageData, operations: Sequence[str] = STRATEGY, autocast: Autocast = nullcontext) -> str:
    """These operations as a strategy's name, without the flip where it hurts; every process returns the same."""
    if "flip" in operations and flip_test(data, autocast).hurts:
        operations = [each for each in operations if each != "flip"]
    return "none" if list(operations) in ([], [COMPOSITE]) else "_".join(operations)


def flip_test(data: ImageData, autocast: Autocast = nullcontext) -> FlipTest:
    """The test on a data set, or what it found earlier; every process has to call it."""

    def find() -> dict:
        path = cache.place_of("flips", FLIPS, [data.seen_as])
        return cache.remembered(path, lambda: dataclasses.asdict(measured(data, autocast)))

    found = FlipTest(**from_main_process(find))
    _tell(data.name, found)
    return found


@functools.cache
def _tell(name: str, found: FlipTest) -> None:
    """Once, whatever asks for it."""
    say("%s: %s.", name, found)


def measured(data: ImageData, autocast: Autocast = nullcontext) -> FlipTest:
    """The test itself."""
    draws = generator(0, "flips")
    classes = sorted(torch.randperm(data.num_classes, generator=draws)[:CLASSES].tolist())
    trained, tested = [], []
    for label in classes:
        rows = data.class_index[label].cpu()
        rows = rows[torch.randperm(len(rows), generator=draws)]
        held = min(TESTED, (len(rows) + 1) // 3)
        tested.append(rows[:held])
        trained.append(rows[held : held + TRAINED])
    if not (all(map(len, trained)) and any(map(len, tested))):  # nothing to learn it from, or to see it by
        return FlipTest(0.0, 0.0, data.class_names[classes[0]], 0.0, hurts=True, enough=False)
    images, labels = small(data, torch.cat(trained)), numbered(trained, data.device)
    shape = {"in_channels": data.channels, "num_classes": len(classes), "image_size": list(images.shape[2:])}
    network = networks.build("ConvNet", **shape, **NETWORK, seed=0).to(data.device)
    how = {"seed": 0, "purpose": "flips", "prepare": data.normalise, "autocast": autocast}
    for _ in fit(network, images, labels, RECIPE, **how):
        pass
    images, labels = small(data, torch.cat(tested)), numbered(tested, data.device)
    right, mirrored = (
        predict(network, each, prepare=data.normalise, autocast=autocast) == labels
        for each in (images, images.flip(3))
    )
    return judged(right.cpu(), mirrored.cpu(), labels.cpu(), [data.class_names[label] for label in classes])


def judged(right: Tensor, mirrored: Tensor, labels: Tensor, names: Sequence[str]) -> FlipTest:
    """What follows from which images were right as they are, and mirrored: bool (N,) both, labels int64 (N,).

    Flips hurt where all classes together lose LOST_BY_ALL or one loses LOST_BY_ONE, and a coin would give as many
    losses against gains with a probability of CHANCE at most (sign test; for one class, CHANCE over their number); and
    where the network learned too little to say, or got so few right that a coin might lose all of them.
    """
    accuracy, chance = right.double().mean().item(), 1 / len(names)
    lost = [0.0] * len(names)  # of a class of which no image is held out
    for c in labels.unique().tolist():
        lost[c] = (right[labels == c].double() - mirrored[labels == c].double()).mean().item()
    worst = max(range(len(names)), key=lost.__getitem__)
    total = accuracy - mirrored.double().mean().item()
    enough = by_chance(right, torch.zeros_like(right)) <= CHANCE
    hurts = (
        not enough
        or accuracy < min(2 * chance, (1 + chance) / 2)
        or (total >= LOST_BY_ALL and by_chance(right, mirrored) <= CHANCE)
        or any(
            share >= LOST_BY_ONE and by_chance(right[labels == c], mirrored[labels == c]) <= CHANCE / len(names)
            for c, share in enumerate(lost)
        )
    )
    return FlipTest(accuracy, accuracy - total, names[worst], lost[worst], hurts, enough)


def by_chance(right: Tensor, mirrored: Tensor) -> float:
    """The probability that a coin gives at least as many losses among the images that only one of both got right."""
    from scipy.special import bdtrc

    losses, gains = int((right & ~mirrored).sum()), int((mirrored & ~right).sum())
    return float(bdtrc(losses - 1, losses + gains, 0.5)) if losses else 1.0


def small(data: ImageData, rows: Tensor) -> Tensor:
    """These training images, floats in [0, 1] space, of SIDE pixels at most; one pixel twice, as networks take two."""
    found = []
    for _, chunk in in_chunks(data.train.images, rows):
        images = in_unit_range(chunk)
        for axis in (2, 3):
            images = images.repeat_interleave(2, axis) if images.shape[axis] == 1 else images
        scale = SIDE / max(images.shape[2:])
        if scale < 1:
            images = functional.interpolate(
                images, [max(1, round(scale * side)) for side in images.shape[2:]], mode="area"
            )
        found.append(images)
    return torch.cat(found)


def numbered(rows: Sequence[Tensor], device: torch.device) -> Tensor:
    """Labels 0, 1, … of rows that come class after class."""
    return torch.arange(len(rows)).repeat_interleave(torch.tensor([len(own) for own in rows])).to(device)
