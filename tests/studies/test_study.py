"""`hf-dd study`: what it runs, what it keeps, what it reports; on digits."""

import dataclasses
import json
import shutil
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import datasets
import pytest
import yaml
from filelock import FileLock

import hf_dd
from hf_dd import hub
from hf_dd.artefacts import provenance, teacher_folder
from hf_dd.artefacts.distilled_folder import Artefact
from hf_dd.config import DistillConfig, StudyConfig
from hf_dd.config.recipes import read_recipe
from hf_dd.core.machine import cpu
from hf_dd.core.resources import resource
from hf_dd.distillation.distiller import Distiller
from hf_dd.errors import ConfigError, DataError, HubError, RunError
from hf_dd.evaluation import intervals
from hf_dd.studies import outcomes as outcomes_of
from hf_dd.studies import pool_options, pool_search, publish, recipe, study
from hf_dd.studies import report as study_report
from hf_dd.studies.study import Study
from hf_dd.training import pretraining

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = {
    "teachers": {
        "few": {
            "dataset": "digits",
            "architectures": ["MLP"],
            "epochs": 2,
            "keep_epochs": [1, 2],
            "learning_rate": 0.1,
        }
    },
    "base": {"config": "digits-dm", "ipc": 1, "iterations": 3, "save_steps": 1, "eval_students": 2, "eval_epochs": 2},
    "cells": {
        "plain": {"architecture_options": ["width=8", "depth=1"]},
        "guided": {
            "architecture_options": ["width=8", "depth=1"],
            "clom": "ce",
            "teachers": ["teachers/few/mlp-seed0@epoch-1"],  # a short name; the pools' are whole ones
        },
    },
    "seeds": [0, 1],
    "comparisons": {"gain": [["guided", "plain"]]},
    "curves": {"both": ["guided", "plain"], "one": ["plain"]},
}


CHOOSING = SMALL | {
    "pools": {
        "best": {
            "objective": "clom",  # which can't do without a teacher: so some pool is chosen on any machine
            **{"dataset": "digits", "ipc": 1, "iterations": 2, "first_rung": 1, "eval_epochs": [2]},
            "teachers": [f"teachers/few/digits-mlp-seed0@epoch-{epoch}" for epoch in (1, 2)],
        }
    },
    "cells": {
        "plain": SMALL["cells"]["plain"],
        "chosen": SMALL["cells"]["plain"] | {"clom": "ce", "teacher_pool": "pools/best"},
    },
    "seeds": [0],
    "comparisons": {"gain": [["chosen", "plain"]]},
    "curves": {},
}


def write(folder, content=SMALL):
    folder.mkdir(exist_ok=True)
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return str(path)


