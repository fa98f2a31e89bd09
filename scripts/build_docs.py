# /// script
# requires-python = ">=3.11"
# dependencies = ["hf-dd"]
# ///
"""Write the parts of the docs that the code knows: methods, protocols, networks, starts, commands, measured results.

    python scripts/build_docs.py                                 # write them into README.md and docs/
    python scripts/build_docs.py --check                         # say which of them aren't what it would write
    python scripts/build_docs.py --made docs/results/benchmark   # note commit and hardware beside a new result

What is written stands between `<!-- made: NAME -->` and `<!-- end -->`, or is a page of its own. The tables come from
the registries and from the classes that are registered, the command reference is what `hf-dd COMMAND --help` prints,
and the results are read from the files below docs/results. `zensical build --strict` then needs no torch.
"""

import argparse
import contextlib
import dataclasses
import functools
import io
import json
import os
import re
import statistics
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # not this folder: evaluate.py would hide the library

MADE = re.compile(r"(<!-- made: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
RESULTS = ROOT / "docs" / "results"
NOTHING = "Nothing has been measured with this version yet."
PUBLISHED = {  # what a method's table of published values shows
    "iterations": "iterations",
    "real_batch_size": "real images per class and step",
    "image_learning_rate": "rate on the images",
    "short_rate": "rate of a planned run with 32 channels / √ipc",
    "image_momentum": "momentum",
    "image_optimizer": "optimiser",
    "init": "start",
}


def table(head, rows):
    """Rows as a Markdown table; `|` in a cell is escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


# --- from the registries


def objectives():
    """The methods with their words and classes, those that optimise before those that choose."""
    from hf_dd.core.registry import OBJECTIVES

    found = [(name, OBJECTIVES.words(name), OBJECTIVES[name]) for name in OBJECTIVES.declared]
    return sorted(found, key=lambda method: method[2].published.iterations == 0)


def methods():
    """The methods of `--objective`."""
    from hf_dd.artefacts.papers import link

    rows = [[f"`{name}`", words["title"], link(words), words.get("needs", "")] for name, words, _ in objectives()]
    return table(["name", "method", "paper", "needs"], rows)


def names():
    """The names of `--objective`: those that make images, then those that choose them."""
    made = {True: [], False: []}
    for name, _, objective in objectives():
        made[bool(objective.published.iterations)].append(f"`{name}`")
    return f"`--objective` makes images by {', '.join(made[True])}, or chooses them by {', '.join(made[False])}."


def published():
    """What each method that optimises takes for what isn't given, and the options that are a method's own."""
    rows, own = [], []
    for name, _, objective in objectives():
        values = [getattr(objective.published, key) for key in PUBLISHED]
        if objective.published.rate_per_ipc:
            values[list(PUBLISHED).index("image_learning_rate")] = f"{objective.published.image_learning_rate} × ipc"
        if objective.published.iterations:
            rows.append([f"`{name}`", *("–" if value is None else value for value in values)])
        if options := [f"`{field.name}={field.default}`" for field in dataclasses.fields(objective.Options)]:
            own.append(f"- `{name}`: {' '.join(options)}")
    return f"{table(['name', *PUBLISHED.values()], rows)}\n\nOptions of a method's own:\n\n{chr(10).join(own)}"


def cells():
    """What `--published` takes for single data sets, sizes and networks instead, method by method."""
    rows = [
        [f"`{name}`", cell.where, " ".join(f"`{key}={value}`" for key, value in cell.values.items()), cell.source]
        for name, _, objective in objectives()
        for cell in objective.published.cells
    ]
    return table(["name", "for", "takes", "source"], rows)


def titles(registry):
    """The names of a registry with their titles."""
    rows = [[f"`{name}`", words["title"]] for name, (_, words) in registry.declared.items()]
    return table(["name", "what it is"], rows)


def networks():
    """The networks of `--architecture`."""
    from hf_dd.core.registry import NETWORKS

    return titles(NETWORKS)


def starts():
    """What images may start from."""
    from hf_dd.core.registry import STARTS

    return titles(STARTS)


def protocols():
    """How students are trained."""
    from hf_dd.artefacts.papers import link
    from hf_dd.core.registry import PROTOCOLS

    rows = []
    for name, (_, words) in PROTOCOLS.declared.items():
        protocol = PROTOCOLS[name]
        values = (protocol.version, protocol.epochs, protocol.optimizer, protocol.learning_rate)
        rows.append([f"`{name}`", words["title"], link(words), *values])
    return table(["name", "students", "paper", "version", "epochs", "optimiser", "rate"], rows)


def settings():
    """What the protocols differ in, and what the sets and students that a value depends on are."""
    from hf_dd.core.registry import PROTOCOLS
    from hf_dd.evaluation.protocols import in_words

    rows = []
    for name, (_, words) in PROTOCOLS.declared.items():
        own = PROTOCOLS[name]
        labels = own.labels if own.temperature is None else f"{own.labels}, T {own.temperature:g}"
        loss = {"ce": "cross-entropy", "kl": "KL", "mse": f"MSE + {own.hard_weight:g} · cross-entropy"}[own.loss]
        soft = own.labels != "hard" and own.loss != "mse"
        views = in_words(own.views).strip("()") if own.views else own.augment.replace("_", ", ")
        batch = f"{own.batch_size} × {own.accumulate}" if own.accumulate > 1 else own.batch_size
        falls = own.schedule + (f" to {own.schedule_end:g}" if own.schedule_end else "")
        varies = ", ".join(dict.fromkeys(field for case in own.cases for field, _ in case.values))
        row = [f"`{name}`", labels, f"{loss}{' × T²' if soft and own.squared else ''}", views, batch, falls]
        rows.append([*row, varies.replace("_", " ") or "–", words.get("sizes", "–")])
    head = ["name", "labels", "loss", "views", "batch", "rate falls", "varies by set or student", "sizes"]
    return table(head, rows)


# --- from the command line


def help_of(command):
    """What `hf-dd COMMAND --help` prints, as wide as the page and without colours."""
    from hf_dd.cli import main

    os.environ.update(COLUMNS="86", NO_COLOR="1")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        main([*command.split(), "--help"])
    return "\n".join(line.rstrip() for line in printed.getvalue().strip().splitlines())


def commands():
    """The page of all commands and their options."""
    from hf_dd.cli import every_command

    parts = [
        "# Commands",
        "Made by `scripts/build_docs.py` from what the commands themselves print: don't edit it by hand.",
        f"```text\n{help_of('')}\n```",
    ]
    parts += [f"## hf-dd {command}\n\n```text\n{help_of(command)}\n```" for command, _ in every_command()]
    return "\n\n".join(parts) + "\n"


# --- from the files of results


def results():
    """By its folder's name, what is measured: a study's report, rows of a script, campaigns, uses, verdicts."""
    found = {}
    for kind in ("report", "benchmark", "growth", "untuned", "campaigns", "results"):
        for path in sorted(RESULTS.glob(f"*/{kind}.json")):
            found[path.parent.name] = (kind, json.loads(path.read_text(encoding="utf-8")))
    for below, kind in (("uses", "results"), ("reproduced", "reproduction")):
        for path in sorted(RESULTS.glob(f"{below}/*/{kind}.json")):
            own = {"name": path.parent.name} | json.loads(path.read_text(encoding="utf-8"))
            found[f"{below}/{path.parent.name}"] = (kind, own)
    return found


def units(scores):
    """What counts as independent in a cell: the means of its distillations, or of a single one its students."""
    seeds = next(iter(scores.values()))
    return [statistics.fmean(seed) for seed in seeds] if len(seeds) > 1 else seeds[0]


def headlines(kind, content):
    """What a result says in its shortest form: pairs of what and how much."""
    from hf_dd.evaluation import intervals
    from hf_dd.studies.report import spread

    if kind == "report":
        cells = {name: units(cell["scores"]) for name, cell in content["cells"].items()}
        best = max(cells, key=lambda name: statistics.fmean(cells[name]))
        yield f"best of {len(cells)} cells: `{best}`", f"{spread(cells[best])} % (n = {len(cells[best])})"
        for name, gain in content["comparisons"].items():
            between = ""
            if gain["n"] > 1:
                between = f" {intervals.between(gain['mean'], gain['half_width'])}"
            yield name, f"{gain['mean']:+.2f}{between} points (n = {gain['n']})"
    elif kind == "benchmark":
        for row in content["rows"]:
            work = row["work"].replace("_", " ")
            yield f"{work}, against the papers' loop", f"{row['ratio']:.1f} × as fast (n = {row['n']})"
        if short := content.get("start"):
            ratios = f"{short['ratio_cpu_s']:.2f} × the CPU time, {short['ratio_peak_mb']:.2f} × the memory"
            yield f"`{short['run']}`, against importing its libraries", f"{ratios} (n = {short['n']})"
    elif kind == "results":
        yield from content["headlines"]
    elif kind == "untuned":
        for row in sorted(content["rows"], key=lambda row: -row["distillations"]):  # the surest first
            what = f"{row['data']}, ipc {row['ipc']}, {row['minutes']:g} minutes, {row['kind']}"
            gains = ", ".join(f"{row[f'over {other}']['mean']:+.1f} over {other}" for other in ("random", "herding"))
            yield what, f"{row['accuracy']['mean']:.1f} %, {gains} (n = {row['distillations']} × {row['students']})"
    elif kind == "reproduction":
        yield (
            f"{content['name']}, made again by `hf-dd reproduce`",
            f"{'holds' if content['holds'] else 'fails'}: {content['says']}",
        )
    elif kind == "campaigns":
        counts = [each["counts"]["all"] for each in content.values()]
        tried = {outcome: sum(own.get(outcome, 0) for own in counts) for own in counts for outcome in own}
        said = ", ".join(f"{outcome}: {number}" for outcome, number in tried.items())
        yield f"{sum(tried.values()):,} ways of failing, of {', '.join(content)}", said
    else:
        for sweep, points in content["sweeps"].items():
            steps = [
                (point[sweep], found["step_s"]) for point, found in points if sweep in point and "step_s" in found
            ]
            if steps:
                values, seconds = zip(*steps, strict=True)
                yield f"a step, {sweep} = {', '.join(map(str, values))}", ", ".join(f"{s:.3g} s" for s in seconds)


def headline(place, most=2):
    """The table of README: of every result its first lines, each with the report that it comes from.

    All verdicts of `hf-dd reproduce` are one line.
    """
    rows = [
        [what, much, f"[{name}]({place}{name}/{page_of(name, kind)})"]
        for name, (kind, content) in results().items()
        if kind != "reproduction"
        for what, much in list(headlines(kind, content))[:most]
    ]
    if verdicts := [content for kind, content in results().values() if kind == "reproduction"]:
        held, equal = sum(own["holds"] for own in verdicts), sum("byte is equal" in own["says"] for own in verdicts)
        what = f"{len(verdicts)} sets made again by `hf-dd reproduce`"
        rows.append([what, f"{held} hold, {equal} to the byte", f"[reproduced]({place}README.md)"])
    return table(["what", "how much", "measured in"], rows) if rows else NOTHING


def page_of(name, kind):
    """The file to look at first."""
    return next(file for file in (f"{kind}.md", f"{kind}.json") if (RESULTS / name / file).exists())


def used(name):
    """What a use has found, as it wrote it, but for the title."""
    path = RESULTS / "uses" / name / "results.md"
    if not path.exists():
        return NOTHING
    text = path.read_text(encoding="utf-8").partition("\n\n")[2].strip()
    return re.sub(r"^## ", "### ", text, flags=re.MULTILINE)


def made_by(name, content):
    """What a result was made by, as rows: what its files say, and what `--made` noted."""
    noted = RESULTS / name / "made.json"
    said = content.get("about") or {key: content[key] for key in ("command", "code", "hardware") if key in content}
    said |= {"code": f"hf-dd {content['versions']['hf-dd']}"} if "holds" in content else {}
    parts = [each for each in content.values() if isinstance(each, dict) and "counts" in each]  # of campaigns
    said |= {key: sorted({each[key] for each in parts}) for key in ("command", "code", "hardware") if parts}
    said |= json.loads(noted.read_text(encoding="utf-8")) if noted.exists() else {}
    return [
        [key.replace("_", " "), "; ".join(value) if isinstance(value, list) else value] for key, value in said.items()
    ]


def measured():
    """Every result in full, with the commit and the hardware that made it."""
    parts = []
    for name, (kind, content) in results().items():
        files = sorted(path.name for path in (RESULTS / name).iterdir() if path.is_file())
        links = " · ".join(f"[{file}]({name}/{file})" for file in files)
        tables = table(["what", "how much"], headlines(kind, content)), table(["made", "by"], made_by(name, content))
        parts.append("\n\n".join([f"### {name}", *tables, links]))
    return "\n\n".join(parts) or NOTHING


def note(folder):
    """Write `made.json` beside a result: the commit, whether files differed from it, the processor, the day."""
    from hf_dd.core.machine import model

    def git(*words):
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    about = {
        "commit": git("rev-parse", "HEAD") + (" with changes" if git("status", "--porcelain", "hf_dd") else ""),
        "hardware": f"{os.cpu_count()} cores of {model()}",
        "on": datetime.now(UTC).date().isoformat(),
    }
    (folder / "made.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


# --- where it goes

PARTS = {
    "methods": methods,
    "names": names,
    "published": published,
    "cells": cells,
    "networks": networks,
    "starts": starts,
    "protocols": protocols,
    "settings": settings,
    "headline": lambda: headline("docs/results/"),
    "measured": measured,
    **{f"use-{name}": functools.partial(used, name) for name in ("continual", "search", "privacy")},
}
PAGES = {ROOT / "docs" / "reference" / "commands.md": commands}


def written():
    """Every file with made parts and what it is to hold now."""
    files = {path: make() for path, make in PAGES.items()}
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        text = path.read_text(encoding="utf-8")
        if MADE.search(text):
            files[path] = MADE.sub(lambda match: f"{match[1]}\n{PARTS[match[2]]()}\n\n{match[3]}", text)
    return files


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="Write nothing; exit status 1 where something differs.")
    parser.add_argument("--made", type=Path, nargs="+", default=[], help="Folders of results: note the commit.")
    options = parser.parse_args()
    for folder in options.made:
        note(folder)
    files = written()
    stale = [path for path, text in files.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        print(f"{'differs' if options.check else 'written'}: {path.relative_to(ROOT)}")
        if not options.check:
            path.write_text(files[path], encoding="utf-8")
    sys.exit(1 if options.check and stale else 0)


if __name__ == "__main__":
    main()
