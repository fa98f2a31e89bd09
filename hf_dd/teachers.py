"""Pre-trained teachers: named by reference, by Hub tags or by a collection, resolved once to commits, loaded frozen.

A teacher's folder (a commit of its repository, or a local copy of one) holds `config.json`, `model.safetensors` and
`hf_dd.json`: how to build it, what it weighs, and where it comes from.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hf_dd import hub, networks
from hf_dd.errors import TeacherError

FILES = ("config.json", "model.safetensors", "hf_dd.json", "README.md")
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as PIL's conversion to grayscale


@dataclass(frozen=True)
class TeacherSpec:
    """What a card says of a teacher: where it lies, at which commit, and the four options of the paper.

    For a local teacher, `repo_id` is its folder and `sha` is `sha256:` and the digest of its weights.
    """

    repo_id: str
    revision: str
    sha: str
    architecture: str
    seed: int
    epoch: int
    dataset: str
    accuracy: float

    @property
    def reference(self) -> str:
        """What names exactly this teacher again: the repository at its commit, or the local folder."""
        return self.repo_id if self.sha.startswith("sha256:") else f"{self.repo_id}@{self.sha}"

    def __str__(self) -> str:
        return f"{self.repo_id}@{self.revision} ({self.sha.removeprefix('sha256:')[:8]})"


class Teacher(nn.Module):
    """A frozen network that takes images in [0, 1] space, whatever its own size, channels and statistics are.

    Attributes:
        spec: its place and its options.
        class_names: names of its classes, in the order of its logits.
    """

    def __init__(self, network: networks.Network, spec: TeacherSpec, config: dict):
        super().__init__()
        self.network = network
        self.spec = spec
        self.class_names: list[str] = config["class_names"]
        self.channels: int = config["in_channels"]
        self.image_size: tuple[int, int] = tuple(config["image_size"])
        self.register_buffer("mean", torch.tensor(config["mean"], dtype=torch.float64).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(config["std"], dtype=torch.float64).view(-1, 1, 1))
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "Teacher":
        """Stay in eval mode: a teacher's BatchNorm never follows the images it is shown."""
        return super().train(False)

    def adapt(self, images: Tensor) -> Tensor:
        """Bring images in [0, 1] space to the teacher's channels, size and statistics, differentiably.

        Grayscale is repeated to RGB, RGB is reduced by its luma (BT.601), another size is resampled bilinearly with
        antialiasing, as its own training images would have been.
        """
        if images.shape[1] != self.channels:
            if self.channels == 3:
                images = images.expand(-1, 3, -1, -1)
            else:
                weights = torch.tensor(LUMA, dtype=images.dtype, device=images.device).view(1, 3, 1, 1)
                images = (images * weights).sum(1, keepdim=True)
        if tuple(images.shape[-2:]) != self.image_size:
            images = F.interpolate(images, self.image_size, mode="bilinear", antialias=True, align_corners=False)
        return (images - self.mean.to(images.dtype)) / self.std.to(images.dtype)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, (N, classes of the teacher), of images (N, 1 or 3, height, width) in [0, 1] space."""
        return self.network(self.adapt(images))

    def features(self, images: Tensor) -> Tensor:
        """Flattened activations before the classifier, (N, features), of images in [0, 1] space."""
        return self.network.features(self.adapt(images))

    @property
    def bytes(self) -> int:
        """What its weights take as they are stored."""
        return sum(value.numel() * value.element_size() for value in self.network.state_dict().values())

    def logit_order(self, class_names: list[str]) -> list[int]:
        """For each of these classes the index of its logit; raises TeacherError where the label space differs."""
        if sorted(class_names) != sorted(self.class_names):
            missing = sorted(set(class_names) - set(self.class_names))
            extra = sorted(set(self.class_names) - set(class_names))
            raise TeacherError(
                f"The classes of {self.spec} aren't the data set's: it lacks {missing or 'none'} and has "
                f"{extra or 'none'} besides. What reads logits (--clom ce, soft labels, rded, sre2l) needs the data "
                "set's own label space. As a guide there is --clom cos, which takes any teacher."
            )
        return [self.class_names.index(name) for name in class_names]


def locate(reference: str) -> tuple[hub.Pin, Path]:
    """Find a teacher's files: a local folder where one is there by that name, else a commit of the Hub, pulled."""
    path, _, revision = reference.rpartition("@") if "@" in reference else (reference, "", "")
    if Path(path).is_dir():
        return locate_locally(Path(path), revision)
    if reference.count("/") != 1 or reference.startswith((".", "/", "~")):
        raise TeacherError(
            f"Teacher {reference}: there is no such folder, and it isn't of the form owner/name@revision."
        )
    pin = hub.resolve(reference)
    return pin, hub.pull(pin, files=FILES)


def locate_locally(folder: Path, revision: str) -> tuple[hub.Pin, Path]:
    """A snapshot's own folder, or the revision (its last epoch by default) of a teacher's run folder."""
    if not (folder / "config.json").is_file() and (folder / "hf_dd.json").is_file():
        run = json.loads((folder / "hf_dd.json").read_text())
        folder = folder / (run["final"] if revision in ("", "final") else revision)
        if not folder.is_dir():
            raise TeacherError(f"Teacher {folder.parent} has no {revision!r}; it has {', '.join(run['revisions'])}.")
    weights = folder / "model.safetensors"
    digest = hashlib.sha256(weights.read_bytes()).hexdigest() if weights.is_file() else ""
    return hub.Pin(str(folder), revision or folder.name, f"sha256:{digest}"), folder


def load_teacher(pin: hub.Pin, folder: Path) -> Teacher:
    """Build a teacher from its files, strictly and without pickle or remote code; raises TeacherError."""
    try:
        network = networks.load(folder)
    except TeacherError as error:
        raise TeacherError(f"Teacher {pin}: {error}") from error
    try:
        config = json.loads((folder / "config.json").read_text())
        record = json.loads((folder / "hf_dd.json").read_text())
        spec = TeacherSpec(
            pin.repo_id,
            pin.revision,
            pin.sha,
            **{key: record[key] for key in ("architecture", "seed", "epoch", "dataset", "accuracy")},
        )
        return Teacher(network, spec, config)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TeacherError(
            f"Teacher {pin} doesn't say what it is: config.json and hf_dd.json have to give its classes, statistics "
            f"and origin ({type(error).__name__}: {error}). `hf-dd pretrain` writes both."
        ) from error
