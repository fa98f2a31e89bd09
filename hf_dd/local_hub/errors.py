"""Errors that know the HTTP answer the Hub's clients expect for them."""


class HubHttpError(Exception):
    """Ends a request with `status`; `code` and `message` become X-Error-Code and X-Error-Message."""

    def __init__(self, status, message, code=None, headers=None, body=None):
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = headers or {}
        self.body = body or {"error": message}


def login_required():
    """401 for an anonymous caller of something that needs an account."""
    return HubHttpError(401, "Invalid username or password.")


def repo_not_found(user):
    """404, or 401 for an anonymous caller, so that a private repository isn't given away."""
    if user is None:
        return HubHttpError(401, "Invalid username or password.", "RepoNotFound")
    return HubHttpError(404, "Repository not found", "RepoNotFound")


def revision_not_found(revision):
    """404: no such branch, tag, pull request or commit."""
    return HubHttpError(404, f"Invalid rev id: {revision}", "RevisionNotFound")


def entry_not_found(path, commit):
    """404: the commit (bytes) exists, the path in it doesn't; clients cache this under the commit."""
    return HubHttpError(404, f"Entry not found: {path}", "EntryNotFound", {"X-Repo-Commit": commit.decode()})
