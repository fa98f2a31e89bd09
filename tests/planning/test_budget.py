"""What fits into so many seconds: numbers by hand."""

import dataclasses

import pytest

from hf_dd.config import DistillConfig
from hf_dd.planning import budget
from hf_dd.planning.budget import RaceSize, Size, StudentCosts, race_that_fits, students_that_fit, teachers_that_fit

SIZE = Size(images=100, training=6_000, tested=1_000)
COSTS = StudentCosts(image=0.001, tested=0.0005)


def test_a_student_costs_its_images_in_every_epoch_and_one_test_pass():
    assert COSTS.of(100, 300, 1_000) == pytest.approx(100 * 300 * 0.001 + 1_000 * 0.0005)


def test_an_evaluation_trains_students_on_every_copy_and_baseline():
    config = DistillConfig(eval_students=3, eval_epochs=[100], eval_architectures=["ConvNet", "MLP"])
    per_set, per_copy = 100 * 100 * 0.001 + 0.5, 400 * 100 * 0.001 + 0.5
    # Two copies of 400 tiles; random and herding; the second architecture takes twice as long to train.
    costs = {"ConvNet": COSTS, "MLP": StudentCosts(image=0.002, tested=0.0005)}.__getitem__
    seconds = budget.seconds_of_students(config, SIZE, 2, costs)
    assert seconds == pytest.approx(3 * (3 * (2 * (per_copy - 0.5) + 2 * (per_set - 0.5)) + 2 * 4 * 0.5))
    draws = dataclasses.replace(config, eval_architectures=["ConvNet"], eval_copies=[], random_draws=5)
    assert budget.seconds_of_students(draws, SIZE, 2, costs) == pytest.approx(3 * 6 * per_set)
    rates = dataclasses.replace(draws, random_draws=1, eval_learning_rates=[0.1, 0.01])
    assert budget.seconds_of_students(rates, SIZE, 2, costs) == pytest.approx(3 * 2 * (3 * (per_set - 0.5) + 0.5))


@pytest.mark.parametrize(
    ("options", "passes"),
    [
        ({}, 0),
        ({"selection_epochs": 4}, 4),
        ({"published": True}, 10),
        ({"baselines": ["random", "full"], "selection_epochs": 4}, 0),
    ],
)
def test_a_selection_by_a_training_costs_that_training(options, passes):
    config = DistillConfig(eval_students=1, eval_epochs=[1], eval_copies=[], **options)
    none = dataclasses.replace(config, selection_epochs=None, published=False)
    seconds, without = (budget.seconds_of_students(each, SIZE, 1, lambda name: COSTS) for each in (config, none))
    assert seconds - without == pytest.approx(passes * 6_000 * 0.001)


@pytest.mark.parametrize(
    "seconds, epochs, students",
    [
        (1e9, 1000, 3),
        (3 * 3 * 100.5, 1000, 3),  # three sets: the float copy, random, herding; three students of each
        (3 * 3 * 100.5 - 1, 600, 3),
        (3 * 2 * 20.5, 100, 3),  # of two, an interval says next to nothing
        (3 * 2 * 10.5, 100, 2),
        (3 * 10.5, 100, 1),
        (0.1, 50, 1),
    ],
)
def test_students_are_as_many_and_as_long_as_fit(seconds, epochs, students):
    found = students_that_fit(DistillConfig(minutes=1), SIZE, 1, lambda name: COSTS, seconds)
    assert found == {"eval_students": students, "eval_epochs": [epochs], "eval_copies": ["float"]}


def test_what_is_given_of_an_evaluation_stands():
    config = DistillConfig(eval_students=2, eval_epochs=[70], eval_copies=["8bit"])
    stands = {"eval_students": 2, "eval_epochs": [70], "eval_copies": ["8bit"]}
    assert students_that_fit(config, SIZE, 1, lambda name: COSTS, 1e9) == stands
    for students in (3, 7):  # the default, given, is no less than others
        many = DistillConfig(minutes=1, eval_students=students)
        for seconds, epochs in ((1e9, 1000), (0.1, 50)):
            found = students_that_fit(many, SIZE, 1, lambda name: COSTS, seconds)
            assert (found["eval_students"], found["eval_epochs"]) == (students, [epochs])


