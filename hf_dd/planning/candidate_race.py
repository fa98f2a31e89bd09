"""Which candidate of a plan a race prefers, on a tenth of the training images that is held out."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

from hf_dd.core.processes import from_main_process
from hf_dd.core.progress import say
from hf_dd.planning import budget
from hf_dd.planning.candidates import Option
from hf_dd.planning.field import JUDGE, Field
from hf_dd.planning.race import Entrant, Race

JUDGE_EPOCHS = (300, 200, 100, 60)


class CandidateRace:
    """The race of a plan's candidates.

    Args:
        field: of these.
    """

    def __init__(self, field: Field):
        self.field, self.known = field, field.known

    def raced(
        self,
        found: Sequence[Option],
        steps: Sequence[float],
        iterations: Callable[[dict[str, Any], float], int],
    ) -> int | None:
        """Which candidate is best; None where herding alone is better than any of them.

        Args:
            found: the candidates, the likeliest first.
            steps: seconds of an iteration of each.
            iterations: how many there is time for after the race, of a candidate's options and the seconds of one.
        """
        known = self.known
        costs, held = known.costs(JUDGE), len(known.held.test)
        judgements = {
            epochs: [costs.of(known.size.images * each.options["factor"] ** 2, epochs, held) for each in found]
            for epochs in JUDGE_EPOCHS
        }
        anew = self.field.entrant(found[0]).anew
        size = known.once("race", lambda: self.sized(steps, judgements, anew))
        if size is None:
            return 0
        able = [place for place, step in enumerate(steps) if budget.FEWEST * step <= size["seconds"][0]]
        entrants = [self.field.entrant(found[place], self.rungs(size["seconds"], steps[place])) for place in able]
        race = self.field.race(entrants, size["epochs"], size["entrants"])
        before = known.kept.get("scores", {})  # by name: another version may try others, or in another order
        for entrant in entrants if isinstance(before, dict) else ():
            entrant.scores = {int(rung): score for rung, score in before.get(entrant.name, {}).items()}
        known.kept["scores"] = {entrant.name: entrant.scores for entrant in entrants}
        most = budget.OVERRUN * budget.RACING * known.seconds
        until = known.once("race until", lambda: known.left - most)

        def in_time(entrant: Entrant) -> bool:
            """Whether a leg as long as the longest yet leaves the distillation its time; the first one in any case."""
            longest = from_main_process(lambda: max(each.seconds for each in entrants))
            return known.left - longest >= until or race.best() is None

        race.run(in_time)
        best, judged = race.best(), sum(each.reached > 0 for each in entrants)
        place = able[entrants.index(best)]
        pace = known.once("pace", lambda: best.step or steps[place])
        alone = self.field.may_only_choose()
        selected = known.once("herding", lambda: race.judge(known.selected)[0]) if alone else 0.0
        told, expected = f"{best.last_score:.1f} %", best.last_score
        if expected < selected:  # which it starts from, or from tiles of it: what it gains has to be seen
            ahead = known.once("iterations", lambda: iterations(found[place].options, pace))
            expected = self.foreseen(race, best, ahead)
            told += f", and {expected:.1f} % to be expected of {ahead:,} iterations"
        told += f"; herding alone {selected:.1f} %" if selected else ""
        seen = "" if self.field.pool is self.field.given else ", which the run's own teachers had learned from"
        held_out = f"{held} held-out training images{seen}"
        known.kept["won"] = f"{best.name}: the best of {judged} tried, on {held_out} ({told})"
        say("%s.", known.kept["won"])
        return None if expected < selected else place

    def rungs(self, seconds: Sequence[float], step: float) -> tuple[int, ...]:
        """The iterations of an entrant that there is time for before each rung, none beyond the run's."""
        most = self.field.most_iterations
        return tuple(min(most, max(place, int(each / step))) for place, each in enumerate(seconds, start=1))

    def foreseen(self, race: Race, entrant: Entrant, iterations: int) -> float:
        """The score to be expected after so many iterations, by what the entrant gains from half of some to all.

        It goes twice as far for that, or where that would leave the winner too little time, and each rung is a
        distillation anew, half as far.
        """
        reached = entrant.rungs[entrant.reached - 1]
        twice, half = min(self.field.most_iterations, 2 * reached), max(1, reached // 2)
        if twice == reached:  # it goes no farther
            return entrant.scores[reached]
        look = self.known.once("look", lambda: twice if self.leaves_enough(race, entrant, twice) else half)
        if look == reached or (look < reached and not entrant.anew):  # nothing more can be known
            return entrant.scores[reached]
        if look not in entrant.scores:  # else before an interruption
            race.look(entrant, look)
            self.known.keep()
            say("%s: %.2f %% after %d iterations", entrant.name, entrant.scores[look], look)
        first, last = sorted((reached, look))
        gained = (entrant.scores[last] - entrant.scores[first]) / math.log2(last / first)
        return min(100.0, entrant.scores[last] + gained * max(0.0, math.log2(iterations / last)))

    def leaves_enough(self, race: Race, entrant: Entrant, iterations: int) -> bool:
        """Whether so many iterations leave the students their share of the time, and the winner half of its own."""
        done = 0 if entrant.anew else entrant.rungs[entrant.reached - 1]
        images = self.known.size.images * entrant.config.factor**2
        judging = self.known.costs(JUDGE).of(images, race.evaluation.protocol.epochs, len(self.known.held.test))
        spent = (iterations - done) * self.known.kept["pace"] + judging
        return self.known.left - spent >= (budget.STUDENTS + budget.DISTILLING / 2) * self.known.seconds

    def sized(self, steps: Sequence[float], judgements: dict[int, list[float]], anew: bool) -> dict[str, Any] | None:
        """The race that there is time for, JSON-able; of a single candidate where herding alone may be better."""
        limit, fewest = budget.RACING * self.known.seconds, 1 if self.field.may_only_choose() else 2
        size = budget.race_that_fits(steps, judgements, limit, anew, fewest)
        return size and dataclasses.asdict(size)
