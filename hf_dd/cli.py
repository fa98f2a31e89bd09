"""`hf-dd`: the command line over the use cases. Nothing heavy is imported before a command is known."""

import contextlib
import errno
import importlib
import io
import logging
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hf_dd import config as configs
from hf_dd.config import commands, gallery, reproduction, uses
from hf_dd.config.base import shown
from hf_dd.core import progress
from hf_dd.core.clock import command_begins
from hf_dd.core.memory import within_memory
from hf_dd.core.signals import ended_in_order, reader_is_gone
from hf_dd.errors import ConfigError, HfDdError, RunError, plain
from hf_dd.version import __version__

ABOUT = "Dataset distillation guided by pre-trained models, on the Hugging Face Hub."
# Why a place can't even be looked at, which no check of whether it is there foresees.
CLOSED = (errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ELOOP)


class Command(NamedTuple):
    """A command.

    Attributes:
        about: what it does, in a line.
        options: the config that its command line fills.
        run: what is called with that: the place of a function, which is imported then, or one of this module.
        shown: makes of its result what is printed, a text or an iterator of lines.
        recipe: of a command line without any option.
        everywhere: whether every process prints what it gives, and not the main process alone.
        prompt: whether it imports no torch; all others take some seconds to begin.
    """

    about: str
    options: type
    run: str | Callable[[Any], object]
    shown: Callable[[Any], object] = lambda result: result
    recipe: str | None = None
    everywhere: bool = False
    prompt: bool = False


class Actions(NamedTuple):
    """A command of several actions, each a command."""

    about: str
    actions: Mapping[str, Command]


def serve_hub(options: commands.HubServeOptions) -> None:
    """Serve an embedded Hub."""
    from hf_dd import local_hub
    from hf_dd.gallery.space import front_page

    def say(running: local_hub.LocalHub) -> None:
        exports = [f"export {name}={shlex.quote(value)}" for name, value in running.environment().items()]
        printed("\n".join([*exports, "# The Hub answers until it is interrupted."]))

    account = {"user": options.user, "token": options.token}
    place = {"host": options.host, "port": options.port, "allow_remote": options.allow_remote}
    local_hub.serve(options.root, on_ready=say, home=front_page(), **account, **place)


def run_in_hub(options: commands.HubRunOptions) -> None:
    """Run a command against an embedded Hub, and end as it ends."""
    from hf_dd import local_hub

    name = options.command[0]
    if shutil.which(name) is None:
        wrong = "isn't a file that can be run" if os.path.lexists(name) else "isn't there"
        raise HfDdError(f"hf-dd hub run: the command {name!r} {wrong}.")
    with local_hub.LocalHub(options.root, port=options.port, user=options.user) as running:
        try:
            command = subprocess.Popen(options.command, env=os.environ | running.environment())
        except (OSError, ValueError) as error:  # a script without its first line, or NUL in a word
            raise HfDdError(f"hf-dd hub run: the command {name!r} can't be run: {error}") from error
        # A terminal's Ctrl-C reaches the command by itself, a SIGTERM only us. The Hub ends after the command.
        handlers = {signal.SIGINT: signal.SIG_IGN, signal.SIGTERM: lambda *_: command.terminate()}
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        status = command.wait()
        for number, handler in before.items():
            signal.signal(number, handler)
    sys.exit(status if status >= 0 else 128 - status)  # as shells tell of a signal


def run_quickstart(options: commands.QuickstartOptions) -> None:
    """Run the quickstart, which prints each command before it runs."""
    from hf_dd.runs import quickstart

    quickstart.run(options.output_dir, printed)


def text_of(name: str) -> Callable[[Path], str]:
    """Gives the text of the file of this name in a folder."""
    return lambda folder: (folder / name).read_text(encoding="utf-8")


def told(verdict: Any) -> Iterator[str]:
    """What a reproduction found, a line each; raises RunError after the last one where it doesn't hold."""
    yield from verdict.lines()
    if not verdict.holds:
        found = "doesn't hold" if verdict.judged else "can't be judged"
        raise RunError(f"{verdict.set} {found}: {verdict.says}.")


