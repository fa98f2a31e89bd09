"""Labels of crops of a set's training images: made with the set, or for one that is there already."""

import torch
from torch import Tensor

from hf_dd.artefacts.crop_label_files import CropLabelling
from hf_dd.config.labels import CropLabelConfig
from hf_dd.core.precision import Autocast
from hf_dd.data.image_data import ImageData
from hf_dd.nn.views import Views
from hf_dd.teachers.crop_labels import label_crops
from hf_dd.teachers.pool import TeacherPool
from hf_dd.training import flips


def views_of(config: CropLabelConfig, data: ImageData, autocast: Autocast) -> Views:
    """The views that are labelled: mirrored where the data say that a mirrored image is one of its class.

    Every process has to call it, with the data on the device to train on.
    """
    published = getattr(config, "published", False)
    return Views(
        scale=(config.soft_label_crop, 1.0) if config.soft_label_crop < 1 else None,
        flip=published or flips.augmentation(data, ["flip"], autocast) == "flip",
        mix=config.soft_label_mix,
    )


def labelling(
    config: CropLabelConfig, pool: TeacherPool, data: ImageData, images: Tensor, views: Views, device: torch.device
) -> CropLabelling:
    """What teachers say of views of images (N, channels, height, width), floats in [0, 1] space; see `label_crops`."""
    numbers = (config.soft_label_views, config.soft_label_topk, config.seed)
    labels = label_crops(pool, data.class_names, images, views, *numbers, device)
    return CropLabelling(labels, views, config.seed, pool.specs)
