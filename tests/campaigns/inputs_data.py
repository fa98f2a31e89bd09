"""Odd and hostile data: images, labels, columns, folders, and sets of other tools, read by `distill` and `import`.

Each try writes a data set whose right reading it knows, and hands it to a command. `distill --objective random` of as
many images as a class has stores every decoded image, so that its rows are compared with what was written; of an
import all rows are. What has to be refused costs at most a gigabyte and ten seconds and leaves nothing behind.
"""

import gzip
import io
import json
import os
import pickle
import random
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import datasets
import numpy as np
import pyarrow.parquet
import torch
from PIL import Image

from hf_dd.data.fixed_forms import digits_rows
from tests.campaigns.campaign import Outcome, Try, main, preload, run

PER_CLASS = 4
DISTILL = ["distill", "--objective", "random", "--eval_students", "0", "--baselines", "none"]

Pictures = list[np.ndarray]  # uint8, H×W or H×W×3


class Case:
    """One try: a folder to write into, what the command is, and what has to come out.

    Attributes:
        folder: of the case alone.
        arguments: of `hf-dd`, without the output folder.
        images: per class name the pictures that have to be stored, in any order, or None where it is to be refused.
        near: how far a level may be from what was written.
        says: what the error line has to name, where it is refused.
        may_refuse: whether a refusal is as right as the images.
    """

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.folder, self.rng = folder, rng
        self.arguments: list[str] = []
        self.images: dict[str, Pictures] | None = None
        self.near, self.says, self.may_refuse = 0, "", False
        folder.mkdir(parents=True)

    def distill(self, dataset: object, *options: object, ipc: int = PER_CLASS) -> None:
        """Store all images of a data set."""
        self.arguments = [*DISTILL, "--ipc", str(ipc), "--dataset", str(dataset), *map(str, options)]

    def take(self, foreign: object, *options: object) -> None:
        """Import a set of the source that `source` writes."""
        self.arguments = ["import", str(foreign), "--dataset", str(self.folder / "source"), *map(str, options)]


# ------------------------------------------------------------------------------------------------ what is written


def pictures(rng: random.Random, classes: int = 3, count: int = PER_CLASS) -> list[Pictures]:
    """Grey 8×8 pictures of digits, the class its digit."""
    rows = digits_rows()
    chosen = []
    for label in range(classes):
        of_class = rows[rows[:, -1] == label % 10]
        places = rng.sample(range(len(of_class)), count)
        chosen.append([np.rint(of_class[place, :-1] * (255 / 16)).astype(np.uint8).reshape(8, 8) for place in places])
    return chosen


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def png(picture: np.ndarray) -> bytes:
    return encoded(Image.fromarray(picture))


