"""Log lines: text for people or one JSON object each, with the request they belong to, and never a caller's words.

Messages are the code's own and name what the server named. The texts of exceptions are not: a parser quotes what it
could not parse. So an exception is logged with its type and its frames, and with its text only where that is known to
be a library's or the system's own words.
"""

import json
import logging
import sqlite3
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal

from clipsearch.errors import ClipsearchError, Code
from clipsearch.telemetry.requests import current_id

_access = logging.getLogger("clipsearch.access")

_OWN_WORDS = (OSError, sqlite3.Error, MemoryError)
_SERVERS_FAULT = frozenset({Code.INTERNAL, Code.FAILED_PRECONDITION, Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED})
_HUNG_UP = "ExecuteBatchError raised in core by servicer method"
_LIBRARIES = ("onnxruntime", "faiss", "grpc")

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


def configure(level: str, style: Literal["text", "json"]) -> None:
    """Send everything from ``level`` up to stderr; for the process that serves, once."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler])
    # Written only where it was asked for, whatever else is.
    _access.setLevel(logging.INFO)
    # Pillow logs what is wrong with a picture as an error of ours; the caller is told, and could fill the log with it.
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    # So does grpc.aio with an answer whose caller went away before gRPC had told it so.
    logging.getLogger("grpc._cython.cygrpc").addFilter(lambda record: not record.getMessage().startswith(_HUNG_UP))


class TextFormatter(logging.Formatter):
    """Time, level, logger, request id where there is one, message."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and those of an exception under it."""
        request_id = current_id()
        begin = f"{self.formatTime(record)} {record.levelname} {record.name}"
        line = f"{begin}{f' [{request_id}]' if request_id else ''}: {record.getMessage()}"
        return "\n".join([line, *_told(record)])

    def formatException(self, ei: ExcInfo) -> str:
        """Return an exception without a caller's words."""
        return "\n".join(_lines(ei[1]))


class JsonFormatter(logging.Formatter):
    """One object on one line: ``time`` (UTC, ISO 8601), ``level``, ``logger``, ``message``, and where they apply
    ``request_id``, ``exception``, ``stack`` and the fields of an access line.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the object."""
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := current_id():
            fields["request_id"] = request_id
        fields |= getattr(record, "fields", {})
        if record.exc_info:
            fields["exception"] = "\n".join(_lines(record.exc_info[1]))
        if stack := getattr(record, "stacks", None) or record.stack_info:
            fields["stack"] = stack
        return json.dumps(fields, ensure_ascii=False, default=str)


def access_log(method: str, code: str, reason: str, seconds: float) -> None:
    """Log a call that ended, as a ``rpc.observed.RequestObserver``."""
    fields = {"method": method, "code": code, "duration_ms": round(1e3 * seconds, 3)}
    if reason:
        fields["reason"] = reason
    _access.info(
        "%s %s%s in %.2f ms", method, code, f" ({reason})" if reason else "", 1e3 * seconds, extra={"fields": fields}
    )


def _told(record: logging.LogRecord) -> Iterator[str]:
    if record.exc_info:
        yield from _lines(record.exc_info[1])
    if stack := getattr(record, "stacks", None) or record.stack_info:
        yield stack


def _lines(error: BaseException | None) -> Iterator[str]:
    """An exception and what led to it, the cause first as Python prints it."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    for one in reversed(seen):
        yield from "".join(traceback.format_tb(one.__traceback__)).splitlines()
        yield _headline(one)


def _headline(error: BaseException) -> str:
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return f"{name}: {error}" if _speaks_for_itself(error) else f"{name} (its text is left out: it may quote a caller)"


def _speaks_for_itself(error: BaseException) -> bool:
    if isinstance(error, ClipsearchError):
        return error.code in _SERVERS_FAULT
    # C++ libraries raise through their bindings as RuntimeError.
    return (
        isinstance(error, _OWN_WORDS)
        or type(error) is RuntimeError
        or type(error).__module__.split(".")[0] in _LIBRARIES
    )
