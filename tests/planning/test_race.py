"""Who goes on in a race, and how long an iteration is measured: no longer than there is time for."""

from types import SimpleNamespace

import pytest

from hf_dd.config import DataConfig, DistillConfig
from hf_dd.core import processes
from hf_dd.data.held_out import held_out
from hf_dd.data.image_data import load_data
from hf_dd.distillation.distiller import Distiller
from hf_dd.evaluation.evaluation import Evaluation
from hf_dd.evaluation.protocols import PROTOCOLS
from hf_dd.planning import race as races
from hf_dd.planning.race import Entrant, Race

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = {"dataset": "digits", "ipc": 1, "architecture_options": ["width=8", "depth=1"], "real_batch_size": 2}


@pytest.fixture
def clock(monkeypatch):
    """Every optimiser step takes a second, the first of all ten; gives the iteration of each step."""
    now, steps, updates = [0.0], [], Distiller.updates

    def timed(distiller, index):
        for losses in updates(distiller, index):
            now[0] += 1 if steps else 10
            steps.append(index)
            yield losses

    monkeypatch.setattr(Distiller, "updates", timed)
    monkeypatch.setattr(races.time, "perf_counter", lambda: now[0])
    return steps


def small_race(tmp_path, rungs=(), **options):
    """A race of a single entrant on digits."""
    evaluation = Evaluation(
        held_out(load_data(DataConfig()), 0), PROTOCOLS["dc"], seed=0, accelerator=processes.new_accelerator("no")
    )
    entrant = Entrant("it", DistillConfig(**SMALL | options), rungs=rungs)
    return Race(tmp_path, {"0": entrant}, evaluation, ["MLP"], 1, reduction=2)


def seconds_of(tmp_path, limit, **options):
    race = small_race(tmp_path, **options)
    return race.seconds_of_step(race.entrants[0], limit)


def test_a_few_iterations_are_measured_after_the_first(tmp_path, clock):
    assert seconds_of(tmp_path, 100, objective="dm") == 1
    assert clock == [0, 1, 2] and not list(tmp_path.iterdir())


def test_of_those_measured_the_fastest_counts(tmp_path, monkeypatch):
    now, taken, updates = [0.0], iter([10.0, 5.0, 2.0]), Distiller.updates

    def timed(distiller, index):
        for losses in updates(distiller, index):
            now[0] += next(taken)
            yield losses

    monkeypatch.setattr(Distiller, "updates", timed)
    monkeypatch.setattr(races.time, "perf_counter", lambda: now[0])
    assert seconds_of(tmp_path, 100, objective="dm") == 2


def test_of_a_long_iteration_a_few_optimiser_steps_are_measured(tmp_path, clock):
    options = {"objective": "dc", "objective_options": ["outer=50", "inner=1"]}
    assert seconds_of(tmp_path, 100, **options) == 50
    assert clock == [0, 0, 0]


@pytest.mark.parametrize(("limit", "seconds", "steps"), [(9, 10, 1), (10, 1, 2), (10.5, 1, 2), (11, 1, 3)])
def test_measuring_ends_when_it_has_taken_long_enough(tmp_path, clock, limit, seconds, steps):
    assert seconds_of(tmp_path, limit, objective="dm") == seconds
    assert len(clock) == steps


def test_a_long_iteration_tells_how_far_it_is(tmp_path):
    options = {"objective": "dc", "objective_options": ["outer=4", "inner=1"], "output_dir": str(tmp_path)}
    distiller = Distiller(
        DistillConfig(**SMALL | options), load_data(DataConfig()), None, processes.new_accelerator("no"), tmp_path
    )
    distiller.begin()
    told = []
    assert set(distiller.step(0, told.append)) == {"dc"} and told == [0.25] * 4


