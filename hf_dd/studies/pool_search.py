"""Which teachers guide best: the paper's "selecting optimal options" as a search, judged on a validation split.

The candidates' options (architecture, initialisation, training epoch, domain) span the pools to try. Each pool guides
a short distillation of nine tenths of the training images; students of its images at every rung are tested on the
other tenth, and successive halving (Jamieson & Talwalkar, AISTATS 2016, in the asynchronous form of Li et al., MLSys
2020) gives up what lags behind. Optuna prunes, and keeps every trial; the test split has no part in it.
"""

import dataclasses
import json
import logging
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from hf_dd.artefacts.provenance import command_line, versions
from hf_dd.config import DistillConfig, SelectConfig, TeacherConfig
from hf_dd.config.base import defaults, part, values
from hf_dd.core import files
from hf_dd.core.processes import new_accelerator, say
from hf_dd.core.registry import OBJECTIVES
from hf_dd.core.seeding import generator
from hf_dd.data.image_data import ImageData, load_data
from hf_dd.data.validation import held_out
from hf_dd.distillation.checks import preflight
from hf_dd.distillation.distiller import DECIDING, Distiller
from hf_dd.errors import ConfigError, RunError
from hf_dd.evaluation.candidates import Candidate
from hf_dd.evaluation.evaluation import Evaluation, Job
from hf_dd.evaluation.protocols import Protocol
from hf_dd.studies.pool_options import Options, pools_of
from hf_dd.synthetic.synthetic_set import SyntheticSet
from hf_dd.teachers.feature_cache import FeatureMemory
from hf_dd.teachers.fitted_head import fit_heads
from hf_dd.teachers.pins import LOCK, TRACE
from hf_dd.teachers.pool import TeacherPool

if TYPE_CHECKING:
    import optuna

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Selection:
    """What was found: the folder with the trace, and the pool, or None where no pool guided better than none.

    `score` is in %, on the validation split; `tried` counts the pools that were tried, of the `pools` that there are.
    """

    folder: Path
    best: Options
    score: float
    pool: TeacherPool | None
    tried: int
    pools: int

    def __repr__(self) -> str:
        kept = self.folder / (TRACE if self.pool is None else LOCK)
        among = f"the best of {self.tried} tried out of {self.pools}"
        return f"{self.best.name}: {self.score:.2f} % on the validation split, {among}; {kept}"


def select(config: SelectConfig | None = None, **options: Any) -> Selection:
    """Find the pool that guides best; every process returns it.

    The folder gets `trace.json` (every pool with its scores), `optuna.log` (Optuna's storage), and `pool.json`, the
    lock that `--teacher_pool` takes. An interrupted search goes on by the same call, and ends as an uninterrupted one
    unless `--minutes` cuts it.
    """
    config = dataclasses.replace(config, **options) if config else SelectConfig(**options)
    folder = Path(config.output_dir or f"outputs/select-{config.run_name}")
    accelerator = new_accelerator(config.mixed_precision)
    config = dataclasses.replace(config, mixed_precision=accelerator.mixed_precision)
    protocol = checked(config)
    data = held_out(load_data(config), config.seed)
    candidates = TeacherPool.from_config(config)
    if config.fit_head:
        fit_heads(candidates, FeatureMemory(data, config.dtype, accelerator), config.seed)
    evaluation = Evaluation(data, protocol, seed=config.seed, accelerator=accelerator)
    for architecture in config.eval_architectures:
        evaluation.students(architecture)
    search = Search(config, folder, data, candidates, evaluation, accelerator)
    search.run()
    return search.finish()


def checked(config: SelectConfig) -> Protocol:
    """The protocol of a search's students; raises ConfigError for options that don't fit together."""
    preflight(distillation(config, ["candidates"]))
    protocol = Protocol.from_config(config)
    if protocol.labels != "hard" or protocol.trains != "network":
        raise ConfigError(f"--eval_protocol {protocol.name}: students on hard labels choose a pool: give dsa or dc.")
    return protocol


def distillation(config: SelectConfig, references: Sequence[str]) -> DistillConfig:
    """The options of the distillation that these teachers guide; of one without a guide where there are none."""
    shared = part(config, DistillConfig) | defaults(TeacherConfig, "teachers") | {"teachers": list(references)}
    unguided = {} if references else defaults(DistillConfig, "guide") | {"fit_head": False}
    return DistillConfig(**shared | unguided)


