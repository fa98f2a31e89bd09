"""Options from YAML and the command line: YAML replaces the defaults, the command line wins, unknown keys fail."""

import argparse
import dataclasses
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from hf_dd.config.base import GROUPS, Kind, default_of, kinds, range_of
from hf_dd.config.distillation import DistillConfig
from hf_dd.config.recipes import read_recipe, unknown
from hf_dd.core.registry import OBJECTIVES, Registry
from hf_dd.errors import ConfigError

WITH_TITLES = 15  # entries of a registry, at most, that `--help` gives a line each
TRUTH = {**dict.fromkeys(("true", "t", "yes", "y", "1"), True), **dict.fromkeys(("false", "f", "no", "n", "0"), False)}


class Parser(argparse.ArgumentParser):
    """A parser of a config's options, in their groups; raises ConfigError instead of leaving, takes no abbreviations.

    Args:
        config: the dataclass.
        command: what the user typed, for messages.
        objective: the method whose own options the help tells too.
    """

    def __init__(self, config: type, command: str, objective: str | None = None):
        fields = sorted(dataclasses.fields(config), key=lambda each: each.metadata["role"] == "trust")  # at the end
        words = [each.name.upper() + "…" * kinds(config)[each.name].many for each in positionals_of(config)]
        super().__init__(
            prog=command,
            usage=" ".join([command, *words, *["[options]"] * (len(fields) > len(words))]),
            description=config.__doc__.splitlines()[0],
            formatter_class=argparse.RawTextHelpFormatter,
            argument_default=argparse.SUPPRESS,
            allow_abbrev=False,
        )
        if config.takes_recipes:
            about = "YAML file of options, or the name of a recipe of hf_dd; options given here win over it."
            self.add_argument("--config", metavar="FILE", help=wrapped(about))
        for group in GROUPS:
            section = self.add_argument_group(group)
            for each in fields:
                if each.metadata["group"] == group:
                    section.add_argument(f"--{each.name}", **argument(each, kinds(config)[each.name]))
            if group == "method" and objective:
                self.add_argument_group(f"--objective {objective}", method_help(objective))

    def error(self, message: str) -> NoReturn:
        """Raise ConfigError with argparse's message."""
        raise ConfigError(f"{message} (`{self.prog} --help` lists the options)")


def argument(option: dataclasses.Field, kind: Kind) -> dict[str, Any]:
    """What argparse is told of an option."""

    def read(text: str) -> Any:
        if kind.of is bool:
            if text.lower() not in TRUTH:
                raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
            return TRUTH[text.lower()]
        return text if text in kind.words else kind.of(text)

    read.__name__ = kind.of.__name__  # for argparse's messages
    choices = option.metadata["choices"]
    metavar = {int: "N", float: "X", bool: "true|false"}.get(kind.of, "TEXT")
    if choices:
        metavar = "NAME" if isinstance(choices, Registry) else f"{{{','.join(choices)}}}"
    nargs = {"nargs": "*"} if kind.many else {"nargs": "?", "const": True} if kind.of is bool else {}
    return {"type": read, "metavar": metavar, "help": help_of(option, kind), **nargs}


def help_of(option: dataclasses.Field, kind: Kind) -> str:
    """An option's help: what it is, its default, its range, and what a registry has for it."""
    default, choices = default_of(option), option.metadata["choices"]
    default = " ".join(map(str, default)) if kind.many else default
    facts = [] if default in (None, "") or default is False else [f"default: {default}"]
    facts += [words] if (words := range_of(option)) else []
    text = wrapped(option.metadata["help"] + f" ({'; '.join(facts)})" * bool(facts))
    if isinstance(choices, Registry):
        if len(choices) > WITH_TITLES:
            text += "\n" + wrapped(f"One of {', '.join(choices)}; or package.module:Name.")
        else:
            longest = max(map(len, choices))
            titles = {name: words["title"] for name, (_, words) in choices.declared.items()}
            titles |= {name: f"of {point.dist.name}" for name, point in choices.plugins.items()}
            text += "".join(f"\n  {name:<{longest}}  {titles[name]}" for name in choices)
            text += "\n  or package.module:Name"
    return text.replace("%", "%%")


