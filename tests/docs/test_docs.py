"""The docs say what the code does: made parts are up to date, links lead somewhere, commands have their options."""

import json
import re
import shutil
import subprocess
import sysconfig
import tomllib
from pathlib import Path

import pytest
import yaml

from hf_dd import PUBLIC, __version__
from hf_dd.cli import every_command
from tests.scripts import loading
from tests.test_floors import FLOORS

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if len(page.relative_to(DOCS).parts) <= 3)  # no cells of a study
TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *PAGES]
LINK = re.compile(r"\]\(([^)\s]+)\)")
BLOCK = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def build_docs():
    """scripts/build_docs.py as a module."""
    return loading.script("build_docs")


def test_made_parts_are_what_the_script_writes_now(build_docs, monkeypatch):
    monkeypatch.setenv("COLUMNS", "86")  # so that what the script sets ends with the test
    monkeypatch.setenv("NO_COLOR", "1")
    written = build_docs.written()
    assert {DOCS / "reference" / "commands.md", DOCS / "methods.md", ROOT / "README.md"} <= set(written)
    stale = [str(path.relative_to(ROOT)) for path, text in written.items() if path.read_text(encoding="utf-8") != text]
    assert not stale, f"python scripts/build_docs.py writes {stale} anew"


def test_every_public_name_is_in_the_reference():
    page = (DOCS / "reference" / "api.md").read_text(encoding="utf-8").splitlines()
    for module, names in PUBLIC.items():
        for name in names:
            assert {f"::: hf_dd.{module}.{name}", f"::: hf_dd.{module}"} & set(page), (
                f"{name} isn't in reference/api.md"
            )


