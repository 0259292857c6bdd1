"""Long operations, which the server runs by itself: watching them and stopping them."""

# ruff: noqa: ASYNC109  a timeout here is the call's deadline, which the server is told: more than asyncio.timeout does

import math
from typing import Generic, TypeVar

from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf import duration_pb2

from clipsearch.client.connection import AsyncConnection, Connection
from clipsearch.client.convert_operations import Kind
from clipsearch.client.errors import DeadlineExceeded
from clipsearch.client.types import Progress

Result = TypeVar("Result")

_WAIT_S = 30.0
"""How long the server is asked to hold one call: less than what proxies take for a dead connection."""


class Operation(Generic[Result]):
    """An operation that was started. It goes on whether or not somebody watches; ``name`` is its name at the server."""

    def __init__(self, connection: Connection, name: str, kind: Kind[Result]) -> None:
        self.name = name
        self._kind = kind
        self._connection = connection
        self._stub = operations_pb2_grpc.OperationsStub(connection.channel)

    def progress(self, *, timeout: float | None = None) -> Progress:
        """Ask the server how far the operation is."""
        request = operations_pb2.GetOperationRequest(name=self.name)
        return self._kind.progress(self._connection.call(self._stub.GetOperation, request, timeout))

    def wait(self, timeout: float = math.inf) -> Result:
        """Return what it made once it is over; raises what it failed with, Cancelled if it was cancelled.

        DeadlineExceeded says that it was not over within ``timeout`` seconds; it goes on.
        """
        deadline = self._connection.requests.deadline(timeout, self._connection.clock())
        while (remaining := deadline - self._connection.clock()) > 0.0:
            request = _wait_request(self.name, remaining)
            try:
                operation = self._connection.call(self._stub.WaitOperation, request, remaining)
            except DeadlineExceeded as error:
                raise self._kind.not_over(timeout) from error
            if operation.done:
                return self._kind.result_of(operation)
        raise self._kind.not_over(timeout)

    def cancel(self, *, timeout: float | None = None) -> None:
        """Ask the server to stop at its next step. No effect once it is over."""
        request = operations_pb2.CancelOperationRequest(name=self.name)
        self._connection.call(self._stub.CancelOperation, request, timeout)


class AsyncOperation(Generic[Result]):
    """As ``Operation``, awaited."""

    def __init__(self, connection: AsyncConnection, name: str, kind: Kind[Result]) -> None:
        self.name = name
        self._kind = kind
        self._connection = connection
        self._stub = operations_pb2_grpc.OperationsStub(connection.channel)

    async def progress(self, *, timeout: float | None = None) -> Progress:
        """Ask the server how far the operation is."""
        request = operations_pb2.GetOperationRequest(name=self.name)
        operation = await self._connection.call(self._stub.GetOperation, request, timeout)
        return self._kind.progress(operation)

    async def wait(self, timeout: float = math.inf) -> Result:
        """Return what it made once it is over; raises what it failed with, Cancelled if it was cancelled.

        DeadlineExceeded says that it was not over within ``timeout`` seconds; it goes on.
        """
        deadline = self._connection.requests.deadline(timeout, self._connection.clock())
        while (remaining := deadline - self._connection.clock()) > 0.0:
            request = _wait_request(self.name, remaining)
            try:
                operation = await self._connection.call(self._stub.WaitOperation, request, remaining)
            except DeadlineExceeded as error:
                raise self._kind.not_over(timeout) from error
            if operation.done:
                return self._kind.result_of(operation)
        raise self._kind.not_over(timeout)

    async def cancel(self, *, timeout: float | None = None) -> None:
        """Ask the server to stop at its next step. No effect once it is over."""
        request = operations_pb2.CancelOperationRequest(name=self.name)
        await self._connection.call(self._stub.CancelOperation, request, timeout)


def _wait_request(name: str, remaining_s: float) -> operations_pb2.WaitOperationRequest:
    held = duration_pb2.Duration()
    held.FromMilliseconds(int(min(remaining_s, _WAIT_S) * 1000))
    return operations_pb2.WaitOperationRequest(name=name, timeout=held)
