"""Gradient matching: DC (Zhao et al., ICLR 2021) and DSA (Zhao & Bilen, ICML 2021).

In each iteration a network θ is drawn (in the papers a fresh one), and `outer` times in turn the images are moved
towards

    Σ_c D(∇_θ CE(A_c(S_c); θ), ∇_θ CE(A_c(T_c); θ))

where T_c is a batch of class c's real images and S_c its synthetic ones, and the network is trained on S for `inner`
epochs. A_c is nothing in DC, and in DSA one operation with one set of parameters for both batches.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hf_dd.config import DistillConfig
from hf_dd.config.base import option
from hf_dd.core.compile import compiled
from hf_dd.core.registry import OBJECTIVES
from hf_dd.core.strategies import parse_strategy
from hf_dd.data.batches import chunks_of, in_chunks
from hf_dd.data.image_data import ImageData
from hf_dd.errors import ConfigError
from hf_dd.nn import augment, networks
from hf_dd.objectives import cells
from hf_dd.objectives.base import Losses, Objective, Step, student, zero_with_gradient
from hf_dd.objectives.drawn import DrawnNetwork
from hf_dd.objectives.published import SGD, Published
from hf_dd.teachers.pool import TeacherPool
from hf_dd.training.loop import TrainingRecipe, fit

OF_THE_PAPER = -1
INNER = ((1, 1), (10, 50), (20, 25), (30, 20), (40, 15), (50, 10))  # ipc → inner epochs in the papers' code
MOST_OUTER = 50  # steps on the images per network; the papers' code takes as many as there are images per class
STATISTICS_OF = 16  # real images per class that set the statistics of a BatchNorm network
EPSILON = 1e-6

Gradients = Sequence[Tensor]


def layerwise_distance(synthetic: Gradients, real: Gradients) -> Tensor:
    """Σ over layers and output rows of 1 − cos (DC, eq. 10); of parameters with two dimensions and more."""
    return torch.stack(
        [cosine_distances(s.flatten(1), r.flatten(1)).sum() for s, r in zip(synthetic, real, strict=True)]
    ).sum()


def squared_distance(synthetic: Gradients, real: Gradients) -> Tensor:
    """‖g_S − g_T‖² over all parameters, not divided by their number: the papers' ablation `mse`."""
    return torch.stack([(s - r).square().sum() for s, r in zip(synthetic, real, strict=True)]).sum()


def global_cosine_distance(synthetic: Gradients, real: Gradients) -> Tensor:
    """1 − cos(g_S, g_T) of all parameters as one vector: the papers' ablation `cos`."""
    vectors = [torch.cat([tensor.flatten() for tensor in tensors])[None] for tensors in (synthetic, real)]
    return cosine_distances(*vectors).sum()


def cosine_distances(left: Tensor, right: Tensor) -> Tensor:
    """1 − cos of the rows of two matrices."""
    norms = torch.linalg.vector_norm(left, dim=1) * torch.linalg.vector_norm(right, dim=1)
    return 1 - (left * right).sum(1) / (norms + EPSILON)


def absolute_distance(synthetic: Gradients, real: Gradients) -> Tensor:
    """Σ |g_S − g_T| over all parameters (IDC, Kim et al., ICML 2022)."""
    return torch.stack([(s - r).abs().sum() for s, r in zip(synthetic, real, strict=True)]).sum()


DISTANCES: dict[str, Callable[[Gradients, Gradients], Tensor]] = {
    "layerwise": layerwise_distance,
    "mse": squared_distance,
    "l1": absolute_distance,
    "cosine": global_cosine_distance,
}


@dataclass(frozen=True)
class GradientOptions:
    """The options of gradient matching."""

    outer: int = option(
        OF_THE_PAPER, "steps on the images for each network; -1 for the papers' number at this ipc.", at_least=1
    )
    inner: int = option(
        OF_THE_PAPER,
        "epochs of the network's training on S between two of them; -1 for the papers' number at this ipc.",
        at_least=0,
    )
    distance: str = option("layerwise", "D, a name in DISTANCES.", choices=tuple(DISTANCES))
    network_learning_rate: float = option(
        0.01, "of the network's training, SGD without momentum or weight decay, as in the papers' code.", at_least=0
    )
    network_batch_size: int = option(256, "training images in a step of the network.", at_least=1)


