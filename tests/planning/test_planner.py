"""`hf-dd distill --minutes` on digits, with costs that are given instead of measured and a clock that stands still."""

import dataclasses
import json
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image
from PIL import Image as Picture

from hf_dd import cli
from hf_dd.config import DistillConfig
from hf_dd.core.processes import new_accelerator
from hf_dd.data.image_data import load_data
from hf_dd.distillation.distiller import Distiller
from hf_dd.errors import ConfigError, DataError, HfDdError, RunError
from hf_dd.planning import budget
from hf_dd.planning.budget import StudentCosts
from hf_dd.planning.candidate_race import CandidateRace
from hf_dd.planning.plan_file import read_plan
from hf_dd.planning.planner import Planner
from hf_dd.planning.race import Entrant, Race
from hf_dd.runs.distill import distill
from hf_dd.runs.pretrain import pretrain

pytestmark = pytest.mark.usefixtures("one_thread")

SECONDS_OF_STEP = Race.seconds_of_step
SMALL = {
    **{"dataset": "digits", "ipc": 1, "architecture_options": ["width=8", "depth=1"], "eval_students": 1},
    **{"eval_epochs": [2], "baselines": ["random"], "minutes": 0.25},
}


@pytest.fixture(autouse=True)
def costs(monkeypatch):
    """An iteration takes 0.1 s and a student almost nothing; of teachers only the narrowest can be trained in time."""
    wide = StudentCosts(1.0, 0.0)
    cheap = {"ConvNetW32": StudentCosts(1e-4, 0.0), "ConvNet": StudentCosts(1e-4, 0.0)}
    monkeypatch.setattr(StudentCosts, "measured", lambda evaluation, chosen, name: cheap.get(name, wide))
    monkeypatch.setattr(Race, "seconds_of_step", lambda race, entrant, limit: 0.1)
    monkeypatch.setattr("hf_dd.planning.budget.WIDTHS", ("ConvNetW64", "ConvNetW32"))
    monkeypatch.setattr("hf_dd.planning.candidate_race.JUDGE_EPOCHS", (3,))
    monkeypatch.setattr("hf_dd.planning.measurements.since", lambda started: 0.0)
    # So do a race's own legs: what they took counts before what was measured.
    monkeypatch.setattr("hf_dd.distillation.distiller.since", lambda started: 0.0)


@pytest.fixture
def dear(costs, monkeypatch):
    """Three times as dear, for what says nothing of numbers: fewer iterations, and fewer epochs of teachers."""
    dearer = {"ConvNetW32": StudentCosts(3e-4, 0.0), "ConvNet": StudentCosts(1e-4, 0.0)}
    monkeypatch.setattr(
        StudentCosts, "measured", lambda evaluation, chosen, name: dearer.get(name, StudentCosts(1.0, 0.0))
    )
    monkeypatch.setattr(Race, "seconds_of_step", lambda race, entrant, limit: 0.3)


def plan_of(folder):
    return json.loads((folder / "plan.json").read_text())


def words(options):
    return [
        word
        for name, value in options.items()
        for word in (f"--{name}", *map(str, value if isinstance(value, list) else [value]))
    ]


def test_what_was_planned_is_repeated_by_the_card_s_command_alone(tmp_path, monkeypatch, capsys):
    planned = distill(output_dir=str(tmp_path / "first"), clom="none", init="herding", **SMALL)
    decided = plan_of(tmp_path / "first")["decided"]
    settings = planned.record.settings
    assert decided["iterations"] == int(0.9 * (15 - 2 * 2 * 10 * 1e-4) / 0.1)  # two sets of 10 images, two epochs
    assert decided["augment"] == "color_crop_cutout_scale_rotate" and decided["real_batch_size"] == 64
    assert {name: settings[name] for name in decided} == decided
    assert "minutes" not in planned.record.command
    command = shlex.split(planned.record.command)
    assert command[:2] == ["hf-dd", "distill"]
    monkeypatch.setattr(Race, "run", None)  # there is none
    cli.main([*command[1:], "--output_dir", str(tmp_path / "second")])
    record = json.loads((tmp_path / "second/hf_dd.json").read_text())
    assert record["parquet_sha256"] == planned.record.parquet_sha256


def test_teachers_of_its_own_are_raced_against_none(tmp_path):
    planned = distill(output_dir=str(tmp_path / "run"), **SMALL | {"minutes": 0.35})
    plan = plan_of(tmp_path / "run")
    assert [each.rsplit("/", 1)[1] for each in plan["teachers"]] == [
        "digits-convnetw32-seed0@final",
        "digits-convnetw32-seed1@final",
    ]
    (record,) = Path(plan["teachers"][0].rpartition("@")[0]).glob("epoch-*/hf_dd.json")
    assert json.loads(record.read_text())["training"]["lr_drops"] == [0.75]
    assert plan["race"]["entrants"] == 3 == len(plan["scores"])  # none, a strong guide and a weak one
    assert "held-out training images, which the run's own teachers had learned from (" in plan["won"]
    assert bool(planned.record.teachers) == (plan["decided"].get("clom", "none") != "none")


