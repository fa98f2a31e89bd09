"""What is told of a run's progress: to a log, on a terminal, and by which process."""

import ast
import contextlib
import itertools
import logging
import os
import pty
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from huggingface_hub.utils import tqdm as of_the_hub

import hf_dd
from hf_dd import cli, hub
from hf_dd.core import progress
from hf_dd.core.progress import Phase, over, say_if_dear


class Clock:
    now = 1_000.0

    def __call__(self):
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """A clock that the test moves by `clock.now += seconds`."""
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", clock)
    monkeypatch.setattr(progress, "_looked", [0.0])
    return clock


@pytest.fixture
def told(caplog):
    """Gives what was told since it was last asked."""
    caplog.set_level(logging.INFO, "hf_dd")

    def take():
        messages = list(caplog.messages)
        caplog.clear()
        return messages

    return take


def work(clock, phase, steps, seconds=1.0):
    for _ in range(steps):
        clock.now += seconds
        phase.update()


def test_a_phase_is_one_line_at_its_end(clock, told):
    batches = iter(over([256, 256, 88], "decoding train", 600, "image", lambda size: size))
    for _ in batches:
        assert told() == []
        clock.now += 1.5
    assert told() == ["decoding train: 600 images in 4.5 s"]


def test_what_takes_less_than_a_second_is_not_told(clock, told):
    with Phase("decoding train", 600, "image") as phase:
        work(clock, phase, 9, 0.1)
    assert told() == []


def test_a_log_hears_of_a_long_phase_ever_more_rarely(clock, told):
    lines = []
    with Phase("dm", 7_200, "iteration", done=10) as phase:
        phase.note = "total 0.5"
        for step in range(1, 7_191):
            work(clock, phase, 1, 10)
            lines += [(10 * step, line) for line in told()]
    assert lines[0] == (20, "dm: 12 of 7,200 iterations in 20 s, about 20.0 h left (total 0.5)")
    seconds = [second for second, _ in lines]
    assert seconds[:9] == [20, 70, 140, 280, 560, 1120, 2240, 4040, 5840]
    assert {later - earlier for earlier, later in itertools.pairwise(seconds[8:])} == {1800}
    assert told() == ["dm: 7,190 iterations in 20.0 h (total 0.5)"]


def test_what_is_nearly_done_after_ten_seconds_says_nothing_before_its_end(clock, told):
    with Phase("dm", 15, "iteration") as phase:
        work(clock, phase, 15)
        assert told() == []
    assert told() == ["dm: 15 iterations in 15 s"]


def test_the_first_step_is_not_the_pace(clock, told):
    with Phase("dm", 1_000, "iteration") as phase:
        clock.now += 100  # of compiling, or of a pass over the real set
        phase.update()
        assert told() == [] and phase.left is None
        work(clock, phase, 1)
    assert told()[0] == "dm: 2 of 1,000 iterations in 101 s, about 17 min left"


@pytest.mark.parametrize(
    "seconds, lines",
    [
        (4.0, ["dm: 20,000 iterations, about 22.2 h on this machine; --minutes N plans for less"]),
        (0.05, ["dm: 201 of 20,000 iterations in 10 s, about 16 min left"]),
    ],
)
def test_a_long_time_comes_with_what_to_do_about_it_once(clock, told, seconds, lines):
    with Phase("dm", 20_000, "iteration", advice="--minutes N plans for less") as phase:
        while clock.now < 1_030:
            work(clock, phase, 1, seconds)
        assert told() == lines


