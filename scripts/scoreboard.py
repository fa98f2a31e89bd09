# /// script
# requires-python = ">=3.11"
# dependencies = ["hf-dd[plots]"]
# ///
"""One table that methods are judged by: sets and real images, under hard, soft and online labels.

    python scripts/scoreboard.py --dataset fashion-mnist-folder --output_dir docs/results/scoreboard
    python scripts/scoreboard.py --dataset digits --teacher_epochs 20 --epochs 100     # in minutes

It trains teachers, makes a set by each method (`--methods`; all but the last five by their short recipes for
Fashion-MNIST, of less than ten minutes there), finds the best pruning method on a tenth of the training images, and
then types one `hf-dd compare --regimes hard soft online`, with the same students on all of them. Whatever is there
already is kept, so that the same command goes on where it was interrupted; what other options made isn't taken for it.
"""

import argparse
import json
import os
import shlex
import shutil
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: evaluate.py would hide the library

from hf_dd.artefacts.provenance import versions  # noqa: E402
from hf_dd.config import DataConfig, EvaluateConfig  # noqa: E402
from hf_dd.core.processes import new_accelerator  # noqa: E402
from hf_dd.core.registry import OBJECTIVES, PROTOCOLS, STARTS  # noqa: E402
from hf_dd.data.held_out import held_out  # noqa: E402
from hf_dd.data.image_data import load_data  # noqa: E402
from hf_dd.evaluation import intervals  # noqa: E402
from hf_dd.evaluation.candidates import baseline  # noqa: E402
from hf_dd.evaluation.evaluation import Evaluation  # noqa: E402
from hf_dd.evaluation.report import table  # noqa: E402
from hf_dd.planning.candidates import WEAK  # noqa: E402
from scripts import measuring  # noqa: E402
from scripts.measuring import run  # noqa: E402

TEACHERS = ["ConvNet", "ConvNetBN"]  # the second has the statistics that SRe2L matches
WIDTH = 64  # channels of the teachers, and of the networks that DM draws
AUGMENTED = "color_crop_cutout_scale_rotate"  # images as teachers see them
SHORT = ("dc", "dsa", "idc", "mtt", "tesla", "datm", "cim", "fadrm", "dance", "ncfm", "clom")  # by a recipe
METHODS = (*SHORT, "rded", "sre2l", "dm", "dm-clom", "dm-clom-factor-2")
BATCHNORM = ("sre2l", "fadrm")
TOLD = ("iterations", "factor", "init", "augment", "architecture", "architecture_options", "image_learning_rate")


