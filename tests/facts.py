"""Facts of papers and of their authors' code that recipes and defaults claim, each with its source.

They are written down once more here, as the sources have them, and not read from the code that is tested.
"""

HUB = {  # what the commands call a data set, and where it lies on the Hub
    "CIFAR10": "uoft-cs/cifar10",
    "CIFAR100": "uoft-cs/cifar100",
    "Tiny": "zh-plus/tiny-imagenet",
    "ImageNet": "ILSVRC/imagenet-1k",
}

# DC-BENCH (Cui et al., NeurIPS 2022), its commands for trajectory matching: "All the sota parameters are provided by
# the author". MTT's own readme has the first of CIFAR-100; its authors call their table's row of CIFAR-10, ipc 10, a
# typo. Each is of its `distill.py`.
MTT = (
    "--dataset=CIFAR10 --ipc=1 --syn_steps=50 --expert_epochs=2 --max_start_epoch=2 --lr_img=100 --lr_lr=1e-07 "
    "--lr_teacher=0.01 --zca",
    "--dataset=CIFAR10 --ipc=10 --syn_steps=30 --expert_epochs=2 --max_start_epoch=20 --lr_img=100 --lr_lr=1e-05 "
    "--lr_teacher=0.001 --zca",
    "--dataset=CIFAR10 --ipc=50 --syn_steps=30 --expert_epochs=2 --max_start_epoch=40 --lr_img=1000 --lr_lr=1e-05 "
    "--lr_teacher=0.001",
    "--dataset=CIFAR100 --ipc=1 --syn_steps=20 --expert_epochs=3 --max_start_epoch=20 --lr_img=1000 --lr_lr=1e-05 "
    "--lr_teacher=0.01 --zca",
    "--dataset=CIFAR100 --ipc=10 --syn_steps=20 --expert_epochs=2 --max_start_epoch=20 --lr_img=1000 --lr_lr=1e-05 "
    "--lr_teacher=0.01",
    "--dataset=CIFAR100 --ipc=50 --syn_steps=80 --expert_epochs=2 --max_start_epoch=40 --lr_img=1000 --lr_lr=1e-05 "
    "--lr_teacher=0.01 --batch_syn=125 --zca",
    "--dataset=Tiny --ipc=1 --syn_steps=10 --expert_epochs=2 --max_start_epoch=10 --lr_img=10000 --lr_lr=1e-04 "
    "--lr_teacher=0.01",
    "--dataset=Tiny --ipc=10 --syn_steps=20 --expert_epochs=2 --max_start_epoch=40 --lr_img=10000 --lr_lr=1e-04 "
    "--lr_teacher=0.01 --batch_syn=200",
    "--dataset=Tiny --ipc=50 --syn_steps=20 --expert_epochs=2 --max_start_epoch=40 --lr_img=10000 --lr_lr=1e-04 "
    "--lr_teacher=0.01 --batch_syn=300",
)

# TESLA's readme (Cui et al., ICML 2023); iterations, 10,000, are the default of its `distill.py`.
TESLA = (
    "--dataset=CIFAR10 --ipc=1 --syn_steps=50 --expert_epochs=2 --max_start_epoch=5 --lr_img=1000 --lr_lr=1e-07 "
    "--lr_teacher=0.01",
    "--dataset=CIFAR100 --ipc=50 --syn_steps=80 --expert_epochs=2 --max_start_epoch=40 --lr_img=1000 --lr_lr=1e-05 "
    "--lr_teacher=0.01 --batch_syn=125 --zca",
    "--dataset=ImageNet --ipc=1 --syn_steps=10 --expert_epochs=3 --max_start_epoch=10 --lr_img=10000 --lr_lr=1e-04 "
    "--lr_teacher=0.01 --batch_syn=100 --model=ConvNetD4 --teacher_label",
)

# The readme of DC, DSA and DM (Zhao & Bilen): "for CIFAR10 dataset we set --lr_img 1 for --ipc = 1/10/50, --lr_img 10
# for --ipc = 100/200/500/1000/1250. For CIFAR100 dataset, we set --lr_img 1 for --ipc = 1/10/50/100/125."
DM_RATES = [("CIFAR10", ipc, 1.0) for ipc in (1, 10, 50)] + [("CIFAR100", ipc, 1.0) for ipc in (1, 10, 50, 100, 125)]
DM_RATES += [("CIFAR10", ipc, 10.0) for ipc in (100, 200, 500, 1000, 1250)]
# IDC's code (misc/reproduce.py): distance, lr_img at ten images for a class's step, n_data, and (size / base)².
IDC = {
    "CIFAR10": ("mse", 5e-3, 2000, 1.0),
    "SVHN": ("mse", 5e-3, 500, 1.0),
    "MNIST": ("l1", 1e-4, 500, 1.0),
    "FashionMNIST": ("l1", 1e-4, 500, (28 / 32) ** 2),
}
DC_MLP_RATE = 0.01  # the same: "set --lr_img 0.01 when --model MLP", of DC's cross-architecture table
DC_LOOPS = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}  # its `get_loops`


