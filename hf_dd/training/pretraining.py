"""Train teachers: one network of the grid at a time, a snapshot per kept epoch."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from accelerate import Accelerator

from hf_dd.config import PretrainConfig, parse_key_values
from hf_dd.core.clock import since
from hf_dd.core.progress import Phase
from hf_dd.core.strategies import parse_mix, parse_strategy
from hf_dd.data.image_data import HOW_TO_TEST, ImageData
from hf_dd.errors import DataError, RunError
from hf_dd.nn import networks
from hf_dd.nn.views import Views
from hf_dd.training.loop import Standing, TrainingRecipe, accuracy, fit, predict


@dataclass(frozen=True)
class Snapshot:
    """A teacher after one of its epochs; `network` goes on training once the next snapshot is asked for.

    Attributes:
        epoch: 0 for the network as it was drawn.
        loss: mean over the epoch's images; None at epoch 0.
        accuracy: on the test split, in [0, 1].
        seconds: of training so far, the test passes not counted.
    """

    network: networks.Network
    architecture: str
    seed: int
    epoch: int
    loss: float | None
    accuracy: float
    seconds: float


def grid(config: PretrainConfig) -> list[tuple[str, int]]:
    """The (architecture, seed) pairs to train, in order."""
    return [(architecture, seed) for architecture in config.architectures for seed in config.teacher_seeds]


def training_recipe(config: PretrainConfig) -> TrainingRecipe:
    """The options as a recipe; drops are given as fractions so that a short training decays as well.

    Its first epoch has the whole learning rate, however few there are.
    """
    mix, probability = parse_mix(config.mix)
    return TrainingRecipe(
        epochs=config.epochs,
        learning_rate=config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        batch_size=config.batch_size,
        drops=tuple(max(1, round(fraction * config.epochs)) for fraction in config.lr_drops),
        strategy=parse_strategy(config.augment),
        one_operation=config.augment_by == "batch",
        views=None if mix == "none" else Views(mix=mix, probability=probability),
    )


def new_teacher(config: PretrainConfig, architecture: str, seed: int, data: ImageData) -> networks.Network:
    """A freshly drawn network of the grid, on the CPU; raises ConfigError for options that it doesn't have."""
    return networks.build(
        architecture, **data.network_shape, seed=seed, **parse_key_values(config.architecture_options)
    )


def train_teacher(
    config: PretrainConfig,
    architecture: str,
    seed: int,
    data: ImageData,
    accelerator: Accelerator,
    start: tuple[Standing, float] | None = None,
    keep: Callable[[Standing, float], object] = lambda standing, seconds: None,
) -> Iterator[Snapshot]:
    """Train one teacher, yielding a snapshot for every kept epoch (always the last; the first, 0, only if asked for).

    `keep` is called after every epoch but the last, with what one that was interrupted takes as its `start`: where the
    training stands, and the seconds that it took.

    Raises DataError without a test split, and RunError when the loss is no number any more.
    """
    if data.test is None:
        raise DataError(f"{data.name} has no test split to state a teacher's accuracy on; {HOW_TO_TEST}.")
    network = new_teacher(config, architecture, seed, data).to(accelerator.device)
    data = data.to(accelerator.device)
    kept = config.kept_epochs

    def tested() -> float:
        predictions = predict(network, data.test.images, prepare=data.normalise, autocast=accelerator.autocast)
        return accuracy(predictions, data.test.labels)

    done = start[0].epoch if start else 0
    with Phase(f"{architecture} seed {seed}", config.epochs, "epoch", done=done, share=1) as phase:
        training = fit(
            network,
            data.train.images,
            data.train.labels,
            training_recipe(config),
            seed=seed,
            purpose=f"teacher-{architecture}",
            prepare=data.normalise,
            autocast=accelerator.autocast,
            compile=config.compile,
            start=start and start[0],
            tell=phase.update,
        )
        if 0 in kept and not start:
            yield Snapshot(network, architecture, seed, 0, None, tested(), 0.0)
        seconds, started = start[1] if start else 0.0, time.perf_counter()
        for epoch in training:
            seconds += since(started)
            if not math.isfinite(epoch.loss):
                before = "Its epochs before that are kept. " if kept[0] < epoch.number else ""
                raise RunError(
                    f"{architecture} seed {seed} diverged in epoch {epoch.number} (loss {epoch.loss}). {before}Try a "
                    "smaller --learning_rate, with --overwrite_output_dir."
                )
            if epoch.number in kept:
                yield Snapshot(network, architecture, seed, epoch.number, epoch.loss, tested(), seconds)
            if epoch.number < config.epochs:
                keep(epoch.standing(), seconds)
            started = time.perf_counter()
