# /// script
# requires-python = ">=3.11"
# dependencies = ["hf-dd"]
# ///
"""Measure hf_dd against the papers' loops written down literally (tests/oracles/loops.py), side by side in one run.

    python scripts/benchmark.py                                   # all of it, some minutes
    python scripts/benchmark.py --work dm_step test_pass --output benchmark.json
    python scripts/benchmark.py --work start                      # what a run costs beside its iterations

Each side runs in a process of its own, both are called in turn, and the medians are compared. `ours` is in bf16, where
the CPU has it, and `ours fp32` in plain fp32 eager mode. Random images in Fashion-MNIST's shape: 60,000 of 28×28 to
distil from, 10,000 to test on, 10 classes, ipc 10, 256 real images per class and step, ConvNet-D3-W128. Run it from a
checkout's root, with nothing beside it; `accelerate launch` isn't needed.
"""

import argparse
import functools
import json
import multiprocessing
import os
import platform
import random
import resource
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: evaluate.py would hide the library

import torch  # noqa: E402

from hf_dd.core.machine import model  # noqa: E402
from hf_dd.core.precision import has_bf16  # noqa: E402
from hf_dd.evaluation.report import table  # noqa: E402

CLASSES, CLOM_BATCH, EPOCHS = 10, 8_196, 10
REPETITIONS = {
    "dm_step": 5,
    "dc_outer_step": 3,
    "dsa_outer_step": 3,
    "clom_ce_step": 9,
    "clom_cos_step": 3,
    "student_epoch": 5,
    "test_pass": 3,
    "load_data": 3,
}
# No rows, as the papers' loops have none of it: what the compiler costs a DM step, and whether it earns that back; and
# students side by side (`torch.func`) against one after another.
COMPILE, SIDE_BY_SIDE, STUDENTS = "compile", "side_by_side", 5
# Nor has this one: what a run costs beside its iterations, against the libraries that it can't do without.
START, START_REPETITIONS = "start", 5
LIBRARIES = ["-c", "import torch, accelerate, datasets"]
SHORT_RUN = "-m hf_dd distill --config digits-dm --iterations 2 --eval_students 0".split()


def write_idx(folder, images, test_images):
    """Random images and labels in Fashion-MNIST's four files, not gzipped."""
    draws = torch.Generator().manual_seed(0)
    for prefix, count in (("train", images), ("t10k", test_images)):
        pixels = torch.randint(256, (count, 28, 28), dtype=torch.uint8, generator=draws)
        labels = (torch.arange(count) % CLASSES).to(torch.uint8)
        header = bytes((0, 0, 8, 3)) + struct.pack(">3I", count, 28, 28)
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(header + pixels.numpy().tobytes())
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(
            bytes((0, 0, 8, 1)) + struct.pack(">I", count) + labels.numpy().tobytes()
        )


