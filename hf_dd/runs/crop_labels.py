"""Labels of crops of a set's training images: made with the set, or for one that is there already."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from hf_dd.artefacts.crop_label_files import CropLabelling
from hf_dd.artefacts.distilled_folder import Artefact, load_distilled
from hf_dd.artefacts.set_records import SetRecord
from hf_dd.config import EvaluateConfig
from hf_dd.config.labels import CropLabelConfig
from hf_dd.core import files
from hf_dd.core.layout import RECORD
from hf_dd.core.precision import Autocast
from hf_dd.core.processes import by_main_process
from hf_dd.data.image_data import ImageData
from hf_dd.errors import ConfigError
from hf_dd.evaluation.online_teachers import recorded, reloaded
from hf_dd.evaluation.protocols import Protocol
from hf_dd.nn.views import Views
from hf_dd.teachers.crop_labels import label_crops
from hf_dd.teachers.feature_cache import FeatureMemory
from hf_dd.teachers.pins import specs_of
from hf_dd.teachers.pool import TeacherPool
from hf_dd.training import flips


def views_of(config: CropLabelConfig, data: ImageData, autocast: Autocast) -> Views:
    """The views that are labelled: mirrored where the data say that a mirrored image is one of its class.

    Every process has to call it, with the data on the device to train on.
    """
    return Views(
        scale=(config.soft_label_crop, 1.0) if config.soft_label_crop < 1 else None,
        flip=config.published or not flips.flip_test(data, autocast).hurts,
        mix=config.soft_label_mix,
    )


def labelling(
    config: CropLabelConfig, pool: TeacherPool, data: ImageData, images: Tensor, views: Views, device: torch.device
) -> CropLabelling:
    """What teachers say of views of images (N, channels, height, width), floats in [0, 1] space; see `label_crops`."""
    numbers = (config.soft_label_views, config.soft_label_topk, config.seed)
    labels = label_crops(pool, data.class_names, images, views, *numbers, device)
    return CropLabelling(labels, views, config.seed, pool.specs)


def label_sets(
    config: EvaluateConfig, records: Sequence[dict[str, Any]], data: ImageData, accelerator: Accelerator
) -> bool:
    """Store labels of crops with each of the sets that has none, by `--eval_teachers` or those that it was made with.

    Whether there were such sets. Raises ConfigError for one that is no folder of this machine, or was made without
    teachers, DataError for one of other classes, TeacherError for teachers that can't label it.
    """
    missing = {}
    for reference, record in zip(config.sets, records, strict=True):
        if not record.get("crop_labels"):
            if not (Path(reference) / RECORD).is_file():
                raise ConfigError(
                    f"--soft_labels crops stores labels with a set in a folder, and {reference} is none: download it "
                    "first."
                )
            missing[reference] = record
    views = views_of(config, data, accelerator.autocast) if missing else None
    memory = FeatureMemory(data, "float32", accelerator)
    for reference, record in missing.items():
        if config.eval_teachers:
            pool = TeacherPool.from_references(config.eval_teachers, trusted=config.trusted_teachers)
        else:
            pool = reloaded(recorded(reference, record), memory, config.trusted_teachers)

        @files.claimed(Path(reference))
        def store(reference: str = reference, pool: TeacherPool = pool) -> None:
            name, own, _ = load_distilled(reference)
            data.require_classes(own.class_names, name)
            found = labelling(config, pool, data, own.pixel_values, views, accelerator.device)
            Artefact.open(reference).with_crop_labels(found)

        by_main_process(store)
    return bool(missing)


def labelled_again(record: SetRecord) -> dict[str, Any]:
    """The options by which an evaluation stores the labels of crops that were stored with a set once it was there."""
    about = record.crop_labels
    if about is None or record.settings.get("soft_labels") == "crops":
        return {}
    return {
        "soft_labels": "crops",
        "soft_label_views": about["views"],
        "soft_label_topk": about["topk"],
        "soft_label_crop": about["crop"][0],
        "soft_label_mix": about["mix"],
        "seed": about["seed"],
        "eval_teachers": [spec.reference for spec in specs_of(about["teachers"])],
    }


def who_labelled(record: dict[str, Any]) -> dict[str, Any]:
    """The teachers of a set's labels of crops, as a record has `teachers`; nothing where it has no such labels."""
    return {"teachers": record["crop_labels"]["teachers"]} if record.get("crop_labels") else {}


def with_views_of(protocol: Protocol, records: Sequence[dict[str, Any]]) -> Protocol:
    """A protocol of stored labels with the views of the first set that has some, which real images are seen in too."""
    about = next((record["crop_labels"] for record in records if record.get("crop_labels")), None)
    if protocol.labels != "crops" or about is None:
        return protocol
    scale, ratio = tuple(about["crop"]) if about["crop"][0] < 1 else None, tuple(about["ratio"])
    flip = about["flip"] or not protocol.flips  # where these are left out anyway
    views = Views(scale, ratio, flip=flip, mix=about["mix"], alpha=about["mix_alpha"], each=True)
    return protocol.with_changes(views=views, flips=about["flip"] or protocol.flips)
