"""Options of any value, on the command line, in YAML, in a study and from Python: refused in a line, or meant.

Where a command takes them, the record has to hold what was written, read by an oracle of its own.
"""

import contextlib
import dataclasses
import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hf_dd.cli import COMMANDS, Actions, Command
from hf_dd.config import DistillConfig, PretrainConfig
from hf_dd.config.base import Options, default_of, kinds
from tests.campaigns.campaign import Ended, Outcome, Try, main, preload, run

TINY = {
    "dataset": "digits",
    "ipc": "1",
    "iterations": "2",
    "architecture": "MLP",
    "real_batch_size": "4",
    "eval_students": "0",
    "baselines": "none",
}
TAUGHT = {"dataset": "digits", "architectures": "MLP", "epochs": "1"}
CONFIGS = {"distill": DistillConfig, "pretrain": PretrainConfig}


def others(commands: Mapping[str, Command | Actions], before: str = "") -> Iterator[tuple[str, type[Options]]]:
    """Every other command that does nothing without a word; those of an embedded Hub would serve it."""
    for name, command in commands.items():
        if isinstance(command, Actions):
            yield from others(command.actions, f"{before}{name} ")
        elif before != "hub " and any(each.metadata["needed"] for each in dataclasses.fields(command.options)):
            yield f"{before}{name}", command.options


OTHERS = {name: config for name, config in others(COMMANDS) if name not in CONFIGS}
# Options whose odd values would only make a run long or large, or belong to other campaigns.
LEFT_OUT = {
    "iterations",
    "minutes",
    "eval_students",
    "epochs",
    "image_size",
    "output_dir",
    "push_to_hub",
    "dataset",
    "ipc",
    "compile",
    "profile",
}
WORDS = (
    *(
        "",
        " ",
        "0",
        "-1",
        "1",
        "2",
        "1.0",
        "0.5",
        "1e2",
        "-1e-2",
        "1e400",
        "nan",
        "inf",
        "-inf",
        "0x10",
        "010",
        "1_0",
        "٣",
    ),
    *("true", "no", "off", "yes", "null", "~", "None", "auto", "9" * 30, "9" * 5000, "2020-01-01", "1:30", "1.10"),
    *(
        "a=b",
        "width=8",
        "width=",
        "=8",
        "a=b=c",
        "width=9999999999999999999",
        "../x",
        "/proc/none",
        "a/b@c",
        "@",
        "a/b@",
    ),
    *(
        "[",
        "{}",
        "*",
        "&a",
        "#",
        "%s",
        "{0}",
        "\\",
        "'",
        '"',
        "`id`",
        "$(id)",
        "\n",
        "\x1b[31m",
        "‮",
        "é",
        "\U0001f600",
    ),
    *("x" * 300, "--seed", "-x", "--", "os:system", "nothing.there:Name", "color_flip", "color_color", "memory:x"),
)
LINES = (  # of YAML: what no command line can say
    *("{}", "[]", "[1, 2]", "[[1]]", "[null]", "[{a: 1}]", "{a: b}", "!!int 3", "!!float .inf", "!!binary aGVsbG8="),
    *(
        "!!python/name:os.system",
        "!!set {a}",
        "&a [*a]",
        "2001-12-14t21:59:43.10-05:00",
        "!!timestamp 2020-13-45",
        "? a",
    ),
    *(
        "|\n  a\n  b",
        "*unknown",
        '"\\0"',
        "'unclosed",
        "[" * 40,
        "[" * 5000,
        "<<: 5",
        "0o7",
        "!!null x",
        "!x y",
        "1\nseed: 2",
    ),
)
OBJECTS: tuple[Any, ...] = (
    None,
    True,
    3,
    -1,
    0.5,
    float("nan"),
    10**400,
    "text",
    b"bytes",
    [],
    [[]],
    {},
    {"a": 1},
    {1},
    print,
    ...,
)


