"""Which teachers guide best: the paper's "selecting optimal options" as a race, judged on a validation split.

The candidates' options (architecture, initialisation, training epoch, domain) span the pools to try, each of which
guides a short distillation.
"""

import dataclasses
import functools
import json
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hf_dd.artefacts.provenance import command_line, versions
from hf_dd.config import DistillConfig, SelectConfig, TeacherConfig
from hf_dd.config.base import defaults, less_memory, part, values
from hf_dd.core import files, json_records
from hf_dd.core.alone import alone
from hf_dd.core.clock import since
from hf_dd.core.layout import LOCK
from hf_dd.core.processes import by_main_process, from_main_process, holding, new_accelerator, require_writable
from hf_dd.core.progress import Phase, say
from hf_dd.core.registry import OBJECTIVES
from hf_dd.core.seeding import generator
from hf_dd.data.held_out import held_out
from hf_dd.data.image_data import load_data
from hf_dd.distillation.checks import preflight
from hf_dd.distillation.distiller import DECIDING
from hf_dd.distillation.needs import Needs
from hf_dd.errors import ConfigError, RunError, UnusableError
from hf_dd.evaluation.evaluation import Evaluation
from hf_dd.evaluation.protocols import Protocol
from hf_dd.evaluation.students import require_known
from hf_dd.objectives import build_objective
from hf_dd.objectives.clom import require_architectures
from hf_dd.planning.budget import MEASURING, seconds_of_race
from hf_dd.planning.race import Entrant, Race
from hf_dd.studies.pool_options import Options, pools_of
from hf_dd.teachers.experts import ExpertPool
from hf_dd.teachers.feature_cache import FeatureMemory
from hf_dd.teachers.fitted_head import fit_heads
from hf_dd.teachers.pins import TRACE
from hf_dd.teachers.pool import TeacherPool

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Selection:
    """What was found: the folder with the trace, and the pool, or None where no pool guided better than none.

    `score` is in %, on the validation split; `tried` counts the pools that were tried, of the `pools` that there are.
    `guessing` is what always guessing the commonest class of that split gives: students that aren't better learned
    nothing, and the pool is the first in a drawn order.
    """

    folder: Path
    best: Options
    score: float
    pool: TeacherPool | None
    tried: int
    pools: int
    guessing: float = 0.0

    @property
    def learned(self) -> bool:
        """Whether students of the best pool are better than guessing, so that pools can be told apart."""
        return self.score - self.guessing > 1e-6  # means of the same counts may differ in their last digits

    def __repr__(self) -> str:
        kept = self.folder / (TRACE if self.pool is None else LOCK)
        among = f"the best of {self.tried} tried out of {self.pools}"
        among = among if self.learned else f"no better than guessing, as all {self.tried} tried out of {self.pools}"
        return f"{self.best.name}: {self.score:.2f} % on the validation split, {among}; {kept}"


@alone(less_memory(SelectConfig))
def select(config: SelectConfig | None = None, **options: Any) -> Selection:
    """Find the pool that guides best; every process returns it.

    The folder gets `trace.json` (every pool with its scores) and `pool.json`, the lock that `--teacher_pool` takes. An
    interrupted search goes on by the same call, and ends as an uninterrupted one unless `--minutes` cuts it.
    """
    config = SelectConfig.over(config, options)
    search = Search(config)
    with holding(search.folder, *(f"pools/{index}/checkpoints" for index in search.order)), Phase("the search"):
        search.run()
        return search.finish()


def checked(config: SelectConfig) -> Protocol:
    """The protocol of a search's students; raises ConfigError for options that don't fit together."""
    if not OBJECTIVES.find(config.objective).published.iterations:
        raise ConfigError(
            f"--objective {config.objective} optimises nothing, so that no pool guides it: name a method that does, "
            "such as dm."
        )
    preflight(distillation(config, ["candidates"]))
    protocol = Protocol.from_config(config)
    require_known(config.eval_architectures, protocol)
    if not protocol.is_plain:
        raise ConfigError(f"--eval_protocol {protocol.name}: students on hard labels choose a pool: give dsa or dc.")
    if config.soft_labels != "none":
        raise ConfigError(
            f"--soft_labels {config.soft_labels}: students on hard labels choose a pool: leave it out here, and "
            "distil with it."
        )
    return protocol


def distillation(config: SelectConfig, references: Sequence[str]) -> DistillConfig:
    """The options of the distillation that these teachers guide; of one without a guide where there are none."""
    shared = part(config, DistillConfig) | defaults(TeacherConfig, "teachers") | {"minutes": None}
    shared |= {"teachers": list(references)}
    if not references:
        networks = OBJECTIVES.find(config.objective).published.networks and "random"
        shared |= defaults(DistillConfig, "guide") | {"networks": networks, "fit_head": False, "networks_from": []}
    return DistillConfig(**shared)


