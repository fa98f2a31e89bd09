"""What a study is: its recipe, read and checked before anything is trained.

A recipe is a YAML file:

    teachers:                      # optional: grids that are pre-trained first, by options of `hf-dd pretrain`; one
                                   # that names a dataset of its own keeps it, whatever --dataset says
      plain: {config: fashion-mnist-teachers}
    pools:                         # optional: chosen after that, by options of `hf-dd pool select`
      best: {config: fashion-mnist-dm-clom, teachers: [teachers/plain/convnet-seed0@epoch-1]}
    base: {config: fashion-mnist-dm}    # options of `hf-dd distill` that all cells share
    cells:                         # what is a cell's own; teachers/GRID/NAME@REVISION are those above, on the Hub
                                   # where their grid has push_to_hub. NAME is ARCHITECTURE-seedN, or the whole name,
                                   # which has the data set's before it
      dm: {}
      dm-clom: {clom: ce, teachers: [teachers/plain/convnet-seed0@final]}
      chosen: {clom: ce, teacher_pool: pools/best}    # guided by the pool that was chosen
      online: {set_of: dm-clom, eval_protocol: soft-label-online}    # another evaluation of that cell's sets
    seeds: [0, 1]                  # of the distillations, one of each cell per seed
    comparisons:                   # mean differences of pairs of cells, paired by seed or by student, over the
                                   # architectures that all of them were evaluated with
      CLoM's gain: [[dm-clom, dm]]
    curves:                        # accuracy against minutes: cells of one method that differ in how long they take
      DM: [dm]

A `config` is looked for beside this file, then among hf_dd's own.
"""

import contextlib
import dataclasses
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_dd import hub
from hf_dd.config import DistillConfig, EvaluationConfig, PretrainConfig, SelectConfig, StudyConfig
from hf_dd.config.base import shown
from hf_dd.config.parsing import read_values
from hf_dd.config.recipes import find_study, mapping, read_recipe
from hf_dd.config.yaml_files import read_yaml
from hf_dd.core.layout import epoch_name
from hf_dd.distillation.checks import preflight
from hf_dd.errors import ConfigError, nearest_first, unknown
from hf_dd.studies import pool_search

KEYS = ("teachers", "pools", "base", "cells", "seeds", "comparisons", "curves")
TEACHERS, POOLS = "teachers/", "pools/"  # how a cell names a teacher or a pool of the study's own
REFERENCES = [each.name for each in dataclasses.fields(DistillConfig) if each.metadata["teachers"]]
SET_OF = "set_of"  # how a cell says that it evaluates another one's set
OWN = ("output_dir", "seed", "resume_from_checkpoint", "overwrite_output_dir")  # of each cell: the study's to say
NAME = re.compile(r"\w[\w .,+=%()-]{0,99}")  # of what becomes a folder


@dataclass(frozen=True)
class Cell:
    """One distillation of a study, or another evaluation of that of `source`.

    Attributes:
        teachers: the study's own teachers that it names, as teachers/GRID/NAME@REVISION.
        pool: the study's own pool that it names, or None.
    """

    name: str
    seed: int
    config: DistillConfig
    teachers: tuple[str, ...]
    pool: str | None
    source: "Cell | None"

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return Path(self.config.output_dir)


@dataclass(frozen=True)
class Pool:
    """A pool that a study chooses: the options of the search, and the study's own teachers among its candidates."""

    config: SelectConfig
    teachers: tuple[str, ...]


