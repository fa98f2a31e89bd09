"""What the scripts that measure share: commands of hf-dd, what made a table, and the table's files."""

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

from hf_dd.artefacts.provenance import versions
from hf_dd.core import files


def run(*words):
    """Run `hf-dd …` as one would type it; returns the seconds, CPU seconds and peak bytes of its process."""
    words = list(map(str, words))
    print("$", shlex.join(words), flush=True)
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "hf_dd", *words[1:]])
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(words[:2])} ended with {process.returncode}.")
    unit = 1 if sys.platform == "darwin" else 1024  # of the kernel's count
    took = {"seconds": time.monotonic() - started, "cpu_seconds": used.ru_utime + used.ru_stime}
    return took | {"peak_bytes": used.ru_maxrss * unit}


def shown(words):
    """A command as it is told: of absolute paths the last part."""
    told = []
    for word in words:
        name, sign, place = word.rpartition("=")
        told.append(f"{name}{sign}{Path(place).name if Path(place).is_absolute() else place}")
    return shlex.join(told)


def called(script):
    """The call of this script, as it is told."""
    return shown(["python", f"scripts/{script}.py", *sys.argv[1:]])


def code():
    """The version of hf_dd that runs, with its commit."""
    return f"hf-dd {versions()['hf-dd']}"


def write(place, content, text):
    """Write a table as `place`.json and `place`.md, and print it."""
    files.write_text(place.with_suffix(".json"), json.dumps(content, indent=2) + "\n")
    files.write_text(place.with_suffix(".md"), text.rstrip() + "\n")
    print(text)
