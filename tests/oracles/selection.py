"""Herding (Welling, ICML 2009) and the greedy k-center (Sener & Savarese, ICLR 2018), one image after another."""

import math


def mean(rows):
    return [sum(numbers) / len(rows) for numbers in zip(*rows, strict=True)]


def distance(a, b):
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)))


def herding(rows, count):
    """Greedily the row that brings the mean of all picked rows closest to the mean of all rows."""
    picks = []
    while len(picks) < count:
        free = [index for index in range(len(rows)) if index not in picks]
        picks.append(min(free, key=lambda index: herding_distance(rows, [*picks, index])))
    return picks


def herding_distance(rows, picks):
    return distance(mean([rows[pick] for pick in picks]), mean(rows))


def k_centers(rows, count):
    """The row nearest to the mean, then always the one that is farthest from its nearest pick."""
    picks = [min(range(len(rows)), key=lambda index: distance(rows[index], mean(rows)))]
    while len(picks) < count:
        free = [index for index in range(len(rows)) if index not in picks]
        picks.append(max(free, key=lambda index: min(distance(rows[index], rows[pick]) for pick in picks)))
    return picks


def for_each_class(choose, features, labels, num_classes, ipc):
    """`choose` in every class, as indices into `features`, class after class."""
    chosen = []
    for label in range(num_classes):
        members = [index for index, own in enumerate(labels) if own == label]
        chosen += [members[pick] for pick in choose([features[index] for index in members], ipc)]
    return chosen
