"""`hf-dd pool select`: which pools are tried, how they are judged, and what is kept; on digits."""

import dataclasses
import json
import re

import pytest

import hf_dd
from hf_dd.config import SelectConfig
from hf_dd.distillation.distiller import Distiller
from hf_dd.errors import ConfigError, HfDdError, RunError
from hf_dd.planning.budget import StudentCosts
from hf_dd.planning.race import Race
from hf_dd.studies import pool_search
from hf_dd.studies.pool_options import pools_of
from hf_dd.studies.pool_search import select
from hf_dd.teachers.pool import TeacherPool
from hf_dd.teachers.teacher import TeacherSpec
from tests.factories import says

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = {
    **{
        "ipc": 1,
        "iterations": 4,
        "first_rung": 1,
        "real_batch_size": 4,
        "architecture_options": ["width=8", "depth=1"],
    },
    **{"clom_alpha": 10, "eval_architectures": ["MLP"], "eval_students": 2, "eval_epochs": [5], "save_steps": 3},
}


def spec(architecture, seed, epoch, dataset="digits"):
    return TeacherSpec("a/b", "r", f"{architecture}{seed}{epoch}{dataset}", architecture, seed, epoch, dataset, 0.9)


def test_pools_are_spanned_by_the_four_options():
    specs = [spec("VGG11", 1, 4), spec("ConvNet", 0, 1), spec("ConvNet", 0, 4), spec("VGG11", 0, 4)]
    specs += [spec("ConvNet", 1, 4), spec("ConvNet", 0, 4, "other"), spec("ConvNet", 2, 4)]
    found = {pool.name: pool.members for pool in pools_of(specs)}
    assert found == {
        "no teacher": (),
        "1 × ConvNet, digits, epoch 1": (1,),
        "1 × ConvNet, digits, epoch 4": (2,),
        "2 × ConvNet, digits, epoch 4": (2, 4),
        "3 × ConvNet, digits, epoch 4": (2, 4, 6),
        "1 × VGG11, digits, epoch 4": (3,),
        "2 × VGG11, digits, epoch 4": (0, 3),
        "2 × ConvNet + VGG11, digits, epoch 4": (2, 3),
        "4 × ConvNet + VGG11, digits, epoch 4": (0, 2, 3, 4),
        "1 × ConvNet, other, epoch 4": (5,),
    }


def test_models_that_say_nothing_of_seeds_and_epochs_are_pools_too():
    unknown = {"seed": None, "epoch": None, "dataset": None, "library": "timm"}
    found = pools_of([dataclasses.replace(spec("efficientnet_lite0", 0, 0), **unknown)])
    assert [pool.name for pool in found] == ["no teacher", "1 × efficientnet_lite0, domain unknown"]


@pytest.fixture(scope="module")
def candidates(tiny_teachers):
    return {"teachers": tiny_teachers.references}


def what(trace):
    """What a search tried, without how long it took."""
    return [{key: value for key, value in pool.items() if key != "seconds"} for pool in trace["tried"]]


def trace_of(folder):
    return json.loads((folder / "trace.json").read_text())


@pytest.fixture(scope="module")
def found(tmp_path_factory, candidates):
    return select(output_dir=str(tmp_path_factory.mktemp("select")), **candidates, **SMALL)


def test_every_pool_is_tried_and_the_best_that_went_through_is_kept(found, tiny_teachers):
    tried = trace_of(found.folder)["tried"]
    assert sorted(pool["pool"] for pool in tried) == sorted(
        [
            *("no teacher", "1 × ConvNet, digits, epoch 2", "2 × ConvNet, digits, epoch 2"),
            *("1 × MLP, digits, epoch 2", "2 × ConvNet + MLP, digits, epoch 2"),
        ]
    )
    through = {pool["pool"]: pool["scores"]["4"] for pool in tried if pool["finished"]}
    assert 1 <= len(through) < 5
    assert found.score == max(through.values()) == through[found.best.name]
    for pool in tried:
        rungs = list(pool["scores"])
        assert rungs == ["1", "2", "4"][: len(rungs)] and (len(rungs) == 3) == pool["finished"]
        assert all(0 < score < 100 for score in pool["scores"].values()) and pool["seconds"] > 0
    best = next(pool for pool in tried if pool["pool"] == found.best.name)
    if found.pool is not None:
        lock = json.loads((found.folder / "pool.json").read_text())
        assert lock["teachers"] == best["teachers"] == [dataclasses.asdict(spec) for spec in found.pool.specs]
        assert len(TeacherPool.from_references([f"{t['repo_id']}@{t['sha']}" for t in lock["teachers"]]))


