"""Lets calls in: the right key, the right scope, not too often.

An interceptor rather than a wrapper of our methods, because it stands before everything that is served, reflection and
methods nobody thought of included, and before a message is read. Where a server asks for no keys and closes nothing
there is no interceptor at all, since even an empty one costs each call a coroutine and two objects.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import grpc
from grpc import aio

from clipsearch.access.keys import Holder, Keyring
from clipsearch.access.rates import TokenBucket
from clipsearch.access.scopes import Scope
from clipsearch.errors import AdminClosed, ClipsearchError, KeyMissing
from clipsearch.rpc.callers import name_by_key
from clipsearch.rpc.observed import Context, Observation, Observed
from clipsearch.rpc.scopes import SCOPES, scope_of
from clipsearch.rpc.status import refuse

_HEADER = "authorization"
_SCHEME = "bearer "

# In quotes: grpc's classes are generic for type checkers only.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class Gate(aio.ServerInterceptor, Observed):
    """What it refuses is observed as what servicers answer is.

    ``keyring`` None: everybody may come in; ``admin`` False: nobody may call what needs the admin scope.
    """

    def __init__(self, keyring: Keyring | None, *, admin: bool) -> None:
        self.keyring = keyring
        """May be replaced while calls run; those that are in stay in."""
        self._admin = admin

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        """Return the method's own handler, or one that refuses the call before it reads a message."""
        try:
            holder = self._admit(handler_call_details)
        except ClipsearchError as error:
            return _refusing(error, handler_call_details, self.observation)
        handler = await continuation(handler_call_details)
        if holder is not None and holder.bucket is not None and handler is not None and handler.request_streaming:
            return _paced(handler, holder.bucket)
        return handler

    def _admit(self, call: Any) -> Holder | None:
        scope = scope_of(call.method)
        if scope is None:
            return None
        holder = None if self.keyring is None else self.keyring.holder(_sent_key(call.invocation_metadata))
        if scope is Scope.ADMIN and not self._admin:
            raise AdminClosed("this server was started without its administrative methods")
        if holder is not None:
            name_by_key(holder.key.name)
            holder.check(scope)
        return holder


def _sent_key(metadata: Any) -> str:
    for name, value in metadata or ():
        if name == _HEADER and isinstance(value, str) and value[: len(_SCHEME)].lower() == _SCHEME:
            return value[len(_SCHEME) :].strip()
    raise KeyMissing("this server takes calls with an API key only, sent as metadata `authorization: Bearer KEY`")


def _refusing(error: ClipsearchError, call: Any, observation: Observation) -> Handler:
    # Names that strangers make up are one: each name that observers hear is kept for good.
    name = call.method.rpartition("/")[2] if call.method in SCOPES else "unknown"

    async def refused(_: Any, context: Context) -> None:
        await refuse(context, error, name, observation)

    # Of streams, whatever the method is: a handler of single messages would wait for the message first.
    return grpc.stream_stream_rpc_method_handler(refused)


def _paced(handler: Handler, bucket: TokenBucket) -> Handler:
    """Give a stream's messages to its method no faster than the key's rate; flow control slows down the sender."""

    method: Any = handler.stream_stream  # whose type is that of servers with threads

    async def serve(requests: AsyncIterator[Any], context: Context) -> None:
        async def paced() -> AsyncIterator[Any]:
            async for request in requests:
                if (wait_s := bucket.reserve()) > 0.0:
                    await asyncio.sleep(wait_s)
                yield request

        served = method(paced(), context)
        if not hasattr(served, "__aiter__"):
            await served
            return
        # A method may write to the context, as ours do, or yield, as those of other interceptors do.
        async for response in served:
            await context.write(response)

    return grpc.stream_stream_rpc_method_handler(serve, handler.request_deserializer, handler.response_serializer)
