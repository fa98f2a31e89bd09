"""Tensors of others: what a file declares is known before it is read, and no network is larger than its weights."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from hf_dd.core import tensors
from hf_dd.core.tensors import Form
from hf_dd.errors import RunError

WEIGHTS = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor([1, 2])}


@pytest.fixture
def path(tmp_path):
    save_file(WEIGHTS, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def header(content):
    text = json.dumps(content).encode()
    return len(text).to_bytes(8, "little") + text


def test_what_a_file_declares_is_what_it_holds(path):
    assert tensors.declared(path) == {"a": Form((2, 3), True), "b": Form((2,), False)}
    assert {name: value.tolist() for name, value in tensors.read(path).items()} == {
        name: value.tolist() for name, value in WEIGHTS.items()
    }
    assert str(Form((2, 3), True)) == "floating [2, 3]" and tensors.numbers_in(tensors.declared(path)) == 6


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"abc",
        (2**62).to_bytes(8, "little") + b"{}",
        header({"a": {"dtype": "F32", "shape": [10**9, 1000], "data_offsets": [0, 4 * 10**12]}}),
        header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}) + b"0000",
        header({"a": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}) + b"0000",
        header([]),
        (100).to_bytes(8, "little") + b"[" * 100,
    ],
)
def test_a_file_that_is_not_whole_is_refused_by_name(path, content):
    path.write_bytes(content)
    with pytest.raises(RunError, match=f"{path} isn't a whole safetensors file"):
        tensors.read(path)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_named_by_their_tensor(path, dtype, bad):
    if dtype == torch.float8_e4m3fn:
        bad = float("nan")
    save_file({"good": torch.ones(3), "odd": torch.tensor([1.0, bad]).to(dtype)}, path)
    with pytest.raises(RunError, match=f"{path} holds numbers that aren't finite, in odd: did its training diverge"):
        tensors.read(path)


def test_large_numbers_whose_sum_is_infinite_are_finite(path):
    save_file({"a": torch.full((4,), 3e38)}, path)
    assert tensors.read(path)["a"].tolist() == pytest.approx([3e38] * 4)


def test_an_outline_takes_no_memory_and_ends_where_a_network_outgrows_its_weights():
    weights = {"weight": Form((1,), True)}
    huge = tensors.outlined(lambda: nn.Linear(10**6, 10**6), weights)
    assert tensors.form_of(huge.weight) == Form((10**6, 10**6), True) and huge.weight.is_meta
    assert not nn.Linear(2, 2).weight.is_meta
    made = []

    def layers():
        while True:
            made.append(nn.Linear(1, 1))

    with pytest.raises(RunError, match="far more layers than its 1 tensors"):
        tensors.outlined(layers, weights)
    assert len(made) < 10_100


def test_differences_are_named_and_precision_is_free():
    expected = {"a": Form((2,), True), "b": Form((1,), True), "c": Form((), False)}
    assert tensors.differences(expected, dict(expected)) == []
    found = {"a": Form((3,), True), "c": Form((), True), "d": Form((1,), True)}
    assert tensors.differences(expected, found) == [
        "a should be floating [2], is floating [3]",
        "b should be floating [1], is absent",
        "c should be whole [], is floating []",
        "d should be absent, is floating [1]",
    ]


def test_whole_numbers_called_as_floating_ones_are_unlike_whatever_stands_before():
    expected = {"x.a": Form((2,), True), "x.b": Form((), False), "c": Form((1,), True)}
    found = {"old.a": Form((2,), False), "x.b": Form((), False), "d": Form((1,), False), "m.st c": Form((1,), False)}
    assert tensors.unlike(expected, found) == [
        "old.a should be floating, is whole [2]",
        "m.st c should be floating, is whole [1]",
    ]