def test_successive_halving_gives_up_the_lower_half(found):
    """Of five pools the better two go on from the first rung, of these the better one from the second."""
    tried = trace_of(found.folder)["tried"]
    for rung, after, going_on in (("1", "2", 2), ("2", "4", 1)):
        judged = [pool["scores"] for pool in tried if rung in pool["scores"]]
        best = sorted((scores[rung] for scores in judged), reverse=True)[:going_on]
        assert sorted((scores[rung] for scores in judged if after in scores), reverse=True) == best


def test_the_test_split_has_no_part_in_it(found, candidates, tmp_path, monkeypatch, nothing_remembered):
    loaded = pool_search.load_data

    def poisoned(config):
        data = loaded(config)
        wrong = dataclasses.replace(data.test, labels=(data.test.labels + 1) % 10, images=255 - data.test.images)
        return dataclasses.replace(data, test=wrong)

    monkeypatch.setattr(pool_search, "load_data", poisoned)
    again = select(output_dir=str(tmp_path), **candidates, **SMALL)
    assert what(trace_of(again.folder)) == what(trace_of(found.folder))
    assert (again.best, again.score) == (found.best, found.score)


@pytest.mark.parametrize("steps", [3, 7])
def test_an_interrupted_search_goes_on(found, candidates, tmp_path, monkeypatch, nothing_remembered, steps):
    step, done = Distiller.step, []

    def interrupted(self, index, tell):
        if len(done) == steps:
            raise KeyboardInterrupt
        done.append(index)
        return step(self, index)

    monkeypatch.setattr(Distiller, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        select(output_dir=str(tmp_path), **candidates, **SMALL)
    monkeypatch.setattr(Distiller, "step", step)
    again = select(output_dir=str(tmp_path), **candidates, **SMALL)
    assert what(trace_of(again.folder)) == what(trace_of(found.folder))


def test_a_finished_search_only_answers(found, candidates, monkeypatch):
    monkeypatch.setattr(Distiller, "step", None)
    again = select(output_dir=str(found.folder), **candidates, **SMALL)
    assert (again.best, again.score) == (found.best, found.score)


def test_another_search_in_its_folder_is_refused(found, candidates):
    before = (found.folder / "trace.json").read_bytes()
    with pytest.raises(RunError, match=r"holds another search \(clom_alpha differ\)"):
        select(output_dir=str(found.folder), **candidates, **SMALL | {"clom_alpha": 11})
    assert (found.folder / "trace.json").read_bytes() == before


def test_a_slip_does_not_stop_the_search_that_was_meant(found, candidates, tmp_path):
    with pytest.raises(RunError, match="no finite number"):
        select(output_dir=str(tmp_path), image_learning_rate=1e30, **candidates, **SMALL)
    assert list(tmp_path.rglob("state.json"))
    meant = select(output_dir=str(tmp_path), trials=1, **candidates, **SMALL)
    (only,), first = what(trace_of(meant.folder)), what(trace_of(found.folder))[0]
    assert only["pool"] == first["pool"] and only["scores"].items() >= first["scores"].items()


@pytest.mark.parametrize("wrong", [{"search": 5}, {"tried": 3}, {"tried": [{"pool": "x"}]}])
def test_a_trace_that_is_none_is_named(found, candidates, tmp_path, wrong):
    (tmp_path / "trace.json").write_text(json.dumps(trace_of(found.folder) | wrong))
    with pytest.raises(
        RunError, match=f"{tmp_path / 'trace.json'} isn't a trace .* remove it to search anew, or give"
    ):
        select(output_dir=str(tmp_path), **candidates, **SMALL)
    (tmp_path / "trace.json").write_text("{")
    with pytest.raises(
        RunError, match="isn't a trace .* isn't valid JSON .* remove it to search anew, or give another"
    ):
        select(output_dir=str(tmp_path), **candidates, **SMALL)


def test_students_that_learned_nothing_choose_no_pool(found, candidates, tmp_path, caplog):
    """The best of them isn't better than the validation split's commonest class: 15 of the 143 images."""
    none = select(output_dir=str(found.folder), **candidates, **SMALL)
    assert none.score <= none.guessing == pytest.approx(100 * 15 / 143) and not none.learned
    (told,) = [text for text in caplog.messages if "guess" in text]
    says(told, "10.49 % on the validation split", f"the best pool {none.score:.2f} %", "more --eval_epochs")
    assert "No pool guided better" not in caplog.text
    assert "no better than guessing, as all 5 tried out of 5" in repr(none)
    caplog.clear()
    some = select(output_dir=str(tmp_path), trials=1, **candidates, **SMALL | {"eval_epochs": [60]})
    assert some.score > some.guessing == none.guessing and "learned nothing" not in caplog.text
    assert some.learned and "the best of 1 tried out of 5" in repr(some)


def test_fewer_trials_are_the_first_ones(found, candidates, tmp_path):
    short = select(output_dir=str(tmp_path), trials=1, **candidates, **SMALL)
    (only,) = trace_of(short.folder)["tried"]
    assert only["finished"] and short.best.name == only["pool"]
    assert {pool["pool"]: pool for pool in trace_of(found.folder)["tried"]}[only["pool"]]["scores"]["1"] == (
        only["scores"]["1"]
    )
    told = [repr(dataclasses.replace(each, guessing=0.0)) for each in (found, short)]
    assert "the best of 5 tried out of 5;" in told[0] and "the best of 1 tried out of 5;" in told[1]


@pytest.fixture
def costs(monkeypatch):
    """An iteration takes 2 s, a student of 5 epochs on 10 images 5, and the clock stands still."""
    monkeypatch.setattr(Race, "seconds_of_step", lambda race, entrant, limit: 2.0)
    monkeypatch.setattr(StudentCosts, "measured", lambda evaluation, candidate, name: StudentCosts(0.1, 0.0))
    monkeypatch.setattr(pool_search, "since", lambda started: 0.0)


def test_minutes_make_rungs_shorter(candidates, tmp_path, costs):
    """Five pools to 1, two to 2, one to 4 iterations: 5 · 2 + 2 · 2 + 1 · 4 s and eight judgements of two students."""
    whole = 5 * 2 + 2 * 2 + 4 + 8 * 2 * 5
    long = select(output_dir=str(tmp_path / "long"), minutes=whole / 60, **candidates, **SMALL)
    assert trace_of(long.folder)["rungs"] == [1, 2, 4]
    short = select(output_dir=str(tmp_path / "short"), minutes=(whole - 1) / 60, **candidates, **SMALL)
    trace = trace_of(short.folder)
    assert trace["rungs"] == [1, 2, 3] and {len(pool["scores"]) for pool in trace["tried"]} == {1, 2, 3}
    again = select(output_dir=str(short.folder), **candidates, **SMALL)
    assert what(trace_of(again.folder)) == what(trace) and again.score == short.score


def test_minutes_that_are_too_short_are_told_before_any_trial(candidates, tmp_path, costs, monkeypatch):
    monkeypatch.setattr(Distiller, "step", None)
    monkeypatch.setattr(pool_search, "since", lambda started: 50.0)  # which reading and loading took
    with pytest.raises(ConfigError, match=r"about 1\.6 minutes, and what came before took 0\.8: give about 2\.5, or"):
        select(output_dir=str(tmp_path), minutes=1, **candidates, **SMALL)


def test_no_pool_goes_on_that_would_end_late(candidates, tmp_path, costs, monkeypatch):
    clock = iter([0.0, 0.0, 30.0, 70.0, 99.0, 99.0])
    monkeypatch.setattr(pool_search, "since", lambda started: next(clock))
    late = select(output_dir=str(tmp_path), minutes=1.8, **candidates, **SMALL)
    assert [len(pool["scores"]) for pool in trace_of(late.folder)["tried"]] == [1, 1, 1]


@pytest.mark.multi_process
def test_two_processes_choose_as_one(found, candidates, tmp_path, ranks_of):
    options = candidates | SMALL | {"output_dir": str(tmp_path / "out")}
    words = [[f"--{name}", *map(str, own if isinstance(own, list) else [own])] for name, own in options.items()]
    done = ranks_of("-m", "hf_dd", "pool", "select", *sum(words, []))
    two, one = (what(trace_of(folder)) for folder in (tmp_path / "out", found.folder))
    assert [(pool["pool"], list(pool["scores"])) for pool in two] == [
        (pool["pool"], list(pool["scores"])) for pool in one
    ]
    for first, second in zip(two, one, strict=True):
        assert first["scores"] == pytest.approx(second["scores"], abs=1.0)  # of sums in another order
    assert done.stdout.count("% on the validation split") == 1
    told = re.findall(r"Rung (\d), (\d) of \d:", done.stdout + done.stderr)
    assert told == [("1", str(pool)) for pool in range(1, 6)] + [("2", "1"), ("2", "2"), ("3", "1")]


@pytest.mark.parametrize(
    "options, words",
    [
        ({}, "Name the candidates by --teachers, --teacher_tags or --teacher_pool"),
        ({"teachers": ["a/b"], "first_rung": 100}, "--first_rung 100 isn't below --iterations 100"),
        ({"teachers": ["a/b"], "reduction": 1}, "--reduction is 1"),
        ({"teachers": ["a/b"], "eval_students": 0}, "--eval_students is 0"),
        ({"teachers": ["a/b"], "eval_epochs": [1, 2]}, "--eval_epochs takes one value"),
    ],
)
def test_what_makes_no_sense_is_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        SelectConfig(**options)


def test_teachers_that_nothing_takes_choose_nothing(candidates, tmp_path):
    with pytest.raises(ConfigError, match="--teachers has no effect without a guide: add --clom ce"):
        select(clom="none", output_dir=str(tmp_path), **candidates, **SMALL)


def test_soft_labels_choose_no_pool(candidates, tmp_path):
    with pytest.raises(ConfigError, match="--eval_protocol soft-label: students on hard labels choose a pool"):
        select(output_dir=str(tmp_path / "out"), **candidates, **SMALL | {"eval_protocol": "soft-label"})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"soft_labels": "mean"}, "--soft_labels mean: students on hard labels choose a pool: leave it out here"),
        ({"objective": "rded", "clom": "none"}, "--objective rded optimises nothing, so that no pool guides it"),
        ({"objective": "herding"}, "--objective herding optimises nothing"),
    ],
)
def test_what_a_pool_can_not_be_chosen_by_is_named_as_it_was_given(candidates, tmp_path, options, words):
    with pytest.raises(ConfigError, match=words):
        select(output_dir=str(tmp_path / "out"), **candidates, **SMALL | options)
    assert not (tmp_path / "out").exists()


