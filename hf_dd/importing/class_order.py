"""Whether a set's labels mean the source's classes in the source's order: by names, and by what real images teach.

A small network learns the source's real images for a few epochs and then looks at the distilled ones. What it takes
the images of each label for gives the likeliest order of the classes, by the best one-to-one assignment.
"""

import contextlib
import functools
import math
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hf_dd.core.progress import Phase
from hf_dd.core.seeding import generator
from hf_dd.data.batches import in_chunks
from hf_dd.data.image_data import ImageData
from hf_dd.errors import ConfigError, DataError, some
from hf_dd.nn import networks
from hf_dd.teachers.class_names import SYNSET
from hf_dd.training.loop import Prepare, TrainingRecipe, accuracy, fit, predict

REAL_IMAGES, PER_CLASS = 10_000, 500  # at most, for the classifier
SIDE = 32  # larger images are shrunk to this for the classifier
RIDGE = 0.1  # of the readout: an image's share of the penalty
EPOCHS, STEPS, BATCH = 8, 150, 64  # as many epochs, or more of few images: so many steps at least
CHANCE_DRAWS = 50
Classifier = tuple[Callable[[Tensor], Tensor], float]  # of images, and its accuracy
BY_CHANCE = 0.001  # the probability of as many right guesses from which on labels aren't confirmed
MINIMUM_WINS, ODDS = 10, 3  # a moved order needs 10 images, and 3 more for each that speaks against it


@dataclass(frozen=True)
class ClassCheck:
    """What the classifier says of the order of a set's classes.

    Attributes:
        verdict: 'confirmed', 'mismatch' or 'weak'.
        accuracy: of the classifier on real images that it wasn't trained on, in [0, 1].
        agreement: share of the distilled images that it takes for their label.
        best_agreement: the same under `mapping`.
        chance: the best agreement of any mapping, had it guessed where it doesn't see the label.
        mapping: the source's class that the images of each label look most like.
    """

    verdict: str
    accuracy: float
    agreement: float
    best_agreement: float
    chance: float
    mapping: tuple[int, ...]

    def moved(self, class_names: Sequence[str], limit: int = 10) -> str:
        """The classes that look like others, in words: `cat looks like dog, …`."""
        pairs = [
            f"{class_names[label]} looks like {class_names[like]}"
            for label, like in enumerate(self.mapping)
            if label != like
        ]
        return ", ".join(pairs[:limit]) + (f", and {len(pairs) - limit} more" if len(pairs) > limit else "")


def known_order(own_names: list[str] | None, data: ImageData, stated: list[str]) -> tuple[list[int], str]:
    """The source's class of each of a set's labels, and how that is known: 'stated', 'by name' or 'by position'.

    Args:
        own_names: the set's own names of its labels, or None.
        data: the source.
        stated: the source's class of each label, by name or index, or empty.

    Names that are one text around different whole numbers (0 … 11, or new000 … new011) mean these numbers, whatever
    their order: those of the source's names, if these have the same, else its indices, from 0 or from 1. WordNet's
    ids (n01440764) that the source doesn't have mean its classes in their own order, as ImageNet's are.

    Raises ConfigError for a stated order that isn't one, DataError for names that aren't the source's.
    """
    if stated:
        return _stated_order(stated, data), "stated"
    if own_names is not None and len(own_names) != data.num_classes:
        raise DataError(
            f"The set has {len(own_names)} classes ({some(own_names)}), but {data.name} has {data.num_classes} "
            f"({some(data.class_names)}): name the data set that it was distilled from by --dataset."
        )
    own, known = numbers_of(own_names or []), numbers_of(data.class_names)
    if own is None and own_names and all(name.isdecimal() for name in own_names):
        raise DataError(f"Two of the set's classes ({some(own_names)}) are the same number: give each one folder.")
    if own and known and set(own) == set(known):
        return [known.index(number) for number in own], "by name"
    shared = set(own_names or ()) & set(data.class_names)
    if not shared and own_names is None:
        return list(range(data.num_classes)), "by position"
    if not shared and all(map(SYNSET.fullmatch, own_names)):  # ImageNet's classes are in the order of these
        return [sorted(own_names).index(name) for name in own_names], "by position"
    if not shared and own is not None:  # other numbers
        if sorted(own) in (indices := [list(range(start, start + len(own))) for start in (0, 1)]):
            return [number - min(own) for number in own], "by position"
        raise DataError(
            f"The set's classes ({some(own_names)}) aren't numbered {indices[0][0]} to {indices[0][-1]}, as those of "
            f"{data.name} are: state the source's class of each, in this order, by --class_map."
        )
    known_as = called(data.class_names)
    found = [known_as.get(name, known_as.get(spelt(name))) for name in own_names]
    if sorted(found, key=str) == sorted(range(data.num_classes), key=str):
        return found, "by name"
    unknown = [name for name, place in zip(own_names, found, strict=True) if place is None] or own_names
    raise DataError(
        f"{len(unknown)} of the set's classes ({some(unknown)}) aren't classes of {data.name} "
        f"({some(data.class_names)}). State the source's class of each, in the set's order, by --class_map."
    )


