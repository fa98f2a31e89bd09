"""`evaluate` and `compare` without --dataset: options of how data are read count, over those of the record."""

import dataclasses

import pytest

import hf_dd
from hf_dd import cli
from hf_dd.config import DataConfig, EvaluateConfig
from hf_dd.runs.evaluate import source_of

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
