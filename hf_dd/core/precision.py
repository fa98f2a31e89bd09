"""bf16 where a device has instructions for it; float32 where it could only imitate them."""

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
import torch.nn.functional as F

Autocast = Callable[[], AbstractContextManager]  # makes the context of networks' forward passes

GAIN = 1.25  # times as fast as float32 has bf16 to be, to be taken without being asked for
TRIED = 3  # passes of each, of which the fastest counts
TRIED_ON = 64, 128, 16, 16  # images, channels, height, width

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


def bf16_is_faster(device: torch.device) -> bool:
    """Whether a convolution of 128 channels and its gradient take clearly less time in bf16, by the clock."""
    if not has_bf16(device):
        return False
    images = torch.zeros(TRIED_ON, device=device, requires_grad=True)
    weight = torch.zeros(TRIED_ON[1], TRIED_ON[1], 3, 3, device=device, requires_grad=True)

    def seconds(in_bf16: bool) -> float:
        started = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=in_bf16):
            F.conv2d(images, weight, padding=1).float().sum().backward()
        images.grad.flatten()[0].item()  # when it has been computed
        return time.perf_counter() - started

    full, half = (min(seconds(in_bf16) for _ in range(1 + TRIED)) for in_bf16 in (False, True))
    return full >= GAIN * half
