"""The names of augmentations; what their operations do is in `nn.augment`, and what mixes do in `nn.views`."""

from hf_dd.errors import ConfigError, require_known

STRATEGY = ("color", "crop", "cutout", "flip", "scale", "rotate")
MIXES = ("none", "cutmix", "mixup")


def parse_strategy(text: str | None) -> tuple[str, ...]:
    """The operations in a name such as "color_crop_flip", in its order; () for "none" and for "", all for None.

    Raises ConfigError for an operation that isn't in STRATEGY, or that comes twice.
    """
    if text is None:
        return STRATEGY
    if text in ("", "none"):
        return ()
    operations = tuple(text.split("_"))
    for operation in operations:
        require_known("augmentation", operation, STRATEGY)
    if len(set(operations)) < len(operations):
        raise ConfigError(f"an augmentation comes twice in '{text}'")
    return operations
