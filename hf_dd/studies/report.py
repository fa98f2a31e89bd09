"""What a study found: its cells beside real images, the differences between them with intervals, a plot."""

import logging
import statistics
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_dd import hub
from hf_dd.artefacts.provenance import versions
from hf_dd.core import files, json_records
from hf_dd.core.text import Markdown, code, duration, markdown, table
from hf_dd.errors import RunError
from hf_dd.evaluation import intervals, report, tables, verdict
from hf_dd.evaluation.protocols import in_words
from hf_dd.studies import curves
from hf_dd.studies.outcomes import Gain, Outcome, paired_gain, rows_of

logger = logging.getLogger(__name__)

MARKDOWN, JSON, RECIPE = "report.md", "report.json", "study.yaml"
PLOT, TIMES = "report.png", "times.png"


def write_report(
    folder: Path,
    outcomes: Mapping[str, Outcome],
    comparisons: Mapping[str, Sequence[tuple[str, str]]],
    lines: Mapping[str, Sequence[str]],
    traces: Mapping[str, Path],
    *,
    title: str,
    command: str,
) -> None:
    """Write `report.md`, `report.json` and, where matplotlib is installed, the plots into a folder.

    Args:
        folder: of the report.
        outcomes: by a cell's name.
        comparisons: by a comparison's name the pairs of cells whose mean difference it is.
        lines: by a curve's name its cells, which differ in how long they take.
        traces: by a pool's name the trace of the search that chose it.
        title: of the report.
        command: that the study is run by.
    """
    searches = {name: json_records.read_json(path) for name, path in traces.items()}
    gains, unlike = compared(outcomes, comparisons)
    times, about, plotted = curves.curves(outcomes, lines), made_by(outcomes, command), report.can_plot()
    parts = [f"# {markdown(title)}", *([f"![Accuracies of the cells]({PLOT})"] if plotted else []), about_table(about)]
    parts += ["## Accuracies", verdicts(outcomes), cell_table(outcomes)]
    if any(len(outcome.scores) > 1 for outcome in outcomes.values()):
        parts.append(architecture_table(outcomes))
    if comparisons:
        parts += ["## Comparisons", *([gain_table(gains, comparisons)] if gains else [])]
        parts += [f"{markdown(name)} can't be told. {markdown(why)}" for name, why in unlike.items()]
    if several := {name: found for name, found in gains.items() if len(found.of_each) > 1}:
        parts.append(gains_of_each(several))
    if times:
        seen = [f"![Accuracy against minutes]({TIMES})"] if plotted else []
        parts += ["## Accuracy against time", *seen, curves.table(times)]
    if any(outcome.teachers for outcome in outcomes.values()):
        parts += ["## Teachers", teacher_table(outcomes), *pool_table(outcomes)]
    if searches:
        parts += ["## Pools", search_table(searches)]
    files.write_text(folder / MARKDOWN, "\n\n".join(parts) + "\n")
    content = about | {
        "cells": {name: outcome.as_dict() for name, outcome in outcomes.items()},
        "comparisons": {name: found.as_dict() for name, found in gains.items()},
        "curves": curves.as_json(times),
        "pools": searches,
        "versions": versions(),
    }
    files.write_json(folder / JSON, content)
    if not times:
        files.remove(folder / TIMES)  # of a recipe that had some
    if plotted:
        plot(folder, outcomes, times)
    logger.info("The report is %s.", folder / MARKDOWN)


def compared(
    outcomes: Mapping[str, Outcome], comparisons: Mapping[str, Sequence[tuple[str, str]]]
) -> tuple[dict[str, Gain], dict[str, str]]:
    """What each comparison gives, and why the others can't be made, which the log tells too."""
    gains, unlike = {}, {}
    for name, pairs in comparisons.items():
        try:
            gains[name] = paired_gain(outcomes, pairs)
        except RunError as error:  # all that the cells cost isn't lost for it
            unlike[name] = str(error)
            logger.warning("The comparison %s can't be made: %s", name, error)
    return gains, unlike


def made_by(outcomes: Mapping[str, Outcome], command: str) -> dict[str, Any]:
    """What made a study: the command, the code, the hardware."""
    records = [record for outcome in outcomes.values() for record in outcome.records]
    return {
        "command": command,
        "code": sorted({f"hf-dd {record['versions']['hf-dd']}" for record in records}),
        "hardware": sorted({place["hardware"] for record in records for place in (record["run"], record["results"])}),
    }


