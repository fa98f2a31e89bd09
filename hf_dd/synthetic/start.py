"""What the synthetic images start from: noise, real images that are drawn, or real images that are chosen.

A start is a function of a `Request` that gives a `SyntheticSet`, registered with its `title` and, where it needs them,
with what the `teachers` do, or what it `embeds` images for: it then takes `--selection_epochs`, at least 1 where the
"training" chooses. Its `method` is the one whose paper it is of, where that isn't called as the start is.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from hf_dd.config import DistillConfig
from hf_dd.core.precision import Autocast
from hf_dd.core.processes import from_main_process
from hf_dd.core.registry import OBJECTIVES, STARTS
from hf_dd.core.seeding import generator
from hf_dd.data.batches import in_chunks, in_unit_range
from hf_dd.data.image_data import ImageData
from hf_dd.errors import ConfigError, DataError
from hf_dd.synthetic import coresets
from hf_dd.synthetic.patches import PatchOptions, realistic_images, realistic_patches
from hf_dd.synthetic.synthetic_set import SyntheticSet
from hf_dd.teachers.experts import ExpertPool
from hf_dd.teachers.feature_cache import FeatureMemory
from hf_dd.teachers.pool import TeacherPool

CANDIDATES = ((200, 1_000), (100, 500), (1, 300))  # from so many images per class on, as CIM's code has them


@dataclass(frozen=True)
class Request:
    """What a start may look at.

    Attributes:
        config: the options of the run; its `init` is the start's name.
        data: the real set.
        autocast: context of networks' forward passes.
        pool: the teachers, or None.
        patches: how RDED's patches are chosen.
        memory: of what teachers make of all training images, or None.
        experts: the trajectories that the objective follows, or None.
    """

    config: DistillConfig
    data: ImageData
    autocast: Autocast
    pool: TeacherPool | None = None
    patches: PatchOptions = PatchOptions()
    memory: FeatureMemory | None = None
    experts: ExpertPool | None = None

    @property
    def count(self) -> int:
        """Images that are needed of each class, factor² for each stored one; raises DataError where one has fewer."""
        self.data.require_ipc(self.config.ipc, self.config.factor)
        return self.config.ipc * self.config.factor**2

    @property
    def dtype(self) -> torch.dtype:
        """Of the synthetic images."""
        return getattr(torch, self.config.dtype)

    def of_images(self, images: Tensor) -> SyntheticSet:
        """The set of these images, uint8 or floating in [0, 1] space, `count` of each class, class after class."""
        return SyntheticSet.of_images(images, self.data, self.dtype, self.config.factor)

    def of_rows(self, rows: Tensor) -> SyntheticSet:
        """The set of these training images."""
        return self.of_images(self.data.train.images[rows.to(self.data.device)])

    def drawn(self, init: str) -> SyntheticSet:
        """A start that looks at nothing: 'real' or 'noise'."""
        config = self.config
        return SyntheticSet.initial(self.data, config.ipc, init, config.seed, self.dtype, config.factor)

    def coreset(self, method: str | None = None) -> SyntheticSet:
        """Images chosen by a name that `coresets.select` takes, the start's own if it isn't given.

        The features of a method that looks at those alone are the first teacher's where there is one and no network
        of its own is asked for.
        """
        method, epochs = method or self.config.init, self.config.selection_epochs
        if self.pool and self.memory and epochs is None and method in coresets.METHODS:
            count = self.count
            features = self.memory.features(self.pool.to(self.data.device, self.dtype)[0])
            labels, classes = self.data.train.labels, self.data.num_classes
            rows = from_main_process(lambda: coresets.METHODS[method](features, labels, classes, count))
        else:
            how = {"epochs": epochs or 0, "autocast": self.autocast}
            try:
                rows = coresets.select(self.data, method, self.count, self.config.seed, **how)
            except ConfigError as error:
                if OBJECTIVES.said(self.config.objective, "chooses"):
                    raise
                raise ConfigError(f"{error} Or start from images that are drawn: --init real.") from error
        return self.of_rows(rows)


@STARTS.requires
def why_no_start(definition: Any) -> str | None:
    """What a definition has to be, where it is no start."""
    function = callable(definition) and not isinstance(definition, type)
    return None if function else "has to be a function of a hf_dd.synthetic.start.Request that gives a SyntheticSet"


def rded(request: Request) -> SyntheticSet:
    """See `patches.realistic_patches`."""
    how = (request.config.seed, request.patches, request.dtype, request.autocast)
    return request.of_images(realistic_patches(request.data, request.pool, request.count, *how))


def teacher_score(request: Request, hardest: bool = False) -> SyntheticSet:
    """See `patches.realistic_images`."""
    how = (request.dtype, request.autocast, None, hardest)
    return request.of_rows(realistic_images(request.data, request.pool, request.count, *how))


def expert_correct(request: Request) -> SyntheticSet:
    """Of each class the first ones, in a random order, that the first expert gets right at its last epoch.

    Where those are too few, then the next expert's, as DATM's images start (Guo et al., ICLR 2024). Raises DataError
    where all experts together get too few right.
    """
    data, experts, count, chosen = request.data, request.experts, request.count, []
    for label, members in enumerate(data.class_index):
        left = data.sample_class(label, len(members), generator(request.config.seed, "init", label)).cpu()
        found = left[:0]
        for index in range(len(experts)):
            right = torch.zeros(len(left), dtype=torch.bool)
            for places, images in in_chunks(data.train.images, left):
                images = data.normalise(in_unit_range(images, request.dtype))
                with request.autocast():
                    said = experts.logits(index, experts.last_epoch(), images).argmax(1)
                right[places] = (said == label).cpu()
                if len(found) + right.sum() >= count:
                    break
            found, left = torch.cat([found, left[right]]), left[~right]
            if len(found) >= count:
                break
        if len(found) < count:
            raise DataError(
                f"The experts classify {len(found)} training images of class {data.class_names[label]!r} right, and "
                f"{count} are needed to start from: train them for longer, or give --init real."
            )
        chosen.append(found[:count])
    return request.of_rows(torch.cat(chosen))


def candidates_of(ipc: int) -> int:
    """How many images of each class are drawn, of which the surest are taken, tiles not counted."""
    return next(count for least, count in CANDIDATES if ipc >= least)


def surest_rows(
    data: ImageData, pool: TeacherPool, ipc: int, factor: int, seed: int, dtype: torch.dtype, autocast: Autocast
) -> Tensor:
    """The training images that `surest` starts from, ipc · factor² of each class, see `patches.realistic_images`.

    Of some that are drawn, so that not all are alike. CIM's objective asks for the same. Int64, class after class.
    """
    data.require_ipc(ipc, factor)
    return realistic_images(data, pool, ipc * factor**2, dtype, autocast, drawn=(candidates_of(ipc), seed))


def surest(request: Request) -> SyntheticSet:
    """See `surest_rows`."""
    asked = (request.config.ipc, request.config.factor, request.config.seed, request.dtype, request.autocast)
    return request.of_rows(surest_rows(request.data, request.pool, *asked))


STARTS.register("real", title="real images, drawn at random")(partial(Request.drawn, init="real"))
STARTS.register("expert-correct", title="random real images that experts classify right", experts=True)(expert_correct)
STARTS.register("noise", title="standard normal noise")(partial(Request.drawn, init="noise"))
STARTS.register("herding", title="real images chosen by herding", embeds="features")(Request.coreset)
STARTS.register("k-centers", title="real images chosen by greedy k-center", method="kcenter", embeds="features")(
    Request.coreset
)
STARTS.register("rded", title="RDED's realistic crops", teachers="All teachers scored the crops of real images")(rded)
STARTS.register(
    "teacher-score", title="the real images that teachers find typical", teachers="All teachers scored the real images"
)(teacher_score)
STARTS.register(
    "teacher-score-hard",
    title="the real images that teachers find least typical",
    teachers="All teachers scored the real images",
)(partial(teacher_score, hardest=True))
STARTS.register(
    "surest",
    title="the real images that teachers are surest of, of some drawn from each class",
    teachers="All teachers scored the real images",
)(surest)
STARTS.register("el2n", title="the real images of the largest errors in a short training", embeds="training")(
    Request.coreset
)
STARTS.register(
    "el2n-window", title="the real images of a window of errors that validation images chose", embeds="training"
)(Request.coreset)
STARTS.register("grand", title="the real images of the largest gradients of the last layer", embeds="training")(
    Request.coreset
)
STARTS.register("forgetting", title="the real images that a training forgot most often", embeds="training")(
    Request.coreset
)
STARTS.register("aum", title="the real images of the smallest area under the margin", embeds="training")(
    Request.coreset
)
STARTS.register("margin", title="the real images of the smallest margin between two classes", embeds="training")(
    Request.coreset
)
STARTS.register("least-confidence", title="the real images of the least confident predictions", embeds="training")(
    Request.coreset
)
STARTS.register("entropy", title="the real images of the highest entropy", embeds="training")(Request.coreset)
STARTS.register("moderate", title="the real images of a middling distance to their class's median", embeds="training")(
    Request.coreset
)
STARTS.register("ccs", title="real images of all strata of difficulty but the hardest", embeds="training")(
    Request.coreset
)
STARTS.register(
    "facility-location", title="the real images that are nearest to all others together", embeds="training"
)(Request.coreset)
