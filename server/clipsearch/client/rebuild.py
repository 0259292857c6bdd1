"""A rebuild of an index, which the server runs by itself: watching it and stopping it."""

# ruff: noqa: ASYNC109  a timeout here is the call's deadline, which the server is told: more than asyncio.timeout does

import math

import grpc
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf import duration_pb2

from clipsearch.client import convert_catalogue
from clipsearch.client.connection import AsyncConnection, Connection
from clipsearch.client.errors import DeadlineExceeded
from clipsearch.client.types import IndexStats, RebuildProgress

_WAIT_S = 30.0
"""How long the server is asked to hold one call: less than what proxies take for a dead connection."""


class Rebuild:
    """A rebuild that was started. It goes on whether or not somebody watches; ``name`` is the operation's name."""

    def __init__(self, connection: Connection, name: str) -> None:
        self.name = name
        self._connection = connection
        self._stub = operations_pb2_grpc.OperationsStub(connection.channel)

    def progress(self, *, timeout: float | None = None) -> RebuildProgress:
        """Ask the server how far the rebuild is."""
        request = operations_pb2.GetOperationRequest(name=self.name)
        return convert_catalogue.rebuild_progress(self._connection.call(self._stub.GetOperation, request, timeout))

    def wait(self, timeout: float = math.inf) -> IndexStats:
        """Return the new index once it serves; raises what the rebuild failed with, Cancelled if it was cancelled.

        DeadlineExceeded says that it was not over within ``timeout`` seconds; it goes on.
        """
        deadline = self._connection.requests.deadline(timeout, self._connection.clock())
        while (remaining := deadline - self._connection.clock()) > 0.0:
            request = _wait_request(self.name, remaining)
            try:
                operation = self._connection.call(self._stub.WaitOperation, request, remaining)
            except DeadlineExceeded as error:
                raise _not_over(timeout) from error
            if operation.done:
                return convert_catalogue.rebuild_result(operation)
        raise _not_over(timeout)

    def cancel(self, *, timeout: float | None = None) -> None:
        """Ask the server to stop the rebuild at its next step: the old index stays. No effect on one that is over."""
        request = operations_pb2.CancelOperationRequest(name=self.name)
        self._connection.call(self._stub.CancelOperation, request, timeout)


class AsyncRebuild:
    """As ``Rebuild``, awaited."""

    def __init__(self, connection: AsyncConnection, name: str) -> None:
        self.name = name
        self._connection = connection
        self._stub = operations_pb2_grpc.OperationsStub(connection.channel)

    async def progress(self, *, timeout: float | None = None) -> RebuildProgress:
        """Ask the server how far the rebuild is."""
        request = operations_pb2.GetOperationRequest(name=self.name)
        operation = await self._connection.call(self._stub.GetOperation, request, timeout)
        return convert_catalogue.rebuild_progress(operation)

    async def wait(self, timeout: float = math.inf) -> IndexStats:
        """Return the new index once it serves; raises what the rebuild failed with, Cancelled if it was cancelled.

        DeadlineExceeded says that it was not over within ``timeout`` seconds; it goes on.
        """
        deadline = self._connection.requests.deadline(timeout, self._connection.clock())
        while (remaining := deadline - self._connection.clock()) > 0.0:
            request = _wait_request(self.name, remaining)
            try:
                operation = await self._connection.call(self._stub.WaitOperation, request, remaining)
            except DeadlineExceeded as error:
                raise _not_over(timeout) from error
            if operation.done:
                return convert_catalogue.rebuild_result(operation)
        raise _not_over(timeout)

    async def cancel(self, *, timeout: float | None = None) -> None:
        """Ask the server to stop the rebuild at its next step: the old index stays. No effect on one that is over."""
        request = operations_pb2.CancelOperationRequest(name=self.name)
        await self._connection.call(self._stub.CancelOperation, request, timeout)


def _wait_request(name: str, remaining_s: float) -> operations_pb2.WaitOperationRequest:
    held = duration_pb2.Duration()
    held.FromMilliseconds(int(min(remaining_s, _WAIT_S) * 1000))
    return operations_pb2.WaitOperationRequest(name=name, timeout=held)


def _not_over(timeout: float) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"the rebuild was not over within {timeout:g} s; it goes on", code=grpc.StatusCode.DEADLINE_EXCEEDED
    )
