"""The registered protocols: those of small images, of a linear probe, and of the audit's regimes.

Those of large images and soft labels, and of hard labels with mixed images, are in `registered_papers`, those whose
students learn logits in `registered_teacher_logits`.
"""

import dataclasses

from hf_dd.core.registry import PROTOCOLS
from hf_dd.core.strategies import SIAMESE
from hf_dd.evaluation.protocols import Protocol
from hf_dd.nn.views import Views

ADAMW = {"optimizer": "adamw", "schedule": "cosine", "learning_rate": 0.001}

# Zhao, Mopuri & Bilen, ICLR 2021: no augmentation.
PROTOCOLS.register("dc", title="from scratch, 300 epochs, no augmentation", paper="Zhao, Mopuri & Bilen, ICLR 2021")(
    Protocol("dc", 1, epochs=300, learning_rate=0.01, augment="none")
)
# Zhao & Bilen, ICML 2021 and WACV 2023: Siamese augmentation's operations.
DSA = PROTOCOLS.register(
    "dsa",
    title="from scratch, 1,000 epochs, Siamese augmentation's operations",
    paper="Zhao & Bilen, ICML 2021 and WACV 2023",
)(Protocol("dsa", 1, epochs=1000, learning_rate=0.01, augment=SIAMESE))
# The same to the letter of the authors' code, of DSA, DM and MTT alike: an epoch more, a drop an epoch later by a new
# optimiser, and one operation for all images of a batch.
PROTOCOLS.register(
    "dsa-authors",
    title="as dsa, with the slips of the authors' loop: 1,001 epochs, one operation per batch",
    paper="Zhao & Bilen, ICML 2021 and WACV 2023",
)(dataclasses.replace(DSA, name="dsa-authors", epochs=1001, schedule="restart", one_operation=True))
# The same on the labels that come with a set that was distilled to be learned so: TESLA's at ImageNet-1k (Cui et al.,
# ICML 2023), and DATM's, in batches of 128 (Guo et al., ICLR 2024).
DSA_SOFT = PROTOCOLS.register(
    "dsa-soft",
    title="as dsa, on the set's own soft labels",
    paper="Cui et al., ICML 2023",
)(Protocol("dsa-soft", 1, epochs=1000, learning_rate=0.01, augment=SIAMESE, labels="soft"))
PROTOCOLS.register(
    "datm",
    title="as dsa-soft, in batches of 128",
    paper="Guo et al., ICLR 2024",
)(dataclasses.replace(DSA_SOFT, name="datm", batch_size=128))
# Yin et al., NeurIPS 2023, and Sun et al., CVPR 2024, train on soft labels with AdamW and a cosine schedule.
SOFT_LABEL = PROTOCOLS.register(
    "soft-label",
    title="from scratch on the set's stored soft labels (AdamW, cosine)",
    paper="Yin et al., NeurIPS 2023; Sun et al., CVPR 2024",
)(Protocol("soft-label", 1, epochs=300, augment=SIAMESE, weight_decay=0.01, labels="soft", **ADAMW))
# The same with the teachers asked in every step (Hinton, Vinyals & Dean, 2015): those papers store labels of every
# epoch's crops instead, for the same effect.
ONLINE = PROTOCOLS.register(
    "soft-label-online",
    title="from scratch on what teachers say of the student's own augmented batch, at temperature 4",
    paper="Hinton, Vinyals & Dean, 2015",
)(dataclasses.replace(SOFT_LABEL, name="soft-label-online", labels="online", temperature=4.0))
# Batches of 256 leave a small set few steps: 2 an epoch for 400 images. By held-out images of Fashion-MNIST, on such a
# set of tiles at ipc 10, students did best in batches of 32 with CutMix (then 64), which hurts in batches of 256;
# their teachers had seen those images.
PROTOCOLS.register(
    "soft-label-online-cutmix",
    title="as soft-label-online, in batches of 32 whose images are mixed",
    paper="Hinton, Vinyals & Dean, 2015; Yun et al., ICCV 2019",
)(dataclasses.replace(ONLINE, name="soft-label-online-cutmix", batch_size=32, views=Views(mix="cutmix")))
# The views that --soft_labels crops stores if nothing else is asked for, at the same temperature.
PROTOCOLS.register(
    "soft-label-crops",
    title="from scratch on the set's stored labels of crops, at temperature 4",
    paper="Yin et al., NeurIPS 2023",
)(
    dataclasses.replace(
        SOFT_LABEL,
        name="soft-label-crops",
        augment="none",
        labels="crops",
        temperature=4.0,
        views=Views(scale=(0.08, 1.0), flip=True, mix="cutmix", each=True),
    )
)
# Cazenavette, Torralba & Sitzmann, NeurIPS 2025 (Linear Gradient Matching): Adam (AdamW without decay) at 0.001
# for 256 images, 1,000 epochs along a cosine; here on features that are computed once.
PROBE = PROTOCOLS.register(
    "linear-probe",
    title="a linear head on the frozen features of pre-trained teachers",
    paper="Cazenavette, Torralba & Sitzmann, NeurIPS 2025",
)(
    Protocol(
        "linear-probe",
        1,
        epochs=1000,
        augment="none",
        weight_decay=0.0,
        normalisation="backbone",
        trains="head",
        **ADAMW,
    )
)
# The same as their code trains it: heads drawn small, new crops and mirrored images for every batch, which has 100
# images at most, and the rate by the batch. Their crops may reach over an image's edge, into zeros; these don't.
PROTOCOLS.register(
    "lgm",
    title="a linear head on the features of crops of every batch",
    paper="Cazenavette, Torralba & Sitzmann, NeurIPS 2025",
)(
    dataclasses.replace(
        PROBE,
        name="lgm",
        batch_size=100,
        rate_images=256,
        head_std=0.01,
        views=Views(scale=(0.08, 1.0), flip=True, each=True),
    )
)

# The audit's regimes (arXiv 2604.18811), as a reproduction tells them: hard labels, one soft label per image, fresh
# ones for every view. All have the same number of steps.
AUDIT = {"epochs": 300, "augment": SIAMESE, "batch_size": 256}
PROTOCOLS.register(
    "hl", title="the audit's regime of hard labels", paper="arXiv 2604.18811", sizes="one setting for every ipc"
)(Protocol("hl", 1, learning_rate=0.01, **AUDIT))
SL = PROTOCOLS.register(
    "sl",
    title="the audit's regime of one fixed soft label per image, at temperature 20, real images' too",
    paper="arXiv 2604.18811",
    sizes="one setting for every ipc",
)(
    Protocol(
        "sl",
        1,
        **ADAMW,
        **AUDIT,
        weight_decay=0.01,
        labels="soft",
        temperature=20.0,
        loss="kl",
        squared=False,
    )
)
PROTOCOLS.register(
    "sl-kd",
    title="the audit's regime of fresh soft labels for every view, at temperature 20",
    paper="arXiv 2604.18811",
    sizes="one setting for every ipc",
)(dataclasses.replace(SL, name="sl-kd", labels="online"))
