"""Run `hf-dd distill` for each entry of a JSON file in turn, all in one launch: a process takes seconds to start."""

import json
import os
import sys
import time
from pathlib import Path

from hf_dd.cli import main
from hf_dd.distillation import checkpoints

list_checkpoints = checkpoints.checkpoints


def list_late(folder):
    time.sleep(2)
    return list_checkpoints(folder)


if __name__ == "__main__":
    for entry in json.loads(Path(sys.argv[1]).read_text()):
        late = entry.get("late_rank") == int(os.environ.get("RANK", "0"))
        checkpoints.checkpoints = list_late if late else list_checkpoints
        main(["distill", *entry["arguments"]])
