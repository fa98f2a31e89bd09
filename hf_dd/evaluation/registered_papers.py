"""The protocols of papers on large images: soft labels of views, hard labels with mixed images.

Each has every setting of its source. A set that the source doesn't name takes the case whose range it falls into;
where the source names single ipc, `sizes` says what is taken between them. Views are drawn of images in [0, 1] space,
before they are normalised: crops, mirrors and mixes are the same there, colours and padding are meant there. What a
source's code does by a slip is a field of its own, with a variant `-fixed` beside it. Test images are read once, for
all students: where a source scales them to more than the students' size first, `--test_resize` has to say so, and a
row names it as a change of the protocol where it didn't.
"""

import dataclasses

from hf_dd.core.registry import PROTOCOLS
from hf_dd.evaluation.protocols import ANY, Protocol, case
from hf_dd.nn.views import Views

# --- soft labels: KL without T², weights of matrices alone decay, ImageNet's statistics

CROPS = Views(scale=(0.08, 1.0), flip=True)
CUTMIX = dataclasses.replace(CROPS, mix="cutmix")
LARGE = {
    "optimizer": "adamw",
    "schedule": "cosine",
    "learning_rate": 0.001,
    "augment": "none",
    "weight_decay": 0.01,
    "decays_matrices": True,
    "normalisation": "imagenet",
    "loss": "kl",
    "squared": False,
    "temperature": 20.0,
}
RESIZED = case(side=(65, ANY), resizes_tests=True)  # 224 pixels out of 256

# Sun, Shi, Yu & Lin, CVPR 2024. With factor 1, for images of at most 64 pixels, nothing is cropped.
TILES = Views(scale=(0.5, 1.0), flip=True, shuffle=2, mix="cutmix")
WHOLE = Views(flip=True, mix="cutmix")
DOUBLED = [(100, 100), (1000, 1000)]  # numbers of classes
RDED = PROTOCOLS.register(
    "rded",
    title="online soft labels at temperature 20, shuffled tiles, crops, CutMix; batch by ipc, rate by student",
    paper="Sun, Shi, Yu & Lin, CVPR 2024",
    sizes="ipc 1, 10 and 50 are theirs; 2 to 9 take a batch of 15, 11 to 49 that of 10, from 50 on that of 50",
)(
    Protocol(
        "rded",
        2,
        epochs=300,
        **LARGE,
        schedule_end=0.5,
        labels="online",
        views=TILES,
        batch_size=100,
        passes_twice=True,
        looks=(10, 0.8),
        cases=(
            case(side=(0, 64), views=WHOLE),
            case(side=(65, ANY), decodes=False),
            case(side=(33, ANY), resizes_tests=True),
            case(side=(0, 32), classes=(100, 100), students=("convnet",), batch_size=25, learning_rate=0.002),
            case(classes=(200, 200), batch_size=100),
            *(case(ipc=(0, 1), classes=both, batch_size=20) for both in DOUBLED),
            *(case(ipc=(1, 9), classes=both, batch_size=30) for both in DOUBLED),
            *(case(ipc=(9, 49), classes=both, batch_size=100) for both in DOUBLED),
            *(case(ipc=(49, ANY), classes=both, batch_size=200) for both in DOUBLED),
            case(ipc=(0, 1), batch_size=10),
            case(ipc=(1, 9), batch_size=15),
            case(ipc=(9, 49), batch_size=50),
            case(students=("vgg11",), learning_rate=0.0005),
            case(students=("efficientnet_b0",), learning_rate=0.002),
            case(students=("mobilenetv2",), learning_rate=0.0025),
            case(students=("alexnet", "vit_base_patch16", "swinv2_tiny", "swinv2_cr_tiny"), learning_rate=0.0001),
        ),
    )
)
PROTOCOLS.register(
    "rded-fixed",
    title="`rded` with the student's batch statistics updated once per step",
    paper="Sun, Shi, Yu & Lin, CVPR 2024",
    sizes="as `rded`",
)(dataclasses.replace(RDED, name="rded-fixed", passes_twice=False))

