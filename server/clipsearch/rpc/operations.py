"""google.longrunning.Operations: watching and stopping long jobs."""

import asyncio
import math
import time

from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf import empty_pb2

from clipsearch.rpc.convert_operations import operation
from clipsearch.rpc.observed import Context, Observed
from clipsearch.rpc.status import answers_errors
from clipsearch.services.operations import Operations

POLL_S = 0.1


class OperationsServicer(Observed, operations_pb2_grpc.OperationsServicer):  # type: ignore[misc]  # has no stubs
    """The standard service; without a data directory no operation is ever started."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    @answers_errors
    async def ListOperations(
        self, request: operations_pb2.ListOperationsRequest, context: Context
    ) -> operations_pb2.ListOperationsResponse:
        return operations_pb2.ListOperationsResponse(operations=[operation(job) for job in self._operations.all()])

    @answers_errors
    async def GetOperation(
        self, request: operations_pb2.GetOperationRequest, context: Context
    ) -> operations_pb2.Operation:
        return operation(self._operations.get(request.name))

    @answers_errors
    async def WaitOperation(
        self, request: operations_pb2.WaitOperationRequest, context: Context
    ) -> operations_pb2.Operation:
        job = self._operations.get(request.name)
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
        self._operations.cancel(request.name)
        return empty_pb2.Empty()

    @answers_errors
    async def DeleteOperation(
        self, request: operations_pb2.DeleteOperationRequest, context: Context
    ) -> empty_pb2.Empty:
        self._operations.forget(request.name)
        return empty_pb2.Empty()
