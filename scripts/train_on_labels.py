# /// script
# requires-python = ">=3.11"
# dependencies = ["datasets>=5.2", "pillow>=12.0", "torch>=2.9,<3"]
# ///
"""Train students on a distilled set's stored labels of crops (its configuration `labels`), with `datasets` and torch.

    hf-dd distill --dataset digits --objective random --teachers TEACHER --soft_labels crops --output_dir outputs/set
    python scripts/train_on_labels.py outputs/set --test_set FOLDER --mean 0.3046 --std 0.3755

Each row of `labels` is one view of an image, and what the teachers say of it; `hf-dd evaluate --eval_protocol
soft-label-crops` trains alike.
"""

import argparse
import math

import torch
import torch.nn.functional as F
from datasets import get_dataset_config_names, load_dataset
from torch import nn


def convnet(channels: int, size: int, classes: int, width: int = 128) -> nn.Sequential:
    """Three blocks of convolution, instance normalisation, ReLU, pooling; 28×28 images are padded to 32×32."""
    layers: list[nn.Module] = []
    for block in range(3):
        padding = 3 if block == 0 and size == 28 else 1
        layers += [nn.Conv2d(width if block else channels, width, 3, padding=padding), nn.GroupNorm(width, width)]
        layers += [nn.ReLU(), nn.AvgPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(classes))


def crop(image: torch.Tensor, box: list[int], flip: bool) -> torch.Tensor:
    """A box (top, left, height, width) of an image, brought to the image's size, and mirrored or not."""
    top, left, height, width = box
    part = image[:, top : top + height, left : left + width]
    part = part.repeat(1, 1 + (height == 1), 1 + (width == 1))  # torch resizes a single row or column wrongly
    view = F.interpolate(part[None], image.shape[1:], mode="bilinear", antialias=True, align_corners=False)[0]
    return view.flip(-1) if flip else view


def replay(images: torch.Tensor, row: dict) -> torch.Tensor:
    """The view that a row tells of."""
    view = crop(images[row["image"]], row["box"], row["flip"])
    if "partner" in row:
        other = crop(images[row["partner"]], row["partner_box"], row["partner_flip"])
        if "weight" in row:  # MixUp
            return row["weight"] * view + (1 - row["weight"]) * other
        top, left, height, width = row["paste"]  # CutMix
        area = (slice(None), slice(top, top + height), slice(left, left + width))
        view[area] = other[area]
    return view


def said(rows: dict, classes: int, temperature: float) -> torch.Tensor:
    """What the rows say of all classes at a temperature: (rows, classes), probabilities."""
    logs = rows["log_probabilities"].float()
    if "classes" in rows:  # the others share what is left evenly
        rest = rows["log_rest"].float()[:, None] - math.log(classes - logs.shape[1])
        logs = rest.repeat(1, classes).scatter(1, rows["classes"].long(), logs)
    return (logs / temperature).softmax(1)


def configuration_of(name: str, revision: str | None, configuration: str | None) -> str | None:
    """The configuration to train on: of a set of several tiles in each image 'decoded', if none was asked for."""
    if configuration is None and "decoded" in get_dataset_config_names(name, revision=revision):
        print(f"{name} stores several tiles in each image: its configuration 'decoded' is taken.", flush=True)
        return "decoded"
    return configuration


def main() -> None:
    """Train students, and test them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("distilled", help="Hub id or folder of the distilled set")
    parser.add_argument("--revision", help="its tag")
    parser.add_argument("--configuration", help="of the set; 'decoded' where it stores tiles")
    parser.add_argument("--test_set", required=True, help="Hub id or folder with a test split of real images")
    parser.add_argument("--mean", type=float, nargs="+", required=True, help="channel means, from the card")
    parser.add_argument("--std", type=float, nargs="+", required=True, help="their standard deviations")
    parser.add_argument("--temperature", type=float, default=4.0)
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--learning_rate", type=float, default=0.001)
    parser.add_argument("--batch_size", type=int, default=256)
    parser.add_argument("--students", type=int, default=3)
    options = parser.parse_args()

    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (options.mean, options.std))
    configuration = configuration_of(options.distilled, options.revision, options.configuration)
    rows = load_dataset(options.distilled, configuration, revision=options.revision, split="train")
    labels = load_dataset(options.distilled, "labels", revision=options.revision, split="train").with_format("torch")
    images, classes = rows.with_format("torch")[:]["pixel_values"], rows.features["label"].num_classes
    images, stored = (images - mean) / std, labels.unique("epoch")
    epochs = [labels.filter(lambda e, own=own: e == own, input_columns="epoch") for own in stored]
    views = [torch.stack([replay(images, row) for row in own]) for own in epochs]  # where they fit into memory
    targets = [said(own[:], classes, options.temperature) for own in epochs]
    test = load_dataset(options.test_set, split="test").with_format("torch")[:]
    test_images, test_labels = (torch.as_tensor(test["image"]).float() / 255 - mean) / std, test["label"]

    scores = []
    for student in range(options.students):
        torch.manual_seed(student)
        network = convnet(*images.shape[1:3], classes)
        network(images[:1])  # sizes the lazy layer
        optimizer = torch.optim.AdamW(network.parameters(), options.learning_rate, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs)
        for epoch in range(options.epochs):
            seen, wanted = views[epoch % len(stored)], targets[epoch % len(stored)]
            for chosen in torch.randperm(len(seen)).split(options.batch_size):
                optimizer.zero_grad()
                logits = network(seen[chosen]) / options.temperature
                (options.temperature**2 * F.cross_entropy(logits, wanted[chosen])).backward()
                optimizer.step()
            schedule.step()
        with torch.no_grad():
            predicted = torch.cat([network(part).argmax(1) for part in test_images.split(64)])
        scores.append(100 * (predicted == test_labels).float().mean().item())
        print(f"student {student}: {scores[-1]:.2f} %", flush=True)
    spread = f" ± {torch.tensor(scores).std().item():.2f}" if len(scores) > 1 else ""
    print(f"{sum(scores) / len(scores):.2f}{spread} % (n={len(scores)})")


if __name__ == "__main__":
    main()
