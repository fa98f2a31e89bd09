"""Where the results of an evaluation go: a file of their own, and the records and cards of local sets."""

import dataclasses
import functools
import logging
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hf_dd.artefacts.distilled_folder import Artefact
from hf_dd.config import EvaluateConfig, slug
from hf_dd.core import files
from hf_dd.core.layout import RECORD, RESULTS
from hf_dd.core.progress import say
from hf_dd.core.text import plural
from hf_dd.errors import RunError
from hf_dd.evaluation import regimes, report
from hf_dd.evaluation.results import Results, Row

logger = logging.getLogger(__name__)


def keep_results(config: EvaluateConfig, parts: Sequence[Results], names: Iterable[str]) -> None:
    """Write results.json, unless the evaluation was of a single local set, and complete the cards of local sets.

    `names` are what results call the sets, in their order.
    """
    if own := own_folder(config):
        complete(own, regimes.merged(parts))
        return
    folder = place_of(config)
    with files.claimed(folder):
        write_results(folder, regimes.merged(parts))
    if len(config.sets) > 1:
        complete_each(config, parts, names)


def own_folder(config: EvaluateConfig) -> str | None:
    """The folder of a single local set, which the results are written into where no other is named.

    Those of real images alone aren't: they would take the place of the set's own.
    """
    single = config.sets[0] if len(config.sets) == 1 and config.output_dir is None and config.eval_copies else None
    return single if single and (Path(single) / RECORD).is_file() else None


def place_of(config: EvaluateConfig) -> Path:
    """The folder that an evaluation writes into."""
    return Path(own_folder(config) or config.output_dir or f"outputs/evaluate-{'-'.join(map(slug, config.sets))}")


def complete_each(config: EvaluateConfig, parts: Sequence[Results], names: Iterable[str]) -> None:
    """Put the results of each of several local sets into its own record and card, with those of its real images.

    A set keeps the results that it has where these took more training by the same protocol: a quick look at several
    sets doesn't replace them. The log warns of that, and of what can't be written. All are in the evaluation's folder.
    `names` are what results call the sets, in their order.
    """
    done = set()
    for folder, name in zip(config.sets, names, strict=True):
        if not (Path(folder) / RECORD).is_file() or Path(folder).resolve() in done:
            continue
        done.add(Path(folder).resolve())
        try:
            own = [of_set(results, name) for results in parts]
            if not all(part.rows for part in own):
                continue
            new = regimes.merged(own).as_dict()
            before = Artefact.open(folder).record.results
            shorter = before and math.prod(longest(new)) < math.prod(longest(before))
            if shorter and protocols_of(before) == protocols_of(new):
                logger.warning(
                    "%s keeps its results (%s), as these (%s) took less training: they are in the evaluation's own "
                    "folder. An evaluation of this set alone replaces its results.",
                    *(folder, in_words(before), in_words(new)),
                )
            else:
                complete(folder, regimes.merged(own))
        except RunError as error:
            logger.warning("The card of %s isn't completed: %s", folder, error)


def complete(folder: str, results: Results) -> None:
    """Put a local set's results into its record and its card, and tell which ones they replace."""
    plotted = (len(results.architectures) > 1 or results.protocols) and report.can_plot()
    plot = functools.partial(report.plot, results) if plotted else None
    with files.claimed(Path(folder)):
        artefact = Artefact.open(folder)
        if before := artefact.record.results:
            say(
                "The results of %s are replaced: %s, where they were %s.",
                folder,
                in_words(results.as_dict()),
                in_words(before),
            )
        artefact.with_results(results.as_dict(), plot)


def protocols_of(results: dict[str, Any]) -> set[str]:
    """The names of the protocols that results are by."""
    return {protocol["name"] for protocol in (results["protocol"], *results.get("protocols", {}).values())}


def longest(results: dict[str, Any]) -> tuple[int, int]:
    """Students and epochs of the row of the set itself that took most training; 0 where there is none."""
    own = [(row["n"], row.get("epochs", 0)) for row in results["rows"] if not row.get("baseline")]
    return max(own, key=math.prod, default=(0, 0))


def in_words(results: dict[str, Any]) -> str:
    """How results came to be: `dsa, 2 students × 100 epochs`."""
    students, epochs = longest(results)
    return ", ".join([*sorted(protocols_of(results)), f"{plural(students, 'student')} × {plural(epochs, 'epoch')}"])


def of_set(results: Results, name: str) -> Results:
    """Of one regime's results those of a set, and of the real images of its ipc."""
    ipcs = {row.ipc for row in results.rows if row.set == name and not row.baseline}

    def belongs(row: Row) -> bool:
        return row.baseline == "full" or row.ipc in ipcs if row.baseline else row.set == name

    return dataclasses.replace(
        results,
        rows=tuple(filter(belongs, results.rows)) if ipcs else (),
        scores=tuple(score for score in results.scores if score.set == name),
        students=tuple(each for each in results.students if each["set"] == name),
        tested={own: how for own, how in results.tested.items() if own == name},
    )


def write_results(folder: Path, results: Results) -> None:
    """Write `results.json` into a folder."""
    files.write_json(folder / RESULTS, results.as_dict())
    logger.info("Results are in %s.", folder / RESULTS)