@dataclass(frozen=True)
class Study:
    """A recipe, read and checked.

    Attributes:
        recipe: the file.
        teachers: what is trained first, by the grid's name.
        pools: what is chosen then, by the pool's name.
        cells: in the order of the recipe, seed by seed.
        comparisons: by their name, pairs of names of cells.
        curves: by their name, names of cells.
    """

    recipe: Path
    teachers: dict[str, PretrainConfig]
    pools: dict[str, Pool]
    cells: list[Cell]
    comparisons: dict[str, list[tuple[str, str]]]
    curves: dict[str, list[str]]

    @classmethod
    def read(cls, config: StudyConfig, names: Mapping[tuple[str, str], str] | None = None) -> "Study":
        """Read a recipe; raises ConfigError for whatever is wrong in it, before anything is trained.

        Args:
            config: which one, and its options.
            names: by (GRID, ARCHITECTURE-seedN) the whole names of its own teachers, which the name of their data set
                is part of; None before that is known, where short names stay.
        """
        path, folder = find_study(config.study), Path(config.output_dir)
        content = content_of(path)
        given = {"dataset": config.dataset} if config.dataset else {}
        grids, pools, cells, seeds = {}, {}, {}, config.seeds or content["seeds"]
        for name, own in content["teachers"].items():
            with at(f"{path}, teachers: {name}"):
                place = {"output_dir": str(folder / TEACHERS / name)}
                grids[name] = parsed(PretrainConfig, path.parent, given | own | place)
        for name, own in content["pools"].items():
            with at(f"{path}, pools: {name}"):
                own = with_whole_names(own, names or {})
                options = located(own, folder, grids) | given | {"output_dir": str(folder / POOLS / name)}
                pools[name] = Pool(parsed(SelectConfig, path.parent, options), own_teachers(own))
                pool_search.checked(pools[name].config)
        # One that evaluates another one's set comes after it.
        for name, own in sorted(content["cells"].items(), key=lambda cell: SET_OF in cell[1]):
            with at(f"{path}, cells: {name}"):
                options = with_whole_names(options_of(name, content) | given, names or {})
                pool, placed = own_pool(options, pools), located(options, folder, grids)
                for seed in seeds:
                    place = {"output_dir": str(folder / "cells" / f"{name}-seed{seed}")}
                    distillation = parsed(DistillConfig, path.parent, placed | {"seed": seed} | place)
                    require_students(distillation)
                    source = cells.get((own.get(SET_OF), seed))
                    cells[name, seed] = Cell(name, seed, distillation, own_teachers(options), pool, source)
        comparisons = {name: list(map(tuple, pairs)) for name, pairs in content["comparisons"].items()}
        curves = content["curves"]
        mentioned = {f"the comparison {name!r}": sum(pairs, ()) for name, pairs in comparisons.items()}
        mentioned |= {f"the curve {name!r}": names for name, names in curves.items()}
        for place, names in ({"--cells": config.cells} | mentioned).items():
            if strange := [name for name in names if name not in content["cells"]]:
                known = ", ".join(nearest_first(strange[0], content["cells"]))
                raise ConfigError(f"{path}: {place} names the cell {strange[0]!r}; known are {known}.")
        wanted = config.cells or content["cells"]
        chosen = [cells[name, seed] for name in content["cells"] if name in wanted for seed in seeds]
        if config.cells:
            named = {cell.pool for cell in chosen}
            pools = {name: pool for name, pool in pools.items() if name in named}
            used = {parts_of(reference)[0] for each in (*chosen, *pools.values()) for reference in each.teachers}
            grids = {name: grid for name, grid in grids.items() if name in used}
            comparisons = {name: pairs for name, pairs in comparisons.items() if {*sum(pairs, ())} <= {*config.cells}}
            curves = {name: [each for each in names if each in config.cells] for name, names in curves.items()}
            curves = {name: names for name, names in curves.items() if names}
        for name, pairs in comparisons.items():
            own = [cells[each, seeds[0]].config for each in sum(pairs, ())]
            require_comparable(f"{path}: the comparison {name!r}", own, seeds)
        return cls(path, grids, pools, chosen, comparisons, curves)


