"""ZCA whitening: images whose pixels don't vary together any more, as trajectory matching's papers distil them.

With m the mean and Σ the unbiased covariance of the flattened training images in [0, 1] space, an image x is seen as

    (x − m) (Σ + εI)^(−½),   ε = 0.1

which is what kornia's `ZCAWhitening(eps=0.1)` gives, and what the code of MTT, TESLA and DATM takes instead of a
normalisation by channel. The matrix has the square of an image's values: 38 MB as float32 for images of 3×32×32.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from hf_dd.core import tensors
from hf_dd.core.digests import digest_over
from hf_dd.errors import DataError, RunError

EPSILON = 0.1  # of MTT's code, which gives it to kornia
ABOUT = "(images - mean).flatten(1) @ matrix, of images in [0, 1] space"


@dataclass(frozen=True, eq=False)
class Whitening:
    """The whitening of a data set's images.

    Attributes:
        mean: m, float32, (channels, height, width), on the CPU.
        matrix: (Σ + εI)^(−½), float32, of as many rows and columns as an image has values; symmetric.
        epsilon: ε.
        source: the fingerprint of the data set whose training images it was fitted to.
    """

    mean: Tensor
    matrix: Tensor
    epsilon: float
    source: str

    def whiten(self, images: Tensor) -> Tensor:
        """Floating images (…, channels, height, width) in [0, 1] space, whitened, in their dtype; differentiable.

        Raises DataError where their shape is another one.
        """
        if images.shape[-3:] != self.mean.shape:
            ours, theirs = ("×".join(map(str, shape)) for shape in (self.mean.shape, images.shape[-3:]))
            raise DataError(
                f"The whitening is of images of {ours} values, not of {theirs}: its data set is another one."
            )
        centred = images - self.placed("mean", images)
        return self.product(centred.flatten(-3), self.placed("matrix", images)).view_as(images)

    def colour(self, images: Tensor) -> Tensor:
        """The inverse: whitened images in their own [0, 1] space again, not clipped."""
        product = self.product(images.flatten(-3), self.placed("inverse", images))
        return product.view_as(images) + self.placed("mean", images)

    @staticmethod
    def product(rows: Tensor, matrix: Tensor) -> Tensor:
        """Of the dtype that they have, whatever autocast is around: it would round each image's 3,072 terms."""
        with torch.autocast(rows.device.type, enabled=False):
            return rows @ matrix

    def placed(self, name: str, images: Tensor) -> Tensor:
        """`mean`, `matrix` or `inverse` in the dtype and on the device of images, copied there once."""
        key = name, images.dtype, images.device
        if key not in self._placed:
            self._placed[key] = getattr(self, name).to(images.dtype).to(images.device)
        return self._placed[key]

    @cached_property
    def inverse(self) -> Tensor:
        """Of the matrix as it is stored, float64, so that coloured images are whitened to what they were."""
        try:
            return torch.linalg.inv(self.matrix.double())
        except torch.linalg.LinAlgError as error:
            raise DataError(
                "The whitening's matrix is singular, as no covariance's is: it can't be undone."
            ) from error

    @cached_property
    def _placed(self) -> dict[tuple[str, torch.dtype, torch.device], Tensor]:
        return {}

    @property
    def bytes(self) -> int:
        """What it takes as it is stored."""
        return 4 * (self.mean.numel() + self.matrix.numel())

    def facts(self) -> dict[str, Any]:
        """What a record says of it: `digest` is of its numbers, and tells it from one that was fitted elsewhere."""
        return {"kind": "zca", "epsilon": self.epsilon, "source": self.source, "digest": self.digest}

    @cached_property
    def digest(self) -> str:
        """32 hex digits over its numbers."""
        return digest_over(values.contiguous().numpy() for values in (self.mean, self.matrix))

    def save(self, path: Path) -> None:
        """Write it as safetensors, `mean` and `matrix`, with what they are among the metadata."""
        about = {"epsilon": repr(self.epsilon), "source": self.source, "whitened": ABOUT}
        content = {"mean": self.mean.contiguous(), "matrix": self.matrix.contiguous()}
        path.write_bytes(save(content, metadata=about))  # `save_file` lets nobody else read it

    @classmethod
    def load(cls, path: Path) -> "Whitening":
        """What `save` wrote; raises RunError where a file isn't that."""
        forms = tensors.declared(path)
        shape = forms["mean"].shape if "mean" in forms else ()
        expected = {"mean": tensors.Form(shape, True), "matrix": tensors.Form((math.prod(shape),) * 2, True)}
        if len(shape) != 3 or (tensors.differences(expected, forms)):
            raise RunError(f"{path} is no whitening of images: it has to hold their `mean` and a square `matrix`.")
        found = tensors.read(path)
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
        try:
            epsilon = float(about["epsilon"])
        except (KeyError, ValueError) as error:
            raise RunError(f"{path} is no whitening of images: it doesn't say its epsilon.") from error
        return cls(found["mean"].float(), found["matrix"].float(), epsilon, about.get("source", ""))
