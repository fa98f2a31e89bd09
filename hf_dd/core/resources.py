"""Where the files beside the code lie: in a wheel inside the package, in a checkout at its top level."""

from pathlib import Path

from hf_dd.errors import ConfigError, nearest_first

PACKAGE = Path(__file__).parents[1]


def resource(*parts: str) -> Path:
    """The path of `cards/…` or `scripts/…`, as installed or as checked out."""
    installed = PACKAGE.joinpath("resources", *parts)
    return installed if installed.exists() else PACKAGE.parent.joinpath(*parts)


def recipe(name: str, kind: str = "recipes") -> Path:
    """A YAML file by its path, or one of the `recipes` or `studies` of hf_dd by its name; raises ConfigError."""
    if Path(name).is_file():
        return Path(name)
    recipes = {path.stem: path for path in sorted(resource("scripts", kind).glob("*.yaml"))}
    if name.removesuffix(".yaml") not in recipes:
        option, noun = ("--config", "recipe") if kind == "recipes" else ("--study", "study")
        raise ConfigError(
            f"{option} {name}: no such file or {noun}; {kind}: {', '.join(nearest_first(name, recipes))}."
        )
    return recipes[name.removesuffix(".yaml")]
