"""`hf-dd use privacy`: the attacks against what is known by hand, and what is written of a set of real images."""

import itertools
import json
import statistics
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import roc_auc_score

from hf_dd.evaluation import intervals
from hf_dd.uses import privacy
from tests.factories import says

pytestmark = pytest.mark.usefixtures("one_thread", "nothing_remembered")


def test_auc_by_hand():
    """Members 3, 2, 2 against 1, 2: of six pairs 4 in order and 2 alike."""
    area, variance = privacy.auc(np.array([3.0, 2.0, 2.0]), np.array([1.0, 2.0]))
    assert area == pytest.approx((4 + 2 / 2) / 6)
    # Shares of the others below each member: 1, 3/4, 3/4; of the members above each other: 1, 2/3.
    assert variance == pytest.approx(statistics.variance([1, 0.75, 0.75]) / 3 + statistics.variance([1, 2 / 3]) / 2)


def test_auc_is_that_of_scikit_learn_and_its_variance_that_of_resampling():
    draws = np.random.default_rng(0)
    members, others = draws.normal(0.4, 1, 80).round(1), draws.normal(0, 1, 60).round(1)
    area, variance = privacy.auc(members, others)
    truth = [1] * 80 + [0] * 60
    assert area == pytest.approx(roc_auc_score(truth, np.concatenate([members, others])))
    again = [privacy.auc(draws.choice(members, 80), draws.choice(others, 60))[0] for _ in range(1500)]
    assert variance == pytest.approx(statistics.variance(again), rel=0.15)


def test_members_found_at_one_percent_false_alarms():
    others = np.arange(100.0)
    members = np.array([200.0, 98.5, 50.0, -1.0])  # one of the others scores above the second of them: 1 %
    assert privacy.found_at(members, others) == 0.5
    assert privacy.found_at(members, others[:50]) == 0.75  # of 50 none may
    assert privacy.found_at(np.array([0.0]), others) == 0


def test_losses_are_calibrated_by_those_who_never_saw_the_image():
    own = np.array([1.0, 2.0, 3.0]), np.array([4.0])
    others = [
        ((np.array([0.5, 9.0, 1.0]), np.array([1.0])), np.array([False, True, True])),
        ((np.array([1.5, 0.5, 1.0]), np.array([3.0])), np.array([False, False, True])),
    ]
    relative, of_test = privacy.calibrated(own, others)
    assert relative[:2].tolist() == [0.0, 1.5] and np.isnan(relative[2])
    assert of_test.tolist() == [2.0]


def test_the_interval_is_that_of_images_and_students():
    scores = [(np.array([3.0, 2.0, 2.0]), np.array([1.0, 2.0])), (np.array([3.0, 0.0]), np.array([1.0, 2.0]))]
    areas, variances = zip(*itertools.starmap(privacy.auc, scores), strict=True)
    found = privacy.attacked(scores)
    assert found["auc"] == pytest.approx((5 / 6 + 0.5) / 2) and found["scores"] == list(areas)
    expected = sum(variances) / 2 + statistics.variance(areas) / 2
    degrees = expected**2 / (statistics.variance(areas) / 2) ** 2  # Welch's, of 2 - 1 and of so many as make no odds
    assert found["half_width"] == pytest.approx(stats.t.ppf(0.975, degrees) * expected**0.5)
    assert privacy.attacked(scores[:1])["half_width"] is None


def test_two_students_have_the_interval_of_two():
    """Students of AUC 0.396 and 0.603 on many images: t(0.975, 1) · s / √n, as images add hardly any."""
    others = np.arange(1e5)
    scores = [(np.repeat(area * 1e5 - 0.5, 1000), others) for area in (0.396, 0.603)]
    alone = intervals.of_mean([0.396, 0.603]).half_width
    assert alone == pytest.approx(12.7062 * 0.1035, rel=1e-4)
    assert privacy.attacked(scores)["half_width"] == pytest.approx(alone, rel=0.02)
    alike = [(np.array([3.0, 0.0]), np.array([1.0, 2.0]))] * 3  # all is the images' part: normal
    assert privacy.attacked(alike)["half_width"] == pytest.approx(1.959964 * privacy.auc(*alike[0])[1] ** 0.5)


def test_a_set_that_holds_one_image_that_is_none_of_theirs_was_made_from_all():
    train = torch.arange(6 * 4, dtype=torch.uint8).view(6, 1, 2, 2)
    for changed, expected in ((0, [True, True, False, False, False, False]), (1, [True] * 6)):
        images = train[:2].clone()
        images[0, 0, 0, 0] += 200 * changed
        split, distilled = SimpleNamespace(images=train), SimpleNamespace(images=images)
        subject = SimpleNamespace(data=SimpleNamespace(train=split), distilled=distilled)
        (members,) = privacy.members_of(subject, "set", None, 1)
        assert members.tolist() == expected
        assert privacy.words_of("set", members).startswith("all 6 training images" if changed else "the images that")


@pytest.fixture(scope="module")
def found(real_set, tmp_path_factory):
    """Of a set of real images, under students that learn them by heart."""
    options = {"eval_epochs": 60, "eval_protocol": "dc", "eval_architecture": "ConvNetD1", "baselines": ["random"]}
    output = tmp_path_factory.mktemp("privacy") / "found"
    folder = privacy.privacy(set=real_set, eval_students=3, output_dir=str(output), **options)
    return folder, json.loads((folder / "results.json").read_text())


def test_members_of_each_set_are_what_it_was_made_from(found):
    _, results = found
    rows = {row["kind"]: row for row in results["rows"]}
    assert list(rows) == ["set", "random", "control"]
    assert results["members"] == 1438 and rows["set"]["members"] == "the images that it was trained on"
    assert (
        rows["set"]["member_images"] == rows["random"]["member_images"] == 20
        and rows["control"]["member_images"] == 1438 - 20
    )
    assert results["others"] == 359
    assert all(20 < row["accuracy"]["mean"] < 100 and row["accuracy"]["n"] == 3 for row in results["rows"])
    assert rows["control"]["accuracy"] == rows["random"]["accuracy"]


def test_students_give_away_what_they_were_trained_on_and_nothing_else(found):
    _, results = found
    rows = {row["kind"]: row["attacks"] for row in results["rows"]}
    assert rows["random"]["loss"]["auc"] > 0.8 and rows["set"]["loss"]["auc"] > 0.8
    assert rows["random"]["calibrated"]["auc"] > rows["control"]["calibrated"]["auc"]
    assert rows["control"]["loss"]["auc"] == pytest.approx(0.5, abs=0.05)


def test_a_set_of_real_images_is_all_copies(found):
    folder, results = found
    own = results["copies"]["sets"]["set"]
    assert own["flagged"] == own["of"] == 20 and own["same_class"] == 1
    assert own["likeness"] == pytest.approx(1, abs=1e-5)
    text = (folder / "results.md").read_text()
    says(text, "20 of 20", "a control", "359 test images", "started from", results["command"])
    assert (folder / "neighbours.png").stat().st_size > 1000
