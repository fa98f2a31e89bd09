"""The metrics: values by hand, range and monotonicity, and as modules that `evaluate` loads and combines."""

import math
from pathlib import Path

import evaluate
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hf_dd.metrics
from hf_dd.errors import ConfigError, DataError
from hf_dd.metrics import Accuracy, AugmentationRobustScore, LabelRobustScore, RelativeAccuracy, scores

FOLDER = Path(hf_dd.metrics.__file__).parent
NAMES = ("accuracy", "augmentation_robust_score", "label_robust_score", "relative_accuracy")
BY_HAND = {
    "full": 0.9,
    "distilled": 0.7,
    "distilled_best": 0.8,
    "random_best": 0.5,
    "distilled_augmented": 0.75,
    "random_augmented": 0.55,
    "distilled_plain": 0.5,
    "random_plain": 0.6,
}
LRS = ("full", "distilled", "distilled_best", "random_best")  # falls, rises, rises, falls
ARS = ("distilled_augmented", "random_augmented", "distilled_plain", "random_plain")  # rises, falls, rises, falls
LABEL, AUGMENTATION, RELATIVE = (
    metric(keep_in_memory=True) for metric in (LabelRobustScore, AugmentationRobustScore, RelativeAccuracy)
)
fractions = st.floats(0, 1)
shares = st.floats(0, 1)


def taken(*names, **changes):
    return {name: BY_HAND[name] for name in names} | changes


def lrs(*accuracies, weight=0.5):
    return LABEL._compute(*([value] for value in accuracies), weight=weight)["label_robust_score"]


def ars(*accuracies, gamma=0.5):
    return AUGMENTATION._compute(*([value] for value in accuracies), gamma=gamma)["augmentation_robust_score"]


def memory(metric):
    return metric(keep_in_memory=True)


def metric_of(name):
    return evaluate.load(str(FOLDER / name), keep_in_memory=True)


def test_label_robust_score_by_hand():
    found = memory(LabelRobustScore).compute(**taken(*LRS))
    assert found["hard_label_recovery"] == pytest.approx(0.2)
    assert found["improvement_over_random"] == pytest.approx(0.3)
    # a = 0.5 · 0.3 − 0.5 · 0.2 = 0.05; (1.051271 − 0.367879) / (2.718282 − 0.367879) = 0.683392 / 2.350402
    assert found["label_robust_score"] == pytest.approx(0.290755, abs=1e-6)
    # a = 0.9 · 0.3 − 0.1 · 0.2 = 0.25; (1.284025 − 0.367879) / 2.350402
    weighted = memory(LabelRobustScore).compute(**taken(*LRS), weight=0.9)
    assert weighted["label_robust_score"] == pytest.approx(0.389783, abs=1e-6)


def test_augmentation_robust_score_by_hand():
    found = memory(AugmentationRobustScore).compute(**taken(*ARS))
    assert found["improvement_with_augmentation"] == pytest.approx(0.2)
    assert found["improvement_without_augmentation"] == pytest.approx(-0.1)
    # a = 0.5 · 0.2 + 0.5 · −0.1 = 0.05, as above
    assert found["augmentation_robust_score"] == pytest.approx(0.290755, abs=1e-6)
    # a = −0.1; (0.904837 − 0.367879) / 2.350402
    alone = memory(AugmentationRobustScore).compute(**taken(*ARS), gamma=0)
    assert alone["augmentation_robust_score"] == pytest.approx(0.228454, abs=1e-6)


def test_relative_accuracy_by_hand():
    metric = memory(RelativeAccuracy)
    assert metric.compute(distilled=[0.5, 0.7], full=[0.8, 0.8]) == {"relative_accuracy": pytest.approx(0.75)}


def test_accuracy_by_hand():
    assert memory(Accuracy).compute(predictions=[0, 1, 1, 2], references=[0, 1, 2, 2]) == {"accuracy": 0.75}


