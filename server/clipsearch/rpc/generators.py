"""Methods that write their answers to the context, as async generators.

gRPC takes both. ``StreamEmbed`` writes to its context, which is cheaper under load; OpenTelemetry's interceptor
iterates over what a streaming method returns, and so needs this between itself and the method. Used while tracing is on
and only then.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from grpc import aio

PREFIX = "/clipsearch."


class AsGenerators(aio.ServerInterceptor):
    """Turns our streaming methods into async generators."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["grpc.RpcMethodHandler[Any, Any] | None"]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """Return the method's handler, in the other style where it streams."""
        handler = await continuation(handler_call_details)
        if handler is None or not handler.response_streaming or not handler_call_details.method.startswith(PREFIX):
            return handler
        make = (
            grpc.stream_stream_rpc_method_handler if handler.request_streaming else grpc.unary_stream_rpc_method_handler
        )
        method = handler.stream_stream if handler.request_streaming else handler.unary_stream
        if not inspect.iscoroutinefunction(method):
            return handler
        return make(_generator(method), handler.request_deserializer, handler.response_serializer)


class _Writing:
    """A call's context whose ``write`` hands over to the generator."""

    def __init__(self, context: Any, write: Callable[[Any], Awaitable[None]]) -> None:
        self._context, self.write = context, write

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)


def _generator(method: Callable[[Any, Any], Awaitable[None]]) -> Callable[[Any, Any], AsyncIterator[Any]]:
    async def generate(request: Any, context: Any) -> AsyncIterator[Any]:
        # One place: a client that does not read holds up the writer, as it would without us.
        written: asyncio.Queue[Any] = asyncio.Queue(1)
        end = object()

        async def run() -> None:
            try:
                await method(request, _Writing(context, written.put))
            finally:
                await written.put(end)

        task = asyncio.create_task(run())
        try:
            while (message := await written.get()) is not end:
                yield message
            await task
        finally:
            task.cancel()

    return generate
