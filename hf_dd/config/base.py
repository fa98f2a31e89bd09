"""What all options are made of: fields that carry whatever there is to know of an option, and one check of values."""

import dataclasses
import functools
import math
import operator
import os
import re
import reprlib
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, NamedTuple, Self

from hf_dd.core import json_records
from hf_dd.core.registry import Registry
from hf_dd.errors import ConfigError, unknown

# In the order of `--help`.
GROUPS = ("data", "method", "teachers and guide", "budget", "evaluation", "output and Hub")
ROLES = {  # what an option decides
    "result": "what is computed: the pixels of a set, the weights of a teacher, the best pool",
    "guide": "the same, where teachers guide",
    "data": "which images are read, and how",
    "source": "the same by a name, whose content may move: what is kept names the content",
    "teachers": "which teachers, by names like these",
    "labels": "what teachers say of the finished images",
    "evaluation": "how students are trained and tested",
    "trust": "whose pickles and code are run",
    "place": "where things are written, pushed and logged, and how often",
    "effort": "how much is done or held at once, not what comes out",
    "once": "something of this call alone, which a command that repeats it leaves out",
}

TRUTH = {**dict.fromkeys(("true", "t", "yes", "y", "1"), True), **dict.fromkeys(("false", "f", "no", "n", "0"), False)}
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
BOUNDS = {"at_least": operator.ge, "above": operator.gt, "at_most": operator.le, "below": operator.lt}  # of a number


def option(
    default: Any,
    help: str,
    *,
    group: str = "method",
    role: str = "result",
    at_least: float | None = None,
    at_most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: Sequence[str] | Registry | None = None,
    grammar: Callable[[Any], object] | None = None,
    teachers: bool = False,
    positional: bool = False,
    path: bool = False,
    empty: bool = False,
    needed: str | None = None,
    memory: bool = False,
    stands_for: Any = None,
) -> Any:
    """A dataclass field that says all there is to know of an option.

    Args:
        default: a list is copied per instance.
        help: ends with a full stop.
        group: of GROUPS.
        role: of ROLES.
        at_least: the smallest number that it takes; like the next three of each value of a list.
        at_most: the largest number that it takes.
        above: what a number has to be above.
        below: what a number has to be below.
        choices: the words that it takes; a registry also takes `package.module:Name`.
        grammar: raises ConfigError for a text (or a list of texts) that it can't read.
        teachers: whether it may hold references to teachers.
        positional: whether words without `--` before them are its values.
        path: whether it names a file or folder of this machine, and nothing else: see `path_of`.
        empty: whether a text that is given may be empty, as words of other programs are; no other option's may.
        needed: the message where it has no value.
        memory: whether a run takes less memory with a smaller value.
        stands_for: the value that None means, unless a plan chooses one (`Options.planned`); its default in words.
    """
    assert group in GROUPS and role in ROLES
    metadata = {key: value for key, value in locals().items() if key != "default"}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


NOTHING = option(None, "").metadata  # that is said of a plain field

ABSTRACT = {int: Integral, float: Real}  # what programs give as numbers
NOUNS = {str: "text", os.PathLike: "path", int: "whole number", float: "number"}
PLAIN = {str: "text", bool: "true or false", type(None): "None"}  # those without an article


def is_one(value: Any, kind: type) -> bool:
    """Whether a value is of a type, as programs give one: a number of any library's, but no bool for a number."""
    return isinstance(value, bool) == (kind is bool) and isinstance(value, ABSTRACT.get(kind, kind))


def one(kind: type) -> str:
    """A value of a type, in words."""
    noun = NOUNS.get(kind, getattr(kind, "__name__", str(kind)))
    return PLAIN.get(kind) or f"{'an' if noun[0] in 'AEIOU' else 'a'} {noun}"


def several(kind: type) -> str:
    """Several values of a type, in words."""
    return "pairs" if kind is tuple else f"{NOUNS.get(kind, kind.__name__)}s"


SHORT = reprlib.Repr()
SHORT.maxstring = SHORT.maxother = SHORT.maxlong = 80
SHORT.maxlevel = 2


class Kind(NamedTuple):
    """What values an option takes: `of` this type or one of the `words`, `many` in a list, None too if `optional`."""

    of: type
    words: tuple[str, ...]
    many: bool
    optional: bool

    @classmethod
    @functools.cache
    def read(cls, hint: Any) -> "Kind":
        """Of a type hint: `int`, `int | None`, `list[int]`, `float | Literal["auto"]`, …"""
        parts = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
        words = tuple(word for part in parts if typing.get_origin(part) is Literal for word in typing.get_args(part))
        (of,) = (part for part in parts if part is not type(None) and typing.get_origin(part) is not Literal)
        many = typing.get_origin(of) is list
        return cls(typing.get_args(of)[0] if many else of, words, many, type(None) in parts)

    def read_text(self, text: str) -> Any:
        """A single value that stands in a file or on a command line; raises ValueError where it is of another kind."""
        if self.of is bool:
            if text.lower() not in TRUTH:
                raise ValueError
            return TRUTH[text.lower()]
        return text if text in self.words else self.of(text)

    def taken(self, value: Any) -> Any:
        """A single value as this kind's own type; raises TypeError where it is of another."""
        if value in self.words:
            return value
        if self.of is str and isinstance(value, (str, os.PathLike)):
            return os.fspath(value)
        if is_one(value, self.of):
            return self.of(value)
        raise TypeError

    def __str__(self) -> str:
        words = "".join(f" or {word!r}" for word in self.words)
        return f"a list of {several(self.of)}" if self.many else one(self.of) + words


