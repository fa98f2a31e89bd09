"""What a run learns (the synthetic set's parameters, whatever the objective learns beside them), each optimised."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hf_dd.objectives import Learnable
from hf_dd.synthetic.synthetic_set import SyntheticSet

EPSILON = 1e-8  # of Adam, torch.optim's


class Optimizer:
    """SGD with momentum, or Adam where there are betas, of one parameter: step by step what torch.optim computes.

    The first optimiser of torch.optim imports torch._dynamo, which takes a third of a short run's time and 150 MB.

    Args:
        parameter: changed in place, by its gradient.
        rate: the learning rate.
        momentum: of SGD.
        betas: of Adam.
    """

    def __init__(
        self, parameter: Tensor, rate: float, momentum: float = 0.0, betas: tuple[float, float] | None = None
    ):
        self.parameter, self.rate, self.momentum, self.betas = parameter, rate, momentum, betas
        self.state: dict[str, Tensor] = {}

    @property
    def kept(self) -> tuple[str, ...]:
        """The names of its state, which is all there from its first step on."""
        if self.betas is None:
            return ("momentum_buffer",) if self.momentum else ()
        return ("step", "exp_avg", "exp_avg_sq")

    @torch.no_grad()
    def step(self) -> None:
        """A step, if there is a gradient."""
        gradient, state = self.parameter.grad, self.state
        if gradient is None:
            return
        if self.betas is None:
            if self.momentum and "momentum_buffer" in state:
                state["momentum_buffer"].mul_(self.momentum).add_(gradient)
            elif self.momentum:
                state["momentum_buffer"] = gradient.clone()
            self.parameter.add_(state.get("momentum_buffer", gradient), alpha=-self.rate)
            return
        if not state:
            state |= {"step": torch.tensor(0.0), "exp_avg": torch.zeros_like(gradient)}
            state["exp_avg_sq"] = torch.zeros_like(gradient)
        state["step"] += 1
        state["exp_avg"].lerp_(gradient, 1 - self.betas[0])
        state["exp_avg_sq"].mul_(self.betas[1]).addcmul_(gradient, gradient, value=1 - self.betas[1])
        first, second = (1 - beta ** state["step"].item() for beta in self.betas)
        scale = (state["exp_avg_sq"].sqrt() / second**0.5).add_(EPSILON)
        self.parameter.addcdiv_(state["exp_avg"], scale, value=-self.rate / first)


class Learned:
    """Named parameters, each with its own optimiser.

    Args:
        synthetic: the set; its parameters take the image options of `settings`.
        learnables: of the objective; each takes SGD steps at its own rate, with its own or the images' momentum.
        settings: the run's options with the published values filled in. Without an `image_optimizer` nothing is
            learned.
        betas: of Adam.
        buffers: of the objective: not learned, but kept.
    """

    def __init__(
        self,
        synthetic: SyntheticSet,
        learnables: Mapping[str, Learnable],
        settings: Mapping[str, Any],
        betas: tuple[float, float],
        buffers: Mapping[str, Tensor],
    ):
        self.synthetic = synthetic
        self.parameters: dict[str, nn.Parameter] = dict(synthetic.named_parameters())
        self.buffers = {f"buffer.{name}": tensor for name, tensor in buffers.items()}
        self.iterations = settings["iterations"]
        self.cosine = settings["image_schedule"] == "cosine"
        self.rate = settings["image_learning_rate"]
        momentum = settings["image_momentum"] or 0.0
        self.optimizers: dict[str, Optimizer] = {}
        if kind := settings["image_optimizer"]:
            how = {"betas": betas} if kind == "adam" else {"momentum": momentum}
            self.optimizers = {name: Optimizer(value, self.rate, **how) for name, value in self.parameters.items()}
        self.of_images = tuple(self.optimizers.values())
        for name, learnable in learnables.items():
            self.parameters[name] = learnable.parameter
            own = momentum if learnable.momentum is None else learnable.momentum
            self.optimizers[name] = Optimizer(learnable.parameter, learnable.learning_rate, own)

    def begin(self, index: int, anew: bool = False) -> None:
        """Prepare the set for an iteration, and set its learning rate; `anew` where its images have become others."""
        others = self.synthetic.begin(index) or anew
        for optimizer in self.of_images:
            if others:  # what an optimiser remembers is of parameters that are no more
                optimizer.state.clear()
            if self.cosine:
                optimizer.rate = self.rate * (1 + math.cos(math.pi * index / self.iterations)) / 2

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for parameter in self.parameters.values():
            parameter.grad = None

    def step(self) -> None:
        """One step of every optimiser whose parameter has a gradient."""
        for optimizer in self.optimizers.values():
            optimizer.step()

    def all_finite(self) -> Tensor:
        """Whether all parameters are finite numbers, a bool on their device."""
        return torch.stack([torch.isfinite(parameter).all() for parameter in self.parameters.values()]).all()

    def kept(self) -> dict[str, Tensor]:
        """The parameters and the buffers by name: what every checkpoint has to hold."""
        return {**self.parameters, **self.buffers}

    def tensors(self) -> dict[str, Tensor]:
        """The parameters, the buffers and the optimisers' states by name, on the CPU."""
        found = {name: value.detach() for name, value in self.kept().items()}
        for name, optimizer in self.optimizers.items():
            found |= {f"optimizer.{name}.{key}": value for key, value in optimizer.state.items()}
        return {name: value.cpu().contiguous() for name, value in found.items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `tensors` gave, in place; raises KeyError where a parameter or a buffer is missing."""
        with torch.no_grad():
            for name, value in self.kept().items():
                value.copy_(tensors[name])
        for name, optimizer in self.optimizers.items():
            prefix = f"optimizer.{name}."
            state = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
            device = optimizer.parameter.device
            optimizer.state = {key: value.to("cpu" if key == "step" else device) for key, value in state.items()}
