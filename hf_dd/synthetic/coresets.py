"""Coresets: real images chosen by their features, the baselines that every distilled set is measured against."""

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from hf_dd.core import cache
from hf_dd.core.clock import since
from hf_dd.core.precision import Autocast
from hf_dd.core.progress import Phase, over, say_if_dear
from hf_dd.data.batches import in_chunks
from hf_dd.data.held_out import rest_rows, validation_of
from hf_dd.data.image_data import ImageData, of_each_class
from hf_dd.data.splits import by_class
from hf_dd.errors import ConfigError, DataError, require_known
from hf_dd.nn import networks
from hf_dd.synthetic import pruning
from hf_dd.synthetic.pruning import real_features
from hf_dd.training.loop import TrainingRecipe, fit, predict

Ipc = int | Sequence[int]


def herding(features: Tensor, labels: Tensor, num_classes: int, ipc: Ipc) -> Tensor:
    """Welling's herding (ICML 2009), as iCaRL (Rebuffi et al., CVPR 2017, algorithm 4) takes its exemplars.

    Each pick of a class brings the mean of the picked features as close to the mean of the class as one image can.

    Args:
        features: floating, (N, F), on any device; finite. For iCaRL's own form, of unit length.
        labels: int64, (N,).
        num_classes: labels are 0 … num_classes − 1.
        ipc: images per class, or a number for each.

    Returns:
        Indices into `features`, int64, (images,), on the CPU: class after class, in the order of the picks,
        no index twice.

    Raises:
        DataError: where a class has fewer than `ipc` images, or a feature is no finite number.
        ConfigError: for an ipc below 1.
    """
    return _for_each_class(_herd, features, labels, num_classes, ipc)


def k_centers(features: Tensor, labels: Tensor, num_classes: int, ipc: Ipc) -> Tensor:
    """Greedy k-center (Sener & Savarese, ICLR 2018, algorithm 1) in each class, from the image nearest to its mean.

    Every further pick is the image that is farthest from all picked ones. Arguments, result and errors are those of
    `herding`.
    """
    return _for_each_class(_spread, features, labels, num_classes, ipc)


SELECTIONS = 2  # the version of what is chosen: raise it with any change of that
EMBEDDING = "ConvNet"  # whose features choose
JUDGE, WINDOW_EPOCHS = "ConvNetW32", 200  # the student that EL2N's windows are judged by
KEPT = 64  # picks of a class, or a multiple: both methods pick one after another, and fewer are the first of them
MOST_FEATURES = 2**30  # float32 values that are held at once: those of an ImageNet may be 100,000 an image
METHODS: dict[str, Callable[[Tensor, Tensor, int, Ipc], Tensor]] = {"herding": herding, "k-centers": k_centers}


def epochs_of(method: str, epochs: int | None) -> int:
    """Epochs of the training before a choice: those that are asked for, else 0, or EPOCHS where it is what chooses."""
    return epochs or (pruning.EPOCHS if method in pruning.METHODS else 0)


def seconds_of_features(data: ImageData, autocast: Autocast = nullcontext) -> float:
    """Of those of one image, measured on one chunk: what `real_features` by the network that chooses takes."""
    network = networks.build(EMBEDDING, **data.network_shape, seed=0).to(data.device).eval()
    _, images = next(in_chunks(data.train.images))
    seconds = math.inf
    for _ in range(2):  # the first one is slower
        started = time.perf_counter()
        with torch.no_grad(), autocast():
            network.features(data.normalise(images)).cpu()
        seconds = min(seconds, since(started))
    return seconds / len(images)


