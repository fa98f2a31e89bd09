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

    That is what the objective has no use for or lacks, and teachers, heads and experts that would go unused; what
    options say against each other whatever the objective was judged when they were given.
    """
    raise_together(misfits(config))


def misfits(config: DistillConfig) -> Iterator[str]:
    """What doesn't fit the objective, or would have no effect, a line each."""
    objective = OBJECTIVES.find(config.objective)
    NETWORKS.find(config.architecture)
    STARTS.find(objective.published.start(config))  # which is then known by its words
    needs = Needs.of(config)
    yield from of_options(config, objective)
    yield from of_guide(config, objective)
    yield from of_networks(config, objective, needs)
    yield from of_start(config, objective)
    yield from of_parts(config, objective)
    yield from of_experts(config, objective)
    yield from of_teachers(config, objective, needs)


def of_options(config: DistillConfig, objective: type[Objective]) -> Iterator[str]:
    """Settings that the method hasn't got, and its own options."""
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
    if config.zca and not objective.whitens:
        yield f"--zca has no meaning for --objective {config.objective}, which sees plain images: leave it out."


def of_guide(config: DistillConfig, objective: type[Objective]) -> Iterator[str]:
    """A guide that is missing, or has nothing to guide."""
    if objective.guide_only and not config.guided:
        yield f"--objective {config.objective} is CLoM alone: add --clom ce or --clom cos, and teachers."
    if config.guided and objective.published.iterations == 0:
        yield f"--clom has nothing to guide: --objective {config.objective} optimises nothing."


def of_networks(config: DistillConfig, objective: type[Objective], needs: Needs) -> Iterator[str]:
    """Networks that are drawn from teachers; and whatever else asks teachers, where none are named."""
    drawn = objective.published.drawn(config)
    if (needs.method or needs.start or needs.networks) and not config.named_teachers:
        asking = f"--init {objective.published.start(config)}" if needs.start else f"--networks {drawn}"
        asking = f"--objective {config.objective}" if needs.method else asking
        yield f"{asking} {NEEDS_TEACHERS}"
    if config.networks_from and drawn != "between":
        yield "--networks_from is where networks between two epochs begin: add --networks between, or leave it out."


def of_start(config: DistillConfig, objective: type[Objective]) -> Iterator[str]:
    """The images' start, and the network by whose features they are chosen."""
    init = objective.published.start(config)
    start = STARTS.words(init)
    if start.get("experts") and not objective.uses_experts:
        yield f"--init {init} asks experts, which --objective {config.objective} hasn't got: choose another start."
    if config.selection_epochs is not None and not start.get("embeds"):
        embedding = " or ".join(name for name in STARTS if STARTS.words(name).get("embeds"))
        yield f"--selection_epochs has no meaning for --init {init}: leave it out, or start from --init {embedding}."
    if config.selection_epochs == 0 and start.get("embeds") == "training":
        yield f"--selection_epochs 0: {init} chooses by a training, which has at least one epoch: leave it out."


def of_parts(config: DistillConfig, objective: type[Objective]) -> Iterator[str]:
    """Images that are to be optimised some at a time, where each knows of all."""
    if config.images_at_once and (config.guided or not objective.by_parts):
        what = f"--objective {config.objective}" if not objective.by_parts else f"--clom {config.clom}"
        able = ", ".join(name for name in OBJECTIVES.declared if OBJECTIVES[name].by_parts)
        yield (
            f"--images_at_once has no meaning for {what}, whose images are learned together: leave it out. Without a "
            f"guide it is for {able}."
        )


def of_experts(config: DistillConfig, objective: type[Objective]) -> Iterator[str]:
    """Expert trajectories that are missing, or that nothing follows."""
    if config.experts and not objective.uses_experts:
        yield f"--experts has no meaning for --objective {config.objective}: leave it out."
    if objective.uses_experts and not config.experts:
        yield (
            f"--objective {config.objective} needs expert trajectories: give --experts, the repositories or folders "
            "of teachers' runs (`hf-dd pretrain --keep_epochs 0 1 2 …`)."
        )


def of_teachers(config: DistillConfig, objective: type[Objective], needs: Needs) -> Iterator[str]:
    """Teachers that would go unused, or their fitted heads."""
    if config.named_teachers and config.clom == "none" and not (needs.without_clom or needs.guide):
        yield (
            f"--{config.named_teachers[0]} has no effect without a guide: add --clom ce or --clom cos (or "
            "--soft_labels)."
        )
    taught = needs.online and config.evaluates and not config.eval_teachers
    reads_logits = (
        config.clom == "ce" or objective.reads_logits or needs.start or config.soft_labels != "none" or taught
    )
    if config.fit_head and not reads_logits:
        readers = ", ".join(name for name in OBJECTIVES.declared if OBJECTIVES[name].reads_logits)
        yield (
            "--fit_head has no effect, as nothing reads the teachers' logits: leave it out, or add --clom ce, "
            f"--soft_labels, --eval_protocol soft-label-online, or --objective with one of {readers}."
        )
