"""What a program gives to a public function, judged by the hints of its arguments, as options are by theirs."""

import collections.abc
import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from hf_dd.config.base import is_one, one, several, shown
from hf_dd.errors import ConfigError

Function = TypeVar("Function", bound=Callable[..., Any])


def typed() -> Callable[[Function], Function]:
    """Let a function raise ConfigError, naming the argument, for a value that isn't of the kind that its hint says."""

    def judging(function: Function) -> Function:
        known = inspect.signature(function)
        hints = {
            name: own.annotation
            for name, own in known.parameters.items()
            if own.annotation is not own.empty and own.kind is not own.VAR_KEYWORD
        }

        @functools.wraps(function)
        def call(*given: Any, **named: Any) -> Any:
            try:
                arguments = known.bind(*given, **named).arguments
            except TypeError:  # which Python says better where the function is called
                return function(*given, **named)
            require_fitting({name: value for name, value in arguments.items() if name in hints}, hints)
            return function(*given, **named)

        return call

    return judging


def require_fitting(values: Mapping[str, Any], hints: Mapping[str, Any]) -> None:
    """Raise ConfigError for the first of these values that isn't of the kind that its hint says."""
    for name, value in values.items():
        if not fits(value, hints[name]):
            raise ConfigError(f"{name} is {shown(value)}; it has to be {in_words(hints[name])}.")


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of the kind of a type hint, a list's items too."""
    of, inner = typing.get_origin(hint) or hint, typing.get_args(hint)
    if hint is Any:
        return True
    if of in (typing.Union, types.UnionType):
        return any(fits(value, part) for part in inner)
    if of is collections.abc.Sequence:
        many = isinstance(value, of) and not isinstance(value, str | bytes)
        return many and all(fits(each, *inner) for each in value)
    if of is tuple:
        return isinstance(value, of) and len(value) == len(inner) and all(map(fits, value, inner))
    return value is None if hint is None else is_one(value, of)


def in_words(hint: Any) -> str:
    """What a type hint takes, in words; None is left out beside anything else."""
    of, inner = typing.get_origin(hint) or hint, typing.get_args(hint)
    if of in (typing.Union, types.UnionType):
        return " or ".join(in_words(part) for part in inner if part is not type(None))
    if of is collections.abc.Sequence:
        alternatives = typing.get_origin(inner[0]) in (typing.Union, types.UnionType)
        parts = typing.get_args(inner[0]) if alternatives else inner
        return f"a list of {' or '.join(several(typing.get_origin(part) or part) for part in parts)}"
    return one(of)
