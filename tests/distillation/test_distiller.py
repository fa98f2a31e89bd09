import json
import math
import os
import random
import shutil
import signal
import time
import weakref
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from datasets import ClassLabel, Dataset, Features, Image
from safetensors.torch import load_file, save_file

import hf_dd
from hf_dd.artefacts import distilled_folder
from hf_dd.config import DistillConfig
from hf_dd.core import files
from hf_dd.core.layout import PARQUET
from hf_dd.data.fixed_forms import read_digits
from hf_dd.data.image_data import load_data
from hf_dd.distillation import checkpoints
from hf_dd.errors import ConfigError, RunError
from hf_dd.objectives import build_objective
from hf_dd.runs import distill as distill_run
from hf_dd.synthetic.distilled_set import to_pil
from tests.factories import (
    SMALL,
    arguments,
    checkpoint_pixels,
    distil,
    parquet,
    pixel_values,
    require_two_processes,
    steps,
)

MINMAX = ["frequencies=16", "sampling=network"]
SHORT = {"dance": 4, "ncfm": 3, "idc": 2, "sfm": 4, "several": 6}  # iterations of pairs that have fewer than 20

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teachers")
    options = {"epochs": 2, "output_dir": str(folder)}
    done = hf_dd.pretrain(architectures=["ConvNet"], architecture_options=["width=16", "depth=2"], **options)
    return [str(path) for path in done + hf_dd.pretrain(architectures=["MLP"], **options)]


def require_whole_checkpoints(folder):
    """Every checkpoint that a run would resume from is complete and finite."""
    for path in checkpoints.checkpoints(folder / "checkpoints"):
        assert torch.isfinite(load_file(path / "tensors.safetensors")["pixels"]).all()
        assert {"step", "seconds", "losses", "identity"} <= json.loads((path / "state.json").read_text()).keys()


@pytest.mark.parametrize(
    "options, advice",
    [
        ({}, None),
        ({"image_learning_rate": 3000.0}, "Try a smaller --image_learning_rate."),
        ({"clom": "ce", "clom_alpha": 1e6}, "Try --clom_alpha auto or smaller, or a smaller --image_"),
        ({"clom": "ce", "clom_alpha": "auto", "clom_balance": 1e5}, "Try a smaller --clom_balance, or a smaller"),
    ],
)
def test_images_that_run_off_are_a_warning_with_a_way_out(tmp_path, teachers, caplog, options, advice):
    options |= {"teachers": teachers} if "clom" in options else {}
    distil(tmp_path / "set", **options)
    warned = [message for message in caplog.messages if "run far out of the range of pixels" in message]
    outside = pixel_values(tmp_path / "set")
    outside = (outside - outside.clamp(0, 1)).square().mean((1, 2, 3)).sqrt()
    assert [message.split()[0] for message in warned] == ([str(int((outside > 1).sum()))] if advice else [])
    assert all("of 10 images" in message and advice in message for message in warned)


def test_what_distilled_is_gone_when_students_are_trained(tmp_path, monkeypatch):
    """Both have the data on the device."""
    begun, left = [], []

    class Watched(distill_run.Distiller):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            begun.append(weakref.ref(self))

    monkeypatch.setattr(distill_run, "Distiller", Watched)
    monkeypatch.setattr(distill_run, "evaluate", lambda **_: left.extend(each() for each in begun))
    distil(tmp_path / "set", iterations=1, eval_students=1)
    assert left == [None]


# --- one process and two


@pytest.mark.multi_process
def test_two_processes_give_the_set_of_one(tmp_path, teachers, launch):
    options = {"ipc": 2, "clom": "cos", "teachers": teachers}
    launch("-m", "hf_dd", "distill", *arguments(tmp_path / "two", **options))
    require_two_processes(tmp_path / "two")
    one = distil(tmp_path / "one", **options)
    assert one.record.run["hardware"].endswith(", 1 process of 1 thread")
    assert torch.allclose(pixel_values(tmp_path / "two"), pixel_values(tmp_path / "one"), rtol=0, atol=1e-4)
    run = json.loads((tmp_path / "two/hf_dd.json").read_text())["run"]
    assert run["losses"] == pytest.approx(one.record.run["losses"], rel=1e-4)
    # The gradient of 20 float32 images of 8×8, and the two sums of CLoM's ratio; whatever the real set's size.
    assert (run["bytes_exchanged"], one.record.run["bytes_exchanged"]) == (20 * 8 * 8 * 4 + 2 * 4, 0)


