"""Hostile and broken content from outside: teachers, distilled sets, checkpoints, pools, experts, caches, studies.

Whole artefacts are made once; each try changes a copy of one (a key dropped, a type changed, a number huge, NaN or
negative, deep nesting, a file cut, bits turned, shapes without memory, NaN in weights, links, terminal and HTML codes
in texts, pickles with a sentinel) and gives it to a command that reads it. Right is: exit 0 with the very bytes (or
scores) that the unchanged artefact leads to, or one clear line, within 1 GB and 10 s. No sentinel may ever be there,
and no control character in the output or in a card.
"""

import functools
import hashlib
import importlib.util
import itertools
import json
import os
import pickle
import random
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hf_dd.artefacts.licences import KNOWN
from tests.campaigns.campaign import Ended, Outcome, Try, hub, main, preload, run

SMALL = ["--dataset", "digits", "--ipc", 1, "--iterations", 2, "--real_batch_size", 4, "--architecture", "MLP"]
SMALL += ["--architecture_options", "width=8", "--eval_students", 0]
GUIDED = [*SMALL, "--clom", "ce", "--output_dir"]
SCORED = ["--eval_students", 1, "--eval_epochs", 1, "--eval_architectures", "MLP", "--baselines", "none"]
EVIL = "\x1b[2J\x1b[31mred\x07 | `rm` <script>alert(1)</script>\n---\nlicense: evil\n[x](http://evil) \u202e"
ODD = [None, True, "text", "", EVIL, [], {}, [None], ["a"], 0, -1, -0.5, 1e308, 10**9, 10**30, float("nan"), [[[]]]]
ODD += [
    float("inf"),
    "\ud800",
    1.5,
    [0.0],
    [-1.0],
    [1e-320] * 3,
    {"a": {"b": None}},
    "../../etc/passwd",
    "x" * 100_000,
]
# Options of other libraries by which a model computes something else, rightly: whatever number they take.
ARITHMETIC = {"layer_norm_eps", "hidden_act", "qkv_bias", "image_mean", "image_std", "mean", "std", "crop_pct", "pad"}
ARITHMETIC |= {"interpolation", "crop_mode", "resample", "rescale_factor", "size", "input_size", "do_convert_rgb"}
ARITHMETIC |= {
    "do_resize",
    "do_rescale",
    "do_normalize",
    "test_input_size",
    "test_crop_pct",
    "pooler_act",
    "data_format",
}


class Sentinel:
    """What writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable, tuple]:
        return Path.write_text, (self.path, "code ran")


@dataclass
class Place:
    """Where the campaign works: whole artefacts, and copies of them."""

    work: Path
    count: Iterator[int] = field(default_factory=itertools.count)

    @property
    def sentinel(self) -> Path:
        """What no try may leave."""
        return self.work / "sentinel"

    def whole(self, name: str) -> Path:
        """An unchanged artefact."""
        return self.work / "whole" / name

    def copy(self, name: str) -> Path:
        """A copy of one, to be changed."""
        for old in self.work.glob("try-*"):
            shutil.rmtree(old, ignore_errors=True)
        return Path(shutil.copytree(self.whole(name), self.work / f"try-{next(self.count)}" / self.whole(name).name))

    def run(self, *arguments: object, cache: Path | None = None) -> Ended:
        """A command, in the campaign's folder."""
        return run(arguments, self.work, cache=cache or self.work / "cache", timeout=60)

    def reference(self, name: str) -> Path:
        """A set that an unchanged teacher guided."""
        if not (folder := self.work / f"reference-{name}").exists():
            ended = self.run("distill", *GUIDED, folder, "--teachers", self.whole(name))
            assert ended.code == 0, ended.output
        return folder

    def output(self) -> Path:
        """A folder for a run, which isn't there."""
        return self.work / f"try-{next(self.count)}-out"


def parquet_of(folder: Path) -> str | None:
    """The digest of a set's rows."""
    path = folder / "data/train-00000-of-00001.parquet"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def raw(text: str) -> bool:
    """Whether text would do something to a terminal."""
    return any(not char.isprintable() and char not in "\n\t\r" for char in text)


