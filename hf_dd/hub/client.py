"""The client that talks to the Hub, and what its errors mean for whoever asked.

The endpoint, token and cache are those of huggingface_hub (HF_ENDPOINT, HF_TOKEN, HF_HOME); nothing of it is parsed
here.
"""

import contextlib
import json
import os
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

from hf_dd.errors import HfDdError, HubError, first_line
from hf_dd.version import __version__

UNREACHED = (LocalEntryNotFoundError, OfflineModeIsEnabled, RevisionResolutionError, httpx2.TransportError)
WORDS = 300  # characters of what the Hub says


def api() -> HfApi:
    """A client that names this library to the Hub."""
    return HfApi(library_name="hf-dd", library_version=__version__)


def endpoint() -> str:
    """The Hub that this process talks to."""
    return constants.ENDPOINT


class Outrun(HubError):
    """Somebody else's push came first: the same push can be tried again, on top of it."""


class Refused(HubError):
    """What is asked for isn't to be had there by this token: the same push fails again."""


class Taken(HubError):
    """A tag is on another commit: the push needs another tag, or none."""


class Unreached(HubError):
    """The Hub couldn't be asked: what it would have said isn't known."""


@contextlib.contextmanager
def clear_errors(what: str, *, push: bool = False, cached: bool = False) -> Iterator[None]:
    """Turn every error of the clients into one HubError that names `what` and the way out.

    Only calls of clients belong in it: they raise nearly anything where an answer isn't what they expect. `push` is
    whether they write, `cached` whether they would have taken an answer from the local cache.
    """
    try:
        yield
    except HfDdError:
        raise
    except Exception as error:
        raise kind_of(error)(f"{what}{reason(error, push=push, cached=cached)}") from error


def kind_of(error: Exception) -> type[HubError]:
    """Which of our errors an error of the clients becomes."""
    error = told_by(error)
    status = status_of(error) or 0
    if status == 412:
        return Outrun
    if status in (402, 403):  # after 401 the same push works with another login
        return Refused
    unsaid = isinstance(error, (*UNREACHED, json.JSONDecodeError))  # what isn't JSON is no answer of the Hub's own
    return Unreached if unsaid or status == 429 or status >= 500 else HubError


def told_by(error: Exception) -> Exception:
    """The error that tells what happened, where the clients have raised another one because of it."""
    cause = error.__cause__
    if isinstance(error, (LocalEntryNotFoundError, RevisionResolutionError, RuntimeError)) and status_of(cause):
        return told_by(cause)
    return told_by(cause) if isinstance(error, RuntimeError) and cause is not None else error


def status_of(error: BaseException | None) -> int | None:
    """The status of the Hub's answer that an error is about, or None."""
    return getattr(getattr(error, "response", None), "status_code", None)


def reason(error: Exception, *, push: bool = False, cached: bool = False) -> str:
    """What an error of the clients says of the thing that was asked for, with the way out; see `clear_errors`."""
    login = "" if get_token() else " No token is set: log in with `hf auth login`, or set HF_TOKEN."
    error = told_by(error)
    status, words = status_of(error), words_of(error)
    says = f" The Hub says: {words}." if words else ""
    if isinstance(error, GatedRepoError):  # before its parent, RepositoryNotFoundError
        return f" is gated: ask for access on its page.{says}{login}"
    if isinstance(error, RepositoryNotFoundError):
        private = f" doesn't exist at {endpoint()}, or is private and your token can't read it."
        return f"{private}{says if status == 401 else ''}{login}"
    if isinstance(error, RevisionNotFoundError):
        return ": the repository is there, but it has no such branch, tag or commit."
    if isinstance(error, UNREACHED):
        lacking = ", and it isn't in the local cache" if cached else ""
        return (
            f" can't be reached: no answer from {endpoint()}{lacking}. Check the network, HF_ENDPOINT and "
            "HF_HUB_OFFLINE."
        )
    if isinstance(error, EntryNotFoundError):
        return f": the repository is there, but it lacks a file: {words or first_line(error)}"
    if isinstance(error, HFValidationError):
        return f" isn't a repository id: {first_line(error)}"
    if status is not None:
        needs = "; it needs write access to this namespace" if push else ""
        first = " HF_TOKEN comes before what `hf auth login` stored." if os.environ.get("HF_TOKEN") else ""
        known = {
            401: f"the token isn't accepted.{says}{login or first}",
            404: f"it doesn't exist at {endpoint()}, or is private.{says}",
            403: f"it is refused.{says}" if words else f"your token may not do that there{needs}.",
            412: "somebody else pushed meanwhile; run the push again.",
        }
        return f": {known.get(status, f'{endpoint()} answered {status}: {words or first_line(error)}')}"
    if isinstance(error, ValueError) and status_of(error.__cause__) == 400:  # of a card, before it is sent
        return f": {endpoint()} refuses it: {' '.join(str(error).split())}"
    if isinstance(error, OSError) and error.strerror:  # of this machine's own disk
        return f": {error.strerror}{f': {error.filename}' if error.filename else ''}."
    return (
        f": what {endpoint()} answered can't be used ({type(error).__name__}: {first_line(error)}). Try again; check "
        "HF_ENDPOINT if it goes on."
    )


def words_of(error: Exception) -> str:
    """What the Hub itself says in the answer that an error is about, as one line; empty where it says nothing."""
    words = " ".join((getattr(error, "server_message", None) or "").split()).rstrip(".")
    return "" if words.startswith("<") else words[:WORDS]
