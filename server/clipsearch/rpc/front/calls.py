"""The engine's side of a front: runs the calls that it passes on."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, Final, NoReturn

import grpc
from grpc import aio

from clipsearch.rpc.front import frames as f
from clipsearch.rpc.front.frames import Frame, Metadata
from clipsearch.rpc.methods import Metadatum, Methods
from clipsearch.rpc.status import INTERNAL_TEXT

logger = logging.getLogger(__name__)

Send = Callable[[Frame], None]

CANCELLED: Final = (grpc.StatusCode.CANCELLED, "the call was cancelled")


class Calls:
    """All calls of one front, each a task of its own."""

    def __init__(self, methods: Methods, send: Send) -> None:
        """``send`` sends a frame to the front."""
        self._methods, self._send = methods, send
        self._running: dict[int, PassedCall] = {}

    def receive(self, frame: Frame) -> None:
        """Take a frame about a call."""
        kind, number = frame[0], frame[1]
        call = self._running.get(number)
        if kind == f.CALL and call is None:
            self._start(PassedCall(number, self._send, frame[2], frame[3])).enter(*frame[4:])
        elif kind == f.ASK:
            self._start(PassedCall(number, self._send, frame[2], frame[3], asks=True))
        elif call is None:
            return  # it has ended, which the front did not know yet
        elif kind == f.CALL:
            call.enter(*frame[4:])
        elif kind == f.MESSAGE:
            call.stream.messages.put_nowait(frame[2])
        elif kind == f.CLOSED:
            call.stream.messages.put_nowait(None)
        elif kind == f.ROOM:
            call.stream.room.release()
        elif kind == f.CANCEL:
            call.cancel()

    def cancel_all(self) -> None:
        """The front is gone, and with it everybody who waits."""
        for call in list(self._running.values()):
            call.cancel()

    def _start(self, call: "PassedCall") -> "PassedCall":
        self._running[call.number] = call
        call.task = asyncio.create_task(self._serve(call))
        # Not at the coroutine's end: nothing of it runs where the task is cancelled before its first step.
        call.task.add_done_callback(partial(self._end, call))
        return call

    def _end(self, call: "PassedCall", task: "asyncio.Task[bytes | None]") -> None:
        del self._running[call.number]
        code, text = CANCELLED if task.cancelled() else call.status
        answer = None if task.cancelled() else task.result()
        self._send((f.END, call.number, code.value[0], text, call.trailing, answer))

    async def _serve(self, call: "PassedCall") -> bytes | None:
        """Run a call's method, and return its answer; how it went is the call's status."""
        try:
            handler = await self._methods.find(call.method, call.metadata)
            if handler is None:
                call.status = grpc.StatusCode.UNIMPLEMENTED, "there is no such method"
            else:
                return await _answer(handler, call)
        except aio.AbortError:
            pass  # it has set the status
        except Exception:
            logger.exception("unforeseen exception in %s", call.method)
            call.status = grpc.StatusCode.INTERNAL, INTERNAL_TEXT
        return None


async def _answer(handler: Any, call: "PassedCall") -> bytes | None:
    """Run a method; returns its answer, None where it streams its answers. ``handler`` is a Handler, which is typed for
    servers with threads.
    """
    if handler.unary_unary is not None:
        answer: bytes = handler.response_serializer(await handler.unary_unary(await _request(call, handler), call))
        return answer
    call.serialize = handler.response_serializer
    if handler.request_streaming:
        served = handler.stream_stream(_requests(call, handler), call)
    else:
        served = handler.unary_stream(await _request(call, handler), call)
    if not hasattr(served, "__aiter__"):
        await served
        return None
    # A method may write to the context, as ours do, or yield, as reflection does.
    async for response in served:
        await call.write(response)
    return None


async def _request(call: "PassedCall", handler: Any) -> Any:
    """Return the message of a method that takes one."""
    await call.inside()
    message = call.message if call.message is not None else await call.next()
    if message is None:
        await call.abort(grpc.StatusCode.INTERNAL, "the call ended before its message came")
    return handler.request_deserializer(message)


async def _requests(call: "PassedCall", handler: Any) -> AsyncIterator[Any]:
    while (message := await call.next()) is not None:
        yield handler.request_deserializer(message)


class _Stream:
    """What a call with many messages has besides."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[bytes | None] = asyncio.Queue()
        """What the client sent; None after its last."""
        self.room = asyncio.Semaphore(f.WINDOW)
        """How many messages may be sent to it before it has taken some."""


