"""The names of augmentations; what their operations do is in `nn.augment`, and what mixes do in `nn.views`."""

from hf_dd.errors import ConfigError, require_known

STRATEGY = ("color", "crop", "cutout", "flip", "scale", "rotate")
SIAMESE = "_".join(STRATEGY)  # all of them, as papers and protocols have it
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


def parse_mix(text: str) -> tuple[str, float]:
    """A mix, of MIXES, and the probability that a batch is mixed: "cutmix", "cutmix=0.5", "none".

    Raises ConfigError for an unknown mix, or a probability that isn't in (0, 1].
    """
    name, given, share = text.partition("=")
    require_known("mix", name, MIXES)
    try:
        probability = float(share) if given else 1.0
    except ValueError:
        probability = 0.0
    if not 0 < probability <= 1 or (given and name == "none"):
        raise ConfigError(f"'{text}' is no mix: it is none, or as in cutmix, cutmix=0.5, by a probability up to 1")
    return name, probability
