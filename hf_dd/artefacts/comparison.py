"""Two artefacts side by side: what was published and what was made again. Knows nothing of how either is made."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from hf_dd import hub
from hf_dd.evaluation import intervals, verdict
from hf_dd.synthetic.distilled_set import DistilledSet
from hf_dd.teachers.crop_labels import CropLabels

GREY_LEVEL = 1 / 255  # of [0, 1]: what an 8-bit copy can tell apart
QUANTILE = 1.96  # of the normal distribution: 95 % of it lie within so many deviations
FEWEST = 3  # of which an interval tells anything: with two, it is nearly 13 standard errors to each side
WIDEST = 5.0  # points to each side: whatever is as near as that to an accuracy isn't told from it any further


@dataclass(frozen=True)
class Check:
    """An input that was looked at: what it is, and what is wrong with it; "" for nothing."""

    what: str
    wrong: str = ""

    def __str__(self) -> str:
        return f"FAILS {self.what}: {self.wrong}" if self.wrong else f"ok {self.what}"


@dataclass(frozen=True)
class Difference:
    """A circumstance that isn't the same: what it was when the record was written, and what it is here."""

    what: str
    there: str
    here: str

    def __str__(self) -> str:
        return f"{self.what}: {self.there} there, {self.here} here"


@dataclass(frozen=True)
class Values:
    """How far numbers are from each other: the pixels of two sets, in [0, 1] space, or the weights of two networks.

    Attributes:
        of: 'pixels' or 'weights'.
        equal: whether the files have the same bytes.
        largest, mean: absolute differences; None where the others aren't at hand, as of a study on the Hub.
        alike: whether the labels are the same, and the shapes.
        soft_labels: the largest absolute difference of soft labels; None where there are none.
    """

    of: str
    equal: bool
    largest: float | None
    mean: float | None
    alike: bool = True
    soft_labels: float | None = None

    @property
    def close(self) -> bool:
        """Whether 8 bits can hardly tell them apart: labels are equal, no value is further off than a grey level."""
        near = self.largest is not None and max(self.largest, self.soft_labels or 0.0) <= GREY_LEVEL
        return self.alike and (self.equal or near)

    def __str__(self) -> str:
        if self.equal:
            return f"{self.of}: every byte is equal"
        if not self.alike:
            return f"{self.of}: their labels or shapes differ"
        if self.largest is None:
            return f"{self.of}: the bytes differ, and only their digest is published"
        apart = f"largest difference {self.largest:.3g}, mean {self.mean:.3g}"
        soft = "" if self.soft_labels is None else f", of soft labels {self.soft_labels:.3g}"
        return f"{self.of}: {apart if self.largest else 'equal in every value, in other bytes'}{soft}"


@dataclass(frozen=True)
class Accuracy:
    """An accuracy in percent that is on record, and here.

    Attributes:
        what: it is of.
        there, half_width: the mean on record, and half of its 95 % interval; None without one.
        here: the same, found here.
        published: what the published images give here, where it was measured.
        n: what the interval is over: students, or the test images of a single network.
        apart: by how many points students of the same seeds differ at most, by the 95 % interval of their differences;
            None where that can't be told.
        step: the points that a student is worth who is right about one more test image.
        of_set: whether it is of what was made again, and not of real images beside it.
        at_chance: whether it is no better than guessing, which students reach on any images.
    """

    what: str
    there: float
    half_width: float | None
    here: float
    published: float | None = None
    n: int = FEWEST
    apart: float | None = None
    step: float = 0.0
    of_set: bool = True
    at_chance: bool = False

    @property
    def open(self) -> str:
        """Why what was found here can't be judged, "" where it can: an interval that takes in anything judges nothing.

        Beyond its interval it is judged however wide that is.
        """
        if self.half_width is None:
            return "no interval"
        if not self.inside:
            return ""
        if self.n < FEWEST:
            return f"fewer than {FEWEST} students"
        if self.at_chance:
            return "no better than guessing"
        wide = self.half_width > WIDEST and (self.apart is None or self.apart > WIDEST)
        return f"an interval of more than ± {WIDEST:g} points" if wide else ""

    @property
    def inside(self) -> bool:
        """Whether what was found here is in the interval of what is on record, or off it by one test image."""
        found = [self.here] if self.published is None else [self.here, self.published]
        return all(abs(value - self.there) <= (self.half_width or 0) + self.step + 1e-9 for value in found)

    @property
    def within(self) -> bool | None:
        """Whether what was found here agrees with what is on record; None where it can't be judged, see `open`."""
        return None if self.open else self.inside

    def __str__(self) -> str:
        interval = "no interval" if self.half_width is None else f"± {self.half_width:.2f}"
        published = "" if self.published is None else f", of the published images {self.published:.2f}"
        judged = {True: "within", False: "OUTSIDE", None: f"not judged ({self.open})"}[self.within]
        return (
            f"accuracy {self.what}: {self.there:.2f} ({interval}) on record, {self.here:.2f} here{published}: {judged}"
        )


