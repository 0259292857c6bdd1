"""The one mapping from errors to statuses on the wire."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, TypeVar

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc import aio

from clipsearch.errors import DOMAIN, ClipsearchError, Code

logger = logging.getLogger(__name__)

Self = TypeVar("Self")
Request = TypeVar("Request")
Response = TypeVar("Response")
Context = aio.ServicerContext[Any, Any]

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
    """End the call with the error's status."""
    status = to_status(error)
    trailer = ((DETAILS_KEY, status.SerializeToString()),)
    await context.abort(_GRPC_CODES[status.code], status.message, trailer)


def answers_errors(
    method: Callable[[Self, Request, Context], Coroutine[Any, Any, Response]],
) -> Callable[[Self, Request, Context], Coroutine[Any, Any, Response]]:
    """Wrap a servicer's method so that what it raises becomes a status; unforeseen exceptions are logged.

    A plain wrapper rather than an interceptor: an interceptor costs each call a second handler object and coroutine.
    """

    async def wrapper(self: Self, request: Request, context: Context) -> Response:
        try:
            return await method(self, request, context)
        except ClipsearchError as error:
            await abort(context, error)
        except (asyncio.CancelledError, aio.AbortError):
            raise
        except Exception as error:
            logger.exception("unforeseen exception in %s", method.__qualname__)
            await abort(context, error)

    return wrapper
