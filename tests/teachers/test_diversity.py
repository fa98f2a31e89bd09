"""The diversity of a pool: its two measures against their formulas and properties, and where it is written."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import hf_dd
from hf_dd.artefacts.distilled_folder import Artefact
from hf_dd.config import DataConfig
from hf_dd.core.seeding import generator
from hf_dd.data.held_out import validation_rows
from hf_dd.data.image_data import load_data
from hf_dd.studies import study
from hf_dd.teachers import diversity
from hf_dd.teachers.pool import TeacherPool
from tests.factories import local_teacher, make_data, make_teacher
from tests.oracles import diversity as oracle
from tests.studies.test_study import SMALL as STUDY
from tests.studies.test_study import run as run_study

pytestmark = pytest.mark.usefixtures("one_thread", "nothing_remembered")

SMALL = {"ipc": 1, "iterations": 2, "real_batch_size": 4, "architecture_options": ["width=8"], "eval_students": 0}
sizes = st.tuples(st.integers(2, 12), st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**16))


def drawn(images, features, seed, name):
    return torch.randn(images, features, generator=generator(seed, name), dtype=torch.float64)


@settings(max_examples=40)
@given(sizes)
def test_cka_is_its_formula(size):
    images, first, second, seed = size
    x, y = drawn(images, first, seed, "x") + 3, drawn(images, second, seed, "y")
    found = diversity.linear_cka([x, y, x])
    for i, one in enumerate((x, y, x)):
        for j, other in enumerate((x, y, x)):
            assert float(found[i, j]) == pytest.approx(oracle.linear_cka(one.tolist(), other.tolist()), abs=1e-9)


@settings(max_examples=40)
@given(sizes, st.floats(1e-3, 1e3), st.floats(-100, 100))
def test_cka_sees_neither_rotation_nor_scale_nor_shift(size, scale, shift):
    images, first, second, seed = size
    x, y = drawn(images, first, seed, "x"), drawn(images, second, seed, "y")
    rotation = torch.linalg.qr(drawn(first, first, seed, "rotation")).Q
    found = diversity.linear_cka([x, y, scale * x @ rotation + shift])
    assert float(found.min()) >= -1e-12 and float(found.max()) <= 1 + 1e-12
    torch.testing.assert_close(found, found.T, rtol=0, atol=1e-12)
    torch.testing.assert_close(found.diagonal(), torch.ones(3, dtype=torch.float64), rtol=0, atol=1e-12)
    assert float(found[0, 2]) == pytest.approx(1, abs=1e-9)
    assert float(found[2, 1]) == pytest.approx(float(found[0, 1]), abs=1e-9)


def test_cka_of_what_tells_no_images_apart_is_zero():
    same, x = torch.full((5, 3), 0.1, dtype=torch.float64), drawn(5, 3, 0, "x")
    assert diversity.linear_cka([same, x]).tolist() == [[0, 0], [0, pytest.approx(1)]]


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=20))
def test_disagreement_is_a_distance_of_predictions(pairs):
    first, second = (torch.tensor(classes) for classes in zip(*pairs, strict=True))
    value = float(diversity.disagreement(first, second))
    assert value == pytest.approx(oracle.disagreement(first.tolist(), second.tolist()), abs=1e-15)
    assert float(diversity.disagreement(second, first)) == value
    assert float(diversity.disagreement(first, first)) == 0


def test_a_pool_is_measured_on_validation_images_by_the_classes_names():
    data = make_data((90, 60, 70))
    order = [2, 0, 1]
    others = make_teacher(data, "MLP", 1, class_names=[data.class_names[index] for index in order])
    foreign = make_teacher(data, "MLP", 2, class_names=["x", "y", "z"])
    pool = TeacherPool([make_teacher(data), others, foreign, make_teacher(data, "MLP", 3)])
    found = diversity.measure(pool, data)
    rows = validation_rows(data, 0)
    assert found["images"] == len(rows) == 22
    images = data.train.images[rows].float() / 255
    features = [teacher.features(images).tolist() for teacher in pool]
    predicted = [pool[0](images).argmax(1), others(images)[:, [1, 2, 0]].argmax(1), None, pool[3](images).argmax(1)]
    assert [pair["teachers"] for pair in found["pairs"]] == [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]
    for pair in found["pairs"]:
        i, j = pair["teachers"]
        assert pair["cka"] == pytest.approx(oracle.linear_cka(features[i], features[j]), abs=1e-5)
        if 2 in (i, j):
            assert pair["disagreement"] is None
        else:
            assert pair["disagreement"] == pytest.approx(
                oracle.disagreement(predicted[i].tolist(), predicted[j].tolist()), abs=1e-6
            )
    known = [pair["disagreement"] for pair in found["pairs"] if pair["disagreement"] is not None]
    assert found["disagreement"] == pytest.approx(sum(known) / 3, abs=1e-6)
    assert found["cka"] == pytest.approx(sum(pair["cka"] for pair in found["pairs"]) / 6, abs=1e-6)
    words = diversity.in_words(found)
    assert f"{100 * found['disagreement']:.2f} % of them (mean pairwise disagreement of 3 of 6 pairs)" in words
    assert words.startswith("On 22 validation images") and f"is {found['cka']:.4f}." in words


def test_at_most_a_thousand_images_are_looked_at_and_what_was_measured_is_remembered(monkeypatch):
    data = make_data((90, 60, 70))
    monkeypatch.setattr(diversity, "IMAGES", 10)
    pool = TeacherPool([make_teacher(data), make_teacher(data, "MLP")])
    found = diversity.measure(pool, data)
    assert found["images"] == 10
    monkeypatch.setattr(diversity, "measured", None)
    assert diversity.measure(pool, data) == found


def test_what_was_measured_is_that_of_these_configurations(tmp_path):
    data = load_data("digits")
    folders = [local_teacher(tmp_path / name, data, width) for name, width in (("one", 6), ("two", 8))]
    before = diversity.measure(TeacherPool.from_references(folders), data)
    config = tmp_path / "two/config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"mean": [1.0], "std": [0.01]}))
    pool = TeacherPool.from_references(folders)
    after = diversity.measure(pool, data)
    assert after == diversity.measured(pool, data, "cpu") and after["cka"] != before["cka"]


def test_what_is_no_number_costs_no_result():
    data = make_data((20, 20))
    broken = make_teacher(data, "MLP", 1)
    with torch.no_grad():
        for parameter in broken.network.parameters():
            parameter.fill_(float("nan"))
    found = diversity.measure(TeacherPool([make_teacher(data), broken]), data)
    assert found["cka"] is None and found["pairs"][0]["cka"] is None
    assert "CKA" not in diversity.in_words(found)
    json.dumps(found, allow_nan=False)


def test_a_distilled_set_says_how_diverse_its_pool_is(tiny_teachers, tmp_path):
    made = hf_dd.distill(
        **SMALL, clom="cos", teachers=tiny_teachers.references, output_dir=str(tmp_path / "several")
    ).record.diversity
    expected = diversity.measured(
        TeacherPool.from_references(tiny_teachers.references), load_data(DataConfig()), "cpu"
    )
    assert made == expected and made["images"] == len(validation_rows(load_data(DataConfig()), 0))
    assert 0 < made["disagreement"] < 1 and 0 < made["cka"] < 1 and len(made["pairs"]) == 3
    card = (tmp_path / "several/README.md").read_text()
    assert diversity.in_words(made) in card
    hf_dd.evaluate(sets=[str(tmp_path / "several")], eval_students=1, eval_epochs=1, baselines=[])
    assert Artefact.open(tmp_path / "several").record.diversity == made
    assert diversity.in_words(made) in (tmp_path / "several/README.md").read_text()
    one = hf_dd.distill(**SMALL, clom="cos", teachers=tiny_teachers.references[:1], output_dir=str(tmp_path / "one"))
    assert one.record.diversity is None and "pairwise" not in (tmp_path / "one/README.md").read_text()


def test_a_study_reports_the_diversity_of_its_pools(tmp_path):
    teachers = {"few": STUDY["teachers"]["few"] | {"teacher_seeds": [0, 1]}}
    both = [f"teachers/few/digits-mlp-seed{seed}@epoch-1" for seed in (0, 1)]
    cells = {name: dict(STUDY["cells"][name]) for name in ("plain", "guided")}
    cells["several"] = cells["guided"] | {"teachers": both}
    run_study(tmp_path, STUDY | {"teachers": teachers, "cells": cells, "seeds": [0]})
    report = json.loads((tmp_path / "out/report.json").read_text())
    found = {name: cell["diversity"] for name, cell in report["cells"].items()}
    assert found["plain"] is found["guided"] is None
    row = f"| several | 2 | {100 * found['several']['disagreement']:.2f} | {found['several']['cka']:.4f} | 143 |"
    assert 0 < found["several"]["disagreement"] and found["several"]["cka"] < 1
    assert (tmp_path / "out/report.md").read_text().rstrip().endswith(row)
    assert study.study_report.pool_table({}) == []
