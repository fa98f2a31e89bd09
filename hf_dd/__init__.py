"""hf_dd: dataset distillation guided by pre-trained models, on the Hugging Face Hub.

The public names load what they need on first use: importing the package imports neither torch nor datasets.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from hf_dd.config import DistillConfig as DistillConfig
    from hf_dd.config import EvaluateConfig as EvaluateConfig
    from hf_dd.config import ImportConfig as ImportConfig
    from hf_dd.config import PretrainConfig as PretrainConfig
    from hf_dd.data import load_data as load_data
    from hf_dd.errors import HfDdError as HfDdError
    from hf_dd.pool_runs import create_pool as create_pool
    from hf_dd.pools import TeacherPool as TeacherPool
    from hf_dd.publishing import Artefact as Artefact
    from hf_dd.publishing import load_distilled as load_distilled
    from hf_dd.publishing import push as push
    from hf_dd.queries import TeacherQuery as TeacherQuery
    from hf_dd.runs import distill as distill
    from hf_dd.runs import evaluate as evaluate
    from hf_dd.runs import import_set as import_set
    from hf_dd.runs import pretrain as pretrain

PUBLIC = {
    "config": ("DistillConfig", "EvaluateConfig", "ImportConfig", "PretrainConfig"),
    "data": ("load_data",),
    "errors": ("HfDdError",),
    "pool_runs": ("create_pool",),
    "pools": ("TeacherPool",),
    "publishing": ("Artefact", "load_distilled", "push"),
    "queries": ("TeacherQuery",),
    "runs": ("compare", "distill", "evaluate", "import_set", "pretrain"),
}
MODULE_OF = {name: module for module, names in PUBLIC.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in MODULE_OF:
        raise AttributeError(f"module 'hf_dd' has no attribute {name!r}")
    return getattr(importlib.import_module(f"hf_dd.{MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*MODULE_OF, "__version__"])