def select(
    data: ImageData,
    method: str,
    ipc: Ipc,
    seed: int,
    *,
    architecture: str = EMBEDDING,
    epochs: int = 0,
    autocast: Autocast = nullcontext,
) -> Tensor:
    """Choose `ipc` training images of each class by their features under a network, or as was chosen earlier.

    Args:
        data: on the device to train on.
        method: of METHODS, or of `pruning.METHODS`, which look at a training.
        ipc: images per class, or a number for each.
        seed: of the network's parameters and of the order of its training images.
        architecture: of the network, by its name in NETWORKS.
        epochs: of its training on the whole split; 0 leaves it as it was drawn, and is `pruning.EPOCHS` for methods
            that look at a training.
        autocast: context of its forward passes.

    Returns:
        Indices into `data.train`, int64, (images,), on the CPU, as `herding` orders them.

    Raises:
        ConfigError: for an unknown method or architecture, and for images that are too small for it.
        DataError: where a class has fewer than `ipc` images, or where the training diverged.
    """
    require_known("selection", method, METHODS | pruning.METHODS)
    data.require_ipc(ipc)
    epochs = epochs_of(method, epochs)

    wanted = of_each_class(ipc, data.num_classes)
    most = KEPT * math.ceil(max(wanted) / KEPT)
    counts = [min(most, len(members)) for members in data.class_index]
    if method in pruning.SPREAD:
        most, counts = list(wanted), list(wanted)

    def choose() -> list[list[int]]:
        if method in pruning.METHODS:
            seen, pick = watched(data, training, where), pruning.METHODS[method]
            if method == pruning.WINDOW:
                pick = pruning.window(best_window(data, seen, counts, seed, autocast))
            members = zip(data.class_index, counts, strict=True)
            return [pick(seen, own.cpu(), count).tolist() for own, count in members]
        *_, network = trained(data, architecture, epochs, seed, autocast)
        chosen = []
        for own in classes_at_once(data, network.feature_size):
            rows = torch.cat(data.class_index[own]).sort().values
            features, labels = real_features(data, network, autocast, rows), data.train.labels[rows] - own.start
            picked = METHODS[method](features, labels, len(counts[own]), counts[own])
            chosen += [each.tolist() for each in rows.cpu()[picked].split(counts[own])]
        return chosen

    with autocast():
        # In bf16, those that look at a training looked in float32 once: what was kept of that has another name.
        where = [data.device.type, torch.is_autocast_enabled(data.device.type) and "bf16"]
    training = (architecture, epochs, seed, autocast)
    identity = [method, most, seed, data.seen_as, architecture, epochs, *where]
    found = cache.remembered(cache.place_of("selections", SELECTIONS, identity), choose)
    return torch.tensor([row for own, count in zip(found, wanted, strict=True) for row in own[:count]])


def classes_at_once(data: ImageData, feature_size: int) -> list[slice]:
    """All classes, as many at a time as features of their images may be held of, one at least."""
    sizes, ends = [len(members) for members in data.class_index], [0]
    for label in range(1, data.num_classes + 1):
        if label == data.num_classes or sum(sizes[ends[-1] : label + 1]) * feature_size > MOST_FEATURES:
            ends.append(label)
    return [slice(*each) for each in itertools.pairwise(ends)]


_watched: dict[tuple, pruning.Dynamics] = {}  # the last one, for the next method


def watched(data: ImageData, training: tuple[str, int, int, Autocast], where: Sequence[Any]) -> pruning.Dynamics:
    """What such a training said of the images."""
    key = data.seen_as, *training[:3], *where
    if key not in _watched:
        _watched.clear()
        after = itertools.islice(trained(data, *training), 1, None)
        _watched[key] = pruning.Dynamics.of(data, after, training[-1])
    return _watched[key]


def best_window(
    data: ImageData, seen: pruning.Dynamics, counts: Sequence[int], seed: int, autocast: Autocast
) -> float:
    """Where the window of images begins that teaches a small student best, judged by a tenth of the training images.

    No window that is tried holds one of those. Of equal windows the earlier is taken; the test split isn't looked at.
    Returns one of `pruning.WINDOWS`.
    """
    chosen = validation_of(data, seed).test
    rest = rest_rows(data, seed).cpu()
    members = [own.cpu()[torch.isin(own.cpu(), rest)] for own in data.class_index]
    counts = [min(count, len(own)) for count, own in zip(counts, members, strict=True)]
    say_if_dear("EL2N's windows", sum(counts), WINDOW_EPOCHS, len(pruning.WINDOWS))
    right = []
    for begin in over(pruning.WINDOWS, "EL2N's windows", len(pruning.WINDOWS), "student"):
        pick = pruning.window(begin)
        rows = torch.cat([pick(seen, own, count) for own, count in zip(members, counts, strict=True)])
        network = networks.build(JUDGE, **data.network_shape, seed=seed).to(data.device)
        images, labels = data.train.images[rows.to(data.device)], data.train.labels[rows.to(data.device)]
        how = {"seed": seed, "purpose": "window", "prepare": data.normalise, "autocast": autocast}
        for _ in fit(network, images, labels, embedding_recipe(WINDOW_EPOCHS), **how):
            pass
        said = predict(network, chosen.images, prepare=data.normalise, autocast=autocast)
        right.append(int((said == chosen.labels).sum()))
    return pruning.WINDOWS[right.index(max(right))]


