# /// script
# requires-python = ">=3.11"
# dependencies = ["hf-dd"]
# ///
"""What `hf-dd distill --minutes` makes of data sets that nothing was tuned for, beside random images and herding.

    python scripts/make_letters.py outputs/letters
    python scripts/untuned.py --data digits fashion-mnist=FOLDER letters=outputs/letters --output_dir outputs/untuned
    python scripts/untuned.py --data digits --ipc 1 --minutes 10 --seeds 0          # a part of it

Each set is one run of the command line, everything within its minutes; what is there already is kept, so that an
interrupted table goes on. Then students of one protocol, `dsa` with `--epochs`, train on all sets of a data set and
ipc (their float copies) and on as many random and herded images, and `untuned.md` and `untuned.json` have one row for
each data set, ipc and number of minutes: means over all students, with 95 % intervals over the distillations.
"""

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: evaluate.py would hide the library

KINDS = {"planned": ["--clom", "none"], "own teachers": ["--clom", "ce"]}


def main():
    """Run what is missing, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=["digits"], help="NAME or NAME=REFERENCE.")
    parser.add_argument("--ipc", nargs="+", type=int, default=[1, 10])
    parser.add_argument("--minutes", nargs="+", type=float, default=[10, 30])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="Of the distillations.")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--students", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--output_dir", type=Path, default=Path("outputs/untuned"))
    options = parser.parse_args()
    rows = []
    for name, _, reference in (each.partition("=") for each in options.data):
        for ipc in options.ipc:
            sets = {}
            for minutes in options.minutes:
                for kind in options.kinds:
                    for seed in options.seeds:
                        folder = (
                            options.output_dir / f"{name}-ipc{ipc}" / f"{kind.replace(' ', '-')}-{minutes:g}-{seed}"
                        )
                        sets[folder] = (kind, minutes, seed, made(folder, reference or name, ipc, minutes, kind, seed))
            place = options.output_dir / f"{name}-ipc{ipc}" / "evaluation"
            rows += rows_of(name, ipc, sets, evaluated(place, list(sets), reference or name, options))
    write(options.output_dir, rows, options)


def run(*words):
    """Run a command of hf-dd, as one would type it; returns its seconds."""
    print("$", shlex.join(words), flush=True)
    started = time.monotonic()
    subprocess.run([sys.executable, "-m", "hf_dd", *words[1:]], check=True)
    return time.monotonic() - started


def made(folder, reference, ipc, minutes, kind, seed):
    """Make a set, unless it is there; the seconds that it took."""
    kept = folder.with_name(f"{folder.name}.seconds.json")
    if not kept.is_file():
        command = ["hf-dd", "distill", "--dataset", reference, "--ipc", str(ipc), "--minutes", f"{minutes:g}"]
        command += [*KINDS[kind], "--seed", str(seed), "--output_dir", str(folder)]
        command += ["--resume_from_checkpoint", "latest"] if (folder / "plan.json").is_file() else []
        seconds = run(*command)
        kept.write_text(json.dumps({"command": shlex.join(command), "seconds": round(seconds, 1)}))
    return json.loads(kept.read_text())


def evaluated(place, folders, reference, options):
    """The rows of an evaluation of these sets, by the set's name; trained students are remembered."""
    command = ["hf-dd", "evaluate", *map(str, folders), "--dataset", reference, "--eval_copies", "float"]
    command += ["--eval_students", str(options.students), "--eval_epochs", str(options.epochs)]
    run(*command, "--baselines", "random", "herding", "--output_dir", str(place))
    return json.loads((place / "results.json").read_text())["rows"]


def rows_of(name, ipc, sets, results):
    """A row of the table for each number of minutes and kind."""
    from hf_dd.evaluation import intervals

    by_set = {row["set"]: row for row in results if row["baseline"] is None}
    baselines = {row["baseline"]: row for row in results if row["baseline"]}
    found = {}
    for folder, (kind, minutes, _, about) in sets.items():
        found.setdefault((minutes, kind), []).append((by_set[folder.name], about))
    rows = []
    for (minutes, kind), members in found.items():
        row = {"data": name, "ipc": ipc, "minutes": minutes, "kind": kind, "distillations": len(members)}
        row |= {
            "students": members[0][0]["n"],
            "accuracy": vars(intervals.of_mean([own["mean"] for own, _ in members])),
        }
        for baseline, other in baselines.items():
            row[baseline] = {key: other[key] for key in ("mean", "half_width", "n")}
            gains = [
                sum(a - b for a, b in zip(own["scores"], other["scores"], strict=True)) / own["n"]
                for own, _ in members
            ]
            row[f"over {baseline}"] = vars(intervals.of_mean(gains))
        rows.append(
            row
            | {
                "took": [about["seconds"] for _, about in members],
                "commands": [about["command"] for _, about in members],
            }
        )
    return rows


def write(folder, rows, options):
    """Write the table."""
    from hf_dd.artefacts.provenance import versions

    about = {
        "command": shlex.join(["python", "scripts/untuned.py", *sys.argv[1:]]),
        "hardware": f"{os.cpu_count()} cores, {platform.machine()}",
        "versions": versions(),
        "protocol": f"dsa, {options.epochs} epochs, {options.students} students of ConvNet, hard labels",
    }
    (folder / "untuned.json").write_text(json.dumps(about | {"rows": rows}, indent=2) + "\n")
    lines = ["# Data sets that nothing was tuned for", ""]
    lines += [
        f"`{about['command']}`: {about['hardware']}, hf-dd {about['versions']['hf-dd']}.",
        f"Students: {about['protocol']}.",
        "",
    ]
    lines += [
        "| data | ipc | minutes | set | accuracy (%) | random | herding | over random | over herding | took (s) |"
    ]
    lines += ["|---|---|---|---|---|---|---|---|---|---|"]
    for row in rows:
        cells = [
            row["data"],
            row["ipc"],
            f"{row['minutes']:g}",
            f"{row['kind']}, {row['distillations']} distillations",
        ]
        cells += [told(row["accuracy"]), f"{row['random']['mean']:.1f}", f"{row['herding']['mean']:.1f}"]
        cells += [told(row["over random"], "+"), told(row["over herding"], "+")]
        lines.append("| " + " | ".join(map(str, [*cells, ", ".join(f"{took:.0f}" for took in row["took"])])) + " |")
    (folder / "untuned.md").write_text("\n".join(lines) + "\n")
    print((folder / "untuned.md").read_text())


def told(interval, sign=""):
    """A mean with its interval over distillations."""
    mean, half = interval["mean"], interval["half_width"]
    ends = "(n = 1)" if half is None else f"[{mean - half:.1f}, {mean + half:.1f}]"
    return f"{mean:{sign}.1f} {ends}"


if __name__ == "__main__":
    main()
