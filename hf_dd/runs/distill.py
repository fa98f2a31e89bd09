"""Distil a data set into a folder, evaluate it, push it."""

import contextlib
import dataclasses
import functools
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from hf_dd import hub
from hf_dd.artefacts import distilled_folder, teacher_folder
from hf_dd.artefacts.distilled_folder import Artefact
from hf_dd.artefacts.provenance import command_line, pinned
from hf_dd.artefacts.rows import training_images
from hf_dd.config import DataConfig, DistillConfig, EvaluationConfig, InMemory, PretrainConfig
from hf_dd.config.base import less_memory, part, shown
from hf_dd.core.alone import alone
from hf_dd.core.clock import begun
from hf_dd.core.layout import LOGS
from hf_dd.core.machine import hardware
from hf_dd.core.precision import bf16_is_faster
from hf_dd.core.processes import from_main_process, new_accelerator
from hf_dd.core.progress import say
from hf_dd.core.registry import OBJECTIVES, PROTOCOLS
from hf_dd.data.decoding import LARGE
from hf_dd.data.image_data import HOW_TO_TEST, ImageData, load_data
from hf_dd.distillation import tracking
from hf_dd.distillation.checks import preflight
from hf_dd.distillation.distiller import Distillation, Distiller
from hf_dd.distillation.run_folder import PLAN, TEACHERS, prepared, require_place
from hf_dd.errors import ConfigError
from hf_dd.evaluation.online_teachers import require_labels
from hf_dd.evaluation.protocols import Protocol
from hf_dd.evaluation.students import require_known, students_of
from hf_dd.nn.views import Views
from hf_dd.objectives.base import seen_as_published
from hf_dd.planning import plan_in_words
from hf_dd.planning.measurements import require_validation
from hf_dd.planning.plan_file import read_plan
from hf_dd.planning.planner import Planner
from hf_dd.runs.crop_labels import labelling, views_of
from hf_dd.runs.evaluate import evaluate
from hf_dd.runs.pretrain import pretrain
from hf_dd.teachers import diversity
from hf_dd.teachers.crop_labels import classes_kept
from hf_dd.teachers.experts import ExpertPool
from hf_dd.teachers.feature_cache import FeatureMemory
from hf_dd.teachers.fitted_head import fit_heads
from hf_dd.teachers.pool import TeacherPool
from hf_dd.teachers.soft_labels import logit_orders, relabel
from hf_dd.training.pretraining import grid

logger = logging.getLogger(__name__)


@alone(less_memory(DistillConfig))
def distill(
    config: DistillConfig | None = None,
    *,
    pool: TeacherPool | None = None,
    expert_pool: ExpertPool | None = None,
    **options: Any,
) -> Artefact | str:
    """Distil a data set into a folder, evaluate it, and push it if asked; every process returns the artefact.

    With `minutes` the run is planned first (`planning.planner`); with `plan` that is all, and its words are returned.

    Args:
        config: the options, or give them by name.
        pool: teachers that are loaded already, instead of naming them; `fit_head` gives heads to them, in place.
        expert_pool: the trajectories that `experts` names, where their epochs are pinned already.
        options: fields of DistillConfig; `dataset` may be a `datasets.Dataset` or `DatasetDict`.

    Raises ConfigError, DataError, TeacherError, HubError or RunError, before any training for all that can be seen by
    then; RunError, too, where the images diverge.
    """
    with contextlib.ExitStack() as held:  # the run's folder, until it has ended
        return _distill(config, pool, expert_pool, options, held)


