"""Regimes: sets and real images under hard labels, one soft label per image, and fresh ones, side by side."""

import json

import pytest

import hf_dd
from hf_dd.artefacts import comparison
from hf_dd.config import EvaluateConfig
from hf_dd.errors import ConfigError, DataError
from hf_dd.evaluation import intervals, regimes, verdict
from hf_dd.evaluation.teaching import tempered
from tests.evaluation.test_verdict import results, row

pytestmark = pytest.mark.usefixtures("one_thread", "nothing_remembered")


@pytest.fixture(scope="module")
def compared(tmp_path_factory, tiny_teachers):
    """A set of digits without soft labels, compared in three regimes, by two students of three epochs."""
    root = tmp_path_factory.mktemp("regimes")
    options = {"ipc": 2, "iterations": 2, "real_batch_size": 4, "architecture_options": ["width=8"]}
    folder = hf_dd.distill(output_dir=str(root / "set"), eval_students=0, **options).folder
    options = {"eval_students": 2, "eval_epochs": 3, "eval_architectures": ["MLP"], "eval_copies": ["float"]}
    options |= {"baselines": ["random", "herding", "full"], "eval_teachers": tiny_teachers.references[:1]}
    hf_dd.compare(sets=[str(folder)], regimes=["hard", "soft", "online"], output_dir=str(root / "c"), **options)
    return root


def test_every_regime_has_the_set_and_the_same_real_images(compared):
    found = json.loads((compared / "c/results.json").read_text())
    names = ["set", "random real, ipc 2", "herding, ipc 2", "full set, 20 images an epoch"]
    assert [(row["regime"], row["set"]) for row in found["rows"]] == [
        (regime, name) for regime in ("hard", "soft", "online") for name in names
    ]
    assert {regime: own["name"] for regime, own in found["protocols"].items()} == {
        "hard": "hl",
        "soft": "sl",
        "online": "sl-kd",
    }
    for each in found["rows"]:
        soft = each["regime"] != "hard"
        assert each["steps"] == 3 and each["images_seen"] == 60  # the full set's, too
        assert each["temperature"] == (20.0 if soft else None) and len(each["taught_by"]) == soft
        assert each["teacher_calls"] == {"hard": 0, "online": 60}.get(each["regime"], each["teacher_calls"])
        assert each["draws"] == (4 if each["baseline"] == "random" else None) and len(each["scores"]) == 2
    soft = [each for each in found["rows"] if each["regime"] == "soft"]
    assert [each["soft_label_bytes"] for each in soft[:3]] == [20 * 10 * 4] * 3
    assert soft[3]["teacher_calls"] * 40 == soft[3]["soft_label_bytes"]