@pytest.mark.multi_process
def test_all_processes_start_from_the_images_of_the_first(tmp_path, ranks_of):
    """Where they choose by what a network computes, machines that differ may choose otherwise."""
    code = f"""
import os, hf_dd
from hf_dd.synthetic.synthetic_set import SyntheticSet
initial = SyntheticSet.initial

def differing(data, ipc, init, seed, dtype, factor):
    return initial(data, ipc, init, seed + int(os.environ.get("RANK", 0)), dtype, factor)

SyntheticSet.initial = differing
hf_dd.distill(ipc=1, init="noise", iterations=2, real_batch_size=4, architecture_options=["width=8"],
    eval_students=0, output_dir={str(tmp_path / "two")!r})
"""
    ranks_of("-c", code)
    options = {"ipc": 1, "init": "noise", "iterations": 2, "real_batch_size": 4}
    one = distil(tmp_path / "one", **options, architecture_options=["width=8"])
    assert one.record.run["losses"] == pytest.approx(
        json.loads((tmp_path / "two/hf_dd.json").read_text())["run"]["losses"], rel=1e-4
    )
    assert torch.allclose(pixel_values(tmp_path / "two"), pixel_values(tmp_path / "one"), rtol=0, atol=1e-4)


@pytest.fixture(scope="module")
def seeded(tmp_path_factory):
    """A ConvNet like that of `teachers`, of another seed."""
    shape = {"architectures": ["ConvNet"], "architecture_options": ["width=16", "depth=2"], "teacher_seeds": [1]}
    (made,) = hf_dd.pretrain(epochs=2, keep_epochs=[0, 2], output_dir=str(tmp_path_factory.mktemp("seeded")), **shape)
    return str(made)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory, teachers, seeded, ranks_of):
    """Folders with each of some runs, by one process and by two; most in float64, where sums in any order agree."""
    root = tmp_path_factory.mktemp("pairs")
    double = {"dtype": "float64"}
    between = {"networks": "between", "teachers": teachers[:1], "architecture_options": ["width=16", "depth=2"]}
    options = {
        "dm": double,
        "batch norm": double | {"architecture": "ConvNetBN"},
        "ce": double | {"clom": "ce", "teachers": teachers, "ipc": 3},
        "cos": double | {"clom": "cos", "teachers": teachers, "init": "noise"},
        "ce single": {"clom": "ce", "teachers": teachers},
        "resumed": double | {"clom": "cos", "teachers": teachers, "save_steps": 10},
        "resumed early": double | {"clom": "ce", "teachers": teachers},
        "dance": double | between | {"objective": "dance", "iterations": 4},
        "ncfm": double | between | {"objective": "ncfm", "iterations": 3, "objective_options": MINMAX},
        "idc": double | between | {"objective": "idc", "iterations": 2, "objective_options": ["outer=3"]},
        "sfm": double | {"objective": "sfm", "teachers": teachers, "real_batch_size": None, "iterations": 4},
        "several": double | between | {"teachers": [teachers[0], seeded], "iterations": 6},
    }
    for name, chosen in options.items():
        distil(root / "one" / name, **chosen)
    shutil.copytree(root / "one/resumed/checkpoints/step-000010", root / "two/resumed/checkpoints/step-000010")
    (root / "two/resumed early/checkpoints").mkdir(parents=True)
    entries = []
    for name, chosen in options.items():
        resume = {"resume_from_checkpoint": "latest"} if name.startswith("resumed") else {}
        late = {"late_rank": 1} if name == "resumed early" else {}
        entries.append({"arguments": list(map(str, arguments(root / "two" / name, **chosen, **resume)))} | late)
    (root / "runs.json").write_text(json.dumps(entries))
    ranks_of(Path(__file__).parents[1] / "distill_each.py", root / "runs.json")
    return root


@pytest.mark.multi_process
@pytest.mark.parametrize("name", ["dm", "batch norm", "ce", "cos", "resumed", "resumed early", *SHORT])
def test_two_processes_agree_with_one_to_the_last_digits_in_float64(pairs, name):
    require_two_processes(pairs / "two" / name)
    last = SHORT.get(name, 20)
    one, two = (checkpoint_pixels(pairs / place / name, last) for place in ("one", "two"))
    assert two.dtype == torch.float64
    start = checkpoint_pixels(pairs / "one" / name, 10 if name == "resumed" else 0)
    assert (one - start).abs().max() > (0.005 if name == "sfm" else 0.01)  # four steps of Adam at 0.002
    assert (one - two).abs().max() < 1e-9


