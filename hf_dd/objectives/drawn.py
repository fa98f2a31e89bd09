"""The networks that an objective draws: fresh ones, teachers, or parameters between two epochs of a teacher."""

import torch

from hf_dd.config import DistillConfig
from hf_dd.data.image_data import ImageData
from hf_dd.errors import TeacherError
from hf_dd.nn.networks import Network
from hf_dd.objectives.base import Step
from hf_dd.objectives.published import Published
from hf_dd.teachers.experts import require_same
from hf_dd.teachers.pool import TeacherPool
from hf_dd.teachers.teacher import Teacher

STATISTICS_TOLERANCE = 1e-2  # of a channel's mean and std: those of a part of the training images are as good


class DrawnNetwork:
    """Gives a network the parameters of an iteration, in place, the same on every rank: by `--networks`

    - 'random': as a fresh construction has them;
    - 'teachers': those of a teacher, drawn from the pool as a guide draws, by a draw of its own;
    - 'between': θ = l·θ_start + (1 − l)·θ_teacher with l ~ U(0, 1), where θ_start is an earlier epoch of the teacher's
      run (DANCE, IJCAI 2024, and NCFM, CVPR 2025: l over all parameters alike).

    Buffers are never a teacher's: a BatchNorm network has the statistics of the batches that it sees, as a fresh one.

    Args:
        network: that the objective uses, of `--architecture`.
        config: the options.
        data: the data set.
        pool: the teachers; moved to the data's device.
        published: of the objective.

    Raises TeacherError where a teacher is another network, of other classes or other statistics than the run's, or has
    no earlier epoch.
    """

    def __init__(
        self, network: Network, config: DistillConfig, data: ImageData, pool: TeacherPool | None, published: Published
    ):
        self.network, self.pool = network, pool
        self.kind = published.drawn(config) or "random"
        if self.kind == "random":
            return
        kinds = sorted({spec.architecture for spec in pool.specs})
        if len(kinds) > 1:
            raise TeacherError(
                f"The teachers are {', '.join(kinds)}, and --networks {self.kind} draws networks of one architecture: "
                f"name only those of {network.config['architecture']}, or of another by --architecture."
            )
        place = data.device, getattr(torch, config.dtype)
        pools = [pool.to(*place)]
        if self.kind == "between":
            self.starts = pool.begin_at(config.networks_from).to(*place)
            pools.append(self.starts)
        for teachers in pools:
            for teacher in teachers:
                require_drawable(teacher, network, data)

    def draw(self, step: Step) -> int | None:
        """Set the parameters of an iteration; returns the index of the teacher, if there is one."""
        if self.kind == "random":
            self.network.reinitialise(step.seed, "student", step.index)
            return None
        index = self.pool.draw(step.seed, "network", step.index)
        with torch.no_grad():
            pairs = zip(self.network.parameters(), self.pool[index].network.parameters(), strict=True)
            for own, end in pairs:
                own.copy_(end)
            if self.kind == "between":
                share = torch.rand((), generator=step.generator("between"), dtype=torch.float64).item()
                starts = self.starts[index].network.parameters()
                for own, start in zip(self.network.parameters(), starts, strict=True):
                    own.mul_(1 - share).add_(start, alpha=share)
        return index


def require_drawable(teacher: Teacher, network: Network, data: ImageData) -> None:
    """Raise TeacherError unless a teacher is the same kind of network, trained on images and classes like these."""
    name = f"Teacher {teacher.spec}"
    if not isinstance(teacher.network, Network):
        raise TeacherError(
            f"{name} is a network of {teacher.spec.library}: --networks takes teachers of hf-dd, of --architecture."
        )
    if teacher.head is not None:  # its own classifier is of other classes
        raise TeacherError(
            f"{name} was trained on other classes than those of {data.name}, and the head that --fit_head gives it is "
            "no part of the network that --networks draws. Take teachers that were trained on this data set."
        )
    statistics = {key: getattr(teacher.transform, key) for key in ("mean", "std")}
    found = teacher.network.config | {"class_names": teacher.class_names} | statistics
    require_same(name, found, network, data, STATISTICS_TOLERANCE)
