"""What strangers wrote: their JSON and YAML, in bounded values that can be stored and sent on."""

import json
import math
import re
import types
from collections.abc import Mapping

import yaml

from hf_dd.local_hub.errors import HubHttpError

MAX_METADATA_BYTES = 2**20  # of a card's metadata block, and of a config.json that is told
MAX_DEPTH = 32
MAX_VALUES = 50_000
MAX_SEPARATORS = 200_000
MAX_SCALAR = 100  # characters of what may be a number
NOTHING: Mapping[str, type] = types.MappingProxyType({})
_NAMES = {str: "text", int: "a whole number", bool: "true or false", list: "a list", dict: "an object"}
_CLIENTS_OWN = {"self", "ignore_metadata_errors"}  # keys that huggingface_hub's own classes choke on

_BLOCK_START = re.compile(r"\s*---(?=[\r\n])")
_BLOCK_END = re.compile(r"[\r\n]---(?:\r\n|\n|$)")


def parse_json(content: bytes) -> object:
    """The value of a JSON text. Raises `ValueError` for anything else, and for one of too many values or levels."""
    if sum(map(content.count, (b",", b"[", b"{"))) > MAX_SEPARATORS:  # values may take many times their text's memory
        raise ValueError(f"it has more than {MAX_SEPARATORS} commas and brackets")
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def parse_config(content: bytes) -> dict:
    """The values of a config.json; raises `ValueError` if it is no JSON object, or too large, too deep, too long."""
    if len(content) > MAX_METADATA_BYTES:
        raise ValueError(f"it has more than {MAX_METADATA_BYTES} bytes")
    config = plain(parse_json(content))
    if not isinstance(config, dict):
        raise ValueError("it isn't a mapping")
    return config


def parse_card(content: str) -> dict:
    """The YAML block at the top of a README; {} without one.

    Raises `yaml.YAMLError` if it isn't a mapping, or is too large, too deep or too long, or has aliases.
    """
    start = _BLOCK_START.match(content)
    end = start and _BLOCK_END.search(content, start.end())
    if not end:
        return {}
    block = content[start.end() : end.start()]
    try:
        if len(block.encode(errors="replace")) > MAX_METADATA_BYTES:
            raise ValueError(f"the metadata block has more than {MAX_METADATA_BYTES} bytes")
        _require_modest(block)
        data = plain(yaml.load(block, CardLoader))
        if not isinstance(data, dict | None):
            raise ValueError("the metadata block must be a mapping")
    except ValueError as error:
        raise yaml.YAMLError(str(error)) from error
    return {key: value for key, value in (data or {}).items() if key not in _CLIENTS_OWN}


def fields(data: object, required: Mapping[str, type] = NOTHING, **optional: type) -> dict:
    """These fields of a JSON object; 400 if one is missing, of another type, or a text that no file can hold.

    An optional field that is missing or null is None. Other fields are left out.
    """
    if not isinstance(data, dict):
        raise HubHttpError(400, "The body must hold a JSON object here")
    found = {name: data.get(name) for name in (*required, *optional)}
    for name, value in found.items():
        if value is None and name not in required:
            continue
        wanted = required.get(name) or optional[name]
        if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is int):
            raise HubHttpError(400, f"{name!r} must be given, as {_NAMES[wanted]}")
        if isinstance(value, str):
            require_text(name, value)
    return found


def require_text(name: str, value: str):
    """400 for a text with NUL or half a character."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise HubHttpError(400, f"{name!r} isn't a text: {error.reason}") from error
    if "\0" in value:
        raise HubHttpError(400, f"{name!r} has a NUL character")


def plain(value: object) -> dict | list | str | int | float | bool | None:
    """The same in types of JSON: what is no finite number is None, what is no text that UTF-8 has is replaced.

    Raises `ValueError` for more than MAX_DEPTH levels or MAX_VALUES values.
    """
    left = MAX_VALUES

    def convert(value, depth):
        nonlocal left
        left -= 1
        if left < 0 or depth > MAX_DEPTH:
            raise ValueError(f"more than {MAX_DEPTH} levels or {MAX_VALUES} values")
        if isinstance(value, dict):
            return {_text(key): convert(each, depth + 1) for key, each in value.items()}
        if isinstance(value, list | tuple | set):
            return [convert(each, depth + 1) for each in value]
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            return value if value.bit_length() <= 1024 else None
        if isinstance(value, float):
            return value if math.isfinite(value) else None
        return _text(value)

    return convert(value, 0)


def _text(value):
    if isinstance(value, int) and value.bit_length() > 1024:  # Python refuses to write such numbers
        return "…"
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    return text.encode(errors="replace").decode()


class CardLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """YAML as the Hub reads it: only true and false are booleans, and dates are texts; odd numbers stay texts, too."""


def _lenient(kind):
    original = getattr(yaml.SafeLoader, f"construct_yaml_{kind}")

    def construct(loader, node):
        try:
            if isinstance(node.value, str) and len(node.value) <= MAX_SCALAR and ":" not in node.value:
                return original(loader, node)
        except (ValueError, KeyError, AttributeError):
            pass
        return loader.construct_scalar(node)

    return construct


for _kind in ("bool", "int", "float"):
    CardLoader.add_constructor(f"tag:yaml.org,2002:{_kind}", _lenient(_kind))
CardLoader.add_constructor("tag:yaml.org,2002:timestamp", CardLoader.construct_scalar)
CardLoader.yaml_implicit_resolvers = {
    first: [each for each in resolvers if not each[0].endswith((":bool", ":timestamp"))]
    for first, resolvers in CardLoader.yaml_implicit_resolvers.items()
}
CardLoader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"(?i:true|false)\Z"), list("tTfF"))


def _require_modest(block):
    """Look at its events before anything is built of them."""
    depth = 0
    for number, event in enumerate(yaml.parse(block, CardLoader)):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise ValueError("anchors and aliases (& and *) aren't allowed in metadata")
        if depth > MAX_DEPTH or number > 2 * MAX_VALUES:
            raise ValueError(f"the metadata block has more than {MAX_DEPTH} levels or {MAX_VALUES} values")