@OBJECTIVES.register(
    "dc",
    title="gradient matching (DC)",
    paper="Zhao, Mopuri & Bilen, ICLR 2021",
    work="Dataset condensation with gradient matching",
    authors="Zhao, Bo and Mopuri, Konda Reddy and Bilen, Hakan",
    arxiv="2006.05929",
    draws=True,
)
class GradientMatching(Objective):
    """DC: the real and the synthetic images of a class shall give the same gradient, without augmentation.

    Each rank computes the terms of its own classes; with more ranks than classes, the ranks of a class all compute the
    same and take equal shares of it. The inner training is the same on every rank, on the whole of S. A BatchNorm
    network's statistics are set by 16 real images of each class before each step on the images, and stay as they are
    in it (the papers' code moves them there by a tenth from where they were; here they are what the images have).
    """

    name: ClassVar[str] = "dc"
    published = Published(
        iterations=1_000,
        real_batch_size=256,
        image_learning_rate=0.1,
        **SGD,
        init="noise",
        augments=False,
        cells=cells.DC,
        networks="random",
    )
    Options = GradientOptions

    def __init__(self, config: DistillConfig, data: ImageData, pool: TeacherPool | None = None):
        super().__init__(config, data, pool)
        self.batch_size = self.settings["real_batch_size"]
        self.strategy = parse_strategy(self.settings["augment"])
        self.outer, self.inner = self.loops(config.ipc)
        self.distance = DISTANCES[self.options.distance]
        self.network = student(config, data)
        self.drawn = DrawnNetwork(self.network, config, data, pool, self.published)
        self.parameters = self.matched_parameters()
        # What the real images go through; the gradient of the synthetic ones is differentiated once more, which a
        # compiled network can't be.
        self.forward: Callable[[Tensor], Tensor] = self.network
        if config.compile:
            self.forward = compiled(self.network, self.settings["iterations"] * self.outer * data.num_classes)

    def loops(self, ipc: int) -> tuple[int, TrainingRecipe]:
        """How many steps on the images a network gives, and how it is trained between two of them."""
        outer, inner = loops_of(ipc)
        return outer if self.options.outer == OF_THE_PAPER else self.options.outer, TrainingRecipe(
            epochs=inner if self.options.inner == OF_THE_PAPER else self.options.inner,
            learning_rate=self.options.network_learning_rate,
            momentum=0.0,
            weight_decay=0.0,
            batch_size=self.options.network_batch_size,
            strategy=self.strategy,
        )

    def matched_parameters(self) -> list[nn.Parameter]:
        """Those by which gradients are taken."""
        layerwise = self.distance is layerwise_distance
        return [weight for weight in self.network.parameters() if weight.ndim > 1 or not layerwise]

    @property
    def updates(self) -> int:
        """As many as the network lives for."""
        return self.outer

    def losses(self, step: Step) -> Iterator[Losses]:
        """Yield `outer` times: the terms of this rank's classes, or its share of them."""
        self.begin(step)
        for outer in range(self.outer):
            self.network.train()
            if self.network.has_batch_norm:
                self.set_statistics(step, outer)
            yield {self.name: self.matching_loss(step, outer) / step.own.parts}
            if outer + 1 < self.outer:
                self.train_network(step, outer)

    def begin(self, step: Step) -> None:
        """Draw an iteration's network."""
        self.drawn.draw(step)

    def matching_loss(self, step: Step, outer: int) -> Tensor:
        """Σ_c D of this rank's classes.

        Its gradient is computed here, class after class, so that memory holds the graph of one class at most.
        """
        draws = augment.draw(step.data.num_classes, self.strategy, step.generator("augment", outer))
        images = step.synthetic.images(step.synthetic.rows(step.own.classes))
        values, gradients = [], []
        for label, synthetic in zip(step.own.classes, images.detach().split(step.synthetic.per_class), strict=True):
            real = self.real_gradients(step, outer, label, draws)
            seen = self.seen_of(step, outer, label)
            value, gradient = self.term(step, synthetic[seen], label, draws, real)
            values.append(value)
            gradients.append(torch.zeros_like(synthetic).index_copy_(0, seen, gradient))
        return torch.stack(values).sum() + zero_with_gradient(images, torch.cat(gradients))

    def seen_of(self, step: Step, outer: int, label: int) -> Tensor:
        """Which of a class's training images take part in a step, int64: all."""
        return torch.arange(step.synthetic.per_class, device=step.synthetic.pixels.device)

    def real_gradients(self, step: Step, outer: int, label: int, draws: augment.Draws) -> Gradients:
        """∇_θ of the mean cross-entropy of `batch_size` real images of a class."""
        chosen = step.data.sample_class(label, self.batch_size, step.generator("real", outer, label))
        return summed(
            self.gradients(step, self.forward, step.as_input(images), label, draws, self.batch_size)
            for _, images in in_chunks(step.data.train.images, chosen)
        )

    def term(
        self, step: Step, images: Tensor, label: int, draws: augment.Draws, real: Gradients
    ) -> tuple[Tensor, Tensor]:
        """D of a class, and its gradient for the class's training images.

        With D's gradient v for the synthetic gradient g, the images' is ∇ Σ v·g: so images that are too many for one
        chunk go through one by one, each chunk's graph for itself, for one more first-order pass.
        """
        parts = [part.requires_grad_() for part in images.tensor_split(chunks_of(len(images), images))]

        def gradients(part: Tensor, create_graph: bool) -> Gradients:
            return self.gradients(step, self.network, part, label, draws, len(images), create_graph=create_graph)

        whole = gradients(parts[0], True) if len(parts) == 1 else summed(gradients(part, False) for part in parts)
        synthetic = [gradient.detach().requires_grad_() for gradient in whole]
        value = self.distance(synthetic, real)
        slopes = torch.autograd.grad(value, synthetic)
        found = []
        for part in parts:
            of_part = whole if len(parts) == 1 else gradients(part, True)
            found += torch.autograd.grad(of_part, part, slopes)
        return value.detach(), torch.cat(found)

    def gradients(
        self,
        step: Step,
        forward: Callable[[Tensor], Tensor],
        images: Tensor,
        label: int,
        draws: augment.Draws,
        count: int,
        create_graph: bool = False,
    ) -> Gradients:
        """∇_θ of Σ cross-entropy / `count` over normalised images of a class, augmented as the class is."""
        images = augment.apply(images, draws.expand([label] * len(images)))
        labels = torch.full((len(images),), label, device=images.device)
        with step.autocast():
            logits = forward(images)
        loss = F.cross_entropy(logits.to(images.dtype), labels, reduction="sum") / count
        return torch.autograd.grad(loss, self.parameters, create_graph=create_graph)

    @torch.no_grad()
    def set_statistics(self, step: Step, outer: int) -> None:
        """Give a BatchNorm network the statistics of real images of all classes, and freeze them."""
        norms = networks.batch_norms(self.network)
        usual = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean over all batches, of which there is one
        chosen = [
            step.data.sample_class(label, STATISTICS_OF, step.generator("statistics", outer, label))
            for label in range(step.data.num_classes)
        ]
        for _, images in in_chunks(step.data.train.images, torch.cat(chosen), whole=True):
            with step.autocast():
                self.network.features(step.as_input(images))
        for norm, momentum in zip(norms, usual, strict=True):
            norm.momentum = momentum
            norm.eval()

    def train_network(self, step: Step, outer: int) -> None:
        """The inner training: `inner` epochs on the whole of S, each image with its own augmentation."""
        images, labels = step.synthetic.images().detach(), step.synthetic.image_labels()
        purpose = f"inner/{step.index}/{outer}"
        for _ in fit(
            self.network, images, labels, self.inner, seed=step.seed, purpose=purpose, autocast=step.autocast
        ):
            pass


