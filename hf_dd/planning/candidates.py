"""Which options a run may choose among, where they aren't given: what is likeliest to be best comes first.

The learning rate on the images isn't among them: it is the method's own, for a run that is short where it has one.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hf_dd.config import DistillConfig, parse_key_values
from hf_dd.config.base import defaults
from hf_dd.nn import architectures
from hf_dd.objectives.published import Published

MOST_TILES = 5  # per side of a stored image
LIKELIEST = 25  # training images of a class, tiles counted
SMALLEST_TILE = 9  # pixels of its shorter side: an image that is smaller isn't one of its class any more
SEEN = 0.25  # of the stored images by the guide per step: in the time that this saves, more steps gain more
WEAK = 0.02  # balance of a guide where the objective does well by itself, and one as strong as it does harm
MOST_BYTES = 4 * 2**30  # of the training images that a set decodes to, as floats: so much memory is there
MOST_OPTIONS = 6  # that are measured for a race, which hasn't time for more
REAL_BATCH = 64  # real images of a class and step


@dataclass(frozen=True)
class Option:
    """What may be chosen: its name, options of the distillation, and what it takes of each thing, as an `Entrant`."""

    name: str
    options: dict[str, Any]
    choices: tuple[int, ...] = ()


def shared(config: DistillConfig, published: Published, smallest_class: int, architecture: str) -> dict[str, Any]:
    """What needs no race: few real images, and steps that are long first, are best where time is short.

    The loss is a sum over the channels of `architecture`, which the method is to match with, and so are its gradients:
    of a wide network's the steps are as long at a smaller rate.
    """
    found: dict[str, Any] = {}
    if published.real_batch_size is not None and config.real_batch_size is None and not config.published:
        found["real_batch_size"] = min(REAL_BATCH, published.real_batch_size, smallest_class)
    free = config.image_learning_rate is None and config.image_schedule in (None, "cosine") and not config.published
    width = architectures.width_of(architecture, parse_key_values(config.architecture_options))
    tried = (
        architecture.startswith("ConvNet") and isinstance(width, int) and width > 0
    )  # a wrong one the network refuses
    if published.short_rate and free and tried:
        rate = published.rate_of_short_runs(config.ipc, width)
        found |= {"image_learning_rate": rate, "image_schedule": "cosine"}
    return found


def factors(
    config: DistillConfig, published: Published, side: int, smallest_class: int, decoded: int = 0
) -> Sequence[int]:
    """Tiles per side that images of this shorter side, and classes of so many images, are enough for.

    Those whose training images would take too much memory are left out; `decoded` is the bytes of one per class.

    Several where the method matches real images, which tiles are as well as whole images. Those come first that give
    about as many training images as did best where it was tried: few stored images are worth most in many tiles.
    """
    if config.factor is not None or config.zca or config.published or published.real_batch_size is None:
        return (config.factor or 1,)
    found = [1]
    for each in range(2, MOST_TILES + 1):
        images = config.ipc * each**2  # of each class
        if side // each >= SMALLEST_TILE and images <= smallest_class and images * decoded <= MOST_BYTES:
            found.append(each)
    return sorted(found, key=lambda factor: abs(math.log(config.ipc * factor**2 / LIKELIEST)))


def guides(config: DistillConfig, taught: dict[str, Any] | None, distance: str, needed: bool = False) -> list[Option]:
    """Guides that may be: none, unless one is asked for, and CLoM at the α that is given, else at two balances.

    The weaker one comes first: on Fashion-MNIST's held-out images a strong guide did worse than none.

    Args:
        config: the options.
        taught: those that name the teachers, and how they see the images; None where there are none.
        distance: of CLoM, that the teachers can be used with.
        needed: whether a run without a guide needs the teachers too.
    """
    named = {"teachers": taught["teachers"]} if needed and taught and "teachers" in taught else {}
    found = [Option("no guide", {"clom": "none", **named})] if not config.guided else []
    if taught is not None and config.clom != "none":
        guide = {"clom": config.clom or distance, **taught}
        if config.clom_batch is None and config.ipc > 1:
            guide["clom_batch"] = math.ceil(SEEN * config.ipc)
        alpha = config.clom_alpha
        if alpha is None:  # neither weights of single architectures nor mean logits have a balance
            fixed = config.clom_alphas or config.clom_pool == "mean-logits"
            alpha = defaults(DistillConfig, "guide")["clom_alpha"] if fixed else "auto"
        strong = Option(f"CLoM {guide['clom']} at α {alpha}", guide | {"clom_alpha": alpha})
        if alpha == "auto" and config.clom_balance is None:
            found.append(Option(f"{strong.name}, balance {WEAK}", strong.options | {"clom_balance": WEAK}))
        found.append(strong)
    return found


def combined(factors: Sequence[int], guides: Sequence[Option]) -> list[Option]:
    """The likeliest of them with each other: the first factor with the first guide, then what differs in one, …

    Another factor comes before another guide: on held-out images of data that nothing was tuned for (waves, icons) it
    changed 8 to 14 points in a plan's race, a guide 1 to 4.
    """
    pairs = itertools.product(range(len(factors)), range(len(guides)))
    likeliest = sorted(pairs, key=lambda choices: (sum(choices), choices[::-1]))
    found = []
    for choices in likeliest[:MOST_OPTIONS]:
        factor, guide = factors[choices[0]], guides[choices[1]]
        found.append(Option(f"factor {factor}, {guide.name}", {"factor": factor, **guide.options}, choices))
    return found
