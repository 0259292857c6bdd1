"""What the verbs that ask a server share."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from google.protobuf.message import Message

DEFAULT_SERVER = "127.0.0.1:50051"

POLL_S = 0.5
"""How long one call waits for an operation; progress is drawn in between."""

TIMEOUT_S = 30.0

server_option = click.option("--server", metavar="HOST:PORT", help=f"The server to ask. [default: {DEFAULT_SERVER}]")
"""``--server``; None when it is not given, so that a verb with another way to work can tell."""


def run_operation(server: str, method: str, request: "Message", metadata: "Message", response: "Message") -> None:
    """Call a method of CatalogueService that returns an operation, and wait for it with progress on stderr.

    ``metadata`` and ``response`` are empty messages of the operation's own types, to be filled. Ctrl-C cancels the
    operation. Raises ClientError where the call or the operation fails.
    """
    import grpc
    from google.longrunning import operations_pb2, operations_pb2_grpc

    from clipsearch.cli.index import progress_bars
    from clipsearch.client.channel import MAX_MESSAGE_BYTES, channel_options
    from clipsearch.client.errors import from_rpc_error, from_status
    from clipsearch.client.retry import RetryPolicy
    from clipsearch.v1.catalogue_pb2_grpc import CatalogueServiceStub

    with grpc.insecure_channel(server, channel_options(RetryPolicy(), MAX_MESSAGE_BYTES)) as channel:
        stub = operations_pb2_grpc.OperationsStub(channel)
        try:
            job = getattr(CatalogueServiceStub(channel), method)(request, timeout=TIMEOUT_S)
            try:
                with progress_bars() as report:
                    job = _wait(stub, job, metadata, report)
            except KeyboardInterrupt:
                stub.CancelOperation(operations_pb2.CancelOperationRequest(name=job.name), timeout=TIMEOUT_S)
                raise click.ClickException(f"interrupted; {job.name} was cancelled") from None
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
    if job.HasField("error"):
        raise from_status(job.error)
    job.response.Unpack(response)


def _wait(stub: Any, job: Any, metadata: Any, report: Callable[[str, int, int], None]) -> Any:
    from google.longrunning import operations_pb2
    from google.protobuf import duration_pb2

    timeout = duration_pb2.Duration(nanos=int(POLL_S * 1e9))
    while True:
        job.metadata.Unpack(metadata)
        if metadata.total_steps:
            report(metadata.stage, metadata.done_steps, metadata.total_steps)
        if job.done:
            return job
        job = stub.WaitOperation(
            operations_pb2.WaitOperationRequest(name=job.name, timeout=timeout), timeout=POLL_S + TIMEOUT_S
        )
