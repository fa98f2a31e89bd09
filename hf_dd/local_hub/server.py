"""The Hub as a running server: in a thread (`LocalHub`) or in the foreground (`serve`)."""

import ipaddress
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import uvicorn

from hf_dd.errors import ConfigError, HubError
from hf_dd.local_hub.accounts import Accounts
from hf_dd.local_hub.app import create_app
from hf_dd.local_hub.protocol import Protocol

LOOPBACK_TOKEN = "hf_local"  # of a server that only this machine reaches, so that clients needn't be told a new one
_SHUTDOWN_SECONDS = 10


class LocalHub:
    """A Hub in the folder `root` that runs in a background thread between `start` and `stop` (or in a `with` block).

    Port 0 picks a free one. `user` with `token` is the first account; `users` adds more (`{name: token}`), `orgs`
    names organizations and their members. Tokens aren't stored: who starts the server says who may use it. The
    server speaks plain HTTP, so a `host` that other machines can reach is refused unless `allow_remote`; then the
    first account's token is a random one if none is given, and `hf_local` is refused, which everybody knows. `home` is
    an HTML page for `/`, in place of the list of repositories; it says itself what its script may do.

    Raises `ConfigError` for such a host, an impossible port or accounts that can't be, `HubError` if the folder or
    the port can't be used.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        host: str = "127.0.0.1",
        port: int = 0,
        user: str = "local",
        token: str | None = None,
        users: dict[str, str] | None = None,
        orgs: dict[str, list[str]] | None = None,
        *,
        allow_remote: bool = False,
        home: str | None = None,
    ):
        self.root = Path(root).resolve()
        self.user, self.home = user, home
        if token is None:
            token = f"hf_{secrets.token_urlsafe(24)}" if allow_remote else LOOPBACK_TOKEN
        self.tokens = {user: token, **(users or {})}
        self._orgs = orgs or {}
        Accounts(self.tokens, self._orgs)  # raises where they can't be
        if allow_remote and LOOPBACK_TOKEN in self.tokens.values():
            raise ConfigError(f"{LOOPBACK_TOKEN} is no token for a server that others reach: everybody knows it.")
        self._address = _resolve(host, port, allow_remote)
        self._server = self._thread = self._app = None

    @property
    def endpoint(self) -> str:
        """The address for HF_ENDPOINT, such as "http://127.0.0.1:43210"; known while the server runs."""
        if self._server is None:
            raise HubError("The local Hub isn't running: call start() first.")
        host = "127.0.0.1" if ipaddress.ip_address(self._bound[0]).is_unspecified else self._bound[0]
        return f"http://[{host}]:{self._bound[1]}" if ":" in host else f"http://{host}:{self._bound[1]}"

    def environment(self, user: str | None = None) -> dict[str, str]:
        """What to add to a client process's environment; its caches lie apart from those of the real Hub."""
        cache = self.root / "client-cache"
        return {
            "HF_ENDPOINT": self.endpoint,
            "HF_TOKEN": self.tokens[user or self.user],
            "HF_HOME": str(cache),
            "HF_HUB_CACHE": str(cache / "hub"),
            "HF_DATASETS_CACHE": str(cache / "datasets"),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }

    def start(self) -> "LocalHub":
        """Open the folder, bind the port and answer requests from now on."""
        if self._server is not None:
            raise HubError("The local Hub is running already.")
        listener = _bind(*self._address)
        try:
            self._app = create_app(self.root, self.tokens, self._orgs, self.home)
        except BaseException:
            listener.close()
            raise
        self._bound = listener.getsockname()
        config = uvicorn.Config(
            self._app,
            lifespan="off",
            http=Protocol,
            ws="none",
            log_config=None,
            log_level="error",
            access_log=False,
            timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([listener],), name="local-hub", daemon=True)
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                self.stop()
                raise HubError("The local Hub's server thread ended before it could answer.")
            time.sleep(0.01)
        return self

    def stop(self):
        """Finish the requests under way, close the port, release the folder."""
        if self._server is not None:
            self._server.should_exit = True
            self._thread.join()
            self._app.close()
            self._server = self._thread = self._app = None

    def __enter__(self) -> "LocalHub":
        return self.start()

    def __exit__(self, *exception):
        self.stop()


def serve(
    root: str | os.PathLike[str],
    host: str = "127.0.0.1",
    port: int = 8080,
    user: str = "local",
    token: str | None = None,
    users: dict[str, str] | None = None,
    orgs: dict[str, list[str]] | None = None,
    *,
    allow_remote: bool = False,
    home: str | None = None,
    on_ready: Callable[[LocalHub], None] | None = None,
):
    """Run a `LocalHub` until SIGINT or SIGTERM; call from the main thread.

    `on_ready` is called with the running hub, for instance to tell its endpoint.
    """
    stopping = threading.Event()
    previous = {number: signal.signal(number, lambda *_: stopping.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with LocalHub(root, host, port, user, token, users, orgs, allow_remote=allow_remote, home=home) as hub:
            if on_ready:
                on_ready(hub)
            stopping.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _resolve(host, port, allow_remote):
    if not 0 <= port <= 65535:
        raise ConfigError(f"The local Hub can't listen on port {port}: ports go from 0 (any free one) to 65535.")
    try:
        if not host:
            raise ValueError("it is empty")
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, ValueError) as error:
        raise ConfigError(f"The local Hub can't listen on {host!r}: {error}") from error
    if not allow_remote and not ipaddress.ip_address(address[0]).is_loopback:
        raise ConfigError(
            f"The local Hub won't listen on {host}: other machines could reach it, and it speaks plain HTTP. "
            "Use 127.0.0.1, or allow it on purpose (--allow_remote)."
        )
    return family, address


def _bind(family, address):
    # With the protocol given, asyncio sets TCP_NODELAY; else each call takes 40 ms longer.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise HubError(f"The local Hub can't listen on {address[0]}:{address[1]}: {error}") from error
    return listener