def test_teachers_are_two_as_wide_as_their_shortest_training_allows():
    seconds = {"ConvNet": 0.01, "ConvNetW64": 0.004, "ConvNetW32": 0.002}.__getitem__
    steps = 94  # of 64 images: three epochs are more than 200
    two = 2 * 6_000
    assert teachers_that_fit(SIZE, 64, seconds, 8 * two * 0.01) == ("ConvNet", 8, 2)
    assert teachers_that_fit(SIZE, 64, seconds, 8 * two * 0.01 - 1) == ("ConvNetW64", 19, 2)
    assert teachers_that_fit(SIZE, 64, seconds, 8 * two * 0.004 - 1) == ("ConvNetW32", 15, 2)
    assert teachers_that_fit(SIZE, 64, seconds, 3 * two * 0.002) == ("ConvNetW32", 3, 2)
    assert teachers_that_fit(SIZE, 64, seconds, 3 * two * 0.002 - 1) == ("ConvNetW32", 5, 1)
    assert teachers_that_fit(SIZE, 64, seconds, 3 * 6_000 * 0.002 - 1) is None
    assert teachers_that_fit(SIZE, 64, seconds, 1e9) == ("ConvNet", -(-3_000 // steps), 2)


def test_a_race_takes_the_time_that_it_has():
    """Four at 1 s an iteration, then two: 4 legs of `first`, then 2 legs as long again; six judgements of 2 s."""
    size = race_that_fits([1.0] * 4, {100: [2.0] * 4}, 72.0)
    assert size == RaceSize(4, 100, (10.0, 20.0))
    assert 4 * 10 + 2 * 10 + 6 * 2 == 72
    size = race_that_fits([1.0] * 4, {100: [2.0] * 4}, 92.0, anew=True)
    assert size == RaceSize(4, 100, (10.0, 20.0))
    assert 4 * 10 + 2 * 20 + 6 * 2 == 92


@pytest.mark.parametrize(
    ("count", "rungs", "reduction", "going_on", "anew"),
    [
        (4, (10, 20), 2, 4 * 10 + 2 * 10 + 6 * 12, 4 * 10 + 2 * 20 + 6 * 12),  # in quarters of a second
        (9, (5, 15, 45), 3, 9 * 5 + 3 * 10 + 30 + 13 * 12, 9 * 5 + 3 * 15 + 45 + 13 * 12),
        (1, (7,), 2, 7 + 12, 7 + 12),
    ],
)
def test_the_seconds_of_a_race_are_those_of_its_iterations_and_judgements(count, rungs, reduction, going_on, anew):
    assert budget.seconds_of_race(count, rungs, reduction, 0.25, 3.0) == going_on / 4
    assert budget.seconds_of_race(count, rungs, reduction, 0.25, 3.0, anew=True) == anew / 4


def test_a_race_has_fewer_entrants_or_shorter_judges_where_time_is_short():
    judgements = {300: [6.0] * 4, 100: [2.0] * 4}
    assert race_that_fits([1.0] * 4, judgements, 145.0).epochs == 300
    # Six judgements and 4 + 2 legs leave 35.7 of it for a rung.
    assert race_that_fits([1.0] * 4, judgements, 143.0) == RaceSize(3, 300, (pytest.approx(125 / 3),))
    assert race_that_fits([1.0] * 4, judgements, 24.0) == RaceSize(2, 300, (6.0,))  # the fewest with such a judge
    assert race_that_fits([1.0] * 4, judgements, 23.0) == RaceSize(2, 100, (9.5,))
    assert race_that_fits([1.0] * 4, {100: [2.0] * 4}, 143.0).entrants == 4
    assert race_that_fits([1.0] * 4, judgements, 13.0) is None
    assert race_that_fits([1.0], judgements, 1e9) is None


def test_a_single_candidate_runs_against_what_takes_no_time_in_half_of_the_time():
    judgements = {300: [6.0] * 4, 100: [2.0] * 4}
    assert race_that_fits([1.0], judgements, 48.0, fewest=1) == RaceSize(1, 300, (18.0,))
    assert race_that_fits([1.0], judgements, 20.0, fewest=1) == RaceSize(1, 100, (8.0,))
    assert race_that_fits([1.0], judgements, 13.0, fewest=1) is None  # 4.5 s for five iterations
    assert race_that_fits([1.0] * 2, judgements, 13.0, fewest=1) == RaceSize(1, 300, (7.0,))
    assert race_that_fits([1.0] * 2, judgements, 23.0, fewest=1) == RaceSize(2, 100, (9.5,))  # rather two


def test_who_comes_to_the_end_of_a_race_has_had_a_quarter_of_its_time():
    """Of 90 s, six would have 6 legs and then 3 of 10 s, and 20 s in all; five have 5 and then 2."""
    size = race_that_fits([0.01] * 6, {100: [0.0] * 6}, 90.0)
    assert (size.entrants, size.seconds) == (5, pytest.approx((90 / 7, 180 / 7)))
    assert race_that_fits([0.01] * 6, {100: [3.0] * 6}, 90.0) == RaceSize(4, 100, (12.0, 24.0))  # judging takes 18
