"""What the verbs that ask a server share."""

import time
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from clipsearch.client_options import Command, access, access_options

if TYPE_CHECKING:
    import grpc
    from google.protobuf.message import Message

    from clipsearch.client.connection import Connection

DEFAULT_SERVER = "127.0.0.1:50051"

POLL_S = 0.5
"""How long one call waits for an operation; progress is drawn in between."""

TIMEOUT_S = 30.0


def server_option(command: Command) -> Command:
    """Add ``--server``, None when it is not given, so that a verb with another way to work can tell; and how to reach
    it, which ``access`` returns.
    """
    option = click.option("--server", metavar="HOST:PORT", help=f"The server to ask. [default: {DEFAULT_SERVER}]")
    return option(access_options(command))


def run_operation(
    server: str,
    method: str,
    request: "Message",
    metadata: "Message",
    response: "Message",
    *,
    service: Callable[["grpc.Channel"], Any] | None = None,
) -> None:
    """Call a method that returns an operation, and wait for it with progress on stderr.

    ``service`` makes the stub that has it, CatalogueService's if None. ``metadata`` and ``response`` are empty messages
    of the operation's own types, to be filled. Ctrl-C cancels the operation. Raises ClientError where the call or the
    operation fails.
    """
    from google.longrunning import operations_pb2, operations_pb2_grpc

    from clipsearch.cli.index import progress_bars
    from clipsearch.client.channel import MAX_MESSAGE_BYTES
    from clipsearch.client.connection import Connection
    from clipsearch.client.errors import from_status
    from clipsearch.client.requests import Requests
    from clipsearch.client.retry import RetryPolicy
    from clipsearch.v1.catalogue_pb2_grpc import CatalogueServiceStub

    how = access()
    settings = Requests(TIMEOUT_S, "float32", RetryPolicy(), MAX_MESSAGE_BYTES, how["api_key"])
    with closing(Connection(server, settings, how["credentials"], time.monotonic, time.sleep)) as connection:
        stub = operations_pb2_grpc.OperationsStub(connection.channel)
        called = (service or CatalogueServiceStub)(connection.channel)
        job = connection.call(getattr(called, method), request, None)
        try:
            with progress_bars() as report:
                job = _wait(connection, stub, job, metadata, report)
        except KeyboardInterrupt:
            connection.call(stub.CancelOperation, operations_pb2.CancelOperationRequest(name=job.name), None)
            raise click.ClickException(f"interrupted; {job.name} was cancelled") from None
    if job.HasField("error"):
        raise from_status(job.error)
    job.response.Unpack(response)


def _wait(connection: "Connection", stub: Any, job: Any, metadata: Any, report: Callable[[str, int, int], None]) -> Any:
    from google.longrunning import operations_pb2
    from google.protobuf import duration_pb2

    timeout = duration_pb2.Duration(nanos=int(POLL_S * 1e9))
    while True:
        job.metadata.Unpack(metadata)
        if metadata.total_steps:
            report(metadata.stage, metadata.done_steps, metadata.total_steps)
        if job.done:
            return job
        request = operations_pb2.WaitOperationRequest(name=job.name, timeout=timeout)
        job = connection.call(stub.WaitOperation, request, POLL_S + TIMEOUT_S)
