"""What the papers take for single data sets and numbers of images per class: the rows of their tables of settings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hf_dd.config import DistillConfig
from hf_dd.config.known_data import known_name


@dataclass(frozen=True)
class Cell:
    """What a paper takes otherwise for a data set, a number of images per class or a network: with `--published`.

    Attributes:
        source: where that is said.
        dataset: as `config.known_data` calls it; None for any.
        ipc: the least and the most images per class, None for no limit.
        architecture: of `--architecture`; None for any.
        options: of the run, by name.
        own: options of the objective's own, by name.
    """

    source: str
    dataset: str | None = None
    ipc: tuple[int | None, int | None] = (None, None)
    architecture: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    own: Mapping[str, Any] = field(default_factory=dict)

    def fits(self, config: DistillConfig) -> bool:
        """Whether these are the values of such a run."""
        least, most = self.ipc
        return (
            self.dataset in (None, known_name(config.dataset))
            and self.architecture in (None, config.architecture)
            and (least or 0) <= config.ipc <= (most or config.ipc)
        )

    @property
    def where(self) -> str:
        """What it is of, in words."""
        least, most = self.ipc
        ipc = f"ipc {least}" if least == most else f"ipc {least or 1} to {most}" if most else f"ipc {least} and more"
        parts = [self.dataset, ipc if least or most else None, self.architecture]
        return ", ".join(filter(None, parts)) or "always"

    @property
    def values(self) -> dict[str, Any]:
        """The options as they are given on a command line, and then those of the objective's own."""
        return {f"--{name}": value for name, value in self.options.items()} | dict(self.own)


# MTT's table is a picture in the readme of its code, whose authors say that it has a slip at CIFAR-10, ipc 10. The
# benchmark DC-BENCH (Cui et al., NeurIPS 2022) gives the commands, "provided by the author", and FTD (Du et al., CVPR
# 2023) the same for that cell. At CIFAR-100, ipc 1, they are those of the readme's own example.
DC_BENCH = "DC-BENCH's commands for MTT, provided by its author"
MTT_README = "the readme of MTT's code"
TESLA_README = "the readme of TESLA's code"
BY_BATCH = {"augment_by": "batch"}  # in all of their code


def cell(
    source: str,
    dataset: str,
    ipc: int,
    steps: int,
    epochs: int,
    starts: int,
    image_rate: float,
    lr_lr: float,
    rate: float = 0.01,
    batch: int = 0,
    zca: bool = False,
    **more: Any,
) -> Cell:
    """A row of trajectory matching: N, M, T⁺, the rates of the images and of a, a's start, batch, whitening."""
    own = {"student_steps": steps, "expert_epochs": epochs, "max_start_epoch": starts, "student_batch_size": batch}
    own |= {"student_learning_rate": rate, "lr_lr": lr_lr} | BY_BATCH | more
    return Cell(source, dataset, (ipc, ipc), options={"image_learning_rate": image_rate, "zca": zca}, own=own)


MTT = (
    cell(DC_BENCH, "cifar10", 1, 50, 2, 2, 100.0, 1e-7, zca=True),
    cell(DC_BENCH, "cifar10", 10, 30, 2, 20, 100.0, 1e-5, rate=0.001, zca=True),
    cell(DC_BENCH, "cifar10", 50, 30, 2, 40, 1_000.0, 1e-5, rate=0.001),
    cell(MTT_README, "cifar100", 1, 20, 3, 20, 1_000.0, 1e-5, zca=True),
    cell(DC_BENCH, "cifar100", 10, 20, 2, 20, 1_000.0, 1e-5),
    cell(DC_BENCH, "cifar100", 50, 80, 2, 40, 1_000.0, 1e-5, batch=125, zca=True),
    cell(DC_BENCH, "tiny-imagenet", 1, 10, 2, 10, 10_000.0, 1e-4),
    cell(DC_BENCH, "tiny-imagenet", 10, 20, 2, 40, 10_000.0, 1e-4, batch=200),
    cell(DC_BENCH, "tiny-imagenet", 50, 20, 2, 40, 10_000.0, 1e-4, batch=300),
)
HALF = {"pixel_gradient": "code"}  # TESLA's code takes half of its formula's gradient: to that its rates belong
TESLA = (
    cell(TESLA_README, "cifar10", 1, 50, 2, 5, 1_000.0, 1e-7, **HALF),
    cell(TESLA_README, "cifar100", 50, 80, 2, 40, 1_000.0, 1e-5, batch=125, zca=True, **HALF),
    cell(TESLA_README, "imagenet-1k", 1, 10, 3, 10, 10_000.0, 1e-4, batch=100, labels="expert", **HALF),
)
DATM_CONFIGS = "the configurations of DATM's code"


