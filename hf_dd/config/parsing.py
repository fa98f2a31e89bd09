"""Options from YAML and the command line: YAML replaces the defaults, the command line wins, unknown keys fail."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from transformers.hf_argparser import HfArgumentParser

from hf_dd.config.recipes import read_recipe, unknown
from hf_dd.errors import ConfigError


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


def as_arguments(options: Mapping[str, Any]) -> list[str]:
    """Options as a command line, so that both are checked by the same rules; those that are None are left out."""
    arguments = []
    for key, value in options.items():
        if value is not None:
            arguments += [f"--{key}", *map(str, value if isinstance(value, list) else [value])]
    return arguments