class PassedCall:
    """One call; to its method the context, with what servicers and interceptors ask of ``aio.ServicerContext``."""

    __slots__ = (
        "_deadline", "_entered", "_peer", "_send", "_stream", "message", "metadata", "method", "number",
        "serialize", "status", "task", "trailing",
    )  # fmt: skip

    def __init__(self, number: int, send: Send, method: str, metadata: Metadata, *, asks: bool = False) -> None:
        """``asks``: it waits outside, and its messages with it, until somebody wants them."""
        self.number, self.method, self.metadata = number, method, metadata
        self.message: bytes | None = None
        """The only one, of a call that came with it."""
        self.serialize: Callable[[Any], bytes] = bytes
        self.status: tuple[grpc.StatusCode, str] = (grpc.StatusCode.OK, "")
        self.trailing: Metadata = []
        self.task: asyncio.Task[bytes | None] | None = None
        self._send = send
        self._deadline: float | None = None
        self._peer = ""
        self._stream: _Stream | None = None
        self._entered: asyncio.Event | None = asyncio.Event() if asks else None

    @property
    def stream(self) -> _Stream:
        """Made when it is first needed, since most calls do not."""
        if self._stream is None:
            self._stream = _Stream()
        return self._stream

    def enter(self, deadline: float | None, peer: str, message: bytes | None) -> None:
        """Take what the front says of a call that is in; ``message`` None: its messages follow."""
        self._deadline, self._peer = deadline, peer
        self.message = message
        if self._entered is not None:
            self._entered.set()

    async def inside(self) -> None:
        """Let the call in, if it asked, and wait until it is."""
        if self._entered is not None:
            self._send((f.LET, self.number))
            await self._entered.wait()
            self._entered = None

    def cancel(self) -> None:
        """End the call's task, if it has not ended by itself."""
        if self.task is not None:
            self.task.cancel()

    async def next(self) -> bytes | None:
        """Return the client's next message of a stream, None after the last."""
        await self.inside()
        message = await self.stream.messages.get()
        self._send((f.ROOM, self.number))
        return message

    # What follows is of aio.ServicerContext, whose documentation says what it does.

    async def write(self, message: Any) -> None:
        """Send one message of a stream, when the client has room for it."""
        await self.inside()
        await self.stream.room.acquire()
        self._send((f.MESSAGE, self.number, self.serialize(message)))

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()) -> NoReturn:
        """End the call with a status."""
        self.status = code, details
        if trailing_metadata:
            self.set_trailing_metadata(trailing_metadata)
        raise aio.AbortError("the call was ended by its method")

    def invocation_metadata(self) -> tuple[Metadatum, ...]:
        """Return the client's metadata."""
        return tuple(map(Metadatum._make, self.metadata))

    def peer(self) -> str:
        """Return the address that the connection is from."""
        return self._peer

    def time_remaining(self) -> float | None:
        """Return the seconds to the deadline, None where there is none."""
        return None if self._deadline is None else self._deadline - time.monotonic()

    def set_trailing_metadata(self, metadata: Any) -> None:
        """Say what goes out with the status."""
        self.trailing = [tuple(pair) for pair in metadata]

    def set_code(self, code: grpc.StatusCode) -> None:
        """Say how the call ends if its method returns."""
        self.status = code, self.status[1]

    def set_details(self, details: str) -> None:
        """Say the text beside the code."""
        self.status = self.status[0], details