def run(folder, content=SMALL):
    return study.study(study=write(folder, content), output_dir=str(folder / "out"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    run(folder)
    return folder


def counted(monkeypatch, name, module=study):
    """How often a use case is called from now on."""
    calls, function = [], getattr(module, name)
    monkeypatch.setattr(
        module, name, lambda *args, **options: calls.append((args, options)) or function(*args, **options)
    )
    return calls


def test_the_report_says_what_the_cells_reached(finished):
    report = json.loads((finished / "out/report.json").read_text())
    assert list(report["cells"]) == ["plain", "guided"]
    means = {}
    for name, cell in report["cells"].items():
        assert list(cell["scores"]) == ["ConvNet"]
        for seed, scores in enumerate(cell["scores"]["ConvNet"]):
            record = Artefact.open(finished / f"out/cells/{name}-seed{seed}").record
            row = next(row for row in record.results["rows"] if row["baseline"] is None)
            assert (row["copy"], list(scores)) == ("float", list(row["scores"]))
            assert record.settings["seed"] == seed
            assert cell["parquet_sha256"][seed] == record.parquet_sha256
        means[name] = [statistics.fmean(scores) for scores in cell["scores"]["ConvNet"]]
    differences = [a - b for a, b in zip(means["guided"], means["plain"], strict=True)]
    found = report["comparisons"]["gain"]
    assert (found["mean"], found["n"]) == (pytest.approx(statistics.fmean(differences)), 2)
    # t(0.975, 1 degree of freedom) = 12.706
    assert found["half_width"] == pytest.approx(12.7062 * statistics.stdev(differences) / 2**0.5, rel=1e-4)
    (teacher,) = report["cells"]["guided"]["teachers"]
    assert (teacher["epoch"], teacher["sha"][:7]) == (1, "sha256:")
    text = (finished / "out/report.md").read_text()
    assert f"{statistics.fmean(s for c in report['cells']['plain']['scores']['ConvNet'] for s in c):.2f} ±" in text
    assert "| guided − plain |" in text and "random real, ipc 1" in text and teacher["sha"] in text
    assert (finished / "out/report.png").read_bytes()[:4] == b"\x89PNG"
    assert "# small\n\n![Accuracies of the cells](report.png)\n\n| made | by |" in text
    (command,) = (line for line in text.splitlines() if line.startswith("| command | `hf-dd study "))
    assert str(finished / "small.yaml") in command and f"--output_dir {finished / 'out'}" in command
    assert f"| code | hf-dd {provenance.versions()['hf-dd']} |" in text
    assert f"| hardware | {cpu()}, 1 process of 1 thread |" in text


def test_the_report_says_how_long_its_curves_took(finished):
    report = json.loads((finished / "out/report.json").read_text())
    text = (finished / "out/report.md").read_text()
    assert "## Accuracy against time\n\n![Accuracy against minutes](times.png)\n\n| curve |" in text
    assert (finished / "out/times.png").read_bytes()[:4] == b"\x89PNG"
    assert list(report["curves"]) == ["both", "one"]
    points = {point["cell"]: point for point in report["curves"]["both"]}
    for name, cell in report["cells"].items():
        assert points[name]["minutes"]["distilling"] == pytest.approx(statistics.fmean(cell["seconds"]) / 60)
        assert points[name]["minutes"]["teaching"] == pytest.approx(cell["teaching_seconds"] / 60)
        assert points[name]["mean"] == pytest.approx(statistics.fmean(s for c in cell["scores"]["ConvNet"] for s in c))
    assert points["guided"]["minutes"]["teaching"] > 0 == points["plain"]["minutes"]["teaching"]


def test_a_report_without_curves_has_no_picture_of_them(tmp_path):
    (tmp_path / "times.png").write_bytes(b"of a recipe before")
    text, content = written(tmp_path, evaluated(80.0, 82.0))
    assert "Accuracy against time" not in text and content["curves"] == {} and not (tmp_path / "times.png").exists()
    text, content = written(tmp_path, evaluated(80.0, 82.0), line=["a"])
    assert [point["cell"] for point in content["curves"]["line"]] == ["a"] and (tmp_path / "times.png").exists()


def test_what_is_finished_is_kept(finished, monkeypatch):
    calls = {name: counted(monkeypatch, name) for name in ("pretrain", "distill", "evaluate")}
    before = (finished / "out/report.json").read_bytes()
    run(finished)
    assert (finished / "out/report.json").read_bytes() == before
    assert calls == {"pretrain": [], "distill": [], "evaluate": []}


def test_a_cell_of_a_method_that_fills_in_its_own_options_is_kept(tmp_path, monkeypatch):
    quick = ["outer=1", "inner=1"]
    cell = {"config": "digits-dc", "iterations": 1, "objective_options": quick, "eval_students": 1, "eval_epochs": 1}
    content = {"cells": {"dc": cell}}
    run(tmp_path, content)
    calls = counted(monkeypatch, "distill")
    run(tmp_path, content)
    assert calls == []


def test_another_evaluation_is_only_evaluated(finished, monkeypatch):
    calls = {name: counted(monkeypatch, name) for name in ("pretrain", "distill", "evaluate")}
    run(finished, SMALL | {"base": SMALL["base"] | {"eval_students": 3}})
    assert (len(calls["pretrain"]), len(calls["distill"]), len(calls["evaluate"])) == (0, 0, 4)
    assert len(json.loads((finished / "out/report.json").read_text())["cells"]["plain"]["scores"]["ConvNet"][0]) == 3
    run(finished, SMALL | {"base": SMALL["base"] | {"eval_students": 3}})
    assert len(calls["evaluate"]) == 4  # what was evaluated again is kept as well
    run(finished)


def test_a_record_that_is_older_than_an_option_is_one_of_its_default(finished, tmp_path, monkeypatch):
    shutil.copytree(finished / "out", tmp_path / "out")
    path = tmp_path / "out/cells/plain-seed0/hf_dd.json"
    record = json.loads(path.read_text())
    assert record["settings"].pop("baselines") == ["random", "herding"]
    path.write_text(json.dumps(record))
    evaluated = counted(monkeypatch, "evaluate")
    run(tmp_path)
    assert not evaluated
    run(tmp_path, SMALL | {"base": SMALL["base"] | {"baselines": ["none"]}})
    assert len(evaluated) == 4
    rows = Artefact.open(tmp_path / "out/cells/plain-seed0").record.results["rows"]
    assert rows and not [row for row in rows if row["baseline"]]


def test_a_cell_that_was_made_otherwise_is_refused_and_kept(finished):
    changed = SMALL | {"base": SMALL["base"] | {"iterations": 4}}
    before = (finished / "out/cells/plain-seed0/hf_dd.json").read_bytes()
    with pytest.raises(RunError, match=r"plain-seed0 was made with other options \(iterations: 3 there, 4 here\)"):
        run(finished, changed)
    assert (finished / "out/cells/plain-seed0/hf_dd.json").read_bytes() == before


def test_a_cell_whose_labels_were_made_otherwise_is_refused(tmp_path):
    labels = {"soft_labels": "mean", "soft_label_temperature": 4.0}
    cells = {"guided": SMALL["cells"]["guided"] | labels}
    content = SMALL | {"cells": cells, "seeds": [0], "comparisons": {}, "curves": {}}
    run(tmp_path, content)
    for other, words in (
        ({"soft_label_temperature": 20.0}, "temperature: 4.0 there, 20.0 here"),
        ({"soft_labels": "none", "soft_label_temperature": 4.0}, "soft_labels: 'mean' there"),
    ):
        with pytest.raises(RunError, match=words):
            run(tmp_path, content | {"cells": {"guided": cells["guided"] | other}})


def test_a_teacher_that_was_trained_otherwise_is_refused_and_kept(finished, monkeypatch):
    calls = counted(monkeypatch, "pretrain")
    grid = SMALL["teachers"]["few"]
    for change, words in (
        ({"epochs": 3, "keep_epochs": [1, 2]}, "epochs: 2 there, 3 here"),
        ({"learning_rate": 0.2}, "learning_rate: 0.1 there, 0.2 here"),
        ({"keep_epochs": [0, 1, 2]}, "keep_epochs: it lacks 0"),
    ):
        with pytest.raises(RunError, match=f"digits-mlp-seed0 was made with other options .*{words}.* Remove it"):
            run(finished, SMALL | {"teachers": {"few": grid | change}})
    assert not calls and (finished / "out/teachers/few/digits-mlp-seed0/epoch-2").is_dir()
    run(finished, SMALL | {"teachers": {"few": grid | {"mixed_precision": "bf16"}}})  # as if this machine had none
    run(finished)


def test_a_cell_whose_rows_were_changed_is_refused(finished, tmp_path):
    copy = shutil.copytree(finished, tmp_path / "copy")
    rows = copy / "out/cells/plain-seed0/data/train-00000-of-00001.parquet"
    rows.write_bytes(rows.read_bytes()[:-20])
    with pytest.raises(DataError, match="parquet. aren't those that its hf_dd.json is of: they were changed"):
        run(copy)


def test_a_cell_that_other_teachers_guided_is_refused(finished):
    others = SMALL["cells"]["guided"] | {"teachers": ["teachers/few/digits-mlp-seed0@epoch-2"]}
    changed = SMALL | {"cells": SMALL["cells"] | {"guided": others}}
    with pytest.raises(
        RunError, match=r"guided-seed0 .* \(teachers: \['few/digits-mlp-seed0@epoch-1'\] there, .*epoch-2"
    ):
        run(finished, changed)


@pytest.fixture(scope="module")
def chosen(tmp_path_factory):
    """A study that chose a pool."""
    folder = tmp_path_factory.mktemp("chosen")
    run(folder, CHOOSING)
    return folder


def test_a_study_chooses_a_pool_and_a_cell_is_guided_by_it(chosen, monkeypatch):
    trace = json.loads((chosen / "out/pools/best/trace.json").read_text())
    assert sorted(pool["pool"] for pool in trace["tried"]) == [
        *("1 × MLP, digits, epoch 1", "1 × MLP, digits, epoch 2"),
    ]
    best = max((pool for pool in trace["tried"] if pool["finished"]), key=lambda pool: pool["scores"]["2"])
    assert trace["best"] == {"pool": best["pool"], "score": best["scores"]["2"]}
    record = Artefact.open(chosen / "out/cells/chosen-seed0").record
    assert [spec["sha"] for spec in record.teachers] == [spec["sha"] for spec in best["teachers"]] != []
    text, report = ((chosen / f"out/report.{kind}").read_text() for kind in ("md", "json"))
    assert f"| best | {best['pool']} | {best['scores']['2']:.2f} | 2 of 2 |" in text
    assert json.loads(report)["pools"] == {"best": trace}
    published = {
        str(path.relative_to(chosen / "out")) for kind in publish.STUDY_FILES for path in (chosen / "out").glob(kind)
    }
    assert {"pools/best/trace.json", "pools/best/pool.json", "cells/chosen-seed0/pool.json"} <= published
    calls = [counted(monkeypatch, name) for name in ("pretrain", "distill", "evaluate")]
    searches = counted(monkeypatch, "select", pool_search)
    (chosen / "out").rename(chosen / "elsewhere")
    study.study(study=write(chosen, CHOOSING), output_dir=str(chosen / "elsewhere"))
    (chosen / "elsewhere").rename(chosen / "out")
    assert calls == [[], [], []] and len(searches) == 1  # though the pool is a part of its own, and the cell needs it
    assert json.loads((chosen / "out/pools/best/trace.json").read_text()) == trace


def test_a_cell_of_another_pool_than_was_chosen_is_refused(chosen, tmp_path):
    shutil.copytree(chosen / "out", tmp_path / "out")
    path = tmp_path / "out/cells/chosen-seed0/hf_dd.json"
    record = json.loads(path.read_text())
    record["teachers"][0]["sha"] = "sha256:" + "0" * 64
    path.write_text(json.dumps(record))
    with pytest.raises(RunError, match=r"chosen-seed0 was made with other options \(teacher_pool: \['sha256:000"):
        run(tmp_path, CHOOSING)


def test_a_planned_cell_is_evaluated_as_its_plan_decided(tmp_path):
    content = {"base": {"dataset": "digits", "ipc": 1, "minutes": 1, "clom": "none"}, "cells": {"planned": {}}}
    plan = Study.read(StudyConfig(write(tmp_path, content | {"seeds": [0, 2]}), output_dir=str(tmp_path)))
    for seed, cell in zip((0, 2), plan.cells, strict=True):
        decided = {"eval_students": 2, "eval_epochs": [40], "eval_copies": ["float"], "eval_architectures": ["MLP"]}
        results = {"seed": 2 * seed, "published": False, "options": {"published": False, **decided}, "rows": []}
        record = SimpleNamespace(results=results, settings={})
        evaluation = study.evaluation_of(cell, record)
        assert {key: evaluation[key] for key in decided} == decided
        assert study.is_evaluated(cell, record, evaluation) and study.first_student(cell, evaluation) == 2 * seed
    assert not study.is_evaluated(cell, SimpleNamespace(results=results | {"seed": 3}, settings={}), evaluation)


def test_cells_alone_need_no_pool_but_their_own(tmp_path):
    whole = Study.read(StudyConfig(write(tmp_path, CHOOSING), output_dir=str(tmp_path)))
    assert [cell.pool for cell in whole.cells] == [None, "best"] and list(whole.pools) == ["best"]
    chosen = Study.read(StudyConfig(write(tmp_path, CHOOSING), output_dir=str(tmp_path), cells=["chosen"]))
    assert (chosen.pools, chosen.teachers) == (whole.pools, whole.teachers)
    plain = Study.read(StudyConfig(write(tmp_path, CHOOSING), output_dir=str(tmp_path), cells=["plain"]))
    assert (plain.pools, plain.teachers) == ({}, {})


def test_where_no_pool_guides_better_than_none_its_cells_cannot_be_made(tmp_path, monkeypatch):
    none = pool_search.Selection(tmp_path, pool_options.Options("no teacher", ()), 50.0, None, 3, 3)
    monkeypatch.setattr(pool_search, "select", lambda config: none)
    with pytest.raises(RunError, match=r"pools: best: no pool guides better than none \(.*trace.json has the scores"):
        run(tmp_path, CHOOSING)
    assert not (tmp_path / "out/cells").exists()
    study.study(study=write(tmp_path, CHOOSING), output_dir=str(tmp_path / "out"), cells=["plain"])
    assert list(json.loads((tmp_path / "out/report.json").read_text())["cells"]) == ["plain"]


@pytest.mark.parametrize(
    ("pool", "words"),
    [
        (
            {"teachers": ["teachers/few/digits-mlp-seed9@final"]},
            "pools: best: teachers/few/digits-mlp-seed9@final is no",
        ),
        ({"teachers": []}, "pools: best: Name the candidates by --teachers"),
        ({"first_rung": 2}, "pools: best: --first_rung 2 isn't below --iterations 2"),
        ({"eval_protocol": "soft-label"}, "pools: best: --eval_protocol soft-label: students on hard labels"),
        ({"objective": "dn"}, "pools: best: --objective dn isn't known"),
    ],
)
def test_a_wrong_pool_is_refused_before_any_training(tmp_path, monkeypatch, pool, words):
    calls = [counted(monkeypatch, name) for name in ("pretrain", "distill")]
    with pytest.raises(ConfigError) as error:
        run(tmp_path, CHOOSING | {"pools": {"best": CHOOSING["pools"]["best"] | pool}})
    assert words in str(error.value) and calls == [[], []]
    with pytest.raises(ConfigError, match="cells: chosen: pools/best is no pool that this study chooses: bset"):
        run(tmp_path, CHOOSING | {"pools": {"bset": CHOOSING["pools"]["best"]}})


def test_some_cells_alone_are_run_with_their_teachers_and_compared_among_themselves(finished):
    whole = recipe.Study.read(StudyConfig(write(finished), output_dir=str(finished / "out")))
    plain = recipe.Study.read(StudyConfig(write(finished), cells=["plain"], output_dir=str(finished / "out")))
    assert [(cell.name, cell.seed) for cell in plain.cells] == [("plain", 0), ("plain", 1)]
    assert (plain.teachers, plain.comparisons) == ({}, {})
    assert plain.curves == {"both": ["plain"], "one": ["plain"]}
    guided = recipe.Study.read(StudyConfig(write(finished), cells=["guided"], output_dir=str(finished / "out")))
    assert guided.curves == {"both": ["guided"]}
    both = recipe.Study.read(StudyConfig(write(finished), cells=["guided", "plain"], output_dir=str(finished / "out")))
    assert both == whole and whole.teachers and whole.comparisons
    path = study.study(study=write(finished), cells=["plain"], output_dir=str(finished / "out"))
    assert list(json.loads((path / "report.json").read_text())["cells"]) == ["plain"]
    run(finished)
    with pytest.raises(ConfigError, match="--cells names the cell 'plane'; known are plain, guided"):
        recipe.Study.read(StudyConfig(write(finished), cells=["plain", "plane"]))


def test_a_cell_may_probe_a_teacher_of_the_study(tmp_path, monkeypatch):
    teacher = "teachers/few/digits-mlp-seed0@final"
    own = {"teachers": [teacher], "eval_architectures": [teacher], "eval_epochs": None, "eval_students": 1}
    content = {
        "teachers": SMALL["teachers"],
        "base": {"eval_epochs": 2},
        "cells": {"lgm": {"config": "digits-lgm", "iterations": 1} | own},
    }
    folder = run(tmp_path, content)
    report = json.loads((folder / "report.json").read_text())
    assert "digits-mlp-seed0" in " ".join(report["cells"]["lgm"]["scores"])
    record = Artefact.open(folder / "cells/lgm-seed0").record
    assert record.results["protocol"]["name"] == "linear-probe"
    calls = counted(monkeypatch, "evaluate")
    run(tmp_path, content)
    assert calls == []


def test_a_cell_may_evaluate_the_set_of_another_one(tmp_path, monkeypatch):
    content = {
        "teachers": SMALL["teachers"],
        "base": SMALL["base"],
        "cells": {
            "online": {"set_of": "guided", "eval_protocol": "soft-label-online", "eval_epochs": 1},
            "guided": SMALL["cells"]["guided"],
        },
        "comparisons": {"labels": [["online", "guided"]]},
    }
    evaluate = hf_dd.evaluate

    def interrupted(**options):
        if "online" in options["sets"][0]:
            raise KeyboardInterrupt
        return evaluate(**options)

    (tmp_path / "out/cells/online-seed0/checkpoints").mkdir(parents=True)
    with pytest.raises(RunError, match="online-seed0 holds something else, perhaps an unfinished run: remove it."):
        run(tmp_path, content)
    shutil.rmtree(tmp_path / "out/cells/online-seed0")
    monkeypatch.setattr(study, "evaluate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, content)
    monkeypatch.setattr(study, "evaluate", evaluate)
    assert Artefact.open(tmp_path / "out/cells/online-seed0").record.results is None
    calls = {name: counted(monkeypatch, name) for name in ("distill", "evaluate")}
    content["cells"]["online"]["eval_epochs"] = 2
    folder = run(tmp_path, content)
    assert (calls["distill"], len(calls["evaluate"])) == ([], 1)
    online, guided = (Artefact.open(folder / f"cells/{name}-seed0") for name in ("online", "guided"))
    assert online.record.parquet_sha256 == guided.record.parquet_sha256
    assert online.load()[:] == guided.load()[:]
    protocols = [artefact.record.results["protocol"]["name"] for artefact in (online, guided)]
    assert protocols == ["soft-label-online", "dsa"]
    assert "soft-label-online v1" in (folder / "report.md").read_text()
    assert not (online.folder / "checkpoints").exists()
    before = (folder / "report.json").read_bytes()
    run(tmp_path, content)
    assert len(calls["evaluate"]) == 1 and (folder / "report.json").read_bytes() == before


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"set_of": "guidance"}, "set_of names 'guidance', which distils no set; guided, plain do."),
        ({"set_of": "other"}, "set_of names 'other', which distils no set; "),
        ({"set_of": "plain", "ipc": 2}, "ipc has no meaning for the set of plain, which is only evaluated"),
    ],
)
def test_a_cell_that_cannot_evaluate_what_it_names_is_refused(tmp_path, own, words):
    cells = SMALL["cells"] | {"own": own, "other": {"set_of": "plain", "eval_students": 1}}
    with pytest.raises(ConfigError, match="small.yaml, cells: own: ") as error:
        run(tmp_path, SMALL | {"cells": cells})
    assert words in str(error.value)


