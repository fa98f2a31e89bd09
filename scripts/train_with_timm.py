# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "datasets>=5.2",
#   "numpy>=2.0",
#   "pillow>=12.0",
#   "timm>=1.0.31",
#   "torch>=2.9,<3",
#   "torchvision>=0.24,<1",
# ]
# ///
"""Train any timm model from scratch in a plain loop on a distilled set, with nothing of hf-dd.

    python scripts/train_with_timm.py me/fashion-mnist-dm-ipc10 --revision v1 --model resnet18 \
        --test_set zalando-datasets/fashion_mnist

Needs `datasets`, `timm`, torch and torchvision; this file stands alone. Nothing pre-trained is downloaded. Images keep
their size, but where a model takes one size only, they are resized to it.
"""

import argparse
import math
from collections.abc import Callable

import numpy as np
import timm
import torch
import torch.nn.functional as F
from datasets import ClassLabel, Dataset, Image, get_dataset_config_names, load_dataset
from torchvision.transforms.v2.functional import pil_to_tensor, resize


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("distilled", help="Hub id or folder of the distilled set")
    parser.add_argument("--revision", help="its tag")
    parser.add_argument("--configuration", help="of the set; 'decoded' where it stores tiles")
    parser.add_argument("--model", default="resnet18", help="a name that timm.list_models() knows")
    parser.add_argument("--image_size", type=int, help="side to resize to; the model's or the set's own if not given")
    parser.add_argument("--test_set", help="Hub id or folder of real images to state the accuracy on")
    parser.add_argument("--test_split", default="test")
    parser.add_argument("--mean", type=float, nargs="+", help="channel means; of the distilled set if not given")
    parser.add_argument("--std", type=float, nargs="+", help="standard deviations; of the distilled set if not given")
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--learning_rate", type=float, default=1e-3)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    return parser


def configuration_of(name: str, revision: str | None, configuration: str | None) -> str | None:
    """The configuration to train on: of a set of several tiles in each image 'decoded', if none was asked for."""
    if configuration is None and "decoded" in get_dataset_config_names(name, revision=revision):
        print(f"{name} stores several tiles in each image: its configuration 'decoded' is taken.", flush=True)
        return "decoded"
    return configuration


def load(name: str, split: str, revision: str | None = None, configuration: str | None = None) -> Dataset:
    """A split with its first image and class columns called image and label, whatever they are called there."""
    rows = load_dataset(name, configuration, revision=revision, split=split)
    for new, kind in (("image", Image), ("label", ClassLabel)):
        found = [old for old, feature in rows.features.items() if isinstance(feature, kind)]
        if not found:
            raise SystemExit(f"{name} has no column of the type {kind.__name__}, but {rows.features}.")
        rows = rows if new in found else rows.rename_column(found[0], new)
    return rows


def shape_of(rows: Dataset) -> tuple[int, int, int]:
    """(channels, height, width) of the images, read off the first one where the set doesn't declare it."""
    if "pixel_values" in rows.features:
        return rows.features["pixel_values"].shape
    image = rows[0]["image"]
    return 1 if image.mode == "L" else 3, image.height, image.width


def pixels(rows: dict, channels: int, size: list[int]) -> torch.Tensor:
    """Images in [0, 1], (N, channels, height, width): `pixel_values`, which are exact, or else the decoded images."""
    if "pixel_values" in rows:
        images = torch.from_numpy(np.asarray(rows["pixel_values"], np.float32))
    else:
        images = [pil_to_tensor(image.convert("L" if channels == 1 else "RGB")) / 255 for image in rows["image"]]
    return torch.stack([resize(image, size) for image in images])


def input_size(options: argparse.Namespace, sides: list[int]) -> tuple[list[int], dict]:
    """The (height, width) that the model is to see, and the arguments that tell a model of one size only."""
    config = timm.models.get_pretrained_cfg(options.model)
    fixed = config is not None and config.fixed_input_size
    size = [options.image_size] * 2 if options.image_size else list(config.input_size[1:]) if fixed else list(sides)
    return size, {"img_size": size} if fixed else {}


def accuracy(
    model: torch.nn.Module, rows: Dataset, prepare: Callable[[dict], torch.Tensor], batch_size: int = 256
) -> float:
    """In percent; images are decoded a batch at a time."""
    model.eval()
    right = 0
    with torch.no_grad():
        for batch in rows.iter(batch_size):
            right += int((model(prepare(batch)).argmax(1).cpu() == torch.tensor(batch["label"])).sum())
    return 100 * right / len(rows)


def main() -> None:
    options = make_parser().parse_args()
    torch.manual_seed(options.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    configuration = configuration_of(options.distilled, options.revision, options.configuration)
    train = load(options.distilled, "train", options.revision, configuration)
    channels, *sides = shape_of(train)
    names = train.features["label"].names
    test = load(options.test_set, options.test_split) if options.test_set else None
    if test and test.features["label"].names != names:
        raise SystemExit(f"{options.test_set} has other classes than {options.distilled}, or another order of them.")
    size, arguments = input_size(options, sides)
    images = pixels(train[:], channels, size)
    mean = torch.tensor(options.mean or images.mean((0, 2, 3)).tolist()).view(-1, 1, 1)
    std = torch.tensor(options.std or images.std((0, 2, 3)).tolist()).view(-1, 1, 1)
    images, labels = ((images - mean) / std).to(device), torch.tensor(train["label"][:], device=device)

    def prepare(rows: dict) -> torch.Tensor:
        return ((pixels(rows, channels, size) - mean) / std).to(device)

    model = timm.create_model(options.model, pretrained=False, num_classes=len(names), in_chans=channels, **arguments)
    model.to(device)
    optimizer = torch.optim.AdamW(model.parameters(), options.learning_rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs)
    for epoch in range(1, options.epochs + 1):
        model.train()
        total = 0.0
        for chosen in torch.randperm(len(images)).tensor_split(math.ceil(len(images) / options.batch_size)):
            loss = F.cross_entropy(model(images[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(chosen)
        schedule.step()
        print(f"epoch {epoch}: loss {total / len(images):.4f}", flush=True)
    if test:
        print(f"accuracy {accuracy(model, test, prepare):.2f} %")


if __name__ == "__main__":
    main()
