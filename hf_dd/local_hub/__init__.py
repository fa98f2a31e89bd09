"""A small Hugging Face Hub for one machine: real git repositories, LFS, collections, in a folder.

It speaks the part of the Hub's HTTP API that `huggingface_hub`, `datasets`, `transformers` and `timm` call, so that
the real clients run against it unchanged. `LocalHub` runs it in a thread, `serve` in the foreground.
Needs the extra: ``pip install "hf-dd[local-hub]"``.
"""

from hf_dd.errors import HubError

try:
    import dulwich  # noqa: F401
    import starlette  # noqa: F401
    import uvicorn  # noqa: F401
except ImportError as error:
    raise HubError(f'The local Hub needs {error.name}, which is missing: pip install "hf-dd[local-hub]"') from error

from hf_dd.local_hub.app import create_app
from hf_dd.local_hub.server import LocalHub, serve

__all__ = ["LocalHub", "create_app", "serve"]
