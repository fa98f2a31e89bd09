"""`hf-dd quickstart`: the whole circle on digits against an embedded Hub, as the commands that a user would type."""

import contextlib
import functools
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from hf_dd.core.json_records import read_json
from hf_dd.core.resources import resource
from hf_dd.errors import HfDdError, RunError

Say = Callable[[str], object]
TEACHERS = [f"digits-{architecture}-seed{seed}" for architecture in ("convnet", "mlp") for seed in (0, 1)]
REVISIONS = ("epoch-4", "final")  # a sub-optimal and the converged checkpoint of each run
GUIDED, PLAIN = "digits-dm-clom-ce-ipc1", "digits-dm-ipc1"
LOAD = """\
from datasets import load_dataset
train = load_dataset("local/{name}", revision="v1", split="train").with_format("torch")
print(train.features["label"].names, tuple(train[:]["pixel_values"].shape))"""


def run(output_dir: str, say: Say = print) -> None:
    """Run the circle in `output_dir`, saying every command; raises HfDdError at the first that fails."""
    root = Path(output_dir)
    folders = [root / name for name in ("hub", "teachers", GUIDED, PLAIN, "evaluation")]
    if occupied := [str(folder) for folder in folders if folder.exists()]:
        raise RunError(f"{', '.join(occupied)}: remove what an earlier quickstart left, or give another --output_dir.")
    with embedded_hub(root / "hub", say) as environment:
        shell = functools.partial(run_command, environment, say)
        launch = ["accelerate", "launch", "--quiet", "--num_cpu_threads_per_process", str(os.cpu_count())]
        scripts = {name: shown(resource("scripts", f"{name}.py")) for name in ("pretrain_teachers", "distill")}
        shell(
            *launch, scripts["pretrain_teachers"], "--config", "digits-teachers", "--output_dir", f"{root}/teachers",
            "--push_to_hub",
        )  # fmt: skip
        references = [f"local/{name}@{revision}" for name in TEACHERS for revision in REVISIONS]
        printed = shell("hf-dd", "pool", "create", "Digits teachers", *references)
        slug = printed.splitlines()[0].rsplit(": ", 1)[1]
        shell(
            *launch, scripts["distill"], "--config", "digits-dm-clom", "--teacher_pool", slug,
            "--output_dir", f"{root}/{GUIDED}", "--push_to_hub", "--hub_dataset_id", GUIDED, "--hub_tag", "v1",
        )  # fmt: skip
        shell(
            *launch, scripts["distill"], "--config", "digits-dm", "--output_dir", f"{root}/{PLAIN}",
            "--eval_students", "0",
        )  # fmt: skip
        shell("python", "-c", LOAD.format(name=GUIDED))
        shell(
            "hf-dd", "evaluate", f"local/{GUIDED}@v1", f"{root}/{PLAIN}", "--config", "digits-evaluation",
            "--output_dir", f"{root}/evaluation",
        )  # fmt: skip
    results = read_json(root / "evaluation" / "results.json")
    say("\n" + table(results))
    say(f"card:    {root / GUIDED / 'README.md'}\npreview: {root / GUIDED / 'preview.png'}")


def table(results: dict) -> str:
    """The rows of an evaluation as a small text table."""
    lines = [f"{'set':<36} {'copy':<6} {'accuracy':>16}   n"]
    for row in results["rows"]:
        spread = f"± {row['std']:5.2f} %" if row["n"] > 1 else f"{'%':>9}"
        lines.append(f"{row['set']:<36} {row['copy']:<6} {row['mean']:7.2f} {spread}  {row['n']:>2}")
    return "\n".join(lines)


def shown(path: Path) -> str:
    """A path as a user would type it: relative where that is shorter."""
    with contextlib.suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)


def run_command(environment: dict[str, str], say: Say, *command: str) -> str:
    """Run a command of this Python's, as a client of the embedded Hub, and return what it printed.

    Says the command before it runs, and what it printed. Raises RunError, with its output, when it fails.
    """
    say(f"\n$ {shlex.join(command)}")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    program = shutil.which(command[0], path=path) or command[0]
    own = os.environ | environment | {"PATH": path}
    done = subprocess.run([program, *command[1:]], env=own, stdout=subprocess.PIPE, text=True, errors="replace")
    say(done.stdout.rstrip())
    if done.returncode:
        raise RunError(f"{shlex.join(command[:3])} … ended with status {done.returncode}.")
    return done.stdout


@contextlib.contextmanager
def embedded_hub(root: Path, say: Say) -> Iterator[dict[str, str]]:
    """`hf-dd hub serve ROOT` in the background; yields its clients' environment and ends it afterwards."""
    command = ["hf-dd", "hub", "serve", str(root), "--port", "0"]
    say(f"$ {shlex.join(command)} &")
    root.parent.mkdir(parents=True, exist_ok=True)
    server = subprocess.Popen([sys.executable, "-m", "hf_dd", *command[1:]], stdout=subprocess.PIPE, text=True)
    try:
        environment = {}
        for line in server.stdout:
            say(line.rstrip())
            if line.startswith("export "):
                name, _, value = line.removeprefix("export ").rstrip().partition("=")
                environment[name] = value
            elif environment:  # the line after them
                break
        else:
            raise HfDdError("The embedded Hub didn't start; its message is above.")
        yield environment
    finally:
        server.terminate()
        server.wait()
