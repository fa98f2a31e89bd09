"""What an evaluation trains: networks from scratch, or linear heads on the frozen features of a backbone."""

import dataclasses
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn

from hf_dd.config.known_data import NORMALISED_BY
from hf_dd.core.precision import Autocast
from hf_dd.core.progress import over
from hf_dd.core.registry import NETWORKS, origins
from hf_dd.core.seeding import isolated_rng
from hf_dd.data.batches import Images, in_chunks, in_unit_range
from hf_dd.data.image_data import ImageData
from hf_dd.errors import ConfigError
from hf_dd.evaluation.protocols import Protocol
from hf_dd.nn import networks
from hf_dd.nn.timm_networks import PREFIX, build_timm
from hf_dd.teachers.locating import load_teacher, locate
from hf_dd.teachers.teacher import Teacher


class FromScratch:
    """Networks of one architecture, each drawn on its own seed: ours by name, or timm's as `timm/NAME`.

    Raises ConfigError for an unknown architecture, and for one that can't take the data's images.
    """

    backbone = None

    def __init__(self, architecture: str, data: ImageData):
        self.architecture, self.data = architecture, data
        new_student(architecture, data, 0)
        self.identity = origins([(NETWORKS, architecture)]) or architecture  # a plug-in's code may change

    def new(self, seed: int) -> nn.Module:
        """A student on the CPU."""
        return new_student(self.architecture, self.data, seed)

    def inputs(self, images: Images, keep: bool = False) -> Images:
        """What a student trains on: the images, on the data's device."""
        return images.to(self.data.device)

    tested = inputs  # what it is tested on, alike

    def prepare(self, images: Tensor) -> Tensor:
        """A batch of `inputs` as the student takes it."""
        return self.data.normalise(images)


class LinearProbe:
    """Linear heads on the features of a pre-trained backbone, which stays as it is and normalises by itself.

    Args:
        teacher: the backbone; moved to the data's device.
        data: the real set.
        protocol: how heads are drawn, and whether each batch is seen in views, so that its features are its own.
        autocast: context of the backbone's forward passes.

    Attributes:
        backbone: its commit, or the digest of a local one's weights.
    """

    def __init__(self, teacher: Teacher, data: ImageData, protocol: Protocol, autocast: Autocast = nullcontext):
        self.teacher = teacher.to(data.device)
        self.data, self.protocol = data, protocol
        self.autocast = autocast
        self.identity = self.backbone = teacher.spec.sha
        blank = torch.zeros(1, data.channels, *data.image_size, device=data.device)
        self.size = self.features(blank).shape[1]
        self._kept: dict[Images, Tensor] = {}  # a tensor is a key as the object that it is

    def new(self, seed: int) -> nn.Module:
        """A linear head on the CPU, drawn as the protocol says."""
        with isolated_rng(seed, "init"):
            head = nn.Linear(self.size, self.data.num_classes)
            if self.protocol.head_std is not None:
                nn.init.normal_(head.weight, std=self.protocol.head_std)
                nn.init.zeros_(head.bias)
        return head

    def inputs(self, images: Images, keep: bool = False) -> Images:
        """What a head trains on: the images where it sees views of them, else what it is tested on."""
        return images.to(self.data.device) if self.protocol.views else self.tested(images, keep)

    def tested(self, images: Images, keep: bool = False) -> Tensor:
        """The images' features, computed once for images that are to be kept for other students."""
        if images in self._kept:
            return self._kept[images]
        features = self.features(images)
        if keep:
            self._kept[images] = features
        return features

    def prepare(self, batch: Tensor) -> Tensor:
        """A batch of features as the head takes it; of images, their features."""
        return batch if batch.ndim == 2 else self.of_batch(batch)

    @torch.no_grad()
    def of_batch(self, images: Tensor) -> Tensor:
        """Features of a batch, float32, on its device."""
        with self.autocast():
            return self.teacher.features(in_unit_range(images)).float()

    def features(self, images: Images) -> Tensor:
        """Features, float32 (N, features) on the data's device, of uint8 images or of floats in [0, 1] space."""
        found = []
        chunks = in_chunks(images, seen=self.teacher.image_size)
        for _, chunk in over(chunks, "features of a backbone", len(images), "image", lambda own: len(own[0])):
            found.append(self.of_batch(chunk.to(self.data.device)))
        return torch.cat(found)


Kind = FromScratch | LinearProbe


def normalised(data: ImageData, protocol: Protocol) -> ImageData:
    """The data with the statistics that the protocol normalises images by."""
    known = NORMALISED_BY.get(protocol.normalisation)
    if known is None or data.channels != len(known.mean):
        return data
    return dataclasses.replace(data, mean=known.mean, std=known.std)


def names_network(architecture: str) -> bool:
    """Whether this can only be the name of a network; a reference has a slash or a revision, or is of a folder."""
    if architecture in NETWORKS or architecture.startswith(PREFIX):
        return True
    return not ("/" in architecture or "@" in architecture or Path(architecture).is_dir())


def require_known(architectures: Sequence[str], protocol: Protocol) -> None:
    """Raise ConfigError for the name of a network that there isn't, before anything is read."""
    for architecture in architectures:
        if protocol.trains == "network" and names_network(architecture) and not architecture.startswith(PREFIX):
            NETWORKS.find(architecture, "--eval_architectures")


def students_of(architecture: str, protocol: Protocol, data: ImageData, autocast: Autocast = nullcontext) -> Kind:
    """What a protocol trains by this name: an architecture, or for a probe a reference of a teacher.

    Raises ConfigError where the name is of the other kind, unknown, or of a network that can't take the images;
    TeacherError or HubError where the backbone can't be loaded.
    """
    names_teacher = not names_network(architecture)
    if protocol.trains == "head":
        if not names_teacher:
            raise ConfigError(
                f"--eval_architectures {architecture}: the protocol {protocol.name} needs a pre-trained backbone. "
                "Name a teacher as owner/name@revision or by its local folder."
            )
        return LinearProbe(load_teacher(*locate(architecture)), data, protocol, autocast)
    if names_teacher:
        raise ConfigError(
            f"--eval_architectures {architecture} names a pre-trained teacher, but the protocol {protocol.name} "
            "trains networks from scratch. Name an architecture, such as ConvNet or timm/resnet10t, or choose "
            "--eval_protocol linear-probe."
        )
    return FromScratch(architecture, normalised(data, protocol))


def new_student(architecture: str, data: ImageData, seed: int) -> nn.Module:
    """A freshly drawn student for this data set, on the CPU: a network of ours, or timm's as `timm/NAME`.

    Raises ConfigError for an unknown architecture, and for one that can't take the images.
    """
    build = build_timm if architecture.startswith(PREFIX) else networks.build
    return build(architecture, **data.network_shape, seed=seed)
