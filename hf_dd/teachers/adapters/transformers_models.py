"""transformers' image models: classifiers, bare encoders, backbones, and the image towers of CLIP and its kind."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hf_dd.core.registry import ADAPTERS
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

# By PIL's numbers; the others have no antialiased form in torch.
FILTERS = {0: "nearest-exact", 2: "bilinear", 3: "bicubic"}
FILTER_NAMES = {1: "lanczos", 4: "box", 5: "hamming"}
KNOWN_STEPS = {"do_convert_rgb", "do_resize", "do_center_crop", "do_rescale", "do_normalize"}
# Methods that a processor may have its own of.
STEPS = ("_preprocess", "resize", "center_crop", "rescale_and_normalize")
UNSPLIT_CONVNEXT = 384  # ConvNeXt's processor warps instead of cropping from this size on


class ImageTower(nn.Module):
    """An image model with features, and logits where it has a head.

    Args:
        model: from transformers; a classifier's last layer is taken out of it.
        head: that layer, or None.
    """

    def __init__(self, model: nn.Module, head: nn.Module | None = None):
        super().__init__()
        self.model = model
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        """Logits, (N, classes); of a model without a head its features."""
        features = self.features(images)
        return features if self.head is None else self.head(features)

    def features(self, images: Tensor) -> Tensor:
        """What the classifier gets, else the pooled output, the first token or the mean over places: (N, features)."""
        if self.head is not None:
            return self.model(pixel_values=images).logits.flatten(1)  # of a classifier whose last layer is an identity
        if hasattr(self.model, "get_image_features"):
            return self.model.get_image_features(pixel_values=images).pooler_output
        output = self.model(pixel_values=images)
        if (pooled := getattr(output, "pooler_output", None)) is not None:
            return pooled.flatten(1)
        maps = output.feature_maps[-1] if hasattr(output, "feature_maps") else output.last_hidden_state
        return maps.mean((2, 3)) if maps.ndim == 4 else maps[:, 0]


def matches(folder: Path, config: dict) -> bool:
    """Whether its configuration names a type of model."""
    return "model_type" in config


def adapt(folder: Path, config: dict, trusted: bool) -> Adapted:
    """An image model of transformers; raises TeacherError."""
    import transformers

    allowed = {"trust_remote_code": trusted, "local_files_only": True}
    try:
        settings = transformers.AutoConfig.from_pretrained(folder, **allowed)
    except (OSError, ValueError, KeyError) as error:
        raise TeacherError(f"transformers can't read its config.json: {' '.join(str(error).split())}") from error
    auto = auto_class(settings)
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(folder, **allowed)
    except (OSError, ValueError, TypeError) as error:
        raise TeacherError(
            "how its images are made isn't known: it has no preprocessor_config.json that transformers can read "
            f"({' '.join(str(error).split())[:200]}). Save its image processor beside it (`save_pretrained`)."
        ) from error
    transform = transform_of(processor, getattr(settings, "num_channels", None))
    model = load_whole(auto, folder, allowed | {"use_safetensors": None if trusted else True})
    names, head = None, None
    if auto is transformers.AutoModelForImageClassification:
        head = take_head(model, settings.num_labels)
        names = [str(settings.id2label[index]) for index in range(settings.num_labels)]
    return Adapted(ImageTower(model, head), transform, names, about(folder, config))


def about(folder: Path, config: dict) -> dict[str, Any]:
    """What its files say of it."""
    return described(config["model_type"], trained_on(folder))


def auto_class(settings: Any) -> type:
    """The class of transformers that builds what a configuration describes; raises TeacherError for no image model."""
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING, MODEL_MAPPING

    written = " ".join(getattr(settings, "architectures", None) or [])
    if "ForImageClassification" in written:
        return transformers.AutoModelForImageClassification
    if "Backbone" in written and type(settings) in MODEL_FOR_BACKBONE_MAPPING:
        return MODEL_FOR_BACKBONE_MAPPING[type(settings)]  # AutoBackbone takes no folders
    model = MODEL_MAPPING.get(type(settings), None)
    if getattr(model, "main_input_name", "pixel_values") != "pixel_values" and not hasattr(
        model, "get_image_features"
    ):
        raise TeacherError(
            f"{settings.model_type} is no image model: it takes {model.main_input_name}. Name a model of images, such "
            "as a ViT, a ResNet or a CLIP."
        )
    return transformers.AutoModel


def load_whole(auto: type, folder: Path, options: dict[str, Any]) -> nn.Module:
    """A model none of whose weights is left as it was drawn; raises TeacherError."""

    def load(**more: Any) -> tuple[nn.Module, dict[str, Any]]:
        try:
            with only_errors():  # what is left over, such as a projection, is no fault; what lacks is looked at below
                return auto.from_pretrained(
                    str(folder), output_loading_info=True, dtype=torch.float32, **options, **more
                )
        except (OSError, ValueError, RuntimeError, TypeError, ImportError) as error:
            raise TeacherError(f"transformers can't load it: {' '.join(str(error).split())[:400]}") from error

    model, found = load()
    missing = sorted(found["missing_keys"])
    if missing and all("pooler" in key.split(".") for key in missing):
        model, found = load(add_pooling_layer=False)  # saved without one: then the first token counts
        missing = sorted(found["missing_keys"])
    if missing or found["mismatched_keys"]:
        wrong = missing or [key for key, *_ in found["mismatched_keys"]]
        raise TeacherError(
            f"its weights don't fit its config.json: {', '.join(wrong[:5])} missing or of another shape."
        )
    return model


@contextlib.contextmanager
def only_errors() -> Iterator[None]:
    """Without what transformers says that is less than an error."""
    import transformers

    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(before)


def take_head(model: nn.Module, classes: int) -> nn.Module:
    """Take the last linear layer out of a classifier, leaving an identity; raises TeacherError if it isn't clear."""
    encoder = f"{model.base_model_prefix}."
    heads = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == classes and not name.startswith(encoder)
    ]
    if len(heads) != 1:
        raise TeacherError(
            f"which layer of {type(model).__name__} classifies isn't clear: {len(heads)} have {classes} outputs "
            f"({', '.join(heads) or 'none'})."
        )
    head = model.get_submodule(heads[0])
    model.set_submodule(heads[0], nn.Identity())
    return head


