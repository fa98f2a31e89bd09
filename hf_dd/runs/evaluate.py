"""Train students on distilled sets, beside real images: one set's results, or how several differ."""

import dataclasses
import functools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hf_dd.artefacts import distilled_folder, records
from hf_dd.artefacts.distilled_folder import Artefact
from hf_dd.config import DataConfig, EvaluateConfig, slug
from hf_dd.config.base import named, part
from hf_dd.core import files
from hf_dd.core.processes import by_main_process, new_accelerator
from hf_dd.core.registry import NETWORKS, PROTOCOLS, origins
from hf_dd.data.image_data import load_data, of_each_class
from hf_dd.errors import ConfigError, DataError, RunError
from hf_dd.evaluation import report
from hf_dd.evaluation import scores as scoring
from hf_dd.evaluation.candidates import Candidate, baseline
from hf_dd.evaluation.evaluation import Evaluation, candidates_of
from hf_dd.evaluation.online_teachers import teachers_of
from hf_dd.evaluation.protocols import Protocol
from hf_dd.evaluation.results import Results
from hf_dd.evaluation.students import require_known
from hf_dd.nn.whitening import Whitening
from hf_dd.objectives.base import EMBEDDING_EPOCHS
from hf_dd.synthetic.distilled_set import DistilledSet
from hf_dd.teachers.feature_cache import FeatureMemory

SEEN = ("statistics", "zca")  # options of how networks see images

logger = logging.getLogger(__name__)


def evaluate(config: EvaluateConfig | None = None, **options: Any) -> Results:
    """Train students on distilled sets and on real images of the same ipc; returns and writes the results.

    `results.json` goes into `output_dir`; without one, a single local set gets it into its own folder. The record and
    the card of that set, or of each of several local ones, are completed, with several architectures by a plot of them
    as `results.png` (where matplotlib is installed).
    """
    config = EvaluateConfig.over(config, options)
    results, _ = evaluate_sets(config)
    by_main_process(lambda: keep_results(config, results))
    return results


def compare(config: EvaluateConfig | None = None, **options: Any) -> Path:
    """Evaluate several sets under one protocol with the same students, and write how they differ; returns the folder.

    It holds `comparison.md` (what each gives, accuracies, intervals, paired differences from the first, bytes,
    teachers), `comparison.png` and `results.json`. The cards of local sets are completed, as by `evaluate`.
    """
    config = EvaluateConfig.over(config, options)
    folder = Path(config.output_dir or "outputs/comparison")
    report.require_matplotlib()
    results, records_of = evaluate_sets(config)

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
    by_main_process(lambda: complete_each(config, results))
    return folder


def evaluate_sets(config: EvaluateConfig) -> tuple[Results, dict[str, dict[str, Any]]]:
    """The results of the sets and baselines that the options name, and each set's record by its name."""
    protocol = Protocol.from_config(config)
    require_known(config.eval_architectures, protocol)
    accelerator = new_accelerator(config.mixed_precision)
    sets = [distilled_folder.load_distilled(reference) for reference in config.sets]
    data = load_data(source_of(config, sets[0][2]), whitening_of(config, sets)).to(accelerator.device)
    protocol = protocol.suited(config, data, accelerator.autocast)
    scoring.require_sense(config.scores, protocol)
    distilled_sets: list[Candidate] = []
    for name, distilled, record in sets:
        distilled_sets += candidates_of(name, distilled, data, config.eval_copies, own_learning_rate(name, record))
    records_of = {name: record for name, _, record in sets}
    memory = FeatureMemory(data, "float32", accelerator)
    evaluation = Evaluation(
        data,
        protocol,
        seed=config.seed,
        accelerator=accelerator,
        compile=config.compile,
        learning_rates=config.eval_learning_rates,
        epochs=config.eval_epochs,
        teachers=teachers_of(
            protocol, config.eval_teachers, records_of, config.scores, config.trusted_teachers, memory
        ),
    )
    for architecture in config.eval_architectures:  # what is wrong shows now, not after the first students
        evaluation.students(architecture)
    for candidate in distilled_sets:
        evaluation.targets(candidate, protocol)

    selection_epochs = config.selection_epochs
    if selection_epochs is None:
        selection_epochs = EMBEDDING_EPOCHS if config.published else 0

    @functools.cache
    def real_images(kind: str, ipc: int | tuple[int, ...] | None = None) -> Candidate:
        return baseline(kind, evaluation.data, ipc, config.seed, accelerator.autocast, selection_epochs)

    sizes = sorted({distilled.ipc for _, distilled, _ in sets}, key=lambda ipc: of_each_class(ipc, data.num_classes))
    every = [real_images(kind, ipc) for kind in config.baselines for ipc in ([None] if kind == "full" else sizes)]
    shared = {"architectures": config.eval_architectures, "students": config.eval_students}
    results = evaluation.run([*distilled_sets, *every], **shared)
    scores = scoring.score_sets(evaluation, config.scores, distilled_sets, real_images, **shared)
    named = [(PROTOCOLS, config.eval_protocol), *((NETWORKS, name) for name in config.eval_architectures)]
    return dataclasses.replace(results, scores=scores, plugins=origins(named)), records_of


