"""A run is alone in its process, computes what its options say whatever its caller told torch, and changes nothing."""

import importlib
import random
import threading

import numpy as np
import pytest
import torch
from torch.backends import cudnn, mkldnn

import hf_dd
from hf_dd.cli import every_command
from hf_dd.core import files
from hf_dd.core.alone import alone
from hf_dd.errors import RunError
from tests.factories import distil, parquet

NO_RUNS = {"push", "pool create", "pool diff", "pool verify", "cache ls", "cache rm"}  # nothing is computed
NO_RUNS |= {"gallery build", "gallery push", "hub serve", "hub run", "quickstart", "env"}
CONVOLUTIONS = (cudnn.conv, cudnn.rnn, mkldnn.conv, mkldnn.rnn)  # of cuDNN the first two are so by default


def in_another_thread(call):
    """What a call gives, or raises, in a thread of its own."""
    found = []

    def run():
        try:
            found.append(call())
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


@pytest.fixture
def lowered():
    """float64 by default, products and convolutions in less than float32's precision, by the fastest kernel."""
    torch.set_default_dtype(torch.float64)
    torch.set_float32_matmul_precision("medium")
    before = [each.fp32_precision for each in CONVOLUTIONS]
    for each in CONVOLUTIONS:
        each.fp32_precision = "tf32"
    cudnn.benchmark = True
    yield
    cudnn.benchmark = False
    for each, precision in zip(CONVOLUTIONS, before, strict=True):
        each.fp32_precision = precision
    torch.set_float32_matmul_precision("highest")
    torch.set_default_dtype(torch.float32)


STATES = {
    "no gradients": torch.no_grad,
    "inference": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu"),
    "another device": lambda: torch.device("meta"),
}


@pytest.mark.parametrize("state", STATES)
def test_what_a_thread_told_torch_is_kept_out(state, lowered):
    images = torch.ones(2, 2, requires_grad=True, dtype=torch.float32)
    told = torch.get_float32_matmul_precision()
    with STATES[state]():
        with alone():
            product = torch.ones(2, 2) @ images
            assert product.requires_grad and product.dtype == torch.float32 and product.device.type == "cpu"
            assert not torch.ones(1).is_inference()
            assert torch.backends.mkldnn.matmul.fp32_precision == "ieee"
            assert [each.fp32_precision for each in CONVOLUTIONS] == ["ieee"] * 4
            assert cudnn.deterministic and not cudnn.benchmark
            assert not cudnn.allow_tf32  # which torch refuses to read where the newer names say otherwise
            with cudnn.flags(enabled=False, allow_tf32=False):
                assert not cudnn.enabled
        if state == "another device":
            assert torch.ones(1).device.type == "meta"
    assert torch.ones(1).dtype == torch.float64
    assert [each.fp32_precision for each in CONVOLUTIONS] == ["tf32"] * 4
    assert cudnn.benchmark and not cudnn.deterministic and cudnn.allow_tf32
    assert torch.backends.mkldnn.matmul.fp32_precision == "bf16" and torch.get_float32_matmul_precision() == told


def test_a_distillation_is_the_same_whatever_torch_was_told_and_changes_no_draw(tmp_path, lowered):
    def draws():
        return [torch.rand(2, dtype=torch.float64).tolist(), np.random.rand(2).tolist(), random.random()]

    def seeded():
        torch.manual_seed(5), np.random.seed(5), random.seed(5)

    seeded()
    expected = draws()
    seeded()
    with torch.inference_mode(), torch.autocast("cpu"), torch.device("meta"):
        distil(tmp_path / "told", iterations=2)
    assert draws() == expected
    torch.set_default_dtype(torch.float32)
    distil(tmp_path / "plain", iterations=2)
    assert parquet(tmp_path / "told") == parquet(tmp_path / "plain")


@pytest.mark.parametrize("name", [name for name, _ in every_command() if name not in NO_RUNS])
def test_a_second_run_of_a_process_is_refused(name):
    command = dict(every_command())[name]
    place, _, function = command.run.partition(":")
    run = getattr(importlib.import_module(f"hf_dd.{place}"), function)
    with alone():
        error = in_another_thread(run)
    assert isinstance(error, RunError) and "one after the other, or each in a process of its own" in str(error)


def test_teachers_are_loaded_by_one_thread_and_a_run_may_begin_others():
    with alone():
        error = in_another_thread(lambda: hf_dd.TeacherPool.from_files([]))
        with alone():
            pass
    assert isinstance(error, RunError) and "Another thread" in str(error)


def test_a_folder_is_held_against_other_threads(tmp_path, monkeypatch):
    def claim():
        with files.claimed(tmp_path / "place"):
            return "held"

    for locks in (True, False):  # whether the disk has some
        if not locks:
            monkeypatch.setattr(files, "fcntl", None)
        with files.claimed(tmp_path / "place"):
            error = in_another_thread(claim)
            assert isinstance(error, RunError) and "Another run is writing into" in str(error)
            assert claim() == "held"
        assert in_another_thread(claim) == "held"