@pytest.mark.parametrize("pushed", [False, True])
def test_the_studys_own_teachers_are_found_by_short_names_whatever_the_data_set_is_called(tmp_path, pushed):
    grid = SMALL["teachers"]["few"] | ({"push_to_hub": True, "hub_namespace": "me"} if pushed else {})
    best = CHOOSING["pools"]["best"] | {"teachers": ["teachers/few/mlp-seed0@epoch-2", "local/other@v1"]}
    content = SMALL | {"teachers": {"few": grid}, "pools": {"best": best}}
    config = StudyConfig(write(tmp_path, content), output_dir=str(tmp_path / "out"))
    plan = recipe.Study.read(config, {("few", "mlp-seed0"): "flowers-mlp-seed0"})
    place = "me/flowers-mlp-seed0" if pushed else str(tmp_path / "out/teachers/few/flowers-mlp-seed0")
    cell = next(cell for cell in plan.cells if cell.name == "guided")
    assert cell.config.teachers == [f"{place}@epoch-1"]
    assert cell.teachers == ("teachers/few/flowers-mlp-seed0@epoch-1",)
    pool = plan.pools["best"]
    assert pool.config.teachers == [f"{place}@epoch-2", "local/other@v1"]
    assert pool.teachers == ("teachers/few/flowers-mlp-seed0@epoch-2",)


