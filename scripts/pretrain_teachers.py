# /// script
# requires-python = ">=3.11"
# dependencies = ["hf-dd"]
#
# [tool.hf-jobs]
# timeout = "4h"
# secrets = ["HF_TOKEN"]
# ///
"""Train a grid of teachers under accelerate, spread over its processes.

    accelerate launch scripts/pretrain_teachers.py
    accelerate launch scripts/pretrain_teachers.py --architectures ConvNet MLP --teacher_seeds 0 1 --push_to_hub

With no option at all it runs the recipe digits-teachers of scripts/recipes/digits.yaml. `--help` lists the options.
"""

import sys
from pathlib import Path

# Python puts this folder on its path, where evaluate.py would hide the library of that name.
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).resolve().parent]

from hf_dd.cli import main  # noqa: E402

if __name__ == "__main__":
    main(["pretrain", *sys.argv[1:]])
