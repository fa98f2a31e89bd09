"""`hf-dd`: the command line over the use cases. Nothing heavy is imported before a command is known."""

import argparse
import importlib.metadata
import logging
import os
import platform
import select
import sys
from collections.abc import Callable, Sequence

from hf_dd.errors import HfDdError
from hf_dd.version import __version__

SUMMARY = """usage: hf-dd COMMAND [options]

Dataset distillation guided by pre-trained models, on the Hugging Face Hub.

  pretrain     train a grid of teachers, one repository each, one tag per epoch
  distill      distil a data set into a folder that load_dataset reads, evaluate it, push it
  evaluate     train students on distilled sets, beside random real images
  compare      the same for several sets: a table with intervals and differences, and a plot
  study        distillations that differ in their options, cell by cell, resumable; a report on them
  import       make a folder like our own of a distilled set that another tool released
  push         push a finished folder (again): a distilled set, or a teacher
  pool         make, show, compare, verify or select pools of teachers with pinned commits
  cache        list or remove what is kept of earlier runs: decoded images, features, heads, scores
  hub          serve an embedded Hub, or run a command against one
  quickstart   the whole circle on digits and an embedded Hub, in three minutes
  env          versions and hardware, for a bug report

`hf-dd COMMAND --help` lists the options. On several processes: `accelerate launch -m hf_dd COMMAND [options]`.
"""


def pretrain(arguments: Sequence[str]) -> None:
    """Train teachers."""
    from hf_dd.config import PretrainConfig
    from hf_dd.config.parsing import parse_config

    config = parse_config(PretrainConfig, arguments, command="hf-dd pretrain", default="digits-teachers")
    from hf_dd.runs import pretrain as run

    for result in run.pretrain(config):
        print(f"teacher: {result}")


def distill(arguments: Sequence[str]) -> None:
    """Distil a data set."""
    from hf_dd.config import DistillConfig
    from hf_dd.config.parsing import parse_config

    config = parse_config(DistillConfig, arguments, command="hf-dd distill", default="digits-dm")
    from hf_dd.runs import distill as run

    artefact = run.distill(config)
    on_main_process(print, artefact)


def evaluate(arguments: Sequence[str]) -> None:
    """Evaluate distilled sets."""
    from hf_dd.config import EvaluateConfig
    from hf_dd.config.parsing import parse_config

    config = parse_config(EvaluateConfig, arguments, command="hf-dd evaluate", positional="sets")
    from hf_dd.runs import evaluate as run

    on_main_process(print, run.evaluate(config))


def compare(arguments: Sequence[str]) -> None:
    """Compare distilled sets."""
    from hf_dd.config import EvaluateConfig
    from hf_dd.config.parsing import parse_config

    config = parse_config(EvaluateConfig, arguments, command="hf-dd compare", positional="sets")
    from hf_dd.runs import evaluate as run

    folder = run.compare(config)
    on_main_process(print, (folder / "comparison.md").read_text())


def study(arguments: Sequence[str]) -> None:
    """Run a study."""
    from hf_dd.config import StudyConfig
    from hf_dd.config.parsing import parse_config

    config = parse_config(StudyConfig, arguments, command="hf-dd study", positional="study")
    from hf_dd.studies.study import study as run

    folder = run(config)
    on_main_process(print, (folder / "report.md").read_text())


def import_set(arguments: Sequence[str]) -> None:
    """Import a foreign distilled set."""
    from hf_dd.config import ImportConfig
    from hf_dd.config.parsing import parse_config

    config = parse_config(ImportConfig, arguments, command="hf-dd import", positional="foreign_set")
    from hf_dd.runs import import_set as run

    on_main_process(print, run.import_set(config))


def push(arguments: Sequence[str]) -> None:
    """Push a finished folder."""
    parser = argparse.ArgumentParser(prog="hf-dd push", description="Push a finished folder as one commit and tag it.")
    parser.add_argument("folder", help="A distilled set's folder, or a teacher's.")
    parser.add_argument("--hub_dataset_id", help="Hub id to push to; named after the run if not given.")
    parser.add_argument("--hub_tag", help="Tag of the commit; the next free of v1, v2, … if not given.")
    parser.add_argument("--hub_revision", help="Branch to push to.")
    parser.add_argument("--hub_private_repo", action="store_true", help="Create the repository as a private one.")
    parser.add_argument("--create_pr", action="store_true", help="Push as a pull request.")
    options = parser.parse_args(arguments)
    from hf_dd.artefacts import distilled_folder

    done = distilled_folder.push(
        options.folder,
        options.hub_dataset_id,
        tag=options.hub_tag,
        branch=options.hub_revision,
        private=options.hub_private_repo,
        create_pr=options.create_pr,
    )
    print(f"pushed: {getattr(done, 'pin', done)}")