def plot(folder: Path, outcomes: Mapping[str, Outcome], times: curves.Curves) -> None:
    """Write the cells as bars, and the curves, where there are any, beside what real images reach."""
    report.write_bars({students_in_words(outcomes): bars_of(outcomes)}, "of each cell's first copy", folder / PLOT)
    if times:
        found = baseline_rows(outcomes)
        real = {label: row["mean"] for label, (_, row) in zip(named(found), found, strict=True)}
        hardware = {record["run"]["hardware"] for outcome in outcomes.values() for record in outcome.records}
        report.write_figure(curves.picture(times, real, "; ".join(sorted(hardware))), folder / TIMES)


def about_table(about: Mapping[str, Any]) -> str:
    """What made a study, in markdown: its recipe, the command, the code, the hardware."""
    rows = [
        ["recipe", Markdown(f"[{RECIPE}]({RECIPE})")],
        ["command", code(about["command"])],
        ["code", "; ".join(about["code"])],
        ["hardware", "; ".join(about["hardware"])],
    ]
    return table(["made", "by"], rows)


def spread(scores: Sequence[float]) -> str:
    """Mean and standard deviation in words."""
    return intervals.spread(statistics.fmean(scores), statistics.stdev(scores) if len(scores) > 1 else 0, len(scores))


def students_in_words(outcomes: Mapping[str, Outcome]) -> str:
    """The architectures that the cells' accuracies are of."""
    return " and ".join(sorted({outcome.first for outcome in outcomes.values()})) + " students"


def verdicts(outcomes: Mapping[str, Outcome]) -> str:
    """What each cell gives over real images, what to doubt of its students, and what guessing gives, in markdown."""
    lines, guesses = [], []
    for name, outcome in outcomes.items():
        found = [record["results"] for record in outcome.records]
        rows = [row | {"set": name} for results in found for row in verdict.own_rows(results)]
        sentences = [verdict.gain(found), *verdict.doubts(found[0] | {"rows": rows})]
        lines.append(f"- {markdown(name)}: {' '.join(map(markdown, sentences))}")
        guesses += verdict.guessing(found[0])
    return "\n".join([*lines, *(f"- {guess}" for guess in dict.fromkeys(guesses))])


def cell_table(outcomes: Mapping[str, Outcome]) -> str:
    """The cells in markdown, and what real images reach under the same protocol."""
    rows, protocols = [], in_full([(first_row(outcome), outcome.records[0]) for outcome in outcomes.values()])
    for protocol, (name, outcome) in zip(protocols, outcomes.items(), strict=True):
        students, interval, record = outcome.students(), outcome.accuracy, outcome.records[0]
        between = intervals.of_accuracy(interval.mean, interval.half_width)
        count = f"{len(outcome.records)} × {len(students) // len(outcome.records)}"
        seconds = statistics.fmean(record["run"]["seconds"] for record in outcome.records)
        cost, marks = outcome.teaching_seconds, marks_of(outcome)
        rows.append(
            [
                *(name, protocol, outcome.copy, spread(students) + marks, between),
                *(over_random(outcome), count, duration(seconds)),
                *(None if cost is None else duration(cost), f"{rows_of(record)[0]['bytes']:,}"),
            ]
        )
    for protocol, row in baseline_rows(outcomes):
        name = row["set"]
        figures = intervals.spread(row["mean"], row["std"], row["n"]) + row["mark"]
        between = intervals.of_accuracy(row["mean"], row["half_width"])
        rows.append(
            [
                *(Markdown(f"*{markdown(name)}*"), protocol, row["copy"], figures, between),
                *(None, row["n"], None, None, f"{row['bytes']:,}"),
            ]
        )
    for guess in dict.fromkeys(outcome.records[0]["results"].get("majority") for outcome in outcomes.values()):
        blank = [None] * 6
        rows += [[verdict.COMMONEST, None, None, f"{guess:.2f}", *blank]] if guess is not None else []
    head = ["cell", "protocol", "copy", "accuracy (%)", "95 % interval", "over random", "n"]
    head += ["distilled in", "teachers took", "bytes"]
    note = (
        f"Accuracy of {students_in_words(outcomes)} on that copy of a set: mean ± standard deviation over n = "
        "distillations × students; intervals at 95 % over distillations where there are several, else over students. "
        "Over random: points above random real images of the same ipc and protocol, student by student, with the "
        "95 % interval."
    )
    return f"{table(head, rows)}\n\n{note}"


