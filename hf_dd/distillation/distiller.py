"""The accelerate loop of a distillation: step, log, checkpoint, resume.

Ranks own classes, or parts of them: each asks the objective for the loss of its own, the gradients on the pixels are
added up, and every rank takes the same optimiser step on the whole set. So the number of processes changes no result
beyond the order of float sums, and what is exchanged is as large as the synthetic set, whatever the data's size.
"""

import dataclasses
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from hf_dd.config import DistillConfig
from hf_dd.config.base import defaults, named
from hf_dd.core import files
from hf_dd.core.clock import since
from hf_dd.core.layout import CHECKPOINTS, LOGS
from hf_dd.core.processes import by_main_process, take_from_main_process
from hf_dd.core.progress import Phase, say
from hf_dd.core.registry import OBJECTIVES, STARTS
from hf_dd.core.strategies import parse_strategy
from hf_dd.data.image_data import ImageData
from hf_dd.distillation import checkpoints, tracking
from hf_dd.distillation.checkpoints import Progress
from hf_dd.distillation.checks import preflight
from hf_dd.distillation.optimisers import Learned
from hf_dd.distillation.profiling import profiled
from hf_dd.errors import RunError
from hf_dd.objectives import Losses, Ownership, Step, build_objective
from hf_dd.objectives.published import NOT_GIVEN, Published
from hf_dd.synthetic.parts import parts_of
from hf_dd.synthetic.patches import PatchOptions
from hf_dd.synthetic.start import Request
from hf_dd.synthetic.synthetic_set import SyntheticSet
from hf_dd.teachers.experts import ExpertPool
from hf_dd.teachers.feature_cache import FeatureMemory
from hf_dd.teachers.pool import TeacherPool
from hf_dd.training import flips

logger = logging.getLogger(__name__)

DECIDING = ("result", "guide", "data")  # roles of the options that change pixels by their values

# Of [0, 1], root mean square: DM's images are at 0.1 (Fashion-MNIST) to 0.5 (digits), those torn off by a guide at 8.
FAR_OUTSIDE = 1.0


@dataclass(frozen=True)
class Distillation:
    """A finished distillation.

    Attributes:
        synthetic: the set, on the CPU.
        progress: its iterations, seconds, and last logged losses.
        settings: the objective's options with the published values filled in.
        bytes_exchanged: by each process in the last step; 0 for a single process.
        outcome: what the objective found beside the images.
        soft_labels: the objective's own, of the training images, or None; see `Objective.soft_labels`.
    """

    synthetic: SyntheticSet
    progress: Progress
    settings: dict[str, Any]
    bytes_exchanged: int
    outcome: dict[str, Any]
    soft_labels: Tensor | None = None


