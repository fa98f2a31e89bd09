"""What several tests make: data, sets, teachers, steps and runs so small that loops can check them."""

import json
import re
import threading

import pytest
import timm
import torch
import transformers
from datasets import Dataset
from safetensors.torch import load_file

import hf_dd
import hf_dd.hub
from hf_dd import cli
from hf_dd.config import DistillConfig
from hf_dd.core.layout import PARQUET
from hf_dd.core.seeding import generator
from hf_dd.data.image_data import ImageData, Split, channel_statistics
from hf_dd.distillation import checkpoints
from hf_dd.nn import networks
from hf_dd.objectives.base import Ownership, Step
from hf_dd.synthetic.synthetic_set import SyntheticSet
from hf_dd.teachers.adapters.own import of_network
from hf_dd.teachers.pool import TeacherPool
from hf_dd.teachers.teacher import Teacher, TeacherSpec

# --- data and sets

NAMES = ["cat", "dog", "bird", "fish", "frog"]


def make_data(counts=(9, 6, 7), channels=1, size=6, seed=0):
    """Random images, `counts[c]` of class c, in a random order of the labels."""
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=generator(seed, "order"))]
    images = torch.randint(0, 256, (len(labels), channels, size, size), generator=generator(seed, "data"))
    images = images.to(torch.uint8)
    mean, std = channel_statistics(images)
    return ImageData(
        name="random",
        reference="random",
        repo_id=None,
        revision=None,
        sha=None,
        license="unknown",
        class_names=NAMES[: len(counts)],
        train=Split(images, labels),
        test=None,
        mean=mean,
        std=std,
        fingerprint="0" * 32,
        class_index=[(labels == label).nonzero().flatten() for label in range(len(counts))],
    )


def make_set(data, ipc=2, dtype=torch.float64, factor=1):
    """A set of noise, float64 unless told otherwise."""
    return SyntheticSet.initial(data, ipc, "noise", 5, dtype, factor)


def own_space(synthetic, data):
    """The stored images in [0, 1] space, computed from the data set's statistics."""
    mean, std = (torch.tensor(x, dtype=torch.float64).view(-1, 1, 1) for x in (data.mean, data.std))
    return synthetic.pixels * std + mean


def with_pixels(synthetic, pixels):
    """The set with other pixels, which may be the result of a computation."""
    other = SyntheticSet(pixels.detach(), synthetic.class_names, (0.0,), (1.0,))
    other.mean, other.std = synthetic.mean, synthetic.std
    del other.pixels
    other.pixels = pixels
    return other


# --- teachers

VIT = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 32,
    "patch_size": 8,
}
CLIP_VISION = VIT | {"projection_dim": 12}
DOMAIN = "pool-digits"  # what the teachers of tests/teachers/conftest.py say that they were trained on


def make_teacher(data, architecture="ConvNet", seed=0, class_names=None, kind=Teacher, **options):
    """An untrained network as a teacher of the data set's classes, with a mean of 0.4 and a std of 0.3."""
    options = options or ({"width": 4, "depth": 1} if "ConvNet" in architecture else {"width": 6})
    network = networks.build(
        architecture,
        in_channels=data.channels,
        num_classes=data.num_classes,
        image_size=list(data.image_size),
        seed=seed,
        **options,
    )
    config = {
        "class_names": class_names or data.class_names,
        "in_channels": data.channels,
        "image_size": list(data.image_size),
        "mean": [0.4] * data.channels,
        "std": [0.3] * data.channels,
    }
    spec = TeacherSpec(f"somebody/{architecture}-{seed}", "final", "0" * 40, architecture, seed, 1, "random", 0.5)
    return kind(of_network(network, config), spec)


def make_pool(data, kind=Teacher):
    """Three teachers: one ConvNetBN and two MLPs."""
    return TeacherPool(
        [
            make_teacher(data, "ConvNetBN", 0, kind=kind),
            make_teacher(data, "MLP", 0, kind=kind),
            make_teacher(data, "MLP", 1, kind=kind),
        ]
    )


