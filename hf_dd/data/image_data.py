"""A pinned image-classification data set as device tensors: statistics, class index, normalisation, sampling."""

import dataclasses
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from hf_dd.config import DataConfig
from hf_dd.config.known_data import STATISTICS
from hf_dd.core import cache
from hf_dd.core.alone import undisturbed
from hf_dd.core.progress import over, say
from hf_dd.data.batches import Images, in_blocks, in_unit_range
from hf_dd.data.sources import read_source
from hf_dd.data.splits import Split, by_class, fingerprint, labelling
from hf_dd.data.test_share import with_test_share
from hf_dd.data.whitening import fitted
from hf_dd.errors import ConfigError, DataError, some
from hf_dd.nn.whitening import Whitening

__all__ = ["ImageData", "Split", "load_data"]

PUBLISHED_NEAR = 0.01  # how far a published mean may be from the data's
STD_FLOOR = 1 / 255  # one grey level: what a constant channel is divided by


@dataclass(frozen=True, eq=False)
class ImageData:
    """An image-classification data set, with what a card has to say about where it came from.

    Attributes:
        name: what to call it: "digits", "Fashion-MNIST", the repository id or the folder's name.
        reference: what was asked for, as in `DataConfig.dataset`.
        repo_id, revision, sha: the pin of a data set from the Hub; None for every other.
        license: an SPDX-like id as the Hub writes it, or "unknown".
        class_names: the name of class i at place i.
        train, test: the splits; `test` is None where there is none.
        mean, std: per channel, of the training pixels in [0, 1], std at least 1/255; or the constants of `statistics`.
        fingerprint: 32 hex digits over the training pixels, labels and class names.
        class_index: per class, the int64 indices of its training images, ascending.
        notes: what was done to the images when they were read, in sentences.
        statistics: the data set of the literature whose constants `mean` and `std` are; None where they are its own.
        whitening: what networks see the images through instead, or None.
        test_split: what `test` is called where it came from.
        test_resize: the pixels that the shorter side of a test image had before its centre was cut out; None where
            test images were read as training images.
        test_share: the share of the training images that `test` was made of; None where it was a split.
    """

    name: str
    reference: str
    repo_id: str | None
    revision: str | None
    sha: str | None
    license: str
    class_names: list[str]
    train: Split
    test: Split | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fingerprint: str
    class_index: list[Tensor]
    notes: tuple[str, ...] = ()
    statistics: str | None = None
    whitening: Whitening | None = None
    test_split: str = "test"
    test_resize: int | None = None
    test_share: float | None = None

    @property
    def pinned(self) -> str | None:
        """The repository at its commit; None where it is none of the Hub."""
        return f"{self.repo_id}@{self.sha}" if self.sha else None

    @property
    def channels(self) -> int:
        """1 (grey) or 3 (RGB)."""
        return self.train.images.shape[1]

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        height, width = self.train.images.shape[2:]
        return height, width

    @property
    def num_classes(self) -> int:
        """How many classes there are; labels are 0 … num_classes - 1."""
        return len(self.class_names)

    @property
    def network_shape(self) -> dict[str, int | list[int]]:
        """What `networks.build` has to know of the data: channels, classes, image size."""
        return {"in_channels": self.channels, "num_classes": self.num_classes, "image_size": list(self.image_size)}

    @property
    def device(self) -> torch.device:
        """Where the images are."""
        return self.train.images.device

    @property
    def seen_as(self) -> str:
        """The fingerprint, and how the images are normalised, unless that is by their own mean and std."""
        whitening = f"-zca{self.whitening.epsilon:g}" if self.whitening else ""
        return f"{self.fingerprint}{f'-{self.statistics}' if self.statistics else ''}{whitening}"

    @cached_property
    def tested_on(self) -> str:
        """As `fingerprint`, of the test split: other images may have the same labels in the same order."""
        return facts_of(self.test, self.class_names)["fingerprint"]

    def normalise(self, images: Tensor) -> Tensor:
        """(images - mean) / std of N×C×H×W (or C×H×W) images, or whitened, on the images' device, differentiable.

        Whole numbers are read as 0 … 255 and become float32; floats are read as [0, 1] and keep their dtype.
        """
        images = in_unit_range(images)
        if self.whitening:
            return self.whitening.whiten(images)
        mean, std = self._mean_and_std(images.dtype, images.device)
        return (images - mean) / std

    def own_space(self, images: Tensor) -> Tensor:
        """Normalised floating images (N×C×H×W) in their own [0, 1] space again, not clipped."""
        if self.whitening:
            return self.whitening.colour(images)
        mean, std = self._mean_and_std(images.dtype, images.device)
        return images * std + mean

    def _mean_and_std(self, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
        """Both as C×1×1, copied to a device once: a copy in every step would wait for it."""
        if (dtype, device) not in self._statistics:
            both = (torch.tensor(values, dtype=torch.float64).view(-1, 1, 1) for values in (self.mean, self.std))
            self._statistics[dtype, device] = tuple(values.to(dtype).to(device) for values in both)
        return self._statistics[dtype, device]

    @cached_property
    def _statistics(self) -> dict[tuple[torch.dtype, torch.device], tuple[Tensor, Tensor]]:
        return {}

    def sample_class(self, label: int, count: int, generator: torch.Generator) -> Tensor:
        """Indices into `train` of `count` images of a class: int64, on the data's device.

        Without replacement while the class has as many; beyond that, all of the class in one random order, cycled, so
        that no image comes twice more often than another.
        """
        members = self.class_index[label]
        order = torch.randperm(len(members), generator=generator, device=generator.device)
        places = order[torch.arange(count, device=order.device) % len(members)]
        return members[places.to(members.device)]

    def require_ipc(self, ipc: int | Sequence[int], factor: int = 1) -> None:
        """Raise DataError if a class has fewer training images than `ipc`, which may be a number for each class.

        With a factor factor² of them go into each stored image.
        """
        sizes, wanted = [len(members) for members in self.class_index], of_each_class(ipc, self.num_classes)
        worst = min(range(self.num_classes), key=lambda label: sizes[label] - factor**2 * wanted[label])
        size, asked = sizes[worst], wanted[worst]
        if size < factor**2 * asked:
            most = f"the largest ipc possible is {size // factor**2}"
            if size < factor**2:
                most = f"the largest --factor possible is {math.isqrt(size)}"
            tiles = f" of {factor**2} tiles each" if factor > 1 else ""
            raise DataError(
                f"Class {self.class_names[worst]!r} of {self.name} has {size} training images, and ipc is {asked}"
                f"{tiles}: {most}."
            )

    def require_classes(self, class_names: Sequence[str], name: str) -> None:
        """Raise DataError if a set has other classes, or in another order; `name` is what to call it."""
        if list(class_names) != self.class_names:
            first = len(os.path.commonprefix([list(class_names), self.class_names]))
            raise DataError(
                f"{name} has the classes {some(class_names)}, but {self.name} has {some(self.class_names)}: an "
                f"evaluation needs the same classes in the same order, and class {first} is the first that differs. "
                "Name the right data set by --dataset."
            )

    def require_all_classes(self, labels: Tensor, name: str) -> None:
        """Raise DataError if a set of images with these labels has none of some class; `name` is what to call it."""
        present = set(labels.tolist())
        if missing := [class_name for label, class_name in enumerate(self.class_names) if label not in present]:
            raise DataError(
                f"{name} has no image of {len(missing)} of the {self.num_classes} classes of {self.name}: "
                f"{some(missing)}. A set of some of the classes needs a source of just those: name it by --dataset."
            )

    def to(self, device: torch.device | str) -> "ImageData":
        """The same data set with its splits and class index on `device`."""
        return dataclasses.replace(
            self,
            train=_on(self.train, device),
            test=None if self.test is None else _on(self.test, device),
            class_index=[members.to(device) for members in self.class_index],
        )


HOW_TO_TEST = (
    "name it by --test_split, hold out images of each class by --test_share 0.2, or put some of each below a folder "
    "test, the others below train"
)


def of_each_class(ipc: int | Sequence[int], num_classes: int) -> list[int]:
    """Images of each class: the same number of all, or each class's own."""
    return [ipc] * num_classes if isinstance(ipc, int) else list(ipc)


@undisturbed()
def load_data(config: Any, whitening: Whitening | None = None) -> ImageData:
    """Read the data set that a `DataConfig` names, onto the CPU; a reference or an object of `datasets` will do too.

    With its `zca` the images are seen through `whitening`, or if that is None through one that is fitted to them.
    Raises DataError where it can't be read or isn't a labelled image set, HubError where the Hub can't serve it,
    ConfigError where an option doesn't apply to it.
    """
    config = config if isinstance(config, DataConfig) else DataConfig(dataset=config)
    say("reading %s", config.dataset)
    if config.test_split == config.train_split:
        raise ConfigError(
            f"--test_split {config.test_split} is the training split: name another one, or leave it out."
        )
    source = read_source(config)
    if config.test_share is not None:
        source = with_test_share(source, config.test_share)
    require_differences(source.train.images, source.name)
    for note in source.notes:
        say("%s: %s", source.name, note)
    data = ImageData(
        name=source.name,
        reference=config.dataset,
        repo_id=source.pin and source.pin.repo_id,
        revision=source.pin and source.pin.revision,
        sha=source.pin and source.pin.sha,
        license=source.license,
        class_names=source.class_names,
        train=source.train,
        test=source.test,
        notes=source.notes,
        test_split=source.test_split,
        test_resize=config.test_resize if source.test else None,
        test_share=config.test_share,
        **facts_of(source.train, source.class_names),
    )
    return as_seen(data, config, whitening)


def as_seen(data: ImageData, config: DataConfig, whitening: Whitening | None = None) -> ImageData:
    """A data set as the options let networks see it, see `load_data`."""
    if config.statistics == "published":
        data = by_published(data)
    if config.zca:
        whitening = whitening or fitted(data.train.images, data.name, data.fingerprint)
        data = dataclasses.replace(data, whitening=whitening)
    return data


def by_published(data: ImageData) -> ImageData:
    """The data set, normalised by the constants of the literature's code; raises DataError where there are none."""
    fitting = [
        name
        for name, known in STATISTICS.items()
        if (known.classes, len(known.mean)) == (data.num_classes, data.channels)
        and all(abs(here - there) <= PUBLISHED_NEAR for here, there in zip(data.mean, known.mean, strict=True))
    ]
    if not fitting:
        raise DataError(
            f"--statistics published: {data.name} isn't one of the data sets that the literature's code has constants "
            f"for ({', '.join(STATISTICS)}), by its {data.num_classes} classes and the mean of its training images, "
            f"{tuple(round(value, 4) for value in data.mean)}. Normalise by their own: --statistics own."
        )
    name = fitting[0]
    mean, std, _ = STATISTICS[name]
    return dataclasses.replace(data, mean=mean, std=std, statistics=name)


def require_differences(images: Images, name: str) -> None:
    """Raise DataError where all images are alike: nothing can be learned from them."""
    first = next(iter(in_blocks(images)))[:1]
    if all(bool((block == first).all()) for block in in_blocks(images)):
        flat = f", each pixel {first.flatten()[0]} of 255" if len(first.unique()) == 1 else ""
        raise DataError(
            f"The {len(images)} training images of {name} are all alike when they are decoded{flat}: nothing can be "
            "learned from them. What is transparent was laid on white: look at the files, and save them without."
        )


def facts_of(split: Split, class_names: list[str]) -> dict[str, Any]:
    """`mean`, `std`, `fingerprint` and `class_index` of a split, see `ImageData`.

    But for the last they take a pass over all pixels: for a split that is too large for memory they are kept beside
    its file.
    """

    def compute() -> dict[str, Any]:
        mean, std = channel_statistics(split.images)
        return {"mean": mean, "std": std, "fingerprint": fingerprint(split, class_names)}

    if isinstance(split.images, Tensor):
        facts = compute()
    else:
        which = labelling(split.labels, class_names) + split.images.chosen
        path = split.images.path.with_suffix(f".{which}.json")
        facts = cache.remembered(path, compute)
    members = by_class(split.labels, len(class_names))
    return facts | {"mean": tuple(facts["mean"]), "std": tuple(facts["std"]), "class_index": members}


def channel_statistics(images: Images) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and (population) standard deviation per channel of uint8 N×C×H×W images, in [0, 1]; std ≥ 1/255.

    A channel is a histogram of 256 values, so its moments are sums of whole numbers: exact, whatever the size.
    """
    histograms = torch.zeros(images.shape[1], 256, dtype=torch.int64)
    for block in over(in_blocks(images), "mean and deviation", len(images), "image", len):
        for channel, histogram in zip(block.unbind(1), histograms, strict=True):
            histogram += torch.bincount(channel.flatten(), minlength=256).cpu()
    means, stds = [], []
    for histogram in histograms.tolist():
        count = sum(histogram)
        total = sum(value * times for value, times in enumerate(histogram))
        squares = sum(value**2 * times for value, times in enumerate(histogram))
        means.append(total / count / 255)
        stds.append(max((count * squares - total**2) ** 0.5 / count / 255, STD_FLOOR))
    return tuple(means), tuple(stds)


def _on(split: Split, device: torch.device | str) -> Split:
    return Split(split.images.to(device), split.labels.to(device))