def colours(picture: np.ndarray) -> np.ndarray:
    return np.stack([picture, 255 - picture, picture // 2], -1)


def on_white(picture: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    alpha = alpha.astype(np.float64) / 255
    alpha = alpha[..., None] if picture.ndim == 3 else alpha
    return np.rint(picture * alpha + 255 * (1 - alpha)).astype(np.uint8)


def write_folder(root: Path, by_class: dict[str, list[bytes]], split: str = "train", suffix: str = ".png") -> Path:
    for name, contents in by_class.items():
        target = root / split / name
        target.mkdir(parents=True, exist_ok=True)
        for number, content in enumerate(contents):
            (target / f"{number:02}{suffix}").write_bytes(content)
    return root


def write_table(root: Path, columns: dict, **features: object) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    made = datasets.Dataset.from_dict(columns, features=datasets.Features(features) if features else None)
    made.to_parquet(root / "train.parquet")
    return root


def source(case: Case, names: Sequence[str] = ("a", "b", "c"), count: int = 12) -> list[Pictures]:
    """The data set that a foreign set is checked against."""
    real = pictures(case.rng, len(names), count)
    write_folder(
        case.folder / "source", dict(zip(names, [[png(each) for each in group] for group in real], strict=True))
    )
    return real


def tensors(groups: list[Pictures]) -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.from_numpy(np.stack([each for group in groups for each in group])).float().div(255).unsqueeze(1)
    return images, torch.tensor([label for label, group in enumerate(groups) for _ in group])


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_of(width: int, height: int, rows: int = 0) -> bytes:
    """A grey PNG that declares a size, and holds a few rows of zeros of it."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    content = zlib.compress(bytes((width + 1) * rows), 9)
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", content) + chunk(b"IEND", b"")


# -------------------------------------------------------------------------------------------------------- images


def modes(case: Case) -> str:
    """Images of one mode, or of several."""
    rng = case.rng

    def grey(p: np.ndarray) -> tuple[bytes, np.ndarray]:
        return png(p), p

    def rgb(p: np.ndarray) -> tuple[bytes, np.ndarray]:
        return png(colours(p)), colours(p)

    def rgba(p: np.ndarray) -> tuple[bytes, np.ndarray]:
        alpha = 255 - p if rng.random() < 0.5 else np.full_like(p, 255)
        return encoded(Image.fromarray(np.dstack([colours(p), alpha]))), on_white(colours(p), alpha)

    def ink(p: np.ndarray) -> tuple[bytes, np.ndarray]:
        black = np.zeros((8, 8, 3), np.uint8)
        return encoded(Image.fromarray(np.dstack([black, p]))), on_white(black, p)

    def la(p: np.ndarray) -> tuple[bytes, np.ndarray]:
        image = Image.merge("LA", [Image.fromarray(p // 2), Image.fromarray(p)])
        return encoded(image), on_white(p // 2, p)

    def palette(p: np.ndarray) -> tuple[bytes, np.ndarray]:
        image = Image.fromarray(p // 16).convert("L")
        indexed = Image.frombytes("P", image.size, image.tobytes())
        table = [level for index in range(16) for level in (index * 17, 255 - index * 17, 40)]
        indexed.putpalette(table)
        shown = np.array(table, np.uint8).reshape(16, 3)[p // 16]
        if rng.random() < 0.5:
            return encoded(indexed), shown
        shown[p // 16 == 3] = 255
        return encoded(indexed, transparency=3), shown

    def hidden_level(p: np.ndarray) -> tuple[bytes, np.ndarray]:
        level = int(p[4, 4])
        return encoded(Image.fromarray(p), transparency=level), np.where(p == level, 255, p).astype(np.uint8)

    def black_and_white(p: np.ndarray) -> tuple[bytes, np.ndarray]:
        return encoded(Image.fromarray(p > 100)), (p > 100).astype(np.uint8) * 255

    def cmyk(p: np.ndarray) -> tuple[bytes, np.ndarray]:
        image = Image.merge("CMYK", [Image.fromarray(255 - each) for each in (p, p, p)] + [Image.new("L", (8, 8))])
        return encoded(image, "TIFF"), np.stack([p] * 3, -1)

    def turned(p: np.ndarray) -> tuple[bytes, np.ndarray]:
        exif = Image.Exif()
        exif[274] = 3
        return encoded(Image.fromarray(p), exif=exif), np.rot90(p, 2)

    def frames(p: np.ndarray) -> tuple[bytes, np.ndarray]:
        form, options = rng.choice([("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})])
        both = [Image.fromarray(colours(each)) for each in (p, 255 - p)]
        return encoded(both[0], form, save_all=True, append_images=both[1:], **options), colours(p)

    def bmp(p: np.ndarray) -> tuple[bytes, np.ndarray]:
        return encoded(Image.fromarray(p), rng.choice(["BMP", "TIFF", "PPM", "PCX"])), p

    forms = [grey, rgb, rgba, ink, la, palette, hidden_level, black_and_white, cmyk, turned, frames, bmp]
    chosen = rng.sample(forms, rng.choice([1, 1, 2, 3]))
    written = [[rng.choice(chosen)(p) for p in group] for group in pictures(rng)]
    contents = {name: [content for content, _ in group] for name, group in zip("abc", written, strict=True)}
    case.images = {name: [seen for _, seen in group] for name, group in zip("abc", written, strict=True)}
    case.near = 1
    case.distill(as_table(case, contents))
    return " ".join(form.__name__ for form in chosen)


def as_table(case: Case, contents: dict[str, list[bytes]]) -> Path:
    """Encoded images as one parquet file."""
    rows = [(content, label) for label, group in enumerate(contents.values()) for content in group]
    images = [None if content is None else {"bytes": content, "path": None} for content, _ in rows]
    names = datasets.ClassLabel(names=list(contents))
    return write_table(
        case.folder / "data",
        {"image": images, "label": [label for _, label in rows]},
        image=datasets.Image(),
        label=names,
    )


def sixteen_bits(case: Case) -> str:
    """Levels of 16 bits, of which some are in use."""
    bits = case.rng.choice([8, 10, 12, 14, 16])
    white = 2**bits - 1
    deep = [[np.rint(p / 255 * white).astype(np.uint16) for p in group] for group in pictures(case.rng)]
    deep[0][0][0, 0] = white  # the brightest is there
    form = case.rng.choice(["PNG", "TIFF"])
    contents = {n: [encoded(Image.fromarray(p), form) for p in g] for n, g in zip("abc", deep, strict=True)}
    seen = [[np.rint(p / white * 255).astype(np.uint8) for p in group] for group in deep]
    case.images, case.near = dict(zip("abc", seen, strict=True)), 1
    case.distill(as_table(case, contents))
    return f"{bits} bits in {form}"


def deep_colours(case: Case) -> str:
    """PNGs of 16 bits per colour: all bits are in use, or few."""
    bits = case.rng.choice([12, 16])
    contents, seen = {}, {}
    for name, group in zip("abc", pictures(case.rng), strict=True):
        contents[name], seen[name] = [], []
        for p in group:
            deep = np.rint(colours(p) / 255 * (2**bits - 1)).astype(">u2")
            raw = b"".join(b"\0" + row.tobytes() for row in deep)
            head = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0))
            contents[name].append(
                b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
            )
            seen[name].append((deep >> 8).astype(np.uint8))
    case.distill(as_table(case, contents))
    if bits == 16:
        case.images, case.near = seen, 1
    else:
        case.says = "8 bits for each colour"
    return f"{bits} bits"


def sizes(case: Case) -> str:
    """Images of several sizes: of half of them, of fewer, or one that is asked for."""
    rng, groups = case.rng, pictures(case.rng)
    how = rng.choice(["most", "none", "asked"])
    odd = 1 if how == "most" else 12
    contents, count = {}, 0
    for name, group in zip("abc", groups, strict=True):
        contents[name] = []
        for p in group:
            count += 1
            size = (8, 8) if count > odd else (9 + count, rng.randint(3, 30))
            contents[name].append(png(np.asarray(Image.fromarray(p).resize(size))))
    folder = as_table(case, contents)
    if how == "none":
        case.says = "--image_size"
        case.distill(folder)
    else:
        case.distill(folder, *(["--image_size", 8] if how == "asked" else []))
        case.images, case.near = dict(zip("abc", groups, strict=True)), 255  # scaled and cut
    return how


def alike(case: Case) -> str:
    """Images that say nothing when they are decoded."""
    what = case.rng.choice(["white ink", "black", "one picture", "dark 16 bits"])
    p = pictures(case.rng, 1, 1)[0][0]
    content = {
        "white ink": encoded(Image.fromarray(np.dstack([np.full((8, 8, 3), 255, np.uint8), p]))),
        "black": png(np.zeros((8, 8), np.uint8)),
        "one picture": png(p),
        "dark 16 bits": encoded(Image.fromarray(np.zeros((8, 8), np.uint16))),
    }[what]
    case.distill(as_table(case, {name: [content] * PER_CLASS for name in "abc"}))
    case.says = "all alike"
    return what


def broken(case: Case) -> str:
    """One image that can't be decoded, or must not be."""
    rng = case.rng
    good = png(pictures(rng, 1, 1)[0][0])
    big = png(np.frombuffer(rng.randbytes(64 * 64), np.uint8).reshape(64, 64))
    bad = {
        "cut": lambda: big[: rng.randint(60, len(big) - 60)],
        "empty": lambda: b"",
        "noise": lambda: rng.randbytes(200),
        "no image": lambda: None,
        "bomb declared": lambda: png_of(rng.choice([60_000, 2**31 - 1]), 60_000),
        "bomb below the library's limit": lambda: png_of(13_000, 13_000, 100),
        "no width": lambda: png_of(0, 8),
        "floats": lambda: encoded(Image.fromarray(np.ones((8, 8), np.float32)), "TIFF"),
        "32 bits": lambda: encoded(Image.fromarray(np.full((8, 8), 70_000, np.int32)), "TIFF"),
        "postscript": lambda: encoded(Image.fromarray(colours(np.zeros((8, 8), np.uint8))), "EPS"),
        "an html page": lambda: b"<html>404</html>",
        "a gif without frames": lambda: b"GIF89a\x08\x00\x08\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff;",
        "text chunk bomb": lambda: good[:33] + chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**27), 9)) + good[33:],
        "a jpeg cut": lambda: encoded(Image.frombytes("L", (64, 64), rng.randbytes(4096)), "JPEG")[:-900],
    }
    what = rng.choice(sorted(bad))
    content = bad[what]()
    contents = {n: [png(p) for p in g] for n, g in zip("abc", pictures(rng), strict=True)}
    place = rng.randrange(PER_CLASS)
    if content is None or rng.random() < 0.7:
        contents["b"][place] = content
        folder = as_table(case, contents)
        case.says = f"row {PER_CLASS + place}"
    else:
        contents["b"][place] = content
        folder = write_folder(case.folder / "data", contents)
        case.says = f"b/{place:02}.png"
    case.distill(folder)
    return what


