"""What an evaluation is said to have found: gains with their intervals, students at chance, losses still falling."""

import dataclasses
import math

import pytest
import torch

from hf_dd.config import DataConfig
from hf_dd.core import processes
from hf_dd.data.image_data import Split, load_data
from hf_dd.evaluation import candidates, convergence, intervals, verdict
from hf_dd.evaluation.evaluation import Evaluation
from hf_dd.evaluation.learners import Learners
from hf_dd.evaluation.protocols import PROTOCOLS


def row(name, scores, architecture="ConvNet", baseline=None, **changes):
    """A row of results, as a record has it."""
    interval = intervals.of_mean(scores)
    std = torch.tensor(scores).std().item() if len(scores) > 1 else 0.0
    facts = {"set": name, "copy": "8bit" if baseline else "float", "architecture": architecture, "n": len(scores)}
    facts |= {"mean": interval.mean, "std": std, "half_width": interval.half_width, "scores": scores, "ipc": 1}
    return facts | {"epochs": 300, "baseline": baseline} | changes


def results(*rows, **more):
    return {"rows": list(rows)} | more


def said(own, random=None, herding=None, **more):
    rows = [row("set", own)]
    for kind, scores in (("random", random), ("herding", herding)):
        rows += [row(f"{kind}, ipc 1", scores, baseline=kind)] if scores else []
    return verdict.sentences(results(*rows, **more))[0]


def test_a_gain_is_paired_by_the_students_and_has_its_interval():
    # Differences of 12, 13, 14 and of 3, 4, 5: t(0.975, 2) = 4.30265 of a standard error of 1 / 3 ** 0.5.
    assert said([80.0, 82.0, 84.0], [68.0, 69.0, 70.0], [77.0, 78.0, 79.0]) == (
        "+13.0 points [10.5, 15.5] over random images, +4.0 [1.5, 6.5] over herding (n = 3, ConvNet, hard labels)."
    )


def test_what_does_not_beat_the_selection_says_to_use_that():
    assert said([80.0, 82.0, 84.0], [68.0, 69.0, 70.0], [80.0, 83.0, 83.0]) == (
        "+13.0 points [10.5, 15.5] over random images, no better than herding (+0.0 [-2.5, 2.5]): use that (n = 3, "
        "ConvNet, hard labels)."
    )
    assert "worse than herding (-4.0 [-6.5, -1.5]): use that" in said(
        [70.0, 72.0, 74.0], [60.0] * 3, [75.0, 76.0, 77.0]
    )
    assert said([70.0, 72.0], [71.0, 70.0]) == (
        "No better than random images (+0.5 points [-18.6, 19.6]) (n = 2, ConvNet, hard labels); no selection such as "
        "herding was evaluated beside it."
    )


@pytest.mark.parametrize(
    ("gains", "words"),
    [
        ([0.1, 1.0, 2.2], "maybe +1.1 [-1.5, 3.7] over herding: three students leave that open, more would tell ("),
        # Below its standard error of 0.36.
        ([0.1, 1.0, -0.2], "no better than herding (+0.3 [-1.3, 1.9]): use that ("),
        ([0.1, 1.0, 2.2, -0.1], "maybe +0.8 [-0.9, 2.5] over herding: four students leave that open"),
        ([0.1, 1.0, 2.2, -0.1, -0.1], "no better than herding (+0.6 [-0.6, 1.9]): use that ("),
    ],
)
def test_up_to_four_students_leave_open_what_more_would_tell(gains, words):
    own = [80.0 + each for each in gains]
    assert words in said(own, [60.0] * len(gains), [80.0] * len(gains))


