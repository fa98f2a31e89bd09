"""How the students of an evaluation are trained: named and versioned, so that numbers can be compared.

A protocol's name and version go into every result, and whatever was changed of it. The registered ones are in
`registered`; a change of one raises its version. Values that depend on the set, the data or the student are `Case`s of
the protocol, and are resolved once all three are known.
"""

import dataclasses
import math
from collections.abc import Collection, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from hf_dd.config import EvaluationConfig
from hf_dd.core.precision import Autocast
from hf_dd.core.progress import say
from hf_dd.core.registry import PROTOCOLS
from hf_dd.core.strategies import parse_mix, parse_strategy
from hf_dd.data.image_data import ImageData
from hf_dd.errors import ConfigError
from hf_dd.nn.views import Views
from hf_dd.training import flips
from hf_dd.training.loop import TrainingRecipe
from hf_dd.training.schedules import SCHEDULES
from hf_dd.training.targets import Loss

SCORED = ("dc", "dsa", "soft-label", "soft-label-online")  # a score's choice of protocols stays what it is
ANY = math.inf
# The epochs, counted from 1, after which the rate drops to a tenth, by the schedule.
DROPS = {"step": lambda epochs: (epochs // 2 + 1,), "restart": lambda epochs: ((epochs - 1) // 2 + 2,)}


@dataclass(frozen=True)
class Case:
    """The values that a protocol has for some sets and students. All bounds are included.

    Attributes:
        values: pairs of a field and its value.
        ipc: least and largest number of images per class that students see; of classes that differ, their mean.
        classes: least and largest number of classes.
        side: least and largest number of pixels of the images' shorter side.
        students: beginnings of architectures' names, in small letters and without `timm/`; all if empty.
    """

    values: tuple[tuple[str, Any], ...]
    ipc: tuple[float, float] = (0, ANY)
    classes: tuple[float, float] = (0, ANY)
    side: tuple[float, float] = (0, ANY)
    students: tuple[str, ...] = ()

    def holds(self, ipc: float, classes: int, side: int, student: str) -> bool:
        """Whether it is the case."""
        ranges = ((self.ipc, ipc), (self.classes, classes), (self.side, side))
        known = not self.students or student.removeprefix("timm/").lower().startswith(self.students)
        return known and all(least <= value <= most for (least, most), value in ranges)

    def without(self, fields: Collection[str]) -> "Case":
        """The case without the values of these fields."""
        return dataclasses.replace(self, values=tuple(pair for pair in self.values if pair[0] not in fields))


def case(
    *,
    ipc: tuple[float, float] = (0, ANY),
    classes: tuple[float, float] = (0, ANY),
    side: tuple[float, float] = (0, ANY),
    students: tuple[str, ...] = (),
    **values: Any,
) -> Case:
    """A `Case` with its values by name."""
    return Case(tuple(values.items()), ipc, classes, side, students)


@dataclass(frozen=True)
class Protocol:
    """How every student is trained; its accuracy is that after the last epoch.

    Attributes:
        name, version: what to quote beside a number.
        epochs, learning_rate, momentum, weight_decay, batch_size: of the optimiser.
        optimizer: 'sgd' or 'adamw'.
        schedule: of the learning rate: 'step' (a tenth after epochs // 2 + 1), 'restart' (an epoch later, by a new
            optimiser), or of `training.schedules`.
        augment: operations of Siamese augmentation, one independent draw per image; 'none' for none.
        labels: 'hard'; 'soft', those that the set has, at their own temperature (of several teachers', those of one
            that is drawn for each batch); 'crops', those that are stored with the set for views of its images; or
            'online', what teachers say of each batch as the student gets it.
        temperature: of the labels 'online' and 'crops', and of the students that learn from them. Of the labels
            'soft', where it is given: a set's own are brought to it, and real images get theirs from the teachers.
        normalisation: of the images: 'source', by the channel mean and std of its training split; 'backbone', by
            those that the backbone was trained with; or, where images have three channels, by the constants of
            `NORMALISED_BY`: 'imagenet', 'cifar10' or 'cifar100'.
        trains: 'network', all of it, from scratch; or 'head', a linear layer on the frozen features of a backbone.
        changed: the fields that the options changed.
        schedule_end: the share of the learning rate that the schedule comes to after the last epoch.
        decays_matrices: whether weights of one dimension, such as biases and norms, don't decay.
        views: what is made of each batch in [0, 1] space, before it is normalised; None for the images as they are.
        flips: whether views may mirror images.
        mixes_labels: whether stored labels are mixed as the views are.
        loss, squared, hard_weight: see `targets.Loss`.
        teacher_mean: what is averaged of several teachers 'online': 'probabilities' or 'logits'.
        batch_statistics: whether the teachers' batch normalisation goes by the batch that they label.
        average: see `TrainingRecipe`, as the next two.
        accumulate: batches to a step.
        passes_twice: a slip of authors' code, where it is set.
        epoch_images: images that make an epoch, where it isn't all.
        looks: (every, share): the paper looks at the test split after every so many epochs (below 1: such a share of
            them) and the last, once more than `share` of them is over, and quotes the best; None where it doesn't, or
            nobody knows.
        decodes: whether a set of tiles is decoded; else students see its stored images, which views shuffle and crop.
        cases: the first that holds for a set and student gives the value of a field.
        resolved: the fields that a case gave.
        one_operation: whether all images of a batch are augmented by the same operation.
        rate_images: images of a batch that the learning rate belongs to; it goes by those that a set's batches really
            have. None where it stands as it is.
        head_std: standard deviation of a head's weights, with a bias of 0; None for torch's own initialisation.
        resizes_tests: whether the shorter side of test images, of side s to the students, is scaled to ⌊s/7⌋ · 8
            pixels before their centre is cut out; see `test_resize`.
    """

    name: str
    version: int
    epochs: int
    learning_rate: float
    augment: str
    optimizer: str = "sgd"
    momentum: float = 0.9
    weight_decay: float = 5e-4
    batch_size: int = 256
    schedule: str = "step"
    labels: str = "hard"
    temperature: float | None = None
    normalisation: str = "source"
    trains: str = "network"
    changed: tuple[str, ...] = ()
    schedule_end: float = 0.0
    decays_matrices: bool = False
    views: Views | None = None
    flips: bool = True
    mixes_labels: bool = True
    loss: str = "ce"
    squared: bool = True
    hard_weight: float = 0.0
    teacher_mean: str = "probabilities"
    batch_statistics: bool = False
    average: float | None = None
    accumulate: int = 1
    passes_twice: bool = False
    epoch_images: int | None = None
    looks: tuple[int, float] | None = None
    decodes: bool = True
    cases: tuple[Case, ...] = ()
    resolved: tuple[str, ...] = ()
    one_operation: bool = False
    rate_images: int | None = None
    head_std: float | None = None
    resizes_tests: bool = False

    @classmethod
    def from_config(cls, config: EvaluationConfig, name: str | None = None) -> "Protocol":
        """The protocol that the options name, with what they change; several rates or epochs are left to a choice.

        Raises ConfigError for an unknown protocol, for an augmentation of features that are computed once, and where
        looks at the test split are asked for that no paper quotes.
        """
        protocol = PROTOCOLS.find(name or config.eval_protocol)
        options = {"augment": config.eval_augment}
        for name, values in (("epochs", config.eval_epochs), ("learning_rate", config.eval_learning_rates)):
            options[name] = values[0] if len(values) == 1 else None
        if options["augment"] is not None and parse_strategy(options["augment"]) and protocol.trains == "head":
            raise ConfigError(
                f"--eval_augment {config.eval_augment} has no place in the protocol {protocol.name}, which trains a "
                "head on features: leave it out, or take the crops and flips of --eval_protocol lgm."
            )
        if config.eval_mix is not None:
            options["views"] = protocol.mixed_by(config.eval_mix)
        if config.best_of_looks and protocol.looks is None:
            looking = ", ".join(each for each in PROTOCOLS.declared if PROTOCOLS[each].looks)
            raise ConfigError(
                f"--best_of_looks: the protocol {protocol.name} quotes the last epoch alone: leave it out, or choose "
                f"one whose paper quotes the best of several looks at the test split: {looking}."
            )
        return protocol.with_changes(**{key: value for key, value in options.items() if value is not None})

    def mixed_by(self, text: str) -> Views | None:
        """Its views with this mix (`core.strategies.parse_mix`); raises ConfigError where labels go with its own."""
        mix, probability = parse_mix(text)
        of = "trains a head on features" if self.trains == "head" else None
        of = "has labels of its own views" if self.labels == "crops" else of
        by_set = any(field == "views" for each in self.cases for field, _ in each.values)
        if of := "has views that go by the set" if by_set else of:
            raise ConfigError(
                f"--eval_mix {text} has no place in the protocol {self.name}, which {of}: leave it out, or choose "
                "another --eval_protocol."
            )
        if mix == "none" and self.views is None:
            return None
        return dataclasses.replace(self.views or Views(), mix=mix, probability=probability)

    def suited(self, config: EvaluationConfig, data: ImageData, autocast: Autocast = nullcontext) -> "Protocol":
        """The protocol as it is carried out on this data set.

        Without flips where they hurt, unless the options name this augmentation, and with test images as they were
        read. What is so already stays as it is. Every process has to call it, with the data on the device to train on.
        """
        of_size = self.resolve(1, data.num_classes, min(data.image_size), "")
        operations, changes = parse_strategy(of_size.augment), {}
        wanted = self.test_resize(data)
        if wanted not in (None, data.test_resize):
            if data.test_share is None:  # which is read as the training images that it is of
                does = "%s scales test images to %d pixels first: --test_resize %d does the same."
                say(does, self.name, wanted, wanted)
            changes["resizes_tests"] = False
        if config.published:
            return self.with_changes(**changes)
        if "flip" in operations and of_size.augment != config.eval_augment:
            suited = flips.augmentation(data, operations, autocast)
            changes |= {"augment": suited} if suited != of_size.augment else {}
        given = [self.views, *(value for own in self.cases for field, value in own.values if field == "views")]
        if any(each and each.flip for each in given) and flips.flip_test(data, autocast).hurts:
            changes["flips"] = False
        return self.with_changes(**changes)

    def with_changes(self, **options: Any) -> "Protocol":
        """The protocol with other values, which it names in `changed`; no case gives another to one that is named."""
        varying = {field for each in self.cases for field, _ in each.values}
        varying |= {"learning_rate"} if self.scales_rate else set()
        differing = {key for key, value in options.items() if value != getattr(self, key) or key in varying}
        return dataclasses.replace(
            self,
            **options,
            changed=tuple(sorted(differing | set(self.changed))),
            cases=tuple(each.without(set(options)) for each in self.cases),
        )

    def resolve(self, ipc: float, classes: int, side: int, student: str) -> "Protocol":
        """The protocol for a set and a student, without cases: what its results quote.

        Args:
            ipc: images per class that students see.
            classes: of the data.
            side: of its images, the shorter one in pixels.
            student: the architecture's name.
        """
        values: dict[str, Any] = {}
        for each in self.cases:
            if each.holds(ipc, classes, side, student):
                values = dict(each.values) | values
        if self.scales_rate:
            batch = min(self.batch_size, round(ipc * classes))
            values["learning_rate"] = self.learning_rate * batch / self.rate_images
        return dataclasses.replace(self, **values, cases=(), resolved=tuple(sorted(values)))

    def test_resize(self, data: ImageData) -> int | None:
        """The pixels that `--test_resize` has to be for this protocol; None where test images are read as they are."""
        side = min(data.image_size)
        return side // 7 * 8 if self.resolve(1, data.num_classes, side, "").resizes_tests else None

    @property
    def scales_rate(self) -> bool:
        """Whether the learning rate is still to go by the batch: neither named nor resolved."""
        return self.rate_images is not None and "learning_rate" not in (*self.changed, *self.resolved)

    def recipe(self) -> TrainingRecipe:
        """The protocol as the training loop takes it."""
        shares = SCHEDULES[self.schedule](self.epochs, self.schedule_end) if self.schedule in SCHEDULES else ()
        plain_cosine = self.schedule == "cosine" and not self.schedule_end
        views = self.views and dataclasses.replace(self.views, flip=self.views.flip and self.flips)
        shared = ("epochs", "learning_rate", "momentum", "weight_decay", "batch_size", "optimizer", "decays_matrices")
        shared += ("mixes_labels", "average", "accumulate", "passes_twice", "epoch_images", "one_operation")
        return TrainingRecipe(
            **{name: getattr(self, name) for name in shared},
            drops=DROPS[self.schedule](self.epochs) if self.schedule in DROPS else (),
            restarts=self.schedule == "restart",
            strategy=parse_strategy(self.augment),
            cosine=plain_cosine,
            shares=() if plain_cosine else shares,
            views=views,
            loss=Loss(self.loss, self.squared, self.hard_weight),
        )

    def images_seen(self, count: int) -> int:
        """What a student sees of a set of `count` images, in all epochs."""
        return self.epochs * (self.epoch_images or count)

    def steps(self, count: int) -> int:
        """How often the optimiser steps on a set of `count` images: E · ⌈⌈n / batch⌉ / accumulated⌉."""
        batches = math.ceil((self.epoch_images or count) / self.batch_size)
        return self.epochs * math.ceil(batches / self.accumulate)

    @property
    def is_plain(self) -> bool:
        """Whether the students are networks that learn from hard labels."""
        return self.labels == "hard" and self.trains == "network"

    @property
    def labels_once(self) -> bool:
        """Whether teachers give each image that has none a soft label, once."""
        return self.labels == "soft" and self.temperature is not None

    @property
    def asks_teachers(self) -> bool:
        """Whether real images, at least, are taught by teachers: of every view, or once."""
        return self.labels in ("online", "crops") or self.labels_once

    def looks_at(self, epoch: int) -> bool:
        """Whether the paper looks at the test split after an epoch, counted from 1."""
        if self.looks is None:
            return False
        every, share = self.looks
        every = every if every >= 1 else max(1, round(every * self.epochs))
        return epoch == self.epochs or (epoch % every == 0 and epoch - 1 > share * self.epochs)

    def as_dict(self) -> dict[str, Any]:
        """JSON-able values: those that every version of results has, and the others that aren't their defaults."""
        found = {}
        for place, each in enumerate(dataclasses.fields(self)):
            value = getattr(self, each.name)
            if place < FIRST_FIELDS or (value != each.default and each.name != "cases"):
                found[each.name] = views_as_dict(value) if isinstance(value, Views) else value
        return found

    def __str__(self) -> str:
        parts = [f"{self.name} v{self.version}"]
        for about, names in (("changed", self.changed), ("here", set(self.resolved) - set(self.changed))):
            if names := sorted(names):
                parts.append(f"{about}: {', '.join(f'{name} {in_words(getattr(self, name))}' for name in names)}")
        return ", ".join(parts)


FIRST_FIELDS = 15  # of a protocol, up to `changed`: what 0.1.0 wrote
LATER = ("rand_augment",)  # fields of views that came after scores had been kept by the others


def views_as_dict(views: Views) -> dict[str, Any]:
    """JSON-able values of views: those that came later only where something is drawn by them."""
    return {name: value for name, value in dataclasses.asdict(views).items() if name not in LATER or value}


def in_words(value: Any) -> str:
    """A protocol's value in words: of views, what is drawn."""
    if isinstance(value, Views):
        value = views_as_dict(value)
    if not isinstance(value, Mapping):
        return str(value)
    words = []
    if value.get("rand_augment"):
        words.append("RandAugment {} × magnitude {}".format(*value["rand_augment"]))
    if value["shuffle"] > 1:
        words.append(f"tiles shuffled {value['shuffle']}×{value['shuffle']}")
    if value["padding"]:
        words.append(f"crops of the image padded by {value['padding']}")
    if value["scale"]:
        words.append("resized crops of {:g} to {:g}".format(*value["scale"]))
    words += ["flips"] if value["flip"] else []
    words += [f"{name} {value[name]:g}" for name in ("jitter", "lighting") if value[name]]
    if value["mix"] != "none":
        often = "" if value["probability"] == 1 else f" with probability {value['probability']:g}"
        words.append(f"{value['mix']} α {value['alpha']:g}{often}{', each image by itself' if value['each'] else ''}")
    return f"({', '.join(words) or 'none'})"


@PROTOCOLS.requires
def why_no_protocol(definition: Any) -> str | None:
    """What a definition has to be, where it is no protocol."""
    return None if isinstance(definition, Protocol) else "has to be a hf_dd.evaluation.protocols.Protocol"


def alternatives(protocol: Protocol, soft_labels: bool, teachers: bool = False) -> list[Protocol]:
    """The protocol itself, then every other of SCORED that trains the same: what a set's best one is chosen from.

    Those on soft labels only where there are such, or teachers for them. An augmentation that the options changed is
    changed in all that augment.
    """
    possible = {"hard": True, "soft": soft_labels, "online": teachers}
    found = [protocol]
    for other in map(PROTOCOLS.__getitem__, SCORED):
        if other.name == protocol.name or other.trains != protocol.trains or not possible[other.labels]:
            continue
        changes = "augment" in protocol.changed and other.augment != "none"
        found.append(other.with_changes(augment=protocol.augment) if changes else other)
    return found