def main():
    """Make what is missing, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="digits", help="As of hf-dd.")
    parser.add_argument("--ipc", type=int, default=10)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--iterations", type=int, default=500, help="Of DM.")
    parser.add_argument("--teacher_epochs", type=int, default=5)
    parser.add_argument("--students", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=300, help="Of the students.")
    parser.add_argument("--architecture", default="ConvNetW32", help="Of the students.")
    parser.add_argument("--mixed_precision", default="no", choices=("no", "bf16"), help="Of all networks.")
    parser.add_argument("--work_dir", type=Path, default=Path("outputs/scoreboard"), help="For teachers and sets.")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs/scoreboard"), help="For the table.")
    options = parser.parse_args()
    options.dataset_name = Path(options.dataset).name
    place = options.work_dir
    data = ["--dataset", options.dataset, "--mixed_precision", options.mixed_precision]
    epochs, wide = options.teacher_epochs, ["--architecture_options", f"width={WIDTH}"]
    training = [*wide, "--learning_rate", 0.05, "--lr_drops", 0.75, "--epochs", epochs, "--keep_epochs"]
    grids = {"teachers": [*training, epochs, "--architectures", *TEACHERS]}
    needed = set(map(taught_by, options.methods))
    if "experts" in needed:
        grids["experts"] = ["--config", "fashion-mnist-experts"]
    if "trajectories" in needed:
        grids["trajectories"] = [*training, 0, epochs, "--architectures", TEACHERS[0], "--teacher_seeds", 0, 1]
    for name, own in grids.items():
        finished = len(list((place / name).glob("*/hf_dd.json"))) >= 2
        grids[name] = ["hf-dd", "pretrain", *data, *own, "--output_dir", place / name]
        make(place / name, finished, grids[name])
    sets = []
    for name in options.methods:
        sets.append(place / name)
        own = ["hf-dd", "distill", *data, "--ipc", options.ipc, "--eval_students", 0, *how(name, options)]
        taught = [grids[grid] for grid in grids if any(f"{place / grid}/" in str(word) for word in own)]
        again = ["--resume_from_checkpoint", "latest"] if (place / name).is_dir() else []
        finished = (place / name / "hf_dd.json").is_file()
        make(place / name, finished, [*own, "--output_dir", place / name], after=taught, again=again)
    students = ["--eval_students", options.students, "--eval_epochs", options.epochs]
    students += ["--eval_architectures", options.architecture, "--eval_copies", "float"]
    compared = ["--regimes", "hard", "soft", "online", "--eval_teachers", teacher(place, "convnet")]
    real = ["--baselines", "random", "herding", best_pruning(options), "full"]
    words = ["hf-dd", "compare", *sets, *data, *compared, *students, *real, "--output_dir", place / "comparison"]
    records = [json.loads((folder / "hf_dd.json").read_text()) for folder in sets]
    wanted = {"words": list(map(str, words)), "pixels": [record.get("parquet_sha256") for record in records]}
    wanted["teachers"] = list(map(str, grids["teachers"]))
    kept = place / "comparison/compared.json"
    there = json.loads(kept.read_text()) if kept.is_file() else {}
    if there != there | wanted:
        run(*words)
        kept.write_text(json.dumps(wanted | {"code": versions()["hf-dd"]}, indent=2) + "\n")
    write(options, place / "comparison", records)


def how(name, options):
    """The options of a method's distillation."""
    place, kind = options.work_dir, taught_by(name)
    taught = ["--teachers", teacher(place, "convnetbn" if name in BATCHNORM else "convnet")]
    if name in SHORT:
        narrow = ["--architecture_options", f"width={WIDTH}"]
        own = {
            "experts": ["--experts", *trained(place, "experts")],
            "trajectories": [*narrow, "--teachers", *trained(place, "trajectories")],
            "teachers": taught,
        }
        return ["--config", f"fashion-mnist-{name}", *own.get(kind, [])]
    if name in ("rded", "sre2l"):
        return ["--objective", name, *taught, *(["--iterations", 500] if name == "sre2l" else [])]
    rate = OBJECTIVES.find("dm").published.rate_of_short_runs(options.ipc, WIDTH)
    steps = ["--iterations", options.iterations, "--real_batch_size", 64, "--architecture", f"ConvNetW{WIDTH}"]
    steps += ["--image_learning_rate", rate, "--image_schedule", "cosine"]
    weak = ["--clom", "ce", "--clom_alpha", "auto", "--clom_balance", WEAK, "--clom_augment", AUGMENTED]
    guide = [] if name == "dm" else [*taught, *weak]
    return [*steps, *guide, *(["--factor", 2] if name.endswith("factor-2") else [])]


def taught_by(name):
    """The grid of the networks that a method needs; "" for none, and for what isn't made by a recipe."""
    objective = OBJECTIVES.find(name) if name in SHORT else None
    if objective is None or not (objective.uses_experts or objective.uses_teachers or objective.guide_only):
        return ""
    if objective.uses_experts:
        return "experts"
    return "trajectories" if objective.published.networks == "between" else "teachers"


def teacher(place, name):
    """A trained teacher after its last epoch."""
    (folder,) = trained(place, "teachers", f"-{name}-seed0")
    return f"{folder}@final"


def trained(place, grid, ending=""):
    """The folders of the trained teachers of a grid whose names end so."""
    folders = sorted((place / grid).glob(f"*{ending}/"))
    return [str(folder) if folder.is_absolute() else f"./{folder}" for folder in folders]


def best_pruning(options):
    """The pruning method whose images teach a student best, tested on a tenth of the training images."""
    kept = options.work_dir / "pruning.json"
    words = [options.dataset, options.ipc, options.epochs, options.architecture, options.mixed_precision]
    if not kept.is_file() or words_of(kept) != words:
        note_of(kept).unlink(missing_ok=True)
        kept.write_text(json.dumps(pruned(options), indent=2) + "\n")
        note_of(kept).write_text(json.dumps(words) + "\n")
    scores = json.loads(kept.read_text())
    return max(scores, key=scores.get)


def pruned(options):
    """By pruning method, what a student of its images reaches on a tenth of the training images, in percent."""
    accelerator = new_accelerator(options.mixed_precision)
    data = held_out(load_data(DataConfig(dataset=options.dataset)), 0).to(accelerator.device)
    protocol = PROTOCOLS.find("hl").with_changes(epochs=options.epochs)
    protocol = protocol.suited(EvaluateConfig(sets=["none"]), data, accelerator.autocast)
    evaluation = Evaluation(data, protocol, seed=0, accelerator=accelerator)
    kinds = [name for name in STARTS.declared if STARTS.said(name, "embeds") == "training"]
    found = [baseline(kind, data, options.ipc, 0, accelerator.autocast) for kind in kinds]
    return {row.baseline: row.mean for row in evaluation.run(found, [options.architecture], 1).rows}