def test_seeds_can_be_given_instead_of_the_recipes(finished):
    plan = recipe.Study.read(StudyConfig(write(finished), seeds=[7]))
    assert [(cell.name, cell.seed, cell.config.seed) for cell in plan.cells] == [("plain", 7, 7), ("guided", 7, 7)]


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        (
            "teachers/few/folder-mlp-seed0@epoch-1",
            "is no teacher that this study makes: teachers/few/digits-mlp-seed0. The data set's name before the",
        ),
        ("teachers/few/mlp-seed1@epoch-1", "is no teacher that this study makes: teachers/few/digits-mlp-seed0"),
        ("teachers/few/mlp-seed0@epoch-9", "of that teacher, the study keeps final, epoch-1, epoch-2."),
        ("teachers/many/digits-mlp-seed0@epoch-1", "is no teacher that this study makes: teachers/few/digits-mlp"),
        ("teachers/fe/w-digits-mlp-seed0@epoch-1", "is no teacher that this study makes: teachers/few/digits-mlp"),
        ("teachers/few/digits-mlp-seed0@epoch-9", "of that teacher, the study keeps final, epoch-1, epoch-2."),
    ],
)
def test_a_teacher_that_the_study_does_not_make_is_refused_before_any_training(
    tmp_path, monkeypatch, reference, words
):
    calls = [counted(monkeypatch, name) for name in ("pretrain", "distill")]
    guided = SMALL["cells"]["guided"] | {"teachers": [reference]}
    with pytest.raises(ConfigError) as error:
        run(tmp_path, SMALL | {"cells": {"guided": guided}, "comparisons": {}, "curves": {}})
    assert f"small.yaml, cells: guided: {reference}" in str(error.value) and words in str(error.value)
    assert calls == [[], []]


def test_a_folder_that_moved_is_still_the_same_study(finished, monkeypatch):
    calls = [counted(monkeypatch, name) for name in ("pretrain", "distill", "evaluate")]
    (finished / "out").rename(finished / "elsewhere")
    study.study(study=write(finished), output_dir=str(finished / "elsewhere"))
    (finished / "elsewhere").rename(finished / "out")
    assert calls == [[], [], []]


def test_an_interrupted_cell_goes_on_from_its_checkpoint(tmp_path, monkeypatch, finished):
    content = {key: value for key, value in SMALL.items() if key in ("base", "cells")}
    content["cells"] = {"plain": SMALL["cells"]["plain"]}
    step, calls = Distiller.step, []

    def interrupted(self, index, tell):
        if index == 2:
            raise KeyboardInterrupt
        return step(self, index)

    monkeypatch.setattr(Distiller, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, content)
    assert not (tmp_path / "out/report.md").exists()
    monkeypatch.setattr(Distiller, "step", lambda self, index, tell: calls.append(index) or step(self, index))
    run(tmp_path, content)
    assert calls == [2]
    shas = [Artefact.open(place / "out/cells/plain-seed0").record.parquet_sha256 for place in (tmp_path, finished)]
    assert shas[0] == shas[1]


def test_a_study_is_pushed_with_the_teachers_that_it_names_by_commit(tmp_path, unique):
    pushed = {"push_to_hub": True, "hub_namespace": "lab"}
    content = SMALL | {
        "teachers": {"few": SMALL["teachers"]["few"] | {"teacher_seeds": [7], **pushed}},
        "cells": {"guided": SMALL["cells"]["guided"] | {"teachers": ["teachers/few/digits-mlp-seed7@epoch-1"]}},
        "comparisons": {},
        "curves": {},
        "seeds": [0],
    }
    repo_id = unique()
    options = {"push_to_hub": True, "hub_dataset_id": repo_id, "hub_tag": "first"}
    folder = study.study(study=write(tmp_path, content), output_dir=str(tmp_path / "out"), **options)
    rows = datasets.load_dataset(repo_id, revision="first", split="train")
    record = Artefact.open(folder / "cells/guided-seed0").record
    (spec,) = record.teachers
    assert hub.resolve("lab/digits-mlp-seed7@epoch-1").sha == spec["sha"]
    own = next(row for row in record.results["rows"] if row["copy"] == "float")
    assert rows["accuracy"][:] == list(own["scores"]) and rows["student"][:] == [0, 1]
    assert rows[0] | {"accuracy": 0, "command": ""} == {
        **{"cell": "guided", "seed": 0, "architecture": "ConvNet", "student": 0, "accuracy": 0, "protocol": "dsa"},
        **{"teachers": [spec["sha"]], "command": ""},
    }
    pin = hub.resolve(f"{repo_id}@first", "dataset")
    assert set(hub.list_files(pin, "dataset")) - {".gitattributes"} == {
        *("README.md", "study.yaml", "report.md", "report.json", "report.png", publish.PARQUET),
        *(f"cells/guided-seed0/{name}" for name in ("hf_dd.json", "pool.json")),
    }
    card = (hub.pull(pin, "dataset") / "README.md").read_text()
    assert (
        f'load_dataset("{repo_id}", revision="first"' in card
        and (folder / "report.md").read_text().strip().partition("\n\n")[2] in card
    )
    assert "1 cell, 1 distillation, 2 students" in card
    again = study.study(study=write(tmp_path, content), output_dir=str(folder), **options | {"hub_tag": None})
    assert list(hub.tags(repo_id, "dataset")) == ["first"]  # as when two runs of a study end together
    assert 'revision="first"' in (again / "README.md").read_text()
    with pytest.raises(HubError, match=f"{repo_id} has a tag first already"):
        study.study(study=write(tmp_path, content), output_dir=str(tmp_path / "other"), **options)
    assert not (tmp_path / "other").exists()


EACH = """
import os, sys, time
from hf_dd.studies import study
from hf_dd.cli import main

path, output = sys.argv[1:]
for name in ("pretrain", "distill"):
    def logged(config, name=name, function=getattr(study, name), **options):
        with open(f"{output}.log", "a") as file:
            file.write(f"{os.getpid()} {name} {config.output_dir} {config.dataset}\\n")
        return function(config, **options)
    setattr(study, name, logged)
main(["study", path, "--output_dir", output])
"""


def test_cells_do_not_wait_for_a_teacher_that_they_do_not_need(tmp_path):
    """Nor do they for another run's cell: what is busy is left for the end."""
    (tmp_path / "out/locks").mkdir(parents=True)
    cells = tmp_path / "out/cells"
    content = SMALL | {"cells": dict(reversed(SMALL["cells"].items()))}
    with ThreadPoolExecutor() as aside, FileLock(tmp_path / "out/locks/few-digits-mlp-seed0.lock"):
        running = aside.submit(run, tmp_path, content)
        while not (cells / "plain-seed1/results.json").is_file() and not running.done():
            time.sleep(0.2)
        assert not running.done() and not (cells / "guided-seed0").exists()
    assert running.result() == tmp_path / "out" and (cells / "guided-seed1/results.json").is_file()


