"""When a call is tried again, and how long before.

Two kinds of failure are worth repeating a call for:

- UNAVAILABLE (no connection, a server that drains), and CANCELLED where the caller did not cancel: gRPC resets a call
  with that code if it was on its way when the server began to drain. Both are left to gRPC's own retry policy in the
  channel's service config. It knows the state of the connections, counts attempts inside the deadline and needs no
  thread of ours. The first attempt may have been done before its answer was lost, so this is only for calls that read
  and for writes of items, which carry a request id: the server does those once. Making and deleting collections and
  starting a rebuild are left out, as a second attempt would be told of the first (ALREADY_EXISTS, NOT_FOUND, ABORTED).
- RESOURCE_EXHAUSTED with RetryInfo (the server is full and says for how long): refused before anything was done, so
  safe for every call. gRPC reads a wait only from its own ``grpc-retry-pushback-ms`` trailer, not from RetryInfo, so
  these few lines are ours.

Nothing else is retried: a bad argument stays bad, and a deadline that passed has passed. Streams are not retried
either: their answers have been handed out already, so the caller gets the error with the ids still unanswered.
"""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass

from clipsearch.client.errors import ClientError, Overloaded

_REPEATABLE = {
    "clipsearch.v1.EmbeddingService": ("EmbedText", "EmbedImage", "BatchEmbed", "GetModel"),
    "clipsearch.v1.SearchService": ("Search", "BatchSearch"),
    "clipsearch.v1.CatalogueService": (
        "UpsertItems",
        "DeleteItems",
        "GetItem",
        "ListItems",
        "ListCollections",
        "GetFacets",
        "GetCollectionStats",
    ),
    "google.longrunning.Operations": ("GetOperation", "ListOperations", "WaitOperation", "CancelOperation"),
}
_GRPC_MOST_ATTEMPTS = 5
"""gRPC counts no further, whatever its service config says."""

_LEAST_BACKOFF_S = 0.01
"""With a wait of about a millisecond gRPC loses its own retry timer, and the call hangs: grpc/grpc#41036."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a call is tried in all (1: never again) and the waits between, in seconds.

    The n-th wait is drawn from [0, min(max_backoff_s, initial_backoff_s * multiplier**(n-1))], added to the wait that
    the server asks for; no wait goes past the call's deadline.
    """

    max_attempts: int = 4
    initial_backoff_s: float = 0.1
    max_backoff_s: float = 2.0
    multiplier: float = 2.0

    def __post_init__(self) -> None:
        """Raise ValueError for numbers that make no policy."""
        if self.max_attempts < 1:
            raise ValueError(f"max_attempts must be at least 1, not {self.max_attempts}")
        if not _LEAST_BACKOFF_S <= self.initial_backoff_s <= self.max_backoff_s or self.multiplier < 1:
            raise ValueError(f"backoff must start at {_LEAST_BACKOFF_S:g} s or more and must not shrink: {self}")

    def wait_s(
        self, error: ClientError, attempt: int, remaining_s: float, draw: Callable[[], float] = random.random
    ) -> float | None:
        """Return the seconds to wait after failed attempt number ``attempt`` (from 1), or None to give up.

        ``remaining_s`` is what is left of the deadline; ``draw`` returns a number in [0, 1).
        """
        if not isinstance(error, Overloaded) or attempt >= self.max_attempts:
            return None
        ceiling = min(self.max_backoff_s, self.initial_backoff_s * self.multiplier ** (attempt - 1))
        wait = (error.retry_after_s or 0.0) + ceiling * draw()
        return wait if wait < remaining_s else None

    def service_config(self) -> str | None:
        """Return gRPC's service config for what the connection fails with, as JSON; None where nothing is retried."""
        if self.max_attempts == 1:
            return None
        policy = {
            "maxAttempts": min(self.max_attempts, _GRPC_MOST_ATTEMPTS),
            "initialBackoff": f"{self.initial_backoff_s:.9f}s",
            "maxBackoff": f"{self.max_backoff_s:.9f}s",
            "backoffMultiplier": self.multiplier,
            # gRPC never retries what was cancelled on this side.
            "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
        }
        # Method by method, because a name of the service alone would take in StreamEmbed.
        names = [{"service": s, "method": m} for s, methods in _REPEATABLE.items() for m in methods]
        return json.dumps({"methodConfig": [{"name": names, "retryPolicy": policy}]})