def paths(case: Case) -> str:
    """Rows that name a file instead of holding one."""
    bait = case.rng.choice(["/dev/zero", "/proc/self/environ", str(case.folder), "gone.png", "pipe"])
    if bait == "pipe":
        os.mkfifo(case.folder / "pipe")
        bait = str(case.folder / "pipe")
    folder = as_table(case, {n: [png(p) for p in g] for n, g in zip("abc", pictures(case.rng), strict=True)})
    rows = pyarrow.parquet.read_table(folder / "train.parquet").to_pylist()
    rows[5]["image"] = {"bytes": None, "path": bait}
    schema = pyarrow.parquet.read_schema(folder / "train.parquet")
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), folder / "train.parquet")
    case.distill(folder)
    case.says = "row 5"
    return Path(bait).name


def parquets(case: Case) -> str:
    """Parquet files that unpack to more than there is, and whose metadata lie."""
    rng = case.rng
    groups = pictures(rng)
    flat = [png(p) for group in groups for p in group]
    labels = [label for label, group in enumerate(groups) for _ in group]
    image = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    schema = pyarrow.schema({"image": image, "label": pyarrow.int64()})
    table = pyarrow.table([[{"bytes": each, "path": None} for each in flat], labels], schema=schema)
    path = case.folder / "data" / "train.parquet"
    path.parent.mkdir()

    def groups_of(one: pyarrow.Table, times: int, **options: object) -> None:
        with pyarrow.parquet.ParquetWriter(path, one.schema, **options) as writer:
            for _ in range(times):
                writer.write_table(one)

    def of_bytes(column: pyarrow.Array) -> pyarrow.Table:
        paths = pyarrow.nulls(len(column), pyarrow.string())
        images = pyarrow.StructArray.from_arrays([column, paths], fields=list(image))
        return pyarrow.table([images, pyarrow.array(np.arange(len(column)) % 3)], schema=schema)

    def dictionary(times: int) -> None:
        """One long text, to which every row points."""
        value = pyarrow.array([flat[0] + bytes(2**20)])
        column = value.take(pyarrow.array(np.zeros(64, np.int32)))
        groups_of(of_bytes(column), times, compression="zstd", dictionary_pagesize_limit=2**22)

    def zeros(times: int) -> None:
        """Rows of zeros that a page's compression hides."""
        column = pyarrow.array([flat[0] + bytes(2**26)] * 2)
        groups_of(of_bytes(column), times, compression="zstd", use_dictionary=False)

    def nulls(times: int) -> None:
        """Rows of nothing, which take no bytes."""
        groups_of(pyarrow.table([pyarrow.nulls(10**7, each.type) for each in schema], schema=schema), times)

    def changed(where: slice, changes: int) -> None:
        pyarrow.parquet.write_table(table, path, row_group_size=5)
        content = bytearray(path.read_bytes())
        places = range(len(content))[where]
        if where.start and where.start < 0:  # of the footer
            places = range(len(content) - 8 - int.from_bytes(content[-8:-4], "little"), len(content) - 4)
        for _ in range(changes):
            content[rng.choice(places)] ^= 1 << rng.randrange(8)
        path.write_bytes(content)

    def deep(levels: int, lists: bool) -> None:
        kind: pyarrow.DataType = pyarrow.int64()
        for _ in range(levels):
            kind = pyarrow.list_(kind) if lists else pyarrow.struct([("a", kind)])
        pyarrow.parquet.write_table(table.append_column("deep", pyarrow.nulls(len(table), kind)), path)

    def features(of: object) -> None:
        about = {"info": {"features": {"image": of, "label": {"dtype": "int64", "_type": "Value"}}}}
        told = table.replace_schema_metadata({"huggingface": json.dumps(about)})
        pyarrow.parquet.write_table(told, path)

    huge = {"shape": [2**31, 2**31], "dtype": "uint8", "_type": "Array2D"}
    ways: dict[str, Callable[[], object]] = {
        "one text for many rows": lambda: dictionary(40),
        "zeros": lambda: zeros(4),
        "zeros in many groups": lambda: zeros(16),
        "rows of nothing": lambda: nulls(30),
        "footer": lambda: changed(slice(-1, None), 1),
        "footer, more": lambda: changed(slice(-1, None), 5),
        "pages": lambda: changed(slice(4, 1200), 2),
        "deep structs": lambda: deep(rng.choice([60, 300]), False),
        "deep lists": lambda: deep(rng.choice([30, 120]), True),
        "huge arrays": lambda: features(huge),
        "features that are none": lambda: features(rng.choice([5, None, {"_type": "Nothing"}, [[[[]]]], {"a": huge}])),
    }
    what = rng.choice(sorted(ways))
    ways[what]()
    if what not in ("one text for many rows", "zeros", "zeros in many groups", "rows of nothing"):
        case.images, case.may_refuse = dict(zip("012", groups, strict=True)), True
    case.distill(path.parent)
    return what