def pool(arguments: Sequence[str]) -> None:
    """Make, show, compare, verify or select pools."""
    if arguments and arguments[0] == "select":
        select_pool(arguments[1:])
        return
    parser = argparse.ArgumentParser(prog="hf-dd pool", description="Pools of teachers with pinned commits.")
    actions = parser.add_subparsers(dest="action", required=True)
    create = actions.add_parser("create", help="make a collection whose notes pin the teachers' commits")
    create.add_argument("title", help="Title of the collection.")
    create.add_argument("teachers", nargs="*", help="Teachers as owner/name@revision; or look for them:")
    create.add_argument("--teacher_tags", nargs="+", default=[], help="Every Hub model with all of these tags.")
    create.add_argument("--teacher_revision", default="final", help="Revision of the models found by --teacher_tags.")
    create.add_argument("--architectures", nargs="+", default=[], help="Teachers of hf-dd of these; all if not given.")
    create.add_argument("--seeds", nargs="+", type=int, default=[], help="Their initialisations; all if not given.")
    create.add_argument("--epochs", nargs="+", default=[], help="Training epochs, or final; all epochs if not given.")
    create.add_argument("--domain", help="Data set that they were trained on, e.g. digits or owner/name.")
    create.add_argument("--owner", help="Whose repositories to look through; everybody's if not given.")
    create.add_argument("--namespace", help="Owner of the collection; the token's user if not given.")
    create.add_argument("--description", help="What the pool is, in at most 150 characters.")
    create.add_argument("--private", action="store_true", help="Make it a private collection.")
    create.add_argument("--output", metavar="FILE", help="Write the pool here as well, as a pool.json.")
    place = "A collection's slug, a pool.json, or a distilled set with one (folder or owner/name@revision)."
    show = actions.add_parser("show", help="print a pool's teachers, their commits and options")
    show.add_argument("pool", help=place)
    show.add_argument("--dataset", help="Measure the pool's diversity on this one: a Hub id, a folder, or digits.")
    diff = actions.add_parser("diff", help="print in what two pools differ: -, + and ~ (the same revision moved)")
    diff.add_argument("pools", nargs=2, metavar="pool", help=place)
    actions.add_parser("select", help="find the pool that guides best among candidates")
    verify = actions.add_parser("verify", help="check that every commit is still there and loads")
    verify.add_argument("pool", help=place)
    for action in (show, verify):
        action.add_argument(
            "--trusted_teachers", nargs="+", default=[], help="Hub ids whose pickles are read and whose code runs."
        )
    options, more = parser.parse_known_args(arguments)
    if more and (options.action != "create" or any(word.startswith("-") for word in more)):
        parser.error(f"unrecognized arguments: {' '.join(more)}")
    from hf_dd.runs import pools
    from hf_dd.teachers import pins
    from hf_dd.teachers.query import TeacherQuery

    if options.action == "create":
        query = TeacherQuery(options.architectures, options.seeds, options.epochs, options.domain, options.owner)
        named = options.teachers + more  # those after an option: argparse sees them from Python 3.13 on
        made = pools.create_pool(
            options.title,
            pools.find(named, options.teacher_tags, options.teacher_revision, query),
            namespace=options.namespace,
            private=options.private,
            output=options.output,
            **({"description": options.description} if options.description else {}),
        )
        print(f"{made.title}: {made.slug}\n{made.url}")
        for pin in pins.pins_of(made):
            print(f"  {pin.repo_id}@{pin.revision} = {pin.sha}")
    elif options.action == "show":
        print(pools.show(options.pool, options.dataset, options.trusted_teachers))
    elif options.action == "diff":
        print(pools.diff(*options.pools))
    else:
        for line in pools.verify(options.pool, options.trusted_teachers):
            print(line, flush=True)


def select_pool(arguments: Sequence[str]) -> None:
    """Find the pool that guides best."""
    from hf_dd.config import SelectConfig
    from hf_dd.config.parsing import parse_config

    config = parse_config(SelectConfig, arguments, command="hf-dd pool select")
    from hf_dd.studies import pool_search

    on_main_process(print, pool_search.select(config))


def cache(arguments: Sequence[str]) -> None:
    """List or remove what is kept."""
    parser = argparse.ArgumentParser(
        prog="hf-dd cache", description="What hf-dd keeps of earlier runs, below the cache folder of datasets."
    )
    actions = parser.add_subparsers(dest="action", required=True)
    which = "those whose name, kind, teacher or data set is one of these, where * stands for anything"
    ls = actions.add_parser("ls", help="list what is kept")
    ls.add_argument("patterns", nargs="*", help=f"List {which}; all if not given.")
    rm = actions.add_parser("rm", help="remove what is kept: it is computed again when it is needed")
    rm.add_argument("patterns", nargs="*", help=f"Remove {which}.")
    rm.add_argument("--all", action="store_true", help="Remove everything.")
    options = parser.parse_args(arguments)
    if options.action == "rm" and options.all == bool(options.patterns):
        parser.error("rm takes either what to remove, as `hf-dd cache ls` lists it, or --all")
    from hf_dd.runs import cache as caches

    print(caches.listed(options.patterns) if options.action == "ls" else caches.removed(options.patterns))