def content_of(path: Path) -> dict[str, Any]:
    """What a recipe's file holds, with all keys; raises ConfigError where it is no study."""
    content = read_yaml(path)
    if not isinstance(content, dict) or not isinstance(content.get("cells"), dict) or not content["cells"]:
        raise ConfigError(f"{path} is no study: it has to be a mapping with `cells`, a mapping of their options.")
    if other := [key for key in content if key not in KEYS]:
        raise ConfigError(f"{path}: {unknown('key', str(other[0]), KEYS)}")
    filled = {key: mapping(content.get(key), f"{path}: {key}") for key in KEYS if key != "seeds"}
    for key in ("teachers", "pools", "cells"):
        for name in filled[key]:
            if not isinstance(name, str) or not NAME.fullmatch(name):
                raise ConfigError(
                    f"{path}, {key}: {shown(name)} can't be the name of a folder; take up to 100 letters, digits, "
                    "spaces and . , + = % ( ) _ -, a letter or a digit first."
                )
        filled[key] = {name: mapping(own, f"{path}, {key}: {name}") for name, own in filled[key].items()}
    for key, names in {"base": [filled["base"]], "cells": filled["cells"].values()}.items():
        if set_by_study := [option for own in names for option in OWN if own.get(option) is not None]:
            raise ConfigError(
                f"{path}, {key}: leave out {set_by_study[0]}, which the study itself gives each cell: seeds are given "
                "as `seeds`, the folder by --output_dir."
            )
    for name, pairs in filled["comparisons"].items():
        if not isinstance(pairs, list) or not pairs or not all(map(is_pair, pairs)):
            raise ConfigError(f"{path}, comparisons: {name} has to be a list of pairs of cells, like [[clom, dm]].")
    for name, cells in filled["curves"].items():
        if not isinstance(cells, list) or not cells or not all(isinstance(cell, str) for cell in cells):
            raise ConfigError(f"{path}, curves: {name} has to be a list of cells, like [dm-100, dm-400].")
    with at(f"{path}: seeds"):
        seeds = read_values(StudyConfig, {"seeds": content.get("seeds")}).get("seeds")
        return filled | {"seeds": StudyConfig(study=str(path), seeds=seeds).seeds or [0]}


def is_pair(pair: Any) -> bool:
    """Whether it is a list of two names."""
    return isinstance(pair, list) and len(pair) == 2 and all(isinstance(name, str) for name in pair)


@contextlib.contextmanager
def at(place: str) -> Iterator[None]:
    """Let an error say of what part of a recipe it is."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}") from error


def options_of(name: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """All options of a cell: those of its own, over those of the cell whose set it evaluates, over those of `base`."""
    base, cells = content["base"], content["cells"]
    own = dict(cells[name])
    if SET_OF not in own:
        return base | own
    source = own.pop(SET_OF)
    distilling = [other for other, options in cells.items() if SET_OF not in options]
    if source not in distilling:
        known = ", ".join(nearest_first(str(source), distilling))
        raise ConfigError(f"{SET_OF} names {source!r}, which distils no set; {known} do.")
    evaluation = [field.name for field in dataclasses.fields(EvaluationConfig)]
    if other := [key for key in own if key not in evaluation]:
        raise ConfigError(
            f"{other[0]} has no meaning for the set of {source}, which is only evaluated: give options of the "
            "evaluation."
        )
    return base | cells[source] | own


def own_teachers(options: Mapping[str, Any]) -> tuple[str, ...]:
    """The teachers of the study's own that a cell or a pool names."""
    return tuple(each for key in REFERENCES for each in texts(options.get(key)) if each.startswith(TEACHERS))