def judged(
    place: Place, kind: str, case: str, ended: Ended, same: Callable[[], bool], written: Path | None = None
) -> Try:
    """How a try ended whose command may only succeed where the result is the unchanged artefact's."""
    cards = "".join(path.read_text() for path in (written.rglob("*.md") if written and written.exists() else []))
    pages = re.sub(r"```.*?```|`[^`\n]*`|\A---\n.*?\n---\n", "", cards, flags=re.DOTALL)
    if place.sentinel.exists():
        place.sentinel.unlink()
        return Try(kind, case, Outcome.WRONG, "foreign code ran")
    if raw(ended.output) or raw(pages) or "\x1b" in cards or "<script>" in pages:
        return Try(kind, case, Outcome.WRONG, f"a raw control character or HTML: {ended.last!r}")
    if ended.code == 0:
        return Try(kind, case, Outcome.RIGHT if same() else Outcome.WRONG, ended.last)
    return Try(kind, case, ended.refused(), f"{ended.last} [{ended.seconds:.1f} s, {ended.memory / 2**20:.0f} MB]")


# --- changes


def parts_of(content: Any, path: tuple = ()) -> Iterator[tuple]:
    """The places of all parts of JSON."""
    if isinstance(content, dict | list):
        for key in content if isinstance(content, dict) else range(len(content)):
            yield (*path, key)
            yield from parts_of(content[key], (*path, key))


def changed_json(rng: random.Random, path: Path, keys: list[str] | None = None) -> tuple[str, set]:
    """Change a JSON file; says how, and the keys of the changed place."""
    content = json.loads(path.read_text())
    how = rng.choice(["odd"] * 8 + ["drop"] * 3 + ["more", "cut", "bytes", "empty", "deep", "large", "list", "twice"])
    if how in ("odd", "drop", "more"):
        every = [each for each in parts_of(content) if keys is None or each[0] in keys]
        top = rng.random() < 0.5
        where = rng.choice([each for each in every if len(each) == 1] if top else every)
        parent = functools.reduce(lambda part, key: part[key], where[:-1], content)
        value = rng.choice(ODD)
        if how == "odd":
            parent[where[-1]] = value
        elif how == "drop":
            del parent[where[-1]]
        else:
            where = ("unknown",)
            content["unknown"] = value
        path.write_text(json.dumps(content))
        return f"{path.name} {how} {'.'.join(map(str, where))} {value!r:.40}", set(map(str, where))
    text = path.read_bytes()
    made = {
        "cut": lambda: text[: rng.randrange(len(text))],
        "bytes": lambda: text[:10] + b"\xff\xfe\x00" + text[10:],
        "empty": lambda: b"",
        "deep": lambda: rng.choice([b"[", b'{"a":']) * rng.choice([70, 900, 100_000]),
        "large": lambda: text[:-1].rstrip() + b',"x":"' + b"x" * 2**25 + b'"}',
        "list": lambda: rng.choice([b"[]", b"null", b"5", b'"a"', b"[[]]"]),
        "twice": lambda: text + text,
    }[how]()
    path.write_bytes(made)
    return f"{path.name} {how}", {how}