def hub(arguments: Sequence[str]) -> None:
    """Serve an embedded Hub, or run a command against one."""
    parser = argparse.ArgumentParser(prog="hf-dd hub", description="A Hub in a folder of this machine.")
    actions = parser.add_subparsers(dest="action", required=True)
    for action, text in (("serve", "serve ROOT until interrupted"), ("run", "run a command against a Hub in ROOT")):
        command = actions.add_parser(action, help=text)
        command.add_argument("root", help="Folder that holds the Hub.")
        command.add_argument(
            "--port", type=int, default=8080 if action == "serve" else 0, help="Port; 0 for a free one."
        )
        command.add_argument("--user", default="local", help="Name of the account.")
        if action == "serve":
            command.add_argument("--host", default="127.0.0.1", help="Address to listen on.")
            command.add_argument("--allow_remote", action="store_true", help="Allow an address other machines reach.")
        else:
            command.usage = "hf-dd hub run [-h] [--port PORT] [--user USER] root -- COMMAND …"
    cut = list(arguments).index("--") if "--" in arguments else len(arguments)
    options, command = parser.parse_args(arguments[:cut]), list(arguments[cut + 1 :])
    from hf_dd import local_hub

    if options.action == "serve":
        local_hub.serve(
            options.root,
            host=options.host,
            port=options.port,
            user=options.user,
            allow_remote=options.allow_remote,
            on_ready=lambda running: print(shell_exports(running.environment()), flush=True),
        )
        return
    if not command:
        parser.error("give a command after --, as in `hf-dd hub run ROOT -- hf-dd quickstart`")
    import subprocess

    with local_hub.LocalHub(options.root, port=options.port, user=options.user) as running:
        try:
            status = subprocess.run(command, env=os.environ | running.environment()).returncode
        except FileNotFoundError as error:
            raise HfDdError(f"hf-dd hub run: there is no command {command[0]!r}.") from error
    sys.exit(status)


def shell_exports(environment: dict[str, str]) -> str:
    """The environment of a client as lines that a shell can run, and a last one that says that these are all."""
    exports = [f"export {name}={value}" for name, value in environment.items()]
    return "\n".join([*exports, "# The Hub answers until it is interrupted."])


def quickstart(arguments: Sequence[str]) -> None:
    """Run the whole circle."""
    parser = argparse.ArgumentParser(prog="hf-dd quickstart", description="The whole circle on digits, offline.")
    parser.add_argument("--output_dir", default="outputs", help="Folder for everything that it makes.")
    options = parser.parse_args(arguments)
    from hf_dd.runs.quickstart import run

    run(options.output_dir)


def env(arguments: Sequence[str]) -> None:
    """Print versions and hardware."""
    argparse.ArgumentParser(prog="hf-dd env", description="Versions and hardware.").parse_args(arguments)
    import torch

    from hf_dd.artefacts.provenance import LIBRARIES
    from hf_dd.hub import endpoint

    for name in LIBRARIES:
        print(f"{name}: {importlib.metadata.version(name)}")
    print(f"python: {platform.python_version()} on {platform.platform()}")
    devices = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    print(f"devices: {', '.join(devices) or f'CPU, {torch.get_num_threads()} threads'}")
    print(f"hub: {endpoint()}")


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    function.__name__.removesuffix("_set"): function  # `import` is a word of Python's own
    for function in (pretrain, distill, evaluate, compare, study, import_set, push, pool, cache, hub, quickstart, env)
}


def on_main_process(act: Callable, *arguments: object) -> None:
    """Do something once, on the first process of a launch."""
    if int(os.environ.get("RANK", "0")) == 0:
        act(*arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; an error of ours is one line on stderr and exit status 1, without a traceback."""
    try:
        dispatch(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
    except HfDdError as error:
        sys.exit(f"hf-dd: error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        if not reader_is_gone():  # a socket's, then
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter's own flush would fail
        sys.exit(1)


def dispatch(arguments: Sequence[str]) -> None:
    """What a command line asks for."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(SUMMARY, end="")
        return
    if arguments[0] == "--version":
        print(__version__)
        return
    logging.basicConfig(format="%(message)s")
    logging.getLogger("hf_dd").setLevel(logging.INFO)
    if arguments[0] not in COMMANDS:
        raise HfDdError(f"unknown command {arguments[0]!r}; the commands are {', '.join(COMMANDS)}.")
    COMMANDS[arguments[0]](arguments[1:])


def reader_is_gone() -> bool:
    """Whether nobody reads what is printed any more, as after `hf-dd … | head`."""
    try:
        poll = select.poll()
        poll.register(sys.stdout, 0)  # POLLERR is always looked for
        return any(event & select.POLLERR for _, event in poll.poll(0))
    except (AttributeError, OSError, ValueError):  # no poll on Windows; no descriptor where output is captured
        return False


if __name__ == "__main__":
    main()