def with_whole_names(options: Mapping[str, Any], names: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    """Options in which the study's own teachers have their whole names, see `Study.read`."""

    def whole(reference: str) -> str:
        grid, name, revision = parts_of(reference)
        if not reference.startswith(TEACHERS) or (grid, name) not in names:
            return reference
        return f"{TEACHERS}{grid}/{names[grid, name]}{'@' if revision else ''}{revision}"

    return {**options, **{key: list(map(whole, own)) for key in REFERENCES if (own := texts(options.get(key)))}}


def own_pool(options: Mapping[str, Any], pools: Collection[str]) -> str | None:
    """The pool of the study's own that a cell names; raises ConfigError for one that the study doesn't choose."""
    place = pool_of(options)
    if not place.startswith(POOLS):
        return None
    pool = place.removeprefix(POOLS)
    if pool not in pools:
        known = ", ".join(nearest_first(pool, pools)) or "none"
        raise ConfigError(f"{place} is no pool that this study chooses: {known}.")
    return pool


def texts(value: Any) -> list[str]:
    """A value of YAML as a list of texts; empty for what is of another kind, which the options' own check refuses."""
    values = value if isinstance(value, list) else [value]
    return values if all(isinstance(each, str) for each in values) else []


def pool_of(options: Mapping[str, Any]) -> str:
    """The pool that options name; "" for none, and for what is no text."""
    place = options.get("teacher_pool")
    return place if isinstance(place, str) else ""


def parts_of(reference: str) -> tuple[str, str, str]:
    """Grid, name and revision of a teacher of the study's own."""
    grid, _, place = reference.removeprefix(TEACHERS).partition("/")
    name, _, revision = place.partition("@")
    return grid, name, revision


def located(options: Mapping[str, Any], folder: Path, grids: Mapping[str, PretrainConfig]) -> dict[str, Any]:
    """Options with the study's own teachers and pools where they will lie: in its folder; pushed ones on the Hub."""

    def place_of(reference: str) -> str:
        grid, _, name = reference.removeprefix(TEACHERS).partition("/")
        if not reference.startswith(TEACHERS):
            return reference
        pushed = grid in grids and grids[grid].push_to_hub
        return hub.full_repo_id(name, grids[grid].hub_namespace) if pushed else str(folder / reference)

    named = {key: list(map(place_of, own)) for key in REFERENCES if (own := texts(options.get(key)))}
    pool = pool_of(options)
    return {**options, **named, **({"teacher_pool": str(folder / pool)} if pool.startswith(POOLS) else {})}


def require_students(config: DistillConfig) -> None:
    """Raise ConfigError for a cell whose options don't fit together, or without anything to compare."""
    preflight(config)
    if not config.evaluates or not config.eval_copies:
        raise ConfigError(
            "a study compares students, and this cell has none. Give eval_students of 1 or more, and eval_copies that "
            "name a copy."
        )


def require_comparable(place: str, configs: Sequence[DistillConfig], seeds: Sequence[int]) -> None:
    """Raise ConfigError for cells that can't be compared, as they share no students, or can't pair them.

    Args:
        place: of the comparison in its recipe.
        configs: of its cells.
        seeds: of the study; a single distillation of each cell is compared student by student.
    """
    if not set.intersection(*({*config.eval_architectures} for config in configs)):
        raise ConfigError(f"{place} is of cells that share no architecture: give them the same --eval_architectures.")
    if (
        len(seeds) == 1
        and len(counts := sorted({config.eval_students for config in configs if config.eval_students})) > 1
    ):
        raise ConfigError(
            f"{place} pairs students, of which its cells have {' and '.join(map(str, counts))}: give them the same "
            "--eval_students, or the study several --seeds, by which they are paired then."
        )


def parsed(kind: type, folder: Path, options: Mapping[str, Any]) -> Any:
    """Options, over those of the recipe that `config` names (beside the study), as a config; None takes one back."""
    if config := options.get("config"):
        if not isinstance(config, str):
            raise ConfigError(f"config is {shown(config)}; it has to be the name of a recipe.")
        known = [field.name for field in dataclasses.fields(kind)]
        options = read_recipe(config, known, folder) | options
    return kind(**read_values(kind, {key: value for key, value in options.items() if key != "config"}))


def check_named(plan: Study, names: Mapping[tuple[str, str], str]) -> None:
    """Raise ConfigError for a teacher that a recipe names as the study's own and that isn't: `names` as in read."""
    made = [(grid, name) for (grid, _), name in names.items()]
    naming = [(f"pools: {name}", own) for name, pool in plan.pools.items() for own in pool.teachers]
    naming += [(f"cells: {cell.name}", own) for cell in plan.cells for own in cell.teachers]
    for where, reference in naming:
        grid, name, revision = parts_of(reference)
        place = f"{plan.recipe}, {where}: {reference}"
        if (grid, name) not in [*names, *made]:
            known = ", ".join(nearest_first(reference, [f"{TEACHERS}{'/'.join(teacher)}" for teacher in made]))
            raise ConfigError(
                f"{place} is no teacher that this study makes: {known or 'none'}. The data set's name before the "
                "architecture's may be left out."
            )
        tags = ["final", *map(epoch_name, plan.teachers[grid].kept_epochs)]
        if revision and revision not in tags:
            raise ConfigError(f"{place}: of that teacher, the study keeps {', '.join(tags)}.")
