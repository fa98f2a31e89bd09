"""Expert trajectories: what trajectory matching follows (Cazenavette et al., CVPR 2022).

An expert is a teacher's training run: a repository whose git tags `epoch-0`, `epoch-1`, … are its trajectory, or a
local run folder with a subfolder for each. Epoch 0 is the network as it was drawn. The tags are resolved to commits
once; the weights of a commit are pulled when a step asks for them.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from hf_dd import hub
from hf_dd.config import DistillConfig
from hf_dd.core.layout import RECORD, WEIGHTS, epoch_name, epoch_of
from hf_dd.data.batches import by_chunks
from hf_dd.data.image_data import ImageData
from hf_dd.errors import TeacherError, some
from hf_dd.nn import networks
from hf_dd.nn.networks import Network
from hf_dd.teachers.adapters.own import stated
from hf_dd.teachers.locating import locate_locally, read_run
from hf_dd.teachers.teacher import naming

Parameters = dict[str, Tensor]

DESCRIPTION = ("config.json", RECORD)
FILES = (*DESCRIPTION, WEIGHTS)
ORIGIN = ("architecture", "seed", "dataset")  # what a run's record says of an expert
BYTES_IN_MEMORY = 1 << 30  # of the parameters that stay, over all experts
STATISTICS_TOLERANCE = 1e-3  # of a channel's mean and std in [0, 1]: a quarter of a grey level
SHAPE = ("in_channels", "image_size", "num_classes")


class Expert:
    """One trajectory.

    Attributes:
        name: the repository's id, or the run's folder, as it was given.
        place: where that leads.
        revisions: for each epoch that there is, its commit; "" in a local folder.
        pins: the epochs that a run may draw, see `select`; those of a local folder by the digest of their weights.
    """

    def __init__(self, reference: str):
        """Resolve the tags of `owner/name`, or list a local run's epochs; raises TeacherError or HubError."""
        place = hub.find(reference)
        if place is None or place.revision:
            raise TeacherError(
                f"Expert {reference}: there is no such folder, and it isn't of the form owner/name. An expert is "
                "named without a revision: its tags epoch-0, epoch-1, … are its trajectory."
            )
        self.name, self.place = reference, place
        if place.local:
            try:
                found = dict.fromkeys(read_run(Path(place.path))["revisions"], "")
            except TeacherError as error:
                raise TeacherError(
                    f"Expert {reference} is no folder of a finished run of `hf-dd pretrain`, with its epochs as "
                    f"subfolders: {error}."
                ) from error
        else:  # the pin tells whether there is such a repository at all
            found = hub.tags(reference, "model") if place.pin else {}
        self.revisions = {epoch: sha for tag, sha in found.items() if (epoch := epoch_of(tag)) is not None}
        self.pins: dict[int, hub.Pin] = {}
        if not self.revisions:
            raise TeacherError(
                f"Expert {reference} has no {'epochs' if place.local else 'tags'} epoch-0, epoch-1, …: it is no "
                "trajectory. `hf-dd pretrain --keep_epochs 0 1 2 …` makes one."
            )

    def select(self, epochs: Iterable[int]) -> None:
        """Take the epochs that a run may draw; raises TeacherError for those that aren't there."""
        if missing := [epoch for epoch in epochs if epoch not in self.revisions]:
            raise TeacherError(
                f"Expert {self.name} lacks epochs {ranges(missing)}; it has {ranges(self.revisions)}. Take an expert "
                "that kept them all (`hf-dd pretrain --keep_epochs 0 1 2 …`), or ask for fewer by "
                "--objective_options max_start_epoch=… expert_epochs=…."
            )
        self.pins = {epoch: self.pin(epoch) for epoch in epochs}

    def pin(self, epoch: int) -> hub.Pin:
        """The commit of an epoch, or the digest of its weights in a local folder; raises TeacherError without them."""
        revision = epoch_name(epoch)
        if self.place.local:
            weights = Path(self.place.path) / revision / WEIGHTS
            if not weights.is_file():
                raise TeacherError(f"Expert {self.name} lists {revision}, but there is no {weights}.")
            return locate_locally(Path(self.place.path), revision)[0]
        return hub.Pin(self.name, revision, self.revisions[epoch])

    def pull(self, epoch: int, files: Sequence[str] = FILES) -> Path:
        """The folder with the files of an epoch; raises HubError, or TeacherError where a local one has changed."""
        pin = self.pins[epoch]
        if not pin.local:
            return hub.pull(pin, files=files)
        if self.pin(epoch) != pin:
            raise TeacherError(f"Expert {pin} changed while it was in use.")
        return Path(pin.repo_id)

    def describe(self) -> dict[str, Any]:
        """What the first selected epoch's files say: the network, `class_names`, `mean`, `std`, and the `origin`."""
        epoch = min(self.pins)
        folder = self.pull(epoch, DESCRIPTION)
        with naming(f"Expert {self.pins[epoch]}"):
            config, about = stated(folder)
        return networks.completed(config) | {"origin": {key: about[key] for key in ORIGIN}}

    def require_fit(self, network: Network, data: ImageData) -> dict[str, Any]:
        """What `describe` says; raises TeacherError where a student can't follow it with this network and data."""
        found = self.describe()
        require_same(f"Expert {self.name}", found, network, data)
        return found

    def seconds(self) -> float | None:
        """What its training took up to the last selected epoch; None where its record doesn't say."""
        folder = self.pull(max(self.pins), DESCRIPTION)
        with naming(f"Expert {self.pins[max(self.pins)]}"):
            return stated(folder)[1]["seconds"]

    def load(self, epoch: int, network: Network) -> Parameters:
        """The parameters at a selected epoch, on the CPU; raises TeacherError unless they are those of the network."""
        folder = self.pull(epoch)
        with naming(f"Expert {self.pins[epoch]}"):
            found = networks.load(folder)
        if found.config != network.config:
            raise TeacherError(
                f"Expert {self.pins[epoch]} is another network than at its first epoch: {found.config}, not "
                f"{network.config}."
            )
        return {name: parameter.detach() for name, parameter in found.named_parameters()}