@pytest.mark.multi_process
def test_a_study_that_is_started_twice_is_shared_out(tmp_path, forks, finished):
    (tmp_path / "each.py").write_text(EACH)
    path, output = write(tmp_path), tmp_path / "out"
    held = FileLock(tmp_path / "out/locks/cell-plain-seed0.lock")
    (tmp_path / "out/locks").mkdir(parents=True)
    with held:  # a third run, which leaves the first cell undone
        both = [forks.start(tmp_path / "each.py", path, output) for _ in range(2)]
        while not (output / "cells/guided-seed1/hf_dd.json").is_file() and all(run.poll() is None for run in both):
            time.sleep(0.2)
    assert [run.wait() for run in both] == [0, 0], both[0].stderr[-2000:] + both[1].stderr[-2000:]
    lines = (tmp_path / "out.log").read_text().splitlines()
    jobs = [line.split()[1:3] for line in lines]
    cells = [["distill", str(output / f"cells/{name}-seed{seed}")] for name in ("plain", "guided") for seed in (0, 1)]
    assert sorted(jobs) == sorted([*cells, ["pretrain", str(output / "teachers/few")]])  # each once
    assert jobs[-1] == cells[0]
    first, second = (json.loads((place / "report.json").read_text()) for place in (output, finished / "out"))
    assert [cell["parquet_sha256"] for cell in first["cells"].values()] == [
        cell["parquet_sha256"] for cell in second["cells"].values()
    ]


@pytest.mark.multi_process
def test_the_processes_of_a_launch_work_on_each_cell_together(tmp_path, ranks_of, finished):
    done = ranks_of("-m", "hf_dd", "study", write(tmp_path, SMALL | {"seeds": [0]}), "--output_dir", tmp_path / "out")
    assert done.stdout.count("guided − plain") == 1
    assert done.stderr.count("is there.") == 3, "one teacher, two cells"
    assert done.stderr.count("hf-dd study: loading libraries\n") == 1
    assert [done.stderr.count(f"{cell}-seed0: distilling\n") for cell in ("plain", "guided")] == [1, 1]
    for name in ("plain", "guided"):
        two, one = (Artefact.open(folder / f"out/cells/{name}-seed0").record for folder in (tmp_path, finished))
        assert two.run["hardware"].endswith(", 2 processes of 1 thread") and two.run["bytes_exchanged"] > 0
        assert two.run["losses"] == pytest.approx(one.run["losses"], rel=1e-3)


CHOSEN = {  # cells that cost next to nothing
    "base": {"dataset": "digits", "objective": "random", "ipc": 1, "eval_students": 2, "eval_epochs": 1}
    | {"eval_architectures": ["MLP"], "eval_copies": ["8bit"], "baselines": ["random"], "eval_augment": "none"},
    "cells": {"a": {}, "b": {"objective": "herding"}},
    "comparisons": {"gain": [["b", "a"]]},
}


@pytest.fixture
def small(tmp_path):
    run(tmp_path, CHOSEN)
    return tmp_path


@pytest.mark.parametrize(
    "by_hand",
    [{"eval_learning_rates": [0.3]}, {"seed": 7}, {"regimes": ["hard=dsa"]}, {"zca": True}, {"eval_students": 3}],
    ids=lambda options: next(iter(options)),
)
def test_a_cell_that_was_evaluated_by_hand_is_evaluated_again(small, monkeypatch, by_hand):
    cell = small / "out/cells/a-seed0"
    before = (small / "out/report.json").read_bytes()
    quick = {"eval_students": 2, "eval_epochs": [1], "eval_architectures": ["MLP"], "eval_copies": ["8bit"]}
    hf_dd.evaluate(sets=[str(cell)], baselines=["random"], eval_augment="none", **quick | by_hand)
    evaluated = counted(monkeypatch, "evaluate")
    run(small, CHOSEN)
    assert [options["sets"] for _, options in evaluated] == [[str(cell)]]
    assert (small / "out/report.json").read_bytes() == before
    run(small, CHOSEN)
    assert len(evaluated) == 1


def test_results_of_a_version_that_kept_no_options_show_by_their_students_that_they_are_others(small, monkeypatch):
    path = small / "out/cells/a-seed0/hf_dd.json"
    record = json.loads(path.read_text())
    assert record["results"].pop("options")["eval_students"] == 2
    path.write_text(json.dumps(record))
    evaluated = counted(monkeypatch, "evaluate")
    run(small, CHOSEN)
    assert not evaluated
    for row in record["results"]["rows"]:
        row["n"] = 5
    path.write_text(json.dumps(record))
    run(small, CHOSEN)
    assert len(evaluated) == 1


def test_real_images_that_were_evaluated_otherwise_have_rows_of_their_own(tmp_path):
    cells = {"a": {}, "b": {"eval_augment": "color"}, "c": {"eval_epochs": 2}, "d": {}}
    folder = run(tmp_path, CHOSEN | {"cells": cells, "comparisons": {}})
    text = (folder / "report.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| *random real, ipc 1*")]
    protocols = ["dsa v1, 1 epochs, augment none", "dsa v1, 1 epochs, augment color", "dsa v1, 2 epochs"]
    assert [row.split(" | ")[1] for row in rows] == protocols
    own = [next(line for line in text.splitlines() if line.startswith(f"| {name} | dsa")) for name in "abcd"]
    assert [row.split(" | ")[1] for row in own] == [*protocols, protocols[0]]
    for name, row in zip("abc", rows, strict=True):
        results = Artefact.open(folder / f"cells/{name}-seed0").record.results
        (found,) = (each for each in results["rows"] if each["baseline"] == "random")
        assert f" | {found['mean']:.2f} ± " in row


def test_real_images_of_data_that_were_read_otherwise_have_rows_of_their_own():
    plain, whitened = evaluated(80.0, 82.0), evaluated(80.0, 82.0, random=(50.0, 52.0))
    whitened.records[0]["data"] |= {"whitening": {"images": 3}}
    found = study_report.baseline_rows({"a": plain, "b": whitened, "c": evaluated(79.0, 80.0)})
    assert [(protocol, row["mean"]) for protocol, row in found] == [
        ("dsa v1, 300 epochs, whitening none", 61.0),
        ("dsa v1, 300 epochs, whitening zca", 51.0),
    ]


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"eval_architectures": ["LeNet"]}, "the comparison 'gain' is of cells that share no architecture"),
        ({"eval_students": 3}, "the comparison 'gain' pairs students, of which its cells have 2 and 3"),
    ],
)
def test_cells_that_cannot_be_compared_are_refused_before_any_is_made(tmp_path, own, words):
    content = CHOSEN | {"cells": {"a": {}, "b": own}}
    with pytest.raises(ConfigError, match=words):
        run(tmp_path, content)
    assert not (tmp_path / "out").exists()
    options = {"study": write(tmp_path, content), "output_dir": str(tmp_path / "out")}
    assert Study.read(StudyConfig(**options, cells=["a"])).comparisons == {}
    if "eval_students" in own:
        assert Study.read(StudyConfig(**options, seeds=[0, 1])).comparisons


def test_a_comparison_that_cannot_be_made_costs_no_report(tmp_path):
    cells = evaluated(80.0, 82.0), evaluated(80.0, 82.0, 84.0), evaluated(70.0, 71.0)
    text, content = written(tmp_path, *cells, comparisons=["ab", "ac"])
    assert "a against b can't be told. The cells of [('a', 'b')] have different numbers of seeds or students" in text
    assert "| a against c | " in text and list(content["comparisons"]) == ["a against c"]
    text, _ = written(tmp_path, *cells, comparisons=["ab"])
    assert "## Comparisons\n\na against b can't be told." in text