def test_gains_are_over_random_images_of_the_same_regime(compared):
    found = json.loads((compared / "c/results.json").read_text())
    rows = {(each["regime"], each["baseline"]): each for each in found["rows"]}
    text = (compared / "c/comparison.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("| set | float | MLP |")]
    for regime in ("hard", "soft", "online"):
        gain = intervals.of_difference(rows[regime, None]["scores"], rows[regime, "random"]["scores"])
        assert str(gain) in lines[0]
        assert verdict.REGIMES[regime] in text
    assert len(lines) == 4 and (compared / "c/comparison.png").read_bytes().startswith(b"\x89PNG")
    assert "Protocol hl v1, changed: augment" in text and "sl-kd v1" in text and "epoch_images 20" in text


def test_a_card_names_the_regimes(compared):
    card = (compared / "set/README.md").read_text()
    assert "(n = 2, MLP, hard labels)" in card and "(n = 2, MLP, soft labels of every view)" in card
    assert "| set | copy | bytes | student | labels | accuracy |" in card and "| 2 on 4 draws | 3 | 3 |" in card
    assert (compared / "set/results.png").is_file() and "Only soft labels" not in card


def test_results_on_soft_labels_alone_say_so():
    rows = [row("set", [80.0, 81.0], regime="online"), row("r", [70.0, 71.0], baseline="random", regime="online")]
    first, second = verdict.sentences(results(*rows))
    assert "(n = 2, ConvNet, soft labels of every view)" in first
    assert second.startswith("Only soft labels were evaluated") and "arXiv 2604.18811" in second
    both = [*rows, row("set", [60.0, 61.0], regime="hard"), row("r", [61.0, 60.0], baseline="random", regime="hard")]
    said = verdict.sentences(results(*both))
    assert len(said) == 2 and said[1].startswith("No better than random") and "hard labels)" in said[1]


def test_draws_of_random_images_add_to_the_spread(tmp_path, compared):
    options = {"eval_epochs": 20, "eval_architectures": ["MLP"], "eval_copies": [], "baselines": ["random"]}
    folder = str(compared / "set")
    shared = {"sets": [folder], "output_dir": str(tmp_path), **options}
    one = hf_dd.evaluate(**shared, eval_students=2).rows[0]
    three = hf_dd.evaluate(**shared, eval_students=2, random_draws=3).rows[0]
    assert (one.draws, three.draws, three.n, len(three.scores)) == (2, 6, 2, 2)
    alone = hf_dd.evaluate(**shared, eval_students=1, random_draws=3).rows[0]
    assert alone.scores[0] == pytest.approx(three.scores[0]) and alone.std > 0 and alone.half_width is None


def test_the_best_of_the_looks_is_beside_the_last_epoch(tmp_path, compared, tiny_teachers):
    options = {"eval_epochs": 20, "eval_architectures": ["MLP"], "eval_copies": ["float"], "baselines": ["none"]}
    options |= {"eval_teachers": tiny_teachers.references[:1], "eval_students": 1, "best_of_looks": True}
    found = hf_dd.evaluate(sets=[str(compared / "set")], output_dir=str(tmp_path), eval_protocol="rded", **options)
    (own,) = found.rows
    assert own.looks == 1 and own.best_of_looks == own.mean  # one look, after the last epoch
    assert f"best of 1 look at the test split {own.mean:.2f}" in str(own)
    assert "here: batch_size 15, views" in own.protocol and own.steps == 40


def test_a_label_at_another_temperature_is_what_the_teacher_says_there():
    import torch

    logits = torch.tensor([[3.0, -1.0, 0.5], [0.0, 9.0, -20.0]])
    for own, wanted in ((1.0, 20.0), (4.0, 1.2), (2.0, 2.0)):
        torch.testing.assert_close(tempered((logits / own).softmax(1), own, wanted), (logits / wanted).softmax(1))
    each = torch.stack([logits, logits.roll(1, 1)], 1)
    torch.testing.assert_close(tempered(each.softmax(2), 1.0, 4.0), (each / 4).softmax(2).mean(1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"regimes": ["warm"]}, "--regimes: unknown regime 'warm'"),
        ({"regimes": ["hard", "hard=dsa"]}, "the regime hard comes twice"),
        ({"regimes": ["hard=dsaa"]}, "--regimes: the protocol dsaa isn't known"),
        ({"regimes": ["hard"], "eval_protocol": "rded"}, "--eval_protocol rded is one protocol"),
        ({"regimes": ["hard"], "scores": ["relative_accuracy"]}, "--scores are of one protocol"),
    ],
)
def test_regimes_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        EvaluateConfig(sets=["somewhere"], **options)


def test_a_protocol_stands_in_its_own_regime():
    found = regimes.protocols_of(EvaluateConfig(sets=["x"], regimes=["hard=minimax-hard", "online=rded"]))
    assert [own.name for own in found.values()] == list(found) == ["minimax-hard", "rded"]
    with pytest.raises(
        ConfigError, match="--regimes hard=rded: students of the protocol rded learn from soft labels of"
    ):
        regimes.protocols_of(EvaluateConfig(sets=["x"], regimes=["hard=rded"]))


def test_what_a_protocol_needs_is_asked_for_before_any_student(compared, monkeypatch):
    monkeypatch.setattr("hf_dd.evaluation.learners.Learners.train", None)
    for options, error, message in [
        ({"eval_protocol": "sl"}, ConfigError, "made without teachers.*--eval_teachers"),
        ({"eval_protocol": "rded"}, ConfigError, "made without teachers.*--eval_teachers"),
        ({"regimes": ["hard", "soft"]}, ConfigError, "made without teachers.*--eval_teachers"),
        ({"eval_protocol": "sre2l-fkd", "baselines": ["none"]}, (DataError, ConfigError), "no stored labels of crops"),
        ({"eval_protocol": "dc", "best_of_looks": True}, ConfigError, "--best_of_looks: the protocol dc quotes"),
        ({"eval_protocol": "hl", "eval_teachers": ["a/b"]}, ConfigError, "--eval_teachers has no effect"),
    ]:
        with pytest.raises(error, match=message):
            hf_dd.evaluate(sets=[str(compared / "set")], **options)


def test_rows_made_again_are_compared_in_their_own_regime():
    shared = {"architecture": "MLP", "copy": "float", "n": 2, "epochs": 3, "learning_rate": 0.01, "half_width": 1.0}
    there = [shared | {"regime": "hard", "mean": 60.0}, shared | {"regime": "soft", "mean": 70.0}]
    here = [shared | {"regime": "soft", "mean": 71.0}, shared | {"regime": "hard", "mean": 61.0}]
    assert [(own.there, own.here) for own in comparison.rows_apart(there, here)] == [(60.0, 61.0), (70.0, 71.0)]
    old = [{key: value for key, value in there[0].items() if key != "regime"}]  # of a version without regimes
    assert [own.here for own in comparison.rows_apart(old, here[1:])] == [61.0]