def baseline_rows(outcomes: Mapping[str, Outcome]) -> list[tuple[str, dict[str, Any]]]:
    """What real images reach with each cell's first architecture, each once, after the protocol in words."""
    found: dict[Any, dict[int, Any]] = {}  # by the seed of their first student
    for outcome in outcomes.values():
        for record in outcome.records:
            for row in record["results"]["rows"]:
                if row["baseline"] and row["architecture"] == outcome.first:
                    circumstances = tuple(circumstances_of(row, record).items())
                    key = row["set"], row["architecture"], row["n"], protocol_of(row, record), circumstances
                    mark = {"mark": verdict.mark(row, record["results"])}
                    found.setdefault(key, {})[record["results"].get("seed", 0)] = row | mark, record
    each = [next(iter(seeds.values())) for seeds in found.values()]
    rows = [together([row for row, _ in seeds.values()]) for seeds in found.values()]
    return list(zip(in_full(each), rows, strict=True))


def together(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The row of the students of several seeds on real images that were chosen alike."""
    if len(rows) == 1:
        return rows[0]
    scores = [score for row in rows for score in row["scores"]]
    interval = intervals.of_distillations([row["scores"] for row in rows])
    told = {"scores": scores, "n": len(scores), "std": statistics.stdev(scores), "mean": interval.mean}
    return (
        rows[0]
        | told
        | {"half_width": interval.half_width, "mark": next(filter(None, (row["mark"] for row in rows)), "")}
    )


def first_row(outcome: Outcome) -> dict[str, Any]:
    """The row of a cell that its accuracy is of, in its first record."""
    return next(row for row in rows_of(outcome.records[0]) if row["architecture"] == outcome.first)


def named(real: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """What real images are called in pictures: with their protocols where there are several."""
    several = len({protocol for protocol, _ in real}) > 1
    return [f"{row['set']} ({protocol})" if several else row["set"] for protocol, row in real]


def marks_of(outcome: Outcome) -> str:
    """What stands beside a cell's accuracy where that is no result, see `verdict.mark`."""
    found = [(row, record["results"]) for record in outcome.records for row in verdict.own_rows(record["results"])]
    marks = [verdict.mark(row, results) for row, results in found if row["architecture"] == outcome.first]
    return next(filter(None, marks), "")


def bars_of(outcomes: Mapping[str, Outcome]) -> list[report.Bar]:
    """The cells as bars, and what real images reach, with their protocols where there are several."""
    means = {name: outcome.accuracy for name, outcome in outcomes.items()}
    real = baseline_rows(outcomes)
    bars = [report.Bar(name, interval.mean, interval.half_width) for name, interval in means.items()]
    for label, (_, row) in zip(named(real), real, strict=True):
        bars.append(report.Bar(label, row["mean"], row["half_width"], row["baseline"]))
    return bars


def over_random(outcome: Outcome) -> intervals.Interval | None:
    """By how many points a cell's students are better than those of random real images, see `verdict.gain`."""
    results = [record["results"] for record in outcome.records]
    own = [row for each in results for row in verdict.own_rows(each) if row["architecture"] == outcome.first]
    real = verdict.real_rows(results, own).get("random")
    return verdict.difference(own, real, outcome.shared) if real else None


def architecture_table(outcomes: Mapping[str, Outcome]) -> str:
    """Cells that were evaluated with several architectures, in markdown, with the mean over these."""
    several = {name: outcome for name, outcome in outcomes.items() if len(outcome.scores) > 1}
    architectures = list(dict.fromkeys(name for outcome in several.values() for name in outcome.scores))
    rows = []
    for name, outcome in several.items():
        own = [spread(outcome.students(each)) if each in outcome.scores else None for each in architectures]
        mean = statistics.fmean(statistics.fmean(outcome.students(each)) for each in outcome.scores)
        rows.append([name, *own, f"{mean:.2f}"])
    return table(["cell", *architectures, "mean"], rows)


def protocol_of(row: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """Name, version and epochs of the protocol of a row's students."""
    protocol = record["results"]["protocol"]
    return f"{protocol['name']} v{protocol['version']}, {row.get('epochs', protocol['epochs'])} epochs"


def circumstances_of(row: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, str]:
    """What else a row's accuracy depends on, in words: the values of its protocol, teachers, and how data are read."""
    results, data = record["results"], record["data"]
    protocol = {key: value for key, value in results["protocol"].items() if key not in ("changed", "epochs")}
    rate = "of the set" if row.get("own_learning_rate") else str(row.get("learning_rate"))
    taught_by = row.get("taught_by") or [spec["sha"] for spec in results.get("teachers", ())]
    facts = {
        **protocol,
        "learning_rate": rate,
        "taught by": ", ".join(map(hub.digits, taught_by)),
        "draws": row.get("draws"),
        "data": data["name"],
        "pixels": "×".join(map(str, data["image_size"])),
        "statistics": data.get("statistics", "own"),
        "whitening": "zca" if data.get("whitening") else "none",
        "test split": data.get("test_split", "test"),
        "images": (data.get("fingerprint") or "")[:8],
        "tested by": ", ".join(dict.fromkeys(results.get("tested", {}).values())),
    }
    return {key: in_words(value) for key, value in facts.items()}


def in_full(rows: Collection[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> list[str]:
    """The protocol of each row, in words, with what else differs among the rows of one name.

    Takes each row with its record. All cells have one name here, real images that of how they were chosen.
    """
    names = [(row["baseline"] and row["set"], protocol_of(row, record)) for row, record in rows]
    facts, found = [circumstances_of(*each) for each in rows], []
    for name, own in zip(names, facts, strict=True):
        alike = [other for called, other in zip(names, facts, strict=True) if called == name]
        keys = dict.fromkeys(key for other in alike for key in other)
        differing = [key for key in keys if len({other.get(key) for other in alike}) > 1]
        found.append(", ".join([name[1], *(f"{key} {own.get(key) or 'none'}" for key in differing)]))
    return found


def gain_table(gains: Mapping[str, Gain], pairs: Mapping[str, Sequence[tuple[str, str]]]) -> str:
    """The comparisons in markdown."""
    rows = []
    for name, found in gains.items():
        between = ", ".join(f"{first} − {second}" for first, second in pairs[name])
        rows.append([name, found.interval, found.interval.n, between, ", ".join(found.of_each)])
    return table(["comparison", "points, 95 % interval", "n", "pairs", "students"], rows)


def gains_of_each(gains: Mapping[str, Gain]) -> str:
    """Comparisons over several architectures, by each of these, in markdown."""
    architectures = list(dict.fromkeys(each for found in gains.values() for each in found.of_each))
    rows = [[name, *map(found.of_each.get, architectures)] for name, found in gains.items()]
    return table(["comparison, points", *architectures], rows)


def teacher_table(outcomes: Mapping[str, Outcome]) -> str:
    """All teachers in markdown, by their commits or the digests of their weights, and the cells that use each."""
    specs, used_in = {}, {}
    for name, outcome in outcomes.items():
        for found in outcome.teachers:
            specs[found["sha"]] = found
            used_in.setdefault(found["sha"], []).append(name)
    return tables.teachers(list(specs.values()), used_in=used_in)


def pool_table(outcomes: Mapping[str, Outcome]) -> list[str]:
    """How diverse the pools of several teachers are, in markdown; nothing where there is none."""
    rows = []
    for name, outcome in outcomes.items():
        if found := outcome.records[0]["diversity"]:
            differing = None if found["disagreement"] is None else f"{100 * found['disagreement']:.2f}"
            cka = None if found["cka"] is None else f"{found['cka']:.4f}"
            rows.append([name, len(outcome.teachers), differing, cka, f"{found['images']:,}"])
    head = ["pool of", "teachers", "mean pairwise disagreement (%)", "mean pairwise CKA", "validation images"]
    return [table(head, rows)] if rows else []


def search_table(searches: Mapping[str, Mapping[str, Any]]) -> str:
    """The pools that were chosen among others on validation images, by what their traces say, in markdown."""
    rows = []
    for name, search in searches.items():
        best, tried = search["best"], f"{len(search['tried'])} of {search['pools']}"
        seconds = sum(pool["seconds"] for pool in search["tried"])
        rows.append([name, best["pool"], f"{best['score']:.2f}", tried, duration(seconds)])
    return table(["pool", "chosen", "validation accuracy (%)", "pools tried", "all their runs took"], rows)