def test_a_study_whose_comparisons_changed_is_pushed_again(small, unique):
    repo_id = unique()
    pushed = {"push_to_hub": True, "hub_dataset_id": repo_id}

    def push(content):
        study.study(study=write(small, content), output_dir=str(small / "out"), **pushed)
        return list(hub.tags(repo_id, "dataset"))

    assert push(CHOSEN) == push(CHOSEN) == ["v1"]
    assert push(CHOSEN | {"comparisons": {"loss": [["a", "b"]]}}) == ["v1", "v2"]
    report = hub.pull(hub.resolve(f"{repo_id}@v2", "dataset"), "dataset") / "report.json"
    assert list(json.loads(report.read_text())["comparisons"]) == ["loss"]
    assert push(CHOSEN | {"comparisons": {"loss": [["a", "b"]]}}) == ["v1", "v2"]
    assert 'revision="v2"' in (small / "out/README.md").read_text()
    (small / "out/pushed.json").write_text("{")  # nobody knows what was pushed
    assert push(CHOSEN | {"comparisons": {"loss": [["a", "b"]]}}) == ["v1", "v2", "v3"]


@pytest.mark.parametrize("damage", ["{", "[]", '{"kind": "distilled-set"}'])
def test_a_record_that_was_damaged_names_the_folder_to_remove(small, damage):
    cell = small / "out/cells/a-seed0"
    (cell / "hf_dd.json").write_text(damage)
    with pytest.raises(RunError, match=f"hf_dd.json .* Where {cell} is removed, this study makes it anew."):
        run(small, CHOSEN)
    shutil.rmtree(cell)
    run(small, CHOSEN)
    assert Artefact.open(cell).record.results


def test_an_interrupted_cell_of_other_options_names_the_folder_to_remove(tmp_path, monkeypatch):
    content = {"base": SMALL["base"] | {"eval_students": 1}, "cells": {"plain": SMALL["cells"]["plain"]}}
    step = Distiller.step

    def interrupted(self, index, tell):
        if index == 2:
            raise KeyboardInterrupt
        return step(self, index)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Distiller, "step", interrupted)
        run(tmp_path, content)
    content["base"] |= {"real_batch_size": 3}
    cell = tmp_path / "out/cells/plain-seed0"
    words = f"another configuration .* Where {cell} is removed, this study makes it anew."
    with pytest.raises(RunError, match=words):
        run(tmp_path, content)
    shutil.rmtree(cell)
    run(tmp_path, content)
    assert Artefact.open(cell).record.settings["real_batch_size"] == 3


def outcome(*students, **others):
    """Of one distillation, with other architectures' students by their names."""
    return outcomes_of.Outcome([], {"ConvNet": [students]} | {name: [scores] for name, scores in others.items()})


def test_a_single_distillation_is_compared_by_its_students():
    outcomes = {"a": outcome(80.0, 81.0, 82.0), "b": outcome(79.0, 80.5, 80.0), "c": outcome(70.0, 70.0, 71.0)}
    one = outcomes_of.paired_gain(outcomes, [("a", "b")]).interval
    assert (one.mean, one.n) == (pytest.approx((1 + 0.5 + 2) / 3), 3)
    both = outcomes_of.paired_gain(outcomes, [("a", "b"), ("a", "c")]).interval
    assert both.mean == pytest.approx(statistics.fmean([(1 + 10) / 2, (0.5 + 11) / 2, (2 + 11) / 2]))
    with pytest.raises(RunError, match="can't be paired"):
        outcomes_of.paired_gain(outcomes | {"d": outcome(1.0, 2.0)}, [("a", "d")])


def test_cells_are_compared_over_the_architectures_that_they_share():
    outcomes = {
        "wide": outcome(80.0, 82.0, MLP=(70.0, 71.0), LeNet=(60.0, 60.0)),
        "other": outcome(79.0, 80.0, MLP=(66.0, 68.0)),
        "narrow": outcome(70.0, 71.0),
    }
    found = outcomes_of.paired_gain(outcomes, [("wide", "other")])
    assert list(found.of_each) == ["ConvNet", "MLP"]
    assert found.interval.mean == pytest.approx(statistics.fmean([(1 + 4) / 2, (2 + 3) / 2]))
    assert {name: (own.mean, own.n) for name, own in found.of_each.items()} == {"ConvNet": (1.5, 2), "MLP": (3.5, 2)}
    alone = outcomes_of.paired_gain(outcomes, [("wide", "narrow")])
    table = study_report.gains_of_each({"over other": found, "over narrow": alone}).splitlines()
    assert table[0] == "| comparison, points | ConvNet | MLP |"
    assert table[2] == f"| over other | {found.of_each['ConvNet']} | {found.of_each['MLP']} |"
    assert table[3] == f"| over narrow | {alone.interval} | – |"
    assert list(outcomes_of.paired_gain(outcomes, [("wide", "narrow")]).of_each) == ["ConvNet"]
    apart = {"vgg": outcomes_of.Outcome([], {"VGG11": [(1.0, 2.0)]})}
    with pytest.raises(RunError, match="share no architecture"):
        outcomes_of.paired_gain(outcomes | apart, [("wide", "vgg")])
    table = study_report.architecture_table(outcomes).splitlines()
    assert table[0] == "| cell | ConvNet | MLP | LeNet | mean |"
    assert table[2] == "| wide | 81.00 ± 1.41 | 70.50 ± 0.71 | 60.00 ± 0.00 | 70.50 |"
    assert table[3] == "| other | 79.50 ± 0.71 | 67.00 ± 1.41 | – | 73.25 |"
    assert len(table) == 4


def test_cells_of_other_numbers_of_students_are_paired_by_their_distillations():
    """Differences of 2 and 4 of the means of the seeds: t(0.975, 1) = 12.7062 of a standard error of 1."""
    records = [{"results": {"seed": seed}} for seed in (0, 3)]
    cells = {
        "three": outcomes_of.Outcome(records, {"ConvNet": [(80.0, 81.0, 82.0), (84.0, 84.0, 84.0)]}),
        "two": outcomes_of.Outcome(records, {"ConvNet": [(78.0, 80.0), (79.0, 81.0)]}),
    }
    found = outcomes_of.paired_gain(cells, [("three", "two")]).interval
    assert (found.mean, found.n, found.half_width) == (3.0, 2, pytest.approx(12.7062, abs=1e-4))
    single = {
        name: dataclasses.replace(own, scores={"ConvNet": own.scores["ConvNet"][:1]}) for name, own in cells.items()
    }
    with pytest.raises(RunError, match="different numbers of seeds or students"):
        outcomes_of.paired_gain(single, [("three", "two")])


def test_what_teachers_took_counts_each_training_run_once():
    def spec(repo, sha, seconds):
        return {"repo_id": repo, "sha": sha, "seconds": seconds}

    def took(*teachers):
        return outcomes_of.Outcome([{"teachers": list(teachers)}] * 2, {}).teaching_seconds

    assert took() == 0
    hub = [spec("me/a", "1", 10.0), spec("me/a", "2", 40.0), spec("me/b", "3", 5.0)]
    assert took(*hub) == 45.0
    local = [spec(f"t/epoch-study/{name}", f"sha256:{name}", 10.0) for name in ("a/epoch-1", "a/epoch-4", "b/epoch-4")]
    assert took(*local) == 20.0
    assert took(spec("me/epoch-a", "1", 10.0), spec("me/epoch-b", "2", 40.0), spec("me/epoch-1", "3", 5.0)) == 55.0
    assert took(*hub, spec("timm/x", "4", None)) is None


def test_random_images_are_what_a_cell_is_held_against():
    """Differences of 10 and 12, student by student: t(0.975, 1) = 12.7062 of a standard error of 1."""

    def over(students, *rows):
        own = {"set": "cell", "baseline": None, "architecture": "ConvNet", "scores": students}
        record = {"results": {"rows": [own, *rows]}}
        return study_report.over_random(outcomes_of.Outcome([record], {"ConvNet": [students]}))

    random = {"set": "random", "baseline": "random", "architecture": "ConvNet", "scores": (70.0, 70.0)}
    eleven = intervals.Interval(11.0, pytest.approx(12.7062, abs=1e-4), 2)
    assert over((80.0, 82.0), random) == eleven
    assert over((80.0, 82.0), random | {"architecture": "MLP", "scores": (1.0,)}, random) == eleven
    assert over((81.0,), random | {"scores": (70.0,)}) == intervals.Interval(11.0, None, 1)
    assert over((80.0, 82.0)) is over((80.0, 82.0), random | {"scores": (70.0,)}) is None