def kinds(config: Any) -> dict[str, Kind]:
    """The kind of every option of a config, or of its class."""
    hints = typing.get_type_hints(config if isinstance(config, type) else type(config))
    return {each.name: Kind.read(hints[each.name]) for each in dataclasses.fields(config)}


@dataclass
class Options:
    """What every config is: options that are judged when they are given; raises ConfigError with all that is wrong."""

    takes_recipes: ClassVar[bool] = True  # on its command line, as `--config FILE`

    def __post_init__(self) -> None:
        kind_of, wrong, self._filled_in = kinds(self), [], {}
        for each in dataclasses.fields(self):
            if getattr(self, each.name) is None and not self.planned:
                self._filled_in[each.name] = each.metadata["stands_for"]
                setattr(self, each.name, each.metadata["stands_for"])
            try:
                setattr(self, each.name, judged(each, kind_of[each.name], getattr(self, each.name)))
            except ConfigError as error:
                wrong.append(str(error))
        raise_together(wrong or self.contradictions())

    @classmethod
    def over(cls, config: Self | None, options: typing.Mapping[str, Any]) -> Self:
        """A config with these options over it, or over the defaults; raises ConfigError for one that isn't known."""
        if config is not None and not isinstance(config, cls):
            raise ConfigError(f"Give options by name, or as a {cls.__name__}, not {shown(config)}.")
        known = [each.name for each in dataclasses.fields(cls)]
        for name in options:
            if name not in known:
                raise ConfigError(unknown("option", name, known))
        if config is None:
            return cls(**options)
        # With these options a plan may choose what wasn't given.
        not_given = {name: None for name, value in config._filled_in.items() if getattr(config, name) == value}
        return dataclasses.replace(config, **not_given | options)

    @property
    def planned(self) -> bool:
        """Whether a plan chooses what isn't given, and not the value that None stands for."""
        return False

    def contradictions(self) -> Iterator[str]:
        """What options say against each other, a line each."""
        yield from ()


def shown(value: Any) -> str:
    """A value in a message: as it is, but short, whatever it is."""
    try:
        return SHORT.repr(value)
    except Exception:  # a repr of an object's own, or a number of more digits than Python writes
        return f"a {type(value).__name__}"


def judged(option: dataclasses.Field, kind: Kind, value: Any, name: str | None = None) -> Any:
    """An option's value, as a list where it takes one; raises ConfigError for a wrong type, range or choice.

    The error calls it `name`, if it isn't given by `--` and its own.
    """
    name, known = name or f"--{option.name}", option.metadata or NOTHING
    if kind.many:  # a single value is a list of one, None one of none
        value = [] if value is None else list(value) if isinstance(value, (list, tuple)) else [value]
    try:
        if not (value is None and kind.optional):
            value = list(map(kind.taken, value)) if kind.many else kind.taken(value)
    except (TypeError, OverflowError):
        raise ConfigError(f"{name} is {shown(value)}; it has to be {kind}.") from None
    if known["needed"] and not value:
        raise ConfigError(known["needed"])
    values = value if kind.many else [] if value is None or value in kind.words else [value]
    if "" in values and value != default_of(option) and not known["empty"]:
        raise ConfigError(f"{name} has an empty value: give another one, or leave it out.")
    if kind.of in (int, float) and (bad := [number for number in values if not within(number, known)]):
        given = f"holds {shown(bad)}; each" if kind.many else f"is {shown(value)}; it"
        limit = f"within ±{json_records.LARGEST_NUMBER[kind.of]:.4g}"
        large = any(abs(each) < math.inf and not json_records.holds(each) for each in bad)
        more = [limit] if large else ["finite"] * (kind.of is float)
        raise ConfigError(f"{name} {given} has to be {range_of(known, *more)}.")
    if known["path"] and value:
        try:
            value = path_of(value)
        except ConfigError as error:
            raise ConfigError(f"{name} is {shown(value)}; {error}") from error
    choices = known["choices"]
    if isinstance(choices, Registry):
        for word in values:
            if ":" not in word and word not in choices:
                choices.installed(word, name)  # raises, unless it was found before
    elif choices and (unknown := [word for word in values if word not in choices]):
        given = shown(unknown if kind.many else value)
        raise ConfigError(f"{name} doesn't know {given}; it takes {', '.join(choices)}.")
    if known["grammar"] and value:
        try:
            known["grammar"](value)
        except ConfigError as error:
            raise ConfigError(f"{name}: {error}") from error
    return value