def method_help(name: str) -> str:
    """What a method is, its paper's settings, and its own options with their defaults."""
    method = OBJECTIVES.find(name)
    words = [OBJECTIVES.title(name), *filter(None, [OBJECTIVES.said(name, "paper")])]
    needs = OBJECTIVES.said(name, "needs")
    settings = {
        key: value for key, value in dataclasses.asdict(method.published).items() if hasattr(DistillConfig, key)
    }
    told = ", ".join(f"--{key} {value}" for key, value in settings.items() if value is not None)
    lines = [wrapped(f"{', '.join(words)}." + f" Needs {needs}." * bool(needs)), wrapped(f"Published values: {told}.")]
    own = dataclasses.fields(method.Options)
    lines += ["Options of its own, by --objective_options key=value:" if own else "It has no options of its own."]
    lines += [wrapped(f"  {each.name}={each.default}: {each.metadata.get('help', '')}", hanging=True) for each in own]
    return "\n".join(lines)


def wrapped(text: str, hanging: bool = False, column: int = 24) -> str:
    """A text in lines that fit beside argparse's column of options."""
    width = max(40, shutil.get_terminal_size().columns - 2 - column)
    return textwrap.fill(text, width, subsequent_indent="    " * hanging, break_on_hyphens=False)


def parse_config(config: type, arguments: Sequence[str], *, command: str, default: str | None = None) -> Any:
    """Fill a config dataclass from `--config FILE` and the options of a command line.

    Args:
        config: the dataclass.
        arguments: the command line after the command's name; words that belong to no option, and all words after
            `--`, are those of its positional ones.
        command: what the user typed, for messages.
        default: the recipe of a command line with no option at all.

    Prints the help where it is asked for, and ends. Raises ConfigError for unknown keys and options (naming the
    nearest known one), and for values that the config doesn't take.
    """
    known = [field.name for field in dataclasses.fields(config)]
    spoken = [*known, *["config"] * config.takes_recipes, "help"]
    arguments = list(arguments) or (["--config", default] if default else [])
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    words, after = spelled_out(config, arguments[:cut]), arguments[cut + 1 :]
    if asking := {"-h", "--help"}.intersection(words):
        objective = objective_of(config, [word for word in words if word not in asking], command)
        Parser(config, command, objective).print_help()
        raise SystemExit(0)
    parser = Parser(config, command)
    given, rest = parser.parse_known_args(words)
    values = vars(given)
    if name := values.pop("config", None):
        base, left = parser.parse_known_args(as_arguments(read_recipe(name, known)))
        refuse(left, known)
        values = vars(base) | values
    loose = [word for word in rest if not word.startswith("-")]
    refuse([word for word in rest if word not in loose], spoken)
    for option in positionals_of(config):
        if kinds(config)[option.name].many:
            values[option.name] = [*values.get(option.name, []), *loose, *after]
            loose = after = []
        elif loose:
            values[option.name] = loose.pop(0)
    refuse([*loose, *after], known)
    return config(**values)


def spelled_out(config: type, words: Sequence[str]) -> list[str]:
    """A command line with its options as they are listed, with underscores, where they may be written with hyphens.

    A switch before a word that is neither true nor false takes it from no positional option.
    """
    kind_of, found = kinds(config), []
    for word, following in zip(words, [*words[1:], ""], strict=False):
        name, sign, value = word.partition("=")
        spelled = name.replace("-", "_")[2:]
        if name.startswith("--") and spelled in kind_of:
            word = f"--{spelled}{sign}{value}"
            if kind_of[spelled].of is bool and not sign and positionals_of(config) and following.lower() not in TRUTH:
                word += "=true"
        found.append(word)
    return found


def positionals_of(config: type) -> list[dataclasses.Field]:
    """The options that words without `--` before them belong to, in turn; the last one takes the rest."""
    return [option for option in dataclasses.fields(config) if option.metadata["positional"]]


def refuse(words: Sequence[str], known: Sequence[str]) -> None:
    """Raise ConfigError for the first of the words that are left over, if any are."""
    if words and words[0].startswith("-"):
        raise ConfigError(unknown("option", words[0].lstrip("-").split("=")[0], known))
    if words:
        raise ConfigError(f"{words[0]!r} belongs to no option; options are written as --NAME VALUE.")


def objective_of(config: type, words: Sequence[str], command: str) -> str | None:
    """The method that a command line names, itself or by its recipe, if it does."""
    known = [field.name for field in dataclasses.fields(config)]
    try:
        given = vars(Parser(config, command).parse_known_args(words)[0])
        recipe_of = read_recipe(given["config"], known) if "config" in given else {}
    except ConfigError:
        return None
    return (recipe_of | given).get("objective") if "objective" in known else None


def as_arguments(options: Mapping[str, Any]) -> list[str]:
    """Options as a command line, so that both are checked by the same rules; those that are None are left out."""
    arguments = []
    for key, value in options.items():
        if value is not None:
            arguments += [f"--{key}", *map(str, value if isinstance(value, list) else [value])]
    return arguments
