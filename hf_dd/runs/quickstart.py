"""`hf-dd quickstart`: the whole circle against an embedded Hub, as the commands that a user would type.

Its images are letters in random colours that it draws first. The means of such images, which the method matches, say
little of the letters: here teachers help, and in a few steps.
"""

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from hf_dd.core import files
from hf_dd.core.json_records import read_json
from hf_dd.core.layout import RESULTS
from hf_dd.core.resources import resource
from hf_dd.errors import HfDdError, RunError

Say = Callable[[str], object]
NETWORK, VIEWS = "ConvNetW32", "color_crop_cutout_scale_rotate"  # narrow, and letters aren't mirrored
TEACHERS = [f"letters-{NETWORK.lower()}-seed{seed}" for seed in (0, 1)]
REVISIONS = ("epoch-4", "final")  # a sub-optimal and the last checkpoint of each run
GUIDED, PLAIN = "letters-dm-clom-ce-ipc5", "letters-dm-ipc5"
DRAWN = "--fonts pillow --side 24 --train 200 --test 100"
TRAINED = (
    f"--architectures {NETWORK} --teacher_seeds 0 1 --epochs 12 --keep_epochs 4 --learning_rate 0.05 --batch_size 64"
)
METHOD = f"--ipc 5 --iterations 140 --architecture {NETWORK} --real_batch_size 64 --factor 1 --augment {VIEWS}"
GUIDE = f"--clom ce --clom_alpha auto --clom_augment {VIEWS}"
STUDENTS = (
    f"--eval_architectures {NETWORK} --eval_students 3 --eval_epochs 150 --eval_copies float --eval_augment {VIEWS}"
)
ONE_PROCESS = "--num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no"  # else it warns
LOAD = """\
from datasets import load_dataset
train = load_dataset("local/{name}", revision="v1", split="train").with_format("torch")
print(train.features["label"].names, tuple(train[:]["pixel_values"].shape))"""


def run(output_dir: str, say: Say = print) -> None:
    """Run the circle in `output_dir`, saying every command; raises HfDdError at the first that fails."""
    root = Path(output_dir)
    files.require_writable(root)
    letters = root / "letters"
    folders = [letters, *(root / name for name in ("hub", "teachers", GUIDED, PLAIN, "evaluation"))]
    if occupied := [str(folder) for folder in folders if folder.exists()]:
        raise RunError(
            f"{', '.join(occupied)}: there already, as an earlier quickstart leaves them, finished or not. Remove "
            f"them by `{shlex.join(['rm', '-r', *occupied])}`, or give another --output_dir."
        )
    with embedded_hub(root / "hub", say) as environment:

        def shell(line: str, *names: object) -> str:
            return run_command(environment, say, *shlex.split(line), *map(str, names))

        launch = f"accelerate launch --quiet {ONE_PROCESS} --num_cpu_threads_per_process {os.cpu_count()}"
        make, distill = (shlex.quote(shown(resource("scripts", name))) for name in ("make_letters.py", "distill.py"))
        data = f"--dataset {shlex.quote(str(letters))}"
        shell(f"python {make} {DRAWN}", letters)
        shell(f"hf-dd pretrain {data} {TRAINED} --augment {VIEWS} --push_to_hub --output_dir", root / "teachers")
        references = [f"local/{name}@{revision}" for name in TEACHERS for revision in REVISIONS]
        printed = shell("hf-dd pool create", "Letters teachers", *references)
        slug = printed.splitlines()[0].rsplit(": ", 1)[1]
        shell(
            f"{launch} {distill} {data} {METHOD} {GUIDE} --teacher_pool {slug} {STUDENTS} --push_to_hub "
            f"--hub_dataset_id {GUIDED} --hub_tag v1 --output_dir",
            root / GUIDED,
        )
        shell(f"hf-dd distill {data} {METHOD} --eval_students 0 --output_dir", root / PLAIN)
        shell("python -c", LOAD.format(name=GUIDED))
        shell(
            f"hf-dd evaluate local/{GUIDED}@v1 {shlex.quote(str(root / PLAIN))} {STUDENTS} --output_dir",
            root / "evaluation",
        )
    results = read_json(root / "evaluation" / RESULTS)
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