def test_rungs_double_up_to_the_last():
    assert SelectConfig(teachers=["a/b"]).rungs == [25, 50, 100]
    assert SelectConfig(teachers=["a/b"], iterations=90, first_rung=10, reduction=3).rungs == [10, 30, 90]
    assert SelectConfig(teachers=["a/b"], iterations=60, first_rung=25).rungs == [25, 50, 60]


# --- what the method itself takes


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"networks": "teachers"}, "is another network: it has"),  # the MLP among them, and the widths
        (
            {"objective": "cim", "objective_options": ["layer=body.7"], "real_batch_size": None},
            "has no layer 'body.7'",
        ),
        ({"clom_alphas": ["VGG11=3"]}, "--clom_alphas names VGG11, but the pool's teachers are ConvNet, MLP"),
    ],
)
def test_candidates_that_the_method_can_not_take_are_told_before_any_trial(
    candidates, tmp_path, monkeypatch, options, words
):
    monkeypatch.setattr(Race, "advance", None)
    with pytest.raises(HfDdError, match=words):
        select(output_dir=str(tmp_path / "select"), **candidates, **SMALL | options)
    assert not (tmp_path / "select/pools").exists()


def test_teachers_may_be_networks_alone_against_random_ones(tiny_teachers, tmp_path):
    shape = {"architecture_options": ["width=8", "depth=1"]}
    made = hf_dd.pretrain(
        dataset="digits", teacher_seeds=[0, 1], epochs=1, keep_epochs=[0, 1], output_dir=str(tmp_path / "t"), **shape
    )
    options = SMALL | {"objective": "dance", "clom": "none", "clom_alpha": 100.0, "trials": None}
    select(teachers=list(map(str, made)), output_dir=str(tmp_path / "select"), **options)
    assert [pool["pool"] for pool in trace_of(tmp_path / "select")["tried"] if pool["scores"]]
    assert {pool["pool"] for pool in trace_of(tmp_path / "select")["tried"]} >= {"1 × ConvNet, digits, epoch 1"}
    assert trace_of(tmp_path / "select")["pools"] == 2  # of one teacher, of both: DANCE has to have some