def _distill(
    config: DistillConfig | None,
    pool: TeacherPool | None,
    experts: ExpertPool | None,
    options: dict[str, Any],
    held: contextlib.ExitStack,
) -> Artefact | str:
    if not isinstance(pool, TeacherPool | None):
        raise ConfigError(f"pool has to be a TeacherPool; teachers are named by `teachers`. It is {shown(pool)}.")
    if not isinstance(experts, ExpertPool | None):
        raise ConfigError(
            f"expert_pool has to be an ExpertPool; experts are named by `experts`. It is {shown(experts)}."
        )
    if pool is not None:
        options["teachers"] = [spec.reference for spec in pool.specs]
    started = begun()
    config, folder, accelerator = checked(DistillConfig.over(config, options))
    data = load_data(config)
    tell_of_data(config, data)
    tell_of_labels(config)
    for name, why in config.without_effect().items() if accelerator.is_main_process else ():
        logger.warning("--%s is without effect: %s.", name, why)
    pool, experts = pool or TeacherPool.from_config(config), experts or ExpertPool.from_config(config)
    run = Run(config, folder, accelerator, data, pool, experts)
    if config.fit_head:
        fit_heads(pool, FeatureMemory(data, config.dtype, accelerator), config.seed)
    if config.minutes is not None:
        run.begin_plan(started, held)
        if config.plan:
            return plan_in_words.described(run.planner)
        run.follow_plan()
    require_labels_and_students(run.config, data, run.pool)
    distiller = Distiller(run.config, data, run.pool, accelerator, folder, experts)
    run.config = config = distiller.config  # with what the data decided
    views = views_of(config, distiller.data, accelerator.autocast) if config.soft_labels == "crops" else None
    pins = pinned(config, data, run.pool)
    if run.planner is None:  # only now: a slip costs no earlier run that was to be overwritten
        held.enter_context(prepared(config, folder))
    held.enter_context(tracking.tracked(accelerator, config, folder, data.name))
    result = distiller.run()
    tracking.log_set(accelerator, folder, result.synthetic, data.class_names, result.progress.step)
    run.write(result, distiller.decisions, views, pins)
    del distiller  # with its copy of the data on the device: the evaluation has one of its own
    if config.evaluates and data.test is not None:
        run.evaluate()
        tracking.log_results(accelerator, folder, Artefact.open(folder).record.results, result.progress.step)
    if config.push_to_hub and accelerator.is_main_process:
        pushed = Artefact.open(folder).push(config.hub_dataset_id, **place_on_hub(config))
        logger.info("Pushed %s: %s", pushed.pin, pushed.pull_request or pushed.url)
    accelerator.wait_for_everyone()
    return Artefact.open(folder)


@dataclass
class Run:
    """A distillation and what it is of; its plan, where there is one, decides on options and teachers."""

    config: DistillConfig
    folder: Path
    accelerator: Accelerator
    data: ImageData
    pool: TeacherPool | None
    experts: ExpertPool | None
    planner: Planner | None = None

    def begin_plan(self, started: float, held: contextlib.ExitStack) -> None:
        """Hold the folder, or one that leaves nothing behind, and prepare the measurements of a plan there.

        Raises an error before that where the data have too few images, or the labels and students can't be had.
        """
        config, data, pool, folder = self.config, self.data, self.pool, self.folder
        require_validation(data, config.ipc, config.factor)  # a slip costs no earlier run that was to be overwritten
        may_train = pool is None and config.clom != "none"  # teachers of its own, which may teach students too
        asks = Protocol.from_config(config).asks_teachers
        require_labels_and_students(config, data, pool, labels=not (may_train and asks))
        if config.plan:
            folder = Path(held.enter_context(tempfile.TemporaryDirectory()))
        else:
            held.enter_context(prepared(config, folder))
        self.planner = Planner(config, data, pool, self.accelerator, folder, started, self.experts)

    def follow_plan(self) -> None:
        """Take the options and the teachers that the plan decides on."""
        planned = self.planner.planned(functools.partial(teach, self.data, self.config))
        self.config = with_pushed_teachers(planned, self.folder)
        self.pool = (self.pool or TeacherPool.from_config(self.config)) if self.config.named_teachers else None

    def write(self, result: Distillation, decisions: Sequence[str], views: Views | None, pins: dict[str, Any]) -> None:
        """Label the set and write its folder; every process has to call it.

        Args:
            result: of the distiller.
            decisions: that the data led to.
            views: that teachers label, for labels of crops.
            pins: the options that the command on the card names by commits.
        """
        config, pool, data, device = self.config, self.pool, self.data, self.accelerator.device
        # Both are asked of all processes, as a plan's measurements are.
        before = plan_in_words.teaching(self.planner) if self.planner else []
        planned = plan_in_words.decisions(self.planner) if self.planner else []
        if self.accelerator.is_main_process:
            soft_labels, crop_labels = result.soft_labels, None
            images = training_images(result.synthetic) if config.soft_labels != "none" else None
            if config.soft_labels == "crops":
                crop_labels = labelling(config, pool, data, images, views, device)
            elif config.soft_labels != "none":
                how = config.soft_labels, config.soft_label_temperature
                soft_labels = relabel(pool, data.class_names, images, *how, device)
            distilled_folder.write_artefact(
                self.folder,
                config.run_name,
                result,
                data,
                pool,
                soft_labels,
                crop_labels=crop_labels,
                experts=self.experts.lock() if self.experts else [],
                diversity=diversity.measure(pool, data, device) if pool and len(pool) > 1 else None,
                command=command_line("distill", config, self.accelerator.num_processes, pins),
                hardware=hardware(self.accelerator),
                planning_seconds=self.planner and self.planner.known.kept["spent"],
                before=before,
                decisions=[*planned, *decisions],
            )
        self.accelerator.wait_for_everyone()

    def evaluate(self) -> None:
        """Train students on the set that was written."""
        config = self.config
        of_data = part(config, DataConfig) if isinstance(config.dataset, InMemory) else {}  # the record names others
        evaluate(
            sets=[str(self.folder)],
            seed=config.first_student,
            mixed_precision=config.mixed_precision,
            **part(config, EvaluationConfig),
            **of_data,
        )


