"""Scripts as modules: they are no package, as users copy them."""

import importlib.util
import sys
from types import ModuleType

from hf_dd.core.resources import resource


def script(name: str) -> ModuleType:
    """A script of `scripts/` as a module; the search path stays as it was."""
    spec, before = importlib.util.spec_from_file_location(name, resource("scripts", f"{name}.py")), sys.path[:]
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = before
    return module