def test_random_images_of_several_seeds_are_one_row():
    """Means of 70 and 74 over the seeds; a seed that several cells share counts once."""

    def record(seed, *scores):
        interval = intervals.of_mean(scores)
        row = {"set": "random", "copy": "8bit", "baseline": "random", "architecture": "ConvNet", "n": 2, "ipc": 1}
        row |= {"scores": list(scores), "mean": interval.mean, "std": 1.0, "half_width": interval.half_width}
        row |= {"epochs": 3, "learning_rate": 0.01, "bytes": 1, "temperature": None, "protocol": "dsa v1"}
        protocol, data = {"name": "dsa", "version": 1, "epochs": 3}, {"name": "digits", "image_size": [8, 8]}
        return {"results": {"rows": [row], "protocol": protocol, "seed": seed}, "data": data}

    def outcome():
        seeds = [record(0, 69.0, 71.0), record(2, 74.0, 74.0)]
        return outcomes_of.Outcome(seeds, {"ConvNet": [(1.0, 2.0), (1.0, 2.0)]})

    ((_, row),) = study_report.baseline_rows({"a": outcome(), "b": outcome()})
    assert row["scores"] == [69.0, 71.0, 74.0, 74.0] and (row["n"], row["mean"]) == (4, 72.0)
    assert row["half_width"] == intervals.of_mean([70.0, 74.0]).half_width


def written(folder, *outcomes, comparisons=(), **curves):
    """The text and the content of a report on outcomes."""
    by_name = dict(zip("abcdefg", outcomes, strict=False))
    pairs = {f"{first} against {second}": [(first, second)] for first, second in comparisons}
    study_report.write_report(folder, by_name, pairs, curves, {}, title="small", command="hf-dd study small")
    return (folder / "report.md").read_text(), json.loads((folder / "report.json").read_text())


def evaluated(*scores, copy="float", random=(60.0, 62.0), seeds=1):
    """The outcome of a cell whose record says what its students and those of random real images reached."""

    def row(scores, **facts):
        mean, several = statistics.fmean(scores), len(scores) > 1
        spread = {"std": statistics.stdev(scores) if several else 0.0, "half_width": 1.0 if several else None}
        return {
            "architecture": "ConvNet",
            "n": len(scores),
            "mean": mean,
            "bytes": 640,
            "scores": scores,
            **spread,
            **facts,
        }

    rows = [row(scores, set="cell", copy=copy, baseline=None)]
    rows += [row(random, set="random real, ipc 1", copy="8bit", baseline="random")] if random else []
    record = {
        "results": {
            "rows": rows,
            "protocol": {"name": "dsa", "version": 1, "epochs": 300},
            "hardware": "a GPU, 1 process",
        },
        "data": {"name": "digits", "image_size": [8, 8], "fingerprint": "0" * 32},
        "run": {"seconds": 3.0, "hardware": "CPU, 1 process of 2 threads"},
        **{"teachers": [], "diversity": None, "command": "hf-dd distill", "parquet_sha256": "0" * 64},
        "versions": {"hf-dd": "0.1.0 at " + "c" * 40},
    }
    return outcomes_of.Outcome([record] * seeds, {"ConvNet": [tuple(scores)] * seeds})


def test_a_report_says_what_it_was_made_by(tmp_path):
    text, content = written(tmp_path, evaluated(80.0, 82.0))
    assert text.startswith("# small\n\n![Accuracies of the cells](report.png)\n\n")
    for line in (
        "| recipe | [study.yaml](study.yaml) |",
        "| command | `hf-dd study small` |",
        f"| code | hf-dd 0.1.0 at {'c' * 40} |",
        "| hardware | CPU, 1 process of 2 threads; a GPU, 1 process |",
    ):
        assert line in text
    assert (content["command"], content["code"]) == ("hf-dd study small", [f"hf-dd 0.1.0 at {'c' * 40}"])


def test_a_report_says_of_every_cell_what_it_gives_and_what_to_doubt(tmp_path):
    late, several = evaluated(80.0, 82.0), evaluated(80.0, 82.0, random=(61.0, 63.0), seeds=3)
    late.records[0]["results"] |= {"majority": 20.0, "chance": 10.0}
    late.records[0]["results"]["rows"][0] |= {"losses": [2.3, 2.0, 1.8, 1.7], "epochs": 300}
    text, _ = written(tmp_path, late, several)
    nothing = "no selection such as herding was evaluated beside it"
    lines = [
        f"- a: +20.0 points [20.0, 20.0] over random images (n = 2, ConvNet, hard labels); {nothing}. ConvNet "
        "students hadn't converged after 300 epochs: by how their losses fell, about 820 are needed (--eval_epochs "
        "820).",
        "- b: +19.0 points [19.0, 19.0] over random images (n = 3 distillations × 2 students, ConvNet, hard labels); "
        + nothing
        + ".",
        "- Always guessing the commonest class gives 20.0 %, guessing at random 10.0 %.",
    ]
    assert "\n".join(["## Accuracies", "", *lines, ""]) in text
    assert "| a | dsa v1, 300 epochs | float | 81.00 ± 1.41 (not converged) |" in text
    assert "| 20.00 [20.00, 20.00] |" in text and "| 19.00 [19.00, 19.00] |" in text  # as those sentences
    assert "| always the commonest class | – | – | 20.00 |" in text


def test_a_report_says_which_copy_it_is_of(tmp_path):
    text, content = written(tmp_path, evaluated(80.0, 82.0, copy="8bit"), evaluated(80.0, 83.0))
    assert "| a | dsa v1, 300 epochs | 8bit | 81.00 ± 1.41 |" in text
    assert "| b | dsa v1, 300 epochs | float | 81.50 ± 2.12 |" in text
    assert "float copy" not in text and "on that copy of a set" in text
    assert [content["cells"][name]["copy"] for name in "ab"] == ["8bit", "float"]


def test_a_report_on_one_student_has_no_spread(tmp_path):
    text, content = written(
        tmp_path, evaluated(81.0, random=(60.0,)), evaluated(80.0, random=(60.0,)), comparisons=["ab"]
    )
    assert "± 0.00" not in text and "inf" not in text and "nan" not in text
    assert "| a | dsa v1, 300 epochs | float | 81.00 | – | 21.00 (n = 1) | 1 × 1 |" in text
    assert "| *random real, ipc 1* | dsa v1, 300 epochs | 8bit | 60.00 | – | – | 1 |" in text
    assert "| a against b | 1.00 (n = 1) | 1 |" in text
    assert content["comparisons"]["a against b"]["half_width"] is None


def test_a_studys_plot_shows_random_images_too(tmp_path):
    bars = study_report.bars_of({"a": evaluated(80.0, 82.0), "b": evaluated(81.0)})
    assert [(bar.label, bar.mean, bar.half_width is None, bar.baseline) for bar in bars] == [
        ("a", 81.0, False, None),
        ("b", 81.0, True, None),
        ("random real, ipc 1", 61.0, False, "random"),
    ]
    other = evaluated(81.0)
    other.records[0]["results"]["protocol"]["epochs"] = 100
    labels = [bar.label for bar in study_report.bars_of({"a": evaluated(80.0, 82.0), "b": other})]
    assert labels[2:] == [f"random real, ipc 1 (dsa v1, {epochs} epochs)" for epochs in (300, 100)]


