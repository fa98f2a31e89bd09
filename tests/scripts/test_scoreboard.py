"""The scoreboard: its commands are ones that hf-dd takes, and its gains are paired by student."""

import json
import shlex
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from hf_dd.cli import COMMANDS
from hf_dd.config.parsing import parse_config
from hf_dd.core.registry import OBJECTIVES, PROTOCOLS, STARTS
from hf_dd.distillation.checks import preflight
from hf_dd.training import pretraining
from tests.factories import says
from tests.scripts import loading

SCORES = {  # by regime, of students
    "hard": {"dm": [60.0, 62.0], "dm-clom": [64.0, 68.0], "random": [50.0, 53.0], "margin": [55.0, 58.0]},
    "soft": {"dm": [70.0, 72.0], "dm-clom": [73.0, 74.0], "random": [71.0, 72.0], "margin": [60.0, 60.0]},
}


@pytest.fixture
def script(monkeypatch):
    """The script as a module whose commands are parsed, and noted in `ran`."""
    module = loading.script("scoreboard")
    module.ran = []

    def run(*words):
        program, name, *rest = map(str, words)
        config = parse_config(COMMANDS[name].options, rest, command=f"hf-dd {name}")
        module.ran.append((name, config))
        place = Path(config.output_dir)
        if name == "pretrain":
            for architecture, seed in pretraining.grid(config):
                folder = place / f"digits-{architecture.lower()}-seed{seed}"
                folder.mkdir(parents=True)
                (folder / "hf_dd.json").write_text("{}")
        if name == "distill":
            place.mkdir(parents=True, exist_ok=True)
            record = {"versions": {"hf-dd": "0.1.0"}, "parquet_sha256": str(config.ipc), "run": {"seconds": 61.5}}
            settings = {key: getattr(config, key) for key in module.TOLD}
            settings |= {"factor": config.factor or 1, "init": "real"}
            (place / "hf_dd.json").write_text(json.dumps(record | {"settings": settings}))
        if name == "compare":
            place.mkdir(parents=True, exist_ok=True)
            rows = [
                {"regime": regime, "set": own, "baseline": own if own in ("random", "margin") else None}
                | {"scores": scores, "mean": sum(scores) / 2, "n": 2}
                for regime, of_regime in SCORES.items()
                for own, scores in of_regime.items()
            ]
            (place / "results.json").write_text(json.dumps({"rows": rows, "hardware": "CPU"}))
            (place / "comparison.md").write_text("- the first verdict\n- the second\n\nthe table\n")
            (place / "comparison.png").write_bytes(b"")

    def pruned(options):
        module.pruned_for.append(options.epochs)
        return {"el2n": 40.0, "margin": 44.0}

    module.pruned_for = []
    monkeypatch.setattr(module, "run", run)
    monkeypatch.setattr(module, "pruned", pruned)
    return module


def test_every_method_is_there_with_the_teachers_that_it_needs(script, monkeypatch, tmp_path):
    words = ["--work_dir", str(tmp_path / "work"), "--output_dir", str(tmp_path / "table")]
    monkeypatch.setattr(sys, "argv", ["scoreboard.py", *words])
    monkeypatch.setattr(script, "write", lambda *_: None)
    script.main()
    of = {Path(config.output_dir).name: config for name, config in script.ran if name in ("pretrain", "distill")}
    assert list(of)[:3] == ["teachers", "experts", "trajectories"] and tuple(list(of)[3:]) == script.METHODS
    chosen = ({"random", "herding", "kcenter", "teacher-score", "teacher-score-hard"} | {*STARTS.declared}) - {"rded"}
    others = {"datm-tesla", "lgm", "sfm"}  # the same in less memory; of one image per class and a frozen backbone
    assert {of[name].objective for name in script.METHODS} == {*OBJECTIVES.declared} - chosen - others
    assert of["trajectories"].keep_epochs == [0, 5] and of["experts"].keep_epochs == [0, 1, 2, 3, 4]
    kind = dict.fromkeys(("mtt", "tesla", "datm"), "experts") | dict.fromkeys(("dance", "ncfm"), "trajectories")
    for name in script.METHODS:
        folders = {Path(each).parent.name for each in [*of[name].experts, *of[name].teachers]}
        assert folders == ({kind.get(name, "teachers")} if name not in ("dc", "dsa", "idc", "dm") else set())
        assert of[name].ipc == 10 and of[name].eval_students == 0
        preflight(of[name])
    (compared,) = (config for name, config in script.ran if name == "compare")
    assert [Path(folder).name for folder in compared.sets] == list(script.METHODS)