@pytest.mark.multi_process
def test_two_processes_agree_with_one_in_float32(pairs):
    require_two_processes(pairs / "two/ce single")
    assert torch.allclose(pixel_values(pairs / "one/ce single"), pixel_values(pairs / "two/ce single"), atol=1e-4)


@pytest.mark.multi_process
def test_more_processes_than_classes_share_a_class(tmp_path, ranks_of):
    digits = read_digits().train
    chosen = (digits.labels < 2).nonzero().flatten()[:40]
    rows = {"image": [to_pil(digits.images[i]) for i in chosen], "label": digits.labels[chosen].tolist()}
    features = Features({"image": Image(), "label": ClassLabel(names=["zero", "one"])})
    Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "two-classes")
    options = {"dataset": tmp_path / "two-classes", "ipc": 3, "real_batch_size": 5, "dtype": "float64"}
    ranks_of("-m", "hf_dd", "distill", *arguments(tmp_path / "three", **options), processes=3)
    run = json.loads((tmp_path / "three/hf_dd.json").read_text())["run"]
    assert run["hardware"].endswith(", 3 processes of 1 thread")
    # The gradient of 6 images, and the feature sums of 2 classes, real and synthetic: 8 channels of 4×4.
    assert run["bytes_exchanged"] == 8 * (6 * 8 * 8 + 2 * 2 * 8 * 4 * 4)
    distil(tmp_path / "one", **options | {"dataset": str(options["dataset"])})
    one, three = checkpoint_pixels(tmp_path / "one"), checkpoint_pixels(tmp_path / "three")
    assert (one - checkpoint_pixels(tmp_path / "one", 0)).abs().max() > 0.01
    assert (one - three).abs().max() < 1e-9


def test_images_that_stay_in_a_file_change_no_result(tmp_path):
    digits = read_digits()
    features = Features({"image": Image(), "label": ClassLabel(names=digits.class_names)})
    for name, split in (("train", digits.train), ("test", digits.test)):
        rows = {"image": list(map(to_pil, split.images)), "label": split.labels.tolist()}
        Dataset.from_dict(rows, features=features).to_parquet(tmp_path / f"digits/{name}.parquet")
    made = {}
    for limit in (8, 0):
        data = {"dataset": str(tmp_path / "digits"), "image_memory_gb": limit}
        options = data | {"epochs": 1, "output_dir": str(tmp_path / f"teachers-{limit}")}
        teachers = list(map(str, hf_dd.pretrain(architectures=["MLP"], **options)))
        evaluation = {"eval_students": 1, "eval_epochs": 2}
        guided = {"clom": "cos", "teachers": teachers} | data | evaluation
        made[limit] = distil(tmp_path / f"set-{limit}", **guided)
    assert made[0].record.teachers[0]["sha"] == made[8].record.teachers[0]["sha"]
    assert torch.equal(pixel_values(tmp_path / "set-0"), pixel_values(tmp_path / "set-8"))
    means = [[row["mean"] for row in made[limit].record.results["rows"]] for limit in (0, 8)]
    assert means[0] == means[1] and means[0]


# --- looked at


@pytest.mark.parametrize("iterations", [1, 2, 20])
def test_a_profile_is_a_trace_and_ten_operations(tmp_path, caplog, iterations):
    caplog.set_level("INFO", "hf_dd")
    profiled = distil(tmp_path / "profiled", profile=True, iterations=iterations)
    trace = json.loads((tmp_path / "profiled/profile/rank-0.json").read_text())
    names = {event.get("name") for event in trace["traceEvents"]}
    assert "aten::convolution" in names
    (table,) = [record.getMessage() for record in caplog.records if "Self CPU %" in record.getMessage()]
    assert len([line for line in table.splitlines() if "%" in line]) == 11  # ten operations below the head
    plain = distil(tmp_path / "plain", iterations=iterations)
    assert torch.equal(pixel_values(profiled.folder), pixel_values(plain.folder))


