"""Labels of crops as files: the configuration `labels` of a distilled set, which plain `datasets` reads.

A row is a row of `CropLabels`, column by column, in the smallest types that hold it; columns that would be empty in
all rows are left out. Rows are in the order of epochs, so that the first epochs are the first rows.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import torch
from torch import Tensor

from hf_dd.core import files
from hf_dd.core.files import digest_of
from hf_dd.core.layout import LABELS
from hf_dd.errors import DataError, first_line, some
from hf_dd.nn.views import Views
from hf_dd.teachers.crop_labels import CropLabels
from hf_dd.teachers.teacher import TeacherSpec

if TYPE_CHECKING:
    import datasets
    import pyarrow

SHARD = 500_000_000  # bytes of a file at most, before compression
GROUP = 100_000  # rows that are written, and read, at once

TYPES = {  # of a column's numbers, in the order of the columns
    "image": "uint32",
    "epoch": "uint16",
    "box": "uint16",
    "flip": "bool",
    "classes": "uint16",
    "log_probabilities": "float16",
    "log_rest": "float16",
    "seed": "int64",
    "partner": "uint32",
    "partner_box": "uint16",
    "partner_flip": "bool",
    "paste": "uint16",
    "weight": "float32",
}
HELD = {"uint16": "int32", "uint32": "int64"}  # by torch, which has no use for these types
SEEDS = (
    "The views of an epoch are drawn together, from torch.Generator().manual_seed(seed) of its rows, by "
    "hf_dd.teachers.crop_labels.drawn; the seed follows from the run's and the epoch."
)
FILE = re.compile(rf"{LABELS}/train-\d{{5}}-of-\d{{5}}\.parquet")


@dataclass(frozen=True)
class CropLabelling:
    """Labels of crops, and how they were made: of which views, by which seed and teachers."""

    labels: CropLabels
    views: Views
    seed: int
    teachers: Sequence[TeacherSpec]


def features_of(columns: Mapping[str, int]) -> "datasets.Features":
    """The features of these columns, each with its width: 0 for single numbers."""
    from datasets import Features, List, Value

    return Features(
        {
            name: List(Value(kind), length=columns[name]) if columns[name] else Value(kind)
            for name, kind in TYPES.items()
            if name in columns
        }
    )


def write_crop_labels(folder: Path, labels: CropLabels) -> dict[str, str]:
    """Write the rows into a set's folder, as few files as SHARD allows; gives the sha256 of each by its place there.

    What other labels were there is removed first.
    """
    import pyarrow.parquet

    files.remove(folder / LABELS)
    columns = labels.columns
    schema = features_of({name: values[0].numel() if values.ndim > 1 else 0 for name, values in columns.items()})
    of_row = sum(values[0].numel() * values.element_size() for values in columns.values())
    shards = torch.arange(len(labels)).tensor_split(-(-len(labels) * of_row // SHARD))
    written = {}
    for place, rows in enumerate(shards):
        path = f"{LABELS}/train-{place:05d}-of-{len(shards):05d}.parquet"

        def save(target: BinaryIO, rows: Tensor = rows) -> None:
            with pyarrow.parquet.ParquetWriter(target, schema.arrow_schema, compression="zstd") as writer:
                for part in rows.split(GROUP):
                    writer.write_table(_table(labels.taken(part), schema.arrow_schema))

        files.write_open(folder / path, save)
        written[path] = digest_of(folder / path)
    return written


def _table(labels: CropLabels, schema: "pyarrow.Schema") -> "pyarrow.Table":
    import pyarrow

    arrays = []
    for field in schema:
        values = labels.columns[field.name].numpy()
        if values.ndim == 1:
            arrays.append(pyarrow.array(values.astype(TYPES[field.name])))
        else:
            flat = pyarrow.array(values.reshape(-1).astype(TYPES[field.name]))
            arrays.append(pyarrow.FixedSizeListArray.from_arrays(flat, values.shape[1]))
    return pyarrow.table(arrays, schema=schema)


def read_crop_labels(
    folder: Path, about: Mapping[str, Any], name: str, images: int, image_size: tuple[int, int], num_classes: int
) -> CropLabels:
    """The rows that a set's record tells of (`CropLabelFacts`), of its training images of this number and size.

    Raises DataError, naming the set, where they aren't such rows, or are of views of another size.
    """
    import pyarrow
    import pyarrow.parquet

    found: dict[str, list[Tensor]] = {}
    try:
        for path in about["files"]:
            with pyarrow.parquet.ParquetFile(files.named_plainly(folder / path)) as file:
                widths = _widths(file.schema_arrow, name)
                for batch in file.iter_batches(GROUP):
                    for column, values in zip(batch.schema.names, batch.columns, strict=True):
                        found.setdefault(column, []).append(_tensor(values, column, widths[column], name))
        columns = {column: torch.cat(parts) for column, parts in found.items()}
    except (OSError, ValueError, TypeError, LookupError, RuntimeError, pyarrow.ArrowException) as error:
        raise DataError(
            f"{name} has labels of crops that can't be read ({first_line(error)}): take the set anew from where it is "
            "from."
        ) from error
    require_columns(columns, about["topk"], num_classes, name)
    if tuple(about["size"]) != tuple(image_size):
        height, width = image_size
        raise DataError(f"{name} has labels of views of {about['size']} pixels, and images of {height}×{width}.")
    origin = {"taught_by": tuple(each["sha"] for each in about["teachers"]), "stored_bytes": about["bytes"]}
    labels = CropLabels(num_classes, tuple(image_size), **columns, **origin)
    labels.require_sound(name, images, image_size)
    return labels


def _widths(schema: "pyarrow.Schema", name: str) -> dict[str, int]:
    """Each column's width; raises DataError for columns that aren't ours, or are of another type."""
    import pyarrow

    widths = {
        field.name: field.type.list_size if pyarrow.types.is_fixed_size_list(field.type) else 0 for field in schema
    }
    own = features_of(widths).arrow_schema
    if wrong := [field.name for field in schema if field.name not in own.names or own.field(field.name) != field]:
        raise DataError(f"{name}: the labels of its crops have columns that no hf-dd writes ({some(wrong)}).")
    return widths


def _tensor(values: "pyarrow.Array", column: str, width: int, name: str) -> Tensor:
    """A part of a column as `CropLabels` holds it."""
    flat = values.flatten() if width else values
    if values.null_count or flat.null_count:
        raise DataError(f"{name}: the labels of its crops lack values of {column} in some rows.")
    numbers = torch.from_numpy(flat.to_numpy(zero_copy_only=False).astype(HELD.get(TYPES[column], TYPES[column])))
    return numbers.view(len(values), width) if width else numbers


def require_columns(columns: Mapping[str, Tensor], topk: int, num_classes: int, name: str) -> None:
    """Raise DataError where columns are missing, as long as others they aren't, or not as wide as they have to be."""
    needed = {"image": 0, "epoch": 0, "box": 4, "flip": 0, "seed": 0, "log_probabilities": topk}
    if topk < num_classes:
        needed |= {"classes": topk, "log_rest": 0}
    if not columns.keys().isdisjoint(("partner", "partner_box", "partner_flip", "paste", "weight")):
        needed |= {"partner": 0, "partner_box": 4, "partner_flip": 0}
        needed |= {"weight": 0} if "weight" in columns else {"paste": 4}
    widths = {column: values.shape[1] if values.ndim > 1 else 0 for column, values in columns.items()}
    wrong = sorted({column for column, _ in needed.items() ^ widths.items()})
    if wrong or len({len(values) for values in columns.values()}) != 1:
        raise DataError(
            f"{name}: the labels of its crops aren't {topk} of {num_classes} classes a row (see {some(wrong)})."
        )