# ---------------------------------------------------------------------------------------------- columns and labels


def columns(case: Case) -> str:
    """Images as bytes, arrays, lists, texts."""
    rng, groups = case.rng, pictures(case.rng)
    flat, labels = [p for g in groups for p in g], [label for label, g in enumerate(groups) for _ in g]
    names = datasets.ClassLabel(names=["a", "b", "c"])
    flat_colours = [colours(p) for p in flat]
    ways = {
        "bytes": (datasets.Value("binary"), [png(p) for p in flat], flat),
        "large bytes": (datasets.Value("large_binary"), [png(p) for p in flat], flat),
        "bytes of no image": (datasets.Value("binary"), [b"no"] * len(flat), "row 0"),
        "2d": (datasets.Array2D((8, 8), "uint8"), flat, flat),
        "3d": (datasets.Array3D((8, 8, 1), "uint8"), [p[..., None] for p in flat], flat),
        "3d rgb": (datasets.Array3D((8, 8, 3), "uint8"), flat_colours, flat_colours),
        "3d channels first": (datasets.Array3D((3, 8, 8), "uint8"), [c.transpose(2, 0, 1) for c in flat_colours],
                              flat_colours),
        "3d of 2 channels": (datasets.Array3D((8, 8, 2), "uint8"), [c[..., :2] for c in flat_colours], "channels"),
        "floats": (datasets.Array2D((8, 8), "float32"), [p / 255 for p in flat], "'uint8'"),
        "lists": (datasets.List(datasets.List(datasets.Value("uint8"))), [p.tolist() for p in flat], "'uint8'"),
        "texts": (datasets.Value("string"), ["x.png"] * len(flat), "cast_column"),
        "numbers": (datasets.Value("int64"), list(range(len(flat))), "No columns look like images"),
    }  # fmt: skip
    what = rng.choice(sorted(ways))
    feature, values, right = ways[what]
    column = rng.choice(["image", "img", "picture"])
    table = {column: values, "label": labels}
    folder = write_table(case.folder / "data", table, **{column: feature, "label": names})
    asked = ["--image_column", column] if rng.random() < 0.5 else []
    case.distill(folder, *asked)
    if isinstance(right, str):
        case.says = right if not (asked and what == "numbers") else "doesn't hold images"
    else:
        case.images = {
            n: [p for p, label in zip(right, labels, strict=True) if label == k] for k, n in enumerate("abc")
        }
    return what