def test_an_interrupted_plan_goes_on(tmp_path, monkeypatch, nothing_remembered):
    options = SMALL | {"clom": "none", "minutes": 0.05}
    whole = distill(output_dir=str(tmp_path / "whole"), **options)
    step, done = Distiller.step, []

    def interrupted(self, index, tell):
        if len(done) == 4:
            raise KeyboardInterrupt
        done.append(index)
        return step(self, index)

    monkeypatch.setattr(Distiller, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        distill(output_dir=str(tmp_path / "run"), **options)
    monkeypatch.setattr(Distiller, "step", step)
    with pytest.raises(RunError, match="--resume_from_checkpoint latest"):
        distill(output_dir=str(tmp_path / "run"), **options)
    other = options | {"ipc": 2, "resume_from_checkpoint": "latest"}
    with pytest.raises(RunError, match=r"is a plan for other options \(ipc differ\)"):
        distill(output_dir=str(tmp_path / "run"), **other)
    again = distill(output_dir=str(tmp_path / "run"), resume_from_checkpoint="latest", **options)
    assert again.record.parquet_sha256 == whole.record.parquet_sha256


def test_a_plan_is_told_and_leaves_nothing(tmp_path, monkeypatch, capsys):
    measured = []
    monkeypatch.setattr(Distiller, "step", lambda distiller, index: measured.append(index) or {})
    monkeypatch.setattr(Distiller, "read", lambda distiller, losses: None)
    monkeypatch.setattr(Race, "seconds_of_step", SECONDS_OF_STEP)
    monkeypatch.chdir(tmp_path)
    options = SMALL | {"plan": True, "minutes": 3}
    cli.main(["distill", *words(options)])
    told = capsys.readouterr().out
    assert told.startswith("3 minutes on digits, 1438 training images:")
    minutes = [float(line.split()[0]) for line in told.splitlines()[1:]]
    assert sum(minutes) == pytest.approx(3, abs=0.2) and len(minutes) == 4
    assert "teachers: 2 of ConvNetW32, 93 epochs" in told and "1 student (ConvNet) of 2 epochs" in told
    assert measured == [0, 1, 2] and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "options, error, message",
    [
        (
            {"ipc": 130},
            DataError,
            "too few to plan on: a tenth of them, at least one, is held out, and ipc is 130. Give a smaller ipc",
        ),
        ({"ipc": 1000}, DataError, "the largest ipc possible is"),
        ({"minutes": 0.001}, ConfigError, r"--minutes 0.001 is too short: 5 iterations and the students take about"),
        ({"minutes": 0}, ConfigError, "--minutes is 0"),
        ({"minutes": None, "plan": True}, ConfigError, "give --minutes too"),
        ({"minutes": 0.1, "eval_epochs": [100_000], "plan": True}, ConfigError, r"--minutes 0.1 is too short: 5 iter"),
    ],
)
def test_what_can_t_be_planned_is_said_before_any_training(options, error, message, tmp_path, monkeypatch):
    monkeypatch.setattr(Distiller, "step", None)
    with pytest.raises(error, match=message):
        distill(output_dir=str(tmp_path / "run"), **SMALL | options)


def planner_of(tmp_path, **options):
    config = DistillConfig(**{"dataset": "digits", "ipc": 10, "minutes": 1} | options)
    return Planner(config, load_data("digits"), None, new_accelerator("no"), tmp_path, 0.0)


def test_who_could_not_go_far_enough_to_be_judged_does_not_start(tmp_path, monkeypatch):
    """In 14 seconds there are 3 iterations of 4.5, and 5 are the fewest."""
    planner, raced = planner_of(tmp_path), []
    (only,) = map(planner.field.completed, planner.field.candidates(None))
    found = [dataclasses.replace(only, name=name) for name in ("first", "dear", "cheap")]
    monkeypatch.setattr(planner.race, "sized", lambda *_: {"entrants": 2, "epochs": 60, "seconds": (14.0,)})

    def race(entrants, epochs, starting):
        raced.extend(entrant.name for entrant in entrants)
        raise InterruptedError

    monkeypatch.setattr(planner.field, "race", race)
    with pytest.raises(InterruptedError):
        planner.race.raced(found, [2.8, 4.5, 0.1], lambda options, step: 100)
    assert raced == ["first", "cheap"]


def test_teachers_that_have_learned_little_guide_nobody(tiny_teachers, tmp_path, monkeypatch):
    shares = iter([0.9, 0.44, 0.45])
    monkeypatch.setattr("hf_dd.planning.planner.accuracy", lambda predictions, labels: next(shares))
    first, _, third = references = tiny_teachers.references[:3]
    assert planner_of(tmp_path).able(references) == [first, third]


