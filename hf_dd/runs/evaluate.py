"""Train students on distilled sets, beside real images: one set's results, or how several differ."""

import dataclasses
import functools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from hf_dd import hub
from hf_dd.artefacts import dd_ranking, distilled_folder, records
from hf_dd.artefacts.distilled_folder import Artefact
from hf_dd.artefacts.provenance import versions
from hf_dd.config import DataConfig, EvaluateConfig, slug
from hf_dd.config.base import named, part
from hf_dd.core import files
from hf_dd.core.processes import by_main_process, new_accelerator, require_writable
from hf_dd.core.registry import NETWORKS, PROTOCOLS, origins
from hf_dd.data.image_data import ImageData, load_data, of_each_class
from hf_dd.errors import ConfigError, DataError, RunError
from hf_dd.evaluation import regimes, report
from hf_dd.evaluation import scores as scoring
from hf_dd.evaluation.candidates import Candidate, baseline, candidates_of
from hf_dd.evaluation.evaluation import Evaluation
from hf_dd.evaluation.online_teachers import teachers_of
from hf_dd.evaluation.protocols import Protocol
from hf_dd.evaluation.results import Results
from hf_dd.evaluation.students import require_known
from hf_dd.nn.whitening import Whitening
from hf_dd.objectives.published import EMBEDDING_EPOCHS
from hf_dd.runs.crop_labels import label_sets, who_labelled, with_views_of
from hf_dd.runs.foreign import brought_in, is_foreign
from hf_dd.runs.students import shelf_of
from hf_dd.synthetic.distilled_set import DistilledSet
from hf_dd.teachers.feature_cache import FeatureMemory
from hf_dd.teachers.pool import TeacherPool

SEEN = ("statistics", "zca")  # options of how networks see images
TESTED = ("test_split", "test_resize")  # options of the test images alone, which the data's fingerprint isn't of

logger = logging.getLogger(__name__)


def evaluate(config: EvaluateConfig | None = None, **options: Any) -> Results:
    """Train students on distilled sets and on real images of the same ipc; returns and writes the results.

    `results.json` goes into `output_dir`; without one, a single local set gets it into its own folder. The record and
    the card of that set, or of each of several local ones, are completed, with several architectures by a plot of them
    as `results.png` (where matplotlib is installed).
    """
    config = EvaluateConfig.over(config, options)
    parts, _ = evaluate_sets(config, place_of(config))
    by_main_process(lambda: keep_results(config, parts))
    return regimes.merged(parts)


