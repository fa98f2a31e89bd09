"""A share of the training images as the test split of data that have none."""

import dataclasses
import shutil

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image
from hypothesis import given, settings
from hypothesis import strategies as st

import hf_dd
from hf_dd.config import DataConfig
from hf_dd.data.image_data import load_data
from hf_dd.data.splits import Source, Split
from hf_dd.data.test_share import with_test_share
from hf_dd.errors import ConfigError, DataError
from hf_dd.uses.continual import continual
from tests.factories import message_of, says


def source(counts):
    """A source whose image i is all of grey level i, and has as many of each class as `counts` says, in turn."""
    labels = torch.cat([torch.full((count,), label) for label, count in enumerate(counts)])
    images = torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)
    return Source("greys", "unknown", [f"c{label}" for label in range(len(counts))], Split(images, labels), None)


def rows(splits=("train",), size=8, seed=0):
    """A data set of 12 images of each of two classes in each split."""
    draws = np.random.default_rng(seed)
    images = [draws.integers(0, 256, (size, size), dtype=np.uint8) for _ in range(24)]
    columns = {"image": images, "label": [place % 2 for place in range(24)]}
    features = Features({"image": Image(), "label": ClassLabel(names=["a", "b"])})
    return DatasetDict({split: Dataset.from_dict(columns, features=features) for split in splits})


@given(counts=st.lists(st.integers(2, 40), min_size=1, max_size=5), share=st.floats(0.01, 0.99))
@settings(max_examples=60, deadline=None)
def test_each_class_gives_its_share_and_every_image_is_in_one_split(counts, share):
    found = with_test_share(source(counts), share)
    held = torch.bincount(found.test.labels, minlength=len(counts)).tolist()
    assert held == [min(max(1, round(share * count)), count - 1) for count in counts]
    both = torch.cat([found.train.images, found.test.images])[:, 0, 0, 0]
    assert sorted(both.tolist()) == list(range(sum(counts)))
    everything = source(counts).train.labels
    for split in (found.train, found.test):
        assert split.labels.equal(everything[split.images[:, 0, 0, 0].long()])


def test_every_seed_holds_out_the_same_images_in_memory_and_in_a_file(tmp_path):
    rows().save_to_disk(str(tmp_path / "rows"))
    config = DataConfig(str(tmp_path / "rows"), test_share=0.25)
    data, stored = load_data(config), load_data(dataclasses.replace(config, image_memory_gb=0.0))
    assert (len(data.train), len(data.test)) == (18, 6) and data.test_split == "0.25 of train"
    assert data.test.labels.bincount().tolist() == [3, 3]
    assert data.notes == ("6 of 24 images, drawn from each class, are held out as its test split.",)
    for split in ("train", "test"):
        own, other = getattr(data, split), getattr(stored, split)
        assert own.images.equal(other.images[torch.arange(len(own))]) and own.labels.equal(other.labels)
    assert data.fingerprint == stored.fingerprint != load_data(str(tmp_path / "rows")).fingerprint
    assert torch.allclose(torch.tensor(data.mean), data.train.images.float().mean() / 255, atol=1e-6)


def test_a_test_split_that_is_there_is_left_alone():
    data = load_data(DataConfig(rows(("train", "test")), test_share=0.5))
    assert (len(data.train), len(data.test), data.test_split) == (12, 12, "0.5 of train")


def test_a_run_a_later_evaluation_and_a_card_go_by_it(tmp_path):
    rows().save_to_disk(str(tmp_path / "rows"))
    few = {"eval_students": 1, "eval_epochs": 1, "eval_architectures": ["MLP"]}
    made = hf_dd.distill(
        **{"dataset": str(tmp_path / "rows"), "objective": "random", "ipc": 1, "test_share": 0.25},
        **few,
        output_dir=str(tmp_path / "set"),
    )
    assert made.record.results["test_images"] == 6 and made.record.settings["test_share"] == 0.25
    assert made.record.data["test_split"] == "0.25 of train"
    says((tmp_path / "set/README.md").read_text(), "--test_share 0.25")
    again = hf_dd.evaluate(sets=[str(tmp_path / "set")], **few, output_dir=str(tmp_path / "evaluation"))
    assert again.as_dict()["test_images"] == 6
    assert "tested" not in again.as_dict()


