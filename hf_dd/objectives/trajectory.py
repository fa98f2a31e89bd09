"""Trajectory matching: MTT (Cazenavette et al., CVPR 2022) and its constant-memory form TESLA (Cui et al., ICML 2023).

A student starts from an expert's parameters θ*_t, takes N steps of SGD on S, and shall arrive where the expert is M
epochs of the real data later:

    θ_0 = θ*_t,   θ_{i+1} = θ_i − a·g_i,   g_i = ∇_θ CE(S_i; θ_i),   loss = ‖θ_N − θ*_{t+M}‖² / ‖θ*_t − θ*_{t+M}‖²

with t ~ U{0, …, T⁺ − 1} and a step size a that is learned with S.
"""

import dataclasses
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from hf_dd.config import DistillConfig
from hf_dd.config.base import option
from hf_dd.core.registry import OBJECTIVES, STARTS
from hf_dd.core.seeding import generator
from hf_dd.core.strategies import parse_strategy
from hf_dd.data.batches import by_chunks
from hf_dd.data.image_data import ImageData
from hf_dd.errors import ConfigError
from hf_dd.nn import augment
from hf_dd.objectives import cells
from hf_dd.objectives.base import Learnable, Losses, Objective, Step, options_of, student, zero_with_gradient
from hf_dd.objectives.published import SGD, Published
from hf_dd.synthetic.synthetic_set import SyntheticSet
from hf_dd.teachers.experts import ExpertPool, Parameters
from hf_dd.teachers.pool import TeacherPool

logger = logging.getLogger(__name__)

SMALLEST_RATE = 1e-6  # that a may fall to: below zero it would be no learning rate


@dataclass(frozen=True)
class TrajectoryOptions:
    """The options of trajectory matching."""

    student_steps: int = option(20, "N, steps of the student on S.", at_least=1)
    expert_epochs: int = option(3, "M, epochs of the expert that they shall replace.", at_least=1)
    max_start_epoch: int = option(25, "T⁺; the student starts from an epoch before it.", at_least=1)
    student_batch_size: int = option(
        0,
        "training images in a step of the student, every one of S once before any comes again; 0 for all of S.",
        at_least=0,
    )
    student_learning_rate: float = option(0.01, "what a starts from.", at_least=SMALLEST_RATE)
    lr_lr: float = option(1e-5, "the learning rate of a.", at_least=0)
    augment_by: str = option(
        "image",
        "whether each 'image' of a batch is augmented by an operation of its own, or all of a 'batch' by the same, as "
        "in the papers' code.",
        choices=("image", "batch"),
    )


