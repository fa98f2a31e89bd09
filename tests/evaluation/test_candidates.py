"""What a set's students are compared with: as many real images of each class as the set has of it."""

import dataclasses
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from datasets import Image

import hf_dd
from hf_dd.artefacts.rows import write_rows
from hf_dd.config import DataConfig
from hf_dd.core import processes
from hf_dd.core.text import ipc_in_words
from hf_dd.data.image_data import load_data
from hf_dd.errors import ConfigError, DataError
from hf_dd.evaluation import report
from hf_dd.evaluation.candidates import baseline, candidates_of
from hf_dd.evaluation.evaluation import Evaluation
from hf_dd.evaluation.protocols import PROTOCOLS
from hf_dd.evaluation.scores import inputs_of
from hf_dd.synthetic import coresets
from hf_dd.synthetic.distilled_set import DistilledSet, images_per_class, to_rows
from tests.factories import make_data

pytestmark = pytest.mark.usefixtures("one_thread", "nothing_remembered")
KINDS = ["random", *coresets.METHODS]


def made_of(data, counts, factor=1):
    """A set with so many stored images of each class, of which factor² training images each were decoded."""
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts) * factor**2)
    pixels = torch.rand(len(labels), data.channels, *data.image_size)
    return DistilledSet(pixels, (pixels * 255).to(torch.uint8), labels, data.class_names, 1, factor=factor)


@pytest.mark.parametrize("factor", [1, 2])
@pytest.mark.parametrize(
    ("counts", "ipc", "words"),
    [([2, 2, 2], 2, "2"), ([3, 5, 4], (3, 5, 4), "3–5"), ([5, 1, 1], (5, 1, 1), "1–5"), ([1, 1, 0], (1, 1, 0), "0–1")],
)
def test_the_images_of_a_class_are_one_number_only_where_all_have_as_many(counts, ipc, words, factor):
    distilled = made_of(make_data(), counts, factor)
    assert distilled.ipc == ipc
    assert ipc_in_words(ipc) == words
    if all(counts):
        assert images_per_class(distilled.labels, factor) == ipc


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ipc", [(2, 1, 4), (1, 5, 1)])
def test_a_baseline_has_as_many_images_of_each_class_as_the_set(kind, ipc):
    data = make_data()
    found = baseline(kind, data, ipc, 0, processes.new_accelerator("no").autocast)
    for student in (0, 1):
        own = found.of_student(student)
        assert torch.bincount(own.labels).tolist() == list(ipc)
        assert len({image.numpy().tobytes() for image in own.images}) == sum(ipc)  # none comes twice
    first, second = (found.of_student(student).images for student in (0, 1))
    assert torch.equal(first, second) == (kind != "random")  # which is drawn anew for each student
    assert found.ipc == ipc and found.name.endswith(f", ipc {min(ipc)}–{max(ipc)}")


@pytest.mark.parametrize("kind", KINDS)
def test_equal_classes_have_the_baselines_of_a_single_number(kind):
    data = make_data()
    autocast = processes.new_accelerator("no").autocast
    one, each = (baseline(kind, data, ipc, 0, autocast) for ipc in (2, (2, 2, 2)))
    assert torch.equal(one.images, each.images) and torch.equal(one.labels, each.labels)
    assert one.name == each.name and one.name.endswith(", ipc 2")
    assert one.identity == each.identity == [kind, 2, None if kind == "random" else 0]


@pytest.mark.parametrize("kind", KINDS)
def test_sets_of_as_many_images_in_other_classes_have_other_baselines(kind):
    data, autocast = make_data(), processes.new_accelerator("no").autocast
    first, second = (baseline(kind, data, ipc, 0, autocast) for ipc in ((2, 1, 4), (4, 1, 2)))
    assert first.identity != second.identity
    assert not torch.equal(first.labels, second.labels)


@pytest.mark.parametrize("kind", KINDS)
def test_a_class_of_the_set_with_more_images_than_there_are_real_ones_is_named(kind):
    with pytest.raises(DataError, match="Class 'dog' of random has 6 training images, and ipc is 7"):
        baseline(kind, make_data(), (2, 7, 1), 0, None)


