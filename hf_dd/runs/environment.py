"""What a bug report has to say of a machine."""

import platform
from collections.abc import Iterator

import torch

from hf_dd.artefacts.provenance import LIBRARIES, version_of
from hf_dd.config.commands import EnvOptions
from hf_dd.core.machine import cpu
from hf_dd.core.text import plural
from hf_dd.hub import endpoint


def environment(_: EnvOptions) -> Iterator[str]:
    """Versions and hardware."""
    for name in LIBRARIES:
        yield f"{name}: {version_of(name)}"
    yield f"python: {platform.python_version()} on {platform.platform()}"
    devices = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    threads = plural(torch.get_num_threads(), "thread")
    yield f"devices: {', '.join(devices) or f'{cpu()}, {threads}'}"
    yield f"hub: {endpoint()}"
