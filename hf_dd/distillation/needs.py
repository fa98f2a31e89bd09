"""What a distillation needs teachers for."""

from dataclasses import dataclass

from hf_dd.config import DistillConfig
from hf_dd.core.registry import OBJECTIVES, PROTOCOLS, STARTS


@dataclass(frozen=True)
class Needs:
    """What teachers are for in a distillation.

    Attributes:
        method: the method asks them.
        start: the images' start asks them.
        networks: they, or networks between two of their epochs, are the networks that the method draws.
        online: they teach the students online.
        labels: they label the set, or teach its students online.
        guide: the method is CLoM alone, and does nothing without them.
    """

    method: bool
    start: bool
    networks: bool
    online: bool
    labels: bool
    guide: bool

    @classmethod
    def of(cls, config: DistillConfig) -> "Needs":
        """Those of a run with these options; raises ConfigError for parts that aren't known."""
        objective = OBJECTIVES.find(config.objective)
        start = STARTS.words(objective.published.start(config))
        online = PROTOCOLS.find(config.eval_protocol).labels == "online"
        return cls(
            method=objective.uses_teachers,
            start="teachers" in start,
            networks=objective.published.drawn(config) not in (None, "random"),
            online=online,
            labels=online or config.soft_labels != "none",
            guide=objective.guide_only,
        )

    @property
    def without_clom(self) -> bool:
        """Whether there is anything for them where no CLoM guides the images."""
        return self.method or self.start or self.networks or self.labels
