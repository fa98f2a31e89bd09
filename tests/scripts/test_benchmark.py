"""The literal loops that the benchmark compares with do the same as hf_dd, and the scripts that measure run."""

import json
import struct
import sys
from types import SimpleNamespace

import pytest
import torch

from hf_dd.config import DataConfig, DistillConfig
from hf_dd.data.image_data import load_data
from hf_dd.nn import augment, networks
from hf_dd.objectives import Ownership, Step, build_objective
from hf_dd.objectives.clom import ClassificationDistance, CosineDistance
from hf_dd.synthetic.synthetic_set import SyntheticSet
from hf_dd.teachers.adapters.own import of_network
from hf_dd.teachers.pool import TeacherPool
from hf_dd.teachers.teacher import Teacher, TeacherSpec
from hf_dd.training.loop import TrainingRecipe, fit, predict
from tests.oracles import loops
from tests.scripts import loading

CLASSES, BATCH = 10, 6
SIDES_FORKED = """
import multiprocessing, runpy, sys
multiprocessing.get_context = lambda method, forks=multiprocessing.get_context("fork"): forks  # no imports anew
sys.argv[0] = "scripts/benchmark.py"
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Random images in the four files of Fashion-MNIST."""
    root = tmp_path_factory.mktemp("idx")
    draws = torch.Generator().manual_seed(0)
    for prefix, count in (("train", 120), ("t10k", 40)):
        images = torch.randint(256, (count, 28, 28), dtype=torch.uint8, generator=draws).numpy().tobytes()
        labels = (torch.arange(count) % CLASSES).to(torch.uint8).numpy().tobytes()
        (root / f"{prefix}-images-idx3-ubyte").write_bytes(
            bytes((0, 0, 8, 3)) + struct.pack(">3I", count, 28, 28) + images
        )
        (root / f"{prefix}-labels-idx1-ubyte").write_bytes(bytes((0, 0, 8, 1)) + struct.pack(">I", count) + labels)
    return root


@pytest.fixture(scope="module")
def data(folder):
    return load_data(DataConfig(dataset=str(folder)))


@pytest.fixture
def step(data):
    synthetic = SyntheticSet.initial(data, 2, "real", 0, torch.float32)
    return Step(0, 0, Ownership.of(0, 1, CLASSES), 1, synthetic, data)


def literal_of(network):
    """The literal network with our weights: its layers are numbered alike."""
    literal = loops.ConvNet()
    literal.load_state_dict(network.state_dict())
    return literal


def gradient(loss, pixels):
    return torch.autograd.grad(loss, pixels)[0]


def assert_agree(ours, theirs, relative=1e-4):
    torch.testing.assert_close(ours, theirs, rtol=relative, atol=relative * float(theirs.abs().max()))


def test_the_literal_load_gives_our_normalised_images(data, folder):
    mean, std = data.mean[0], data.std[0]
    for prefix, split in (("train", data.train), ("t10k", data.test)):
        images, labels, indices_of_class = loops.load_idx(folder, prefix, mean, std)
        assert_agree(data.normalise(split.images), images, 1e-6)
        assert labels.equal(split.labels) and indices_of_class[3][:2] == [3, 13]


def test_the_literal_dm_step_is_ours_in_fp32(step, data):
    config = DistillConfig(real_batch_size=BATCH)
    objective = build_objective(config, data, None)
    (ours,) = objective.losses(step)
    draws = augment.draw(CLASSES, objective.strategy, step.generator("augment"))
    pixels = data.normalise(data.train.images)

    def real_of_class(label):
        return pixels[data.sample_class(label, BATCH, step.generator("real", label))]

    def pair(real, synthetic, label):
        return [augment.apply(images, draws.expand([label] * len(images))) for images in (real, synthetic)]

    literal = loops.dm_loss(literal_of(objective.network), real_of_class, step.synthetic.pixels, pair)
    assert_agree(ours["dm"].detach(), literal.detach())
    assert_agree(gradient(ours["dm"], step.synthetic.pixels), gradient(literal, step.synthetic.pixels))


