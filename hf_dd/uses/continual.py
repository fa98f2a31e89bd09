"""Class-incremental learning: classes come step by step, and all that stays of earlier ones is a memory.

After each step a student is trained from scratch on the memory of all classes seen so far, and tested on those:
GDumb (Prabhu, Torr & Dokania, ECCV 2020), by which distilled memories are compared since Zhao & Bilen (WACV 2023), as
what it reaches depends on the memory alone. Memories have the same bytes, uncompressed, and hard labels.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hf_dd.config.base import less_memory
from hf_dd.config.uses import ContinualConfig
from hf_dd.core.alone import alone
from hf_dd.core.seeding import generator
from hf_dd.core.tensors import FLOAT_BYTES
from hf_dd.core.text import plural, table
from hf_dd.data.image_data import of_each_class
from hf_dd.errors import ConfigError, DataError, some
from hf_dd.evaluation import intervals
from hf_dd.evaluation.candidates import Candidate
from hf_dd.uses.subject import Subject


@alone(less_memory(ContinualConfig))
def continual(config: ContinualConfig | None = None, **options: Any) -> Path:
    """Learn the classes step by step from each memory, and write how much of them is known after each step.

    Returns the folder of `results.json` and `results.md`. Raises ConfigError where there are more steps than classes,
    and the errors of `Subject.load`; DataError where a class has fewer real images than take the set's bytes, or a
    step's classes have no test image.
    """
    config = ContinualConfig.over(config, options)
    subject = Subject.load("continual", config)
    classes = subject.data.num_classes
    if config.steps > classes:
        raise ConfigError(
            f"--steps {config.steps}, but {subject.data.name} has {classes} classes: at most one a step."
        )
    orders = [class_order(config.seed, number, classes, config.steps) for number in range(config.orders)]
    counts = torch.bincount(subject.data.test.labels.cpu(), minlength=classes)
    totals = [[int(counts[step].sum()) for step in order] for order in orders]
    if not all(map(all, totals)):
        untested = [subject.data.class_names[label] for label in (counts == 0).nonzero().flatten().tolist()]
        raise DataError(
            f"{subject.data.name} has no test image of {some(untested)}, and none of all classes of a step: let more "
            "classes come in one by a smaller --steps, or give it test images of them."
        )
    memories = memories_of(subject)
    items = [(memory, number) for memory in memories for number in range(config.orders)]
    right = subject.spread(
        "classes step by step",
        items,
        lambda item: learned(subject, *item, config.eval_architecture, orders[item[1]]),
    )
    rows = []
    for place, memory in enumerate(memories):
        own = right[place * config.orders :][: config.orders]
        rows.append(row_of(memory, [seen(*of) for of in zip(own, totals, strict=True)], own, totals))
    results = {
        "n": config.orders,
        "steps": config.steps,
        "architecture": config.eval_architecture,
        "orders": orders,
        "tested": totals,
        "rows": rows,
        "differences": {row["kind"]: against(rows[0], row) for row in rows[1:]},
    }
    results["headlines"] = headlines(results)
    title = f"{subject.data.name} in {config.steps} steps, from memories of the same bytes"
    return subject.write(results, title, text_of(subject, results))


def memories_of(subject: Subject) -> list[Candidate]:
    """The set as a memory, with hard labels, and real images that take as many bytes, see `memory_bytes`."""
    own = dataclasses.replace(subject.own, soft_labels=None)
    values = FLOAT_BYTES if own.copy == "float" else 1
    stored, sizes = of_each_class(own.ipc, subject.data.num_classes), list(map(len, subject.data.class_index))
    ipc = tuple(values * count for count in stored)
    for label, (count, size) in enumerate(zip(ipc, sizes, strict=True)):
        if subject.config.baselines and values > 1 and count > size:
            raise DataError(
                f"{plural(stored[label], 'float image')} of the class {subject.data.class_names[label]!r} would be "
                f"beside {count} real ones, which take as many bytes, and {subject.data.name} has {size}: take the "
                "set's 8-bit images by --eval_copy 8bit, or no real images beside it by --baselines without a value."
            )
    return [own, *(subject.real_images(kind, ipc) for kind in dict.fromkeys(subject.config.baselines))]


def memory_bytes(memory: Candidate) -> int:
    """What the stored images of a memory take uncompressed: a byte for each value of an 8-bit one, 4 for a float."""
    values = memory.images.shape.numel() // memory.factor**2
    return values * (FLOAT_BYTES if memory.copy == "float" else 1)


def class_order(seed: int, number: int, classes: int, steps: int) -> list[list[int]]:
    """The classes of each step, in an order of their own for each number; steps differ by one class at most."""
    order = torch.randperm(classes, generator=generator(seed, "class order", number))
    return [part.tolist() for part in order.tensor_split(steps)]


def of_classes(memory: Candidate, classes: Sequence[int]) -> Candidate:
    """The part of a memory that is of these classes."""
    kept = torch.isin(memory.labels, torch.tensor(classes, device=memory.labels.device))
    images = memory.images[kept.to(memory.images.device)]
    return dataclasses.replace(memory, images=images, labels=memory.labels[kept], draw=None)


def learned(
    subject: Subject, memory: Candidate, number: int, architecture: str, order: Sequence[Sequence[int]]
) -> list[list[int]]:
    """After each step, how many test images of each step so far a student gets right among the classes seen.

    Student `number` starts from the same parameters in every step and on every memory; a random memory is its own.
    """
    memory, test = memory.of_student(number), subject.data.test
    labels, found = test.labels.cpu(), []
    for step in range(1, len(order) + 1):
        classes = [label for part in order[:step] for label in part]
        network = subject.trained(of_classes(memory, classes), architecture, number, share=1 / len(order))
        guesses = torch.tensor(classes)[subject.logits(network, architecture, test.images)[:, classes].argmax(1)]
        found.append([count_right(guesses, labels, part) for part in order[:step]])
    return found


def count_right(guesses: Tensor, labels: Tensor, classes: Sequence[int]) -> int:
    """How many of the images of these classes are guessed right."""
    return int(((guesses == labels) & torch.isin(labels, torch.tensor(classes))).sum())


def seen(right: Sequence[Sequence[int]], totals: Sequence[int]) -> list[float]:
    """Accuracy (%) after each step, on the test images of all classes seen so far."""
    return [100 * sum(of_steps) / sum(totals[: len(of_steps)]) for of_steps in right]


def forgetting(right: Sequence[Sequence[int]], totals: Sequence[int]) -> float:
    """How much less is known of a step's classes at the end than at best before, in points; the mean over the steps.

    Chaudhry et al., ECCV 2018. The last step's classes aren't counted, as nothing came after them.
    """
    last = len(right) - 1
    lost = [
        max(right[step][part] for step in range(part, last)) / totals[part] - right[last][part] / totals[part]
        for part in range(last)
    ]
    return 100 * sum(lost) / len(lost)


def row_of(
    memory: Candidate, curves: list[list[float]], right: list[list[list[int]]], totals: list[list[int]]
) -> dict[str, Any]:
    """What was reached from a memory: of each order, and the means with their intervals over the orders."""
    measured = {
        "final": [curve[-1] for curve in curves],
        "average": [sum(curve) / len(curve) for curve in curves],
        "forgetting": [forgetting(*of) for of in zip(right, totals, strict=True)],
    }
    means = {name: intervals.of_mean(values).as_dict() for name, values in measured.items()}
    return {
        "memory": memory.name,
        "kind": memory.baseline or "set",
        "images": len(memory.images),
        "bytes": memory_bytes(memory),
        "after_each_step": [intervals.of_mean(values).as_dict() for values in zip(*curves, strict=True)],
        **means,
        "scores": measured,
        "right": right,
    }


def against(own: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """By how much the set's memory differs from another, paired by the order of the classes."""
    return {
        name: intervals.of_difference(own["scores"][name], other["scores"][name]).as_dict() for name in own["scores"]
    }