def compare(config: EvaluateConfig | None = None, **options: Any) -> Path:
    """Evaluate several sets under one protocol with the same students, and write how they differ; returns the folder.

    It holds `comparison.md` (what each gives, accuracies, intervals, paired differences from the first, bytes,
    teachers), `comparison.png` and `results.json`. With `regimes` the sets are evaluated under a protocol of each, and
    the first table is that of the audit. The cards of local sets are completed, as by `evaluate`.
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
    by_main_process(lambda: complete_each(config, parts))
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
    teachers = asked(config, protocols, distilled_sets, records_of, FeatureMemory(data, "float32", accelerator))
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
        )
        for protocol in protocols
    ]
    for evaluation in evaluations:  # what is wrong shows now, not after the first students
        for architecture in config.eval_architectures:
            evaluation.students(architecture)
        for candidate in distilled_sets:
            evaluation.targets(candidate, evaluation.protocol)
    shelf = shelf_of(config, evaluations[0], [record for *_, record in sets], distilled_sets, accelerator)
    evaluations[0].shelf = shelf

    selection_epochs = config.selection_epochs
    if selection_epochs is None:
        selection_epochs = EMBEDDING_EPOCHS if config.published else 0

    @functools.cache
    def real_images(kind: str, ipc: int | tuple[int, ...] | None = None) -> Candidate:
        return baseline(kind, evaluations[0].data, ipc, config.seed, accelerator.autocast, selection_epochs)

    sizes = sorted({distilled.ipc for _, distilled, _ in sets}, key=lambda ipc: of_each_class(ipc, data.num_classes))
    every = [real_images(kind, ipc) for kind in config.baselines for ipc in ([None] if kind == "full" else sizes)]
    if config.regimes and distilled_sets:
        every = [own for own in every if own.baseline != "full"]
        if "full" in config.baselines:
            every += [regimes.at_steps_of(real_images("full", None), ipc, distilled_sets) for ipc in sizes]
    shared = {"architectures": config.eval_architectures, "students": config.eval_students}
    parts = [evaluation.run([*distilled_sets, *every], **shared) for evaluation in evaluations]
    if shelf:
        evaluations[0].shelf, parts[0] = None, shelf.finish(parts[0])
    scores = scoring.score_sets(evaluations[0], config.scores, distilled_sets, real_images, **shared)
    students = [(NETWORKS, name) for name in config.eval_architectures]
    read = {name: read_otherwise(config, data, record, sets[0][2]) for name, record in records_of.items()}
    tested = {name: how for name, how in read.items() if how}
    results = [
        dataclasses.replace(part, scores=scores, plugins=origins([(PROTOCOLS, name), *students]), tested=tested)
        for name, part in zip(by_name, parts, strict=True)
    ]
    if config.dd_ranking:
        ranking = dd_ranking.submission(results[0], records_of, data.name, versions())
        by_main_process(lambda: files.write_json(Path(config.dd_ranking), ranking))
    return results, records_of


def sets_and_data(
    config: EvaluateConfig, crops: bool, accelerator: Accelerator
) -> tuple[list[tuple[str, DistilledSet, dict[str, Any]]], ImageData]:
    """Name, content and record of each set, those of others brought into our form, and what they are tested on.

    With `crops` stored labels of crops are read too; where they are asked for, they are made first.
    """
    foreign = [is_foreign(reference) for reference in config.sets]

    def opened() -> list[tuple[str, DistilledSet, dict[str, Any]] | None]:
        known = zip(config.sets, foreign, strict=True)
        return [None if other else distilled_folder.load_distilled(reference, crops) for reference, other in known]

    own = opened()
    if any(foreign) and not config.dataset:
        raise ConfigError(
            f"{config.sets[foreign.index(True)]} doesn't say what it was made from, as it isn't a set of hf-dd: name "
            "its data set by --dataset."
        )
    source = source_of(config, own[0][2] if own[0] else {})
    data = load_data(source, whitening_of(config, [each for each in own if each])).to(accelerator.device)
    records_of = [each[2] if each else {} for each in own]
    if config.soft_labels == "crops" and label_sets(config, records_of, data, accelerator):
        own = opened()
    sets = zip(config.sets, own, strict=True)
    return [each or brought_in(reference, config, data, accelerator.device) for reference, each in sets], data


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


def read_otherwise(config: EvaluateConfig, data: ImageData, record: dict[str, Any], first: dict[str, Any]) -> str:
    """By which options a set was tested otherwise than its record says, "" where it wasn't.

    Args:
        config: of the evaluation.
        data: that was read.
        record: of the set; an empty one says nothing.
        first: of the first set, which the data were read by.
    """
    if not record:
        return ""
    read, settings = vars(source_of(config, first)), record.get("settings", {})
    options = {name: read[name] for name in (*TESTED, *SEEN) if read[name] != settings.get(name)}
    if record["data"]["fingerprint"] not in (None, data.fingerprint):
        options = {"dataset": data.repo_id or data.name} | options
    return ", ".join(f"no --{name}" if value is None else f"--{name} {value}" for name, value in options.items())


def whitening_of(config: EvaluateConfig, sets: Sequence[tuple[str, DistilledSet, dict[str, Any]]]) -> Whitening | None:
    """The whitening of the first set, if any; raises DataError where others see images otherwise, unless told how."""
    if not sets:
        return None
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


def keep_results(config: EvaluateConfig, parts: Sequence[Results]) -> None:
    """Write results.json, unless the evaluation was of a single local set, and complete the cards of local sets."""
    if own := own_folder(config):
        complete(own, regimes.merged(parts))
        return
    folder = place_of(config)
    with files.claimed(folder):
        write_results(folder, regimes.merged(parts))
    if len(config.sets) > 1:
        complete_each(config, parts)


def own_folder(config: EvaluateConfig) -> str | None:
    """The folder of a single local set, which the results are written into where no other is named."""
    single = config.sets[0] if len(config.sets) == 1 and config.output_dir is None else None
    return single if single and (Path(single) / records.RECORD).is_file() else None


def place_of(config: EvaluateConfig) -> Path:
    """The folder that an evaluation writes into."""
    return Path(own_folder(config) or config.output_dir or f"outputs/evaluate-{'-'.join(map(slug, config.sets))}")


def complete_each(config: EvaluateConfig, parts: Sequence[Results]) -> None:
    """Put the results of each of several local sets into its own record and card, with those of its real images.

    What can't be written is warned of: all results are in the evaluation's own folder.
    """
    done = set()
    for place, folder in enumerate(config.sets):
        if not (Path(folder) / records.RECORD).is_file() or Path(folder).resolve() in done:
            continue
        done.add(Path(folder).resolve())
        try:
            own = [of_set(config, results, place) for results in parts]
            if all(part.rows for part in own):
                complete(folder, regimes.merged(own))
        except RunError as error:
            logger.warning("The card of %s isn't completed: %s", folder, error)


def complete(folder: str, results: Results) -> None:
    """Put a local set's results into its record and its card."""
    plotted = (len(results.architectures) > 1 or results.protocols) and report.can_plot()
    plot = functools.partial(report.plot, results) if plotted else None
    with files.claimed(Path(folder)):
        Artefact.open(folder).with_results(results.as_dict(), plot)


def of_set(config: EvaluateConfig, results: Results, place: int) -> Results:
    """Of one regime's results of several sets those of one, by its place among them, and of real images of its ipc."""
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
    published = [index for index, row in enumerate(results.rows) if row.baseline is None]
    students = [each for index, each in zip(published, results.students, strict=False) if index in own]
    sets = {results.rows[index].set for index in own}
    return dataclasses.replace(
        results,
        rows=tuple(rows if own else ()),
        scores=tuple(scores),
        students=tuple(students),
        tested={name: how for name, how in results.tested.items() if name in sets},
    )


def write_results(folder: Path, results: Results) -> None:
    """Write `results.json` into a folder."""
    files.write_json(folder / "results.json", results.as_dict())
    logger.info("Results are in %s.", folder / "results.json")