def test_phases_within_another_count_there_and_say_nothing_of_their_own(clock, told):
    with Phase("evaluation", 200, "student", count=3) as outer:
        outer.skip(50)  # one is remembered
        for student, epochs in enumerate((100, 50)):
            with Phase(f"student {student}", epochs, "epoch", share=epochs) as inner:
                work(clock, inner, epochs // 2)
                assert outer.reached == (25 if student else 0) + epochs // 2 + (75 if student else 0)
                work(clock, inner, epochs - epochs // 2)
            assert inner.fraction == 1
    lines = told()
    assert lines[0] == "evaluation: 0 of 2 students in 10 s, about 140 s left; student 0: 10 of 100 epochs"
    assert lines[-1] == "evaluation: 2 students in 150 s"
    assert not any(line.startswith("student") for line in lines)


def test_a_loop_over_phases_counts_nothing_twice(clock):
    with Phase("outer") as outer:
        for _ in over([1, 2], "teachers", 2, "teacher"):
            teachers = progress.open_phase()
            with Phase("scores", 4, "image", share=1) as inner:
                work(clock, inner, 4)
    assert teachers.done == 2 and outer.done == 0


def test_an_error_that_is_kept_keeps_no_phase_open():
    def interrupted():
        for _ in over([1, 2], "images", 2, "image"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as kept:  # as a notebook keeps it in sys.last_exc
        interrupted()
    assert kept.value.__traceback__ and progress.open_phase() is None


def test_no_name_holds_what_is_gone_over():
    for path in Path(progress.__file__).parents[1].rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            held = isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
            assert not held or getattr(node.value.func, "id", "") != "over", (path.name, node.lineno)


def test_a_phase_that_fails_says_nothing_and_is_gone(clock, told):
    def torn():
        abandoned = Phase("abandoned", 10, "step")
        work(clock, abandoned, 5)
        raise ValueError

    with pytest.raises(ValueError), Phase("failing", 10, "step"):
        torn()
    with Phase("next", 3, "step") as phase:
        assert phase.around is None
        work(clock, phase, 3)
    assert told() == ["next: 3 steps in 3.0 s"]


def test_only_the_first_process_tells(clock, told, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with Phase("dm", 100, "iteration") as phase:
        work(clock, phase, 100)
    progress.say("something")
    assert told() == [] and progress.open_phase() is None


def test_what_is_dear_is_said_before_it_starts(told):
    say_if_dear("full set, ConvNet", 60_000, 300, 5)
    say_if_dear("mine, ConvNet", 10, 300, 5)
    assert told() == ["full set, ConvNet: 5 to be trained on 60,000 images for 300 epochs"]


@pytest.mark.parametrize("name", ["TQDM_DISABLE", "HF_HUB_DISABLE_PROGRESS_BARS"])
def test_bars_are_switched_off_the_usual_ways(monkeypatch, name):
    module = sys.modules[of_the_hub.__module__]
    monkeypatch.setattr(progress, "is_terminal", lambda: True)
    monkeypatch.setattr(module, "HF_HUB_DISABLE_PROGRESS_BARS", name.startswith("HF") or None)
    monkeypatch.setattr(module, "progress_bar_states", {})
    monkeypatch.setenv("TQDM_DISABLE", str(int(name == "TQDM_DISABLE")))
    assert not progress.draws_bars()
    monkeypatch.setattr(module, "HF_HUB_DISABLE_PROGRESS_BARS", None)
    monkeypatch.delenv("TQDM_DISABLE")
    assert progress.draws_bars()
    module.disable_progress_bars("hf_dd")
    assert not progress.draws_bars()


# --- a command on a terminal


def shown(raw, columns=100):
    """The lines that a terminal shows in the end, and those that a bar ever was on."""
    lines, bars, row, column = [""], [], 0, 0
    for text, up in re.findall(r"([^\x1b]+)|\x1b\[(A)", raw.replace("\x1b[K", "")):
        row -= bool(up)
        for part in re.findall(r"\r|\n|[^\r\n]+", text):
            if part == "\r":
                column = 0
            elif part == "\n":
                row += 1
                lines += [""] * (row == len(lines))
            else:
                lines[row] = lines[row].ljust(column)[:column] + part + lines[row][column + len(part) :]
                column += len(part)
                assert column <= columns, part
                bars += [part] * ("%|" in part)
    return [line.rstrip() for line in lines], bars


def test_a_command_on_a_terminal(tmp_path, monkeypatch, capsys):
    master, terminal = pty.openpty()
    reader = ThreadPoolExecutor().submit(all_of, master)
    monkeypatch.undo()  # the clock
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(progress, "UNTOLD", 0)
    monkeypatch.setattr(progress, "REFRESH", 0)
    monkeypatch.setattr(sys.modules[of_the_hub.__module__], "HF_HUB_DISABLE_PROGRESS_BARS", None)
    monkeypatch.delenv("TQDM_DISABLE")
    monkeypatch.setattr(logging.root, "handlers", [])
    with os.fdopen(terminal, "w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        grid = ["--architectures", "MLP", "--teacher_seeds", "0", "1", "--epochs", "2", "--keep_epochs", "1", "2"]
        cli.main(["pretrain", "--dataset", "digits", *grid, "--output_dir", "teachers"])
    raw = reader.result()
    lines, bars = shown(raw)
    folders = [f"teachers/digits-mlp-seed{seed}" for seed in (0, 1)]
    assert capsys.readouterr().out.splitlines() == [f"teacher: {folder}" for folder in folders]
    assert lines[:2] == ["hf-dd pretrain: loading libraries", "reading digits"]
    told = [re.fullmatch(r"(.* epoch \d): loss \d+\.\d{4}, accuracy +\d+\.\d\d %, \d+ s", line) for line in lines]
    assert [line[1] for line in told if line] == [
        f"digits-mlp-seed{seed} epoch {epoch}" for seed in (0, 1) for epoch in (1, 2)
    ]
    left = [line for line in lines if "%|" in line]  # the outermost phases' bars alone
    assert any(re.fullmatch(r"100%\|█{10}\| teachers: 2 teachers in [\d.]+ s", line) for line in left)
    assert not any("MLP seed" in line for line in left)
    for seed in (0, 1):
        # The time that is left is told from a twentieth of a second on, which a fast machine doesn't take.
        assert any(re.search(rf" s(, about [\d.]+ s left)? \| MLP seed {seed}: [01] of 2 epochs", bar) for bar in bars)


def all_of(master):
    raw = b""
    with contextlib.suppress(OSError):  # once the other end is closed
        while part := os.read(master, 1 << 16):
            raw += part
    os.close(master)
    return raw.decode()


# --- whoever keeps an error, as a notebook keeps the last one, keeps what it met


def unlucky(*_, **__):
    raise RuntimeError("no luck")


DIGITS = {"dataset": "digits", "architecture_options": ["width=4", "depth=1"]}
FEW = DIGITS | {"ipc": 1, "objective": "random"}


@pytest.mark.parametrize(
    ("place", "work"),
    [
        (
            "distillation.distiller.Distiller.step",
            lambda: hf_dd.distill(**DIGITS, ipc=1, iterations=2, eval_students=0),
        ),
        ("evaluation.learners.fit", lambda: hf_dd.distill(**FEW, eval_students=1, eval_epochs=[1])),
        ("training.pretraining.fit", lambda: hf_dd.pretrain(**DIGITS, epochs=1, architectures=["ConvNet"])),
        (
            "synthetic.coresets.fit",
            lambda: hf_dd.distill(**FEW | {"objective": "herding"}, selection_epochs=1, eval_students=0),
        ),
        ("teachers.pool.locate", lambda: hf_dd.TeacherPool.from_references(["a/b", "a/c"])),
        (
            "teachers.pool.load_teacher",
            lambda: hf_dd.TeacherPool.from_files([(hub.Pin("a/b", "main", "0" * 40), Path("a"))] * 2),
        ),
    ],
    ids=["distillation", "students", "teachers", "selection", "teachers' places", "teachers' files"],
)
def test_no_phase_stays_open_after_an_error_that_is_kept(place, work, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(f"hf_dd.{place}", unlucky)
    with pytest.raises(RuntimeError, match="no luck") as kept:
        work()
    assert kept.value.__traceback__ and progress.open_phase() is None
