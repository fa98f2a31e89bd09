"""What contradicts itself in the options of a distillation, said before anything is read or trained."""

from hf_dd.config import DistillConfig
from hf_dd.core.registry import NETWORKS, OBJECTIVES, PROTOCOLS, STARTS
from hf_dd.errors import ConfigError
from hf_dd.nn import augment
from hf_dd.objectives.base import options_of


def check_options(config: DistillConfig) -> None:
    """Raise ConfigError where the options don't fit the objective, or teachers would go unused, before any work."""
    objective = OBJECTIVES.find(config.objective)
    settings = objective.published.filled_in(config)
    options_of(objective, config)
    NETWORKS.find(config.architecture)
    STARTS.find(settings["init"])
    augment.parse_strategy(config.clom_augment)  # raises for what it doesn't know
    if objective.guide_only and config.clom == "none":
        raise ConfigError(f"--objective {config.objective} is CLoM alone: add --clom ce or --clom cos, and teachers.")
    if config.clom != "none" and settings["iterations"] == 0:
        raise ConfigError(f"--clom has nothing to guide: --objective {config.objective} optimises nothing.")
    start = STARTS.words(settings["init"])
    starts = "teachers" in start
    if (objective.uses_teachers or starts) and not config.named_teachers:
        asking = f"--objective {config.objective}" if objective.uses_teachers else f"--init {config.init}"
        raise ConfigError(f"{asking} needs teachers: give --teachers, --teacher_tags or --teacher_pool.")
    if config.selection_epochs is not None and not start.get("embeds"):
        raise ConfigError(
            f"--selection_epochs has no meaning for --init {settings['init']}: leave it out, or start from "
            f"--init {' or '.join(name for name in STARTS if STARTS.words(name).get('embeds'))}."
        )
    if objective.uses_experts != bool(config.experts):
        raise ConfigError(
            f"--experts has no meaning for --objective {config.objective}: leave it out."
            if config.experts
            else f"--objective {config.objective} needs expert trajectories: give --experts, the repositories or "
            "folders of teachers' runs (`hf-dd pretrain --keep_epochs 0 1 2 …`)."
        )
    online = PROTOCOLS.find(config.eval_protocol).labels == "online"
    label = config.soft_labels != "none" or online
    if config.named_teachers and config.clom == "none" and not (objective.uses_teachers or starts or label):
        raise ConfigError(
            f"--{config.named_teachers[0]} has no effect without a guide: add --clom ce or --clom cos (or "
            "--soft_labels)."
        )
    taught = online and config.eval_students and not config.eval_teachers
    reads_logits = config.clom == "ce" or objective.reads_logits or starts or config.soft_labels != "none" or taught
    if config.fit_head and not reads_logits:
        raise ConfigError(
            "--fit_head has no effect, as nothing reads the teachers' logits: leave it out, or add --clom ce, "
            "--soft_labels, --objective rded, sre2l or teacher-score, or --eval_protocol soft-label-online."
        )