def transform_of(processor: Any, channels: int | None) -> InputTransform:
    """What an image processor does, as ours; raises TeacherError, naming the step, for what can't be expressed."""
    steps = {key: value for key, value in processor.to_dict().items() if key.startswith("do_") and value}
    if unknown := sorted(steps.keys() - KNOWN_STEPS):
        raise TeacherError(f"{NOT_EXPRESSED}: {', '.join(unknown)} of {type(processor).__name__} isn't known.")
    resize, keep_ratio, crop = None, None, None
    if "do_resize" in steps:
        resize, keep_ratio, crop = resizing_of(processor)
    if "do_center_crop" in steps:
        crop = (processor.crop_size.height, processor.crop_size.width)
    scale = 255 * processor.rescale_factor if "do_rescale" in steps else 255.0
    channels = channels or (len(processor.image_mean) if "do_normalize" in steps else 3)
    mean, std = (0.0,) * channels, (1.0,) * channels
    if "do_normalize" in steps:
        mean, std = (per_channel(values, channels) for values in (processor.image_mean, processor.image_std))
    transform = InputTransform(
        channels,
        tuple(value / scale for value in mean),
        tuple(value / scale for value in std),
        resize=resize,
        keep_ratio=keep_ratio,
        filter=filter_of(processor) if resize else "bilinear",
        crop=crop,
    )
    kind = type(processor)
    plain = next((base for base in kind.__mro__ if base.__name__ in ("TorchvisionBackend", "PilBackend")), kind)
    own = [f"{kind.__name__}.{name}" for name in STEPS if getattr(kind, name, None) is not getattr(plain, name, None)]
    require_same_preparation(
        transform, lambda image: processor(image, return_tensors="pt").pixel_values[0], own or sorted(steps)
    )
    return transform


def resizing_of(processor: Any) -> tuple[tuple[int, int], str | None, tuple[int, int] | None]:
    """Size, whether the shape is kept, and the crop that ConvNeXt's processor makes of its own."""
    size = processor.size
    if (edge := size.shortest_edge) and not size.longest_edge:
        if (share := getattr(processor, "crop_pct", None)) is None:
            return (edge, edge), "cover", None
        if edge >= UNSPLIT_CONVNEXT:
            return (edge, edge), None, None
        return (int(edge / share), int(edge / share)), "cover", (edge, edge)
    if size.height and size.width:
        return (size.height, size.width), None, None
    raise TeacherError(f"{NOT_EXPRESSED}: the size {dict(size)} of {type(processor).__name__} isn't known.")


def filter_of(processor: Any) -> str:
    """The filter of a processor's resize; raises TeacherError for one that torch has no antialiased form of."""
    number = int(processor.resample)
    if number not in FILTERS:
        raise TeacherError(
            f"{NOT_EXPRESSED}: the filter of its resize, {FILTER_NAMES.get(number, number)}, has no antialiased form "
            "in torch."
        )
    return FILTERS[number]


ADAPTERS.register("transformers", title="image models of transformers")(Adapter(matches, adapt, about))
