"""timm's models as students: any by its name, untrained, for small images."""

import torch
from torch import nn

from hf_dd.core.seeding import isolated_rng
from hf_dd.errors import ConfigError, first_line, nearest_first

PREFIX = "timm/"


def build_timm(
    architecture: str, *, in_channels: int, num_classes: int, image_size: list[int], seed: int
) -> nn.Module:
    """The timm model `timm/NAME`, freshly drawn on that seed, on the CPU, for images of this (height, width).

    Raises ConfigError for a name that timm doesn't know, and for a model that can't take images of this size.
    """
    import timm

    name = architecture.removeprefix(PREFIX)
    if not timm.is_model(name):
        near = nearest_first(name, timm.list_models())[:3]
        raise ConfigError(f"timm has no model {name!r}; near are: {', '.join(PREFIX + other for other in near)}.")
    shape = {"pretrained": False, "in_chans": in_channels, "num_classes": num_classes}
    with isolated_rng(seed, "init"):
        try:
            try:
                model = timm.create_model(name, img_size=tuple(image_size), **shape)
            except TypeError:  # most convolutional models take any size
                model = timm.create_model(name, **shape)
            with torch.no_grad():
                model.eval()(torch.zeros(1, in_channels, *image_size))
        except (RuntimeError, AssertionError, ValueError) as error:
            size = "×".join(map(str, image_size))
            raise ConfigError(f"{architecture} takes no images of {size}: {first_line(error)}") from error
    return model.train()
