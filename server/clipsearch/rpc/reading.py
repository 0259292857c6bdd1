"""Messages that cannot be parsed: INVALID_ARGUMENT for the caller, and no traceback in the log.

Left to grpc.aio, a request that is not a message ends with UNKNOWN and an exception logged for each, which lets anybody
fill the log. So requests are parsed by a function that does not raise, and what it makes of bad bytes is answered
before the servicer sees it. Done once for all services where they are registered; an interceptor would cost every call
a second coroutine and handler.
"""

import inspect
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, cast

import grpc
from google.protobuf.message import DecodeError
from grpc import aio

from clipsearch.errors import MalformedMessage
from clipsearch.rpc.observed import Context, Observation
from clipsearch.rpc.status import abort, refuse

Behaviour = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """In the place of a request: bytes that are not the method's message."""

    error: MalformedMessage


def forgiving(server: aio.Server, observation: Observation) -> aio.Server:
    """Return what generated code may register services with in the place of ``server``, and nothing but that.

    ``observation`` is told of requests that cannot be read, as servicers tell it of all others.
    """
    return cast(aio.Server, _ForgivingServer(server, observation))


class _ForgivingServer:
    """The part of ``aio.Server`` that generated code registers services with."""

    def __init__(self, server: aio.Server, observation: Observation) -> None:
        self._server, self._observation = server, observation

    def add_generic_rpc_handlers(self, handlers: tuple[grpc.GenericRpcHandler, ...]) -> None:
        """Register services whose unreadable requests are answered in their stead; older generated code stops here."""
        self._server.add_generic_rpc_handlers([_ForgivingHandlers(handler, self._observation) for handler in handlers])

    def add_registered_method_handlers(self, service_name: str, method_handlers: dict[str, Any]) -> None:
        """The same again, as newer generated code says it, so that gRPC finds the methods faster."""
        handlers = {name: _forgiving(handler, name, self._observation) for name, handler in method_handlers.items()}
        self._server.add_registered_method_handlers(service_name, handlers)


class _ForgivingHandlers(grpc.GenericRpcHandler):
    def __init__(self, handlers: grpc.GenericRpcHandler, observation: Observation) -> None:
        self._handlers, self._observation = handlers, observation
        self._known: dict[str, Any] = {}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return the method's handler, made at its first call; None where there is no such method."""
        method = handler_call_details.method
        if method not in self._known:
            handler = self._handlers.service(handler_call_details)
            if handler is None:
                return None
            self._known[method] = _forgiving(handler, method.rpartition("/")[2], self._observation)
        return self._known[method]


def _forgiving(handler: Any, name: str, observation: Observation) -> Any:
    parse, write = _parser(handler.request_deserializer), handler.response_serializer
    if handler.stream_stream is not None:
        return grpc.stream_stream_rpc_method_handler(_reads_many(handler.stream_stream), parse, write)
    if handler.unary_stream is not None:
        return grpc.unary_stream_rpc_method_handler(_reads_one(handler.unary_stream, name, observation), parse, write)
    assert handler.unary_unary is not None, "no method has only its client stream"
    return grpc.unary_unary_rpc_method_handler(_reads_one(handler.unary_unary, name, observation), parse, write)


def _parser(parse: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def parsed(data: bytes) -> Any:
        try:
            return parse(data)
        except DecodeError as error:
            return Unreadable(MalformedMessage(f"the request is not a message of this method: {error}"))

    return parsed


def _reads_one(method: Behaviour, name: str, observation: Observation) -> Behaviour:
    """Wrap a method that takes one message; one that streams its answers must write them to the context."""
    _check(method)

    async def answered(request: Any, context: Context) -> Any:
        if type(request) is Unreadable:
            await refuse(context, request.error, name, observation)
        return await method(request, context)

    return answered


def _reads_many(method: Behaviour) -> Behaviour:
    """Wrap a method that takes a stream: what came before the bad message is answered, then the call ends with it."""
    _check(method)

    async def answered(requests: AsyncIterator[Any], context: Context) -> None:
        bad: list[Unreadable] = []
        await method(_until_unreadable(requests, bad), context)
        if bad:
            await abort(context, bad[0].error)

    return answered


async def _until_unreadable(requests: AsyncIterator[Any], bad: list[Unreadable]) -> AsyncIterator[Any]:
    async for request in requests:
        if type(request) is Unreadable:
            bad.append(request)
            return
        yield request


def _check(method: Behaviour) -> None:
    assert not inspect.isasyncgenfunction(method), f"{method} is a generator, which is not wrapped here"