def test_students_are_narrow_where_wide_ones_would_only_begin_to_learn(tmp_path, monkeypatch):
    seconds = {"ConvNet": 1e-3, "ConvNetW64": 2e-4, "ConvNetW32": 1e-4}
    monkeypatch.setattr("hf_dd.planning.budget.WIDTHS", tuple(seconds))
    monkeypatch.setattr(StudentCosts, "measured", lambda evaluation, chosen, name: StudentCosts(seconds[name], 0.0))
    # Three sets of 100 images: an epoch takes 0.3 s by ConvNet, 0.06 s by half its width, in a share of the time.
    wide, _ = planner_of(tmp_path / "a", minutes=3 * 200 * 0.3 / budget.STUDENTS / 60).students(1)
    assert wide == {"eval_students": 3, "eval_epochs": [200], "eval_copies": ["float"]}
    narrow, spent = planner_of(tmp_path / "b", minutes=3 * 200 * 0.3 / budget.STUDENTS / 60 - 0.01).students(1)
    assert narrow == {
        **{"eval_architectures": ["ConvNetW64"], "eval_students": 3, "eval_epochs": [600], "eval_copies": ["float"]}
    }
    assert spent == pytest.approx(3 * 600 * 0.06)
    given, _ = planner_of(tmp_path / "c", minutes=0.5, eval_architectures=["ConvNetW32"]).students(1)
    assert "eval_architectures" not in given and given["eval_epochs"] == [100]


def test_students_are_fewer_where_planning_has_taken_too_long(tmp_path, monkeypatch):
    monkeypatch.setattr("hf_dd.planning.budget.WIDTHS", ("ConvNetW32",))
    planner = planner_of(tmp_path, minutes=1, eval_architectures=["ConvNetW32"])  # 0.03 s an epoch of three sets
    in_time, seconds = planner.students(1)
    assert (in_time["eval_students"], in_time["eval_epochs"]) == (3, [150]) and seconds == pytest.approx(13.5)
    assert planner.students(1, rest=60.0) == (in_time, seconds)  # no more than its share
    late, seconds = planner.students(1, rest=13.0)  # of which the distillation takes eight parts of thirteen
    assert (late["eval_students"], late["eval_epochs"]) == (1, [100]) and seconds == pytest.approx(3)


def test_networks_are_as_wide_as_leaves_time_for_many_iterations_with_so_many_tiles(tmp_path, monkeypatch):
    monkeypatch.setattr("hf_dd.planning.budget.WIDTHS", widths := ("ConvNet", "ConvNetW64", "ConvNetW32"))
    share = 60 * budget.DISTILLING / budget.MANY  # of an iteration, of a minute
    monkeypatch.setattr(
        Race,
        "seconds_of_step",
        lambda race, each, limit: share * each.config.factor / (1 + widths.index(each.config.architecture)),
    )
    planner = planner_of(tmp_path)
    chosen = [planner.field.of_factor(factor)["architecture"] for factor in (1, 2, 3, 4)]
    assert chosen == ["ConvNet", "ConvNetW64", "ConvNetW32", "ConvNetW32"]


@pytest.mark.parametrize(("step", "architecture"), [(0.01, "ConvNet"), (1.0, "ConvNetW32")])
def test_teachers_are_no_wider_than_the_network(tmp_path, monkeypatch, step, architecture):
    """There is time for 8 epochs of the widest ones, but not for many iterations with such a network."""
    monkeypatch.setattr("hf_dd.planning.budget.WIDTHS", ("ConvNet", "ConvNetW64", "ConvNetW32"))
    monkeypatch.setattr(Race, "seconds_of_step", lambda race, entrant, limit: step)
    monkeypatch.setattr(StudentCosts, "measured", lambda evaluation, chosen, name: StudentCosts(1e-4, 0.0))
    assert planner_of(tmp_path).own_teachers().architectures == [architecture]


def test_more_tiles_are_tried_where_there_is_time_for_some_iterations(tmp_path, monkeypatch):
    monkeypatch.setattr("hf_dd.planning.candidates.SMALLEST_TILE", 1)
    planner = planner_of(tmp_path, minutes=0.1, ipc=1)  # 2.4 s for a distillation; 20 iterations take 2 s
    assert planner.field.factors == [5, 4, 3, 2, 1]
    names = [option.name for option in planner.field.candidates(None)]  # of 16 tiles and 64 real images: 2.46 s
    assert names == [f"factor {factor}, no guide" for factor in (3, 2, 1)]
    given = planner_of(tmp_path / "given", minutes=0.1, ipc=1, factor=5).field.candidates(None)
    assert given[0].options["factor"] == 5


def test_a_plan_goes_on_in_a_folder_that_was_moved(tmp_path):
    planner = planner_of(tmp_path / "before")
    own = f"{tmp_path}/before/teachers/digits-mlp-seed0@final"
    planner.known.once("teachers", lambda: [own, "lab/teacher@v1", f"{tmp_path}/before-others/teacher"])
    planner.known.once("decided", lambda: {"teachers": [own], "iterations": 7})
    (tmp_path / "before").rename(tmp_path / "after")
    now = f"{tmp_path}/after/teachers/digits-mlp-seed0@final"
    for _ in range(2):  # what is written down is where they are
        planner = planner_of(tmp_path / "after")
        assert planner.known.kept["teachers"] == [now, "lab/teacher@v1", f"{tmp_path}/before-others/teacher"]
        assert planner.known.kept["decided"] == {"teachers": [now], "iterations": 7}
        planner.known.keep()