def labels(case: Case) -> str:
    """Labels of every type, missing ones, and what isn't one."""
    rng, groups = case.rng, pictures(case.rng)
    flat, plain = [p for g in groups for p in g], [label for label, g in enumerate(groups) for _ in g]
    value = datasets.Value
    ways = {
        "whole floats": (value("float64"), [float(y) for y in plain], ["0", "1", "2"]),
        "fractions": (value("float32"), [y + 0.5 for y in plain], "fractions"),
        "nan": (value("float32"), [float("nan") if not y else float(y) for y in plain], "no label"),
        "infinite": (value("float32"), [float("inf") if not y else float(y) for y in plain], "fractions"),
        "texts": (value("string"), [f"k{2 - y}" for y in plain], {"k0": 2, "k1": 1, "k2": 0}),
        "odd texts": (value("string"), [f"a {y}|<b>`*" for y in plain], [f"a {y}|<b>`*" for y in range(3)]),
        "some missing": (value("string"), [None if y == 1 else str(y) for y in plain], "no label"),
        "minus one": (value("int64"), [y - 1 for y in plain], "no label"),
        "negative": (value("int64"), [y - 7 for y in plain], ["-7", "-6", "-5"]),
        "numbers as texts": (value("string"), [str(9 + y) for y in plain], {"10": 1, "11": 2, "9": 0}),
        "numbers": (value("int16"), [9 + y for y in plain], ["9", "10", "11"]),
        "lists": (datasets.List(value("int64")), [[y] for y in plain], "row: {'label'"),
        "one hot": (datasets.List(value("float32")), np.eye(3)[plain].tolist(), "row: {'label'"),
        "dates": (value("timestamp[s]"), plain, "labels"),
        "one class": (value("int64"), [5] * len(plain), None),
    }
    what = rng.choice(sorted(ways))
    feature, values, right = ways[what]
    images = [{"bytes": png(p), "path": None} for p in flat]
    folder = write_table(
        case.folder / "data", {"image": images, "label": values}, image=datasets.Image(), label=feature
    )
    if what == "one class":
        case.images, case.may_refuse = {"5": flat}, True
        case.distill(folder, ipc=len(flat))
        return what
    case.distill(folder, *(["--label_column", "label"] if rng.random() < 0.5 else []))
    if isinstance(right, str):
        case.says = right
    else:
        places = right if isinstance(right, dict) else {name: place for place, name in enumerate(right)}
        case.images = {name: groups[place] for name, place in places.items()}
    return what


# -------------------------------------------------------------------------------------------------------- folders


def folders(case: Case) -> str:
    """Layouts of image folders."""
    rng, groups = case.rng, pictures(case.rng)
    contents = [[png(p) for p in g] for g in groups]
    root, names = case.folder / "data", ["a", "b", "c"]
    what = rng.choice([
        "plain", "names", "junk", "loose", "flat", "one class", "empty", "brackets", "at", "newline", "underscores",
        "yaml", "link", "reader", "unequal depth", "metadata", "broken card", "class without images",
    ])  # fmt: skip
    if what == "names":
        odd = ["-x", "k l'", "ü&<b>", "a@1", "tab\tx", "100%", "a|b", "null", "~", "a,b", "x=y", "$HOME"]
        names = sorted(rng.sample(odd, 3))
    if what in ("brackets", "at", "reader", "link"):
        root = case.folder / {
            "brackets": rng.choice(["a[b]", "x*", "d?", "u::v"]), "at": "d@v1", "reader": rng.choice(["text", "csv"]),
            "link": "real",
        }[what]  # fmt: skip
    by_class = dict(zip(names, contents, strict=True))
    write_folder(root, by_class, split="" if what in ("flat", "loose") or rng.random() < 0.3 else "train")
    case.images = dict(zip(names, groups, strict=True))
    case.distill(root)
    if "$HOME" in names:
        case.images, case.says = None, "give it another name"
    if what == "junk":
        for name in (".DS_Store", "notes.txt", "Thumbs.db", "a.json.bak"):
            (next(root.rglob("a")) / name).write_bytes(rng.randbytes(30))
        case.may_refuse = True
    elif what == "loose":
        (root / "cover.png").write_bytes(contents[0][0])
        case.images, case.says = None, "cover.png"
    elif what == "flat":
        for place, content in enumerate(contents[0]):
            (root / f"{place}.png").write_bytes(content)
        for name in names:
            shutil.rmtree(root / name)
        case.images, case.says = None, "one for each class"
    elif what == "one class":
        for name in names[1:]:
            shutil.rmtree(next(root.rglob(name)))
        case.images, case.says = None, "two of them"
    elif what == "empty":
        shutil.rmtree(root)
        root.mkdir()
        case.images, case.says = None, "any data files"
    elif what == "brackets":
        case.images, case.says = None, "Move it"
    elif what in ("newline", "underscores"):
        next(root.rglob("b")).rename(next(root.rglob("b")).with_name("b\nx" if what == "newline" else "__b"))
        case.images, case.says = None, "another name"
    elif what == "yaml":
        (root / "README.md").write_text(
            rng.choice(["---\nlicense: [\n---\n", "---\na: b: c\n---\n", "---\n\t- x\n---\n"])
        )
        case.images, case.says = None, "README.md"
    elif what == "broken card":
        (root / "README.md").write_bytes(
            rng.choice([b"---\n- a\n---\n", b"\xff\xfe\x00", b"---\ndataset_info: 5\n---\n"])
        )
        case.may_refuse = True
    elif what == "link":
        (case.folder / "data").symlink_to(root)
        case.distill(case.folder / "data")
    elif what == "unequal depth":
        target = next(root.rglob("c"))
        target.rename(target.with_name("rest"))
        (target.with_name("rest")).rename(target.parent / "d")
        (target.parent / "d").rename(case.folder / "moved")
        (target.parent / "d").mkdir()
        (case.folder / "moved").rename(target.parent / "d" / "c")
        case.images, case.says = None, "move them away"
    elif what == "metadata":
        lines = ["file_name,label"]
        shutil.rmtree(root)
        (root / "train").mkdir(parents=True)
        for name, group in by_class.items():
            for place, content in enumerate(group):
                (root / "train" / f"{name}{place}.png").write_bytes(content)
                lines.append(f"{name}{place}.png,{name}")
        (root / "train" / "metadata.csv").write_text("\n".join(lines))
    elif what == "class without images":
        (next(root.rglob("a")).parent / "d").mkdir()
    return f"{what} {root.name}"


