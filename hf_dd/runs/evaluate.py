"""Train students on distilled sets, beside real images: one set's results, or how several differ."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from hf_dd import hub
from hf_dd.artefacts import dd_ranking
from hf_dd.artefacts.provenance import versions
from hf_dd.config import EvaluateConfig
from hf_dd.config.base import less_memory, values
from hf_dd.core import files
from hf_dd.core.alone import alone
from hf_dd.core.processes import by_main_process, new_accelerator, require_writable
from hf_dd.core.registry import NETWORKS, PROTOCOLS, origins
from hf_dd.data.image_data import ImageData, of_each_class
from hf_dd.evaluation import regimes, report
from hf_dd.evaluation import scores as scoring
from hf_dd.evaluation.candidates import Candidate, baseline, candidates_of
from hf_dd.evaluation.evaluation import Evaluation
from hf_dd.evaluation.online_teachers import teachers_of
from hf_dd.evaluation.protocols import Protocol
from hf_dd.evaluation.results import Results
from hf_dd.evaluation.students import require_known
from hf_dd.objectives.published import EMBEDDING_EPOCHS
from hf_dd.runs.crop_labels import who_labelled, with_views_of
from hf_dd.runs.evaluation_inputs import own_learning_rate, read_otherwise, sets_and_data
from hf_dd.runs.evaluation_outputs import complete_each, keep_results, place_of, write_results
from hf_dd.runs.students import shelf_of
from hf_dd.teachers.feature_cache import FeatureMemory
from hf_dd.teachers.pool import TeacherPool


@alone(less_memory(EvaluateConfig))
def evaluate(config: EvaluateConfig | None = None, **options: Any) -> Results:
    """Train students on distilled sets and on real images of the same ipc; returns and writes the results.

    `results.json` goes into `output_dir`; without one, a single local set gets it into its own folder. The record and
    the card of that set, or of each of several local ones, are completed, with several architectures by a plot of them
    as `results.png` (where matplotlib is installed).

    Args:
        config: the options, or give them by name.
        options: fields of EvaluateConfig: `sets` are folders, or `owner/name@revision`.

    Raises ConfigError, DataError, TeacherError, HubError or RunError, before any student is trained.
    """
    config = EvaluateConfig.over(config, options)
    parts, records_of = evaluate_sets(config, place_of(config))
    by_main_process(lambda: keep_results(config, parts, records_of))
    return regimes.merged(parts)


@alone(less_memory(EvaluateConfig))
def compare(config: EvaluateConfig | None = None, **options: Any) -> Path:
    """Evaluate several sets under one protocol with the same students, and write how they differ; returns the folder.

    It holds `comparison.md` (what each gives, accuracies, intervals, paired differences from the first, bytes,
    teachers), `comparison.png` and `results.json`. With `regimes` the sets are evaluated under a protocol of each, and
    the first table is that of the audit. The cards of local sets are completed, as by `evaluate`. Args and errors are
    those of `evaluate`; ConfigError, too, where matplotlib isn't installed.
    """
    config = EvaluateConfig.over(config, options)
    folder = Path(config.output_dir or "outputs/comparison")
    report.require_matplotlib()
    parts, records_of = evaluate_sets(config, folder)
    results = regimes.merged(parts)

    @files.claimed(folder)
    def write() -> None:
        write_results(folder, results)
        about = {  # of an imported set nobody knows its teachers
            name: {"teachers": len(record["teachers"]) if "teachers" in record else "–"}
            for name, record in records_of.items()
        }
        files.write_text(folder / "comparison.md", report.comparison(results, about))
        report.plot(results, folder / "comparison.png")

    by_main_process(write)
    by_main_process(lambda: complete_each(config, parts, records_of))
    return folder


def evaluate_sets(
    config: EvaluateConfig, folder: Path | None = None
) -> tuple[list[Results], dict[str, dict[str, Any]]]:
    """The results of the sets and baselines that the options name, by regime, and each set's record by its name.

    Raises RunError, before anything is read, where they couldn't be written into `folder`.
    """
    if config.push_students:  # a missing token shows now
        hub.require_pushable(hub.full_repo_id(config.push_students), "model")
    by_name = regimes.protocols_of(config)
    for protocol in by_name.values():
        require_known(config.eval_architectures, protocol)
    accelerator = new_accelerator(config.mixed_precision)
    if folder is not None:
        require_writable(folder)
    crops = any(protocol.labels == "crops" for protocol in by_name.values())
    sets, data = sets_and_data(config, crops, accelerator)
    protocols = [protocol.suited(config, data, accelerator.autocast) for protocol in by_name.values()]
    protocols = [with_views_of(protocol, [record for *_, record in sets]) for protocol in protocols]
    scoring.require_sense(config.scores, protocols[0])
    distilled_sets: list[Candidate] = []
    for name, distilled, record in sets:
        distilled_sets += candidates_of(name, distilled, data, config.eval_copies, own_learning_rate(name, record))
    records_of = {name: record for name, _, record in sets}
    evaluations = evaluations_of(config, protocols, data, accelerator, distilled_sets, records_of)
    first = evaluations[0]
    seen = list(map(first.seen, distilled_sets))  # what its students are of
    shelf = first.learners.shelf = shelf_of(config, first, [record for *_, record in sets], seen, accelerator)
    real_images = chooser_of(config, first)
    sizes = sorted({distilled.ipc for _, distilled, _ in sets}, key=lambda ipc: of_each_class(ipc, data.num_classes))
    every = [*distilled_sets, *baselines_of(config, sizes, distilled_sets, real_images)]
    shared = {"architectures": config.eval_architectures, "students": config.eval_students}
    parts = [evaluation.run(every, **shared) for evaluation in evaluations]
    if shelf:
        first.learners.shelf, parts[0] = None, shelf.finish(parts[0])
    scores = scoring.score_sets(first, config.scores, distilled_sets, real_images, **shared)
    read = {name: read_otherwise(config, data, record, sets[0][2]) for name, record in records_of.items()}
    tested = {name: how for name, how in read.items() if how}
    about = {"scores": scores, "tested": tested, "options": values(config, "evaluation")}
    students = [(NETWORKS, name) for name in config.eval_architectures]
    results = [
        dataclasses.replace(part, plugins=origins([(PROTOCOLS, name), *students]), **about)
        for name, part in zip(by_name, parts, strict=True)
    ]
    if config.dd_ranking:
        ranking = dd_ranking.submission(results[0], records_of, data.name, versions())
        by_main_process(lambda: files.write_json(Path(config.dd_ranking), ranking))
    return results, records_of


def chooser_of(config: EvaluateConfig, evaluation: Evaluation) -> Callable[..., Candidate]:
    """Gives real images of a kind, as many of each class as the ipc says (all without one); each chosen once."""
    epochs = config.selection_epochs
    if epochs is None:
        epochs = EMBEDDING_EPOCHS if config.published else 0

    @functools.cache
    def real_images(kind: str, ipc: int | tuple[int, ...] | None = None) -> Candidate:
        return baseline(kind, evaluation.data, ipc, config.seed, evaluation.accelerator.autocast, epochs)

    return real_images


def evaluations_of(
    config: EvaluateConfig,
    protocols: Sequence[Protocol],
    data: ImageData,
    accelerator: Accelerator,
    sets: Sequence[Candidate],
    records_of: dict[str, dict[str, Any]],
) -> list[Evaluation]:
    """An evaluation under each protocol; what is wrong with students or labels shows now, not after the first ones."""
    teachers = asked(config, protocols, sets, records_of, FeatureMemory(data, "float32", accelerator))
    evaluations = [
        Evaluation(
            data,
            protocol,
            seed=config.seed,
            accelerator=accelerator,
            compile=config.compile,
            learning_rates=config.eval_learning_rates,
            epochs=config.eval_epochs,
            teachers=teachers if protocol.asks_teachers or config.scores else None,
            draws=regimes.draws_of(config),
            looks=config.best_of_looks,
            suited=functools.partial(Protocol.suited, config=config, data=data, autocast=accelerator.autocast),
        )
        for protocol in protocols
    ]
    for evaluation in evaluations:
        for architecture in config.eval_architectures:
            evaluation.students(architecture)
        for candidate in sets:
            evaluation.targets(candidate, evaluation.protocol)
    return evaluations


def baselines_of(
    config: EvaluateConfig,
    sizes: Sequence[int | tuple[int, ...]],
    sets: Sequence[Candidate],
    real_images: Callable[..., Candidate],
) -> list[Candidate]:
    """The real images to evaluate for each ipc among the sets; in an audit `full` takes as many steps as each set."""
    if not (config.regimes and sets):
        return [real_images(kind, ipc) for kind in config.baselines for ipc in ([None] if kind == "full" else sizes)]
    found = [real_images(kind, ipc) for kind in config.baselines if kind != "full" for ipc in sizes]
    full = sizes if "full" in config.baselines else []
    return found + [regimes.at_steps_of(real_images("full", None), ipc, sets) for ipc in full]


def asked(
    config: EvaluateConfig,
    protocols: Sequence[Protocol],
    sets: Sequence[Candidate],
    records_of: dict[str, dict[str, Any]],
    memory: FeatureMemory,
) -> TeacherPool | None:
    """The teachers that students under any of these protocols ask, see `teachers_of`."""
    unlabelled = any(own.soft_labels is None for own in sets)
    needs = {"online": True, "soft": unlabelled or bool(config.baselines), "crops": bool(config.baselines)}
    asking = [protocol for protocol in protocols if protocol.asks_teachers and needs[protocol.labels]]
    if config.soft_labels == "crops" and not asking and not config.scores:
        return None  # who is named labels the sets
    if any(protocol.labels == "crops" for protocol in asking):  # real images are labelled by those who labelled crops
        records_of = {name: record | who_labelled(record) for name, record in records_of.items()}
    first = [*asking, *protocols][0]
    return teachers_of(
        first,
        config.eval_teachers,
        records_of,
        config.scores,
        config.trusted_teachers,
        memory,
        needed=bool(asking),
    )
