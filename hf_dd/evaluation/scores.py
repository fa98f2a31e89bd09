"""The scores that are asked for beside accuracies: which students each needs, and the metric of `hf_dd.metrics`.

Students of a score are trained like those of an evaluation, what an evaluation trained already is used, and baselines
are remembered. Whatever is chosen (rate, epochs, the best protocol of a set) is chosen on the validation split.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from hf_dd.core.strategies import SIAMESE
from hf_dd.errors import ConfigError
from hf_dd.evaluation.candidates import Candidate
from hf_dd.evaluation.evaluation import Evaluation
from hf_dd.evaluation.learners import Job
from hf_dd.evaluation.protocols import Protocol, alternatives
from hf_dd.evaluation.results import Score

RealImages = Callable[[str, int | tuple[int, ...] | None], Candidate]


def require_sense(names: Sequence[str], protocol: Protocol) -> None:
    """Raise ConfigError for a score that the protocol gives no meaning."""
    if "augmentation_robust_score" in names and protocol.trains == "head":
        raise ConfigError(
            "--scores augmentation_robust_score compares students with and without augmentation, and the protocol "
            f"{protocol.name} has none: leave that score out, or choose another --eval_protocol."
        )


def score_sets(
    evaluation: Evaluation,
    names: Sequence[str],
    sets: Sequence[Candidate],
    real_images: RealImages,
    architectures: Sequence[str],
    students: int,
) -> tuple[Score, ...]:
    """The scores of each set with each architecture; every process returns all.

    Args:
        evaluation: trains the students.
        names: of `config.SCORES`.
        sets: the copies of distilled sets.
        real_images: the baseline 'random' at an ipc, or 'full' at None; the same object whenever it is asked again.
        architectures: what is trained, by name.
        students: how many of each.
    """
    if not names:
        return ()
    from hf_dd import metrics  # whose import of `evaluate` costs more than all of a short run

    asked = [
        (name, own, architecture, inputs_of(name, evaluation, own, real_images, architecture))
        for architecture in architectures
        for own in sets
        for name in dict.fromkeys(names)
    ]
    every = [(architecture, each) for _, _, architecture, inputs in asked for each in inputs.values()]
    chosen = evaluation.choose(
        [[Job(each.chosen_for, architecture, option) for option in each.options] for architecture, each in every]
    )
    jobs = [job._replace(candidate=each.trained_on) for job, (_, each) in zip(chosen, every, strict=True)]
    rows = iter(evaluation.rows(jobs, students))
    scores = []
    for name, own, architecture, needed in asked:
        inputs = {key: next(rows) for key in needed}
        fractions = {key: [score / 100 for score in row.scores] for key, row in inputs.items()}
        values = getattr(metrics, name.title().replace("_", ""))(keep_in_memory=True).compute(**fractions)
        scores.append(Score(name, own.name, architecture, own.copy, values.pop(name), values, inputs))
    return tuple(scores)


class Input(NamedTuple):
    """What students of a metric's input are trained on, and for what the best of which protocols is chosen."""

    trained_on: Candidate
    chosen_for: Candidate
    options: list[Protocol]


def inputs_of(
    name: str, evaluation: Evaluation, own: Candidate, real_images: RealImages, architecture: str = ""
) -> dict[str, Input]:
    """The inputs of a metric, by the names that it has for them."""
    protocol = evaluation.protocol

    def under(candidate: Candidate, protocol: Protocol) -> Input:
        return Input(candidate, candidate, evaluation.options(candidate, protocol, architecture))

    if name == "relative_accuracy":
        return {"distilled": under(own, protocol), "full": under(real_images("full", None), protocol)}
    random = real_images("random", own.ipc)
    if name == "augmentation_robust_score":
        augmented = protocol if protocol.augment != "none" else protocol.with_changes(augment=SIAMESE)
        plain = protocol.with_changes(augment="none")
        return {
            "distilled_augmented": under(own, augmented),
            "random_augmented": under(random, augmented),
            "distilled_plain": under(own, plain),
            "random_plain": under(random, plain),
        }
    hard = protocol.with_changes(labels="hard")
    every = alternatives(protocol, own.soft_labels is not None, evaluation.teachers is not None)
    options = [option for other in every for option in evaluation.options(own, other, architecture)]
    return {
        "full": under(real_images("full", None), hard),
        "distilled": under(own, hard),
        "distilled_best": Input(own, own, options),
        "random_best": Input(random, own, options),
    }
