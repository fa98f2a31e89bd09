"""Every option of hf_dd, as dataclasses: names, defaults, help. Values are judged on construction; no torch here.

Names follow transformers' `TrainingArguments` where it has the option, and the field's papers elsewhere.
"""

from hf_dd.config.base import as_dict, option, parse_key_values, slug, spelt
from hf_dd.config.data import DataConfig, RunConfig
from hf_dd.config.distillation import DistillConfig, StudyConfig
from hf_dd.config.evaluation import BASELINES, SCORES, EvaluateConfig, EvaluationConfig
from hf_dd.config.importing import ImportConfig
from hf_dd.config.in_memory import IN_MEMORY, InMemory
from hf_dd.config.selection import SelectConfig
from hf_dd.config.teachers import PretrainConfig, TeacherConfig

__all__ = [
    "as_dict",
    "option",
    "parse_key_values",
    "slug",
    "spelt",
    "IN_MEMORY",
    "InMemory",
    "DataConfig",
    "RunConfig",
    "PretrainConfig",
    "TeacherConfig",
    "BASELINES",
    "EvaluateConfig",
    "EvaluationConfig",
    "SCORES",
    "DistillConfig",
    "StudyConfig",
    "SelectConfig",
    "ImportConfig",
]
