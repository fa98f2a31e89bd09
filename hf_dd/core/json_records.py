"""JSON records that are read or refused: what a file of others holds is what its dataclass says, down to its parts."""

import dataclasses
import json
import types
import typing
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

from hf_dd.errors import RunError, UnusableError, some

Record = TypeVar("Record")

LARGEST_JSON, DEEPEST_JSON = 2**24, 64  # bytes and levels of a record
LARGEST_NUMBER = {int: 2.0**63, float: 2.0**128}  # below which tensors' are: 64-bit integers, and float32


def read_json(path: Path, kind: type = dict, /, **fields: Any) -> Any:
    """The content of a JSON file: a `kind`; of a mapping, `fields` says which it has to give, each by its type.

    Raises RunError, naming the file and the fields, where it isn't there or doesn't hold that, and where it is larger
    or nested deeper than any record of ours; that is an UnusableError where it is no JSON, or holds something else.
    """
    try:
        if path.exists() and not path.is_file():
            raise RunError(f"{path} isn't a file.")
        if path.stat().st_size > LARGEST_JSON:
            raise RunError(f"{path} is larger than a record of hf-dd, which takes at most {LARGEST_JSON:,} bytes.")
        content = json.loads(path.read_text(encoding="utf-8"))
        require_sound(content)
    except OSError as error:
        raise RunError(f"{path} can't be read: {error.strerror}.") from error
    except RecursionError as error:
        raise RunError(f"{path} isn't a record of hf-dd: it is nested deeper than {DEEPEST_JSON} levels.") from error
    except ValueError as error:
        raise UnusableError(f"{path} isn't valid JSON ({error}).", path) from error
    require(content, kind, fields, str(path))
    return content


def require_sound(content: Any, levels: int = DEEPEST_JSON) -> None:
    """Raise RecursionError for what is nested too deeply, and ValueError for text that is no Unicode."""
    if isinstance(content, str):
        content.encode()  # JSON can spell halves of surrogate pairs
    elif isinstance(content, dict | list):
        if not levels:
            raise RecursionError
        for part in content.values() if isinstance(content, dict) else content:
            require_sound(part, levels - 1)
        if isinstance(content, dict):
            "".join(content).encode()


def as_record(content: Any, form: type[Record], name: str) -> Record:
    """A mapping as a dataclass, all of whose fields it has to give, each by its type, but for those with a default.

    Types are those of the annotations, down to their parts. What stays a mapping has the fields of `Form` where it is
    annotated as `Annotated[dict[str, Any], Form]`, a dataclass, or is a TypedDict.

    Raises RunError, naming `name` and the fields, where it doesn't, and where it gives others.
    """
    require(content, dict, {}, name)
    try:
        record = form(**content)
    except TypeError as error:
        raise UnusableError(f"{name} isn't a record of this version of hf-dd: {error}.", Path(name)) from error
    require(vars(record), dict, typing.get_type_hints(form, include_extras=True), name)
    return record


def require(content: Any, kind: type, fields: Mapping[str, Any], name: str) -> None:
    """Raise RunError unless content of JSON is of this type, with these fields, each of its annotated type."""
    if not isinstance(content, kind):
        held = type(content).__name__
        raise UnusableError(f"{name} isn't a record of hf-dd: it holds {held}, not {kind.__name__}.", Path(name))
    if wrong := faults_within(content, fields, "") if fields else []:
        raise UnusableError(f"{name} isn't a record of this version of hf-dd: {some(wrong)}.", Path(name))


def faults(value: Any, hint: Any, name: str) -> list[str]:
    """What keeps a value of JSON from being of an annotated type, each fault by the name of the part it is in."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    whole = [f"{name} is {value!r:.80}"]
    if hint is Any:
        return []
    if origin in (typing.Annotated, typing.NotRequired):
        return faults(value, inner[-1], name)
    if origin in (types.UnionType, typing.Union):
        each = [faults(value, one, name) for one in inner]
        return [] if [] in each else next((found for found in each if found != whole), whole)
    if origin is typing.Literal:
        return [] if value in inner else whole
    if dataclasses.is_dataclass(hint) or typing.is_typeddict(hint):
        fields = typing.get_type_hints(hint, include_extras=True)
        if not isinstance(value, dict):
            return whole
        fields = {key: own for key, own in fields.items() if key in value or key in needed_by(hint)}
        return faults_within(value, fields, f"{name}.")
    kind = origin or hint
    if not isinstance(value, (list, tuple) if kind in (list, tuple) else (int, float) if kind is float else kind):
        return whole
    if kind in (int, float):  # JSON spells numbers that no field of ours can be: NaN, and ones of a thousand digits
        return [] if not isinstance(value, bool) and holds(value) else whole
    if kind is dict and inner:
        return [fault for key, part in value.items() for fault in faults(part, inner[1], f"{name}.{key}")]
    if kind in (list, tuple) and inner:
        return [fault for index, part in enumerate(value) for fault in faults(part, inner[0], f"{name}[{index}]")]
    return []


def holds(number: float) -> bool:
    """Whether a number, whole or not, is one that records hold, and options take: finite, and fit for a tensor."""
    return abs(number) < LARGEST_NUMBER[int if isinstance(number, int) else float]


def needed_by(form: type) -> Collection[str]:
    """The fields that a TypedDict, or a dataclass, can't do without."""
    if typing.is_typeddict(form):
        return form.__required_keys__
    missing = (dataclasses.MISSING, dataclasses.MISSING)
    return {each.name for each in dataclasses.fields(form) if (each.default, each.default_factory) == missing}


def faults_within(content: Mapping[str, Any], fields: Mapping[str, Any], prefix: str) -> list[str]:
    """The faults of a mapping that has to have these fields."""
    return [
        fault
        for key, hint in fields.items()
        for fault in (faults(content[key], hint, f"{prefix}{key}") if key in content else [f"it lacks {prefix}{key}"])
    ]
