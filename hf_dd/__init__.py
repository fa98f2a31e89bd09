"""hf_dd: dataset distillation guided by pre-trained models, on the Hugging Face Hub.

The public names load what they need on first use: importing the package imports neither torch nor datasets.
"""

import importlib
from typing import TYPE_CHECKING, Any

from hf_dd.version import __version__ as __version__

if TYPE_CHECKING:
    from hf_dd.artefacts.distilled_folder import Artefact as Artefact
    from hf_dd.artefacts.distilled_folder import load_distilled as load_distilled
    from hf_dd.artefacts.distilled_folder import push as push
    from hf_dd.config import DistillConfig as DistillConfig
    from hf_dd.config import EvaluateConfig as EvaluateConfig
    from hf_dd.config import ImportConfig as ImportConfig
    from hf_dd.config import PretrainConfig as PretrainConfig
    from hf_dd.data.image_data import load_data as load_data
    from hf_dd.errors import HfDdError as HfDdError
    from hf_dd.runs.distill import distill as distill
    from hf_dd.runs.evaluate import compare as compare
    from hf_dd.runs.evaluate import evaluate as evaluate
    from hf_dd.runs.import_set import import_set as import_set
    from hf_dd.runs.pools import create_pool as create_pool
    from hf_dd.runs.pretrain import pretrain as pretrain
    from hf_dd.studies.reproduction import reproduce as reproduce
    from hf_dd.teachers.pool import TeacherPool as TeacherPool
    from hf_dd.teachers.query import TeacherQuery as TeacherQuery
    from hf_dd.teachers.teacher import Teacher as Teacher

PUBLIC = {
    "artefacts.distilled_folder": ("Artefact", "load_distilled", "push"),
    "config": ("DistillConfig", "EvaluateConfig", "ImportConfig", "PretrainConfig"),
    "data.image_data": ("load_data",),
    "errors": ("HfDdError",),
    "runs.distill": ("distill",),
    "runs.evaluate": ("compare", "evaluate"),
    "runs.import_set": ("import_set",),
    "runs.pools": ("create_pool",),
    "runs.pretrain": ("pretrain",),
    "studies.reproduction": ("reproduce",),
    "teachers.pool": ("TeacherPool",),
    "teachers.query": ("TeacherQuery",),
    "teachers.teacher": ("Teacher",),
}
MODULE_OF = {name: module for module, names in PUBLIC.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in MODULE_OF:
        raise AttributeError(f"module 'hf_dd' has no attribute {name!r}")
    return getattr(importlib.import_module(f"hf_dd.{MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*MODULE_OF, "__version__"])
