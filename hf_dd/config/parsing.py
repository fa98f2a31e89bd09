"""Options from YAML and the command line: YAML replaces the defaults, the command line wins, unknown keys fail."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml
from transformers.hf_argparser import HfArgumentParser

from hf_dd.core.resources import recipe
from hf_dd.errors import ConfigError, nearest_first


class Parser(HfArgumentParser):
    """A parser that raises ConfigError instead of leaving, and takes no abbreviated options."""

    def __init__(self, config: type, command: str, **kwargs: Any):
        super().__init__(
            config, prog=command, description=config.__doc__.splitlines()[0], allow_abbrev=False, **kwargs
        )
        for action in self._actions:
            if action.nargs == "+":  # an empty list is a value too, such as no --lr_drops
                action.nargs = "*"
        self.add_argument("--config", metavar="FILE", help="YAML file of options, or the name of a recipe of hf_dd.")

    def error(self, message: str) -> NoReturn:
        """Raise ConfigError with argparse's message."""
        raise ConfigError(f"{message} (`{self.prog} --help` lists the options)")


def parse_config(
    config: type, arguments: Sequence[str], *, command: str, positional: str | None = None, default: str | None = None
) -> Any:
    """Fill a config dataclass from `--config FILE` and the options of a command line.

    Args:
        config: the dataclass.
        arguments: the command line after the command's name.
        command: what the user typed, for messages.
        positional: the option that leading words without `--` belong to.
        default: the recipe of a command line with no option at all.

    Raises ConfigError for unknown keys and options (naming the nearest known one), and for values of a wrong type.
    """
    arguments = list(arguments) or (["--config", default] if default else [])
    if positional and arguments and not arguments[0].startswith("-"):
        arguments = [f"--{positional}", *arguments]
    known = [field.name for field in dataclasses.fields(config)]
    parser = Parser(config, command)
    name = parser.parse_known_args(arguments)[0].config
    namespace, rest = parser.parse_known_args([*(as_arguments(read_recipe(name, known)) if name else []), *arguments])
    if rest and not rest[0].startswith("-"):
        raise ConfigError(f"{rest[0]!r} belongs to no option; options are written as --NAME VALUE.")
    if rest:
        raise ConfigError(unknown("option", rest[0].lstrip("-").split("=")[0], known))
    values = vars(namespace)
    values.pop("config")
    return config(**values)


def read_recipe(name: str, known: Sequence[str], seen: Sequence[Path] = ()) -> dict[str, Any]:
    """The options of a YAML file, over those of the one that its own `config` names.

    Raises ConfigError where it is none, has an unknown one, or is its own base.
    """
    path = recipe(name)
    if path in seen:
        raise ConfigError(f"{path} is its own base: {' → '.join(map(str, (*seen, path)))}.")
    try:
        content = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} isn't YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} has to be a mapping of options, like `ipc: 10`.")
    base = content.pop("config", None)
    for key in content:
        if key not in known:
            raise ConfigError(f"{path}: {unknown('key', str(key), [*known, 'config'])}")
    return (read_recipe(base, known, (*seen, path)) if base else {}) | content


def as_arguments(options: Mapping[str, Any]) -> list[str]:
    """Options as a command line, so that both are checked by the same rules; those that are None are left out."""
    arguments = []
    for key, value in options.items():
        if value is not None:
            arguments += [f"--{key}", *map(str, value if isinstance(value, list) else [value])]
    return arguments


def unknown(kind: str, name: str, known: Sequence[str]) -> str:
    """The message for a name that isn't known, with the nearest one that is."""
    return f"unknown {kind} {name!r}; the nearest known one is {nearest_first(name.replace('-', '_'), known)[0]!r}."
