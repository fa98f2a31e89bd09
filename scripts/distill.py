"""Distil a data set under accelerate.

    accelerate launch scripts/distill.py
    accelerate launch scripts/distill.py --config fashion-mnist-dm --dataset FOLDER_OF_IDX_FILES

With no option at all it runs the recipe scripts/recipes/digits-dm.yaml. `--help` lists the options.
"""

import sys

from hf_dd.cli import main

if __name__ == "__main__":
    main(["distill", *sys.argv[1:]])
