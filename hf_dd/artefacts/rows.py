"""The rows of a distilled set in its folder: as they are stored and, where that is compact, decoded beside it.

`default` is what a plain `load_dataset` gives. A set whose stored images hold several training images each has them in
a second configuration, `decoded`.
"""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hf_dd import hub
from hf_dd.artefacts.crop_label_files import FILE, read_crop_labels
from hf_dd.config import DataConfig
from hf_dd.core import files
from hf_dd.core.files import digest_of
from hf_dd.core.layout import DECODED, LABELS, PARQUET, PREVIEW, RECORD, WHITENING
from hf_dd.core.tensors import FLOAT_BYTES
from hf_dd.data.loading import load_splits
from hf_dd.data.unpacking import require_modest_file
from hf_dd.errors import DataError, RunError, first_line, some
from hf_dd.nn.tiles import decode_tiles
from hf_dd.nn.whitening import Whitening
from hf_dd.synthetic.distilled_set import DistilledSet, from_dataset, to_eight_bits, to_rows
from hf_dd.synthetic.synthetic_set import SyntheticSet

if TYPE_CHECKING:
    import datasets

PLAIN_SIZE, LARGEST_RATIO = 2**27, 64  # bytes of rows that are never too many, and times a file's own bytes


@torch.no_grad()
def training_images(synthetic: SyntheticSet) -> Tensor:
    """What students train on: decoded from the stored images as they are written.

    (N · factor², channels, height, width), float32 in [0, 1] space, on the CPU.

    So the decoded copy follows from the compact one to the last bit, whatever the run's dtype was.
    """
    return decode_tiles(synthetic.own_space().detach().float().cpu(), synthetic.factor)


def decoded_rows(synthetic: SyntheticSet, soft_labels: Tensor | None = None) -> "datasets.Dataset":
    """The training images as rows, with their soft labels where there are any: what needs no code to load.

    The 8-bit copy is decoded from the compact 8-bit copy, then rounded: nothing more than those bytes is in it.
    """
    compact = to_eight_bits(synthetic.own_space().detach().float().cpu())
    images = to_eight_bits(decode_tiles(compact.float() / 255, synthetic.factor))
    labels = synthetic.image_labels()
    return to_rows(training_images(synthetic), labels, synthetic.class_names, soft_labels, images)


