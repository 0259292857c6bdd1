"""API keys and whether one that came with a call is good.

A key is ``cs_<id>_<secret>``. The id says where to look and may be seen by anybody; the secret is 256 random bits. What
is stored is the key's SHA-256 and nothing else of it: slow, salted hashes (scrypt, Argon2) protect passwords, of which
there are few enough to try them all, and nobody can try 2**256 keys. They would cost each call some 50 ms and be a way
to overload the server; SHA-256 costs a microsecond.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from clipsearch.access.rates import Rate, TokenBucket
from clipsearch.access.scopes import Scope
from clipsearch.errors import KeyInvalid, KeyRevoked, RateLimited, ScopeMissing
from clipsearch.ports import Clock

_PREFIX = "cs"
"""What scanners for leaked secrets can look for."""

_ID_BYTES, _SECRET_BYTES = 6, 32

_NOBODY = secrets.token_bytes(32)
"""The digest that unknown ids are compared with, so that they cost as much as known ones."""


@dataclass(frozen=True, slots=True)
class Key:
    """What is known of a key. ``digest`` is the SHA-256 of the whole of it; ``rate`` None: no limit."""

    id: str
    name: str
    digest: bytes
    scopes: frozenset[Scope]
    rate: Rate | None
    created: str
    """UTC, ISO 8601."""
    revoked: str | None
    """When it was, or None."""


def new_key(name: str, scopes: Iterable[Scope], rate: Rate | None, created: str) -> tuple[str, Key]:
    """Make a key; returns it whole, which nobody can do again later, and what to store of it."""
    key_id = secrets.token_hex(_ID_BYTES)
    whole = f"{_PREFIX}_{key_id}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    return whole, Key(key_id, name, digest_of(whole), frozenset(scopes), rate, created, None)


def digest_of(whole: str) -> bytes:
    """Return what is stored of a key, 32 bytes."""
    return hashlib.sha256(whole.encode(errors="surrogatepass")).digest()


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a key that is good, and what is left of the key's rate."""

    key: Key
    bucket: TokenBucket | None

    def check(self, scope: Scope) -> None:
        """Raise ScopeMissing where the key is not for this, and RateLimited where it was used too often."""
        if scope not in self.key.scopes:
            raise ScopeMissing(
                f"this key has not the scope {scope.value}, which the method needs",
                metadata={"key_id": self.key.id, "scope": scope.value},
            )
        if self.bucket is not None and (wait_s := self.bucket.take()) > 0.0:
            raise RateLimited(
                f"this key may make {self.bucket.rate.per_s:g} calls a second and has made more",
                metadata={"key_id": self.key.id, "calls_per_second": f"{self.bucket.rate.per_s:g}"},
                retry_after_s=wait_s,
            )


class Keyring:
    """The keys of a server. Looked into for each call; replaced as a whole when the file is read again."""

    def __init__(self, keys: Iterable[Key], clock: Clock, before: "Keyring | None" = None) -> None:
        """``before`` hands over what its keys have used of their rates, where these are the same."""
        old = {} if before is None else before._holders
        self._holders: dict[str, Holder] = {}
        for key in keys:
            bucket = None if key.rate is None else TokenBucket(key.rate, clock)
            known = old.get(key.id)
            if known is not None and known.key.rate == key.rate:
                bucket = known.bucket
            self._holders[key.id] = Holder(key, bucket)

    def __len__(self) -> int:
        """Return how many keys would be taken."""
        return sum(holder.key.revoked is None for holder in self._holders.values())

    def holder(self, whole: str) -> Holder:
        """Return who holds a key. Raises KeyInvalid, and KeyRevoked to whoever knows the whole of a revoked one."""
        parts = whole.split("_", 2)
        holder = self._holders.get(parts[1]) if len(parts) == 3 else None
        stored = _NOBODY if holder is None else holder.key.digest
        # Compared in constant time: how far two digests agree must not be told by how long that takes.
        if not hmac.compare_digest(digest_of(whole), stored) or holder is None:
            raise KeyInvalid("the API key is none of this server's")
        if holder.key.revoked is not None:
            raise KeyRevoked("the API key has been revoked", metadata={"key_id": holder.key.id})
        return holder