def command_options(line):
    """The options of a command by name; those that are flags have the value ""."""
    return dict(word.removeprefix("--").partition("=")[::2] for word in line.split())


# What a recipe claims to have as published: by its name the source, options of the run, and those of the objective
# or of the protocol. Sources are papers, or the defaults of their authors' code where it is named.
CLOM_TEACHERS = {
    **{"epochs": 150, "learning_rate": 0.01, "momentum": 0.9, "weight_decay": 5e-3, "batch_size": 256},
    **{"lr_drops": [50, 100], "augment": "none", "count": 10},
}
MTT_EXPERTS = {  # `buffer.py` of MTT's code; `--decay` is off
    **{"epochs": 50, "learning_rate": 0.01, "momentum": 0.0, "weight_decay": 0.0, "batch_size": 256},
    **{"lr_drops": [], "augment": "color_crop_cutout_flip_scale_rotate", "count": 100},
    "augment_by": "batch",  # `DiffAugment` draws one operation in each call
}
CIFAR = ("cifar10", "cifar100")
TEACHERS = {
    "cifar10-teachers": ("CLoM (arXiv 2310.03295)", CLOM_TEACHERS),
    "cifar100-teachers": ("CLoM (arXiv 2310.03295)", CLOM_TEACHERS),
    **{f"{data}-experts": ("MTT's code", MTT_EXPERTS) for data in ("cifar10", "cifar100", "tiny-imagenet")},
    **{f"{data}-experts-zca": ("MTT's code, --zca", MTT_EXPERTS | {"zca": True}) for data in CIFAR},
    **{
        f"{data}-experts-datm": ("the readme of DATM's code", MTT_EXPERTS | {"zca": True, "epochs": 100})
        for data in CIFAR
    },
    "imagenet-1k-experts": ("the readme of TESLA's code", MTT_EXPERTS | {"count": 50}),
}
SGD = {"image_optimizer": "sgd", "image_momentum": 0.5, "image_schedule": "constant"}
ALL_SIX = "color_crop_cutout_flip_scale_rotate"
DM = SGD | {
    "iterations": 20_000,
    "real_batch_size": 256,
    "image_learning_rate": 1.0,
    "init": "real",
    "augment": ALL_SIX,
}
DC = SGD | {
    "iterations": 1_000,
    "real_batch_size": 256,
    "image_learning_rate": 0.1,
    "init": "noise",
    "augment": "none",
}
DSA = DC | {"init": "real", "augment": ALL_SIX}
LOOPS = {"outer": 10, "inner": 50}
SRE2L = {"image_optimizer": "adam", "image_learning_rate": 0.25, "image_schedule": "cosine", "init": "noise"}
LGM = {"image_optimizer": "adam", "image_learning_rate": 2e-3, "iterations": 5_000, "init": "noise"}
SETS = {  # recipe: source, options of the run, the objective's own, the protocol's
    "cifar10-dm": ("DM's code", DM, {}, {"epochs": 1000, "augment": ALL_SIX}),
    "cifar100-dm": ("DM's code", DM, {}, {"epochs": 1000, "augment": ALL_SIX}),
    "cifar10-dc": ("DC's code", DC, LOOPS, {"epochs": 300, "augment": "none"}),
    "cifar100-dc": ("DC's code", DC, LOOPS, {"epochs": 300, "augment": "none"}),
    "cifar10-dsa": ("DSA's code", DSA, LOOPS, {"epochs": 1000, "augment": ALL_SIX}),
    "cifar100-dsa": ("DSA's code", DSA, LOOPS, {"epochs": 1000, "augment": ALL_SIX}),
    "cifar10-rded": ("RDED's code", {"init": "rded"}, {"images": 300, "crops": 5, "tiles": 1, "scale": 0.08}, {}),
    "imagenet-1k-rded": (
        "RDED's code: factor 2, crops padded by zeros",
        {"init": "rded", "test_resize": 256},
        {"images": 300, "crops": 5, "tiles": 2, "scale": 0.08, "view": "padded"},
        {"name": "rded", "epochs": 300},
    ),
    "cifar100-sre2l": (
        "SRe2L's recovery for CIFAR-100",
        SRE2L | {"iterations": 1_000},
        {"batch": 100, "bn_weight": 0.01, "first_bn_weight": 10.0, "jitter": 4, "flip": 0.0, "scale": 1.0},
        {"epochs": 300},
    ),
    "imagenet-1k-sre2l": (
        "SRe2L's recovery for ImageNet-1k",
        SRE2L | {"iterations": 4_000, "ipc": 50},
        {"batch": 100, "bn_weight": 0.01, "first_bn_weight": 10.0, "jitter": 32, "flip": 0.5, "scale": 0.08},
        {"epochs": 300},
    ),
    "imagenet-1k-cim": (
        "CIM's code for ResNet-18 at 224 pixels",
        {
            **{"image_optimizer": "adam", "image_learning_rate": 0.01, "iterations": 200, "factor": 2},
            **{"init": "surest", "augment": "composite_crop_cutout_flip"},
        },
        {"layer": "model.layer2"},
        {},
    ),
    "cifar10-lgm": (
        "LGM's code",
        LGM | {"ipc": 1},
        {"copies": 10, "pyramid_steps": 200, "head_std": 0.01, "smallest_crop": 0.08, "views": "flip_crop_noise"},
        {"epochs": 1000, "weight_decay": 0.0},
    ),
    "imagenet-1k-lgm": ("LGM's paper: 3 copies", LGM | {"ipc": 1}, {"copies": 3, "pyramid_steps": 200}, {}),
}
# α of the guide, said to be the authors' for these cells. In public is only 1,000 for DC at CIFAR-10, ipc 10, in the
# readme of CLoM's code.
ALPHAS = {"cifar10-dm-clom": 2000.0, "cifar100-dm-clom": 500.0}
TRAJECTORY_RECIPES = {  # recipe: the objective, and which of its authors' commands it is
    **{"cifar10-mtt": ("mtt", MTT[1]), "cifar100-mtt": ("mtt", MTT[4]), "tiny-imagenet-mtt": ("mtt", MTT[7])},
    **{"cifar10-tesla": ("tesla", TESLA[0]), "cifar100-tesla": ("tesla", TESLA[1])},
    "imagenet-1k-tesla": ("tesla", TESLA[2]),
}