@pytest.mark.parametrize("iterations", [999, 1000])
def test_compiling_is_left_out_where_the_run_is_too_short(monkeypatch, iterations):
    functions = []
    monkeypatch.setattr(torch, "compile", lambda function: functions.append(function) or function)
    config = DistillConfig(**SMALL | {"iterations": iterations, "compile": True})
    build_objective(config, load_data(config), None)
    assert len(functions) == (iterations == 1000)


# --- killed and resumed


def kill_when(process, happened, delay):
    deadline = time.monotonic() + 100
    while not happened():
        assert process.poll() is None, process.stderr[-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.002)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def newest_name(folder):
    """The newest checkpoint's name, without opening what the running process may be about to remove."""
    return max((path.name for path in folder.glob("checkpoints/step-*")), default="")


@pytest.mark.multi_process
def test_a_run_that_is_killed_and_resumed_gives_the_bytes_of_an_uninterrupted_one(tmp_path, teachers, forks):
    options = {"clom": "cos", "teachers": teachers, "iterations": 400, "save_steps": 15}
    chance = random.Random(0)
    folder = tmp_path / "killed"
    reached = []
    for step in (None, 60, 150):
        resume = {} if step is None else {"resume_from_checkpoint": "latest"}
        process = forks.start("-m", "hf_dd", "distill", *arguments(folder, **options, **resume))
        if step is None:
            kill_when(process, folder.exists, 0)
        else:
            kill_when(process, lambda step=step: newest_name(folder) >= f"step-{step:06d}", chance.random() / 10)
        require_whole_checkpoints(folder)
        assert not (folder / "hf_dd.json").exists()
        reached.append(max(steps(folder / "checkpoints"), default=0))
    assert reached[0] < 60 <= reached[1] < 400 and 150 <= reached[2] < 400
    resumed = distil(folder, **options, resume_from_checkpoint="latest")
    uninterrupted = distil(tmp_path / "whole", **options)
    assert parquet(folder) == parquet(tmp_path / "whole")
    assert resumed.record.run["losses"] == uninterrupted.record.run["losses"]
    assert (folder / "preview.png").read_bytes() == (tmp_path / "whole/preview.png").read_bytes()


@pytest.mark.parametrize("options", [{}, {"image_momentum": 0.0, "dtype": "float64"}, {"architecture": "ConvNetBN"}])
@pytest.mark.parametrize("guide", [{}, {"clom": "cos"}, {"clom": "ce", "clom_alpha": "auto"}])
def test_resuming_from_any_step_gives_the_same_bytes(tmp_path, teachers, options, guide):
    guide = guide and guide | {"teachers": teachers}
    options = options | guide | {"iterations": 8, "save_steps": 1, "save_total_limit": 100}
    distil(tmp_path / "whole", **options)
    assert steps(tmp_path / "whole/checkpoints") == list(range(9))
    for step in (0, 5) if guide else (0, 1, 5, 8):
        path = tmp_path / f"whole/checkpoints/step-{step:06d}"
        resumed = distil(tmp_path / f"from-{step}", **options, resume_from_checkpoint=str(path))
        assert parquet(tmp_path / f"from-{step}") == parquet(tmp_path / "whole")
        assert resumed.record.run["iterations"] == 8
        assert resumed.record.run["seconds"] >= round(json.loads((path / "state.json").read_text())["seconds"], 2)


FRONTIER = {
    "dance": {"objective": "dance"},
    "ncfm": {"objective": "ncfm", "objective_options": MINMAX},
    "idc": {"objective": "idc", "objective_options": ["outer=2", "network_images=20"]},
    "sfm": {"objective": "sfm", "real_batch_size": None},
    "cim": {"objective": "cim", "real_batch_size": None},
}


@pytest.mark.parametrize("guide", [{}, {"clom": "ce", "clom_alpha": "auto", "clom_schedule": "linear"}])
@pytest.mark.parametrize("name", FRONTIER)
def test_frontier_methods_go_on_as_if_they_had_not_stopped(tmp_path, teachers, seeded, name, guide):
    """Guided too: what a run of theirs keeps is all that its next steps depend on."""
    taught = {} if name == "idc" and not guide else {"teachers": [seeded]}
    options = taught | {"architecture_options": ["width=16", "depth=2"], "iterations": 4}
    options |= {"save_steps": 1, "save_total_limit": 100} | FRONTIER[name] | guide
    whole = distil(tmp_path / "whole", **options)
    assert all(math.isfinite(value) for value in whole.record.run["losses"].values())
    assert ("clom" in whole.record.run["losses"]) == bool(guide)
    for step in (1, 3):
        path = tmp_path / f"whole/checkpoints/step-{step:06d}"
        distil(tmp_path / f"from-{step}", **options, resume_from_checkpoint=str(path))
        assert parquet(tmp_path / f"from-{step}") == parquet(tmp_path / "whole")


