"""Recipes: options in YAML files, which go over those of other recipes; and where a name is looked for.

A file is one recipe, whose options go over those of the recipe that its own `config` names. Or it holds those of a
data set: DATA.yaml has the recipes DATA-dm, DATA-dm-clom and DATA-mtt.

    base: {dataset: digits}         # options of all of them
    methods:
      dm: {objective: dm, ipc: 1}
      dm-clom: {like: dm, clom: ce} # goes over dm
      mtt: {like: cifar10-mtt}      # goes over another file's, with this file's base between

A name with a separator or the ending .yaml or .yml is a path, any other one is of hf_dd's own, whatever lies in the
working directory. What a file names is looked for beside that file first. An option that is null has its default.
"""

import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hf_dd.config.yaml_files import read_yaml
from hf_dd.core.resources import resource
from hf_dd.errors import ConfigError, nearest_first, unknown

ENDINGS = (".yaml", ".yml")
NEAREST = 8  # recipes that are named where none was meant
BASE, METHODS, LIKE, CONFIG = "base", "methods", "like", "config"

Place = tuple[Path, str | None]  # a recipe's file, and which of its methods where it holds those of a data set


def read_recipe(name: str, known: Sequence[str], beside: Path | None = None) -> dict[str, Any]:
    """The options of a recipe, over those of the recipes that it starts from.

    Args:
        name: a name or a path, as --config takes it.
        known: the options that there are.
        beside: the folder of the file that names it.

    Raises ConfigError where there is none, or it isn't YAML, has an unknown key, or is its own base.
    """
    return options_of(find(name, beside, known), known)


def options_of(place: Place, known: Sequence[str], seen: Sequence[Place] = ()) -> dict[str, Any]:
    """The options of the recipe at a place; `seen` are those that start from it."""
    path, method = place
    if (path.resolve(), method) in [(other.resolve(), its) for other, its in seen]:
        raise ConfigError(f"{words(place)} is its own base: {' → '.join(map(words, (*seen, place)))}.")
    content = mapping(read_yaml(path), str(path), needed=True)
    if method is None:
        if METHODS in content:
            names = ", ".join(f"{path.stem}-{each}" for each in content[METHODS])
            raise ConfigError(f"{path} holds several recipes: name one of {names}.")
        base, own, key = {}, content, CONFIG
    else:
        if other := [each for each in content if each not in (BASE, METHODS)]:
            raise ConfigError(f"{path}: {unknown('key', str(other[0]), [BASE, METHODS])}")
        base = mapping(content.get(BASE), f"{path}: {BASE}")
        own, key = mapping(content[METHODS][method], words(place)), LIKE
    start = own.pop(key, None)
    for each in (*base, *own):
        if each not in known:
            raise ConfigError(f"{words(place)}: {unknown('key', str(each), [*known, key])}")
    if start is None:
        return base | own
    if not isinstance(start, str):
        raise ConfigError(f"{words(place)}: {key} is {start!r}; it has to be the name of a recipe.")
    if method is not None and start in content[METHODS]:  # which goes over the base already
        return options_of((path, start), known, (*seen, place)) | own
    return options_of(find(start, path.parent, known), known, (*seen, place)) | base | own


def find(name: str, beside: Path | None = None, known: Sequence[str] = ()) -> Place:
    """Where a recipe is; raises ConfigError where there is none, with the nearest ones of the `known` options."""
    for path in candidates(name, "recipes", beside):
        if found := existing(path):
            return found, None
        for file in sorted(path.parent.glob("*.y*ml"), key=lambda file: -len(file.stem)):
            method = without_ending(path.name).removeprefix(f"{file.stem}-")
            if method != without_ending(path.name) and method in methods_of(file):
                return file, method
    recipes = {f"{path.stem}-{method}": (path, method) for path in built_in("recipes") for method in methods_of(path)}
    fitting = (each for each in nearest_first(name, recipes) if is_of(recipes[each], known))
    raise missing(name, "recipes", [*itertools.islice(fitting, NEAREST)])


def is_of(place: Place, known: Sequence[str]) -> bool:
    """Whether a recipe is one of these options, and not of another command's."""
    try:
        options_of(place, known)
    except ConfigError:
        return False
    return True


def find_study(name: str) -> Path:
    """The file of a study, by its path or its name; raises ConfigError where there is none."""
    for path in candidates(name, "studies", None):
        if found := existing(path):
            return found
    raise missing(name, "studies", nearest_first(name, [path.stem for path in built_in("studies")]))


def built_in(kind: str) -> list[Path]:
    """The files of hf_dd's own `recipes` or `studies`."""
    return sorted(resource("scripts", kind).glob("*.yaml"))


def candidates(name: str, kind: str, beside: Path | None) -> Iterator[Path]:
    """What a name may mean, the first that exists first."""
    has_folder = any(separator in name for separator in (os.sep, os.altsep) if separator)
    if has_folder or name.endswith(ENDINGS):
        yield (beside or Path()) / name
    elif beside:
        yield from (beside / f"{name}{ending}" for ending in ENDINGS)
    if not has_folder:
        yield resource("scripts", kind) / f"{without_ending(name)}.yaml"


def without_ending(name: str) -> str:
    """A file's name without .yaml or .yml."""
    return name.removesuffix(ENDINGS[0]).removesuffix(ENDINGS[1])


def existing(path: Path) -> Path | None:
    """The file of a path, which may lack its ending, or None."""
    places = [path] if path.name.endswith(ENDINGS) else [path, *(Path(f"{path}{ending}") for ending in ENDINGS)]
    return next((place for place in places if place.is_file()), None)


def missing(name: str, kind: str, known: Sequence[str]) -> ConfigError:
    """The error for a name that is none, with those that there are, and the file that may have been meant."""
    option, noun = ("--config", "recipe") if kind == "recipes" else ("--study", "study")
    file = existing(Path(name))
    meant = f" There is a file {file} here: give it as ./{file}." if file else ""
    of = kind if kind == "studies" else f"{kind} of this command, nearest first"
    return ConfigError(f"{option} {name}: no such file or {noun};{meant} {of}: {', '.join(known) or 'none'}.")


def methods_of(path: Path) -> dict[str, Any]:
    """The methods of a data set's file; none where it is no such file."""
    content = read_yaml(path)
    found = content.get(METHODS) if isinstance(content, dict) else None
    return found if isinstance(found, dict) else {}


def words(place: Place) -> str:
    """A place, for messages."""
    path, method = place
    return str(path) if method is None else f"{path}: {method}"


def mapping(content: Any, place: str, needed: bool = False) -> dict[str, Any]:
    """A copy of a mapping of options, empty for None unless one is needed; raises ConfigError for anything else."""
    if content is None and not needed:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{place} has to be a mapping of options, like `ipc: 10`.")
    return dict(content)
