"""What an evaluation is of and on: sets, their records, and the real images that students are tested on."""

import dataclasses
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from hf_dd import hub
from hf_dd.artefacts import distilled_folder
from hf_dd.config import DataConfig, EvaluateConfig
from hf_dd.config.base import named, part
from hf_dd.data.image_data import ImageData, load_data
from hf_dd.errors import ConfigError, DataError
from hf_dd.nn.whitening import Whitening
from hf_dd.runs.crop_labels import label_sets
from hf_dd.runs.foreign import brought_in, is_foreign
from hf_dd.synthetic.distilled_set import DistilledSet

SEEN = ("statistics", "zca")  # options of how networks see images
TESTED = ("test_split", "test_share", "test_resize")  # options of which images are tested, and how they are read


def sets_and_data(
    config: EvaluateConfig, crops: bool, accelerator: Accelerator
) -> tuple[list[tuple[str, DistilledSet, dict[str, Any]]], ImageData]:
    """Name, content and record of each set, those of others brought into our form, and what they are tested on.

    No two names are alike. With `crops` stored labels of crops are read too; where they are asked for, they are made
    first.
    """
    names = names_of(config.sets)
    foreign = [is_foreign(reference) for reference in config.sets]

    def opened() -> list[tuple[str, DistilledSet, dict[str, Any]] | None]:
        found = []
        for reference, name, other in zip(config.sets, names, foreign, strict=True):
            found.append(None if other else (name, *distilled_folder.load_distilled(reference, crops)[1:]))
        return found

    own = opened()
    if any(foreign) and not config.dataset:
        raise ConfigError(
            f"{config.sets[foreign.index(True)]} doesn't say what it was made from, as it isn't a set of hf-dd: name "
            "its data set by --dataset."
        )
    source = source_of(config, config.sets[0], own[0][2] if own[0] else {})
    data = load_data(source, whitening_of(config, [each for each in own if each])).to(accelerator.device)
    records_of = [each[2] if each else {} for each in own]
    for name, record in zip(names, records_of, strict=True):
        require_unseen(name, record, data, source)
    if config.soft_labels == "crops" and label_sets(config, records_of, data, accelerator):
        own = opened()
    sets = []
    for reference, name, each in zip(config.sets, names, own, strict=True):
        sets.append(each or (name, *brought_in(reference, config, data, accelerator.device)[1:]))
    return sets, data


def names_of(references: Sequence[str]) -> list[str]:
    """What to call each set: by its place's name, with as many folders above it as tell those of one name apart.

    Raises ConfigError for a set that is named twice, HubError for a repository that is out of reach.
    """
    places = [hub.find(reference, "dataset") for reference in references]
    repositories = [place.path for place in places if place and not place.local]
    names, found = [], {}
    for reference, place in zip(references, places, strict=True):
        if place is None:  # which its reader will tell
            names.append(reference)
            continue
        own = str(Path(place.path).resolve()) if place.local else place.path
        if repositories.count(own) > 1:  # at several revisions, which may be of one commit
            own = place.pin.reference
        if own in found:
            twice = " and ".join(dict.fromkeys((found[own], reference)))
            raise ConfigError(f"{twice}: that is one set, named twice. Name each set once.")
        found[own] = reference
        names.append(place.name)
    folders = [Path(place.path).resolve().parts if place and place.local else () for place in places]
    alike = [[other for other, each in zip(folders, names, strict=True) if each == name and other] for name in names]
    for index, (own, others) in enumerate(zip(folders, alike, strict=True)):
        depth = next(depth for depth in count(1) if len({each[-depth:] for each in others}) == len(others))
        names[index] = Path(*own[-depth:]).as_posix() if depth > 1 else names[index]
    return names


def own_learning_rate(name: str, record: dict[str, Any]) -> float | None:
    """The learning rate that a set's record gives, learned with its images; raises DataError for what is none."""
    rate = record.get("learning_rate")
    if rate is None or (isinstance(rate, (int, float)) and 0 < rate < float("inf")):
        return rate
    raise DataError(f"The record of {name} gives a learning rate of {rate!r}; it has to be a finite number above 0.")


