"""The data sets of the literature by the names that it calls them, and the constants that its code divides by."""

from typing import NamedTuple

from hf_dd.config.base import slug


class Statistics(NamedTuple):
    """Per channel, of images in [0, 1] space, of a data set of so many classes."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: int


# The constants of the code of DC, DSA, DM, MTT and most that came after. Not all are those of the data: CIFAR-10's std
# is the mean over images of each image's std, and Tiny-ImageNet has ImageNet's.
IMAGENET = Statistics((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 1000)
STATISTICS = {
    "mnist": Statistics((0.1307,), (0.3081,), 10),
    "fashion-mnist": Statistics((0.2861,), (0.3530,), 10),
    "svhn": Statistics((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970), 10),
    "cifar10": Statistics((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010), 10),
    "cifar100": Statistics((0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762), 100),
    "tiny-imagenet": IMAGENET._replace(classes=200),
    "imagenet-1k": IMAGENET,
}
NORMALISED_BY = {  # what protocols normalise images of three channels by, whatever the data set
    "imagenet": IMAGENET,
    "cifar10": STATISTICS["cifar10"],
    "cifar100": Statistics((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761), 100),  # G-VBSM's code and EDC's
}
OTHERWISE = {"imagenet": "imagenet-1k", "tinyimagenet200": "tiny-imagenet", "imagenet2012": "imagenet-1k"}
_BY_LETTERS = {name.replace("-", ""): name for name in STATISTICS} | OTHERWISE


def known_name(reference: str) -> str | None:
    """What the literature calls the data set of a reference, told from its last part; None for any other.

    `uoft-cs/cifar10@main`, `/data/CIFAR-10` and `cifar10` are all `cifar10`.
    """
    return _BY_LETTERS.get(slug(reference).replace("-", ""))
