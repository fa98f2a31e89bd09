"""One training loop on tensors, for teachers and students alike, and the test pass beside it."""

import functools
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler, MultiStepLR

from hf_dd.core.compile import compiled
from hf_dd.core.precision import Autocast
from hf_dd.core.seeding import generator, isolated_rng
from hf_dd.data.batches import Images, in_chunks, in_unit_range, read_ahead
from hf_dd.nn import augment, views
from hf_dd.nn.views import ViewDraws, Views
from hf_dd.training.targets import Loss, Targets, as_targets

Prepare = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class TrainingRecipe:
    """How a network is trained: cross-entropy, SGD with momentum or AdamW, a learning rate that drops or fades.

    The defaults are what students of distilled sets take.

    Attributes:
        momentum: of SGD.
        drops: epochs after which the learning rate is multiplied by 0.1.
        strategy: operations of the augmentation, one independent draw per image.
        optimizer: 'sgd' or 'adamw'.
        cosine: whether the learning rate falls to zero along a cosine, after every epoch, instead.
        shares: of the learning rate, those of each epoch, instead; see `training.schedules`.
        decays_matrices: whether weights of one dimension, such as biases and norms, don't decay.
        loss: how logits are compared with the targets.
        views: what is made of each batch before it is prepared, of images in [0, 1] space.
        mixes_labels: whether labels that come with the images are mixed as their views are.
        average: share of the running mean of the parameters that every step keeps; the mean is what a training gives,
            with the network's own buffers. None for the parameters themselves.
        accumulate: batches whose mean gradient a step takes; an epoch's last step takes those that are left, their
            gradients as small as if there were as many.
        passes_twice: whether every batch goes through the network once more, before, without a gradient: batch
            normalisation then counts it twice.
        epoch_images: that make an epoch, of an order that goes on from epoch to epoch; all of them if None.
        restarts: whether each drop begins with a new optimiser, whose momentum starts anew.
        one_operation: whether all images of a batch are augmented by the same operation, each by its own magnitudes.
    """

    epochs: int
    learning_rate: float
    momentum: float = 0.9
    weight_decay: float = 5e-4
    batch_size: int = 256
    drops: tuple[int, ...] = ()
    strategy: tuple[str, ...] = ()
    optimizer: str = "sgd"
    cosine: bool = False
    shares: tuple[float, ...] = ()
    decays_matrices: bool = False
    loss: Loss = Loss()
    views: Views | None = None
    mixes_labels: bool = True
    average: float | None = None
    accumulate: int = 1
    passes_twice: bool = False
    epoch_images: int | None = None

    restarts: bool = False
    one_operation: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether networks can be trained by it side by side."""
        plain = TrainingRecipe(self.epochs, self.learning_rate)
        names = ("decays_matrices", "loss", "views", "average", "accumulate", "passes_twice", "epoch_images")
        return all(getattr(self, name) == getattr(plain, name) for name in names)

    def finish(self, epoch: int, optimizer: torch.optim.Optimizer, schedule: LRScheduler) -> None:
        """What happens after an epoch, counted from 1."""
        schedule.step()
        if self.restarts and epoch in self.drops:
            optimizer.state.clear()

    def draw(self, count: int, draws: torch.Generator) -> augment.Draws:
        """The augmentation of a batch of `count` images."""
        drawn = augment.draw(count, self.strategy, draws)
        return augment.by_one_operation(drawn) if self.one_operation else drawn

    def optimise(self, parameters: Iterable[Tensor]) -> tuple[torch.optim.Optimizer, LRScheduler]:
        """The optimiser of these parameters, and the schedule to step after every epoch."""
        if self.decays_matrices:
            parameters = list(parameters)
            others = [each for each in parameters if each.ndim <= 1]
            parameters = [
                {"params": [each for each in parameters if each.ndim > 1]},
                {"params": others, "weight_decay": 0.0},
            ]
        if self.optimizer == "adamw":
            optimizer = torch.optim.AdamW(parameters, self.learning_rate, weight_decay=self.weight_decay)
        else:
            optimizer = torch.optim.SGD(
                parameters, self.learning_rate, momentum=self.momentum, weight_decay=self.weight_decay
            )
        if self.shares:
            return optimizer, LambdaLR(optimizer, lambda epoch: self.shares[min(epoch, len(self.shares) - 1)])
        if self.cosine:
            return optimizer, CosineAnnealingLR(optimizer, self.epochs)
        return optimizer, MultiStepLR(optimizer, self.drops, gamma=0.1)


@dataclass(frozen=True)
class Standing:
    """Where a training stands after an epoch: what one that was interrupted goes on from.

    Attributes:
        epoch: the last one that is finished, counted from 1.
        rate: the learning rate of the next one.
        tensors: the network's, as `network.NAME`, and the optimiser's, as `optimizer.PARAMETER.NAME`.
    """

    epoch: int
    rate: float
    tensors: dict[str, Tensor]

    @classmethod
    def of(cls, epoch: int, network: nn.Module, optimizer: torch.optim.Optimizer) -> "Standing":
        """Where a training stands, its tensors on the CPU."""
        tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
        kept = optimizer.state_dict()
        for parameter, state in kept["state"].items():
            tensors |= {
                f"optimizer.{parameter}.{key}": value for key, value in state.items() if torch.is_tensor(value)
            }
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        return cls(epoch, kept["param_groups"][0]["lr"], tensors)

    def restore(self, network: nn.Module, optimizer: torch.optim.Optimizer, schedule: LRScheduler) -> None:
        """Bring a network, its optimiser and its schedule to where they stood."""
        named = {name.partition(".")[2]: each for name, each in self.tensors.items() if name.startswith("network.")}
        network.load_state_dict(named)
        state: dict[int, dict[str, Tensor]] = {}
        for name, each in self.tensors.items():
            if name.startswith("optimizer."):
                _, parameter, key = name.split(".")
                state.setdefault(int(parameter), {})[key] = each
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": [each | {"lr": self.rate} for each in groups]})
        schedule.last_epoch = self.epoch


@dataclass(frozen=True)
class Epoch:
    """One finished epoch, counted from 1."""

    number: int
    total_loss: Tensor
    images: int
    standing: Callable[[], Standing] | None = None  # where the training stands now; none with an `average`

    @property
    def loss(self) -> float:
        """The mean over its images; reading it waits for the device."""
        return self.total_loss.item() / self.images


def fit(
    network: nn.Module,
    images: Images,
    labels: Tensor | Targets,
    recipe: TrainingRecipe,
    *,
    seed: int,
    purpose: str,
    prepare: Prepare = lambda images: images,
    autocast: Autocast = nullcontext,
    compile: bool = False,
    start: Standing | None = None,
    tell: Callable[[float], object] = lambda share: None,
) -> Iterator[Epoch]:
    """Train a network in place, yielding after every epoch.

    Args:
        network: in any state; it is put into train mode at the start of every epoch.
        images: (N, channels, height, width), on the network's device, of any type that `prepare` takes.
        labels: int64 (N,), probabilities (N, classes), or whatever else the logits of a batch are compared with.
        recipe: how.
        seed: of the order of the images, of their augmentation and of the network's own draws, with `purpose`.
        purpose: names the draws, so that two networks of one seed don't share them unless they should.
        prepare: makes normalised floating images of a batch.
        autocast: context of the forward passes.
        compile: torch.compile the network, if the training is long enough.
        start: where an interrupted training stood: this one ends as that would have ended, on a CPU bit for bit. There
            is none of a recipe with an `average`.
        tell: is called after every batch with its share of an epoch.
    """
    targets = as_targets(labels)
    optimizer, schedule = recipe.optimise(network.parameters())
    if start:
        start.restore(network, optimizer, schedule)
    forward: Callable[[Tensor], Tensor] = network
    counted = recipe.epoch_images or len(images)
    if compile:
        forward = compiled(network, recipe.epochs * math.ceil(counted / recipe.batch_size))
    mean = RunningMean(network, recipe.average) if recipe.average is not None else None
    last = math.ceil(counted / recipe.batch_size) - 1
    for number in range(start.epoch + 1 if start else 1, recipe.epochs + 1):
        network.train()
        total = torch.zeros((), device=images.device)
        draws = generator(seed, purpose, "targets", number)
        seen, labelled = targets.of_epoch(number, images)
        how = recipe if labelled is targets else replace(recipe, views=None)  # else they come with the labels
        batches = epoch_batches(seen, how, seed, purpose, number, prepare)
        with isolated_rng(seed, purpose, "network", number):  # for networks that draw themselves, as for dropout
            for place, (chosen, batch, drawn) in enumerate(batches):
                wanted = labelled.of_batch(chosen, batch, draws)
                if place % recipe.accumulate == 0:
                    optimizer.zero_grad(set_to_none=True)
                with autocast():
                    if recipe.passes_twice:
                        with torch.no_grad():
                            forward(batch)
                    logits = forward(batch)
                if drawn is not None and recipe.mixes_labels and not targets.of_views:
                    wanted = views.mixed_targets(wanted, drawn, logits.shape[1])
                loss = recipe.loss(at_least_single(logits), wanted, targets.temperature, targets.classes(chosen))
                (loss / recipe.accumulate if recipe.accumulate > 1 else loss).backward()
                total += loss.detach() * len(chosen)
                if place == last or (place + 1) % recipe.accumulate == 0:
                    optimizer.step()
                    if mean:
                        mean.update()
                tell(len(chosen) / counted)
        recipe.finish(number, optimizer, schedule)
        if mean:
            mean.exchange()
        standing = None if mean else functools.partial(Standing.of, number, network, optimizer)
        yield Epoch(number, total, counted, standing)
        if mean and number < recipe.epochs:
            mean.exchange()


class RunningMean:
    """The exponentially running mean of a network's parameters, from what they are now on.

    Args:
        network: whose parameters these are.
        kept: the share of the mean that an update keeps.
    """

    def __init__(self, network: nn.Module, kept: float):
        self.parameters = list(network.parameters())
        self.kept = kept
        self.means = [each.detach().clone() for each in self.parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Take in what the parameters are now: mean ← kept · mean + (1 - kept) · parameter."""
        for mean, parameter in zip(self.means, self.parameters, strict=True):
            mean.lerp_(parameter, 1 - self.kept)

    @torch.no_grad()
    def exchange(self) -> None:
        """Put the mean where the parameters are, and the other way round."""
        for mean, parameter in zip(self.means, self.parameters, strict=True):
            own = parameter.clone()
            parameter.copy_(mean)
            mean.copy_(own)


