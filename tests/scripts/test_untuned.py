"""The table of untuned data sets: what it runs, what it keeps, and the arithmetic of its rows."""

import json
import statistics
import sys
from pathlib import Path

import pytest
from scipy import stats

from tests.factories import says
from tests.scripts import loading

ROOT = Path(__file__).parents[2]

SCORES = {  # of students, by set and by baseline
    "planned-10-0": [60.0, 62.0],
    "planned-10-1": [64.0, 66.0],
    "own-teachers-10-0": [70.0, 74.0],
    "random": [40.0, 42.0],
    "herding": [50.0, 54.0],
}


@pytest.fixture
def script(monkeypatch):
    """The script as a module whose commands of hf-dd are noted in `ran`, and take 7 s."""
    module = loading.script("untuned")
    module.ran, module.machine, module.has_bf16 = [], "CPU (A), 1 process", True

    def run(*words):
        module.ran.append(words)
        place = Path(words[words.index("--output_dir") + 1])
        place.mkdir(parents=True, exist_ok=True)
        if words[1] == "evaluate":
            names = [Path(word).name for word in words[2 : words.index("--dataset")]]
            rows = [{"set": name, "baseline": None} for name in names]
            rows += [{"set": name, "baseline": name} for name in ("random", "herding")]
            for row in rows:
                scores = SCORES[row["set"]]
                about = {"scores": scores, "mean": statistics.fmean(scores), "half_width": 1.0, "n": 2}
                row |= about | {"protocol": "dsa 1"}
            half = ", bf16" * ("bf16" in words and module.has_bf16)
            (place / "results.json").write_text(json.dumps({"rows": rows, "hardware": f"CPU (A), 1 process{half}"}))
        else:
            about = {"versions": {"hf-dd": f"1 of {place.name}"}, "run": {"hardware": module.machine}}
            (place / "hf_dd.json").write_text(json.dumps(about))
        return {"seconds": 7.0}

    monkeypatch.setattr(module, "run", run)
    return module


def table(script, monkeypatch, folder, *words):
    monkeypatch.setattr(sys, "argv", ["untuned.py", *words, "--students", "2", "--output_dir", str(folder)])
    script.main()
    return json.loads((folder / "untuned.json").read_text())["rows"]


def is_mean(found, mean, half):
    return (found["mean"], found["half_width"]) == pytest.approx((mean, half))


def half_width(values):
    return stats.t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5


def test_rows_are_over_distillations_and_over_students_of_a_single_one(script, monkeypatch, tmp_path):
    part = ["--ipc", "1", "--minutes", "10"]
    (planned,) = table(script, monkeypatch, tmp_path, *part, "--kinds", "planned", "--seeds", "0", "1")
    # Means of 61 and 65, and of 62 and 64 of the students, who are the same: variances of 4 and 1.
    shared = stats.t.ppf(0.975, 5**2 / (4**2 + 1**2)) * 5**0.5
    assert is_mean(planned["accuracy"], 63.0, shared)
    assert is_mean(planned["over random"], 22.0, half_width([20.0, 24.0]))
    assert is_mean(planned["over herding"], 11.0, shared)
    assert planned["took"] == [7.0, 7.0] and planned["distillations"] == 2
    assert planned["code"] == ["hf-dd 1 of planned-10-0", "hf-dd 1 of planned-10-1"]  # that of the sets' records
    taught, kept = table(script, monkeypatch, tmp_path, *part, "--kinds", "own teachers", "--seeds", "0")
    assert kept == planned  # of an earlier part
    assert is_mean(taught["accuracy"], 72.0, half_width([70.0, 74.0]))
    assert is_mean(taught["over herding"], 20.0, 0.0)  # each 20 above its partner
    lines = (tmp_path / "untuned.md").read_text().splitlines()
    assert "| digits | 1 | 10 | own teachers | 1 × 2 ConvNet | 72.0 [46.6, 97.4] | 41.0 | 52.0 |" in "\n".join(lines)


def test_intervals_of_earlier_rows_hold_what_their_real_images_vary(script):
    row = {"distillations": 3, "random": {"half_width": 4.0}, "herding": {"half_width": 0.0}}
    row |= {f"over {kind}": {"mean": 9.0, "half_width": 3.0} for kind in ("random", "herding")}
    wide = script.with_real_images(row)
    assert [wide[f"over {kind}"]["half_width"] for kind in ("random", "herding")] == [5.0, 3.0]
    assert script.with_real_images(wide) == wide and script.with_real_images(row | {"distillations": 1}) == row | {
        "distillations": 1
    }


