"""One training loop on tensors, for teachers and students alike, and the test pass beside it."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hf_dd import augment
from hf_dd.compilation import compiled
from hf_dd.images import Images, in_chunks, read_ahead
from hf_dd.metrics import Accuracy
from hf_dd.networks import Network
from hf_dd.seeding import generator

Prepare = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class TrainingRecipe:
    """How a network is trained: SGD with momentum, cross-entropy, the learning rate times 0.1 at each drop.

    Attributes:
        drops: epochs after which the learning rate drops.
        strategy: operations of the augmentation, one independent draw per image.
    """

    epochs: int
    learning_rate: float
    momentum: float
    weight_decay: float
    batch_size: int
    drops: tuple[int, ...]
    strategy: tuple[str, ...]


@dataclass(frozen=True)
class Epoch:
    """One finished epoch, counted from 1, with the mean loss over its images."""

    number: int
    loss: float


def fit(
    network: Network,
    images: Images,
    labels: Tensor,
    recipe: TrainingRecipe,
    *,
    seed: int,
    purpose: str,
    prepare: Prepare = lambda images: images,
    autocast: Callable[[], AbstractContextManager] = nullcontext,
    compile: bool = False,
) -> Iterator[Epoch]:
    """Train a network in place, yielding after every epoch.

    Args:
        network: in any state; it is put into train mode at the start of every epoch.
        images: (N, channels, height, width), on the network's device, of any type that `prepare` takes.
        labels: int64, (N,).
        recipe: how.
        seed: of the order of the images and of their augmentation, together with `purpose`.
        purpose: names the draws, so that two networks of one seed don't share them unless they should.
        prepare: makes normalised floating images of a batch.
        autocast: context of the forward passes.
        compile: torch.compile the network, if the training is long enough.
    """
    optimizer = torch.optim.SGD(
        network.parameters(), recipe.learning_rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, recipe.drops, gamma=0.1)
    forward: Callable[[Tensor], Tensor] = network
    if compile:
        forward = compiled(network, recipe.epochs * math.ceil(len(images) / recipe.batch_size))
    for number in range(1, recipe.epochs + 1):
        network.train()
        draws = generator(seed, purpose, "epoch", number)
        total = torch.zeros((), device=images.device)
        batches = torch.randperm(len(images), generator=draws).split(recipe.batch_size)
        for chosen, batch in zip(batches, read_ahead(images, batches), strict=True):
            batch = prepare(batch)
            if recipe.strategy:
                batch = augment.apply(batch, augment.draw(len(chosen), recipe.strategy, draws))
            optimizer.zero_grad(set_to_none=True)
            with autocast():
                logits = forward(batch)
            loss = F.cross_entropy(logits.float(), labels[chosen.to(labels.device)])
            loss.backward()
            total += loss.detach() * len(chosen)
            optimizer.step()
        schedule.step()
        yield Epoch(number, total.item() / len(images))


@torch.no_grad()
def predict(
    network: Network,
    images: Images,
    *,
    prepare: Prepare = lambda images: images,
    autocast: Callable[[], AbstractContextManager] = nullcontext,
) -> Tensor:
    """Predicted classes, int64, (N,), of a network in eval mode."""
    network.eval()
    predictions = []
    for _, chunk in in_chunks(images):
        with autocast():
            predictions.append(network(prepare(chunk)).argmax(1))
    return torch.cat(predictions)


def accuracy(predictions: Tensor, labels: Tensor) -> float:
    """Share of right predictions, in [0, 1], by the package's `evaluate` module."""
    metric = Accuracy(keep_in_memory=True)
    return metric.compute(predictions=predictions.cpu().numpy(), references=labels.cpu().numpy())["accuracy"]