def written(folder: Path, labelling: CropLabelling, dataset_info: Any) -> dict[str, Any]:
    """Write labels of crops into a set's folder; gives what its record says of them, with its `dataset_info`."""
    labels, views = labelling.labels, labelling.views
    paths = write_crop_labels(folder, labels)
    about = {
        "files": paths,
        "bytes": sum((folder / path).stat().st_size for path in paths),
        "rows": len(labels),
        "views": int(labels.epoch.max()) + 1,
        "topk": labels.log_probabilities.shape[1],
        "classes": labels.num_classes,
        "size": list(labels.size),
        "crop": list(views.scale or (1.0, 1.0)),
        "ratio": list(views.ratio),
        "flip": views.flip,
        "mix": views.mix,
        "mix_alpha": views.alpha,
        "interpolation": "bilinear, antialias",
        "temperature": 1.0,
        "seed": labelling.seed,
        "seeds": SEEDS,
        "teachers": [asdict(spec) for spec in labelling.teachers],
        "teacher_mode": "eval",
        "teacher_mean": "probabilities",
    }
    return {"crop_labels": about, "dataset_info": with_info(dataset_info, folder, paths)}


def with_info(known: dict[str, Any] | list[dict[str, Any]], folder: Path, paths: Collection[str]) -> Any:
    """A card's `dataset_info` with the configuration `labels` of these files, in the place of any former one."""
    import pyarrow.parquet
    from datasets import DatasetInfo, Features
    from datasets.info import DatasetInfosDict
    from datasets.splits import SplitDict, SplitInfo
    from huggingface_hub import DatasetCardData

    about = [pyarrow.parquet.read_metadata(files.named_plainly(folder / path)) for path in paths]
    size = sum(each.row_group(group).total_byte_size for each in about for group in range(each.num_row_groups))
    splits = SplitDict()
    splits.add(SplitInfo("train", num_bytes=size, num_examples=sum(each.num_rows for each in about)))
    stored = sum((folder / path).stat().st_size for path in paths)
    features = Features.from_arrow_schema(about[0].schema.to_arrow_schema())
    info = DatasetInfo(features=features, splits=splits, dataset_size=size, download_size=stored)
    front = DatasetCardData(dataset_info=known)
    DatasetInfosDict({LABELS: info}).to_dataset_card_data(front)
    return front.to_dict()["dataset_info"]
