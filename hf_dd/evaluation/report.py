"""Results for people: tables in markdown, and plots."""

import importlib.util
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_dd import hub
from hf_dd.core import files
from hf_dd.core.text import duration, markdown
from hf_dd.errors import ConfigError
from hf_dd.evaluation import intervals, verdict
from hf_dd.evaluation.regimes import audit
from hf_dd.evaluation.results import Results, Row
from hf_dd.teachers.teacher import TeacherSpec

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def comparison(results: Results, about: dict[str, dict[str, Any]]) -> str:
    """Several sets beside each other, in markdown: what they give, accuracies, sizes, differences from the first set.

    Args:
        results: of all sets; a difference is paired by the student's seed.
        about: for a set's name what else there is to say of it, e.g. {"teachers": 2}.
    """
    columns = list(dict.fromkeys(key for facts in about.values() for key in facts))
    several = len(results.protocols) > 1
    looked = any(row.looking for row in results.rows)
    head = ["set", "copy", "student", *["labels"] * several, "accuracy (%)", "95 % interval", "n", "against the first"]
    head += ["epochs", "steps", "rate", "ipc", "bytes", *["beside it"] * looked]
    rows, facts = [], results.as_dict()
    for index, row in enumerate(results.rows):
        like = (row.architecture, row.regime)
        first = next(i for i, other in enumerate(results.rows) if (other.architecture, other.regime) == like)
        accuracy = row.accuracy + verdict.mark(facts["rows"][index], facts)
        drawn = f"{row.n} on {row.draws} draws" if (row.draws or row.n) > row.n else row.n
        cells = [row.set, row.copy, row.architecture, *[verdict.in_words(row.regime)] * several]
        cells += [accuracy, intervals.of_accuracy(row.mean, row.half_width), drawn]
        cells += [None if index == first else results.difference(index, first), row.epochs]
        cells += [None if row.steps is None else f"{row.steps:,}"]
        cells += [f"{row.learning_rate:g}{' (own)' if row.own_learning_rate else ''}", row.ipc, row.storage]
        cells += [row.looking or None] * looked
        rows.append(cells + [about.get(row.set, {}).get(key) for key in columns])
    if results.majority is not None:
        blank = [None] * (len(head) - 4 - several + len(columns))
        rows.append([verdict.COMMONEST, None, None, *[None] * several, f"{results.majority:.2f}", *blank])
    found = [f"- {markdown(sentence)}" for sentence in verdict.sentences(facts)]
    under = "; ".join(dict.fromkeys(row.protocol for row in results.rows)) if several else str(results.protocol)
    note = (
        f"Protocol {markdown(under)}, last epoch, {markdown(results.place)}. Accuracy: mean ± "
        "standard deviation over n students; intervals are those of means, at 95 % (Student's t). A set's own rate "
        "was learned with its images."
        f"{markdown(taught(results))}"
    )
    regimes = [table(*audit(results))] if several else []
    crossed = [matrix(results)] if len(results.architectures) > 1 and not several else []
    scored = [scores(results)] if results.scores else []
    return "\n\n".join(["\n".join(found), *regimes, table(head + columns, rows), *crossed, *scored, note]) + "\n"


def taught(results: Results) -> str:
    """Whose soft labels the students learned from, as sentences with a space before them; nothing for hard labels."""
    by = {row.teaching: None for row in results.rows if row.teaching}
    sentences = [f" Labels: {'; '.join(by)}."] if by else []
    for teacher in results.teachers:
        digest = hub.digits(teacher["sha"])
        sentences.append(f" {digest} is {teacher['repo_id']}@{teacher['revision']}, {teacher['bytes']:,} bytes.")
    return "".join(sentences)


def scores(results: Results) -> str:
    """The scores, in markdown, with the mean accuracies (%) that each was computed from and their protocols."""
    rows = []
    for score in results.scores:
        inputs = "; ".join(f"{name} {row.mean:.2f} ({row.protocol})" for name, row in score.inputs.items())
        rows.append([score.set, score.copy, score.architecture, score.name, f"{score.value:.4f}", inputs])
    return table(["set", "copy", "student", "score", "value", "of"], rows)


