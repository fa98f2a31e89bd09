"""The teachers of an evaluation: whose words students learn from, where a protocol asks some."""

from collections.abc import Sequence
from typing import Any

from hf_dd.config import DistillConfig
from hf_dd.core.registry import OBJECTIVES
from hf_dd.errors import ConfigError, DataError, RunError, TeacherError
from hf_dd.evaluation.protocols import Protocol
from hf_dd.teachers.feature_cache import FeatureMemory
from hf_dd.teachers.fitted_head import fit_heads
from hf_dd.teachers.locating import is_trusted
from hf_dd.teachers.pins import specs_of
from hf_dd.teachers.pool import TeacherPool
from hf_dd.teachers.soft_labels import logit_orders
from hf_dd.teachers.teacher import TeacherSpec


def teachers_of(
    protocol: Protocol,
    named: Sequence[str],
    records: dict[str, dict[str, Any]],
    scores: Sequence[str] = (),
    trusted: Sequence[str] = (),
    memory: FeatureMemory | None = None,
    needed: bool = True,
) -> TeacherPool | None:
    """The teachers that are named, else those that the sets were made with, at the commits (or weights) of then.

    Args:
        protocol: None is returned where it needs no teachers and none are named.
        named: `--eval_teachers`.
        records: by the name of a set, the `hf_dd.json` of each.
        scores: what else students are trained for: the best protocol of a set may be one with teachers.
        trusted: `--trusted_teachers`.
        memory: of the data set of the evaluation, for teachers of records that had fitted heads.
        needed: whether there is anything for them to say, as of real images beside a set with soft labels.

    Raises ConfigError for teachers without an effect, and where sets were made with none or with different ones;
    TeacherError or HubError where one can't be loaded or isn't what it was, DataError for heads of other data.
    """
    if named:
        if not protocol.asks_teachers and "label_robust_score" not in scores:
            raise ConfigError(
                f"--eval_teachers has no effect under the protocol {protocol.name}: add --eval_protocol "
                "soft-label-online, or leave it out."
            )
        return TeacherPool.from_references(named, trusted=trusted)
    if not protocol.asks_teachers or not needed:
        return None
    found = {name: recorded(name, record) for name, record in records.items()}
    first, *others = found
    for name in others:
        if {spec.sha for spec in found[name]} != {spec.sha for spec in found[first]}:
            raise ConfigError(
                f"{first} and {name} were made with different teachers: name those that all students of the protocol "
                f"{protocol.name} are to learn from by --eval_teachers."
            )
    return reloaded(found[first], memory, trusted)


def recorded(name: str, record: dict[str, Any]) -> list[TeacherSpec]:
    """The teachers of a set's record; raises ConfigError where it has none, DataError where they aren't any."""
    if not record.get("teachers"):
        raise ConfigError(
            f"{name} was made without teachers that students could learn from: name some by --eval_teachers, or "
            "choose another --eval_protocol."
        )
    try:
        return specs_of(record["teachers"])
    except RunError as error:
        raise DataError(f"The record of {name} doesn't say which teachers it was made with: {error}") from error


def reloaded(specs: Sequence[TeacherSpec], memory: FeatureMemory | None, trusted: Sequence[str] = ()) -> TeacherPool:
    """These very teachers, their fitted heads as well: remembered, or fitted again.

    Raises TeacherError for a local one whose weights are others by now, and for one that the set's maker let read
    pickles and run code, unless this user trusts it too; DataError where a head was fitted on other data than the
    memory's.
    """
    for spec in specs:
        if spec.trusted and not is_trusted(spec, trusted):
            raise TeacherError(
                f"{spec} was allowed to read pickles and run its own code when the set was made. Allow it again by "
                f"--trusted_teachers {spec.repo_id}, or name other teachers by --eval_teachers."
            )
    try:
        pool = TeacherPool.from_references(specs, trusted=trusted)
    except TeacherError as error:
        raise TeacherError(f"{error} Name a teacher by --eval_teachers.") from error
    heads = [spec.head for spec in specs if spec.head]
    for head in heads:
        if head["fingerprint"] != memory.data.fingerprint:
            raise DataError(
                f"Teachers of the set had heads fitted on {head['data']}, and the evaluation is on other training "
                f"images, of {memory.data.name}: name that data set by --dataset, or teachers by --eval_teachers."
            )
    if heads:  # all by the seed of one run
        fit_heads(pool, memory, heads[0]["seed"])
    return pool


def require_labels(
    config: DistillConfig, protocol: Protocol, pool: TeacherPool | None, class_names: list[str]
) -> None:
    """Raise an error, before a distillation, where its evaluation would lack what the protocol trains on."""
    own = OBJECTIVES.find(config.objective).makes_labels(config) or config.soft_labels not in ("none", "crops")
    if protocol.labels == "soft" and not protocol.asks_teachers and not own:
        raise ConfigError(
            f"--eval_protocol {protocol.name} trains on soft labels: add --soft_labels mean and teachers, or choose "
            "another protocol."
        )
    if protocol.labels == "crops" and config.soft_labels != "crops":
        raise ConfigError(
            f"--eval_protocol {protocol.name} trains on labels of crops: add --soft_labels crops and teachers, or "
            "choose another protocol."
        )
    if named := config.eval_teachers:
        pool = teachers_of(protocol, named, {}, trusted=config.trusted_teachers)
    elif protocol.asks_teachers and pool is None:
        raise ConfigError(
            f"--eval_protocol {protocol.name} needs teachers: give --eval_teachers, or those of the distillation."
        )
    elif protocol.asks_teachers and any(spec.in_memory for spec in pool.specs):
        raise ConfigError(
            f"--eval_protocol {protocol.name} loads the teachers from where they lie, and these are in memory: choose "
            "another protocol, or name others as eval_teachers."
        )
    if protocol.asks_teachers:
        logit_orders(pool, class_names)