def no_trace(path: Path, error: Exception) -> RunError:
    """The error for a trace that no search goes on from, with the way out."""
    reason = str(error).rstrip(".") if isinstance(error, RunError) else f"{type(error).__name__}: {error}"
    return RunError(
        f"{path} isn't a trace of this search ({reason}): remove it to search anew, or give another --output_dir."
    )


class Search:
    """A race of pools, in a seeded order; on several processes all work on each."""

    def __init__(self, config: SelectConfig):
        self.started = time.perf_counter()
        self.folder = Path(config.output_dir or f"outputs/select-{config.run_name}")
        self.accelerator = new_accelerator(config.mixed_precision)
        self.config = config = dataclasses.replace(config, mixed_precision=self.accelerator.mixed_precision)
        protocol = checked(config)
        require_writable(self.folder)
        self.data = held_out(load_data(config), config.seed)
        self.candidates = TeacherPool.from_config(config)
        self.experts = ExpertPool.from_config(config)
        if config.fit_head:
            fit_heads(self.candidates, FeatureMemory(self.data, config.dtype, self.accelerator), config.seed)
        self.data = self.data.to(self.accelerator.device)
        protocol = protocol.suited(config, self.data, self.accelerator.autocast)
        evaluation = Evaluation(self.data, protocol, seed=config.seed, accelerator=self.accelerator)
        for architecture in config.eval_architectures:
            evaluation.students(architecture)
        self.require_usable()
        self.pools = pools_of(self.candidates.specs)
        needs = Needs.of(config)
        if needs.guide or needs.method or needs.start:
            self.pools = self.pools[1:]  # without teachers there is nothing to distil by, or to start from
        order = torch.randperm(len(self.pools), generator=generator(config.seed, "pools")).tolist()
        self.order = order[: config.trials]
        self.race = Race(
            self.folder / "pools",
            {str(index): self.entrant(self.pools[index]) for index in self.order},
            evaluation,
            config.eval_architectures,
            config.eval_students,
            reduction=config.reduction,
            keep=lambda: by_main_process(self.write_trace),
            experts=self.experts,
        )

    def require_usable(self) -> None:
        """Raise TeacherError or ConfigError for a candidate that the method, or its guide, can't take."""
        for index in range(len(self.candidates)):
            pool = TeacherPool([self.candidates[index]])
            build_objective(self.distillation([index]), self.data, pool, self.experts)
        require_architectures(self.config, self.candidates.specs)

    def distillation(self, members: Sequence[int]) -> DistillConfig:
        """The options of the distillation by these candidates, with the weights of theirs alone."""
        specs = [self.candidates.specs[member] for member in members]
        config = distillation(self.config, [spec.reference for spec in specs])
        own = {spec.architecture for spec in specs}
        weights = [pair for pair in config.clom_alphas if pair.partition("=")[0] in own]
        return dataclasses.replace(config, clom_alphas=weights)

    def entrant(self, pool: Options) -> Entrant:
        """A pool's distillation."""
        config = self.distillation(pool.members)
        return Entrant(pool.name, config, functools.partial(self.pool_of, pool), tuple(self.config.rungs))

    def pool_of(self, pool: Options, source: str | None = None) -> TeacherPool | None:
        """Its teachers, loaded; None where it has none."""
        return TeacherPool([self.candidates[member] for member in pool.members], source) if pool.members else None

    def named(self, entrant: Entrant) -> Options:
        """The pool that an entrant is guided by."""
        return next(pool for pool in self.pools if pool.name == entrant.name)

    def run(self) -> None:
        """Race, as far as it didn't before, within the minutes that there are."""
        for entrant, known in zip(self.race.entrants, from_main_process(self.kept), strict=True):
            entrant.rungs, entrant.scores, entrant.seconds = known
        if self.config.minutes is None:
            self.race.run()
            return
        earlier = sum(entrant.seconds for entrant in self.race.entrants)

        def left() -> float:
            return 60 * self.config.minutes - earlier - since(self.started)

        costliest = max(self.race.entrants, key=lambda entrant: len(self.named(entrant).members))
        step = self.race.seconds_of_step(costliest, MEASURING * 60 * self.config.minutes)
        judgement = self.race.seconds_of_judgement(costliest)
        if not earlier:
            rungs = from_main_process(lambda: self.fitting(left(), step, judgement))
            for entrant in self.race.entrants:
                entrant.rungs = rungs
        self.race.run(lambda entrant: from_main_process(lambda: entrant.to_next(step, judgement) <= left()))

    def fitting(self, seconds: float, step: float, judgement: float) -> tuple[int, ...]:
        """The rungs of the options, or shorter ones where those would take longer.

        Raises ConfigError where the students alone take longer.
        """
        rungs, count, anew = self.config.rungs, len(self.race.entrants), self.race.entrants[0].anew
        spent = 60 * self.config.minutes - seconds
        while (needed := seconds_of_race(count, rungs, self.config.reduction, step, judgement, anew)) > seconds:
            if rungs[-1] <= len(rungs):
                raise ConfigError(
                    f"--minutes {self.config.minutes:g} is too short for {count} pools: with as few iterations as "
                    f"possible they take about {needed / 60:.1f} minutes, and what came before took {spent / 60:.1f}: "
                    f"give about {math.ceil(needed / 6 + spent / 6) / 10:g}, or fewer --trials, --eval_students, "
                    "--eval_architectures or --eval_epochs."
                )
            rungs = [max(place, int(rung * 0.9)) for place, rung in enumerate(rungs, 1)]
        if rungs != self.config.rungs:
            told = ", ".join(map(str, rungs))
            say("Pools are judged after %s iterations, to fit into %g minutes.", told, self.config.minutes)
        return tuple(rungs)

    def kept(self) -> list[tuple[tuple[int, ...], dict[int, float], float]]:
        """Each pool's rungs, scores and seconds in the trace that there is; raises RunError for another search's."""
        nothing = [(entrant.rungs, {}, 0.0) for entrant in self.race.entrants]
        path = self.folder / TRACE
        try:
            if not path.is_file() or "search" not in (trace := json_records.read_json(path)):
                return nothing
            json_records.require(trace, dict, {"search": dict, "tried": list}, str(path))
        except UnusableError as error:
            raise no_trace(path, error) from error
        if differing := [key for key, value in trace["search"].items() if self.identity().get(key, value) != value]:
            if not any(isinstance(pool, dict) and pool.get("finished") for pool in trace["tried"]):
                say("%s holds a search that tried no pool to its end: it is replaced.", self.folder)
                return nothing
            raise RunError(
                f"{self.folder} holds another search ({', '.join(differing)} differ): give another --output_dir."
            )
        names, found = {pool.name for pool in self.pools}, {}
        try:
            for pool in trace["tried"]:
                scores = {int(rung): float(score) for rung, score in pool["scores"].items()}
                if pool["pool"] not in names:
                    raise LookupError(f"no pool is called {pool['pool']!r:.80}")
                found[pool["pool"]] = scores, float(pool["seconds"])
            rungs = tuple(map(int, trace.get("rungs", self.config.rungs)))
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise no_trace(path, error) from error
        return [(rungs, *found.get(entrant.name, ({}, 0.0))) for entrant in self.race.entrants]

    def identity(self) -> dict[str, Any]:
        """What a search that goes on has to share, JSON-able."""
        kept = values(self.config, *DECIDING, "evaluation")
        shas = [spec.sha for spec in self.candidates.specs]
        return json.loads(json.dumps(kept | {"data": self.data.fingerprint, "candidates": shas}))

    def write_trace(self) -> None:
        """The best pool so far, and all with their scores: what an interrupted search goes on from."""
        best = self.race.best()
        judged = [entrant for entrant in self.race.entrants if entrant.scores]
        content = {
            "command": command_line("pool select", self.config, self.accelerator.num_processes),
            "pools": len(self.pools),
            "best": best and {"pool": best.name, "score": best.last_score},
            "rungs": list(self.race.entrants[0].rungs),
            "tried": [self.entry(entrant) for entrant in judged],
            "search": self.identity(),
            "versions": versions(),
        }
        files.write_json(self.folder / TRACE, content)

    def entry(self, entrant: Entrant) -> dict[str, Any]:
        """A pool in the trace: options, teachers, scores by iterations, seconds."""
        return {
            "pool": entrant.name,
            "teachers": [dataclasses.asdict(self.candidates.specs[member]) for member in self.named(entrant).members],
            "scores": {str(rung): entrant.scores[rung] for rung in sorted(entrant.scores)},
            "finished": entrant.reached == len(entrant.rungs),
            "seconds": round(entrant.seconds, 2),
        }

    def finish(self) -> Selection:
        """The best pool and its lock, on every process."""
        best = self.race.best()
        if best is None:
            raise RunError(f"{self.folder}: no pool was judged: raise --minutes.")
        options = self.named(best)
        pool = self.pool_of(options, f"hf-dd pool select: {options.name}")
        tried = sum(bool(entrant.scores) for entrant in self.race.entrants)
        guessing = self.race.evaluation.majority
        found = Selection(self.folder, options, best.last_score, pool, tried, len(self.pools), guessing)
        by_main_process(lambda: self.write_lock(found))
        return found

    def write_lock(self, found: Selection) -> None:
        """Write the lock of the best pool; remove an older one where none guided better than none."""
        if not found.learned:
            logger.warning(
                "The students learned nothing: always guessing the commonest class gives %.2f %% on the validation "
                "split, and the best pool %.2f %%. Which pool guides best isn't known: search again with more "
                "--eval_epochs, and into another --output_dir.",
                *(found.guessing, found.score),
            )
        elif found.pool is None:
            logger.warning("No pool guided better than none on the validation split.")
        if found.pool is None:
            files.remove(self.folder / LOCK)
        else:
            files.write_json(self.folder / LOCK, found.pool.lock())