def idx(case: Case) -> str:
    """IDX files that lie, or unpack to more than there is."""
    rng, root = case.rng, case.folder / "data"
    root.mkdir()
    groups = pictures(rng)
    flat = np.stack([p for g in groups for p in g])
    y = np.array([label for label, g in enumerate(groups) for _ in g], np.uint8)
    images = bytes((0, 0, 8, 3)) + struct.pack(">3I", *flat.shape) + flat.tobytes()
    numbers = bytes((0, 0, 8, 1)) + struct.pack(">I", len(y)) + y.tobytes()
    what = rng.choice(["right", "huge header", "bomb", "lying bomb", "cut", "fewer labels", "another type", "swapped"])
    pack: Callable[[bytes], bytes] = gzip.compress if rng.random() < 0.5 else bytes
    huge = bytes((0, 0, 8, 3)) + struct.pack(">3I", 2**31, 2**15, 2**15)
    if what == "huge header":
        images = huge + images[16:]
    elif what == "bomb":
        pack, images = gzip.compress, huge + bytes(2**29)
    elif what == "lying bomb":
        pack, images = gzip.compress, images + bytes(2**29)
    elif what == "cut":
        images = images[: rng.randint(2, len(images) - 1)]
    elif what == "fewer labels":
        numbers = bytes((0, 0, 8, 1)) + struct.pack(">I", len(y) - 1) + y[1:].tobytes()
    elif what == "another type":
        images = bytes((0, 0, 13, 3)) + images[4:]
    elif what == "swapped":
        images, numbers = numbers, images
    suffix = ".gz" if pack is gzip.compress else ""
    (root / f"train-images-idx3-ubyte{suffix}").write_bytes(pack(images))
    (root / f"train-labels-idx1-ubyte{suffix}").write_bytes(pack(numbers))
    case.distill(root)
    if what == "right":
        case.images = dict(zip("012", groups, strict=True))
    return f"{what}{suffix}"


# ----------------------------------------------------------------------------------------------- sets of other tools


def foreign(case: Case) -> str:
    """Sets in every format, whose pixels and labels are as they should be."""
    rng, real = case.rng, source(case)
    groups = [group[:PER_CLASS] for group in real]
    x, y = tensors(groups)
    path = case.folder / "set.pt"
    what = rng.choice([
        "dc", "idc", "dict", "mtt", "uint8", "int64", "float64", "half", "bfloat16", "one hot", "logits",
        "float labels", "uint8 labels", "column of labels", "folders", "numbered folders", "padded folders",
        "parquet", "nested",
        "tracked", "strided",
    ])  # fmt: skip
    case.images, case.near = dict(zip("abc", groups, strict=True)), 1
    case.take(path, "--normalisation", "none")
    pixels = {
        "uint8": (x * 255).round().to(torch.uint8), "int64": (x * 255).round().long(), "float64": x.double(),
        "half": x.half(), "bfloat16": x.bfloat16(), "tracked": x.clone().requires_grad_(),
        "strided": x.transpose(2, 3).contiguous().transpose(2, 3),
    }.get(what, x)  # fmt: skip
    if what == "bfloat16":
        case.near = 2
    numbers = {
        "one hot": torch.nn.functional.one_hot(y, 3).float(), "logits": 5.0 * torch.nn.functional.one_hot(y, 3) - 1,
        "float labels": y.float(), "uint8 labels": y.to(torch.uint8), "column of labels": y[:, None],
    }.get(what, y)  # fmt: skip
    if what == "dc":
        torch.save({"data": [[pixels, numbers]], "accs_all_exps": {"ConvNet": [np.float64(0.5), float("nan")]}}, path)
    elif what == "dict":
        torch.save({"images": pixels, "labels": numbers}, path)
    elif what == "mtt":
        stamp = rng.choice(["best", "00", "7", "best_0", "zca_best"])
        torch.save(pixels, case.folder / f"images_{stamp}.pt")
        torch.save(numbers, case.folder / f"labels_{stamp.removeprefix('zca_')}.pt")
        case.take(case.folder / f"images_{stamp}.pt", "--normalisation", "none")
    elif what in ("folders", "numbered folders", "padded folders", "nested", "parquet"):
        names = {"numbered folders": ["0", "1", "2"], "padded folders": ["new000", "new001", "new002"]}.get(
            what, "abc"
        )
        contents = dict(zip(names, [[png(p) for p in g] for g in groups], strict=True))
        root = case.folder / "set"
        if what == "parquet":
            as_table(case, contents).rename(root)
        else:
            write_folder(root, contents, split="train" if what == "nested" else "")
        case.take(root)
    else:
        torch.save([pixels, numbers], path)
    return what


def numbers(case: Case) -> str:
    """Classes that are called like numbers, in the order of text or of numbers, against those of the source."""
    rng = case.rng
    real = source(case, [str(k) for k in range(11)], count=8)
    groups = [group[:PER_CLASS] for group in real]
    names = [str(k) for k in range(11)]
    case.images, case.near = dict(zip(names, groups, strict=True)), 1
    what = rng.choice(["folders", "padded", "prefix", "tensors", "stated", "gap", "twice"])
    if what in ("tensors", "stated"):
        x, y = tensors(groups)
        torch.save([x, y], case.folder / "set.pt")
        options = ["--class_map", *names] if what == "stated" else []
        case.take(case.folder / "set.pt", "--normalisation", "none", *options)
        case.may_refuse = what == "tensors"  # labels may be places in the source's order: images have to tell
        return what
    form = {"folders": "{}", "padded": "{:05}", "prefix": "new{:03}"}.get(what, "{}")
    called = [form.format(k) for k in range(11)]
    if what == "gap":
        called[-1] = "12"
    elif what == "twice":
        called[-1] = "01"
    write_folder(case.folder / "set", {n: [png(p) for p in g] for n, g in zip(called, groups, strict=True)}, split="")
    case.take(case.folder / "set")
    if what in ("gap", "twice"):
        case.images, case.says = None, "--class_map" if what == "gap" else "same number"
    return what


