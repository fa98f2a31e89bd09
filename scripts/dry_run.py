# /// script
# requires-python = ">=3.11"
# dependencies = ["hf-dd", "timm>=1.0.31"]
# ///
"""The recipes of ImageNet-1k run dry on generated images, and what the whole of each would take on one GPU.

    python scripts/dry_run.py --output_dir docs/results/dry-run
    python scripts/dry_run.py --recipes imagenet-1k-sre2l --tflops 40     # one of them, on a faster GPU
    python scripts/dry_run.py --network test_resnet                       # by tiny networks: minutes on one core

The dry run makes images of 1,000 classes and the recipe's size and a teacher that was never trained, then types one
`hf-dd distill --config RECIPE` and one `hf-dd evaluate`, with all that the recipe says but for the numbers of images,
crops, iterations, epochs and students. It tells whether the whole way works, and what memory and seconds it takes
here. What is there already is kept, and rows of earlier calls stay, so that a table can be made part by part.

The estimate measures nothing: it counts what the recipe's own networks multiply and add on its own batches, from their
shapes alone, times its own numbers of images and steps, at a sustained speed that `--tflops` assumes.
"""

import argparse
import json
import os
import shlex
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: evaluate.py would hide the library

from hf_dd.artefacts.provenance import versions  # noqa: E402
from hf_dd.evaluation.report import table  # noqa: E402
from scripts import measuring  # noqa: E402

CHANGED = {  # what the dry run has in the place of the recipe's
    "imagenet-1k-rded": {"objective_options": ["images=4", "crops=1"]},
    "imagenet-1k-sre2l": {"iterations": [1]},
    "imagenet-1k-cim": {"iterations": [1]},
}
IMAGES = 4  # of each class: as many tiles as a stored image of RDED has
CLASSES, TEST_IMAGES, CHANNELS = 1000, 50_000, 3  # of ImageNet-1k
MEAN = (0.485, 0.456, 0.406)  # that the generated images have as well: `--statistics published` asks for it
NUMBER = 4  # bytes of a float32
H200 = 141e9  # bytes of memory