def test_rows_of_another_machine_stand_beside_those_there_are(script, monkeypatch, tmp_path):
    part = ["--ipc", "1", "--minutes", "10", "--kinds", "planned", "--seeds"]
    (first,) = table(script, monkeypatch, tmp_path, *part, "0")
    script.machine = "CPU (B), 1 process"
    found = table(script, monkeypatch, tmp_path, *part, "1")
    assert found[0] == first and [row["hardware"] for row in found] == [["CPU (A), 1 process"], ["CPU (B), 1 process"]]
    lines = (tmp_path / "untuned.md").read_text().splitlines()
    assert [line.rsplit(" | ", 2)[1:] for line in lines if line.startswith("| digits")] == [["7", "1 |"], ["7", "2 |"]]
    place = lines.index("Machines:")
    assert lines[place + 1 : place + 3] == ["1. CPU (A), 1 process", "2. CPU (B), 1 process"]


def test_what_is_there_is_not_made_again_and_a_plan_goes_on(script, monkeypatch, tmp_path):
    part = ["--ipc", "1", "--minutes", "10", "--kinds", "own teachers", "--seeds", "0"]
    place = tmp_path / "digits-ipc1" / "own-teachers-10-0"
    place.mkdir(parents=True)
    (place / "plan.json").write_text("{}")
    (row,) = table(script, monkeypatch, tmp_path, *part)
    made, evaluated = script.ran
    assert made[-2:] == ("--resume_from_checkpoint", "latest") and ("--clom", "ce") in zip(
        made, made[1:], strict=False
    )
    assert row["commands"] == [
        "hf-dd distill --dataset digits --ipc 1 --minutes 10 --clom ce --seed 0 --output_dir own-teachers-10-0 "
        "--resume_from_checkpoint latest"
    ]
    assert ("--mixed_precision", "no") in zip(evaluated, evaluated[1:], strict=False)
    kept, half = table(script, monkeypatch, tmp_path, *part, "--mixed_precision", "bf16")
    assert kept == row
    assert [words[1] for words in script.ran] == ["distill", "evaluate", "evaluate"]
    assert row["architecture"] == "ConvNet" and row["protocol"] == "dsa 1, hard labels"
    assert half["protocol"] == f"{row['protocol']}, bf16"
    script.has_bf16 = False  # a CPU on which the students trained in float32 after all
    full, other = table(script, monkeypatch, tmp_path, *part, "--mixed_precision", "bf16")
    assert full["protocol"] == row["protocol"] and other == half


def test_a_set_of_other_data_is_not_taken_for_one_of_its_name(script, monkeypatch, tmp_path):
    part = ["--ipc", "1", "--minutes", "10", "--kinds", "planned", "--seeds", "0", "--data"]
    table(script, monkeypatch, tmp_path, *part, "letters=/first/letters")
    with pytest.raises(SystemExit) as end:
        table(script, monkeypatch, tmp_path, *part, "letters=/second/letters")
    says(str(end.value), "letters-ipc1/planned-10-0 was made by `hf-dd distill --dataset /first/letters --ipc 1 ")
    says(str(end.value), "remove it and planned-10-0.seconds.json, or give another --output_dir")
    kept = tmp_path / "letters-ipc1/planned-10-0.seconds.json"
    told = {
        key: value for key, value in json.loads(kept.read_text()).items() if key != "words"
    }  # an earlier version's
    kept.write_text(json.dumps(told))
    table(script, monkeypatch, tmp_path, *part, "letters=/first/letters")
    kept.write_text(json.dumps(told | {"command": told["command"].replace("--ipc 1", "--ipc 2")}))
    with pytest.raises(SystemExit, match="was made by `hf-dd distill --dataset letters --ipc 2 "):
        table(script, monkeypatch, tmp_path, *part, "letters=/first/letters")


def test_rows_of_other_students_stay_and_calls_are_told(script, monkeypatch, tmp_path):
    """Beside the published table, whose calls nobody kept, but a command."""
    published = json.loads((ROOT / "docs/results/untuned/untuned.json").read_text())
    (tmp_path / "untuned.json").write_text(json.dumps(published))
    part = ["--ipc", "1", "--minutes", "10", "--kinds", "planned", "--seeds", "0"]
    first = table(script, monkeypatch, tmp_path, *part)
    assert len(first) == len(published["rows"]) + 1
    second = table(script, monkeypatch, tmp_path, *part, "--architecture", "ConvNetW64")
    assert len(second) == len(first) + 1 and all(row in second for row in [*first, *published["rows"]])
    calls = json.loads((tmp_path / "untuned.json").read_text())["command"].split("; ")
    end = f"--students 2 --output_dir {tmp_path.name}"
    assert calls == [
        published["command"],
        f"python scripts/untuned.py {' '.join(part)} {end}",
        f"python scripts/untuned.py {' '.join(part)} --architecture ConvNetW64 {end}",
    ]
    says(
        (tmp_path / "untuned.md").read_text(), *(f"`{call}`" for call in calls), "1 × 2 ConvNetW64 (", "1. dsa 1, hard"
    )
