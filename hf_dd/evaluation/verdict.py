"""What an evaluation found, in sentences made of its numbers: what a set gives over real images, and what to doubt.

Made of results as mappings, as `Results.as_dict` and every record have them; what older ones don't say is left out.
"""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hf_dd.config.evaluation import REGIMES
from hf_dd.evaluation import convergence, intervals

Facts = Mapping[str, Any]
COMMONEST = "always the commonest class"  # what needs no image at all, as a row of tables
ALL = ("random", "full")  # kinds of real images that nobody chose
FEW = {2: "two", 3: "three", 4: "four"}  # students whose interval is 3 to 13 standard errors to either side


def sentences(results: Facts) -> list[str]:
    """One sentence for each set of an evaluation, then on what it was tested, what to doubt, what guessing gives."""
    found, doubted, parts = [], [], by_regime(results)
    for regime, part in parts.items():
        sets = list(dict.fromkeys(row["set"] for row in part["rows"] if not row.get("baseline")))
        gains = [gain([part], name) for name in sets]
        if len(sets) > 1:
            found += [f"{name}: {each}" for name, each in zip(sets, gains, strict=True)]
        else:
            named = [each.partition(" ")[0].count("/") for each in gains]  # `timm/…`, which is written as it is
            found += [each if own else each[0].upper() + each[1:] for each, own in zip(gains, named, strict=True)]
        doubted += doubts(part, f" on {regime_in_words(regime)}" if len(parts) > 1 else "")
    return [*found, *otherwise(results), *soft_alone(results), *doubted, *guessing(results)]


def regime_of(row: Facts, results: Facts) -> str:
    """The key in REGIMES of what the protocol has a row's students learn from; of older results as they tell it."""
    if row.get("regime"):
        return row["regime"]
    if labels := (results.get("protocol") or {}).get("labels"):
        return labels
    return "hard" if all(each.get("temperature") is None for each in results["rows"]) else "soft"


def regime_in_words(regime: str) -> str:
    """What students learn from in words; as it is called where it is none of REGIMES."""
    return REGIMES.get(regime, regime)


def by_regime(results: Facts) -> dict[str, Facts]:
    """The results of each regime, in the order of their rows."""
    found: dict[str, list[Facts]] = {}
    for row in results["rows"]:
        found.setdefault(regime_of(row, results), []).append(row)
    return {regime: {**results, "rows": rows} for regime, rows in found.items()}


def otherwise(results: Facts) -> Iterator[str]:
    """A sentence where sets were tested otherwise than their records say, for each way that was done."""
    tested = results.get("tested") or {}
    rows = [row for row in results["rows"] if not row.get("baseline")]
    of = f" of {results['data']}" if results.get("data") else ""
    for how in dict.fromkeys(tested.values()):
        sets = on([row for row in rows if tested.get(row["set"]) == how], rows)
        yield f"The data{of} were read otherwise than for the distillation{sets}: {how}."


def soft_alone(results: Facts) -> Iterator[str]:
    """A sentence where no set was evaluated on hard labels, on which alone images make much of a difference."""
    regimes = {regime_of(row, results) for row in results["rows"] if not row.get("baseline")}
    if regimes and "hard" not in regimes:
        yield (
            "Only soft labels were evaluated, on which random images do nearly as well as distilled ones: that says "
            "little of the images (arXiv 2604.18811)."
        )


