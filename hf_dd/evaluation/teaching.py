"""What students of a protocol learn from: a set's own labels, or what teachers say of it."""

from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from hf_dd.core.tensors import FLOAT_BYTES
from hf_dd.data.batches import in_blocks, in_unit_range
from hf_dd.data.image_data import ImageData
from hf_dd.errors import ConfigError, DataError
from hf_dd.evaluation.candidates import Candidate
from hf_dd.evaluation.protocols import Protocol
from hf_dd.evaluation.students import normalised
from hf_dd.teachers.pool import TeacherPool
from hf_dd.teachers.soft_labels import relabel
from hf_dd.training.targets import CropTargets, StoredTargets, Targets, TaughtTargets


@dataclass(eq=False, repr=False)
class Teaching:
    """The labels of candidates under any protocol, on the data's device.

    Args:
        data: the real set.
        teachers: on its device, for protocols that ask some.
        accelerator: precision of the teachers' forward passes.
    """

    data: ImageData
    teachers: TeacherPool | None
    accelerator: Accelerator
    _labels: dict[tuple[Candidate, float], Tensor] = field(default_factory=dict)

    def targets(self, candidate: Candidate, protocol: Protocol) -> Targets:
        """What the protocol compares the logits of students on a candidate with.

        Real images have hard labels where a protocol has stored ones without a temperature of its own, and are trained
        on those; elsewhere they get theirs from the teachers, as a set does that has none. Raises DataError where the
        protocol wants soft labels that a distilled set doesn't have, ConfigError where there are no teachers to ask,
        TeacherError for teachers of other classes.
        """
        if protocol.labels == "crops" and candidate.crop_labels is not None:
            return CropTargets(candidate.crop_labels, protocol.temperature)
        if protocol.labels == "crops" and candidate.baseline is None:
            raise DataError(
                f"{candidate.name} has no stored labels of crops, which the protocol {protocol.name!r} trains on: add "
                "--soft_labels crops, which stores some with a local set, or choose another --eval_protocol, such as "
                "sre2l-kd, which asks the teachers."
            )
        if protocol.labels in ("online", "crops"):
            mean = "raw" if protocol.loss == "mse" else protocol.teacher_mean
            return TaughtTargets(
                self.asked(protocol),
                self.data.class_names,
                normalised(self.data, protocol).own_space,
                protocol.temperature,
                self.accelerator.autocast,
                mean=mean,
                batch_statistics=protocol.batch_statistics,
                labels=candidate.labels.to(self.data.device) if protocol.loss == "mse" else None,
            )
        if protocol.labels_once:
            return StoredTargets(self.fixed(candidate, protocol), protocol.temperature)
        if protocol.labels == "soft" and candidate.soft_labels is not None:
            return StoredTargets(candidate.soft_labels.to(self.data.device), candidate.temperature)
        if protocol.labels == "soft" and candidate.baseline is None:
            raise DataError(
                f"{candidate.name} has no soft labels, which the protocol {protocol.name!r} trains on: choose another "
                "--eval_protocol."
            )
        return StoredTargets(candidate.labels.to(self.data.device))

    def asked(self, protocol: Protocol) -> TeacherPool:
        """The teachers; raises ConfigError where there are none."""
        if self.teachers is None:
            raise ConfigError(f"The protocol {protocol.name} asks teachers: name some by --eval_teachers.")
        return self.teachers

    def fixed(self, candidate: Candidate, protocol: Protocol) -> Tensor:
        """One soft label per image at the protocol's temperature, (N, classes): stored ones, or the teachers'."""
        temperature = protocol.temperature
        if candidate.soft_labels is not None:
            return tempered(candidate.soft_labels.to(self.data.device), candidate.temperature, temperature)
        if (candidate, temperature) in self._labels:
            return self._labels[candidate, temperature]
        pool, shared = self.asked(protocol), (temperature, self.data.device)
        blocks = map(in_unit_range, in_blocks(candidate.images))
        each = [relabel(pool, self.data.class_names, block, "mean", *shared) for block in blocks]
        found = torch.cat(each).to(self.data.device)
        if candidate.baseline != "random":  # of which every student has its own
            self._labels[candidate, temperature] = found
        return found

    def teaching(self, candidate: Candidate, protocol: Protocol) -> dict[str, Any]:
        """Temperature and teachers of the soft labels that students of a candidate learn from, if any."""
        if protocol.labels == "crops" and candidate.crop_labels is not None:
            return {"temperature": protocol.temperature, "taught_by": candidate.crop_labels.taught_by}
        if protocol.asks_teachers:
            own = protocol.labels_once and candidate.soft_labels is not None
            taught_by = candidate.taught_by if own else tuple(spec.sha for spec in self.asked(protocol).specs)
            return {"temperature": protocol.temperature, "taught_by": taught_by}
        if protocol.labels == "soft" and candidate.soft_labels is not None:
            return {"temperature": candidate.temperature, "taught_by": candidate.taught_by}
        return {}

    def label_bytes(self, candidate: Candidate, protocol: Protocol) -> int:
        """What soft labels take that are stored with a candidate, in float32, or were made for it once."""
        if candidate.soft_labels is None and protocol.labels_once:
            return len(candidate.images) * self.data.num_classes * FLOAT_BYTES
        return candidate.soft_label_bytes

    def calls(self, candidate: Candidate, protocol: Protocol, count: int) -> int:
        """How many images teachers label for a student on `count` images."""
        if protocol.labels == "online" or (protocol.labels == "crops" and candidate.baseline):
            return protocol.images_seen(count) * len(self.asked(protocol))
        if protocol.labels_once and candidate.soft_labels is None:
            return count * len(self.asked(protocol))
        return 0


def tempered(soft_labels: Tensor, own: float, wanted: float) -> Tensor:
    """Soft labels, (N, classes) or (N, teachers, classes), at another temperature: q ∝ p^(own / wanted).

    Of one teacher that is what it says at the wanted temperature; a mean of several teachers' is taken as if one had
    said it, and of each teacher's the mean is taken afterwards.
    """
    found = soft_labels if own == wanted else (soft_labels.log() * (own / wanted)).softmax(-1)
    return found.mean(1) if found.ndim == 3 else found
