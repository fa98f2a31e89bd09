"""The floors of the house, read from its imports: inside functions and under TYPE_CHECKING as well."""

import ast
import graphlib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "hf_dd"
FLOORS = (  # from the ground up: a room imports from floors below its own, and within itself
    "errors version",
    "core local_hub metrics",
    "hub config nn",
    "data",
    "teachers",
    "training",
    "synthetic importing",
    "objectives evaluation",
    "distillation",
    "artefacts",
    "gallery planning",
    "runs",
    "uses",
    "studies",
    "cli __init__",
    "__main__",
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms.split()}
FILES = {"__init__", "__main__", "cli", "errors", "version"}  # that lie at the top of the package

# What may be imported from huggingface_hub outside of hub/: names that make or read text and files, and no network.
WITHOUT_NETWORK = {
    "core.progress": {"utils.are_progress_bars_disabled", "utils.tqdm"},
    "teachers.adapters.base": {"ModelCard"},
    "teachers.adapters.transformers_models": {"errors.StrictDataclassError"},
    "artefacts.crop_label_files": {"DatasetCardData"},
    "artefacts.papers": {"urllib.parse.quote"},
    "artefacts.record": {"EvalResult", "urllib.parse.quote"},
    "artefacts.rows": {"DatasetCardData"},
    "artefacts.set_records": {"DatasetCard", "DatasetCardData"},
    "artefacts.student_record": {"ModelCard", "ModelCardData"},
    "artefacts.teacher_record": {"ModelCard", "ModelCardData"},
    "studies.publish": {"DatasetCard", "DatasetCardData"},
    "gallery.space": {"SpaceCard", "SpaceCardData"},
    "nn.networks": {
        "ModelCard",
        "PyTorchModelHubMixin",
        "constants.CONFIG_NAME",
        "constants.SAFETENSORS_SINGLE_FILE",
    },
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


def test_every_room_has_a_floor_and_only_five_files_lie_at_the_top():
    assert {top(module) for module in MODULES} == FLOOR_OF.keys()
    assert {path.stem for path in PACKAGE.glob("*.py")} == FILES


def test_the_reader_of_imports_sees_what_is_there():
    assert internal_imports("hub.client") == {"errors", "version"}
    assert "data.image_data" in internal_imports("objectives.base")
    assert "datasets.info.DatasetInfosDict" in external_imports("artefacts.rows")  # inside a function
    assert "datasets" in external_imports("synthetic.distilled_set")  # under TYPE_CHECKING


@pytest.mark.parametrize("module", MODULES)
def test_a_room_imports_from_floors_below(module):
    room = top(module)
    for imported in internal_imports(module):
        below = FLOOR_OF[top(imported)] < FLOOR_OF[room]
        assert top(imported) == room or below, f"{module} imports {imported}, which isn't on a floor below"


def test_there_is_no_circle():
    graph = {module: internal_imports(module) for module in MODULES if module != "__init__"}
    order = list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError
    assert (
        order.index("hub") < order.index("data.sources") < order.index("data.image_data") < order.index("runs.distill")
    )


def test_the_embedded_hub_is_apart():
    for module in MODULES:
        for imported in internal_imports(module):
            if top(module) == "local_hub":
                assert top(imported) in ("local_hub", "errors"), f"{module} imports {imported}"
            else:
                assert top(imported) != "local_hub" or module == "cli", f"{module} imports {imported}"


@pytest.mark.parametrize("module", [module for module in MODULES if top(module) == "objectives"])
def test_objectives_see_no_accelerate_no_hub_and_no_disk(module):
    assert internal_imports(module).isdisjoint({"hub", "core.cache", "core.files", "data.stored_images"})
    roots = {top(name) for name in external_imports(module)}
    assert roots.isdisjoint({"accelerate", "huggingface_hub", "datasets", "pathlib", "os", "shutil", "safetensors"})


@pytest.mark.parametrize("module", [module for module in MODULES if top(module) != "hub"])
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


@pytest.mark.parametrize(
    "module", ["__init__", "errors", "config", "core.resources", "core.seeding", "hub", "cli", "config.parsing"]
)
def test_light_modules_import_nothing_heavy_at_the_top(module):
    tree = ast.parse(MODULES[module].read_text())
    at_the_top = {
        top(name)
        for node in tree.body
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module])
    }
    assert at_the_top.isdisjoint({"torch", "datasets", "accelerate", "timm", "sklearn", "evaluate"})


@pytest.mark.parametrize("name", MODULES)
def test_texts_are_read_and_written_in_an_encoding_that_is_said(name):
    # Ruff's PLW1514 knows a path only where it sees one being made: not `(folder / name).read_text()`.
    calls = [node for node in ast.walk(ast.parse(MODULES[name].read_text())) if isinstance(node, ast.Call)]
    for call in calls:
        given = [each.arg for each in call.keywords]
        match call.func:
            case ast.Attribute(attr="read_text"):
                assert "encoding" in given or call.args, f"line {call.lineno}"
            case ast.Attribute(attr="write_text", value=of) if ast.unparse(of) != "files":
                assert "encoding" in given, f"line {call.lineno}"
            case ast.Name(id="open") | ast.Attribute(attr="open", value=ast.Name(id="io" | "path" | "file")):
                assert "encoding" in given or "b" in "".join(map(ast.unparse, call.args)), f"line {call.lineno}"


# They look at the package, make data, or type many commands.
OUTSIDE = {"benchmark", "build_docs", "dry_run", "growth", "label_sizes", "make_letters", "measuring", "scoreboard"}
OUTSIDE |= {"untuned"}


def test_scripts_are_a_docstring_and_a_call_of_the_command_line():
    scripts = {path.stem: path for path in (PACKAGE.parent / "scripts").glob("*.py")}
    assert {"distill", "evaluate", "pretrain_teachers"} < set(scripts)
    assert {"train_on_distilled", "train_with_timm", "train_with_transformers"} < set(scripts)
    for name, path in scripts.items():
        tree = ast.parse(path.read_text())
        if name in OUTSIDE:
            continue
        if name == "my_objective":  # an example of a method, which hf-dd imports
            assert "hf-dd distill --objective my_objective:MyObjective" in ast.get_docstring(tree)
            continue
        if name.startswith("convert_"):  # they make a teacher of what another package holds
            assert not any(imported.startswith("hf_dd") for imported in imported_names(path))
            continue
        if name.startswith("train_"):  # examples for those who don't have hf_dd
            assert not any(imported.startswith("hf_dd") for imported in imported_names(path))
            continue
        assert "accelerate launch" in ast.get_docstring(tree), path
        assert 10 <= len(path.read_text().splitlines()) <= 40, path