def checked(config: DistillConfig) -> tuple[DistillConfig, Path, Accelerator]:
    """The options of a run, its folder and processes, after all checks that need neither data nor teachers."""
    folder = Path(config.output_dir or f"outputs/{config.run_name}")
    accelerator = tracked_accelerator(config, folder)
    if config.minutes is not None and (faster := faster_precision(config, folder, accelerator.device)):
        config = dataclasses.replace(config, mixed_precision=faster)
        accelerator = tracked_accelerator(config, folder)
    config = dataclasses.replace(config, mixed_precision=accelerator.mixed_precision)
    if config.evaluates:
        require_known(config.eval_architectures, Protocol.from_config(config))
    preflight(config)
    if not config.plan:  # which writes nothing
        require_place(config, folder)
    if config.minutes is not None and config.push_to_hub and config.hub_dataset_id is None:
        config = dataclasses.replace(config, hub_dataset_id=config.run_name)  # before the plan gives it another name
    if config.push_to_hub:  # a missing token or a taken tag shows now, not after the distillation
        hub.require_free(hub.full_repo_id(config.hub_dataset_id or config.run_name), "dataset", **place_on_hub(config))
    return seen_as_published(config), folder, accelerator


def tell_of_data(config: DistillConfig, data: ImageData) -> None:
    """Say what a run leaves out where there is no test split, and what is slow about large images."""
    height, width = data.image_size
    if min(height, width) > LARGE and config.image_size is None:
        told = "%s has images of %d×%d pixels: --image_size %d, or less, saves memory and time."
        say(told, data.name, width, height, LARGE)
    if data.test is None and config.evaluates:
        teachers = ", and no teachers are trained" if config.minutes is not None and not config.named_teachers else ""
        say("%s has no test split: nothing is evaluated%s. %s.", data.name, teachers, HOW_TO_TEST.capitalize())


def tell_of_labels(config: DistillConfig) -> None:
    """Say that the labels which a method learns teach nobody under a protocol of hard labels."""
    learns = OBJECTIVES.find(config.objective).makes_labels(config)
    if learns and config.evaluates and Protocol.from_config(config).labels == "hard":
        own = config.objective if config.objective in PROTOCOLS.declared else "dsa-soft"
        say(
            f"The students learn from hard labels (--eval_protocol {config.eval_protocol}), not from those that "
            f"{config.objective} learns: --eval_protocol {own} takes these."
        )


