"""Methods that choose real images instead of optimising synthetic ones: what they start from is their result.

They have no iterations and yield no loss; `synthetic.start` makes the start that each names.
"""

from collections.abc import Iterator

from hf_dd.core.registry import OBJECTIVES
from hf_dd.objectives import cells
from hf_dd.objectives.base import Losses, Objective, Step
from hf_dd.objectives.published import Published
from hf_dd.synthetic.patches import PatchOptions


class Choice(Objective):
    """A set that is done when it is initialised."""

    def losses(self, step: Step) -> Iterator[Losses]:
        """Yield nothing."""
        yield from ()


@OBJECTIVES.register("random", title="a random choice of real images", chooses=True)
class RandomImages(Choice):
    """Real images drawn at random: what every method has to beat."""

    published = Published(iterations=0, init="real")


@OBJECTIVES.register(
    "herding",
    title="a choice of real images (herding)",
    chooses=True,
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
    chooses=True,
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
    chooses=True,
    needs="teachers of the data set's classes",
    teachers="All teachers scored the real images",
)
class TeacherScore(Choice):
    """The whole images that teachers find most typical of their class, see `patches.realistic_images`."""

    published = Published(iterations=0, init="teacher-score")
    uses_teachers = reads_logits = True


@OBJECTIVES.register(
    "teacher-score-hard",
    title="a choice of real images by the scores of teachers, the hard end",
    chooses=True,
    needs="teachers of the data set's classes",
    teachers="All teachers scored the real images",
)
class TeacherScoreHard(TeacherScore):
    """The whole images that teachers find least typical of their class, see `patches.realistic_images`."""

    published = Published(iterations=0, init="teacher-score-hard")


@OBJECTIVES.register(
    "rded",
    title="the choice of realistic patches (RDED)",
    chooses=True,
    paper="Sun, Shi, Yu & Lin, CVPR 2024",
    work="On the diversity and realism of distilled dataset: an efficient dataset distillation paradigm",
    authors="Sun, Peng and Shi, Bei and Yu, Daiwei and Lin, Tao",
    arxiv="2312.03526",
    needs="teachers of the data set's classes",
    teachers="All teachers scored the crops of real images",
)
class RealisticPatches(Choice):
    """RDED (Sun, Shi, Yu & Lin, CVPR 2024): the most typical crops, tiled, see `patches.realistic_patches`."""

    published = Published(iterations=0, init="rded", cells=cells.RDED)
    Options = PatchOptions
    uses_teachers = reads_logits = True


def pruned_by(method: str) -> type[Choice]:
    """The choice by a method of `pruning.METHODS`."""
    return type(f"PrunedBy_{method}", (Choice,), {"published": Published(iterations=0, init=method)})


OBJECTIVES.register(
    "el2n",
    title="a choice of real images (EL2N)",
    chooses=True,
    paper="Paul, Ganguli & Dziugaite, NeurIPS 2021",
    work="Deep learning on a data diet: finding important examples early in training",
    authors="Paul, Mansheej and Ganguli, Surya and Dziugaite, Gintare Karolina",
    arxiv="2107.07075",
)(pruned_by("el2n"))


OBJECTIVES.register(
    "el2n-window",
    title="a choice of real images (a window of EL2N, chosen on validation images)",
    chooses=True,
    same_work="el2n",
)(pruned_by("el2n-window"))


OBJECTIVES.register(
    "grand",
    title="a choice of real images (GraNd)",
    chooses=True,
    same_work="el2n",
)(pruned_by("grand"))


OBJECTIVES.register(
    "forgetting",
    title="a choice of real images (forgetting events)",
    chooses=True,
    paper="Toneva et al., ICLR 2019",
    work="An empirical study of example forgetting during deep neural network learning",
    authors="Toneva, Mariya and Sordoni, Alessandro and Tachet des Combes, Remi and Trischler, Adam and "
    "Bengio, Yoshua and Gordon, Geoffrey J.",
    arxiv="1812.05159",
)(pruned_by("forgetting"))


OBJECTIVES.register(
    "aum",
    title="a choice of real images (area under the margin)",
    chooses=True,
    paper="Pleiss et al., NeurIPS 2020",
    work="Identifying mislabeled data using the area under the margin ranking",
    authors="Pleiss, Geoff and Zhang, Tianyi and Elenberg, Ethan and Weinberger, Kilian Q.",
    arxiv="2001.10528",
)(pruned_by("aum"))


OBJECTIVES.register(
    "margin",
    title="a choice of real images (margin)",
    chooses=True,
    paper="Coleman et al., ICLR 2020",
    work="Selection via proxy: efficient data selection for deep learning",
    authors="Coleman, Cody and Yeh, Christopher and Mussmann, Stephen and Mirzasoleiman, Baharan and "
    "Bailis, Peter and Liang, Percy and Leskovec, Jure and Zaharia, Matei",
    arxiv="1906.11829",
)(pruned_by("margin"))


OBJECTIVES.register(
    "least-confidence",
    title="a choice of real images (least confidence)",
    chooses=True,
    same_work="margin",
)(pruned_by("least-confidence"))


OBJECTIVES.register(
    "entropy",
    title="a choice of real images (entropy)",
    chooses=True,
    same_work="margin",
)(pruned_by("entropy"))


OBJECTIVES.register(
    "moderate",
    title="a choice of real images (moderate)",
    chooses=True,
    paper="Xia et al., ICLR 2023",
    work="Moderate coreset: a universal method of data selection for real-world data-efficient deep learning",
    authors="Xia, Xiaobo and Liu, Jiale and Yu, Jun and Shen, Xu and Han, Bo and Liu, Tongliang",
)(pruned_by("moderate"))


OBJECTIVES.register(
    "ccs",
    title="a choice of real images (coverage-centric, CCS)",
    chooses=True,
    paper="Zheng et al., ICLR 2023",
    work="Coverage-centric coreset selection for high pruning rates",
    authors="Zheng, Haizhong and Liu, Rui and Lai, Fan and Prakash, Atul",
    arxiv="2210.15809",
)(pruned_by("ccs"))


OBJECTIVES.register(
    "facility-location",
    title="a choice of real images (facility location)",
    chooses=True,
    paper="Wei, Iyer & Bilmes, ICML 2015",
    work="Submodularity in data subset selection and active learning",
    authors="Wei, Kai and Iyer, Rishabh and Bilmes, Jeff",
)(pruned_by("facility-location"))