def called(names: Sequence[str]) -> dict[str, int]:
    """The place of each class by its name, and by its synonyms between commas, as `spelt`, that no other class has."""
    synonyms = [{spelt(part) for part in (name, *name.split(","))} for name in names]
    count = Counter(word for words in synonyms for word in words)
    found = {word: place for place, words in enumerate(synonyms) for word in words if count[word] == 1}
    return found | {name: place for place, name in enumerate(names)}


def spelt(name: str) -> str:
    """A name without what spellings differ in: capitals, and lines between words."""
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


def numbers_of(names: Sequence[str]) -> list[int] | None:
    """The numbers of names that are one text around different whole numbers; None where they are anything else."""
    parts = [re.fullmatch(r"(\D*)([0-9]{1,9})(\D*)", name) for name in names]
    if not all(parts) or len({(part[1], part[3]) for part in parts}) != 1:
        return None
    numbers = [int(part[2]) for part in parts]
    return numbers if len(set(numbers)) == len(numbers) else None


def order_in_words(order: Sequence[int], data: ImageData) -> str:
    """An order as `--class_map` takes it on a command line: by index, or by name where an index would be one."""
    words = [str(number) for number in order]
    try:
        if _stated_order(words, data) == list(order):
            return " ".join(words)
    except ConfigError:  # two readings
        pass
    return shlex.join(data.class_names[number] for number in order)


def _stated_order(stated: list[str], data: ImageData) -> list[int]:
    """The stated order: of names where all are, else of names and indices, if that can be read in one way only."""
    by_index = {str(number): number for number in range(data.num_classes)}
    by_name = {name: number for number, name in enumerate(data.class_names)}
    if unknown := [name for name in stated if name not in by_index | by_name]:
        raise ConfigError(
            f"--class_map names {some(unknown)}, which {data.name} doesn't have: {some(data.class_names)}."
        )
    order, other = ([index[name] for name in stated] for index in (by_index | by_name, by_name | by_index))
    all_classes = list(range(data.num_classes))
    if sorted(order) != all_classes and sorted(other) == all_classes:
        return other
    if order != other and sorted(other) == all_classes and not by_name.keys() >= set(stated):
        raise ConfigError(
            f"--class_map can be read in two ways, as classes of {data.name} are called like indices: give all of "
            f"them by name ({some(data.class_names)})."
        )
    if sorted(order) != all_classes:
        raise ConfigError(
            f"--class_map has {len(order)} entries of {len(set(order))} classes; it takes each of the "
            f"{data.num_classes} classes of {data.name} once, in the order of the set's labels."
        )
    return order


def check_classes(own: Tensor, labels: Tensor, data: ImageData, *, seed: int, device: torch.device) -> ClassCheck:
    """Train the classifier on real images and ask it about the distilled ones.

    Two looks in a row that see one clear mismatch end it: what is refused is refused in seconds, not in minutes.

    Args:
        own: floating, (N, channels, height, width), in [0, 1] space.
        labels: int64, (N,), classes of the source.
        data: the source; its training split alone is used.
        seed: of the real images, the classifier and its training.
        device: to train on.
    """
    own, labels = own.float().to(device), labels.cpu()
    seen, before = None, None
    with contextlib.closing(classifiers_of(data, seed, device)) as classifiers:
        for predicted, score in classifiers:
            check = judge(labels, predicted(own).cpu(), data.num_classes, score, seed)
            seen, before = (check.verdict, check.mapping), seen
            if check.verdict == "mismatch" and seen == before:
                break
    return check


