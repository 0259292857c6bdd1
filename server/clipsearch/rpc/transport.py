"""Where calls come in: a gRPC server in this process. See ``front`` for the other way."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from grpc import aio

from clipsearch.errors import ConfigError
from clipsearch.event_loop import EventLoopKind
from clipsearch.rpc.gate import Gate
from clipsearch.rpc.tls import Certificates


@dataclass(frozen=True, slots=True)
class TransportLimits:
    """What clients may send and open at most."""

    message_bytes: int
    metadata_bytes: int
    concurrent_streams: int

    def channel_options(self, *, share_port: bool) -> list[tuple[str, int]]:
        """Return them as options of a gRPC server, which may share its port with others that say the same."""
        return [
            ("grpc.max_receive_message_length", self.message_bytes),
            ("grpc.max_send_message_length", self.message_bytes),
            # The second is where gRPC is certain to refuse; between the two it would draw lots.
            ("grpc.max_metadata_size", self.metadata_bytes),
            ("grpc.absolute_max_metadata_size", self.metadata_bytes),
            ("grpc.max_concurrent_streams", self.concurrent_streams),
            ("grpc.so_reuseport", int(share_port)),
        ]


@dataclass(frozen=True, slots=True)
class TransportOptions:
    """What a transport is told."""

    listen: str
    """``host:port``, where port 0 lets the system choose, or ``unix:path``."""
    limits: TransportLimits
    certificates: Certificates | None = None
    """What to serve TLS with; None: clear text."""
    gate: Gate | None = None
    """Who lets calls in; None: all come in."""
    fronts: int = 0
    """Processes that take calls in; 0: this one does."""
    event_loop: EventLoopKind = "auto"
    """That of fronts."""


class Transport(Protocol):
    """Takes calls in."""

    registry: Any
    """What generated code registers services with, in the place of an ``aio.Server``."""

    async def start(self) -> int:
        """Bind and accept calls; returns the port. Raises ConfigError where that cannot be had."""
        ...

    def pids(self) -> list[int]:
        """Return the process ids of the fronts there are."""
        ...

    async def stop(self, grace_s: float) -> None:
        """Refuse new calls, and give running ones ``grace_s`` seconds."""
        ...


class InProcess:
    """A gRPC server on this event loop; see Transport."""

    def __init__(self, options: TransportOptions, interceptors: Sequence[aio.ServerInterceptor]) -> None:
        self._options = options
        self._server = aio.server(
            interceptors=interceptors,
            # Two servers that share a port by accident would each get half of the calls.
            options=options.limits.channel_options(share_port=False),
        )
        self.registry: Any = self._server

    async def start(self) -> int:
        """See Transport."""
        listen, certificates = self._options.listen, self._options.certificates
        try:
            if certificates is None:
                port = self._server.add_insecure_port(listen)
            else:
                port = self._server.add_secure_port(listen, certificates.credentials())
        except RuntimeError as error:
            raise ConfigError(f"cannot listen on {listen}: {error}") from error
        await self._server.start()
        return port

    def pids(self) -> list[int]:
        """See Transport."""
        return []

    async def stop(self, grace_s: float) -> None:
        """See Transport."""
        await self._server.stop(grace_s)
