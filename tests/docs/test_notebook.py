"""The notebook of the docs runs from top to bottom, and what it shows is what it says.

HF_DD_WRITE_GOLDEN=1 pytest tests/docs/test_notebook.py keeps what it has shown in docs/circle.ipynb.
"""

import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "circle.ipynb"


def printed(notebook):
    """What the cells printed, by the first words of each cell."""
    return [
        "".join(output.get("text", "") for output in cell.outputs if output.get("name") == "stdout")
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def require_sense(notebook):
    """That both distillations, the push and the training have said what they should."""
    text = "\n".join(printed(notebook))
    assert len(re.findall(r"^local/digits-convnet-seed[01]@final \([0-9a-f]{8}\)$", text, re.MULTILINE)) == 2
    assert len(re.findall(r"^local/digits-convnet-seed[01]@epoch-2 \([0-9a-f]{8}\) accuracy \d", text, re.M)) == 2
    assert "digits: dm, ipc 1, in plain" in text and "dm + CLoM ce of 2 teachers, ipc 1, in guided" in text
    assert re.search(r"^local/digits-ipc1@v1 \([0-9a-f]{8}\)$", text, re.MULTILINE)
    assert "torch.Size([10, 1, 8, 8]) [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]" in text
    distilled, real = map(float, re.findall(r"^ten .*: ([\d.]+) % \(n = 3\)$", text, re.MULTILINE))
    assert 60 < distilled < 100 and distilled > real + 5  # chance is 10
    assert "points" in printed(notebook)[-2]
    assert any("image/png" in output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", []))


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(tmp_path):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    variables = {"HF_HOME": f"{tmp_path}/home", "HF_DATASETS_CACHE": f"{tmp_path}/cache", "OMP_NUM_THREADS": "1"}
    quiet = {"PYTHONWARNINGS": "ignore", "TMPDIR": str(tmp_path)}
    client = NotebookClient(notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": tmp_path}})
    client.execute(env=os.environ | variables | quiet)
    require_sense(notebook)
    if os.environ.get("HF_DD_WRITE_GOLDEN"):
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)  # when it ran
            if cell.cell_type == "code":
                cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        nbformat.write(notebook, NOTEBOOK)


def test_the_notebook_shows_what_it_showed_when_it_ran():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    require_sense(notebook)
    assert not re.search(r"/tmp/|/home/|/work/", NOTEBOOK.read_text(encoding="utf-8"))
