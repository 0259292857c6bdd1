"""What is done for every call besides answering it: it gets a request id, and observers are told how it ended."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from grpc import aio

from clipsearch.rpc.callers import name_by_header
from clipsearch.telemetry.requests import HEADER, enter, given_id, id_maker

Context = aio.ServicerContext[Any, Any]

RequestObserver = Callable[[str, str, str, float], None]
"""Told of every call that ended, on the event loop: method, status code by name, the error's reason (empty where there
was none) and the seconds it took."""


class Observation:
    """One server's: its way to name requests, and its observers."""

    def __init__(self, observers: Sequence[RequestObserver] = (), caller_header: str | None = None) -> None:
        """``caller_header`` is the metadata key, if any, that is believed about who calls."""
        self._observers = observers
        self._caller_header = None if caller_header is None else caller_header.lower()
        self._new_id = id_maker()

    def begin(self, context: Context) -> float:
        """Name the request, tell the caller the name with the trailing metadata, and return the time."""
        metadata = context.invocation_metadata() or ()
        request_id = given_id(metadata) or self._new_id()
        if self._caller_header is not None:
            name_by_header(metadata, self._caller_header)
        enter(request_id)
        context.set_trailing_metadata(((HEADER, request_id),))
        return time.monotonic()

    def end(self, method: str, code: str, reason: str, began: float) -> None:
        """Tell the observers of a call that ``begin`` gave the time of."""
        for observer in self._observers:
            observer(method, code, reason, time.monotonic() - began)


class Observed:
    """A servicer whose calls are observed."""

    observation: Observation
    """Set by the server that the servicer is added to."""