def classifiers_of(data: ImageData, seed: int, device: torch.device) -> Iterator[Classifier]:
    """What gives images their classes, int64 (N,), and its accuracy on images that it didn't learn, ever better.

    First the best linear readouts of two networks as they are drawn, which takes no training; then one, by epoch.
    """
    training, held_out = _real_images(data, seed)
    side = tuple(min(SIDE, length) for length in data.image_size)

    def prepare(images: Tensor) -> Tensor:
        images = data.normalise(images)
        return F.interpolate(images, side, mode="bilinear", antialias=True) if side != data.image_size else images

    shape = {"in_channels": data.channels, "num_classes": data.num_classes, "image_size": list(side)}
    drawn = [networks.build("ConvNet", **shape, seed=seed + number, width=64).to(device) for number in range(2)]
    epochs = max(EPOCHS, math.ceil(STEPS / math.ceil(len(training) / BATCH)))
    recipe = TrainingRecipe(epochs, learning_rate=0.02, batch_size=BATCH, drops=(epochs * 3 // 4,))
    (real, classes), (unseen, theirs) = _taken(data, training, device), _taken(data, held_out, device)
    for network in drawn:
        predicted = _readout(network, prepare, real, classes)
        yield predicted, accuracy(predicted(unseen), theirs)
    predicted = functools.partial(predict, network, prepare=prepare)
    with Phase("the classes' order, by a ConvNet", epochs, "epoch") as phase:
        how = {"seed": seed, "purpose": "class order", "prepare": prepare, "tell": phase.update}
        for _ in fit(network, real, classes, recipe, **how):
            yield predicted, accuracy(predicted(unseen), theirs)


@torch.no_grad()
def _readout(network: nn.Module, prepare: Prepare, images: Tensor, labels: Tensor) -> Callable[[Tensor], Tensor]:
    """Ridge regression of the classes on a network's standardised features, in closed form."""

    def features(images: Tensor) -> Tensor:
        network.eval()
        return torch.cat([network.features(prepare(chunk)).flatten(1) for _, chunk in in_chunks(images)])

    rows = features(images)
    mean, std = rows.mean(0), rows.std(0) + 1e-3
    classes = F.one_hot(labels).to(rows.dtype)
    share = classes.mean(0)
    rows = (rows - mean) / std
    penalty = RIDGE * len(rows) * torch.eye(rows.shape[1], device=rows.device)
    weights = torch.linalg.solve(rows.T @ rows + penalty, rows.T @ (classes - share))
    return torch.no_grad()(lambda images: ((features(images) - mean) / std @ weights + share).argmax(1))


def _real_images(data: ImageData, seed: int) -> tuple[Tensor, Tensor]:
    """Indices of training images to learn from, and of every tenth of a class's to test on."""
    most = min(PER_CLASS, math.ceil(REAL_IMAGES / data.num_classes))
    training, held_out = [], []
    for label, members in enumerate(data.class_index):
        chosen = data.sample_class(label, min(most, len(members)), generator(seed, "class order", label)).cpu()
        held = len(chosen) // 10
        held_out.append(chosen[:held])
        training.append(chosen[held:])
    return torch.cat(training), torch.cat(held_out if any(map(len, held_out)) else training)


def _taken(data: ImageData, chosen: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    images = data.train.images[chosen.to(data.device)].to(device)
    return images, data.train.labels[chosen.to(data.train.labels.device)].to(device)


def judge(labels: Tensor, predictions: Tensor, num_classes: int, score: float, seed: int) -> ClassCheck:
    """The verdict on predictions, int64 (N,), for images of these labels, int64 (N,).

    'mismatch' needs a mapping that more images speak for than if the errors were guesses, and of the images of the
    classes that it moves 10 and three times as many as speak against it. 'confirmed' are labels that the classifier
    meets beyond chance (p < BY_CHANCE), with errors like guesses.
    """
    from scipy.special import bdtrc

    confusion = _confusion(labels, predictions, num_classes)
    mapping = _assignment(confusion)
    rows = torch.arange(num_classes)
    moved = mapping != rows
    met, best = int(confusion.diagonal().sum()), int(confusion[rows, mapping].sum())
    wins, losses = int(confusion[rows, mapping][moved].sum()), int(confusion.diagonal()[moved].sum())
    chance = _chance(labels, predictions, num_classes, seed)
    if wins >= MINIMUM_WINS + ODDS * losses and best > chance:
        verdict = "mismatch"
    elif bdtrc(met - 1, len(labels), 1 / num_classes) < BY_CHANCE and best <= chance:
        verdict = "confirmed"
    else:
        verdict = "weak"
    shares = (count / len(labels) for count in (met, best, chance))
    return ClassCheck(verdict, score, *shares, mapping=tuple(mapping.tolist()))


def too_few(count: int, num_classes: int) -> bool:
    """Whether so few images can't confirm their labels, even if the classifier takes all for these."""
    return num_classes**-count >= BY_CHANCE


def _confusion(labels: Tensor, predictions: Tensor, num_classes: int) -> Tensor:
    """Counts, int64 (num_classes, num_classes): images of label i that were taken for class j."""
    return torch.bincount(labels * num_classes + predictions, minlength=num_classes**2).view(num_classes, num_classes)


def _assignment(confusion: Tensor) -> Tensor:
    """The class of each label, one to one, that most images speak for; of equally good ones that nearest to theirs."""
    from scipy.optimize import linear_sum_assignment

    size = len(confusion)
    weights = confusion * (size + 1) + torch.eye(size, dtype=confusion.dtype)
    return torch.from_numpy(linear_sum_assignment(weights.numpy(), maximize=True)[1])


def _chance(labels: Tensor, predictions: Tensor, num_classes: int, seed: int) -> int:
    """The most images that speak for the best mapping, over draws of guesses instead of the wrong predictions."""
    draws = generator(seed, "class order", "chance")
    best = 0
    for _ in range(CHANCE_DRAWS):
        guesses = torch.randint(num_classes, (len(labels),), generator=draws)
        confusion = _confusion(labels, torch.where(predictions == labels, labels, guesses), num_classes)
        best = max(best, int(confusion[torch.arange(num_classes), _assignment(confusion)].sum()))
    return best