def trained(
    data: ImageData, architecture: str, epochs: int, seed: int, autocast: Autocast
) -> Iterator[networks.Network]:
    """A network whose features are to tell images apart: as it was drawn, then after every epoch of its training.

    Raises ConfigError where the images are smaller than it takes.
    """
    if min(data.image_size) < (smallest := networks.smallest_side(architecture)):
        raise ConfigError(
            f"Images are chosen by the features of a {architecture}, which takes {smallest}×{smallest} pixels or "
            f"more, and these have {data.image_size[0]}×{data.image_size[1]}: enlarge them by --image_size {smallest}."
        )
    network = networks.build(architecture, **data.network_shape, seed=seed).to(data.device)
    say_if_dear(f"selection, {architecture}", len(data.train), epochs)
    with Phase(f"selection, {architecture}", epochs, "epoch") as phase:
        training = fit(
            network,
            data.train.images,
            data.train.labels,
            embedding_recipe(epochs),
            seed=seed,
            purpose="selection",
            prepare=data.normalise,
            autocast=autocast,
            tell=phase.update,
        )
        yield network
        for _ in training:
            yield network


def embedding_recipe(epochs: int) -> TrainingRecipe:
    """How the network is trained that features are taken from: as a student is, on the real images as they are."""
    return TrainingRecipe(epochs, learning_rate=0.01, drops=(epochs // 2 + 1,))


def _for_each_class(
    choose: Callable[[Tensor, int], Tensor], features: Tensor, labels: Tensor, num_classes: int, ipc: Ipc
) -> Tensor:
    """`choose` gets a class's features around their mean, in float64 on the CPU: equal picks on every device."""
    members_of, chosen, counts = by_class(labels.cpu(), num_classes), [], of_each_class(ipc, num_classes)
    if min(counts) < 1:
        raise ConfigError(f"ipc must be at least 1, not {min(counts)}.")
    for label, count in over(list(enumerate(counts)), "choosing images", len(counts), "class"):
        members = members_of[label]
        if len(members) < count:
            raise DataError(f"Class {label} has {len(members)} images to choose {count} from: ask for a smaller ipc.")
        own = features[members.to(features.device)].cpu().double()
        if not own.isfinite().all():
            raise DataError(
                f"Features of class {label} hold infinities or NaN: was the network trained until it diverged?"
            )
        chosen.append(members[choose(own - own.mean(0), count)])
    return torch.cat(chosen)


def _herd(centred: Tensor, ipc: int) -> Tensor:
    """After k picks with the sum s, ‖(s + x) / (k + 1)‖ is smallest where ‖x‖² + 2 x·s is."""
    norms, total = centred.square().sum(1), torch.zeros_like(centred[0])
    taken, picks = torch.zeros_like(norms), []
    for _ in range(ipc):
        picks.append(int((norms + 2 * (centred @ total) + taken).argmin()))
        total += centred[picks[-1]]
        taken[picks[-1]] = torch.inf
    return torch.tensor(picks, dtype=torch.int64)


def _spread(centred: Tensor, ipc: int) -> Tensor:
    """`distances` are ‖x − pick‖² to the nearest pick; a pick's own is below all others, so that none comes twice."""
    norms = centred.square().sum(1)
    picks = [int(norms.argmin())]
    distances = torch.full_like(norms, torch.inf)
    while len(picks) < ipc:
        last = picks[-1]
        distances = distances.minimum(norms + norms[last] - 2 * (centred @ centred[last]))
        distances[last] = -torch.inf
        picks.append(int(distances.argmax()))
    return torch.tensor(picks, dtype=torch.int64)
