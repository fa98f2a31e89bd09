"""Images that are optimised part by part come out as if all had been optimised together."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import hf_dd
from hf_dd.config import DistillConfig
from hf_dd.distillation.checks import preflight
from hf_dd.errors import ConfigError
from hf_dd.synthetic.parts import Parts
from tests.factories import arguments, checkpoint_pixels, distil, make_config, make_data, make_set, pixel_values, steps

pytestmark = pytest.mark.usefixtures("one_thread")

DRAWN = ["scale=0.3", "flip=0.5", "jitter=2"]
RUNS = {  # by test: the options of a run, and images of each class that are optimised together
    "sre2l, batches of some classes": ({"objective": "sre2l", "ipc": 3, "objective_options": ["batch=4", *DRAWN]}, 1),
    "sre2l, batches of all classes": ({"objective": "sre2l", "ipc": 4, "objective_options": ["batch=20", *DRAWN]}, 2),
    "fadrm": ({"objective": "fadrm", "ipc": 2, "objective_options": ["batch=10", "stages=2"]}, 1),
    "cim": ({"objective": "cim", "ipc": 2, "factor": 2}, 1),
}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    options = {"epochs": 3, "learning_rate": 0.05, "batch_size": 64, "output_dir": str(tmp_path_factory.mktemp("t"))}
    shape = {"architecture_options": ["width=8", "depth=2"]}
    return str(hf_dd.pretrain(architectures=["ConvNetBN"], **shape, **options)[0])


def options_of(name, teacher):
    run, at_once = RUNS[name]
    shared = {"teachers": [teacher], "real_batch_size": None, "dtype": "float64", "iterations": 6}
    return run | shared | {"architecture_options": [], "save_steps": 1, "save_total_limit": 100}, at_once


def card_of(artefact):
    return (artefact.folder / "README.md").read_text()


@pytest.mark.parametrize("name", RUNS)
def test_parts_give_the_set_of_all_images_together(tmp_path, teacher, name):
    options, at_once = options_of(name, teacher)
    whole = distil(tmp_path / "whole", **options)
    parts = distil(tmp_path / "parts", **options, images_at_once=at_once)
    one, other = pixel_values(tmp_path / "whole"), pixel_values(tmp_path / "parts")
    assert one.shape == other.shape and (one - other).abs().max() < 1e-6  # of parquet's float32
    start, end = (checkpoint_pixels(tmp_path / "whole", step) for step in (0, 6))
    assert (end - start).abs().mean() > 0.01
    count = options["ipc"] // at_once
    assert parts.record.run["iterations"] == 6 * count and whole.record.run["iterations"] == 6
    assert parts.record.settings["iterations"] == 6 and parts.record.settings["images_at_once"] == at_once
    assert f"6 iterations for each {at_once} of the {options['ipc']} images of a class" in card_of(parts)
    assert "6 iterations in" in card_of(whole)


@pytest.mark.parametrize("name", RUNS)
def test_only_one_part_is_optimised_at_a_time(tmp_path, teacher, name):
    options, at_once = options_of(name, teacher)
    distil(tmp_path, **options, images_at_once=at_once)
    count = options["ipc"] // at_once
    assert steps(tmp_path / "checkpoints") == list(range(6 * count + 1))
    before = load_file(tmp_path / "checkpoints/step-000000/tensors.safetensors")["buffer.whole"]
    for step in range(1, 6 * count + 1):
        tensors = load_file(tmp_path / f"checkpoints/step-{step:06d}/tensors.safetensors")
        assert {len(value) for key, value in tensors.items() if "exp_avg" in key} == {10 * at_once}
        assert len(tensors["pixels"]) == 10 * at_once and len(tensors["buffer.whole"]) == 10 * options["ipc"]
        of_class = tensors["buffer.whole"].view(10, options["ipc"], -1)
        done = (step - 1) // 6 * at_once  # images of each class that were finished before this part
        started = before.view(10, options["ipc"], -1)
        assert torch.equal(of_class[:, done:], started[:, done:])
        assert not done or not torch.isclose(of_class[:, :done], started[:, :done]).all(-1).any()


@pytest.mark.parametrize("name", ["sre2l, batches of all classes", "fadrm", "cim"])
def test_resumed_within_and_between_parts_is_uninterrupted(tmp_path, teacher, name):
    options, at_once = options_of(name, teacher)
    options["images_at_once"] = at_once
    distil(tmp_path / "whole", **options)
    for step in (2, 6, 7, 10, 12):
        path = tmp_path / f"whole/checkpoints/step-{step:06d}"
        folder = tmp_path / f"from-{step}"
        distil(folder, **options, resume_from_checkpoint=str(path))
        assert torch.equal(pixel_values(folder), pixel_values(tmp_path / "whole"))


@pytest.mark.multi_process
def test_two_processes_give_what_one_does(tmp_path, teacher, ranks_of):
    entries = []
    for name in RUNS:
        options, at_once = options_of(name, teacher)
        options |= {"images_at_once": at_once, "save_steps": 100}
        distil(tmp_path / "one" / name, **options)
        words = {key: value for key, value in options.items() if value not in (None, [])}
        two = list(map(str, arguments(tmp_path / "two" / name, **words)))
        for left_out in ("--real_batch_size", "--architecture_options"):
            place = two.index(left_out)
            after = next(index for index in range(place + 1, len(two)) if two[index].startswith("--"))
            del two[place:after]
        entries.append({"arguments": two})
    (tmp_path / "runs.json").write_text(json.dumps(entries))
    ranks_of(Path(__file__).parents[1] / "distill_each.py", tmp_path / "runs.json")
    for name in RUNS:
        one, two = (pixel_values(tmp_path / ranks / name) for ranks in ("one", "two"))
        assert (one - two).abs().max() < 1e-6


def test_a_part_knows_its_place_in_the_whole_set():
    data = make_data()
    parts = Parts(make_set(data, ipc=6), 2)
    synthetic = parts.first()
    parts.enter(synthetic, 1)
    assert parts.count == 3 and synthetic.place == (2, 6)
    rows = synthetic.rows([0, 2])
    assert synthetic.whole_rows(rows).tolist() == [2, 3, 14, 15]
    assert torch.equal(synthetic.pixels[rows], parts.whole.pixels[[2, 3, 14, 15]])
    with torch.no_grad():
        synthetic.pixels.add_(1)
    before = parts.whole.pixels.detach().clone()
    parts.leave(synthetic, 1)
    changed = (parts.whole.pixels - before).flatten(1).abs().amax(1).nonzero().flatten().tolist()
    assert changed == [2, 3, 8, 9, 14, 15]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": "dm"}, "--images_at_once has no meaning for --objective dm, whose images are learned together"),
        ({"clom": "ce", "clom_alpha": 1.0}, "--images_at_once has no meaning for --clom ce"),
        (
            {"images_at_once": 3},
            "--images_at_once 3 doesn't divide --ipc 10: take one of 1, 2, 5, 10, or leave it out",
        ),
        ({"images_at_once": 20}, "--images_at_once 20 doesn't divide --ipc 10"),
        ({"images_at_once": 0}, "--images_at_once is 0; it has to be at least 1"),
        ({"minutes": 5.0}, "--images_at_once has no meaning for --minutes"),
    ],
)
def test_where_parts_make_no_sense_is_said_first(options, message):
    given = {"objective": "sre2l", "real_batch_size": None, "teachers": ["some/teacher"], "ipc": 10}
    with pytest.raises(ConfigError, match=message):
        preflight(make_config(**given | {"images_at_once": 5} | options))


def test_parts_that_dont_fill_batches_are_refused(tmp_path, teacher):
    options, _ = options_of("sre2l, batches of all classes", teacher)
    with pytest.raises(
        ConfigError, match="batches of 20 hold 2 images of each of 10 classes, so give a multiple of 2"
    ):
        distil(tmp_path / "run", **options, images_at_once=1)
    assert not (tmp_path / "run").exists()
    distil(tmp_path / "all", **options, images_at_once=options["ipc"])
    assert steps(tmp_path / "all/checkpoints")[-1] == 6


def test_all_at_once_is_the_default():
    assert DistillConfig().images_at_once is None