def own_learning_rate(name: str, record: dict[str, Any]) -> float | None:
    """The learning rate that a set's record gives, learned with its images; raises DataError for what is none."""
    rate = record.get("learning_rate")
    if rate is None or (isinstance(rate, (int, float)) and 0 < rate < float("inf")):
        return rate
    raise DataError(f"The record of {name} gives a learning rate of {rate!r}; it has to be a finite number above 0.")


def source_of(config: EvaluateConfig, record: dict[str, Any]) -> DataConfig:
    """The data set to test on: the one the options name, else the one that the set's record names, at its commit.

    Of the options of how it is read, those that are given go over those of the record.
    """
    given = {key: value for key, value in part(config, DataConfig).items() if value not in (None, "")}
    settings = record.get("settings", {})
    seen = {key: settings[key] for key in SEEN if settings.get(key) is not None}  # a matter of the set
    if config.dataset:
        return DataConfig(**seen | given)
    if not record:
        raise ConfigError(f"{config.sets[0]} doesn't say what it was made from: name its data set by --dataset.")
    made_from = {key: value for key in named(config, "data") if (value := settings.get(key)) is not None}
    return DataConfig(**{"dataset": record["data"]["reference"]} | made_from | given)


def whitening_of(config: EvaluateConfig, sets: Sequence[tuple[str, DistilledSet, dict[str, Any]]]) -> Whitening | None:
    """The whitening of the first set, if any; raises DataError where others see images otherwise, unless told how."""
    name, first, record = sets[0]
    for other, distilled, of_other in sets[1:]:
        kinds = [bool(each.whitening) for each in (first, distilled)]
        if config.zca is None and kinds[0] != kinds[1]:
            whitened, plain = (name, other) if kinds[0] else (other, name)
            raise DataError(
                f"{whitened} was made of whitened images (ZCA) and {plain} wasn't, and all students of a comparison "
                "see images alike: say how by --zca true or --zca false, or compare them apart."
            )
        known = [each.get("data", {}).get("statistics") for each in (record, of_other)]
        kinds = [f"the constants of {each}" if each else "their own statistics" for each in known]
        if config.statistics is None and not first.whitening and kinds[0] != kinds[1]:
            raise DataError(
                f"{name} was made of images normalised by {kinds[0]} and {other} by {kinds[1]}, and all students of a "
                "comparison see images alike: say how by --statistics own or --statistics published."
            )
    return first.whitening


def keep_results(config: EvaluateConfig, results: Results) -> None:
    """Write results.json, unless the evaluation was of a single local set, and complete the cards of local sets."""
    single = config.sets[0] if len(config.sets) == 1 else None
    if single and config.output_dir is None and (Path(single) / records.RECORD).is_file():
        complete(single, results)
        return
    folder = Path(config.output_dir or f"outputs/evaluate-{'-'.join(map(slug, config.sets))}")
    with files.claimed(folder):
        write_results(folder, results)
    if not single:
        complete_each(config, results)


def complete_each(config: EvaluateConfig, results: Results) -> None:
    """Put the results of each of several local sets into its own record and card, with those of its real images.

    What can't be written is warned of: all results are in the evaluation's own folder.
    """
    done = set()
    for place, folder in enumerate(config.sets):
        if not (Path(folder) / records.RECORD).is_file() or Path(folder).resolve() in done:
            continue
        done.add(Path(folder).resolve())
        try:
            if (own := of_set(config, results, place)).rows:
                complete(folder, own)
        except RunError as error:
            logger.warning("The card of %s isn't completed: %s", folder, error)


def complete(folder: str, results: Results) -> None:
    """Put a local set's results into its record and its card."""
    plotted = len(results.architectures) > 1 and report.can_plot()
    plot = functools.partial(report.plot, results) if plotted else None
    with files.claimed(Path(folder)):
        Artefact.open(folder).with_results(results.as_dict(), plot)


def of_set(config: EvaluateConfig, results: Results, place: int) -> Results:
    """Of the results of several sets those of one, by its place among them, and of the real images of its ipc."""
    copies, names = len(config.eval_copies), len(set(config.scores))
    each = len(results.rows) // len(
        config.eval_architectures
    )  # rows of an architecture: the sets' copies, then others
    own = [index for index in range(len(results.rows)) if copies and index % each // copies == place]
    ipcs = {results.rows[index].ipc for index in own}
    rows = [
        row
        for index, row in enumerate(results.rows)
        if index in own or row.baseline == "full" or (row.baseline and row.ipc in ipcs)
    ]
    places = [index // names % (len(config.sets) * copies) // copies for index in range(len(results.scores))]
    scores = [score for score, of in zip(results.scores, places, strict=True) if of == place]
    return dataclasses.replace(results, rows=tuple(rows if own else ()), scores=tuple(scores))


def write_results(folder: Path, results: Results) -> None:
    """Write `results.json` into a folder."""
    files.write_json(folder / "results.json", results.as_dict())
    logger.info("Results are in %s.", folder / "results.json")
