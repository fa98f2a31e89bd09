"""Accuracy against minutes: numbers by hand, and what the picture shows."""

import statistics

import pytest

from hf_dd.studies import curves
from hf_dd.studies.outcomes import Outcome

TEACHER = {"repo_id": "me/a", "sha": "1", "seconds": 90.0}


def outcome(seconds, *students, teachers=()):
    """Of one distillation a number in `seconds`, all with these students."""
    records = [
        {"run": {"seconds": each}, "teachers": list(teachers), "results": {"seed": seed}}
        for seed, each in enumerate(seconds)
    ]
    return Outcome(records, {"ConvNet": [students] * len(seconds), "MLP": [(1.0,)] * len(seconds)})


OUTCOMES = {
    "long": outcome([120.0, 240.0], 82.0, 84.0),
    "short": outcome([30.0], 70.0, 72.0, 77.0),
    "guided": outcome([60.0], 80.0, teachers=[TEACHER]),
    "foreign": outcome([60.0], 81.0, teachers=[TEACHER | {"seconds": None}]),
}
NAMES = {"plain": ["long", "short"], "with teachers": ["guided", "foreign"]}


def test_a_curve_goes_by_its_minutes():
    short, long = curves.curves(OUTCOMES, NAMES)["plain"]
    assert (short.cell, short.distilling, short.teaching, short.minutes(True)) == ("short", 0.5, 0.0, 0.5)
    assert (short.accuracy.mean, short.accuracy.n) == (pytest.approx(73.0), 3)  # over its students
    # t(0.975, 2 degrees of freedom) = 4.3027
    assert short.accuracy.half_width == pytest.approx(4.3027 * statistics.stdev((70, 72, 77)) / 3**0.5, rel=1e-4)
    assert (long.distilling, long.accuracy.mean, long.accuracy.n) == (3.0, 83.0, 2)  # over its distillations


def test_teachers_are_counted_apart_where_it_is_known_what_they_took():
    guided, foreign = curves.curves(OUTCOMES, NAMES)["with teachers"]
    assert (guided.teaching, guided.minutes(False), guided.minutes(True)) == (1.5, 1.0, 2.5)
    assert (foreign.teaching, foreign.minutes(False), foreign.minutes(True)) == (None, 1.0, None)
    lines = curves.table(curves.curves(OUTCOMES, NAMES)).splitlines()
    assert lines[0] == "| curve | cell | accuracy (%), 95 % interval | distilled in | teachers took | together |"
    assert [line.split(" | ")[-3:] for line in lines[2:]] == [
        ["30 s", "–", "30 s |"],
        ["180 s", "–", "180 s |"],
        ["60 s", "90 s", "150 s |"],
        ["60 s", "–", "– |"],
    ]


def test_experts_are_teachers_too():
    expert = {"repo_id": "me/b", "shas": ["1", "2"], "seconds": 60.0}
    older = {"repo_id": "me/b", "shas": []}  # whose record doesn't say
    for own, taken in ((expert, 150.0), (expert | {"seconds": None}, None), (older, None)):
        records = [{"run": {"seconds": 1.0}, "teachers": [TEACHER], "experts": [own]}] * 2
        assert Outcome(records, {"ConvNet": [(1.0,)] * 2}).teaching_seconds == taken


def test_the_picture_has_both_kinds_of_minutes():
    pytest.importorskip("matplotlib")
    figure = curves.picture(curves.curves(OUTCOMES, NAMES), {"random real, ipc 10": 60.0}, "CPU, 2 threads")
    alone, together = figure.axes
    assert [axis.get_title() for axis in figure.axes] == list(curves.PANELS)

    def drawn(axis):
        return [(list(each[0].get_xdata()), list(each[0].get_ydata())) for each in axis.containers]

    assert drawn(alone) == [([0.5, 3.0], [73.0, 83.0]), ([1.0, 1.0], [80.0, 81.0])]
    assert drawn(together) == [([0.5, 3.0], [73.0, 83.0]), ([2.5], [80.0])]  # not where it isn't known
    assert [text.get_text() for text in alone.get_legend().get_texts()] == list(NAMES)
    assert [line.get_ydata()[0] for line in alone.lines if line.get_linestyle() == "--"] == [60.0]
    assert "CPU, 2 threads" in figure.get_supxlabel()
    assert 0 <= alone.get_ylim()[0] < 60 and 84 < alone.get_ylim()[1] <= 100
