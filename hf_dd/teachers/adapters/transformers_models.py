"""transformers' image models: classifiers, bare encoders, backbones, and the image towers of CLIP and its kind."""

import contextlib
import copy
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn

from hf_dd.core import tensors
from hf_dd.core.registry import ADAPTERS
from hf_dd.errors import RunError, TeacherError, one_line, some
from hf_dd.nn.input_transform import InputTransform
from hf_dd.teachers.adapters.base import (
    NOT_EXPRESSED,
    Adapted,
    Adapter,
    described,
    per_channel,
    require_same_preparation,
    require_statistics,
    trained_on,
)

# By PIL's numbers; the others have no antialiased form in torch.
FILTERS = {0: "nearest-exact", 2: "bilinear", 3: "bicubic"}
FILTER_NAMES = {1: "lanczos", 4: "box", 5: "hamming"}
TWO_HEADS = ("cls_logits", "distillation_logits", "distill_logits")  # in the outputs of models that have two
KNOWN_STEPS = {"do_convert_rgb", "do_resize", "do_center_crop", "do_rescale", "do_normalize"}
# Methods that a processor may have its own of.
STEPS = ("_preprocess", "resize", "center_crop", "rescale_and_normalize")
# What transformers raises of odd configurations: they are validated by chance.
MISMADE = (OSError, ValueError, RuntimeError, TypeError, LookupError, AttributeError, AssertionError, ImportError)
MISMADE += (ArithmeticError, RecursionError, NotImplementedError, StrictDataclassError)
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
        self.image_size = getattr(model.config, "image_size", None)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, (N, classes); of a model without a head its features."""
        features = self.features(images)
        return features if self.head is None else self.head(features)

    def features(self, images: Tensor) -> Tensor:
        """What the classifier gets, else the pooled output, the first token or the mean over places: (N, features)."""
        if self.head is not None:  # of a classifier whose last layers are identities
            output = self.model(pixel_values=images)
            both = [value for name in TWO_HEADS if (value := getattr(output, name, None)) is not None]
            return torch.cat(both, 1) if both else output.logits.flatten(1)
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

    if not trusted and (kernels := foreign_kernels(config)):
        raise TeacherError(f"its config.json asks for code of others ({kernels}), which isn't run.")
    allowed = {"trust_remote_code": trusted, "local_files_only": True}
    try:
        with only_errors():
            settings = transformers.AutoConfig.from_pretrained(folder, **allowed)
    except MISMADE as error:
        raise TeacherError(f"transformers can't read its config.json: {one_line(error)}") from error
    auto = auto_class(settings)
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(folder, **allowed)
    except MISMADE as error:
        raise TeacherError(
            "how its images are made isn't known: it has no preprocessor_config.json that transformers can read "
            f"({one_line(error)}). Save its image processor beside it (`save_pretrained`)."
        ) from error
    try:
        transform = transform_of(processor, getattr(settings, "num_channels", None))
    except MISMADE as error:
        raise TeacherError(
            f"{NOT_EXPRESSED}: an option of its preprocessor_config.json isn't what {type(processor).__name__} takes "
            f"({type(error).__name__}: {one_line(error)})."
        ) from error
    if weights := sorted(folder.glob("*.safetensors")):
        require_no_larger(auto, settings, weights)
    model = load_whole(auto, folder, allowed | {"use_safetensors": None if trusted else True})
    names, head = None, None
    if auto is transformers.AutoModelForImageClassification:
        head = take_head(model, settings.num_labels)
        names = [settings.id2label.get(index) for index in range(settings.num_labels)]
        if not all(isinstance(name, str | int) for name in names):
            raise TeacherError(f"id2label of its config.json has to name the classes 0 … {len(names) - 1} by texts.")
        names = list(map(str, names))
    return Adapted(ImageTower(model, head), transform, names, about(folder, config))


def foreign_kernels(config: Any) -> str | None:
    """The repository whose compiled code a configuration would have its attention made by, if any."""
    if isinstance(config, dict):
        for key, value in config.items():
            if key.endswith("attn_implementation") and "/" in str(value):
                return str(value)
            if found := foreign_kernels(value):
                return found
    return None


def require_no_larger(auto: type, settings: Any, weights: Sequence[Path]) -> None:
    """Raise TeacherError where a configuration describes a larger network than its weights, or none at all.

    Their names can't be compared, as transformers renames tensors of older files; what lacks shows at loading.
    """
    build = getattr(auto, "from_config", auto)  # AutoBackbone's classes take a configuration themselves
    try:
        forms = {f"{path.name} {name}": form for path in weights for name, form in tensors.declared(path).items()}
        with only_errors():
            outline = tensors.outlined(lambda: build(copy.deepcopy(settings)), forms)
    except RunError as error:
        raise TeacherError(str(error)) from error
    except MISMADE as error:
        raise TeacherError(
            f"its config.json describes no network: {type(error).__name__}: {one_line(error)}"
        ) from error
    own = {name: tensors.form_of(value) for name, value in outline.named_parameters() if "pooler" not in name}
    if odd := tensors.unlike(own, forms):
        raise TeacherError(f"its weights don't fit its config.json: {some(odd)}.")
    asked, there = map(tensors.numbers_in, (own, forms))
    if asked > there:
        raise TeacherError(
            f"its config.json describes a network of {asked:,} floating numbers, but its weights are {there:,}: "
            "they don't fit."
        )


def about(folder: Path, config: dict) -> dict[str, Any]:
    """What its files say of it; raises TeacherError where they are of no image model."""
    import transformers

    if config["model_type"] in transformers.CONFIG_MAPPING:  # the others are built by code of their own
        try:
            settings = transformers.CONFIG_MAPPING[config["model_type"]].from_dict(config)
        except MISMADE as error:
            raise TeacherError(f"transformers can't read its config.json: {one_line(error)}") from error
        auto_class(settings)
    return described(str(config["model_type"]), trained_on(folder))


def auto_class(settings: Any) -> type:
    """The class of transformers that builds what a configuration describes; raises TeacherError for no image model."""
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING, MODEL_MAPPING

    written = getattr(settings, "architectures", None) or []
    if not isinstance(written, list) or not all(isinstance(name, str) for name in written):
        raise TeacherError(f"architectures of its config.json is {written!r:.80}, no list of names.")
    written = " ".join(written)
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
                    str(folder),
                    output_loading_info=True,
                    ignore_mismatched_sizes=True,  # they are named below
                    dtype=torch.float32,
                    **options,
                    **more,
                )
        except MISMADE as error:
            raise TeacherError(f"transformers can't load it: {one_line(error)}") from error

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
    """Take the last linear layer out of a classifier, leaving an identity; raises TeacherError if it isn't clear.

    Of one with two heads, the second of a token for distillation (DeiT, LeViT), the mean counts, as in the library:
    then the layer is that mean, on the features of both.
    """
    encoder = f"{model.base_model_prefix}."
    names = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == classes and not name.startswith(encoder)
    ]
    if len(names) != 1 + type(model).__name__.endswith("WithTeacher"):
        raise TeacherError(
            f"which layer of {type(model).__name__} classifies isn't clear: {len(names)} have {classes} outputs "
            f"({', '.join(names) or 'none'})."
        )
    heads = [model.get_submodule(name) for name in names]
    for name in names:
        model.set_submodule(name, nn.Identity())
    if len(heads) == 1:
        return heads[0]
    mean = nn.Linear(sum(head.in_features for head in heads), classes)
    mean.weight.data = torch.cat([head.weight.data for head in heads], 1) / 2
    mean.bias.data = sum(head.bias.data for head in heads) / 2
    return mean


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
    scale = 255.0
    if "do_rescale" in steps:
        scale *= processor.rescale_factor
        if not 0 < scale < math.inf:
            raise TeacherError(f"{NOT_EXPRESSED}: its rescale_factor is {processor.rescale_factor}.")
    channels = channels or (len(processor.image_mean) if "do_normalize" in steps else 3)
    mean, std = (0.0,) * channels, (1.0,) * channels
    if "do_normalize" in steps:
        mean, std = (per_channel(values, channels) for values in (processor.image_mean, processor.image_std))
    require_statistics(mean, std, channels)
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
