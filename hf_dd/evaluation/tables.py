"""Results and teachers as tables in markdown, for cards, comparisons and reports alike.

They are mappings, as `Results.as_dict` and every record have them; what older ones don't say is a dash.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from hf_dd import hub
from hf_dd.config import IN_MEMORY
from hf_dd.core.text import Markdown, code, duration, markdown, table
from hf_dd.evaluation import intervals, verdict

Facts = Mapping[str, Any]
CARD = "set copy bytes student labels accuracy interval n epochs steps rate looks".split()
COMPARED = "set copy student labels accuracy interval n difference epochs steps rate ipc bytes looks".split()
OPTIONAL = {"labels", "steps", "looks"}  # columns that aren't there where no row says anything
HEADS = {"difference": "against the first", "looks": "beside it"}  # of columns, where they aren't called so


def of_results(results: Facts, columns: Sequence[str] = CARD, more: Sequence[Facts] = (), **heads: str) -> str:
    """The rows of results, and what guessing the commonest class gives.

    Args:
        results: as `Results.as_dict` gives them.
        columns: what is said of each row, by the names that `cells` gives it.
        more: what else there is to say of each row, by the names of columns.
        heads: what columns are called here.
    """
    rows = [cells(row, results) for row in results["rows"]]
    rows = [row | added for row, added in zip(rows, more, strict=True)] if more else rows
    shown = [name for name in columns if name not in OPTIONAL or any(row[name] is not None for row in rows)]
    if results.get("majority") is not None:
        rows.append({"set": verdict.COMMONEST, "accuracy": f"{results['majority']:.2f}"})
    return table(
        [(HEADS | heads).get(name, name) for name in shown], ([row.get(name) for name in shown] for row in rows)
    )


def cells(row: Facts, results: Facts) -> dict[str, Any]:
    """What a table says of a row of results, by the names of columns; None where there is nothing to say."""
    student, backbone, draws, steps = (row.get(name) for name in ("architecture", "backbone", "draws", "steps"))
    return {
        "set": row["set"],
        "copy": row["copy"],
        "bytes": storage(row),
        "student": Markdown(f"{markdown(student)} ({code(hub.short(backbone))})") if backbone else student,
        "labels": verdict.regime_in_words(verdict.regime_of(row, results)) if results.get("protocols") else None,
        "accuracy": accuracy(row, results),
        "interval": intervals.of_accuracy(row["mean"], row["half_width"]),
        "n": f"{row['n']} on {draws} draws" if (draws or 0) > row["n"] else row["n"],
        "epochs": row.get("epochs", results["protocol"]["epochs"]),
        "steps": None if steps is None else f"{steps:,}",
        "rate": rate(row),
        "ipc": row.get("ipc"),
        "looks": looks(row) or None,
    }


def accuracy(row: Facts, results: Facts) -> str:
    """A row's mean and standard deviation, and what stands beside an accuracy that is no result."""
    return intervals.spread(row["mean"], row["std"], row["n"]) + verdict.mark(row, results)


def rate(row: Facts) -> str:
    """The learning rate of a row's students, and whether it came with the set."""
    own = " (the set's own)" if row.get("own_learning_rate") else ""
    return f"{row['learning_rate']:g}{own}"


def storage(row: Facts) -> str:
    """The bytes of a row's images, and of the soft labels beside them."""
    labels = row.get("soft_label_bytes")
    return f"{row['bytes']:,}" + (f" + {labels:,} of soft labels" if labels else "")


def looks(row: Facts) -> str:
    """The best of the looks at the test split that a paper takes; empty where nobody looked."""
    if (count := row.get("looks")) is None:
        return ""
    return f"best of {count} look{'s' * (count != 1)} at the test split {row['best_of_looks']:.2f}"


def matrix(results: Facts) -> str:
    """Sets against architectures; empty where there is a single one, and for results of several regimes."""
    rows = results["rows"]
    architectures = list(dict.fromkeys(row["architecture"] for row in rows))
    if len(architectures) < 2 or results.get("protocols"):
        return ""
    found = {(row["set"], row["copy"], row["architecture"]): accuracy(row, results) for row in rows}
    sets = dict.fromkeys((row["set"], row["copy"]) for row in rows)
    return table(
        ["set", "copy", *architectures], ([*each, *(found.get((*each, a)) for a in architectures)] for each in sets)
    )


def scores(results: Facts) -> str:
    """The scores, each with what it was made of; empty where there are none."""
    names = ("set", "copy", "architecture", "name")
    rows = [[*(score[name] for name in names), f"{score['value']:.4f}", made_of(score)] for score in results["scores"]]
    return table(["set", "copy", "student", "score", "value", "of"], rows) if rows else ""


def made_of(score: Facts) -> str:
    """The mean accuracies (%) that a score was computed from, with the protocols of those students."""
    return "; ".join(f"{name} {row['mean']:.2f} ({row['protocol']})" for name, row in score["inputs"].items())


def teachers(
    specs: Sequence[Facts], endpoint: str | None = None, used_in: Mapping[str, Sequence[str]] | None = None
) -> str:
    """Teachers with the paper's options where they are known.

    Args:
        specs: each a `TeacherSpec` as a mapping.
        endpoint: the Hub that commits are links to; else they are written out.
        used_in: what each is used in, by its sha, for a column of its own.
    """
    rows = []
    for spec in specs:
        library, accuracy, seconds = (spec.get(name) for name in ("library", "accuracy", "seconds"))
        trusted = ", pickles and code allowed" if spec.get("trusted") else ""
        row = [spec["repo_id"], spec["revision"], commit(spec, endpoint) if endpoint else spec["sha"]]
        row += [spec["architecture"] + (f" ({library}{trusted})" if library not in (None, "hf_dd") else "")]
        row += [spec["seed"], spec["epoch"], spec["dataset"] or None]
        row += [
            None if accuracy is None else f"{100 * accuracy:.2f} %",
            None if seconds is None else duration(seconds),
        ]
        rows.append([*row, ", ".join(used_in[spec["sha"]])] if used_in else row)
    head = ["teacher", "revision", "commit" if endpoint else "sha", "architecture", "seed", "epoch", "trained on"]
    return table([*head, "accuracy", "took", *["used in"] * bool(used_in)], rows)


def commit(spec: Facts, endpoint: str) -> Markdown:
    """Where a teacher's weights are: a link to the commit at a Hub, or the digest of those that aren't on one."""
    sha = code(hub.short(spec["sha"]))
    if spec["sha"].startswith(hub.DIGEST):
        return Markdown(f"{'in memory' if spec['repo_id'].startswith(IN_MEMORY) else 'local'}, weights {sha}")
    return Markdown(f"[{sha}]({hub.page(endpoint, spec['repo_id'], spec['sha'])})")
