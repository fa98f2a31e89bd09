"""How much the teachers of a pool differ: in what they predict, and in how their features lay the same images out.

Both are measured on validation images of the training split, which teachers of the data set's own may have seen.
"""

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from hf_dd.core import cache
from hf_dd.core.progress import over
from hf_dd.core.seeding import generator
from hf_dd.data.batches import in_chunks
from hf_dd.data.held_out import validation_rows
from hf_dd.data.image_data import ImageData
from hf_dd.teachers.pool import TeacherPool
from hf_dd.teachers.teacher import Teacher

IMAGES = 1_000  # at most: it is to cost seconds
VERSION = 1  # of what `measured` gives: raise it with any change of that


def disagreement(first: Tensor, second: Tensor) -> Tensor:
    """The share of images, in [0, 1], of which two teachers predict different classes.

        D(p, q) = 1/n · Σ_i [p_i ≠ q_i]

    (The disagreement measure of Kuncheva & Whitaker, Machine Learning 51, 2003, between classes.)

    Args:
        first: the classes that one predicts, int64 (n,).
        second: those of the other.
    """
    return (first != second).cpu().double().mean()


def linear_cka(representations: Sequence[Tensor]) -> Tensor:
    """Linear centred kernel alignment of every two representations of the same images: (many, many), in [0, 1].

        CKA(X, Y) = ‖Yᵀ X‖²_F / (‖Xᵀ X‖_F · ‖Yᵀ Y‖_F) = ⟨K, L⟩_F / (‖K‖_F · ‖L‖_F),   K = X Xᵀ, L = Y Yᵀ

    with the columns of X and Y centred (Kornblith, Norouzi, Lee & Hinton, ICML 2019, section 3), in float64. It is 1
    where they differ by a rotation, a reflection, a scale and a shift alone; one that is the same for all images has 0
    with any, itself included. Few images and many features bring it closer to 1: compare values of as many images. It
    is computed on the CPU.

    Args:
        representations: floating, (n, features) each; their numbers of features may differ.
    """
    kernels = torch.empty(len(representations), len(representations[0]) ** 2, dtype=torch.float64)
    for kernel, features in zip(kernels, representations, strict=True):
        features = features.cpu().double()  # not every device has float64
        centred = features - features.mean(0)
        gram = centred @ centred.T
        rounding = (len(features) * torch.finfo(torch.float64).eps) ** 2 * features.square().sum()
        kernel.copy_((torch.zeros_like(gram) if gram.norm() <= rounding else gram / gram.norm()).flatten())
    return kernels @ kernels.T


def measure(pool: TeacherPool, data: ImageData, device: torch.device | str = "cpu") -> dict[str, Any]:
    """The diversity of a pool on at most a thousand validation images, JSON-able; remembered.

    Gives `images` (how many), `pairs` (each with its `teachers`, two places in the pool, their `cka` and their
    `disagreement`) and the means over the pairs, `cka` and `disagreement`. What isn't known is None: a disagreement
    with a teacher that has no logits of the data set's classes, and whatever isn't a finite number.

    Args:
        pool: moved to `device`, in float32.
        data: the data set that is distilled.
        device: where to compute.
    """
    if any(spec.in_memory for spec in pool.specs):  # whose weights don't tell how their images are made
        return measured(pool, data, device)
    identity = [IMAGES, data.fingerprint, [asdict(spec) for spec in pool.specs]]
    return cache.remembered(cache.place_of("diversity", VERSION, identity), lambda: measured(pool, data, device))


def measured(pool: TeacherPool, data: ImageData, device: torch.device | str) -> dict[str, Any]:
    """As `measure`, anew."""
    rows = validation_rows(data, 0)
    rows = rows[torch.randperm(len(rows), generator=generator(0, "diversity"))[:IMAGES].to(rows.device)]
    looks = []
    for teacher in over(pool.to(device, torch.float32), "the pool's diversity", len(pool), "teacher"):
        looks.append(seen(teacher, data, rows, device))
    alignment, pairs = linear_cka([features for features, _ in looks]), []
    for (i, (_, first)), (j, (_, second)) in itertools.combinations(enumerate(looks), 2):
        differing = None if first is None or second is None else finite(disagreement(first, second))
        pairs.append({"teachers": [i, j], "cka": finite(alignment[i, j]), "disagreement": differing})
    means = {name: mean([pair[name] for pair in pairs]) for name in ("cka", "disagreement")}
    return {"images": len(rows), **means, "pairs": pairs}


@torch.no_grad()
def seen(teacher: Teacher, data: ImageData, rows: Tensor, device: torch.device | str) -> tuple[Tensor, Tensor | None]:
    """Features (n, features) of these training images, and the classes (n,) predicted, if it knows the data set's."""
    order = teacher.logit_order(data.class_names) if teacher.knows(data.class_names) else None
    features, predicted = [], []
    for _, block in in_chunks(data.train.images, rows, seen=teacher.image_size):
        block = block.to(device).float() / 255
        features.append(teacher.features(block))
        if order is not None:
            predicted.append(teacher(block)[:, order].argmax(1))
    return torch.cat(features), torch.cat(predicted) if predicted else None


def finite(value: Tensor) -> float | None:
    """A number to six digits after the point."""
    return round(float(value), 6) if math.isfinite(value) else None


def mean(values: Sequence[float | None]) -> float | None:
    """Of those that are known."""
    known = [value for value in values if value is not None]
    return round(statistics.fmean(known), 6) if known else None


def in_words(found: dict[str, Any]) -> str:
    """Both means as a sentence: what `hf-dd pool show` and a card say."""
    cka, differing = found["cka"], found["disagreement"]
    pairs = sum(pair["disagreement"] is not None for pair in found["pairs"])
    words = ["no two teachers predict the data set's classes"]
    if differing is not None:
        words = [f"a pair of teachers disagrees about {100 * differing:.2f} % of them (mean pairwise disagreement"]
        words[0] += f" of {pairs} of {len(found['pairs'])} pairs)" if pairs < len(found["pairs"]) else ")"
    if cka is not None:
        words.append(f"the mean pairwise CKA of their features is {cka:.4f}")
    return f"On {found['images']:,} validation images of the training split, {', and '.join(words)}."