def place_on_hub(config: DistillConfig) -> dict[str, Any]:
    """Where in a repository a run is pushed to."""
    place = {"tag": config.hub_tag, "branch": config.hub_revision}
    return place | {"private": config.hub_private_repo, "create_pr": config.create_pr}


def require_labels_and_students(
    config: DistillConfig, data: ImageData, pool: TeacherPool | None, labels: bool = True
) -> None:
    """Raise TeacherError or ConfigError where a run's labels or students can't be had of these teachers and data.

    That shows now, not after the distillation; `labels` says whether those of the protocol can be judged yet.
    """
    if config.soft_labels != "none":
        logit_orders(pool, data.class_names)
    if config.soft_labels == "crops":
        classes_kept(config.soft_label_topk, data.num_classes)
    if config.evaluates:
        protocol = Protocol.from_config(config)
        if labels:
            require_labels(config, protocol, pool, data.class_names)
        for architecture in config.eval_architectures:
            students_of(architecture, protocol, data)


def teach(data: ImageData, run: DistillConfig, config: PretrainConfig) -> list[str]:
    """Train a run's own teachers; returns their references.

    Raises ConfigError before where they couldn't be pushed with the set, as those of another run are there.
    """
    folders = [Path(config.output_dir) / teacher_folder.teacher_name(data, *job) for job in grid(config)]
    for folder in folders if run.push_to_hub else ():
        repo_id = repo_of_teacher(run, folder)
        if hub.require_pushable(repo_id, "model", private=run.hub_private_repo):
            raise ConfigError(
                f"{repo_id} is there already, where this run's own teachers would be pushed: choose another "
                "--hub_dataset_id, by which they are called, or --clom none for no teachers."
            )
    pretrain(config)
    return [f"{folder}@final" for folder in folders]


def repo_of_teacher(run: DistillConfig, folder: Path) -> str:
    """The repository of one of a run's own teachers: called as that of the set, and then as its folder."""
    return f"{hub.full_repo_id(run.hub_dataset_id)}-{folder.name}"


def with_pushed_teachers(config: DistillConfig, folder: Path) -> DistillConfig:
    """The options of a planned run, whose own teachers are on the Hub now where the set is to be pushed."""

    def pushed(reference: str) -> str:
        own = Path(reference.removesuffix("@final"))
        if own.parent != folder / TEACHERS:
            return reference
        pin = teacher_folder.push_teacher(own, private=config.hub_private_repo, repo_id=repo_of_teacher(config, own))
        return f"{pin.repo_id}@{pin.revision}"

    if not config.push_to_hub:
        return config
    return dataclasses.replace(config, teachers=from_main_process(lambda: list(map(pushed, config.teachers))))


def faster_precision(config: DistillConfig, folder: Path, device: torch.device) -> str:
    """The precision that a planned run takes instead of its own, as it does more in its minutes; empty for its own.

    A run that goes on keeps that of its plan, whatever the clock says now.
    """
    if config.mixed_precision is not None or config.dtype != "float32" or config.published:
        return ""

    def faster() -> str:
        if config.resumes and (folder / PLAN).is_file():
            return read_plan(folder / PLAN)["request"].get("mixed_precision", "")
        return "bf16" if bf16_is_faster(device) else ""

    return from_main_process(faster)


def tracked_accelerator(config: DistillConfig, folder: Path) -> Accelerator:
    """An accelerator with the trackers of `--report_to`; raises ConfigError where one isn't installed."""
    try:
        return new_accelerator(
            config.mixed_precision or "no", log_with=config.report_to or None, project_dir=folder / LOGS
        )
    except ConfigError as error:
        if not (config.report_to and isinstance(error.__cause__, (ImportError, ValueError))):
            raise
        raise ConfigError(
            f"--report_to {' '.join(config.report_to)}: {error.__cause__} `pip install hf-dd[tracking]`."
        ) from error
