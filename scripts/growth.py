# /// script
# requires-python = ">=3.11"
# dependencies = ["hf-dd[plots]"]
# ///
"""How a step's time and memory grow: with ipc, classes, the real set, the pool, the processes, and beyond the memory.

    python scripts/growth.py                                # all of it: growth.md, growth.json and growth.png
    python scripts/growth.py --work ipc pool --output_dir outputs/growth

Every point is a run of hf_dd of its own (random images of 28×28, ConvNet-D3-W128, 64 real images per class and step,
fp32), on one thread, so that two processes may be compared with one; those of `processes` go through
`accelerate launch`. `tesla` and `mtt` grow with the steps of a student that follows an expert. `large` generates
50,000 JPEGs of 224×224 and takes some minutes and 10 GB of disk.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: evaluate.py would hide the library

BASE = {"ipc": 10, "classes": 10, "real_set": 6_000, "real_batch_size": 64, "clom": "cos", "steps": 7, "processes": 1}
WARM_UP = 3  # steps until the heap has found its size
SWEEPS = {
    "ipc": [{"ipc": ipc} for ipc in (1, 10, 50)],
    "classes": [{"classes": classes} for classes in (10, 100)],
    "real_set": [{"real_set": count} for count in (6_000, 60_000)],
    "pool": [{"pool": count, "clom": "ce", "teachers_in_memory": 1} for count in (1, 5, 20)]
    + [{"pool": 20, "clom": "ce"}],
    "processes": [{"processes": count, "clom": "none", "real_batch_size": 256, "steps": 9} for count in (1, 2)],
    "tesla": [{"tesla": count, "clom": "none", "ipc": 1, "steps": 2} for count in (5, 20, 40)],
    "mtt": [{"mtt": count, "clom": "none", "ipc": 1, "steps": 2} for count in (5, 20, 40)],
    "large": [{"classes": 10, "real_set": 50_000, "size": 224, "ipc": 1, "clom": "none", "real_batch_size": 16}],
}


# --- one point: a process of its own


def measure(point, folder):
    """Seconds and memory of a run's steps, as a mapping; None on all processes but the first."""
    import resource

    from hf_dd.config import DistillConfig
    from hf_dd.core.processes import new_accelerator
    from hf_dd.data.image_data import load_data
    from hf_dd.distillation.distiller import Distiller
    from hf_dd.teachers.experts import ExpertPool
    from hf_dd.teachers.pool import TeacherPool

    accelerator = new_accelerator("no")
    size, found = point.get("size", 28), {}
    options = {"ipc": point["ipc"], "clom": point["clom"], "real_batch_size": point["real_batch_size"]}
    if size > 28:
        network = ["depth=5", "width=64"]
        options |= {"dataset": str(folder / "large"), "image_memory_gb": 0.5, "architecture_options": network}
        before = time.perf_counter()
        data = load_data(DistillConfig(**options))
        found["load_s"] = time.perf_counter() - before
        before = time.perf_counter()
        load_data(DistillConfig(**options))
        found["load_again_s"] = time.perf_counter() - before
    else:
        data = random_data(point["classes"], point["real_set"])
    pool = None
    if point["clom"] != "none":
        architecture = "VGG11" if "pool" in point else "ConvNet"
        references = [write_run(folder, data, architecture, seed) for seed in range(point.get("pool", 1))]
        options |= {"teachers": references, "teachers_in_memory": point.get("teachers_in_memory")}
        pool = TeacherPool.from_references(references, in_memory=options["teachers_in_memory"])
    experts = None
    for objective in point.keys() & {"mtt", "tesla"}:
        experts = ExpertPool([write_run(folder, data, "ConvNet", epochs=2)])
        options |= {"objective": objective, "experts": ["given"], "real_batch_size": None}
        options["objective_options"] = [f"student_steps={point[objective]}", "max_start_epoch=1", "expert_epochs=1"]
    distiller = Distiller(DistillConfig(**options), data, pool, accelerator, folder, experts)
    waited = watch_reader() if size > 28 else [0.0]
    steps = []
    for index in range(point["steps"] + WARM_UP):
        accelerator.wait_for_everyone()
        waited[0] = 0.0
        steps.append(timed(distiller.step, index))
        if size > 28:
            found["reader_share"] = waited[0] / steps[-1]
    found["bytes_exchanged"] = distiller.bytes_exchanged
    if pool is not None:
        guide = DistillConfig(**options | {"objective": "clom", "real_batch_size": None})
        alone = Distiller(guide, data, pool, accelerator, folder)
        guide_steps = [timed(alone.step, index) for index in range(point["steps"] + 1)]
        found["guide_s"], found["first_guide_s"] = statistics.median(guide_steps[1:]), guide_steps[0]
    found["first_step_s"], found["step_s"] = steps[0], statistics.median(steps[WARM_UP:])
    found["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    accelerator.wait_for_everyone()
    accelerator.end_training()  # a process that leaves early takes the others' connections with it
    return found if accelerator.is_main_process else None


def timed(step, index):
    started = time.perf_counter()
    step(index)
    return time.perf_counter() - started


def random_data(classes, count):
    """Random images of 28×28 in memory, as many of each class."""
    import torch

    from hf_dd.data.image_data import ImageData, Split

    draws = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, 1, 28, 28), dtype=torch.uint8, generator=draws)
    labels = torch.arange(count) % classes
    facts = {"name": "random", "reference": "random", "repo_id": None, "revision": None, "sha": None, "license": "cc0"}
    return ImageData(
        **facts,
        class_names=[str(label) for label in range(classes)],
        train=Split(images, labels),
        test=None,
        mean=(0.5,),
        std=(0.3,),
        fingerprint="",  # so that no pass over the real set is remembered: the first step is measured
        class_index=[(labels == label).nonzero().flatten() for label in range(classes)],
    )