class Search:
    """The trials of a selection, in a seeded order, one after another; on several processes all work on each.

    Args:
        config: the options.
        folder: for the distillations, Optuna's storage and the trace.
        data: what is distilled, with the validation images as its test split.
        candidates: the teachers to choose from.
        evaluation: on `data`.
        accelerator: processes, device, precision.
    """

    def __init__(
        self,
        config: SelectConfig,
        folder: Path,
        data: ImageData,
        candidates: TeacherPool,
        evaluation: Evaluation,
        accelerator: Accelerator,
    ):
        self.config, self.folder, self.data = config, folder, data
        self.candidates, self.evaluation, self.accelerator = candidates, evaluation, accelerator
        self.pools = pools_of(candidates.specs)
        if OBJECTIVES.find(config.objective).guide_only:
            self.pools = self.pools[1:]  # without a guide there is nothing to distil by
        order = torch.randperm(len(self.pools), generator=generator(config.seed, "pools")).tolist()
        self.order = order[: config.trials]
        self.study = self.open_study() if accelerator.is_main_process else None

    def open_study(self) -> "optuna.Study":
        """Optuna's study in the folder; raises ConfigError without Optuna, RunError for that of another search."""
        try:
            import optuna
            from optuna.storages import JournalStorage
            from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
        except ImportError as error:
            raise ConfigError("Selecting a pool needs Optuna: pip install hf-dd[select]") from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.folder.mkdir(parents=True, exist_ok=True)
        place = str(self.folder / "optuna.log")
        self.storage = JournalStorage(JournalFileBackend(place, JournalFileOpenLock(place)))
        pruner = optuna.pruners.SuccessiveHalvingPruner(self.config.first_rung, self.config.reduction)
        study = optuna.create_study(
            storage=self.storage, study_name="pools", direction="maximize", pruner=pruner, load_if_exists=True
        )
        identity = self.identity()
        if differing := [key for key, value in study.user_attrs.items() if identity.get(key, value) != value]:
            raise RunError(
                f"{self.folder} holds another search ({', '.join(differing)} differ): give another --output_dir."
            )
        for key, value in identity.items():
            study.set_user_attr(key, value)
        return study

    def identity(self) -> dict[str, Any]:
        """What a search that goes on has to share, JSON-able."""
        kept = values(self.config, *DECIDING, "evaluation")
        shas = [spec.sha for spec in self.candidates.specs]
        return json.loads(json.dumps(kept | {"data": self.data.fingerprint, "candidates": shas}))

    def run(self) -> None:
        """Try the pools that weren't tried yet, as long as there is time."""
        while (trial := self.next_trial()) is not None:
            number, index, reported = trial
            pool = self.pools[index]
            say(logger, "Pool %d of %d: %s.", len(self.finished()) + 1, len(self.order), pool.name)
            for rung, score, seconds in self.scores(index, reported):
                say(logger, "%s: %.2f %% after %d iterations", pool.name, score, rung)
                if self.of_main(self.ends, number, rung, score, seconds):
                    break

    def of_main(self, compute: Callable[..., Any], *arguments: Any) -> Any:
        """What the main process computes, on every process."""
        found = [compute(*arguments) if self.accelerator.is_main_process else None]
        return broadcast_object_list(found)[0]

    def finished(self) -> dict[int, Any]:
        """The trials that ended, by the index of their pool; on the main process."""
        if not self.accelerator.is_main_process:
            return {}
        return {trial.params["pool"]: trial for trial in self.study.trials if trial.state.is_finished()}

    def next_trial(self) -> tuple[int, int, dict[int, float]] | None:
        """Number of the next trial, its pool, and the scores that it had before an interruption; None at the end."""

        def ask() -> tuple[int, int, dict[int, float]] | None:
            for trial in self.study.trials:  # interrupted: it goes on where it was, for the pruner to see it once
                if "pool" in trial.params and not trial.state.is_finished():
                    return trial.number, trial.params["pool"], trial.intermediate_values
            done = self.finished()
            left = [index for index in self.order if index not in done]
            if not left or (done and self.out_of_time(done.values())):
                return None
            self.study.enqueue_trial({"pool": left[0]})
            trial = self.study.ask()
            return trial.number, trial.suggest_int("pool", 0, len(self.pools) - 1), {}

        return self.of_main(ask)

    def out_of_time(self, trials: Any) -> bool:
        """Whether the distillations and students so far took the minutes that there are."""
        spent = sum(trial.user_attrs["seconds"] for trial in trials)
        return self.config.minutes is not None and spent >= 60 * self.config.minutes

    def scores(self, index: int, reported: dict[int, float]) -> Iterator[tuple[int, float, float]]:
        """A pool's rungs: iterations, the students' mean accuracy (%) on the validation split, seconds so far."""
        members = [self.candidates.specs[member] for member in self.pools[index].members]
        config = distillation(self.config, [spec.reference for spec in members])
        folder = self.folder / f"pools/{index}"
        if self.of_main((folder / "checkpoints").is_dir):  # looked for once, or others would find this run's
            config = dataclasses.replace(config, resume_from_checkpoint="latest")
        chosen = [self.candidates[member] for member in self.pools[index].members]
        pool = TeacherPool(chosen) if chosen else None
        distiller = Distiller(config, self.data, pool, self.accelerator, folder)
        progress, spent = distiller.begin(), 0.0
        for rung in self.config.rungs:
            progress = distiller.iterate(progress, until=rung)
            if rung in reported:
                yield rung, reported[rung], progress.seconds
                continue
            score, seconds = self.judge(distiller.synthetic, rung)
            spent += seconds
            yield rung, score, progress.seconds + spent

    def judge(self, synthetic: SyntheticSet, rung: int) -> tuple[float, float]:
        """Mean accuracy (%) of students on the images as they are, on the validation split; and their seconds."""
        images = synthetic.own_space(synthetic.images()).detach().float().cpu()
        labels = synthetic.image_labels().cpu()
        size = images.numel() * 4
        candidate = Candidate(f"after {rung}", "float", images, labels, size, factor=synthetic.factor)
        protocol = self.evaluation.protocol
        jobs = [Job(candidate, architecture, protocol) for architecture in self.config.eval_architectures]
        rows = self.evaluation.rows(jobs, self.config.eval_students)
        return statistics.fmean(row.mean for row in rows), sum(row.seconds for row in rows)

    def ends(self, number: int, rung: int, score: float, seconds: float) -> bool:
        """Report a score to Optuna; whether the trial ends there: at the last rung, or given up by the pruner."""
        import optuna
        from optuna.trial import TrialState

        study_id = self.storage.get_study_id_from_name(self.study.study_name)
        trial = optuna.Trial(self.study, self.storage.get_trial_id_from_study_id_trial_number(study_id, number))
        if rung not in self.study.trials[number].intermediate_values:
            trial.report(score, rung)
        last = rung == self.config.iterations
        if not last and not trial.should_prune():
            return False
        trial.set_user_attr("seconds", seconds)
        value, state = (score, TrialState.COMPLETE) if last else (None, TrialState.PRUNED)
        self.study.tell(number, value, state=state)
        self.write_trace()
        return True

    def write_trace(self) -> None:
        """The best pool so far, and all that were tried: options, teachers, scores by iterations, seconds."""
        tried = [
            {
                "pool": self.pools[index].name,
                "teachers": [dataclasses.asdict(self.candidates.specs[i]) for i in self.pools[index].members],
                "scores": {str(rung): score for rung, score in sorted(trial.intermediate_values.items())},
                "finished": trial.state.name == "COMPLETE",
                "seconds": round(trial.user_attrs["seconds"], 2),
            }
            for index, trial in self.finished().items()
        ]
        best = self.best()
        content = {
            "command": command_line("pool select", self.config, self.accelerator.num_processes),
            "pools": len(self.pools),
            "best": best and {"pool": self.pools[best[0]].name, "score": best[1]},
            "tried": tried,
            "versions": versions(),
        }
        files.write_json(self.folder / TRACE, content)

    def best(self) -> tuple[int, float] | None:
        """Of the pools that went through all rungs the best, and its score; of equals the one that was tried first."""
        through = {index: trial.value for index, trial in self.finished().items() if trial.state.name == "COMPLETE"}
        return max(through.items(), key=lambda scored: scored[1], default=None)

    def finish(self) -> Selection:
        """The best pool and its lock, on every process."""
        best, tried = self.of_main(lambda: (self.best(), len(self.finished())))
        if best is None:
            raise RunError(f"{self.folder}: no pool went through all rungs: raise --trials or --minutes.")
        options, score = self.pools[best[0]], best[1]
        chosen = [self.candidates[member] for member in options.members]
        pool = TeacherPool(chosen, f"hf-dd pool select: {options.name}") if chosen else None
        if self.accelerator.is_main_process:
            if pool is None:
                (self.folder / LOCK).unlink(missing_ok=True)
                logger.warning("No pool guided better than none on the validation split.")
            else:
                lock = json.dumps(pool.lock(), indent=2)
                files.write_text(self.folder / LOCK, lock)
        self.accelerator.wait_for_everyone()
        return Selection(self.folder, options, score, pool, tried, len(self.pools))
