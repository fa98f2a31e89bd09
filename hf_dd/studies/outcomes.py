"""What the distillations of a study's cells reached, and the differences between cells with their intervals."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hf_dd.artefacts.distilled_folder import Artefact
from hf_dd.artefacts.set_records import teaching_seconds
from hf_dd.errors import RunError
from hf_dd.evaluation import intervals
from hf_dd.evaluation.verdict import share_students


@dataclass(frozen=True)
class Outcome:
    """What the distillations of a cell reached, one for each seed: accuracies in percent, on the first copy evaluated.

    Attributes:
        records: of each seed, the content of `hf_dd.json`.
        scores: by architecture, for each seed its students.
    """

    records: list[dict[str, Any]]
    scores: dict[str, list[tuple[float, ...]]]

    @classmethod
    def of(cls, folders: Sequence[Path]) -> "Outcome":
        """Read the cells of one name."""
        found = [dataclasses.asdict(Artefact.open(folder).record) for folder in folders]
        scores: dict[str, list[tuple[float, ...]]] = {}
        for record in found:
            rows = rows_of(record)
            for row in rows:
                if row["copy"] == rows[0]["copy"]:
                    scores.setdefault(row["architecture"], []).append(tuple(row["scores"]))
        return cls(found, scores)

    @property
    def copy(self) -> str:
        """The copy of the sets that the students were trained on: float or 8bit."""
        return rows_of(self.records[0])[0]["copy"]

    @property
    def first(self) -> str:
        """The architecture that the cell's accuracy is of."""
        return next(iter(self.scores))

    @property
    def accuracy(self) -> intervals.Interval:
        """The mean accuracy of the first architecture, see `intervals.of_distillations`."""
        return intervals.of_distillations(self.scores[self.first], self.shared)

    @property
    def shared(self) -> bool:
        """Whether the distillations were learned by the same students, as in studies of older versions."""
        return share_students([record["results"] for record in self.records])

    def means(self, architectures: Sequence[str]) -> list[list[float]]:
        """For each seed its students, each the mean over these architectures."""
        seeds = zip(*(self.scores[architecture] for architecture in architectures), strict=True)
        return [list(map(statistics.fmean, zip(*students, strict=True))) for students in seeds]

    def students(self, architecture: str | None = None) -> list[float]:
        """All students of all seeds, of an architecture or of the first."""
        return [score for scores in self.scores[architecture or self.first] for score in scores]

    @property
    def teachers(self) -> list[dict[str, Any]]:
        """The teachers that made the sets, each once."""
        return list({spec["sha"]: spec for record in self.records for spec in record["teachers"]}.values())

    @property
    def teaching_seconds(self) -> float | None:
        """What it took to train them, and the experts, see `set_records.teaching_seconds`."""
        experts = {(own["repo_id"], *own["shas"]): own for record in self.records for own in record.get("experts", [])}
        return teaching_seconds([*self.teachers, *experts.values()])

    def as_dict(self) -> dict[str, Any]:
        """The cell as `report.json` has it."""
        return {
            "scores": self.scores,
            "copy": self.copy,
            "commands": [record["command"] for record in self.records],
            "parquet_sha256": [record["parquet_sha256"] for record in self.records],
            "teachers": self.teachers,
            "teaching_seconds": self.teaching_seconds,
            "diversity": self.records[0]["diversity"],
            "seconds": [record["run"]["seconds"] for record in self.records],
        }


@dataclass(frozen=True)
class Gain:
    """A mean difference of pairs of cells, over architectures and of each of them."""

    interval: intervals.Interval
    of_each: dict[str, intervals.Interval]

    def as_dict(self) -> dict[str, Any]:
        """The difference as `report.json` has it."""
        of_each = {name: own.as_dict() for name, own in self.of_each.items()}
        return self.interval.as_dict() | {"architectures": of_each}


def paired_gain(outcomes: Mapping[str, Outcome], pairs: Sequence[tuple[str, str]]) -> Gain:
    """The mean over the pairs of first - second, paired by seed (or student), with its interval over those.

    It is over the architectures that all of these cells have. Raises RunError where there is none, or where the cells
    have different numbers of seeds or students.
    """
    cells = [outcomes[name] for pair in pairs for name in pair]
    shared = [name for name in cells[0].scores if all(name in cell.scores for cell in cells)]
    if not shared:
        raise RunError(f"The cells of {pairs} share no architecture of students.")
    return Gain(difference(outcomes, pairs, shared), {name: difference(outcomes, pairs, [name]) for name in shared})


def difference(
    outcomes: Mapping[str, Outcome], pairs: Sequence[tuple[str, str]], architectures: Sequence[str]
) -> intervals.Interval:
    """The mean over pairs and architectures of first - second, with its interval over seeds (or students)."""
    cells = {name: outcomes[name].means(architectures) for pair in pairs for name in pair}
    counts = {len(students) for seeds in cells.values() for students in seeds}
    if len(counts) > 1 and all(len(seeds) > 1 for seeds in cells.values()):  # distillations are what is paired
        cells = {name: [[statistics.fmean(students)] for students in seeds] for name, seeds in cells.items()}
    if len({tuple(map(len, seeds)) for seeds in cells.values()}) > 1:
        raise RunError(f"The cells of {pairs} have different numbers of seeds or students: they can't be paired.")
    sides = [np.mean([cells[pair[side]] for pair in pairs], 0) for side in (0, 1)]
    shared = any(outcomes[name].shared for name in cells)
    return intervals.of_distillations((sides[0] - sides[1]).tolist(), shared)


def rows_of(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The results of the set itself, without those of real images beside it."""
    return [row for row in record["results"]["rows"] if row["baseline"] is None]