def changed_weights(rng: random.Random, path: Path, place: Place) -> tuple[str, set]:
    """Change a safetensors file; says how."""
    import torch
    from safetensors.torch import load_file, save_file

    how = rng.choice(
        "nan inf bf16 int drop more rename shape cut header bits long lie zero pickle link loop fifo text".split()
    )
    tensors, content = load_file(path), path.read_bytes()
    floating = [name for name, value in tensors.items() if value.is_floating_point()]
    name = rng.choice(floating)
    path.unlink()
    if how in ("nan", "inf", "bf16"):
        value = tensors[name].to(torch.bfloat16 if how == "bf16" else tensors[name].dtype).clone()
        value.view(-1)[rng.randrange(value.numel())] = float("inf" if how == "inf" else "nan")
        save_file(tensors | {name: value}, path)
    elif how == "int":
        save_file(tensors | {name: tensors[name].int()}, path)
    elif how == "drop":
        save_file({key: value for key, value in tensors.items() if key != name}, path)
    elif how == "more":
        save_file(tensors | {EVIL: tensors[name].clone()}, path)
    elif how == "rename":
        save_file({f"{key}x" if key == name else key: value for key, value in tensors.items()}, path)
    elif how == "shape":
        save_file(tensors | {name: tensors[name].flatten()[:1].clone()}, path)
    elif how == "cut":
        path.write_bytes(content[: rng.randrange(len(content))])
    elif how in ("header", "bits"):
        at = rng.randrange(8, 8 + int.from_bytes(content[:8], "little")) if how == "bits" else rng.randrange(8)
        path.write_bytes(content[:at] + bytes([content[at] ^ (1 << rng.randrange(8))]) + content[at + 1 :])
    elif how == "long":
        path.write_bytes((2 ** rng.choice([25, 40, 63])).to_bytes(8, "little") + content[8:])
    elif how == "lie":
        header = json.dumps(
            {name: {"dtype": "F32", "shape": [10**9, 10**3], "data_offsets": [0, 4 * 10**12]}}
        ).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header)
    elif how == "zero":
        path.write_bytes(b"")
    elif how == "pickle":
        path.write_bytes(pickle.dumps(Sentinel(place.sentinel)))
        path.with_name("pytorch_model.bin").write_bytes(pickle.dumps(Sentinel(place.sentinel)))
    elif how == "link":
        path.symlink_to(rng.choice(["/dev/zero", "/etc/hostname", "nowhere"]))
    elif how == "loop":
        path.symlink_to(path)
    elif how == "fifo":
        os.mkfifo(path)
    else:
        path.write_text(EVIL)
    return f"{path.name} {how} {name!r:.40}", {how}


# --- kinds: each a generator of tries


def of_teacher(rng: random.Random, place: Place, name: str) -> Iterator[Try]:
    """Changed folders of models, given to a distillation that reads their logits."""
    reference = place.reference(name)
    weights = "model.safetensors"
    while True:
        folder = place.copy(name)
        jsons = sorted(path.name for path in folder.glob("*.json"))
        if rng.random() < 0.3:
            case, keys = changed_weights(rng, folder / weights, place)
        else:
            case, keys = changed_json(rng, folder / rng.choice(jsons))
        ended = place.run("distill", *GUIDED, output := place.output(), "--teachers", folder)
        free = bool(keys & ARITHMETIC) and name != "own"

        def same(output: Path = output, free: bool = free) -> bool:
            return free or parquet_of(output) == parquet_of(reference)

        yield judged(place, f"teacher of {name}", case, ended, same, output)


def of_code(rng: random.Random, place: Place) -> Iterator[Try]:
    """Folders of models that would run code."""
    evil = f"open({str(place.sentinel)!r}, 'w').write('code ran')\n"

    def module(folder: Path, name: str, more: dict[str, Any], file: str = "config.json") -> None:
        (folder / f"{name}.py").write_text(evil + "class Evil: pass\n")
        path = folder / file
        path.write_text(json.dumps(json.loads(path.read_text()) | more))

    maps = {"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil", "AutoModelForImageClassification": "evil.Evil"}
    cases = {
        "auto_map": ("vit", lambda folder: module(folder, "evil", {"auto_map": maps})),
        "auto_map of an unknown type": (
            "vit",
            lambda folder: module(folder, "evil", {"auto_map": maps, "model_type": "evil"}),
        ),
        "auto_map of the processor": (
            "vit",
            lambda folder: module(
                folder, "evil", {"auto_map": {"AutoImageProcessor": "evil.Evil"}}, "preprocessor_config.json"
            ),
        ),
        "attention of the Hub": ("vit", lambda folder: module(folder, "evil", {"attn_implementation": "local/evil"})),
        "architecture of a module": ("own", lambda folder: module(folder, "evil", {"architecture": "evil:Evil"})),
        "hf_hub architecture": ("timm", lambda folder: module(folder, "evil", {"architecture": "hf_hub:local/evil"})),
        "local-dir architecture": (
            "timm",
            lambda folder: module(folder, "evil", {"architecture": f"local-dir:{folder}"}),
        ),
        "checkpoint_path": (
            "timm",
            lambda folder: module(folder, "evil", {"model_args": {"checkpoint_path": "evil.bin"}}),
        ),
        "objective of a module": (
            "own",
            lambda folder: module(folder, "evil", {"library": "evil:Evil"}, "hf_dd.json"),
        ),
        "sitecustomize": ("own", lambda folder: (folder / "sitecustomize.py").write_text(evil)),
        "package": ("own", lambda folder: (folder / "torch.py").write_text(evil)),
    }
    for name, base in itertools.product(("pytorch_model.bin", "model.pth", "model.pt"), ("own", "vit", "timm")):

        def pickled(folder: Path, name: str = name) -> None:
            (folder / "model.safetensors").unlink()
            (folder / name).write_bytes(pickle.dumps(Sentinel(place.sentinel)))

        cases[f"{name} alone, {base}"] = base, pickled
    while True:
        for case in rng.sample(sorted(cases), len(cases)):
            name, change = cases[case]
            change(folder := place.copy(name))
            ended = place.run("distill", *GUIDED, output := place.output(), "--teachers", folder)
            same = functools.partial(same_rows, output, place.reference(name))
            yield judged(place, "code", case, ended, same, output)


