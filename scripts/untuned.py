# /// script
# requires-python = ">=3.11"
# dependencies = ["hf-dd"]
# ///
"""What `hf-dd distill --minutes` makes of data sets that nothing was tuned for, beside random images and herding.

    python scripts/make_letters.py outputs/letters
    python scripts/untuned.py --data digits fashion-mnist=FOLDER letters=outputs/letters --output_dir outputs/untuned
    python scripts/untuned.py --data digits --ipc 1 --minutes 10 --seeds 0          # a part of it
    python scripts/untuned.py --data --output_dir docs/results/untuned              # what is there, written anew

Each set is one run of the command line, everything within its minutes; what the same command made already is kept, so
that an interrupted table goes on. Then students of one protocol, `dsa` with `--epochs`, train on all sets of a data
set and ipc (their float copies) and on as many random and herded images, and `untuned.md` and `untuned.json` have one
row for each data set, ipc, number of minutes, machine and kind of students: means over all students, with 95 %
intervals over the distillations (over the students where there is one distillation). Rows of earlier calls stay, so
that a table can be made part by part.
"""

import argparse
import json
import math
import shlex
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: evaluate.py would hide the library

from hf_dd.core.machine import precision_on  # noqa: E402
from hf_dd.evaluation import intervals  # noqa: E402
from hf_dd.evaluation.report import table  # noqa: E402
from scripts import measuring  # noqa: E402
from scripts.measuring import run, shown  # noqa: E402

KINDS = {"planned": ["--clom", "none"], "own teachers": ["--clom", "ce"]}


