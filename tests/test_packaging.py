"""What is published: complete, as an index wants it, and whole without the checkout."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from hf_dd import __version__
from hf_dd.config.recipes import built_in, find
from hf_dd.core.resources import PACKAGE, resource

ROOT = Path(__file__).resolve().parents[1]
CARDS = sorted(path.name for path in (ROOT / "cards").glob("*.jinja"))
RECIPES = sorted(path.name for path in (ROOT / "scripts" / "recipes").glob("*.yaml"))
SCRIPTS = sorted(path.name for path in (ROOT / "scripts").glob("*.py"))


def pip(*arguments):
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of the source distribution, and of the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("built")
    command = [sys.executable, "-m", "build", "--outdir", folder, ROOT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return folder


@pytest.fixture(scope="module")
def wheel(built):
    (path,) = built.glob("*.whl")
    return path


@pytest.mark.slow
def test_an_index_would_take_both(built):
    names = sorted(path.name for path in built.iterdir())
    assert names == [f"hf_dd-{__version__}-py3-none-any.whl", f"hf_dd-{__version__}.tar.gz"]
    command = [sys.executable, "-m", "twine", "check", "--strict", *sorted(built.iterdir())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout.count("PASSED") == 2, done.stdout
    with tarfile.open(built / names[1]) as source:
        inside = {name.partition("/")[2] for name in source.getnames()}
    assert inside >= {"docs/circle.ipynb", "scripts/accelerate/gpu_8.yaml", "scripts/slurm/distill.sh", "CITATION.cff"}
    with zipfile.ZipFile(built / names[0]) as archive:
        metadata = archive.read(f"hf_dd-{__version__}.dist-info/METADATA").decode()
    assert metadata.count("\nProject-URL: ") >= 3 and metadata.count("\nClassifier: ") >= 8


@pytest.mark.slow
def test_what_the_wheel_holds(wheel):
    assert wheel.name == f"hf_dd-{__version__}-py3-none-any.whl"
    names = set(zipfile.ZipFile(wheel).namelist())
    assert names >= {f"hf_dd/resources/cards/{name}" for name in CARDS}
    assert names >= {f"hf_dd/resources/scripts/recipes/{name}" for name in RECIPES}
    assert names >= {f"hf_dd/resources/scripts/{name}" for name in SCRIPTS}
    assert names >= {"hf_dd/resources/scripts/accelerate/gpu_1.yaml", "hf_dd/resources/scripts/slurm/study.sh"}
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "hf_dd").rglob("*.py")}
    assert names >= modules | {"hf_dd/py.typed"}
    assert names >= {
        path.relative_to(ROOT).as_posix()
        for folder in ("page", "vendor")
        for path in (ROOT / "hf_dd" / "gallery" / folder).iterdir()
    }
    metadata = f"hf_dd-{__version__}.dist-info"
    assert names >= {f"{metadata}/entry_points.txt", f"{metadata}/licenses/LICENSE"}
    assert {name.split("/")[0] for name in names} == {"hf_dd", metadata}
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


SCRIPT = """
import sys
import hf_dd
from hf_dd.core import resources
print(resources.PACKAGE)
print(*sorted(path.name for path in resources.resource("cards").glob("*.jinja")))
print(*sorted(path.name for path in resources.resource("scripts", "recipes").glob("*.yaml")))
from hf_dd.config import DistillConfig
from hf_dd.config.parsing import parse_config
print(parse_config(DistillConfig, [], command="hf-dd distill", default="digits-dm").dataset)
"""


@pytest.mark.slow
def test_an_installed_wheel_finds_its_cards_and_recipes(wheel, tmp_path, run_python):
    target = tmp_path / "installed"
    pip("install", "--no-deps", "--target", target, wheel)
    done = run_python("-c", SCRIPT, cwd=tmp_path, PYTHONPATH=target)
    assert done.returncode == 0, done.stderr
    package, cards, recipes, dataset = done.stdout.splitlines()
    assert Path(package) == target / "hf_dd"
    assert cards.split() == CARDS and recipes.split() == RECIPES and dataset == "digits"


def test_a_checkout_finds_its_own(run_python, tmp_path):
    assert PACKAGE == ROOT / "hf_dd"  # an editable install, or PYTHONPATH
    assert resource("cards") == ROOT / "cards"
    assert [path.name for path in built_in("recipes")] == RECIPES
    assert find("digits-dm") == (ROOT / "scripts/recipes/digits.yaml", "dm")
    assert len(CARDS) >= 2 and len(RECIPES) >= 3 and len(SCRIPTS) >= 3
    done = run_python("-c", SCRIPT, cwd=tmp_path)
    assert done.stdout.splitlines()[:3] == [str(PACKAGE), " ".join(CARDS), " ".join(RECIPES)], done.stderr