class Distiller:
    """One distillation from its options to a synthetic set.

    Args:
        config: the options.
        data: the real set; moved to the accelerator's device.
        pool: the teachers of the objective, its start or its guide, or None.
        accelerator: processes, device, precision, trackers.
        folder: the run's folder; checkpoints go into its `checkpoints`.
        experts: the trajectories that the objective follows, or None.

    Raises ConfigError, DataError or TeacherError for whatever can be seen to be wrong before the first step.
    """

    def __init__(
        self,
        config: DistillConfig,
        data: ImageData,
        pool: TeacherPool | None,
        accelerator: Accelerator,
        folder: Path,
        experts: ExpertPool | None = None,
    ):
        preflight(config)
        data.require_ipc(config.ipc)  # the evaluation's random baseline needs as many, whatever the start
        self.accelerator = accelerator
        self.trace = folder / f"profile/rank-{accelerator.process_index}.json" if config.profile else None
        self.data = data.to(accelerator.device)
        self.folder = folder / CHECKPOINTS
        self.settle(config, OBJECTIVES.find(config.objective).published)
        self.own = Ownership.of(accelerator.process_index, accelerator.num_processes, data.num_classes)
        self.bytes_exchanged = 0  # by this rank, in the last step
        if pool:
            pool.starts = None  # of an earlier run with these teachers
        self.objective = build_objective(self.config, self.data, pool, experts)
        self.memory = FeatureMemory(self.data, config.dtype, accelerator)
        self.start(pool, experts)
        self.identity = {
            **{name: self.settings[name] for name in named(config, *DECIDING)},
            "data": data.fingerprint,
            "teacher_shas": [spec.sha for spec in [*pool.specs, *pool.start_specs]] if pool else [],
            "expert_shas": [expert["shas"] for expert in experts.lock()] if experts else [],
        }

    def settle(self, config: DistillConfig, published: Published) -> None:
        """Fill in what isn't given: by the paper, the data, or the run that this one goes on with."""
        self.settings, begun = published.filled_in(config), self.begun_with(config, published)
        # What an older checkpoint doesn't know was as it is where it isn't given.
        self.not_given = defaults(DistillConfig, *DECIDING) | {"networks": published.networks}
        self.decisions: list[str] = []
        if self.settings["augment"] is None:
            found = flips.augmentation(self.data, parse_strategy(published.strategy), self.accelerator.autocast)
            self.settings["augment"] = found
            if begun.get("augment", found) == found:
                self.decisions.append(str(flips.flip_test(self.data, self.accelerator.autocast)))
        self.settings |= begun
        of_cell, _ = published.of_cells(config)
        decided = {name: self.settings[name] for name in ("augment", "selection_epochs", *of_cell)}
        self.config = dataclasses.replace(config, **decided)

    def start(self, pool: TeacherPool | None, experts: ExpertPool | None) -> None:
        """Make the images, as the objective begins with them, and what learns them."""
        config, objective, started = self.config, self.objective, time.perf_counter()
        options = objective.options
        patches = {"patches": options} if isinstance(options, PatchOptions) else {}
        taught = config.guided or objective.uses_teachers  # those that only label choose nothing
        memory = {"memory": self.memory} if taught else {}
        begun = dataclasses.replace(config, init=self.settings["init"])
        request = Request(begun, self.data, self.accelerator.autocast, pool, **patches, **memory, experts=experts)
        initial = STARTS.find(self.settings["init"])(request)
        take_from_main_process(initial.pixels)  # machines that differ may choose otherwise
        self.seconds_of_start = since(started)  # all that a method takes which only chooses
        self.parts = parts_of(initial, config.images_at_once)
        self.iterations = self.settings["iterations"] * self.parts.count  # of all parts
        self.synthetic = objective.parameterise(self.parts.first()).to(self.accelerator.device)
        self.parts.enter(self.synthetic, 0)
        settings = objective.published.on_normalised(self.settings, self.data.std)
        buffers = objective.buffers() | self.parts.buffers()
        self.learned = Learned(self.synthetic, objective.learnables(), settings, objective.published.betas, buffers)

    def begun_with(self, config: DistillConfig, published: Published) -> dict[str, Any]:
        """What an older run began with of what isn't given, where it goes on: the paper's start and augmentation."""
        if config.published or not config.resumes or self.resumed(config) is None:
            return {}
        kept = checkpoints.read_state(self.resumed(config))["identity"]
        old = {"init": (published.init,), "augment": NOT_GIVEN}
        not_given = [name for name in old if getattr(config, name) is None]
        return {name: kept[name] for name in not_given if name in kept and kept[name] in old[name]}

    def resumed(self, config: DistillConfig) -> Path | None:
        """The checkpoint that the options name; None where 'latest' finds none."""
        if config.resume_from_checkpoint != "latest":
            return Path(config.resume_from_checkpoint)
        return next(reversed(checkpoints.checkpoints(self.folder)), None)

    def run(self) -> Distillation:
        """Distil from the start, or from the checkpoint that the options name, to the last iteration."""
        progress = self.iterate(self.begin())
        finished = self.parts.finished(self.synthetic)
        if self.bytes_exchanged:
            say("Each process exchanged %s bytes per step.", f"{self.bytes_exchanged:,}")
        if self.accelerator.is_main_process and (count := runaways(finished)):
            weaker = "a smaller --clom_balance" if self.config.clom_alpha == "auto" else "--clom_alpha auto or smaller"
            logger.warning(
                "%d of %d images have run far out of the range of pixels, to which their 8-bit copies are clipped. "
                "Try %sa smaller --image_learning_rate.",
                *(count, len(finished.pixels), f"{weaker}, or " if self.config.guided else ""),
            )
        with torch.no_grad():
            labels = self.objective.soft_labels(finished)
        labels = None if labels is None else labels.float().cpu()
        outcome = self.objective.outcome()
        return Distillation(finished.cpu(), progress, self.settings, self.bytes_exchanged, outcome, labels)

    def begin(self) -> Progress:
        """Where the run starts: at the checkpoint that the options name, or at the first step, which is kept too."""
        progress = self.resume() if self.config.resumes else None
        if progress is None:
            progress = Progress(0, self.seconds_of_start, {})
            self.save(progress)
        return progress

    def iterate(self, progress: Progress, until: int | None = None) -> Progress:
        """The loop, to the last iteration or a former one, where it keeps a checkpoint.

        Losses stay on the device between log lines; a loss that is no number stops the run.
        """
        iterations = max(progress.step, self.iterations if until is None else until)
        advice = "--minutes N plans for less"
        spent, started, losses = progress.seconds, time.perf_counter(), progress.losses
        first_bad = torch.full((), iterations, device=self.accelerator.device)
        with Phase(self.config.run_name, iterations, "iteration", done=progress.step, advice=advice) as bar:
            for index in profiled(range(progress.step, iterations), self.trace):
                terms = self.step(index, bar.update)
                healthy = self.learned.all_finite()
                if self.objective.takes_step():  # a loss that moved nothing may be what it likes
                    healthy = healthy & torch.isfinite(sum(terms.values()))
                first_bad = torch.where(healthy, first_bad, torch.clamp(first_bad, max=index))
                done = index + 1
                bar.update(done - bar.done)
                logs, saves = done % self.config.logging_steps == 0, done % self.config.save_steps == 0
                if logs or saves or done == iterations:
                    self.stop_if_diverged(first_bad, iterations)
                    found = self.read(terms)
                    losses = found if math.isfinite(found["total"]) else losses  # of a step that isn't taken
                    bar.note = ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
                    with files.writing(self.folder.with_name(LOGS)):
                        self.accelerator.log({f"loss/{name}": value for name, value in losses.items()}, step=done)
                if saves or done == iterations:
                    spent, started = spent + since(started), time.perf_counter()
                    self.save(Progress(done, spent, losses))
        return Progress(iterations, spent + since(started), losses)

    def step(self, index: int, tell: Callable[[float], object] = lambda share: None) -> Losses:
        """One iteration; returns the last losses of each kind. `tell` gets the shares of a long one, one by one."""
        terms: Losses = {}
        for losses in self.updates(index):
            terms |= losses
            if self.objective.updates > 1:
                tell(1 / self.objective.updates)
        return terms

    def updates(self, index: int) -> Iterator[Losses]:
        """An iteration, step by step of the optimiser: yields the losses of each, detached, when it has been taken."""
        part, index = divmod(index, self.settings["iterations"]) if self.parts.count > 1 else (0, index)
        turns = part > 0 and index == 0
        if turns:
            self.parts.leave(self.synthetic, part - 1)
            self.parts.enter(self.synthetic, part)
        view = Step(
            index=index,
            seed=self.config.seed,
            own=self.own,
            all_ranks=self.accelerator.num_processes,
            synthetic=self.synthetic,
            data=self.data,
            sum_over_ranks=self.sum_over_ranks,
            autocast=self.accelerator.autocast,
            remembered=self.memory.remembered,
        )
        self.bytes_exchanged = 0
        self.learned.begin(index, anew=turns)
        for losses in self.objective.losses(view):
            self.learned.zero_grad()
            self.accelerator.backward(sum(losses.values()))
            for parameter in self.learned.parameters.values():
                if parameter.grad is not None:
                    parameter.grad = self.sum_over_ranks(parameter.grad)
            if self.objective.takes_step():
                self.learned.step()
            yield {name: value.detach() for name, value in losses.items()}

    def sum_over_ranks(self, tensor: Tensor) -> Tensor:
        """Add a tensor up over all ranks, and count what that exchanges: the tensor's bytes, once for each rank."""
        if self.accelerator.num_processes > 1:
            self.bytes_exchanged += tensor.numel() * tensor.element_size()
        return self.accelerator.reduce(tensor, reduction="sum")

    def read(self, terms: dict[str, Tensor]) -> dict[str, float]:
        """The terms summed over the ranks, as numbers: the only place where the host waits for the device."""
        names, dtype = sorted(terms), self.synthetic.pixels.dtype
        values = torch.stack([terms[name].to(dtype) for name in names])
        values = self.accelerator.reduce(values, reduction="sum").tolist()
        return {"total": sum(values), **dict(zip(names, values, strict=True))}

    def stop_if_diverged(self, first_bad: Tensor, iterations: int) -> None:
        """Raise RunError on every rank if any of them saw a loss or a pixel that is no finite number."""
        worst = int(self.accelerator.gather(first_bad.view(1)).min())
        if worst < iterations:
            kept = checkpoints.checkpoints(self.folder)
            raise RunError(
                f"The loss is no finite number any more at step {worst + 1}. The last good checkpoint is "
                f"{kept[-1] if kept else 'none'}. Try a smaller --image_learning_rate or --clom_alpha, with "
                "--overwrite_output_dir."
            )

    def save(self, progress: Progress) -> None:
        """Checkpoint on the main process; the others wait, so that none runs ahead of a failed write."""
        kept = self.learned, progress, self.identity, self.config.save_total_limit
        by_main_process(lambda: checkpoints.save_checkpoint(self.folder, *kept))
        if self.config.report_to:
            tracking.log_preview(self.accelerator, checkpoints.preview_of(self.folder, progress.step), progress.step)

    def resume(self) -> Progress | None:
        """Restore the checkpoint that the options name; None where 'latest' finds none, as in a run killed early."""
        path = self.resumed(self.config)
        self.accelerator.wait_for_everyone()  # a rank that looks late would find the first one of this very run
        if path is None:
            logger.warning("%s holds no checkpoint yet: starting from the first step.", self.folder)
            return None
        progress = checkpoints.load_checkpoint(path, self.learned, self.identity, self.not_given)
        if progress.step > self.iterations:
            raise RunError(f"{path} is of step {progress.step}, but the run has {self.iterations} iterations.")
        self.parts.reenter(self.synthetic, max(0, progress.step - 1) // max(1, self.settings["iterations"]))
        say("Resuming from %s.", path)
        return progress


def runaways(synthetic: SyntheticSet) -> int:
    """How many images have run off: their pixels leave [0, 1] by more than FAR_OUTSIDE, root mean square."""
    pixels = synthetic.own_space().detach()
    outside = pixels - pixels.clamp(0, 1)
    return int((outside.square().flatten(1).mean(1) > FAR_OUTSIDE**2).sum())
