"""Options from YAML and the command line: YAML replaces the defaults, the command line wins, unknown keys fail.

Both are texts, which an option's kind reads, so that a value means the same in both.
"""

import argparse
import dataclasses
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from hf_dd.config.base import GROUPS, TRUTH, Kind, default_of, kinds, raise_together, range_of, shown
from hf_dd.config.distillation import DistillConfig
from hf_dd.config.recipes import read_recipe
from hf_dd.core.registry import OBJECTIVES, Registry
from hf_dd.errors import ConfigError, unknown

WITH_TITLES = 40  # entries of a registry, at most, that `--help` gives a line each


def help_text(config: type, command: str, objective: str | None = None) -> str:
    """The help of a command: its options in their groups.

    Args:
        config: the dataclass of its options.
        command: what the user typed.
        objective: the method whose own options it tells too.
    """
    fields = sorted(dataclasses.fields(config), key=lambda each: each.metadata["role"] == "trust")  # at the end
    words = [each.name.upper() + "…" * kinds(config)[each.name].many for each in positionals_of(config)]
    written = argparse.ArgumentParser(
        prog=command,
        usage=" ".join([command, *words, *["[options]"] * (len(fields) > len(words))]),
        description=config.__doc__.splitlines()[0],
        formatter_class=argparse.RawTextHelpFormatter,
    )
    if config.takes_recipes:
        about = "YAML file of options, or the name of a recipe of hf_dd; options given here win over it."
        written.add_argument("--config", metavar="FILE", help=wrapped(about))
    for group in GROUPS:
        section = written.add_argument_group(group)
        for each in fields:
            if each.metadata["group"] == group:
                section.add_argument(f"--{each.name}", **argument(each, kinds(config)[each.name]))
        if group == "method" and objective:
            written.add_argument_group(f"--objective {objective}", method_help(objective))
    return written.format_help()


def argument(option: dataclasses.Field, kind: Kind) -> dict[str, Any]:
    """What argparse's help is told of an option."""
    choices = option.metadata["choices"]
    metavar = {int: "N", float: "X", bool: "true|false"}.get(kind.of, "TEXT")
    if choices:
        metavar = "NAME" if isinstance(choices, Registry) else f"{{{','.join(choices)}}}"
    nargs = "*" if kind.many else "?" if kind.of is bool else None
    return {"metavar": metavar, "help": help_of(option, kind), "nargs": nargs}


def help_of(option: dataclasses.Field, kind: Kind) -> str:
    """An option's help: what it is, its default, its range, and what a registry has for it."""
    default, choices = default_of(option), option.metadata["choices"]
    default = " ".join(map(str, default)) if kind.many else default
    facts = [] if default in (None, "") or default is False else [f"default: {default}"]
    facts += [words] if (words := range_of(option.metadata)) else []
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
    if method.published.cells:
        lines.append("With --published, for a data set, images per class or a network (later ones go first):")
    for cell in method.published.cells:
        values = " ".join(f"{name}{' ' if name[0] == '-' else '='}{value}" for name, value in cell.values.items())
        lines.append(wrapped(f"  {cell.where}: {values} ({cell.source})", hanging=True))
    own = dataclasses.fields(method.Options)
    lines += ["Options of its own, by --objective_options key=value:" if own else "It has no options of its own."]
    for each in own:
        choices = each.metadata.get("choices")
        listed = f" {{{','.join(choices)}}}" if choices else ""
        text = f"  {each.name}={each.default}{listed}: {each.metadata.get('help', '')}"
        lines.append(wrapped(text, hanging=True))
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

    Raises ConfigError for unknown keys and options (naming the nearest known one), and for values that the config
    doesn't take.
    """
    words, after = halves(list(arguments) or (["--config", default] if default else []))
    given, loose = written_words(config, words, command)
    options = named_recipe(config, given) | {name: value for name, value in given.items() if name != "config"}
    loose += after
    for option in positionals_of(config):
        if kinds(config)[option.name].many:
            named = options.get(option.name) or []
            options[option.name], loose = [*(named if isinstance(named, list) else [named]), *loose], []
        elif loose and option.name not in given:
            options[option.name] = loose.pop(0)
    if loose:
        raise ConfigError(f"{loose[0]!r} belongs to no option; options are written as --NAME VALUE.")
    return config(**read_values(config, options))


def halves(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words of a command line that may be options, and all that come after `--`."""
    cut = list(arguments).index("--") if "--" in arguments else len(arguments)
    return list(arguments[:cut]), list(arguments[cut + 1 :])