def matrix(results: Results) -> str:
    """Sets against architectures, in markdown."""
    facts = results.as_dict()
    found = {
        (row.set, row.copy, row.architecture): row.accuracy + verdict.mark(each, facts)
        for row, each in zip(results.rows, facts["rows"], strict=True)
    }
    sets = dict.fromkeys((row.set, row.copy) for row in results.rows)
    rows = [[*each, *(found[*each, architecture] for architecture in results.architectures)] for each in sets]
    return table(["set", "copy", *results.architectures], rows)


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table in markdown; a cell that is None is a dash."""
    texts = [["–" if cell is None else markdown(cell) for cell in row] for row in [head, *rows]]
    lines = ["| " + " | ".join(cells) + " |" for cells in texts]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def teacher_table(specs: Sequence[TeacherSpec], used_in: Mapping[str, Sequence[str]] | None = None) -> str:
    """Teachers in markdown, with the paper's options where they are known, and what each is used in, by its sha."""
    rows = []
    for spec in specs:
        library = "" if spec.library == "hf_dd" else f" ({spec.library})"
        accuracy = None if spec.accuracy is None else f"{100 * spec.accuracy:.2f} %"
        seconds = None if spec.seconds is None else duration(spec.seconds)
        row = [spec.repo_id, spec.revision, spec.sha, f"{spec.architecture}{library}", spec.seed, spec.epoch]
        row += [spec.dataset, accuracy, seconds]
        rows.append([*row, ", ".join(used_in[spec.sha])] if used_in else row)
    head = ["teacher", "revision", "sha", "architecture", "seed", "epoch", "trained on", "accuracy", "took"]
    return table([*head, "used in"] if used_in else head, rows)


def can_plot() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def require_matplotlib() -> None:
    """Raise ConfigError, before anything is trained for a plot, where matplotlib isn't installed."""
    if not can_plot():
        raise ConfigError("A plot needs matplotlib: pip install hf-dd[plots]")


@dataclass(frozen=True)
class Bar:
    """A bar of a plot: its label, a mean accuracy in percent, and what kind of real images it is of, if of such."""

    label: str
    mean: float
    half_width: float | None
    baseline: str | None = None


def plot(results: Results, path: Path) -> None:
    """Write accuracies with their intervals as a PNG, a panel for each architecture and regime.

    Raises ConfigError where matplotlib isn't installed.
    """
    panels: dict[str, list[Bar]] = {}
    for row in results.rows:
        labels = f", {verdict.in_words(row.regime)}" if results.protocols else ""
        panels.setdefault(f"{row.architecture}{labels}", []).append(bar_of(row))
    names = ", ".join(f"{each['name']} v{each['version']}" for each in results.protocols.values())
    write_bars(panels, f"protocols {names}" if names else f"protocol {results.protocol}", path)


def bar_of(row: Row) -> Bar:
    """A row as a bar."""
    return Bar(row.set if row.baseline else f"{row.set} [{row.copy}]", row.mean, row.half_width, row.baseline)


def write_bars(panels: Mapping[str, Sequence[Bar]], title: str, path: Path) -> None:
    """Write `bars` as a PNG; raises ConfigError where matplotlib isn't installed."""
    require_matplotlib()
    write_figure(bars(panels, title), path)


def write_figure(figure: "Figure", path: Path) -> None:
    """Write a figure as a PNG, whole or not at all."""
    files.write(path, lambda place: figure.savefig(place, format="png", dpi=120, bbox_inches="tight"))


def bars(panels: Mapping[str, Sequence[Bar]], title: str) -> "Figure":
    """Bars from zero with their intervals, in panels beside each other that share the labels at their left.

    Real images are grey, and a dashed line goes on from a single random baseline.
    """
    from matplotlib.figure import Figure

    every = [bar for drawn in panels.values() for bar in drawn]
    labels = list(dict.fromkeys(bar.label for bar in every))[::-1]
    limit = 1.2 * max(bar.mean + (bar.half_width or 0) for bar in every)
    width = 6.5 if len(panels) == 1 else min(18, 3.2 * len(panels))
    figure = Figure(figsize=(width, 1.2 + 0.32 * len(labels)), layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, (name, drawn) in zip(axes, panels.items(), strict=True):
        for bar in drawn:
            colour = "0.65" if bar.baseline else "tab:blue"
            one = axis.barh(labels.index(bar.label), bar.mean, 0.7, xerr=bar.half_width, color=colour, capsize=3)
            axis.bar_label(one, fmt="%.1f", padding=4, fontsize=8)
        random = [bar.mean for bar in drawn if bar.baseline == "random"]
        if len(random) == 1:
            axis.axvline(*random, color="0.4", linestyle="--", linewidth=1)
        axis.set_xlim(0, limit)
        axis.set_xticks([tick for tick in range(0, 101, 20) if tick <= limit])
        axis.set_yticks(range(len(labels)), labels)
        axis.set_ylim(-0.6, len(labels) - 0.4)
        axis.tick_params(labelsize=8)
        axis.set_title(name if len(panels) == 1 else textwrap.fill(name, 32), fontsize=9)
    dashed = "; dashed: random real images" if any(axis.lines for axis in axes) else ""
    figure.supxlabel(f"test accuracy (%), 95 % intervals of means; {title}{dashed}", fontsize=8)
    return figure