@pytest.mark.parametrize("name", ["dc", "dsa"])
def test_the_literal_outer_step_is_ours_in_fp32(name, step, data):
    config = DistillConfig(objective=name, objective_options=["outer=1"], real_batch_size=BATCH)
    objective = build_objective(config, data, None)
    (ours,) = objective.losses(step)
    draws = augment.draw(CLASSES, objective.strategy, step.generator("augment", 0))
    pixels = data.normalise(data.train.images)

    def real_of_class(label):
        return pixels[data.sample_class(label, BATCH, step.generator("real", 0, label))]

    def pair(real, synthetic, label):
        return [augment.apply(images, draws.expand([label] * len(images))) for images in (real, synthetic)]

    chosen = None if name == "dc" else pair
    literal = loops.dc_loss(literal_of(objective.network), real_of_class, step.synthetic.pixels, chosen)
    assert_agree(ours[name].detach(), literal.detach())
    ours, theirs = gradient(ours[name], step.synthetic.pixels), gradient(literal, step.synthetic.pixels)
    assert (ours - theirs).norm() < 5e-3 * theirs.norm()  # a ReLU at its kink turns with the last digit


def test_the_literal_clom_terms_are_ours_in_fp32(step, data):
    network = networks.build("ConvNet", **data.network_shape, seed=1)
    facts = {"class_names": data.class_names, "mean": data.mean, "std": data.std} | data.network_shape
    teacher = Teacher(of_network(network, facts), TeacherSpec("", "", "", "ConvNet", 0, 0, "", 0.0))
    literal, synthetic = literal_of(network), step.synthetic
    pairs = [
        (ClassificationDistance, loops.clom_ce(literal, synthetic.pixels, synthetic.labels)),
        (
            CosineDistance,
            loops.clom_cos(
                literal, data.normalise(data.train.images), data.train.labels, synthetic.pixels, synthetic.labels
            ),
        ),
    ]
    for distance, theirs in pairs:
        ours = distance(TeacherPool([teacher]), data)(step, 0, {0: teacher})
        assert_agree(ours.detach(), theirs.detach())
        ours, theirs = gradient(ours, synthetic.pixels), gradient(theirs, synthetic.pixels)
        assert (ours - theirs).norm() < 5e-3 * theirs.norm()  # a ReLU at its kink turns with the last digit


def test_the_literal_student_is_ours_in_fp32(step, data):
    ours = networks.build("ConvNet", **data.network_shape, seed=2)
    literal = literal_of(ours)
    optimizer = torch.optim.SGD(literal.parameters(), 0.01, momentum=0.9, weight_decay=5e-4)
    images, labels = step.synthetic.pixels.detach(), step.synthetic.labels  # one batch: its order changes nothing
    recipe = TrainingRecipe(3, 0.01, 0.9, 5e-4, 256, (), ())
    for _ in fit(ours, images, labels, recipe, seed=0, purpose="student"):
        loops.student_epoch(literal, optimizer, images, labels, augmented=False)
    for name, parameter in literal.state_dict().items():
        assert_agree(ours.state_dict()[name], parameter)
    test = data.normalise(data.test.images)
    right = predict(ours, data.test.images, prepare=data.normalise) == data.test.labels
    assert loops.test_accuracy(literal, test, data.test.labels) == pytest.approx(right.float().mean().item())


@pytest.mark.parametrize("siamese", [True, False])
@pytest.mark.parametrize("operation", augment.STRATEGY)
def test_the_literal_augmentation_is_ours(operation, siamese):
    images = torch.randn(5, 3, 12, 12)
    torch.manual_seed(3)
    theirs = getattr(loops, operation)(images, siamese)
    torch.manual_seed(3)
    count = {"color": 3, "flip": 1, "rotate": 1}.get(operation, 2)
    magnitudes = torch.zeros(5, 3)
    magnitudes[:, :count] = torch.rand(1 if siamese else 5, count)
    parameters = augment.AugmentParameters(torch.full((5,), augment.STRATEGY.index(operation)), magnitudes)
    assert_agree(augment.apply(images, parameters), theirs, 1e-5)