def test_two_students_leave_open_what_more_would_tell():
    # Differences of 6 and 5, of 4 and 3: t(0.975, 1) = 12.7062 of a standard error of 0.5.
    assert said([80.0, 81.0], [74.0, 76.0], [76.0, 78.0]) == (
        "Maybe +5.5 points [-0.9, 11.9] over random images, maybe +3.5 [-2.9, 9.9] over herding: two students leave "
        "that open, more would tell (n = 2, ConvNet, hard labels)."
    )
    # Differences of 2 and 0.1, whose mean is just above its standard error of 0.95, and of 2 and -0.1, whose isn't.
    assert "maybe +1.0" in said([80.0, 81.0], [60.0, 61.0], [78.0, 80.9])
    assert "no better than herding (+1.0 [-12.4, 14.3]): use that" in said([80.0, 81.0], [60.0, 61.0], [78.0, 81.1])
    # Of random images alone it may be open; herding is what there is to use.
    assert said([80.0, 81.0], [74.0, 76.0], [81.0, 82.0]).startswith(
        "Maybe +5.5 points [-0.9, 11.9] over random images, worse than herding (-1.0 [-1.0, -1.0]): use that"
    )


def test_a_single_student_has_no_interval():
    assert said([80.0], [70.0], [81.0]) == (
        "Maybe +10.0 points over random images, no better than herding (-1.0): use that (n = 1, ConvNet, hard labels; "
        "a single student has no interval)."
    )
    assert said([80.0], [70.0], [79.9]) == (
        "Maybe +10.0 points over random images, maybe +0.1 over herding: a single student leaves that open, more "
        "would tell (n = 1, ConvNet, hard labels)."
    )


def test_a_set_that_is_the_selection_itself_is_not_to_be_replaced_by_it():
    assert said([52.0, 54.0], [50.0, 51.0], [52.0, 54.0]) == (
        "Maybe +2.5 points [-3.9, 8.9] over random images, the same as herding (n = 2, ConvNet, hard labels)."
    )


def test_a_set_alone_says_how_to_learn_what_it_gains():
    assert said([80.0, 81.0]).endswith(
        "(n = 2, ConvNet, hard labels); --baselines random herding tells what it gains."
    )


def test_the_best_selection_of_the_sets_own_size_is_what_counts():
    both = [row(kind, [value] * 2, baseline=kind) for kind, value in (("herding", 60.0), ("k-centers", 65.0))]
    larger = row("herding, ipc 10", [90.0] * 2, baseline="herding", ipc=10)
    full = row("full set", [99.0] * 2, baseline="full", ipc="9–11")
    (sentence,) = verdict.sentences(results(row("set", [70.0, 70.0]), larger, *both, full))
    assert sentence.startswith("+5.0 points [5.0, 5.0] over k-centers (")


def test_soft_labels_beside_hard_ones_are_named():
    rows = [row("set", [80.0, 81.0], temperature=4.0), row("r", [70.0, 71.0], baseline="random")]
    words = "(n = 2, ConvNet, a soft label per image; the set taught by soft labels, the real images by hard ones)"
    assert words in verdict.sentences(results(*rows))[0]
    rows[1]["temperature"] = 4.0  # online, from the same teachers
    assert "by hard ones" not in verdict.sentences(results(*rows))[0]


def test_several_architectures_are_one_sentence_and_several_sets_one_each():
    rows = []
    for number, architecture in enumerate(("ConvNet", "MLP", "LeNet", "VGG11", "AlexNet", "ResNet18")):
        rows += [row(name, [70.0 + number, 72.0 + number], architecture) for name in ("one", "two")]
        rows.append(row("random", [60.0, 61.5], architecture, "random"))
        rows.append(row("herding", [72.0, 74.5], architecture, "herding"))
    first, second = verdict.sentences(results(*rows))
    assert first.startswith("one: ConvNet: +10.2 points [") and second.startswith("two: ConvNet: +10.2 points [")
    assert first.count("over random images") == 6 and "; so use herding (n = 2, hard labels); " not in first
    assert first.endswith("; so use herding (n = 2, hard labels).") and len(first) < 700


def test_distillations_are_what_counts_where_there_are_several():
    many = [
        results(row(f"set-seed{seed}", [60.0 + seed, 62.0 + seed]), row("r", [50.0, 52.0], baseline="random"))
        for seed in (0, 1, 2)
    ]
    assert verdict.gain(many).startswith(
        "+11.0 points [8.5, 13.5] over random images (n = 3 distillations × 2 students"
    )


