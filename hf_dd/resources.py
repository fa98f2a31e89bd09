"""Where the files beside the code lie: in a wheel inside the package, in a checkout at its top level."""

from pathlib import Path

from hf_dd.errors import ConfigError, nearest_first

PACKAGE = Path(__file__).parent


def resource(*parts: str) -> Path:
    """The path of `cards/…` or `scripts/…`, as installed or as checked out."""
    installed = PACKAGE.joinpath("resources", *parts)
    return installed if installed.exists() else PACKAGE.parent.joinpath(*parts)


def recipe(name: str) -> Path:
    """A YAML file by its path, or a recipe that comes with hf_dd by its name; raises ConfigError."""
    if Path(name).is_file():
        return Path(name)
    recipes = {path.stem: path for path in sorted(resource("scripts", "recipes").glob("*.yaml"))}
    if name.removesuffix(".yaml") not in recipes:
        raise ConfigError(
            f"--config {name}: no such file or recipe; recipes: {', '.join(nearest_first(name, recipes))}."
        )
    return recipes[name.removesuffix(".yaml")]
