"""StreamEmbed for threads and for asyncio: one window of open items between the caller's iterable and the call.

In the blocking version the caller's own thread does both: it fills the window, then waits for an answer. The caller's
iterable thus runs where the caller expects it, its exceptions come out by themselves, and a generator that is dropped
half-way leaves no thread behind. The price is that no answer is handed out while the iterable blocks. The asyncio
version has a task for each direction and does not pay that price.
"""

import asyncio
import queue
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from contextlib import aclosing
from enum import Enum
from typing import TypeAlias

import grpc

from clipsearch.client import convert
from clipsearch.client.bulk import Key, Window
from clipsearch.client.errors import Cancelled, ClientError, DeadlineExceeded, Internal, Unavailable, from_rpc_error
from clipsearch.client.requests import Metadata
from clipsearch.client.types import Embedded
from clipsearch.v1 import embedding_pb2

Result = tuple[Key, Embedded | ClientError]
Prepared = tuple[Key, embedding_pb2.EmbedInput | ClientError]
MakeRequest = Callable[[str, embedding_pb2.EmbedInput], embedding_pb2.StreamEmbedRequest]
"""Makes one message of the stream from an item's name on the wire and the item."""

_LOST_DETAILS = "Internal error from Core"
"""What grpc.aio says instead of the call's true status when a message could not be sent because the call had ended."""

_Up = embedding_pb2.StreamEmbedRequest
_Down = embedding_pb2.StreamEmbedResponse
# In quotes: grpc's classes are generic for type checkers only.
_Method: TypeAlias = "grpc.StreamStreamMultiCallable[_Up, _Down]"
_AsyncMethod: TypeAlias = "grpc.aio.StreamStreamMultiCallable[_Up, _Down]"
_AsyncCall: TypeAlias = "grpc.aio.StreamStreamCall[_Up, _Down]"


def blocking(
    method: _Method,
    items: Iterable[Prepared[Key]],
    window: Window[Key],
    make_request: MakeRequest,
    timeout: float | None,
    *,
    metadata: Metadata,
) -> Iterator[Result[Key]]:
    """Run a stream in this thread; see ``Client.stream_embed``."""
    outbox: queue.SimpleQueue[_Up | None] = queue.SimpleQueue()
    # gRPC sends from a thread of its own; a None ends that thread and the sending half of the stream.
    call = method(iter(outbox.get, None), timeout=timeout, metadata=metadata)
    try:
        for key, item in items:
            if isinstance(item, ClientError):
                yield from window.answer(window.open(key, 0), item)
            else:
                outbox.put(make_request(window.open(key, item.ByteSize()), item))
            while window.is_full():
                yield from _next_answer(call, window)
        outbox.put(None)
        while not window.is_empty():
            yield from _next_answer(call, window)
        # To the end of the call, so that the server sees it finished rather than cancelled.
        next(call, None)
    except grpc.RpcError as error:
        raise _broken(from_rpc_error(error), window) from error
    finally:
        outbox.put(None)
        call.cancel()


def _next_answer(call: Iterator[_Down], window: Window[Key]) -> list[Result[Key]]:
    response = next(call, None)
    if response is None:
        raise _ended_early(window)
    return window.answer(response.item_id, convert.embed_result(response))


async def asynchronous(
    method: _AsyncMethod,
    items: AsyncGenerator[Prepared[Key], None],
    window: Window[Key],
    make_request: MakeRequest,
    seconds: float | None,
    *,
    metadata: Metadata,
) -> AsyncIterator[Result[Key]]:
    """Run a stream with a task for each direction; see ``AsyncClient.stream_embed``."""
    call = method(timeout=seconds, metadata=metadata)
    # Holds at most one answer for each item in the window, since an item leaves the window below, when it is taken.
    outcomes: asyncio.Queue[_Outcome] = asyncio.Queue()
    room = asyncio.Event()
    tasks = [
        asyncio.create_task(_send(call, items, window, make_request, outcomes=outcomes, room=room)),
        asyncio.create_task(_receive(call, outcomes)),
    ]
    all_sent = False
    try:
        while (outcome := await outcomes.get()) is not _ENDED:
            if isinstance(outcome, BaseException):
                raise outcome
            if outcome is _SENT:
                all_sent = True
            elif isinstance(outcome, tuple):
                for result in window.answer(*outcome):
                    room.set()
                    yield result
        if not (all_sent and window.is_empty()):
            raise _ended_early(window)
    except ClientError as error:
        error.unanswered = window.unanswered()
        raise
    finally:
        call.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Mark(Enum):
    SENT = "the caller's iterable is exhausted"
    ENDED = "the server has ended the stream, with status OK"


_SENT, _ENDED = _Mark.SENT, _Mark.ENDED
_Outcome = tuple[str, Embedded | ClientError] | BaseException | _Mark


async def _send(
    call: _AsyncCall,
    items: AsyncGenerator[Prepared[Key], None],
    window: Window[Key],
    make_request: MakeRequest,
    *,
    outcomes: "asyncio.Queue[_Outcome]",
    room: asyncio.Event,
) -> None:
    try:
        async with aclosing(items):
            async for key, item in items:
                if isinstance(item, ClientError):
                    outcomes.put_nowait((window.open(key, 0), item))
                elif not await _write(call, make_request(window.open(key, item.ByteSize()), item)):
                    return
                while window.is_full():
                    room.clear()
                    await room.wait()
    except Exception as error:  # noqa: BLE001  the caller's iterable may raise anything; it is raised to the caller
        outcomes.put_nowait(error)
        return
    outcomes.put_nowait(_SENT)
    await call.done_writing()


async def _write(call: _AsyncCall, request: _Up) -> bool:
    """Send one message; False where the call is over, whose reason ``_receive`` reports."""
    try:
        await call.write(request)
    except (grpc.RpcError, asyncio.InvalidStateError):
        return False
    return True


async def _receive(call: _AsyncCall, outcomes: "asyncio.Queue[_Outcome]") -> None:
    try:
        async for response in call:
            outcomes.put_nowait((response.item_id, convert.embed_result(response)))
    except grpc.aio.AioRpcError as cause:
        error = _lost_status(call) if cause.details() == _LOST_DETAILS else from_rpc_error(cause)
        error.__cause__ = cause
        outcomes.put_nowait(error)
    except asyncio.CancelledError:
        # Also what closing the client does to a call that runs; the one who waits for outcomes must not wait for ever.
        outcomes.put_nowait(Cancelled("the stream was cancelled", code=grpc.StatusCode.CANCELLED))
        raise
    else:
        outcomes.put_nowait(_ENDED)


def _lost_status(call: _AsyncCall) -> ClientError:
    """Make the error of a call whose status was overwritten because it ended while a message was being sent.

    grpc/grpc#36066; what is lost is nearly always that the server drains or the connection broke.
    """
    remaining = call.time_remaining()
    if remaining is not None and remaining <= 0:
        return DeadlineExceeded("the stream's deadline passed", code=grpc.StatusCode.DEADLINE_EXCEEDED)
    return Unavailable("the stream ended while an item was being sent", code=grpc.StatusCode.UNAVAILABLE)


def _ended_early(window: Window[Key]) -> ClientError:
    return _broken(
        Internal("the server ended the stream before it had answered every item", code=grpc.StatusCode.INTERNAL), window
    )


def _broken(error: ClientError, window: Window[Key]) -> ClientError:
    error.unanswered = window.unanswered()
    return error
