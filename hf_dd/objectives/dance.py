"""DANCE (Zhang et al., IJCAI 2024): distribution matching between a teacher's epochs, and a calibration step."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from hf_dd.config import DistillConfig
from hf_dd.config.base import option
from hf_dd.core.registry import OBJECTIVES
from hf_dd.core.strategies import parse_strategy
from hf_dd.data.image_data import ImageData
from hf_dd.objectives.base import Losses, Step
from hf_dd.objectives.clom import ClassificationDistance
from hf_dd.objectives.dm import DistributionMatching
from hf_dd.objectives.published import Published
from hf_dd.teachers.pool import TeacherPool

CALIBRATION = -1  # instead of the number of a guided step: its augmentation is drawn apart from CLoM's


@dataclass(frozen=True)
class DanceOptions:
    """What DANCE has of its own."""

    calibration: float = option(
        1.0,
        "weight of the teacher's mean cross-entropy of a class's images, summed over the classes, in a step of its "
        "own; 0 for no such step.",
        at_least=0,
    )
    calibration_every: int = option(1, "iterations from one calibration step to the next.", at_least=1)


@OBJECTIVES.register(
    "dance",
    title="distribution matching between a teacher's epochs (DANCE)",
    paper="Zhang et al., IJCAI 2024",
    work="DANCE: dual-view distribution alignment for dataset condensation",
    authors="Zhang, Hansong and Li, Shikun and Lin, Fanzhao and Wang, Weiping and Qian, Zhenxing and Ge, Shiming",
    arxiv="2406.01063",
    draws=True,
    needs="teachers of --architecture that kept an earlier epoch",
    teachers="One teacher was drawn per iteration, of whose cross-entropy on the images a step of its own is taken",
)
class Dance(DistributionMatching):
    """Match class means of features, then lower a teacher's cross-entropy; per iteration with one teacher of the pool

        loss = Σ_c ‖ mean ψ(A(T_c)) − mean ψ(A(S_c)) ‖²,   then   loss = C · CLoM ce(A'(S)) of that teacher alone

    with ψ the flattened features of a network between two epochs of the teacher (`--networks`), A one composite
    augmentation per class and A' one per image. Pixels are clipped to the valid range before each iteration.

    The formulas are those of the authors' code. They take a step for each class, by SGD with momentum 0.5. From ten
    classes on that is one step on the sum over classes at twice the rate without momentum, which is what the published
    values say; the rate is that of pixels in [0, 1]. The authors store four images in each (`--factor 2`), and take
    five teachers of 60 epochs.
    """

    name: ClassVar[str] = "dance"
    published = Published(
        iterations=10_000,
        real_batch_size=128,
        image_learning_rate=0.02,
        image_momentum=0.0,
        image_optimizer="sgd",
        image_schedule="constant",
        strategy="composite_color_crop_cutout",
        networks="between",
        rate_per_ipc=True,
        unit_pixels=True,
    )
    Options = DanceOptions
    whitens = False  # its pixels are of [0, 1]
    uses_teachers = True
    reads_logits = True

    def __init__(self, config: DistillConfig, data: ImageData, pool: TeacherPool | None = None):
        super().__init__(config, data, pool)
        self.pool = pool.to(data.device, self.network.classifier.weight.dtype)
        self.cross_entropy = ClassificationDistance(pool, data, parse_strategy(self.settings["augment"]))

    def losses(self, step: Step) -> Iterator[Losses]:
        """Yield the matching loss, then that of the calibration step where there is one."""
        step.synthetic.clip()
        index = self.drawn.draw(step)
        index = self.pool.draw(step.seed, "network", step.index) if index is None else index
        yield {self.name: self.matching_loss(step)}
        if self.options.calibration and step.index % self.options.calibration_every == 0:
            mean = self.cross_entropy(step, CALIBRATION, {index: self.pool[index]})
            yield {"calibration": self.options.calibration * step.data.num_classes * mean}