class ExpertPool:
    """Experts, and those of their parameters that were used last, in memory.

    Args:
        references: `owner/name` of repositories, or local run folders; at least one.

    Attributes:
        experts: in the order of the references.
    """

    def __init__(self, references: Sequence[str]):
        self.experts = [Expert(reference) for reference in references]
        self._origins: list[dict[str, Any]] = []
        self._network: Network | None = None

    @classmethod
    def from_config(cls, config: DistillConfig) -> "ExpertPool | None":
        """The experts that the options name, or None where they name none."""
        return cls(config.experts) if config.experts else None

    def __len__(self) -> int:
        return len(self.experts)

    def first_epoch(self) -> int:
        """The earliest epoch that all experts have; raises TeacherError where they have none in common."""
        common = set.intersection(*(set(expert.revisions) for expert in self.experts))
        if not common:
            each = "; ".join(f"{expert.name} has {ranges(expert.revisions)}" for expert in self.experts)
            raise TeacherError(f"The experts have no epoch in common: {each}.")
        return min(common)

    def last_epoch(self) -> int:
        """The latest epoch that all experts have; raises TeacherError where they have none in common."""
        self.first_epoch()
        return max(set.intersection(*(set(expert.revisions) for expert in self.experts)))

    @torch.no_grad()
    def logits(self, index: int, epoch: int, images: Tensor) -> Tensor:
        """What an expert at an epoch says of normalised images, (N, classes), its network in eval mode."""
        network, parameters = self._network, self.parameters(index, epoch)
        network.eval()
        found = by_chunks(lambda part: functional_call(network, parameters, (part,)), images)
        network.train()
        return found

    def prepare(self, network: Network, data: ImageData, epochs: Iterable[int]) -> None:
        """Take these epochs of every expert, to be loaded into the place and the precision of the student's network.

        Raises TeacherError, naming the expert, for a missing epoch, another architecture, label space, image shape or
        normalisation. No weights are pulled yet.
        """
        epochs = sorted(epochs)
        for expert in self.experts:
            expert.select(epochs)
        self._origins = [
            expert.require_fit(network, data)["origin"] | {"seconds": expert.seconds()} for expert in self.experts
        ]
        self._network = network
        size = sum(value.numel() * value.element_size() for value in network.parameters())
        self._remembered = functools.lru_cache(max(1, BYTES_IN_MEMORY // size))(self._load)

    def parameters(self, index: int, epoch: int) -> Parameters:
        """The parameters of an expert at an epoch by name, as the student's are placed; not to be changed in place."""
        return self._remembered(index, epoch)

    def _load(self, index: int, epoch: int) -> Parameters:
        own = self._network.classifier.weight
        parameters = self.experts[index].load(epoch, self._network)
        return {name: value.to(own.device, own.dtype) for name, value in parameters.items()}

    def lock(self) -> list[dict[str, Any]]:
        """Each expert for the record: `repo_id`, its origin and seconds, and the `epochs` in use with their `shas`."""
        return [
            {
                "repo_id": expert.name,
                **origin,
                "epochs": list(expert.pins),
                "shas": [pin.sha for pin in expert.pins.values()],
            }
            for expert, origin in zip(self.experts, self._origins, strict=True)
        ]


def seen_as(whitening: tuple[float, str] | None) -> str:
    """Images under a whitening of this epsilon that was fitted to data of this fingerprint, in words."""
    return f"whitened images (ZCA, epsilon {whitening[0]:g}, of data {whitening[1]})" if whitening else "plain images"


def require_same(
    name: str,
    found: Mapping[str, Any],
    network: Network,
    data: ImageData,
    tolerance: float = STATISTICS_TOLERANCE,
) -> None:
    """Raise TeacherError unless a teacher (`found`, as of `Expert.describe`) is such a network, of this data set.

    `name` says what it is and how it is called; `tolerance` is that of a channel's mean and std in [0, 1].
    """
    noun = name.split()[0].lower()
    if tuple(found["class_names"]) != tuple(data.class_names):
        raise TeacherError(
            f"{name} has another label space than {data.name}: its classes are, in order, "
            f"{some(found['class_names'])}, and those of the data set {some(data.class_names)}."
        )
    differing = [key for key, value in network.config.items() if found.get(key) != value]
    differing = ["architecture"] if "architecture" in differing else differing
    shape = [key for key in differing if key in SHAPE]
    kind = "takes another image shape" if shape else "is another network"
    if differing:
        there, here = (
            ", ".join(f"{key} {of.get(key)}" for key in shape or differing) for of in (found, network.config)
        )
        way_out = (
            f"Take {noun}s that were trained on {data.name}."
            if shape
            else f"Choose --architecture and --architecture_options as the {noun}'s."
        )
        raise TeacherError(f"{name} {kind}: it has {there}, this run {here}. {way_out}")
    whitening = data.whitening and data.whitening.facts()
    there, here = (facts and (facts["epsilon"], facts["source"]) for facts in (found.get("whitening"), whitening))
    if there != here:
        way_out = "Give --zca." if there else f"Leave --zca out, or train {noun}s with `hf-dd pretrain --zca`."
        raise TeacherError(
            f"{name} was trained on {seen_as(there)}, and this run is to distil {seen_as(here)}. "
            + (f"Take {noun}s that were trained on this data set." if there and here else way_out)
        )
    for key, ours in () if whitening else (("mean", data.mean), ("std", data.std)):
        near = [abs(a - b) <= tolerance for a, b in zip(found[key], ours, strict=False)]
        if not all(near) or len(found[key]) != len(ours):
            raise TeacherError(
                f"{name} was trained on images normalised by a {key} of {found[key]}, those of "
                f"{data.name} have {list(ours)}: take {noun}s that were trained on this data set, by "
                "the same --statistics."
            )


def ranges(numbers: Iterable[int]) -> str:
    """`0 to 3, 5` for 0, 1, 2, 3, 5."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(first) if first == last else f"{first} to {last}" for first, last in runs)
