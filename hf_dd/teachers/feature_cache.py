"""What teachers make of the whole training split: computed once, kept on disk, and the same on all processes.

A pass over the real set for each teacher is the dearest part of CLoM's `cos` and of a fitted head. Its result follows
from the teacher's commit, how its images are made, the data, the precision and the code, but from no seed of a run: so
it is kept under a name of all these (`core.cache`). The first process alone looks for it, and tells the others what it
found: either all of them compute together or none does, and no disk has to be shared. An objective sees none of this:
it asks `Step.remembered`.
"""

import dataclasses
import importlib.metadata
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from hf_dd.core import cache
from hf_dd.core.digests import digest_over
from hf_dd.core.processes import from_main_process
from hf_dd.core.progress import over, say
from hf_dd.core.registry import ADAPTERS, NETWORKS, origins
from hf_dd.data.batches import chunks_of, in_unit_range, read_ahead
from hf_dd.data.image_data import ImageData
from hf_dd.teachers.teacher import Teacher, TeacherSpec

logger = logging.getLogger(__name__)

VERSION = 2  # of what is computed of teachers, class sums and fitted heads too: raise it with any change of those
NO_CONFIGURATION = digest_over([])  # of what lies at a commit


class FeatureMemory:
    """The memory of a run.

    Args:
        data: the real set. Nothing is remembered of one without a fingerprint, nor of a teacher that was in memory,
            whose code no name tells.
        dtype: of the images that teachers get, and of the features: 'float32' or 'float64'.
        accelerator: processes, device, precision.
    """

    def __init__(self, data: ImageData, dtype: str, accelerator: Accelerator):
        self.data = data.to(accelerator.device)
        self.dtype = getattr(torch, dtype)
        self.accelerator = accelerator

    def remembered(
        self, kind: str, teacher: Teacher, compute: Callable[[], Tensor], everywhere: bool = True
    ) -> Tensor | None:
        """What `compute` gives of a teacher, or gave in an earlier run, on the data's device; see `kept`."""
        found = self.kept(kind, teacher, [kind], lambda: {kind: compute()}, everywhere=everywhere)
        return found and found[kind].to(self.data.device)

    def kept(
        self,
        kind: str,
        teacher: Teacher,
        names: Sequence[str],
        compute: Callable[[], dict[str, Tensor]],
        *settings: Any,
        everywhere: bool = True,
    ) -> dict[str, Tensor] | None:
        """Tensors by their names, as `compute` gives them or as they were kept; every process has to call it.

        Args:
            kind: what they are.
            teacher: whose they are.
            names: theirs.
            compute: is called on all processes or on none, and gives all of them the same.
            settings: what else they follow from, JSON-able.
            everywhere: whether all processes need what was kept; if not, only the first has it, the others None.
        """
        first, known = self.accelerator.is_main_process, self.data.fingerprint and teacher.spec.sha
        known = known and not teacher.spec.in_memory
        path = self.place_of(kind, teacher, settings) if known else None
        found = cache.recall_tensors(path, names) if first and known else None
        if from_main_process(lambda: found is not None):
            return from_main_process(lambda: found) if everywhere else found
        say("Computing %s of %s on %s.", kind, teacher.spec, self.data.name)
        computed = compute()
        if first and known:
            about = {"teacher": teacher.spec.repo_id, "sha": teacher.spec.sha, "data": self.data.name}
            cache.keep_tensors(path, {name: value.cpu().contiguous() for name, value in computed.items()}, about)
        return computed

    def place_of(self, kind: str, teacher: Teacher, settings: Sequence[Any]) -> Path:
        """The file of what is computed of a teacher."""
        spec = teacher.spec
        identity = [
            spec.sha,
            spec.configuration or NO_CONFIGURATION,
            [spec.library, made_by(spec), spec.trusted],
            dataclasses.asdict(teacher.transform),
            self.data.fingerprint,
            [str(self.dtype), self.accelerator.mixed_precision, self.accelerator.device.type],
            settings,
        ]
        return cache.place_of(kind, VERSION, identity, ".safetensors")

    def features(self, teacher: Teacher) -> Tensor | None:
        """Of all training images, (N, features): on the first process for certain, on the others perhaps None.

        The chunks that a teacher sees are dealt out to the processes, and are the same for any number of them.
        """
        return self.remembered("features", teacher, lambda: self.compute_features(teacher), everywhere=False)

    @torch.no_grad()
    def compute_features(self, teacher: Teacher) -> Tensor:
        """Each process computes those of its chunks, then all are put together; every process has to call it."""
        images = self.data.train.images
        chunks = torch.arange(len(images)).tensor_split(chunks_of(len(images), images, teacher.image_size))
        own = chunks[self.accelerator.process_index :: self.accelerator.num_processes]
        blank = torch.zeros(1, *images.shape[1:], dtype=self.dtype, device=self.data.device)
        features = blank.new_zeros(len(images), teacher.features(blank).shape[1])
        chunks = zip(own, read_ahead(images, own), strict=True)
        for places, batch in over(chunks, "features", sum(map(len, own)), "image", lambda chunk: len(chunk[0])):
            with self.accelerator.autocast():
                features[places] = teacher.features(in_unit_range(batch, self.dtype)).to(self.dtype)
        return self.accelerator.reduce(features, reduction="sum")


def made_by(spec: TeacherSpec) -> Any:
    """Whose code a teacher's features come from, and its version: a plug-in's network or adapter, else its library."""
    part = (NETWORKS, spec.architecture) if spec.library == "hf_dd" else (ADAPTERS, spec.library)
    return origins([part]) or importlib.metadata.version(spec.library)
