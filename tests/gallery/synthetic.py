"""Sets that nobody distilled: the library's own rows and records with made-up images and accuracies, in no time."""

import json
import shutil
import statistics
from pathlib import Path

import numpy as np
import torch

from hf_dd.artefacts.distilled_folder import write_images
from hf_dd.core.layout import PARQUET, RECORD
from hf_dd.synthetic.distilled_set import to_rows
from hf_dd.synthetic.preview import preview

FIXTURE = Path(__file__).resolve().parents[1] / "fixtures" / "before" / "distilled" / RECORD
DATA = {  # side, channels, classes, training images
    "digits": (8, 1, [str(digit) for digit in range(10)], 1438),
    "lab/garments": (28, 1, "T-shirt trousers pullover dress coat sandal shirt sneaker bag boot".split(), 60_000),
    "lab/animals": (32, 3, ["bird", "cat", "deer", "dog", "frog", "horse"], 30_000),
}  # fmt: skip
METHODS = ("dm", "dc", "mtt", "rded", "dsa")
ARCHITECTURES = ("ConvNet", "MLP", "ResNet18")


def pixels(side, channels, classes, ipc, seed):
    """Smooth blobs, other ones in each class: float32, (N, channels, side, side), and labels."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side] / side
    images = []
    for label in range(classes):
        for _ in range(ipc):
            x, y = generator.uniform(0.25, 0.75, 2)
            wave = np.sin((3 + label) * rows + label * columns + generator.uniform(0, 1))
            blob = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) * (8 + 2 * label))
            shades = [0.6 + 0.4 * np.cos(label + channel) for channel in range(channels)]
            colours = [blob * shade + 0.2 * (wave + 1) / 2 for shade in shades]
            images.append(np.clip(np.stack(colours) + generator.normal(0, 0.04, (channels, side, side)), 0, 1))
    labels = torch.arange(classes).repeat_interleave(ipc)
    return torch.tensor(np.array(images), dtype=torch.float32), labels


def accuracies(mean, count, generator):
    """A row's numbers."""
    scores = [float(min(99.9, max(0.1, generator.normal(mean, 1.2)))) for _ in range(count)]
    std = statistics.stdev(scores) if count > 1 else 0.0
    half = {1: None, 3: 4.30265, 5: 2.77645}[count]
    half = half and half * std / count**0.5
    return {"scores": scores, "mean": statistics.fmean(scores), "std": std, "half_width": half, "n": count}


def teacher(number):
    """The specification of a teacher."""
    spec = json.loads(FIXTURE.read_text())["teachers"][0]
    return spec | {
        "repo_id": f"lab/teacher-{number % 4}",
        "revision": f"epoch-{1 + number % 3}",
        "sha": f"{number + 1:040x}",
        "architecture": ARCHITECTURES[number % 3],
        "seed": number % 2,
        "epoch": 1 + number % 3,
        "dataset": "lab/garments" if number % 5 else "digits",
        "accuracy": 0.8 + 0.01 * (number % 9),
    }


def record(number, name, ipc):
    """The content of `hf_dd.json` of the set of that number; the same number gives the same set."""
    generator, found = np.random.default_rng(number), json.loads(FIXTURE.read_text())
    data = list(DATA)[number % len(DATA)]
    side, channels, classes, train = DATA[data]
    method, guided = METHODS[number % len(METHODS)], number % 4 == 1
    found |= {"name": name, "decoded": None, "soft_labels": None, "diversity": None, "teachers": []}
    found["data"] |= {"name": data.split("/")[-1], "class_names": classes, "channels": channels, "train_images": train}
    found["data"] |= {"image_size": [side, side]}
    found["data"] |= {"repo_id": data, "sha": "c" * 40} if "/" in data else {}
    found["settings"] |= {"objective": method, "ipc": ipc, "seed": number, "iterations": 200 * (method != "rded")}
    found["settings"] |= {"clom": "ce" if guided else "none", "clom_alpha": 10.0}
    found["run"] |= {"iterations": found["settings"]["iterations"], "seconds": float(generator.uniform(20, 4000))}
    if guided:
        found["teachers"] = [teacher(number + each) for each in range(4)]
        pairs = [[a, b] for a in range(4) for b in range(a + 1, 4)]
        differs = [float(generator.uniform(0.03, 0.3)) for _ in pairs]
        pairs = [{"teachers": a, "cka": 0.8, "disagreement": b} for a, b in zip(pairs, differs, strict=True)]
        found["diversity"] = {"images": 500, "cka": 0.81, "disagreement": statistics.fmean(differs), "pairs": pairs}
    count, base = (1, 3, 5)[number % 3], 30 + 12 * float(np.log2(ipc + 1)) + 6 * guided
    template = found["results"]["rows"][0] | {"ipc": ipc, "soft_label_bytes": 0, "epochs": 300}
    rows = []
    for kind, stored, less in ((None, "float", 0), (None, "8bit", 0.3), ("random", "8bit", 8), ("herding", "8bit", 3)):
        size = len(classes) * ipc * channels * side**2 * (4 if stored == "float" else 1)
        own = {"set": f"{kind} real, ipc {ipc}" if kind else name, "copy": stored, "baseline": kind, "bytes": size}
        rows.append(template | own | accuracies(base - less + generator.normal(0, 2), count, generator))
    protocol = found["results"]["protocol"] | {"changed": [], "epochs": 300}
    found["results"] |= {"rows": rows, "majority": 10.2, "chance": 10.0, "protocol": protocol}
    found["storage"] = {"float": rows[0]["bytes"], "8bit": rows[1]["bytes"] // 2, "soft_labels": 0}
    return found


def in_regimes(found, *regimes):
    """A record evaluated in these regimes, with a teacher: the set gains 2 points more in each next one."""
    rows = [row | {"regime": each} for each in regimes for row in found["results"]["rows"]]
    for row in rows:
        row["temperature"] = None if row["regime"] == "hard" else 4.0
        gain = regimes.index(row["regime"]) * (1 if row["baseline"] else 3)
        row |= {"mean": row["mean"] + gain, "scores": [each + gain for each in row["scores"]]}
    of_regimes = {each: found["results"]["protocol"] | {"name": f"of-{each}", "labels": each} for each in regimes}
    results = found["results"] | {"rows": rows, "teachers": [teacher(0)], "protocol": of_regimes[regimes[0]]}
    return found | {"results": results | ({"protocols": of_regimes} if len(regimes) > 1 else {})}


def write_set(folder, number, ipc=None, name=None, change=None):
    """Write a set, and return its folder. Of one size, data and ipc the rows are made once.

    `change` takes its record and gives another one.
    """
    ipc, name = ipc or (1, 10, 5)[number // 3 % 3], name or f"set-{number:04d}"
    side, channels, classes, _ = DATA[list(DATA)[number % len(DATA)]]
    place = folder / name
    place.mkdir(parents=True)
    content = record(number, name, ipc)
    made = folder.parent / f"{folder.name}-rows" / f"{side}-{ipc}"
    if not made.is_dir():
        values, labels = pixels(side, channels, len(classes), ipc, number)
        facts = write_images(made, to_rows(values, labels, classes), preview(values, labels, classes))
        (made / "facts.json").write_text(json.dumps({"parquet_sha256": facts["parquet_sha256"]}))
    content |= json.loads((made / "facts.json").read_text())
    (place / PARQUET).parent.mkdir()
    shutil.copyfile(made / PARQUET, place / PARQUET)
    (place / RECORD).write_text(json.dumps(change(content) if change else content))
    return place


def write_sets(folder, count):
    """Write so many sets."""
    return [write_set(folder, number) for number in range(count)]
