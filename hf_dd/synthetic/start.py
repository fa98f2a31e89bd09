"""What the synthetic images start from: noise, real images that are drawn, or real images that are chosen."""

import torch

from hf_dd.config import DistillConfig
from hf_dd.data.image_data import ImageData
from hf_dd.synthetic import coresets
from hf_dd.synthetic.coresets import Autocast
from hf_dd.synthetic.patches import PatchOptions, realistic_images, realistic_patches
from hf_dd.synthetic.synthetic_set import SyntheticSet
from hf_dd.teachers.pool import TeacherPool


def initial_set(
    config: DistillConfig,
    init: str,
    data: ImageData,
    autocast: Autocast,
    pool: TeacherPool | None = None,
    patches: PatchOptions | None = None,
) -> SyntheticSet:
    """The set that a run starts from, on the CPU, in the run's dtype; `init` is `--init` or the objective's own.

    Where `--factor` asks for tiles, factor² images are chosen for each stored one. `pool` chooses for 'rded' (by
    `patches`, or its paper's options if None) and 'teacher-score'. Raises DataError where a class has
    too few real images, TeacherError where a teacher doesn't know the classes.
    """
    dtype = getattr(torch, config.dtype)
    ipc = config.ipc * config.factor**2
    if init == "rded":
        images = realistic_patches(data, pool, ipc, config.seed, patches or PatchOptions(), dtype, autocast)
        return SyntheticSet.of_images(images, data, dtype, config.factor)
    if init == "teacher-score":
        chosen = realistic_images(data, pool, ipc, dtype, autocast)
    elif init in coresets.METHODS:
        epochs = {} if config.selection_epochs is None else {"epochs": config.selection_epochs}
        chosen = coresets.select(data, init, ipc, config.seed, autocast=autocast, **epochs)
    else:
        return SyntheticSet.initial(data, config.ipc, init, config.seed, dtype, config.factor)
    return SyntheticSet.of_images(data.train.images[chosen.to(data.device)], data, dtype, config.factor)