def batch_norm_teacher(data, architecture="ConvNetBN", seed=0, **options):
    """A teacher whose BatchNorm layers hold statistics and weights that are not those that they start from."""
    teacher = make_teacher(data, architecture, seed, **options).double()
    draws = generator(seed, "statistics")
    for module in teacher.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            shape = module.running_mean.shape
            for value, low in ((module.running_mean, -0.5), (module.running_var, 0.5), (module.weight.data, 0.5)):
                value.copy_(low + torch.rand(shape, generator=draws))
    return teacher


def teacher_logits(teacher, images):
    """Without the adapter: the teacher's statistics applied by hand."""
    return teacher.network((images - 0.4) / 0.3)


def local_teacher(folder, data, width=12, **facts):
    """An untrained MLP of the data set's form, as a local folder."""
    facts = {"class_names": data.class_names, "mean": data.mean, "std": data.std} | facts
    networks.save(networks.build("MLP", **data.network_shape, seed=0, width=width), folder, facts)
    record = {"architecture": "MLP", "seed": 0, "epoch": 0, "dataset": "none", "accuracy": 0.1}
    (folder / "hf_dd.json").write_text(json.dumps(record))
    return str(folder)


def save_timm(folder, name="resnet10t", seed=0, **options):
    """Write a random model of timm as its own library does, and return it."""
    torch.manual_seed(seed)
    model = timm.create_model(name, **options)
    timm.models.save_for_hf(model, folder, safe_serialization=True)
    return model.eval()


def save_transformers(folder, model, processor):
    """Write a model of transformers and its processor, and return the model."""
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return model.eval()


def vit_processor(**options):
    """What makes 32×32 images for a small ViT."""
    return transformers.ViTImageProcessor(size={"height": 32, "width": 32}, **options)


def pickled(folder):
    """Write a model of timm whose weights are a pickle."""
    model = save_timm(folder, num_classes=10)
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")


# --- objectives and their steps

ONE_AT_A_TIME = threading.Lock()


def make_config(clom="none", **options):
    """float64, a network small enough for loops, two real images per class."""
    defaults = {"real_batch_size": 4, "architecture_options": ["width=4", "depth=1"], "dtype": "float64"}
    teachers = {} if clom == "none" else {"clom": clom, "teachers": ["passed as a pool"]}
    return DistillConfig(**defaults | teachers | options)


def make_step(synthetic, data, index=0, rank=0, ranks=1, seed=0, **options):
    """An iteration as a rank sees it; the only rank of all unless told otherwise."""
    return Step(index, seed, Ownership.of(rank, ranks, data.num_classes), ranks, synthetic, data, **options)


def only_losses(objective, step):
    """The losses of an objective that yields once per iteration."""
    (losses,) = objective.losses(step)
    return losses


def value_and_gradient(loss, pixels):
    """A scalar, detached, and its gradient for the pixels."""
    (gradient,) = torch.autograd.grad(loss, pixels)
    return loss.detach(), gradient


def assert_close(ours, theirs, relative):
    """Value and gradient agree relative to the largest number of each."""
    for mine, other in zip(ours, theirs, strict=True):
        scale = other.abs().max()
        assert scale > 0
        assert (mine - other).abs().max() <= relative * scale


def optimise(objective, synthetic, data, steps=3):
    """The pixels after some iterations of SGD with momentum."""
    optimizer = torch.optim.SGD([synthetic.pixels], 1.0, momentum=0.5)
    for index in range(steps):
        for losses in objective.losses(make_step(synthetic, data, index)):
            optimizer.zero_grad()
            sum(losses.values()).backward()
            optimizer.step()
    return synthetic.pixels.detach().clone()


