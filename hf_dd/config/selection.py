"""Options of the search for the pool of teachers that guides best."""

from dataclasses import dataclass

from hf_dd.config.base import option, require_at_least
from hf_dd.config.distillation import DistillConfig
from hf_dd.errors import ConfigError


@dataclass
class SelectConfig(DistillConfig):
    """Choose a pool among candidates: short distillations on a part of the training images, judged on the rest."""

    clom: str = option("ce", "CLoM guide: 'ce' (teachers of the same label space) or 'cos' (any teacher).")
    iterations: int = option(100, "Iterations of a distillation that isn't given up.")
    eval_students: int = option(1, "Students on the validation split, of each architecture.")
    eval_epochs: list[int] = option([100], "Epochs of the students.")
    first_rung: int = option(25, "Iterations after which the first pools are given up.")
    reduction: int = option(
        2, "One in so many pools goes on from a rung, to so many times as many iterations (successive halving)."
    )
    trials: int | None = option(None, "Pools to try at most; all that the candidates make if not given.")
    minutes: float | None = option(None, "Start no other pool after so long, all runs counted; no limit if not given.")

    def __post_init__(self) -> None:
        if self.clom not in ("ce", "cos"):
            raise ConfigError(f"--clom {self.clom}: a pool is chosen by how it guides; give ce or cos.")
        if not self.named_teachers:
            raise ConfigError("Name the candidates by --teachers, --teacher_tags or --teacher_pool.")
        super().__post_init__()
        require_at_least(self, 1, "eval_students", "first_rung", "trials")
        require_at_least(self, 2, "reduction")
        require_at_least(self, 0, "minutes")
        if self.first_rung >= self.iterations:
            raise ConfigError(
                f"--first_rung {self.first_rung} isn't below --iterations {self.iterations}: no pool can be given up."
            )
        if len(self.eval_epochs) != 1 or len(self.eval_learning_rates) > 1:
            raise ConfigError("The validation split chooses the pool: give one number of epochs and one rate at most.")

    @property
    def rungs(self) -> list[int]:
        """Iterations after which a pool is judged, the last of them all."""
        found = [self.first_rung]
        while found[-1] * self.reduction < self.iterations:
            found.append(found[-1] * self.reduction)
        return [*found, self.iterations]
