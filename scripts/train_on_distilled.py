# /// script
# requires-python = ">=3.11"
# dependencies = ["datasets>=5.2", "pillow>=12.0", "torch>=2.9,<3"]
# ///
"""Train students on a distilled set with nothing but `datasets` and torch: how anybody uses what hf-dd publishes.

    python scripts/train_on_distilled.py me/fashion-mnist-dm-ipc10 --revision v1 \
        --test_set zalando-datasets/fashion_mnist --mean 0.2860 --std 0.3530

The network is ConvNet-D3-W128, the schedule and the augmentation are those of the card's `dsa` protocol.
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


def augment(images: torch.Tensor) -> torch.Tensor:
    """One operation for each image: color, crop, cutout, flip, scale or rotate (Zhao & Bilen, ICML 2021)."""
    return torch.cat([OPERATIONS[torch.randint(6, ()).item()](image[None]) for image in images])


def color(x: torch.Tensor) -> torch.Tensor:
    x = x + torch.rand(()) - 0.5
    x = (x - (gray := x.mean(1, keepdim=True))) * 2 * torch.rand(()) + gray
    return (x - x.mean()) * (torch.rand(()) + 0.5) + x.mean()


def crop(x: torch.Tensor) -> torch.Tensor:
    shift = math.floor(x.shape[-1] / 8 + 0.5)
    top, left = torch.randint(2 * shift + 1, (2,)).tolist()
    return F.pad(x, [shift] * 4)[..., top : top + x.shape[-2], left : left + x.shape[-1]]


def cutout(x: torch.Tensor) -> torch.Tensor:
    half, row, column = x.shape[-1] // 4, *torch.randint(x.shape[-1] + 1, (2,)).tolist()
    x = x.clone()
    x[..., max(0, row - half) : row + half, max(0, column - half) : column + half] = 0
    return x


def affine(x: torch.Tensor, matrix: list[list[float]]) -> torch.Tensor:
    grid = F.affine_grid(torch.tensor([[[*row, 0.0] for row in matrix]]), x.shape, align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)


def scale(x: torch.Tensor) -> torch.Tensor:
    vertical, horizontal = (1 / 1.2 + torch.rand(2) * (1.2 - 1 / 1.2)).tolist()
    return affine(x, [[horizontal, 0.0], [0.0, vertical]])


def rotate(x: torch.Tensor) -> torch.Tensor:
    angle = math.radians(15) * (2 * torch.rand(()).item() - 1)
    return affine(x, [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


OPERATIONS = [color, crop, cutout, lambda x: x.flip(-1) if torch.rand(()) < 0.5 else x, scale, rotate]


def configuration_of(name: str, revision: str | None, configuration: str | None) -> str | None:
    """The configuration to train on: of a set of several tiles in each image 'decoded', if none was asked for."""
    if configuration is None and "decoded" in get_dataset_config_names(name, revision=revision):
        print(f"{name} stores several tiles in each image: its configuration 'decoded' is taken.", flush=True)
        return "decoded"
    return configuration


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("distilled", help="Hub id or folder of the distilled set")
    parser.add_argument("--revision", help="its tag")
    parser.add_argument("--configuration", help="of the set; 'decoded' where it stores tiles")
    parser.add_argument("--test_set", required=True, help="Hub id or folder with a test split of real images")
    parser.add_argument("--mean", type=float, nargs="+", required=True, help="channel means, from the card")
    parser.add_argument("--std", type=float, nargs="+", required=True, help="their standard deviations")
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--students", type=int, default=3)
    options = parser.parse_args()

    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (options.mean, options.std))
    configuration = configuration_of(options.distilled, options.revision, options.configuration)
    rows = load_dataset(options.distilled, configuration, revision=options.revision, split="train")
    train = rows.with_format("torch")[:]
    images, labels = (train["pixel_values"] - mean) / std, train["label"]
    test = load_dataset(options.test_set, split="test").with_format("torch")[:]
    test_images, test_labels = (torch.as_tensor(test["image"]).float() / 255 - mean) / std, test["label"]

    scores = []
    for student in range(options.students):
        torch.manual_seed(student)
        network = convnet(images.shape[1], images.shape[-1], int(labels.max()) + 1)
        network(images[:1])  # sizes the lazy layer
        optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9, weight_decay=5e-4)
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [options.epochs // 2 + 1])
        for _ in range(options.epochs):
            for chosen in torch.randperm(len(images)).split(256):
                optimizer.zero_grad()
                F.cross_entropy(network(augment(images[chosen])), labels[chosen]).backward()
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