def on_ranks(ranks, work):
    """`work(rank, sum_over_ranks)` of every rank at once, each in a thread; the results in the order of the ranks."""
    barrier = threading.Barrier(ranks, timeout=60)
    slots, results = [None] * ranks, [None] * ranks

    def run(rank):
        def sum_over_ranks(tensor):
            assert not tensor.requires_grad
            slots[rank] = tensor
            barrier.wait()
            total = torch.stack(slots).sum(0)
            barrier.wait()
            return total

        try:
            results[rank] = work(rank, sum_over_ranks)
        except BaseException as error:
            results[rank] = error
            barrier.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(ranks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


# --- runs and what they leave

SMALL = {"ipc": 1, "real_batch_size": 4, "architecture_options": ["width=8", "depth=1"], "eval_students": 0}


def distil(folder, **options):
    """A short distillation of digits into a folder."""
    return hf_dd.distill(**SMALL | {"output_dir": str(folder), "iterations": 20} | options)


def arguments(folder, **options):
    """The same distillation as words of the command line."""
    words = []
    for name, value in (SMALL | {"output_dir": folder, "iterations": 20} | options).items():
        if value is not None:
            words += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    return words


def parquet(folder):
    """The bytes of an artefact's rows."""
    return (folder / PARQUET).read_bytes()


def pixel_values(folder):
    """The exact pixels of an artefact's rows."""
    rows = Dataset.from_parquet(str(folder / PARQUET), cache_dir=str(folder / "cache"))
    return torch.tensor(rows["pixel_values"][:])


def checkpoint_pixels(folder, step=20):
    """The pixels of a checkpoint, normalised; of a pyramid those of its first level."""
    kept = load_file(folder / f"checkpoints/step-{step:06d}/tensors.safetensors")
    return kept["pixels"] if "pixels" in kept else kept["levels.0"]


def steps(folder):
    """The iterations at which a run's checkpoints were written, ascending."""
    return [json.loads((path / "state.json").read_text())["step"] for path in checkpoints.checkpoints(folder)]


def require_two_processes(folder):
    """Fail where a run wasn't shared by two processes of one thread."""
    assert json.loads((folder / "hf_dd.json").read_text())["run"]["hardware"].endswith(", 2 processes of 1 thread")


def assert_clean(card):
    """What every card of ours looks like: tables in one piece, no gaps, no undefined values."""
    lines = card.splitlines()
    assert card.endswith("\n") and not card.endswith("\n\n")
    assert "\n\n\n" not in card
    assert all(line == line.rstrip() for line in lines)
    text = card.split("---\n", 2)[2]
    assert not re.search(r"\bNone\b(?!: no pre-trained)|Undefined|\{\{|\{%", text)
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert sum(map(len, tables)) == sum(line.startswith("|") for line in lines)
    for head, rule, *rows in tables:
        assert re.fullmatch(r"\|(?:-+\|)+", rule) and rows
        assert {len(re.findall(r"(?<!\\)\|", line)) for line in (head, *rows)} == {rule.count("|")}
    for number, line in enumerate(lines):
        if line.startswith("#") and not line.startswith("# hf") and "```" not in line:
            assert lines[number - 1] == lines[number + 1] == "", line
    paragraphs = [block for block in text.strip().split("\n\n") if block[0] not in "#|`"]
    lists = [block for block in paragraphs if all(line.startswith("- ") for line in block.splitlines())]
    for paragraph in paragraphs:  # a line that begins so would be a list or a heading within it
        if paragraph in lists:
            continue
        assert not re.search(r"^(?:\d+[.)]|[-+*#>]) ", paragraph, re.MULTILINE), paragraph
    assert card.count("```") % 2 == 0
    return tables


# --- the command line


def message_of(*arguments):
    """The one line with which the command line ends."""
    with pytest.raises(SystemExit) as end:
        cli.main([str(argument) for argument in arguments])
    message = end.value.code
    assert isinstance(message, str) and message.startswith("hf-dd: error: ") and "\n" not in message, message
    return message


def says(message, *words):
    """Fail where a message lacks one of these words."""
    for word in words:
        assert word in message, message
