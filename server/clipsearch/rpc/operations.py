"""google.longrunning.Operations: watching and stopping long jobs."""

import asyncio
import math
import time

from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf import empty_pb2

from clipsearch.errors import OperationNotFound
from clipsearch.rpc.convert_catalogue import operation
from clipsearch.rpc.status import Context, answers_errors
from clipsearch.services.operations import Operations

POLL_S = 0.1


class OperationsServicer(operations_pb2_grpc.OperationsServicer):  # type: ignore[misc]  # has no stubs
    """The standard service; without a data directory there are no operations."""

    def __init__(self, operations: Operations | None) -> None:
        self._operations = operations

    @answers_errors
    async def ListOperations(
        self, request: operations_pb2.ListOperationsRequest, context: Context
    ) -> operations_pb2.ListOperationsResponse:
        known = self._operations.all() if self._operations is not None else []
        return operations_pb2.ListOperationsResponse(operations=[operation(job) for job in known])

    @answers_errors
    async def GetOperation(
        self, request: operations_pb2.GetOperationRequest, context: Context
    ) -> operations_pb2.Operation:
        return operation(self._known().get(request.name))

    @answers_errors
    async def WaitOperation(
        self, request: operations_pb2.WaitOperationRequest, context: Context
    ) -> operations_pb2.Operation:
        job = self._known().get(request.name)
        remaining = context.time_remaining()
        asked = request.timeout.ToTimedelta().total_seconds() if request.HasField("timeout") else None
        timeouts = [seconds for seconds in (remaining, asked) if seconds is not None]
        until = time.monotonic() + min(timeouts, default=math.inf)
        # Looking now and then rather than waiting on a thread: watchers of slow jobs would use up the threads.
        while not job.done.is_set() and (left := until - time.monotonic()) > 0.0:  # noqa: ASYNC110  # set by a thread
            await asyncio.sleep(min(left, POLL_S))
        return operation(job)

    @answers_errors
    async def CancelOperation(
        self, request: operations_pb2.CancelOperationRequest, context: Context
    ) -> empty_pb2.Empty:
        self._known().cancel(request.name)
        return empty_pb2.Empty()

    @answers_errors
    async def DeleteOperation(
        self, request: operations_pb2.DeleteOperationRequest, context: Context
    ) -> empty_pb2.Empty:
        self._known().forget(request.name)
        return empty_pb2.Empty()

    def _known(self) -> Operations:
        if self._operations is None:
            raise OperationNotFound("there is no such operation")
        return self._operations