def test_a_set_that_is_no_better_than_random_and_loses_nothing_scores_at_zero_difference():
    middle = (1 - math.exp(-1)) / (math.e - math.exp(-1))  # 0.268941
    assert lrs(0.6, 0.6, 0.4, 0.4) == ars(0.3, 0.3, 0.2, 0.2) == pytest.approx(middle)


def test_the_ends_of_the_scale_are_zero_and_one():
    assert lrs(0, 1, 1, 0) == ars(1, 0, 1, 0) == 1
    assert lrs(1, 0, 0, 1) == ars(0, 1, 0, 1) == 0


@given(st.lists(fractions, min_size=4, max_size=4), shares)
def test_scores_are_in_the_unit_interval(accuracies, share):
    assert 0 <= lrs(*accuracies, weight=share) <= 1
    assert 0 <= ars(*accuracies, gamma=share) <= 1


@given(st.lists(fractions, min_size=4, max_size=4), shares, st.integers(0, 3), fractions)
def test_scores_never_fall_where_the_distilled_set_does_better(accuracies, share, place, other):
    low, high = (
        [*accuracies[:place], value, *accuracies[place + 1 :]] for value in sorted((accuracies[place], other))
    )
    for score, rises, option in ((lrs, (1, 2), "weight"), (ars, (0, 2), "gamma")):
        worse, better = (low, high) if place in rises else (high, low)
        assert score(*worse, **{option: share}) <= score(*better, **{option: share})


@given(st.lists(st.floats(0, 0.9), min_size=4, max_size=4), st.integers(0, 3))
def test_scores_rise_with_each_accuracy_by_a_visible_amount(accuracies, place):
    higher = [*accuracies[:place], accuracies[place] + 0.1, *accuracies[place + 1 :]]
    least = 0.05 * math.exp(-1) / (math.e - math.exp(-1)) - 1e-12  # the map is flattest at a = −1
    for score, rises in ((lrs, (1, 2)), (ars, (0, 2))):
        sign = 1 if place in rises else -1
        assert sign * (score(*higher) - score(*accuracies)) >= least


@given(fractions, fractions, st.floats(0.01, 1))
def test_relative_accuracy_rises_with_the_distilled_set_and_falls_with_the_full_one(distilled, other, full):
    def relative(distilled, full):
        return RELATIVE._compute([distilled], [full])["relative_accuracy"]

    low, high = sorted((distilled, other))
    assert 0 <= relative(low, full) <= relative(high, full)
    assert relative(low, full) >= relative(low, 1)
    assert relative(min(low, full), full) <= 1


@settings(max_examples=30)
@given(st.lists(st.tuples(*[fractions] * 4), min_size=1, max_size=5))
def test_a_score_is_that_of_the_means(rows):
    columns = dict(zip(LRS, zip(*rows, strict=True), strict=True))
    found = memory(LabelRobustScore).compute(**columns)["label_robust_score"]
    assert found == pytest.approx(lrs(*(sum(column) / len(column) for column in columns.values())), abs=1e-12)


def test_one_number_stands_for_all_rows():
    alone = memory(RelativeAccuracy).compute(distilled=[0.6, 0.8, 0.7], full=0.9)
    assert alone == memory(RelativeAccuracy).compute(distilled=[0.6, 0.8, 0.7], full=[0.9] * 3)


def test_students_are_added_one_by_one_or_in_batches():
    one, batch = memory(RelativeAccuracy), memory(RelativeAccuracy)
    for accuracy in (0.6, 0.8):
        one.add(distilled=accuracy, full=0.9)
    batch.add_batch(distilled=[0.6, 0.8], full=0.9)
    assert one.compute() == batch.compute() == {"relative_accuracy": pytest.approx(0.7 / 0.9)}


@pytest.mark.parametrize("value", [85.2, 1.0001, -0.1, math.nan])
@pytest.mark.parametrize("name", LRS)
def test_percentages_are_refused(name, value):
    metric = memory(LabelRobustScore)
    with pytest.raises(DataError, match=f"{name} holds .*, but accuracies are fractions in .0, 1. here: divide perc"):
        metric.compute(**taken(*LRS, **{name: [0.5, value]}))
    metric.compute(**taken(*LRS))  # what was refused is forgotten