class Literal:
    """The works as the papers' authors write them."""

    def __init__(self, folder, ipc, batch):
        from tests.oracles import loops

        self.loops, self.folder, self.batch = loops, folder, batch
        self.images, self.labels, self.indices_of_class = loops.load_idx(folder, "train", 0.5, 0.3)
        self.test = loops.load_idx(folder, "t10k", 0.5, 0.3)[:2]
        chosen = [index for members in self.indices_of_class for index in members[:ipc]]
        self.synthetic = self.images[chosen].clone().requires_grad_()
        self.synthetic_labels = self.labels[chosen]
        self.optimizer = torch.optim.SGD([self.synthetic], 0.1, momentum=0.5)
        self.teacher = loops.ConvNet().eval().requires_grad_(False)

    def descend(self, loss):
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def real_of_class(self, label):
        return self.loops.random_batch(self.images, self.indices_of_class, label, self.batch)

    def dm_step(self):
        network = self.loops.ConvNet().train().requires_grad_(False)
        self.descend(self.loops.dm_loss(network, self.real_of_class, self.synthetic, self.loops.siamese_pair))

    def dc_outer_step(self):
        self.descend(self.loops.dc_loss(self.loops.ConvNet().train(), self.real_of_class, self.synthetic))

    def dsa_outer_step(self):
        network = self.loops.ConvNet().train()
        self.descend(self.loops.dc_loss(network, self.real_of_class, self.synthetic, self.loops.siamese_pair))

    def clom_ce_step(self):
        self.descend(self.loops.clom_ce(self.teacher, self.synthetic, self.synthetic_labels))

    def clom_cos_step(self):
        chosen = torch.randperm(len(self.images))[:CLOM_BATCH]
        real, labels = self.images[chosen], self.labels[chosen]
        self.descend(self.loops.clom_cos(self.teacher, real, labels, self.synthetic, self.synthetic_labels))

    def student_epoch(self):
        network = self.loops.ConvNet()
        optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9, weight_decay=5e-4)
        for _ in range(EPOCHS):
            self.loops.student_epoch(network, optimizer, self.synthetic.detach(), self.synthetic_labels)

    def test_pass(self):
        self.loops.test_accuracy(self.teacher, *self.test)

    def load_data(self):
        self.loops.load_idx(self.folder, "train", 0.5, 0.3)
        self.loops.load_idx(self.folder, "t10k", 0.5, 0.3)


class Ours:
    """The same works by hf_dd, in a precision."""

    def __init__(self, folder, ipc, batch, precision):
        from hf_dd.config import DataConfig, DistillConfig
        from hf_dd.core.processes import new_accelerator
        from hf_dd.data.image_data import load_data
        from hf_dd.distillation.distiller import Distiller
        from hf_dd.nn import networks
        from hf_dd.teachers.adapters.own import of_network
        from hf_dd.teachers.pool import TeacherPool
        from hf_dd.teachers.teacher import Teacher, TeacherSpec

        self.config = DataConfig(dataset=str(folder))
        self.data = data = load_data(self.config)
        self.accelerator = new_accelerator(precision)
        network = networks.build("ConvNet", **data.network_shape, seed=0)
        facts = {"class_names": data.class_names, "mean": data.mean, "std": data.std} | data.network_shape
        teacher = Teacher(of_network(network, facts), TeacherSpec("random", "", "", "ConvNet", 0, 0, "random", 0.1))
        self.network, self.index = network, 0

        def distiller(**options):
            config = DistillConfig(dataset=str(folder), ipc=ipc, **options)
            pool = TeacherPool([teacher]) if "clom" in options else None
            return Distiller(config, data, pool, self.accelerator, Path())

        guide = {"objective": "clom", "teachers": ["random"]}  # its term alone
        self.ce, self.cos = distiller(clom="ce", **guide), distiller(clom="cos", **guide)
        self.dm = distiller(real_batch_size=batch)
        one = {"real_batch_size": batch, "objective_options": ["outer=1"]}  # no training of the network
        self.dc, self.dsa = distiller(objective="dc", init="real", **one), distiller(objective="dsa", **one)
        self.compiled_dm = distiller(real_batch_size=batch, compile=True, iterations=100_000)

    def step(self, distiller):
        self.index += 1
        started = time.perf_counter()
        distiller.step(self.index)
        return time.perf_counter() - started

    def compile(self):
        first = self.step(self.compiled_dm)
        pairs = [(self.step(self.dm), self.step(self.compiled_dm)) for _ in range(9)]
        eager, compiled = map(statistics.median, zip(*pairs, strict=True))
        saved = eager - compiled
        earned = round((first - compiled) / saved) if saved > 0 else None
        return {"compile_s": first - compiled, "eager_s": eager, "compiled_s": compiled, "earned_back_after": earned}

    def side_by_side(self):
        from hf_dd.nn import networks
        from hf_dd.training.loop import fit
        from hf_dd.training.side_by_side import fit_side_by_side

        synthetic, recipe = self.dm.synthetic, self.recipe(2)
        images, labels = synthetic.pixels.detach(), synthetic.labels
        times = {"one_by_one_s": [], "side_by_side_s": []}
        for _ in range(4):  # the first one warms up
            group = [networks.build("ConvNet", **self.data.network_shape, seed=seed) for seed in range(STUDENTS)]
            started = time.perf_counter()
            for seed, network in enumerate(group):
                list(fit(network, images, labels, recipe, seed=seed, purpose="student"))
            between = time.perf_counter()
            seeds = range(STUDENTS)
            fit_side_by_side(group, [images] * STUDENTS, [labels] * STUDENTS, recipe, seeds=seeds, purpose="student")
            times["one_by_one_s"].append((between - started) / recipe.epochs)
            times["side_by_side_s"].append((time.perf_counter() - between) / recipe.epochs)
        return {name: statistics.median(values[1:]) for name, values in times.items()}

    def dm_step(self):
        self.step(self.dm)

    def dc_outer_step(self):
        self.step(self.dc)

    def dsa_outer_step(self):
        self.step(self.dsa)

    def clom_ce_step(self):
        self.step(self.ce)

    def clom_cos_step(self):
        self.step(self.cos)

    def recipe(self, epochs):
        from hf_dd.core.registry import PROTOCOLS

        return PROTOCOLS["dsa"].with_changes(epochs=epochs).recipe()

    def student_epoch(self):
        from hf_dd.nn import networks
        from hf_dd.training.loop import fit

        network, synthetic = networks.build("ConvNet", **self.data.network_shape, seed=0), self.dm.synthetic
        how = {"seed": 0, "purpose": "student", "autocast": self.accelerator.autocast}
        list(fit(network, synthetic.pixels.detach(), synthetic.labels, self.recipe(EPOCHS), **how))

    def test_pass(self):
        from hf_dd.training.loop import predict

        predict(self.network, self.data.test.images, prepare=self.data.normalise, autocast=self.accelerator.autocast)

    def load_data(self):
        from hf_dd.data.image_data import load_data

        load_data(self.config)


