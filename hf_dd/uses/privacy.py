"""Privacy: whether students of a set give away which images it was made from, and whether its images are copies.

Membership inference by a threshold on the loss (Yeom et al., CSF 2018), and by the loss less what it is for students
that never saw the image (Watson et al., ICLR 2022: how difficult an image is says nothing of membership). Members are
the training images that a set was distilled from; of real images, alone or as a set, those that were chosen. Test
images are no members.
"""

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hf_dd.config.base import less_memory
from hf_dd.config.uses import PrivacyConfig
from hf_dd.core.alone import alone
from hf_dd.core.digests import new_digest
from hf_dd.core.progress import over
from hf_dd.core.seeding import generator
from hf_dd.core.text import markdown, table
from hf_dd.data.batches import Images, in_blocks
from hf_dd.evaluation import intervals
from hf_dd.evaluation.candidates import Candidate
from hf_dd.training.loop import accuracy
from hf_dd.uses import copies
from hf_dd.uses.subject import Subject

FALSE_ALARMS = 0.01  # at which the share of members that are found is told (Carlini et al., S&P 2022)
FRESH = 1000  # test images, at most, that say how near images come by chance
ATTACKS = {"loss": "loss threshold", "calibrated": "calibrated loss"}

Losses = tuple[np.ndarray, np.ndarray]  # of a student on each training image and on each test image


@alone(less_memory(PrivacyConfig))
def privacy(config: PrivacyConfig | None = None, **options: Any) -> Path:
    """Attack students of the set and of real images, and look for copies among the set's images.

    Returns the folder of `results.json`, `results.md` and `neighbours.png`. Raises the errors of `Subject.load`.
    """
    config = PrivacyConfig.over(config, options)
    subject = Subject.load("privacy", config)
    sets = {"set": subject.own} | {kind: subject.real_images(kind) for kind in dict.fromkeys(config.baselines)}
    items = [(kind, student) for kind in sets for student in range(config.eval_students)]
    found = subject.spread(
        "students to attack", items, lambda item: losses(subject, sets[item[0]], config.eval_architecture, item[1])
    )
    of_kind: dict[str, list[Losses]] = {kind: [] for kind in sets}
    right: dict[str, list[float]] = {kind: [] for kind in sets}
    for (kind, _), (own, share) in zip(items, found, strict=True):
        of_kind[kind].append(own)
        right[kind].append(share)
    chosen = {kind: members_of(subject, kind, own, config.eval_students) for kind, own in sets.items()}
    references = list(zip(of_kind.get("random", []), chosen.get("random", []), strict=True))
    rows = [
        row_of(sets[kind].name, kind, words_of(kind, chosen[kind][0]), own, chosen[kind], references)
        for kind, own in of_kind.items()
    ]
    if references:
        never = [~members for members in chosen["random"]]
        words = "training images it never saw: a control"
        rows.append(row_of(sets["random"].name, "control", words, of_kind["random"], never, references))
    for row in rows:
        row["accuracy"] = intervals.of_mean(right["random" if row["kind"] == "control" else row["kind"]]).as_dict()
    near, picture = neighbours(subject)
    results = {
        "n": config.eval_students,
        "architecture": config.eval_architecture,
        "members": len(subject.data.train),
        "others": len(subject.data.test),
        "rows": rows,
        "copies": near,
    }
    results["headlines"] = headlines(results)
    title = f"What students and images of {subject.name} say of {subject.data.name}"
    return subject.write(results, title, text_of(subject, results), picture)


# --- membership


def losses(subject: Subject, candidate: Candidate, architecture: str, student: int) -> tuple[Losses, float]:
    """Cross-entropies, float64, of a student on all training images and on all test images; its test accuracy (%)."""
    network, found = subject.trained(candidate, architecture, student), []
    for split in (subject.data.train, subject.data.test):
        logits, labels = subject.logits(network, architecture, split.images).double(), split.labels.cpu()
        found.append(torch.nn.functional.cross_entropy(logits, labels, reduction="none").numpy())
    return tuple(found), 100 * accuracy(logits.argmax(1), labels)


def members_of(subject: Subject, kind: str, candidate: Candidate, students: int) -> list[np.ndarray]:
    """For each student, which training images are members: all of them, or those that it was trained on.

    A set whose images are all training images was made by choosing these; any other set was made from all of them.
    """
    train = subject.data.train.images
    if kind == "full":
        return [np.ones(len(train), dtype=bool)] * students
    every = digests(train)
    if kind == "set":
        own = set(digests(subject.distilled.images))
        held = np.array([digest in own for digest in every])
        return [held if own <= set(every) else np.ones(len(train), dtype=bool)] * students
    found = []
    for student in range(students):
        own = set(digests(candidate.of_student(student).images))
        found.append(np.array([digest in own for digest in every]))
    return found


