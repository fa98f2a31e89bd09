"""timm's models: a folder in the form that timm pushes to the Hub, built by timm, strictly."""

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hf_dd.core import tensors
from hf_dd.core.json_records import require
from hf_dd.core.registry import ADAPTERS, NETWORKS
from hf_dd.errors import RunError, TeacherError, one_line, some
from hf_dd.nn.input_transform import InputTransform
from hf_dd.teachers.adapters.base import (
    LARGEST_SIDE,
    NOT_EXPRESSED,
    Adapted,
    Adapter,
    described,
    per_channel,
    require_same_preparation,
    require_statistics,
    trained_on,
)

RATIO = {"center": "cover", "border": "inside", "squash": None}  # how timm's crop modes resize
FILTERS = ("bilinear", "bicubic")
WEIGHTS = "*.safetensors"
# What timm's factory takes besides a model's own arguments: other files, other strictness.
REFUSED = {"pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "pretrained_strict", "pretrained_filter_fn"}
REFUSED |= {"checkpoint_path", "cache_dir", "features_only", "feature_cfg", "feature_cls", "device", "dtype"}
MISMADE = (RuntimeError, ValueError, TypeError, KeyError, AttributeError, AssertionError, OSError, IndexError)
MISMADE += (ArithmeticError, NotImplementedError)
PREPARED = {"input_size": tuple[int, ...], "crop_mode": str, "interpolation": str, "crop_pct": float}
PREPARED |= dict.fromkeys(("mean", "std"), float | tuple[float, ...])


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
    named = config.get("architecture")
    return named is not None and not (isinstance(named, str) and named in NETWORKS)


def adapt(folder: Path, config: dict, trusted: bool) -> Adapted:
    """A timm model; raises TeacherError where timm can't build it, or its weights don't fit it."""
    if not isinstance(config["architecture"], str) or not isinstance(config.get("pretrained_cfg") or {}, dict):
        raise TeacherError("config.json: architecture has to be a text, and pretrained_cfg a mapping.")
    if wrong := sorted(REFUSED & (config.get("model_args") or {}).keys()):
        raise TeacherError(f"config.json: model_args say {', '.join(wrong)}, which aren't the model's own.")
    weights = sorted(folder.glob(WEIGHTS))
    if not weights:  # only pickles, of a trusted repository
        model = built(folder, config, pretrained=True)
    else:
        model = loaded(
            folder, config, next((path for path in weights if path.name == f"model{WEIGHTS[1:]}"), weights[0])
        )
    return Adapted(TimmNetwork(model), transform_of(model), class_names_of(model), about(folder, config))


def built(folder: Path, config: dict, pretrained: bool) -> nn.Module:
    """What timm makes of a folder; raises TeacherError where it can't."""
    import timm

    try:
        return timm.create_model(f"local-dir:{folder}", pretrained=pretrained)
    except MISMADE as error:
        raise TeacherError(f"timm can't build {config['architecture']!r}: {one_line(error)}") from error


def loaded(folder: Path, config: dict, weights: Path) -> nn.Module:
    """A model that holds the tensors of a safetensors file, none of its own left as drawn; raises TeacherError."""
    try:
        forms = tensors.declared(weights)
        outline = tensors.outlined(lambda: built(folder, config, pretrained=False), forms)
        expected = {name: tensors.form_of(value) for name, value in outline.state_dict().items()}
        if odd := tensors.unlike(expected, forms):
            raise misfit(config, weights, odd)
        differing = tensors.differences(expected, forms)
        if differing and tensors.numbers_in(expected) <= tensors.numbers_in(forms):
            return converted(folder, config, weights, differing)
        if differing:
            raise misfit(config, weights, differing)
        values = tensors.read(weights)
    except RunError as error:
        raise TeacherError(str(error)) from error
    model = built(folder, config, pretrained=False)
    model.load_state_dict(values)
    return model


def converted(folder: Path, config: dict, weights: Path, differing: Sequence[str]) -> nn.Module:
    """A model whose weights timm itself renames, or leaves some out of; raises TeacherError where any is drawn.

    Its loading fills in what lacks: with a `num_classes` in pretrained_cfg that isn't the model's, or another number
    of channels, it leaves layers as they were drawn. Those differ when the model is built twice.
    """
    tensors.read(weights)
    with tempfile.TemporaryDirectory() as place:  # where timm finds no other weights
        for path, name in ((folder / "config.json", "config.json"), (weights, f"model{WEIGHTS[1:]}")):
            (Path(place) / name).symlink_to(path.resolve())
        model, again = (built(Path(place), config, pretrained=True) for _ in range(2))
    values = again.state_dict()
    if any(not torch.equal(value, values[name]) for name, value in model.state_dict().items()):
        raise misfit(config, weights, differing)
    return model


def misfit(config: dict, weights: Path, differing: Sequence[str]) -> TeacherError:
    """The error for weights that aren't those of the configuration."""
    return TeacherError(
        f"timm can't build {config['architecture']!r} with these weights: {weights.name} doesn't fit config.json: "
        f"{some(differing)}"
    )


def about(folder: Path, config: dict) -> dict[str, Any]:
    """What its files say of it; the data set from its card, or from the tag of its weights: 'in1k' of 'a1_in1k'."""
    given = config.get("pretrained_cfg")
    tag = given.get("tag") if isinstance(given, dict) else None
    dataset = trained_on(folder) or (tag.rpartition("_")[2] if isinstance(tag, str) else None) or None
    return described(str(config["architecture"]), dataset)


def transform_of(model: nn.Module) -> InputTransform:
    """How timm prepares images for a model, by the model's own configuration; raises TeacherError."""
    import timm

    wanted = timm.data.resolve_model_data_config(model)
    try:
        require(wanted, dict, PREPARED, "pretrained_cfg of config.json")
    except RunError as error:
        raise TeacherError(str(error)) from error
    (channels, *size), mode = wanted["input_size"], wanted["crop_mode"]
    filter = wanted["interpolation"]
    if len(size) != 2 or not 0.1 <= wanted["crop_pct"] <= 2 or not all(0 < side <= LARGEST_SIDE for side in size):
        raise TeacherError(f"{NOT_EXPRESSED}: the size {size} and crop_pct {wanted['crop_pct']} can't be.")
    if mode not in RATIO or filter not in FILTERS:
        step = f"the crop mode {mode!r}" if mode not in RATIO else f"the filter {filter!r}"
        raise TeacherError(f"{NOT_EXPRESSED}: {step} of its pretrained_cfg isn't known.")
    mean, std = (per_channel(wanted[key], channels) for key in ("mean", "std"))
    require_statistics(mean, std, channels)
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
    try:
        require_same_preparation(transform, timm.data.create_transform(**wanted, is_training=False), list(wanted))
    except MISMADE as error:
        raise TeacherError(f"timm can't prepare images as its pretrained_cfg says: {one_line(error)}") from error
    return transform


def class_names_of(model: nn.Module) -> list[str] | None:
    """The names in a model's configuration, else ImageNet's synsets where it has as many classes, else None."""
    import timm

    names = model.pretrained_cfg.get("label_names")
    if isinstance(names, dict):
        names = [names.get(str(index), names.get(index)) for index in range(model.num_classes)]
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str | int) for name in names)):
        raise TeacherError("label_names of its config.json has to be a text for each class.")
    if names is None and (subset := timm.data.infer_imagenet_subset(model)):
        names = timm.data.ImageNetInfo(subset).label_names()
    return list(map(str, names)) if names and len(names) == model.num_classes else None


ADAPTERS.register("timm", title="models of timm")(Adapter(matches, adapt, about))