def orders(case: Case) -> str:
    """Labels in another order than the source's, which only a classifier of its images sees."""
    names = ["a", "b", "c", "d", "e"]
    real = source(case, names, count=60)
    order = case.rng.sample(range(5), 5)
    if order == sorted(order):
        order = order[::-1]
    torch.save(tensors([real[label][:20] for label in order]), case.folder / "set.pt")
    case.take(case.folder / "set.pt", "--normalisation", "none")
    case.may_refuse, case.says = True, "import it with --class_map "
    return f"{order}"


def several_files(case: Case) -> str:
    """Folders of several files of images, which may be parts or iterations."""
    rng = case.rng
    x, y = tensors([group[:PER_CLASS] for group in source(case)])
    stamps = rng.choice(
        [["0", "1", "2"], ["00", "01"], ["best_0", "best_1"], ["best", "best_1"], ["0", "100"], ["a", "b"]]
    )
    root = case.folder / rng.choice(["set", "set/deep"])
    root.mkdir(parents=True)
    for place, stamp in enumerate(stamps):
        torch.save(x[place :: len(stamps)].clone(), root / f"images_{stamp}.pt")
        torch.save(y[place :: len(stamps)].clone(), root / f"labels_{stamp}.pt")
    case.take(case.folder / "set")
    case.says = "name the one"
    return f"{' '.join(stamps)} in {root.name}"


class Bait:
    """A pickle that would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def refused(case: Case) -> str:
    """Sets that aren't what they should be, and files that attack."""
    rng, real = case.rng, source(case)
    x, y = tensors([group[:PER_CLASS] for group in real])
    path = case.folder / "set.pt"

    def bomb() -> None:
        """A file whose one part unpacks to gigabytes."""
        torch.save([x, y], path)
        with zipfile.ZipFile(path) as parts:
            content = {name: parts.read(name) for name in parts.namelist()}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, each in content.items():
                with packed.open(name, "w", force_zip64=True) as part:
                    part.write(each)
                    for _ in range(256 if name.endswith("data/0") else 0):
                        part.write(bytes(2**20))

    def old_pickle(content: object) -> None:
        torch.save(content, path, _use_new_zipfile_serialization=False)

    def cut() -> None:
        torch.save([x, y], path)
        path.write_bytes(path.read_bytes()[: rng.randint(10, path.stat().st_size - 200)])

    def save(content: object) -> Callable[[], None]:
        return lambda: torch.save(content, path)

    def nan(value: float) -> torch.Tensor:
        bad = x.clone()
        bad[3, 0, 2, 2] = value
        return bad

    ways: dict[str, Callable[[], object]] = {
        "a pickle with code": lambda: path.write_bytes(pickle.dumps([Bait(case.folder / "ran"), 1])),
        "a file with code": save([x, Bait(case.folder / "ran")]),
        "an old file with code": lambda: old_pickle([x, Bait(case.folder / "ran")]),
        "a zip bomb": bomb,
        "a huge view": save([torch.zeros(1).expand(10**8, 1, 8, 8), y]),
        "a huge view of labels": save([x, torch.zeros(1, dtype=torch.int64).expand(10**10)]),
        "cut": cut,
        "empty": lambda: path.write_bytes(b""),
        "noise": lambda: path.write_bytes(rng.randbytes(500)),
        "other shape": save([torch.nn.functional.pad(x, (0, 3)), y]),
        "three channels": save([x.expand(-1, 3, -1, -1).clone(), y]),
        "flat": save([x.flatten(1), y]),
        "nan": save([nan(float("nan")), y]),
        "inf": save([nan(float("inf")), y]),
        "complex": save([x.to(torch.complex64), y]),
        "bools": save([x > 0.5, y]),
        "uint16 over 255": save([(x * 60_000).to(torch.uint16), y]),
        "sparse": save([x.to_sparse(), y]),
        "one level": save([torch.full_like(x, 0.5), y]),
        "fewer labels": save([x, y[:-1]]),
        "labels out of range": save([x, y + 2]),
        "negative labels": save([x, y - 1]),
        "half labels": save([x, y + 0.5]),
        "complex labels": save([x, y.to(torch.complex64)]),
        "wide soft labels": save([x, torch.rand(len(x), 5)]),
        "nan soft labels": save([x, torch.full((len(x), 3), float("nan"))]),
        "texts": save(["a", "b"]),
        "nothing": save(None),
        "a state dict": save({"layer.weight": x, "layer.bias": y}),
        "no pictures": save([x[:0], y[:0]]),
        "a class short": save([x[y < 2], y[y < 2]]),
        "deep lists": lambda: path.write_bytes(pickle.dumps(0)[:2] + b"(" * 10**5),
    }
    what = rng.choice([*ways, "npz", "npy", "no labels beside", "missing", "an empty folder"])
    case.take(path, "--normalisation", "none")
    if what in ("npz", "npy"):
        path = path.with_suffix(f".{what}")
        if what == "npz":
            np.savez(path, images=x, labels=y)
        else:
            header = b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999, 9), }"
            path.write_bytes(header.ljust(127) + b"\n")
        case.take(path)
        case.says = "torch.save"
    elif what == "no labels beside":
        torch.save(x, path)
        case.says = "--labels_file"
    elif what == "an empty folder":
        (case.folder / "set").mkdir()
        case.take(case.folder / "set")
    elif what != "missing":
        ways[what]()
    return what


