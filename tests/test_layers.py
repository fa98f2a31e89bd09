"""The layers of the package, read from its imports: inside functions and under TYPE_CHECKING as well."""

import ast
import graphlib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "hf_dd"
ERRORS = -1  # below everything
LAYERS = {
    ERRORS: "errors",
    0: "allocator augment compilation config crops formation hub images networks precision profiling resources "
    "seeding timm_networks transforms",
    1: "adapters data data_decoding data_sources experts locks memory metrics pixel_cache pools processes pyramid "
    "queries synthetic teachers validation views",
    2: "decoded foreign initialisation intervals learned normalisation objectives pool_options protocols realism "
    "selection side_by_side soft_labels targets training",
    3: "baselines checkpoints class_order distiller diversity evaluation feature_memory heads importing pretraining "
    "results scoring students teaching",
    4: "cards hub_metadata provenance publishing records reports rows study_publishing study_report teacher_repos",
    5: "__main__ caches cli parsing pool_runs pool_selection quickstart runs study study_recipe",
}
LEVEL_OF = {name: level for level, names in LAYERS.items() for name in names.split()}
APART = {"__init__", "local_hub"}  # the lazy public names, and the embedded Hub
MAY_IMPORT_WITHIN_LEVEL_0 = {"seeding", "errors", "__init__"}

# What may be imported from huggingface_hub outside of hub.py: names that make or read text and files, and no network.
WITHOUT_NETWORK = {
    "adapters.base": {"ModelCard"},
    "cards": {"DatasetCard", "EvalResult", "ModelCard", "ModelCardData"},
    "hub_metadata": {"DatasetCardData", "EvalResultEntry", "eval_result_entries_to_yaml"},
    "study_publishing": {"DatasetCard", "DatasetCardData"},
    "networks": {
        "ModelCard",
        "PyTorchModelHubMixin",
        "constants.CONFIG_NAME",
        "constants.SAFETENSORS_SINGLE_FILE",
    },
    "rows": {"DatasetCardData"},
}


def modules():
    """Name → path of every module of the package; those of a subpackage are called `objectives.clom`."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.is_relative_to(PACKAGE / "resources"):
            continue
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)] = path
    return found


MODULES = modules()


def imported_names(path):
    """Every absolute name that a file imports: `from a import b` gives `a.b`. Relative imports aren't used here."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def internal_imports(module):
    """The modules of the package that a module imports: `from hf_dd import __version__` is `__init__`."""
    found = set()
    for name in imported_names(MODULES[module]):
        if name != "hf_dd" and not name.startswith("hf_dd."):
            continue
        name = name.removeprefix("hf_dd").removeprefix(".")
        while name and name not in MODULES:
            name = name.rpartition(".")[0]
        found.add(name or "__init__")
    return found - {module}


def top(module):
    return module.split(".")[0]


def external_imports(module):
    return {name for name in imported_names(MODULES[module]) if top(name) != "hf_dd"}


LAYERED = [module for module in MODULES if top(module) not in APART]


def test_every_module_has_a_layer():
    assert {top(module) for module in MODULES} == LEVEL_OF.keys() | APART


def test_the_reader_of_imports_sees_what_is_there():
    assert internal_imports("hub") == {"errors", "__init__"}
    assert "data" in internal_imports("objectives.base")
    assert "datasets.info.DatasetInfosDict" in external_imports("rows")  # inside a function
    assert "datasets" in external_imports("synthetic")  # under TYPE_CHECKING


@pytest.mark.parametrize("module", LAYERED)
def test_a_module_imports_from_lower_layers(module):
    level = LEVEL_OF[top(module)]
    for imported in internal_imports(module):
        if imported == "__init__" or (module == "cli" and imported == "local_hub"):
            continue
        assert top(imported) in LEVEL_OF, f"{module} imports {imported}"
        assert LEVEL_OF[top(imported)] <= level, f"{module} imports {imported} from a higher layer"


