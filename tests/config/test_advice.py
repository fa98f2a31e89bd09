"""What messages, cards and help advise: commands that there are, with options that they have."""

import ast
import re
from pathlib import Path

import pytest

import hf_dd
from hf_dd.cli import COMMANDS, Actions, every_command
from hf_dd.config.base import kinds

ROOT = Path(hf_dd.__file__).parent
OTHERS = {  # of other programs
    *("--num_processes", "--num_machines", "--mixed_precision", "--dynamo_backend", "--num_cpu_threads_per_process"),
    *("--quiet", "--fonts", "--side", "--train", "--test"),
}
COMMAND = re.compile(r"(`?)hf-dd ([a-z]+)([^`\n]*)")


def texts(tree):
    """Every text of a module that isn't a docstring, with … where a value stands in it, and its line."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)} - {
        id(node) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
            yield "".join(map(str, parts)), node.lineno
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings | inside:
            yield node.value, node.lineno


SAID = [
    (f"{path.relative_to(ROOT)}:{line}", text)
    for path in sorted(ROOT.rglob("*.py"))
    if "local_hub" not in path.parts
    for text, line in texts(ast.parse(path.read_text(encoding="utf-8")))
    if re.search(r"--[a-z]|hf-dd [a-z]", text) and " " in text  # no words of another program's command
]


def of_words(words):
    """The command of a command line's first words."""
    command, rest = Actions("", COMMANDS), list(words)
    while isinstance(command, Actions) and rest and rest[0] in command.actions:
        command = command.actions[rest.pop(0)]
    return command


def options_of(command):
    found = {"--help", *(f"--{name}" for name in kinds(command.options))}
    return found | ({"--config"} if command.options.takes_recipes else set())


EVERY_OPTION = set().union(*(options_of(command) for _, command in every_command()))


def test_there_is_advice():
    assert len(SAID) > 60


@pytest.mark.parametrize(("place", "text"), SAID, ids=[place for place, _ in SAID])
def test_every_option_that_is_named_is_one(place, text):
    named = re.findall(r"(?<![\w-])--[a-z][a-z_-]*[a-z]", text)
    assert {*named} <= EVERY_OPTION | OTHERS
    for quoted, name, rest in COMMAND.findall(text):
        if quoted or name in COMMANDS:  # not "hf-dd never does"
            command = of_words([name, *rest.replace(":", "").split()])
            assert not isinstance(command, Actions), text
            assert {*re.findall(r"(?<![\w-])--[a-z_-]+", rest)} <= options_of(command), text