@dataclass(frozen=True)
class Verdict:
    """What a reproduction found.

    Attributes:
        set: what was asked for.
        at: the commit that it meant; None of a folder.
        kind: of the record.
        ran: whether it was made again, or only checked.
        hardware, versions: that it was made with here.
        checks: of the inputs, each an `ok` or what is wrong.
        differences: of versions and hardware.
        notes: what else is worth knowing.
        values: pixels or weights, made again beside the published ones; None where nothing was made.
        accuracies: those on record, beside those found here.
        parts: of a study, the verdict of each cell.
    """

    set: str
    at: str | None
    kind: str
    ran: bool
    hardware: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    differences: tuple[Difference, ...] = ()
    notes: tuple[str, ...] = ()
    values: Values | None = None
    accuracies: tuple[Accuracy, ...] = ()
    parts: tuple["Verdict", ...] = ()

    @property
    def holds(self) -> bool:
        """Whether all that was looked at is as the record says.

        Of images: their bytes are equal, or no pixel is further off than a grey level, or, where accuracies of them
        can be judged, these hold, of the published images too. No accuracy may lie outside of its interval.
        """
        if any(check.wrong for check in self.checks) or not all(part.holds for part in self.parts):
            return False
        if self.values is None:
            return not self.ran or bool(self.parts)
        return not self.missed and (self.values.close or bool(self.values.alike and self.told))

    @property
    def judged(self) -> bool:
        """Whether that could be told: it can't where images differ and no accuracy of them can be judged."""
        if self.parts:
            return all(part.judged for part in self.parts) or any(p.judged and not p.holds for p in self.parts)
        return self.values is None or self.holds or self.missed or not self.values.alike

    @property
    def missed(self) -> bool:
        """Whether an accuracy lies outside of its interval."""
        return any(each.within is False for each in self.accuracies)

    @property
    def told(self) -> bool:
        """Whether an accuracy of what was made again could be judged; those of real images say nothing of it."""
        return any(each.of_set and each.within is not None for each in self.accuracies)

    @property
    def says(self) -> str:
        """The verdict in a sentence, without its end."""
        if wrong := [check for check in self.checks if check.wrong]:
            return f"{len(wrong)} of {len(self.checks)} inputs are gone, changed or can't be used"
        if self.parts:
            good, unsure = sum(part.holds for part in self.parts), sum(not part.judged for part in self.parts)
            return f"{good} of {len(self.parts)} cells hold" + (f", {unsure} can't be judged" if unsure else "")
        if self.values is None:
            return f"all {len(self.checks)} inputs are there and as recorded"
        judged = [each.within for each in self.accuracies if each.within is not None]
        accuracies = f"; {sum(judged)} of {len(judged)} accuracies lie within their intervals" if judged else ""
        why = " and ".join(dict.fromkeys(each.open for each in self.accuracies if each.of_set)) or "none was evaluated"
        unsure = "" if self.judged else f"; no accuracy of it can be judged ({why})"
        return f"{self.values}{accuracies}{unsure}"

    def lines(self) -> list[str]:
        """All of it, for a terminal."""
        found = [f"{self.set}{f' ({hub.digits(self.at)})' if self.at else ''}, {self.kind}"]
        found += [f"  {each}" for each in (*self.checks, *self.differences, *self.notes)]
        found += [f"  {line}" for part in self.parts for line in part.lines()]
        found += [f"  {each}" for each in ([self.values] if self.values else []) + list(self.accuracies)]
        outcome = "holds" if self.holds else "DOESN'T HOLD" if self.judged else "CAN'T BE JUDGED"
        return [*found, f"{'reproduced' if self.ran else 'checked'}: {outcome}: {self.says}"]

    def __repr__(self) -> str:
        return "\n".join(self.lines())

    def as_dict(self) -> dict[str, Any]:
        """JSON-able values: the attributes, with `holds`, `judged` and `says`, and `within` of each accuracy."""
        accuracies = [dataclasses.asdict(each) | {"within": each.within} for each in self.accuracies]
        parts = [part.as_dict() for part in self.parts]
        outcome = {"holds": self.holds, "judged": self.judged, "says": self.says}
        return (
            {"kind": "reproduction", "of": self.kind, **outcome}
            | {key: value for key, value in dataclasses.asdict(self).items() if key != "kind"}
            | {"accuracies": accuracies, "parts": parts}
        )


def sets_apart(there: DistilledSet, here: DistilledSet, equal: bool) -> Values:
    """Two sets as they are trained on; `equal` is whether their files are."""
    if there.pixel_values.shape != here.pixel_values.shape or not torch.equal(there.labels, here.labels):
        return Values("pixels", equal, None, None, alike=False)
    largest, mean = apart(there.pixel_values, here.pixel_values)
    soft = None
    if there.soft_labels is not None or here.soft_labels is not None:
        alike = there.soft_labels is not None and here.soft_labels is not None
        alike = alike and there.soft_labels.shape == here.soft_labels.shape
        soft = apart(there.soft_labels, here.soft_labels)[0] if alike else 1.0
    if here.crop_labels is not None:  # else the published ones were made for a set that was there
        soft = max(soft or 0.0, crop_labels_apart(there.crop_labels, here.crop_labels))
    rounding = GREY_LEVEL  # may be between the 8-bit copies of pixels that are nearly equal
    pictures = (there.images.int() - here.images.int()).abs().max().item() / 255
    return Values("pixels", equal, max(largest, pictures - rounding), mean, soft_labels=soft)


