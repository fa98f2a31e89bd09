"""The registry of objectives: one line per method, one file per family."""

from hf_dd.config import DistillConfig
from hf_dd.data.image_data import ImageData
from hf_dd.errors import ConfigError, nearest_first
from hf_dd.objectives.base import Learnable, Losses, Objective, Ownership, Published, Step
from hf_dd.objectives.clom import GuideAlone, Guided
from hf_dd.objectives.coresets import Herding, KCenter, RandomImages, RealisticPatches, TeacherScore
from hf_dd.objectives.dm import DistributionMatching
from hf_dd.objectives.gradient import GradientMatching, SiameseGradientMatching
from hf_dd.objectives.lgm import LinearGradientMatching
from hf_dd.objectives.sre2l import Recovery
from hf_dd.objectives.trajectory import ConstantMemoryTrajectoryMatching, TrajectoryMatching
from hf_dd.teachers.experts import ExpertPool
from hf_dd.teachers.pool import TeacherPool

OBJECTIVES: dict[str, type[Objective]] = {
    "dm": DistributionMatching,
    "dc": GradientMatching,
    "dsa": SiameseGradientMatching,
    "clom": GuideAlone,
    "mtt": TrajectoryMatching,
    "tesla": ConstantMemoryTrajectoryMatching,
    "sre2l": Recovery,
    "rded": RealisticPatches,
    "lgm": LinearGradientMatching,
    "teacher-score": TeacherScore,
    "random": RandomImages,
    "herding": Herding,
    "kcenter": KCenter,
}

__all__ = [
    "OBJECTIVES",
    "Learnable",
    "Losses",
    "Objective",
    "Ownership",
    "Published",
    "Step",
    "build_objective",
    "find_objective",
]


def find_objective(name: str) -> type[Objective]:
    """The objective of this name; raises ConfigError with the known ones, the nearest first."""
    if name not in OBJECTIVES:
        known = ", ".join(nearest_first(name, OBJECTIVES))
        raise ConfigError(f"--objective {name} isn't known; known are: {known}.")
    return OBJECTIVES[name]


def build_objective(
    config: DistillConfig, data: ImageData, pool: TeacherPool | None, experts: ExpertPool | None = None
) -> Objective:
    """The objective that the options name, guided by the pool where the options want a guide."""
    objective = find_objective(config.objective)
    trajectories = {"experts": experts} if objective.uses_experts else {}
    objective = objective(config, data, pool, **trajectories)
    return objective if config.clom == "none" else Guided(objective, config, pool, data)