def digests(images: Images) -> list[bytes]:
    """A digest of each image's bytes: images that are alike are one."""
    return [
        new_digest(row).digest()
        for block in over(in_blocks(images), "digests", len(images), "image", len)
        for row in block.contiguous().cpu().numpy()
    ]


def calibrated(own: Losses, others: Sequence[tuple[Losses, np.ndarray]]) -> Losses:
    """A student's losses less the mean of those of others that weren't trained on the image; NaN where all were.

    Takes each other student's losses, and the training images that it was trained on.
    """
    unseen = np.array([~members for _, members in others])
    trained = np.array([of_train for (of_train, _), _ in others])
    counts = unseen.sum(0)
    difficulty = np.where(counts > 0, (trained * unseen).sum(0) / np.maximum(counts, 1), np.nan)
    return own[0] - difficulty, own[1] - np.mean([of_test for (_, of_test), _ in others], axis=0)


def auc(members: np.ndarray, others: np.ndarray) -> tuple[float, float]:
    """The share of pairs in which a member scores higher than another image, ties for a half, and its variance.

    The variance is that over the images (DeLong, DeLong & Clarke-Pearson, Biometrics 1988).
    """
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([members, others]))
    of_members = (ranks[: len(members)] - rankdata(members)) / len(others)
    of_others = 1 - (ranks[len(members) :] - rankdata(others)) / len(members)
    variance = sum(part.var(ddof=1) / len(part) if len(part) > 1 else 0.0 for part in (of_members, of_others))
    return float(of_members.mean()), float(variance)


def found_at(members: np.ndarray, others: np.ndarray) -> float:
    """The share of members that score above a threshold that at most a hundredth of the others score above."""
    from sklearn.metrics import roc_curve

    truth = [1] * len(members) + [0] * len(others)
    alarms, right, _ = roc_curve(truth, np.concatenate([members, others]), drop_intermediate=False)
    return float(right[alarms <= FALSE_ALARMS].max())


