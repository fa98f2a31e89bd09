"""Results for people: tables in markdown, and plots."""

import importlib.util
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_dd import hub
from hf_dd.core import files
from hf_dd.core.text import markdown, table
from hf_dd.errors import ConfigError
from hf_dd.evaluation import tables, verdict
from hf_dd.evaluation.regimes import audit
from hf_dd.evaluation.results import Results, Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def comparison(results: Results, about: dict[str, dict[str, Any]]) -> str:
    """Several sets beside each other, in markdown: what they give, accuracies, sizes, differences from the first set.

    Args:
        results: of all sets; a difference is paired by the student's seed.
        about: for a set's name what else there is to say of it, e.g. {"teachers": 2}.
    """
    facts, several = results.as_dict(), len(results.protocols) > 1
    more = []
    for index, row in enumerate(results.rows):
        like = (row.architecture, row.regime)
        first = next(i for i, other in enumerate(results.rows) if (other.architecture, other.regime) == like)
        apart = None if index == first else results.difference(index, first)
        more.append({"difference": apart} | about.get(row.set, {}))
    columns = dict.fromkeys([*tables.COMPARED, *(key for said in about.values() for key in said)])
    rows = tables.of_results(facts, list(columns), more, accuracy="accuracy (%)", interval="95 % interval")
    found = [f"- {markdown(sentence)}" for sentence in verdict.sentences(facts)]
    under = "; ".join(dict.fromkeys(row.protocol for row in results.rows)) if several else str(results.protocol)
    note = (
        f"Protocol {markdown(under)}, last epoch, {markdown(results.place)}. Accuracy: mean ± "
        "standard deviation over n students; intervals are those of means, at 95 % (Student's t). A set's own rate "
        "was learned with its images."
        f"{markdown(taught(results))}"
    )
    audited = table(*audit(results)) if several else ""
    parts = ["\n".join(found), audited, rows, tables.matrix(facts), tables.scores(facts), note]
    return "\n\n".join(filter(None, parts)) + "\n"


def taught(results: Results) -> str:
    """Whose soft labels the students learned from, as sentences with a space before them; nothing for hard labels."""
    by = {row.teaching: None for row in results.rows if row.teaching}
    sentences = [f" Labels: {'; '.join(by)}."] if by else []
    for teacher in results.teachers:
        digest = hub.digits(teacher["sha"])
        sentences.append(f" {digest} is {teacher['repo_id']}@{teacher['revision']}, {teacher['bytes']:,} bytes.")
    return "".join(sentences)


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
        labels = f", {verdict.regime_in_words(row.regime)}" if results.protocols else ""
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