@OBJECTIVES.register(
    "dsa",
    title="gradient matching with Siamese augmentation (DSA)",
    paper="Zhao & Bilen, ICML 2021",
    work="Dataset condensation with differentiable Siamese augmentation",
    authors="Zhao, Bo and Bilen, Hakan",
    arxiv="2102.08259",
    draws=True,
)
class SiameseGradientMatching(GradientMatching):
    """DSA: the same with one augmentation of a class's real and synthetic batch, drawn anew for every class and step.

    The inner training is augmented as well. Raises ConfigError where no augmentation is left, which would be DC.
    """

    name: ClassVar[str] = "dsa"
    published = dataclasses.replace(GradientMatching.published, init="real", augments=True)

    def __init__(self, config: DistillConfig, data: ImageData, pool: TeacherPool | None = None):
        super().__init__(config, data, pool)
        if not self.strategy:
            raise ConfigError("--objective dsa with --augment none is DC: take --objective dc --init real.")


def loops_of(ipc: int) -> tuple[int, int]:
    """`outer` and `inner` as the papers' code has them for 1, 10, 20, 30, 40 and 50 images per class.

    Elsewhere `outer` is the ipc, 50 at most, as it is there; `inner` is interpolated, and that of 50 above it.
    """
    for (low, at_low), (high, at_high) in zip(INNER, INNER[1:], strict=False):
        if ipc <= high:
            return ipc, round(at_low + (at_high - at_low) * (ipc - low) / (high - low))
    return MOST_OUTER, INNER[-1][1]


def summed(parts: Iterable[Gradients]) -> Gradients:
    """The sum of lists of tensors, entry by entry."""
    parts = iter(parts)
    total = list(next(parts))
    for part in parts:
        total = [so_far + tensor for so_far, tensor in zip(total, part, strict=True)]
    return total
