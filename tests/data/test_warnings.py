"""A program's filters of warnings are its own."""

import subprocess
import sys


def test_nothing_changes_what_a_program_is_warned_of():
    code = "import torch, datasets, warnings; before = list(warnings.filters); import hf_dd.data.image_data; "
    code += "assert warnings.filters == before, set(warnings.filters) - set(before)"
    subprocess.run([sys.executable, "-c", code], check=True)
