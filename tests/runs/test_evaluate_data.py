"""`evaluate` and `compare` without --dataset: options of how data are read count, over those of the record."""

import dataclasses
import json
import re

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Image
from PIL import Image as Picture

import hf_dd
from hf_dd import cli
from hf_dd.artefacts.distilled_folder import Artefact
from hf_dd.config import DataConfig, DistillConfig, EvaluateConfig
from hf_dd.errors import ConfigError, DataError
from hf_dd.evaluation import report
from hf_dd.runs.evaluation_inputs import names_of, source_of
from tests.factories import message_of, says

MADE_FROM = {"image_column": "picture", "train_split": "own", "image_size": 16, "image_memory_gb": 2.0}
RECORD = {"settings": {"dataset": "x", **MADE_FROM}, "data": {"reference": "owner/x@0"}}
GIVEN = {
    "dataset_config": "small",
    "image_column": "photo",
    "label_column": "kind",
    "train_split": "train",
    "test_split": "hard",
    "image_size": 8,
}


def test_what_is_given_goes_over_the_record():
    asked = EvaluateConfig(sets=["set"])
    assert source_of(asked, "set", RECORD) == DataConfig("owner/x@0", **MADE_FROM | {"image_memory_gb": 8.0})
    for option, value in GIVEN.items():
        found = source_of(dataclasses.replace(asked, **{option: value}), "set", RECORD)
        assert getattr(found, option) == value and found.dataset == "owner/x@0"
        assert [getattr(found, other) for other in MADE_FROM if other not in (option, "image_memory_gb")] == [
            value for other, value in MADE_FROM.items() if other not in (option, "image_memory_gb")
        ]
    alone = source_of(dataclasses.replace(asked, dataset="digits", test_split="test"), "set", RECORD)
    assert alone == DataConfig("digits", test_split="test")