@pytest.mark.parametrize(
    "change, words",
    [
        ({"cells": {}}, ["is no study", "`cells`"]),
        ({"cell": {}}, ["unknown key 'cell'", "'cells'"]),
        ({"cells": {"plain": 3}}, ["small.yaml, cells: plain has to be a mapping of options"]),
        ({"teachers": ["few"]}, ["small.yaml: teachers has to be a mapping"]),
        ({"base": 3}, ["small.yaml: base has to be a mapping"]),
        ({"base": []}, ["small.yaml: base has to be a mapping"]),
        ({"cells": {"plain": ""}}, ["small.yaml, cells: plain has to be a mapping"]),
        ({"teachers": 0}, ["small.yaml: teachers has to be a mapping"]),
        ({"seeds": "abc"}, ["small.yaml: seeds: --seeds is 'abc'; it has to be a list of whole numbers"]),
        ({"seeds": {"a": 1}}, ["small.yaml: seeds: --seeds is [{'a': '1'}]; it has to be a list of whole numbers"]),
        ({"seeds": [1.5]}, ["small.yaml: seeds: --seeds is ['1.5']"]),
        ({"seeds": [None]}, ["small.yaml: seeds: --seeds is [None]"]),
        ({"seeds": [True]}, ["small.yaml: seeds: --seeds is ['true']"]),
        ({"seeds": [0, 1, 0]}, ["small.yaml: seeds: --seeds holds [0] more than once"]),
        ({"cells": {"../x": {}}}, ["small.yaml, cells: '../x' can't be the name of a folder"]),
        ({"cells": {"a/b": {}}}, ["'a/b' can't be the name"]),
        ({"cells": {"..": {}}}, ["'..' can't be the name"]),
        ({"cells": {"": {}}}, ["'' can't be the name"]),
        ({"cells": {None: {}}}, ["None can't be the name"]),
        ({"cells": {"a\nb": {}}}, ["'a\\nb' can't be the name"]),
        ({"cells": {"x" * 300: {}}}, ["can't be the name"]),
        ({"teachers": {"a/b": {}}}, ["teachers: 'a/b' can't be the name"]),
        ({"pools": {"": {}}}, ["pools: '' can't be the name"]),
        ({"cells": {"plain": {"seed": 3}}}, ["cells: leave out seed, which the study itself gives"]),
        ({"base": {"output_dir": "x"}}, ["base: leave out output_dir, which the study itself gives"]),
        ({"base": {"config": 5}}, ["cells: plain", "5: no such file or recipe"]),
        ({"base": {"config": ["a"]}}, ["cells: plain", "config is ['a']; it has to be the name of a recipe"]),
        ({"cells": {"plain": {"teachers": [["a"]]}}}, ["cells: plain", "--teachers is [['a']]"]),
        ({"cells": {"plain": {"teachers": {"a": "b"}}}}, ["cells: plain", "--teachers is [{'a': 'b'}]"]),
        ({"cells": {"plain": {"teacher_pool": ["a"]}}}, ["cells: plain", "--teacher_pool is ['a']"]),
        ({"cells": {"plain": {}, "b": {"set_of": 5}}}, ["cells: b", "set_of names '5', which distils no set"]),
        ({"cells": {"plain": {}, "b": {"set_of": ["plain"]}}}, ["cells: b", "set_of names ['plain']"]),
        ({"cells": {"plain": {}, "b": {"set_of": None}}}, ["cells: b", "set_of names None"]),
        ({"cells": {"plain": {"set_of": "plain"}}}, ["cells: plain", "set_of names 'plain'"]),
        ({"comparisons": {"x": [["plain", ["guided"]]]}}, ["comparisons: x has to be a list of pairs of cells"]),
        ({"comparisons": {"x": []}}, ["comparisons: x has to be a list of pairs of cells"]),
        ({"comparisons": {"x": None}}, ["comparisons: x has to be a list of pairs of cells"]),
        ({"comparisons": ["a"]}, ["small.yaml: comparisons has to be a mapping"]),
        ({"comparisons": {"x": ["plain", "guided"]}}, ["comparisons: x has to be a list of pairs of cells"]),
        ({"curves": {"x": "plain"}}, ["curves: x has to be a list of cells"]),
        ({"curves": {"x": []}}, ["curves: x has to be a list of cells"]),
        ({"curves": {"x": [["plain"]]}}, ["curves: x has to be a list of cells"]),
        ({"curves": {"x": ["plain", "guide"]}}, ["the curve 'x' names the cell 'guide'", "guided"]),
        ({"cells": {"plain": {"objectiv": "dm"}}}, ["cells: plain", "objectiv"]),
        ({"cells": {"plain": {"objective": "dn"}}}, ["--objective dn isn't known"]),
        ({"base": {"ipc": 0}}, ["cells: plain", "--ipc is 0"]),
        ({"base": {"eval_students": 0}}, ["cells: plain", "compares students", "eval_students of 1 or more"]),
        ({"base": {"eval_copies": []}}, ["cells: plain", "compares students", "eval_copies that name a copy"]),
        ({"teachers": {"few": {"epoch": 3}}}, ["teachers: few", "epoch"]),
        ({"comparisons": {"x": [["plain", "guide"]]}}, ["comparison 'x'", "'guide'", "guided"]),
    ],
)
def test_a_wrong_study_is_refused_before_anything_is_trained(tmp_path, monkeypatch, change, words):
    monkeypatch.setattr(study, "pretrain", None)
    with pytest.raises(ConfigError) as error:
        run(tmp_path, SMALL | change)
    assert all(word in str(error.value) for word in words), error.value
    assert not (tmp_path / "out").exists()


def test_a_key_twice_is_an_error(tmp_path):
    (tmp_path / "small.yaml").write_text("cells:\n  dm: {}\n  dm: {ipc: 2}\n")
    with pytest.raises(ConfigError, match="small.yaml, line 3: 'dm' is in line 2 already"):
        study.study(study=str(tmp_path / "small.yaml"))


def test_a_cell_names_a_recipe_beside_the_study_first(tmp_path):
    (tmp_path / "own.yaml").write_text("config: digits-dm\nipc: 7")
    content = {"cells": {"own": {"config": "own"}, "built-in": {"config": "digits-dm"}}}
    plan = Study.read(StudyConfig(write(tmp_path, content)))
    assert [cell.config.ipc for cell in plan.cells] == [7, 1]


def test_no_name_and_an_unknown_one():
    with pytest.raises(ConfigError, match="Name the study: hf-dd study RECIPE."):
        StudyConfig()
    with pytest.raises(ConfigError, match="--study digits-clam: no such file or study; studies: digits-clom"):
        study.study(study="digits-clam")


@pytest.mark.parametrize("path", sorted(resource("scripts", "studies").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_study_can_be_read_and_makes_the_teachers_that_it_names_whatever_the_data_are(path, tmp_path):
    plan = Study.read(StudyConfig(study=str(path), output_dir=str(tmp_path)))
    own = {
        (name, teacher_folder.short_name(*job)): "data-" + teacher_folder.short_name(*job)
        for name, grid in plan.teachers.items()
        for job in pretraining.grid(grid)
    }
    recipe.check_named(plan, own)
    assert plan.cells


def test_a_cell_goes_over_the_base_and_both_over_their_recipe(tmp_path):
    content = {
        "base": {"config": "digits-dm", "ipc": 2},
        "cells": {"own": {"ipc": 3}, "published": {"iterations": None}, "other": {"config": "digits-dsa"}},
    }
    plan = Study.read(StudyConfig(study=write(tmp_path, content), dataset="digits", output_dir="there"))
    own, published, other = (cell.config for cell in plan.cells)
    of_recipe = read_recipe("digits-dm", [field.name for field in dataclasses.fields(DistillConfig)])
    assert (own.ipc, own.iterations, own.dataset) == (3, int(of_recipe["iterations"]), "digits")
    assert (published.ipc, published.iterations) == (2, None)  # None takes the recipe's back: the paper's number
    assert (other.ipc, other.objective, other.output_dir) == (2, "dsa", "there/cells/other-seed0")


def test_a_grid_of_another_domain_keeps_its_data_set(tmp_path):
    grids = {"own": {"dataset": "digits", "epochs": 1}, "same": {"config": "digits-teachers"}}
    path = write(tmp_path, {"teachers": grids, "cells": {"dm": {}}})
    plan = Study.read(StudyConfig(study=path, dataset="folder", output_dir="there"))
    assert [config.dataset for config in plan.teachers.values()] == ["digits", "folder"]
    assert plan.cells[0].config.dataset == "folder"
