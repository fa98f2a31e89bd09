"""What a GPU computes is what the CPU computes: many methods in float64, and students alone and side by side."""

import json
from pathlib import Path

import pytest
import torch

import hf_dd
from hf_dd.artefacts import distilled_folder
from hf_dd.config import DataConfig
from hf_dd.data.image_data import load_data
from hf_dd.evaluation.protocols import PROTOCOLS
from hf_dd.nn import networks
from hf_dd.training.loop import fit, predict
from hf_dd.training.side_by_side import fit_side_by_side

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

SMALL = {"ipc": 2, "eval_students": 0, "architecture_options": ["width=8", "depth=2"]}
TWO = SMALL | {"iterations": 2, "dtype": "float64"}
GUIDED = TWO | {"objective": "dm", "real_batch_size": 8, "teachers": "classifiers"}
GRADIENT = TWO | {"real_batch_size": 8, "objective_options": ["outer=2", "inner=1"]}
TRAJECTORY = TWO | {
    "experts": "experts",
    "objective_options": ["student_steps=3", "expert_epochs=1", "max_start_epoch=1", "student_learning_rate=0.05"],
}
PICKED = SMALL | {"selection_epochs": 0}
RUNS = {
    "dm": TWO | {"objective": "dm", "real_batch_size": 8},
    "dm, four tiles": TWO | {"objective": "dm", "real_batch_size": 8, "factor": 2},
    "dm, a BatchNorm network": TWO | {"objective": "dm", "real_batch_size": 8, "architecture": "ConvNetBN"},
    "ce": GUIDED | {"clom": "ce"},
    "ce, the mean of the logits, auto": GUIDED | {"clom": "ce", "clom_pool": "mean-logits", "clom_alpha": "auto"},
    "cos": GUIDED | {"clom": "cos"},
    "ce, fitted heads": GUIDED | {"clom": "ce", "fit_head": True},
    "dc": GRADIENT | {"objective": "dc"},
    "dsa": GRADIENT | {"objective": "dsa"},
    "mtt": TRAJECTORY | {"objective": "mtt"},
    "tesla": TRAJECTORY | {"objective": "tesla"},
    "sre2l": TWO | {"objective": "sre2l", "teachers": "batchnorm", "objective_options": ["jitter=1"]},
    "lgm": TWO | {"objective": "lgm", "teachers": "classifiers", "objective_options": ["copies=1", "views=siamese"]},
    "rded": SMALL | {"objective": "rded", "teachers": "classifiers"},
    "teacher-score": SMALL | {"objective": "teacher-score", "teachers": "classifiers"},
    "herding": PICKED | {"objective": "herding"},
    "kcenter": PICKED | {"objective": "kcenter"},
}


@pytest.fixture(scope="module")
def both(tmp_path_factory, run_python):
    """A folder with each run by the CPU under `cpu`, and by the GPU under `gpu`; their teachers are the GPU's."""
    root = tmp_path_factory.mktemp("both")

    def teachers(architecture, **options):
        place = {"output_dir": str(root / architecture), "epochs": 2, "batch_size": 128, "learning_rate": 0.05}
        own = [] if architecture == "MLP" else ["width=8", "depth=2"]
        return list(
            map(str, hf_dd.pretrain(architectures=[architecture], architecture_options=own, **place | options))
        )

    convnets = teachers("ConvNet", keep_epochs=[0, 1, 2])
    named = {
        "classifiers": convnets + teachers("MLP"),
        "experts": convnets,
        "batchnorm": teachers("ConvNetBN"),
    }
    for device in ("cpu", "gpu"):
        entries = []
        for name, options in RUNS.items():
            place = str(root / device / name)
            chosen = {
                key: named.get(value, value) if key in ("teachers", "experts") else value
                for key, value in options.items()
            }
            words = [] if not chosen.pop("fit_head", False) else ["--fit_head"]
            for key, value in (chosen | {"output_dir": place}).items():
                words += [f"--{key}", *map(str, value if isinstance(value, list) else [value])]
            entries.append({"arguments": words})
        (root / f"{device}.json").write_text(json.dumps(entries))
        cpu = {"ACCELERATE_USE_CPU": 1} if device == "cpu" else {}
        cache = {"HF_DATASETS_CACHE": root / f"cache-{device}"}
        done = run_python(Path(__file__).with_name("distill_each.py"), root / f"{device}.json", **cpu, **cache)
        assert done.returncode == 0, done.stderr[-6000:]
    return root


@pytest.mark.parametrize("name", RUNS)
def test_a_gpu_distils_what_the_cpu_distils(both, name):
    pixels = {}
    for device, words in {"cpu": "CPU", "gpu": torch.cuda.get_device_name()}.items():
        _, found, record = distilled_folder.load_distilled(str(both / device / name))
        assert record["run"]["hardware"].startswith(words)
        pixels[device] = found.pixel_values
    torch.testing.assert_close(pixels["gpu"], pixels["cpu"], rtol=0, atol=1e-5)


def test_students_on_a_gpu_alone_and_side_by_side_are_those_of_the_cpu():
    data = load_data(DataConfig())
    recipe, seeds = PROTOCOLS["dsa"].with_changes(epochs=3).recipe(), [0, 1, 2]
    images = data.normalise(data.train.images[:60].double() / 255)
    labels, test = data.train.labels[:60], data.normalise(data.test.images.double() / 255)

    def students(device):
        found = [networks.build("ConvNet", **data.network_shape, width=8, depth=2, seed=seed) for seed in seeds]
        return [network.double().to(device) for network in found]

    def alone(device):
        group = students(device)
        for network, seed in zip(group, seeds, strict=True):
            list(fit(network, images.to(device), labels.to(device), recipe, seed=seed, purpose="student"))
        return group

    together = students("cuda")
    several = [images.cuda()] * len(seeds), [labels.cuda()] * len(seeds)
    fit_side_by_side(together, *several, recipe, seeds=seeds, purpose="student")
    for group in zip(alone("cpu"), alone("cuda"), together, strict=True):
        for one, *others in zip(*(network.cpu().parameters() for network in group), strict=True):
            for other in others:
                torch.testing.assert_close(other, one, rtol=1e-6, atol=1e-8)
        predictions = [predict(network, test) for network in group]
        assert torch.equal(predictions[0], predictions[1]) and torch.equal(predictions[0], predictions[2])


def test_bf16_students_on_a_gpu_learn(tmp_path):
    """An evaluation as a user runs it, on whatever `accelerate` finds."""
    made = hf_dd.distill(
        ipc=5,
        objective="random",
        output_dir=str(tmp_path),
        eval_students=2,
        eval_epochs=100,
        mixed_precision="bf16",
        eval_copies=["float"],
    )
    results = json.loads((made.folder / distilled_folder.RECORD).read_text())["results"]
    assert results["hardware"].startswith(torch.cuda.get_device_name())
    assert results["rows"][0]["mean"] > 50