def same_rows(output: Path, reference: Path) -> bool:
    """Whether two sets have the same rows."""
    return parquet_of(output) == parquet_of(reference)


def changed_rows(rng: random.Random, folder: Path) -> str:
    """Change the rows of a distilled set, and what its record says of them in half of all cases; says how."""
    import pyarrow
    import pyarrow.parquet

    path = folder / "data/train-00000-of-00001.parquet"
    rows = pyarrow.parquet.read_table(path)
    columns = {name: rows.column(name).to_pylist() for name in rows.column_names}
    how = rng.choice("nan none ragged bomb wide label negative mode text cut bits zero many list drop huge".split())
    count = len(rows)

    def image(size: tuple[int, int], mode: str = "L") -> bytes:
        import io

        from PIL import Image

        Image.new(mode, size).save(stream := io.BytesIO(), "PNG")
        return stream.getvalue()

    if how in ("nan", "none", "ragged", "wide"):
        pixels = {
            "nan": [[[float("nan")] * 8] * 8],
            "none": None,
            "ragged": [[[0.0] * 3]],
            "wide": [[[0.0] * 900] * 900],
        }
        columns["pixel_values"][0] = pixels[how]
    elif how in ("bomb", "mode", "text"):
        made = {
            "bomb": lambda: image((12_000, 12_000)),
            "mode": lambda: image((8, 8), "RGBA"),
            "text": lambda: b"no image",
        }
        columns["image"][0] = {"bytes": made[how](), "path": None}
    elif how in ("label", "negative"):
        columns["label"][0] = 99 if how == "label" else -1
    elif how == "many":
        columns = {name: values[:1] * 3_000_000 for name, values in columns.items() if name == "label"}
        columns |= {"image": [None] * 3_000_000, "pixel_values": [None] * 3_000_000}
    elif how == "huge":
        columns["pixel_values"][0] = [[[1e38] * 8] * 8]
        how = "1e38"
    elif how == "drop":
        columns = {name: values[1:] for name, values in columns.items()}
    elif how == "list":
        columns["soft_label"] = [[0.1] * rng.choice([3, 0, 500_000])] * count
    content = path.read_bytes()
    if how in ("cut", "bits", "zero"):
        at = rng.randrange(len(content))
        bits = content[:at] + bytes([content[at] ^ (1 << rng.randrange(8))]) + content[at + 1 :]
        path.write_bytes({"cut": content[:at], "bits": bits, "zero": b""}[how])
    else:
        fields = {field.name: field.type for field in rows.schema} | {"soft_label": pyarrow.list_(pyarrow.float32())}
        arrays = {}
        for name, values in columns.items():
            try:
                arrays[name] = pyarrow.array(values, type=fields[name])
            except (pyarrow.ArrowException, TypeError, ValueError):
                arrays[name] = pyarrow.array(values)
        table = pyarrow.table(arrays).replace_schema_metadata(rows.schema.metadata)
        pyarrow.parquet.write_table(table, path, compression="zstd")
    told = rng.random() < 0.6
    if told:
        record = json.loads((folder / "hf_dd.json").read_text())
        record["parquet_sha256"] = parquet_of(folder)
        (folder / "hf_dd.json").write_text(json.dumps(record))
    return f"rows {how}{', told by the record' if told else ''}"