def test_other_inputs_that_are_refused():
    with pytest.raises(DataError, match="This score needs distilled, full, not full"):
        memory(RelativeAccuracy).compute(full=0.9)
    with pytest.raises(ConfigError, match="No metric takes distiled; they take full, distilled, "):
        memory(RelativeAccuracy).compute(full=0.9, distiled=0.8)
    with pytest.raises(DataError, match="or their mean alone, not distilled 3, full 2 of them"):
        memory(RelativeAccuracy).compute(distilled=[0.5] * 3, full=[0.9] * 2)
    with pytest.raises(DataError, match="distilled has the shape .0,.: give one accuracy for each student"):
        memory(RelativeAccuracy).compute(distilled=[], full=0.9)
    with pytest.raises(DataError, match="Nothing is relative to an accuracy of 0"):
        memory(RelativeAccuracy).compute(distilled=0.5, full=0.0)
    with pytest.raises(ConfigError, match="The weight of a score lies in .0, 1., not at 1.5"):
        memory(LabelRobustScore).compute(**taken(*LRS), weight=1.5)


def test_each_folder_is_a_module_and_says_what_it_takes():
    assert sorted(path.name for path in FOLDER.iterdir() if (path / f"{path.name}.py").exists()) == sorted(NAMES)
    for name in NAMES:
        metric = metric_of(name)
        assert (metric.name, metric.module_type) == (name, "metric")
        assert metric.description and metric.inputs_description
        assert all(column in metric.inputs_description for column in metric.features)
        assert set(metric.features) <= scores.ACCURACIES.keys() | {"predictions", "references"}
    assert "2505.13300" in metric_of("label_robust_score").citation == metric_of("augmentation_robust_score").citation


@pytest.mark.parametrize("name", NAMES[1:])
def test_loaded_by_path_it_gives_the_same(name):
    own = {"augmentation_robust_score": AugmentationRobustScore, "label_robust_score": LabelRobustScore}
    metric = own.get(name, RelativeAccuracy)
    loaded = evaluate.load(str(FOLDER / name))
    assert type(loaded) is not metric  # evaluate's own copy of the script
    assert loaded.compute(**taken(*loaded.features)) == memory(metric).compute(**taken(*loaded.features))


def test_all_of_them_combine_on_the_same_inputs():
    combined = evaluate.combine([str(FOLDER / name) for name in NAMES])
    students = {name: [value - 0.01, value, value + 0.01] for name, value in BY_HAND.items()}
    found = combined.compute(predictions=[0, 1, 1, 2], references=[0, 1, 2, 2], **students, weight=0.9, gamma=0)
    assert found == {
        "accuracy": 0.75,
        "augmentation_robust_score": pytest.approx(0.228454, abs=1e-6),
        "improvement_with_augmentation": pytest.approx(0.2),
        "improvement_without_augmentation": pytest.approx(-0.1),
        "label_robust_score": pytest.approx(0.389783, abs=1e-6),
        "hard_label_recovery": pytest.approx(0.2),
        "improvement_over_random": pytest.approx(0.3),
        "relative_accuracy": pytest.approx(0.7 / 0.9),
    }


def test_two_of_one_combine_under_their_names():
    combined = evaluate.combine({"dm": RelativeAccuracy(), "clom": RelativeAccuracy()})
    combined.add_batch(distilled=[0.6, 0.7], full=[0.9, 0.9])
    assert combined.compute() == {f"{name}_relative_accuracy": pytest.approx(0.65 / 0.9) for name in ("dm", "clom")}


def test_metrics_load_without_a_network(run_python, tmp_path):
    code = f"""
import socket
socket.socket.connect = lambda *args: (_ for _ in ()).throw(RuntimeError("it went to the network"))
import evaluate
found = evaluate.combine([{str(FOLDER / "relative_accuracy")!r}, {str(FOLDER / "label_robust_score")!r}])
print(found.compute(**{taken(*LRS)!r})["relative_accuracy"])
"""
    done = run_python("-c", code, HF_HOME=tmp_path)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(0.7 / 0.9)
