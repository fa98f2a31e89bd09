"""Pruning: real images chosen by what the training of a network on all of them said of each.

All choose as many images of every class; of equal scores the earlier image is taken. `Dynamics` is one training of
one network: the papers' means over several seeds are left out.
"""

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from hf_dd.core.precision import Autocast
from hf_dd.core.progress import over
from hf_dd.data.batches import in_chunks
from hf_dd.data.image_data import ImageData
from hf_dd.errors import DataError
from hf_dd.nn.networks import Network

EPOCHS = 10  # of the training, unless it is said: EL2N's scores are taken at epochs 10 to 20 of 200
STRATA = 50  # of CCS
HARDEST = 0.3  # that CCS leaves out: its authors' share where nine tenths are pruned
MOST_PAIRS = 20_000  # images of a class whose pairs are compared
WINDOW = "el2n-window"
WINDOWS = tuple(share / 10 for share in range(10))  # where one may begin, in a class's order, the largest errors first
SPREAD = {"ccs", WINDOW}  # methods of which fewer images aren't the first of more


@dataclass(frozen=True)
class Dynamics:
    """A training as every image saw it, on the CPU: p are a network's probabilities in eval mode, y the labels.

    Attributes:
        labels: y, int64, (N,).
        right: bool, (epochs, N): whether the class of highest p was y.
        errors: ‖p − onehot(y)‖₂, float32, (epochs, N).
        margins: p of y less the highest p of another class, float32, (epochs, N).
        probabilities: p after the last epoch, float32, (N, 2): the highest and the second highest.
        entropies: −Σ p log p after the last epoch, float32, (N,).
        features: of the last epoch's network, float32, (N, F).
    """

    labels: Tensor
    right: Tensor
    errors: Tensor
    margins: Tensor
    probabilities: Tensor
    entropies: Tensor
    features: Tensor

    @classmethod
    def of(cls, data: ImageData, training: Iterable[Network], autocast: Autocast = nullcontext) -> "Dynamics":
        """Look at all training images after every epoch.

        Args:
            data: the real set, on the network's device.
            training: the network after each epoch of a training on it, at least one.
            autocast: context of its forward passes.
        """
        labels = data.train.labels.cpu()
        epochs = []
        for network in training:
            probabilities, features = seen(network, data, autocast)
            own = probabilities.gather(1, labels[:, None]).squeeze(1)
            others = probabilities.scatter(1, labels[:, None], -1.0).amax(1)
            rest = probabilities.square().sum(1) - own.square() + (1 - own).square()
            epochs.append((probabilities.argmax(1) == labels, rest.clamp(min=0).sqrt(), own - others))
        right, errors, margins = (torch.stack(each) for each in zip(*epochs, strict=True))
        entropies = torch.special.entr(probabilities).sum(1)
        return cls(labels, right, errors, margins, probabilities.topk(2, dim=1).values, entropies, features)

    def scored(self, score: Callable[["Dynamics"], Tensor]) -> Tensor:
        """A score of all images, which is computed once: every class is chosen by it."""
        if score not in self._scores:
            self._scores[score] = score(self)
        return self._scores[score]

    @cached_property
    def _scores(self) -> dict[Callable[["Dynamics"], Tensor], Tensor]:
        return {}


@torch.no_grad()
def real_features(
    data: ImageData, network: Network, autocast: Autocast = nullcontext, rows: Tensor | None = None
) -> Tensor:
    """Features of training images, float32, (N, F), on the CPU: of all, or of these rows (int64 indices).

    The network is on the data's device.
    """
    network.eval()
    features = torch.empty(len(data.train.images if rows is None else rows), network.feature_size)
    chunks = in_chunks(data.train.images, rows)
    for places, images in over(chunks, "features", len(features), "image", lambda own: len(own[0])):
        with autocast():
            features[places] = network.features(data.normalise(images)).float().cpu()
    return features


@torch.no_grad()
def seen(network: Network, data: ImageData, autocast: Autocast = nullcontext) -> tuple[Tensor, Tensor]:
    """Probabilities and features of all training images, float32, (N, classes) and (N, F), on the CPU."""
    features = real_features(data, network, autocast)
    return network.classifier(features.to(data.device)).float().softmax(1).cpu(), features


# Scores: float, (N,); the images of the highest are taken.


def el2n(seen: Dynamics) -> Tensor:
    """The error's length, the mean over the training (Paul, Ganguli & Dziugaite, NeurIPS 2021, section 2.2)."""
    return seen.errors.mean(0)


def grand(seen: Dynamics) -> Tensor:
    """The length of the last layer's gradient, in closed form (ibid.): that of (p − y) ⊗ [h, 1], for features h."""
    return seen.errors[-1] * (seen.features.square().sum(1) + 1).sqrt()