@pytest.mark.parametrize(
    "fact, words",
    [
        ({"spent": "abc"}, "spent is 'abc'"),
        ({"spent": None}, "spent is None"),
        ({"spent": float("nan")}, "spent is nan"),
        ({"spent": 1e300}, "spent is 1e"),
        ({"spent": -1}, "spent is below 0"),
        ({"decided": [1]}, r"decided is \[1"),
        ({"decided": {"nope": 1}}, "decided.nope is no option"),
        ({"decided": {"iterations": "many"}}, "decided.iterations is 'many'"),
        ({"race": {}}, "it lacks race.entrants"),
        ({"race": {"entrants": 0, "epochs": 1, "seconds": []}}, "race has nothing to run"),
        ({"scores": {"a": {"x": 1.0}}}, "scores.a.x is of no iteration"),
        ({"costs of MLP": [1.0]}, "costs of MLP holds 1 numbers"),
        ({"step of MLP": "1"}, "step of MLP is '1'"),
        ({"request": {"mixed_precision": 5}}, "request.mixed_precision is 5"),
        ({"request": None}, "request is None"),
    ],
)
def test_a_plan_that_was_changed_is_refused_in_one_line(fact, words, tmp_path):
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({"request": {}, "folder": "x", "race": None, "race until": -1.5} | fact))
    with pytest.raises(RunError, match=rf"plan.json isn't a .*{words}.*anew by --overwrite_output_dir"):
        read_plan(path)


def test_a_plan_of_an_earlier_version_is_gone_on_with(tmp_path):
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({"request": {"eval_students": 3, "clom_alpha": 100.0, "factor": 1}, "folder": "x"}))
    read_plan(path, {"eval_students": None, "clom_alpha": None, "factor": 1})
    for name, other in (("eval_students", 5), ("clom_alpha", "auto"), ("factor", None)):
        with pytest.raises(RunError, match=rf"plan for other options \({name} differ\)"):
            read_plan(path, {name: other})


def test_a_plan_that_was_cut_off_is_refused_with_a_way_out(tmp_path):
    (tmp_path / "plan.json").write_text('{"request": {')
    with pytest.raises(RunError, match="plan.json isn't valid JSON .*anew by --overwrite_output_dir"):
        distill(**SMALL, output_dir=str(tmp_path), resume_from_checkpoint="latest")


def test_an_object_in_memory_is_planned_too(tmp_path, dear):
    digits = load_data("digits")
    features = Features({"image": Image(), "label": ClassLabel(names=digits.class_names)})
    splits = {
        name: {
            "image": [Picture.fromarray(image[0].numpy()) for image in split.images],
            "label": split.labels.tolist(),
        }
        for name, split in (("train", digits.train), ("test", digits.test))
    }
    given = DatasetDict({name: Dataset.from_dict(rows, features=features) for name, rows in splits.items()})
    options = SMALL | {"dataset": given, "clom": "ce", "factor": 1}
    planned = distill(output_dir=str(tmp_path / "run"), **options)
    assert planned.record.command == "" and planned.record.before == []
    assert planned.record.settings["clom"] == "ce" and planned.record.teachers
    assert planned.record.run["planning_seconds"] == 0.0  # by a clock that stands still


def test_a_race_that_takes_longer_than_was_measured_ends_early(tmp_path, monkeypatch, dear):
    advance = Race.advance
    for longest, judged in ((8.9, 3), (9.1, 1)):  # one and a half times a fifth of half a minute are 9 seconds

        def slowly(race, entrant, longest=longest):
            advance(race, entrant)
            entrant.seconds = longest

        monkeypatch.setattr(Race, "advance", slowly)
        folder = tmp_path / str(judged)
        distill(output_dir=str(folder), **SMALL | {"minutes": 0.5, "iterations": 5})
        assert f": the best of {judged} tried, on 143 held-out" in plan_of(folder)["won"]


def test_iterations_go_by_the_pace_of_the_winner_s_leg(tmp_path, monkeypatch):
    advance = Race.advance

    def at_a_pace(race, entrant):
        advance(race, entrant)
        assert entrant.step is not None
        entrant.step = 0.05

    monkeypatch.setattr(Race, "advance", at_a_pace)
    planned = distill(output_dir=str(tmp_path), **SMALL)
    assert plan_of(tmp_path)["pace"] == 0.05
    students = 2 * 2 * 10 * 1e-4  # two sets of 10 images, two epochs
    assert planned.record.settings["iterations"] == int(0.9 * (15 - students) / 0.05)


