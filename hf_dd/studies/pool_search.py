"""Which teachers guide best: the paper's "selecting optimal options" as a search, judged on a validation split.

The candidates' options (architecture, initialisation, training epoch, domain) span the pools to try. Each pool guides
a short distillation of nine tenths of the training images; students of its images at every rung are tested on the
other tenth, and successive halving (Jamieson & Talwalkar, AISTATS 2016, in the asynchronous form of Li et al., MLSys
2020) gives up what lags behind, as Optuna says. The test split has no part in it.
"""

import dataclasses
import json
import logging
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from hf_dd.artefacts.provenance import command_line, versions
from hf_dd.config import DistillConfig, SelectConfig, TeacherConfig
from hf_dd.config.base import defaults, part, values
from hf_dd.core import files, json_records
from hf_dd.core.processes import by_main_process, from_main_process, holding, new_accelerator, say
from hf_dd.core.registry import OBJECTIVES
from hf_dd.core.seeding import generator
from hf_dd.data.image_data import load_data
from hf_dd.data.validation import held_out
from hf_dd.distillation import checkpoints
from hf_dd.distillation.checks import preflight
from hf_dd.distillation.distiller import DECIDING, Distiller
from hf_dd.errors import ConfigError, RunError
from hf_dd.evaluation.candidates import Candidate
from hf_dd.evaluation.evaluation import Evaluation, Job
from hf_dd.evaluation.protocols import Protocol
from hf_dd.evaluation.students import require_known
from hf_dd.studies.pool_options import Options, pools_of
from hf_dd.synthetic.synthetic_set import SyntheticSet
from hf_dd.teachers.feature_cache import FeatureMemory
from hf_dd.teachers.fitted_head import fit_heads
from hf_dd.teachers.pins import LOCK, TRACE
from hf_dd.teachers.pool import TeacherPool

if TYPE_CHECKING:
    import optuna

