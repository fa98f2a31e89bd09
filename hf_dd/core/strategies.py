"""The names of augmentations; what their operations do is in `nn.augment`, and what mixes do in `nn.views`."""

from hf_dd.errors import ConfigError, require_known

STRATEGY = ("color", "crop", "cutout", "flip", "scale", "rotate")
MIXES = ("none", "cutmix", "mixup")
COMPOSITE = "composite"  # before operations that are taken together, not one of them


def parse_strategy(text: str | None) -> tuple[str, ...]:
    """The operations in a name such as "color_crop_flip", in its order; () for "none" and for "", all for None.

    One of them is taken for an image; of "composite_color_crop_cutout" all are, see `nn.augment`. Raises ConfigError
    for an operation that isn't in STRATEGY, or that comes twice, and for a composite of none.
    """
    if text is None:
        return STRATEGY
    if text in ("", "none"):
        return ()
    operations = tuple(text.split("_"))
    if operations == (COMPOSITE,):
        raise ConfigError(f"'{text}' names no operation: it is followed by some, as in composite_color_crop_cutout")
    for operation in operations[1:] if operations[0] == COMPOSITE else operations:
        require_known("augmentation", operation, STRATEGY)
    if len(set(operations)) < len(operations):
        raise ConfigError(f"an augmentation comes twice in '{text}'")
    return operations
