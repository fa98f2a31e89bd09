# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "accelerate>=1.15",
#   "datasets>=5.2",
#   "numpy>=2.0",
#   "pillow>=12.0",
#   "torch>=2.9,<3",
#   "torchvision>=0.24,<1",
#   "transformers>=5.23",
# ]
# ///
"""Train a small vision transformer with transformers' `Trainer` on a distilled set, with nothing of hf-dd.

    python scripts/train_with_transformers.py me/fashion-mnist-dm-ipc10 --revision v1 \
        --test_set zalando-datasets/fashion_mnist

Needs `datasets`, `transformers`, `accelerate` (for Trainer), torch and torchvision; this file stands alone. The model
is drawn from a configuration, not downloaded, and is saved to --output_dir.
"""

import argparse
import math

import numpy as np
import torch
from datasets import ClassLabel, Dataset, Image, get_dataset_config_names, load_dataset
from torchvision.transforms.v2.functional import pil_to_tensor, resize
from transformers import Trainer, TrainingArguments, ViTConfig, ViTForImageClassification, set_seed


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("distilled", help="Hub id or folder of the distilled set")
    parser.add_argument("--revision", help="its tag")
    parser.add_argument("--configuration", help="of the set; 'decoded' where it stores tiles")
    parser.add_argument("--test_set", help="Hub id or folder of real images to state the accuracy on")
    parser.add_argument("--test_split", default="test")
    parser.add_argument("--mean", type=float, nargs="+", help="channel means; of the distilled set if not given")
    parser.add_argument("--std", type=float, nargs="+", help="standard deviations; of the distilled set if not given")
    parser.add_argument("--patch_size", type=int, default=4, help="side of the transformer's patches, in pixels")
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--learning_rate", type=float, default=1e-3)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output_dir", default="outputs/vit-on-distilled")
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


def main() -> None:
    options = make_parser().parse_args()
    set_seed(options.seed)
    configuration = configuration_of(options.distilled, options.revision, options.configuration)
    train = load(options.distilled, "train", options.revision, configuration)
    names = train.features["label"].names
    test = load(options.test_set, options.test_split) if options.test_set else None
    if test and test.features["label"].names != names:
        raise SystemExit(f"{options.test_set} has other classes than {options.distilled}, or another order of them.")
    channels, *sides = shape_of(train)
    size = [math.ceil(side / options.patch_size) * options.patch_size for side in sides]  # whole patches only
    images = pixels(train[:], channels, size)
    mean = torch.tensor(options.mean or images.mean((0, 2, 3)).tolist()).view(-1, 1, 1)
    std = torch.tensor(options.std or images.std((0, 2, 3)).tolist()).view(-1, 1, 1)

    def prepare(rows: dict) -> dict:
        return {"pixel_values": (pixels(rows, channels, size) - mean) / std, "labels": rows["label"]}

    config = ViTConfig(
        image_size=size,
        patch_size=options.patch_size,
        num_channels=channels,
        hidden_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=128,
        id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
    )
    arguments = TrainingArguments(
        output_dir=options.output_dir,
        num_train_epochs=options.epochs,
        learning_rate=options.learning_rate,
        per_device_train_batch_size=options.batch_size,
        per_device_eval_batch_size=256,
        seed=options.seed,
        dataloader_pin_memory=torch.cuda.is_available(),  # without a GPU it only warns
        logging_strategy="epoch",
        save_strategy="no",
        remove_unused_columns=False,  # `prepare` reads columns that the model doesn't know
        disable_tqdm=True,
    )
    trainer = Trainer(
        ViTForImageClassification(config),
        arguments,
        train_dataset=train.with_transform(prepare),
        compute_metrics=lambda made: {"accuracy": float((made.predictions.argmax(1) == made.label_ids).mean())},
    )
    trainer.train()
    trainer.save_model()
    if test:
        print(f"accuracy {100 * trainer.evaluate(test.with_transform(prepare))['eval_accuracy']:.2f} %")


if __name__ == "__main__":
    main()
