"""Methods that choose real images instead of optimising synthetic ones: what they start from is their result.

They have no iterations and yield no loss; `synthetic.start` makes the start that each names.
"""

from collections.abc import Iterator

from hf_dd.core.registry import OBJECTIVES
from hf_dd.objectives.base import Losses, Objective, Published, Step
from hf_dd.synthetic.patches import PatchOptions


class Choice(Objective):
    """A set that is done when it is initialised."""

    def losses(self, step: Step) -> Iterator[Losses]:
        """Yield nothing."""
        yield from ()


@OBJECTIVES.register("random", title="a random choice of real images")
class RandomImages(Choice):
    """Real images drawn at random: what every method has to beat."""

    published = Published(iterations=0, init="real")


@OBJECTIVES.register(
    "herding",
    title="a choice of real images (herding)",
    paper="Welling, ICML 2009",
    work="Herding dynamical weights to learn",
    authors="Welling, Max",
    doi="10.1145/1553374.1553517",
)
class Herding(Choice):
    """Herding (Welling, ICML 2009) of the features of a trained network, see `coresets.herding`."""

    published = Published(iterations=0, init="herding")


@OBJECTIVES.register(
    "kcenter",
    title="a choice of real images (k-center)",
    paper="Sener & Savarese, ICLR 2018",
    work="Active learning for convolutional neural networks: a core-set approach",
    authors="Sener, Ozan and Savarese, Silvio",
    arxiv="1708.00489",
)
class KCenter(Choice):
    """Greedy k-center (Sener & Savarese, ICLR 2018) of such features, see `coresets.k_centers`."""

    published = Published(iterations=0, init="k-centers")


@OBJECTIVES.register(
    "teacher-score",
    title="a choice of real images by the scores of teachers",
    needs="teachers of the data set's classes",
    teachers="All teachers scored the real images",
)
class TeacherScore(Choice):
    """The whole images that teachers find most typical of their class, see `patches.realistic_images`."""

    published = Published(iterations=0, init="teacher-score")
    uses_teachers = reads_logits = True


@OBJECTIVES.register(
    "rded",
    title="the choice of realistic patches (RDED)",
    paper="Sun, Shi, Yu & Lin, CVPR 2024",
    work="On the diversity and realism of distilled dataset: an efficient dataset distillation paradigm",
    authors="Sun, Peng and Shi, Bei and Yu, Daiwei and Lin, Tao",
    arxiv="2312.03526",
    needs="teachers of the data set's classes",
    teachers="All teachers scored the crops of real images",
)
class RealisticPatches(Choice):
    """RDED (Sun, Shi, Yu & Lin, CVPR 2024): the most typical crops, tiled, see `patches.realistic_patches`."""

    published = Published(iterations=0, init="rded")
    Options = PatchOptions
    uses_teachers = reads_logits = True