POOL = {
    "create": Command("make a collection whose notes pin commits", commands.PoolCreateOptions, "runs.pools:create"),
    "show": Command(
        "print its teachers, their commits and options",
        commands.PoolShowOptions,
        "runs.pools:show",
    ),
    "diff": Command(
        "print in what two differ: -, + and ~ (the same revision moved)",
        commands.PoolDiffOptions,
        "runs.pools:diff",
    ),
    "select": Command(
        "find the one that guides best among candidates", configs.SelectConfig, "studies.pool_search:select"
    ),
    "verify": Command(
        "check that every commit is still there and loads",
        commands.PoolVerifyOptions,
        "runs.pools:verify",
    ),
}
COMMANDS: dict[str, Command | Actions] = {
    "pretrain": Command(
        "train a grid of teachers, one repository each, one tag per epoch",
        configs.PretrainConfig,
        "runs.pretrain:pretrain",
        lambda found: (f"teacher: {each}" for each in found),
        recipe="digits-teachers",
        everywhere=True,
    ),
    "distill": Command(
        "distil a data set into a folder that load_dataset reads, evaluate it, push it",
        configs.DistillConfig,
        "runs.distill:distill",
        recipe="digits-dm",
    ),
    "evaluate": Command(
        "train students on distilled sets, beside random real images",
        configs.EvaluateConfig,
        "runs.evaluate:evaluate",
    ),
    "compare": Command(
        "the same for several sets: a table with intervals and differences, and a plot",
        configs.EvaluateConfig,
        "runs.evaluate:compare",
        text_of("comparison.md"),
    ),
    "study": Command(
        "distillations that differ in their options, cell by cell, resumable; a report on them",
        configs.StudyConfig,
        "studies.study:study",
        text_of("report.md"),
    ),
    "reproduce": Command(
        "make a distilled set, a teacher or a study again from its record alone, and compare",
        reproduction.ReproduceConfig,
        "studies.reproduction:reproduce",
        told,
    ),
    "import": Command(
        "make a folder like our own of a distilled set that another tool released",
        configs.ImportConfig,
        "runs.import_set:import_set",
    ),
    "push": Command(
        "push a finished folder (again): a distilled set, or a teacher", commands.PushOptions, "runs.push:push"
    ),
    "pool": Actions("make, show, compare, verify or select pools of teachers with pinned commits", POOL),
    "cache": Actions(
        "list or remove what is kept of earlier runs: decoded images, features, heads, scores",
        {
            "ls": Command("list what is kept", commands.CacheListOptions, "runs.cache:listed"),
            "rm": Command(
                "remove what is kept: it is computed again when it is needed",
                commands.CacheRemoveOptions,
                "runs.cache:removed",
            ),
        },
    ),
    "gallery": Actions(
        "make pages to look at distilled sets, or put them up as a Space",
        {
            "build": Command("make a folder of pages", gallery.GalleryBuildOptions, "gallery.site:build", prompt=True),
            "push": Command(
                "put the pages up as a static Space", gallery.GalleryPushOptions, "gallery.space:push", prompt=True
            ),
        },
    ),
    "hub": Actions(
        "serve an embedded Hub, or run a command against one",
        {
            "serve": Command("serve ROOT until interrupted", commands.HubServeOptions, serve_hub, prompt=True),
            "run": Command("run a command against a Hub in ROOT", commands.HubRunOptions, run_in_hub, prompt=True),
        },
    ),
    "use": Actions(
        "measure what a distilled set is for, beside real images: continual learning, architecture search, privacy",
        {
            "continual": Command(
                "learn classes step by step from memories of the same bytes",
                uses.ContinualConfig,
                "uses.continual:continual",
                text_of("results.md"),
            ),
            "search": Command(
                "order networks by their accuracies on the set, and on the full one",
                uses.SearchConfig,
                "uses.search:search",
                text_of("results.md"),
            ),
            "privacy": Command(
                "guess which images it was made from, and look for copies among its own",
                uses.PrivacyConfig,
                "uses.privacy:privacy",
                text_of("results.md"),
            ),
        },
    ),
    "quickstart": Command(
        "the whole circle on drawn letters and an embedded Hub, in a few minutes",
        commands.QuickstartOptions,
        run_quickstart,
        prompt=True,
    ),
    "env": Command("versions and hardware, for a bug report", commands.EnvOptions, "runs.environment:environment"),
}


def every_command(of: Mapping[str, Command | Actions] = COMMANDS) -> Iterator[tuple[str, Command]]:
    """All commands, those of several actions one by one: `pool create`, with what it does."""
    for name, command in of.items():
        if isinstance(command, Actions):
            yield from ((f"{name} {action}", own) for action, own in every_command(command.actions))
        else:
            yield name, command