# Yin, Xing & Shen, NeurIPS 2023. The CIFAR-100 script never puts the teacher into eval mode, normalises by CIFAR-10's
# constants, and decays all weights; Tiny-ImageNet's as LPLD (NeurIPS 2024) replays it.
SMALL_SRE2L = (
    case(
        side=(0, 32),
        epochs=400,
        batch_size=128,
        accumulate=1,
        decays_matrices=False,
        normalisation="cifar10",
        views=Views(padding=4, flip=True, mix="mixup", alpha=0.8),
        temperature=30.0,
        batch_statistics=True,
    ),
    case(
        side=(33, 64),
        epochs=100,
        batch_size=64,
        accumulate=1,
        optimizer="sgd",
        learning_rate=0.2,
        weight_decay=1e-4,
        schedule="warm",
        decays_matrices=False,
        views=CROPS,
        squared=True,
    ),
)
PROTOCOLS.register(
    "sre2l-fkd",
    title="stored soft labels of every epoch's crops at temperature 20, CutMix, batches of 1,024 in two halves",
    paper="Yin, Xing & Shen, NeurIPS 2023",
    sizes="one setting for every ipc",
)(
    Protocol(
        "sre2l-fkd",
        2,
        epochs=300,
        batch_size=512,
        accumulate=2,
        labels="crops",
        views=CUTMIX,
        cases=(RESIZED,),
        **LARGE,
    )
)
SRE2L_KD = PROTOCOLS.register(
    "sre2l-kd",
    title="`sre2l-fkd` with the teachers asked in every step; CIFAR's and Tiny-ImageNet's settings by side",
    paper="Yin, Xing & Shen, NeurIPS 2023",
    sizes="one setting for every ipc; up to 32 pixels CIFAR-100's, up to 64 Tiny-ImageNet's, else ImageNet's",
)(
    Protocol(
        "sre2l-kd",
        2,
        epochs=300,
        batch_size=512,
        accumulate=2,
        labels="online",
        cases=(*SMALL_SRE2L, RESIZED),
        views=CUTMIX,
        **LARGE,
    )
)
PROTOCOLS.register(
    "sre2l-kd-fixed",
    title="`sre2l-kd` with teachers in eval mode and images normalised by their own statistics, for CIFAR",
    paper="Yin, Xing & Shen, NeurIPS 2023",
    sizes="as `sre2l-kd`",
)(
    dataclasses.replace(
        SRE2L_KD,
        name="sre2l-kd-fixed",
        cases=(case(side=(0, 32), batch_statistics=False, normalisation="source"), *SRE2L_KD.cases),
    )
)

# The first comparison of pruning rules with distilled sets on equal terms (arXiv 2502.06434), under soft labels and
# under hard ones.
PROTOCOLS.register(
    "rethinkdc-soft",
    title="online soft labels at temperature 20, crops, CutMix, batches of 128",
    paper="arXiv 2502.06434",
    sizes="one setting for every ipc",
)(
    Protocol(
        "rethinkdc-soft",
        2,
        epochs=300,
        batch_size=128,
        labels="online",
        views=CUTMIX,
        cases=(RESIZED,),
        **LARGE,
    )
)
PROTOCOLS.register(
    "rethinkdc-hard",
    title="hard labels, crops, batches of 128 (AdamW, cosine)",
    paper="arXiv 2502.06434",
    sizes="one setting for every ipc",
)(
    Protocol(
        "rethinkdc-hard",
        2,
        epochs=300,
        batch_size=128,
        views=CROPS,
        cases=(RESIZED,),
        **LARGE | {"temperature": None, "loss": "ce", "squared": True},
    )
)

# --- hard labels with mixed images: the protocol of IDC (Kim et al., ICML 2022) and of the generators' papers

