"""The engine of a bidirectional stream: many items in flight, never more than a window of them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from grpc import aio

from clipsearch.rpc.observed import Context

Request = TypeVar("Request")
Response = TypeVar("Response")


async def pump(
    requests: AsyncIterator[Request],
    answer: Callable[[Request], Awaitable[Response]],
    write: Callable[[Response], Awaitable[None]],
    *,
    window: int,
) -> None:
    """Answer every request, in the order they finish, with at most ``window`` of them read but not yet written.

    A place in the window is free again only once its answer is written, so a client that stops reading stops the
    reading of its requests, and HTTP/2 flow control carries that back to the sender. ``answer`` must not raise for an
    item's own fault; what it does raise ends the stream.
    """
    places = asyncio.Semaphore(window)
    done: asyncio.Queue[Response | None] = asyncio.Queue()

    async def one(request: Request) -> None:
        done.put_nowait(await answer(request))

    async def read() -> None:
        async with asyncio.TaskGroup() as items:
            # A place is taken before a request is read: a full window leaves the next one in the transport.
            await places.acquire()
            async for request in requests:
                items.create_task(one(request))
                await places.acquire()
        done.put_nowait(None)

    async with asyncio.TaskGroup() as group:
        reader = group.create_task(read())
        while (response := await done.get()) is not None:
            await write(response)
            places.release()
        await reader


def writer(context: Context) -> Callable[[object], Awaitable[None]]:
    """Return a call's ``write`` to which a caller who hung up is a cancelled call, before gRPC has told it so."""

    async def write(response: object) -> None:
        try:
            await context.write(response)
        except aio.InternalError as error:
            raise asyncio.CancelledError from error

    return write