def scores_of(folder: Path) -> list | None:
    """The scores that an evaluation wrote."""
    path = folder / "results.json"
    return [row["scores"] for row in json.loads(path.read_text())["rows"]] if path.is_file() else None


def of_set(rng: random.Random, place: Place) -> Iterator[Try]:
    """Changed distilled sets, given to evaluate and push."""
    command = ["evaluate", "--eval_copies", "float", "8bit", *SCORED, "--output_dir"]
    ended = place.run(*command, reference := place.work / "reference-scores", place.whole("set"))
    assert ended.code == 0, ended.output
    while True:
        folder, rows = place.copy("set"), parquet_of(place.whole("set"))
        draw = rng.random()
        if draw < 0.4:
            case = changed_rows(rng, folder)
        elif draw < 0.85:
            case, _ = changed_json(rng, folder / "hf_dd.json")
        else:
            front = rng.choice(
                ["license: [", "a: &a [*a, *a]", f"{'a: {' * 5000}", "license: !!python/object:os.system x"]
            )
            (folder / "README.md").write_text(f"---\n{front}\n---\n")
            case = f"README.md {front[:30]}"
        if rng.random() < 0.3 and draw < 0.85:
            before = (folder / "hf_dd.json").read_bytes()
            repository = f"local/set-{next(place.count)}"
            ended = place.run("push", folder, "--hub_dataset_id", repository)
            kept = ended.code == 0 or (folder / "hf_dd.json").read_bytes() == before
            same = functools.partial(bool, "told" in case or parquet_of(folder) == rows)
            found = judged(place, "set pushed", case, ended, same, folder)
            yield found if kept else Try("set pushed", case, Outcome.LOST, "a refused push changed the record")
            continue
        ended = place.run(*command, output := place.output(), folder)
        huge = "1e38" in case and "told" in case  # numbers all the same

        def same(output: Path = output, huge: bool = huge) -> bool:
            return huge or scores_of(output) == scores_of(reference)

        yield judged(place, "set evaluated", case, ended, same, output)


def of_checkpoint(rng: random.Random, place: Place) -> Iterator[Try]:
    """Changed checkpoints, gone on from."""
    command = ["distill", *SMALL, "--resume_from_checkpoint", "latest", "--output_dir"]
    rows = parquet_of(place.whole("set"))
    while True:
        folder = place.copy("interrupted")
        step = sorted((folder / "checkpoints").glob("step-*"))[-1]
        if rng.random() < 0.5:
            case, _ = changed_weights(rng, step / "tensors.safetensors", place)
        else:
            case, _ = changed_json(rng, step / "state.json", ["step", "losses", "identity"])
        ended = place.run(*command, folder)
        yield judged(place, "checkpoint", case, ended, lambda folder=folder: parquet_of(folder) == rows, folder)


def of_pool(rng: random.Random, place: Place) -> Iterator[Try]:
    """Changed locks, shown, verified and distilled with."""
    while True:
        folder = place.copy("guided")
        case, keys = changed_json(rng, folder / "pool.json", ["teachers"])
        how = rng.choice(["show", "verify", "distill"])
        if how == "distill":
            ended = place.run("distill", *GUIDED, output := place.output(), "--teacher_pool", folder / "pool.json")
            same = functools.partial(same_rows, output, place.reference("own"))
        else:
            ended, same = place.run("pool", how, folder / "pool.json"), lambda: True
        yield judged(place, f"pool {how}", case, ended, same)


def of_experts(rng: random.Random, place: Place) -> Iterator[Try]:
    """Changed trajectories, given to trajectory matching."""
    command = ["distill", *SMALL[:6], *SMALL[8:], "--objective", "mtt", "--objective_options", "student_steps=1"]
    command += ["expert_epochs=1", "max_start_epoch=1", "--output_dir"]
    ended = place.run(*command, reference := place.work / "reference-mtt", "--experts", place.whole("run"))
    assert ended.code == 0, ended.output
    while True:
        folder = place.copy("run")
        path = rng.choice(["hf_dd.json", "epoch-0/hf_dd.json", "epoch-0/config.json", "epoch-1/config.json", None])
        if path:
            case, _ = changed_json(rng, folder / path)
            case = f"{path}: {case}"
        else:
            case, _ = changed_weights(rng, folder / "epoch-1/model.safetensors", place)
        ended = place.run(*command, output := place.output(), "--experts", folder)
        yield judged(place, "experts", case, ended, functools.partial(same_rows, output, reference), output)