def path_of(text: str) -> str:
    """The path that a text names, with the home that `~` stands for; raises ConfigError for what names no path."""
    if ADDRESS.match(text):
        raise ConfigError("it has to be a file or folder of this machine, not an address.")
    try:
        for encoded in (text.encode(), os.fsencode(text)):  # as records and cards have it, and as the system does
            if b"\0" in encoded:
                raise ValueError
    except ValueError:
        raise ConfigError("it has to be a name that files can have, in UTF-8.") from None
    return os.path.expanduser(text)  # where pathlib's raises for a user that there isn't


def within(number: float, known: typing.Mapping[str, Any]) -> bool:
    """Whether a number is one that records hold, and in an option's range."""
    inside = (holds(number, known[key]) for key, holds in BOUNDS.items() if known[key] is not None)
    return json_records.holds(number) and all(inside)


def range_of(known: typing.Mapping[str, Any], *more: str) -> str:
    """An option's range in words, and more of it; "" if there is none."""
    words = [f"{key.replace('_', ' ')} {known[key]}" for key in BOUNDS if known[key] is not None]
    return " and ".join([*words, *more])


def raise_together(lines: Iterable[str]) -> None:
    """Raise one ConfigError of all these lines, each once; none if there are none."""
    if found := list(dict.fromkeys(lines)):
        raise ConfigError("\n".join(found))


def named(config: Any, *roles: str) -> list[str]:
    """The options of a config, or of its class, that have one of these roles."""
    return [each.name for each in dataclasses.fields(config) if each.metadata["role"] in roles]


def values(config: Any, *roles: str) -> dict[str, Any]:
    """The options that have one of these roles, with their values."""
    return {name: getattr(config, name) for name in named(config, *roles)}


def part(config: Any, kind: type) -> dict[str, Any]:
    """The options that another kind of config has too, with their values."""
    return {each.name: getattr(config, each.name) for each in dataclasses.fields(kind)}


def is_default(option: dataclasses.Field, value: Any) -> bool:
    """Whether a value is what an option has that isn't given."""
    return value is None or value == default_of(option)


def default_of(option: dataclasses.Field) -> Any:
    """The default of an option, or what that stands for."""
    default = option.default_factory() if option.default is dataclasses.MISSING else option.default
    return option.metadata["stands_for"] if default is None else default


def defaults(kind: type, *roles: str) -> dict[str, Any]:
    """The options that have one of these roles, with their defaults, or what those stand for."""
    return {each.name: default_of(each) for each in dataclasses.fields(kind) if each.metadata["role"] in roles}


def less_memory(config: Any) -> str:
    """What helps where memory doesn't suffice, in sentences that begin with a space; of a config, or of its class."""
    options = sorted(dataclasses.fields(config), key=lambda each: GROUPS.index(each.metadata["group"]))
    taking = ", ".join(f"--{each.name}" for each in options if each.metadata["memory"])
    way_out = f" Less is taken by smaller values of {taking}." if taking else ""
    if any(each.name == "overwrite_output_dir" for each in options):
        way_out += " What was begun is replaced by --overwrite_output_dir."
    return way_out


def slug(text: str) -> str:
    """The last part of a reference or path, in lower case, fit for a repository's or a folder's name."""
    return spelt(text.split("@")[0].rstrip("/").rsplit("/", 1)[-1])


def spelt(text: str) -> str:
    """All of a text in lower case, its words joined by -, as `sre2lplusplus` of SRe2L++ and `dc-dsa` of DC/DSA."""
    text = re.sub(r"\+(?!\w)", "plus", text.lower())
    return "-".join("".join(c if c.isalnum() else " " for c in text).split()) or "data"


def parse_key_values(pairs: list[str]) -> dict[str, int | float | str]:
    """`["width=64", "norm=batch"]` as `{"width": 64, "norm": "batch"}`: whole numbers, then numbers, then text."""
    values: dict[str, int | float | str] = {}
    for pair in pairs:
        key, sign, text = pair.partition("=")
        if not (key and sign and text):
            raise ConfigError(f"{pair!r} isn't of the form key=value, e.g. width=64.")
        if key in values:
            raise ConfigError(f"{key} is given more than once: leave one out.")
        for kind in (int, float, str):
            try:
                values[key] = kind(text)
                break
            except ValueError:
                continue
    return values


def require_weights(pairs: list[str]) -> None:
    """Raise ConfigError unless the values of these pairs are finite numbers, 0 or more."""
    for name, value in parse_key_values(pairs).items():
        if isinstance(value, str) or not 0 <= value < math.inf:
            raise ConfigError(f"{name} is {value}; it has to be a finite number, 0 or more.")


def as_dict(config: Any) -> dict[str, Any]:
    """A config as plain JSON-able values, in the order of its fields."""
    return dataclasses.asdict(config)
