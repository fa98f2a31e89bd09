"""Results for people: tables in markdown, and plots."""

import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_dd.errors import ConfigError
from hf_dd.evaluation.results import Results, Row
from hf_dd.teachers.teacher import TeacherSpec


def comparison(results: Results, about: dict[str, dict[str, Any]]) -> str:
    """Several sets beside each other, in markdown: accuracies, intervals, sizes, and differences from the first set.

    Args:
        results: of all sets; a difference is paired by the student's seed.
        about: for a set's name what else there is to say of it, e.g. {"teachers": 2}.
    """
    columns = list(dict.fromkeys(key for facts in about.values() for key in facts))
    head = ["set", "copy", "student", "accuracy (%)", "95 % interval", "n", "against the first"]
    head += ["epochs", "rate", "ipc", "bytes"]
    lines = ["| " + " | ".join(head + columns) + " |", "|" + "---|" * (len(head) + len(columns))]
    for index, row in enumerate(results.rows):
        first = next(i for i, other in enumerate(results.rows) if other.architecture == row.architecture)
        cells = [row.set.replace("|", "\\|"), row.copy, row.architecture, f"{row.mean:.2f} ± {row.std:.2f}"]
        cells += [interval_of(row), str(row.n), difference(results, index, first)]
        cells += [str(row.epochs), f"{row.learning_rate:g}{' (own)' if row.own_learning_rate else ''}"]
        cells += [str(row.ipc), row.storage]
        cells += [str(about.get(row.set, {}).get(key, "–")) for key in columns]
        lines.append("| " + " | ".join(cells) + " |")
    note = (
        f"Protocol {results.protocol}, last epoch, on {results.hardware}. Accuracy: mean ± standard deviation over n "
        "students; intervals are those of means, at 95 % (Student's t). A set's own rate was learned with its images."
        f"{taught(results)}"
    )
    several = [matrix(results), ""] if len(results.architectures) > 1 else []
    return "\n".join([*lines, "", *several, *([scores(results), ""] if results.scores else []), note, ""])


def taught(results: Results) -> str:
    """Whose soft labels the students learned from, as sentences with a space before them; nothing for hard labels."""
    by = {row.teaching: None for row in results.rows if row.teaching}
    sentences = [f" Labels: {'; '.join(by)}."] if by else []
    for teacher in results.teachers:
        digest = teacher["sha"].removeprefix("sha256:")[:8]
        sentences.append(f" {digest} is {teacher['repo_id']}@{teacher['revision']}, {teacher['bytes']:,} bytes.")
    return "".join(sentences)


def difference(results: Results, index: int, first: int) -> str:
    """A row's mean difference from the first row of its architecture, paired, with its interval."""
    row = results.rows[index]
    if index == first or row.n < 2:
        return "–"
    return str(results.difference(index, first))


def interval_of(row: Row) -> str:
    """The confidence interval of a row's mean."""
    return "–" if row.half_width is None else f"[{row.mean - row.half_width:.2f}, {row.mean + row.half_width:.2f}]"


def scores(results: Results) -> str:
    """The scores, in markdown, with the mean accuracies (%) that each was computed from and their protocols."""
    lines = ["| set | copy | student | score | value | of |", "|" + "---|" * 6]
    for score in results.scores:
        inputs = "; ".join(f"{name} {row.mean:.2f} ({row.protocol})" for name, row in score.inputs.items())
        cells = [score.set.replace("|", "\\|"), score.copy, score.architecture, score.name, f"{score.value:.4f}"]
        lines.append("| " + " | ".join([*cells, inputs]) + " |")
    return "\n".join(lines)


def matrix(results: Results) -> str:
    """Sets against architectures, in markdown."""
    architectures = results.architectures
    lines = ["| set | copy | " + " | ".join(architectures) + " |", "|" + "---|" * (2 + len(architectures))]
    found = {(row.set, row.copy, row.architecture): f"{row.mean:.2f} ± {row.std:.2f}" for row in results.rows}
    for name, copy in dict.fromkeys((row.set, row.copy) for row in results.rows):
        cells = [found[name, copy, architecture] for architecture in architectures]
        lines.append("| " + " | ".join([name, copy, *cells]) + " |")
    return "\n".join(lines)


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table in markdown; a cell that is None is a dash."""
    texts = [["–" if cell is None else str(cell).replace("|", "\\|") for cell in row] for row in rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *texts])


def teacher_table(specs: Sequence[TeacherSpec], used_in: Mapping[str, Sequence[str]] | None = None) -> str:
    """Teachers in markdown, with the paper's options where they are known, and what each is used in, by its sha."""
    rows = []
    for spec in specs:
        library = "" if spec.library == "hf_dd" else f" ({spec.library})"
        accuracy = None if spec.accuracy is None else f"{100 * spec.accuracy:.2f} %"
        seconds = None if spec.seconds is None else f"{spec.seconds:.0f} s"
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


def plot(results: Results, path: Path) -> None:
    """Accuracies with their confidence intervals, a group of bars for each architecture, as a PNG.

    Raises ConfigError where matplotlib isn't installed.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    architectures = results.architectures
    names = list(dict.fromkeys((row.set, row.copy) for row in results.rows))
    figure = Figure(figsize=(max(6, 1.2 * len(architectures) * len(names)), 4.5))
    axis = figure.subplots()
    width = 0.8 / len(names)
    for place, (name, copy) in enumerate(names):
        rows = [row for row in results.rows if (row.set, row.copy) == (name, copy)]
        at = [architectures.index(row.architecture) + width * (place - (len(names) - 1) / 2) for row in rows]
        errors = [row.half_width or 0 for row in rows]
        axis.bar(at, [row.mean for row in rows], width, yerr=errors, capsize=3, label=f"{name} [{copy}]")
    axis.set_xticks(range(len(architectures)), architectures)
    axis.set_ylabel("test accuracy (%)")
    lowest = min(row.mean - (row.half_width or 0) for row in results.rows)
    axis.set_ylim(bottom=max(0, lowest - 5))
    axis.set_title(f"protocol {results.protocol}; bars: 95 % intervals of means", fontsize=9)
    axis.legend(fontsize=8)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
