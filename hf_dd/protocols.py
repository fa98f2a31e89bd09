"""How the students of an evaluation are trained: named and versioned, so that numbers can be compared.

A protocol's name and version go into every result, and whatever was changed of it. A change of a protocol here raises
its version.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

from hf_dd import augment
from hf_dd.config import EvaluationConfig
from hf_dd.errors import ConfigError, nearest_first
from hf_dd.training import TrainingRecipe

SIAMESE = "_".join(augment.STRATEGY)


@dataclass(frozen=True)
class Protocol:
    """How every student is trained; its accuracy is that after the last epoch.

    Attributes:
        name, version: what to quote beside a number.
        epochs, learning_rate, momentum, weight_decay, batch_size: of the optimiser.
        optimizer: 'sgd' or 'adamw'.
        schedule: of the learning rate: 'step' (a tenth after epochs // 2 + 1) or 'cosine' (to zero).
        augment: operations, one independent draw per image; 'none' for none.
        labels: 'hard', or 'soft' where the set has soft labels (cross-entropy against them).
        normalisation: of the images, by the channel mean and std of the source's training split.
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
    normalisation: str = "source"
    changed: tuple[str, ...] = ()

    @classmethod
    def from_config(cls, config: EvaluationConfig) -> "Protocol":
        """The protocol that the options name, with what they change; raises ConfigError for an unknown one."""
        protocol = find_protocol(config.eval_protocol)
        rates = config.eval_learning_rates
        options = {"epochs": config.eval_epochs, "augment": config.eval_augment}
        options["learning_rate"] = rates[0] if len(rates) == 1 else None
        if options["augment"] is not None:
            augment.parse_strategy(options["augment"])
        return protocol.with_changes(**{key: value for key, value in options.items() if value is not None})

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
            drops=(self.epochs // 2 + 1,) if self.schedule == "step" else (),
            strategy=augment.parse_strategy(self.augment),
            optimizer=self.optimizer,
            cosine=self.schedule == "cosine",
        )

    def __str__(self) -> str:
        changed = f", changed: {', '.join(f'{name} {getattr(self, name)}' for name in self.changed)}"
        return f"{self.name} v{self.version}{changed if self.changed else ''}"


PROTOCOLS = {
    # Zhao, Mopuri & Bilen, ICLR 2021: no augmentation.
    "dc": Protocol("dc", 1, epochs=300, learning_rate=0.01, augment="none"),
    # Zhao & Bilen, ICML 2021 and WACV 2023: Siamese augmentation's operations.
    "dsa": Protocol("dsa", 1, epochs=1000, learning_rate=0.01, augment=SIAMESE),
    # Yin et al., NeurIPS 2023, and Sun et al., CVPR 2024, train on soft labels with AdamW and a cosine schedule.
    "soft-label": Protocol(
        "soft-label",
        1,
        epochs=300,
        learning_rate=0.001,
        augment=SIAMESE,
        optimizer="adamw",
        weight_decay=0.01,
        schedule="cosine",
        labels="soft",
    ),
}


def find_protocol(name: str) -> Protocol:
    """The protocol of this name; raises ConfigError with the known ones, the nearest first."""
    if name not in PROTOCOLS:
        raise ConfigError(
            f"--eval_protocol {name} isn't known; known are: {', '.join(nearest_first(name, PROTOCOLS))}."
        )
    return PROTOCOLS[name]
