"""Pruning scores, image by image, as the papers write them."""

import math


def error(probabilities, label):
    return math.sqrt(sum((p - (c == label)) ** 2 for c, p in enumerate(probabilities)))


def el2n(epochs, labels, features):
    """Of each image, the mean over the epochs of ‖p − onehot(y)‖."""
    return [sum(error(p[i], y) for p in epochs) / len(epochs) for i, y in enumerate(labels)]


def grand(epochs, labels, features):
    """The norm of the gradient of the last layer's weights and biases, entry by entry."""
    scores = []
    for p, y, h in zip(epochs[-1], labels, features, strict=True):
        entries = [(p[c] - (c == y)) * x for c in range(len(p)) for x in [*h, 1.0]]
        scores.append(math.sqrt(sum(entry**2 for entry in entries)))
    return scores


def forgetting(epochs, labels, features):
    scores = []
    for i, y in enumerate(labels):
        right = [max(range(len(p[i])), key=p[i].__getitem__) == y for p in epochs]
        events = sum(before and not after for before, after in zip(right, right[1:], strict=False))
        scores.append(events if any(right) else math.inf)
    return scores


def aum(epochs, labels, features):
    """Lowest first, so with the sign turned."""
    return [-sum(p[i][y] - max(q for c, q in enumerate(p[i]) if c != y) for p in epochs) for i, y in enumerate(labels)]


def margin(epochs, labels, features):
    ordered = [sorted(p, reverse=True) for p in epochs[-1]]
    return [-(p[0] - p[1]) for p in ordered]


def least_confidence(epochs, labels, features):
    return [-max(p) for p in epochs[-1]]


def entropy(epochs, labels, features):
    return [-sum(q * math.log(q) for q in p) for p in epochs[-1]]


def lower_median(numbers):
    return sorted(numbers)[(len(numbers) - 1) // 2]


def moderate(epochs, labels, features):
    """Nearest to the median distance first."""
    distances = []
    for y, h in zip(labels, features, strict=True):
        own = [other for label, other in zip(labels, features, strict=True) if label == y]
        middle = [lower_median(column) for column in zip(*own, strict=True)]
        distances.append(math.dist(h, middle))
    return [-abs(d - lower_median(distances)) for d in distances]


def facility_location(features, members, count):
    """The set that grows by whatever raises the sum of every member's highest similarity to it most."""

    def similarity(i, j):
        a, b = features[i], features[j]
        return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))

    def covered(picks):
        return sum(max(similarity(i, j) for j in picks) for i in members)

    picks = []
    while len(picks) < count:
        picks.append(max((j for j in members if j not in picks), key=lambda j: covered([*picks, j])))
    return picks