def write_run(folder, data, architecture, seed=0, epochs=1):
    """A teacher's run as a local folder, whose epochs are networks that were never trained."""
    from hf_dd.artefacts import teacher_folder
    from hf_dd.nn import networks
    from hf_dd.training.pretraining import Snapshot

    run = folder / f"{architecture}-{data.num_classes}-{seed}-{epochs}"
    if not run.exists():
        for epoch in range(epochs):
            network = networks.build(architecture, **data.network_shape, seed=seed + epoch)
            snapshot = Snapshot(network, architecture, seed, epoch, loss=None, accuracy=0.1, seconds=0.0)
            teacher_folder.write_snapshot(run, snapshot, data, {}, command="", hardware="")
        teacher_folder.write_run(run, range(epochs))
    return str(run)


def watch_reader():
    """Add up the seconds that steps wait for images: the first element of the list that this returns."""
    from hf_dd.objectives import dm

    original, waited = dm.in_chunks, [0.0]

    def in_chunks(*arguments, **options):
        chunks = original(*arguments, **options)
        while True:
            started = time.perf_counter()
            chunk = next(chunks, None)
            waited[0] += time.perf_counter() - started
            if chunk is None:
                return
            yield chunk

    dm.in_chunks = in_chunks
    return waited


def write_large(folder, count, size, classes):
    """A folder that load_dataset reads: parquet shards of smooth random JPEGs."""
    import io

    import numpy
    from datasets import ClassLabel, Dataset, Features, Image
    from PIL import Image as Pil

    features = Features({"image": Image(), "label": ClassLabel(names=[str(label) for label in range(classes)])})
    draws = numpy.random.default_rng(0)
    for shard, start in enumerate(range(0, count, 5_000)):
        rows = {"image": [], "label": []}
        for index in range(start, min(start + 5_000, count)):
            small = Pil.fromarray(draws.integers(0, 256, (14, 14, 3), dtype=numpy.uint8))
            stream = io.BytesIO()
            small.resize((size, size), Pil.Resampling.BILINEAR).save(stream, "JPEG")
            rows["image"].append({"bytes": stream.getvalue(), "path": None})
            rows["label"].append(index % classes)
        Dataset.from_dict(rows, features=features).to_parquet(folder / f"large/train-{shard:05d}.parquet")


# --- all points