@pytest.mark.parametrize("command", ["evaluate", "compare"])
def test_none_of_them_is_passed_over(command, tmp_path):
    folder = tmp_path / "set"
    hf_dd.distill(objective="random", ipc=1, eval_students=0, output_dir=str(folder))
    for option, value in GIVEN.items():
        if option in ("train_split", "image_size"):
            continue
        with pytest.raises(SystemExit, match=f"--{option} has no meaning for digits"):
            cli.main([command, str(folder), f"--{option}", str(value), "--output_dir", str(tmp_path / "out")])
    with pytest.raises(SystemExit, match="16"):
        cli.main([command, str(folder), "--image_size", "16", "--output_dir", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_a_folder_of_sets_is_no_set_and_a_set_of_ours_is_not_imported(tmp_path):
    for name, kind in (("a", "distilled-set"), ("b/c", "imported-set"), ("teacher", "teacher")):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "hf_dd.json").write_text(json.dumps({"kind": kind}))
    output = {"output_dir": str(tmp_path.with_name("out"))}
    told = re.escape(f"isn't a set, but holds 2 sets. Name one: {tmp_path / 'a'}, {tmp_path / 'b/c'}.")
    with pytest.raises(DataError, match=told):
        hf_dd.evaluate(sets=[str(tmp_path)], dataset="digits", **output)
    with pytest.raises(DataError, match=told):
        hf_dd.import_set(foreign_set=str(tmp_path), dataset="digits", **output)
    with pytest.raises(DataError, match="a is a set of hf-dd already"):
        hf_dd.import_set(foreign_set=str(tmp_path / "a"), dataset="digits", **output)


STUDENTS = {"eval_architectures": ["MLP"], "eval_students": 1, "eval_epochs": [2], "baselines": ["random"]}


def write_data(folder, seed=0):
    """Three classes of random images, with a test split and a `hard` one, of other images and the same labels."""
    random = np.random.default_rng(seed)
    features = Features({"image": Image(), "label": ClassLabel(names=["a", "b", "c"])})
    (folder / "data").mkdir(parents=True)
    for name in ("train", "test", "hard"):
        images = [Picture.fromarray(random.integers(0, 256, (8, 8), np.uint8)) for _ in range(12)]
        rows = Dataset.from_dict({"image": images, "label": [0, 1, 2] * 4}, features=features)
        rows.to_parquet(folder / f"data/{name}-00000-of-00001.parquet")
    return folder


def test_a_card_says_when_a_set_was_tested_on_other_images(tmp_path):
    data, folder = write_data(tmp_path / "letters"), tmp_path / "set"
    hf_dd.distill(dataset=str(data), objective="random", ipc=1, eval_students=0, output_dir=str(folder))

    def told(*sets, **options):
        hf_dd.evaluate(sets=[str(each) for each in sets or [folder]], **STUDENTS | options)
        results, card = Artefact.open(folder).record.results, (folder / "README.md").read_text()
        assert ("read otherwise" in card) == ("tested" in results)
        if "tested" in results:
            (how,) = results["tested"].values()
            assert card.count("read otherwise") == 1
            says(card, f" were read otherwise than for the distillation: {how}.", f"test images of {results['data']} ")
        return results.get("tested", {})

    assert told() == {}
    assert told(test_split="hard") == {"set": "--test_split hard"}
    assert told(test_split="hard", test_resize=9) == {"set": "--test_split hard, --test_resize 9"}
    assert told(dataset=str(data)) == {}  # the same images
    other = write_data(tmp_path / "others", seed=1)
    assert told(dataset=str(other)) == {"set": "--dataset others"}
    says(repr(Artefact.open(folder)), "The data of others were read otherwise than for the distillation")
    second = Artefact.open(folder).copied(tmp_path / "second").folder
    both = {"regimes": ["hard"], "output_dir": str(tmp_path / "both")}
    assert told(folder, second, test_split="hard", **both) == {"set": "--test_split hard"}
    assert Artefact.open(second).record.results["tested"] == {"second": "--test_split hard"}
    assert told(folder, second, **both) == {}
    third = str(tmp_path / "third")
    hf_dd.distill(dataset=str(other), objective="random", ipc=1, eval_students=0, output_dir=third)
    options = STUDENTS | {"output_dir": str(tmp_path / "compared"), "dataset": str(other)}
    text = (hf_dd.compare(sets=[str(folder), third], **options) / "comparison.md").read_text()
    says(text, "data of others were read otherwise than for the distillation (on set): --dataset others.")
    says(text, "last epoch, tested on others, on CPU")
    found = hf_dd.evaluate(sets=[str(folder), third], **options)
    says(repr(found), "(on set): --dataset others.", ", tested on others, on CPU")


def test_sets_of_one_name_are_told_apart_and_none_comes_twice(tmp_path, monkeypatch):
    """Sets of the folders x/one and y/one: of each its own sentence, rows, bar and teachers."""
    for number, name in enumerate(("x/one", "y/one", "y/two")):
        hf_dd.distill(objective="random", ipc=1, eval_students=0, seed=number, output_dir=str(tmp_path / name))
    sets, bars = [str(tmp_path / name) for name in ("x/one", "y/two", "y/one")], []
    monkeypatch.setattr(report, "write_bars", lambda panels, *_: bars.extend(panels["MLP"]))
    options = STUDENTS | {"eval_architectures": ["MLP", "LeNet"], "eval_copies": ["float"]}
    folder = hf_dd.compare(sets=sets, output_dir=str(tmp_path / "c"), **options)
    text, names = (folder / "comparison.md").read_text(), ["x/one", "two", "y/one"]
    for name in names:
        assert text.count(f"\n- {name}: ") + text.startswith(f"- {name}: ") == 1
        assert sum(line.startswith(f"| {name} | float | ") for line in text.splitlines()) == 3  # and in the matrix
    rows = json.loads((folder / "results.json").read_text())["rows"]
    assert [row["set"] for row in rows if row["architecture"] == "MLP"][:3] == names
    assert [bar.label for bar in bars][:3] == [f"{name} [float]" for name in names]
    monkeypatch.chdir(tmp_path / "y")
    for again in ("one", "../y/one", f"{tmp_path}/y/one"):
        says(message_of("compare", *sets, again, "--output_dir", "c"), sets[2], "one set, named twice", again)


def test_students_of_sets_of_one_name_are_kept_apart(tmp_path):
    sets = [tmp_path / name for name in ("x/one", "y/one", "z/one")]
    for number, folder in enumerate(sets):
        hf_dd.distill(objective="random", ipc=1, eval_students=0, seed=number, output_dir=str(folder))
    options = STUDENTS | {"eval_copies": ["float"], "baselines": [], "output_dir": str(tmp_path / "out")}
    hf_dd.evaluate(sets=list(map(str, sets)), save_students=str(tmp_path / "kept"), **options)
    assert sorted(folder.name for folder in (tmp_path / "kept").iterdir()) == ["one", "one-one", "one-one-3"]


def test_sets_of_the_hub_are_told_apart_by_their_revisions(tmp_path, unique):
    made = hf_dd.distill(objective="random", ipc=1, eval_students=0, output_dir=str(tmp_path / "one"))
    pin = made.push(unique(), tag="v1").pin
    made.push(pin.repo_id, tag="v2")
    local = str(tmp_path / "one")
    assert names_of([f"{pin.repo_id}@v1", local, pin.repo_id]) == [f"{pin.repo_id}@v1", "one", f"{pin.repo_id}@main"]
    twice = f"{pin.repo_id}@v1 and {pin.repo_id}@{pin.sha}: that is one set, named twice"
    with pytest.raises(ConfigError, match=twice):
        names_of([f"{pin.repo_id}@v1", local, f"{pin.repo_id}@{pin.sha}"])
    assert names_of(["no such", "no such"]) == ["no such", "no such"]  # as their reader says


def test_a_set_that_was_tested_on_a_split_of_its_own_says_nothing(tmp_path):
    data, folder = write_data(tmp_path / "letters"), tmp_path / "set"
    made = {"dataset": str(data), "test_split": "hard", "objective": "random", "ipc": 1, "eval_students": 0}
    hf_dd.distill(**made, output_dir=str(folder))
    assert not hf_dd.evaluate(sets=[str(folder)], **STUDENTS).tested
    found = hf_dd.evaluate(sets=[str(folder)], dataset=str(data), **STUDENTS).tested
    assert found == {"set": "no --test_split"}


def test_an_evaluation_of_nothing_is_refused_and_one_of_real_images_leaves_the_sets_results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    quick = {"eval_students": 1, "eval_epochs": [1], "eval_architectures": ["MLP"], "eval_augment": "none"}
    made = hf_dd.distill(dataset="digits", objective="random", ipc=1, output_dir="set", eval_copies=["8bit"], **quick)
    for command in (hf_dd.evaluate, hf_dd.compare):
        with pytest.raises(ConfigError, match="Nothing would be evaluated"):
            command(sets=["set"], eval_copies=[], baselines=["none"], **quick)
    with pytest.raises(ConfigError, match="Nothing would be evaluated"):
        DistillConfig(eval_copies=[], baselines=["none"])
    assert DistillConfig(eval_copies=[], baselines=["none"], eval_students=0).eval_copies == []
    results = hf_dd.evaluate(sets=["set"], eval_copies=[], baselines=["random"], **quick)
    assert [row.baseline for row in results.rows] == ["random"]
    assert hf_dd.Artefact.open(made.folder).record.results == made.record.results
    assert json.loads((tmp_path / "outputs/evaluate-set/results.json").read_text())["rows"]


def test_a_quick_look_at_several_sets_replaces_no_longer_results_and_one_at_a_single_set_tells_it(tmp_path, caplog):
    first = hf_dd.distill(objective="random", ipc=1, eval_students=0, output_dir=str(tmp_path / "first"))
    second = first.copied(tmp_path / "second")

    def evaluated(*sets, **options):
        """The epochs of each set's results after an evaluation of these."""
        options = (
            STUDENTS | {"baselines": [], "output_dir": len(sets) > 1 and str(tmp_path / "both") or None} | options
        )
        hf_dd.evaluate(sets=[str(each.folder) for each in sets], **options)
        results = (Artefact.open(each.folder).record.results for each in (first, second))
        return [found and found["rows"][0]["epochs"] for found in results]

    assert evaluated(first, eval_epochs=[4]) == [4, None]
    with caplog.at_level("INFO"):
        assert evaluated(first, second) == [4, 2]
    assert (
        f"{first.folder} keeps its results (dsa, 1 student × 4 epochs), as these (dsa, 1 student × 2 epochs) took"
        in caplog.text
    )
    assert "are replaced" not in caplog.text
    assert evaluated(first, second, eval_students=2) == [2, 2]  # as much training
    assert evaluated(first, second, eval_protocol="dsa-authors", eval_epochs=[1]) == [1, 1]  # by another protocol
    with caplog.at_level("INFO"):
        assert evaluated(second, eval_epochs=[3]) == [1, 3]
    assert (
        "second are replaced: dsa, 1 student × 3 epochs, where they were dsa-authors, 1 student × 1 epoch."
        in caplog.text
    )
