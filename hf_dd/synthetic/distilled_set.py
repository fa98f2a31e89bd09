"""A distilled set outside of the run that made it: as rows of a data set, and as the tensors read from them.

Everything is in the images' own [0, 1] space.
"""

import dataclasses
import io
import math
import uuid
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hf_dd.core.progress import over
from hf_dd.core.tensors import FLOAT_BYTES
from hf_dd.data.batches import Images, in_unit_range
from hf_dd.errors import DataError
from hf_dd.nn.whitening import Whitening
from hf_dd.synthetic.synthetic_set import SyntheticSet
from hf_dd.teachers.crop_labels import CropLabels

if TYPE_CHECKING:
    import datasets


ENCODED = 1_000  # images of which the bytes of many more are estimated
LONGEST = 2**31 - 1  # numbers in a piece of an Arrow column


@dataclass(frozen=True)
class DistilledSet:
    """A distilled set as it is read back: what any user gets to train on, as tensors.

    Attributes:
        pixel_values: float32, (N, channels, height, width), the images' own [0, 1] space, exact.
        images: uint8, the same shape: the 8-bit copy.
        labels: int64, (N,).
        class_names: names of the classes, in the order of the labels.
        image_bytes: of the 8-bit copy as it is stored.
        soft_labels: float32 probabilities, (N, classes), or each teacher's, (N, teachers, classes), or None.
        factor: tiles per side of a stored image, of which these images were decoded.
        temperature: of the soft labels.
        taught_by: the commits (or digests) of the teachers whose they are, where that is known.
        crop_labels: what teachers say of crops of these images, where that is stored and was read.
        tiled: the stored images, where these were decoded.
        whitening: what students see its images through, and real ones too, or None.
    """

    pixel_values: Tensor
    images: Tensor
    labels: Tensor
    class_names: list[str]
    image_bytes: int
    soft_labels: Tensor | None = None
    factor: int = 1
    temperature: float = 1.0
    taught_by: tuple[str, ...] = ()
    crop_labels: CropLabels | None = None
    tiled: "DistilledSet | None" = None
    whitening: Whitening | None = None

    def __repr__(self) -> str:
        count, channels, height, width = self.pixel_values.shape
        stored = f", decoded from {count // self.factor**2} stored ones" if self.factor > 1 else ""
        soft = "" if self.soft_labels is None else ", with soft labels"
        return (
            f"DistilledSet of {count} images of {len(self.class_names)} classes{stored}: "
            f"{channels}×{height}×{width} (channels × height × width){soft}"
        )

    @property
    def ipc(self) -> int | tuple[int, ...]:
        """Stored images per class, see `images_per_class`."""
        return images_per_class(self.labels, self.factor, len(self.class_names))

    def copy(self, name: str) -> Tensor:
        """The 'float' or the '8bit' copy as float32 in [0, 1] space."""
        return self.pixel_values if name == "float" else in_unit_range(self.images)

    def bytes(self, name: str) -> int:
        """What the stored images of a copy take: float32, or PNG as they are."""
        return self.pixel_values.numel() * FLOAT_BYTES // self.factor**2 if name == "float" else self.image_bytes

    @property
    def soft_label_bytes(self) -> int:
        """What the soft labels take beside them, in float32."""
        return 0 if self.soft_labels is None else self.soft_labels.numel() * FLOAT_BYTES

    def decoded(self, images: "DistilledSet", name: str) -> "DistilledSet":
        """These stored images as the training images that they decode to; raises DataError where they don't fit."""
        factor = math.isqrt(len(images.labels) // len(self.labels))
        labels = self.labels.repeat_interleave(factor**2)
        if images.class_names != self.class_names or not torch.equal(images.labels, labels):
            raise DataError(
                f"The {len(images.labels)} decoded images of {name} aren't a square number of each of its "
                f"{len(self.labels)} stored ones, in their order."
            )
        return dataclasses.replace(images, image_bytes=self.image_bytes, factor=factor, tiled=self)


def images_per_class(labels: Tensor, factor: int = 1, num_classes: int = 0) -> int | tuple[int, ...]:
    """Stored images of each class: a single number where all classes have as many.

    Args:
        labels: int64, (N,), of the training images.
        factor: tiles per side of a stored image, of which these were decoded.
        num_classes: how many classes there are at least.
    """
    counts = (torch.bincount(labels, minlength=num_classes) // factor**2).tolist()
    return counts[0] if len(set(counts)) == 1 else tuple(counts)


def to_eight_bits(pixel_values: Tensor) -> Tensor:
    """Images in [0, 1] space, clipped and rounded to uint8."""
    return pixel_values.clamp(0, 1).mul_(255).round_().to(torch.uint8)


def to_pil(image: Tensor) -> Any:
    """One uint8 image (1 or 3, height, width) as a PIL image."""
    from PIL import Image

    array = image.cpu().numpy()
    return Image.fromarray(array[0] if len(array) == 1 else array.transpose(1, 2, 0))


def png(image: Tensor) -> bytes:
    """One uint8 image (1 or 3, height, width) as a PNG file."""
    stream = io.BytesIO()
    to_pil(image).save(stream, "PNG")
    return stream.getvalue()


def png_bytes(images: Images) -> int:
    """What real images take if they are stored as the 8-bit copy of a distilled set is: as PNG, one by one.

    Of more than ENCODED images so many, evenly spread, say what all of them take.

    Args:
        images: uint8, or floating in [0, 1] space, (N, 1 or 3, height, width).
    """
    some = images[torch.linspace(0, len(images) - 1, min(len(images), ENCODED)).long().to(images.device)]
    total = sum(len(png(image)) for image in (some if some.dtype == torch.uint8 else to_eight_bits(some)))
    return round(total * len(images) / len(some))


def to_dataset(synthetic: SyntheticSet, soft_labels: Tensor | None = None) -> "datasets.Dataset":
    """The stored images as rows, see `to_rows`."""
    return to_rows(synthetic.own_space().detach(), synthetic.labels, synthetic.class_names, soft_labels)


def to_rows(
    pixel_values: Tensor,
    labels: Tensor,
    class_names: list[str],
    soft_labels: Tensor | None = None,
    images: Tensor | None = None,
) -> "datasets.Dataset":
    """Images as a set's rows: image (PNG, 8 bit), label, pixel_values (float32, exact), and any soft_label.

    Args:
        pixel_values: floating, (N, 1 or 3, height, width), in [0, 1] space.
        labels: int64, (N,).
        class_names: the name of label i at place i.
        soft_labels: floating, (N, num_classes) or (N, teachers, num_classes): probabilities, or None.
        images: the 8-bit copy, uint8, of the pixels' shape; the pixels clipped and rounded if None.
    """
    import datasets
    import pyarrow
    from datasets.table import InMemoryTable

    pixel_values = pixel_values.float().cpu()
    exact = datasets.Array3D(shape=tuple(pixel_values.shape[1:]), dtype="float32")
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=class_names)}
    rows = {
        "image": [
            {"bytes": png(to_eight_bits(image) if images is None else image), "path": None}
            for image in over(pixel_values if images is None else images, "encoding images", len(labels), "image")
        ],
        "label": labels.tolist(),
    }
    light = datasets.Dataset.from_dict(rows, features=datasets.Features(features)).with_format("arrow")[:]
    columns = [*light.columns, nested(pixel_values, exact())]
    features["pixel_values"] = exact
    if soft_labels is not None:
        feature = datasets.List(datasets.Value("float32"))
        features["soft_label"] = feature if soft_labels.ndim == 2 else datasets.List(feature)
        columns.append(nested(soft_labels.float().cpu()))
    features = datasets.Features(features)
    table = InMemoryTable(pyarrow.Table.from_arrays(columns, schema=features.arrow_schema))
    # With a fingerprint, as the one that it would compute pickles the whole table.
    return datasets.Dataset(table, info=datasets.DatasetInfo(features=features), fingerprint=uuid.uuid4().hex)


