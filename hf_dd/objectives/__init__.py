"""The registry of objectives: one line per method, one file per family."""

from hf_dd.config import DistillConfig
from hf_dd.data import ImageData
from hf_dd.errors import ConfigError, nearest_first
from hf_dd.objectives.base import Losses, Objective, Ownership, Published, Step
from hf_dd.objectives.clom import GuideAlone, Guided
from hf_dd.objectives.distribution import DistributionMatching
from hf_dd.teachers import TeacherPool

OBJECTIVES: dict[str, type[Objective]] = {
    "dm": DistributionMatching,
    "clom": GuideAlone,
}

__all__ = ["OBJECTIVES", "Losses", "Objective", "Ownership", "Published", "Step", "build_objective", "find_objective"]


def find_objective(name: str) -> type[Objective]:
    """The objective of this name; raises ConfigError with the known ones, the nearest first."""
    if name not in OBJECTIVES:
        known = ", ".join(nearest_first(name, OBJECTIVES))
        raise ConfigError(f"--objective {name} isn't known; known are: {known}.")
    return OBJECTIVES[name]


def build_objective(config: DistillConfig, data: ImageData, pool: TeacherPool | None) -> Objective:
    """The objective that the options name, guided by the pool where there is one."""
    objective = find_objective(config.objective)(config, data)
    return objective if pool is None else Guided(objective, config, pool, data)