def class_map(case: Case) -> str:
    """Orders that are stated: by name, by index, twice, of unknown classes, and as texts that could be both."""
    rng, names = case.rng, case.rng.choice([["a", "b", "c"], ["1", "2", "0"], ["2", "1", "x"]])
    real = source(case, sorted(names))
    order = rng.sample(range(3), 3)  # the label k means the class order[k] of the source
    x, y = tensors([real[label][:PER_CLASS] for label in order])
    torch.save([x, y], case.folder / "set.pt")
    called = sorted(names)
    what = rng.choice(["names", "indices", "twice", "unknown", "negative", "short"])
    stated = [called[label] for label in order] if what == "names" else [str(label) for label in order]
    if what == "indices" and called != ["a", "b", "c"]:
        stated = [called[label] for label in order]  # the names are what such texts mean
    if what in ("names", "indices"):
        case.images = {name: group[:PER_CLASS] for name, group in zip(called, real, strict=True)}
    stated = {
        "twice": [called[0]] * 3, "unknown": [*stated[:2], "nobody"], "negative": [*stated[:2], "-5"],
        "short": stated[:2],
    }.get(what, stated)  # fmt: skip
    case.near = 1
    case.take(case.folder / "set.pt", "--normalisation", "none", "--class_map", *stated)
    return f"{what}: {' '.join(stated)} of {' '.join(called)}"


KINDS = (modes, foreign, folders, sixteen_bits, refused, columns, broken, numbers, labels, sizes, idx, several_files,
         class_map, alike, paths, deep_colours, parquets, orders)  # fmt: skip
WEIGHTS = (4, 4, 4, 2, 6, 3, 3, 2, 3, 1, 2, 1, 2, 1, 1, 1, 3, 1)


def data_tries(rng: random.Random, work: Path) -> Iterator[Try]:
    """Every kind once, then any, for ever."""
    preload()
    datasets.disable_progress_bars()
    first = list(KINDS)
    while True:
        kind = first.pop(0) if first else rng.choices(KINDS, WEIGHTS)[0]
        yield tried(kind, random.Random(rng.random()), work / "data")


def tried(kind: Callable[[Case], str], rng: random.Random, folder: Path) -> Try:
    """One case of a kind, made, run and judged."""
    shutil.rmtree(folder, ignore_errors=True)
    case = Case(folder, rng)
    name, output = kind(case), folder / "out"
    there = {path.name for path in folder.iterdir()}
    ended = run([*case.arguments, "--output_dir", output], folder, cache=folder / "cache", timeout=60)
    seen = f"{ended.last} ({ended.seconds:.1f} s, {ended.memory >> 20} MB)"
    wrong = case.images is not None and ended.code == 0 and differences(case, output)
    if case.images is None or (case.may_refuse and ended.code != 0):
        outcome = ended.refused(heavy=case.may_refuse)  # what may be right is looked at longer
        if outcome is Outcome.RIGHT and case.says not in ended.output:
            outcome, seen = Outcome.TRACEBACK, f"it doesn't say {case.says!r}: {seen}"
    elif ended.code == 0:
        outcome = Outcome.WRONG if wrong else Outcome.RIGHT
    else:  # it should have been read
        outcome = Outcome.WRONG if ended.clear else Outcome.TRACEBACK
    left = {path.name for path in folder.iterdir()} - there - {"cache"} - ({"out"} if ended.code == 0 else set())
    if outcome is Outcome.RIGHT and left:
        outcome, seen = Outcome.LOST, f"{sorted(left)} left: {seen}"
    if outcome is Outcome.TRACEBACK:
        seen += f"\n{ended.output[-800:]}"
    return Try(kind.__name__, name, outcome, f"{wrong}; {seen}" if wrong else seen)


def differences(case: Case, output: Path) -> str:
    """In what the stored rows differ from the pictures that should be there; "" if in nothing."""
    record = json.loads((output / "hf_dd.json").read_text(encoding="utf-8"))
    names = record["data"]["class_names"]
    if sorted(names) != sorted(case.images):
        return f"its classes are {names}"
    found: dict[str, Pictures] = {name: [] for name in names}
    for row in pyarrow.parquet.read_table(output / "data").to_pylist():
        stored = np.asarray(Image.open(io.BytesIO(row["image"]["bytes"]))).astype(int)
        exact = np.asarray(row["pixel_values"]).transpose(1, 2, 0).squeeze() * 255
        if np.abs(exact - stored).max() > 0.51:
            return "the two copies differ"
        found[names[row["label"]]].append(stored)
    for name, group in case.images.items():
        if len(found[name]) != len(group):
            return f"{len(found[name])} images of {name}, not {len(group)}"
        left = list(found[name])
        for picture in group:
            apart = [distance(picture, other) for other in left]
            if min(apart) > case.near:
                return f"an image of {name} is {min(apart)} levels off"
            left.pop(int(np.argmin(apart)))
    return ""


def distance(written: np.ndarray, stored: np.ndarray) -> float:
    """The largest difference of levels; grey counts as the same in three channels."""
    if written.shape[:2] != stored.shape[:2]:
        return float("inf")
    if written.ndim < stored.ndim:
        written = np.stack([written] * 3, -1)
    if written.ndim > stored.ndim:
        return float("inf")
    return float(np.abs(written.astype(int) - stored).max())


if __name__ == "__main__":
    main("inputs_data", data_tries)