def headlines(results: dict[str, Any]) -> list[list[str]]:
    """What was found in its shortest form: pairs of what and how much."""
    n = f"(n = {results['n']} class orders)"
    return [
        [
            f"class-incremental accuracy after {results['steps']} steps, over a {kind} memory of the same bytes",
            f"{points(own['final'], signed=True)} points {n}",
        ]
        for kind, own in results["differences"].items()
    ]


def points(found: dict[str, Any], signed: bool = False) -> str:
    """A mean with its interval, in words."""
    between = "" if found["half_width"] is None else f" {intervals.between(found['mean'], found['half_width'])}"
    return f"{found['mean']:{'+' if signed else ''}.2f}{between}"


def text_of(subject: Subject, results: dict[str, Any]) -> list[str]:
    """The results for people: parts of Markdown."""
    steps = [f"step {number}" for number in range(1, results["steps"] + 1)]
    head = ["memory", "bytes", "images", *steps, "after the last", "mean of steps", "forgetting"]
    rows = []
    for row in results["rows"]:
        reached = [f"{each['mean']:.2f}" for each in row["after_each_step"]]
        means = [points(row[name]) for name in ("final", "average", "forgetting")]
        rows.append([row["memory"], f"{row['bytes']:,}", row["images"], *reached, *means])
    differences = [
        [f"the set, against {kind}", *(points(own[name], signed=True) for name in ("final", "average", "forgetting"))]
        for kind, own in results["differences"].items()
    ]
    note = (
        f"Accuracies (%) of {results['architecture']} students on the test images of all classes seen so far, each "
        f"trained from scratch on the memory of those classes under {subject.evaluation.protocol}; forgetting in "
        f"points, less is better. n = {results['n']} orders of the classes, each with its own student and random "
        "memory; brackets are 95 % intervals of means over the orders (Student's t), differences are paired by them."
    )
    between = [table(["points", "after the last", "mean of steps", "forgetting"], differences)] if differences else []
    return [table(head, rows), *between, note]
