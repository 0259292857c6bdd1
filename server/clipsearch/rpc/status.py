"""The one mapping from errors to statuses on the wire."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, TypeVar

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from clipsearch.errors import DOMAIN, ClipsearchError, Code
from clipsearch.rpc.observed import Context, Observation, Observed
from clipsearch.telemetry.requests import HEADER, current_id

logger = logging.getLogger(__name__)

Self = TypeVar("Self", bound=Observed)
Request = TypeVar("Request")
Response = TypeVar("Response")

# Where grpc carries a google.rpc.Status beside its own code and message.
DETAILS_KEY = "grpc-status-details-bin"
# Constant, because an unforeseen exception's text may hold anything, a caller's data included.
INTERNAL_TEXT = "internal error; the server's log has the details"

_GRPC_CODES = {code.value[0]: code for code in grpc.StatusCode}


def to_status(error: BaseException) -> status_pb2.Status:
    """Convert an error into a ``google.rpc.Status`` with ErrorInfo, BadRequest and RetryInfo where they apply."""
    if not isinstance(error, ClipsearchError):
        error = ClipsearchError(INTERNAL_TEXT)
    details = [error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)]
    packed = [_packed(detail) for detail in details]
    if error.field is not None and error.code is Code.INVALID_ARGUMENT:
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=error.message)
        packed.append(_packed(error_details_pb2.BadRequest(field_violations=[violation])))
    if error.retry_after_s is not None:
        delay = duration_pb2.Duration(nanos=int(error.retry_after_s % 1 * 1e9), seconds=int(error.retry_after_s))
        packed.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
    return status_pb2.Status(code=int(error.code), message=error.message, details=packed)


def _packed(detail: Any) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed


async def abort(context: Context, error: BaseException) -> NoReturn:
    """End the call with the error's status, which names the request."""
    status = to_status(error)
    request_id = current_id()
    status.details.append(_packed(error_details_pb2.RequestInfo(request_id=request_id)))
    trailer = ((DETAILS_KEY, status.SerializeToString()), (HEADER, request_id))
    await context.abort(_GRPC_CODES[status.code], status.message, trailer)


async def refuse(context: Context, error: ClipsearchError, name: str, observation: Observation) -> NoReturn:
    """End a call that no servicer gets to see, of the method ``name``; it is observed as theirs are."""
    observation.end(name, error.code.name, error.reason, observation.begin(context))
    await abort(context, error)


def answers_errors(
    method: Callable[[Self, Request, Context], Coroutine[Any, Any, Response]],
) -> Callable[[Self, Request, Context], Coroutine[Any, Any, Response]]:
    """Wrap a servicer's method so that what it raises becomes a status; unforeseen exceptions are logged.

    The call is observed as well, see ``observed``.

    A plain wrapper rather than an interceptor: an interceptor costs each call a second handler object and coroutine.
    """

    async def wrapper(self: Self, request: Request, context: Context) -> Response:
        failure: Exception
        began, code, reason = self.observation.begin(context), "OK", ""
        try:
            return await method(self, request, context)
        except ClipsearchError as error:
            code, reason, failure = error.code.name, error.reason, error
        except asyncio.CancelledError:
            code = _cancelled_by(context)
            raise
        except Exception as error:
            code, reason, failure = Code.INTERNAL.name, ClipsearchError.reason, error
            logger.exception("unforeseen exception in %s", method.__qualname__)
        finally:
            # Before the caller hears of it: whoever then looks at the metrics finds the call there.
            self.observation.end(name, code, reason, began)
        return await abort(context, failure)

    name = method.__name__
    return wrapper


def _cancelled_by(context: Context) -> str:
    """The code that a cancelled call ends with: its deadline's, or that of a caller who went away."""
    remaining = context.time_remaining()
    late = remaining is not None and remaining <= 0.0
    return (grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED).name