@pytest.mark.parametrize(
    "options, may",
    [
        ({}, True),
        ({"clom": "ce"}, False),
        ({"iterations": 5}, False),
        ({"init": "noise"}, False),
        ({"factor": 1}, True),
    ],
)
def test_herding_is_no_answer_where_a_method_s_own_was_asked_for(tmp_path, options, may):
    assert planner_of(tmp_path, **options).field.may_only_choose() is may


@pytest.mark.parametrize(
    ("first", "second", "iterations", "expected"),
    [
        (40.0, 46.0, 400, 46 + 6 * 2),  # 400 are twice twice 100
        (40.0, 46.0, 100, 46.0),
        (40.0, 46.0, 60, 46.0),  # it has gone farther already
        (40.0, 38.0, 200, 36.0),
        (40.0, 80.0, 800, 100.0),
    ],
)
def test_what_is_to_be_expected_is_as_much_again_for_twice_the_iterations(
    tmp_path, monkeypatch, first, second, iterations, expected
):
    class OneMore:
        def look(self, entrant, rung):
            entrant.scores[rung] = second

    planner = planner_of(tmp_path)
    monkeypatch.setattr(planner.race, "leaves_enough", lambda race, entrant, rung: rung == 100)
    entrant = Entrant("one", DistillConfig(), rungs=(50, 500), scores={50: first})
    assert planner.race.foreseen(OneMore(), entrant, iterations) == pytest.approx(expected)
    assert entrant.scores == {50: first, 100: second} and entrant.reached == 1
    again = Entrant("one", DistillConfig(), rungs=(50, 500), scores={50: first, 100: second})  # after an interruption
    assert planner_of(tmp_path).race.foreseen(None, again, iterations) == pytest.approx(expected)


@pytest.mark.parametrize(("schedule", "expected"), [("cosine", 46 + 6 * 3), ("constant", 46.0)])
def test_where_twice_as_far_takes_too_long_half_as_far_tells_as_much(tmp_path, monkeypatch, schedule, expected):
    class HalfAsMuch:
        def look(self, entrant, rung):
            assert rung == 25
            entrant.scores[rung] = 40.0

    planner = planner_of(tmp_path)
    monkeypatch.setattr(planner.race, "leaves_enough", lambda race, entrant, rung: False)
    options = {"image_learning_rate": 1.0, "image_schedule": schedule}  # along a constant rate it can't go back
    entrant = Entrant("one", DistillConfig(**options), rungs=(50,), scores={50: 46.0})
    assert planner.race.foreseen(HalfAsMuch(), entrant, 400) == pytest.approx(expected)


def test_to_look_farther_leaves_the_students_theirs_and_the_winner_half(tmp_path, monkeypatch):
    planner = planner_of(tmp_path, minutes=1)
    evaluation = SimpleNamespace(protocol=SimpleNamespace(epochs=100))
    race = SimpleNamespace(evaluation=evaluation)
    entrant = Entrant("one", DistillConfig(image_schedule="cosine"), rungs=(50,), scores={50: 46.0})
    planner.known.kept["pace"] = 0.1  # known after an interruption, too
    judging = 100 * 100 * 1e-4  # of a hundred images
    most = int((60 - judging - 60 * (0.25 + 0.2)) / 0.1)
    assert [planner.race.leaves_enough(race, entrant, each) for each in (most - 1, most + 1)] == [True, False]


def test_students_have_all_of_the_rest_where_images_are_only_chosen(tmp_path):
    planner = planner_of(tmp_path, minutes=1)
    assert planner.students(1)[0]["eval_epochs"] == [150]
    alone, seconds = planner.students(1, 60.0, alone=True)
    assert alone["eval_epochs"][0] > 150 and 15 < seconds <= 0.9 * 60


@pytest.mark.parametrize(
    ("twice", "herding", "objective"), [(41.0, 60.0, "herding"), (48.0, 60.0, "dm"), (None, 39.0, "dm")]
)
def test_what_is_behind_herding_after_a_few_iterations_may_go_on_to_be_ahead(
    tmp_path, monkeypatch, twice, herding, objective
):
    advance, judged = Race.advance, []

    def at_a_pace(race, entrant):
        advance(race, entrant)
        entrant.step = 0.1

    def judge(race, candidate):
        judged.append(candidate.name)
        if candidate.baseline:
            return herding, 0.0
        score = 10.0 if "CLoM" in candidate.name else 40.0
        return (twice if len(judged) > 4 else score), 0.0

    monkeypatch.setattr(Race, "advance", at_a_pace)
    monkeypatch.setattr(Race, "judge", judge)
    planned = distill(output_dir=str(tmp_path / "run"), **SMALL | {"minutes": 0.35})
    assert planned.record.settings["objective"] == objective
    plan = plan_of(tmp_path / "run")
    scores = list(plan["scores"]["factor 1, no guide"])
    assert len(judged) == (4 if twice is None else 5)
    assert len(scores) == (1 if twice is None else 2)
    assert ("to be expected" in plan["won"]) == (twice is not None)


# --- what is given stands, and fits


