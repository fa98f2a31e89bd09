"""CLoM: the loss by which pre-trained teachers guide any objective (arXiv 2310.03295).

    total = objective(S, T) + α · CLoM(S)

once per optimiser step on the images, on the full synthetic set S: un-augmented in the paper, or, with
`--clom_augment`, each image by a draw of its own; with `--clom_batch` on as many of each class, drawn for the step.
The paper draws one teacher per step; the mean over the pool, of losses or of logits, is the alternative.
"""

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hf_dd.config import DistillConfig, parse_key_values
from hf_dd.core.progress import Phase
from hf_dd.core.registry import OBJECTIVES
from hf_dd.data.batches import by_chunks, in_chunks
from hf_dd.data.image_data import ImageData
from hf_dd.errors import ConfigError
from hf_dd.nn import augment
from hf_dd.objectives.base import Losses, Objective, Step, zero_with_gradient
from hf_dd.objectives.published import SGD, Published
from hf_dd.teachers.pool import TeacherPool
from hf_dd.teachers.teacher import Teacher, TeacherSpec


class ClassificationDistance:
    """CLoM's `ce`: mean cross-entropy of the teacher's logits on S against S's labels.

    The mean runs over the whole of S, so one image weighs α / |S|; with `batch`, over as many stored images of each
    class. Raises TeacherError where a teacher's label space isn't the data set's.
    """

    def __init__(self, pool: TeacherPool, data: ImageData, augmentation: Sequence[str] = (), batch: int | None = None):
        self.augmentation, self.batch = augmentation, batch
        self.orders = [torch.tensor(teacher.logit_order(data.class_names)) for teacher in pool]

    def __call__(self, step: Step, inner: int, members: Mapping[int, Teacher]) -> Tensor:
        """This rank's share: the sum over its images, divided by how many all see; of the mean logits of teachers.

        Args:
            step: as the rank sees it.
            inner: which optimiser step of the iteration this is.
            members: the teachers that guide it, by their place in the pool.
        """
        rows, share = drawn_rows(step, inner, self.batch)
        if not len(rows):
            return step.zero()
        images, logits = seen(step, inner, rows, self.augmentation), 0
        for index, teacher in members.items():
            with step.autocast():
                own = by_chunks(teacher, images, teacher.image_size)
            order = self.orders[index].to(own.device)
            logits = logits + own[:, order].to(step.synthetic.pixels.dtype) / len(members)
        labels = step.synthetic.image_labels(rows)
        return F.cross_entropy(logits, labels, reduction="sum") / (share * len(step.synthetic.image_labels()))


class CosineDistance:
    """CLoM's `cos`: Σ M∘D / Σ D with M[i,j] = [y_i = y_j], D[i,j] = 1 − r_i·s_j, over real i and synthetic j.

    r and s are L2-normalised teacher features. D is linear in r, so the real side collapses to the class sums
    R_c = Σ_{y_i=c} r_i and counts n_c, with R = Σ_c R_c and n = Σ_c n_c:

        Σ M∘D = Σ_j (n_{y_j} − s_j·R_{y_j}),   Σ D = Σ_j (n − s_j·R)

    exactly. The class sums cost one pass over the real set for each teacher, at its first use, unless they are
    remembered (`Step.remembered`); a step then costs one forward and backward pass of S. With `real_batch`, i runs
    over as many images, drawn anew for every optimiser step; with `batch`, j runs over as many stored images of each
    class. Chance level is about 1 / C.
    """

    def __init__(
        self,
        pool: TeacherPool,
        data: ImageData,
        augmentation: Sequence[str] = (),
        batch: int | None = None,
        real_batch: int | None = None,
    ):
        self.augmentation, self.batch = augmentation, batch
        self.real_batch = real_batch and min(real_batch, len(data.train))
        self.class_sums: dict[int, Tensor] = {}

    def __call__(self, step: Step, inner: int, members: Mapping[int, Teacher]) -> Tensor:
        """This rank's share of the ratio for the one teacher in `members`, see `ratio_share`."""
        ((index, teacher),) = members.items()
        drawn, sums = step.data.class_index, self.class_sums.get(index)
        if self.real_batch:
            order = torch.randperm(len(step.data.train), generator=step.generator("clom-real", inner))
            chosen = order[: self.real_batch]
            labels = step.data.train.labels.cpu()[chosen]
            drawn = [chosen[labels == label] for label in range(step.data.num_classes)]
            sums = real_class_sums(step, teacher, drawn)
        elif sums is None:
            compute = functools.partial(real_class_sums, step, teacher, drawn)
            sums = self.class_sums[index] = step.remembered("class-sums", teacher, compute)
        rows, _ = drawn_rows(step, inner, self.batch)
        if not len(rows):
            return ratio_share(step.zero(), step.zero(), step)
        labels = step.synthetic.image_labels(rows)
        with step.autocast():
            own = seen(step, inner, rows, self.augmentation)
            features = by_chunks(teacher.features, own, teacher.image_size)
        features = F.normalize(features.to(step.synthetic.pixels.dtype), dim=1)
        counts = torch.tensor([len(of_class) for of_class in drawn]).to(sums)
        same_class = (counts[labels] - (features * sums[labels]).sum(1)).sum()
        every_class = (counts.sum() - features @ sums.sum(0)).sum()
        return ratio_share(same_class, every_class, step)