@OBJECTIVES.register(
    "mtt",
    title="trajectory matching (MTT)",
    paper="Cazenavette et al., CVPR 2022",
    work="Dataset distillation by matching training trajectories",
    authors="Cazenavette, George and Wang, Tongzhou and Torralba, Antonio and Efros, Alexei A. and Zhu, Jun-Yan",
    arxiv="2203.11932",
    draws=True,
    needs="--experts: teachers' repositories, whose tags epoch-0, epoch-1, … are trajectories",
)
class TrajectoryMatching(Objective):
    """MTT: the loss is differentiated through all N steps of the student, whose graph memory holds at once.

    It is the paper's algorithm 1. S_i is augmented with one independent draw per image, as the experts' own images
    were (see `augment_by`). Where the experts didn't keep epoch 0, t starts at the earliest epoch that all of them
    have. Every rank computes the whole loss and yields its equal share, as each step needs all classes.
    """

    name: ClassVar[str] = "mtt"
    least_start: int = 0  # T⁻
    published = Published(iterations=5_000, image_learning_rate=1_000.0, **SGD, cells=cells.MTT)
    Options = TrajectoryOptions
    uses_experts = True

    def __init__(
        self,
        config: DistillConfig,
        data: ImageData,
        pool: TeacherPool | None = None,
        experts: ExpertPool | None = None,
    ):
        super().__init__(config, data, pool)
        self.seed, self.iterations = config.seed, self.settings["iterations"]
        if config.compile:
            raise ConfigError(
                f"--compile doesn't work with --objective {self.name}: a compiled network can't be differentiated "
                "twice. Leave it out."
            )
        self.strategy = parse_strategy(self.settings["augment"])
        self.network = student(config, data).requires_grad_(False).train()
        self.experts = experts
        first = experts.first_epoch()
        self.starts = range(max(first, self.least_start), self.options.max_start_epoch)
        if not self.starts:
            raise ConfigError(
                f"--objective_options max_start_epoch={self.options.max_start_epoch}: the earliest epoch that the "
                f"experts have in common is {first}, and a student has to start before max_start_epoch."
            )
        if first > self.least_start:
            logger.warning(
                "The experts didn't keep epoch %d: students start from epoch %d on.", self.least_start, first
            )
        epochs = {epoch + after for epoch in self.starts for after in (0, self.options.expert_epochs)}
        if self.asks_last_epoch:
            epochs.add(experts.last_epoch())
        if (self.asks_last_epoch or self.makes_labels(config)) and self.network.has_batch_norm:
            raise ConfigError(
                f"--architecture {config.architecture}: this run asks experts about images, and they would answer by "
                "BatchNorm statistics, which trajectories don't keep. Choose a network without."
            )
        experts.prepare(self.network, data, epochs)
        rate = torch.full((), self.options.student_learning_rate, dtype=getattr(torch, config.dtype))
        self.rate = nn.Parameter(rate.to(data.device))

    @property
    def asks_last_epoch(self) -> bool:
        """Whether a run looks at what experts are in the end: where its images start by that."""
        return bool(STARTS.said(self.settings["init"], "experts"))

    def learnables(self) -> dict[str, Learnable]:
        """The step size a."""
        return {"student_learning_rate": Learnable(self.rate, self.options.lr_lr)}

    def outcome(self) -> dict[str, Any]:
        """The learned a: what the set's students shall take as their learning rate."""
        return {"learning_rate": float(self.rate.detach())}

    def losses(self, step: Step) -> Iterator[Losses]:
        """Yield one loss, this rank's equal share."""
        yield {self.name: self.matching_loss(step, *self.segment(step)) / step.all_ranks}
        with torch.no_grad():
            self.rate.clamp_(min=SMALLEST_RATE)

    def segment(self, step: Step) -> tuple[Parameters, Parameters]:
        """θ*_t and θ*_{t+M} of one expert, both drawn uniformly."""
        return self.segment_of(step.index, step.seed)

    def segment_of(self, index: int, seed: int) -> tuple[Parameters, Parameters]:
        """That of an iteration."""
        draws = generator(seed, "expert", index)
        expert = int(torch.randint(len(self.experts), (), generator=draws))
        starts = self.starts_at(index)
        epoch = starts[int(torch.randint(len(starts), (), generator=draws))]
        return (
            self.experts.parameters(expert, epoch),
            self.experts.parameters(expert, epoch + self.options.expert_epochs),
        )

    def starts_at(self, index: int) -> range:
        """The epochs that the student of an iteration may start from."""
        return self.starts

    def labels(self, step: Step, target: Parameters) -> Tensor:
        """What the logits of all training images are compared with: their classes, or probabilities."""
        return step.synthetic.image_labels()

    def matching_loss(self, step: Step, start: Parameters, target: Parameters) -> Tensor:
        """The loss, with a graph to the pixels and to a."""
        images, labels = step.synthetic.images(), self.labels(step, target)
        parameters = leaves(start)
        for number, rows in enumerate(self.batches(step, len(images))):
            gradients = self.gradients(step, number, parameters, images[rows], labels[rows], create_graph=True)
            parameters = moved(parameters, self.rate, gradients)
        return squared_norm(difference(parameters, target)) / squared_norm(difference(start, target))

    def batches(self, step: Step, count: int) -> Iterator[Tensor]:
        """Indices of the images of each of the student's steps, int64, among `count`."""
        size = self.options.student_batch_size
        if not 0 < size < count:
            yield from [torch.arange(count)] * self.options.student_steps
            return
        remaining: list[Tensor] = []
        for number in range(self.options.student_steps):
            if not remaining:
                remaining = list(torch.randperm(count, generator=step.generator("student-batch", number)).split(size))
            yield remaining.pop(0)

    def gradients(
        self, step: Step, number: int, parameters: Parameters, images: Tensor, labels: Tensor, *, create_graph: bool
    ) -> list[Tensor]:
        """g_i, in the order of the parameters; with `create_graph` differentiable in the images and the parameters."""
        draws = augment.draw(len(images), self.strategy, step.generator("augment", number))
        if self.options.augment_by == "batch":
            draws = augment.by_one_operation(draws)
        with step.autocast():
            logits = functional_call(self.network, parameters, (augment.apply(images, draws),))
        loss = F.cross_entropy(logits.to(images.dtype), labels)
        return list(torch.autograd.grad(loss, list(parameters.values()), create_graph=create_graph))


