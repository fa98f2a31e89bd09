"""bf16 where a device has instructions for it; float32 where it could only imitate them."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch

Autocast = Callable[[], AbstractContextManager]  # makes the context of networks' forward passes

logger = logging.getLogger(__name__)


def has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies in bf16 by itself.

    A CPU that doesn't (x86 without AVX-512, for one) takes many times as long for a convolution in bf16 as for one in
    float32. GPUs older than Ampere imitate it too.
    """
    if device.type == "cpu":
        instructions = torch.backends.cpu.get_cpu_capability()
        return torch.backends.mkldnn.is_available() and instructions.startswith(("AVX512", "SVE"))
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return True  # accelerate refuses it where others don't have it


def worthwhile(mixed_precision: str, device: torch.device) -> str:
    """The precision that is asked for; "no", with a warning, for bf16 on a device that hasn't got it."""
    if mixed_precision != "bf16" or has_bf16(device):
        return mixed_precision
    logger.warning("This %s has no instructions for bf16: computing in float32 instead.", device.type.upper())
    return "no"
