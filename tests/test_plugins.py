"""A package of someone else's that adds to hf-dd, installed as any is, in real processes."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.factories import message_of

PACKAGE = Path(__file__).parent / "plugin_package"
ORIGIN = {"package": "hf-dd-example", "version": "0.3.1"}
SMALL = ["--ipc", "1", "--iterations", "3", "--real_batch_size", "4", "--dataset", "digits"]
TEACHER = """
import sys
import hf_dd
from hf_dd.core.registry import NETWORKS
from hf_dd.errors import ConfigError
(folder,) = hf_dd.pretrain(dataset="digits", architectures=["Thin"], architecture_options=["width=3"], epochs=1,
                           output_dir=sys.argv[1])
pool = hf_dd.TeacherPool.from_references(str(folder))
print(pool[0])
try:
    NETWORKS.find("Thim")
except ConfigError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder that the package is installed into."""
    source, target = tmp_path_factory.mktemp("source") / "package", tmp_path_factory.mktemp("installed")
    shutil.copytree(PACKAGE, source)  # a build writes beside it
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(source)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return target


@pytest.fixture(scope="module")
def matrix(tmp_path_factory):
    """A folder that only the package's adapter knows."""
    folder = tmp_path_factory.mktemp("matrix")
    weight = torch.randn(10, 36, generator=torch.Generator().manual_seed(0))
    save_file({"weight": weight}, folder / "model.safetensors")
    about = {"side": 6, "class_names": [str(digit) for digit in range(10)], "dataset": "digits"}
    (folder / "config.json").write_text(json.dumps({"matrix": about}))
    return folder


@pytest.mark.parametrize(
    ("command", "option", "words"),
    [
        ("distill", "objective", "is no objective"),
        ("distill", "architecture", "is no architecture"),
        ("distill", "init", "is no start"),
        ("distill", "eval_protocol", "is no protocol"),
        ("distill", "eval_architectures", "is no architecture"),
        ("evaluate no/set", "eval_protocol", "is no protocol"),
        ("evaluate no/set", "eval_architectures", "is no architecture"),
        ("pretrain", "architectures", "is no architecture"),
    ],
)
def test_what_is_of_the_wrong_kind_is_said_before_anything_is_read(command, option, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "strange_things.py").write_text("Mine = 3")
    said = message_of(*command.split(), "--dataset", "no/data", f"--{option}", "strange_things:Mine")
    assert f"strange_things:Mine {words}: it has to be" in said and "no/data" not in said


@pytest.mark.slow
def test_a_distillation_of_nothing_but_plug_ins(installed, matrix, forks, tmp_path):
    folder = tmp_path / "set"
    options = ["--objective", "teachers-mean", "--architecture", "Thin", "--teachers", matrix, "--output_dir", folder]
    options += ["--eval_protocol", "brief", "--eval_architectures", "Thin", "--eval_students", "1", *SMALL]
    path = f"{Path(__file__).parents[1]}:{installed}"
    done = forks.run("-m", "hf_dd", "distill", *options, PYTHONPATH=path, OMP_NUM_THREADS=1)
    assert done.returncode == 0, done.stderr[-3000:]
    record = json.loads((folder / "hf_dd.json").read_text())
    assert record["plugins"] == {
        name: ORIGIN for name in ("objective teachers-mean", "architecture Thin", "start dimmed", "adapter matrices")
    }
    assert record["results"]["plugins"] == {"protocol brief": ORIGIN, "architecture Thin": ORIGIN}
    assert (record["settings"]["init"], record["settings"]["iterations"]) == ("dimmed", 3)
    assert (record["results"]["protocol"]["version"], record["results"]["rows"][0]["architecture"]) == (4, "Thin")
    assert (record["teachers"][0]["library"], record["teachers"][0]["architecture"]) == ("matrices", "matrix6")
    card = (folder / "README.md").read_text()
    assert "made by\nmatching of what teachers see with 1 pre-trained teacher." in card
    assert "All teachers saw every image." in card and "objective:teachers-mean" in card
    assert "| matrix6 (matrices) | – | – | digits | – |" in card
    for name in ("objective `teachers-mean`", "start `dimmed`", "adapter `matrices`", "protocol `brief`"):
        assert f"{name} of hf-dd-example 0.3.1" in card.partition("\nPlug-ins: ")[2]


@pytest.mark.slow
def test_a_teacher_of_a_plug_in_network(installed, forks, tmp_path):
    path = f"{Path(__file__).parents[1]}:{installed}"
    done = forks.run("-c", TEACHER, tmp_path, PYTHONPATH=path, OMP_NUM_THREADS=1)
    assert done.returncode == 0, done.stderr[-3000:]
    teacher, error = done.stdout.splitlines()
    assert "Thin seed 0 epoch 1, 10 classes, images of 8×8 pixels, 1 channel" in teacher
    assert error.startswith("--architecture Thim isn't known; known are: Thin, ")
    epoch = tmp_path / "digits-thin-seed0/epoch-1"
    assert json.loads((epoch / "hf_dd.json").read_text())["plugins"] == {"architecture Thin": ORIGIN}
    assert "Plug-ins: architecture `Thin` of hf-dd-example 0.3.1." in (epoch / "README.md").read_text()
    done = forks.run("-m", "hf_dd", "distill", "--teachers", epoch, "--clom", "ce", *SMALL, OMP_NUM_THREADS=1)
    assert "--architecture Thin isn't known; known are" in done.stderr and "Traceback" not in done.stderr