@dataclass(frozen=True)
class ConstantMemoryOptions(TrajectoryOptions):
    """The options of TESLA."""

    pixel_gradient: str = option(
        "formula",
        "whether the pixels' gradient is that of the paper's formula, or half of it, as in the authors' 'code', to "
        "which their rates belong.",
        choices=("formula", "code"),
    )
    labels: str = option(
        "hard",
        "what the student learns the images as: 'hard' labels, or what an 'expert' says of them, as for the authors' "
        "ImageNet-1k: in each iteration the one that is followed, at its target; the set keeps the last one's words.",
        choices=("hard", "expert"),
    )


@OBJECTIVES.register(
    "tesla",
    title="trajectory matching in constant memory (TESLA)",
    paper="Cui et al., ICML 2023",
    work="Scaling up dataset distillation to ImageNet-1K with constant memory",
    authors="Cui, Justin and Wang, Ruochen and Si, Si and Hsieh, Cho-Jui",
    arxiv="2211.10586",
    draws=True,
    needs="--experts: teachers' repositories, whose tags epoch-0, epoch-1, … are trajectories",
)
class ConstantMemoryTrajectoryMatching(TrajectoryMatching):
    """TESLA: MTT's loss, and gradients whose memory doesn't depend on N.

    With G = Σ_i g_i and d = θ*_t − θ*_{t+M}, θ_N = θ*_t − aG, so that loss = ‖d − aG‖² / ‖d‖². Each g_i is taken as a
    function of its own batch alone, not of the steps before it:

        ∇ for S_i = (2a / ‖d‖²) ∇_{S_i}[(aG − d)·g_i],   ∇ for a = (2 / ‖d‖²) (aG − d)·G

    (the paper's section 4; its code leaves out the first factor 2, see `pixel_gradient`). A first walk of the student
    gives G, a second one with the same draws the gradients of one step at a time. They aren't MTT's: what a step does
    to the later ones' gradients is left out.
    """

    name: ClassVar[str] = "tesla"
    published = dataclasses.replace(TrajectoryMatching.published, iterations=10_000, cells=cells.TESLA)
    Options = ConstantMemoryOptions

    @property
    def pixel_weight(self) -> float:
        """What the formula's gradient of the pixels is multiplied by."""
        return 0.5 if self.options.pixel_gradient == "code" else 1.0

    @classmethod
    def makes_labels(cls, config: DistillConfig) -> bool:
        """Where an expert says them."""
        return options_of(cls, config).labels == "expert"

    def labels(self, step: Step, target: Parameters) -> Tensor:
        """As of all trajectory matching, or probabilities by the expert at its target."""
        if self.options.labels == "hard":
            return super().labels(step, target)
        with step.autocast():
            return self.said(step.synthetic.images(), target)

    @torch.no_grad()
    def said(self, images: Tensor, parameters: Parameters) -> Tensor:
        """Probabilities of images as they are, by the network in eval mode."""
        self.network.eval()
        logits = by_chunks(lambda part: functional_call(self.network, parameters, (part,)), images)
        self.network.train()
        return F.softmax(logits.to(images.dtype), dim=1)

    def soft_labels(self, synthetic: SyntheticSet) -> Tensor | None:
        """What the last iteration's expert says of the finished images."""
        if self.options.labels == "hard":
            return None
        _, target = self.segment_of(self.iterations - 1, self.seed)
        return self.said(synthetic.images(), target)

    def matching_loss(self, step: Step, start: Parameters, target: Parameters) -> Tensor:
        """The loss; its gradients are computed here, and given to the pixels and to a by terms whose value is zero."""
        images, rate, distance = step.synthetic.images(), self.rate.detach(), difference(start, target)
        labels = self.labels(step, target)
        total = [torch.zeros_like(value) for value in distance]
        for _, _, gradients in self.walk(step, start, [images, labels], differentiable=False):
            total = [so_far + gradient for so_far, gradient in zip(total, gradients, strict=True)]
        residual = [rate * gradient - far for gradient, far in zip(total, distance, strict=True)]
        scale = 2 / squared_norm(distance)
        learned = [each for each in (images, labels) if each.requires_grad]
        found = [torch.zeros_like(each) for each in learned]
        for rows, batches, gradients in self.walk(step, start, [images, labels], differentiable=True):
            inputs = [batch for batch in batches if batch.requires_grad]
            of_batches = torch.autograd.grad(dot(residual, gradients), inputs)
            for total_of, of_batch in zip(found, of_batches, strict=True):
                total_of[rows] += scale * rate * of_batch
        found[0] *= self.pixel_weight
        value = squared_norm(residual) / squared_norm(distance)
        of_rate = scale * dot(residual, total)
        terms = [zero_with_gradient(each, gradient) for each, gradient in zip(learned, found, strict=True)]
        return value + sum(terms) + zero_with_gradient(self.rate, of_rate)

    def walk(
        self, step: Step, start: Parameters, inputs: Sequence[Tensor], *, differentiable: bool
    ) -> Iterator[tuple[Tensor, list[Tensor], list[Tensor]]]:
        """Each of the student's steps: the rows of its batch, the batch of images and of labels, and g_i.

        With `differentiable` g_i is, in those batches of `inputs` that the loss is to be differentiated by.
        """
        parameters = leaves(start)
        for number, rows in enumerate(self.batches(step, len(inputs[0]))):
            batches = [each.detach()[rows].requires_grad_(differentiable and each.requires_grad) for each in inputs]
            gradients = self.gradients(step, number, parameters, *batches, create_graph=differentiable)
            yield rows, batches, gradients
            parameters = leaves(moved(parameters, self.rate.detach(), [gradient.detach() for gradient in gradients]))


def leaves(parameters: Parameters) -> Parameters:
    """The same values, without their history, to be differentiated by."""
    return {name: value.detach().requires_grad_() for name, value in parameters.items()}


def moved(parameters: Parameters, rate: Tensor, gradients: Iterable[Tensor]) -> Parameters:
    """One step of SGD."""
    pairs = zip(parameters.items(), gradients, strict=True)
    return {name: value - rate * gradient for (name, value), gradient in pairs}


def difference(parameters: Parameters, others: Parameters) -> list[Tensor]:
    """Parameters − others, in the order of the first."""
    return [value - others[name] for name, value in parameters.items()]


def dot(left: Iterable[Tensor], right: Iterable[Tensor]) -> Tensor:
    """The scalar product of two lists of tensors, taken as one vector each."""
    return torch.stack([(a * b).sum() for a, b in zip(left, right, strict=True)]).sum()


def squared_norm(tensors: list[Tensor]) -> Tensor:
    """‖·‖² of a list of tensors, taken as one vector."""
    return dot(tensors, tensors)
