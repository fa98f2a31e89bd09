"""The use cases, each one function from options to a result: what the CLI runs and what `hf_dd` exports."""

import dataclasses
import functools
import json
import logging
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from hf_dd import diversity, hub, publishing, records, reports, scoring, teacher_repos
from hf_dd.baselines import Candidate, baseline
from hf_dd.config import (
    DataConfig,
    DistillConfig,
    EvaluateConfig,
    EvaluationConfig,
    ImportConfig,
    PretrainConfig,
    slug,
)
from hf_dd.data import load_data
from hf_dd.decoded import training_images
from hf_dd.distiller import Distiller, prepare_folder, remove_run, tracker_config
from hf_dd.errors import ConfigError, DataError, RunError
from hf_dd.evaluation import Evaluation, candidates_of, hardware
from hf_dd.experts import ExpertPool
from hf_dd.feature_memory import FeatureMemory
from hf_dd.foreign import read_foreign
from hf_dd.heads import fit_heads
from hf_dd.importing import import_foreign
from hf_dd.objectives import check_options
from hf_dd.pools import TeacherPool
from hf_dd.pretraining import grid, new_teacher, train_teacher
from hf_dd.processes import by_main_process, new_accelerator
from hf_dd.protocols import Protocol
from hf_dd.provenance import command_line
from hf_dd.publishing import Artefact
from hf_dd.results import Results
from hf_dd.soft_labels import logit_orders, relabel
from hf_dd.students import students_of
from hf_dd.teaching import require_labels, teachers_of

logger = logging.getLogger(__name__)

TRAINING_OPTIONS = (  # of a teacher, as its card lists them
    *("epochs", "learning_rate", "momentum", "weight_decay", "batch_size", "lr_drops", "augment"),
    *("architecture_options", "mixed_precision"),
)


def pretrain(config: PretrainConfig | None = None, **options: Any) -> list[Path | hub.Pin]:
    """Train a grid of teachers, spread over the processes; returns this process's folders, or pins if pushed.

    Each teacher's folder is `output_dir/NAME`, with `epoch-N` for every kept epoch: the files that a push commits.
    """
    config = dataclasses.replace(config, **options) if config else PretrainConfig(**options)
    accelerator = new_accelerator(config.mixed_precision)
    config = dataclasses.replace(config, mixed_precision=accelerator.mixed_precision)
    if config.push_to_hub:
        hub.user()  # a missing token shows now, not after the training
    data = load_data(config)
    root = Path(config.output_dir or "outputs/teachers")
    folders = {job: root / teacher_repos.teacher_name(data, *job) for job in grid(config)}
    for (architecture, seed), folder in folders.items():
        new_teacher(config, architecture, seed, data)  # an unknown name or option shows now
        if folder.exists() and not config.overwrite_output_dir:
            raise RunError(f"{folder} holds another run: give --overwrite_output_dir, or another --output_dir.")
    accelerator.wait_for_everyone()
    done: list[Path | hub.Pin] = []
    for architecture, seed in grid(config)[accelerator.process_index :: accelerator.num_processes]:
        folder = folders[architecture, seed]
        training = {key: getattr(config, key) for key in TRAINING_OPTIONS} | {"seed": seed}
        epochs = []
        for snapshot in train_teacher(config, architecture, seed, data, accelerator):
            if not epochs:
                teacher_repos.remove_teacher(folder)
            teacher_repos.write_snapshot(
                folder,
                snapshot,
                data,
                training,
                command=command_line("pretrain", config, accelerator.num_processes),
                hardware=hardware(accelerator),
            )
            epochs.append(snapshot.epoch)
            logger.info(
                "%s epoch %d: loss %s, accuracy %.2f %%, %.0f s",
                *(folder.name, snapshot.epoch, "–" if snapshot.loss is None else f"{snapshot.loss:.4f}"),
                *(100 * snapshot.accuracy, snapshot.seconds),
            )
        teacher_repos.write_run(folder, epochs)
        done.append(
            teacher_repos.push_teacher(folder, config.hub_namespace, config.hub_private_repo)
            if config.push_to_hub
            else folder
        )
    accelerator.wait_for_everyone()
    return done


