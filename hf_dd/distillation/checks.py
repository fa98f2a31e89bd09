"""What contradicts itself in the options of a distillation, said before anything is read or trained."""

from collections.abc import Iterator

from hf_dd.config import DistillConfig
from hf_dd.config.base import raise_together
from hf_dd.config.teachers import NEEDS_TEACHERS
from hf_dd.core.registry import NETWORKS, OBJECTIVES, STARTS
from hf_dd.distillation.needs import Needs
from hf_dd.errors import ConfigError
from hf_dd.objectives.base import Objective, options_of


def preflight(config: DistillConfig) -> None:
    """Raise one ConfigError, of a line each, for all that doesn't fit together in the options of a distillation.

    That is what the options say against each other, what the objective has no use for or lacks, and teachers, heads
    and experts that would go unused.
    """
    objective = OBJECTIVES.find(config.objective)
    raise_together([*config.contradictions(), *misfits(config, objective)])


def misfits(config: DistillConfig, objective: type[Objective]) -> Iterator[str]:
    """What doesn't fit the objective, or would have no effect, a line each."""
    yield from objective.published.without_meaning(config)
    try:
        options_of(objective, config)
    except ConfigError as error:
        yield str(error)
    else:
        if objective.makes_labels(config) and config.soft_labels != "none":
            yield (
                f"--soft_labels {config.soft_labels} would replace the labels that --objective {config.objective} "
                "makes: leave it out."
            )
    NETWORKS.find(config.architecture)
    init = config.init or objective.published.start(config.published)
    STARTS.find(init)
    start, needs = STARTS.words(init), Needs.of(config)
    if objective.guide_only and config.clom in (None, "none"):
        yield f"--objective {config.objective} is CLoM alone: add --clom ce or --clom cos, and teachers."
    if config.clom not in (None, "none") and objective.published.iterations == 0:
        yield f"--clom has nothing to guide: --objective {config.objective} optimises nothing."
    drawn = objective.published.drawn(config)
    if (needs.method or needs.start or needs.networks) and not config.named_teachers:
        asking = f"--init {config.init}" if needs.start else f"--networks {drawn}"
        asking = f"--objective {config.objective}" if needs.method else asking
        yield f"{asking} {NEEDS_TEACHERS}"
    if start.get("experts") and not objective.uses_experts:
        yield f"--init {init} asks experts, which --objective {config.objective} hasn't got: choose another start."
    if config.networks_from and drawn != "between":
        yield "--networks_from is where networks between two epochs begin: add --networks between, or leave it out."
    if config.selection_epochs is not None and not start.get("embeds"):
        embedding = " or ".join(name for name in STARTS if STARTS.words(name).get("embeds"))
        yield (f"--selection_epochs has no meaning for --init {init}: leave it out, or start from --init {embedding}.")
    if config.selection_epochs == 0 and start.get("prunes"):
        yield f"--selection_epochs 0: {init} chooses by a training, which has at least one epoch: leave it out."
    if config.zca and not objective.whitens:
        yield f"--zca has no meaning for --objective {config.objective}, which sees plain images: leave it out."
    if config.images_at_once and not (objective.by_parts and config.clom in (None, "none")):
        what = f"--objective {config.objective}" if not objective.by_parts else f"--clom {config.clom}"
        able = ", ".join(name for name in OBJECTIVES.declared if OBJECTIVES[name].by_parts)
        yield (
            f"--images_at_once has no meaning for {what}, whose images are learned together: leave it out. Without a "
            f"guide it is for {able}."
        )
    if config.experts and not objective.uses_experts:
        yield f"--experts has no meaning for --objective {config.objective}: leave it out."
    if objective.uses_experts and not config.experts:
        yield (
            f"--objective {config.objective} needs expert trajectories: give --experts, the repositories or folders "
            "of teachers' runs (`hf-dd pretrain --keep_epochs 0 1 2 …`)."
        )
    if config.named_teachers and config.clom == "none" and not (needs.without_clom or needs.guide):
        yield (
            f"--{config.named_teachers[0]} has no effect without a guide: add --clom ce or --clom cos (or "
            "--soft_labels)."
        )
    taught = needs.online and config.eval_students and not config.eval_teachers
    reads_logits = (
        config.clom == "ce" or objective.reads_logits or needs.start or config.soft_labels != "none" or taught
    )
    if config.fit_head and not reads_logits:
        readers = ", ".join(name for name in OBJECTIVES.declared if OBJECTIVES[name].reads_logits)
        yield (
            "--fit_head has no effect, as nothing reads the teachers' logits: leave it out, or add --clom ce, "
            f"--soft_labels, --eval_protocol soft-label-online, or --objective with one of {readers}."
        )