def main():
    """Run what is missing, estimate, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", choices=CHANGED, default=list(CHANGED))
    parser.add_argument("--network", help="timm's, of teacher and student in the dry run; the recipe's if not given.")
    parser.add_argument("--classes", type=int, default=CLASSES, help="Of the dry run.")
    parser.add_argument("--side", type=int, default=224, help="Of the dry run's images, in pixels.")
    parser.add_argument("--tflops", type=float, default=20.0, help="Sustained by the GPU: assumed, not measured.")
    parser.add_argument("--work_dir", type=Path, default=Path("outputs/dry-run"), help="For images, teacher and sets.")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs/dry-run"))
    options = parser.parse_args()
    rows = [dry(recipe, options) for recipe in options.recipes]
    write(options, rows, [estimated(recipe, options.tflops) for recipe in CHANGED])


# --- the dry run


def dry(recipe, options):
    """What one recipe took, distilled and evaluated once, unless it is there."""
    config = config_of(recipe)
    teacher = options.network or config.teachers[0].removeprefix("timm/").partition("@")[0]
    student = f"timm/{options.network}" if options.network else config.eval_architectures[0]
    place = options.work_dir / f"{options.classes}-classes-of-{options.side}"
    folder = place / teacher / recipe
    kept = folder.with_name(f"{recipe}.json")
    if kept.is_file():
        return json.loads(kept.read_text())
    images, teacher = images_of(place, options), teacher_of(place / teacher / "teacher", teacher, options)
    own = dict(CHANGED[recipe])
    if "objective_options" in own:
        texts = [*config.objective_options, *own["objective_options"]]
        own["objective_options"] = list({text.partition("=")[0]: text for text in texts}.values())
    own |= {"ipc": [1], "eval_students": [0], "teachers": [teacher], "save_total_limit": [9]}
    seen = {"dataset": [images]}
    if (options.classes, options.side) != (CLASSES, config.image_size):
        seen |= {"image_size": [options.side], "statistics": ["own"], "test_resize": [options.side // 7 * 8]}
    distilling = ["hf-dd", "distill", "--config", recipe, *typed(seen | own), "--output_dir", folder]
    students = {"eval_protocol": ["rded"], "eval_epochs": [1], "eval_students": [1], "eval_architectures": [student]}
    students |= {"eval_copies": ["float"], "baselines": ["none"], "eval_teachers": [teacher], "published": []}
    read = ("image_size", "statistics", "test_split", "test_resize")
    seen = {name: [getattr(config, name)] for name in read} | seen
    evaluating = ["hf-dd", "evaluate", folder, *typed(seen | students), "--output_dir", folder]
    used = {"distill": measuring.run(*distilling), "evaluate": measuring.run(*evaluating)}
    row = {"recipe": recipe, "classes": options.classes, "side": options.side, "network": student, "used": used}
    row |= {"commands": [told(command, options.work_dir) for command in (distilling, evaluating)]}
    kept.write_text(json.dumps(row | found_in(folder), indent=2) + "\n")
    return json.loads(kept.read_text())


def config_of(recipe):
    """A recipe as `hf-dd distill` reads it, with students of `rded`."""
    from hf_dd.config import DistillConfig
    from hf_dd.config.parsing import parse_config

    words = ["--config", recipe, "--eval_protocol", "rded"]
    return parse_config(DistillConfig, words, command="hf-dd distill")


def typed(options):
    """Options as they are typed."""
    return [word for name, values in options.items() for word in (f"--{name}", *values)]


def told(words, place):
    """A command without the place where its files are."""
    return shlex.join(str(word).replace(f"{place}/", "") for word in words)


def found_in(folder):
    """What the run itself wrote: seconds of its start, of a step and of a student."""
    record = json.loads((folder / "hf_dd.json").read_text())
    (row,) = json.loads((folder / "results.json").read_text())["rows"]
    start = json.loads((folder / "checkpoints/step-000000/state.json").read_text())["seconds"]
    steps = record["run"]["iterations"]
    return {
        "start_s": start,
        "steps": steps,
        "step_s": (record["run"]["seconds"] - start) / steps if steps else None,
        "student_s": row["seconds"],
        "student_images": row["images_seen"],
        "accuracy": row["mean"],
        "hardware": f"{record['run']['hardware']}; {os.cpu_count()} cores",
        "versions": versions(),
    }


def images_of(place, options):
    """A folder with images of so many classes: four of each to train on, one to test on; blurs of its colours."""
    import io

    import numpy
    from datasets import ClassLabel, Dataset, Features, Image
    from PIL import Image as Picture

    folder = place / "imagenet-1k"
    features = Features({"image": Image(), "label": ClassLabel(names=names_of(options.classes))})
    for split, count in (("train", IMAGES), ("validation", 1)):
        if (folder / f"{split}.parquet").is_file():
            continue
        draws = numpy.random.default_rng(len(split))
        colours = numpy.random.default_rng(0).normal(0, 0.1, (options.classes, 1, 4, 4, CHANNELS))
        grids = numpy.array(MEAN) + colours + draws.normal(0, 0.2, (options.classes, count, 4, 4, CHANNELS))
        rows = {"image": [], "label": numpy.arange(options.classes).repeat(count).tolist()}
        for grid in (255 * grids.clip(0, 1)).astype("uint8").reshape(-1, 4, 4, CHANNELS):
            file = io.BytesIO()
            Picture.fromarray(grid).resize((options.side, options.side), Picture.Resampling.BILINEAR).save(
                file, "JPEG"
            )
            rows["image"].append({"bytes": file.getvalue(), "path": None})
        folder.mkdir(parents=True, exist_ok=True)
        Dataset.from_dict(rows, features=features).to_parquet(folder / f"{split}.parquet")
    return folder


def names_of(classes):
    """Names of classes, in their order when they are sorted."""
    return [f"class {label:04}" for label in range(classes)]


def teacher_of(folder, name, options):
    """The folder of a timm model that was never trained, with the data set's classes."""
    import timm
    import torch

    if not (folder / "config.json").is_file():
        torch.manual_seed(0)
        model = timm.create_model(name, num_classes=options.classes)
        names = {"label_names": names_of(options.classes)}
        timm.models.save_for_hf(model, folder, model_config=names, safe_serialization=True)
    return folder