def test_two_distillations_leave_open_what_more_would_tell():
    random = row("r", [55.0, 57.0], baseline="random")
    two = [results(row(f"set-seed{seed}", [60.0 + seed, 62.0 + seed]), random) for seed in (0, 1)]
    assert "+5.5 points [-0.9, 11.9] over random images: two distillations leave that open" in verdict.gain(two)


def test_of_shared_students_what_is_open_is_told_by_both_spreads():
    """Gains of 3, 1, -2.2 and 2.9, 1.1, -2.3: a mean of 0.58, a standard error of 1.5, nearly all of the students."""
    random = row("r", [50.0] * 3, baseline="random")
    gains = [[3.0, 1.0, -2.2], [2.9, 1.1, -2.3]]
    two = [results(row(f"set-seed{seed}", [50.0 + each for each in own]), random) for seed, own in enumerate(gains)]
    over = verdict.difference([each["rows"][0] for each in two], [random] * 2, shared=True)
    assert over.mean == pytest.approx(0.5833, abs=1e-4) and over.error == pytest.approx(1.5195, abs=0.01)
    assert verdict.gain(two).startswith("no better than random images (+0.6 points [")


def test_students_at_chance_are_no_result():
    rows = [
        row("set", [70.4 + each for each in (-2, 0, 2)]),
        row("random", [60.0, 61.0, 62.0], baseline="random"),
        row("set", [10.0, 10.1, 10.2], "LeNet"),
        row("random", [10.0, 10.2, 10.1], "LeNet", "random"),
    ]
    found = results(*rows, majority=67.9, chance=50.0)
    first, *doubts, last = verdict.sentences(found)
    assert "LeNet: all students at chance, which says nothing of the set" in first
    assert doubts == ["ConvNet students are no better than guessing.", "LeNet students are no better than guessing."]
    assert last == "Always guessing the commonest class gives 67.9 %, guessing at random 50.0 %."
    found["majority"] = 20.0
    assert [verdict.mark(each, found) for each in rows] == ["", "", " (at chance)", " (at chance)"]
    two = row("set", [45.0, 55.0])  # whose interval would hold all rates
    assert two["half_width"] > 60 and not verdict.at_chance(two, found)


@pytest.mark.parametrize(
    ("scores", "chance"),
    [([13.9, 30.6], False), ([13.0, 30.6], True), ([10.3, 13.0, 14.0], True), ([10.3, 13.6, 14.0], False)],
)
def test_chance_is_told_by_the_number_of_test_images(scores, chance):
    """Two standard errors of 10.3 % of 359 images are 3.2 points."""
    found = results(majority=10.3, chance=10.0, test_images=359)
    assert verdict.at_chance(row("set", scores), found) is chance
    assert verdict.at_chance(row("set", [20.0]), found | {"test_images": 10})


def test_the_full_set_is_beside_random_images_of_one_size_alone():
    full, small = row("full", [60.0, 62.0], baseline="full", ipc=None), row("r1", [50.0, 51.0], baseline="random")
    large = row("r3", [57.0, 58.0], baseline="random", ipc=3)
    assert verdict.over_random(full, results(full, small)).mean == pytest.approx(10.5)
    assert verdict.over_random(full, results(full, small, large)) is None


def test_distillations_that_share_their_students_share_what_these_vary():
    random = row("r", [50.0, 58.0], baseline="random")
    own = [row("set", [60.0 + each, 61.0 + each]) for each in (0, 1, 2)]
    assert "+7.5 points [5.0, 10.0] over random images" in verdict.gain(
        [results(each, random, seed=2 * seed) for seed, each in enumerate(own)]
    )
    assert "maybe +7.5 points [-32.4, 47.4] over random images: three distillations leave that open" in (
        verdict.gain([results(each, random) for each in own])
    )


FALLS = [2.3 * math.exp(-epoch / 40) for epoch in range(1000)]


