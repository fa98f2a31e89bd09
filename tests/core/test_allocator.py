"""The allocator keeps what a loop frees: counted in page faults of a process of its own."""

import platform

import pytest

ALLOCATE = """
import resource, sys
import torch
from hf_dd.core.allocator import keep_freed_memory

print(keep_freed_memory() if sys.argv[1] == "keep" else "default")
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def step():
    return torch.ones(64 << 20, dtype=torch.uint8)
for _ in range(12):  # until the heap has found a place for it
    step()
before = faults()
for _ in range(4):
    step()
print(faults() - before)
"""
GLIBC = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has the setting")


@GLIBC
def test_freed_memory_is_used_again(run_python):
    said, faults = run_python("-c", ALLOCATE, "keep").stdout.split()
    assert (said, int(faults) < 1_000) == ("True", True)
    said, faults = run_python("-c", ALLOCATE, "default").stdout.split()
    assert said == "default"
    assert int(faults) > 4 * (64 << 20) // (2 << 20)  # at least a fault for each huge page, each time


@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES"])
def test_the_users_setting_wins(run_python, name):
    said, _ = run_python("-c", ALLOCATE, "keep", **{name: ""}).stdout.split()
    assert said == "False"
