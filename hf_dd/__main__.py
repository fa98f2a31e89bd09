"""`python -m hf_dd` and `accelerate launch -m hf_dd`: the same as `hf-dd`."""

from hf_dd.cli import main

main()