def gain(evaluations: Sequence[Facts], name: str | None = None) -> str:
    """What a set's first copy gives over random images, and over the best selection: a sentence, or its end.

    Differences are paired by the student's seed, and intervals are those of their means at 95 %: over the students, or
    over the distillations where there are several.

    Args:
        evaluations: of one set, or of one distillation for each seed, all with the same real images beside them.
        name: of the set; of several distillations, each evaluation's first.
    """
    sets = [own_rows(results, name) for results in evaluations]
    shared = share_students(evaluations)
    said, selections, better, soft, undecided = {}, {}, False, False, []
    for architecture in dict.fromkeys(row["architecture"] for row in sets[0]):
        own = [row for rows in sets for row in rows if row["architecture"] == architecture]
        real = real_rows(evaluations, own)
        if all(at_chance(*pair) for rows in (own, *real.values()) for pair in zip(rows, evaluations, strict=True)):
            said[architecture] = "all students at chance, which says nothing of the set"
            continue
        selection = selections[architecture] = best_selection(real)
        overs = {kind: difference(own, real[kind], shared) for kind in ("random", selection) if kind in real}
        words = [judged(over, kind, " points" * (not index)) for index, (kind, over) in enumerate(overs.items())]
        said[architecture] = ", ".join(words) or "not compared with real images"
        better |= selection is not None and (is_gain(overs[selection]) or is_same(overs[selection]))
        if (kind := selection or "random") in overs:
            undecided.append(is_open(overs[kind]))
        soft |= taught(own) and not all(taught(real[kind]) for kind in overs)
    if not said:
        return "nothing was evaluated."
    alone = len(sets) == sets[0][0]["n"] == 1
    several, instead = len(said) > 1, " or ".join(filter(None, dict.fromkeys(selections.values())))
    text = "; ".join(f"{architecture}: {words}" if several else words for architecture, words in said.items())
    if is_undecided := bool(undecided) and all(undecided):
        number, what = (len(sets), "distillations") if len(sets) > 1 else (sets[0][0]["n"], "students")
        text += f": {'a single student leaves' if alone else f'{FEW[number]} {what} leave'} that open, more would tell"
    elif instead and not better:
        text += f"; so use {instead}" if several else ": use that"
    labels = dict.fromkeys(regime_of(row, results) for results in evaluations[:1] for row in sets[0])
    about = [", ".join([count(sets), *([] if several else said), *map(regime_in_words, labels)])]
    about += ["a single student has no interval"] if alone and not is_undecided else []
    about += ["the set taught by soft labels, the real images by hard ones"] if soft else []
    missing = "; no selection such as herding was evaluated beside it" if None in selections.values() else ""
    if not any(row.get("baseline") for row in evaluations[0]["rows"]):
        missing = "; --baselines random herding tells what it gains"
    return f"{text} ({'; '.join(about)}){missing}."


def own_rows(results: Facts, name: str | None = None) -> list[Facts]:
    """The rows of a set's first copy, one of each architecture; of the first set if it isn't named."""
    rows: dict[str, Facts] = {}
    for row in results["rows"]:
        if not row.get("baseline") and name in (None, row["set"]):
            name = row["set"]
            rows.setdefault(row["architecture"], row)
    return list(rows.values())


def real_rows(evaluations: Sequence[Facts], own: Sequence[Facts]) -> dict[str, list[Facts]]:
    """By its kind, the row of real images beside each of a set's rows: of as many images, of the same students."""
    found: dict[str, list[Facts]] = {}
    for results, row in zip(evaluations, own, strict=True):
        kinds = {}
        for other in results["rows"]:
            same = all(other.get(key) == row.get(key) for key in ("architecture", "ipc"))
            if other.get("baseline") and same and len(other["scores"]) == len(row["scores"]) > 0:
                kinds.setdefault(other["baseline"], other)
        for kind, other in kinds.items():
            found.setdefault(kind, []).append(other)
    return {kind: rows for kind, rows in found.items() if len(rows) == len(own)}


def best_selection(real: Mapping[str, Sequence[Facts]]) -> str | None:
    """The kind of chosen real images that does best; None where none was evaluated."""
    means = {kind: statistics.fmean(row["mean"] for row in rows) for kind, rows in real.items() if kind not in ALL}
    return max(means, key=means.__getitem__, default=None)


def share_students(evaluations: Sequence[Facts]) -> bool:
    """Whether some of several distillations were learned by the same students, beside the same random images."""
    return len({results.get("seed", 0) for results in evaluations}) < len(evaluations)


def difference(own: Sequence[Facts], real: Sequence[Facts], shared: bool = False) -> intervals.Interval:
    """Of the accuracies of two rows, student by student; see `intervals.of_distillations` for several."""
    each = [
        [a - b for a, b in zip(row["scores"], other["scores"], strict=True)]
        for row, other in zip(own, real, strict=True)
    ]
    return intervals.of_distillations(each, shared)


def over_random(row: Facts, results: Facts) -> intervals.Interval | None:
    """A row's gain over random images of its size and regime; None of those themselves, and where there are none.

    The full set has no size of its own: it is beside random images of any, where those are of one.
    """
    if row.get("baseline") == "random":
        return None
    keys = ("architecture",) if row.get("baseline") == "full" else ("architecture", "ipc")
    beside = [
        other
        for other in by_regime(results)[regime_of(row, results)]["rows"]
        if other.get("baseline") == "random" and all(other.get(key) == row.get(key) for key in keys)
    ]
    if len({str(other.get("ipc")) for other in beside}) > 1:
        return None
    same = [other for other in beside if len(other["scores"]) == len(row["scores"]) > 0]
    return difference([row], same[:1]) if same else None


def taught(rows: Sequence[Facts]) -> bool:
    """Whether students learned from soft labels."""
    return rows[0].get("temperature") is not None


def is_gain(over: intervals.Interval) -> bool:
    """Whether a difference is above 0 by more than its interval; of a single student nobody can tell."""
    return over.half_width is not None and over.mean > over.half_width