IDC_VIEWS = Views(scale=(0.5, 1.0), flip=True, jitter=0.4, lighting=0.1, mix="cutmix")
IDC_EPOCHS = ((1, 3000), (10, 2000), (50, 1500), (200, 1000), (500, 500), (ANY, 300))  # up to so many images per class
LARGER = {"learning_rate": 0.1, "weight_decay": 1e-4, "batch_size": 128}  # data sets
EPOCHS_BY_IPC = (
    *(case(ipc=(0, most), classes=(100, 100), epochs=epochs * 2 // 3 // 100 * 100) for most, epochs in IDC_EPOCHS),
    *(case(ipc=(0, most), epochs=epochs) for most, epochs in IDC_EPOCHS),
)
MINIMAX = Protocol(
    "minimax-hard",
    1,
    epochs=300,
    learning_rate=0.01,
    augment="none",
    batch_size=64,
    schedule="fifths",
    views=IDC_VIEWS,
    normalisation="imagenet",
    looks=(0.01, 0.0),
    cases=(case(side=(65, ANY), classes=(101, ANY), **LARGER), *EPOCHS_BY_IPC),
)
PROTOCOLS.register(
    "minimax-hard",
    title="hard labels, crops, colours, CutMix; epochs by ipc (IDC's for ImageNet)",
    paper="Gu et al., CVPR 2024",
    sizes="epochs for up to 1, 10, 50, 200 and 500 images per class, tiles counted",
)(MINIMAX)

# Cui et al., NeurIPS 2025: labels depend on their batch, as the teachers stay in train mode. By the kind of data set:
CIFAR, TINY = {"side": (0, 32)}, {"side": (33, 64)}
NETTE, IMAGENET = {"side": (65, ANY), "classes": (0, 100)}, {"side": (65, ANY), "classes": (101, ANY)}
DEEP = ("resnet50", "resnet101")
BY_CIFAR_100 = case(**CIFAR, normalisation="cifar100")
PROTOCOLS.register(
    "fadrm",
    title="online soft labels by teachers on the batch's statistics, crops, CutMix, batches of 16",
    paper="Cui et al., NeurIPS 2025",
    sizes="ipc 1, 10 and 50 are theirs; 2 to 49 take 10's values, from 50 on 50's; other students ResNet-18's; all of "
    "up to 100 classes above 64 pixels ImageNette's, ImageWoof too, which theirs tune by cell",
)(
    Protocol(
        "fadrm",
        2,
        epochs=300,
        batch_size=16,
        labels="online",
        views=CUTMIX,
        batch_statistics=True,
        looks=(10, 0.8),
        schedule_end=0.5,
        cases=(
            BY_CIFAR_100,
            case(**CIFAR, students=("resnet50",), ipc=(0, 1), learning_rate=0.001, schedule_end=0.0),
            case(**CIFAR, students=("resnet101",), learning_rate=0.0005, schedule_end=0.0),
            case(**CIFAR, students=("resnet50",), ipc=(0, 49), learning_rate=0.001, schedule_end=0.5),
            case(**CIFAR, students=("resnet50",), learning_rate=0.001, schedule_end=0.0),
            case(**CIFAR, ipc=(0, 1), learning_rate=0.0005),
            case(**TINY, students=DEEP, ipc=(0, 49), learning_rate=0.0005, schedule_end=0.5),
            case(**TINY, students=DEEP, learning_rate=0.0005, schedule_end=0.0),
            case(**IMAGENET, students=("resnet50",), ipc=(0, 1), learning_rate=0.0005),
            case(**IMAGENET, students=("resnet101",), ipc=(0, 1), learning_rate=0.0035),
            case(**IMAGENET, students=("resnet101",), ipc=(50, ANY), learning_rate=0.0005, schedule_end=0.0),
            # ImageNette's; ImageWoof's differ by cell
            case(**NETTE, ipc=(0, 1), learning_rate=0.0005, schedule_end=0.5),
            case(**NETTE, ipc=(1, 49), learning_rate=0.0005, schedule_end=0.0),
            case(**NETTE, students=("resnet50",), learning_rate=0.0005, schedule_end=0.0),
            case(**NETTE, students=("resnet101",), learning_rate=0.001, schedule_end=0.5),
            case(**NETTE, learning_rate=0.0005, schedule_end=0.5),
            # ResNet-18, and what isn't named
            case(ipc=(50, ANY), schedule_end=0.0),
            RESIZED,
        ),
        **LARGE,
    )
)

PROTOCOLS.register(
    "idc",
    title="hard labels; up to 64 pixels several operations and CutMix in half of the batches, else crops and colours",
    paper="Kim et al., ICML 2022",
    sizes="small images 1,000 epochs; larger ones for up to 1, 10, 50, 200 and 500 images per class, tiles counted",
)(
    dataclasses.replace(
        MINIMAX,
        name="idc",
        version=2,  # the first took one operation for each image
        looks=None,
        cases=(
            case(
                side=(0, 64),
                epochs=1000,
                augment="composite_color_crop_flip_scale_rotate",
                views=Views(mix="cutmix", probability=0.5),
                normalisation="source",
            ),
            case(side=(65, ANY), classes=(100, ANY), **LARGER),
            *EPOCHS_BY_IPC,
        ),
    )
)

# --- one stored soft label per image

# DD-Ranking (Li et al., 2025): the demo's values. It chooses the rate on the test split: name several by
# --eval_learning_rates, and they are chosen among on a validation split. Mixed images keep the label of the unmixed.
DDRANKING = PROTOCOLS.register(
    "ddranking-soft",
    title="one stored soft label per image at temperature 1.2, CutMix without mixing the labels, batches of 1,024",
    paper="Li et al., 2025 (DD-Ranking)",
    sizes="one setting for every ipc",
)(
    Protocol(
        "ddranking-soft",
        1,
        epochs=300,
        batch_size=1024,
        learning_rate=0.01,
        weight_decay=0.01,
        augment="none",
        optimizer="adamw",
        schedule="cosine",
        schedule_end=0.5,
        labels="soft",
        temperature=1.2,
        teacher_mean="logits",
        loss="kl",
        squared=False,
        views=Views(mix="cutmix"),
        mixes_labels=False,
        looks=(20, 0.0),
    )
)
PROTOCOLS.register(
    "ddranking-soft-fixed",
    title="`ddranking-soft` with the labels mixed as the images are",
    paper="Li et al., 2025 (DD-Ranking)",
    sizes="as `ddranking-soft`",
)(dataclasses.replace(DDRANKING, name="ddranking-soft-fixed", mixes_labels=True))
