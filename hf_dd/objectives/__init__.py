"""Distillation methods, one file per family: each registers itself in `core.registry.OBJECTIVES`."""

from hf_dd.config import DistillConfig
from hf_dd.core.registry import OBJECTIVES
from hf_dd.data.image_data import ImageData
from hf_dd.objectives.base import Learnable, Losses, Objective, Ownership, Step, student
from hf_dd.objectives.clom import Guided
from hf_dd.objectives.drawn import DrawnNetwork
from hf_dd.objectives.published import Published
from hf_dd.teachers.experts import ExpertPool
from hf_dd.teachers.pool import TeacherPool

__all__ = [
    "OBJECTIVES",
    "DrawnNetwork",
    "Learnable",
    "Losses",
    "Objective",
    "Ownership",
    "Published",
    "Step",
    "build_objective",
    "student",
]


def build_objective(
    config: DistillConfig, data: ImageData, pool: TeacherPool | None, experts: ExpertPool | None = None
) -> Objective | Guided:
    """The objective that the options name, guided by the pool where the options want a guide."""
    objective = OBJECTIVES.find(config.objective)
    trajectories = {"experts": experts} if objective.uses_experts else {}
    objective = objective(config, data, pool, **trajectories)
    return Guided(objective, config, pool, data) if config.guided else objective