def write(options, place, records):
    """Write the table with what it was made by, and its shortest form: the last method in each regime."""
    found = json.loads((place / "results.json").read_text())
    about = {
        "command": measuring.called("scoreboard"),
        "code": f"hf-dd {json.loads((place / 'compared.json').read_text())['code']}",
        "code_of_sets": sorted({f"hf-dd {record['versions']['hf-dd']}" for record in records}),
        "hardware": f"{found['hardware']}; {os.cpu_count()} cores",
    }
    headlines = []
    for regime in dict.fromkeys(row["regime"] for row in found["rows"]):
        rows = {row["baseline"] or row["set"]: row for row in found["rows"] if row["regime"] == regime}
        own, gains = rows[options.methods[-1]], []
        for other in ("random", best_pruning(options)):
            gain = str(intervals.of_difference(own["scores"], rows[other]["scores"]))
            gains.append(f"{'' if gain.startswith('-') else '+'}{gain} points over {other}")
        what = f"{options.dataset_name}, ipc {options.ipc}, {regime} labels: {own['set']}"
        headlines.append([what, f"{own['mean']:.1f} %, {', '.join(gains)} (n = {own['n']} students)"])
    pruning = json.loads((options.work_dir / "pruning.json").read_text())
    sets = {
        name: {key: record["settings"][key] for key in TOLD} | {"seconds": record["run"]["seconds"]}
        for name, record in zip(options.methods, records, strict=True)
    }
    content = about | {"headlines": headlines, "pruning": pruning, "sets": sets} | found
    text = (place / "comparison.md").read_text()
    tried = ", ".join(f"{name} {score:.1f}" for name, score in sorted(pruning.items(), key=lambda own: -own[1]))
    lines = [
        f"# Methods and real images under three regimes: {options.dataset_name}, ipc {options.ipc}",
        text.strip(),
        "## What it was made by",
        f"The pruning method is the best of these on a tenth of the training images (one student each, %): {tried}.",
        f"Made by `{about['command']}`: {about['code']} (the sets by {', '.join(about['code_of_sets'])}), on "
        f"{about['hardware']}.",
        "One distillation of each method; those that optimise have far fewer iterations than in their papers. How far "
        "they get with more isn't told here.",
        table_of(sets),
    ]
    measuring.write(options.output_dir / "results", content, "\n\n".join(lines))
    if options.output_dir.resolve() != place.resolve():
        shutil.copy(place / "comparison.png", options.output_dir)


def table_of(sets):
    """How each set was made."""
    rows = []
    for name, own in sets.items():
        steps, rate = own["iterations"], own["image_learning_rate"]
        network = " ".join([own["architecture"], *own["architecture_options"]])
        row = [name, steps or None, own["factor"] ** 2, own["init"], own["augment"], network if steps else None]
        rows.append([*row, None if rate is None else f"{rate:g}", f"{own['seconds']:.0f} s"])
    head = ["set", "iterations", "images in each", "start", "augmentation", "network", "rate", "distilled in"]
    return table(head, rows)


def make(place, finished, words, after=(), again=()):
    """Run the command that makes a place, unless it did; ends the program where another one did.

    It is kept beside the place before that is made, with those `after` which it was run, as they made its teachers;
    `again` are words that an interrupted command goes on by.
    """
    commands = [shlex.join(map(str, each)) for each in (words, *after)]
    if place.exists() and (there := words_of(place)) != commands:
        made, asked = (f"`{'; '.join(each[::-1])}`" for each in (there or ["an unknown command"], commands))
        sys.exit(f"{place} was made by {made}, and not by {asked}: remove it, or give another --work_dir.")
    if not finished:
        place.parent.mkdir(parents=True, exist_ok=True)
        note_of(place).write_text(json.dumps(commands, indent=2) + "\n")
        run(*words, *again)


def note_of(place):
    """The file beside a place that says what made it."""
    return place.with_name(f"{place.name}.words.json")


def words_of(place):
    """What made a place; None where that isn't known."""
    return json.loads(note_of(place).read_text()) if note_of(place).is_file() else None


if __name__ == "__main__":
    main()
