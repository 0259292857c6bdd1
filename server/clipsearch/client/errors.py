"""What a call can raise: a small tree by status code, read from the server's ``google.rpc`` details.

Switch on the class for what to do and on ``reason`` for exactly what happened; the message is for people and may
change. The details are read from the trailing metadata rather than through ``grpc_status``, because that one reads
neither asyncio errors nor the per-item statuses of batch answers; this way there is one reader for all three.
"""

from dataclasses import dataclass

import grpc
from google.rpc import error_details_pb2, status_pb2

from clipsearch.errors import DOMAIN

_DETAILS_KEY = "grpc-status-details-bin"
_RESET = "CANCELLED"
"""gRPC's message for a call that the other end reset; one cancelled on this side says by whom."""
_CODES = {code.value[0]: code for code in grpc.StatusCode}


@dataclass(frozen=True, slots=True)
class Violation:
    """One bad field of a request: its path (``query.image``) and what is wrong with it."""

    field: str
    description: str


class ClientError(Exception):
    """A call, or one item of a batch or stream, failed.

    ``code`` is the gRPC status code; ``reason`` the server's stable UPPER_SNAKE word for what happened, empty where the
    failure did not come from a clipsearch server (no connection, a proxy); ``metadata`` holds the dynamic values of the
    message, ``violations`` the bad fields, and ``retry_after_s`` the wait in seconds that the server asks for.
    """

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode = grpc.StatusCode.UNKNOWN,
        reason: str = "",
        metadata: dict[str, str] | None = None,
        violations: tuple[Violation, ...] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.reason = reason
        self.metadata = metadata or {}
        self.violations = violations
        self.retry_after_s = retry_after_s
        self.unanswered: tuple[object, ...] = ()
        """Of a broken stream or ``upsert_many``: the ids that were taken and have no result handed out, in order."""

    @property
    def field(self) -> str | None:
        """Path of the first bad field of the request, if the server names one."""
        return self.violations[0].field if self.violations else None

    def __str__(self) -> str:
        """Return ``CODE (REASON): message``."""
        return f"{self.code.name}{f' ({self.reason})' if self.reason else ''}: {self.message}"


class InvalidArgument(ClientError):
    """The request is at fault and will fail again; ``field`` and ``reason`` say where and why."""


class Unauthenticated(ClientError):
    """No API key was sent, or one that the server does not take."""


class PermissionDenied(ClientError):
    """The API key is good, but not for this method; or the method is closed on this server."""


class NotFound(ClientError):
    """There is no such item, collection or operation; ``reason`` says which of them."""


class AlreadyExists(ClientError):
    """A collection of that name is there already."""


class FailedPrecondition(ClientError):
    """Not in the state the server is in: it has no index, or has not reached the sequence number asked for."""


class Aborted(ClientError):
    """Something like it is being done already, such as another rebuild of the same index; try again later."""


class ResourceExhausted(ClientError):
    """Over a limit, such as the size of a message."""


class Overloaded(ResourceExhausted):
    """The server is full for now and said when to come back (``retry_after_s``); the client did, and gave up."""


class DeadlineExceeded(ClientError):
    """No answer within the timeout; the server stops working on it too."""


class Unavailable(ClientError):
    """No server could be reached, or it is shutting down; retried already where that is possible.

    Its ``code`` is CANCELLED where the server's end of the connection reset the call.
    """


class Cancelled(ClientError):
    """The call was cancelled, usually by closing the client while it ran; or the rebuild, by whoever asked for that."""


class Internal(ClientError):
    """The server's fault; its log has the cause."""


_CLASSES: dict[grpc.StatusCode, type[ClientError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    grpc.StatusCode.ABORTED: Aborted,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhausted,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.CANCELLED: Cancelled,
    grpc.StatusCode.INTERNAL: Internal,
}


def from_status(status: status_pb2.Status) -> ClientError:
    """Make the typed error of a ``google.rpc.Status``; details of other domains and types are left out."""
    code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    info = error_details_pb2.ErrorInfo()
    request = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    retry_after_s: float | None = None
    reason, metadata = "", {}
    violations: tuple[Violation, ...] = ()
    for detail in status.details:
        if detail.Unpack(info) and info.domain == DOMAIN:
            reason, metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(request):
            violations = tuple(Violation(v.field, v.description) for v in request.field_violations)
        elif detail.Unpack(retry):
            retry_after_s = retry.retry_delay.ToTimedelta().total_seconds()
    kind = _CLASSES.get(code, ClientError)
    if kind is ResourceExhausted and retry_after_s is not None:
        kind = Overloaded
    return kind(
        status.message,
        code=code,
        reason=reason,
        metadata=metadata,
        violations=violations,
        retry_after_s=retry_after_s,
    )


def from_rpc_error(error: grpc.RpcError) -> ClientError:
    """Make the typed error of a failed call, sync or asyncio; without details, from its code and message alone."""
    if not isinstance(error, grpc.Call | grpc.aio.AioRpcError):
        return ClientError(str(error))
    if error.code() is grpc.StatusCode.CANCELLED and error.details() == _RESET:
        return Unavailable("the server went away before it answered", code=grpc.StatusCode.CANCELLED)
    status = status_pb2.Status(code=error.code().value[0], message=error.details() or "")
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            sent = status_pb2.Status.FromString(value)
            # Details of another failure than the one reported (a proxy may replace the status) would mislead.
            if sent.code == status.code:
                status = sent
    return from_status(status)