def written(rng: random.Random, config: type) -> tuple[str, str]:
    """An option and a value of it as text: one of its own kind, or any."""
    option = rng.choice([each for each in dataclasses.fields(config) if each.name not in LEFT_OUT])
    words = [*WORDS, *map(str, range(3)), *(option.metadata["choices"] or ()), str(default_of(option))]
    return option.name, rng.choice(words)


def meant(config: type, name: str, word: str, record: Any) -> bool:
    """Whether the value of an option in a record is what was written."""
    kind = kinds(config)[name]
    if name == "baselines" and word == "none":
        return record == []
    if name == "mixed_precision" and record == "no":  # a CPU without bf16: the run warns, and records what it did
        return word in ("no", "bf16")
    if kind.many:
        return record == [read(kind.of, kind.words, word)]
    return record == read(kind.of, kind.words, word)


def read(of: type, words: tuple[str, ...], word: str) -> Any:
    """A word as what it says."""
    if of is bool:
        return word.lower() in ("true", "yes", "1", "t", "y")
    return word if of is str or word in words else of(word)


def judge(ended: Ended, config: type, folder: Path, given: Mapping[str, str]) -> tuple[Outcome, str]:
    """The outcome of a distillation, or training of a teacher, that was given these."""
    if ended.code != 0:
        return ended.refused(heavy=True), ended.last
    record = next(iter(sorted(folder.rglob("hf_dd.json"))), None)
    if record is None:
        return Outcome.WRONG, "no record"
    content = json.loads(record.read_text())
    settings = content.get("settings") or content.get("training") or {}
    for name, word in given.items():
        if name in settings and not meant(config, name, word, settings[name]):
            return Outcome.WRONG, f"--{name} {word!r} became {settings[name]!r}"
    return Outcome.RIGHT, "taken"


def tries(rng: random.Random, work: Path) -> Iterator[Try]:
    """Command lines, recipes, studies and calls in turn."""
    preload()
    kinds_of = [of_command_line, of_recipe, of_study, of_python, of_others]
    for number in range(10**9):
        folder = work / str(number)
        folder.mkdir()
        case, outcome, seen = kinds_of[number % len(kinds_of)](rng, folder, work / "cache")
        yield Try(kinds_of[number % len(kinds_of)].__name__.removeprefix("of_").replace("_", " "), case, outcome, seen)


def of_command_line(rng: random.Random, folder: Path, cache: Path) -> tuple[str, Outcome, str]:
    """One or two options of a command that would run."""
    command = rng.choice([*CONFIGS, "distill"])
    base = dict(TINY if command == "distill" else TAUGHT)
    given = dict(written(rng, CONFIGS[command]) for _ in range(rng.choice([1, 1, 2])))
    words = [word for name, value in (base | given).items() for word in (f"--{name}", value)]
    if rng.random() < 0.3:
        words = [f"--{name}={value}" for name, value in (base | given).items()]
    if rng.random() < 0.1:
        words.insert(rng.randrange(len(words)), rng.choice(WORDS).replace("\0", ""))
        given = {}
    ended = run([command, *words, "--output_dir", folder / "out"], folder, cache=cache)
    return f"{command} {given or words}"[:300], *judge(ended, CONFIGS[command], folder, given)


def of_recipe(rng: random.Random, folder: Path, cache: Path) -> tuple[str, Outcome, str]:
    """A recipe with one odd line."""
    lines = [f"{name}: {value}" for name, value in TINY.items()]
    name, word = written(rng, DistillConfig)
    given: dict[str, str] = {}
    if rng.random() < 0.5:
        quoted = json.dumps(word, ensure_ascii=rng.random() < 0.5)
        given, line = {name: word}, f"{name}: {quoted}"
    else:
        line = f"{rng.choice([name, rng.choice(['config', '5', 'null', '[a]', '&a b'])])}: {rng.choice(LINES)}"
    lines = [each for each in lines if not each.startswith(f"{name}:")]
    lines.insert(rng.randrange(len(lines) + 1), line)
    (folder / "own.yaml").write_text("\n".join(lines), encoding="utf-8", errors="surrogatepass")
    ended = run(["distill", "--config", "own.yaml", "--output_dir", folder / "out"], folder, cache=cache)
    return line[:200], *judge(ended, DistillConfig, folder, given)


