"""What trackers get of a run: its name, losses, previews, images and results."""

import json
import sqlite3

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hf_dd.config import DistillConfig
from hf_dd.config.distillation import TRACKIO, parse_trackio
from hf_dd.errors import ConfigError
from tests.factories import arguments, distil

RUN = {"iterations": 4, "logging_steps": 2, "save_steps": 2, "eval_students": 1, "eval_epochs": [1]}


@pytest.fixture(scope="module")
def run(forks, tmp_path_factory):
    """The folder of a run with both trackers, Trackio's folder, and what was printed."""
    root = tmp_path_factory.mktemp("tracked")
    words = arguments(root / "my-run", report_to=["tensorboard", "trackio"], **RUN)
    environment = {"TRACKIO_DIR": root / "trackio", "HF_HUB_OFFLINE": 1, "OMP_NUM_THREADS": 1}
    done = forks.run("-m", "hf_dd", "distill", *words, cwd=root, **environment)
    assert done.returncode == 0, done.stderr
    return root / "my-run", root / "trackio", done


def events_of(folder):
    events = EventAccumulator(str(folder), size_guidance={"images": 0, "tensors": 0, "scalars": 0})
    events.Reload()
    return events


def test_tensorboard_has_one_run_of_the_runs_name(run):
    logs = run[0] / "logs"
    assert [path.name for path in logs.iterdir()] == ["my-run"]
    assert [path.name.split(".")[0] for path in (logs / "my-run").iterdir()] == ["events"]
    events = events_of(logs / "my-run")
    assert [event.step for event in events.Scalars("loss/total")] == [2, 4]
    assert "_hparams_/session_start_info" in events.PluginTagToContent("hparams")


def test_tensorboard_has_previews_images_and_results(run):
    events = events_of(run[0] / "logs/my-run")
    assert [image.step for image in events.Images("preview")] == [0, 2, 4]
    assert {f"distilled/{digit}" for digit in range(10)} <= set(events.Tags()["images"])
    image = events.Images("distilled/7")[0]
    assert image.encoded_image_string.startswith(b"\x89PNG") and (image.width, image.height) > (64, 64)
    (event,) = events.Tensors("results/text_summary")
    lines = event.tensor_proto.string_val[0].decode().splitlines()
    rows = json.loads((run[0] / "results.json").read_text())["rows"]
    assert lines[0].startswith("| set | copy | architecture | mean |") and len(lines) == 2 + len(rows)
    assert str(rows[0]["mean"]) in lines[2]


def test_trackio_has_the_same_under_the_runs_name(run):
    (database,) = run[1].glob("hf-dd*.db")
    with sqlite3.connect(database) as connection:
        found = connection.execute("select run_name, step, metrics from metrics order by id").fetchall()
    assert {name for name, _, _ in found} == {"my-run"}
    logged = [(step, key, value) for _, step, text in found for key, value in json.loads(text).items()]
    assert [step for step, key, _ in logged if key == "loss/total"] == [2, 4]
    assert [step for step, key, _ in logged if key == "preview"] == [0, 2, 4]
    (table,) = [value for _, key, value in logged if key == "results"]
    rows = json.loads((run[0] / "results.json").read_text())["rows"]
    assert [row["mean"] for row in table["_value"]] == [row["mean"] for row in rows]
    images = [value for _, key, value in logged if key.startswith("distilled/")]
    assert len(images) == 10 and all((run[1] / "media" / image["file_path"]).is_file() for image in images)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["space=me/runs"], "unknown option of Trackio 'space'; known, nearest first: space_id"),
        (["private=perhaps"], "private is perhaps; it has to be true or false."),
        (["space_id"], "isn't of the form key=value"),
    ],
)
def test_options_that_trackio_has_not_are_refused(given, said):
    with pytest.raises(ConfigError, match=said):
        DistillConfig(report_to=["trackio"], trackio_options=given)


def test_a_tracker_that_can_not_start_is_one_clear_line_before_any_training(tmp_path):
    server = ["server_url=http://127.0.0.1:9"]
    with pytest.raises(ConfigError, match="--report_to trackio can't start: .* write token"):
        distil(tmp_path / "run", report_to=["trackio"], trackio_options=server)
    assert not (tmp_path / "run/hf_dd.json").exists() and not (tmp_path / "run/checkpoints").exists()


def test_options_of_trackio_are_those_of_its_init_and_need_it():
    trackio = pytest.importorskip("trackio")
    import inspect

    assert set(TRACKIO) <= set(inspect.signature(trackio.init).parameters)
    given = parse_trackio(["space_id=me/7", "private=yes", "group=1"])
    assert given == {"space_id": "me/7", "private": True, "group": "1"}
    with pytest.raises(ConfigError, match="give --report_to trackio too"):
        DistillConfig(trackio_options=["space_id=me/runs"])
