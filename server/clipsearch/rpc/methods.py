"""The methods that are served, in the place where generated code registers them with a server of gRPC's own."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import grpc
from grpc import aio

# In quotes: grpc's classes are generic for type checkers only.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Found: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"
Find: TypeAlias = Callable[[Any], Awaitable[Found]]


class Metadatum(NamedTuple):
    """One line of a call's metadata, by the names that interceptors know from gRPC's own."""

    key: str
    value: str | bytes


@dataclass(frozen=True, slots=True)
class CallDetails(grpc.HandlerCallDetails):
    """What interceptors are shown of a call."""

    method: str
    """Its full name, ``/package.Service/Method``."""
    invocation_metadata: tuple[Metadatum, ...]


class Methods:
    """Finds a method's handler, by way of the interceptors, as ``grpc.aio`` does."""

    def __init__(self, interceptors: Sequence[aio.ServerInterceptor]) -> None:
        """The first of the interceptors is asked first."""
        self._handlers: dict[str, Handler] = {}
        self._generic: list[grpc.GenericRpcHandler] = []
        self._find: Find = self._registered
        for interceptor in reversed(interceptors):
            self._find = _through(interceptor, self._find)
        self._plain = not interceptors

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Register whatever these know; older generated code stops here."""
        self._generic += handlers

    def add_registered_method_handlers(self, service_name: str, method_handlers: dict[str, Handler]) -> None:
        """Register the methods of a service, as newer generated code says it, so that they are found faster."""
        self._handlers |= {f"/{service_name}/{name}": handler for name, handler in method_handlers.items()}

    def single(self) -> list[str]:
        """Return the full names of those registered methods that have one message each way."""
        return [name for name, handler in self._handlers.items() if handler.unary_unary is not None]

    async def find(self, method: str, metadata: Sequence[tuple[str, str | bytes]]) -> Found:
        """Return what answers a call, None where there is no such method."""
        if self._plain and (handler := self._handlers.get(method)) is not None:
            return handler
        return await self._find(CallDetails(method, tuple(map(Metadatum._make, metadata))))

    async def _registered(self, details: Any) -> Found:
        known = self._handlers.get(details.method)
        if known is not None:
            return known
        return next((found for one in self._generic if (found := one.service(details)) is not None), None)


def _through(interceptor: aio.ServerInterceptor, find: Find) -> Find:
    async def found(details: Any) -> Found:
        return await interceptor.intercept_service(find, details)

    return found
