"""Statistical flow matching (arXiv 2602.05391): the flow from each class's mean to the others', class by class."""


def mean(rows):
    return sum(rows) / len(rows)


def matching(real_features, synthetic_features):
    """1 − cos of both flows as one vector each; features class by class."""
    flows = []
    for of_class in (real_features, synthetic_features):
        means = [mean(list(rows)) for rows in of_class]
        flow = []
        for label, own in enumerate(means):
            others = [other for place, other in enumerate(means) if place != label]
            flow += list(mean(others) - own)
        flows.append(flow)
    product = sum(a * b for a, b in zip(*flows, strict=True))
    first, second = (sum(a * a for a in flow) ** 0.5 for flow in flows)
    return 1 - product / (first * second)