class Killed(BaseException):
    """Stands for a SIGKILL at one call of a function."""


def killing(function, at_call, before=lambda *arguments: None):
    calls = []

    def wrapped(*arguments, **options):
        calls.append(arguments)
        if len(calls) == at_call:
            before(*arguments)
            raise Killed
        return function(*arguments, **options)

    return wrapped


def cut_file(tensors, path):
    path.write_bytes(b"half of a file")


def remove_one_file(folder, **options):
    min(Path(folder).iterdir()).unlink()  # not the state, which is what names a checkpoint


@pytest.mark.parametrize(
    ("owner", "name", "at_call", "before"),
    [
        (checkpoints, "save_file", 3, cut_file),
        (checkpoints, "preview", 3, lambda *arguments: None),
        (os, "fsync", 7, lambda *arguments: None),
        (os, "fsync", 9, lambda *arguments: None),
        (Path, "rename", 4, lambda *arguments: None),
        *[(shutil, "rmtree", call, lambda *arguments: None) for call in range(1, 5)],
    ],
)
def test_a_kill_while_a_checkpoint_is_written_leaves_whole_ones(tmp_path, monkeypatch, owner, name, at_call, before):
    options = {"iterations": 12, "save_steps": 2}
    distil(tmp_path / "whole", **options)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, killing(getattr(owner, name), at_call, before))
        with pytest.raises(Killed):
            distil(tmp_path / "killed", **options)
    found = steps(tmp_path / "killed/checkpoints")
    assert found and found[-1] < 12
    require_whole_checkpoints(tmp_path / "killed")
    distil(tmp_path / "killed", **options, resume_from_checkpoint="latest")
    assert parquet(tmp_path / "killed") == parquet(tmp_path / "whole")
    assert steps(tmp_path / "killed/checkpoints") == [10, 12]


def test_a_kill_while_an_old_checkpoint_is_removed_leaves_whole_ones(tmp_path, monkeypatch):
    options = {"iterations": 12, "save_steps": 2}
    removed = []

    def remove_half(path, **ignored):
        for entry in sorted(Path(path).glob("*"))[::-1]:
            entry.unlink()
            removed.append(entry)
            raise Killed

    for keep in (1, 2):
        folder = tmp_path / str(keep)
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(shutil, "rmtree", remove_half)
            distil(folder, **options, save_total_limit=keep)
        assert removed and removed[-1].name == "tensors.safetensors"
        require_whole_checkpoints(folder)
        distil(folder, **options, save_total_limit=keep, resume_from_checkpoint="latest")
        assert steps(folder / "checkpoints") == [10, 12][-keep:]
    # a run that goes back to an older checkpoint writes the later ones anew
    folder = tmp_path / "again"
    distil(folder, **options, save_total_limit=4)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(shutil, "rmtree", remove_half)
        oldest = str(checkpoints.checkpoints(folder / "checkpoints")[0])
        distil(folder, **options, save_total_limit=4, resume_from_checkpoint=oldest)
    require_whole_checkpoints(folder)
    distil(folder, **options, save_total_limit=4, resume_from_checkpoint="latest")
    assert parquet(folder) == parquet(tmp_path / "1") == parquet(tmp_path / "2")


def test_a_half_written_checkpoint_of_a_killed_run_is_passed_over(tmp_path):
    options = {"iterations": 12, "save_steps": 2}
    distil(tmp_path / "whole", **options)
    folder = tmp_path / "killed/checkpoints"
    shutil.copytree(tmp_path / "whole/checkpoints/step-000010", folder / "step-000010")
    unfinished = folder / ".unfinished-step-000012"
    unfinished.mkdir()
    (unfinished / "tensors.safetensors").write_bytes(b"half")
    (unfinished / "state.json").write_text('{"step": 12')
    assert steps(folder) == [10]
    distil(tmp_path / "killed", **options, resume_from_checkpoint="latest")
    assert parquet(tmp_path / "killed") == parquet(tmp_path / "whole")
    assert sorted(path.name for path in folder.iterdir()) == ["step-000010", "step-000012"]