GUIDED = {"clom": "ce", "minutes": 0.35}


@pytest.mark.parametrize(
    "options",
    [
        {"clom_schedule": "cosine"},
        {"clom_augment": "flip"},
        {"clom_batch": 1},
        {"clom": "cos", "clom_real_batch": 64},
        {"objective": "clom", "iterations": 3},
    ],
)
def test_options_of_a_guide_are_the_guide_s_whatever_is_measured_without_one(tmp_path, options, dear):
    planned = distill(output_dir=str(tmp_path / "run"), **SMALL | GUIDED | options)
    assert {name: planned.record.settings[name] for name in options} == options and planned.record.teachers


@pytest.mark.parametrize(
    "options",
    [
        {"init": "teacher-score", "clom": "none"},
        {"networks": "teachers"},
        {"networks": "between", "clom": "none"},
        {"objective": "dance"},
    ],
)
def test_teachers_that_the_method_itself_needs_are_there_from_the_first_measurement(tmp_path, monkeypatch, options):
    """And its networks are as theirs, however long an iteration takes: of the default architecture these are."""
    monkeypatch.setattr("hf_dd.planning.budget.WIDTHS", ("ConvNet", "ConvNetW32"))
    width = {"architecture_options": []}
    (teacher,) = pretrain(dataset="digits", epochs=1, keep_epochs=[0, 1], output_dir=str(tmp_path / "teachers"))
    planned = distill(
        output_dir=str(tmp_path / "run"), teachers=[str(teacher)], iterations=2, **SMALL | width | options
    )
    settings = planned.record.settings
    drawn = "init" not in options
    assert settings["architecture"] == ("ConvNet" if drawn else "ConvNetW32") and settings["iterations"] == 2
    assert {name: settings[name] for name in options} == options and planned.record.teachers


def test_nobody_races_farther_than_the_run_goes(tmp_path, monkeypatch):
    planner = planner_of(tmp_path, iterations=50)
    assert planner.race.rungs((1.0, 2.0, 9.0), 0.1) == (10, 20, 50)
    assert planner.race.rungs((9.0, 18.0), 0.1) == (50, 50) and planner.race.rungs((0.01, 0.02), 0.1) == (1, 2)
    entrant = Entrant("one", DistillConfig(), rungs=(50,), scores={50: 40.0})
    assert planner.race.foreseen(None, entrant, 50) == 40.0  # there is nothing beyond it
    constant = {"image_learning_rate": 1.0, "iterations": 2, "minutes": 0.35}  # goes on from rung to rung
    planned = distill(output_dir=str(tmp_path / "run"), **SMALL | constant)
    plan = plan_of(tmp_path / "run")
    assert {rung for scores in plan["scores"].values() for rung in scores} == {"2"}
    assert planned.record.settings["iterations"] == 2


@pytest.mark.parametrize(("herding", "objective"), [(90.0, "herding"), (10.0, "dm")])
def test_a_single_candidate_has_herding_to_beat(tmp_path, monkeypatch, herding, objective):
    monkeypatch.setattr(Race, "judge", lambda race, candidate: (herding if candidate.baseline else 40.0, 0.0))
    planned = distill(output_dir=str(tmp_path / "run"), **SMALL | {"clom": "none", "factor": 1})
    assert planned.record.settings["objective"] == objective


def test_published_options_are_the_papers_whatever_the_time(tmp_path, dear):
    planned = distill(output_dir=str(tmp_path / "run"), **SMALL | {"published": True, "iterations": 2, "minutes": 0.3})
    settings = planned.record.settings
    assert settings["augment"] == "color_crop_cutout_flip_scale_rotate" and settings["init"] == "real"
    assert (settings["real_batch_size"], settings["factor"], settings["objective"]) == (256, 1, "dm")
    assert settings["architecture"] == "ConvNet" and settings["image_learning_rate"] == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"iterations": 20_000}, "is too short: 20,000 iterations and the students take about .* fewer --iterations"),
        (
            {"clom": "ce", "minutes": 0.02, "eval_students": 0},
            "is too short: 1 teacher of .* epochs?, 5 iterations and the students take about",
        ),
    ],
)
def test_what_is_asked_for_has_to_fit(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        distill(output_dir=str(tmp_path / "run"), **SMALL | options)
    assert not (tmp_path / "run/plan.json").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eval_protocol": "soft-label"}, "trains on soft labels: add --soft_labels mean and teachers"),
        ({"eval_protocol": "soft-label-online", "clom": "none"}, "needs teachers: give --eval_teachers"),
        ({"eval_architectures": ["ConvNet", "nobody/teacher@v1"]}, "nobody/teacher"),
    ],
)
def test_students_that_can_t_be_had_are_said_before_the_planning(tmp_path, monkeypatch, options, message):
    monkeypatch.setattr(Planner, "planned", None)
    with pytest.raises(HfDdError, match=message):
        distill(output_dir=str(tmp_path / "run"), **SMALL | options)