@pytest.mark.parametrize(
    ("losses", "hard", "needed"),
    [
        (FALLS[:300], True, None),
        (FALLS[:100], True, 100 * math.log(3) / (100 * 7 / 32 / 40)),  # as for an exponential, nearly
        (
            [1.5 + each / 10 for each in FALLS[:100]],
            False,
            100 * math.log(3) / (100 * 7 / 32 / 40),
        ),  # as of soft labels
        ([2.3 - epoch / 1000 for epoch in range(100)], True, math.inf),
        ([2.3] * 100, True, math.inf),
        ([2.3, *[2.25] * 99], True, math.inf),  # flat, but nothing is learned yet
        ([2.3, *[2.25] * 99], False, None),  # of soft labels it may be all that there is
        ([2.3, *[2.3] * 29, *[0.8] * 6, *[0.1] * 64], True, None),  # late, but learned
        ([2.3, *[2.3] * 17, *[0.8] * 10, *[0.1] * 72], False, 146),
        (FALLS[:5], True, None),  # too few to tell
        ([2.3, float("nan"), *[1.0] * 20], True, None),
    ],
)
def test_the_epochs_that_are_needed_follow_from_how_the_loss_fell(losses, hard, needed):
    found = convergence.epochs_needed(convergence.stretches(torch.tensor(losses)), len(losses), hard)
    assert found == (None if needed is None else pytest.approx(needed, rel=0.2))


def test_who_was_still_learning_is_said_with_the_epochs_that_are_needed():
    slow = {"losses": [2.3, 2.0, 1.8, 1.7], "epochs": 100}
    rows = [row("set", [50.0, 51.0], **slow), row("random", [40.0, 41.0], baseline="random", epochs=100)]
    found = results(*rows)
    assert verdict.sentences(found)[1:] == [
        "ConvNet students hadn't converged after 100 epochs (on set): by how their losses fell, about 280 are needed "
        "(--eval_epochs 280)."
    ]
    assert [verdict.mark(each, found) for each in rows] == [" (not converged)", ""]
    rows[1] |= {"losses": [2.3, 2.29, 2.2, 2.1]}
    assert verdict.sentences(found)[1] == (
        "ConvNet students hadn't converged after 100 epochs: several times as many are needed, as their losses hadn't "
        "begun to slow down."
    )


@pytest.mark.usefixtures("one_thread", "nothing_remembered")
def test_an_evaluation_gives_what_the_sentences_are_made_of(monkeypatch):
    data = load_data(DataConfig())
    labels = data.test.labels.clone()
    labels[: len(labels) // 2] = 3
    data = dataclasses.replace(data, test=Split(data.test.images, labels))
    protocol = PROTOCOLS["dc"].with_changes(epochs=16)

    def run():
        evaluation = Evaluation(data, protocol, seed=0, accelerator=processes.new_accelerator("no"))
        own = dataclasses.replace(candidates.random_real(data, 1, 0, 0), name="set", baseline=None)
        return evaluation.run([own, candidates.baseline("random", data, 1, 0, None)], ["MLP"], 2)

    found = run()
    assert found.majority == pytest.approx(100 * (labels == 3).double().mean().item()) and found.chance == 10
    for each in found.rows:
        first, quarter, half, last = each.losses
        assert 2 < last < half < quarter < first < 2.6
    assert "MLP students hadn't converged after 16 epochs: several times" in repr(found)
    assert "students are no better than guessing.\n" in repr(found) and "(at chance)" in repr(found)
    monkeypatch.setattr(Learners, "train", None)
    assert run().rows == found.rows  # from the cache, losses and all
    assert found.as_dict()["majority"] == found.majority


def test_a_sentence_that_begins_with_an_architecture_of_timm_leaves_its_name():
    rows = [row("a", [10.0, 10.0], architecture=name) for name in ("timm/resnet10t", "ConvNet")]
    first, *_ = verdict.sentences(results(*rows, chance=10.0, majority=10.0))
    assert first.startswith("timm/resnet10t: ")