# The configurations of DATM's code (Guo et al., ICLR 2024), `configs/*/ConvIN/IPC*.yaml`, a row each; what one lacks
# is the default of its `utils/cfg.py`. "fixed" stands for `Sequential_Generation: False`, which ignores both columns;
# all have `zca: True`, `Iteration: 10000`, `lr_teacher: 0.01` and `Momentum_y: 0.9`.
DATM_COLUMNS = (
    "dataset ipc syn_steps expert_epochs lr_img batch_syn lr_y threshold pix_init min_start_epoch "
    "current_max_start_epoch max_start_epoch expansion_end_epoch lr_lr"
)
DATM = (
    "CIFAR10 1 80 2 100 10 5. 1.1 samples_predicted_correctly 0 fixed 4 fixed 0.0000001",
    "CIFAR10 10 80 2 100 100 2.0 1. samples_predicted_correctly 0 10 20 1000 0.00001",
    "CIFAR10 50 80 2 1000 500 2. 1. samples_predicted_correctly 0 20 40 2000 0.00001",
    "CIFAR10 500 40 2 50 1000 10. 1. samples_predicted_correctly 40 fixed 60 fixed 0.00001",
    "CIFAR10 1000 100 2 50 1000 10. 1. samples_predicted_correctly 40 fixed 60 fixed 0.00001",
    "CIFAR100 1 40 3 1000 1000 10.0 1. samples_predicted_correctly 0 10 20 1000 0.00001",
    "CIFAR100 10 80 2 1000 1000 10.0 1. samples_predicted_correctly 0 30 50 2000 0.00001",
    "CIFAR100 50 80 2 1000 1000 10.0 1. real 20 fixed 70 fixed 0.00001",
    "CIFAR100 100 80 2 50 1000 10.0 1. samples_predicted_correctly 30 fixed 70 fixed 0.00001",
    "Tiny 1 40 2 10000 1000 10.0 1. samples_predicted_correctly 0 15 20 2000 0.0001",
    "Tiny 10 40 2 100 500 10.0 1. samples_predicted_correctly 10 fixed 50 fixed 0.0001",
    "Tiny 50 20 2 100 1000 10.0 1. samples_predicted_correctly 40 fixed 70 fixed 0.0001",
)