def distill(config: DistillConfig | None = None, *, pool: TeacherPool | None = None, **options: Any) -> Artefact:
    """Distil a data set into a folder, evaluate it, and push it if asked; every process returns the artefact.

    Args:
        config: the options, or give them by name.
        pool: teachers that are loaded already, instead of naming them; `fit_head` gives heads to them, in place.
        options: fields of DistillConfig.
    """
    if pool is not None:
        options["teachers"] = [spec.reference for spec in pool.specs]
    config = dataclasses.replace(config, **options) if config else DistillConfig(**options)
    folder = Path(config.output_dir or f"outputs/{config.run_name}")
    accelerator = tracked_accelerator(config, folder)
    config = dataclasses.replace(config, mixed_precision=accelerator.mixed_precision)
    check_options(config)
    if config.push_to_hub:  # a missing token or a taken tag shows now, not after the distillation
        publishing.free_tag(hub.full_repo_id(config.hub_dataset_id or config.run_name), config.hub_tag)
    data = load_data(config)
    pool = pool or TeacherPool.from_config(config)
    experts = ExpertPool.from_config(config)
    if config.fit_head:
        fit_heads(pool, FeatureMemory(data, config.dtype, accelerator), config.seed)
    if config.soft_labels != "none":
        logit_orders(pool, data.class_names)  # teachers of other classes show now
    distiller = Distiller(config, data, pool, accelerator, folder, experts)
    if config.eval_students:  # a wrong name shows now, not after the distillation
        protocol = Protocol.from_config(config)
        require_labels(config, protocol, pool, data.class_names)
        for architecture in config.eval_architectures:
            students_of(architecture, protocol, data)
    prepare_folder(config, folder, accelerator)  # only now: a slip costs no earlier run that was to be overwritten
    accelerator.init_trackers("hf-dd", config=tracker_config(config))
    result = distiller.run()
    for tracker in accelerator.trackers:  # end_training() would close the process group too
        tracker.finish()
    if accelerator.is_main_process:
        soft_labels = None
        if config.soft_labels != "none":
            images, how = training_images(result.synthetic), (config.soft_labels, config.soft_label_temperature)
            soft_labels = relabel(pool, data.class_names, images, *how, accelerator.device)
        publishing.write_artefact(
            folder,
            config.run_name,
            result,
            data,
            pool,
            soft_labels,
            experts=experts.lock() if experts else [],
            diversity=diversity.measure(pool, data, accelerator.device) if pool and len(pool) > 1 else None,
            command=command_line("distill", config, accelerator.num_processes),
            hardware=hardware(accelerator),
        )
    accelerator.wait_for_everyone()
    if config.eval_students and data.test is not None:
        evaluate(
            sets=[str(folder)],
            mixed_precision=config.mixed_precision,
            **{key: getattr(config, key) for key in field_names(EvaluationConfig)},
        )
    if config.push_to_hub and accelerator.is_main_process:
        pushed = Artefact.open(folder).push(
            config.hub_dataset_id,
            tag=config.hub_tag,
            private=config.hub_private_repo,
            branch=config.hub_revision,
            create_pr=config.create_pr,
        )
        logger.info("Pushed %s: %s", pushed.pin, pushed.pull_request or pushed.url)
    accelerator.wait_for_everyone()
    return Artefact.open(folder)


def evaluate(config: EvaluateConfig | None = None, **options: Any) -> Results:
    """Train students on distilled sets and on real images of the same ipc; returns and writes the results.

    `results.json` goes into `output_dir`; without one, a single local set gets it into its own folder, its record and
    its card, and with several architectures a plot of them as `results.png` (where matplotlib is installed).
    """
    config = dataclasses.replace(config, **options) if config else EvaluateConfig(**options)
    results, _ = evaluate_sets(config)
    by_main_process(lambda: keep_results(config, results))
    return results


def compare(config: EvaluateConfig | None = None, **options: Any) -> Path:
    """Evaluate several sets under one protocol with the same students, and write how they differ; returns the folder.

    It holds `comparison.md` (accuracies, intervals, paired differences from the first, bytes, teachers),
    `comparison.png` and `results.json`.
    """
    config = dataclasses.replace(config, **options) if config else EvaluateConfig(**options)
    folder = Path(config.output_dir or "outputs/comparison")
    reports.require_matplotlib()
    results, records_of = evaluate_sets(config)

    def write() -> None:
        write_results(folder, results)
        about = {  # of an imported set nobody knows its teachers
            name: {"teachers": len(record["teachers"]) if "teachers" in record else "–"}
            for name, record in records_of.items()
        }
        text = reports.comparison(results, about)
        records.write(folder / "comparison.md", lambda path: path.write_text(text))
        reports.plot(results, folder / "comparison.png")

    by_main_process(write)
    return folder


