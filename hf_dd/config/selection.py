"""Options of the search for the pool of teachers that guides best."""

from collections.abc import Iterator
from dataclasses import dataclass

from hf_dd.config.data import budget
from hf_dd.config.distillation import DistillConfig
from hf_dd.config.evaluation import evaluation
from hf_dd.config.teachers import guide


@dataclass
class SelectConfig(DistillConfig):
    """Choose a pool among candidates: short distillations on a part of the training images, judged on the rest."""

    clom: str = guide(
        "ce",
        "CLoM guide: 'ce' (teachers of the same label space), 'cos' (any teacher), or 'none' where the method itself "
        "takes the teachers.",
        choices=("none", "ce", "cos"),
    )
    iterations: int = budget(100, "Iterations of a distillation that isn't given up.", at_least=1)
    eval_students: int = evaluation(1, "Students on the validation split, of each architecture.", at_least=1)
    eval_epochs: list[int] = evaluation([100], "Epochs of the students.", at_least=1)
    first_rung: int = budget(25, "Iterations after which the first pools are given up.", at_least=1)
    reduction: int = budget(
        2,
        "One in so many pools goes on from a rung, to so many times as many iterations (successive halving).",
        at_least=2,
    )
    trials: int | None = budget(
        None, "Pools to try at most; all that the candidates make if not given.", role="effort", at_least=1
    )
    minutes: float | None = budget(
        None,
        "All of the search in so many minutes: pools are judged after fewer iterations where they have to be; no "
        "limit if not given.",
        role="effort",
        above=0,
    )

    @property
    def planned(self) -> bool:
        """As of all options: nothing else is to choose than the pool."""
        return False

    def contradictions(self) -> Iterator[str]:
        """As of all options."""
        if not self.named_teachers:
            yield "Name the candidates by --teachers, --teacher_tags or --teacher_pool."
        else:
            yield from super().contradictions()
        if self.plan:
            yield "--plan is of hf-dd distill: a search tells its rungs as it begins."
        if self.push_to_hub:
            yield "--push_to_hub: a search pushes nothing. Distil with --teacher_pool, which pushes set and pool."
        if self.first_rung >= self.iterations:
            last = self.iterations
            yield f"--first_rung {self.first_rung} isn't below --iterations {last}: no pool can be given up."
        if len(self.eval_epochs) != 1 or len(self.eval_learning_rates) > 1:
            one = "--eval_epochs takes one value, --eval_learning_rates at most one"
            yield f"The validation split chooses the pool: {one}."

    @property
    def rungs(self) -> list[int]:
        """Iterations after which a pool is judged, the last of them all."""
        found = [self.first_rung]
        while found[-1] * self.reduction < self.iterations:
            found.append(found[-1] * self.reduction)
        return [*found, self.iterations]