@pytest.mark.slow
def test_the_benchmark_writes_its_rows(forks, tmp_path):
    works = ["dm_step", "clom_ce_step"]
    sizes = ["--images", 300, "--test_images", 50, "--ipc", 1, "--real_batch_size", 16, "--repetitions", 1]
    done = forks.run("-c", SIDES_FORKED, *sizes, "--work", *works, "--output", tmp_path / "b.json")
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "b.json").read_text())
    assert [row["work"] for row in written["rows"]] == works
    for row in written["rows"]:
        assert row["ratio"] == pytest.approx(row["literal_s"] / row["ours_s"]) and row["ours_peak_mb"] > 50
        assert f"| {row['work']} | " in done.stdout
    assert "CLoM-ce adds" in done.stdout and written["about"]["torch"] == torch.__version__


@pytest.mark.slow
def test_the_start_of_a_run_is_a_ratio(forks, tmp_path, monkeypatch):
    script = loading.script("benchmark")
    done = forks.run(*script.SHORT_RUN, "--output_dir", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    monkeypatch.setattr(script, "LIBRARIES", ["-c", "pass"])
    monkeypatch.setattr(script, "SHORT_RUN", ["-c", "sum(range(10**7))"])
    options = SimpleNamespace(repetitions=1, threads=1)
    start = script.start(tmp_path, options)
    assert start["n"] == 1
    for quantity in ("cpu_s", "peak_mb"):
        ratio = start[f"run_{quantity}"] / start[f"libraries_{quantity}"]
        assert start[f"ratio_{quantity}"] == pytest.approx(ratio)
    assert start["ratio_cpu_s"] > 1
    assert f"{start['ratio_cpu_s']:.2f} ×" in script.report_more({"start": start})
    monkeypatch.setattr(script, "SHORT_RUN", ["-c", "raise SystemExit('it failed')"])
    with pytest.raises(SystemExit, match="it failed"):
        script.start(tmp_path, options)


@pytest.mark.slow
@pytest.mark.multi_process
def test_growth_is_a_table_and_a_plot(forks, tmp_path, monkeypatch):
    script = loading.script("growth")

    def forked(command, env, **options):  # what `accelerate launch` would start, too
        processes = command[command.index("--num_processes") + 1] if "--num_processes" in command else 1
        return forks.run(*command[command.index("--point") - 1 :], processes=int(processes), **env)

    monkeypatch.setattr(script.subprocess, "run", forked)
    monkeypatch.setitem(script.BASE, "ipc", 1)
    monkeypatch.setitem(script.SWEEPS, "tesla", script.SWEEPS["tesla"][:1])
    monkeypatch.setitem(script.SWEEPS, "mtt", [{"mtt": "no number"}])
    works = ["real_set", "processes", "tesla", "mtt"]
    monkeypatch.setattr(sys, "argv", ["growth", "--work", *works, "--smaller", "50", "--output_dir", str(tmp_path)])
    with pytest.raises(SystemExit, match="no number"):
        script.main()
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")
    content = json.loads((tmp_path / "growth.json").read_text())  # of what was measured until then
    results, text = content["sweeps"], (tmp_path / "growth.md").read_text()
    assert list(results) == works[:3]
    assert content["about"].keys() == {"command", "code", "hardware"}
    assert all(f"| {name} | {value} |" in text for name, value in content["about"].items())
    assert "](growth.png)" in text and "| what grows | value |" in text
    assert [point["real_set"] for point, _ in results["real_set"]] == [120, 1_200]
    assert all(found["step_s"] > 0 and found["guide_s"] > 0 for _, found in results["real_set"])
    exchanged = [found["bytes_exchanged"] for _, found in results["processes"]]
    assert exchanged == [0, 10 * 28 * 28 * 4]  # the synthetic set's
    ((point, found),) = results["tesla"]
    assert point["tesla"] == 5 and found["step_s"] > 0
    assert "Two processes of one thread:" in text