def forgetting(seen: Dynamics) -> Tensor:
    """How often an image was right and then wrong (Toneva et al., ICLR 2019); what was never learned is forgotten."""
    events = (seen.right[:-1] & ~seen.right[1:]).sum(0).float()
    return events.where(seen.right.any(0), torch.inf)


def aum(seen: Dynamics) -> Tensor:
    """The smallest area under the margin (Pleiss et al., NeurIPS 2020), of probabilities as in CCS' code."""
    return -seen.margins.sum(0)


def margin(seen: Dynamics) -> Tensor:
    """The smallest difference of the two highest probabilities (Coleman et al., ICLR 2020)."""
    return seen.probabilities[:, 1] - seen.probabilities[:, 0]


def least_confidence(seen: Dynamics) -> Tensor:
    """The smallest highest probability (ibid.)."""
    return -seen.probabilities[:, 0]


def entropy(seen: Dynamics) -> Tensor:
    """The highest entropy (ibid.)."""
    return seen.entropies


def moderate(seen: Dynamics) -> Tensor:
    """The features' distance to their class's median is nearest to the median of all (Xia et al., ICLR 2023)."""
    medians = torch.zeros(int(seen.labels.max()) + 1, seen.features.shape[1])
    for label in seen.labels.unique():
        medians[label] = seen.features[seen.labels == label].median(0).values
    distances = (seen.features - medians[seen.labels]).norm(dim=1)
    return -(distances - distances.median()).abs()


# Choices in a class: of its members, which ones, in the order in which they are taken.


def highest(score: Callable[[Dynamics], Tensor]) -> "Choice":
    """The images of the highest scores."""

    def choose(seen: Dynamics, members: Tensor, count: int) -> Tensor:
        scores = seen.scored(score)[members]
        return members[scores.sort(descending=True, stable=True).indices[:count]]

    return choose


def window(begin: float) -> "Choice":
    """The images behind this share of those of larger errors: the audit's window of EL2N (arXiv 2604.18811)."""

    def choose(seen: Dynamics, members: Tensor, count: int) -> Tensor:
        ordered = highest(el2n)(seen, members, len(members))
        first = min(int(begin * len(members)), len(members) - count)
        return ordered[first : first + count]

    return choose


def ccs(seen: Dynamics, members: Tensor, count: int) -> Tensor:
    """Coverage-centric (Zheng et al., ICLR 2023, algorithm 1), by AUM: without the hardest, as many of every stratum.

    The smallest stratum is served first, and what it lacks is shared by those after it. Within a stratum the paper
    draws; here the images are evenly spread over its scores.
    """
    scores, order = seen.scored(aum)[members].sort(stable=True)  # easiest first
    kept = max(count, len(members) - int(HARDEST * len(members)))
    scores, order = scores[:kept], order[:kept]
    width = (scores[-1] - scores[0]).clamp(min=1e-12) / STRATA
    stratum = ((scores - scores[0]) / width).long().clamp(max=STRATA - 1)
    filled = sorted((own for own in (order[stratum == each] for each in range(STRATA)) if len(own)), key=len)
    chosen, left = [], count
    for place, own in enumerate(filled):
        share = min(len(own), left // (len(filled) - place))
        chosen.append(own[((torch.arange(share) + 0.5) * len(own) / max(share, 1)).long()])
        left -= share
    return members[torch.cat(chosen)]


def facility_location(seen: Dynamics, members: Tensor, count: int) -> Tensor:
    """Greedily the image that raises Σᵢ maxⱼ cos(hᵢ, hⱼ) most, j over those taken (Wei, Iyer & Bilmes, ICML 2015)."""
    if len(members) > MOST_PAIRS:
        raise DataError(
            f"facility-location compares all pairs of a class, and one has {len(members):,} images: it takes at most "
            f"{MOST_PAIRS:,}. Choose by --objective herding or another."
        )
    features = torch.nn.functional.normalize(seen.features[members], dim=1)
    similar, covered, picks = features @ features.T, torch.full((len(members),), -1.0), []
    for _ in range(count):
        gains = (similar - covered[:, None]).clamp(min=0).sum(0)
        gains[picks] = -1.0
        picks.append(int(gains.argmax()))
        covered = covered.maximum(similar[:, picks[-1]])
    return members[torch.tensor(picks)]


Choice = Callable[[Dynamics, Tensor, int], Tensor]
METHODS: dict[str, Choice] = {
    "el2n": highest(el2n),
    WINDOW: window(0.0),  # where it begins is chosen on validation images, see `coresets.best_window`
    "grand": highest(grand),
    "forgetting": highest(forgetting),
    "aum": highest(aum),
    "margin": highest(margin),
    "least-confidence": highest(least_confidence),
    "entropy": highest(entropy),
    "moderate": highest(moderate),
    "ccs": ccs,
    "facility-location": facility_location,
}