def source_of(config: DataConfig, reference: str, record: dict[str, Any]) -> DataConfig:
    """The data set to test on: the one the options name, else the one that the set's record names, at its commit.

    Options of how it is read go before those of the record where they are given. Raises ConfigError where neither
    names one, for the set of this reference.
    """
    given = {key: value for key, value in part(config, DataConfig).items() if value not in (None, "")}
    settings = record.get("settings", {})
    seen = {key: settings[key] for key in SEEN if settings.get(key) is not None}  # a matter of the set
    if config.dataset:
        return DataConfig(**seen | given)
    if not record:
        raise ConfigError(f"{reference} doesn't say what it was made from: name its data set by --dataset.")
    made_from = {key: value for key in named(config, "data") if (value := settings.get(key)) is not None}
    # What is tested is said in one of two ways, and a share is read as the training images are.
    anew = TESTED if "test_share" in given else ("test_split", "test_share") if "test_split" in given else ()
    made_from = {key: value for key, value in made_from.items() if key not in anew}
    return DataConfig(**{"dataset": record["data"]["reference"]} | made_from | given)


def require_unseen(name: str, record: dict[str, Any], data: ImageData, read: DataConfig) -> None:
    """Raise DataError for a set that was made of images that it would be tested on, or of all that there are.

    Larger shares of a data set hold what smaller ones do, and more. Data are the same by their name, as what a share
    leaves is another set, and elsewhere images are decoded otherwise; or by their images, as a copy has another name.
    """
    if not record or (data.test is not None and read.test_share is None):
        return
    about, settings = record.get("data") or {}, record.get("settings") or {}
    held, asked = settings.get("test_share") or 0, read.test_share or 0
    if 0 < asked <= held:
        return
    if (about.get("name"), settings.get("train_split", read.train_split)) != (data.name, read.train_split):
        as_made = dataclasses.replace(read, test_share=held or None, statistics=None, zca=None)
        if load_data(as_made).fingerprint != about.get("fingerprint"):
            return
    if held:
        raise DataError(
            f"{name} was made of the images of {data.name} that a share of {held:g} left, and can be tested on those "
            f"alone that it held out: give --test_share {held:g}."
        )
    if asked:
        raise DataError(
            f"{name} was made of images of {data.name} that --test_share {asked:g} would test on: distil it anew with "
            "that option, or name a test split by --test_split."
        )
    raise DataError(
        f"{name} was made of all images of {data.name}, which has no test split: distil it anew with --test_share "
        "0.2, which holds out images of each class, or name others by --test_split."
    )


def read_otherwise(config: EvaluateConfig, data: ImageData, record: dict[str, Any], first: dict[str, Any]) -> str:
    """By which options a set was tested otherwise than its record says, "" where it wasn't.

    Args:
        config: of the evaluation.
        data: that was read.
        record: of the set; an empty one says nothing.
        first: of the first set, which the data were read by.
    """
    if not record:
        return ""
    read, settings = vars(source_of(config, config.sets[0], first)), record.get("settings", {})
    options = {name: read[name] for name in (*TESTED, *SEEN) if read[name] != settings.get(name)}
    if record["data"]["fingerprint"] not in (None, data.fingerprint):
        options = {"dataset": data.repo_id or data.name} | options
    return ", ".join(f"no --{name}" if value is None else f"--{name} {value}" for name, value in options.items())


def whitening_of(config: EvaluateConfig, sets: Sequence[tuple[str, DistilledSet, dict[str, Any]]]) -> Whitening | None:
    """The whitening of the first set, if any; raises DataError where others see images otherwise, unless told how."""
    if not sets:
        return None
    name, first, record = sets[0]
    for other, distilled, of_other in sets[1:]:
        kinds = [bool(each.whitening) for each in (first, distilled)]
        if config.zca is None and kinds[0] != kinds[1]:
            whitened, plain = (name, other) if kinds[0] else (other, name)
            raise DataError(
                f"{whitened} was made of whitened images (ZCA) and {plain} wasn't, and all students of a comparison "
                "see images alike: say how by --zca true or --zca false, or compare them apart."
            )
        known = [each.get("data", {}).get("statistics") for each in (record, of_other)]
        kinds = [f"the constants of {each}" if each else "their own statistics" for each in known]
        if config.statistics is None and not first.whitening and kinds[0] != kinds[1]:
            raise DataError(
                f"{name} was made of images normalised by {kinds[0]} and {other} by {kinds[1]}, and all students of a "
                "comparison see images alike: say how by --statistics own or --statistics published."
            )
    return first.whitening
