"""Students on a synthetic set: trained from scratch over several seeds, tested on the real test split."""

import logging
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from hf_dd import augment, networks
from hf_dd.config import EvaluationConfig
from hf_dd.data import ImageData
from hf_dd.errors import DataError
from hf_dd.seeding import generator
from hf_dd.synthetic import DistilledSet
from hf_dd.training import TrainingRecipe, accuracy, fit, predict

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Protocol:
    """How every student of an evaluation is trained (Zhao & Bilen: DC without, DSA and DM with augmentation).

    SGD on the hard labels; the learning rate drops to a tenth after epochs // 2 + 1; the accuracy is the last epoch's.
    """

    name: str
    epochs: int
    learning_rate: float
    augment: str
    momentum: float = 0.9
    weight_decay: float = 5e-4
    batch_size: int = 256

    @classmethod
    def from_config(cls, config: EvaluationConfig) -> "Protocol":
        """The protocol that the options name: 'dsa' with augmentation, 'dc' without."""
        name = "dsa" if augment.parse_strategy(config.eval_augment) else "dc"
        return cls(name, config.eval_epochs, config.eval_learning_rate, config.eval_augment)

    def recipe(self) -> TrainingRecipe:
        """The protocol as the training loop takes it."""
        return TrainingRecipe(
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            batch_size=self.batch_size,
            drops=(self.epochs // 2 + 1,),
            strategy=augment.parse_strategy(self.augment),
        )


@dataclass(frozen=True)
class Row:
    """The result of one copy of one set: accuracies in percent, mean and sample standard deviation over n students."""

    set: str
    architecture: str
    copy: str
    n: int
    mean: float
    std: float
    seconds: float
    ipc: int

    def __str__(self) -> str:
        return f"{self.set} [{self.copy}] {self.architecture}: {self.mean:.2f} ± {self.std:.2f} (n={self.n})"


@dataclass(frozen=True)
class Results:
    """An evaluation: its protocol, its rows, and where it ran."""

    protocol: Protocol
    rows: tuple[Row, ...]
    hardware: str

    def as_dict(self) -> dict:
        """JSON-able values: `protocol`, `rows`, `hardware`."""
        return {
            "protocol": asdict(self.protocol),
            "rows": [asdict(row) for row in self.rows],
            "hardware": self.hardware,
        }

    def __repr__(self) -> str:
        head = f"Results under '{self.protocol.name}', {self.protocol.epochs} epochs, on {self.hardware}"
        return "\n".join([head, *(f"  {row}" for row in self.rows)])


@dataclass(frozen=True)
class Candidate:
    """Images to train on, (N, channels, height, width) in [0, 1] space, their labels, and what to call them."""

    name: str
    copy: str
    images: Tensor
    labels: Tensor


def candidates_of(name: str, distilled: DistilledSet, data: ImageData, copies: Sequence[str]) -> list[Candidate]:
    """The copies of a distilled set; raises DataError where it doesn't fit the data set that it is tested on."""
    if distilled.class_names != data.class_names:
        raise DataError(
            f"{name} has the classes {distilled.class_names}, but {data.name} has {data.class_names}: an evaluation "
            "needs the same classes in the same order. Name the right data set by --dataset."
        )
    shape = tuple(distilled.pixel_values.shape[1:])
    if shape != (data.channels, *data.image_size):
        raise DataError(
            f"{name} has images of {shape} (channels, height, width), but {data.name} of "
            f"{(data.channels, *data.image_size)}. Name the right data set by --dataset, or its --image_size."
        )
    return [Candidate(name, copy, distilled.copy(copy), distilled.labels) for copy in copies]


def random_real(data: ImageData, ipc: int, seed: int) -> Candidate:
    """`ipc` real images of each class, drawn without replacement: the baseline of every distilled set."""
    data.require_ipc(ipc)
    draws = [data.sample_class(c, ipc, generator(seed, "random-real", c)) for c in range(data.num_classes)]
    chosen = torch.cat(draws).to(data.train.images.device)
    return Candidate(
        f"random real, ipc {ipc}", "8bit", data.train.images[chosen].float() / 255, data.train.labels[chosen]
    )


def evaluate(
    candidates: Sequence[Candidate],
    data: ImageData,
    protocol: Protocol,
    *,
    architecture: str,
    students: int,
    seed: int,
    accelerator: Accelerator,
    compile: bool = False,
) -> Results:
    """Train `students` networks on each candidate and test them; students are spread over the processes.

    Student i starts from the same parameters on every candidate, and its accuracy doesn't depend on the processes.
    Raises DataError without a test split.
    """
    if data.test is None:
        raise DataError(f"{data.name} has no test split to evaluate on; name it by --test_split.")
    data = data.to(accelerator.device)
    jobs = [(row, student) for row in range(len(candidates)) for student in range(students)]
    own = [
        (row, *train_student(candidates[row], data, protocol, architecture, seed, student, accelerator, compile))
        for row, student in jobs[accelerator.process_index :: accelerator.num_processes]
    ]
    done = gather_object(own)
    rows = []
    for index, candidate in enumerate(candidates):
        scores = [100 * score for row, score, _ in done if row == index]
        rows.append(
            Row(
                set=candidate.name,
                architecture=architecture,
                copy=candidate.copy,
                n=len(scores),
                mean=statistics.fmean(scores),
                std=statistics.stdev(scores) if len(scores) > 1 else 0.0,
                seconds=sum(seconds for row, _, seconds in done if row == index),
                ipc=int((candidate.labels == 0).sum()),
            )
        )
    return Results(protocol, tuple(rows), hardware(accelerator))


def new_student(architecture: str, data: ImageData, seed: int) -> networks.Network:
    """A freshly drawn student for this data set, on the CPU; raises ConfigError for an unknown architecture."""
    return networks.build(architecture, **data.network_shape, seed=seed)


def train_student(
    candidate: Candidate,
    data: ImageData,
    protocol: Protocol,
    architecture: str,
    seed: int,
    student: int,
    accelerator: Accelerator,
    compile: bool,
) -> tuple[float, float]:
    """One student from scratch: its accuracy on the test split in [0, 1], and the seconds it took."""
    started = time.perf_counter()
    network = new_student(architecture, data, seed + student).to(accelerator.device)
    images = data.normalise(candidate.images.to(accelerator.device))
    labels = candidate.labels.to(accelerator.device)
    training = fit(
        network,
        images,
        labels,
        protocol.recipe(),
        seed=seed + student,
        purpose="student",
        autocast=accelerator.autocast,
        compile=compile,
    )
    for _ in training:
        pass
    predictions = predict(network, data.test.images, prepare=data.normalise, autocast=accelerator.autocast)
    score, seconds = accuracy(predictions, data.test.labels), time.perf_counter() - started
    logger.info("%s [%s] student %d: %.2f %% in %.0f s", candidate.name, candidate.copy, student, 100 * score, seconds)
    return score, seconds


def hardware(accelerator: Accelerator) -> str:
    """What a run ran on, in words: the devices, how many processes, and their threads on a CPU."""
    processes = f"{accelerator.num_processes} process{'es' if accelerator.num_processes > 1 else ''}"
    if accelerator.device.type == "cuda":
        return f"{torch.cuda.get_device_name(accelerator.device)}, {processes}"
    return f"{accelerator.device.type.upper()}, {processes} of {torch.get_num_threads()} threads"