def attacked(scores: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
    """What an attack reaches: AUC and the share of members found at 1 % false alarms, means over the students.

    Takes for each student the scores of the members and of other images, higher for a member. The half-width of the
    AUC's 95 % interval is that of the images and the students together; None for a single student.
    """
    areas, variances = zip(*(auc(*own) for own in scores), strict=True)
    half_width = None
    if len(areas) > 1:
        of_students = statistics.variance(areas) / len(areas), len(areas) - 1
        half_width, _ = intervals.of_parts((statistics.fmean(variances), math.inf), of_students)
    return {
        "auc": statistics.fmean(areas),
        "half_width": half_width,
        "found_at_1_percent": statistics.fmean(found_at(*own) for own in scores),
        "scores": list(areas),
    }


def row_of(
    name: str,
    kind: str,
    words: str,
    own: Sequence[Losses],
    members: Sequence[np.ndarray],
    references: Sequence[tuple[Losses, np.ndarray]],
) -> dict[str, Any]:
    """The attacks on the students of one set.

    Args:
        name: of what the students were trained on.
        kind: of it: the set, a kind of real images, or the control.
        words: which training images count as members.
        own: the losses of each student.
        members: for each, which training images are members.
        references: the students of random images with what they were trained on; a student isn't its own reference.
    """
    plain, less = [], []
    for (of_train, of_test), chosen in zip(own, members, strict=True):
        plain.append((-of_train[chosen], -of_test))
        others = [other for other in references if other[0][0] is not of_train]
        if others:
            relative, of_others = calibrated((of_train, of_test), others)
            kept = chosen & ~np.isnan(relative)
            if kept.any():
                less.append((-relative[kept], -of_others))
    attacks = {"loss": attacked(plain)}
    if len(less) == len(plain):
        attacks["calibrated"] = attacked(less)
    return {
        "trained_on": name,
        "kind": kind,
        "members": words,
        "member_images": int(members[0].sum()),
        "attacks": attacks,
    }


def words_of(kind: str, members: np.ndarray) -> str:
    """Which training images count as members, in words."""
    if kind == "full":
        return "all training images"
    if kind == "set" and members.all():
        return f"all {len(members):,} training images that it was distilled from"
    return "the images that it was trained on"


# --- copies


def neighbours(subject: Subject) -> tuple[dict[str, Any], Any]:
    """How many of the set's images, and of random real ones, are near copies; and a picture of the set's nearest."""
    train, test = subject.data.train.images, subject.data.test.images
    picked = torch.randperm(len(test), generator=generator(subject.config.seed, "fresh"))[:FRESH].sort().values
    fresh = copies.nearest(test[picked.to(test.device)], train)
    rows, labels = {}, subject.data.train.labels.cpu()
    sets = {"set": subject.own, "random": subject.real_images("random").of_student(0)}
    for kind, candidate in sets.items():
        images = candidate.images.to(train.device)
        found = copies.nearest(images, train)
        flags = copies.suspects(found, fresh)
        rows[kind] = copies.share(flags) | {
            "name": candidate.name,
            "likeness": median(found.likeness),
            "nearness": median(found.nearness),
            "same_class": (labels[found.index] == candidate.labels.cpu()).double().mean().item(),
        }
        if kind == "set":
            picture = copies.pairs(images, train, found)
            nearest = {"index": found.index.tolist(), "likeness": found.likeness.tolist()}
            rows[kind] |= {"nearest": nearest | {"nearness": found.nearness.tolist(), "flagged": flags.tolist()}}
    test_row = {"likeness": median(fresh.likeness), "nearness": median(fresh.nearness), "of": len(picked)}
    threshold = fresh.nearness.double().quantile(copies.CHANCE).item()
    test_row["percent"] = copies.share(copies.suspects(fresh, fresh))["percent"]
    return {"threshold": threshold, "fresh": test_row, "sets": rows}, picture


def median(values: Tensor) -> float:
    """The middle value."""
    return values.double().quantile(0.5).item()


# --- words


def area(found: dict[str, Any] | None) -> str:
    """An AUC with its interval, in words."""
    if found is None:
        return "–"
    half_width = found["half_width"]
    between = "" if half_width is None else f" {intervals.between(found['auc'], half_width, 3)}"
    return f"{found['auc']:.3f}{between}"


def headlines(results: dict[str, Any]) -> list[list[str]]:
    """What was found in its shortest form: pairs of what and how much."""
    n, near = f"(n = {results['n']} students)", results["copies"]["sets"]["set"]
    found = []
    for row in results["rows"]:
        if row["kind"] in ("set", "random"):
            whose = "the distilled set" if row["kind"] == "set" else "random images"
            what = f"AUC of a loss threshold on students of {whose} (members: {row['members']})"
            found.append([what, f"{area(row['attacks']['loss'])} {n}"])
    copied = f"{near['flagged']} of {near['of']}"
    return [*found, ["images of the distilled set that are near copies of a training image", copied]]


def text_of(subject: Subject, results: dict[str, Any]) -> list[str]:
    """The results for people: parts of Markdown."""
    head = ["students trained on", "test accuracy (%)", "members", "images"]
    head += [f"{words}: {what}" for words in ATTACKS.values() for what in ("AUC", "found at 1 %")]
    rows = []
    for row in results["rows"]:
        reached = intervals.Interval(**row["accuracy"])
        cells = [row["trained_on"], reached, row["members"], f"{row['member_images']:,}"]
        for name in ATTACKS:
            own = row["attacks"].get(name)
            cells += [area(own), f"{100 * own['found_at_1_percent']:.1f} %" if own else None]
        rows.append(cells)
    near, fresh = results["copies"], results["copies"]["fresh"]
    found = [
        [
            own["name"],
            f"{own['flagged']} of {own['of']}",
            f"{own['percent']:.1f} {intervals.ends(own['low'], own['high'], 1)}",
            *(f"{own[key]:.3f}" for key in ("nearness", "likeness")),
        ]
        for own in near["sets"].values()
    ]
    found.append(
        [f"{fresh['of']:,} test images", None, f"{fresh['percent']:.1f}, by construction"]
        + [f"{fresh[key]:.3f}" for key in ("nearness", "likeness")]
    )
    start = subject.record.get("settings", {}).get("init")
    began = f" The images of {markdown(subject.name)} started from: {markdown(start)}." if start else ""
    kinds = {row["kind"]: row for row in results["rows"]}
    note = (
        f"{results['n']} {results['architecture']} students each, protocol {subject.evaluation.protocol}. AUC: 0.5 is "
        "guessing; brackets are 95 % intervals over the images (DeLong) and the students together (Student's t). "
        f'Other images are the {results["others"]:,} of the test split. "Found at 1 %": members found at 1 % false '
        "alarms. "
    )
    if "control" in kinds:
        note += (
            "The control is the same attack on training images that nobody trained on: its distance from 0.5 is the "
            "difference between the splits themselves."
        )
    else:
        note += "Without random real images there is neither a control nor a calibrated loss."
    chosen = subject.record.get("settings", {}).get("iterations") == 0
    if chosen and kinds["set"]["member_images"] == results["members"]:
        note += (
            f" {markdown(subject.name)} holds parts of some training images, and which ones isn't known: its row "
            "says what students give away of all of them, and not of those."
        )
    about = (
        "Near copies: nearer to a training image, by the mean distance to the 50 nearest, than all but 1 % of test "
        "images are; brightness, contrast and shifts by a pixel don't matter. Brackets: exact 95 % intervals. "
        f"Medians of nearness (0: a copy) and likeness (the correlation). `neighbours.png` shows the nearest.{began}"
    )
    copied = table(["images", "near copies", "percent", "nearness", "likeness"], found)
    return ["## Membership inference", table(head, rows), note, "## Copies", copied, about]