@pytest.mark.parametrize("at_call", [1, 2, 3, 4])
def test_a_kill_while_the_artefact_is_written_is_made_good(tmp_path, monkeypatch, teachers, at_call):
    options = {"iterations": 3, "clom": "ce", "teachers": teachers}
    distil(tmp_path / "whole", **options)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(files, "write", killing(files.write, at_call))
        distil(tmp_path / "killed", **options)
    with pytest.raises(RunError, match="holds no finished run"):
        distilled_folder.Artefact.open(tmp_path / "killed")
    distil(tmp_path / "killed", **options, resume_from_checkpoint="latest")
    for name in (PARQUET, "preview.png", "pool.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert distilled_folder.Artefact.open(tmp_path / "killed").record.run["iterations"] == 3


def test_latest_without_a_checkpoint_starts_from_the_first_step(tmp_path):
    distil(tmp_path / "new", resume_from_checkpoint="latest")
    distil(tmp_path / "whole")
    assert parquet(tmp_path / "new") == parquet(tmp_path / "whole")


# --- which checkpoints are kept and taken


@pytest.mark.parametrize(("limit", "kept"), [(1, [9]), (3, [6, 8, 9]), (50, [0, 2, 4, 6, 8, 9])])
def test_the_newest_checkpoints_are_kept(tmp_path, limit, kept):
    distil(tmp_path, iterations=9, save_steps=2, save_total_limit=limit)
    assert steps(tmp_path / "checkpoints") == kept
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [f"step-{n:06d}" for n in kept]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "seed: 0 there, 1 here"),
        ({"ipc": 2}, "ipc: 1 there, 2 here"),
        ({"iterations": 6}, "iterations: 4 there, 6 here"),
        ({"image_learning_rate": 0.5}, "image_learning_rate: 1.0 there, 0.5 here"),
        ({"augment": "flip"}, "augment: 'color_crop_cutout_flip_scale_rotate' there, 'flip' here"),
        ({"dtype": "float64"}, "dtype: 'float32' there, 'float64' here"),
        ({"image_size": 4}, "image_size: None there, 4 here; data: "),
    ],
)
def test_a_checkpoint_of_another_configuration_is_refused(tmp_path, change, named):
    distil(tmp_path, iterations=4, save_steps=2, published=True)
    before = parquet(tmp_path)
    with pytest.raises(RunError, match=f"another configuration \\({named}"):
        distil(tmp_path, **{"iterations": 4, "save_steps": 2} | change, resume_from_checkpoint="latest")
    assert parquet(tmp_path) == before
    assert steps(tmp_path / "checkpoints") == [2, 4]


def test_a_checkpoint_of_other_teachers_is_refused_wherever_they_lie(tmp_path, teachers):
    guide = {"clom": "ce", "iterations": 3}
    distil(tmp_path / "run", **guide, teachers=teachers)
    with pytest.raises(RunError, match="another configuration \\(teacher_shas: "):
        distil(tmp_path / "run", **guide, teachers=teachers[:1], resume_from_checkpoint="latest")
    with pytest.raises(RunError, match="clom: 'ce' there, 'cos' here"):
        distil(tmp_path / "run", clom="cos", iterations=3, teachers=teachers, resume_from_checkpoint="latest")
    copies = [shutil.copytree(teacher, tmp_path / Path(teacher).name) for teacher in teachers]
    distil(tmp_path / "run", **guide, teachers=list(map(str, copies)), resume_from_checkpoint="latest")


def test_what_changes_no_pixel_may_differ_when_resuming(tmp_path):
    distil(tmp_path / "whole", iterations=6)
    shutil.copytree(tmp_path / "whole/checkpoints/step-000000", tmp_path / "moved/checkpoints/step-000000")
    other = {"logging_steps": 1, "save_steps": 3, "save_total_limit": 5, "report_to": ["tensorboard"]}
    distil(tmp_path / "moved", iterations=6, **other, resume_from_checkpoint="latest")
    assert parquet(tmp_path / "moved") == parquet(tmp_path / "whole")


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def without_identity(path):
    path.write_text('{"step": 4}')