def write_rows(folder: Path, rows: "datasets.Dataset", decoded: "datasets.Dataset | None" = None) -> dict[str, Any]:
    """Write the rows, and the training images where they aren't these; returns what a record says of them."""
    files.remove(folder / DECODED)
    files.write_open(folder / PARQUET, rows.to_parquet)
    configurations = {"default": (rows, folder / PARQUET)}
    facts: dict[str, Any] = {"parquet_sha256": digest_of(folder / PARQUET), "storage": storage(rows, decoded)}
    if decoded is not None:
        files.write_open(folder / DECODED, decoded.to_parquet)
        configurations["decoded"] = decoded, folder / DECODED
        facts["decoded"] = {
            "factor": math.isqrt(len(decoded) // len(rows)),
            "images": len(decoded),
            "parquet_sha256": digest_of(folder / DECODED),
        }
    return facts | {"dataset_info": dataset_info(configurations)}


def storage(rows: "datasets.Dataset", decoded: "datasets.Dataset | None") -> dict[str, int]:
    """Bytes of the stored images as `float` and as `8bit`, and of the `soft_labels` beside them."""
    import pyarrow.compute

    numbers = len(rows) * math.prod(rows.features["pixel_values"].shape)
    pictures = pyarrow.compute.struct_field(rows.with_format("arrow")["image"][:], "bytes")
    encoded = pyarrow.compute.sum(pyarrow.compute.binary_length(pictures)).as_py()
    trained_on, labels = rows if decoded is None else decoded, []
    if "soft_label" in trained_on.column_names:
        labels = trained_on.with_format("arrow")["soft_label"][:]
        while pyarrow.types.is_list(labels.type):
            labels = pyarrow.compute.list_flatten(labels)
    return {"float": numbers * FLOAT_BYTES, "8bit": encoded, "soft_labels": len(labels) * FLOAT_BYTES}


def dataset_info(configurations: dict[str, tuple["datasets.Dataset", Path]]) -> dict[str, Any] | list[dict[str, Any]]:
    """Features, splits and sizes in the form of a card's `dataset_info`; a list where there are two configurations."""
    from datasets.info import DatasetInfosDict
    from datasets.splits import SplitDict, SplitInfo
    from huggingface_hub import DatasetCardData

    infos = DatasetInfosDict()
    for name, (rows, parquet) in configurations.items():
        info = infos[name] = rows.info.copy()
        info.splits = SplitDict()
        info.splits.add(SplitInfo("train", num_bytes=rows.data.nbytes, num_examples=len(rows)))
        info.dataset_size, info.download_size = rows.data.nbytes, parquet.stat().st_size
    front = DatasetCardData()
    infos.to_dataset_card_data(front)
    return front.to_dict()["dataset_info"]


def read_rows(place: hub.Place, record: dict[str, Any], crops: bool = False) -> DistilledSet:
    """What students train on of the set that lies there; raises DataError where it is no such set.

    `record` is its `hf_dd.json`, empty if it has none. Labels of crops are fetched and read only with `crops`.
    """
    name = place.name
    require_rows(place, record)
    found = from_dataset(_train(place), name)
    if record.get("decoded"):
        found = found.decoded(from_dataset(_train(place, "decoded"), name), name)
    if crops and (about := record.get("crop_labels")):
        folder, shape = require_crop_labels(place, about), found.pixel_values.shape
        labels = read_crop_labels(folder, about, name, shape[0], tuple(shape[2:]), len(found.class_names))
        found = dataclasses.replace(found, crop_labels=labels)
    found = dataclasses.replace(found, whitening=read_whitening(place, record))
    about = record.get("soft_labels")
    if not isinstance(about, dict):  # of an imported set it is only known whether it has any
        return found
    temperature = about["temperature"]
    if not 0 < temperature:
        raise DataError(
            f"The record of {name} gives its soft labels a temperature of {temperature!r}; it has to be a finite "
            "number above 0."
        )
    return dataclasses.replace(found, temperature=temperature, taught_by=tuple(about["teachers"]))


def write_images(
    folder: Path,
    rows: "datasets.Dataset",
    image: Any,
    decoded: "datasets.Dataset | None" = None,
    whitening: Whitening | None = None,
) -> dict[str, Any]:
    """Write the rows, the preview and the whitening of a set whose record is still to come; returns what it says."""
    files.remove(folder / RECORD)
    files.write(folder / PREVIEW, lambda path: image.save(path, format="PNG"))
    facts = write_rows(folder, rows, decoded)
    return facts | {"storage": facts["storage"] | write_whitening(folder, whitening)}


def write_whitening(folder: Path, whitening: Whitening | None) -> dict[str, int]:
    """Write the whitening that a set's images are seen through, if any; returns its bytes, as `storage` has them."""
    files.remove(folder / WHITENING)
    if whitening is None:
        return {}
    files.write(folder / WHITENING, whitening.save)
    return {"whitening": whitening.bytes}


def read_whitening(place: hub.Place, record: dict[str, Any]) -> Whitening | None:
    """The whitening of the set that lies there; raises DataError where it isn't the one that its record tells of."""
    about = record["data"].get("whitening") if record else None
    if about is None:
        return None
    path = place.folder([WHITENING]) / WHITENING
    if not path.is_file():
        raise DataError(f"{place.name} lacks {WHITENING}, which its {RECORD} tells of: it isn't whole.")
    try:
        whitening = Whitening.load(path)
    except RunError as error:
        raise DataError(f"{place.name}: {error}") from error
    if whitening.digest != about["digest"]:
        raise DataError(
            f"The whitening of {place.name} ({WHITENING}) isn't the one that its {RECORD} is of: it was changed. Take "
            "the set anew from where it came from."
        )
    return whitening


def require_rows(place: hub.Place, record: dict[str, Any]) -> None:
    """Raise DataError where the files of a set aren't those of its record, or hold more than their bytes tell."""
    folder = place.folder([PARQUET, DECODED])
    decoded = record.get("decoded") or {}
    for path, digest in ((PARQUET, record.get("parquet_sha256")), (DECODED, decoded.get("parquet_sha256"))):
        if (folder / path).is_file():
            if digest:
                require_digest(folder / path, digest, place.name, path)
            require_as_large_as_it_looks(folder / path, place.name)
        elif digest:
            raise DataError(f"{place.name} lacks {path}, which its {RECORD} tells of: it isn't whole.")


def require_whole(folder: Path, record: Any) -> None:
    """Raise DataError where the rows of a set aren't its record's, RunError where a file isn't there."""
    if missing := [name for name in (PARQUET, PREVIEW) if not (folder / name).is_file()]:
        raise RunError(
            f"{folder} isn't whole: it lacks {some(missing)}. Remove it and make it anew, or take a copy that has it."
        )
    place, about = hub.Place(str(folder), None, True, "dataset"), record.crop_labels
    require_rows(place, vars(record))
    read_whitening(place, vars(record))
    if about:
        require_crop_labels(place, about)
    known = {folder / path for path in about["files"]} if about else set()
    if strange := sorted(path.name for path in {*(folder / LABELS).glob("*")} - known):
        raise RunError(f"{folder / LABELS} holds what its {RECORD} doesn't know: remove {some(strange)} there.")


def require_crop_labels(place: hub.Place, about: Mapping[str, Any]) -> Path:
    """The folder with a set's labels of crops; raises DataError where they aren't those of its record."""
    if strange := [path for path in about["files"] if not FILE.fullmatch(path)]:
        raise DataError(f"The record of {place.name} names {some(strange)} as labels of crops, which no hf-dd writes.")
    folder = place.folder([f"{LABELS}/*"])
    for path, digest in about["files"].items():
        if not (folder / path).is_file():
            raise DataError(f"{place.name} lacks {path}, which its {RECORD} tells of: it isn't whole.")
        require_digest(folder / path, digest, place.name, path)
        require_as_large_as_it_looks(folder / path, place.name)
    return folder


def require_digest(file: Path, digest: str, name: str, path: str) -> None:
    """Raise DataError where a file of rows isn't the one that a record is of."""
    if digest_of(file) != digest:
        raise DataError(
            f"The rows of {name} ({path}) aren't those that its {RECORD} is of: they were changed. Take the set anew "
            "from where it came from."
        )


def require_as_large_as_it_looks(path: Path, name: str) -> None:
    """Raise DataError where a parquet file can't be read, or would take far more memory than its own bytes."""
    import pyarrow

    try:
        require_modest_file(path, LARGEST_RATIO, PLAIN_SIZE)
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise DataError(f"{name}: {path.name} isn't a parquet file that can be read ({error}).") from error


def _train(place: hub.Place, configuration: str | None = None) -> "datasets.Dataset":
    path = DECODED if configuration else PARQUET
    folder = place.folder([path])
    if (folder / path).is_file():
        rows = _rows_of(folder / path, place.name)
    else:
        splits = load_splits(place, DataConfig(dataset_config=configuration))
        if "train" not in splits:
            raise DataError(
                f"{place.name} isn't a distilled set of hf_dd: it has no split 'train', but {', '.join(splits)}."
            )
        rows = splits["train"]
    require_labels(rows, place.name)
    return rows


def _rows_of(path: Path, name: str) -> "datasets.Dataset":
    """The rows of a parquet file itself, which `load_dataset` may have others of in its cache."""
    import datasets
    import pyarrow
    import pyarrow.parquet

    try:
        return datasets.Dataset(pyarrow.parquet.read_table(files.named_plainly(path)))
    except (
        OSError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        RecursionError,
        pyarrow.ArrowException,
    ) as error:
        raise DataError(f"{name}: {path.name} holds no rows that can be read ({first_line(error)}).") from error


def require_labels(rows: "datasets.Dataset", name: str) -> None:
    """Raise DataError where the labels of a distilled set aren't classes with names."""
    import datasets

    if "label" not in rows.column_names:
        return  # from_dataset names all columns that are missing
    if not isinstance(rows.features["label"], datasets.ClassLabel):
        raise DataError(
            f"{name} isn't a distilled set of hf_dd: its labels are {rows.features['label']}, not classes with names "
            "(ClassLabel)."
        )
