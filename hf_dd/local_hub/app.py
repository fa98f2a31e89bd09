"""The application: from an HTTP request to its handler and back."""

import asyncio
import contextlib
import errno
import logging
import secrets
from pathlib import Path

import anyio.to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

# Importing the modules of handlers registers them.
from hf_dd.local_hub import collection_routes, pages, repository_routes, upload_routes  # noqa: F401
from hf_dd.local_hub.accounts import Accounts
from hf_dd.local_hub.calls import ROUTES, Call, Hub
from hf_dd.local_hub.errors import HubHttpError, repo_not_found

logger = logging.getLogger(__name__)

FOR_PAGES = {  # a Space's page reads what everybody may; a token in a page's request isn't let through
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Accept-Ranges, Content-Length, Content-Range, ETag, Link, X-Repo-Commit",
}
FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}


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
        with contextlib.suppress(ClientDisconnect):
            try:
                response = await anyio.to_thread.run_sync(self._answer, request, limiter=self.hub.threads)
            except asyncio.CancelledError:  # its time to finish is over
                response = _error_response(HubHttpError(503, "The local Hub is stopping"))
            response.headers["X-Request-Id"] = secrets.token_hex(8)
            if request.method in ("GET", "HEAD") and "authorization" not in request.headers:
                response.headers.update(FOR_PAGES)
            await response(scope, receive, send)

    def _answer(self, request):
        call = None
        try:
            handler, path, parts = self._handler(request)
            call = Call(self.hub, request, path, parts)
            answer = handler(call)
            return answer if isinstance(answer, Response) else JSONResponse(answer)
        except ClientDisconnect:
            raise
        except HubHttpError as error:
            return _error_response(error)
        except Exception as error:
            if call and call.uid and self.hub.repositories.is_gone(call.uid):  # deleted meanwhile
                return _error_response(repo_not_found(call.user))
            if isinstance(error, OSError):
                logger.error("%s %s failed: %s", request.method, path, error)
                status = 507 if error.errno in FULL_DISK else 500
                told = f"The local Hub's folder can't be used: {error.strerror or error}"
                return _error_response(HubHttpError(status, told))
            logger.exception("%s %s failed", request.method, request.scope["path"])
            return JSONResponse({"error": f"{type(error).__name__}: {error}"}, 500)

    def _handler(self, request):
        path, allowed = request.scope["raw_path"].decode("latin-1").split("?")[0], set()
        for methods, pattern, handler in ROUTES:
            if match := pattern.fullmatch(path):
                if request.method in methods:
                    return handler, path, match.groupdict()
                allowed |= methods
        message = f"The local Hub doesn't know {request.method[:20]} {path[:300]}"
        if allowed:
            raise HubHttpError(405, message, headers={"Allow": ", ".join(sorted(allowed))})
        raise HubHttpError(404, message)


def _error_response(error):
    told = "".join(each if " " <= each <= "~" else "?" for each in " ".join(error.message.split()))
    headers = error.headers | {"X-Error-Message": told[:500]}
    if error.code:
        headers["X-Error-Code"] = error.code
    return JSONResponse(error.body, error.status, headers)


def create_app(
    root: Path | str, users: dict[str, str], orgs: dict[str, list[str]] | None = None, home: str | None = None
) -> HubApp:
    """The Hub in the folder `root` as an ASGI application, for `users` (name: token) and `orgs` (name: members).

    `home` is the page at `/`, if it isn't the list of repositories.
    """
    return HubApp(Hub(root, Accounts(users, orgs or {}), home))