def without_pixels(path):
    save_file({"optimizer.momentum_buffer": torch.zeros(10, 1, 8, 8)}, path)


def with_nan(path):
    tensors = load_file(path)
    tensors["pixels"][0] = float("nan")
    save_file(tensors, path)


def of_another_shape(path):
    save_file({name: value.flatten()[:3] for name, value in load_file(path).items()}, path)


@pytest.mark.parametrize("latest", [True, False])
@pytest.mark.parametrize(
    ("name", "harm"),
    [
        ("tensors.safetensors", with_nan),
        ("tensors.safetensors", of_another_shape),
        ("tensors.safetensors", cut),
        ("tensors.safetensors", Path.unlink),
        ("tensors.safetensors", without_pixels),
        ("state.json", cut),
        ("state.json", without_identity),
    ],
)
def test_a_broken_checkpoint_is_named(tmp_path, name, harm, latest):
    distil(tmp_path, iterations=4)
    path = tmp_path / "checkpoints/step-000004"
    harm(path / name)
    with pytest.raises(RunError, match=f"{path} isn't a readable checkpoint"):
        distil(tmp_path, iterations=4, resume_from_checkpoint="latest" if latest else str(path))


def test_a_checkpoint_of_a_wrong_step_is_named(tmp_path):
    distil(tmp_path, iterations=4)
    path = tmp_path / "checkpoints/step-000004"
    state = path / "state.json"
    for step, words in ((-4, "isn't a readable checkpoint"), (10**9, ".*it says that it is of step 1000000000")):
        state.write_text(json.dumps(json.loads(state.read_text()) | {"step": step}))
        with pytest.raises(RunError, match=f"{path} {words}"):
            distil(tmp_path, iterations=4, resume_from_checkpoint=str(path))


def test_a_checkpoint_of_another_identity_is_refused_however_little_it_says(tmp_path):
    distil(tmp_path, iterations=4)
    state = tmp_path / "checkpoints/step-000004/state.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | {"identity": {}}))
    with pytest.raises(RunError, match="step-000004 is a checkpoint of another configuration .*data: None there"):
        distil(tmp_path, iterations=4, resume_from_checkpoint="latest")


def test_a_folder_that_is_no_checkpoint_is_not_to_be_removed(tmp_path):
    distil(tmp_path / "run", iterations=1)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    for place, words in (
        (tmp_path / "run", f"give one of its checkpoints, {tmp_path}/run/checkpoints/step-N, or"),
        (tmp_path, r"\.$"),
    ):
        with pytest.raises(RunError, match=f"{place} isn't a readable checkpoint .*{words}") as error:
            distil(tmp_path / "new", iterations=1, resume_from_checkpoint=str(place))
        assert "Remove" not in str(error.value)
    assert {path: path.read_bytes() for path in before} == before


def test_a_checkpoint_that_isnt_there_is_named(tmp_path):
    with pytest.raises(RunError, match="nowhere isn't a readable checkpoint"):
        distil(tmp_path / "run", resume_from_checkpoint=str(tmp_path / "nowhere"))


# --- the run's folder


def test_an_occupied_folder_is_refused_and_left_alone(tmp_path):
    distil(tmp_path, iterations=2)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(RunError, match=f"{tmp_path} holds another run.*--overwrite_output_dir"):
        distil(tmp_path, iterations=3)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_overwriting_removes_what_a_run_wrote_and_nothing_else(tmp_path, teachers):
    old = {"clom": "ce", "teachers": teachers, "report_to": ["tensorboard"], "save_steps": 1, "save_total_limit": 9}
    distil(tmp_path, iterations=7, **old)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures/one.png").write_bytes(b"mine too")
    distil(tmp_path, iterations=2, overwrite_output_dir=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "figures/one.png").read_bytes() == b"mine too"
    assert steps(tmp_path / "checkpoints") == [0, 2]
    entries = {"checkpoints", "data", "hf_dd.json", "README.md", "preview.png", "notes.txt", "figures"}
    assert {path.name for path in tmp_path.iterdir()} == entries


# --- a run that diverges


