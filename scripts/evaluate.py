# /// script
# requires-python = ">=3.11"
# dependencies = ["hf-dd[plots]"]
#
# [tool.hf-jobs]
# timeout = "4h"
# secrets = ["HF_TOKEN"]
# ///
"""Evaluate distilled sets under accelerate, beside random real images.

    accelerate launch scripts/evaluate.py outputs/digits-dm-ipc10
    accelerate launch scripts/evaluate.py me/digits-ipc10@v1 me/digits-ipc10@v2 --eval_students 5

`--help` lists the options.
"""

import sys
from pathlib import Path

# Python puts this folder on its path, where evaluate.py would hide the library of that name.
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).resolve().parent]

from hf_dd.cli import main  # noqa: E402

if __name__ == "__main__":
    main(["evaluate", *sys.argv[1:]])