def nested(values: Tensor, kind: Any = None) -> Any:
    """A float32 tensor of the CPU as an Arrow column, of lists or of this extension type, its numbers not copied.

    Of lists `datasets` makes several copies, which is much for large images.
    """
    import numpy
    import pyarrow

    column = pyarrow.array(values.contiguous().numpy().reshape(-1))
    if len(column) > LONGEST:  # what a list's offsets reach
        parts = values.split(max(1, LONGEST // values[0].numel()))
        return pyarrow.chunked_array([nested(part, kind) for part in parts])
    for place in range(values.ndim - 1, 0, -1):
        count, length = math.prod(values.shape[:place]), values.shape[place]
        offsets = pyarrow.array(numpy.arange(count + 1, dtype=numpy.int32) * length)
        column = pyarrow.ListArray.from_arrays(offsets, column)
    return pyarrow.ExtensionArray.from_storage(kind, column) if kind else column


def from_dataset(dataset: "datasets.Dataset", name: str) -> DistilledSet:
    """Read the rows back; raises DataError, naming the set, where a column is missing, odd, or holds NaN."""
    import datasets
    import numpy

    if missing := {"image", "label", "pixel_values"} - set(dataset.column_names):
        raise DataError(f"{name} isn't a distilled set of hf_dd: it has no column {', '.join(sorted(missing))}.")
    class_names = getattr(dataset.features["label"], "names", None)
    if not class_names or not isinstance(dataset.features["image"], datasets.Image):
        raise DataError(f"{name} isn't a distilled set of hf_dd: it has no images (Image) with classes (ClassLabel).")
    if not len(dataset):
        raise DataError(f"{name} holds no image.")
    for column in ("pixel_values", "image"):  # before millions of rows are looked at one by one
        if missing := dataset.data.column(column).null_count:
            raise DataError(f"{missing:,} of the {len(dataset):,} rows of {name} have no {column}.")
    columns = dataset.select_columns(["pixel_values"]).with_format("numpy")
    try:
        rows = [numpy.asarray(row) for row in columns["pixel_values"]]
        pixel_values = torch.from_numpy(numpy.stack(rows).astype(numpy.float32, copy=False))
    except (TypeError, ValueError, ArithmeticError) as error:
        raise DataError(f"{name} has pixel_values that aren't images of one size in numbers ({error}).") from error
    if pixel_values.ndim != 4 or pixel_values.shape[1] not in (1, 3) or not pixel_values.numel():
        raise DataError(
            f"{name} has pixel_values of {list(pixel_values.shape[1:])} each, not (1 or 3, height, width)."
        )
    if not torch.isfinite(pixel_values).all():
        raise DataError(f"{name} holds pixels that are not finite numbers.")
    labels = dataset.with_format("arrow")["label"][:].to_pylist()
    if missing := sum(label is None or label < 0 for label in labels):
        raise DataError(f"{missing} of the {len(labels)} images of {name} have no label.")
    if max(labels) >= len(class_names):
        raise DataError(f"{name} holds a label of {max(labels)}, but has {len(class_names)} classes.")
    encoded = dataset.select_columns(["image"]).cast_column("image", datasets.Image(decode=False))["image"]
    pictures = [(record or {}).get("bytes") or b"" for record in encoded]
    soft = dataset["soft_label"] if "soft_label" in dataset.column_names else None
    return DistilledSet(
        pixel_values,
        torch.from_numpy(numpy.stack([_decoded(picture, pixel_values.shape[1:], name) for picture in pictures])),
        torch.tensor(labels, dtype=torch.int64),
        class_names=class_names,
        image_bytes=sum(map(len, pictures)),
        soft_labels=None if soft is None else _soft_labels(soft, len(class_names), name),
    )


def _decoded(picture: bytes, shape: Sequence[int], name: str) -> Any:
    """The 8-bit copy of an image, (1 or 3, height, width), decoded only where it is of the size of its pixels."""
    import numpy
    from PIL import Image

    channels, height, width = shape
    mode = "L" if channels == 1 else "RGB"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # its size is looked at below
            image = Image.open(io.BytesIO(picture))
        if (image.mode, image.size) != (mode, (width, height)):
            raise ValueError(f"it is of {image.width}×{image.height} in mode {image.mode}, its pixels aren't")
        return numpy.asarray(image).reshape(height, width, channels).transpose(2, 0, 1)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"{name} holds an image that isn't its pixels in 8 bits ({error}).") from error


def _soft_labels(rows: Iterable[list | None], num_classes: int, name: str) -> Tensor:
    try:
        soft_labels = torch.tensor(list(rows), dtype=torch.float32)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # None, or rows of several lengths
        soft_labels = torch.zeros(0)
    if soft_labels.ndim not in (2, 3) or soft_labels.shape[-1] != num_classes or not soft_labels.numel():
        raise DataError(f"{name} has soft labels that aren't one probability for each of its {num_classes} classes.")
    if not torch.isfinite(soft_labels).all():
        raise DataError(f"{name} holds soft labels that are not finite numbers.")
    return soft_labels
