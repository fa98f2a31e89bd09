"""Several regimes side by side: the protocols of each, their results as one, and the audit's table of them.

What a set gives depends on what students learn from: with soft labels, random images do nearly as well as distilled
ones (arXiv 2604.18811). So sets are beside real images in each regime, and a gain is one over real images of the same.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from hf_dd.config.evaluation import EvaluateConfig, parse_regimes
from hf_dd.core.registry import PROTOCOLS
from hf_dd.core.text import duration
from hf_dd.errors import ConfigError
from hf_dd.evaluation import intervals, tables, verdict
from hf_dd.evaluation.candidates import Candidate
from hf_dd.evaluation.protocols import Protocol
from hf_dd.evaluation.results import Results

OF_REGIME = {"hard": "hl", "soft": "sl", "crops": "sre2l-fkd", "online": "sl-kd"}  # all but crops' with equal steps
FEWEST_DRAWS = 3  # of random images, in an audit


def protocols_of(config: EvaluateConfig) -> dict[str, Protocol]:
    """By the name that the options give, the protocol that they name, or those of their regimes.

    Raises ConfigError for a regime's protocol that has students learn from other labels, and as `Protocol.from_config`
    does.
    """
    if not config.regimes:
        return {config.eval_protocol: Protocol.from_config(config)}
    found = {}
    for regime, name in parse_regimes(config.regimes).items():
        name = name or OF_REGIME[regime]
        if (labels := PROTOCOLS.find(name, "--regimes").labels) != regime:
            raise ConfigError(
                f"--regimes {regime}={name}: students of the protocol {name} learn from {verdict.REGIMES[labels]}: "
                f"give {labels}={name}, or another protocol for {regime}."
            )
        found[name] = Protocol.from_config(config, name)
    return found


def draws_of(config: EvaluateConfig) -> int:
    """Draws of random images for each student: in an audit at least so many that there are three of them."""
    needed = -(-FEWEST_DRAWS // config.eval_students) if config.regimes else 1
    return max(config.random_draws, needed)


def at_steps_of(full: Candidate, ipc: int | tuple[int, ...], sets: Sequence[Candidate]) -> Candidate:
    """The full set for as many steps as the largest of the sets with this ipc takes, in as many epochs."""
    count = max(len(own.images) for own in sets if own.ipc == ipc)
    return dataclasses.replace(full, name=f"{full.name}, {count:,} images an epoch", epoch_images=count)


def merged(parts: Sequence[Results]) -> Results:
    """The results of several regimes as one, the first one's protocol before the others'."""
    first = parts[0]
    if len(parts) == 1:
        return first
    return dataclasses.replace(
        first,
        rows=tuple(row for part in parts for row in part.rows),
        teachers=next((part.teachers for part in parts if part.teachers), ()),
        plugins={name: origin for part in parts for name, origin in part.plugins.items()},
        protocols={part.protocol.labels: part.protocol.as_dict() for part in parts},
    )


def audit(results: Results) -> tuple[list[str], list[list[Any]]]:
    """Head and rows of the audit's table: sets and real images against regimes.

    Each regime has the accuracies, their gains over random images of that regime, paired by the students' seeds, and
    the seconds that all students of a row took.
    """
    facts = results.as_dict()
    parts = verdict.by_regime(facts)
    head = ["trained on", "copy", "student", "bytes, labels included"]
    for regime in parts:
        head += [verdict.REGIMES[regime], "over random", "steps", "time"]
    places = dict.fromkeys((row.set, row.copy, row.architecture) for row in results.rows)
    rows = []
    for place in places:
        each = {row.regime: row for row in results.rows if (row.set, row.copy, row.architecture) == place}
        stored = max(row.bytes + row.soft_label_bytes for row in each.values())
        cells: list[Any] = [*place, f"{stored:,}"]
        for regime, part in parts.items():
            row = each.get(regime)
            if row is None:
                cells += [None] * 4
                continue
            own = dataclasses.asdict(row)
            accuracy = f"{tables.accuracy(own, part)} {intervals.of_accuracy(row.mean, row.half_width)}"
            cells += [accuracy, verdict.over_random(own, part), f"{row.steps:,}", duration(row.seconds)]
        rows.append(cells)
    return head, rows