@pytest.mark.parametrize("module", [module for module in LAYERED if LEVEL_OF[top(module)] <= 0])
def test_the_ground_floor_imports_nothing_internal(module):
    assert {name for name in internal_imports(module) if top(name) != top(module)} <= MAY_IMPORT_WITHIN_LEVEL_0


def test_errors_and_seeding_import_nothing_internal():
    assert internal_imports("errors") == internal_imports("seeding") == set()


def test_there_is_no_cycle():
    graph = {module: internal_imports(module) - {"__init__"} for module in MODULES if module != "__init__"}
    order = list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError
    assert order.index("hub") < order.index("data_sources") < order.index("data") < order.index("cli")


def test_the_embedded_hub_is_apart():
    for module in MODULES:
        inside = top(module) == "local_hub"
        for imported in internal_imports(module):
            if inside:
                assert top(imported) in ("local_hub", "errors"), f"{module} imports {imported}"
            else:
                assert top(imported) != "local_hub" or module == "cli", f"{module} imports {imported}"


@pytest.mark.parametrize("module", [module for module in MODULES if top(module) == "objectives"])
def test_objectives_see_no_accelerate_no_hub_and_no_disk(module):
    assert internal_imports(module).isdisjoint({"hub", "publishing", "cards", "checkpoints", "memory", "pixel_cache"})
    roots = {top(name) for name in external_imports(module)}
    assert roots.isdisjoint({"accelerate", "huggingface_hub", "datasets", "pathlib", "os", "shutil", "safetensors"})


def test_the_distiller_never_sees_cards_and_publishing_never_sees_objectives():
    for module in ("distiller", "checkpoints", "evaluation", "pretraining"):
        assert internal_imports(module).isdisjoint({"cards", "publishing"})
    for module in ("publishing", "cards"):
        assert not {imported for imported in internal_imports(module) if top(imported) == "objectives"}


@pytest.mark.parametrize("module", [module for module in MODULES if module != "hub"])
def test_only_hub_talks_to_the_hub(module):
    from_clients = {
        name.removeprefix("huggingface_hub.")
        for name in external_imports(module)
        if top(name) in ("huggingface_hub", "httpx2", "httpx", "requests", "urllib")
    }
    if top(module) == "local_hub":
        assert {top(name) for name in from_clients} <= {"urllib"}  # a server takes addresses apart
    else:
        assert from_clients == WITHOUT_NETWORK.get(module, set())


@pytest.mark.parametrize("module", ["__init__", "errors", "config", "resources", "seeding", "hub", "cli", "parsing"])
def test_light_modules_import_nothing_heavy_at_the_top(module):
    tree = ast.parse(MODULES[module].read_text())
    at_the_top = {
        top(name)
        for node in tree.body
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module])
    }
    assert at_the_top.isdisjoint({"torch", "datasets", "accelerate", "timm", "sklearn", "evaluate"})


def test_scripts_are_a_docstring_and_a_call_of_the_command_line():
    scripts = {path.stem: path for path in (PACKAGE.parent / "scripts").glob("*.py")}
    assert {"distill", "evaluate", "pretrain_teachers"} < set(scripts)
    assert {"train_on_distilled", "train_with_timm", "train_with_transformers"} < set(scripts)
    for name, path in scripts.items():
        tree = ast.parse(path.read_text())
        if name in ("benchmark", "growth"):  # they measure the package from outside
            continue
        if name.startswith("convert_"):  # they make a teacher of what another package holds
            assert not any(imported.startswith("hf_dd") for imported in imported_names(path))
            continue
        if name.startswith("train_"):  # examples for those who don't have hf_dd
            assert not any(imported.startswith("hf_dd") for imported in imported_names(path))
            continue
        assert "accelerate launch" in ast.get_docstring(tree), path
        assert 10 <= len(path.read_text().splitlines()) <= 40, path
