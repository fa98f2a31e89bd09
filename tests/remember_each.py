"""Run `hf-dd` for each entry of a JSON file in turn, all in one launch whose ranks see different disks.

What each rank's teachers have seen goes into `seen-RANK.json`: for each entry, of how many images they made features.
"""

import json
import os
import sys
from pathlib import Path

import datasets

from hf_dd.cli import main
from hf_dd.data import batches
from hf_dd.teachers.teacher import Teacher

root, rank = Path(sys.argv[1]), os.environ["RANK"]
datasets.config.HF_DATASETS_CACHE = root / f"cache-{rank}"

features, count = Teacher.features, [0]


def counting(self, images):
    count[0] += len(images)
    return features(self, images)


if __name__ == "__main__":
    Teacher.features, seen = counting, {}
    batches.CHUNK_PIXELS_ON_CPU = 100 * 8 * 8  # digits are more than one chunk
    for name, arguments in json.loads((root / "runs.json").read_text()).items():
        count[0] = 0
        main(arguments)
        seen[name] = count[0]
    (root / f"seen-{rank}.json").write_text(json.dumps(seen))
