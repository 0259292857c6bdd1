"""A front's side of its calls: passes them to the engine as they come, and answers as the engine says."""

import asyncio
import itertools
import time
import weakref
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, Final

import grpc
from grpc import aio

from clipsearch.rpc.front import frames as f
from clipsearch.rpc.front.frames import Frame, Metadata
from clipsearch.rpc.methods import Handler

Context = aio.ServicerContext[bytes, bytes]
Send = Callable[[Frame], None]

_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}


class Relay(grpc.GenericRpcHandler):
    """All calls of a front."""

    def __init__(self, single: Iterable[str], send: Send) -> None:
        """``single`` are methods with one message each way, by their full names; any other may be a stream."""
        self._send = send
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Frame]] = {}
        self._streams: dict[int, _Stream] = {}
        self._outside: set[int] = set()
        """Calls that the engine has let in and that have not come in yet."""
        self._lost: Frame | None = None
        """How all calls end once the engine is gone."""
        self._handlers = {method: _single(partial(self._pass_single, method, None)) for method in single}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler:
        """Return what passes a method's calls on; that there is no such method, the engine says."""
        method = handler_call_details.method
        return self._handlers.get(method) or _many(partial(self._pass_stream, method, None))

    def receive(self, frame: Frame) -> None:
        """Take a frame about a call."""
        number = frame[1]
        if (stream := self._streams.get(number)) is not None:
            stream.receive(frame)
        elif (answer := self._answers.get(number)) is not None and not answer.done():
            answer.set_result(frame)

    def lose(self) -> None:
        """The engine is gone: calls that wait for it end, and so does whatever comes in."""
        self._lost = (f.END, 0, grpc.StatusCode.UNAVAILABLE.value[0], "the server's process has ended", [], None)
        for answer in self._answers.values():
            if not answer.done():
                answer.set_result(self._lost)
        for stream in self._streams.values():
            stream.receive(self._lost)

    async def ask(self, details: grpc.HandlerCallDetails) -> Handler:
        """Ask the engine about a call whose message is not read yet; returns what passes it on, or refuses it."""
        number = next(self._numbers)
        frame = await self._answered(number, (f.ASK, number, details.method, _plain(details.invocation_metadata)))
        if frame[0] == f.END:
            # Of streams, whatever the method is: a handler of single messages would wait for the message first.
            return _many(partial(_refuse, frame))
        self._outside.add(number)
        single = details.method in self._handlers
        passing: Any = partial(self._pass_single if single else self._pass_stream, details.method, number)
        # A client that hangs up before its message has come never gets to the handler, and the engine waits.
        weakref.finalize(passing, self._given_up, number).atexit = False
        return _single(passing) if single else _many(passing)

    def _given_up(self, number: int) -> None:
        if number in self._outside:
            self._outside.discard(number)
            self._send((f.CANCEL, number))

    def _enter(self, method: str, asked: int | None, context: Context, message: bytes | None) -> tuple[int, Frame]:
        """Return the number of a call that comes in, and the frame that says so."""
        remaining = context.time_remaining()
        deadline = None if remaining is None else time.monotonic() + remaining
        if asked is not None:
            self._outside.discard(asked)
            return asked, (f.CALL, asked, None, None, deadline, context.peer(), message)
        number = next(self._numbers)
        metadata = _plain(context.invocation_metadata())
        return number, (f.CALL, number, method, metadata, deadline, context.peer(), message)

    # ``asked``, below, is the number of a call that the engine has let in.

    async def _pass_single(self, method: str, asked: int | None, message: bytes, context: Context) -> bytes:
        frame = await self._answered(*self._enter(method, asked, context, message))
        await _end(frame, context)
        return frame[5]  # type: ignore[no-any-return]

    async def _answered(self, number: int, frame: Frame) -> Frame:
        if self._lost is not None:
            return self._lost
        answer: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        self._send(frame)
        try:
            return await answer
        except asyncio.CancelledError:
            self._send((f.CANCEL, number))
            raise
        finally:
            del self._answers[number]

    async def _pass_stream(self, method: str, asked: int | None, _: Any, context: Context) -> None:
        number, frame = self._enter(method, asked, context, None)
        stream = self._streams[number] = _Stream()
        self._send(frame)
        if self._lost is not None:
            stream.receive(self._lost)
        reading = asyncio.create_task(self._read(number, stream, context))
        try:
            while (frame := await stream.frames.get())[0] == f.MESSAGE:
                await context.write(frame[2])
                self._send((f.ROOM, number))
        except BaseException as error:
            self._send((f.CANCEL, number))
            if isinstance(error, aio.InternalError):  # which is how gRPC may say that the client hung up
                raise asyncio.CancelledError from error
            raise
        finally:
            reading.cancel()
            del self._streams[number]
        if frame[5] is not None:
            await context.write(frame[5])
        await _end(frame, context)

    async def _read(self, number: int, stream: "_Stream", context: Context) -> None:
        while True:
            # Room first: without it the next message stays in the transport, which stops the client.
            await stream.room.acquire()
            message: Any = await context.read()
            if message is aio.EOF:
                self._send((f.CLOSED, number))
                return
            self._send((f.MESSAGE, number, message))


class _Stream:
    """What a call with many messages has besides."""

    def __init__(self) -> None:
        self.frames: asyncio.Queue[Frame] = asyncio.Queue()
        self.room = asyncio.Semaphore(f.WINDOW)
        """How many messages may be passed on before the engine has taken some."""

    def receive(self, frame: Frame) -> None:
        if frame[0] == f.ROOM:
            self.room.release()
        else:
            self.frames.put_nowait(frame)


class AskFirst(aio.ServerInterceptor):
    """Has the engine decide about each call before its message is read, so that strangers fill no memory."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Return what passes the call on, or refuses it."""
        return await self._relay.ask(handler_call_details)


def _single(method: Any) -> Handler:
    return grpc.unary_unary_rpc_method_handler(method)


def _many(method: Any) -> Handler:
    return grpc.stream_stream_rpc_method_handler(method)


async def _refuse(end: Frame, _: Any, context: Context) -> None:
    await _end(end, context)


async def _end(frame: Frame, context: Context) -> None:
    """End a call as the engine says; raises AbortError unless that is well."""
    code, text, trailing = frame[2:5]
    if code:
        await context.abort(_CODES[code], text, tuple(trailing))
    context.set_trailing_metadata(tuple(trailing))


def _plain(metadata: Any) -> Metadata:
    return [(key, value) for key, value in metadata or ()]
