"""The application: from an HTTP request to its handler and back."""

import inspect
import logging
import secrets
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

# Importing the three modules of handlers registers them.
from hf_dd.local_hub import collection_routes, repository_routes, upload_routes  # noqa: F401
from hf_dd.local_hub.accounts import Accounts
from hf_dd.local_hub.calls import ROUTES, Call, Hub
from hf_dd.local_hub.errors import HubHttpError

logger = logging.getLogger(__name__)


class HubApp:
    """The ASGI application; `close` it to release its folder."""

    def __init__(self, hub: Hub):
        self.hub = hub
        self.close = hub.close

    async def __call__(self, scope, receive, send):
        """Answer one request (the ASGI interface)."""
        if scope["type"] != "http":
            raise RuntimeError(f"The local Hub speaks HTTP only, not {scope['type']}.")
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except HubHttpError as error:
            headers = error.headers | {"X-Error-Message": error.message.encode("ascii", "replace").decode()}
            headers["X-Error-Message"] = " ".join(headers["X-Error-Message"].split())
            if error.code:
                headers["X-Error-Code"] = error.code
            response = JSONResponse(error.body, error.status, headers)
        except ClientDisconnect:
            return
        except Exception as error:
            logger.exception("%s %s failed", request.method, request.url.path)
            response = JSONResponse({"error": f"{type(error).__name__}: {error}"}, 500)
        response.headers["X-Request-Id"] = secrets.token_hex(8)
        await response(scope, receive, send)

    async def _answer(self, request):
        path = request.scope["raw_path"].decode().split("?")[0]
        for methods, pattern, handler in ROUTES:
            match = pattern.fullmatch(path) if request.method in methods else None
            if match is None:
                continue
            if inspect.iscoroutinefunction(handler):
                answer = await handler(Call(self.hub, request, path, match.groupdict(), b""))
            else:
                call = Call(self.hub, request, path, match.groupdict(), await request.body())
                answer = await run_in_threadpool(handler, call)
            return answer if isinstance(answer, Response) else JSONResponse(answer)
        raise HubHttpError(404, f"The local Hub doesn't know {request.method} {path}")


def create_app(root: Path | str, users: dict[str, str], orgs: dict[str, list[str]] | None = None) -> HubApp:
    """The Hub in the folder `root` as an ASGI application, for `users` (name: token) and `orgs` (name: members)."""
    return HubApp(Hub(root, Accounts(users, orgs or {})))
