"""Accounts: who is calling, and where they may write."""

import hashlib
import hmac
import re
from dataclasses import dataclass, field

from hf_dd.errors import ConfigError
from hf_dd.local_hub.errors import HubHttpError

RESERVED_NAMESPACES = {"api", "collections", "datasets", "lfs-upload", "models", "spaces"}


def is_name(name: str) -> bool:
    """Whether it can be part of an address, and of a client's cache folder, which joins names by --."""
    return bool(re.fullmatch(r"[A-Za-z0-9][\w.-]{0,95}", name, re.ASCII)) and "--" not in name and ".." not in name


@dataclass(frozen=True)
class Accounts:
    """Users with one write token each (`{name: token}`) and organizations (`{name: [members]}`)."""

    tokens: dict[str, str]
    orgs: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self):
        for name in [*self.tokens, *self.orgs]:
            if not is_name(name) or name in RESERVED_NAMESPACES:
                raise ConfigError(
                    f"{name!r} can't be a user or organization of the local Hub: take a name of letters, digits, _, - "
                    f"and . that begins with one of the first two and isn't {', '.join(sorted(RESERVED_NAMESPACES))}."
                )
        if odd := [name for name, token in self.tokens.items() if not re.fullmatch("[!-~]{1,200}", token)]:
            raise ConfigError(f"The token of {odd[0]} must have 1 to 200 characters of ASCII without spaces.")
        if len(set(self.tokens.values())) < len(self.tokens):
            raise ConfigError("Two users of the local Hub have the same token: give each their own.")
        if both := self.tokens.keys() & self.orgs.keys():
            raise ConfigError(f"{sorted(both)} are both users and organizations of the local Hub: rename one.")
        if unknown := {member for members in self.orgs.values() for member in members} - self.tokens.keys():
            raise ConfigError(f"{sorted(unknown)} are members of an organization but no users of the local Hub.")

    def authenticate(self, authorization: str | None) -> str | None:
        """The user behind an Authorization header, None without one; an unknown token is a 401."""
        if not authorization:
            return None
        token = authorization.removeprefix("Bearer ").strip()
        for user, known in self.tokens.items():
            if hmac.compare_digest(token.encode(), known.encode()):
                return user
        raise HubHttpError(401, "Invalid credentials in Authorization header")

    def may_write(self, user: str | None, namespace: str) -> bool:
        """True for the namespace's user and for the members of an organization."""
        return user is not None and (user == namespace or user in self.orgs.get(namespace, []))

    def profile(self, user: str) -> dict:
        """What `whoami` tells."""
        orgs = [{**_identity("org", org), "roleInOrg": "admin"} for org in self.orgs if self.may_write(user, org)]
        token = {"type": "access_token", "accessToken": {"displayName": "local", "role": "write"}}
        email = f"{user}@example.invalid"
        return {**_identity("user", user), "email": email, "isPro": False, "orgs": orgs, "auth": token}


def _identity(kind, name):
    return {"type": kind, "id": hashlib.sha256(name.encode()).hexdigest()[:24], "name": name, "fullname": name}
