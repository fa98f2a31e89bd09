"""The protocols of papers whose students learn the teachers' logits by their squared difference: G-VBSM's and EDC's.

What is said in `registered_papers` of settings, of sizes between those of a source, and of slips holds here, too.
"""

import dataclasses

from hf_dd.core.registry import PROTOCOLS
from hf_dd.evaluation.protocols import ANY, Protocol, case
from hf_dd.evaluation.registered_papers import BY_CIFAR_100, CIFAR, CUTMIX, LARGE, NETTE, RESIZED, TINY

# Shao, Yin, Zhou, Zhang & Shen, CVPR 2024; they store the mean logits of every epoch's crops. Their scripts for
# CIFAR-10 normalise by CIFAR-100's constants, as EDC's do.
CIFAR_10_BY_ITS_OWN = case(**CIFAR, classes=(0, 99), normalisation="source")
G_VBSM = PROTOCOLS.register(
    "g-vbsm",
    title="the teachers' mean logits of every view by their squared difference, and a little cross-entropy",
    paper="Shao, Yin, Zhou, Zhang & Shen, CVPR 2024",
    sizes="one setting for every ipc; up to 32 pixels CIFAR's by classes, up to 64 Tiny-ImageNet's, else ImageNet's",
)(
    Protocol(
        "g-vbsm",
        2,
        epochs=300,
        batch_size=1024,
        labels="online",
        views=CUTMIX,
        hard_weight=0.1,
        cases=(
            BY_CIFAR_100,
            case(side=(0, 32), classes=(0, 99), epochs=1000, batch_size=100, weight_decay=0.0, hard_weight=0.15),
            case(
                side=(0, 32),
                classes=(100, ANY),
                epochs=1000,
                batch_size=64,
                optimizer="sgd",
                learning_rate=0.1,
                weight_decay=5e-4,
                hard_weight=0.15,
            ),
            case(side=(33, 64), epochs=100, batch_size=100, optimizer="sgd", learning_rate=0.1, weight_decay=5e-4),
            RESIZED,
        ),
        **LARGE | {"loss": "mse", "temperature": 1.0},
    )
)

PROTOCOLS.register(
    "g-vbsm-fixed",
    title="`g-vbsm` with CIFAR-10 normalised by its own statistics",
    paper="Shao, Yin, Zhou, Zhang & Shen, CVPR 2024",
    sizes="as `g-vbsm`",
)(dataclasses.replace(G_VBSM, name="g-vbsm-fixed", cases=(CIFAR_10_BY_ITS_OWN, *G_VBSM.cases)))

# Shao, Zhou, Chen & Shen, NeurIPS 2024. In ImageNet's script an `if` without `else` makes the cosine a line. Those of
# small sets label online and begin their views with RandAugment. CIFAR-10's is for ipc 1.
EDC_VIEWS = dataclasses.replace(CUTMIX, scale=(0.5, 1.0))
EDC_SMALL_VIEWS = dataclasses.replace(EDC_VIEWS, rand_augment=(2, 9))
EDC_SGD = {"optimizer": "sgd", "learning_rate": 0.1, "momentum": 0.875, "weight_decay": 5e-4}
EDC = PROTOCOLS.register(
    "edc",
    title="the same with the running mean of the student's weights; ImageNet's line to half, small sets' own settings",
    paper="Shao, Zhou, Chen & Shen, NeurIPS 2024",
    sizes="one setting for every ipc; up to 32 pixels CIFAR-10's (theirs for ipc 1), from 100 classes on CIFAR-100's, "
    "up to 64 Tiny-ImageNet's, else up to 100 classes ImageNet-10's, then ImageNet's",
)(
    Protocol(
        "edc",
        3,
        epochs=300,
        batch_size=100,
        labels="online",
        views=EDC_VIEWS,
        hard_weight=0.025,
        average=0.99,
        schedule_end=0.5,
        cases=(
            BY_CIFAR_100,
            case(
                **CIFAR,
                classes=(0, 99),
                epochs=1000,
                batch_size=10,
                schedule="halves",
                schedule_end=0.125,
                views=dataclasses.replace(EDC_SMALL_VIEWS, scale=(0.08, 1.0)),
            ),
            case(
                **CIFAR,
                classes=(100, ANY),
                epochs=1000,
                batch_size=50,
                schedule="cut",
                views=EDC_SMALL_VIEWS,
                **EDC_SGD,
            ),
            case(**TINY, schedule="cosine", views=EDC_SMALL_VIEWS, **EDC_SGD),
            case(**NETTE, epochs=1000, batch_size=50, schedule="cut", views=EDC_SMALL_VIEWS),
            RESIZED,
        ),
        **LARGE | {"loss": "mse", "temperature": 1.0, "schedule": "linear"},
    )
)
PROTOCOLS.register(
    "edc-fixed",
    title="`edc` with ImageNet's cosine to half that the paper means, and CIFAR-10 normalised by its own statistics",
    paper="Shao, Zhou, Chen & Shen, NeurIPS 2024",
    sizes="as `edc`",
)(dataclasses.replace(EDC, name="edc-fixed", schedule="cosine", cases=(CIFAR_10_BY_ITS_OWN, *EDC.cases)))
