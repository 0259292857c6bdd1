"""Who calls, for the server to be shared fairly: the name of the API key, else the address that the connection is from.

Behind a proxy every connection is the proxy's. Where that proxy is trusted it may name its callers in metadata, which
then counts more than anything else.
"""

import functools
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any

from grpc import aio

_named: ContextVar[str] = ContextVar("caller", default="")


def name_by_key(name: str) -> None:
    """Say whose key came with the call at hand."""
    _named.set(name)


def name_by_header(metadata: Iterable[tuple[str, str | bytes]], header: str) -> None:
    """Take the name from metadata, if it is there; ``header`` is in lower case, as all keys of metadata are."""
    for key, value in metadata:
        if key == header and isinstance(value, str):
            _named.set(value)
            return


class Caller:
    """Tells who makes the call at hand, in the call's own task; asks gRPC once, and only if it is asked itself."""

    __slots__ = ("_context", "_name")

    def __init__(self, context: aio.ServicerContext[Any, Any]) -> None:
        self._context, self._name = context, ""

    def __call__(self) -> str:
        """Return the name."""
        if not self._name:
            self._name = _named.get() or _address(self._context.peer())
        return self._name


@functools.lru_cache(maxsize=4096)
def _address(peer: str) -> str:
    """The peer, such as ``ipv4:10.0.0.7:50123``, without its port: more connections are not more callers."""
    return peer.rpartition(":")[0] if peer.startswith("ip") else peer
