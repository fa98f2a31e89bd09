"""Linear heads that are fitted on frozen features: with one, a teacher of other classes speaks of the data set's own.

A head is fitted on the training images but for a tenth of each class, which says how good it is (`validation`): the
test split has no part in it. Nothing is drawn but that tenth, by the seed.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from hf_dd.core.processes import from_main_process
from hf_dd.core.progress import Phase, say
from hf_dd.data.held_out import validation_rows
from hf_dd.errors import TeacherError
from hf_dd.teachers.feature_cache import FeatureMemory
from hf_dd.teachers.pool import TeacherPool
from hf_dd.teachers.teacher import FittedHead, Teacher

ITERATIONS = 200
METHOD = f"logistic regression on standardised features (L2, C = 1; L-BFGS, {ITERATIONS} iterations at most)"


def fit_heads(pool: TeacherPool, memory: FeatureMemory, seed: int) -> None:
    """Give each teacher of a pool that doesn't know the data set's classes by itself a head that does, in place.

    Costs one pass over the training split for each, unless it was taken before. Every process has to call it.

    Args:
        pool: the teachers; moved to the memory's device and dtype.
        memory: of the data set.
        seed: of the images that are held out.

    Raises TeacherError for a teacher whose features are no finite numbers.
    """
    pool.to(memory.data.device, memory.dtype)
    for index in range(len(pool)):
        if pool[index].spec.head or not pool[index].knows(memory.data.class_names):
            pool.give_head(index, fit_head(pool[index], memory, seed))


def fit_head(teacher: Teacher, memory: FeatureMemory, seed: int) -> FittedHead:
    """The head of one teacher, fitted on the first process, the same on all; see `fit_heads`."""
    data, held_out = memory.data, validation_rows(memory.data, seed)

    def compute() -> dict[str, Tensor]:
        features = memory.features(teacher)
        found = None
        if memory.accelerator.is_main_process and torch.isfinite(features).all():
            found = fitted(features, data.train.labels, held_out, data.num_classes)
        found = from_main_process(lambda: found)
        if found is None:
            raise TeacherError(f"{teacher.spec} gives features that are no finite numbers: did its training diverge?")
        return found

    names = ["weight", "bias", "accuracy"]
    found = memory.kept("heads", teacher, names, compute, seed, METHOD)
    about = {
        "data": data.pinned or data.name,
        "fingerprint": data.fingerprint,
        "method": METHOD,
        "seed": seed,
        "images": len(data.train) - len(held_out),
        "held_out": len(held_out),
        "accuracy": float(found["accuracy"]),
    }
    say(
        "%s doesn't name the classes of %s: a head on its features knows %.2f %% of %d images held out.",
        *(teacher.spec, data.name, 100 * about["accuracy"], len(held_out)),
    )
    return FittedHead(found["weight"], found["bias"], data.class_names, about)


def fitted(features: Tensor, labels: Tensor, held_out: Tensor, classes: int) -> dict[str, Tensor]:
    """Weight, bias, and the accuracy (float64, in [0, 1]) on the images that are held out; all on the CPU."""
    kept = torch.ones(len(labels), dtype=torch.bool, device=labels.device)
    kept[held_out] = False
    weight, bias = logistic_regression(features[kept], labels[kept], classes)
    predictions = (features[held_out] @ weight.T + bias).argmax(1)
    found = (predictions == labels[held_out]).cpu().double().mean()
    return {"weight": weight.cpu(), "bias": bias.cpu(), "accuracy": found}


def logistic_regression(features: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Multinomial logistic regression with scikit-learn's default penalty, on features z of mean 0 and variance 1:

        min over W, b of  Σ_i cross-entropy(W z_i + b, y_i) + ‖W‖² / 2

    Args:
        features: floating, (N, F), of any scale.
        labels: int64, (N,).
        classes: labels are 0 … classes − 1.

    Returns (classes, F) and (classes,) for the features as they are, in their dtype and on their device.
    """
    mean, std = features.mean(0), features.std(0, correction=0)
    std = torch.where(std > 0, std, 1)
    inputs = (features - mean) / std
    weight = features.new_zeros(classes, features.shape[1], requires_grad=True)
    bias = features.new_zeros(classes, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(inputs @ weight.T + bias, labels) + weight.square().sum() / 2 / len(labels)
        value.backward()
        phase.update()
        return value

    with Phase("fitting a head", unit="evaluation") as phase:
        optimizer.step(loss)
    weight = (weight / std).detach()
    return weight, (bias - weight @ mean).detach()
