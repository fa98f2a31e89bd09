"""The client that talks to the Hub, and what its errors mean for whoever asked.

The endpoint, token and cache are those of huggingface_hub (HF_ENDPOINT, HF_TOKEN, HF_HOME); nothing of it is parsed
here.
"""

import contextlib
from collections.abc import Iterator

import httpx2
from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    RevisionResolutionError,
)

from hf_dd.errors import HfDdError, HubError
from hf_dd.version import __version__


def api() -> HfApi:
    """A client that names this library to the Hub."""
    return HfApi(library_name="hf-dd", library_version=__version__)


def endpoint() -> str:
    """The Hub that this process talks to."""
    return constants.ENDPOINT


class Outrun(HubError):
    """Somebody else's push came first: the same push can be tried again, on top of it."""


class Taken(HubError):
    """A tag is on another commit: the push needs another tag, or none."""


@contextlib.contextmanager
def clear_errors(what: str) -> Iterator[None]:
    """Turn every error of the clients into one HubError that names `what` and the way out.

    Only calls of clients belong in it: they raise nearly anything where an answer isn't what they expect.
    """
    try:
        yield
    except HfDdError:
        raise
    except Exception as error:
        kind = Outrun if status_of(error) == 412 else HubError
        raise kind(f"{what}{reason(error)}") from error


def status_of(error: BaseException) -> int | None:
    """The status of the Hub's answer that an error is about, or None."""
    return getattr(getattr(error, "response", None), "status_code", None)


def reason(error: BaseException) -> str:
    """What an error of the clients says of the thing that was asked for, with the way out."""
    login = "" if get_token() else " No token is set: log in with `hf auth login`, or set HF_TOKEN."
    cause, status = error.__cause__, status_of(error)
    if isinstance(error, GatedRepoError):  # before its parent, RepositoryNotFoundError
        return f" is gated: ask for access on its page.{login}"
    if isinstance(error, RepositoryNotFoundError):
        return f" doesn't exist at {endpoint()}, or is private and your token can't read it.{login}"
    if isinstance(error, RevisionNotFoundError):
        return ": the repository is there, but it has no such branch, tag or commit."
    if isinstance(error, (LocalEntryNotFoundError, RevisionResolutionError, RuntimeError)) and status_of(cause):
        return reason(cause)
    if isinstance(
        error, (LocalEntryNotFoundError, OfflineModeIsEnabled, RevisionResolutionError, httpx2.TransportError)
    ):
        return (
            f" can't be reached: no answer from {endpoint()}, and it isn't in the local cache. Check the network, "
            "HF_ENDPOINT and HF_HUB_OFFLINE."
        )
    if isinstance(error, EntryNotFoundError):
        return f": the repository is there, but it lacks a file: {first_line(error)}"
    if isinstance(error, HFValidationError):
        return f" isn't a repository id: {first_line(error)}"
    if status is not None:
        known = {
            401: f"the token isn't accepted.{login}",
            404: f"it doesn't exist at {endpoint()}, or is private.",
            403: "your token may not do that there; it needs write access to this namespace.",
            412: "somebody else pushed meanwhile; run the push again.",
        }
        return f": {known.get(status, f'{endpoint()} answered {status}: {first_line(error)}')}"
    if isinstance(error, RuntimeError) and cause is not None:
        return reason(cause)
    if isinstance(error, OSError) and error.strerror:  # of this machine's own disk
        return f": {error.strerror}{f': {error.filename}' if error.filename else ''}."
    return (
        f": what {endpoint()} answered can't be used ({type(error).__name__}: {first_line(error)}). Try again; check "
        "HF_ENDPOINT if it goes on."
    )


def first_line(error: Exception) -> str:
    """The first line of an error's text that says something."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
