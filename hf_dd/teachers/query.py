"""Teachers looked for on the Hub: by any Hub tags, or by the four options of the paper."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hf_dd import hub
from hf_dd.config.arguments import require_fitting
from hf_dd.core.layout import epoch_name, epoch_of
from hf_dd.errors import ConfigError, TeacherError

TEACHER = "hf-dd-teacher"  # the Hub tag of what `hf-dd pretrain` made


def tagged(filters: Sequence[str], revision: str = "final") -> list[hub.Pin]:
    """`revision` of every Hub model that carries all of these Hub tags, in the order of their ids."""
    found = hub.find_models(filters)
    if not found:
        raise TeacherError(f"No model at {hub.endpoint()} carries all of the tags {' '.join(filters)}.")
    return [hub.resolve(f"{repo_id}@{revision}") for repo_id in found]


@dataclass(frozen=True)
class TeacherQuery:
    """Which teachers, by the options that the paper studies; what isn't given may be anything.

    Attributes:
        architectures: as `arch:` tags name them.
        seeds: initialisations.
        epochs: training epochs, numbers or 'final', which are git tags; all `epoch-N` if none are given.
        domain: the data set that they were trained on, as `dataset:` tags name it.
        owner: whose repositories; everybody's if None.
    """

    architectures: str | Sequence[str] = ()
    seeds: int | str | Sequence[int | str] = ()
    epochs: int | str | Sequence[int | str] = ()
    domain: str | None = None
    owner: str | None = None

    def __post_init__(self) -> None:
        hints = {each.name: each.type | None for each in dataclasses.fields(self)}
        require_fitting({name: getattr(self, name) for name in hints}, hints)
        for name in ("architectures", "seeds", "epochs"):
            value = getattr(self, name)
            if value is None or isinstance(value, (str, int)):  # a single one, or none
                object.__setattr__(self, name, () if value is None else (value,))
        for epoch in self.epochs:
            if epoch != "final" and not str(epoch).isdecimal():
                raise ConfigError(f"--epochs holds {epoch!r}; an epoch is a whole number, or final.")

    def __bool__(self) -> bool:
        return any((self.architectures, self.seeds, self.epochs, self.domain, self.owner))

    def __str__(self) -> str:
        lists = {"architectures": self.architectures, "seeds": self.seeds, "epochs": self.epochs}
        lists |= {name: [value] for name, value in (("domain", self.domain), ("owner", self.owner)) if value}
        return ", ".join(f"{name} {' '.join(map(str, values))}" for name, values in lists.items() if values)

    def find(self) -> list[hub.Pin]:
        """The commits, sorted by architecture, seed and repository, the epochs in the order asked for.

        Raises TeacherError, naming all that is missing, where an architecture, a seed (or a pair of them, where both
        are given) has no teacher, or a teacher lacks an epoch.
        """
        domain = [f"dataset:{self.domain}"] if self.domain else []
        runs = {
            repo_id: (value_of(tags, "arch"), value_of(tags, "seed"))
            for repo_id, tags in hub.find_models([TEACHER, *domain], self.owner).items()
        }
        if not runs:
            others = hub.find_models([TEACHER], self.owner).values() if domain else ()
            trained_on = sorted({value_of(tags, "dataset") for tags in others})
            raise TeacherError(
                f"No teacher at {hub.endpoint()} has the Hub tags {' '.join([TEACHER, *domain])}"
                f"{f' and belongs to {self.owner}' if self.owner else ''}. Data sets that teachers there were trained "
                f"on: {', '.join(trained_on) or 'none'}."
            )
        wanted = [(a, s) for a in self.architectures or [""] for s in list(map(str, self.seeds)) or [""]]
        if lacking := [both for both in wanted if not any(matches(both, run) for run in runs.values())]:
            raise TeacherError(
                f"There is no teacher of {', '.join(map(words_of, lacking))}{f' on {self.domain}' if domain else ''}. "
                f"There are {', '.join(map(words_of, sorted(set(runs.values()), key=in_order)))}."
            )
        chosen = [repo_id for repo_id, run in runs.items() if any(matches(both, run) for both in wanted)]
        chosen.sort(key=lambda repo_id: (in_order(runs[repo_id]), repo_id))
        return self._at_epochs({repo_id: hub.tags(repo_id, "model") for repo_id in chosen})

    def _at_epochs(self, tags: Mapping[str, Mapping[str, str]]) -> list[hub.Pin]:
        """The epochs asked for of each repository, given its git tags; raises TeacherError for those it lacks."""
        pins, lacking = [], []
        for repo_id, present in tags.items():
            kept = sorted((tag for tag in present if epoch_of(tag) is not None), key=epoch_of)
            asked = [epoch if epoch == "final" else epoch_name(int(epoch)) for epoch in dict.fromkeys(self.epochs)]
            revisions = asked or kept or ["epoch-N"]
            if absent := [revision for revision in revisions if revision not in present]:
                there = ", ".join([*kept, *(["final"] if "final" in present else [])])
                lacking.append(f"{repo_id} has no {', '.join(absent)}; it has {there or 'no epoch'}.")
            pins += [hub.Pin(repo_id, revision, present[revision]) for revision in revisions if revision in present]
        if lacking:
            raise TeacherError(" ".join(lacking))
        return pins


def value_of(tags: Iterable[str], name: str) -> str:
    """What a Hub tag `name:…` says; "" without one."""
    return next((tag.removeprefix(f"{name}:") for tag in tags if tag.startswith(f"{name}:")), "")


def matches(wanted: tuple[str, str], run: tuple[str, str]) -> bool:
    """Whether architecture and seed are those wanted, "" being any."""
    return all(asked in ("", found) for asked, found in zip(wanted, run, strict=True))


def words_of(run: tuple[str, str]) -> str:
    """Architecture and seed in words."""
    return " ".join(filter(None, (run[0], run[1] and f"seed {run[1]}"))) or "no known architecture"


def in_order(run: tuple[str, str]) -> tuple[str, int, str]:
    """By architecture, then by seed as a number."""
    return run[0], len(run[1]), run[1]
