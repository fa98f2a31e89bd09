"""timm's models: a folder in the form that timm pushes to the Hub, built by timm, strictly."""

import math
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from hf_dd.core.registry import ADAPTERS, NETWORKS
from hf_dd.errors import TeacherError
from hf_dd.nn.input_transform import InputTransform
from hf_dd.teachers.adapters.base import (
    NOT_EXPRESSED,
    Adapted,
    Adapter,
    described,
    per_channel,
    require_same_preparation,
    trained_on,
)

RATIO = {"center": "cover", "border": "inside", "squash": None}  # how timm's crop modes resize
FILTERS = ("bilinear", "bicubic")


class TimmNetwork(nn.Module):
    """A timm model with its pooled features beside its logits."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Logits, (N, classes)."""
        return self.model(images)

    def features(self, images: Tensor) -> Tensor:
        """What the classifier gets, (N, features)."""
        return self.model.forward_head(self.model.forward_features(images), pre_logits=True).flatten(1)


def matches(folder: Path, config: dict) -> bool:
    """Whether its configuration names an architecture that is none of ours."""
    return "architecture" in config and config["architecture"] not in NETWORKS


def adapt(folder: Path, config: dict, trusted: bool) -> Adapted:
    """A timm model; raises TeacherError where timm can't build it, or its weights don't fit it."""
    import timm

    try:
        model = timm.create_model(f"local-dir:{folder}", pretrained=True)
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError, AssertionError, OSError) as error:
        raise TeacherError(f"timm can't build {config['architecture']!r}: {' '.join(str(error).split())}") from error
    return Adapted(TimmNetwork(model), transform_of(model), class_names_of(model), about(folder, config))


def about(folder: Path, config: dict) -> dict[str, Any]:
    """What its files say of it; the data set from its card, or from the tag of its weights: 'in1k' of 'a1_in1k'."""
    tag = (config.get("pretrained_cfg") or {}).get("tag") or ""
    dataset = trained_on(folder) or tag.rpartition("_")[2] or None
    return described(config["architecture"], dataset)


def transform_of(model: nn.Module) -> InputTransform:
    """How timm prepares images for a model, by the model's own configuration; raises TeacherError."""
    import timm

    wanted = timm.data.resolve_model_data_config(model)
    (channels, *size), mode = wanted["input_size"], wanted["crop_mode"]
    filter = wanted["interpolation"]
    if mode not in RATIO or filter not in FILTERS:
        step = f"the crop mode {mode!r}" if mode not in RATIO else f"the filter {filter!r}"
        raise TeacherError(f"{NOT_EXPRESSED}: {step} of its pretrained_cfg isn't known.")
    mean, std = (per_channel(wanted[key], channels) for key in ("mean", "std"))
    transform = InputTransform(
        channels,
        mean,
        std,
        resize=tuple(math.floor(side / wanted["crop_pct"]) for side in size),
        keep_ratio=RATIO[mode],
        filter=filter,
        crop=tuple(size),
        crop_rounds="half-even",
        pad=tuple(round(255 * value) / 255 for value in mean) if mode == "border" else (0.0,) * channels,
    )
    require_same_preparation(transform, timm.data.create_transform(**wanted, is_training=False), list(wanted))
    return transform


def class_names_of(model: nn.Module) -> list[str] | None:
    """The names in a model's configuration, else ImageNet's synsets where it has as many classes, else None."""
    import timm

    names = model.pretrained_cfg.get("label_names")
    if isinstance(names, dict):
        names = [names.get(str(index), names.get(index)) for index in range(model.num_classes)]
    if names is None and (subset := timm.data.infer_imagenet_subset(model)):
        names = timm.data.ImageNetInfo(subset).label_names()
    return list(map(str, names)) if names and len(names) == model.num_classes else None


ADAPTERS.register("timm", title="models of timm")(Adapter(matches, adapt, about))