def help_asked(config: type, arguments: Sequence[str], *, command: str) -> str | None:
    """The help of a command where its command line asks for it, else None."""
    words, _ = halves(arguments)
    asking = {"-h", "--help"}.intersection(words)
    rest = [word for word in words if word not in asking]
    return help_text(config, command, objective_of(config, rest, command)) if asking else None


def written_words(config: type, words: Sequence[str], command: str) -> tuple[dict[str, Any], list[str]]:
    """The words of each option on a command line, one or a list, and the words that belong to none.

    Options are spelled with underscores or hyphens. A switch takes the next word if that is true or false; where
    words may belong to no option, it leaves them any other. Raises ConfigError for an option that isn't known, or
    has no value.
    """
    kind_of = kinds(config) | ({"config": Kind(str, (), False, True)} if config.takes_recipes else {})
    given: dict[str, list[str]] = {}
    loose: list[str] = []
    taking = None  # the option that takes the next word
    for word in words:
        name, sign, value = word.partition("=")
        option = name[2:].replace("-", "_")
        if name.startswith("--") and option in kind_of:
            given[option] = [value] if sign else []
            taking = None if sign else option
        elif word.startswith("-") and word != "-" and not is_number(word):
            raise ConfigError(unknown("option", name.lstrip("-"), [*kind_of, "help"]))
        elif taking is None or (kind_of[taking].of is bool and positionals_of(config) and word.lower() not in TRUTH):
            loose.append(word)
            taking = None
        else:
            given[taking].append(word)
            taking = taking if kind_of[taking].many else None
    for option, values in given.items():
        if not values and kind_of[option].of is bool:
            values.append("true")
        if not values and not kind_of[option].many:
            raise ConfigError(f"--{option} needs a value (`{command} --help` lists the options).")
    return {name: values if kind_of[name].many else values[0] for name, values in given.items()}, loose


def is_number(word: str) -> bool:
    """Whether it is one: -1e-2 is a value, -x an option."""
    try:
        float(word)
    except ValueError:
        return False
    return True


def named_recipe(config: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the recipe that a command line names; none where it names none."""
    known = [field.name for field in dataclasses.fields(config)]
    return read_recipe(given["config"], known) if "config" in given else {}


def objective_of(config: type, words: Sequence[str], command: str) -> str | None:
    """The method that a command line names, itself or by its recipe, if it does."""
    try:
        given, _ = written_words(config, words, command)
        return (named_recipe(config, given) | given).get("objective") if "objective" in kinds(config) else None
    except ConfigError:
        return None


def read_values(config: type, written: Mapping[str, Any]) -> dict[str, Any]:
    """Options as values of their kinds, from texts as a file or a command line has them; without those that are None.

    What is neither text nor a list of it stays as it is: the config judges it. Raises ConfigError for an option that
    isn't known, and with all texts that are of another kind.
    """
    kind_of, values, wrong = kinds(config), {}, []
    for name, value in written.items():
        if name not in kind_of:
            raise ConfigError(unknown("option", str(name), list(kind_of)))
        kind = kind_of[name]

        def read(part: Any, kind: Kind = kind) -> Any:
            return kind.read_text(part) if isinstance(part, str) else part

        try:
            values[name] = list(map(read, value)) if isinstance(value, list) and kind.many else read(value)
        except ValueError:
            wrong.append(f"--{name} is {shown(value)}; it has to be {kind}.")
    raise_together(wrong)
    return {name: value for name, value in values.items() if value is not None}


def positionals_of(config: type) -> list[dataclasses.Field]:
    """The options that words without `--` before them belong to, in turn; the last one takes the rest."""
    return [option for option in dataclasses.fields(config) if option.metadata["positional"]]