def is_same(over: intervals.Interval) -> bool:
    """Whether all students are as good on both, as they are on the same images."""
    return over.mean == 0 and not over.half_width


def is_open(over: intervals.Interval) -> bool:
    """Whether more students may be all that a difference lacks: there are few, and it is above its standard error."""
    if over.n == 1:
        return over.mean > 0
    return over.n in FEW and not is_gain(over) and over.mean > over.error


def judged(over: intervals.Interval, kind: str, unit: str) -> str:
    """A difference from a kind of real images in words: where its interval holds 0, there is none to speak of."""
    what = "random images" if kind == "random" else kind
    between = "" if over.half_width is None else f" {intervals.between(over.mean, over.half_width, 1)}"
    number = f"{over.mean:+.1f}{unit}{between}"
    if is_same(over):
        return f"the same as {what}"
    if is_gain(over):
        return f"{number} over {what}"
    if is_open(over):
        return f"maybe {number} over {what}"
    worse = over.half_width is not None and over.mean < -over.half_width
    return f"{'worse' if worse else 'no better'} than {what} ({number})"


def count(sets: Sequence[Sequence[Facts]]) -> str:
    """Of how many students the accuracies are, and of how many distillations."""
    students = sets[0][0]["n"]
    return f"n = {len(sets)} distillations × {students} students" if len(sets) > 1 else f"n = {students}"


def at_chance(row: Facts, results: Facts) -> bool:
    """Whether half of the students or more aren't better than the commonest class alone.

    That is by more than two standard errors of its share of so many test images. Older results don't say how many
    there are: then by the interval of the mean, and two standard deviations at most.
    """
    guess, images = results.get("majority"), results.get("test_images")
    if guess is None:
        return False
    if not images:
        return row["mean"] - min(row["half_width"] or 0, 2 * row["std"]) <= guess
    error = math.sqrt(guess * (100 - guess) / images)
    return statistics.median_low(row["scores"] or [row["mean"]]) <= guess + 2 * error


def needed(row: Facts) -> float | None:
    """The epochs that a row's students would have needed to converge, see `convergence.epochs_needed`."""
    hard = row.get("temperature") is None
    return convergence.epochs_needed(row.get("losses") or (), row.get("epochs") or 0, hard)


def mark(row: Facts, results: Facts) -> str:
    """What stands beside an accuracy that is no result: that it is at chance, or of students that were still learning.

    Begins with a space; empty for others.
    """
    if at_chance(row, results):
        return " (at chance)"
    return " (not converged)" if needed(row) else ""


def doubts(results: Facts, where: str = "") -> Iterator[str]:
    """Sentences on students that are no better than guessing, and on those that were still learning at the end.

    `where` says of which part of the results that is.
    """
    rows = results["rows"]
    for architecture in dict.fromkeys(row["architecture"] for row in rows):
        own = [row for row in rows if row["architecture"] == architecture]
        if chance := [row for row in own if at_chance(row, results)]:
            yield f"{architecture} students{where} are no better than guessing{on(chance, own)}."
        for epochs in dict.fromkeys(row.get("epochs") for row in own):
            if late := [row for row in own if row.get("epochs") == epochs and needed(row)]:
                wanted = rounded(max(map(needed, late)))
                estimate = (
                    f"by how their losses fell, about {wanted:,.0f} are needed (--eval_epochs {wanted:.0f})"
                    if math.isfinite(wanted)
                    else "several times as many are needed, as their losses hadn't begun to slow down"
                )
                late_ones = f"{architecture} students{where} hadn't converged after {epochs:,} epochs{on(late, own)}"
                yield f"{late_ones}: {estimate}."


def on(some: Sequence[Facts], rows: Sequence[Facts]) -> str:
    """In brackets, the sets that the students of some rows were trained on; empty where those are the sets of all."""
    sets, every = (list(dict.fromkeys(row["set"] for row in each)) for each in (some, rows))
    return "" if sets == every else f" (on {'; '.join(sets)})"


def rounded(epochs: float) -> float:
    """Epochs with two digits, rounded up: an estimate."""
    if not math.isfinite(epochs):
        return epochs
    unit = 10 ** max(0, math.floor(math.log10(epochs)) - 1)
    return math.ceil(epochs / unit) * unit


def guessing(results: Facts) -> Iterator[str]:
    """A sentence on what is reached without any image, where the results say it."""
    if None not in (results.get("majority"), results.get("chance")):
        yield (
            f"Always guessing the commonest class gives {results['majority']:.1f} %, guessing at random "
            f"{results['chance']:.1f} %."
        )