# --- the estimate


def estimated(recipe, tflops):
    """The whole recipe on one GPU: by phase its images, their operations and hours; and bytes of what it holds."""
    import timm

    from hf_dd.core.registry import OBJECTIVES, PROTOCOLS
    from hf_dd.data.batches import CHUNK_PIXELS
    from hf_dd.objectives.base import options_of
    from hf_dd.synthetic.start import candidates_of
    from hf_dd.teachers.adapters.timm_models import TimmNetwork

    config = config_of(recipe)
    objective = OBJECTIVES[config.objective]
    iterations, own, side = objective.published.filled_in(config)["iterations"], options_of(objective, config), 224
    protocol = PROTOCOLS["rded"].resolve(config.ipc, CLASSES, side, config.eval_architectures[0])
    teacher = TimmNetwork(timm.create_model(config.teachers[0].removeprefix("timm/").partition("@")[0]))
    student = TimmNetwork(timm.create_model(config.eval_architectures[0].removeprefix("timm/")))
    stored, chunk = config.ipc * CLASSES, CHUNK_PIXELS // side**2
    together = (config.images_at_once or config.ipc) * CLASSES  # images that are optimised at one time
    one = CHANNELS * side**2 * NUMBER
    scoring = counted(teacher, chunk, side)
    if config.objective == "rded":
        images = CLASSES * own.images * own.crops
        phases = [(f"scores of {own.crops} crops of {own.images} images of each class", images, chunk, scoring)]
        held = {"images": stored * one}
    elif config.objective == "sre2l":
        step = counted(teacher, own.batch, side, "images")
        phases = [(f"{iterations:,} steps for each image", iterations * stored, own.batch, step)]
        held = {f"{together:,} images, their gradient, Adam's two moments": 4 * together * one}
        held |= {"gradients of all batches of a step": together * one}
    else:
        tiles, seen = config.factor**2, counted(teacher, chunk, side, "images", own.layer)
        real = {"flops": scoring["flops"] + seen["flops"], "kept": seen["kept"]}
        drawn = candidates_of(config.ipc)
        twice = 2 * CLASSES * drawn
        phases = [
            (
                f"scores of {drawn} images of each class, at the start and in the first step",
                twice,
                chunk,
                scoring,
            ),
            (f"{iterations:,} steps for each tile and its real image", iterations * tiles * stored, chunk, real),
        ]
        held = {f"{together:,} images, their gradient, Adam's two moments": 4 * together * one}
        held |= {"decoded tiles, and their gradients twice": 3 * tiles * together * one}
    seen, batch = protocol.images_seen(stored) * config.eval_students, protocol.batch_size
    learning = counted(student, batch, side, "weights")
    passes = counted(student, batch, side)["flops"] * protocol.passes_twice + counted(teacher, batch, side)["flops"]
    students = f"{config.eval_students} students, {protocol.epochs} epochs, the teacher asked in every step"
    phases += [
        (students, seen, batch, {"flops": passes + learning["flops"]}),
        ("their test images", TEST_IMAGES * config.eval_students, chunk, counted(student, chunk, side)),
    ]
    held |= {"a batch's activations": max(each.get("kept", 0) for *_, each in phases[:-2])}
    weights = {"teacher": size(teacher), "student, its gradient, Adam's two moments": 4 * size(student)}
    tested = {"test images, a byte a value": TEST_IMAGES * one // NUMBER}
    memory = {"distillation": held | {"teacher": weights["teacher"]} | tested}
    memory["students"] = (
        {"stored images": stored * one} | tested | weights | {"a batch's activations": learning["kept"]}
    )
    return {
        "recipe": recipe,
        "ipc": config.ipc,
        "tflops": tflops,
        "phases": [phase(name, count, size_of, each["flops"], tflops) for name, count, size_of, each in phases],
        "memory": memory,
        "host_bytes": stored * one,
    }


def phase(name, images, batch, flops, tflops):
    """A row of the estimate: so many images in batches that take so many operations each."""
    total = flops / batch * images
    row = {"phase": name, "images": images, "batch": batch, "flops_per_image": flops / batch, "flops": total}
    return row | {"hours": total / (tflops * 1e12) / 3600}


def counted(network, batch, side, gradient="", layer=None):
    """What a network takes for a batch: operations of its convolutions and products, bytes kept for its gradient.

    Nothing is computed: tensors have shapes alone. `gradient` is "" for a forward pass, "images" or "weights" for a
    backward pass to those as well, from `layer` where one is named, though all layers pass forward.
    """
    import torch
    from torch.autograd.graph import saved_tensors_hooks
    from torch.utils.flop_counter import FlopCounterMode

    network = network.to("meta").train(gradient == "weights").requires_grad_(gradient == "weights")
    images = torch.empty(batch, CHANNELS, side, side, device="meta", requires_grad=gradient == "images")
    own = {each.untyped_storage()._cdata for each in network.state_dict().values()}
    found, kept = [], {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage  # itself, too: no other gets its address meanwhile
        return tensor

    with FlopCounterMode(display=False) as counter, saved_tensors_hooks(keep, lambda tensor: tensor):
        module = network.get_submodule(layer) if layer else network
        with module.register_forward_hook(lambda module, inputs, output: found.append(output)):
            network(images)
        if gradient:
            found[0].sum().backward()
    sizes = [storage.nbytes() for place, storage in kept.items() if place not in own]
    return {"flops": counter.get_total_flops(), "kept": sum(sizes)}


def size(network):
    """Bytes of a network's parameters."""
    return sum(each.numel() for each in network.parameters()) * NUMBER


# --- the tables


def write(options, rows, estimates):
    """Write the tables: these rows, and those of earlier calls."""
    kept = options.output_dir / "results.json"
    earlier = json.loads(kept.read_text())["rows"] if kept.is_file() else []
    rows = {(row["recipe"], row["network"], row["classes"], row["side"]): row for row in [*earlier, *rows]}
    rows = [rows[key] for key in sorted(rows)]
    about = {
        "command": measuring.called("dry_run"),
        "code": sorted({f"hf-dd {own['hf-dd']}" for own in (versions(), *(row["versions"] for row in rows))}),
        "hardware": sorted({row["hardware"] for row in rows}),
    }
    headlines = []  # what was measured first: README shows no more
    for row in rows:
        step = "" if row["step_s"] is None else f", {row['step_s']:.1f} s a step"
        peak = max(used["peak_bytes"] for used in row["used"].values())
        what = f"{row['recipe']} run dry, {row['classes']:,} classes of {row['side']} pixels, {row['network']}"
        headlines.append([what, f"{peak / 1e9:.1f} GB of memory{step} (n = 1 run, on a CPU)"])
    headlines += [headline(each) for each in estimates]
    content = about | {"headlines": headlines, "rows": rows, "estimates": estimates}
    lines = ["# The recipes of ImageNet-1k, run dry", "", *dry_lines(rows), *estimate_lines(estimates, options.tflops)]
    lines += ["", "## Commands", ""]
    lines += [f"- `{command}`" for row in rows for command in row["commands"]]
    lines += ["", f"Made by `{about['command']}`: {'; '.join(about['code'])}, on {'; '.join(about['hardware'])}."]
    lines += [f"Versions: {', '.join(f'{name} {version}' for name, version in rows[0]['versions'].items())}."]
    measuring.write(options.output_dir / "results", content, "\n".join(lines))


def headline(each):
    """An estimate in one line."""
    hours = [row["hours"] for row in each["phases"]]
    most = max(sum(parts.values()) for parts in each["memory"].values())
    what = f"{each['recipe']}, ipc {each['ipc']}, the whole on one GPU: estimated for {each['tflops']:g} TFLOP/s"
    return [what, f"{sum(hours):.1f} h, of which students {sum(hours[-2:]):.1f} h; at least {most / 1e9:.0f} GB"]


def dry_lines(rows):
    """What was measured."""
    yield (
        "What was run: generated JPEGs (4 training images and 1 test image of each class), a teacher that was never "
        "trained, 1 stored image of each class, then 1 student of protocol `rded` for 1 epoch. The commands below say "
        "what else is less than in the recipe. Memory is the largest resident set of the process, seconds are wall "
        "time as the run's own record has it, on a machine with other work; n = 1 run each. The recipes' own teacher "
        "and student are ResNet-18: seconds of another network, where one is named, say nothing of theirs."
    )
    yield ""
    head = "recipe", "classes", "pixels", "teacher and student", "memory of distill", "of evaluate", "start", "a step"
    head += "steps", "a student's epoch and test", "CPU time in all"
    found = []
    for row in rows:
        used = row["used"]
        peaks = [f"{used[name]['peak_bytes'] / 1e9:.2f} GB" for name in ("distill", "evaluate")]
        step = None if row["step_s"] is None else f"{row['step_s']:.1f} s"
        cells = [row["recipe"], f"{row['classes']:,}", row["side"], row["network"], *peaks, f"{row['start_s']:.1f} s"]
        cells += [step, row["steps"], f"{row['student_s']:.1f} s ({row['student_images']:,} images)"]
        found.append([*cells, f"{sum(each['cpu_seconds'] for each in used.values()):.0f} s"])
    yield table(head, found)


def estimate_lines(estimates, tflops):
    """What was estimated, and from what."""
    yield from ("", "## The whole on one GPU: an estimate, nothing of it measured", "")
    yield (
        f"**Assumed**: {tflops:g} TFLOP/s, sustained over all phases (`--tflops`), in float32 as the recipes are. "
        "Counted, from shapes alone, are the multiplications and additions (two operations) of convolutions and "
        "matrix products, forward and backward, of the recipe's own networks on its own batches. Left out: "
        "decoding 1,281,167 images once (192.8 GB on the disk at one byte a value), crops, resizing and augmentation, "
        "normalisation layers, optimisers, and waiting for the disk."
    )
    for each in estimates:
        hours = sum(row["hours"] for row in each["phases"])
        whole = f"{each['host_bytes'] / 1e9:.1f} GB"
        yield from ("", f"### {each['recipe']}, ipc {each['ipc']}: {hours:.1f} hours", "")
        cells = [
            [row["phase"], f"{row['images']:,}", row["batch"], f"{row['flops_per_image'] / 1e9:.2f}"]
            + [f"{row['flops'] / 1e15:,.0f}", f"{row['hours']:.2f}"]
            for row in each["phases"]
        ]
        yield table(["phase", "images", "batch", "GFLOP an image", "PFLOP", "hours"], cells)
        for stage, parts in each["memory"].items():
            said, total = "; ".join(f"{name} {count / 1e9:.2f}" for name, count in parts.items()), sum(parts.values())
            much = ", more than an H200 has" if total > H200 else ""
            yield from ("", f"GPU memory of the {stage}: at least {total / 1e9:.1f} GB{much}: {said}.")
        yield from ("", f"Memory of the host: at least {whole} for all stored images.")
    yield ""
    yield (
        "Memory is the sum of these tensors by their shapes, which all exist at one time; what libraries take for "
        "convolutions, and augmented copies, come on top."
    )


if __name__ == "__main__":
    main()
