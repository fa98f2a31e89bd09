"""YAML as text: mappings and lists of words as they are written, which the options they are for read by their kind.

YAML would make `no` false, `1.10` 1.1 and `2020-01-01` a day; what an option is given in a file means what it means on
a command line.
"""

from pathlib import Path
from typing import Any

import yaml

from hf_dd.errors import ConfigError, one_line

BYTES, DEPTH, PARTS = 2**20, 32, 100_000  # of a file, of its nesting, of all that its aliases stand for
READ = ("tag:yaml.org,2002:null", "tag:yaml.org,2002:merge")  # the only plain words that aren't text: null and <<


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """A safe loader to which every plain word is text, but for null."""

    yaml_implicit_resolvers = {
        first: [resolver for resolver in resolvers if resolver[0] in READ]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def read_yaml(path: Path) -> Any:
    """What a YAML file holds: texts, None, lists and mappings.

    Raises ConfigError where it can't be read, isn't YAML, has a key twice in one mapping, holds itself, or is larger
    or deeper than any recipe.
    """
    try:
        with path.open("rb") as file:
            content = file.read(BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}.") from error
    if len(content) > BYTES:
        raise ConfigError(f"{path} has more than {BYTES:,} bytes; that is no recipe.")
    try:
        text = content.decode("utf-8")
        depth = 0
        for event in yaml.parse(text, Loader):  # by events first: building what is nested recurses
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEPTH:
                line = event.start_mark.line + 1
                raise ConfigError(f"{path}, line {line}: more than {DEPTH} levels stand in each other.")
        loader = Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            look(node, path, {}, [])
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except (yaml.YAMLError, ValueError) as error:  # ValueError: what is no UTF-8, and dates that aren't
        raise ConfigError(f"{path} isn't YAML: {one_line(error)}") from error


def look(node: yaml.Node, path: Path, sizes: dict[yaml.Node, int], above: list[yaml.Node]) -> int:
    """The number of parts of a node, what its aliases stand for counted again.

    Raises ConfigError for a key that a mapping has twice (YAML would take the last and be silent), a node that holds
    itself, and more parts than PARTS.
    """
    if node in sizes or not isinstance(node, yaml.CollectionNode):
        return sizes.get(node, 1)
    place = f"{path}, line {node.start_mark.line + 1}"
    if node in above:
        raise ConfigError(f"{place}: what an alias stands for holds the alias itself.")
    lines: dict[str, int] = {}
    size = 1
    for each in node.value:
        if isinstance(node, yaml.MappingNode):
            key, each = each
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode) and key.value in lines:
                raise ConfigError(f"{path}, line {line}: {key.value!r} is in line {lines[key.value]} already.")
            lines |= {key.value: line} if isinstance(key, yaml.ScalarNode) else {}
        size += look(each, path, sizes, [*above, node])
    if size > PARTS:
        raise ConfigError(f"{place}: its aliases stand for more than {PARTS:,} values; write them out.")
    sizes[node] = size
    return size
