"""A method of your own in one file: copy it, and change what `losses` yields.

    cd scripts && hf-dd distill --objective my_objective:MyObjective --dataset digits --ipc 1

hf-dd looks for the module in the working directory, after everything that is installed. A package makes it known by a
name of its own with an entry point of the group `hf_dd.objectives`; networks, starts, adapters and protocols likewise.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from hf_dd.config import DistillConfig
from hf_dd.config.base import option
from hf_dd.core.registry import OBJECTIVES
from hf_dd.data.image_data import ImageData
from hf_dd.objectives import Losses, Objective, Published, Step, student
from hf_dd.teachers.pool import TeacherPool


@dataclass(frozen=True)
class MyOptions:
    """What the method alone has: `--objective_options spread=0.5`."""

    spread: float = option(1.0, "weight of the variances beside the means.", at_least=0)


@OBJECTIVES.register("my-objective", title="matching of the means and variances of features")  # what a card says of it
class MyObjective(Objective):
    """Match mean and variance of each class's features, as a freshly drawn network of `--architecture` has them."""

    published = Published(  # used where an option isn't given; None for what the method hasn't got
        iterations=200,
        real_batch_size=64,
        image_learning_rate=1.0,
        image_momentum=0.5,
        image_optimizer="sgd",
        image_schedule="constant",
        init="real",
        augments=False,
    )
    Options = MyOptions

    def __init__(self, config: DistillConfig, data: ImageData, pool: TeacherPool | None = None):
        super().__init__(config, data, pool)
        self.batch_size = self.settings["real_batch_size"]
        self.network = student(config, data).requires_grad_(False)

    def losses(self, step: Step) -> Iterator[Losses]:
        """Yield one loss, which is one step of the optimiser; more of them would be as many steps."""
        self.network.reinitialise(step.seed, "student", step.index)  # every draw has a name: runs can be repeated
        loss = step.zero()
        for label in step.own.classes:  # those of this process
            rows = step.data.sample_class(label, self.batch_size, step.generator("real", label))
            real = step.data.normalise(step.data.train.images[rows].to(step.synthetic.pixels.dtype) / 255)
            synthetic = step.synthetic.images(step.synthetic.rows([label]))
            with step.autocast():
                theirs = self.network.features(real).to(real.dtype)
                ours = self.network.features(synthetic).to(real.dtype)
            means = ours.mean(0) - theirs.mean(0)
            variances = ours.var(0, correction=0) - theirs.var(0, correction=0)
            loss = loss + means.square().sum() + self.options.spread * variances.square().sum()
        yield {"moments": loss / step.own.parts}  # where several processes share a class, each has its part