SIDES = {
    "literal": Literal,
    "ours": functools.partial(Ours, precision="bf16"),
    "ours fp32": functools.partial(Ours, precision="no"),
}


def serve(pipe, side, folder, sizes, threads, keep_memory):
    """The loop of a side's process: do the work asked for, answer with its seconds, peak memory in MB and result."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    random.seed(0)
    if keep_memory:
        from hf_dd.core.allocator import keep_freed_memory

        keep_freed_memory()
    works = SIDES[side](folder, *sizes)
    while work := pipe.recv():
        forget_peak()
        started = time.perf_counter()
        result = getattr(works, work)()
        pipe.send((time.perf_counter() - started, peak_megabytes(), result))


def forget_peak():
    """Start the peak anew where the system can (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass


def peak_megabytes():
    """Most resident memory since `forget_peak`, or since the start."""
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Side:
    """A process that does works on demand."""

    def __init__(self, name, folder, options):
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        sizes = (options.ipc, options.real_batch_size)
        arguments = (other, name, folder, sizes, options.threads, options.same_allocator)
        self.process = context.Process(target=serve, args=arguments, daemon=True)
        self.process.start()

    def run(self, work):
        self.pipe.send(work)
        while not self.pipe.poll(1):
            if not self.process.is_alive():
                sys.exit(f"benchmark: a side's process ended in {work}; what it printed is above.")
        return self.pipe.recv()


def spent(arguments, threads, folder):
    """CPU seconds and peak megabytes of a Python process, which has to succeed."""
    environment = {
        "PYTHONPATH": sys.path[0],
        "OMP_NUM_THREADS": str(threads),
        "HF_DATASETS_CACHE": str(folder / "cache"),
    }
    with (folder / "errors").open("w") as errors:
        command = [sys.executable, *map(str, arguments)]
        process = subprocess.Popen(command, stdout=errors, stderr=errors, env=os.environ | environment)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"benchmark: {' '.join(command)} failed:\n{(folder / 'errors').read_text()}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def start(folder, options):
    """Medians of the CPU seconds and the peak memory of a short run and of its libraries alone, and their ratios."""
    found = {"n": options.repetitions or START_REPETITIONS, "run": f"hf-dd {' '.join(SHORT_RUN[2:])}"}
    commands = {"libraries": LIBRARIES, "run": [*SHORT_RUN, "--overwrite_output_dir", "--output_dir", folder / "run"]}
    for arguments in commands.values():
        spent(arguments, options.threads, folder)  # what is compiled and read for the first time
    measured = {name: [] for name in commands}
    for _ in range(found["n"]):
        for name, arguments in commands.items():
            measured[name].append(spent(arguments, options.threads, folder))
    for name, values in measured.items():
        seconds, peaks = zip(*values, strict=True)
        found |= {f"{name}_cpu_s": statistics.median(seconds), f"{name}_peak_mb": statistics.median(peaks)}
        found |= {f"{name}_min_cpu_s": min(seconds), f"{name}_max_cpu_s": max(seconds)}
    for quantity in ("cpu_s", "peak_mb"):
        found[f"ratio_{quantity}"] = found[f"run_{quantity}"] / found[f"libraries_{quantity}"]
    return found


def measure(sides, work, repetitions):
    """Medians of the works, done in turn, of seconds and peak megabytes per side."""
    first = {name: side.run(work)[0] for name, side in sides.items()}
    times, peaks = {name: [] for name in sides}, {name: [] for name in sides}
    for _ in range(repetitions):
        for name, side in sides.items():
            seconds, peak, _ = side.run(work)
            times[name].append(seconds)
            peaks[name].append(peak)
    per = EPOCHS if work == "student_epoch" else 1
    medians = {name: statistics.median(values) / per for name, values in times.items()}
    row = {"work": work, "n": repetitions, "ratio": medians["literal"] / medians["ours"]}
    row["ratio_fp32"] = medians["literal"] / medians["ours fp32"]
    for name, values in times.items():
        key = name.replace(" ", "_")
        row |= {f"{key}_s": medians[name], f"{key}_min_s": min(values) / per, f"{key}_max_s": max(values) / per}
        row[f"{key}_peak_mb"] = statistics.median(peaks[name])
    if work == "clom_cos_step":
        row["one_off_s"] = first["ours"] - medians["ours"]  # the class sums of a teacher, in its first step
    return row


def report(rows):
    """The rows as a markdown table."""
    cells = []
    for row in rows:
        memory = ", ".join(f"{row[f'{side}_peak_mb']:,.0f}" for side in ("literal", "ours", "ours_fp32"))
        own = [row["work"], f"{row['literal_s']:.3g} s", f"{row['ours_s']:.3g} s", f"{row['ratio']:.1f}"]
        cells.append([*own, f"{row['ours_fp32_s']:.3g} s", f"{row['ratio_fp32']:.1f}", f"{memory} MB"])
    head = ["work", "literal", "ours", "ratio", "ours, fp32", "ratio", "peak memory: literal, ours, fp32"]
    lines = [table(head, cells)]
    by_work = {row["work"]: row for row in rows}
    if {"dm_step", "clom_ce_step"} <= by_work.keys():
        for side in ("ours", "ours_fp32"):
            share = by_work["clom_ce_step"][f"{side}_s"] / by_work["dm_step"][f"{side}_s"]
            lines.append(f"\nCLoM-ce adds {100 * share:.1f} % to a DM step ({side}).")
    if {"student_epoch", "test_pass"} <= by_work.keys():
        literal, ours = (
            300 * by_work["student_epoch"][f"{side}_s"] + by_work["test_pass"][f"{side}_s"]
            for side in ("literal", "ours")
        )
        lines.append(
            f"\nA student of 300 epochs and its test pass: {literal:.0f} s, ours {ours:.0f} s, {literal / ours:.1f} ×."
        )
    if "clom_cos_step" in by_work:
        lines.append(f"\nCLoM-cos: {by_work['clom_cos_step']['one_off_s']:.1f} s once per teacher for the class sums.")
    return "\n".join(lines)


def report_more(more):
    """What has no row, in sentences."""
    lines = []
    for name, figures in more.get(COMPILE, {}).items():
        steps = figures["earned_back_after"]
        lines.append(
            f"\ntorch.compile, {name}: {figures['compile_s']:.0f} s; a DM step takes {figures['eager_s']:.3g} s, "
            f"compiled {figures['compiled_s']:.3g} s: {f'earned back after {steps} steps' if steps else 'no gain'}."
        )
    for name, figures in more.get(SIDE_BY_SIDE, {}).items():
        lines.append(
            f"\nAn epoch of {STUDENTS} students, {name}: {figures['one_by_one_s']:.3g} s one after another, "
            f"{figures['side_by_side_s']:.3g} s side by side."
        )
    if found := more.get(START):
        lines.append(
            f"\n`{found['run']}`: {found['run_cpu_s']:.1f} CPU seconds and {found['run_peak_mb']:,.0f} MB, "
            f"{found['ratio_cpu_s']:.2f} × and {found['ratio_peak_mb']:.2f} × those of `{LIBRARIES[1]}` "
            f"({found['libraries_cpu_s']:.1f} s, {found['libraries_peak_mb']:,.0f} MB; medians of {found['n']})."
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    works = [*REPETITIONS, COMPILE, SIDE_BY_SIDE, START]
    parser.add_argument("--work", nargs="+", choices=works, default=works, help="Only these.")
    parser.add_argument("--output", help="JSON file for the rows.")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="Of each side.")
    parser.add_argument("--images", type=int, default=60_000, help="Real images.")
    parser.add_argument("--test_images", type=int, default=10_000, help="Test images.")
    parser.add_argument("--ipc", type=int, default=10, help="Synthetic images per class.")
    parser.add_argument("--real_batch_size", type=int, default=256, help="Real images per class and step.")
    parser.add_argument("--repetitions", type=int, help="Of each work; 3 to 9 if not given.")
    parser.add_argument(
        "--same_allocator", action="store_true", help="Let the literal loops keep freed memory too, as ours do."
    )
    options = parser.parse_args()
    if options.output:
        Path(options.output).parent.mkdir(parents=True, exist_ok=True)  # what fails, fails before minutes of work
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # an exit ends the sides too
    about = {
        "threads": options.threads,
        "processor": f"{model()}, {multiprocessing.cpu_count()} cores",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "bf16": "yes" if has_bf16(torch.device("cpu")) else "no, float32 instead",
        "literal_allocator": "as ours" if options.same_allocator else "the C library's default",
    }
    print(", ".join(f"{name}: {value}" for name, value in about.items()), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        rows, more, beside = [], {}, [work for work in options.work if work != START]
        if START in options.work:  # first, with nothing beside it
            more[START] = start(Path(folder), options)
        if beside:
            write_idx(Path(folder), options.images, options.test_images)
        sides = {name: Side(name, Path(folder), options) for name in SIDES} if beside else {}
        for work in beside:
            if work in (COMPILE, SIDE_BY_SIDE):
                names = ("ours", "ours fp32") if work == COMPILE else ("ours fp32",)
                more[work] = {name: sides[name].run(work)[2] for name in names}
                continue
            rows.append(measure(sides, work, options.repetitions or REPETITIONS[work]))
            print(f"{work}: {rows[-1]['ratio']:.1f}", flush=True)
        for side in sides.values():
            side.pipe.send(None)
            side.process.join()
    if rows:
        print("\n" + report(rows))
    print(report_more(more))
    if options.output:
        Path(options.output).write_text(json.dumps({"about": about, "rows": rows} | more, indent=2))


if __name__ == "__main__":
    main()
