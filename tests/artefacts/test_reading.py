"""What cards and pages read of a record: whether images were optimised, which labels it stores, lines to use it."""

import pytest

from hf_dd.artefacts import reading
from hf_dd.core.layout import DISTILLED_SET, IMPORTED_SET
from hf_dd.core.registry import OBJECTIVES
from hf_dd.evaluation import verdict


@pytest.mark.parametrize("name", OBJECTIVES.declared)
def test_a_method_says_that_it_chooses_where_it_has_no_iterations(name):
    assert bool(OBJECTIVES.said(name, "chooses")) == (OBJECTIVES[name].published.iterations == 0)


@pytest.mark.parametrize(
    ("kind", "settings", "wanted"),
    [
        (DISTILLED_SET, {"iterations": 1}, "synthetic"),
        (DISTILLED_SET, {"iterations": 0}, "chosen"),
        (IMPORTED_SET, {"method": "DM"}, "synthetic"),
        (IMPORTED_SET, {"method": "Herding"}, "chosen"),
        (IMPORTED_SET, {"method": "of nobody"}, None),
        (IMPORTED_SET, {"method": None}, None),
    ],
)
def test_images_are_synthetic_or_chosen_or_nobody_says(kind, settings, wanted):
    assert reading.origin(kind, settings) == wanted


def test_stored_labels_are_those_beside_the_images():
    for record, wanted in (
        ({}, ["hard"]),
        ({"soft_labels": True, "crop_labels": None}, ["soft"]),
        ({"soft_labels": {"kind": "own"}, "crop_labels": {"rows": 3}}, ["soft", "crops"]),
    ):
        assert reading.stored_labels(record) == wanted and set(wanted) <= verdict.REGIMES.keys()


def test_lines_name_the_repository_or_the_folder():
    assert reading.loading(None, None, "decoded") == (
        'load_dataset("PATH_OF_THIS_FOLDER", "decoded", split="train").with_format("torch")'
    )
    assert reading.loading("a/b", "v1").startswith('load_dataset("a/b", revision="v1", split="train")')
    assert reading.reproducing(None) == "hf-dd reproduce PATH_OF_THIS_FOLDER"
    assert reading.reproducing(reading.reference_of("a/b", "v1")) == "hf-dd reproduce a/b@v1"
    assert reading.reproducing("x; rm -r y") == "hf-dd reproduce 'x; rm -r y'"
