"""The optimisers of a run take torch.optim's steps, bit for bit."""

import pytest
import torch
from torch import nn

from hf_dd.distillation.optimisers import Optimizer


def steps(optimizer, parameter, draws, count=7):
    for index in range(count):
        parameter.grad = None if index == 3 else torch.randn(parameter.shape, generator=draws, dtype=parameter.dtype)
        optimizer.step()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("how", [{}, {"momentum": 0.5}, {"betas": (0.5, 0.9)}, {"betas": (0.9, 0.999)}])
def test_the_steps_are_those_of_torch(how, dtype):
    start = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(1), dtype=dtype)
    ours, theirs = (nn.Parameter(start.clone()) for _ in range(2))
    optimizer = Optimizer(ours, 0.3, **how)
    torchs = (torch.optim.Adam if "betas" in how else torch.optim.SGD)([theirs], 0.3, **how)
    for own, parameter in ((optimizer, ours), (torchs, theirs)):
        steps(own, parameter, torch.Generator().manual_seed(2))
    assert torch.equal(ours, theirs) and not torch.equal(ours, start)
    state = torchs.state_dict()["state"].get(0, {})
    kept = {key: value for key, value in state.items() if isinstance(value, torch.Tensor)}
    assert optimizer.state.keys() == kept.keys()
    assert all(torch.equal(optimizer.state[key], value) for key, value in kept.items())