def datm(
    dataset: str,
    ipc: int,
    steps: int,
    image_rate: float,
    batch: int,
    label_rate: float,
    starts: tuple[int, int, int],
    growth: int = 0,
    epochs: int = 2,
    lr_lr: float = 1e-5,
    **more: Any,
) -> Cell:
    """A row of DATM: N, the rate of the images, images a step, the labels' rate, (T⁻, T₀, T⁺), E, M, the rate of a."""
    ranges = dict(zip(("min_start_epoch", "first_max_start_epoch", "max_start_epoch"), starts, strict=True))
    own = {"student_steps": steps, "expert_epochs": epochs, "student_batch_size": batch, "label_rate": label_rate}
    own |= BY_BATCH | ranges | {"growth": growth, "lr_lr": lr_lr, "threshold": more.pop("threshold", 1.0)}
    options = {"image_learning_rate": image_rate, "zca": True} | more
    return Cell(DATM_CONFIGS, dataset, (ipc, ipc), options=options, own=own)


DATM = (
    datm("cifar10", 1, 80, 100.0, 10, 5.0, (0, 4, 4), lr_lr=1e-7, threshold=1.1),
    datm("cifar10", 10, 80, 100.0, 100, 2.0, (0, 10, 20), 1000),
    datm("cifar10", 50, 80, 1_000.0, 500, 2.0, (0, 20, 40), 2000),
    datm("cifar10", 500, 40, 50.0, 1000, 10.0, (40, 60, 60)),
    datm("cifar10", 1000, 100, 50.0, 1000, 10.0, (40, 60, 60)),
    datm("cifar100", 1, 40, 1_000.0, 1000, 10.0, (0, 10, 20), 1000, epochs=3),
    datm("cifar100", 10, 80, 1_000.0, 1000, 10.0, (0, 30, 50), 2000),
    datm("cifar100", 50, 80, 1_000.0, 1000, 10.0, (20, 70, 70), init="real"),
    datm("cifar100", 100, 80, 50.0, 1000, 10.0, (30, 70, 70)),
    datm("tiny-imagenet", 1, 40, 10_000.0, 1000, 10.0, (0, 15, 20), 2000, lr_lr=1e-4),
    datm("tiny-imagenet", 10, 40, 100.0, 500, 10.0, (10, 50, 50), lr_lr=1e-4),
    datm("tiny-imagenet", 50, 20, 100.0, 1000, 10.0, (40, 70, 70), lr_lr=1e-4),
)
RDED = (Cell("RDED's code", "imagenet-1k", own={"tiles": 2, "view": "padded"}),)
DM = (Cell("the readme of DM's code", "cifar10", (100, None), options={"image_learning_rate": 10.0}),)
DC = (Cell("the readme of DC's code", architecture="MLP", options={"image_learning_rate": 0.01}),)
# Twice the authors' rates for a class's step at ten images, a tenth of it for one; Fashion-MNIST's 28 pixels count as
# 28/32 of a side, squared, MNIST's as whole ones.
IDC = tuple(
    Cell("IDC's code", dataset, options=rate, own=own | {"network_images": 500})
    for dataset, rate, own in (
        ("mnist", {"image_learning_rate": 2e-5}, {"distance": "l1"}),
        ("fashion-mnist", {"image_learning_rate": 1.53e-5}, {"distance": "l1"}),
        ("svhn", {}, {}),
    )
)