def test_no_set_is_tested_on_images_that_it_was_made_of(tmp_path):
    rows().save_to_disk(str(tmp_path / "rows"))
    rows(seed=1).save_to_disk(str(tmp_path / "others"))
    few = {"eval_students": 1, "eval_epochs": 1, "eval_architectures": ["MLP"]}
    for name, held in (("whole", {}), ("part", {"test_share": 0.25}), ("resized", {"test_resize": 9})):
        options = {"dataset": str(tmp_path / "rows"), "objective": "random", "ipc": 1, "eval_students": 0}
        hf_dd.distill(**options, **held, output_dir=str(tmp_path / name))
    whole, part, out = str(tmp_path / "whole"), str(tmp_path / "part"), str(tmp_path / "out")

    def evaluated(*sets, **options):
        return hf_dd.evaluate(sets=list(sets), **few, **options, output_dir=out).as_dict()

    with pytest.raises(DataError, match="whole was made of all images of rows, which has no test split: distil it"):
        evaluated(whole)
    with pytest.raises(DataError, match="resized was made of images of rows that"):
        evaluated(str(tmp_path / "resized"), test_share=0.25)
    for sets in ((whole,), (part, whole)):
        with pytest.raises(DataError, match=r"whole was made of images of rows that --test_share 0\.25 would test on"):
            evaluated(*sets, test_share=0.25)
    with pytest.raises(DataError, match=r"whole was made of images of rows that --test_share 0\.25 would test on"):
        evaluated(part, whole)  # by the record of the first
    with pytest.raises(
        DataError, match=r"part was made .* left, .* alone that it held out: give --test_share 0\.25\.$"
    ):
        evaluated(part, test_share=0.5)
    with pytest.raises(
        DataError, match=r"part was made .* left, .* alone that it held out: give --test_share 0\.25\.$"
    ):
        evaluated(part, dataset=str(tmp_path / "rows"))  # which asks for no share
    with pytest.raises(DataError, match="whole was made of images of rows that"):
        continual(set=whole, test_share=0.25, output_dir=out)
    shutil.copytree(tmp_path / "rows", tmp_path / "copy")
    for named in ({}, {"test_share": 0.25}):
        with pytest.raises(DataError, match="whole was made of .* of copy"):
            evaluated(whole, dataset=str(tmp_path / "copy"), **named)
    assert evaluated(part, dataset=str(tmp_path / "rows"), test_share=0.25)["test_images"] == 6
    assert evaluated(part, test_share=0.1)["test_images"] == 2
    assert evaluated(whole, dataset=str(tmp_path / "others"), test_share=0.25)["test_images"] == 6


@pytest.mark.parametrize(
    "options, told",
    [
        ({"test_split": "train"}, "--test_share 0.2 makes a test split of training images, and --test_split train"),
        ({"test_resize": 9}, "--test_resize 9 is of the images of a test split"),
    ],
)
def test_two_ways_to_say_what_is_tested_contradict_each_other(options, told):
    with pytest.raises(ConfigError, match=told):
        DataConfig(test_share=0.2, **options)


def test_classes_of_one_image_and_data_of_one_form_are_refused():
    with pytest.raises(DataError, match=r"--test_share 0\.5 of the training images of greys: c1 has one image alone"):
        with_test_share(source([3, 1]), 0.5)
    says(message_of("distill", "--test_share", "0.2"), "--test_share has no meaning for digits")
    for share in ("0", "1", "a fifth"):
        says(message_of("distill", "--test_share", share), "--test_share")
