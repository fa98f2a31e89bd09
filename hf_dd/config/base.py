"""What all options are made of: fields with help texts, checks of ranges, readers of values."""

import dataclasses
from dataclasses import field
from typing import Any

from hf_dd.errors import ConfigError


def option(default: Any, help: str, **metadata: Any) -> Any:
    """A dataclass field with a default (a list is copied per instance) and its help text."""
    metadata["help"] = help
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def lists(config: Any) -> None:
    """Take a single value, where a program gives one for an option of several, as a list of it (None: of none)."""
    for each in dataclasses.fields(config):
        value = getattr(config, each.name)
        if each.default_factory is not dataclasses.MISSING and not isinstance(value, list):
            setattr(config, each.name, list(value or ()) if isinstance(value, (tuple, type(None))) else [value])


def require_at_least(config: Any, minimum: float, *names: str) -> None:
    """Raise ConfigError for the first of the named options that is below `minimum` or not finite; None passes."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not minimum <= value < float("inf"):
            finite = " and finite" if isinstance(value, float) else ""
            raise ConfigError(f"--{name} is {value}; it has to be at least {minimum}{finite}.")


def weight(name: str, value: Any) -> float:
    """A finite number, 0 or more; raises ConfigError with the option's name else."""
    try:
        number = float(value)
    except ValueError:
        number = value
    if not isinstance(number, float) or not 0 <= number < float("inf"):
        raise ConfigError(f"{name} is {number}; it has to be a finite number, 0 or more.")
    return number


def slug(text: str) -> str:
    """The last part of a reference or path, in lower case, fit for a repository's or a folder's name."""
    name = text.split("@")[0].rstrip("/").rsplit("/", 1)[-1]
    return "-".join("".join(c if c.isalnum() else " " for c in name.lower()).split()) or "data"


def parse_key_values(pairs: list[str]) -> dict[str, int | float | str]:
    """`["width=64", "norm=batch"]` as `{"width": 64, "norm": "batch"}`: whole numbers, then numbers, then text."""
    values: dict[str, int | float | str] = {}
    for pair in pairs:
        key, sign, text = pair.partition("=")
        if not (key and sign and text):
            raise ConfigError(f"{pair!r} isn't of the form key=value, e.g. width=64.")
        for kind in (int, float, str):
            try:
                values[key] = kind(text)
                break
            except ValueError:
                continue
    return values


def as_dict(config: Any) -> dict[str, Any]:
    """A config as plain JSON-able values, in the order of its fields."""
    return dataclasses.asdict(config)


def field_names(config: type) -> list[str]:
    """Names of a dataclass's fields."""
    return [field.name for field in dataclasses.fields(config)]
