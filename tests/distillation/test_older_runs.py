"""Checkpoints and studies of the code before options had roles: they are gone on with, and kept."""

import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from datasets import load_dataset

import hf_dd
from hf_dd import cli
from hf_dd.config import DistillConfig
from hf_dd.config.base import named
from hf_dd.distillation.distiller import DECIDING
from hf_dd.errors import RunError

SINCE = {
    "networks",
    "clom_batch",
    "clom_schedule",
    "images_at_once",
    "statistics",
    "test_resize",
    "test_share",
    "zca",
}  # options that decide pixels and that it didn't know: without them a run is as it was
BEFORE = Path(__file__).resolve().parents[1] / "fixtures" / "before"

pytestmark = pytest.mark.usefixtures("one_thread", "nothing_remembered")


@pytest.fixture
def before(tmp_path, monkeypatch):
    """A copy of what the older code made, in the working directory, as its commands were typed there."""
    shutil.copytree(BEFORE, tmp_path / "before")
    monkeypatch.chdir(tmp_path / "before")
    return tmp_path / "before"


def pixels(folder):
    return load_dataset("parquet", data_files=str(folder / "data/*.parquet"), split="train")["pixel_values"][:]


@pytest.mark.parametrize("run", ["distilled", "mtt"])
def test_what_a_checkpoint_is_of_is_what_it_was(run):
    (state, *_) = sorted((BEFORE / run / "checkpoints").glob("*/state.json"))
    identity = json.loads(state.read_text())["identity"]
    assert {*named(DistillConfig, *DECIDING)} - {*list(identity)[:-3]} == SINCE
    assert list(identity)[-3:] == ["data", "teacher_shas", "expert_shas"]


def test_a_run_goes_on_from_an_older_checkpoint_to_the_same_images(before):
    folder = before / "distilled"
    command = shlex.split(json.loads((folder / "hf_dd.json").read_text())["command"])
    made = pixels(folder)
    shutil.rmtree(folder / "checkpoints/step-000004")
    cli.main([*command[1:], "--resume_from_checkpoint", "latest", "--eval_students", "0"])
    # The bytes are promised on one machine alone, and the fixture is of another one.
    assert np.allclose(pixels(folder), made, rtol=0, atol=1e-4)


def test_another_value_of_an_option_that_decides_pixels_is_refused(before):
    settings = json.loads((before / "distilled/hf_dd.json").read_text())["settings"]
    changed = {"eval_students": 0, "resume_from_checkpoint": "latest", "clom_balance": 2.0}
    with pytest.raises(RunError, match="clom_balance: 1.0 there, 2.0 here"):
        hf_dd.distill(**settings | changed)


def test_an_older_study_is_kept(before):
    kept = [path for path in sorted((before / "study/cells").rglob("*")) if path.is_file()]
    content = [path.read_bytes() for path in kept]
    report = json.loads((before / "study/report.json").read_text())
    cli.main(["study", "study.yaml", "--output_dir", "study"])
    assert [path for path in sorted((before / "study/cells").rglob("*")) if path.is_file()] == kept
    assert [path.read_bytes() for path in kept] == content
    now = json.loads((before / "study/report.json").read_text())
    assert now["comparisons"] == report["comparisons"]
    for name, cell in report["cells"].items():
        assert {key: now["cells"][name][key] for key in cell} == cell


def test_a_cell_of_an_older_study_with_another_option_is_refused(before):
    recipe = before / "study.yaml"
    recipe.write_text(recipe.read_text().replace("clom_alpha: 10,", "clom_alpha: 11,"))
    with pytest.raises(
        SystemExit, match="dm-clom-seed0 was made with other options .clom_alpha: 10.0 there, 11.0 here"
    ):
        cli.main(["study", "study.yaml", "--output_dir", "study"])