@pytest.mark.parametrize(
    ("schedule", "iterations", "to_next"), [("cosine", [0, 1, 0, 1, 2, 3], 43.0), ("constant", [0, 1, 2, 3], 23.0)]
)
def test_where_the_rate_falls_it_falls_to_each_rung(tmp_path, monkeypatch, schedule, iterations, to_next):
    steps, judged, updates = [], [], Distiller.updates
    monkeypatch.setattr(Distiller, "updates", lambda each, index: steps.append(index) or updates(each, index))
    monkeypatch.setattr(Race, "judge", lambda race, candidate: judged.append(candidate.images) or (50.0, 0.0))
    options = {"objective": "dm", "image_learning_rate": 1.0, "image_schedule": schedule}
    race = small_race(tmp_path / "race", (2, 4), **options)
    (entrant,) = race.entrants
    race.advance(entrant)
    assert entrant.to_next(10.0, 3.0) == to_next  # of 10 s an iteration
    race.advance(entrant)
    assert steps == iterations and entrant.scores == {2: 50.0, 4: 50.0}
    for rung, images in zip((2, 4), judged, strict=True):
        alone = DistillConfig(**SMALL | options | ({"iterations": rung} if schedule == "cosine" else {}))
        place = race.evaluation.data, None, race.evaluation.accelerator, tmp_path / f"alone-{rung}"
        distiller = Distiller(alone, *place)
        distiller.iterate(distiller.begin(), until=rung)
        assert images.equal(races.candidate_of(distiller.synthetic, "alone").images)


def race_of(*scores, expected, images=10_000):
    """A race whose entrants have these scores (%) at their first rung, and its validation split this many images."""
    entrants = {str(place): Entrant(str(place), None, rungs=(1, 2)) for place in range(len(scores))}
    for entrant, score in zip(entrants.values(), scores, strict=True):
        entrant.scores = {1: score}
    evaluation = SimpleNamespace(data=SimpleNamespace(test=range(images)))
    return Race(None, entrants, evaluation, [], 1, reduction=2, expected=expected)


@pytest.mark.parametrize(
    ("scores", "images", "plain", "likeliest_first"),
    [
        ((79.7, 70.0, 80.0), 10_000, "201", "021"),  # of 80 % on 10,000 images, a standard error is 0.4
        ((79.5, 70.0, 80.0), 10_000, "201", "201"),
        ((79.5, 70.0, 80.0), 2_500, "201", "021"),  # and on a quarter of them 0.8
        ((60.0, 79.7, 79.9, 80.0), 10_000, "3210", "1230"),
        ((100.0, 99.9, 100.0), 10_000, "021", "021"),
        ((0.0, 0.0), 10_000, "01", "01"),
    ],
)
def test_what_is_expected_to_be_best_stays_so_within_the_noise(scores, images, plain, likeliest_first):
    for expected, order in {False: plain, True: likeliest_first}.items():
        race = race_of(*scores, expected=expected, images=images)
        assert "".join(entrant.name for entrant in race.ranked(race.entrants[::-1], 0)) == order
        assert race.best().name == order[0]
    assert race_of(*scores, expected=True).ranked([], 0) == []


def test_nobody_is_best_before_anybody_was_judged():
    race = race_of(80.0, 81.0, expected=True)
    for entrant in race.entrants:
        entrant.scores = {}
    assert race.best() is None


def order_of(scores, starting, images=10_000):
    """Who starts in a race of pairs of choices that come to these scores (%) at the only rung."""
    entrants = {str(choices): Entrant(str(choices), None, choices=choices, rungs=(1,)) for choices in scores}
    evaluation = SimpleNamespace(data=SimpleNamespace(test=range(images)))
    race = Race(None, entrants, evaluation, [], 1, reduction=2, expected=True, starting=starting)
    order = []

    def advance(entrant):
        order.append(entrant.choices)
        entrant.scores[1] = scores[entrant.choices]

    race.advance = advance
    race.run()
    return order, race.best().choices


# Tiles, and a guide: none, a weak one, a strong one.
PAIRS = [(0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2)]


@pytest.mark.parametrize(
    ("scores", "order"),
    [
        ([80, 80, 80, 80, 80, 80], [(0, 0), (1, 0), (0, 1), (2, 0), (0, 2), (1, 1)]),
        ([80, 98, 85, 70, 99, 70], [(0, 0), (1, 0), (1, 1), (0, 1), (2, 0), (0, 2)]),  # fewer tiles: what of a guide?
        ([80, 75, 90, 95, 85, 70], [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (2, 0)]),  # a guide: of fewer tiles too?
    ],
)
def test_who_starts_next_differs_least_from_the_best_so_far(scores, order):
    scored = dict(zip(PAIRS, scores, strict=True))
    for starting in (2, 3, 6, 9):
        assert order_of(scored, starting)[0] == order[:starting]
    assert order_of(scored, 4)[1] == max(order[:4], key=lambda choices: (scored[choices], -sum(choices)))


def test_without_choices_entrants_start_in_their_order():
    race = race_of(70, 90, 80, expected=False)
    started = []
    while len(started) < 3:
        started.append(race.next_to(started))
    assert started == race.entrants
