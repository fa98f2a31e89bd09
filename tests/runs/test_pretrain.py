"""Teachers that were interrupted go on to the same bytes; finished ones stay, until they are to be replaced."""

import json
import shutil

import pytest

import hf_dd
from hf_dd.artefacts import teacher_folder
from hf_dd.errors import ConfigError, RunError

pytestmark = pytest.mark.usefixtures("one_thread")

OPTIONS = {"dataset": "digits", "architectures": ["MLP"], "batch_size": 512, "epochs": 3, "keep_epochs": [0, 2]}


class Killed(BaseException):
    pass


def pretrain(root, **options):
    return hf_dd.pretrain(**OPTIONS | {"output_dir": str(root)} | options)[0]


def weights(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("model.safetensors"))}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return pretrain(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def kill(monkeypatch):
    """Kills a run as it begins to write for the n-th time."""

    def at(number):
        for name in ("write_snapshot", "write_checkpoint", "write_run"):
            write = getattr(teacher_folder, name)

            def counted(*arguments, write=write, **options):
                done.append(write)
                if len(done) == number:
                    raise Killed
                return write(*arguments, **options)

            patch.setattr(teacher_folder, name, counted)

    done = []
    with monkeypatch.context() as patch:
        yield at


@pytest.mark.parametrize("number", range(1, 7))
def test_a_run_that_was_interrupted_goes_on_by_the_same_call(whole, tmp_path, kill, monkeypatch, number):
    kill(number)
    with pytest.raises(Killed):
        pretrain(tmp_path)
    monkeypatch.undo()
    folder = pretrain(tmp_path)
    assert weights(folder) == weights(whole) and len(weights(folder)) == 3
    assert sorted(path.name for path in folder.iterdir()) == ["epoch-0", "epoch-2", "epoch-3", "hf_dd.json"]


def test_a_finished_teacher_stays_as_it_is(whole, tmp_path):
    folder = shutil.copytree(whole, tmp_path / whole.name)
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert pretrain(tmp_path) == folder
    assert pretrain(tmp_path, keep_epochs=[2]) == folder  # it has those
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == times


def test_a_run_that_was_killed_right_at_its_end_leaves_nothing_of_what_it_went_on_from(whole, tmp_path):
    folder = shutil.copytree(whole, tmp_path / whole.name)
    (folder / teacher_folder.CHECKPOINT).write_bytes(b"of the last epoch")
    assert pretrain(tmp_path) == folder and weights(folder) == weights(whole)
    assert not (folder / teacher_folder.CHECKPOINT).exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"learning_rate": 0.5}, "learning_rate: 0.01 there, 0.5 here"),
        ({"keep_epochs": [1, 2]}, "keep_epochs: it lacks 1"),
        ({"epochs": 4}, "epochs: 3 there, 4 here"),
    ],
)
def test_another_run_is_named_and_stays_until_the_new_one_is_whole(whole, tmp_path, kill, monkeypatch, options, words):
    folder = shutil.copytree(whole, tmp_path / whole.name)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match=rf"{folder} holds another run \({words}.*--overwrite_output_dir"):
        pretrain(tmp_path, **options)
    kill(5)
    with pytest.raises(Killed):
        pretrain(tmp_path, overwrite_output_dir=True, **options)
    monkeypatch.undo()
    assert weights(folder) == weights(whole)
    pretrain(tmp_path, overwrite_output_dir=True, **options)
    assert weights(folder) != weights(whole) and (folder / "notes.txt").read_text() == "mine"
    assert not list(tmp_path.rglob(".unfinished*"))


def test_a_folder_that_holds_no_teacher_is_left_alone(tmp_path):
    folder = tmp_path / "digits-mlp-seed0"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(RunError, match="holds is no teacher of hf-dd: give another --output_dir"):
            pretrain(tmp_path, overwrite_output_dir=overwrite)
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def test_a_teacher_of_an_older_version_is_one_without_what_came_since(whole, tmp_path):
    folder = shutil.copytree(whole, tmp_path / whole.name)
    for path in folder.glob("epoch-*/hf_dd.json"):
        record = json.loads(path.read_text())
        del record["training"]["mix"]
        path.write_text(json.dumps(record))
    assert pretrain(tmp_path) == folder  # it is there
    with pytest.raises(RunError, match="mix: 'none' there, 'cutmix=0.5' here"):
        pretrain(tmp_path, mix="cutmix=0.5")


def test_a_seed_is_no_negative_number(tmp_path):
    with pytest.raises(ConfigError, match="--teacher_seeds holds .-1.; each has to be at least 0"):
        pretrain(tmp_path, teacher_seeds=[-1])


@pytest.mark.parametrize(("options", "kept"), [({"keep_epochs": [2]}, False), ({"keep_epochs": [0]}, True)])
def test_a_teacher_that_diverges_says_what_is_kept_of_it(tmp_path, options, kept):
    with pytest.raises(RunError, match="diverged in epoch 1 .*smaller --learning_rate") as raised:
        pretrain(tmp_path, learning_rate=1e38, batch_size=64, **options)
    assert ("are kept" in str(raised.value)) == kept == bool(list(tmp_path.rglob("model.safetensors")))