Batch = tuple[Tensor, Tensor, ViewDraws | None]


def epoch_batches(
    images: Images, recipe: TrainingRecipe, seed: int, purpose: str, number: int, prepare: Prepare
) -> Iterator[Batch]:
    """The batches of an epoch in a new order, prepared and augmented.

    Each with the indices (on the CPU) that it is of, and with the draws of its views where there are any.
    """
    draws = generator(seed, purpose, "epoch", number)
    if recipe.epoch_images is None:
        order = torch.randperm(len(images), generator=draws)
    else:
        order = going_on(len(images), recipe.epoch_images, seed, purpose, number)
    batches = order.split(recipe.batch_size)
    for chosen, batch in zip(batches, read_ahead(images, batches), strict=True):
        drawn = None
        if recipe.views:
            drawn = views.draw(recipe.views, len(chosen), tuple(batch.shape[2:]), draws)
            batch = views.shown(in_unit_range(batch), drawn, recipe.views.size)
        batch = prepare(batch)
        if recipe.strategy:
            batch = augment.apply(batch, recipe.draw(len(chosen), draws))
        yield chosen, batch if drawn is None else views.mixed(batch, drawn), drawn


def going_on(total: int, count: int, seed: int, purpose: str, number: int) -> Tensor:
    """The `count` places that epoch `number`, from 1, takes of `total`, in orders that follow each other."""
    first, behind = (number - 1) * count, number * count
    passes = range(first // total, -(-behind // total))
    orders = [torch.randperm(total, generator=generator(seed, purpose, "pass", each)) for each in passes]
    return torch.cat(orders)[first - passes.start * total :][:count]


def at_least_single(logits: Tensor) -> Tensor:
    """Logits in float32, or in float64 where they are so already."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


@torch.no_grad()
def predict(
    network: nn.Module,
    images: Images,
    *,
    prepare: Prepare = lambda images: images,
    autocast: Autocast = nullcontext,
) -> Tensor:
    """Predicted classes, int64, (N,), of a network in eval mode, on the images' device.

    `images` are N×C×H×W, uint8 or floating, wherever they lie; `prepare` makes of a chunk of them what it takes.
    """
    network.eval()
    predictions = []
    for _, chunk in in_chunks(images):
        with autocast():
            predictions.append(network(prepare(chunk)).argmax(1))
    return torch.cat(predictions)


def accuracy(predictions: Tensor, labels: Tensor) -> float:
    """Share of right predictions, in [0, 1], as `hf_dd.metrics.Accuracy` computes it."""
    return (predictions == labels).cpu().double().mean().item()  # not every device has float64