def drawn_rows(step: Step, inner: int, batch: int | None) -> tuple[Tensor, float]:
    """The stored images of this rank that teachers see, and how large a share of all images all ranks see.

    Those are its own; of each class only `batch`, where there is one: which ones, the seed and the step alone say.
    """
    rows, ipc = step.own_rows(), step.synthetic.ipc
    if batch is None or batch >= ipc:
        return rows, 1.0
    order = torch.rand(step.data.num_classes, ipc, generator=step.generator("clom-batch", inner)).argsort(1)
    chosen = torch.zeros(order.shape, dtype=torch.bool).scatter_(1, order[:, :batch], True).flatten()
    return rows[chosen.to(rows.device)[rows]], batch / ipc


def seen(step: Step, inner: int, rows: Tensor, augmentation: Sequence[str]) -> Tensor:
    """The training images of these stored ones as the teachers see them, in [0, 1] space, augmented if asked.

    An image's draw depends on its place in S, the seed and the step alone, not on the processes.
    """
    images = step.synthetic.images(rows)
    if augmentation:
        count = len(step.synthetic.image_labels())
        draws = augment.draw(count, augmentation, step.generator("clom-augment", inner))
        images = augment.apply(images, draws.expand(step.synthetic.image_rows(rows)))
    return step.synthetic.own_space(images)


def ratio_share(numerator: Tensor, denominator: Tensor, step: Step) -> Tensor:
    """A rank's share of N / D, where N = Σ_r n_r and D = Σ_r d_r run over ranks: its value and its gradient.

    The shares' values add up to N / D, and their gradients to the quotient rule's (∇N·D − N·∇D) / D².
    """
    totals = step.sum_over_ranks(torch.stack([numerator.detach(), denominator.detach()]))
    value_share = numerator.detach() / totals[1]
    slope = numerator / totals[1] - totals[0] / totals[1] ** 2 * denominator
    return value_share + slope - slope.detach()


@torch.no_grad()
def real_class_sums(step: Step, teacher: Teacher, drawn: Sequence[Tensor]) -> Tensor:
    """R_c of the images drawn of every class, (classes, features): each rank sums what it owns, then all are added."""
    pixels = step.synthetic.pixels
    size = teacher.features(step.synthetic.own_space()[:1]).shape[1]
    sums = pixels.new_zeros(step.data.num_classes, size)
    own = {label: step.own.of_batch(drawn[label]) for label in step.own.classes}
    with Phase("class sums", sum(map(len, own.values())), "image") as phase:
        for label, chosen in own.items():
            for places, images in in_chunks(step.data.train.images, chosen, seen=teacher.image_size):
                with step.autocast():
                    features = teacher.features(images.to(pixels.dtype) / 255)
                sums[label] += F.normalize(features.to(pixels.dtype), dim=1).sum(0)
                phase.update(len(places))
    return step.sum_over_ranks(sums)