def test_students_of_online_labels_have_the_run_s_own_teachers_guided_or_not(tmp_path, monkeypatch):
    monkeypatch.setattr(Race, "judge", lambda race, candidate: (10.0 if "CLoM" in candidate.name else 40.0, 0.0))
    options = {"eval_protocol": "soft-label-online", "iterations": 2, "minutes": 0.35}
    planned = distill(output_dir=str(tmp_path / "run"), **SMALL | options)
    assert planned.record.settings["clom"] == "none" and planned.record.results["rows"]


def test_a_slip_costs_no_earlier_run(tmp_path):
    folder = tmp_path / "run"
    distill(output_dir=str(folder), **SMALL | {"minutes": None, "iterations": 1, "eval_students": 0})
    before = sorted(path.name for path in folder.rglob("*"))
    with pytest.raises(DataError, match="the largest ipc possible"):
        distill(output_dir=str(folder), overwrite_output_dir=True, **SMALL | {"ipc": 1000})
    assert sorted(path.name for path in folder.rglob("*")) == before


def test_a_plan_that_ended_while_it_measured_is_there_to_go_on_with_or_to_be_replaced(tmp_path, monkeypatch, dear):
    def ended(race, entrant, limit):
        (race.folder / "0").mkdir(parents=True)
        raise KeyboardInterrupt

    options = SMALL | {"iterations": 2}
    for place, way in enumerate([{"resume_from_checkpoint": "latest"}, {"overwrite_output_dir": True}]):
        folder = str(tmp_path / str(place))
        with monkeypatch.context() as patch:
            patch.setattr(Race, "seconds_of_step", ended)
            with pytest.raises(KeyboardInterrupt):
                distill(output_dir=folder, **options)
        with pytest.raises(RunError, match="holds another run. Go on with it by"):
            distill(output_dir=folder, **options)
        assert distill(output_dir=folder, **options | way).record.settings["iterations"] == 2


def test_what_is_left_after_an_interruption_is_made_the_best_of(tmp_path, monkeypatch):
    planner = planner_of(tmp_path, **{name: value for name, value in SMALL.items() if name != "dataset"})
    planner.known.kept["spent"] = 14.9  # of fifteen
    planner.known.keep = lambda: None
    (tmp_path / "plan.json").write_text(json.dumps(planner.known.kept))
    again = planner_of(tmp_path, **{name: value for name, value in SMALL.items() if name != "dataset"})
    assert again.known.left == pytest.approx(0.1)
    again.require_enough()  # where a run that begins would be refused
    assert again.iterations({"factor": 1}, 0.1) == budget.FEWEST


@pytest.mark.multi_process
def test_two_processes_plan_and_race_together(tmp_path, ranks_of):
    options = SMALL | {"minutes": 0.5, "iterations": 4, "image_schedule": "constant", "image_learning_rate": 1.0}
    options |= {"output_dir": str(tmp_path / "run"), "seed": 1}
    ranks_of(Path(__file__).parents[1] / "plan.py", "distill", *words(options))
    plan, record = plan_of(tmp_path / "run"), json.loads((tmp_path / "run/hf_dd.json").read_text())
    assert record["run"]["hardware"].endswith(", 2 processes of 1 thread")
    assert len(plan["scores"]) == 3 and all(plan["scores"].values()) and "the best of 3 tried" in plan["won"]
    assert record["settings"]["iterations"] == 4 and record["results"]["rows"]


@pytest.mark.parametrize(("iterations", "objective"), [(5, "herding"), (30, "dm")])
def test_a_run_of_far_fewer_iterations_than_were_judged_is_none(tmp_path, monkeypatch, iterations, objective):
    monkeypatch.setattr(Planner, "iterations", lambda planner, options, step: iterations)
    monkeypatch.setattr(Race, "judge", lambda race, candidate: (40.0, 0.0))
    monkeypatch.setattr(CandidateRace, "rungs", lambda racing, seconds, step: (60,))
    planned = distill(output_dir=str(tmp_path / "run"), **SMALL | {"clom": "none", "factor": 1})
    assert planned.record.settings["objective"] == objective
    card = (tmp_path / "run/README.md").read_text()
    assert ("far fewer than were judged: herding chooses" in card) == (objective == "herding")


def test_widths_that_take_too_long_with_few_tiles_are_not_measured_with_many(tmp_path, monkeypatch):
    monkeypatch.setattr("hf_dd.planning.candidates.SMALLEST_TILE", 1)
    monkeypatch.setattr("hf_dd.planning.budget.WIDTHS", ("ConvNet", "ConvNetW32"))
    measured = []

    def seconds(race, entrant, limit):
        measured.append((entrant.config.factor, entrant.config.architecture))
        return 10.0

    monkeypatch.setattr(Race, "seconds_of_step", seconds)
    planner = planner_of(tmp_path, ipc=1)
    assert [planner.field.of_factor(factor)["architecture"] for factor in (3, 1, 2)] == ["ConvNetW32"] * 3
    assert measured == [(1, "ConvNet"), (1, "ConvNetW32"), (3, "ConvNetW32"), (2, "ConvNetW32")]


