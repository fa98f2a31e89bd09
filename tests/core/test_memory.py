"""What doesn't fit into memory is one error, and nothing else is taken for it."""

import pytest
import torch

from hf_dd.config import DistillConfig
from hf_dd.config.base import less_memory
from hf_dd.config.commands import EnvOptions
from hf_dd.config.uses import SearchConfig
from hf_dd.core.alone import alone
from hf_dd.core.memory import within_memory
from hf_dd.errors import RunError


def large():
    return torch.empty(10**18)


def larger():
    return torch.empty(2**62, 2**62)


def of_an_accelerator():
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has …")


def of_python():
    raise MemoryError


@pytest.mark.parametrize("ask", [large, larger, of_an_accelerator, of_python])
def test_a_lack_of_memory_names_the_options_that_take_it(ask):
    with pytest.raises(RunError, match=r"too little memory for that \(.+\)\. Less is .* of --ipc\.$") as error:
        with within_memory(" Less is taken by smaller values of --ipc."):
            ask()
    assert len(str(error.value)) < 400 and "\n" not in str(error.value)
    with pytest.raises(RunError, match=r"too little memory for that \(.+\)\.$"), within_memory():
        ask()


def test_what_was_asked_for_says_what_takes_less():
    with pytest.raises(RunError, match=r"\)\. Less by the study\.$"), alone(" Less by the study."):
        with alone(" Less by its run."):
            of_python()
    with pytest.raises(RunError, match=r"\)\. Less by its run\.$"), alone(" Less by its run."):
        of_python()


def test_the_options_that_take_memory_are_named():
    assert less_memory(SearchConfig) == " Less is taken by smaller values of --image_size, --widths."
    guide = "--soft_label_views, --clom_batch, --clom_real_batch"
    assert less_memory(DistillConfig()) == (
        f" Less is taken by smaller values of --image_size, --ipc, --architecture_options, --factor, {guide}, "
        "--real_batch_size, --eval_students. What was begun is replaced by --overwrite_output_dir."
    )
    assert less_memory(EnvOptions) == ""


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="mat1 and mat2"), within_memory():
        torch.ones(2, 3) @ torch.ones(2, 3)