# What α is multiplied by after a share of the iterations.
FADES: dict[str, Callable[[float], float]] = {
    "constant": lambda share: 1.0,
    "linear": lambda share: 1 - share,
    "cosine": lambda share: (1 + math.cos(math.pi * share)) / 2,
}
LARGEST_ALPHA = 1e30  # above, CLoM had no gradient
DISTANCES = {"ce": ClassificationDistance, "cos": CosineDistance}


@OBJECTIVES.register(
    "clom",
    title="the guide alone",
    paper="Lu et al., 2023",
    work="Can pre-trained models assist in dataset distillation?",
    authors="Lu, Yao and Chen, Xuguang and Zhang, Yuchen and Gu, Jianyang and Zhang, Tianle and Zhang, Yifan and "
    "Yang, Xiaoniu and Xuan, Qi and Wang, Kai and You, Yang",
    arxiv="2310.03295",
    needs="teachers",
)
class GuideAlone(Objective):
    """No objective of its own: what remains is CLoM alone (the limit of a large α)."""

    published = Published(iterations=20_000, image_learning_rate=1.0, **SGD, augments=False)
    guide_only = True

    def losses(self, step: Step) -> Iterator[Losses]:
        """Yield once, for the guide to add its term."""
        yield {}


class Guided:
    """An objective with CLoM's term added to every loss that it yields; whatever else it is asked, the objective says.

    Where α is 'auto', it balances the gradients of the two terms on the images' parameters S: the largest of all
    optimiser steps s up to this one, t, β being `--clom_balance`:

        α_t = β · max_{s ≤ t} ‖∇_S objective_s‖₂ / max_{s ≤ t} ‖∇_S CLoM_s‖₂

    Not those of step t alone: once the teachers see their classes, CLoM's gradient falls to a few per cent of the
    objective's, as it should, and a balance that follows it down would raise it to the objective's for ever. A step
    that the objective doesn't take leaves no trace in them.

    With `--clom_schedule` α, given or found, is multiplied by what falls from 1 to 0 over the run's iterations.
    """

    def __init__(self, objective: Objective, config: DistillConfig, pool: TeacherPool, data: ImageData):
        self.objective = objective
        self.pool = pool.to(data.device, getattr(torch, config.dtype))
        self.pooling = config.clom_pool
        self.alpha, self.balance = config.clom_alpha, config.clom_balance
        self.fade = FADES[config.clom_schedule]
        self.iterations = config.iterations or objective.published.iterations
        self.largest = torch.zeros(2, device=data.device, dtype=getattr(torch, config.dtype))  # objective's, CLoM's
        self.per_image = config.clom_alpha_per == "image"
        self.alphas = parse_key_values(config.clom_alphas)
        require_architectures(config, pool.specs)
        options = {"real_batch": config.clom_real_batch} if config.clom_real_batch else {}
        augmentation = augment.parse_strategy(config.clom_augment)
        self.distance = DISTANCES[config.clom](pool, data, augmentation, config.clom_batch, **options)

    def __getattr__(self, hook: str) -> Any:
        """The objective's own; so a hook that a guide doesn't know isn't lost."""
        return getattr(object.__getattribute__(self, "objective"), hook)

    def losses(self, step: Step) -> Iterator[Losses]:
        """The objective's losses, each with α · CLoM of the pool."""
        for inner, losses in enumerate(self.objective.losses(step)):
            term = self.term(step, inner)
            yield self.balanced(step, losses, term) if self.alpha == "auto" else losses | {"clom": term}

    def term(self, step: Step, inner: int) -> Tensor:
        """This rank's share of α · CLoM; of CLoM alone where α is 'auto'."""
        if self.pooling == "mean-logits":
            return self.weight(step) * self.distance(step, inner, dict(enumerate(self.pool)))
        shares = self.pool.shares()
        if self.pooling == "random":
            first = step.index * 1_000  # the name of an iteration's first draw since there are guides
            shares = {self.pool.draw(step.seed, first, *([inner] if inner else [])): 1.0}
        terms = [
            share * self.weight(step, index) * self.distance(step, inner, {index: self.pool[index]})
            for index, share in shares.items()
        ]
        return torch.stack(terms).sum()

    def weight(self, step: Step, index: int | None = None) -> float:
        """α of a teacher, or of all: the weight of the mean over the set, 1 where it is 'auto'."""
        if self.alpha == "auto":
            return 1.0
        alpha = self.alpha if index is None else self.alphas.get(self.pool.specs[index].architecture, self.alpha)
        alpha *= self.faded(step)
        return alpha * len(step.synthetic.image_labels()) if self.per_image else alpha

    def faded(self, step: Step) -> float:
        """What is left of α in an iteration, in (0, 1]."""
        return self.fade(step.index / self.iterations)

    def balanced(self, step: Step, losses: Losses, term: Tensor) -> Losses:
        """The terms with α set by their gradients: the same values, and one carrier of the gradient that was computed.

        The carrier is worth zero, and its gradient is this rank's share of objective + α · CLoM: neither backward pass
        is run again.
        """
        images = [parameter for parameter in step.synthetic.parameters() if parameter.requires_grad]
        learned = [*images, *(learnable.parameter for learnable in self.learnables().values())]
        own = gradients(sum(losses.values(), start=step.zero()), learned)
        guide = gradients(term, learned)
        for index, of_term in enumerate((own, guide) if self.takes_step() else ()):
            known = [or_zeros(*each) for each in zip(of_term, images, strict=False)]  # without those of learnables
            squares = [step.sum_over_ranks(gradient).square().sum() for gradient in known]
            self.largest[index] = torch.maximum(self.largest[index], torch.stack(squares).sum().sqrt())
        alpha = self.faded(step) * self.balance_of_terms()
        carrier = step.zero()
        for parameter, first, second in zip(learned, own, guide, strict=True):
            if first is not None or second is not None:  # else it would take a step by its momentum alone
                both = or_zeros(first, parameter) + alpha * or_zeros(second, parameter)
                carrier = carrier + zero_with_gradient(parameter, both)
        values = {name: value.detach() for name, value in losses.items()}
        return values | {"clom": (alpha * term).detach() + carrier}

    def balance_of_terms(self) -> Tensor:
        """α where it is 'auto', by the largest norms so far."""
        return self.balance * self.largest[0] / self.largest[1].clamp_min(torch.finfo(self.largest.dtype).tiny)

    def outcome(self) -> dict[str, Any]:
        """The objective's, and where α is 'auto' what it came to: that of the last step, by the largest norms of all.

        Not given where a term never had a gradient.
        """
        found = self.objective.outcome()
        if self.alpha != "auto":
            return found
        alpha = float(self.balance_of_terms())
        return found | ({"clom_alpha": alpha} if 0 < alpha < LARGEST_ALPHA else {})

    def buffers(self) -> dict[str, Tensor]:
        """The objective's, and where α is 'auto' the largest norms of both gradients."""
        own = {"clom_largest_norms": self.largest} if self.alpha == "auto" else {}
        return self.objective.buffers() | own


def require_architectures(config: DistillConfig, specs: Sequence[TeacherSpec]) -> None:
    """Raise ConfigError where weights are given of architectures that no teacher has."""
    architectures = {spec.architecture for spec in specs}
    if unknown := sorted(parse_key_values(config.clom_alphas).keys() - architectures):
        known = ", ".join(sorted(architectures))
        raise ConfigError(f"--clom_alphas names {', '.join(unknown)}, but the pool's teachers are {known}.")


def gradients(loss: Tensor, parameters: Sequence[Tensor]) -> Sequence[Tensor | None]:
    """Of a scalar, in each parameter; None where it doesn't depend on one."""
    return torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True)


def or_zeros(gradient: Tensor | None, parameter: Tensor) -> Tensor:
    """A parameter's gradient."""
    return torch.zeros_like(parameter) if gradient is None else gradient
