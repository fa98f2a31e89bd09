"""Pairwise disagreement, and linear CKA (Kornblith et al., ICML 2019) in its feature form, element by element."""

import math


def disagreement(first, second):
    """Of predicted classes: how many of the images differ, as a share."""
    return sum(a != b for a, b in zip(first, second, strict=True)) / len(first)


def centred(rows):
    means = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    return [[value - mean for value, mean in zip(row, means, strict=True)] for row in rows]


def squared_norm_of_product(first, second):
    """‖Yᵀ X‖²_F: over every feature of X and every one of Y, their squared sum of products over the images."""
    total = 0.0
    for x in zip(*first, strict=True):
        for y in zip(*second, strict=True):
            total += sum(a * b for a, b in zip(x, y, strict=True)) ** 2
    return total


def linear_cka(first, second):
    """‖Yᵀ X‖²_F / (‖Xᵀ X‖_F · ‖Yᵀ Y‖_F) of centred columns."""
    x, y = centred(first), centred(second)
    return squared_norm_of_product(x, y) / math.sqrt(squared_norm_of_product(x, x) * squared_norm_of_product(y, y))