def test_every_command_is_one_of_hf_dd_and_what_is_there_stays(script, monkeypatch, tmp_path):
    words = ["--methods", "sre2l", "dm", "dm-clom", "--students", "2", "--mixed_precision", "bf16"]
    words += ["--work_dir", str(tmp_path / "work"), "--output_dir", str(tmp_path / "table")]
    monkeypatch.setattr(sys, "argv", ["scoreboard.py", *words])
    script.main()
    assert [name for name, _ in script.ran] == ["pretrain", "distill", "distill", "distill", "compare"]
    assert {config.mixed_precision for _, config in script.ran} == {"bf16"}
    trained, sre2l, dm, guided, compared = (config for _, config in script.ran)
    assert [Path(name).name for name in sre2l.teachers] == ["digits-convnetbn-seed0@final"]
    assert (dm.clom, guided.clom, dm.teachers) == ("none", "ce", []) and guided.teachers == compared.eval_teachers
    assert (dm.image_learning_rate, dm.architecture) == (4.7, "ConvNetW64")  # 3 times the root of 10, at 32 channels
    assert compared.baselines == ["random", "herding", "margin", "full"] and compared.eval_students == 2
    assert compared.sets == [str(tmp_path / "work" / name) for name in ("sre2l", "dm", "dm-clom")]

    found = json.loads((tmp_path / "table/results.json").read_text())
    assert [what for what, _ in found["headlines"]] == [
        f"digits, ipc 10, {regime} labels: dm-clom" for regime in ("hard", "soft")
    ]
    hard, soft = (much for _, much in found["headlines"])
    assert hard.startswith("66.0 %, +14.50 [8.15, 20.85] points over random, +9.50 [3.15, 15.85] points over margin")
    assert soft.startswith("73.5 %, +2.00 [2.00, 2.00] points over random")
    assert shlex.split(found["command"])[:2] == ["python", "scripts/scoreboard.py"]
    said = (tmp_path / "table/results.md").read_text()
    assert str(tmp_path) not in said and "- the first verdict\n- the second\n\nthe table\n" in said
    assert "(the sets by hf-dd 0.1.0)" in said
    made = dict(line.split(" | ", 1) for line in said.splitlines() if " | real | " in line)
    assert made["| dm"].startswith("500 | 1 | real | ") and made["| dm"].endswith(" | ConvNetW64 | 4.7 | 62 s |")
    assert found["sets"]["sre2l"]["iterations"] == 500 and list(found["sets"]) == ["sre2l", "dm", "dm-clom"]

    script.ran.clear()
    (tmp_path / "table/results.md").unlink()
    script.main()
    assert not script.ran and (tmp_path / "table/results.md").read_text() == said

    script.ran.clear()
    (tmp_path / "work/dm/hf_dd.json").unlink()  # interrupted
    (tmp_path / "work/comparison/results.json").unlink()
    (tmp_path / "work/comparison").rename(tmp_path / "former")
    script.main()
    assert [name for name, _ in script.ran] == ["distill", "compare"]
    assert script.ran[0][1].resume_from_checkpoint == "latest"
    script.ran.clear()
    monkeypatch.setattr(sys, "argv", ["scoreboard.py", *words, "--epochs", "7"])
    script.main()
    assert [(name, config.eval_epochs) for name, config in script.ran] == [("compare", [7])]
    assert script.pruned_for == [300, 7]  # each by students like those of the table


CHANGED = [("--ipc 1", "dm", "--ipc 1"), ("--iterations 3", "dm", "--iterations 3")]
CHANGED += [("--teacher_epochs 9", "teachers", "--epochs 9")]


@pytest.mark.parametrize(("changed", "place", "told"), CHANGED)
def test_what_other_options_made_is_not_taken(script, monkeypatch, tmp_path, changed, place, told):
    words = ["scoreboard.py", "--methods", "dm", "dm-clom", "--work_dir", str(tmp_path / "work")]
    monkeypatch.setattr(sys, "argv", words)
    monkeypatch.setattr(script, "write", lambda *_: None)
    script.main()
    script.ran.clear()
    monkeypatch.setattr(sys, "argv", [*words, *changed.split()])
    with pytest.raises(SystemExit) as end:
        script.main()
    says(str(end.value), f"{tmp_path}/work/{place} was made by `hf-dd", told, "remove it, or give another --work_dir")
    assert not script.ran
    shutil.rmtree(tmp_path / "work" / place)
    with pytest.raises(SystemExit, match="/dm-clom was made by "):  # by those teachers, or of that size, too
        script.main()
    shutil.rmtree(tmp_path / "work/dm-clom")
    script.main()
    again = {"teachers": ["pretrain", "distill", "compare"], "dm": ["distill", "distill"]}[place]
    assert [name for name, _ in script.ran] == [*again, *["compare"] * ("ipc" in told)]  # of other images
    (tmp_path / f"work/{place}.words.json").unlink()  # as older versions left it
    with pytest.raises(SystemExit, match=f"{place} was made by `an unknown command`"):
        script.main()


def test_pruning_methods_are_compared_on_images_as_the_data_allow(tmp_path, monkeypatch):
    module, asked = loading.script("scoreboard"), []
    monkeypatch.setattr(module, "baseline", lambda kind, *_: kind)
    monkeypatch.setattr(
        module.Evaluation, "run", lambda self, *_: asked.append(self.protocol) or SimpleNamespace(rows=())
    )
    options = SimpleNamespace(dataset="digits", ipc=1, epochs=2, architecture="MLP", mixed_precision="no")
    assert module.pruned(options) == {}
    (protocol,) = asked
    assert "flip" not in protocol.augment and "flip" in PROTOCOLS["hl"].augment  # mirrored digits are other signs
