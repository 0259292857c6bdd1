"""One end of the socket pair between a front and the engine."""

import asyncio
import socket
from collections.abc import Callable
from typing import cast

from clipsearch.rpc.front.frames import Frame, Unpacker, pack

BUFFER_BYTES = 1 << 20
"""What the kernel holds of each direction: the answers to a whole batch go out without a wait."""


class Link(asyncio.Protocol):
    """Sends and receives frames on the event loop that it is made on.

    Frames are gathered until the loop's next pass and written as one, so that what a batch answers at once wakes the
    other process once. They are not bounded here: each belongs to a call, and calls are.
    """

    def __init__(self, received: Callable[[Frame], None], lost: Callable[[], None]) -> None:
        """``received`` is called with each frame, ``lost`` once, when the other process is gone."""
        self._received, self._lost = received, lost
        self._unpacker = Unpacker()
        self._waiting: list[Frame] = []
        self._transport: asyncio.WriteTransport | None = None
        self._loop = asyncio.get_running_loop()

    async def connect(self, end: socket.socket) -> None:
        """Take over one end of a socket pair."""
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            end.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
        end.setblocking(False)
        await self._loop.create_unix_connection(lambda: self, sock=end)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        for frame in self._unpacker.feed(data):
            self._received(frame)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        self._transport = None
        self._lost()

    def send(self, frame: Frame) -> None:
        """Send a frame; to a process that is gone, nothing."""
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append(frame)

    def close(self) -> None:
        """Send what waits, then hang up."""
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        if self._transport is not None and waiting:
            self._transport.writelines(pack(waiting))
