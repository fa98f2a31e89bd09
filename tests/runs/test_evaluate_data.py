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
from hf_dd.config import DataConfig, EvaluateConfig
from hf_dd.errors import DataError
from hf_dd.runs.evaluation_inputs import source_of

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
    assert source_of(asked, RECORD) == DataConfig("owner/x@0", **MADE_FROM | {"image_memory_gb": 8.0})
    for option, value in GIVEN.items():
        found = source_of(dataclasses.replace(asked, **{option: value}), RECORD)
        assert getattr(found, option) == value and found.dataset == "owner/x@0"
        assert [getattr(found, other) for other in MADE_FROM if other not in (option, "image_memory_gb")] == [
            value for other, value in MADE_FROM.items() if other not in (option, "image_memory_gb")
        ]
    alone = source_of(dataclasses.replace(asked, dataset="digits", test_split="test"), RECORD)
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
            assert f"The data were read otherwise than for the distillation: `{how}`." in card
        return results.get("tested", {})

    assert told() == {}
    assert told(test_split="hard") == {"set": "--test_split hard"}
    assert told(test_split="hard", test_resize=9) == {"set": "--test_split hard, --test_resize 9"}
    assert told(dataset=str(data)) == {}  # the same images
    other = write_data(tmp_path / "others", seed=1)
    assert told(dataset=str(other)) == {"set": "--dataset others"}
    second = Artefact.open(folder).copied(tmp_path / "second").folder
    both = {"regimes": ["hard"], "output_dir": str(tmp_path / "both")}
    assert told(folder, second, test_split="hard", **both) == {"set": "--test_split hard"}
    assert Artefact.open(second).record.results["tested"] == {"second": "--test_split hard"}
    assert told(folder, second, **both) == {}


def test_a_set_that_was_tested_on_a_split_of_its_own_says_nothing(tmp_path):
    data, folder = write_data(tmp_path / "letters"), tmp_path / "set"
    made = {"dataset": str(data), "test_split": "hard", "objective": "random", "ipc": 1, "eval_students": 0}
    hf_dd.distill(**made, output_dir=str(folder))
    assert not hf_dd.evaluate(sets=[str(folder)], **STUDENTS).tested
    found = hf_dd.evaluate(sets=[str(folder)], dataset=str(data), **STUDENTS).tested
    assert found == {"set": "no --test_split"}


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