def crop_labels_apart(there: CropLabels | None, here: CropLabels) -> float:
    """The largest difference of probabilities that labels of crops hold; as far as can be where the views differ."""
    said = ("log_probabilities", "log_rest", "classes")
    drawn = [{name: each.columns[name] for name in each.columns if name not in said} for each in (there or here, here)]
    if there is None or drawn[0].keys() != drawn[1].keys() or len(there) != len(here):
        return 1.0
    if not all(torch.equal(drawn[0][name], drawn[1][name]) for name in drawn[0]):
        return 1.0
    return apart(there.probabilities(1.0), here.probabilities(1.0))[0]


def weights_apart(there: Mapping[str, Tensor], here: Mapping[str, Tensor], equal: bool) -> Values:
    """The weights of two networks by name; those of another form are as far apart as can be."""
    if {name: value.shape for name, value in there.items()} != {name: value.shape for name, value in here.items()}:
        return Values("weights", equal, None, None, alike=False)
    flat = [
        torch.cat([value.double().flatten() for value in (each[name] for name in there)]) for each in (there, here)
    ]
    return Values("weights", equal, *apart(*flat))


def apart(first: Tensor, second: Tensor) -> tuple[float, float]:
    """The largest and the mean absolute difference of two tensors of one shape, compared in float64."""
    gaps = (first.double() - second.double()).abs()
    return gaps.max().item(), gaps.mean().item()


def rows_apart(
    there: Sequence[Mapping[str, Any]],
    here: Sequence[Mapping[str, Any]],
    published: Sequence[Mapping[str, Any]] = (),
    tested: Mapping[str, Any] = MappingProxyType({}),
) -> list[Accuracy]:
    """The rows of results on record beside those found here, of the same images, copy, student and rate.

    `published` are those of the published images, evaluated here; `tested` has what the results say of the test
    images: how many there are (`test_images`), and what guessing gives (`majority`).
    """
    several = len({row.get("regime") for row in there}) > 1

    def identity(row: Mapping[str, Any]) -> tuple:
        """What tells a row from the others of a set, wherever it was evaluated."""
        student = row.get("backbone") or row["architecture"]
        rate = "own" if row.get("own_learning_rate") else row["learning_rate"]
        regime = row.get("regime") if several else None
        return row.get("baseline"), student, row["copy"], row["n"], row.get("epochs"), rate, regime

    found = {identity(row): row for row in here}
    again = {identity(row): row for row in published if not row.get("baseline")}
    step = 100 / tested["test_images"] if tested.get("test_images") else 0.0
    accuracies = []
    for row in there:
        if (own := found.get(identity(row))) is None:
            continue
        claimed = again.get(identity(row))
        gaps = [students_apart(row, each) for each in (own, claimed) if each is not None]
        accuracies.append(
            Accuracy(
                row_in_words(row),
                row["mean"],
                row["half_width"],
                own["mean"],
                claimed and claimed["mean"],
                n=row["n"],
                apart=None if None in gaps else max(gaps),
                step=step,
                of_set=not row.get("baseline"),
                at_chance=verdict.at_chance(row, tested),
            )
        )
    return accuracies


def students_apart(there: Mapping[str, Any], here: Mapping[str, Any]) -> float | None:
    """By how many points students of the same seeds differ at most, by the 95 % interval of their mean difference.

    None for fewer than three, and where the rows don't give each student's accuracy.
    """
    both = [row.get("scores") or () for row in (there, here)]
    if len(both[0]) != len(both[1]) or len(both[0]) < FEWEST:
        return None
    difference = intervals.of_difference(*both)
    return abs(difference.mean) + difference.half_width


def row_in_words(row: Mapping[str, Any]) -> str:
    """A row in a few words."""
    labels = f", {row['regime']} labels" if row.get("regime", "hard") not in ("hard", None) else ""
    return f"[{row.get('baseline') or 'set'}, {row['copy']}, {row['architecture']}, n={row['n']}{labels}]"


def of_test_images(what: str, there: float, here: float, images: int) -> Accuracy:
    """The accuracy of one network, in [0, 1], with the 95 % interval that so many test images leave it."""
    half_width = QUANTILE * (there * (1 - there) / images) ** 0.5
    return Accuracy(what, 100 * there, 100 * half_width, 100 * here, n=images, step=100 / images)


def versions_apart(there: Mapping[str, str], here: Mapping[str, str]) -> list[Difference]:
    """The versions on record that others have here."""
    return [
        Difference(name, version, here.get(name, "none"))
        for name, version in there.items()
        if here.get(name) != version
    ]
