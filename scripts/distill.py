# /// script
# requires-python = ">=3.11"
# dependencies = ["hf-dd[tracking]"]
#
# [tool.hf-jobs]
# timeout = "4h"
# secrets = ["HF_TOKEN"]
# ///
"""Distil a data set under accelerate.

    accelerate launch scripts/distill.py
    accelerate launch scripts/distill.py --config fashion-mnist-dm --dataset FOLDER_OF_IDX_FILES

With no option at all it runs the recipe digits-dm of scripts/recipes/digits.yaml. `--help` lists the options.
"""

import sys
from pathlib import Path

# Python puts this folder on its path, where evaluate.py would hide the library of that name.
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).resolve().parent]

from hf_dd.cli import main  # noqa: E402

if __name__ == "__main__":
    main(["distill", *sys.argv[1:]])