# --- on the Hub


def test_teachers_of_a_planned_run_are_pushed_under_its_sets_name(tmp_path, monkeypatch, api, dear):
    options = SMALL | GUIDED | {"iterations": 2, "push_to_hub": True, "hub_dataset_id": "planned"}
    made = distill(output_dir=str(tmp_path / "run"), **options)
    names = {teacher["repo_id"] for teacher in made.record.teachers}
    assert names == {f"local/planned-digits-convnetw32-seed{seed}" for seed in range(len(names))} and names
    assert made.record.before == [] and "--teachers local/planned-digits-convnetw32-seed0@" in made.record.command
    assert all(api.repo_exists(name) for name in names) and api.repo_exists("local/planned", repo_type="dataset")
    monkeypatch.setattr("hf_dd.runs.distill.pretrain", None)
    with pytest.raises(ConfigError, match="-seed0 is there already.* another --hub_dataset_id, .*--clom none"):
        distill(output_dir=str(tmp_path / "again"), **options)
    with pytest.raises(TypeError, match="not callable"):  # it trains them
        distill(output_dir=str(tmp_path / "other"), **options | {"hub_dataset_id": "planned-too"})
    assert distill(output_dir=str(tmp_path / "none"), **options | {"clom": "none"}).record.teachers == []


def test_teachers_that_guide_nothing_stay_where_they_are(tmp_path, monkeypatch, api, dear):
    monkeypatch.setattr(Race, "judge", lambda race, candidate: (10.0 if "CLoM" in candidate.name else 40.0, 0.0))
    made = distill(output_dir=str(tmp_path / "run"), **SMALL | {"minutes": 0.35, "iterations": 2, "push_to_hub": True})
    assert made.record.settings["clom"] == "none" and api.repo_exists("local/digits-dm-ipc1", repo_type="dataset")
    assert not [model.id for model in api.list_models() if "digits-dm-ipc1" in model.id]


# --- what a plan says before it begins


def fails(folder, words, error=HfDdError, **options):
    """A planned run that ends with these words, and leaves nothing that would be in the way of the next one."""
    with pytest.raises(error, match=words):
        distill(output_dir=str(folder), **SMALL | options)
    assert not [path for path in folder.rglob("*") if path.is_file()]


def test_more_tiles_than_a_class_has_images_are_told_in_numbers_of_the_user(tmp_path):
    fails(
        tmp_path,
        "139 training images, and ipc is 2 of 100 tiles each: the largest ipc possible is 1",
        ipc=2,
        factor=10,
    )
    fails(tmp_path, "ipc is 1 of 144 tiles each: the largest --factor possible is 11", factor=12)
    fails(tmp_path, "too few to plan on.* ipc is 2 of 64 tiles each. Give a smaller ipc", ipc=2, factor=8)
    assert distill(output_dir=str(tmp_path), **SMALL | {"factor": 2, "iterations": 2}).record.settings["factor"] == 2


def test_a_plan_that_fails_is_not_in_the_way_of_the_next_one(tmp_path, monkeypatch, dear):
    def measure(*given):
        raise ConfigError("something that shows while it is measured")

    with monkeypatch.context() as patch:
        patch.setattr(Race, "seconds_of_step", measure)
        fails(tmp_path, "something that shows")
    distill(output_dir=str(tmp_path), **SMALL | {"iterations": 2})


def test_clom_alone_has_to_say_how_its_teachers_guide(tmp_path):
    fails(tmp_path, "--objective clom is CLoM alone: add --clom ce or --clom cos", objective="clom")


def test_images_that_take_too_long_to_look_at_are_told_before_anything_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr("hf_dd.synthetic.coresets.seconds_of_features", lambda data, autocast: 1.0)
    monkeypatch.setattr(Race, "seconds_of_step", None)
    told = (
        "too short for images of 8×8 pixels: features of 1,438, .* take about 47.9 minutes on this machine. Give more"
    )
    fails(tmp_path, told + r", or a smaller --image_size\.")
    told = r"too short for images of 160×160 pixels: .*, or a smaller --image_size, such as 8\."
    fails(tmp_path, told, image_size=160, minutes=1)


def test_a_data_set_that_tests_nobody_is_told(tmp_path, caplog):
    caplog.set_level("INFO", "hf_dd")
    images = [Picture.new("L", (8, 8), 3 * number) for number in range(80)]
    rows = Dataset.from_dict(
        {"image": images, "label": [number % 2 for number in range(80)]},
        features=Features({"image": Image(), "label": ClassLabel(names=["a", "b"])}),
    )
    options = {name: value for name, value in SMALL.items() if name != "dataset"} | {"iterations": 2}
    made = distill(dataset=rows, output_dir=str(tmp_path), **options)
    told = "has no test split: nothing is evaluated, and no teachers are trained. Name it by --test_split, hold"
    assert told in caplog.text and made.record.results is None
