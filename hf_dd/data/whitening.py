"""The whitening of a data set, fitted to its training images (`nn.whitening`)."""

import math
import os

import torch
from torch import Tensor

from hf_dd.core import cache
from hf_dd.core.progress import over, say
from hf_dd.data.batches import Images, in_blocks
from hf_dd.errors import DataError
from hf_dd.nn.whitening import EPSILON, Whitening

WHITENINGS = 1  # the version of what is fitted: raise it with any change of that
MATRICES = 6  # of float64 that are in memory while it is fitted: the covariance, its vectors and what LAPACK takes


def fitted(images: Images, name: str, fingerprint: str, epsilon: float = EPSILON) -> Whitening:
    """The whitening of the training images of a data set, or what was fitted earlier.

    Args:
        images: uint8, N×C×H×W.
        name: of the data set.
        fingerprint: of it.
        epsilon: what is added to the eigenvalues.

    Raises DataError where this machine's memory doesn't hold what it takes.
    """
    size = math.prod(images.shape[1:])
    needed, there = MATRICES * 8 * size**2, memory()
    if needed > there:
        raise DataError(
            f"--zca: the whitening of {name} is a matrix of {size:,}×{size:,} ({4 * size**2 / 1e9:,.1f} GB with every "
            f"set), and fitting it takes {needed / 1e9:,.0f} GB of memory, where this machine has {there / 1e9:,.0f}: "
            "give a smaller --image_size, or leave --zca out."
        )
    say("%s is whitened (ZCA): a matrix of %d×%d, %s bytes beside the set", name, size, size, f"{4 * size**2:,}")
    path = cache.place_of("whitenings", WHITENINGS, [fingerprint, epsilon], ".safetensors")
    found = cache.recall_tensors(path, ["mean", "matrix"])
    if found is None:
        mean, matrix = fit(images, epsilon)
        found = {"mean": mean.view(images.shape[1:]).float(), "matrix": matrix.float()}
        cache.keep_tensors(path, {key: value.contiguous() for key, value in found.items()}, {"data": name})
    return Whitening(found["mean"], found["matrix"], epsilon, fingerprint)


def memory() -> float:
    """Bytes of this machine's memory; infinity where the system doesn't say."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else math.inf


def fit(images: Images, epsilon: float) -> tuple[Tensor, Tensor]:
    """The m and the (Σ + εI)^(−½) of uint8 images, float64, on the CPU, see `nn.whitening`."""
    mean, covariance = moments(images)
    values, vectors = torch.linalg.eigh(covariance)
    return mean, (vectors / (values.clamp(min=0) + epsilon).sqrt()) @ vectors.T


def moments(images: Images) -> tuple[Tensor, Tensor]:
    """Mean and unbiased covariance of flattened uint8 images in [0, 1] space, float64, in one pass over them.

    The sums are of whole numbers below 2⁵³, so exact, and the same in any order and on any machine.
    """
    size, count = math.prod(images.shape[1:]), len(images)
    total = torch.zeros(size, dtype=torch.float64)
    squares = torch.zeros(size, size, dtype=torch.float64)
    for block in over(in_blocks(images, 2048), "covariance", count, "image", len):
        values = block.cpu().double().flatten(1)
        total += values.sum(0)
        squares.addmm_(values.T, values)
    covariance = (squares - torch.outer(total, total) / count) / max(1, count - 1)
    return total / count / 255, covariance / 255**2