def test_weights_of_one_architecture_leave_the_others_as_they_are(candidates, tmp_path):
    found = select(
        output_dir=str(tmp_path / "select"), **candidates, **SMALL | {"clom_alphas": ["MLP=3"], "trials": 4}
    )
    assert found.tried == 4


def test_a_start_that_takes_teachers_is_not_tried_without(candidates, tmp_path):
    found = select(
        output_dir=str(tmp_path / "select"), **candidates | {"trials": None}, **SMALL | {"init": "teacher-score"}
    )
    tried = {pool["pool"] for pool in trace_of(tmp_path / "select")["tried"]}
    assert found.tried == found.pools == len(tried) and "no teacher" not in tried


def test_pools_guide_what_follows_experts_too(tiny_teachers, tmp_path):
    shape = {"architecture_options": ["width=8", "depth=1"]}
    made = hf_dd.pretrain(dataset="digits", epochs=2, keep_epochs=[0, 1, 2], output_dir=str(tmp_path / "t"), **shape)
    own = ["student_steps=1", "expert_epochs=1", "max_start_epoch=1"]
    options = {"objective": "mtt", "experts": list(map(str, made)), "objective_options": own, "trials": 2}
    found = select(
        teachers=tiny_teachers.references[2:],
        output_dir=str(tmp_path / "select"),
        **SMALL | options | {"real_batch_size": None},
    )
    assert found.tried == found.pools == 2  # without a guide, and with the teacher