@pytest.mark.parametrize("method", coresets.METHODS)
def test_a_coreset_takes_a_number_for_each_class(method):
    data = make_data()
    features = torch.rand(len(data.train), 4, generator=torch.Generator().manual_seed(0))
    choose = coresets.METHODS[method]
    chosen = choose(features, data.train.labels, 3, (2, 1, 4))
    assert data.train.labels[chosen].tolist() == [0] * 2 + [1] + [2] * 4
    alone = [choose(features, data.train.labels, 3, ipc) for ipc in (2, 1, 4)]
    parts = [of[data.train.labels[of] == label] for label, of in enumerate(alone)]
    assert torch.equal(chosen, torch.cat(parts))
    for bad in (0, (1, 0, 1)):
        with pytest.raises(ConfigError, match="ipc must be at least 1, not 0"):
            choose(features, data.train.labels, 3, bad)


def test_a_score_compares_with_random_images_of_the_sets_own_numbers():
    data = make_data()
    (own,) = candidates_of("set", made_of(data, [2, 4, 3]), data, ["float"])
    asked = []
    protocol = PROTOCOLS["dsa"]
    evaluation = SimpleNamespace(
        protocol=protocol, teachers=None, options=lambda candidate, protocol, student: [protocol]
    )
    inputs_of("augmentation_robust_score", evaluation, own, lambda kind, ipc: asked.append((kind, ipc)))
    assert asked == [("random", (2, 4, 3))]


def test_an_evaluation_of_unequal_classes_says_so_in_rows_and_tables(tmp_path):
    """Of a folder on the disk, as a user evaluates it: the random baseline has the set's numbers."""
    data = load_data(DataConfig())
    counts = [3, 1, 2, 1, 1, 1, 1, 1, 1, 1]
    distilled = made_of(data, counts)
    write_rows(tmp_path, to_rows(distilled.pixel_values, distilled.labels, data.class_names))
    options = {"eval_students": 2, "eval_epochs": 1, "eval_copies": ["float"], "dataset": "digits"}
    options |= {"baselines": ["random", "full"], "output_dir": f"{tmp_path}/out"}
    results = hf_dd.evaluate(sets=[str(tmp_path)], **options)
    assert [row.ipc for row in results.rows[:2]] == ["1–3", "1–3"]
    assert results.rows[1].set == "random real, ipc 1–3"
    real = baseline("random", data, tuple(counts), 0, nullcontext).of_student(0)
    stored = to_rows(real.images.float() / 255, real.labels, data.class_names).cast_column(
        "image", Image(decode=False)
    )
    assert results.rows[1].bytes == sum(len(image["bytes"]) for image in stored["image"])
    assert "| 1–3 |" in report.comparison(results, {})
    full = torch.bincount(data.train.labels)
    assert results.rows[2].ipc == f"{full.min()}–{full.max()}"


def test_equal_classes_are_still_a_number_in_the_results():
    data = make_data()
    data = dataclasses.replace(data, test=data.train)
    protocol = PROTOCOLS["dc"].with_changes(epochs=1)
    evaluation = Evaluation(data, protocol, seed=0, accelerator=processes.new_accelerator("no"))
    found = candidates_of("set", made_of(data, [2, 2, 2], 2), data, ["float"])
    (row,) = evaluation.run(found, ["MLP"], 1).rows
    assert row.ipc == 2


def test_whatever_students_learn_from_is_part_of_what_a_score_is_remembered_by():
    data = make_data()
    distilled = made_of(data, [2, 2, 2])
    soft = torch.rand(6, 3)
    (own,) = candidates_of("set", dataclasses.replace(distilled, soft_labels=soft), data, ["float"])
    others = [
        dataclasses.replace(own, **changes)
        for changes in (
            {"temperature": 2.0},
            {"factor": 2},
            {"soft_labels": None},
            {"soft_labels": 1 - soft},
            {"labels": own.labels.flip(0)},
            {"images": 1 - own.images},
            {"images": own.images.double()},
        )
    ]
    assert len({str(candidate.identity) for candidate in (own, *others)}) == 1 + len(others)
    named_otherwise = dataclasses.replace(own, name="other", copy="8bit", set_bytes=5, taught_by=("a",))
    assert named_otherwise.identity == own.identity