def of_study(rng: random.Random, folder: Path, cache: Path) -> tuple[str, Outcome, str]:
    """A study with one odd part; nothing of it can be right, or it evaluates one tiny cell."""
    base = TINY | {"eval_students": "1", "eval_epochs": "1", "eval_copies": "float", "eval_architectures": "MLP"}
    content: dict[str, Any] = {"base": "{" + ", ".join(f"{name}: {word}" for name, word in base.items()) + "}"}
    content["cells"] = "{a: {}}"
    odd = [*LINES, *map(json.dumps, rng.sample(WORDS, 5))]
    place = rng.choice(
        ["teachers", "pools", "base", "cells", "seeds", "comparisons", "cell", "name", "grid", "pool", "key"]
    )
    value = rng.choice(odd)
    if place == "cell":
        content["cells"] = (
            f"{{a: {{{rng.choice(['teachers', 'teacher_pool', 'set_of', 'config', 'seed'])}: {value}}}}}"
        )
    elif place == "name":
        content["cells"] = f"{{? {value} : {{}}}}"
    elif place == "grid":  # an empty one would be the paper's, and train for minutes
        content["teachers"] = f"{{x: {{architectures: [MLP], epochs: 1, lr_drops: {value}}}}}"
    elif place == "pool":
        content["pools"] = f"{{x: {{iterations: 2, first_rung: 1, teachers: {value}}}}}"
    else:
        content[{"key": value}.get(place, place)] = value
    if content["base"] in ("{}", "!!null x"):  # the paper's numbers: hours
        content["base"] = "[]"
    text = "\n".join(f"{key}: {own}" for key, own in content.items())
    (folder / "own.yaml").write_text(text, encoding="utf-8", errors="surrogatepass")
    ended = run(["study", "own.yaml", "--output_dir", folder / "out"], folder, cache=cache)
    return f"{place}: {value}"[:200], ended.right(), ended.last


def of_others(rng: random.Random, folder: Path, cache: Path) -> tuple[str, Outcome, str]:
    """Any option of a command that lacks what it needs, so that it has to be refused."""
    command = rng.choice([*OTHERS])
    name, word = written(rng, OTHERS[command])
    words = [f"--{name}", word] if rng.random() < 0.8 else [word]
    ended = run([*command.split(), *words], folder, cache=cache)
    return f"{command} {words}"[:200], ended.refused(), ended.last


def of_python(rng: random.Random, folder: Path, cache: Path) -> tuple[str, Outcome, str]:
    """An object for an option: one ConfigError that names it, or a config that holds it."""
    from hf_dd.errors import ConfigError

    config = rng.choice([*CONFIGS.values(), *OTHERS.values()])
    name, value = rng.choice(dataclasses.fields(config)).name, rng.choice(OBJECTS)
    case = f"{config.__name__}.{name} = {str(value)[:60] if not isinstance(value, int) else 'a number'}"
    known = {each.name: each for each in dataclasses.fields(config)}
    needed = {key: "a/b" for key, each in known.items() if each.metadata["needed"] and not default_of(each)}
    needed |= {key: "digits" if key == "dataset" else "a/b" for key in ("dataset", "teachers") if key in known}
    own = {key: [each] if kinds(config)[key].many else each for key, each in needed.items()} | {name: value}
    try:
        made = config.over(None, own)
    except ConfigError as error:
        clear = any(word in str(error) for word in (name, "--", known[name].metadata["needed"] or name))
        return case, Outcome.RIGHT if clear else Outcome.TRACEBACK, str(error)[:200]
    except Exception as error:
        return case, Outcome.TRACEBACK, repr(error)[:200]
    held = getattr(made, name)
    with contextlib.suppress(TypeError):
        if value is None or held == value or held == [value] or name == "baselines":
            return case, Outcome.RIGHT, "taken"
    return case, Outcome.WRONG, f"became {held!r}"[:200]


if __name__ == "__main__":
    main("fuzz", tries)