@pytest.mark.parametrize(
    ("options", "step", "kept"),
    [
        ({"image_learning_rate": 1e30}, 2, 0),
        ({"image_learning_rate": 1e30, "save_steps": 1}, 2, 1),
        ({"image_learning_rate": 1e30, "logging_steps": 1}, 2, 0),
        ({"clom": "ce", "clom_alpha": 3e38}, 1, 0),
    ],
)
def test_a_run_that_diverges_says_where_and_keeps_the_last_good_checkpoint(tmp_path, teachers, options, step, kept):
    guide = {"teachers": teachers} if "clom" in options else {}
    with pytest.raises(RunError, match=f"no finite number any more at step {step}.*step-{kept:06d}.*learning_rate"):
        distil(tmp_path, **options, **guide)
    require_whole_checkpoints(tmp_path)
    assert steps(tmp_path / "checkpoints")[-1] == kept
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoints"]


# --- what changes no pixel


def test_logging_saving_and_tracking_change_no_pixel(tmp_path):
    plain = distil(tmp_path / "plain")
    busy = distil(tmp_path / "busy", logging_steps=1, save_steps=1, save_total_limit=1, report_to=["tensorboard"])
    torch.manual_seed(1)
    torch.rand(3)
    distil(tmp_path / "again", logging_steps=7, save_steps=6)
    assert parquet(tmp_path / "plain") == parquet(tmp_path / "busy") == parquet(tmp_path / "again")
    assert plain.record.run["losses"] == busy.record.run["losses"]


def test_tensorboard_gets_every_term_at_every_logged_step(tmp_path, teachers):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    done = distil(tmp_path, clom="ce", teachers=teachers, logging_steps=8, report_to=["tensorboard"])
    (file,) = [path for path in (tmp_path / "logs" / tmp_path.name).glob("events.*")]
    events = EventAccumulator(str(file))
    events.Reload()
    assert {"loss/total", "loss/dm", "loss/clom"} <= set(events.Tags()["scalars"])
    logged = {name: events.Scalars(f"loss/{name}") for name in ("total", "dm", "clom")}
    assert [event.step for event in logged["total"]] == [8, 16, 20]
    assert {name: scalars[-1].value for name, scalars in logged.items()} == pytest.approx(done.record.run["losses"])
    for total, dm, clom in zip(*logged.values(), strict=True):
        assert total.value == pytest.approx(dm.value + clom.value, rel=1e-6)
        assert min(dm.value, clom.value) > 0


# --- precisions


@pytest.fixture
def another_precision():
    """Accelerate keeps one precision per process; a test that changes it leaves the next one its own choice."""
    AcceleratorState._reset_state()
    yield AcceleratorState._reset_state
    AcceleratorState._reset_state()


def test_bf16_computes_the_same_losses_but_for_its_precision(tmp_path, teachers, another_precision, bf16):
    options = {"iterations": 2, "clom": "cos", "teachers": teachers}
    full = distil(tmp_path / "full", **options)
    another_precision()
    half = distil(tmp_path / "half", **options, mixed_precision="bf16")
    assert half.record.run["losses"] == pytest.approx(full.record.run["losses"], rel=0.05)
    pixels = checkpoint_pixels(tmp_path / "half", 2)
    assert pixels.dtype == torch.float32
    begin, end = (checkpoint_pixels(tmp_path / "full", step) for step in (0, 2))
    ratio = (pixels - end).norm() / (end - begin).norm()
    assert 1e-4 < ratio < 0.1


def test_float64_is_float32_with_more_digits(tmp_path, teachers):
    options = {"iterations": 3, "clom": "cos", "teachers": teachers, "init": "noise"}
    distil(tmp_path / "single", **options)
    distil(tmp_path / "double", **options, dtype="float64")
    single, double = checkpoint_pixels(tmp_path / "single", 3), checkpoint_pixels(tmp_path / "double", 3)
    assert double.dtype == torch.float64
    assert (single - double).abs().max() < 1e-4


def test_the_losses_of_float64_are_not_rounded_before_they_are_added_up(tmp_path, teachers):
    """Rounded to float32 on each process, their sum would depend on how many processes there are."""
    losses = distil(tmp_path, iterations=1, clom="ce", teachers=teachers, dtype="float64").record.run["losses"]
    for name in ("dm", "clom"):
        assert losses[name] != torch.tensor(losses[name], dtype=torch.float32).item()


def test_float64_and_bf16_contradict_each_other(tmp_path):
    with pytest.raises(ConfigError, match="--dtype float64 and --mixed_precision bf16 contradict each other"):
        distil(tmp_path, dtype="float64", mixed_precision="bf16")
