"""A process that has imported what commands need, and forks one for each that is run: an import takes seconds.

`Forks` starts it and asks it; run as a script it serves. A fork's arguments, variables and working directory are those
that a process of its own would have, but for variables that libraries read when they are imported: of these it
knows HF_DATASETS_CACHE.
"""

import atexit
import gc
import itertools
import json
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


class Forked:
    """One process or several that run the same command, as `subprocess.Popen` has them."""

    def __init__(self, answers, output):
        self.output, self.returncode = output, None
        self.pids = json.loads(answers.readline())
        self.waiting = threading.Thread(target=self._await, args=(answers,), daemon=True)
        self.waiting.start()

    def _await(self, answers):
        codes = json.loads(answers.readline())
        self.returncode = next((code for code in codes if code), 0)

    def send_signal(self, number):
        """Send a signal to each of them."""
        for pid in self.pids:
            os.kill(pid, number)

    def poll(self):
        """The exit status of the first that failed, else 0; None as long as one of them runs."""
        return self.returncode

    def wait(self):
        """Wait for all of them; their exit status as of `poll`."""
        self.waiting.join()
        return self.returncode

    @property
    def stdout(self):
        """What they have printed."""
        return self.output.with_suffix(".out").read_text()

    @property
    def stderr(self):
        """What they have written to standard error."""
        return self.output.with_suffix(".err").read_text()


class Forks:
    """The process that forks; started by the first command, with the variables of then and these, and one thread."""

    def __init__(self, **variables):
        self.variables = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | variables
        self.process, self.folder = None, Path(tempfile.mkdtemp(prefix="hf-dd-forks-"))
        self.lock, self.numbers = threading.Lock(), itertools.count()

    def start(self, *arguments, processes=1, timeout=240, cwd=ROOT, **variables):
        """Start `python ARGUMENTS`; `variables` are changed ones (None removes one)."""
        place = self.folder / "socket"
        with self.lock:
            if self.process is None:
                own = os.environ | self.variables
                self.process = subprocess.Popen([sys.executable, __file__, str(place)], env=own)
            while not place.exists():
                assert self.process.poll() is None, "the process that forks ended"
                time.sleep(0.02)
        environment = os.environ | self.variables | variables
        if processes > 1:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free.getsockname()[1]}
        request = {
            "arguments": [str(argument) for argument in arguments],
            "variables": {name: str(value) for name, value in environment.items() if value is not None},
            "processes": processes,
            "timeout": timeout,
            "cwd": str(cwd),
            "output": str(output := self.folder / str(next(self.numbers))),
        }
        asking = socket.socket(socket.AF_UNIX)
        asking.connect(str(place))
        answers = asking.makefile("rw")
        answers.write(json.dumps(request) + "\n")
        answers.flush()
        return Forked(answers, output)

    def run(self, *arguments, **options):
        """`start`, and wait for the end."""
        done = self.start(*arguments, **options)
        done.wait()
        return done

    def stop(self):
        """End the process that forks."""
        if self.process:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder)


def serve(place):
    """Answer requests, each in a fork; returns in the forks alone, what one has to run."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{place}-")
        listening.listen()
        os.rename(f"{place}-", place)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a fork
        listening.settimeout(5)
        parent = os.getppid()
        while True:
            try:
                asked, _ = listening.accept()
            except TimeoutError:
                if os.getppid() != parent:  # it was killed
                    os._exit(1)
                continue
            if os.fork() == 0:
                break
            asked.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    answers = asked.makefile("rw")
    request, pids = json.loads(answers.readline()), []
    for rank in range(request["processes"]):
        if (pid := os.fork()) == 0:
            become(request, rank)
            return request["arguments"]
        pids.append(pid)
    answers.write(f"{json.dumps(pids)}\n")
    answers.flush()
    answers.write(f"{json.dumps(ended(pids, request['timeout']))}\n")
    answers.flush()
    os._exit(0)


def ended(pids, timeout):
    """The exit status of each process; all are killed where one fails, or takes too long."""
    codes, last = {}, time.monotonic() + timeout
    while len(codes) < len(pids):
        for pid in set(pids) - codes.keys():
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                codes[pid] = os.waitstatus_to_exitcode(status)
        if any(codes.values()) or time.monotonic() > last:
            for pid in set(pids) - codes.keys():
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)
    return [codes[pid] for pid in pids]


def become(request, rank):
    """Make this fork the process that was asked for."""
    import datasets

    os.setsid()
    os.environ.clear()
    os.environ.update(request["variables"])
    if request["processes"] > 1:
        own, all_of_them = str(rank), str(request["processes"])
        os.environ.update(RANK=own, LOCAL_RANK=own, WORLD_SIZE=all_of_them, LOCAL_WORLD_SIZE=all_of_them)
    if cache := os.environ.get("HF_DATASETS_CACHE"):
        datasets.config.HF_DATASETS_CACHE = Path(cache)
    sys.path[:0] = os.environ.get("PYTHONPATH", "").split(os.pathsep)  # not where the server's own script lies
    os.chdir(request["cwd"])
    for number, suffix in ((1, ".out"), (2, ".err")):
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        os.dup2(os.open(Path(request["output"]).with_suffix(suffix), flags), number)


def run(arguments):
    """What `python ARGUMENTS` does."""
    if arguments[0] == "-P":
        arguments = arguments[1:]
    elif arguments[0] in ("-m", "-c"):
        sys.path.insert(0, "")
    else:
        sys.path.insert(0, str(Path(arguments[0]).resolve().parent))
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    elif arguments[0] == "-c":
        sys.argv = ["-c", *arguments[2:]]
        exec(compile(arguments[1], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = arguments
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    import timm  # noqa: F401
    from transformers import Trainer  # noqa: F401

    from hf_dd.artefacts import provenance
    from hf_dd.artefacts.hub_metadata import template_of
    from hf_dd.core.resources import resource
    from tests.campaigns.campaign import preload

    del sys.path[0]
    preload()
    for path in resource("cards").glob("*.md"):
        template_of(path.name)
    provenance.versions()
    gc.freeze()
    arguments, code = serve(sys.argv[1]), 0
    try:
        run(arguments)
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    if isinstance(code, str):
        print(code, file=sys.stderr)
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(code if isinstance(code, int) else bool(code))  # to take the interpreter down would take seconds again
