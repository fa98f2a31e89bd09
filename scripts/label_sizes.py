# /// script
# requires-python = ">=3.11"
# dependencies = ["hf-dd"]
# ///
"""Accuracy against bytes of a set's stored labels: for numbers of classes that are kept, and of views of each image.

    python scripts/label_sizes.py --output_dir docs/results/labels
    python scripts/label_sizes.py --data fashion-mnist=FOLDER --topk 1 5 10 --views 10 30 100 --students 5

One teacher is trained, then a set of random real images is made for each number of classes and of views, each by one
run of the command line: the images are the same in all. Students of one protocol, `soft-label-crops`, train on all of
them, beside others that the teacher itself tells about new views in every epoch, which is what more labels tend to.
What is there already is kept, so that an interrupted table goes on. `results.md` and `results.json` have a row for
each pair, with 95 % intervals over the students.
"""

import argparse
import json
import os
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: evaluate.py would hide the library

from hf_dd.evaluation.intervals import Interval  # noqa: E402
from hf_dd.evaluation.report import table  # noqa: E402
from scripts import measuring  # noqa: E402

PROTOCOL = "soft-label-crops"


def main():
    """Run what is missing, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits", help="NAME or NAME=REFERENCE.")
    parser.add_argument("--ipc", type=int, default=10)
    parser.add_argument("--topk", nargs="+", type=int, default=[1, 3, 10])
    parser.add_argument("--views", nargs="+", type=int, default=[3, 10, 30])
    parser.add_argument("--teacher_epochs", type=int, default=50)
    parser.add_argument("--architecture", default="ConvNet", help="Of teacher and students.")
    parser.add_argument("--students", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--work_dir", type=Path, default=Path("outputs/labels"), help="For sets and teacher.")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs/labels"))
    options = parser.parse_args()
    name, _, reference = options.data.partition("=")
    reference = reference or name
    place = options.work_dir / f"{name}-ipc{options.ipc}-{options.architecture.replace('/', '-')}"
    teachers = place / f"teachers-{options.teacher_epochs}"
    if not list(teachers.glob("*/hf_dd.json")):
        words = ["--architectures", options.architecture]
        words += ["--epochs", options.teacher_epochs, "--keep_epochs", options.teacher_epochs]
        words += ["--augment", "color_crop_cutout_scale_rotate", "--output_dir", teachers]
        measuring.run("hf-dd", "pretrain", "--dataset", reference, *words)
    teacher = next(teachers.glob("*/hf_dd.json")).parent
    sets = {}
    for topk in options.topk:
        for views in options.views:
            folder = sets[topk, views] = place / f"top{topk}-of-{views}-views-{options.teacher_epochs}"
            if not (folder / "hf_dd.json").is_file():
                words = ["--objective", "random", "--ipc", options.ipc, "--teachers", teacher, "--eval_students", 0]
                words += ["--soft_labels", "crops", "--soft_label_topk", topk, "--soft_label_views", views]
                measuring.run("hf-dd", "distill", "--dataset", reference, *words, "--output_dir", folder)
    words = ["--eval_protocol", PROTOCOL, "--eval_students", options.students, "--eval_epochs", options.epochs]
    words += ["--eval_architectures", options.architecture]
    words += ["--eval_copies", "float", "--baselines", "random", "--output_dir", place]
    measuring.run("hf-dd", "evaluate", *sets.values(), "--dataset", reference, *words)
    found = json.loads((place / "results.json").read_text())
    write(options, name, sets, found)


def write(options, name, sets, found):
    """Write the table."""
    by_set = {row["set"]: row for row in found["rows"]}
    rows = []
    for (topk, views), folder in sets.items():
        record, row = json.loads((folder / "hf_dd.json").read_text()), by_set[folder.name]
        about, images = record["crop_labels"], record["storage"]["8bit"]
        rows.append({"topk": topk, "views": views, "bytes": about["bytes"], "rows": about["rows"], "images": images})
        rows[-1] |= {key: row[key] for key in ("mean", "half_width", "n", "scores")}
    (online,) = (row for row in found["rows"] if row["baseline"] == "random")
    most, least = (choose(rows, key=lambda row: row["bytes"]) for choose in (max, min))
    classes = about["classes"]
    about = {
        "command": measuring.called("label_sizes"),
        "code": measuring.code(),
        "hardware": f"{found['hardware']}; {os.cpu_count()} cores",
    }
    content = about | {
        "protocol": found["protocol"],
        "rows": rows,
        "online": {key: online[key] for key in ("mean", "half_width", "n", "scores")},
        "headlines": [
            [
                f"labels of {own['views']} views, top {own['topk']} of {classes}: {own['bytes']:,} bytes",
                f"{accuracy(own)} % (n = {own['n']} students)",
            ]
            for own in (most, least)
        ],
    }
    cells = [
        [row["topk"], row["views"], f"{row['bytes']:,}", f"{row['bytes'] / row['rows']:.1f}"]
        + [f"{row['bytes'] / images:.1f}", accuracy(row)]
        for row in rows
    ]
    fresh = "new ones in every epoch, other random images for each student"
    cells.append([None, fresh, None, None, None, accuracy(online)])
    head = [f"classes kept, of {classes}", "views of each image", "bytes", "bytes a row", "times the images"]
    parts = [
        f"# Bytes of labels against accuracy: {name}, ipc {options.ipc}",
        f"The same {rows[0]['rows'] // rows[0]['views']} random real images ({images:,} bytes as PNG) with labels of "
        f"crops of several sizes, by one teacher ({options.architecture}, {options.teacher_epochs} epochs). Students "
        f"({options.architecture}) of protocol `{by_set[folder.name]['protocol']}`; test accuracy (%), means of "
        f"n = {online['n']} students with 95 % intervals over these; images, labels and teacher are the same for all.",
        table([*head, "accuracy"], cells),
        f"Made by `{about['command']}`: {about['code']}, on {about['hardware']}.",
    ]
    measuring.write(options.output_dir / "results", content, "\n\n".join(parts))


def accuracy(row):
    """The mean of a row with its interval."""
    return Interval(row["mean"], row["half_width"], row["n"])


if __name__ == "__main__":
    main()