logger = logging.getLogger(__name__)
OLDER_TRACE = "optuna.log"  # the storage of Optuna's in which older versions kept a search


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

    The folder gets `trace.json` (every pool with its scores) and `pool.json`, the lock that `--teacher_pool` takes. An
    interrupted search goes on by the same call, and ends as an uninterrupted one unless `--minutes` cuts it.
    """
    config = SelectConfig.over(config, options)
    search = Search(config)
    with holding(search.folder, *(f"pools/{index}/checkpoints" for index in search.order)):
        search.open_study()
        search.run()
        return search.finish()


def checked(config: SelectConfig) -> Protocol:
    """The protocol of a search's students; raises ConfigError for options that don't fit together."""
    preflight(distillation(config, ["candidates"]))
    protocol = Protocol.from_config(config)
    require_known(config.eval_architectures, protocol)
    if protocol.labels != "hard" or protocol.trains != "network":
        raise ConfigError(f"--eval_protocol {protocol.name}: students on hard labels choose a pool: give dsa or dc.")
    return protocol


def distillation(config: SelectConfig, references: Sequence[str]) -> DistillConfig:
    """The options of the distillation that these teachers guide; of one without a guide where there are none."""
    shared = part(config, DistillConfig) | defaults(TeacherConfig, "teachers") | {"teachers": list(references)}
    unguided = {} if references else defaults(DistillConfig, "guide") | {"fit_head": False}
    return DistillConfig(**shared | unguided)


def goes_on(folder: Path, identity: dict[str, Any]) -> bool:
    """Whether a pool's run goes on with what lies in its folder; what is another's, as of a slip, is removed."""
    try:
        kept = checkpoints.checkpoints(folder / "checkpoints")
        if kept and not checkpoints.differences(checkpoints.read_state(kept[-1]), identity):
            return True
    except RunError:  # damaged
        pass
    files.remove(folder)
    return False


class Search:
    """The trials of a selection, in a seeded order, one after another; on several processes all work on each."""

    def __init__(self, config: SelectConfig):
        self.folder = Path(config.output_dir or f"outputs/select-{config.run_name}")
        self.accelerator = new_accelerator(config.mixed_precision)
        self.config = config = dataclasses.replace(config, mixed_precision=self.accelerator.mixed_precision)
        protocol = checked(config)
        self.data = held_out(load_data(config), config.seed)
        self.candidates = TeacherPool.from_config(config)
        if config.fit_head:
            fit_heads(self.candidates, FeatureMemory(self.data, config.dtype, self.accelerator), config.seed)
        self.evaluation = Evaluation(self.data, protocol, seed=config.seed, accelerator=self.accelerator)
        for architecture in config.eval_architectures:
            self.evaluation.students(architecture)
        self.pools = pools_of(self.candidates.specs)
        if OBJECTIVES.find(config.objective).guide_only:
            self.pools = self.pools[1:]  # without a guide there is nothing to distil by
        order = torch.randperm(len(self.pools), generator=generator(config.seed, "pools")).tolist()
        self.order = order[: config.trials]
        self.trial: optuna.Trial | None = None  # of the pool that is being tried

    def open_study(self) -> None:
        """Begin a study of Optuna's, and tell it of what was tried before; raises ConfigError without Optuna.

        Every process has its own: all are told the same.
        """
        try:
            import optuna
        except ImportError as error:
            raise ConfigError("Selecting a pool needs Optuna: pip install hf-dd[select]") from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        pruner = optuna.pruners.SuccessiveHalvingPruner(self.config.first_rung, self.config.reduction)
        self.study = optuna.create_study(direction="maximize", pruner=pruner)
        for index, scores, seconds in from_main_process(self.kept):
            self.begin(index)
            for rung in sorted(scores):
                self.ends(rung, scores[rung], seconds)

    def kept(self) -> list[tuple[int, dict[int, float], float]]:
        """The pools that this search has tried, the last one perhaps not to its end: index, scores, seconds.

        Raises RunError for the trace of another search.
        """
        tried = []
        if (self.folder / TRACE).is_file() and "search" in (trace := json_records.read_json(self.folder / TRACE)):
            json_records.require(
                trace, dict, {"search": dict, "tried": list, "running": list}, str(self.folder / TRACE)
            )
            if not trace["tried"] and self.differences(trace["search"]):
                say(logger, "%s holds a search that tried no pool to its end: it is replaced.", self.folder)
                return []
            self.require_same(trace["search"])
            index = {pool.name: number for number, pool in enumerate(self.pools)}
            try:
                for pool in trace["tried"] + trace["running"]:
                    scores = {int(rung): float(score) for rung, score in pool["scores"].items()}
                    tried.append((index[pool["pool"]], scores, float(pool["seconds"])))
            except (AttributeError, LookupError, TypeError, ValueError) as error:
                raise RunError(
                    f"{self.folder / TRACE} isn't a trace of this search ({type(error).__name__}: {error}): remove it "
                    "to search anew, or give another --output_dir."
                ) from error
        elif (self.folder / OLDER_TRACE).is_file():
            from optuna import load_study, storages

            try:
                journal = storages.journal.JournalFileBackend(str(self.folder / OLDER_TRACE))
                study = load_study(study_name="pools", storage=storages.JournalStorage(journal))
            except (OSError, LookupError, ValueError) as error:
                raise RunError(
                    f"{self.folder / OLDER_TRACE} can't be read ({error}): remove it to search anew, or give another "
                    "--output_dir."
                ) from error
            self.require_same(study.user_attrs)
            trials = [trial for trial in study.trials if "pool" in trial.params]
            trials.sort(key=lambda trial: not trial.state.is_finished())
            for trial in trials:
                seconds = trial.user_attrs.get("seconds", 0.0)
                tried.append((trial.params["pool"], trial.intermediate_values, seconds))
        return tried

    def differences(self, known: dict[str, Any]) -> list[str]:
        """In what another search, by what is known of it, isn't this one."""
        identity = self.identity()
        return [key for key, value in known.items() if identity.get(key, value) != value]

    def require_same(self, known: dict[str, Any]) -> None:
        """Raise RunError for what is known of another search."""
        if differing := self.differences(known):
            raise RunError(
                f"{self.folder} holds another search ({', '.join(differing)} differ): give another --output_dir."
            )

    def identity(self) -> dict[str, Any]:
        """What a search that goes on has to share, JSON-able."""
        kept = values(self.config, *DECIDING, "evaluation")
        shas = [spec.sha for spec in self.candidates.specs]
        return json.loads(json.dumps(kept | {"data": self.data.fingerprint, "candidates": shas}))

    def run(self) -> None:
        """Try the pools that weren't tried yet, as long as there is time."""
        while self.trial or self.begin_next():
            pool = self.pools[self.trial.params["pool"]]
            say(logger, "Pool %d of %d: %s.", len(self.finished()) + 1, len(self.order), pool.name)
            for rung, score, seconds in self.scores(self.trial.params["pool"]):
                say(logger, "%s: %.2f %% after %d iterations", pool.name, score, rung)
                ended = self.ends(rung, score, seconds)
                by_main_process(self.write_trace)
                if ended:
                    break

    def finished(self) -> dict[int, Any]:
        """The trials that ended, by the index of their pool."""
        return {trial.params["pool"]: trial for trial in self.study.trials if trial.state.is_finished()}

    def begin_next(self) -> bool:
        """Turn to the next pool, if one is left and the runs so far didn't take the minutes that there are."""
        done = self.finished()
        left = [index for index in self.order if index not in done]
        spent = sum(trial.user_attrs["seconds"] for trial in done.values())
        late = done and self.config.minutes is not None and spent >= 60 * self.config.minutes
        if left and not late:
            self.begin(left[0])
        return self.trial is not None

    def begin(self, index: int) -> None:
        """Turn to a pool."""
        self.study.enqueue_trial({"pool": index})
        self.trial = self.study.ask()
        self.trial.suggest_categorical("pool", range(len(self.pools)))

    def running(self) -> "optuna.trial.FrozenTrial":
        """What is known of the pool that is being tried."""
        return self.study.trials[self.trial.number]

    def scores(self, index: int) -> Iterator[tuple[int, float, float]]:
        """A pool's rungs: iterations, the students' mean accuracy (%) on the validation split, seconds so far."""
        reported = self.running().intermediate_values  # before an interruption
        members = self.pools[index].members
        config = distillation(self.config, [self.candidates.specs[member].reference for member in members])
        folder = self.folder / f"pools/{index}"
        pool = TeacherPool([self.candidates[member] for member in members]) if members else None
        distiller = Distiller(config, self.data, pool, self.accelerator, folder)
        if from_main_process(lambda: reported or goes_on(folder, distiller.identity)):
            distiller.config = dataclasses.replace(config, resume_from_checkpoint="latest")
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

    def ends(self, rung: int, score: float, seconds: float) -> bool:
        """Report a score to Optuna; whether the trial ends there: at the last rung, or given up by the pruner."""
        from optuna.trial import TrialState

        if rung in self.running().intermediate_values:  # before an interruption: it went on from there
            return False
        self.trial.report(score, rung)
        last = rung == self.config.iterations
        ended = last or self.trial.should_prune()
        if ended:
            self.trial.set_user_attr("seconds", from_main_process(lambda: seconds))
            state = TrialState.COMPLETE if last else TrialState.PRUNED
            self.study.tell(self.trial, score if last else None, state=state)
            self.trial = None
        return ended

    def write_trace(self) -> None:
        """The best pool so far, all that were tried, and the one that is: what an interrupted search goes on from."""
        best = self.best()
        content = {
            "command": command_line("pool select", self.config, self.accelerator.num_processes),
            "pools": len(self.pools),
            "best": best and {"pool": self.pools[best[0]].name, "score": best[1]},
            "tried": [self.entry(trial) for trial in self.finished().values()],
            "running": [self.entry(self.running())] if self.trial else [],
            "search": self.identity(),
            "versions": versions(),
        }
        files.write_json(self.folder / TRACE, content)

    def entry(self, trial: "optuna.trial.FrozenTrial") -> dict[str, Any]:
        """A pool in the trace: options, teachers, scores by iterations, seconds."""
        pool = self.pools[trial.params["pool"]]
        return {
            "pool": pool.name,
            "teachers": [dataclasses.asdict(self.candidates.specs[member]) for member in pool.members],
            "scores": {str(rung): score for rung, score in sorted(trial.intermediate_values.items())},
            "finished": trial.state.name == "COMPLETE",
            "seconds": round(trial.user_attrs.get("seconds", 0.0), 2),
        }

    def best(self) -> tuple[int, float] | None:
        """Of the pools that went through all rungs the best, and its score; of equals the one that was tried first."""
        through = {index: trial.value for index, trial in self.finished().items() if trial.state.name == "COMPLETE"}
        return max(through.items(), key=lambda scored: scored[1], default=None)

    def finish(self) -> Selection:
        """The best pool and its lock, on every process."""
        best = self.best()
        if best is None:
            raise RunError(f"{self.folder}: no pool went through all rungs: raise --trials or --minutes.")
        options, score = self.pools[best[0]], best[1]
        chosen = [self.candidates[member] for member in options.members]
        pool = TeacherPool(chosen, f"hf-dd pool select: {options.name}") if chosen else None
        by_main_process(lambda: self.write_lock(pool))
        return Selection(self.folder, options, score, pool, len(self.finished()), len(self.pools))

    def write_lock(self, pool: TeacherPool | None) -> None:
        """Write the lock of the best pool; remove an older one where none guided better than none."""
        if pool is None:
            files.remove(self.folder / LOCK)
            logger.warning("No pool guided better than none on the validation split.")
        else:
            files.write_json(self.folder / LOCK, pool.lock())
