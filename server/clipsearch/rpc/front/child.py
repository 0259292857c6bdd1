"""The program of a front process: listens, and passes calls on until its engine says stop or is gone."""

import asyncio
import os
import signal
import socket
import sys
from dataclasses import asdict, dataclass
from typing import Any, Final

from grpc import aio

from clipsearch.event_loop import EventLoopKind, loop_factory
from clipsearch.rpc.front import frames as f
from clipsearch.rpc.front.frames import Frame
from clipsearch.rpc.front.link import Link
from clipsearch.rpc.front.relay import AskFirst, Relay
from clipsearch.rpc.tls import Certificates, Pem
from clipsearch.rpc.transport import TransportLimits

LAST_WORDS_S: Final = 1.0
"""How long clients have to take the ends of their calls once the engine is gone."""


@dataclass(frozen=True, slots=True)
class FrontOptions:
    """What a front is told, as its first frame."""

    listen: str
    single: list[str]
    """Methods with one message each way, by their full names."""
    asks: bool
    """Whether the engine wants to see a call before its message is read."""
    certificates: tuple[bytes, bytes, bytes | None] | None
    """PEM: chain, private key, authorities of clients; None: clear text."""
    limits: TransportLimits

    def to_frame(self) -> Frame:
        """Return the frame."""
        return f.CONFIGURE, 0, asdict(self)

    @classmethod
    def from_frame(cls, frame: Frame) -> "FrontOptions":
        """Read the frame."""
        given: dict[str, Any] = frame[2]
        return cls(**{**given, "limits": TransportLimits(**given["limits"])})


class Front:
    """One front process."""

    def __init__(self) -> None:
        self._ended = asyncio.Event()
        self._link = Link(self._receive, self._lost)
        self._relay: Relay | None = None
        self._server: aio.Server | None = None
        self._certificates: Certificates | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, pair: socket.socket) -> None:
        """Do what the engine at the other end of ``pair`` says, until it says stop or is gone."""
        await self._link.connect(pair)
        await self._ended.wait()
        self._link.close()

    def _receive(self, frame: Frame) -> None:
        kind = frame[0]
        if kind == f.CONFIGURE:
            self._do(self._open(FrontOptions.from_frame(frame)))
        elif kind == f.CERTIFICATES:
            assert self._certificates is not None
            self._certificates.replace(Pem(*frame[2:]))
        elif kind == f.STOP:
            self._do(self._stop(frame[2]))
        elif self._relay is not None:
            self._relay.receive(frame)

    def _lost(self) -> None:
        """The engine was killed, or we hung up."""
        if self._ended.is_set():
            return
        if self._relay is not None:
            self._relay.lose()
        self._do(self._stop(LAST_WORDS_S))

    def _do(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _open(self, options: FrontOptions) -> None:
        relay = self._relay = Relay(options.single, self._link.send)
        server = self._server = aio.server(
            interceptors=[AskFirst(relay)] if options.asks else [],
            options=options.limits.channel_options(share_port=True),
        )
        server.add_generic_rpc_handlers([relay])
        try:
            if options.certificates is None:
                server.add_insecure_port(options.listen)
            else:
                self._certificates = Certificates(Pem(*options.certificates))
                server.add_secure_port(options.listen, self._certificates.credentials())
        except RuntimeError as error:
            self._link.send((f.FAILED, 0, str(error)))
            return
        await server.start()
        self._link.send((f.LISTENING, 0))

    async def _stop(self, grace_s: float) -> None:
        if self._server is not None:
            await self._server.stop(grace_s)
        self._ended.set()


def main(descriptor: int, event_loop: EventLoopKind) -> None:
    """Serve the engine at the other end of a socket."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Sent to all processes of a service: the engine drains then, and needs its fronts to the end.
        signal.signal(number, signal.SIG_IGN)
    pair = socket.socket(fileno=descriptor)

    async def run() -> None:
        await Front().run(pair)

    with asyncio.Runner(loop_factory=loop_factory(event_loop)) as runner:
        runner.run(run())
    # At once: calls that are still open have nobody to answer them, and gRPC would wait for its threads.
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])  # type: ignore[arg-type]