def smaller(point, factor):
    """The point with fewer real images and steps."""
    divided = {key: max(1, point[key] // factor) for key in ("real_set", "real_batch_size", "steps") if key in point}
    return point | divided


def run_point(point, folder):
    """Measure a point in a fresh process (or several), on one thread each."""
    command = [sys.executable]
    if point["processes"] > 1:
        launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--main_process_port", "0"]
        command += [*launch, "--num_processes", str(point["processes"])]
    command += [__file__, "--point", json.dumps(point), "--folder", str(folder)]
    cache = {"HF_HOME": str(folder / "hf-home"), "HF_DATASETS_CACHE": str(folder / "hf-home/datasets")}
    environment = os.environ | cache | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1", "TQDM_DISABLE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"growth: {point} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def table(results):
    """All points as a markdown table."""
    from hf_dd.core import text

    rows = []
    for sweep, points in results.items():
        for point, found in points:
            value = point.get(sweep, point["real_set"])
            guide = f"{1000 * found['guide_s']:.0f} ms" if "guide_s" in found else None
            more = [f"{found['bytes_exchanged']:,} bytes exchanged"] if found["bytes_exchanged"] else []
            more += ["all teachers in memory"] if point.get("pool") and "teachers_in_memory" not in point else []
            if "reader_share" in found:
                more += [f"{100 * found['reader_share']:.2f} % of the step waits for images"]
                more += [f"decoded in {found['load_s']:.0f} s, opened again in {found['load_again_s']:.1f} s"]
            row = [sweep, f"{value:,}", f"{found['step_s']:.3g} s", guide, f"{found['first_step_s']:.3g} s"]
            rows.append([*row, f"{found['peak_mb']:,.0f} MB", "; ".join(more)])
    head = ["what grows", "value", "step", "of which guide", "first step", "peak memory", "more"]
    lines = [text.table(head, rows)]
    if "processes" in results:
        runs = [(point["processes"], found["step_s"]) for point, found in results["processes"]]
        one, two = (statistics.median(seconds for of, seconds in runs if of == count) for count in (1, 2))
        lines.append(
            f"\nTwo processes of one thread: {one / two:.2f} × the speed of one. Predicted from these two steps:"
        )
        lines.append("\n" + predicted(one, two))
    return "\n".join(lines)


def predicted(one, two, classes=(10, 100, 1_000), most=64):
    """Speed over one process, from the steps of one and two: t(n) = c + (t(1) − c) · share(n), c = 2 t(2) − t(1).

    c is what every process spends whatever it owns, exchange included; share(n) is the busiest process's share of the
    classes, or of a class where there are more processes. The time of a step is taken to grow with the classes.
    """
    from hf_dd.core import text

    constant = max(0.0, 2 * two - one)
    per_class = (one - constant) / BASE["classes"]
    counts, rows = [2**power for power in range(most.bit_length())], []
    for number in classes:

        def seconds(n, number=number):
            busiest = math.ceil(number / n) if n <= number else 1 / (n // number)
            return constant + per_class * busiest

        rows.append([f"{number:,}", *(f"{seconds(1) / seconds(n):.1f} ×" for n in counts)])
    return text.table(["classes", *(f"{n} processes" for n in counts)], rows)


def plot(results, path):
    """Step time and peak memory of every sweep, relative to its first point."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    from hf_dd.core import files

    figure = Figure(figsize=(13, 4), layout="constrained")
    axes = figure.subplots(1, 3)
    quantities = {"step_s": "time of a step", "guide_s": "of which CLoM", "peak_mb": "peak memory"}
    for axis, (key, title) in zip(axes, quantities.items(), strict=True):
        for sweep, points in results.items():
            chosen = [(p[sweep], f[key]) for p, f in points if sweep in p and key in f]
            chosen = list(dict(reversed(chosen)).items())[::-1]  # one point per value: the bounded pool
            if len(chosen) > 1 and sweep != "processes":
                values, heights = zip(*sorted(chosen), strict=True)
                axis.plot([v / values[0] for v in values], [h / heights[0] for h in heights], "o-", label=sweep)
        axis.set(xscale="log", yscale="log", title=title, xlabel="× the smallest value", ylabel="× its cost")
        axis.set_xticks([1, 2, 5, 10, 20, 50], labels=["1", "2", "5", "10", "20", "50"])
        axis.xaxis.set_minor_locator(NullLocator())
        for format_ticks in (axis.yaxis.set_major_formatter, axis.yaxis.set_minor_formatter):
            format_ticks("{x:g}")  # 1.5 instead of a power of ten
        axis.tick_params(which="both", labelsize=8)
        axis.axhline(1, color="grey", linewidth=0.5)
        if len(axis.lines) > 1:
            axis.legend()
    files.write(path, lambda place: figure.savefig(place, format="png", dpi=120))


def write(results, output):
    """Write what was measured so far: growth.md, growth.json and growth.png."""
    from hf_dd.core import text
    from hf_dd.core.machine import model
    from scripts import measuring

    about = {
        "command": measuring.called("growth"),
        "code": f"{measuring.code()}, torch {version('torch')}",
        "hardware": f"{model()}, {os.cpu_count()} cores, one thread for each process",
    }
    plot(results, output / "growth.png")
    facts = text.table(["made", "by"], about.items())
    written = f"# How a step grows\n\n![Time and memory of a step](growth.png)\n\n{facts}\n\n{table(results)}"
    measuring.write(output / "growth", {"about": about, "sweeps": results}, written)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", nargs="+", choices=SWEEPS, default=list(SWEEPS), help="Only these.")
    parser.add_argument("--output_dir", default="outputs/growth", help="For growth.md, growth.json and growth.png.")
    parser.add_argument(
        "--smaller", type=int, default=1, help="Divide real images and steps by this, and run nothing twice."
    )
    parser.add_argument("--point", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.point:
        found = measure(json.loads(options.point), Path(options.folder))
        if found:
            print(json.dumps(found))
        return
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        if "large" in options.work:
            large = smaller(SWEEPS["large"][0], options.smaller)
            write_large(Path(folder), large["real_set"], large["size"], large["classes"])
        for sweep in options.work:
            results[sweep] = []
            again = sweep == "processes" and options.smaller == 1  # in turns, as the machine's load weighs on both
            for changed in SWEEPS[sweep] * (2 if again else 1):
                point = smaller(BASE | changed, options.smaller)
                results[sweep].append((point, run_point(point, Path(folder))))
                print(f"{sweep} {changed}: {results[sweep][-1][1]}", flush=True)
            write(results, Path(options.output_dir))  # one that fails takes none of those before it along


if __name__ == "__main__":
    main()