def of_cache(rng: random.Random, place: Place) -> Iterator[Try]:
    """Damaged entries of the cache: the result is the same, whatever they hold."""
    command = ["evaluate", place.whole("set"), *SCORED[:-1], "k-centers", "--eval_copies", "float", "--output_dir"]
    ended = place.run(*command, reference := place.work / "reference-cached", cache=place.whole("cache"))
    assert ended.code == 0, ended.output
    while True:
        folder = place.copy("cache")
        path = rng.choice(sorted(each for each in folder.rglob("*.json") if "hf_dd" in each.parts))
        kept = path.read_bytes()
        how = rng.choice(["digit", "cut", "value", "empty", "text", "folder", "old", "ls"])
        if how == "digit":
            at = rng.choice([index for index, byte in enumerate(kept) if chr(byte).isdigit()])
            path.write_bytes(kept[:at] + str((int(chr(kept[at])) + 1) % 10).encode() + kept[at + 1 :])
        elif how == "folder":
            path.unlink(), path.mkdir()
        elif how != "ls":
            value = json.dumps(rng.choice(ODD)).encode()
            made = {
                "cut": kept[: len(kept) // 2],
                "value": value,
                "empty": b"",
                "text": EVIL.encode(),
                "old": b"[50.0]",
            }
            path.write_bytes(made[how])
        if how == "ls":
            path.write_bytes(json.dumps({"data": EVIL, "teacher": EVIL}).encode())
            ended, same = place.run("cache", "ls", cache=folder), lambda: True
        else:
            ended = place.run(*command, output := place.output(), cache=folder)
            same = functools.partial(lambda output: scores_of(output) == scores_of(reference), output)
        yield judged(place, "cache", f"{path.parent.name} {how}", ended, same)


def of_texts(rng: random.Random, place: Place) -> Iterator[Try]:
    """Sound records whose texts hold what terminals, Markdown and YAML act upon."""
    import yaml

    while True:
        text = "".join(rng.sample([EVIL, "|", "`", "\n---\n", "\x9b31m", "<b>", "]( ", "\\", "é", "\t"], 5))
        folder = place.copy("guided")
        record = json.loads((folder / "hf_dd.json").read_text())
        where = rng.choice(
            ["data.name", "data.license", "command", "run.hardware", "pool", "settings.architecture", "name"]
        )
        where = rng.choice([where, "teacher"])
        if where == "teacher":
            key = rng.choice(["architecture", "dataset", "repo_id", "revision"])
            lock = json.loads((folder / "pool.json").read_text())
            for each in (*record["teachers"], *lock["teachers"]):
                each[key] = text
            (folder / "pool.json").write_text(json.dumps(lock))
            where = f"teacher.{key}"
        else:
            parent = functools.reduce(lambda part, key: part[key], where.split(".")[:-1], record)
            parent[where.split(".")[-1]] = text
        (folder / "hf_dd.json").write_text(json.dumps(record))
        if rng.random() < 0.4:
            ended = place.run("pool", "show", folder)
            yield judged(place, "texts shown", f"{where} {text!r:.60}", ended, lambda: True)
            continue
        ended = place.run("evaluate", folder, *SCORED)

        def same(folder: Path = folder, licence: str = record["data"]["license"]) -> bool:
            front, body = (folder / "README.md").read_text().removeprefix("---\n").split("\n---\n", 1)
            known = licence if licence.lower() in KNOWN else "other"  # than those that the Hub lists
            return yaml.safe_load(front)["license"] == known and "\n---\n" not in body

        yield judged(place, "texts on a card", f"{where} {text!r:.60}", ended, same, folder)


def of_study(rng: random.Random, place: Place) -> Iterator[Try]:
    """Changed folders of a finished study, which is run again."""
    recipe = place.work / "recipe.yaml"
    while True:
        folder = place.copy("study")
        how = rng.choice(["record", "lock is a folder", "lock is text", "rows", "evaluation", "pushed"])
        cell = folder / "cells/one-seed0"
        if how == "record":
            case, _ = changed_json(rng, cell / "hf_dd.json")
        elif how == "lock is a folder":
            lock = folder / "locks/cell-one-seed0.lock"
            lock.unlink(missing_ok=True), lock.mkdir()
            case = how
        elif how == "lock is text":
            (folder / "locks/cell-one-seed0.lock").write_text(EVIL)
            case = how
        elif how == "rows":
            (cell / "data/train-00000-of-00001.parquet").write_bytes(b"PAR1")
            case = how
        else:
            path = cell.with_name("one-seed0.evaluation.json") if how == "evaluation" else folder / "pushed.json"
            path.write_text(json.dumps(rng.choice(ODD)))
            case = f"{how} {path.read_text()[:40]}"
        ended = place.run("study", recipe, "--output_dir", folder)
        reference = json.loads((place.whole("study") / "report.json").read_text())["cells"]["one"]["scores"]

        def same(folder: Path = folder, reference: dict = reference) -> bool:
            return json.loads((folder / "report.json").read_text())["cells"]["one"]["scores"] == reference

        yield judged(place, "study", case, ended, same, folder)


def prepare(place: Place) -> None:
    """Make the whole artefacts."""
    import timm
    import torch
    import transformers

    def made(*arguments: object) -> None:
        ended = place.run(*arguments)
        assert ended.code == 0, ended.output

    whole = place.work / "whole"
    whole.mkdir()
    grid = "--dataset digits --architectures MLP --architecture_options width=8 --epochs 2 --keep_epochs 0 1 2"
    made("pretrain", *grid.split(), "--output_dir", place.work / "teachers")
    shutil.move(place.work / "teachers/digits-mlp-seed0", whole / "run")
    shutil.copytree(whole / "run/epoch-1", whole / "own")
    torch.manual_seed(0)
    names = {index: str(index) for index in range(10)}
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.ViTConfig(**shape, image_size=16, patch_size=8, id2label=names)
    transformers.ViTForImageClassification(config).save_pretrained(whole / "vit")
    transformers.ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(whole / "vit")
    model = timm.create_model("test_vit", num_classes=10, img_size=32)
    timm.models.save_for_hf(model, whole / "timm", model_config={"label_names": list(names.values())},
                            model_args={"img_size": 32}, safe_serialization=True)  # fmt: skip
    made("distill", *SMALL, "--save_steps", 1, "--output_dir", whole / "set")
    shutil.copytree(whole / "set", whole / "interrupted")
    shutil.rmtree(sorted((whole / "interrupted/checkpoints").glob("step-*"))[-1])
    (whole / "interrupted/hf_dd.json").unlink()
    made("distill", *SMALL, "--clom", "ce", "--teachers", whole / "own", "--output_dir", whole / "guided")
    recipe = {"base": {"dataset": "digits", "ipc": 1, "iterations": 1, "architecture": "MLP", "real_batch_size": 4,
              "architecture_options": ["width=8"], "eval_students": 1, "eval_epochs": 1, "eval_architectures": ["MLP"],
              "baselines": ["none"]}, "seeds": [0], "cells": {"one": {"objective": "dm"}}}  # fmt: skip
    (place.work / "recipe.yaml").write_text(json.dumps(recipe))
    made("study", place.work / "recipe.yaml", "--output_dir", whole / "study")


def tries(rng: random.Random, work: Path) -> Iterator[Try]:
    """Kind after kind, each from its own stream of draws."""
    with hub(work / "hub") as environment:
        os.environ.update(environment)
        preload()
        place = Place(work)
        prepare(place)

        def drawn() -> random.Random:
            return random.Random(rng.getrandbits(64))

        kinds = [functools.partial(of_teacher, name=name) for name in ("own", "vit", "timm")]
        kinds += [of_set, of_checkpoint, of_pool, of_texts, of_code, of_experts, of_cache, of_set, of_study]
        running = [kind(drawn(), place) for kind in kinds]
        if importlib.util.find_spec("tests.campaigns.inputs_data"):
            from tests.campaigns.inputs_data import data_tries  # reads a Hub's environment when it is imported

            data = data_tries(drawn(), work)
            running = [each for pair in zip(running, [data] * len(running), strict=True) for each in pair]
        for each in itertools.cycle(running):
            yield next(each)


if __name__ == "__main__":
    main("hostile", tries)