class Plain(logging.Formatter):
    """Messages as a terminal shows them."""

    def format(self, record: logging.LogRecord) -> str:
        """The message, with what names of others hold spelt out."""
        return plain(super().format(record), lines=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; an error of ours is one line on stderr and exit status 1, without a traceback.

    An error in options or environment occurs on every process; only the first one prints it. A signal that ends the
    command ends it in order: what isn't whole is removed, and the exit status is 128 and its number.
    """
    command_begins()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not where it is closed, or somebody's own
            stream.reconfigure(errors="backslashreplace")  # of an encoding that lacks "±"
    try:
        with ended_in_order():
            dispatch(list(sys.argv[1:] if arguments is None else arguments))
            with printing():  # what others have printed
                if sys.stdout is not None:
                    sys.stdout.flush()
    except HfDdError as error:
        shows = progress.is_first_process() or not isinstance(error, ConfigError)
        sys.exit(f"hf-dd: error: {error}" if shows else 1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        if not reader_is_gone():  # a socket's, then
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter's own flush would fail
        sys.exit(1)
    except OSError as error:
        if error.errno not in CLOSED or not isinstance(error.filename, str | bytes):
            raise
        place = shown(os.fsdecode(error.filename))
        sys.exit(f"hf-dd: error: {place} can't be looked at: {error.strerror}. Name a file, a folder or a repository.")


def dispatch(arguments: Sequence[str]) -> None:
    """Do what a command line asks for."""
    if arguments[:1] == ["--version"]:
        printed(__version__)
        return
    handler = progress.AboveBars()
    handler.setFormatter(Plain("%(message)s"))
    handler.addFilter(lambda record: not record.name.startswith("huggingface_hub"))  # which prints by its own
    logging.basicConfig(handlers=[handler])
    logging.getLogger("hf_dd").setLevel(logging.INFO)
    command: Command | Actions = Actions(ABOUT, COMMANDS)
    words, rest = ["hf-dd"], list(arguments) or ["--help"]
    while isinstance(command, Actions):
        known, noun = command.actions, "command" if len(words) == 1 else "action"
        if rest and rest[0] in ("-h", "--help"):
            printed(summary(" ".join(words), noun, command))
            return
        if not rest or rest[0] not in known:
            given = f"unknown {noun} {rest[0]!r}" if rest else f"`{' '.join(words)}` needs an {noun}"
            raise ConfigError(f"{given}; the {noun}s are {', '.join(known)}.")
        words.append(rest[0])
        command = known[rest.pop(0)]
    from hf_dd.config.base import less_memory
    from hf_dd.config.parsing import help_asked, parse_config

    if text := help_asked(command.options, rest, command=" ".join(words)):
        printed(text.rstrip())
        return
    options, run = parse_config(command.options, rest, command=" ".join(words), default=command.recipe), command.run
    if not command.prompt:
        progress.quieten_clients()
        progress.say("%s: loading libraries", " ".join(words))
    if isinstance(run, str):
        place, _, name = run.partition(":")
        run = getattr(importlib.import_module(f"hf_dd.{place}"), name)
    with within_memory(less_memory(options)):
        lines = command.shown(run(options))
    for line in lines if isinstance(lines, Iterator) else [lines]:
        if line is not None and (command.everywhere or progress.is_first_process()):
            printed(line)


def printed(line: object) -> None:
    """Print a line; raises RunError as `printing` does."""
    with printing():
        print(plain(str(line), lines=True), flush=True)


@contextlib.contextmanager
def printing() -> Iterator[None]:
    """Let a standard output that can't be written, as on a full disk, be a RunError."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter's own flush would fail
        raise RunError(f"the standard output can't be written: {error.strerror}.") from error


def summary(name: str, noun: str, command: Actions) -> str:
    """The help of what has several commands, or actions."""
    longest = max(map(len, command.actions)) + 2
    lines = [f"usage: {name} {noun.upper()} [options]", "", command.about, ""]
    lines += [f"  {each:<{longest}} {own.about}" for each, own in command.actions.items()]
    lines += ["", f"`{name} {noun.upper()} --help` lists the options."]
    if noun == "command":
        lines += ["On several processes: `accelerate launch -m hf_dd COMMAND [options]`."]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