def test_contributing_has_the_floors():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[^|]*`) \|", text, re.MULTILINE)
    assert [set(re.findall(r"`(\w+)`", row)) for row in rows] == [set(floor.split()) for floor in FLOORS]


def test_readme_is_short_and_has_the_two_commands():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
    assert 'pip install -e ".[local-hub]" && hf-dd quickstart' in lines
    assert 'pip install -e ".[dev]" && python -m pytest -n 3' in lines


def test_every_page_is_in_the_menu():
    menu = re.findall(r"[\w/-]+\.md", json.dumps(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    pages = {page.relative_to(DOCS).as_posix() for page in PAGES}
    assert set(menu) == {page for page in pages if page == "results/README.md" or not page.startswith("results/")}
    assert len(menu) == len(set(menu))


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_to_a_file_leads_to_one(page):
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        path = target.partition("#")[0]
        if path and "://" not in target:
            assert (page.parent / path).exists(), f"{page.name} links to {target}"


def commands_of(text):
    """The words of every `hf-dd` command in the shell blocks of a page; continued lines are one."""
    for block in BLOCK.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r"&&| -- ", line.partition(" #")[0]):
                if part.split()[:1] == ["hf-dd"]:
                    yield part.split()[1:]


def test_commands_on_the_pages_have_their_options(build_docs):
    reference = (DOCS / "reference" / "commands.md").read_text(encoding="utf-8")
    options_of = {
        section.partition("\n")[0]: set(re.findall(r"--[a-z_\d]+", section))
        for section in reference.split("## hf-dd ")[1:]
    }
    assert set(options_of) == {name for name, _ in every_command()}
    seen = 0
    for page in TEXTS:
        for words in commands_of(page.read_text(encoding="utf-8")):
            command = next((" ".join(words[:n]) for n in (2, 1) if " ".join(words[:n]) in options_of), None)
            assert command, f"{page.name}: there is no hf-dd {' '.join(words)}"
            given = {word.partition("=")[0] for word in words if word.startswith("--")}
            assert given <= options_of[command] | {"--help"}, f"{page.name}: hf-dd {' '.join(words)}"
            seen += 1
    assert seen >= 20


def test_python_on_the_pages_compiles():
    for page in TEXTS:
        for number, block in enumerate(
            re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
        ):
            compile(block, f"{page.name}, block {number}", "exec")


def test_results_as_tables(build_docs, tmp_path, monkeypatch):
    """Of a study its best cell and its comparisons, of a benchmark its ratios, of a growth its steps."""
    study = {
        "cells": {
            "dm": {"scores": {"ConvNet": [[50.0, 52.0], [53.0, 55.0]]}},  # two distillations: 51 and 54
            "guided": {"scores": {"ConvNet": [[60.0, 62.0], [60.0, 62.0]]}},
        },
        "comparisons": {
            "gain": {"mean": 8.5, "half_width": 1.25, "n": 2},
            "of one": {"mean": -0.5, "half_width": 0.0, "n": 1},  # no interval
        },
    }
    bench = {"about": {"threads": 2}, "rows": [{"work": "dm_step", "ratio": 4.66, "n": 5}]}
    bench["start"] = {"run": "hf-dd distill", "ratio_cpu_s": 1.5, "ratio_peak_mb": 1.25, "n": 3}
    growth = {"about": {"command": "growth"}, "sweeps": {"ipc": [[{"ipc": 1}, {"step_s": 0.5}]]}}
    growth["sweeps"]["ipc"].append([{"ipc": 10}, {"step_s": 1.25}])
    for name, kind, content in (("s", "report", study), ("b", "benchmark", bench), ("g", "growth", growth)):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{kind}.json").write_text(json.dumps(content))
    for name, holds, says in (("x", True, "every byte is equal"), ("y", True, "1 of 1 within"), ("z", False, "no")):
        (tmp_path / "reproduced" / name).mkdir(parents=True)
        verdict = {"holds": holds, "says": says, "versions": {"hf-dd": "0.1.0"}}
        (tmp_path / "reproduced" / name / "reproduction.json").write_text(json.dumps(verdict))
    monkeypatch.setattr(build_docs, "RESULTS", tmp_path)
    study |= {"command": "hf-dd study s", "hardware": ["CPU", "a GPU"]}
    (tmp_path / "s" / "report.json").write_text(json.dumps(study))
    (tmp_path / "s" / "report.md").touch()
    build_docs.note(tmp_path / "b")
    assert build_docs.units(study["cells"]["dm"]["scores"]) == [51.0, 54.0]
    lines = build_docs.headline("docs/results/", 3).splitlines()[2:]
    assert lines == [
        "| best of 2 cells: `guided` | 61.00 ± 0.00 % (n = 2) | [s](docs/results/s/report.md) |",
        "| gain | +8.50 [7.25, 9.75] points (n = 2) | [s](docs/results/s/report.md) |",
        "| of one | -0.50 points (n = 1) | [s](docs/results/s/report.md) |",
        "| dm step, against the papers' loop | 4.7 × as fast (n = 5) | [b](docs/results/b/benchmark.json) |",
        "| `hf-dd distill`, against importing its libraries | 1.50 × the CPU time, 1.25 × the memory (n = 3) "
        "| [b](docs/results/b/benchmark.json) |",
        "| a step, ipc = 1, 10 | 0.5 s, 1.25 s | [g](docs/results/g/growth.json) |",
        "| 3 sets made again by `hf-dd reproduce` | 2 hold, 1 to the byte | [reproduced](docs/results/README.md) |",
    ]
    shown = build_docs.headline("docs/results/").splitlines()[2:]
    assert shown == [*lines[:2], *lines[3:]]  # README has two of each report
    full = build_docs.measured()
    assert "| command | hf-dd study s |\n| hardware | CPU; a GPU |\n\n[report.json](s/report.json)" in full
    assert re.search(r"\| threads \| 2 \|\n\| commit \| [0-9a-f]{40}.* \|\n\| hardware \| \d+ cores of .* \|", full)


def test_the_citation_has_the_version():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == __version__


def test_a_source_distribution_holds_the_docs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    included = project["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert all((ROOT / name.removeprefix("/")).exists() for name in included)
    for name in ("docs", "mkdocs.yml", "CHANGELOG.md", "CONTRIBUTING.md", "README.md", "CITATION.cff"):
        assert f"/{name}" in included


def build(folder):
    """Exit status and output of the strict build of a copy of the docs."""
    zensical = Path(sysconfig.get_path("scripts")) / "zensical"
    done = subprocess.run([zensical, "build", "--strict"], cwd=folder, capture_output=True, text=True, timeout=240)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_the_docs_build_strictly_and_a_broken_link_fails(tmp_path):
    pytest.importorskip("zensical", reason="the extra `docs` isn't installed")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    shutil.copytree(DOCS, tmp_path / "docs")
    (tmp_path / "hf_dd").symlink_to(ROOT / "hf_dd")
    status, said = build(tmp_path)
    assert status == 0, said[-3000:]
    api = (tmp_path / "site" / "reference" / "api" / "index.html").read_text(encoding="utf-8")
    assert 'id="hf_dd.runs.distill.distill"' in api
    assert "fonts.googleapis" not in api  # a page fetches nothing from elsewhere
    page = tmp_path / "docs" / "index.md"
    text = page.read_text(encoding="utf-8")
    for broken in ("nowhere.md", "methods.md#no-such-heading"):
        page.write_text(f"{text}\n[broken]({broken})\n", encoding="utf-8")
        status, said = build(tmp_path)
        assert status != 0 and "does not exist" in said
