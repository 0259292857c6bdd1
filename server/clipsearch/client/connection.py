"""One channel and the unary calls on it, for threads and for asyncio: deadlines, repetition, typed errors."""

# ruff: noqa: ASYNC109  a timeout here is the call's deadline, which the server is told: more than asyncio.timeout does

from collections.abc import Awaitable, Callable
from typing import Generic, TypeAlias, TypeVar

import grpc
from google.protobuf.message import Message

from clipsearch.client.errors import from_rpc_error
from clipsearch.client.requests import Requests

_Request = TypeVar("_Request", bound=Message)
_Response = TypeVar("_Response")

# In quotes: grpc's classes are generic for type checkers only.
Method: TypeAlias = "grpc.UnaryUnaryMultiCallable[_Request, _Response]"
_Call: TypeAlias = "grpc.Future[_Response]"


class Connection:
    """A channel for threads. ``requests`` are the client's settings, ``clock`` counts seconds."""

    def __init__(
        self,
        target: str,
        requests: Requests,
        credentials: grpc.ChannelCredentials | None,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self.requests = requests
        self.clock = clock
        self.sleep = sleep
        options = requests.channel_options()
        if credentials is None:
            self.channel = grpc.insecure_channel(target, options)
        else:
            self.channel = grpc.secure_channel(target, credentials, options)

    def close(self) -> None:
        """Close the channel; calls still running fail with Cancelled."""
        self.channel.close()

    def call(self, method: Callable[..., _Response], request: Message | bytes, timeout: float | None) -> _Response:
        """Make a unary call within its deadline, again where the policy says so; raises ClientError."""
        deadline = self.requests.deadline(timeout, self.clock())
        return self.repeated(
            lambda: method(request, timeout=self.remaining(deadline), metadata=self.requests.metadata), deadline
        )

    def begin(
        self, method: "Method[_Request, _Response]", request: _Request, timeout: float | None
    ) -> "Pending[_Response]":
        """Begin a unary call and return without waiting for its answer."""
        deadline = self.requests.deadline(timeout, self.clock())
        metadata = self.requests.metadata
        return Pending(
            self, lambda: method.future(request, timeout=self.remaining(deadline), metadata=metadata), deadline
        )

    def remaining(self, deadline: float) -> float | None:
        """Return gRPC's timeout in seconds for an attempt made now."""
        return self.requests.attempt_timeout(deadline, self.clock())

    def repeated(self, attempt: Callable[[], _Response], deadline: float) -> _Response:
        """Return what an attempt returns, making further ones where the policy says so; raises ClientError."""
        number = 1
        while True:
            try:
                return attempt()
            except grpc.RpcError as cause:
                error = from_rpc_error(cause)
                wait = self.requests.retry.wait_s(error, number, deadline - self.clock())
                if wait is None:
                    raise error from cause
            self.sleep(wait)
            number += 1


class Pending(Generic[_Response]):
    """A call under way. Only ``result`` makes further attempts, so that no thread is needed to watch it."""

    def __init__(self, connection: Connection, start: "Callable[[], _Call[_Response]]", deadline: float) -> None:
        self._connection = connection
        self._start = start
        self._deadline = deadline
        self._call = start()
        self._taken = False

    def result(self) -> _Response:
        """Wait for the answer; raises ClientError. To be called once."""
        return self._connection.repeated(self._attempt, self._deadline)

    def cancel(self) -> None:
        """End the call; whether the server has done it already is not known."""
        self._call.cancel()

    def _attempt(self) -> _Response:
        if self._taken:
            self._call = self._start()
        self._taken = True
        return self._call.result()


class AsyncConnection:
    """A channel for one event loop. The arguments are those of ``Connection``."""

    def __init__(
        self,
        target: str,
        requests: Requests,
        credentials: grpc.ChannelCredentials | None,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self.requests = requests
        self.clock = clock
        self.sleep = sleep
        options = requests.channel_options()
        if credentials is None:
            self.channel = grpc.aio.insecure_channel(target, options)
        else:
            self.channel = grpc.aio.secure_channel(target, credentials, options)

    async def close(self) -> None:
        """Close the channel; calls still running are cancelled."""
        await self.channel.close()

    async def call(
        self, method: Callable[..., Awaitable[_Response]], request: Message | bytes, timeout: float | None
    ) -> _Response:
        """Make a unary call within its deadline, again where the policy says so; raises ClientError."""
        deadline = self.requests.deadline(timeout, self.clock())
        number = 1
        while True:
            try:
                remaining = self.requests.attempt_timeout(deadline, self.clock())
                return await method(request, timeout=remaining, metadata=self.requests.metadata)
            except grpc.RpcError as cause:
                error = from_rpc_error(cause)
                wait = self.requests.retry.wait_s(error, number, deadline - self.clock())
                if wait is None:
                    raise error from cause
            await self.sleep(wait)
            number += 1
