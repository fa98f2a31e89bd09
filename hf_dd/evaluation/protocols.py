"""How the students of an evaluation are trained: named and versioned, so that numbers can be compared.

A protocol's name and version go into every result, and whatever was changed of it. A change of a protocol here raises
its version.
"""

import dataclasses
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from hf_dd.config import EvaluationConfig
from hf_dd.core.precision import Autocast
from hf_dd.core.registry import PROTOCOLS
from hf_dd.data.image_data import ImageData
from hf_dd.errors import ConfigError
from hf_dd.nn import augment
from hf_dd.training import flips
from hf_dd.training.loop import TrainingRecipe

SIAMESE = "_".join(augment.STRATEGY)
SCORED = ("dc", "dsa", "soft-label", "soft-label-online")  # a score's choice of protocols stays what it is


@dataclass(frozen=True)
class Protocol:
    """How every student is trained; its accuracy is that after the last epoch.

    Attributes:
        name, version: what to quote beside a number.
        epochs, learning_rate, momentum, weight_decay, batch_size: of the optimiser.
        optimizer: 'sgd' or 'adamw'.
        schedule: of the learning rate: 'step' (a tenth after epochs // 2 + 1), 'restart' (an epoch later, by a new
            optimiser) or 'cosine' (to zero).
        augment: operations, one independent draw per image; 'none' for none.
        one_operation: whether all images of a batch are augmented by the same operation.
        labels: 'hard'; 'soft', those that the set has, at their own temperature (of several teachers', those of one
            that is drawn for each batch); or 'online', the mean of teachers' probabilities for each augmented batch.
        temperature: of the labels 'online', and of the students that learn from them.
        normalisation: of the images: 'source', by the channel mean and std of its training split, or 'backbone', by
            those that the backbone was trained with.
        trains: 'network', all of it, from scratch; or 'head', a linear layer on the frozen features of a backbone.
        changed: the fields that the options changed.
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
    one_operation: bool = False
    changed: tuple[str, ...] = ()

    @classmethod
    def from_config(cls, config: EvaluationConfig) -> "Protocol":
        """The protocol that the options name, with what they change; several rates or epochs are left to a choice.

        Raises ConfigError for an unknown protocol, and for an augmentation of features that are computed once.
        """
        protocol = PROTOCOLS.find(config.eval_protocol)
        options = {"augment": config.eval_augment}
        for name, values in (("epochs", config.eval_epochs), ("learning_rate", config.eval_learning_rates)):
            options[name] = values[0] if len(values) == 1 else None
        if options["augment"] is not None and augment.parse_strategy(options["augment"]) and protocol.trains == "head":
            raise ConfigError(
                f"--eval_augment {config.eval_augment} has no place in the protocol {protocol.name}, which computes a "
                "set's features once: leave it out."
            )
        return protocol.with_changes(**{key: value for key, value in options.items() if value is not None})

    def suited(self, config: EvaluationConfig, data: ImageData, autocast: Autocast = nullcontext) -> "Protocol":
        """The protocol without flips where they hurt on this data set, unless the options say otherwise.

        Every process has to call it, with the data on the device to train on.
        """
        operations = augment.parse_strategy(self.augment)
        if config.eval_augment is not None or config.published or "flip" not in operations:
            return self
        return self.with_changes(augment=flips.augmentation(data, operations, autocast))

    def with_changes(self, **options: Any) -> "Protocol":
        """The protocol with other values, which it names in `changed`."""
        differing = {key for key, value in options.items() if value != getattr(self, key)}
        return dataclasses.replace(self, **options, changed=tuple(sorted(differing | set(self.changed))))

    def recipe(self) -> TrainingRecipe:
        """The protocol as the training loop takes it."""
        return TrainingRecipe(
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            batch_size=self.batch_size,
            drops={"step": (self.epochs // 2 + 1,), "restart": ((self.epochs - 1) // 2 + 2,)}.get(self.schedule, ()),
            strategy=augment.parse_strategy(self.augment),
            optimizer=self.optimizer,
            cosine=self.schedule == "cosine",
            restarts=self.schedule == "restart",
            one_operation=self.one_operation,
        )

    def __str__(self) -> str:
        changed = f", changed: {', '.join(f'{name} {getattr(self, name)}' for name in self.changed)}"
        return f"{self.name} v{self.version}{changed if self.changed else ''}"


@PROTOCOLS.requires
def no_protocol(definition: Any) -> str | None:
    """What a definition has to be, where it is no protocol."""
    return None if isinstance(definition, Protocol) else "has to be a hf_dd.evaluation.protocols.Protocol"


ADAMW = {"optimizer": "adamw", "schedule": "cosine", "learning_rate": 0.001}

# Zhao, Mopuri & Bilen, ICLR 2021: no augmentation.
PROTOCOLS.register("dc", title="from scratch, 300 epochs, no augmentation", paper="Zhao, Mopuri & Bilen, ICLR 2021")(
    Protocol("dc", 1, epochs=300, learning_rate=0.01, augment="none")
)
# Zhao & Bilen, ICML 2021 and WACV 2023: Siamese augmentation's operations.
DSA = PROTOCOLS.register(
    "dsa",
    title="from scratch, 1,000 epochs, Siamese augmentation's operations",
    paper="Zhao & Bilen, ICML 2021 and WACV 2023",
)(Protocol("dsa", 1, epochs=1000, learning_rate=0.01, augment=SIAMESE))
# The same to the letter of the authors' code, of DSA, DM and MTT alike: an epoch more, a drop an epoch later by a new
# optimiser, and one operation for all images of a batch.
PROTOCOLS.register(
    "dsa-authors",
    title="as dsa, with the slips of the authors' loop: 1,001 epochs, one operation per batch",
    paper="Zhao & Bilen, ICML 2021 and WACV 2023",
)(dataclasses.replace(DSA, name="dsa-authors", epochs=1001, schedule="restart", one_operation=True))
# The same on the labels that come with a set that was distilled to be learned so: TESLA's at ImageNet-1k (Cui et al.,
# ICML 2023), and DATM's, in batches of 128 (Guo et al., ICLR 2024).
DSA_SOFT = PROTOCOLS.register(
    "dsa-soft",
    title="as dsa, on the set's own soft labels",
    paper="Cui et al., ICML 2023",
)(Protocol("dsa-soft", 1, epochs=1000, learning_rate=0.01, augment=SIAMESE, labels="soft"))
PROTOCOLS.register(
    "datm",
    title="as dsa-soft, in batches of 128",
    paper="Guo et al., ICLR 2024",
)(dataclasses.replace(DSA_SOFT, name="datm", batch_size=128))
# Yin et al., NeurIPS 2023, and Sun et al., CVPR 2024, train on soft labels with AdamW and a cosine schedule.
SOFT_LABEL = PROTOCOLS.register(
    "soft-label",
    title="from scratch on the set's stored soft labels (AdamW, cosine)",
    paper="Yin et al., NeurIPS 2023; Sun et al., CVPR 2024",
)(Protocol("soft-label", 1, epochs=300, augment=SIAMESE, weight_decay=0.01, labels="soft", **ADAMW))
# The same with the teachers asked in every step (Hinton, Vinyals & Dean, 2015): those papers store labels of every
# epoch's crops instead, for the same effect.
PROTOCOLS.register(
    "soft-label-online",
    title="from scratch on what teachers say of the student's own augmented batch, at temperature 4",
    paper="Hinton, Vinyals & Dean, 2015",
)(dataclasses.replace(SOFT_LABEL, name="soft-label-online", labels="online", temperature=4.0))
# Cazenavette, Torralba & Sitzmann, NeurIPS 2025 (Linear Gradient Matching): Adam (AdamW without decay) at 0.001
# for 256 images, 1,000 epochs along a cosine. Their code crops at random and quotes the best epoch; here neither.
PROTOCOLS.register(
    "linear-probe",
    title="a linear head on the frozen features of pre-trained teachers",
    paper="Cazenavette, Torralba & Sitzmann, NeurIPS 2025",
)(
    Protocol(
        "linear-probe",
        1,
        epochs=1000,
        augment="none",
        weight_decay=0.0,
        normalisation="backbone",
        trains="head",
        **ADAMW,
    )
)


def alternatives(protocol: Protocol, soft_labels: bool, teachers: bool = False) -> list[Protocol]:
    """The protocol itself, then every other that trains the same: what the best one for a set is chosen from.

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
