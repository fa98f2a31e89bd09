"""The digests by which content is known again, of data, sets and what is kept; they guard no secret."""

import hashlib
from collections.abc import Iterable
from typing import Any


def new_digest(content: Any = b"") -> "hashlib._Hash":
    """A BLAKE2b digest of 16 bytes over what is like bytes, to be updated."""
    return hashlib.blake2b(content, digest_size=16)


def digest_over(parts: Iterable[Any]) -> str:
    """32 hex digits over the bytes of all parts, one after another."""
    digest = new_digest()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
