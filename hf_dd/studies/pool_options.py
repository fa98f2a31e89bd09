"""The pools that teachers make by the paper's options: architecture, initialisation, training epoch, domain."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hf_dd.teachers.teacher import TeacherSpec


@dataclass(frozen=True)
class Options:
    """A pool by the options of its teachers, in words, and which of the candidates they are; none for no guide."""

    name: str
    members: tuple[int, ...]


def pools_of(specs: Sequence[TeacherSpec]) -> list[Options]:
    """Every different pool that the options of these teachers make, after the one of no teacher.

    A pool's teachers share a domain and an epoch, are of one of the sets of architectures, and for each of these as
    many initialisations: the first ones by their seeds.
    """
    found = {(): Options("no teacher", ())}
    for domain, epoch in sorted({(spec.dataset, spec.epoch) for spec in specs}, key=str):
        of_both = [i for i, spec in enumerate(specs) if (spec.dataset, spec.epoch) == (domain, epoch)]
        architectures = sorted({specs[i].architecture for i in of_both})
        for count in range(1, len(architectures) + 1):
            for chosen in itertools.combinations(architectures, count):
                for members in initialisations(specs, of_both, chosen):
                    words = [f"{len(members)} × {' + '.join(chosen)}", domain or "domain unknown"]
                    words += [] if epoch is None else [f"epoch {epoch}"]
                    found.setdefault(members, Options(", ".join(words), members))
    return list(found.values())


def initialisations(
    specs: Sequence[TeacherSpec], of_both: Sequence[int], architectures: Sequence[str]
) -> Iterator[tuple[int, ...]]:
    """Pools of these architectures with one initialisation of each, with two, and so on, as long as all have them."""
    groups = [
        sorted((i for i in of_both if specs[i].architecture == name), key=lambda i: (specs[i].seed or 0, i))
        for name in architectures
    ]
    for count in range(1, min(map(len, groups)) + 1):
        yield tuple(sorted(itertools.chain.from_iterable(group[:count] for group in groups)))