def main():
    """Run what is missing, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="*", default=["digits"], help="NAME or NAME=REFERENCE.")
    parser.add_argument("--ipc", nargs="+", type=int, default=[1, 10])
    parser.add_argument("--minutes", nargs="+", type=float, default=[10, 30])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="Of the distillations.")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--students", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--architecture", default="ConvNet", help="Of the students.")
    parser.add_argument("--mixed_precision", default="no", choices=("no", "bf16"), help="Of the students.")
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
            rows += rows_of(name, ipc, sets, evaluated(place, list(sets), reference or name, options), options)
    write(options.output_dir, rows)


def made(folder, reference, ipc, minutes, kind, seed):
    """Make a set, unless it is there; its command, the seconds that it took, and the code that made it.

    Ends the program where another command made it.
    """
    kept = folder.with_name(f"{folder.name}.seconds.json")
    words = ["hf-dd", "distill", "--dataset", reference, "--ipc", str(ipc), "--minutes", f"{minutes:g}"]
    words += [*KINDS[kind], "--seed", str(seed), "--output_dir", str(folder)]
    again = ["--resume_from_checkpoint", "latest"]
    there = json.loads(kept.read_text()) if kept.is_file() else {}
    as_told = shown(words), shown(words + again)  # which is all that earlier versions kept
    if there.get("words", words) != words or there.get("command", as_told[0]) not in as_told:
        made_by = shlex.join(there["words"]) if "words" in there else there["command"]
        sys.exit(f"{folder} was made by `{made_by}`: remove it and {kept.name}, or give another --output_dir.")
    if "seconds" not in there:
        folder.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps({"words": words}))
        command = words + again * (folder / "plan.json").is_file()
        there = {"words": words, "seconds": round(run(*command)["seconds"], 1), "command": shown(command)}
        kept.write_text(json.dumps(there))
    record = json.loads((folder / "hf_dd.json").read_text())
    return {key: there[key] for key in ("command", "seconds")} | {
        "code": f"hf-dd {record['versions']['hf-dd']}",
        "hardware": record["run"]["hardware"],
    }


def evaluated(place, folders, reference, options):
    """The results of an evaluation of these sets; trained students are remembered."""
    command = ["hf-dd", "evaluate", *map(str, folders), "--dataset", reference, "--eval_copies", "float"]
    command += ["--eval_students", str(options.students), "--eval_epochs", str(options.epochs)]
    command += ["--eval_architectures", options.architecture, "--mixed_precision", options.mixed_precision]
    run(*command, "--baselines", "random", "herding", "--output_dir", str(place))
    return json.loads((place / "results.json").read_text())


def rows_of(name, ipc, sets, results, options):
    """A row of the table for each number of minutes and kind."""
    by_set = {row["set"]: row for row in results["rows"] if row["baseline"] is None}
    baselines = {row["baseline"]: row for row in results["rows"] if row["baseline"]}
    found = {}
    for folder, (kind, minutes, _, about) in sets.items():
        found.setdefault((minutes, kind), []).append((by_set[folder.name], about))
    rows, half = [], ", bf16" if precision_on(results["hardware"]) == "bf16" else ""
    for (minutes, kind), members in found.items():
        row = {"data": name, "ipc": ipc, "minutes": minutes, "kind": kind, "distillations": len(members)}
        row |= {
            "students": members[0][0]["n"],
            "architecture": options.architecture,
            "protocol": f"{members[0][0]['protocol']}, hard labels{half}",
            "accuracy": over_distillations([own["scores"] for own, _ in members]),
        }
        for baseline, other in baselines.items():
            row[baseline] = {key: other[key] for key in ("mean", "half_width", "n")}
            gains = [[a - b for a, b in zip(own["scores"], other["scores"], strict=True)] for own, _ in members]
            row[f"over {baseline}"] = over_distillations(gains)
        row |= {"took": [about["seconds"] for _, about in members], "with_real_images": True}
        row |= {"hardware": sorted({about["hardware"] for _, about in members})}
        row |= {"code": sorted({about["code"] for _, about in members})}
        rows.append(row | {"commands": [about["command"] for _, about in members]})
    return rows


def over_distillations(values):
    """Mean and half the 95 % interval of distillations that the same students learned from."""
    return intervals.of_distillations(values, shared=True).as_dict()


def write(folder, rows):
    """Write the table: these rows, and those of earlier calls."""
    rows_are_new = bool(rows)
    kept = folder / "untuned.json"
    earlier = json.loads(kept.read_text()) if kept.exists() else {"rows": []}
    found = {key_of(row): row for row in [*map(with_real_images, earlier["rows"]), *rows]}
    rows = [found[key] for key in sorted(found)]
    calls = earlier.get("command", "").split("; ")
    calls += [measuring.called("untuned")] if rows_are_new else []
    calls = list(dict.fromkeys(filter(None, calls)))
    about = {
        "command": "; ".join(calls),
        "code": sorted({each for row in rows for each in row["code"]}),
        "hardware": sorted({machine_of(row) for row in rows}),
    }
    lines = ["# Data sets that nothing was tuned for", ""]
    lines += [f"Made by {', '.join(f'`{call}`' for call in calls)}. n: distillations × students of each.", ""]
    trained, cells = sorted({row["protocol"] for row in rows}), []
    for row in rows:
        which = f" ({1 + trained.index(row['protocol'])})" if len(trained) > 1 else ""
        own = [row["data"], row["ipc"], f"{row['minutes']:g}", row["kind"]]
        own += [f"{row['distillations']} × {row['students']} {row['architecture']}{which}", told(row["accuracy"])]
        own += [f"{row['random']['mean']:.1f}", f"{row['herding']['mean']:.1f}"]
        own += [told(row["over random"], "+"), told(row["over herding"], "+")]
        own += [", ".join(f"{took:.0f}" for took in row["took"]), 1 + about["hardware"].index(machine_of(row))]
        cells.append(own)
    head = ["data", "ipc", "minutes", "set", "n", "accuracy (%)", "random", "herding", "over random", "over herding"]
    lines += [table([*head, "took (s)", "machine"], cells)]
    lines += ["", "Machines:", *(f"{place}. {name}" for place, name in enumerate(about["hardware"], 1))]
    lines += ["", "Students:", *(f"{place}. {said}" for place, said in enumerate(trained, 1)), ""]
    lines += ["Commands, and the commits whose planners chose:"]
    lines += [f"- `{command}` ({commits(row['code'])})" for row in rows for command in row["commands"]]
    measuring.write(folder / "untuned", about | {"rows": rows}, "\n".join(lines))


def with_real_images(row):
    """A row of several distillations with intervals that hold what its real images vary.

    Those of earlier versions, which kept no student's score, held the spread of the distillations alone: both are
    added as those of independent means are.
    """
    if row["distillations"] == 1 or row.get("with_real_images"):
        return row
    over = {}
    for kind in ("random", "herding"):
        gain = row[f"over {kind}"]
        over[f"over {kind}"] = gain | {"half_width": math.hypot(gain["half_width"], row[kind]["half_width"])}
    return row | over | {"with_real_images": True}


def key_of(row):
    """What a row is of."""
    students = row["architecture"], row["students"], row["protocol"]
    return row["data"], row["ipc"], row["minutes"], row["kind"], machine_of(row), *students


def machine_of(row):
    """What a row's sets were made on, in words."""
    return "; ".join(row["hardware"])


def commits(code):
    """The commits of these versions, short."""
    return ", ".join(each.rpartition(" ")[2][:7] for each in code)


def told(interval, sign=""):
    """A mean with its interval over distillations."""
    mean, half = interval["mean"], interval["half_width"]
    ends = "(n = 1)" if half is None else intervals.between(mean, half, 1)
    return f"{mean:{sign}.1f} {ends}"


if __name__ == "__main__":
    main()