def evaluate_sets(config: EvaluateConfig) -> tuple[Results, dict[str, dict[str, Any]]]:
    """The results of the sets and baselines that the options name, and each set's record by its name."""
    accelerator = new_accelerator(config.mixed_precision)
    sets = [publishing.load_distilled(reference) for reference in config.sets]
    data = load_data(source_of(config, sets[0][2])).to(accelerator.device)
    protocol = Protocol.from_config(config)
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

    @functools.cache
    def real_images(kind: str, ipc: int | None = None) -> Candidate:
        return baseline(kind, evaluation.data, ipc, config.seed, accelerator.autocast)

    sizes = sorted({distilled.ipc for _, distilled, _ in sets})
    every = [real_images(kind, ipc) for kind in config.baselines for ipc in ([None] if kind == "full" else sizes)]
    shared = {"architectures": config.eval_architectures, "students": config.eval_students}
    results = evaluation.run([*distilled_sets, *every], **shared)
    scores = scoring.score_sets(evaluation, config.scores, distilled_sets, real_images, **shared)
    return dataclasses.replace(results, scores=scores), records_of


def own_learning_rate(name: str, record: dict[str, Any]) -> float | None:
    """The learning rate that a set's record gives, learned with its images; raises DataError for what is none."""
    rate = record.get("learning_rate")
    if rate is None or (isinstance(rate, (int, float)) and 0 < rate < float("inf")):
        return rate
    raise DataError(f"The record of {name} gives a learning rate of {rate!r}; it has to be a finite number above 0.")


def import_set(config: ImportConfig | None = None, **options: Any) -> Artefact:
    """Make an artefact folder of a distilled set that another tool released, once it has been checked whole."""
    config = dataclasses.replace(config, **options) if config else ImportConfig(**options)
    folder = Path(config.output_dir or f"outputs/{config.run_name}")
    require_free(folder, config.overwrite_output_dir)
    foreign = read_foreign(config)
    data = load_data(config)
    accelerator = new_accelerator("no")
    imported = import_foreign(foreign, data, config, accelerator.device)
    accelerator.wait_for_everyone()  # all have seen the folder as it was, and the set as it is
    if accelerator.is_main_process:
        remove_run(folder)
        publishing.write_imported(
            folder, config.run_name, imported, data, config, command=command_line("import", config)
        )
    accelerator.wait_for_everyone()
    return Artefact.open(folder)


def require_free(folder: Path, overwrite: bool) -> None:
    """Raise RunError where a folder holds a finished set that isn't to be overwritten, or anything else."""
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not (folder / records.RECORD).is_file():
        raise RunError(f"{folder} isn't empty, and what it holds is no set of hf-dd: give another --output_dir.")
    if not overwrite:
        raise RunError(f"{folder} holds another set: give --overwrite_output_dir, or another --output_dir.")


def tracked_accelerator(config: DistillConfig, folder: Path) -> Accelerator:
    """An accelerator with the trackers of `--report_to`; raises ConfigError where one isn't installed."""
    try:
        return new_accelerator(config.mixed_precision, log_with=config.report_to or None, project_dir=folder / "logs")
    except (ImportError, ValueError) as error:
        if not config.report_to:
            raise
        raise ConfigError(
            f"--report_to {' '.join(config.report_to)}: {error} `pip install hf-dd[tracking]`."
        ) from error


def field_names(config: type) -> list[str]:
    """Names of a dataclass's fields."""
    return [field.name for field in dataclasses.fields(config)]


def source_of(config: EvaluateConfig, record: dict[str, Any]) -> DataConfig:
    """The data set to test on: the one the options name, else the one that the set's record names, at its commit."""
    own = {key: getattr(config, key) for key in field_names(DataConfig)}
    if own["dataset"]:
        return DataConfig(**own)
    if not record:
        raise ConfigError(f"{config.sets[0]} doesn't say what it was made from: name its data set by --dataset.")
    made_from = {key: record["settings"].get(key, value) for key, value in own.items()}
    of_this_machine = {"dataset": record["data"]["reference"], "image_memory_gb": config.image_memory_gb}
    return DataConfig(**made_from | of_this_machine)


def keep_results(config: EvaluateConfig, results: Results) -> None:
    """Write results.json, and complete a local set's card where the evaluation was of that set alone."""
    single = config.sets[0] if len(config.sets) == 1 and Path(config.sets[0]).is_dir() else None
    if single and config.output_dir is None and (Path(single) / records.RECORD).is_file():
        plotted = len(results.architectures) > 1 and reports.can_plot()
        plot = functools.partial(reports.plot, results) if plotted else None
        Artefact.open(single).with_results(results.as_dict(), plot)
        return
    write_results(Path(config.output_dir or f"outputs/evaluate-{'-'.join(map(slug, config.sets))}"), results)


def write_results(folder: Path, results: Results) -> None:
    """Write `results.json` into a folder."""
    records.write(folder / "results.json", lambda path: path.write_text(json.dumps(results.as_dict(), indent=2)))
    logger.info("Results are in %s.", folder / "results.json")
