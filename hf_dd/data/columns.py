"""Which columns of a table hold its images and its labels, and what to do where none does."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_dd.config import DataConfig
from hf_dd.core.progress import say
from hf_dd.errors import DataError, some

if TYPE_CHECKING:
    import datasets

# Of files that both `load_dataset` and Pillow take for pictures.
IMAGE_SUFFIXES = {".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".gif"}
IMAGE_SUFFIXES |= {".pgm", ".ppm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpx", ".jpf", ".jpc", ".j2c", ".tga", ".pcx"}
IMAGE_SUFFIXES |= {".ico", ".icns", ".cur", ".dcx", ".dds", ".ras", ".sgi", ".bw", ".rgb", ".rgba", ".xbm", ".xpm"}
LABEL_NAMES = ("label", "labels", "target", "targets", "class", "category", "fine_label")
RARER_NAMES = ("cls", "class_id", "class_idx", "class_label", "class_name", "label_id", "y", "synset", "wnid")
STRUCT, BINARY = {"bytes", "path"}, ("binary", "large_binary")


def find_columns(features: "datasets.Features", config: DataConfig, folder: Path | None = None) -> tuple[str, str]:
    """The image and the label column: those named, else found by type, the label else by name; raises DataError.

    A column of ClassLabel goes before one that is called `label`, which is told.
    """
    import datasets

    def is_discrete(feature: Any) -> bool:
        kind = feature.dtype if isinstance(feature, datasets.Value) else ""
        known = any(each in kind for each in ("int", "string", "float", "bool"))
        return isinstance(feature, datasets.ClassLabel) or known

    drawn = [name for name, feature in features.items() if _is_drawn(feature)]
    images = [name for name, feature in features.items() if _is_image(feature)] or drawn
    discrete = [name for name, feature in features.items() if is_discrete(feature)]
    labels = [name for name in discrete if isinstance(features[name], datasets.ClassLabel)]
    for known in (LABEL_NAMES, RARER_NAMES):
        labels = labels or [name for name in discrete if name in known]
    label = _one_column("label", config.label_column, labels, discrete, features, folder)
    passed_over = [name for name in discrete if name in LABEL_NAMES and name not in labels]
    if config.label_column is None and label not in LABEL_NAMES and passed_over:
        say("labels are taken from the column %r, whose classes have names, not from %r", label, passed_over[0])
    return _one_column("image", config.image_column, images, [*images, *drawn], features), label


def _is_image(feature: Any) -> bool:  # a parquet file written without datasets has the bare struct
    import datasets

    return isinstance(feature, datasets.Image) or (isinstance(feature, dict) and {"bytes"} <= {*feature} <= STRUCT)


def _is_drawn(feature: Any) -> bool:  # bytes of files, or pixels
    import datasets

    arrays = isinstance(feature, (datasets.Array2D, datasets.Array3D)) and feature.dtype == "uint8"
    return arrays or (isinstance(feature, datasets.Value) and feature.dtype in BINARY)


def _one_column(
    kind: str,
    asked: str | None,
    found: list[str],
    allowed: list[str],
    features: dict[str, Any],
    folder: Path | None = None,
) -> str:
    if asked is None and len(found) == 1:
        return found[0]
    if asked in allowed:
        return asked
    if asked is None:
        problem = f"{len(found) or 'No'} columns look like {kind}s"
    else:
        problem = f"Column {asked!r} doesn't hold {kind}s" if asked in features else f"There is no column {asked!r}"
    columns = some([f"{name} ({getattr(f, 'dtype', type(f).__name__)})" for name, f in features.items()])
    ways = [f"Name one with --{kind}_column."]
    ways += [_way_out(kind, name, features[name]) for name in ([asked] if asked in features else list(features)[:10])]
    if kind == "label" and folder and not allowed:
        ways.append(_class_folders(folder))
    raise DataError(" ".join(filter(None, (f"{problem}; the columns are {columns}.", *ways))))


def _way_out(kind: str, name: str, feature: Any) -> str:
    """What to do with a column that holds images or labels in a form that isn't read; "" if nothing is to be done."""
    import datasets

    many = isinstance(feature, (list, datasets.List, datasets.LargeList))
    if kind == "label" and many:
        return (
            f"{name!r} holds lists, where an image has one label: make it one and save that, as in "
            f"dataset.map(lambda row: {{'label': row[{name!r}].index(1)}}, remove_columns={name!r}) where one of each "
            f"is 1, or with row[{name!r}][0] where each names its classes."
        )
    inner = getattr(feature, "feature", feature[0] if isinstance(feature, list) else None)
    if kind == "image" and many and (_is_image(inner) or _is_drawn(inner)):
        return (
            f"{name!r} holds lists of images, where a row has one image: save that, as in "
            f"dataset.map(lambda row: {{'image': row[{name!r}][0]}}, remove_columns={name!r}) for the first of each."
        )
    if kind == "image" and "fixed_size_binary" in getattr(feature, "dtype", ""):
        return f"If {name!r} holds image files, save dataset.cast_column({name!r}, datasets.Value('binary')) instead."
    if kind == "image" and (many or isinstance(feature, (datasets.Array2D, datasets.Array3D))):
        return (
            f"{name!r} holds numbers that don't say which of them is white: save them as images or as "
            "datasets.Array3D((height, width, channels), 'uint8'), 0 … 255."
        )
    if kind == "image" and isinstance(feature, datasets.Value) and "string" in feature.dtype:
        return f"If {name!r} holds paths of image files, save dataset.cast_column({name!r}, datasets.Image()) instead."
    return ""


def _class_folders(folder: Path) -> str:
    """Why the images of a folder have no labels: `datasets` takes them from folders, if all lie equally deep."""
    images = [path.relative_to(folder) for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES]
    depths = Counter(len(path.parts) for path in images)
    if not images:
        return ""
    if len(depths) > 1:
        deepest = max(depths)
        loose = sorted(str(path) for path in images if len(path.parts) < deepest)
        return f"Its images take their labels from folders, but {some(loose)} lie beside these: move them away."
    return "Its images take their labels from folders: it needs one for each class, and two of them at least."
