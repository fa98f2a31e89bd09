"""Tables and plots of results: what they say of one student, and where their bars begin."""

import dataclasses

import pytest

from hf_dd.errors import ConfigError
from hf_dd.evaluation import intervals, report, tables
from hf_dd.evaluation.protocols import PROTOCOLS
from hf_dd.evaluation.results import Results, Row


def row(name, architecture="ConvNet", scores=(80.0, 82.0), **changes):
    interval = intervals.of_mean(scores)
    std = 0.0 if len(scores) < 2 else 2**0.5
    facts = {"copy": "float", "protocol": "dsa v1", "learning_rate": 0.01, "epochs": 300, "seconds": 1.0, "ipc": 10}
    facts |= {"bytes": 10, "n": len(scores), "mean": interval.mean, "std": std, "half_width": interval.half_width}
    return Row(set=name, architecture=architecture, scores=tuple(scores), **facts | changes)


def results(*rows):
    return Results(PROTOCOLS["dsa"], rows, "CPU, 1 process of 1 thread")


@pytest.fixture
def both():
    """A set and random images, with two architectures."""
    rows = [
        made
        for name in ("ConvNet", "MLP")
        for made in (
            row("digits-dm-ipc1", name),
            row("random real, ipc 1", name, (60.0, 61.0), copy="8bit", baseline="random"),
        )
    ]
    return results(*rows)


def test_one_student_has_no_spread_and_no_interval():
    one = row("set", scores=(81.0,))
    alone = results(one, row("set", "MLP", (70.0,)))
    assert str(one).startswith("set [float] ConvNet: 81.00 (n=1), 300 epochs at 0.01")
    assert str(row("set")).startswith("set [float] ConvNet: 81.00 ± 1.41 (n=2), ")
    text = report.comparison(alone, {}) + repr(alone) + str(intervals.of_mean([7.0]))
    assert "± 0.00" not in text and "inf" not in text and "nan" not in text
    assert "| set | float | ConvNet | 81.00 | – | 1 |" in text
    assert "| set | float | 81.00 | 70.00 |" in text
    assert text.endswith("7.00 (n = 1)") and intervals.of_mean([7.0]).half_width is None
    assert str(intervals.of_mean([6.0, 8.0])) == "7.00 [-5.71, 19.71]"  # t(0.975, 1) = 12.706


def test_cards_and_comparisons_say_the_same_of_a_row():
    one = row("set", own_learning_rate=True, looks=1, best_of_looks=83.0, backbone="sha256:" + "d" * 64)
    for text in (tables.of_results(results(one).as_dict()), report.comparison(results(one), {"set": {"teachers": 2}})):
        for cell in (
            "ConvNet (`sha256:dddddddddddd`)",
            "0.01 (the set's own)",
            "best of 1 look at the test split 83.00",
        ):
            assert f"| {cell} |" in text
        assert "steps" not in text and "labels |" not in text
    assert text.splitlines()[2].endswith("| bytes | beside it | teachers |")


def test_a_table_of_teachers_says_what_may_use_pickles_and_lies_in_memory():
    facts = {"revision": "final", "architecture": "Net", "seed": 0, "epoch": None, "dataset": None, "accuracy": 0.5}
    local = facts | {"repo_id": "memory:a", "sha": "sha256:" + "1" * 64, "library": "torch"}
    there = facts | {"repo_id": "me/b", "sha": "2" * 40, "library": "timm", "trusted": True, "seconds": 90.0}
    first, second = tables.teachers([local, there], "https://hub.example").splitlines()[2:]
    assert first.endswith("| in memory, weights `sha256:111111111111` | Net (torch) | 0 | – | – | 50.00 % | – |")
    link = f"[`22222222`](https://hub.example/me/b/tree/{'2' * 40})"
    assert second == f"| me/b | final | {link} | Net (timm, pickles and code allowed) | 0 | – | – | 50.00 % | 90 s |"
    assert f"| {'2' * 40} | Net (timm, pickles and code allowed) |" in tables.teachers([local, there])


def test_bars_begin_at_zero_and_random_images_are_among_them(both):
    panels = {
        name: [report.bar_of(row) for row in both.rows if row.architecture == name] for name in ("ConvNet", "MLP")
    }
    figure = report.bars(panels, "protocol dsa v1")
    assert [axis.get_title() for axis in figure.axes] == ["ConvNet", "MLP"]
    for axis in figure.axes:
        assert axis.get_xlim()[0] == 0 and [patch.get_x() for patch in axis.patches] == [0, 0]
        assert [patch.get_width() for patch in axis.patches] == [81.0, 60.5]
        assert [text.get_text() for text in axis.texts] == ["81.0", "60.5"]
        lines = [line for line in axis.lines if line.get_linestyle() == "--"]
        assert [line.get_xdata()[0] for line in lines] == [60.5]
        assert axis.patches[0].get_facecolor() != axis.patches[1].get_facecolor()
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["random real, ipc 1", "digits-dm-ipc1 [float]"]  # from below


def test_a_plot_is_written_whole_or_not_at_all(both, tmp_path, monkeypatch):
    report.plot(both, tmp_path / "new/plot.png")
    before = (tmp_path / "new/plot.png").read_bytes()
    assert before.startswith(b"\x89PNG") and len(list((tmp_path / "new").iterdir())) == 1
    from matplotlib.figure import Figure

    def interrupted(self, place, **options):
        place.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(Figure, "savefig", interrupted)
    with pytest.raises(KeyboardInterrupt):
        report.plot(both, tmp_path / "new/plot.png")
    assert [path.read_bytes() for path in (tmp_path / "new").iterdir()] == [before]


def test_a_single_student_is_plotted_without_an_interval(tmp_path):
    report.plot(results(row("set", scores=(81.0,))), tmp_path / "plot.png")
    assert (tmp_path / "plot.png").is_file()


def test_without_matplotlib_a_plot_is_refused(both, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "can_plot", lambda: False)
    with pytest.raises(ConfigError, match=r"pip install hf-dd\[plots\]"):
        report.plot(both, tmp_path / "plot.png")
    assert not list(tmp_path.iterdir()) and dataclasses.is_dataclass(both)
