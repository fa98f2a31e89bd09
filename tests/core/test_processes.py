"""Evaluations and imports on two real processes under `accelerate launch`: what one process gives, written once."""

import json
from pathlib import Path

import pytest
import torch

import hf_dd
from hf_dd import cli
from hf_dd.artefacts.distilled_folder import load_distilled
from hf_dd.config import DataConfig
from hf_dd.data.image_data import load_data
from hf_dd.synthetic.synthetic_set import SyntheticSet

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.multi_process]

EACH = """
import atexit, json, os, sys
from pathlib import Path

def list_threads():
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    Path(f"{sys.argv[2]}/threads-{os.environ['RANK']}").write_text(" ".join(names))

atexit.register(list_threads)  # first of all: it is called last

from hf_dd.artefacts import distilled_folder
from hf_dd.runs import evaluation_outputs
from hf_dd.cli import main

root, write_imported, write_results = sys.argv[2], distilled_folder.write_imported, evaluation_outputs.write_results

def logged(name, function):
    def call(*arguments, **options):
        with open(f"{root}/written", "a") as file:
            file.write(f"{name} by rank {os.environ['RANK']}\\n")
        return function(*arguments, **options)
    return call

distilled_folder.write_imported = logged("set", write_imported)
evaluation_outputs.write_results = logged("results", write_results)
for arguments in json.loads(sys.argv[1]):
    main(arguments)
"""
EVALUATIONS = {
    "choices, baselines and scores": [
        *("--eval_protocol", "dc", "--eval_architectures", "MLP", "LeNet", "--eval_students", "3"),
        *("--eval_epochs", "1", "3", "--eval_learning_rates", "0.01", "0.1"),
        *("--baselines", "random", "full", "--scores", "relative_accuracy", "label_robust_score"),
        *("--eval_copies", "float"),
    ],
    "probe": ["--eval_protocol", "linear-probe", "--eval_epochs", "20", "--eval_students", "3"],
}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory, tiny_teachers, launch):
    """A folder with what one process gave under `one`, and two under `two`; and what the two printed."""
    root = tmp_path_factory.mktemp("processes")
    options = {"ipc": 2, "iterations": 3, "real_batch_size": 4, "architecture_options": ["width=8"]}
    folder = hf_dd.distill(output_dir=str(root / "set"), eval_students=0, **options).folder
    synthetic = SyntheticSet.initial(load_data(DataConfig()), 10, "real", 0, torch.float32)
    torch.save({"data": [[synthetic.pixels.detach(), synthetic.labels]]}, root / "res_DM.pt")

    def commands(place):
        probed = {"probe": ["--eval_architectures", tiny_teachers.references[0], str(tiny_teachers.folders[2])]}
        for name, arguments in EVALUATIONS.items():
            output = ["--output_dir", str(root / place / name)]
            yield ["evaluate", str(folder), *arguments, *probed.get(name, []), *output]
        output = ["--output_dir", str(root / place / "imported")]
        yield ["import", str(root / "res_DM.pt"), "--dataset", "digits", *output]

    with pytest.MonkeyPatch.context() as patch:  # neither remembers what the other has trained
        patch.setattr("datasets.config.HF_DATASETS_CACHE", root / "cache-one")
        for arguments in commands("one"):
            cli.main(arguments)
    (root / "each.py").write_text(EACH)
    done = launch(root / "each.py", json.dumps(list(commands("two"))), root)
    return root, done.stdout


@pytest.mark.parametrize("name", EVALUATIONS)
def test_two_processes_give_the_results_of_one(pairs, name):
    one, two = (json.loads((pairs[0] / place / name / "results.json").read_text()) for place in ("one", "two"))
    assert one.pop("hardware").endswith(", 1 process of 1 thread")
    assert two.pop("hardware").endswith(", 2 processes of 1 thread")

    def without_seconds(value):
        if isinstance(value, dict):
            return {key: without_seconds(inner) for key, inner in value.items() if key != "seconds"}
        return [without_seconds(inner) for inner in value] if isinstance(value, list) else value

    assert without_seconds(two) == without_seconds(one)
    assert len(one["rows"]) == {"probe": 8}.get(name, 6) and all(row["n"] == 3 for row in one["rows"])
    if name != "probe":
        assert len(one["scores"]) == 4 and len({(row["epochs"], row["learning_rate"]) for row in one["rows"]}) > 1


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="the threads of a process are listed by Linux")
def test_the_group_is_left_before_python_ends(pairs):
    """A thread of gloo's that gives up a tensor while the interpreter ends aborts a launch that had succeeded."""
    for rank in (0, 1):
        threads = (pairs[0] / f"threads-{rank}").read_text().split()
        assert threads and not [name for name in threads if "gloo" in name]


@pytest.mark.parametrize("begun_by", ["processes()", "new_accelerator('no')"])
def test_processes_wait_for_each_other_for_days(begun_by, ranks_of):
    """What the main process does alone, as making labels of a large set, may take longer than torch would wait."""
    code = f"""
import torch
from hf_dd.core.processes import new_accelerator, processes
{begun_by}
print(torch.distributed.group.WORLD._get_backend(torch.device("cpu")).options._timeout.days, flush=True)
"""
    assert sorted(ranks_of("-c", code).stdout.split()) == ["7", "7"]


def test_one_process_writes_an_import_and_says_so_once(pairs):
    root, printed = pairs
    assert (root / "written").read_text().splitlines() == ["results by rank 0"] * 2 + ["set by rank 0"]
    assert printed.count(f"in {root / 'two/imported'}") == 1 and printed.count("Results under dc v1") == 1
    (_, one, _), (_, two, _) = (load_distilled(str(root / place / "imported")) for place in ("one", "two"))
    assert torch.equal(one.pixel_values, two.pixel_values) and torch.equal(one.labels, two.labels)
